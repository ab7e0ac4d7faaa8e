"""What does a workflow mean? The language by plain recursion over the YAML tree, to hold the engine against.

It knows no checkpoint, no operation, no identity and no suspension, and shares nothing with the engine but the
templates. Work is not done but looked up: every attempt finds its answer in a table, together with how long it takes.
Time is virtual, and every strand of the flow (a branch, an item) has a clock of its own.

What the rules leave to timing has no meaning here: :class:`AmbiguousError` says that a workflow depends on it. That is
so where a map or parallel is decided at a moment at which another of its branches does something too, where a time-out
falls on such a moment, and where either depends on a delay with jitter.

Source: language.md sections 3 to 7; section 12, as each comment says.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import ChainMap
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from durableflow.expressions import EvaluationError, Program, to_display
from durableflow.library import Budget, Undefined, parse_duration, parse_time
from durableflow.templates import parse_expression, parse_template

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z, in milliseconds as every time here
WORK = ("invoke", "step", "aws", "http", "workflow")
IN_PLACE = ("step", "aws", "http")
ONLY_BY_NAME = ("States.Runtime", "States.DataLimitExceeded", "States.OperationLimitExceeded")
OF_TEMPLATES = ("States.QueryEvaluationError", "States.ResultInvalid")
NOT_WORK = ("States.QueryEvaluationError", "States.DataLimitExceeded", "States.Runtime")
INVOKE_ENDINGS = {
    "STOPPED": ("States.Stopped", "Invoke was stopped externally"),
    "TIMED_OUT": ("States.Timeout", "Invoke was TimedOut"),
    "CANCELLED": ("States.Cancelled", "Invoke was Cancelled"),
}

State = dict[str, Any]
Answer = dict[str, Any]
"""`{"result": …}`, `{"error": {"name", "message", "data"}}` or `{"status": "STOPPED"}`; and `after`, milliseconds."""


class AmbiguousError(Exception):
    """What this workflow does depends on what happens first at one moment."""


class CutError(Exception):
    """Time is up for the strand: a time-out around it, or the decision of a map or parallel."""


class Failure(Exception):  # noqa: N818 - the language's word
    """An error of the workflow (rule 15)."""

    def __init__(self, name: str, message: str = "", data: Any = None, *, is_work: bool = False) -> None:
        super().__init__(name, message)
        self.is_work = is_work
        self.is_final = False
        """Whether nothing was started, so that there is nothing to try again."""
        self.value = {"name": name, "message": message, "data": data}
        self.value |= dict.fromkeys(("state", "attempt", "status", "index", "branch"))

    @property
    def name(self) -> str:
        return str(self.value["name"])

    def at(self, state: State, attempt: int) -> Failure:
        """Say which state raised it, unless that is known: the innermost counts."""
        if self.value["state"] is None:
            self.value |= {"state": state["name"], "attempt": attempt}
        return self

    def brief(self, *fields: str) -> dict[str, Any]:
        return {key: self.value[key] for key in fields}


class Finished(Exception):  # noqa: N818 - no error: `succeed` ends the workflow, item or branch (rule 19)
    def __init__(self, output: tuple[Any, ...]) -> None:
        super().__init__()
        self.output = output
        """The output in a tuple, or nothing."""
        self.last: Record | None = None


@dataclass
class Clock:
    """The time of one strand.

    Args:
        now: milliseconds.
        deadline: when the strand is cut, or None.
        is_exact: whether no delay with jitter is behind it.
        recorded: what `context.now` says: when the latest operation ended (rule 26).
        moments: when anything happened.
    """

    now: int = START
    deadline: int | None = None
    is_exact: bool = True
    recorded: int = START
    moments: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.moments.add(self.now)

    def go(self, milliseconds: int) -> None:
        """Let time pass."""
        then = self.now + milliseconds
        if self.deadline is not None and milliseconds:
            if not self.is_exact or then == self.deadline:
                raise AmbiguousError
            if then > self.deadline:
                self.now = self.deadline
                raise CutError
        self.now = then
        self.moments.add(then)


@dataclass(slots=True)
class Record:
    """What `states.<name>` says."""

    status: str
    result: Any = None
    error: Any = None
    more: dict[str, Any] = field(default_factory=dict)

    def value(self) -> dict[str, Any]:
        return {"status": self.status, "result": self.result, "error": self.error, **self.more}


@dataclass(slots=True)
class Variables:
    """The variables of a scope, shared by everything transparent in it (section 3)."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A `compensate` list that is to run when the scope fails, and what it sees."""

    states: list[State]
    scope: Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where a list of states runs: what its templates see, and where what it does is noted.

    Args:
        workflow: the YAML tree.
        world: the answers and the other workflows.
        names: `error`, `item`, `index`, `batch`, `iteration`, `callback`.
        work: what has been done, in order.
        undo: what is to be undone when the nearest block around (or the workflow) fails, in order.
    """

    workflow: State
    world: World
    input: Any
    records: ChainMap[str, Record]
    variables: Variables
    names: dict[str, Any]
    clock: Clock
    work: list[Any]
    undo: list[Undo]

    def inside(self, **names: Any) -> Scope:
        return replace(self, names={**self.names, **names})

    def apart(self, **names: Any) -> Scope:
        """Return a scope with a copy of the variables, whose states cannot be seen from outside (rules 11, 62)."""
        inner = self.inside(**names)
        return replace(inner, records=self.records.new_child(), variables=Variables(dict(self.variables.values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a workflow cannot know by itself.

    Args:
        answers: by function, handler's state, check, callback or child workflow: what it answers, one after the other.
        env: the environment.
        workflows: by name, for `mode: inline`.
    """

    answers: dict[str, list[Answer]]
    env: dict[str, str] = field(default_factory=dict)
    workflows: dict[str, State] = field(default_factory=dict)

    def answer(self, name: str, payload: Any) -> Answer:
        """Return the answer to a piece of work, a function of its name and payload alone.

        A payload says by its `attempt` and its `k` which one; so do engine and evaluator agree without counting.
        """
        given = self.answers.get(name) or [{"result": None}]
        told = payload if isinstance(payload, dict) else {}
        attempt, k = (told.get(key) if type(told.get(key)) is int else 0 for key in ("attempt", "k"))
        answer = given[(max(1, attempt) - 1 + k) % len(given)]
        return {**answer, "after": answer.get("after", 0) + 13 * max(0, k)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ends.

    Args:
        status: SUCCEEDED or FAILED.
        output: of one that succeeded.
        error: name and message of one that failed.
        work: everything done, as `[type, name, what it was given]`; in order, unless strands ran side by side.
        elapsed: milliseconds, or None where jitter had a say.
    """

    status: str
    output: Any = None
    error: tuple[str, str] | None = None
    work: list[Any]
    elapsed: int | None


def evaluate(workflow: State, *, given: Any, world: World) -> Outcome:
    """Return how a workflow ends, given its input.

    Raises:
        AmbiguousError: that depends on timing.
    """
    clock, work = Clock(), []
    scope = _scope(workflow, given, world, clock, work)
    output, error = None, None
    try:
        output = run_workflow(scope)
    except Failure as failure:
        error = (failure.name, str(failure.value["message"]))
    elapsed = clock.now - START if clock.is_exact else None
    status = "FAILED" if error else "SUCCEEDED"
    return Outcome(status=status, output=output, error=error, work=work, elapsed=elapsed)


def _scope(workflow: State, given: Any, world: World, clock: Clock, work: list[Any]) -> Scope:
    return Scope(
        workflow=workflow,
        world=world,
        input=given,
        records=ChainMap(),
        variables=Variables({}),
        names={},
        clock=clock,
        work=work,
        undo=[],
    )


# Templates -----------------------------------------------------------------------------------------------------------


@cache
def _program(text: str, is_expression: bool) -> Program:
    tree, _ = (parse_expression if is_expression else parse_template)(json.loads(text))
    return Program(tree)


def value(scope: Scope, template: Any, *, is_expression: bool = False, attempt: int = 1, **extra: Any) -> Any:
    """Evaluate a template; `extra` are names that exist just there."""

    def lookup(name: str) -> Any:
        known = {
            "input": scope.input,
            "states": {name: record.value() for name, record in scope.records.items()},
            "vars": scope.variables.values,
            "env": {name: scope.world.env[name] for name in scope.workflow.get("env", ())},
            "context": {"now": _time_text(scope.clock), "state": {"attempt": attempt}},
            **scope.names,
            **extra,
        }
        return known[name] if name in known else Undefined(f"'{name}' is not defined here")

    source = json.dumps(template)
    if not scope.clock.is_exact and "context.now" in source:
        raise AmbiguousError
    try:
        return _program(source, is_expression).evaluate(lookup, Budget())
    except EvaluationError as error:
        raise Failure("States.QueryEvaluationError", error.message) from error


def holds(scope: Scope, expression: Any, **extra: Any) -> bool:
    """Evaluate a condition."""
    return bool(value(scope, expression, is_expression=True, **extra))


def seconds(scope: Scope, template: Any, **extra: Any) -> float:
    """Evaluate a duration."""
    found = value(scope, template, **extra)
    try:
        number = parse_duration(found) if isinstance(found, str) else found
    except EvaluationError as error:
        raise Failure("States.QueryEvaluationError", error.message) from error
    if isinstance(number, bool) or not isinstance(number, int | float) or number > 31_622_400:
        raise Failure("States.QueryEvaluationError", f"no duration: {found}")
    return number


def text(scope: Scope, template: Any, **extra: Any) -> str:
    found = value(scope, template, **extra)
    if not isinstance(found, str):
        raise Failure("States.QueryEvaluationError", f"no text: {found}")
    return found


def _time_text(clock: Clock) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=clock.recorded)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def check(schema: Any, found: Any, name: str) -> None:
    if schema is not None and not Draft202012Validator(schema).is_valid(found):
        raise Failure(name, "it does not fit its schema")


def assign(scope: Scope, templates: dict[str, Any], **extra: Any) -> None:
    """Set variables, all from the values before (rule 9)."""
    made = {name: value(scope, template, **extra) for name, template in templates.items()}
    scope.variables.values = {**scope.variables.values, **made}


# The workflow (rule 20) ----------------------------------------------------------------------------------------------


def run_workflow(scope: Scope) -> Any:
    """Run a whole workflow and return its output."""
    workflow = scope.workflow
    check(workflow.get("input", {}).get("schema"), scope.input, "States.InputInvalid")
    assign(scope, workflow.get("vars", {}))
    error: Failure | None = None
    given: tuple[Any, ...] = ()
    last: Record | None = None
    try:
        try:
            last = timed(scope, workflow.get("timeout"), lambda: run_list(workflow["states"], scope))
        except Failure as failure:
            error = failure
            error = compensated(scope, failure, workflow.get("compensation"))
            last = caught(scope, workflow.get("catch", ()), error, Record("caught"))[0]
    except Finished as end:
        given, last = end.output, end.last
    except Failure as failure:
        finally_(scope, workflow, failure)
        raise
    finally_(scope, workflow, error)
    output = given[0] if given else last.result if last else None
    if "output" in workflow and not given:
        try:
            output = value(scope, workflow["output"])
        except Failure as failure:
            raise Failure("States.OutputInvalid", str(failure.value["message"])) from failure
    check(workflow.get("output_schema"), output, "States.OutputInvalid")
    return output


def finally_(scope: Scope, part: State, error: Failure | None) -> None:
    """Run `finally`; an error in it replaces the outcome. It sees the error, also one that was caught (rule 15)."""
    if part.get("finally"):
        run_list(part["finally"], scope.inside(error=error.value if error else None))


def timed(scope: Scope, limit: Any, run: Any) -> Any:
    """Run something that may take `limit` at most, if that is one."""
    if limit is None:
        return run()
    clock = scope.clock
    outer, clock.deadline = clock.deadline, clock.now + math.ceil(seconds(scope, limit)) * 1000
    if outer is not None:
        if outer == clock.deadline:
            raise AmbiguousError
        clock.deadline = min(outer, clock.deadline)
    mine = clock.deadline
    try:
        return run()
    except CutError:
        if mine == outer:
            raise
        clock.recorded = clock.now
        raise Failure("States.Timeout", "it took too long") from None
    finally:
        clock.deadline = outer


# A list of states ----------------------------------------------------------------------------------------------------


def run_list(states: list[State], scope: Scope) -> Record | None:
    """Run a list; return the record of the last state that ran and was not skipped (rule 8)."""
    positions = {state["name"]: i for i, state in enumerate(states)} | {"end": len(states)}
    position = 0
    last: Record | None = None
    try:
        while position < len(states):
            state = states[position]
            if not _is_wanted(state, scope):
                scope.records[state["name"]] = Record("skipped")
                position += 1  # the `next` of a skipped state is not taken (rule 21)
                continue
            target = run_state(state, scope) or state.get("next")
            last = scope.records[state["name"]]
            position = position + 1 if target is None else positions[target]
    except Finished as end:
        end.last = end.last or last
        raise
    return last


def _is_wanted(state: State, scope: Scope) -> bool:
    try:
        return holds(scope, state.get("when", True))
    except Failure as failure:
        raise failure.at(state, 1) from None  # its own catch does not cover it (rule 18)


def run_state(state: State, scope: Scope) -> str | None:
    """Run one state with its retries, catchers and `finally`; return where it says the flow goes on, if it does."""
    name = state["name"]
    error: Failure | None = None
    try:
        try:
            target = attempts(state, scope)
        except Failure as failure:
            error = failure
            scope.records[name] = Record("failed", error=failure.value)
            target = _handled(state, scope, failure)
    except (Failure, Finished) as end:
        finally_(scope, state, end if isinstance(end, Failure) else error)
        raise
    try:
        finally_(scope, state, error)
    except Failure as failure:
        scope.records[name] = Record("failed", error=failure.value)
        raise
    if state.get("compensate") and error is None:
        # A list sees the result it undoes, whatever a later visit of the state leaves.
        records = scope.records.new_child({name: scope.records[name]})
        scope.undo.append(Undo(states=state["compensate"], scope=replace(scope, records=records)))
    return target


def _handled(state: State, scope: Scope, failure: Failure) -> str | None:
    record = Record("caught", error=failure.value)
    try:
        return caught(scope, state.get("catch", ()), failure, record, state["name"])[1]
    except Failure as other:
        raise other.at(state, 1) from None


def caught(
    scope: Scope, catchers: Any, failure: Failure, record: Record, name: str | None = None
) -> tuple[Record, str | None]:
    """Let the first catcher that matches have an error; return the state's record and the catcher's `next`."""
    inner = scope.inside(error=failure.value)
    for catcher in catchers:
        if matches(catcher.get("errors", ["States.ALL"]), failure) and holds(inner, catcher.get("when", True)):
            if name is not None:
                scope.records[name] = record
            assign(inner, catcher.get("assign", {}))
            if catcher.get("states") is not None:
                last = run_list(catcher["states"], inner)
                record.result = last.result if last else None
            if "output" in catcher:
                record.result = value(inner, catcher["output"])
            return record, catcher.get("next")
    raise failure


def matches(errors: list[str], failure: Failure) -> bool:
    """Say whether `errors` match (rule 14)."""
    name = failure.name
    if name == "NonDeterministicExecutionError":
        return False
    for glob in errors:
        if glob == name:
            return True
        if name in ONLY_BY_NAME:
            continue
        if glob == "States.TaskFailed":
            found = failure.is_work and name not in ("States.Timeout", "States.HeartbeatTimeout")
        elif glob == "States.BranchFailed":
            found = failure.value["index"] is not None or failure.value["branch"] is not None
        else:
            found = glob == "States.ALL" or fnmatchcase(name, glob)
        if found:
            return True
    return False


# Again (rules 22 to 24, 58, 73) --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How an attempt ended well: its raw result, where an arm's `next` leads, what else the record says."""

    raw: Any = None
    target: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


def attempts(state: State, scope: Scope) -> str | None:
    """Run a state until an attempt succeeds or no retrier wants another one; then project its result and assign."""
    run, is_scope = TYPES[state["type"]]
    began, attempt = scope.clock.now, 0
    while True:
        attempt += 1
        variables = scope.variables.values
        inner = replace(scope, undo=[])
        try:
            done = run(state, inner, attempt)
            if state["type"] not in IN_PLACE:
                finish(state, scope, done, attempt)
            break
        except Failure as failure:
            error = failure.at(state, attempt)
            if state["type"] == "block":
                error = compensated(inner, failure, state.get("compensation")).at(state, attempt)
            delay = retry_delay(state, scope, error, attempt, began)
            if delay is None:
                raise error from None
            # What a failed attempt did is undone, and its variables are as before, when the next one begins.
            compensated(inner, error, None)
            if is_scope:
                scope.variables.values = variables
            least, most = delay
            scope.clock.go(most * 1000)
            scope.clock.is_exact &= least == most
        finally:
            scope.undo.extend(inner.undo)
    if state["type"] in IN_PLACE:
        try:
            finish(state, scope, done, attempt)
        except Failure as failure:
            raise failure.at(state, attempt) from None
    return done.target


def finish(state: State, scope: Scope, done: Done, attempt: int) -> None:
    """Project the raw result, check it, record it, assign (rule 7)."""
    result = done.raw
    if state["type"] not in IN_PLACE:
        result = projected(state, scope, result, attempt)
    scope.records[state["name"]] = Record("succeeded", result, more=done.more)
    assign(scope, state.get("assign", {}), result=result, attempt=attempt)


def projected(state: State, scope: Scope, raw: Any, attempt: int, **extra: Any) -> Any:
    result = value(scope, state["output"], result=raw, attempt=attempt, **extra) if "output" in state else raw
    check(state.get("result_schema"), result, "States.ResultInvalid")
    return result


def compensated(scope: Scope, failure: Failure, compensation: State | None) -> Failure:
    """Run what is registered in a scope, in reverse, and return the error that goes on (rules 38, 39, 59)."""
    lists = scope.undo[::-1]
    scope.undo.clear()
    for undo in lists:
        inner = replace(undo.scope.inside(error=failure.value), clock=scope.clock, work=scope.work, undo=[])
        try:
            run_list(undo.states, inner)
        except Failure as other:
            if (compensation or {}).get("on_error") == "fail":
                told = {"original": failure.brief("name", "message", "state")}
                told["failed"] = other.brief("name", "message", "state")
                return Failure("States.CompensationFailed", "a compensation failed", told)
    return failure


def retry_delay(state: State, scope: Scope, failure: Failure, attempt: int, began: int) -> tuple[int, int] | None:
    """Return the least and the most seconds until the next attempt, or None when there is none."""
    if failure.is_final or failure.name == "States.CompensationFailed":
        return None
    retriers = state.get("retry")
    if retriers is None and state["type"] in WORK:
        retriers = scope.workflow.get("defaults", {}).get("retry")
    return _delay(_named(retriers, scope), scope, failure, attempt, began)


def _named(retriers: Any, scope: Scope) -> list[State]:
    return (scope.workflow["retry_policies"][retriers] if isinstance(retriers, str) else retriers) or []


def _delay(retriers: list[State], scope: Scope, failure: Failure, attempt: int, began: int) -> tuple[int, int] | None:
    error = failure.value
    for retrier in retriers:
        errors = retrier.get("errors", ["States.ALL"])
        is_fit = matches(errors, failure) and (failure.name not in OF_TEMPLATES or failure.name in errors)  # rule 18
        if not is_fit or not holds(scope, retrier.get("when", True), error=error, attempt=attempt):
            continue
        # The first that matches the latest error decides, and counts all attempts of the state (rule 22).
        if attempt >= retrier.get("max_attempts", 3):
            return None
        interval = seconds(scope, retrier.get("interval", "1s"), error=error, attempt=attempt)
        if "increment" in retrier:
            delay = interval + seconds(scope, retrier["increment"], error=error, attempt=attempt) * (attempt - 1)
        else:
            delay = interval * retrier.get("backoff_rate", 2) ** (attempt - 1)
        if "max_delay" in retrier:
            delay = min(delay, seconds(scope, retrier["max_delay"], error=error, attempt=attempt))
        share = {"full": 0.0, "half": 0.5, "none": 1.0}[retrier.get("jitter", "full")]
        least, most = (max(1, math.ceil(delay * part)) for part in (share, 1))
        if "max_duration" in retrier:
            if least != most or not scope.clock.is_exact:
                raise AmbiguousError
            limit = seconds(scope, retrier["max_duration"], error=error, attempt=attempt)
            if (scope.clock.now - began) / 1000 + most > limit:
                return None
        return least, most
    return None


# Work ----------------------------------------------------------------------------------------------------------------


def _limit(state: State, scope: Scope) -> Any:
    return state.get("timeout", scope.workflow.get("defaults", {}).get("timeout"))


def invoke(state: State, scope: Scope, attempt: int) -> Done:
    function = text(scope, state["function"], attempt=attempt)
    if "allow" in state and not any(fnmatchcase(function, glob) for glob in state["allow"]):
        raise Failure("States.Permissions", "not allowed", is_work=True)
    payload = value(scope, state.get("payload", {}), attempt=attempt)  # without one it gets {} (rule 10)
    return Done(raw=_elsewhere(state, scope, "invoke", function, payload))


def child(state: State, scope: Scope, attempt: int) -> Done:
    payload = value(scope, state.get("payload", {}), attempt=attempt)
    if state.get("mode") == "inline":
        return Done(raw=timed(scope, _limit(state, scope), lambda: _inline(state, scope, payload)))
    return Done(raw=_elsewhere(state, scope, "workflow", state["workflow"], payload))


def _inline(state: State, scope: Scope, payload: Any) -> Any:
    """Run another workflow as a part of this one (rules 33, 71)."""
    other = scope.world.workflows[state["workflow"]]
    inner = _scope(other, payload, scope.world, scope.clock, scope.work)
    try:
        result = run_workflow(inner)
    except CutError:
        scope.undo.extend(inner.undo)  # what was completed before it was cut off (rule 70)
        raise
    scope.clock.recorded = max(scope.clock.recorded, scope.clock.now)
    return result


def _elsewhere(state: State, scope: Scope, kind: str, name: str, payload: Any) -> Any:
    """Look up what another execution answers, in its time."""
    scope.work.append([kind, name, payload])
    answer = scope.world.answer(name, payload)
    try:
        timed(scope, _limit(state, scope), lambda: scope.clock.go(answer["after"]))
    except Failure as failure:
        failure.value["status"] = "TIMED_OUT"
        raise
    scope.clock.recorded = max(scope.clock.recorded, scope.clock.now)
    if "result" in answer:
        return answer["result"]
    status = answer.get("status", "FAILED")
    if status in INVOKE_ENDINGS:
        failure = Failure(*INVOKE_ENDINGS[status], is_work=True)
    else:
        error = answer["error"]
        failure = Failure(_reported(error["name"], kind), error["message"], error.get("data"), is_work=True)
    failure.value["status"] = status
    raise failure


def _reported(name: str, kind: str) -> str:
    """Return what the error of a function or child workflow is called (rules 13, 57, 78)."""
    if name in ("ChainedInvoke.Timeout", "Sandbox.Timedout"):
        return "States.Timeout"
    if name in ("TooManyRequestsException", "ServiceException"):
        return f"Lambda.{name}"
    if kind == "workflow":
        return f"Worker.{name}" if name in (*ONLY_BY_NAME, "NonDeterministicExecutionError") else name
    return f"Worker.{name}" if name.startswith("States.") else name


def in_place(state: State, scope: Scope, attempt: int) -> Done:
    """Do one attempt of a step, aws or http; an error in its output is one of the attempt (rule 18)."""
    payload = {
        "step": lambda: state.get("payload", {}),
        "aws": lambda: state.get("params", {}),
        "http": lambda: {key: state[key] for key in ("method", "url", "headers", "query", "body") if key in state},
    }[state["type"]]()
    try:
        payload = value(scope, payload, attempt=attempt)
    except Failure as failure:
        failure.is_final = attempt == 1
        raise
    return Done(raw=_here(state, scope, state["name"], payload, attempt))


def _here(state: State, scope: Scope, name: str, payload: Any, attempt: int, **extra: Any) -> Any:
    asked = payload.get("body") if state["type"] == "http" else payload
    scope.work.append([state["type"], name, asked])
    answer = scope.world.answer(name, asked)
    try:
        if "result" not in answer:
            error = answer["error"]
            raise Failure(error["name"], error["message"], error.get("data"))  # noqa: TRY301 - as work raises it
        result = projected(state, scope, answer["result"], attempt, **extra)
    except Failure as failure:
        failure.is_work = failure.name not in NOT_WORK
        raise
    finally:
        scope.clock.recorded = max(scope.clock.recorded, scope.clock.now)
    return result


# Waiting -------------------------------------------------------------------------------------------------------------


def wait(state: State, scope: Scope, attempt: int) -> Done:
    if "duration" in state:
        pause = math.ceil(seconds(scope, state["duration"], attempt=attempt))
    else:
        moment = text(scope, state["until"], attempt=attempt)
        if not scope.clock.is_exact:
            raise AmbiguousError
        try:
            pause = math.ceil(parse_time(moment) - scope.clock.recorded / 1000)  # "past" by context.now (rule 26)
        except EvaluationError as error:
            raise Failure("States.QueryEvaluationError", error.message) from error
    if pause > 0:
        scope.work.append(["wait", _label(state, scope), pause])
        scope.clock.go(pause * 1000)
        scope.clock.recorded = max(scope.clock.recorded, scope.clock.now)
    return Done()


def _label(state: State, scope: Scope) -> str:
    return (to_display(value(scope, state["label"])) if "label" in state else "") or state["name"]


def wait_for_callback(state: State, scope: Scope, attempt: int) -> Done:
    clock = scope.clock
    answer = scope.world.answer(state["name"], {})
    limits = [
        (math.ceil(seconds(scope, state[key], attempt=attempt)) * 1000, name)
        for key, name in (("timeout", "States.Timeout"), ("heartbeat_timeout", "States.HeartbeatTimeout"))
        if key in state
    ]
    scope.work.append(["wait_for_callback", state["name"], None])
    began = clock.now
    run_list(state.get("submit", []), replace(scope.apart(callback={"id": "an id"}), undo=[]))
    limit, name = min(limits, default=(math.inf, ""))
    if answer["after"] == limit or clock.now - began >= min(limit, answer["after"] or 1):
        raise AmbiguousError
    clock.go(int(min(limit, answer["after"])) - (clock.now - began))
    clock.recorded = max(clock.recorded, clock.now)
    if limit < answer["after"]:
        raise Failure(name, "nobody answered")
    if "error" in answer:
        error = answer["error"]
        raise Failure("States.CallbackFailed", error["message"], {"type": error["name"]})
    if state.get("result_format") == "text":
        return Done(raw=json.dumps(answer["result"]))
    return Done(raw=answer["result"])


def wait_for_condition(state: State, scope: Scope, attempt: int) -> Done:
    """Check until the condition holds (rules 40, 74)."""
    checked, clock = {"name": state["name"], **state["check"]}, scope.clock
    previous = value(scope, state.get("initial"), attempt=attempt)
    deadline = clock.now + math.ceil(seconds(scope, state["timeout"])) * 1000 if "timeout" in state else None
    began: int | None = None
    poll, failures = 0, 0
    while True:
        poll += 1
        failed: Failure | None = None
        try:
            payload = value(scope, checked.get("payload", {}), previous=previous, attempt=poll)
            result = _here(checked, scope, state["name"], payload, poll, previous=previous)
            failures = 0
            previous = result
            if holds(scope, state["until"], result=result, attempt=poll):
                return Done(raw=result)
        except Failure as failure:
            failed = failure.at(state, poll)
            failures += 1
        if deadline is not None and clock.now >= deadline:
            raise failed or Failure("States.Timeout", "the condition does not hold in time")
        if failed:
            began = clock.now if failures == 1 or began is None else began
            delay = _delay(_named(checked.get("retry"), scope), scope, failed, failures, began)
            if delay is None:
                raise failed
        elif poll >= state.get("max_attempts", math.inf):
            raise Failure("States.ConditionNotMet", "the condition does not hold")
        else:
            delay = _until_next_poll(state, scope, poll)
        least, most = (part * 1000 for part in delay)
        if deadline is not None:
            least, most = min(least, deadline - clock.now), min(most, deadline - clock.now)
            if least != most:
                raise AmbiguousError
        clock.go(most)
        clock.is_exact &= least == most


def _until_next_poll(state: State, scope: Scope, poll: int) -> tuple[int, int]:
    delay = seconds(scope, state.get("interval", "30s")) * state.get("backoff_rate", 1) ** (poll - 1)
    if "max_delay" in state:
        delay = min(delay, seconds(scope, state["max_delay"]))
    share = {"full": 0.0, "half": 0.5, "none": 1.0}[state.get("jitter", "none")]
    return max(1, math.ceil(delay * share)), max(1, math.ceil(delay))


# Structure -----------------------------------------------------------------------------------------------------------


def _result(last: Record | None) -> Any:
    return last.result if last else None


def choice(state: State, scope: Scope, attempt: int) -> Done:
    states, target = state.get("default"), None
    for arm in state["choices"]:
        if holds(scope, arm["when"], attempt=attempt):
            states, target = arm.get("states"), arm.get("next")
            break
    last = timed(scope, state.get("timeout"), lambda: run_list(states or [], scope))
    return Done(raw=_result(last), target=target)


def block(state: State, scope: Scope, attempt: int) -> Done:  # noqa: ARG001 - one signature for all types
    inner = scope.apart() if state.get("context") else scope
    return Done(raw=_result(timed(scope, state.get("timeout"), lambda: run_list(state["states"], inner))))


def loop(state: State, scope: Scope, attempt: int) -> Done:  # noqa: ARG001 - one signature for all types
    return Done(raw=_result(timed(scope, state.get("timeout"), lambda: _iterated(state, scope))))


def _iterated(state: State, scope: Scope) -> Record | None:
    """Run the iterations; return the last state of the last one (rules 8, 29)."""
    last: Record | None = None
    number = 0
    while "while" not in state or holds(scope, state["while"], iteration=number):
        if number == state["max_iterations"]:
            if ("while" in state or "until" in state) and state.get("on_limit", "fail") == "fail":
                raise Failure("States.LoopLimitExceeded", "it would go on")
            break
        if number and "delay" in state:
            pause = math.ceil(seconds(scope, state["delay"], iteration=number))
            if pause > 0:
                scope.work.append(["delay", state["name"], pause])
                scope.clock.go(pause * 1000)
        last = run_list(state["states"], scope.inside(iteration=number))
        if "until" in state and holds(scope, state["until"], iteration=number, result=_result(last)):
            break
        number += 1
    return last


@dataclass(kw_only=True, eq=False)
class Strand:
    """An item or branch: how it ended (`failure`, or `result`, or cut off) and when, and what it had done by then."""

    key: int | str
    clock: Clock
    scope: Scope
    result: Any = None
    failure: Failure | None = None
    is_cut: bool = False


def parallel(state: State, scope: Scope, attempt: int) -> Done:
    bodies: list[Any] = [(name, states, {}) for name, states in state["branches"].items()]
    results, more = timed(scope, state.get("timeout"), lambda: _side_by_side(state, scope, bodies, "branch", attempt))
    return Done(raw=results, more=more)


def map_(state: State, scope: Scope, attempt: int) -> Done:
    items = value(scope, state["items"], is_expression=True, attempt=attempt)
    if not isinstance(items, list):
        raise Failure("States.QueryEvaluationError", "no list")
    size = state.get("batch_size")
    given = [items[i : i + size] for i in range(0, len(items), size)] if size else items  # rule 36
    key = "batch" if size else "item"
    bodies: list[Any] = [(i, state["states"], {key: one, "index": i}) for i, one in enumerate(given)]
    results, more = timed(scope, state.get("timeout"), lambda: _side_by_side(state, scope, bodies, "index", attempt))
    return Done(raw=list(results.values()), more=more)


def _side_by_side(state: State, scope: Scope, bodies: list[Any], key: str, attempt: int) -> Any:
    """Run items or branches until they are decided (rules 34, 35, 59); return the results and what else is recorded."""
    clock, total = scope.clock, len(bodies)
    limit = min(state.get("max_concurrency", total), total)
    ended: list[Strand] = []
    started = [_strand(scope, body, clock.now, clock.deadline) for body in bodies[:limit]]
    running = [(strand.clock.now, position) for position, strand in enumerate(started)]
    reason = _decision(state, total, ended)
    while reason is None:
        heapq.heapify(running)
        moment, position = heapq.heappop(running)
        strand = started[position]
        if strand.is_cut:  # the earliest of all is: time is up around the whole
            break
        ended.append(strand)
        reason = _decision(state, total, ended)
        if reason is None and len(started) < total:
            started.append(_strand(scope, bodies[len(started)], moment, clock.deadline))
            running.append((started[-1].clock.now, len(started) - 1))
    then = ended[-1].clock.now if reason and ended else max((s.clock.now for s in started), default=clock.now)
    failed = [strand for strand in ended if strand.failure]
    is_failed = reason == "FAILURE_TOLERANCE_EXCEEDED"
    if limit > 1:
        others = [s for s in started if s not in ended] if reason else []
        rivals = [*others, *(ended[:-1] if is_failed else [])]
        if (others and not all(s.clock.is_exact for s in started)) or any(then in s.clock.moments for s in rivals):
            raise AmbiguousError
        started = [
            _strand(scope, bodies[i], min(s.clock.moments), then) if s in others else s for i, s in enumerate(started)
        ]
    for strand in started:  # index order, or that in which branches are declared (rule 38)
        scope.work.extend(strand.scope.work)
        scope.undo.extend(strand.scope.undo)
        clock.moments |= strand.clock.moments
        clock.is_exact &= strand.clock.is_exact
        clock.recorded = max(clock.recorded, min(strand.clock.recorded, then))
    clock.now = then
    clock.moments.add(then)
    if reason is None:
        raise CutError
    results = dict.fromkeys(body[0] for body in bodies)
    results |= {strand.key: strand.result for strand in ended}
    summary = {"total": total, "succeeded": len(ended) - len(failed), "failed": len(failed), "reason": reason}
    failures = [
        {key: s.key, "item_name": _item_name(state, s), "error": s.failure.brief("name", "message", "data")}
        for s in sorted(failed, key=lambda s: [body[0] for body in bodies].index(s.key))
        if s.failure
    ]
    if is_failed:
        if not state.get("completion"):
            first = failed[0]
            assert first.failure
            first.failure.value[key] = first.key
            raise first.failure
        data = {**summary, "failures": failures[:10]}
        raise Failure("States.ExceedToleratedFailureThreshold", "too many failed", data).at(state, attempt)
    return results, {"failures": failures, "summary": summary}


def _strand(scope: Scope, body: Any, began: int, deadline: int | None) -> Strand:
    key, states, names = body
    clock = Clock(now=began, deadline=deadline, is_exact=scope.clock.is_exact, recorded=scope.clock.recorded)
    inner = replace(scope.apart(**names), clock=clock, work=[], undo=[])
    strand = Strand(key=key, clock=clock, scope=inner)
    try:
        strand.result = _result(run_list(states, inner))
    except Finished as end:
        strand.result = end.output[0] if end.output else _result(end.last)
    except Failure as failure:
        strand.failure = failure
    except CutError:
        strand.is_cut = True
    return strand


def _decision(state: State, total: int, ended: list[Strand]) -> str | None:
    """Say why a map or parallel is decided, or None while it is not."""
    completion = state.get("completion") or {}
    failed = sum(strand.failure is not None for strand in ended)
    succeeded = len(ended) - failed
    minimum = completion.get("min_successful")
    count, percentage = (completion.get(f"tolerated_failure_{key}") for key in ("count", "percentage"))
    is_exceeded = not completion and failed > 0
    is_exceeded |= count is not None and failed > count
    is_exceeded |= percentage is not None and total > 0 and failed / total * 100 > percentage
    if is_exceeded:
        return "FAILURE_TOLERANCE_EXCEEDED"
    if minimum is not None and succeeded >= min(minimum, total):
        return "MIN_SUCCESSFUL_REACHED"
    if len(ended) < total:
        return None
    return "ALL_COMPLETED" if minimum is None else "FAILURE_TOLERANCE_EXCEEDED"


def _item_name(state: State, strand: Strand) -> str | None:
    """Return the name that a failed item has on the wire, null when none is given (rules 37, 77)."""
    if "item_name" not in state:
        return None
    shown = to_display(value(strand.scope, state["item_name"]))
    return "".join(c if " " <= c <= "~" else "_" for c in shown)[:256]


# Data, end -----------------------------------------------------------------------------------------------------------


def pass_(state: State, scope: Scope, attempt: int) -> Done:  # noqa: ARG001 - one signature for all types
    return Done()


def succeed(state: State, scope: Scope, attempt: int) -> Done:
    finish(state, scope, Done(), attempt)
    raise Finished((scope.records[state["name"]].result,) if "output" in state else ())


def fail(state: State, scope: Scope, attempt: int) -> Done:
    name = text(scope, state["error"], attempt=attempt)
    cause = to_display(value(scope, state["cause"], attempt=attempt)) if "cause" in state else ""
    raise Failure(name, cause, value(scope, state.get("data"), attempt=attempt))


TYPES: dict[str, tuple[Any, bool]] = {
    "invoke": (invoke, False),
    "step": (in_place, False),
    "aws": (in_place, False),
    "http": (in_place, False),
    "workflow": (child, False),
    "wait": (wait, False),
    "wait_for_callback": (wait_for_callback, False),
    "wait_for_condition": (wait_for_condition, False),
    "choice": (choice, True),
    "block": (block, True),
    "loop": (loop, True),
    "parallel": (parallel, True),
    "map": (map_, True),
    "pass": (pass_, False),
    "succeed": (succeed, False),
    "fail": (fail, False),
}
"""What runs one attempt of a state, and whether it is a scope of other states that share its attempts."""
