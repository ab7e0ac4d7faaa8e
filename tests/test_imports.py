"""What is loaded when: handling an event on Lambda, or running a plan, loads nothing of the author's side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
AUTHORS_SIDE = {"yaml", "pydantic", "pydantic_core", "jsonschema", "jinja2", "sqlite3", "click", "rich"}


def loaded_by(code: str, **environment: str) -> set[str]:
    """Run code in a process of its own and return the top-level modules that it has loaded."""
    program = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["interpreter", "ledger", "driver", "plan", "expressions", "operations", "work", "actions", "aws"]
)
def test_what_runs_loads_nothing_of_the_authors_side(module: str) -> None:
    assert not loaded_by(f"import durableflow.{module}") & AUTHORS_SIDE


def test_aws_is_loaded_by_the_first_call_not_before() -> None:
    code = "from durableflow.actions import *; Actions(allowed=AllowList(), clients=Clients())"
    assert not loaded_by(code) & {"boto3", "botocore"}
    assert "botocore" in loaded_by(f"{code}; check_action('s3', 'get_object', {{}}, clients=Clients())")


def test_the_package_itself_loads_nothing_of_its_own() -> None:
    loaded = loaded_by(
        "import sys; before = set(sys.modules); import durableflow\nassert not "
        "[m for m in set(sys.modules) - before if m.startswith('durableflow.')]"
    )
    assert not loaded & AUTHORS_SIDE


HANDLE = """
from memory_service import MemoryService
from durableflow.aws import lambda_handler
service = MemoryService(input='{"n": 1}')
handle = lambda_handler("plan.json", client=service)
import os; os.chdir("/")
print(service.run(lambda event: handle(event, None)), file=__import__("sys").stderr)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "handlers_of_ours.py").write_text("def plus_one(payload):\n    return payload['n'] + 1\n")
    step = {"type": "step", "name": "add", "handler": "handlers_of_ours:plus_one", "payload": ["name", "input"]}
    plan = {"format": 1, "name": "p", "states": [step, {"type": "wait", "name": "w", "duration": ["const", 2]}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    return tmp_path


def test_handling_an_event_loads_nothing_of_the_authors_side(package: Path) -> None:
    code = f"import os; os.chdir({str(package)!r}){HANDLE}"
    loaded = loaded_by(code, LAMBDA_TASK_ROOT=str(package))
    assert "handlers_of_ours" in loaded
    assert not loaded & AUTHORS_SIDE
    assert "boto3" not in loaded


def test_jsonschema_is_loaded_when_there_is_a_schema_to_check(package: Path) -> None:
    plan = json.loads((package / "plan.json").read_text())
    (package / "plan.json").write_text(json.dumps({**plan, "input_schema": {"type": "object"}}))
    code = f"import os; os.chdir({str(package)!r}){HANDLE}"
    loaded = loaded_by(code, LAMBDA_TASK_ROOT=str(package))
    assert "jsonschema" in loaded
    assert not loaded & (AUTHORS_SIDE - {"jsonschema"})


def test_a_boto3_client_loads_nothing_of_the_authors_side() -> None:
    code = "from durableflow import aws; aws._client()"
    loaded = loaded_by(code, AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1")
    assert "botocore" in loaded
    assert not loaded & AUTHORS_SIDE
