"""The executions of a store on this machine, as a place: who reads opens it, what changes is asked of its owner."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from durableflow.cli import places, stores
from durableflow.errors import ServiceError
from durableflow.local.engine import LOOK_SECONDS, Engine
from durableflow.local.owner import is_owned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from durableflow.local.service import Service

PAGE: Final = 1000
_READING: Final = frozenset(
    {"get_durable_execution", "get_durable_execution_history", "list_durable_executions_by_function"}
)


class Here:
    """A store on this machine.

    Args:
        file: of the store; it exists.
    """

    name = "here"

    def __init__(self, file: Path) -> None:
        self._file = file
        self._open = ExitStack()
        self._reader: Service | None = None
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        """Return the place."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the store."""
        self._open.close()

    @property
    def _service(self) -> Service:
        if self._reader is None:
            self._reader = self._open.enter_context(stores.reader(self._file))
        return self._reader

    def ask(self, operation: str, /, **members: Any) -> dict[str, Any]:
        """Read in the store, or have its owner do something; see `Place.ask`."""
        given = {member: value for member, value in members.items() if value is not None}
        reply: dict[str, Any]
        if operation in _READING:
            reply = getattr(self._service, operation)(**given)
            return reply
        if self._engine is None:
            self._engine = self._open.enter_context(Engine(store=self._file))
        reply = self._engine.ask(operation, **given)
        return reply

    def executions(
        self, *, function: str | None, name: str | None = None, statuses: Sequence[str] = (), limit: int = 0
    ) -> Iterator[Mapping[str, Any]]:
        """Give executions as the API lists them, newest first; see `Place.executions`."""
        marker, left = None, limit or None
        while True:
            count = PAGE if left is None else min(PAGE, left)
            reply = self._page(function, DurableExecutionName=name, Statuses=statuses, Marker=marker, MaxItems=count)
            yield from reply["DurableExecutions"]
            marker = reply.get("NextMarker")
            if left is not None:
                left -= len(reply["DurableExecutions"])
            if not marker or left == 0:
                return

    def _page(self, function: str | None, **members: Any) -> dict[str, Any]:
        if function is None:
            return self._service.list_executions(**members)
        return self._service.list_durable_executions_by_function(FunctionName=function, **members)

    def arn_of(self, execution: str, *, function: str | None = None) -> str:
        """Return the ARN of an execution; see `Place.arn_of`."""
        return stores.arn_of(self._service, execution, function)

    def events(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution up to now."""
        return self._events(arn, 0)

    def _events(self, arn: str, after: int) -> Iterator[Mapping[str, Any]]:
        while events := self._service.events(DurableExecutionArn=arn, After=after):
            yield from events
            after = events[-1]["EventId"]

    def follow(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution as they happen, up to the one that ends it."""
        after = 0
        while True:
            for event in self._events(arn, after):
                yield event
                after = event["EventId"]
                if event["EventType"] in places.ENDS:
                    return
            time.sleep(LOOK_SECONDS)

    def logs(self, arn: str, *, follow: bool) -> Iterator[Mapping[str, Any]]:
        """Give the lines that handlers and functions of an execution wrote; see `Place.logs`."""
        after = 0
        service = self._service
        while True:
            # Asked for first: whatever is written before the end is there afterwards.
            has_ended = "EndTimestamp" in service.get_durable_execution(DurableExecutionArn=arn)
            while lines := service.logs(DurableExecutionArn=arn, After=after):
                yield from lines
                after = lines[-1]["Id"]
            if has_ended or not follow:
                return
            time.sleep(LOOK_SECONDS)

    def callbacks(self, arn: str | None = None) -> list[Mapping[str, Any]]:
        """Return open callbacks; see `Place.callbacks`."""
        return [*self._service.callbacks(DurableExecutionArn=arn, WithChildren=True)]

    def callback_id(self, asked: str, *, execution: str | None, function: str | None) -> str:
        """Return the id of the callback that is meant; see `Place.callback_id`."""
        try:
            known: str = self._service.callback(CallbackId=asked)["CallbackId"]
        except ServiceError:
            pass
        else:
            return known
        service = self._service
        arn = stores.arn_of(service, execution, function) if execution is not None else None
        found = service.callbacks(DurableExecutionArn=arn, Name=asked)
        if not found and execution is None:
            of_execution = (each["DurableExecutionName"] for each in service.callbacks())
            if asked.startswith("arn:") or asked in of_execution:
                found = service.callbacks(DurableExecutionArn=stores.arn_of(service, asked, function))
        return places.the_one(asked, found, known=service.callbacks(), place=self.name)

    def callback(self, callback_id: str) -> Mapping[str, Any] | None:
        """Return what is known of a callback."""
        return self._service.callback(CallbackId=callback_id)

    def meter(self, arn: str, events: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:  # noqa: ARG002 - see Place
        """Return what an execution took; see `Place.meter`."""
        return self._service.meter(DurableExecutionArn=arn)

    def words(self) -> list[str]:
        """Return the options that mean this place in another command."""
        return stores.words(self._file)

    def is_run(self) -> bool:
        """Say whether somebody runs the executions of this place: another process, for this one is about to end."""
        if self._engine is not None:
            return not self._engine.is_owner
        return is_owned(self._file)
