"""Whom does the service work with? Functions, the jobs that run them, and the numbers that bound it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from durableflow import ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATIONS_MAX: Final = 3_000
SIZE_MAX_BYTES: Final = 100 * 1024 * 1024
"""What an execution may hold on the platform (protocol.md 9); a project file may say another number of operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What a function name stands for here.

    Args:
        name: without qualifier.
        version: what runs: digits, `$LATEST` or `$LATEST.PUBLISHED`; never an alias.
        is_durable: whether it is invoked with a durable event, as an execution of its own.
        execution_timeout_seconds: of its executions; None for none.
        retention_days: how long its finished executions are to be kept.
    """

    name: str
    version: str = "$LATEST"
    is_durable: bool = True
    execution_timeout_seconds: int | None = None
    retention_days: int = 14


class Functions(Protocol):
    """Knows which functions there are."""

    def resolve(self, name: str, *, is_invoked: bool = False) -> Function | None:
        """Return the function of `name`, `name:qualifier`, a partial or a whole ARN; None when there is none.

        Args:
            name: see there.
            is_invoked: whether an execution whose function is known invokes it; there may be more functions for it.
        """
        ...

    def listed(self) -> Sequence[Function]:
        """Return every version of every function that a client may invoke, by name and version."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to run outside the service, and to report with `Service.invocation_ended`.

    Args:
        id: the request id.
        kind: `durable` is one invocation of an execution, `plain` one call of a plain function.
        function: what runs.
        execution_arn: of the execution itself, or for a plain target of its caller; None for a plain function that
            a client invoked.
        event: what a durable function gets (protocol.md 1.2), times in epoch milliseconds; None for a plain one.
        payload: what a plain function gets, JSON text; None for a durable one.
        tenant_id: None for none.
        started: when the execution of a durable one began, epoch milliseconds; None for a plain one.
        call_number: how many times this function was started in this execution before, from 0.
        operation_name: of the chained invoke that starts a plain target.
        operation_id: likewise.
    """

    id: str
    kind: Literal["durable", "plain"]
    function: Function
    execution_arn: str | None
    event: dict[str, Any] | None = None
    payload: str | None = None
    tenant_id: str | None = None
    started: int | None = None
    call_number: int = 0
    operation_name: str | None = None
    operation_id: str | None = None


class Invoker(Protocol):
    """Runs jobs."""

    def start(self, job: Job) -> None:
        """Have a job run, and return at once; the end is reported with `Service.invocation_ended`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When a failed invocation is made again (protocol.md 1.6).

    Args:
        immediate: how many crashes (`Runtime.*`, `Sandbox.*`, `Extension.*`) in a row are made good at once.
        first_seconds, rate, longest_seconds: the delays that grow after every other failure.
        give_up_seconds: how long invocations may fail in a row until the execution fails with their error; the
            platform spreads its retries over hours too.
        pending: how many answers PENDING in a row are borne while nothing is pending.
    """

    immediate: int = 3
    first_seconds: float = 1.0
    rate: float = 2.0
    longest_seconds: float = 3600.0
    give_up_seconds: float = 21_600.0
    pending: int = 3

    def delay_ms(self, failures: int, *, is_crash: bool) -> int:
        """Return how long to wait after the n-th failure in a row, milliseconds."""
        if is_crash and failures <= self.immediate:
            return 0
        nth = failures - (self.immediate if is_crash else 0)
        # The power of a large number overflows long before it matters.
        return round(1000 * min(self.longest_seconds, self.first_seconds * self.rate ** min(nth - 1, 64)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes of the service; the defaults are the platform's, tests make them unkind.

    Args:
        updates: what a checkpoint may hold.
        first_page_operations: operations in the event of an invocation; 0 leaves them all to later pages.
        page_operations: operations in any other page.
        page_bytes: UTF-8 bytes of a page; one operation is always sent.
        operations, size_bytes: what an execution may hold in all, as the platform meters it; None for no limit
            (protocol.md 9).
        depth: how many executions may have started one another; a deeper one does not start.
        target_seconds: how long a plain target may take.
        invoke_seconds: how long a synchronous Invoke waits.
    """

    updates: ledger.Limits = field(default_factory=ledger.Limits)
    first_page_operations: int = 1000
    page_operations: int = 1000
    page_bytes: int = 5 * 1024 * 1024
    operations: int | None = None
    size_bytes: int | None = None
    depth: int = 16
    target_seconds: int = 900
    invoke_seconds: float = 900.0
