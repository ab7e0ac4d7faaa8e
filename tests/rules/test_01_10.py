"""Values, text and results: rules 1 to 10."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from crashes import endings
from doubles import Function, by_attempt
from shell import Shell, shell
from worlds import World, plan_of

from durableflow.compiler import understand
from durableflow.document import read_document
from durableflow.errors import Fault, WorkflowError
from durableflow.library import FILTERS, TESTS
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.values import Json

__all__ = ["shell"]

EXPRESSIONS = Path(__file__).parent.parent.parent / "docs" / "expressions.md"


def evaluated(template: Json, given: Json = None) -> Any:
    """What a template gives, on the first way and on every replay."""
    states = [{"name": "p", "type": "pass", "output": template}, {"name": "w", "type": "wait", "duration": 1}]
    text = json.dumps(
        {"durableflow": "1", "name": "demo", "states": states, "output": "{{ states.p.result }}"}, ensure_ascii=False
    )
    return endings(lambda: World(text, input=given)).result


def failure(template: Json, given: Json = None) -> str:
    """The name of the error of a template."""
    states = [{"name": "p", "type": "pass", "output": template}]
    text = json.dumps({"durableflow": "1", "name": "demo", "states": states})
    return endings(lambda: World(text, input=given)).error[0]


def codes(states: str) -> list[str]:
    """The codes of all problems and warnings of a workflow."""
    found = understand(Source(name="w.yaml", text=f'durableflow: "1"\nname: demo\n{states}'))[2]
    return [problem.code for problem in found if problem.severity != "info"]


def read(text: str) -> Any:
    """What a YAML text says."""
    return read_document(Source(name="w.yaml", text=text)).value


def refused(text: str) -> str:
    """Why a YAML text cannot be read: code, message and hint."""
    with pytest.raises(WorkflowError) as error:
        read(text)
    (problem,) = error.value.problems
    return f"{problem.code} {problem.message} ({problem.hint})"


# 1 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a \"b\" <é> 'c'", "a \"b\" <é> 'c'"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (12, "12"),
        (1.0, "1.0"),
        ({"a": 1, "b": [None, True, "x"]}, '{"a":1,"b":[null,true,"x"]}'),
        ([], "[]"),
    ],
)
def test_rule_01_in_text_strings_stand_as_they_are_and_all_else_is_compact_json(value: Json, text: str) -> None:
    assert evaluated("<{{ input.v }}>", {"v": value}) == f"<{text}>"
    # The other ways in which a value becomes text have the same rule.
    assert evaluated("{{ input.v | string }}", {"v": value}) == text
    assert evaluated("{{ '<' ~ input.v ~ '>' }}", {"v": value}) == f"<{text}>"
    assert evaluated("{% for x in [input.v] %}{{ x }};{% endfor %}", {"v": value}) == f"{text};"


def test_rule_01_tojson_keeps_the_order_of_keys_and_escapes_nothing_for_html() -> None:
    given: Json = {"b": "<a href='x'>&é</a>", "a": 1}
    assert evaluated("{{ input | tojson }}", given) == '{"b":"<a href=\'x\'>&é</a>","a":1}'
    assert evaluated("{{ 'null' | tojson }}") == '"null"'


@pytest.mark.parametrize("text", ["{{ input }}\n", "{{ input }}\n\n", "{% if input %}a{% endif %}\n", "a{{ input }}\n"])
def test_rule_01_a_trailing_newline_stays(text: str) -> None:
    made = evaluated(text, 1)
    assert isinstance(made, str)
    assert made.endswith("\n\n" if text.endswith("\n\n") else "\n")


@pytest.mark.parametrize(
    "expression", ["input.gone or 5", "input.gone and 5", "not input.gone", "5 if input.gone else 6", "input.gone"]
)
def test_rule_01_what_is_undefined_has_no_truth(expression: str) -> None:
    assert failure(f"{{{{ {expression} }}}}", {}) == "States.QueryEvaluationError"


# 2 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-(2**63), 2**64 - 1, 2**53 + 1, -(2**53) - 1])
def test_rule_02_integers_are_exact(number: int) -> None:
    ways: Json = [number, "{{ input }}", f"{{{{ {number} }}}}", "{{ input // 1 }}", "{{ input + 0 }}"]
    assert evaluated(ways, number) == [number] * 5
    assert evaluated("{{ input ~ '' }}", number) == str(number)
    assert read(f"a: {number}") == {"a": number}


@pytest.mark.parametrize(
    "expression",
    ["input.big + 1", "input.small - 1", "input.big * 2", "2 ** 64", "-input.big", "[input.big, 1] | sum"],
)
def test_rule_02_larger_ones_are_an_error(expression: str) -> None:
    given: Json = {"big": 2**64 - 1, "small": -(2**63)}
    assert failure(f"{{{{ {expression} }}}}", given) == "States.QueryEvaluationError"


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**64])
def test_rule_02_a_larger_literal_is_a_diagnostic(number: int) -> None:
    assert refused(f"a: {number}").startswith("DF125")
    assert codes(f"states: [{{name: p, type: pass, output: '{{{{ {abs(number) + 2**64} }}}}'}}]") == ["DF212"]


@pytest.mark.parametrize(("text", "value"), [("1.5", 1.5), ("1.0", 1.0), ("1e3", 1000.0), ("-0.1", -0.1)])
def test_rule_02_other_numbers_are_doubles(text: str, value: float) -> None:
    made = evaluated([read(text), f"{{{{ {text} }}}}", "{{ input }}"], value)
    assert made == [value] * 3
    assert [type(one) for one in made] == [float] * 3
    assert evaluated("{{ 0.1 + 0.2 }}") == 0.1 + 0.2


# 3 -------------------------------------------------------------------------------------------------------------------

WORDS = [case(word) for word in ("yes", "no", "on", "off", "y", "n") for case in (str.lower, str.upper, str.title)]
SPELLED = ["True", "TRUE", "False", "FALSE", "Null", "NULL"]
NUMBERS = ["010", "00", "-07", "0x1F", "0o7", "0b1", "1:30", "12:30:45", "1_000", "+1", ".5", "1."]
DATES = ["2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02 03:04:05"]
NONE_SUCH = [".nan", ".NaN", ".inf", "-.inf", "="]


@pytest.mark.parametrize("word", [*WORDS, *SPELLED, *NUMBERS, *DATES, *NONE_SUCH])
def test_rule_03_what_some_reader_takes_for_something_else_is_refused_as_a_value(word: str) -> None:
    for text in (f"a: {word}", f"[{word}]", f"- {word}", f"{{a: {word}}}"):
        problem = refused(text)
        assert problem.startswith("DF124")
        assert "quote it, or write" in problem
    assert read(f"a: '{word}'") == read(f'a: "{word}"') == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("null", None), ("~", None), ("", None), ("1e3", 1000.0), ("0", 0), ("-1", -1)],
)
def test_rule_03_what_is_json_and_the_two_other_nulls(text: str, value: Json) -> None:
    made = read(f"a: {text}")["a"]
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize("key", ["y", "n", "on", "Y", "off", "no", "yes"])
def test_rule_03_a_key_may_be_a_word_that_some_take_for_a_boolean(key: str) -> None:
    assert read(f"{key}: 1") == read(f"{{{key}: 1}}") == {key: 1}


@pytest.mark.parametrize("key", ["1", "-1.5", "1e3", "true", "false", "null", "~"])
def test_rule_03_a_key_that_is_no_text_is_refused(key: str) -> None:
    assert refused(f"{key}: 1").startswith("DF122")
    assert read(f"'{key}': 1") == {key: 1}


# 4 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["{{ input }}", "a{{ input }}", "{% if input %}a{% endif %}"])
def test_rule_04_a_key_is_never_a_template(key: str) -> None:
    assert refused(f'a: {{"{key}": 1}}').startswith("DF121")
    assert refused(json.dumps({"a": [{key: 1}]})).startswith("DF121")


def test_rule_04_a_key_from_data_is_no_template_either() -> None:
    assert evaluated("{{ {input: 1} }}", "{{ 1 + 1 }}") == {"{{ 1 + 1 }}": 1}


# 5 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "is_taken"),
    [
        ("true", True),
        ("false", False),
        ("null", False),
        ("0", False),
        ("0.0", False),
        ("2", True),
        ("'{{ input }}'", True),
        ("input", True),
        ("\"''\"", False),
        ("'[]'", False),
        ("'[0]'", True),
        ("'{}'", False),
        ("'{\"a\": none}'", True),
        ("none", False),
        ("'none'", False),
    ],
)
def test_rule_05_conditions_take_yaml_values_and_have_the_truth_of_jinja2(condition: str, *, is_taken: bool) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: c, type: choice, choices: [{{when: {condition}, states: [{{name: w, type: wait, "
            "duration: 1}]}], default: []}, "
            f"{{name: s, type: wait, duration: 1, when: {condition}}}, "
            f"{{name: l, type: loop, while: {condition}, max_iterations: 1, on_limit: continue, "
            "states: [{name: x, type: wait, duration: 1}]}, "
            f"{{name: u, type: loop, until: {condition}, max_iterations: 2, on_limit: continue, "
            "states: [{name: z, type: wait, duration: 1}]}]",
            input="yes",
        )
    )
    assert ending.paths == (["w", "s", "l{0}/x", "u{0}/z"] if is_taken else ["u{0}/z", "u{1}/z"])


def test_rule_05_items_are_an_expression_too() -> None:
    text = "states: [{name: m, type: map, items: ITEMS, states: [{name: p, type: pass, output: '{{ item }}'}]}]"
    assert endings(lambda: World(text.replace("ITEMS", "'[1, 2]'"))).result == [1, 2]
    for literal in ("true", "7", "null"):  # as itself it is no list, which is plain before anything runs
        assert "DF156" in codes(text.replace("ITEMS", literal))


@pytest.mark.parametrize(
    ("condition", "is_linted"), [("\"'no'\"", True), ("\"{{ 'no' }}\"", True), ("\"''\"", False), ("input.a", False)]
)
def test_rule_05_a_when_that_is_a_text_is_linted(condition: str, *, is_linted: bool) -> None:
    assert ("DF408" in codes(f"states: [{{name: s, type: pass, when: {condition}}}]")) is is_linted
    choice = f"choices: [{{when: {condition}, next: end}}]"
    assert ("DF408" in codes(f"states: [{{name: s, type: choice, default: [], {choice}}}]")) is is_linted


# 6 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abcde", ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("piece", ["1:3", ":2", "3:", ":", "-2:", ":-1", "::2", "::-1", "-1:0:-2", "9:", "-9:2"])
def test_rule_06_slices_work_on_lists_and_text(given: Any, piece: str) -> None:
    start, stop, step = (int(part) if part else None for part in [*piece.split(":"), ""][:3])
    assert evaluated(f"{{{{ input[{piece}] }}}}", given) == given[start:stop:step]


@pytest.mark.parametrize("given", ["abc", ["a", "b", "c"]])
def test_rule_06_negative_indices_count_from_the_end(given: Any) -> None:
    assert evaluated(["{{ input[-1] }}", "{{ input[-3] }}", "{{ input[2] }}"], given) == ["c", "a", "c"]
    assert failure("{{ input[-4] }}", given) == failure("{{ input[3] }}", given) == "States.QueryEvaluationError"


@pytest.mark.parametrize(
    ("template", "given"), [("{{ input[0:1] }}", {"a": 1}), ("{{ input[0:1] }}", 5), ("{{ input[::0] }}", "abc")]
)
def test_rule_06_nothing_else_is_sliced(template: str, given: Json) -> None:
    assert failure(template, given) == "States.QueryEvaluationError"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose workflow stands in a folder of its own, with a file beside it and others around."""
    inner = tmp_path / "project" / "flows" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [flows]\n')
    (tmp_path / "secret.txt").write_text("not ours")
    (tmp_path / "project" / "top.txt").write_text("top")
    (tmp_path / "project" / "flows" / "beside.txt").write_text("not beside the workflow")
    (inner / "beside.txt").write_text("beside")
    monkeypatch.chdir(tmp_path)
    return inner


