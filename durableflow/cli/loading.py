"""How does a file named on the command line become a workflow? Project, known facts, reading, compiling."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from durableflow.actions import Clients, check_action
from durableflow.cli import console
from durableflow.compiler import to_plan
from durableflow.decode import decode_workflow
from durableflow.document import Limits, read_bytes
from durableflow.errors import Fault, UsageError, diagnostic
from durableflow.files import read_file
from durableflow.project import (
    PROJECT_FILE,
    durable_names,
    find_project,
    load_project,
    packaged_file,
    with_inline,
)
from durableflow.rules import Known
from durableflow.source import shown
from durableflow.vault import LocalSecrets
from durableflow.work import check_handler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durableflow.document import Document
    from durableflow.errors import Diagnostic
    from durableflow.model import Workflow
    from durableflow.plan import Plan
    from durableflow.project import ProjectContext

STDIN: Final = Path("-")
FILE_BYTES: Final = Limits().file_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A workflow that is ready to run.

    Args:
        plan: what runs.
        document: the file's text and places.
        folder: of the workflow's file.
        context: the project it belongs to, or None.
        env: the values that templates may read: the project's, and over them those of the command line.
    """

    plan: Plan
    document: Document
    folder: Path
    context: ProjectContext | None
    env: dict[str, str]

    def located(self, problem: Diagnostic) -> Diagnostic:
        """Return a problem at a place of the plan with the file's text, so that it can show the line."""
        if problem.span is None or problem.span.source.name != self.document.source.name:
            return problem
        return replace(problem, span=replace(problem.span, source=self.document.source))


def load(path: Path, *, project: Path | None = None, env: Sequence[str] = (), check_handlers: bool = True) -> Loaded:
    """Compile a workflow file.

    Args:
        path: the file, or `-` for standard input.
        project: the project file or its folder; None for the nearest one above the workflow.
        env: `NAME=VALUE` each.
        check_handlers: whether to import handlers to see that they exist.

    Raises:
        WorkflowError: the workflow or the project file has problems.
        UsageError: a file cannot be read, or `env` is not what it should be.
    """
    folder = folder_of(path)
    context = project_of(folder, project)
    values = environment(context, env)
    document = read(path)
    workflow = decode_workflow(document)
    known = known_facts(folder, context, env=values, check_handlers=check_handlers)
    plan = to_plan(workflow, document, known)
    return Loaded(plan=plan, document=document, folder=folder, context=context, env=values)


def decoded(path: Path) -> Workflow:
    """Return what a workflow file says, whether or not it makes sense.

    Raises:
        WorkflowError: it has not the shape of a workflow.
        UsageError: it cannot be read.
    """
    return decode_workflow(read(path))


def read(path: Path) -> Document:
    """Return the text of a file, or of standard input, as data with places.

    Raises:
        WorkflowError: it is not YAML or JSON as workflows have it.
        UsageError: it cannot be read.
    """
    if path == STDIN:
        return read_bytes(sys.stdin.buffer.read(FILE_BYTES + 1), "<stdin>")
    return read_bytes(read_file(path, max_bytes=FILE_BYTES), str(path))


def folder_of(path: Path) -> Path:
    """Return the folder that a workflow's handlers and files are relative to."""
    return Path.cwd() if path == STDIN else path.absolute().parent


def project_of(folder: Path, project: Path | None) -> ProjectContext | None:
    """Return the project that was named, else the nearest one (language.md 12, rule 41), else None.

    Raises:
        WorkflowError: the project file has problems.
        UsageError: there is no such file.
    """
    if project is not None:
        return load_project(project / PROJECT_FILE if project.is_dir() else project)
    found = find_project(folder)
    return load_project(found) if found else None


def environment(context: ProjectContext | None, given: Sequence[str]) -> dict[str, str]:
    """Return the project's environment with the values of the command line over it.

    Raises:
        UsageError: a value is not `NAME=VALUE`.
    """
    values = dict(context.project.env) if context else {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            console.usage("DF792", f"--env '{shown(text)}' is not NAME=VALUE", "write --env TABLE=orders")
        values[name] = value
    return values


def secrets(context: ProjectContext | None) -> list[str]:
    """Return the values of the project's secrets, for whoever has to keep them out of a file.

    Raises:
        UsageError: DF704, the project's `.env` file cannot be read.
    """
    if context is None or not context.project.secrets:
        return []
    names = {name: secret.env for name, secret in context.project.secrets.items()}
    try:
        return [value for _, value in LocalSecrets(names, folder=context.folder).known()]
    except Fault as fault:
        raise UsageError(diagnostic("DF704", fault.message)) from fault


def workflow_of(execution: Mapping[str, Any]) -> str:
    """Return the name of the workflow of an execution, which is that of its function here."""
    name: str = execution["FunctionArn"].split(":")[6]
    return name


def known_facts(
    folder: Path, context: ProjectContext | None, *, env: dict[str, str], check_handlers: bool = True
) -> Known:
    """Return what the rules may know about the surroundings of a workflow file in `folder`."""
    root = context.folder if context else folder
    handlers = context.handler_roots if context else (folder,)
    known = Known(
        env=frozenset(env),
        check_handler=partial(check_handler, roots=handlers) if check_handlers else None,
        check_action=partial(check_action, clients=_clients(), allowed=context.allowed_actions if context else None),
        load_file=partial(packaged_file, folder.resolve(), root.resolve()),
    )
    if context is None:
        return known
    return replace(
        with_inline(known, context),
        functions=frozenset(context.project.functions),
        durable=durable_names(context),
        workflows=frozenset(context.workflows),
        hosts=frozenset(host.lower() for host in context.project.http.allow),
        operations=context.project.limits.operations,
    )


@cache
def _clients() -> Clients:
    # One for all files of a command: a model of AWS takes long to read. Only workflows with aws states need one.
    return Clients()
