"""Every event of the history against botocore's model of Lambda: each type, each member, each bound (protocol.md 8)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.session import get_session
from scripted import ERROR, PENDING, START, SUCCEEDED, Run, World, call, callback, context, ending, retry, step, wait

from durableflow.local.service import Function, Limits

MODEL = get_session().get_service_model("lambda")
EVENT = MODEL.shape_for("Event")
NUMBERS = {"integer": int, "boolean": bool, "string": str, "list": list}


def succeeds(run: Run) -> None:
    run.checkpoint(
        context(SubType="RunInChildContext", Name="saga"),
        step(ParentId="x", SubType="Step", Name="charge"),
        step("SUCCEED", ParentId="x", SubType="Step", Name="charge", Payload="1"),
        step(id_="b"),
        retry(3, "b", Error=ERROR),
        step(id_="poll", SubType="WaitForCondition"),
        retry(4, "poll", SubType="WaitForCondition", Payload="2"),
        context("SUCCEED", SubType="RunInChildContext", Name="saga", Payload="3"),
        context(id_="y"),
        context("FAIL", "y", Error=ERROR),
        step("FAIL", "c", Error={"ErrorType": "E", "ErrorMessage": "m", "ErrorData": "d", "StackTrace": ["f:1"]}),
    )
    run.checkpoint(
        wait(5, "w1"),
        wait(500, "w2"),
        wait(501, "w3"),
    )
    run.checkpoint(
        {"Id": "w2", "Type": "WAIT", "Action": "CANCEL"},
        {"Id": "w3", "Type": "WAIT", "Action": "CANCEL", "Error": ERROR},
    )
    run.answer(error=ERROR)
    run.world.sleep(5)
    run.wake()
    run.answer(SUCCEEDED)


def answers_callbacks(run: Run) -> None:
    told = run.checkpoint(
        callback("c1", TimeoutSeconds=9, HeartbeatTimeoutSeconds=8),
        callback("c2"),
        callback("c3", TimeoutSeconds=1),
        callback("c4", HeartbeatTimeoutSeconds=2),
    )
    run.answer(PENDING)
    ids = [told[name]["CallbackDetails"]["CallbackId"] for name in ("c1", "c2")]
    run.world.service.send_durable_execution_callback_success(CallbackId=ids[0], Result=" 1 no JSON")
    run.wake()
    run.world.service.send_durable_execution_callback_failure(CallbackId=ids[1], Error=ERROR)
    run.world.sleep(2)
    run.answer({"Status": "FAILED", "Error": ERROR})


def calls(run: Run) -> None:
    world = run.world
    run.checkpoint(
        call("echo", "i1", ChainedInvokeOptions={"FunctionName": "echo", "TenantId": "blue"}),
        call("echo", "i2"),
        call("child", "i3"),
        call("child", "i4"),
        call("nothing", "i5"),
        call("echo", "i6"),
        call("echo:$LATEST", "i7", payload=None),
    )
    run.answer(PENDING)
    jobs = {(job.function.name, job.operation_id or job.execution_arn): job for job in world.jobs}
    echoes = [job for (name, _), job in jobs.items() if name == "echo"]
    children = [job.execution_arn for (name, _), job in jobs.items() if name == "child"]
    world.jobs.clear()
    world.service.invocation_ended(echoes[0].id, text="no JSON")
    run.wake()
    world.service.invocation_ended(echoes[1].id, error=ERROR)
    world.service.stop_durable_execution(DurableExecutionArn=children[0] or "", Error=ERROR)
    world.sleep(100)  # the other child's timeout
    run.checkpoint(ending(Payload='"large"'))
    run.answer({"Status": "SUCCEEDED", "Result": ""})


def times_out(run: Run) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    run.world.sleep(1000)


def is_stopped(run: Run) -> None:
    run.world.service.pause_durable_execution(DurableExecutionArn=run.arn, Reason="deploying")
    run.answer(error={"ErrorType": "Runtime.ExitError", "ErrorMessage": "exit status 1"})
    run.world.service.resume_durable_execution(DurableExecutionArn=run.arn, Reason="done")
    run.wake()
    run.world.service.stop_durable_execution(DurableExecutionArn=run.arn, Error=ERROR)


SCENARIOS = (succeeds, answers_callbacks, calls, times_out, is_stopped)


def played(scenario: Any) -> Run:
    world = World(limits=Limits(target_seconds=50))
    world.functions["flow"] = Function(name="flow", version="1", execution_timeout_seconds=900)
    run = world.begin('{"n":1}')
    scenario(run)
    return run


@pytest.fixture(scope="module")
def histories() -> list[list[Any]]:
    return [(run := played(scenario)).world.events(run.arn) for scenario in SCENARIOS]


def check(value: Any, shape: Any, path: str, seen: set[str]) -> None:
    """Hold a value to a shape of the model, and note every member that it has."""
    if shape.type_name == "structure":
        assert isinstance(value, dict), path
        assert set(shape.required_members) <= set(value) <= set(shape.members), path
        for member, inner in value.items():
            seen.add(f"{shape.name}.{member}")
            check(inner, shape.members[member], f"{path}.{member}", seen)
    elif shape.type_name == "timestamp":
        assert type(value) in {int, float}, path
        assert START / 1000 <= value < START / 1000 + 10_000, f"{path}: seconds, not milliseconds"
    else:
        assert type(value) is NUMBERS[shape.type_name], path
        size = value if shape.type_name == "integer" else len(value) if shape.type_name == "string" else 0
        assert shape.metadata.get("min", 0) <= size <= shape.metadata.get("max", size), path
        if pattern := shape.metadata.get("pattern"):
            assert re.fullmatch(pattern, value), path
        assert value in (getattr(shape, "enum", None) or [value]), path


def members_of(shape: Any, found: dict[str, Any]) -> dict[str, Any]:
    for member, inner in getattr(shape, "members", {}).items():
        found[f"{shape.name}.{member}"] = inner
        members_of(inner, found)
    return found


def test_every_event_fits_the_model(histories: list[list[Any]]) -> None:
    for events in histories:
        for event in events:
            check(event, EVENT, event["EventType"], set())


def test_every_event_has_its_details_and_no_others(histories: list[list[Any]]) -> None:
    for events in histories:
        for event in events:
            details = [member for member in event if member.endswith("Details")]
            assert details == [f"{event['EventType']}Details"]
            of_operation = event["EventType"] != "InvocationCompleted"
            assert {"Id" in event, "Id" in event or "Name" in event or "ParentId" in event} == {of_operation}


def test_every_type_of_the_model_is_written(histories: list[list[Any]]) -> None:
    assert {event["EventType"] for events in histories for event in events} == set(MODEL.shape_for("EventType").enum)


def test_every_member_of_the_model_is_written(histories: list[list[Any]]) -> None:
    seen: set[str] = set()
    for events in histories:
        for event in events:
            check(event, EVENT, event["EventType"], seen)
    missing = {member for member in members_of(EVENT, {}) if member not in seen}
    assert missing == set()


@pytest.mark.parametrize("with_data", [True, False])
def test_what_is_left_out_is_marked_and_nothing_else_changes(with_data: bool) -> None:
    for scenario in SCENARIOS:
        run = played(scenario)
        reply = run.world.service.get_durable_execution_history(
            DurableExecutionArn=run.arn, IncludeExecutionData=with_data, MaxItems=1000
        )
        for whole, event in zip(run.world.events(run.arn), reply["Events"], strict=True):
            member = f"{event['EventType']}Details"
            for name, value in whole[member].items():
                if isinstance(value, dict) and "Truncated" in value:
                    assert value["Truncated"] is False
                    assert event[member][name] == (value if with_data else {"Truncated": True})
                else:
                    assert event[member][name] == value
            assert {**whole, member: None} == {**event, member: None}


def test_errors_have_a_type_and_a_message(histories: list[list[Any]]) -> None:
    found = [
        details["Error"]
        for events in histories
        for event in events
        if "Error" in (details := event[f"{event['EventType']}Details"])
    ]
    assert len(found) > 10
    assert [error for error in found if not {"ErrorType", "ErrorMessage"} <= error["Payload"].keys()] == []


def test_attempts_are_counted_and_delays_told(histories: list[list[Any]]) -> None:
    retries = [
        (event["Id"], event["EventType"], details["RetryDetails"])
        for event in histories[0]
        if "RetryDetails" in (details := event[f"{event['EventType']}Details"])
    ]
    assert retries == [
        ("a", "StepSucceeded", {"CurrentAttempt": 1}),
        ("b", "StepFailed", {"CurrentAttempt": 1, "NextAttemptDelaySeconds": 3}),
        ("poll", "StepSucceeded", {"CurrentAttempt": 1, "NextAttemptDelaySeconds": 4}),
        ("c", "StepFailed", {"CurrentAttempt": 1}),
    ]


def test_texts_are_kept_as_they_came(histories: list[list[Any]]) -> None:
    results = [
        details["Result"].get("Payload")
        for events in histories
        for event in events
        if "Result" in (details := event[f"{event['EventType']}Details"])
    ]
    assert {" 1 no JSON", "no JSON", '"large"', '"done"'} <= set(results)


def test_the_start_of_a_chained_invoke_tells_what_is_known(histories: list[list[Any]]) -> None:
    started = {
        event["Id"]: set(event["ChainedInvokeStartedDetails"])
        for event in histories[2]
        if event["EventType"] == "ChainedInvokeStarted"
    }
    plain = {"FunctionName", "Input", "ExecutedVersion"}
    assert started == {
        "i1": {*plain, "TenantId"},
        "i2": plain,
        "i3": {*plain, "DurableExecutionArn"},
        "i4": {*plain, "DurableExecutionArn"},
        "i5": {"FunctionName"},  # it has not started
        "i6": plain,
        "i7": plain,
    }


def test_timeouts_of_callbacks_are_told_when_there_are_any(histories: list[list[Any]]) -> None:
    started = {
        event["Id"]: {name: value for name, value in details.items() if name != "CallbackId"}
        for event in histories[1]
        if (details := event.get("CallbackStartedDetails"))
    }
    assert started == {
        "c1": {"HeartbeatTimeout": 8, "Timeout": 9},
        "c2": {},
        "c3": {"Timeout": 1},
        "c4": {"HeartbeatTimeout": 2},
    }


def test_replies_about_executions_fit_the_model() -> None:
    shape = MODEL.operation_model("GetDurableExecution").output_shape
    listed = MODEL.operation_model("ListDurableExecutionsByFunction").output_shape
    seen: set[str] = set()
    for scenario in SCENARIOS:
        run = played(scenario)
        service = run.world.service
        check(service.get_durable_execution(DurableExecutionArn=run.arn), shape, "get", seen)
        check(
            service.get_durable_execution(DurableExecutionArn=run.arn, IncludeExecutionData=False), shape, "get", set()
        )
        reply = service.list_durable_executions_by_function(FunctionName="flow")
        for item in reply["DurableExecutions"]:
            check(item, listed.members["DurableExecutions"].member, "list", set())
    world = World()
    world.functions["flow"] = Function(name="flow", version="1", execution_timeout_seconds=900)
    run = world.begin()
    world.service.pause_durable_execution(DurableExecutionArn=run.arn, Reason="deploying")
    # 366 days ahead while its timeout stands still: beyond what `check` takes for a time of these histories.
    found = {**world.describe(run.arn), "ExpectedExecutionTimeoutTimestamp": START / 1000}
    check(found, shape, "get", seen)
    missing = {name for name in shape.members if f"{shape.name}.{name}" not in seen}
    # Nothing is traced here.
    assert missing == {"TraceHeader"}
