"""Run with `pytest`. Each test is one execution in memory; waits are skipped."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def run(workflow: str, given: object) -> dict:
    options = ["--input", json.dumps(given), "--ephemeral", "--skip-time", "--json"]
    command = [sys.executable, "-m", "durableflow", "run", workflow, *options]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


def test_a_newcomer_is_greeted_and_asked_again() -> None:
    ended = run("workflows/welcome.yaml", {"name": "Ada", "address": "ada@example.org"})

    assert ended["status"] == "SUCCEEDED"
    assert ended["output"] == {"sent": True, "text": "Hello, Ada!"}


def test_an_input_without_an_address_is_refused() -> None:
    ended = run("workflows/welcome.yaml", {"name": "Ada"})

    assert ended["status"] == "FAILED"
    assert ended["error"]["name"] == "States.InputInvalid"
