"""What time is it? The machine's clock, and one that jumps over waits."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time to the service."""

    def now(self) -> int:
        """Return the time, epoch milliseconds; never earlier than an answer before."""
        ...


class SystemClock:
    """The machine's clock, held still while the machine sets it back.

    A clock that went backwards would give a history whose events end before they start, and fire timers late.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest = 0

    def now(self) -> int:
        """Return the time, epoch milliseconds."""
        with self._lock:
            self._latest = max(self._latest, time.time_ns() // 1_000_000)
            return self._latest


class SkipClock:
    """A clock that runs like another one and can be set forward: what `--skip-time` waits by (language.md 12, rule 30).

    Whoever owns it jumps to the next timer, and only while nothing runs.

    Args:
        base: the clock it follows; the machine's unless given.
    """

    def __init__(self, base: Clock | None = None) -> None:
        self._base = base or SystemClock()
        self._lock = threading.Lock()
        self._ahead = 0

    def now(self) -> int:
        """Return the time, epoch milliseconds."""
        with self._lock:
            return self._base.now() + self._ahead

    def jump_to(self, moment: int) -> None:
        """Go forward to `moment`, epoch milliseconds; a moment that has passed changes nothing."""
        with self._lock:
            self._ahead = max(self._ahead, moment - self._base.now())
