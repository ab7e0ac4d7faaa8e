"""Who turns the crank? The only loop: one invocation of an execution, from the event to the answer.

The interpreter decides, the service records, a worker does the work; this module carries things between them. It
knows no clock, no files and no boto3: service, worker and clock come in. What it does know is the conversation: pages,
the chain of checkpoint tokens, batches, and which errors end the invocation (it is made again) and which end the
execution (it would fail the same way for ever).

    event ─▶ all pages ─▶ advance ─▶ updates ─▶ reply ─▶ advance ─▶ … calls ─▶ completions ─▶ advance ─▶ answer

Nothing here polls and nothing waits a fixed time: a turn either has updates to record or waits for a call to end.

Source: protocol.md 1, 2.4, 2.6, 6, 11.3.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import blake2b
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from durableflow import values
from durableflow.decision import Failed, Pending, Succeeded
from durableflow.errors import Fault, ServiceError, UsageError, diagnostic
from durableflow.interpreter import OPERATIONS_MAX, Run
from durableflow.operations import (
    BATCH_MAX_BYTES,
    BATCH_MAX_UPDATES,
    ERROR_MAX_BYTES,
    checked_operation,
    error_from_fault,
    operation_from_reply,
    time_text,
)
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from durableflow.decision import Call, Completion, Outcome, SchemaCheck, Visit
    from durableflow.operations import Operation, Update
    from durableflow.plan import Plan
    from durableflow.values import Json, Object
    from durableflow.walker import ChildTarget

PAGE_OPERATIONS: Final = 1000
"""Operations asked for in one page of state, the API's maximum (protocol.md 1.3)."""
THREADS_MAX: Final = 32
"""Calls that run at the same time; further ones start as these end (a map over 1,000 items fits into 128 MB)."""

_REQUEST_BYTES: Final = 100
"""What a checkpoint request holds besides its updates and its token."""
_UPDATE_BYTES: Final = 4_000
"""More than an update holds besides payload and error: ids, names of 256 characters, options, its keys."""
_STALE_TOKEN: Final = "invalid checkpoint token"  # noqa: S105 - the start of a message, no secret
_PERMANENT_5XX: Final = frozenset(
    {"KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException"}
)
"""Errors that arrive as 502 and never pass (protocol.md 11.3)."""


class Service(Protocol):
    """What a boto3 Lambda client offers, or the embedded service, or a double: the two methods a handler needs."""

    def checkpoint_durable_execution(
        self,
        *,
        DurableExecutionArn: str,  # noqa: N803 - the wire's member names are boto3's argument names
        CheckpointToken: str,  # noqa: N803
        Updates: Sequence[Any],  # noqa: N803 - Update here, the service's own type there
        ClientToken: str,  # noqa: N803
    ) -> Mapping[str, Any]:
        """Record updates; answer with the next token and what changed."""
        ...

    def get_durable_execution_state(
        self,
        *,
        DurableExecutionArn: str,  # noqa: N803
        CheckpointToken: str,  # noqa: N803
        Marker: str,  # noqa: N803
        MaxItems: int,  # noqa: N803
    ) -> Mapping[str, Any]:
        """Answer with a page of the recorded operations; the token stays good."""
        ...


class Worker(Protocol):
    """Who does the work that a call names. Several calls may run at once, each in its own thread."""

    def run(self, call: Call) -> Completion:
        """Do the work; a failure of the work itself is a fault in the Completion, never an exception."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Where large results are kept.

    Args:
        threshold_bytes: the size above which a result is kept there.
        put: keeps a text for good and gives the pointer to it, `{"$offload": …}`.
        get: gives the text that a pointer is to.

    Both raise ServiceError.
    """

    threshold_bytes: int
    put: Callable[[str], Object]
    get: Callable[[Json], str]


Log: TypeAlias = "Callable[[int, str, Object], None]"
"""(level of the logging module, what happened, facts); facts hold no payloads, results or tokens."""


class EventError(UsageError):
    """An event or a reply that no durable execution service sends. Raised, so that the invocation is made again."""


