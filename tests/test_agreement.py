"""The engine does what the language says: random workflows, run whole, against the plain evaluator."""

from random import Random
from typing import Any

import pytest
from answering import run, run_whole, tally
from evaluator import AmbiguousError, Outcome, World, evaluate
from features import runnable
from findings import FINDINGS
from hypothesis import HealthCheck, assume, given, seed, settings
from strategies import Case, cases

EXAMPLES, CHUNKS = 2_000, 8
CRASHED = 2
SETTINGS = settings(
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def agree(case: Case, *, is_thorough: bool = False) -> None:
    """Hold engine and evaluator to the same; where asked to, also a run in one, and others whose processes die."""
    world = World(answers=case.answers, env={"TABLE": "t"}, workflows=case.workflows)
    try:
        expected = evaluate(case.workflow, given=case.given, world=world)
    except AmbiguousError:
        assume(False)
        raise
    found = run(case.workflow, given=case.given, world=world, is_read_back=is_thorough)
    order = tally if _is_concurrent([case.workflow, *case.workflows.values()]) else list
    _same(found, expected, order)
    if not is_thorough:
        return
    _same(run_whole(case.workflow, given=case.given, world=world), expected, order)
    # Work that is cut off is done again, so it may be there twice; and where it may not, that is an error.
    repeatable, others = _at_least_once(case.workflow), _at_least_once(case.workflows)
    world = World(answers=case.answers, env=world.env, workflows=others)
    for number in range(CRASHED):
        crashes = Random(f"{number} {case}")
        _same(run(repeatable, given=case.given, world=world, crashes=crashes), expected, lambda work: set(tally(work)))


def _same(found: Outcome, expected: Outcome, order: Any) -> None:
    assert _told(found, order) == _told(expected, order)
    if expected.elapsed is not None:
        assert found.elapsed == expected.elapsed


def _at_least_once(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _at_least_once(value) for key, value in tree.items() if key != "semantics"}
    return [_at_least_once(value) for value in tree] if isinstance(tree, list) else tree


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


@pytest.mark.slow
@pytest.mark.parametrize("number", range(CHUNKS))
def test_they_agree_however_it_is_run(number: int) -> None:
    @seed(number)
    @settings(SETTINGS, derandomize=False, database=None, max_examples=EXAMPLES // CHUNKS)
    @given(cases(runnable()))
    def hold(case: Case) -> None:
        agree(case, is_thorough=True)

    hold()


@pytest.mark.parametrize("name", FINDINGS)
def test_what_they_once_disagreed_about(name: str) -> None:
    agree(FINDINGS[name].case, is_thorough=True)
