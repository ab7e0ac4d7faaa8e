"""AWS's language-neutral conformance requirements, said in our language: one workflow each, judged by AWS's own matcher."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from conformance.harness import REQUIREMENTS, judged
from environments import ROOT

from durableflow.errors import WorkflowError
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
PROJECT = HERE / "durableflow.yaml"
PAGE = ROOT / "docs" / "conformance.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What the language has no word for.

    Args:
        concept: what it is.
        why: the language is as it is, and what there is instead.
    """

    concept: str
    why: str


HANDLES = Missing(
    concept="callbacks that are created before they are awaited",
    why="A `wait_for_callback` does both, and there is no handle that something else could come before. Side by side are two "
    "branches of a `parallel`, which is a context of its own.",
)
SERIALIZERS = Missing(
    concept="results on record that are no JSON",
    why="Results are JSON values and recorded as such, so that every replay and every tool can read them. An expression can "
    "change the value, not how it is written.",
)
BATCHES = Missing(
    concept="a map's record of the author's making",
    why="What a map records is its decision, from which a replay goes on. `output` changes what the author sees of it.",
)
CONTEXT_LOGS = Missing(
    concept="logs from inside a context",
    why="Control flow runs no code of the author's and logs nothing. Handlers of steps do, and are not run by a replay.",
)
REFUSALS = Missing(
    concept="limits that are wrong only when it runs",
    why="`max_concurrency` is a number in the file, and `validate` refuses 0 before anything can start.",
)
NOT_SAID = {
    "3-11": CONTEXT_LOGS,
    "3-14": SERIALIZERS,
    "3-17": CONTEXT_LOGS,
    "4-7": HANDLES,
    "4-8": HANDLES,
    "4-9": HANDLES,
    "4-10": HANDLES,
    "4-11": HANDLES,
    "4-18": HANDLES,
    "4-19": HANDLES,
    "8-19": REFUSALS,
    "9-14": SERIALIZERS,
    "9-19": BATCHES,
    "9-20": BATCHES,
}
"""What the language has no words for, by requirement. For each there is a workflow that says the
nearest thing; a run fails when one of them passes."""


def requirement_of(file: Path) -> str | None:
    """Return the id of the requirement that a workflow is for: `3-11` of `child_3_11`; None for the targets of invokes."""
    found = re.search(r"_(\d+)_(\d+)$", file.stem)
    return f"{int(found[1])}-{int(found[2])}" if found else None


def by_requirement(folder: str) -> dict[str, Path]:
    found = {requirement_of(file): file for file in (HERE / folder).glob("*.yaml")}
    return {id_: file for id_, file in found.items() if id_ is not None}


WORKFLOWS = by_requirement("workflows")
REFUSED = by_requirement("refused")


def test_there_is_a_workflow_for_each_requirement() -> None:
    assert not WORKFLOWS.keys() & REFUSED.keys()
    assert len(WORKFLOWS) + len(REFUSED) == REQUIREMENTS
    assert NOT_SAID.keys() <= WORKFLOWS.keys() | REFUSED.keys()
    assert REFUSED.keys() <= NOT_SAID.keys()


def test_at_least_130_requirements_can_be_said_and_every_invoke_and_wait() -> None:
    assert REQUIREMENTS - len(NOT_SAID) >= 130
    assert not [id_ for id_ in NOT_SAID if id_.startswith(("2-", "5-"))]


@pytest.mark.parametrize("file", [pytest.param(file, id=id_) for id_, file in sorted(REFUSED.items())])
def test_what_validate_refuses_is_refused_still(file: Path) -> None:
    with pytest.raises(WorkflowError, match="max_concurrency"):
        compile_file(file, HERE, load_project(PROJECT))


def test_the_page_tells_what_passes(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_requirements_are_met(tmp_path: Path) -> None:
    found = judged(PROJECT, {id_: file.stem for id_, file in WORKFLOWS.items()}, tmp_path)
    assert set(found["requirements"]) == WORKFLOWS.keys() | REFUSED.keys()
    verdicts = found["verdicts"]
    assert verdicts.keys() == WORKFLOWS.keys()
    failed = {id_: verdict["errors"] for id_, verdict in verdicts.items() if verdict["errors"]}
    assert not {id_: errors for id_, errors in failed.items() if id_ not in NOT_SAID}
    passed = WORKFLOWS.keys() - failed.keys()
    assert not passed & NOT_SAID.keys(), "these pass now: take them from the list"


# The page.

HEAD = """\
# Conformance

AWS publishes what a durable execution must look like from outside, whatever it is written in: `aws-durable-execution-conformance-tests`,
requirements that name what a function does, the history that must come of it, and its result. Here each of them is a workflow
([tests/conformance/workflows](../tests/conformance/workflows)), served by the local service, invoked and asked over HTTP through
boto3 and judged by the matcher of that package, version 1.0.0. `poe slow` does it again. The requirements about plugins are left
out: they are about hooks inside an SDK, which no service sees. [conformance-sdk.md](conformance-sdk.md) has the same requirements
with functions written with AWS's own SDK, which judges the service alone.

This page is generated: `pytest tests/conformance/test_requirements.py --update-golden`.
"""


def page() -> str:
    ids = sorted(WORKFLOWS.keys() | REFUSED.keys(), key=lambda id_: [int(part) for part in id_.split("-")])
    files = WORKFLOWS | REFUSED
    suites = {id_: files[id_].stem.removesuffix("_" + "_".join(files[id_].stem.split("_")[-2:])) for id_ in ids}
    lines = [HEAD, "| suite | requirements | pass |", "|---|---|---|"]
    for suite in dict.fromkeys(suites.values()):
        members = [id_ for id_ in ids if suites[id_] == suite]
        lines.append(f"| {suite} | {len(members)} | {sum(id_ not in NOT_SAID for id_ in members)} |")
    lines.append(f"| all | {len(ids)} | {len(ids) - len(NOT_SAID)} |")
    lines += ["", "## What the language has no words for", ""]
    for missing in dict.fromkeys(NOT_SAID.values()):
        named = ", ".join(id_ for id_ in ids if NOT_SAID.get(id_) == missing)
        lines.append(f"- {missing.concept} ({named}). {missing.why}")
    lines += [
        "",
        "For each of these there is a workflow that says the nearest thing; the tests fail when one of them passes.",
    ]
    lines += ["", "## The requirements", "", "| id | workflow | what it does | |", "|---|---|---|---|"]
    for id_ in ids:
        path = files[id_].relative_to(ROOT)
        what = yaml.safe_load(files[id_].read_text("utf-8"))["description"]
        verdict = "not said" if id_ in NOT_SAID else "passes"
        lines.append(f"| {id_} | [{files[id_].stem}](../{path}) | {what} | {verdict} |")
    return "\n".join(lines) + "\n"
