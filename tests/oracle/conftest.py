"""The environment of AWS's own testing SDK.

It is made by pip when it is first needed: in `.venv-oracle/` of the repository, or where `DURABLEFLOW_ORACLE_VENV` says.
It is no dependency of the project.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from environments import environment_python

if TYPE_CHECKING:
    from collections.abc import Callable

    Official = Callable[..., Any]

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PACKAGES = ("aws-durable-execution-sdk-python-testing==1.4.0", "jsonschema>=4.23")


@pytest.fixture(scope="session")
def official_python() -> Path:
    """The Python of an environment that holds the testing SDK, and what our handler checks schemas with."""
    return environment_python("oracle", PACKAGES, modules="aws_durable_execution_sdk_python_testing, jsonschema")


@pytest.fixture(scope="session")
def official_program(official_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Official:
    """Run a program of this folder in that environment, with a file that holds `given`; return what it prints."""

    def run(program: str, given: Any) -> Any:
        file = tmp_path_factory.mktemp("oracle") / "given.json"
        file.write_text(json.dumps(given), "utf-8")
        done = subprocess.run(
            [str(official_python), str(TESTS / "oracle" / program), str(file)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])},
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
