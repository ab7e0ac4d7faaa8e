"""From text to Plan: what is resolved, what is refused, and that the same definition gives the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durableflow import plan as plans
from durableflow import values
from durableflow.compiler import Compiled, compile_workflow, to_plan, understand
from durableflow.errors import WorkflowError
from durableflow.expressions import Program
from durableflow.rules import Known
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.plan import Plan

FILES = {
    "tools.json": b'[{"name": "{{ not a template }}"}]',
    "order.yaml": b"type: object\nrequired: [id]\n",
    "note.txt": b"{{ input }}\n",
}


def compiled(text: str) -> Compiled:
    return compile_workflow(Source(name="sample.yaml", text=text), known=Known(load_file=FILES.get))


def plan_of(states: str, head: str = "", tail: str = "") -> Plan:
    return compiled(f'durableflow: "1"\nname: sample\n{head}\nstates:\n{states}\n{tail}\n').plan


def node_of(state: str, head: str = "") -> plans.AnyNode:
    return plan_of(f"  - {{name: a, {state}}}", head).states.nodes[0]


def constant(value: values.Json) -> Program:
    return Program(["const", value])


def refused(text: str) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        compiled(text)
    return [f"{p.span}: {p.code} {p.message}" for p in caught.value.problems if p.severity == "error"]


# What a Plan holds.


def test_an_invoke_has_everything_resolved() -> None:
    node = node_of(
        "type: invoke, function: '{{ input.f }}', allow: ['stock:*'], tenant_id: t1, payload: {id: '{{ input.id }}'}"
    )
    assert node == plans.Invoke(
        name="a",
        function=Program(["attr", ["name", "input"], "f"]),
        allow=("stock:*",),
        tenant_id=constant("t1"),
        payload=Program(["object", ["id"], [["attr", ["name", "input"], "id"]]]),
        at=node.at,
    )


@pytest.mark.parametrize("work", ["type: invoke, function: f", "type: step, handler: 'a:b'"])
def test_work_without_a_payload_gets_an_empty_object(work: str) -> None:
    node = node_of(work)
    assert isinstance(node, plans.Invoke | plans.Step)
    assert node.payload == constant({})


def test_a_null_payload_is_null() -> None:
    node = node_of("type: step, handler: 'a:b', payload: null, semantics: at_most_once")
    assert isinstance(node, plans.Step)
    assert (node.payload, node.semantics) == (constant(None), "at_most_once")


def test_a_written_null_is_a_value_where_null_is_one() -> None:
    node = node_of("type: pass, output: null, assign: {x: null}")
    assert node.output == constant(None)
    assert node.assign == {"x": constant(None)}
    assert node_of("type: pass").output is None


def test_a_template_without_braces_is_a_constant() -> None:
    output = node_of("type: pass, output: {a: [1, text, {b: null}]}").output
    assert output is not None
    assert output.is_constant


def test_structures_nest() -> None:
    (loop,) = plan_of("""
  - name: pages
    type: loop
    while: iteration < 3
    max_iterations: 3
    delay: 5s
    on_limit: continue
    states:
      - name: route
        type: choice
        choices:
          - when: input.a
            states: [{name: group, type: block, states: [{name: stop, type: succeed, output: done}]}]
          - {when: input.b, next: end}
        default: []
        label: look
