"""Executions that rest: what stands still meanwhile, what goes on, and what a resume makes up for."""

from pathlib import Path
from typing import Any

import pytest
from scripted import ERROR, PENDING, START, SUCCEEDED, Run, World, call, callback, retry, step, wait

from durableflow.errors import ServiceError
from durableflow.local.service import Function, Retries
from durableflow.local.store import open_store

DAY = 24 * 3600
YEAR = 366 * DAY


@pytest.fixture
def world() -> World:
    world = World()
    world.functions["flow"] = Function(name="flow", version="1", execution_timeout_seconds=100)
    return world


@pytest.fixture
def run(world: World) -> Run:
    return world.begin('{"n":1}')


def pause(run: Run, **members: Any) -> None:
    assert run.world.service.pause_durable_execution(DurableExecutionArn=run.arn, **members) == {}


def resume(run: Run, **members: Any) -> None:
    assert run.world.service.resume_durable_execution(DurableExecutionArn=run.arn, **members) == {}


def is_refused(name: str, status: int, act: Any, *arguments: Any, **members: Any) -> bool:
    with pytest.raises(ServiceError) as caught:
        act(*arguments, **members)
    return (caught.value.name, caught.value.status) == (name, status)


def conflicts(act: Any, *arguments: Any, **members: Any) -> bool:
    return is_refused("ResourceConflictException", 409, act, *arguments, **members)


def test_a_wait_is_over_in_time_and_its_execution_goes_on_after_the_resume(world: World, run: Run) -> None:
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run)
    assert run.status == "PAUSED"
    world.sleep(10)
    assert (world.jobs, world.history(run.arn)[-2:]) == ([], ["ExecutionPaused", "WaitSucceeded"])
    resume(run)
    assert run.status == "RUNNING"
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["w"]
    run.answer(SUCCEEDED)
    assert world.history(run.arn)[-4:] == [
        "WaitSucceeded",
        "ExecutionResumed",
        "InvocationCompleted",
        "ExecutionSucceeded",
    ]


def test_who_has_missed_nothing_sleeps_on_after_the_resume(world: World, run: Run) -> None:
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run)
    world.sleep(3)
    resume(run)
    assert world.jobs == []
    world.sleep(7)
    run.wake()


def test_an_invocation_in_flight_ends_by_itself(world: World, run: Run) -> None:
    pause(run, Reason="deploying")
    assert run.status == "PAUSING"
    run.checkpoint(step(), step("SUCCEED", Payload="1"))
    world.clock.moment += 4000
    run.checkpoint(wait(1))
    run.answer(PENDING)
    assert run.status == "PAUSED"
    events = world.events(run.arn)
    assert [event["EventType"] for event in events[-2:]] == ["InvocationCompleted", "ExecutionPaused"]
    assert events[-1] == {
        "Id": run.arn.split("/")[-1],
        "Name": run.arn.split("/")[-2],
        "EventId": 6,
        "EventType": "ExecutionPaused",
        "EventTimestamp": START / 1000 + 4,
        "ExecutionPausedDetails": {
            "PauseRequestTimestamp": START / 1000,
            "ExecutionTimeoutPaused": True,
            "Reason": {"Payload": "deploying", "Truncated": False},
        },
    }


def test_what_an_invocation_did_not_learn_of_comes_before_the_rest(world: World, run: Run) -> None:
    run.checkpoint(callback())
    pause(run)
    (open_one,) = world.service.callbacks(DurableExecutionArn=run.arn)
    world.service.send_durable_execution_callback_success(CallbackId=open_one["CallbackId"], Result="1")
    run.answer(PENDING)
    assert world.history(run.arn)[-3:] == ["InvocationCompleted", "CallbackSucceeded", "ExecutionPaused"]
    assert world.jobs == []
    resume(run)
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["c"]


