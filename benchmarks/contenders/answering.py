"""How does a contender take orders? One JSON line for each, on its standard input; its answer is one as well.

A contender is a process of its own, with its own Python and packages. So this needs the standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Contender(Protocol):
    """Runs executions of the workflows `steps`, `map`, `waits`, `invokes` and `none`, with so many items each."""

    def start(self, workflow: str, items: int) -> Any:
        """Start an execution."""
        ...

    def finish(self, handle: Any) -> None:
        """Wait for its end, which has to be a good one."""
        ...

    def hold(self) -> dict[str, Any]:
        """Start an execution whose invocation stays open: `{url, headers, arn, token}` for whoever checkpoints."""
        ...

    def invoked(self) -> dict[str, Any]:
        """Return how a client invokes `none`: `{url, path, headers, body}`; `NAME` in any of them is its name."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


def serve(contender: Contender) -> None:
    """Do what is asked for until nobody asks."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anything prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(answer(contender, order)), file=answers, flush=True)
    contender.close()


def answer(contender: Contender, order: dict[str, Any]) -> Any:
    match order["do"]:
        case "run":
            return run(contender, order["workflow"], order["items"], order["count"], at_once=order["at_once"])
        case "memory":
            return memory_bytes()
        case "hold":
            return contender.hold()
        case "invoked":
            return contender.invoked()
    raise ValueError(order)


def run(contender: Contender, workflow: str, items: int, count: int, *, at_once: int) -> float:
    """Run so many executions, so many of them at a time; return the seconds."""
    started = time.perf_counter()
    open_: list[Any] = []
    for _ in range(count):
        if len(open_) == at_once:
            contender.finish(open_.pop(0))
        open_.append(contender.start(workflow, items))
    for handle in open_:
        contender.finish(handle)
    return time.perf_counter() - started


def memory_bytes() -> int | None:
    """Return what this process and those that it has started hold; None where nobody says."""
    try:
        parents = {int(path.parent.name): _stat(path) for path in Path("/proc").glob("[0-9]*/stat")}
    except OSError:
        return None
    ours = {os.getpid()}
    for _ in parents:
        ours |= {pid for pid, (parent, _) in parents.items() if parent in ours}
    return sum(size for pid, (_, size) in parents.items() if pid in ours) or None


def _stat(path: Path) -> tuple[int, int]:
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return 0, 0
    return int(fields[1]), int(fields[21]) * PAGE_BYTES
