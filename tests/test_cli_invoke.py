"""The `invoke` command on this machine; against a service: test_cli_remote.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shell import Shell, shell

from durableflow.local.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shell"]

PROJECT = """\
durableflow: "1"
workflows: [.]
functions:
  answer: {result: 42}
  broken: {error: {name: Broken, message: it is}}
"""
DOUBLE = """\
durableflow: "1"
name: double
states:
  - {name: last, type: pass, output: "{{ input.n * 2 }}"}
"""
ASKS = """\
durableflow: "1"
name: asks
states:
  - {name: ask, type: wait_for_callback, timeout: 1h}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "durableflow.yaml").write_text(PROJECT)
    (tmp_path / "double.yaml").write_text(DOUBLE)
    (tmp_path / "asks.yaml").write_text(ASKS)


def test_a_workflow_of_the_project_runs_by_its_name(shell: Shell) -> None:
    ran = shell("invoke", "double", "--input", '{"n": 4}')

    name = ran.err.removeprefix("execution ").split("\n")[0]
    assert (ran.code, ran.out) == (0, "8\n")
    assert json.loads(shell("executions", "show", name, "--json").out)["output"] == 8


def test_the_same_name_is_the_same_execution(shell: Shell) -> None:
    first = json.loads(shell("invoke", "double", "--input", '{"n": 4}', "--name", "four", "--json").out)
    again = json.loads(shell("invoke", "double", "--input", '{ "n":4 }', "--name", "four", "--json").out)
    other = shell("invoke", "double", "--input", '{"n": 5}', "--name", "four")

    assert first == again
    assert (first["statusCode"], first["output"], first["functionError"]) == (200, 8, None)
    assert (other.code, other.out, "DF722" in other.err) == (2, "", True)


def test_a_failure_points_at_the_state(shell: Shell) -> None:
    ran, plain = shell("invoke", "double"), shell("invoke", "broken")
    facts = json.loads(shell("invoke", "double", "--json").out)

    assert (ran.code, ran.out) == (1, "")
    assert "double.yaml:4:5: DF502 state 'last' failed: States.QueryEvaluationError: " in ran.err
    assert (facts["output"], facts["error"]["errorType"]) == (None, "States.QueryEvaluationError")
    assert (plain.code, plain.out, plain.err) == (1, "", "DF502 the function failed: Broken: it is\n")


def test_a_plain_function_is_called(shell: Shell) -> None:
    ran = shell("invoke", "answer", "--json")

    facts = json.loads(ran.out)
    assert (ran.code, facts["output"], facts["executionArn"]) == (0, 42, None)
    assert shell("invoke", "answer", "--input", "[]").out == "42\n"


def test_only_looking_starts_nothing(shell: Shell) -> None:
    ran = shell("invoke", "double", "--type", "dry-run")

    assert (ran.code, ran.out, ran.err) == (0, "", "it can be called\n")
    assert json.loads(shell("executions", "list", "--json").out)["executions"] == []


def test_what_is_only_started_goes_on_later(shell: Shell) -> None:
    ran = shell("invoke", "asks", "--type", "event", "--name", "one")

    assert (ran.code, ran.out.startswith("arn:aws:lambda:")) == (0, True)
    assert "nothing runs the execution now; go on with: durableflow " in ran.err
    assert json.loads(shell("executions", "show", "one", "--json").out)["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nothing"], 2, "DF721 Function not found: nothing\nhint: known here: answer, asks, broken, double\n"),
        (["no name"], 2, "DF720"),
        (["double", "--name", "no name"], 2, "DF720"),
        (["double", "--input", "{"], 2, "DF794"),
        (["double", "--qualifier", "7"], 2, "DF721"),
        (["double", "--type", "sometimes"], 2, "Invalid value for '--type'"),
        (["answer", "--name", "one"], 2, "DF720"),
        (["double", "--project", "nowhere"], 2, "DF701"),
    ],
)
def test_what_cannot_be_called_is_said(shell: Shell, arguments: list[str], code: int, told: str) -> None:
    ran = shell("invoke", *arguments)

    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err


@pytest.fixture
def owner() -> Iterator[Engine]:
    """Another owner of the store, as a `serve` would be: what it knows can be called from here."""
    from durableflow.cli import loading

    context = loading.project_of(Path.cwd(), None)
    assert context is not None
    with Engine(store=context.store, project=context) as engine:
        yield engine


def test_the_owner_of_the_store_calls(shell: Shell, owner: Engine) -> None:
    assert shell("invoke", "answer").out == "42\n"
    assert shell("invoke", "double", "--input", '{"n": 3}', "--name", "three").out == "6\n"

    ran = shell("invoke", "asks", "--type", "event", "--name", "one")
    assert (ran.code, ran.err) == (0, "")
    assert [each["DurableExecutionName"] for each in owner.find("three")] == ["three"]


def test_ctrl_c_leaves_an_execution_that_goes_on(shell: Shell) -> None:
    command = [sys.executable, "-m", "durableflow", "invoke", "asks", "--name", "one"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting for callback 'ask'" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()

    assert (process.returncode, out) == (130, "")
    assert "interrupted; go on with: durableflow invoke asks --name one" in err
    assert "it waits for callback 'ask'; answer it with: durableflow callback succeed " in err

    shell("callback", "succeed", "ask", "--execution", "one", "--result", "[7]")
    assert shell("invoke", "asks", "--name", "one").code == 0
