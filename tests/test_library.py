"""Filters, tests and functions: what each gives, what it refuses, and that its cost is counted before the work."""

from __future__ import annotations

import math
from typing import Any

import pytest

from durableflow.library import (
    FILTERS,
    FUEL,
    FUNCTIONS,
    SIZE_BYTES,
    TESTS,
    Budget,
    EvaluationError,
    Undefined,
    format_time,
    parse_duration,
    parse_time,
    pattern_problem,
)

ROWS = [{"k": "b", "n": 2}, {"k": "A", "n": 1}, {"k": "a", "n": 3}]


def budget(*, fuel: int = FUEL, size_bytes: int = SIZE_BYTES) -> Budget:
    made = Budget()
    made.fuel, made.size_bytes = fuel, size_bytes
    return made


def apply(name: str, value: Any, *arguments: Any, budget: Budget | None = None) -> Any:
    return FILTERS[name](budget or Budget(), value, *arguments)


def holds(name: str, value: Any, *arguments: Any) -> Any:
    return TESTS[name](Budget(), value, *arguments)


@pytest.mark.parametrize(
    ("name", "value", "arguments", "expected"),
    [
        ("abs", -3, (), 3),
        ("abs", -0.5, (), 0.5),
        ("b64encode", "é?", (), "w6k/"),
        ("b64encode", "", (), ""),
        ("b64decode", "w6k/", (), "é?"),
        ("batch", [1, 2, 3], (2,), [[1, 2], [3]]),
        ("batch", [1, 2, 3], (2, 0), [[1, 2], [3, 0]]),
        ("batch", [], (2,), []),
        ("capitalize", "heLLo", (), "Hello"),
        ("count", {"a": 1}, (), 1),
        ("default", "", ("x",), ""),
        ("default", "", ("x", True), "x"),
        ("dictsort", {"b": 1, "A": 2}, (), [["A", 2], ["b", 1]]),
        ("dictsort", {"b": 1, "A": 2}, (True, "value", True), [["A", 2], ["b", 1]]),
        ("duration", "90m", (), 5400),
        ("duration", 1.5, (), 1.5),
        ("first", [], (), Undefined),
        ("first", {}, (), Undefined),
        ("first", {"a": 1}, (), "a"),
        ("first", "ab", (), "a"),
        ("float", "1.5", (), 1.5),
        ("float", 2, (), 2.0),
        ("float", "x", (), 0.0),
        ("float", None, (7,), 7),
        ("fromjson", '{"a":[1,null]}', (), {"a": [1, None]}),
        ("groupby", ROWS, ("k",), [["A", [ROWS[1], ROWS[2]]], ["b", [ROWS[0]]]]),
        ("groupby", ROWS, ("k", None, True), [["A", [ROWS[1]]], ["a", [ROWS[2]]], ["b", [ROWS[0]]]]),
        ("groupby", [{"k": 1}, {}], ("k", 0), [[0, [{}]], [1, [{"k": 1}]]]),
        ("indent", "a\n\nb", (), "a\n\n    b"),
        ("indent", "a\n\nb", (1, True, True), " a\n \n b"),
        ("indent", "a\nb", ("> ",), "a\n> b"),
        ("int", "12", (), 12),
        ("int", "1.9", (), 1),
        ("int", -1.9, (), -1),
        ("int", "x", (5,), 5),
        ("int", [], (), 0),
        ("int", "ff", (0, 16), 255),
        ("int", "0x1f", (0, 0), 31),
        ("int", "1e400", (3,), 3),
        ("isoformat", 0, (), "1970-01-01T00:00:00.000Z"),
        ("isoformat", "2026-01-01 12:00+02:00", (), "2026-01-01T10:00:00.000Z"),
        ("items", {"a": 1}, (), [["a", 1]]),
        ("join", [1, None, "x"], (), "1nullx"),
        ("join", ROWS, ("-", "k"), "b-A-a"),
        ("last", [1, 2], (), 2),
        ("last", {"a": 1, "b": 2}, (), "b"),
        ("last", {}, (), Undefined),
        ("last", "", (), Undefined),
        ("length", "é", (), 1),
        ("list", "ab", (), ["a", "b"]),
        ("list", {"a": 1}, (), ["a"]),
        ("list", [1], (), [1]),
        ("lower", "ÄB", (), "äb"),
        ("max", [1, 3, 2], (), 3),
        ("max", ROWS, (False, "n"), ROWS[2]),
        ("max", [], (), Undefined),
        ("max", [[1], [2]], (), [2]),
        ("min", ["b", "A"], (), "A"),
        ("min", ["b", "A"], (True,), "A"),
        ("merge", {"a": 1, "b": 1}, ({"b": 2}, {"c": 3}), {"a": 1, "b": 2, "c": 3}),
        ("regex_match", "ord-17", (r"ord-\d+$",), True),
        ("regex_match", "an ord-17", (r"ord-\d+",), False),
        ("replace", "aaa", ("a", "bb", 2), "bbbba"),
        ("replace", "ab", ("", "-"), "-a-b-"),
        ("reverse", "ab", (), "ba"),
        ("reverse", [1, 2], (), [2, 1]),
        ("reverse", {"a": 1, "b": 2}, (), ["b", "a"]),
        ("round", 2.567, (2,), 2.57),
        ("round", 7, (), 7),
        ("round", 2.1, (0, "ceil"), 3.0),
        ("round", -2.1, (0, "floor"), -3.0),
        ("sha256", "", (), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("slice", [1, 2, 3, 4], (3,), [[1, 2], [3], [4]]),
        ("slice", [1, 2, 3, 4], (3, 0), [[1, 2], [3, 0], [4, 0]]),
        ("sort", ["b", "A", "a"], (), ["A", "a", "b"]),
        ("sort", ["b", "A", "a"], (True, True), ["b", "a", "A"]),
        ("sort", ROWS, (False, False, "k,n"), [ROWS[1], ROWS[2], ROWS[0]]),
        ("sort", [[2, 1], [1, 2]], (), [[1, 2], [2, 1]]),
        ("split", "a,b,,c", (",",), ["a", "b", "", "c"]),
        ("split", " a  b ", (), ["a", "b"]),
        ("split", "a,b,c", (",", 1), ["a", "b,c"]),
        ("string", 1.5, (), "1.5"),
        ("string", [1, True], (), "[1,true]"),
        ("string", "s", (), "s"),
        ("sum", [1, 2.5], (), 3.5),
        ("sum", ROWS, ("n", 10), 16),
        ("title", "a fine-day (x)", (), "A Fine-Day (X)"),
        ("to_datetime", "1970-01-02", (), 86400),
        ("to_datetime", "1970-01-01T00:00:00.250Z", (), 0.25),
        ("to_datetime", 12, (), 12),
        ("tojson", {"b": "<é>", "a": None}, (), '{"b":"<é>","a":null}'),
        ("tojson", {"a": [1]}, (2,), '{\n  "a": [\n    1\n  ]\n}'),
        ("trim", "  a ", (), "a"),
        ("trim", "xax", ("x",), "a"),
        ("truncate", "one two three", (9, False, "…", 0), "one two…"),
        ("truncate", "one two three", (9, True, "…", 0), "one two …"),
        ("truncate", "one two three", (9,), "one two three"),
        ("unique", [1, 1.0, True, "a", "A", [1], [1], {"a": [2]}, {"a": [2]}], (), [1, "a", [1], {"a": [2]}]),
        ("unique", ["a", "A"], (True,), ["a", "A"]),
        ("unique", ROWS, (False, "k"), [ROWS[0], ROWS[1]]),
        ("upper", "straße", (), "STRASSE"),
        ("urlencode", "a b/ü?", (), "a%20b/%C3%BC%3F"),
        ("urlencode", {"q": "a b/", "n": 1}, (), "q=a+b%2F&n=1"),
        ("urlencode", [["a", True]], (), "a=true"),
        ("wordcount", "one two-three", (), 3),
    ],
)
def test_a_filter_gives(name: str, value: Any, arguments: tuple[Any, ...], expected: Any) -> None:
    made = apply(name, value, *arguments)
    if expected is Undefined:
        assert isinstance(made, Undefined)
        assert name in made.why
    else:
        assert made == expected
        assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "arguments", "why"),
    [
        ("abs", "1", (), "'abs' needs a number, not text"),
        ("abs", -(2**63), (2,), None),
        ("upper", 1, (), "'upper' needs text, not a number"),
        ("lower", None, (), "'lower' needs text, not null"),
        ("title", True, (), "'title' needs text, not true or false"),
        ("trim", [], (), "'trim' needs text, not a list"),
        ("trim", "a", (1,), "'trim' needs text, not a number"),
        ("replace", "a", ("a", 1), "'replace' needs text, not a number"),
        ("replace", "a", ("a", "b", -1), "'replace' needs an integer from 0 to 262,144 there, not -1"),
        ("truncate", "a", (2, False, "..."), "'truncate' needs an integer from 3 to 262,144 there, not 2"),
        ("indent", "a", (True,), "'indent' needs an integer from 0 to 1,000 there, not true or false"),
        ("split", "a", ("",), "'split' needs a separator that is not empty"),
        ("join", 5, (), "'join' cannot go through a number"),
        ("join", [{}], ("", "k"), "an item of 'join' has no key 'k'"),
        ("join", [{}], ("", "k.l"), "an item of 'join' has no key 'k'"),
        ("join", [{}], ("", True), "'join' needs an attribute as text, not true or false"),
        ("int", "1" * 401, (), "'int' takes text of at most 400 characters"),
        ("int", "1" * 30, (), "the result is an integer outside -2^63 to 2^64-1"),
        ("int", "1", (0, 1), "'int' needs the base 0, or one from 2 to 36"),
        ("float", "nan", (), "the result is no number that JSON has"),
        ("float", "1e999", (), "the result is no number that JSON has"),
        ("round", 1, (0.5,), "'round' needs an integer from -30 to 30 there, not 0.5"),
        ("round", 1, (0, "up"), "'round' knows the methods 'common', 'ceil' and 'floor'"),
        ("round", 1e300, (30, "ceil"), "'round': the number is too large for that precision"),
        ("sum", ["a"], (), "'sum' needs a number, not text"),
        ("sum", [{}], ("n",), "an item of 'sum' has no key 'n'"),
        ("sum", [2**64 - 1, 1], (), "the result is an integer outside -2^63 to 2^64-1"),
        ("length", 1, (), "'length' needs text, a list or an object, not a number"),
        ("first", 1, (), "'first' cannot go through a number"),
        ("last", None, (), "'last' cannot go through null"),
        ("sort", [1, "a"], (), "'sort' cannot order a number and text"),
        ("sort", [{}], (False, False, "a"), "an item of 'sort' has no key 'a'"),
        ("dictsort", {}, (False, "size"), "'dictsort' sorts by 'key' or by 'value'"),
        ("items", [], (), "'items' needs an object, not a list"),
        ("max", [1, "a"], (), "'max' cannot order values of different kinds"),
        ("batch", [1], (0,), "'batch' needs an integer from 1 to 100,000 there, not 0"),
        ("slice", [1], ("a",), "'slice' needs an integer from 1 to 100,000 there, not text"),
        ("merge", {}, ([],), "'merge' needs an object, not a list"),
        ("fromjson", "[1", (), "'fromjson': Expecting ',' delimiter at line 1 column 3"),
        ("fromjson", "NaN", (), "'fromjson': NaN is not JSON"),
        ("tojson", [], (17,), "'tojson' needs an integer from 0 to 16 there, not 17"),
        ("b64encode", "\ud800", (), "'b64encode': the text holds half of a surrogate pair, which UTF-8 does not have"),
        ("b64decode", "a", (), "'b64decode': the text is not Base64"),
        ("b64decode", "w6k/\n", (), "'b64decode': the text is not Base64"),
        ("b64decode", "/w==", (), "'b64decode': what is encoded is not UTF-8 text"),
        ("sha256", {}, (), "'sha256' needs text, not an object"),
        ("urlencode", [1], (), "'urlencode' needs text, an object or a list of pairs"),
        ("duration", "soon", (), "'soon' is no duration; write 30s, 15m, 36h, 2d or ISO 8601 such as PT1H30M"),
        ("duration", None, (), "'duration' needs a number, not null"),
        ("to_datetime", "yesterday", (), "'yesterday' is no time; write it as 2026-01-01T00:00:00Z"),
        ("isoformat", 1e300, (), "a time must lie in the years 1 to 9999"),
        ("regex_match", "a", ("(a+)+",), "'regex_match': a repeat inside a repeat is not allowed in a pattern"),
        ("regex_match", "a" * 1001, ("a",), "'regex_match': text of over 1,000 characters is matched with no pattern"),
    ],
)
def test_a_filter_refuses_in_one_line(name: str, value: Any, arguments: tuple[Any, ...], why: str | None) -> None:
    if why is None:
        assert apply(name, value) == 2**63
        return
    with pytest.raises(EvaluationError) as caught:
        apply(name, value, *arguments)
    assert caught.value.message.startswith(why)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("boolean", [False], [0, None]),
        ("false", [False], [0]),
        ("true", [True], [1]),
        ("none", [None], [0, ""]),
        ("integer", [1], [True, 1.0]),
        ("float", [1.0], [1]),
        ("number", [1, 1.5, True], ["1"]),
        ("string", ["x"], [1]),
        ("mapping", [{}], [[]]),
        ("sequence", [[], "", {}], [1, None]),
        ("iterable", [[], "", {}], [1, None]),
        ("even", [0, 2.0], [1]),
        ("odd", [1], [2]),
        ("lower", ["ab1"], ["aB", ""]),
        ("upper", ["AB1"], ["aB"]),
    ],
)
def test_a_test_holds_or_not(name: str, yes: list[Any], no: list[Any]) -> None:
    assert [holds(name, value) for value in yes] == [True] * len(yes)
    assert [holds(name, value) for value in no] == [False] * len(no)


