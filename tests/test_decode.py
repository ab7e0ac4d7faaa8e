from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties.strategies import workflows

from durableflow.decode import decode_project, decode_workflow
from durableflow.document import read_document
from durableflow.errors import CODES, WorkflowError
from durableflow.model import Project, Workflow
from durableflow.source import Source
from durableflow.values import to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.document import Document
    from durableflow.values import Object


def read(text: str, name: str = "w.yaml") -> Document:
    return read_document(Source(name=name, text=dedent(text)))


def problems(text: str, decode: Callable[[Document], object] = decode_workflow) -> list[str]:
    """Every problem as `LINE:COL CODE message (hint)`; lines count from the first of `text`."""
    with pytest.raises(WorkflowError) as caught:
        decode(read(text))
    return [
        f"{p.span.start.line}:{p.span.start.column} {p.code} {p.message} ({p.hint})"
        for p in caught.value.problems
        if p.span is not None
    ]


def in_state(fields: str) -> list[str]:
    """The problems of a workflow of one state; its fields begin on line 5, column 5."""
    head = 'durableflow: "1"\nname: x\nstates:\n  - name: s\n'
    return problems(head + "".join(f"    {row}\n" for row in dedent(fields).strip().splitlines()))


class Case(NamedTuple):
    """Fields that are wrong in one way, and the problem: place, code and message, then the hint, which may end in …"""

    fields: str
    message: str
    hint: str

    def __str__(self) -> str:
        return self.fields.replace("\n", "; ")

    def is_told_by(self, problem: str) -> bool:
        told = f"{self.message} ({self.hint})"
        return problem.startswith(told.removesuffix(" …)")) if told.endswith(" …)") else problem == told


def cases(text: str) -> list[Case]:
    """Read cases from a text: fields with `; ` for a new line, the message, the hint, an empty line."""
    rows = [block.splitlines() for block in text.strip().split("\n\n")]
    return [Case(fields.replace("; ", "\n"), message.strip(), hint.strip()) for fields, message, hint in rows]


def test_a_good_document_becomes_a_workflow() -> None:
    workflow = decode_workflow(read('{"durableflow": "1", "name": "x", "states": [{"name": "s", "type": "pass"}]}'))
    assert isinstance(workflow, Workflow)
    assert [state.name for state in workflow.states] == ["s"]


@pytest.mark.covers("project.durableflow")
def test_a_good_project_file_becomes_a_project() -> None:
    project = decode_project(read('durableflow: "1"\nfunctions: {"f:live": {python: "m:f"}}'))
    assert isinstance(project, Project)


@given(document=workflows())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_drawn_workflow_is_decoded_from_its_text(document: Object) -> None:
    decode_workflow(read_document(Source(name="w.json", text=to_text(document))))


# The whole file


def test_a_list_is_no_workflow() -> None:
    assert problems("- a\n") == ['1:1 DF150 a workflow is a mapping; this file is a list (begin with durableflow: "1")']


def test_a_text_is_no_project() -> None:
    assert problems("hello\n", decode_project)[0].startswith("1:1 DF150 a project file is a mapping; this file is text")


def test_what_is_missing_at_the_top_is_told_at_the_start() -> None:
    assert problems("version: a\n") == [
        '1:1 DF151 the file does not say which version of the language it is in (write durableflow: "1" at the top)',
        "1:1 DF152 a workflow has no 'name' (add 'name': Name of the workflow, unique in its project.)",
        "1:1 DF152 a workflow has no 'states' (add 'states': The states, run in order.)",
    ]


def test_a_version_that_is_a_number_must_be_quoted() -> None:
    assert problems("durableflow: 1\nname: x\nstates: [{name: s, type: pass}]") == [
        "1:14 DF151 'durableflow' must be text, not a number (write durableflow: \"1\", with quotes)"
    ]


@pytest.mark.covers("file.durableflow")
def test_another_version_is_the_only_problem() -> None:
    assert problems('durableflow: "999"\nnonsense: 1\nstates: 3\n') == [
        "1:14 DF151 version '999' of the language is not known (this durableflow understands version \"1\")"
    ]


