"""Contexts, map and parallel, compensation, conditions: rules 31 to 40."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doubles import Function, by_attempt, journal
from endings import endings
from worlds import World

from durableflow.errors import Fault

ALL_COMPLETED = "ALL_COMPLETED"


def context_updates(world: World, path: str) -> list[dict[str, Any]]:
    key = world.plan.operation_ids[path]
    return [update for update in world.service.updates if update["Id"] == key and update["Action"] != "START"]


# 31 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("makes_context", ["timeout: 1h", "retry: [{max_attempts: 2}]"])
@pytest.mark.parametrize(
    "kind",
    [
        "type: block",
        "type: loop, max_iterations: 1",
        "type: choice, default: [], choices: [{when: true, states: STATES}]",
    ],
)
def test_rule_31_what_retry_and_timeout_make_a_context_of_is_replayed(kind: str, makes_context: str) -> None:
    states = "[{name: f, type: invoke, function: f, payload: 4}]"
    body = kind.replace("STATES", states) if "STATES" in kind else f"{kind}, states: {states}"
    ending = endings(
        lambda: World(
            f"states: [{{name: b, {body}, {makes_context}}}, {{name: w, type: wait, duration: 5}}, "
            "{name: p, type: pass, output: '{{ [states.b.result, states.f.result] }}'}]",
            targets={"f": Function()},
        )
    )
    assert ending.result == [4, 4]
    (closed,) = context_updates(ending.world, "b")
    assert (closed["Action"], closed["SubType"]) == ("SUCCEED", "RunInChildContext")
    assert closed["ContextOptions"] == {"ReplayChildren": True}
    assert "Payload" not in closed


def test_rule_31_a_block_with_context_stores_its_result_and_hides_its_states() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: b, type: block, context: true, states: [{name: f, type: invoke, function: f, payload: 4}]},"
            " {name: w, type: wait, duration: 5}, {name: p, type: pass, output: '{{ states.b.result }}'}]",
            targets={"f": Function()},
        )
    )
    assert ending.result == 4
    (closed,) = context_updates(ending.world, "b")
    assert (closed["Action"], closed["Payload"]) == ("SUCCEED", "4")
    assert "ContextOptions" not in closed
    assert ending.paths == ["b", "b/f", "w"]


def test_rule_31_a_block_with_context_and_compensate_in_it_is_replayed() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: b, type: block, context: true, states: [{name: f, type: invoke, function: f, payload: 4, "
            "compensate: [{name: u, type: pass}]}]}, {name: w, type: wait, duration: 5}]",
            targets={"f": Function()},
        )
    )
    (closed,) = context_updates(ending.world, "b")
    assert closed["ContextOptions"] == {"ReplayChildren": True}


FAN_OUTS = {
    "map": ("type: map, items: '[1, 2]', nesting: nested, states: {}", ["all", "all[0]", "all[1]"]),
    "parallel": (
        "type: parallel, nesting: nested, branches: {{a: {}, b: [{{name: x, type: pass}}]}}",
        ["all", "all.a", "all.b"],
    ),
}


@pytest.mark.parametrize("kind", FAN_OUTS)
def test_rule_31_map_and_parallel_store_their_results(kind: str) -> None:
    text, contexts = FAN_OUTS[kind]
    body = "[{name: f, type: invoke, function: f, payload: 4}]"
    ending = endings(
        lambda: World(
            f"states: [{{name: all, {text.format(body)}}}, {{name: w, type: wait, duration: 5}}]",
            targets={"f": Function()},
        )
    )
    subtypes = [ending.operation(path).get("SubType") for path in contexts]
    assert subtypes == (["Map", *["MapIteration"] * 2] if kind == "map" else ["Parallel", *["ParallelBranch"] * 2])
    for path in contexts:
        (closed,) = context_updates(ending.world, path)
        assert "ContextOptions" not in closed
    assert json.loads(context_updates(ending.world, contexts[1])[0]["Payload"]) == 4


@pytest.mark.parametrize("kind", FAN_OUTS)
def test_rule_31_with_compensate_in_it_every_context_of_a_map_or_parallel_is_replayed(kind: str) -> None:
    text, contexts = FAN_OUTS[kind]
    body = "[{name: f, type: invoke, function: f, payload: 4, compensate: [{name: u, type: pass}]}]"
    ending = endings(
        lambda: World(
            f"states: [{{name: all, {text.format(body)}}}, {{name: w, type: wait, duration: 5}}]",
            targets={"f": Function()},
        )
    )
    for path in contexts:
        (closed,) = context_updates(ending.world, path)
        assert closed["ContextOptions"] == {"ReplayChildren": True}
    stored = json.loads(context_updates(ending.world, "all")[0]["Payload"])
    assert (stored["reason"], stored["statuses"]) == (ALL_COMPLETED, "SS")


def test_rule_31_in_the_second_attempt_of_a_block_paths_say_so() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: saga, type: block, retry: [{max_attempts: 2, interval: 3, jitter: none}], "
            "states: [{name: reserve, type: invoke, function: f}]}]",
            targets={"f": Function(Fault("Busy"), 1)},
        )
    )
    assert ending.result == 1
    assert ending.paths == ["saga", "saga/reserve", "saga:backoff", "saga@2", "saga@2/reserve"]


# 32 ------------------------------------------------------------------------------------------------------------------

STEP = "{name: f, type: step, handler: 'm:f'}"
NESTINGS: list[tuple[str, list[str]]] = [
    ("states: [{name: p, type: pass}]", ["all"]),
    (f"states: [{STEP}]", ["all", "all[0]/f"]),
    (f"states: [{{name: b, type: block, states: [{{name: p, type: pass}}, {STEP}]}}]", ["all", "all[0]/f"]),
    (f"states: [{STEP}, {{name: w, type: wait, duration: 1}}]", ["all", "all[0]", "all[0]/f", "all[0]/w"]),
    (f"states: [{{name: l, type: loop, max_iterations: 1, states: [{STEP}]}}]", ["all", "all[0]", "all[0]/l{0}/f"]),
    (f"nesting: nested, states: [{STEP}]", ["all", "all[0]", "all[0]/f"]),
    ("nesting: nested, states: [{name: p, type: pass}]", ["all", "all[0]"]),
    (
        f"nesting: flat, states: [{STEP}, {{name: w, type: wait, duration: 1}}]",
        ["all", "all[0]/f", "all[0]/w"],
    ),
]


@pytest.mark.parametrize(("body", "paths"), NESTINGS)
def test_rule_32_flat_where_a_body_holds_at_most_one_operation_else_nested(body: str, paths: list[str]) -> None:
    ending = endings(
        lambda: World(f"states: [{{name: all, type: map, items: '[1]', {body}}}]", handlers={"m:f": lambda _: 1})
    )
    assert ending.paths == paths


def test_rule_32_an_empty_list_or_no_branches_cost_the_outer_context_only() -> None:
    text = (
        "states: [{name: m, type: map, items: '[]', nesting: nested, states: [{name: a, type: pass}]}, "
        "{name: p, type: parallel, branches: {}}]\noutput: ['{{ states.m.result }}', '{{ states.p.result }}']"
    )
    ending = endings(lambda: World(text))
    assert ending.result == [[], {}]
    assert ending.paths == ["m", "p"]


def test_rule_32_the_outer_context_succeeds_and_the_error_is_raised_from_it() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: m, type: map, items: '[1]', nesting: nested, states: [{name: x, type: fail, error: Bad}], "
            "catch: [{output: '{{ error.name }}'}]}, {name: w, type: wait, duration: 5}, "
            "{name: p, type: pass, output: '{{ states.m.result }}'}]"
        )
    )
    assert ending.result == "Bad"
    assert [ending.operation(path)["Status"] for path in ("m", "m[0]")] == ["SUCCEEDED", "FAILED"]


# 33 ------------------------------------------------------------------------------------------------------------------


def test_rule_33_an_inline_workflow_sees_only_its_own_input_vars_and_env() -> None:
    inner = """
        env: [INNER]
        vars: {k: 1}
        states: [{name: see, type: pass, output: ["{{ input }}", "{{ vars }}", "{{ env }}", "{{ context.workflow.name }}"]}]
        """
    ending = endings(
        lambda: World(
            """
            env: [OUTER]
            vars: {v: 2}
            states:
              - {name: before, type: pass}
              - {name: sub, type: workflow, workflow: other, mode: inline, payload: {a: "{{ vars.v }}"}}
            """,
            inline={"other": inner},
            env={"OUTER": "o", "INNER": "i"},
        )
    )
    assert ending.result == [{"a": 2}, {"k": 1}, {"INNER": "i"}, "other"]
    assert ending.paths == ["sub"]
    assert ending.operation("sub").get("SubType") == "RunInChildContext"


def test_rule_33_compensations_of_an_inline_workflow_end_with_it() -> None:
    inner = (
        "states: [{name: a, type: invoke, function: f, payload: a, "
        "compensate: [{name: ua, type: invoke, function: f, payload: ua}]}%s]"
    )

    def run(more: str) -> tuple[list[str], Any]:
        orders: list[list[str]] = []

        def make() -> World:
            order, function = journal(fails=("bad",))
            orders.append(order)
            return World(
                "states: [{name: sub, type: workflow, workflow: other, mode: inline}, {name: x, type: fail, error: Late}]",
                inline={"other": inner % more},
                targets={"f": function},
            )

        error = endings(make).error
        assert all(order == orders[0] for order in orders)
        return orders[0], error[0]

    assert run("") == (["a"], "Late")
    assert run(", {name: bad, type: invoke, function: f, payload: bad}") == (["a", "bad", "ua"], "No.bad")


def test_rule_33_wrong_input_is_an_error_at_the_state() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: sub, type: workflow, workflow: other, mode: inline, payload: {}, "
            "catch: [{errors: [States.InputInvalid], output: '{{ error.state }}'}]}]",
            inline={
                "other": "input: {schema: {type: object, required: [id]}}\nstates: [{name: a, type: pass}]",
            },
        )
    )
    assert ending.result == "sub"


def test_rule_33_a_workflow_is_a_child_by_default() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: sub, type: workflow, workflow: other, payload: 3}]",
            inline={"other": "states: [{name: a, type: pass}]"},
            targets={"other": Function()},
        )
    )
    assert ending.result == 3
    assert ending.operation("sub")["Type"] == "CHAINED_INVOKE"


# 34, 35 --------------------------------------------------------------------------------------------------------------

MAP = """
states:
  - name: all
    type: map
    items: input
    {more}
    states: [{{name: f, type: invoke, function: f, payload: "{{{{ item }}}}"}}]
    catch: [{{errors: [States.ALL], output: "{{{{ error }}}}"}}]
  - {{name: w, type: wait, duration: 5}}
