"""What does it cost to come past N finished operations again?

The interpreter decides from the recorded operations alone; what it takes is compared with what the Lambda runtime has
spent before on reading the same event, `json.loads`. "one expression": every state has a condition that reads the
result of the state before it. "first" is the first invocation of a fresh process, which also derives the operation
ids and compiles the expressions that later invocations in that process find made.
"""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import TYPE_CHECKING

import worlds
from measure import figure, in_turn, is_quick, ratios

from durableflow import plan as plans
from durableflow.decision import Succeeded
from durableflow.interpreter import decide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durableflow.plan import Plan

RATIO_BAR = 3.0
EXPONENT_BAR = 1.1
MEMORY_BAR = 450


def main() -> None:
    is_small = is_quick(__doc__)
    sizes = (10, 100) if is_small else (100, 1_000, 3_000, 10_000)
    for kind in ("invoke", "step"):
        for is_conditional in (True, False):
            plan = worlds.plan_of(worlds.workflow(sizes[-1], kind, is_conditional=is_conditional))
            for size in (worlds.SMALL, worlds.LARGE):
                _replays(plan, kind, size, sizes, is_conditional=is_conditional, rounds=3 if is_small else 9)


def _replays(
    whole: Plan, kind: worlds.Kind, size: int, counts: Iterable[int], *, is_conditional: bool, rounds: int
) -> None:
    facts = {"kind": kind, "result_bytes": size, "expressions": int(is_conditional)}
    cpu: dict[int, list[float]] = {}
    for count in counts:
        text = json.dumps(worlds.operations(count, kind, size))
        plan = _beginning(whole, count)
        state = json.loads(text)
        assert isinstance(decide(plan, state).outcome, Succeeded)
        fresh = [_beginning(whole, count) for _ in range(rounds + 1)]
        costs = in_turn(
            rounds,
            loads=lambda text=text: json.loads(text),
            decide=lambda plan=plan, state=state: decide(plan, state),
            first=lambda fresh=fresh, state=state: decide(fresh.pop(), state),
        )
        cpu[count] = [cost.cpu for cost in costs["decide"]]
        bar = RATIO_BAR if count == 1_000 else None
        figure(
            "replay", "replay/json.loads", ratios(costs["decide"], costs["loads"]), "ratio", bar=bar, n=count, **facts
        )
        figure("replay", "first replay/json.loads", ratios(costs["first"], costs["loads"]), "ratio", n=count, **facts)
        per_operation = [cost * 1e6 / count for cost in cpu[count]]
        figure("replay", "CPU for each operation", per_operation, "us", n=count, **facts)
    least, most = min(max(cpu) // 10, 1_000), max(cpu)
    growth = math.log(most / least)
    exponents = [math.log(more / less) / growth for less, more in zip(cpu[least], cpu[most], strict=True)]
    figure("replay", "growth exponent", exponents, "exponent", bar=EXPONENT_BAR, n=[least, most], **facts)
    memory = _memory_bytes(_beginning(whole, most), json.loads(json.dumps(worlds.operations(most, kind, size))))
    figure("replay", "memory above the event", [memory / most], "B/operation", bar=MEMORY_BAR, n=most, **facts)


def _beginning(plan: Plan, count: int) -> Plan:
    """Return the workflow of a plan's first states, as a new process would load it."""
    states = plans.States.of(plan.states.nodes[:count])
    return plans.from_json(plans.Plan(name=plan.name, states=states).to_json())


def _memory_bytes(plan: Plan, state: list[worlds.Any]) -> int:
    decide(plan, state)
    tracemalloc.start()
    try:
        decide(plan, state)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
