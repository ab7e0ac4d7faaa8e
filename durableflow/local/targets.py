"""What is a function name here? The workflows that run here, and the `functions` of the project file.

A name is looked up twice: the service asks what kind of function it stands for, the engine what is to be done for a
job. An alias is no version (no ARN has one), so each alias stands for a version number that is made of its name and
stays the same for ever: executions are recorded under it.

Of a project's workflows those are functions that have been registered, and any other one for whoever invokes it. The
executions of the others in the same store sleep on: running one workflow does not set another one going.

Source: language.md 11 and 12, rules 43, 52, 60.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never, cast

from durableflow import library, values
from durableflow.errors import Fault, UsageError, diagnostic
from durableflow.local.jobs import OPERATIONS_MAX, Function
from durableflow.local.sdk import surroundings
from durableflow.local.workers import NO_TOOLS, Command, Durable, End, Environment, Fixed, Python, Remote, Sdk
from durableflow.model import (
    CommandTarget,
    DurableTarget,
    ErrorAnswer,
    HttpTarget,
    LambdaTarget,
    PythonTarget,
    ResultAnswer,
    WorkflowTarget,
)
from durableflow.operations import error_from_fault, function_name
from durableflow.project import compile_file
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from durableflow.local.jobs import Job
    from durableflow.local.workers import Task
    from durableflow.plan import Plan
    from durableflow.project import ProjectContext
    from durableflow.values import Json, Object

Reply: TypeAlias = PythonTarget | ResultAnswer | ErrorAnswer
Target: TypeAlias = (
    PythonTarget
    | WorkflowTarget
    | DurableTarget
    | CommandTarget
    | HttpTarget
    | LambdaTarget
    | ResultAnswer
    | ErrorAnswer
    | tuple[ResultAnswer | ErrorAnswer, ...]
)

LATEST: Final = "$LATEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A workflow that is ready to run.

    Args:
        plan: what runs.
        environment: where its handlers are.
        since: from when on it is the one that new executions get, epoch milliseconds.
    """

    plan: Plan
    environment: Environment
    since: int = 0


