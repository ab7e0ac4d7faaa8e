from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from durableflow import syntax
from durableflow.document import Document, Limits, Path, read_bytes, read_document
from durableflow.errors import Diagnostic, WorkflowError
from durableflow.source import Source
from durableflow.values import to_text

WORKFLOW = """\
durableflow: "1"
name: order   # the name
states:
  - name: charge
    type: step
    payload: {id: "{{ input.id }}", tags: [a, b]}

  # a comment between
  - name: mail
    message: |
      Dear {{ input.name }},
      thanks.

output: null
"""


def read(text: str, *, name: str = "w.yaml", limits: Limits | None = None, is_data: bool = False) -> Document:
    return read_document(Source(name=name, text=text), limits=limits or Limits(), is_data=is_data)


def problems(text: str, *, name: str = "w.yaml", limits: Limits | None = None) -> list[str]:
    """Place, code and message of every problem."""
    with pytest.raises(WorkflowError) as caught:
        read(text, name=name, limits=limits)
    return [f"{p.span} {p.code} {p.message}".removeprefix(f"{name}:") for p in caught.value.problems]


def first(text: str, *, name: str = "w.yaml") -> Diagnostic:
    with pytest.raises(WorkflowError) as caught:
        read(text, name=name)
    return caught.value.problems[0]


def cut(document: Document, path: Path, *, is_key: bool = False) -> str:
    """The text under a span."""
    span = document.key_span(path) if is_key else document.span(path)
    lines = document.source.text.split("\n")
    if span.start.line == span.end.line:
        return lines[span.start.line - 1][span.start.column - 1 : span.end.column - 1]
    middle = lines[span.start.line : span.end.line - 1]
    begin, end = lines[span.start.line - 1][span.start.column - 1 :], lines[span.end.line - 1][: span.end.column - 1]
    return "\n".join([begin, *middle, end])


# --- values and spans ---


def test_a_workflow_is_plain_data() -> None:
    assert read(WORKFLOW).value == {
        "durableflow": "1",
        "name": "order",
        "states": [
            {"name": "charge", "type": "step", "payload": {"id": "{{ input.id }}", "tags": ["a", "b"]}},
            {"name": "mail", "message": "Dear {{ input.name }},\nthanks.\n"},
        ],
        "output": None,
    }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("name",), "order"),
        (("durableflow",), '"1"'),
        (("states", 0, "payload"), '{id: "{{ input.id }}", tags: [a, b]}'),
        (("states", 0, "payload", "tags", 1), "b"),
        (("states", 0), 'name: charge\n    type: step\n    payload: {id: "{{ input.id }}", tags: [a, b]}'),
        (("states", 1, "message"), "|\n      Dear {{ input.name }},\n      thanks."),
        (("output",), "null"),
        ((), WORKFLOW.rstrip()),
    ],
)
def test_the_span_of_a_value_is_its_text_without_what_follows(path: Path, text: str) -> None:
    assert cut(read(WORKFLOW), path) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("name",), "name"),
        (("states", 0, "payload", "id"), "id"),
        (("states", 1, "message"), "message"),
        (("states", 0, "payload", "tags", 1), "b"),
        ((), WORKFLOW.rstrip()),
    ],
)
def test_the_span_of_a_key_is_its_text_and_that_of_the_value_where_there_is_no_key(path: Path, text: str) -> None:
    assert cut(read(WORKFLOW), path, is_key=True) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("states", 0, "payload", "nope"), "payload"),
        (("states", 0, "payload", "nope", 3, "deeper"), "payload"),
        (("states", 7), "states"),
        (("states", -1), "states"),
        (("name", "x"), "name"),
        (("name", 0), "name"),
        (("states", 0, "payload", "tags", 0, "x"), "a"),
        (("nope",), WORKFLOW.rstrip()),
    ],
)
def test_a_path_that_does_not_exist_points_at_the_key_of_its_nearest_parent(path: Path, text: str) -> None:
    assert cut(read(WORKFLOW), path) == text


def test_an_empty_value_has_the_place_behind_its_key() -> None:
    span = read("a:\nb: 1\n").span(("a",))
    assert (span.start, span.end) == ((1, 3), (1, 3))


