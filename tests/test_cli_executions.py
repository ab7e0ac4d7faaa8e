"""The `executions` commands, and `replay` of what they print."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from shell import Shell, shell

from durableflow.cli import main, stores
from durableflow.local.engine import Engine
from durableflow.project import compile_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["shell"]

ECHO = """\
durableflow: "1"
name: echo
states:
  - {name: first, type: wait, duration: 90s}
  - {name: last, type: pass, output: "{{ input.n * 2 }}"}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three executions have run."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / ".git").mkdir()  # no project file above counts
    (folder / "echo.yaml").write_text(ECHO)
    for name, given in (("one", '{"n": 1}'), ("two", '{"n": 2}'), ("bad", "{}")):
        with pytest.raises(SystemExit):
            main(["run", str(folder / "echo.yaml"), "--name", name, "--input", given, "--skip-time"])
    return folder


@pytest.fixture(autouse=True)
def _here(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def test_list_shows_the_newest_first(shell: Shell) -> None:
    rows = [line.split() for line in shell("executions", "list").out.splitlines()]

    assert rows[0] == ["NAME", "WORKFLOW", "STATUS", "STARTED", "TOOK"]
    assert [row[:3] for row in rows[1:]] == [
        ["bad", "echo", "FAILED"],
        ["two", "echo", "SUCCEEDED"],
        ["one", "echo", "SUCCEEDED"],
    ]
    assert rows[2][-2:] == ["1m", "30s"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--status", "FAILED"], ["bad"]),
        (["--status", "FAILED", "--status", "SUCCEEDED"], ["bad", "two", "one"]),
        (["--limit", "2"], ["bad", "two"]),
        (["--limit", "0"], ["bad", "two", "one"]),
        (["--status", "RUNNING"], []),
    ],
)
def test_list_can_be_narrowed(shell: Shell, options: list[str], names: list[str]) -> None:
    found = json.loads(shell("executions", "list", "--json", *options).out)["executions"]

    assert [execution["name"] for execution in found] == names


def test_show_takes_a_name_or_an_arn(shell: Shell) -> None:
    by_name = shell("executions", "show", "two", "--json")
    facts = json.loads(by_name.out)

    assert (facts["status"], facts["input"], facts["output"], facts["operations"]) == ("SUCCEEDED", {"n": 2}, 4, 1)
    assert shell("executions", "show", facts["executionArn"], "--json").out == by_name.out


def test_show_tells_what_happened(shell: Shell) -> None:
    good, bad = shell("executions", "show", "one").out, shell("executions", "show", "bad").out

    assert good.startswith("one  SUCCEEDED\n")
    assert "  first  wait for 1m 30s\n" in good
    assert good.endswith("  result\n    2\n")
    assert "  error    States.QueryEvaluationError: " in bad


def test_history_is_a_table_or_what_the_service_says(shell: Shell) -> None:
    table, reply = shell("executions", "history", "one"), shell("executions", "history", "one", "--json")

    assert [line.split()[3] for line in table.out.splitlines()[1:]] == [
        event["EventType"] for event in json.loads(reply.out)["Events"]
    ]
    assert json.loads(reply.out)["Events"][0]["ExecutionStartedDetails"]["Input"]["Payload"] == '{"n":1}'


@pytest.mark.parametrize("command", ["show", "history", "stop", "pause", "resume", "delete"])
def test_an_execution_that_is_not_there_is_wrong_usage(shell: Shell, command: str) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:echo:$LATEST/durable-execution/x/0"
    for name in ("three", arn):
        ran = shell("executions", command, name)
        assert (ran.code, ran.out) == (2, "")
        assert "DF7" in ran.err


def test_stopping_what_has_ended_changes_nothing(shell: Shell) -> None:
    assert shell("executions", "stop", "one").out == "one  SUCCEEDED\n"


def test_where_there_is_no_store_nothing_is_made(shell: Shell, tmp_path: Path) -> None:
    ran = shell("executions", "list", "--store", "other.db")

    assert ran.code == 2
    assert "DF796" in ran.err
    assert not (tmp_path / "other.db").exists()


