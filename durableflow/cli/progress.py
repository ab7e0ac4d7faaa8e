"""What does a running execution look like? History events become lines, or a live table on a terminal.

Times are those of the events, so that skipped waits count as if they had been waited for.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from durableflow.cli import console
from durableflow.operations import milliseconds_from_reply
from durableflow.source import shown, visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self, TypeAlias

    from rich.console import RenderableType

    Event: TypeAlias = Mapping[str, Any]
    """A history event (protocol.md 8.1), as the service tells its subscribers."""


@dataclass(slots=True)
class Row:
    """One operation: what is known of it so far."""

    name: str
    kind: str
    started: int
    status: str = "running"
    note: str = ""
    ended: int | None = None


class Board:
    """What has happened, an event at a time."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._began: int | None = None
        self._seen = 0

    def take(self, event: Event) -> str | None:
        """Take in an event and return the line that tells it, or None when there is nothing to tell.

        Events come in their order; one that comes twice (after re-attaching) is told once.
        """
        if event["EventId"] <= self._seen:
            return None
        self._seen = event["EventId"]
        at = milliseconds_from_reply(event["EventTimestamp"])
        if self._began is None:
            self._began = at
        told = self._told(event, at)
        return f"{elapsed((at - self._began) / 1000):>9}  {told}" if told else None

    def _told(self, event: Event, at: int) -> str | None:
        kind: str = event["EventType"]
        details: Event = event.get(f"{kind}Details") or {}
        if kind == "InvocationCompleted":
            error = _error(details)
            return f"an invocation ended early: {error}; it will be repeated" if error else None
        if kind == "ExecutionPaused":
            reason = str(details.get("Reason", {}).get("Payload", ""))
            why = f" ({shown(reason)})" if reason else ""
            return f"the execution is paused{why}; `durableflow executions resume` lets it go on"
        if kind == "ExecutionResumed":
            return "the execution goes on"
        if kind.startswith("Execution"):
            return None
        for ending, status in _ENDINGS.items():
            if kind.endswith(ending):
                return self._moved(event, kind.removesuffix(ending), status, details, at)
        return None

    def _moved(self, event: Event, kind: str, status: str, details: Event, at: int) -> str:
        row = self.rows.get(event["Id"])
        if row is None:
            row = self.rows[event["Id"]] = Row(shown(str(event.get("Name") or "-")), _KINDS.get(kind, kind), at)
        if status == "running":
            row.started, row.ended = at, None
        retry = cast("Event", details.get("RetryDetails") or {})
        delay = retry.get("NextAttemptDelaySeconds")
        if delay is not None:
            row.status, row.note = "waiting", _again(status, _error(details), retry.get("CurrentAttempt"), delay)
        else:
            row.status = status
            row.ended = None if status == "running" else at
            row.note = _note(row, details)
        return f"{row.name}  {row.note}"


_ENDINGS: Final = {
    "Started": "running",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "TimedOut": "timed out",
    "Stopped": "stopped",
    "Cancelled": "cancelled",
}
_KINDS: Final = {
    "Step": "step",
    "Wait": "wait",
    "ChainedInvoke": "invoke",
    "Context": "context",
    "Callback": "callback",
}


def _note(row: Row, details: Event) -> str:
    if row.status == "running":
        what = str(details.get("FunctionName") or "")
        seconds = details.get("Duration")
        if seconds is not None:
            what = f"for {elapsed(float(seconds))}"
        return f"{row.kind} {shown(what)}".rstrip()
    took = elapsed(((row.ended or row.started) - row.started) / 1000)
    error = _error(details)
    return f"{row.status} after {took}" + (f": {error}" if error else "")


def _again(status: str, error: str, attempt: object, delay: float) -> str:
    if status == "failed":
        return f"attempt {attempt} failed: {error}; next in {elapsed(delay)}"
    return f"not yet; next in {elapsed(delay)}"


def _error(details: Event) -> str:
    wrapper = cast("Event", details.get("Error") or {})
    payload = cast("Event", wrapper.get("Payload") or {})
    return ": ".join(shown(str(payload[key])) for key in ("ErrorType", "ErrorMessage") if payload.get(key))


