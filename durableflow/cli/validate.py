"""The `validate` command: every problem of every file, in the form that people or tools read."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from durableflow import report
from durableflow.cli import console, loading
from durableflow.decode import decode_project, decode_workflow
from durableflow.document import read_bytes
from durableflow.errors import UsageError, WorkflowError
from durableflow.files import read_file
from durableflow.project import PROJECT_FILE, load_project
from durableflow.report import Checked
from durableflow.rules import check
from durableflow.source import Mark, Source, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durableflow.document import Document
    from durableflow.errors import Diagnostic
    from durableflow.project import ProjectContext

SUFFIXES: Final = (".yaml", ".yml", ".json")
TEST_SUFFIXES: Final = (".test.yaml", ".test.yml", ".test.json")
SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules"})
_TOO_LARGE: Final = "DF703"
_STATES_KEY: Final = re.compile(rb"""^\s*["']?states["']?\s*:""", re.MULTILINE)
"""A file that cannot be read as YAML is reported when it has this line: it was meant to be a workflow."""


@click.command("validate")
@click.argument("paths", metavar="[PATHS]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(report.FORMS),
    default="pretty",
    help="How findings are printed.",
    show_default=True,
)
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Findings shown by pretty and line; 0 for all.",
)
@click.option("--no-import", is_flag=True, help="Do not import handlers to check that they exist.")
@click.option("--project", type=click.Path(path_type=Path), help="The project file, or its folder.")
@click.option("--env", "env", metavar="NAME=VALUE", multiple=True, help="A value of the environment; may be repeated.")
def validate_command(
    paths: Sequence[Path],
    form: report.Form,
    limit: int,
    project: Path | None,
    env: Sequence[str],
    *,
    strict: bool,
    no_import: bool,
) -> int:
    """Report every problem of workflow and project files, with its line and what to do about it.

    PATHS are files, folders (every .yaml, .yml and .json file with a top-level `states`, and every durableflow.yaml;
    tests, *.test.yaml, are left out), or - for standard input. Without PATHS: the folder you are in.

    Handlers are imported to see that they exist, so their modules' top-level code runs; --no-import leaves that out.
    """
    validator = _Validator(project=project, env=env, check_handlers=not no_import)
    checked = [found for path in paths or [Path()] for found in validator.checked(path)]
    checked += validator.broken_projects(checked)
    shown = limit or None
    if text := report.render(checked, form, version=console.version(), limit=shown):
        console.emit(text)
    if form in ("pretty", "line"):
        console.tell(report.summary(checked, limit=shown))
    counts = report.count(checked)
    if validator.unreadable:
        return console.USAGE
    return console.PROBLEMS if counts["error"] or (strict and counts["warning"]) else console.DONE


class _Validator:
    """Checks files one by one; projects and their facts are looked up once."""

    def __init__(self, *, project: Path | None, env: Sequence[str], check_handlers: bool) -> None:
        self._project = project
        self._env = env
        self._check_handlers = check_handlers
        self._contexts: dict[Path, ProjectContext | None] = {}
        self._broken: dict[tuple[Diagnostic, ...], None] = {}
        self.unreadable = False
        """Whether a path that was named could not be read: that is wrong usage, not a problem of a workflow."""

    def checked(self, path: Path) -> Iterator[Checked]:
        """Give a file, or each workflow and project file of a folder, with its findings."""
        if path != loading.STDIN and path.is_dir():
            for file in _files(path):
                if (document := self._as_ours(file)) is not None:
                    yield Checked(
                        file=str(file),
                        problems=document if isinstance(document, tuple) else self._problems(file, document),
                    )
            return
        try:
            document = loading.read(path)
        except WorkflowError as error:
            yield Checked(file=_name(path), problems=error.problems)
        except UsageError as error:
            problem = error.problem
            if error.code == _TOO_LARGE:  # a fault of the file, not of the call
                problem = replace(problem, span=Span(source=Source(name=str(path)), start=Mark(1, 1), end=Mark(1, 1)))
            else:
                self.unreadable = True
            yield Checked(file=_name(path), problems=(problem,))
        else:
            yield Checked(file=_name(path), problems=self._problems(path, document))

    def _as_ours(self, file: Path) -> Document | tuple[Diagnostic, ...] | None:
        # What is in a folder beside workflows is none of our business, not even when it is broken.
        try:
            data = read_file(file, max_bytes=loading.FILE_BYTES)
        except UsageError:
            return None
        is_project = file.name == PROJECT_FILE
        if not is_project and b"states" not in data:
            return None
        try:
            document = read_bytes(data, str(file))
        except WorkflowError as error:
            return error.problems if is_project or _STATES_KEY.search(data) else None
        if is_project or (isinstance(document.value, dict) and "states" in document.value):
            return document
        return None

    def _problems(self, path: Path, document: Document) -> tuple[Diagnostic, ...]:
        try:
            if path.name == PROJECT_FILE:
                decode_project(document)
                load_project(path)  # reads the workflows' names, too
                return ()
            workflow = decode_workflow(document)
            folder = loading.folder_of(path)
            context = self._context(folder)
            env = loading.environment(context, self._env)
            known = loading.known_facts(folder, context, env=env, check_handlers=self._check_handlers)
            return tuple(check(workflow, document, known=known))
        except WorkflowError as error:
            return error.problems

    def _context(self, folder: Path) -> ProjectContext | None:
        if folder not in self._contexts:
            try:
                self._contexts[folder] = loading.project_of(folder, self._project)
            except WorkflowError as error:
                # The workflow is checked all the same, without what the project would have said.
                self._contexts[folder] = None
                self._broken[error.problems] = None
        return self._contexts[folder]

    def broken_projects(self, checked: Sequence[Checked]) -> Iterator[Checked]:
        """Give the project files of the checked workflows that have problems and were not checked themselves."""
        done = {_file_of(found) for found in checked}
        for problems in self._broken:
            found = Checked(file=problems[0].span.source.name if problems[0].span else PROJECT_FILE, problems=problems)
            if _file_of(found) not in done:
                yield found


def _file_of(found: Checked) -> str:
    return os.path.realpath(found.file)


def _name(path: Path) -> str:
    return "<stdin>" if path == loading.STDIN else str(path)


def _files(folder: Path) -> Iterator[Path]:
    """Give the files of a folder that could be ours, in the order of their names; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            if name.endswith(SUFFIXES) and not name.endswith(TEST_SUFFIXES) and not name.startswith("."):
                yield Path(place, name)