output: ["{{{{ states.all.result }}}}", "{{{{ states.all.status }}}}"]
"""


def odd_fails(item: Any) -> Any:
    if item % 2:
        raise Fault("Odd", f"{item} is odd", {"item": item})
    return item


def test_rule_34_without_completion_the_first_failure_goes_on_unchanged_with_its_index() -> None:
    ending = endings(lambda: World(MAP.format(more=""), input=[0, 1, 2, 3], targets={"f": odd_fails}))
    error, status = ending.result
    assert status == "caught"
    assert error == {
        "name": "Odd",
        "message": "1 is odd",
        "data": {"item": 1},
        "state": "f",
        "attempt": 1,
        "status": "FAILED",
        "index": 1,
        "branch": None,
    }


def test_rule_34_of_branches_that_failed_at_that_moment_the_first_declared_decides() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: both, type: parallel, branches: {z: [{name: a, type: fail, error: A}], "
            "b: [{name: c, type: fail, error: C}]}, catch: [{output: '{{ [error.name, error.branch, error.index] }}'}]}]"
        )
    )
    assert ending.result == ["A", "z", None]


def test_rule_34_with_completion_the_error_says_how_many_failed() -> None:
    ending = endings(
        lambda: World(
            MAP.format(more="completion: {tolerated_failure_count: 11}"), input=[1] * 12, targets={"f": odd_fails}
        )
    )
    error, _ = ending.result
    assert error["name"] == "States.ExceedToleratedFailureThreshold"
    data = error["data"]
    assert {key: data[key] for key in ("total", "succeeded", "failed", "reason")} == {
        "total": 12,
        "succeeded": 0,
        "failed": 12,
        "reason": "FAILURE_TOLERANCE_EXCEEDED",
    }
    assert len(data["failures"]) == 10
    assert data["failures"][0] == {
        "index": 0,
        "item_name": None,
        "error": {"name": "Odd", "message": "1 is odd", "data": {"item": 1}},
    }
    assert (error["state"], error["index"]) == ("all", None)


def test_rule_34_fewer_than_min_successful_is_an_error_too() -> None:
    ending = endings(
        lambda: World(MAP.format(more="completion: {min_successful: 2}"), input=[1, 2, 3], targets={"f": odd_fails})
    )
    error, _ = ending.result
    assert error["name"] == "States.ExceedToleratedFailureThreshold"
    assert (error["data"]["reason"], error["data"]["succeeded"]) == ("ALL_COMPLETED", 1)


@pytest.mark.parametrize(("items", "expected"), [([2, 4], [2, 4]), ([], [])])
def test_rule_34_min_successful_is_capped_by_the_number_of_items(items: list[int], expected: list[int]) -> None:
    ending = endings(
        lambda: World(MAP.format(more="completion: {min_successful: 5}"), input=items, targets={"f": odd_fails})
    )
    assert ending.result == [expected, "succeeded"]


SUMMARY = """
states:
  - name: all
    type: map
    items: input
    {more}
    item_name: "n{{{{ item }}}}"
    states: [{{name: f, type: invoke, function: f, payload: "{{{{ item }}}}"}}]
  - {{name: w, type: wait, duration: 5}}
