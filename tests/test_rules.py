"""What the rules find: golden files for what an author sees, small tests for what is injected, counted or bounded."""

from __future__ import annotations

import re
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from durableflow.actions import AllowList, Clients, check_action
from durableflow.compiler import understand
from durableflow.errors import CODES, Diagnostic, UsageError, diagnostic
from durableflow.rules import RULES, Known
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durableflow.model import Workflow

CASES = Path(__file__).parent / "cases" / "problems"
FILES = {
    "body.json": b'{"a": 1}',
    "broken.json": b'{"a": 1,}',
    "order.json": b'{"type": "object", "properties": {"id": {}}, "additionalProperties": false}',
    "wrong.yaml": b"type: object\nproperties:\n  id: {type: texst}\n",
    "note.txt": "Grüße".encode(),
    "latin.txt": "Grüße".encode("latin-1"),
}


def problems_of(text: str, known: Known | None = None) -> list[Diagnostic]:
    _, _, problems = understand(Source(name="workflow.yaml", text=text), known or Known(load_file=FILES.get))
    return list(problems)


def lines_of(states: str, known: Known | None = None, *, head: str = "", tail: str = "") -> list[str]:
    """Return what is found in a workflow with these states, the estimate left out, as `CODE message`."""
    text = f'durableflow: "1"\nname: sample\n{head}\nstates:\n{states}\n{tail}\n'
    return [f"{p.code} {p.message}" for p in problems_of(text, known) if p.code not in ("DF900", "DF404")]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_an_author_sees_every_problem_at_its_place(case: str, golden: Callable[[Path, str], None]) -> None:
    text = (CASES / case / "workflow.yaml").read_text(encoding="utf-8")
    found = "\n\n".join(map(str, problems_of(text))) + "\n"
    golden(CASES / case / "problems.txt", found)


def test_every_code_of_the_rules_is_found_in_some_test() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in CASES.glob("*/problems.txt"))
    here = Path(__file__).read_text(encoding="utf-8") + Path(__file__).with_name("test_compiler.py").read_text("utf-8")
    ours = [code for code in CODES if code == "DF204" or "DF230" <= code < "DF500" or code == "DF900"]
    assert [code for code in ours if code not in shown and code not in here] == []


def test_every_rule_says_what_it_holds() -> None:
    assert all(rule.__doc__ for rule in RULES)


def test_a_sound_workflow_has_only_its_price_to_say() -> None:
    (only,) = problems_of('durableflow: "1"\nname: a\nstates:\n  - {name: x, type: pass}\n')
    assert only.line() == "workflow.yaml:1:1: DF900 info: worst path 0 operations of 3,000"


# What is known from outside.


STEP = "  - {name: score, type: step, handler: 'risk.rules:score', retry: []}"


def test_a_handler_that_cannot_be_imported_is_reported_where_it_is_named() -> None:
    asked: list[str] = []

    def check(handler: str) -> Diagnostic | None:
        asked.append(handler)
        return diagnostic("DF521", f"no module for '{handler}'")

    text = f'durableflow: "1"\nname: a\nstates:\n{STEP}\n{STEP.replace("score,", "again,", 1)}\n'
    found = [problem for problem in problems_of(text, Known(check_handler=check)) if problem.code == "DF521"]
    assert [str(problem.span) for problem in found] == ["workflow.yaml:4:40", "workflow.yaml:5:40"]
    assert asked == ["risk.rules:score"]


def test_a_good_handler_and_a_check_that_is_a_step_are_asked_for_too() -> None:
    asked: list[str] = []
    states = f"{STEP}\n  - {{name: w, type: wait_for_condition, until: result, check: {{type: step, handler: 'a:b'}}}}"
    assert lines_of(states, Known(check_handler=asked.append)) == []
    assert asked == ["risk.rules:score", "a:b"]


