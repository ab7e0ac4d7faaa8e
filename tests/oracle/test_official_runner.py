"""Our handler on AWS's own testing SDK: every scenario ends as it does on our services, in one page and in many.

The testing SDK has an environment of its own, made by pip when it is first needed: in `.venv-oracle/` of the
repository, or where `DURABLEFLOW_ORACLE_VENV` says. It is no dependency of the project.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

import pytest
from conformance.scenarios import SCENARIOS, Ended, workflow

from durableflow.compiler import compile_workflow
from durableflow.source import Source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PACKAGE = "aws-durable-execution-sdk-python-testing==1.4.0"


@pytest.fixture(scope="session")
def official_python() -> Path:
    """The Python of an environment that holds the testing SDK."""
    folder = Path(os.environ.get("DURABLEFLOW_ORACLE_VENV") or ROOT / ".venv-oracle")
    python = folder / "bin" / "python"
    is_there = [str(python), "-c", "import aws_durable_execution_sdk_python_testing"]
    with (Path(tempfile.gettempdir()) / "durableflow-oracle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may need it at once
        if not python.exists() or subprocess.run(is_there, capture_output=True, check=False).returncode:
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    return python


def plan_of(name: str, text: str) -> Any:
    return compile_workflow(Source(name=f"{name}.yaml", text=text)).plan.to_json()


@pytest.fixture(scope="session")
def official(official_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How each scenario ended on the official runner."""
    plans = {
        name: {
            "": plan_of("scenario", scenario.text()),
            **{child: plan_of("child", workflow("child", text)) for child, text in scenario.children.items()},
        }
        for name, scenario in SCENARIOS.items()
    }
    file = tmp_path_factory.mktemp("oracle") / "plans.json"
    file.write_text(json.dumps(plans), "utf-8")
    done = subprocess.run(
        [str(official_python), str(TESTS / "oracle" / "official_runner.py"), str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("pages", ["whole", "in_pages"])
def test_the_official_runner_ends_it_as_our_services_do(official: dict[str, Any], name: str, pages: str) -> None:
    scenario, found = SCENARIOS[name], official[name][pages]
    made = Ended(
        status=found["status"],
        result=found["result"],
        error=None if found["error"] is None else (found["error"][0], found["error"][1]),
        operations=tuple((kind, operation, status) for kind, operation, status in found["operations"]),
    )
    expected = Ended(
        status=scenario.status, result=scenario.result, error=scenario.error, operations=scenario.operations
    )
    assert made == expected


def test_small_pages_were_read(official: dict[str, Any]) -> None:
    for name in ("a chain of invokes", "everything in a row", "a loop", "a history of many pages"):
        assert official[name]["pages_read"] > 0, name
