"""What is a callback called, and who answers it? Open callbacks as people see them, and answers that are known before.

The record knows a CALLBACK by its id and by its Name, which is that of the state that waits or the state's label; the
context of a `wait_for_callback` has that name, too. In a flat body the Name is a path that ends in the state's name.

Source: language.md 7, 8 and 12, rules 30, 44, 60, 77.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from durableflow.local import history
from durableflow.operations import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durableflow.local.executions import Turn
    from durableflow.local.store import Execution, Store
    from durableflow.operations import Operation

Expected: TypeAlias = "Mapping[tuple[str, str], Mapping[str, Sequence[str]]]"
"""By workflow and name of an execution: the answers to its callbacks and to those of its children, by state, as text.

They are used in their order, one for each callback that is answered, and the last one repeats (rule 60).
"""

_SUBTYPE: Final = "WaitForCallback"
_ANSWERED: Final = frozenset({"SUCCEEDED", "FAILED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A callback on record.

    Args:
        key: of its execution.
        operation: the CALLBACK.
        parent: the context that it stands in, or None.
    """

    key: int
    operation: Operation
    parent: Operation | None

    @property
    def id(self) -> str:
        """What it is answered by."""
        return self.operation.get("CallbackDetails", {}).get("CallbackId", "")

    @property
    def name(self) -> str:
        """What people call it: the Name of the `wait_for_callback`, else its own; empty when it has none."""
        return next(iter(self._names()), "")

    def is_called(self, name: str) -> bool:
        """Say whether it is that of a state of this name."""
        return any(name in (own, own.rpartition("/")[2]) for own in self._names())

    def _names(self) -> Iterator[str]:
        if self.parent is not None and self.parent.get("SubType") == _SUBTYPE and "Name" in self.parent:
            yield self.parent["Name"]
        if "Name" in self.operation:
            yield self.operation["Name"]


def find_callbacks(store: Store, key: int | None = None) -> list[Callback]:
    """Return the callbacks of an execution, answered ones too; or without one, every callback that is open."""
    return [
        Callback(key=row, operation=json.loads(body), parent=json.loads(parent) if parent is not None else None)
        for row, body, parent in store.callbacks(key)
    ]


def callback_facts(store: Store, callback: Callback, execution: Execution) -> history.Reply:
    """Return what people are told of a callback, with the times of an API reply.

    Returns:
        `{CallbackId, Name, Status, DurableExecutionArn, DurableExecutionName, StartTimestamp, TimeoutTimestamp?,
        HeartbeatTimeoutTimestamp?}`; the last two say when it will time out unless it is answered or gets a heartbeat.
    """
    operation = callback.operation
    made: history.Reply = {
        "CallbackId": callback.id,
        "Name": callback.name,
        "Status": operation["Status"],
        "DurableExecutionArn": execution.arn,
        "DurableExecutionName": execution.name,
        "StartTimestamp": history.seconds(operation.get("StartTimestamp", 0)),
    }
    due = store.timers_of(execution.key, operation["Id"])
    for kind, member in (("timeout", "TimeoutTimestamp"), ("heartbeat", "HeartbeatTimeoutTimestamp")):
        if kind in due:
            made[member] = history.seconds(due[kind])
    return made


def answer_expected(turn: Turn, store: Store, expected: Expected) -> None:
    """Answer every open callback that has an expected answer and that its execution waits for.

    An execution waits for a callback once it sleeps and everything that was started beside the callback, its submit
    states, has ended: whoever answers in real life cannot know the id before.
    """
    for callback in find_callbacks(store):
        execution = turn.execution_of_key(callback.key)
        if execution.invocation is not None or _is_due(turn, store, callback):
            continue
        for answers in _expected(turn, execution, expected):
            text = _next(callback, answers, find_callbacks(store, callback.key))
            if text is not None and not _is_submitting(store, callback):
                turn.settle(execution, callback.operation["Id"], "success", result=text)
                break


def _expected(turn: Turn, execution: Execution | None, expected: Expected) -> Iterator[Mapping[str, Sequence[str]]]:
    """Give the answers for an execution, then those for the executions that have started it."""
    while execution is not None:
        if (answers := expected.get((execution.function, execution.name))) is not None:
            yield answers
        execution = turn.execution_of_key(execution.caller) if execution.caller is not None else None


def _next(callback: Callback, answers: Mapping[str, Sequence[str]], others: Sequence[Callback]) -> str | None:
    """Return the next answer to a callback; None when none is known for its state.

    What has been answered is on record, so a process that is started again goes on where the one before it was.
    """
    for name, texts in answers.items():
        if texts and callback.is_called(name):
            used = sum(other.operation["Status"] in _ANSWERED and other.is_called(name) for other in others)
            return texts[min(used, len(texts) - 1)]
    return None


def _is_due(turn: Turn, store: Store, callback: Callback) -> bool:
    """Say whether a callback has run out: then it is closed, though nobody has come to fire its timer yet."""
    return any(due <= turn.now for due in store.timers_of(callback.key, callback.operation["Id"]).values())


def _is_submitting(store: Store, callback: Callback) -> bool:
    parent = callback.parent
    if parent is None or parent.get("SubType") != _SUBTYPE:
        return False
    inside = {parent["Id"]}
    for _, outer, body in store.operations(callback.key):
        if outer not in inside:
            continue
        operation = cast("dict[str, Any]", json.loads(body))
        if operation["Type"] == "CONTEXT":
            inside.add(operation["Id"])
        if operation["Id"] != callback.operation["Id"] and operation["Status"] not in TERMINAL:
            return True
    return False