output: ["{{{{ states.all.result }}}}", "{{{{ states.all.failures }}}}", "{{{{ states.all.summary }}}}"]
"""


def test_rule_35_failures_and_summary_and_null_for_failed_slots() -> None:
    ending = endings(
        lambda: World(
            SUMMARY.format(more="completion: {tolerated_failure_percentage: 34}"),
            input=[2, 1, 4],
            targets={"f": odd_fails},
        )
    )
    assert ending.result == [
        [2, None, 4],
        [{"index": 1, "item_name": "n1", "error": {"name": "Odd", "message": "1 is odd", "data": {"item": 1}}}],
        {"total": 3, "succeeded": 2, "failed": 1, "reason": "ALL_COMPLETED"},
    ]


def test_rule_35_abandoned_slots_are_null_and_the_reason_is_the_minimum() -> None:
    ending = endings(
        lambda: World(
            SUMMARY.format(more="max_concurrency: 1\n    completion: {min_successful: 2}"),
            input=[2, 4, 6],
            targets={"f": odd_fails},
        )
    )
    assert ending.result == [
        [2, 4, None],
        [],
        {"total": 3, "succeeded": 2, "failed": 0, "reason": "MIN_SUCCESSFUL_REACHED"},
    ]


def test_rule_35_a_parallel_has_both_too_by_branch() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: both
                type: parallel
                completion: {tolerated_failure_count: 1}
                branches:
                  a: [{name: x, type: fail, error: Bad}]
                  b: [{name: late, type: pass, output: 1}]
            output: ["{{ states.both.result }}", "{{ states.both.failures }}", "{{ states.both.summary }}"]
            """
        )
    )
    assert ending.result == [
        {"a": None, "b": 1},
        [{"branch": "a", "item_name": None, "error": {"name": "Bad", "message": "", "data": None}}],
        {"total": 2, "succeeded": 1, "failed": 1, "reason": "ALL_COMPLETED"},
    ]


