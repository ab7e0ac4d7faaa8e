"""Every bad shape is answered with its code and line, in our words, in bounded time."""

from __future__ import annotations

import time

import pytest
from corpus_shape import CASES
from corpus_text import HEAD, Case

from durableflow.decode import decode_workflow
from durableflow.document import read_bytes
from durableflow.errors import WorkflowError

SECONDS = 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_shape_is_answered_with_its_code_and_line_in_time(case: Case) -> None:
    document = read_bytes(case.make(), case.name)
    started = time.perf_counter()
    code = line = None
    try:
        decode_workflow(document)
    except WorkflowError as error:
        first = error.problems[0]
        assert first.span is not None
        code, line = first.code, first.span.start.line
        assert all(problem.hint for problem in error.problems)
        assert all("\n" not in problem.line() and len(problem.line()) < 1500 for problem in error.problems)
        assert "pydantic" not in str(error)
        assert "Input should" not in str(error)
    assert time.perf_counter() - started < SECONDS
    assert (code, line) == (case.code, case.line)


def test_identifiers_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_ten_thousand_problems_take_no_longer_than_their_reading_allows() -> None:
    row = "{type: invoke, functoin: f, jitter: 1, timeout: soon}"
    text = f"{HEAD}states:\n" + "".join(f"  - {row}\n" for _ in range(2500))
    document = read_bytes(text.encode(), "workflow.yaml")
    started = time.perf_counter()
    with pytest.raises(WorkflowError) as caught:
        decode_workflow(document)
    assert time.perf_counter() - started < SECONDS
    assert len(caught.value.problems) == 4 * 2500
