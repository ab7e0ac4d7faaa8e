"""Names of errors, rollback, callbacks given by hand, and what is on record: rules 57 to 68."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from doubles import Function, by_attempt, journal
from endings import Ending, endings
from shell import Shell, shell
from worlds import World, plan_of

from durableflow.errors import Fault, WorkflowError
from durableflow.operations import operation_id

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

INPUT_SCHEMA = "input: {schema: {type: object, required: [id]}}\n"


def closing(ending: Ending, path: str) -> dict[str, Any]:
    """The update that closed the context at a path."""
    key = operation_id(path)
    (update,) = [u for u in ending.world.service.updates if u["Id"] == key and u["Action"] != "START"]
    return update


# 57 ------------------------------------------------------------------------------------------------------------------


def test_rule_57_a_worker_cannot_pose_as_the_engine() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: f, type: invoke, function: f, catch: [{errors: [States.Timeout], output: wrong}, "
            "{errors: [Worker.States.Timeout], output: '{{ error.name }}'}]}]",
            targets={"f": Function(Fault("States.Timeout"))},
        )
    )
    assert ending.result == "Worker.States.Timeout"


def test_rule_57_the_state_of_an_error_from_a_child_is_the_parents_and_from_an_inline_workflow_the_innermost() -> None:
    text = "states: [{name: sub, type: workflow, workflow: other%s, catch: [{output: '{{ error.state }}'}]}]"
    other = {"other": "states: [{name: x, type: fail, error: Bad}]"}
    child = endings(lambda: World(text % "", inline=other, targets={"other": Function(Fault("Bad"))}))
    inline = endings(lambda: World(text % ", mode: inline", inline=other))
    assert (child.result, inline.result) == ("sub", "x")


@pytest.mark.parametrize(
    "kind",
    [
        "type: choice, default: [], choices: [{when: input.gone, next: end}]",
        "type: loop, while: input.gone, max_iterations: 1, states: [{name: a, type: pass}]",
        "type: loop, until: input.gone, max_iterations: 1, states: [{name: a, type: pass}]",
    ],
)
def test_rule_57_a_states_own_catch_covers_its_conditions(kind: str) -> None:
    ending = endings(lambda: World(f"states: [{{name: s, {kind}, catch: [{{output: '{{{{ error.name }}}}'}}]}}]"))
    assert ending.result == "States.QueryEvaluationError"


# 58 ------------------------------------------------------------------------------------------------------------------

ROLLED_BACK = {
    "block": "type: block, states: BODY",
    "loop": "type: loop, max_iterations: 1, states: BODY",
    "choice": "type: choice, default: BODY, choices: [{when: false, next: end}]",
    "map": "type: map, items: '[1]', states: BODY",
    "parallel": "type: parallel, branches: {b: BODY}",
}
BODY = (
    "[{name: up, type: pass, assign: {n: '{{ vars.n + 1 }}'}}, {name: a, type: invoke, function: f, "
    "payload: 'a{{ vars.n }}', compensate: [{name: ua, type: invoke, function: f, payload: 'ua{{ vars.n }}'}]}, "
    "{name: bad, type: invoke, function: g}]"
)


@pytest.mark.parametrize("kind", ROLLED_BACK)
def test_rule_58_every_retried_state_that_runs_states_is_rolled_back(kind: str) -> None:
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal()
        orders.append(order)
        return World(
            f"vars: {{n: 1}}\nstates: [{{name: s, {ROLLED_BACK[kind].replace('BODY', BODY)}, "
            "retry: [{max_attempts: 2, interval: 5, jitter: none}]}, {name: w, type: wait, duration: 9}, "
            "{name: p, type: pass, output: '{{ vars.n }}'}]",
            targets={"f": function, "g": Function(Fault("Bad"), 1)},
        )

    ending = endings(make)
    assert ending.result == (1 if kind in ("map", "parallel") else 2)
    assert orders[0] == ["a2", "ua2", "a2"]
    assert all(order == orders[0] for order in orders)


def test_rule_58_a_compensation_that_failed_is_not_retried() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: s, type: block, compensation: {on_error: fail}, retry: [{max_attempts: 5, jitter: none}], "
            "states: [{name: a, type: wait, duration: 1, compensate: [{name: ua, type: invoke, function: f}]}, "
            "{name: x, type: fail, error: Bad}]}]",
            targets={"f": Function(Fault("Worse"))},
        )
    )
    assert ending.error[0] == "States.CompensationFailed"
    assert ending.paths == ["s", "s/a", "s/ua"]


def test_rule_58_the_last_poll_happens_at_the_deadline() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: c, type: wait_for_condition, check: {type: step, handler: 'm:f'}, until: result == 3, "
            "interval: 60, timeout: 90}]",
            handlers={"m:f": lambda call: call.attempt},
        )
    )
    assert ending.result == 3
    delays = [
        u["StepOptions"]["NextAttemptDelaySeconds"] for u in ending.world.service.updates if u["Action"] == "RETRY"
    ]
    assert delays == [60, 30]


def test_rule_58_wrong_input_of_an_inline_workflow_costs_nothing() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: sub, type: workflow, workflow: other, mode: inline, "
            "catch: [{errors: [States.InputInvalid], output: wrong}]}]",
            inline={"other": f"{INPUT_SCHEMA}states: [{{name: a, type: pass}}]"},
        )
    )
    assert ending.result == "wrong"
    assert ending.paths == []


# 59 ------------------------------------------------------------------------------------------------------------------

MAP = """
states:
  - name: all
    type: map
    items: input
    {more}
    states: [{{name: f, type: invoke, function: f, payload: "{{{{ item }}}}"}}]
    catch: [{{output: "{{{{ [error.name, error.data] }}}}"}}]
  - {{name: w, type: wait, duration: 5}}
