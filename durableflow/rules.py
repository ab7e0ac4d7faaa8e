"""Does it make sense? Names resolve, flow ends, data exists: a tuple of small functions, each with its codes.

A rule looks at a workflow that has the right shape and gives what it finds, in any order; :func:`check` puts everything
into file order. What only follows from another problem is left to that one. Facts from outside the file (what the
project declares, whether a handler exists, what a file holds) are injected with :class:`Known`: nothing here opens a
file, imports a handler or reads the environment.

Source: language.md sections 2, 3, 5 to 8; section 12, as each rule says.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from durableflow import faults
from durableflow.errors import diagnostic, in_file_order
from durableflow.estimate import RACED, WORK, estimate
from durableflow.flow import Layout, jumps, waits
from durableflow.forms import is_template
from durableflow.json_schema import schema_problems
from durableflow.model import (
    Aws,
    Block,
    ChildWorkflow,
    Choice,
    Fail,
    Http,
    HttpCheck,
    Invoke,
    Loop,
    Map,
    Parallel,
    RetriedState,
    Step,
    StepCheck,
    Succeed,
    UndoableState,
    WaitForCallback,
    WaitForCondition,
    lists_in,
    walk_states,
)
from durableflow.packaged import LoadFile, Packaged
from durableflow.plan import END, Plan
from durableflow.references import TEMPLATES_MAX, Near, check_templates, count_templates, listed, templates_in
from durableflow.source import Mark, Span, shown

if TYPE_CHECKING:
    from durableflow.document import Document, Path
    from durableflow.errors import Diagnostic
    from durableflow.estimate import FindWorkflow
    from durableflow.model import Catcher, Completion, Placed, Retrier, State, Workflow
    from durableflow.references import Template
    from durableflow.values import Json

OPERATIONS_MAX: Final = 3_000
"""Durable operations that the platform allows an execution (protocol.md 9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the file; None stands for *not known*, and then nothing is said about it.

    Args:
        functions: the functions that the project declares.
        durable: the names, without a qualifier, of those that are durable functions.
        workflows: the names of the project's workflows.
        find_workflow: gives a workflow of the project, for those that are inline.
        env: the environment names that have a value.
        hosts: the hosts (`host` or `host:port`) that may be reached without https.
        check_handler: says what is wrong with a handler such as `risk.rules:score` (its span is filled in here).
        load_file: reads a file that the workflow names.
        inline: gives the Plan of another workflow of the project, for `mode: inline`; raises WorkflowError with its
            problems.
        operations: how many operations an execution may take.
    """

    functions: frozenset[str] | None = None
    durable: frozenset[str] = frozenset()
    workflows: frozenset[str] | None = None
    find_workflow: FindWorkflow | None = None
    env: frozenset[str] | None = None
    hosts: frozenset[str] | None = None
    check_handler: Callable[[str], Diagnostic | None] | None = None
    load_file: LoadFile | None = None
    inline: Callable[[str], Plan] | None = None
    operations: int = OPERATIONS_MAX


NOTHING_KNOWN: Final = Known()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A workflow and what every rule, and the compiler after them, needs to know about it."""

    workflow: Workflow
    document: Document
    known: Known
    places: tuple[Placed, ...]
    layout: Layout
    templates: dict[Path, Template]
    packaged: Packaged
    near: Near

    @classmethod
    def of(cls, workflow: Workflow, document: Document, known: Known) -> Subject:
        """Look at a workflow: find its states, parse its templates."""
        return cls(
            workflow=workflow,
            document=document,
            known=known,
            places=tuple(walk_states(workflow)),
            layout=Layout(workflow),
            templates=templates_in(workflow),
            packaged=Packaged(known.load_file),
            near=Near(),
        )

    def name_span(self, placed: Placed) -> Span:
        """Return where a state's name is written: where what concerns the whole state is reported."""
        return self.document.span((*placed.path, "name"))

    def map_around(self, placed: Placed) -> Map | None:
        """Return the innermost map that runs a state for each of its items."""
        around = zip(reversed(placed.parents), self.layout.keys(placed.path), strict=False)
        return next((state for state, key in around if isinstance(state, Map) and key == "states"), None)


Rule: TypeAlias = Callable[[Subject], Iterator["Diagnostic"]]


def check(workflow: Workflow, document: Document, *, known: Known = NOTHING_KNOWN) -> list[Diagnostic]:
    """Return everything that is to be said about a workflow, in file order: errors, warnings, information."""
    return findings(Subject.of(workflow, document, known))


def findings(subject: Subject) -> list[Diagnostic]:
    """Return what all rules find, in file order."""
    return list(in_file_order([problem for rule in RULES for problem in rule(subject)]))


# Names and flow (section 5).


def names_are_unique(subject: Subject) -> Iterator[Diagnostic]:
    """State names are unique in the file: operations are told apart by them (section 8)."""
    for placed in subject.places:
        name = placed.state.name
        first = subject.layout.stands[name].placed
        if first is not placed and first.path != placed.path:
            line = subject.name_span(first).start.line
            hint = f"give one of them another name; the first stands in line {line}"
            message = f"a second state is called '{name}'"
            yield diagnostic("DF301", message, span=subject.name_span(placed), hint=hint)


def targets_exist(subject: Subject) -> Iterator[Diagnostic]:
    """A `next` names a state of the same list, or `end`."""
    for list_path, states in subject.layout.lists.items():
        siblings = {state.name: None for state in states}
        for position, inner, target in jumps(states):
            if target == END or target in siblings:
                continue
            has = f"this list has: {listed(siblings)}, and 'end'"
            if target in subject.layout.stands:
                hint = f"'{target}' is in another list; {has}"
            else:
                near = subject.near(target, list(siblings))
                hint = f"{near} {has[0].upper()}{has[1:]}." if near else has
            span = subject.document.span((*list_path, position, *inner))
            yield diagnostic("DF302", f"no state is called '{shown(target)}' here", span=span, hint=hint)


def everything_is_reached(subject: Subject) -> Iterator[Diagnostic]:
    """Every state can be reached; of what stands behind an unreachable one only the first is reported."""
    unreachable: set[Path] = set()
    for list_path, states in subject.layout.lists.items():
        if any(list_path[:length] in unreachable for length in range(len(list_path))):
            continue
        flow = subject.layout.flow(list_path)
        if not flow.is_certain:
            continue
        lost = [i for i in range(len(states)) if i not in flow.reached]
        unreachable.update((*list_path, i) for i in lost)
        for i in lost:
            if i - 1 in lost:
                continue
            behind = next(k for k in range(i, len(states) + 1) if k not in lost) - i - 1
            others = f" (nor can the {behind} after it)" if behind else ""
            yield diagnostic(
                "DF403",
                f"state '{states[i].name}' can never run{others}",
                span=subject.document.span((*list_path, i, "name")),
                hint="what stands before it never goes on to it: take it away, or let a 'next' lead here",
            )


def jumps_go_forward(subject: Subject) -> Iterator[Diagnostic]:
    """A `next` that goes back is better a loop, and without a wait in between it spins (rule 29)."""
    for list_path, states in subject.layout.lists.items():
        positions = {state.name: i for i, state in enumerate(states)}
        for position, inner, target in jumps(states):
            back_to = positions.get(target, len(states))
            if back_to > position:
                continue
            span = subject.document.span((*list_path, position, *inner))
            if any(waits(state) for state in states[back_to : position + 1]):
                message = f"'next: {target}' goes back"
                hint = "a 'loop' says how often at most; a 'wait_for_condition' polls"
                yield diagnostic("DF401", message, span=span, hint=hint)
            else:
                message = f"'next: {target}' goes back without a wait in between"
                hint = "use a 'loop' with 'max_iterations', and a 'delay' or a 'wait' if it waits for something"
                yield diagnostic("DF402", message, span=span, hint=hint)


def choices_have_a_default(subject: Subject) -> Iterator[Diagnostic]:
    """A choice without a match and without a default goes on (section 5)."""
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Choice) and state.default is None and not any(arm.when is True for arm in state.choices):
            message = f"choice '{state.name}' has no default: when no arm matches, the flow goes on behind it"
            hint = "write 'default: []' if that is meant"
            yield diagnostic("DF406", message, span=subject.name_span(placed), hint=hint)


