"""What does a worker process do? One job at a time for the service that started it, until that service is gone.

A job is one invocation of a workflow (the driver runs it; its requests to the service go back over the socket), one of
a durable function that is written with an AWS SDK (which asks the service over HTTP), or one of a plain function. The
process stands for what Lambda calls an execution environment: it is started for one set of folders, keeps its modules
and plans between jobs, and may die without taking anything with it.

It loads what its jobs need and nothing else; neither the front end (PyYAML, pydantic, Jinja2) nor the store.

The values of secrets are looked up here, by the environment of this process, and what leaves it - results, faults,
lines of output - has none: the service and its store never see one.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import socket
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from durableflow import plan, values, work
from durableflow.errors import Diagnostic, Fault, ServiceError
from durableflow.local import sdk
from durableflow.local.frames import Channel
from durableflow.local.invocations import error_of, invoked, tools_of
from durableflow.operations import error_from_fault
from durableflow.vault import Redactor

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from durableflow.calls import Tools
    from durableflow.plan import Plan
    from durableflow.values import Json, Object

_log = logging.getLogger(__name__)

LABEL_START: Final = "\x1e"
LABEL_END: Final = "\x1f"
"""What the label of a line of output stands between, in front of the line (see `workers.py`, which reads them)."""
RESPONSE_MAX_BYTES: Final = 6 * 1024 * 1024
"""Largest response of a function, as on Lambda."""


def main(start: Mapping[str, Any]) -> NoReturn:
    """Run a worker process.

    Args:
        start: `channel` and `lifeline`, descriptors of a socket and of a pipe whose other end the service holds;
            `roots`, the folders that handlers are imported from; `env`, the names of the environment that templates may
            read. Handlers read all of it, but what a template gives must not depend on who resumes an execution where.
    """
    threading.Thread(target=_die_with_service, args=(start["lifeline"],), daemon=True).start()
    faulthandler.enable()
    sys.stdout = sys.stderr = output = Output(2)
    logging.basicConfig(stream=output, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The lines of steps are JSON objects as they are.
    steps = logging.getLogger("durableflow.handlers")
    steps.setLevel(logging.INFO)
    steps.addHandler(logging.StreamHandler(output))
    steps.propagate = False
    jobs = Jobs(
        Channel(socket.socket(fileno=start["channel"])),
        [Path(root) for root in start["roots"]],
        {name: os.environ[name] for name in start["env"]},
        output,
    )
    try:
        jobs.serve()
    except BaseException:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
        os._exit(1)
    # Not sys.exit: threads of handlers that have been abandoned must not hold the process back.
    os._exit(0)


def _die_with_service(lifeline: int) -> NoReturn:
    """End this process, handlers and all, at the moment the service's process is gone."""
    os.read(lifeline, 1)
    os._exit(1)


@dataclass(slots=True)
class _Line:
    """What is being written: whose line it is, None for whoever the process works for, and its beginning."""

    label: str | None
    begun: str = ""


_LINE: ContextVar[_Line | None] = ContextVar("_LINE", default=None)
"""Not the thread's: a handler with a timeout runs in one of its own, in the context of the one that waits for it."""


class Output(io.TextIOWrapper):
    """Standard output and error: whole lines without secrets, each with the label of what its thread works on."""

    def __init__(self, descriptor: int) -> None:
        raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long as the process
        super().__init__(cast("Any", raw), encoding="utf-8", errors="backslashreplace", write_through=True)
        self.told = Redactor()
        """The secrets that have been used."""
        self._threads = threading.local()
        self._label = ""
        self._begun: list[tuple[threading.Thread, _Line]] = []
        """What threads without a label have begun to write; some have ended since."""
        self._beginning = threading.Lock()

    def write(self, text: str, /) -> int:
        """Write the lines that are complete, keep the rest."""
        current = _LINE.get() or self._line_of_thread()
        *lines, current.begun = (current.begun + text).split("\n")
        for line in lines:
            self._line(current.label, line)
        return len(text)

    @contextmanager
    def labelled(self, label: str, *, everywhere: bool = False) -> Generator[None]:
        """Label the lines of this thread; `everywhere` those of threads without a label of their own, too."""
        if everywhere:
            self._label = label
        current = _Line(label)
        token = _LINE.set(current)
        try:
            yield
        finally:
            _LINE.reset(token)
            self._finish(current)

    def _line_of_thread(self) -> _Line:
        current: _Line | None = getattr(self._threads, "line", None)
        if current is None:
            current = self._threads.line = _Line(None)
            with self._beginning:
                self._begun.append((threading.current_thread(), current))
        return current

    def _finish(self, current: _Line) -> None:
        if current.begun:
            begun, current.begun = current.begun, ""
            self._line(current.label, begun)

    def mark(self, mark: str) -> None:
        """Write a line that stands behind all that has been written: a word that the service has chosen."""
        with self._beginning:
            for _, begun in self._begun:
                self._finish(begun)
            self._begun = [(thread, begun) for thread, begun in self._begun if thread.is_alive()]
        with suppress(OSError, ValueError):  # a handler may have closed what it does not own
            if sys.__stdout__ is not None:
                sys.__stdout__.flush()
            os.write(2, f"{mark}\n".encode())

    def _line(self, label: str | None, line: str) -> None:
        super().write(f"{LABEL_START}{label or self._label}{LABEL_END}{self.told.text(line)}\n")


