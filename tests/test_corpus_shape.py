"""Every bad shape is answered with its code and line, in our words, in bounded time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from bounds import cpu_seconds
from corpus_shape import CASES
from corpus_text import HEAD, Case

from durableflow.decode import decode_workflow
from durableflow.document import read_bytes
from durableflow.errors import WorkflowError

if TYPE_CHECKING:
    from durableflow.errors import Diagnostic

SECONDS = 2


def problems(case: Case) -> tuple[Diagnostic, ...]:
    document = read_bytes(case.make(), case.name)
    started = time.process_time()
    try:
        decode_workflow(document)
    except WorkflowError as error:
        return error.problems
    finally:
        assert time.process_time() - started < cpu_seconds(SECONDS)
    return ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_shape_is_answered_with_its_code_and_line_in_time(case: Case) -> None:
    found = [(problem.code, problem.span.start.line) for problem in problems(case) if problem.span]
    assert found[:1] == ([(case.code, case.line)] if case.code else [])


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.id)
def test_a_problem_is_one_line_with_a_hint_and_no_word_of_pydantic(case: Case) -> None:
    for problem in problems(case):
        assert problem.hint
        assert "\n" not in problem.line()
        assert len(problem.line()) < 1500
        assert "pydantic" not in str(problem)
        assert "nput should" not in str(problem)


def test_identifiers_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_ten_thousand_problems_take_no_longer_than_their_reading_allows() -> None:
    row = "{type: invoke, functoin: f, jitter: 1, timeout: soon}"
    text = f"{HEAD}states:\n" + "".join(f"  - {row}\n" for _ in range(2500))
    document = read_bytes(text.encode(), "workflow.yaml")
    started = time.process_time()
    with pytest.raises(WorkflowError) as caught:
        decode_workflow(document)
    assert time.process_time() - started < cpu_seconds(SECONDS)
    assert len(caught.value.problems) == 4 * 2500
