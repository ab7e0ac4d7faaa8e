"""What is wrong with a store? Its file, its pages, and what is recorded of each execution, without changing any of it.

Everything that can be found is found: one damaged execution does not keep the others from being looked at. What is
repaired is only what cannot lose anything: who may read the files.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from durableflow import operations as wire
from durableflow.errors import UsageError, diagnostic
from durableflow.local.owner import is_owned, lock_file
from durableflow.local.store import BODIES, TABLES, connect_reader
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from durableflow.errors import Diagnostic

SPACE_MIN_BYTES: Final = 100 * 1024 * 1024
"""How much room there should be: a store writes each page twice, and a full disk loses what was to be recorded."""
_PROBLEMS_MAX: Final = 20
"""How many pages' problems are told: after the first few there is nothing new in them."""
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Args:
        problem: what, and what to do about it.
        execution: the ARN of the execution that it is about; None for the store itself.
    """

    problem: Diagnostic
    execution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What was looked at and found; `executions` is how many there are, None when they could not be counted."""

    findings: tuple[Finding, ...]
    executions: int | None


def examine(store: Path, *, is_function: Callable[[str, str], bool] | None = None) -> Checkup:
    """Look a store through, whoever owns it.

    Args:
        store: its file.
        is_function: says whether a function of this name and version is there; None when that is not known.
    """
    found = [*_files(store), *_owner(store), *_space(store)]
    try:
        connection = connect_reader(store)
    except UsageError as error:
        return Checkup(findings=(Finding(problem=error.problem), *found), executions=None)
    try:
        # One moment is looked at, also while somebody writes.
        connection.execute("BEGIN")
        problems = list(_pages(connection, store))
        if problems:
            # What the rows say cannot be told from what the damage makes of them.
            return Checkup(findings=(*problems, *found), executions=None)
        found += _strangers(connection, store)
        found += _records(connection)
        if is_function is not None:
            found += _orphans(connection, is_function)
        count = connection.execute("SELECT count(*) FROM executions").fetchone()[0]
    finally:
        connection.close()
    return Checkup(findings=tuple(found), executions=count)


def mend(store: Path) -> None:
    """Take the files of a store from everybody else: that is all that can be mended without losing anything."""
    for file in _files_of(store):
        with suppress(FileNotFoundError):
            if stat.S_ISREG(file.lstat().st_mode):
                file.chmod(0o600)


# ---------------------------------------------------------------------------------------------------------------------
# The files


def _files_of(store: Path) -> tuple[Path, ...]:
    return (store, *(store.with_name(store.name + suffix) for suffix in ("-wal", "-shm")), lock_file(store))


def _files(store: Path) -> Iterator[Finding]:
    for file in _files_of(store):
        try:
            found = file.lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & _OTHERS:
            yield _finding(
                "DF737",
                f"'{shown(str(file))}' is open to other users (mode {stat.S_IMODE(found.st_mode):04o})",
                "`durableflow doctor --fix` takes it from them, or chmod 600",
            )


def _owner(store: Path) -> Iterator[Finding]:
    lock = lock_file(store)
    if is_owned(store):
        return
    with suppress(OSError):
        if lock.stat().st_size:
            yield _finding(
                "DF738",
                f"the process that last ran the executions of '{shown(str(store))}' was killed",
                "nothing is lost: the next `run` or `serve` with this store takes up what it left",
            )


def _space(store: Path) -> Iterator[Finding]:
    with suppress(OSError):
        free = shutil.disk_usage(store.parent).free
        if free < SPACE_MIN_BYTES:
            yield _finding(
                "DF739",
                f"there are {free // 2**20:,} MiB left where '{shown(str(store))}' is",
                "make room; `durableflow executions prune` deletes executions that have ended",
            )


# ---------------------------------------------------------------------------------------------------------------------
# The database


def _pages(connection: sqlite3.Connection, store: Path) -> Iterator[Finding]:
    hint = "restore the store from a copy, or choose another file; nothing was changed"
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_PROBLEMS_MAX})").fetchall()
    except sqlite3.DatabaseError as error:
        rows = [(str(error),)]
    for (told,) in rows:
        if told != "ok":
            yield _finding("DF732", f"'{shown(str(store))}' is damaged: {shown(told)}", hint)


