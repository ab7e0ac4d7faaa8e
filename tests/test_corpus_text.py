"""Every bad text is answered with its code and line, in bounded time and memory, and nothing else happens."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from bounds import cpu_seconds
from corpus_text import CASES, Case

from durableflow import syntax
from durableflow.document import read_bytes
from durableflow.errors import Diagnostic, WorkflowError

SECONDS = 2
HEAVY = [
    "Y5-zeros",
    "Y7-laughs",
    "Y7-wide-text",
    "Y8-merge-bomb",
    "Y8-empty-merges",
    "Y16-50000",
    "Y18-keys",
    "Y21-states",
    "Y23-faults",
]


def problems(case: Case) -> tuple[Diagnostic, ...]:
    try:
        read_bytes(case.make(), case.name)
    except WorkflowError as error:
        return error.problems
    return ()


def verdict(case: Case) -> tuple[str, int] | None:
    """The code and line of the first problem, None when the text is taken."""
    for problem in problems(case):
        assert problem.span is not None
        return problem.code, problem.span.start.line
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_text_is_answered_with_its_code_and_line_in_time(case: Case) -> None:
    case.make()
    started = time.process_time()
    found = verdict(case)
    assert time.process_time() - started < cpu_seconds(SECONDS)
    if case.code is None:
        assert found is None
    else:
        assert found
        assert found == (case.code, case.line or found[1])


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=lambda case: case.id)
def test_what_is_printed_about_a_bad_text_is_short_and_harmless(case: Case) -> None:
    found = problems(case)
    printed = str(WorkflowError(found))
    assert len(printed.encode()) <= 64 * 1024
    assert not [character for character in printed if character != "\n" and not character.isprintable()]
    assert all("\n" not in problem.line() and problem.hint for problem in found[:20])


# The parser in Python is for machines without libyaml; it must refuse the same texts with the same words.
SAME_WITHOUT_LIBYAML = [
    case for case in CASES if case.id.split("-")[0] not in {"Y5", "Y17", "Y18", "Y21", "Y22", "Y23"}
]


@pytest.mark.parametrize("case", SAME_WITHOUT_LIBYAML, ids=lambda case: case.id)
def test_the_parser_in_python_gives_the_same_verdict(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = verdict(case)
    monkeypatch.setattr(syntax, "PARSER", yaml.Loader)
    assert verdict(case) == expected


MEASURE = """
import json, re, sys, time
sys.path.insert(0, sys.argv[1])
from corpus_text import CASES
from durableflow.document import read_bytes
from durableflow.errors import WorkflowError
case = next(case for case in CASES if case.id == sys.argv[2])
data = case.make()
started = time.process_time()
code = None
try:
    read_bytes(data, case.name)
except WorkflowError as error:
    code = error.code
    str(error)
seconds = time.process_time() - started
# Not ru_maxrss: it keeps the peak of the process that started this one, a whole test run, through exec.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([code, seconds, int(peak[1]) / 1024]))
"""


@pytest.mark.parametrize("case_id", HEAVY)
def test_a_heavy_text_stays_below_256_mib_in_a_process_of_its_own(case_id: str) -> None:
    run = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), case_id]
    done = subprocess.run(run, capture_output=True, check=True, text=True, timeout=60)
    code, seconds, mib = json.loads(done.stdout)
    assert code == next(case.code for case in CASES if case.id == case_id)
    assert seconds < SECONDS
    assert mib < 256
