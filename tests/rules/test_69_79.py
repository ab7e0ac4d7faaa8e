"""Timeouts, endings, limits, names and drift: rules 69 to 79."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doubles import Function, by_attempt, journal
from endings import Ending, endings
from worlds import World, plan_of

from durableflow import faults
from durableflow.errors import Fault, WorkflowError
from durableflow.operations import operation_id


def run(text: str, *, fails: tuple[str, ...] = (), **more: Any) -> tuple[list[str], Ending]:
    """What a workflow called by `f`, in order, and how it ended."""
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal(fails=fails)
        orders.append(order)
        return World(text, targets={"f": function}, **more)

    ending = endings(make)
    assert all(order == orders[0] for order in orders), orders
    return orders[0], ending


def call(name: str, more: str = "") -> str:
    return f"{{name: {name}, type: invoke, function: f, payload: {name}{more}}}"


def undone(name: str, more: str = "") -> str:
    return call(name, f", compensate: [{call('u' + name)}]{more}")


# 69 ------------------------------------------------------------------------------------------------------------------


def test_rule_69_a_timeout_bounds_one_attempt_and_helpers_of_the_second_say_so() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: ship, type: block, timeout: 60, retry: [{max_attempts: 2, interval: 1h, jitter: none}], "
            "states: [{name: w, type: wait, duration: 2h}], catch: [{output: '{{ [error.name, error.attempt] }}'}]}]"
        )
    )
    assert ending.result == ["States.Timeout", 2]
    assert ending.paths == [
        "ship",
        "ship:timeout",
        "ship/w",
        "ship:timed_out",
        "ship:backoff",
        "ship@2",
        "ship@2:timeout",
        "ship@2/w",
        "ship@2:timed_out",
    ]
    backoff = ending.operation("ship:backoff")
    assert backoff.get("Name") == "ship-backoff-1"


def test_rule_69_the_second_attempt_of_an_invoke_has_a_limit_of_its_own() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: ship, type: invoke, function: f, timeout: 60, retry: [{max_attempts: 2, interval: 1h, jitter: none}]}]",
            targets={"f": Function(Fault("A"), 1)},
        )
    )
    assert ending.result == 1
    assert ending.paths == ["ship:timeout", "ship", "ship:backoff", "ship@2:timeout", "ship@2"]
    assert ending.names == ["ship-timeout", "ship", "ship-backoff-1", "ship-timeout", "ship"]


# 70 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["", ", {name: x, type: fail, error: Bad}"])
def test_rule_70_once_the_states_have_ended_a_timeout_no_longer_counts(ends: str) -> None:
    order, ending = run(
        f"""
        states:
          - name: s
            type: block
            timeout: 60
            states: [{{name: a, type: wait, duration: 1, compensate: [{{name: long, type: wait, duration: 1h}}, {call("u")}]}}{ends}]
            catch: [{{states: [{{name: longer, type: wait, duration: 2h}}], output: "{{{{ error.name }}}}"}}]
            finally: [{{name: longest, type: wait, duration: 3h}}]
        """
    )
    assert ending.result == ("Bad" if ends else None)
    assert order == (["u"] if ends else [])
    assert "s:timed_out" not in ending.paths


def test_rule_70_what_a_timeout_cuts_off_runs_neither_catch_nor_finally_but_what_completed_is_undone() -> None:
    order, ending = run(
        f"""
        states:
          - name: outer
            type: block
            timeout: 60
            states:
              - {undone("a")}
              - name: inner
                type: block
                states: [{undone("b")}, {{name: w, type: wait, duration: 1h}}, {call("never")}]
                catch: [{{states: [{call("no_catch")}]}}]
                finally: [{call("no_finally")}]
            catch: [{{errors: [States.Timeout], states: [{call("own_catch")}]}}]
            finally: [{call("own_finally")}]
          - {{name: later, type: wait, duration: 2h}}
        """
    )
    assert ending.output["Status"] == "SUCCEEDED"
    assert order == ["a", "b", "ub", "ua", "own_catch", "own_finally"]


def test_rule_70_what_a_decision_cuts_off_runs_neither_catch_nor_finally() -> None:
    order, ending = run(
        f"""
        states:
          - name: race
            type: parallel
            branches:
              slow:
                - name: inner
                  type: block
                  states: [{undone("b")}, {{name: w, type: wait, duration: 1h}}, {call("never")}]
                  catch: [{{states: [{call("no_catch")}]}}]
                  finally: [{call("no_finally")}]
              bad: [{{name: soon, type: wait, duration: 5}}, {{name: x, type: fail, error: Bad}}]
        catch: [{{states: [{call("own")}]}}]
        """
    )
    assert ending.result == "own"
    assert order == ["b", "ub", "own"]


def test_rule_70_what_an_inline_workflow_had_completed_when_it_was_cut_off_is_undone() -> None:
    order, ending = run(
        "states: [{name: sub, type: workflow, workflow: g, mode: inline, timeout: 60, "
        f"catch: [{{errors: [States.Timeout], states: [{call('own')}]}}]}}, {{name: x, type: fail, error: Late}}]",
        inline={"g": f"states: [{undone('a')}, {{name: w, type: wait, duration: 1h}}]\nfinally: [{call('no')}]"},
    )
    assert ending.error[0] == "Late"
    assert order == ["a", "own", "ua"]


def test_rule_70_a_workflow_that_timed_out_compensates_catches_and_runs_its_finally() -> None:
    order, ending = run(
        f"timeout: 60\nstates: [{undone('a')}, {{name: w, type: wait, duration: 1h}}]\n"
        f"catch: [{{errors: [States.Timeout], states: [{call('caught')}]}}]\nfinally: [{call('last')}]"
    )
    assert ending.result == "caught"
    assert order == ["a", "ua", "caught", "last"]


# 71 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["timeout: 1h, ", "context: true, ", "retry: [{}], ", ""])
def test_rule_71_a_context_left_by_succeed_is_not_closed_and_is_replayed(kind: str) -> None:
    order, ending = run(
        f"states: [{{name: s, type: block, {kind}states: [{call('a')}, {{name: done, type: succeed, output: '{{{{ states.a.result }}}}!'}}]}}, "
        f"{call('never')}]\nfinally: [{call('first')}, {{name: w, type: wait, duration: 2h}}, {call('last')}]"
    )
    assert ending.result == "a!"
    assert order == ["a", "first", "last"]
    if kind:
        assert ending.operation("s")["Status"] == "STARTED"


def test_rule_71_in_an_inline_workflow_succeed_ends_that_workflow() -> None:
    order, ending = run(
        f"states: [{{name: sub, type: workflow, workflow: g, mode: inline}}, {call('after')}]\noutput: '{{{{ states.sub.result }}}}'",
        inline={
            "g": f"states: [{{name: s, type: block, timeout: 1h, states: [{call('a')}, {{name: done, type: succeed, output: 7}}]}}, {call('never')}]"
        },
    )
    assert ending.result == 7
    assert order == ["a", "after"]
    assert ending.operation("sub")["Status"] == "SUCCEEDED"


# 72 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["output: '{{ input.gone }}'", "assign: {v: '{{ input.gone }}'}"])
@pytest.mark.parametrize("kind", ["", "timeout: 1h, "])
def test_rule_72_output_and_assign_come_before_finally_and_their_errors_are_the_blocks(field: str, kind: str) -> None:
    order, ending = run(
        f"states: [{{name: s, type: block, {kind}states: [{undone('a')}], {field}, "
        f"catch: [{{errors: [States.QueryEvaluationError], states: [{call('caught')}]}}], finally: [{call('last')}]}}]"
    )
    assert ending.result == "caught"
    assert order == ["a", "ua", "caught", "last"]


@pytest.mark.parametrize("kind", ["", "timeout: 1h, ", "context: true, "])
def test_rule_72_a_block_whose_finally_fails_hands_its_compensations_on(kind: str) -> None:
    order, ending = run(
        f"states: [{{name: s, type: block, {kind}states: [{undone('a')}], finally: [{call('bad')}]}}]", fails=("bad",)
    )
    assert ending.error[0] == "No.bad"
    assert order == ["a", "bad", "ua"]


@pytest.mark.parametrize(
    "end", [f"finally: [{call('bad')}]", "output: '{{ input.gone }}'", "output: 1\noutput_schema: {type: string}"]
)
def test_rule_72_at_workflow_level_their_errors_compensate_nothing(end: str) -> None:
    order, ending = run(f"states: [{undone('a')}]\n{end}", fails=("bad",))
    assert ending.output["Status"] == "FAILED"
    assert "ua" not in order


# 73 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nesting", ["flat", "nested"])
@pytest.mark.parametrize(
    "kind", ["type: map, items: '[1, 2]', states: BODY", "type: parallel, branches: {a: BODY, b: []}"]
)
def test_rule_73_the_compensations_of_a_failed_attempt_run_before_the_next(kind: str, nesting: str) -> None:
    body = f"[{{name: i, type: invoke, function: g, compensate: [{call('ui')}]}}, {{name: h, type: invoke, function: bad}}]"
    if "b: []" in kind:
        kind = kind.replace("b: []", "b: [{name: q, type: pass}]")
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal()
        orders.append(order)
        return World(
            f"states: [{{name: m, {kind.replace('BODY', body)}, nesting: {nesting}, retry: [{{max_attempts: 2, interval: 60, jitter: none}}]}}, "
            "{name: w, type: wait, duration: 5}, {name: x, type: fail, error: Late}]",
            targets={"f": function, "g": Function(1), "bad": Function(Fault("Bad"), 1)},
        )

    ending = endings(make)
    assert ending.error[0] == "Late"
    assert orders[0] == ["ui"] * (4 if "map" in kind else 2)
    paths = ending.paths
    first = [path for path in paths if path.endswith("/ui") and "@2" not in path]
    assert max(paths.index(path) for path in first) < paths.index("m:backoff")


# 74 ------------------------------------------------------------------------------------------------------------------


def condition(more: str, *answers: Any, check: str = "") -> Ending:
    return endings(
        lambda: World(
            f"states: [{{name: c, type: wait_for_condition, check: {{type: step, handler: 'm:f'{check}}}, until: result == 9, {more}, "
            "catch: [{output: '{{ [error.name, error.attempt] }}'}]}]",
            handlers={"m:f": by_attempt(*answers)},
        )
    )


def delays(ending: Ending) -> list[int]:
    return [u["StepOptions"]["NextAttemptDelaySeconds"] for u in ending.world.service.updates if u["Action"] == "RETRY"]


def test_rule_74_the_limit_of_a_condition_counts_every_attempt() -> None:
    ending = condition("max_attempts: 3, interval: 5", 1)
    assert ending.result == ["States.ConditionNotMet", 3]
    ending = condition(
        "max_attempts: 3, interval: 5",
        1,
        Fault("A"),
        1,
        check=", retry: [{max_attempts: 5, interval: 2, jitter: none}]",
    )
    assert ending.result == ["States.ConditionNotMet", 3]


def test_rule_74_the_back_off_of_a_condition_counts_every_attempt_that_of_the_check_failures_in_a_row() -> None:
    ending = condition(
        "interval: 1, backoff_rate: 2",
        1,
        Fault("A"),
        Fault("A"),
        1,
        Fault("A"),
        9,
        check=", retry: [{max_attempts: 3, interval: 100, backoff_rate: 2, jitter: none}]",
    )
    assert ending.result == 9
    assert delays(ending) == [1, 100, 200, 8, 100]


def test_rule_74_the_deadline_runs_from_the_recorded_start_which_is_answered_first() -> None:
    ending = condition("interval: 60, timeout: 100", 1, 2, 9)
    assert ending.result == 9
    assert delays(ending) == [60, 40]
    assert [u["Action"] for u in ending.world.service.requests[0]["Updates"]] == ["START"]


def test_rule_74_what_happens_at_the_deadline() -> None:
    retry = ", retry: [{max_attempts: 9, interval: 60, jitter: none}]"
    assert condition("interval: 60, timeout: 90", 1, 2, Fault("Broken"), check=retry).result == ["Broken", 3]
    assert condition("interval: 60, timeout: 90", 1, 2, 3).result == ["States.Timeout", 3]


def test_rule_74_failures_since_when_limit_the_retry_of_the_check() -> None:
    ending = condition(
        "interval: 5",
        1,
        Fault("A"),
        check=", retry: [{max_attempts: 99, interval: 60, backoff_rate: 1, jitter: none, max_duration: 130}]",
    )
    assert ending.result == ["A", 4]
    polls = [json.loads(u["Payload"]) for u in ending.world.service.updates if u["Action"] == "RETRY"]
    assert polls[1] == {"$poll": {"previous": 1, "failures": 1, "since": 1_767_225_605_000}}
    assert polls[2]["$poll"]["since"] == polls[1]["$poll"]["since"]


# 75 ------------------------------------------------------------------------------------------------------------------


def test_rule_75_max_duration_is_measured_to_the_failed_attempts_recorded_end() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: s
                type: block
                retry: [{max_attempts: 99, interval: 10, backoff_rate: 1, jitter: none, max_duration: 100}]
                states: [{name: w, type: wait, duration: 30}, {name: x, type: fail, error: Bad}]
                catch: [{output: "{{ error.attempt }}"}]
              - {name: w2, type: wait, duration: 9999}
              - {name: p, type: pass, output: "{{ states.s.result }}"}
            """
        )
    )
    # Attempts end at 30, 70 and 110 s: the third is the last, the block's contexts say so on every replay.
    assert ending.result is None or ending.paths.count("s@3") == 1
    assert "s@4" not in ending.paths


