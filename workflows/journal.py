"""What the outside world has seen: one line for each call that did something.

Real functions change a warehouse or a bank account; these write a line, so that a run, a test or a curious reader can
count what happened. Set SHOP_JOURNAL to a file to keep it, and SHOP_LATENCY to the seconds that a call takes.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def record(what: str, subject: str) -> None:
    """Take the time that a call takes, then write down that it happened."""
    _pass_time()
    _write(f"{what} {subject}")


@contextmanager
def working(what: str, subject: str) -> Iterator[None]:
    """Write down when a call begins and, however that is, when it ends; it takes the time that a call takes."""
    _write(f"{what} {subject}")
    try:
        _pass_time()
        yield
    finally:
        _write(f"/{what} {subject}")


def _pass_time() -> None:
    time.sleep(float(os.environ.get("SHOP_LATENCY", "0.05")))


def _write(line: str) -> None:
    if path := os.environ.get("SHOP_JOURNAL"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")  # one short line in append mode: whole, or not there
