"""The whole language in small: what each construct does, in memory; each rule of section 12 that can be seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from worlds import World

from durableflow.decision import Failed, Succeeded
from durableflow.driver import Offload
from durableflow.errors import Fault
from durableflow.interpreter import decide
from durableflow.offload import DirectoryStore
from durableflow.operations import operation_id

if TYPE_CHECKING:
    from pathlib import Path


def fails(name: str = "Boom", message: str = "no") -> Any:
    def target(_: Any) -> Any:
        raise Fault(name, message)

    return target


def names(world: World) -> list[str]:
    return [o.get("Name", "") for o in list(world.service.operations.values())[1:]]


def test_map_of_invokes_is_flat() -> None:
    world = World(
        """
        states:
          - name: all
            type: map
            items: input.n
            states: [{name: f, type: invoke, function: f, payload: {i: "{{ index }}", x: "{{ item }}"}}]
        output: {r: "{{ states.all.result }}", s: "{{ states.all.summary }}", f: "{{ states.all.failures }}"}
        """,
        input={"n": [5, 6, 7]},
        targets={"f": lambda p: p["x"] * 10 + p["i"]},
    )
    assert world.result() == {
        "r": [50, 61, 72],
        "s": {"total": 3, "succeeded": 3, "failed": 0, "reason": "ALL_COMPLETED"},
        "f": [],
    }
    assert names(world) == ["all", "all[0]/f", "all[1]/f", "all[2]/f"]


def test_map_nested_and_parallel() -> None:
    world = World(
        """
        states:
          - name: all
            type: map
            items: input
            states:
              - {name: f, type: invoke, function: f, payload: "{{ item }}"}
              - {name: w, type: wait, duration: 5}
              - {name: g, type: invoke, function: f, payload: "{{ states.f.result }}"}
          - name: both
            type: parallel
            branches:
              a: [{name: h, type: invoke, function: f, payload: 1}]
              b: [{name: p, type: pass, output: 3}]
        """,
        input=[1, 2],
        targets={"f": lambda p: p + 1},
    )
    assert world.result() == {"a": 2, "b": 3}
    assert sorted(names(world)) == sorted(
        ["all", "map-item-0", "map-item-1", "f", "f", "w", "w", "g", "g", "both", "both.a/h"]
    )


def test_fail_fast_and_caught() -> None:
    world = World(
        """
        states:
          - name: all
            type: map
            items: "[1, 2, 3]"
            states: [{name: f, type: invoke, function: f, payload: "{{ item }}"}]
            catch: [{output: "{{ error }}"}]
        """,
        targets={"f": lambda p: p if p != 2 else fails()(p)},
    )
    made = world.result()
    assert (made["name"], made["index"], made["state"]) == ("Boom", 1, "f")


def test_tolerated() -> None:
    world = World(
        """
        states:
          - name: all
            type: map
            items: "[1, 2, 3]"
            item_name: "i{{ item }}"
            completion: {tolerated_failure_count: 1}
            states: [{name: f, type: invoke, function: f, payload: "{{ item }}"}]
        output: ["{{ states.all.result }}", "{{ states.all.failures }}", "{{ states.all.summary.failed }}"]
        """,
        targets={"f": lambda p: p if p != 2 else fails()(p)},
    )
    assert world.result() == [
        [1, None, 3],
        [{"index": 1, "item_name": "i2", "error": {"name": "Boom", "message": "no", "data": None}}],
        1,
    ]


def test_timeout_of_invoke_and_block() -> None:
    world = World(
        """
        states:
          - name: b
            type: block
            timeout: 60
            states:
              - {name: f, type: invoke, function: f}
              - {name: w, type: wait, duration: 100}
            catch: [{errors: [States.Timeout], output: "{{ error }}"}]
          - {name: z, type: invoke, function: f}
        output: ["{{ states.b.result }}", "{{ states.z.result }}", "{{ states.f.result }}"]
        """,
        targets={"f": lambda _: 1},
    )
    made = world.result()
    assert made[0]["name"] == "States.Timeout"
    assert made[1:] == [1, 1]
    assert names(world) == ["b", "b-timeout", "f", "w", "b-timeout", "z"]
    assert world.service.operations[operation_id("b")]["Status"] == "SUCCEEDED"


def test_saga() -> None:
    order: list[str] = []

    def target(name: str) -> Any:
        def run(_: Any) -> Any:
            order.append(name)
            if name == "c":
                raise Fault("Bad", "c failed")
            return name

        return run

    world = World(
        """
        states:
          - name: s
            type: block
            states:
              - {name: a, type: invoke, function: a, compensate: [{name: ua, type: invoke, function: ua}]}
              - {name: b, type: invoke, function: b, compensate: [{name: ub, type: invoke, function: ub,
                 payload: "{{ states.b.result }} {{ error.name }}"}]}
              - {name: c, type: invoke, function: c}
            finally: [{name: fin, type: invoke, function: fin}]
            catch: [{output: "{{ [error.name, states.ub.result] }}"}]
        """,
        targets={n: target(n) for n in ["a", "b", "c", "ua", "ub", "fin"]},
    )
    assert world.result() == ["Bad", "ub"]
    assert order == ["a", "b", "c", "ub", "ua", "fin"]


def test_callback_with_submit() -> None:
    sent: list[Any] = []
    world = World(
        """
        states:
          - name: ask
            type: wait_for_callback
            timeout: 1h
            submit: [{name: mail, type: invoke, function: mail, payload: "{{ callback.id }}"}]
            assign: {d: "{{ result }}"}
        output: "{{ vars.d }}"
        """,
        targets={"mail": sent.append},
        answers={"ask": [{"ok": True}]},
    )
    assert world.result() == {"ok": True}
    assert len(sent) == 1
    assert names(world) == ["ask", "ask", "mail"]


def test_callback_times_out_and_fails() -> None:
    text = """
        states: [{name: ask, type: wait_for_callback, timeout: 1h, catch: [{output: "{{ error }}"}]}]
        """
    assert World(text).result()["name"] == "States.Timeout"
    made = World(text, answers={"ask": [Fault("No", "nope", {"a": 1})]}).result()
    assert (made["name"], made["message"], made["data"]) == ("States.CallbackFailed", "nope", {"a": 1, "type": "No"})


def test_condition() -> None:
    left = [{"s": 0}, {"s": 1}, {"s": 2}]
    world = World(
        """
        states:
          - name: done
            type: wait_for_condition
            check: {type: step, handler: "m:f", payload: "{{ previous }}", output: "{{ result.s }}"}
            until: result == 2
            initial: -1
            interval: 10
            output: [ "{{ result }}" ]
        """,
        handlers={"m:f": lambda _: left.pop(0)},
    )
    assert world.result() == [2]
    assert [c.payload for c in world.worker.calls] == [-1, 0, 1]
    assert world.operations == 1


def test_inline_workflow() -> None:
    world = World(
        """
        states:
          - {name: ship, type: workflow, workflow: shipping, mode: inline, payload: {n: 4}}
          - {name: after, type: invoke, function: f, payload: "{{ states.ship.result }}"}
        """,
        inline={
            "shipping": """
                vars: {k: "{{ input.n }}"}
                states: [{name: go, type: invoke, function: f, payload: "{{ vars.k }}"}, {name: w, type: wait, duration: 3}]
                output: "{{ states.go.result * 2 }}"
                """
        },
        targets={"f": lambda p: p + 1},
    )
    assert world.result() == 11
    assert names(world) == ["ship", "go", "w", "after"]


def test_block_retry_rolls_back() -> None:
    calls: list[Any] = []

    def f(payload: Any) -> Any:
        calls.append(payload)
        if len(calls) == 1:
            raise Fault("Once")
        return payload

    world = World(
        """
        vars: {n: 0}
        states:
          - name: s
            type: block
            retry: [{errors: [Once], jitter: none}]
            states:
              - {name: up, type: pass, assign: {n: "{{ vars.n + 1 }}"}}
              - {name: a, type: invoke, function: g, compensate: [{name: ua, type: invoke, function: g}]}
              - {name: b, type: invoke, function: f, payload: "{{ vars.n }}"}
        """,
        targets={"f": f, "g": lambda _: None},
    )
    assert world.result() == 1
    assert calls == [1, 1]
    assert names(world) == ["s", "a", "b", "ua", "s-backoff-1", "s", "a", "b"]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_big_map_with_concurrency(count: int) -> None:
    world = World(
        """
        states:
          - name: all
            type: map
            items: input
            max_concurrency: 7
            states: [{name: f, type: invoke, function: f, payload: "{{ item }}"}]
        """,
        input=list(range(count)),
        targets={"f": lambda p: p},
    )
    assert world.result() == list(range(count))


def test_large_results_are_kept_apart(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    offload = Offload(threshold_bytes=1_000, put=store.put, get=store.get)
    large = "x" * 300_000
    world = World(
        """
        states:
          - {name: big, type: step, handler: "m:f"}
          - {name: w, type: wait, duration: 5}
          - {name: ready, type: wait_for_condition, check: {type: step, handler: "m:g", payload: "{{ previous }}"},
             until: "result[0] == 'x'"}
        output: ["{{ states.big.result | length }}", "{{ states.ready.result | length }}"]
        """,
        handlers={"m:f": lambda _: large, "m:g": lambda call: large if call.payload else "y" * 300_000},
    )
    world.offload = offload
    assert world.result() == [300_000, 300_000]
    results = [o["StepDetails"]["Result"] for o in world.service.operations.values() if o["Type"] == "STEP"]
    assert [result.startswith('{"$offload":{') for result in results] == [True, True]
    assert decide(world.plan, list(world.service.operations.values()), load=store.get).outcome == Succeeded(
        "[300000,300000]"
    )


def test_without_a_store_for_it_a_result_kept_apart_cannot_be_read() -> None:
    world = World(
        "states: [{name: a, type: step, handler: 'm:f'}, {name: w, type: wait, duration: 5}]\noutput: '{{ states.a.result }}'",
        handlers={"m:f": lambda _: 1},
    )
    world.run()
    operations = list(world.service.operations.values())
    step = next(o for o in operations if o["Type"] == "STEP")
    step["StepDetails"] = {**step["StepDetails"], "Result": '{"$offload":{"key":"k","sha256":"00","bytes":1}}'}
    outcome = decide(world.plan, operations).outcome
    assert isinstance(outcome, Failed)
    assert outcome.problem.code == "DF515"


LIMITED = """
    states:
      - name: s
        type: block
        states:
          - {name: a, type: invoke, function: f, compensate: [{name: ua, type: invoke, function: f}]}
          - name: pages
            type: loop
            max_iterations: 100
            states: [{name: x, type: invoke, function: f}]
        finally: [{name: fin, type: invoke, function: f}]
        catch: [{errors: [States.OperationLimitExceeded], output: "{{ error.name }}"}]
    """


def test_rule_76_the_limit_leaves_room_for_what_is_to_be_undone() -> None:
    world = World(LIMITED, targets={"f": lambda _: 1}, operations_max=12)
    assert world.result() == "States.OperationLimitExceeded"
    # The execution itself, half of twelve before the limit, then what was kept.
    assert names(world) == ["a", "x", "x", "x", "x", "ua", "fin"]


def test_rule_76_what_a_finished_context_hides_is_put_on_record() -> None:
    world = World(
        """
        states:
          - {name: part, type: workflow, workflow: w, mode: inline}
          - name: s
            type: block
            states: [{name: a, type: step, handler: "m:f"}, {name: b, type: step, handler: "m:f"}]
            finally: [{name: fin, type: wait, duration: 5}]
            catch: [{errors: [States.OperationLimitExceeded], output: "{{ error.name }}"}]
        """,
        inline={"w": "states: [{name: x, type: step, handler: 'm:f'}, {name: z, type: step, handler: 'm:f'}]"},
        handlers={"m:f": lambda _: 1},
        operations_max=10,
    )
    assert world.result() == "States.OperationLimitExceeded"
    assert names(world) == ["part", "x", "z", "a", "demo", "fin"]


def test_a_retry_that_would_be_one_operation_too_many_is_not_made() -> None:
    def fail(_: Any) -> Any:
        raise Fault("Boom")

    world = World(
        """
        states: [{name: a, type: step, handler: "m:f", retry: [{max_attempts: 100}]}]
        """,
        handlers={"m:f": fail},
        operations_max=12,
    )
    assert world.error()[0] == "States.OperationLimitExceeded"
    assert len(world.worker.calls) == 5
