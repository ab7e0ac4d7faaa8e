"""Who runs executions here? The service, its clock, its workers and the lock of its store, put together.

One process owns a store and runs what is in it; every other process asks that one. An :class:`Engine` is either, behind
the same methods. A client whose owner goes away takes the store over and goes on, so that nobody has to care who
happens to own it.

Source: language.md 12, rules 30, 41, 43; reliability.md 4.6, B22.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from durableflow import plan as plans
from durableflow.errors import UsageError, diagnostic
from durableflow.local.clock import Clock, SkipClock, SystemClock
from durableflow.local.http import Server
from durableflow.local.jobs import SIZE_MAX_BYTES
from durableflow.local.owner import (
    REQUEST_SECONDS,
    Address,
    Control,
    OwnerGoneError,
    Remote,
    StoreLock,
    address_of_owner,
)
from durableflow.local.service import Limits, Service
from durableflow.local.store import open_store
from durableflow.local.targets import Targets
from durableflow.local.threads import Threads
from durableflow.local.workers import End, Pool, to_standard_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from durableflow.local.callbacks import Expected
    from durableflow.local.service import Job
    from durableflow.local.store import Durability
    from durableflow.operations import ErrorObject
    from durableflow.plan import Plan
    from durableflow.project import ProjectContext
    from durableflow.values import Json

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
"""How often a client looks for new events of the owner's."""
OWNER_SECONDS: Final = 10.0
"""How long a client waits for an owner that has the lock and does not say yet where it listens."""
DRAIN_SECONDS: Final = 1.0
"""How long what runs may take to end when the engine is closed; what is cut off runs again later."""
LINES_SECONDS: Final = 0.25
"""How long a line that a handler has written may wait to be stored, so that several go together."""
TICK_MAX_SECONDS: Final = 60.0
"""Longest sleep of the timers' thread: a machine that was suspended or whose clock was set is noticed within it."""

SWEEP_SECONDS: Final = 60.0
"""How often executions are looked for whose retention is over."""
DELETED_AT_ONCE: Final = 100
"""How many executions are deleted in one transaction, during which nothing else happens."""


