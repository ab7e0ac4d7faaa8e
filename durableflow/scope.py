"""Which data does a node see?

Templates look names up through a :class:`Site`: one visit of one state. What is big or costly (an input of megabytes, a
result that nobody reads) is decoded when a template first reads it, and only then.

A :class:`Scope` is where states live: a list of states and the blocks, choices and loops inside it share one set of
records and variables; an iteration has its own path prefix, a map body (later) its own records and variables.

Source: language.md 3, 8 and 12, rules 7-11, 15, 26, 64, 65, 77.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from durableflow import values
from durableflow.errors import ReplayError, diagnostic
from durableflow.expressions import Budget, Undefined, View
from durableflow.operations import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.operations import Operation
    from durableflow.plan import AnyNode, Plan
    from durableflow.values import Json, Object

_STORED_AS_OBJECT: Final = "$value"
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
    # Looking at the text first keeps the unwrapping off the hot path.
    if text.startswith('{"$value"') and isinstance(value, dict) and len(value) == 1:
        return value[_STORED_AS_OBJECT]
    return value


class Lazy:
    """A JSON value that is decoded when first read."""

    __slots__ = ("_text", "_value")

    def __init__(self, value: Json = None, *, text: str | None = None) -> None:
        self._value = value
        self._text = text

    def get(self) -> Json:
        """Return the value.

        Raises:
            ReplayError: what is recorded under an operation of ours is not JSON.
        """
        if self._text is not None:
            try:
                self._value = stored_value(self._text)
            except values.ValueRefusedError as error:
                problem = diagnostic("DF504", f"a recorded result is not JSON: {error}")
                raise ReplayError(problem, operation_id="", expected=None, recorded=None) from error
            self._text = None
        return self._value


NULL: Final = Lazy()


class Timeline:
    """The recorded times that a branch has come past, in program order (rules 26, 64).

    Ends are kept as operation ids, since the end of an operation that was just reported is only known from the answer.
    """

    __slots__ = ("_known", "_latest", "_operations", "_start", "ends", "passed")

    def __init__(self, operations: Mapping[str, Operation], start: int) -> None:
        self._operations = operations
        self._start = start
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
        if position < self._known:
            return self._latest_of(self._start, 0, position)
        self._latest = self._latest_of(self._latest, self._known, position)
        self._known = position
        return self._latest

    def _latest_of(self, latest: int, first: int, last: int) -> int:
        for operation_id in self.ends[first:last]:
            latest = max(latest, self._operations[operation_id].get("EndTimestamp", latest))
        return latest


class Record(View):
    """What `states.<name>` gives: the last visit of a state.

    Args:
        status: `succeeded`, `skipped`, `caught` or `failed`.
        result: the projected result.
        error: for `caught` and `failed`.
        operation: the state's own operation, or None when it has none; then both times are `context.now` after it.
    """

    __slots__ = ("_operation", "_position", "_timeline", "error", "result", "status")

    def __init__(
        self,
        status: str,
        result: Lazy = NULL,
        *,
        timeline: Timeline,
        error: Json = None,
        operation: Operation | None = None,
    ) -> None:
        self.status = status
        self.result = result
        self.error = error
        self._timeline = timeline
        self._position = len(timeline.ends)
        self._operation = operation

    def get(self, key: str | int) -> object:
        """Return a member of the record."""
        match key:
            case "result":  # by far the most often read
                return self.result.get()
            case "status":
                return self.status
            case "error":
                return self.error
            case "started_at":
                return self._time("StartTimestamp")
            case "ended_at":
                return self._time("EndTimestamp")
            case _:
                return Undefined(f"a state has no '{key}' (it has result, status, error, started_at, ended_at)")

    __getitem__ = get

    def to_json(self) -> Json:
        """Return the whole record."""
        return {
            "result": self.result.get(),
            "status": self.status,
            "error": self.error,
            "started_at": self._time("StartTimestamp"),
            "ended_at": self._time("EndTimestamp"),
        }

    def _time(self, member: str) -> str:
        time = self._operation.get(member) if self._operation else None
        return time_text(time if isinstance(time, int) else self._timeline.now(self._position))


class World:
    """What is the same for every state of an execution."""

    __slots__ = ("_input", "_input_text", "arn", "env", "execution", "plan")

    def __init__(self, plan: Plan, *, execution: Operation, arn: str, env: Mapping[str, str]) -> None:
        self.plan = plan
        self.execution = execution
        self.arn = arn
        # Only what the workflow declares can be read, whatever the environment holds.
        self.env: Object = {name: env[name] for name in plan.env if name in env}
        text = execution.get("ExecutionDetails", {}).get("InputPayload", "")
        self._input_text: str | None = text if text.strip() else "{}"
        self._input: Json = None

    @property
    def input(self) -> Json:
        """The execution's input.

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

    def __init__(self) -> None:
        self.values: Object = {}