AWS_STATES = """\
  - name: put
    type: aws
    service: dynamodb
    action: put_item
    params:
      TabelName: "{{ env.TABLE }}"
      Item:
        id: {S: "{{ input.id }}", Q: x}
        total: {N: 5}
      ReturnValues: ALL_ODL
  - {name: a, type: aws, service: dynamodbb, action: put_item}
  - {name: b, type: aws, service: s3, action: put_objekt}
  - {name: c, type: aws, service: s3, action: get_object, params: {Bucket: b}}
  - {name: d, type: aws, service: s3, action: get_object}
  - name: e
    type: wait_for_condition
    until: result
    check: {type: aws, service: s3, action: list_objects_v2, params: {Bucket: "b-{{ env.TABLE }}", MaxKeys: "{{ env.TABLE }}0"}}
"""


def test_actions_and_parameters_are_checked_at_their_places_by_who_knows_aws() -> None:
    allowed = AllowList(patterns=("dynamodb:*", "s3:GetObject"))
    known = Known(check_action=partial(check_action, clients=Clients(), allowed=allowed))
    text = f'durableflow: "1"\nname: a\nenv: [TABLE]\nstates:\n{AWS_STATES}'
    assert [problem.line() for problem in problems_of(text, known) if problem.code not in ("DF404", "DF900")] == [
        "workflow.yaml:10:7: DF311 error: dynamodb.put_item has no parameter 'TabelName' (hint: did you mean 'TableName'?)",
        (
            "workflow.yaml:12:35: DF311 error: dynamodb.put_item: 'Item.id' has no parameter 'Q' "
            "(hint: it has: B, BOOL, BS, L, M, N, NS, NULL, S, SS)"
        ),
        (
            "workflow.yaml:13:20: DF311 error: dynamodb.put_item: 'Item.total.N' is a number, but must be text "
            "(hint: write it in quotes, or give a template's value the filter 'string')"
        ),
        (
            "workflow.yaml:14:21: DF421 warning: dynamodb.put_item: 'ReturnValues' is 'ALL_ODL', not in the list of "
            "AWS's model (hint: did you mean 'ALL_OLD'?)"
        ),
        "workflow.yaml:15:35: DF304 error: there is no AWS service 'dynamodbb' (hint: did you mean 'dynamodb'?)",
        "workflow.yaml:16:47: DF305 error: the service 's3' has no action 'put_objekt' (hint: did you mean 'put_object'?)",
        "workflow.yaml:17:59: DF311 error: s3.get_object needs the parameter 'Key'",
        "workflow.yaml:18:47: DF311 error: s3.get_object needs the parameter 'Bucket'",
        "workflow.yaml:18:47: DF311 error: s3.get_object needs the parameter 'Key'",
        (
            "workflow.yaml:22:45: DF422 warning: the project's list 'aws: {allow: …}' does not have s3.list_objects_v2 "
            "(hint: add 's3:ListObjectsV2' to it)"
        ),
        "workflow.yaml:22:109: DF311 error: s3.list_objects_v2: 'MaxKeys' is text, but must be a whole number",
    ]


def test_many_wrong_actions_take_bounded_time() -> None:
    state = "  - {{name: s{0}, type: aws, service: s3, action: get_objekt{0}, params: {{a{0}: 1}}, retry: []}}\n"
    wrong = "  - {{name: t{0}, type: aws, service: dynamo{0}, action: get_item, retry: []}}\n"
    states = "".join(state.format(i) + wrong.format(i) for i in range(1_000))
    started = time.perf_counter()
    found = lines_of(states, Known(check_action=partial(check_action, clients=Clients())))
    assert len(found) == 2_000
    assert time.perf_counter() - started < 10


def test_workflows_and_functions_of_the_project_are_known() -> None:
    known = Known(functions=frozenset({"stock:live", "fraud:$LATEST"}), workflows=frozenset({"shipping", "sample"}))
    states = """
  - {name: a, type: workflow, workflow: shiping, retry: []}
  - {name: b, type: workflow, workflow: shipping, retry: []}
  - {name: c, type: invoke, function: 'stock:life', retry: []}
  - {name: d, type: invoke, function: 'stock:live', retry: []}
  - {name: e, type: invoke, function: fraud, retry: []}
  - {name: f, type: invoke, function: shipping, retry: []}
  - {name: g, type: invoke, function: '{{ input.f }}', allow: ['x*'], retry: []}
  - {name: h, type: workflow, workflow: billing, retry: []}
"""
    assert lines_of(states, known) == [
        "DF306 no workflow is called 'shiping'",
        "DF410 the project declares no function 'stock:life'",
        "DF306 no workflow is called 'billing'",
    ]


