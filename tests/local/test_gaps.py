"""What the official local runner lacks or does in another way than AWS, row by row: here over HTTP, as boto3 sees it.

Source: protocol.md 12.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from scripted import ERROR, PENDING, START, SUCCEEDED, Run, World, call, callback, context, step, wait

from durableflow.local.http import Server
from durableflow.local.service import Function, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ARN = r"arn:aws:lambda:us-east-1:123456789012:function:[A-Za-z0-9_-]+:(\$LATEST|[0-9]+)/durable-execution/[\w-]+/[\w-]+"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Iterator[Any]:
    """AWS's own client, of a service that runs what the test runs."""

    def ask(method: str, members: Mapping[str, Any]) -> Any:
        return getattr(world.service, method)(**members)

    server = Server(ask)
    made = boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    yield made
    made.close()
    server.close()


def begun(client: Any, world: World, name: str | None = None, payload: str = "{}", function: str = "flow") -> Run:
    named = {} if name is None else {"DurableExecutionName": name}
    reply = client.invoke(FunctionName=function, InvocationType="Event", Payload=payload, **named)
    return Run(world=world, arn=reply["DurableExecutionArn"])


def events(client: Any, run: Run, **members: Any) -> list[Any]:
    found: list[Any] = client.get_durable_execution_history(DurableExecutionArn=run.arn, **members)["Events"]
    return found


def test_chained_invokes_run_and_an_unknown_function_is_failed_in_the_very_answer(client: Any, world: World) -> None:
    run = begun(client, world)
    changed = run.checkpoint(call("child"), call("nobody", id_="j"))
    assert (changed["i"]["Status"], changed["j"]["Status"]) == ("STARTED", "FAILED")
    assert changed["j"]["ChainedInvokeDetails"]["Error"]["ErrorType"] == "ResourceNotFoundException"
    run.answer(PENDING)
    child = Run(world=world, arn=events(client, run)[1]["ChainedInvokeStartedDetails"]["DurableExecutionArn"])
    child.answer(SUCCEEDED)
    run.wake()
    assert {each["Id"]: each["Status"] for each in run.state()}["i"] == "SUCCEEDED"


def test_an_arn_is_one_of_aws_with_the_version_that_runs(client: Any, world: World) -> None:
    run = begun(client, world, function="child", name="named")
    assert re.fullmatch(ARN, run.arn)
    assert ":function:child:7/durable-execution/named/" in run.arn
    found = client.get_durable_execution(DurableExecutionArn=run.arn)
    assert (found["FunctionArn"], found["Version"]) == (run.arn.partition("/")[0], "7")


def test_an_error_is_the_exception_of_its_name(client: Any, world: World) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_durable_execution(DurableExecutionArn=begun(client, world).arn + "0")


def test_a_token_that_is_used_up_is_told_in_the_words_that_sdks_look_for(client: Any, world: World) -> None:
    run = begun(client, world)
    with pytest.raises(client.exceptions.InvalidParameterValueException) as raised:
        client.checkpoint_durable_execution(DurableExecutionArn=run.arn, CheckpointToken="YWJj")
    assert raised.value.response["Error"]["Message"].startswith("Invalid checkpoint token")


def test_finished_late_and_unknown_callbacks_are_told_apart(client: Any, world: World) -> None:
    run = begun(client, world)
    opened = run.checkpoint(callback("late", TimeoutSeconds=5), callback("done"))
    late, done = (opened[name]["CallbackDetails"]["CallbackId"] for name in ("late", "done"))
    run.answer(PENDING)
    client.send_durable_execution_callback_success(CallbackId=done, Result=b"1")
    world.sleep(6)
    with pytest.raises(client.exceptions.CallbackTimeoutException) as raised:
        client.send_durable_execution_callback_success(CallbackId=late, Result=b"1")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.send_durable_execution_callback_failure(CallbackId=done)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.send_durable_execution_callback_heartbeat(CallbackId="QUJD/+8=")


def test_the_error_of_a_stop_is_kept(client: Any, world: World) -> None:
    run = begun(client, world)
    client.stop_durable_execution(DurableExecutionArn=run.arn, Error=ERROR)
    assert client.get_durable_execution(DurableExecutionArn=run.arn)["Error"] == ERROR
    assert events(client, run)[-1]["ExecutionStoppedDetails"]["Error"]["Payload"] == ERROR


def test_invoke_is_there_and_a_name_is_one_execution(client: Any, world: World) -> None:
    run = begun(client, world, name="once", payload='{"n":1}')
    again = client.invoke(FunctionName="flow", InvocationType="Event", Payload='{"n":1}', DurableExecutionName="once")
    assert (again["DurableExecutionArn"], world.jobs) == (run.arn, [])
    with pytest.raises(client.exceptions.DurableExecutionAlreadyStartedException):
        begun(client, world, name="once", payload='{"n":2}')


def test_lists_filter_by_every_status_and_by_version(client: Any, world: World) -> None:
    runs = {name: begun(client, world, name=name) for name in ("ends", "fails", "goes-on")}
    runs["ends"].answer(SUCCEEDED)
    runs["fails"].answer({"Status": "FAILED", "Error": ERROR})

    def listed(**members: Any) -> list[str]:
        found = client.list_durable_executions_by_function(FunctionName="flow", **members)["DurableExecutions"]
        return [each["DurableExecutionName"] for each in found]

    assert set(listed(Statuses=["SUCCEEDED", "FAILED"])) == {"ends", "fails"}
    assert listed(Statuses=["RUNNING"]) == ["goes-on"]
    assert (len(listed(Qualifier="1")), listed(Qualifier="2")) == (3, [])


