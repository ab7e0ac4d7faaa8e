"""docs/logs.md shows the log lines of a real run, on Lambda and here, word for word."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from memory_service import MemoryService
from shell import Shell, shell

from durableflow.aws import lambda_handler
from durableflow.calls import Tools, refused_action
from durableflow.compiler import compile_workflow
from durableflow.source import Source
from durableflow.web import HttpClient
from durableflow.work import PythonWorker

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


def test_the_lines_of_a_run_on_lambda(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = MemoryService()
    tools = Tools(
        steps=PythonWorker([project / "handlers"]),
        http=HttpClient().perform,
        aws=refused_action,
        secret=lambda name, _: name,
        clock_ms=lambda: service.now,
    )
    plan = compile_workflow(Source(name="pay.yaml", text=block("yaml"))).plan
    handler = lambda_handler(plan, client=service, tools=tools)
    context: Any = SimpleNamespace(aws_request_id="8f1c", get_remaining_time_in_millis=lambda: 60_000)

    with caplog.at_level(logging.DEBUG, "durableflow"):
        output = service.run(lambda event: handler(event, context))

    assert output["Status"] == "FAILED"
    written = [record.getMessage() for record in caplog.records if record.name.startswith("durableflow")]
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
