"""The `executions` commands: what is, and was, running here."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from durableflow import values
from durableflow.cli import console, loading
from durableflow.cli.progress import Board, elapsed
from durableflow.cli.run import STORE
from durableflow.local.clock import SystemClock
from durableflow.local.engine import Engine
from durableflow.local.service import Service
from durableflow.local.store import open_reader
from durableflow.local.targets import Targets
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from durableflow.local.jobs import Job

PAGE: Final = 1000
STATUSES: Final = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED")

_store_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--store", metavar="PATH", type=click.Path(path_type=Path), help="The file of executions."
)
_project_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--project", type=click.Path(path_type=Path), help="The project file, or its folder."
)
_json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)


@click.group("executions")
def executions_command() -> None:
    """List, show and stop the executions of this machine."""


@executions_command.command("list")
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only this status; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="How many, newest first; 0 for all."
)
@_store_option
@_project_option
@_json_option
def list_command(
    status: tuple[str, ...], limit: int, store: Path | None, project: Path | None, *, as_json: bool
) -> None:
    """List executions, newest first."""
    with _reader(store, project) as service:
        found = list(_listed(service, status, limit))
    if as_json:
        console.emit(json.dumps({"executions": found}, indent=2, ensure_ascii=False))
        return
    if not found:
        console.tell("no executions")
        return
    rows = [("NAME", "WORKFLOW", "STATUS", "STARTED", "TOOK")]
    rows += [(e["name"], e["workflow"], e["status"], _moment(e["started"]), _took(e)) for e in found]
    _table(rows)


@executions_command.command("show")
@click.argument("execution")
@_store_option
@_project_option
@_json_option
def show_command(execution: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Show EXECUTION (a name or an ARN): its input, its states, its result."""
    with _reader(store, project) as service:
        arn = _arn_of(service, execution)
        found = service.get_durable_execution(DurableExecutionArn=arn)
        meter = service.meter(DurableExecutionArn=arn)
        events = list(_events(service, arn))
    if as_json:
        console.emit(json.dumps(_facts(found, meter), indent=2, ensure_ascii=False))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")
    console.emit(f"  arn      {arn}")
    console.emit(f"  started  {_moment(found['StartTimestamp'])}")
    if found.get("EndTimestamp"):
        console.emit(f"  ended    {_moment(found['EndTimestamp'])}")
    counted = f"{meter['operations']} operations ({meter['metered']} metered), {meter['invocations']} invocations"
    console.emit(f"  took     {counted}")
    if meter["failures"]:
        console.emit(f"  trouble  the last {meter['failures']} invocations failed")
    board = Board()
    lines = [line for event in events if (line := board.take(event))]
    for line in lines:
        console.emit(f"  {line}")
    for label, member in (("input", "InputPayload"), ("result", "Result")):
        if found.get(member) is not None:
            console.emit(f"  {label}")
            console.emit(_indented(found[member]))
    if error := found.get("Error"):
        console.emit(f"  error    {shown(error.get('ErrorType', ''))}: {shown(error.get('ErrorMessage', ''))}")


