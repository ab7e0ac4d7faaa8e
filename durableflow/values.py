"""What is a JSON value here? Type, equality, canonical bytes, size.

Every value that a workflow can see has been through :func:`to_text` and :func:`from_text`, on the first run as on a
replay, so both see the same thing (reliability.md 0, decision 4). Integers are exact from -2**63 to 2**64-1, other
numbers are doubles, NaN and infinities do not exist (language.md 12, rule 2).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json: TypeAlias = Union[bool, int, float, str, list["Json"], dict[str, "Json"], None]  # noqa: UP007 - a recursive alias
Object: TypeAlias = dict[str, "Json"]

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1
DEPTH_MAX = 200
"""Nesting that data may have; deeper data is refused before the recursive parser of the standard library sees it."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER_DIGITS_MAX = 400
_encode_compact = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False
).encode
_encode_canonical = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False, sort_keys=True
).encode


class ValueRefusedError(ValueError):
    """A text or Python object that is no JSON value here; the message says why, in one line."""


def to_text(value: Json) -> str:
    """Return `value` as compact JSON text that always encodes to UTF-8; keys stay in their order."""
    return _encodable(_encode_compact(value))


def canonical_bytes(value: Json) -> bytes:
    """Return the one encoding of `value` that digests are made of: sorted keys, compact, UTF-8."""
    return _encodable(_encode_canonical(value)).encode()


def _encodable(text: str) -> str:
    if text.isascii():
        return text
    # A lone surrogate is legal in a JSON text only as an escape (reliability.md 3.4, J6).
    return _SURROGATE.sub(lambda m: f"\\u{ord(m.group()):04x}", text)


def size_bytes(text: str) -> int:
    """Return the size of a text in UTF-8 bytes, as every limit of the service counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def from_text(text: str) -> Json:
    """Return the value of one JSON text.

    Raises:
        ValueRefusedError: not JSON, NaN or infinite, an integer out of range, or nested deeper than DEPTH_MAX.
    """
    size = len(text)
    # The C scanner recurses; its depth is bounded by the interpreter's recursion limit, which differs between
    # versions. Counting brackets first makes the limit ours, and the same everywhere.
    if size > DEPTH_MAX and text.count("[") + text.count("{") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise ValueRefusedError(f"nested deeper than {DEPTH_MAX} levels")
    try:
        # The scanner alone does for a text without white space around it; replays decode little else.
        try:
            value, end = (_scan if size >= _INTEGER_DIGITS_OUTSIDE else _scan_short)(text, 0)
            if end == size:
                return value
        except StopIteration:
            pass  # nothing begins here; the decoder says so with line and column
        whole: Json = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise ValueRefusedError(f"{error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise ValueRefusedError(f"nested deeper than {DEPTH_MAX} levels") from error
    return whole


def _integer(digits: str) -> int:
    if len(digits) > 20 or not INTEGER_MIN <= (number := int(digits)) <= INTEGER_MAX:
        raise ValueRefusedError(f"integer {digits[:24]} is outside -2^63 to 2^64-1")
    return number


def _double(digits: str) -> float:
    if len(digits) > _NUMBER_DIGITS_MAX:
        raise ValueRefusedError(f"number {digits[:24]} has more than {_NUMBER_DIGITS_MAX} characters")
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueRefusedError(f"number {digits[:24]} is too large")
    return number


def _constant(name: str) -> float:
    raise ValueRefusedError(f"{name} is not JSON")


_Scan: TypeAlias = "Callable[[str, int], tuple[Json, int]]"


def _scanner(decoder: json.JSONDecoder) -> _Scan:
    # The standard library's own C scanner, which `raw_decode` calls; its stubs leave the attribute out.
    return decoder.scan_once  # type: ignore[attr-defined, no-any-return]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


_decoder = json.JSONDecoder(parse_int=_integer, parse_float=_double, parse_constant=_constant)
_scan = _scanner(_decoder)
_INTEGER_DIGITS_OUTSIDE = 19
# No integer of a shorter text can be too large, so none needs to be looked at.
_scan_short = _scanner(json.JSONDecoder(parse_float=_double, parse_constant=_constant))


# A string that is never closed is taken to the end: begun again at each quote in it, it would cost the square.
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        first = match.group()[0]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEPTH_MAX:
                break
        elif first in "]}":
            depth -= 1
    return deepest


def checked(value: object) -> Json:
    """Return `value` as the JSON value that a round trip would make of it.

    Tuples become lists. Everything else that is not JSON is refused, also keys that are not text: a guess would make
    the first run differ from a replay.

    Raises:
        ValueRefusedError: with the type or number that is not JSON and the place in the value, as ``a.b[3]``.
    """
    return _checked(value, "", 0)


def _checked(value: object, place: str, depth: int) -> Json:
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        _check_depth(depth)
        return [_checked(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(items)]
    if isinstance(value, dict):
        _check_depth(depth)
        made: Object = {}
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise ValueRefusedError(f"the key {key!r}{_at(place)} is no text")
            made[str.__str__(key)] = _checked(item, f"{place}.{key}", depth + 1)
        return made
    return _checked_scalar(value, place)


def _check_depth(depth: int) -> None:
    if depth >= DEPTH_MAX:
        raise ValueRefusedError(f"nested deeper than {DEPTH_MAX} levels")


def _at(place: str) -> str:
    return f" at {place.removeprefix('.')}" if place else ""


def _checked_scalar(value: object, place: str) -> Json:
    made: Json
    match value:
        case None | bool():
            made = value
        case str():
            # Not str(): a member of a textual Enum is its text, as json has it, whatever it prints.
            made = str.__str__(value)
        case int():
            if not INTEGER_MIN <= value <= INTEGER_MAX:
                raise ValueRefusedError(f"an integer{_at(place)} is outside -2^63 to 2^64-1")
            made = int(value)
        case float():
            if not math.isfinite(value):
                raise ValueRefusedError(f"{value!r}{_at(place)} is not JSON")
            made = float(value)
        case _:
            raise ValueRefusedError(f"a {type(value).__name__}{_at(place)} is not JSON")
    return made


def equal(left: Json, right: Json) -> bool:
    """Say whether two values are the same JSON value: true is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(v, right[k]) for k, v in left.items())
    return left == right


def is_object(value: object) -> TypeGuard[Object]:
    """Say whether a JSON value is an object."""
    return isinstance(value, dict)
