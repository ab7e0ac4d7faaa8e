"""The documentation is complete: every filter, test and function has its place."""

import re
from pathlib import Path

from durableflow.library import FILTERS, FUNCTIONS, TESTS

ROOT = Path(__file__).parent.parent
EXPRESSIONS = (ROOT / "docs" / "expressions.md").read_text(encoding="utf-8")


def named(heading: str) -> set[str]:
    section = EXPRESSIONS.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {re.split(r"\W", name)[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_filter_is_documented_and_no_other() -> None:
    assert named("Filters") == FILTERS.keys() | {"map", "select", "reject", "selectattr", "rejectattr"}


def test_every_test_is_documented_and_no_other() -> None:
    assert named("Tests") == TESTS.keys() | {"defined", "undefined"}


def test_every_function_is_documented() -> None:
    assert all(f"`{name}(" in EXPRESSIONS for name in FUNCTIONS)
