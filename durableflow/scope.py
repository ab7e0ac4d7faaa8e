"""Which data does a node see?

Templates look names up through a :class:`Site`: one visit of one state. What is big or costly (an input of megabytes, a
result that nobody reads) is decoded when a template first reads it, and only then.

A :class:`Scope` is where states live: a list of states and the blocks, choices and loops inside it share one set of
records and variables; an iteration has its own path prefix, a body of a map or parallel its own records and variables.

Source: language.md 3, 8 and 12, rules 7-11, 15, 26, 33, 38, 62-66, 77, 79.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

from durableflow import values
from durableflow.errors import ReplayError, diagnostic
from durableflow.expressions import Budget, Undefined, View
from durableflow.operations import NAME_MAX_CHARACTERS, time_text, wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durableflow.operations import Operation
    from durableflow.plan import AnyNode, OnError, Plan, States
    from durableflow.values import Json, Object

_STORED_AS_OBJECT: Final = "$value"
_OURS_BEGIN: Final = '{"$'
_OURS: Final = frozenset({"$workflow", "$poll", "$error", "$offload", _STORED_AS_OBJECT})


def stored_text(value: Json) -> str:
    """Return the payload under which a value of ours is stored; what could be mistaken for a form of ours is wrapped.

    Source: language.md 12, rule 68.
    """
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _OURS:
        value = {_STORED_AS_OBJECT: value}
    return values.to_text(value)


def stored_value(text: str) -> Json:
    """Return the value that :func:`stored_text` stored."""
    value = values.from_text(text)
    if text.startswith('{"$value"') and isinstance(value, dict) and len(value) == 1:
        return value[_STORED_AS_OBJECT]
    return value


def is_apart(text: str) -> bool:
    """Say whether a recorded text is the pointer to a large result that is kept elsewhere (rule 68)."""
    return text.startswith('{"$offload"')


class Lazy:
    """A JSON value that is decoded, and fetched if it is kept elsewhere, when first read.

    Args:
        value: the value, when it is known.
        text: else its recorded text; None as soon as the value is known.
        load: gives the text that a pointer is to, where the recorded text may be one.

    One is made for nearly every state of a replay: by position, since CPython 3.11 takes twice as long with keywords.
    """

    __slots__ = ("_load", "text", "value")

    def __init__(self, value: Json = None, text: str | None = None, load: Callable[[Json], str] | None = None) -> None:
        self.value = value
        self.text = text
        self._load = load

    def get(self) -> Json:
        """Return the value.

        Raises:
            ReplayError: what is recorded under an operation of ours is not JSON.
            ServiceError: what is kept elsewhere cannot be had.
        """
        text = self.text
        if text is not None:
            try:
                # Looking at the text first keeps what is rare off the hot path.
                self.value = self._special(text) if text.startswith(_OURS_BEGIN) else values.from_text(text)
            except values.ValueRefusedError as error:
                problem = diagnostic("DF504", f"a recorded result is not JSON: {error}")
                raise ReplayError(problem, operation_id="", expected=None, recorded=None) from error
            self.text = None
        return self.value

    def _special(self, text: str) -> Json:
        if not is_apart(text):
            return stored_value(text)
        if self._load is not None:
            return stored_value(self._load(values.from_text(text)))
        problem = diagnostic("DF515", "a result is kept apart, and it is not known where", hint=_OFFLOAD_HINT)
        raise ReplayError(problem, operation_id="", expected=None, recorded=None)


_OFFLOAD_HINT: Final = "name the store of large results under 'offload' in durableflow.yaml, as when it was recorded"
NULL: Final = Lazy()


class Timeline:
    """The recorded times that a branch has come past, in program order (rules 26, 64).

    Ends are kept as operation ids, since the end of an operation that was just reported is only known from the answer.
    """

    __slots__ = ("_known", "_latest", "_outer", "_start", "ends", "operations", "passed")

    def __init__(
        self, operations: Mapping[str, Operation], start: int, *, outer: tuple[Timeline, int] | None = None
    ) -> None:
        self.operations = operations
        self._start = start
        self._outer = outer
        self._known = 0
        self._latest = start
        self.ends: list[str] = []
        """The operations that the branch has come past and that have ended."""
        self.passed: Callable[[str], None] = self.ends.append
        """Note one more of them."""

    def now(self, position: int | None = None) -> int:
        """Return the latest end before a position (default: here) as epoch milliseconds, else the execution's start."""
        if position is None:
            position = len(self.ends)
        if self._outer is not None:
            # What came before the branch counts, and its ends are on record by the time that anyone asks.
            outer, at = self._outer
            self._start = outer.now(at)
            self._latest = max(self._latest, self._start)
            self._outer = None
        if position < self._known:
            return self._latest_of(self._start, 0, position)
        self._latest = self._latest_of(self._latest, self._known, position)
        self._known = position
        return self._latest

    @property
    def last(self) -> str | None:
        """The operation that was come past last, or None; when its end is known, so is every one before it."""
        timeline, at = self, len(self.ends)
        while not at and timeline._outer is not None:
            timeline, at = timeline._outer
        return timeline.ends[at - 1] if at else None

    def branch(self) -> Timeline:
        """Return the timeline of a branch that begins here."""
        return Timeline(self.operations, self._start, outer=(self, len(self.ends)))

    def _latest_of(self, latest: int, first: int, last: int) -> int:
        for operation_id in self.ends[first:last]:
            latest = max(latest, self.operations[operation_id].get("EndTimestamp", latest))
        return latest