def test_rule_75_for_a_step_it_is_measured_to_the_clock() -> None:
    def make() -> World:
        world = World(
            "states: [{name: s, type: step, handler: 'm:f', retry: [{max_attempts: 99, interval: 10, backoff_rate: 1, "
            "jitter: none, max_duration: 100}], catch: [{output: '{{ error.attempt }}'}]}]",
            handlers={"m:f": lambda _: takes(40)},
        )

        def takes(seconds: int) -> None:
            world.service.now += seconds * 1000
            raise Fault("Slow")

        return world

    world = make()
    # Attempts end at 40 and 90 s; one that began at 100 s would still be in time, its successor at 150 s not.
    assert world.result() == 3


# 76 ------------------------------------------------------------------------------------------------------------------


def test_rule_76_the_limit_leaves_fifty_operations_for_compensation_and_finally() -> None:
    text = (
        "states: [{name: l, type: loop, max_iterations: 500, states: [{name: a, type: step, handler: 'm:f', "
        "compensate: [{name: ua, type: step, handler: 'm:f'}]}]}]\nfinally: [{name: z, type: step, handler: 'm:f'}]"
    )
    world = World(text, handlers={"m:f": lambda _: 1}, operations_max=200)
    name, message = world.error()
    assert name == "States.OperationLimitExceeded"
    assert "200" in message
    names = [o.get("Name") for o in world.service.operations.values()]
    # The execution's own operation is metered, too: 149 of 150 are steps.
    assert (names.count("a"), names.count("ua"), names.count("z")) == (149, 50, 0)


