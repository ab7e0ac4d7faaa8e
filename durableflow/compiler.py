"""How does a Workflow become a Plan? Also the front door: text in, Plan out.

    Source ─ read ─▶ Document ─ decode ─▶ Workflow ─ check ─▶ problems ─ translate ─▶ Plan

:func:`understand` goes as far as the problems and accepts the whole language; :func:`compile_workflow` goes to the end
and refuses what this version cannot run yet. In the Plan everything is resolved: templates are trees, retry policies
and defaults stand at each state, loaded files and schemas are part of it. The same definition gives the same bytes;
comments, white space and the order of fields do not reach it, places only as `at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never, cast

from durableflow import model, plan
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.errors import Diagnostic, WorkflowError, diagnostic, in_file_order
from durableflow.expressions import Program, replace_calls
from durableflow.model import RetriedState, UndoableState
from durableflow.references import text_span
from durableflow.rules import NOTHING_KNOWN, Subject, check, findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from durableflow.document import Document, Path
    from durableflow.expressions import Tree
    from durableflow.model import Part, Placed, State, Workflow
    from durableflow.plan import AnyNode, Place, Plan
    from durableflow.rules import Known
    from durableflow.source import Source
    from durableflow.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A workflow that is ready to run.

    Args:
        plan: what runs.
        problems: warnings and information, in file order.
        workflow: what the file says.
        document: the file's data and places.
    """

    plan: Plan
    problems: tuple[Diagnostic, ...]
    workflow: Workflow
    document: Document


Understood: TypeAlias = "tuple[Workflow | None, Document | None, tuple[Diagnostic, ...]]"


def understand(source: Source, known: Known = NOTHING_KNOWN) -> Understood:
    """Return what a text says and everything that is wrong with it; takes the whole language and raises nothing.

    Args:
        source: the text of a workflow file.
        known: facts from outside the file.

    Returns:
        The workflow, or None when the text has not its shape; the text's data and places, or None when it cannot be
        read; every problem, warning and information in file order.
    """
    document = None
    try:
        document = read_document(source)
        workflow = decode_workflow(document)
    except WorkflowError as error:
        return None, document, error.problems
    return workflow, document, tuple(check(workflow, document, known=known))


def compile_workflow(source: Source, *, known: Known = NOTHING_KNOWN) -> Compiled:
    """Return the Plan of a workflow file.

    Args:
        source: its text, named as messages and the Plan are to name it.
        known: facts from outside the file; `load()` and schemas in files need its `load_file`.

    Raises:
        WorkflowError: with every problem there is, among them what this version cannot run yet.
    """
    document = read_document(source)
    workflow = decode_workflow(document)
    made, problems = _translated(workflow, document, known)
    return Compiled(plan=made, problems=problems, workflow=workflow, document=document)


def to_plan(workflow: Workflow, document: Document, known: Known = NOTHING_KNOWN) -> Plan:
    """Return the Plan of a workflow.

    Raises:
        WorkflowError: it has problems, or this version cannot run it yet.
    """
    return _translated(workflow, document, known)[0]


def _translated(workflow: Workflow, document: Document, known: Known) -> tuple[Plan, tuple[Diagnostic, ...]]:
    subject = Subject.of(workflow, document, known)
    problems = in_file_order([*findings(subject), *_not_yet(subject)])
    if any(problem.severity == "error" for problem in problems):
        raise WorkflowError(problems)
    return _Translation(subject).result(), problems


# What this version cannot run yet.

Runnable: TypeAlias = (
    model.Invoke
    | model.Step
    | model.Wait
    | model.Choice
    | model.Block
    | model.Loop
    | model.Pass
    | model.Succeed
    | model.Fail
)
_RUNNABLE: Final = (
    model.Invoke,
    model.Step,
    model.Wait,
    model.Choice,
    model.Block,
    model.Loop,
    model.Pass,
    model.Succeed,
    model.Fail,
)
_NOT_YET: Final = "this version of durableflow validates it but cannot run it yet"
_ARTICLES: Final = {"aws": "an"}


def _not_yet(subject: Subject) -> Iterator[Diagnostic]:
    workflow, document = subject.workflow, subject.document
    for path in _workflow_fields(workflow):
        message = f"the workflow has {' with '.join(map(_named, path))}; {_NOT_YET}"
        yield diagnostic("DF391", message, span=document.key_span(path))
    for placed in subject.places:
        yield from _state_not_yet(placed, document)
    for template in subject.templates.values():
        for call in template.calls:
            if call.name == "secret":
                span = text_span(document, (*template.slot.path, *call.path), call.offset, call.length)
                yield diagnostic("DF392", f"secret() is used here; {_NOT_YET}", span=span)


