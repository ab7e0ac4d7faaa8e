"""How does a Workflow become a Plan? Also the front door: text in, Plan out.

    Source ─ read ─▶ Document ─ decode ─▶ Workflow ─ check ─▶ problems ─ translate ─▶ Plan

:func:`understand` goes as far as the problems, :func:`compile_workflow` to the end. In the Plan everything is resolved:
templates are trees, retry policies and defaults stand at each state, loaded files, schemas and inline workflows are
part of it. The same definition gives the same bytes; comments, white space and the order of fields do not reach it,
places only as `at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never, cast

from durableflow import model, plan
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.errors import Diagnostic, WorkflowError, diagnostic, in_file_order
from durableflow.estimate import WORK, is_flat
from durableflow.expressions import Program, replace_calls
from durableflow.model import RetriedState, UndoableState
from durableflow.plan import secret_root
from durableflow.rules import NOTHING_KNOWN, Subject, check, findings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from durableflow.document import Document, Path
    from durableflow.expressions import Tree
    from durableflow.model import Part, State, Workflow
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


AnyWork: TypeAlias = model.StepWork | model.AwsWork | model.HttpWork
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
        WorkflowError: with every problem there is.
    """
    document = read_document(source)
    workflow = decode_workflow(document)
    made, problems = _translated(workflow, document, known)
    return Compiled(plan=made, problems=problems, workflow=workflow, document=document)


def to_plan(workflow: Workflow, document: Document, known: Known = NOTHING_KNOWN) -> Plan:
    """Return the Plan of a workflow.

    Raises:
        WorkflowError: it has problems.
    """
    return _translated(workflow, document, known)[0]


def _translated(workflow: Workflow, document: Document, known: Known) -> tuple[Plan, tuple[Diagnostic, ...]]:
    subject = Subject.of(workflow, document, known)
    problems = in_file_order(findings(subject))
    if any(problem.severity == "error" for problem in problems):
        raise WorkflowError(problems)
    return _Translation(subject).result(), problems


# Workflow → Plan, construct by construct, in the order of model.py.