def loaded(shell: Shell, folder: Path, *names: str) -> Any:
    template = json.dumps([f"{{{{ load('{name}') }}}}" for name in names])
    (folder / "w.yaml").write_text(
        f'durableflow: "1"\nname: w\nstates: [{{name: p, type: pass, output: {template}}}]\n', encoding="utf-8"
    )
    ran = shell("run", folder / "w.yaml", "--ephemeral")
    return json.loads(ran.out) if ran.code == 0 else ran.err


def test_rule_06_load_is_relative_to_the_workflows_file(shell: Shell, project: Path) -> None:
    assert loaded(shell, project, "beside.txt", "../../top.txt") == ["beside", "top"]


def test_rule_06_load_reads_json_yaml_or_text_by_extension(shell: Shell, project: Path) -> None:
    (project / "a.json").write_text('{"a": [1, null, "{{ x }}"]}')
    (project / "a.yaml").write_text("a: [1, ~, '{{ x }}']\n")
    (project / "a.yml").write_text("[1]")
    (project / "a.md").write_text('{"a": 1}\n')
    (project / "a").write_text("1")
    names = ("a.json", "a.yaml", "a.yml", "a.md", "a")
    tree = {"a": [1, None, "{{ x }}"]}  # text that comes from a file is no template
    assert loaded(shell, project, *names) == [tree, tree, [1], '{"a": 1}\n', "1"]


