"""What happens next: each construct through the real driver and ledger, in memory."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import World, plan_of

from durableflow.decision import Call, Completion, Decision, Failed, Pending, Succeeded, Visit
from durableflow.errors import Fault, ServiceError
from durableflow.interpreter import Run, decide
from durableflow.operations import Operation, operation_id

EXECUTION: Operation = {
    "Id": "e",
    "Type": "EXECUTION",
    "Status": "STARTED",
    "StartTimestamp": 1_767_225_600_000,
    "ExecutionDetails": {"InputPayload": "{}"},
}


def failing(*faults: Fault, then: Any = None) -> Any:
    """A handler that fails with each fault in turn, then gives a value."""
    left = list(faults)

    def handler(_: Call) -> Any:
        if left:
            raise left.pop(0)
        return then

    return handler


def echo(call: Call) -> Any:
    return call.payload


# Results, output, assign ---------------------------------------------------------------------------------------------


@pytest.mark.covers("file.states", "pass.type")
def test_the_result_of_a_workflow_is_that_of_its_last_state() -> None:
    assert World(
        "states: [{name: a, type: pass, output: 1}, {name: b, type: pass, output: {x: '{{ input }}'}}]"
    ).result() == {"x": {}}


@pytest.mark.covers("file.output", "file.vars")
def test_output_of_the_workflow_sees_everything() -> None:
    world = World(
        """
        vars: {n: "{{ input.n }}"}
        env: [TABLE]
        output: {n: "{{ vars.n }}", t: "{{ env.TABLE }}", a: "{{ states.a.result }}", w: "{{ context.workflow.name }}"}
        states: [{name: a, type: pass, output: 1}]
        """,
        input={"n": 3},
        env={"TABLE": "orders", "HOME": "/"},
    )
    assert world.result() == {"n": 3, "t": "orders", "a": 1, "w": "demo"}


@pytest.mark.covers("file.env")
def test_the_environment_holds_only_what_is_declared() -> None:
    world = World("env: [A]\nstates: [{name: a, type: pass, output: '{{ env }}'}]", env={"A": "1", "SECRET": "2"})
    assert world.result() == {"A": "1"}


@pytest.mark.covers("state.output")
def test_output_sees_the_raw_result_and_everything_later_the_projected_one() -> None:
    world = World(
        """
        states:
          - {name: a, type: invoke, function: f, output: "{{ result.v }}", assign: {seen: "{{ result }}"}}
          - {name: b, type: pass, output: ["{{ states.a.result }}", "{{ vars.seen }}"]}
        """,
        targets={"f": lambda _: {"v": 7}},
    )
    assert world.result() == [7, 7]


@pytest.mark.covers("step.type", "step.handler")
def test_the_output_of_a_step_is_what_is_stored() -> None:
    world = World(
        "states: [{name: a, type: step, handler: 'm:f', output: '{{ result.v }}'}]",
        handlers={"m:f": lambda _: {"v": 7}},
    )
    assert world.result() == 7
    (stored,) = [update["Payload"] for update in world.service.updates if update["Action"] == "SUCCEED"]
    assert stored == "7"


@pytest.mark.covers("state.assign")
def test_assign_is_simultaneous() -> None:
    world = World(
        """
        vars: {a: 1, b: 2}
        output: "{{ vars }}"
        states: [{name: swap, type: pass, assign: {a: "{{ vars.b }}", b: "{{ vars.a }}", c: new}}]
        """
    )
    assert world.result() == {"a": 2, "b": 1, "c": "new"}


def test_a_variable_that_was_passed_on_is_not_changed_by_a_later_assign() -> None:
    world = World(
        """
        vars: {a: 1}
        states:
          - {name: before, type: pass, output: "{{ vars }}"}
          - {name: change, type: pass, assign: {a: 2}}
          - {name: after, type: pass, output: ["{{ states.before.result.a }}", "{{ vars.a }}"]}
        """
    )
    assert world.result() == [1, 2]


def test_a_value_that_looks_like_a_form_of_ours_comes_back_unchanged() -> None:
    value = {"$value": {"$error": 1}}
    world = World(
        "states: [{name: a, type: step, handler: 'm:f'}, {name: w, type: wait, duration: 5}, "
        "{name: b, type: pass, output: '{{ states.a.result }}'}]",
        handlers={"m:f": lambda _: value},
    )
    assert world.result() == value


def test_text_that_looks_like_a_template_is_data() -> None:
    world = World("states: [{name: a, type: pass, output: '{{ input.x }}'}]", input={"x": "{{ 1 + 1 }}"})
    assert world.result() == "{{ 1 + 1 }}"


# when, choice, loop, block, next -------------------------------------------------------------------------------------


@pytest.mark.covers("state.when")
def test_a_state_whose_condition_does_not_hold_is_skipped() -> None:
    world = World(
        """
        states:
          - {name: a, type: pass, output: kept}
          - {name: b, type: pass, when: input.go, output: never, next: end}
          - {name: c, type: pass, when: states.b.status == 'skipped' and states.b.result is none, output: reached}
        """,
        input={"go": False},
    )
    assert world.result() == "reached"


def test_a_skipped_last_state_leaves_the_result_of_the_one_before() -> None:
    assert (
        World("states: [{name: a, type: pass, output: 1}, {name: b, type: pass, when: false, output: 2}]").result() == 1
    )


@pytest.mark.parametrize(("n", "expected"), [(5, "big"), (2, "small"), (0, "none")])
@pytest.mark.covers("choice.type", "choice.choices", "choice.default", "arm.when", "arm.states")
def test_a_choice_takes_the_first_arm_that_holds(n: int, expected: str) -> None:
    world = World(
        """
        states:
          - name: route
            type: choice
            choices:
              - {when: input.n > 3, states: [{name: big, type: pass, output: big}]}
              - {when: input.n > 1, states: [{name: small, type: pass, output: small}]}
            default: [{name: none_of_them, type: pass, output: none}]
        """,
        input={"n": n},
    )
    assert world.result() == expected


def test_a_choice_without_match_goes_on_with_null() -> None:
    world = World(
        "states: [{name: a, type: choice, choices: [{when: false, states: [{name: b, type: pass}]}]}, "
        "{name: c, type: pass, output: ['{{ states.a.result }}', '{{ states.a.status }}']}]"
    )
    assert world.result() == [None, "succeeded"]


@pytest.mark.covers("arm.next")
def test_an_arm_can_jump_to_a_sibling_of_the_choice() -> None:
    world = World(
        """
        vars: {seen: []}
        output: "{{ vars.seen }}"
        states:
          - {name: a, type: choice, choices: [{when: true, next: c}]}
          - {name: b, type: pass, assign: {seen: "{{ vars.seen + ['b'] }}"}}
          - {name: c, type: pass, assign: {seen: "{{ vars.seen + ['c'] }}"}}
        """
    )
    assert world.result() == ["c"]


@pytest.mark.covers("state.next", "block.states")
def test_end_leaves_the_list_it_stands_in_and_no_more() -> None:
    world = World(
        """
        states:
          - name: inner
            type: block
            states: [{name: a, type: pass, output: a, next: end}, {name: b, type: pass, output: b}]
          - {name: c, type: pass, output: ["{{ states.inner.result }}", c]}
        """
    )
    assert world.result() == ["a", "c"]


@pytest.mark.covers("state.name", "step.payload")
def test_each_visit_by_next_is_an_operation_of_its_own() -> None:
    world = World(
        """
        vars: {n: 0}
        output: "{{ vars.n }}"
        states:
          - {name: work, type: step, handler: "m:f", payload: "{{ vars.n }}"}
          - {name: count, type: pass, assign: {n: "{{ vars.n + 1 }}"}}
          - {name: again, type: choice, choices: [{when: vars.n < 3, next: work}]}
        """,
        handlers={"m:f": echo},
    )
    assert world.result() == 3
    assert [call.path for call in world.worker.calls] == ["work", "work#2", "work#3"]
    assert [call.operation_id for call in world.worker.calls] == [operation_id(c.path) for c in world.worker.calls]


def test_a_state_is_visited_ten_thousand_times_and_no_more() -> None:
    world = World("states: [{name: a, type: pass, next: b}, {name: b, type: pass, next: a}]")
    assert world.error() == ("States.LoopLimitExceeded", "state 'a' was visited more than 10,000 times")


@pytest.mark.covers("loop.type", "loop.while", "loop.states")
def test_while_is_tested_before_and_iteration_counts_from_zero() -> None:
    world = World(
        """
        vars: {seen: []}
        output: "{{ vars.seen }}"
        states:
          - name: pages
            type: loop
            while: iteration < 3
            max_iterations: 9
            states: [{name: page, type: step, handler: "m:f", payload: "{{ iteration }}", assign: {seen: "{{ vars.seen + [result] }}"}}]
        """,
        handlers={"m:f": echo},
    )
    assert world.result() == [0, 1, 2]
    assert [call.path for call in world.worker.calls] == ["pages{0}/page", "pages{1}/page", "pages{2}/page"]


@pytest.mark.covers("loop.until")
def test_until_is_tested_after() -> None:
    world = World(
        """
        states:
          - name: poll
            type: loop
            until: states.look.result >= 2
            max_iterations: 9
            states: [{name: look, type: pass, output: "{{ iteration }}"}]
        """
    )
    assert world.result() == 2


@pytest.mark.parametrize("condition", ["while: true", "until: false"])
@pytest.mark.covers("loop.on_limit")
def test_a_loop_that_would_go_on_at_its_limit_fails(condition: str) -> None:
    text = f"states: [{{name: l, type: loop, {condition}, max_iterations: 2, states: [{{name: a, type: pass}}]}}]"
    assert World(text).error() == ("States.LoopLimitExceeded", "loop 'l' would go on after 2 iterations")
    assert World(text.replace("max_it", "on_limit: continue, max_it")).result() is None


def test_a_loop_that_is_done_at_its_limit_ends_well() -> None:
    assert (
        World(
            "states: [{name: l, type: loop, until: iteration == 1, max_iterations: 2,"
            " states: [{name: a, type: pass, output: '{{ iteration }}'}]}]"
        ).result()
        == 1
    )


@pytest.mark.covers("loop.max_iterations")
def test_a_loop_without_condition_runs_max_iterations_times() -> None:
    world = World(
        "vars: {n: 0}\nstates: [{name: l, type: loop, max_iterations: 4, "
        "states: [{name: a, type: pass, assign: {n: '{{ vars.n + 1 }}'}}]}]\noutput: '{{ vars.n }}'"
    )
    assert world.result() == 4


@pytest.mark.covers("loop.delay")
def test_a_delay_stands_between_iterations_only() -> None:
    world = World(
        "states: [{name: l, type: loop, max_iterations: 3, delay: 7s, states: [{name: a, type: step, handler: 'm:f'}]}]",
        handlers={"m:f": echo},
    )
    world.result()
    assert world.started == ["a", "l-delay", "a", "l-delay", "a"]
    waits = [u for u in world.service.updates if u["Type"] == "WAIT"]
    assert [u["Id"] for u in waits] == [operation_id("l{0}:delay"), operation_id("l{1}:delay")]
    assert [u["WaitOptions"]["WaitSeconds"] for u in waits] == [7, 7]


def test_the_result_of_a_loop_is_its_last_iterations() -> None:
    assert (
        World(
            "states: [{name: l, type: loop, max_iterations: 3, states: [{name: a, type: pass, output: '{{ iteration }}'}]}]"
        ).result()
        == 2
    )


@pytest.mark.covers("block.type")
def test_a_block_makes_no_operation_and_does_not_change_paths() -> None:
    world = World(
        "states: [{name: b, type: block, states: [{name: s, type: step, handler: 'm:f', payload: 1}], output: '{{ result + 1 }}'}]",
        handlers={"m:f": echo},
    )
    assert world.result() == 2
    assert world.worker.calls[0].path == "s"


# succeed, fail, catch ------------------------------------------------------------------------------------------------


@pytest.mark.covers("succeed.type")
def test_succeed_ends_the_workflow_from_inside() -> None:
    world = World(
        """
        output: not this
        states:
          - name: l
            type: loop
            max_iterations: 2
            states: [{name: b, type: block, states: [{name: done, type: succeed, output: here}]}]
          - {name: never, type: fail, error: Never}
        """
    )
    assert world.result() == "here"


def test_succeed_without_output_ends_as_a_normal_end_does() -> None:
    text = "states: [{name: a, type: pass, output: 1}, {name: s, type: succeed}, {name: f, type: fail, error: X}]"
    assert World(text).result() == 1
    assert World(f"output: mine\n{text}").result() == "mine"


@pytest.mark.covers("fail.type", "fail.error", "fail.cause", "fail.data")
def test_fail_ends_the_workflow_with_its_error() -> None:
    world = World(
        "states: [{name: f, type: fail, error: OrderRejected, cause: '{{ input.why }}', data: {a: 1}}]",
        input={"why": "no"},
    )
    output = world.run()
    assert output == {
        "Status": "FAILED",
        "Error": {"ErrorType": "OrderRejected", "ErrorMessage": "no", "ErrorData": '{"a":1}'},
    }


CAUGHT = """
vars: {seen: null}
states:
  - name: work
    type: step
    handler: "m:f"
    catch:
      - {errors: [Other], output: other}
      - errors: [Boom]
        assign: {seen: "{{ error.name }}"}
        states: [{name: repair, type: pass, output: "{{ error.message }} in {{ error.state }}"}]
      - {errors: [States.ALL], output: all}
  - name: after
    type: pass
    output: ["{{ states.work.status }}", "{{ states.work.result }}", "{{ states.work.error.data }}", "{{ vars.seen }}"]
