"""The history: which events, in which order, under which numbers, in which pages (protocol.md 8)."""

from typing import Any

import pytest
from scripted import ERROR, PENDING, START, SUCCEEDED, Run, World, call, callback, context, retry, step, wait

from durableflow.errors import ServiceError


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(world: World) -> Run:
    return world.begin('{"n":1}')


def _invoked(run: Run) -> None:
    """End the invocation, which suspends."""
    run.answer(PENDING)


I = "InvocationCompleted"  # noqa: E741 - protocol.md's own letter for it


def test_events_are_numbered_from_one_without_gaps(run: Run) -> None:
    run.checkpoint(step(), step("SUCCEED", Payload="1"), wait(5))
    _invoked(run)
    run.world.sleep(5)
    run.wake()
    run.answer(SUCCEEDED)
    events = run.world.events(run.arn)
    assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
    assert [event["EventType"] for event in events] == [
        "ExecutionStarted",
        "StepStarted",
        "StepSucceeded",
        "WaitStarted",
        I,
        "WaitSucceeded",
        I,
        "ExecutionSucceeded",
    ]


def test_an_event_is_what_the_platform_shows(run: Run) -> None:
    run.checkpoint(context(id_="p", Name="saga"), wait(60, "w", ParentId="p", Name="cool down", SubType="Wait"))
    run.world.clock.moment += 1500
    run.answer(error=ERROR)
    started, _, waits, invocation = run.world.events(run.arn)
    assert started["ExecutionStartedDetails"] == {
        "Input": {"Payload": '{"n":1}', "Truncated": False},
        "ExecutionTimeout": 31_622_400,
    }
    assert waits == {
        "EventId": 3,
        "EventType": "WaitStarted",
        "EventTimestamp": START / 1000,
        "Id": "w",
        "ParentId": "p",
        "Name": "cool down",
        "SubType": "Wait",
        "WaitStartedDetails": {"Duration": 60, "ScheduledEndTimestamp": START / 1000 + 60},
    }
    assert invocation["InvocationCompletedDetails"] == {
        "StartTimestamp": START / 1000,
        "EndTimestamp": START / 1000 + 1.5,
        "RequestId": run.job.id,
        "Error": {"Payload": ERROR, "Truncated": False},
    }


def test_details_are_there_even_when_they_are_empty(run: Run) -> None:
    run.checkpoint(step(), context())
    assert [run.world.events(run.arn)[n] for n in (1, 2)] == [
        {"EventId": 2, "EventType": "StepStarted", "EventTimestamp": START / 1000, "Id": "a", "StepStartedDetails": {}},
        {
            "EventId": 3,
            "EventType": "ContextStarted",
            "EventTimestamp": START / 1000,
            "Id": "x",
            "ContextStartedDetails": {},
        },
    ]


def test_a_step_with_one_retry(run: Run) -> None:
    run.checkpoint(step(), retry(2, Error=ERROR))
    _invoked(run)
    run.world.sleep(2)
    run.wake()
    run.checkpoint(step(), step("SUCCEED", Payload="1"))
    run.answer(SUCCEEDED)
    history = run.world.history(run.arn)[1:]
    assert history == ["StepStarted", "StepFailed", I, "StepStarted", "StepSucceeded", I, "ExecutionSucceeded"]


def test_a_chained_invoke(run: Run) -> None:
    run.checkpoint(call("echo"))
    _invoked(run)
    run.world.service.invocation_ended(run.world.job().id, text="1")
    run.wake()
    run.answer(SUCCEEDED)
    history = run.world.history(run.arn)[1:]
    assert history == ["ChainedInvokeStarted", I, "ChainedInvokeSucceeded", I, "ExecutionSucceeded"]


def _answer_callback(run: Run) -> None:
    found = run.world.service.operations(DurableExecutionArn=run.arn)[1]
    run.world.service.send_durable_execution_callback_success(
        CallbackId=found.get("CallbackDetails", {}).get("CallbackId", ""), Result=b"1"
    )


