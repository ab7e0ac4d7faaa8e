"""What does `{{ … }}` mean? Trees, the closures made of them, and the program that evaluates one within its budget.

The author's side (templates.py) turns text into a *tree*, which is stored in the Plan; this side turns a tree into
Python closures on first use and evaluates it over plain JSON. It knows nothing of Jinja2's parser, of YAML, or of what
a state is: data comes in through `lookup(name)`, and what an expression costs goes off a :class:`Budget`. Counted,
never timed, so that a limit trips at the same place on every replay.

A tree is plain JSON: a list that begins with a word. T, U are trees, T? is a tree or null, [T] a list of trees.

    ["const", value]                      the value
    ["name", root]                        `input`, `states`, …: asked of `lookup`
    ["local", name, T?]                   a variable of a text; while it is not set, T
    ["attr", T, key]                      T.key, T['key'], T[0], known when the file was read
    ["item", T, U]                        T[U]
    ["slice", T, start?, stop?, step?]    T[start:stop:step]
    ["array", [T]]  ["object", [key], [T]]  ["dict", [T]]       dict: key, value, key, value, …
    ["text", [T]]                         the parts of a text; in it may stand for, choose and set
    ["join", [T]]                         T ~ U ~ …
    ["neg", T] ["pos", T] ["not", T]      ["and", [T]] ["or", [T]]
    ["add", T, U] sub mul div floordiv mod pow
    ["compare", T, [operator], [T]]       eq ne lt le gt ge in notin, chained as in Python
    ["if", condition, T, T?]              T if condition else U
    ["filter", name, T, [T]]  ["test", name, T, [T]]  ["call", name, [T]]       arguments by position
    ["map", T, name, [T]]                 a filter for each item
    ["pluck", T, attribute, T?]           an attribute of each item, and what stands for a missing one
    ["select", T, attribute or null, test or null, [T], kept]   the items for which the test is `kept`
    ["for", target, T, T?, [T], [T]]      in a text: over T, if, body, else; target is a name or a list of targets
    ["choose", condition, [T], [T]]       in a text: if, else
    ["set", target, T]                    in a text

Within a budget, the nodes of a tree are paid for when its evaluation begins, those of a loop's body at every turn, and
what filters do for each item they look at. An operation that could make something large computes the size first.

Source: language.md section 3; section 12, rules 1, 2, 5, 6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeAlias, cast

from durableflow.library import (
    FILTERS,
    FUNCTIONS,
    ITEM_BYTES,
    TESTS,
    Budget,
    EvaluationError,
    Undefined,
    compare,
    displayed,
    items_of,
    kind,
    look_up,
    number,
    step_into,
    to_display,
)
from durableflow.source import shown
from durableflow.values import Json, size_bytes, to_text

__all__ = [
    "Budget",
    "EvaluationError",
    "Lookup",
    "Program",
    "Tree",
    "Undefined",
    "View",
    "replace_calls",
    "to_display",
]

Tree: TypeAlias = Json
Lookup: TypeAlias = Callable[[str], Any]


class View:
    """Run-time data that is decoded only where it is read: `states`, the record of a state, `context`."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """Return the value, View or Undefined under a key, which is text or an integer."""
        raise NotImplementedError

    def to_json(self) -> Json:
        """Return everything in it, for where the whole is used as a value."""
        raise NotImplementedError


_Frame: TypeAlias = tuple[Lookup, Budget, dict[str, Any]]
"""What one evaluation works on: the data, the budget, the variables of a text. A tuple, since one is made for each."""

_Run: TypeAlias = Callable[[_Frame], Any]

_NO_VARIABLES: dict[str, Any] = {}
"""The variables that an evaluation begins with; never changed, since each text sets its own in a copy."""


class Program:
    """One compiled template or expression.

    Args:
        tree: what templates.py made of the author's text; never changed. Closures are made on first use.
    """

    __slots__ = ("_cost", "_references", "_run", "constant", "is_constant", "tree")

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        word, *rest = cast("list[Json]", tree)
        self.is_constant = word == "const"
        self.constant: Json = rest[0] if self.is_constant else None
        self._run: _Run | None = None
        self._cost = 0
        self._references: tuple[tuple[str | int, ...], ...] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.tree == other.tree

    def __hash__(self) -> int:
        return hash(to_text(self.tree))

    def __repr__(self) -> str:
        return f"Program({self.tree!r})"

    @property
    def references(self) -> tuple[tuple[str | int, ...], ...]:
        """Every path into the data that may be read, root first, such as `("states", "x", "result", "id")`.

        A dynamic subscript ends its path; variables of a text are no paths.
        """
        if self._references is None:
            found: dict[tuple[str | int, ...], None] = {}
            _collect_paths(self.tree, found)
            self._references = tuple(found)
        return self._references

    @property
    def reads_time(self) -> bool:
        """Whether `context.now` or when a state started or ended may be read, also as part of a whole."""
        return any(_is_time(path) for path in self.references)

    def evaluate(self, lookup: Lookup, budget: Budget) -> Json:
        """Return the value.

        Args:
            lookup: gives what stands behind a root name: a JSON value, a View or Undefined. For `load` and `secret`
                it gives a callable that takes the arguments.
            budget: of the state; what this evaluation uses is taken off it.

        Raises:
            EvaluationError: undefined data, operands of a wrong type, or a limit.
        """
        run = self._run or self._compile()
        fuel = budget.fuel = budget.fuel - self._cost
        if fuel < 0:
            budget.spend(0)
        made: Json = run((lookup, budget, _NO_VARIABLES))
        return made

    def is_true(self, lookup: Lookup, budget: Budget) -> bool:
        """Return the truth of the value: false, null, 0 and what is empty are false, as in Jinja2."""
        # Not by way of `evaluate`: a replay comes past a condition for each state, and calls are what it costs.
        run = self._run or self._compile()
        fuel = budget.fuel = budget.fuel - self._cost
        if fuel < 0:
            budget.spend(0)
        return bool(run((lookup, budget, _NO_VARIABLES)))

    def _compile(self) -> _Run:
        self._cost = 0 if self.is_constant else _cost(self.tree)
        self._run = run = _kept(self.tree)
        return run


# Walking trees -------------------------------------------------------------------------------------------------------

_SHAPES: dict[str, str] = {
    "const": "-",
    "name": "-",
    "local": "-T",
    "attr": "T-",
    "item": "TT",
    "slice": "TTTT",
    "array": "L",
    "object": "-L",
    "dict": "L",
    "text": "L",
    "join": "L",
    "neg": "T",
    "pos": "T",
    "not": "T",
    "and": "L",
    "or": "L",
    **dict.fromkeys(("add", "sub", "mul", "div", "floordiv", "mod", "pow"), "TT"),
    "compare": "T-L",
    "if": "TTT",
    "filter": "-TL",
    "test": "-TL",
    "call": "-L",
    "map": "T-L",
    "pluck": "T-T",
    "select": "T--L-",
    "for": "-TTLL",
    "choose": "TLL",
    "set": "-T",
}
"""What follows the word of a node: T a tree or null, L a list of trees, - something else."""


def _with_children(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return the node with `change` applied to each tree directly in it."""
    word, *rest = cast("list[Any]", tree)
    made: list[Json] = [word]
    for sort, part in zip(_SHAPES[word], rest, strict=True):
        if sort == "L":
            made.append([change(inner) for inner in part])
        elif sort == "T" and part is not None:
            made.append(change(part))
        else:
            made.append(part)
    return made