@pytest.mark.parametrize(
    ("name", "value", "argument", "expected"),
    [
        ("divisibleby", 9, 3, True),
        ("eq", [1], [1.0], True),
        ("equalto", 1, 2, False),
        ("ne", {"a": 1}, {"a": 2}, True),
        ("gt", 2, 1, True),
        ("greaterthan", 1, 1, False),
        ("ge", "b", "a", True),
        ("lt", 1, 2, True),
        ("lessthan", 2, 1, False),
        ("le", [1], [1], True),
        ("in", 1, [True], True),
        ("in", [1], [[2], [1]], True),
        ("in", "b", "abc", True),
        ("in", "a", {"a": 1}, True),
        ("in", 1, {"a": 1}, False),
        ("regex_match", "abc", "a.c", True),
    ],
)
def test_a_test_compares_with_its_argument(name: str, value: Any, argument: Any, expected: bool) -> None:
    assert holds(name, value, argument) is expected


@pytest.mark.parametrize(
    ("name", "value", "argument", "why"),
    [
        ("divisibleby", 1, 0, "'divisibleby' cannot divide by 0"),
        ("divisibleby", "a", 2, "'divisibleby' needs a number, not text"),
        ("lt", 1, "a", "cannot compare a number and text"),
        ("lt", {}, {}, "cannot compare an object and an object"),
        ("in", 1, 2, "cannot look for a number in a number"),
        ("in", None, "a", "cannot look for null in text"),
        ("in", [], {"a": 1}, "cannot look for a list in an object"),
        ("in", {}, {"a": 1}, "cannot look for an object in an object"),
    ],
)
def test_a_test_refuses_in_one_line(name: str, value: Any, argument: Any, why: str) -> None:
    with pytest.raises(EvaluationError, match=why):
        holds(name, value, argument)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((3,), [0, 1, 2]),
        ((1, 3), [1, 2]),
        ((3, 0, -2), [3, 1]),
        ((0, 10, 4), [0, 4, 8]),
        ((5, 1), []),
        ((0,), []),
    ],
)
def test_range_gives_a_list(arguments: tuple[int, ...], expected: list[int]) -> None:
    assert FUNCTIONS["range"](Budget(), *arguments) == expected


