"""How does Ctrl-C end a command whose work holds locks? The work has a thread of its own, and is asked to end.

Python raises KeyboardInterrupt in the main thread between any two instructions: also just after a lock was taken and
before anything could give it back, or inside SQLite. So the main thread does nothing but wait, and while it does,
Ctrl-C raises nothing: it is put into the queue that the main thread waits at.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

import click

from durableflow.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

_T = TypeVar("_T")

LEAVE_SECONDS: Final = 10.0
"""How long work may take to end once it has been asked to; handlers have a part of it (engine.DRAIN_SECONDS)."""


class Left(Exception):  # noqa: N818 - no error: somebody has pressed Ctrl-C
    """The work ends here, since it was asked to."""


class Interrupt:
    """What work on a thread of its own knows of Ctrl-C."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked = False
        self._asks: Callable[[], None] | None = None

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Left: the work has been asked to end.
        """
        if self._is_asked:
            raise Left

    def calls(self, ask: Callable[[], None]) -> None:
        """Have a function called, by another thread, that brings work to its next check; at once if it is late."""
        with self._lock:
            self._asks = ask
            is_late = self._is_asked
        if is_late:
            ask()

    def ask(self) -> None:
        """Ask the work to end."""
        with self._lock:
            self._is_asked = True
            ask = self._asks
        if ask is not None:
            ask()


def interruptible(work: Callable[[Interrupt], _T], *, farewell: str, is_service: bool = False) -> _T:
    """Return what work gives, or raise what it raises; on Ctrl-C it is asked to end.

    A second Ctrl-C ends the process at once, and so does work that does not end within LEAVE_SECONDS. What is on record
    is as after a kill.

    Args:
        work: called in a thread of its own. It checks the interrupt wherever it could go on for long.
        farewell: told where the work has not ended; it tells it itself where it has.
        is_service: whether SIGTERM is how whoever has started it ends it: it is asked likewise, and has done its work.

    Raises:
        Ended: the work was left: with INTERRUPTED, or with DONE after SIGTERM.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        return work(interrupt)  # Ctrl-C is nothing to this thread
    # What has become of the work, or the number of a signal: a put of this queue may interrupt anything.
    news: SimpleQueue[tuple[_T, None] | tuple[None, BaseException] | int] = SimpleQueue()
    context = click.get_current_context(silent=True)

    def run() -> None:
        try:
            with context.scope(cleanup=False) if context else nullcontext():  # output asks it for colours
                news.put((work(interrupt), None))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            news.put((None, error))

    def pressed(number: int, _frame: FrameType | None) -> None:
        news.put(number)

    asking = (signal.SIGINT, signal.SIGTERM) if is_service else (signal.SIGINT,)
    before = [(number, signal.signal(number, pressed)) for number in asking]
    code = console.INTERRUPTED
    try:
        threading.Thread(target=run, name="durableflow-run", daemon=True).start()
        told = news.get()
        if isinstance(told, int):
            code = console.DONE if told == signal.SIGTERM else console.INTERRUPTED
            interrupt.ask()
            with suppress(Empty):
                told = news.get(timeout=LEAVE_SECONDS)
        if isinstance(told, int):
            _vanish(farewell)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    result, error = told
    if isinstance(error, Left):
        raise console.Ended(code) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # with no error there is a result


def _vanish(farewell: str) -> NoReturn:
    """End the process without waiting for any thread: one of them does not end."""
    console.tell(farewell)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(console.INTERRUPTED)