def _children(tree: Tree) -> list[Tree]:
    word, *rest = cast("list[Any]", tree)
    found: list[Tree] = []
    for sort, part in zip(_SHAPES[word], rest, strict=True):
        if sort == "L":
            found.extend(part)
        elif sort == "T" and part is not None:
            found.append(part)
    return found


def replace_calls(tree: Tree, name: str, function: Callable[[list[Tree]], Tree]) -> Tree:
    """Return `tree` with each call of `name` replaced by what `function` makes of its argument trees."""
    word, *rest = cast("list[Any]", tree)
    if word == "call" and rest[0] == name:
        return function(rest[1])
    return _with_children(tree, lambda child: replace_calls(child, name, function))


def _cost(tree: Tree) -> int:
    """Return the number of nodes that are visited once; a loop pays for its body at every turn."""
    if cast("list[Any]", tree)[0] == "for":
        return 1 + _cost(cast("list[Any]", tree)[2])
    return 1 + sum(map(_cost, _children(tree)))


def _collect_paths(tree: Tree, found: dict[tuple[str | int, ...], None]) -> None:
    path: list[str | int] = []
    base = cast("list[Any]", tree)
    while base[0] == "attr":
        path.append(base[2])
        base = base[1]
    if base[0] == "name":
        found[(base[1], *reversed(path))] = None
    elif base[0] == "local" and base[2] is not None:
        _collect_paths(base[2], found)
    else:
        for child in _children(base):
            _collect_paths(child, found)