""").states.nodes
    assert isinstance(loop, plans.Loop)
    assert (loop.max_iterations, loop.delay, loop.on_limit, loop.until) == (3, constant("5s"), "continue", None)
    assert loop.while_ is not None
    (choice,) = loop.states.nodes
    assert isinstance(choice, plans.Choice)
    assert choice.default == plans.States.of([])
    assert choice.label == constant("look")
    first, second = choice.choices
    assert first.states is not None
    assert [node.name for node in plans.walk(first.states)] == ["group", "stop"]
    assert (second.states, second.next) == (None, plans.END)


def test_waits_fails_and_conditions() -> None:
    assert node_of("type: wait, duration: 30").name == "a"
    wait = node_of("type: wait, until: '{{ input.at }}', when: input.at is defined")
    assert isinstance(wait, plans.Wait)
    assert wait.duration is None
    assert wait.when is not None
    fail = node_of("type: fail, error: Refused, cause: '{{ input.why }}', data: null, when: true")
    assert isinstance(fail, plans.Fail)
    assert (fail.error, fail.data, fail.when) == (constant("Refused"), constant(None), None)


def test_catchers_keep_their_parts() -> None:
    plan = plan_of(
        "  - {name: a, type: pass, catch: [{errors: [X], when: error.data, assign: {n: 1}, output: 2, next: b}]}\n"
        "  - {name: b, type: pass}",
        tail="catch: [{states: [{name: c, type: pass}]}]",
    )
    (catcher,) = plan.states.nodes[0].catch
    assert (catcher.errors, catcher.next, catcher.states) == (("X",), "b", None)
    assert (catcher.assign, catcher.output) == ({"n": constant(1)}, constant(2))
    assert catcher.when is not None
    (last,) = plan.catch
    assert last.errors == ("States.ALL",)
    assert last.states is not None


def test_the_head_of_a_workflow_is_kept() -> None:
    head = 'version: "4"\nenv: [TABLE]\nvars: {count: "{{ env.TABLE }}"}\ninput: {schema: {type: object}}'
    plan = plan_of("  - {name: a, type: pass}", head, "output: '{{ vars.count }}'\noutput_schema: {type: string}")
    assert (plan.name, plan.version, plan.file, plan.env) == ("sample", "4", "sample.yaml", ("TABLE",))
    assert plan.vars == {"count": Program(["attr", ["name", "env"], "TABLE"])}
    assert (plan.input_schema, plan.output_schema) == ({"type": "object"}, {"type": "string"})
    assert plan.output == Program(["attr", ["name", "vars"], "count"])


def test_a_node_knows_its_place_in_the_file() -> None:
    plan = plan_of("  - name: a\n    type: pass\n  - {name: b, type: pass}")
    places = [plan.span(node.at) for node in plan.states.nodes]
    assert [str(span) for span in places] == ["sample.yaml:5:5", "sample.yaml:7:5"]
    assert (places[0].end.line, places[1].end.column) == (6, 26)


# Retries.

DEFAULTS = plans.Retrier(interval=constant("1s"), backoff_rate=2)


def retry_of(state: str, head: str = "") -> tuple[plans.Retrier, ...]:
    node = node_of(state, head)
    assert isinstance(node, plans.Invoke | plans.Step)
    return node.retry


def test_defaults_of_a_retrier_are_written_out() -> None:
    assert retry_of("type: step, handler: 'a:b', retry: [{}]") == (DEFAULTS,)


def test_a_retrier_keeps_what_is_written() -> None:
    when = "errors: [X], when: error.data, max_attempts: 5"
    pace = "interval: 2, increment: 3s, max_delay: 1m, jitter: none, max_duration: 1h"
    (retrier,) = retry_of(f"type: invoke, function: f, retry: [{{{when}, {pace}}}]")
    assert retrier.when is not None
    assert retrier == plans.Retrier(
        errors=("X",),
        when=retrier.when,
        max_attempts=5,
        interval=constant(2),
        backoff_rate=None,
        increment=constant("3s"),
        max_delay=constant("1m"),
        jitter="none",
        max_duration=constant("1h"),
    )


@pytest.mark.parametrize(
    ("own", "head", "attempts"),
    [
        ("", "", []),
        (", retry: slow", "retry_policies: {slow: [{max_attempts: 7}]}", [7]),
        ("", "defaults: {retry: [{max_attempts: 6}, {max_attempts: 2}]}", [6, 2]),
        ("", "defaults: {retry: slow}\nretry_policies: {slow: [{max_attempts: 7}]}", [7]),
        (", retry: []", "defaults: {retry: [{max_attempts: 6}]}", []),
        (", retry: [{max_attempts: 4}]", "defaults: {retry: [{max_attempts: 6}]}", [4]),
    ],
)
def test_policies_and_defaults_stand_at_the_state(own: str, head: str, attempts: list[int]) -> None:
    assert [retrier.max_attempts for retrier in retry_of(f"type: step, handler: 'a:b'{own}", head)] == attempts


# Files.


def test_loaded_files_become_constants_and_are_no_templates() -> None:
    output = node_of("type: pass, output: {t: \"{{ load('tools.json')[0] }}\", n: \"{{ load('note.txt') }}\"}").output
    assert output is not None
    loaded = [{"name": "{{ not a template }}"}]
    assert output.tree == ["object", ["t", "n"], [["attr", ["const", loaded], 0], ["const", "{{ input }}\n"]]]


def test_schemas_in_files_are_embedded() -> None:
    plan = plan_of("  - {name: a, type: pass, result_schema: order.yaml}", "input: {schema: order.yaml}")
    assert plan.input_schema == plan.states.nodes[0].result_schema == {"type": "object", "required": ["id"]}


def test_another_content_of_a_loaded_file_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    state = "  - {name: a, type: pass, output: \"{{ load('note.txt') }}\"}"
    before = plan_of(state).digest
    monkeypatch.setitem(FILES, "note.txt", b"other")
    assert plan_of(state).digest != before


# The same definition, the same bytes.

TEXT = """durableflow: "1"
name: sample
vars: {a: 1, b: 2}
states:
  - {name: score, type: step, handler: "a:b", payload: {p: 1, q: "{{ vars.a }}"}, retry: []}
  - {name: pause, type: wait, duration: 5s}