def test_rule_06_load_stays_inside_the_project(shell: Shell, project: Path) -> None:
    (project / "link.txt").symlink_to(project.parent.parent.parent / "secret.txt")
    for name in ("../../../secret.txt", str(project / "beside.txt"), "link.txt", "~/x", "file:///etc/hosts"):
        said = loaded(shell, project, name)
        assert "DF241" in said or "DF242" in said, name
        assert "not ours" not in said


def test_rule_06_each_filter_and_test_is_defined_in_the_documentation() -> None:
    text = EXPRESSIONS.read_text(encoding="utf-8")
    documented = {}
    for heading in ("Filters", "Tests"):
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
        documented[heading] = {name for cell in cells for name in re.findall(r"`([a-z0-9_]+)", cell)}
    # Those that take the name of another filter or test are no plain functions.
    assert documented["Filters"] >= {*FILTERS, "map", "select", "reject", "selectattr", "rejectattr", "default", "d"}
    assert documented["Tests"] >= {*TESTS, "defined", "undefined"}
    for sort, names in documented.items():
        for name in names:
            asked = f"input | {name}" if sort == "Filters" else f"input is {name}"
            found = codes(f'states: [{{name: p, type: pass, output: "{{{{ {asked} }}}}"}}]')
            assert not {"DF202", "DF203"} & set(found), name


