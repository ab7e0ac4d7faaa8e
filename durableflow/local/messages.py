"""What may a request say, and how is it answered? The parts of the API that need no transaction.

Source: protocol.md 7.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, cast

from durableflow import ledger, values
from durableflow.errors import ServiceError, diagnostic
from durableflow.local.executions import checkpoint_token
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durableflow.local import history
    from durableflow.local.executions import Turn
    from durableflow.local.store import Execution
    from durableflow.operations import ErrorObject, Operation, Update
    from durableflow.values import Json

ITEMS_MAX: Final = 1000
_ITEMS_DEFAULT = 100
_STATUSES_MAX = 10
_STATUSES = frozenset(
    {"RUNNING", "PAUSING", "PAUSED", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED", "DELETING"},
)
_REASON_MAX_CHARACTERS = 1024

# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_token(execution: Execution, token: str) -> None:
    """Hold a request to the one token that is valid now.

    Raises:
        ServiceError: `Invalid checkpoint token`: used, stale, of another execution, or nothing is in flight.
    """
    is_open = not execution.has_ended and execution.invocation is not None and execution.outcome is None
    if not is_open or token != checkpoint_token(execution):
        raise ledger.refusal(ledger.INVALID_TOKEN)


def execution_of(turn: Turn, arn: str) -> Execution:
    """Return the execution of an ARN.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    execution = turn.execution(arn)
    if execution is None:
        raise not_found(f"Execution not found: {shown(arn)}")
    return execution


def page_size(count: int | None, *, most: int = ITEMS_MAX, usual: int = _ITEMS_DEFAULT) -> int:
    """Return how many items a page may have; `usual` unless it is said.

    Raises:
        ServiceError: InvalidParameterValueException.
    """
    if count is None:
        return usual
    if type(count) is not int or not 0 < count <= most:
        raise ledger.refusal(f"MaxItems must be 1 to {most}.")
    return count


def conditions(
    name: str | None, statuses: Sequence[str], after: float | None, before: float | None
) -> list[tuple[str, object]]:
    """Return what a list is to be filtered by, as `Store.executions` takes it; times in epoch seconds.

    Raises:
        ServiceError: InvalidParameterValueException.
    """
    if len(statuses) > _STATUSES_MAX or not _STATUSES.issuperset(statuses):
        raise ledger.refusal(f"Statuses must be up to ten of {', '.join(sorted(_STATUSES))}.")
    made: list[tuple[str, object]] = []
    if name is not None:
        made.append(("name = ?", name))
    if statuses:
        # One parameter for all of them: no status holds a comma.
        made.append(("instr(?, ',' || status || ',') > 0", f",{','.join(statuses)},"))
    if after is not None:
        made.append(("started > ?", after * 1000))
    if before is not None:
        made.append(("started < ?", before * 1000))
    return made


def payload_text(payload: bytes | str, limit: int) -> str | None:
    """Return a payload as text, None when it is empty; `limit` in bytes.

    Raises:
        ServiceError: RequestTooLargeException, or InvalidRequestContentException when it is not UTF-8.
    """
    data = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    if len(data) > limit:
        raise ServiceError(
            diagnostic("DF724", f"the payload has {len(data)} bytes, {limit} are allowed"),
            name="RequestTooLargeException",
            status=413,
            is_retryable=False,
        )
    try:
        return data.decode() or None
    except UnicodeDecodeError as error:
        raise ServiceError(
            diagnostic("DF720", f"the payload is not UTF-8 at byte {error.start}"),
            name="InvalidRequestContentException",
            status=400,
            is_retryable=False,
        ) from error


def check_reason(reason: object) -> None:
    """Hold the reason of a pause or of its end to the service model.

    Raises:
        ServiceError: InvalidParameterValueException.
    """
    if reason is None:
        return
    if not isinstance(reason, str) or len(reason) > _REASON_MAX_CHARACTERS or not ledger.is_unicode(reason):
        raise ledger.refusal(f"Reason must be text of at most {_REASON_MAX_CHARACTERS} characters.")


def digest(updates: Sequence[Update] | Sequence[Json]) -> bytes:
    """Return what tells one batch, or another request, from the next.

    Raises:
        ServiceError: InvalidParameterValueException: the batch is no JSON.
    """
    try:
        text = values.to_text(cast("Json", list(updates)))
    except (TypeError, ValueError) as error:
        raise ledger.refusal(f"Updates must be JSON: {error}.") from error
    return blake2b(text.encode(), digest_size=16).digest()


def size_bytes(operation: Operation) -> int:
    """Return the size of an operation as JSON."""
    return values.size_bytes(values.to_text(cast("Json", operation)))


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def execution_answer(ended: Mapping[str, object]) -> history.Reply:
    """Return what a synchronous Invoke says of an execution that has ended."""
    if ended["Status"] == "SUCCEEDED":
        result = cast("str | None", ended.get("Result"))
        return {"Payload": (result if result is not None else "null").encode()}
    error = cast("ErrorObject", ended.get("Error") or {"ErrorMessage": f"The execution ended {ended['Status']}."})
    return {"FunctionError": "Unhandled", "Payload": error_body(error)}


def error_body(error: ErrorObject) -> bytes:
    """Return an error as functions report it: `{errorMessage, errorType, errorData, stackTrace}`."""
    named = {f"{member[0].lower()}{member[1:]}": value for member, value in error.items()}
    return values.to_text(cast("Json", named)).encode()


def log_result(written: str) -> str:
    """Return the last lines of a function as Invoke has them."""
    return base64.b64encode(written.encode()).decode()


def not_found(message: str) -> ServiceError:
    """Return the refusal of a name that stands for nothing."""
    return ServiceError(diagnostic("DF721", message), name="ResourceNotFoundException", status=404, is_retryable=False)


def conflict(execution: Execution, wanted: str) -> ServiceError:
    """Return the refusal of what does not fit how an execution is; `wanted` completes "cannot be …"."""
    return ServiceError(
        diagnostic("DF726", f"the execution '{shown(execution.name)}' is {execution.status} and cannot be {wanted}"),
        name="ResourceConflictException",
        status=409,
        is_retryable=False,
    )


def closed(operation: Operation) -> ServiceError:
    """Return the refusal of an answer to a callback that takes none any more."""
    is_late = operation["Status"] == "TIMED_OUT"
    messages = {"TIMED_OUT": "Callback timed out.", "STARTED": "The execution of the callback has ended."}
    return ServiceError(
        diagnostic("DF723", messages.get(operation["Status"], "Callback already completed.")),
        name="CallbackTimeoutException" if is_late else "InvalidParameterValueException",
        status=400,
        is_retryable=False,
    )


def leaving() -> ServiceError:
    """Return the refusal of what a service that is about to end will not see the end of."""
    return unanswered("the service is about to end; what it has begun goes on when it is started again")


def unanswered(message: str) -> ServiceError:
    """Return the failure to answer in time."""
    return ServiceError(diagnostic("DF725", message), name="ServiceException", status=500, is_retryable=True)