def test_every_problem_is_reported_in_file_order() -> None:
    found = problems(
        """\
        durableflow: "1"
        name: x
        version: 4
        states:
          - {name: a, type: pass, next: 3}
          - {name: b, type: wait, duration: soon}
        timeout: -1
        """
    )
    assert [row.split()[:2] for row in found] == [
        ["3:10", "DF156"],
        ["5:33", "DF156"],
        ["6:37", "DF158"],
        ["7:10", "DF159"],
    ]


# Keys


UNKNOWN_KEYS = """
type: invoke; functoin: f
    6:5 DF153 'functoin' is not a key of an invoke state
    did you mean 'function'?

type: invoke; Resource: f
    6:5 DF153 'Resource' is not a key of an invoke state
    did you mean 'function'?

type: pass; if: a
    6:5 DF153 'if' is not a key of a pass state
    did you mean 'when'?

type: pass; renamedFrom: [a]
    6:5 DF153 'renamedFrom' is not a key of a pass state
    did you mean 'renamed_from'?

type: pass; retry: []
    6:5 DF154 a pass state takes no 'retry'
    'retry' is for 'invoke', 'step', 'aws', 'http', 'workflow', …

type: map; items: a; states: [{name: t, type: pass}]; duration: 1
    8:5 DF154 a map state takes no 'duration'
    'duration' is for 'wait' states

type: pass; vars: {}
    6:5 DF154 a pass state takes no 'vars'
    'vars' belongs to the workflow, at the top of the file

type: step; handler: a:b; max_attempts: 3
    7:5 DF154 a step state takes no 'max_attempts'
    'max_attempts' belongs inside 'retry'

type: step; handler: a:b; errors: [A]
    7:5 DF154 a step state takes no 'errors'
    'errors' belongs inside 'catch' or 'retry'

type: parallel; branches: {}; min_successful: 1
    7:5 DF154 a parallel state takes no 'min_successful'
    'min_successful' belongs inside 'completion'

type: choice; choices: [{when: a, do: []}]
    6:25 DF153 'do' is not a key of an arm of a choice
    did you mean 'states'?

type: step; handler: a:b; retry: [{MaxAttempts: 1, max_attempts: 1}]
    7:14 DF153 'MaxAttempts' is not a key of a retrier
    'max_attempts' is there already; keep one of them

type: block; states: [{name: t, type: pass}]; compensation: {colour: red}
    7:20 DF153 'colour' is not a key of 'compensation'
    'compensation' can have 'on_error' and nothing else

type: wait; duration: 1; colour: red
    7:5 DF153 'colour' is not a key of a wait state
    a wait state can have 'type', 'duration', 'until', 'name', 'when', 'catch', …

type: wait_for_condition; until: a; check: {type: http, url: 'https://a', methd: GET}
    7:43 DF153 'methd' is not a key of an http check
    did you mean 'method'?
"""


@pytest.mark.parametrize("case", cases(UNKNOWN_KEYS), ids=str)
def test_an_unknown_key_is_told_with_where_it_belongs(case: Case) -> None:
    (only,) = in_state(case.fields)
    assert case.is_told_by(only)


MISSING_KEYS = """
type: invoke
    4:5 DF152 state 's' has no 'function'
    add 'function': Function to call: name, name:qualifier or ARN, or a template of it.

type: choice; choices: [{states: []}]
    6:15 DF152 an arm of a choice has no 'when'
    add 'when': Condition of the arm.

type: wait
    4:5 DF161 state 's' needs 'duration' or 'until'
    add one of them

type: choice; choices: [{when: a}]
    6:15 DF161 an arm of a choice needs 'states' or 'next'
    add one of them
"""


@pytest.mark.parametrize("case", cases(MISSING_KEYS), ids=str)
def test_a_missing_key_is_told_at_what_lacks_it(case: Case) -> None:
    (only,) = in_state(case.fields)
    assert case.is_told_by(only)


