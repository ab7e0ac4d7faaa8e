"""Large results and many operations, as a project bounds them: through the engine and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell, shell

__all__ = ["shell"]

PROJECT = """\
durableflow: "1"
offload: {threshold: 1KB, directory: large}
limits: {operations: 60}
"""
FLOW = """\
durableflow: "1"
name: flow
states:
  - {name: large, type: step, handler: "work:large", payload: {size: "{{ input.size }}"}, retry: []}
  - {name: nap, type: wait, duration: 1h}
  - {name: small, type: step, handler: "work:size", payload: "{{ states.large.result }}", retry: []}
  - name: check
    type: choice
    choices:
      - when: input.fails | default(false)
        states: [{name: sorry, type: fail, error: "{{ states.large.result[:4] }}", cause: too much}]
    default: [{name: fine, type: pass}]
output: {size: "{{ states.small.result }}", is_whole: "{{ states.large.result | length == input.size }}"}
"""
WORK = """\
from pathlib import Path

def large(payload):
    return "x" * payload["size"]

def size(payload):
    return len(payload)

def lose(payload):
    for path in Path("large").rglob("*.json"):
        path.unlink()
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".git", "handlers", "workflows"):
        (tmp_path / folder).mkdir()
    (tmp_path / "durableflow.yaml").write_text(PROJECT)
    (tmp_path / "workflows" / "flow.yaml").write_text(FLOW)
    (tmp_path / "handlers" / "work.py").write_text(WORK)


def kept() -> list[Path]:
    return [path for path in Path("large").rglob("*") if path.is_file()]


@pytest.mark.covers("project.offload", "offload.threshold", "offload.directory")
@pytest.mark.parametrize(("size", "files"), [(1000, 0), (2000, 1), (400_000, 1)])
def test_a_large_result_is_kept_apart_and_read_again_after_a_sleep(shell: Shell, size: int, files: int) -> None:
    ran = shell(
        "run", "workflows/flow.yaml", "--name", "n", "--skip-time", "--json", "--input", json.dumps({"size": size})
    )

    facts = json.loads(ran.out)
    assert (facts["status"], facts["output"]) == ("SUCCEEDED", {"size": size, "is_whole": True})
    assert len(kept()) == files
    history = shell("executions", "history", "n", "--json").out
    assert ("$offload" in history) == bool(files)
    assert ("x" * 1000 in history) == (not files)


def test_a_failure_is_found_in_the_file_and_a_recording_holds_what_was_kept_apart(shell: Shell) -> None:
    given = ["--skip-time", "--ephemeral", "--input", '{"size": 5000, "fails": true}']

    ran = shell("run", "workflows/flow.yaml", "--record", "flow.json", *given)
    for path in kept():
        path.unlink()

    assert ran.code == 1
    assert "workflows/flow.yaml:11:18: DF502 state 'sorry' failed: xxxx: too much" in ran.err
    assert "x" * 5000 in Path("flow.json").read_text()
    assert shell("replay", "workflows/flow.yaml", "--history", "flow.json").code == 0


def test_what_was_kept_apart_and_is_lost_fails_the_execution_and_says_so(shell: Shell) -> None:
    losing = '  - {name: lose, type: step, handler: "work:lose", retry: []}\n'
    Path("workflows/flow.yaml").write_text(FLOW.replace("  - {name: nap", f"{losing}  - {{name: nap"))

    ran = shell("run", "workflows/flow.yaml", "--name", "n", "--skip-time", "--json", "--input", '{"size": 5000}')

    assert ran.code == 1
    assert json.loads(ran.out)["error"]["name"] == "OffloadedResultLost"


@pytest.mark.covers("project.limits", "limits.operations")
def test_operations_are_bounded_as_the_project_says_before_the_service_would_refuse_rule_76(shell: Shell) -> None:
    Path("workflows/flow.yaml").write_text("""\
durableflow: "1"
name: flow
states:
  - name: on_and_on
    type: loop
    max_iterations: 1000
    states:
      - {name: size, type: step, handler: "work:size", payload: "", retry: []}
""")
    facts = json.loads(shell("run", "workflows/flow.yaml", "--ephemeral", "--json").out)

    assert (facts["status"], facts["error"]["name"]) == ("FAILED", "States.OperationLimitExceeded")
    assert facts["error"]["state"] == "size"
    # Half of a small limit is kept for compensation and `finally`.
    assert facts["metered"] == 30
