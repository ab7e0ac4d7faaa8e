"""Each field that no other test runs by itself: what it does in a whole execution."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import World

from durableflow.decision import Failed, Succeeded
from durableflow.errors import Fault
from durableflow.interpreter import Run
from durableflow.operations import operation_id


def failing(times: int, name: str = "Busy", data: Any = None) -> Any:
    """A function that fails some times, then gives how often it was called."""
    calls = 0

    def function(_: Any) -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise Fault(name, "later", data)
        return calls

    return function


def delays(retry: str, *, times: int) -> list[int]:
    """Return the seconds between the attempts of a step that fails some times."""
    world = World(
        f"states: [{{name: s, type: step, handler: 'm:f', retry: [{retry}]}}]", handlers={"m:f": failing(times)}
    )
    assert world.result() == times + 1
    return [u["StepOptions"]["NextAttemptDelaySeconds"] for u in world.service.updates if u["Action"] == "RETRY"]


@pytest.mark.covers("retrier.interval", "retrier.jitter", "retrier.max_attempts")
def test_the_first_delay_is_the_interval() -> None:
    assert delays("{interval: 9s, jitter: none}", times=1) == [9]


@pytest.mark.covers("retrier.backoff_rate", "retrier.max_delay")
def test_delays_grow_by_a_factor_up_to_the_longest() -> None:
    assert delays("{interval: 2, backoff_rate: 3, max_delay: 10s, max_attempts: 5, jitter: none}", times=4) == [
        2,
        6,
        10,
        10,
    ]


@pytest.mark.covers("retrier.increment")
def test_delays_grow_by_an_amount() -> None:
    assert delays("{interval: 2, increment: 5s, max_attempts: 4, jitter: none}", times=3) == [2, 7, 12]


@pytest.mark.covers("retrier.max_duration")
def test_no_attempt_begins_after_the_duration() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, "
        "retry: [{max_attempts: 99, interval: 60, backoff_rate: 1, jitter: none, max_duration: 150s}]}]",
        targets={"f": failing(50)},
    )
    assert world.error()[0] == "Busy"
    assert world.started.count("a") == 3


@pytest.mark.covers("retrier.errors", "retrier.when", "invoke.retry")
@pytest.mark.parametrize(("data", "attempts"), [(1, 4), (2, 2), (None, 1)])
def test_the_first_retrier_whose_errors_and_condition_match_decides(data: Any, attempts: int) -> None:
    name = "Busy" if data else "Other"
    world = World(
        """
        states:
          - name: a
            type: invoke
            function: f
            retry:
              - {errors: [Bus*], when: error.data == 1, max_attempts: 4}
              - {errors: [Busy], max_attempts: 2}
        """,
        targets={"f": failing(9, name, data)},
    )
    assert world.error()[0] == name
    assert world.started.count("a") == attempts


@pytest.mark.covers("file.retry_policies", "file.defaults", "defaults.retry")
def test_a_policy_can_be_the_default_and_a_state_can_switch_it_off() -> None:
    head = "retry_policies: {twice: [{max_attempts: 2, interval: 1}]}\ndefaults: {retry: twice}\n"
    state = "{name: s, type: step, handler: 'm:f'%s}"
    assert World(f"{head}states: [{state % ''}]", handlers={"m:f": failing(1)}).result() == 2
    assert World(f"{head}states: [{state % ', retry: []'}]", handlers={"m:f": failing(1)}).error()[0] == "Busy"


@pytest.mark.covers("file.name", "file.version")
def test_a_workflow_knows_its_name_and_version() -> None:
    world = World(
        'version: "4"\nstates: [{name: a, type: pass, '
        "output: ['{{ context.workflow.name }}', '{{ context.workflow.version }}']}]"
    )
    assert world.result() == ["demo", "4"]


@pytest.mark.covers("file.description", "state.description")
def test_a_description_changes_nothing() -> None:
    plain = World("states: [{name: a, type: step, handler: 'm:f'}]", handlers={"m:f": failing(0)})
    told = World(
        "description: counts\nstates: [{name: a, type: step, handler: 'm:f', description: once}]",
        handlers={"m:f": failing(0)},
    )
    assert plain.result() == told.result() == 1
    assert plain.service.updates == told.service.updates
    assert plain.plan.digest == told.plan.digest


def broken(_: Any) -> Any:
    raise Fault("Boom", "no")


# Work: step, aws, http, secrets.


@pytest.mark.covers("step.timeout", "aws.timeout", "http.timeout", "check.timeout", "defaults.timeout")
def test_the_worker_is_told_how_long_an_attempt_may_take() -> None:
    world = World(
        """
        defaults: {timeout: 9s}
        states:
          - {name: a, type: step, handler: "m:f", timeout: 5s}
          - {name: b, type: aws, service: s3, action: get_object, timeout: 6s}
          - {name: c, type: http, url: "https://a.example", timeout: 7s}
          - {name: d, type: wait_for_condition, check: {type: step, handler: "m:f", timeout: 8s}, until: true}
          - {name: e, type: step, handler: "m:f"}
        """,
        handlers={"m:f": lambda _: 1, "s3:get_object": lambda _: 1, "GET https://a.example": lambda _: {}},
    )
    world.run()
    assert [call.timeout_seconds for call in world.worker.calls] == [5, 6, 7, 8, 9]


@pytest.mark.covers("aws.type", "aws.service", "aws.action", "aws.params", "aws.retry")
def test_an_aws_state_calls_an_action_with_its_parameters() -> None:
    world = World(
        "states: [{name: a, type: aws, service: dynamodb, action: put_item, params: {Item: {id: '{{ input.id }}'}}, "
        "retry: [{max_attempts: 2}]}]",
        input={"id": 7},
        handlers={"dynamodb:put_item": failing(1)},
    )
    assert world.result() == 2
    assert [(call.attempt, call.payload) for call in world.worker.calls] == [(n, {"Item": {"id": 7}}) for n in (1, 2)]
    assert world.operations == 1


@pytest.mark.covers("http.type", "http.method", "http.url", "http.headers", "http.query", "http.body", "http.retry")
def test_an_http_state_makes_a_request() -> None:
    world = World(
        """
        states:
          - name: a
            type: http
            method: POST
            url: "https://a.example/{{ input.id }}"
            headers: {X-Id: "{{ input.id }}"}
            query: {q: "{{ [input.id] }}"}
            body: {id: "{{ input.id }}"}
            retry: [{max_attempts: 2}]
        """,
        input={"id": 7},
        handlers={"POST https://a.example/7": failing(1)},
    )
    assert world.result() == 2
    assert world.worker.calls[1].payload == {
        "method": "POST",
        "url": "https://a.example/7",
        "headers": {"X-Id": 7},
        "query": {"q": [7]},
        "body": {"id": 7},
    }


@pytest.mark.covers("http.success", "http.redirects")
def test_the_worker_is_told_what_counts_as_success_and_how_many_redirects_to_follow() -> None:
    world = World(
        "states: [{name: a, type: http, url: 'https://a.example', success: [200, '300-399'], redirects: 2}]",
        handlers={"GET https://a.example": lambda _: {}},
    )
    world.run()
    node: Any = world.worker.calls[0].node
    assert (node.success, node.redirects) == (((200, 200), (300, 399)), 2)


@pytest.mark.covers("aws.semantics", "http.semantics")
@pytest.mark.parametrize("work", ["type: aws, service: s3, action: put_object", "type: http, url: 'https://a.example'"])
def test_an_interrupted_attempt_is_not_made_again_at_most_once(work: str) -> None:
    world = World(f"states: [{{name: a, {work}, semantics: at_most_once}}]")
    running: Any = {"Id": operation_id("a"), "Name": "a", "Type": "STEP", "SubType": "Step", "Status": "STARTED"}
    run = Run(world.plan)
    decision = run.advance([*world.service.operations.values(), {**running, "StartTimestamp": 1}])
    assert decision.calls == ()
    (update,) = decision.updates
    assert (update["Action"], update["Error"]["ErrorType"]) == ("FAIL", "States.StepInterrupted")  # type: ignore[index]


@pytest.mark.covers("file.secrets")
def test_a_secret_is_filled_in_where_the_work_is_done_and_recorded_nowhere() -> None:
    seen: list[Any] = []
    world = World(
        """
        secrets: {token: "ssm:/pay/token"}
        states: [{name: a, type: step, handler: "m:f", payload: "Bearer {{ secret('token') }}"}]
        """,
        handlers={"m:f": lambda call: seen.append(call.arguments(lambda name: f"<{name}>"))},
    )
    world.run()
    assert seen == ["Bearer <token>"]
    assert dict(world.worker.calls[0].secrets) == {"token": "ssm:/pay/token"}
    assert "Bearer" not in str(world.service.requests)


# Waiting: callbacks and conditions.


@pytest.mark.covers("wait_for_callback.type", "wait_for_callback.submit", "wait_for_callback.result_format")
def test_a_callback_is_asked_for_and_its_answer_read_as_it_says() -> None:
    sent: list[Any] = []
    text = """
        states:
          - name: ask
            type: wait_for_callback
            timeout: 1h
            result_format: %s
            submit: [{name: mail, type: invoke, function: mail, payload: "{{ callback.id }}"}]
        """
    assert World(text % "json", targets={"mail": sent.append}, answers={"ask": [{"ok": 1}]}).result() == {"ok": 1}
    assert World(text % "text", targets={"mail": sent.append}, answers={"ask": [b"fine"]}).result() == "fine"
    assert all(isinstance(callback, str) and callback for callback in sent)
    assert len(sent) == 2


@pytest.mark.covers("wait_for_callback.timeout", "wait_for_callback.heartbeat_timeout")
@pytest.mark.parametrize(("limit", "name"), [("timeout: 60", "Timeout"), ("heartbeat_timeout: 60", "HeartbeatTimeout")])
def test_a_callback_that_nobody_answers_runs_out(limit: str, name: str) -> None:
    world = World(
        f"states: [{{name: ask, type: wait_for_callback, {limit}, catch: [{{output: '{{{{ error.name }}}}'}}]}}]"
    )
    began = world.service.now
    assert world.result() == f"States.{name}"
    assert world.service.now - began == 60_000


@pytest.mark.covers("wait_for_callback.retry")
def test_a_callback_is_asked_for_again_as_another() -> None:
    world = World(
        "states: [{name: ask, type: wait_for_callback, timeout: 1h, retry: [{max_attempts: 2}]}]",
        answers={"ask": [Fault("No"), "yes"]},
    )
    assert world.result() == "yes"
    assert world.started == ["ask", "ask-backoff-1", "ask"]


def polled(fields: str, *, ready_after: int = 4) -> tuple[World, list[int]]:
    """Run a condition that holds after some checks; return the seconds between the checks as well."""
    looks = iter(range(1, 1000))
    world = World(
        f"states: [{{name: done, type: wait_for_condition, check: {{type: step, handler: 'm:f'}}, "
        f"until: result >= {ready_after}, {fields}}}]",
        handlers={"m:f": lambda _: next(looks)},
    )
    world.run()
    updates = [update for update in world.service.updates if update["Action"] == "RETRY"]
    return world, [update["StepOptions"]["NextAttemptDelaySeconds"] for update in updates]


@pytest.mark.covers(
    "wait_for_condition.type",
    "wait_for_condition.until",
    "wait_for_condition.interval",
    "wait_for_condition.backoff_rate",
    "wait_for_condition.max_delay",
)
def test_a_condition_is_checked_again_until_it_holds() -> None:
    assert polled("interval: 10")[1] == [10, 10, 10]
    assert polled("interval: 10, backoff_rate: 2")[1] == [10, 20, 40]
    assert polled("interval: 10, backoff_rate: 2, max_delay: 15")[1] == [10, 15, 15]


@pytest.mark.covers("wait_for_condition.jitter")
def test_checks_are_spread_at_random_where_the_file_says_so() -> None:
    _, spread = polled("interval: 1000, jitter: full", ready_after=9)
    assert len(set(spread)) > 1
    assert all(1 <= seconds <= 1000 for seconds in spread)


@pytest.mark.covers("wait_for_condition.max_attempts", "wait_for_condition.timeout")
@pytest.mark.parametrize(
    ("limit", "name", "checks"),
    [("max_attempts: 3", "States.ConditionNotMet", 3), ("timeout: 25, interval: 10", "States.Timeout", 4)],
)
def test_a_condition_that_does_not_come_true_in_its_limits_fails(limit: str, name: str, checks: int) -> None:
    world, _ = polled(limit, ready_after=99)
    assert world.error()[0] == name
    assert len(world.worker.calls) == checks


@pytest.mark.covers("wait_for_condition.retry")
def test_a_condition_is_begun_again_as_another_operation() -> None:
    world, _ = polled("interval: 10, max_attempts: 2, retry: [{max_attempts: 2}]")
    assert world.result() == 4
    assert list(dict.fromkeys(world.started)) == ["done", "done-backoff-1"]
    assert world.operations == 3


@pytest.mark.covers("wait_for_condition.check", "wait_for_condition.initial", "check.output", "check.retry")
def test_a_check_is_projected_sees_the_one_before_and_is_repeated_when_it_fails() -> None:
    world = World(
        """
        states:
          - name: done
            type: wait_for_condition
            check:
              type: aws
              service: glue
              action: get_job_run
              params: {Before: "{{ previous }}"}
              output: "{{ result * 10 }}"
              retry: [{errors: [Busy], max_attempts: 2}]
            initial: 0
            until: result == 30
        """,
        handlers={"glue:get_job_run": failing(1)},
    )
    assert world.result() == 30
    assert [call.payload for call in world.worker.calls] == [{"Before": 0}, {"Before": 0}, {"Before": 20}]


@pytest.mark.covers("check.result_schema")
def test_a_check_that_does_not_fit_its_schema_fails() -> None:
    world = World(
        "states: [{name: d, type: wait_for_condition, until: true, "
        "check: {type: step, handler: 'm:f', result_schema: {type: string}}}]",
        handlers={"m:f": lambda _: 1},
    )
    assert world.error()[0] == "States.ResultInvalid"


# Other workflows.


@pytest.mark.covers("workflow.type", "workflow.workflow", "workflow.payload", "workflow.retry")
def test_a_child_workflow_is_another_execution() -> None:
    got: list[Any] = []
    world = World(
        "states: [{name: ship, type: workflow, workflow: shipping, payload: {id: '{{ input.id }}'}, "
        "retry: [{max_attempts: 2}]}]",
        input={"id": 7},
        targets={"shipping": lambda payload: got.append(payload) or failing_once(payload)},
    )
    failing_once = failing(1)
    assert world.result() == 2
    assert got == [{"id": 7}, {"id": 7}]
    assert world.started == ["ship", "ship-backoff-1", "ship"]


@pytest.mark.covers("workflow.mode")
def test_an_inline_workflow_is_part_of_this_execution() -> None:
    world = World(
        "states: [{name: ship, type: workflow, workflow: shipping, mode: inline}]",
        inline={"shipping": "states: [{name: pack, type: invoke, function: f}]"},
        targets={"f": lambda _: "packed"},
    )
    assert world.result() == "packed"
    assert world.started == ["ship", "pack"]


# Time-outs and retries of what holds states.

SLEEPS = "[{name: w, type: wait, duration: 600}]"
HOLDS = {
    "choice": f"type: choice, choices: [{{when: true, states: {SLEEPS}}}]",
    "block": f"type: block, states: {SLEEPS}",
    "loop": f"type: loop, max_iterations: 2, states: {SLEEPS}",
    "parallel": f"type: parallel, branches: {{left: {SLEEPS}}}",
    "map": f"type: map, items: '[1]', states: {SLEEPS}",
    "inline": "type: workflow, workflow: sleep, mode: inline",
}
INLINE = {"sleep": f"states: {SLEEPS}", "work": "states: [{name: inner, type: invoke, function: f}]"}


@pytest.mark.covers(
    "choice.timeout", "block.timeout", "loop.timeout", "parallel.timeout", "map.timeout", "workflow.timeout"
)
@pytest.mark.parametrize("kind", HOLDS)
def test_what_holds_states_times_out(kind: str) -> None:
    world = World(
        f"states: [{{name: s, {HOLDS[kind]}, timeout: 60, catch: [{{output: '{{{{ error.name }}}}'}}]}}]", inline=INLINE
    )
    began = world.service.now
    assert world.result() == "States.Timeout"
    assert world.service.now - began == 60_000


@pytest.mark.covers("invoke.timeout")
def test_an_invoke_that_answers_in_time_is_not_timed_out() -> None:
    world = World("states: [{name: a, type: invoke, function: f, timeout: 60}]", targets={"f": lambda _: 1})
    assert world.result() == 1
    assert sorted(world.started) == ["a", "a-timeout"]


@pytest.mark.covers("file.timeout")
def test_a_workflow_times_out_and_its_catch_sees_it() -> None:
    world = World(f"timeout: 60\nstates: {SLEEPS}\ncatch: [{{output: '{{{{ error.name }}}}'}}]")
    assert world.result() == "States.Timeout"


WORKS = "[{name: inner, type: invoke, function: f}]"
TRIES = {
    "choice": f"type: choice, choices: [{{when: true, states: {WORKS}}}]",
    "block": f"type: block, states: {WORKS}",
    "loop": f"type: loop, max_iterations: 1, states: {WORKS}",
    "parallel": f"type: parallel, branches: {{left: {WORKS}}}",
    "map": f"type: map, items: '[1]', states: {WORKS}",
    "inline": "type: workflow, workflow: work, mode: inline",
}


@pytest.mark.covers("choice.retry", "block.retry", "loop.retry", "parallel.retry", "map.retry")
@pytest.mark.parametrize("kind", TRIES)
def test_what_holds_states_is_tried_again(kind: str) -> None:
    world = World(
        f"states: [{{name: s, {TRIES[kind]}, retry: [{{max_attempts: 2}}]}}]", inline=INLINE, targets={"f": failing(1)}
    )
    assert world.result() == {"parallel": {"left": 2}, "map": [2]}.get(kind, 2)
    assert "s-backoff-1" in world.started


# At the end: finally, compensation.


@pytest.mark.covers("file.finally", "block.finally")
@pytest.mark.parametrize("function", ["good", "bad"])
def test_finally_runs_once_whatever_happened(function: str) -> None:
    done: list[Any] = []
    world = World(
        f"""
        states:
          - name: b
            type: block
            states: [{{name: a, type: invoke, function: {function}}}]
            finally: [{{name: x, type: invoke, function: note, payload: "{{{{ error.name if error else 'fine' }}}}"}}]
        finally: [{{name: z, type: invoke, function: note, payload: last}}]
        """,
        targets={"good": lambda _: 1, "bad": broken, "note": done.append},
    )
    world.run()
    assert done == ["fine" if function == "good" else "Boom", "last"]


@pytest.mark.covers("state.compensate")
def test_what_was_completed_is_undone_backwards() -> None:
    undone: list[Any] = []
    world = World(
        """
        states:
          - {name: a, type: invoke, function: f, compensate: [{name: u, type: invoke, function: undo, payload: a}]}
          - {name: b, type: invoke, function: f, compensate: [{name: v, type: invoke, function: undo, payload: b}]}
          - {name: c, type: invoke, function: bad}
        """,
        targets={"f": lambda _: 1, "bad": broken, "undo": undone.append},
    )
    assert world.error()[0] == "Boom"
    assert undone == ["b", "a"]


@pytest.mark.covers("compensation.on_error", "file.compensation", "block.compensation")
@pytest.mark.parametrize(
    ("on_error", "name", "undone"), [("continue", "Boom", ["a"]), ("fail", "States.CompensationFailed", [])]
)
@pytest.mark.parametrize("scope", ["file", "block"])
def test_a_compensation_that_fails_stops_the_others_or_does_not(
    scope: str, on_error: str, name: str, undone: list[str]
) -> None:
    done: list[Any] = []
    states = """[
        {name: a, type: invoke, function: f, compensate: [{name: u, type: invoke, function: undo, payload: a}]},
        {name: b, type: invoke, function: f, compensate: [{name: v, type: invoke, function: bad}]},
        {name: c, type: invoke, function: bad}]"""
    text = f"states: {states}\ncompensation: {{on_error: {on_error}}}\n"
    if scope == "block":
        text = f"states: [{{name: s, type: block, compensation: {{on_error: {on_error}}}, states: {states}}}]\n"
    world = World(text, targets={"f": lambda _: 1, "bad": broken, "undo": done.append})
    assert world.error()[0] == name
    assert done == undone


@pytest.mark.covers("block.context")
def test_a_block_with_a_context_keeps_a_copy_of_the_variables() -> None:
    text = """
        vars: {n: 1}
        states: [{name: b, type: block, context: %s, states: [{name: a, type: pass, assign: {n: 2}}]}]
        output: "{{ vars.n }}"
        """
    copied, shared = World(text % "true"), World(text % "false")
    assert (copied.result(), copied.started) == (1, ["b"])
    assert (shared.result(), shared.started) == (2, [])


@pytest.mark.covers("state.renamed_from")
def test_a_renamed_state_finds_its_record() -> None:
    before = World(
        "states: [{name: charge, type: invoke, function: f}, {name: w, type: wait, duration: 9}]",
        targets={"f": lambda _: 7},
    )
    before.run()
    text = "states: [{name: pay, type: invoke, function: f%s}, {name: w, type: wait, duration: 9}]\noutput: '{{ states.pay.result }}'"
    recorded = list(before.service.operations.values())
    assert Run(World(text % ", renamed_from: [charge]").plan).advance(recorded).outcome == Succeeded("7")
    other = Run(World(text % "").plan).advance(recorded).outcome
    assert isinstance(other, Failed)
    assert other.mismatch is not None


# Many at once: map, parallel.


@pytest.mark.covers("map.type", "map.items", "map.states", "map.item_name")
def test_a_map_runs_its_states_for_each_item() -> None:
    world = World(
        "states: [{name: m, type: map, items: input, item_name: 'no {{ item }}', nesting: nested, "
        "states: [{name: a, type: invoke, function: f, payload: '{{ [index, item] }}'}]}]",
        input=[5, 6],
        targets={"f": lambda payload: payload},
    )
    assert world.result() == [[0, 5], [1, 6]]
    assert {"no 5", "no 6"} < set(world.started)


@pytest.mark.covers("map.batch_size")
def test_a_map_groups_its_items() -> None:
    world = World(
        "states: [{name: m, type: map, items: '[1, 2, 3]', batch_size: 2, "
        "states: [{name: a, type: pass, output: '{{ [index, batch] }}'}]}]"
    )
    assert world.result() == [[0, [1, 2]], [1, [3]]]


@pytest.mark.covers("parallel.type", "parallel.branches")
def test_a_parallel_gives_an_object_by_branch() -> None:
    world = World(
        "states: [{name: p, type: parallel, branches: {left: [{name: a, type: pass, output: 1}], right: [{name: b, type: pass, output: 2}]}}]"
    )
    assert world.result() == {"left": 1, "right": 2}


_BRANCHES = ", ".join(
    f"b{n}: [{{name: a{n}, type: invoke, function: '{{{{ input[{n}] }}}}', allow: ['*']}}]" for n in range(4)
)
FANNED = {
    "map": "type: map, items: '[0, 1, 2, 3]', states: [{name: a, type: invoke, function: '{{ input[index] }}', allow: ['*']}]",
    "parallel": f"type: parallel, branches: {{{_BRANCHES}}}",
}


def fanned(kind: str, fields: str, *functions: str) -> World:
    return World(
        f"states: [{{name: s, {FANNED[kind]}, {fields}, catch: [{{output: '{{{{ error.name }}}}'}}]}}]\n"
        "output: {status: '{{ states.s.status }}', error: '{{ states.s.error.name if states.s.error else none }}'}",
        input=list(functions),
        targets={"good": lambda _: 1, "bad": broken},
    )


@pytest.mark.covers("map.max_concurrency", "parallel.max_concurrency")
@pytest.mark.parametrize("kind", FANNED)
def test_no_more_are_started_than_may_run_at_a_time(kind: str) -> None:
    world = fanned(kind, "max_concurrency: 2", "good", "good", "good", "good")
    world.run()
    begun = [sum(u["Type"] == "CHAINED_INVOKE" for u in request["Updates"]) for request in world.service.requests]
    assert (max(begun), sum(begun)) == (2, 4)


@pytest.mark.covers("map.nesting", "parallel.nesting")
@pytest.mark.parametrize("kind", FANNED)
def test_each_slot_has_a_context_of_its_own_or_not(kind: str) -> None:
    made = [fanned(kind, f"nesting: {nesting}", *["good"] * 4) for nesting in ("flat", "nested")]
    for world in made:
        world.run()
    assert [world.operations for world in made] == [1 + 4, 1 + 4 + 4]


@pytest.mark.covers("map.completion", "parallel.completion")
@pytest.mark.parametrize("kind", FANNED)
def test_without_completion_the_first_failure_decides(kind: str) -> None:
    assert fanned(kind, "when: true", "good", "bad", "good", "good").result() == {"status": "caught", "error": "Boom"}
    tolerant = fanned(kind, "completion: {tolerated_failure_count: 4}", "good", "bad", "good", "good")
    assert tolerant.result() == {"status": "succeeded", "error": None}


@pytest.mark.covers(
    "completion.min_successful", "completion.tolerated_failure_count", "completion.tolerated_failure_percentage"
)
@pytest.mark.parametrize("kind", FANNED)
@pytest.mark.parametrize(
    ("completion", "functions", "fails"),
    [
        ("tolerated_failure_count: 1", "good bad good good", False),
        ("tolerated_failure_count: 1", "good bad bad good", True),
        ("tolerated_failure_percentage: 50", "good bad bad good", False),
        ("tolerated_failure_percentage: 49", "good bad bad good", True),
        ("min_successful: 2", "good bad bad good", False),
        ("min_successful: 3", "good bad bad good", True),
    ],
)
def test_what_decides_a_map_or_parallel(kind: str, completion: str, functions: str, *, fails: bool) -> None:
    result = fanned(kind, f"completion: {{{completion}}}", *functions.split()).result()
    name = "States.ExceedToleratedFailureThreshold"
    assert result == ({"status": "caught", "error": name} if fails else {"status": "succeeded", "error": None})