@pytest.mark.parametrize(("output", "status"), [(SUCCEEDED, "SUCCEEDED"), ({"Status": "FAILED"}, "FAILED")])
def test_an_invocation_that_ends_the_execution_is_not_held_up(run: Run, output: Any, status: str) -> None:
    pause(run)
    run.answer(output)
    assert run.status == status
    assert "ExecutionPaused" not in run.world.history(run.arn)
    assert "PauseDetails" not in run.world.describe(run.arn)


def test_a_resume_before_the_rest_takes_the_pause_back(world: World, run: Run) -> None:
    pause(run)
    resume(run, Reason="never mind")
    assert run.status == "RUNNING"
    run.checkpoint(wait(1))
    run.answer(PENDING)
    assert run.status == "RUNNING"
    world.sleep(1)
    run.wake()
    assert [kind for kind in world.history(run.arn) if kind.endswith(("Paused", "Resumed"))] == []


def test_a_new_execution_can_be_paused_before_its_function_is_known(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    known, world.functions = world.functions, {}
    run.answer(error={"ErrorType": "Runtime.ExitError", "ErrorMessage": "it died"})  # would be made again at once
    pause(run)
    resume(run)
    assert world.jobs == []
    world.functions = known
    world.service.recover()
    run.wake()


def test_a_resume_is_told_with_its_reason(world: World, run: Run) -> None:
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run, Reason="", ExecutionTimeoutPaused=False)
    world.clock.moment += 2000
    resume(run, Reason="the database is back")
    paused, resumed = world.events(run.arn)[-2:]
    assert paused["ExecutionPausedDetails"] == {
        "PauseRequestTimestamp": START / 1000,
        "ExecutionTimeoutPaused": False,
        "Reason": {"Payload": "", "Truncated": False},
    }
    assert (resumed["EventTimestamp"], resumed["ExecutionResumedDetails"]) == (
        START / 1000 + 2,
        {
            "ResumeRequestTimestamp": START / 1000 + 2,
            "Reason": {"Payload": "the database is back", "Truncated": False},
        },
    )
    reply = world.service.get_durable_execution_history(DurableExecutionArn=run.arn, IncludeExecutionData=False)
    assert [event[f"{event['EventType']}Details"]["Reason"] for event in reply["Events"][-2:]] == [
        {"Truncated": True},
        {"Truncated": True},
    ]


# The timeout of the execution ----------------------------------------------------------------------------------------


def test_the_timeout_stands_still(world: World, run: Run) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    assert world.describe(run.arn)["ExpectedExecutionTimeoutTimestamp"] == START / 1000 + 100
    world.sleep(60)
    pause(run)
    assert world.describe(run.arn)["ExpectedExecutionTimeoutTimestamp"] == START / 1000 + YEAR
    world.sleep(1000)
    resume(run)
    assert world.describe(run.arn)["ExpectedExecutionTimeoutTimestamp"] == START / 1000 + 1100
    world.sleep(39)
    assert run.status == "RUNNING"
    world.sleep(1)
    assert run.status == "TIMED_OUT"
    assert "ExpectedExecutionTimeoutTimestamp" not in world.describe(run.arn)


def test_the_time_until_the_rest_counts(world: World, run: Run) -> None:
    pause(run)
    world.sleep(30)
    run.checkpoint(callback())
    run.answer(PENDING)
    world.sleep(1000)
    resume(run)
    world.sleep(69)
    assert run.status == "RUNNING"
    world.sleep(1)
    assert run.status == "TIMED_OUT"


def test_the_timeout_goes_on_when_it_is_told_to(world: World, run: Run) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    pause(run, ExecutionTimeoutPaused=False)
    assert world.describe(run.arn)["ExpectedExecutionTimeoutTimestamp"] == START / 1000 + 100
    world.sleep(99)
    assert run.status == "PAUSED"
    world.sleep(1)
    assert run.status == "TIMED_OUT"
    assert world.history(run.arn)[-1] == "ExecutionTimedOut"