def run_invocation(  # noqa: PLR0913 - each is a part of the world that comes in; all by keyword
    event: Mapping[str, Any],
    *,
    plan: Plan | Mapping[str, Plan],
    service: Service,
    worker: Worker,
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
    clock_ms: Callable[[], int],
    log: Log | None = None,
    child: Callable[[str], ChildTarget] | None = None,
    operations_max: int = OPERATIONS_MAX,
    offload: Offload | None = None,
) -> Object:
    """Go on with an execution as far as possible and answer as the service expects it.

    Args:
        event: what Lambda hands to a durable function (protocol.md 1.2); times are epoch milliseconds.
        plan: the workflow; or several by name, of which the execution's input chooses one:
            `{"$workflow": name, "input": …}` (rule 52).
        service: records updates and knows the state.
        worker: does the work of steps.
        env: the environment, name to text; templates read the names that the workflow declares.
        check_schema: checks values against JSON Schemas; without it schemas are not checked.
        clock_ms: the time in epoch milliseconds; only log lines show it.
        child: gives the function that runs a child workflow, and whether it holds several; without it that is the
            workflow's name (rule 52).
        operations_max: how many operations an execution may have (rule 42).
        offload: where results over a threshold are kept; without it a result over 256 KB is an error (rule 45).
        log: where facts about the invocation go; by default JSON lines to the logger `durableflow`. Single updates
            are told when that logger is at DEBUG.

    Returns:
        `{"Status": "SUCCEEDED", "Result": …}`, `{"Status": "FAILED", "Error": …}` or `{"Status": "PENDING"}`.

    Raises:
        EventError: the event or a page of state is malformed.
        ServiceError: the service could not be reached, is overloaded, or has given the execution to another
            invocation (stale token). Everything that leaves this function makes the service invoke again.
    """
    log = log or json_lines(clock_ms)
    conversation, operations = _opened(event, service, log, offload)
    try:
        operations = conversation.paged(operations, _mapping(event, "InitialExecutionState"))
        execution = _execution(operations)
        if isinstance(plan, Mapping):
            plan, changed = chosen(plan, execution)
            operations = [changed if operation is execution else operation for operation in operations]
        run = Run(
            plan,
            execution_arn=conversation.arn,
            env=env,
            check_schema=check_schema,
            visited=conversation.visited if conversation.is_detailed else None,
            noted=partial(conversation.note, logging.WARNING),
            child=child,
            operations_max=operations_max,
            load=offload.get if offload else None,
        )
        return _turned(run, conversation, operations, _Calls(worker))
    except Fault as fault:
        conversation.note(logging.ERROR, "execution failed", {"error": fault.name})
        return {"Status": "FAILED", "Error": cast("Json", error_from_fault(fault))}
    except ServiceError as error:
        facts: Object = {"error": error.name, "reason": error.problem.message, "status": error.status}
        if error.is_retryable:
            conversation.note(logging.WARNING, "invocation failed", facts)
            raise
        # The same request would be refused again: retrying it for hours helps nobody (reliability.md B4).
        conversation.note(logging.ERROR, "execution failed", facts)
        return {"Status": "FAILED", "Error": {"ErrorType": error.name, "ErrorMessage": error.problem.message}}


def _turned(run: Run, conversation: _Conversation, operations: Sequence[Operation], calls: _Calls) -> Object:
    completions: Sequence[Completion] = ()
    while True:
        decision = run.advance(operations, completions)
        operations, completions = conversation.recorded(decision.updates), ()
        if conversation.token is None:
            # The service wants no more of this invocation (rule 49); or the execution is over, as we told it.
            return conversation.answer(decision.outcome if conversation.is_closed and decision.outcome else Pending())
        match decision.outcome:
            case Succeeded() | Failed():
                return conversation.answer(decision.outcome)
            case Pending() if not decision.updates:
                return conversation.answer(decision.outcome)
            case _:  # go on; a suspension is believed once the reply to its updates has been seen (protocol.md 6)
                pass
        calls.add(decision.calls)
        if not decision.updates:
            completions = calls.ended()