def _is_time(path: tuple[str | int, ...]) -> bool:
    match path:
        case ("context",) | ("context", "now", *_):
            return True
        case ("states",) | ("states", _) | ("states", _, "started_at" | "ended_at", *_):
            return True
        case _:
            return False


def _spelled(tree: Tree) -> str:
    """Return how an author may have written a tree, for messages."""
    match cast("list[Any]", tree):
        case ["name" | "local", name, *_]:
            return shown(name)
        case ["attr", base, str(key)] if key.isidentifier():
            return f"{_spelled(base)}.{shown(key)}"
        case ["attr", base, key]:
            return f"{_spelled(base)}[{shown(repr(key))}]"
        case ["item", base, _]:
            return f"{_spelled(base)}[…]"
        case ["filter", name, base, _]:
            return f"{_spelled(base)} | {name}"
        case _:
            return "the value"


# Making closures -----------------------------------------------------------------------------------------------------
#
# `_raw` gives a closure whose result may be a View or Undefined, `_value` one whose result is JSON. Only the nodes in
# _UNSETTLED can give anything but JSON, so only they pay for the check.

_UNSETTLED = frozenset({"name", "local", "attr", "item", "if", "filter", "call"})
_PASSING = frozenset({"const", "name", "local", "not", "compare", "test"})
_PLAIN = frozenset({str, int, float, bool, type(None), list, dict})


def _settled(found: Any) -> Json:
    if isinstance(found, Undefined):
        raise EvaluationError(found.why)
    if isinstance(found, View):
        return found.to_json()
    made: Json = found
    return made


def _is_passing(tree: Tree) -> bool:
    """Say whether a tree gives what is there already, or a truth value, and makes nothing that must be weighed."""
    word, *rest = cast("list[Any]", tree)
    return word in _PASSING or (word in {"attr", "item"} and _is_passing(rest[0]))


def _kept(tree: Tree) -> _Run:
    """Return the closure for a value that gets a name or leaves the evaluator: what is newly made is weighed."""
    run = _value(tree)
    if _is_passing(tree):
        return run

    def kept(frame: _Frame) -> Any:
        made: Json = run(frame)
        if isinstance(made, (list, dict)):
            frame[1].weigh(made)
        return made

    return kept


def _value(tree: Tree) -> _Run:
    word = cast("list[Any]", tree)[0]
    if word == "attr":
        return _path(tree, is_settled=True)
    run = _raw(tree)
    if word not in _UNSETTLED:
        return run

    def value(frame: _Frame) -> Any:
        found = run(frame)
        return found if found.__class__ in _PLAIN else _settled(found)

    return value


def _values(trees: list[Tree]) -> list[_Run]:
    return [_value(tree) for tree in trees]


def _raw(tree: Tree) -> _Run:
    word, *rest = cast("list[Any]", tree)
    return _MAKERS[word](*rest)


def _const(value: Json) -> _Run:
    return lambda _: value


def _name(name: str) -> _Run:
    return lambda frame: frame[0](name)


def _local(name: str, otherwise: Tree | None) -> _Run:
    instead: _Run = _raw(otherwise) if otherwise else lambda _: Undefined(f"'{shown(name)}' is not set")

    def local(frame: _Frame) -> Any:
        names = frame[2]
        return names[name] if name in names else instead(frame)

    return local


