"""Who runs invocations of workflows in the service's own process? Its threads, where that has been asked for.

No process has to be started and nothing becomes JSON on its way, which is what this is for. The price: a handler that
ends its process ends the service with it, one that never returns cannot be ended, and all share one working directory,
one set of modules and one environment. So one environment of handlers runs here, the project's or else the first that
comes; whatever is of another one gets a worker process as ever, and so does every plain function.

What handlers write is theirs here as well: lines with the name of their state, without secrets. What anybody else in
this process writes passes by untouched.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from durableflow import values
from durableflow.local.invocations import invoked, tools_of
from durableflow.local.workers import NO_TOOLS, Durable, End
from durableflow.vault import Redactor
from durableflow.work import RootFinder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import TextIO

    from durableflow.calls import Tools
    from durableflow.local.workers import Asked, Environment, Task

# ---------------------------------------------------------------------------------------------------------------------
# What is written


@dataclass(slots=True)
class _Lines:
    """What an invocation or a call is writing: where whole lines go, and the beginning of the next one."""

    told: Callable[[str], None]
    begun: str = ""

    def add(self, text: str) -> None:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            self.told(line)

    def end(self) -> None:
        if self.begun:
            self.add("\n")


_LINES: ContextVar[_Lines | None] = ContextVar("_LINES", default=None)
"""Not the thread's: a handler with a timeout runs in one of its own, in the context of the one that waits for it."""


class _Stream:
    """Standard output or error of this process, as everybody else knows it; an invocation's lines go their own way."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        if (lines := _LINES.get()) is None:
            return self.stream.write(text)
        lines.add(text)
        return len(text)

    def flush(self) -> None:
        if _LINES.get() is None:
            self.stream.flush()


class _Handler(logging.Handler):
    """Takes the lines of `context.logger`, which are JSON objects as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        if (lines := _LINES.get()) is not None:
            lines.add(f"{record.getMessage()}\n")


class _Capture:
    """Hears what invocations of this process write, as long as anybody runs any here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._streams: dict[str, _Stream] = {}
        self._handler = _Handler()
        self._before: tuple[int, bool] = logging.NOTSET, True

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._streams = {name: _Stream(getattr(sys, name)) for name in ("stdout", "stderr")}
            for name, stream in self._streams.items():
                setattr(sys, name, stream)
            logger = logging.getLogger("durableflow.handlers")
            self._before = logger.level, logger.propagate
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.addHandler(self._handler)

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            for name, stream in self._streams.items():
                if getattr(sys, name) is stream:  # somebody may have put another one there meanwhile
                    setattr(sys, name, stream.stream)
            logger = logging.getLogger("durableflow.handlers")
            logger.setLevel(self._before[0])
            logger.propagate = self._before[1]
            logger.removeHandler(self._handler)


_CAPTURE = _Capture()


# ---------------------------------------------------------------------------------------------------------------------
# What is run


PATIENCE_SECONDS: Final = 0.005
"""How long an invocation that asks the service for nothing keeps its turn while others want one."""


class _Turns:
    """Lets one invocation compute at a time, as long as it does.

    Python runs one thread at a time anyway. Several that ask the service in turn hand its lock to one another at each
    request, which costs more than what they ask for. So whoever begins goes on until its end; if it asks for nothing
    for a while, since a handler of it waits for something, the next one goes on instead. No more than a courtesy:
    nothing depends on it being kept.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: object = None
        self._since = 0.0

    def take(self, who: object) -> None:
        """Wait for one's turn, and keep it."""
        if self._holder is not who:
            with self._changed:
                while self._holder is not None and (left := self._since + PATIENCE_SECONDS - time.monotonic()) > 0:
                    self._changed.wait(left)
                self._holder = who
        self._since = time.monotonic()

    def give(self, who: object) -> None:
        """Let the next one go on."""
        with self._changed:
            if self._holder is who:
                self._holder = None
                self._changed.notify()


class ClosedError(Exception):
    """The service that is asked runs no more; whoever asks is the rest of an invocation that was cut off."""


