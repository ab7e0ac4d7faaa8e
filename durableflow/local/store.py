"""Where does the service keep what it knows? SQLite, one row for each event, operation, execution, timer.

One connection writes, in `BEGIN IMMEDIATE` transactions, one for each request; nothing is answered before its commit.
`NORMAL` survives a killed process and may lose the last commits at a power cut, `FULL` survives both (reliability.md
4.6). The file is ours alone: another application's database, a newer schema and damaged bytes are refused and left as
they are. The store knows rows and texts, not what they mean: that is `executions.py`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from durableflow import values
from durableflow.errors import ServiceError, UsageError, diagnostic
from durableflow.local.lines import TAIL_BYTES, Line
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from durableflow.errors import Diagnostic
    from durableflow.operations import Operation
    from durableflow.values import Json

Durability: TypeAlias = Literal["normal", "full"]

APPLICATION_ID: Final = 0x64666C77
"""`dflw` in the header of the file: what tells our stores from other SQLite databases."""

BUSY_SECONDS: Final = 10.0
"""How long SQLite itself waits for a lock before a statement fails."""

KEPT_MAX: Final = 4096
"""How many running executions are held in memory, without their texts: about a kilobyte each."""

CHECKPOINT_PAGES: Final = 4000
"""How many pages of 4 KiB the write-ahead log grows by before SQLite copies it into the file, with its two fsyncs."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE executions (
            key INTEGER PRIMARY KEY, arn TEXT NOT NULL UNIQUE, name TEXT NOT NULL, function TEXT NOT NULL,
            version TEXT NOT NULL, status TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER, tenant TEXT,
            timeout_seconds INTEGER, retention_days INTEGER NOT NULL, caller INTEGER, caller_operation TEXT,
            input TEXT, result TEXT, error TEXT)""",
        "CREATE UNIQUE INDEX executions_name ON executions (function, version, name)",
        "CREATE INDEX executions_running ON executions (key) WHERE status = 'RUNNING'",
        # Apart from the texts, so that a checkpoint rewrites a hundred bytes and not the input.
        """CREATE TABLE progress (
            execution INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, invocation TEXT, invocation_started INTEGER,
            invocations INTEGER NOT NULL, last_event INTEGER NOT NULL, failures INTEGER NOT NULL,
            failing_since INTEGER, outcome TEXT, unseen INTEGER NOT NULL, operations INTEGER NOT NULL,
            metered INTEGER NOT NULL, size_bytes INTEGER NOT NULL)""",
        # position is the order of creation; context: 1 is open or replayed, 2 hides its children.
        """CREATE TABLE operations (
            execution INTEGER, position INTEGER, id TEXT NOT NULL, parent TEXT, context INTEGER NOT NULL,
            outstanding INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (execution, position)) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX operations_id ON operations (execution, id)",
        "CREATE INDEX operations_outstanding ON operations (execution) WHERE outstanding",
        "CREATE INDEX operations_contexts ON operations (execution, position) WHERE context > 0",
        """CREATE TABLE events (
            execution INTEGER, id INTEGER, body TEXT NOT NULL, PRIMARY KEY (execution, id)) WITHOUT ROWID""",
        "CREATE TABLE held (position INTEGER PRIMARY KEY, execution INTEGER NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX held_execution ON held (execution, position)",
        "CREATE TABLE unseen (execution INTEGER, id TEXT, PRIMARY KEY (execution, id)) WITHOUT ROWID",
        """CREATE TABLE timers (
            execution INTEGER, operation TEXT, kind TEXT, due INTEGER NOT NULL,
            PRIMARY KEY (execution, operation, kind)) WITHOUT ROWID""",
        "CREATE INDEX timers_due ON timers (due)",
        """CREATE TABLE replies (
            execution INTEGER, client_token TEXT, token TEXT NOT NULL, digest BLOB NOT NULL, at INTEGER NOT NULL,
            body TEXT NOT NULL, PRIMARY KEY (execution, client_token)) WITHOUT ROWID""",
        """CREATE TABLE callbacks (
            id TEXT PRIMARY KEY, execution INTEGER NOT NULL, operation TEXT NOT NULL,
            heartbeat_seconds INTEGER NOT NULL) WITHOUT ROWID""",
        # The outbox: a target whose result is not recorded is started again when the service comes back.
        """CREATE TABLE targets (
            execution INTEGER, operation TEXT, request_id TEXT NOT NULL, function TEXT NOT NULL,
            version TEXT NOT NULL, call_number INTEGER NOT NULL, tenant TEXT, payload TEXT,
            is_running INTEGER NOT NULL, PRIMARY KEY (execution, operation)) WITHOUT ROWID""",
        "CREATE INDEX targets_calls ON targets (execution, function, call_number)",
        "CREATE INDEX targets_running ON targets (execution) WHERE is_running",
        "CREATE TABLE stops (was_clean INTEGER NOT NULL)",
        "INSERT INTO stops VALUES (1)",
    ),
    (
        # Which of its calls had the n-th answer of a list; a call that is made again has the same.
        """CREATE TABLE answered (
            execution INTEGER, answer TEXT, call TEXT, number INTEGER NOT NULL,
            PRIMARY KEY (execution, answer, call)) WITHOUT ROWID""",
    ),
    (
        # `since` is when the execution went to rest, `timeout_left` what its timeout had left then, in milliseconds.
        """CREATE TABLE pauses (
            execution INTEGER PRIMARY KEY, requested INTEGER NOT NULL, reason TEXT, stops_timeout INTEGER NOT NULL,
            since INTEGER, timeout_left INTEGER)""",
        # A paused execution has not ended either.
        "DROP INDEX executions_running",
        "CREATE INDEX executions_open ON executions (key) WHERE ended IS NULL",
        "CREATE INDEX executions_expiry ON executions (ended + retention_days * 86400000) WHERE ended IS NOT NULL",
        # What a deletion looks for.
        "CREATE INDEX executions_caller ON executions (caller) WHERE caller > 0",
        "CREATE INDEX callbacks_execution ON callbacks (execution)",
    ),
    (
        # What handlers have written; gone with its execution.
        """CREATE TABLE lines (
            position INTEGER PRIMARY KEY, execution INTEGER NOT NULL, job TEXT NOT NULL, at INTEGER NOT NULL,
            label TEXT NOT NULL, text TEXT NOT NULL)""",
        "CREATE INDEX lines_execution ON lines (execution, position)",
    ),
    (
        # Each holds the key as well, in whose order executions are listed: a page costs a page, however many there are.
        "CREATE INDEX executions_function ON executions (function)",
        "CREATE INDEX executions_called ON executions (name)",
    ),
)
"""The steps from an empty file to the schema of today; `user_version` counts the steps taken. Only ever appended to."""


