"""What does it cost to come past N finished operations again?

The interpreter decides from the recorded operations alone; what it takes is compared with what the Lambda runtime has
spent before on reading the same event, `json.loads`. "one expression": every state has a condition that reads the
result of the state before it. "first" is the first invocation of a fresh process, which also derives the operation
ids and compiles the expressions that later invocations in that process find made. "mixed": half of the operations stand
one after another, the others are in blocks with a timeout, a parallel and a map, which is still open.
"""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
from typing import TYPE_CHECKING, cast

import memory
import worlds
from measure import figure, in_turn, is_quick, ratios

from durableflow import plan as plans
from durableflow.decision import Succeeded
from durableflow.interpreter import decide

if TYPE_CHECKING:
    from durableflow.operations import Operation
    from durableflow.plan import Plan

RATIO_BAR = 3.0
EXPRESSIONS_BAR = 3.5
"""With an expression in every state: 3 is the aim, reached on most machines and in most rounds, but not in all."""
CALLS_BAR = 1.01
EXPONENT_BAR = 1.25
"""Of the time; what is more than 1 of it is memory further away: the calls, which are counted, grow as N does."""
SETTLED = 1_000
"""The number of operations that the bars are about."""


def main() -> None:
    is_small = is_quick(__doc__)
    counts = (10, 100) if is_small else (100, SETTLED, 3_000, 10_000)
    for kind in ("invoke", "step"):
        for is_conditional in (True, False):
            plan = worlds.plan_of(worlds.workflow(counts[-1], kind, is_conditional=is_conditional))
            for size in (worlds.SMALL, worlds.LARGE):
                facts = {"kind": kind, "result_bytes": size, "expressions": int(is_conditional)}
                cpu = {
                    count: _replays(_beginning(plan, count), count, kind, size, 3 if is_small else 7, facts)
                    for count in counts
                }
                _growth(cpu, facts)
                _calls(plan, kind, size, counts, facts)
                _memory(plan, kind, size, facts)
    for size in (worlds.SMALL, worlds.LARGE):
        _mixed(100 if is_small else SETTLED, size, 3 if is_small else 7)


def _mixed(count: int, size: int, rounds: int) -> None:
    """Print what replays cost where every structure is in the mix."""
    plan = worlds.plan_of(worlds.mixed(count))
    service = memory.Service()
    service.run(plan)
    state = [_sized(operation, size) for operation in service.operations.values() if not _is_hidden(operation, service)]
    text = json.dumps(state)
    assert isinstance(decide(plan, state).outcome, Succeeded)
    costs = in_turn(rounds, loads=lambda: json.loads(text), decide=lambda: decide(plan, state))
    facts = {"n": len(state), "kind": "mixed", "result_bytes": size, "expressions": 0}
    bar = RATIO_BAR if count == SETTLED else None
    figure("replay", "replay/json.loads", ratios(costs["decide"], costs["loads"]), "ratio", bar=bar, **facts)


def _is_hidden(operation: Operation, service: memory.Service) -> bool:
    """Say whether the service would not send an operation, since it is inside a context that has its result."""
    while (parent := operation.get("ParentId")) is not None:
        operation = service.operations[parent]
        if operation["Name"] != "all" and not operation.get("ContextDetails", {}).get("ReplayChildren"):
            return True
    return False


def _sized(operation: Operation, size: int) -> Operation:
    """Return an operation with a result of a size; the map as it was before it had ended."""
    made = dict(operation)
    if made.get("Name") == "all":
        made |= {"Status": "STARTED", "ContextDetails": {}}
        made.pop("EndTimestamp", None)
    elif "StepDetails" in made:
        made["StepDetails"] = {"Attempt": 1, "Result": worlds.result(size)}
    return cast("Operation", made)


def _replays(
    plan: Plan, count: int, kind: worlds.Kind, size: int, rounds: int, facts: dict[str, object]
) -> list[float]:
    """Print what replays of so many operations cost; return the CPU seconds of each."""
    text = json.dumps(worlds.operations(count, kind, size))
    state = json.loads(text)
    assert isinstance(decide(plan, state).outcome, Succeeded)
    costs = in_turn(rounds, loads=lambda: json.loads(text), decide=lambda: decide(plan, state))
    bar = (EXPRESSIONS_BAR if facts["expressions"] else RATIO_BAR) if count == SETTLED else None
    figure("replay", "replay/json.loads", ratios(costs["decide"], costs["loads"]), "ratio", bar=bar, n=count, **facts)
    if count == SETTLED:
        fresh = [_beginning(plan, count) for _ in range(rounds + 1)]
        costs |= in_turn(rounds, loads=lambda: json.loads(text), first=lambda: decide(fresh.pop(), state))
        figure("replay", "first replay/json.loads", ratios(costs["first"], costs["loads"]), "ratio", n=count, **facts)
    cpu = [cost.cpu for cost in costs["decide"]]
    figure("replay", "CPU for each operation", [seconds * 1e6 / count for seconds in cpu], "us", n=count, **facts)
    return cpu


def _growth(cpu: dict[int, list[float]], facts: dict[str, object]) -> None:
    """Print the exponent with which the cost grows up to the largest number of operations."""
    most = max(cpu)
    least = most // 10
    exponents = [math.log10(more / less) for less, more in zip(cpu[least], cpu[most], strict=True)]
    bar = EXPONENT_BAR if least == SETTLED else None
    figure("replay", "growth exponent", exponents, "exponent", bar=bar, n=[least, most], **facts)


def _calls(plan: Plan, kind: worlds.Kind, size: int, counts: tuple[int, ...], facts: dict[str, object]) -> None:
    """Print the exponent with which the number of calls grows; it is the same on every machine."""
    least, most = counts[-1] // 10, counts[-1]
    calls = {count: _called(_beginning(plan, count), _operations(count, kind, size)) for count in (least, most)}
    exponent = math.log10(calls[most] / calls[least])
    bar = CALLS_BAR if least == SETTLED else None
    figure("replay", "growth exponent of calls", [exponent], "exponent", bar=bar, n=[least, most], **facts)


def _operations(count: int, kind: worlds.Kind, size: int) -> list[Operation]:
    return cast("list[Operation]", worlds.operations(count, kind, size))


def _called(plan: Plan, state: list[Operation]) -> int:
    """Return how many calls, of Python's functions and of C's, a replay takes."""
    decide(plan, state)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        decide(plan, state)
    finally:
        sys.setprofile(None)
    return calls


def _memory(plan: Plan, kind: worlds.Kind, size: int, facts: dict[str, object]) -> None:
    """Print what a replay holds at its peak, beside the event; the results of invokes are decoded in it."""
    count = len(plan.states.nodes)
    state = json.loads(json.dumps(worlds.operations(count, kind, size)))
    decide(plan, state)
    tracemalloc.start()
    try:
        decide(plan, state)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    figure("replay", "memory above the event", [peak / count], "B/operation", n=count, **facts)


def _beginning(plan: Plan, count: int) -> Plan:
    """Return the workflow of a plan's first states, as a new process would load it."""
    states = plans.States.of(plan.states.nodes[:count])
    return plans.from_json(plans.Plan(name=plan.name, states=states).to_json())


if __name__ == "__main__":
    main()