"""


def test_compiling_twice_gives_the_same_bytes() -> None:
    first, second = (values.canonical_bytes(compiled(TEXT).plan.to_json()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "edited",
    [
        TEXT.replace("vars: {a: 1, b: 2}", "# a comment\n\nvars:\n  b: 2\n  a: 1"),
        TEXT.replace('payload: {p: 1, q: "{{ vars.a }}"}, retry: []', "retry: [], payload: {p: 1, q: '{{vars.a}}'}"),
        TEXT.replace("name: sample", "name: sample\ndescription: for people"),
        json.dumps(
            {
                "durableflow": "1",
                "name": "sample",
                "vars": {"a": 1, "b": 2},
                "states": [
                    {
                        "name": "score",
                        "type": "step",
                        "handler": "a:b",
                        "payload": {"p": 1, "q": "{{ vars.a }}"},
                        "retry": [],
                    },
                    {"name": "pause", "type": "wait", "duration": "5s"},
                ],
            }
        ),
    ],
    ids=["comments and order", "spaces", "description", "json"],
)
def test_what_means_the_same_has_the_same_digest(edited: str) -> None:
    assert compiled(edited).plan.digest == compiled(TEXT).plan.digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p: 1", "p: 2"),
        ("duration: 5s", "duration: 6s"),
        ("name: pause", "name: rest"),
        ("vars.a", "vars.b"),
        ("retry: []", "retry: [{}]"),
    ],
)
def test_a_change_of_meaning_changes_the_digest(old: str, new: str) -> None:
    assert compiled(TEXT.replace(old, new)).plan.digest != compiled(TEXT).plan.digest


def test_a_plan_comes_back_from_its_json() -> None:
    plan = compiled(TEXT).plan
    assert plans.from_json(json.loads(json.dumps(plan.to_json()))) == plan


# What is refused.


WHOLE = """durableflow: "1"
name: whole
secrets: {token: "ssm:/t"}
timeout: 1h
defaults: {retry: [{max_attempts: 2}], timeout: 5s}
compensation: {on_error: fail}
states:
  - name: resize
    type: map
    items: input.images
    item_name: "{{ index }}"
    batch_size: 3
    max_concurrency: 2
    completion: {tolerated_failure_percentage: 5, tolerated_failure_count: 3, min_successful: 1}
    states:
      - {name: put, type: aws, service: s3, action: put_object, params: {Bucket: b, Key: "{{ batch[0] }}"}}
  - name: both
    type: parallel
    nesting: nested
    branches: {a: [{name: a, type: pass, renamed_from: [old]}], b: [{name: b, type: wait, duration: 3s}]}
  - name: saga
    type: block
    context: true
    retry: []
    timeout: 1m
    compensation: {on_error: fail}
    states:
      - {name: pay, type: http, method: POST, url: "https://a.example", headers: {A: "b {{ secret('token') }}"},
         query: {q: 1}, body: [1], success: [404, 200-299], redirects: 2, semantics: at_most_once, timeout: 3s}
      - {name: pause, type: wait, duration: 3s, compensate: [{name: undo, type: pass}]}
    finally: [{name: done, type: pass}]
  - {name: child, type: workflow, workflow: other, payload: {a: 1}}
  - {name: ask, type: wait_for_callback, heartbeat_timeout: 5m, result_format: text, submit: [{name: tell, type: pass}]}
  - name: ready
    type: wait_for_condition
    check: {type: step, handler: "a:b", output: "{{ result }}", retry: [{}], timeout: 2s}
    until: result
    initial: 0
    interval: 5s
    backoff_rate: 2
    max_delay: 1m
    jitter: half
    max_attempts: 4
