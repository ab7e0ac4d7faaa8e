"""What handlers log: the keys of the official SDK, the same here and on Lambda, and nothing twice."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
from memory_service import MemoryService
from shell import Shell, shell

from durableflow.aws import lambda_handler
from durableflow.compiler import compile_workflow
from durableflow.operations import operation_id
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["shell"]

# Waits make invocations that replay what came before; the map's body is recorded in contexts of its own, the flat one's not.
WORKFLOW = """
durableflow: "1"
name: logs
states:
  - {name: first, type: step, handler: "handlers_of_logs:told", payload: 1, label: "First of {{ input.all }}"}
  - {name: pause, type: wait, duration: 1h}
  - name: each
    type: map
    items: "[1, 2]"
    states:
      - {name: inner, type: step, handler: "handlers_of_logs:flaky", payload: "{{ item }}", retry: [{max_attempts: 2}]}
      - {name: rest, type: wait, duration: 1h}
  - name: flat
    type: map
    items: "[3]"
    states: [{name: alone, type: step, handler: "handlers_of_logs:told", payload: "{{ item }}"}]
  - name: ready
    type: wait_for_condition
    check: {type: step, handler: "handlers_of_logs:told", payload: 4}
    until: "true"
  - {name: last, type: wait, duration: 1h}
"""
HANDLERS = """
def told(payload, context):
    context.logger.info("payload %s", payload)

def flaky(payload, context):
    context.logger.info("payload %s", payload)
    if context.attempt == 1:
        raise ValueError("again")
"""
LINES: list[tuple[Any, ...]] = [
    # message, operationName, path of the operation and of the one that it stands in, attempt
    ("payload 1", "First of 2", "first", None, 1),
    ("payload 1", "inner", "each[0]/inner", "each[0]", 1),
    ("payload 1", "inner", "each[0]/inner", "each[0]", 2),
    ("payload 2", "inner", "each[1]/inner", "each[1]", 1),
    ("payload 2", "inner", "each[1]/inner", "each[1]", 2),
    ("payload 3", "flat[0]/alone", "flat[0]/alone", "flat", 1),
    ("payload 4", "ready", "ready", None, 1),
]
EXPECTED = [
    {
        "level": "INFO",
        "message": message,
        "operationId": operation_id(path),
        "operationName": name,
        **({} if parent is None else {"parentId": operation_id(parent)}),
        "attempt": attempt,
    }
    for message, name, path, parent, attempt in LINES
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("logs")
    (made / "handlers_of_logs.py").write_text(HANDLERS, encoding="utf-8")
    (made / "logs.yaml").write_text(WORKFLOW, encoding="utf-8")
    finders = list(sys.meta_path)
    yield made
    sys.meta_path[:] = finders
    sys.modules.pop("handlers_of_logs", None)


def told(lines: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[tuple[Any, ...]]]:
    """Return the lines of the handlers in the order of LINES, and what they say of where and when they ran."""
    found, places = [], set()
    for line in lines:
        if not line["message"].startswith("payload "):
            continue
        assert line.pop("timestamp").endswith("Z")
        places.add((line.pop("executionArn"), line.pop("requestId", None)))
        found.append(line)
    return sorted(found, key=lambda line: (line["message"], line["attempt"])), places


def test_on_lambda(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Context:
        aws_request_id = "r1"

    plan = compile_workflow(Source(name="logs.yaml", text=WORKFLOW)).plan
    service = MemoryService(input='{"all": 2}')
    handle = lambda_handler(plan, client=service, handlers_root=folder)
    with caplog.at_level(logging.INFO, "durableflow.handlers"):
        assert service.run(lambda event: dict(handle(event, Context())))["Status"] == "SUCCEEDED"
    lines, places = told(json.loads(record.getMessage()) for record in caplog.records)
    assert lines == EXPECTED
    assert places == {(service.event()["DurableExecutionArn"], "r1")}


def test_here(folder: Path, shell: Shell) -> None:
    ran = shell("run", folder / "logs.yaml", "--input", '{"all": 2}', "--ephemeral", "--skip-time", "--json")
    assert ran.code == 0, ran.err
    written = [line[line.index("{") :] for line in ran.err.splitlines() if '"message"' in line]
    lines, places = told(map(json.loads, written))
    assert lines == EXPECTED
    assert places == {(json.loads(ran.out)["executionArn"], None)}
