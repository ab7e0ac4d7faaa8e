"""What runs? A workflow as a tree of nodes with everything resolved, to and from JSON.

The compiler makes a Plan from a Workflow; the interpreter runs it and knows nothing else. A Plan holds no text that
still has to be parsed (templates are trees, see expressions.py), so loading one needs neither PyYAML, pydantic,
jsonschema nor Jinja2. Executions outlive deployments, therefore the JSON form carries a format number and a test keeps
an old plan loadable.

The JSON form of a node holds its `type` and every field that differs from its default; `at` is its place in the
workflow file, `[line, column, end line, end column]`. The digest covers everything but places and the file's name: a
comment or a moved line does not change it, a changed payload does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, TypeVar, cast, get_args

from durableflow import values
from durableflow.errors import Diagnostic, UsageError
from durableflow.expressions import Program
from durableflow.operations import operation_id
from durableflow.source import Mark, Source, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from durableflow.values import Json, Object

FORMAT: Final = 1
"""Version of the JSON form. A reader refuses a higher one; a change that old readers misread raises it."""
ENGINE: Final = 1
"""Revision of the replay rules, recorded in a plan when it is compiled (style.md 6)."""

Jitter: TypeAlias = Literal["full", "half", "none"]
Semantics: TypeAlias = Literal["at_least_once", "at_most_once"]
OnError: TypeAlias = Literal["continue", "fail"]
Place: TypeAlias = tuple[int, int, int, int]
NOWHERE: Final[Place] = (1, 1, 1, 1)
_SECRET: Final = "secret:"  # noqa: S105 - the beginning of a name, no secret
END: Final = "end"
"""As a `next`: leave this list of states."""


def secret_root(name: str) -> str:
    """Return the root name that `secret('name')` has become in a compiled template; no author can write it."""
    return _SECRET + name


def secrets_in(program: Program) -> tuple[str, ...]:
    """Return the names of the secrets that a template reads."""
    roots = (path[0] for path in program.references)
    return tuple(root.removeprefix(_SECRET) for root in roots if isinstance(root, str) and root.startswith(_SECRET))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrier:
    """One entry of a `retry` list (rule 22). Durations are programs that give seconds or duration text."""

    errors: tuple[str, ...] = ("States.ALL",)
    when: Program | None = None
    max_attempts: int = 3
    interval: Program | None = None
    backoff_rate: float | None = None
    increment: Program | None = None
    max_delay: Program | None = None
    jitter: Jitter = "full"
    max_duration: Program | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catcher:
    """One entry of a `catch` list: `assign`, then `states`, then `output`, then `next` (rules 9, 21)."""

    errors: tuple[str, ...] = ("States.ALL",)
    when: Program | None = None
    assign: Mapping[str, Program] = field(default_factory=dict[str, Program])
    output: Program | None = None
    states: States | None = None
    next: str | None = None
    at: Place = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every state has. `name` is unique in the file; operation paths are made of it."""

    TYPE: ClassVar[str]

    name: str
    when: Program | None = None
    output: Program | None = None
    assign: Mapping[str, Program] = field(default_factory=dict[str, Program])
    label: Program | None = None
    catch: tuple[Catcher, ...] = ()
    compensate: States | None = None
    next: str | None = None
    renamed_from: tuple[str, ...] = ()
    result_schema: Json = None
    at: Place = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Node):
    """A state that may be tried again and may have a time limit for each attempt (rules 23, 69)."""

    retry: tuple[Retrier, ...] = ()
    timeout: Program | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke(Retried):
    """A chained invoke; `allow` are the function names or ARN patterns that a templated `function` may give."""

    TYPE: ClassVar[str] = "invoke"

    function: Program
    payload: Program
    tenant_id: Program | None = None
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Retried):
    """A Python handler, `package.module:function`."""

    TYPE: ClassVar[str] = "step"

    handler: str
    payload: Program
    semantics: Semantics = "at_least_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws(Retried):
    """An AWS API call; `params` gives an object."""

    TYPE: ClassVar[str] = "aws"

    service: str
    action: str
    params: Program
    semantics: Semantics = "at_least_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Retried):
    """An HTTP request; `request` gives `{method, url, headers, query}` and perhaps `body`.

    `success` are ranges of statuses, both ends included.
    """

    TYPE: ClassVar[str] = "http"

    request: Program
    success: tuple[tuple[int, int], ...] = ((200, 299),)
    redirects: int = 0
    semantics: Semantics = "at_least_once"