def states_are_allowed(subject: Subject) -> Iterator[Diagnostic]:
    """`succeed` and `compensate` are not allowed everywhere (rules 19, 62)."""
    for placed in subject.places:
        state = placed.state
        special = {"finally", "compensate", "submit"}.intersection(subject.layout.keys(placed.path))
        if not special:
            continue
        inside = f"'{min(special)}'"
        if isinstance(state, Succeed):
            hint = "use 'next: end' to leave the list"
            message = f"'{state.name}' ends the workflow, which is not allowed inside {inside}"
            yield diagnostic("DF313", message, span=subject.name_span(placed), hint=hint)
        if isinstance(state, UndoableState) and state.compensate:
            span = subject.document.key_span((*placed.path, "compensate"))
            message = f"'{state.name}' has a 'compensate', which is not allowed inside {inside}"
            yield diagnostic("DF314", message, span=span, hint="what runs there is not undone; take it away")


def former_names_are_free(subject: Subject) -> Iterator[Diagnostic]:
    """A former name that a state has today would find that state's records (rule 66)."""
    owners: dict[str, str] = dict.fromkeys(subject.layout.stands, "")
    for placed in subject.places:
        for i, name in enumerate(placed.state.renamed_from):
            if name in owners:
                owner = owners[name]
                what = f"also claimed by '{owner}'" if owner else "the name of a state of this workflow"
                span = subject.document.span((*placed.path, "renamed_from", i))
                hint = "each former name belongs to one state, and to no other today"
                yield diagnostic("DF318", f"the former name '{shown(name)}' is {what}", span=span, hint=hint)
            owners.setdefault(name, placed.state.name)