def _logged(label: str, line: str) -> str:
    return f"{visible(label)} | {visible(line)}"


def _read(label: str, line: str) -> list[str]:
    """Return a line as people read it: of a JSON line of a step's logger level, message and traceback."""
    if line.startswith(_LOGGED):
        try:
            facts = json.loads(line)
        except ValueError:  # a long one is cut on its way
            return [_logged(label, line)]
        trace = str(facts.get("exception", "")).splitlines()
        return [_logged(label, text) for text in (f"{facts.get('level')} {facts.get('message')}", *trace)]
    return [_logged(label, line)]


_LOGGED: Final = '{"timestamp":'
"""How the lines of logs.py begin."""


def elapsed(seconds: float) -> str:
    """Return a length of time for people: `0.3s`, `12m 05s`, `3h 20m`, `2d 4h`; a zero second part is left out."""
    if seconds < _MINUTE:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    units = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
    size, name, small, small_name = next(unit for unit in units if seconds >= unit[0])
    first, rest = divmod(int(seconds), size)
    return f"{first}{name} {rest // small}{small_name}" if rest // small else f"{first}{name}"


_MINUTE: Final = 60


class Progress(Protocol):
    """Shows an execution while it runs; events may come from any thread."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def take(self, event: Event) -> None:
        """Show what an event tells."""

    def log(self, label: str, line: str) -> None:
        """Show a line that a handler or function wrote, and whose it is."""

    def note(self, line: str) -> None:
        """Show a line of ours, so that it stays."""


class Lines:
    """A line for each thing that happens: for logs, pipes, and terminals that cannot draw."""

    def __init__(self) -> None:
        self._board = Board()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; nothing is open."""

    def take(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        with self._lock:
            if line := self._board.take(event):
                console.tell(line)

    def log(self, label: str, line: str) -> None:
        """Write the line; one that is JSON stays alone, for programs to read."""
        console.tell(visible(line) if line.startswith(_LOGGED) else _logged(label, line))

    def note(self, line: str) -> None:
        """Write the line."""
        console.tell(line)


class Live:
    """A table that changes in place: for terminals."""

    def __init__(self) -> None:
        # Only here, so that commands that draw nothing do not pay for it.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live as RichLive  # noqa: PLC0415

        self._board = Board()
        self._lock = threading.Lock()
        self._console = Console(stderr=True)
        self._live = RichLive(get_renderable=self._table, console=self._console, refresh_per_second=8)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw a last time and leave the table standing."""
        self._live.stop()

    def take(self, event: Event) -> None:
        """Take in an event; the next refresh shows it. What has no row in the table is written above it."""
        with self._lock:
            line = self._board.take(event)
        if line and "Id" not in event:
            self.note(line)

    def log(self, label: str, line: str) -> None:
        """Write the line above the table."""
        from rich.text import Text  # noqa: PLC0415 - see above

        for text in _read(label, line):
            self._console.print(Text(text, style="dim"))

    def note(self, line: str) -> None:
        """Write the line above the table; one that holds a command is not broken, so that it can be copied."""
        from rich.text import Text  # noqa: PLC0415 - see above

        self._console.print(Text(line, style="bold"), soft_wrap=True)

    def _table(self) -> RenderableType:
        from rich.spinner import Spinner  # noqa: PLC0415 - see above
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2, 0, 0))
        with self._lock:
            rows = list(self._board.rows.values())
        room = max(1, self._console.height - 2)
        if len(rows) > room:
            table.add_row("", Text(f"… {len(rows) - room + 1} before"), "")
            rows = rows[-(room - 1) :]
        for row in rows:
            mark = Spinner("dots") if row.status == "running" else Text(_MARKS.get(row.status, "-"))
            style = _STYLES.get(row.status, "")
            table.add_row(mark, Text(row.name, style="bold"), Text(row.note, style=style))
        return table


_MARKS: Final = {"succeeded": "✓", "failed": "✗", "timed out": "✗", "waiting": "…"}
_STYLES: Final = {"succeeded": "green", "failed": "red", "timed out": "red", "waiting": "yellow"}


def progress() -> Progress:
    """Return what fits where standard error goes."""
    return Live() if sys.stderr.isatty() else Lines()