def test_a_declared_environment_name_should_have_a_value() -> None:
    known = Known(env=frozenset({"TABLE"}))
    found = lines_of("  - {name: a, type: pass}", known, head="env: [TABLE, TOPIC]")
    assert found == ["DF411 the environment name 'TOPIC' has no value here"]


def test_a_durable_function_needs_a_qualifier() -> None:
    known = Known(functions=frozenset({"risk", "risk:1"}), durable=frozenset({"risk"}))
    states = """
  - {name: a, type: invoke, function: risk, retry: []}
  - {name: b, type: invoke, function: 'risk:1', retry: []}
"""
    assert lines_of(states, known) == ["DF416 'risk' is a durable function and is called without a qualifier"]


def test_a_function_that_data_names_needs_a_list_of_those_allowed() -> None:
    found = lines_of("  - {name: a, type: invoke, function: '{{ input.f }}', retry: []}")
    assert found == ["DF315 state 'a' calls a function that data names, and has no 'allow'"]


def test_plain_http_is_for_the_hosts_that_the_project_allows() -> None:
    states = """
  - {name: a, type: http, url: 'http://LOCALHOST:9000/x', retry: []}
  - {name: b, type: http, url: 'http://intern/x', retry: []}
  - {name: c, type: http, url: '{{ input.url }}', retry: []}
  - {name: d, type: http, url: 'https://shop.example/x', retry: []}
  - {name: e, type: wait_for_condition, until: result.body, check: {type: http, url: 'http://other:1/x'}}
"""
    known = Known(hosts=frozenset({"localhost:9000", "intern"}))
    assert lines_of(states, known) == ["DF418 'other:1' is reached without https, which the project does not allow"]
    assert lines_of(states, Known()) == []


# Inline workflows.


def inline(name: str, *others: str) -> Workflow:
    states = ", ".join(f"{{name: to_{other}, type: workflow, mode: inline, workflow: {other}}}" for other in others)
    wait = "{name: w, type: wait, duration: 1}"
    text = f'durableflow: "1"\nname: {name}\nstates: [{wait}{", " if others else ""}{states}]\n'
    workflow, _, _ = understand(Source(name=f"{name}.yaml", text=text))
    assert workflow is not None
    return workflow


def test_inline_workflows_that_come_back_to_themselves_are_found() -> None:
    known = Known(find_workflow={"b": inline("b", "c"), "c": inline("c", "d", "b"), "d": inline("d")}.get)
    states = """
  - {name: x, type: workflow, workflow: sample, mode: inline, retry: []}
  - {name: v, type: workflow, workflow: b, mode: inline, retry: []}
  - {name: z, type: workflow, workflow: d, mode: inline, retry: []}
"""
    assert lines_of(states, known) == [
        "DF307 inline workflow 'sample' comes back to itself: sample → sample",
        "DF307 inline workflow 'b' comes back to itself: b → c → b",
    ]


def chain(length: int) -> dict[str, Workflow]:
    """Workflows of which each has the next one twice inline, and each a state of its own."""
    names = [f"w{i}" for i in range(length)]
    made = {name: inline_twice(name, following) for name, following in pairwise(names)}
    return {**made, names[-1]: inline(names[-1])}


def inline_twice(name: str, other: str) -> Workflow:
    states = ", ".join(f"{{name: to{i}, type: workflow, mode: inline, workflow: {other}}}" for i in range(2))
    workflow, _, _ = understand(
        Source(name=f"{name}.yaml", text=f'durableflow: "1"\nname: {name}\nstates: [{states}]\n')
    )
    assert workflow is not None
    return workflow


TOO_MANY = ["DF319 with its inline workflows this one has more than 10,000 states"]
TOO_DEEP = ["DF319 its inline workflows stand in each other more than 32 deep"]


