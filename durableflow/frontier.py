"""What is recorded, what has been come past, and who waits for what?

The mechanics under the interpreter, free of any construct. Branches are Python generators: what one yields is the key
of what it waits for: the id of an operation, or one of the keys below that are no ids. Whoever learns of a change
resumes just the branches that wait for it, in the order in which they began to wait, so N changes cost O(N) and the
order of decisions does not depend on threads. A branch that waits for branches of its own goes on when nothing else
can, the innermost first: then what it decides on is all that is known.

Two checks fail closed (language.md 8): an operation must be what the Plan has at its path, and before anything new is
started no recorded operation may be left unvisited.

Source: language.md 8 and 12, rules 47, 48, 63, 76, 79; protocol.md 2, 4.1, 6.
"""

from __future__ import annotations

import re
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from durableflow import faults
from durableflow.decision import Visit
from durableflow.errors import Fault, ReplayError, ServiceError, diagnostic
from durableflow.operations import TERMINAL, operation_id
from durableflow.scope import Mode
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from durableflow.decision import Call, Completion
    from durableflow.operations import ErrorObject, Operation, OperationAction, OperationType, Update
    from durableflow.plan import Node, Plan
    from durableflow.scope import Scope
    from durableflow.source import Span
    from durableflow.values import Object

_T = TypeVar("_T")

Steps: TypeAlias = "Generator[str, None, _T]"
"""A part of a branch that gives a value: what it yields is the key of what the branch waits for."""
Kinds: TypeAlias = "tuple[OperationType, str]"
"""Type and subtype of an operation."""

ANSWERED: Final = ""
"""The key of a branch that waits until its updates have been answered; no operation has this id."""

BRANCHES: Final = "branches"
"""The key of a branch that waits for a change among its own branches; no operation has this id."""

SETTLED: Final = "settled"
"""The key of a branch that waits until every branch has come as far as what is recorded leads; no operation's id."""

LATER: Final = "later"
"""The key of a branch that goes on when nothing else can; no operation has this id."""

INVOKE: Final[Kinds] = ("CHAINED_INVOKE", "ChainedInvoke")
STEP: Final[Kinds] = ("STEP", "Step")
CONDITION: Final[Kinds] = ("STEP", "WaitForCondition")
WAIT: Final[Kinds] = ("WAIT", "Wait")
CALLBACK: Final[Kinds] = ("CALLBACK", "Callback")
CONTEXT: Final[Kinds] = ("CONTEXT", "RunInChildContext")
RESERVED_OPERATIONS: Final = 50
"""Operations below the limit that are kept for compensation and `finally` (rule 76)."""
LIMIT: Final = ":limit"
"""The path of the context that says that the limit was reached."""

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
OPEN_DIGITS: Final = 8
_FROZEN: Final = Mode.FROZEN
"""By a name of its own where every operation of a replay comes by: an enum looks its members up."""
_HELPERS: Final = (":backoff", ":timeout", ":timed_out")
_ITERATION_END: Final = re.compile(r"\}/")
_HINT: Final = (
    "run it on the definition it began with, or undo the change: started states keep their name, type and place"
)


class Leaving(Exception):  # noqa: N818 - control flow, not an error
    """A branch is left in another way than by its end or a fault; whoever waits for the branch goes on with it."""


class Parked(Exception):  # noqa: N818 - control flow, not an error
    """What was cut off stays as it was then: the branch never goes on (rule 63)."""


class Branch:
    """A part of the workflow that runs beside others.

    Args:
        steps: what runs.
        outer: the branch that started it.
    """

    # No slots: what most branches never change costs nothing to make, and a map may have thousands.
    key: str | None = None
    """What it waits for."""
    is_waiting = False
    """Whether it waits for its own branches."""
    is_parked = False
    is_over = False
    result: Any = None
    raised: Exception | None = None
    branches: Sequence[Branch] = ()

    def __init__(self, steps: Steps[Any], outer: Branch | None) -> None:
        self.steps = steps
        self.outer = outer
        self.depth: int = outer.depth + 1 if outer else 0
        self.keys: list[str] = []
        """The operations that it has come to and that were not finished."""

    def take(self) -> Any:
        """Return what the branch gave.

        Raises:
            Fault: it failed.
            Leaving: it was left.
        """
        if self.raised is not None:
            raise self.raised
        return self.result


