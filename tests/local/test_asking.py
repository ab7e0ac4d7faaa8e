"""Workflows that ask: `run`, its answers, skipped time, kills, and children that ask, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell import Shell, shell

__all__ = ["shell"]

ASKING = """\
durableflow: "1"
name: asking
states:
  - name: ask
    type: wait_for_callback
    timeout: 1h
    submit:
      - name: notify
        type: step
        handler: "work:notify"
        retry: [{errors: [States.ALL], max_attempts: 3, interval: 5s, jitter: none}]
    catch: [{errors: [States.Timeout], output: silence}]
  - name: all
    type: map
    items: "[0, 1, 2]"
    states:
      - {name: each, type: wait_for_callback, timeout: 1h, catch: [{errors: [States.ALL], output: "{{ error.message }}"}]}
output: ["{{ states.ask.result }}", "{{ states.all.result }}"]
"""
PARENT = """\
durableflow: "1"
name: parent
states:
  - {name: child, type: workflow, workflow: asking}
"""
WORK = """\
from pathlib import Path

def notify(payload, context):
    with Path("calls").open("a") as file:
        file.write("x")
    if context.attempt < 2:
        raise ValueError("busy")
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".git", "handlers", "workflows"):
        (tmp_path / folder).mkdir()
    (tmp_path / "durableflow.yaml").write_text('durableflow: "1"\n')
    (tmp_path / "workflows" / "asking.yaml").write_text(ASKING)
    (tmp_path / "workflows" / "parent.yaml").write_text(PARENT)
    (tmp_path / "handlers" / "work.py").write_text(WORK)


def run(shell: Shell, workflow: str, *options: str) -> Any:
    ran = shell("run", f"workflows/{workflow}.yaml", "--name", "n", "--skip-time", "--json", *options)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.parametrize("workflow", ["asking", "parent"])
def test_answers_are_given_in_order_also_to_what_a_child_asks_rule_60(shell: Shell, workflow: str) -> None:
    facts = run(shell, workflow, "--callback", 'ask={"by":"me"}', "--callback", "each=1", "--callback", "each=2")

    assert facts["output"] == [{"by": "me"}, [1, 2, 2]]
    # The wait of the retry, and no time-out.
    assert 5 <= facts["durationSeconds"] < 60


def test_skipped_time_goes_to_the_time_out_of_what_nobody_answers_rule_30(shell: Shell) -> None:
    facts = run(shell, "asking", "--callback", "each=1")

    assert facts["output"] == ["silence", [1, 1, 1]]
    assert 3600 <= facts["durationSeconds"] < 3700


@pytest.mark.parametrize("workflow", ["asking", "parent"])
def test_a_run_is_killed_while_it_asks_answered_by_others_and_goes_on(shell: Shell, workflow: str) -> None:
    command = [sys.executable, "-m", "durableflow", "run", f"workflows/{workflow}.yaml", "--name", "n"]

    def waiting(text: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert any(text in line for line in process.stderr)
        return process

    first = waiting("waiting for callback 'ask'; answer it with: durableflow callback succeed ")
    first.kill()
    first.communicate()
    assert shell("callback", "succeed", "ask", "--text", '"yes"').code == 0

    second = waiting("waiting for callback 'all[2]/each'; answer it with: ")
    try:
        assert "3 open callbacks are called 'each'" in shell("callback", "succeed", "each", "--result", "1").err
        assert shell("callback", "fail", "all[1]/each", "--message", "no").code == 0
        for name in ("all[0]/each", "each"):
            assert shell("callback", "succeed", name, "--result", "1").code == 0
        out, err = second.communicate(timeout=30)
    finally:
        second.kill()
        second.communicate()

    assert json.loads(out) == ["yes", [1, "no", 1]], err
    assert Path("calls").read_text() in {"xx", "xxx"}, "the attempt that was cut off, if any, was made again"
