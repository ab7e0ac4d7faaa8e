"""The price of the five examples of the language; single states: test_rules.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from worlds import World

from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.errors import Fault
from durableflow.estimate import Estimate, estimate, is_flat
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.model import Workflow

HEAD = 'durableflow: "1"\nname: example\n'
CALL = "type: invoke, function: f"


def workflow_of(text: str) -> Workflow:
    return decode_workflow(read_document(Source(name="w.yaml", text=HEAD + text)))


def priced(text: str) -> Estimate:
    return estimate(workflow_of(text))


SAGA = """
states:
  - name: fulfil
    type: block
    states:
      - {name: reserve, CALL, compensate: [{name: release, CALL}]}
      - {name: charge, type: http, url: "https://pay.example", compensate: [{name: refund, type: http, url: "https://pay.example"}]}
      - {name: ship, CALL, timeout: 2h}
    catch: [{states: [{name: rejected, type: fail, error: OrderRejected}]}]
""".replace("CALL", CALL)


def test_a_saga_costs_its_work_and_one_for_the_timeout_and_when_it_fails_what_undoes_it() -> None:
    found = priced(SAGA)
    assert (found.usual, found.operations, found.assumptions) == (4, 6, ())
    assert str(found) == " (4 when nothing fails)"


APPROVAL = """
states:
  - name: needs_approval
    type: choice
    choices: [{when: input.amount <= 100, states: [{name: auto, type: pass, assign: {decision: policy}}]}]
    default:
      - name: escalate
        type: loop
        while: vars.decision is none
        max_iterations: %d
        states:
          - name: ask
            type: wait_for_callback
            timeout: 24h
            submit: [{name: notify, type: aws, service: sns, action: publish, retry: [{max_attempts: 3}]}]
            catch: [{errors: [States.Timeout], assign: {level: 1}}]
  - {name: record, type: aws, service: dynamodb, action: update_item}
"""


@pytest.mark.parametrize("people", [1, 5])
def test_an_approval_costs_three_for_each_person_and_one_for_the_record(people: int) -> None:
    found = priced(APPROVAL % people)
    assert (found.usual, found.operations) == (3 * people + 1, 5 * people + 1)


THUMBNAILS = """
states:
  - {name: list_images, type: step, handler: "media:keys"}
  - name: any_images
    type: choice
    choices: [{when: "states.list_images.result == []", states: [{name: nothing, type: succeed}]}]
  - name: resize_all
    type: map
    items: states.list_images.result
    max_concurrency: 40
    states: [{name: resize, type: invoke, function: "resize:live", retry: [{max_attempts: 3}, {max_attempts: 1}]}]
    catch: [{states: [{name: too_many, type: fail, error: BatchRejected}]}]
  - {name: write_report, type: aws, service: s3, action: put_object}
"""


def test_a_map_of_a_thousand_images_is_flat_and_one_of_them_is_unlucky() -> None:
    found = priced(THUMBNAILS)
    assert (found.usual, found.operations) == (1_003, 1_007)
    assert str(found) == " (1,003 when nothing fails; map 'resize_all' assumed 1,000 items)"


ETL = """
timeout: 6h
states:
  - {name: start_job, type: aws, service: glue, action: start_job_run, semantics: at_most_once}
  - name: wait_for_job
    type: wait_for_condition
    check: {type: aws, service: glue, action: get_job_run, retry: [{max_attempts: 5}]}
    until: result.state
    max_attempts: %d
    timeout: 4h
  - name: check_outcome
    type: choice
    choices: [{when: states.wait_for_job.result.state != 'OK', states: [{name: job_failed, type: fail, error: Failed}]}]
  - {name: settle, type: wait, duration: 2m}
  - {name: publish, type: workflow, workflow: publish_dashboard}
catch: [{states: [{name: stop_job, type: aws, service: glue, action: batch_stop_job_run}]}]
"""


@pytest.mark.parametrize("polls", [1, 40])
def test_polling_costs_five_and_the_polls_and_when_it_fails_one_to_stop_the_job(polls: int) -> None:
    found = priced(ETL % polls)
    assert (found.usual, found.operations) == (5 + polls, 6 + polls)


MODEL = """
states:
  - name: think_act
    type: loop
    max_iterations: %d
    states:
      - {name: call_model, type: aws, service: bedrock-runtime, action: converse}
      - name: next_action
        type: choice
        choices:
          - when: states.call_model.result.stop == 'tool_use'
            states: [{name: tools, type: map, items: "[1, 2, 3]", states: [{name: tool, type: invoke, function: f}]}]
        default: []
