"""The `validate` command: every problem of every file, in the form that people or tools read."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from durableflow import report
from durableflow.cli import console, loading, names, pages
from durableflow.decode import decode_project, decode_workflow
from durableflow.document import read_bytes
from durableflow.errors import CODES, UsageError, WorkflowError
from durableflow.files import read_file
from durableflow.project import PROJECT_FILE, load_project
from durableflow.report import Checked
from durableflow.rules import check
from durableflow.source import Mark, Source, Span, shown

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
@click.option("--select", metavar="CODES", multiple=True, help="Show only these, as DF404 or DF3,DF4; may be repeated.")
@click.option("--ignore", metavar="CODES", multiple=True, help="Do not show these; may be repeated.")
@click.option("--explain", metavar="CODE", help="Say what a code or the name of an error means, and check nothing.")
@click.option("--no-import", is_flag=True, help="Do not import handlers to check that they exist.")
@click.option("--project", type=click.Path(path_type=Path), help="The project file, or its folder.")
@click.option("--env", "env", metavar="NAME=VALUE", multiple=True, help="A value of the environment; may be repeated.")
def validate_command(  # noqa: PLR0913, PLR0917 - one for each option
    paths: Sequence[Path],
    form: report.Form,
    limit: int,
    select: Sequence[str],
    ignore: Sequence[str],
    explain: str | None,
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

    An error that --select or --ignore leaves out is not shown, but a file that has one is still refused.
    """
    if explain is not None:
        if paths:
            console.usage("DF797", "--explain checks no files", "leave the paths out")
        console.emit(_explained(explain))
        return console.DONE
    choice = _Choice(select=_prefixes(select), ignore=_prefixes(ignore))
    validator = _Validator(project=project, env=env, check_handlers=not no_import)
    checked = [found for path in paths or [Path()] for found in validator.checked(path)]
    checked += validator.broken_projects(checked)
    is_refused = report.count(checked)["error"] > 0
    checked = [choice.of(found) for found in checked]
    most = limit or None
    if text := report.render(checked, form, version=console.version(), limit=most):
        console.emit(text)
    if form in ("pretty", "line"):
        console.tell(report.summary(checked, limit=most))
    if validator.unreadable:
        return console.USAGE
    return console.PROBLEMS if is_refused or (strict and report.count(checked)["warning"]) else console.DONE


def _explained(text: str) -> str:
    """Return the page of the code, or what is known of the error, that was meant.

    Raises:
        UsageError: there is none.
    """
    code = text.strip().upper()
    if code in CODES:
        return str(pages.page(code))
    if (told := names.explained(text.strip())) is not None:
        return told
    near = difflib.get_close_matches(code, CODES, n=1)
    near = near or difflib.get_close_matches(text, [*names.known(), *names.GROUPS], n=1)
    hint = "codes look like DF404, names like States.Timeout; docs/errors.md and docs/faults.md list them"
    return console.usage(
        "DF799", f"there is no code or error '{shown(text)}'", f"did you mean '{near[0]}'?" if near else hint
    )


def _prefixes(texts: Sequence[str]) -> frozenset[str]:
    """Return the codes and beginnings of codes of an option that may be repeated.

    Raises:
        UsageError: no code begins so.
    """
    found: set[str] = set()
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        prefix = text.upper()
        if len(prefix) < len("DF") or not any(code.startswith(prefix) for code in CODES):
            console.usage(
                "DF799", f"no code begins with '{shown(text)}'", "write codes such as DF404, or DF4 for all of DF4xx"
            )
        found.add(prefix)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Which findings are shown. Where both options name a code, the longer beginning counts, then `ignore`."""

    select: frozenset[str]
    ignore: frozenset[str]

    def takes(self, code: str) -> bool:
        chosen = max((len(prefix) for prefix in self.select or ("DF",) if code.startswith(prefix)), default=0)
        return chosen > max((len(prefix) for prefix in self.ignore if code.startswith(prefix)), default=0)

    def of(self, checked: Checked) -> Checked:
        problems = tuple(problem for problem in checked.problems if self.takes(problem.code))
        hidden = sum(p.severity == "error" for p in checked.problems) - sum(p.severity == "error" for p in problems)
        return replace(checked, problems=problems, hidden_errors=hidden)


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
    for place, folders, listed in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS)
        for name in sorted(listed):
            if name.endswith(SUFFIXES) and not name.endswith(TEST_SUFFIXES) and not name.startswith("."):
                yield Path(place, name)
