"""The page about the language tells the truth: its examples validate, run, end as it says, and show every field."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import fields
import pytest
from crashes import endings, interruptions
from documented import Answered, Example, examples
from shell import Shell, shell

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

PAGE = fields.ROOT / "docs" / "language.md"
EXAMPLES = examples(PAGE)
ENDINGS = [(example, ending) for example in EXAMPLES if not example.project for ending in example.endings]
STEADY = [
    (example, ending)
    for example, ending in ENDINGS
    if not any(isinstance(answer, list) for answer in ending.get("answers", {}).values())
]
"""Those whose world answers the same however often it is asked."""
WITH_PROJECT = [example for example in EXAMPLES if example.name and example.project]
GIVEN = {"input", "env", "answers", "edited_after"}
TOLD = {"output", "error", "operations", "calls", "started", "durationSeconds"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_an_example_is_valid(example: Example) -> None:
    workflow, problems = example.understand()

    assert [str(problem) for problem in problems] == []
    assert workflow is not None


@pytest.mark.parametrize(("example", "ending"), ENDINGS, ids=lambda each: getattr(each, "line", ""))
def test_an_example_ends_as_the_page_says(example: Example, ending: dict[str, Any]) -> None:
    said = {key: value for key, value in ending.items() if key not in GIVEN}
    assert said.keys() <= TOLD
    assert "operations" in said

    told = Answered(example, ending).run()

    assert {key: told.get(key) for key in said.keys() | told.keys() & {"output", "error"}} == said


@pytest.mark.parametrize(("example", "ending"), STEADY, ids=lambda each: getattr(each, "line", ""))
def test_an_example_ends_so_however_often_its_invocations_die(example: Example, ending: dict[str, Any]) -> None:
    usual = Answered(example, ending).world()
    usual.run()

    endings(lambda: Answered(example, ending).world(), spared=interruptions(usual))


def test_an_example_runs_with_the_project_before_it(shell: Shell, tmp_path: Path) -> None:
    (example,) = WITH_PROJECT
    (said,) = example.endings
    (tmp_path / "durableflow.yaml").write_text(str(example.project), encoding="utf-8")
    (tmp_path / "order.yaml").write_text(example.file, encoding="utf-8")

    ran = shell("run", tmp_path / "order.yaml", "--ephemeral", "--skip-time", "--json")

    told = json.loads(ran.out)
    assert {key: told[key] for key in said} == said


def test_every_workflow_ends_or_is_run_by_another() -> None:
    for number, example in enumerate(EXAMPLES):
        if example.name and not example.endings:
            assert any(f"workflow: {example.name}" in other.text for other in EXAMPLES[number + 1 :]), example.line


def test_every_field_is_shown() -> None:
    shown = {key for example in EXAMPLES if (part := example.understand()[0]) for key in fields.keys_in(part)}

    assert [key for key in fields.field_keys() if key not in shown] == []


def test_its_links_lead_somewhere() -> None:
    for file, anchor in re.findall(r"\]\(([\w.]*)#?([\w-]*)\)", PAGE.read_text(encoding="utf-8")):
        target = PAGE.parent / file if file else PAGE
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
