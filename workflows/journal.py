"""What the outside world has seen: one line for each call that did something.

Real functions change a warehouse or a bank account; these write a line, so that a run, a test or a curious reader can
count what happened. Set SHOP_JOURNAL to a file to keep it, and SHOP_LATENCY to the seconds that a call takes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def record(what: str, subject: str) -> None:
    """Take the time that a call takes, then write down that it happened."""
    time.sleep(float(os.environ.get("SHOP_LATENCY", "0.05")))
    if path := os.environ.get("SHOP_JOURNAL"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{what} {subject}\n")  # one short line in append mode: whole, or not there