# 7 -------------------------------------------------------------------------------------------------------------------

PRODUCERS = {
    "step": "type: step, handler: 'm:f'",
    "invoke": "type: invoke, function: f",
    "child": "type: workflow, workflow: f",
    "inline": "type: workflow, workflow: g, mode: inline",
    "callback": "type: wait_for_callback",
    "block": "type: block, states: [{name: i, type: invoke, function: f}]",
    "loop": "type: loop, max_iterations: 1, states: [{name: i, type: invoke, function: f}]",
    "choice": "type: choice, choices: [{when: true, states: [{name: i, type: invoke, function: f}]}]",
    "map": "type: map, items: '[1]', states: [{name: i, type: invoke, function: f}]",
    "parallel": "type: parallel, branches: {b: [{name: i, type: invoke, function: f}]}",
}


def producer(kind: str, more: str) -> World:
    return World(
        f"vars: {{seen: null}}\nstates: [{{name: s, {PRODUCERS[kind]}, {more}}}, {{name: w, type: wait, duration: 1}}]\n"
        'output: ["{{ vars.seen }}", "{{ states.s.result }}"]',
        handlers={"m:f": lambda _: 1},
        targets={"f": Function(1)},
        answers={"s": [1]},
        inline={"f": "states: [{name: p, type: pass}]", "g": "states: [{name: i, type: invoke, function: f}]"},
    )


