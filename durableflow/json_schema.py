"""Is this a JSON Schema that we accept, and which keys does it leave room for?

Schemas come from the author and are run against data of anybody, so they are checked before: they must be valid by
their own metaschema, refer to nothing outside themselves, end, and hold only patterns that cannot run away
(language.md 12, rule 53). What a closed schema says about keys lets `rules.py` check references before anything runs.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from durableflow.library import pattern_problem
from durableflow.source import shown
from durableflow.values import Json, Object, is_object, to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durableflow.document import Path

# Where a schema holds schemas; everything else in it is data and may look like anything.
_ONE: Final = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_BY_NAME: Final = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
_SAME_VALUE: Final = frozenset({"allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"})
"""Keywords that look at the same value again: a cycle of only these never ends."""

_PROBLEMS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaProblem:
    """What is wrong with a schema.

    Args:
        code: DF308 (not a schema), DF309 (a reference that leads nowhere or outside), DF310 (a dangerous pattern).
        path: where in the schema.
        message: as in a Diagnostic.
        hint: likewise.
    """

    code: str
    path: Path
    message: str
    hint: str | None = None


def schema_problems(schema: Json) -> list[SchemaProblem]:
    """Return everything that is wrong with a JSON Schema."""
    problems = _by_metaschema(schema)
    if problems:
        return problems  # its references and patterns are only readable once it is a schema
    parts = list(_parts(schema, ()))
    anchors = {f"#{part[key]}" for _, part in parts for key in ("$anchor", "$dynamicAnchor") if key in part}
    anchors.update(str(part[key]) for _, part in parts for key in ("$id", "id") if key in part)
    for path, part in parts:
        problems.extend(_base(part, path))
        for key in ("$ref", "$dynamicRef"):
            ref = part.get(key)
            if isinstance(ref, str) and ref not in anchors:
                problems.extend(_reference(schema, ref, (*path, key)))
        problems.extend(_patterns(part, path))
    return problems or _endless(schema, parts)


def _by_metaschema(schema: Json) -> list[SchemaProblem]:
    # Imported here because it costs a tenth of a second and most files hold no schema.
    from jsonschema import validators  # noqa: PLC0415

    drafts: dict[str, Any] = {
        str(draft.META_SCHEMA.get("$id", draft.META_SCHEMA.get("id"))).rstrip("#"): draft
        for draft in (
            validators.Draft4Validator,
            validators.Draft6Validator,
            validators.Draft7Validator,
            validators.Draft201909Validator,
            validators.Draft202012Validator,
        )
    }
    draft: Any = validators.Draft202012Validator
    if is_object(schema) and "$schema" in schema:
        named = schema["$schema"]
        known = drafts.get(named.rstrip("#")) if isinstance(named, str) else None
        if known is None:
            message = f"no JSON Schema draft is called {_written(named)}"
            hint = f"leave '$schema' out, or write one of: {', '.join(sorted(drafts))}"
            return [SchemaProblem(code="DF308", path=("$schema",), message=message, hint=hint)]
        draft = known
    found: dict[Path, SchemaProblem] = {}
    for error in draft(draft.META_SCHEMA).iter_errors(schema):
        path: Path = tuple(error.absolute_path)
        if path not in found:
            found[path] = _refused(path, error.instance, error.validator, error.validator_value)
    return list(found.values())[:_PROBLEMS_SHOWN]


def _refused(path: Path, value: Json, rule: str, expected: Any) -> SchemaProblem:
    keyword = next((part for part in reversed(path) if isinstance(part, str)), None)
    if keyword is None:
        hint = "write an object such as {type: object}, or true or false"
        return SchemaProblem(code="DF308", path=path, message=f"{_written(value)} is no JSON Schema", hint=hint)
    if path[-1] == "type" and isinstance(value, str):
        types = ["array", "boolean", "integer", "null", "number", "object", "string"]
        near = difflib.get_close_matches(value, types, n=1)
        message = f"JSON Schema has no type {_written(value)}"
        hint = (f"did you mean '{near[0]}'? " if near else "") + f"The types are: {', '.join(types)}."
        return SchemaProblem(code="DF308", path=path, message=message, hint=hint)
    takes = f"it takes {_listed(expected)}" if rule in ("type", "enum") else None
    message = f"in a JSON Schema '{shown(keyword)}' cannot be {_written(value)}"
    return SchemaProblem(code="DF308", path=path, message=message, hint=takes)


def _listed(names: str | Sequence[Json]) -> str:
    return names if isinstance(names, str) else " or ".join(str(name) for name in names)


def _written(value: Json) -> str:
    text = value if isinstance(value, str) else to_text(value)
    return f"'{shown(text if len(text) <= 60 else text[:60] + '…')}'"  # a whole object would hide what is said about it


def _parts(schema: Json, path: Path) -> Iterator[tuple[Path, Object]]:
    """Give the schema and every schema in it, with its path."""
    if not is_object(schema):
        return
    yield path, schema
    for key, value in schema.items():
        if key in _BY_NAME and is_object(value):
            for name, inner in value.items():
                yield from _parts(inner, (*path, key, name))
        elif key in _LIST and isinstance(value, list):
            for i, inner in enumerate(value):
                yield from _parts(inner, (*path, key, i))
        elif key in _ONE:
            yield from _parts(value, (*path, key))


def _base(part: Object, path: Path) -> Iterator[SchemaProblem]:
    base = part.get("$id")
    if path and isinstance(base, str) and not base.startswith("#"):
        message = f"'$id: {shown(base)}' inside the schema changes what '#' means there"
        hint = "take it away and refer to '#/$defs/NAME'"
        yield SchemaProblem(code="DF309", path=(*path, "$id"), message=message, hint=hint)


def _reference(schema: Json, ref: str, path: Path) -> list[SchemaProblem]:
    if not ref.startswith("#"):
        message = f"the schema refers to '{shown(ref)}', outside itself"
        hint = "put what it refers to under '$defs' and write '#/$defs/NAME'"
    elif not isinstance(_target(schema, ref), (dict, bool)):
        message = f"the schema's reference '{shown(ref)}' leads nowhere"
        names = _names(schema)
        near = difflib.get_close_matches(ref, names, n=1)
        hint = f"did you mean '{shown(near[0])}'?" if near else "write '#/$defs/NAME' and put NAME under '$defs'"
    else:
        return []
    return [SchemaProblem(code="DF309", path=path, message=message, hint=hint)]


def _names(schema: Json) -> list[str]:
    holders = ((key, schema[key]) for key in ("$defs", "definitions") if is_object(schema) and key in schema)
    return [f"#/{key}/{name}" for key, holder in holders if is_object(holder) for name in holder]


def _target(schema: Json, ref: str) -> Json:
    """Return what a JSON Pointer such as `#/$defs/line` leads to, or None."""
    target: Json = schema
    for part in unquote(ref[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if is_object(target):
            target = target.get(name)
        elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        else:
            return None
    return target


def _patterns(part: Object, path: Path) -> Iterator[SchemaProblem]:
    written: list[tuple[Path, Json]] = [((*path, "pattern"), part.get("pattern"))]
    by_pattern = part.get("patternProperties")
    if is_object(by_pattern):
        written.extend(((*path, "patternProperties", pattern), pattern) for pattern in by_pattern)
    for place, pattern in written:
        if isinstance(pattern, str) and (problem := pattern_problem(pattern)):
            hint = "use length limits, 'enum', or a pattern without nested repeats"
            yield SchemaProblem(code="DF310", path=place, message=f"a pattern of the schema: {problem}", hint=hint)


def _endless(schema: Json, parts: list[tuple[Path, Object]]) -> list[SchemaProblem]:
    """Find references that come back to themselves without going into the value (`{$ref: "#"}`)."""
    done: set[int] = set()
    for path, part in parts:
        if "$ref" in part and _comes_back(part, schema, [], done):
            message = f"the schema's reference '{shown(str(part['$ref']))}' comes back to itself"
            hint = "a schema may refer to itself only inside a keyword such as 'properties' or 'items'"
            return [SchemaProblem(code="DF309", path=(*path, "$ref"), message=message, hint=hint)]
    return []


def _comes_back(part: Json, schema: Json, on_the_way: list[int], done: set[int]) -> bool:
    if not is_object(part) or id(part) in done:
        return False
    if id(part) in on_the_way:
        return True
    on_the_way.append(id(part))
    again: list[Json] = []
    ref = part.get("$ref")
    if isinstance(ref, str) and ref.startswith("#"):
        again.append(_target(schema, ref))
    for key in _SAME_VALUE & part.keys():
        value = part[key]
        # What a draft does not know as a keyword may hold anything.
        if isinstance(value, list):
            again.extend(value)
        elif key in _BY_NAME and is_object(value):
            again.extend(value.values())
        else:
            again.append(value)
    found = any(_comes_back(inner, schema, on_the_way, done) for inner in again)
    on_the_way.pop()
    done.add(id(part))
    return found


@dataclass(frozen=True, slots=True)
class NoSuchKey:
    """A key that a closed schema leaves no room for: its position in the path that was asked for, and what there is."""

    position: int
    known: tuple[str, ...]


def closed_against(schema: Json, names: Sequence[str | int]) -> NoSuchKey | None:
    """Return the first name of a path into the data that `additionalProperties: false` excludes, or None.

    Args:
        schema: a schema without problems.
        names: keys and list positions, outermost first.
    """
    part: Json = schema
    for position, name in enumerate(names):
        seen = 0
        while is_object(part) and isinstance(ref := part.get("$ref"), str) and ref.startswith("#") and seen < 100:
            part = _target(schema, ref)
            seen += 1
        if not is_object(part):
            return None
        inside = _item(part, name) if isinstance(name, int) else _property(part, name)
        if isinstance(inside, _Closed):
            return NoSuchKey(position, inside.known)
        part = inside
    return None


@dataclass(frozen=True, slots=True)
class _Closed:
    known: tuple[str, ...]


def _property(part: Object, name: str) -> Json | _Closed:
    properties = part.get("properties")
    known = properties if is_object(properties) else {}
    if name in known:
        return known[name]
    if "patternProperties" in part:
        return None
    others = part.get("additionalProperties")
    return _Closed(tuple(known)) if others is False else others


def _item(part: Object, position: int) -> Json:
    first = part.get("prefixItems")
    if isinstance(first, list) and 0 <= position < len(first):
        return first[position]
    return part.get("items")