output: ["{{{{ states.all.result }}}}", "{{{{ (states.all.summary | default({{}})).reason | default(none) }}}}"]
"""


def odd_fails(item: Any) -> Any:
    if item % 2:
        raise Fault("Odd", f"{item}")
    return item


def mapped(more: str, *items: int) -> Any:
    return endings(lambda: World(MAP.format(more=more), input=list(items), targets={"f": odd_fails})).result


def test_rule_59_an_empty_completion_is_as_none() -> None:
    (name, _), _ = mapped("completion: {}", 1, 2)
    assert name == "Odd"


def test_rule_59_min_successful_alone_tolerates_failures() -> None:
    assert mapped("completion: {min_successful: 1}", 1, 3, 4) == [[None, None, 4], "MIN_SUCCESSFUL_REACHED"]


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("{min_successful: 1, tolerated_failure_count: 0}", "FAILURE_TOLERANCE_EXCEEDED"),
        ("{min_successful: 1, tolerated_failure_count: 1}", "MIN_SUCCESSFUL_REACHED"),
    ],
)
def test_rule_59_of_several_reasons_tolerance_comes_first_then_the_minimum(completion: str, reason: str) -> None:
    made = mapped(f"completion: {completion}", 1, 2)
    assert reason in (made[1], (made[0][1] or {}).get("reason") if isinstance(made[0][1], dict) else None)


@pytest.mark.parametrize(("percentage", "is_tolerated"), [("25", True), ("24.9", False)])
def test_rule_59_more_failed_than_the_share_of_the_total_is_too_many(percentage: str, *, is_tolerated: bool) -> None:
    result, _ = mapped(f"completion: {{tolerated_failure_percentage: {percentage}}}", 1, 2, 4, 6)
    assert (result == [None, 2, 4, 6]) is is_tolerated
    assert is_tolerated or result[0] == "States.ExceedToleratedFailureThreshold"


def test_rule_59_a_list_of_compensation_stops_at_its_first_failure_and_the_next_list_runs() -> None:
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal(fails=("u1",))
        orders.append(order)
        return World(
            """
            states:
              - {name: a, type: wait, duration: 1, compensate: [{name: u0, type: invoke, function: f, payload: u0}]}
              - name: b
                type: wait
                duration: 1
                compensate: [{name: u1, type: invoke, function: f, payload: u1}, {name: u2, type: invoke, function: f, payload: u2}]
              - {name: x, type: fail, error: Bad}
            """,
            targets={"f": function},
        )

    assert endings(make).error[0] == "Bad"
    assert orders[0] == ["u1", "u0"]


def test_rule_59_what_counts_is_the_policy_of_the_scope_that_runs_them() -> None:
    text = """
        compensation: {on_error: OUTER}
        states:
          - name: s
            type: block
            compensation: {on_error: INNER}
            states: [{name: a, type: wait, duration: 1, compensate: [{name: u, type: invoke, function: f}]}]
          - {name: x, type: fail, error: Bad}
        """

    def run(outer: str, inner: str) -> str:
        written = text.replace("OUTER", outer).replace("INNER", inner)
        return endings(lambda: World(written, targets={"f": Function(Fault("No"))})).error[0]

    assert run("fail", "continue") == "States.CompensationFailed"
    assert run("continue", "fail") == "Bad"


# 60 ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()


@pytest.mark.usefixtures("_here")
def test_rule_60_answers_are_used_in_order_and_the_last_repeats(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "ask.yaml").write_text(
        'durableflow: "1"\nname: asking\nvars: {said: []}\noutput: "{{ vars.said }}"\nstates:\n'
        "  - {name: l, type: loop, max_iterations: 3, states: [{name: ask, type: wait_for_callback, timeout: 1h, "
        "assign: {said: '{{ vars.said + [result] }}'}}]}\n"
    )
    ran = shell("run", "ask.yaml", "--ephemeral", "--json", "--callback", "ask=1", "--callback", "ask=2")
    assert json.loads(ran.out)["output"] == [1, 2, 2]


@pytest.mark.usefixtures("_here")
def test_rule_60_an_error_says_what_and_where(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        'durableflow: "1"\nname: bad\nstates:\n  - {name: x, type: fail, error: Bad, cause: why, data: [1]}\n'
    )
    ran = shell("run", "bad.yaml", "--ephemeral", "--json")
    assert json.loads(ran.out)["error"] == {
        "name": "Bad",
        "message": "why",
        "data": [1],
        "state": "x",
        "location": {"file": "bad.yaml", "line": 4, "column": 5},
    }


@pytest.mark.usefixtures("_here")
def test_rule_60_a_list_of_fixed_results_is_counted_for_each_execution(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "durableflow.yaml").write_text(
        'durableflow: "1"\nworkflows: [twice.yaml]\nfunctions: {f: [{result: 1}, {result: 2}]}\n'
    )
    (tmp_path / "twice.yaml").write_text(
        'durableflow: "1"\nname: twice\noutput: ["{{ states.a.result }}", "{{ states.b.result }}", "{{ states.c.result }}"]\n'
        "states: [{name: a, type: invoke, function: f}, {name: b, type: invoke, function: f}, {name: c, type: invoke, function: f}]\n"
    )
    for name in ("one", "two"):
        assert json.loads(shell("run", "twice.yaml", "--json", "--name", name).out)["output"] == [1, 2, 2]


# 61 ------------------------------------------------------------------------------------------------------------------


def test_rule_61_a_failed_context_that_is_replayed_is_closed_with_success_and_fails_again_on_replay() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: s, type: block, timeout: 1h, states: [{name: f, type: invoke, function: f}], "
            "catch: [{output: '{{ error.message }}'}]}, {name: w, type: wait, duration: 5}, "
            "{name: p, type: pass, output: '{{ [states.s.result, states.f.status] }}'}]",
            targets={"f": Function(Fault("Bad", "why"))},
        )
    )
    assert ending.result == ["why", "failed"]
    update = closing(ending, "s")
    assert (update["Action"], update["ContextOptions"]) == ("SUCCEED", {"ReplayChildren": True})


def test_rule_61_an_attempt_is_compensated_before_its_context_is_closed_and_what_is_handed_outward_has_another_parent() -> (
    None
):
    ending = endings(
        lambda: World(
            """
            states:
              - name: good
                type: block
                timeout: 1h
                states: [{name: a, type: invoke, function: f, compensate: [{name: ua, type: invoke, function: f}]}]
              - name: bad
                type: block
                timeout: 1h
                states:
                  - {name: b, type: invoke, function: f, compensate: [{name: ub, type: invoke, function: f}]}
                  - {name: x, type: fail, error: Bad}
            """,
            targets={"f": Function(1)},
        )
    )
    assert ending.error[0] == "Bad"
    assert (ending.parent("bad/ub"), ending.parent("good/ua")) == ("bad", None)
    updates = [(u["Id"], u["Action"]) for u in ending.world.service.updates]
    assert updates.index((operation_id("bad/ub"), "START")) < updates.index((operation_id("bad"), "SUCCEED"))
    assert updates.index((operation_id("good"), "SUCCEED")) < updates.index((operation_id("good/ua"), "START"))


def test_rule_61_what_a_map_hands_outward_runs_in_the_scope_around_it() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: s
                type: block
                timeout: 1h
                states:
                  - name: m
                    type: map
                    items: "[1]"
                    nesting: nested
                    states: [{name: a, type: invoke, function: f, compensate: [{name: ua, type: invoke, function: f}]}]
                  - {name: x, type: fail, error: Bad}
            """,
            targets={"f": Function(1)},
        )
    )
    assert ending.error[0] == "Bad"
    assert ending.paths == ["s", "s:timeout", "s/m", "s/m[0]", "s/m[0]/a", "s/m[0]/ua"]
    assert ending.parent("s/m[0]/ua") == "s"


