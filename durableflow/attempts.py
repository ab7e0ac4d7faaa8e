"""Again, and within a time limit: what every state that may be retried or timed has in common.

A retry of anything but a step is a new operation (`@2`) after a wait of its own. A time limit is a race between the
work and a wait: who has won is put on record before anything else happens, so that it stays won.

Source: language.md 6 and 12, rules 22, 24, 27, 28, 58, 63, 64, 69, 70, 75; protocol.md 5.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

from durableflow import faults
from durableflow.errors import Fault, Origin
from durableflow.frontier import BRANCHES, CONTEXT, OPEN_DIGITS, WAIT
from durableflow.operations import TERMINAL, wire_name
from durableflow.plan import ChildWorkflow, Invoke
from durableflow.scope import Mode, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.expressions import Program
    from durableflow.frontier import Steps
    from durableflow.operations import ErrorObject, Operation
    from durableflow.plan import Node, Plan, Retried
    from durableflow.scope import Scope, Site
    from durableflow.walker import Walker

_T = TypeVar("_T")

_TIMEOUT: Final = ":timeout"
_TIMED_OUT: Final = ":timed_out"


# Waits that are helpers ----------------------------------------------------------------------------------------------


def pause(walker: Walker, path: str, name: str, seconds: int, node: Node, site: Site) -> Steps[Operation]:
    """Wait as a helper of a state: with a path of its own, and unseen by `context.now` (rule 64); return the wait."""
    key = walker.frontier.key(path)
    name = wire_name(name)
    operation = walker.frontier.recorded(key, WAIT, name, node, path, site.scope)
    if operation is None:
        operation = yield from started_wait(walker, key, name, seconds, site.scope)
    return (yield from ended(walker, key, path, operation))


def started_wait(walker: Walker, key: str, name: str, seconds: int, scope: Scope) -> Steps[Operation]:
    """Start a wait and return it as the service answers."""
    walker.frontier.update(key, WAIT, "START", name, scope)["WaitOptions"] = {"WaitSeconds": seconds}
    yield key
    return walker.frontier.operations[key]


def ended(walker: Walker, key: str, path: str, operation: Operation) -> Steps[Operation]:
    """Wait until an operation is finished."""
    frontier = walker.frontier
    while operation["Status"] not in TERMINAL:
        frontier.see(key, path, operation)
        yield key
        operation = frontier.operations[key]
    frontier.see(key, path, operation)
    return operation


def elapsed_seconds(began: int | None, finished: int | None) -> float | None:
    """Return the time between two recorded times, or None when one is not known."""
    return None if began is None or finished is None else (finished - began) / 1000


# Attempts ------------------------------------------------------------------------------------------------------------


def attempts(
    walker: Walker,
    node: Retried,
    site: Site,
    name: str,
    attempt: Callable[[], Steps[_T]],
    *,
    undone: Callable[[Fault], Steps[None]] | None = None,
) -> Steps[_T]:
    """Make attempts of a state until one succeeds or its retriers give up.

    Args:
        walker: what the constructs share.
        node: the state.
        site: its visit; `site.attempt` is the number of the attempt that is being made.
        name: its Name.
        attempt: makes one; a fault is its failure.
        undone: makes undone what a failed attempt did, when there is to be another one (rules 24, 73).
    """
    return attempt() if not node.retry else _attempts(walker, node, site, name, attempt, undone)


def _attempts(
    walker: Walker,
    node: Retried,
    site: Site,
    name: str,
    attempt: Callable[[], Steps[_T]],
    undone: Callable[[Fault], Steps[None]] | None,
) -> Steps[_T]:
    frontier = walker.frontier
    began: int | None = None
    since: int | None = None
    while True:
        path = site.attempt_path
        try:
            return (yield from attempt())
        except Fault as raised:
            fault = raised
        if fault.name == faults.COMPENSATION_FAILED:
            raise fault
        key = frontier.key(path)
        if any(retrier.max_duration for retrier in node.retry):
            yield from frontier.answers(key)
        operation = frontier.operations.get(key)
        last = frontier.operations.get(frontier.key(path + _TIMED_OUT)) or operation
        if began is None and operation is not None:
            began = operation.get("StartTimestamp")
        # An attempt whose arguments failed has no operation: it took no time, and began when the pause before it ended.
        elapsed = elapsed_seconds(began, last.get("EndTimestamp") if last else since) if began is not None else 0.0
        delay = yield from walker.retry_seconds(node.retry, fault, site, key=key, elapsed_seconds=elapsed)
        if delay is None:
            raise fault
        if undone is not None:
            yield from undone(fault)
        paused = yield from pause(walker, f"{path}:backoff", f"{name}-backoff-{site.attempt}", delay, node, site)
        if began is None:
            began = paused.get("StartTimestamp")
        since = paused.get("EndTimestamp")
        site.attempt += 1
        site.renew()


# The race against a wait ---------------------------------------------------------------------------------------------


def timed(
    walker: Walker,
    timeout: Program | None,
    node: Node | Plan,
    site: Site,
    name: str,
    work: Callable[[Scope, Timeline], Steps[_T]],
    *,
    path: str,
) -> Steps[_T]:
    """Do work within a time limit (rule 28).

    Args:
        walker: what the constructs share.
        timeout: the limit; without one there is no race.
        node: the state or workflow.
        site: its visit.
        name: its Name.
        work: does the work in the scope and on the timeline that it is given.
        path: of the attempt; the helpers' paths begin with it.

    Raises:
        Fault: States.Timeout, or what the work raises.
    """
    if timeout is None:
        return work(site.scope, site.timeline)
    return _timed(walker, timeout, node, site, name, work, path)


def _timed(
    walker: Walker,
    timeout: Program,
    node: Node | Plan,
    site: Site,
    name: str,
    work: Callable[[Scope, Timeline], Steps[_T]],
    path: str,
) -> Steps[_T]:
    frontier = walker.frontier
    scope = site.scope
    name = wire_name(f"{name}-timeout")
    key = frontier.key(path + _TIMED_OUT)
    if key in frontier.operations and not (scope.mode is Mode.FROZEN and frontier.was_open(key, scope)):
        frontier.pass_by(frontier.key(path + _TIMEOUT))
        record = frontier.recorded(key, CONTEXT, name, node, path + _TIMED_OUT, scope)
        error = record.get("ContextDetails", {}).get("Error") if record else None
        # What was cut off is walked as it was then, for its variables and for what has to be undone of it.
        branch = frontier.spawn(work(scope.in_mode(Mode.FROZEN, _open_ids(error)), site.timeline.branch()))
        while not branch.is_over:
            yield BRANCHES
        site.timeline.passed(key)
        raise _timeout_fault(error, node, site)
    wait = frontier.key(path + _TIMEOUT)
    finished = frontier.operations.get(frontier.key(path))
    if scope.mode is Mode.FROZEN or (finished is not None and finished["Status"] in TERMINAL):
        frontier.pass_by(wait)
        return (yield from work(scope, site.timeline))
    if frontier.recorded(wait, WAIT, name, node, path + _TIMEOUT, scope) is None:
        seconds = max(1, math.ceil((yield from walker.seconds(timeout, site, "timeout"))))
        frontier.update(wait, WAIT, "START", name, scope)["WaitOptions"] = {"WaitSeconds": seconds}
        yield from frontier.settled()
    timeline = site.timeline.branch()
    working = frontier.spawn(work(scope, timeline))
    waiting = frontier.spawn(_over(walker, wait))
    while not working.is_over:
        if waiting.is_over:
            late: ErrorObject = {
                "ErrorType": faults.TIMEOUT,
                "ErrorMessage": f"'{node.name}' took longer than its timeout",
                "ErrorData": f'"{frontier.open_ids([working])}"',
            }
            frontier.abandon([working])
            frontier.update(key, CONTEXT, "START", name, scope)
            frontier.update(key, CONTEXT, "FAIL", name, scope)["Error"] = late
            yield from frontier.answers(key)
            site.timeline.passed(key)
            raise _timeout_fault(late, node, site)
        yield BRANCHES
    frontier.abandon([waiting])
    site.timeline.ends.extend(timeline.ends)
    result: _T = working.take()
    return result


def _over(walker: Walker, key: str) -> Steps[None]:
    operations = walker.frontier.operations
    while key not in operations or operations[key]["Status"] not in TERMINAL:
        yield key


def _open_ids(error: ErrorObject | None) -> frozenset[str]:
    return open_ids(((error or {}).get("ErrorData") or "").strip('"'))


def open_ids(text: str) -> frozenset[str]:
    """Return the beginnings of ids that stand in a text one after the other."""
    return frozenset(text[at : at + OPEN_DIGITS] for at in range(0, len(text), OPEN_DIGITS))


def _timeout_fault(error: ErrorObject | None, node: Node | Plan, site: Site) -> Fault:
    fault = Fault(faults.TIMEOUT, (error or {}).get("ErrorMessage", ""))
    status = "TIMED_OUT" if isinstance(node, (Invoke, ChildWorkflow)) else None
    fault.origin = Origin(state=node.name, attempt=site.attempt, status=status, is_work=True)
    return fault