@pytest.mark.parametrize(
    ("length", "expected"), [(12, []), (13, TOO_MANY), (32, TOO_MANY), (33, TOO_DEEP), (500, TOO_DEEP)]
)
def test_inline_workflows_that_double_have_a_bound(length: int, expected: list[str]) -> None:
    # A chain of n has 3 * 2^(n-1) - 2 states, and the workflow itself one more.
    states = "  - {name: x, type: workflow, workflow: w0, mode: inline, retry: []}"
    found = lines_of(states, Known(find_workflow=chain(length).get, operations=10**11))
    assert found == expected


def test_an_inline_workflow_is_priced_with_what_it_holds() -> None:
    known = Known(find_workflow={"b": inline("b", "c", "nowhere"), "c": inline("c")}.get)
    text = 'durableflow: "1"\nname: a\nstates: [{name: x, type: workflow, workflow: b, mode: inline, retry: []}]\n'
    (found,) = problems_of(text, known)
    assert found.message == "worst path 5 operations of 3,000 (the inline workflow 'nowhere' counted as 1)"


# What is known of a result.


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("states.call.result.bdy", "the result of 'call' has no 'bdy'"),
        ("states.call.result.body.id", None),
        ("states.both.result.lft", "the result of 'both' has no 'lft'"),
        ("states.shaped.result.idd", "the result of 'shaped' has no 'idd'"),
        ("states.shaped.result[0]", None),
        ("states.caught.result.anything", None),
        ("states.all.summary.done", "the summary of 'all' has no 'done'"),
        ("states.all.failures[0].branch", "a failure has no 'branch'"),
        ("states.both.failures[0].branch", None),
        ("states.both.failures[0].error.state", "a failure's error has no 'state'"),
        ("states.call.error.mesage", "the error of 'call' has no 'mesage'"),
        ("states.call.failures", "a state has no 'failures' (it has result, status, error, started_at, ended_at)"),
        ("states.until.result.state", None),
        ("states.until.result.stat", "the result of 'until' has no 'stat'"),
    ],
)
def test_what_the_file_says_about_a_result_is_held_against_what_reads_it(read: str, message: str | None) -> None:
    states = f"""
  - {{name: call, type: http, url: 'https://a.example/x', retry: []}}
  - {{name: both, type: parallel, branches: {{left: [{{name: l, type: pass}}], right: [{{name: r, type: pass}}]}}}}
  - {{name: shaped, type: pass, output: {{id: 1}}}}
  - {{name: caught, type: pass, output: {{id: 1}}, catch: [{{output: other}}]}}
  - {{name: all, type: map, items: input.list, states: [{{name: one, type: pass}}]}}
  - name: until
    type: wait_for_condition
    check: {{type: http, url: 'https://a.example/x', output: {{state: '{{{{ result.body.s }}}}'}}}}
    until: result.state == 'OK'
  - {{name: last, type: pass, output: '{{{{ {read} }}}}'}}
"""
    assert lines_of(states) == ([] if message is None else [f"DF237 {message}"])


@pytest.mark.parametrize(
    "state",
    [
        "type: http, url: 'https://a.example/x', output: '{{ result.bdy }}', retry: []",
        "type: http, url: 'https://a.example/x', assign: {x: '{{ result.bdy }}'}, retry: []",
        "type: pass, output: {id: 1}, assign: {x: '{{ result.idd }}'}",
        "type: wait_for_condition, until: result.stat, check: {type: http, url: 'https://a.example/x'}",
        "type: wait_for_condition, until: result.x, check: {type: step, handler: 'a:b', output: {y: 1}}",
    ],
)
def test_so_is_what_a_state_reads_of_its_own_result(state: str) -> None:
    (found,) = lines_of(f"  - {{name: a, {state}}}")
    assert found.startswith("DF237 the result has no ")


# Variables and lists.


