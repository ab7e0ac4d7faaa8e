"""The `callback` commands, and what `executions` and `run` say of callbacks and do with them.

The callbacks are put on record as the interpreter would, by the service itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripted import PENDING, ManualClock, World, callback, close_all, context
from shell import Shell, running, shell

from durableflow.local.service import Function
from durableflow.local.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["running", "shell"]

STORE = Path(".durableflow") / "executions.db"
FLOW = """\
durableflow: "1"
name: flow
states:
  - {name: ask, type: pass}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts
    (tmp_path / "flow.yaml").write_text(FLOW)


def sleeping(*asked: Any, names: tuple[str, ...] = ("one",)) -> dict[str, str]:
    """Put executions on record that wait for callbacks; return the ids of the callbacks by execution and operation."""
    world = World(
        store=open_store(STORE),
        clock=ManualClock(time.time_ns() // 1_000_000),
        functions={"flow": Function(name="flow")},
        entropy=os.urandom,
    )
    found: dict[str, str] = {}
    for name in names:
        run = world.begin(name=name)
        for id_, operation in run.checkpoint(*asked).items():
            if operation["Type"] == "CALLBACK":
                found[f"{name} {id_}"] = operation["CallbackDetails"]["CallbackId"]
        run.answer(PENDING)
    close_all()
    return found


def ask(id_: str = "c", name: str = "ask", **options: Any) -> Any:
    return {**callback(id_, **options), "Name": name}


def recorded() -> dict[str, Any]:
    """Every callback of the store, by its operation."""
    store = open_store(STORE)
    found = [json.loads(body) for key in (1, 2) for _, _, body in store.operations(key)]
    store.close()
    return {operation["Id"]: operation for operation in found if operation["Type"] == "CALLBACK"}


# callback ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meant", ["ask", "one", "id", "arn"])
def test_a_callback_is_named_by_its_state_its_id_or_its_execution(shell: Shell, meant: str) -> None:
    outer = {"Name": "ask", "SubType": "WaitForCallback"}
    id_ = sleeping(context(**outer), {**ask(), "ParentId": "x"})["one c"]
    if meant == "arn":
        meant = json.loads(shell("executions", "show", "one", "--json").out)["executionArn"]

    ran = shell("callback", "succeed", id_ if meant == "id" else meant, "--result", ' {"a":  1}')

    assert (ran.code, ran.out) == (0, "ask  SUCCEEDED\n")
    assert "nothing runs the execution now: `durableflow run WORKFLOW --name one` goes on" in ran.err
    assert recorded()["c"]["CallbackDetails"]["Result"] == '{"a":1}'


@pytest.mark.parametrize(
    ("options", "result"),
    [
        (["--text", '{"a":  1}'], '{"a":  1}'),
        (["--result", "@answer.json"], '["é"]'),
        (["--result", "-"], "3"),
        ([], None),
    ],
)
def test_an_answer_is_json_text_or_nothing(shell: Shell, options: list[str], result: str | None) -> None:
    sleeping(ask())
    Path("answer.json").write_text('[ "é" ]', encoding="utf-8")

    assert shell("callback", "succeed", "ask", *options, stdin=b" 3 ").code == 0

    assert recorded()["c"]["CallbackDetails"].get("Result") == result


def test_a_failure_has_a_name_a_message_and_data(shell: Shell) -> None:
    sleeping(ask(), ask("d", "other"))

    ran = shell("callback", "fail", "ask", "--error", "Refused", "--message", "too much", "--data", '{"limit": 5}')
    shell("callback", "fail", "other")

    assert (ran.code, ran.out) == (0, "ask  FAILED\n")
    assert recorded()["c"]["CallbackDetails"]["Error"] == {
        "ErrorType": "Refused",
        "ErrorMessage": "too much",
        "ErrorData": '{"limit":5}',
    }
    assert recorded()["d"]["CallbackDetails"]["Error"] == {}


def test_a_heartbeat_puts_the_time_out_off(shell: Shell) -> None:
    id_ = sleeping(ask(HeartbeatTimeoutSeconds=900))["one c"]
    before = json.loads(shell("executions", "show", "one", "--json").out)["callbacks"][0]

    ran = shell("callback", "heartbeat", "ask", "--json")

    after = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert after.pop("timesOut") > before.pop("timesOut")
    assert after == before
    assert (after["callbackId"], after["name"], after["status"], after["execution"]) == (id_, "ask", "STARTED", "one")


def test_where_several_are_meant_they_are_listed_and_none_is_answered(shell: Shell) -> None:
    ids = sleeping(ask(), names=("one", "two"))

    ran = shell("callback", "succeed", "ask")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("2 open callbacks are called 'ask':\n")
    assert all(f"  {id_}  ask of execution {name[:3]}\n" in ran.err for name, id_ in ids.items())
    assert {operation["Status"] for operation in recorded().values()} == {"STARTED"}

    assert shell("callback", "succeed", "ask", "--execution", "two").code == 0
    assert [each["status"] for each in json.loads(shell("executions", "show", "one", "--json").out)["callbacks"]] == [
        "STARTED"
    ]


def test_what_is_not_open_is_said(shell: Shell) -> None:
    id_ = sleeping(ask(), ask("d", "other"))["one c"]
    shell("callback", "succeed", id_)

    closed, unknown = shell("callback", "succeed", id_), shell("callback", "heartbeat", "ask")
    nobody = shell("callback", "succeed", "other", "--execution", "two")

    assert (closed.code, closed.out) == (2, "")
    assert "DF723 Callback already completed." in closed.err
    assert (unknown.code, unknown.out) == (2, "")
    assert "DF780 no callback 'ask' is open here\nhint: open: 'other' of execution 'one'\n" in unknown.err
    assert nobody.code == 2
    assert "DF796" in nobody.err

    shell("callback", "succeed", "other")
    assert "hint: no execution here waits for a callback\n" in shell("callback", "succeed", "ask").err


def test_what_has_timed_out_is_said(shell: Shell) -> None:
    id_ = sleeping(ask(TimeoutSeconds=1))["one c"]
    deadline = time.monotonic() + 30
    while "DF723" not in (ran := shell("callback", "heartbeat", id_)).err:
        assert time.monotonic() < deadline

    assert ran.code == 2
    assert "DF723 Callback timed out." in ran.err


def test_what_belongs_to_a_stopped_execution_is_closed(shell: Shell) -> None:
    id_ = sleeping(ask())["one c"]
    shell("executions", "stop", id_)

    ran, shown = shell("callback", "succeed", id_), shell("executions", "show", "one")

    assert (ran.code, ran.out) == (2, "")
    assert "DF723 The execution of the callback has ended." in ran.err
    assert shown.out.startswith("one  STOPPED\n")
    assert "waits for callback" not in shown.out
    assert "DF780" in shell("callback", "succeed", "one").err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["succeed", "ask", "--result", "1", "--text", "1"], "DF797"),
        (["succeed", "ask", "--result", "{"], "DF794"),
        (["succeed", "ask", "--result", json.dumps("x" * 262_144)], "DF798"),
        (["succeed", "ask", "--text", "x" * 262_145], "DF724"),
        (["fail", "ask", "--message", "x" * 40_000], "DF720"),
        (["fail", "ask", "--data", "@nothing.json"], "DF701"),
        (["succeed", "ask", "--store", "nothing.db"], "DF796"),
    ],
)
def test_a_wrong_answer_is_refused_and_the_callback_stays_open(shell: Shell, arguments: list[str], code: str) -> None:
    sleeping(ask())

    ran = shell("callback", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert code in ran.err
    assert recorded()["c"]["Status"] == "STARTED"


# executions ----------------------------------------------------------------------------------------------------------


def test_show_tells_what_an_execution_waits_for_and_how_to_answer(shell: Shell) -> None:
    id_ = sleeping(ask())["one c"]

    for name in ("one", id_):
        ran = shell("executions", "show", name)
        assert (
            f"  waits for callback 'ask'; answer it with:\n    durableflow callback succeed {id_} --result JSON\n"
            in (ran.out)
        )

    elsewhere = shell("executions", "show", "one", "--store", STORE.rename("other.db")).out
    assert f"    durableflow callback succeed {id_} --result JSON --store other.db\n" in elsewhere


# run -----------------------------------------------------------------------------------------------------------------


def test_run_answers_callbacks_in_order(shell: Shell) -> None:
    # The workflow of this file knows nothing of the callbacks, so the execution fails in the end; they are answered.
    sleeping(ask(), ask("d", "all[2]/ask"), ask("e", "other"))
    Path("answer.json").write_text("2")

    shell("run", "flow.yaml", "--name", "one", "--callback", "ask= 1", "--callback", "ask=@answer.json")

    found = recorded()
    assert [found[id_]["CallbackDetails"].get("Result") for id_ in "cde"] == ["1", "2", None]


def test_skipped_time_goes_to_a_time_out_that_nobody_answers(shell: Shell) -> None:
    sleeping(ask(TimeoutSeconds=86_400), ask("d", "other", TimeoutSeconds=86_400))

    ran = shell("run", "flow.yaml", "--name", "one", "--skip-time", "--callback", "ask=1")

    found = recorded()
    assert (found["c"]["Status"], found["d"]["Status"]) == ("SUCCEEDED", "STARTED")
    assert "waiting for callback" not in ran.err

    sleeping(ask("e", "ask", TimeoutSeconds=86_400), names=("two",))
    assert "waiting for callback" not in shell("run", "flow.yaml", "--name", "two", "--skip-time").err
    assert recorded()["e"]["Status"] == "TIMED_OUT"


@contextmanager
def waiting(id_: str) -> Iterator[subprocess.Popen[str]]:
    """A `run` in a process of its own that has said that it waits for a callback, and how to answer."""
    command = [sys.executable, "-m", "durableflow", "run", "flow.yaml", "--name", "one"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "waiting" in line)
        assert line == f"waiting for callback 'ask'; answer it with: durableflow callback succeed {id_} --result JSON\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_another_process_answers_what_a_run_waits_for(shell: Shell) -> None:
    with waiting(sleeping(ask())["one c"]) as process:
        ran = shell("callback", "succeed", "ask", "--result", "1")

        assert (ran.code, ran.out, ran.err) == (0, "ask  SUCCEEDED\n", "")
        process.communicate(timeout=30)
    assert recorded()["c"]["CallbackDetails"]["Result"] == "1"


def test_what_a_killed_run_waited_for_can_be_answered_and_the_next_run_learns_of_it(shell: Shell) -> None:
    with waiting(sleeping(ask())["one c"]) as process:
        process.kill()
        process.wait(30)

    assert "nothing runs the execution now" in shell("callback", "succeed", "ask", "--result", "1").err
    ran = shell("run", "flow.yaml", "--name", "one")

    assert "  ask  succeeded after " in ran.err
    assert "waiting for callback" not in ran.err


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("ask", "DF781"),
        ("=1", "DF781"),
        ("ask= ", "DF794"),
        ("ask=@nothing.json", "DF701"),
        (f"ask={'1' * 262_145}", "DF798"),
    ],
)
def test_an_answer_that_is_none_is_refused_before_anything_runs(shell: Shell, given: str, code: str) -> None:
    ran = shell("run", "flow.yaml", "--callback", given)

    assert (ran.code, ran.out) == (2, "")
    assert code in ran.err
    assert not STORE.exists()


