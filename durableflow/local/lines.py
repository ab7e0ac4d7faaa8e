"""What have handlers written, and how much of it is kept? Lines of output, until they are stored with their execution.

Lines come one by one from the processes of handlers, in the order in which they were written, and are stored some at a
time: a transaction for each would cost more than the work that they tell of. What one invocation may leave behind is
bounded, so that a handler that logs in a loop fills nobody's disk; its last lines can be asked for all the same.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from durableflow import values

KEPT_MAX_BYTES: Final = 1024 * 1024
"""What is kept of the lines of one invocation."""
TAIL_BYTES: Final = 4096
"""What Invoke returns of them, as on Lambda."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of output.

    Args:
        job: which invocation wrote it.
        at: when it was read, epoch milliseconds of the service's clock.
        label: whose it is, for people: a state, a function.
        text: as it was written, without its end.
    """

    job: str
    at: int
    label: str
    text: str


@dataclass(slots=True)
class _Written:
    """What a job has written so far: bytes kept, lines left out, the last of them."""

    kept_bytes: int = 0
    left_out: int = 0
    last: deque[str] = field(default_factory=deque[str])
    last_bytes: int = 0


class Lines:
    """Collects the lines of running jobs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _Written] = {}
        self._waiting: list[Line] = []

    def begin(self, job: str) -> None:
        """Collect the lines of a job from now on."""
        with self._lock:
            self._jobs[job] = _Written()

    def add(self, line: Line) -> bool:
        """Take a line; return whether it is the first one that waits to be stored."""
        with self._lock:
            written = self._jobs.get(line.job)
            if written is None:  # a process that its handler has left behind
                return False
            _remember(written, line.text)
            size = values.size_bytes(line.text) + 1
            if written.left_out or written.kept_bytes + size > KEPT_MAX_BYTES:
                written.left_out += 1
                return False
            written.kept_bytes += size
            self._waiting.append(line)
            return len(self._waiting) == 1

    def take(self) -> list[Line]:
        """Return the lines that wait to be stored; they wait no longer."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            return taken

    def end(self, job: str, at: int) -> str:
        """Collect the lines of a job no more, and return its last ones, at most `TAIL_BYTES` of them.

        Args:
            job: that has ended.
            at: when; the line that says how many were left out has this time.
        """
        with self._lock:
            written = self._jobs.pop(job, None)
            if written is None:
                return ""
            if written.left_out:
                text = f"{written.left_out} more lines of this invocation were not kept"
                self._waiting.append(Line(job=job, at=at, label="durableflow", text=text))
            return tail(written.last)


def _remember(written: _Written, text: str) -> None:
    written.last.append(text)
    written.last_bytes += values.size_bytes(text) + 1
    while len(written.last) > 1 and written.last_bytes - values.size_bytes(written.last[0]) - 1 >= TAIL_BYTES:
        written.last_bytes -= values.size_bytes(written.last.popleft()) + 1


def tail(lines: deque[str] | list[str]) -> str:
    """Return the end of these lines, at most `TAIL_BYTES` of UTF-8; a character that would be cut is left out."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    return data[-TAIL_BYTES:].decode("utf-8", "ignore")