RAW = {"map": [1], "parallel": {"b": 1}}


@pytest.mark.parametrize("kind", PRODUCERS)
def test_rule_07_output_alone_sees_the_raw_result(kind: str) -> None:
    ending = endings(
        lambda: producer(
            kind,
            "output: {projected: '{{ result }}'}, assign: {seen: '{{ result }}'}, "
            "result_schema: {type: object, required: [projected]}",
        )
    )
    projected = {"projected": RAW.get(kind, 1)}
    assert ending.result == [projected, projected]


@pytest.mark.parametrize("kind", PRODUCERS)
def test_rule_07_result_schema_judges_the_projected_one(kind: str) -> None:
    ending = endings(
        lambda: producer(
            kind,
            "output: {projected: '{{ result }}'}, result_schema: {type: [integer, array]}, catch: [{errors: "
            "[States.ResultInvalid], assign: {seen: '{{ error.name }}'}}]",
        )
    )
    assert ending.result == ["States.ResultInvalid", None]


def test_rule_07_until_sees_the_projected_one() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: c, type: wait_for_condition, check: {type: step, handler: 'm:f', output: {n: '{{ result * 10 }}'}}, "
            "until: result.n == 20, interval: 1, assign: {seen: '{{ result }}'}, output: ['{{ result }}']}, "
            "{name: w, type: wait, duration: 1}]\noutput: '{{ vars.seen }}'",
            handlers={"m:f": by_attempt(1, 2, 3)},
        )
    )
    assert ending.result == [{"n": 20}]


@pytest.mark.parametrize(
    ("work", "key"),
    [
        ("type: step, handler: 'm:f'", "m:f"),
        ("type: aws, service: s3, action: list_buckets", "s3:list_buckets"),
        ("type: http, method: GET, url: 'https://x.example'", "GET https://x.example"),
    ],
)
def test_rule_07_what_is_stored_is_the_projected_one(work: str, key: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {work}, output: '{{{{ result.body }}}}'}}]",
            handlers={key: lambda _: {"status": 200, "headers": {}, "body": 1}},
        )
    )
    assert ending.operation("s")["StepDetails"]["Result"] == "1"


# 8 -------------------------------------------------------------------------------------------------------------------

BODY = (
    "[{name: a, type: invoke, function: f, payload: one}, {name: b, type: invoke, function: f, payload: two}, "
    "{name: c, type: invoke, function: f, payload: three, when: false}]"
)
RUNNERS = {
    "block": "type: block, states: BODY",
    "block with a context": "type: block, context: true, states: BODY",
    "arm": "type: choice, choices: [{when: true, states: BODY}]",
    "default": "type: choice, choices: [{when: false, next: end}], default: BODY",
    "loop": "type: loop, max_iterations: 1, states: BODY",
    "catcher": "type: fail, error: E, catch: [{states: BODY}]",
    "inline": "type: workflow, workflow: g, mode: inline",
}


def runner(kind: str, body: str, more: str = "") -> World:
    text = RUNNERS[kind].replace("BODY", body)
    return World(
        f"states: [{{name: s, {text}{more}}}, {{name: w, type: wait, duration: 1}}]\noutput: '{{{{ states.s.result }}}}'",
        targets={"f": Function()},
        inline={"g": f"states: {body}"},
    )


@pytest.mark.parametrize("kind", RUNNERS)
def test_rule_08_the_result_is_that_of_the_last_state_that_was_not_skipped(kind: str) -> None:
    assert endings(lambda: runner(kind, BODY)).result == "two"


@pytest.mark.parametrize("kind", RUNNERS)
def test_rule_08_else_it_is_null(kind: str) -> None:
    assert endings(lambda: runner(kind, "[{name: a, type: wait, duration: 1, when: false}]")).result is None