@dataclass(slots=True, kw_only=True)
class Execution:
    """An execution without its texts and operations; the service changes it and saves it.

    Args:
        key: the row; 0 before it is stored.
        caller, caller_operation: whose chained invoke it is, None for an execution that a client started; 0 is a
            caller that has been deleted.
        status: the wire's word; PAUSING and PAUSED are as alive as RUNNING.
        sequence: counts accepted checkpoints and invocations; what tokens are made of.
        invocation: the request id of the invocation in flight.
        failures: invocations that failed one after another; `failing_since` is the time of the first.
        outcome: the status that an EXECUTION update has recorded while the invocation still runs.
        unseen: how many changes the handler has not been told of, counted again for an operation that changed twice.
        metered, size_bytes: as the platform would count (protocol.md 9).
    """

    key: int = 0
    arn: str
    name: str
    function: str
    version: str
    status: str
    started: int
    ended: int | None = None
    tenant: str | None = None
    timeout_seconds: int | None = None
    retention_days: int = 14
    caller: int | None = None
    caller_operation: str | None = None
    sequence: int = 0
    invocation: str | None = None
    invocation_started: int | None = None
    invocations: int = 0
    last_event: int = 0
    failures: int = 0
    failing_since: int | None = None
    outcome: str | None = None
    unseen: int = 0
    operations: int = 0
    metered: int = 1
    size_bytes: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it is over: what is paused is not."""
        return self.ended is not None


_IDENTITY = (
    "arn, name, function, version, status, started, ended, tenant, timeout_seconds, retention_days, caller,"
    " caller_operation"
)
_PROGRESS = (
    "sequence, invocation, invocation_started, invocations, last_event, failures, failing_since, outcome, unseen,"
    " operations, metered, size_bytes"
)
_EXECUTION = f"SELECT key, {_IDENTITY}, {_PROGRESS} FROM executions JOIN progress ON execution = key"  # noqa: S608 - constants
_FIELDS = tuple(f"key, {_IDENTITY}, {_PROGRESS}".split(", "))
TABLES: Final = (
    "progress",
    "operations",
    "events",
    "held",
    "unseen",
    "timers",
    "replies",
    "callbacks",
    "targets",
    "answered",
    "pauses",
    "lines",
)
"""Where rows of an execution are, besides its own."""
BODIES: Final = ("operations", "events", "held")
"""Where its rows hold JSON objects, in `body`."""
_SAVE = f"UPDATE progress SET {', '.join(f'{column} = ?' for column in _PROGRESS.split(', '))} WHERE execution = ?"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What an execution was given and gave; the error is JSON text."""

    input: str | None
    result: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What is known of a pause, times in epoch milliseconds.

    Args:
        requested: when somebody asked for it.
        reason: why; None when nobody said.
        stops_timeout: whether the execution's timeout stands still meanwhile.
        since: when the execution went to rest; None while an invocation is still in flight.
        timeout_left: what the timeout had left then, milliseconds; None when it goes on or there is none.
    """

    requested: int
    reason: str | None
    stops_timeout: bool
    since: int | None = None
    timeout_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerRow:
    """A timer: `operation` is empty for those of the execution itself."""

    execution: int
    operation: str
    kind: str
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """A plain target of a chained invoke."""

    execution: int
    operation: str
    request_id: str
    function: str
    version: str
    call_number: int
    tenant: str | None
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to an accepted checkpoint, kept for the case that it got lost on its way."""

    token: str
    digest: bytes
    at: int
    body: str