def _into(found: Any, key: str | int, base: Tree) -> Any:
    """Take one step of a path, where it is not simply a key in an object."""
    if isinstance(found, View):
        return found[key]
    if isinstance(found, Undefined):
        raise EvaluationError(found.why)
    return step_into(found, key, lambda: _spelled(base))


def _attr(base: Tree, key: str | int) -> _Run:
    return _path(["attr", base, key], is_settled=False)


def _path(tree: Tree, *, is_settled: bool) -> _Run:
    """Walk a whole path in one closure: conditions read little else, so its calls are most of their price."""
    if _is_data_path(tree):
        return _data_path(tree, is_settled=is_settled)
    steps: list[tuple[str | int, Tree]] = []
    base = tree
    while cast("list[Any]", base)[0] == "attr":
        _, base, key = cast("list[Any]", base)
        steps.append((key, base))
    steps.reverse()
    run = _raw(base)

    def path(frame: _Frame) -> Any:
        found: Any = run(frame)
        for key, base in steps:
            found = found[key] if found.__class__ is dict and key in found else _into(found, key, base)
        return _settled(found) if is_settled else found

    return path


def _data_path(tree: Tree, *, is_settled: bool) -> _Run:
    """Read the data by plain subscripts; where one fails, the way is gone again step by step to say what is missing."""
    root, first, rest = _way(tree)

    def path(frame: _Frame) -> Any:
        try:
            found = frame[0](root)[first]
            for key in rest:
                found = found[key]
        except (LookupError, TypeError):
            found = _walked(frame, tree)
        return found if found.__class__ in _PLAIN or not is_settled else _settled(found)

    return path


def _is_data_path(tree: Tree) -> bool:
    is_path = False
    while cast("list[Any]", tree)[0] == "attr":
        tree, is_path = cast("list[Any]", tree)[1], True
    return is_path and cast("list[Any]", tree)[0] == "name"


def _way(tree: Tree) -> tuple[str, str | int, tuple[str | int, ...]]:
    """Return the root of a path into the data, its first key and the others."""
    keys: list[str | int] = []
    while cast("list[Any]", tree)[0] == "attr":
        _, tree, key = cast("list[Any]", tree)
        keys.append(key)
    first, *rest = reversed(keys)
    return _shared(cast("list[Any]", tree)[1]), first, tuple(map(_shared, rest))


@lru_cache(maxsize=1024)
def _shared(key: Any) -> Any:
    """Return one object for all equal keys: of thousands of paths a replay then fetches less from memory."""
    return key


def _walked(frame: _Frame, tree: Tree) -> Any:
    """Walk a path into the data, looking at each step."""
    word, *rest = cast("list[Any]", tree)
    if word == "name":
        return frame[0](rest[0])
    base, key = rest
    return _into(_walked(frame, base), key, base)


def _item(base: Tree, key: Tree) -> _Run:
    run, key_run = _raw(base), _value(key)

    def item(frame: _Frame) -> Any:
        found = run(frame)
        wanted = key_run(frame)
        if wanted.__class__ is not str and wanted.__class__ is not int:
            raise EvaluationError(f"{_spelled(base)} is read by a key that is {kind(wanted)}, not text or an integer")
        return _into(found, wanted, base)

    return item


def _slice(base: Tree, start: Tree | None, stop: Tree | None, step: Tree | None) -> _Run:
    run = _value(base)
    bounds = [None if tree is None else _value(tree) for tree in (start, stop, step)]

    def sliced(frame: _Frame) -> Any:
        found = run(frame)
        if not isinstance(found, (list, str)):
            raise EvaluationError(f"{_spelled(base)} is {kind(found)}; only lists and text can be cut")
        ends = [None if bound is None else bound(frame) for bound in bounds]
        if any(end.__class__ is not int and end is not None for end in ends) or ends[2] == 0:
            raise EvaluationError("where a list is cut must be an integer, and the step not 0")
        cut = slice(*ends)
        if isinstance(found, str):
            return frame[1].text_of(found[cut])
        items = cast("list[Json]", found)
        frame[1].list_of(len(range(*cut.indices(len(items)))))
        return items[cut]

    return sliced


