"""Which store of executions does a command mean, and what is in it? For commands that look, whoever owns the store."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from durableflow.cli import console, loading
from durableflow.errors import ServiceError
from durableflow.local.clock import SystemClock
from durableflow.local.service import Service
from durableflow.local.store import open_reader
from durableflow.local.targets import Targets
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from durableflow.local.jobs import Job

STORE: Final = Path(".durableflow") / "executions.db"
"""The file of executions beside a workflow that belongs to no project."""

store_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--store", metavar="PATH", type=click.Path(path_type=Path), help="The file of executions."
)
project_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--project", type=click.Path(path_type=Path), help="The project file, or its folder."
)
json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)


def usual_place(project: Path | None = None) -> Path:
    """Return the file of executions of a project, else of the one that the working folder belongs to, else its own."""
    context = loading.project_of(Path.cwd(), project)
    return context.store if context else Path.cwd() / STORE


def place_of(store: Path | None, project: Path | None) -> Path:
    """Return the file of executions that is meant.

    Raises:
        UsageError: there is none.
    """
    if store is None:
        store = usual_place(project)
    if not store.exists():
        hint = "run a workflow first, or name the file with --store, or the project with --project"
        console.usage("DF796", f"there is no store '{shown(str(store))}'", hint)
    return store


def words(place: Path) -> list[str]:
    """Return the options that mean this file in a command that is typed in the folder of this process."""
    return [] if place.absolute() == usual_place().absolute() else ["--store", str(place)]


class _Nobody:
    """Runs nothing: a reader has nothing run."""

    def start(self, job: Job) -> None:
        """Refuse."""
        raise AssertionError(f"a reader was asked to run {job.id}")


@contextmanager
def reader(place: Path) -> Generator[Service]:
    """Open a store to read it, whoever owns it."""
    opened = open_reader(place)
    try:
        yield Service(store=opened, clock=SystemClock(), functions=Targets(), invoker=_Nobody())
    finally:
        opened.close()


def arn_of(service: Service, execution: str, function: str | None = None) -> str:
    """Return the ARN of an execution that was given as a name (the newest of that name), an ARN or a callback's id.

    Args:
        service: that knows it.
        execution: what was given.
        function: whose execution it is; None for any.

    Raises:
        UsageError: there is none.
    """
    if execution.startswith("arn:"):
        return execution
    if function is None:
        reply = service.list_executions(DurableExecutionName=execution, MaxItems=1)
    else:
        reply = service.list_durable_executions_by_function(
            FunctionName=function, DurableExecutionName=execution, MaxItems=1
        )
    if reply["DurableExecutions"]:
        arn: str = reply["DurableExecutions"][0]["DurableExecutionArn"]
        return arn
    try:
        of_callback: str = service.callback(CallbackId=execution)["DurableExecutionArn"]
    except ServiceError:
        console.usage(
            "DF796",
            f"there is no execution '{shown(execution)}' here",
            "`durableflow executions list` shows what there is",
        )
    return of_callback
