"""Retry and time: rules 22 to 30."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from doubles import Function, by_attempt, journal
from endings import endings
from memory_service import START
from shell import Shell, shell
from worlds import World, plan_of

from durableflow.errors import Fault, WorkflowError
from durableflow.plan import Invoke

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]


def delays(world: World) -> list[int]:
    """The seconds of every back-off, in place or by a wait."""
    made: list[int] = []
    for update in world.service.updates:
        if update["Action"] == "RETRY":
            made.append(update["StepOptions"]["NextAttemptDelaySeconds"])
        elif update["Type"] == "WAIT" and "-backoff-" in update["Name"]:
            made.append(update["WaitOptions"]["WaitSeconds"])
    return made


# 22 ------------------------------------------------------------------------------------------------------------------


def test_rule_22_the_defaults_of_a_retrier() -> None:
    plan = plan_of("states: [{name: a, type: invoke, function: f, retry: [{}]}]")
    node = plan.states.nodes[0]
    assert isinstance(node, Invoke)
    (retrier,) = node.retry
    assert (retrier.errors, retrier.max_attempts, retrier.backoff_rate) == (("States.ALL",), 3, 2)
    assert retrier.interval
    assert retrier.interval.constant in (1, "1s")
    assert (retrier.max_delay, retrier.jitter, retrier.increment, retrier.max_duration) == (None, "full", None, None)


def test_rule_22_increment_and_backoff_rate_exclude_each_other() -> None:
    with pytest.raises(WorkflowError, match="increment"):
        plan_of("states: [{name: a, type: invoke, function: f, retry: [{increment: 1, backoff_rate: 2}]}]")


@pytest.mark.parametrize("work", ["type: step, handler: 'm:f'", "type: invoke, function: f"])
def test_rule_22_the_first_retrier_that_matches_the_latest_error_counts_all_attempts(work: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {work}, retry: [{{errors: [A], max_attempts: 9, interval: 1, jitter: none}}, "
            "{errors: [B], max_attempts: 3, interval: 10, jitter: none}], "
            "catch: [{output: '{{ [error.name, error.attempt] }}'}]}]",
            handlers={"m:f": by_attempt(Fault("A"), Fault("B"), Fault("B"))},
            targets={"f": Function(Fault("A"), Fault("B"), Fault("B"))},
        )
    )
    # The second attempt's B waits 10 * 2, since both attempts count, and the third attempt was B's last.
    assert ending.result == ["B", 3]
    assert delays(ending.world) == [1, 20]


def test_rule_22_max_duration_runs_from_the_recorded_start_of_the_first_attempt() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: a, type: invoke, function: f, retry: [{max_attempts: 99, interval: 60, backoff_rate: 1, "
            "jitter: none, max_duration: 150}], catch: [{output: '{{ error.attempt }}'}]}]",
            targets={"f": Function(Fault("A"))},
        )
    )
    assert ending.result == 3


# 23 ------------------------------------------------------------------------------------------------------------------


def test_rule_23_defaults_are_for_work_states_without_their_own_and_an_empty_list_switches_off() -> None:
    text = """
        defaults: {retry: [{max_attempts: 2, interval: 1, jitter: none}]}
        states: [{name: a, type: invoke, function: f%s, catch: [{output: "{{ error.attempt }}"}]}]
        """
    assert endings(lambda: World(text % "", targets={"f": Function(Fault("A"))})).result == 2
    assert endings(lambda: World(text % ", retry: []", targets={"f": Function(Fault("A"))})).result == 1


def test_rule_23_the_default_timeout_is_for_work_states_too() -> None:
    ending = endings(
        lambda: World(
            "defaults: {timeout: 1h}\nstates: [{name: b, type: block, states: [{name: w, type: wait, duration: 5}, "
            "{name: f, type: invoke, function: f}]}]",
            targets={"f": Function(1)},
        )
    )
    assert ending.paths == ["w", "f:timeout", "f"]


@pytest.mark.parametrize(
    "state",
    [
        "type: wait, duration: 1, ",
        "type: pass, ",
        "type: fail, error: E, ",
        "type: succeed, ",
    ],
)
@pytest.mark.parametrize("field", ["retry: [{}]", "timeout: 5"])
def test_rule_23_a_diagnostic_elsewhere(state: str, field: str) -> None:
    with pytest.raises(WorkflowError, match=field.split(":", maxsplit=1)[0]):
        plan_of(f"states: [{{name: a, {state}{field}}}]")


# 24 ------------------------------------------------------------------------------------------------------------------


def test_rule_24_the_failed_attempt_is_compensated_then_vars_go_back_then_the_next_begins() -> None:
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal()
        orders.append(order)
        return World(
            """
            vars: {n: 1}
            states:
              - name: s
                type: block
                retry: [{max_attempts: 2, interval: 5, jitter: none}]
                states:
                  - {name: up, type: pass, assign: {n: "{{ vars.n + 1 }}"}}
                  - name: a
                    type: invoke
                    function: f
                    payload: "a{{ vars.n }}"
                    compensate: [{name: ua, type: invoke, function: f, payload: "ua{{ vars.n }}"}]
                  - {name: bad, type: invoke, function: g}
              - {name: w, type: wait, duration: 5}
            output: "{{ vars.n }}"
            """,
            targets={"f": function, "g": Function(Fault("Bad"), 1)},
        )

    ending = endings(make)
    assert ending.result == 2
    assert orders[0] == ["a2", "ua2", "a2"]
    assert ending.paths == ["s", "s/a", "s/bad", "s/ua", "s:backoff", "s@2", "s@2/a", "s@2/bad", "w"]
    assert ending.parent("s/ua") == "s"


# 25 ------------------------------------------------------------------------------------------------------------------


def test_rule_25_templates_are_rendered_for_each_attempt_and_differ_in_the_attempt_only() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: w, type: wait, duration: 5}, {name: s, type: step, handler: 'm:f', "
            "payload: ['{{ context.state.attempt }}', '{{ context.now }}', '{{ context.idempotency_key }}'], "
            "retry: [{max_attempts: 3, interval: 60, jitter: none}], output: '{{ context.state.attempt }}'}]",
            handlers={"m:f": by_attempt(Fault("A"), Fault("B"), 1)},
        )
    )
    assert ending.result == 3
    payloads = [call.payload for call in ending.world.worker.calls]
    assert [payload[0] for payload in payloads] == [1, 2, 3]  # type: ignore[call-overload, index]
    assert len({str(payload[1:]) for payload in payloads}) == 1  # type: ignore[call-overload, index]


# 26 ------------------------------------------------------------------------------------------------------------------


def test_rule_26_now_is_the_latest_end_before_this_point_in_this_branch() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - {name: first, type: pass, output: "{{ context.now }}"}
              - {name: outside, type: wait, duration: 10}
              - name: both
                type: parallel
                branches:
                  slow: [{name: hour, type: wait, duration: 1h}, {name: x, type: pass, output: "{{ context.now }}"}]
                  fast: [{name: minute, type: wait, duration: 1m}, {name: z, type: pass, output: "{{ context.now }}"}]
              - {name: last, type: pass, output: ["{{ states.first.result }}", "{{ states.both.result }}", "{{ context.now }}"]}
            """
        )
    )
    assert ending.result == [
        "2026-01-01T00:00:00.000Z",
        {"slow": "2026-01-01T01:00:10.000Z", "fast": "2026-01-01T00:01:10.000Z"},
        "2026-01-01T01:00:10.000Z",
    ]


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("until: '2026-01-01T00:00:30'", 30),
        ("until: '2026-01-01T02:00:30+02:00'", 30),
        ("until: '2026-01-01T00:00:00.2Z'", 1),
        ("until: '2026-01-01T00:00:00Z'", None),
        ("duration: 0.001", 1),
        ("duration: 0", None),
        ("duration: -3", None),
        ("duration: 31622400", 31_622_400),
    ],
)
def test_rule_26_how_long_a_wait_is(field: str, seconds: int | None) -> None:
    value = field.partition(": ")[2].strip("'")
    ending = endings(
        lambda: World(
            f"states: [{{name: w, type: wait, {field.partition(':')[0]}: '{{{{ input }}}}'}}]",
            input=float(value) if value[-1].isdigit() and "T" not in value else value,
        )
    )
    waits = [update["WaitOptions"]["WaitSeconds"] for update in ending.world.service.updates]
    assert waits == ([] if seconds is None else [seconds])


