"""What does one scalar say, and where in the file does each of its characters stand?

YAML readers disagree about unquoted words: `no` is false to one and a country to another, `010` is eight or ten. Here
a plain scalar is what JSON says it is, or text; whatever another reader would take for something else is refused
(language.md 12, rule 3). And because a template inside a text must be shown where it stands, :func:`places` undoes
quotes, escapes, folding and indentation, character by character.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from durableflow.source import shown
from durableflow.values import ValueRefusedError, from_text

if TYPE_CHECKING:
    from durableflow.values import Json


class Refused(NamedTuple):
    """Why a scalar has no value: the code, the message and the hint of the Diagnostic."""

    code: str
    message: str
    hint: str


_WORDS: Final[dict[str, Json]] = {"": None, "~": None, "null": None, "true": True, "false": False}
_BOOLEANS: Final = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}

# What no reader could take for anything but text is told by its first character or as a whole word, in one match.
_SUSPECT: Final = re.compile(r"[-+.=<~0-9]|(?:y|n|yes|no|on|off|true|false|null|nan|infinity)?\Z", re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_DATE: Final = (
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]*)?)?"
    r"[ \t]*(?:[Zz]|[-+][0-9]{1,2}(?::?[0-9]{2})?)?)?"
)
_MEANINGS: Final = {
    "a date": _DATE,
    "a number to base 60": r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?",
    "a number to base 8": r"[-+]?0o?[0-7_]+",
    "a number to base 16": r"[-+]?0[xX][0-9a-fA-F_]+",
    "a number to base 2": r"[-+]?0[bB][01_]+",
    "a number": r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?",
    "no finite number": r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|NaN|-?Infinity",
    "true, false or null": r"(?i:true|false|null)",
    "a default value": r"=",
    "a merge key": r"<<",
}
# One group for each meaning, in their order.
_AMBIGUOUS: Final = re.compile("|".join(f"({pattern})" for pattern in _MEANINGS.values()))


def plain_value(text: str) -> Json | Refused:
    """Return the value of an unquoted scalar, or why it has none.

    Source: language.md 12, rules 2 and 3.
    """
    if not _SUSPECT.match(text):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return _number(text)
    return _text(text)


def _number(text: str) -> Json | Refused:
    try:
        return from_text(text)
    except ValueRefusedError as error:
        return Refused("DF125", str(error), "quote it if it is text; numbers are 64-bit integers or doubles")


def _text(text: str) -> str | Refused:
    if meant := _BOOLEANS.get(text.lower()):
        return Refused("DF124", _ambiguity(text, meant), f"quote it, or write {meant}")
    if found := _AMBIGUOUS.fullmatch(text):
        assert found.lastindex is not None
        meaning = [*_MEANINGS][found.lastindex - 1]
        return Refused("DF124", _ambiguity(text, meaning), "quote it, or write true/false/null or a JSON number")
    return text


def _ambiguity(text: str, meaning: str) -> str:
    return f"unquoted '{shown(text)}' is {meaning} to some readers, text to others"


def plain_key(text: str) -> str | Refused:
    """Return the key that an unquoted scalar is, or why it is none; `y`, `no` and `on` are text here."""
    if not _SUSPECT.match(text) or text.lower() in _BOOLEANS:
        return text
    value = plain_value(text)
    if isinstance(value, str):
        return value
    what = f"the key '{shown(text)}'" if text else "an empty key"
    return Refused("DF122", f"{what} is no text", f'keys are text; quote it: "{shown(text)}"')


def places(text: str, start: int, end: int, value: str) -> list[int]:
    """Return the offset in `text` of every character of a decoded scalar, and of its end.

    Args:
        text: the file.
        start: where the scalar (or its anchor) begins.
        end: where it ends, as the parser says.
        value: the decoded scalar; the result has one place more than it has characters.
    """
    if properties := _PROPERTIES.match(text, start, end):
        start = properties.end()
    match text[start : start + 1]:
        case "|" | ">":
            found = _block_places(text, start, end, value)
        case '"' | "'" as quote:
            found = _flow_places(text, start + 1, end - 1, quote)
        case _:
            found = _flow_places(text, start, end, "")
    return found


# An anchor, and the spaces, lines and comments between it and its scalar.
_PROPERTIES: Final = re.compile(r"&[^\s\[\]{},]+(?:\s++(?:#[^\r\n]*+)?)*+")
_BREAK: Final = re.compile(r"\r\n|\r|\n")
_SPACES: Final = re.compile(r"[ \t]+")
_FOLD: Final = re.compile(r"[ \t]*(?:(?:\r\n|\r|\n)[ \t]*)+")
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|x.{2}|u.{4}|U.{8}|\r\n|.)", re.DOTALL
)


def _flow_places(text: str, start: int, end: int, quote: str) -> list[int]:
    """Return the places of a plain scalar or of one between `quote`: lines are folded, escapes undone."""
    found: list[int] = []
    at = start
    while at < end:
        character = text[at]
        if character in " \t\r\n":
            at = _fold(text, at, end, found)
        elif quote == '"' and character == "\\":
            at = _escape(text, at, end, found)
        else:
            found.append(at)
            at += 2 if quote == character == "'" else 1
    found.append(end)
    return found


def _fold(text: str, at: int, end: int, found: list[int]) -> int:
    """Add the places of white space at `at`, a fold when it holds a line break; return where it ends."""
    if folded := _FOLD.match(text, at, end):
        breaks = [line.start() for line in _BREAK.finditer(text, at, folded.end())]
        # One break is a space, each further one a line feed.
        found.extend(breaks[1:] or breaks)
        return folded.end()
    spaces = _SPACES.match(text, at, end)
    assert spaces is not None
    found.extend(range(at, spaces.end()))
    return spaces.end()


def _escape(text: str, at: int, end: int, found: list[int]) -> int:
    """Add the place of an escape at `at`, none for an escaped line end; return where it ends."""
    escaped = _ESCAPE.match(text, at, end)
    assert escaped is not None
    if text[at + 1] not in "\r\n":
        found.append(at)
        return escaped.end()
    folded = _FOLD.match(text, at + 1, end)
    assert folded is not None
    found.extend([line.start() for line in _BREAK.finditer(text, at + 1, folded.end())][1:])
    return folded.end()


_HEADER: Final = re.compile(r"[|>][^\r\n]*(?:\r\n|\r|\n)?")
_LINE: Final = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n)|[^\r\n]+\Z")


class _Line(NamedTuple):
    start: int
    end: int  # without its line break


def _block_places(text: str, start: int, end: int, value: str) -> list[int]:
    """Return the places of a literal (`|`) or folded (`>`) block, as YAML 1.1 section 9.3 joins its lines."""
    header = _HEADER.match(text, start, end)
    assert header is not None
    lines = [
        _Line(m.start(), m.end(1) if m.group(1) is not None else m.end())
        for m in _LINE.finditer(text, header.end(), end)
    ]
    indent = _indent(text, lines, value)
    found: list[int] = []
    breaks: list[int] = []  # of the empty lines since the last line with content
    last: _Line | None = None
    was_flush = False
    for line in lines:
        first = line.start + indent
        if first >= line.end:
            breaks.append(line.end)
            continue
        is_flush = text[first] not in " \t"
        if last is None:
            found += breaks
        elif text[start] == ">" and was_flush and is_flush:
            found += breaks or [last.end]
        else:
            found += [last.end, *breaks]
        found.extend(range(first, line.end))
        breaks, last, was_flush = [], line, is_flush
    found += [last.end, *breaks] if last else breaks
    # Chomping decided how many of the last line breaks belong to the value.
    kept = found[: len(value)]
    kept.append(kept[-1] + 1 if kept else header.end())
    return kept


def _indent(text: str, lines: list[_Line], value: str) -> int:
    """Return how many spaces of each line are indentation.

    The first line with content tells: it has the spaces of the value there, and the indentation before them. So the
    parent's indentation, which an indentation indicator counts from, need not be known.
    """
    content = value.lstrip("\n")
    empty = len(value) - len(content)
    if not content:
        return len(text)
    line = lines[empty]
    row = text[line.start : line.end]
    return (len(row) - len(row.lstrip(" "))) - (len(content) - len(content.lstrip(" ")))