# Retries, catchers, time (section 6).


def policies_exist(subject: Subject) -> Iterator[Diagnostic]:
    """A `retry` that is text names one of the `retry_policies`."""
    workflow = subject.workflow
    named: list[tuple[Path, object]] = []
    if workflow.defaults:
        named.append((("defaults", "retry"), workflow.defaults.retry))
    for placed in subject.places:
        if isinstance(placed.state, RetriedState):
            named.append(((*placed.path, "retry"), placed.state.retry))
        if isinstance(placed.state, WaitForCondition):
            named.append(((*placed.path, "check", "retry"), placed.state.check.retry))
    for path, retry in named:
        if isinstance(retry, str) and retry not in workflow.retry_policies:
            policies = workflow.retry_policies
            hint = subject.near(retry, list(policies)) or (
                f"the policies are: {listed(policies)}" if policies else "add it to the workflow's 'retry_policies'"
            )
            message = f"no retry policy is called '{shown(retry)}'"
            yield diagnostic("DF303", message, span=subject.document.span(path), hint=hint)


def work_is_retried(subject: Subject) -> Iterator[Diagnostic]:
    """Nothing is retried unless the file says so (section 6)."""
    defaults = subject.workflow.defaults
    if defaults and defaults.retry is not None:
        return
    for placed in subject.places:
        state = placed.state
        if isinstance(state, WORK) and state.retry is None:
            yield diagnostic(
                "DF404",
                f"state '{state.name}' is not retried when it fails",
                span=subject.name_span(placed),
                hint="give it a 'retry', or 'retry: []' if one attempt is meant; 'defaults: {retry: …}' holds for all",
            )


def callbacks_time_out(subject: Subject) -> Iterator[Diagnostic]:
    """A callback that nobody answers waits as long as the execution may live (section 7)."""
    for placed in subject.places:
        if isinstance(placed.state, WaitForCallback) and placed.state.timeout is None:
            message = f"callback '{placed.state.name}' has no timeout"
            hint = "give it a 'timeout' and catch States.Timeout"
            yield diagnostic("DF407", message, span=subject.name_span(placed), hint=hint)


_ARTICLES: Final = {"invoke": "an"}
_NUMBERS: Final = {1: "one extra operation", 2: "two extra operations"}


