from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durableflow
from durableflow.errors import ServiceError, UsageError
from durableflow.local.engine import Engine
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE = 30.0

PROJECT = """
    durableflow: "1"
    env: {TABLE: orders}
    functions:
      inventory:live: {python: "functions:reserve"}
      slow: {python: "functions:slow"}
      legacy: {command: [sh, -c, "cat; echo command >> calls"]}
      fraud: [{result: {score: 1}}, {error: {name: Busy, message: later}}]
      parcels:live: {workflow: shipping}
"""
FUNCTIONS = """
    import os, pathlib, time

    def called(name):
        with open("calls", "a") as calls:
            calls.write(name + "\\n")

    def reserve(event, context):
        called("reserve")
        return {"id": event["sku"], "table": os.environ["TABLE"]}

    def slow(event, context):
        called("slow")
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        return "done"
"""
HANDLERS = """
    import os, pathlib, time
    from functions_of import called

    def charge(payload, context):
        called("charge")
        return {"charged": payload["amount"], "attempt": context.attempt}

    def crash_once(payload):
        called("crash_once")
        if not pathlib.Path("crashed").exists():
            pathlib.Path("crashed").write_text("x")
            os._exit(7)
        return "survived"

    def slow(payload):
        called("slow handler")
        pathlib.Path("pid").write_text(str(os.getpid()))
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        return "done"

    def flaky(payload, context):
        called("flaky")
        if context.attempt < 3:
            raise ValueError("not yet")
        return context.attempt
"""
SHIPPING = """
    durableflow: "1"
    name: shipping
    states:
      - {name: pack, type: wait, duration: 1h}
      - {name: shipped, type: pass, output: {tracking: "T-{{ input.id }}"}}
    output: "{{ states.shipped.result }}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "workflows").mkdir()
    write(tmp_path / "durableflow.yaml", PROJECT)
    write(tmp_path / "functions.py", FUNCTIONS)
    write(tmp_path / "handlers" / "functions_of.py", FUNCTIONS)
    write(tmp_path / "handlers" / "handlers.py", HANDLERS)
    write(tmp_path / "workflows" / "shipping.yaml", SHIPPING)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.write_text(textwrap.dedent(text))


def workflow(folder: Path, name: str, states: str) -> None:
    text = f'durableflow: "1"\nname: {name}\nstates:\n{textwrap.indent(textwrap.dedent(states), "  ")}'
    (folder / "workflows" / f"{name}.yaml").write_text(text)


def opened(folder: Path, *names: str, **settings: Any) -> Engine:
    """Open an engine on the store of the project, with these workflows registered."""
    project = load_project(folder / "durableflow.yaml")
    engine = Engine(**{"store": folder / "store" / "e.db", "project": project, **settings})
    for name in names:
        file = folder / "workflows" / f"{name}.yaml"
        engine.register(compile_file(file, folder), file.parent)
    return engine


def ran(folder: Path, states: str, payload: str = "{}", **settings: Any) -> Mapping[str, Any]:
    workflow(folder, "order", states)
    with opened(folder, "order", **{"store": None, "skip_time": True, **settings}) as engine:
        return engine.wait(engine.start("order", payload, "o1"), DEADLINE)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what another process does; it has no way to tell us."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# One process.


def test_an_order_runs_through_every_kind_of_target(folder: Path) -> None:
    found = ran(
        folder,
        """
        - {name: reserve, type: invoke, function: "inventory:live", payload: {sku: "{{ input.sku }}"}}
        - {name: charge, type: step, handler: "handlers:charge", payload: {amount: 5}}
        - {name: old, type: invoke, function: legacy, payload: [1, 2]}
        - {name: score, type: invoke, function: fraud}
        - {name: ship, type: invoke, function: "parcels:live", payload: {id: "{{ states.reserve.result.id }}"}}
        - name: all
          type: pass
          output:
            - "{{ states.reserve.result }}"
            - "{{ states.charge.result }}"
            - "{{ states.old.result }}"
            - "{{ states.score.result }}"
            - "{{ states.ship.result }}"
        """,
        '{"sku": "s1"}',
    )
    assert found["Status"] == "SUCCEEDED", found
    assert found["Result"] == (
        '[{"id":"s1","table":"orders"},{"charged":5,"attempt":1},[1,2],{"score":1},{"tracking":"T-s1"}]'
    )
    assert calls(folder) == ["reserve", "charge", "command"], "all stand in the project's folder"


def test_a_list_of_answers_counts_for_each_execution(folder: Path) -> None:
    states = """
        - {name: first, type: invoke, function: fraud}
        - name: second
          type: invoke
          function: fraud
          catch: [{errors: [Busy], output: "{{ error.message }}"}]
    """
    workflow(folder, "order", states)
    with opened(folder, "order", store=None) as engine:
        for name in ("o1", "o2"):
            assert engine.wait(engine.start("order", "{}", name), DEADLINE)["Result"] == '"later"'


def test_a_function_that_nobody_declares_fails_the_state(folder: Path) -> None:
    found = ran(folder, "- {name: lost, type: invoke, function: nowhere}")
    assert (found["Status"], found["Error"]["ErrorType"]) == ("FAILED", "Lambda.ResourceNotFoundException")


def test_a_handler_that_ends_its_process_costs_an_invocation_and_no_more(folder: Path) -> None:
    found = ran(folder, '- {name: brave, type: step, handler: "handlers:crash_once"}')
    assert (found["Status"], found["Result"]) == ("SUCCEEDED", '"survived"')
    assert calls(folder).count("crash_once") == 2


def test_retries_and_long_waits_take_no_time_when_time_is_skipped(folder: Path) -> None:
    began = time.monotonic()
    found = ran(
        folder,
        """
        - {name: patience, type: wait, duration: 366d}
        - name: again
          type: step
          handler: "handlers:flaky"
          retry: [{max_attempts: 3, interval: 1h, jitter: none}]
        """,
    )
    assert (found["Status"], found["Result"]) == ("SUCCEEDED", "3")
    assert found["EndTimestamp"] - found["StartTimestamp"] >= 366 * 86_400 + 3 * 3600
    assert time.monotonic() - began < 20


def test_time_is_not_skipped_while_something_runs(folder: Path) -> None:
    workflow(
        folder,
        "order",
        '- {name: work, type: step, handler: "handlers:slow"}\n- {name: rest, type: wait, duration: 1h}',
    )
    workflow(folder, "other", "- {name: rest, type: wait, duration: 1h}")
    with opened(folder, "order", "other", store=None, skip_time=True) as engine:
        arn = engine.start("order", "{}", "o1")
        eventually((folder / "pid").exists)
        other = engine.start("other", "{}", "o2")
        assert engine.wait(other, 0.3)["Status"] == "RUNNING"
        (folder / "go").write_text("")
        assert engine.wait(other, DEADLINE)["Status"] == "SUCCEEDED"
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"


def test_a_wait_takes_its_time_when_time_is_not_skipped(folder: Path) -> None:
    began = time.monotonic()
    found = ran(folder, "- {name: rest, type: wait, duration: 1s}", skip_time=False)
    assert found["Status"] == "SUCCEEDED"
    assert time.monotonic() - began >= 1


def test_events_come_from_the_first_to_the_last_each_once(folder: Path) -> None:
    workflow(folder, "order", '- {name: charge, type: step, handler: "handlers:charge", payload: {amount: 1}}')
    with opened(folder, "order", store=None) as engine:
        arn = engine.start("order", "{}", "o1")
        events = list(engine.follow(arn, DEADLINE))
        assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
        assert (events[0]["EventType"], events[-1]["EventType"]) == ("ExecutionStarted", "ExecutionSucceeded")
        assert list(engine.follow(arn, DEADLINE)) == events


def test_an_execution_can_be_stopped_and_described(folder: Path) -> None:
    workflow(folder, "order", "- {name: rest, type: wait, duration: 1d}")
    with opened(folder, "order", store=None) as engine:
        arn = engine.start("order", '{"a": 1}', "o1")
        eventually(lambda: engine.meter(arn)["operations"])
        engine.stop(arn, {"ErrorType": "Enough", "ErrorMessage": "of this"})
        found = engine.wait(arn, DEADLINE)
        assert (found["Status"], found["Error"]["ErrorType"]) == ("STOPPED", "Enough")
        assert [e["DurableExecutionArn"] for e in engine.find("o1")] == [arn]
        assert [operation["Type"] for operation in engine.operations(arn)] == ["EXECUTION", "WAIT"]


def test_a_name_is_one_execution(folder: Path) -> None:
    workflow(folder, "order", "- {name: done, type: pass, output: 1}")
    with opened(folder, "order") as engine:
        arn = engine.start("order", '{"a":1}', "o1")
        engine.wait(arn, DEADLINE)
    with opened(folder, "order") as engine:
        assert engine.start("order", '{"a":1}', "o1") == arn
        with pytest.raises(ServiceError) as caught:
            engine.start("order", '{"a":2}', "o1")
        assert caught.value.name == "DurableExecutionAlreadyStartedException"


@pytest.mark.covers("project.limits", "limits.operations")
def test_an_execution_may_not_have_more_operations_than_the_project_allows(folder: Path) -> None:
    write(folder / "durableflow.yaml", PROJECT + "    limits: {operations: 2}\n")
    states = "".join(f"- {{name: s{n}, type: wait, duration: 1s}}\n" for n in range(3))
    assert ran(folder, states)["Status"] == "FAILED"


# Stopping and going on.


def test_a_closed_engine_leaves_executions_that_the_next_one_finishes(folder: Path) -> None:
    states = """
        - {name: charge, type: step, handler: "handlers:charge", payload: {amount: 1}}
        - {name: reserve, type: invoke, function: "inventory:live", payload: {sku: a}}
        - {name: late, type: invoke, function: slow}
        - {name: last, type: step, handler: "handlers:slow"}
    """
    workflow(folder, "order", states)
    with opened(folder, "order") as engine:
        arn = engine.start("order", "{}", "o1")
        eventually(lambda: "slow" in calls(folder))
        engine.close(drain_seconds=0)
        engine.close()
    with opened(folder, "order") as engine:
        eventually(lambda: calls(folder).count("slow") == 2)
        (folder / "go").write_text("")
        found = engine.wait(arn, DEADLINE)
    assert (found["Status"], found["Result"]) == ("SUCCEEDED", '"done"')
    counted = {name: calls(folder).count(name) for name in ("charge", "reserve", "slow", "slow handler")}
    assert counted == {"charge": 1, "reserve": 1, "slow": 2, "slow handler": 1}


def test_closing_lets_what_runs_end_if_it_is_quick(folder: Path) -> None:
    workflow(folder, "order", '- {name: work, type: step, handler: "handlers:slow"}')
    engine = opened(folder, "order")
    arn = engine.start("order", "{}", "o1")
    eventually((folder / "pid").exists)
    threading.Timer(0.2, (folder / "go").write_text, [""]).start()
    engine.close(drain_seconds=DEADLINE)
    with opened(folder) as engine:
        assert engine.describe(arn)["Status"] == "SUCCEEDED"
    assert calls(folder).count("slow handler") == 1


def test_a_killed_worker_ends_nothing_but_its_invocation(folder: Path) -> None:
    workflow(folder, "order", '- {name: work, type: step, handler: "handlers:slow"}')
    with opened(folder, "order") as engine:
        arn = engine.start("order", "{}", "o1")
        eventually(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        eventually(lambda: calls(folder).count("slow handler") == 2)
        (folder / "go").write_text("")
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"


def test_executions_of_workflows_that_nobody_registers_sleep_on(folder: Path) -> None:
    workflow(folder, "order", '- {name: work, type: step, handler: "handlers:slow"}')
    workflow(folder, "other", "- {name: done, type: pass, output: 1}")
    with opened(folder, "order") as engine:
        arn = engine.start("order", "{}", "o1")
        eventually((folder / "pid").exists)
        engine.close(drain_seconds=0)
    with opened(folder, "other") as engine:
        engine.wait(engine.start("other", "{}", "o2"), DEADLINE)
        assert engine.wait(arn, 0.3)["Status"] == "RUNNING"
    assert calls(folder).count("slow handler") == 1
    (folder / "go").write_text("")
    with opened(folder, "order") as engine:
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"


def test_functions_of_the_project_go_on_when_they_are_served_and_nothing_is_registered(folder: Path) -> None:
    states = """
        - {name: work, type: step, handler: "handlers:slow"}
        - {name: pause, type: wait, duration: 1d}
    """
    workflow(folder, "shipping", states)
    with opened(folder) as engine:
        arn = engine.start("parcels:live", "{}", "o1")
        eventually((folder / "pid").exists)
        engine.close(drain_seconds=0)
    (folder / "go").write_text("")
    with opened(folder, skip_time=True) as engine:
        assert engine.wait(arn, 0.3)["Status"] == "RUNNING", "whoever only looks sets nothing going"
        engine.serve()
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"


def test_a_child_goes_on_with_its_parent(folder: Path) -> None:
    workflow(folder, "order", '- {name: ship, type: invoke, function: "parcels:live", payload: {id: 7}}')
    with opened(folder, "order") as engine:
        arn = engine.start("order", "{}", "o1")
        eventually(lambda: any(event["EventType"] == "ChainedInvokeStarted" for event in engine.follow(arn, 0.01)))
    with opened(folder, "order", skip_time=True) as engine:
        found = engine.wait(arn, DEADLINE)
    assert (found["Status"], found["Result"]) == ("SUCCEEDED", '{"tracking":"T-7"}')


def test_a_workflow_that_no_function_names_is_invoked_by_its_name(folder: Path) -> None:
    states = """
        - {name: ship, type: invoke, function: shipping, payload: {id: 7}, output: "{{ result.tracking }}"}
        - {name: bad, type: invoke, function: shipping, catch: [{errors: [States.ALL], output: "{{ error.name }}"}]}
        - {name: both, type: pass, output: "{{ states.ship.result }} {{ states.bad.result }}"}
        """
    workflow(folder, "order", states)
    with opened(folder, "order") as engine:
        arn = engine.start("order", "{}", "o1")
        eventually(lambda: engine.find("o1") and len(engine.operations(arn)) > 1)
    # A workflow that does not know it leaves the child asleep, whose own workflow nobody has registered.
    workflow(folder, "other", "- {name: nap, type: wait, duration: 1s}")
    with opened(folder, "other", skip_time=True) as engine:
        engine.wait(engine.start("other", "{}", "o2"), DEADLINE)
        assert engine.describe(arn)["Status"] == "RUNNING"
    with opened(folder, "order", skip_time=True) as engine:
        found = engine.wait(arn, DEADLINE)
    assert (found["Status"], found["Result"]) == ("SUCCEEDED", '"T-7 Worker.States.QueryEvaluationError"')


BROKEN = 'durableflow: "1"\nname: shipping\nstates: [{name: pack, type: nothing}]\n'


def test_a_child_whose_file_does_not_load_fails_its_state_at_once(folder: Path) -> None:
    write(folder / "workflows" / "shipping.yaml", BROKEN)
    workflow(folder, "order", "- {name: ship, type: workflow, workflow: shipping, retry: []}")
    with opened(folder, "order") as engine:  # in real time, where trying again would take hours
        arn = engine.start("order", "{}", "o1")
        found = engine.wait(arn, DEADLINE)
        (child,) = (one["ChainedInvokeDetails"] for one in engine.operations(arn) if one["Type"] == "CHAINED_INVOKE")
    assert (found["Status"], found["Error"]["ErrorType"]) == ("FAILED", "Runtime.StartError")
    assert "DF155 'nothing' is not a type of state" in child["Error"]["ErrorMessage"]


# Several processes on one store.

RUN = """
import pathlib, sys
from durableflow.local.engine import Engine
from durableflow.project import compile_file, load_project