def _array(trees: list[Tree]) -> _Run:
    runs, size = _values(trees), ITEM_BYTES * len(trees)

    def array(frame: _Frame) -> Any:
        frame[1].grow(size)
        return [run(frame) for run in runs]

    return array


def _object(keys: list[str], trees: list[Tree]) -> _Run:
    pairs = list(zip(keys, _values(trees), strict=True))
    size = sum(map(size_bytes, keys)) + ITEM_BYTES * len(keys)

    def made(frame: _Frame) -> Any:
        frame[1].grow(size)
        return {key: run(frame) for key, run in pairs}

    return made


def _dict(trees: list[Tree]) -> _Run:
    runs = _values(trees)
    pairs = list(zip(runs[::2], runs[1::2], strict=True))

    def made(frame: _Frame) -> Any:
        result: dict[str, Json] = {}
        frame[1].grow(ITEM_BYTES * len(pairs))
        for key_run, run in pairs:
            key = key_run(frame)
            if not isinstance(key, str):
                raise EvaluationError(f"a key of an object must be text, not {kind(key)}")
            result[key] = run(frame)
        return result

    return made


def _join(trees: list[Tree]) -> _Run:
    runs = _values(trees)

    def join(frame: _Frame) -> Any:
        budget = frame[1]
        return "".join([budget.text_of(displayed(budget, run(frame))) for run in runs])

    return join


def _not(tree: Tree) -> _Run:
    run = _value(tree)
    return lambda frame: not run(frame)


def _and(trees: list[Tree]) -> _Run:
    *runs, last = _values(trees)

    def conjunction(frame: _Frame) -> Any:
        for run in runs:
            found = run(frame)
            if not found:
                return found
        return last(frame)

    return conjunction


def _or(trees: list[Tree]) -> _Run:
    *runs, last = _values(trees)

    def disjunction(frame: _Frame) -> Any:
        for run in runs:
            found = run(frame)
            if found:
                return found
        return last(frame)

    return disjunction


def _if(condition: Tree, then: Tree, otherwise: Tree | None) -> _Run:
    test, run = _value(condition), _raw(then)
    instead: _Run = (
        _raw(otherwise)
        if otherwise is not None
        else lambda _: Undefined("a condition is false, and there is no 'else'")
    )
    return lambda frame: run(frame) if test(frame) else instead(frame)


# Operators -----------------------------------------------------------------------------------------------------------

_NUMBERS = (int, float)


def _add(budget: Budget, left: Json, right: Json) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        budget.grow(size_bytes(left) + size_bytes(right))
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        budget.list_of(len(left) + len(right))
        return [*left, *right]
    return number(left + right) if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) else NotImplemented


def _power(_: Budget, left: Any, right: Any) -> Any:
    if not (isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)):
        return NotImplemented
    # The size is known before the work is done: an integer result has at most this many bits.
    if isinstance(left, int) and isinstance(right, int) and right > 0 and (left.bit_length() - 1) * right > 64:
        raise EvaluationError("the result is an integer outside -2^63 to 2^64-1")
    result = left**right
    return number(result)


def _numeric(calculate: Callable[[Any, Any], Any]) -> Callable[[Budget, Any, Any], Any]:
    def operate(_: Budget, left: Any, right: Any) -> Any:
        if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
            return number(calculate(left, right))
        return NotImplemented

    return operate


