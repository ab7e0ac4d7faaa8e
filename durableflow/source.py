"""Where is this? A named text, a place in it, and a stretch of it.

Everything that can be wrong in a file is reported at a :class:`Span`. A span knows its :class:`Source`, so that an
error can show the line; a source without text (a compiled Plan on Lambda has none) shows only the place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

# Text from outside is shown escaped and cut (reliability.md D4).
SHOWN_CHARACTERS = 200
EXCERPT_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A named text.

    Args:
        name: how the user names it, usually a path relative to where he stands; shown escaped.
        text: the whole text with line ends as read, or empty when only places are known.
    """

    name: str
    text: str = field(default="", repr=False)

    def line(self, number: int) -> str | None:
        """Return line `number` (from 1) without its line end, or None when there is no such line."""
        if not self.text or number < 1:
            return None
        lines = self.text.split("\n", number)
        return lines[number - 1].rstrip("\r") if len(lines) >= number else None


class Mark(NamedTuple):
    """A place in a text; line and column count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a source, from `start` up to and without `end`."""

    source: Source
    start: Mark
    end: Mark

    def __str__(self) -> str:
        return f"{shown(self.source.name)}:{self.start.line}:{self.start.column}"

    def excerpt(self) -> str:
        """Return the line before, the line, and a caret line under it; empty when the source has no text."""
        line = self.source.line(self.start.line)
        if line is None:
            return ""
        first = self.start.column - 1
        last = self.end.column - 1 if self.end.line == self.start.line else len(line)
        # A long line is shown through a window around the place, so that the caret stays in sight.
        offset = max(0, first - EXCERPT_WIDTH // 2) if len(line) > EXCERPT_WIDTH else 0
        window = line[offset : offset + EXCERPT_WIDTH]
        before = visible(window[: first - offset])
        width = max(1, len(visible(window[first - offset : max(first + 1, last) - offset])))
        gutter = len(str(self.start.line)) + 4
        rows: list[str] = []
        previous = self.source.line(self.start.line - 1)
        if previous is not None:
            rows.append(f"{self.start.line - 1:>{gutter}} | {visible(previous[offset : offset + EXCERPT_WIDTH])}")
        rows.append(f"{self.start.line:>{gutter}} | {visible(window)}")
        rows.append(f"{'':>{gutter}} | {' ' * len(before)}{'^' * width}")
        return "\n".join(row.rstrip() for row in rows)


class Ruler:
    """Measures one source: turns character offsets into marks and spans.

    Only a line feed ends a line, as in :meth:`Source.line`. The index of lines is made once, on the first use.
    """

    __slots__ = ("_starts", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._starts: list[int] = []

    def mark(self, offset: int) -> Mark:
        """Return the place of the character at `offset` (from 0); an offset behind the text is its end."""
        if not self._starts:
            self._starts = [0, *(found.end() for found in re.finditer("\n", self.source.text))]
        offset = min(offset, len(self.source.text))
        line = bisect_right(self._starts, offset)
        return Mark(line, offset - self._starts[line - 1] + 1)

    def span(self, start: int, end: int) -> Span:
        """Return the stretch from offset `start` up to and without offset `end`."""
        return Span(source=self.source, start=self.mark(start), end=self.mark(max(start, end)))


def visible(text: str) -> str:
    r"""Return `text` with control, bidirectional, zero-width and surrogate characters as ``\uXXXX``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\t":
        return " "
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def shown(text: str) -> str:
    """Return text from outside as it may be printed: escaped, and cut at 200 characters."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return visible(cut)
