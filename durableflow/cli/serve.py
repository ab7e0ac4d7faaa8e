"""The `serve` command: the durable-functions service of Lambda on this machine, for any AWS client."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from durableflow.cli import console, loading, stores
from durableflow.cli.interrupts import interruptible
from durableflow.errors import DurableflowError, WorkflowError
from durableflow.local.engine import Engine
from durableflow.local.workers import to_standard_error
from durableflow.model import DurableTarget, PythonTarget
from durableflow.project import load_project
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from durableflow.cli.interrupts import Interrupt
    from durableflow.cli.loading import Loaded
    from durableflow.errors import Diagnostic
    from durableflow.project import ProjectContext

PORT: Final = 9300
DRAIN_SECONDS: Final = 8.0
"""How long handlers that run may take to end; what is cut off runs again when the store is served again."""
LOOK_SECONDS: Final = 0.5
"""How often `--watch` looks at the files."""
# Any will do. The SDK for Python reads the second name of the region, the others read the first.
_CREDENTIALS: Final = (
    "export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
)
_SUFFIXES: Final = (".yaml", ".yml", ".json", ".py")
_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules"})


@click.command("serve")
@click.argument("workflows", metavar="[WORKFLOW]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="The port; 0 takes a free one."
)
@click.option(
    "--db", "--store", "store", metavar="FILE", type=click.Path(path_type=Path), help="The file of executions."
)
@click.option("--skip-time", is_flag=True, help="Jump over waits and retry delays while nothing runs.")
@click.option("--watch", is_flag=True, help="Read changed files anew, for executions that begin from then on.")
@stores.project_option
@click.option("--env", "env", metavar="NAME=VALUE", multiple=True, help="A value of the environment; may be repeated.")
@click.option("--allow-aws", is_flag=True, help="Let aws states and functions that are real call AWS.")
@click.option(
    "--durability", type=click.Choice(["normal", "full"]), default="normal", help="full: survives power loss."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Most worker processes.")
@click.option("--in-process", is_flag=True, help="Run workflows in this process: faster, and a crash is everybody's.")
def serve_command(  # noqa: PLR0913 - the options of the command
    workflows: Sequence[Path],
    port: int,
    store: Path | None,
    project: Path | None,
    env: Sequence[str],
    durability: str,
    workers: int | None,
    *,
    skip_time: bool,
    watch: bool,
    allow_aws: bool,
    in_process: bool,
) -> int:
    """Serve Lambda's durable API here: the project's workflows and functions, or each WORKFLOW.

    Any AWS client works against it with the two lines that are printed. Executions go on where they were when the same
    file of executions is served again. Ends with Ctrl-C or SIGTERM, after what runs has ended or a few seconds.
    """
    context = loading.project_of(Path.cwd() if not workflows else loading.folder_of(workflows[0]), project)
    if context is None and not workflows:
        console.usage(
            "DF797",
            "there is no project here, and no workflow was named",
            "name workflow files, or work in the folder of a durableflow.yaml; `durableflow init` makes one",
        )
    sources = _Sources(given=tuple(workflows), context=context, env=tuple(env))
    loaded = sources.load(is_patient=watch)
    place = store or (context.store if context else loading.folder_of(workflows[0]) / stores.STORE)

    def work(interrupt: Interrupt) -> None:
        stop = threading.Event()
        interrupt.calls(stop.set)
        engine = Engine(
            store=place,
            project=context,
            env=loading.environment(context, env),
            skip_time=skip_time,
            allow_aws=allow_aws,
            durability="full" if durability == "full" else "normal",
            workers=workers,
            in_process=in_process,
            log=to_standard_error,
        )
        try:
            for one in loaded:
                engine.register(one.plan, one.folder)
            server = engine.serve(port)
            console.tell(f"serving {console.counted(len(loaded), 'workflows')}; executions are in {shown(str(place))}")
            console.emit(f"export AWS_ENDPOINT_URL_LAMBDA={server.url}")
            console.emit(_CREDENTIALS)
            while not stop.wait(LOOK_SECONDS if watch else None):
                sources.renew(engine)
            console.tell("\nending; what does not end by itself goes on when this is served again")
        finally:
            engine.close(drain_seconds=DRAIN_SECONDS)
        interrupt.check()

    interruptible(work, farewell="\ncut off; executions go on when this is served again", is_service=True)
    return console.DONE


@dataclass(slots=True, kw_only=True)
class _Sources:
    """The files that are served.

    Args:
        given: workflow files of the command line; none for those of the project.
        context: the project, or None.
        env: of the command line.
    """

    given: tuple[Path, ...]
    context: ProjectContext | None
    env: tuple[str, ...]
    _seen: Mapping[Path, tuple[int, int]] = field(default_factory=dict[Path, "tuple[int, int]"])
    _served: dict[Path, str] = field(default_factory=dict[Path, str])

    def load(self, *, is_patient: bool) -> list[Loaded]:
        """Return every workflow, ready to run.

        Args:
            is_patient: whether one with problems is told and left out, since it will be read again.

        Raises:
            WorkflowError: with the problems of all files.
            UsageError: a file cannot be read.
        """
        self._seen = self._signatures()
        made: list[Loaded] = []
        problems: list[Diagnostic] = []
        for path in self._workflows():
            try:
                loaded = self._loaded(path, check_handlers=True)
            except DurableflowError as error:
                if is_patient:
                    console.tell_problem(error)
                elif isinstance(error, WorkflowError):
                    problems += error.problems
                else:
                    raise
            else:
                self._served[path] = loaded.plan.digest
                made.append(loaded)
        if problems:
            raise WorkflowError(problems)
        return made

    def renew(self, engine: Engine) -> None:
        """Have an engine use what has changed since the last look; what cannot be used is told and changes nothing."""
        now = self._signatures()
        changed = {path for path in now.keys() | self._seen.keys() if now.get(path) != self._seen.get(path)}
        self._seen = now
        if not changed:
            return
        if any(path.suffix == ".py" for path in changed):
            engine.renew()
            console.tell("handlers have changed; they are read anew")
        if self.context is not None:
            self._look_for_workflows(self.context, changed)
        # A workflow may load other files and have others inline, so all are compiled, and those that differ exchanged.
        for path in self._workflows():
            try:
                # This process has read the handlers, and would not see that they have changed.
                loaded = self._loaded(path, check_handlers=False)
            except DurableflowError as error:
                if path.absolute() in changed:
                    console.tell_problem(error)
                continue
            if self._served.get(path) != loaded.plan.digest:
                self._served[path] = loaded.plan.digest
                engine.exchange(loaded.plan, loaded.folder)
                console.tell(f"{shown(str(path))}: new executions of '{loaded.plan.name}' get what it says now")

    def _look_for_workflows(self, context: ProjectContext, changed: Collection[Path]) -> None:
        if context.path in changed:
            console.tell(f"{shown(str(context.path))} has changed; it is read when this is started again")
            return
        try:
            fresh = load_project(context.path).workflows
        except DurableflowError as error:
            console.tell_problem(error)
            return
        # A file that cannot be read just now has no name, and is known by its place.
        known = set(fresh.values())
        kept = {name: path for name, path in context.workflows.items() if path not in known and path.exists()}
        self.context = replace(context, workflows={**kept, **fresh})

    def _loaded(self, path: Path, *, check_handlers: bool) -> Loaded:
        project = self.context.path if self.context else None
        return loading.load(path, project=project, env=self.env, check_handlers=check_handlers)

    def _workflows(self) -> Iterator[Path]:
        if self.given or self.context is None:
            yield from self.given
        else:
            yield from self.context.workflows.values()

    def _signatures(self) -> dict[Path, tuple[int, int]]:
        """Return when each file was changed, and its size."""
        made: dict[Path, tuple[int, int]] = {}
        for file in self._files():
            with suppress(OSError):
                facts = file.stat()
                made[file.absolute()] = (facts.st_mtime_ns, facts.st_size)
        return made

    def _files(self) -> Iterator[Path]:
        yield from self.given
        if self.context is None:
            # Not what is below: it could be all there is on the machine.
            for folder in {path.absolute().parent for path in self.given}:
                yield from folder.glob("*.py")
            return
        yield self.context.path
        names = [target.partition(":")[0].partition(".")[0] for target in _handlers(self.context)]
        below = (*self.context.project.workflows, *self.context.project.handlers, *names)
        for place in {self.context.folder / name for name in below}:
            yield from _watched(place)


def _handlers(context: ProjectContext) -> Iterator[str]:
    for target in context.project.functions.values():
        if isinstance(target, PythonTarget):
            yield target.python
        elif isinstance(target, DurableTarget):
            yield target.durable


def _watched(place: Path) -> Iterator[Path]:
    """Give the files at a place that may matter."""
    yield place
    yield place.with_name(f"{place.name}.py")
    for folder, folders, files in os.walk(place):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        for name in files:
            if name.endswith(_SUFFIXES):
                yield Path(folder, name)