def test_a_state_without_a_name_is_this_state() -> None:
    text = 'durableflow: "1"\nname: x\nstates:\n  - {type: pass}\n'
    assert problems(text) == ["4:5 DF152 this state has no 'name' (add 'name': Name of the state, unique in the file.)"]


EXCLUSIVE_KEYS = """
type: wait; until: '2026-01-01'; duration: 1
    7:5 DF161 'until' and 'duration' exclude each other
    keep one of them

type: loop; max_iterations: 1; states: [{name: t, type: pass}]; while: a; until: null
    9:5 DF161 'while' and 'until' exclude each other
    keep one of them

type: pass; catch: [{next: end, states: []}]
    6:25 DF161 'next' and 'states' exclude each other
    keep one of them
"""


@pytest.mark.parametrize("case", cases(EXCLUSIVE_KEYS), ids=str)
def test_keys_that_exclude_each_other_are_told_at_the_second(case: Case) -> None:
    (only,) = in_state(case.fields)
    assert case.is_told_by(only)


# Types


TYPES = """
type: invok; function: f
    5:11 DF155 'invok' is not a type of state
    did you mean 'invoke'?

type: WaitForCallback
    5:11 DF155 'WaitForCallback' is not a type of state
    did you mean 'wait_for_callback'?

type: quux
    5:11 DF155 'quux' is not a type of state
    the types are 'invoke', 'step', 'aws', 'http', 'workflow', 'wait', …

type: 3
    5:11 DF156 'type' must be text, not a number
    one of 'invoke', 'step', 'aws', 'http', 'workflow', 'wait', …

type:
    5:5 DF156 'type' is empty
    write one of 'invoke', 'step', …

description: a
    4:5 DF155 state 's' has no 'type'
    add type: one of 'invoke', 'step', 'aws', 'http', 'workflow', 'wait', …

kind: pass
    5:5 DF155 state 's' has no 'type'
    did you mean 'type' where it says 'kind'?

type: wait_for_condition; until: a; check: {type: invoke}
    7:19 DF155 'invoke' is not a type of check
    a check is one of 'step', 'aws' or 'http'; to poll in another way, use a loop with a delay

type: wait_for_condition; until: a; check: {type: htp}
    7:19 DF155 'htp' is not a type of check
    did you mean 'http'?

type: wait_for_condition; until: a; check: {}
    7:12 DF155 'check' has no 'type'
    add type: one of 'step', 'aws' or 'http'
"""


@pytest.mark.parametrize("case", cases(TYPES), ids=str)
def test_a_wrong_type_is_told_alone_with_near_ones(case: Case) -> None:
    (only,) = in_state(case.fields)
    assert case.is_told_by(only)


# Values