class Frontier:
    """The record of one execution as one invocation walks along it.

    Args:
        plan: what runs; for names and places in messages.
        visited: called with each Visit, or None.
        operations_max: how many operations an execution may have, as the platform meters them.
    """

    def __init__(self, plan: Plan, visited: Callable[[Visit], None] | None, operations_max: int) -> None:
        self.operations: dict[str, Operation] = {}
        self.updates: list[Update] = []
        self.calls: list[Call] = []
        self.unanswered: set[str] = set()
        """The operations that updates have been made of whose answer has not been seen."""
        self._plan = plan
        self._visited = visited
        self.is_watched = visited is not None
        """Whether anybody wants to know what is come past."""
        self.key: Callable[[str], str] = plan.operation_ids.__getitem__
        """The id of the operation at a path."""
        self._unvisited: set[str] = set()
        self._paths: list[str] = []
        self._paths_hashed = 0
        self._helper_ids: set[str] = set()
        self._started: set[str] = set()
        self._completions: dict[str, Completion] = {}
        self._running: set[str] = set()
        self._ready: deque[Branch] = deque()
        self._stirred: list[tuple[int, int, Branch]] = []
        self._turn = 0
        self._blocked: dict[str, list[Branch]] = {}
        self._current: Branch | None = None
        self._metered: int | None = None
        self._asked = 0
        self._absent: dict[str, Node | Plan] = {}
        self._operations_max = operations_max
        self._hides = False

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
        self.unanswered.clear()
        self._asked = 0
        for operation in operations:
            key = operation["Id"]
            before = self.operations.get(key)
            if before is None and key not in self._started:
                self._unvisited.add(key)
            if self._metered is not None:
                self._metered += metered(operation) - (metered(before) if before else 0)
            self.operations[key] = operation
            self._resume(key)
        for completion in completions:
            key = completion.operation_id
            # What an abandoned branch had asked for is of no interest any more.
            if key in self._running:
                self._running.discard(key)
                self._completions[key] = completion
                self._resume(key)
        self._resume(ANSWERED)

    # Branches --------------------------------------------------------------------------------------------------------

    def spawn(self, steps: Steps[Any]) -> Branch:
        """Make a branch of the one that runs, ready to run."""
        outer = self._current
        branch = Branch(steps, outer)
        if outer:
            if not isinstance(outer.branches, list):
                outer.branches = []
            outer.branches.append(branch)
        self._ready.append(branch)
        return branch

    def _resume(self, key: str) -> None:
        branches = self._blocked.pop(key, None)
        if branches:
            self._ready.extend(branches)

    def run(self) -> None:
        """Run every branch until all of them wait.

        Raises:
            ReplayError: record and Plan disagree.
        """
        while self._ready or self._stirred or SETTLED in self._blocked:
            if self._ready:
                branch = self._ready.popleft()
            elif not self._stirred:
                # All have come as far as what is recorded leads them.
                self.check_unvisited()
                self._resume(SETTLED)
                continue
            else:
                # The innermost first: what it decides may be what an outer one has to know.
                branch = heappop(self._stirred)[2]
                branch.is_waiting = False
            if not branch.is_over:
                self._step(branch)

    def _step(self, branch: Branch) -> None:
        self._current = branch
        try:
            key = next(branch.steps)
        except StopIteration as end:
            branch.result = end.value
        except Parked:
            branch.is_parked = True
        except (Fault, Leaving) as error:
            branch.raised = error
        else:
            branch.key = key
            if key == BRANCHES:
                branch.is_waiting = True
            elif key == LATER:
                self._stir(branch)
            else:
                self._blocked.setdefault(key, []).append(branch)
            return
        branch.is_over = True
        outer = branch.outer
        if outer and outer.is_waiting:
            self._stir(outer)

    def _stir(self, branch: Branch) -> None:
        branch.is_waiting = False
        self._turn += 1
        heappush(self._stirred, (-branch.depth, self._turn, branch))

    def abandon(self, branches: Iterable[Branch]) -> None:
        """Let branches go: they ask for nothing more, and nobody waits for what they have begun."""
        for branch in branches:
            if branch.is_over:
                continue
            branch.is_over = True
            self.abandon(branch.branches)
            branch.steps.close()
            if branch.key is not None and branch in (waiting := self._blocked.get(branch.key, [])):
                waiting.remove(branch)
                if not waiting:
                    del self._blocked[branch.key]
            running = self._running.intersection(branch.keys)
            self._running -= running
            self.calls = [call for call in self.calls if call.operation_id not in running]

    def open_ids(self, branches: Iterable[Branch]) -> str:
        """Return the operations of branches that are open, 8 hex digits of each id (rule 63).

        Those of branches that were let go in there are among them. What is being closed at this moment is not.
        """
        closing = {update.get("Id") for update in self.updates if update["Action"] in ("SUCCEED", "FAIL")}
        return "".join(
            key[:OPEN_DIGITS]
            for branch in _with_inner(branches)
            for key in dict.fromkeys(branch.keys)
            if key not in closing and (key not in self.operations or self.operations[key]["Status"] not in TERMINAL)
        )

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

    def answers(self, key: str | None) -> Steps[None]:
        """Wait until what has been asked for of an operation has been recorded, and with it all that was asked before.

        What other branches have asked for is nothing to wait for: on a replay there may be more to come past, and that
        comes before anything new.
        """
        while key in self.unanswered:
            yield ANSWERED

    def settled(self) -> Steps[None]:
        """Wait until nothing recorded is left to be come past, where something new begins (rule 48).

        What needs no answer could else end at once, and the branch come past what was recorded before it.
        """
        while self._unvisited:
            yield SETTLED

    # Operations ------------------------------------------------------------------------------------------------------

    def recorded(
        self, key: str, kinds: Kinds, name: str, node: Node | Plan, path: str, scope: Scope
    ) -> Operation | None:
        """Come past an operation: return what is recorded under its id, or None where it is to be started.

        Raises:
            ReplayError: something else than the Plan has there (rule 47).
            Parked: the scope was cut off when the operation was open.
        """
        self._paths.append(path)
        operation = self.operations.get(key)
        if self._current is not None and (operation is None or operation["Status"] not in TERMINAL):
            self._current.keys.append(key)
        if operation is None:
            if scope.mode is not Mode.OPEN:
                self._absent[key] = node
            return None
        self._unvisited.discard(key)
        if operation["Type"] != kinds[0] or operation.get("SubType") != kinds[1] or operation.get("Name") != name:
            if self._visited:
                self._visited(Visit(operation_id=key, path=path, span_status="non_deterministic", is_tracked=False))
            raise self._not_that(operation, kinds, name, node)
        # A context that was cut off is walked: what had completed in it may have to be undone. A callback has been
        # come past once it is started; it is its answer that is waited for.
        if scope.mode is _FROZEN and kinds[0] not in ("CONTEXT", "CALLBACK"):
            self.park(key, scope)
        return operation

    def park(self, key: str, scope: Scope) -> None:
        """Go no further than an operation that was open when its scope was cut off.

        Raises:
            Parked: it was.
        """
        if scope.mode is Mode.FROZEN and self.was_open(key, scope):
            raise Parked

    def pass_by(self, key: str) -> None:
        """Come past a helper that nothing depends on any more, if it is recorded."""
        self._unvisited.discard(key)

    def was_open(self, key: str, scope: Scope) -> bool:
        """Say whether an operation of a frozen scope was open when the scope was cut off."""
        return key[:OPEN_DIGITS] in scope.open_ids or self.operations[key]["Status"] not in TERMINAL

    def see(self, key: str, path: str, operation: Operation) -> None:
        """Report what was found at an operation."""
        if self._visited:
            status = _SPAN_STATUS.get(operation["Status"])
            # An operation of this invocation's own is no replay, whatever has become of it (protocol.md 4.4).
            is_tracked = status is not None and key not in self._started
            span_status = status or "suspended"
            self._visited(Visit(operation_id=key, path=path, span_status=span_status, is_tracked=is_tracked))

    def update(self, key: str, kinds: Kinds, action: OperationAction, name: str, scope: Scope) -> Update:
        """Ask for a change; return the update, to be filled in.

        An update to a recorded operation repeats its recorded parent (rule 47), else that of the scope counts.

        Raises:
            Fault: States.OperationLimitExceeded, it would be one operation too many (rule 76).
            ReplayError: it would start something in a context that has finished without it (rule 79).
            Parked: it would start something in a scope that was cut off before it was there.
        """
        parent_id = scope.parent_id
        operation = self.operations.get(key)
        if operation is not None:
            parent_id = operation.get("ParentId")
        elif key not in self._started:
            # Only here: what has no arguments, for instance, never had an operation, and its fault is what counts.
            if scope.mode is Mode.FROZEN:
                raise Parked
            if scope.mode is Mode.CLOSED:
                raise self._not_there(key, kinds, name, self._absent[key])
            if (fault := self.exceeded(scope)) is not None:
                raise fault
            self._asked += 1
        update: Update = {"Id": key, "Name": name, "Type": kinds[0], "SubType": kinds[1], "Action": action}
        if parent_id is not None:
            update["ParentId"] = parent_id
        self.updates.append(update)
        if action == "RETRY" or (kinds == CONDITION and action != "START"):
            self._asked += 1  # the platform counts each retry and each poll, too (protocol.md 9)
        self._started.add(key)
        self.unanswered.add(key)
        return update

    def exceeded(self, scope: Scope) -> Fault | None:
        """Return the fault of one operation too many, where the next one would be (rule 76)."""
        limit = self._operations_max
        if not scope.is_reserved:
            limit -= min(RESERVED_OPERATIONS, limit // 2)
        key = self.key(LIMIT)
        is_recorded = key in self.operations
        if self._metered is None:  # not before something new is asked for
            self._metered = sum(map(metered, self.operations.values()))
        if self._metered + self._asked < limit and (scope.is_reserved or not is_recorded):
            return None
        self._unvisited.discard(key)
        if self._hides and not is_recorded and key not in self._started:
            # What a finished context hides cannot be counted again, so it is put on record that it was too much.
            self._record_limit(key)
        return Fault(faults.OPERATION_LIMIT, f"the execution would take more than {self._operations_max:,} operations")

    def _record_limit(self, key: str) -> None:
        error: ErrorObject = {
            "ErrorType": faults.OPERATION_LIMIT,
            "ErrorMessage": f"{self._operations_max:,} operations",
        }
        name = self._plan.name
        self.updates.append({"Id": key, "Name": name, "Type": CONTEXT[0], "SubType": CONTEXT[1], "Action": "START"})
        self.updates.append(
            {"Id": key, "Name": name, "Type": CONTEXT[0], "SubType": CONTEXT[1], "Action": "FAIL", "Error": error}
        )
        self._started.add(key)
        self.unanswered.add(key)

    def hides(self) -> None:
        """Note that there is a finished context whose operations need not be on the record any more."""
        self._hides = True

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

    def _not_there(self, key: str, kinds: Kinds, name: str, node: Node | Plan) -> ReplayError:
        expected: Object = {"state": node.name, "type": kinds[0], "subType": kinds[1], "name": name}
        message = (
            f"state '{node.name}': the workflow has {_described(expected)} in a context that has finished without it"
            f" (operation {key})"
        )
        problem = diagnostic("DF503", message, span=self._span(node), hint=_HINT)
        return ReplayError(problem, operation_id=key, expected=expected, recorded=None)

    def not_replayable(self, operation: Operation, node: Node) -> ReplayError:
        """Return the error of a finished context that keeps its result alone, where its states are needed (rule 79)."""
        recorded = _identity(operation)
        message = (
            f"state '{node.name}': the record has the result of {_described(recorded)} alone, and the workflow would"
            f" have to walk its states again (operation {operation['Id']})"
        )
        expected: Object = {**recorded, "state": node.name, "replayChildren": True}
        problem = diagnostic("DF503", message, span=self._span(node), hint=_HINT)
        return ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=recorded)

    def _not_that(self, operation: Operation, kinds: Kinds, name: str, node: Node | Plan) -> ReplayError:
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
        problem = diagnostic("DF503", message, span=self._span(node), hint=_HINT)
        return ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=recorded)

    def _span(self, node: Node | Plan) -> Span | None:
        return self._plan.place_of(node.name)

    def check_unvisited(self) -> None:
        """Refuse to go on while a recorded operation has not been come past (rule 48); helpers do not count.

        Raises:
            ReplayError: names what is recorded and what the workflow would start instead.
        """
        if not self._unvisited:
            return
        helpers = self._helpers()
        left = [
            key
            for key in self.operations
            if key in self._unvisited and key not in helpers and not self._is_hidden(self.operations[key])
        ]
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
        state = expected["state"] if expected else None
        span = self._plan.place_of(state) if isinstance(state, str) else None
        problem = diagnostic("DF503", message, span=span, hint=_HINT)
        raise ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=_identity(operation))

    def is_left_in(self, context: str) -> bool:
        """Say whether a context has recorded operations, helpers aside, that have not been come past yet."""
        left = {key for key in self._unvisited if self.operations[key].get("ParentId") == context}
        return bool(left) and not left <= self._helpers()

    def _helpers(self) -> set[str]:
        """Return the ids of the helpers that what has been come past may have had."""
        new = self._paths[self._paths_hashed :]
        self._paths_hashed = len(self._paths)
        self._helper_ids.update(map(operation_id, _helper_paths(new)))
        return self._helper_ids

    def _is_hidden(self, operation: Operation) -> bool:
        """Say whether an operation is inside a context that has finished and is answered from its result."""
        parent = operation.get("ParentId")
        while parent is not None and (outer := self.operations.get(parent)) is not None:
            is_replayed = outer.get("ContextDetails", {}).get("ReplayChildren", False)
            if parent not in self._unvisited and outer["Status"] in TERMINAL and not is_replayed:
                return True
            parent = outer.get("ParentId")
        return False

    def _about_to_start(self) -> Object | None:
        for update in self.updates:
            name = update.get("Name")
            return {"state": name, "type": update["Type"], "subType": update.get("SubType"), "name": name}
        for call in self.calls:
            return {"state": call.node.name, "type": STEP[0], "subType": STEP[1], "name": call.node.name}
        return None


def _helper_paths(paths: Iterable[str]) -> Iterator[str]:
    """Give the paths of the helpers that states at these paths may have had."""
    yield LIMIT
    for path in paths:
        for suffix in _HELPERS:
            yield path + suffix
        for iteration in _ITERATION_END.finditer(path):
            yield f"{path[: iteration.end() - 1]}:delay"


def metered(operation: Operation) -> int:
    """Return how many operations the platform counts for one: each retry and each poll counts, too (protocol.md 9)."""
    if operation["Type"] != "STEP":
        return 1
    attempts = operation.get("StepDetails", {}).get("Attempt", 0)
    if operation["Status"] in TERMINAL and operation.get("SubType") == STEP[1]:
        return max(1, attempts)
    return 1 + attempts


def _with_inner(branches: Iterable[Branch]) -> Iterator[Branch]:
    for branch in branches:
        yield branch
        yield from _with_inner(branch.branches)


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
