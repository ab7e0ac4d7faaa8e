"""What do we and the durable execution service say to each other? Its words, its JSON.

Operations and updates stay the plain dictionaries that travel on the wire: the hot path (replay) looks a few members
up and copies nothing. One difference from REST JSON: **times are integers, epoch milliseconds**, as in the event that
Lambda hands to a function; :func:`operation_from_reply` makes them so wherever a reply brings seconds or datetimes
(protocol.md 1.2).

Source: protocol.md sections 1-3.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict, cast

from durableflow import values
from durableflow.errors import Fault
from durableflow.source import shown

if TYPE_CHECKING:
    from durableflow.values import Json

OperationType: TypeAlias = Literal["EXECUTION", "CONTEXT", "STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE"]
OperationStatus: TypeAlias = Literal[
    "STARTED", "PENDING", "READY", "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "STOPPED"
]
OperationAction: TypeAlias = Literal["START", "SUCCEED", "FAIL", "RETRY", "CANCEL"]

TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "STOPPED"})
"""Statuses after which an operation never changes again (protocol.md 2.1)."""

DELAY_MAX_SECONDS: Final = 31_622_400
"""Longest wait, retry delay and execution timeout: 366 days."""
STEP_RESULT_MAX_BYTES: Final = 262_144
OFFLOADED_RESULT_MAX_BYTES: Final = 64 * 1024 * 1024
"""Ours: a larger result, kept beside the record, would hardly fit into the memory of a function."""
CONTEXT_RESULT_MAX_BYTES: Final = 262_144
"""A larger context result is replayed from its children instead of being stored (rule 45)."""
INVOKE_PAYLOAD_MAX_BYTES: Final = 1_048_576
RESPONSE_MAX_BYTES: Final = 6 * 1024 * 1024 - 50
EXECUTION_RESULT_MAX_BYTES: Final = 6 * 1024 * 1024
ERROR_MAX_BYTES: Final = 32_767
"""The serialized error object stays *below* 32,768 bytes (protocol.md 2.5, rule 6)."""
BATCH_MAX_UPDATES: Final = 250
BATCH_MAX_BYTES: Final = 768_000
NAME_MAX_CHARACTERS: Final = 256


class ErrorObject(TypedDict, total=False):
    """An error on the wire; all members are text (protocol.md 11.1)."""

    ErrorType: str
    ErrorMessage: str
    ErrorData: str
    StackTrace: list[str]


class ExecutionDetails(TypedDict, total=False):
    """What the EXECUTION operation carries."""

    InputPayload: str


class ContextDetails(TypedDict, total=False):
    """What a CONTEXT carries."""

    ReplayChildren: bool
    Result: str
    Error: ErrorObject


class StepDetails(TypedDict, total=False):
    """What a STEP carries; `Attempt` counts finished attempts."""

    Attempt: int
    NextAttemptTimestamp: int
    Result: str
    Error: ErrorObject


class WaitDetails(TypedDict, total=False):
    """What a WAIT carries."""

    ScheduledEndTimestamp: int


class CallbackDetails(TypedDict, total=False):
    """What a CALLBACK carries."""

    CallbackId: str
    Result: str
    Error: ErrorObject


class ChainedInvokeDetails(TypedDict, total=False):
    """What a CHAINED_INVOKE carries."""

    Result: str
    Error: ErrorObject


class _OperationRequired(TypedDict):
    Id: str
    Type: OperationType
    Status: OperationStatus


class Operation(_OperationRequired, total=False):
    """What the service recorded under one id (protocol.md 2.3); times in epoch milliseconds."""

    ParentId: str
    Name: str
    SubType: str
    StartTimestamp: int
    EndTimestamp: int
    ExecutionDetails: ExecutionDetails
    ContextDetails: ContextDetails
    StepDetails: StepDetails
    WaitDetails: WaitDetails
    CallbackDetails: CallbackDetails
    ChainedInvokeDetails: ChainedInvokeDetails


class StepOptions(TypedDict, total=False):
    """With RETRY of a STEP only: 1 to 31,622,400."""

    NextAttemptDelaySeconds: int


class WaitOptions(TypedDict, total=False):
    """With START of a WAIT: 1 to 31,622,400."""

    WaitSeconds: int


class CallbackOptions(TypedDict, total=False):
    """With START of a CALLBACK; 0 or absent is none."""

    TimeoutSeconds: int
    HeartbeatTimeoutSeconds: int


class ChainedInvokeOptions(TypedDict, total=False):
    """With START of a CHAINED_INVOKE."""

    FunctionName: str
    TenantId: str


class ContextOptions(TypedDict, total=False):
    """With SUCCEED of a CONTEXT."""

    ReplayChildren: bool


class _UpdateRequired(TypedDict):
    Id: str
    Type: OperationType
    Action: OperationAction


class Update(_UpdateRequired, total=False):
    """A change that we ask the service to record (protocol.md 2.3)."""

    ParentId: str
    Name: str
    SubType: str
    Payload: str
    Error: ErrorObject
    StepOptions: StepOptions
    WaitOptions: WaitOptions
    CallbackOptions: CallbackOptions
    ChainedInvokeOptions: ChainedInvokeOptions
    ContextOptions: ContextOptions


DETAILS: Final[dict[str, str]] = {
    "EXECUTION": "ExecutionDetails",
    "CONTEXT": "ContextDetails",
    "STEP": "StepDetails",
    "WAIT": "WaitDetails",
    "CALLBACK": "CallbackDetails",
    "CHAINED_INVOKE": "ChainedInvokeDetails",
}
"""The member of an Operation that holds the details of its type."""


def operation_id(path: str) -> str:
    """Return the id of the operation at a name path: 64 hex digits of BLAKE2b (language.md 8)."""
    return blake2b(path.encode()).hexdigest()[:64]


_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")


def wire_name(text: str) -> str:
    """Return a path as a Name on the wire: printable ASCII, at most 256 characters (language.md 8; rule 77).

    A longer one is cut and ends in a hash of the whole, so that two long names stay different.
    """
    name = _NOT_PRINTABLE.sub("_", text)
    if len(name) <= NAME_MAX_CHARACTERS:
        return name
    return f"{name[: NAME_MAX_CHARACTERS - 9]}~{blake2b(text.encode(), digest_size=4).hexdigest()}"


def given_name(text: str) -> str:
    """Return a label or item name, which is the author's own, as a Name on the wire: cleaned, then cut (rule 37)."""
    return _NOT_PRINTABLE.sub("_", text)[:NAME_MAX_CHARACTERS]