VALUES = """
type: step; handler: a:b; label: 4
    7:12 DF156 'label' must be text, not a number
    put it in quotes

type: step; handler: a:b; timeout:
    7:5 DF156 'timeout' is empty; it must be a duration
    give it a value, or leave it out

type: step; handler: a:b; timeout: true
    7:14 DF156 'timeout' must be a duration, not true
    Time that one attempt may take; raises States.Timeout.

type: step; handler: a:b; retry: 3
    7:12 DF156 'retry' must be a list of retriers, or the name of a retry policy, not a number
    When to try again: retriers, or the name of a retry policy. [] switches defaults off.

type: step; handler: a:b; retry: [{errors: [3]}]
    7:23 DF156 item 1 of 'errors' must be text, not a number
    put it in quotes

type: step; handler: a:b; retry: [{errors: A}]
    7:22 DF156 'errors' must be a list, not text
    write it as a list: [ … ], or one '- …' for each item

type: step; handler: a:b; retry: [{max_attempts: '3'}]
    7:28 DF156 'max_attempts' must be a whole number, not text
    write the number without quotes

type: step; handler: a:b; retry: [{max_attempts: 1.5}]
    7:28 DF156 'max_attempts' must be a whole number, not 1.5
    write it without a fraction

type: step; handler: a:b; retry: [{backoff_rate: '3'}]
    7:28 DF156 'backoff_rate' must be a number, not text
    write the number without quotes

type: pass; when: [1]
    6:11 DF156 'when' must be an expression, not a list
    write it as text: "[…]"

type: pass; assign: [1]
    6:13 DF156 'assign' must be a mapping, not a list
    Variables to set when the state has succeeded; sees its (projected) result as 'result'.

type: pass; result_schema: 3
    6:20 DF156 'result_schema' must be a JSON Schema, or a path to one, not a number
    JSON Schema of the result, or a path to one. Otherwise: States.ResultInvalid.

type: block; states: {a: 1}
    6:13 DF156 'states' must be a list, not a mapping
    begin each item with '- '

type: block; states: [3]
    6:14 DF156 item 1 of 'states' must be a mapping, not a number
    write a mapping

type: block; context: 'yes'; states: [{name: t, type: pass}]
    6:14 DF156 'context' must be true or false, not text
    write true or false, without quotes

type: block; compensation: 3; states: [{name: t, type: pass}]
    6:19 DF156 'compensation' must be a mapping, not a number
    How the undo lists of completed states run.

type: step; handler: nope
    6:14 DF157 'nope' is not a handler
    write 'package.module:function'

type: pass; assign: {a b: 1}
    6:14 DF157 'a b' is not a name
    a name begins with a letter, then letters, digits, _ or -, 64 characters at most

type: http; url: 'https://a'; success: [700]
    7:15 DF157 700 is not an HTTP status
    write a status such as 204, or a range such as 200-299

type: http; url: 'https://a'; success: [true]
    7:15 DF157 true is not an HTTP status
    write a status such as 204, or a range such as 200-299

type: http; url: 'https://a'; success: [[]]
    7:15 DF157 a list is not an HTTP status
    write a status such as 204, or a range such as 200-299

type: wait; duration: soon
    6:15 DF158 'soon' is not a duration
    write 30s, 15m, 36h, 2d, a number of seconds, or ISO 8601 such as PT1H30M

type: wait; duration: 400d
    6:15 DF159 'duration' must be at most 31,622,400 seconds (366 days), not '400d'
    choose a duration within the limit

type: step; handler: a:b; timeout: 0
    7:14 DF159 'timeout' must be more than 0 seconds, not 0
    choose a duration within the limit

type: step; handler: a:b; retry: [{interval: -1}]
    7:24 DF159 'interval' must be at least 0 seconds, not -1
    choose a duration within the limit

type: map; items: a; states: [{name: t, type: pass}]; batch_size: 0
    8:17 DF159 'batch_size' must be at least 1, not 0
    Group items; the states then see 'batch' instead of 'item'.

type: step; handler: a:b; retry: [{max_attempts: 1000000000}]
    7:28 DF159 'max_attempts' must be at most 99,999,999, not 1000000000
    Attempts in all, the first included.

type: step; handler: a:b; retry: [{backoff_rate: 0.5}]
    7:28 DF159 'backoff_rate' must be at least 1, not 0.5
    Factor by which the time grows with each attempt.

type: step; handler: a:b; semantics: at-least-once
    7:16 DF160 'semantics' cannot be 'at-least-once'
    did you mean 'at_least_once'?

type: step; handler: a:b; semantics: once
    7:16 DF160 'semantics' cannot be 'once'
    write 'at_least_once' or 'at_most_once'

type: step; handler: a:b; semantics: true
    7:16 DF160 'semantics' must be 'at_least_once' or 'at_most_once', not true
    write the word

type: block; states: []
    6:13 DF162 'states' is empty
    it needs at least one item
"""


@pytest.mark.parametrize("case", cases(VALUES), ids=str)
def test_a_wrong_value_is_told_in_the_authors_words(case: Case) -> None:
    (only,) = in_state(case.fields)
    assert case.is_told_by(only)


