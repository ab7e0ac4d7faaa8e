"""What does a whole execution of N chained invokes cost, interpreter and ledger in memory?

N + 1 invocations, each of which comes past everything before it: quadratic by protocol. The events are handed over as
they are; what the Lambda runtime spends on reading them (`json.loads`) is measured beside it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import memory
import worlds
from measure import figure, in_turn, is_quick, ratios

if TYPE_CHECKING:
    from durableflow.plan import Plan

WALL_BAR_MS = 100.0


def whole(plan: Plan) -> memory.Service:
    service = memory.Service()
    service.run(plan)
    return service


def main() -> None:
    is_small = is_quick(__doc__)
    for count in (10,) if is_small else (10, 100, 300):
        plan = worlds.plan_of(worlds.workflow(count, "invoke"))
        texts = [json.dumps(state) for state in whole(plan).states]
        costs = in_turn(
            3 if is_small else 7,
            whole=lambda plan=plan: whole(plan),
            loads=lambda texts=texts: [json.loads(text) for text in texts],
        )
        bar = WALL_BAR_MS if count == 100 else None
        facts = {"n": count, "invocations": len(texts)}
        figure("chained_invokes", "wall", [cost.wall * 1000 for cost in costs["whole"]], "ms", bar=bar, **facts)
        figure("chained_invokes", "CPU", [cost.cpu * 1000 for cost in costs["whole"]], "ms", **facts)
        figure("chained_invokes", "execution/json.loads", ratios(costs["whole"], costs["loads"]), "ratio", **facts)


if __name__ == "__main__":
    main()
