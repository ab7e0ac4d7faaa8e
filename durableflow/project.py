"""Which project does a workflow belong to, and what is in it? `durableflow.yaml` and the workflows that it names.

The project file says what a workflow file cannot know: where handlers, functions and other workflows are on this
machine. A workflow runs without one.

Source: language.md 11 and 12, rule 41.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from durableflow.actions import AllowList
from durableflow.compiler import to_plan
from durableflow.decode import decode_project, decode_workflow
from durableflow.document import Limits, read_bytes
from durableflow.errors import UsageError, WorkflowError, diagnostic
from durableflow.files import read_file
from durableflow.forms import parse_size
from durableflow.model import Aws, AwsCheck, DurableTarget, WaitForCondition, WorkflowTarget, walk_states
from durableflow.operations import function_name
from durableflow.plan import Settings
from durableflow.rules import NOTHING_KNOWN, Known
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from durableflow.actions import Pair
    from durableflow.document import Document
    from durableflow.errors import Diagnostic
    from durableflow.model import Project, Workflow
    from durableflow.plan import Plan

PROJECT_FILE: Final = "durableflow.yaml"

_FILE_BYTES: Final = Limits().file_bytes
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_REPOSITORIES: Final = (".git", ".hg", ".svn")
"""Where one of these stands, the search for a project file ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectContext:
    """A project on this machine.

    Args:
        path: of the project file, absolute.
        project: what it says.
        workflows: the file of each workflow, by its name.
    """

    path: Path
    project: Project
    workflows: Mapping[str, Path] = field(default_factory=dict[str, Path])

    @property
    def folder(self) -> Path:
        """The folder of the project file; what it names is relative to it."""
        return self.path.parent

    @property
    def handler_roots(self) -> tuple[Path, ...]:
        """The only folders that `handler:` may import from."""
        return tuple(self.folder / name for name in self.project.handlers)

    @property
    def allowed_actions(self) -> AllowList | None:
        """What aws states may call, where the project file lists it; an empty list allows nothing."""
        listed = "allow" in self.project.aws.model_fields_set
        return AllowList(patterns=self.project.aws.allow) if listed else None

    @property
    def settings(self) -> Settings:
        """What the function on AWS has to know of the project file."""
        project = self.project
        offload = project.offload
        is_in_bucket = offload is not None and offload.s3 is not None
        return Settings(
            offload_bytes=self.offload_bytes if is_in_bucket else None,
            offload_s3=offload.s3 if offload is not None else None,
            operations_max=project.limits.operations if "operations" in project.limits.model_fields_set else None,
            http_allow=project.http.allow if "allow" in project.http.model_fields_set else None,
            aws_allow=project.aws.allow if "allow" in project.aws.model_fields_set else None,
        )

    @property
    def store(self) -> Path:
        """The file of the executions that run here."""
        return self.folder / self.project.store

    @property
    def offload_folder(self) -> Path | None:
        """The folder that large results of executions that run here go to; None where they go nowhere.

        A bucket is for AWS: here the folder `offload` beside the store stands in for it.
        """
        offload = self.project.offload
        if offload is None:
            return None
        return self.folder / offload.directory if offload.directory else self.store.parent / "offload"

    @property
    def offload_bytes(self) -> int | None:
        """The size from which results go there, None where they go nowhere."""
        if self.project.offload is None:
            return None
        threshold = self.project.offload.threshold
        return parse_size(threshold) if isinstance(threshold, str) else threshold