@executions_command.command("history")
@click.argument("execution")
@_store_option
@_project_option
@_json_option
def history_command(execution: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Show the history of EXECUTION (a name or an ARN), event by event."""
    with _reader(store, project) as service:
        events = list(_events(service, _arn_of(service, execution)))
    if as_json:
        console.emit(json.dumps({"Events": events}, indent=2, ensure_ascii=False))
        return
    rows = [("ID", "TIME", "EVENT", "NAME")]
    rows += [
        (str(e["EventId"]), _moment(e["EventTimestamp"]), e["EventType"], shown(str(e.get("Name") or "")))
        for e in events
    ]
    _table(rows)


@executions_command.command("stop")
@click.argument("execution")
@click.option("--message", default="Execution stopped by user request.", show_default=True, help="Why.")
@_store_option
@_project_option
@_json_option
def stop_command(execution: str, message: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Stop EXECUTION (a name or an ARN) for good: nothing of it runs any more, not even its catch."""
    place = _place(store, project)
    with _reader(store, project) as service:
        arn = _arn_of(service, execution)
    with Engine(store=place) as engine:
        engine.stop(arn, {"ErrorType": "States.Stopped", "ErrorMessage": message})
        found = engine.describe(arn)
    if as_json:
        console.emit(json.dumps({"executionArn": arn, "status": found["Status"]}, indent=2))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")


def _place(store: Path | None, project: Path | None) -> Path:
    """Return the file of executions that is meant.

    Raises:
        UsageError: there is none.
    """
    if store is None:
        context = loading.project_of(Path.cwd(), project)
        store = context.store if context else Path.cwd() / STORE
    if not store.exists():
        hint = "run a workflow first, or name the file with --store, or the project with --project"
        console.usage("DF796", f"there is no store '{shown(str(store))}'", hint)
    return store


class _Nobody:
    """Runs nothing: a reader has nothing run."""

    def start(self, job: Job) -> None:
        """Refuse."""
        raise AssertionError(f"a reader was asked to run {job.id}")


@contextmanager
def _reader(store: Path | None, project: Path | None) -> Generator[Service]:
    """Open the store to read it, whoever owns it."""
    opened = open_reader(_place(store, project))
    try:
        yield Service(store=opened, clock=SystemClock(), functions=Targets(), invoker=_Nobody())
    finally:
        opened.close()


def _arn_of(service: Service, execution: str) -> str:
    """Return the ARN of an execution that was given as a name (the newest of that name) or an ARN."""
    if execution.startswith("arn:"):
        return execution
    found = service.list_executions(DurableExecutionName=execution, MaxItems=1)["DurableExecutions"]
    if not found:
        console.usage(
            "DF796",
            f"there is no execution '{shown(execution)}' here",
            "`durableflow executions list` shows what there is",
        )
    arn: str = found[0]["DurableExecutionArn"]
    return arn


def _listed(service: Service, statuses: tuple[str, ...], limit: int) -> Iterator[dict[str, Any]]:
    marker, left = None, limit or None
    while True:
        count = PAGE if left is None else min(PAGE, left)
        reply = service.list_executions(Statuses=statuses, Marker=marker, MaxItems=count)
        for item in reply["DurableExecutions"]:
            yield {
                "name": item["DurableExecutionName"],
                "executionArn": item["DurableExecutionArn"],
                "workflow": loading.workflow_of(item),
                "status": item["Status"],
                "started": item["StartTimestamp"],
                "ended": item.get("EndTimestamp"),
            }
        marker = reply.get("NextMarker")
        if left is not None:
            left -= len(reply["DurableExecutions"])
        if not marker or left == 0:
            return


def _events(service: Service, arn: str) -> Iterator[Mapping[str, Any]]:
    after = 0
    while events := service.events(DurableExecutionArn=arn, After=after):
        yield from events
        after = events[-1]["EventId"]


def _facts(found: Mapping[str, Any], meter: Mapping[str, int]) -> dict[str, Any]:
    return {
        "name": found["DurableExecutionName"],
        "executionArn": found["DurableExecutionArn"],
        "workflow": loading.workflow_of(found),
        "status": found["Status"],
        "started": found["StartTimestamp"],
        "ended": found.get("EndTimestamp"),
        "input": _value(found.get("InputPayload")),
        "output": _value(found.get("Result")),
        "error": found.get("Error"),
        **meter,
    }


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return values.from_text(text)
    except values.ValueRefusedError:
        return text


def _indented(text: str) -> str:
    value = _value(text)
    written = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(f"    {line}" for line in written.splitlines())


def _moment(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{whole}Z"


def _took(execution: Mapping[str, Any]) -> str:
    return elapsed(execution["ended"] - execution["started"]) if execution["ended"] else "-"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(shown(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (shown(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        console.emit("  ".join(cells).rstrip())
