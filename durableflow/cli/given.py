"""Which JSON was given on the command line? Written there, in a file, or on standard input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

from durableflow import values
from durableflow.cli import console
from durableflow.errors import UsageError, diagnostic
from durableflow.files import read_file
from durableflow.source import Mark, Source, Span

INPUT_MAX_BYTES: Final = 6 * 1024 * 1024


def json_text(given: str, *, noun: str = "input", option: str = "--input", max_bytes: int = INPUT_MAX_BYTES) -> str:
    """Return the text that the value of an option stands for, checked to be JSON.

    The text is compact, so that the same value is the same however it was written.

    Args:
        given: JSON, `@FILE`, or `-` for standard input.
        noun: what it is, for people.
        option: that it was given with.
        max_bytes: of the JSON as it was given.

    Raises:
        UsageError: it cannot be read, is too large, or DF794, is not JSON; at its line and column.
    """
    if given == "-":
        source, data = "<stdin>", sys.stdin.buffer.read(max_bytes + 1)
    elif given.startswith("@"):
        source, data = given[1:], read_file(Path(given[1:]), max_bytes=max_bytes)
    else:
        source, data = option, os.fsencode(given)
    if len(data) > max_bytes:
        console.usage("DF798", f"the {noun} is larger than {max_bytes:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_json(noun, source, "", f"not UTF-8 at byte {error.start}", Mark(1, 1)) from error
    try:
        return values.to_text(values.from_text(text))
    except values.ValueRefusedError as error:
        cause = error.__cause__
        if isinstance(cause, json.JSONDecodeError):
            raise _no_json(noun, source, text, cause.msg, Mark(cause.lineno, cause.colno)) from error
        raise _no_json(noun, source, text, str(error), Mark(1, 1)) from error


def _no_json(noun: str, source: str, text: str, message: str, mark: Mark) -> UsageError:
    span = Span(source=Source(name=source, text=text), start=mark, end=Mark(mark.line, mark.column + 1))
    return UsageError(diagnostic("DF794", f"the {noun} is not JSON: {message}", span=span))