def test_end_is_no_name_for_a_state() -> None:
    text = 'durableflow: "1"\nname: x\nstates: [{name: end, type: pass}]\n'
    assert problems(text) == ["3:17 DF157 'end' is not a name for a state ('end' is what 'next' says to leave a list)"]


def test_a_list_of_only_wrong_items_is_not_called_empty() -> None:
    assert [row.split()[1] for row in in_state("type: block\nstates: [3, {name: t}]")] == ["DF156", "DF155"]


def test_texts_of_the_author_are_escaped_and_cut() -> None:
    (only,) = in_state(f'type: wait\nduration: "\\e[31m{"x" * 500}"')
    assert "\\u001b[31m" in only
    assert len(only) < 400


# Project files


PROJECTS = """
functions: {f: {pyton: x}}
    2:16 DF155 'f' does not say what it is
    did you mean 'python'?

functions: {f: {}}
    2:16 DF155 'f' does not say what it is
    give it 'python', 'workflow', 'durable', 'command', 'http', 'lambda', 'result' or 'error'

functions: {f: 3}
    2:16 DF156 'f' must be a mapping, or a list of {result: …} and {error: …}, not a number
    write a mapping, or a list of {result: …} and {error: …}

functions: {f: [{python: 'a:b'}]}
    2:17 DF155 item 1 of 'f' cannot be 'python' here
    give it 'result' or 'error'

functions: {f: [3]}
    2:17 DF156 item 1 of 'f' must be a mapping, not a number
    write a mapping

functions: {f: {python: 'a:b', result: 1}}
    2:32 DF153 'result' is not a key of 'f'
    'f' can have 'python' and nothing else

functions: {f: {error: {}}}
    2:24 DF152 'error' has no 'name'
    add 'name': Error name.

actions: {'s3:get': {workflow: w}}
    2:21 DF155 's3:get' cannot be 'workflow' here
    give it 'python', 'result' or 'error'

actions: {PutItem: {result: 1}}
    2:11 DF157 'PutItem' is not an action
    write service:action, as dynamodb:put_item

env: {PORT: 80}
    2:13 DF156 'PORT' must be text, not a number
    put it in quotes

deploy: {function: 3}
    2:20 DF156 'function' must be a function's name, or a name for each workflow, not a number
    Function that runs all workflows, or a function for each workflow by its name.

deploy: {function: f, timeout: 20m}
    2:32 DF159 'timeout' must be at most 900 seconds, not '20m'
    choose a duration within the limit

deploy: {function: f, timeout: '{{ x }}'}
    2:32 DF158 '{{ x }}' is not a duration
    write 30s, 15m, 36h, 2d, a number of seconds, or ISO 8601 such as PT1H30M

offload: {threshold: 1MB, directory: d}
    2:22 DF157 '1MB' is not a size
    write a number of bytes, or 200KB; 262144 bytes at most

offload: {}
    2:10 DF161 'offload' needs 'directory' or 's3'
    add one of them

workflow: [a]
    2:1 DF153 'workflow' is not a key of a project file
    did you mean 'workflows'?
"""


@pytest.mark.parametrize("case", cases(PROJECTS), ids=str)
def test_a_problem_of_a_project_file_is_told(case: Case) -> None:
    (only,) = problems(f'durableflow: "1"\n{case.fields}\n', decode_project)
    assert case.is_told_by(only)


# In general


@given(
    document=workflows(types={"step", "choice", "map"}),
    spoiled=st.dictionaries(st.sampled_from(["name", "states", "vars", "catch", "timeout", "retry"]), st.just([None])),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_problem_has_words_of_pydantic(document: Object, spoiled: Object) -> None:
    states = document["states"]
    assert isinstance(states, list)
    text = to_text({**document, **spoiled, "states": [{**spoiled, "type": "map"}, *states]})
    with pytest.raises(WorkflowError) as caught:
        decode_workflow(read_document(Source(name="w.json", text=text)))
    for problem in caught.value.problems:
        assert problem.code in CODES
        assert problem.span is not None
        assert problem.hint
        assert "pydantic" not in str(problem)
        assert "nput should" not in str(problem)