def timeouts_are_cheap(subject: Subject) -> Iterator[Diagnostic]:
    """A timeout that races a WAIT costs an operation, which a map pays for each item (rules 23, 27, 28)."""
    defaults = subject.workflow.defaults
    for placed in subject.places:
        state = placed.state
        around = subject.map_around(placed) if isinstance(state, RACED) else None
        if around is None or not isinstance(state, RACED):
            continue
        what = f"{_ARTICLES.get(state.type, 'a')} {state.type}"
        per = "item" if around.batch_size is None else "batch"
        hint = "the timeout of the function itself costs nothing"
        if state.timeout is not None:
            makes_context = isinstance(state, (Block, Choice, Loop)) and not state.retry
            makes_context = makes_context and not (isinstance(state, Block) and state.context)
            costs = _NUMBERS[2 if makes_context else 1]
            message = f"timeout on {what} inside a map costs {costs} per {per}"
            yield diagnostic("DF405", message, span=subject.document.key_span((*placed.path, "timeout")), hint=hint)
        elif defaults and defaults.timeout is not None and isinstance(state, (Invoke, ChildWorkflow)):
            message = f"the default timeout on {what} inside a map costs {_NUMBERS[1]} per {per}"
            hint += "; 'timeout' can stand at the states that need it"
            yield diagnostic("DF405", message, span=subject.name_span(placed), hint=hint)


_EVERYTHING: Final = frozenset({faults.ALL, "*"})


def handlers_of_errors_can_match(subject: Subject) -> Iterator[Diagnostic]:
    """A catcher or retrier behind one that takes everything never counts, but for errors caught by name (14, 18)."""
    for path, handlers in _error_handlers(subject):
        noun, done, by_name = "retrier", "takes", faults.ONLY_BY_EXACT_NAME | faults.NEVER_RETRIED_BY_GLOB
        if path[-1] == "catch":
            noun, done, by_name = "catcher", "catches", faults.ONLY_BY_EXACT_NAME
        taken = False
        for i, handler in enumerate(handlers):
            span = subject.document.span((*path, i))
            if set(handler.errors) == {faults.NON_DETERMINISTIC}:
                message = f"this {noun} never matches: '{faults.NON_DETERMINISTIC}' always ends the execution"
                yield diagnostic("DF415", message, span=span, hint="take it away")
            elif taken and not by_name.issuperset(handler.errors):
                message = f"this {noun} never matches: one before it {done} every error"
                yield diagnostic("DF415", message, span=span, hint=f"put the {noun} for {faults.ALL} last")
            taken = taken or (handler.when is True and not _EVERYTHING.isdisjoint(handler.errors))


def errors_have_names(subject: Subject) -> Iterator[Diagnostic]:
    """A name of the language's own errors that is nearly right matches nothing (section 6)."""
    own = {placed.state.error for placed in subject.places if isinstance(placed.state, Fail)}
    for path, handlers in _error_handlers(subject):
        for i, handler in enumerate(handlers):
            for j, name in enumerate(handler.errors):
                if not name.startswith("States.") or name in faults.NAMES or name in own:
                    continue
                near = difflib.get_close_matches(name, faults.NAMES, n=1, cutoff=0.85)
                if near:
                    span = subject.document.span((*path, i, "errors", j))
                    message = f"no error is called '{shown(name)}'"
                    yield diagnostic("DF419", message, span=span, hint=f"did you mean '{near[0]}'?")


def _error_handlers(subject: Subject) -> Iterator[tuple[Path, tuple[Catcher | Retrier, ...]]]:
    """Give every list of catchers and of retriers."""
    workflow = subject.workflow
    yield ("catch",), workflow.catch
    for name, policy in workflow.retry_policies.items():
        yield ("retry_policies", name), policy
    retried: list[tuple[Path, str | tuple[Retrier, ...] | None]] = []
    if workflow.defaults:
        retried.append((("defaults", "retry"), workflow.defaults.retry))
    for placed in subject.places:
        yield (*placed.path, "catch"), placed.state.catch
        if isinstance(placed.state, RetriedState):
            retried.append(((*placed.path, "retry"), placed.state.retry))
        if isinstance(placed.state, WaitForCondition):
            retried.append(((*placed.path, "check", "retry"), placed.state.check.retry))
    for path, retry in retried:
        if isinstance(retry, tuple):
            yield path, retry