_OPERATORS: dict[str, tuple[str, Callable[[Budget, Any, Any], Any]]] = {
    "add": ("add {} and {}; text is joined with '~'", _add),
    "sub": ("subtract {1} from {0}", _numeric(lambda left, right: left - right)),
    "mul": ("multiply {} and {}", _numeric(lambda left, right: left * right)),
    "div": ("divide {} by {}", _numeric(lambda left, right: left / right)),
    "floordiv": ("divide {} by {}", _numeric(lambda left, right: left // right)),
    "mod": ("take the remainder of {} and {}", _numeric(lambda left, right: left % right)),
    "pow": ("raise {} to the power of {}", _power),
}


def _binary(word: str) -> Callable[[Tree, Tree], _Run]:
    phrase, operate = _OPERATORS[word]

    def make(left: Tree, right: Tree) -> _Run:
        left_run, right_run = _value(left), _value(right)

        def binary(frame: _Frame) -> Any:
            first, second = left_run(frame), right_run(frame)
            try:
                made = operate(frame[1], first, second)
            except ZeroDivisionError as error:
                raise EvaluationError(f"division by zero: {_spelled(right)} is 0") from error
            except OverflowError as error:
                raise EvaluationError("the result is too large for a number") from error
            if made is NotImplemented:
                raise EvaluationError(f"cannot {phrase.format(kind(first), kind(second))}{_sides(left, right)}")
            return made

        return binary

    return make


def _sides(*trees: Tree) -> str:
    """Name the operands that have a name."""
    names = [name for name in map(_spelled, trees) if name != "the value"]
    return f" (in {' and '.join(names)})" if names else ""


def _sign(word: str) -> Callable[[Tree], _Run]:
    def make(tree: Tree) -> _Run:
        run = _value(tree)

        def sign(frame: _Frame) -> Any:
            found = run(frame)
            if not isinstance(found, _NUMBERS):
                raise EvaluationError(f"cannot put a sign before {kind(found)}{_sides(tree)}")
            return number(-found if word == "neg" else +found)

        return sign

    return make


_QUICK: dict[str, Callable[[Any, Any], bool]] = {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge}
_SCALARS = frozenset({str, int, float, bool})
"""What two values of the same type are compared in as Python does; null has an order with nothing."""


def _compare(first: Tree, operators: list[str], others: list[Tree]) -> _Run:
    if len(others) == 1 and operators[0] in _QUICK:
        return _compare_two(first, operators[0], others[0])
    left_run, runs = _value(first), _values(others)
    steps = list(zip(operators, runs, others, strict=True))

    def chained(frame: _Frame) -> Any:
        left, left_tree = left_run(frame), first
        for operator, run, tree in steps:
            right = run(frame)
            if not _compared(frame[1], operator, left, right, (left_tree, tree)):
                return False
            left, left_tree = right, tree
        return True

    return chained


def _compare_two(first: Tree, operator: str, second: Tree) -> _Run:
    word, constant = cast("list[Any]", second)[:2]
    if word == "const" and constant.__class__ in _SCALARS and _is_data_path(first):
        return _compare_data(first, operator, second)
    left_run, right_run, quick, sides = _value(first), _value(second), _QUICK[operator], (first, second)

    def compared(frame: _Frame) -> Any:
        left, right = left_run(frame), right_run(frame)
        if left.__class__ is right.__class__ and left.__class__ in _SCALARS:
            return quick(left, right)
        return _compared(frame[1], operator, left, right, sides)

    return compared


def _compare_data(path: Tree, operator: str, constant: Tree) -> _Run:
    """Compare a path into the data with a text, number or truth value, in one closure: most conditions do no more."""
    sides = (path, constant)
    right = cast("list[Any]", constant)[1]
    # One tuple, since each name of its own would be an object more to fetch.
    parts = (*_way(path), right.__class__, _QUICK[operator], right)

    def compared(frame: _Frame) -> Any:
        root, first, rest, sort, quick, right = parts
        try:
            found = frame[0](root)[first]
            for key in rest:
                found = found[key]
        except (LookupError, TypeError):
            found = _walked(frame, path)
        if found.__class__ is sort:
            return quick(found, right)
        return _compared(frame[1], operator, _settled(found), right, sides)

    return compared


def _compared(budget: Budget, operator: str, left: Json, right: Json, sides: tuple[Tree, Tree]) -> bool:
    try:
        return compare(budget, operator, left, right)
    except EvaluationError as error:
        raise EvaluationError(f"{error.message}{_sides(*sides)}") from error


# Filters, tests, functions -------------------------------------------------------------------------------------------


def _filter(name: str, subject: Tree, arguments: list[Tree]) -> _Run:
    if name in {"default", "d"}:
        return _default(subject, *arguments)
    function, run, runs = FILTERS[name], _value(subject), _values(arguments)
    if not runs:
        return lambda frame: function(frame[1], run(frame))
    return lambda frame: function(frame[1], run(frame), *[argument(frame) for argument in runs])


def _default(subject: Tree, instead: Tree = None, even_if_false: Tree = None) -> _Run:
    run, other = _raw(subject), _raw(instead or ["const", ""])
    loose = _value(even_if_false or ["const", False])

    def default(frame: _Frame) -> Any:
        found = run(frame)
        if isinstance(found, Undefined) or (loose(frame) and not _settled(found)):
            return other(frame)
        return found

    return default


def _test(name: str, subject: Tree, arguments: list[Tree]) -> _Run:
    if name in {"defined", "undefined"}:
        raw, wanted = _raw(subject), name == "undefined"
        return lambda frame: isinstance(raw(frame), Undefined) is wanted
    function, run, runs = TESTS[name], _value(subject), _values(arguments)
    return lambda frame: function(frame[1], run(frame), *[argument(frame) for argument in runs])


def _call(name: str, arguments: list[Tree]) -> _Run:
    runs = _values(arguments)
    if name in FUNCTIONS:
        function = FUNCTIONS[name]
        return lambda frame: function(frame[1], *[argument(frame) for argument in runs])

    def call(frame: _Frame) -> Any:
        given = frame[0](name)
        if not callable(given):
            raise EvaluationError(f"'{shown(name)}()' cannot be used here")
        return given(*[argument(frame) for argument in runs])

    return call


def _map(subject: Tree, name: str, arguments: list[Tree]) -> _Run:
    function, run, runs = FILTERS[name], _value(subject), _values(arguments)

    def mapped(frame: _Frame) -> Any:
        budget = frame[1]
        items = items_of(budget, "map", run(frame))
        budget.grow(len(items) * ITEM_BYTES)
        given = [argument(frame) for argument in runs]
        return [_settled(function(budget, item, *given)) for item in items]

    return mapped


def _pluck(subject: Tree, attribute: Json, instead: Tree | None) -> _Run:
    run = _value(subject)
    other = None if instead is None else _value(instead)

    def plucked(frame: _Frame) -> Any:
        budget = frame[1]
        items = items_of(budget, "map", run(frame))
        budget.grow(len(items) * ITEM_BYTES)
        found = [look_up(item, attribute, "map") for item in items]
        if other is None:
            return [_settled(value) for value in found]
        default = other(frame)
        return [default if isinstance(value, Undefined) else value for value in found]

    return plucked


def _select(subject: Tree, attribute: Json, test: str | None, arguments: list[Tree], kept: bool) -> _Run:
    run, runs = _value(subject), _values(arguments)

    def selected(frame: _Frame) -> Any:
        budget = frame[1]
        items = items_of(budget, "select", run(frame))
        budget.grow(len(items) * ITEM_BYTES)
        given = [argument(frame) for argument in runs]
        return [item for item in items if holds(budget, item, given) is kept]

    def holds(budget: Budget, item: Json, given: list[Any]) -> bool:
        found = item if attribute is None else look_up(item, attribute, "selectattr")
        if test in {"defined", "undefined"}:
            return isinstance(found, Undefined) is (test == "undefined")
        value = _settled(found)
        return bool(value) if test is None else bool(TESTS[test](budget, value, *given))

    return selected


# Text ----------------------------------------------------------------------------------------------------------------


class _Loop(View):
    """`loop` in a `for` of a text."""

    __slots__ = ("_items", "index0")

    def __init__(self, items: list[Json]) -> None:
        self._items = items
        self.index0 = 0

    def __getitem__(self, key: str | int) -> object:
        position, items = self.index0, self._items
        match key:
            case "previtem":
                return items[position - 1] if position else Undefined("the first turn of a loop has no previtem")
            case "nextitem":
                is_last = position + 1 == len(items)
                return Undefined("the last turn of a loop has no nextitem") if is_last else items[position + 1]
            case _:
                numbers = self.to_json()
                return step_into(numbers, key, lambda: "loop")

    def to_json(self) -> Json:
        position, length = self.index0, len(self._items)
        return {
            "index": position + 1,
            "index0": position,
            "revindex": length - position,
            "revindex0": length - position - 1,
            "first": position == 0,
            "last": position == length - 1,
            "length": length,
        }


def _text(parts: list[Tree]) -> _Run:
    write = _writer(parts)

    def text(frame: _Frame) -> Any:
        # What a text inside `{% set %}` sets ends with it.
        out: list[str] = []
        write((frame[0], frame[1], dict(frame[2])), out)
        return "".join(out)

    return text


_Write: TypeAlias = Callable[[_Frame, list[str]], None]


def _writer(parts: list[Tree]) -> _Write:
    writes = [_write(part) for part in parts]

    def write(frame: _Frame, out: list[str]) -> None:
        for part in writes:
            part(frame, out)

    return write


def _write(part: Tree) -> _Write:
    word, *rest = cast("list[Any]", part)
    if word in _STATEMENTS:
        return _STATEMENTS[word](*rest)
    run = _value(part)

    def write(frame: _Frame, out: list[str]) -> None:
        budget = frame[1]
        out.append(budget.text_of(displayed(budget, run(frame))))

    return write


def _choose(condition: Tree, body: list[Tree], otherwise: list[Tree]) -> _Write:
    test, write, instead = _value(condition), _writer(body), _writer(otherwise)

    def choose(frame: _Frame, out: list[str]) -> None:
        (write if test(frame) else instead)(frame, out)

    return choose


def _set(target: Json, tree: Tree) -> _Write:
    run = _kept(tree)

    def assign(frame: _Frame, _: list[str]) -> None:
        _bind(frame, target, run(frame))

    return assign


def _bind(frame: _Frame, target: Json, value: Json) -> None:
    if isinstance(target, str):
        frame[2][target] = value
        return
    names = cast("list[Json]", target)
    values = items_of(frame[1], "set", value)
    if len(values) != len(names):
        raise EvaluationError(f"{len(names)} names are set from {len(values)} values")
    for name, inner in zip(names, values, strict=True):
        _bind(frame, name, inner)


def _for(target: Json, source: Tree, condition: Tree | None, body: list[Tree], otherwise: list[Tree]) -> _Write:
    run, write, instead = _kept(source), _writer(body), _writer(otherwise)
    test = None if condition is None else _value(condition)
    turn = 1 + sum(map(_cost, body)) + (0 if condition is None else _cost(condition))
    cost_otherwise = sum(map(_cost, otherwise))

    def loop(frame: _Frame, out: list[str]) -> None:
        budget = frame[1]
        items = items_of(budget, "for", run(frame))
        if test is not None:
            items = [item for item in items if test(turn_of(frame, item))]
        state = _Loop(items)
        for position, item in enumerate(items):
            state.index0 = position
            inner = turn_of(frame, item)
            inner[2]["loop"] = state
            write(inner, out)
        if not items:
            budget.spend(cost_otherwise)
            instead((frame[0], budget, dict(frame[2])), out)

    def turn_of(frame: _Frame, item: Json) -> _Frame:
        # What a turn sets ends with it, as in Jinja2, so each has a copy of the variables.
        lookup, budget, outer = frame
        budget.spend(turn + len(outer))
        inner = (lookup, budget, dict(outer))
        _bind(inner, target, item)
        return inner

    return loop


_STATEMENTS: dict[str, Callable[..., _Write]] = {"for": _for, "choose": _choose, "set": _set}

_MAKERS: dict[str, Callable[..., _Run]] = {
    "const": _const,
    "name": _name,
    "local": _local,
    "attr": _attr,
    "item": _item,
    "slice": _slice,
    "array": _array,
    "object": _object,
    "dict": _dict,
    "text": _text,
    "join": _join,
    "neg": _sign("neg"),
    "pos": _sign("pos"),
    "not": _not,
    "and": _and,
    "or": _or,
    **{word: _binary(word) for word in _OPERATORS},
    "compare": _compare,
    "if": _if,
    "filter": _filter,
    "test": _test,
    "call": _call,
    "map": _map,
    "pluck": _pluck,
    "select": _select,
}