# 62 ------------------------------------------------------------------------------------------------------------------


def test_rule_62_a_block_with_context_gets_a_copy_of_vars() -> None:
    ending = endings(
        lambda: World(
            "vars: {n: 1}\nstates: [{name: s, type: block, context: true, states: [{name: up, type: pass, "
            "assign: {n: '{{ vars.n + 1 }}'}}, {name: see, type: pass, output: '{{ vars.n }}'}]}, "
            "{name: w, type: wait, duration: 5}]\noutput: ['{{ states.s.result }}', '{{ vars.n }}']"
        )
    )
    assert ending.result == [2, 1]


def test_rule_62_a_submit_list_gets_a_copy_too() -> None:
    ending = endings(
        lambda: World(
            "vars: {n: 1}\nstates: [{name: ask, type: wait_for_callback, timeout: 1h, submit: [{name: up, type: pass, "
            "assign: {n: '{{ vars.n + 1 }}'}}, {name: tell, type: invoke, function: f, payload: '{{ vars.n }}'}]}]\n"
            "output: ['{{ vars.n }}', '{{ states.ask.result }}']",
            targets={"f": Function()},
            answers={"ask": ["yes"]},
        )
    )
    assert ending.result == [1, "yes"]
    assert ending.world.service.updates[2]["Payload"] == "2"


