from __future__ import annotations

import pytest
import yaml

from durableflow import syntax
from durableflow.document import read_document
from durableflow.errors import Diagnostic, WorkflowError
from durableflow.source import Source

PARSERS = [yaml.Loader, getattr(yaml, "CLoader", yaml.Loader)]


def problem(text: str, *, name: str = "w.yaml") -> Diagnostic:
    """The only problem of a text."""
    with pytest.raises(WorkflowError) as caught:
        read_document(Source(name=name, text=text))
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@pytest.mark.parametrize("parser", PARSERS, ids=["python", "c"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "1:5 DF114 a second ': ' in an unquoted value"),
        ("a:\n\tb: 1", "2:1 DF110 a tab where YAML takes only spaces"),
        ("a: 1\n\tb: 2", "2:1 DF110 a tab where YAML takes only spaces"),
        ("a: |\n\tb", "2:1 DF110 a tab where YAML takes only spaces"),
        ("a: 'x\nb: 2\n", "1:4 DF112 this quote is never closed"),
        ('a: "x\n---\n"', "1:4 DF112 this quote is never closed"),
        ("a: [1, 2", "1:4 DF113 the '[' is never closed"),
        ("a: [1,\nb: 3: 4}\n", "2:5 DF113 neither ',' nor ']' follows in the '[' of line 1"),
        ("a: [1,2}}", "1:8 DF113 neither ',' nor ']' follows in the '[' of line 1"),
        ("a:\n  b: 1\n c: 2", "3:2 DF111 this line is indented like nothing above it"),
        ("a: 1\n- b", "2:1 DF111 this line is a list entry among keys"),
        ("- a\nb: 1", "2:1 DF111 this line is indented like nothing above it"),
        ("a: 1\n  b: 2", "2:4 DF111 no key can stand here"),
        ("a: - b", "1:4 DF111 a list entry cannot start here"),
        ("a: 'it's'", "1:8 DF118 more text follows the end of a value"),
        ('a: "x" y', "1:8 DF118 more text follows the end of a value"),
        ("{a: 1} b", "1:8 DF118 more text follows the end of the value"),
        ("a: x\nb\nc: 1", "2:1 DF118 no ':' follows this key"),
        ("a: ? b", "1:4 DF118 a '? ' cannot start here"),
        ("a: ]", "1:4 DF118 a value is missing before ']'"),
        (": x", "1:1 DF122 a key is missing before ':'"),
        ("a: @x", "1:4 DF116 an unquoted value cannot start with '@'"),
        ("a: *", "1:4 DF116 no name follows the '&' or '*'"),
        ("a: & x", "1:4 DF116 no name follows the '&' or '*'"),
        ("a: |0\n x", "1:5 DF117 the first line of a block text is not right"),
        ("a: |x\n x", "1:5 DF117 the first line of a block text is not right"),
        ('a: "\\q"', "1:5 DF115 '\\q' is no character"),
        ('a: "b\\xZZ"', "1:6 DF115 '\\x' is no character"),
        ('a: "\\U0011FFFF"', "1:5 DF115 '\\U0011FFFF' is no character"),
        ('a: "\\ud800"', "1:5 DF126 a text cannot hold the character '\\ud800'"),
        ("a: !t x", "1:4 DF130 the tag '!t' has no meaning here"),
        ("a: !t {}", "1:4 DF130 the tag '!t' has no meaning here"),
        ("a: ! x", "1:4 DF130 the tag '!' has no meaning here"),
        ("a: !t!u x", "1:4 DF130 a tag has no meaning here"),
        ("a:\n  b: 1\n !t c: 2", "3:2 DF111 this line is indented like nothing above it"),
        ("a: 'b' !t", "1:8 DF118 more text follows the end of a value"),
        ("a: [b\n---\n", "2:1 DF113 neither ',' nor ']' follows in the '[' of line 1"),
        ("a: !<x y", "1:4 DF130 a tag has no meaning here"),
        ("# c\n%YAML 1.1\n---\na: 1", "2:1 DF131 a YAML directive has no meaning here"),
        ("a: 1\n--- # c\nb: 2", "2:1 DF132 a second document begins here"),
        ("a: 1\n...\nb: 2", "3:1 DF132 a second document begins here"),
        ("a: {% if b %}", "1:4 DF120 the template '{% if b %}' has no quotes"),
        ("a: {b: Hello {{ c }} }", "1:14 DF120 the template '{{ c }}' has no quotes"),
        ('a: {{ "b" }} c', "1:4 DF120 the template '{{ \"b\" }}' has no quotes"),
    ],
)
def test_a_fault_in_yaml_is_told_in_our_words_whichever_parser_reads(
    text: str, said: str, parser: type[yaml.Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syntax, "PARSER", parser)
    found = problem(text)
    assert f"{found.span} {found.code} {found.message}" == f"w.yaml:{said}"
    assert found.hint


def test_a_quoted_template_is_not_blamed_for_another_fault_on_its_line() -> None:
    assert problem('a: "{{ b }}" c').code == "DF118"
    assert problem("a: '{{ b }}': c").code == "DF114"


def test_a_directive_behind_the_first_document_is_refused_like_one_before_it() -> None:
    found = problem("a: 1\n...\n%YAML 1.1\n%YAML 1.1\n---\nb: 1\n")
    assert found.code == "DF131"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (
            '{"a": 1,\n"b": [1',
            "2:8 DF119 the text ends where ',' or ']' should stand",
            "the '[' of line 2 is not closed",
        ),
        ('{"a": 1,\n}', "2:1 DF119 a comma stands before '}'", "remove"),
        ("[1,]", "1:4 DF119 a comma stands before ']'", "remove"),
        ("[1 // x\n]", "1:4 DF119 JSON has no comments", "YAML"),
        ('{"a": 1} {}', "1:10 DF119 more text follows the end of the value", "one value"),
        ("{'a': 1}", "1:2 DF119 a single quote begins nothing in JSON", "double quotes"),
        ("{a: 1}", "1:2 DF119 a key or '}' should stand here, not 'a'", "double quotes"),
        ("[tru]", "1:2 DF119 a value or ']' should stand here, not 'tru'", "double quotes"),
        ("[01]", "1:2 DF119 a value or ']' should stand here, not '01'", "numbers"),
        ('{"a" 1}', "1:6 DF119 ':' should stand here, not '1'", ""),
        ('{"a": 1 "b"}', "1:9 DF119 ',' or '}' should stand here, not '\"'", ""),
        ("[1}", "1:3 DF119 ',' or ']' should stand here, not '}'", ""),
        ("[NaN]", "1:2 DF125 'NaN' is no number in JSON", "null"),
        ("[-Infinity]", "1:2 DF125 '-Infinity' is no number in JSON", "null"),
        ('["a\nb"]', "1:2 DF112 this quote is never closed", "\\n"),
        ('["a', "1:2 DF112 this quote is never closed", ""),
        ('["a\tb"]', "1:4 DF119 a tab inside a string", "\\t"),
        ('["a\\qb"]', "1:4 DF115 '\\q' is no character", ""),
        ('["\\u12"]', "1:3 DF115 '\\u12' is no character", "\\uXXXX"),
        ('{"a": {{ b }}}', "1:7 DF120 the template '{{ b }}' has no quotes", "quote the template"),
    ],
)
def test_a_fault_in_json_is_told_with_its_place_and_what_to_do(text: str, said: str, hint: str) -> None:
    found = problem(text, name="w.json")
    assert f"{found.span} {found.code} {found.message}" == f"w.json:{said}"
    assert hint in (found.hint or "")