@pytest.mark.parametrize(
    ("keeper", "inside"),
    [
        ("type: map, items: input.l, states: [@]", "map 'k'"),
        ("type: parallel, branches: {left: [@]}", "parallel 'k'"),
        ("type: block, context: true, states: [@]", "block 'k'"),
        ("type: wait_for_callback, timeout: 1m, submit: [@]", "the 'submit' of 'k'"),
        ("type: block, states: [@]", None),
        ("type: loop, max_iterations: 2, states: [@]", None),
        ("type: pass, catch: [{states: [@]}]", None),
        ("type: map, items: input.l, states: [{name: p, type: pass}], assign: {x: 1}", None),
        ("type: parallel, branches: {left: [{name: p, type: pass}]}, catch: [{assign: {x: 1}}]", None),
    ],
)
def test_a_variable_that_is_set_only_where_it_is_a_copy(keeper: str, inside: str | None) -> None:
    inner = "{name: set, type: pass, assign: {x: 1}}, {name: read, type: pass, output: '{{ vars.x }}'}"
    states = (
        f"  - {{name: k, {keeper.replace('@', inner)}}}\n  - {{name: last, type: pass, output: '{{{{ vars.x }}}}'}}"
    )
    assert lines_of(states) == ([f"DF233 the variable 'x' is set only inside {inside}"] if inside else [])
    assert lines_of(states, head="vars: {x: 0}") == []


@pytest.mark.parametrize(("items", "said"), [("\"'abc'\"", '"abc"'), ("5", "5"), ("true", "true"), ('"{}"', "{}")])
def test_items_that_can_be_no_list(items: str, said: str) -> None:
    found = lines_of(f"  - {{name: a, type: map, items: {items}, states: [{{name: p, type: pass}}]}}")
    assert found == [f"DF156 'items' must give a list, not '{said}'"]


# Errors, races, timeouts.


def test_a_retrier_or_catcher_that_never_matches() -> None:
    states = """
  - name: a
    type: step
    handler: a:b
    retry: [{errors: ['*']}, {errors: [Http.404]}, {errors: [States.QueryEvaluationError]}]
    catch: [{errors: [NonDeterministicExecutionError]}, {when: error.data, errors: [States.ALL]}, {errors: [X]}]
"""
    assert lines_of(states) == [
        "DF415 this retrier never matches: one before it takes every error",
        "DF415 this catcher never matches: 'NonDeterministicExecutionError' always ends the execution",
    ]


def test_an_error_name_that_is_nearly_one_of_the_languages_own() -> None:
    states = """
  - {name: a, type: step, handler: 'a:b', retry: [{errors: [States.TimeOut]}], catch: [{errors: [States.Mine]}]}
  - {name: b, type: fail, error: States.Runtimes, catch: [{errors: [States.Runtimes, States.Timeout, States.Timeout*]}]}
"""
    assert lines_of(states) == ["DF419 no error is called 'States.TimeOut'"]


@pytest.mark.parametrize(
    ("body", "warns"),
    [
        ("{name: w, type: invoke, function: f, retry: []}", True),
        ("{name: w, type: block, states: [{name: x, type: step, handler: 'a:b', retry: []}]}", True),
        ("{name: w, type: http, method: POST, url: 'https://a.example', retry: []}", True),
        ("{name: w, type: aws, service: s3, action: put_object, retry: []}", True),
        ("{name: w, type: aws, service: s3, action: get_object, retry: []}", False),
        ("{name: w, type: http, url: 'https://a.example', retry: []}", False),
        ("{name: w, type: wait, duration: 1}", False),
    ],
)
def test_a_race_whose_losers_do_more_than_read(body: str, *, warns: bool) -> None:
    race = "completion: {min_successful: 1}"
    parallel = f"  - {{name: a, type: parallel, {race}, branches: {{x: [{body}], y: [{{name: z, type: pass}}]}}}}"
    mapped = f"  - {{name: a, type: map, items: input.l, {race}, states: [{body}]}}"
    message = "DF412 the %s of 'a' that lose the race still do their work"
    assert lines_of(parallel) == ([message % "branches"] if warns else [])
    assert lines_of(mapped) == ([message % "items"] if warns else [])


