"""What is recorded, what has been come past, and who waits for what?

The mechanics under the interpreter, free of any construct. Branches are Python generators: what one yields is the key
of what it waits for, the id of an operation or :data:`ANSWERED`. Whoever learns of a change resumes just the branches
that wait for it, in the order in which they began to wait, so N changes cost O(N) and the order of decisions does not
depend on threads.

Two checks fail closed (language.md 8): an operation must be what the Plan has at its path, and before anything new is
started no recorded operation may be left unvisited.

Source: language.md 8 and 12, rules 47, 48; protocol.md 2, 4.1, 6.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from durableflow.decision import Visit
from durableflow.errors import ReplayError, ServiceError, diagnostic
from durableflow.operations import operation_id
from durableflow.plan import walk
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from durableflow.decision import Call, Completion
    from durableflow.operations import Operation, OperationAction, OperationType, Update
    from durableflow.plan import Node, Plan
    from durableflow.values import Object

_T = TypeVar("_T")

Steps: TypeAlias = "Generator[str, None, _T]"
"""A part of a branch that gives a value: what it yields is the key of what the branch waits for."""
Kinds: TypeAlias = "tuple[OperationType, str]"
"""Type and subtype of an operation."""

ANSWERED: Final = ""
"""The key of a branch that waits until every update made so far has been answered; no operation has this id."""

INVOKE: Final[Kinds] = ("CHAINED_INVOKE", "ChainedInvoke")
STEP: Final[Kinds] = ("STEP", "Step")
WAIT: Final[Kinds] = ("WAIT", "Wait")

_SPAN_STATUS: Final = {
    "SUCCEEDED": "replayed_succeeded",
    "FAILED": "replayed_failed",
    "STOPPED": "replayed_stopped",
    "CANCELLED": "replayed_terminal",
    "TIMED_OUT": "replayed_terminal",
}
# How the seed's message names the types (protocol.md 4.1, row 1).
_TYPE_WORDS: Final = {
    "EXECUTION": "Execution",
    "CONTEXT": "Context",
    "STEP": "Step",
    "WAIT": "Wait",
    "CALLBACK": "Callback",
    "CHAINED_INVOKE": "Invoke",
}
_HELPERS: Final = (":backoff", ":timeout")
_ITERATION_END: Final = re.compile(r"\}/")
_HINT: Final = (
    "run it on the definition it began with, or undo the change: started states keep their name, type and place"
)


class Frontier:
    """The record of one execution as one invocation walks along it.

    Args:
        plan: what runs; for names and places in messages.
        visited: called with each Visit, or None.
    """

    def __init__(self, plan: Plan, visited: Callable[[Visit], None] | None) -> None:
        self.operations: dict[str, Operation] = {}
        self.updates: list[Update] = []
        self.calls: list[Call] = []
        self.is_unanswered = False
        """Whether updates have been made whose answer has not been seen."""
        self._plan = plan
        self._visited = visited
        self.key: Callable[[str], str] = plan.operation_ids.__getitem__
        """The id of the operation at a path."""
        self._unvisited: set[str] = set()
        self._paths: list[str] = []
        self._started: set[str] = set()
        self._completions: dict[str, Completion] = {}
        self._running: set[str] = set()
        self._ready: deque[Steps[None]] = deque()
        self._blocked: dict[str, list[Steps[None]]] = {}

    # What changed ----------------------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether the recorded state has been taken in."""
        return bool(self.operations)

    @property
    def is_replaying(self) -> bool:
        """Whether recorded operations are still to be come past."""
        return bool(self._unvisited)

    def begin(self, operations: Iterable[Operation]) -> Operation:
        """Take in the whole recorded state; return its EXECUTION operation.

        Raises:
            ValueError: there is none.
        """
        known = self.operations = {operation["Id"]: operation for operation in operations}
        execution = next((o for o in known.values() if o["Type"] == "EXECUTION"), None)
        if execution is None:
            raise ValueError("the recorded state has no EXECUTION operation")
        self._unvisited.update(known)
        self._unvisited.discard(execution["Id"])
        return execution

    def answered(self, operations: Iterable[Operation], completions: Iterable[Completion]) -> None:
        """Take in what changed after every update so far has been answered."""
        self.updates = []
        self.calls = []
        self.is_unanswered = False
        for operation in operations:
            key = operation["Id"]
            if key not in self.operations and key not in self._started:
                self._unvisited.add(key)
            self.operations[key] = operation
            self._resume(key)
        for completion in completions:
            key = completion.operation_id
            self._running.discard(key)
            self._completions[key] = completion
            self._resume(key)
        self._resume(ANSWERED)

    # Branches --------------------------------------------------------------------------------------------------------

    def spawn(self, branch: Steps[None]) -> None:
        """Make a branch ready to run."""
        self._ready.append(branch)

    def _resume(self, key: str) -> None:
        branches = self._blocked.pop(key, None)
        if branches:
            self._ready.extend(branches)

    def run(self) -> None:
        """Run every branch until all of them wait."""
        while self._ready:
            branch = self._ready.popleft()
            key = next(branch, None)
            if key is not None:
                self._blocked.setdefault(key, []).append(branch)

    def is_suspended(self) -> bool:
        """Say whether nothing can go on before the service completes something.

        Raises:
            ServiceError: a branch waits for an operation that the service accepted and does not show.
        """
        if self.updates or self.calls or self._running:
            return False
        if not self._blocked.keys() <= self.operations.keys():
            raise incomplete_reply()
        return True

    def answers(self) -> Steps[None]:
        """Wait until everything asked for so far has been recorded."""
        while self.is_unanswered:
            yield ANSWERED

    # Operations ------------------------------------------------------------------------------------------------------

    def recorded(self, key: str, kinds: Kinds, name: str, node: Node, path: str) -> Operation | None:
        """Come past an operation: return what is recorded under its id, or None.

        Raises:
            ReplayError: something else than the Plan has there (rule 47).
        """
        self._paths.append(path)
        operation = self.operations.get(key)
        if operation is None:
            return None
        self._unvisited.discard(key)
        if operation["Type"] != kinds[0] or operation.get("SubType") != kinds[1] or operation.get("Name") != name:
            if self._visited:
                self._visited(Visit(operation_id=key, path=path, span_status="non_deterministic", is_tracked=False))
            raise self._not_that(operation, kinds, name, node)
        return operation

    def see(self, key: str, path: str, operation: Operation) -> None:
        """Report what was found at an operation."""
        if self._visited:
            status = _SPAN_STATUS.get(operation["Status"])
            # An operation of this invocation's own is no replay, whatever has become of it (protocol.md 4.4).
            is_tracked = status is not None and key not in self._started
            span_status = status or "suspended"
            self._visited(Visit(operation_id=key, path=path, span_status=span_status, is_tracked=is_tracked))

    def update(self, key: str, kinds: Kinds, action: OperationAction, name: str, parent_id: str | None) -> Update:
        """Ask for a change; return the update, to be filled in.

        An update to a recorded operation repeats its recorded parent (rule 47), else `parent_id` is the parent.
        """
        operation = self.operations.get(key)
        if operation is not None:
            parent_id = operation.get("ParentId")
        update: Update = {"Id": key, "Name": name, "Type": kinds[0], "SubType": kinds[1], "Action": action}
        if parent_id is not None:
            update["ParentId"] = parent_id
        self.updates.append(update)
        self._started.add(key)
        self.is_unanswered = True
        return update

    def see_start(self, key: str, path: str) -> None:
        """Report that an operation is to be started."""
        if self._visited:
            self._visited(Visit(operation_id=key, path=path, span_status="started", is_tracked=False))

    def has_started(self, key: str) -> bool:
        """Say whether this invocation has asked for a change of an operation."""
        return key in self._started

    def call(self, call: Call) -> Steps[Completion]:
        """Have a call made and wait for its end."""
        key = call.operation_id
        self.calls.append(call)
        self._running.add(key)
        while (completion := self._completions.pop(key, None)) is None:
            yield key
        return completion

    # Record and Plan disagree ----------------------------------------------------------------------------------------

    def _not_that(self, operation: Operation, kinds: Kinds, name: str, node: Node) -> ReplayError:
        expected: Object = {"state": node.name, "type": kinds[0], "subType": kinds[1], "name": name}
        recorded = _identity(operation)
        if kinds == INVOKE and operation["Type"] != kinds[0]:
            word = _TYPE_WORDS[operation["Type"]]
            message = f"Expected Invoke operation but found {word} at operation_id {operation['Id']}"
        else:
            message = (
                f"state '{node.name}': the workflow has {_described(expected)} where the record has"
                f" {_described(recorded)} (operation {operation['Id']})"
            )
        problem = diagnostic("DF503", message, span=self._plan.span(node.at), hint=_HINT)
        return ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=recorded)

    def check_unvisited(self) -> None:
        """Refuse to go on while a recorded operation has not been come past (rule 48); helpers do not count.

        Raises:
            ReplayError: names what is recorded and what the workflow would start instead.
        """
        if not self._unvisited:
            return
        helpers = {operation_id(path) for path in _helper_paths(self._paths)}
        left = [key for key in self.operations if key in self._unvisited and key not in helpers]
        self._unvisited.clear()
        if not left:
            return
        operation = self.operations[left[0]]
        expected = self._about_to_start()
        instead = _described(expected) if expected else "the end of the execution"
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        message = (
            f"the record has {_described(_identity(operation))}{more}, {operation['Status']}, which the workflow does"
            f" not come past before {instead}"
        )
        node = next((n for n in walk(self._plan.states) if expected and n.name == expected["state"]), None)
        problem = diagnostic("DF503", message, span=self._plan.span(node.at) if node else None, hint=_HINT)
        raise ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=_identity(operation))

    def _about_to_start(self) -> Object | None:
        for update in self.updates:
            name = update.get("Name")
            return {"state": name, "type": update["Type"], "subType": update.get("SubType"), "name": name}
        for call in self.calls:
            return {"state": call.node.name, "type": STEP[0], "subType": STEP[1], "name": call.node.name}
        return None


def _helper_paths(paths: Iterable[str]) -> Iterator[str]:
    """Give the paths of the helpers that states at these paths may have had."""
    for path in paths:
        for suffix in _HELPERS:
            yield path + suffix
        for iteration in _ITERATION_END.finditer(path):
            yield f"{path[: iteration.end() - 1]}:delay"


def incomplete_reply() -> ServiceError:
    """Return the error of a reply without what became of an operation; the invocation is to be made again."""
    problem = diagnostic("DF505", "the service accepted an update but does not show what became of its operation")
    return ServiceError(problem, name="IncompleteReply", status=500, is_retryable=True)


def _identity(operation: Operation) -> Object:
    return {
        "type": operation["Type"],
        "subType": operation.get("SubType"),
        "name": operation.get("Name"),
        "status": operation["Status"],
    }


def _described(identity: Object) -> str:
    kind = identity["type"] if identity["subType"] is None else f"{identity['type']}/{identity['subType']}"
    return f"{kind} '{shown(str(identity['name']))}'"