def fault_from_error(error: ErrorObject | None, *, default_name: str, default_message: str) -> Fault:
    """Return the fault that an error object on the wire stands for; members that are missing take the defaults.

    `ErrorData` becomes JSON where it is JSON text, else stays text (rule 46).
    """
    if not error:
        return Fault(default_name, default_message)
    data: Json = None
    if (text := error.get("ErrorData")) is not None:
        try:
            data = values.from_text(text)
        except values.ValueRefusedError:
            data = text
    return Fault(error.get("ErrorType") or default_name, error.get("ErrorMessage", default_message), data)


def error_from_fault(fault: Fault) -> ErrorObject:
    """Return a fault as an error object, cut to less than 32,768 bytes of valid UTF-8 (rule 45).

    Data that does not fit is left out whole, since half a JSON text is none; then the message is cut.
    """
    error: ErrorObject = {"ErrorType": _cut(fault.name, 1_024), "ErrorMessage": fault.message}
    if fault.data is not None:
        error["ErrorData"] = values.to_text(fault.data)
    if _error_bytes(error) > ERROR_MAX_BYTES:
        error.pop("ErrorData", None)
    if _error_bytes(error) > ERROR_MAX_BYTES:
        # A character takes one to twelve bytes here (UTF-8, or its JSON escape), so the length is searched for.
        kept = bisect_right(range(len(fault.message)), ERROR_MAX_BYTES, key=partial(_bytes_with_message, error))
        error["ErrorMessage"] = fault.message[: kept - 1]
    return error


