from __future__ import annotations

import contextvars
import threading

import pytest

from durableflow.deadlines import OverdueError, within

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("MARK", default="none")


@pytest.mark.parametrize("seconds", [None, 20.0])
def test_work_in_time_returns_and_raises_as_ever(seconds: float | None) -> None:
    assert within(seconds, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(seconds, lambda: 1 // 0)


def test_work_without_a_limit_stays_in_its_thread() -> None:
    assert within(None, threading.get_ident) == threading.get_ident()
    assert within(20.0, threading.get_ident) != threading.get_ident()


def test_the_thread_has_the_context_of_its_caller() -> None:
    token = MARK.set("caller")
    assert within(20.0, MARK.get) == "caller"
    MARK.reset(token)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01])
def test_late_work_is_left_to_itself(seconds: float) -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait()
        has_ended.set()

    with pytest.raises(OverdueError):
        within(seconds, work)
    may_end.set()
    assert has_ended.wait(20), "it runs on"