class Record(View):
    """What `states.<name>` gives: the last visit of a state.

    Args:
        status: `succeeded`, `skipped`, `caught` or `failed`.
        result: the projected result.
        timeline: of the branch, as far as it has come.
        operation: the id of the state's own operation, or None when it has none; then both times are `context.now`
            after it.
        more: the other members of a map or parallel: `failures` and `summary`.
        error: for `caught` and `failed`.

    Made by position where a replay comes by, as a :class:`Lazy` is.
    """

    __slots__ = ("_operation", "_position", "_timeline", "error", "more", "result", "status")

    def __init__(
        self,
        status: str,
        result: Lazy,
        timeline: Timeline,
        operation: str | None = None,
        more: Object | None = None,
        error: Json = None,
    ) -> None:
        self.status = status
        self.result = result
        self.error = error
        self.more = more
        self._timeline = timeline
        self._position = len(timeline.ends)
        self._operation = operation

    def __getitem__(self, key: str | int) -> object:  # noqa: PLR0911 - one return for each member
        """Return a member of the record."""
        match key:
            case "result":  # by far the most often read
                result = self.result
                return result.value if result.text is None else result.get()
            case "status":
                return self.status
            case "error":
                return self.error
            case "started_at":
                return self._time("StartTimestamp")
            case "ended_at":
                return self._time("EndTimestamp")
            case _:
                if self.more is not None and key in self.more:
                    return self.more[key]
                members = ", ".join(["result", "status", "error", "started_at", "ended_at", *(self.more or ())])
                return Undefined(f"this state has no '{key}' (it has {members})")

    def to_json(self) -> Json:
        """Return the whole record."""
        return {
            "result": self.result.get(),
            "status": self.status,
            "error": self.error,
            "started_at": self._time("StartTimestamp"),
            "ended_at": self._time("EndTimestamp"),
            **(self.more or {}),
        }

    def _time(self, member: str) -> str:
        operation = self._timeline.operations.get(self._operation) if self._operation else None
        time = operation.get(member) if operation else None
        return time_text(time if isinstance(time, int) else self._timeline.now(self._position))


class World:
    """What is the same for every state of a workflow in an execution; an inline workflow has a world of its own.

    Args:
        plan: the workflow.
        execution: the EXECUTION operation.
        arn: of the execution.
        env: the whole environment; only what the workflow declares can be read, whatever it holds.
        given: the input of an inline workflow; otherwise it is the execution's.
    """

    __slots__ = ("_environment", "_input", "_input_text", "arn", "env", "execution", "plan")

    def __init__(
        self, plan: Plan, *, execution: Operation, arn: str, env: Mapping[str, str], given: Lazy | None = None
    ) -> None:
        self.plan = plan
        self.execution = execution
        self.arn = arn
        self._environment = env
        self.env: Object = {name: env[name] for name in plan.env if name in env}
        text = execution.get("ExecutionDetails", {}).get("InputPayload", "")
        self._input_text: str | None = text if text.strip() else "{}"
        self._input: Json = None
        if given is not None:
            self._input_text, self._input = None, given.get()

    def inner(self, plan: Plan, given: Json) -> World:
        """Return the world of an inline workflow with its input (rule 33)."""
        return World(plan, execution=self.execution, arn=self.arn, env=self._environment, given=Lazy(given))

    @property
    def input(self) -> Json:
        """The workflow's input.

        Raises:
            ValueRefusedError: it is not JSON; the interpreter looks before any state does.
        """
        if self._input_text is not None:
            self._input = values.from_text(self._input_text)
            self._input_text = None
        return self._input