@pytest.mark.parametrize(
    ("update", "happen", "event"),
    [
        (call("echo"), lambda run: run.world.service.invocation_ended(run.world.job().id), "ChainedInvokeSucceeded"),
        (wait(1), lambda run: run.world.sleep(1), "WaitSucceeded"),
        (callback(), _answer_callback, "CallbackSucceeded"),
        (callback(TimeoutSeconds=1), lambda run: run.world.sleep(1), "CallbackTimedOut"),
    ],
    ids=["target", "wait", "answer", "time-out"],
)
class TestWhatHappensDuringAnInvocation:
    def test_is_numbered_behind_it_when_it_did_not_learn_of_it(
        self, run: Run, update: Any, happen: Any, event: str
    ) -> None:
        run.checkpoint(update)
        happen(run)
        assert run.world.history(run.arn)[-1].endswith("Started")
        _invoked(run)
        assert run.world.history(run.arn)[-2:] == [I, event]

    def test_is_numbered_when_a_checkpoint_has_told_it(self, run: Run, update: Any, happen: Any, event: str) -> None:
        run.checkpoint(update)
        happen(run)
        run.checkpoint(step(id_="next"))
        assert run.world.history(run.arn)[-2:] == [event, "StepStarted"]
        run.answer(SUCCEEDED)
        assert run.world.history(run.arn).count(event) == 1

    def test_is_not_told_after_the_end(self, run: Run, update: Any, happen: Any, event: str) -> None:
        run.checkpoint(update)
        happen(run)
        run.world.service.stop_durable_execution(DurableExecutionArn=run.arn)
        run.answer(SUCCEEDED)
        history = run.world.history(run.arn)
        assert (history[-1], event in history) == ("ExecutionStopped", False)


def test_a_held_event_keeps_the_time_at_which_it_happened(run: Run) -> None:
    run.checkpoint(wait(1))
    run.world.sleep(1)
    run.world.clock.moment += 9000
    _invoked(run)
    assert run.world.events(run.arn)[-1]["EventTimestamp"] == START / 1000 + 1


def test_an_answer_during_a_wait_wakes_twice(run: Run) -> None:
    run.checkpoint(callback(), wait(5))
    _invoked(run)
    run.world.sleep(1)
    _answer_callback(run)
    run.wake()
    _invoked(run)
    run.world.sleep(4)
    run.wake()
    run.answer(SUCCEEDED)
    assert run.world.history(run.arn)[1:] == [
        "CallbackStarted",
        "WaitStarted",
        I,
        "CallbackSucceeded",
        I,
        "WaitSucceeded",
        I,
        "ExecutionSucceeded",
    ]


def _full(run: Run) -> None:
    """A history with every wrapper of data in it."""
    run.checkpoint(step(), step("SUCCEED", Payload="1"), step("FAIL", "b", Error=ERROR), call("echo", payload="[2]"))
    run.answer(SUCCEEDED)


def test_data_can_be_left_out(run: Run) -> None:
    _full(run)
    reply = run.world.service.get_durable_execution_history(DurableExecutionArn=run.arn, IncludeExecutionData=False)
    started, _, succeeded, failed, called, _, ended = reply["Events"]
    assert started["ExecutionStartedDetails"]["Input"] == {"Truncated": True}
    assert succeeded["StepSucceededDetails"] == {"Result": {"Truncated": True}, "RetryDetails": {"CurrentAttempt": 1}}
    assert failed["StepFailedDetails"]["Error"] == {"Truncated": True}
    assert called["ChainedInvokeStartedDetails"] == {
        "FunctionName": "echo",
        "Input": {"Truncated": True},
        "ExecutedVersion": "$LATEST",
    }
    assert ended["ExecutionSucceededDetails"] == {"Result": {"Truncated": True}}
    assert run.world.events(run.arn)[-1]["ExecutionSucceededDetails"]["Result"]["Payload"] == '"done"'


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("is_reverse", [False, True])
def test_a_history_comes_in_pages(run: Run, size: int, is_reverse: bool) -> None:
    _full(run)
    found: list[int] = []
    marker = None
    while True:
        page = run.world.service.get_durable_execution_history(
            DurableExecutionArn=run.arn, MaxItems=size, Marker=marker, ReverseOrder=is_reverse
        )
        assert len(page["Events"]) <= size
        found += [event["EventId"] for event in page["Events"]]
        marker = page.get("NextMarker")
        if not marker:
            break
    assert found == (list(range(7, 0, -1)) if is_reverse else list(range(1, 8)))


def test_a_history_grows_under_a_reader(run: Run) -> None:
    page = run.world.service.get_durable_execution_history(DurableExecutionArn=run.arn, MaxItems=1)
    assert "NextMarker" not in page
    run.checkpoint(step())
    page = run.world.service.get_durable_execution_history(DurableExecutionArn=run.arn, MaxItems=1)
    run.checkpoint(step("SUCCEED"))
    rest = run.world.service.get_durable_execution_history(DurableExecutionArn=run.arn, Marker=page["NextMarker"])
    assert [event["EventId"] for event in rest["Events"]] == [2, 3]
    assert run.world.service.events(DurableExecutionArn=run.arn, After=2) == rest["Events"][1:]


def test_a_marker_belongs_to_one_history(world: World) -> None:
    one, two = world.begin(), world.begin()
    for run in (one, two):
        run.checkpoint(step())
    marker = world.service.get_durable_execution_history(DurableExecutionArn=one.arn, MaxItems=1)["NextMarker"]
    with pytest.raises(ServiceError):
        world.service.get_durable_execution_history(DurableExecutionArn=two.arn, Marker=marker)
