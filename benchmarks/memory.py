"""Interpreter and ledger joined in memory: whole executions without a file, a thread, a socket or a clock.

What is measured with it is the two halves of the core and the driver between them, nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import worlds

from durableflow.decision import Completion
from durableflow.driver import run_invocation
from durableflow.ledger import Ledger, StartTarget, Target, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.decision import Call
    from durableflow.ledger import Changes
    from durableflow.operations import Operation
    from durableflow.plan import Plan


class MemoryService:
    """One execution behind the two methods of the API; targets end between invocations.

    Args:
        state: the recorded operations to begin with.
    """

    def __init__(self, state: list[Any] | None = None) -> None:
        self.operations: dict[str, Operation] = {item["Id"]: item for item in state or [worlds.execution()]}
        self.calls = 0
        self.updates = 0
        self.bytes = 0
        self.invocations = 0
        self._started: list[StartTarget] = []
        self._ledger = Ledger(
            now=worlds.START,
            lookup=self.operations.get,
            new_callback_id=str,
            resolve=lambda _: Target(name=worlds.FUNCTION, version="$LATEST"),
        )

    def checkpoint_durable_execution(self, *, Updates: Any, **_: Any) -> dict[str, Any]:  # noqa: N803 - the wire's name
        """Apply updates and answer with what changed."""
        changes = self._ledger.apply(Updates)
        self.calls += 1
        self.updates += len(Updates)
        self._started += [effect for effect in changes.effects if isinstance(effect, StartTarget)]
        self._keep(changes)
        changed = [_replied(operation) for operation in changes.operations]
        return {"CheckpointToken": f"token-{self.calls}", "NewExecutionState": {"Operations": changed}}

    def get_durable_execution_state(self, **_: Any) -> dict[str, Any]:
        """Refuse: events are whole here."""
        raise AssertionError("an event was whole and a page was asked for")

    def _keep(self, changes: Changes) -> None:
        self.operations.update((operation["Id"], operation) for operation in changes.operations)

    def end_targets(self) -> None:
        """Let what chained invokes have started succeed."""
        started, self._started = self._started, []
        for target in started:
            operation = self.operations[target.operation_id]
            changes = settle(operation, "success", now=worlds.START, result=worlds.result(worlds.LARGE))
            assert changes is not None
            self._keep(changes)

    def run(self, plan: Plan, decoded: Callable[[dict[str, Any]], Any] = lambda event: event) -> dict[str, Any]:
        """Invoke until the execution ends; return the last answer.

        Args:
            plan: what runs.
            decoded: what the runtime does to an event before the handler sees it.
        """
        while True:
            self.invocations += 1
            event = decoded(worlds.event(list(self.operations.values()), f"token-{self.calls}"))
            answer = run_invocation(event, plan=plan, service=self, worker=Worker(), clock_ms=lambda: worlds.START)
            if answer["Status"] != "PENDING":
                return answer
            self.end_targets()


class CountingService(MemoryService):
    """The same, counting the bytes of the updates; that costs time, so nothing is timed with it."""

    def checkpoint_durable_execution(self, *, Updates: Any, **members: Any) -> dict[str, Any]:  # noqa: N803
        """Count, then apply."""
        self.bytes += len(json.dumps(Updates))
        return super().checkpoint_durable_execution(Updates=Updates, **members)


class Worker:
    """Does nothing, at once."""

    def run(self, call: Call) -> Completion:
        """Complete a call with a small result."""
        return Completion(operation_id=call.operation_id, result={"v": 1}, ended_at=worlds.START)


def _replied(operation: Operation) -> dict[str, Any]:
    """Return an operation as a reply shows it, with times in seconds."""
    shown: dict[str, Any] = dict(operation)
    for member in ("StartTimestamp", "EndTimestamp"):
        if member in shown:
            shown[member] /= 1000
    return shown