@pytest.mark.parametrize(
    "state",
    [
        "{name: s, type: wait_for_callback, submit: [LIST]}",
        "{name: s, type: block, states: [{name: q, type: pass}], finally: [LIST]}",
        "{name: s, type: block, states: [{name: q, type: pass}], compensate: [LIST]}",
    ],
)
def test_rule_62_compensate_inside_submit_finally_or_compensate_is_a_diagnostic(state: str) -> None:
    inner = "{name: a, type: invoke, function: f, compensate: [{name: u, type: pass}]}"
    with pytest.raises(WorkflowError, match="DF314"):
        plan_of(f"states: [{state.replace('LIST', inner)}]")


# 63 ------------------------------------------------------------------------------------------------------------------


def test_rule_63_what_was_open_at_a_timeout_counts_as_running_for_ever() -> None:
    ending = endings(
        lambda: World(
            """
            vars: {n: 0}
            states:
              - name: s
                type: block
                timeout: 10
                states:
                  - {name: a, type: wait, duration: 5, assign: {n: 1}}
                  - {name: b, type: wait, duration: 1h, assign: {n: 2}, compensate: [{name: ub, type: fail, error: Never}]}
                catch: [{output: "{{ [vars.n, context.now] }}"}]
              - {name: later, type: wait, duration: 2h}
              - {name: p, type: pass, output: "{{ [states.s.result, vars.n] }}"}
            """
        )
    )
    assert ending.result == [[1, "2026-01-01T00:00:10.000Z"], 1]
    error = ending.operation("s:timed_out")["ContextDetails"].get("Error", {})
    assert error.get("ErrorData") == f'"{operation_id("s/b")[:8]}"'


