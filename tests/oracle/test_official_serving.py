"""The benchmark of the service runs beside the official runner, and ours is not slower."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVING = Path(__file__).parents[2] / "benchmarks" / "serving.py"
ATTEMPTS = 3
"""A machine that is busy with something else may slow one side down; it does not do so every time."""
TAILS = {"Checkpoint p99, ratio", "Invoke p99, ratio"}
"""The slowest of so few requests says nothing."""


def ratios(python: Path) -> dict[tuple[str, str], float]:
    command = [sys.executable, str(SERVING), "--quick", "--official", str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    found = {
        (f["metric"], f["contender"]): f["value"] for f in figures if f["unit"] == "ratio" and "/" in f["contender"]
    }
    assert {name.partition("/")[0] for _, name in found} == {"workers", "in-process", "http"}
    assert {name.rpartition(" ")[2] for _, name in found} == {"memory", "sqlite", "http"}
    return {key: value for key, value in found.items() if key[0] not in TAILS}


def test_ours_is_not_slower_than_the_official_runner(official_python: Path) -> None:
    slower: set[tuple[str, str]] | None = None
    for _ in range(ATTEMPTS):
        now = {key for key, value in ratios(official_python).items() if value < 1}
        slower = now if slower is None else slower & now
        if not slower:
            return
    raise AssertionError(f"slower in each of {ATTEMPTS} runs: {slower}")
