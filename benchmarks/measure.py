"""How is something measured here? In rounds, side by side, one JSON line for each figure.

Machines are shared and change their speed for minutes, so a figure in milliseconds says little. What is compared takes
turns, round after round in one process, and ratios are taken within a round: both sides have met the same machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a clone is measured without being installed


class Cost(NamedTuple):
    """What one run of something took, in seconds."""

    wall: float
    cpu: float


def is_quick(about: str | None) -> bool:
    """Read the command line: `--quick` asks for small sizes and few rounds, to see that a script works."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: a check, not a measurement")
    asked: bool = parser.parse_args().quick
    return asked


def cost(run: Callable[[], object]) -> Cost:
    """Run something once, beginning without garbage; the collector stays on, as it is wherever this code runs."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def timed_process(command: Sequence[str], cwd: str) -> Cost:
    """Run a program to its end; the CPU time is its own and that of its children."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=cwd, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(cpu=cpu, wall=time.perf_counter() - wall)


def in_turn(rounds: int, **subjects: Callable[[], object]) -> dict[str, list[Cost]]:
    """Run each subject once in every round, after one round that only warms up."""
    for run in subjects.values():
        run()
    costs: dict[str, list[Cost]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, run in subjects.items():
            costs[name].append(cost(run))
    return costs


def ratios(costs: Sequence[Cost], references: Sequence[Cost]) -> list[float]:
    """Return the CPU time of one subject over that of another, round by round."""
    return [cost.cpu / reference.cpu for cost, reference in zip(costs, references, strict=True)]


def figure(
    bench: str, metric: str, values: Sequence[float], unit: str, *, bar: float | None = None, **facts: object
) -> None:
    """Print a figure: the median of its values, their spread, and the most it may be (`bar`), where that is settled."""
    median = statistics.median(values)
    line: dict[str, object] = {"bench": bench, "metric": metric, "value": _short(median), "unit": unit}
    line |= {"min": _short(min(values)), "max": _short(max(values)), "rounds": len(values)}
    if bar is not None:
        line |= {"bar": bar, "is_held": median <= bar}
    line |= facts
    line["python"] = platform.python_version()
    print(json.dumps(line), flush=True)


def _short(number: float) -> float:
    """Return four significant digits; more would claim what no shared machine can show."""
    return float(f"{number:.4g}")