@pytest.mark.parametrize(
    ("path", "offset", "mark"),
    [
        (("states", 0, "payload", "id"), 3, (6, 23)),
        (("states", 1, "message"), 0, (11, 7)),
        (("states", 1, "message"), 5, (11, 12)),
        (("states", 1, "message"), 23, (12, 7)),
        (("states", 1, "message"), 9_999, (13, 1)),
        (("name",), 5, (2, 12)),
        (("output",), 3, (14, 9)),
        (("nope",), 3, (1, 1)),
    ],
)
def test_a_character_of_a_text_has_its_place_in_the_file(path: Path, offset: int, mark: tuple[int, int]) -> None:
    assert read(WORKFLOW).mark_in(path, offset) == mark


def test_a_character_of_an_aliased_text_stands_at_the_anchor() -> None:
    document = read("a: &x\n  'b''c'\nd: [*x]\n")
    assert document.mark_in(("d", 0), 2) == (2, 7)
    assert cut(document, ("d", 0)) == "*x"


def test_windows_line_ends_do_not_move_anything() -> None:
    document = read(WORKFLOW.replace("\n", "\r\n"))
    assert document.value == read(WORKFLOW).value
    assert document.mark_in(("states", 1, "message"), 23) == (12, 7)
    assert document.span(("output",)).start == (14, 9)


# --- YAML scalars and keys ---


def test_words_that_other_readers_take_for_booleans_are_good_keys() -> None:
    assert read("on: 1\nno: 2\ny: 3\n").value == {"on": 1, "no": 2, "y": 3}


def test_every_refused_scalar_is_reported_in_one_run() -> None:
    assert problems("a: no\nb: [010, x, 1:30]\n1: c\n") == [
        "1:4 DF124 unquoted 'no' is false to some readers, text to others",
        "2:5 DF124 unquoted '010' is a number to base 8 to some readers, text to others",
        "2:13 DF124 unquoted '1:30' is a number to base 60 to some readers, text to others",
        "3:1 DF122 the key '1' is no text",
    ]


def test_a_key_that_stands_twice_is_shown_at_the_second_place_and_mentions_the_first() -> None:
    problem = first("a: 1\nb:\n  c: 1\n  d: 2\n  'c': 3\n")
    assert str(problem.span) == "w.yaml:5:3"
    assert problem.message == "the key 'c' stands twice in this mapping"
    assert problem.hint
    assert "first at line 3" in problem.hint


def test_a_key_may_stand_once_in_each_mapping() -> None:
    assert read("a: {x: 1}\nb: {x: 1, y: {x: 2}}\n").value


def test_lists_and_mappings_are_no_keys_and_what_is_around_them_is_still_read() -> None:
    assert problems("[a, b]: 1\nc: no\n{d: 1}: 2\n") == [
        "1:1 DF122 a list cannot be a key",
        "2:4 DF124 unquoted 'no' is false to some readers, text to others",
        "3:1 DF122 a mapping cannot be a key",
    ]


def test_a_template_in_a_key_is_refused_in_a_workflow_and_text_in_data() -> None:
    assert problems('"{{ a }}": 1\nx: {"a{% b %}": 2}\n') == [
        "1:1 DF121 the key '{{ a }}' holds a template",
        "2:5 DF121 the key 'a{% b %}' holds a template",
    ]
    assert read('"{{ a }}": 1\n', is_data=True).value == {"{{ a }}": 1}


def test_single_braces_in_a_key_are_text() -> None:
    assert read('"^a{2}$": 1\n').value == {"^a{2}$": 1}


@pytest.mark.parametrize(
    "value", ["{{ a }}", "{{ a.b | map(attribute='x') }}", "{{ {'a': 1}['a'] }}", "{{ a['b'] }} c"]
)
def test_an_unquoted_template_is_one_problem_at_its_place(value: str) -> None:
    problem = first(f"x: 1\ny: {value}\n")
    assert len(problems(f"x: 1\ny: {value}\n")) == 1
    assert problem.code == "DF120"
    assert str(problem.span) == "w.yaml:2:4"
    assert problem.hint
    assert "quote the template" in problem.hint