def test_a_history_has_its_data_unless_it_is_not_wanted(client: Any, world: World) -> None:
    run = begun(client, world, payload='{"n":1}')
    assert events(client, run)[0]["ExecutionStartedDetails"]["Input"] == {"Payload": '{"n":1}', "Truncated": False}
    without = events(client, run, IncludeExecutionData=False)
    assert without[0]["ExecutionStartedDetails"]["Input"] == {"Truncated": True}


def test_events_keep_their_ids_and_their_details(client: Any, world: World) -> None:
    run = begun(client, world)
    run.checkpoint(
        context(Name="outer"),
        {**callback(TimeoutSeconds=60, HeartbeatTimeoutSeconds=7), "ParentId": "x"},
        call("child", ParentId="x"),
    )
    first = events(client, run)
    run.answer(PENDING)
    world.sleep(61)
    after = events(client, run)
    assert after[: len(first)] == first
    assert [event["EventId"] for event in after] == list(range(1, len(after) + 1))
    opened = first[2]["CallbackStartedDetails"]
    assert (opened["Timeout"], opened["HeartbeatTimeout"]) == (60, 7)
    assert first[3]["ChainedInvokeStartedDetails"].keys() == {
        "FunctionName", "Input", "ExecutedVersion", "DurableExecutionArn",
    }  # fmt: skip


def test_a_wait_can_be_cancelled(client: Any, world: World) -> None:
    run = begun(client, world)
    run.checkpoint(wait(5))
    changed = run.checkpoint({"Id": "w", "Type": "WAIT", "Action": "CANCEL"})
    assert changed["w"]["Status"] == "CANCELLED"
    assert events(client, run)[-1]["EventType"] == "WaitCancelled"


@pytest.mark.parametrize("is_large", [False, True])
def test_what_was_in_a_finished_context_is_sent_only_where_it_is_replayed(
    client: Any, world: World, *, is_large: bool
) -> None:
    run = begun(client, world)
    options = {"ContextOptions": {"ReplayChildren": True}, "Payload": ""} if is_large else {"Payload": "1"}
    inner = (step(ParentId="x"), step("SUCCEED", ParentId="x", Payload="1"))
    run.checkpoint(context(), *inner, context("SUCCEED", **options), wait(1))
    run.answer(PENDING)
    world.sleep(2)
    run.wake()
    assert ("a" in {operation["Id"] for operation in run.state()}) == is_large


def test_each_execution_has_a_timeout_of_its_own(client: Any, world: World) -> None:
    first = begun(client, world, function="child")
    world.sleep(60)
    second = begun(client, world, function="child")
    world.sleep(45)
    assert (first.status, second.status) == ("TIMED_OUT", "RUNNING")
    world.sleep(60)
    assert second.status == "TIMED_OUT"


def test_executions_are_paused_resumed_and_deleted(client: Any, world: World) -> None:
    run = begun(client, world, name="rests")
    run.checkpoint(wait(1))
    run.answer(PENDING)
    client.pause_durable_execution(DurableExecutionArn=run.arn, Reason="later")
    assert client.get_durable_execution(DurableExecutionArn=run.arn)["Status"] == "PAUSED"
    client.resume_durable_execution(DurableExecutionArn=run.arn)
    world.sleep(2)
    run.wake()
    run.answer(SUCCEEDED)
    client.delete_durable_execution(DurableExecutionArn=run.arn)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_durable_execution(DurableExecutionArn=run.arn)
    assert begun(client, world, name="rests").arn != run.arn


def test_an_answered_callback_is_among_what_has_changed(client: Any, world: World) -> None:
    run = begun(client, world)
    opened = run.checkpoint(callback())["c"]["CallbackDetails"]["CallbackId"]
    run.answer(PENDING)
    client.send_durable_execution_callback_success(CallbackId=opened, Result=b'"yes"')
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["c"]


def test_payloads_are_held_to_their_limits(client: Any, world: World) -> None:
    run = begun(client, world)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="payload size"):
        client.checkpoint_durable_execution(
            DurableExecutionArn=run.arn,
            CheckpointToken=run.token,
            Updates=[step("SUCCEED", Payload=json.dumps("x" * 262_144))],
        )
    with pytest.raises(client.exceptions.RequestTooLargeException):
        client.invoke(FunctionName="flow", InvocationType="Event", Payload=json.dumps("x" * 1_048_576))


def test_operations_are_counted_and_bounded() -> None:
    world = World(limits=Limits(operations=3))
    run = world.begin()
    run.checkpoint(wait(1), wait(1, id_="v"))
    assert world.service.meter(DurableExecutionArn=run.arn)["operations"] == 2
    with pytest.raises(Exception, match="operations"):
        run.checkpoint(wait(1, id_="u"))


def test_what_ended_long_ago_is_removed_and_its_name_is_free(client: Any, world: World) -> None:
    world.functions["flow"] = Function(name="flow", version="1", retention_days=3)
    run = begun(client, world, name="old")
    run.answer(SUCCEEDED)
    world.service.remove_expired(START + 4 * 86_400_000)
    assert begun(client, world, name="old").arn != run.arn


def test_a_state_is_read_page_by_page_while_its_token_is_good(client: Any, world: World) -> None:
    run = begun(client, world)
    run.checkpoint(*(wait(5, id_=f"w{number}") for number in range(5)))
    pages = client.get_paginator("get_durable_execution_state").paginate(
        DurableExecutionArn=run.arn, CheckpointToken=run.token, PaginationConfig={"PageSize": 2}
    )
    found = [[operation["Id"] for operation in page["Operations"]] for page in pages]
    assert [name for page in found for name in page][-5:] == [f"w{number}" for number in range(5)]
    assert len(found) == 3
    assert max(map(len, found)) <= 2
