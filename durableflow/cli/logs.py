"""The `logs` command: what the handlers and functions of an execution wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from durableflow.cli import console, places, stores
from durableflow.cli.completion import complete_executions
from durableflow.cli.executions import moment
from durableflow.source import shown, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durableflow.cli.places import Where


@click.command("logs")
@click.argument("execution", shell_complete=complete_executions)
@click.option("--follow", is_flag=True, help="Go on with what is written, until the execution ends.")
@places.function_option
@places.where_options
@stores.json_option
def logs_command(execution: str, function: str | None, *, follow: bool, where: Where, as_json: bool) -> None:
    """Show what the handlers and functions of EXECUTION (a name or an ARN) wrote, line by line."""
    with places.opened(where) as place:
        for line in place.logs(place.arn_of(execution, function=function), follow=follow):
            console.emit(json.dumps(_to_json(line), ensure_ascii=False) if as_json else _row(line))


def _to_json(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": line["Timestamp"],
        "name": line.get("Name"),
        "requestId": line.get("RequestId"),
        "message": line["Message"],
    }


def _row(line: Mapping[str, Any]) -> str:
    name = f"{shown(line['Name'])} | " if line.get("Name") else ""
    return f"{moment(line['Timestamp'])}  {name}{visible(line['Message'])}"
