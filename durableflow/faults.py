"""What is a failure called, and which `errors:` globs match it?

A failure reaches a workflow from a recorded operation or from a template. Either way its name follows the rules below,
so that an author's catcher means the same on a replay, here and on AWS. Everything is decided by the name: whoever
raised it, what is recorded is what counts.

Source: language.md 6 and 12, rules 13-15, 57, 67, 78; protocol.md 4.1, 4.4.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from durableflow.errors import Fault, Origin
from durableflow.operations import error_from_fault, fault_from_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durableflow.operations import ErrorObject, Operation
    from durableflow.values import Json, Object

ALL: Final = "States.ALL"
TASK_FAILED: Final = "States.TaskFailed"
TIMEOUT: Final = "States.Timeout"
HEARTBEAT_TIMEOUT: Final = "States.HeartbeatTimeout"
BRANCH_FAILED: Final = "States.BranchFailed"
QUERY_EVALUATION: Final = "States.QueryEvaluationError"
RESULT_INVALID: Final = "States.ResultInvalid"
DATA_LIMIT: Final = "States.DataLimitExceeded"
RUNTIME: Final = "States.Runtime"
OPERATION_LIMIT: Final = "States.OperationLimitExceeded"
LOOP_LIMIT: Final = "States.LoopLimitExceeded"
PERMISSIONS: Final = "States.Permissions"
STEP_INTERRUPTED: Final = "States.StepInterrupted"
INPUT_INVALID: Final = "States.InputInvalid"
OUTPUT_INVALID: Final = "States.OutputInvalid"
CALLBACK_FAILED: Final = "States.CallbackFailed"
CONDITION_NOT_MET: Final = "States.ConditionNotMet"
COMPENSATION_FAILED: Final = "States.CompensationFailed"
TOLERANCE_EXCEEDED: Final = "States.ExceedToleratedFailureThreshold"
STOPPED: Final = "States.Stopped"
CANCELLED: Final = "States.Cancelled"
NON_DETERMINISTIC: Final = "NonDeterministicExecutionError"

NAMES: Final = (
    ALL, TASK_FAILED, TIMEOUT, HEARTBEAT_TIMEOUT, BRANCH_FAILED, TOLERANCE_EXCEEDED, QUERY_EVALUATION, PERMISSIONS,
    RUNTIME, DATA_LIMIT, INPUT_INVALID, OUTPUT_INVALID, CALLBACK_FAILED, CONDITION_NOT_MET, STEP_INTERRUPTED,
    LOOP_LIMIT, OPERATION_LIMIT, RESULT_INVALID, STOPPED, CANCELLED, COMPENSATION_FAILED,
)  # fmt: skip
"""Every error name of the language's own, and its groups (section 6; rules 13, 39)."""

ONLY_BY_EXACT_NAME: Final = frozenset({RUNTIME, DATA_LIMIT, OPERATION_LIMIT})
"""Caught only by their exact name, never by a group or wildcard (rule 14)."""
NEVER_RETRIED_BY_GLOB: Final = frozenset({QUERY_EVALUATION, RESULT_INVALID})
"""Errors of templates and of `result_schema`: repeated only when named exactly (rule 18)."""
_NOT_WORK: Final = frozenset({QUERY_EVALUATION, DATA_LIMIT, RUNTIME})

# The error shapes of Invoke in botocore's model of Lambda; a test compares them with the installed botocore.
INVOKE_ERRORS: Final = frozenset(
    {
        "CodeArtifactUserDeletedException",
        "CodeArtifactUserFailedException",
        "CodeArtifactUserPendingException",
        "DurableExecutionAlreadyStartedException",
        "EC2AccessDeniedException",
        "EC2ThrottledException",
        "EC2UnexpectedException",
        "EFSIOException",
        "EFSMountConnectivityException",
        "EFSMountFailureException",
        "EFSMountTimeoutException",
        "ENILimitReachedException",
        "ENINotReadyException",
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "InvalidRuntimeException",
        "InvalidSecurityGroupIDException",
        "InvalidSubnetIDException",
        "InvalidZipFileException",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "ModeNotSupportedException",
        "NoPublishedVersionException",
        "RecursiveInvocationException",
        "RequestTooLargeException",
        "ResourceConflictException",
        "ResourceNotFoundException",
        "ResourceNotReadyException",
        "RuntimeAliasDeletedException",
        "RuntimeVersionDeletedException",
        "S3FilesMountConnectivityException",
        "S3FilesMountFailureException",
        "S3FilesMountTimeoutException",
        "SerializedRequestEntityTooLargeException",
        "ServiceException",
        "ServiceQuotaExceededException",
        "SnapStartException",
        "SnapStartNotReadyException",
        "SnapStartRegenerationFailureException",
        "SnapStartTimeoutException",
        "SubnetIPAddressLimitReachedException",
        "TooManyRequestsException",
        "UnsupportedMediaTypeException",
    }
)
_ACCESS_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException"})
_SERVICE_TIMEOUTS: Final = frozenset({"ChainedInvoke.Timeout", "Sandbox.Timedout"})

# What a chained invoke says that ended badly without an error object: the seed's texts (protocol.md 4.1).
_INVOKE_ENDINGS: Final = {
    "FAILED": (TASK_FAILED, "Invoke failed with unknown error"),
    "STOPPED": (STOPPED, "Invoke was stopped externally"),
    "TIMED_OUT": (TIMEOUT, "Invoke was TimedOut"),
    "CANCELLED": (CANCELLED, "Invoke was Cancelled"),
}