# 36, 37 --------------------------------------------------------------------------------------------------------------


def test_rule_36_batches_are_what_is_counted() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: all
                type: map
                items: input
                batch_size: 2
                completion: {tolerated_failure_count: 1}
                states: [{name: f, type: invoke, function: f, payload: ["{{ index }}", "{{ batch }}"]}]
            output: ["{{ states.all.result }}", "{{ states.all.failures[0].index }}", "{{ states.all.summary.total }}"]
            """,
            input=[1, 2, 3, 4, 5],
            targets={"f": Function(Fault("First"), Function())},
        )
    )
    assert ending.result == [[None, [1, [3, 4]], [2, [5]]], 0, 3]
    assert ending.paths == ["all", "all[0]/f", "all[1]/f", "all[2]/f"]


def test_rule_36_there_is_no_item_in_a_batch() -> None:
    with pytest.raises(Exception, match="item"):
        World(
            "states: [{name: m, type: map, items: '[1]', batch_size: 1, states: [{name: p, type: pass, output: '{{ item }}'}]}]"
        )


def test_rule_37_an_item_name_is_printable_ascii_and_cut_at_256() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: all
                type: map
                items: input
                nesting: nested
                item_name: "{{ item }}"
                completion: {tolerated_failure_count: 9}
                states: [{name: x, type: fail, error: Bad}]
            output: "{{ states.all.failures | map(attribute='item_name') | list }}"
            """,
            input=["prüf\n", "x" * 300, ""],
        )
    )
    assert ending.names == ["all", "pr_f_", "x" * 256, "map-item-2"]
    assert ending.result == ["pr_f_", "x" * 256, None]


