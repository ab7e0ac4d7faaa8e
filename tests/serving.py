"""A process that serves the executions of a project until it is ended.

python serving.py PROJECT STORE PORT
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from durableflow.local.engine import Engine
from durableflow.project import compile_file, load_project


def main(folder: Path, store: Path, port: int) -> None:
    project = load_project(folder / "durableflow.yaml")
    with Engine(store=store, project=project) as engine:
        engine.serve(port)
        for file in project.workflows.values():
            engine.register(compile_file(file, project.folder, project), file.parent)
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
