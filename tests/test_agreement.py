"""The engine does what the language says: random workflows, run whole, against the plain evaluator."""

from typing import Any

import pytest
from answering import run, tally
from evaluator import AmbiguousError, World, evaluate
from features import runnable
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
    assert (found.status, _name(found.error)) == (expected.status, _name(expected.error)), found.error
    if expected.error and not expected.error[0].startswith("States."):
        assert found.error == expected.error
    assert found.output == expected.output
    if _is_concurrent(case.workflow):
        assert tally(found.work) == tally(expected.work)
    else:
        assert found.work == expected.work
    if expected.elapsed is not None:
        assert found.elapsed == expected.elapsed


def _name(error: tuple[str, str] | None) -> str | None:
    return error[0] if error else None


def _is_concurrent(tree: Any) -> bool:
    if isinstance(tree, dict):
        return tree.get("type") in ("map", "parallel") or any(map(_is_concurrent, tree.values()))
    return isinstance(tree, list) and any(map(_is_concurrent, tree))


@settings(SETTINGS, max_examples=100)
@given(cases(runnable()))
def test_engine_and_evaluator_agree(case: Case) -> None:
    agree(case)