def test_rule_76_it_is_caught_only_by_its_exact_name() -> None:
    text = (
        "states: [{name: l, type: loop, max_iterations: 30, states: [{name: w, type: wait, duration: 1}], "
        "catch: [{errors: [States.ALL, 'States.*'], output: wrong}, {errors: [States.OperationLimitExceeded], output: '{{ error.state }}'}]}]"
    )
    ending = endings(lambda: World(text, operations_max=10))
    assert ending.result == "w"
    assert len(ending.paths) == 4


def test_rule_76_where_a_finished_context_hides_operations_the_limit_is_put_on_record() -> None:
    text = """
        states:
          - {name: m, type: map, items: "[1, 2, 3]", states: [{name: i, type: invoke, function: f}]}
          - name: l
            type: loop
            max_iterations: 30
            states: [{name: w, type: wait, duration: 1}]
            catch: [{errors: [States.OperationLimitExceeded], output: "{{ iteration | default('limited') }}"}]
        finally: [{name: z, type: wait, duration: 5}]
        output: "{{ states.l.result }}"
        """
    ending = endings(lambda: World(text, targets={"f": Function(1)}, operations_max=20))
    assert ending.result == "limited"
    limit = ending.operation(":limit")
    assert (limit["Type"], limit["Status"]) == ("CONTEXT", "FAILED")
    assert ending.paths[:4] == ["m", "m[0]/i", "m[1]/i", "m[2]/i"]


