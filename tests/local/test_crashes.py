"""The service killed at every commit, before it and after it: what was answered is there, nothing happens twice.

A kill is played by dropping the Service and its connection in the middle of a request; what is left is the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from scripted import START, Function, ManualClock, World, call, callback, context, retry, step, wait

from durableflow.local.service import Job
from durableflow.local.store import Store, open_store

ENDED = {"SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"}


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Fate:
    """Kills at the n-th commit, before it counts or after it does; never when n is 0."""

    kill_at: int = 0
    is_after: bool = False
    commits: int = 0


class Mortal(Store):
    """A store in a process that may be killed."""

    fate: Fate

    @contextmanager
    def transaction(self) -> Iterator[None]:
        fate = self.fate
        with super().transaction():
            yield
            fate.commits += 1
            if fate.commits == fate.kill_at and not fate.is_after:
                raise Killed
        if fate.commits == fate.kill_at:
            raise Killed


@dataclass
class Outside:
    """What outlives a kill: the clock, and what targets and other processes have seen."""

    clock: ManualClock = field(default_factory=ManualClock)
    echoes: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    callbacks: set[str] = field(default_factory=set)


def parent(known: dict[str, Any]) -> list[Any] | None:
    """What the handler would like to record next; nothing once it is done, None when it must wait."""
    plan: list[tuple[str, Any]] = [
        ("s1", [step(id_="s1"), step("SUCCEED", "s1", Payload="1")]),
        ("p", [context(id_="p")]),
        ("w", [wait(60, "w", ParentId="p")]),
        ("i", [call("echo", "i"), call("child", "j")]),
        ("j", []),
        ("c", [callback("c")]),
        ("r", [step(id_="r"), retry(5, "r", Error={"ErrorType": "E"})]),
    ]
    is_over = known.get("p", {}).get("Status") == "SUCCEEDED"
    for id_, updates in plan:
        if id_ == "w" and is_over:
            continue  # the children of what is over are not sent
        status = known.get(id_, {}).get("Status")
        if status is None:
            return updates
        if status == "READY":
            return [step(id_="r"), step("SUCCEED", "r", Payload="2")]
        if status not in ENDED and id_ != "p":
            return None
    if known["p"]["Status"] == "STARTED":
        return [context("SUCCEED", "p", Payload="3")]
    return []


class Process(World):
    """One life of the service, with everything that runs beside it."""

    outside: Outside

    def run_all(self) -> None:
        """Run jobs, answer callbacks and let time pass until nothing is left to do."""
        while True:
            if self.jobs:
                self._run(self.jobs.pop(0))
            elif not self._call_back():
                due = self.service.next_due()
                if due is None:
                    return
                self.clock.moment = max(self.clock.moment, due)
                self.service.run_due()

    def _run(self, job: Job) -> None:
        if job.kind == "plain":
            self.outside.echoes.append(f"{job.execution_arn} {job.operation_id}")
            self.service.invocation_ended(job.id, text=job.payload)
            return
        event = job.event
        assert event is not None
        arn, token = event["DurableExecutionArn"], event["CheckpointToken"]
        known = {operation["Id"]: operation for operation in event["InitialExecutionState"]["Operations"]}
        while ":child:" not in arn:
            updates = parent(known)
            if not updates:
                break
            reply = self.service.checkpoint_durable_execution(
                DurableExecutionArn=arn, CheckpointToken=token, Updates=updates
            )
            self.outside.answers.append(reply)
            token = reply["CheckpointToken"]
            known |= {operation["Id"]: operation for operation in reply["NewExecutionState"]["Operations"]}
        is_waiting = ":child:" not in arn and parent(known) is None
        output = {"Status": "PENDING"} if is_waiting else {"Status": "SUCCEEDED", "Result": '"done"'}
        self.service.invocation_ended(job.id, output=output)

    def _call_back(self) -> bool:
        for execution in self.service.list_executions(Statuses=["RUNNING"])["DurableExecutions"]:
            for operation in self.service.operations(DurableExecutionArn=execution["DurableExecutionArn"]):
                callback_id = operation.get("CallbackDetails", {}).get("CallbackId", "")
                if operation["Type"] == "CALLBACK" and operation["Status"] == "STARTED":
                    self.outside.callbacks.add(callback_id)
                    self.service.send_durable_execution_callback_success(CallbackId=callback_id, Result=b"4")
                    return True
        return False


def live(path: Path, outside: Outside, fate: Fate) -> Process:
    """Live from opening the store to the end of everything, or to the kill."""
    store = open_store(path)
    store.__class__ = Mortal
    assert isinstance(store, Mortal)
    store.fate = Fate()  # opening is not counted
    process = Process(
        store=store,
        clock=outside.clock,
        functions={
            "flow": Function(name="flow", version="1"),
            "child": Function(name="child", version="1"),
            "echo": Function(name="echo", is_durable=False),
        },
    )
    process.outside = outside
    store.fate = fate
    try:
        process.service.recover()
        process.service.invoke(FunctionName="flow", Payload="{}", InvocationType="Event", DurableExecutionName="parent")
        process.run_all()
    except Killed:
        store._connection.close()
        raise
    return process


def check(process: Process, outside: Outside) -> list[Any]:
    """Hold a finished world to what must be true of it, and return the parent's outcome."""
    executions = process.service.list_executions(ReverseOrder=True)["DurableExecutions"]
    assert [(found["FunctionArn"].split(":")[-2], found["Status"]) for found in executions] == [
        ("flow", "SUCCEEDED"),
        ("child", "SUCCEEDED"),
    ]
    for execution in executions:
        events = process.events(execution["DurableExecutionArn"])
        assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["EventType"] == "ExecutionSucceeded"
        opened: dict[str, int] = {}
        for event in events[1:-1]:
            kind, id_ = event["EventType"], event.get("Id", "")
            if kind != "InvocationCompleted":
                opened[id_] = opened.get(id_, 0) + (1 if kind.endswith("Started") else -1)
                assert opened[id_] in {0, 1}, f"{id_} {kind}"
        assert set(opened.values()) <= {0}
    arn = executions[0]["DurableExecutionArn"]
    operations: list[Any] = process.service.operations(DurableExecutionArn=arn)
    assert [operation["Id"] for operation in operations[1:]] == ["s1", "p", "w", "i", "j", "c", "r"]
    assert len(outside.callbacks) == 1
    by_id = {operation["Id"]: operation for operation in operations}
    for reply in outside.answers:  # what was answered is there
        for told in reply["NewExecutionState"]["Operations"]:
            assert by_id[told["Id"]]["StartTimestamp"] == round(told["StartTimestamp"] * 1000)
    waited = by_id["w"]
    assert waited["EndTimestamp"] >= waited["WaitDetails"]["ScheduledEndTimestamp"] >= START + 60_000
    return [(operation["Id"], operation["Status"]) for operation in operations[1:]]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[Any]]:
    """How many commits a life takes that nobody ends, and how it ends."""
    outside, fate = Outside(), Fate()
    process = live(tmp_path_factory.mktemp("calm") / "store.db", outside, fate)
    outcome = check(process, outside)
    assert outside.echoes == [f"{process.service.list_executions()['DurableExecutions'][-1]['DurableExecutionArn']} i"]
    process.store.close()
    return fate.commits, outcome


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_commit_changes_nothing_in_the_end(
    tmp_path: Path, calm: tuple[int, list[Any]], is_after: bool
) -> None:
    commits, outcome = calm
    assert commits > 20
    for kill_at in range(1, commits + 1):
        path, outside = tmp_path / f"{kill_at}.db", Outside()
        with pytest.raises(Killed):
            live(path, outside, Fate(kill_at=kill_at, is_after=is_after))
        process = live(path, outside, Fate())
        assert check(process, outside) == outcome
        # A target that was running runs again; one whose result was recorded never does (language.md 12, rule 43).
        assert len(outside.echoes) <= 2
        process.store.close()