def test_rule_63_what_was_open_at_a_decision_counts_as_running_for_ever() -> None:
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal()
        orders.append(order)
        return World(
            """
            states:
              - name: race
                type: parallel
                completion: {min_successful: 1}
                branches:
                  slow:
                    - {name: a, type: invoke, function: f, payload: a, compensate: [{name: ua, type: invoke, function: f, payload: ua}]}
                    - {name: b, type: wait, duration: 1h, compensate: [{name: ub, type: invoke, function: f, payload: ub}]}
                  fast: [{name: soon, type: wait, duration: 5}]
              - {name: later, type: wait, duration: 2h}
              - {name: x, type: fail, error: Late, cause: "{{ [states.race.result, context.now] }}"}
            """,
            targets={"f": function},
        )

    ending = endings(make)
    assert ending.error == ("Late", '[{"slow":null,"fast":null},"2026-01-01T02:00:05.000Z"]')
    assert orders[0] == ["a", "ua"]
    payload = json.loads(closing(ending, "race")["Payload"])
    assert payload["open"] == operation_id("race.slow")[:8] + operation_id("race.slow/b")[:8]


def test_rule_63_a_decision_is_replayed_as_it_was_though_a_loser_ended_later() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: race
                type: parallel
                completion: {min_successful: 1}
                branches:
                  slow: [{name: a, type: wait, duration: 1h, output: late, compensate: [{name: ua, type: pass}]}]
                  fast: [{name: b, type: wait, duration: 5, output: soon}]
              - {name: later, type: wait, duration: 2h}
            output: ["{{ states.race.result }}", "{{ states.race.summary }}"]
            """
        )
    )
    assert ending.result == [
        {"slow": None, "fast": "soon"},
        {"total": 2, "succeeded": 1, "failed": 0, "reason": "MIN_SUCCESSFUL_REACHED"},
    ]
    assert ending.operation("race.slow/a")["Status"] == "SUCCEEDED"


# 64 ------------------------------------------------------------------------------------------------------------------


def test_rule_64_helpers_and_abandoned_operations_do_not_count_for_now() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - {name: f, type: invoke, function: f, retry: [{max_attempts: 2, interval: 1h, jitter: none}], output: "{{ context.now }}"}
              - name: race
                type: parallel
                completion: {min_successful: 1}
                branches: {slow: [{name: a, type: wait, duration: 1h}], fast: [{name: b, type: wait, duration: 5}]}
              - {name: at_once, type: pass, output: "{{ context.now }}"}
              - {name: later, type: wait, duration: 2h}
            output: ["{{ states.f.result }}", "{{ states.at_once.result }}", "{{ context.now }}"]
            """,
            targets={"f": Function(Fault("A"), 1)},
        )
    )
    assert ending.result == ["2026-01-01T01:00:00.000Z", "2026-01-01T01:00:05.000Z", "2026-01-01T03:00:05.000Z"]