# 77 ------------------------------------------------------------------------------------------------------------------


def test_rule_77_the_label_is_the_name_and_helpers_are_called_after_it() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: a, type: invoke, function: f, label: 'Zählung {{ input.n }}', timeout: 60, "
            "retry: [{max_attempts: 2, jitter: none}]}, {name: b, type: invoke, function: f, label: ''}]",
            input={"n": 1},
            targets={"f": Function(Fault("A"), 1)},
        )
    )
    assert ending.names == [
        "Z_hlung 1-timeout",
        "Z_hlung 1",
        "Z_hlung 1-backoff-1",
        "Z_hlung 1-timeout",
        "Z_hlung 1",
        "b",
    ]
    assert ending.paths == ["a:timeout", "a", "a:backoff", "a@2:timeout", "a@2", "b"]


@pytest.mark.parametrize("reads", ["context.now", "context.state.attempt", "context.workflow.version"])
def test_rule_77_a_label_may_not_read_what_can_change(reads: str) -> None:
    with pytest.raises(WorkflowError, match="DF243"):
        plan_of(f"states: [{{name: a, type: invoke, function: f, label: 'x {{{{ {reads} }}}}'}}]")


PATHS: list[tuple[str, list[str]]] = [
    ("{name: s, type: block, states: [A]}", ["a"]),
    ("{name: s, type: block, context: true, states: [A]}", ["s", "s/a"]),
    ("{name: s, type: block, retry: [{}], states: [A]}", ["s", "s/a"]),
    (
        "{name: s, type: choice, timeout: 1h, default: [A], choices: [{when: false, next: end}]}",
        ["s", "s:timeout", "s/a"],
    ),
    ("{name: s, type: choice, default: [A], choices: [{when: false, next: end}]}", ["a"]),
    ("{name: s, type: loop, max_iterations: 1, states: [A]}", ["s{0}/a"]),
    ("{name: s, type: loop, retry: [{}], max_iterations: 1, states: [A]}", ["s", "s/s{0}/a"]),
    ("{name: ship, type: workflow, workflow: g, mode: inline}", ["ship", "ship/x"]),
    ("{name: s, type: map, items: '[1]', states: [A]}", ["s", "s[0]/a"]),
    ("{name: s, type: parallel, branches: {b: [A]}}", ["s", "s.b/a"]),
    ("{name: ask, type: wait_for_callback, timeout: 1h, submit: [A]}", ["ask", "ask:callback", "ask/a"]),
    ("{name: ask, type: wait_for_callback, timeout: 1h}", ["ask"]),
]


