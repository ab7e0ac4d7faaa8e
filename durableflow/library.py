"""What do the filters, tests and functions of templates do? Pure functions over JSON, each checked and counted.

Every function takes the Budget of the state first, then the value it is applied to, then the arguments an author
wrote (names and defaults as in Jinja2, where Jinja2 has it). It refuses arguments of a wrong type with one line
(:class:`EvaluationError`), and what it is going to make is counted *before* it is made, so that no call can take more
time or memory than the budget allows. Nothing here depends on time, locale, hash seeds or the order of a set.

What each one means to an author stands in docs/expressions.md. What needs undefined values (`default`, `defined`)
or other filters (`map`, `select`) is part of the evaluator, expressions.py.

Source: language.md section 3, rules 6, 7 and 9; section 12, rules 1, 2 and 6; Jinja2 3.1 for the stock filters.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, cast

from durableflow.source import shown
from durableflow.values import (
    DEPTH_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    Json,
    ValueRefusedError,
    from_text,
    size_bytes,
    to_text,
)

FUEL = 100_000
"""Nodes that the templates of one state may visit together."""
SIZE_BYTES = 262_144
"""Bytes of text and containers that the templates of one state may newly make together."""
ITEM_BYTES = 8
"""What a place in a newly made list or object counts; the value in it is passed on, not made."""
WEIGHED_VALUES = 16
"""Values inside a new one that one unit of fuel pays to weigh."""
VALUE_CHARACTERS = 8 * 1024 * 1024
"""A newly made value may not be larger than this as JSON; the largest that the service carries is 6 MiB."""
READ_CHARACTERS = 256
"""Characters of a text that one unit of fuel pays to look through."""

Function: TypeAlias = Callable[..., Any]


class EvaluationError(Exception):
    """A template has no value; `message` is one line that says what was wrong, in the author's words.

    The interpreter makes the fault `States.QueryEvaluationError` of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Undefined:
    """What a path leads to when there is nothing; falsy. Only `default` and `is defined` take it.

    Args:
        why: one line for the error, such as "states.x.result has no key 'foo'".
    """

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return f"Undefined({self.why!r})"