def test_a_kill_at_every_second_commit_still_gets_there(tmp_path: Path, calm: tuple[int, list[Any]]) -> None:
    outside, lives = Outside(), 0
    while True:
        lives += 1
        try:
            # The later ones live a little longer: recovery alone takes a commit or two.
            process = live(tmp_path / "store.db", outside, Fate(kill_at=3 + lives // 3, is_after=lives % 2 == 0))
        except Killed:
            assert lives < 60
        else:
            break
    assert check(process, outside) == calm[1]
    process.store.close()


def test_a_target_runs_again_only_until_its_result_is_recorded(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    run.checkpoint(call("echo", "i"), call("echo", "j"))
    first, second = world.job(), world.job()
    world.service.invocation_ended(first.id, text="1")
    world.store._connection.close()

    world = World(store=open_store(tmp_path / "store.db"))
    world.service.recover()
    again = {job.operation_id: job for job in world.jobs}
    assert again.keys() == {None, "j"}
    assert (again["j"].id, again["j"].payload, again["j"].call_number) == (second.id, "1", 1)
    world.service.recover()
    assert len(world.jobs) == 2


def test_the_time_of_a_target_counts_only_while_it_runs(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    run.checkpoint(call("echo", "i"))
    world.store._connection.close()

    world = World(store=open_store(tmp_path / "store.db"))
    assert world.service.next_due() is None
    world.clock.moment += 10**9
    world.service.run_due()
    world.service.recover()
    (again,) = [job for job in world.jobs if job.operation_id == "i"]
    world.service.run_due()
    world.service.invocation_ended(again.id, text="1")
    assert [o["Status"] for o in world.service.operations(DurableExecutionArn=run.arn)[1:]] == ["SUCCEEDED"]


def test_an_interrupted_invocation_is_told_and_is_no_failure(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    run.checkpoint(step())
    stale = run.token
    world.store._connection.close()

    world = World(store=open_store(tmp_path / "store.db"))
    world.service.recover()
    run.world = world
    run.wake()
    died = world.events(run.arn)[-1]["InvocationCompletedDetails"]["Error"]["Payload"]
    assert died["ErrorType"] == "Runtime.ExitError"
    assert world.service.meter(DurableExecutionArn=run.arn) == {
        "operations": 1,
        "metered": 2,
        "invocations": 2,
        "bytes": 2,
        "failures": 0,
    }
    run.token, live_token = stale, run.token
    with pytest.raises(Exception, match="Invalid checkpoint token"):
        run.checkpoint(step("SUCCEED"))
    run.token = live_token
    assert run.checkpoint(step("SUCCEED"))


def test_a_repeated_request_is_answered_after_a_restart_too(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    token = run.token
    run.checkpoint(callback(), client_token="once")
    answered = run.reply
    world.store._connection.close()

    run.world = World(store=open_store(tmp_path / "store.db"))
    run.token = token
    run.checkpoint(callback(), client_token="once")
    assert run.reply == answered


def test_an_execution_sleeps_until_its_function_is_known(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run, waiting = world.begin(), world.begin()
    run.checkpoint(call("echo"))
    world.jobs.clear()
    waiting.checkpoint(wait(5))
    waiting.answer({"Status": "PENDING"})
    world.store._connection.close()

    functions, known = World().functions, {}
    world = World(store=open_store(tmp_path / "store.db"), functions=known)
    world.service.recover()
    world.sleep(5)
    assert (world.jobs, world.service.is_idle) == ([], True)
    known |= functions
    world.service.recover()
    assert {(job.kind, job.execution_arn) for job in world.jobs} == {
        ("durable", run.arn),
        ("durable", waiting.arn),
        ("plain", run.arn),
    }


def test_an_invocation_whose_back_off_ends_while_its_function_is_unknown_is_not_lost(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    run = world.begin()
    run.answer(error={"ErrorType": "Throttled"})
    world.store._connection.close()

    functions, known = World().functions, {}
    world = World(store=open_store(tmp_path / "store.db"), functions=known)
    world.service.recover()
    world.sleep(1)
    assert world.jobs == []
    known |= functions
    world.service.recover()
    assert [job.execution_arn for job in world.jobs] == [run.arn]


def test_taking_up_leaves_alone_what_needs_nothing(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    sleeping, failing, busy = world.begin(), world.begin(), world.begin()
    sleeping.checkpoint(wait(5))
    sleeping.answer({"Status": "PENDING"})
    failing.answer(error={"ErrorType": "Throttled"})
    world.service.recover()
    assert world.jobs == []
    assert busy.checkpoint(step())


def test_timers_of_many_executions_survive(tmp_path: Path) -> None:
    world = World(store=open_store(tmp_path / "store.db"))
    runs = [world.begin() for _ in range(50)]
    for n, run in enumerate(runs):
        run.checkpoint(wait(n + 1))
        run.answer({"Status": "PENDING"})
    world.store._connection.close()

    world = World(store=open_store(tmp_path / "store.db"))
    world.service.recover()
    assert world.jobs == []
    for n in range(50):
        world.sleep(1)
        assert [job.execution_arn for job in world.jobs] == [runs[n].arn]
        world.jobs.clear()


def test_the_timers_of_a_callback_survive_and_its_heartbeats_count_after_a_restart(tmp_path: Path) -> None:
    outside, path = Outside(), tmp_path / "store.db"
    world = World(store=open_store(path), clock=outside.clock)
    run = world.begin()
    id_ = run.checkpoint(callback(TimeoutSeconds=25, HeartbeatTimeoutSeconds=10))["c"]["CallbackDetails"]["CallbackId"]
    run.answer({"Status": "PENDING"})
    for _ in range(2):
        world.store._connection.close()
        world = World(store=open_store(path), clock=outside.clock)
        world.service.recover()
        world.sleep(9)
        world.service.send_durable_execution_callback_heartbeat(CallbackId=id_)
        assert world.jobs == []
    world.store._connection.close()

    world = World(store=open_store(path), clock=outside.clock)
    run.world = world
    world.service.recover()
    world.sleep(7)
    run.wake()
    assert run.state()[1]["CallbackDetails"]["Error"]["ErrorType"] == "Callback.Timeout"
    assert world.service.next_due() is None


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_an_answer_to_a_callback_is_recorded_once_or_not_at_all(tmp_path: Path, is_after: bool) -> None:
    path = tmp_path / "store.db"
    world = World(store=open_store(path))
    run = world.begin()
    id_ = run.checkpoint(callback(TimeoutSeconds=5))["c"]["CallbackDetails"]["CallbackId"]
    run.answer({"Status": "PENDING"})
    world.store.__class__ = Mortal
    assert isinstance(world.store, Mortal)
    world.store.fate = Fate(kill_at=1, is_after=is_after)
    with pytest.raises(Killed):
        world.service.send_durable_execution_callback_success(CallbackId=id_, Result=b"1")
    world.store._connection.close()

    world = World(store=open_store(path))
    run.world = world
    world.service.recover()
    if not is_after:
        assert world.jobs == []
        world.service.send_durable_execution_callback_success(CallbackId=id_, Result=b"1")
    run.wake()
    assert run.state()[1]["CallbackDetails"]["Result"] == "1"
    with pytest.raises(Exception, match="already completed"):
        world.service.send_durable_execution_callback_success(CallbackId=id_, Result=b"1")
    world.sleep(5)
    assert run.checkpoint() == {}