Work: TypeAlias = Step | Aws | Http
"""What is done by a worker, as attempts of a STEP operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildWorkflow(Retried):
    """Another workflow: as an execution of its own, or, where `inline` holds its Plan, as a part of this one."""

    TYPE: ClassVar[str] = "workflow"

    workflow: str
    payload: Program
    inline: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Node):
    """Exactly one of `duration` (seconds or duration text) and `until` (a time)."""

    TYPE: ClassVar[str] = "wait"

    duration: Program | None = None
    until: Program | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForCallback(Retried):
    """An answer from outside; `submit` are the states that tell somebody the callback id."""

    TYPE: ClassVar[str] = "wait_for_callback"

    submit: States | None = None
    heartbeat_timeout: Program | None = None
    result_format: Literal["json", "text"] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForCondition(Retried):
    """A check that is repeated until a condition holds.

    Args:
        check: what is done; its `name` is the state's.
        until: the condition on the check's result.
        initial: what `previous` is in the first check.
        poll: interval, back-off, jitter and number of the checks.
        is_limited: whether `poll.max_attempts` counts; without it there is no limit.
    """

    TYPE: ClassVar[str] = "wait_for_condition"

    check: Work
    until: Program
    poll: Retrier
    initial: Program | None = None
    is_limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One entry of `choices`: states to run, or a sibling of the choice to go to."""

    when: Program
    states: States | None = None
    next: str | None = None
    at: Place = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Retried):
    """The first arm whose condition holds; without one, `default`; without that, on."""

    TYPE: ClassVar[str] = "choice"

    choices: tuple[Arm, ...]
    default: States | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Retried):
    """A list of states with a scope for errors; transparent to identity unless it has a context.

    Args:
        states: the states.
        finally_: run once when the block has ended, well or badly.
        on_error: what a compensation that fails means (rule 39).
        context: whether it has a context of its own, and its states and variables are hidden (rules 31, 62).
        is_replayed: whether that context is replayed because there is `compensate` in it.
    """

    TYPE: ClassVar[str] = "block"

    states: States
    finally_: States | None = None
    on_error: OnError = "continue"
    context: bool = False
    is_replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Retried):
    """`while` is tested before, `until` after each iteration (rule 29)."""

    TYPE: ClassVar[str] = "loop"

    states: States
    max_iterations: int
    while_: Program | None = None
    until: Program | None = None
    delay: Program | None = None
    on_limit: Literal["fail", "continue"] = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """When a map or parallel is decided (rules 34, 59)."""

    min_successful: int | None = None
    tolerated_failure_count: int | None = None
    tolerated_failure_percentage: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut(Retried):
    """What map and parallel have in common.

    Args:
        max_concurrency: how many slots may be in flight, the suspended ones included; None is all.
        completion: None means that the first failure decides.
        is_nested: whether each slot has a context of its own (rule 32).
        is_replayed: whether its contexts are replayed because there is `compensate` in it (rule 31).
    """

    max_concurrency: int | None = None
    completion: Completion | None = None
    is_nested: bool = False
    is_replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(FanOut):
    """Lists of states by branch name; the result is an object keyed by branch."""

    TYPE: ClassVar[str] = "parallel"

    branches: Mapping[str, States]


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(FanOut):
    """A list of states for each item, or for each batch of `batch_size` items."""

    TYPE: ClassVar[str] = "map"

    items: Program
    states: States
    item_name: Program | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Node):
    """Assign and output only."""

    TYPE: ClassVar[str] = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed(Node):
    """Ends the workflow, with `output` as its result."""

    TYPE: ClassVar[str] = "succeed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(Node):
    """Raises an error."""

    TYPE: ClassVar[str] = "fail"

    error: Program
    cause: Program | None = None
    data: Program | None = None


