"""What does a recorded execution look like in a file, and what does a workflow make of it today?

A recording holds the operations of one execution, as the service sends them, and the decision that the workflow took
on them. It is a golden file: plain JSON that a reviewer can read, the same on every machine, checked by replaying it.

    {"durableflow": 1, "kind": "recording", "workflow": "order_basic", "digest": "9f…",
     "operations": [{"Id": "execution", "Type": "EXECUTION", …}, …],
     "decision": {"updates": […], "calls": […], "outcome": {"Status": "SUCCEEDED", "Result": "…"}}}

Read are also the two things that AWS prints: the events of `get-durable-execution-history` and the operations of
`get-durable-execution-state`. Replaying is pure: nothing is called, nothing is recorded.

What differs from run to run is normalised: times become milliseconds since the execution's start without what the
machine took, generated ids become `execution`, `callback-1`, …; ids of operations follow from the workflow and stay.

Source: language.md 8; protocol.md 2, 8; reliability.md 3.4 (golden files).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from durableflow import values
from durableflow.decision import Failed, Pending, Succeeded
from durableflow.errors import UsageError, diagnostic
from durableflow.interpreter import decide
from durableflow.operations import DETAILS, TERMINAL, checked_operation, milliseconds_from_reply
from durableflow.plan import Aws, Http, Step
from durableflow.source import Mark, Source, Span, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from durableflow.decision import Call, Decision, Outcome, SchemaCheck
    from durableflow.errors import ReplayError
    from durableflow.operations import Operation
    from durableflow.plan import Plan
    from durableflow.values import Json, Object

FORMAT: Final = 1
"""Version of the file's form. A reader refuses a higher one."""
KIND: Final = "recording"
SIZE_MAX_BYTES: Final = 128 * 1024 * 1024
"""The platform keeps at most 100 MB for an execution (protocol.md 9)."""
REDACTED: Final = "[redacted]"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded execution.

    Args:
        operations: with the EXECUTION operation; times are integers, milliseconds.
        workflow: the workflow's name, where the file says so.
        digest: of the plan that ran, where the file says so.
        decision: what was decided on these operations; of a history just `{"outcome": …}` once it has ended.
    """

    operations: tuple[Operation, ...]
    workflow: str | None = None
    digest: str | None = None
    decision: Object = field(default_factory=dict[str, "Json"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a workflow makes of a recording.

    Args:
        outcome: how the execution ends, or that it waits; None where it goes on with what `upcoming` says.
        upcoming: what happens next, a line each.
        mismatch: where record and workflow disagree, or None.
        difference: the first place where the decision is not the recorded one, or None.
        digest_differs: whether the workflow is another than the recorded one; None where the recording does not say.
        decision: what was decided, as a recording holds it.
    """

    outcome: Outcome | None
    upcoming: tuple[str, ...]
    mismatch: ReplayError | None
    difference: str | None
    digest_differs: bool | None
    decision: Object

    @property
    def is_same(self) -> bool:
        """Whether the workflow still does what is recorded."""
        return self.mismatch is None and self.difference is None


def replay(
    plan: Plan,
    recording: Recording,
    *,
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
) -> ReplayReport:
    """Say what a plan makes of a recorded execution: the outcome, what would happen next, or where they disagree."""
    decision = decide(plan, recording.operations, env=env, check_schema=check_schema)
    made = decision_object(decision)
    mismatch = decision.outcome.mismatch if isinstance(decision.outcome, Failed) else None
    expected = {member: made[member] for member in recording.decision if member in made}
    return ReplayReport(
        outcome=decision.outcome,
        upcoming=tuple(_upcoming(decision, recording.operations)),
        mismatch=mismatch,
        difference=_difference(cast("Json", recording.decision), cast("Json", expected)),
        digest_differs=None if recording.digest is None else recording.digest != plan.digest,
        decision=made,
    )


def record(
    plan: Plan,
    operations: Iterable[Operation],
    *,
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
    secrets: Iterable[str] = (),
) -> Object:
    """Return an execution as the content of a recording: normalised, without secrets, with the plan's decision.

    Args:
        plan: what ran.
        operations: all of the execution, with the EXECUTION operation.
        env: the environment that templates read.
        check_schema: as the interpreter takes it.
        secrets: texts that must not be in the file, wherever they occur in it.
    """
    kept = redacted(normalised(operations), secrets)
    decision = decide(plan, kept, env=env, check_schema=check_schema)
    content: Object = {
        "durableflow": FORMAT,
        "kind": KIND,
        "workflow": plan.name,
        "digest": plan.digest,
        "operations": cast("Json", kept),
        "decision": decision_object(decision),
    }
    return redacted(content, secrets)  # the environment may hold some, too


