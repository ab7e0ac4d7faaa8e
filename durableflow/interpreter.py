"""Given what is recorded, what happens next?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from durableflow.errors import Diagnostic, Fault, ReplayError
    from durableflow.operations import ErrorObject, Operation, Update
    from durableflow.plan import Plan, Step
    from durableflow.values import Json

SchemaCheck: TypeAlias = "Callable[[Json, Json], str | None]"
"""(schema, value) -> what does not fit, in one line, or None. Injected: the core imports no jsonschema (rule 53)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Work to be done outside the core: one attempt of a step.

    Args:
        operation_id: of the step; also the key of the Completion that answers this call.
        node: the step, with `handler` and `semantics`.
        path: the state's path, for logs.
        payload: the rendered payload.
        attempt: from 1.
        idempotency_key: 32 lowercase hex digits, the same for every attempt (rule 65).
    """

    operation_id: str
    node: Step
    path: str
    payload: Json
    attempt: int
    idempotency_key: str


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
        error: as it goes on the wire; None when an EXECUTION update carries it.
        problem: the same for people, pointing at the state in the workflow file.
        mismatch: set when record and Plan disagree.
    """

    error: ErrorObject | None
    problem: Diagnostic
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


class Run:
    """One invocation of an execution: fed with what changed, answers with what happens next."""

    def __init__(self, plan: Plan, *, env: Mapping[str, str] | None = None, check_schema: SchemaCheck | None = None) -> None:
        self.plan = plan

    def advance(self, operations: Iterable[Operation] = (), completions: Iterable[Completion] = ()) -> Decision:
        """Take in what changed and go as far as possible."""
        raise NotImplementedError


def decide(plan: Plan, operations: Iterable[Operation], *, env: Mapping[str, str] | None = None, check_schema: SchemaCheck | None = None) -> Decision:
    """Return the decision of one fresh Run that is fed once."""
    return Run(plan, env=env, check_schema=check_schema).advance(operations)