@pytest.mark.parametrize("is_resumed", [True, False])
def test_an_execution_lives_366_days_at_most(world: World, run: Run, is_resumed: bool) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    pause(run)
    world.sleep(YEAR - 1)
    assert run.status == "PAUSED"
    if is_resumed:
        resume(run)
        assert world.describe(run.arn)["ExpectedExecutionTimeoutTimestamp"] == START / 1000 + YEAR
    world.sleep(1)
    assert run.status == "TIMED_OUT"


def test_an_execution_without_a_timeout_has_none_afterwards(world: World) -> None:
    world.functions["flow"] = Function(name="flow", version="1")
    run = world.begin()
    run.checkpoint(callback())
    run.answer(PENDING)
    pause(run)
    assert "ExpectedExecutionTimeoutTimestamp" not in world.describe(run.arn)
    resume(run)
    assert world.service.next_due() is None


# What fails ----------------------------------------------------------------------------------------------------------


def test_a_failed_invocation_is_made_again_after_the_resume(world: World, run: Run) -> None:
    pause(run)
    run.answer(error=ERROR)
    assert run.status == "PAUSED"
    world.sleep(50)  # longer than the back-off
    assert world.jobs == []
    resume(run)
    run.wake()


def test_a_back_off_that_is_not_over_goes_on_after_the_resume(world: World, run: Run) -> None:
    run.answer(error=ERROR)
    pause(run)
    resume(run)
    assert world.jobs == []
    world.sleep(1)
    run.wake()


def test_the_time_at_rest_does_not_make_an_execution_give_up(world: World) -> None:
    world = World(retries=Retries(give_up_seconds=10))
    run = world.begin()
    run.answer(error=ERROR)
    pause(run)
    world.sleep(1000)
    resume(run)
    run.wake()
    run.answer(error=ERROR)
    assert run.status == "RUNNING"


def test_a_retry_that_became_due_is_made_after_the_resume(world: World, run: Run) -> None:
    run.checkpoint(step(), retry(5, Error=ERROR))
    run.answer(PENDING)
    pause(run)
    world.sleep(5)
    assert world.jobs == []
    resume(run)
    run.wake()
    assert run.state()[1]["Status"] == "READY"


# What goes on --------------------------------------------------------------------------------------------------------


def test_targets_and_children_go_on(world: World, run: Run) -> None:
    run.checkpoint(call("echo"), call("child", "j"))
    run.answer(PENDING)
    pause(run)
    echo, child = world.job(), world.job()
    world.service.invocation_ended(echo.id, output=1)
    world.service.invocation_ended(child.id, output=SUCCEEDED)
    assert world.history(run.arn)[-3:] == [
        "ExecutionPaused",
        "ChainedInvokeSucceeded",
        "ChainedInvokeSucceeded",
    ]
    assert world.jobs == []
    resume(run)
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["i", "j"]


def test_a_callback_can_be_found_and_answered(world: World, run: Run) -> None:
    run.checkpoint(callback(TimeoutSeconds=10, HeartbeatTimeoutSeconds=5))
    run.answer(PENDING)
    pause(run)
    (open_one,) = world.service.callbacks()
    world.sleep(4)
    world.service.send_durable_execution_callback_heartbeat(CallbackId=open_one["CallbackId"])
    world.sleep(4)
    world.service.send_durable_execution_callback_success(CallbackId=open_one["CallbackId"])
    assert world.history(run.arn)[-1] == "CallbackSucceeded"


def test_a_paused_execution_can_be_stopped(world: World, run: Run) -> None:
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run)
    world.service.stop_durable_execution(DurableExecutionArn=run.arn)
    assert (run.status, world.history(run.arn)[-2:]) == ("STOPPED", ["ExecutionPaused", "ExecutionStopped"])
    world.sleep(10)
    assert world.jobs == []
    assert conflicts(resume, run)


def test_its_name_stands_for_a_paused_execution(world: World) -> None:
    run = world.begin("1", name="order-1")
    pause(run)
    run.checkpoint(wait(1))
    run.answer(PENDING)
    again = world.service.invoke(
        FunctionName="flow", Payload="1", InvocationType="Event", DurableExecutionName="order-1"
    )
    assert again["DurableExecutionArn"] == run.arn
    assert (world.jobs, run.status) == ([], "PAUSED")


