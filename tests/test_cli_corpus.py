"""Every bad input, as an author meets it: `validate` says what is wrong and where, and nothing else happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import corpus_shape
import corpus_text
import pytest
from shell import Shell, shell

from durableflow.source import shown

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

SECONDS = 20  # of a busy machine that also measures coverage; what a case may cost is bounded where it is read
"""The reader's own bound is 2 (test_corpus_text.py); here every rule has run, too."""
FILE_BYTES = 1024 * 1024
CASES = [*corpus_text.CASES, *corpus_shape.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_input_is_told_with_its_place_and_no_traceback(
    case: corpus_text.Case, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / case.name
    file.write_bytes(case.make())
    started = time.perf_counter()

    ran = shell("validate", file, "--format", "line")

    assert time.perf_counter() - started < SECONDS
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