def test_rule_26_longer_than_a_leap_year_is_an_error() -> None:
    ending = endings(lambda: World("states: [{name: w, type: wait, duration: '{{ input }}'}]", input=31_622_401))
    assert ending.error[0] == "States.QueryEvaluationError"


# 27 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work",
    [
        "type: step, handler: 'm:f'",
        "type: aws, service: s3, action: list_buckets",
        "type: http, method: GET, url: 'https://x.example'",
    ],
)
def test_rule_27_the_timeout_of_work_in_place_goes_with_the_call_and_costs_no_operation(work: str) -> None:
    handlers = dict.fromkeys(["m:f", "s3:list_buckets", "GET https://x.example"], lambda _: 1)
    ending = endings(lambda: World(f"states: [{{name: s, {work}, timeout: 7}}]", handlers=handlers))
    assert ending.world.worker.calls[0].timeout_seconds == 7
    assert ending.paths == ["s"]


def test_rule_27_callbacks_time_out_in_the_service() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: ask, type: wait_for_callback, timeout: 1h, heartbeat_timeout: 60, "
            "catch: [{output: '{{ error.name }}'}]}]"
        )
    )
    assert ending.result == "States.HeartbeatTimeout"
    assert ending.paths == ["ask"]
    assert ending.world.service.updates[0]["CallbackOptions"] == {"TimeoutSeconds": 3600, "HeartbeatTimeoutSeconds": 60}


