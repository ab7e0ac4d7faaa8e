"""What does the outside see? Events, operations and executions in the shapes of the API's replies.

Inside, times are epoch milliseconds; replies carry epoch seconds, as REST JSON does (protocol.md 1.2, 7.3, 8).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from durableflow import ledger
from durableflow.local.store import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durableflow.ledger import Event
    from durableflow.local.jobs import Function
    from durableflow.local.lines import Line
    from durableflow.local.store import Execution, Pause, Texts
    from durableflow.operations import Operation

Reply: TypeAlias = dict[str, Any]
"""The members of an API's reply, by the wire's names."""


def seconds(milliseconds: int) -> float:
    """Return a time as REST JSON has it."""
    return milliseconds / 1000


_TIMES: Final = frozenset(
    {
        "StartTimestamp",
        "EndTimestamp",
        "NextAttemptTimestamp",
        "ScheduledEndTimestamp",
        "PauseRequestTimestamp",
        "ResumeRequestTimestamp",
    }
)


def operation_to_reply(operation: Operation) -> Reply:
    """Return an operation with its times in seconds."""
    return _with_seconds(cast("Reply", operation))


def _with_seconds(members: Mapping[str, Any]) -> Reply:
    made = dict(members)
    for member, value in members.items():
        if member in _TIMES:
            made[member] = seconds(value)
        elif member in _TIMED_DETAILS:
            made[member] = _with_seconds(value)
    return made


_TIMED_DETAILS: Final = frozenset(
    {
        "StepDetails",
        "WaitDetails",
        "WaitStartedDetails",
        "InvocationCompletedDetails",
        "ExecutionPausedDetails",
        "ExecutionResumedDetails",
    }
)
_DATA: Final = ("Input", "Result", "Error", "Reason")
_NUMBER: Final = re.compile(r"-1|[0-9]{1,18}")


def event_to_reply(event: Event, *, with_data: bool) -> Reply:
    """Return an event as GetDurableExecutionHistory shows it.

    Args:
        event: with its EventId, times in milliseconds.
        with_data: False leaves payloads and errors out and marks them as truncated (protocol.md 8.4).
    """
    made = _with_seconds(event)
    made["EventTimestamp"] = seconds(event["EventTimestamp"])
    if with_data:
        return made
    member = f"{event['EventType']}Details"
    details = dict(made[member])
    details.update((data, {"Truncated": True}) for data in _DATA if data in details)
    made[member] = details
    return made


def of_execution(event: Event, execution: Execution) -> Reply:
    """Return what an event of the execution itself has besides: the id and the name of its EXECUTION operation.

    The testing SDK reads the operations of an execution from its history, and does not go on where an Id is missing.
    """
    if not event["EventType"].startswith("Execution"):
        return {}
    return {"Id": execution.arn.rsplit("/", 1)[-1], "Name": execution.name}


def function_arn(region: str, account: str, name: str, version: str) -> str:
    """Return the qualified ARN of a function."""
    return f"arn:aws:lambda:{region}:{account}:function:{name}:{version}"


def function_to_reply(function: Function, region: str, account: str) -> Reply:
    """Return a function as GetFunctionConfiguration shows it: what clients look at, and nothing that is not so."""
    made: Reply = {
        "FunctionName": function.name,
        "FunctionArn": function_arn(region, account, function.name, function.version),
        "Version": function.version,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
    }
    if function.is_durable:
        config = {"RetentionPeriodInDays": function.retention_days}
        if function.execution_timeout_seconds is not None:
            config["ExecutionTimeout"] = function.execution_timeout_seconds
        made["DurableConfig"] = config
    return made


def execution_to_item(execution: Execution) -> Reply:
    """Return an execution as lists show it."""
    made: Reply = {
        "DurableExecutionArn": execution.arn,
        "DurableExecutionName": execution.name,
        "FunctionArn": execution.arn.partition("/durable-execution/")[0],
        "Status": execution.status,
        "StartTimestamp": seconds(execution.started),
    }
    if execution.ended is not None:
        made["EndTimestamp"] = seconds(execution.ended)
    return made


def execution_to_reply(
    execution: Execution, texts: Texts, *, pause: Pause | None, times_out: int | None, with_data: bool
) -> Reply:
    """Return an execution as GetDurableExecution shows it.

    Args:
        execution: which.
        texts: what it was given and gave.
        pause: that it is in.
        times_out: when it will time out, epoch milliseconds; None for never.
        with_data: False leaves input, result, error and the pause's reason out.
    """
    made = execution_to_item(execution)
    made["Version"] = execution.version
    made["ExecutionDataIncluded"] = with_data
    made["DurableConfig"] = {"RetentionPeriodInDays": execution.retention_days}
    if execution.timeout_seconds is not None:
        made["DurableConfig"]["ExecutionTimeout"] = execution.timeout_seconds
    if times_out is not None:
        made["ExpectedExecutionTimeoutTimestamp"] = seconds(times_out)
    if pause is not None:
        details: Reply = {
            "PauseRequestTimestamp": seconds(pause.requested),
            "ExecutionTimeoutPaused": pause.stops_timeout,
        }
        if pause.reason is not None and with_data:
            details["Reason"] = pause.reason
        made["PauseDetails"] = details
    if not with_data:
        return made
    if texts.input is not None:
        made["InputPayload"] = texts.input
    if execution.ended is not None:
        if texts.result is not None:
            made["Result"] = texts.result
        if texts.error is not None:
            made["Error"] = parsed(execution.key, texts.error)
    return made


def line_to_reply(number: int, line: Line) -> Reply:
    """Return a line that a handler has written; the API has no such thing."""
    return {
        "Id": number,
        "Timestamp": seconds(line.at),
        "RequestId": line.job,
        "Name": line.label,
        "Message": line.text,
    }


def marker(kind: str, *numbers: int) -> str:
    """Return an opaque place to go on from."""
    return base64.b64encode(".".join((kind, *map(str, numbers))).encode()).decode()


def read_marker(text: str, kind: str, *, size: int) -> tuple[int, ...]:
    """Return the numbers of a marker of this kind.

    Raises:
        ServiceError: the marker was not made here, or for something else.
    """
    try:
        made_for, *numbers = base64.b64decode(text, validate=True).decode("ascii").split(".")
    except (binascii.Error, ValueError):
        made_for, numbers = "", []
    # Not `int` alone, which takes signs and underscores, nor more than SQLite does.
    # Not `int` alone, which takes signs, underscores, and more than SQLite does; -1 is before the first.
    if made_for != kind or len(numbers) != size or not all(map(_NUMBER.fullmatch, numbers)):
        raise ledger.refusal("Invalid Marker.", hint="pass on the NextMarker of the reply before, unchanged")
    return tuple(map(int, numbers))