class Jobs:
    """Takes jobs from the service and answers each."""

    def __init__(self, channel: Channel, roots: Sequence[Path], env: Mapping[str, str], output: Output) -> None:
        self._channel = channel
        self._roots = roots
        self._env = env
        self._tools: Tools | None = None
        self._output = output
        self._asked = _Asked(channel)
        self._plans: dict[str, Plan] = {}
        self._clock_offset = 0
        self._runtime: sdk.Runtime | None = None

    def serve(self) -> None:
        """Work until the service closes the channel."""
        while (job := cast("Any", self._channel.receive())) is not None:
            # From here on, a process that dies may have had an effect.
            self._channel.send({"begun": True})
            with self._output.labelled(job["label"], everywhere=True):
                match job["kind"]:
                    case "durable":
                        end = self._durable(job)
                    case "sdk":
                        end = self._sdk(job)
                    case _:
                        end = self._plain(job)
            self._output.mark(job["mark"])
            self._channel.send({"end": end})

    def _durable(self, job: Mapping[str, Any]) -> Object:
        digest: str = job["digest"]
        self._clock_offset = job["clock_offset"]
        try:
            if digest not in self._plans:
                self._plans[digest] = plan.from_json(job["plan"])
            if self._tools is None:
                self._tools = tools_of(
                    job["tools"],
                    roots=self._roots,
                    count=self._asked.count_answer,
                    told=self._output.told,
                    clock_ms=self._clock_ms,
                )
        except Exception as error:  # noqa: BLE001 - the edge: a plan of another version, say
            return {"error": cast("Json", error_of(error))}
        offload = job["offload"]
        return invoked(
            job["event"],
            plan=self._plans[digest],
            service=self._asked,
            tools=self._tools,
            labelled=self._output.labelled,
            env=self._env,
            operations_max=job["operations_max"],
            offload=(offload[0], Path(offload[1])) if offload else None,
        )

    def _clock_ms(self) -> int:
        return work.system_milliseconds() + self._clock_offset

    def _sdk(self, job: Mapping[str, Any]) -> Object:
        if self._runtime is None:
            # Before the function's module is imported, which may have its own opinion on logging.
            self._runtime = sdk.Runtime(self._output)
        self._runtime.begin(job["id"], job["function_name"], job["function_version"])
        end = self._called(job, job["event"])
        if (text := end.get("text")) is None:
            return end
        try:
            return {"output": values.from_text(cast("str", text))}
        except values.ValueRefusedError as error:
            return _refused("Runtime.MarshalError", f"Unable to marshal response: {error}")

    def _plain(self, job: Mapping[str, Any]) -> Object:
        try:
            event = values.from_text(job["payload"])
        except values.ValueRefusedError as error:
            return _refused("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}")
        return self._called(job, event)

    def _called(self, job: Mapping[str, Any], event: Json) -> Object:
        """Call the function that a job names, as Lambda's runtime does, and return its text or its error."""
        try:
            handler = work.function(job["handler"], work.RootFinder.installed(self._roots))
            returned = handler(event, LambdaContext(job))
        except work.HandlerError as error:
            fault = Fault(error.name, error.problem.message)
            return {"error": cast("Json", error_from_fault(fault)), "is_hopeless": True}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge: what a function raises is its error
            return {"error": cast("Json", error_of(error))}
        try:
            text = values.to_text(cast("Json", returned))
        except (TypeError, ValueError, RecursionError) as error:
            return _refused("Runtime.MarshalError", f"Unable to marshal response: {error}")
        if (size := values.size_bytes(text)) > RESPONSE_MAX_BYTES:
            limit = f"{RESPONSE_MAX_BYTES} bytes"
            return _refused("Function.ResponseSizeTooLarge", f"Response of {size} bytes is larger than {limit}")
        return {"text": text}


def _refused(name: str, message: str) -> Object:
    return {"error": {"ErrorType": name, "ErrorMessage": message}}


class _Asked:
    """The service, as the driver sees it: each request goes over the channel and waits for its answer."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asking = threading.Lock()

    def checkpoint_durable_execution(self, **members: Any) -> Mapping[str, Any]:
        return self._ask("checkpoint_durable_execution", members)

    def get_durable_execution_state(self, **members: Any) -> Mapping[str, Any]:
        return self._ask("get_durable_execution_state", members)

    def count_answer(self, execution_arn: str, answer: str, call: str) -> int:
        """Return the number of a call among those that a list has answered (calls.Count)."""
        members: Object = {"DurableExecutionArn": execution_arn, "Answer": answer, "Call": call}
        number: int = self._ask("count_answer", members)["Number"]
        return number

    def _ask(self, method: str, members: Object) -> Mapping[str, Any]:
        with self._asking:
            self._channel.send({"ask": method, "members": members})
            answer = cast("Any", self._channel.receive())
        if answer is None:
            os._exit(1)  # the service is gone
        if refusal := answer.get("refusal"):
            raise ServiceError(
                Diagnostic(code="DF511", message=refusal["message"]),
                name=refusal["name"],
                status=refusal["status"],
                is_retryable=refusal["is_retryable"],
            )
        return cast("Mapping[str, Any]", answer["reply"])


class LambdaContext:
    """The second argument of a plain function, with the members of Lambda's that mean something here."""

    memory_limit_in_mb = 512
    client_context = None
    identity = None

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.aws_request_id: str = job["id"]
        self.function_name: str = job["function_name"]
        self.function_version: str = job["function_version"]
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{self.function_name}"
        if self.function_version != "$LATEST":
            self.invoked_function_arn += f":{self.function_version}"
        self.tenant_id: str | None = job["tenant_id"]
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = "local"
        self._ends_at: float = time.monotonic() + job["seconds"]

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may still take, in milliseconds."""
        return max(0, round((self._ends_at - time.monotonic()) * 1000))