class Store:
    """One open store. Not thread-safe: the service's lock guards it.

    Args:
        connection: made by `open_store` or `open_reader`.
        name: the path for messages; `:memory:` for an ephemeral store.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, *, is_writable: bool = True) -> None:
        self._connection = connection
        self._run = connection.execute
        self._name = name
        self.is_writable = is_writable
        # Running executions by ARN and key, as they are stored: the only writer need not read what it has written.
        self._kept: dict[str, Execution] = {}
        self._kept_keys: dict[int, Execution] = {}
        self.earliest_armed: int | None = None
        """When the first of the timers is due that were set since somebody put None here."""

    def close(self) -> None:
        """Note the clean stop and close; a second call does nothing."""
        try:
            if self.is_writable:
                self._run("UPDATE stops SET was_clean = 1")
        except sqlite3.ProgrammingError:  # closed already
            return
        self._connection.close()

    @contextmanager
    def view(self) -> Generator[None]:
        """Read inside as of one moment; within a transaction of this store, as of now.

        Raises:
            ServiceError: ServiceException when SQLite fails.
        """
        if self._connection.in_transaction:
            yield
            return
        try:
            self._run("BEGIN")
            try:
                yield
            finally:
                self._connection.rollback()
        except sqlite3.Error as error:
            raise _failed(self._name, error) from error

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make what happens inside durable, all of it or nothing.

        Raises:
            ServiceError: ServiceException when SQLite fails: locked for too long, disk full, damaged.
        """
        try:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()
        except BaseException as error:
            self._forget_kept()  # they may have been changed for a commit that has not happened
            if not isinstance(error, sqlite3.Error):
                raise
            if self._connection.in_transaction:
                self._connection.rollback()
            raise _failed(self._name, error) from error

    # Executions ------------------------------------------------------------------------------------------------------

    def add_execution(self, execution: Execution, payload: str | None) -> None:
        """Store a new execution with its input and set its key."""
        values_ = tuple(getattr(execution, name) for name in _IDENTITY.split(", "))
        cursor = self._run(
            f"INSERT INTO executions ({_IDENTITY}, input) VALUES ({'?, ' * len(values_)}?)",  # noqa: S608 - constants
            (*values_, payload),
        )
        execution.key = cast("int", cursor.lastrowid)
        progress = tuple(getattr(execution, name) for name in _PROGRESS.split(", "))
        self._run(
            f"INSERT INTO progress (execution, {_PROGRESS}) VALUES (?{', ?' * len(progress)})",  # noqa: S608 - constants
            (execution.key, *progress),
        )

    def execution(self, arn: str) -> Execution | None:
        """Return the execution of an ARN."""
        return self._kept.get(arn) or self._keep(self._one_execution("WHERE arn = ?", arn))

    def execution_of_key(self, key: int) -> Execution:
        """Return the execution of a row that is known to exist."""
        return self._kept_keys.get(key) or cast("Execution", self._keep(self._one_execution("WHERE key = ?", key)))

    def execution_named(self, function: str, version: str, name: str) -> Execution | None:
        """Return the execution that has a name already."""
        return self._one_execution("WHERE function = ? AND version = ? AND name = ?", function, version, name)

    def _one_execution(self, where: str, *parameters: object) -> Execution | None:
        row = self._run(f"{_EXECUTION} {where}", parameters).fetchone()
        return _execution(row) if row else None

    def _keep(self, execution: Execution | None) -> Execution | None:
        if execution is not None and not execution.has_ended and self.is_writable:
            if len(self._kept) >= KEPT_MAX:
                self._forget_kept()
            self._kept[execution.arn] = self._kept_keys[execution.key] = execution
        return execution

    def _forget_kept(self) -> None:
        self._kept.clear()
        self._kept_keys.clear()

    def save(self, execution: Execution) -> None:
        """Store how far an execution is."""
        e = execution
        if e.has_ended:
            self._kept.pop(e.arn, None)
            self._kept_keys.pop(e.key, None)
        self._run(
            _SAVE,
            (
                e.sequence,
                e.invocation,
                e.invocation_started,
                e.invocations,
                e.last_event,
                e.failures,
                e.failing_since,
                e.outcome,
                e.unseen,
                e.operations,
                e.metered,
                e.size_bytes,
                e.key,
            ),
        )

    def save_status(self, execution: Execution) -> None:
        """Store the status of an execution that has not ended."""
        self._run("UPDATE executions SET status = ? WHERE key = ?", (execution.status, execution.key))

    def save_outcome(self, execution: Execution, *, result: str | None, error: str | None) -> None:
        """Store status, end and texts of an execution's outcome; every later call that brings none keeps them."""
        self._run(
            "UPDATE executions SET status = ?, ended = ?, result = ?, error = ? WHERE key = ?",
            (execution.status, execution.ended, result, error, execution.key),
        )

    def texts(self, key: int) -> Texts:
        """Return what an execution was given and gave."""
        row = self._run("SELECT input, result, error FROM executions WHERE key = ?", (key,)).fetchone()
        return Texts(input=row[0], result=row[1], error=row[2])

    def running(self) -> list[Execution]:
        """Return every execution that has not ended, oldest first."""
        return [_execution(row) for row in self._run(f"{_EXECUTION} WHERE ended IS NULL ORDER BY key")]

    def executions(
        self, conditions: Sequence[tuple[str, object]], *, after: int | None, oldest_first: bool, limit: int
    ) -> list[Execution]:
        """Return executions in the order of their start.

        Args:
            conditions: SQL on columns of `executions` with one parameter each; written by us, never from outside.
            after: the key to go on behind; None from the beginning.
            oldest_first: the order.
            limit: how many at most.
        """
        found = list(conditions)
        if after is not None:
            found.append(("key > ?" if oldest_first else "key < ?", after))
        where = f"WHERE {' AND '.join(sql for sql, _ in found)} " if found else ""
        order = "ASC" if oldest_first else "DESC"
        sql = f"{_EXECUTION} {where}ORDER BY key {order} LIMIT ?"
        return [_execution(row) for row in self._run(sql, (*(parameter for _, parameter in found), limit))]

    def expired(self, now: int, *, limit: int) -> list[int]:
        """Return the keys of executions whose retention is over, the longest first."""
        sql = (
            "SELECT key FROM executions WHERE ended IS NOT NULL AND ended + retention_days * 86400000 <= ?"
            " ORDER BY ended + retention_days * 86400000 LIMIT ?"
        )
        return [row[0] for row in self._run(sql, (now, limit))]

    def delete_execution(self, key: int) -> None:
        """Remove an execution that has ended, with everything that is stored of it; what it has started stays."""
        for table in TABLES:
            self._run(f"DELETE FROM {table} WHERE execution = ?", (key,))  # noqa: S608 - constants
        # Its key may be given to another one.
        self._run("UPDATE executions SET caller = 0 WHERE caller > 0 AND caller = ?", (key,))
        self._run("DELETE FROM executions WHERE key = ?", (key,))

    # Pauses ----------------------------------------------------------------------------------------------------------

    def pause(self, key: int) -> Pause | None:
        """Return the pause of an execution, asked for or begun."""
        sql = "SELECT requested, reason, stops_timeout, since, timeout_left FROM pauses WHERE execution = ?"
        row = self._run(sql, (key,)).fetchone()
        if row is None:
            return None
        return Pause(requested=row[0], reason=row[1], stops_timeout=bool(row[2]), since=row[3], timeout_left=row[4])

    def put_pause(self, key: int, pause: Pause) -> None:
        """Store a pause as it is now."""
        p = pause
        self._run(
            "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?, ?, ?)",
            (key, p.requested, p.reason, p.stops_timeout, p.since, p.timeout_left),
        )

    def drop_pause(self, key: int) -> None:
        """Forget the pause of an execution."""
        self._run("DELETE FROM pauses WHERE execution = ?", (key,))

    # Operations ------------------------------------------------------------------------------------------------------

    def operation(self, key: int, operation_id: str) -> Operation | None:
        """Return the operation recorded under an id."""
        row = self._run("SELECT body FROM operations WHERE execution = ? AND id = ?", (key, operation_id)).fetchone()
        return cast("Operation", parsed(key, row[0])) if row else None

    def add_operation(self, key: int, position: int, operation: Operation, *, outstanding: bool, context: int) -> None:
        """Store a new operation; `position` and `context` as the schema says."""
        body = values.to_text(cast("Json", operation))
        self._run(
            "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, position, operation["Id"], operation.get("ParentId"), context, outstanding, body),
        )

    def put_operation(self, key: int, operation: Operation, *, outstanding: bool, context: int) -> None:
        """Store an operation that is known to exist as it is now."""
        self._run(
            "UPDATE operations SET context = ?, outstanding = ?, body = ? WHERE execution = ? AND id = ?",
            (context, outstanding, values.to_text(cast("Json", operation)), key, operation["Id"]),
        )

    def operations(self, key: int, *, after: int = 0, limit: int = -1) -> list[tuple[int, str | None, str]]:
        """Return position, parent and JSON text of operations, in the order of creation."""
        sql = (
            "SELECT position, parent, body FROM operations WHERE execution = ? AND position > ?"
            " ORDER BY position LIMIT ?"
        )
        return self._run(sql, (key, after, limit)).fetchall()

    def positions(self, key: int, operation_ids: Sequence[str]) -> list[int]:
        """Return the positions of operations that are known to exist."""
        sql = "SELECT position FROM operations WHERE execution = ? AND id = ?"
        return [self._run(sql, (key, operation_id)).fetchone()[0] for operation_id in operation_ids]

    def contexts(self, key: int) -> list[tuple[str, str | None, int]]:
        """Return id, parent and `context` of every context, in the order of creation."""
        return self._run(
            "SELECT id, parent, context FROM operations WHERE execution = ? AND context > 0 ORDER BY position", (key,)
        ).fetchall()

    def has_outstanding(self, key: int) -> bool:
        """Say whether any operation can still wake the execution."""
        sql = "SELECT 1 FROM operations WHERE execution = ? AND outstanding LIMIT 1"
        return self._run(sql, (key,)).fetchone() is not None

    def add_unseen(self, key: int, operation_id: str) -> None:
        """Note that an operation changed without the handler's doing."""
        self._run("INSERT OR IGNORE INTO unseen VALUES (?, ?)", (key, operation_id))

    def unseen(self, key: int) -> list[str]:
        """Return the ids of the operations that the handler has not seen change."""
        return [row[0] for row in self._run("SELECT id FROM unseen WHERE execution = ?", (key,))]

    def clear_unseen(self, key: int) -> None:
        """Note that the handler has seen them all."""
        self._run("DELETE FROM unseen WHERE execution = ?", (key,))

    # Events ----------------------------------------------------------------------------------------------------------

    def add_event(self, key: int, event_id: int, body: str) -> None:
        """Append an event to a history."""
        self._run("INSERT INTO events VALUES (?, ?, ?)", (key, event_id, body))

    def events(self, key: int, *, after: int, newest_first: bool, limit: int) -> list[str]:
        """Return events as JSON text, behind the event id `after` in their order."""
        if newest_first:
            sql = "SELECT body FROM events WHERE execution = ? AND id < ? ORDER BY id DESC LIMIT ?"
        else:
            sql = "SELECT body FROM events WHERE execution = ? AND id > ? ORDER BY id LIMIT ?"
        return [row[0] for row in self._run(sql, (key, after, limit))]

    def hold_event(self, key: int, body: str) -> None:
        """Keep an event without a number until the invocation in flight has learnt of it or ended."""
        self._run("INSERT INTO held (execution, body) VALUES (?, ?)", (key, body))

    def take_held(self, key: int) -> list[str]:
        """Return the held events in their order, and hold them no longer."""
        rows = self._run("SELECT body FROM held WHERE execution = ? ORDER BY position", (key,)).fetchall()
        if rows:
            self._run("DELETE FROM held WHERE execution = ?", (key,))
        return [row[0] for row in rows]

    # Timers ----------------------------------------------------------------------------------------------------------

    def arm(self, key: int, operation: str, kind: str, due: int) -> None:
        """Set a timer; one of the same kind is replaced."""
        self._run("INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?)", (key, operation, kind, due))
        if self.earliest_armed is None or due < self.earliest_armed:
            self.earliest_armed = due

    def disarm(self, key: int, operation: str) -> None:
        """Remove every timer of an operation."""
        self._run("DELETE FROM timers WHERE execution = ? AND operation = ?", (key, operation))

    def disarm_kind(self, key: int, operation: str, kind: str) -> None:
        """Remove one timer."""
        self._run("DELETE FROM timers WHERE execution = ? AND operation = ? AND kind = ?", (key, operation, kind))

    def disarm_all(self, kind: str) -> None:
        """Remove every timer of a kind."""
        self._run("DELETE FROM timers WHERE kind = ?", (kind,))

    def next_due(self) -> int | None:
        """Return when the next timer is due."""
        due: int | None = self._run("SELECT min(due) FROM timers").fetchone()[0]
        return due

    def next_jump(self) -> int | None:
        """Return when the next timer is due that is worth skipping time for: no timeout of what is paused."""
        sql = (
            "SELECT due FROM timers t WHERE NOT (operation = '' AND kind = 'execution' AND EXISTS"
            " (SELECT 1 FROM pauses p WHERE p.execution = t.execution AND since NOT NULL)) ORDER BY due LIMIT 1"
        )
        row = self._run(sql).fetchone()
        return row[0] if row else None

    def due(self, now: int, *, limit: int) -> list[TimerRow]:
        """Return timers that are due, in the order in which they became so."""
        sql = "SELECT * FROM timers WHERE due <= ? ORDER BY due, execution, operation LIMIT ?"
        return [_timer(row) for row in self._run(sql, (now, limit))]

    def due_of(self, key: int, now: int) -> list[TimerRow]:
        """Return the timers of one execution that are due."""
        sql = "SELECT * FROM timers WHERE execution = ? AND due <= ? ORDER BY due, operation"
        return [_timer(row) for row in self._run(sql, (key, now))]

    def timers_of(self, key: int, operation: str) -> dict[str, int]:
        """Return when the timers of an operation are due, by their kind."""
        sql = "SELECT kind, due FROM timers WHERE execution = ? AND operation = ?"
        return dict(self._run(sql, (key, operation)).fetchall())

    def has_timer(self, key: int, kind: str) -> bool:
        """Say whether the execution itself has a timer of this kind."""
        sql = "SELECT 1 FROM timers WHERE execution = ? AND operation = '' AND kind = ?"
        return self._run(sql, (key, kind)).fetchone() is not None

    # Replies ---------------------------------------------------------------------------------------------------------

    def reply(self, key: int, client_token: str) -> Reply | None:
        """Return the answer that was given under a ClientToken."""
        row = self._run(
            "SELECT token, digest, at, body FROM replies WHERE execution = ? AND client_token = ?", (key, client_token)
        ).fetchone()
        return Reply(token=row[0], digest=row[1], at=row[2], body=row[3]) if row else None

    def put_reply(self, key: int, client_token: str, reply: Reply) -> None:
        """Keep an answer."""
        self._run(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
            (key, client_token, reply.token, reply.digest, reply.at, reply.body),
        )

    def drop_replies(self, before: int, *, key: int | None = None) -> None:
        """Drop answers that were given before a time, of one execution or of all."""
        if key is None:
            self._run("DELETE FROM replies WHERE at < ?", (before,))
        else:
            self._run("DELETE FROM replies WHERE execution = ? AND at < ?", (key, before))

    # Callbacks and targets -------------------------------------------------------------------------------------------

    def add_callback(self, callback_id: str, key: int, operation: str, heartbeat_seconds: int) -> None:
        """Remember whom answers under a callback id are for."""
        self._run("INSERT INTO callbacks VALUES (?, ?, ?, ?)", (callback_id, key, operation, heartbeat_seconds))

    def callback(self, callback_id: str) -> tuple[int, str, int] | None:
        """Return execution, operation and heartbeat seconds of a callback."""
        sql = "SELECT execution, operation, heartbeat_seconds FROM callbacks WHERE id = ?"
        row: tuple[int, str, int] | None = self._run(sql, (callback_id,)).fetchone()
        return row

    def callbacks(self, key: int | None) -> list[tuple[int, str, str | None]]:
        """Return execution, operation and the context that it stands in, both as JSON text, of callbacks.

        Args:
            key: for all callbacks of one execution; None for those that are open in any that runs.
        """
        # The text is as `values.to_text` writes it, where a quote inside a value has a backslash before it.
        which = "o.execution = ?" if key is not None else "e.ended IS NULL AND o.outstanding"
        sql = (
            "SELECT o.execution, o.body, p.body FROM executions e JOIN operations o ON o.execution = e.key"  # noqa: S608 - constants
            " LEFT JOIN operations p ON p.execution = o.execution AND p.id = o.parent"
            f' WHERE {which} AND instr(o.body, \'"Type":"CALLBACK"\') ORDER BY o.execution, o.position'
        )
        return self._run(sql, () if key is None else (key,)).fetchall()

    def add_target(self, target: TargetRow) -> None:
        """Put a plain target into the outbox."""
        t = target
        self._run(
            "INSERT INTO targets VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
            (t.execution, t.operation, t.request_id, t.function, t.version, t.call_number, t.tenant, t.payload),
        )

    def call_number(self, key: int, function: str) -> int:
        """Return how often a function was started in an execution."""
        sql = "SELECT max(call_number) FROM targets WHERE execution = ? AND function = ?"
        latest: int | None = self._run(sql, (key, function)).fetchone()[0]
        return 0 if latest is None else latest + 1

    def answer_number(self, key: int, answer: str, call: str) -> int:
        """Return the number of a call among those of an execution that had an answer; a new one is counted."""
        sql = "SELECT number FROM answered WHERE execution = ? AND answer = ? AND call = ?"
        if row := self._run(sql, (key, answer, call)).fetchone():
            known: int = row[0]
            return known
        sql = "SELECT count(*) FROM answered WHERE execution = ? AND answer = ?"
        number: int = self._run(sql, (key, answer)).fetchone()[0]
        self._run("INSERT INTO answered VALUES (?, ?, ?, ?)", (key, answer, call, number))
        return number

    def end_target(self, key: int, operation: str) -> bool:
        """Take a target out of the outbox; False when it is not in it."""
        sql = "UPDATE targets SET is_running = 0, payload = NULL WHERE execution = ? AND operation = ? AND is_running"
        return self._run(sql, (key, operation)).rowcount > 0

    def running_targets(self) -> list[TargetRow]:
        """Return the outbox."""
        rows = self._run(
            "SELECT execution, operation, request_id, function, version, call_number, tenant, payload"
            " FROM targets WHERE is_running ORDER BY execution, call_number"
        )
        names = tuple(TargetRow.__dataclass_fields__)
        return [TargetRow(**dict(zip(names, row, strict=True))) for row in rows]

    # Lines -----------------------------------------------------------------------------------------------------------

    def add_line(self, key: int, line: Line) -> None:
        """Keep a line that a handler or target of an execution has written."""
        sql = "INSERT INTO lines (execution, job, at, label, text) VALUES (?, ?, ?, ?, ?)"
        self._run(sql, (key, line.job, line.at, line.label, line.text))

    def lines(self, key: int, *, after: int, limit: int) -> list[tuple[int, Line]]:
        """Return lines of an execution behind a position, with theirs, in the order in which they were kept."""
        sql = (
            "SELECT position, job, at, label, text FROM lines WHERE execution = ? AND position > ?"
            " ORDER BY position LIMIT ?"
        )
        rows = self._run(sql, (key, after, limit))
        return [(row[0], Line(job=row[1], at=row[2], label=row[3], text=row[4])) for row in rows]

    def last_lines(self, key: int) -> list[str]:
        """Return the texts of the last lines of an execution, as many as Invoke could return."""
        found: list[str] = []
        size = 0
        for (text,) in self._run("SELECT text FROM lines WHERE execution = ? ORDER BY position DESC", (key,)):
            found.append(text)
            size += values.size_bytes(text) + 1
            if size >= TAIL_BYTES:
                break
        return found[::-1]

    def forget(self, key: int) -> None:
        """Drop what only an execution needs that has not ended."""
        self._run("DELETE FROM pauses WHERE execution = ?", (key,))
        self._run("DELETE FROM timers WHERE execution = ?", (key,))
        self._run("DELETE FROM unseen WHERE execution = ?", (key,))
        self._run("DELETE FROM held WHERE execution = ?", (key,))
        self._run("DELETE FROM answered WHERE execution = ?", (key,))
        self._run("UPDATE targets SET is_running = 0, payload = NULL WHERE execution = ? AND is_running", (key,))