AnyNode: TypeAlias = (
    Invoke
    | Step
    | Aws
    | Http
    | ChildWorkflow
    | Wait
    | WaitForCallback
    | WaitForCondition
    | Choice
    | Block
    | Loop
    | Parallel
    | Map
    | Pass
    | Succeed
    | Fail
)

NODE_TYPES: Final[dict[str, type[AnyNode]]] = {kind.TYPE: kind for kind in get_args(AnyNode)}


@dataclass(frozen=True, slots=True)
class States:
    """A list of states; `positions` says where a `next` goes."""

    nodes: tuple[AnyNode, ...]
    positions: Mapping[str, int]

    @classmethod
    def of(cls, nodes: Sequence[AnyNode]) -> States:
        """Return the list with its positions."""
        positions = {node.name: position for position, node in enumerate(nodes)}
        return cls(tuple(nodes), {**positions, END: len(nodes)})


class OperationIds(dict[str, str]):
    """Operation ids by path: hashing a path costs as much as replaying its operation."""

    _KEPT: ClassVar[int] = 100_000

    def __missing__(self, path: str) -> str:
        if len(self) >= self._KEPT:
            self.clear()
        made = self[path] = operation_id(path)
        return made


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One workflow, ready to run.

    Args:
        name: the workflow's name.
        states: the top-level states.
        version: the author's own version text.
        file: how the workflow's file was named when it was compiled; only for messages.
        engine: revision of the replay rules it was compiled for.
        input_schema: JSON Schema of the input, with file references resolved, or None.
        output_schema: likewise for the output.
        output: the workflow's output; without one it is the result of the last top-level state.
        vars: initial workflow variables.
        env: names of the environment that templates may read.
        secrets: where the secrets come from on AWS, by name.
        timeout: how long the top-level states may take.
        catch: the workflow's own catchers.
        finally_: states that run once when the others have ended, well or badly.
        on_error: what a compensation that fails means (rule 39).
    """

    name: str
    states: States
    version: str | None = None
    file: str = ""
    engine: int = ENGINE
    input_schema: Json = None
    output_schema: Json = None
    output: Program | None = None
    vars: Mapping[str, Program] = field(default_factory=dict[str, Program])
    env: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout: Program | None = None
    catch: tuple[Catcher, ...] = ()
    finally_: States | None = None
    on_error: OnError = "continue"

    @cached_property
    def operation_ids(self) -> OperationIds:
        """The ids of the paths that executions of this plan have come past, kept between invocations."""
        return OperationIds()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the plan without places and file name, as 64 hex digits."""
        return hashlib.sha256(values.canonical_bytes(_to_object(self, places=False))).hexdigest()

    def span(self, place: Place) -> Span:
        """Return a place as a span of the workflow's file (without its text)."""
        return Span(source=Source(name=self.file), start=Mark(*place[:2]), end=Mark(*place[2:]))

    def nodes(self) -> Iterator[AnyNode]:
        """Give every node, outer before inner, in the order of the file; not those of inline workflows."""
        yield from walk(self.states)
        for catcher in self.catch:
            if catcher.states:
                yield from walk(catcher.states)
        if self.finally_:
            yield from walk(self.finally_)

    def place_of(self, state: str | None) -> Span | None:
        """Return where a state stands, be it in an inline workflow, or None."""
        for node in self.nodes():
            if node.name == state:
                return self.span(node.at)
            if isinstance(node, ChildWorkflow) and node.inline and (found := node.inline.place_of(state)):
                return found
        return None

    def to_json(self) -> Object:
        """Return the plan as a JSON object that :func:`from_json` reads back."""
        return {"format": FORMAT, "digest": self.digest, **_to_object(self, places=True)}


def walk(states: States) -> Iterator[AnyNode]:
    """Give every node, outer before inner, in the order of the file."""
    for node in states.nodes:
        yield node
        for inner in _inner(node):
            yield from walk(inner)


