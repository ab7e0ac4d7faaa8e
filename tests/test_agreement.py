"""The engine does what the language says: random workflows, run whole, against the plain evaluator."""

from typing import Any

import pytest
from answering import run, tally
from evaluator import AmbiguousError, Outcome, World, evaluate
from features import runnable
from findings import FINDINGS
from hypothesis import HealthCheck, assume, given, settings
from strategies import Case, cases

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def agree(case: Case) -> None:
    world = World(answers=case.answers, env={"TABLE": "t"}, workflows=case.workflows)
    try:
        expected = evaluate(case.workflow, given=case.given, world=world)
    except AmbiguousError:
        assume(False)
        raise
    found = run(case.workflow, given=case.given, world=world)
    order = tally if _is_concurrent(case.workflow) else list
    assert _told(found, order) == _told(expected, order)
    if expected.elapsed is not None:
        assert found.elapsed == expected.elapsed


def _told(outcome: Outcome, order: Any) -> dict[str, Any]:
    """Return what must be the same: of an error that the engine raises itself the message is its own affair."""
    error = outcome.error
    if error and error[0].startswith("States."):
        error = (error[0], "")
    return {"status": outcome.status, "output": outcome.output, "error": error, "work": order(outcome.work)}


def _is_concurrent(tree: Any) -> bool:
    if isinstance(tree, dict):
        return tree.get("type") in ("map", "parallel") or any(map(_is_concurrent, tree.values()))
    return isinstance(tree, list) and any(map(_is_concurrent, tree))


@settings(SETTINGS, max_examples=100)
@given(cases(runnable()))
def test_engine_and_evaluator_agree(case: Case) -> None:
    agree(case)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_they_once_disagreed_about(name: str) -> None:
    agree(FINDINGS[name].case)
