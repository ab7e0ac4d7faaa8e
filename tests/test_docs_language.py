"""docs/language.md is true and complete: each example validates and ends as the page says, and each field has one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import fields
import pytest
from documented import Example, by_name, differences, examples

from durableflow.actions import Clients, check_action
from durableflow.compiler import understand
from durableflow.rules import Known
from durableflow.source import Source

PAGE = Path(__file__).parent.parent / "docs" / "language.md"
EXAMPLES = examples(PAGE)
NAMED = by_name(EXAMPLES)


def where(example: Example) -> str:
    return f"line {example.line}"


@pytest.mark.parametrize("example", EXAMPLES, ids=where)
def test_an_example_validates(example: Example) -> None:
    assert example.model()
    if example.is_workflow:
        others = {name: other.model() for name, other in NAMED.items()}
        known = Known(
            check_action=partial(check_action, clients=Clients()),
            workflows=frozenset(others) | {"example"},
        )
        problems = understand(Source(name="language.md", text=example.text), known)[2]
        assert [str(problem) for problem in problems if problem.severity == "error"] == []


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.told], ids=where)
def test_an_example_ends_as_the_page_says(example: Example) -> None:
    assert differences(example, NAMED) == {}


def test_every_workflow_is_run_by_itself_or_by_another() -> None:
    run_by_others = {name for one in EXAMPLES if one.told for name in one.told.get("workflows", ())}
    assert [
        where(one)
        for one in EXAMPLES
        if one.is_workflow and one.told is None and not any(NAMED.get(name) is one for name in run_by_others)
    ] == []


def test_every_type_and_field_stands_in_an_example() -> None:
    shown = {key for one in EXAMPLES for key in fields.keys_set(one.model())}
    assert [key for key in fields.field_keys() if key not in shown] == []