@pytest.mark.parametrize("kind", [kind for kind in RUNNERS if kind != "catcher"])
def test_rule_08_its_output_comes_first(kind: str) -> None:
    assert endings(lambda: runner(kind, BODY, ", output: ['{{ result }}']")).result == ["two"]


@pytest.mark.parametrize("nesting", ["flat", "nested"])
def test_rule_08_items_branches_and_workflows_have_such_results_too(nesting: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: m, type: map, items: '[1]', nesting: {nesting}, states: {BODY}}}, "
            f"{{name: p, type: parallel, nesting: {nesting}, branches: {{x: {BODY.replace('name: ', 'name: p')}, "
            "y: [{name: q, type: wait, duration: 1, when: false}]}}, "
            "{name: last, type: pass, output: ['{{ states.m.result }}', '{{ states.p.result }}']}, "
            "{name: w, type: wait, duration: 1, when: false}]",
            targets={"f": Function()},
        )
    )
    assert ending.result == [["two"], {"x": "two", "y": None}]


def test_rule_08_the_last_state_is_the_one_that_ran_last() -> None:
    ending = endings(
        lambda: World(
            "vars: {n: 0}\nstates: [{name: s, type: block, states: ["
            "{name: a, type: invoke, function: f, payload: 'a{{ vars.n }}', assign: {n: '{{ vars.n + 1 }}'}}, "
            "{name: b, type: choice, default: [], choices: [{when: vars.n == 2, next: end}]}, "
            "{name: c, type: invoke, function: f, payload: c, next: a}]}]",
            targets={"f": Function()},
        )
    )
    # The choice ran last, and none of its arms has states.
    assert ending.result is None
    assert ending.paths == ["a", "c", "a#2"]


def test_rule_08_a_loops_result_is_its_last_iterations() -> None:
    text = (
        "states: [{name: l, type: loop, while: iteration < N, max_iterations: 5, states: [{name: a, type: invoke, "
        "function: f, payload: '{{ iteration }}', when: iteration < 2}]}]"
    )
    assert endings(lambda: World(text.replace("N", "2"), targets={"f": Function()})).result == 1
    assert endings(lambda: World(text.replace("N", "3"), targets={"f": Function()})).result is None
    assert endings(lambda: World(text.replace("N", "0"), targets={"f": Function()})).result is None


@pytest.mark.parametrize(
    ("catcher", "result"),
    [
        ("{output: 'o', states: [{name: a, type: invoke, function: f, payload: x}]}", "o"),
        ("{output: null, states: [{name: a, type: invoke, function: f, payload: x}]}", None),
        ("{states: [{name: a, type: invoke, function: f, payload: x}]}", "x"),
        ("{states: [{name: a, type: invoke, function: f, when: false}]}", None),
        ("{assign: {n: 1}}", None),
    ],
)
def test_rule_08_a_caught_state(catcher: str, result: Json) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, type: invoke, function: g, output: own, catch: [{catcher}]}}, "
            "{name: w, type: wait, duration: 1}]\n"
            "output: ['{{ states.s.status }}', '{{ states.s.error.name }}', '{{ states.s.result }}']",
            targets={"f": Function(), "g": Function(Fault("Bad"))},
        )
    )
    assert ending.result == ["caught", "Bad", result]


# 9 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["state", "catcher"])
def test_rule_09_all_templates_of_an_assign_see_the_values_before(kind: str) -> None:
    assign = "assign: {a: '{{ vars.b }}', b: '{{ vars.a }}', new: '{{ [vars.a, vars.b] }}'}"
    state = f"type: wait, duration: 1, {assign}" if kind == "state" else f"type: fail, error: E, catch: [{{{assign}}}]"
    ending = endings(
        lambda: World(
            f"vars: {{a: 1, b: 2}}\nstates: [{{name: s, {state}}}, {{name: w, type: wait, duration: 1}}]\n"
            "output: '{{ vars }}'"
        )
    )
    assert ending.result == {"a": 2, "b": 1, "new": [1, 2]}


def test_rule_09_a_variable_that_nothing_names_is_a_diagnostic() -> None:
    assert codes("states: [{name: s, type: pass, output: '{{ vars.gone }}'}]") == ["DF233"]


