"""What is measured? Workflows of n states, and the recorded operations of executions that have come past them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import measure  # noqa: F401 - first, since it makes the clone importable

from durableflow.compiler import compile_workflow
from durableflow.operations import operation_id
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.plan import Plan

Kind: TypeAlias = Literal["invoke", "step"]

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ARN = "arn:aws:lambda:us-east-1:123456789012:function:bench:1/durable-execution/one/7f3a"
FUNCTION = "child"
HANDLER = "handlers:work"
SMALL, LARGE = 7, 1024
"""Bytes of a result."""


def workflow(count: int, kind: Kind, *, is_conditional: bool = False) -> str:
    """Return a workflow of states s0, s1, … one after another, as JSON.

    Args:
        count: of states.
        kind: their type.
        is_conditional: whether each has one simple expression, which reads the result of the state before it.
    """
    states: list[dict[str, Any]] = []
    for number in range(count):
        state: dict[str, Any] = {"name": f"s{number}", "type": kind}
        state |= {"function": FUNCTION} if kind == "invoke" else {"handler": HANDLER}
        if is_conditional:
            state["when"] = f"{{{{ states.s{number - 1}.result.v==1 }}}}" if number else "{{ input.go }}"
        states.append(state)
    # Compact, since a file may have 1 MiB and 10,000 states are to fit into it.
    return json.dumps({"durableflow": "1", "name": "bench", "states": states}, separators=(",", ":"))


def mixed(count: int) -> str:
    """Return a workflow of about `count` operations with every structure in it, as JSON.

    Half are steps one after another; the others are in blocks with a timeout (a context, its wait and a step), in a
    parallel with contexts, and a third of all in a map of single steps, which comes last.
    """
    states: list[dict[str, Any]] = [
        {"name": f"s{number}", "type": "step", "handler": HANDLER} for number in range(count // 2)
    ]
    for number in range(count // 20):
        inner = {"name": f"b{number}", "type": "step", "handler": HANDLER}
        states.append({"name": f"block{number}", "type": "block", "timeout": "1h", "states": [inner]})
    branch = [[{"name": f"p{b}{s}", "type": "step", "handler": HANDLER} for s in range(2)] for b in range(4)]
    fields = {"branches": {f"branch{b}": inner for b, inner in enumerate(branch)}}
    states.append({"name": "both", "type": "parallel", **fields})
    body = [{"name": "each", "type": "step", "handler": HANDLER}]
    states.append({"name": "all", "type": "map", "items": f"range({count // 3}) | list", "states": body})
    return json.dumps({"durableflow": "1", "name": "bench", "states": states}, separators=(",", ":"))


def plan_of(text: str) -> Plan:
    """Compile a workflow."""
    return compile_workflow(Source(name="bench.json", text=text)).plan


def result(size: int) -> str:
    """Return a JSON object of so many bytes, at least 7, as text."""
    if size <= SMALL:
        return '{"v":1}'
    return '{"v":1,"d":"' + "x" * (size - 14) + '"}'


def execution() -> dict[str, Any]:
    """Return the EXECUTION operation of a new execution."""
    return {
        "Id": "7f3a",
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": START,
        "ExecutionDetails": {"InputPayload": '{"go":true}'},
    }


def operations(count: int, kind: Kind, size: int = SMALL) -> list[dict[str, Any]]:
    """Return the recorded state of an execution whose first `count` states have succeeded with results of a size."""
    made = [execution()]
    for number in range(count):
        operation: dict[str, Any] = {
            "Id": operation_id(f"s{number}"),
            "Name": f"s{number}",
            "Status": "SUCCEEDED",
            "StartTimestamp": START + number,
            "EndTimestamp": START + number + 1,
        }
        if kind == "step":
            operation |= {"Type": "STEP", "SubType": "Step", "StepDetails": {"Attempt": 1, "Result": result(size)}}
        else:
            details = {"Result": result(size)}
            operation |= {"Type": "CHAINED_INVOKE", "SubType": "ChainedInvoke", "ChainedInvokeDetails": details}
        made.append(operation)
    return made


def event(state: list[dict[str, Any]], token: str = "token-0") -> dict[str, Any]:
    """Return an invocation event with a recorded state."""
    return {
        "DurableExecutionArn": ARN,
        "CheckpointToken": token,
        "InitialExecutionState": {"Operations": state, "NextMarker": ""},
    }