# Maps and parallels (section 7).


def races_have_no_effects(subject: Subject) -> Iterator[Diagnostic]:
    """The losers of a race are abandoned, not cancelled: what they do still happens (section 7)."""
    for placed, completion in _races(subject):
        state = placed.state
        if isinstance(state, Parallel):
            is_race, bodies = (completion.min_successful or 0) < len(state.branches), list(state.branches.values())
            who = "branches"
        else:
            assert isinstance(state, Map)
            is_race, bodies, who = True, [state.states], "items"
        if is_race and any(map(_has_effects, bodies)):
            message = f"the {who} of '{state.name}' that lose the race still do their work"
            hint = "let them only read, or make what they do harmless"
            span = subject.document.key_span((*placed.path, "completion", "min_successful"))
            yield diagnostic("DF412", message, span=span, hint=hint)


def successes_are_possible(subject: Subject) -> Iterator[Diagnostic]:
    """More successes than there are branches are capped (rule 34): was another number meant?"""
    for placed, completion in _races(subject):
        state = placed.state
        wanted = completion.min_successful or 0
        if isinstance(state, Parallel) and wanted > (there := len(state.branches)):
            branches = "1 branch" if there == 1 else f"{there:,} branches"
            message = f"'min_successful' is {wanted:,}, but '{state.name}' has {branches}"
            span = subject.document.span((*placed.path, "completion", "min_successful"))
            yield diagnostic("DF417", message, span=span, hint="it counts as the number of branches: all must succeed")


def _races(subject: Subject) -> Iterator[tuple[Placed, Completion]]:
    for placed in subject.places:
        state = placed.state
        if isinstance(state, (Parallel, Map)) and state.completion and state.completion.min_successful is not None:
            yield placed, state.completion


_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_READING_ACTIONS: Final = ("batch_get_", "describe_", "get_", "head_", "list_", "query", "scan")


def _has_effects(states: tuple[State, ...]) -> bool:
    """Say whether states, or states in them, may change something; what is named like reading only reads."""
    for state in states:
        match state:
            case Http():
                found = state.method not in _READING_METHODS
            case Aws():
                found = not state.action.startswith(_READING_ACTIONS)
            case _:
                found = isinstance(state, WORK)
        if found or any(_has_effects(inner) for _, inner in lists_in(state)):
            return True
    return False


# What the file refers to.


def workflows_exist(subject: Subject) -> Iterator[Diagnostic]:
    """A `workflow` state names a workflow of the project, and not the one it is in (reliability.md D10)."""
    for placed in subject.places:
        state = placed.state
        if not isinstance(state, ChildWorkflow):
            continue
        span = subject.document.span((*placed.path, "workflow"))
        workflows = subject.known.workflows
        if state.workflow == subject.workflow.name:
            if state.mode == "inline":
                continue  # worse, and reported by the rule for those
            message = f"workflow '{state.workflow}' starts itself"
            hint = "make sure that it ends, or use a 'loop'"
            yield diagnostic("DF414", message, span=span, hint=hint)
        elif workflows is not None and state.workflow not in workflows:
            names = sorted(workflows)
            hint = subject.near(state.workflow, names) or f"the project has: {listed(names) or 'no other'}"
            yield diagnostic("DF306", f"no workflow is called '{state.workflow}'", span=span, hint=hint)


def inline_workflows_end(subject: Subject) -> Iterator[Diagnostic]:
    """An inline workflow becomes part of this one, so it cannot come back to itself (rule 33, reliability.md D10)."""
    ending: set[str] = set()
    for placed in subject.places:
        state = placed.state
        if isinstance(state, ChildWorkflow) and state.mode == "inline":
            way = _way_back(state.workflow, (subject.workflow.name,), subject.known.find_workflow, ending)
            if way:
                message = f"inline workflow '{state.workflow}' comes back to itself: {' → '.join(way)}"
                span = subject.document.span((*placed.path, "workflow"))
                hint = "let one of them be 'mode: child', or use a 'loop'"
                yield diagnostic("DF307", message, span=span, hint=hint)


