from __future__ import annotations

import pytest

from durableflow.source import Mark, Ruler, Source, Span, shown, visible

TEXT = "a: 1\r\nbé: 22\n\nlast"


@pytest.mark.parametrize(
    ("number", "line"), [(1, "a: 1"), (2, "bé: 22"), (3, ""), (4, "last"), (5, None), (0, None), (-1, None)]
)
def test_a_line_is_found_without_its_line_end(number: int, line: str | None) -> None:
    assert Source(name="x", text=TEXT).line(number) == line


def test_a_source_without_text_has_no_lines() -> None:
    assert Source(name="x").line(1) is None


@pytest.mark.parametrize(
    ("offset", "mark"), [(0, (1, 1)), (5, (1, 6)), (6, (2, 1)), (10, (2, 5)), (13, (3, 1)), (14, (4, 1)), (99, (4, 5))]
)
def test_a_ruler_counts_lines_and_columns_from_one_in_characters(offset: int, mark: Mark) -> None:
    assert Ruler(Source(name="x", text=TEXT)).mark(offset) == mark


def test_a_ruler_never_makes_a_span_that_ends_before_it_starts() -> None:
    span = Ruler(Source(name="x", text=TEXT)).span(8, 6)
    assert (span.start, span.end) == ((2, 3), (2, 3))


def span(text: str, start: tuple[int, int], end: tuple[int, int]) -> Span:
    return Span(source=Source(name="flow.yaml", text=text), start=Mark(*start), end=Mark(*end))


def test_a_span_prints_its_place() -> None:
    assert str(span("a", (3, 7), (3, 8))) == "flow.yaml:3:7"


def test_a_name_with_control_characters_is_printed_escaped() -> None:
    source = Source(name="\x1b[2J\n.yaml", text="a")
    assert str(Span(source=source, start=Mark(1, 1), end=Mark(1, 2))) == r"\u001b[2J\u000a.yaml:1:1"


def test_an_excerpt_shows_the_line_before_and_carets() -> None:
    rows = span("type: invoke\nnext: chrage", (2, 7), (2, 13)).excerpt().split("\n")
    assert rows == ["    1 | type: invoke", "    2 | next: chrage", "      |       ^^^^^^"]


def test_a_span_over_lines_is_underlined_to_the_end_of_its_first() -> None:
    assert span("a: |\n  b\n  c", (1, 4), (3, 4)).excerpt().split("\n")[-1] == "      |    ^"


def test_an_empty_span_has_one_caret() -> None:
    assert span("a:", (1, 3), (1, 3)).excerpt().split("\n")[-1] == "      |   ^"


def test_the_caret_stands_under_a_character_behind_escaped_ones() -> None:
    rows = span("\u200b\tx", (1, 3), (1, 4)).excerpt().split("\n")
    assert rows[0].index("x") == rows[1].index("^")


def test_a_long_line_is_shown_around_the_place() -> None:
    rows = span("y" * 5_000 + "HERE" + "y" * 5_000, (1, 5_001), (1, 5_005)).excerpt().split("\n")
    start = rows[1].index("^")
    assert rows[0][start : start + 4] == "HERE"
    assert max(map(len, rows)) < 140


def test_there_is_no_excerpt_without_text() -> None:
    assert span("", (1, 1), (1, 1)).excerpt() == ""


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain", "plain"),
        ("é😀", "é😀"),
        ("\x1b[31m\n", r"\u001b[31m\u000a"),
        ("\u202eabc\u200b", r"\u202eabc\u200b"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("a\tb", "a b"),
    ],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text: str, printed: str) -> None:
    assert visible(text) == printed


def test_a_long_text_is_cut_at_200_characters() -> None:
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 201) == "x" * 200 + "…"