folder = pathlib.Path(sys.argv[1])
if __name__ == "__main__":
    engine = Engine(store=folder / "store" / "e.db", project=load_project(folder / "durableflow.yaml"))
    file = folder / "workflows" / "order.yaml"
    engine.register(compile_file(file, folder), file.parent)
    engine.start("order", "{}", "other")
    print("started", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(folder: Path) -> Any:
    workflow(
        folder,
        "order",
        """
        - {name: reserve, type: invoke, function: "inventory:live", payload: {sku: a}}
        - {name: work, type: step, handler: "handlers:slow"}
        """,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(durableflow.__file__).parents[1])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_engine_asks_the_owner(folder: Path, owner: Any) -> None:
    with opened(folder, "order") as engine:
        assert not engine.is_owner
        (arn,) = [e["DurableExecutionArn"] for e in engine.find("other")]
        assert engine.start("order", "{}", "other") == arn
        mine = engine.start("order", "{}", "mine")
        eventually((folder / "pid").exists)
        (folder / "go").write_text("")
        assert engine.wait(mine, DEADLINE)["Status"] == "SUCCEEDED"
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"
        assert engine.meter(mine)["operations"] == len(engine.operations(mine)) - 1 == 2
        with pytest.raises(ServiceError) as caught:
            engine.start("order", "[]", "other")
        assert caught.value.name == "DurableExecutionAlreadyStartedException"
        engine.stop(arn)
        assert not engine.is_owner
    assert owner.poll() is None


def test_whoever_is_left_takes_the_store_over_and_goes_on(folder: Path, owner: Any) -> None:
    with opened(folder, "order") as engine:
        mine = engine.start("order", "{}", "mine")
        eventually(lambda: calls(folder).count("slow handler") == 2)
        owner.send_signal(signal.SIGKILL)
        (folder / "go").write_text("")
        assert engine.wait(mine, DEADLINE)["Status"] == "SUCCEEDED"
        assert engine.is_owner
        (arn,) = [e["DurableExecutionArn"] for e in engine.find("other")]
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"
    assert calls(folder).count("reserve") == 2, "what was recorded is not repeated"


def test_an_engine_that_skips_time_does_not_ask_an_owner_that_does_not(folder: Path, owner: Any) -> None:
    with pytest.raises(UsageError) as caught:
        opened(folder, skip_time=True)
    assert caught.value.code == "DF762"
    assert str(owner.pid) in caught.value.problem.message


def test_an_engine_that_may_call_aws_does_not_ask_an_owner_that_may_not(folder: Path, owner: Any) -> None:
    with pytest.raises(UsageError, match="does not call AWS") as caught:
        opened(folder, allow_aws=True)
    assert caught.value.code == "DF762"
    assert str(owner.pid) in caught.value.problem.message


def test_an_engine_in_memory_leaves_nothing_behind(folder: Path) -> None:
    workflow(folder, "order", "- {name: done, type: pass, output: 1}")
    before = sorted(folder.rglob("*"))
    with opened(folder, "order", store=None) as engine:
        engine.wait(engine.start("order", "{}", "o1"), DEADLINE)
    assert sorted(folder.rglob("*")) == before