def _way_back(name: str, way: tuple[str, ...], find: FindWorkflow | None, ending: set[str]) -> tuple[str, ...]:
    """Return the names of the inline workflows from `way` on until one stands there twice, or () when none does."""
    if name in way:
        return (*way[way.index(name) :], name)
    found = find(name) if find and name not in ending else None
    if found is not None:
        for placed in walk_states(found):
            state = placed.state
            if isinstance(state, ChildWorkflow) and state.mode == "inline":
                back = _way_back(state.workflow, (*way, name), find, ending)
                if back:
                    return back
    ending.add(name)
    return ()


def templated_functions_are_allowed(subject: Subject) -> Iterator[Diagnostic]:
    """A function that data names must be one of those that the author allows (section 1)."""
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Invoke) and is_template(state.function) and not state.allow:
            message = f"state '{state.name}' calls a function that data names, and has no 'allow'"
            hint = "add 'allow': the names or ARN patterns of the functions that it may call"
            yield diagnostic("DF315", message, span=subject.document.span((*placed.path, "function")), hint=hint)


def durable_functions_are_qualified(subject: Subject) -> Iterator[Diagnostic]:
    """Lambda takes no call of a durable function without a qualifier (section 4; protocol.md 7.4)."""
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Invoke) and state.function in subject.known.durable:
            name = shown(state.function)
            message = f"'{name}' is a durable function and is called without a qualifier"
            hint = f"add an alias or a version, such as '{name}:live', here and in durableflow.yaml"
            yield diagnostic("DF416", message, span=subject.document.span((*placed.path, "function")), hint=hint)


def plain_http_is_allowed(subject: Subject) -> Iterator[Diagnostic]:
    """Without https only the hosts that the project allows are reached (rule 42)."""
    hosts = subject.known.hosts
    if hosts is None:
        return
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Http):
            url, path = state.url, (*placed.path, "url")
        elif isinstance(state, WaitForCondition) and isinstance(state.check, HttpCheck):
            url, path = state.check.url, (*placed.path, "check", "url")
        else:
            continue
        host = "" if is_template(url) or not url.startswith("http://") else urlsplit(url).netloc.lower()
        if host and host not in hosts and host.rpartition(":")[0] not in hosts:
            message = f"'{shown(host)}' is reached without https, which the project does not allow"
            hint = f"write https://, or add '{shown(host)}' to 'http: {{allow: […]}}' in durableflow.yaml"
            yield diagnostic("DF418", message, span=subject.document.span(path), hint=hint)


def functions_are_declared(subject: Subject) -> Iterator[Diagnostic]:
    """A function that the project does not declare cannot be called when the workflow runs here (section 11)."""
    if subject.known.functions is None:
        return
    known = subject.known.functions | (subject.known.workflows or frozenset())
    for placed in subject.places:
        state = placed.state
        if not isinstance(state, Invoke) or is_template(state.function):
            continue
        if state.function not in known and f"{state.function}:$LATEST" not in known:
            names = sorted(known)
            hint = subject.near(state.function, names) or "add it to 'functions' in durableflow.yaml"
            span = subject.document.span((*placed.path, "function"))
            message = f"the project declares no function '{shown(state.function)}'"
            yield diagnostic("DF410", message, span=span, hint=hint)


def handlers_exist(subject: Subject) -> Iterator[Diagnostic]:
    """A step's handler can be imported; whether it can is found out by whoever may import (section 4)."""
    look = subject.known.check_handler
    if look is None:
        return
    found: dict[str, Diagnostic | None] = {}
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Step):
            handler, path = state.handler, (*placed.path, "handler")
        elif isinstance(state, WaitForCondition) and isinstance(state.check, StepCheck):
            handler, path = state.check.handler, (*placed.path, "check", "handler")
        else:
            continue
        if handler not in found:
            found[handler] = look(handler)
        problem = found[handler]
        if problem is not None:
            yield replace(problem, span=subject.document.span(path))