def _strangers(connection: sqlite3.Connection, store: Path) -> Iterator[Finding]:
    for table in TABLES:
        sql = f"SELECT count(*) FROM {table} WHERE execution NOT IN (SELECT key FROM executions)"  # noqa: S608 - constants
        (count,) = connection.execute(sql).fetchone()
        if count:
            yield _finding(
                "DF735",
                f"'{shown(str(store))}' has {count:,} rows in '{table}' that belong to no execution",
                "they do no harm; something else than durableflow has written to the store",
            )


def _records(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Give what is wrong with each execution, the first thing of each kind."""
    for arn, reason in _damages(connection):
        problem = diagnostic(
            "DF734",
            f"what is recorded of the execution {shown(arn)} is damaged: {reason}",
            hint="restore the store from a copy, or stop the execution and delete it; the others go on",
        )
        yield Finding(problem=problem, execution=arn)


def _damages(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    arns: dict[int, str] = {}
    sql = (
        "SELECT key, CAST(arn AS BLOB), last_event, operations, typeof(error), CAST(error AS BLOB)"
        " FROM executions LEFT JOIN progress ON execution = key ORDER BY key"
    )
    numbers = _numbers(connection, "events", "id"), _numbers(connection, "operations", "position")
    for key, arn, last_event, operations, kind, error in connection.execute(sql).fetchall():
        arns[key] = name = arn.decode("utf-8", "replace")
        if last_event is None:
            yield name, "how far it is, is not recorded"
            continue
        for found, last, what in ((numbers[0], last_event, "events"), (numbers[1], operations, "operations")):
            count, least, most = found.get(key, (0, 1, 0))
            if (count, least, most) != (last, 1, last):
                yield name, f"its {what} are not numbered 1 to {last}"
        if kind != "null" and _object(kind, error) is None:
            yield name, "its error is no JSON"
    told: set[tuple[int, str]] = set()
    for table in BODIES:
        column = _IDS[table]
        sql = f"SELECT execution, {column}, typeof(body), CAST(body AS BLOB) FROM {table}"  # noqa: S608 - constants
        for key, row, kind, body in connection.execute(sql):
            reason = _wrong(table, row, _object(kind, body))
            if reason is not None and key in arns and (key, table) not in told:
                told.add((key, table))
                yield arns[key], reason


_IDS: Final = {"operations": "CAST(id AS BLOB)", "events": "id", "held": "position"}


def _numbers(connection: sqlite3.Connection, table: str, column: str) -> dict[int, tuple[int, int, int]]:
    sql = f"SELECT execution, count(*), min({column}), max({column}) FROM {table} GROUP BY execution"  # noqa: S608 - constants
    return {row[0]: row[1:] for row in connection.execute(sql)}


def _object(kind: str, body: bytes) -> dict[str, Any] | None:
    if kind != "text":
        return None
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _wrong(table: str, row: Any, body: dict[str, Any] | None) -> str | None:
    """Return what is wrong with a row that holds this, or None."""
    if table == "operations":
        name = f"operation '{shown(row.decode('utf-8', 'replace'))}'"
        if body is None:
            return f"{name} is no JSON"
        if body.get("Id") != row.decode("utf-8", "replace") or body.get("Type") not in wire.DETAILS:
            return f"{name} is not what its row says"
    elif body is None:
        return f"event {row} is no JSON" if table == "events" else "an event that waits for its number is no JSON"
    elif table == "events" and (body.get("EventId") != row or f"{body.get('EventType')}Details" not in body):
        return f"event {row} is not what its row says"
    return None


def _orphans(connection: sqlite3.Connection, is_function: Callable[[str, str], bool]) -> Iterator[Finding]:
    sql = "SELECT arn, function, version FROM executions WHERE ended IS NULL ORDER BY key"
    for arn, function, version in connection.execute(sql).fetchall():
        if not is_function(function, version):
            problem = diagnostic(
                "DF736",
                f"the execution {shown(arn)} sleeps: its function '{shown(function)}' is not there any more",
                hint="bring the workflow back under its name, or stop the execution",
            )
            yield Finding(problem=problem, execution=arn)


def _finding(code: str, message: str, hint: str) -> Finding:
    return Finding(problem=diagnostic(code, message, hint=hint))
