"""Pause, resume and delete as botocore's client sends and reads them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import get_session
from scripted import PENDING, START, SUCCEEDED, World, wait

from durableflow.local.http import Server

BEGAN = datetime.fromtimestamp(START / 1000, UTC)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Iterator[Any]:
    server = Server(lambda method, members: getattr(world.service, method)(**members))
    made = get_session().create_client(
        "lambda",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 0}),
    )
    yield made
    made.close()
    server.close()


def test_a_life_with_a_rest(world: World, client: Any) -> None:
    run = world.begin("1", name="order")
    run.checkpoint(wait(5))
    run.answer(PENDING)
    arn = run.arn
    assert (
        client.pause_durable_execution(DurableExecutionArn=arn, Reason="deploying")["ResponseMetadata"][
            "HTTPStatusCode"
        ]
        == 202
    )
    found = client.get_durable_execution(DurableExecutionArn=arn)
    assert found["Status"] == "PAUSED"
    assert found["PauseDetails"] == {
        "PauseRequestTimestamp": BEGAN,
        "Reason": "deploying",
        "ExecutionTimeoutPaused": True,
    }
    bare = client.get_durable_execution(DurableExecutionArn=arn, IncludeExecutionData=False)
    assert (bare["ExecutionDataIncluded"], "InputPayload" in bare) == (False, False)
    listed = client.list_durable_executions_by_function(FunctionName="flow", Statuses=["PAUSING", "PAUSED"])
    assert [each["DurableExecutionArn"] for each in listed["DurableExecutions"]] == [arn]
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.pause_durable_execution(DurableExecutionArn=arn, ExecutionTimeoutPaused=False)
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.delete_durable_execution(DurableExecutionArn=arn)
    client.resume_durable_execution(DurableExecutionArn=arn, Reason="done")
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.resume_durable_execution(DurableExecutionArn=arn)
    world.sleep(5)
    run.wake()
    run.answer(SUCCEEDED)
    events = client.get_durable_execution_history(DurableExecutionArn=arn)["Events"]
    assert [event["EventType"] for event in events][3:5] == ["ExecutionPaused", "ExecutionResumed"]
    assert events[3]["ExecutionPausedDetails"] == {
        "PauseRequestTimestamp": BEGAN,
        "Reason": {"Payload": "deploying", "Truncated": False},
        "ExecutionTimeoutPaused": True,
    }
    assert events[4]["ExecutionResumedDetails"]["ResumeRequestTimestamp"] == BEGAN
    deleted = client.delete_durable_execution(DurableExecutionArn=arn)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert deleted["DeletionRequestTimestamp"].timestamp() == START / 1000 + 5
    for act in (
        client.get_durable_execution,
        client.delete_durable_execution,
        client.pause_durable_execution,
        client.resume_durable_execution,
    ):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            act(DurableExecutionArn=arn)


def test_a_pause_is_told_apart_by_its_token(world: World, client: Any) -> None:
    run = world.begin()
    for _ in range(2):
        client.pause_durable_execution(DurableExecutionArn=run.arn, ClientToken="mine")
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.pause_durable_execution(DurableExecutionArn=run.arn)  # botocore makes a new token each time
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.resume_durable_execution(DurableExecutionArn=run.arn, Reason="x" * 1025)