def env_has_values(subject: Subject) -> Iterator[Diagnostic]:
    """A declared environment name should have a value where the workflow is checked."""
    if subject.known.env is None:
        return
    for i, name in enumerate(subject.workflow.env):
        if name not in subject.known.env:
            hint = "give it one under 'env' in durableflow.yaml, or with --env NAME=VALUE"
            span = subject.document.span(("env", i))
            yield diagnostic("DF411", f"the environment name '{shown(name)}' has no value here", span=span, hint=hint)


def schemas_are_valid(subject: Subject) -> Iterator[Diagnostic]:
    """Schemas are JSON Schemas that refer to nothing outside and hold no dangerous pattern (rule 53)."""
    workflow = subject.workflow
    schemas: list[tuple[Path, Json]] = [(("output_schema",), workflow.output_schema)]
    if workflow.input:
        schemas.append((("input", "schema"), workflow.input.schema_))
    for placed in subject.places:
        schemas.append(((*placed.path, "result_schema"), placed.state.result_schema))
        if isinstance(placed.state, WaitForCondition):
            schemas.append(((*placed.path, "check", "result_schema"), placed.state.check.result_schema))
    reported: set[str] = set()
    for path, schema in schemas:
        if isinstance(schema, str) and schema not in reported:
            reported.add(schema)
            yield from _schema_file(subject, schema, path)
        elif schema is not None and not isinstance(schema, str):
            for problem in schema_problems(schema):
                span = subject.document.span((*path, *problem.path))
                yield diagnostic(problem.code, problem.message, span=span, hint=problem.hint)


def _schema_file(subject: Subject, file: str, path: Path) -> Iterator[Diagnostic]:
    span = subject.document.span(path)
    problems = subject.packaged.problems(file, span)
    document = subject.packaged.document(file)
    yield from problems
    if document is not None:
        for problem in schema_problems(document.value):
            inside = document.span(problem.path)
            yield diagnostic(problem.code, problem.message, span=inside, hint=problem.hint)
    elif not problems:
        message = f"the schema '{shown(file)}' is neither JSON nor YAML"
        yield diagnostic("DF308", message, span=span, hint="call it .json, .yaml or .yml")


# Templates, and the whole.


def templates_make_sense(subject: Subject) -> Iterator[Diagnostic]:
    """Templates can be parsed, and what they read exists where they stand; see references.py."""
    count = count_templates(subject.workflow)
    if count > TEMPLATES_MAX:
        message = f"{count:,} templates and expressions are more than a file may hold ({TEMPLATES_MAX:,})"
        yield diagnostic("DF317", message, span=_top(subject), hint="split the workflow")
        return
    yield from check_templates(
        subject.workflow,
        subject.document,
        templates=subject.templates,
        layout=subject.layout,
        packaged=subject.packaged,
        near=subject.near,
    )


def operations_suffice(subject: Subject) -> Iterator[Diagnostic]:
    """How many operations the worst path takes, and whether the platform allows as many (section 2)."""
    worst = estimate(subject.workflow, subject.known.find_workflow)
    limit = subject.known.operations
    message = f"worst path {worst.operations:,} operations of {limit:,}{worst}"
    if worst.operations > limit:
        hint = "give parts of it executions of their own with a 'workflow' state, or a map a 'batch_size'"
        yield diagnostic("DF413", message, span=_top(subject), hint=hint)
    else:
        yield diagnostic("DF900", message, span=_top(subject))


def _top(subject: Subject) -> Span:
    return Span(source=subject.document.source, start=Mark(1, 1), end=Mark(1, 1))


RULES: Final[tuple[Rule, ...]] = (
    names_are_unique,
    targets_exist,
    everything_is_reached,
    jumps_go_forward,
    choices_have_a_default,
    states_are_allowed,
    former_names_are_free,
    policies_exist,
    work_is_retried,
    callbacks_time_out,
    timeouts_are_cheap,
    handlers_of_errors_can_match,
    errors_have_names,
    races_have_no_effects,
    successes_are_possible,
    workflows_exist,
    inline_workflows_end,
    templated_functions_are_allowed,
    durable_functions_are_qualified,
    plain_http_is_allowed,
    functions_are_declared,
    handlers_exist,
    env_has_values,
    schemas_are_valid,
    templates_make_sense,
    operations_suffice,
)
"""Every rule; their order does not matter."""
