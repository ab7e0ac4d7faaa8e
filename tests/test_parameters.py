"""What fits a parameter of AWS, what is said about what does not, and how AWS's types become JSON's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.model import ShapeResolver

from durableflow.forms import is_template
from durableflow.parameters import (
    MISFITS_MAX,
    Action,
    Unknown,
    fit,
    from_aws,
    token,
    unknown_in,
    with_tokens,
)

if TYPE_CHECKING:
    from durableflow.parameters import Misfit

KEY = "0123456789abcdef0123456789abcdef"
SHAPES: dict[str, Any] = {
    "Text": {"type": "string"},
    "Colour": {"type": "string", "enum": ["RED", "GREEN"]},
    "Size": {"type": "string", "enum": ["XS", "XL"]},
    "Colours": {"type": "list", "member": {"shape": "Colour"}},
    "Sizes": {"type": "map", "key": {"shape": "Size"}, "value": {"shape": "Text"}},
    "Whole": {"type": "integer"},
    "Number": {"type": "double"},
    "Truth": {"type": "boolean"},
    "Bytes": {"type": "blob"},
    "Time": {"type": "timestamp"},
    "Anything": {"type": "structure", "members": {}, "document": True},
    "CopySource": {"type": "string"},
    "Token": {"type": "string", "idempotencyToken": True, "max": 10},
    "Tags": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Text"}},
    "Numbers": {"type": "list", "member": {"shape": "Whole"}},
    "Union": {"type": "structure", "union": True, "members": {"a": {"shape": "Text"}, "b": {"shape": "Whole"}}},
    "Inner": {"type": "structure", "required": ["Name"], "members": {"Name": {"shape": "Text"}}},
    "Input": {
        "type": "structure",
        "required": ["Text", "Token"],
        "members": {
            **{
                name: {"shape": name}
                for name in (
                    *("Text", "Colour", "Whole", "Number", "Truth", "Bytes", "Time", "Anything", "CopySource"),
                    *("Token", "Tags", "Numbers", "Union", "Inner", "Colours", "Sizes"),
                )
            },
            "Json": {"shape": "Text", "jsonvalue": True, "location": "header"},
            "from": {"shape": "Time"},
        },
    },
}
INPUT = ShapeResolver(SHAPES).get_shape_by_name("Input")
ACTION = Action(call="shop.put", shape=INPUT, tokens=("Token",), aliases={"fromTime": "from"})


def fitted(**params: object) -> dict[str, object]:
    made, misfits = fit(ACTION, {"Text": "t", **params})
    assert misfits == []
    del made["Text"]
    return made


def misfits(**params: object) -> list[Misfit]:
    return fit(ACTION, {"Text": "t", **params})[1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Whole", 5, 5),
        ("Whole", 5.0, 5),
        ("Number", 5, 5),
        ("Truth", False, False),
        ("Bytes", "Grüße", "Grüße".encode()),
        ("Bytes", {"$base64": "//79"}, b"\xff\xfe\xfd"),
        ("Time", "2026-01-01T01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("Time", 1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        ("Tags", {"a": "b"}, {"a": "b"}),
        ("Numbers", [1, 2], [1, 2]),
        ("Union", {"a": "x", "b": None}, {"a": "x"}),
        ("Anything", [{"x": None}], [{"x": None}]),
        ("Json", {"x": 1}, {"x": 1}),
        ("CopySource", {"Bucket": "b", "Key": "k"}, {"Bucket": "b", "Key": "k"}),
        ("Token", "mine", "mine"),
        ("Colour", "GREEN", "GREEN"),
    ],
)
def test_a_value_becomes_what_botocore_takes(name: str, value: object, expected: object) -> None:
    assert fitted(**{name: value}) == {name: expected}


def test_null_is_left_out_and_an_alias_has_the_models_name() -> None:
    assert fitted(Whole=None, fromTime=0) == {"from": datetime(1970, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("Whole", "5", "'Whole' is text, but must be a whole number", None),
        ("Whole", True, "'Whole' is true or false, but must be a whole number", None),
        ("Whole", 0.5, "'Whole' is a number, but must be a whole number", "the filter 'int' cuts it"),
        ("Number", True, "'Number' is true or false, but must be a number", None),
        ("Truth", 1, "'Truth' is a number, but must be true or false", None),
        ("Bytes", 5, "'Bytes' is a number, but must be text", "the filter 'tojson' makes text; bytes are written {$base64: …}"),
        ("Bytes", {"$base64": "=?"}, "'Bytes' is not base64", "the filter 'tojson' makes text; bytes are written {$base64: …}"),
        ("Bytes", {"$base64": 5}, "'Bytes' is not base64", "the filter 'tojson' makes text; bytes are written {$base64: …}"),
        ("Bytes", "\ud800", "'Bytes' holds half of a character, which no bytes stand for", None),
        ("Time", "soon", "'Time' is no time", "write it as 2026-01-01T00:00:00Z, or in seconds since 1970"),
        ("Time", 1e300, "'Time' is no time", "write it as 2026-01-01T00:00:00Z, or in seconds since 1970"),
        ("Time", [], "'Time' is a list, but must be a time", "write it as 2026-01-01T00:00:00Z, or in seconds since 1970"),
        ("Tags", [], "'Tags' is a list, but must be an object", None),
        ("Tags", {"a": {}}, "'Tags.a' is an object, but must be text", "the filter 'tojson' makes text of it"),
        ("Numbers", 5, "'Numbers' is a number, but must be a list", None),
        ("Numbers", [1, None], "'Numbers[1]' is null, but must be a whole number", None),
        ("Union", {"a": "x", "b": 1}, "'Union' needs exactly one parameter", "one of: a, b"),
        ("Union", {}, "'Union' needs exactly one parameter", "one of: a, b"),
        ("Inner", "x", "'Inner' is text, but must be an object", None),
        ("Inner", {}, "'Inner' needs 'Name'", None),
        ("Inner", {"Name": "x", "Size": 1}, "'Inner' has no parameter 'Size'", "it has: Name"),
        ("Colour", "RDE", "'Colour' is 'RDE', not in the list of AWS's model", "did you mean 'RED'?"),
        ("Colour", "BLUE!", "'Colour' is 'BLUE!', not in the list of AWS's model", "it lists: GREEN, RED"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_its_place(name: str, value: object, message: str, hint: str | None) -> None:
    (only,) = misfits(**{name: value})
    assert (only.message, only.hint) == (f"shop.put: {message}", hint)
    assert only.code == ("DF421" if name == "Colour" else "DF311")


def test_what_the_model_does_not_list_is_sent_all_the_same() -> None:
    made, guesses = fit(ACTION, {"Colours": ["PINK"] * 100, "Sizes": {"XXS": "t"}, "Text": "t", "Bytes": "t"})
    assert made == {"Colours": ["PINK"] * 100, "Sizes": {"XXS": "t"}, "Text": "t", "Bytes": b"t"}
    assert {guess.code for guess in guesses} == {"DF421"}
    assert len(guesses) == MISFITS_MAX


def test_a_key_that_the_model_does_not_list_is_pointed_out() -> None:
    (only,) = misfits(Sizes={"XL": "t", "XXS": "t"})
    assert (only.path, only.is_key) == (("params", "Sizes", "XXS"), True)
    assert (only.message, only.hint) == (
        "shop.put: 'Sizes.XXS' is not in the list of AWS's model",
        "did you mean 'XS'?",
    )


def test_a_number_is_no_text() -> None:
    (only,) = fit(ACTION, {"Text": 5})[1]
    assert only.message == "shop.put: 'Text' is a number, but must be text"
    assert only.hint == "write it in quotes, or give a template's value the filter 'string'"


def test_a_missing_parameter_is_reported_unless_it_is_there_under_a_wrong_name() -> None:
    (missing,) = fit(ACTION, {})[1]
    assert (missing.message, missing.path, missing.is_key) == ("shop.put needs the parameter 'Text'", ("params",), True)
    (wrong,) = fit(ACTION, {"Txet": "t"})[1]
    assert (wrong.message, wrong.hint) == ("shop.put has no parameter 'Txet'", "did you mean 'Text'?")
    assert (wrong.path, wrong.is_key) == (("params", "Txet"), True)
    (case,) = fit(ACTION, {"TEXT": "t"})[1]
    assert case.hint == "did you mean 'Text'?"


def test_a_long_list_of_mistakes_is_cut() -> None:
    assert len(misfits(Numbers=["x"] * 1000)) == MISFITS_MAX


def test_an_action_without_parameters_takes_none() -> None:
    action = Action(call="sts.get_caller_identity", shape=None, aliases={})
    assert fit(action, {}) == ({}, [])
    (only,) = fit(action, {"Text": "t"})[1]
    assert (only.message, only.hint) == ("sts.get_caller_identity has no parameter 'Text'", "it takes none")


# What is not known yet.


def test_templates_are_unknown_and_those_between_text_are_text() -> None:
    value = {"a": ["{{ x }}", "a {{ x }}", "{{ x }}.", " {{ a }} {{ b }}\n", "plain", 5], "b": "{% if x %}{% endif %}"}
    any_, text = Unknown.ANY, Unknown.TEXT
    assert unknown_in(value, is_template) == {"a": [any_, text, text, any_, "plain", 5], "b": any_}


def test_what_is_not_known_fits_everything_and_unknown_text_what_text_can_be() -> None:
    names = [name for name in SHAPES["Input"]["members"] if name != "Text"]
    assert misfits(**dict.fromkeys(names, Unknown.ANY)) == []
    told = [misfit.message.split("'")[1] for misfit in misfits(**dict.fromkeys(names, Unknown.TEXT))]
    assert told == ["Whole", "Number", "Truth", "Tags", "Numbers", "Union", "Inner", "Colours", "Sizes"]
    assert misfits(Bytes={"$base64": Unknown.TEXT}) == []


# Idempotency tokens.


def test_a_token_is_given_and_cut_unless_the_author_gave_one() -> None:
    assert with_tokens(ACTION, {"Text": "t"}, KEY) == {"Text": "t", "Token": KEY[:10]}
    assert with_tokens(ACTION, {"Token": "mine"}, KEY) == {"Token": "mine"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, KEY),
        ({"min": 1, "max": 64}, KEY),
        ({"min": 1, "max": 20}, KEY[:20]),
        ({"min": 33, "max": 256}, "01234567-89ab-cdef-0123-456789abcdef"),
        ({"pattern": "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"}, "01234567-89ab-cdef-0123-456789abcdef"),
        ({"pattern": "[a-f0-9]+"}, KEY),
        ({"pattern": r"\p{ASCII}*"}, KEY),
    ],
)  # fmt: skip
def test_a_token_has_the_form_that_its_member_asks_for(metadata: dict[str, Any], expected: str) -> None:
    assert token(metadata, KEY) == expected


# Answers.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, "x", 0.5, True]}, {"a": [1, None, "x", 0.5, True]}),
        ({"Body": "Grüße".encode()}, {"Body": "Grüße"}),
        ({"Body": b""}, {"Body": ""}),
        ([b"\xff\xfe\xfd"], [{"$base64": "//79"}]),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T00:00:00.000Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC), "2026-01-01T00:00:00.123Z"),
    ],
)
def test_an_answer_becomes_json(value: object, expected: object) -> None:
    assert from_aws(value) == expected


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\x00", "Grüße".encode()])
def test_bytes_of_an_answer_can_be_sent_again(data: bytes) -> None:
    assert fitted(Bytes=from_aws(data)) == {"Bytes": data}