# 38, 39 --------------------------------------------------------------------------------------------------------------


def undoing(text: str, *, fails: tuple[str, ...] = (), **more: Any) -> tuple[list[str], Any]:
    """The names that a workflow called, in order, and how it ended; `do NAME` and `undo NAME` in it are expanded."""
    for name in [word.split()[0].rstrip(",]}") for word in text.split("do ")[1:]]:
        text = text.replace(
            f"do {name}",
            f"name: {name}, type: invoke, function: f, payload: {name}, "
            f"compensate: [{{name: u{name}, type: invoke, function: f, payload: u{name}}}]",
            1,
        )
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal(fails=fails)
        orders.append(order)
        return World(text, targets={"f": function}, **more)

    ending = endings(make)
    assert all(order == orders[0] for order in orders)
    return orders[0], ending


def test_rule_38_program_order_reversed_in_a_sequence_a_map_and_a_parallel() -> None:
    order, ending = undoing(
        """
        states:
          - {do a}
          - {name: m, type: map, items: '[1, 2]', states: [{name: i, type: invoke, function: f, payload: "i{{ item }}",
             compensate: [{name: ui, type: invoke, function: f, payload: "ui{{ item }}"}]}]}
          - {name: p, type: parallel, branches: {z: [{do z}], b: [{do b}]}}
          - {do c}
          - {name: x, type: fail, error: Bad}
        """
    )
    assert ending.error[0] == "Bad"
    assert order == ["a", "i1", "i2", "z", "b", "c", "uc", "ub", "uz", "ui2", "ui1", "ua"]


def test_rule_38_only_completed_states_are_undone() -> None:
    order, _ = undoing(
        """
        states:
          - {do a}
          - {do skipped, when: false}
          - {do caught, catch: [{output: 1}]}
          - {do failed}
        """,
        fails=("caught", "failed"),
    )
    assert order == ["a", "caught", "failed", "ua"]


def test_rule_38_what_completed_in_tolerated_items_is_undone() -> None:
    order, _ = undoing(
        """
        states:
          - name: m
            type: map
            items: '[1, 2]'
            completion: {tolerated_failure_count: 1}
            states:
              - {name: i, type: invoke, function: f, payload: "i{{ item }}",
                 compensate: [{name: ui, type: invoke, function: f, payload: "ui{{ item }}"}]}
              - {name: x, type: fail, error: Bad, when: item == 1}
          - {name: late, type: fail, error: Late}
        """
    )
    assert order == ["i1", "i2", "ui2", "ui1"]


def test_rule_38_of_abandoned_branches_what_completed_before_the_decision_is_undone() -> None:
    order, ending = undoing(
        """
        states:
          - name: race
            type: parallel
            completion: {min_successful: 1}
            branches:
              slow: [{do first}, {name: nap, type: wait, duration: 1h}, {do never}]
              fast: [{name: soon, type: wait, duration: 5}]
          - {name: later, type: wait, duration: 2h}
          - {name: x, type: fail, error: Late}
        """
    )
    assert order == ["first", "ufirst"]
    assert ending.error[0] == "Late"


