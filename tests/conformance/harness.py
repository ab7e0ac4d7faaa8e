"""AWS's conformance requirements, judged on a service of ours over HTTP.

What judges is `official_judge.py`, in an environment of its own that holds AWS's package; here the service is made ready
for it, and asked for nothing that a client could not ask for.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from environments import ROOT, environment_python

from durableflow.local.engine import Engine
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JUDGE = ROOT / "tests" / "conformance" / "official_judge.py"
PACKAGE = "aws-durable-execution-conformance-tests==1.0.0"
REQUIREMENTS = 148
"""How many there are in the package, without those of plugins, which are about hooks inside an SDK."""
LIMIT_SECONDS = 400


def judge_python() -> Path:
    """Return the Python of an environment that holds AWS's package."""
    return environment_python(
        "conformance",
        ["boto3>=1.42.1", "packaging>=24", "pyyaml>=6.0.2"],
        # It says that it needs Python 3.14, and does not.
        ["--no-deps", "--ignore-requires-python", PACKAGE],
        modules="aws_durable_execution_conformance_tests, boto3, packaging, yaml",
    )


def judged(project: Path, functions: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Serve a project and have its functions judged.

    Args:
        project: the project file; all its workflows are registered.
        functions: the function that answers each requirement, by its id.
        folder: where files may be written; handlers find it as `CONFORMANCE_FOLDER`.

    Returns:
        What the judge prints: `requirements`, the ids of all there are; `verdicts`, by id the `errors` and `seconds`.
    """
    logs = folder / "logs"
    logs.touch()
    lock = threading.Lock()

    def log(_label: str, line: str) -> None:
        with lock, logs.open("a", encoding="utf-8") as file:
            file.write(json.dumps([int(time.time() * 1000), line]) + "\n")

    context = load_project(project)
    with Engine(
        store=folder / "executions.db", project=context, env={"CONFORMANCE_FOLDER": str(folder)}, log=log
    ) as engine:
        for file in context.workflows.values():
            engine.register(compile_file(file, context.folder, context), file.parent)
        given = folder / "given.json"
        given.write_text(
            json.dumps(
                {"endpoint": engine.serve().url, "functions": dict(functions), "logs": str(logs), "folder": str(folder)}
            ),
            "utf-8",
        )
        done = subprocess.run(
            [str(judge_python()), str(JUDGE), str(given)],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert len(found["requirements"]) == REQUIREMENTS
    return found