ASSIGNED_LATER = {
    "assign": "type: wait, duration: 1, assign: {late: 1}",
    "catcher": "type: fail, error: E, catch: [{assign: {late: 1}}]",
    "inside": "type: block, states: [{name: d, type: wait, duration: 1, assign: {late: 1}}]",
}


@pytest.mark.parametrize("state", ASSIGNED_LATER.values(), ids=ASSIGNED_LATER)
def test_rule_09_one_that_is_not_set_yet_is_undefined(state: str) -> None:
    def world(early: str) -> World:
        return World(
            f"states: [{{name: early, type: pass, output: '{{{{ {early} }}}}'}}, {{name: s, {state}}}]\n"
            "output: ['{{ states.early.result }}', '{{ vars.late }}']"
        )

    assert endings(lambda: world("vars.late is defined")).result == [False, 1]
    assert endings(lambda: world("vars.late")).error[0] == "States.QueryEvaluationError"


def test_rule_09_in_a_catcher_assign_comes_first_then_states_then_output() -> None:
    ending = endings(
        lambda: World(
            "vars: {n: 0}\nstates: [{name: s, type: invoke, function: g, catch: [{assign: {n: 1}, "
            "states: [{name: a, type: invoke, function: f, payload: '{{ vars.n }}', assign: {n: 2}}], "
            "output: ['{{ vars.n }}', '{{ states.a.result }}', '{{ error.name }}']}]}, {name: w, type: wait, duration: 1}]\n"
            "output: '{{ states.s.result }}'",
            targets={"f": Function(), "g": Function(Fault("Bad"))},
        )
    )
    assert ending.result == [2, 1, "Bad"]


def test_rule_09_vars_see_input_env_and_context() -> None:
    ending = endings(
        lambda: World(
            "env: [A]\nvars: {i: '{{ input.x }}', e: '{{ env.A }}', c: '{{ context.workflow.name }}'}\n"
            "states: [{name: w, type: wait, duration: 1}]\noutput: '{{ vars }}'",
            input={"x": 1},
            env={"A": "a"},
        )
    )
    assert ending.result == {"i": 1, "e": "a", "c": "demo"}


def test_rule_09_vars_see_load(shell: Shell, project: Path) -> None:
    (project / "w.yaml").write_text(
        'durableflow: "1"\nname: w\nvars: {l: "{{ load(\'beside.txt\') }}"}\n'
        "states: [{name: p, type: pass, output: '{{ vars.l }}'}]\n"
    )
    assert shell("run", project / "w.yaml", "--ephemeral").out == '"beside"\n'


@pytest.mark.parametrize("seen", ["vars.a", "vars.b", "states.p.result", "result", "error", "secret('s')"])
def test_rule_09_vars_see_nothing_else_and_not_each_other(seen: str) -> None:
    text = f'secrets: {{s: "ssm:/s"}}\nvars: {{a: 1, b: "{{{{ {seen} }}}}"}}\nstates: [{{name: p, type: pass}}]'
    with pytest.raises(WorkflowError):
        plan_of(text)


# 10 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work", ["type: invoke, function: f", "type: workflow, workflow: f", "type: workflow, workflow: g, mode: inline"]
)
def test_rule_10_an_invoke_or_workflow_without_payload_sends_an_empty_object(work: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {work}}}]",
            targets={"f": Function()},
            inline={
                "f": "states: [{name: p, type: pass}]",
                "g": "states: [{name: p, type: pass, output: '{{ input }}'}]",
            },
            input={"not": "sent"},
        )
    )
    assert ending.result == {}


def test_rule_10_a_step_without_payload_gets_one_too() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: s, type: step, handler: 'm:f'}]",
            handlers={"m:f": lambda call: call.arguments(str)},
            input={"not": "sent"},
        )
    )
    assert ending.result == {}


def test_rule_10_a_payload_that_is_null_is_sent() -> None:
    ending = endings(
        lambda: World("states: [{name: s, type: invoke, function: f, payload: null}]", targets={"f": Function()})
    )
    assert ending.result is None
