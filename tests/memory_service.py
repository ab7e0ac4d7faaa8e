"""One execution in memory: the ledger behind boto3's two methods, with everything that a test may want to go wrong.

By default as unkind as the rules allow: pages of two operations, a first page that is empty, deltas in pages, times as
REST JSON has them, tokens used once. What is inside a finished context is not sent unless the context is to be replayed
(protocol.md 1.2), though what happens there later is still told; and nobody may write there any more (rule 61).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from durableflow import values
from durableflow.errors import Fault, ServiceError, diagnostic
from durableflow.ledger import (
    CALLBACK_HEARTBEAT,
    CALLBACK_TIMEOUT,
    Arm,
    Changes,
    Disarm,
    EndExecution,
    Ledger,
    OpenCallback,
    StartTarget,
    Target,
    Timer,
    execution_started,
    settle,
)
from durableflow.operations import TERMINAL, Operation, error_from_fault

if TYPE_CHECKING:
    from durableflow.operations import ChainedInvokeDetails, ErrorObject, OperationStatus

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ARN = "arn:aws:lambda:us-east-1:123456789012:function:demo:1/durable-execution/order-1/7f3a"

SILENCE: Final = object()
"""An answer that does not come."""

Time = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a target ends whose end is no value and no Fault: what is on record of it, word for word."""

    status: OperationStatus = "SUCCEEDED"
    result: str | None = None
    error: ErrorObject | None = None


def seconds(milliseconds: int) -> object:
    """A time as REST JSON has it."""
    return milliseconds / 1000


