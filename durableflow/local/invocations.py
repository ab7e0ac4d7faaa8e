"""What is an invocation of a workflow made with? The plan, the tools of its project, and who hears of what is written.

The same in a worker process and in the process of the service: both hand over the event, the service to ask and a
place for output, and get the answer or the error that the service is told.

It loads what an invocation needs and nothing else; neither the front end (PyYAML, pydantic, Jinja2) nor the store.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from durableflow import driver, work
from durableflow.actions import Actions, AllowList
from durableflow.calls import Answers, Count, Tools, refused_action
from durableflow.errors import Fault
from durableflow.interpreter import COMPENSATION_FAILED
from durableflow.offload import DirectoryStore
from durableflow.operations import error_from_fault
from durableflow.vault import LocalSecrets
from durableflow.web import HttpClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from durableflow.decision import Call, Completion
    from durableflow.operations import ErrorObject
    from durableflow.plan import Plan
    from durableflow.values import Json, Object
    from durableflow.vault import Redactor

_log = logging.getLogger(__name__)

STACK_FRAMES: Final = 20


class Labelled(Protocol):
    """Has what is written meanwhile, in this context, told as the output of a state."""

    def __call__(self, label: str, /) -> AbstractContextManager[None]:
        """Enter with the name of the state."""
        ...


def tools_of(
    settings: Mapping[str, Any],
    *,
    roots: Sequence[Path],
    count: Count,
    told: Redactor,
    clock_ms: Callable[[], int],
) -> Tools:
    """Return the tools that the project file describes; a process has one project.

    Args:
        settings: see `targets.py`.
        roots: folders that handlers are imported from.
        count: counts what lists of answers have answered.
        told: takes the secrets that are used out of what is written.
        clock_ms: the time in epoch milliseconds.
    """
    folder: str | None = settings["folder"]
    # Before the steps' own folders are looked through, so that these come first in every import.
    functions = None if folder is None else work.PythonWorker([Path(folder)], clock_ms=clock_ms)
    answers = Answers(
        actions=settings["actions"],
        requests=settings["http_answers"],
        functions=functions,
        count=count,
    )
    allowed = settings["aws_allow"]
    # A state names its action in the file, so without a list of the project's those are the allowed ones (rule 42).
    actions = Actions(allowed=AllowList(patterns=("*:*",) if allowed is None else tuple(allowed)))
    return Tools(
        steps=work.PythonWorker(roots, clock_ms=clock_ms),
        http=HttpClient(allow=settings["http_allow"]).perform,
        aws=actions.perform if settings["allow_aws"] else refused_action,
        secret=LocalSecrets(settings["secrets"], folder=None if folder is None else Path(folder)),
        answers=answers,
        told=told,
        clock_ms=clock_ms,
    )


def invoked(  # noqa: PLR0913 - what an invocation is made of; all by keyword
    event: Mapping[str, Any],
    *,
    plan: Plan,
    service: driver.Service,
    tools: Tools,
    labelled: Labelled,
    env: Mapping[str, str],
    operations_max: int,
    offload: tuple[int, Path] | None,
) -> Object:
    """Make one invocation.

    Args:
        event: as the service hands it over.
        plan: the workflow.
        service: what is asked on the way.
        tools: of the project.
        labelled: tells the output of each call under the name of its state.
        env: what templates may read of the environment.
        operations_max: how many operations the execution may have.
        offload: the size in bytes from which a result goes into a folder, and the folder; None for no such store.

    Returns:
        `{output}`, the answer for the service, or `{error}`, what left the driver.
    """
    try:
        output = driver.run_invocation(
            event,
            plan=plan,
            service=service,
            worker=_Labelling(tools.worker(event["DurableExecutionArn"]), labelled),
            env=env,
            check_schema=work.check_schema,
            clock_ms=tools.clock_ms,
            log=_told,
            operations_max=operations_max,
            offload=_offload(offload),
        )
    except Exception as error:  # noqa: BLE001 - the edge: what leaves the driver makes the service invoke again
        return {"error": cast("Json", error_of(error))}
    return {"output": output}


def error_of(error: BaseException) -> ErrorObject:
    """Return an exception as Lambda reports it: bare class name, message, stack; a Fault as it chose."""
    fault = error if isinstance(error, Fault) else Fault(type(error).__name__, work.message_of(error))
    made = error_from_fault(work.sound(fault, _log))
    # From the function on; what stands before is our module.
    frames = traceback.extract_tb(error.__traceback__)[1:]
    if frames and "ErrorData" not in made and len(fault.message) < 8_192:
        made["StackTrace"] = [entry[:512] for entry in traceback.format_list(frames[-STACK_FRAMES:])]
    return made


def _told(_level: int, happened: str, facts: Object) -> None:
    """Say what no operation shows; the rest of what the driver logs is in the history that the service keeps."""
    if happened == COMPENSATION_FAILED:
        print(f"undoing '{facts['state']}' failed: {facts['error']}")  # noqa: T201 - a line for whoever runs it


def _offload(settings: tuple[int, Path] | None) -> driver.Offload | None:
    if settings is None:
        return None
    threshold_bytes, folder = settings
    store = DirectoryStore(folder)
    return driver.Offload(threshold_bytes=threshold_bytes, put=store.put, get=store.get)


class _Labelling:
    """A worker whose calls' output carries the state's name."""

    def __init__(self, worker: driver.Worker, labelled: Labelled) -> None:
        self._worker = worker
        self._labelled = labelled

    def run(self, call: Call) -> Completion:
        """Do the work of a call."""
        with self._labelled(call.path):
            return self._worker.run(call)