@pytest.mark.parametrize(("state", "paths"), PATHS)
def test_rule_77_what_is_part_of_the_path(state: str, paths: list[str]) -> None:
    ending = endings(
        lambda: World(
            f"states: [{state.replace('A', '{name: a, type: invoke, function: f}')}]",
            targets={"f": Function(1)},
            answers={"ask": [1]},
            inline={"g": "states: [{name: x, type: invoke, function: f}]"},
        )
    )
    assert ending.paths == paths


def test_rule_77_names_in_flat_bodies_and_of_delays() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: m, type: map, items: '[1]', nesting: flat, states: [{name: l, type: loop, max_iterations: 2, delay: 1, "
            "states: [{name: a, type: invoke, function: f, retry: [{max_attempts: 2, jitter: none}]}]}]}]",
            targets={"f": Function(Fault("A"), 1)},
        )
    )
    assert ending.names == [
        "m",
        "m[0]/l{0}/a",
        "m[0]/l{0}/a-backoff-1",
        "m[0]/l{0}/a",
        "m[0]/l-delay",
        "m[0]/l{1}/a",
    ]


def test_rule_77_item_name_of_a_failure_is_null_when_none_is_given() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: m, type: map, items: '[1]', completion: {tolerated_failure_count: 1}, "
            "states: [{name: x, type: fail, error: E}]}]\noutput: '{{ states.m.failures[0].item_name }}'"
        )
    )
    assert ending.result is None


