"""The benchmarks run, and print figures that a program can read."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in {"measure", "memory", "worlds"})
ATTEMPTS = 3
"""A machine that is busy with something else may miss a bar; it does not do so every time."""


def figures_of(name: str, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_prints_figures(name: str) -> None:
    figures = figures_of(name, "--quick")
    assert figures
    assert {figure["bench"] for figure in figures} == {name}
    assert all(figure["min"] <= figure["value"] <= figure["max"] for figure in figures)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["replay", "invocation", "chained_invokes", "checkpoints"])
def test_a_benchmark_holds_its_bars(name: str) -> None:
    missed: set[str] | None = None
    for _ in range(ATTEMPTS):
        barred = [figure for figure in figures_of(name) if "bar" in figure]
        assert barred
        now = {_named(figure) for figure in barred if not figure["is_held"]}
        missed = now if missed is None else missed & now
        if not missed:
            return
    raise AssertionError(f"missed in each of {ATTEMPTS} runs: {missed}")


def _named(figure: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in figure.items() if key not in {"value", "min", "max", "is_held"})


def test_each_benchmark_is_explained() -> None:
    told = (BENCHMARKS / "README.md").read_text("utf-8")
    assert all(f"`{name}.py`" in told for name in SCRIPTS)
