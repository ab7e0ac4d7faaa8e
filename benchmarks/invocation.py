"""What does one invocation add that finds 100 finished operations and nothing to do? And does it wait for anything?

Wall time beside CPU time: what an invocation waits for shows as the difference.
"""

from __future__ import annotations

import worlds
from measure import figure, in_turn, is_quick

from durableflow.driver import run_invocation

WALL_BAR_MS = 2.0


class NoService:
    """Nothing is recorded, nothing is asked."""

    def checkpoint_durable_execution(self, **_: object) -> worlds.Any:
        raise AssertionError("a replay asks for nothing")

    get_durable_execution_state = checkpoint_durable_execution


class NoWorker:
    """No work is left."""

    def run(self, call: worlds.Any) -> worlds.Any:
        raise AssertionError(call)


def main() -> None:
    is_small = is_quick(__doc__)
    count = 10 if is_small else 100
    for kind in ("invoke", "step"):
        plan = worlds.plan_of(worlds.workflow(count, kind, is_conditional=True))
        event = worlds.event(worlds.operations(count, kind))

        def invoke(plan: worlds.Any = plan, event: worlds.Any = event) -> None:
            output = run_invocation(
                event, plan=plan, service=NoService(), worker=NoWorker(), clock_ms=lambda: worlds.START
            )
            assert output["Status"] == "SUCCEEDED"

        costs = in_turn(3 if is_small else 30, invoke=invoke)["invoke"]
        facts = {"kind": kind, "n": count}
        figure("invocation", "wall", [cost.wall * 1000 for cost in costs], "ms", bar=WALL_BAR_MS, **facts)
        figure("invocation", "CPU", [cost.cpu * 1000 for cost in costs], "ms", **facts)
        figure("invocation", "wall/CPU", [cost.wall / cost.cpu for cost in costs], "ratio", **facts)


if __name__ == "__main__":
    main()
