"""How is work kept to its time that cannot be interrupted? It gets a thread of its own, and is left to itself.

Python can neither end a thread nor a look-up of a host name. Whoever waits for either goes on when the time is over;
what comes afterwards is dropped.
"""

from __future__ import annotations

import contextvars
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class OverdueError(Exception):
    """The time is over and the work is not; it may still have its effect."""


def within(seconds: float | None, work: Callable[[], _T]) -> _T:
    """Return what `work` returns, or raise what it raises, within so many seconds.

    Args:
        seconds: how long; None for ever, in the calling thread.
        work: called in a daemon thread with the context variables of the caller.

    Raises:
        OverdueError: it took longer. It runs on, and what it gives is dropped.
    """
    if seconds is None:
        return work()
    ends: SimpleQueue[tuple[_T, None] | tuple[None, BaseException]] = SimpleQueue()

    def run() -> None:
        try:
            ends.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            ends.put((None, error))

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    try:
        result, error = ends.get(timeout=max(0.0, seconds))
    except Empty:
        raise OverdueError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # with no error there is a result