class Scope:
    """A list of states and everything transparent inside it.

    Args:
        prefix: what operation paths in it begin with, such as `think_act{3}/`; empty at the top.
        parent_id: the nearest enclosing CONTEXT operation, or None.
        records: the states that have run here, by name.
        variables: the workflow variables.
        visits: how often each state of this scope has been visited.
        names: what else templates see here: `error`, `iteration`, …
    """

    __slots__ = ("names", "parent_id", "prefix", "records", "states", "variables", "visits", "world")

    def __init__(
        self,
        world: World,
        *,
        prefix: str = "",
        parent_id: str | None = None,
        records: dict[str, Record],
        variables: Variables,
        visits: dict[str, int],
        names: Object,
    ) -> None:
        self.world = world
        self.prefix = prefix
        self.parent_id = parent_id
        self.records = records
        self.states = StatesView(records)
        self.variables = variables
        self.visits = visits
        self.names = names

    def naming(self, **names: Json) -> Scope:
        """Return the same scope with more names in it."""
        return Scope(
            self.world,
            prefix=self.prefix,
            parent_id=self.parent_id,
            records=self.records,
            variables=self.variables,
            visits=self.visits,
            names={**self.names, **names},
        )

    def iteration(self, path: str, number: int) -> Scope:
        """Return the scope of one iteration of the loop at a path: own paths, shared records and variables."""
        return Scope(
            self.world,
            prefix=f"{path}{{{number}}}/",
            parent_id=self.parent_id,
            records=self.records,
            variables=self.variables,
            visits={},
            names={**self.names, "iteration": number},
        )


class Site:
    """One visit of one state: what its templates see, and their common budget (language.md 3, rule 9)."""

    __slots__ = ("_budget", "attempt", "extra", "name", "path", "scope", "timeline")

    def __init__(self, scope: Scope, name: str, path: str, timeline: Timeline) -> None:
        self.scope = scope
        self.name = name
        self.path = path
        self.timeline = timeline
        self.attempt = 1
        self.extra: Object = {}
        self._budget: Budget | None = None

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
                return scope.states
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


class StatesView(View):
    """`states`: what has run in this scope."""

    __slots__ = ("_records",)

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records

    def get(self, key: str | int) -> object:
        """Return the record of a state."""
        record = self._records.get(key) if isinstance(key, str) else None
        return Undefined(f"state '{key}' has not run") if record is None else record

    __getitem__ = get

    def to_json(self) -> Json:
        """Return all records."""
        return {name: record.to_json() for name, record in self._records.items()}


class ContextView(View):
    """`context`: execution, workflow, state, now and the idempotency key."""

    __slots__ = ("_site",)

    def __init__(self, site: Site) -> None:
        self._site = site

    def get(self, key: str | int) -> object:
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
        return {key: self.get(key) for key in keys}  # type: ignore[misc]


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
    return Site(scope, name, path, timeline)
