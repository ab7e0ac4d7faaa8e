"""Which JSON Schemas are accepted, and what a closed one says about keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durableflow.json_schema import NoSuchKey, closed_against, schema_problems

if TYPE_CHECKING:
    from durableflow.values import Json

TREE: Json = {"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        TREE,
        {"$ref": "#/definitions/a", "definitions": {"a": {"type": "object"}}},
        {"$schema": DRAFT_7, "dependencies": {"a": ["b"], "c": {"type": "object"}}},
        {
            "$schema": DRAFT_7,
            "allOf": [{"$ref": "#/definitions/a"}],
            "definitions": {"a": {}},
        },
        {"$schema": DRAFT_7, "dependentSchemas": [1], "$ref": "#/items", "items": {}},
        {"$defs": {"a": {"$anchor": "here"}}, "properties": {"x": {"$ref": "#here"}, "y": {"$dynamicRef": "#here"}}},
        {"$id": "https://example.com/s", "properties": {"x": {"$ref": "https://example.com/s"}}},
        {"prefixItems": [{"type": "string"}], "contains": {"$ref": "#/prefixItems/0"}},
        {
            "properties": {"a/b~c": {}},
            "allOf": [{"$ref": "#/properties/a~1b~0c"}, {"$ref": "#/properties/a%2Fb~0c"}][:1],
        },
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}, "default": {"$ref": "nowhere"}},
        {"properties": {"x": {"pattern": "^[A-Z]{2}-[0-9]+$"}}},
    ],
)
def test_these_schemas_are_accepted(schema: Json) -> None:
    assert schema_problems(schema) == []


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        (3, (), "'3' is no JSON Schema"),
        ({"properties": {"a": 1}}, ("properties", "a"), "in a JSON Schema 'a' cannot be '1'"),
        ({"type": ["object", "nul"]}, ("type",), "in a JSON Schema 'type' cannot be '[\"object\",\"nul\"]'"),
        ({"$schema": 5}, ("$schema",), "no JSON Schema draft is called '5'"),
        ({"$ref": "order.json"}, ("$ref",), "the schema refers to 'order.json', outside itself"),
        ({"not": {"$ref": "#/x"}}, ("not", "$ref"), "the schema's reference '#/x' leads nowhere"),
        ({"$ref": "#/allOf/7", "allOf": [{}]}, ("$ref",), "the schema's reference '#/allOf/7' leads nowhere"),
        ({"$ref": "#/allOf/x/y", "allOf": [{}]}, ("$ref",), "the schema's reference '#/allOf/x/y' leads nowhere"),
        ({"$ref": "#"}, ("$ref",), "the schema's reference '#' comes back to itself"),
        ({"anyOf": [{"$ref": "#"}]}, ("anyOf", 0, "$ref"), "the schema's reference '#' comes back to itself"),
        ({"if": {"not": {"$ref": "#"}}}, ("if", "not", "$ref"), "the schema's reference '#' comes back to itself"),
        (
            {"dependentSchemas": {"a": {"$ref": "#"}}},
            ("dependentSchemas", "a", "$ref"),
            "the schema's reference '#' comes back to itself",
        ),
        (
            {"properties": {"a": {"$id": "inner", "type": "object"}}},
            ("properties", "a", "$id"),
            "'$id: inner' inside the schema changes what '#' means there",
        ),
        (
            {"items": {"pattern": "(a+)+x"}},
            ("items", "pattern"),
            "a pattern of the schema: a repeat inside a repeat is not allowed in a pattern",
        ),
    ],
)
def test_these_are_refused_at_their_place(schema: Json, path: tuple[str | int, ...], message: str) -> None:
    (problem,) = schema_problems(schema)
    assert (problem.path, problem.message) == (path, message)


def test_a_long_value_is_cut_in_the_message() -> None:
    (problem,) = schema_problems({"required": "x" * 100})
    assert problem.message == f"in a JSON Schema 'required' cannot be '{'x' * 60}…'"


CLOSED: Json = {
    "properties": {
        "id": {"type": "string"},
        "lines": {"items": {"$ref": "#/$defs/line"}},
        "pair": {"prefixItems": [{"additionalProperties": False}, {}], "items": False},
        "open": {"type": "object"},
        "named": {"patternProperties": {"^x": {}}, "additionalProperties": False},
        "each": {"additionalProperties": {"properties": {"a": {}}, "additionalProperties": False}},
        "never": False,
    },
    "additionalProperties": False,
    "$defs": {"line": {"properties": {"sku": {}}, "additionalProperties": False}},
}


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ((), None),
        (("id",), None),
        (("id", "anything"), None),
        (("idd",), NoSuchKey(0, ("id", "lines", "pair", "open", "named", "each", "never"))),
        (("lines", 3, "sku"), None),
        (("lines", 3, "skew"), NoSuchKey(2, ("sku",))),
        (("pair", 0, "x"), NoSuchKey(2, ())),
        (("pair", 1, "x"), None),
        (("pair", 5, "x"), None),
        (("open", "x", "y"), None),
        (("named", "y"), None),
        (("each", "any", "a"), None),
        (("each", "any", "b"), NoSuchKey(2, ("a",))),
        (("never", "x"), None),
    ],
)
def test_only_what_a_closed_schema_excludes_is_refused(names: tuple[str | int, ...], refused: NoSuchKey | None) -> None:
    assert closed_against(CLOSED, names) == refused