def test_rule_38_a_block_that_succeeds_hands_its_own_on_and_one_that_failed_has_used_them_up() -> None:
    order, _ = undoing(
        """
        states:
          - {name: good, type: block, states: [{do a}]}
          - {name: bad, type: block, states: [{do b}, {name: x, type: fail, error: E}], catch: [{output: 1}]}
          - {do c}
          - {name: late, type: fail, error: Late}
        """
    )
    assert order == ["a", "b", "ub", "c", "uc", "ua"]


def test_rule_39_a_compensation_that_fails_is_passed_over_and_the_original_error_goes_on() -> None:
    order, ending = undoing(
        "states: [{do a}, {do b}, {name: x, type: fail, error: Bad}]",
        fails=("ub",),
    )
    assert order == ["a", "b", "ub", "ua"]
    assert ending.error == ("Bad", "")


def test_rule_39_with_fail_the_sequence_stops_with_a_new_error_that_the_blocks_catch_sees() -> None:
    order, ending = undoing(
        """
        states:
          - name: s
            type: block
            compensation: {on_error: fail}
            states: [{do a}, {do b}, {name: x, type: fail, error: Bad, cause: why}]
            catch: [{errors: [States.CompensationFailed], output: "{{ error.data }}"}]
        """,
        fails=("ub",),
    )
    assert order == ["a", "b", "ub"]
    assert ending.result == {
        "original": {"name": "Bad", "message": "why", "state": "x"},
        "failed": {"name": "No.ub", "message": "ub failed", "state": "ub"},
    }


def test_rule_39_a_workflow_may_have_a_compensation_too() -> None:
    order, ending = undoing(
        "compensation: {on_error: fail}\nstates: [{do a}, {do b}, {name: x, type: fail, error: Bad}]",
        fails=("ub",),
    )
    assert order == ["a", "b", "ub"]
    assert ending.error[0] == "States.CompensationFailed"


# 40 ------------------------------------------------------------------------------------------------------------------


def polls(world: World) -> list[tuple[str, str | None, int | None]]:
    return [
        (u["Action"], u.get("Payload"), u.get("StepOptions", {}).get("NextAttemptDelaySeconds"))
        for u in world.service.updates
        if u["Action"] != "START"
    ]


def test_rule_40_an_interval_of_30_seconds_that_does_not_grow_and_no_other_limit() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: c, type: wait_for_condition, check: {type: step, handler: 'm:f'}, until: result == 12}]",
            handlers={"m:f": lambda call: call.attempt},
        )
    )
    assert ending.result == 12
    assert polls(ending.world) == [*(("RETRY", str(n), 30) for n in range(1, 12)), ("SUCCEED", "12", None)]


def test_rule_40_a_check_that_fails_is_repeated_by_its_own_retry_with_previous_kept() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: c
                type: wait_for_condition
                check:
                  type: step
                  handler: "m:f"
                  payload: "{{ previous }}"
                  retry: [{max_attempts: 3, interval: 2, jitter: none}]
                until: result == 3
                initial: 0
                output: ["{{ result }}"]
            """,
            handlers={"m:f": by_attempt(1, Fault("A"), Fault("B"), 3)},
        )
    )
    assert ending.result == [3]
    now = [u for u in ending.world.service.updates if u["Action"] == "RETRY"]
    assert [u.get("Error") for u in now] == [None, None, None]
    states = [json.loads(u["Payload"]) for u in now]
    assert states[0] == 1
    assert [{k: s["$poll"][k] for k in ("previous", "failures")} for s in states[1:]] == [
        {"previous": 1, "failures": 1},
        {"previous": 1, "failures": 2},
    ]
    assert [u["StepOptions"]["NextAttemptDelaySeconds"] for u in now] == [30, 2, 4]
    assert [call.payload for call in ending.world.worker.calls] == [0, 1, 1, 1]


def test_rule_40_until_and_previous_see_the_projection_of_the_check() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: c, type: wait_for_condition, check: {type: step, handler: 'm:f', payload: '{{ previous }}', "
            "output: '{{ result.n }}'}, until: result == 2, output: 'done {{ result }}'}]",
            handlers={"m:f": lambda call: {"n": call.attempt}},
        )
    )
    assert ending.result == "done 2"
    assert [call.payload for call in ending.world.worker.calls] == [None, 1]
