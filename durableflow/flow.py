"""Which way can control go? The edges between the states of one list, and what follows from them.

States of a list run in order; `next`, of a state, of a choice's arm or of a catcher, jumps within the list or leaves it
(language.md section 5). Everything here asks about that small graph: what is never reached, whether the end is, what
may have run before. The answers lean to one side: where a condition decides at run time, both ways are possible.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durableflow.model import (
    Block,
    Choice,
    Fail,
    Loop,
    Map,
    Parallel,
    Succeed,
    Wait,
    WaitForCallback,
    WaitForCondition,
    lists_in,
    walk_states,
)
from durableflow.plan import END

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durableflow.document import Path
    from durableflow.model import Placed, State, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The graph of one list of n states; position n is the list's end.

    Args:
        successors: for each state the positions that may come directly after it.
        reached: the positions that can be reached from the beginning.
        earliest: for each state the first position that can be reached from it by going on at least once; a state
            that was behind it in the list can have run before it only through a jump to there.
        is_certain: whether every `next` names a state; if not, nothing can be said about what is unreachable.
    """

    successors: tuple[frozenset[int], ...]
    reached: frozenset[int]
    earliest: tuple[int, ...]
    is_certain: bool

    @property
    def can_end(self) -> bool:
        """Whether control can come to the end of the list."""
        return len(self.successors) in self.reached


def flow_of(states: Sequence[State]) -> Flow:
    """Return the graph of a list of states."""
    positions = {state.name: position for position, state in enumerate(states)}
    positions[END] = len(states)
    successors = tuple(
        frozenset(positions.get(target, -1) if isinstance(target, str) else target for target in _after(i, state))
        for i, state in enumerate(states)
    )
    known = tuple(targets - {-1} for targets in successors)
    return Flow(
        successors=known,
        reached=_reached(known),
        earliest=_earliest(known),
        is_certain=not any(-1 in targets for targets in successors),
    )


def _after(position: int, state: State) -> Iterator[str | int]:
    """Give what may come after a state: names of siblings, or the position behind it."""
    onward = state.next if state.next is not None else position + 1
    if state.when is not True:
        yield position + 1  # the `next` of a skipped state is not taken (rule 21)
    if _completes(state):
        yield onward
    if isinstance(state, Choice):
        for arm in state.choices:
            if arm.next is not None:
                yield arm.next
    for catcher in state.catch:
        if catcher.next is not None:
            yield catcher.next
        elif can_end(catcher.states or ()):
            yield onward


def _completes(state: State) -> bool:
    match state:
        case Succeed() | Fail():
            return False
        case Choice():
            return (
                state.default is None
                or can_end(state.default)
                or any(arm.states is not None and can_end(arm.states) for arm in state.choices)
            )
        case Block():
            return can_end(state.states) and can_end(state.finally_)
        case Loop():
            return "while_" in state.model_fields_set or can_end(state.states)
        case _:
            return True


def can_end(states: Sequence[State]) -> bool:
    """Say whether control can come to the end of a list of states."""
    return not states or flow_of(states).can_end


def _reached(successors: Sequence[frozenset[int]]) -> frozenset[int]:
    found = {0}
    waiting = deque(found)
    while waiting:
        position = waiting.popleft()
        if position < len(successors):
            fresh = successors[position] - found
            found |= fresh
            waiting.extend(fresh)
    return frozenset(found)


def _earliest(successors: Sequence[frozenset[int]]) -> tuple[int, ...]:
    # From the first position on, everything that leads there and led nowhere earlier: each edge is walked once.
    leading: list[list[int]] = [[] for _ in range(len(successors) + 1)]
    for position, targets in enumerate(successors):
        for target in targets:
            leading[target].append(position)
    earliest = [len(successors)] * len(successors)
    seen: set[int] = set()
    for target in range(len(successors)):
        waiting = deque(leading[target])
        while waiting:
            position = waiting.popleft()
            if position not in seen:
                seen.add(position)
                earliest[position] = target
                waiting.extend(leading[position])
    return tuple(earliest)


def jumps(states: Sequence[State]) -> Iterator[tuple[int, tuple[str | int, ...], str]]:
    """Give every `next` of a list: the position of its state, its path inside that state, its target."""
    for position, state in enumerate(states):
        if state.next is not None:
            yield position, ("next",), state.next
        if isinstance(state, Choice):
            for i, arm in enumerate(state.choices):
                if arm.next is not None:
                    yield position, ("choices", i, "next"), arm.next
        for i, catcher in enumerate(state.catch):
            if catcher.next is not None:
                yield position, ("catch", i, "next"), catcher.next


