"""Which executions has an execution started, and they others? The tree of them, from their histories.

A history says which execution each chained invoke started, so this works wherever histories can be read. Plain
functions are no executions and stand in the history of their caller alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from durableflow.cli import loading
from durableflow.cli.progress import elapsed
from durableflow.errors import ServiceError
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Events = Iterable[Mapping[str, Any]]

SIBLINGS_MAX: Final = 50
"""How many children of one execution are written for people; a program gets all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """An execution that another one has started.

    Args:
        state: which state of its caller started it; empty for one without a name.
        function: what was called, as the caller has it.
        arn: of the execution.
        found: as the API describes it; None for one that is no longer there.
        children: what it has started in turn, oldest first.
    """

    state: str
    function: str
    arn: str
    found: Mapping[str, Any] | None
    children: tuple[Child, ...]


def children_of(
    events: Events, *, describe: Callable[[str], Mapping[str, Any]], history: Callable[[str], Events]
) -> tuple[Child, ...]:
    """Return what an execution has started, oldest first.

    Args:
        events: its history.
        describe: gives an execution by its ARN as the API does.
        history: gives the events of an execution.
    """
    return tuple(_children(events, describe, history))


def _children(
    events: Events, describe: Callable[[str], Mapping[str, Any]], history: Callable[[str], Events]
) -> Iterator[Child]:
    for event in events:
        details: Mapping[str, Any] = event.get("ChainedInvokeStartedDetails") or {}
        arn: str | None = details.get("DurableExecutionArn")
        if not arn:
            continue
        try:
            found = describe(arn)
            children = children_of(history(arn), describe=describe, history=history)
        except ServiceError as error:
            if error.name != "ResourceNotFoundException":
                raise
            found, children = None, ()  # what has ended is not kept for ever
        yield Child(
            state=str(event.get("Name") or ""),
            function=str(details.get("FunctionName") or ""),
            arn=arn,
            found=found,
            children=children,
        )


def to_json(children: Sequence[Child]) -> list[dict[str, Any]]:
    """Return a tree for programs; what is no longer there has no status."""
    return [_facts(child) for child in children]


def _facts(child: Child) -> dict[str, Any]:
    found = child.found or {}
    return {
        "state": child.state or None,
        "function": child.function,
        "executionArn": child.arn,
        "name": found.get("DurableExecutionName"),
        "workflow": loading.workflow_of(found) if found else None,
        "status": found.get("Status"),
        "started": found.get("StartTimestamp"),
        "ended": found.get("EndTimestamp"),
        "error": found.get("Error"),
        "children": to_json(child.children),
    }


def told(children: Sequence[Child]) -> Iterator[str]:
    """Give the lines that tell people what an execution has started; none when that is nothing."""
    if children:
        yield "executions that it has started"
        yield from (f"  {line}" for line in lines(children))


def lines(children: Sequence[Child], *, depth: int = 0) -> Iterator[str]:
    """Give the lines of a tree for people, each child below the execution that has started it and further in."""
    shown_ones = children[:SIBLINGS_MAX]
    width = max((len(shown(child.state or "-")) for child in shown_ones), default=0)
    for child in shown_ones:
        yield f"{'  ' * depth}{shown(child.state or '-').ljust(width)}  {shown(child.function)}  {_status(child.found)}"
        yield from lines(child.children, depth=depth + 1)
    if len(children) > SIBLINGS_MAX:
        yield f"{'  ' * depth}… and {len(children) - SIBLINGS_MAX} more"


def _status(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no longer there"
    status = f"{found['Status']}  {shown(found['DurableExecutionName'])}"
    if found.get("EndTimestamp"):
        status += f"  after {elapsed(found['EndTimestamp'] - found['StartTimestamp'])}"
    if error := found.get("Error"):
        status += f"  {shown(error.get('ErrorType', ''))}: {shown(error.get('ErrorMessage', ''))}"
    return status