class _Translation:
    def __init__(self, subject: Subject) -> None:
        self._workflow = subject.workflow
        self._document = subject.document
        self._known = subject.known
        self._templates = subject.templates
        self._packaged = subject.packaged

    def result(self) -> Plan:
        workflow = self._workflow
        return plan.Plan(
            secrets=dict(workflow.secrets),
            timeout=self._given(workflow, "timeout", ()),
            finally_=self._some(workflow.finally_, ("finally",)),
            on_error=workflow.compensation.on_error,
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
        return plan.States.of([self._state(state, (*path, i)) for i, state in enumerate(states)])

    def _some(self, states: Sequence[State], path: Path) -> plan.States | None:
        """Return a list of states that may be empty, or None when it is."""
        return self._states(states, path) if states else None

    def _state(self, state: State, path: Path) -> AnyNode:  # noqa: C901, PLR0911, PLR0912 - one return for each type
        common = self._common(state, path)
        match state:
            case model.Invoke():
                return plan.Invoke(
                    **common,
                    function=self._program((*path, "function")),
                    payload=self._given(state, "payload", path) or _EMPTY_OBJECT,
                    tenant_id=self._given(state, "tenant_id", path),
                    allow=state.allow,
                )
            case model.Step() | model.Aws() | model.Http():
                return self._work(state, path, common)
            case model.ChildWorkflow():
                return plan.ChildWorkflow(
                    **common,
                    workflow=state.workflow,
                    payload=self._given(state, "payload", path) or _EMPTY_OBJECT,
                    inline=self._inline(state, path),
                )
            case model.Wait():
                return plan.Wait(
                    **common,
                    duration=self._given(state, "duration", path),
                    until=self._given(state, "until", path),
                )
            case model.WaitForCallback():
                return plan.WaitForCallback(
                    **common,
                    submit=self._some(state.submit, (*path, "submit")),
                    heartbeat_timeout=self._given(state, "heartbeat_timeout", path),
                    result_format=state.result_format,
                )
            case model.WaitForCondition():
                return self._condition_state(state, path, common)
            case model.Choice():
                return plan.Choice(
                    **common,
                    choices=tuple(self._arm(arm, (*path, "choices", i)) for i, arm in enumerate(state.choices)),
                    default=None if state.default is None else self._states(state.default, (*path, "default")),
                )
            case model.Block():
                return plan.Block(
                    **common,
                    states=self._states(state.states, (*path, "states")),
                    finally_=self._some(state.finally_, (*path, "finally")),
                    on_error=state.compensation.on_error,
                    context=state.context,
                    is_replayed=_has_compensation(state.states),
                )
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
            case model.Parallel():
                lists = list(state.branches.values())
                return plan.Parallel(
                    **common,
                    branches={
                        name: self._states(states, (*path, "branches", name)) for name, states in state.branches.items()
                    },
                    **_fan_out(state, lists),
                )
            case model.Map():
                return plan.Map(
                    **common,
                    items=self._program((*path, "items")),
                    states=self._states(state.states, (*path, "states")),
                    item_name=self._given(state, "item_name", path),
                    batch_size=state.batch_size,
                    **_fan_out(state, [state.states]),
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

    def _work(self, work: AnyWork, path: Path, common: dict[str, Any]) -> plan.Work:
        match work:
            case model.StepWork():
                return plan.Step(
                    **common,
                    handler=work.handler,
                    payload=self._given(work, "payload", path) or _EMPTY_OBJECT,
                    semantics=work.semantics,
                )
            case model.AwsWork():
                return plan.Aws(
                    **common,
                    service=work.service,
                    action=work.action,
                    params=self._given(work, "params", path) or _EMPTY_OBJECT,
                    semantics=work.semantics,
                )
            case model.HttpWork():
                return plan.Http(
                    **common,
                    request=self._request(work, path),
                    success=tuple(_statuses(status) for status in work.success),
                    redirects=work.redirects,
                    semantics=work.semantics,
                )
            case _:
                assert_never(work)

    def _request(self, work: model.HttpWork, path: Path) -> Program:
        fields: dict[str, Tree] = {"method": ["const", work.method], "headers": ["const", {}], "query": ["const", {}]}
        for field in ("method", "url", "headers", "query", "body"):
            if (given := self._given(work, field, path)) is not None:
                fields[field] = given.tree
        return _object(fields)

    def _condition_state(
        self, state: model.WaitForCondition, path: Path, common: dict[str, Any]
    ) -> plan.WaitForCondition:
        place: Path = (*path, "check")
        check = state.check
        own: dict[str, Any] = {
            "name": state.name,
            "output": self._given(check, "output", place),
            "result_schema": self._schema(check.result_schema),
            "retry": self._retriers(check.retry, (*place, "retry")),
            "timeout": self._given(check, "timeout", place),
            "at": self._place(place),
        }
        return plan.WaitForCondition(
            **common,
            check=self._work(check, place, own),
            until=self._program((*path, "until")),
            initial=self._given(state, "initial", path),
            poll=plan.Retrier(
                interval=self._given(state, "interval", path) or Program(["const", state.interval]),
                backoff_rate=state.backoff_rate,
                max_delay=self._given(state, "max_delay", path),
                jitter=state.jitter,
                max_attempts=state.max_attempts or 1,
            ),
            is_limited=state.max_attempts is not None,
        )

    def _inline(self, state: model.ChildWorkflow, path: Path) -> Plan | None:
        if state.mode == "child":
            return None
        if self._known.inline is None:
            message = f"workflow '{state.workflow}' is inline, and there is no project to find it in"
            hint = "put a durableflow.yaml beside the folder 'workflows'"
            span = self._document.span((*path, "workflow"))
            raise WorkflowError([diagnostic("DF306", message, span=span, hint=hint)])
        return self._known.inline(state.workflow)

    def _common(self, state: State, path: Path) -> dict[str, Any]:
        common: dict[str, Any] = {
            "name": state.name,
            "when": self._condition(state, path),
            "output": self._given(state, "output", path),
            "assign": self._programs(state.assign, (*path, "assign")),
            "label": self._given(state, "label", path),
            "catch": self._catchers(state.catch, (*path, "catch")),
            "next": state.next,
            "renamed_from": state.renamed_from,
            "result_schema": self._schema(state.result_schema),
            "at": self._place(path),
        }
        if isinstance(state, UndoableState):
            common["compensate"] = self._some(state.compensate, (*path, "compensate"))
        if isinstance(state, RetriedState):
            common["retry"] = self._retry(state, path)
            common["timeout"] = self._timeout(state, path)
        return common

    def _arm(self, arm: model.ChoiceArm, path: Path) -> plan.Arm:
        return plan.Arm(
            when=self._program((*path, "when")),
            states=None if arm.states is None else self._states(arm.states, (*path, "states")),
            next=arm.next,
            at=self._place(path),
        )

    def _retry(self, state: RetriedState, path: Path) -> tuple[plan.Retrier, ...]:
        """Return the retriers that hold for a state: its own, else, if it does work, those of `defaults` (rule 23)."""
        if state.retry is None and self._workflow.defaults and isinstance(state, WORK):
            return self._retriers(self._workflow.defaults.retry, ("defaults", "retry"))
        return self._retriers(state.retry, (*path, "retry"))

    def _retriers(self, retry: str | tuple[model.Retrier, ...] | None, place: Path) -> tuple[plan.Retrier, ...]:
        if isinstance(retry, str):
            place = ("retry_policies", retry)
            retry = self._workflow.retry_policies[retry]
        return tuple(self._retrier(retrier, (*place, i)) for i, retrier in enumerate(retry or ()))

    def _timeout(self, state: RetriedState, path: Path) -> Program | None:
        defaults = self._workflow.defaults
        if state.timeout is None and defaults and defaults.timeout is not None and isinstance(state, WORK):
            return self._program(("defaults", "timeout"))
        return self._given(state, "timeout", path)

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
        tree = replace_calls(self._templates[path].tree, "load", self._loaded)
        return Program(replace_calls(tree, "secret", _secret))

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


def _secret(arguments: list[Tree]) -> Tree:
    return ["name", secret_root(cast("str", cast("list[Json]", arguments[0])[1]))]


def _object(fields: Mapping[str, Tree]) -> Program:
    if all(cast("list[Json]", tree)[0] == "const" for tree in fields.values()):
        return Program(["const", {name: cast("list[Json]", tree)[1] for name, tree in fields.items()}])
    return Program(["object", list(fields), list(fields.values())])


def _statuses(status: int | str) -> tuple[int, int]:
    if isinstance(status, int):
        return status, status
    low, _, high = status.partition("-")
    return int(low), int(high or low)


def _fan_out(state: model.Map | model.Parallel, lists: Sequence[Sequence[State]]) -> dict[str, Any]:
    given = state.completion.model_dump(exclude_none=True) if state.completion else {}
    nesting = state.nesting or ("flat" if all(map(is_flat, lists)) else "nested")
    return {
        "max_concurrency": state.max_concurrency,
        "completion": plan.Completion(**given) if given else None,
        "is_nested": nesting == "nested",
        "is_replayed": any(map(_has_compensation, lists)),
    }


def _has_compensation(states: Sequence[State]) -> bool:
    return any(
        (isinstance(state, UndoableState) and state.compensate)
        or any(_has_compensation(nested) for _, nested in model.lists_in(state))
        for state in states
    )
