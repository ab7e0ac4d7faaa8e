"""Given what is recorded, what happens next?

This module decides and does nothing else: no clock, no I/O, no thread, no randomness. Time comes in with recorded
operations, delays go out as numbers, work goes out as calls. Same inputs, same bytes.

The idea: a :class:`Run` walks the Plan from its beginning, in every invocation. A state whose operation is finished
answers from the record, so the walk is a replay until it meets its frontier: an operation that is absent (an update
asks to start it), or unfinished (the branch is blocked). A branch is a Python generator; what it yields is the key of
what it waits for, an operation's id or :data:`ANSWERED`, and whoever learns of a change resumes just the branches that
waited for it. So N operations in one invocation cost O(N), and a parallel is more branches, nothing else.

Two checks fail closed before anything new is started (language.md 8): each recorded operation must be what the Plan
has at that path, and no recorded operation may be left unvisited.

Source: language.md 4-8 and 12; protocol.md 4-6.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

from durableflow import faults, retries, values
from durableflow import operations as wire
from durableflow.errors import Fault, ReplayError, ServiceError, diagnostic
from durableflow.expressions import EvaluationError, to_display
from durableflow.library import kind, parse_duration, parse_time
from durableflow.operations import TERMINAL, operation_id, wire_name
from durableflow.plan import (
    END,
    Block,
    Choice,
    Fail,
    Invoke,
    Loop,
    Pass,
    Step,
    Succeed,
    Wait,
    walk,
)
from durableflow.scope import NULL, Lazy, Record, Scope, Site, Timeline, Variables, World, site_of, stored_text
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from durableflow.errors import Diagnostic
    from durableflow.expressions import Program
    from durableflow.operations import ErrorObject, Operation, OperationType, Update
    from durableflow.plan import AnyNode, Catcher, Node, Plan, Retrier, States
    from durableflow.values import Json, Object

SchemaCheck: TypeAlias = "Callable[[Json, Json], str | None]"
"""(schema, value) -> what does not fit, in one line, or None. Injected: the core imports no jsonschema (rule 53)."""

_T = TypeVar("_T")

VISITS_MAX: Final = 10_000
"""How often a state may be visited by `next` (rule 29)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Work to be done outside the core: one attempt of a step.

    Args:
        operation_id: of the step; also the key of the Completion that answers this call.
        node: the step, with `handler` and `semantics`.
        path: the state's path, for logs.
        payload: the rendered payload.
        attempt: from 1.
        idempotency_key: 32 lowercase hex digits, the same for every attempt (rule 65).
    """

    operation_id: str
    node: Step
    path: str
    payload: Json
    attempt: int
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How a call ended: with a JSON value (already through values.checked), or with a fault.

    Args:
        operation_id: of the Call.
        result: the value; ignored when there is a fault.
        fault: the failure; its `origin` is filled in by the interpreter.
        ended_at: epoch milliseconds by the clock of whoever did the work, for `max_duration` (rule 75).
    """

    operation_id: str
    result: Json = None
    fault: Fault | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The execution is over. `result` is its JSON text, or empty when an EXECUTION update carries it."""

    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The execution is over with an error.

    Args:
        error: as it goes on the wire.
        problem: the same for people, pointing at the state in the workflow file.
        state: the name of the state that raised it, or None.
        mismatch: set when record and Plan disagree.
    """

    error: ErrorObject
    problem: Diagnostic
    state: str | None = None
    mismatch: ReplayError | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Nothing can run until the service completes something that it holds as pending."""


Outcome: TypeAlias = Succeeded | Failed | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens next.

    The driver records `updates` first, in one batch (several when they exceed the batch limits), then starts `calls`,
    and only then believes `outcome`.

    Args:
        updates: to be recorded, in order.
        calls: to be started once the updates are recorded.
        outcome: how this invocation ends, or None while updates are to be answered or calls run.
    """

    updates: tuple[Update, ...] = ()
    calls: tuple[Call, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the interpreter found at an operation: for logs and traces (protocol.md 4.1, "span status" and "track").

    Args:
        operation_id: of the operation.
        path: its path.
        span_status: `replayed_succeeded`, `replayed_failed`, `replayed_stopped`, `replayed_terminal`, `suspended`,
            `non_deterministic`, or `started`.
        is_tracked: whether it counts as replayed; it does on every terminal replay and never on suspension.
    """

    operation_id: str
    path: str
    span_status: str
    is_tracked: bool


ANSWERED: Final = ""
"""The key of a branch that waits until every update made so far has been answered; no operation has this id."""

Branch: TypeAlias = "Generator[str, None, None]"
Steps: TypeAlias = "Generator[str, None, _T]"
"""A part of a branch that gives a value: what it yields is the key of what the branch waits for."""

_SPAN_STATUS: Final = {
    "SUCCEEDED": "replayed_succeeded",
    "FAILED": "replayed_failed",
    "STOPPED": "replayed_stopped",
    "CANCELLED": "replayed_terminal",
    "TIMED_OUT": "replayed_terminal",
}
# How the seed's message names the types (protocol.md 4.1, row 1).
_TYPE_WORDS: Final = {
    "EXECUTION": "Execution",
    "CONTEXT": "Context",
    "STEP": "Step",
    "WAIT": "Wait",
    "CALLBACK": "Callback",
    "CHAINED_INVOKE": "Invoke",
}
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9$_.:\-/]{1,256}")
_TENANT_ID = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")


class _Ended(Exception):  # noqa: N818 - control flow, not an error: `succeed` ends the workflow from wherever it stands
    """`succeed` was come to.

    Args:
        output: the workflow's result, when `succeed` gives one.
        last: else the last state that ran before it; the innermost list that has one fills it in.
    """

    def __init__(self, output: Lazy | None) -> None:
        super().__init__()
        self.output = output
        self.last: Record | None = None


class Run:
    """One invocation of an execution: fed with what changed, answers with what happens next.

    Args:
        plan: what runs.
        execution_arn: of the execution; what `context.execution` says.
        env: the environment; templates see the names that the workflow declares.
        check_schema: checks a value against a JSON Schema; without it schemas are not checked.
        visited: called with each Visit.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        execution_arn: str = "",
        env: Mapping[str, str] | None = None,
        check_schema: SchemaCheck | None = None,
        visited: Callable[[Visit], None] | None = None,
    ) -> None:
        self.plan = plan
        self._arn = execution_arn
        self._env = env or {}
        self._check_schema = check_schema
        self._visited = visited
        self._operations: dict[str, Operation] = {}
        self._unvisited: set[str] = set()
        self._started: set[str] = set()
        self._paths: list[str] = []
        self._completions: dict[str, Completion] = {}
        self._running: set[str] = set()
        self._updates: list[Update] = []
        self._calls: list[Call] = []
        self._ready: deque[Branch] = deque()
        self._blocked: dict[str, list[Branch]] = {}
        self._is_unanswered = False
        self._is_first_invocation = False
        self._outcome: Succeeded | Failed | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether recorded operations are still to be come past; loggers stay quiet while it holds."""
        return bool(self._unvisited)

    def advance(self, operations: Iterable[Operation] = (), completions: Iterable[Completion] = ()) -> Decision:
        """Take in what changed and go as far as possible.

        The first call brings the whole recorded state. Each later one means that every update of the decision before
        has been answered.

        Args:
            operations: those that are new or changed, times in epoch milliseconds.
            completions: of calls that earlier decisions started.

        Raises:
            ValueError: the first call brings no EXECUTION operation, or the run is over.
            ServiceError: retryable; the service accepted an update and does not show its operation.
        """
        if self._outcome is not None:
            raise ValueError("this run is over")
        self._updates = []
        self._calls = []
        self._is_unanswered = False
        if self._operations:
            self._take(operations)
        else:
            self._begin(operations)
        for completion in completions:
            self._running.discard(completion.operation_id)
            self._completions[completion.operation_id] = completion
            self._resume(completion.operation_id)
        self._resume(ANSWERED)
        try:
            outcome = self._go()
            if self._unvisited and (self._updates or self._calls or self._outcome):
                self._check_unvisited()
        except ReplayError as error:
            self._outcome = outcome = _mismatched(error)
            return Decision(outcome=outcome)
        return Decision(updates=tuple(self._updates), calls=tuple(self._calls), outcome=outcome)

    # What changed ----------------------------------------------------------------------------------------------------

    def _begin(self, operations: Iterable[Operation]) -> None:
        known = self._operations
        known.update((operation["Id"], operation) for operation in operations)
        execution = next((o for o in known.values() if o["Type"] == "EXECUTION"), None)
        if execution is None:
            raise ValueError("the recorded state has no EXECUTION operation")
        self._unvisited.update(known)
        self._unvisited.discard(execution["Id"])
        self._is_first_invocation = len(known) == 1
        self._ready.append(self._workflow(execution))

    def _take(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            key = operation["Id"]
            if key not in self._operations and key not in self._started:
                self._unvisited.add(key)
            self._operations[key] = operation
            self._resume(key)

    def _resume(self, key: str) -> None:
        branches = self._blocked.pop(key, None)
        if branches:
            self._ready.extend(branches)

    def _go(self) -> Outcome | None:
        while self._ready:
            branch = self._ready.popleft()
            key = next(branch, None)
            if key is not None:
                self._blocked.setdefault(key, []).append(branch)
        if self._outcome or self._updates or self._calls or self._running:
            return self._outcome
        for key in self._blocked:
            if key not in self._operations:
                raise _incomplete_reply()
        return Pending()

    # The workflow ----------------------------------------------------------------------------------------------------

    def _workflow(self, execution: Operation) -> Branch:
        world = World(self.plan, execution=execution, arn=self._arn, env=self._env)
        timeline = Timeline(self._operations, execution.get("StartTimestamp", 0))
        scope = Scope(world, records={}, variables=Variables(), visits={}, names={})
        try:
            text = yield from self._result(world, scope, timeline)
        except Fault as fault:
            self._outcome = self._failed(fault)
        else:
            self._outcome = self._succeeded(text)

    def _result(self, world: World, scope: Scope, timeline: Timeline) -> Steps[str]:
        self._check_input(world)
        plan = self.plan
        site = Site(scope, plan.name, plan.name, timeline)
        if plan.vars:
            yield from self._assign(plan.vars, site)
        try:
            last = yield from self._top(scope, timeline)
            result = last.result if last else NULL
        except _Ended as ended:
            result = ended.output or (ended.last.result if ended.last else NULL)
            is_given = ended.output is not None
        else:
            is_given = False
        if plan.output is not None and not is_given:
            site.renew()
            try:
                result = Lazy((yield from self._value(plan.output, site)))
            except Fault as fault:
                raise Fault(faults.OUTPUT_INVALID, f"the workflow's output: {fault.message}") from fault
        if plan.output_schema is not None:
            self._check(plan.output_schema, result.get(), faults.OUTPUT_INVALID, "the workflow's output")
        text = values.to_text(result.get())
        if (size := values.size_bytes(text)) > wire.EXECUTION_RESULT_MAX_BYTES:
            raise _too_large("the workflow's output", size, wire.EXECUTION_RESULT_MAX_BYTES)
        return text

    def _check_input(self, world: World) -> None:
        # Later invocations know that it was good and decode it only if it is read.
        if not self._is_first_invocation:
            return
        try:
            value = world.input
        except values.ValueRefusedError as error:
            raise Fault(faults.INPUT_INVALID, f"the input is not JSON: {error}") from error
        if self.plan.input_schema is not None:
            self._check(self.plan.input_schema, value, faults.INPUT_INVALID, "the input")

    def _top(self, scope: Scope, timeline: Timeline) -> Steps[Record | None]:
        try:
            return (yield from self._states(self.plan.states, scope, timeline))
        except Fault as raised:
            fault = raised
        for catcher in self.plan.catch:
            site = Site(scope.naming(error=faults.error_value(fault)), self.plan.name, self.plan.name, timeline)
            if (yield from self._catches(catcher, fault, site)):
                record = Record("caught", timeline=timeline)
                yield from self._handle(catcher, site, record)
                return record
        raise fault

    def _succeeded(self, text: str) -> Succeeded:
        if _response_bytes(text) <= wire.RESPONSE_MAX_BYTES:
            return Succeeded(text)
        # A larger result travels in an EXECUTION update, always the last of its batch (protocol.md 1.7).
        self._updates.append(
            {
                "Id": operation_id("execution-result"),
                "Type": "EXECUTION",
                "Action": "SUCCEED",
                "Payload": text,
            }
        )
        return Succeeded("")

    def _failed(self, fault: Fault) -> Failed:
        state = fault.origin.state
        node = next((node for node in walk(self.plan.states) if node.name == state), None)
        message = f"{fault.name}: {fault.message}" if fault.message else fault.name
        by = f"state '{state}' failed: " if node else ""
        problem = diagnostic("DF502", f"{by}{message}", span=self.plan.span(node.at) if node else None)
        return Failed(error=wire.error_from_fault(fault), problem=problem, state=state)

    # A list of states ------------------------------------------------------------------------------------------------

    def _states(self, states: States, scope: Scope, timeline: Timeline) -> Steps[Record | None]:
        """Run a list of states; return the record of the last one that ran and was not skipped."""
        nodes = states.nodes
        position = 0
        last: Record | None = None
        try:
            while position < len(nodes):
                node = nodes[position]
                visit = scope.visits.get(node.name, 0) + 1
                site = site_of(scope, node, timeline, visit)
                if node.when is not None and not (yield from self._wanted(node.when, node, site)):
                    scope.records[node.name] = Record("skipped", timeline=timeline)
                    position += 1
                    continue
                if visit > VISITS_MAX:
                    message = f"state '{node.name}' was visited more than {VISITS_MAX:,} times"
                    raise Fault(faults.LOOP_LIMIT, message).having(state=node.name, attempt=1)
                scope.visits[node.name] = visit
                target = yield from self._visit(node, site)
                last = scope.records[node.name]
                if target is None:
                    position += 1
                elif target == END:
                    break
                else:
                    position = states.positions[target]
        except _Ended as ended:
            ended.last = ended.last or last
            raise
        return last

    def _visit(self, node: AnyNode, site: Site) -> Steps[str | None]:
        """Run one state; return where the flow goes on, or None for the next in order."""
        try:
            return (yield from _KINDS[type(node)](self, node, site)) or node.next
        except Fault as raised:
            fault = raised
        return (yield from self._caught(node, site, fault)) or node.next

    def _wanted(self, when: Program, node: Node, site: Site) -> Steps[bool]:
        # A state's own catch does not cover its `when` (rule 18).
        try:
            return (yield from self._holds(when, site))
        except Fault as fault:
            raise fault.having(state=node.name, attempt=1) from fault

    def _caught(self, node: Node, site: Site, fault: Fault) -> Steps[str | None]:
        """Let the state's catchers see a fault; return where the one that takes it goes, or raise it again."""
        if fault.origin.state is None:
            fault = fault.having(state=node.name, attempt=site.attempt)
        error = faults.error_value(fault)
        scope = site.scope.naming(error=error)
        for catcher in node.catch:
            handler = Site(scope, node.name, site.path, site.timeline)
            if not (yield from self._catches(catcher, fault, handler)):
                continue
            record = Record("caught", timeline=site.timeline, error=error)
            scope.records[node.name] = record
            yield from self._handle(catcher, handler, record)
            return catcher.next
        scope.records[node.name] = Record("failed", timeline=site.timeline, error=error)
        raise fault

    def _catches(self, catcher: Catcher, fault: Fault, site: Site) -> Steps[bool]:
        if not faults.matches(catcher.errors, fault):
            return False
        return catcher.when is None or (yield from self._holds(catcher.when, site))

    def _handle(self, catcher: Catcher, site: Site, record: Record) -> Steps[None]:
        """Run a catcher: `assign`, then `states`, then `output` (rules 8, 9)."""
        if catcher.assign:
            yield from self._assign(catcher.assign, site)
        if catcher.states is not None:
            last = yield from self._states(catcher.states, site.scope, site.timeline)
            record.result = last.result if last else NULL
        if catcher.output is not None:
            site.renew()
            record.result = Lazy((yield from self._value(catcher.output, site)))

    def _finish(self, node: Node, site: Site, raw: Lazy, operation: Operation | None = None) -> Steps[None]:
        """Project a raw result, check it, record the state as succeeded, and assign (rule 7)."""
        result = raw
        if node.output is None and node.result_schema is None and not node.assign:
            site.scope.records[node.name] = Record("succeeded", raw, timeline=site.timeline, operation=operation)
            return
        # What follows an operation is evaluated on every replay, what came before it only once: so they do not share
        # a budget, or a limit could trip in one invocation and not in another.
        site.renew()
        if node.output is not None:
            site.extra["result"] = raw.get()
            result = Lazy((yield from self._value(node.output, site)))
        if node.result_schema is not None:
            self._check(node.result_schema, result.get(), faults.RESULT_INVALID, f"the result of '{node.name}'")
        yield from self._keep(node, site, result, operation)

    def _keep(self, node: Node, site: Site, result: Lazy, operation: Operation | None = None) -> Steps[None]:
        """Record a state as succeeded with its projected result, and assign."""
        site.scope.records[node.name] = Record("succeeded", result, timeline=site.timeline, operation=operation)
        if node.assign:
            site.extra["result"] = result.get()
            yield from self._assign(node.assign, site)

    def _assign(self, programs: Mapping[str, Program], site: Site) -> Steps[None]:
        """Set variables, all from the values before (rule 9)."""
        made: Object = {}
        for name, program in programs.items():
            made[name] = yield from self._value(program, site)
        variables = site.scope.variables
        variables.values = {**variables.values, **made}

    # Templates -------------------------------------------------------------------------------------------------------

    def _value(self, program: Program, site: Site) -> Steps[Json]:
        """Evaluate; what reads recorded times waits until everything asked for so far has been recorded (rule 64)."""
        if program.is_constant:
            return program.constant
        if self._is_unanswered and program.reads_time:
            yield from self._answers()
        try:
            return program.evaluate(site.lookup, site.budget)
        except EvaluationError as error:
            raise Fault(faults.QUERY_EVALUATION, error.message) from error

    def _holds(self, program: Program, site: Site) -> Steps[bool]:
        return bool((yield from self._value(program, site)))

    def _answers(self) -> Steps[None]:
        while self._is_unanswered:
            yield ANSWERED

    def _text(self, program: Program, site: Site, what: str) -> Steps[str]:
        value = yield from self._value(program, site)
        if not isinstance(value, str):
            raise Fault(faults.QUERY_EVALUATION, f"{what} must be text, not {kind(value)}")
        return value

    def _seconds(self, program: Program, site: Site, what: str) -> Steps[float]:
        return _duration((yield from self._value(program, site)), what)

    def _check(self, schema: Json, value: Json, name: str, what: str) -> None:
        if self._check_schema is not None and (problem := self._check_schema(schema, value)) is not None:
            raise Fault(name, f"{what} does not fit its schema: {problem}")

    # Operations ------------------------------------------------------------------------------------------------------

    def _id(self, path: str) -> str:
        ids = self.plan.operation_ids
        return ids.get(path) or ids.make(path)

    def _recorded(self, key: str, kinds: tuple[str, str], name: str, node: Node, path: str) -> Operation | None:
        """Return what is recorded under an id.

        Raises:
            ReplayError: something else than the Plan has there (rule 47).
        """
        self._paths.append(path)
        operation = self._operations.get(key)
        if operation is None:
            return None
        self._unvisited.discard(key)
        if operation["Type"] != kinds[0] or operation.get("SubType") != kinds[1] or operation.get("Name") != name:
            if self._visited:
                self._visited(Visit(operation_id=key, path=path, span_status="non_deterministic", is_tracked=False))
            raise self._not_that(operation, kinds, name, node)
        return operation

    def _see(self, key: str, path: str, operation: Operation) -> None:
        if self._visited:
            # An operation of this invocation's own is no replay, whatever has become of it (protocol.md 4.4).
            status = _SPAN_STATUS.get(operation["Status"])
            is_tracked = status is not None and key not in self._started
            self._visited(Visit(operation_id=key, path=path, span_status=status or "suspended", is_tracked=is_tracked))

    def _name(self, node: Node, site: Site) -> Steps[str]:
        """Return the Name on the wire: the label, else the state's name (rule 77)."""
        if node.label is None:
            return node.name
        label = yield from self._value(node.label, site)
        return wire_name(to_display(label)) or node.name

    def _update(
        self, key: str, kinds: tuple[OperationType, str], action: wire.OperationAction, name: str, site: Site
    ) -> Update:
        """Ask for a change; an update to a recorded operation repeats its recorded parent (rule 47)."""
        operation = self._operations.get(key)
        parent = operation.get("ParentId") if operation else site.scope.parent_id
        update: Update = {"Id": key, "Name": name, "Type": kinds[0], "SubType": kinds[1], "Action": action}
        if parent is not None:
            update["ParentId"] = parent
        self._updates.append(update)
        self._started.add(key)
        self._is_unanswered = True
        return update

    # invoke ----------------------------------------------------------------------------------------------------------

    def _invoke(self, node: Invoke, site: Site) -> Steps[None]:
        """Start the function, or answer from the record (protocol.md 4.4); a retry is a new operation, `@2`."""
        name = yield from self._name(node, site)
        began: int | None = None
        while True:
            path = site.path if site.attempt == 1 else f"{site.path}@{site.attempt}"
            key = self._id(path)
            operation = self._recorded(key, _INVOKE, name, node, path)
            if operation is None:
                yield from self._start_invoke(node, site, key, name)
                operation = self._operations[key]
            while operation["Status"] not in TERMINAL:
                self._see(key, path, operation)
                yield key
                operation = self._operations[key]
            self._see(key, path, operation)
            site.timeline.passed(key)
            if operation["Status"] == "SUCCEEDED":
                yield from self._finish(node, site, _invoke_result(operation), operation)
                return
            fault = faults.invoke_fault(operation, state=node.name, attempt=site.attempt)
            began = operation.get("StartTimestamp") if began is None else began
            elapsed = _elapsed(began, operation.get("EndTimestamp"))
            site.renew()
            delay = yield from self._retry(node.retry, fault, site, key, elapsed)
            if delay is None:
                raise fault
            yield from self._pause(f"{path}:backoff", f"{name}-backoff-{site.attempt}", delay, node, site)
            site.attempt += 1

    def _start_invoke(self, node: Invoke, site: Site, key: str, name: str) -> Steps[None]:
        function = yield from self._text(node.function, site, "function")
        if not _FUNCTION_NAME.fullmatch(function):
            raise Fault(faults.QUERY_EVALUATION, f"'{shown(function)}' is no function name or ARN")
        if node.allow and not any(fnmatchcase(function, pattern) for pattern in node.allow):
            message = f"'{shown(function)}' is not among the functions that '{node.name}' allows"
            raise Fault(faults.PERMISSIONS, message)
        tenant = None if node.tenant_id is None else (yield from self._text(node.tenant_id, site, "tenant_id"))
        if tenant is not None and not _TENANT_ID.fullmatch(tenant):
            raise Fault(faults.QUERY_EVALUATION, f"'{shown(tenant)}' is no tenant id")
        value = yield from self._value(node.payload, site)
        try:
            payload = values.to_text(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise Fault(faults.QUERY_EVALUATION, f"Failed to serialize invoke payload: {error}") from error
        if (size := values.size_bytes(payload)) > wire.INVOKE_PAYLOAD_MAX_BYTES:
            raise _too_large(f"the payload of '{node.name}'", size, wire.INVOKE_PAYLOAD_MAX_BYTES)
        update = self._update(key, _INVOKE, "START", name, site)
        update["Payload"] = payload
        update["ChainedInvokeOptions"] = {"FunctionName": function}
        if tenant is not None:
            update["ChainedInvokeOptions"]["TenantId"] = tenant
        if self._visited:
            self._visited(Visit(operation_id=key, path=site.path, span_status="started", is_tracked=False))
        # The reply is looked at before suspending: the function may not exist (protocol.md 6, rule 5).
        yield key

    # step ------------------------------------------------------------------------------------------------------------

    def _step(self, node: Step, site: Site) -> Steps[None]:
        """Run the handler, or answer from the record; retries happen in place (protocol.md 5.1)."""
        name = yield from self._name(node, site)
        key = self._id(site.path)
        while True:
            operation = self._recorded(key, _STEP, name, node, site.path)
            status = operation["Status"] if operation else None
            if operation is not None and (status in TERMINAL or status == "PENDING"):
                self._see(key, site.path, operation)
                if status == "PENDING":
                    yield key
                    continue
                site.timeline.passed(key)
                details = operation.get("StepDetails", {})
                site.attempt = max(1, details.get("Attempt", 1))
                if status != "SUCCEEDED":
                    raise faults.step_fault(details.get("Error"), state=node.name, attempt=site.attempt)
                result = Lazy(text=details.get("Result"))
            else:
                attempted = yield from self._attempt(node, site, key, name, operation)
                if attempted is None:
                    continue
                site.timeline.passed(key)
                result = attempted
            site.renew()
            yield from self._keep(node, site, result, self._operations.get(key))
            return

    def _attempt(self, node: Step, site: Site, key: str, name: str, operation: Operation | None) -> Steps[Lazy | None]:
        """Make one attempt; return the stored result, or None when it is to be looked at again (a retry).

        Raises:
            Fault: the step has failed for good, and this is recorded.
        """
        details = operation.get("StepDetails", {}) if operation else {}
        site.attempt = details.get("Attempt", 0) + 1
        site.renew()
        was_running = operation is not None and operation["Status"] == "STARTED"
        completion = Completion(operation_id=key)
        try:
            if was_running and node.semantics == "at_most_once":
                completion = Completion(operation_id=key, fault=_interrupted(node, site.attempt))
            else:
                payload = yield from self._value(node.payload, site)
                if not was_running:
                    self._update(key, _STEP, "START", name, site)
                completion = yield from self._call(node, site, key, payload)
            text = yield from self._project(node, site, completion)
        except Fault as raised:
            if operation is None and key not in self._started:
                raise  # a payload that cannot be rendered starts nothing
            fault = raised
        else:
            self._update(key, _STEP, "SUCCEED", name, site)["Payload"] = text
            return Lazy(text=text)
        yield from self._attempt_failed(node, site, name, fault, completion)
        return None

    def _call(self, node: Step, site: Site, key: str, payload: Json) -> Steps[Completion]:
        call = Call(
            operation_id=key,
            node=node,
            path=site.path,
            payload=payload,
            attempt=site.attempt,
            idempotency_key=site.idempotency_key,
        )
        self._calls.append(call)
        self._running.add(key)
        while (completion := self._completions.pop(key, None)) is None:
            yield key
        return completion

    def _project(self, node: Step, site: Site, completion: Completion) -> Steps[str]:
        """Return what is stored of a step's result; an error here fails the step itself (rule 18)."""
        if completion.fault is not None:
            raise completion.fault
        result = completion.result
        if node.output is not None:
            site.extra["result"] = result
            result = yield from self._value(node.output, site)
        if node.result_schema is not None:
            self._check(node.result_schema, result, faults.RESULT_INVALID, f"the result of '{node.name}'")
        text = stored_text(result)
        if (size := values.size_bytes(text)) > wire.STEP_RESULT_MAX_BYTES:
            raise _too_large(f"the result of '{node.name}'", size, wire.STEP_RESULT_MAX_BYTES)
        return text

    def _attempt_failed(self, node: Step, site: Site, name: str, fault: Fault, completion: Completion) -> Steps[None]:
        """Record a failed attempt: RETRY with a delay, or FAIL and raise."""
        key = completion.operation_id
        error = wire.error_from_fault(fault)
        # From here on the fault is what a replay will read (rule 67).
        fault = faults.step_fault(error, state=node.name, attempt=site.attempt)
        operation = self._operations.get(key)
        elapsed = _elapsed(operation.get("StartTimestamp") if operation else None, completion.ended_at)
        site.renew()
        delay = yield from self._retry(node.retry, fault, site, key, elapsed)
        if delay is None:
            self._update(key, _STEP, "FAIL", name, site)["Error"] = error
            site.timeline.passed(key)
            raise fault
        update = self._update(key, _STEP, "RETRY", name, site)
        update["Error"] = error
        update["StepOptions"] = {"NextAttemptDelaySeconds": delay}
        yield from self._answers()
        if self._operations[key]["Status"] == "STARTED":
            raise _incomplete_reply()

    def _retry(
        self, retriers: tuple[Retrier, ...], fault: Fault, site: Site, key: str, elapsed: float | None
    ) -> Steps[int | None]:
        """Return in how many seconds the state is tried again, or None."""
        if not retriers:
            return None
        site.extra["error"] = faults.error_value(fault)
        # The programs of a retrier are evaluated inside retries.py, which cannot wait for answers.
        if self._is_unanswered and any(retries.reads_time(retrier) for retrier in retriers):
            yield from self._answers()

        def evaluated(program: Program) -> Json:
            try:
                return program.evaluate(site.lookup, site.budget)
            except EvaluationError as error:
                raise Fault(faults.QUERY_EVALUATION, error.message) from error

        retrier = retries.matching(retriers, fault, holds=lambda program: bool(evaluated(program)))
        if retrier is None:
            return None
        return retries.delay_seconds(
            retrier,
            site.attempt,
            seed=f"{site.scope.world.execution['Id']}\n{key}\n{site.attempt}",
            seconds=lambda program: _duration(evaluated(program), "a duration of retry"),
            elapsed_seconds=elapsed,
        )

    # wait ------------------------------------------------------------------------------------------------------------

    def _wait(self, node: Wait, site: Site) -> Steps[None]:
        name = yield from self._name(node, site)
        key = self._id(site.path)
        operation = self._recorded(key, _WAIT, name, node, site.path)
        if operation is None:
            seconds = yield from self._wait_seconds(node, site)
            if seconds <= 0:
                yield from self._finish(node, site, NULL)
                return
            operation = yield from self._start_wait(key, name, seconds, site)
        yield from self._until_over(key, site.path, operation)
        site.timeline.passed(key)
        yield from self._finish(node, site, NULL, self._operations[key])

    def _wait_seconds(self, node: Wait, site: Site) -> Steps[int]:
        if node.duration is not None:
            return math.ceil((yield from self._seconds(node.duration, site, "duration")))
        assert node.until is not None
        moment = yield from self._text(node.until, site, "until")
        # "Already past" is told from what is recorded, not from a clock (rule 26).
        yield from self._answers()
        try:
            ahead = parse_time(moment) - site.timeline.now() / 1000
        except EvaluationError as error:
            raise Fault(faults.QUERY_EVALUATION, error.message) from error
        return math.ceil(_duration(ahead, "until"))

    def _pause(self, path: str, name: str, seconds: int, node: Node, site: Site) -> Steps[None]:
        """Wait as a helper: it has a path of its own, and `context.now` does not see it (rule 64)."""
        key = self._id(path)
        name = wire_name(name)
        operation = self._recorded(key, _WAIT, name, node, path)
        if operation is None:
            operation = yield from self._start_wait(key, name, seconds, site)
        yield from self._until_over(key, path, operation)

    def _start_wait(self, key: str, name: str, seconds: int, site: Site) -> Steps[Operation]:
        self._update(key, _WAIT, "START", name, site)["WaitOptions"] = {"WaitSeconds": seconds}
        yield key
        return self._operations[key]

    def _until_over(self, key: str, path: str, operation: Operation) -> Steps[None]:
        while operation["Status"] not in TERMINAL:
            self._see(key, path, operation)
            yield key
            operation = self._operations[key]
        self._see(key, path, operation)

    # choice, block, loop, pass, succeed, fail ------------------------------------------------------------------------

    def _choice(self, node: Choice, site: Site) -> Steps[str | None]:
        states, target = node.default, None
        for arm in node.choices:
            if (yield from self._holds(arm.when, site)):
                states, target = arm.states, arm.next
                break
        last = None if states is None else (yield from self._states(states, site.scope, site.timeline))
        yield from self._finish(node, site, last.result if last else NULL)
        return target

    def _block(self, node: Block, site: Site) -> Steps[None]:
        last = yield from self._states(node.states, site.scope, site.timeline)
        yield from self._finish(node, site, last.result if last else NULL)

    def _loop(self, node: Loop, site: Site) -> Steps[None]:
        last: Record | None = None
        number = 0
        site.extra["iteration"] = number
        while node.while_ is None or (yield from self._holds(node.while_, site)):
            if number == node.max_iterations:
                self._at_limit(node)
                break
            if number and node.delay is not None:
                yield from self._delay(node.delay, node, site, number - 1)
            last = yield from self._states(node.states, site.scope.iteration(site.path, number), site.timeline)
            site.renew()
            site.extra["iteration"] = number
            if node.until is not None:
                site.extra["result"] = last.result.get() if last else None
                if (yield from self._holds(node.until, site)):
                    break
            number += 1
            site.extra["iteration"] = number
        yield from self._finish(node, site, last.result if last else NULL)

    def _at_limit(self, node: Loop) -> None:
        if node.on_limit == "fail" and (node.while_ is not None or node.until is not None):
            message = f"loop '{node.name}' would go on after {node.max_iterations:,} iterations"
            raise Fault(faults.LOOP_LIMIT, message)

    def _delay(self, delay: Program, node: Loop, site: Site, iteration: int) -> Steps[None]:
        """Wait between two iterations; the delay belongs to the iteration that it follows."""
        path = f"{site.path}{{{iteration}}}:delay"
        if self._id(path) in self._operations:
            seconds = 1  # recorded, so that what the delay says today does not matter
        else:
            seconds = math.ceil((yield from self._seconds(delay, site, "delay")))
        if seconds > 0:
            yield from self._pause(path, f"{node.name}-delay", seconds, node, site)

    def _pass(self, node: Pass, site: Site) -> Steps[None]:
        yield from self._finish(node, site, NULL)

    def _succeed(self, node: Succeed, site: Site) -> Steps[NoReturn]:
        yield from self._finish(node, site, NULL)
        raise _Ended(site.scope.records[node.name].result if node.output is not None else None)

    def _fail(self, node: Fail, site: Site) -> Steps[NoReturn]:
        name = yield from self._text(node.error, site, "error")
        cause = "" if node.cause is None else to_display((yield from self._value(node.cause, site)))
        data = None if node.data is None else (yield from self._value(node.data, site))
        raise faults.as_recorded(Fault(name, cause, data))

    # Record and Plan disagree ----------------------------------------------------------------------------------------

    def _not_that(self, operation: Operation, kinds: tuple[str, str], name: str, node: Node) -> ReplayError:
        expected: Object = {"state": node.name, "type": kinds[0], "subType": kinds[1], "name": name}
        recorded = _identity(operation)
        if kinds is _INVOKE and operation["Type"] != kinds[0]:
            word = _TYPE_WORDS[operation["Type"]]
            message = f"Expected Invoke operation but found {word} at operation_id {operation['Id']}"
        else:
            message = (
                f"the workflow has {_described(expected)} where the record has {_described(recorded)}"
                f" (operation {operation['Id']})"
            )
        problem = diagnostic("DF503", f"state '{node.name}': {message}", span=self.plan.span(node.at), hint=_HINT)
        return ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=recorded)

    def _check_unvisited(self) -> None:
        """Refuse to go on while a recorded operation was not come past (rule 48); helpers do not count.

        Raises:
            ReplayError: names what is recorded and what the workflow would start instead.
        """
        helpers = {operation_id(path + suffix) for path in self._paths for suffix in (":backoff", ":timeout")}
        left = [key for key in self._operations if key in self._unvisited and key not in helpers]
        if not left:
            self._unvisited.clear()
            return
        operation = self._operations[left[0]]
        expected = self._instead()
        described = _described(expected) if expected else "the end of the execution"
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        message = (
            f"the record has {_described(_identity(operation))}{more}, {operation['Status']}, which the workflow does"
            f" not come past before {described}"
        )
        node = next((n for n in walk(self.plan.states) if expected and n.name == expected["state"]), None)
        problem = diagnostic("DF503", message, span=self.plan.span(node.at) if node else None, hint=_HINT)
        raise ReplayError(problem, operation_id=operation["Id"], expected=expected, recorded=_identity(operation))

    def _instead(self) -> Object | None:
        """Say what this run was about to start."""
        for update in self._updates:
            name = update.get("Name")
            return {"state": name, "type": update["Type"], "subType": update.get("SubType"), "name": name}
        for call in self._calls:
            return {"state": call.node.name, "type": "STEP", "subType": "Step", "name": call.node.name}
        return None


