"""What is a callback called, and who answers it? Open callbacks as people see them, and answers that are known before.

The record knows a CALLBACK by its id and by its Name, which is that of the state that waits or the state's label; the
context of a `wait_for_callback` has that name, too. In a flat body the Name is a path that ends in the state's name.

Source: language.md 7, 8 and 12, rules 30, 44, 60, 77.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from durableflow.local import history
from durableflow.local.store import DamagedError, parsed
from durableflow.operations import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durableflow.local.executions import Turn
    from durableflow.local.store import Execution, Store
    from durableflow.operations import Operation

Expected: TypeAlias = "Mapping[tuple[str, str], Mapping[str, Sequence[str | None]]]"
"""By workflow and name of an execution: the answers to its callbacks and to those of its children, by state, as text.

They are used in the order in which the callbacks of the state are opened, and the last one repeats (rule 60). None is
no answer: that callback stays open until it times out or somebody else answers it.
"""

_SUBTYPE: Final = "WaitForCallback"


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
    found: list[Callback] = []
    for row, body, parent in store.callbacks(key):
        # What cannot be read is not offered: those of the other executions are to be found all the same.
        with suppress(DamagedError):
            context = cast("Operation", parsed(row, parent)) if parent is not None else None
            found.append(Callback(key=row, operation=cast("Operation", parsed(row, body)), parent=context))
    return found


def find_callback(store: Store, callback_id: str) -> Callback | None:
    """Return the callback of an id, open or not; None when there is none."""
    row = store.callback(callback_id)
    if row is None:
        return None
    operation = cast("Operation", store.operation(row[0], row[1]))
    parent = store.operation(row[0], operation["ParentId"]) if "ParentId" in operation else None
    return Callback(key=row[0], operation=operation, parent=parent)


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


def expected_answers(turn: Turn, store: Store, expected: Expected) -> Iterator[tuple[int, str, str]]:
    """Give execution, operation and answer of every open callback that is waited for and an answer is known to.

    An execution waits for a callback once it sleeps and everything that was started beside the callback, its submit
    states, has ended: whoever answers in real life cannot know the id before.
    """
    records: dict[int, _Record] = {}
    for callback in find_callbacks(store):
        execution = turn.execution_of_key(callback.key)
        if execution.invocation is not None or _is_due(turn, store, callback):
            continue
        for one in turn.lineage(execution):
            answers = expected.get((one.function, one.name))
            if answers is None:
                continue
            record = records.get(callback.key)
            if record is None:
                record = records[callback.key] = _Record(store, callback.key)
            if (text := record.answer_to(callback, answers)) is not None:
                yield callback.key, callback.operation["Id"], text
                break


def _is_due(turn: Turn, store: Store, callback: Callback) -> bool:
    """Say whether a callback has run out: then it is closed, though nobody has come to fire its timer yet."""
    return any(due <= turn.now for due in store.timers_of(callback.key, callback.operation["Id"]).values())


class _Record:
    """What an execution has on record, read once however many of its callbacks are open."""

    def __init__(self, store: Store, key: int) -> None:
        self._callbacks = find_callbacks(store, key)
        self._answers: dict[str, dict[str, str | None]] = {}
        self._children: dict[str, list[Operation]] = {}
        for _, parent, body in store.operations(key):
            if parent is not None:
                self._children.setdefault(parent, []).append(cast("Operation", parsed(key, body)))

    def answer_to(self, callback: Callback, answers: Mapping[str, Sequence[str | None]]) -> str | None:
        """Return the answer to a callback; None when none is known for its state, or it is to have none.

        What has been opened is on record, so a process that is started again goes on where the one before it was.
        """
        for name, texts in answers.items():
            if texts and callback.is_called(name) and not self._is_submitting(callback):
                return self._given(name, texts)[callback.operation["Id"]]
        return None

    def _given(self, name: str, texts: Sequence[str | None]) -> Mapping[str, str | None]:
        """Return what each callback of a state gets. One that timed out has used no answer, only the lack of one."""
        if (given := self._answers.get(name)) is None:
            given = self._answers[name] = {}
            number = 0
            for each in self._callbacks:
                text = texts[min(number, len(texts) - 1)]
                if each.is_called(name) and (text is None or each.operation["Status"] != "TIMED_OUT"):
                    given[each.operation["Id"]] = text
                    number += 1
        return given

    def _is_submitting(self, callback: Callback) -> bool:
        parent = callback.parent
        if parent is None or parent.get("SubType") != _SUBTYPE:
            return False
        waiting = [parent["Id"]]
        while waiting:
            for operation in self._children.get(waiting.pop(), ()):
                if operation["Type"] == "CONTEXT":
                    waiting.append(operation["Id"])
                if operation["Id"] != callback.operation["Id"] and operation["Status"] not in TERMINAL:
                    return True
        return False