class DamagedError(ServiceError):
    """What is recorded of one execution cannot be read; the others are as they were."""

    def __init__(self, key: int) -> None:
        problem = diagnostic(
            "DF734",
            f"what is recorded of an execution (number {key}) is damaged",
            hint="`durableflow doctor` tells which one; it can still be stopped and deleted",
        )
        super().__init__(problem, name="ServiceException", status=500, is_retryable=False)


def parsed(key: int, body: object) -> dict[str, Any]:
    """Return what a row of an execution holds, a JSON object.

    Raises:
        DamagedError: it holds something else.
    """
    if not isinstance(body, str):
        raise DamagedError(key)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DamagedError(key) from error
    if not isinstance(found, dict):
        raise DamagedError(key)
    return cast("dict[str, Any]", found)


def _execution(row: tuple[Any, ...]) -> Execution:
    return Execution(**dict(zip(_FIELDS, row, strict=True)))


def _timer(row: tuple[Any, ...]) -> TimerRow:
    return TimerRow(execution=row[0], operation=row[1], kind=row[2], due=row[3])


# ---------------------------------------------------------------------------------------------------------------------
# Opening


def open_store(path: Path | None, *, durability: Durability = "normal") -> Store:
    """Open a store to write to it, made if it does not exist, brought to the schema of today if it is older.

    Args:
        path: the file; None for a store in memory that ends with its connection.
        durability: `full` also survives a power cut.

    Raises:
        UsageError: the file is not ours, newer, damaged or cannot be written; it has not been changed.
    """
    if path is None:
        connection = _connect(":memory:")
        _migrate(connection)
        return Store(connection, ":memory:")
    try:
        if not _exists(path):
            _make(path)
        _check_file(path)
        connection = _connect(str(path))
    except (OSError, sqlite3.Error) as error:
        raise _cannot_open(path, error) from error
    try:
        _check_version(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {durability.upper()}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        _migrate(connection)
        if not connection.execute("SELECT was_clean FROM stops").fetchone()[0]:
            _check_pages(connection, path)
        connection.execute("UPDATE stops SET was_clean = 0")
    except UsageError:
        connection.close()
        raise
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_open(path, error) from error
    return Store(connection, str(path))


def open_reader(path: Path) -> Store:
    """Open a store to read it while another process may be writing; it neither writes nor checkpoints.

    Raises:
        UsageError: as `open_store`, and when there is no such file or its schema is older.
    """
    return Store(connect_reader(path), str(path), is_writable=False)


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads; raises as `open_reader`."""
    try:
        _check_file(path)
        connection = _connect(str(path))
    except (OSError, sqlite3.Error) as error:
        raise _cannot_open(path, error) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        version = _check_version(connection, path)
    except UsageError:
        connection.close()
        raise
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_open(path, error) from error
    if version < len(MIGRATIONS):
        connection.close()
        raise UsageError(
            diagnostic(
                "DF733",
                f"'{shown(str(path))}' has the schema of an older durableflow",
                hint="run any workflow with this store once; that brings it up to date",
            )
        )
    return connection


def _connect(name: str) -> sqlite3.Connection:
    # isolation_level None: transactions are ours to begin. The service's lock makes one thread at a time of many.
    connection = sqlite3.connect(
        name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _exists(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "not a regular file"
        raise UsageError(
            diagnostic("DF733", f"'{shown(str(path))}' is {kind}", hint="name the file that holds the store")
        )
    return True


def _make(path: Path) -> None:
    """Make an empty store under its name in one step, so that no half-made one is ever seen."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    # 0600 from the start; SQLite gives the same mode to the files it keeps beside it.
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        connection = _connect(str(draft))
        try:
            _migrate(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(draft)
    finally:
        draft.unlink()


_HEADER = b"SQLite format 3\x00"
_APPLICATION_ID_AT = slice(68, 72)


def _check_file(path: Path) -> None:
    """Refuse what is not a store, by its first bytes: opening another application's database could change it."""
    if not _exists(path):
        raise FileNotFoundError(2, "No such file")
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(_HEADER):
        raise UsageError(
            diagnostic("DF730", f"'{shown(str(path))}' is no SQLite database", hint="choose another file for the store")
        )
    if int.from_bytes(head[_APPLICATION_ID_AT], "big") != APPLICATION_ID:
        raise UsageError(
            diagnostic(
                "DF730",
                f"'{shown(str(path))}' is the database of another application",
                hint="choose another file for the store",
            )
        )


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # finds out whether the file can be read at all
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise UsageError(
            diagnostic(
                "DF731",
                f"'{shown(str(path))}' was written by a newer durableflow (schema {version}; {len(MIGRATIONS)} here)",
                hint="upgrade durableflow, or choose another file for the store",
            )
        )
    return version


def _migrate(connection: sqlite3.Connection) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise UsageError(_damaged(path, found))


def _cannot_open(path: Path, error: OSError | sqlite3.Error) -> UsageError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return UsageError(_damaged(path, str(error)))
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(
        diagnostic(
            "DF733",
            f"the store '{shown(str(path))}' cannot be opened: {shown(cause)}",
            hint="check the path and its permissions, and that no other process holds the file",
        )
    )


def _damaged(path: Path, found: str) -> Diagnostic:
    return diagnostic(
        "DF732",
        f"'{shown(str(path))}' is damaged: {shown(found)}",
        hint="restore it from a copy, or choose another file; nothing was changed",
    )


def _failed(name: str, error: sqlite3.Error) -> ServiceError:
    return ServiceError(
        diagnostic("DF725", f"the store '{shown(name)}' failed: {shown(str(error))}", hint="nothing was recorded"),
        name="ServiceException",
        status=500,
        is_retryable=True,
    )