@dataclass(slots=True)
class Targets:
    """All functions there are; implements `service.Functions`. Thread-safe.

    Args:
        project: what the project file declares, or None.
        env: values over those of the project and the process, for handlers, functions and templates.
        allow_aws: whether aws states that the project does not answer call AWS.
        endpoint: URL of the service, for durable functions that are written with an AWS SDK; None while there is none.
    """

    project: ProjectContext | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    allow_aws: bool = False
    endpoint: str | None = None
    _registered: dict[str, tuple[Registered, ...]] = field(default_factory=dict[str, "tuple[Registered, ...]"])
    _compiled: dict[str, Registered] = field(default_factory=dict[str, Registered])
    _declared: dict[tuple[str, str], Target] = field(default_factory=dict[tuple[str, str], Target])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _generation: int = 0

    def __post_init__(self) -> None:
        for key, target in self.project.project.functions.items() if self.project else ():
            parts = function_name(key)
            assert parts is not None, "the model of the project file lets no other key through"
            self._declared.setdefault((parts.name, version(parts.qualifier)), target)

    def register(
        self, plan: Plan, folder: Path, env: Mapping[str, str] | None = None, *, since: int | None = None
    ) -> None:
        """Make a workflow a function of its name, or exchange it.

        Args:
            plan: the workflow.
            folder: of its file; without a project its handlers are there.
            env: as for the class, for this workflow.
            since: executions that began earlier, epoch milliseconds, keep the one that they have; None for no such.
        """
        roots = self.project.handler_roots if self.project else (folder,)
        environment = self._environment(
            roots, self.project.folder if self.project else folder, env, tools=self._tools()
        )
        with self._lock:
            before = self._registered.get(plan.name, ()) if since is not None else ()
            made = Registered(plan=plan, environment=environment, since=since or 0)
            self._registered[plan.name] = (*before, made)

    def renew(self) -> None:
        """Have the code of handlers and functions read anew: by processes that are started from now on."""
        with self._lock:
            self._generation += 1
            self._registered = {
                name: tuple(
                    replace(one, environment=replace(one.environment, generation=self._generation)) for one in versions
                )
                for name, versions in self._registered.items()
            }
            self._compiled.clear()

    def resolve(self, name: str, *, is_invoked: bool = False) -> Function | None:
        """Return the function of `name`, `name:qualifier`, a partial or a whole ARN; None when there is none.

        Args:
            name: see there.
            is_invoked: whether an execution that runs here invokes it: for that one every workflow of the project is a
                function of its name (rule 52).
        """
        parts = function_name(name)
        if parts is None:
            return None
        number = version(parts.qualifier)
        if number == LATEST and (self._is_registered(parts.name) or (is_invoked and self._is_known(parts.name))):
            return self._function(parts.name, number, is_durable=True)
        target = self._declared.get((parts.name, number))
        if target is None:
            return None
        return self._function(parts.name, number, is_durable=isinstance(target, (WorkflowTarget, DurableTarget)))

    def listed(self) -> list[Function]:
        """Return every function that has been registered or that the project declares, by name and version."""
        with self._lock:
            names = {(name, LATEST) for name in self._registered}
        made = (self.resolve(f"{name}:{number}") for name, number in sorted(names | self._declared.keys()))
        return [function for function in made if function is not None]

    @property
    def operations_max(self) -> int:
        """How many operations an execution may have, as the platform meters them."""
        return self.project.project.limits.operations if self.project else OPERATIONS_MAX

    @property
    def environment(self) -> Environment | None:
        """What the project's own workflows run in; None without a project."""
        if self.project is None:
            return None
        return self._environment(self.project.handler_roots, self.project.folder, tools=self._tools())

    def _offload(self) -> tuple[int, Path] | None:
        size = self.project.offload_bytes if self.project else None
        folder = self.project.offload_folder if self.project else None
        return (size, folder) if size is not None and folder is not None else None

    def task(self, job: Job, *, clock_offset: int = 0) -> Task:
        """Return what is to be done for a job.

        Args:
            job: of a function that was resolved here.
            clock_offset: milliseconds by which the service's clock is ahead of the machine's.

        Raises:
            WorkflowError, UsageError: it is a workflow whose file has problems now, or is gone.
        """
        name, number = job.function.name, job.function.version
        target = self._declared.get((name, number))
        if job.kind == "durable" and isinstance(target, DurableTarget):
            return self._sdk(job, target)
        if job.kind == "durable":
            workflow = target.workflow if isinstance(target, WorkflowTarget) else name
            found = self.workflow(workflow, started=job.started)
            return Durable(
                id=job.id,
                label=workflow,
                environment=found.environment,
                plan=found.plan,
                event=cast("dict[str, Json]", job.event),
                clock_offset=clock_offset,
                operations_max=self.operations_max,
                offload=self._offload(),
            )
        return self._plain(job, target)

    def _sdk(self, job: Job, target: DurableTarget) -> Sdk:
        assert self.endpoint is not None, "the engine serves HTTP where a project has such functions"
        folder = self._folder()
        found = self._environment((folder,), folder)
        # Over the project's own: where Lambda's API is, is no question of taste.
        led = surroundings(self.endpoint, allow_aws=self.allow_aws, environ=found.environ())
        return Sdk(
            id=job.id,
            label=job.function.name,
            environment=replace(found, env=tuple(sorted({**dict(found.env), **led}.items()))),
            handler=target.durable,
            event=cast("dict[str, Json]", job.event),
            function_name=job.function.name,
            function_version=job.function.version,
            tenant_id=job.tenant_id,
        )

    @property
    def has_sdk_functions(self) -> bool:
        """Whether any function calls the service over HTTP."""
        return any(isinstance(target, DurableTarget) for target in self._declared.values())

    def workflow(self, name: str, *, started: int | None = None) -> Registered:
        """Return a workflow; one of the project that nobody has registered is compiled now.

        Args:
            name: of it.
            started: when the execution began that it is for, epoch milliseconds; None for the newest one.

        Raises:
            WorkflowError, UsageError: its file has problems, or DF754, there is none.
        """
        with self._lock:
            if (versions := self._registered.get(name)) is not None:
                # What is older than all of them, since the service was started anew, goes on with the first.
                fitting = [one for one in versions if started is None or one.since <= started]
                return fitting[-1] if fitting else versions[0]
            if (found := self._compiled.get(name)) is not None:
                return found
        if self.project is None or name not in self.project.workflows:
            raise UsageError(
                diagnostic(
                    "DF754",
                    f"there is no workflow '{shown(name)}' here",
                    hint="run its file, or list the folder of its file under 'workflows' in durableflow.yaml",
                )
            )
        plan = compile_file(self.project.workflows[name], self.project.folder, self.project)
        environment = self._environment(self.project.handler_roots, self.project.folder, tools=self._tools())
        made = Registered(plan=plan, environment=environment)
        with self._lock:
            return self._compiled.setdefault(name, made)

    def _is_registered(self, name: str) -> bool:
        with self._lock:
            return name in self._registered

    def _is_known(self, name: str) -> bool:
        # One that cannot be compiled is a function all the same: whoever invokes it hears what is wrong with it.
        return self.project is not None and name in self.project.workflows

    def _function(self, name: str, number: str, *, is_durable: bool) -> Function:
        deploy = self.project.project.deploy if self.project else None
        if deploy is None:
            return Function(name=name, version=number, is_durable=is_durable)
        return Function(
            name=name,
            version=number,
            is_durable=is_durable,
            execution_timeout_seconds=_seconds(deploy.execution_timeout),
            retention_days=_seconds(deploy.retention) // 86_400,
        )

    def _environment(
        self, roots: tuple[Path, ...], folder: Path, env: Mapping[str, str] | None = None, *, tools: str = ""
    ) -> Environment:
        declared = self.project.project.env if self.project else {}
        merged = {**declared, **self.env, **(env or {})}
        env_items = tuple(sorted(merged.items()))
        return Environment(roots=roots, folder=folder, env=env_items, tools=tools, generation=self._generation)

    def _tools(self) -> str:
        """Return what a worker process does calls with. Of secrets it has the names, never the values."""
        if self.project is None:
            return values.to_text({**cast("Object", values.from_text(NO_TOOLS)), "allow_aws": self.allow_aws})
        project, allowed = self.project.project, self.project.allowed_actions
        return values.to_text(
            {
                "actions": {key: _plain_answer(answer) for key, answer in project.actions.items()},
                "http_answers": {key: _plain_answer(answer) for key, answer in project.http_answers.items()},
                "http_allow": list(project.http.allow),
                "aws_allow": None if allowed is None else list(allowed.patterns),
                "allow_aws": self.allow_aws,
                "secrets": {name: secret.env for name, secret in project.secrets.items()},
                "folder": str(self.project.folder),
            }
        )

    def _plain(self, job: Job, target: Target | None) -> Task:  # noqa: PLR0911 - one for each kind of target
        label = job.operation_name or job.function.name
        payload = job.payload or "{}"
        match target:
            case PythonTarget():
                folder = self._folder()
                return Python(
                    id=job.id,
                    label=label,
                    environment=self._environment((folder,), folder),
                    handler=target.python,
                    payload=payload,
                    function_name=job.function.name,
                    function_version=job.function.version,
                    tenant_id=job.tenant_id,
                )
            case CommandTarget():
                folder = self._folder()
                return Command(
                    id=job.id,
                    label=label,
                    arguments=tuple(target.command),
                    environment=self._environment((), folder),
                    payload=payload,
                )
            case tuple():
                return Fixed(id=job.id, label=label, end=_answer(target[min(job.call_number, len(target) - 1)]))
            case ResultAnswer() | ErrorAnswer():
                return Fixed(id=job.id, label=label, end=_answer(target))
            case HttpTarget():
                return Remote(id=job.id, label=label, place=target.http, payload=payload, tenant_id=job.tenant_id)
            case LambdaTarget() if self.allow_aws:
                return Remote(id=job.id, label=label, place=target.lambda_, payload=payload, tenant_id=job.tenant_id)
            case LambdaTarget():
                message = f"'{job.function.name}' is a function on AWS, which is called only with --allow-aws"
                refused = Fault("AccessDenied", message)
                return Fixed(id=job.id, label=label, end=End(error=error_from_fault(refused)))
            case WorkflowTarget() | DurableTarget() | None:
                # A project file that has changed since the job was recorded: its function is gone.
                error = Fault("ResourceNotFoundException", f"Function not found: {job.function.name}")
                return Fixed(id=job.id, label=label, end=End(error=error_from_fault(error)))
            case _:
                assert_never(target)

    def _folder(self) -> Path:
        assert self.project is not None, "only a project declares functions"
        return self.project.folder


def version(qualifier: str | None) -> str:
    """Return the version that a qualifier stands for here: itself where it is one, else a number made of its name."""
    if qualifier is None or qualifier.startswith(LATEST) or qualifier.isdigit():
        return qualifier or LATEST
    return str(int.from_bytes(blake2b(qualifier.encode(), digest_size=4).digest()))


def _plain_answer(answer: Reply | tuple[ResultAnswer | ErrorAnswer, ...]) -> Json:
    if isinstance(answer, tuple):
        return [_plain_answer(one) for one in answer]
    return cast("Json", answer.model_dump(mode="json"))


def _answer(answer: ResultAnswer | ErrorAnswer) -> End:
    if isinstance(answer, ResultAnswer):
        return End(text=values.to_text(answer.result))
    error = answer.error
    return End(error=error_from_fault(Fault(error.name, error.message, error.data)))


def _seconds(duration: str | float) -> int:
    return int(library.parse_duration(duration) if isinstance(duration, str) else duration)
