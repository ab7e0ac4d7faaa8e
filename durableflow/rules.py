"""Does it make sense? Names resolve, flow ends, data exists: a tuple of small functions, each with its codes.

A rule looks at a workflow that has the right shape and gives what it finds, in any order; :func:`check` puts everything
into file order. What only follows from another problem is left to that one. Facts from outside the file (what the
project declares, whether a handler exists, what a file holds) are injected with :class:`Known`: nothing here opens a
file, imports a handler or reads the environment.

Source: language.md sections 2, 3, 5 to 8; section 12, as each rule says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from durableflow.errors import diagnostic, in_file_order
from durableflow.estimate import INLINE_DEPTH_MAX, estimate
from durableflow.flow import Layout, jumps
from durableflow.forms import is_template
from durableflow.json_schema import schema_problems
from durableflow.lints import LINTS
from durableflow.model import (
    Aws,
    AwsCheck,
    ChildWorkflow,
    Invoke,
    Map,
    RetriedState,
    Step,
    StepCheck,
    Succeed,
    UndoableState,
    WaitForCondition,
    walk_states,
)
from durableflow.packaged import LoadFile, Packaged
from durableflow.parameters import Closest, Misfit, unknown_in
from durableflow.plan import END, Plan
from durableflow.references import TEMPLATES_MAX, Near, check_templates, count_templates, listed, templates_in
from durableflow.source import Mark, Span, shown

if TYPE_CHECKING:
    from durableflow.document import Document, Path
    from durableflow.errors import Diagnostic
    from durableflow.estimate import FindWorkflow
    from durableflow.model import Placed, Workflow
    from durableflow.references import Template
    from durableflow.values import Json

OPERATIONS_MAX: Final = 3_000
"""Durable operations that the platform allows an execution (protocol.md 9)."""

STATES_MAX: Final = 10_000
"""States that a workflow may have with those of its inline ones."""


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
        check_action: says what is wrong with a service, an action and its parameters, in which `parameters.Unknown`
            stands for templates; its last argument finds what a wrong name may have meant.
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
    check_action: Callable[[str, str, Mapping[str, object], Closest], Sequence[Misfit]] | None = None
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


def inline_workflows_fit(subject: Subject) -> Iterator[Diagnostic]:
    """What a workflow becomes with its inline ones has a bound: each that has another twice doubles it (rule 33)."""
    inside = [
        placed for placed in subject.places if isinstance(placed.state, ChildWorkflow) and placed.state.mode == "inline"
    ]
    if not inside:
        return
    states, depth = _size(subject.workflow, subject.known.find_workflow, {}, 0)
    if states <= STATES_MAX and depth <= INLINE_DEPTH_MAX:
        return
    message = f"with its inline workflows this one has more than {STATES_MAX:,} states"
    if depth > INLINE_DEPTH_MAX:
        message = f"its inline workflows stand in each other more than {INLINE_DEPTH_MAX} deep"
    span = subject.document.span((*inside[0].path, "workflow"))
    yield diagnostic("DF319", message, span=span, hint="let some of them be 'mode: child'")


def _size(
    workflow: Workflow, find: FindWorkflow | None, sizes: dict[str, tuple[int, int]], around: int
) -> tuple[int, int]:
    """Return how many states a workflow has with those of its inline ones, and how deep those stand in each other.

    Args:
        workflow: the workflow.
        find: gives the inline ones.
        sizes: those that are known; what comes back to itself counts once.
        around: how many are around it; there is an end to it.
    """
    sizes[workflow.name] = (0, 0)
    states, depth = 0, 0
    for placed in walk_states(workflow):
        states += 1
        state = placed.state
        if isinstance(state, ChildWorkflow) and state.mode == "inline":
            if state.workflow not in sizes:
                found = find(state.workflow) if find and around < INLINE_DEPTH_MAX else None
                sizes[state.workflow] = _size(found, find, sizes, around + 1) if found else (0, 0)
            inner = sizes[state.workflow]
            states, depth = states + inner[0], max(depth, inner[1] + 1)
    sizes[workflow.name] = (states, depth)
    return states, depth


def _way_back(name: str, way: tuple[str, ...], find: FindWorkflow | None, ending: set[str]) -> tuple[str, ...]:
    """Return the names of the inline workflows from `way` on until one stands there twice, or () when none does."""
    if name in way:
        return (*way[way.index(name) :], name)
    is_known = name in ending or len(way) > INLINE_DEPTH_MAX
    found = find(name) if find and not is_known else None
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


def actions_exist(subject: Subject) -> Iterator[Diagnostic]:
    """An aws state names an action of AWS and fits its parameters; AWS's models are asked from outside (section 4)."""
    look = subject.known.check_action
    if look is None:
        return
    for placed in subject.places:
        state, path = placed.state, placed.path
        work, path = (state.check, (*path, "check")) if isinstance(state, WaitForCondition) else (state, path)
        if not isinstance(work, (Aws, AwsCheck)):
            continue
        params = {name: unknown_in(value, is_template) for name, value in work.params.items()}
        for misfit in look(work.service, work.action, params, subject.near.closest):
            # Without `params` at all there is no better place for a parameter that is missing.
            inner = misfit.path if misfit.path[0] in work.model_fields_set else ("action",)
            spot = subject.document.key_span if misfit.is_key and inner == misfit.path else subject.document.span
            yield diagnostic(misfit.code, misfit.message, span=spot((*path, *inner)), hint=misfit.hint)


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
    noun = "operation" if worst.operations == 1 else "operations"
    message = f"worst path {worst.operations:,} {noun} of {limit:,}{worst}"
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
    states_are_allowed,
    former_names_are_free,
    policies_exist,
    workflows_exist,
    inline_workflows_end,
    inline_workflows_fit,
    templated_functions_are_allowed,
    functions_are_declared,
    handlers_exist,
    actions_exist,
    env_has_values,
    schemas_are_valid,
    templates_make_sense,
    operations_suffice,
    *LINTS,
)
"""Every rule; their order does not matter."""
