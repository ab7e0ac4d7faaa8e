"""Who runs a job here, and what if that dies? A bounded pool of worker processes, the service's side.

Each lane of the pool is a thread with at most one process. A lane takes a task, has it done, reports the end, takes the
next; what a task does to its process (crash, `os._exit`, running out of time) is the end of that task and of nothing
else. Processes are started on demand and reused by tasks of the same environment. They hold the read end of a pipe
whose write end only this process has: when it dies, however it dies, they die at once.

Processes lead sessions of their own, so a Ctrl-C in the terminal reaches this process alone, and ending one ends what
its handlers have started. POSIX only.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from durableflow.actions import Clients
from durableflow.errors import Fault, ServiceError
from durableflow.local import remote
from durableflow.local.frames import Channel
from durableflow.local.jobs import OPERATIONS_MAX
from durableflow.local.programs import LINE_BYTES, Program, ProgramError, ending, kill_session
from durableflow.local.worker_main import LABEL_END, LABEL_START
from durableflow.operations import error_from_fault
from durableflow.source import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.operations import ErrorObject
    from durableflow.plan import Plan
    from durableflow.values import Json, Object

logger = logging.getLogger(__name__)

TIME_LIMIT_SECONDS: Final = 900.0
"""Longest invocation, as on Lambda; every wait here has this end (reliability.md B22)."""
_LEFT_OVER_SECONDS: Final = 1.0
"""How long output is waited for that a left-over child of a handler may hold open."""

_CLIENTS: Final = Clients()
"""Of functions on AWS, with the region and the credentials of this process; nothing is loaded before the first call."""

# The process imports from where this one imports, whether durableflow is installed or a folder on the path.
_BOOT: Final = (
    "import json, sys; start = json.loads(sys.argv.pop()); sys.path[:] = start['path']; "
    "from durableflow.local.worker_main import main; main(start)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a worker process is started for; processes are reused only within one.

    Args:
        roots: folders that handlers are imported from, absolute.
        folder: the process's working directory.
        env: names and values over those of this process's own environment.
        tools: what calls are done with, JSON text (see targets.py); empty for processes that run plain functions only.
        generation: of the code; a process has read what there was when it was started.
    """

    roots: tuple[Path, ...]
    folder: Path
    env: tuple[tuple[str, str], ...] = ()
    tools: str = ""
    generation: int = 0

    def environ(self) -> dict[str, str]:
        """Return the whole environment of a process."""
        return {**os.environ, **dict(self.env)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """One invocation of a workflow.

    Args:
        id: of the job; what the end is reported under.
        label: whose output it is, for people.
        environment: where its handlers are.
        plan: the workflow.
        event: as Lambda would hand it over.
        clock_offset: milliseconds by which the service's clock is ahead of the machine's.
        operations_max: how many operations the execution may have, as the platform meters them.
        offload: the size in bytes from which a result goes into a folder, and the folder; None for no such store.
    """

    id: str
    label: str
    environment: Environment
    plan: Plan
    event: Object
    clock_offset: int = 0
    operations_max: int = OPERATIONS_MAX
    offload: tuple[int, Path] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """One invocation of a plain Python function with the text of its event."""

    id: str
    label: str
    environment: Environment
    handler: str
    payload: str
    function_name: str
    function_version: str
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """One invocation of a durable function that is written with an AWS SDK, which calls the service over HTTP.

    Args:
        id: of the job; the request id that the function sees.
        label: whose output it is, for people.
        environment: where the function is, and what tells the SDK where the service is (see sdk.py).
        handler: `module:function`.
        event: as Lambda would hand it over.
        function_name: without qualifier.
        function_version: what runs.
        tenant_id: None for none.
    """

    id: str
    label: str
    environment: Environment
    handler: str
    event: Object
    function_name: str
    function_version: str
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One run of a program with the event on standard input and the result on standard output."""

    id: str
    label: str
    arguments: tuple[str, ...]
    environment: Environment
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One call of a plain function that runs elsewhere.

    Args:
        place: the URL of a runtime interface emulator, or the ARN of a function on AWS.
    """

    id: str
    label: str
    place: str
    payload: str
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """An answer that is known already."""

    id: str
    label: str
    end: End


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a task ended: with an error; or a durable function's output; or a plain function's text.

    Args:
        output, text, error: see there.
        is_hopeless: whether the same error would come of trying again: the function cannot be found or imported.
    """

    output: Json = None
    text: str | None = None
    error: ErrorObject | None = None
    is_hopeless: bool = False


Task: TypeAlias = Durable | Python | Sdk | Command | Remote | Fixed
InProcess: TypeAlias = Durable | Python | Sdk
"""The tasks that a worker process does."""


class Asked(Protocol):
    """Answers what an invocation asks of the service."""

    def __call__(self, method: str, members: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Call the API method with these members."""
        ...


NO_TOOLS: Final = (
    '{"actions":{},"http_answers":{},"http_allow":[],"aws_allow":null,"allow_aws":false,"secrets":{},"folder":null}'
)
"""The tools of a workflow that belongs to no project."""


def to_standard_error(label: str, line: str) -> None:
    """Show one line that a handler or target wrote."""
    print(f"{visible(label)} | {visible(line)}", file=sys.stderr, flush=True)  # noqa: T201 - this is the output


class Inside(Protocol):
    """Runs invocations in this very process, see threads.py."""

    def takes(self, task: Task) -> bool:
        """Say whether a task is to be run there."""
        ...

    def run(self, task: Durable) -> End:
        """Make one invocation."""
        ...

    def close(self) -> None:
        """Answer no request of what still runs there."""
        ...


class Pool:
    """Has tasks done, a bounded number at a time.

    Args:
        asked: called, from the lane's thread, with each request of an invocation to the service.
        ended: called, from the lane's thread, with a task's id and its end.
        size: most lanes, None for the number of CPUs and two; at least 1.
        log: called with each line that a handler or target writes, and whose it is.
        wrote: called likewise, with the id of the task in front. All lines of a task come before its end is reported.
        inside: runs invocations in this process; None gives each a worker process.
        time_limit_seconds: a task that takes longer is ended.
    """

    def __init__(
        self,
        *,
        asked: Asked,
        ended: Callable[[str, End], None],
        size: int | None = None,
        log: Callable[[str, str], None] = to_standard_error,
        wrote: Callable[[str, str, str], None] | None = None,
        inside: Inside | None = None,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> None:
        self.asked = asked
        self.ended = ended
        self._log = log
        self._wrote = wrote
        self.inside = inside
        self.time_limit_seconds = time_limit_seconds
        self._size = max(1, size if size is not None else (os.cpu_count() or 1) + 2)
        self._changed = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._lanes: list[_Lane] = []
        self._idle: list[_Lane] = []
        self._unreported = 0
        self._is_closed = False

    def start(self, task: Task) -> None:
        """Have a task done as soon as a lane is free; returns at once. After `close` nothing is started any more."""
        with self._changed:
            if self._is_closed:
                return
            self._unreported += 1
            if lane := self._free(task):
                lane.inbox.put(task)
            else:
                self._waiting.append(task)

    def close(self, *, drain_seconds: float = 0.0) -> None:
        """Start nothing more, wait a while for what runs, end the rest, and return when no process is left.

        The ends of tasks that are cut off are not reported; for the service they are still running, which is what makes
        them resume later.
        """
        deadline = time.monotonic() + drain_seconds
        with self._changed:
            self._is_closed = True
            self._unreported -= len(self._waiting)
            self._waiting.clear()
            while self._unreported and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
        for lane in self._lanes:
            lane.end()
        if self.inside is not None:
            self.inside.close()
        for lane in self._lanes:
            if not lane.is_inside:  # a thread cannot be ended; it ends with the process
                lane.join()

    def write(self, task: str, label: str, line: str) -> None:
        """Pass on a line that a handler or target has written; called from the threads that read them."""
        self._log(label, line)
        if self._wrote is not None:
            self._wrote(task, label, line)

    def report(self, lane: _Lane, task: Task, end: End) -> Task | None:
        """Report the end of a task and return what its lane does next, or None when it is idle.

        The lane is free before the end is reported, since the report often starts the very task that fits it best.
        """
        with self._changed:
            following = next((t for t in self._waiting if self._environment(t) in (None, lane.environment)), None)
            if following is None and self._waiting:
                following = self._waiting[0]
            if following is None:
                self._idle.append(lane)
            else:
                self._waiting.remove(following)
        try:
            self.ended(task.id, end)
        except Exception:  # the edge of the lane's thread: one that dies would take its place in the pool along
            logger.exception("the end of '%s' could not be reported", task.label)
        with self._changed:
            self._unreported -= 1
            self._changed.notify_all()
        return following

    def _free(self, task: Task) -> _Lane | None:
        # The lane that worked last is warmest; one without a process costs a start, one with another's costs two.
        wanted = self._environment(task)
        fitting = [lane for lane in self._idle if wanted in (None, lane.environment)]
        fitting = fitting or [lane for lane in self._idle if lane.environment is None]
        if not fitting and len(self._lanes) < self._size:
            lane = _Lane(self, len(self._lanes))
            self._lanes.append(lane)
            lane.start()
            return lane
        if fitting or self._idle:
            lane = fitting[-1] if fitting else self._idle[0]
            self._idle.remove(lane)
            return lane
        return None

    def _environment(self, task: Task) -> Environment | None:
        """Return what a process has to be of to do a task, None where it takes none."""
        if not isinstance(task, InProcess) or (self.inside is not None and self.inside.takes(task)):
            return None
        return task.environment


class _Lane(threading.Thread):
    """One task at a time, in one process that is kept while its environment is wanted."""

    def __init__(self, pool: Pool, number: int) -> None:
        super().__init__(name=f"durableflow-lane-{number}", daemon=True)
        self.inbox: SimpleQueue[Task | None] = SimpleQueue()
        self.environment: Environment | None = None
        self.is_inside = False
        self._pool = pool
        self._process: _Process | None = None
        self._program: Program | None = None
        self._answers: SimpleQueue[End] | None = None
        self._guard = threading.Lock()
        self._is_ended = threading.Event()

    def run(self) -> None:
        """Do tasks until the lane is ended."""
        while (task := self.inbox.get()) is not None:
            while task is not None:
                end = self._done(task)
                # Cut off, not ended: for the service the task is still running.
                task = None if self._is_ended.is_set() else self._pool.report(self, task, end)
        self._drop()

    def end(self) -> None:
        """End the lane and whatever it runs; called from another thread."""
        with self._guard:
            self._is_ended.set()
            if self._process:
                self._process.kill()
            if self._program:
                self._program.kill()
            if self._answers:
                self._answers.put(_not_started())
        self.inbox.put(None)

    def _done(self, task: Task) -> End:
        try:
            match task:
                case Fixed():
                    return task.end
                case Command():
                    return self._commanded(task)
                case Remote():
                    return self._called(task)
                case Durable() if (inside := self._pool.inside) is not None and inside.takes(task):
                    return self._run(task, inside)
                case Durable() | Python() | Sdk():
                    # A process may have died while it was idle; nothing has begun, so another one takes the task.
                    return self._process_for(task).do(task) or self._process_for(task).do(task) or _not_started()
        except Exception as error:  # the edge of this thread: no descriptors, no memory, a defect of ours
            if not self._is_ended.is_set():
                logger.exception("'%s' could not be run", task.label)
            self._drop()
            return _failed("Runtime.Unknown", f"{type(error).__name__}: {error}")

    def _run(self, task: Durable, inside: Inside) -> End:
        with self._guard:
            self._refuse_after_end()
            self.is_inside = True
        end = inside.run(task)
        with self._guard:
            self.is_inside = False
        return end

    def _process_for(self, task: InProcess) -> _Process:
        if self._process and (self.environment != task.environment or not self._process.is_alive()):
            self._drop()
        if self._process is None:
            with self._guard:
                self._refuse_after_end()
                self._process = _Process(self._pool, task.environment)
                self.environment = task.environment
        return self._process

    def _drop(self) -> None:
        process, self._process, self.environment = self._process, None, None
        if process:
            process.release()

    def _commanded(self, task: Command) -> End:
        pool = self._pool
        try:
            with self._guard:
                self._refuse_after_end()
                self._program = Program(
                    task.arguments,
                    folder=task.environment.folder,
                    environ=task.environment.environ(),
                    on_line=lambda line: pool.write(task.id, task.label, line),
                )
            return End(text=self._program.result(task.payload.encode(), seconds=pool.time_limit_seconds))
        except TimeoutError:
            return _timed_out(pool.time_limit_seconds)
        except ProgramError as error:
            return _failed("CommandFailed", str(error))
        finally:
            with self._guard:
                self._program = None

    def _called(self, task: Remote) -> End:
        # On a thread of its own: a request cannot be cut off, and the lane may have to end before it is answered.
        limit = self._pool.time_limit_seconds
        with self._guard:
            self._refuse_after_end()
            answers: SimpleQueue[End] = SimpleQueue()
            self._answers = answers

        def call() -> None:
            answers.put(_answered(task, limit))

        threading.Thread(target=call, daemon=True).start()
        try:
            return answers.get(timeout=limit)
        except Empty:
            return _timed_out(limit)
        finally:
            with self._guard:
                self._answers = None

    def _refuse_after_end(self) -> None:
        if self._is_ended.is_set():
            raise RuntimeError("the pool has been closed")


class _Process:
    """A worker process, from the lane's side."""

    def __init__(self, pool: Pool, environment: Environment) -> None:
        self._pool = pool
        self._plans: set[str] = set()
        self._is_equipped = False
        self._task = ""
        self._label = "worker"
        self._mark = ""
        self._is_marked = threading.Event()
        ours, theirs = socket.socketpair()
        lifeline, life = os.pipe()
        self._life = os.fdopen(life, "wb", buffering=0)
        start: Object = {
            "channel": theirs.fileno(),
            "lifeline": lifeline,
            "roots": [str(root) for root in environment.roots],
            "env": [name for name, _ in environment.env],
            "path": [str(Path(entry).absolute()) for entry in sys.path],
        }
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", _BOOT, json.dumps(start)],
                cwd=environment.folder,
                env=environment.environ(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            self._life.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self._stream = ours
        self._channel = Channel(ours)
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def is_alive(self) -> bool:
        """Say whether the process can take a task."""
        return self._popen.poll() is None

    def do(self, task: InProcess) -> End | None:
        """Have one task done, or return None when it has not begun; the process may be gone afterwards."""
        self._task, self._label = task.id, task.label
        self._mark = f"{LABEL_START}{secrets.token_hex(8)}"
        self._is_marked.clear()
        has_begun = False
        deadline = time.monotonic() + self._pool.time_limit_seconds
        try:
            job = _message(
                task,
                is_plan_known=self._knows(task),
                is_equipped=self._is_equipped,
                seconds=self._pool.time_limit_seconds,
            )
            self._is_equipped = self._is_equipped or isinstance(task, Durable)
            self._send({**job, "mark": self._mark}, deadline)
            while (message := self._receive(deadline)) is not None:
                has_begun = True
                if (end := message.get("end")) is not None:
                    # What it wrote takes another way, and may still be on it.
                    self._is_marked.wait(_LEFT_OVER_SECONDS)
                    return End(**cast("dict[str, Any]", end))
                if "ask" in message:
                    self._send(self._answer(message), deadline)
        except TimeoutError:
            self.release()
            return _timed_out(self._pool.time_limit_seconds)
        except OSError:
            pass  # the process went away while we were speaking to it
        code = self.release()
        return _failed("Runtime.ExitError", f"Runtime exited with error: {ending(code)}") if has_begun else None

    def kill(self) -> None:
        """End the process from another thread; its lane will notice."""
        if self._popen.returncode is None:
            kill_session(self._popen)

    def release(self) -> int:
        """End the process, if it has not ended, with everything that it has started; return its exit code."""
        # Before it is waited for, so that the number still belongs to it. Where it is ending, its code is settled: a
        # process sets it first and closes its sockets then.
        self.kill()
        code = self._popen.wait()
        self._reader.join(_LEFT_OVER_SECONDS)
        self._channel.close()
        self._life.close()
        return code

    def _knows(self, task: InProcess) -> bool:
        if not isinstance(task, Durable) or task.plan.digest in self._plans:
            return True
        self._plans.add(task.plan.digest)
        return False

    def _send(self, message: Object, deadline: float) -> None:
        self._stream.settimeout(max(0.001, deadline - time.monotonic()))
        self._channel.send(message)

    def _receive(self, deadline: float) -> Object | None:
        self._stream.settimeout(max(0.001, deadline - time.monotonic()))
        return self._channel.receive()

    def _answer(self, message: Object) -> Object:
        try:
            reply = self._pool.asked(cast("str", message["ask"]), cast("dict[str, Any]", message["members"]))
        except ServiceError as error:
            return _refusal(error.name, error.problem.message, error.status, is_retryable=error.is_retryable)
        except Exception as error:  # the edge: the service is in trouble, the invocation will be made again
            logger.exception("the service could not answer")
            return _refusal("ServiceException", f"{type(error).__name__}: {error}", 500, is_retryable=True)
        return {"reply": cast("Json", reply)}

    def _read_output(self) -> None:
        output = self._popen.stdout
        assert output is not None
        with output:
            while line := output.readline(LINE_BYTES):
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                is_end = bool(self._mark) and text.endswith(self._mark)
                if is_end:
                    text = text.removesuffix(self._mark)
                if text or not is_end:
                    self._read_line(text)
                if is_end:
                    self._is_marked.set()

    def _read_line(self, line: str) -> None:
        # In front of a label stands what somebody wrote past Python's own output, and did not end.
        begun, _, labelled = line.partition(LABEL_START)
        label, is_labelled, text = labelled.partition(LABEL_END)
        if not is_labelled:
            self._pool.write(self._task, self._label, line)
            return
        if begun:
            self._pool.write(self._task, self._label, begun)
        self._pool.write(self._task, label or self._label, text)


def _message(task: InProcess, *, is_plan_known: bool, is_equipped: bool, seconds: float) -> Object:
    match task:
        case Durable():
            return {
                "kind": "durable",
                "label": task.label,
                "digest": task.plan.digest,
                "plan": None if is_plan_known else task.plan.to_json(),
                "tools": None if is_equipped else json.loads(task.environment.tools or NO_TOOLS),
                "event": task.event,
                "clock_offset": task.clock_offset,
                "operations_max": task.operations_max,
                "offload": [task.offload[0], str(task.offload[1])] if task.offload else None,
            }
        case Python():
            return {
                "kind": "python",
                "id": task.id,
                "label": task.label,
                "handler": task.handler,
                "payload": task.payload,
                "function_name": task.function_name,
                "function_version": task.function_version,
                "tenant_id": task.tenant_id,
                "seconds": seconds,
            }
        case Sdk():
            return {
                "kind": "sdk",
                "id": task.id,
                "label": task.label,
                "handler": task.handler,
                "event": task.event,
                "function_name": task.function_name,
                "function_version": task.function_version,
                "tenant_id": task.tenant_id,
                "seconds": seconds,
            }


def _answered(task: Remote, seconds: float) -> End:
    try:
        if task.place.startswith("arn:"):
            text = remote.invoked(task.place, task.payload, task.tenant_id, seconds=seconds, clients=_CLIENTS)
        else:
            text = remote.emulated(task.place, task.payload, seconds=seconds)
    except TimeoutError:
        return _timed_out(seconds)
    except Fault as fault:
        return End(error=error_from_fault(fault))
    except Exception as error:  # the edge of this thread: whoever waits for it would wait for ever
        logger.exception("'%s' could not be called", task.label)
        return _failed("Runtime.Unknown", f"{type(error).__name__}: {error}")
    return End(text=text)


def _not_started() -> End:
    return _failed("Runtime.ExitError", "the worker process does not start; its output above says why")


def _timed_out(seconds: float) -> End:
    return _failed("Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds")


def _failed(name: str, message: str) -> End:
    return End(error={"ErrorType": name, "ErrorMessage": message})


def _refusal(name: str, message: str, status: int, *, is_retryable: bool) -> Object:
    return {"refusal": {"name": name, "message": message, "status": status, "is_retryable": is_retryable}}