class _Conversation:
    """What is said to the service in one invocation: the chain of tokens, batches and pages."""

    def __init__(self, service: Service, arn: str, token: str, log: Log, offload: Offload | None) -> None:
        self._service = service
        self._offload = offload
        self.arn = arn
        self._log = log
        self.is_detailed = logging.getLogger("durableflow").isEnabledFor(logging.DEBUG)
        """Whether each update and each operation come to is told: asked once, since there may be thousands."""
        self.token: str | None = token
        """The token for the next request, or None once the service has withheld it."""
        self.is_closed = False
        """Whether an EXECUTION update has been accepted."""

    def paged(self, operations: list[Operation], state: Mapping[str, Any]) -> list[Operation]:
        """Return the operations of a first page and of all pages after it, the latest of each id."""
        marker = _marker(state)
        if not marker:
            return operations
        found = {operation["Id"]: operation for operation in operations}
        seen: set[str] = set()
        while marker and self.token:
            if marker in seen:
                raise _event_error("the pages of the state go round in a circle")
            seen.add(marker)
            page = _asked(
                self._service.get_durable_execution_state,
                DurableExecutionArn=self.arn,
                CheckpointToken=self.token,
                Marker=marker,
                MaxItems=PAGE_OPERATIONS,
            )
            for operation in _operations(page, is_reply=True):
                found[operation["Id"]] = operation
            marker = _marker(page)
        return list(found.values())

    def recorded(self, updates: Sequence[Update]) -> list[Operation]:
        """Record updates and return the operations that changed; stop where the service withholds the token."""
        changed: list[Operation] = []
        kept = [self._kept(update) for update in updates] if self._offload else updates
        for batch in batches(kept, token_bytes=len(self.token or "")):
            if self.token is None:
                break
            reply = _asked(
                self._service.checkpoint_durable_execution,
                DurableExecutionArn=self.arn,
                CheckpointToken=self.token,
                Updates=batch,
                # Random, not derived from the token: the retries inside one call repeat it, while a second
                # interpreter on the same event is refused instead of being handed the reply to the first.
                ClientToken=os.urandom(16).hex(),
            )
            self.is_closed = batch[-1]["Type"] == "EXECUTION"
            self.token = reply.get("CheckpointToken") or None
            if self.is_detailed:
                for update in batch:
                    self.note(logging.DEBUG, "update recorded", _facts(update))
            state: Mapping[str, Any] = reply.get("NewExecutionState") or {}
            changed += self.paged(_operations(state, is_reply=True), state)
        return changed

    def _kept(self, update: Update) -> Update:
        """Return an update with a pointer in place of a large result, which is in its store by then."""
        payload = update.get("Payload")
        offload = self._offload
        if offload is None or payload is None or update["Type"] != "STEP":
            return update
        if values.size_bytes(payload) <= offload.threshold_bytes:
            return update
        return {**update, "Payload": values.to_text(offload.put(payload))}

    def answer(self, outcome: Outcome) -> Object:
        """Return an outcome as the output of the function (protocol.md 1.5)."""
        match outcome:
            case Succeeded(result):
                self.note(logging.INFO, "execution succeeded", {})
                return {"Status": "SUCCEEDED", "Result": result}
            case Failed(error=error, problem=problem, state=state, mismatch=mismatch):
                facts: Object = {"state": state, "problem": problem.to_json()}
                if mismatch:
                    facts |= {"expected": mismatch.expected, "recorded": mismatch.recorded}
                self.note(logging.ERROR, "execution failed", facts)
                return {"Status": "FAILED", "Error": cast("Json", error)}
            case Pending():
                self.note(logging.INFO, "invocation suspended", {})
                return {"Status": "PENDING"}

    def visited(self, visit: Visit) -> None:
        """Log what the interpreter has come to; what is only replayed is not told again."""
        if not visit.is_tracked:
            facts: Object = {"operationId": visit.operation_id, "path": visit.path, "status": visit.span_status}
            self.note(logging.DEBUG, "operation visited", facts)

    def note(self, level: int, happened: str, facts: Object) -> None:
        """Write one log line."""
        self._log(level, happened, {"executionArn": self.arn, "token": _fingerprint(self.token or ""), **facts})