def _inner(node: AnyNode) -> Iterator[States]:
    lists: list[States | None] = []
    match node:
        case Block():
            lists = [node.states, node.finally_]
        case Loop() | Map():
            lists = [node.states]
        case Choice():
            lists = [*(arm.states for arm in node.choices), node.default]
        case Parallel():
            lists = list(node.branches.values())
        case WaitForCallback():
            lists = [node.submit]
        case _:
            pass
    lists += [*(catcher.states for catcher in node.catch), node.compensate]
    yield from filter(None, lists)


# JSON: each field name has one form wherever it appears.

_PROGRAM = frozenset(
    {
        "when", "output", "label", "function", "payload", "tenant_id", "duration", "until", "while_", "delay",
        "error", "cause", "data", "interval", "increment", "max_delay", "max_duration", "timeout", "params", "request",
        "heartbeat_timeout", "initial", "items", "item_name",
    }
)  # fmt: skip
_PROGRAMS = frozenset({"assign", "vars"})
_STATES = frozenset({"states", "default", "compensate", "finally_", "submit"})
_TEXTS = frozenset({"errors", "allow", "env", "renamed_from"})

_T = TypeVar("_T")


def _to_object(thing: object, *, places: bool) -> Object:
    made: Object = {}
    if isinstance(thing, Node):
        made["type"] = thing.TYPE
    for item in dataclasses.fields(thing):  # type: ignore[arg-type]
        value: object = getattr(thing, item.name)
        if value == (item.default if item.default is not MISSING else _made(item.default_factory)):
            continue
        if item.name in ("at", "file") and not places:
            continue
        made[item.name.rstrip("_")] = _to_json(value, places=places)
    return made


def _made(factory: object) -> object:
    """Return what a field without a fixed default is when it is not given; one that must be given is never that."""
    return MISSING if factory is MISSING else cast("Callable[[], object]", factory)()