@pytest.mark.parametrize("arguments", [(0, 1, 0), ("a",), (1.5,), (True,)])
def test_range_refuses_what_is_no_range(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError, match="'range' needs"):
        FUNCTIONS["range"](Budget(), *arguments)


# Time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("36h", 129_600),
        ("2d", 172_800),
        ("1.5h", 5_400),
        ("45", 45),
        ("0s", 0),
        ("PT30S", 30),
        ("PT1H30M", 5_400),
        ("P1DT0.5H", 88_200),
        ("P2W", 1_209_600),
        ("P1D", 86_400),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-5s", "5 s", "1h30m", "P", "PT", "P1Y", "P1M", "P1W2D", "1e5s", "٣s", "5w", "1" * 99]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-01-01", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01T10:30", "2026-01-01T10:30:00.000Z"),
        ("2026-01-01 10:30:01.0625Z", "2026-01-01T10:30:01.062Z"),
        ("2026-01-01T10:30:00+0530", "2026-01-01T05:00:00.000Z"),
        ("2026-01-01t10:30:00-02", "2026-01-01T12:30:00.000Z"),
        ("1969-12-31T23:59:59.999z", "1969-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_read_and_written_to_the_millisecond(text: str, normal: str) -> None:
    assert format_time(parse_time(text)) == normal


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-13-01", "2026-02-30", "2026-01-01T25:00", "2026-1-1", "01.01.2026", "2026-01-01T10:00:60Z"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="is no time"):
        parse_time(text)


@pytest.mark.parametrize("seconds", [1e18, -1e12, 253_402_300_800, math.inf])
def test_a_time_outside_the_calendar_is_refused(seconds: float) -> None:
    with pytest.raises(EvaluationError, match="years 1 to 9999"):
        format_time(seconds)


# Patterns


@pytest.mark.parametrize(
    "pattern",
    [
        r"[a-z]+-\d{4}",
        "(?:ab|cd)",
        "(abc)?",
        "(a{3}){2}",
        r"[^@]+@[^@]+\.[a-z]{2,}$",
        "a{,3}",
        r"\(a+\)+",
        "[(+*]+",
        "x{}",
        "(ab)+",
    ],
)
def test_a_pattern_of_bounded_time_is_taken(pattern: str) -> None:
    assert pattern_problem(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a+)+", "a repeat inside a repeat"),
        ("((a+)b)*", "a repeat inside a repeat"),
        ("(a|aa)+", "a repeat inside a repeat"),
        ("(a?){50}", "a repeat inside a repeat"),
        ("(?:a{1,9})*", "a repeat inside a repeat"),
        (r"(a)\1", "a reference to a group"),
        ("(?=a)", "only plain and '(?:' groups"),
        ("(?P<n>a)(?P=n)", "only plain and '(?:' groups"),
        ("[", "no regular expression"),
        ("a)", "no regular expression"),
        ("a" * 201, "has 201 characters, 200 are allowed"),
        ("a{99999999999}", None),
    ],
)
def test_a_pattern_of_unbounded_time_is_refused(pattern: str, why: str | None) -> None:
    problem = pattern_problem(pattern)
    assert (why in problem) if why and problem else why is None