class _Owner:
    """The owner's side: everything in this process.

    Args:
        store: its file, or None for one in memory.
        lock: of the store; None in memory.
        targets: what function names stand for.
        is_skipping: whether waits are skipped (rule 30).
        durability: of the store.
        workers: most worker processes; None for the default.
        is_in_process: whether invocations of workflows run in threads of this process.
        log: called with each line that a handler or target writes, and whose it is.
        expected: answers to callbacks. Known from the start, since time may be skipped from then on.
    """

    def __init__(  # noqa: PLR0913 - what an owner is made of
        self,
        store: Path | None,
        lock: StoreLock | None,
        targets: Targets,
        *,
        is_skipping: bool,
        durability: Durability,
        workers: int | None,
        is_in_process: bool,
        log: Callable[[str, str], None],
        expected: Expected,
    ) -> None:
        self._lock = lock
        self._targets = targets
        self._machine = SystemClock()
        self._clock: Clock = SkipClock(self._machine) if is_skipping else self._machine
        self._store = open_store(store, durability=durability)
        inside: Threads | None = None
        if is_in_process:
            inside = Threads(
                asked=self._asked_by_worker,
                write=self._write,
                clock_ms=self._clock.now,
                environment=targets.environment,
            )
        self._pool = Pool(
            asked=self._asked_by_worker, ended=self._ended, size=workers, log=log, inside=inside, wrote=self._wrote
        )
        self.service = Service(
            store=self._store,
            clock=self._clock,
            functions=targets,
            invoker=self,
            limits=Limits(operations=targets.operations_max, size_bytes=SIZE_MAX_BYTES),
        )
        self._wake = threading.Condition()
        self._is_woken = False
        self._lines_due: float | None = None
        self._asleep_until = float("inf")
        self._is_closing = False
        self._happened = threading.Condition()
        self._events = 0
        self._watching = 0
        self._waiting: set[threading.Event] = set()
        self._is_left = False
        self._expected = dict(expected)
        self._may_skip = False
        self._sweep_at = time.monotonic()
        self._is_closed = False
        self.service.recorded = self._recorded
        self.service.due = self._due
        self._methods = self._served()
        self._control: Control | None = None
        self._server: Server | None = None
        # A door of its own: it is open as long as functions run, wherever others may ask, and whether they may.
        self._inner: Server | None = None
        if targets.has_sdk_functions:
            self._inner = Server(self._asked_over_http)
            targets.endpoint = self._inner.url
        if lock is not None:
            self._control = Control({name: partial(self._asked_by_others, name) for name in self._methods})
            lock.tell(self._control.address)
        self._timers = threading.Thread(target=self._run_timers, name="durableflow-timers", daemon=True)
        self._timers.start()

    def _served(self) -> dict[str, Callable[..., Any]]:
        service = self.service
        return {
            "invoke": service.invoke,
            "get_durable_execution": service.get_durable_execution,
            "get_durable_execution_history": service.get_durable_execution_history,
            "list_executions": service.list_executions,
            "stop_durable_execution": service.stop_durable_execution,
            "pause_durable_execution": service.pause_durable_execution,
            "resume_durable_execution": service.resume_durable_execution,
            "delete_durable_execution": service.delete_durable_execution,
            "delete_executions": service.delete_executions,
            "meter": service.meter,
            "operations": service.operations,
            "checkpoint_durable_execution": service.checkpoint_durable_execution,
            "get_durable_execution_state": service.get_durable_execution_state,
            "list_durable_executions_by_function": service.list_durable_executions_by_function,
            "list_functions": service.list_functions,
            "get_function": service.get_function,
            "get_function_configuration": service.get_function_configuration,
            "events": service.events,
            "logs": service.logs,
            "callbacks": service.callbacks,
            "callback": service.callback,
            "send_durable_execution_callback_success": service.send_durable_execution_callback_success,
            "send_durable_execution_callback_failure": service.send_durable_execution_callback_failure,
            "send_durable_execution_callback_heartbeat": service.send_durable_execution_callback_heartbeat,
            "expect": self.expect,
            "register": self.register_json,
            "is_skipping": lambda: isinstance(self._clock, SkipClock),
            "is_calling_aws": lambda: self._targets.allow_aws,
        }

    # Jobs ------------------------------------------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """Have a job of the service run (service.Invoker)."""
        ahead = self._clock.now() - self._machine.now()
        self._pool.start(self._targets.task(job, clock_offset=ahead))

    def _asked(self, method: str, members: Mapping[str, Any], /) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = getattr(self.service, method)(**members)
        return reply

    def _asked_by_worker(self, method: str, members: Mapping[str, Any], /) -> Mapping[str, Any]:
        # Nothing is lost on the way from a worker, and one that died asks no more: no answer has to be kept for it.
        return self._asked(method, {name: value for name, value in members.items() if name != "ClientToken"})

    def _asked_over_http(self, method: str, members: Mapping[str, Any], /) -> Any:
        # An invocation's own requests are many; the others may change what the timers' thread has to see to.
        if method in {"checkpoint_durable_execution", "get_durable_execution_state"}:
            return self._asked(method, members)
        return self.ask(method, members)

    def serve(self, port: int) -> Server:
        """Listen for AWS clients, see `Engine.serve`."""
        if self._server is None:
            self._server = Server(self._asked_over_http, port=port)
            self._take_up()
        return self._server

    def _ended(self, job_id: str, end: End) -> None:
        self.service.invocation_ended(
            job_id, output=end.output, text=end.text, error=end.error, is_hopeless=end.is_hopeless
        )

    def _write(self, job_id: str, label: str, text: str) -> None:
        self._pool.write(job_id, label, text)

    def _wrote(self, job_id: str, label: str, text: str) -> None:
        if self.service.wrote(job_id, label=label, text=text):
            self._lines_due = time.monotonic() + LINES_SECONDS
            self.nudge()

    # Time ------------------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Have the timers' thread look again: something may be due earlier, or nothing may run any more."""
        with self._wake:
            self._is_woken = True
            self._wake.notify()

    def _due(self, due: int | None) -> None:
        """Hear of a timer that was set, or of a job that has ended: then time may be skipped."""
        if (
            (due is not None and due < self._asleep_until)
            or self._expected
            or (isinstance(self._clock, SkipClock) and self.service.is_idle)
        ):
            self.nudge()

    def _run_timers(self) -> None:
        while True:
            with self._wake:
                if self._is_closing:
                    return
                self._is_woken = False
                self._asleep_until = float("inf")
            try:
                sleep = min(self._tick(), self._keep_lines())
            except Exception:  # noqa: BLE001 - the edge of the timers' thread: without it nothing would ever wake again
                _log.exception("timers could not be looked after")
                sleep = 1.0
            with self._wake:
                if sleep and not self._is_woken and not self._is_closing:
                    self._asleep_until = self._clock.now() + sleep * 1000
                    self._wake.wait(sleep)

    def _keep_lines(self) -> float:
        """Store what handlers have written a while ago; return in how many seconds that is to be done again."""
        due = self._lines_due
        if due is None:
            return TICK_MAX_SECONDS
        left = due - time.monotonic()
        if left > 0:
            return left
        self._lines_due = None
        self.service.keep_lines()
        return TICK_MAX_SECONDS

    def _tick(self) -> float:
        """Do what is due; return how many seconds there is nothing to do."""
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            # By the machine's time: what others keep in this store is not to be lost to time that is skipped.
            self.service.remove_expired(self._machine.now())
        # Asked for first: an invocation that ends from here on may sleep until an earlier moment, or ask for an answer.
        is_idle = self.service.is_idle
        if self._expected and self.service.answer_callbacks(dict(self._expected)):
            return 0  # what is answered does not time out (rule 30)
        is_skipping = isinstance(self._clock, SkipClock)
        due = self.service.next_jump() if is_skipping else self.service.next_due()
        if due is None:
            return TICK_MAX_SECONDS
        ahead = due - self._clock.now()
        may_jump = is_idle and self._may_skip and self.service.is_idle
        if ahead > 0 and isinstance(self._clock, SkipClock) and may_jump:
            self._clock.jump_to(due)
            ahead = 0
        if ahead > 0:
            return min(ahead / 1000, TICK_MAX_SECONDS)
        self.service.run_due()
        return 0

    # What others ask for ---------------------------------------------------------------------------------------------

    def register(self, plan: Plan, folder: Path, env: Mapping[str, str]) -> None:
        """Make a workflow a function, and take up its executions that sleep for want of it."""
        self._targets.register(plan, folder, env)
        self._take_up()

    def _take_up(self) -> None:
        """Go on with the executions of the functions that there are by now."""
        self.service.recover()
        # Not before: what only sleeps for want of its function has something to do, and time would pass it by.
        self._may_skip = True
        self.nudge()

    def register_json(self, *, plan: Json, folder: str, env: Mapping[str, str]) -> None:
        """Do the same for another process."""
        self.register(plans.from_json(plan), Path(folder), env)

    def exchange(self, plan: Plan, folder: Path, env: Mapping[str, str]) -> None:
        """Make a workflow the function of its name for executions that begin from now on."""
        self._targets.register(plan, folder, env, since=self._clock.now())
        self.service.recover()
        self.nudge()

    def renew(self) -> None:
        """Have handlers and functions read anew by what begins from now on."""
        self._targets.renew()

    def expect(self, *, workflow: str, name: str, answers: Mapping[str, Sequence[str | None]]) -> None:
        """Answer the callbacks of an execution, and of those it starts, from now on."""
        self._expected[workflow, name] = answers

    def ask(self, method: str, members: Mapping[str, Any]) -> Any:
        """Call a method as another process would."""
        reply = self._methods[method](**members)
        if method not in _TOLD:
            self.nudge()
        return reply

    def watch(self, seen: int, seconds: float) -> int:
        """Wait until more events have happened than `seen`, at most so long; return how many that are."""
        with self._happened:
            self._watching += 1
            self._happened.wait_for(lambda: self._events != seen, seconds)
            self._watching -= 1
            return self._events

    def wait(self, arn: str, seconds: float | None) -> None:
        """Wait until an execution has ended, or somebody calls `leave`."""
        woken = threading.Event()
        with self._happened:
            if self._is_left:
                return
            self._waiting.add(woken)
        try:
            self.service.wait(DurableExecutionArn=arn, timeout_seconds=seconds, woken=woken)
        finally:
            with self._happened:
                self._waiting.discard(woken)

    def leave(self) -> None:
        """Have whoever watches look again, and whoever waits wait no longer."""
        with self._happened:
            self._is_left = True
            self._events += 1
            self._happened.notify_all()
            for woken in self._waiting:
                woken.set()

    def _recorded(self) -> None:
        with self._happened:
            self._events += 1
            if self._watching:
                self._happened.notify_all()

    def _asked_by_others(self, method: str, **members: Any) -> Any:
        return self.ask(method, members)

    def close(self, drain_seconds: float) -> None:
        """Stop, leaving what runs to be taken up later."""
        if self._is_closed:
            return
        self._is_closed = True
        self.leave()
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._timers.join()
        self.service.leave()
        if self._control is not None:
            self._control.close()
        # Functions written with an SDK record what they do over HTTP: the server goes after them.
        self._pool.close(drain_seconds=drain_seconds)
        if self._server is not None:
            self._server.close()
        if self._inner is not None:
            self._inner.close()
        self.service.keep_lines()
        self._store.close()
        if self._lock is not None:
            self._lock.release()