def find_project(start: Path) -> Path | None:
    """Return the nearest project file in a folder or above it, up to the root of the repository, or None."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (file := folder / PROJECT_FILE).is_file():
            return file
        if any((folder / name).exists() for name in _REPOSITORIES):
            return None
    return None


def load_project(path: Path) -> ProjectContext:
    """Read a project file and find the workflows that it names.

    Raises:
        WorkflowError: the file has problems, or two workflows have one name.
        UsageError: the file cannot be read.
    """
    document = read_bytes(read_file(path, max_bytes=_FILE_BYTES), str(path))
    project = decode_project(document)
    folder = path.absolute().parent
    workflows: dict[str, Path] = {}
    problems: list[Diagnostic] = []
    for number, name in enumerate(project.workflows):
        place = folder / name
        # The default folder need not exist, one that the author names must.
        if not place.exists() and "workflows" in project.model_fields_set:
            span = document.span(("workflows", number))
            hint = "'workflows' lists folders and files, relative to this file"
            problems.append(diagnostic("DF750", f"there is no '{shown(name)}' here", span=span, hint=hint))
        for file in _files(place):
            _add(workflows, file, problems)
    problems += _hidden_workflows(project, workflows, document)
    if problems:
        raise WorkflowError(problems)
    return ProjectContext(path=path.absolute(), project=project, workflows=workflows)


def compile_file(path: Path, root: Path, context: ProjectContext | None = None) -> Plan:
    """Return the Plan of a workflow file.

    Args:
        path: the workflow file.
        root: the folder that files which the workflow loads must be inside: the project's, else the workflow's own.
        context: the project, which has the workflows that are inline.

    Raises:
        WorkflowError: it has problems, or this version cannot run it.
        UsageError: it cannot be read.
    """
    return _compiled(path, root, NOTHING_KNOWN if context is None else with_inline(NOTHING_KNOWN, context))


def _compiled(path: Path, root: Path, known: Known) -> Plan:
    document = read_bytes(read_file(path, max_bytes=_FILE_BYTES), str(path))
    known = replace(known, load_file=partial(packaged_file, path.parent.resolve(), root.resolve()))
    return to_plan(decode_workflow(document), document, known)


def with_inline(known: Known, context: ProjectContext) -> Known:
    """Return what is known with the workflows of a project, for those that are inline.

    Each is read and compiled once, however many have it inline: a chain of n that each have the next one twice would
    be compiled 2^n times.
    """

    @cache
    def inline(name: str) -> Plan:
        return _compiled(_path_of(context, name), context.folder, others)

    others = Known(find_workflow=cache(partial(_decoded_by_name, context)), inline=inline)
    return replace(known, find_workflow=others.find_workflow, inline=others.inline)


def _decoded_by_name(context: ProjectContext, name: str) -> Workflow | None:
    """Return what the file of a workflow of the project says; None when there is none, or it is broken.

    Whoever checks that file says what is wrong with it.
    """
    path = context.workflows.get(name)
    if path is None:
        return None
    try:
        return decode_workflow(read_bytes(read_file(path, max_bytes=_FILE_BYTES), str(path)))
    except (UsageError, WorkflowError):
        return None


def durable_names(context: ProjectContext) -> frozenset[str]:
    """Return the names without a qualifier that stand for durable functions, which Lambda calls only with one."""
    names = set(context.workflows)
    for key, target in context.project.functions.items():
        parts = function_name(key)
        if parts and isinstance(target, (DurableTarget, WorkflowTarget)) and parts.qualifier in (None, "$LATEST"):
            names.add(key.removesuffix(":$LATEST"))
    return frozenset(names)


def allow_list(context: ProjectContext | None, named: Iterable[Pair]) -> AllowList:
    """Return what aws states may call (rule 42): what the project lists, else exactly what its workflows name.

    Args:
        context: the project, or None for a workflow that has none.
        named: the actions that the workflows name, from their files (:func:`named_actions`) or from their plans.
    """
    listed = context.allowed_actions if context else None
    return listed if listed is not None else AllowList(pairs=frozenset(named))


def named_actions(workflow: Workflow) -> frozenset[Pair]:
    """Return the service and action of every aws state and check of a workflow."""
    states = [placed.state for placed in walk_states(workflow)]
    works = [state.check if isinstance(state, WaitForCondition) else state for state in states]
    return frozenset((work.service, work.action) for work in works if isinstance(work, (Aws, AwsCheck)))


def _path_of(context: ProjectContext, name: str) -> Path:
    """Return the file of a workflow of the project.

    Raises:
        UsageError: DF754, there is none.
    """
    path = context.workflows.get(name)
    if path is None:
        raise UsageError(
            diagnostic(
                "DF754",
                f"there is no workflow '{shown(name)}' here",
                hint="list the folder of its file under 'workflows' in durableflow.yaml",
            )
        )
    return path


def packaged_file(folder: Path, root: Path, name: str) -> bytes | None:
    """Return the bytes of a file that a workflow loads, or None when the project has no such file (rule 6).

    Args:
        folder: of the workflow, resolved; `name` is relative to it.
        root: of the project, resolved. Links are followed before the question whether the file is inside.
        name: as the workflow has it.

    Raises:
        UsageError: the file cannot be read.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(root):
        return None
    try:
        return read_file(path, max_bytes=_FILE_BYTES)
    except UsageError as error:
        if error.code == "DF701":
            return None
        raise


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        for file in sorted(place.rglob("*")):
            below = file.relative_to(place)
            is_hidden = any(part.startswith(".") for part in below.parts)
            is_test = file.name.endswith(tuple(f".test{suffix}" for suffix in _SUFFIXES))
            if file.suffix in _SUFFIXES and not is_hidden and not is_test and file.is_file():
                yield file


def _add(workflows: dict[str, Path], file: Path, problems: list[Diagnostic]) -> None:
    document = _document(file)
    name = document.value.get("name") if document and isinstance(document.value, dict) else None
    if document is None or not isinstance(name, str):
        return
    if name not in workflows:
        workflows[name] = file
    elif not workflows[name].samefile(file):
        message = f"'{shown(str(workflows[name]))}' has a workflow called '{shown(name)}', too"
        hint = "workflow names are unique over a project: rename one of them"
        problems.append(diagnostic("DF751", message, span=document.span(("name",)), hint=hint))


def _document(file: Path) -> Document | None:
    """Return a workflow file; None for another file, or one that cannot be understood: `validate` says why."""
    try:
        data = read_file(file, max_bytes=_FILE_BYTES)
        if b"states" not in data:
            return None
        document = read_bytes(data, str(file))
    except (UsageError, WorkflowError):
        return None
    return document if isinstance(document.value, dict) and "states" in document.value else None


def _hidden_workflows(project: Project, workflows: Mapping[str, Path], document: Document) -> Iterator[Diagnostic]:
    """Give the functions that would take the place of a workflow, which is a function of its name here."""
    for key, target in project.functions.items():
        parts = function_name(key)
        if parts is None or parts.name not in workflows or parts.qualifier not in (None, "$LATEST"):
            continue
        if not (isinstance(target, WorkflowTarget) and target.workflow == parts.name):
            yield diagnostic(
                "DF753",
                f"the function '{shown(key)}' has the name of a workflow of this project",
                span=document.key_span(("functions", key)),
                hint=f"give it a qualifier, such as '{shown(parts.name)}:live'",
            )