class Threads:
    """Runs invocations in the threads that it is called from. Thread-safe.

    Args:
        asked: called with each request of an invocation to the service.
        write: called with each line that a handler writes: the task's id, whose line it is, the line.
        clock_ms: the time in epoch milliseconds, the service's.
        environment: whose workflows run here; None for that of the first one that comes.
    """

    def __init__(
        self,
        *,
        asked: Asked,
        write: Callable[[str, str, str], None],
        clock_ms: Callable[[], int],
        environment: Environment | None = None,
    ) -> None:
        self._asked = asked
        self._write = write
        self._clock_ms = clock_ms
        self._environment = environment
        self._told = Redactor()
        self._changed = threading.Condition()
        self._asking = 0
        self._closed = threading.Event()
        self._turns = _Turns()
        self._tools: Tools | None = None
        self._replaced: dict[str, tuple[str, str | None]] = {}

    def takes(self, task: Task) -> bool:
        """Say whether a task is to be run here."""
        if not isinstance(task, Durable):
            return False
        if self._environment is None:
            with self._changed:
                self._environment = self._environment or task.environment
        return task.environment == self._environment

    def run(self, task: Durable) -> End:
        """Make one invocation."""
        tools = self._tools or self._equipped(task.environment)

        @contextmanager
        def labelled(label: str) -> Generator[None]:
            lines = _Lines(lambda line: self._write(task.id, label, self._told.text(line)))
            token = _LINES.set(lines)
            try:
                yield
            finally:
                _LINES.reset(token)
                lines.end()

        service = _Asking(self)
        self._turns.take(service)
        try:
            with labelled(task.label):
                end = invoked(
                    task.event,
                    plan=task.plan,
                    service=service,
                    tools=tools,
                    labelled=labelled,
                    env=dict(task.environment.env),
                    operations_max=task.operations_max,
                    offload=task.offload,
                )
        finally:
            self._turns.give(service)
        return End(**cast("dict[str, Any]", end))

    def _equipped(self, environment: Environment) -> Tools:
        with self._changed:
            if self._closed.is_set():
                raise ClosedError
            if self._tools is None:
                # Handlers read the names that the project sets, as they do in a process of their own.
                for name, value in environment.env:
                    self._replaced[name] = value, os.environ.get(name)
                    os.environ[name] = value
                _CAPTURE.begin()
                self._tools = tools_of(
                    cast("dict[str, Any]", values.from_text(environment.tools or NO_TOOLS)),
                    roots=environment.roots,
                    count=self._count_answer,
                    told=self._told,
                    clock_ms=self._clock_ms,
                )
            return self._tools

    def close(self) -> None:
        """Answer no request any more, and return when none is under way; what still runs, runs for nobody."""
        with self._changed:
            if self._closed.is_set():
                return
            self._closed.set()
            self._changed.wait_for(lambda: not self._asking)
            if self._tools is None or self._environment is None:
                return
            _CAPTURE.end()
            for roots in (self._environment.roots, (self._environment.folder,)):
                # Whoever runs handlers in this process next may have modules of the same names.
                RootFinder.installed(roots).forget()
            for name, (given, before) in self._replaced.items():
                if os.environ.get(name) != given:
                    continue  # a handler's doing
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before

    def _count_answer(self, execution_arn: str, answer: str, call: str) -> int:
        members = {"DurableExecutionArn": execution_arn, "Answer": answer, "Call": call}
        number: int = self.ask("count_answer", members)["Number"]
        return number

    def ask(self, method: str, members: Mapping[str, Any], *, turn_of: object = None) -> Mapping[str, Any]:
        """Pass a request on to the service.

        Args:
            method: of the service.
            members: its arguments.
            turn_of: whose turn it is to be; None where it does not matter.

        Raises:
            ClosedError: it is too late.
        """
        if turn_of is not None:
            self._turns.take(turn_of)
        with self._changed:
            if self._closed.is_set():
                raise ClosedError
            self._asking += 1
        try:
            return self._asked(method, members)
        finally:
            with self._changed:
                self._asking -= 1
                if self._closed.is_set():
                    self._changed.notify_all()


class _Asking:
    """The service, as the driver of one invocation sees it."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def checkpoint_durable_execution(self, **members: Any) -> Mapping[str, Any]:
        """Pass a checkpoint on to the service."""
        return self._threads.ask("checkpoint_durable_execution", members, turn_of=self)

    def get_durable_execution_state(self, **members: Any) -> Mapping[str, Any]:
        """Pass a look at the state on to the service."""
        return self._threads.ask("get_durable_execution_state", members, turn_of=self)