class Engine:
    """Executions here, whoever owns their store. Thread-safe; a context manager that closes it.

    Args:
        store: the file, or None for a store in memory that ends with the engine.
        project: what the project file declares, or None.
        env: values over those of the project and the process.
        skip_time: jump over waits while nothing runs (rule 30). Only the owner's counts.
        allow_aws: let aws states that the project does not answer call AWS. Only the owner's counts.
        durability: of the store; `full` also survives a power cut.
        workers: most worker processes; None for the default.
        in_process: run invocations of workflows in threads of this process: faster, and a handler that crashes takes
            everything with it (see threads.py). Only the owner's counts.
        log: called with each line that a handler or target writes, and whose it is.
        expected: answers to callbacks, given as soon as an execution waits for one (rule 60).

    Raises:
        UsageError: the store or its lock cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what an engine is made of
        self,
        *,
        store: Path | None,
        project: ProjectContext | None = None,
        env: Mapping[str, str] | None = None,
        skip_time: bool = False,
        allow_aws: bool = False,
        durability: Durability = "normal",
        workers: int | None = None,
        in_process: bool = False,
        log: Callable[[str, str], None] = to_standard_error,
        expected: Expected | None = None,
    ) -> None:
        self._store = store
        self._project = project
        self._env = dict(env or {})
        self._skip_time = skip_time
        self._allow_aws = allow_aws
        self._durability: Durability = durability
        self._workers = workers
        self._in_process = in_process
        self._log = log
        self._registered: dict[str, tuple[Plan, Path]] = {}
        self._expected = expected or {}
        self._lock = threading.Lock()
        self._is_left = False
        self._backend = self._open()

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        self.close()

    @property
    def is_owner(self) -> bool:
        """Whether executions run in this process."""
        return isinstance(self._backend, _Owner)

    def _open(self) -> _Owner | Remote:
        if self._store is None:
            return self._owner(None)
        deadline = time.monotonic() + OWNER_SECONDS
        while (lock := StoreLock.take(self._store)) is None:
            address = address_of_owner(self._store)
            if address is not None and (owner := self._client(address)) is not None:
                return owner
            if time.monotonic() > deadline:
                raise UsageError(
                    diagnostic(
                        "DF763",
                        f"another process holds the store '{self._store}' and does not say where it listens",
                        hint="end that process, or choose another store with --store",
                    )
                )
            time.sleep(LOOK_SECONDS / 10)
        try:
            return self._owner(lock)
        except BaseException:
            lock.release()
            raise

    def _client(self, address: Address) -> Remote | None:
        owner = Remote(address)
        try:
            is_skipping = owner.ask("is_skipping", {})
            is_calling_aws = owner.ask("is_calling_aws", {})
            if is_skipping or not self._skip_time:
                for (workflow, name), answers in self._expected.items():
                    owner.ask("expect", {"workflow": workflow, "name": name, "answers": answers})
        except OwnerGoneError:  # between its last word and giving the lock back, or the address of one before it
            return None
        if self._skip_time and not is_skipping:
            raise UsageError(
                diagnostic(
                    "DF762",
                    f"process {address.pid} runs the executions of '{self._store}', and in real time",
                    hint="leave --skip-time out, end that process, or choose another store with --store",
                )
            )
        if self._allow_aws and not is_calling_aws:
            raise UsageError(
                diagnostic(
                    "DF762",
                    f"process {address.pid} runs the executions of '{self._store}', and does not call AWS",
                    hint="leave --allow-aws out, end that process, or choose another store with --store",
                )
            )
        return owner

    def _owner(self, lock: StoreLock | None) -> _Owner:
        return _Owner(
            self._store,
            lock,
            Targets(project=self._project, env=self._env, allow_aws=self._allow_aws),
            is_skipping=self._skip_time,
            durability=self._durability,
            workers=self._workers,
            is_in_process=self._in_process,
            log=self._log,
            expected=self._expected,
        )

    def _ask(self, method: str, **members: Any) -> Any:
        """Have the owner do something; what is asked may be asked twice, when the owner goes away in between."""
        while True:
            backend = self._backend
            try:
                return backend.ask(method, members)
            except OwnerGoneError:
                self._take_over(backend)

    def _take_over(self, gone: _Owner | Remote) -> None:
        with self._lock:
            while self._backend is gone:
                time.sleep(LOOK_SECONDS / 10)  # the kernel may still be about to give the lock back
                backend = self._open()
                try:
                    for plan, folder in self._registered.values():
                        self._register(backend, plan, folder)
                except OwnerGoneError:
                    continue  # that one went away as well
                self._backend = backend

    def _register(self, backend: _Owner | Remote, plan: Plan, folder: Path) -> None:
        if isinstance(backend, _Owner):
            backend.register(plan, folder, self._env)
        else:
            backend.ask("register", {"plan": plan.to_json(), "folder": str(folder), "env": self._env})

    def ask(self, operation: str, /, **members: Any) -> Any:
        """Have an operation of the service done and return its reply, see `Service`.

        Args:
            operation: of those that an owner serves.
            members: by the API's names.

        Raises:
            ServiceError: it is refused.
            UsageError: DF761, the owner went away while it called a function: whether it did is not known.
        """
        backend = self._backend
        if members.get("InvocationType") != "RequestResponse" or isinstance(backend, _Owner):
            return self._ask(operation, **members)
        try:
            return backend.ask(operation, members, seconds=Limits().invoke_seconds + REQUEST_SECONDS)
        except OwnerGoneError as error:
            raise UsageError(
                diagnostic(
                    "DF761",
                    f"process {backend.address.pid}, which called the function, went away",
                    hint="whether it has been called is not known; call it again if it may be called twice",
                )
            ) from error

    def register(self, plan: Plan, folder: Path) -> None:
        """Make a workflow a function of its name, and take up its executions that were left behind.

        Args:
            plan: the workflow.
            folder: of its file, absolute; without a project its handlers are there.
        """
        self._registered[plan.name] = (plan, folder)
        while True:
            backend = self._backend
            try:
                self._register(backend, plan, folder)
            except OwnerGoneError:
                self._take_over(backend)
            else:
                return

    def exchange(self, plan: Plan, folder: Path) -> None:
        """Make a workflow the function of its name for executions that begin from now on; see `register`.

        Only for the owner of the store.
        """
        assert isinstance(self._backend, _Owner), "only who runs executions can say which get what"
        self._registered[plan.name] = (plan, folder)
        self._backend.exchange(plan, folder, self._env)

    def renew(self) -> None:
        """Have the code of handlers and functions read anew by whatever begins from now on; only for the owner."""
        assert isinstance(self._backend, _Owner), "only who runs handlers can read them anew"
        self._backend.renew()

    def serve(self, port: int = 0) -> Server:
        """Listen for AWS clients on this machine until the engine is closed, and go on with what was left behind.

        What is to be registered is registered before. Functions of the project file need not be.

        Args:
            port: to listen on; 0 takes a free one. Of a second call it means nothing: the first one counts.

        Raises:
            UsageError: DF765, the port cannot be had; DF764, another process owns the store.
        """
        backend = self._backend
        if isinstance(backend, Remote):
            raise UsageError(
                diagnostic(
                    "DF764",
                    f"process {backend.address.pid} runs the executions of '{self._store}' already",
                    hint="end that process, or choose another store",
                )
            )
        return backend.serve(port)

    def callbacks(self, arn: str) -> list[Mapping[str, Any]]:
        """Return the open callbacks of an execution and of those that it has started, see `Service.callbacks`."""
        found: list[Mapping[str, Any]] = self._ask("callbacks", DurableExecutionArn=arn, WithChildren=True)
        return found

    def callback(self, callback_id: str) -> Mapping[str, Any]:
        """Return a callback, open or not, see `Service.callback`."""
        found: Mapping[str, Any] = self._ask("callback", CallbackId=callback_id)
        return found

    def succeed(self, callback_id: str, result: str | None) -> None:
        """Answer a callback with a text, which is kept as it is; None for no answer's text.

        Raises:
            ServiceError: DF721, DF723 or DF724: there is no such callback, it is closed, the text is too large.
        """
        self._ask("send_durable_execution_callback_success", CallbackId=callback_id, Result=result)

    def fail(self, callback_id: str, error: ErrorObject) -> None:
        """Answer a callback with an error; raises as :meth:`succeed`, and DF720 for an error that is too large."""
        self._ask("send_durable_execution_callback_failure", CallbackId=callback_id, Error=error)

    def heartbeat(self, callback_id: str) -> None:
        """Say that the answer to a callback is still being worked on; raises as :meth:`succeed`."""
        self._ask("send_durable_execution_callback_heartbeat", CallbackId=callback_id)

    def start(self, workflow: str, payload: str, name: str) -> str:
        """Start an execution, or find the one of that name with the same payload; return its ARN.

        Args:
            workflow: that has been registered.
            payload: the input, JSON text.
            name: of the execution.

        Raises:
            ServiceError: DurableExecutionAlreadyStartedException, the name is taken by another payload;
                InvalidParameterValueException, it is no name.
        """
        reply = self._ask(
            "invoke", FunctionName=workflow, Payload=payload, InvocationType="Event", DurableExecutionName=name
        )
        arn: str = reply["DurableExecutionArn"]
        return arn

    def follow(
        self, arn: str, timeout: float | None = None, *, idle: Callable[[], None] | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution as they happen, from the first to the one that ends it.

        Args:
            arn: of the execution.
            timeout: real seconds, after which no more events are given; None waits for ever.
            idle: called whenever there are no more for now: something may have happened to other executions.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        after = seen = 0
        while not self._is_left:
            events = self._ask("events", DurableExecutionArn=arn, After=after)
            for event in events:
                yield event
                after = event["EventId"]
                if event["EventType"] in _ENDS:
                    return
            if events:
                continue  # they come in pages
            if idle is not None:
                idle()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            backend = self._backend
            if isinstance(backend, _Owner):
                seen = backend.watch(seen, TICK_MAX_SECONDS if left is None else left)
            else:
                time.sleep(LOOK_SECONDS)

    def leave(self) -> None:
        """Let every :meth:`follow` end without further events, from now on."""
        self._is_left = True
        backend = self._backend
        if isinstance(backend, _Owner):
            backend.leave()

    def wait(self, arn: str, timeout: float | None = None) -> Mapping[str, Any]:
        """Wait for the end of an execution, at most `timeout` real seconds.

        Returns:
            The execution as `get_durable_execution` shows it; it has no `EndTimestamp` when it did not end in time.
        """
        backend = self._backend
        if isinstance(backend, _Owner):
            if not self._is_left:
                backend.wait(arn, timeout)
        else:
            for _ in self.follow(arn, timeout):
                pass
        return self.describe(arn)

    def describe(self, arn: str) -> Mapping[str, Any]:
        """Return an execution as `get_durable_execution` shows it."""
        found: Mapping[str, Any] = self._ask("get_durable_execution", DurableExecutionArn=arn)
        return found

    def meter(self, arn: str) -> dict[str, int]:
        """Return what an execution took, see `Service.meter`."""
        found: dict[str, int] = self._ask("meter", DurableExecutionArn=arn)
        return found

    def operations(self, arn: str) -> list[Any]:
        """Return every operation of an execution, times in epoch milliseconds."""
        found: list[Any] = self._ask("operations", DurableExecutionArn=arn)
        return found

    def logs(self, arn: str, after: int = 0) -> list[Mapping[str, Any]]:
        """Return what handlers and targets of an execution have written, see `Service.logs`."""
        found: list[Mapping[str, Any]] = self._ask("logs", DurableExecutionArn=arn, After=after)
        return found

    def stop(self, arn: str, error: ErrorObject | None = None) -> Mapping[str, Any]:
        """End an execution as STOPPED."""
        reply: Mapping[str, Any] = self._ask("stop_durable_execution", DurableExecutionArn=arn, Error=error)
        return reply

    def pause(self, arn: str, *, reason: str | None = None, stops_timeout: bool = True) -> None:
        """Have an execution rest, see `Service.pause_durable_execution`.

        Raises:
            ServiceError: DF721 or DF726: there is none, or it is not running.
        """
        self._ask(
            "pause_durable_execution", DurableExecutionArn=arn, Reason=reason, ExecutionTimeoutPaused=stops_timeout
        )

    def resume(self, arn: str, *, reason: str | None = None) -> None:
        """Let an execution go on that rests; raises as :meth:`pause`."""
        self._ask("resume_durable_execution", DurableExecutionArn=arn, Reason=reason)

    def delete(self, arn: str) -> None:
        """Remove an execution that has ended; raises as :meth:`pause`."""
        self._ask("delete_durable_execution", DurableExecutionArn=arn)

    def delete_all(self, arns: Sequence[str]) -> int:
        """Remove those of these executions that have ended; return how many."""
        count = 0
        for at in range(0, len(arns), DELETED_AT_ONCE):
            count += self._ask("delete_executions", Arns=arns[at : at + DELETED_AT_ONCE])["Deleted"]
        return count

    def find(self, name: str) -> list[Mapping[str, Any]]:
        """Return the executions of a name, newest first."""
        reply = self._ask("list_executions", DurableExecutionName=name)
        found: list[Mapping[str, Any]] = reply["DurableExecutions"]
        return found

    def close(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Stop what this process runs, leaving it to be taken up later; a client only lets go.

        Args:
            drain_seconds: how long handlers and targets that run may still take.
        """
        with self._lock:
            if isinstance(self._backend, _Owner):
                self._backend.close(drain_seconds)


_TOLD: Final = frozenset({"invoke", "events", "get_durable_execution", "get_durable_execution_history"})
"""Methods that others call often. They set timers at most, which the service says."""
_ENDS: Final = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionTimedOut", "ExecutionStopped"})