@pytest.mark.parametrize(("pattern", "length"), [("a*a*a*b", 300), ("a?" * 40 + "a" * 40, 40), ("(a|a)" * 30, 30)])
def test_a_pattern_with_too_many_ways_through_a_text_is_refused(pattern: str, length: int) -> None:
    with pytest.raises(EvaluationError, match="too many"):
        apply("regex_match", "a" * length, pattern)


# Counting


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("upper", "x" * 500, ()),
        ("title", "x" * 500, ()),
        ("trim", " " + "x" * 500, ()),
        ("replace", "x" * 50, ("x", "y" * 20)),
        ("indent", "x\n" * 50, (20,)),
        ("join", ["x" * 300, "x" * 300], ()),
        ("join", ["x"] * 50, ("," * 20,)),
        ("list", [1] * 70, ()),
        ("reverse", [1] * 70, ()),
        ("sort", [1] * 70, ()),
        ("batch", [1], (90, 0)),
        ("slice", [1], (90,)),
        ("merge", {}, ({str(i): i for i in range(70)},)),
        ("items", {str(i): i for i in range(30)}, ()),
        ("tojson", ["x" * 500], ()),
        ("tojson", ["x" * 500], (2,)),
        ("string", ["x" * 500], ()),
        ("fromjson", '"' + "x" * 500 + '"', ()),
        ("b64encode", "x" * 400, ()),
        ("b64decode", "eHh4" * 150, ()),
        ("urlencode", "x" * 200, ()),
        ("split", "x " * 90, ()),
        ("split", "x," * 90, (",",)),
        ("unique", list(range(70)), ()),
        ("groupby", [{"k": 1}] * 30, ("k",)),
    ],
)
def test_what_a_filter_makes_is_counted(name: str, value: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError, match="limit 'size'"):
        apply(name, value, *arguments, budget=budget(size_bytes=199))


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("sum", [1] * 60, ()),
        ("max", [[1] * 60, [2]], ()),
        ("sort", [[1] * 60, [2]], ()),
        ("unique", [[1] * 60], ()),
        ("reverse", "x" * 20_000, ()),
        ("split", "x" * 20_000, (",",)),
        ("trim", "x" * 20_000, ()),
        ("sha256", "x" * 20_000, ()),
        ("int", "x" * 20_000, ()),
        ("float", "x" * 20_000, ()),
        ("wordcount", "x" * 20_000, ()),
        ("replace", "x" * 20_000, ("y", "z")),
        ("tojson", [1] * 60, (1,)),
        ("regex_match", "x" * 20_000, ("x",)),
    ],
)
def test_what_a_filter_looks_at_is_counted(name: str, value: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(EvaluationError, match="limit 'fuel'"):
        apply(name, value, *arguments, budget=budget(fuel=50))


def test_a_range_is_counted_before_it_is_made() -> None:
    with pytest.raises(EvaluationError, match="limit 'fuel'"):
        FUNCTIONS["range"](Budget(), -(2**63), 2**63 - 1)


def test_every_result_is_new_where_a_filter_promises_a_list() -> None:
    given = [1, 2]
    for name in ("list", "reverse", "sort", "unique"):
        assert apply(name, given) is not given
