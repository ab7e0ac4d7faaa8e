"""The benchmarks run, and print figures that a program can read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("name", ["replay", "invocation", "chained_invokes"])
def test_a_benchmark_prints_figures(name: str) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert figures
    assert {figure["bench"] for figure in figures} == {name}
    assert all(figure["min"] <= figure["value"] <= figure["max"] for figure in figures)
