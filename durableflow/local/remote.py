"""How is a function called that runs elsewhere: in a runtime interface emulator, or on AWS? Once, and for its result.

Nothing is repeated here: an attempt that got no answer may have had its effect, and whether it is made again is for the
workflow's own `retry` to say.

Source: language.md 11; protocol.md 7.1 (Invoke); AWS's runtime interface emulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from durableflow import values
from durableflow.errors import Fault
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durableflow.actions import Clients

RESPONSE_MAX_BYTES: Final = 6 * 1024 * 1024
"""What a function may answer, as on Lambda."""
_CONNECT_SECONDS: Final = 10.0
_OK: Final = 200
_UNAVAILABLE: Final = "ServiceException"
"""Error of the Invoke API for a service in trouble; an author sees it with `Lambda.` in front."""
_REFUSALS: Final = {404: "ResourceNotFoundException", 413: "RequestTooLargeException", 429: "TooManyRequestsException"}
_ERROR_MEMBERS: Final = frozenset({"errorType", "errorMessage", "stackTrace", "requestId", "cause"})
"""What an error may consist of that an emulator answers with; it does not always say in a header that it is one."""


def emulated(url: str, payload: str, *, seconds: float) -> str:
    """Post an event to a runtime interface emulator and return the function's result, JSON text.

    Raises:
        TimeoutError: it was silent for so many seconds.
        Fault: the function's own error; `ResourceNotFoundException`, `TooManyRequestsException`, … as the status says;
            `ServiceException`, it cannot be reached or its answer is too large or no text.
    """
    import urllib3  # noqa: PLC0415 - it takes a tenth of a second, and few projects have such functions

    timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds)
    asked: dict[str, Any] = {"body": payload.encode(), "headers": {"Content-Type": "application/json"}}
    try:
        with (
            urllib3.PoolManager(retries=False, timeout=timeout) as pool,
            pool.request("POST", url, **asked, preload_content=False, redirect=False) as response,
        ):
            data = response.read(RESPONSE_MAX_BYTES + 1)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise TimeoutError from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Fault(_UNAVAILABLE, f"POST {shown(url)}: {_reason(error)}") from error
    if response.status != _OK:
        name = response.headers.get("x-amzn-errortype", "").partition(":")[0]
        message = f"POST {shown(url)} was answered with {response.status}"
        raise Fault(name or _REFUSALS.get(response.status, _UNAVAILABLE), message)
    text = _text(data)
    failed = _error(text, is_certain="x-amz-function-error" in response.headers)
    if failed is not None:
        raise failed
    return text


def invoked(arn: str, payload: str, tenant_id: str | None, *, seconds: float, clients: Clients) -> str:
    """Invoke a function on AWS and return its result, JSON text.

    Args:
        arn: of the function.
        payload: JSON text.
        tenant_id: None for none.
        seconds: how long it may be silent.
        clients: of botocore, with the region and credentials of this process.

    Raises:
        TimeoutError: it was silent for longer.
        Fault: the function's own error, or the error of the Invoke API by its code.
    """
    asked = {"FunctionName": arn, "Payload": payload.encode()}
    if tenant_id is not None:
        asked["TenantId"] = tenant_id
    try:
        answer: Mapping[str, Any] = clients.client("lambda", timeout_seconds=seconds).invoke(**asked)
        data: bytes = answer["Payload"].read(RESPONSE_MAX_BYTES + 1)
    except Exception as error:  # the edge to botocore: what it raises is made at run time
        if type(error).__name__ == "ReadTimeoutError":
            raise TimeoutError from error
        details: Mapping[str, Any] = getattr(error, "response", {}).get("Error", {})
        raise Fault(details.get("Code") or _UNAVAILABLE, details.get("Message") or _reason(error)) from error
    text = _text(data)
    if "FunctionError" in answer:
        raise _error(text, is_certain=True) or Fault("", text)
    return text


def _text(data: bytes) -> str:
    if len(data) > RESPONSE_MAX_BYTES:
        raise Fault("Function.ResponseSizeTooLarge", f"the function answered more than {RESPONSE_MAX_BYTES:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Fault("Runtime.MarshalError", f"the function answered no UTF-8, at byte {error.start}") from error


def _error(text: str, *, is_certain: bool) -> Fault | None:
    """Return the error that a function answered with, or None where the answer is a result."""
    try:
        value = values.from_text(text)
    except values.ValueRefusedError:
        return Fault("", text) if is_certain else None
    if not values.is_object(value):
        return Fault("", text) if is_certain else None
    name, message = value.get("errorType"), value.get("errorMessage")
    is_one = isinstance(name, str) and isinstance(message, str) and value.keys() <= _ERROR_MEMBERS
    if not is_certain and not is_one:
        return None
    # A runtime that cannot say what went wrong leaves the type out; a workflow sees States.TaskFailed (rule 13).
    return Fault(
        name if isinstance(name, str) else "",
        message if isinstance(message, str) else "",
        cast("Any", value.get("errorData")),
    )


def _reason(error: Exception) -> str:
    return shown(f"{type(error).__name__}: {error}".splitlines()[0])
