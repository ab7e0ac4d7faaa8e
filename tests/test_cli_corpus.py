"""Every bad input, as an author meets it: `validate` says what is wrong and where, and nothing else happens."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import corpus_shape
import corpus_text
import pytest
from bounds import cpu_seconds
from shell import Shell, shell

from durableflow.source import shown

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

SECONDS = 3
"""The reader's own bound is 2 (test_corpus_text.py); here every rule has run, too."""
WHOLE_SECONDS, WHOLE_MIB = 2, 256
"""What a whole process may take, imports included (reliability.md 3.4)."""
FILE_BYTES = 1024 * 1024
CASES = [*corpus_text.CASES, *corpus_shape.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_input_is_told_with_its_place_and_no_traceback(
    case: corpus_text.Case, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / case.name
    file.write_bytes(case.make())
    started = time.process_time()

    ran = shell("validate", file, "--format", "line")

    assert time.process_time() - started < cpu_seconds(SECONDS)
    assert "went wrong" not in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.out) < 64 * 1024
    assert not [c for c in ran.out if c != "\n" and not c.isprintable()]
    if case.code is None:
        assert ran.code in (0, 1)  # the text is taken; what it says may still be no workflow
        return
    assert ran.code == 1
    first = next(line for line in ran.out.splitlines() if " error: " in line)
    # A file that is too large is refused before it is read.
    code, line = (case.code, case.line) if file.stat().st_size <= FILE_BYTES else ("DF703", 1)
    place, _, _ = first.partition(f": {code} error: ")
    assert place.startswith(f"{shown(str(file))}:{line or ''}")


MEASURE = """
import json, re, sys, time
from durableflow.cli import main
try:
    main(["validate", sys.argv[1], "--format", "line"])
except SystemExit as ended:
    code = ended.code
# Not ru_maxrss: it keeps the peak of the process that started this one, a whole test run, through exec.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([code, time.process_time(), int(peak[1]) / 1024]), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_input_costs_a_whole_process_little(case: corpus_text.Case, tmp_path: Path) -> None:
    file = tmp_path / case.name
    file.write_bytes(case.make())

    run = [sys.executable, "-c", MEASURE, str(file)]
    done = subprocess.run(run, capture_output=True, check=True, timeout=60, cwd=tmp_path)

    code, seconds, mib = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, 1)
    assert seconds < WHOLE_SECONDS
    assert mib < WHOLE_MIB
