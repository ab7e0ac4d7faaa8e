"""How many operations can an execution take? The worst path of a workflow, by the price table of language.md section 2.

A durable execution has a budget of operations, 3,000 by default, so the author should know the price before the run.
The worst path takes the dearest arm of every choice, every iteration, every attempt, fails as late as it can, undoes
everything and runs every catcher's states; of a map's items one is that unlucky. Beside it stands the price when
nothing fails. What the file does not say (how many items a list will have) is assumed, and each assumption is reported
with the number. As in the table, a timeout is one operation; the record that one has fired is not counted.

Source: language.md section 2; section 12, rules 23, 27 to 29, 32, 33; protocol.md 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from durableflow.model import (
    Aws,
    Block,
    ChildWorkflow,
    Choice,
    Fail,
    Http,
    Invoke,
    Loop,
    Map,
    Parallel,
    Pass,
    RetriedState,
    Step,
    Succeed,
    UndoableState,
    Wait,
    WaitForCallback,
    WaitForCondition,
)
from durableflow.templates import parse_expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durableflow.model import Retrier, State, Workflow

ASSUMED_ITEMS: Final = 1_000
ASSUMED_POLLS: Final = 100
INLINE_DEPTH_MAX: Final = 32
"""How deep inline workflows may stand in each other."""
_ASSUMPTIONS_SHOWN: Final = 3

WORK: Final = (Invoke, Step, Aws, Http, ChildWorkflow)
"""The states that do work of their own: what `defaults` and `States.TaskFailed` mean."""
RACED: Final = (Invoke, ChildWorkflow, Choice, Block, Loop, Parallel, Map)
"""The states whose `timeout` is a WAIT that races them; elsewhere it costs nothing (rule 27)."""


FindWorkflow: TypeAlias = Callable[[str], "Workflow | None"]
"""The name of a workflow of the project → what its file says, or None when there is no such file or it is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The price of a workflow, in operations as the platform meters them, the start of the execution left out.

    Args:
        operations: of the worst path.
        usual: of the dearest path on which nothing fails.
        assumptions: what was assumed, each as a phrase such as `map 'all' assumed 1,000 items`.
    """

    operations: int
    usual: int
    assumptions: tuple[str, ...]

    def __str__(self) -> str:
        notes = [f"{self.usual:,} when nothing fails"] if self.usual != self.operations else []
        notes += self.assumptions[:_ASSUMPTIONS_SHOWN]
        if (rest := len(self.assumptions) - _ASSUMPTIONS_SHOWN) > 0:
            notes.append(f"{rest} more")
        return f" ({'; '.join(notes)})" if notes else ""


def estimate(workflow: Workflow, find_workflow: FindWorkflow | None = None) -> Estimate:
    """Return the price of a workflow.

    Args:
        workflow: the workflow.
        find_workflow: gives the workflows that this one has inline; without it each counts as its context alone.
    """
    pricing = _Pricing(workflow, find_workflow)
    worst = pricing.total()
    pricing.counts_retries = pricing.counts_failures = False
    return Estimate(operations=worst, usual=pricing.total(), assumptions=tuple(pricing.assumptions))


def is_flat(states: Sequence[State]) -> bool:
    """Say whether a body holds at most one operation-making state, at any depth but not in a loop (rule 32)."""
    return _makers(states) <= 1


class _Pricing:
    """Adds up one workflow, and those it has inline.

    Attributes:
        counts_retries: whether attempts are made again.
        counts_failures: whether catchers run and what was done is undone.
    """

    def __init__(self, workflow: Workflow, find_workflow: FindWorkflow | None, around: tuple[str, ...] = ()) -> None:
        self._workflow = workflow
        self._find_workflow = find_workflow
        self._around = (*around, workflow.name)
        self._iterations = 1
        self._totals: dict[tuple[str, bool, bool], int] = {}
        self.counts_retries = True
        self.counts_failures = True
        self.assumptions: dict[str, None] = {}

    def total(self) -> int:
        workflow = self._workflow
        timeout = 1 if workflow.timeout is not None else 0
        return self.all_of(workflow.states) + self._caught(workflow) + self.all_of(workflow.finally_) + timeout

    def all_of(self, states: Sequence[State]) -> int:
        return sum(map(self._state, states))

    def _state(self, state: State) -> int:
        total = self._attempts(state, self._attempt(state)) + self._caught(state)
        if isinstance(state, UndoableState) and self.counts_failures:
            total += self.all_of(state.compensate)
        return total

    def _caught(self, part: Workflow | State) -> int:
        """Return the price of the dearest catcher."""
        if not self.counts_failures:
            return 0
        return max((self.all_of(catcher.states or ()) for catcher in part.catch), default=0)

    def _attempts(self, state: State, once: int) -> int:
        """Return the price of all attempts of a state that costs `once`."""
        repeats = self._retries(state)
        if isinstance(state, (Step, Aws, Http)):
            return once + repeats  # in place; whether they are metered is not documented clearly, so they are counted
        return once * (1 + repeats) + repeats  # a wait before each new attempt

    def _retries(self, state: State) -> int:
        if not isinstance(state, RetriedState) or not self.counts_retries:
            return 0
        return max((retrier.max_attempts for retrier in self._retriers(state)), default=1) - 1

    def _retriers(self, state: RetriedState) -> Sequence[Retrier]:
        retry = state.retry
        if retry is None and isinstance(state, WORK) and self._workflow.defaults:
            retry = self._workflow.defaults.retry
        return self._workflow.retry_policies.get(retry, ()) if isinstance(retry, str) else retry or ()

    def _attempt(self, state: State) -> int:  # noqa: C901, PLR0911 - one return for each type
        timeout = self._timeout(state)
        match state:
            case Invoke():
                return 1 + timeout
            case ChildWorkflow():
                return 1 + timeout + (self._inline(state.workflow) if state.mode == "inline" else 0)
            case Step() | Aws() | Http() | Wait():
                return 1
            case WaitForCallback():
                return 2 + self.all_of(state.submit) if state.submit else 1
            case WaitForCondition():
                return 1 + self._polls(state)
            case Choice():
                arms = [*(arm.states or () for arm in state.choices), state.default or ()]
                return max(map(self.all_of, arms)) + self._context(state) + timeout
            case Block():
                inside = self.all_of(state.states) + self.all_of(state.finally_)
                return inside + self._context(state) + timeout
            case Loop():
                delays = state.max_iterations - 1 if state.delay is not None else 0
                return self._iterated(state) + delays + self._context(state) + timeout
            case Parallel():
                nested = _is_nested(state, state.branches.values())
                inside = sum(map(self.all_of, state.branches.values()))
                return 1 + inside + (len(state.branches) if nested else 0) + timeout
            case Map():
                return 1 + self._body(state) + timeout
            case Pass() | Succeed() | Fail():
                return 0
            case _:
                assert_never(state)

    def _timeout(self, state: State) -> int:
        """Return 1 where a timeout is a raced wait (rule 27)."""
        limit = state.timeout if isinstance(state, RACED) else None
        if limit is None and isinstance(state, (Invoke, ChildWorkflow)) and self._workflow.defaults:
            limit = self._workflow.defaults.timeout
        return 0 if limit is None else 1

    def _inline(self, name: str) -> int:
        """Return the price of what an inline workflow holds; one without an end is a problem of its own."""
        if name in self._around or len(self._around) > INLINE_DEPTH_MAX:
            return 0
        found = self._find_workflow(name) if self._find_workflow else None
        if found is None:
            self.assumptions[f"the inline workflow '{name}' counted as 1"] = None
            return 0
        key = (name, self.counts_retries, self.counts_failures)
        if key not in self._totals:  # priced once: each of many may have many inline
            inner = _Pricing(found, self._find_workflow, self._around)
            inner.counts_retries, inner.counts_failures = self.counts_retries, self.counts_failures
            inner.assumptions, inner._totals = self.assumptions, self._totals
            self._totals[key] = inner.total()
        return self._totals[key]

    def _context(self, state: Choice | Block | Loop) -> int:
        """Return 1 where `retry`, `timeout` or `context: true` makes a context of what costs nothing (rule 23)."""
        made = isinstance(state, Block) and state.context
        return 1 if made or state.timeout is not None or self._retriers(state) else 0

    def _polls(self, state: WaitForCondition) -> int:
        if state.max_attempts is not None:
            return state.max_attempts
        self.assumptions[f"condition '{state.name}' assumed {ASSUMED_POLLS} checks"] = None
        return ASSUMED_POLLS

    def _iterated(self, state: Loop) -> int:
        outside = self._iterations
        self._iterations *= state.max_iterations
        once = self.all_of(state.states)
        self._iterations = outside
        return once * state.max_iterations

    def _body(self, state: Map) -> int:
        """Return the price of all items; that one of them needs every retry is bad luck, that all do is none."""
        runs = -(-self._items(state) // (state.batch_size or 1))
        if runs == 0:
            return 0
        worst = self.all_of(state.states)
        outside, self.counts_retries = self.counts_retries, False
        usual = self.all_of(state.states)
        self.counts_retries = outside
        nested = _is_nested(state, [state.states])
        return runs * (usual + (1 if nested else 0)) + worst - usual

    def _items(self, state: Map) -> int:
        tree, _ = parse_expression(state.items)
        if isinstance(tree, list) and tree[0] in ("const", "array") and isinstance(tree[1], list):
            return len(tree[1])
        items = max(1, ASSUMED_ITEMS // self._iterations)  # a loop around the map shares them
        self.assumptions[f"map '{state.name}' assumed {items:,} items"] = None
        return items


def _is_nested(state: Map | Parallel, bodies: Iterable[Sequence[State]]) -> bool:
    if state.nesting is not None:
        return state.nesting == "nested"
    return not all(map(is_flat, bodies))


def _makers(states: Sequence[State]) -> int:  # noqa: C901 - one case for each type
    """Count the states that make operations; one in a loop counts as many."""
    total = 0
    for state in states:
        match state:
            case Pass() | Succeed() | Fail():
                own = 0
            case Choice():
                own = sum(_makers(arm.states or ()) for arm in state.choices) + _makers(state.default or ())
            case Block():
                own = _makers(state.states) + _makers(state.finally_) + (1 if state.context else 0)
            case Loop():
                own = 2 * _makers(state.states) + (2 if state.delay is not None else 0)
            case Map():
                own = 1 + _makers(state.states)
            case Parallel():
                own = 1 + sum(map(_makers, state.branches.values()))
            case WaitForCallback():
                own = 1 + _makers(state.submit)
            case _:
                own = 1
        if isinstance(state, RetriedState) and isinstance(state, (Choice, Block, Loop)):
            own += 1 if state.timeout is not None or state.retry else 0
        total += own + sum(_makers(catcher.states or ()) for catcher in state.catch)
        if isinstance(state, UndoableState):
            total += _makers(state.compensate)
    return total