# Requests ------------------------------------------------------------------------------------------------------------


def test_how_an_execution_is_tells_of_the_pause(world: World, run: Run) -> None:
    assert world.describe(run.arn)["DurableConfig"] == {"RetentionPeriodInDays": 14, "ExecutionTimeout": 100}
    assert "PauseDetails" not in world.describe(run.arn)
    pause(run, Reason="deploying", ExecutionTimeoutPaused=False)
    details = {"PauseRequestTimestamp": START / 1000, "ExecutionTimeoutPaused": False}
    found = world.describe(run.arn)
    assert (found["ExecutionDataIncluded"], found["InputPayload"]) == (True, '{"n":1}')
    assert found["PauseDetails"] == {**details, "Reason": "deploying"}
    found = world.service.get_durable_execution(DurableExecutionArn=run.arn, IncludeExecutionData=False)
    assert (found["ExecutionDataIncluded"], found["PauseDetails"]) == (False, details)
    assert "InputPayload" not in found


def test_lists_are_filtered_by_it(world: World) -> None:
    pausing, paused, running = (world.begin(name=name) for name in ("pausing", "paused", "running"))
    pause(pausing)
    paused.checkpoint(wait(1))
    paused.answer(PENDING)
    pause(paused)

    def names(*statuses: str) -> list[str]:
        reply = world.service.list_durable_executions_by_function(FunctionName="flow", Statuses=statuses)
        return [item["DurableExecutionName"] for item in reply["DurableExecutions"]]

    assert names("PAUSING") == ["pausing"]
    assert names("PAUSED") == ["paused"]
    assert names("RUNNING") == ["running"]
    assert names("PAUSING", "PAUSED", "RUNNING") == ["running", "paused", "pausing"]
    assert names("DELETING") == []
    resume(paused)
    assert names("RUNNING") == ["running", "paused"]
    assert running.status == "RUNNING"


def test_only_what_runs_can_be_paused_and_only_what_rests_resumed(world: World, run: Run) -> None:
    assert conflicts(resume, run)
    pause(run)
    assert conflicts(pause, run)
    run.checkpoint(wait(1))
    run.answer(PENDING)
    assert conflicts(pause, run)
    resume(run)
    assert conflicts(resume, run)
    world.sleep(1)
    run.wake()
    run.answer(SUCCEEDED)
    assert conflicts(pause, run)
    assert conflicts(resume, run)
    for act in (world.service.pause_durable_execution, world.service.resume_durable_execution):
        assert is_refused("ResourceNotFoundException", 404, act, DurableExecutionArn=f"{run.arn}x")


def test_a_repeated_request_is_granted_for_a_quarter_of_an_hour(world: World, run: Run) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    pause(run, ClientToken="one", Reason="because")
    pause(run, ClientToken="one", Reason="because")
    assert conflicts(pause, run, ClientToken="two", Reason="because")
    assert is_refused("InvalidParameterValueException", 400, pause, run, ClientToken="one", Reason="other")
    resume(run, ClientToken="three")
    resume(run, ClientToken="three")
    assert world.history(run.arn).count("ExecutionPaused") == world.history(run.arn).count("ExecutionResumed") == 1
    pause(run, ClientToken="one", Reason="because")  # the same request as before: it has been granted
    assert run.status == "RUNNING"
    world.clock.moment += 15 * 60 * 1000 + 1
    pause(run, ClientToken="one", Reason="because")
    assert run.status == "PAUSED"


def test_a_refused_request_can_be_made_again(run: Run) -> None:
    assert conflicts(resume, run, ClientToken="one")
    pause(run)
    resume(run, ClientToken="one")
    assert run.status == "RUNNING"