_INVOKE: Final[tuple[OperationType, str]] = ("CHAINED_INVOKE", "ChainedInvoke")
_STEP: Final[tuple[OperationType, str]] = ("STEP", "Step")
_WAIT: Final[tuple[OperationType, str]] = ("WAIT", "Wait")
_HINT: Final = (
    "run it on the definition it began with, or undo the change: started states keep their name, type and place"
)

_KINDS: Final[dict[type[AnyNode], Callable[[Run, Any, Site], Steps[str | None]]]] = {
    Invoke: Run._invoke,
    Step: Run._step,
    Wait: Run._wait,
    Choice: Run._choice,
    Block: Run._block,
    Loop: Run._loop,
    Pass: Run._pass,
    Succeed: Run._succeed,
    Fail: Run._fail,
}


def decide(
    plan: Plan,
    operations: Iterable[Operation],
    *,
    execution_arn: str = "",
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
) -> Decision:
    """Return the decision of one fresh Run that is fed once."""
    return Run(plan, execution_arn=execution_arn, env=env, check_schema=check_schema).advance(operations)


def _invoke_result(operation: Operation) -> Lazy:
    """Decode the result of an invoke at once: whether it is JSON is the state's own affair, not its readers'."""
    text = operation.get("ChainedInvokeDetails", {}).get("Result")
    if text is None:
        return NULL
    try:
        return Lazy(values.from_text(text))
    except values.ValueRefusedError as error:
        raise Fault(faults.RESULT_INVALID, f"Failed to deserialize invoke result: {error}") from error