finally: [{name: last, type: pass}]
"""


def test_every_construct_is_in_the_plan() -> None:
    made = compiled(WHOLE).plan
    assert (made.on_error, made.secrets, made.timeout is not None) == ("fail", {"token": "ssm:/t"}, True)
    resize, both, saga, child, ask, ready = made.states.nodes
    assert isinstance(resize, plans.Map)
    assert (resize.batch_size, resize.max_concurrency, resize.is_nested, resize.is_replayed) == (3, 2, False, False)
    assert resize.completion == plans.Completion(
        min_successful=1, tolerated_failure_count=3, tolerated_failure_percentage=5
    )
    (put,) = resize.states.nodes
    assert isinstance(put, plans.Aws)
    assert (put.retry[0].max_attempts, put.timeout) == (2, plans.Program(["const", "5s"]))
    assert isinstance(both, plans.Parallel)
    assert (both.is_nested, list(both.branches)) == (True, ["a", "b"])
    assert isinstance(saga, plans.Block)
    assert (saga.context, saga.is_replayed, saga.on_error, saga.retry) == (True, True, "fail", ())
    pay, pause = saga.states.nodes
    assert isinstance(pay, plans.Http)
    assert (pay.success, pay.redirects, plans.secrets_in(pay.request)) == (((404, 404), (200, 299)), 2, ("token",))
    assert pause.compensate is not None
    assert isinstance(child, plans.ChildWorkflow)
    assert (child.workflow, child.inline) == ("other", None)
    assert isinstance(ask, plans.WaitForCallback)
    assert (ask.result_format, ask.submit is not None) == ("text", True)
    assert isinstance(ready, plans.WaitForCondition)
    assert (ready.check.name, ready.poll.max_attempts, ready.is_limited) == ("ready", 4, True)
    assert plans.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("states", "is_nested"),
    [
        ("{name: a, type: step, handler: 'a:b'}", False),
        ("{name: a, type: pass}, {name: b, type: wait, duration: 1}", False),
        ("{name: a, type: wait, duration: 1}, {name: b, type: wait, duration: 1}", True),
        ("{name: l, type: loop, max_iterations: 2, states: [{name: b, type: wait, duration: 1}]}", True),
        ("{name: l, type: block, states: [{name: b, type: wait, duration: 1}]}", False),
        ("{name: l, type: block, timeout: 1m, states: [{name: b, type: wait, duration: 1}]}", True),
        ("{name: a, type: step, handler: 'a:b', catch: [{states: [{name: b, type: wait, duration: 1}]}]}", True),
    ],
)
def test_rule_32_a_body_with_one_operation_is_flat(states: str, *, is_nested: bool) -> None:
    text = f'durableflow: "1"\nname: s\nstates: [{{name: m, type: map, items: input, states: [{states}]}}]\n'
    (node,) = compiled(text).plan.states.nodes
    assert isinstance(node, plans.Map)
    assert node.is_nested is is_nested


def test_everything_wrong_is_said_at_once() -> None:
    text = """durableflow: "1"
name: s
states:
  - {name: a, type: pass, next: b, output: "{{ nope }}"}
  - {name: c, type: map, items: x., states: [{name: d, type: pass}]}
"""
    with pytest.raises(WorkflowError) as caught:
        compiled(text)
    assert {problem.code for problem in caught.value.problems} == {"DF200", "DF201", "DF302", "DF900"}


def test_a_text_without_the_shape_of_a_workflow_is_understood_as_far_as_it_goes() -> None:
    workflow, document, problems = understand(Source(name="x.yaml", text="- 1\n"))
    assert (workflow, document is None, [p.code for p in problems]) == (None, False, ["DF150"])
    workflow, document, problems = understand(Source(name="x.yaml", text="a: [\n"))
    assert (workflow, document) == (None, None)
    assert problems
    with pytest.raises(WorkflowError):
        compiled("- 1\n")


def test_compiled_brings_warnings_and_what_the_plan_was_made_of() -> None:
    made = compiled(TEXT.replace(", retry: []", ""))
    assert [problem.code for problem in made.problems] == ["DF900", "DF404"]
    assert to_plan(made.workflow, made.document) == made.plan


def test_to_plan_refuses_a_workflow_with_problems() -> None:
    workflow, document, _ = understand(Source(name="x.yaml", text=TEXT.replace("vars.a", "vars.c")))
    assert workflow is not None
    assert document is not None
    with pytest.raises(WorkflowError, match="no variable is called 'c'"):
        to_plan(workflow, document)