def waits(state: State) -> bool:
    """Say whether a state takes time by itself, so that repeating it is no busy loop."""
    match state:
        case Wait() | WaitForCallback() | WaitForCondition():
            return True
        case Loop():
            return state.delay is not None or any(map(waits, state.states))
        case Block() | Map():
            return any(map(waits, state.states))
        case Choice():
            lists = [*(arm.states or () for arm in state.choices), state.default or ()]
            return any(waits(inner) for states in lists for inner in states)
        case Parallel():
            return any(waits(inner) for states in state.branches.values() for inner in states)
        case _:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a state stands.

    Args:
        placed: the state and its place in the document.
        scope: path of the innermost list around it whose states cannot be seen from outside, or () for the workflow.
        keeper: the state that keeps that list to itself, or None.
    """

    placed: Placed
    scope: Path
    keeper: State | None


class Layout:
    """Where every state of a workflow stands, and what can have run when a template is rendered.

    Attributes:
        all_stands: of every state.
        stands: by the name of the state; where two have one name, the first counts.
        lists: the lists of states that are not empty, by their paths.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.all_stands: list[Stand] = []
        self.stands: dict[str, Stand] = {}
        self.lists: dict[Path, tuple[State, ...]] = {path: states for path, states in lists_in(workflow) if states}
        self._by_path: dict[Path, Placed] = {}
        self._flows: dict[Path, Flow] = {}
        for placed in walk_states(workflow):
            self._by_path[placed.path] = placed
            self.lists.update(((*placed.path, *inner), states) for inner, states in lists_in(placed.state) if states)
            stand = self._stand(placed)
            self.all_stands.append(stand)
            self.stands.setdefault(placed.state.name, stand)

    def flow(self, list_path: Path) -> Flow:
        """Return the graph of the list of states at a path."""
        if list_path not in self._flows:
            self._flows[list_path] = flow_of(self.lists[list_path])
        return self._flows[list_path]

    def _around(self, path: Path) -> Iterator[Placed]:
        """Give the states around (and at) a path, innermost first."""
        for length in range(len(path), 1, -1):
            if placed := self._by_path.get(path[:length]):
                yield placed

    def keys(self, path: Path) -> tuple[str, ...]:
        """Return what kinds of lists a state at a path is in, innermost first, such as `finally`, `states`."""
        around = [placed.path for placed in self._around(path[:-1])]
        return tuple(str(path[len(place)]) for place in [*around, ()])

    def _stand(self, placed: Placed) -> Stand:
        for around in self._around(placed.list_path):
            scope = _kept(around.state, placed.path, len(around.path))
            if scope:
                return Stand(placed=placed, scope=scope, keeper=around.state)
        return Stand(placed=placed, scope=(), keeper=None)

    def can_see(self, place: Path, stand: Stand) -> bool:
        """Say whether a template at a path can see a state at all (section 3, rules 11 and 62)."""
        return place[: len(stand.scope)] == stand.scope

    def can_have_run(self, place: Path, stand: Stand) -> bool:
        """Say whether a state can be over when the template at a path is rendered; in doubt it can."""
        target = stand.placed.path
        common = _common(place, target)
        if common == len(target):
            if place[common] in ("assign", "catch", "finally", "compensate"):
                return True
        elif "compensate" in place[common:]:
            return True  # undone is what went well before something later failed
        elif isinstance(target[common], int):
            list_path = target[:common]
            if list_path in self.lists:
                mine, other = int(place[common]), int(target[common])
                if other < mine or self.flow(list_path).earliest[other] <= mine:
                    return True
        elif _rank_of_list(target[common]) < _rank_of_place(place, common):
            return True
        return self._comes_again(target[:common], len(stand.scope))

    def _comes_again(self, common: Path, scope: int) -> bool:
        """Say whether what two places have in common, inside the scope, may be entered a second time."""
        for around in self._around(common):
            if len(around.path) <= scope:
                return False
            if isinstance(around.state, Loop) and common[len(around.path) :][:1] == ("states",):
                return True
            position = int(around.path[-1])
            if self.flow(around.list_path).earliest[position] <= position:
                return True
        return False


def _kept(around: State, path: Path, length: int) -> Path:
    """Return the path of the list inside a state that leads to `path` and that it keeps to itself, or ()."""
    key = path[length]
    match around:
        case Map() if key == "states":
            return path[: length + 1]
        case Parallel() if key == "branches":
            return path[: length + 2]
        case Block(context=True) if key == "states":
            return path[: length + 1]
        case WaitForCallback() if key == "submit":
            return path[: length + 1]
        case _:
            return ()


def _common(left: Path, right: Path) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


# The order in which the parts of one state, or of the workflow, come (rules 9, 20, 72).
_BODY, _AFTER_BODY, _CATCH, _FINALLY, _COMPENSATE, _LAST = range(1, 7)
_RANKS: dict[str | int, int] = {"catch": _CATCH, "finally": _FINALLY, "compensate": _COMPENSATE}
_SEES_BODY = frozenset({"output", "assign", "while", "until", "delay", "retry"})


def _rank_of_list(key: str | int) -> int:
    return _RANKS.get(key, _BODY)


def _rank_of_place(place: Path, position: int) -> int:
    key = place[position]
    if place == ("output",):
        return _LAST
    if key in _RANKS:
        return _RANKS[key]
    if key == "assign" and position > 1 and place[position - 2] == "catch":
        return 0  # a catcher's `assign` comes before its states
    if key in _SEES_BODY:
        return _AFTER_BODY
    return 0 if key not in ("states", "choices", "default", "branches", "submit") else _BODY
