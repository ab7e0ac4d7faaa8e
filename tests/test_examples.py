"""The workflows that people copy: each validates, runs, and survives what it says it survives."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, shell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shell"]

ROOT = Path(__file__).parent.parent
WORKFLOWS = ROOT / "workflows"
ORDER = str(WORKFLOWS / "order_basic.yaml")


def test_what_validate_says_of_the_examples(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, golden: Callable[[Path, str], None]
) -> None:
    monkeypatch.chdir(ROOT)

    ran = shell("validate", "workflows", "--format", "line", "--limit", "0")

    assert ran.code == 0
    golden(ROOT / "tests" / "cases" / "examples.txt", ran.out)


def test_the_first_example_has_no_warning(shell: Shell) -> None:
    assert shell("validate", ORDER, "--strict").code == 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What an input gives: the status, members of the output or error, and what the world outside has seen."""

    status: str
    says: dict[str, Any]
    seen: tuple[str, ...]


CASES = {
    "order": Expected(
        "SUCCEEDED",
        {"total_cents": 5250, "carrier": "standard", "tracking": "STANDARD-o-1001"},
        ("validate o-1001", "reserve o-1001", "charge o-1001", "ship o-1001"),
    ),
    "order_express": Expected(
        "SUCCEEDED",
        {"total_cents": 69800, "carrier": "courier", "tracking": "COURIER-o-1005"},
        ("validate o-1005", "reserve o-1005", "charge o-1005", "ship o-1005"),
    ),
    "order_flaky": Expected(
        "SUCCEEDED",
        {"tracking": "STANDARD-o-1003"},
        ("validate o-1003", "reserve o-1003", "charge o-1003", "ship o-1003"),
    ),
    "order_declined": Expected(
        "FAILED",
        {
            "name": "OrderRejected",
            "message": "charge failed with CardDeclined: the bank refused the card",
            "data": {"order_id": "o-1002", "charged": False},
            "state": "rejected",
        },
        ("validate o-1002", "reserve o-1002", "release r-o-1002"),
    ),
    "order_no_address": Expected(
        "FAILED",
        {"message": "ship failed with AddressUnknown: standard does not deliver to Nowhere Lane 5"},
        ("validate o-1004", "reserve o-1004", "charge o-1004", "refund ch-o-1004", "release r-o-1004"),
    ),
}


def test_every_input_has_a_case() -> None:
    assert {path.stem for path in (WORKFLOWS / "inputs").iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_order_ends_as_its_input_says(
    name: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    monkeypatch.setenv("SHOP_JOURNAL", str(journal))
    monkeypatch.setenv("SHOP_LATENCY", "0")

    ran = shell("run", ORDER, "--input", f"@{WORKFLOWS / 'inputs' / name}.json", "--ephemeral", "--skip-time", "--json")
    facts = json.loads(ran.out)

    assert facts["status"] == CASES[name].status
    said = facts["output"] if facts["status"] == "SUCCEEDED" else facts["error"]
    assert {key: said[key] for key in CASES[name].says} == CASES[name].says
    assert journal.read_text().splitlines() == list(CASES[name].seen)


@dataclass(frozen=True, slots=True)
class Shop:
    """The order workflow in processes of its own, with a store and a journal in one folder."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "durableflow", *arguments, "--store", str(self.folder / "store.db"), "--json"]

    def start(self, name: str) -> subprocess.Popen[str]:
        given = f"@{WORKFLOWS / 'inputs' / 'order_flaky.json'}"
        environment = {**os.environ, "SHOP_JOURNAL": str(self.folder / name)}
        command = self.command("run", ORDER, "--input", given, "--skip-time", "--name", name)
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        ran = subprocess.run(
            self.command("executions", "history", name), cwd=ROOT, capture_output=True, text=True, check=False
        )
        events: list[dict[str, Any]] = json.loads(ran.stdout)["Events"] if ran.returncode == 0 else []
        return events

    def seen(self, name: str) -> Counter[str]:
        return Counter(line.split()[0] for line in (self.folder / name).read_text().splitlines())


MOMENTS = 20


@pytest.fixture(scope="module")
def usual_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long the order takes here when nobody kills it."""
    started = time.perf_counter()
    process = Shop(tmp_path_factory.mktemp("usual")).start("usual")
    assert process.wait() == 0
    process.communicate()
    return time.perf_counter() - started


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_run_goes_on_and_repeats_nothing(moment: int, usual_seconds: float, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    killed = shop.start("order")
    try:
        # Some time in the moment-th part of the run.
        killed.wait(usual_seconds * (moment + random.random()) / MOMENTS)
    except subprocess.TimeoutExpired:
        killed.kill()
    killed.communicate()
    recorded = {
        e["Name"] for e in shop.events("order") if e["EventType"] in ("StepSucceeded", "ChainedInvokeSucceeded")
    }

    again = shop.start("order")
    out, err = again.communicate()

    assert again.returncode == 0, err
    assert json.loads(out)["output"] == {
        "order_id": "o-1003",
        "total_cents": 5250,
        "charge": "ch-o-1003",
        "carrier": "standard",
        "tracking": "STANDARD-o-1003",
    }
    started = Counter(e["Name"] for e in shop.events("order") if e["EventType"] == "ChainedInvokeStarted")
    assert started == {"validate": 1, "reserve": 1, "ship": 1}
    seen = shop.seen("order")
    assert seen.keys() == {"validate", "reserve", "charge", "ship"}
    assert {name: seen[name] for name in recorded} == dict.fromkeys(recorded, 1)
    assert max(seen.values()) <= 2  # what was running when it was killed may run again