class _Calls:
    """The calls of one invocation: those that wait, and those that run."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ready: deque[Call] = deque()
        self._running = 0
        self._ends: SimpleQueue[Completion | BaseException] = SimpleQueue()

    def add(self, calls: Sequence[Call]) -> None:
        """Take calls in. A single one stays: the calling thread does it as soon as nothing else is to be done."""
        self._ready.extend(calls)
        if self._running or len(self._ready) > 1:
            self._start()

    def ended(self) -> list[Completion]:
        """Wait until a call has ended and return all that have.

        Raises:
            BaseException: whatever ended the thread of a call; the invocation cannot know what became of the work.
        """
        if not self._running:
            if not self._ready:
                raise RuntimeError("the interpreter waits for nothing; this is a defect of durableflow")
            return [self._worker.run(self._ready.popleft())]
        ends = [self._ends.get()]
        while not self._ends.empty():
            ends.append(self._ends.get())
        self._running -= len(ends)
        self._start()
        return [_completed(end) for end in ends]

    def _start(self) -> None:
        while self._ready and self._running < THREADS_MAX:
            self._running += 1
            # Daemons: an abandoned call must not keep the process alive after the invocation has ended.
            threading.Thread(target=self._work, args=(self._ready.popleft(),), daemon=True).start()

    def _work(self, call: Call) -> None:
        try:
            self._ends.put(self._worker.run(call))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self._ends.put(error)


def _completed(end: Completion | BaseException) -> Completion:
    if isinstance(end, BaseException):
        raise end
    return end


def batches(updates: Sequence[Update], *, token_bytes: int = 0) -> Iterator[Sequence[Update]]:
    """Cut updates into batches that the service takes, in order; one that alone is too large goes alone.

    At most 250 updates and 750 KB of JSON as boto3 writes it, all other characters escaped (protocol.md 2.6).
    """
    if len(updates) <= 1:
        if updates:
            yield list(updates)
        return
    room = BATCH_MAX_BYTES - _REQUEST_BYTES - token_bytes
    if len(updates) <= BATCH_MAX_UPDATES and sum(map(_size_at_most, updates)) <= room:
        yield list(updates)
        return
    batch: list[Update] = []
    size = 0
    for update in updates:
        more = len(json.dumps(update)) + 2
        if batch and (len(batch) == BATCH_MAX_UPDATES or size + more > room):
            yield batch
            batch, size = [], 0
        batch.append(update)
        size += more
    yield batch


def _size_at_most(update: Update) -> int:
    """Return what an update takes at most as JSON, without writing it: a character becomes twelve bytes at worst."""
    errors = 12 * ERROR_MAX_BYTES if "Error" in update else 0
    return _UPDATE_BYTES + errors + 12 * len(update.get("Payload", ""))


def service_error(error: Exception) -> ServiceError | None:
    """Say what an exception of a service call means, or None where it is not the service's.

    boto3's errors are known by their shape, so that nothing here imports botocore (protocol.md 11.3).
    """
    response = getattr(error, "response", None)
    if isinstance(error, ServiceError):
        name, message, status = error.name, error.problem.message, error.status
    elif isinstance(response, Mapping):
        told = cast("Mapping[str, Any]", response)
        body: Mapping[str, Any] = told.get("Error") or {}
        metadata: Mapping[str, Any] = told.get("ResponseMetadata") or {}
        name, message = str(body.get("Code") or type(error).__name__), str(body.get("Message") or error)
        status = int(metadata.get("HTTPStatusCode") or 0)
    elif type(error).__name__ == "ParamValidationError":  # botocore refuses the request before it is sent
        name, message, status = "ParamValidationError", str(error), 400
    else:
        return None
    return ServiceError(
        diagnostic("DF511", shown(message), hint=_hint(name, message)),
        name=name,
        status=status,
        is_retryable=_is_retryable(name, message, status),
    )


def _is_retryable(name: str, message: str, status: int) -> bool:
    if name in _PERMANENT_5XX:
        return False
    if message.strip().lower().startswith(_STALE_TOKEN):  # capitals differ between services (reliability.md B3)
        return True
    return not 400 <= status < 500 or status == 429


def _hint(name: str, message: str) -> str | None:
    if message.strip().lower().startswith(_STALE_TOKEN):
        return "another invocation has taken over, or the execution has ended; the service decides what comes next"
    if name in _PERMANENT_5XX:
        return "let the function's role use the KMS key of its durable executions"
    return None


def _asked(method: Callable[..., Mapping[str, Any]], **members: object) -> Mapping[str, Any]:
    try:
        reply = method(**members)
    except Exception as error:
        if (known := service_error(error)) is not None:
            raise known from error
        raise  # the network, credentials: the invocation is made again
    if not isinstance(reply, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - a reply is input, not a promise
        raise _event_error(f"the service answered with {type(reply).__name__} instead of an object")
    return reply


def chosen(plans: Mapping[str, Plan], execution: Operation) -> tuple[Plan, Operation]:
    """Return the plan that the input names, and the EXECUTION operation with that workflow's own input.

    Raises:
        Fault: States.InputInvalid, the input is not of the form, or names no workflow here (rule 52).
    """
    try:
        value = values.from_text(execution.get("ExecutionDetails", {}).get("InputPayload") or "{}")
    except values.ValueRefusedError as error:
        raise Fault("States.InputInvalid", f"the input is not JSON: {error}") from error
    name = value.get("$workflow") if values.is_object(value) else None
    here = ", ".join(sorted(plans))
    if not isinstance(name, str):
        raise Fault(
            "States.InputInvalid",
            f'this function holds several workflows: send {{"$workflow": name, "input": …}}; it has {shown(here)}',
        )
    if name not in plans:
        near = get_close_matches(name, plans, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"this function has {shown(here)}"
        raise Fault("States.InputInvalid", f"no workflow is called '{shown(name)}'; {hint}")
    changed: Operation = {**execution, "ExecutionDetails": {}}
    if "input" in cast("Object", value):
        changed["ExecutionDetails"] = {"InputPayload": values.to_text(cast("Object", value)["input"])}
    return plans[name], changed


# Reading the event and the replies. Unknown members are ignored, unknown types and statuses are not (rule 52).


def _opened(
    event: object, service: Service, log: Log, offload: Offload | None
) -> tuple[_Conversation, list[Operation]]:
    if not isinstance(event, Mapping):
        raise _event_error(f"the event is {type(event).__name__}, not an object")
    known = cast("Mapping[str, Any]", event)
    arn, token = _text(known, "DurableExecutionArn"), _text(known, "CheckpointToken")
    operations = _operations(_mapping(known, "InitialExecutionState"), is_reply=False)
    return _Conversation(service, arn, token, log, offload), operations


def _execution(operations: Sequence[Operation]) -> Operation:
    found = [operation for operation in operations if operation["Type"] == "EXECUTION"]
    if len(found) != 1:
        raise _event_error(f"the state has {len(found)} EXECUTION operations instead of one")
    return found[0]


def _text(event: Mapping[str, Any], member: str) -> str:
    value = event.get(member)
    if not isinstance(value, str) or not value:
        raise _event_error(f"the event has no text '{member}'")
    return value


def _mapping(event: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    value = event.get(member)
    if not isinstance(value, Mapping):
        raise _event_error(f"the event has no object '{member}'")
    return cast("Mapping[str, Any]", value)


def _marker(state: Mapping[str, Any]) -> str:
    marker = state.get("NextMarker") or ""
    if not isinstance(marker, str):
        raise _event_error("'NextMarker' is no text")
    return marker


def _operations(state: Mapping[str, Any], *, is_reply: bool) -> list[Operation]:
    listed = state.get("Operations")
    if listed is None:
        return []
    if not isinstance(listed, (list, tuple)):
        raise _event_error("'Operations' is no list")
    found: dict[str, Operation] = {}
    for item in cast("Sequence[object]", listed):
        operation = _operation(item, is_reply=is_reply)
        before = found.setdefault(operation["Id"], operation)
        if before is not operation:
            if before["Type"] != operation["Type"]:
                raise _event_error(f"two operations of different types have the id '{shown(operation['Id'])}'")
            found[operation["Id"]] = operation
    return list(found.values())


def _operation(item: object, *, is_reply: bool) -> Operation:
    try:
        operation = checked_operation(item)
        return operation_from_reply(operation) if is_reply else operation
    except (TypeError, ValueError, OverflowError) as error:  # the first two also from a time that is none
        raise _event_error(str(error)) from error


def _event_error(message: str) -> EventError:
    return EventError(
        diagnostic(
            "DF510",
            message,
            hint="a durable function is invoked by the durable execution service; "
            "check that the function has a DurableConfig and is invoked with a qualifier",
        )
    )


# Log lines: what, where and how often, never what with (reliability.md D12).


def json_lines(clock_ms: Callable[[], int], logger: logging.Logger | None = None) -> Log:
    """Return a log that writes one JSON object for each line to a logger, by default `durableflow`."""
    target = logger or logging.getLogger("durableflow")

    def write(level: int, happened: str, facts: Object) -> None:
        if target.isEnabledFor(level):
            name = logging.getLevelName(level)
            line: Object = {"timestamp": time_text(clock_ms()), "level": name, "message": happened, **facts}
            target.log(level, "%s", values.to_text(line))

    return write


def _facts(update: Update) -> Object:
    return {
        "operationId": update["Id"],
        "operationName": update.get("Name"),
        "parentId": update.get("ParentId"),
        "type": update["Type"],
        "action": update["Action"],
    }


def _fingerprint(token: str) -> str:
    return blake2b(token.encode(), digest_size=4).hexdigest()
