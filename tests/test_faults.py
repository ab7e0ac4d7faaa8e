"""What failures are called, and what matches them."""

from typing import TYPE_CHECKING

import pytest
from botocore.session import get_session

from durableflow import faults
from durableflow.errors import Fault, Origin

if TYPE_CHECKING:
    from durableflow.operations import Operation


def test_the_error_shapes_of_invoke_are_those_of_botocore() -> None:
    model = get_session().get_service_model("lambda").operation_model("Invoke")
    assert {shape.name for shape in model.error_shapes} == faults.INVOKE_ERRORS


def invoke(status: str, **error: str) -> Fault:
    operation: Operation = {"Id": "x", "Type": "CHAINED_INVOKE", "Status": status}  # type: ignore[typeddict-item]
    if error:
        operation["ChainedInvokeDetails"] = {"Error": error}  # type: ignore[typeddict-item]
    return faults.invoke_fault(operation, state="call", attempt=2)


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        ("FAILED", "States.TaskFailed", "Invoke failed with unknown error"),
        ("STOPPED", "States.Stopped", "Invoke was stopped externally"),
        ("TIMED_OUT", "States.Timeout", "Invoke was TimedOut"),
        ("CANCELLED", "States.Cancelled", "Invoke was Cancelled"),
    ],
)
def test_an_invoke_without_an_error_object_has_the_name_of_its_status(status: str, name: str, message: str) -> None:
    fault = invoke(status)
    assert (fault.name, fault.message, fault.data) == (name, message, None)
    assert fault.origin == Origin(state="call", attempt=2, status=status, is_work=True)


@pytest.mark.parametrize("status", ["STOPPED", "TIMED_OUT", "CANCELLED"])
def test_the_message_of_an_error_object_wins_but_the_name_is_the_status(status: str) -> None:
    fault = invoke(status, ErrorType="Whatever", ErrorMessage="because", ErrorData='{"a":1}')
    assert fault.name == invoke(status).name
    assert (fault.message, fault.data) == ("because", {"a": 1})


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("CardDeclined", "CardDeclined"),
        ("ResourceNotFoundException", "Lambda.ResourceNotFoundException"),
        ("TooManyRequestsException", "Lambda.TooManyRequestsException"),
        ("AccessDenied", "States.Permissions"),
        ("AccessDeniedException", "States.Permissions"),
        ("Sandbox.Timedout", "States.Timeout"),
        ("ChainedInvoke.Timeout", "States.Timeout"),
        ("States.Timeout", "Worker.States.Timeout"),
        ("States.ALL", "Worker.States.ALL"),
        ("NonDeterministicExecutionError", "Worker.NonDeterministicExecutionError"),
        ("Runtime.ExitError", "Runtime.ExitError"),
    ],
)
def test_the_name_of_a_failed_function(reported: str, name: str) -> None:
    assert invoke("FAILED", ErrorType=reported, ErrorMessage="m").name == name


def test_error_data_that_is_not_json_stays_text() -> None:
    assert invoke("FAILED", ErrorType="A", ErrorData="{oops").data == "{oops"


WORK = Origin(is_work=True)
BRANCH = Origin(branch="a")


@pytest.mark.parametrize(
    ("pattern", "fault", "expected"),
    [
        ("States.ALL", Fault("Boom"), True),
        ("States.ALL", Fault("States.Timeout"), True),
        ("States.ALL", Fault("States.Runtime"), False),
        ("States.ALL", Fault("States.DataLimitExceeded"), False),
        ("States.ALL", Fault("States.OperationLimitExceeded"), False),
        ("States.*", Fault("States.DataLimitExceeded"), False),
        ("*", Fault("States.Runtime"), False),
        ("*", Fault("Boom"), True),
        ("States.DataLimitExceeded", Fault("States.DataLimitExceeded"), True),
        ("States.TaskFailed", Fault("Boom", origin=WORK), True),
        ("States.TaskFailed", Fault("Boom"), False),
        ("States.TaskFailed", Fault("States.Timeout", origin=WORK), False),
        ("States.TaskFailed", Fault("States.HeartbeatTimeout", origin=WORK), False),
        ("States.TaskFailed", Fault("States.TaskFailed"), True),
        ("States.BranchFailed", Fault("Boom", origin=BRANCH), True),
        ("States.BranchFailed", Fault("Boom", origin=Origin(index=0)), True),
        ("States.BranchFailed", Fault("Boom", origin=WORK), False),
        ("Http.5*", Fault("Http.503"), True),
        ("Http.5*", Fault("Http.404"), False),
        ("http.5*", Fault("Http.503"), False),
        ("Lambda.[ST]*", Fault("Lambda.TooManyRequestsException"), True),
    ],
)
def test_what_matches(pattern: str, fault: Fault, *, expected: bool) -> None:
    assert faults.matches([pattern], fault) is expected


def test_a_recorded_step_error_keeps_its_name_message_and_data() -> None:
    fault = faults.step_fault({"ErrorType": "Boom", "ErrorMessage": "m", "ErrorData": "[1]"}, state="s", attempt=3)
    assert (fault.name, fault.message, fault.data, fault.origin.attempt) == ("Boom", "m", [1], 3)
    assert fault.origin.is_work


def test_an_error_of_a_template_is_no_work() -> None:
    assert not faults.step_fault({"ErrorType": "States.QueryEvaluationError"}, state="s", attempt=1).origin.is_work


def test_what_a_catcher_sees() -> None:
    fault = Fault("Boom", "m", {"a": 1}, Origin(state="s", attempt=2, status="FAILED"))
    assert faults.error_value(fault) == {
        "name": "Boom",
        "message": "m",
        "data": {"a": 1},
        "state": "s",
        "attempt": 2,
        "status": "FAILED",
        "index": None,
        "branch": None,
    }


def test_a_fault_is_seen_as_cut_for_the_wire_from_the_first_moment() -> None:
    cut = faults.as_recorded(Fault("Boom", "x" * 50_000, {"a": 1}))
    assert len(cut.message) < 32_768
    assert cut.data is None
    assert faults.as_recorded(cut).message == cut.message