def test_rule_64_a_state_that_timed_out_ended_then_and_what_was_before_a_branch_counts_in_it() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - {name: before, type: wait, duration: 7}
              - {name: m, type: map, items: "[1]", nesting: nested, states: [{name: i, type: pass, output: "{{ context.now }}"}]}
              - {name: s, type: block, timeout: 10, states: [{name: b, type: wait, duration: 1h}], catch: [{output: "{{ context.now }}"}]}
              - {name: later, type: wait, duration: 2h}
            output: ["{{ states.m.result[0] }}", "{{ states.s.result }}"]
            """
        )
    )
    assert ending.result == ["2026-01-01T00:00:07.000Z", "2026-01-01T00:00:17.000Z"]


def test_rule_64_a_template_that_reads_recorded_times_waits_for_the_answers() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: a, type: step, handler: 'm:f'}, {name: b, type: step, handler: 'm:f', "
            "payload: ['{{ states.a.started_at }}', '{{ states.a.ended_at }}']}, {name: p, type: pass}]\n"
            "output: ['{{ states.b.result }}', '{{ states.p.started_at }}', '{{ states.p.ended_at }}']",
            handlers={"m:f": lambda call: call.payload},
        )
    )
    start = "2026-01-01T00:00:00.000Z"
    assert ending.result == [[start, start], start, start]
    assert [[u["Action"] for u in r["Updates"]] for r in ending.world.service.requests[:3]] == [
        ["START"],
        ["SUCCEED"],
        ["START"],
    ]


# 65 ------------------------------------------------------------------------------------------------------------------


def test_rule_65_the_key_is_the_same_over_all_attempts_and_different_in_every_scope_around() -> None:
    ending = endings(
        lambda: World(
            """
            vars: {keys: []}
            states:
              - name: l
                type: loop
                max_iterations: 2
                states:
                  - {name: s, type: step, handler: "m:f", payload: "{{ context.idempotency_key }}", retry: [{max_attempts: 2, jitter: none}]}
              - name: m
                type: map
                items: "[1, 2]"
                states: [{name: i, type: step, handler: "m:f", payload: "{{ context.idempotency_key }}", retry: [{max_attempts: 2, jitter: none}]}]
              - name: b
                type: block
                retry: [{max_attempts: 2, jitter: none}]
                states:
                  - {name: t, type: step, handler: "m:f", payload: "{{ context.idempotency_key }}", retry: [{max_attempts: 2, jitter: none}]}
                  - {name: g, type: invoke, function: g}
            """,
            handlers={"m:f": by_attempt(Fault("A"), 1)},
            targets={"g": Function(Fault("B"), 1)},
        )
    )
    calls = ending.world.worker.calls
    keys: dict[str, set[str]] = {}
    for call in calls:
        assert call.payload == call.idempotency_key
        keys.setdefault(call.path, set()).add(call.idempotency_key)
    assert sorted(keys) == ["b/t", "b@2/t", "l{0}/s", "l{1}/s", "m[0]/i", "m[1]/i"]
    assert all(len(one) == 1 for one in keys.values())
    assert len(set.union(*keys.values())) == 6


def test_rule_65_the_key_of_an_invoke_is_the_same_over_its_attempts() -> None:
    function = Function(Fault("A"), Fault("B"), 1)
    World(
        "states: [{name: f, type: invoke, function: f, payload: '{{ context.idempotency_key }}', retry: [{jitter: none}]}]",
        targets={"f": function},
    ).result()
    assert len(function.payloads) == 3
    assert len(set(function.payloads)) == 1
    assert len(function.payloads[0]) == 32


# 66 ------------------------------------------------------------------------------------------------------------------


def renamed(old: str, new: str, **more: Any) -> Ending:
    """Begin with one definition, go on with another as soon as it is suspended, and end."""

    def make() -> World:
        world = World(old, **more)
        after = World(new, **more).plan
        event = world.service.event()
        assert world.invoke(event) == {"Status": "PENDING"}
        world.plan = after
        return world

    return endings(make)


def test_rule_66_a_recorded_operation_keeps_its_path_and_name() -> None:
    text = (
        "states: [{name: NAME, type: step, handler: 'm:f', payload: '{{ context.idempotency_key }}'WAS}, "
        "{name: w, type: wait, duration: 9}, {name: p, type: pass, output: '{{ states.NAME.result }}'}]"
    )
    ending = renamed(
        text.replace("NAME", "old").replace("WAS", ""),
        text.replace("NAME", "new").replace("WAS", ", renamed_from: [older, old]"),
        handlers={"m:f": lambda call: call.payload},
    )
    assert len(ending.result) == 32
    assert ending.names == ["old", "w"]


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("type: loop, max_iterations: 2", ["old{0}/a", "old{0}/w", "new{1}/a", "new{1}/w"]),
        ("type: block, timeout: 1h", ["old", "old:timeout", "old/a", "old/w"]),
        ("type: map, items: '[1]'", ["old", "old[0]", "old[0]/a", "old[0]/w"]),
        ("type: block", ["a", "w"]),
    ],
)
def test_rule_66_a_renamed_scope_finds_what_is_recorded_in_it(kind: str, paths: list[str]) -> None:
    text = (
        f"states: [{{name: NAME, {kind}, states: [{{name: a, type: invoke, function: f}}, "
        "{name: w, type: wait, duration: 9}]WAS}]"
    )

    def make_until_waiting() -> World:
        world = World(text.replace("NAME", "old").replace("WAS", ""), targets={"f": Function(1)})
        world.invoke(world.service.event())
        world.service.wake()
        world.invoke(world.service.event())
        world.plan = plan_of(text.replace("NAME", "new").replace("WAS", ", renamed_from: [old]"))
        return world

    assert endings(make_until_waiting).paths == paths


def test_rule_66_the_delay_of_a_renamed_loop_is_found_too() -> None:
    text = "states: [{name: NAME, type: loop, max_iterations: 2, delay: 60, states: [{name: a, type: step, handler: 'm:f'}]WAS}]"
    ending = renamed(
        text.replace("NAME", "old").replace("WAS", ""),
        text.replace("NAME", "new").replace("WAS", ", renamed_from: [old]"),
        handlers={"m:f": lambda _: 1},
    )
    assert ending.paths == ["old{0}/a", "old{0}:delay", "new{1}/a"]


# 67 ------------------------------------------------------------------------------------------------------------------


def test_rule_67_a_context_that_fails_keeps_everything_that_can_be_seen_of_the_error() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: s
                type: block
                context: true
                states:
                  - name: m
                    type: map
                    items: "[1]"
                    states: [{name: f, type: invoke, function: f, retry: [{max_attempts: 2, jitter: none}]}]
                catch: [{errors: [States.TaskFailed], output: "{{ error }}"}]
              - {name: w, type: wait, duration: 5}
              - {name: p, type: pass, output: "{{ states.s.result }}"}
            """,
            targets={"f": Function(Fault("Bad", "why", {"n": 1}))},
        )
    )
    assert ending.result == {
        "name": "Bad",
        "message": "why",
        "data": {"n": 1},
        "state": "f",
        "attempt": 2,
        "status": "FAILED",
        "index": 0,
        "branch": None,
    }
    data = json.loads(closing(ending, "s")["Error"]["ErrorData"])
    assert data == {
        "$error": {
            "data": {"n": 1},
            "state": "f",
            "attempt": 2,
            "status": "FAILED",
            "index": 0,
            "branch": None,
            "work": True,
        }
    }