def test_rule_27_a_condition_has_its_own_deadline_to_which_the_last_delay_is_cut() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: c, type: wait_for_condition, check: {type: step, handler: 'm:f'}, until: false, "
            "interval: 40, timeout: 100, catch: [{output: '{{ [error.name, error.attempt] }}'}]}]",
            handlers={"m:f": lambda _: 1},
        )
    )
    assert ending.result == ["States.Timeout", 4]
    assert delays(ending.world) == [40, 40, 20]
    assert ending.paths == ["c"]


RACED = {
    "invoke": ("type: invoke, function: f, payload: 1", "{}:timeout"),
    "workflow": ("type: workflow, workflow: f, payload: 1", "{}:timeout"),
    "inline": ("type: workflow, workflow: g, mode: inline", "{}:timeout"),
    "map": ("type: map, items: '[1]', states: [{name: i, type: invoke, function: f}]", "{}:timeout"),
    "parallel": ("type: parallel, branches: {b: [{name: i, type: invoke, function: f}]}", "{}:timeout"),
    "block": ("type: block, states: [{name: i, type: invoke, function: f}]", "{}:timeout"),
}


@pytest.mark.parametrize("kind", RACED)
def test_rule_27_all_others_race_a_wait(kind: str) -> None:
    text, path = RACED[kind]
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {text}, timeout: 1h}}]",
            targets={"f": Function(1)},
            inline={"f": "states: [{name: p, type: pass}]", "g": "states: [{name: i, type: invoke, function: f}]"},
        )
    )
    operation = ending.operation(path.format("s"))
    assert (operation["Type"], operation.get("Name"), operation["Status"]) == ("WAIT", "s-timeout", "STARTED")
    assert "s:timed_out" not in ending.paths


# 28 ------------------------------------------------------------------------------------------------------------------