def _to_json(value: object, *, places: bool) -> Json:
    if isinstance(value, Program):
        return value.tree
    if isinstance(value, States):
        return [_to_object(node, places=places) for node in value.nodes]
    if isinstance(value, (Node, Plan, Arm, Catcher, Completion, Retrier)):
        return _to_object(value, places=places)
    if isinstance(value, tuple):
        return [_to_json(item, places=places) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        return {key: _to_json(item, places=places) for key, item in cast("dict[str, object]", value).items()}
    return cast("Json", value)


def _node(data: Object) -> AnyNode:
    return _from_object(NODE_TYPES[cast("str", data["type"])], data)


def _states(data: Json) -> States:
    return States.of([_node(cast("Object", item)) for item in cast("list[Json]", data)])


def _programs(data: Json) -> dict[str, Program]:
    return {name: Program(tree) for name, tree in cast("Object", data).items()}


def _branches(data: Json) -> dict[str, States]:
    return {name: _states(states) for name, states in cast("Object", data).items()}


def _one(kind: type[_T]) -> Callable[[Json], _T]:
    return lambda data: _from_object(kind, cast("Object", data))


def _ranges(data: Json) -> tuple[tuple[Json, ...], ...]:
    return tuple(tuple(cast("list[Json]", item)) for item in cast("list[Json]", data))


def _several(kind: type[_T]) -> Callable[[Json], tuple[_T, ...]]:
    return lambda data: tuple(_from_object(kind, cast("Object", item)) for item in cast("list[Json]", data))


def _same(data: Json) -> Json:
    return data


def _tuple(data: Json) -> tuple[Json, ...]:
    return tuple(cast("list[Json]", data))


_READERS: Final[dict[str, Callable[[Json], object]]] = {
    **dict.fromkeys(_PROGRAM, Program),
    **dict.fromkeys(_PROGRAMS, _programs),
    **dict.fromkeys(_STATES, _states),
    **dict.fromkeys(_TEXTS, _tuple),
    "at": _tuple,
    "retry": _several(Retrier),
    "catch": _several(Catcher),
    "choices": _several(Arm),
    "branches": _branches,
    "completion": _one(Completion),
    "poll": _one(Retrier),
    "check": lambda data: _node(cast("Object", data)),
    "inline": _one(Plan),
    "success": _ranges,
}
_RENAMED: Final = {"while": "while_", "finally": "finally_"}
_NOT_FIELDS: Final = frozenset({"type", "format", "digest"})


def _from_object(kind: type[_T], data: Object) -> _T:
    fields: dict[str, object] = {}
    for key, value in data.items():
        if key in _NOT_FIELDS:
            continue
        name = _RENAMED.get(key, key)
        fields[name] = _READERS.get(name, _same)(value)
    return kind(**fields)


def from_json(data: Json) -> Plan:
    """Return the plan that :meth:`Plan.to_json` wrote.

    Raises:
        UsageError: DF501, not a plan, a damaged one, or one of a newer format.
    """
    if not values.is_object(data) or not isinstance(data.get("format"), int):
        raise UsageError(Diagnostic(code="DF501", message="this is not a compiled plan", hint=_HINT))
    if cast("int", data["format"]) > FORMAT:
        raise UsageError(
            Diagnostic(
                code="DF501",
                message=f"the plan has format {data['format']}, this durableflow reads up to {FORMAT}",
                hint="install the version of durableflow that compiled it, or compile the workflow again",
            )
        )
    try:
        return _from_object(Plan, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            Diagnostic(code="DF501", message=f"the plan is damaged: {type(error).__name__}: {error}", hint=_HINT)
        ) from error


_HINT = "make it with `durableflow compile WORKFLOW`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project file says that the function on AWS has to know; None where it says nothing (rule 42).

    Args:
        offload_bytes: the size above which results go to `offload_s3`.
        offload_s3: `bucket/prefix`.
        operations_max: operations that an execution may have.
        http_allow: hosts that may be reached without TLS and at private addresses.
        aws_allow: the actions that aws states may call.
    """

    offload_bytes: int | None = None
    offload_s3: str | None = None
    operations_max: int | None = None
    http_allow: tuple[str, ...] | None = None
    aws_allow: tuple[str, ...] | None = None

    def to_json(self) -> Object:
        """Return what is said."""
        said: Object = {}
        for each in fields(self):
            value: Json | tuple[str, ...] = getattr(self, each.name)
            if value is not None:
                said[each.name] = list(value) if isinstance(value, tuple) else value
        return said


NO_SETTINGS: Final = Settings()


def to_bundle(plans: Sequence[Plan], settings: Settings = NO_SETTINGS) -> Object:
    """Return several plans, chosen from by name, and the settings as the content of one `plan.json`."""
    made: Object = {"durableflow": FORMAT, "workflows": {plan.name: plan.to_json() for plan in plans}}
    if said := settings.to_json():
        made["settings"] = said
    return made


def settings_of(data: Json) -> Settings:
    """Return the settings in a `plan.json`; a single plan has none.

    Raises:
        UsageError: DF501, they are damaged.
    """
    said = data.get("settings", {}) if values.is_object(data) else {}
    if not values.is_object(said) or not all(_is_setting(name, value) for name, value in said.items()):
        raise UsageError(Diagnostic(code="DF501", message="the settings of the plan are damaged", hint=_HINT))
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return Settings(**cast("dict[str, Any]", known))


_SETTINGS: Final = {
    "offload_bytes": int,
    "offload_s3": str,
    "operations_max": int,
    "http_allow": list,
    "aws_allow": list,
}


def _is_setting(name: str, value: Json) -> bool:
    if type(value) is not _SETTINGS.get(name):
        return False
    return not isinstance(value, list) or all(isinstance(each, str) for each in value)


def from_bundle(data: Json) -> dict[str, Plan]:
    """Return the plans of a `plan.json` by name; a single plan counts as a bundle of one.

    Raises:
        UsageError: as :func:`from_json`.
    """
    if values.is_object(data) and values.is_object(workflows := data.get("workflows")):
        return {name: from_json(plan) for name, plan in workflows.items()}
    plan = from_json(data)
    return {plan.name: plan}
