"""What does the interpreter answer? Updates to record, calls to make, how the invocation ends.

The driver and whoever does the work speak these words; interpreter.py says when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.errors import Diagnostic, Fault, ReplayError
    from durableflow.operations import ErrorObject, Update
    from durableflow.plan import Work
    from durableflow.values import Json

SchemaCheck: TypeAlias = "Callable[[Json, Json], str | None]"
"""(schema, value) -> what does not fit, in one line, or None. Injected: the core imports no jsonschema (rule 53)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Work to be done outside the core: one attempt of a step, an AWS call or an HTTP request.

    Args:
        operation_id: of the operation; also the key of the Completion that answers this call.
        operation_name: what it is called on the wire, for logs.
        parent_id: the operation that it stands in; None for none.
        node: the state: what is to be done.
        path: the state's path, for logs.
        payload: the rendered arguments: what the handler gets; the params of an AWS call; of a request `{method, url,
            headers, query, body?}`. Where they use secrets see `fill`.
        attempt: from 1.
        idempotency_key: 32 lowercase hex digits, the same for every attempt (rule 65).
        timeout_seconds: how long the attempt may take; None for the worker's own limit.
        fill: renders the arguments with the values of secrets; None where they use none.
        secrets: where the secrets that they use come from on AWS, by name.
    """

    operation_id: str
    operation_name: str
    node: Work
    path: str
    payload: Json
    attempt: int
    idempotency_key: str
    parent_id: str | None = None
    timeout_seconds: float | None = None
    fill: Callable[[Callable[[str], str]], Json] | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])

    def arguments(self, secret: Callable[[str], str]) -> Json:
        """Return the arguments with the values of secrets, which `secret` gives by name.

        Raises:
            Fault: what `secret` raises; States.QueryEvaluationError.
        """
        return self.payload if self.fill is None else self.fill(secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How a call ended: with a JSON value (already through values.checked), or with a fault.

    Args:
        operation_id: of the Call.
        result: the value; ignored when there is a fault.
        fault: the failure; its `origin` is filled in by the interpreter.
        ended_at: epoch milliseconds by the clock of whoever did the work, for `max_duration` (rule 75).
    """

    operation_id: str
    result: Json = None
    fault: Fault | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The execution is over. `result` is its JSON text, or empty when an EXECUTION update carries it."""

    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The execution is over with an error.

    Args:
        error: as it goes on the wire.
        problem: the same for people, pointing at the state in the workflow file.
        state: the name of the state that raised it, or None.
        mismatch: set when record and Plan disagree.
    """

    error: ErrorObject
    problem: Diagnostic
    state: str | None = None
    mismatch: ReplayError | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Nothing can run until the service completes something that it holds as pending."""


Outcome: TypeAlias = Succeeded | Failed | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens next.

    The driver records `updates` first, in one batch (several when they exceed the batch limits), then starts `calls`,
    and only then believes `outcome`.

    Args:
        updates: to be recorded, in order.
        calls: to be started once the updates are recorded.
        outcome: how this invocation ends, or None while updates are to be answered or calls run.
    """

    updates: tuple[Update, ...] = ()
    calls: tuple[Call, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the interpreter found at an operation: for logs and traces (protocol.md 4.1, "span status" and "track").

    Args:
        operation_id: of the operation.
        path: its path.
        span_status: `replayed_succeeded`, `replayed_failed`, `replayed_stopped`, `replayed_terminal`, `suspended`,
            `non_deterministic`, or `started`.
        is_tracked: whether it counts as replayed; it does on every terminal replay and never on suspension.
    """

    operation_id: str
    path: str
    span_status: str
    is_tracked: bool