class Variables:
    """The workflow variables of a scope, shared by everything transparent in it.

    `values` is replaced and never changed: a template may have passed the whole object on.
    """

    __slots__ = ("values",)

    def __init__(self, values: Object | None = None) -> None:
        self.values: Object = values or {}


class Undo:
    """The `compensate` list of a state that has completed, and what it sees (rules 38, 39).

    Args:
        states: the list.
        scope: where the state stands.
        name: the state's name.

    The records are kept as they were then: another iteration may have overwritten them since.
    """

    __slots__ = ("name", "records", "scope", "states")

    def __init__(self, states: States, scope: Scope, name: str) -> None:
        self.states = states
        self.scope = scope
        self.name = name
        self.records = dict(scope.records)


class Undos:
    """What would have to be undone, in program order.

    The slots of a map or parallel have lists of their own, which stand as a group where the map stands: so their order
    is that of their indices, and what an abandoned slot had completed is there as well.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[Undo | list[Undos]] = []

    @property
    def mark(self) -> int:
        """The place of what is added next."""
        return len(self._entries)

    def add(self, undo: Undo) -> None:
        """Note that a state has completed."""
        self._entries.append(undo)

    def group(self) -> list[Undos]:
        """Add a group and return it, for the slots' lists."""
        made: list[Undos] = []
        self._entries.append(made)
        return made

    def take(self, mark: int) -> Undo | None:
        """Remove and return the latest that was added since `mark`, or None."""
        while len(self._entries) > mark:
            last = self._entries.pop()
            if isinstance(last, Undo):
                return last
            for undos in last:
                self._entries.extend(undos._entries)  # noqa: SLF001 - of the same class
        return None

    def forget(self, mark: int) -> None:
        """Remove all that was added since `mark`."""
        del self._entries[mark:]


class Mode(Enum):
    """What may happen in a scope."""

    OPEN = "open"
    """What is missing is started."""
    CLOSED = "closed"
    """Its context has finished: what is missing there is a mismatch (rule 79)."""
    FROZEN = "frozen"
    """It was cut off: what was open then counts as running for ever, what is missing was never started (rule 63)."""


