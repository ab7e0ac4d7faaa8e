"""The `doctor` command: every fault of a store is told by its code, and looking changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from shell import Shell, shell

from durableflow.cli import main
from durableflow.local import checkup
from durableflow.local.owner import StoreLock
from durableflow.local.store import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
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
    folder = tmp_path_factory.mktemp("ran")
    (folder / "echo.yaml").write_text(ECHO)
    (folder / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [.]\nstore: kept/e.db\n')
    for name, given in (("one", '{"n": 1}'), ("bad", "{}")):
        with pytest.raises(SystemExit):
            main(["run", str(folder / "echo.yaml"), "--name", name, "--input", given, "--skip-time"])
    return folder


@pytest.fixture
def store(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kept" / "e.db"


def change(store: Path, *statements: str, parameters: Any = ()) -> None:
    connection = sqlite3.connect(store)
    for statement in statements:
        connection.execute(statement, parameters)
    connection.commit()
    connection.close()


def findings(shell: Shell, *options: object) -> list[Any]:
    done = shell("doctor", "--json", *options)
    found: list[Any] = json.loads(done.out)["findings"]
    assert done.code == (1 if found else 0)
    return found


def test_a_store_with_which_nothing_is_wrong(shell: Shell, store: Path) -> None:
    assert findings(shell) == []
    done = shell("doctor")
    assert (done.code, done.out) == (0, f"{store}: 2 executions; nothing is wrong\n")
    before = store.read_bytes()
    assert shell("doctor", "--store", store, "--fix").code == 0
    assert store.read_bytes() == before


def test_there_must_be_a_store(shell: Shell, store: Path) -> None:
    done = shell("doctor", "--store", store.with_name("other.db"))
    assert done.code == 2
    assert "DF796" in done.err


class Case(NamedTuple):
    code: str
    says: str
    statements: tuple[str, ...]
    is_of_execution: bool = True


ROWS = (
    Case("DF734", "operation", ("UPDATE operations SET body = '{' WHERE execution = 1 AND position = 1",)),
    Case("DF734", "operation", ("UPDATE operations SET body = x'00' WHERE execution = 1",)),
    Case("DF734", "operation", ("UPDATE operations SET body = CAST(x'ff' AS TEXT) WHERE execution = 1",)),
    Case("DF734", "what its row says", ("UPDATE operations SET body = '{}' WHERE execution = 1",)),
    Case("DF734", "event 2 is no JSON", ("UPDATE events SET body = '' WHERE execution = 1 AND id = 2",)),
    Case(
        "DF734", "event 2 is not what", ("UPDATE events SET body = '{\"EventId\":3}' WHERE execution = 1 AND id = 2",)
    ),
    Case("DF734", "its events are not numbered 1 to", ("DELETE FROM events WHERE execution = 1 AND id = 2",)),
    Case("DF734", "its events are not numbered 1 to", ("DELETE FROM events WHERE execution = 1",)),
    Case("DF734", "its operations are not numbered", ("UPDATE operations SET position = 7 WHERE execution = 1",)),
    Case("DF734", "how far it is", ("DELETE FROM progress WHERE execution = 1",)),
    Case("DF734", "its error is no JSON", ("UPDATE executions SET error = 'none' WHERE key = 1",)),
    Case("DF734", "waits for its number", ("INSERT INTO held (execution, body) VALUES (1, 'x')",)),
    Case("DF735", "rows in 'events'", ("INSERT INTO events VALUES (99, 1, '{}')",), is_of_execution=False),
    Case("DF735", "rows in 'timers'", ("INSERT INTO timers VALUES (99, 'x', 'wait', 1)",), is_of_execution=False),
)


@pytest.mark.parametrize("case", ROWS, ids=[f"{n} {case.says}" for n, case in enumerate(ROWS)])
def test_rows_that_are_damaged_are_told_by_their_execution(shell: Shell, store: Path, case: Case) -> None:
    change(store, *case.statements)
    found = findings(shell)
    assert [(finding["code"], case.says in finding["message"]) for finding in found] == [(case.code, True)]
    assert ("/one/" in str(found[0]["executionArn"])) is case.is_of_execution
    assert found[0]["hint"]
    assert json.loads(shell("executions", "show", "bad", "--json").out)["status"] == "FAILED"
    assert shell("executions", "list").code == 0


def test_what_is_damaged_can_be_deleted_and_is_well_again(shell: Shell, store: Path) -> None:
    change(
        store, "UPDATE operations SET body = '{' WHERE execution = 1", "UPDATE events SET body = '' WHERE execution = 1"
    )
    assert len(findings(shell)) == 2
    shown = shell("executions", "show", "one")
    assert (shown.code, "DF734" in shown.err) == (3, True)
    assert shell("executions", "delete", "one").code == 0
    assert findings(shell) == []


def test_an_execution_whose_function_is_gone(shell: Shell, store: Path, tmp_path: Path) -> None:
    change(store, "UPDATE executions SET status = 'RUNNING', ended = NULL WHERE key = 1")
    assert findings(shell) == []
    (tmp_path / "echo.yaml").unlink()
    (finding,) = findings(shell)
    assert (finding["code"], "'echo'" in finding["message"]) == ("DF736", True)
    assert findings(shell, "--store", store) == []  # of which nobody knows whose it is
    assert [found["code"] for found in findings(shell, "--store", store, "--project", tmp_path)] == ["DF736"]


def _garbage(store: Path) -> None:
    store.write_bytes(b"no database" * 1000)


def _another(store: Path) -> None:
    change(store, "PRAGMA application_id = 7")


def _newer(store: Path) -> None:
    change(store, "PRAGMA user_version = 99")


def _older(store: Path) -> None:
    change(store, f"PRAGMA user_version = {len(MIGRATIONS) - 1}")


def _torn(store: Path) -> None:
    data = store.read_bytes()
    store.write_bytes(data[:8192] + b"\xff" * 4096 * 4 + data[8192 + 4096 * 4 :])


def _short(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:4096])


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_garbage, "DF730"),
        (_another, "DF730"),
        (_newer, "DF731"),
        (_older, "DF733"),
        (_torn, "DF732"),
        (_short, "DF732"),
    ],
)
def test_a_file_that_is_no_good(shell: Shell, store: Path, damage: Callable[[Path], None], code: str) -> None:
    damage(store)
    before = store.read_bytes()
    done = shell("doctor", "--json")
    found = json.loads(done.out)
    assert (done.code, found["executions"]) == (1, None)
    assert {finding["code"] for finding in found["findings"]} == {code}
    assert store.read_bytes() == before
    assert "unreadable" in shell("doctor").out


def test_files_that_are_open_to_others_are_told_and_mended(shell: Shell, store: Path) -> None:
    store.chmod(0o644)
    lock = store.with_name("e.db.lock")
    lock.chmod(0o660)
    assert [finding["code"] for finding in findings(shell)] == ["DF737", "DF737"]
    assert shell("doctor", "--fix").code == 0
    assert {file.stat().st_mode & 0o777 for file in (store, lock)} == {0o600}


def test_an_owner_that_was_killed_is_told_and_one_that_lives_is_left_alone(shell: Shell, store: Path) -> None:
    lock = StoreLock.take(store)
    assert lock is not None
    os.pwrite(lock._descriptor, b'{"pid":1}', 0)
    assert findings(shell) == []
    os.close(lock._descriptor)  # as the kernel does it
    assert [finding["code"] for finding in findings(shell)] == ["DF738"]
    assert shell("run", "echo.yaml", "--name", "one").code == 0
    assert findings(shell) == []


def test_a_disk_that_is_nearly_full(shell: Shell, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.exists()
    monkeypatch.setattr(checkup, "SPACE_MIN_BYTES", 1 << 62)
    assert [finding["code"] for finding in findings(shell)] == ["DF739"]