ESCALATION = """\
durableflow: "1"
name: ask
states:
  - name: levels
    type: loop
    max_iterations: 3
    on_limit: continue
    while: vars.by is none
    states:
      - name: ask
        type: wait_for_callback
        timeout: 24h
        assign: {by: "{{ [iteration, result] }}"}
        catch: [{errors: [States.Timeout]}]
vars: {by: null}
output: "{{ vars.by }}"
"""


@pytest.mark.parametrize(
    ("given", "output"),
    [(["ask=", "ask=7"], [1, 7]), (["ask=", "ask=", "ask=8"], [2, 8]), (["ask="], None), (["ask=9", "ask="], [0, 9])],
)
def test_nothing_for_an_answer_means_that_nobody_answers(shell: Shell, given: list[str], output: Any) -> None:
    Path("ask.yaml").write_text(ESCALATION)
    options = [word for text in given for word in ("--callback", text)]

    ran = shell("run", "ask.yaml", "--ephemeral", "--skip-time", *options)

    assert (ran.code, json.loads(ran.out)) == (0, output)
    assert "waiting for callback" not in ran.err


def test_an_interrupted_run_says_how_to_answer_what_it_waits_for(shell: Shell, running: Any) -> None:
    Path("ask.yaml").write_text(ESCALATION)
    one = running("ask.yaml", "--name", "n", "--callback", "ask=")
    one.until("waiting for callback 'ask'")
    one.process.send_signal(signal.SIGINT)
    code, _, err = one.ended()

    (callback_id,) = (each["CallbackDetails"]["CallbackId"] for each in recorded().values())
    how = f"durableflow callback succeed {callback_id} --result JSON"
    assert code == 130
    assert err.splitlines()[-2:] == [
        "interrupted; go on with: durableflow run ask.yaml --name n --callback ask=",
        f"it waits for callback 'ask'; answer it with: {how}",
    ]
    assert shell(*how.replace("JSON", "5").split()[1:]).code == 0
    again = shell("run", "ask.yaml", "--name", "n")
    assert (again.code, json.loads(again.out)) == (0, [0, 5])


def test_an_interrupted_run_asks_for_no_answer_where_nothing_is_kept(running: Any) -> None:
    Path("ask.yaml").write_text(ESCALATION)
    one = running("ask.yaml", "--ephemeral")
    one.until("waiting for callback 'ask'")
    one.process.send_signal(signal.SIGINT)

    assert one.ended()[2].splitlines()[-1] == "interrupted; nothing of it is kept"


def test_an_interrupted_run_names_a_few_of_many_callbacks(running: Any) -> None:
    sleeping(*(ask(f"c{number}") for number in range(7)))
    one = running("flow.yaml", "--name", "one")
    for _ in range(7):
        one.until("waiting for callback 'ask'")
    one.process.send_signal(signal.SIGINT)

    lines = one.ended()[2].splitlines()
    assert [line.startswith("it waits for callback 'ask'; ") for line in lines[-6:]] == [True] * 5 + [False]
    assert lines[-1] == "and for 2 more"
