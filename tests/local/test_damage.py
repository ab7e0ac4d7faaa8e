"""One execution whose record is damaged: it is told clearly, and no other one is held up."""

import logging
from pathlib import Path
from typing import Any

import pytest
from scripted import PENDING, SUCCEEDED, Run, World, call, callback, step, wait

from durableflow.errors import ServiceError
from durableflow.local.store import open_store

DAMAGES = ("", "null", "[1]", '{"Id": "a', b"\xff\xfe\x00", 7, "[" * 100_000)


@pytest.fixture
def world() -> World:
    return World()


def damage(run: Run, table: str, value: Any) -> None:
    """Overwrite what one table holds of an execution."""
    connection = run.world.store._connection
    (key,) = connection.execute("SELECT key FROM executions WHERE arn = ?", (run.arn,)).fetchone()
    connection.execute(f"UPDATE {table} SET body = ? WHERE execution = ?", (value, key))


def is_told(act: Any, **members: Any) -> bool:
    with pytest.raises(ServiceError) as caught:
        act(**members)
    return (caught.value.problem.code, caught.value.name, caught.value.is_retryable) == (
        "DF734",
        "ServiceException",
        False,
    )


def sleeping(world: World, name: str) -> Run:
    run = world.begin(name=name)
    run.checkpoint(wait(5), callback(), step())
    run.answer(PENDING)
    return run


@pytest.mark.parametrize("value", DAMAGES)
def test_the_timers_of_others_fire(world: World, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    bad, good, later = sleeping(world, "bad"), sleeping(world, "good"), sleeping(world, "later")
    damage(bad, "operations", value)
    with caplog.at_level(logging.ERROR):
        world.sleep(5)
    assert "is damaged" in caplog.text
    assert [job.execution_arn for job in world.jobs] == [good.arn, later.arn]
    for run in (good, later):
        run.wake()
        run.answer(SUCCEEDED)
        assert run.status == "SUCCEEDED"
    world.sleep(60)
    assert (bad.status, world.jobs) == ("RUNNING", [])


@pytest.mark.parametrize("value", DAMAGES)
def test_others_are_taken_up(tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    bad, good = world.begin(name="bad"), world.begin(name="good")
    for run in (bad, good):
        run.checkpoint(step())
    damage(bad, "operations", value)
    world.store._connection.close()
    world = World(store=open_store(tmp_path / "store.db"))
    with caplog.at_level(logging.ERROR):
        world.service.recover()
    assert f"{bad.arn} cannot go on" in caplog.text
    assert [job.execution_arn for job in world.jobs] == [good.arn]


@pytest.mark.parametrize("value", DAMAGES)
def test_callbacks_of_others_are_found(world: World, value: Any) -> None:
    bad, good = sleeping(world, "bad"), sleeping(world, "good")
    damage(bad, "operations", value)
    (found,) = world.service.callbacks()
    assert found["DurableExecutionArn"] == good.arn
    assert world.service.answer_callbacks({("flow", "good"): {"c": ["1"]}}) is False  # it has no name


@pytest.mark.parametrize("value", DAMAGES)
def test_what_is_damaged_is_told_and_can_be_stopped_and_deleted(world: World, value: Any) -> None:
    bad, good = sleeping(world, "bad"), sleeping(world, "good")
    for table in ("operations", "events"):
        damage(bad, table, value)
    service = world.service
    assert is_told(service.operations, DurableExecutionArn=bad.arn)
    assert is_told(service.get_durable_execution_history, DurableExecutionArn=bad.arn)
    assert is_told(service.events, DurableExecutionArn=bad.arn)
    assert world.history(good.arn)
    assert len(service.list_executions()["DurableExecutions"]) == 2
    service.stop_durable_execution(DurableExecutionArn=bad.arn)
    assert bad.status == "STOPPED"
    service.delete_durable_execution(DurableExecutionArn=bad.arn)
    assert len(service.list_executions()["DurableExecutions"]) == 1


@pytest.mark.parametrize("value", DAMAGES)
def test_a_child_ends_whose_caller_is_damaged(world: World, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    caller = world.begin()
    caller.checkpoint(call("child"))
    caller.answer(PENDING)
    job = world.jobs[0]
    child = Run(world=world, arn=job.execution_arn or "")
    damage(caller, "operations", value)
    with caplog.at_level(logging.ERROR):
        child.answer(SUCCEEDED)
    assert child.status == "SUCCEEDED"
    assert "cannot be told of its end" in caplog.text
    assert caller.status == "RUNNING"


@pytest.mark.parametrize("value", DAMAGES)
def test_an_event_that_waited_for_its_number_is_lost_alone(
    tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    bad, good = world.begin(name="bad"), world.begin(name="good")
    bad.checkpoint(wait(1))
    world.sleep(1)
    damage(bad, "held", value)
    world.store._connection.close()
    world = World(store=open_store(tmp_path / "store.db"), clock=world.clock)
    with caplog.at_level(logging.ERROR):
        world.service.recover()
    assert f"an event of {bad.arn} is lost" in caplog.text
    assert {job.execution_arn for job in world.jobs} == {bad.arn, good.arn}
    assert [event["EventId"] for event in world.events(bad.arn)] == [1, 2, 3]
