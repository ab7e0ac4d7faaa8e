"""What holds of every workflow: crashes, prefixes, and one invocation or many make no difference."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World

from durableflow.decision import Call, Failed, Succeeded
from durableflow.errors import Fault
from durableflow.interpreter import decide
from durableflow.operations import operation_id

RETRY = {"retry": [{"max_attempts": 3, "interval": 1, "jitter": "none"}]}


@st.composite
def state_lists(draw: st.DrawFn, depth: int = 2) -> list[dict[str, Any]]:
    """States of every type that makes operations or decides, named later."""
    kinds = ["step", "invoke", "wait", "pass", "fail"] + (["block", "choice", "loop"] if depth else [])
    made: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(kinds))
        state: dict[str, Any] = {"type": kind}
        match kind:
            case "step":
                state |= {"handler": "m:f", "payload": {"n": "{{ vars.n }}"}, "assign": {"n": "{{ vars.n + 1 }}"}}
                state |= draw(st.sampled_from([{}, RETRY]))
            case "invoke":
                state |= {"function": "f", "payload": {"n": "{{ vars.n }}"}, "assign": {"n": "{{ result.n + 1 }}"}}
                state |= draw(st.sampled_from([{}, RETRY]))
            case "wait":
                state["duration"] = draw(st.integers(0, 2))
            case "pass":
                state |= {"output": "{{ context.now }}", "when": "vars.n % 2 == 0"}
            case "fail":
                state |= {"error": "Planned", "when": "vars.n % 3 == 2"}
            case "choice":
                arm = {"when": "vars.n % 2 == 0", "states": draw(state_lists(depth=depth - 1))}
                state |= {"choices": [arm], "default": draw(state_lists(depth=depth - 1))}
            case "loop":
                state |= {"max_iterations": draw(st.integers(1, 3)), "on_limit": "continue"}
                state |= {"while": "vars.n < 9", "states": draw(state_lists(depth=depth - 1))}
                state |= draw(st.sampled_from([{}, {"delay": 1}]))
            case _:
                state["states"] = draw(state_lists(depth=depth - 1))
        if draw(st.booleans()):
            state["catch"] = [{"assign": {"n": "{{ vars.n + 10 }}"}, "output": "{{ error.name }}"}]
        made.append(state)
    return made


def named(states: list[dict[str, Any]], counter: Counter[str]) -> list[dict[str, Any]]:
    for state in states:
        counter[state["type"]] += 1
        state["name"] = f"{state['type']}{counter[state['type']]}"
        for inner in (state.get("states"), state.get("default"), *(a["states"] for a in state.get("choices", []))):
            named(inner or [], counter)
    return states


@st.composite
def worlds(draw: st.DrawFn) -> World:
    states = named(draw(state_lists()), Counter())
    workflow = {"durableflow": "1", "name": "demo", "vars": {"n": 0}, "states": states, "output": "{{ vars.n }}"}
    failing = draw(st.sets(st.integers(0, 6)))

    def step(call: Call) -> Any:
        if call.attempt == 1 and call.payload["n"] in failing:  # type: ignore[call-overload, index]
            raise Fault("Boom", "first attempt")
        return {"n": call.attempt}

    seen: Counter[int] = Counter()

    def function(payload: Any) -> Any:
        seen[payload["n"]] += 1
        if payload["n"] in failing and seen[payload["n"]] == 1:
            raise Fault("Bang", "first call")
        return payload

    return World(json.dumps(workflow), handlers={"m:f": step}, targets={"f": function})


class Crash(BaseException):
    """The process is gone."""


def run_with_crashes(world: World, crash_at: int, *, after: bool) -> dict[str, Any]:
    """Run to the end; the process dies once, before or after its n-th checkpoint is applied."""

    def crash(number: int, *_: Any) -> None:
        if number == crash_at and crashed.is_first():
            raise Crash

    crashed = Once()
    if after:
        world.service.after_checkpoint = crash
    else:
        world.service.before_checkpoint = crash

    def handler(event: dict[str, Any]) -> dict[str, Any]:
        try:
            return world.invoke(event)
        except Crash:
            return world.invoke(world.service.event())

    return world.service.run(handler)


class Once:
    def __init__(self) -> None:
        self.done = False

    def is_first(self) -> bool:
        first, self.done = not self.done, True
        return first


def shape(world: World) -> list[tuple[Any, ...]]:
    return sorted((o["Id"], o["Type"], o["Status"], o.get("Name")) for o in world.service.operations.values())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_crash_at_any_checkpoint_ends_in_the_same_outcome(data: st.DataObject) -> None:
    world = data.draw(worlds())
    fresh = World(world.text, handlers=world.handlers, targets=world.targets)
    expected = run_with_crashes(world, 0, after=False)
    checkpoints = len(world.service.requests)
    if not checkpoints:
        return
    # Functions remember what they were called with, so each world needs a function of its own.
    at = data.draw(st.integers(1, checkpoints), label="crash at")
    after = data.draw(st.booleans(), label="after it is applied")
    fresh.service.targets = {"f": replayed(world)}
    assert run_with_crashes(fresh, at, after=after) == expected
    assert shape(fresh) == shape(world)
    starts = Counter(u["Id"] for u in fresh.service.updates if u["Type"] == "CHAINED_INVOKE")
    assert all(count == 1 for count in starts.values())


def replayed(world: World) -> Any:
    """A function that answers as it answered in another world, call by call."""
    answers = [o["ChainedInvokeDetails"] for o in world.service.operations.values() if o["Type"] == "CHAINED_INVOKE"]
    left = list(answers)

    def function(_: Any) -> Any:
        answer = left.pop(0)
        if "Error" in answer:
            raise Fault(answer["Error"]["ErrorType"], answer["Error"]["ErrorMessage"])
        return json.loads(answer["Result"])

    return function


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_replaying_a_closed_record_asks_for_nothing_and_gives_the_same_outcome(data: st.DataObject) -> None:
    world = data.draw(worlds())
    output = world.run()
    decision = decide(world.plan, world.service.operations.values())
    assert decision.updates == ()
    assert decision.calls == ()
    match decision.outcome:
        case Succeeded(result):
            assert output == {"Status": "SUCCEEDED", "Result": result}
        case Failed(error=error, mismatch=mismatch):
            assert mismatch is None
            assert output == {"Status": "FAILED", "Error": error}
        case other:
            raise AssertionError(other)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_replaying_any_prefix_repeats_no_update_and_no_id(data: st.DataObject) -> None:
    world = data.draw(worlds())
    world.run()
    operations = list(world.service.operations.values())
    prefix = operations[: data.draw(st.integers(1, len(operations)))]
    known = {operation["Id"] for operation in prefix}
    decision = decide(world.plan, prefix)
    asked = [update["Id"] for update in decision.updates if update["Type"] != "EXECUTION"]
    assert not known.intersection(asked)
    assert len(asked) == len(set(asked))
    assert all(operation_id("") != key for key in asked)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_same_inputs_give_the_same_bytes(data: st.DataObject) -> None:
    world = data.draw(worlds())
    world.run()
    operations = list(world.service.operations.values())
    prefix = operations[: data.draw(st.integers(1, len(operations)))]
    assert repr(decide(world.plan, prefix)) == repr(decide(world.plan, list(prefix)))