def to_text(content: Json) -> str:
    """Return the content of a recording as the text of its file: indented, with a line end."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode() + "\n"


def decision_object(decision: Decision) -> Object:
    """Return a decision as a recording holds it."""
    return {
        "updates": cast("Json", list(decision.updates)),
        "calls": [
            {
                "operationId": call.operation_id,
                "state": call.path,
                "handler": _work_of(call),
                "payload": call.payload,
                "attempt": call.attempt,
            }
            for call in decision.calls
        ],
        "outcome": _outcome_object(decision.outcome),
    }


def _work_of(call: Call) -> str:
    """Return what a call is to do, in a word: the handler, the action, or `http`."""
    match call.node:
        case Step(handler=handler):
            return handler
        case Aws(service=service, action=action):
            return f"{service}:{action}"
        case Http():
            return "http"


def _outcome_object(outcome: Outcome | None) -> Json:
    match outcome:
        case None:
            return None
        case Succeeded(result):
            return {"Status": "SUCCEEDED", "Result": result}
        case Failed(error=error):
            return {"Status": "FAILED", "Error": cast("Json", error)}
        case Pending():
            return {"Status": "PENDING"}


# What happens next, in words.


def _upcoming(decision: Decision, operations: Iterable[Operation]) -> Iterator[str]:
    for update in decision.updates:
        yield f"{update['Action']} {update['Type']} '{shown(update.get('Name') or update['Id'])}'"
    for call in decision.calls:
        yield f"call {shown(_work_of(call))} for '{shown(call.path)}', attempt {call.attempt}"
    if isinstance(decision.outcome, Pending):
        for operation in operations:
            if operation["Type"] not in ("EXECUTION", "CONTEXT") and operation["Status"] not in TERMINAL:
                name = shown(operation.get("Name") or operation["Id"])
                yield f"wait for {operation['Type']} '{name}', which is {operation['Status']}"


def _difference(recorded: Json, made: Json, place: str = "decision") -> str | None:
    """Return the first place where two values differ, with both sides, or None."""
    if isinstance(recorded, dict) and isinstance(made, dict):
        for key in (*recorded, *made):
            if key not in made or key not in recorded:
                side, value = ("recorded only", recorded[key]) if key in recorded else ("new", made[key])
                return f"{place}.{shown(key)} is {side}: {_brief(value)}"
            if found := _difference(recorded[key], made[key], f"{place}.{shown(key)}"):
                return found
    elif isinstance(recorded, list) and isinstance(made, list):
        for i, (old, new) in enumerate(zip(recorded, made, strict=False)):
            if found := _difference(old, new, f"{place}[{i}]"):
                return found
        if len(recorded) != len(made):
            return f"{place} has {len(made)} entries, recorded are {len(recorded)}"
    elif not values.equal(recorded, made):
        return f"{place} is {_brief(made)}, recorded is {_brief(recorded)}"
    return None


def _brief(value: Json) -> str:
    return shown(values.to_text(value))


# Normalising: the same execution gives the same file everywhere.

_GENERATED = re.compile(r"(?<![\w-])(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})(?![\w-])")
_ARN = re.compile(r"arn:[a-z0-9-]+:lambda:[a-z0-9-]+:\d{12}:function:[^\s\"'\\/]+/durable-execution/[\w-]+/[\w-]+")
_WHOLE_SECOND: Final = 1000


def normalised(operations: Iterable[Operation]) -> list[Operation]:
    """Return operations without what differs from run to run; ids of operations, names and payloads stay.

    Times become milliseconds since the start. What the machine took is left out: of the time between two recorded
    instants only whole seconds count, which are waits, and a wait keeps its length.
    """
    listed = list(operations)
    times = _times(listed)
    replaced: dict[str, str] = {}
    for operation in listed:
        if operation["Type"] == "EXECUTION":
            replaced[operation["Id"]] = "execution"
        if callback := operation.get("CallbackDetails", {}).get("CallbackId"):
            replaced.setdefault(callback, f"callback-{len(replaced)}")
    for text in _texts(cast("Json", listed)):
        for generated in (*_ARN.findall(text), *_GENERATED.findall(text)):
            replaced.setdefault(generated, f"generated-{len(replaced)}")
    made = _replacing(cast("Json", [_timed(operation, times) for operation in listed]), replaced)
    return cast("list[Operation]", made)


def _times(operations: Sequence[Operation]) -> dict[int, int]:
    """Map each instant to its normalised one."""
    instants = sorted({time for operation in operations for time in _instants(operation)})
    due = {
        scheduled: (operation["StartTimestamp"], scheduled)
        for operation in operations
        if (scheduled := operation.get("WaitDetails", {}).get("ScheduledEndTimestamp")) is not None
        and "StartTimestamp" in operation
    }
    made: dict[int, int] = {}
    before, current = (instants[0], 0) if instants else (0, 0)
    for instant in instants:
        current += (instant - before) // _WHOLE_SECOND * _WHOLE_SECOND
        if instant in due:
            start, end = due[instant]
            current = max(current, made[start] + end - start)
        made[instant] = current
        before = instant
    return made


def _instants(operation: Operation) -> Iterator[int]:
    for time in (
        operation.get("StartTimestamp"),
        operation.get("EndTimestamp"),
        operation.get("StepDetails", {}).get("NextAttemptTimestamp"),
        operation.get("WaitDetails", {}).get("ScheduledEndTimestamp"),
    ):
        if time is not None:
            yield time


def _timed(operation: Operation, times: Mapping[int, int]) -> Operation:
    made: dict[str, Any] = dict(operation)
    for member in ("StartTimestamp", "EndTimestamp"):
        if member in made:
            made[member] = times[made[member]]
    for details, member in (("StepDetails", "NextAttemptTimestamp"), ("WaitDetails", "ScheduledEndTimestamp")):
        if made.get(details, {}).get(member) is not None:
            made[details] = {**made[details], member: times[made[details][member]]}
    return cast("Operation", made)


def redacted(value: _T, secrets: Iterable[str]) -> _T:
    """Return a JSON value without the given texts, also where they stand escaped inside JSON text."""
    found: dict[str, str] = {}
    for secret in secrets:
        text = secret
        for _ in range(3):  # as it is; in a payload, which is JSON text; in a payload that quotes one
            if text:
                found[text] = REDACTED
            found.setdefault(json.dumps(text)[1:-1] or REDACTED, REDACTED)
            text = json.dumps(text, ensure_ascii=False)[1:-1]
    return cast("_T", _replacing(cast("Json", value), found)) if found else value


def _replacing(value: Json, replaced: Mapping[str, str]) -> Json:
    # Longest first: an ARN holds an execution's id, and a secret may begin like another one.
    pattern = re.compile("|".join(re.escape(text) for text in sorted(replaced, key=len, reverse=True)) or r"(?!)")

    def visit(value: Json) -> Json:
        if isinstance(value, str):
            return pattern.sub(lambda match: replaced[match.group()], value)
        if isinstance(value, list):
            return [visit(item) for item in value]
        if isinstance(value, dict):
            return {cast("str", visit(key)): visit(item) for key, item in value.items()}
        return value

    return visit(value)


def _texts(value: Json) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)
        case _:
            pass


# Reading files: ours, and what AWS prints.


def load_recording(data: bytes, name: str) -> Recording:
    """Return what a file holds: a recording, a history (`Events`) or a state (`Operations`), or pages of these.

    Args:
        data: the file's bytes.
        name: how the user names the file, for messages.

    Raises:
        UsageError: DF601 not JSON text, DF602 none of the three, DF603 a newer format, DF604 damaged,
            DF605 incomplete, DF606 too large. With the line wherever there is one.
    """
    file = _File(data, name)
    content = file.value
    pages = content if isinstance(content, list) and content else [content]
    first = pages[0]
    if values.is_object(first) and first.get("kind") == KIND and len(pages) == 1:
        return _own(file, first)
    for member in ("Events", "Operations"):
        if all(values.is_object(page) and isinstance(page.get(member), list) for page in pages):
            if cast("Object", pages[-1]).get("NextMarker"):
                raise file.refused(
                    "DF605",
                    "there are more pages than this file holds: its last page has a 'NextMarker'",
                    hint="fetch all of them; the AWS CLI does so unless told otherwise (--no-paginate, --max-items)",
                )
            items = [item for page in pages for item in cast("list[Json]", cast("Object", page)[member])]
            try:
                return _history(items) if member == "Events" else Recording(operations=tuple(from_state(items)))
            except _DamagedError as damage:
                raise file.refused(damage.code, damage.message, at=(member, damage.index), hint=damage.hint) from damage
    raise file.refused(
        "DF602",
        "this is neither a recording nor what AWS prints",
        hint="give a file that `durableflow run --record` wrote, or the output of "
        "`aws lambda get-durable-execution-history` or `get-durable-execution-state`",
    )


def _own(file: _File, content: Object) -> Recording:
    version = content.get("durableflow")
    if not isinstance(version, int) or version < 1:
        raise file.refused("DF604", "'durableflow' is no format number", hint="the first format is 1")
    if version > FORMAT:
        raise file.refused(
            "DF603",
            f"the recording has format {version}, this durableflow reads up to {FORMAT}",
            hint="install the version of durableflow that wrote it, or record the execution again",
        )
    listed = content.get("operations")
    if not isinstance(listed, list):
        raise file.refused("DF604", "'operations' is no list", hint=_AGAIN)
    decision = content.get("decision", {})
    if not values.is_object(decision):
        raise file.refused("DF604", "'decision' is no object", hint=_AGAIN)
    try:
        operations = tuple(_sound(listed))
    except _DamagedError as damage:
        raise file.refused(damage.code, damage.message, at=("operations", damage.index), hint=damage.hint) from damage
    workflow, digest = content.get("workflow"), content.get("digest")
    return Recording(
        operations=operations,
        workflow=workflow if isinstance(workflow, str) else None,
        digest=digest if isinstance(digest, str) else None,
        decision=decision,
    )


_AGAIN: Final = "record the execution again"


class _DamagedError(ValueError):
    """An entry of a list is not what it should be."""

    def __init__(self, index: int | None, message: str, *, code: str = "DF604", hint: str | None = _AGAIN) -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.code = code
        self.hint = hint


def _sound(items: Sequence[Json]) -> Iterator[Operation]:
    """Give the entries of a list as operations, checked: each known, ids unique, exactly one EXECUTION."""
    seen: dict[str, int] = {}
    executions = 0
    for i, item in enumerate(items):
        try:
            operation = checked_operation(item)
            for time in _instants(operation):
                _whole(time)
        except (ValueError, AttributeError) as error:
            raise _DamagedError(i, f"entry {i + 1}: {error}") from error
        if operation["Id"] in seen:
            raise _DamagedError(i, f"entry {i + 1} has the id of entry {seen[operation['Id']] + 1}")
        seen[operation["Id"]] = i
        executions += operation["Type"] == "EXECUTION"
        yield operation
    if executions != 1:
        raise _DamagedError(None, f"there are {executions} EXECUTION operations instead of one")


def _whole(time: object) -> None:
    if type(time) is not int:
        raise ValueError(f"the time {shown(str(time))} is no whole number of milliseconds")


def from_state(operations: Iterable[Mapping[str, Any] | Json]) -> list[Operation]:
    """Return the operations of `get_durable_execution_state`, all pages joined; times as numbers, text or datetimes.

    Raises:
        ValueError: an entry is no operation.
    """
    listed = list(operations)
    made: list[Json] = []
    for i, item in enumerate(listed):
        try:
            made.append(cast("Json", _with_milliseconds(checked_operation(item))))
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise _DamagedError(i, f"entry {i + 1}: {error}") from error
    return list(_sound(made))


def _with_milliseconds(operation: Operation) -> Operation:
    times = {time: _milliseconds(time) for time in _instants(operation)}
    return _timed(operation, times)


def _milliseconds(time: object) -> int:
    if isinstance(time, str):
        moment = datetime.fromisoformat(time)
        time = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return milliseconds_from_reply(time)


# Histories. An operation is what its events add up to (protocol.md 8).

_EVENT = re.compile(
    r"(?P<kind>Context|Step|Wait|Callback|ChainedInvoke)(?P<what>Started|Succeeded|Failed|TimedOut|Stopped|Cancelled)"
)
_KINDS: Final = {
    "Context": "CONTEXT",
    "Step": "STEP",
    "Wait": "WAIT",
    "Callback": "CALLBACK",
    "ChainedInvoke": "CHAINED_INVOKE",
}
_ENDS: Final = {
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "TimedOut": "TIMED_OUT",
    "Stopped": "STOPPED",
    "Cancelled": "CANCELLED",
}
_NOT_OPERATIONS: Final = frozenset({"InvocationCompleted", "ExecutionPaused", "ExecutionResumed"})


def from_history(events: Iterable[Mapping[str, Any] | Json]) -> list[Operation]:
    """Return the operations that the events of a history add up to.

    Args:
        events: of all pages, in any order, with their payloads (`IncludeExecutionData`).

    Raises:
        ValueError: an event is missing, unknown or impossible, or its payload was left out.
    """
    return list(_history(list(events)).operations)


def _history(events: Sequence[Mapping[str, Any] | Json]) -> Recording:
    found: dict[str, dict[str, Any]] = {}
    outcome: Object | None = None
    for i, event in _in_order(events):
        try:
            kind = event["EventType"]
            if kind == "ExecutionStarted":
                found[""] = _execution(event)
            elif kind.startswith("Execution") and kind[9:] in _ENDS:
                outcome = _ended(kind, event)
            elif known := _EVENT.fullmatch(kind):
                _apply(found, event, known["kind"], known["what"])
            elif kind not in _NOT_OPERATIONS:
                raise _DamagedError(i, f"event {event['EventId']} has the unknown type '{shown(kind)}'")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, _DamagedError):
                raise _DamagedError(i, error.message, code=error.code, hint=error.hint) from error
            raise _DamagedError(i, f"event {i + 1} is damaged: {type(error).__name__} {error}") from error
    if "" not in found:
        raise _DamagedError(None, "the history does not begin: it has no ExecutionStarted event")
    return Recording(
        operations=tuple(cast("Iterable[Operation]", found.values())),
        decision={} if outcome is None else {"outcome": outcome},
    )


def _in_order(events: Sequence[Mapping[str, Any] | Json]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give events by EventId, with their place in the file: each once and none left out."""
    numbered: dict[int, tuple[int, dict[str, Any]]] = {}
    for i, event in enumerate(events):
        if not isinstance(event, dict) or type(number := event.get("EventId")) is not int:
            raise _DamagedError(i, f"entry {i + 1} is no event: it has no 'EventId'")
        before = numbered.setdefault(number, (i, cast("dict[str, Any]", event)))
        if before[1] != event:
            raise _DamagedError(i, f"two different events have the EventId {number}")
    for expected, number in enumerate(sorted(numbered), 1):
        if number != expected:
            raise _DamagedError(numbered[number][0], f"event {expected} is missing: the next one is {number}")
        yield numbered[number]


