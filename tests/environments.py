"""Python environments that tests make for themselves: of packages that are no dependencies of the project.

They are made by pip when they are first needed, in a folder of the repository that is not checked in, or where an
environment variable says.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]


def environment_python(name: str, *installs: Sequence[str], modules: str) -> Path:
    """Return the Python of an environment, which is made unless it is there.

    Args:
        name: of the environment: it is in `.venv-NAME`, or where `DURABLEFLOW_NAME_VENV` says.
        installs: what pip is given, one call after the other.
        modules: what can be imported when it is complete, with commas between.
    """
    folder = Path(os.environ.get(f"DURABLEFLOW_{name.upper()}_VENV") or ROOT / f".venv-{name}")
    python = folder / "bin" / "python"
    is_there = [str(python), "-c", f"import {modules}"]
    with (Path(tempfile.gettempdir()) / f"durableflow-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may need it at once
        if not python.exists() or subprocess.run(is_there, capture_output=True, check=False).returncode:
            venv.create(folder, with_pip=True, clear=True)
            for packages in installs:
                subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python