class Scope:
    """A list of states and everything transparent inside it.

    Args:
        prefix: what operation paths in it begin with, such as `think_act{3}/`; empty at the top.
        others: further prefixes under which operations may be recorded, since a scope around was renamed (rule 66).
        parent_id: the nearest enclosing CONTEXT operation, or None.
        records: the states that have run here, by name; `states` of templates.
        variables: the workflow variables.
        visits: how often each state of this scope has been visited.
        names: what else templates see here: `error`, `iteration`, `item`, …
        undos: what a failure of the block around would have to undo.
        mode: what may happen here.
        open_ids: in a frozen scope, the first 8 hex digits of the ids of what was open when it was cut off.
        flat: in a flat body, the length of the prefix before the map's own path; Names begin there (rule 77).
        is_reserved: whether the operations kept below the limit may be used here (rule 76).
        on_error: what a compensation that fails means here (rules 39, 59).
    """

    __slots__ = (
        "flat",
        "is_reserved",
        "mode",
        "names",
        "on_error",
        "open_ids",
        "others",
        "parent_id",
        "prefix",
        "records",
        "undos",
        "variables",
        "visits",
        "world",
    )

    def __init__(self, world: World) -> None:
        self.world = world
        self.prefix = ""
        self.others: tuple[str, ...] = ()
        self.parent_id: str | None = None
        self.records = Records()
        self.variables = Variables()
        self.visits: dict[str, int] = {}
        self.names: Object = {}
        self.undos = Undos()
        self.mode = Mode.OPEN
        self.open_ids: frozenset[str] = frozenset()
        self.flat: int | None = None
        self.is_reserved = False
        self.on_error: OnError = "continue"

    def _like(self) -> Scope:
        made: Scope = Scope.__new__(Scope)
        made.world = self.world
        made.prefix = self.prefix
        made.others = self.others
        made.parent_id = self.parent_id
        made.records = self.records
        made.variables = self.variables
        made.visits = self.visits
        made.names = self.names
        made.undos = self.undos
        made.mode = self.mode
        made.open_ids = self.open_ids
        made.flat = self.flat
        made.is_reserved = self.is_reserved
        made.on_error = self.on_error
        return made

    def naming(self, **names: Json) -> Scope:
        """Return the same scope with more names in it."""
        made = self._like()
        made.names = {**self.names, **names}
        return made

    def iteration(self, site: Site, number: int) -> Scope:
        """Return the scope of one iteration of a loop: own paths, shared records and variables."""
        made = self._like()
        made.prefix = f"{site.attempt_path}{{{number}}}/"
        made.others = tuple(f"{path}{{{number}}}/" for path, _ in site.others)
        made.visits = {}
        made.names = {**self.names, "iteration": number}
        return made

    def inside(self, site: Site, parent_id: str) -> Scope:
        """Return the scope inside the context of a state: own paths, shared records and variables."""
        made = self._like()
        made.prefix = f"{site.attempt_path}/"
        made.others = ()
        made.parent_id = parent_id
        made.visits = {}
        return made

    def hidden(self, prefix: str, parent_id: str | None, names: Object | None = None) -> Scope:
        """Return a scope whose states nobody sees from outside, with a copy of the variables and more names."""
        made = self._like()
        made.prefix = prefix
        made.others = ()
        made.parent_id = parent_id
        made.records = Records(outer=self.records)
        made.variables = Variables(self.variables.values)
        made.visits = {}
        if names:
            made.names = {**self.names, **names}
        return made

    def workflow(self, world: World, prefix: str, parent_id: str) -> Scope:
        """Return the scope of an inline workflow, which sees nothing of what is around it (rule 33)."""
        made = Scope(world)
        made.prefix = prefix
        made.parent_id = parent_id
        made.mode = self.mode
        made.open_ids = self.open_ids
        made.is_reserved = self.is_reserved
        return made

    def undoing(self, undo: Undo, error: Json) -> Scope:
        """Return the scope in which this one runs an undo: the place of the state, but what is done is done here."""
        made = undo.scope._like()  # noqa: SLF001 - of the same class
        made.parent_id = self.parent_id
        made.mode = self.mode
        made.open_ids = self.open_ids
        made.is_reserved = True
        made.records = Records({**undo.scope.records, **undo.records}, outer=undo.scope.records.outer)
        made.names = {**made.names, "error": error}
        made.undos = Undos()
        return made

    def reserved(self, error: Json) -> Scope:
        """Return the scope of `finally`: it sees the error, and may use what is kept of the operations for it."""
        made = self._like()
        made.names = {**self.names, "error": error}
        made.is_reserved = True
        return made

    def in_mode(self, mode: Mode, open_ids: frozenset[str] = frozenset()) -> Scope:
        """Return the same scope in a mode."""
        made = self._like()
        made.mode = mode
        made.open_ids = open_ids
        return made

    def policed(self, on_error: OnError) -> Scope:
        """Return the same scope with what a compensation that fails means in it."""
        made = self._like()
        made.on_error = on_error
        return made