def _execution(event: Mapping[str, Any]) -> dict[str, Any]:
    operation = {
        "Id": "execution",
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": _milliseconds(event["EventTimestamp"]),
    }
    payload = _payload(event["ExecutionStartedDetails"].get("Input"))
    return {**operation, "ExecutionDetails": {} if payload is None else {"InputPayload": payload}}


def _ended(kind: str, event: Mapping[str, Any]) -> Object | None:
    details = event[f"{kind}Details"]
    if kind == "ExecutionSucceeded":
        return {"Status": "SUCCEEDED", "Result": _payload(details.get("Result")) or ""}
    # A time-out or a stop is the service's decision: the workflow itself was waiting.
    return {"Status": "FAILED", "Error": _payload(details.get("Error"))} if kind == "ExecutionFailed" else None


def _apply(found: dict[str, dict[str, Any]], event: Mapping[str, Any], kind: str, what: str) -> None:
    time = _milliseconds(event["EventTimestamp"])
    identity: str = event["Id"]
    operation = found.get(identity)
    if operation is None:
        operation = found[identity] = {"Id": identity, "Type": _KINDS[kind], "Status": "STARTED"}
        operation |= {member: event[member] for member in ("ParentId", "Name", "SubType") if event.get(member)}
        operation["StartTimestamp"] = time
    elif operation["Type"] != _KINDS[kind] or operation["Status"] in TERMINAL:
        raise _DamagedError(None, f"event {event['EventId']}: {operation['Type']} is {operation['Status']} already")
    given: dict[str, Any] = event.get(f"{event['EventType']}Details") or {}
    details: dict[str, Any] = operation.setdefault(DETAILS[operation["Type"]], {})
    operation["Status"] = _ENDS.get(what, "STARTED")
    if what != "Started":  # the outcome of an attempt takes the place of the one before
        details.pop("Result", None)
        details.pop("Error", None)
    if (result := _payload(given.get("Result"))) is not None:
        details["Result"] = result
    if (error := _payload(given.get("Error"))) is not None:
        details["Error"] = error
    match kind:
        case "Wait" if what == "Started":
            details["ScheduledEndTimestamp"] = _milliseconds(given["ScheduledEndTimestamp"])
        case "Callback" if what == "Started":
            details["CallbackId"] = given["CallbackId"]
        case "Step":
            _apply_attempt(operation, details, given.get("RetryDetails") or {}, time)
        case _:
            pass
    if operation["Status"] in TERMINAL:
        operation["EndTimestamp"] = time