def _named(field: str | int) -> str:
    return f"'{field}'"


def _workflow_fields(workflow: Workflow) -> Iterator[Path]:
    if workflow.timeout is not None:
        yield ("timeout",)
    if workflow.defaults and workflow.defaults.timeout is not None:
        yield ("defaults", "timeout")
    if workflow.finally_:
        yield ("finally",)
    if "compensation" in workflow.model_fields_set:
        yield ("compensation",)


def _state_not_yet(placed: Placed, document: Document) -> Iterator[Diagnostic]:
    state = placed.state
    if not isinstance(state, _RUNNABLE):
        what = f"{_ARTICLES.get(state.type, 'a')} {state.type}"
        message = f"state '{state.name}' is {what}; {_NOT_YET}"
        yield diagnostic("DF390", message, span=document.span((*placed.path, "type")))
    for field in _state_fields(state):
        message = f"state '{state.name}' has {_named(field)}; {_NOT_YET}"
        yield diagnostic("DF391", message, span=document.key_span((*placed.path, field)))


def _state_fields(state: State) -> Iterator[str]:
    """Give the fields of a state that cannot run; of a type that cannot run, those that no type can run."""
    if state.renamed_from:
        yield "renamed_from"
    if isinstance(state, UndoableState) and state.compensate:
        yield "compensate"
    if not isinstance(state, _RUNNABLE):
        return
    if isinstance(state, RetriedState) and state.timeout is not None:
        yield "timeout"
    if isinstance(state, (model.Block, model.Choice, model.Loop)) and state.retry:
        yield "retry"
    if isinstance(state, model.Block):
        if state.finally_:
            yield "finally"
        if state.context:
            yield "context"
        if "compensation" in state.model_fields_set:
            yield "compensation"


# Workflow → Plan, construct by construct, in the order of model.py.


