"""The `executions` commands: what is, and was, running, here or elsewhere."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from durableflow import library, values
from durableflow.cli import callback, console, loading, places, stores, tree
from durableflow.cli.completion import complete_executions
from durableflow.cli.here import Here
from durableflow.cli.progress import Board, elapsed
from durableflow.expressions import EvaluationError
from durableflow.local.engine import Engine
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from durableflow.cli.places import Place, Where

ENDS: Final = ("SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED")
STATUSES: Final = ("RUNNING", "PAUSING", "PAUSED", *ENDS)


_execution_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "execution", shell_complete=complete_executions
)


@click.group("executions")
def executions_command() -> None:
    """List, show, stop, pause and delete executions, here, at a service or on AWS."""


@executions_command.command("list")
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only this status; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="How many, newest first; 0 for all."
)
@places.function_option
@places.where_options
@stores.json_option
def list_command(status: tuple[str, ...], limit: int, function: str | None, *, where: Where, as_json: bool) -> None:
    """List executions, newest first."""
    with places.opened(where) as place:
        where.show_aws(
            "list_durable_executions_by_function",
            FunctionName=function or "FUNCTION",
            Statuses=status,
            MaxItems=limit or None,
        )
        found = [_item(each) for each in place.executions(function=function, statuses=status, limit=limit)]
    if as_json:
        console.emit(json.dumps({"executions": found}, indent=2, ensure_ascii=False))
        return
    if not found:
        console.tell("no executions")
        return
    rows = [("NAME", "WORKFLOW", "STATUS", "STARTED", "TOOK")]
    rows += [(e["name"], e["workflow"], e["status"], moment(e["started"]), _took(e)) for e in found]
    _table(rows)


@executions_command.command("show")
@_execution_argument
@places.function_option
@places.where_options
@stores.json_option
def show_command(execution: str, function: str | None, *, where: Where, as_json: bool) -> None:
    """Show EXECUTION (a name, an ARN or a callback's id).

    Its input, its states, the executions that it has started and these in turn, what it waits for, its result.
    """
    with places.opened(where) as place:
        arn = place.arn_of(execution, function=function)
        where.show_aws("get_durable_execution", DurableExecutionArn=arn)
        found = place.ask("get_durable_execution", DurableExecutionArn=arn)
        events = list(place.events(arn))
        meter = place.meter(arn, events)
        waiting = place.callbacks(arn)
        children = tree.children_of(
            events,
            describe=lambda each: place.ask("get_durable_execution", DurableExecutionArn=each),
            history=place.events,
        )
        words = place.words()
    if as_json:
        facts = {
            **_facts(found, meter),
            "callbacks": [callback.to_json(each) for each in waiting],
            "children": tree.to_json(children),
        }
        console.emit(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")
    console.emit(f"  arn      {shown(arn)}")
    console.emit(f"  started  {moment(found['StartTimestamp'])}")
    if found.get("EndTimestamp"):
        console.emit(f"  ended    {moment(found['EndTimestamp'])}")
    if pause := found.get("PauseDetails"):
        console.emit(f"  pause    {_pause(pause)}")
        console.emit(f"    {shlex.join(['durableflow', 'executions', 'resume', arn, *words])}")
    operations, invocations = (console.counted(meter[noun], noun) for noun in ("operations", "invocations"))
    metered = f" ({meter['metered']:,} metered)" if "metered" in meter else ""
    console.emit(f"  took     {operations}{metered}, {invocations}")
    if meter.get("failures"):
        console.emit(f"  trouble  the last {console.counted(meter['failures'], 'invocations')} failed")
    board = Board()
    lines = [line for event in events if (line := board.take(event))]
    for line in lines:
        console.emit(f"  {line}")
    for line in tree.told(children):
        console.emit(f"  {line}")
    for each in waiting:
        console.emit(f"  waits for callback '{shown(each['Name'])}'; answer it with:")
        console.emit(f"    {callback.command(each, words)}")
    _show_data(found)


def _show_data(found: Mapping[str, Any]) -> None:
    for label, member in (("input", "InputPayload"), ("result", "Result")):
        if found.get(member) is not None:
            console.emit(f"  {label}")
            console.emit(_indented(found[member]))
    if error := found.get("Error"):
        console.emit(f"  error    {shown(error.get('ErrorType', ''))}: {shown(error.get('ErrorMessage', ''))}")


@executions_command.command("history")
@_execution_argument
@click.option("--follow", is_flag=True, help="Go on with what happens, until the execution ends.")
@places.function_option
@places.where_options
@stores.json_option
def history_command(execution: str, function: str | None, *, follow: bool, where: Where, as_json: bool) -> None:
    """Show the history of EXECUTION (a name, an ARN or a callback's id), event by event."""
    with places.opened(where) as place:
        arn = place.arn_of(execution, function=function)
        where.show_aws("get_durable_execution_history", DurableExecutionArn=arn, IncludeExecutionData=True)
        if follow:
            _follow(place, arn, as_json=as_json)
            return
        events = list(place.events(arn))
    if as_json:
        console.emit(json.dumps({"Events": events}, indent=2, ensure_ascii=False))
        return
    _table([_HEADS, *map(_cells, events)])


def _follow(place: Place, arn: str, *, as_json: bool) -> None:
    """Write each event as it comes: as a row, or as a line of JSON."""
    # Names are last, so that no column has to be as wide as what is yet to come.
    widths = (4, len("2000-01-01 00:00:00Z"), len("ChainedInvokeSucceeded"))
    if not as_json:
        console.emit(_row(_HEADS, widths))
    for event in place.follow(arn):
        console.emit(json.dumps(event, ensure_ascii=False) if as_json else _row(_cells(event), widths))


_HEADS: Final = ("ID", "TIME", "EVENT", "NAME")


def _cells(event: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(event.get("Name") or "")
    return str(event["EventId"]), moment(event["EventTimestamp"]), event["EventType"], name


@executions_command.command("stop")
@_execution_argument
@click.option("--message", default="Execution stopped by user request.", show_default=True, help="Why.")
@places.function_option
@places.where_options
@stores.json_option
def stop_command(execution: str, message: str, function: str | None, *, where: Where, as_json: bool) -> None:
    """Stop EXECUTION (a name, an ARN or a callback's id) for good: nothing of it runs any more, not even its catch."""
    error = {"ErrorType": "States.Stopped", "ErrorMessage": message}
    _act("stop_durable_execution", execution, function, where, as_json=as_json, Error=error)


@executions_command.command("pause")
@_execution_argument
@click.option("--reason", help="Why; the history tells it.")
@click.option(
    "--timeout-goes-on", is_flag=True, help="Do not hold the execution's timeout meanwhile: it may time out at rest."
)
@places.function_option
@places.where_options
@stores.json_option
def pause_command(
    execution: str,
    reason: str | None,
    function: str | None,
    *,
    timeout_goes_on: bool,
    where: Where,
    as_json: bool,
) -> None:
    """Pause EXECUTION (a name, an ARN or a callback's id): none of its code runs until it is resumed.

    Waits and callbacks go on. What runs at this moment ends by itself; until then the execution is PAUSING.
    """
    members = {"Reason": reason, "ExecutionTimeoutPaused": not timeout_goes_on}
    _act("pause_durable_execution", execution, function, where, as_json=as_json, **members)


@executions_command.command("resume")
@_execution_argument
@click.option("--reason", help="Why; the history tells it.")
@places.function_option
@places.where_options
@stores.json_option
def resume_command(execution: str, reason: str | None, function: str | None, *, where: Where, as_json: bool) -> None:
    """Resume EXECUTION (a name, an ARN or a callback's id): it goes on as if it had only slept.

    Here it runs wherever its workflow does: in the process that runs the executions of its store, or in the next `run`.
    """
    _act("resume_durable_execution", execution, function, where, as_json=as_json, Reason=reason)


@executions_command.command("delete")
@_execution_argument
@places.function_option
@places.where_options
@stores.json_option
def delete_command(execution: str, function: str | None, *, where: Where, as_json: bool) -> None:
    """Delete EXECUTION (a name, an ARN or a callback's id) that has ended, with its history; its name is free again.

    Executions that it has started stay.
    """
    with places.opened(where) as place:
        arn = place.arn_of(execution, function=function)
        where.show_aws("delete_durable_execution", DurableExecutionArn=arn)
        found = place.ask("get_durable_execution", DurableExecutionArn=arn)
        place.ask("delete_durable_execution", DurableExecutionArn=arn)
    if as_json:
        console.emit(json.dumps({"executionArn": arn, "status": found["Status"], "isDeleted": True}, indent=2))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  deleted")


@executions_command.command("prune")
@click.option("--older-than", metavar="DURATION", help="Only what ended so long ago: 12h, 30d, P1W.")
@click.option("--status", type=click.Choice(ENDS), multiple=True, help="Only this status; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stores.store_option
@stores.project_option
@stores.json_option
def prune_command(
    older_than: str | None,
    status: tuple[str, ...],
    store: Path | None,
    project: Path | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete executions of this machine that have ended, with their histories; their names are free again."""
    # Without one all count: what was run with --skip-time may have ended in the future.
    latest = math.inf if older_than is None else time.time() - _duration_seconds(older_than)
    with Here(stores.place_of(store, project)) as place:
        items = map(_item, place.executions(function=None, statuses=status or ENDS))
        found = [each for each in items if each["ended"] <= latest]
    if found and not yes and not dry_run and not _is_confirmed(len(found)):
        console.tell("nothing was deleted")
        return
    count = 0
    if found and not dry_run:
        with Engine(store=stores.place_of(store, project)) as engine:
            count = engine.delete_all([each["executionArn"] for each in found])
    if as_json:
        console.emit(json.dumps({"executions": found, "deleted": count}, indent=2, ensure_ascii=False))
        return
    if dry_run:
        for each in found:
            console.emit(f"{shown(each['name'])}  {each['workflow']}  {each['status']}  {moment(each['ended'])}")
        console.tell(f"{console.counted(len(found), 'executions')} would be deleted")
        return
    console.emit(f"{console.counted(count, 'executions')} deleted")


def _duration_seconds(text: str) -> float:
    try:
        return library.parse_duration(text)
    except EvaluationError as error:
        raise click.BadParameter(error.message, param_hint="--older-than") from error


def _is_confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("prune asks before it deletes anything, and nobody is there to answer: say --yes")
    return click.confirm(f"Delete {console.counted(count, 'executions')} for good?", err=True)


def _act(operation: str, execution: str, function: str | None, where: Where, *, as_json: bool, **members: Any) -> None:
    """Have something done to an execution, and say how it is then."""
    with places.opened(where) as place:
        arn = place.arn_of(execution, function=function)
        where.show_aws(operation, DurableExecutionArn=arn, **members)
        place.ask(operation, DurableExecutionArn=arn, **members)
        found = place.ask("get_durable_execution", DurableExecutionArn=arn)
    if as_json:
        console.emit(json.dumps({"executionArn": arn, "status": found["Status"]}, indent=2))
        return
    console.emit(f"{shown(found['DurableExecutionName'])}  {found['Status']}")


def _pause(pause: Mapping[str, Any]) -> str:
    reason = f": {shown(pause['Reason'])}" if pause.get("Reason") else ""
    return f"since {moment(pause['PauseRequestTimestamp'])}{reason}; resume it with:"


def _pause_to_json(pause: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if pause is None:
        return None
    return {
        "requested": pause["PauseRequestTimestamp"],
        "reason": pause.get("Reason"),
        "timeoutStands": pause["ExecutionTimeoutPaused"],
    }


def _item(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": found["DurableExecutionName"],
        "executionArn": found["DurableExecutionArn"],
        "workflow": loading.workflow_of(found),
        "status": found["Status"],
        "started": found["StartTimestamp"],
        "ended": found.get("EndTimestamp"),
    }


def _facts(found: Mapping[str, Any], meter: Mapping[str, int]) -> dict[str, Any]:
    return {
        **_item(found),
        "input": _value(found.get("InputPayload")),
        "output": _value(found.get("Result")),
        "error": found.get("Error"),
        "pause": _pause_to_json(found.get("PauseDetails")),
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


def moment(seconds: float) -> str:
    """Return a time for people."""
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{whole}Z"


def _took(execution: Mapping[str, Any]) -> str:
    return elapsed(execution["ended"] - execution["started"]) if execution["ended"] else "-"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(shown(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        console.emit(_row(row, widths))


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [shown(cell).ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, *map(shown, row[len(widths) :])]).rstrip()