def test_unquoted_templates_are_found_wherever_they_stand() -> None:
    assert problems("a: {{ b }}\nc:\n  - {{ d }}\n  - [{{ e }}]\n{{ f }}: 1\n") == [
        "1:4 DF120 the template '{{ b }}' has no quotes",
        "3:5 DF120 the template '{{ d }}' has no quotes",
        "4:6 DF120 the template '{{ e }}' has no quotes",
        "5:1 DF120 the template '{{ f }}' has no quotes",
    ]


def test_what_is_wrong_inside_an_unquoted_template_is_not_reported() -> None:
    assert problems("a: {{ 1, yes, *x }}\nb: no\n") == [
        "1:4 DF120 the template '{{ 1, yes, *x }}' has no quotes",
        "2:4 DF124 unquoted 'no' is false to some readers, text to others",
    ]


def test_a_template_inside_plain_text_needs_no_quotes() -> None:
    assert read("a: Hello {{ b }}!\nb: states.x.result | length == 0\n").value == {
        "a": "Hello {{ b }}!",
        "b": "states.x.result | length == 0",
    }


# --- anchors, aliases, merge keys ---


def test_an_alias_stands_for_its_anchor() -> None:
    document = read("a: &x {b: [1, 2]}\nc: *x\nd: [*x, *x]\n&k e: 1\nf: *k\n")
    assert document.value == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": [{"b": [1, 2]}] * 2, "e": 1, "f": "e"}
    assert cut(document, ("c",)) == "*x"
    assert str(document.span(("c", "b", 1))) == "w.yaml:1:15"


def test_an_alias_of_a_text_may_be_a_key() -> None:
    assert read("a: &x b\n*x : 1\n").value == {"a": "b", "b": 1}


def test_an_alias_of_anything_else_is_no_key() -> None:
    assert problems("a: &x 1\n*x : 1\n") == ["2:1 DF122 the key '*x' is no text"]


def test_merged_entries_stand_before_the_own_ones_which_win_wherever_they_stand() -> None:
    document = read("a: &a {x: 1, y: 2}\nb:\n  y: 3\n  <<: *a\n  z: 4\n")
    assert to_text(document.value) == '{"a":{"x":1,"y":2},"b":{"x":1,"y":3,"z":4}}'
    assert str(document.key_span(("b", "x"))) == "w.yaml:1:8"
    assert str(document.key_span(("b", "y"))) == "w.yaml:3:3"


def test_the_first_of_several_merged_mappings_wins() -> None:
    document = read(
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b, {z: 3, w: 3}]}\nd: &d [*b, *a]\ne: {<<: *d}\n"
    )
    value = document.value
    assert isinstance(value, dict)
    assert value["c"] == {"x": 1, "y": 1, "z": 2, "w": 3}
    assert value["e"] == {"x": 1, "y": 2, "z": 2}
    assert str(document.span(("c", "w"))) == "w.yaml:3:28"


@given(st.lists(st.dictionaries(st.sampled_from("pqrs"), st.integers(0, 9), max_size=3), min_size=1, max_size=3))
def test_merging_agrees_with_pyyaml(mappings: list[dict[str, int]]) -> None:
    rows = [f"m{n}: &m{n} {json.dumps(mapping)}" for n, mapping in enumerate(mappings)]
    aliases = ", ".join(f"*m{n}" for n in range(len(mappings)))
    text = "\n".join([*rows, f"all: {{q: own, <<: [{aliases}]}}"])
    assert read(text).value == yaml.safe_load(text)


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("'<<': 1\n").value == {"<<": 1}


@pytest.mark.parametrize("value", ["1", "[1]", "null", "text"])
def test_only_mappings_can_be_merged(value: str) -> None:
    assert first(f"a: {{<<: {value}}}\n").code == "DF136"


def test_what_is_wrong_with_aliases_is_reported_once_each() -> None:
    assert problems("a: &a [*a]\nb: {<<: *nobody}\nc: &tools 1\nd: *tool\ne: &tools 2\nf: *gone\n*g : 1\n") == [
        "1:8 DF134 the alias '*a' stands inside its own anchor",
        "2:9 DF133 no anchor '&nobody' stands before this alias",
        "4:4 DF133 no anchor '&tool' stands before this alias",
        "5:4 DF135 the anchor '&tools' is set twice",
        "6:4 DF133 no anchor '&gone' stands before this alias",
        "7:1 DF133 no anchor '&g' stands before this alias",
    ]
    assert first("a: &tools 1\nb: *tool\n").hint == "did you mean '*tools'?"


