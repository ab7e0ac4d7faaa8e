"""The README tells the truth: its links lead somewhere, its commands and its examples do what the text says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from memory_service import SILENCE, START
from worlds import World

from durableflow import cli
from durableflow.compiler import compile_workflow
from durableflow.errors import Fault
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
"""All of it in one line: a sentence may go over lines."""
SET_UPS = dict(re.findall(r"<!-- command: (\w+) -->\n```sh\n(.*?)```\n", README, re.DOTALL))
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


# Commands ------------------------------------------------------------------------------------------------------------


def test_its_table_has_every_command() -> None:
    assert re.findall(r"^\| `durableflow (\w+)`", README, re.MULTILINE) == list(cli.COMMANDS)


def test_it_has_two_set_up_commands_which_ci_runs() -> None:
    assert list(SET_UPS) == ["run", "test"]
    assert "for name in run test" in (ROOT / ".ci" / "run").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What comes of the commands of a block, the last one's exit code among it.

    Args:
        out: of the JSON that is printed last, the members that are the same each time; None where there is none.
        said: patterns of what else is said, in this order.
    """

    code: int = 0
    out: Any = None
    said: tuple[str, ...] = ()


ORDER = {"order_id": "o-1001", "total_cents": 5250, "charge": "ch-o-1001", "carrier": "standard"}
TYPED = {
    "order_fulfilment": Typed(
        code=1,
        said=(
            "reserve_stock  succeeded",
            "charge_card  succeeded",
            "ship  failed .* AddressUnknown",
            "refund_card  succeeded",
            "release_stock  succeeded",
            "state 'rejected' failed: OrderRejected",
        ),
    ),
    "expense_approval": Typed(
        out={"expense_id": "e-1", "approved": True, "by": "bob"},
        said=("ask  timed out after 1d", "notify  succeeded", "ask  succeeded"),
    ),
    "thumbnail_batch": Typed(out={"processed": 39, "failed": 1}),
    "nightly_etl": Typed(
        out={"run_id": "jr_2026-02-01", "dashboard": "https://dashboards.example/sales/2026-02-01"},
        said=("wait_for_job  not yet; next in 30s", "wait_for_job  succeeded", "publish  invoke publish_dashboard"),
    ),
    "research_loop": Typed(
        out={"answer": "A cup of coffee has 2.0213 times the caffeine of a cup of tea.", "tokens": 36_000}
    ),
    "--name my-order": Typed(
        out={"order_id": "o-1003", "tracking": "STANDARD-o-1003"},
        said=("charge  attempt 2 failed", "collection  succeeded after 30m", "SUCCEEDED", "charge  attempt 2 failed"),
    ),
    "replay": Typed(out={**ORDER, "tracking": "STANDARD-o-1001"}, said=("replays, and ends SUCCEEDED",)),
    "init": Typed(said=("made a project in my-project",)),
    "pip install . ": Typed(out={**ORDER, "tracking": "STANDARD-o-1001"}, said=("SUCCEEDED after",)),
}
"""By something that stands in one block alone."""
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if block != SET_UPS["test"]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, where `durableflow` is a command; neither the reader's secrets nor other files count."""
    folder = tmp_path / "home"
    shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (folder / ".git").mkdir()
    program = tmp_path / "bin" / "durableflow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m durableflow "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SHOP_LATENCY", "0")
    monkeypatch.delenv("PAYMENTS_TOKEN", raising=False)
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_its_commands_do_what_the_text_says(block: str, home: Path) -> None:
    (expected,) = (typed for about, typed in TYPED.items() if about in block)
    typed = block.partition("pip install . ")[2].lstrip("\\\n &") or block

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == expected.code, ran.stdout
    assert re.search(".*".join(expected.said), ran.stdout, re.DOTALL), ran.stdout
    printed = re.findall(r"^ *\{\n.*?^ *\}$", ran.stdout, re.DOTALL | re.MULTILINE)
    if expected.out is not None:
        result = json.loads(printed[-1])
        assert {key: result[key] for key in expected.out} == expected.out


# Examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_workflows_have_no_problems(example: str) -> None:
    compiled = compile_workflow(Source(name="README.md", text=example))

    assert [problem.code for problem in compiled.problems] == ["DF900"]


def world(name: str, given: Any, **around: Any) -> World:
    """Return an example of the README with what its text supposes around it."""
    (states,) = (example.partition(f"name: {name}\n")[2] for example in EXAMPLES if f"\nname: {name}\n" in example)
    return World(states, input=given, **around)


def raised(name: str, message: str) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise Fault(name, message)

    return fail


def names(started: list[str]) -> str:
    """Return names as a sentence lists them."""
    *others, last = [f"`{name}`" for name in started]
    return f"{', '.join(others)} and {last}"


@pytest.mark.parametrize("is_full", [False, True])
def test_a_trip_ends_as_the_text_says(*, is_full: bool) -> None:
    full = raised("NoRoom", "every hotel of Lisbon is full")
    trip = world(
        "trip",
        {"city": "Lisbon", "nights": 2, "email": "ann@example.org"},
        targets={"flights-book": lambda _: {"id": "F1"}, "flights-cancel": lambda flight: flight["id"]},
        handlers={"hotels:book": full if is_full else lambda _: {"id": "H7"}, "mail:send": lambda _: None},
    )

    if is_full:
        ended = "execution fails with `{}: {}`".format(*trip.error())
        assert f"raises `NoRoom`, what runs is {names(trip.started)}, and the {ended}" in TEXT
    else:
        ended = f"result is `{json.dumps(trip.result())}`"
        assert f"When all goes well, {names(trip.started)} run, and the {ended}" in TEXT
    assert trip.worker.calls[-1].payload["news"] == ("every hotel of Lisbon is full" if is_full else "All is booked.")


@pytest.mark.parametrize("broken", [("p7.jpg",), ("p7.jpg", "p8.jpg", "p19.jpg")])
def test_thumbnails_end_as_the_text_says(broken: tuple[str, ...]) -> None:
    def resize(picture: Any) -> None:
        if picture["key"] in broken:
            raise Fault("CorruptImage", picture["key"])

    pictures = [f"p{number}.jpg" for number in range(20)]
    thumbnails = world("thumbnails", {"pictures": pictures}, targets={"image-resize": resize})

    if len(broken) == 1:
        ended = f"one that cannot be read the result is `{json.dumps(thumbnails.result())}`"
    else:
        ended = "with three the execution fails with `{}: {}`".format(*thumbnails.error())
    assert ended in TEXT


@pytest.mark.parametrize("answer", [{"approved": True, "by": "ann"}, SILENCE])
def test_a_payout_ends_as_the_text_says(answer: Any) -> None:
    payout = world(
        "payout",
        {"boss": "ann@example.org", "amount": 50},
        handlers={"mail:send": lambda _: None},
        targets={"payments-send": lambda _: None},
        answers={"approval": [answer]},
    )

    result = json.dumps(payout.result())
    if answer is SILENCE:
        assert f"two days of silence give `{result}`" in TEXT
        assert payout.service.now - START >= 2 * 86_400_000
    else:
        assert f"The answer `{json.dumps(answer)}` gives the result `{result}`" in TEXT