def test_more_successes_than_branches() -> None:
    states = "  - {name: a, type: parallel, completion: {min_successful: 2}, branches: {x: [{name: z, type: pass}]}}"
    assert lines_of(states) == ["DF417 'min_successful' is 2, but 'a' has 1 branch"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("type: invoke, function: f, timeout: 1m, retry: []", "timeout on an invoke inside a map costs one extra"),
        ("type: workflow, workflow: w, timeout: 1m, retry: []", "timeout on a workflow inside a map costs one extra"),
        ("type: block, timeout: 1m, states: [@]", "timeout on a block inside a map costs two extra"),
        ("type: block, context: true, timeout: 1m, states: [@]", "timeout on a block inside a map costs one extra"),
        (
            "type: loop, max_iterations: 2, timeout: 1m, retry: [{}], states: [@]",
            "timeout on a loop inside a map costs one extra",
        ),
        ("type: parallel, timeout: 1m, branches: {x: [@]}", "timeout on a parallel inside a map costs one extra"),
        ("type: step, handler: 'a:b', timeout: 1m, retry: []", None),
        ("type: wait_for_callback, timeout: 1m", None),
        (
            "type: wait, duration: 1, compensate: [{name: u, type: invoke, function: f, timeout: 1m, retry: []}]",
            "timeout on an invoke inside a map costs one extra",
        ),
    ],
)
def test_a_timeout_inside_a_map_is_priced(state: str, message: str | None) -> None:
    body = state.replace("@", "{name: p, type: pass}")
    found = lines_of(
        f"  - {{name: m, type: map, items: input.l, states: [{{name: s, {body}}}]}}", Known(operations=10_000)
    )
    assert [line.removeprefix("DF405 ").split(" operation")[0] for line in found] == (
        [] if message is None else [message]
    )


def test_what_undoes_a_map_is_not_inside_it_and_a_default_timeout_is() -> None:
    undo = "{name: u, type: invoke, function: f, timeout: 1m, retry: []}"
    states = f"  - {{name: m, type: map, items: input.l, states: [{{name: p, type: pass}}], compensate: [{undo}]}}"
    assert lines_of(states) == []
    states = "  - {name: m, type: map, items: input.l, batch_size: 5, states: [{name: i, type: invoke, function: f, retry: []}]}"
    found = lines_of(states, head="defaults: {timeout: 1m}")
    assert found == ["DF405 the default timeout on an invoke inside a map costs one extra operation per batch"]


# Files.


def test_a_schema_in_a_file_is_checked_there_and_closes_the_input() -> None:
    found = lines_of("  - {name: a, type: pass, output: '{{ input.idd }}'}", head="input: {schema: order.json}")
    assert found == ["DF234 by its schema input has no key 'idd'"]


def test_a_wrong_schema_in_a_file_is_reported_once_in_that_file() -> None:
    head = "input: {schema: wrong.yaml}\noutput_schema: wrong.yaml"
    text = f'durableflow: "1"\nname: a\n{head}\nstates:\n  - {{name: x, type: pass, output: "{{{{ input.q }}}}"}}\n'
    (found, _) = problems_of(text)[::-1]
    assert found.line().startswith("wrong.yaml:3:14: DF308 error: JSON Schema has no type 'texst'")


def test_a_schema_file_is_json_or_yaml() -> None:
    found = lines_of("  - {name: a, type: pass}", head="output_schema: note.txt")
    assert found == ["DF308 the schema 'note.txt' is neither JSON nor YAML"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("load('note.txt')", None),
        ("load('latin.txt')", "DF242 the file 'latin.txt' is not UTF-8 at byte 2"),
        ("load('nothing.txt')", "DF242 there is no file 'nothing.txt' in the project"),
        ("load('../../x\\\\y')", "DF241 the path '../../x\\y' leads outside the project"),
        ("load('~/x')", "DF241 the path '~/x' leads outside the project"),
        ("load('file:///x')", "DF241 the path 'file:///x' leads outside the project"),
    ],
)
def test_what_load_reads_is_there_inside_the_project(call: str, message: str | None) -> None:
    found = lines_of(f'  - {{name: a, type: pass, output: "{{{{ {call} }}}}"}}'.replace("\\\\", "\\\\\\\\"))
    assert found == ([] if message is None else [message])


def test_a_file_that_cannot_be_read_is_reported_where_it_is_named() -> None:
    def refuse(_: str) -> bytes:
        raise UsageError(diagnostic("DF703", "the file is too large"))

    states = "  - {name: a, type: pass, output: \"{{ load('big.json') }}\"}"
    assert lines_of(states, Known(load_file=refuse)) == ["DF242 the file is too large"]
    assert lines_of(states, Known()) == ["DF242 the file 'big.json' cannot be read here"]


