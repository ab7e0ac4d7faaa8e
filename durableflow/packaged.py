"""Which files does a workflow bring with it? What `load()` and schemas given as a path read, each once.

Such files are part of the definition: they are read when the workflow is compiled and become part of the Plan and its
digest (language.md section 3). The core opens no file; whoever compiles passes a function that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from durableflow.document import read_bytes
from durableflow.errors import Diagnostic, UsageError, WorkflowError, diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from durableflow.document import Document
    from durableflow.source import Span
    from durableflow.values import Json

LoadFile: TypeAlias = Callable[[str], bytes | None]
"""A path as the workflow has it, relative to the workflow's file → the file's bytes, or None when the project has no
such file. It keeps to the project: what lies outside counts as missing (rule 6). It may raise UsageError."""


class Packaged:
    """The files of one workflow, read at most once each.

    Args:
        load_file: reads a file, or None where no files can be read (then a workflow that needs one is refused).
    """

    def __init__(self, load_file: LoadFile | None) -> None:
        self._load_file = load_file
        self._documents: dict[str, Document] = {}
        self._values: dict[str, Json] = {}
        self._problems: dict[str, tuple[Diagnostic, ...]] = {}

    def value(self, path: str) -> Json:
        """Return what a file holds: JSON and YAML as data, everything else as text; null when it has problems."""
        self._look(path)
        return self._values.get(path)

    def document(self, path: str) -> Document | None:
        """Return a JSON or YAML file with its places, or None."""
        self._look(path)
        return self._documents.get(path)

    def problems(self, path: str, span: Span) -> list[Diagnostic]:
        """Return why a file cannot be used; what has no place in the file itself is reported at `span`."""
        self._look(path)
        return [p if p.span else replace(p, span=span) for p in self._problems.get(path, ())]

    def _look(self, path: str) -> None:
        if path in self._values or path in self._problems:
            return
        try:
            self._values[path] = self._content(path)
        except WorkflowError as error:
            self._problems[path] = error.problems
        except UsageError as error:
            self._problems[path] = (replace(error.problem, code="DF242"),)

    def _content(self, path: str) -> Json:
        if path.startswith(("/", "~")) or "\\" in path or ":" in path or not path.strip():
            hint = "write a path relative to the workflow's file, with /"
            raise WorkflowError([diagnostic("DF241", f"the path '{shown(path)}' leads outside the project", hint=hint)])
        if self._load_file is None:
            raise WorkflowError([diagnostic("DF242", f"the file '{shown(path)}' cannot be read here")])
        data = self._load_file(path)
        if data is None:
            hint = "paths are relative to the workflow's file and stay inside the project"
            raise WorkflowError([diagnostic("DF242", f"there is no file '{shown(path)}' in the project", hint=hint)])
        if path.lower().endswith((".json", ".yaml", ".yml")):
            self._documents[path] = read_bytes(data, path, is_data=True)
            return self._documents[path].value
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"the file '{shown(path)}' is not UTF-8 at byte {error.start}"
            raise WorkflowError([diagnostic("DF242", message, hint="save it as UTF-8")]) from error
