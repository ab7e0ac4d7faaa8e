from __future__ import annotations

import enum
import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durableflow.values import (
    DEPTH_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    ValueRefusedError,
    canonical_bytes,
    checked,
    equal,
    from_text,
    is_object,
    size_bytes,
    to_text,
)

if TYPE_CHECKING:
    from durableflow.values import Json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INTEGER_MIN, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_round_trip_gives_the_same_value_and_text(value: Json) -> None:
    text = to_text(value)
    again = from_text(text)
    assert equal(again, value)
    assert to_text(again) == text


@given(VALUES)
def test_a_checked_value_is_what_a_round_trip_makes_of_it(value: Json) -> None:
    assert to_text(checked(value)) == to_text(from_text(to_text(value)))


def test_text_is_compact_keeps_the_order_of_keys_and_its_characters() -> None:
    assert to_text({"b": [1, 2.0, None, True], "a": "é"}) == '{"b":[1,2.0,null,true],"a":"é"}'


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical_bytes({"b": 1, "a": {"d": 2, "c": "é"}}) == '{"a":{"c":"é","d":2},"b":1}'.encode()


def test_a_lone_surrogate_is_written_as_an_escape() -> None:
    assert to_text("é\ud800") == '"é\\ud800"'
    assert from_text(to_text("é\ud800")) == "é\ud800"
    assert canonical_bytes("\ud800") == b'"\\ud800"'


def test_sizes_are_bytes_of_utf8() -> None:
    assert [size_bytes(text) for text in ("abc", "é", "😀", "\ud800")] == [3, 2, 4, 3]


@pytest.mark.parametrize("number", [INTEGER_MIN, INTEGER_MAX, 2**53 + 1, 0, -0.0, 1.0, 1e308, 5e-324])
def test_numbers_in_range_are_exact(number: float) -> None:
    assert repr(from_text(to_text(number))) == repr(number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (str(INTEGER_MAX + 1), "outside"),
        (str(INTEGER_MIN - 1), "outside"),
        ("9" * 5000, "outside"),
        ("1e400", "too large"),
        ("-1e400", "too large"),
        ("0." + "1" * 5000, "more than 400 characters"),
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("", "line 1 column 1"),
        ("  ", "column 3"),
        ("[1,\nx]", "line 2 column 1"),
        ("1 2", "Extra data"),
        ('"\t"', "control character"),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueRefusedError, match=words):
        from_text(text)


def test_white_space_around_a_value_is_allowed() -> None:
    assert from_text(' \n{"a": 1}\t') == {"a": 1}


def test_nesting_is_allowed_up_to_the_limit() -> None:
    assert from_text("[" * DEPTH_MAX + "]" * DEPTH_MAX)
    with pytest.raises(ValueRefusedError, match="deeper than 200"):
        from_text("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))


def test_brackets_inside_strings_and_brackets_side_by_side_are_not_nesting() -> None:
    many = "[" * 500 + '\\"'
    assert from_text(f'["{many}",{",".join(["[]"] * 500)}]')


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 100_000, "[" * 150 + '"' + '[\\"' * 300_000])
def test_hostile_nesting_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueRefusedError):
        from_text(text)
    assert time.process_time() - started < 1


class Colour(str, enum.Enum):  # noqa: UP042 - the older kind, which prints as Colour.RED
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Half(float):
    pass


def test_python_objects_that_json_can_hold_become_plain_ones() -> None:
    made = checked({"a": (1, [True]), Colour.RED: [Colour.RED, Number.ONE, Half(0.5)]})
    assert made == {"a": [1, [True]], "red": ["red", 1, 0.5]}
    assert json.dumps(made) == '{"a": [1, [true]], "red": ["red", 1, 0.5]}'
    assert isinstance(made, dict)
    assert [type(key) for key in made] == [str, str]
    red = made["red"]
    assert isinstance(red, list)
    assert [type(item) for item in red] == [str, int, float]


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cycle() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [0, {1}]}, r"a set at a\[1\] is not JSON"),
        ({"a": {"b": b""}}, "a bytes at a.b is not JSON"),
        (object(), "a object is not JSON"),
        ([float("nan")], r"nan at \[0\] is not JSON"),
        (float("-inf"), "-inf is not JSON"),
        ({"a": {1: 2}}, "the key 1 at a is no text"),
        ({None: 2}, "the key None is no text"),
        ([2**64], r"an integer at \[0\] is outside"),
        (-(2**63) - 1, "an integer is outside"),
        (deep(201), "deeper than 200"),
        (cycle(), "deeper than 200"),
        ({"a": deep(200)}, "deeper than 200"),
    ],
)
def test_a_python_object_that_is_no_json_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(ValueRefusedError, match=words):
        checked(value)


def test_python_objects_may_be_nested_up_to_the_limit() -> None:
    assert checked(deep(DEPTH_MAX))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (None, False, False),
        (2**53 + 1, float(2**53), False),
        ("a", "a", True),
        ([1, [True]], [1.0, [True]], True),
        ([1], [True], False),
        ([1], [1, 2], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ({}, [], False),
        ("1", 1, False),
    ],
)
def test_equality_is_that_of_json(left: Json, right: Json, same: bool) -> None:
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_an_object_is_a_dict() -> None:
    assert is_object({})
    assert not is_object([])