def _interrupted(node: Step, attempt: int) -> Fault:
    message = f"attempt {attempt} of step '{node.name}' was interrupted; it may have had its effect"
    return Fault(faults.STEP_INTERRUPTED, message)


def _duration(value: Json, what: str) -> float:
    """Return a duration of templates in seconds: a number, or text such as `2d` (rules 26, 56)."""
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except EvaluationError as error:
            raise Fault(faults.QUERY_EVALUATION, f"{what}: {error.message}") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fault(faults.QUERY_EVALUATION, f"{what} must be a duration, not {kind(value)}")
    if value > wire.DELAY_MAX_SECONDS:
        raise Fault(faults.QUERY_EVALUATION, f"{what} is longer than {wire.DELAY_MAX_SECONDS:,} seconds (366 days)")
    return float(value)


def _elapsed(began: int | None, ended: int | None) -> float | None:
    return None if began is None or ended is None else (ended - began) / 1000


def _too_large(what: str, size: int, limit: int) -> Fault:
    return Fault(faults.DATA_LIMIT, f"{what} has {size:,} bytes, more than the limit of {limit:,}")


def _incomplete_reply() -> ServiceError:
    problem = diagnostic("DF505", "the service accepted an update but does not show what became of its operation")
    return ServiceError(problem, name="IncompleteReply", status=500, is_retryable=True)


_RESPONSE_FRAME: Final = len('{"Status":"SUCCEEDED","Result":}')


def _response_bytes(text: str) -> int:
    # Escaping makes a byte six at most, so small results need not be escaped to be judged.
    if len(text) * 6 < wire.RESPONSE_MAX_BYTES:
        return len(text)
    return values.size_bytes(values.to_text(text)) + _RESPONSE_FRAME


def _mismatched(error: ReplayError) -> Failed:
    fault = Fault(faults.NON_DETERMINISTIC, error.problem.message)
    state = error.expected.get("state") if error.expected else None
    return Failed(
        error=wire.error_from_fault(fault),
        problem=error.problem,
        state=state if isinstance(state, str) else None,
        mismatch=error,
    )


def _identity(operation: Operation) -> Object:
    return {
        "type": operation["Type"],
        "subType": operation.get("SubType"),
        "name": operation.get("Name"),
        "status": operation["Status"],
    }


def _described(identity: Object) -> str:
    kind_text = identity["type"] if identity["subType"] is None else f"{identity['type']}/{identity['subType']}"
    return f"{kind_text} '{shown(str(identity['name']))}'"
