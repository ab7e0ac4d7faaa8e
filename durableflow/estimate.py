"""How many operations can an execution take? The worst path of a workflow, by the price table of language.md section 2.

A durable execution has a budget of operations, 3,000 by default, so the author should know the price before the run.
The worst path takes the dearest arm of every choice, every iteration, every attempt, fails as late as it can, undoes
everything and runs every catcher's states; of a map's items one is that unlucky. What the file does not say (how many
items a list will have) is assumed, and each assumption is reported with the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durableflow.model import Retrier, State, Workflow

ASSUMED_ITEMS: Final = 1_000
ASSUMED_POLLS: Final = 100
_ASSUMPTIONS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The price of the worst path.

    Args:
        operations: as the platform meters them, the start of the execution left out.
        assumptions: what was assumed, each as a phrase such as `map 'all' assumed 1,000 items`.
    """

    operations: int
    assumptions: tuple[str, ...]

    def __str__(self) -> str:
        if not self.assumptions:
            return ""
        rest = len(self.assumptions) - _ASSUMPTIONS_SHOWN
        more = [f"{rest} more"] if rest > 0 else []
        return f" ({'; '.join([*self.assumptions[:_ASSUMPTIONS_SHOWN], *more])})"


def estimate(workflow: Workflow) -> Estimate:
    """Return the price of a workflow's worst path."""
    pricing = _Pricing(workflow)
    catchers = max((pricing.all_of(c.states or ()) for c in workflow.catch), default=0)
    total = pricing.all_of(workflow.states) + catchers + pricing.all_of(workflow.finally_)
    if workflow.timeout is not None:
        total += 1
    return Estimate(operations=total, assumptions=tuple(pricing.assumptions))


class _Pricing:
    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._iterations = 1
        self._counts_retries = True
        self.assumptions: dict[str, None] = {}

    def all_of(self, states: Sequence[State]) -> int:
        return sum(map(self._state, states))

    def _state(self, state: State) -> int:
        total = self._attempts(state, self._attempt(state))
        total += max((self.all_of(catcher.states or ()) for catcher in state.catch), default=0)
        if isinstance(state, UndoableState):
            total += self.all_of(state.compensate)
        return total

    def _attempts(self, state: State, once: int) -> int:
        """Return the price of all attempts of a state that costs `once`."""
        repeats = self._retries(state)
        if isinstance(state, (Step, Aws, Http, WaitForCondition)):
            return once + repeats  # in place; whether they are metered is not documented clearly, so they are counted
        return once * (1 + repeats) + repeats  # a wait before each new attempt

    def _retries(self, state: State) -> int:
        if not isinstance(state, RetriedState) or not self._counts_retries:
            return 0
        retry = state.retry
        if retry is None and isinstance(state, (Invoke, Step, Aws, Http, ChildWorkflow)) and self._workflow.defaults:
            retry = self._workflow.defaults.retry
        retriers: Sequence[Retrier] = (
            self._workflow.retry_policies.get(retry, ()) if isinstance(retry, str) else retry or ()
        )
        return max((retrier.max_attempts for retrier in retriers), default=1) - 1

    def _attempt(self, state: State) -> int:  # noqa: C901, PLR0911, PLR0912 - one return for each type
        timeout = 1 if isinstance(state, RetriedState) and state.timeout is not None else 0
        match state:
            case Invoke():
                return 1 + timeout
            case ChildWorkflow():
                if state.mode == "inline":
                    self.assumptions[f"the inline workflow '{state.workflow}' counted as 1"] = None
                return 1 + timeout
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
                nested = state.nesting == "nested" or (
                    state.nesting is None and any(not _is_flat(states) for states in state.branches.values())
                )
                inside = sum(map(self.all_of, state.branches.values()))
                return 1 + inside + (len(state.branches) if nested else 0) + timeout
            case Map():
                return 1 + self._body(state) + timeout
            case Pass() | Succeed() | Fail():
                return 0
            case _:
                assert_never(state)

    def _context(self, state: Choice | Block | Loop) -> int:
        """Return 1 where `retry`, `timeout` or `context: true` makes a context of what costs nothing (rule 23)."""
        made = isinstance(state, Block) and state.context
        return 1 if made or state.timeout is not None or self._retries(state) else 0

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
        items = max(1, ASSUMED_ITEMS // self._iterations)  # a loop around the map shares them
        self.assumptions[f"map '{state.name}' assumed {items:,} items"] = None
        worst = self.all_of(state.states)
        outside, self._counts_retries = self._counts_retries, False
        usual = self.all_of(state.states)
        self._counts_retries = outside
        nested = state.nesting == "nested" or (state.nesting is None and not _is_flat(state.states))
        runs = -(-items // (state.batch_size or 1))
        return runs * (usual + (1 if nested else 0)) + worst - usual


def _is_flat(states: Sequence[State]) -> bool:
    """Say whether a body holds at most one operation-making state, at any depth but not in a loop (rule 32)."""
    return _makers(states) <= 1


def _makers(states: Sequence[State]) -> int:
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
    return total