"""


@pytest.mark.covers("state.catch", "catcher.errors", "catcher.assign", "catcher.states")
def test_the_first_catcher_that_matches_takes_the_error_and_the_flow_goes_on_after_the_state() -> None:
    world = World(CAUGHT, handlers={"m:f": failing(Fault("Boom", "why", {"a": 1}))})
    assert world.result() == ["caught", "why in work", {"a": 1}, "Boom"]


@pytest.mark.covers("catcher.output")
def test_a_catchers_output_is_the_result_of_the_caught_state() -> None:
    assert World(CAUGHT, handlers={"m:f": failing(Fault("Else"))}).result() == ["caught", "all", None, None]


@pytest.mark.covers("catcher.when", "catcher.next")
def test_a_catcher_jumps_and_its_condition_sees_the_error() -> None:
    world = World(
        """
        states:
          - name: a
            type: fail
            error: E
            data: 2
            catch: [{when: error.data == 1, next: end}, {when: error.data == 2, next: c}]
          - {name: b, type: fail, error: Never}
          - {name: c, type: pass, output: c}
        """
    )
    assert world.result() == "c"


def test_an_error_inside_a_catcher_goes_outward() -> None:
    world = World(
        """
        states:
          - name: outer
            type: block
            states:
              - name: a
                type: fail
                error: First
                catch: [{states: [{name: again, type: fail, error: Second, cause: "{{ error.name }}"}]}]
            catch: [{errors: [Second], output: "{{ error.message }} {{ error.state }}"}]
        """
    )
    assert world.result() == "First again"


def test_a_states_own_catch_covers_its_templates_and_not_its_when() -> None:
    caught = World("states: [{name: a, type: pass, output: '{{ input.x }}', catch: [{output: saved}]}]")
    assert caught.result() == "saved"
    uncaught = World("states: [{name: a, type: pass, when: input.x, catch: [{output: saved}]}]")
    assert uncaught.error()[0] == "States.QueryEvaluationError"


@pytest.mark.covers("file.catch")
def test_the_catch_of_the_workflow_makes_it_succeed() -> None:
    world = World("states: [{name: f, type: fail, error: E}]\ncatch: [{output: '{{ error.name }} caught'}]")
    assert world.result() == "E caught"


def test_errors_of_output_are_not_seen_by_the_workflows_own_catch() -> None:
    world = World("states: [{name: a, type: pass}]\noutput: '{{ input.x }}'\ncatch: [{output: caught}]")
    assert world.error()[0] == "States.OutputInvalid"


def test_a_failed_execution_names_the_line_of_the_state() -> None:
    plan = plan_of("states:\n  - name: a\n    type: fail\n    error: E\n    cause: why\n")
    outcome = decide(plan, [EXECUTION]).outcome
    assert isinstance(outcome, Failed)
    assert outcome.state == "a"
    assert outcome.problem.message == "state 'a' failed: E: why"
    assert str(outcome.problem.span).startswith("demo.yaml:4:")


# schemas -------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("file.input", "input.schema")
def test_an_input_that_does_not_fit_fails_before_anything_runs() -> None:
    world = World(
        "input: {schema: {type: object, required: [id]}}\nstates: [{name: s, type: step, handler: 'm:f'}]\n"
        "catch: [{output: caught}]",
        input={},
    )
    name, message = world.error()
    assert name == "States.InputInvalid"
    assert "id" in message
    assert world.service.requests == []


def test_an_input_that_is_not_json_fails() -> None:
    world = World("states: [{name: a, type: pass}]")
    world.service.operations["7f3a"]["ExecutionDetails"] = {"InputPayload": "{oops"}
    assert world.error()[0] == "States.InputInvalid"


def test_a_blank_input_is_an_empty_object() -> None:
    assert World("states: [{name: a, type: pass, output: '{{ input }}'}]").result() == {}


@pytest.mark.covers("file.output_schema")
def test_an_output_that_does_not_fit_fails() -> None:
    world = World("states: [{name: a, type: pass, output: 1}]\noutput_schema: {type: string}")
    assert world.error()[0] == "States.OutputInvalid"


@pytest.mark.covers("state.result_schema")
def test_a_result_that_does_not_fit_is_caught_by_name() -> None:
    text = (
        "states: [{name: a, type: %s, result_schema: {type: string}, "
        "catch: [{errors: [States.ResultInvalid], output: caught}]}]"
    )
    assert World(text % "invoke, function: f", targets={"f": lambda _: 1}).result() == "caught"
    assert World(text % "step, handler: 'm:f'", handlers={"m:f": lambda _: 1}).result() == "caught"


# step ----------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("step.retry")
def test_a_step_is_retried_in_place_until_it_succeeds() -> None:
    world = World(
        "states: [{name: s, type: step, handler: 'm:f', payload: '{{ context.state.attempt }}', "
        "retry: [{max_attempts: 3, interval: 5, jitter: none}]}]",
        handlers={"m:f": failing(Fault("A"), Fault("B"), then="done")},
    )
    assert world.result() == "done"
    assert [(call.attempt, call.payload) for call in world.worker.calls] == [(1, 1), (2, 2), (3, 3)]
    assert len({call.operation_id for call in world.worker.calls}) == 1
    assert len({call.idempotency_key for call in world.worker.calls}) == 1
    assert [u["StepOptions"]["NextAttemptDelaySeconds"] for u in world.service.updates if u["Action"] == "RETRY"] == [
        5,
        10,
    ]


def test_a_step_whose_attempts_are_used_up_fails_with_the_last_error() -> None:
    world = World(
        "states: [{name: s, type: step, handler: 'm:f', retry: [{max_attempts: 2}], "
        "catch: [{output: ['{{ error.name }}', '{{ error.attempt }}', '{{ error.state }}']}]}]",
        handlers={"m:f": failing(Fault("A"), Fault("B"))},
    )
    assert world.result() == ["B", 2, "s"]


def test_a_step_without_retry_is_not_retried() -> None:
    world = World("states: [{name: s, type: step, handler: 'm:f'}]", handlers={"m:f": failing(Fault("A", "m"))})
    assert world.error() == ("A", "m")
    assert len(world.worker.calls) == 1


def test_an_error_in_the_output_of_a_step_fails_the_step_and_is_not_retried() -> None:
    world = World(
        "states: [{name: s, type: step, handler: 'm:f', output: '{{ result.x }}', retry: [{max_attempts: 3}]}]",
        handlers={"m:f": lambda _: {}},
    )
    assert world.error()[0] == "States.QueryEvaluationError"
    assert [u["Action"] for u in world.service.updates] == ["START", "FAIL"]


def test_a_payload_that_cannot_be_rendered_starts_nothing() -> None:
    world = World("states: [{name: s, type: step, handler: 'm:f', payload: '{{ input.x }}'}]", handlers={"m:f": echo})
    assert world.error()[0] == "States.QueryEvaluationError"
    assert world.service.requests == []


def test_a_result_at_the_limit_is_stored_and_one_byte_more_fails() -> None:
    text = "states: [{name: s, type: step, handler: 'm:f'}, {name: e, type: pass, output: '{{ states.s.result | length }}'}]"
    euro = "\u20ac"
    fits = World(text, handlers={"m:f": lambda _: euro * 87_380 + "ab"})
    assert fits.result() == 87_382
    large = World(text, handlers={"m:f": lambda _: euro * 87_380 + "abc"})
    name, message = large.error()
    assert name == "States.DataLimitExceeded"
    assert message == "the result of 's' has 262,145 bytes, more than the limit of 262,144"


def test_a_step_gets_an_empty_object_without_payload() -> None:
    world = World("states: [{name: s, type: step, handler: 'm:f'}]", handlers={"m:f": echo})
    assert world.result() == {}


def test_a_sequential_step_costs_one_checkpoint() -> None:
    states = ", ".join(f"{{name: s{n}, type: step, handler: 'm:f'}}" for n in range(20))
    world = World(f"states: [{states}]", handlers={"m:f": echo})
    world.result()
    assert len(world.service.requests) == 21
    assert [u["Action"] for u in world.service.requests[1]["Updates"]] == ["SUCCEED", "START"]


# wait, time ----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("wait.type")
def test_a_wait_is_one_operation() -> None:
    world = World("states: [{name: w, type: wait, duration: 1h}]")
    assert world.result() is None
    (update,) = world.service.updates
    assert (update["Type"], update["SubType"], update["WaitOptions"]) == ("WAIT", "Wait", {"WaitSeconds": 3600})


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("duration: 1.2", 2),
        ("duration: '{{ input.d }}'", 90),
        ("duration: PT1H", 3600),
        ("until: '2026-01-01T00:01:00Z'", 60),
        ("until: '2026-01-01T01:00:00.5+01:00'", 1),
        ("until: '2026-01-02'", 86_400),
    ],
)
@pytest.mark.covers("wait.duration", "wait.until")
def test_how_long_a_wait_is(field: str, seconds: int) -> None:
    world = World(f"states: [{{name: w, type: wait, {field}}}]", input={"d": "1.5m"})
    world.result()
    assert world.service.updates[0]["WaitOptions"]["WaitSeconds"] == seconds


@pytest.mark.parametrize(
    "field",
    ["duration: 0", "duration: '{{ input.d }}'", "until: '2025-01-01T00:00:00Z'", "until: '2026-01-01T00:00:00Z'"],
)
def test_a_wait_that_is_over_costs_nothing(field: str) -> None:
    world = World(f"states: [{{name: w, type: wait, {field}}}]", input={"d": -5})
    assert world.result() is None
    assert world.service.requests == []


@pytest.mark.parametrize("value", ["soon", True, None, [1], 40_000_000, "400d"])
def test_a_duration_that_is_none_is_an_error_of_a_template(value: Any) -> None:
    world = World("states: [{name: w, type: wait, duration: '{{ input.d }}'}]", input={"d": value})
    assert world.error()[0] == "States.QueryEvaluationError"


def test_context_now_is_the_latest_recorded_end_before_this_point() -> None:
    world = World(
        """
        states:
          - {name: first, type: pass, output: "{{ context.now }}"}
          - {name: w, type: wait, duration: 60}
          - {name: second, type: pass, output: "{{ context.now }}"}
          - {name: s, type: step, handler: "m:f"}
          - {name: third, type: pass, output: ["{{ states.first.result }}", "{{ states.second.result }}", "{{ context.now }}"]}
          - {name: w2, type: wait, duration: 60}
          - {name: last, type: pass, output: "{{ states.third.result + [states.w.started_at, states.second.ended_at] }}"}
        """,
        handlers={"m:f": echo},
    )

    def later(_: Call) -> None:
        world.service.now += 5_000

    world.worker.by_reference = {"m:f": later}
    assert world.result() == [
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:01:00.000Z",
        "2026-01-01T00:01:05.000Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:01:00.000Z",
    ]


def test_a_template_that_reads_the_time_waits_for_the_answer_to_earlier_updates() -> None:
    world = World(
        "states: [{name: a, type: step, handler: 'm:f'}, {name: b, type: step, handler: 'm:f', payload: '{{ context.now }}'}]",
        handlers={"m:f": echo},
    )
    assert world.result() == "2026-01-01T00:00:00.000Z"
    assert [[u["Action"] for u in r["Updates"]] for r in world.service.requests] == [
        ["START"],
        ["SUCCEED"],
        ["START"],
        ["SUCCEED"],
    ]


# invoke --------------------------------------------------------------------------------------------------------------


def test_an_unknown_function_fails_in_the_same_invocation() -> None:
    world = World("states: [{name: a, type: invoke, function: nobody}]")
    assert world.error() == ("Lambda.ResourceNotFoundException", "Function not found: nobody")


@pytest.mark.covers("invoke.type", "invoke.function")
def test_a_retried_invoke_is_a_new_operation_after_a_backoff() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, retry: [{max_attempts: 3, interval: 4, jitter: none}], "
        "output: ['{{ result }}', '{{ context.state.attempt }}']}]",
        targets={"f": failing(Fault("X"), Fault("Y"), then="ok")},
    )
    assert world.result() == ["ok", 3]
    assert world.started == ["a", "a-backoff-1", "a", "a-backoff-2", "a"]
    paths = ["a", "a:backoff", "a@2", "a@2:backoff", "a@3"]
    assert [u["Id"] for u in world.service.updates] == [operation_id(path) for path in paths]


def test_a_failed_invoke_is_caught_by_name_and_status() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, catch: [{when: error.status == 'FAILED', "
        "output: '{{ error }}'}]}]",
        targets={"f": failing(Fault("NoCarrier", "none", [1]))},
    )
    assert world.result() == {
        "name": "NoCarrier",
        "message": "none",
        "data": [1],
        "state": "a",
        "attempt": 1,
        "status": "FAILED",
        "index": None,
        "branch": None,
    }


@pytest.mark.covers("invoke.allow")
def test_a_templated_function_must_be_allowed() -> None:
    text = "states: [{name: a, type: invoke, function: 'f-{{ input.x }}', allow: ['f-*:live']}]"
    assert World(text, input={"x": "a:live"}, targets={"f-a:live": lambda _: 1}).result() == 1
    assert World(text, input={"x": "a"}).error()[0] == "States.Permissions"
    assert World(text, input={"x": " ;rm"}).error()[0] == "States.QueryEvaluationError"
    # The service would refuse the checkpoint, which is the end of the execution.
    assert World(text, input={"x": "a/b:live"}).error()[0] == "States.QueryEvaluationError"


@pytest.mark.covers("invoke.tenant_id", "state.label")
def test_tenant_and_label_go_on_the_wire() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, tenant_id: 't-{{ input.n }}', label: 'Zahlung prüfen {{ input.n }}'}]",
        input={"n": 1},
        targets={"f": lambda _: None},
    )
    assert world.result() is None
    (update,) = world.service.updates
    assert update["ChainedInvokeOptions"] == {"FunctionName": "f", "TenantId": "t-1"}
    assert update["Name"] == "Zahlung pr_fen 1"
    assert update["Payload"] == "{}"


@pytest.mark.covers("invoke.payload")
def test_a_payload_over_the_limit_is_refused_before_it_is_sent() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, payload: '{{ input }}'}]",
        input="x" * 1_048_575,
        targets={"f": echo},
    )
    assert world.error() == (
        "States.DataLimitExceeded",
        "the payload of 'a' has 1,048,577 bytes, more than the limit of 1,048,576",
    )
    assert world.service.requests == []


# results of the execution --------------------------------------------------------------------------------------------


def test_a_result_that_fits_the_response_goes_in_it() -> None:
    world = World("states: [{name: a, type: pass, output: '{{ input }}'}]", input="x" * 6_291_000)
    assert len(world.run()["Result"]) == 6_291_002
    assert world.service.outcome is None


def test_a_result_too_large_for_the_response_as_escaped_there_goes_in_an_execution_update() -> None:
    world = World("states: [{name: a, type: pass, output: '{{ input }}'}]", input='"' * 3_000_000)
    assert world.run() == {"Status": "SUCCEEDED", "Result": ""}
    assert world.service.outcome
    assert len(world.service.outcome.result or "") == 6_000_002


def test_a_result_over_every_limit_fails() -> None:
    world = World("states: [{name: a, type: pass, output: '{{ input }}'}]", input="x" * 6_291_455)
    name, message = world.error()
    assert name == "States.DataLimitExceeded"
    assert "6,291,457 bytes" in message


# the turn by turn of one Run -----------------------------------------------------------------------------------------

CHAIN = "states: [{name: a, type: invoke, function: f}, {name: s, type: step, handler: 'm:f', retry: [{}]}, {name: w, type: wait, duration: 9}]"


def shown(update: Any, status: str, **more: Any) -> Operation:
    return {**{k: update[k] for k in ("Id", "Name", "Type", "SubType")}, "Status": status, "StartTimestamp": 1, **more}  # type: ignore[typeddict-item, return-value]


def test_suspends_at_the_first_invoke_in_progress() -> None:
    run = Run(plan_of(CHAIN))
    first = run.advance([EXECUTION])
    assert first.outcome is None
    (start,) = first.updates
    assert run.advance([shown(start, "STARTED")]) == Decision(outcome=Pending())


def test_goes_on_in_the_same_invocation_when_the_invoke_ends() -> None:
    run = Run(plan_of(CHAIN))
    (start,) = run.advance([EXECUTION]).updates
    run.advance([shown(start, "STARTED")])
    decision = run.advance([shown(start, "SUCCEEDED", EndTimestamp=2)])
    assert [update["Name"] for update in decision.updates] == ["s"]
    assert [call.path for call in decision.calls] == ["s"]


def test_a_step_that_was_running_runs_again_without_start_at_least_once() -> None:
    operation = shown({"Id": operation_id("s"), "Name": "s", "Type": "STEP", "SubType": "Step"}, "STARTED")
    decision = decide(plan_of("states: [{name: s, type: step, handler: 'm:f'}]"), [EXECUTION, operation])
    assert decision.updates == ()
    assert [call.attempt for call in decision.calls] == [1]


@pytest.mark.parametrize(("retry", "action"), [("", "FAIL"), (", retry: [{max_attempts: 2}]", "RETRY")])
@pytest.mark.covers("step.semantics")
def test_a_step_that_was_running_is_not_run_again_at_most_once(retry: str, action: str) -> None:
    operation = shown({"Id": operation_id("s"), "Name": "s", "Type": "STEP", "SubType": "Step"}, "STARTED")
    text = f"states: [{{name: s, type: step, handler: 'm:f', semantics: at_most_once{retry}}}]"
    decision = decide(plan_of(text), [EXECUTION, operation])
    assert decision.calls == ()
    (update,) = decision.updates
    assert update["Action"] == action
    assert update["Error"]["ErrorType"] == "States.StepInterrupted"


def test_a_reply_that_does_not_show_a_started_operation_is_an_infrastructure_error() -> None:
    run = Run(plan_of(CHAIN))
    run.advance([EXECUTION])
    with pytest.raises(ServiceError) as caught:
        run.advance([])
    assert caught.value.is_retryable


def test_a_reply_that_still_shows_a_retried_step_as_running_is_an_infrastructure_error() -> None:
    run = Run(plan_of("states: [{name: s, type: step, handler: 'm:f', retry: [{}]}]"))
    (start,) = run.advance([EXECUTION]).updates
    started = shown(start, "STARTED")
    run.advance([started])
    run.advance([], [Completion(operation_id=start["Id"], fault=Fault("A"))])
    with pytest.raises(ServiceError):
        run.advance([started])


def test_the_recorded_state_must_hold_an_execution() -> None:
    with pytest.raises(ValueError, match="EXECUTION"):
        Run(plan_of(CHAIN)).advance([])


def test_a_run_that_is_over_takes_nothing_more() -> None:
    run = Run(plan_of("states: [{name: a, type: pass}]"))
    assert run.advance([EXECUTION]).outcome == Succeeded("null")
    with pytest.raises(ValueError, match="over"):
        run.advance([])


def test_replay_is_over_once_everything_recorded_has_been_come_past() -> None:
    operation = shown(
        {"Id": operation_id("a"), "Name": "a", "Type": "CHAINED_INVOKE", "SubType": "ChainedInvoke"},
        "SUCCEEDED",
        EndTimestamp=2,
    )
    visits: list[Visit] = []
    run = Run(plan_of(CHAIN), visited=visits.append)
    run.advance([EXECUTION, operation])
    assert not run.is_replaying
    assert [(visit.path, visit.span_status, visit.is_tracked) for visit in visits] == [
        ("a", "replayed_succeeded", True)
    ]


# record and Plan disagree --------------------------------------------------------------------------------------------


def mismatch(text: str, *operations: Operation) -> str:
    decision = decide(plan_of(text), [EXECUTION, *operations])
    assert decision.updates == ()
    assert decision.calls == ()
    assert isinstance(decision.outcome, Failed)
    assert decision.outcome.error["ErrorType"] == "NonDeterministicExecutionError"
    assert decision.outcome.mismatch
    return decision.outcome.error["ErrorMessage"]


def recorded(path: str, kind: str, subtype: str, status: str = "SUCCEEDED", name: str | None = None) -> Operation:
    return shown(
        {"Id": operation_id(path), "Name": name or path, "Type": kind, "SubType": subtype}, status, EndTimestamp=2
    )


STEP = recorded("a", "STEP", "Step")
KINDS = {
    "step": ("{name: a, type: step, handler: 'm:f'}", ("STEP", "Step")),
    "invoke": ("{name: a, type: invoke, function: f}", ("CHAINED_INVOKE", "ChainedInvoke")),
    "wait": ("{name: a, type: wait, duration: 5}", ("WAIT", "Wait")),
}


@pytest.mark.parametrize("there", KINDS)
@pytest.mark.parametrize("recorded_as", KINDS)
@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STARTED"])
def test_another_type_at_the_id_fails_closed_and_cannot_be_caught(there: str, recorded_as: str, status: str) -> None:
    if there == recorded_as:
        return
    text = f"states: [{KINDS[there][0][:-1]}, catch: [{{output: caught}}]}}, {{name: b, type: step, handler: 'm:g'}}]"
    message = mismatch(text, recorded("a", *KINDS[recorded_as][1], status))
    assert "a" in message
    if there == "invoke":
        word = {"step": "Step", "wait": "Wait"}[recorded_as]
        assert f"Expected Invoke operation but found {word} at operation_id {operation_id('a')}" in message


def test_another_name_at_the_id_fails_closed() -> None:
    message = mismatch("states: [{name: a, type: step, handler: 'm:f', label: new}]", STEP)
    assert "STEP/Step 'new'" in message
    assert "STEP/Step 'a'" in message


def test_another_subtype_at_the_id_fails_closed() -> None:
    assert "WaitForCondition" in mismatch(
        "states: [{name: a, type: step, handler: 'm:f'}]", recorded("a", "STEP", "WaitForCondition")
    )


def test_a_state_put_before_one_that_has_started_fails_closed() -> None:
    message = mismatch("states: [{name: new, type: step, handler: 'm:f'}, {name: a, type: step, handler: 'm:f'}]", STEP)
    assert "'a'" in message
    assert "'new'" in message


def test_a_finished_state_that_is_gone_fails_closed_also_at_the_end() -> None:
    assert "the end of the execution" in mismatch("states: [{name: b, type: pass}]", STEP)


def test_a_finished_state_moved_behind_a_sleeping_one_is_no_mismatch() -> None:
    text = "states: [{name: w, type: wait, duration: 5}, {name: a, type: step, handler: 'm:f'}]"
    assert decide(plan_of(text), [EXECUTION, STEP, recorded("w", "WAIT", "Wait", "STARTED")]).outcome == Pending()
    done = decide(plan_of(text), [EXECUTION, STEP, recorded("w", "WAIT", "Wait")])
    assert isinstance(done.outcome, Succeeded)


def test_wrapping_in_a_block_or_choice_and_adding_after_is_no_mismatch() -> None:
    text = (
        "states: [{name: b, type: block, states: [{name: c, type: choice, choices: [{when: true, states: "
        "[{name: a, type: step, handler: 'm:f'}]}]}]}, {name: new, type: step, handler: 'm:f'}]"
    )
    decision = decide(plan_of(text), [EXECUTION, STEP])
    assert [update["Name"] for update in decision.updates] == ["new"]


def test_a_leftover_backoff_of_a_retry_that_is_gone_is_no_mismatch() -> None:
    failed = recorded("a", "CHAINED_INVOKE", "ChainedInvoke", "FAILED")
    backoff = recorded("a:backoff", "WAIT", "Wait", name="a-backoff-1")
    text = "states: [{name: a, type: invoke, function: f, catch: [{output: caught}]}]"
    assert decide(plan_of(text), [EXECUTION, failed, backoff]).outcome == Succeeded('"caught"')


def test_a_running_step_is_not_run_while_something_else_is_unvisited() -> None:
    running = recorded("a", "STEP", "Step", "STARTED")
    mismatch("states: [{name: a, type: step, handler: 'm:f'}]", running, recorded("gone", "STEP", "Step"))
