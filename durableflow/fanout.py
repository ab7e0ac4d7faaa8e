"""When is a map or parallel decided, and what does it give?

Every slot (an item, a batch, a branch) is a branch of the frontier. The one that waits for them decides when nothing
else can go on, so what it decides on does not depend on the order in which answers came in. The decision is put on
record in the same moment; losers are abandoned.

Source: language.md 7 and 12, rules 31, 32, 34-37, 59, 61, 63, 77; protocol.md 5.7; reliability.md B10, B18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

from durableflow import faults, values
from durableflow import operations as wire
from durableflow.attempts import open_ids
from durableflow.contexts import Context
from durableflow.errors import Fault, Origin
from durableflow.expressions import to_display
from durableflow.frontier import BRANCHES, LATER, Parked
from durableflow.library import kind
from durableflow.operations import given_name
from durableflow.plan import Map
from durableflow.scope import Lazy, Mode, Undos

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.frontier import Branch, Steps
    from durableflow.operations import ErrorObject
    from durableflow.plan import Parallel, States
    from durableflow.scope import Scope, Site, Timeline
    from durableflow.values import Json, Object
    from durableflow.walker import Walker

Reason: TypeAlias = Literal["ALL_COMPLETED", "MIN_SUCCESSFUL_REACHED", "FAILURE_TOLERANCE_EXCEEDED"]
RunStates: TypeAlias = "Callable[[States, Scope, Timeline], Steps[Lazy]]"
"""Runs the states of a slot and gives its result."""

_SUCCEEDED: Final = "S"
_FAILED: Final = "F"
_ABANDONED: Final = "A"
_NOT_STARTED: Final = "N"
_FAILURES_SHOWN: Final = 10


class Slot(NamedTuple):
    """An item, a batch or a branch; a tuple, since a map may have thousands.

    Args:
        key: its index or the branch's name.
        suffix: what its path adds to that of the map or parallel.
        states: its body.
        names: what its templates see besides.
    """

    key: int | str
    suffix: str
    states: States
    names: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """What a map or parallel gives.

    Args:
        result: a list in the order of the items, or an object by branch.
        failures: `[{index | branch, item_name, error}]`.
        summary: `{total, succeeded, failed, reason}`.
        fault: what it raises, or None.
    """

    result: Lazy
    failures: list[Json]
    summary: Object
    fault: Fault | None


def fan_out(
    walker: Walker, node: Map | Parallel, site: Site, name: str, run: RunStates, scope: Scope, timeline: Timeline
) -> Steps[FanOut]:
    """Run the slots of one attempt until it is decided, or answer from the record.

    Args:
        walker: what the constructs share.
        node: the state.
        site: its visit.
        name: its Name.
        run: runs the states of a slot.
        scope: the scope that the state stands in, in the mode that counts.
        timeline: of the branch that the state is in.
    """
    frontier = walker.frontier
    subtype = "Map" if isinstance(node, Map) else "Parallel"
    if frontier.key(site.attempt_path) not in frontier.operations and isinstance(node, Map):
        yield from _items(walker, node, site)  # a list that is none costs nothing
    context = yield from Context(
        frontier, node, name, site.attempt_path, scope, subtype=subtype, is_replayed=node.is_replayed
    ).entered()
    if context.is_answered:
        return _stored(context)
    slots = (yield from _items(walker, node, site)) if isinstance(node, Map) else _branches(node)
    fan = _Fan(walker, node, site, run, context, slots, timeline)
    if context.is_finished:
        return (yield from fan.replayed())
    return (yield from fan.decided())


def _items(walker: Walker, node: Map, site: Site) -> Steps[list[Slot]]:
    items = yield from walker.value(node.items, site)
    if not isinstance(items, list):
        raise Fault(faults.QUERY_EVALUATION, f"items of '{node.name}' must be a list, not {kind(items)}")
    states = node.states
    if node.batch_size is None:
        return [Slot(i, f"[{i}]", states, {"item": item, "index": i}) for i, item in enumerate(items)]
    size = node.batch_size
    return [
        Slot(i, f"[{i}]", states, {"batch": items[start : start + size], "index": i})
        for i, start in enumerate(range(0, len(items), size))
    ]


def _branches(node: Parallel) -> list[Slot]:
    return [Slot(key, f".{key}", states, {}) for key, states in node.branches.items()]


class _Fan:
    """The slots of one attempt on their way."""

    def __init__(
        self,
        walker: Walker,
        node: Map | Parallel,
        site: Site,
        run: RunStates,
        context: Context,
        slots: Sequence[Slot],
        timeline: Timeline,
    ) -> None:
        self._walker = walker
        self._node = node
        self._site = site
        self._run = run
        self._context = context
        self._slots = slots
        self._timeline = timeline
        self._statuses = [_NOT_STARTED] * len(slots)
        self._results: dict[int, Lazy] = {}
        self._faults: dict[int, Fault] = {}
        self._branches: dict[int, Branch] = {}
        self._ended: list[int] = []
        # Only bodies with `compensate` leave anything that could have to be undone.
        self._undos = [Undos() for _ in slots] if node.is_replayed else None
        if self._undos is not None:
            site.scope.undos.group().extend(self._undos)

    def decided(self) -> Steps[FanOut]:
        """Run slots until it is decided, put the decision on record and let the others go."""
        frontier = self._walker.frontier
        inner = self._context.within(self._site.scope)
        limit = self._node.max_concurrency or len(self._slots)
        begun = 0
        while True:
            self._take_in()
            reason = self._reason()
            if reason is not None and (begun == len(self._slots) or not frontier.is_left_in(self._context.key)):
                break
            if reason is not None:
                # On a replay slots end all at once; what began when the first of them ended has to be come past, too.
                self._start(begun, inner)
                begun += 1
                yield LATER
                continue
            while begun < len(self._slots) and len(self._branches) < limit:
                self._start(begun, inner)
                begun += 1
            if inner.mode is Mode.FROZEN and all(branch.is_over for branch in self._branches.values()):
                raise Parked  # it was cut off before it was decided
            yield BRANCHES
        if inner.mode is Mode.FROZEN:
            raise Parked
        losers = [self._branches[index] for index in sorted(self._branches)]
        still_open = frontier.open_ids(losers)
        frontier.abandon(losers)
        fan = yield from self._outcome(reason)
        stored = None if self._node.is_replayed else _to_text(fan)
        if stored is None or values.size_bytes(stored) > wire.CONTEXT_RESULT_MAX_BYTES:
            decision: Object = {"reason": reason, "statuses": "".join(self._statuses), "open": still_open}
            self._context.replay(values.to_text(decision))
        else:
            self._context.succeed_with(stored)
        return fan

    def replayed(self) -> Steps[FanOut]:
        """Walk the slots again as they were when it was decided; what came later changes nothing."""
        decision = cast("Object", values.from_text(self._context.payload() or "{}"))
        statuses = cast("str", decision.get("statuses", ""))
        scope = self._site.scope
        closed = scope.in_mode(Mode.CLOSED)
        frozen = scope.in_mode(Mode.FROZEN, open_ids(cast("str", decision.get("open", ""))))
        branches: list[Branch] = []
        for index, status in enumerate(statuses[: len(self._slots)]):
            if status != _NOT_STARTED:
                branches.append(self._start(index, frozen if status == _ABANDONED else closed))
        while not all(branch.is_over for branch in branches):
            yield BRANCHES
        self._take_in()
        for index, status in enumerate(statuses):
            if status == _ABANDONED:
                self._results.pop(index, None)
                self._faults.pop(index, None)
        self._statuses = list(statuses)
        return (yield from self._outcome(cast("Reason", decision.get("reason", "ALL_COMPLETED"))))

    # Slots -----------------------------------------------------------------------------------------------------------

    def _start(self, index: int, scope: Scope) -> Branch:
        self._statuses[index] = _ABANDONED  # until it ends
        branch = self._walker.frontier.spawn(self._slot(index, scope))
        self._branches[index] = branch
        return branch

    def _slot(self, index: int, scope: Scope) -> Steps[None]:
        slot, site = self._slots[index], self._site
        path = site.attempt_path + slot.suffix
        inner = scope.hidden(f"{path}/", self._context.key, slot.names)
        if self._undos is not None:
            inner.undos = self._undos[index]
        timeline = self._timeline.branch()
        try:
            if self._node.is_nested:
                self._results[index] = yield from self._nested(slot, path, inner, timeline)
            else:
                inner.flat = len(site.scope.prefix)
                self._results[index] = yield from self._run(slot.states, inner, timeline)
        except Fault as fault:
            place = {"branch": slot.key} if isinstance(slot.key, str) else {"index": slot.key}
            self._faults[index] = fault.having(**place)
        self._ended.append(index)

    def _nested(self, slot: Slot, path: str, inner: Scope, timeline: Timeline) -> Steps[Lazy]:
        """Run a slot in a context of its own."""
        inner.flat = None
        name = (yield from self._item_name(slot)) or _slot_name(slot)
        subtype = "MapIteration" if isinstance(self._node, Map) else "ParallelBranch"
        context = yield from Context(
            self._walker.frontier, self._node, name, path, inner, subtype=subtype, is_replayed=self._node.is_replayed
        ).entered()
        if context.is_answered:
            return context.result()
        within = context.within(inner)
        within.parent_id = context.key
        try:
            result = yield from self._run(slot.states, within, timeline)
        except Fault as fault:
            if not self._node.is_replayed:
                raise context.fail(fault) from fault
            context.replay()
            raise
        if self._node.is_replayed:
            context.replay()
        else:
            context.succeed(result)
        return result

    def _item_name(self, slot: Slot) -> Steps[str | None]:
        """Return the author's name of an item as it stands on the wire, or None (rules 37, 59)."""
        if not isinstance(self._node, Map) or self._node.item_name is None:
            return None
        value = yield from self._walker.value(self._node.item_name, self._site.knowing(slot.names))
        return given_name(to_display(value)) or None

    def _take_in(self) -> None:
        for index in self._ended:
            self._branches.pop(index, None)
            self._statuses[index] = _FAILED if index in self._faults else _SUCCEEDED
        self._ended.clear()

    # The decision ----------------------------------------------------------------------------------------------------

    def _reason(self) -> Reason | None:
        """Return why it is decided, or None while it is not (rules 34, 59)."""
        total, failed, succeeded = len(self._slots), len(self._faults), len(self._results)
        completion = self._node.completion
        if completion is None:
            if failed:
                return "FAILURE_TOLERANCE_EXCEEDED"
        else:
            count, share = completion.tolerated_failure_count, completion.tolerated_failure_percentage
            if (count is not None and failed > count) or (share is not None and 100 * failed > share * total):
                return "FAILURE_TOLERANCE_EXCEEDED"
            enough = completion.min_successful
            if enough is not None and total and succeeded >= min(enough, total):
                return "MIN_SUCCESSFUL_REACHED"
        return "ALL_COMPLETED" if succeeded + failed == total else None

    def _outcome(self, reason: Reason) -> Steps[FanOut]:
        total = len(self._slots)
        failures: list[Json] = []
        for index in sorted(self._faults):
            slot, fault = self._slots[index], self._faults[index]
            place = "branch" if isinstance(slot.key, str) else "index"
            error: Object = {"name": fault.name, "message": fault.message, "data": fault.data}
            item_name = yield from self._item_name(slot)
            failures.append({place: slot.key, "item_name": item_name, "error": error})
        summary: Object = {
            "total": total,
            "succeeded": self._statuses.count(_SUCCEEDED),
            "failed": len(failures),
            "reason": reason,
        }
        results = [self._results[index].get() if index in self._results else None for index in range(total)]
        value: Json = results
        if not isinstance(self._node, Map):
            value = {str(slot.key): result for slot, result in zip(self._slots, results, strict=True)}
        return FanOut(
            result=Lazy(value), failures=failures, summary=summary, fault=self._fault(reason, summary, failures)
        )

    def _fault(self, reason: Reason, summary: Object, failures: list[Json]) -> Fault | None:
        node, completion = self._node, self._node.completion
        if completion is None:
            return _as_kept(self._faults[min(self._faults)]) if self._faults else None
        enough = min(completion.min_successful or 0, len(self._slots))
        if reason != "FAILURE_TOLERANCE_EXCEEDED" and cast("int", summary["succeeded"]) >= enough:
            return None
        message = f"{summary['failed']} of {summary['total']} of '{node.name}' failed"
        fault = Fault(faults.TOLERANCE_EXCEEDED, message, {**summary, "failures": failures[:_FAILURES_SHOWN]})
        fault.origin = Origin(state=node.name, attempt=self._site.attempt)
        return _as_kept(fault)


def _as_kept(fault: Fault) -> Fault:
    """Return a fault as it is read back from the context, from the first moment (rule 67)."""
    return faults.context_fault(faults.context_error(fault))


def _slot_name(slot: Slot) -> str:
    return slot.key if isinstance(slot.key, str) else f"map-item-{slot.key}"


def _to_text(fan: FanOut) -> str:
    stored: Object = {"result": fan.result.get(), "failures": fan.failures, "summary": fan.summary}
    if fan.fault is not None:
        stored["error"] = cast("Json", faults.context_error(fan.fault))
    return values.to_text(stored)


def _stored(context: Context) -> FanOut:
    stored = cast("Object", values.from_text(context.payload()))
    error = cast("ErrorObject | None", stored.get("error"))
    return FanOut(
        result=Lazy(stored["result"]),
        failures=cast("list[Json]", stored["failures"]),
        summary=cast("Object", stored["summary"]),
        fault=faults.context_fault(error) if error else None,
    )
