from __future__ import annotations

import pickle
import re

import pytest

from durableflow.errors import (
    CODES,
    Diagnostic,
    DurableflowError,
    Fault,
    Origin,
    ReplayError,
    ServiceError,
    UsageError,
    WorkflowError,
    diagnostic,
    in_file_order,
)
from durableflow.source import Mark, Source, Span

SOURCE = Source(name="order.yaml", text="type: invoke\nnext: chrage\n")


def at(line: int, column: int, *, source: Source = SOURCE) -> Span:
    return Span(source=source, start=Mark(line, column), end=Mark(line, column + 6))


PROBLEM = diagnostic("DF114", "no state is called 'chrage' here", span=at(2, 7), hint="did you mean 'charge'?")


def test_a_problem_prints_place_code_message_excerpt_and_hint() -> None:
    assert str(PROBLEM) == (
        "order.yaml:2:7: DF114 no state is called 'chrage' here\n"
        "    1 | type: invoke\n"
        "    2 | next: chrage\n"
        "      |       ^^^^^^\n"
        "hint: did you mean 'charge'?"
    )


def test_a_problem_without_place_or_hint_is_one_line() -> None:
    problem = diagnostic("DF701", "there is no file 'x'")
    assert str(problem) == "DF701 there is no file 'x'"
    assert problem.line() == "DF701 error: there is no file 'x'"
    assert problem.to_json()["location"] is None


def test_a_place_without_text_has_no_excerpt() -> None:
    problem = diagnostic("DF114", "x", span=at(2, 7, source=Source(name="plan.json")))
    assert str(problem) == "plan.json:2:7: DF114 x"


def test_a_warning_says_so() -> None:
    assert str(Diagnostic(code="DF114", message="x", severity="warning")) == "DF114 warning: x"


def test_a_problem_has_a_form_of_one_line() -> None:
    expected = "order.yaml:2:7: DF114 error: no state is called 'chrage' here (hint: did you mean 'charge'?)"
    assert PROBLEM.line() == expected


def test_a_problem_has_a_form_for_tools() -> None:
    assert PROBLEM.to_json() == {
        "code": "DF114",
        "severity": "error",
        "message": "no state is called 'chrage' here",
        "hint": "did you mean 'charge'?",
        "location": {"file": "order.yaml", "line": 2, "column": 7, "endLine": 2, "endColumn": 13},
    }


def test_problems_are_kept_in_file_order_those_without_place_first() -> None:
    problems = [diagnostic("DF111", "c", span=at(2, 9)), PROBLEM, diagnostic("DF112", "b", span=at(1, 30))]
    ordered = in_file_order([*problems, diagnostic("DF701", "a")])
    assert [problem.code for problem in ordered] == ["DF701", "DF112", "DF114", "DF111"]


def test_a_workflow_error_shows_every_problem_and_has_the_code_of_the_first_error() -> None:
    warning = Diagnostic(code="DF104", message="w", span=at(1, 1), severity="warning")
    error = WorkflowError([PROBLEM, warning])
    assert error.code == "DF114"
    assert error.problems == (warning, PROBLEM)
    assert str(error) == f"{warning}\n\n{PROBLEM}"
    assert error.to_json() == {"problems": [warning.to_json(), PROBLEM.to_json()]}


def test_a_workflow_error_prints_twenty_problems_and_counts_the_others() -> None:
    printed = str(WorkflowError([PROBLEM] * 1_021))
    assert printed.count("DF114") == 20
    assert printed.endswith("\n\nand 1,001 more")
    assert "more" not in str(WorkflowError([PROBLEM] * 20))


def test_other_errors_print_their_problem() -> None:
    error = UsageError(PROBLEM)
    assert isinstance(error, DurableflowError)
    assert str(error) == str(PROBLEM)
    assert error.to_json() == PROBLEM.to_json()


@pytest.mark.parametrize(
    "error",
    [
        WorkflowError([PROBLEM]),
        UsageError(PROBLEM),
        ReplayError(PROBLEM, operation_id="1", expected={"type": "STEP"}, recorded=None),
        ServiceError(PROBLEM, name="TooManyRequestsException", status=429, is_retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_in_another_process(error: DurableflowError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert vars(there) == vars(error)
    assert str(there) == str(error)


def test_a_fault_is_the_same_in_another_process() -> None:
    fault = Fault(name="CardDeclined", message="no", data={"a": 1}, origin=Origin(state="charge"))
    there = pickle.loads(pickle.dumps(fault))
    assert vars(there) == vars(fault)


def test_a_fault_prints_its_name_and_message() -> None:
    assert str(Fault("CardDeclined")) == "CardDeclined"
    assert str(Fault("CardDeclined", "no\nmoney")) == r"CardDeclined: no\u000amoney"


def test_the_origin_of_a_fault_is_added_to() -> None:
    fault = Fault("A", "m", [1]).having(state="x", attempt=2).having(index=3)
    assert (fault.name, fault.message, fault.data) == ("A", "m", [1])
    assert fault.origin == Origin(state="x", attempt=2, index=3)


def test_every_code_has_its_form_and_a_title_in_lower_case_without_full_stop() -> None:
    for code, entry in CODES.items():
        assert re.fullmatch(r"DF[1-9][0-9]{2}", code)
        assert entry.title
        assert not entry.title.endswith(".")
