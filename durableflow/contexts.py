"""What is on record of a scope: its CONTEXT operation.

A context stores its result, or it is completed with ReplayChildren and its states are walked again: where the result is
too large, and where something in it must stay visible or may have to be undone.

Source: language.md 12, rules 31, 45, 61, 63, 67, 71, 79; protocol.md 5.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durableflow import faults, values
from durableflow import operations as wire
from durableflow.frontier import CONTEXT, Parked
from durableflow.operations import TERMINAL
from durableflow.scope import NULL, Lazy, Mode, stored_text

if TYPE_CHECKING:
    from durableflow.errors import Fault
    from durableflow.frontier import Frontier, Steps
    from durableflow.operations import ContextDetails, Operation, Update
    from durableflow.plan import Node
    from durableflow.scope import Scope


class Context:
    """The CONTEXT operation of one attempt of a state, of an item or of a branch; made to be :meth:`entered`."""

    __slots__ = ("_frontier", "_kinds", "_name", "_operation", "_scope", "key")

    def __init__(
        self,
        frontier: Frontier,
        node: Node,
        name: str,
        path: str,
        scope: Scope,
        *,
        subtype: str = CONTEXT[1],
        is_replayed: bool = False,
    ) -> None:
        """Come to the context, and start it if it is not there.

        Args:
            frontier: what is recorded.
            node: the state.
            name: its Name.
            path: its path.
            scope: the scope around it.
            subtype: what it is a context of.
            is_replayed: whether its states must be walked again once it has finished (rule 31).

        Raises:
            ReplayError: something else than the Plan has there, or its result alone where its states are needed.
        """
        self._frontier = frontier
        self._kinds = (CONTEXT[0], subtype)
        self._name = name
        self._scope = scope
        self.key = frontier.key(path)
        self._operation: Operation | None = frontier.recorded(self.key, self._kinds, name, node, path, scope)
        if self._operation is None:
            frontier.update(self.key, self._kinds, "START", name, scope)
            frontier.see_start(self.key, path)
        else:
            frontier.see(self.key, path, self._operation)
            if self.is_answered:
                if is_replayed:
                    raise frontier.not_replayable(self._operation, node)
                frontier.hides()

    def entered(self) -> Steps[Context]:
        """Return it; one that was not there begins only when what is recorded has been come past (rule 48)."""
        if self._operation is None:
            yield from self._frontier.settled()
        return self

    @property
    def _details(self) -> ContextDetails:
        return self._operation.get("ContextDetails", {}) if self._operation else {}

    @property
    def is_finished(self) -> bool:
        """Whether it has been closed; in a scope that was cut off, whether it had been by then."""
        operation = self._operation
        if operation is None or operation["Status"] not in TERMINAL:
            return False
        return self._scope.mode is not Mode.FROZEN or not self._frontier.was_open(self.key, self._scope)

    @property
    def is_answered(self) -> bool:
        """Whether its result is on record and its states are not to be walked."""
        return self.is_finished and not self._details.get("ReplayChildren")

    def within(self, scope: Scope) -> Scope:
        """Return a scope inside the context, in the mode that the context has it in."""
        if self.is_finished:
            return scope.in_mode(Mode.CLOSED)
        return scope.in_mode(self._scope.mode, self._scope.open_ids)

    def payload(self) -> str:
        """Return what is stored: of its result, or of how it is to be replayed."""
        return self._details.get("Result", "")

    def result(self) -> Lazy:
        """Return the stored result.

        Raises:
            Fault: it has failed.
        """
        if self._operation and self._operation["Status"] != "SUCCEEDED":
            raise faults.context_fault(self._details.get("Error"))
        text = self.payload()
        return Lazy(text=text) if text else NULL

    def succeed(self, result: Lazy) -> None:
        """Close it with a result; one that is too large is replayed instead (rule 45)."""
        if self.is_finished:
            return
        text = stored_text(result.get())
        if values.size_bytes(text) > wire.CONTEXT_RESULT_MAX_BYTES:
            self.replay()
        else:
            self.succeed_with(text)

    def succeed_with(self, payload: str) -> None:
        """Close it with what is to be stored."""
        if not self.is_finished:
            self._close("SUCCEED")["Payload"] = payload

    def fail(self, fault: Fault) -> Fault:
        """Close it with a fault; return the fault as a replay will see it."""
        error = faults.context_error(fault)
        if not self.is_finished:
            self._close("FAIL")["Error"] = error
        return faults.context_fault(error)

    def replay(self, payload: str = "") -> None:
        """Close it so that its states are walked again, whether it has succeeded or failed (rule 61)."""
        if self.is_finished:
            return
        update = self._close("SUCCEED")
        update["ContextOptions"] = {"ReplayChildren": True}
        if payload:
            update["Payload"] = payload

    def _close(self, action: wire.OperationAction) -> Update:
        if self._scope.mode is Mode.FROZEN:
            raise Parked
        self._frontier.hides()
        return self._frontier.update(self.key, self._kinds, action, self._name, self._scope)