TIMED_OUT = {
    "block": "type: block, states: [{name: i, type: wait, duration: 2h}]",
    "loop": "type: loop, max_iterations: 1, states: [{name: i, type: wait, duration: 2h}]",
    "choice": "type: choice, default: [{name: i, type: wait, duration: 2h}], choices: [{when: false, next: end}]",
    "map": "type: map, items: '[1]', states: [{name: i, type: wait, duration: 2h}]",
    "parallel": "type: parallel, nesting: nested, branches: {b: [{name: i, type: wait, duration: 2h}]}",
    "inline": "type: workflow, workflow: g, mode: inline",
}


@pytest.mark.parametrize("kind", TIMED_OUT)
def test_rule_28_a_timeout_is_put_on_record_before_anything_else(kind: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {TIMED_OUT[kind]}, timeout: 1h, catch: [{{errors: [States.Timeout], output: "
            "'{{ [error.name, error.state] }}'}]}, {name: after, type: wait, duration: 3h}, "
            "{name: p, type: pass, output: '{{ [states.s.result, states.s.status] }}'}]",
            inline={"g": "states: [{name: i, type: wait, duration: 2h}]"},
        )
    )
    assert ending.result == [["States.Timeout", "s"], "caught"]
    fired = ending.operation("s:timed_out")
    assert (fired["Type"], fired.get("SubType"), fired["Status"]) == ("CONTEXT", "RunInChildContext", "FAILED")
    batch = next(
        r["Updates"] for r in ending.world.service.requests if any(u["Id"] == fired["Id"] for u in r["Updates"])
    )
    assert [(u["Id"], u["Action"]) for u in batch[:2]] == [(fired["Id"], "START"), (fired["Id"], "FAIL")]
    assert ending.paths.count("s:timeout") == ending.paths.count("s:timed_out") == 1


def test_rule_28_finished_work_wins_where_the_record_does_not_exist() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: s, type: block, timeout: 10, states: [{name: i, type: wait, duration: 10}]}, "
            "{name: after, type: wait, duration: 30}]\noutput: '{{ states.s.status }}'"
        )
    )
    assert ending.result == "succeeded"
    assert ending.operation("s:timeout")["Status"] == "SUCCEEDED"


def test_rule_28_what_a_loser_records_later_is_no_drift() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: s
                type: block
                timeout: 10
                states: [{name: a, type: wait, duration: 5}, {name: b, type: wait, duration: 1h}, {name: c, type: wait, duration: 1}]
                catch: [{output: "{{ states.a.status }}"}]
              - {name: after, type: wait, duration: 2h}
              - {name: p, type: pass, output: "{{ states.s.result }}"}
            """
        )
    )
    assert ending.result == "succeeded"
    assert ending.operation("s/b")["Status"] == "SUCCEEDED"
    assert "s/c" not in ending.paths


def test_rule_28_the_timeout_of_a_workflow_is_raced_too_and_its_catch_sees_it() -> None:
    ending = endings(
        lambda: World(
            "timeout: 1h\nstates: [{name: w, type: wait, duration: 2h}]\n"
            "catch: [{errors: [States.Timeout], states: [{name: z, type: wait, duration: 3h}], output: '{{ error.name }}'}]"
        )
    )
    assert ending.result == "States.Timeout"
    assert ending.paths == [":timeout", "w", ":timed_out", "z"]


def test_rule_28_the_timeout_of_an_inline_workflow_is_its_own() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: sub, type: workflow, workflow: g, mode: inline, catch: [{output: '{{ error }}'}]}, "
            "{name: after, type: wait, duration: 3h}, {name: p, type: pass, output: '{{ states.sub.result.name }}'}]",
            inline={
                "g": "timeout: 1h\nstates: [{name: i, type: wait, duration: 2h}]\nfinally: [{name: z, type: wait, duration: 1h}]"
            },
        )
    )
    assert ending.result == "States.Timeout"
    assert ending.paths == ["sub", "sub/:timeout", "sub/i", "sub/:timed_out", "sub/z", "after"]


# 29 ------------------------------------------------------------------------------------------------------------------


def test_rule_29_while_is_tested_before_until_after_and_iteration_counts_from_zero() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - {name: w, type: loop, while: iteration < 2, max_iterations: 9, states: [{name: a, type: invoke, function: f, payload: "{{ iteration }}"}]}
              - {name: u, type: loop, until: iteration == 1, max_iterations: 9, states: [{name: b, type: invoke, function: f, payload: "{{ iteration }}"}]}
              - {name: k, type: loop, max_iterations: 2, states: [{name: c, type: invoke, function: f, payload: "{{ iteration }}"}]}
            output: ["{{ states.w.result }}", "{{ states.u.result }}", "{{ states.k.result }}"]
            """,
            targets={"f": Function()},
        )
    )
    assert ending.result == [1, 1, 1]
    assert ending.paths == ["w{0}/a", "w{1}/a", "u{0}/b", "u{1}/b", "k{0}/c", "k{1}/c"]