# --- limits ---

SMALL = Limits(file_bytes=200, depth=3, nodes=10, scalar_bytes=20)


@pytest.mark.parametrize(
    ("good", "bad", "code", "name"),
    [
        ("a: [[1]]", "a: [[[1]]]", "DF105", "depth"),
        ("a: [1,2,3,4,5,6,7]", "a: [1,2,3,4,5,6,7,8]", "DF106", "nodes"),
        ("a: " + "é" * 10, "a: " + "é" * 10 + "x", "DF107", "scalar_bytes"),
        ("#" * 195 + "\na: 1", "#" * 195 + "\na: 12", "DF102", "file_bytes"),
        ("a: &a [1]\nb: [*a, *a]", "a: &a [1]\nb: [*a, *a, 1]", "DF106", "nodes"),
        ("a: &a [1]\nb: [*a]", "a: &a [1]\nb: [[*a]]", "DF105", "depth"),
        ("a: &a {b: 1}\nc: *a", "a: &a {b: 1}\nc: {<<: *a}", "DF106", "nodes"),
    ],
)
def test_every_limit_is_kept_to_the_last_unit_and_named(good: str, bad: str, code: str, name: str) -> None:
    assert read(good, limits=SMALL).value
    with pytest.raises(WorkflowError, match=name) as caught:
        read(bad, limits=SMALL)
    assert [p.code for p in caught.value.problems] == [code]


def test_texts_are_counted_with_their_aliases_written_out() -> None:
    text = "a: &a " + "x" * 60 + "\nb: [*a, *a"
    limits = Limits(file_bytes=200)
    assert read(text + "]", limits=limits).value
    assert problems(text + ", *a]", limits=limits) == [
        "2:13 DF102 more than 200 bytes of text (file_bytes), aliases written out"
    ]


def test_problems_found_before_a_limit_are_kept() -> None:
    assert [line.split()[1] for line in problems("a: no\nb: [[[1]]]", limits=SMALL)] == ["DF124", "DF105"]


# --- bytes and characters ---