def test_another_file_is_refused_and_left_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"not a database" * 100)

    for command in (["executions", "list"], ["run", "echo.yaml"]):
        ran = shell(*command, "--store", "other.db")
        assert (ran.code, ran.out) == (3, "")
        assert "DF730 'other.db' is no SQLite database" in ran.err

    assert (tmp_path / "other.db").read_bytes() == b"not a database" * 100


@pytest.mark.covers("project.store")
def test_the_store_of_a_project_is_found_by_its_file_or_folder(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [.]\nstore: kept/here.db\n')
    (tmp_path / "shop" / "echo.yaml").write_text(ECHO)
    shell("run", "shop/echo.yaml", "--name", "theirs", "--input", '{"n": 1}', "--skip-time")

    assert (tmp_path / "shop" / "kept" / "here.db").exists()
    for project in ("shop", "shop/durableflow.yaml"):
        found = json.loads(shell("executions", "list", "--project", project, "--json").out)["executions"]
        assert [execution["name"] for execution in found] == ["theirs"]


def test_what_was_recorded_here_replays(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text(shell("executions", "history", "two", "--json").out)

    ran = shell("replay", "echo.yaml", "--history", "h.json")

    assert (ran.code, ran.out) == (0, "echo: replays, and ends SUCCEEDED\n4\n")


def test_a_replay_tells_where_workflow_and_record_disagree(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text(shell("executions", "history", "two", "--json").out)
    (tmp_path / "echo.yaml").write_text(ECHO.replace("{name: first, type: wait", "{name: other, type: wait"))

    ran = shell("replay", "echo.yaml", "--history", "h.json")

    assert (ran.code, ran.out) == (1, "echo: workflow and record disagree\n")
    assert "echo.yaml:4:5: DF50" in ran.err
    assert "'first'" in ran.err
    assert "\n    4 |   - {name: other, " in ran.err
    assert json.loads(shell("replay", "echo.yaml", "--history", "h.json", "--json").out)["isSame"] is False


def test_a_recording_of_another_version_is_told_first(shell: Shell, tmp_path: Path) -> None:
    shell("run", "echo.yaml", "--ephemeral", "--skip-time", "--input", '{"n": 2}', "--record", "r.json")
    (tmp_path / "echo.yaml").write_text(ECHO.replace("input.n * 2", "input.n * 3"))

    ran = shell("replay", "echo.yaml", "--history", "r.json")

    assert ran.code == 1
    assert ran.err == "note: the recording was made with another version of this workflow\n"
    assert "decides something else" in ran.out


def test_a_replay_of_a_waiting_execution_says_what_it_waits_for(shell: Shell, tmp_path: Path) -> None:
    events = json.loads(shell("executions", "history", "two", "--json").out)["Events"]
    (tmp_path / "h.json").write_text(json.dumps({"Events": events[:2]}))

    ran = shell("replay", "echo.yaml", "--history", "h.json")

    assert (ran.code, ran.out) == (0, "echo: replays, and waits for\n  WAIT 'first', which is STARTED\n")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"durableflow": 99, "kind": "recording"}', "<<<<<<< HEAD\n"])
def test_a_history_that_is_none_is_refused_with_its_line(shell: Shell, tmp_path: Path, text: str) -> None:
    (tmp_path / "h.json").write_text(text)

    ran = shell("replay", "echo.yaml", "--history", "h.json")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("h.json:1:")


# Pausing and deleting ------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Engine]:
    """The process that runs the executions of the store: this one. `three` waits for 90 seconds."""
    with Engine(store=tmp_path / stores.STORE) as engine:
        engine.register(compile_file(tmp_path / "echo.yaml", tmp_path), tmp_path)
        arn = engine.start("echo", '{"n":3}', "three")
        for event in engine.follow(arn):
            if event["EventType"] == "InvocationCompleted":
                break
        yield engine


def test_an_execution_is_paused_and_goes_on(shell: Shell, owner: Engine) -> None:
    (found,) = owner.find("three")
    arn = found["DurableExecutionArn"]
    assert shell("executions", "pause", "three", "--reason", "deploying").out == "three  PAUSED\n"
    shown = shell("executions", "show", "three").out
    assert shown.startswith("three  PAUSED\n")
    assert ": deploying; resume it with:\n" in shown
    assert f"durableflow executions resume '{arn}'" in shown
    assert "the execution is paused (deploying)" in shown
    pause = json.loads(shell("executions", "show", "three", "--json").out)["pause"]
    assert (pause["reason"], pause["timeoutStands"]) == ("deploying", True)
    assert "three" in shell("executions", "list", "--status", "PAUSED").out
    assert json.loads(shell("executions", "resume", arn, "--json").out) == {"executionArn": arn, "status": "RUNNING"}
    history = json.loads(shell("executions", "history", "three", "--json").out)["Events"]
    assert [event["EventType"] for event in history[-2:]] == ["ExecutionPaused", "ExecutionResumed"]
    assert json.loads(shell("executions", "show", "three", "--json").out)["pause"] is None


def test_a_timeout_can_go_on_while_an_execution_is_paused(shell: Shell, owner: Engine) -> None:
    assert shell("executions", "pause", "three", "--timeout-goes-on", "--json").code == 0
    assert (
        owner.describe(owner.find("three")[0]["DurableExecutionArn"])["PauseDetails"]["ExecutionTimeoutPaused"] is False
    )


def test_an_execution_is_paused_while_nobody_runs_it(shell: Shell, owner: Engine) -> None:
    owner.close()
    assert shell("executions", "pause", "three").out == "three  PAUSED\n"
    assert shell("executions", "resume", "three").out == "three  RUNNING\n"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_what_has_ended_is_neither_paused_nor_resumed(shell: Shell, command: str) -> None:
    ran = shell("executions", command, "one")
    assert (ran.code, ran.out) == (2, "")
    assert f"DF726 the execution 'one' is SUCCEEDED and cannot be {command}d" in ran.err


def test_what_has_ended_is_deleted(shell: Shell) -> None:
    assert shell("executions", "delete", "one").out == "one  deleted\n"
    arn = json.loads(shell("executions", "show", "bad", "--json").out)["executionArn"]
    assert json.loads(shell("executions", "delete", arn, "--json").out) == {
        "executionArn": arn,
        "status": "FAILED",
        "isDeleted": True,
    }
    found = json.loads(shell("executions", "list", "--json").out)["executions"]
    assert [execution["name"] for execution in found] == ["two"]
    assert shell("executions", "delete", "one").code == 2


def test_what_runs_is_not_deleted(shell: Shell, owner: Engine) -> None:
    assert owner.is_owner
    ran = shell("executions", "delete", "three")
    assert ran.code == 2
    assert "DF726 the execution 'three' is RUNNING and cannot be deleted" in ran.err


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], []),
        (["--status", "SUCCEEDED"], ["bad"]),
        (["--status", "SUCCEEDED", "--status", "FAILED"], []),
        (["--status", "STOPPED"], ["bad", "two", "one"]),
        (["--older-than", "1d"], ["bad", "two", "one"]),
    ],
)
def test_prune_deletes_what_it_is_told(shell: Shell, options: list[str], left: list[str]) -> None:
    names = {"bad", "two", "one"} - set(left)
    would = json.loads(shell("executions", "prune", "--dry-run", "--json", *options).out)
    assert ({each["name"] for each in would["executions"]}, would["deleted"]) == (names, 0)
    did = shell("executions", "prune", "--yes", *options)
    assert (did.code, did.out) == (0, f"{len(names)} execution{'s' if len(names) != 1 else ''} deleted\n")
    found = json.loads(shell("executions", "list", "--json").out)["executions"]
    assert [each["name"] for each in found] == left


def test_prune_leaves_what_runs(shell: Shell, owner: Engine) -> None:
    assert json.loads(shell("executions", "prune", "--yes", "--json").out)["deleted"] == 3
    assert [found["Status"] for found in owner.find("three")] == ["RUNNING"]


def test_prune_deletes_nothing_unasked(shell: Shell) -> None:
    ran = shell("executions", "prune")
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    ran = shell("executions", "prune", "--dry-run")
    assert ("two  echo  SUCCEEDED  " in ran.out, "3 executions would be deleted" in ran.err) == (True, True)
    assert len(json.loads(shell("executions", "list", "--json").out)["executions"]) == 3


@pytest.mark.parametrize("text", ["yesterday", "1y", "-1d", ""])
def test_prune_takes_durations_as_workflows_write_them(shell: Shell, text: str) -> None:
    ran = shell("executions", "prune", "--yes", f"--older-than={text}")
    assert ran.code == 2
    assert "is no duration" in ran.err
