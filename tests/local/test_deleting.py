"""Executions that are removed: with everything of theirs and with nothing else."""

import sqlite3
import time
from pathlib import Path

import pytest
from scripted import ERROR, PENDING, START, SUCCEEDED, Run, World, call, callback, context, retry, step, wait

from durableflow.errors import ServiceError
from durableflow.local.engine import Engine, _Owner
from durableflow.local.service import Function
from durableflow.local.store import open_store
from durableflow.project import compile_file


@pytest.fixture
def world() -> World:
    return World()


def delete(run: Run) -> None:
    reply = run.world.service.delete_durable_execution(DurableExecutionArn=run.arn)
    assert reply == {"DeletionRequestTimestamp": run.world.clock.moment / 1000}


def is_gone(run: Run) -> bool:
    with pytest.raises(ServiceError) as caught:
        run.world.describe(run.arn)
    return caught.value.name == "ResourceNotFoundException"


def busy(world: World) -> Run:
    """An execution that has left something in as many tables as it can."""
    run = world.begin("1", name="busy")
    run.checkpoint(
        context(), step(), retry(5, Error=ERROR), callback(TimeoutSeconds=50), call("echo"), client_token="token"
    )
    return run


def counts(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    connection.close()
    return found


def test_nothing_of_it_is_left(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    world = World(store=open_store(path))
    empty = counts(path)
    run = busy(world)
    world.service.count_answer(DurableExecutionArn=run.arn, Answer="a", Call="c")
    world.service.pause_durable_execution(DurableExecutionArn=run.arn, ClientToken="pause")
    world.sleep(5)
    (echo,) = world.jobs
    world.service.wrote(echo.id, label="echo", text="said")
    world.service.invocation_ended(echo.id, output=1)
    left = [table for table, count in counts(path).items() if count == empty[table]]
    assert left == ["stops"]  # everything else holds something
    run.answer(SUCCEEDED)
    delete(run)
    assert counts(path) == empty
    assert is_gone(run)


def test_its_name_is_free_again(world: World) -> None:
    first = world.begin("1", name="order")
    first.answer(SUCCEEDED)
    delete(first)
    second = world.begin("2", name="order")
    assert second.arn != first.arn
    assert world.service.list_executions(DurableExecutionName="order")["DurableExecutions"] == [
        {
            "DurableExecutionArn": second.arn,
            "DurableExecutionName": "order",
            "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:flow:1",
            "Status": "RUNNING",
            "StartTimestamp": START / 1000,
        }
    ]


def test_only_what_has_ended_can_be_deleted(world: World) -> None:
    run = world.begin()
    run.checkpoint(wait(1))
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            delete(run)
        assert (caught.value.name, caught.value.status) == ("ResourceConflictException", 409)
        world.service.pause_durable_execution(DurableExecutionArn=run.arn)
        run.answer(PENDING)
        if run.status == "PAUSED":
            break
    with pytest.raises(ServiceError, match="PAUSED"):
        delete(run)
    world.service.stop_durable_execution(DurableExecutionArn=run.arn)
    delete(run)
    with pytest.raises(ServiceError) as caught:
        delete(run)
    assert (caught.value.name, caught.value.status) == ("ResourceNotFoundException", 404)


def test_what_still_runs_of_it_ends_in_peace(world: World) -> None:
    run = busy(world)
    world.service.stop_durable_execution(DurableExecutionArn=run.arn)
    delete(run)
    (echo,) = world.jobs
    world.service.wrote(echo.id, label="echo", text="said")
    world.service.invocation_ended(echo.id, output=1)
    with pytest.raises(ServiceError) as caught:
        run.checkpoint(step(id_="b"))
    assert caught.value.name == "InvalidParameterValueException"
    run.answer(SUCCEEDED)
    world.sleep(100)
    assert is_gone(run)


def test_a_callback_of_it_is_unknown(world: World) -> None:
    run = world.begin()
    callback_id = run.checkpoint(callback())["c"]["CallbackDetails"]["CallbackId"]
    run.answer(SUCCEEDED)
    delete(run)
    with pytest.raises(ServiceError) as caught:
        world.service.send_durable_execution_callback_success(CallbackId=callback_id)
    assert caught.value.name == "ResourceNotFoundException"


def test_what_it_has_started_stays_and_goes_on(world: World) -> None:
    caller = world.begin()
    caller.checkpoint(call("child"))
    child_job = world.jobs[0]
    world.service.stop_durable_execution(DurableExecutionArn=caller.arn)
    delete(caller)
    child_arn = child_job.execution_arn
    assert child_arn is not None
    child = Run(world=world, arn=child_arn)
    other = world.begin(name="other")  # takes the key that has become free
    child.checkpoint(callback())
    child.answer(PENDING)
    assert world.service.callbacks(DurableExecutionArn=other.arn, WithChildren=True) == []
    (open_one,) = world.service.callbacks(DurableExecutionArn=child_arn, WithChildren=True)
    world.service.send_durable_execution_callback_success(CallbackId=open_one["CallbackId"])
    child.wake()
    child.answer(SUCCEEDED)
    assert (child.status, other.status) == ("SUCCEEDED", "RUNNING")


def test_a_child_can_be_deleted_under_its_caller(world: World) -> None:
    caller = world.begin()
    caller.checkpoint(call("child"))
    child_job = world.jobs[0]
    assert child_job.execution_arn is not None
    child = Run(world=world, arn=child_job.execution_arn)
    child.answer(SUCCEEDED)
    delete(child)
    caller.answer(PENDING)
    caller.wake()
    assert caller.state()[1]["ChainedInvokeDetails"] == {"Result": '"done"'}
    caller.answer(SUCCEEDED)
    assert caller.status == "SUCCEEDED"


def test_a_deletion_survives_a_kill(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = busy(world)
    run.answer(SUCCEEDED)
    delete(run)
    run.world = World(store=open_store(tmp_path / "store.db"))
    run.world.service.recover()
    assert is_gone(run)


# Retention -----------------------------------------------------------------------------------------------------------

DAY = 24 * 3600


def test_what_has_been_kept_for_long_enough_is_removed(world: World) -> None:
    world.functions["flow"] = Function(name="flow", version="1", retention_days=2)
    world.functions["other"] = Function(name="other", version="1")
    short, other, running = world.begin(name="short"), world.begin(function="other"), world.begin(name="running")
    world.sleep(3 * DAY)  # from the end it counts, not from the start
    short.answer(SUCCEEDED)
    other.answer(SUCCEEDED)
    world.clock.moment += 2 * DAY * 1000 - 1
    assert world.service.remove_expired() == 0
    world.clock.moment += 1
    assert world.service.remove_expired() == 1
    assert is_gone(short)
    assert (other.status, running.status) == ("SUCCEEDED", "RUNNING")
    assert world.begin("other", name="short").arn != short.arn
    world.clock.moment += 12 * DAY * 1000
    assert world.service.remove_expired() == 1
    assert is_gone(other)


def test_many_are_removed_at_once(world: World) -> None:
    for n in range(45):
        world.begin(name=str(n)).answer(SUCCEEDED)
    assert world.service.remove_expired(START + 14 * DAY * 1000) == 45
    assert world.service.list_executions()["DurableExecutions"] == []
    assert world.service.remove_expired(START + 14 * DAY * 1000) == 0


def test_what_is_named_is_deleted_if_it_has_ended(world: World) -> None:
    ended, running = world.begin(), world.begin()
    ended.answer(SUCCEEDED)
    arns = [ended.arn, running.arn, ended.arn, "arn:nothing"]
    assert world.service.delete_executions(Arns=arns) == {"Deleted": 1}
    assert is_gone(ended)
    assert running.status == "RUNNING"


def test_the_owner_of_a_store_removes_what_is_old_at_its_start(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    world = World(store=store)
    world.begin(name="old").answer(SUCCEEDED)
    world.clock.moment = time.time_ns() // 1_000_000
    world.begin(name="young").answer(SUCCEEDED)
    store.close()
    with Engine(store=tmp_path / "store.db") as engine:
        deadline = time.monotonic() + 20
        while engine.find("old") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.find("old") == []
        assert len(engine.find("young")) == 1


def test_time_that_is_skipped_makes_nothing_of_others_old(tmp_path: Path) -> None:
    (tmp_path / "month.yaml").write_text(
        'durableflow: "1"\nname: month\nstates: [{name: rest, type: wait, duration: 30d}]\n'
    )
    store = open_store(tmp_path / "store.db")
    world = World(store=store)
    world.clock.moment = time.time_ns() // 1_000_000
    world.begin(name="young").answer(SUCCEEDED)
    store.close()
    with Engine(store=tmp_path / "store.db", skip_time=True) as engine:
        engine.register(compile_file(tmp_path / "month.yaml", tmp_path), tmp_path)
        found = engine.wait(engine.start("month", "{}", "long"), timeout=60)
        assert found["EndTimestamp"] - found["StartTimestamp"] >= 30 * DAY
        backend = engine._backend
        assert isinstance(backend, _Owner)
        backend._sweep_at = 0  # not in a minute, but now
        backend._tick()
        assert len(engine.find("young")) == len(engine.find("long")) == 1