# The estimate.


def price(states: str, **extra: str) -> str:
    text = f'durableflow: "1"\nname: a\n{extra.get("head", "")}\nstates:\n{states}\n'
    (found,) = [p.message for p in problems_of(text) if p.code in ("DF900", "DF413")]
    return found.removeprefix("worst path ")


@pytest.mark.parametrize(
    ("states", "operations"),
    [
        ("{type: invoke, function: f}", 1),
        ("{type: invoke, function: f, timeout: 1h}", 2),
        ("{type: invoke, function: f, retry: [{max_attempts: 3}]}", 5),
        ("{type: step, handler: 'a:b', retry: [{max_attempts: 2}, {max_attempts: 4}]}", 4),
        ("{type: aws, service: s3, action: get_object, retry: policy}", 3),
        ("{type: workflow, workflow: w}", 1),
        ("{type: wait, duration: 1s}", 1),
        ("{type: workflow, workflow: w, timeout: 1h}", 2),
        ("{type: wait_for_callback}", 1),
        ("{type: wait_for_callback, timeout: 1h, retry: [{max_attempts: 2}]}", 3),
        ("{type: wait_for_callback, submit: [{name: b, type: wait, duration: 1s}]}", 3),
        ("{type: wait_for_condition, check: {type: step, handler: 'a:b'}, until: result, max_attempts: 9}", 10),
        (
            "{type: wait_for_condition, check: {type: step, handler: 'a:b'}, until: result, max_attempts: 9, timeout: 1h, retry: [{max_attempts: 2}]}",
            21,
        ),
        (
            "{type: choice, choices: [{when: true, states: [@b]}], default: [@c, @d]}",
            2,
        ),
        (
            "{type: block, states: [@b], finally: [@c]}",
            2,
        ),
        ("{type: block, context: true, timeout: 1h, states: [@b]}", 3),
        ("{type: block, retry: [{max_attempts: 2}], states: [@b]}", 5),
        ("{type: loop, max_iterations: 5, delay: 1s, states: [@b]}", 9),
        ("{type: parallel, branches: {a: [@b], b: []}}", 2),
        (
            "{type: parallel, nesting: nested, branches: {a: [@b], b: [{name: c, type: pass}]}}",
            4,
        ),
        ("{type: pass, catch: [{states: [@b]}]}", 1),
        ("{type: wait, duration: 1, compensate: [@b]}", 2),
    ],
)
def test_a_state_costs_what_the_table_says(states: str, operations: int) -> None:
    head = "retry_policies: {policy: [{}]}"
    if "b: []" in states:
        states = states.replace("b: []", "b: [{name: c, type: pass}]")
    states = re.sub("@(.)", r"{name: \1, type: wait, duration: 1}", states)
    assert price(f"  - {{name: a, {states[1:]}", head=head).startswith(
        f"{operations} operation{'s' if operations > 1 else ''} of "
    )


WAIT = "{name: b%d, type: wait, duration: 1}"


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (f"type: map, items: input.l, states: [{WAIT % 1}]", "1,001 operations of 3,000 (map 'a' assumed 1,000 items)"),
        (f"type: map, items: '[1, input.two, 3]', batch_size: 2, states: [{WAIT % 1}]", "3 operations of 3,000"),
        (f"type: map, items: '[]', nesting: nested, states: [{WAIT % 1}]", "1 operation of 3,000"),
        (f"type: map, items: input.l, batch_size: 100, states: [{WAIT % 1}]", "11 operations"),
        (f"type: map, items: input.l, nesting: nested, states: [{WAIT % 1}]", "2,001 operations"),
        (f"type: map, items: input.l, states: [{WAIT % 1}, {WAIT % 2}]", "3,001 operations of 3,000"),
        (
            "type: loop, max_iterations: 10, states: [{name: m, type: map, items: input.l, states: [%s]}]" % (WAIT % 1),
            "1,010 operations of 3,000 (map 'm' assumed 100 items)",
        ),
        (
            "type: map, items: input.l, states: [{name: s, type: step, handler: 'a:b', retry: [{max_attempts: 5}]}]",
            "1,005 operations",
        ),
        (
            "type: wait_for_condition, check: {type: step, handler: 'a:b'}, until: result",
            "101 operations of 3,000 (condition 'a' assumed 100 checks)",
        ),
        ("type: workflow, workflow: w, mode: inline", "1 operation of 3,000 (the inline workflow 'w' counted as 1)"),
    ],
)
def test_what_the_file_does_not_say_is_assumed_and_said(state: str, found: str) -> None:
    assert price(f"  - {{name: a, {state}}}").startswith(found)