@pytest.mark.parametrize("kind", ["", "context: true, ", "timeout: 1h, "])
def test_rule_67_an_error_is_seen_as_cut_for_the_wire_from_the_first_moment(kind: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, type: block, {kind}states: [{{name: x, type: fail, error: Bad, cause: '{{{{ input }}}}'}}], "
            "catch: [{output: '{{ error.message | length }}'}]}, {name: w, type: wait, duration: 5}, "
            "{name: p, type: pass, output: '{{ states.s.result }}'}]",
            input="x" * 50_000,
        )
    )
    assert 30_000 < ending.result < 32_768


# 68 ------------------------------------------------------------------------------------------------------------------

OURS = ["$workflow", "$poll", "$error", "$offload", "$value"]


@pytest.mark.parametrize("key", OURS)
def test_rule_68_a_plain_value_that_looks_like_a_form_of_ours_comes_back_unchanged(key: str) -> None:
    value = {key: {"previous": 1, "failures": 1, "since": 0}}
    ending = endings(
        lambda: World(
            """
            states:
              - {name: s, type: step, handler: "m:f"}
              - {name: b, type: block, context: true, states: [{name: q, type: pass, output: "{{ input }}"}]}
              - {name: m, type: map, items: "[1]", nesting: nested, states: [{name: i, type: pass, output: "{{ input }}"}]}
              - {name: c, type: wait_for_condition, check: {type: step, handler: "m:g", payload: "{{ previous }}"}, until: "result == 2"}
              - {name: f, type: invoke, function: f, payload: "{{ input }}"}
              - {name: w, type: wait, duration: 5}
            output: ["{{ states.s.result }}", "{{ states.b.result }}", "{{ states.m.result[0] }}", "{{ states.f.result }}"]
            """,
            input=value,
            handlers={"m:f": lambda _: value, "m:g": by_attempt(value, 2)},
            targets={"f": Function()},
        )
    )
    assert ending.result == [value] * 4
    assert [call.payload for call in ending.world.worker.calls][-1] == value
    assert json.loads(closing(ending, "s")["Payload"]) == {"$value": value}


def test_rule_68_with_more_keys_a_value_is_stored_as_it_is() -> None:
    value = {"$error": 1, "more": 2}
    ending = endings(
        lambda: World("states: [{name: s, type: step, handler: 'm:f'}]", handlers={"m:f": lambda _: value})
    )
    assert ending.result == value
    assert json.loads(closing(ending, "s")["Payload"]) == value