@pytest.mark.parametrize("reason", ["x" * 1025, "\ud800", 1, ["x"]])
def test_a_reason_is_a_text_of_1024_characters(run: Run, reason: Any) -> None:
    pause(run, Reason="é" * 1024)
    assert is_refused("InvalidParameterValueException", 400, resume, run, Reason=reason)
    resume(run)
    assert is_refused("InvalidParameterValueException", 400, pause, run, Reason=reason)


@pytest.mark.parametrize("token", ["", "x" * 65, "a b"])
def test_a_client_token_is_held_to_its_form(run: Run, token: str) -> None:
    assert is_refused("InvalidParameterValueException", 400, pause, run, ClientToken=token)


def test_whether_the_timeout_stands_still_is_yes_or_no(run: Run) -> None:
    assert is_refused("InvalidParameterValueException", 400, pause, run, ExecutionTimeoutPaused="false")


# Kills ---------------------------------------------------------------------------------------------------------------


def reopened(path: Path, killed: World) -> World:
    """The service of the next process; the one before is killed."""
    killed.store._connection.close()
    world = World(store=open_store(path), clock=killed.clock)
    world.functions["flow"] = Function(name="flow", version="1", execution_timeout_seconds=100)
    world.service.recover()
    return world


def begun(path: Path) -> Run:
    world = World(store=open_store(path))
    world.functions["flow"] = Function(name="flow", version="1", execution_timeout_seconds=100)
    return world.begin()


def test_a_pause_survives_a_kill(tmp_path: Path) -> None:
    run = begun(tmp_path / "store.db")
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run, Reason="deploying")
    after = reopened(tmp_path / "store.db", run.world)
    run.world = after
    assert (run.status, after.describe(run.arn)["PauseDetails"]["Reason"]) == ("PAUSED", "deploying")
    after.sleep(10)
    assert after.jobs == []
    again = reopened(tmp_path / "store.db", after)
    run.world = again
    assert again.jobs == []
    resume(run)
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["w"]
    run.answer(SUCCEEDED)
    assert run.status == "SUCCEEDED"


def test_an_invocation_that_a_kill_cut_off_is_made_again_after_the_resume(tmp_path: Path) -> None:
    run = begun(tmp_path / "store.db")
    run.checkpoint(callback())
    pause(run)
    after = reopened(tmp_path / "store.db", run.world)
    run.world = after
    assert after.history(run.arn)[-2:] == ["InvocationCompleted", "ExecutionPaused"]
    assert (run.status, after.jobs) == ("PAUSED", [])
    resume(run)
    run.wake()


def test_an_invocation_that_was_cut_off_before_the_pause_is_not_waited_for(tmp_path: Path) -> None:
    run = begun(tmp_path / "store.db")
    run.world.store._connection.close()
    after = World(store=open_store(tmp_path / "store.db"), functions={})
    run.world = after
    pause(run)
    assert run.status == "PAUSED"
    resume(run)
    assert after.jobs == []
    run.world = reopened(tmp_path / "store.db", after)
    run.wake()


def test_a_resume_that_nobody_heard_of_is_done(tmp_path: Path) -> None:
    run = begun(tmp_path / "store.db")
    run.checkpoint(wait(10))
    run.answer(PENDING)
    pause(run)
    run.world.sleep(10)
    resume(run)  # committed; the job it started died with the process
    run.world = reopened(tmp_path / "store.db", run.world)
    run.wake()
    run.answer(SUCCEEDED)
    assert run.world.history(run.arn)[-4:] == [
        "ExecutionResumed",
        "InvocationCompleted",
        "InvocationCompleted",
        "ExecutionSucceeded",
    ]


def test_time_is_not_skipped_to_the_timeout_of_what_is_paused(world: World, run: Run) -> None:
    run.checkpoint(callback(), wait(50))
    run.answer(PENDING)
    assert world.service.next_jump() == START + 50_000
    pause(run)
    assert world.service.next_jump() == START + 50_000
    world.sleep(50)
    assert (world.service.next_jump(), world.service.next_due()) == (None, START + YEAR * 1000)
    resume(run)
    assert world.service.next_jump() == START + 150_000
