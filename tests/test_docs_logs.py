"""docs/logs.md shows the log lines of a real run, on Lambda and here, word for word."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from memory_service import MemoryService, refusal
from shell import Shell, shell

from durableflow import driver
from durableflow.aws import lambda_handler
from durableflow.calls import Tools, refused_action
from durableflow.compiler import compile_workflow
from durableflow.errors import ServiceError
from durableflow.interpreter import COMPENSATION_FAILED
from durableflow.source import Source
from durableflow.web import HttpClient
from durableflow.work import PythonWorker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shell"]

PAGE = (Path(__file__).parent.parent / "docs" / "logs.md").read_text(encoding="utf-8")


def block(kind: str, number: int = 0) -> str:
    """Return a fenced block of the page."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]


def lines(texts: list[str]) -> list[dict[str, Any]]:
    """Read log lines; of a traceback only the ends, as its middle names files of this machine."""
    read: list[dict[str, Any]] = [json.loads(text) for text in texts]
    for line in read:
        if "exception" in line:
            first, *_, last = line["exception"].splitlines()
            line["exception"] = f"{first} … {last}"
    return read


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "payments_told", raising=False)  # of another test's folder
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "payments_told.py").write_text(block("python"))
    (tmp_path / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [pay.yaml]\n')
    (tmp_path / "pay.yaml").write_text(block("yaml"))
    return tmp_path


class Function:
    """The function on Lambda that runs a workflow, or one of several, and the lines that it writes."""

    def __init__(self, project: Path, caplog: pytest.LogCaptureFixture) -> None:
        self._project = project
        self._caplog = caplog

    def handler(self, service: MemoryService, *texts: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        tools = Tools(
            steps=PythonWorker([self._project / "handlers"]),
            http=HttpClient().perform,
            aws=refused_action,
            secret=lambda name, _: name,
            clock_ms=lambda: service.now,
        )
        plans = {str(at): compile_workflow(Source(name="pay.yaml", text=text)).plan for at, text in enumerate(texts)}
        handler = lambda_handler(plans, client=service, tools=tools)
        context: Any = SimpleNamespace(aws_request_id="8f1c", get_remaining_time_in_millis=lambda: 60_000)
        return lambda event: dict(handler(event, context))

    def written(self, service: MemoryService, *texts: str) -> list[str]:
        """Run to the end, or until the function raises."""
        self._caplog.clear()
        with self._caplog.at_level(logging.DEBUG, "durableflow"), suppress(ServiceError):
            service.run(self.handler(service, *texts))
        return [record.getMessage() for record in self._caplog.records if record.name.startswith("durableflow")]


@pytest.fixture
def function(project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Function:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # to which handlers' folders are added
    return Function(project, caplog)


def test_the_lines_of_a_run_on_lambda(function: Function) -> None:
    written = function.written(MemoryService(), block("yaml"))

    assert [json.loads(line) for line in block("json").splitlines()] == lines(written)


def test_every_key_is_in_the_table() -> None:
    keys = {key for line in block("json").splitlines() for key in json.loads(line)}
    table = re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
    assert keys - set(re.findall(r"`(\w+)`", " ".join(table))) == set()


def test_the_lines_of_a_run_here(project: Path, shell: Shell) -> None:
    ran = shell("run", project / "pay.yaml", "--ephemeral", "--skip-time")

    here = lines([line for line in ran.err.splitlines() if line.startswith("{")])
    there = [line for line in map(json.loads, block("json").splitlines()) if "attempt" in line]
    assert len(there) == len(here) == 4, ran.err
    for ours, shown in zip(here, there, strict=True):
        assert ours.keys() == shown.keys() - {"requestId"}
        differ = {"timestamp", "executionArn", "key", "requestId"}
        assert {**ours, **dict.fromkeys(differ)} == {**shown, **dict.fromkeys(differ)}


def messages() -> dict[str, tuple[str, set[str]]]:
    """Return what the page says of each message of the interpreter: its level and its keys."""
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", PAGE.partition("## Messages")[2], re.MULTILINE)]
    return {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in rows}


def test_every_message_of_the_interpreter_is_documented_and_no_other() -> None:
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(driver))) if isinstance(node, ast.Call)]
    noted = [call.args for call in calls if ast.unparse(call.func).endswith(".note")]
    found = {(ast.literal_eval(args[1]), ast.unparse(args[0]).removeprefix("logging.")) for args in noted}

    assert found | {(COMPENSATION_FAILED, "WARNING")} == {(name, level) for name, (level, _) in messages().items()}


ENDS, SLEEPS, CHANGED, UNDONE = (
    f'durableflow: "1"\nname: pay\nstates: [{states}]\n'
    for states in (
        "{name: a, type: pass}",
        "{name: a, type: wait, duration: 1}",
        "{name: a, type: invoke, function: f}",
        (
            "{name: a, type: wait, duration: 1, compensate: [{name: u, type: invoke, function: nowhere}]}, "
            "{name: b, type: fail, error: Rejected}"
        ),
    )
)


def refusing(name: str, status: int) -> MemoryService:
    def refuse(_number: int) -> None:
        raise refusal(name, "no", status)

    return MemoryService(before_checkpoint=refuse)


def test_the_keys_of_every_message_are_documented_and_no_others(function: Function) -> None:
    edited = MemoryService()
    function.handler(edited, SLEEPS)(edited.event())
    written = [
        *function.written(MemoryService(), block("yaml")),
        *function.written(MemoryService(), ENDS),
        *function.written(MemoryService(), UNDONE),
        *function.written(edited, CHANGED),
        *function.written(MemoryService(), ENDS, SLEEPS),  # the input names neither
        *function.written(refusing("ServiceException", 500), SLEEPS),
        *function.written(refusing("KMSAccessDeniedException", 403), SLEEPS),
    ]
    found: dict[str, tuple[str, set[str]]] = {}
    for line in map(json.loads, written):
        if "token" in line:  # not a step's
            keys = found.setdefault(line["message"], (line["level"], set()))[1]
            keys |= line.keys() - {"timestamp", "level", "message", "requestId", "executionArn", "token"}

    assert found == messages()