"""


def test_a_turn_of_a_model_costs_two_and_one_for_each_tool() -> None:
    assert priced(MODEL % 1).usual == 2 + 3
    assert priced(MODEL % 20).usual == 20 * (2 + 3)


@pytest.mark.parametrize(
    ("states", "flat"),
    [
        (f"{{name: a, {CALL}, timeout: 1m, retry: [{{}}]}}", True),
        ("{name: a, type: pass}", True),
        (f"{{name: a, type: choice, choices: [{{when: input.x, states: [{{name: b, {CALL}}}]}}]}}", True),
        (f"{{name: a, type: block, states: [{{name: b, {CALL}}}]}}", True),
        (f"{{name: a, type: block, timeout: 1m, states: [{{name: b, {CALL}}}]}}", False),
        (f"{{name: a, type: loop, max_iterations: 2, states: [{{name: b, {CALL}}}]}}", False),
        (f"{{name: a, {CALL}}}, {{name: b, {CALL}}}", False),
        (f"{{name: a, {CALL}, catch: [{{states: [{{name: b, {CALL}}}]}}]}}", False),
        (f"{{name: a, {CALL}, compensate: [{{name: b, {CALL}}}]}}", False),
        (
            f"{{name: a, type: loop, max_iterations: 2, states: [{{name: p, type: pass}}], catch: [{{states: [{{name: b, {CALL}}}]}}]}}",
            True,
        ),
        ("{name: a, type: wait_for_callback}", True),
    ],
)
def test_a_body_is_flat_when_it_makes_one_operation_at_most(states: str, *, flat: bool) -> None:
    assert is_flat(workflow_of(f"states: [{states}]").states) is flat


def test_defaults_are_for_work_states() -> None:
    text = f"defaults: {{timeout: 1m, retry: [{{max_attempts: 2}}]}}\nstates: [{{name: a, {CALL}}}, {{name: w, type: wait, duration: 1}}]"
    found = priced(text)
    assert (found.usual, found.operations) == (3, 2 + 2 + 1 + 1)
    without = priced(re.sub("defaults.*\n", "", text))
    assert (without.usual, without.operations) == (2, 2)


@pytest.mark.parametrize(
    "states",
    [
        f"{{name: a, {CALL}}}",
        f"{{name: a, {CALL}, timeout: 1h}}",
        "{name: a, type: step, handler: 'm:f', timeout: 1h}",
        "{name: a, type: wait, duration: 5}",
        f"{{name: a, type: choice, choices: [{{when: true, states: [{{name: b, {CALL}}}]}}]}}",
        f"{{name: a, type: choice, timeout: 1h, choices: [{{when: true, states: [{{name: b, {CALL}}}]}}]}}",
        f"{{name: a, type: block, states: [{{name: b, {CALL}}}], finally: [{{name: c, {CALL}}}]}}",
        f"{{name: a, type: block, context: true, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: block, retry: [{{}}], states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: block, timeout: 1h, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: loop, max_iterations: 3, delay: 5, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: loop, max_iterations: 3, timeout: 1h, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: parallel, branches: {{left: [{{name: b, {CALL}}}], right: [{{name: c, type: pass}}]}}}}",
        f"{{name: a, type: parallel, nesting: nested, branches: {{left: [{{name: b, {CALL}}}], right: [{{name: c, type: pass}}]}}}}",
        f"{{name: a, type: parallel, branches: {{left: [{{name: b, {CALL}}}, {{name: d, {CALL}}}], right: [{{name: c, type: pass}}]}}}}",
        "{name: a, type: parallel, branches: {}}",
        f"{{name: a, type: map, items: '[1, 2, 3]', states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: map, items: '[1, 2, 3]', timeout: 1h, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: map, items: '[1, 2, 3]', batch_size: 2, states: [{{name: b, {CALL}}}]}}",
        f"{{name: a, type: map, items: '[1, 2, 3]', states: [{{name: b, {CALL}}}, {{name: c, {CALL}}}]}}",
        f"{{name: a, type: map, items: '[1, 2, 3]', nesting: flat, states: [{{name: b, {CALL}}}, {{name: c, {CALL}}}]}}",
        "{name: a, type: map, items: '[1, 2, 3]', nesting: nested, states: [{name: b, type: pass}]}",
        "{name: a, type: map, items: '[]', nesting: nested, states: [{name: b, type: pass}]}",
        f"{{name: a, type: map, items: '[1, 2, 3]', states: [{{name: b, {CALL}, compensate: [{{name: u, {CALL}}}]}}]}}",
    ],
)
def test_what_a_workflow_takes_when_nothing_fails_is_what_it_takes_when_it_runs(states: str) -> None:
    text = f"states: [{states}]\ntimeout: 2h\n"
    world = World(text, handlers={"m:f": lambda _: None}, targets={"f": lambda _: None})
    world.run()
    assert priced(text).usual == len(world.started)


@pytest.mark.parametrize(
    "states",
    [
        "{name: a, type: invoke, function: bad, retry: [{max_attempts: 3}]}",
        "{name: a, type: block, retry: [{max_attempts: 2}], states: [{name: b, type: invoke, function: bad}]}",
        f"{{name: a, {CALL}, compensate: [{{name: u, {CALL}}}]}}, {{name: b, type: invoke, function: bad, timeout: 2h}}",
        f"{{name: a, type: invoke, function: bad, catch: [{{states: [{{name: b, {CALL}}}, {{name: c, type: invoke, function: bad}}]}}]}}",
        f"{{name: g, type: block, retry: [{{max_attempts: 2}}], states: [{{name: a, {CALL}, compensate: [{{name: u, {CALL}}}]}}, {{name: b, type: invoke, function: bad}}]}}",
        f"{{name: m, type: map, items: '[1, 2]', nesting: nested, states: [{{name: a, {CALL}, compensate: [{{name: u, {CALL}}}]}}]}}, {{name: b, type: invoke, function: bad}}",
    ],
)
def test_the_worst_path_is_what_a_workflow_takes_when_it_fails_at_the_end(states: str) -> None:
    def bad(_: object) -> None:
        raise Fault("Boom")

    text = (
        f"states: [{states}]\ncatch: [{{states: [{{name: last, {CALL}}}]}}]\nfinally: [{{name: end_of_all, {CALL}}}]\n"
    )
    world = World(text, targets={"f": lambda _: None, "bad": bad})
    world.run()
    assert priced(text).operations == len(world.started)