# 78 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "by_function", "by_child"),
    [
        ("TooManyRequestsException", "Lambda.TooManyRequestsException", "Lambda.TooManyRequestsException"),
        ("NoCarrier", "NoCarrier", "NoCarrier"),
        ("States.Timeout", "Worker.States.Timeout", "States.Timeout"),
        ("States.OutputInvalid", "Worker.States.OutputInvalid", "States.OutputInvalid"),
        ("States.Runtime", "Worker.States.Runtime", "Worker.States.Runtime"),
        ("States.DataLimitExceeded", "Worker.States.DataLimitExceeded", "Worker.States.DataLimitExceeded"),
        (
            "States.OperationLimitExceeded",
            "Worker.States.OperationLimitExceeded",
            "Worker.States.OperationLimitExceeded",
        ),
        (
            "NonDeterministicExecutionError",
            "Worker.NonDeterministicExecutionError",
            "Worker.NonDeterministicExecutionError",
        ),
    ],
)
def test_rule_78_the_origin_of_an_error_is_its_name_alone(reported: str, by_function: str, by_child: str) -> None:
    def name(kind: str) -> str:
        ending = endings(
            lambda: World(
                f"states: [{{name: f, {kind}, catch: [{{output: '{{{{ error.name }}}}'}}]}}]",
                targets={"f": Function(Fault(reported))},
                inline={"f": "states: [{name: p, type: pass}]"},
            )
        )
        made = ending.result
        assert isinstance(made, str)
        return made

    assert name("type: invoke, function: f") == by_function
    assert name("type: workflow, workflow: f") == by_child


# 79 ------------------------------------------------------------------------------------------------------------------


def changed(old: str, new: str, **more: Any) -> tuple[str, str]:
    """Run a definition until it sleeps after its first part, go on with another one; the error it ends with."""
    world = World(old, **more)
    event = world.service.event()
    while world.invoke(event) == {"Status": "PENDING"} and not world.service.operations.get(operation_id("sleep")):
        assert world.service.wake()
        event = world.service.event()
    world.plan = World(new, **more).plan
    return world.error()


SLEEP = "{name: sleep, type: wait, duration: 1h}"
A = "{name: a, type: invoke, function: f}"
B = "{name: b, type: invoke, function: f}"

UNSAFE = {
    "a state more in a replayed block": (
        "{name: s, type: block, timeout: 1h, states: [A]}",
        "{name: s, type: block, timeout: 1h, states: [A, B]}",
    ),
    "a state more in a replayed map": (
        "{name: s, type: map, items: '[1]', nesting: nested, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
        "{name: s, type: map, items: '[1]', nesting: nested, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}, B]}",
    ),
    "compensate in a context block": (
        "{name: s, type: block, context: true, states: [A]}",
        "{name: s, type: block, context: true, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
    ),
    "compensate in a nested map": (
        "{name: s, type: map, items: '[1]', nesting: nested, states: [A]}",
        "{name: s, type: map, items: '[1]', nesting: nested, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
    ),
    "compensate in a flat map": (
        "{name: s, type: map, items: '[1]', nesting: flat, states: [A]}",
        "{name: s, type: map, items: '[1]', nesting: flat, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
    ),
    "a timeout around a context block": (
        "{name: s, type: block, context: true, states: [A]}",
        "{name: s, type: block, context: true, timeout: 1h, states: [A]}",
    ),
    "a retry around a context block": (
        "{name: s, type: block, context: true, states: [A]}",
        "{name: s, type: block, context: true, retry: [{}], states: [A]}",
    ),
    "the nesting of a replayed map": (
        "{name: s, type: map, items: '[1]', nesting: nested, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
        "{name: s, type: map, items: '[1]', nesting: flat, states: [{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}]}",
    ),
    "a timeout around a started block": (
        "{name: s, type: block, states: [A]}",
        "{name: s, type: block, timeout: 1h, states: [A]}",
    ),
    "the label of a started state": ("A", "{name: a, type: invoke, function: f, label: other}"),
}


@pytest.mark.parametrize("edit", UNSAFE)
def test_rule_79_unsafe_edits_fail_closed(edit: str) -> None:
    old, new = (f"states: [{text.replace('A', A).replace('B', B)}, {SLEEP}]" for text in UNSAFE[edit])
    name, _ = changed(old, new, targets={"f": Function(1)})
    assert name == faults.NON_DETERMINISTIC


def test_rule_79_an_abandoned_slot_has_nothing_missing() -> None:
    order, ending = run(
        f"""
        states:
          - name: race
            type: parallel
            completion: {{min_successful: 1}}
            branches:
              slow: [{undone("a")}, {{name: w, type: wait, duration: 1h}}, {call("never")}]
              fast: [{{name: soon, type: wait, duration: 5}}]
          - {{name: later, type: wait, duration: 2h}}
        output: "{{{{ states.race.summary.reason }}}}"
        """
    )
    assert ending.result == "MIN_SUCCESSFUL_REACHED"
    assert order == ["a"]