class _Translation:
    def __init__(self, subject: Subject) -> None:
        self._workflow = subject.workflow
        self._document = subject.document
        self._templates = subject.templates
        self._packaged = subject.packaged

    def result(self) -> Plan:
        workflow = self._workflow
        return plan.Plan(
            name=workflow.name,
            version=workflow.version,
            file=self._document.source.name,
            input_schema=self._schema(workflow.input.schema_ if workflow.input else None),
            output_schema=self._schema(workflow.output_schema),
            output=self._given(workflow, "output", ()),
            vars=self._programs(workflow.vars, ("vars",)),
            env=workflow.env,
            states=self._states(workflow.states, ("states",)),
            catch=self._catchers(workflow.catch, ("catch",)),
        )

    def _states(self, states: Sequence[State], path: Path) -> plan.States:
        return plan.States.of([self._state(cast("Runnable", state), (*path, i)) for i, state in enumerate(states)])

    def _state(self, state: Runnable, path: Path) -> AnyNode:  # noqa: PLR0911 - one return for each type
        common = self._common(state, path)
        match state:
            case model.Invoke():
                return plan.Invoke(
                    **common,
                    function=self._program((*path, "function")),
                    payload=self._given(state, "payload", path) or _EMPTY_OBJECT,
                    tenant_id=self._given(state, "tenant_id", path),
                    allow=state.allow,
                    retry=self._retry(state, path),
                )
            case model.Step():
                return plan.Step(
                    **common,
                    handler=state.handler,
                    payload=self._given(state, "payload", path) or _EMPTY_OBJECT,
                    semantics=state.semantics,
                    retry=self._retry(state, path),
                )
            case model.Wait():
                return plan.Wait(
                    **common,
                    duration=self._given(state, "duration", path),
                    until=self._given(state, "until", path),
                )
            case model.Choice():
                return plan.Choice(
                    **common,
                    choices=tuple(self._arm(arm, (*path, "choices", i)) for i, arm in enumerate(state.choices)),
                    default=None if state.default is None else self._states(state.default, (*path, "default")),
                )
            case model.Block():
                return plan.Block(**common, states=self._states(state.states, (*path, "states")))
            case model.Loop():
                return plan.Loop(
                    **common,
                    while_=self._given(state, "while_", path),
                    until=self._given(state, "until", path),
                    max_iterations=state.max_iterations,
                    delay=self._given(state, "delay", path),
                    on_limit=state.on_limit,
                    states=self._states(state.states, (*path, "states")),
                )
            case model.Pass():
                return plan.Pass(**common)
            case model.Succeed():
                return plan.Succeed(**common)
            case model.Fail():
                return plan.Fail(
                    **common,
                    error=self._program((*path, "error")),
                    cause=self._given(state, "cause", path),
                    data=self._given(state, "data", path),
                )
            case _:
                assert_never(state)

    def _common(self, state: Runnable, path: Path) -> dict[str, Any]:
        return {
            "name": state.name,
            "when": self._condition(state, path),
            "output": self._given(state, "output", path),
            "assign": self._programs(state.assign, (*path, "assign")),
            "label": self._given(state, "label", path),
            "catch": self._catchers(state.catch, (*path, "catch")),
            "next": state.next,
            "result_schema": self._schema(state.result_schema),
            "at": self._place(path),
        }

    def _arm(self, arm: model.ChoiceArm, path: Path) -> plan.Arm:
        return plan.Arm(
            when=self._program((*path, "when")),
            states=None if arm.states is None else self._states(arm.states, (*path, "states")),
            next=arm.next,
            at=self._place(path),
        )

    def _retry(self, state: model.Invoke | model.Step, path: Path) -> tuple[plan.Retrier, ...]:
        """Return the retriers that hold for a state: its own, else those of `defaults` (rule 23)."""
        retry = state.retry
        place: Path = (*path, "retry")
        if retry is None and self._workflow.defaults:
            retry = self._workflow.defaults.retry
            place = ("defaults", "retry")
        if isinstance(retry, str):
            place = ("retry_policies", retry)
            retry = self._workflow.retry_policies[retry]
        return tuple(self._retrier(retrier, (*place, i)) for i, retrier in enumerate(retry or ()))

    def _retrier(self, retrier: model.Retrier, path: Path) -> plan.Retrier:
        # Defaults are written out (rule 22), so that a Plan means the same when a later version has others.
        return plan.Retrier(
            errors=retrier.errors,
            when=self._condition(retrier, path),
            max_attempts=retrier.max_attempts,
            interval=self._given(retrier, "interval", path) or Program(["const", retrier.interval]),
            backoff_rate=None if retrier.increment is not None else retrier.backoff_rate,
            increment=self._given(retrier, "increment", path),
            max_delay=self._given(retrier, "max_delay", path),
            jitter=retrier.jitter,
            max_duration=self._given(retrier, "max_duration", path),
        )

    def _catchers(self, catchers: Sequence[model.Catcher], path: Path) -> tuple[plan.Catcher, ...]:
        return tuple(self._catcher(catcher, (*path, i)) for i, catcher in enumerate(catchers))

    def _catcher(self, catcher: model.Catcher, path: Path) -> plan.Catcher:
        return plan.Catcher(
            errors=catcher.errors,
            when=self._condition(catcher, path),
            assign=self._programs(catcher.assign, (*path, "assign")),
            output=self._given(catcher, "output", path),
            states=None if catcher.states is None else self._states(catcher.states, (*path, "states")),
            next=catcher.next,
            at=self._place(path),
        )

    # Values.

    def _program(self, path: Path) -> Program:
        return Program(replace_calls(self._templates[path].tree, "load", self._loaded))

    def _loaded(self, arguments: list[Tree]) -> Tree:
        file = cast("str", cast("list[Json]", arguments[0])[1])  # the rules saw to it: one literal text
        return ["const", self._packaged.value(file)]

    def _given(self, part: Part, field: str, path: Path) -> Program | None:
        """Return the program of a field that was written, else None."""
        return self._program((*path, field.rstrip("_"))) if field in part.model_fields_set else None

    def _condition(self, part: model.StateFields | model.Retrier | model.Catcher, path: Path) -> Program | None:
        return None if part.when is True else self._program((*path, "when"))

    def _programs(self, values: Mapping[str, Json], path: Path) -> dict[str, Program]:
        return {name: self._program((*path, name)) for name in values}

    def _schema(self, schema: Json) -> Json:
        return self._packaged.value(schema) if isinstance(schema, str) else schema

    def _place(self, path: Path) -> Place:
        span = self._document.span(path)
        return (span.start.line, span.start.column, span.end.line, span.end.column)


_EMPTY_OBJECT: Final = Program(["const", {}])