@pytest.mark.parametrize(
    "body",
    [
        "{name: b, type: loop, max_iterations: 2, states: [%s]}" % (WAIT % 1),
        "{name: b, type: block, context: true, states: [%s]}" % (WAIT % 1),
        "{name: b, type: map, items: item, states: [%s]}" % (WAIT % 1),
        "{name: b, type: parallel, branches: {x: [%s]}}" % (WAIT % 1),
        "{name: b, type: wait_for_callback, submit: [%s]}" % (WAIT % 1),
        "{name: b, type: choice, timeout: 1h, choices: [{when: item, states: [%s]}]}" % (WAIT % 1),
    ],
)
def test_a_body_that_may_make_several_operations_has_a_context_for_each_item(body: str) -> None:
    flat = price(f"  - {{name: a, type: map, nesting: flat, items: input.l, states: [{body}]}}")
    default = price(f"  - {{name: a, type: map, items: input.l, states: [{body}]}}")
    count = [int(text.split(" ")[0].replace(",", "")) for text in (flat, default)]
    assert count[1] - count[0] == 1_000


def test_the_worst_path_is_held_against_the_limit_of_the_project() -> None:
    text = 'durableflow: "1"\nname: a\ntimeout: 1h\ncatch: [{states: [{name: c, type: wait, duration: 1}]}]\n'
    text += "states:\n  - {name: x, type: wait, duration: 1}\nfinally: [{name: z, type: wait, duration: 1}]\n"
    (found,) = problems_of(text, Known(operations=3))
    assert (found.code, found.severity) == ("DF413", "warning")
    assert found.message == "worst path 4 operations of 3 (3 when nothing fails)"


def test_many_assumptions_are_cut() -> None:
    states = "\n".join(f"  - {{name: w{i}, type: workflow, workflow: w{i}, mode: inline}}" for i in range(5))
    assert price(states).endswith(
        "(… 'w0' …; … 'w1' …; … 'w2' …; 2 more)".replace("… '", "the inline workflow '").replace(
            "' …", "' counted as 1"
        )
    )


# Bounds.


def generated(count: int, last: str) -> Iterator[str]:
    yield 'durableflow: "1"\nname: big\nstates:'
    for i in range(count - 1):
        yield f"  - {{name: s{i}, type: pass}}"
    yield f"  - {{name: s{count - 1}, type: pass, {last}}}"


def test_a_wrong_target_in_ten_thousand_states_is_found_at_its_line() -> None:
    found = [p for p in problems_of("\n".join(generated(10_000, "next: s99999"))) if p.severity == "error"]
    assert [p.line().split(" (")[0] for p in found] == [
        "workflow.yaml:10003:37: DF302 error: no state is called 's99999' here"
    ]


def test_thousands_of_wrong_names_are_all_reported_in_time() -> None:
    states = "\n".join(
        f"  - {{name: s{i}, type: pass, next: t{i}, output: '{{{{ vars.v{i} }}}}'}}" for i in range(3_000)
    )
    started = time.process_time()
    found = problems_of(f'durableflow: "1"\nname: big\nstates:\n{states}\n')
    assert sum(p.code == "DF302" for p in found) == 3_000
    assert sum(p.code == "DF233" for p in found) == 3_000
    assert time.process_time() - started < 20


def test_too_many_templates_are_refused_before_they_are_parsed() -> None:
    text = "{{1}}" * 20_001
    found = lines_of(f"  - {{name: a, type: pass, output: [{{b: '{text}'}}]}}")
    assert found == ["DF317 20,001 templates and expressions are more than a file may hold (20,000)"]