def moment(milliseconds: int) -> object:
    """A time as boto3 gives it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def refusal(name: str, message: str, status: int) -> ServiceError:
    return ServiceError(diagnostic("DF511", message), name=name, status=status, is_retryable=status >= 500)


@dataclass
class MemoryService:
    """One execution.

    Args:
        input: the execution's input, as text.
        targets: what chained invokes start, by function name; they give a value, an Ended or SILENCE, or raise a Fault.
        answers: what callbacks get, by their Name: in this order, and the last one again and again; a Fault is a failure,
            SILENCE no answer at all.
        page: operations in a page.
        time: how replies tell times.
        now: epoch milliseconds; only `sleep` moves it on.
        before_checkpoint: called with the number of the checkpoint before it is applied; may raise.
        after_checkpoint: likewise when it is applied and its reply is on the way; may raise or change the reply.
    """

    input: str = "{}"
    targets: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    page: int = 2
    time: Time = seconds
    now: int = START
    before_checkpoint: Callable[[int], None] | None = None
    after_checkpoint: Callable[[int, dict[str, Any]], None] | None = None
    operations: dict[str, Operation] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    outcome: EndExecution | None = None
    _token: int = 0
    _unseen: dict[str, None] = field(default_factory=dict)
    _started: list[StartTarget] = field(default_factory=list)
    _asked: list[str] = field(default_factory=list)
    _silent: set[str] = field(default_factory=set)
    _heartbeats: dict[str, int] = field(default_factory=dict)
    _timers: dict[tuple[str, Timer], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.operations["7f3a"] = {
            "Id": "7f3a",
            "Type": "EXECUTION",
            "Status": "STARTED",
            "StartTimestamp": self.now,
            "ExecutionDetails": {"InputPayload": self.input},
        }
        started = execution_started(now=self.now, payload=self.input, timeout_seconds=None)
        self.events.append({"EventId": 1, **started})

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [update for request in self.requests for update in request["Updates"]]

    def event(self) -> dict[str, Any]:
        """Begin an invocation: a fresh token, and nothing but a marker on the first page."""
        self._token += 1
        self._unseen.clear()
        return {
            "DurableExecutionArn": ARN,
            "CheckpointToken": self._current(),
            "InitialExecutionState": {"Operations": [], "NextMarker": "0"},
            "AFieldOfTheFuture": {"ignored": True},
        }

    def get_durable_execution_state(self, **members: Any) -> dict[str, Any]:
        self._check(members["CheckpointToken"])
        kind, _, number = members["Marker"].rpartition("-")
        listed = self._navigable()
        if kind:
            listed = [self.operations[key] for key in kind.split(",")]
        first = int(number)
        made: dict[str, Any] = {"Operations": [self._shown(o) for o in listed[first : first + self.page]]}
        if first + self.page < len(listed):
            made["NextMarker"] = f"{kind}-{first + self.page}" if kind else str(first + self.page)
        return made

    def checkpoint_durable_execution(self, **members: Any) -> dict[str, Any]:
        number = len(self.requests) + 1
        if self.before_checkpoint:
            self.before_checkpoint(number)
        self._check(members["CheckpointToken"])
        changes = self._ledger().apply(members["Updates"])
        self._check_scopes(members["Updates"])
        self.requests.append(members)
        self._token += 1
        self._keep(changes)
        reply = self._reply()
        if self.after_checkpoint:
            self.after_checkpoint(number, reply)
        return reply

    def _reply(self) -> dict[str, Any]:
        if self.outcome:
            return {"NewExecutionState": {"Operations": []}}
        changed, self._unseen = list(self._unseen), {}
        shown = [self._shown(self.operations[key]) for key in changed[: self.page]]
        state: dict[str, Any] = {"Operations": shown, "NextMarker": ""}
        if len(changed) > self.page:
            state["NextMarker"] = f"{','.join(changed)}-{self.page}"
        return {"CheckpointToken": self._current(), "NewExecutionState": state}

    def _ledger(self) -> Ledger:
        return Ledger(
            now=self.now,
            lookup=self.operations.get,
            new_callback_id=lambda key: f"Y2I{key}",
            resolve=lambda update: self._resolve(update["ChainedInvokeOptions"]["FunctionName"]),
        )

    def _resolve(self, name: str) -> Any:
        if name in self.targets:
            return Target(name=name, version="$LATEST")
        return {"ErrorType": "ResourceNotFoundException", "ErrorMessage": f"Function not found: {name}"}

    def _current(self) -> str:
        return f"dG9rZW4{self._token:04d}"

    def _check(self, token: str) -> None:
        if token != self._current():
            raise refusal("InvalidParameterValueException", "Invalid checkpoint token", 400)

    def _navigable(self) -> list[Operation]:
        """Every operation but what finished contexts hide; parents come before their children."""
        hidden: set[str] = set()
        listed: list[Operation] = []
        for key, operation in self.operations.items():
            is_hidden = operation.get("ParentId") in hidden
            if not is_hidden:
                listed.append(operation)
            is_replayed = operation.get("ContextDetails", {}).get("ReplayChildren", False)
            if is_hidden or (_is_finished_context(operation) and not is_replayed):
                hidden.add(key)
        return listed

    def _check_scopes(self, updates: list[Any]) -> None:
        finished = {key for key, operation in self.operations.items() if _is_finished_context(operation)}
        parents = {key: operation.get("ParentId") for key, operation in self.operations.items()}
        for update in updates:
            scope = parents.setdefault(update["Id"], update.get("ParentId"))
            while scope is not None:
                assert scope not in finished, f"{update} is written inside a context that has ended"
                scope = parents[scope]
            if update["Type"] == "CONTEXT" and update["Action"] != "START":
                finished.add(update["Id"])

    def _keep(self, changes: Changes | None) -> None:
        assert changes
        for effect in changes.effects:
            match effect:
                case Arm():
                    self._timers[effect.operation_id, effect.timer] = effect.due
                case Disarm():
                    self._timers = {each: due for each, due in self._timers.items() if each[0] != effect.operation_id}
                case StartTarget():
                    self._started.append(effect)
                case OpenCallback():
                    self._asked.append(effect.operation_id)
                    self._heartbeats[effect.operation_id] = effect.heartbeat_seconds
                case EndExecution():
                    self.outcome = effect
        for operation in changes.operations:
            self.operations[operation["Id"]] = operation
            self._unseen[operation["Id"]] = None
        for event in changes.events:
            self.events.append({"EventId": len(self.events) + 1, **event})

    def _shown(self, operation: Operation) -> dict[str, Any]:
        shown: dict[str, Any] = dict(operation)
        for member in ("StartTimestamp", "EndTimestamp"):
            if member in shown:
                shown[member] = self.time(shown[member])
        for details, member in (("StepDetails", "NextAttemptTimestamp"), ("WaitDetails", "ScheduledEndTimestamp")):
            if member in shown.get(details, {}):
                shown[details] = {**shown[details], member: self.time(shown[details][member])}
        return shown

    # What happens between invocations.

    def wake(self) -> bool:
        """Let targets end, and callbacks be answered; or else sleep until the next timer. Say whether anything changed."""
        started, self._started = self._started, []
        for start in started:
            self._end(start)
        answered = [key for key in self._asked if self._is_answered(key)]
        return bool(started or answered) or self.sleep()

    def _is_answered(self, key: str) -> bool:
        answers = self.answers.get(self.operations[key].get("Name", ""), [])
        if not answers or self.operations[key]["Status"] != "STARTED" or key in self._silent:
            return False
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is SILENCE:
            self._silent.add(key)
            return False
        self.answer(key, answer)
        return True

    def answer(self, key: str, answer: Any) -> None:
        """Answer an open callback, by the id of its operation: with a value, a text in bytes, or a Fault."""
        operation = self.operations[key]
        if isinstance(answer, Fault):
            changes = settle(operation, "failure", now=self.now, error=error_from_fault(answer))
        else:
            result = answer.decode() if isinstance(answer, bytes) else values.to_text(answer)
            changes = settle(operation, "success", now=self.now, result=result)
        self._keep(changes)

    def beat(self, key: str) -> None:
        """Give an open callback a sign of life, by the id of its operation."""
        assert self.operations[key]["Status"] == "STARTED"
        if seconds := self._heartbeats[key]:
            self._timers[key, "heartbeat"] = self.now + seconds * 1000

    def _end(self, start: StartTarget) -> None:
        operation = self.operations[start.operation_id]
        try:
            result: Any = self.targets[start.target.name](values.from_text(start.payload))
            if result is SILENCE:
                return
            if isinstance(result, Ended):
                changes = self._ended_as(operation, result)
            else:
                changes = settle(operation, "success", now=self.now, result=values.to_text(result))
        except Fault as fault:
            changes = settle(operation, "failure", now=self.now, error=error_from_fault(fault))
        self._keep(changes)

    def _ended_as(self, operation: Operation, end: Ended) -> Changes:
        details: ChainedInvokeDetails = {}
        if end.result is not None:
            details["Result"] = end.result
        if end.error is not None:
            details["Error"] = end.error
        made: Operation = {**operation, "Status": end.status, "EndTimestamp": self.now, "ChainedInvokeDetails": details}
        return Changes(operations=(made,), effects=(Disarm(operation_id=made["Id"]),))

    def sleep(self) -> bool:
        """Move the clock to the next timer and let it ring; say whether there was one."""
        if not self._timers:
            return False
        self.now = max(self.now, min(self._timers.values()))
        for (key, timer), due in list(self._timers.items()):
            if due > self.now or (key, timer) not in self._timers:
                continue
            del self._timers[key, timer]
            if timer in ("timeout", "heartbeat"):
                error = CALLBACK_TIMEOUT if timer == "timeout" else CALLBACK_HEARTBEAT
                self._keep(settle(self.operations[key], "timeout", now=self.now, error=error))
            else:
                self._keep(settle(self.operations[key], "due", now=self.now))
        return True

    def run(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Invoke until the execution ends, and return its last output."""
        while (output := handler(self.event()))["Status"] == "PENDING":
            if not self.wake():
                raise AssertionError("PENDING with nothing pending")
        return output


def _is_finished_context(operation: Operation) -> bool:
    return operation["Type"] == "CONTEXT" and operation["Status"] in TERMINAL


__all__ = ["ARN", "SILENCE", "START", "Ended", "MemoryService", "moment", "refusal", "seconds"]