class Site:
    """One visit of one state: what its templates see, and their common budget (language.md 3, rule 9).

    `path` is that of the visit, `wire` its Name without a label; `others` are paths and Names that it may have had
    under former names.
    """

    __slots__ = ("_budget", "attempt", "extra", "name", "others", "path", "scope", "timeline", "wire")

    def __init__(self, scope: Scope, name: str, path: str, timeline: Timeline) -> None:
        self.scope = scope
        self.name = name
        self.wire = name
        self.path = path
        self.others: tuple[tuple[str, str], ...] = ()
        self.timeline = timeline
        self.attempt = 1
        self.extra: Object = {}
        self._budget: Budget | None = None

    @property
    def attempt_path(self) -> str:
        """The path of the attempt that is being made: from the second on it says so."""
        return self.path if self.attempt == 1 else f"{self.path}@{self.attempt}"

    def knowing(self, extra: Object) -> Site:
        """Return the same visit with more names and a budget of its own."""
        made = Site(self.scope, self.name, self.path, self.timeline)
        made.attempt = self.attempt
        made.extra = {**self.extra, **extra}
        return made

    @property
    def budget(self) -> Budget:
        """What the templates of this visit may still use."""
        if self._budget is None:
            self._budget = Budget()
        return self._budget

    def lookup(self, name: str) -> object:  # noqa: PLR0911 - one return for each root name
        """Return what a root name of templates stands for here."""
        if name in self.extra:
            return self.extra[name]
        scope = self.scope
        match name:
            case "states":
                return scope.records
            case "input":
                return scope.world.input
            case "vars":
                return scope.variables.values
            case "context":
                return ContextView(self)
            case "env":
                return scope.world.env
            case _:
                if name in scope.names:
                    return scope.names[name]
                return Undefined(f"'{name}' is not defined here")

    def renew(self) -> None:
        """Begin with a new budget: for templates that are evaluated in other invocations than those before them."""
        self._budget = None

    @property
    def idempotency_key(self) -> str:
        """The key of this state in this execution, the same over all attempts of it (rules 54, 65)."""
        execution = self.scope.world.execution["Id"]
        return blake2b(f"{execution}\n{self.path}".encode(), digest_size=16).hexdigest()


class Records(dict[Any, Any], View):
    """The states that have run in a scope, by name: `states` of templates, behind which are those of the scopes around.

    A dictionary, so that a template's way to a record is a look-up and no call.
    """

    __slots__ = ("outer",)

    def __init__(self, records: Mapping[str, Record] | None = None, *, outer: Records | None = None) -> None:
        super().__init__(records or {})
        self.outer = outer

    def __missing__(self, key: object) -> object:
        return Undefined(f"state '{key}' has not run") if self.outer is None else self.outer[key]

    def to_json(self) -> Json:
        """Return all records."""
        outer = {} if self.outer is None else cast("Object", self.outer.to_json())
        return {**outer, **{name: record.to_json() for name, record in self.items()}}


class ContextView(View):
    """`context`: execution, workflow, state, now and the idempotency key."""

    __slots__ = ("_site",)

    def __init__(self, site: Site) -> None:
        self._site = site

    def __getitem__(self, key: str | int) -> object:
        """Return a member of `context`."""
        site = self._site
        world = site.scope.world
        match key:
            case "now":
                return time_text(site.timeline.now())
            case "idempotency_key":
                return site.idempotency_key
            case "state":
                return {"name": site.name, "path": site.path, "attempt": site.attempt}
            case "workflow":
                return {"name": world.plan.name, "version": world.plan.version, "digest": world.plan.digest}
            case "execution":
                return _execution_value(world)
            case _:
                return Undefined(f"context has no '{key}' (it has execution, workflow, state, now, idempotency_key)")

    def to_json(self) -> Json:
        """Return all of `context`."""
        keys = ("execution", "workflow", "state", "now", "idempotency_key")
        return {key: self[key] for key in keys}  # type: ignore[misc]


def _execution_value(world: World) -> Object:
    # arn:…:function:NAME:VERSION/durable-execution/EXECUTION NAME/ID (protocol.md 1.4)
    parts = world.arn.split("/")
    return {
        "id": world.execution["Id"],
        "arn": world.arn,
        "name": parts[-2] if len(parts) > 1 else world.execution.get("Name", world.execution["Id"]),
        "start_time": time_text(world.execution.get("StartTimestamp", 0)),
    }


def site_of(scope: Scope, node: AnyNode, timeline: Timeline, visit: int) -> Site:
    """Return the site of the n-th visit of a state, whose path says so from the second on (language.md 8)."""
    name = node.name
    path = f"{scope.prefix}{name}" if visit == 1 else f"{scope.prefix}{name}#{visit}"
    site = Site(scope, name, path, timeline)
    if scope.flat is not None:
        site.wire = path[scope.flat :]
        if len(site.wire) > NAME_MAX_CHARACTERS:
            site.wire = wire_name(site.wire)
    return site


def former_paths(scope: Scope, node: AnyNode, visit: int) -> Iterator[tuple[str, str]]:
    """Give path and name under which a state may be recorded since it, or a scope around it, was renamed (rule 66)."""
    for prefix in (scope.prefix, *scope.others):
        for name in (node.name, *node.renamed_from):
            yield (f"{prefix}{name}" if visit == 1 else f"{prefix}{name}#{visit}"), name
