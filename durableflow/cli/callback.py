"""The `callback` commands: answer what an execution waits for."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from durableflow.cli import console, places, stores
from durableflow.cli.completion import complete_executions
from durableflow.cli.given import json_text
from durableflow.operations import STEP_RESULT_MAX_BYTES
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durableflow.cli.places import Where
    from durableflow.operations import ErrorObject

_callback_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("callback")
_execution_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--execution",
    metavar="NAME",
    shell_complete=complete_executions,
    help="Only callbacks of this execution: its name or ARN.",
)


@click.group("callback")
def callback_command() -> None:
    """Answer the callbacks that executions wait for, here, at a service or on AWS.

    CALLBACK is a callback's id, the name of the state that waits, or the name or ARN of the execution: whatever tells
    the one open callback that is meant. Elsewhere than here a name needs --execution beside it.
    """


@callback_command.command("succeed")
@_callback_argument
@click.option("--result", metavar="JSON", help="The answer: JSON, @FILE, or - for standard input; none without it.")
@click.option("--text", metavar="TEXT", help="The answer as text, kept as it is.")
@_execution_option
@places.function_option
@places.where_options
@stores.json_option
def succeed_command(
    callback: str,
    result: str | None,
    text: str | None,
    execution: str | None,
    function: str | None,
    *,
    where: Where,
    as_json: bool,
) -> None:
    """Answer CALLBACK: the state that waits succeeds with the answer as its result."""
    if result is not None and text is not None:
        console.usage("DF797", "--result and --text exclude each other")
    if result is not None:
        text = json_text(result, noun="answer", option="--result", max_bytes=STEP_RESULT_MAX_BYTES)
    _tell("success", callback, execution, function, where, as_json=as_json, Result=text)


@callback_command.command("fail")
@_callback_argument
@click.option("--error", metavar="NAME", help="The error's name, which the state sees as error.data.type.")
@click.option("--message", metavar="TEXT", help="What went wrong.")
@click.option("--data", metavar="JSON", help="More about it: JSON, @FILE, or - for standard input.")
@_execution_option
@places.function_option
@places.where_options
@stores.json_option
def fail_command(  # noqa: PLR0913 - the options of the command
    callback: str,
    error: str | None,
    message: str | None,
    data: str | None,
    execution: str | None,
    function: str | None,
    *,
    where: Where,
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
    _tell("failure", callback, execution, function, where, as_json=as_json, Error=told)


@callback_command.command("heartbeat")
@_callback_argument
@_execution_option
@places.function_option
@places.where_options
@stores.json_option
def heartbeat_command(
    callback: str, execution: str | None, function: str | None, *, where: Where, as_json: bool
) -> None:
    """Say that the answer to CALLBACK is still being worked on: its heartbeat timeout starts anew."""
    _tell("heartbeat", callback, execution, function, where, as_json=as_json)


def _tell(
    answer: str,
    callback: str,
    execution: str | None,
    function: str | None,
    where: Where,
    *,
    as_json: bool,
    **members: Any,
) -> None:
    """Find the callback that is meant, tell whoever runs its execution, and say how the callback is then."""
    operation = f"send_durable_execution_callback_{answer}"
    with places.opened(where) as place:
        callback_id = place.callback_id(callback, execution=execution, function=function)
        where.show_aws(operation, CallbackId=callback_id, **members)
        place.ask(operation, CallbackId=callback_id, **members)
        found = place.callback(callback_id) or {"CallbackId": callback_id, "Status": _STATUSES[answer]}
        is_run = place.is_run()
    if as_json:
        console.emit(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        console.emit(f"{shown(found.get('Name') or callback_id)}  {found['Status']}")
    if not is_run and found["Status"] != "STARTED":
        name = found["DurableExecutionName"]
        console.tell(f"nothing runs the execution now: `durableflow run WORKFLOW --name {shlex.quote(name)}` goes on")


_STATUSES = {"success": "SUCCEEDED", "failure": "FAILED", "heartbeat": "STARTED"}
"""How a callback is after an answer that was taken."""


def to_json(callback: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` says of a callback; `timesOut` is in epoch seconds, null for never, and for not known."""
    due = (callback.get("TimeoutTimestamp"), callback.get("HeartbeatTimeoutTimestamp"))
    return {
        "callbackId": callback["CallbackId"],
        "name": callback.get("Name"),
        "status": callback["Status"],
        "execution": callback.get("DurableExecutionName"),
        "executionArn": callback.get("DurableExecutionArn"),
        "started": callback.get("StartTimestamp"),
        "timesOut": min((moment for moment in due if moment is not None), default=None),
    }


def command(callback: Mapping[str, Any], words: Sequence[str]) -> str:
    """Return the command that answers a callback, as it is to be typed in the folder that this process works in.

    Args:
        callback: with its id.
        words: the options that mean its place.
    """
    return shlex.join(["durableflow", "callback", "succeed", callback["CallbackId"], "--result", "JSON", *words])