def _apply_attempt(operation: dict[str, Any], details: dict[str, Any], retry: Mapping[str, Any], time: int) -> None:
    details.pop("NextAttemptTimestamp", None)
    if "CurrentAttempt" in retry:
        details["Attempt"] = retry["CurrentAttempt"]
    if delay := retry.get("NextAttemptDelaySeconds"):
        operation["Status"] = "PENDING"
        details["NextAttemptTimestamp"] = time + delay * 1000


def _payload(wrapper: Mapping[str, Any] | None) -> Any:
    if wrapper and wrapper.get("Truncated"):
        raise _DamagedError(
            None,
            "the history was fetched without its payloads",
            code="DF605",
            hint="fetch it with `--include-execution-data`",
        )
    return wrapper.get("Payload") if wrapper else None


class _File:
    """A JSON file whose entries can be found again by line, for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        self._source = Source(name=name)
        if len(data) > SIZE_MAX_BYTES:
            raise self.refused("DF606", f"the file has {len(data):,} bytes, at most {SIZE_MAX_BYTES:,} are read")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.refused("DF601", f"the file is not UTF-8 text at byte {error.start}", hint=_AGAIN) from error
        self._source = Source(name=name, text=text)
        if not text.strip():
            raise self.refused("DF601", "the file is empty", hint=_AGAIN)
        if conflict := re.search(r"^(?:<{7}|={7}|>{7})(?: |$)", text, re.MULTILINE):
            raise self.refused("DF601", "there is a merge conflict here", offset=conflict.start(), hint="resolve it")
        try:
            self.value = values.from_text(text)
        except values.ValueRefusedError as error:
            cause = error.__cause__
            offset = cause.pos if isinstance(cause, json.JSONDecodeError) else 0
            message = cause.msg if isinstance(cause, json.JSONDecodeError) else str(error)
            raise self.refused("DF601", f"the file is not JSON: {message}", offset=offset, hint=_AGAIN) from error

    def refused(
        self,
        code: str,
        message: str,
        *,
        offset: int = 0,
        at: tuple[str, int | None] | None = None,
        hint: str | None = None,
    ) -> UsageError:
        """Return the error that says what is wrong and where: at an offset, or at an entry of a list."""
        text = self._source.text
        if at is not None and at[1] is not None:
            offset = _offset_of(text, at[0], at[1])
        line = text.count("\n", 0, offset) + 1
        column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        span = Span(source=self._source, start=Mark(line, column), end=Mark(line, column + 1))
        return UsageError(diagnostic(code, message, span=span, hint=hint))


_BLANKS = re.compile(r"[\s,:]*")


def _offset_of(text: str, member: str, index: int) -> int:
    """Return where entry `index` of the lists called `member` begins; several pages count on."""
    decoder = json.JSONDecoder()
    for found in re.finditer(rf'"{member}"\s*:\s*\[', text):
        offset = found.end()
        while text[(offset := cast("re.Match[str]", _BLANKS.match(text, offset)).end())] != "]":
            if index == 0:
                return offset
            index -= 1
            offset = decoder.raw_decode(text, offset)[1]
    return 0