class Budget:
    """What the templates of one state may still use; shared by all of them, counted down.

    One is made for nearly every state of a replay: until something is taken off it, it has nothing of its own.
    """

    fuel: int = FUEL
    """Nodes that may still be visited."""
    size_bytes: int = SIZE_BYTES
    """Bytes of text and containers that may still be newly made."""

    def spend(self, nodes: int) -> None:
        """Count `nodes` visits.

        Raises:
            EvaluationError: more than the templates of one state may make.
        """
        self.fuel -= nodes
        if self.fuel < 0:
            raise EvaluationError(f"the templates of this state take more than {FUEL:,} steps (limit 'fuel')")

    def grow(self, size_bytes: int) -> None:
        """Count `size_bytes` about to be made.

        Raises:
            EvaluationError: more than the templates of one state may make.
        """
        self.size_bytes -= size_bytes
        if self.size_bytes < 0:
            raise EvaluationError(
                f"the templates of this state make more than {SIZE_BYTES:,} bytes of new text and lists (limit 'size')"
            )

    def list_of(self, length: int) -> None:
        """Count a list or object of `length` places that is about to be made by looking at each item once."""
        self.spend(length)
        self.grow(length * ITEM_BYTES)

    def text_of(self, text: str) -> str:
        """Count a newly made text, and return it."""
        self.grow(size_bytes(text))
        return text

    def read(self, text: str) -> None:
        """Count looking through a text."""
        self.spend(len(text) // READ_CHARACTERS)

    def weigh(self, value: list[Json] | dict[str, Json]) -> None:
        """Refuse a newly made value that holds its parts so often, or so deep, that writing it out would not end.

        Raises:
            EvaluationError: it has more than VALUE_CHARACTERS as JSON, or is nested deeper than DEPTH_MAX.
        """
        level = [value]
        size = seen = depth = 0
        while level:
            depth += 1
            if depth > DEPTH_MAX:
                raise EvaluationError(f"the value is nested deeper than {DEPTH_MAX} levels (limit 'depth')")
            below: list[Json] = []
            for inner in level:
                size += _own_characters(inner)
                if size > VALUE_CHARACTERS:
                    break
                below.extend(inner.values() if isinstance(inner, dict) else inner)
            size += sum([len(text) for text in below if isinstance(text, str)])
            if size > VALUE_CHARACTERS:
                raise EvaluationError(f"the value is larger than {VALUE_CHARACTERS // 2**20} MiB (limit 'value')")
            seen += len(below)
            self.spend(seen // WEIGHED_VALUES)
            seen %= WEIGHED_VALUES
            level = [part for part in below if isinstance(part, (list, dict))]

    def visit(self, value: Json) -> None:
        """Count every value inside `value`, for what compares or copies it whole."""
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            if isinstance(inner, list):
                self.spend(len(inner))
                waiting.extend(inner)
            elif isinstance(inner, dict):
                self.spend(len(inner))
                waiting.extend(inner.values())
            elif isinstance(inner, str):
                self.read(inner)


def kind(value: object) -> str:
    """Say in the author's words what sort of value this is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def is_larger(value: Json, limit: int) -> bool:
    """Say whether `value` as JSON text would surely be longer than `limit` characters.

    A part that stands in many places is looked at once, so what doubles again and again costs as little as it holds.
    """
    return _least_characters(value, limit, {}) > limit


def _least_characters(value: Json, limit: int, known: dict[int, int]) -> int:
    if isinstance(value, str):
        return len(value) + 2
    if not isinstance(value, (list, dict)):
        return 1
    if (size := known.get(id(value))) is not None:
        return size
    size = _own_characters(value)
    parts: Iterable[Json] = value.values() if isinstance(value, dict) else value
    for part in parts:
        size += _least_characters(part, limit, known)
        if size > limit:
            break
    known[id(value)] = size
    return size


def _own_characters(value: list[Json] | dict[str, Json]) -> int:
    """Return the characters that a container takes as JSON besides its values, commas counted for each."""
    return 1 + len(value) + (sum(map(len, value)) + 3 * len(value) if isinstance(value, dict) else 0)


def to_display(value: Json) -> str:
    """Return what stands for `value` in a text: strings as they are, everything else as compact JSON (rule 1)."""
    return value if isinstance(value, str) else to_text(value)


def displayed(budget: Budget, value: Json) -> str:
    """Return :func:`to_display` of `value`, which is refused before it is made when it cannot fit the budget."""
    if isinstance(value, str):
        return value
    if is_larger(value, budget.size_bytes):
        budget.grow(budget.size_bytes + 1)
    return to_text(value)


def number(result: Any) -> int | float:
    """Return the result of a calculation, if JSON has such a number (rule 2)."""
    if isinstance(result, int):
        if INTEGER_MIN <= result <= INTEGER_MAX:
            return result
        raise EvaluationError("the result is an integer outside -2^63 to 2^64-1")
    if isinstance(result, float) and math.isfinite(result):
        return result
    raise EvaluationError("the result is no number that JSON has")


# Checked arguments ---------------------------------------------------------------------------------------------------


def _text(who: str, value: Json) -> str:
    if isinstance(value, str):
        return value
    raise EvaluationError(f"'{who}' needs text, not {kind(value)}")


def _bytes(who: str, value: Json) -> bytes:
    try:
        return _text(who, value).encode()
    except UnicodeEncodeError as error:
        raise EvaluationError(f"'{who}': the text holds half of a surrogate pair, which UTF-8 does not have") from error


def _number(who: str, value: Json) -> int | float:
    if isinstance(value, (int, float)):
        return value
    raise EvaluationError(f"'{who}' needs a number, not {kind(value)}")


def _integer(who: str, value: Json, low: int, high: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    what = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else kind(value)
    raise EvaluationError(f"'{who}' needs an integer from {low:,} to {high:,} there, not {what}")


def _object(who: str, value: Json) -> dict[str, Json]:
    if isinstance(value, dict):
        return value
    raise EvaluationError(f"'{who}' needs an object, not {kind(value)}")


def items_of(budget: Budget, who: str, value: Json) -> list[Json]:
    """Return what going through `value` gives: items of a list, characters of a text, keys of an object."""
    if isinstance(value, list):
        budget.spend(len(value))
        return value
    if isinstance(value, (str, dict)):
        budget.list_of(len(value))
        return list(value)
    raise EvaluationError(f"'{who}' cannot go through {kind(value)}")


def step_into(value: Json, key: str | int, spelling: Callable[[], str]) -> Json | Undefined:
    """Return the value under a key of an object or an index of a list or text (language.md 3, rule 5).

    Args:
        value: where to look.
        key: a key, or an index that may be negative.
        spelling: how the author wrote `value`, for the reason when there is nothing; asked only then.
    """
    if isinstance(value, dict):
        if key in value:
            return value[key]
        return Undefined(f"{spelling()} has no key {_quoted(key)}")
    if isinstance(value, (list, str)) and isinstance(key, int):
        if -len(value) <= key < len(value):
            return value[key]
        return Undefined(f"{spelling()} has {len(value)} items, there is no {key}")
    return Undefined(f"{spelling()} is {kind(value)}, it has no key {_quoted(key)}")


def _quoted(key: str | int) -> str:
    return str(key) if isinstance(key, int) else f"'{shown(key)}'"


def path_of(attribute: str | int) -> list[str | int]:
    """Return the steps of an `attribute` argument such as `address.lines.0`."""
    if isinstance(attribute, int):
        return [attribute]
    return [int(step) if step.isdecimal() and len(step) < 20 else step for step in attribute.split(".")]


def look_up(item: Json, attribute: Json, who: str) -> Json | Undefined:
    """Return what an `attribute` argument finds in one item of a list."""
    if not isinstance(attribute, (str, int)) or isinstance(attribute, bool):
        raise EvaluationError(f"'{who}' needs an attribute as text, not {kind(attribute)}")
    found: Json | Undefined = item
    for step in path_of(attribute):
        if isinstance(found, Undefined):
            raise EvaluationError(found.why)
        found = step_into(found, step, lambda: f"an item of '{who}'")
    return found


def _key_of(who: str, attribute: Json, *, case_sensitive: Json, default: Json = None) -> Callable[[Json], Json]:
    """Return the function that gives what items are compared by."""

    def key(item: Json) -> Json:
        if attribute is not None:
            found = look_up(item, attribute, who)
            if isinstance(found, Undefined):
                if default is None:
                    raise EvaluationError(found.why)
                found = default
            item = found
        return item.lower() if isinstance(item, str) and not case_sensitive else item

    return key


def _keys_of(budget: Budget, items: list[Json], keys: list[Callable[[Json], Json]]) -> list[list[Json]]:
    """Return what each item is ordered by, as a list, with what comparing these costs paid for."""
    made = [[key(item) for key in keys] for item in items]
    for row in made:
        for value in row:
            if isinstance(value, (list, dict)):
                budget.visit(value)
    return made


def _ordered(who: str, keys: list[list[Json]], *, reverse: Json) -> list[int]:
    """Return the positions of `keys` in order."""
    try:
        order: Callable[[int], Any] = keys.__getitem__
        return sorted(range(len(keys)), key=order, reverse=bool(reverse))
    except TypeError as error:
        # Python says which types have no order; the author learns it in his words.
        kinds = sorted({kind(value) for row in keys for value in row})
        raise EvaluationError(f"'{who}' cannot order {' and '.join(kinds)}") from error


# Text ----------------------------------------------------------------------------------------------------------------

_WORD_START = re.compile(r"([-\s({\[<]+)")
_WORD = re.compile(r"\w+")


def _upper(budget: Budget, value: Json) -> Json:
    return budget.text_of(_text("upper", value).upper())


def _lower(budget: Budget, value: Json) -> Json:
    return budget.text_of(_text("lower", value).lower())


def _capitalize(budget: Budget, value: Json) -> Json:
    return budget.text_of(_text("capitalize", value).capitalize())


def _title(budget: Budget, value: Json) -> Json:
    budget.grow(size_bytes(_text("title", value)))
    words = _WORD_START.split(_text("title", value))
    return "".join(word[0].upper() + word[1:].lower() for word in words if word)


def _trim(budget: Budget, value: Json, chars: Json = None) -> Json:
    budget.read(_text("trim", value))
    return budget.text_of(_text("trim", value).strip(None if chars is None else _text("trim", chars)))


def _replace(budget: Budget, value: Json, old: Json, new: Json, count: Json = None) -> Json:
    text, old, new = _text("replace", value), _text("replace", old), _text("replace", new)
    budget.read(text)
    times = text.count(old)
    if count is not None:
        times = min(times, _integer("replace", count, 0, SIZE_BYTES))
    budget.grow(size_bytes(text) + times * max(0, size_bytes(new) - size_bytes(old)))
    return text.replace(old, new, times)


def _truncate(
    budget: Budget, value: Json, length: Json = 255, killwords: Json = False, end: Json = "...", leeway: Json = 5
) -> Json:
    text, end = _text("truncate", value), _text("truncate", end)
    length = _integer("truncate", length, len(end), SIZE_BYTES)
    if len(text) <= length + _integer("truncate", leeway, 0, SIZE_BYTES):
        return text
    kept = text[: length - len(end)]
    return budget.text_of((kept if killwords else kept.rsplit(" ", 1)[0]) + end)


def _indent(budget: Budget, value: Json, width: Json = 4, first: Json = False, blank: Json = False) -> Json:
    text = _text("indent", value)
    margin = width if isinstance(width, str) else " " * _integer("indent", width, 0, 1_000)
    lines = (text + "\n").splitlines()
    budget.list_of(len(lines))
    budget.grow(size_bytes(text) + len(lines) * size_bytes(margin))
    rows = [lines[0], *(margin + line if line or blank else line for line in lines[1:])]
    return (margin if first else "") + "\n".join(rows)


def _wordcount(budget: Budget, value: Json) -> Json:
    text = _text("wordcount", value)
    budget.spend(len(text) // 16)
    return sum(1 for _ in _WORD.finditer(text))


def _string(budget: Budget, value: Json) -> Json:
    return value if isinstance(value, str) else budget.text_of(displayed(budget, value))


def _split(budget: Budget, value: Json, separator: Json = None, maxsplit: Json = -1) -> Json:
    text = _text("split", value)
    most = _integer("split", maxsplit, -1, SIZE_BYTES)
    budget.read(text)
    if separator is None:
        budget.grow(size_bytes(text))
        words = text.split(None, most)
        budget.list_of(len(words))
        return [*words]
    between = _text("split", separator)
    if not between:
        raise EvaluationError("'split' needs a separator that is not empty")
    budget.list_of(text.count(between) + 1)
    budget.grow(size_bytes(text))
    return [*text.split(between, most)]


def _join(budget: Budget, value: Json, d: Json = "", attribute: Json = None) -> Json:
    between = _text("join", d)
    parts: list[str] = []
    items = items_of(budget, "join", value)
    budget.grow(max(0, len(items) - 1) * size_bytes(between))
    for item in items:
        found = item if attribute is None else look_up(item, attribute, "join")
        if isinstance(found, Undefined):
            raise EvaluationError(found.why)
        parts.append(budget.text_of(displayed(budget, found)))
    return between.join(parts)


# Numbers -------------------------------------------------------------------------------------------------------------


def _abs(_: Budget, value: Json) -> Json:
    return number(abs(_number("abs", value)))


def _int(budget: Budget, value: Json, default: Json = 0, base: Json = 10) -> Json:
    if isinstance(value, str):
        budget.read(value)
        radix = _integer("int", base, 0, 36)
        if radix == 1:
            raise EvaluationError("'int' needs the base 0, or one from 2 to 36")
        if len(value) > 400:
            raise EvaluationError("'int' takes text of at most 400 characters")
        try:
            return number(int(value, radix))
        except ValueError:
            pass
    try:
        return number(int(float(cast("Any", value)) if isinstance(value, str) else cast("Any", value)))
    except (TypeError, ValueError, OverflowError):
        return default


def _float(budget: Budget, value: Json, default: Json = 0.0) -> Json:
    if isinstance(value, str):
        budget.read(value)
    try:
        made = float(cast("Any", value))
    except (TypeError, ValueError):
        return default
    return number(made)


def _round(_: Budget, value: Json, precision: Json = 0, method: Json = "common") -> Json:
    given, digits = _number("round", value), _integer("round", precision, -30, 30)
    if method == "common":
        return number(round(given, digits))
    if method not in ("ceil", "floor"):
        raise EvaluationError("'round' knows the methods 'common', 'ceil' and 'floor'")
    try:
        scaled = given * 10**digits
        whole = math.ceil(scaled) if method == "ceil" else math.floor(scaled)
        return number(whole / 10**digits)
    except OverflowError as error:
        raise EvaluationError("'round': the number is too large for that precision") from error


def _sum(budget: Budget, value: Json, attribute: Json = None, start: Json = 0) -> Json:
    total = _number("sum", start)
    for item in items_of(budget, "sum", value):
        found = item if attribute is None else look_up(item, attribute, "sum")
        if isinstance(found, Undefined):
            raise EvaluationError(found.why)
        total = number(total + _number("sum", found))
    return total


# Lists and objects ---------------------------------------------------------------------------------------------------


def _length(_: Budget, value: Json) -> Json:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise EvaluationError(f"'length' needs text, a list or an object, not {kind(value)}")


def _first(budget: Budget, value: Json) -> Json | Undefined:
    if isinstance(value, dict):
        return next(iter(value), Undefined("'first': the object is empty"))
    items = value if isinstance(value, (list, str)) else items_of(budget, "first", value)
    return items[0] if items else Undefined("'first': there is no item")


def _last(budget: Budget, value: Json) -> Json | Undefined:
    if isinstance(value, dict):
        return next(reversed(value), Undefined("'last': the object is empty"))
    items = value if isinstance(value, (list, str)) else items_of(budget, "last", value)
    return items[-1] if items else Undefined("'last': there is no item")


def _list(budget: Budget, value: Json) -> Json:
    items = items_of(budget, "list", value)
    if items is value:
        budget.grow(len(items) * ITEM_BYTES)
    return [*items]


def _reverse(budget: Budget, value: Json) -> Json:
    if isinstance(value, str):
        budget.read(value)
        return budget.text_of(value[::-1])
    items = items_of(budget, "reverse", value)
    budget.grow(len(items) * ITEM_BYTES)
    return items[::-1]


def _sort(
    budget: Budget, value: Json, reverse: Json = False, case_sensitive: Json = False, attribute: Json = None
) -> Json:
    items = items_of(budget, "sort", value)
    budget.list_of(len(items))
    attributes: list[Json] = [*attribute.split(",")] if isinstance(attribute, str) else [attribute]
    keys = _keys_of(budget, items, [_key_of("sort", a, case_sensitive=case_sensitive) for a in attributes])
    return [items[i] for i in _ordered("sort", keys, reverse=reverse)]


def _dictsort(
    budget: Budget, value: Json, case_sensitive: Json = False, by: Json = "key", reverse: Json = False
) -> Json:
    if by not in ("key", "value"):
        raise EvaluationError("'dictsort' sorts by 'key' or by 'value'")
    pairs = _items(budget, value)
    position = 0 if by == "key" else 1
    keys = _keys_of(budget, pairs, [_key_of("dictsort", position, case_sensitive=case_sensitive)])
    return [pairs[i] for i in _ordered("dictsort", keys, reverse=reverse)]


def _items(budget: Budget, value: Json) -> list[Json]:
    budget.list_of(3 * len(_object("items", value)))
    return [[key, inner] for key, inner in _object("items", value).items()]


def _extreme(
    which: Literal["min", "max"], budget: Budget, value: Json, attribute: Json, *, case_sensitive: Json
) -> Json | Undefined:
    items = items_of(budget, which, value)
    if not items:
        return Undefined(f"'{which}': there is no item")
    best: Callable[[Json], Any] = _key_of(which, attribute, case_sensitive=case_sensitive)
    for item in items:
        if isinstance(item, (list, dict)):
            budget.visit(item)
    try:
        return (min if which == "min" else max)(items, key=best)
    except TypeError as error:
        raise EvaluationError(f"'{which}' cannot order values of different kinds") from error


def _min(budget: Budget, value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json | Undefined:
    return _extreme("min", budget, value, attribute, case_sensitive=case_sensitive)


def _max(budget: Budget, value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json | Undefined:
    return _extreme("max", budget, value, attribute, case_sensitive=case_sensitive)


def _frozen(value: Json) -> object:
    """Return something hashable that is equal where `value` is."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    return value


def _unique(budget: Budget, value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json:
    items = items_of(budget, "unique", value)
    budget.grow(len(items) * ITEM_BYTES)
    key = _key_of("unique", attribute, case_sensitive=case_sensitive)
    seen: set[object] = set()
    kept: list[Json] = []
    for item in items:
        found = key(item)
        budget.visit(found)
        frozen = _frozen(found)
        if frozen not in seen:
            seen.add(frozen)
            kept.append(item)
    return kept


def _groupby(budget: Budget, value: Json, attribute: Json, default: Json = None, case_sensitive: Json = False) -> Json:
    items = items_of(budget, "groupby", value)
    budget.list_of(4 * len(items))
    keys = _keys_of(budget, items, [_key_of("groupby", attribute, case_sensitive=case_sensitive, default=default)])
    shown_key = _key_of("groupby", attribute, case_sensitive=True, default=default)
    groups: list[Json] = []
    rows: list[Json] = []
    before: list[Json] | None = None
    for i in _ordered("groupby", keys, reverse=False):
        if keys[i] != before:
            before, rows = keys[i], []
            groups.append([shown_key(items[i]), rows])
        rows.append(items[i])
    return groups


def _batch(budget: Budget, value: Json, linecount: Json, fill_with: Json = None) -> Json:
    size = _integer("batch", linecount, 1, FUEL)
    items = items_of(budget, "batch", value)
    budget.list_of(len(items) + len(items) // size + 1)
    rows: list[Json] = []
    for start in range(0, len(items), size):
        row = items[start : start + size]
        if fill_with is not None:
            budget.list_of(size - len(row))
            row = row + [fill_with] * (size - len(row))
        rows.append(row)
    return rows


def _slice(budget: Budget, value: Json, slices: Json, fill_with: Json = None) -> Json:
    count = _integer("slice", slices, 1, FUEL)
    items = items_of(budget, "slice", value)
    budget.list_of(len(items) + 2 * count)
    short, longer = divmod(len(items), count)
    rows: list[Json] = []
    start = 0
    for i in range(count):
        end = start + short + (1 if i < longer else 0)
        rows.append([*items[start:end], *([fill_with] if fill_with is not None and i >= longer else [])])
        start = end
    return rows


def _merge(budget: Budget, value: Json, *others: Json) -> Json:
    made = dict(_object("merge", value))
    budget.list_of(len(made) + sum(len(_object("merge", other)) for other in others))
    for other in others:
        made.update(_object("merge", other))
    return made


def _range(budget: Budget, start: Json, stop: Json = None, step: Json = 1) -> Json:
    numbers = [_integer("range", n, INTEGER_MIN, INTEGER_MAX) for n in (start, stop if stop is not None else 0, step)]
    if numbers[2] == 0:
        raise EvaluationError("'range' needs a step that is not 0")
    made = range(numbers[0]) if stop is None else range(numbers[0], numbers[1], numbers[2])
    # A range too long for `len` is too long for any budget.
    budget.list_of(max(0, (made.stop - made.start + made.step - (1 if made.step > 0 else -1)) // made.step))
    return [*made]


# Formats -------------------------------------------------------------------------------------------------------------


def _tojson(budget: Budget, value: Json, indent: Json = None) -> Json:
    if is_larger(value, budget.size_bytes):
        budget.grow(budget.size_bytes + 1)
    if indent is None:
        return budget.text_of(to_text(value))
    width = _integer("tojson", indent, 0, 16)
    budget.visit(value)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=width, check_circular=False)
    return budget.text_of(text)


def _fromjson(budget: Budget, value: Json) -> Json:
    budget.grow(size_bytes(_text("fromjson", value)))
    try:
        return from_text(_text("fromjson", value))
    except ValueRefusedError as error:
        raise EvaluationError(f"'fromjson': {error}") from error


def _b64encode(budget: Budget, value: Json) -> Json:
    budget.grow((size_bytes(_text("b64encode", value)) + 2) // 3 * 4)
    return binascii.b2a_base64(_bytes("b64encode", value), newline=False).decode()


def _b64decode(budget: Budget, value: Json) -> Json:
    budget.grow(size_bytes(_text("b64decode", value)))
    try:
        return binascii.a2b_base64(_bytes("b64decode", value), strict_mode=True).decode()
    except binascii.Error as error:
        raise EvaluationError(f"'b64decode': the text is not Base64 ({str(error).lower()})") from error
    except UnicodeDecodeError as error:
        raise EvaluationError("'b64decode': what is encoded is not UTF-8 text") from error


def _sha256(budget: Budget, value: Json) -> Json:
    budget.read(_text("sha256", value))
    budget.grow(64)
    return hashlib.sha256(_bytes("sha256", value)).hexdigest()


_URL_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


def _percent_encoded(budget: Budget, value: Json, *, is_query: bool) -> str:
    budget.grow(3 * size_bytes(text := displayed(budget, value)))
    budget.spend(len(text) // 16)
    safe = _URL_SAFE if is_query else _URL_SAFE | {0x2F}
    made = "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in _bytes("urlencode", text))
    return made.replace("%20", "+") if is_query else made


def _urlencode(budget: Budget, value: Json) -> Json:
    if not isinstance(value, (list, dict)):
        return _percent_encoded(budget, value, is_query=False)
    pairs = _items(budget, value) if isinstance(value, dict) else items_of(budget, "urlencode", value)
    made: list[str] = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise EvaluationError("'urlencode' needs text, an object or a list of pairs")
        made.append("=".join(_percent_encoded(budget, part, is_query=True) for part in pair))
    return "&".join(made)


# Patterns ------------------------------------------------------------------------------------------------------------

PATTERN_CHARACTERS = 200
PATTERN_TEXT_CHARACTERS = 1_000
PATTERN_WAYS = 2_000_000
"""Ways to read a text that a pattern may have to try; a million of them take about a second at worst."""


def pattern_problem(pattern: str) -> str | None:
    """Say why a regular expression is refused, or None.

    Allowed is what a bounded time can decide: at most 200 characters, no repeat inside a repeat, no reference to a
    group. Also the rule for `pattern` in schemas (language.md 12, rule 53).
    """
    if len(pattern) > PATTERN_CHARACTERS:
        return f"the pattern has {len(pattern)} characters, {PATTERN_CHARACTERS} are allowed"
    try:
        _shape_of(pattern)
        re.compile(pattern)
    except _PatternRefusedError as error:
        return str(error)
    except (re.error, OverflowError, RecursionError) as error:
        return f"the pattern is no regular expression: {shown(str(error))}"
    return None


def match_problem(pattern: str, text: str, *, is_search: bool = False) -> str | None:
    """Say why looking for a pattern that is allowed could take too long in a text, or None.

    Args:
        pattern: one that :func:`pattern_problem` has nothing against.
        text: where to look.
        is_search: whether it may begin anywhere, as in schemas, and not only where the text does.
    """
    if len(text) > PATTERN_TEXT_CHARACTERS:
        return f"text of over {PATTERN_TEXT_CHARACTERS:,} characters is matched with no pattern"
    begins_first = pattern.startswith("^") and "|" not in pattern
    ways = len(text) + 1 if is_search and not begins_first else 1
    for lengths in _shape_of(pattern):
        ways *= min(lengths, len(text) + 1) if lengths else len(text) + 1
    if ways > PATTERN_WAYS:
        return f"{len(text)} characters are too many for a pattern with that many repeats (limit {PATTERN_WAYS:,} ways)"
    return None


class _PatternRefusedError(Exception):
    """A pattern that could take unbounded time; the message says why."""


_PATTERN_TOKEN = re.compile(
    r"\\(?P<escape>[\s\S])|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\]|\((?P<special>\?[^:)]?)?|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<repeat>\*|\+|\?|\{(?P<low>\d{0,4})(?P<comma>,?)(?P<high>\d{0,4})\})[?+]?|[\s\S]"
)


def _shape_of(pattern: str) -> list[int]:
    """Return the choices of a pattern: for each repeat how many lengths it may have (0: any), for each `|` two."""
    choices: list[int] = []
    open_groups: list[bool] = []  # for each open group: has it a repeat or an alternative inside?
    inner = False  # whether what stands just before is a group with a repeat or an alternative inside
    for token in _PATTERN_TOKEN.finditer(pattern):
        text = token.group()
        if text.startswith("(") and not token["escape"]:
            if token["special"] not in (None, "?"):
                raise _PatternRefusedError(f"'{shown(text)}' is not allowed in a pattern, only plain and '(?:' groups")
            open_groups.append(False)
        elif token["close"]:
            inner = open_groups.pop() if open_groups else False
            if inner and open_groups:
                open_groups[-1] = True
            continue
        elif token["bar"]:
            choices.append(2)
            open_groups[-1:] = [True] if open_groups else []
        elif token["repeat"] and (lengths := _lengths(token)) != 1:
            if inner and lengths != 2:
                raise _PatternRefusedError("a repeat inside a repeat is not allowed in a pattern")
            choices.append(lengths)
            open_groups[-1:] = [True] if open_groups else []
        elif token["escape"] and (token["escape"] in "123456789"):
            raise _PatternRefusedError("a reference to a group is not allowed in a pattern")
        inner = False
    return choices


def _lengths(token: re.Match[str]) -> int:
    """Return how many lengths a repeat may have; 0 means as many as the text has characters."""
    sign = token["repeat"][0]
    if sign != "{":
        return 2 if sign == "?" else 0
    if not token["low"] and not token["high"]:
        return 0 if token["comma"] else 1  # `{}` is text
    if not token["comma"]:
        # `(a|b){20}` tries 2**20 ways, so an exact repeat of what has a choice counts like an open one.
        return max(1, int(token["low"]))
    return int(token["high"]) - int(token["low"] or 0) + 1 if token["high"] else 0


def _regex_match(budget: Budget, value: Json, pattern: Json) -> Json:
    text, pattern = _text("regex_match", value), _text("regex_match", pattern)
    budget.read(text)
    if problem := pattern_problem(pattern):
        raise EvaluationError(f"'regex_match': {problem}")
    if problem := match_problem(pattern, text):
        raise EvaluationError(f"'regex_match': {problem}")
    return re.match(pattern, text) is not None


# Time ----------------------------------------------------------------------------------------------------------------

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(?P<count>\d{1,15}(?:\.\d{1,9})?)(?P<unit>[smhd]?)", re.ASCII)
_ISO_DURATION = re.compile(
    r"P(?=.)(?:(?P<w>\d{1,9})W|(?:(?P<d>\d{1,9}(?:\.\d{1,9})?)D)?"
    r"(?:T(?=.)(?:(?P<h>\d{1,9}(?:\.\d{1,9})?)H)?(?:(?P<m>\d{1,9}(?:\.\d{1,9})?)M)?(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)S)?)?)",
    re.ASCII,
)
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:[Tt ](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<fraction>\d{1,9}))?"
    r"\s?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> float:
    """Return a duration in seconds: `30s`, `15m`, `36h`, `2d`, `1.5h`, ISO 8601 such as `PT1H30M` or `P2D`, or `30`.

    Years and months have no fixed length and are refused. The number is not negative.

    Raises:
        EvaluationError: the text is no duration.
    """
    if match := _DURATION.fullmatch(text):
        return float(match["count"]) * _UNIT_SECONDS[match["unit"] or "s"]
    if match := _ISO_DURATION.fullmatch(text):
        parts = match.groupdict(default="0")
        return float(parts["w"]) * 7 * 86_400 + sum(float(parts[u]) * s for u, s in _UNIT_SECONDS.items())
    raise EvaluationError(f"'{shown(text)}' is no duration; write 30s, 15m, 36h, 2d or ISO 8601 such as PT1H30M")


def parse_time(text: str) -> float:
    """Return a time as seconds since 1970 UTC, exact to the millisecond; without a zone it is UTC (rule 26).

    Raises:
        EvaluationError: the text is no ISO 8601 date or time.
    """
    refused = EvaluationError(f"'{shown(text)}' is no time; write it as 2026-01-01T00:00:00Z")
    if not (match := _TIME.fullmatch(text)):
        raise refused
    zone = "+00:00" if match["zone"] in (None, "Z", "z") else match["zone"]
    zone = zone if len(zone) != 3 else zone + ":00"
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00'}{zone}")
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise refused from None
    return seconds + round(int((match["fraction"] or "0").ljust(9, "0")) / 1e6) / 1000


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as text in UTC with milliseconds: `2026-01-01T00:00:00.000Z` (rule 26).

    Raises:
        EvaluationError: outside the years 1 to 9999.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (OverflowError, ValueError) as error:
        raise EvaluationError("a time must lie in the years 1 to 9999") from error
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _exact(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds


def _duration(_: Budget, value: Json) -> Json:
    if isinstance(value, str):
        return _exact(parse_duration(value))
    return _number("duration", value)


def _to_datetime(_: Budget, value: Json) -> Json:
    if isinstance(value, str):
        return _exact(parse_time(value))
    return _number("to_datetime", value)


def _isoformat(budget: Budget, value: Json) -> Json:
    seconds = parse_time(value) if isinstance(value, str) else _number("isoformat", value)
    return budget.text_of(format_time(seconds))


# Tests ---------------------------------------------------------------------------------------------------------------


def compare(budget: Budget, name: str, left: Json, right: Json) -> bool:
    """Return what one comparison operator says: eq, ne, lt, le, gt, ge, in or notin."""
    if isinstance(left, (list, dict)):
        budget.visit(left)
    try:
        return bool(_COMPARISONS[name](budget, left, right))
    except TypeError as error:
        raise EvaluationError(f"cannot compare {kind(left)} and {kind(right)}") from error


def _contains(budget: Budget, left: Json, right: Json) -> bool:
    if isinstance(right, str):
        if not isinstance(left, str):
            raise EvaluationError(f"cannot look for {kind(left)} in text")
        budget.read(right)
        return left in right
    if isinstance(right, dict) and not isinstance(left, (list, dict)):
        return isinstance(left, str) and left in right
    if not isinstance(right, list):
        raise EvaluationError(f"cannot look for {kind(left)} in {kind(right)}")
    budget.spend(len(right))
    if isinstance(left, (list, dict)):
        budget.visit(right)
    return left in right


_COMPARISONS: dict[str, Callable[[Budget, Any, Any], bool]] = {
    "eq": lambda _, left, right: left == right,
    "ne": lambda _, left, right: left != right,
    "lt": lambda _, left, right: left < right,
    "le": lambda _, left, right: left <= right,
    "gt": lambda _, left, right: left > right,
    "ge": lambda _, left, right: left >= right,
    "in": _contains,
    "notin": lambda budget, left, right: not _contains(budget, left, right),
}


def _is_divisible(_: Budget, value: Json, num: Json) -> bool:
    by = _number("divisibleby", num)
    if by == 0:
        raise EvaluationError("'divisibleby' cannot divide by 0")
    return _number("divisibleby", value) % by == 0


def _is_even(_: Budget, value: Json) -> bool:
    return _number("even", value) % 2 == 0


def _is_odd(_: Budget, value: Json) -> bool:
    return _number("odd", value) % 2 == 1


def _comparing(name: str) -> Function:
    def test(budget: Budget, value: Json, other: Json) -> bool:
        return compare(budget, name, value, other)

    return test


def _is_in(budget: Budget, value: Json, seq: Json) -> bool:
    return compare(budget, "in", value, seq)


def _having(holds: Callable[[Json], bool]) -> Function:
    def test(budget: Budget, value: Json) -> bool:
        if isinstance(value, str):
            budget.read(value)
        return holds(value)

    return test


def _default(_: Budget, value: Json, default_value: Json = "", boolean: Json = False) -> Json:
    # Here the value is defined; where it may not be, the evaluator decides (expressions.py).
    return default_value if boolean and not value else value


FILTERS: dict[str, Function] = {
    "abs": _abs,
    "b64decode": _b64decode,
    "b64encode": _b64encode,
    "batch": _batch,
    "capitalize": _capitalize,
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "duration": _duration,
    "first": _first,
    "float": _float,
    "fromjson": _fromjson,
    "groupby": _groupby,
    "indent": _indent,
    "int": _int,
    "isoformat": _isoformat,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _list,
    "lower": _lower,
    "max": _max,
    "merge": _merge,
    "min": _min,
    "regex_match": _regex_match,
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "sha256": _sha256,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "string": _string,
    "sum": _sum,
    "title": _title,
    "to_datetime": _to_datetime,
    "tojson": _tojson,
    "trim": _trim,
    "truncate": _truncate,
    "unique": _unique,
    "upper": _upper,
    "urlencode": _urlencode,
    "wordcount": _wordcount,
}
"""Every filter that takes a value as it is; `map`, `select` and their like are trees of their own."""

TESTS: dict[str, Function] = {
    "boolean": _having(lambda value: isinstance(value, bool)),
    "divisibleby": _is_divisible,
    "eq": _comparing("eq"),
    "equalto": _comparing("eq"),
    "even": _is_even,
    "false": _having(lambda value: value is False),
    "float": _having(lambda value: isinstance(value, float)),
    "ge": _comparing("ge"),
    "greaterthan": _comparing("gt"),
    "gt": _comparing("gt"),
    "in": _is_in,
    "integer": _having(lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "iterable": _having(lambda value: isinstance(value, (str, list, dict))),
    "le": _comparing("le"),
    "lessthan": _comparing("lt"),
    "lower": _having(lambda value: _text("lower", value).islower()),
    "lt": _comparing("lt"),
    "mapping": _having(lambda value: isinstance(value, dict)),
    "ne": _comparing("ne"),
    "none": _having(lambda value: value is None),
    "number": _having(lambda value: isinstance(value, (int, float))),
    "odd": _is_odd,
    "regex_match": _regex_match,
    "sequence": _having(lambda value: isinstance(value, (str, list, dict))),
    "string": _having(lambda value: isinstance(value, str)),
    "true": _having(lambda value: value is True),
    "upper": _having(lambda value: _text("upper", value).isupper()),
}
"""Every test that takes a value. `defined` and `undefined` are trees of their own."""

FUNCTIONS: dict[str, Function] = {"range": _range}
"""Functions of the language itself; `load` and `secret` are given by the caller."""