def invoke_fault(operation: Operation, *, state: str, attempt: int, is_workflow: bool = False) -> Fault:
    """Return the fault of a chained invoke that ended FAILED, STOPPED, TIMED_OUT or CANCELLED.

    Args:
        operation: as recorded.
        state: the state's name.
        attempt: its attempt, from 1.
        is_workflow: whether it ran a child workflow, whose errors keep their names (rule 78).
    """
    status = operation["Status"]
    name, message = _INVOKE_ENDINGS[status]
    error = operation.get("ChainedInvokeDetails", {}).get("Error")
    fault = fault_from_error(error, default_name=name, default_message=message)
    # Only a FAILED invoke has a name of the worker's own; the other statuses are names themselves (rule 13).
    if status != "FAILED":
        fault.name = name
    elif error and error.get("ErrorType"):
        fault.name = child_name(fault.name) if is_workflow else worker_name(fault.name)
    fault.origin = Origin(state=state, attempt=attempt, status=status, is_work=True)
    return fault


def worker_name(name: str) -> str:
    """Return what an error that a function reports is called in a workflow (rules 13, 57, 78)."""
    if name in _SERVICE_TIMEOUTS:
        return TIMEOUT
    if name in _ACCESS_DENIED:
        return PERMISSIONS
    if name in INVOKE_ERRORS:
        return f"Lambda.{name}"
    return foreign_name(name)


def child_name(name: str) -> str:
    """Return what an error of a child workflow is called: as there, but for those that only there are special."""
    if name in ONLY_BY_EXACT_NAME or name == NON_DETERMINISTIC:
        return f"Worker.{name}"
    return name if name.startswith("States.") else worker_name(name)


def foreign_name(name: str) -> str:
    """Return a worker's own error name, which may not pose as one of ours (rule 57)."""
    return f"Worker.{name}" if name.startswith("States.") or name == NON_DETERMINISTIC else name


def step_fault(error: ErrorObject | None, *, state: str, attempt: int) -> Fault:
    """Return the fault of a step as it stands on record; names on record are final."""
    fault = fault_from_error(error, default_name=TASK_FAILED, default_message="")
    fault.origin = Origin(state=state, attempt=attempt, is_work=fault.name not in _NOT_WORK)
    return fault


def callback_fault(operation: Operation, *, state: str, attempt: int) -> Fault:
    """Return the fault of a callback that failed or was not answered in time (rule 13)."""
    error = operation.get("CallbackDetails", {}).get("Error")
    reported = fault_from_error(error, default_name="", default_message="Callback failed")
    if operation["Status"] == "TIMED_OUT":
        is_heartbeat = reported.name == "Callback.Heartbeat"
        fault = Fault(HEARTBEAT_TIMEOUT if is_heartbeat else TIMEOUT, reported.message)
    else:
        data: Object = {"type": reported.name or None}
        if isinstance(reported.data, dict):
            data = {**reported.data, **data}
        elif reported.data is not None:
            data["data"] = reported.data
        fault = Fault(CALLBACK_FAILED, reported.message, data)
    fault.origin = Origin(state=state, attempt=attempt)
    return fault


# What a context that fails keeps of a fault besides name and message (rule 67).

_KEPT: Final = "$error"


def context_error(fault: Fault) -> ErrorObject:
    """Return a fault as the error of a context of ours, so that nothing an author can see is lost with its children."""
    origin = fault.origin
    kept: Object = {
        "data": fault.data,
        "state": origin.state,
        "attempt": origin.attempt,
        "status": origin.status,
        "index": origin.index,
        "branch": origin.branch,
        "work": origin.is_work,
    }
    error = error_from_fault(Fault(fault.name, fault.message, {_KEPT: kept}))
    if "ErrorData" not in error:
        error = error_from_fault(Fault(fault.name, fault.message, {_KEPT: {**kept, "data": None}}))
    return error


def context_fault(error: ErrorObject | None) -> Fault:
    """Return the fault that :func:`context_error` recorded."""
    fault = fault_from_error(error, default_name=TASK_FAILED, default_message="")
    data = fault.data
    if isinstance(data, dict) and isinstance(kept := data.get(_KEPT), dict):
        fault.data = kept.get("data")
        fault.origin = Origin(
            state=_text(kept.get("state")),
            attempt=_number(kept.get("attempt")),
            status=_text(kept.get("status")),
            index=_number(kept.get("index")),
            branch=_text(kept.get("branch")),
            is_work=kept.get("work") is True,
        )
    return fault


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def as_recorded(fault: Fault) -> Fault:
    """Return a fault as a replay will see it: cut for the wire and read back (rule 67)."""
    recorded = fault_from_error(error_from_fault(fault), default_name=fault.name, default_message="")
    recorded.origin = fault.origin
    return recorded


def matches(errors: Iterable[str], fault: Fault) -> bool:
    """Say whether a list of globs on error names matches a fault (rule 14)."""
    return fault.name != NON_DETERMINISTIC and any(_matches_one(pattern, fault) for pattern in errors)


def _matches_one(pattern: str, fault: Fault) -> bool:
    name = fault.name
    if pattern == name:
        return True
    if name in ONLY_BY_EXACT_NAME:
        return False
    match pattern:
        case "States.ALL":
            return True
        case "States.TaskFailed":
            return fault.origin.is_work and name not in (TIMEOUT, HEARTBEAT_TIMEOUT)
        case "States.BranchFailed":
            return fault.origin.index is not None or fault.origin.branch is not None
        case _:
            return fnmatchcase(name, pattern)


def error_value(fault: Fault) -> Object:
    """Return a fault as the value `error` of templates (rule 15)."""
    origin = fault.origin
    return {
        "name": fault.name,
        "message": fault.message,
        "data": fault.data,
        "state": origin.state,
        "attempt": origin.attempt,
        "status": origin.status,
        "index": origin.index,
        "branch": origin.branch,
    }
