"""The `callback` commands: answer what an execution waits for."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from durableflow.cli import console, stores
from durableflow.cli.given import json_text
from durableflow.errors import ServiceError
from durableflow.local.engine import Engine
from durableflow.operations import STEP_RESULT_MAX_BYTES
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from durableflow.local.service import Service
    from durableflow.operations import ErrorObject

_callback_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("callback")
_execution_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--execution", metavar="NAME", help="Only callbacks of this execution: its name or ARN."
)


@click.group("callback")
def callback_command() -> None:
    """Answer the callbacks that executions of this machine wait for.

    CALLBACK is a callback's id, the name of the state that waits, or the name or ARN of the execution: whatever tells
    the one open callback that is meant.
    """


@callback_command.command("succeed")
@_callback_argument
@click.option("--result", metavar="JSON", help="The answer: JSON, @FILE, or - for standard input; none without it.")
@click.option("--text", metavar="TEXT", help="The answer as text, kept as it is.")
@_execution_option
@stores.store_option
@stores.project_option
@stores.json_option
def succeed_command(
    callback: str,
    result: str | None,
    text: str | None,
    execution: str | None,
    store: Path | None,
    project: Path | None,
    *,
    as_json: bool,
) -> None:
    """Answer CALLBACK: the state that waits succeeds with the answer as its result."""
    if result is not None and text is not None:
        console.usage("DF797", "--result and --text exclude each other")
    if result is not None:
        text = json_text(result, noun="answer", option="--result", max_bytes=STEP_RESULT_MAX_BYTES)
    answered = text
    _tell(callback, execution, store, project, lambda engine, id_: engine.succeed(id_, answered), as_json=as_json)


@callback_command.command("fail")
@_callback_argument
@click.option("--error", metavar="NAME", help="The error's name, which the state sees as error.data.type.")
@click.option("--message", metavar="TEXT", help="What went wrong.")
@click.option("--data", metavar="JSON", help="More about it: JSON, @FILE, or - for standard input.")
@_execution_option
@stores.store_option
@stores.project_option
@stores.json_option
def fail_command(  # noqa: PLR0913 - the options of the command
    callback: str,
    error: str | None,
    message: str | None,
    data: str | None,
    execution: str | None,
    store: Path | None,
    project: Path | None,
    *,
    as_json: bool,
) -> None:
    """Answer CALLBACK with an error: the state that waits fails with States.CallbackFailed."""
    told: ErrorObject = {}
    if error is not None:
        told["ErrorType"] = error
    if message is not None:
        told["ErrorMessage"] = message
    if data is not None:
        told["ErrorData"] = json_text(data, noun="data", option="--data", max_bytes=STEP_RESULT_MAX_BYTES)
    _tell(callback, execution, store, project, lambda engine, id_: engine.fail(id_, told), as_json=as_json)


@callback_command.command("heartbeat")
@_callback_argument
@_execution_option
@stores.store_option
@stores.project_option
@stores.json_option
def heartbeat_command(
    callback: str, execution: str | None, store: Path | None, project: Path | None, *, as_json: bool
) -> None:
    """Say that the answer to CALLBACK is still being worked on: its heartbeat timeout starts anew."""
    _tell(callback, execution, store, project, lambda engine, id_: engine.heartbeat(id_), as_json=as_json)


def _tell(
    callback: str,
    execution: str | None,
    store: Path | None,
    project: Path | None,
    tell: Callable[[Engine, str], None],
    *,
    as_json: bool,
) -> None:
    """Find the callback that is meant, tell whoever owns the store, and say how the callback is then."""
    place = stores.place_of(store, project)
    with stores.reader(place) as service:
        callback_id = _id_of(service, callback, execution)
    with Engine(store=place) as engine:
        tell(engine, callback_id)
        found = engine.callback(callback_id)
        is_run = not engine.is_owner
    if as_json:
        console.emit(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        console.emit(f"{shown(found['Name'] or callback_id)}  {found['Status']}")
    if not is_run and found["Status"] != "STARTED":
        name = found["DurableExecutionName"]
        console.tell(f"nothing runs the execution now: `durableflow run WORKFLOW --name {shlex.quote(name)}` goes on")


def to_json(callback: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` says of a callback; `timesOut` is in epoch seconds, null for never."""
    due = (callback.get("TimeoutTimestamp"), callback.get("HeartbeatTimeoutTimestamp"))
    return {
        "callbackId": callback["CallbackId"],
        "name": callback["Name"],
        "status": callback["Status"],
        "execution": callback["DurableExecutionName"],
        "executionArn": callback["DurableExecutionArn"],
        "started": callback["StartTimestamp"],
        "timesOut": min((moment for moment in due if moment is not None), default=None),
    }


def command(callback: Mapping[str, Any], place: Path) -> str:
    """Return the command that answers a callback, as it is to be typed in the folder that this process works in."""
    words = ["durableflow", "callback", "succeed", callback["CallbackId"], "--result", "JSON"]
    if place.absolute() != stores.usual_place().absolute():
        words += ["--store", str(place)]
    return shlex.join(words)


def _id_of(service: Service, asked: str, execution: str | None) -> str:
    """Return the id of the callback that is meant.

    Raises:
        UsageError: DF780, none is open.
        Ended: several are.
    """
    try:
        known: str = service.callback(CallbackId=asked)["CallbackId"]
    except ServiceError:
        pass
    else:
        return known
    arn = stores.arn_of(service, execution) if execution is not None else None
    found = service.callbacks(DurableExecutionArn=arn, Name=asked)
    if not found and execution is None:
        of_execution = (each["DurableExecutionName"] for each in service.callbacks())
        if asked.startswith("arn:") or asked in of_execution:
            found = service.callbacks(DurableExecutionArn=stores.arn_of(service, asked))
    if not found:
        console.usage("DF780", f"no callback '{shown(asked)}' is open here", _hint(service.callbacks()))
    if len(found) > 1:
        console.tell(f"{len(found)} open callbacks are called '{shown(asked)}':")
        for each in found[:_SHOWN_MAX]:
            console.tell(f"  {each['CallbackId']}  {shown(each['Name'])} of execution {each['DurableExecutionName']}")
        if len(found) > _SHOWN_MAX:
            console.tell(f"  and {len(found) - _SHOWN_MAX:,} more")
        console.tell("hint: give the id, the whole name where they differ, or --execution")
        raise console.Ended(console.PROBLEMS)
    one: str = found[0]["CallbackId"]
    return one


_SHOWN_MAX = 20


def _hint(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "no execution here waits for a callback"
    known = [f"'{shown(each['Name'])}' of execution '{each['DurableExecutionName']}'" for each in found[:5]]
    return f"open: {', '.join(known)}{' and others' if len(found) > len(known) else ''}"