@pytest.mark.parametrize("limited", ["while: true", "until: false"])
def test_rule_29_at_the_limit_a_loop_fails_or_ends_normally(limited: str) -> None:
    text = (
        f"states: [{{name: l, type: loop, {limited}, max_iterations: 2, MORE states: "
        "[{name: w, type: wait, duration: 1}, {name: a, type: pass, output: '{{ iteration }}'}]}]"
    )
    assert endings(lambda: World(text.replace("MORE", ""))).error[0] == "States.LoopLimitExceeded"
    assert endings(lambda: World(text.replace("MORE", "on_limit: continue,"))).result == 1


def test_rule_29_a_delay_stands_between_iterations() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: l, type: loop, max_iterations: 2, delay: 9, states: [{name: a, type: invoke, function: f}]}]",
            targets={"f": Function(1)},
        )
    )
    assert ending.paths == ["l{0}/a", "l{0}:delay", "l{1}/a"]


def test_rule_29_a_state_is_visited_ten_thousand_times_by_next() -> None:
    world = World("states: [{name: a, type: pass, next: b}, {name: b, type: pass, next: a}]")
    assert world.error()[0] == "States.LoopLimitExceeded"


def test_rule_29_end_is_no_name_and_while_and_until_exclude_each_other() -> None:
    with pytest.raises(WorkflowError, match="end"):
        plan_of("states: [{name: end, type: pass}]")
    with pytest.raises(WorkflowError, match="until"):
        plan_of(
            "states: [{name: l, type: loop, while: true, until: true, max_iterations: 1, states: [{name: a, type: pass}]}]"
        )


# 30 ------------------------------------------------------------------------------------------------------------------


def test_rule_30_skipped_time_jumps_to_the_timer_of_a_callback_unless_it_is_answered(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "ask.yaml").write_text(
        'durableflow: "1"\nname: asking\nstates:\n'
        "  - {name: nap, type: wait, duration: 10d}\n"
        "  - {name: ask, type: wait_for_callback, timeout: 3d, catch: [{errors: [States.Timeout], output: nobody}]}\n"
    )
    run = ("run", "ask.yaml", "--ephemeral", "--skip-time")
    assert shell(*run).out == '"nobody"\n'
    assert shell(*run, "--callback", 'ask={"ok":true}').out == '{\n  "ok": true\n}\n'


def test_rule_30_time_does_not_jump_while_work_is_running() -> None:
    """The clock of an execution only moves when nothing runs: a step sees the time at which it began."""
    seen: list[int] = []

    def make() -> World:
        world = World(
            "states: [{name: p, type: parallel, branches: {a: [{name: s, type: step, handler: 'm:f'}], "
            "b: [{name: w, type: wait, duration: 1h}]}}]",
            handlers={"m:f": lambda _: seen.append(world.service.now - START)},
        )
        return world

    endings(make)
    assert set(seen) == {0}
