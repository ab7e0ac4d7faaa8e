"""What does a whole execution of N chained invokes cost, interpreter and ledger in memory?

N + 1 invocations, each of which comes past everything before it: quadratic by protocol. The events are handed over as
they are; what the Lambda runtime spends on reading them (`json.loads`) is measured beside it.
"""

from __future__ import annotations

import json

import worlds
from measure import figure, in_turn, is_quick, ratios

from durableflow.driver import run_invocation
from durableflow.ledger import Ledger, Target, settle

WALL_BAR_MS = 100.0


class Memory:
    """One execution's record, and boto3's two methods over it."""

    def __init__(self) -> None:
        self.operations = {operation["Id"]: operation for operation in (worlds.execution(),)}
        self.token = 0

    def checkpoint_durable_execution(self, **members: worlds.Any) -> worlds.Any:
        self.token += 1
        changes = self._ledger().apply(members["Updates"])
        for operation in changes.operations:
            self.operations[operation["Id"]] = operation
        # A reply's times are epoch seconds.
        shown = [{**operation, "StartTimestamp": worlds.START / 1000} for operation in changes.operations]
        return {"CheckpointToken": f"token-{self.token}", "NewExecutionState": {"Operations": shown}}

    def get_durable_execution_state(self, **_: object) -> worlds.Any:
        raise AssertionError("there is one page")

    def _ledger(self) -> Ledger:
        return Ledger(
            now=worlds.START,
            lookup=self.operations.get,
            new_callback_id=lambda key: key,
            resolve=lambda _: Target(name=worlds.FUNCTION, version="$LATEST"),
        )

    def answer(self) -> None:
        """Let the invoke that is open succeed."""
        newest = next(reversed(self.operations.values()))
        changes = settle(newest, "success", now=worlds.START, result=worlds.result(worlds.SMALL))
        assert changes
        self.operations[newest["Id"]] = changes.operations[0]

    def run(self, call: worlds.Any) -> worlds.Any:
        raise AssertionError(call)


def whole(plan: worlds.Any) -> list[worlds.Any]:
    """Run an execution to its end; return the recorded states that its invocations began with."""
    memory, states = Memory(), []
    while True:
        state = list(memory.operations.values())
        states.append(state)
        event = worlds.event(state, f"token-{memory.token}")
        output = run_invocation(event, plan=plan, service=memory, worker=memory, clock_ms=lambda: worlds.START)
        if output["Status"] != "PENDING":
            assert output["Status"] == "SUCCEEDED"
            return states
        memory.answer()


def main() -> None:
    is_small = is_quick(__doc__)
    for count in (10,) if is_small else (10, 100, 300):
        plan = worlds.plan_of(worlds.workflow(count, "invoke"))
        texts = [json.dumps(state) for state in whole(plan)]
        costs = in_turn(
            3 if is_small else 7,
            whole=lambda plan=plan: whole(plan),
            loads=lambda texts=texts: [json.loads(text) for text in texts],
        )
        bar = WALL_BAR_MS if count == 100 else None
        figure("chained_invokes", "wall", [c.wall * 1000 for c in costs["whole"]], "ms", bar=bar, n=count)
        figure("chained_invokes", "execution/json.loads", ratios(costs["whole"], costs["loads"]), "ratio", n=count)


if __name__ == "__main__":
    main()
