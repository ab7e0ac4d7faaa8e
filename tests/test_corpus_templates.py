"""Every bad template is refused where it is wrong, or stopped by a named limit, in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from bounds import cpu_seconds
from corpus_templates import CASES, DATA, Case

from durableflow.errors import CODES
from durableflow.expressions import Budget, EvaluationError, Program
from durableflow.templates import parse_template

SECONDS = 1
BYTES = 64 * 1024 * 1024


def evaluated(case: Case) -> object:
    tree, problems = parse_template(case.source)
    assert [(problem.code, problem.message) for problem in problems] == []
    return Program(tree).evaluate(DATA.__getitem__, Budget())


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.id)
def test_a_bad_template_is_refused_at_its_place(case: Case) -> None:
    started = time.process_time()
    _, problems = parse_template(case.source)
    assert time.process_time() - started < cpu_seconds(SECONDS)
    assert problems[0].code == case.code
    assert case.offset in (None, problems[0].offset)
    for problem in problems:
        assert problem.code in CODES
        assert problem.hint
        assert 0 <= problem.offset < problem.offset + problem.length <= len(case.source)
        assert "\n" not in problem.message + problem.hint
        assert len(problem.message) < 500


@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda case: case.id)
def test_a_template_without_a_value_stops_with_the_reason(case: Case) -> None:
    started = time.process_time()
    with pytest.raises(EvaluationError) as caught:
        evaluated(case)
    assert time.process_time() - started < cpu_seconds(SECONDS)
    assert case.error in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("case", [c for c in CASES if not c.code and not c.error], ids=lambda case: case.id)
def test_what_only_looks_bad_has_its_value(case: Case) -> None:
    assert evaluated(case) == case.value


@pytest.mark.parametrize("case", [case for case in CASES if case.id.startswith("T16")], ids=lambda case: case.id)
def test_a_limit_is_reached_before_the_memory_is_taken(case: Case) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EvaluationError):
            evaluated(case)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BYTES


def test_twenty_thousand_small_templates_are_read_in_time() -> None:
    started = time.process_time()
    _, problems = parse_template([f"id-{{{{ input.id_{n} }}}}" for n in range(20_000)])
    assert time.process_time() - started < cpu_seconds(5 * SECONDS)
    assert not problems


def test_identifiers_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
