"""Our handler on AWS's own testing SDK: every scenario ends as it does on our services, in one page and in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance.scenarios import SCENARIOS, Ended, workflow

from durableflow.compiler import compile_workflow
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def plan_of(name: str, text: str) -> Any:
    return compile_workflow(Source(name=f"{name}.yaml", text=text)).plan.to_json()


@pytest.fixture(scope="session")
def official(official_program: Callable[..., Any]) -> dict[str, Any]:
    """How each scenario ended on the official runner."""
    plans = {
        name: {
            "": plan_of("scenario", scenario.text()),
            **{child: plan_of("child", workflow("child", text)) for child, text in scenario.children.items()},
        }
        for name, scenario in SCENARIOS.items()
    }
    made: dict[str, Any] = official_program("official_runner.py", plans)
    return made


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("pages", ["whole", "in_pages"])
def test_the_official_runner_ends_it_as_our_services_do(official: dict[str, Any], name: str, pages: str) -> None:
    scenario, found = SCENARIOS[name], official[name][pages]
    made = Ended(
        status=found["status"],
        result=found["result"],
        error=None if found["error"] is None else (found["error"][0], found["error"][1]),
        operations=tuple((kind, operation, status) for kind, operation, status in found["operations"]),
    )
    expected = Ended(
        status=scenario.status, result=scenario.result, error=scenario.error, operations=scenario.operations
    )
    assert made == expected


def test_small_pages_were_read(official: dict[str, Any]) -> None:
    for name in ("a chain of invokes", "everything in a row", "a loop", "a history of many pages"):
        assert official[name]["pages_read"] > 0, name