def test_bytes_are_utf8_with_or_without_a_mark() -> None:
    assert read_bytes("a: é\n".encode(), "w").value == {"a": "é"}
    marked = read_bytes("a: é\n".encode("utf-8-sig"), "w")
    assert marked.value == {"a": "é"}
    assert marked.span(("a",)).start == (1, 4)
    assert read("\ufeffa: 1\n").key_span(("a",)).start == (1, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff", "the file is not UTF-8 at byte 8"),
        (b"\xef\xbb\xbfa: 1\nb: \xc3", "the file is not UTF-8 at byte 11"),
        ("a: 1".encode("utf-16"), "the file is UTF-16, not UTF-8"),
        ("a: 1".encode("utf-16-be"), "the file is UTF-16, not UTF-8"),
        ("a: 1".encode("utf-32"), "the file is UTF-32, not UTF-8"),
    ],
)
def test_other_bytes_are_refused_by_encoding_or_place(data: bytes, message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_bytes(data, "w")
    problem = caught.value.problems[0]
    assert problem.message == message
    assert str(problem.span) == ("w:2:4" if "byte" in message else "w:1:1")


def test_size_is_looked_at_before_anything_else() -> None:
    with pytest.raises(WorkflowError, match="20 bytes, more than 10"):
        read_bytes(b"\xff" * 20, "w", limits=Limits(file_bytes=10))


def test_a_nul_is_shown_where_it_stands() -> None:
    with pytest.raises(WorkflowError, match="cannot stand in a file") as caught:
        read_bytes(b"a: 1\nbcd: x\0\n", "w")
    assert str(caught.value.problems[0].span) == "w:2:7"


def test_at_most_twenty_control_characters_are_reported() -> None:
    assert len(problems("a: " + "\x07" * 50)) == 20


@pytest.mark.parametrize("text", ["", "\n \n", "# c\n", "---\n# c\n..."[4:7]])
def test_an_empty_file_is_said_to_be_empty(text: str) -> None:
    assert problems(text) == ["1:1 DF104 the file is empty"]


# --- JSON ---


def test_json_is_read_exactly() -> None:
    text = '{"a":\t"\\/\\ud83d\\ude00\\n",\r\n\t"b": [1.0, -0, 1e3, true, null, 9007199254740993, "\u2028"]}'
    document = read(text, name="w.json")
    assert to_text(document.value) == to_text(json.loads(text))
    assert document.mark_in(("a",), 2) == (1, 22)
    assert document.span(("b", 3)).start == (2, 22)


def test_json_under_another_name_is_read_as_json() -> None:
    assert read('{"a":\t"\\/\\ud83d\\ude00"}').value == {"a": "/😀"}


def test_yaml_that_starts_with_a_bracket_is_read_as_yaml() -> None:
    assert read("{durableflow: '1', # c\n a: [b]}").value == {"durableflow": "1", "a": ["b"]}


def test_what_json_refuses_is_not_retried_as_yaml() -> None:
    assert problems('{"a": 1,\n "a": 2, "b": "\\u0000"}') == [
        "2:2 DF123 the key 'a' stands twice in this mapping",
        "2:16 DF126 a text cannot hold the character '\\u0000'",
    ]


def test_data_that_looks_like_python_or_templates_is_plain_data() -> None:
    value = {"__class__": {"self": 1}, "b": "{{ 7 * 7 }}", "c": "${x} %s"}
    assert read(json.dumps(value), name="w.json").value == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('abcé \\"', max_size=5), inner, max_size=4),
        max_leaves=15,
    ),
    st.booleans(),
    st.sampled_from([None, 2, "\t"]),
)  # fmt: skip
def test_every_json_text_reads_as_json_loads_reads_it(value: object, is_ascii: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent).replace("\x7f", "\\u007f")
    assert json.dumps(read(text, name="w.json").value) == json.dumps(value)


@given(st.text('{}[]",:\\tu0e1- \n', max_size=20))
def test_json_is_taken_exactly_when_json_loads_takes_it(text: str) -> None:
    try:
        expected = json.loads(
            text, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else 1 / 0
        )
    except (ValueError, ZeroDivisionError):
        expected = ...
    try:
        value = read(text, name="w.json").value
    except WorkflowError as error:
        # Lone halves of surrogate pairs and NUL are JSON, but no text of ours.
        is_same = expected is ... or error.code == "DF126"
    else:
        is_same = expected is not ... and to_text(value) == to_text(expected)
    assert is_same


# --- both parsers, all texts ---

YAML_PIECES = st.sampled_from(
    ["a", "b: ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "'", '"', "#", " #", "&x ", "*x", "!t ", "|",
     ">", "\n---\n", "%", "? ", ": ", "{{ ", " }}", "<<: ", "1", "yes", "\\", "\\u", "~", "@", "\t", "...", "é",
     "\u2028", "\\UFFFFFFFF"]
)  # fmt: skip


@given(
    st.lists(YAML_PIECES, max_size=12).map("".join),
    st.sampled_from([yaml.Loader, getattr(yaml, "CLoader", yaml.Loader)]),
)
def test_any_text_gives_a_document_or_problems_with_places_inside_it(text: str, parser: type[yaml.Loader]) -> None:
    usual, syntax.PARSER = syntax.PARSER, parser
    try:
        document = read(text)
    except WorkflowError as error:
        lines = text.count("\n") + 1
        for problem in error.problems:
            assert problem.span
            assert 1 <= problem.span.start.line <= lines
            assert problem.span.start <= problem.span.end
            assert str(problem)
    else:
        walk(document, (), document.value)
    finally:
        syntax.PARSER = usual


def walk(document: Document, path: Path, value: object) -> None:
    """Touch every span and place of a document."""
    assert document.span(path).start <= document.span(path).end
    if isinstance(value, dict):
        for key, item in value.items():
            assert document.key_span((*path, key))
            walk(document, (*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            walk(document, (*path, index), item)
    elif isinstance(value, str):
        marks = [document.mark_in(path, offset) for offset in range(len(value) + 1)]
        assert marks == sorted(marks)
