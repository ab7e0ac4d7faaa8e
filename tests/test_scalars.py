from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from durableflow.scalars import Refused, places, plain_key, plain_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("9007199254740993", 9007199254740993),
        ("18446744073709551615", 2**64 - 1),
        ("1.0", 1.0),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("1E-2", 0.01),
    ],
)
def test_json_words_and_numbers_are_values(text: str, value: object) -> None:
    made = plain_value(text)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "invoke", "30s", "2d", "1.2.3", "10.0.0.1", "--date", "-", ".jpg", "..", "1e", "0x", "1-800-555", "12:75",
        "80:80", "2024-01-01-x", "2024-01", "a=b", "==", "<", "<<x", "_1", "1,000", "yes please", "nope", "Nan",
        "arn:aws:lambda:eu-west-1:123456789012:function:x", "é", "٣", "null_value", "infinity", "=1",
    ],
)  # fmt: skip
def test_what_no_reader_takes_for_something_else_is_text(text: str) -> None:
    assert plain_value(text) == text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        *((word, "is true") for word in ("y", "Y", "yes", "YES", "on", "On")),
        *((word, "is false") for word in ("n", "N", "no", "No", "off", "OFF")),
        *((word, "true, false or null") for word in ("True", "TRUE", "False", "Null", "NULL", "tRUE")),
        *((word, "base 8") for word in ("010", "-07", "0o7", "0_7", "00")),
        *((word, "base 16") for word in ("0x1F", "0XfF", "-0x1", "0xdead_beef")),
        *((word, "base 2") for word in ("0b1", "-0b10_1")),
        *((word, "base 60") for word in ("1:30", "12:30:45", "1:30.5", "-1:00", "00:11:22")),
        *((word, "a number") for word in ("1_000", "+1", ".5", "1.", "-1.", "+.5e3", "1.e3", "08", "08.5", "+1e3")),
        *((word, "a date") for word in ("2024-01-02", "2020-13-45", "2024-1-2T3:04:05Z", "2024-01-02 03:04:05.6 +01")),
        *((word, "no finite number") for word in (".nan", ".NaN", ".inf", "-.INF", "+.Inf", "NaN", "-Infinity")),
        ("=", "default value"),
        ("<<", "merge key"),
    ],
)  # fmt: skip
def test_what_some_reader_takes_for_something_else_is_refused(text: str, meaning: str) -> None:
    refused = plain_value(text)
    assert isinstance(refused, Refused)
    assert refused.code == "DF124"
    assert meaning in refused.message
    assert refused.hint.startswith("quote it, or write")


@pytest.mark.parametrize("text", ["9" * 5000, "18446744073709551616", "-9223372036854775809", "1e400", "-1e999"])
def test_a_number_that_cannot_be_kept_is_refused(text: str) -> None:
    refused = plain_value(text)
    assert isinstance(refused, Refused)
    assert refused.code == "DF125"
    assert len(refused.message) < 120


@pytest.mark.parametrize("text", ["name", "y", "no", "On", "1st", "--date", "x-1", "1.2.3", ":a"])
def test_a_plain_key_is_text(text: str) -> None:
    assert plain_key(text) == text


@pytest.mark.parametrize("text", ["", "~", "null", "true", "False", "1", "1.5", "010", "1:30", "2024-01-02", ".inf"])
def test_a_key_that_is_no_text_is_refused(text: str) -> None:
    refused = plain_key(text)
    assert isinstance(refused, Refused)
    assert refused.code == "DF122"
    assert "quote it" in refused.hint


def scalars(text: str) -> list[yaml.ScalarEvent]:
    """The scalars of a YAML text; none when it is not YAML."""
    try:
        return [event for event in yaml.parse(text, Loader=yaml.Loader) if isinstance(event, yaml.ScalarEvent)]
    except (yaml.YAMLError, ValueError):
        return []


def found(text: str, number: int = 1) -> str:
    """What stands in the text at each character of its scalar, and at its end."""
    event = scalars(text)[number]
    assert event.start_mark
    assert event.end_mark
    at = places(text, event.start_mark.index, event.end_mark.index, event.value)
    assert len(at) == len(event.value) + 1
    return "".join(text[place] if place < len(text) else "$" for place in at)


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("k: abc\n", "abc\n"),
        ("k: abc # no\n", "abc "),
        ("k: ab\n  cd\n", "ab\ncd\n"),
        ("k: ab\n\n\n  cd\n", "ab\n\ncd\n"),
        ("k: ab\r\n  cd", "ab\rcd$"),
        ("k: 'it''s'", "it's'"),
        ("k: ' a  b '", " a  b '"),
        ("k: 'a  \n   b'", "a\nb'"),
        ('k: "a\\tb\\x41\\u00e9\\U0001F600c"', 'a\\b\\\\\\c"'),
        ('k: "a\\\n   b"', 'ab"'),
        ('k: "a \\\n\n   b"', 'a \nb"'),
        ("k: &x abc", "abc$"),
        ("k: &x # y\n  'abc'", "abc'"),
        ("k: |\n  ab\n   cd\n", "ab\n cd\n$"),
        ("k: |-\n  ab\n\n", "ab\n"),
        ("k: |+ # c\n  ab\n\n", "ab\n\n$"),
        ("k: |\n\n  ab\n", "\nab\n$"),
        ("k: |2\n    ab\n", "  ab\n$"),
        ("k: >\n  ab\n  cd\n", "ab\ncd\n$"),
        ("k: >\n  ab\n\n  cd\n", "ab\ncd\n$"),
        ("k: >\n  ab\n    cd\n  ef\n", "ab\n  cd\nef\n$"),
        ("k: |\n  ab", "ab$"),
        ("k: |+\n\n\n", "\n\n$"),
        ("k: |\n", "$"),
        ("k: ''", "'"),
    ],
)
def test_every_character_of_a_text_is_found_where_it_stands(text: str, characters: str) -> None:
    assert found(text) == characters


PIECES = st.sampled_from(
    ["a", "bc", " ", "   ", "\n", "\r\n", "\n\n", "\n   ", "\n     x", "\t", "é", "😀", "''", "\\n", '\\"', "\\\n",
     "\\x41", "\\u00e9"]
)  # fmt: skip
FRAMES = st.sampled_from(
    [
        'k: "{}"',
        "k: '{}'",
        "k: a{}",
        "- &x '{}'",
        "k: |\n  {}",
        "k: >\n  {}",
        "k:\n  j: |2-\n   {}\n",
        "- >+\n a{}\n\n# c\n",
    ]
)


@given(FRAMES, st.lists(PIECES, max_size=8).map("".join))
@example("k: >\n  {}", "a\n     x\n   bc")
def test_a_place_holds_the_character_or_what_it_is_written_as(frame: str, body: str) -> None:
    text = frame.format(body)
    for event in scalars(text):
        assert event.start_mark
        assert event.end_mark
        at = places(text, event.start_mark.index, event.end_mark.index, event.value)
        assert len(at) == len(event.value) + 1
        assert at == sorted(at)
        for character, place in zip(event.value, at, strict=False):
            written = text[place]
            assert written in (character, "\\") or (character in " \n" and written in " \r\n")
