"""Invocations in the service's own process: the same executions, the same lines of output, and no worker process."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from durableflow.local.engine import Engine
from durableflow.local.threads import _Turns
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DEADLINE = 30.0

PROJECT = """
    durableflow: "1"
    env: {TABLE: orders}
    secrets: {token: {env: TOKEN}}
    functions:
      reserve: {python: "functions:reserve"}
      parcels: {workflow: shipping}
"""
FUNCTIONS = """
    import os

    def reserve(event, context):
        return [event, os.getpid()]
"""
HANDLERS = """
    import os, sys, threading
    from durableflow.errors import Fault

    going, gone = threading.Event(), threading.Event()

    def here(payload):
        return [os.getpid(), os.environ["TABLE"]]

    def speak(payload, context):
        print("half", end="")
        print(" and", payload)
        print("unended", end="", file=sys.stderr)
        context.logger.info("logged %s", 1)

    def hang(payload):
        going.set()
        assert gone.wait(30)

    def declined(payload):
        raise Fault("CardDeclined", "no funds")
"""
SHIPPING = """
    durableflow: "1"
    name: shipping
    states:
      - {name: pack, type: wait, duration: 1h}
      - {name: shipped, type: step, handler: "stockroom:here"}
    output: "{{ states.shipped.result }}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "durableflow.yaml": PROJECT,
        "functions.py": FUNCTIONS,
        "handlers/stockroom.py": HANDLERS,
        "workflows/shipping.yaml": SHIPPING,
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return tmp_path


def opened(folder: Path, states: str, **settings: Any) -> Engine:
    """Open an engine that runs a workflow of these states in this process."""
    file = folder / "workflows" / "order.yaml"
    secrets = "secrets: {token: ssm:/token}\n" if "secret(" in states else ""
    file.write_text(
        f'durableflow: "1"\nname: order\n{secrets}states:\n{textwrap.indent(textwrap.dedent(states), "  ")}'
    )
    project = load_project(folder / "durableflow.yaml")
    engine = Engine(**{"store": None, "project": project, "skip_time": True, "in_process": True, **settings})
    engine.register(compile_file(file, folder), file.parent)
    return engine


def ran(engine: Engine, name: str = "o1") -> Mapping[str, Any]:
    return engine.wait(engine.start("order", "{}", name), DEADLINE)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def stockroom() -> Any:
    """The handlers' module, which is one of this process."""
    return sys.modules["stockroom"]


def is_hanging() -> bool:
    # It may be in the middle of its import, which another thread does.
    going = getattr(sys.modules.get("stockroom"), "going", None)
    return going is not None and going.is_set()


HERE = '- {name: here, type: step, handler: "stockroom:here"}'


def test_steps_run_in_this_process_with_the_environment_of_the_project(folder: Path) -> None:
    with opened(folder, HERE) as engine:
        assert ran(engine)["Result"] == json.dumps([os.getpid(), "orders"], separators=(",", ":"))
    assert "TABLE" not in os.environ
    assert "stockroom" not in sys.modules, "whoever comes next may have handlers of the same names"


def test_children_run_here_too_and_plain_functions_in_processes(folder: Path) -> None:
    states = """
        - {name: reserve, type: invoke, function: reserve, payload: {sku: a}}
        - {name: ship, type: invoke, function: parcels}
        - {name: all, type: pass, output: ["{{ states.reserve.result }}", "{{ states.ship.result }}"]}
    """
    with opened(folder, states) as engine:
        found = ran(engine)
    ((event, functions_pid), (shipping_pid, table)) = json.loads(found["Result"])
    assert (event, shipping_pid, table) == ({"sku": "a"}, os.getpid(), "orders")
    assert functions_pid != os.getpid()


def test_a_fault_is_recorded_as_ever(folder: Path) -> None:
    with opened(folder, '- {name: charge, type: step, handler: "stockroom:declined"}') as engine:
        found = ran(engine)
    assert (found["Status"], found["Error"]["ErrorType"]) == ("FAILED", "CardDeclined")


def test_output_has_the_name_of_its_state_and_nothing_else_is_touched(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[tuple[str, str]] = []
    before = sys.stdout, sys.stderr
    states = '- {name: loud, type: step, handler: "stockroom:speak", payload: "me"}'
    with opened(folder, states, log=lambda label, line: lines.append((label, line))) as engine:
        assert ran(engine)["Status"] == "SUCCEEDED"
        print("mine")
    assert [label for label, _ in lines] == ["loud"] * 2
    assert lines[0][1] == "half and me"
    begun, logged = lines[1][1].split("{", 1)
    assert begun == "unended"
    assert json.loads("{" + logged)["message"] == "logged 1"
    assert capsys.readouterr().out == "mine\n"
    assert (sys.stdout, sys.stderr) == before


def test_a_secret_is_in_no_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-value")
    lines: list[str] = []
    states = """- {name: loud, type: step, handler: "stockroom:speak", payload: "{{ secret('token') }}"}"""
    with opened(folder, states, log=lambda _, line: lines.append(line)) as engine:
        assert ran(engine)["Status"] == "SUCCEEDED"
    assert lines[0].startswith("half and ")
    assert "s3cr3t" not in "".join(lines)


def test_workflows_of_another_environment_get_processes(folder: Path) -> None:
    states = HERE.replace("type", "retry: [], type")
    with opened(folder, states) as engine:
        plan = compile_file(folder / "workflows" / "order.yaml", folder)
        backend: Any = engine._backend
        backend.register(plan, folder, {"TABLE": "others"})
        pid, table = json.loads(ran(engine)["Result"])
    assert table == "others"
    assert pid != os.getpid()


def test_what_hangs_when_the_engine_is_closed_runs_for_nobody_and_is_made_again(folder: Path) -> None:
    states = '- {name: stuck, type: step, handler: "stockroom:hang"}\n' + HERE
    store = folder / "e.db"
    engine = opened(folder, states, store=store)
    arn = engine.start("order", "{}", "o1")
    eventually(is_hanging)
    first = stockroom()
    engine.close(drain_seconds=0)
    first.gone.set()
    with opened(folder, states, store=store) as engine:
        eventually(is_hanging)
        assert stockroom() is not first
        stockroom().gone.set()
        assert engine.wait(arn, DEADLINE)["Status"] == "SUCCEEDED"


def test_one_that_waits_keeps_nobody_from_going_on(folder: Path) -> None:
    states = """
        - {name: stuck, when: "input.stuck", type: step, handler: "stockroom:hang"}
        - {name: here, type: step, handler: "stockroom:here"}
    """
    with opened(folder, states) as engine:
        stuck = engine.start("order", '{"stuck": true}', "stuck")
        eventually(is_hanging)
        others = [engine.start("order", '{"stuck": false}', f"o{number}") for number in range(20)]
        assert {engine.wait(other, DEADLINE)["Status"] for other in others} == {"SUCCEEDED"}
        assert engine.describe(stuck)["Status"] == "RUNNING"
        stockroom().gone.set()
        assert engine.wait(stuck, DEADLINE)["Status"] == "SUCCEEDED"


def test_a_turn_is_kept_until_its_end_or_until_nothing_is_asked_for_a_while() -> None:
    turns, taken = _Turns(), threading.Event()
    turns.take("first")

    def second() -> None:
        turns.take("second")
        taken.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert taken.wait(DEADLINE), "the first has asked for nothing"
    thread.join()
    turns.give("first")  # it has lost its turn, so this gives nothing away
    turns.give("second")
    turns.take("third")
    turns.give("third")
