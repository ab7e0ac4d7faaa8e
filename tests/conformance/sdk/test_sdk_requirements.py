"""AWS's conformance requirements, met by durable functions that are written with AWS's own SDK.

The SDK is right about itself, so what fails here is the service: what it answers, records, wakes and keeps. The
functions run in worker processes and call it over HTTP, as those who start them and answer their callbacks do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from conformance.harness import REQUIREMENTS, judged
from environments import ROOT

from durableflow.model import DurableTarget
from durableflow.project import load_project

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT: Final = Path(__file__).with_name("durableflow.yaml")
PAGE: Final = ROOT / "docs" / "conformance-sdk.md"
MET_MIN: Final = 140
UNMET: Final[dict[str, str]] = {}
"""The requirements that are not met, each with the reason. The run fails when one of them is."""


def declared() -> dict[str, str]:
    """The function that answers each requirement, as `module:function`."""
    functions = load_project(PROJECT).project.functions
    return {
        name: target.durable
        for name, target in functions.items()
        if isinstance(target, DurableTarget) and re.fullmatch(r"\d+-\d+", name)
    }


FUNCTIONS: Final = declared()


def test_there_is_a_function_for_each_requirement() -> None:
    assert len(FUNCTIONS) == REQUIREMENTS
    assert UNMET.keys() <= FUNCTIONS.keys()
    assert REQUIREMENTS - len(UNMET) >= MET_MIN


def test_the_page_tells_what_is_met(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_service_meets_the_requirements(tmp_path: Path) -> None:
    found = judged(PROJECT, {id_: id_ for id_ in FUNCTIONS}, tmp_path)
    assert set(found["requirements"]) == FUNCTIONS.keys() == found["verdicts"].keys()
    errors = {id_: verdict["errors"] for id_, verdict in found["verdicts"].items() if verdict["errors"]}
    assert not {id_: told for id_, told in errors.items() if id_ not in UNMET}
    assert errors.keys() == UNMET.keys(), "these are met now: take them from the list"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_function_that_does_something_else_does_not_meet_them(tmp_path: Path) -> None:
    """So the judge can say no: about results and histories, logs, and what it never gets to see."""
    others = {"1-3": "1-1", "1-7": "1-1", "2-1": "2-3", "3-11": "3-1", "3-17": "3-1", "5-5": "5-4", "9-19": "9-17"}
    verdicts = judged(PROJECT, others, tmp_path)["verdicts"]
    assert [id_ for id_ in others if not verdicts[id_]["errors"]] == []


# The page.

SUITES: Final = {
    "1": "step",
    "2": "wait",
    "3": "child",
    "4": "callback",
    "5": "invoke",
    "6": "wait_for_condition",
    "7": "wait_for_callback",
    "8": "parallel",
    "9": "map",
}
HEAD: Final = """\
# Conformance of the service with AWS's SDK

AWS publishes what a durable execution must look like from outside, whatever it is written in: the requirements of
`aws-durable-execution-conformance-tests`. [conformance.md](conformance.md) has them as workflows, which judges the
language, the interpreter and the local service together. Here the functions are written with AWS's own SDK
(`aws-durable-execution-sdk-python` 3.0, in [tests/conformance/sdk](../tests/conformance/sdk)) and run as `durable`
functions in worker processes: what the service answers, records, wakes and keeps is judged alone. They are invoked and
asked over HTTP through boto3, and judged by the matcher of that package, version 1.0.0. `poe slow` does it again; a run
fails when a requirement is not met, and when one is that is said not to be.

This page is generated: `pytest tests/conformance/sdk --update-golden`.
"""


def page() -> str:
    ids = sorted(FUNCTIONS, key=lambda id_: [int(part) for part in id_.split("-")])
    lines = [HEAD, "| suite | requirements | met |", "|---|---|---|"]
    for number, suite in SUITES.items():
        members = [id_ for id_ in ids if id_.partition("-")[0] == number]
        lines.append(f"| {suite} | {len(members)} | {sum(id_ not in UNMET for id_ in members)} |")
    lines.append(f"| all | {len(ids)} | {len(ids) - len(UNMET)} |")
    lines += ["", "## The requirements", "", "| id | function | |", "|---|---|---|"]
    for id_ in ids:
        module, _, function = FUNCTIONS[id_].partition(":")
        verdict = f"not met: {UNMET[id_]}" if id_ in UNMET else "met"
        lines.append(f"| {id_} | [{module}.{function}](../tests/conformance/sdk/{module}.py) | {verdict} |")
    return "\n".join(lines) + "\n"