def _bytes_with_message(error: ErrorObject, length: int) -> int:
    return _error_bytes({**error, "ErrorMessage": error.get("ErrorMessage", "")[:length]})


def _error_bytes(error: ErrorObject) -> int:
    return values.size_bytes(values.to_text(cast("Json", error)))


def _cut(text: str, size: int) -> str:
    if values.size_bytes(text) <= size:
        return text
    return text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(milliseconds: int) -> str:
    """Return an epoch time as authors see it: ``2026-01-01T00:00:00.000Z`` (rule 26)."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def milliseconds_from_reply(time: object) -> int:
    """Return the epoch milliseconds of a time in a reply: a datetime (boto3) or epoch seconds (REST JSON)."""
    if isinstance(time, datetime):
        return (time - _EPOCH) // timedelta(milliseconds=1)
    if isinstance(time, (int, float)):
        return round(time * 1000)
    raise TypeError(f"{type(time).__name__} is no time")


_TIMES = ("StartTimestamp", "EndTimestamp")
_DETAIL_TIMES = {
    "STEP": ("StepDetails", "NextAttemptTimestamp"),
    "WAIT": ("WaitDetails", "ScheduledEndTimestamp"),
}


_STATUSES: Final = TERMINAL | {"STARTED", "PENDING", "READY"}


def checked_operation(item: object) -> Operation:
    """Return what came in as an operation if it can be one: an id, a known type, a known status.

    Unknown members stay and are ignored (rule 52).

    Raises:
        ValueError: it cannot; the message says why, in one line.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"an operation is {type(item).__name__}, not an object")  # noqa: TRY004 - input, not a call
    operation = cast("Mapping[str, object]", item)
    identity, kind, status = operation.get("Id"), operation.get("Type"), operation.get("Status")
    if not isinstance(identity, str) or not identity:
        raise ValueError("an operation has no 'Id'")
    # Neither needs to be text in a damaged file, and what cannot be hashed is in no set.
    if not isinstance(kind, str) or kind not in DETAILS:
        raise ValueError(f"operation '{shown(identity)}' has the unknown type '{shown(str(kind))}'")
    if not isinstance(status, str) or status not in _STATUSES:
        raise ValueError(f"operation '{shown(identity)}' has the unknown status '{shown(str(status))}'")
    return cast("Operation", item)


def operation_from_reply(operation: Mapping[str, object]) -> Operation:
    """Return an operation of an API reply with its times as epoch milliseconds; the reply is not changed."""
    made = dict(operation)
    for member in _TIMES:
        if (time := made.get(member)) is not None:
            made[member] = milliseconds_from_reply(time)
    place = _DETAIL_TIMES.get(cast("str", made.get("Type")))
    if place:
        details = cast("dict[str, object] | None", made.get(place[0]))
        if details and (time := details.get(place[1])) is not None:
            made[place[0]] = {**details, place[1]: milliseconds_from_reply(time)}
    return cast("Operation", made)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionName:
    """The parts of a function name, a partial or a whole ARN; None for what it does not say."""

    name: str
    qualifier: str | None
    account: str | None
    region: str | None


_FUNCTION = re.compile(
    r"(?:(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d):)?(?P<account>\d{12}):function:)?"
    r"(?P<name>[A-Za-z0-9_.-]+)(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[A-Za-z0-9_-]+))?"
)
_FUNCTION_CHARACTERS_MAX = 256


def function_name(text: str) -> FunctionName | None:
    """Return the parts of `name`, `name:qualifier`, `account:function:name[:qualifier]` or an ARN, else None."""
    match = _FUNCTION.fullmatch(text) if len(text) <= _FUNCTION_CHARACTERS_MAX else None
    if match is None:
        return None
    return FunctionName(
        name=match["name"], qualifier=match["qualifier"], account=match["account"], region=match["region"]
    )
