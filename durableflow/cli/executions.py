"""The `executions` commands: what is, and was, running here."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import click

from durableflow import values
from durableflow.cli import callback, console, loading, stores, tree
from durableflow.cli.progress import Board, elapsed
from durableflow.local.engine import Engine
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from durableflow.local.service import Service

PAGE: Final = 1000
STATUSES: Final = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED")


@click.group("executions")
def executions_command() -> None:
    """List, show and stop the executions of this machine."""


@executions_command.command("list")
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only this status; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="How many, newest first; 0 for all."
)
@stores.store_option
@stores.project_option
@stores.json_option
def list_command(
    status: tuple[str, ...], limit: int, store: Path | None, project: Path | None, *, as_json: bool
) -> None:
    """List executions, newest first."""
    with stores.reader(stores.place_of(store, project)) as service:
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
@stores.store_option
@stores.project_option
@stores.json_option
def show_command(execution: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Show EXECUTION (a name, an ARN or a callback's id).

    Its input, its states, the executions that it has started and these in turn, what it waits for, its result.
    """
    place = stores.place_of(store, project)
    with stores.reader(place) as service:
        arn = stores.arn_of(service, execution)
        found = service.get_durable_execution(DurableExecutionArn=arn)
        meter = service.meter(DurableExecutionArn=arn)
        events = list(_events(service, arn))
        waiting = service.callbacks(DurableExecutionArn=arn, WithChildren=True)
        children = tree.children_of(
            events,
            describe=lambda each: service.get_durable_execution(DurableExecutionArn=each),
            history=lambda each: _events(service, each),
        )
    if as_json:
        facts = {
            **_facts(found, meter),
            "callbacks": [callback.to_json(each) for each in waiting],
            "children": tree.to_json(children),
        }
        console.emit(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")
    console.emit(f"  arn      {arn}")
    console.emit(f"  started  {_moment(found['StartTimestamp'])}")
    if found.get("EndTimestamp"):
        console.emit(f"  ended    {_moment(found['EndTimestamp'])}")
    operations, invocations = (console.counted(meter[noun], noun) for noun in ("operations", "invocations"))
    counted = f"{operations} ({meter['metered']:,} metered), {invocations}"
    console.emit(f"  took     {counted}")
    if meter["failures"]:
        console.emit(f"  trouble  the last {console.counted(meter['failures'], 'invocations')} failed")
    board = Board()
    lines = [line for event in events if (line := board.take(event))]
    for line in lines:
        console.emit(f"  {line}")
    for line in tree.told(children):
        console.emit(f"  {line}")
    for each in waiting:
        console.emit(f"  waits for callback '{shown(each['Name'])}'; answer it with:")
        console.emit(f"    {callback.command(each, place)}")
    for label, member in (("input", "InputPayload"), ("result", "Result")):
        if found.get(member) is not None:
            console.emit(f"  {label}")
            console.emit(_indented(found[member]))
    if error := found.get("Error"):
        console.emit(f"  error    {shown(error.get('ErrorType', ''))}: {shown(error.get('ErrorMessage', ''))}")


@executions_command.command("history")
@click.argument("execution")
@stores.store_option
@stores.project_option
@stores.json_option
def history_command(execution: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Show the history of EXECUTION (a name, an ARN or a callback's id), event by event."""
    with stores.reader(stores.place_of(store, project)) as service:
        events = list(_events(service, stores.arn_of(service, execution)))
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
@stores.store_option
@stores.project_option
@stores.json_option
def stop_command(execution: str, message: str, store: Path | None, project: Path | None, *, as_json: bool) -> None:
    """Stop EXECUTION (a name, an ARN or a callback's id) for good: nothing of it runs any more, not even its catch."""
    place = stores.place_of(store, project)
    with stores.reader(place) as service:
        arn = stores.arn_of(service, execution)
    with Engine(store=place) as engine:
        engine.stop(arn, {"ErrorType": "States.Stopped", "ErrorMessage": message})
        found = engine.describe(arn)
    if as_json:
        console.emit(json.dumps({"executionArn": arn, "status": found["Status"]}, indent=2))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")


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
