"""Programs: trees over plain JSON and views, with what they read and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from durableflow.expressions import Budget, EvaluationError, Program, Tree, Undefined, View, replace_calls, to_display
from durableflow.library import FUEL, SIZE_BYTES
from durableflow.templates import parse_expression, parse_template


class Record(View):
    """A view as scope.py has them: decoded where it is read."""

    __slots__ = ("asked", "fields")

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.asked: list[str | int] = []

    def __getitem__(self, key: str | int) -> Any:
        self.asked.append(key)
        return self.fields.get(str(key), Undefined(f"the record has no key '{key}'"))

    def to_json(self) -> Any:
        return {key: value.to_json() if isinstance(value, View) else value for key, value in self.fields.items()}


DATA: dict[str, Any] = {
    "input": {"n": 3, "s": "text", "l": [1, 2, 3], "o": {"items": "data", "x y": 1}, "none": None, "t": True},
    "vars": {},
}


def program(source: Any) -> Program:
    tree, problems = parse_template(source)
    assert not problems
    return Program(tree)


def expression(source: str) -> Program:
    tree, problems = parse_expression(source)
    assert not problems
    return Program(tree)


def lookup(name: str) -> Any:
    return DATA.get(name, Undefined(f"there is no '{name}' here"))


def value(source: Any, budget: Budget | None = None, **data: Any) -> Any:
    return program(source).evaluate(lambda name: data[name] if name in data else lookup(name), budget or Budget())


def of(source: str, **data: Any) -> Any:
    return value("{{ " + source + " }}", **data)


def error(source: Any, **data: Any) -> str:
    with pytest.raises(EvaluationError) as caught:
        value(source, **data)
    return caught.value.message


# Values and text


def test_a_template_without_braces_is_its_value_and_costs_nothing() -> None:
    plain = program({"a": [1, "x", None]})
    budget = Budget()
    budget.fuel = budget.size_bytes = 0
    assert plain.is_constant
    assert plain.evaluate(lookup, budget) is plain.constant
    assert (budget.fuel, budget.size_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ input.n }}", 3),
        ("{{- input.n -}}", 3),
        ("{{ input.n }} ", "3 "),
        ("{{ input.n }}\n", "3\n"),
        ("{{ input.n }}{{ input.n }}", "33"),
        ("n={{ input.none }} {{ input.t }} {{ input.l }}", "n=null true [1,2,3]"),
        ("{{ '2' }}", "2"),
        ("{{ 'None' }}", "None"),
        ("{{ '{{ input.n }}' }}", "{{ input.n }}"),
        ("{# only a comment #}", ""),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("a\r\n{{ input.n }}\r\n", "a\r\n3\r\n"),
        ({"k": ["{{ input.n + 1 }}", "c"], "m": "{{ input.s }}!"}, {"k": [4, "c"], "m": "text!"}),
        ("{{ none }}", None),
        ("{{ null }}", None),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ 1, 2 }}", [1, 2]),
    ],
)
def test_one_expression_gives_its_value_and_anything_else_text(source: Any, expected: Any) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("json", "text"), [("s", "s"), (None, "null"), (True, "true"), (1.0, "1.0"), ({"a": ["é"]}, '{"a":["é"]}')]
)
def test_text_shows_strings_as_they_are_and_the_rest_as_compact_json(json: Any, text: str) -> None:
    assert to_display(json) == text


def test_text_from_data_is_never_a_template() -> None:
    assert of("input.s", input={"s": "{{ 1 + 1 }}"}) == "{{ 1 + 1 }}"


# Paths


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.o.items", "data"),
        ("input['o']['x y']", 1),
        ("input.l[0]", 1),
        ("input.l[-1]", 3),
        ("input.l.1", 2),
        ("input.l[input.n - 2]", 2),
        ("input['l'][1:]", [2, 3]),
        ("input.l[::-1]", [3, 2, 1]),
        ("input.s[1:3]", "ex"),
        ("input.s[-1]", "t"),
        ("[[1, 2]][0][1]", 2),
        ("{'a': input.n}.a", 3),
        ("{input.s: 1}.text", 1),
    ],
)
def test_a_path_reads_keys_and_indices(source: str, expected: Any) -> None:
    assert of(source) == expected


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("input.x", "input has no key 'x'"),
        ("input.l[7]", "input.l has 3 items, there is no 7"),
        ("input.l.x", "input.l is a list, it has no key 'x'"),
        ("input.none.x", "input.none is null, it has no key 'x'"),
        ("input.o['x z']", "input.o has no key 'x z'"),
        ("input['x y'].z", "input has no key 'x y'"),
        ("input.o['x y'].z", "input.o['x y'] is a number, it has no key 'z'"),
        ("input.l[input.n].z", "input.l has 3 items, there is no 3"),
        ("input.l[input.n - 1].z", "input.l[…] is a number, it has no key 'z'"),
        ("(input.l | first).z", "input.l | first is a number, it has no key 'z'"),
        ("input.l[input.t]", "input.l is read by a key that is true or false, not text or an integer"),
        ("input.n[1:]", "input.n is a number; only lists and text can be cut"),
        ("input.l['a':]", "where a list is cut must be an integer, and the step not 0"),
        ("input.l[::0]", "where a list is cut must be an integer, and the step not 0"),
        ("states.x", "there is no 'states' here"),
        ("1 if false", "a condition is false, and there is no 'else'"),
        ("{'a': input.x}", "input has no key 'x'"),
        ("[input.x]", "input has no key 'x'"),
        ("input.x or 5", "input has no key 'x'"),
        ("not input.x", "input has no key 'x'"),
        ("input.x == 1", "input has no key 'x'"),
        ("{input.n: 1}", "a key of an object must be text, not a number"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_where_it_ended(source: str, why: str) -> None:
    assert error("{{ " + source + " }}") == why


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.x | default(5)", 5),
        ("input.x | default", ""),
        ("input.x | d(input.n)", 3),
        ("input.x | default(input.y) | default(7)", 7),
        ("input.none | default(5)", None),
        ("input.none | default(5, true)", 5),
        ("input.n | default(5, boolean=true)", 3),
        ("input.x is defined", False),
        ("input.n is defined", True),
        ("input.x is undefined", True),
        ("input.x is not defined", True),
        ("(vars.decision or {}).approved | default(false)", None),
    ],
)
def test_default_and_defined_take_what_is_not_there(source: str, expected: Any) -> None:
    data = {"vars": {"decision": {"approved": None}}} if "vars" in source else {}
    assert of(source, **data) == expected


def test_an_undefined_value_is_false_and_says_why() -> None:
    assert not Undefined("gone")
    assert repr(Undefined("gone")) == "Undefined('gone')"


# Views


def test_a_path_asks_a_view_only_for_what_it_needs() -> None:
    record = Record(result={"id": 1}, error=None)
    assert of("states.result.id", states=record) == 1
    assert record.asked == ["result"]
    assert of("states['res' ~ 'ult'].id", states=record) == 1


def test_a_whole_view_becomes_a_value() -> None:
    states = Record(x=Record(result=1))
    assert of("states", states=states) == {"x": {"result": 1}}
    assert of("[states.x]", states=states) == [{"result": 1}]
    assert of("states.x | tojson", states=states) == '{"result":1}'
    assert of("(states.x | default({})).result", states=states) == 1
    assert of("states.x == {'result': 1}", states=states) is True


def test_a_key_that_a_view_does_not_have_is_undefined() -> None:
    assert error("{{ states.y }}", states=Record()) == "the record has no key 'y'"
    assert of("states.y | default(1)", states=Record()) == 1


@pytest.mark.parametrize("source", ["states.x.y", "states.x.y == 1", "states.x.y < 'a'"])
def test_a_path_says_at_which_step_there_is_nothing(source: str) -> None:
    assert error("{{ " + source + " }}", states=Record()) == "the record has no key 'x'"
    assert error("{{ " + source + " }}", states={"x": Record()}) == "the record has no key 'y'"
    assert error("{{ " + source + " }}", states={"x": {}}) == "states.x has no key 'y'"
    assert error("{{ " + source + " }}", states={"x": [1]}) == "states.x is a list, it has no key 'y'"
    assert error("{{ " + source + " }}", states={"x": "text"}) == "states.x is text, it has no key 'y'"
    assert error("{{ " + source + " }}", states={"x": None}) == "states.x is null, it has no key 'y'"


# Operators


def outcome(source: str, **data: Any) -> Any:
    try:
        return of(source, **data)
    except EvaluationError as raised:
        return raised.message.partition(" (in ")[0]


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("constant", ["1", "1.5", "'a'", "true", "null", "[1]"])
def test_a_path_is_compared_with_a_constant_as_any_value_is(operator: str, constant: str) -> None:
    for found in (0, 1, 2, 1.0, 1.5, "", "a", "b", True, False, None, [1], [], {"x": 1}):
        data = {"x": found}
        plain, roundabout = f"input.x {operator} {constant}", f"[input.x][0] {operator} {constant}"
        assert outcome(plain, input=data) == outcome(roundabout, input=data)
        assert outcome(plain, input=Record(x=found)) == outcome(plain, input=data)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("7 // 2 + 7 % 4 - 2 * 3", 0),
        ("7 / 2", 3.5),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("2 ** 63", 2**63),
        ("-input.n + +input.n", 0),
        ("true + 1", 2),
        ("'a' + 'b'", "ab"),
        ("input.l + [4]", [1, 2, 3, 4]),
        ("input.n ~ '/' ~ input.none ~ input.l", "3/null[1,2,3]"),
        ("1 < input.n <= 3 != 4", True),
        ("1 < input.n < 3", False),
        ("input.n in input.l and 'ex' in input.s and 'items' in input.o", True),
        ("4 not in input.l", True),
        ("1 in input.o", False),
        ("none == none", True),
        ("1 == 1.0", True),
        ("'1' == 1", False),
        ("[1] < [2]", True),
        ("0 or '' or 'last'", "last"),
        ("1 and 0 and input.x", 0),
        ("1 or input.x", 1),
        ("'yes' if input.t else input.x", "yes"),
        ("not input.l", False),
        ("9223372036854775807 + 1", 2**63),
    ],
)
def test_an_operator_gives(source: str, expected: Any) -> None:
    made = of(source)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("1 + 'a'", "cannot add a number and text; text is joined with '~'"),
        ("input.n + input.s", "cannot add a number and text; text is joined with '~' (in input.n and input.s)"),
        ("input.o - 1", "cannot subtract a number from an object (in input.o)"),
        ("'a' * 3", "cannot multiply text and a number"),
        ("input.s % 3", "cannot take the remainder of text and a number (in input.s)"),
        ("none / 2", "cannot divide null by a number"),
        ("'a' ** 2", "cannot raise text to the power of a number"),
        ("-input.s", "cannot put a sign before text (in input.s)"),
        ("+[]", "cannot put a sign before a list"),
        ("1 / 0", "division by zero"),
        ("input.n // (input.n - 3)", "division by zero"),
        ("1 % input.zero", "division by zero: input.zero is 0"),
        ("2 ** 64", "the result is an integer outside -2^63 to 2^64-1"),
        ("-9223372036854775808 - 1", "the result is an integer outside -2^63 to 2^64-1"),
        ("9 ** (9 ** 7)", "the result is an integer outside -2^63 to 2^64-1"),
        ("1e308 * 10", "the result is no number that JSON has"),
        ("1e308 ** 2", "the result is too large for a number"),
        ("(-8) ** 0.5", "the result is no number that JSON has"),
        ("input.s < input.n", "cannot compare text and a number (in input.s and input.n)"),
        ("none < none", "cannot compare null and null"),
        ("1 < input.n < input.s", "cannot compare a number and text (in input.n and input.s)"),
        ("1 in 2", "cannot look for a number in a number"),
        ("1 in 'a'", "cannot look for a number in text"),
    ],
)
def test_an_operator_refuses_in_one_line(source: str, why: str) -> None:
    assert error("{{ " + source + " }}", input={**DATA["input"], "zero": 0}).startswith(why)


@pytest.mark.parametrize("source", ["false", "none", "0", "''", "[]", "{}", "0.0"])
def test_truth_is_that_of_jinja2(source: str) -> None:
    assert expression(source).is_true(lookup, Budget()) is False
    assert expression(f"not ({source})").is_true(lookup, Budget()) is True


def test_truth_of_what_is_not_there_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="input has no key 'x'"):
        expression("input.x").is_true(lookup, Budget())


# Filters over items, calls


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rows | map(attribute='a') | list", [1, 2]),
        ("rows | map(attribute='b', default=0)", [0, 5]),
        ("words | map('upper')", ["A", "B"]),
        ("words | map('replace', 'a', 'x')", ["x", "b"]),
        ("words | map('default', 'x', true)", ["a", "b"]),
        ("[0, 1] | select", [1]),
        ("[0, 1] | reject", [0]),
        ("[1, 2, 3] | select('odd')", [1, 3]),
        ("[1, 2, 3] | reject('ge', 2)", [1]),
        ("[1, none] | select('defined')", [1, None]),
        ("rows | selectattr('b', 'defined')", [{"a": 2, "b": 5}]),
        ("rows | rejectattr('b', 'undefined')", [{"a": 2, "b": 5}]),
        ("rows | selectattr('a', '>', 1)", [{"a": 2, "b": 5}]),
        ("rows | selectattr('a')", [{"a": 1}, {"a": 2, "b": 5}]),
        ("range(3)", [0, 1, 2]),
    ],
)
def test_a_filter_goes_through_items(source: str, expected: Any) -> None:
    assert of(source.replace("rows", "input.rows").replace("words", "input.words"), input=ROWS) == expected


ROWS = {"rows": [{"a": 1}, {"a": 2, "b": 5}], "words": ["a", "b"]}


@pytest.mark.parametrize("source", ["map(attribute='b')", "selectattr('b')", "map(attribute='b.c')"])
def test_an_attribute_that_an_item_does_not_have_is_an_error(source: str) -> None:
    assert "has no key 'b'" in error("{{ input.rows | " + source + " }}", input=ROWS)


def test_a_function_of_the_caller_is_called_with_its_arguments() -> None:
    assert of("'Bearer ' ~ secret('token')", secret=lambda name: f"<{name}>") == "Bearer <token>"
    assert error("{{ secret('token') }}") == "'secret()' cannot be used here"


# Text with tags


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% if input.n > 5 %}a{% elif input.n > 2 %}b{% else %}c{% endif %}", "b"),
        ("{% if false %}a{% endif %}", ""),
        ("{% for x in input.l %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3"),
        ("{% for x in input.l if x != 2 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}", "1/2:1 2/2:3 "),
        ("{% for x in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for k, v in {'a': 1} | items %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{% for c in 'ab' %}{{ c }}.{% endfor %}", "a.b."),
        ("{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}", "ab"),
        (
            "{% for x in input.l %}{{ loop.previtem | default('-') }}{{ loop.nextitem | default('-') }} {% endfor %}",
            "-2 13 2- ",
        ),
        (
            "{% for x in [1] %}{{ loop }}{% endfor %}",
            '{"index":1,"index0":0,"revindex":1,"revindex0":0,"first":true,"last":true,"length":1}',
        ),
        ("{% set x = 1 %}{% for y in [2] %}{% set x = y %}{{ x }}{% endfor %}{{ x }}", "21"),
        ("{% set a, b = [1, 2] %}{{ b }}{{ a }}", "21"),
        ("{% set x %}<{{ input.n }}>{% endset %}{{ x }}{{ x }}", "<3><3>"),
        ("{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ y }}{{ x }}", "21"),
        ("{% set y = 0 %}{% for x in [] %}{% else %}{% set y = 1 %}{% endfor %}{{ y }}", "0"),
        ("{% if input.t %}{% set result = 5 %}{% endif %}{{ result }}", "5"),
        ("{% for item in input.l %}{{ item }}{% endfor %}{{ item }}", "123the item"),
    ],
)
def test_tags_write_text(source: str, expected: str) -> None:
    assert value(source, item="the item") == expected


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% for x in 5 %}{% endfor %}", "'for' cannot go through a number"),
        ("{% for a, b in [[1]] %}{% endfor %}", "2 names are set from 1 values"),
        ("{% for a, b in [1] %}{% endfor %}", "'set' cannot go through a number"),
        ("{% if false %}{% set x = 1 %}{% endif %}{{ x }}", "'x' is not set"),
        ("{% if false %}{% set result = 1 %}{% endif %}{{ result }}", "there is no 'result' here"),
        ("{% for x in [1] %}{{ loop.previtem }}{% endfor %}", "the first turn of a loop has no previtem"),
        ("{% for x in [1] %}{{ loop.nextitem }}{% endfor %}", "the last turn of a loop has no nextitem"),
        ("{% for x in [1] %}{{ loop.depth }}{% endfor %}", "loop has no key 'depth'"),
        ("{% set x = input.x %}", "input has no key 'x'"),
    ],
)
def test_tags_refuse_in_one_line(source: str, why: str) -> None:
    assert error(source) == why


# What is read


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("input.a.b[0]['c d']", {("input", "a", "b", 0, "c d")}),
        ("states.x.result[input.k].z", {("states", "x", "result"), ("input", "k")}),
        ("input.rows | selectattr('a') | map(attribute='b')", {("input", "rows")}),
        ("vars.a[vars.b:]", {("vars", "a"), ("vars", "b")}),
        ("{'a': [env.T, 1 if item else index]}", {("env", "T"), ("item",), ("index",)}),
        ("load('x').y", set()),
        ("(input.a or {}).b", {("input", "a")}),
    ],
)
def test_references_are_the_paths_that_may_be_read(source: str, paths: set[tuple[str | int, ...]]) -> None:
    assert set(expression(source).references) == paths


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("{% for item in input.l %}{{ item.x }}{% endfor %}", {("input", "l")}),
        ("{% set result = 1 %}{{ result.x }}", set()),
        ("{% if input.c %}{% set result = 1 %}{% endif %}{{ result.x }}", {("input", "c"), ("result",)}),
        ("{% if input.c %}{% set result = 1 %}{% else %}{% set result = 2 %}{% endif %}{{ result }}", {("input", "c")}),
    ],
)
def test_variables_of_a_text_are_no_references(source: str, paths: set[tuple[str | int, ...]]) -> None:
    assert set(program(source).references) == paths


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("context.now", True),
        ("context", True),
        ("context[input.k]", True),
        ("context.execution.id", False),
        ("states", True),
        ("states.x", True),
        ("states.x.ended_at", True),
        ("states['x'].started_at | default(1)", True),
        ("states[input.k].result", True),
        ("states.x.result", False),
        ("input.context.now", False),
    ],
)
def test_time_is_read_by_what_may_lead_to_it(source: str, reads: bool) -> None:
    assert expression(source).reads_time is reads


def test_calls_are_replaced_wherever_they_stand_but_not_in_constants() -> None:
    tree, problems = parse_template({"a": "{{ load('f').x + [load('g')] }}", "b": ["call", "load", []]})
    assert not problems
    made = replace_calls(tree, "load", lambda arguments: ["const", {"x": [arguments[0][1]]}])  # type: ignore[index]
    assert Program(made).evaluate(lookup, Budget()) == {"a": ["f", {"x": ["g"]}], "b": ["call", "load", []]}


def test_programs_are_equal_where_their_trees_are() -> None:
    assert program("{{ input.n }}") == program("{{ input['n'] }}")
    assert program("{{ input.n }}") != program("{{ input.m }}")
    assert hash(program("{{ input.n }}")) == hash(program("{{ input.n }}"))
    assert repr(program("x")) == "Program(['const', 'x'])"


# Limits


def test_a_template_is_paid_for_by_its_nodes_and_a_loop_by_its_turns() -> None:
    def cost(source: str) -> int:
        budget = Budget()
        value(source, budget)
        return FUEL - budget.fuel

    assert cost("{{ input.n }}") == 2
    body = "{% for x in input.l %}{{ x }}{% endfor %}"
    assert cost(body.replace("{{ x }}", "{{ x }}{{ x }}")) == cost(body) + 3


def test_a_value_passed_on_costs_no_bytes() -> None:
    budget = Budget()
    assert of("input.s", input={"s": "x" * 1_000_000}, budget=budget) == "x" * 1_000_000
    assert budget.size_bytes == SIZE_BYTES


@pytest.mark.parametrize("size", [SIZE_BYTES, SIZE_BYTES + 1])
def test_new_text_is_counted_in_bytes_of_utf_8(size: int) -> None:
    data = {"s": "é" * (size // 2 - 1) + "a" * (size % 2)}
    if size > SIZE_BYTES:
        assert "(limit 'size')" in error("ab{{ input.s }}", input=data)
    else:
        assert len(value("ab{{ input.s }}", input=data)) == size // 2 + 1


def test_templates_of_one_state_share_a_budget() -> None:
    budget = Budget()
    budget.fuel = 5
    value("{{ input.n }}", budget)
    value("{{ input.n }}", budget)
    with pytest.raises(EvaluationError, match="limit 'fuel'"):
        value("{{ input.n }}", budget)


@pytest.mark.parametrize(
    ("tree", "limit"),
    [
        (["array", [["name", "big"], ["name", "big"]]], "'value'"),
        (["if", ["const", True], ["array", [["name", "big"], ["name", "big"]]], None], "'value'"),
        (["attr", ["array", [["array", [["name", "big"], ["name", "big"]]]]], 0], "'value'"),
        (["array", [["name", "deep"]]], "'depth'"),
    ],
)
def test_a_new_value_is_weighed_however_it_is_made(tree: Tree, limit: str) -> None:
    deep: Any = []
    for _ in range(199):
        deep = [deep]
    with pytest.raises(EvaluationError, match=limit):
        Program(tree).evaluate({"big": "x" * 5_000_000, "deep": deep}.__getitem__, Budget())
    assert Program(["name", "deep"]).evaluate({"deep": deep}.__getitem__, Budget()) is deep


def test_a_tree_of_a_newer_kind_is_refused() -> None:
    with pytest.raises(KeyError):
        Program(["later", 1]).evaluate(lookup, Budget())
