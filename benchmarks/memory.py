"""Interpreter and ledger joined in memory: whole executions without a file, a thread, a socket or a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import worlds

from durableflow.decision import Completion
from durableflow.driver import run_invocation
from durableflow.ledger import Ledger, StartTarget, Target, settle

if TYPE_CHECKING:
    from durableflow.decision import Call
    from durableflow.ledger import Changes
    from durableflow.operations import Operation
    from durableflow.plan import Plan


class Service:
    """One execution's record behind the two methods of the API; what chained invokes start ends between invocations."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.operations["7f3a"] = worlds.execution()
        self.states: list[list[Operation]] = []
        """The recorded state that each invocation began with."""
        self._token = 0
        self._started: list[str] = []
        self._ledger = Ledger(
            now=worlds.START,
            lookup=self.operations.get,
            new_callback_id=str,
            resolve=lambda _: Target(name=worlds.FUNCTION, version="$LATEST"),
        )

    def checkpoint_durable_execution(self, **members: Any) -> dict[str, Any]:
        """Apply updates and answer with what changed."""
        changes = self._ledger.apply(members["Updates"])
        self._token += 1
        self._keep(changes)
        self._started += [effect.operation_id for effect in changes.effects if isinstance(effect, StartTarget)]
        changed = [_replied(operation) for operation in changes.operations]
        return {"CheckpointToken": f"token-{self._token}", "NewExecutionState": {"Operations": changed}}

    def get_durable_execution_state(self, **_: Any) -> dict[str, Any]:
        """Refuse: events are whole here."""
        raise AssertionError("there is one page")

    def _keep(self, changes: Changes) -> None:
        for operation in changes.operations:
            self.operations[operation["Id"]] = operation

    def _end_targets(self) -> None:
        started, self._started = self._started, []
        for key in started:
            changes = settle(self.operations[key], "success", now=worlds.START, result=worlds.result(worlds.SMALL))
            assert changes is not None
            self._keep(changes)

    def run(self, plan: Plan) -> None:
        """Invoke until the execution ends; it must succeed."""
        status: object = "PENDING"
        while status == "PENDING":
            self._end_targets()
            self.states.append(list(self.operations.values()))
            event = worlds.event(self.states[-1], f"token-{self._token}")
            output = run_invocation(event, plan=plan, service=self, worker=Worker(), clock_ms=lambda: worlds.START)
            status = output["Status"]
        assert status == "SUCCEEDED", output


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
