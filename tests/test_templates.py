"""Reading templates: which tree a text becomes, and that every problem says what, where and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from durableflow.errors import CODES
from durableflow.expressions import Budget, EvaluationError, Program
from durableflow.templates import (
    NESTING,
    SOURCE_BYTES,
    Call,
    Reference,
    TemplateProblem,
    calls_in,
    parse_expression,
    parse_template,
    references_in,
)


def problems(source: Any) -> list[TemplateProblem]:
    return parse_template(source)[1]


def marked(source: str, problem: TemplateProblem) -> str:
    """Return the piece of the text that a problem points to."""
    return source[problem.offset : problem.offset + problem.length]


@pytest.mark.parametrize(
    ("source", "code", "piece", "message", "hint"),
    [
        ("{{ inptu.x }}", "DF201", "inptu", "there is no data called 'inptu'", "did you mean 'input'?"),
        ("{{ now }}", "DF201", "now", "there is no data called 'now'", "write context.now"),
        ("{{ loop.index }}", "DF201", "loop", "there is no data called 'loop'", "'loop' exists inside {% for %} only"),
        ("{{ input | uper }}", "DF202", "uper", "there is no filter called 'uper'", "did you mean 'upper'?"),
        ("{{ input | map('uper') }}", "DF202", "map", "'map' has no filter 'uper'", "did you mean 'upper'?"),
        ("{{ input is  strng }}", "DF203", "strng", "there is no test called 'strng'", "did you mean 'string'?"),
        ("{{ input is not nune }}", "DF203", "nune", "there is no test called 'nune'", "did you mean 'none'?"),
        ("{{ input | select('od') }}", "DF203", "select", "there is no test called 'od'", "did you mean 'odd'?"),
        ("{{ input.a.items() }}", "DF205", ".items()", "values have no methods: '.items()'", "use | items"),
        ("{{ input.a.foo(1, (2)) }}", "DF205", ".foo(1, (2))", "values have no methods: '.foo()'", "use a filter"),
        ("{{ dict(a=1) }}", "DF205", "dict", "there is no function called 'dict'", "the functions are load"),
        ("{{ (input | upper)() }}", "DF205", "()", "this cannot be called", ""),
        ("{{ 1 | round(1, 'ceil', 2) }}", "DF206", "round", "'round' has too many arguments", "it takes (precision"),
        ("{{ 1 | abs(2) }}", "DF206", "abs", "'abs' has too many arguments", "it takes none"),
        ("{{ '' | replace('a') }}", "DF206", "replace", "'replace' needs the argument 'new'", "it takes (old, new"),
        ("{{ 1 | round(digits=1) }}", "DF206", "round", "'round': the argument 'digits' is unknown", "it takes"),
        ("{{ 1 | round(1, precision=2) }}", "DF206", "round", "'round': the argument 'precision' is given twice", ""),
        ("{{ {} | merge(other={}) }}", "DF206", "merge", "'merge' takes no named arguments", ""),
        ("{{ '' | join(*input) }}", "DF206", "join", "arguments cannot be unpacked with '*'", "write them one by one"),
        ("{{ range(**input) }}", "DF206", "range(**input)", "arguments cannot be unpacked with '*'", ""),
        ("{{ input is eq(*input) }}", "DF206", "eq", "arguments cannot be unpacked with '*'", ""),
        ("{{ input | map }}", "DF206", "map", "'map' needs the name of a filter, or attribute=", "write map('upper')"),
        ("{{ input | map(attribute=input) }}", "DF206", "map", "'map' needs the name of a filter", ""),
        ("{{ input | map(attribute='a', of=1) }}", "DF206", "map", "'map' needs the name of a filter", ""),
        (
            "{{ input | selectattr }}",
            "DF206",
            "selectattr",
            "'selectattr' needs the name of an attribute in quotes",
            "",
        ),
        ("{{ input | select(input) }}", "DF206", "select", "'select' needs the name of a test in quotes", ""),
        ("{{ load() }}", "DF206", "load()", "'load' needs the argument 'path'", "it takes (path)"),
        ("{% include 'x' %}", "DF207", "include", "the tag 'include' does not exist here", "the tags are"),
        ("{% for x in [] recursive %}{% endfor %}", "DF207", "for", "a 'for' cannot be recursive", ""),
        ("{% for loop in [] %}{% endfor %}", "DF207", "loop", "'loop' cannot be set", "take another name"),
        ("{% set x | upper %}y{% endset %}", "DF207", "set", "the tag 'set' does not exist here", ""),
        ("{{ {1: 2} }}", "DF207", "1", "a key of an object is text", "quote it"),
        ("{{ input.a[1, 2] }}", None, "", "", ""),
        ("{{ 18446744073709551616 }}", "DF212", "18446744073709551616", "the number 18446744073709551616 is", ""),
        ("{{ 1e400 }}", "DF212", "1e400", "the number 1e400 is", "write it as text"),
        ("{{ input.__class__ }}", "DF213", ".__class__", "'__class__' is Python's, not data", ""),
        ("{{ input | sort(attribute='a.__x__') }}", "DF213", "sort", "'__x__' is Python's, not data", ""),
        ("{{ '' | regex_match('(a*)*') }}", "DF214", "regex_match", "'regex_match': a repeat inside a repeat", ""),
        ("{{ '' is regex_match(input) }}", "DF214", "regex_match", "'regex_match' needs its pattern as text", ""),
        ("{{ '\\x' }}", "DF200", "'\\x'", "bad escape in text", ""),
        ("{{ input ? }}", "DF200", "?", "unexpected char '?'", ""),
        ("{{ a\u00b2 }}", "DF200", "a\u00b2", "'a\u00b2' is no name", ""),
        ("{{ input b }}", "DF200", "b", "", ""),
        ("{{ ((input) }}", "DF200", "}", "", ""),
        ("{# open", "DF200", "{", "missing end of comment tag", ""),
        ("{% fro %}", "DF200", "fro", "encountered unknown tag 'fro'", "the tags are"),
        ("{{ }}", "DF200", "}}", "expected an expression", "write a value between the braces"),
    ],
)
def test_a_problem_says_what_where_and_what_to_do(
    source: str, code: str | None, piece: str, message: str, hint: str
) -> None:
    found = problems(source)
    if code is None:
        assert not found
        return
    assert [problem.code for problem in found] == [code]
    assert marked(source, found[0]) == piece
    assert found[0].message.startswith(message)
    assert hint in (found[0].hint or "")
    assert found[0].hint
    assert CODES[code].severity == "error"


def test_every_problem_of_a_value_is_reported_with_its_path() -> None:
    found = problems({"a": ["{{ x }}", "ok {{ y.z }} {{ input | foo }}"], "b": {"c": "{{ z }}"}, "d": "{{ input.k }}"})
    assert [(problem.path, problem.offset) for problem in found] == [
        (("a", 0), 3),
        (("a", 1), 6),
        (("a", 1), 24),
        (("b", "c"), 3),
    ]


def test_a_place_is_exact_over_lines_comments_and_space_control() -> None:
    source = "one\r\ntwo {# {{ x }} #}{% raw %}{{ y }}{% endraw %}  {%- if input.a -%}\n  é {{- wrong }}{% endif %}"
    (found,) = problems(source)
    assert marked(source, found) == "wrong"


@pytest.mark.parametrize("source", ["plain", "", "a } b", "{ {", "50 %}", "#}", None, 3, [True, {"k": 1.5}]])
def test_a_value_without_braces_is_a_constant(source: Any) -> None:
    tree, found = parse_template(source)
    assert tree == ["const", source]
    assert not found


@pytest.mark.parametrize("key", ["_id", "__typename", "_", "____", "items", "class"])
def test_a_key_of_data_may_begin_with_an_underscore(key: str) -> None:
    tree, found = parse_template(f"{{{{ input.{key} }}}}")
    assert not found
    assert tree == ["attr", ["name", "input"], key]


def test_literals_are_folded_into_constants() -> None:
    assert parse_template("{{ {'a': [1, -2, none]} }}")[0] == ["const", {"a": [1, -2, None]}]
    assert parse_template({"k": "{{ 'v' }}"})[0] == ["const", {"k": "v"}]
    assert parse_template("{{ -true }}")[0] == ["neg", ["const", True]]
    assert parse_template("{{ {'a': 1, 'a': 2} }}")[0] == [
        "dict",
        [["const", "a"], ["const", 1], ["const", "a"], ["const", 2]],
    ]


def test_arguments_are_stored_by_position_with_their_defaults() -> None:
    tree, found = parse_template("{{ 1.5 | round(method='floor') }}")
    assert not found
    assert tree == ["filter", "round", ["const", 1.5], [["const", 0], ["const", "floor"]]]


# Expressions


@pytest.mark.parametrize("value", [True, False, None, 3, 1.5])
def test_an_expression_may_be_a_plain_value(value: Any) -> None:
    assert parse_expression(value) == (["const", value], [])


def test_an_expression_in_braces_is_taken_with_a_warning() -> None:
    tree, found = parse_expression("  {{ input.n > 2 }}\n")
    assert tree == parse_expression("input.n > 2")[0]
    assert [(problem.code, problem.offset, problem.length) for problem in found] == [("DF215", 2, 17)]
    assert CODES["DF215"].severity == "warning"


@pytest.mark.parametrize(
    ("source", "code", "offset"),
    [
        ("", "DF200", 0),
        (" \n", "DF200", 0),
        ("input.a input.b", "DF200", 8),
        ("input.a, 2", "DF200", 7),
        ("input.a == {{ input.b }}", "DF200", 11),
        ("{{ input.a }} and {{ input.b }}", "DF200", 0),
        ("{{ input.a }}{% if input.b %}{% endif %}{{ 1 }}", "DF200", 0),
        ("{% if input.a %}1{% endif %}", "DF208", 0),
        ("input.a ==", "DF200", 8),
        ("inptu.a", "DF201", 0),
        ([1], "DF216", 0),
        ({"a": 1}, "DF216", 0),
    ],
)
def test_what_is_no_single_expression_is_refused(source: Any, code: str, offset: int) -> None:
    _, found = parse_expression(source)
    assert [(problem.code, problem.offset) for problem in found] == [(code, offset)]
    assert found[0].hint


# References and calls


def test_references_have_their_place_from_root_to_last_key() -> None:
    source = "x {{ states.ask . result['id'][0].y + vars[input.k] }}"
    found = references_in({"a": [source]}, expression=False)
    assert found == [
        Reference(names=("states", "ask", "result", "id", 0, "y"), path=("a", 0), offset=5, length=30),
        Reference(names=("vars",), path=("a", 0), offset=38, length=4),
        Reference(names=("input", "k"), path=("a", 0), offset=43, length=7),
    ]
    assert source[5:35] == "states.ask . result['id'][0].y"


def test_references_of_an_expression_are_those_of_its_program() -> None:
    source = "input.a > 1 and (states.x.result or {}).b in vars.c[1:]"
    names = [reference.names for reference in references_in(source, expression=True)]
    assert set(names) == set(Program(parse_expression(source)[0]).references)


def test_variables_are_no_references_but_what_they_are_made_of_is() -> None:
    source = "{% for item in input.l %}{{ item.a }}{% endfor %}{{ item.b }}"
    assert [reference.names for reference in references_in(source, expression=False)] == [("input", "l"), ("item", "b")]


def test_calls_have_their_literal_arguments_and_place() -> None:
    source = "{{ load('a.json').x ~ secret(input.n) ~ load(path='b') }}"
    assert calls_in([source], expression=False) == [
        Call(name="load", arguments=("a.json",), path=(0,), offset=3, length=14),
        Call(name="secret", arguments=None, path=(0,), offset=22, length=15),
        Call(name="load", arguments=("b",), path=(0,), offset=40, length=14),
    ]
    assert calls_in(5, expression=True) == []


# Limits


@pytest.mark.parametrize(
    "nested",
    [
        lambda n: "{{ " + "(" * n + "1" + ")" * n + " }}",
        lambda n: "{{ " + "[" * n + "]" * n + " }}",
        lambda n: "{{ " + "not " * n + "1 }}",
        lambda n: "{{ " + "1 if input else " * n + "1 }}",
        lambda n: "{% if input %}" * n + "{% endif %}" * n,
        lambda n: "{% for x in input %}" * n + "{% endfor %}" * n,
        lambda n: "{% set x %}" * n + "{% endset %}" * n,
    ],
)
def test_forty_levels_are_read_and_one_more_is_refused(nested: Any) -> None:
    assert not problems(nested(NESTING))
    (found,) = problems(nested(NESTING + 1))
    assert found.code == "DF210"
    assert "(limit 'nesting')" in found.message


def test_the_deepest_template_that_is_read_is_evaluated() -> None:
    source = "{{ " + "(" * NESTING + "input" + ".a" * 55 + ")" * NESTING + " }}"
    assert not problems(source)
    with pytest.raises(EvaluationError):
        Program(parse_template(source)[0]).evaluate(lambda _: {}, Budget())


@pytest.mark.parametrize("more", [0, 1])
def test_a_template_may_have_sixteen_kibibytes(more: int) -> None:
    source = "{{ input }}" + "é" * ((SOURCE_BYTES - 11) // 2) + "a" * ((SOURCE_BYTES - 11) % 2 + more)
    assert [problem.code for problem in problems(source)] == ["DF209"] * more
    assert not problems("x" * (SOURCE_BYTES + 1))


@pytest.mark.parametrize(
    "source", ["input" + ".a" * 101, "1" + " + 1" * 101, "1" + " | abs" * 101, "input" + " and input" * 101]
)
def test_a_chain_of_more_than_a_hundred_is_refused(source: str) -> None:
    assert [problem.code for problem in parse_expression(source)[1]] == ["DF210"]
