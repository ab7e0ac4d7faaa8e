"""The `logs` command on this machine; of CloudWatch: test_cli_remote.py."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest
from shell import Shell, shell

__all__ = ["shell"]

FLOW = """\
durableflow: "1"
name: talks
states:
  - {name: first, type: step, handler: "talk:say", payload: one, retry: []}
  - {name: nap, type: wait, duration: 1s}
  - {name: second, type: step, handler: "talk:say", payload: two, retry: []}
"""
HANDLER = 'def say(payload, context):\n    print("said", payload)\n    print("\\x1b[31mred")\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts
    (tmp_path / "talks.yaml").write_text(FLOW)
    (tmp_path / "talk.py").write_text(HANDLER)


def test_what_handlers_wrote_is_shown_with_their_names(shell: Shell) -> None:
    assert shell("run", "talks.yaml", "--name", "one", "--skip-time").code == 0

    ran = shell("logs", "one")
    lines = [json.loads(line) for line in shell("logs", "one", "--json").out.splitlines()]

    assert ran.code == 0
    assert [line.split("  ", 1)[1] for line in ran.out.splitlines()] == [
        f"{line['name']} | {line['message']}".replace("\x1b", "\\u001b") for line in lines
    ]
    assert [line["message"] for line in lines] == ["said one", "\x1b[31mred", "said two", "\x1b[31mred"]
    assert [("first" in line["name"], "second" in line["name"]) for line in lines[::2]] == [
        (True, False),
        (False, True),
    ]
    assert all(line["timestamp"] > 0 and line["requestId"] for line in lines)


def test_following_ends_with_the_execution(shell: Shell) -> None:
    started = threading.Event()

    def run() -> None:
        from durableflow.cli import loading
        from durableflow.local.engine import Engine

        with Engine(store=Path(".durableflow/executions.db"), log=lambda *_: None) as engine:
            loaded = loading.load(Path("talks.yaml"))
            engine.register(loaded.plan, loaded.folder)
            arn = engine.start("talks", "{}", "one")
            started.set()
            engine.wait(arn, 60)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(30)

    ran = shell("logs", "one", "--follow", "--json")

    thread.join()
    assert [json.loads(line)["message"] for line in ran.out.splitlines()][::2] == ["said one", "said two"]


def test_what_was_written_goes_with_its_execution(shell: Shell) -> None:
    shell("run", "talks.yaml", "--name", "one", "--skip-time")
    shell("executions", "delete", "one")
    with sqlite3.connect(".durableflow/executions.db") as store:
        assert store.execute("SELECT count(*) FROM lines").fetchone() == (0,)
    store.close()


def test_an_execution_that_is_not_there_is_said(shell: Shell) -> None:
    shell("run", "talks.yaml", "--name", "one", "--skip-time")

    ran = shell("logs", "two")

    assert (ran.code, ran.out, "DF796" in ran.err) == (2, "", True)
