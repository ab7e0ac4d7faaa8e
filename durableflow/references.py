"""Do the templates of a workflow make sense where they stand? Which names exist there, and what those names hold.

:func:`templates_in` finds every template and expression of a workflow, parses it once and says what may be read there;
:func:`check_templates` compares what they read with what the workflow has: states and when they run, variables, the
input's schema, declared names. The compiler takes the same parsed templates for the Plan.

Source: language.md section 3; section 12, rules 5, 7, 9, 15, 36, 41, 55, 62, 77.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from durableflow.errors import CODES, Diagnostic, diagnostic
from durableflow.json_schema import closed_against, schema_problems
from durableflow.model import (
    Absent,
    Aws,
    Block,
    Catcher,
    ChildWorkflow,
    Choice,
    Fail,
    Http,
    HttpCheck,
    Invoke,
    Loop,
    Map,
    Parallel,
    Pass,
    RetriedState,
    Retrier,
    Step,
    Succeed,
    Wait,
    WaitForCallback,
    WaitForCondition,
    lists_in,
)
from durableflow.source import Span, shown
from durableflow.templates import calls_in, parse_expression, parse_template, references_in
from durableflow.values import to_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from durableflow.document import Document, Path
    from durableflow.expressions import Tree
    from durableflow.flow import Layout, Stand
    from durableflow.model import Check, Part, State, Workflow
    from durableflow.packaged import Packaged
    from durableflow.templates import Call, Reference, TemplateProblem
    from durableflow.values import Json

TEMPLATES_MAX: Final = 20_000
"""Expressions in a file (language.md section 3, rule 9)."""

Role: TypeAlias = Literal["condition", "items", "argument", "assign", "output", "label", "other"]
Names: TypeAlias = frozenset[str]
Finding: TypeAlias = tuple[str, str, str | None]
"""A problem without its place: code, message, hint."""

_EVERYWHERE: Final[Names] = frozenset({"input", "states", "vars", "context", "env"})
_AT_START: Final[Names] = frozenset({"input", "context", "env"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in a workflow that holds a template or an expression.

    Args:
        path: in the document.
        value: what stands there.
        is_expression: a bare expression (E), else a template (T).
        role: what it is for.
        names: the root names that mean something there.
        takes_secrets: whether `secret()` may stand there.
        result_keys: the keys of `result` there, where the file tells.
    """

    path: Path
    value: Json
    is_expression: bool = False
    role: Role = "other"
    names: Names = _EVERYWHERE
    takes_secrets: bool = False
    result_keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A slot and what parsing it gave; the tree is usable only without problems of severity error."""

    slot: Slot
    tree: Tree
    problems: tuple[TemplateProblem, ...]
    references: tuple[Reference, ...]
    calls: tuple[Call, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the tree can be compiled."""
        return not any(CODES[problem.code].severity == "error" for problem in self.problems)


def count_templates(workflow: Workflow) -> int:
    """Return how many expressions a workflow holds, in templates and by themselves."""
    return sum(1 if slot.is_expression else _braces(slot.value) for slot in _slots(workflow))


def _braces(value: Json) -> int:
    if isinstance(value, str):
        return value.count("{{") + value.count("{%")
    inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return sum(map(_braces, inside))


def templates_in(workflow: Workflow) -> dict[Path, Template]:
    """Return every template and expression of a workflow, parsed, by its path in the document.

    A workflow with more than TEMPLATES_MAX of them has none here: parsing them would take too long.
    """
    made: dict[Path, Template] = {}
    if count_templates(workflow) > TEMPLATES_MAX:
        return made
    for slot in _slots(workflow):
        value, expression = slot.value, slot.is_expression
        tree, problems = (parse_expression if expression else parse_template)(value)
        made[slot.path] = Template(
            slot=slot,
            tree=tree,
            problems=tuple(problems),
            references=tuple(references_in(value, expression=expression)),
            calls=tuple(calls_in(value, expression=expression)),
        )
    return made


# Where templates stand.

_ARGUMENTS: Final[dict[type[Part], tuple[str, ...]]] = {
    Invoke: ("function", "payload", "tenant_id"),
    Step: ("payload",),
    Aws: ("params",),
    Http: ("method", "url", "headers", "query", "body"),
    ChildWorkflow: ("payload",),
}
_OTHERS: Final[dict[type[Part], tuple[str, ...]]] = {
    Wait: ("duration", "until"),
    WaitForCallback: ("heartbeat_timeout",),
    WaitForCondition: ("initial", "interval", "max_delay"),
    Fail: ("error", "cause", "data"),
}
_RETRIER: Final = ("interval", "increment", "max_delay", "max_duration")


def _slots(workflow: Workflow) -> Iterator[Slot]:
    for name, value in workflow.vars.items():
        yield Slot(path=("vars", name), value=value, names=_AT_START)
    for name, policy in workflow.retry_policies.items():
        yield from _retriers(policy, ("retry_policies", name), _EVERYWHERE)
    if workflow.defaults and isinstance(workflow.defaults.retry, tuple):
        yield from _retriers(workflow.defaults.retry, ("defaults", "retry"), _EVERYWHERE)
    yield from _written(workflow, ("timeout", "output"), (), _EVERYWHERE)
    if workflow.defaults:
        yield from _written(workflow.defaults, ("timeout",), ("defaults",), _EVERYWHERE)
    yield from _catchers(workflow.catch, (), _EVERYWHERE)
    yield from _nested(workflow, (), _EVERYWHERE)


def _nested(part: Workflow | State, path: Path, names: Names) -> Iterator[Slot]:
    for inner, states in lists_in(part):
        visible = names | _names_inside(part, inner[0])
        for i, state in enumerate(states):
            yield from _state(state, (*path, *inner, i), visible)


def _names_inside(part: Workflow | State, key: str | int) -> Names:
    if key in ("catch", "finally", "compensate"):
        return frozenset({"error"})
    match part:
        case Map():
            return _of_map(part)
        case Loop():
            return frozenset({"iteration"})
        case WaitForCallback():
            return frozenset({"callback"})
        case _:
            return frozenset()


def _of_map(state: Map) -> Names:
    return frozenset({"item", "index"} if state.batch_size is None else {"batch", "index"})


def _state(state: State, path: Path, names: Names) -> Iterator[Slot]:
    yield from _expressions(state, ("when",), path, names)
    yield from _written(state, ("label",), path, names, role="label")
    yield from _own(state, path, names)
    raw = names | {"result"}
    no_result = isinstance(state, (Pass, Succeed))
    keys = _raw_keys(state)
    yield from _written(state, ("output",), path, names if no_result else raw, role="output", result_keys=keys)
    keys = _keys(state.output, keys)
    for name, value in state.assign.items():
        yield Slot(path=(*path, "assign", name), value=value, role="assign", names=raw, result_keys=keys)
    if isinstance(state, RetriedState):
        yield from _written(state, ("timeout",), path, names)
        if isinstance(state.retry, tuple):
            yield from _retriers(state.retry, (*path, "retry"), names)
    yield from _catchers(state.catch, path, names)
    yield from _nested(state, path, names)


def _own(state: State, path: Path, names: Names) -> Iterator[Slot]:
    """Give what only this type of state has."""
    secrets = isinstance(state, (Step, Aws, Http))
    for kind, fields in _ARGUMENTS.items():
        if isinstance(state, kind):
            yield from _written(state, fields, path, names, role="argument", takes_secrets=secrets)
    for kind, fields in _OTHERS.items():
        if isinstance(state, kind):
            yield from _written(state, fields, path, names)
    match state:
        case WaitForCondition():
            yield from _check(state.check, (*path, "check"), names)
            yield from _expressions(state, ("until",), path, names | {"result"}, result_keys=_raw_keys(state))
        case Choice():
            for i, arm in enumerate(state.choices):
                yield from _expressions(arm, ("when",), (*path, "choices", i), names)
        case Loop():
            inside = names | {"iteration"}
            yield from _expressions(state, ("while_",), path, inside)
            yield from _expressions(state, ("until",), path, inside | {"result"})
            yield from _written(state, ("delay",), path, inside)
        case Map():
            yield from _expressions(state, ("items",), path, names, role="items")
            # A name on the wire, which replay compares: it should not read what can change.
            yield from _written(state, ("item_name",), path, names | _of_map(state), role="argument")
        case _:
            pass


def _check(check: Check, path: Path, names: Names) -> Iterator[Slot]:
    seen = names | {"previous"}
    kinds: dict[str, type[Part]] = {"step": Step, "aws": Aws, "http": Http}
    fields = _ARGUMENTS[kinds[check.type]]
    yield from _written(check, fields, path, seen, role="argument", takes_secrets=True)
    yield from _written(check, ("output",), path, seen | {"result"}, role="output", result_keys=_raw_keys(check))
    yield from _written(check, ("timeout",), path, names)
    if isinstance(check.retry, tuple):
        yield from _retriers(check.retry, (*path, "retry"), names)


def _retriers(retriers: Sequence[Retrier], path: Path, names: Names) -> Iterator[Slot]:
    for i, retrier in enumerate(retriers):
        yield from _expressions(retrier, ("when",), (*path, i), names | {"error"})
        yield from _written(retrier, _RETRIER, (*path, i), names)


def _catchers(catchers: Sequence[Catcher], path: Path, names: Names) -> Iterator[Slot]:
    seen = names | {"error"}
    for i, catcher in enumerate(catchers):
        at = (*path, "catch", i)
        yield from _expressions(catcher, ("when",), at, seen)
        for name, value in catcher.assign.items():
            yield Slot(path=(*at, "assign", name), value=value, role="assign", names=seen)
        yield from _written(catcher, ("output",), at, seen, role="output")


def _written(part: Part, fields: Iterable[str], path: Path, names: Names, **facts: Any) -> Iterator[Slot]:
    for field in fields:
        if field in part.model_fields_set:
            yield Slot(path=(*path, field), value=cast("Json", getattr(part, field)), names=names, **facts)


def _expressions(
    part: Part, fields: Iterable[str], path: Path, names: Names, *, role: Role = "condition", **facts: Any
) -> Iterator[Slot]:
    for field in fields:
        if field in part.model_fields_set:
            value, at = cast("Json", getattr(part, field)), (*path, field.rstrip("_"))
            yield Slot(path=at, value=value, is_expression=True, role=role, names=names, **facts)


def _raw_keys(part: Part) -> tuple[str, ...] | None:
    """Return the keys of what a state or check gives before its `output`, where the language or the file says them."""
    match part:
        case Http() | HttpCheck():
            return _HTTP_FIELDS
        case WaitForCondition():
            return _keys(part.check.output, _raw_keys(part.check))
        case Parallel():
            return tuple(part.branches)
        case _:
            return None


def _keys(output: Json | Absent, raw: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the keys of a (projected) result: those of a written `output` when it is a mapping."""
    if isinstance(output, Absent):
        return raw
    return tuple(output) if isinstance(output, dict) else None


# What they may read.

_ERROR_FIELDS: Final = ("name", "message", "data", "state", "attempt", "status", "index", "branch")
_RECORD_FIELDS: Final = ("result", "status", "error", "started_at", "ended_at")
_FANNED_FIELDS: Final = (*_RECORD_FIELDS, "failures", "summary")
_SUMMARY_FIELDS: Final = ("total", "succeeded", "failed", "reason")
_FAILURE_FIELDS: Final = ("name", "message", "data")
_HTTP_FIELDS: Final = ("status", "headers", "body")
_CONTEXT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "execution": ("id", "arn", "name", "start_time"),
    "workflow": ("name", "version", "digest"),
    "state": ("name", "path", "attempt"),
    "now": (),
    "idempotency_key": (),
}
_WHERE: Final = {
    "result": "'result' is what a state gave: it exists in its 'output' and 'assign', and in 'until'",
    "error": "'error' exists in 'catch', 'compensate' and 'finally', and in 'when' of a retrier",
    "item": "'item' and 'index' exist in the states of a map",
    "index": "'item' and 'index' exist in the states of a map",
    "batch": "'batch' exists in the states of a map with 'batch_size'",
    "iteration": "'iteration' exists in the states of a loop and in its conditions",
    "callback": "'callback' exists in the 'submit' states of a wait_for_callback",
    "previous": "'previous' exists in the 'check' of a wait_for_condition",
    "states": "'vars' see only input, env, context and load()",
    "vars": "'vars' see only input, env, context and load(), not each other",
}


def check_templates(
    workflow: Workflow,
    document: Document,
    *,
    templates: dict[Path, Template],
    layout: Layout,
    packaged: Packaged,
    near: Near,
) -> Iterator[Diagnostic]:
    """Give every problem of the templates: of their text, of what they read, of what they call."""
    checker = _Checker(workflow, document, layout, packaged, near)
    for template in templates.values():
        yield from checker.of(template)


def text_span(document: Document, path: Path, offset: int, length: int) -> Span:
    """Return the span of `length` characters of the text at a path, from character `offset` on."""
    start = document.mark_in(path, offset)
    return Span(source=document.source, start=start, end=document.mark_in(path, offset + max(1, length)))


class Near:
    """Did the author mean a similar name? Bounded: ten thousand wrong names among ten thousand would take minutes."""

    def __init__(self, comparisons: int = 200_000) -> None:
        self._left = comparisons

    def __call__(self, word: str, known: Collection[str]) -> str | None:
        """Return the question whether it was a similar name, or None when there is none (or no more to spend)."""
        found = self.closest(word, known)
        return f"did you mean '{shown(found)}'?" if found is not None else None

    def closest(self, word: str, known: Collection[str]) -> str | None:
        """Return the most similar name, or None when there is none (or no more to spend)."""
        if len(known) > self._left:
            return None
        self._left -= len(known)
        return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def listed(names: Iterable[str]) -> str:
    """Return the first dozen of some names as they are listed in a hint."""
    return ", ".join(shown(name) for name in islice(names, 12))


class _Checker:
    def __init__(self, workflow: Workflow, document: Document, layout: Layout, packaged: Packaged, near: Near) -> None:
        self._workflow = workflow
        self._document = document
        self._layout = layout
        self._packaged = packaged
        self._near = near
        self._vars = _assigned(workflow, layout)
        self._schemas: dict[str | None, Json] = {}

    def of(self, template: Template) -> Iterator[Diagnostic]:
        slot = template.slot
        for problem in template.problems:
            span = text_span(self._document, (*slot.path, *problem.path), problem.offset, problem.length)
            yield diagnostic(problem.code, problem.message, span=span, hint=problem.hint)
        if template.is_usable:
            yield from self._as_a_whole(template)
        for reference in template.references:
            if any(_is_in(problem, reference) for problem in template.problems):
                continue  # one cause, one problem
            found = self._reference(slot, reference)
            if found is not None:
                code, message, hint = found
                yield diagnostic(code, message, span=self._span(slot, reference), hint=hint)
        for call in template.calls:
            yield from self._call(slot, call)

    def _span(self, slot: Slot, thing: Reference | Call) -> Span:
        return text_span(self._document, (*slot.path, *thing.path), thing.offset, thing.length)

    def _as_a_whole(self, template: Template) -> Iterator[Diagnostic]:
        slot = template.slot
        if slot.role == "condition" and isinstance(slot.value, str) and isinstance(template.tree, list):
            word, *rest = template.tree
            if word == "const" and isinstance(rest[0], str) and rest[0]:
                yield diagnostic(
                    "DF408",
                    f"the condition '{shown(slot.value)}' is a text and always true",
                    span=self._document.span(slot.path),
                    hint="a condition is an expression without quotes around it, such as input.total > 100",
                )
        if slot.role == "items" and isinstance(template.tree, list) and template.tree[0] == "const":
            value = template.tree[1]
            if not isinstance(value, list):
                message = f"'items' must give a list, not '{shown(to_text(value))}'"
                hint = "write an expression that gives a list, such as input.orders"
                yield diagnostic("DF156", message, span=self._document.span(slot.path), hint=hint)

    def _reference(self, slot: Slot, reference: Reference) -> Finding | None:  # noqa: C901, PLR0911 - one for each root
        """Return what is wrong with one path: code, message, hint."""
        root, *rest = reference.names
        if root not in _WHERE and root not in _EVERYWHERE:
            return None  # no name at all, which parsing has reported
        if root not in slot.names:
            message = f"'{shown(str(root))}' does not exist here"
            return "DF236", message, _WHERE.get(str(root))
        match root:
            case "states":
                return self._state(slot, rest)
            case "vars" if rest:
                return self._variable(slot, str(rest[0]))
            case "env" if rest and str(rest[0]) not in self._workflow.env:
                name = str(rest[0])
                hint = self._near(name, self._workflow.env) or f"add '{shown(name)}' to the workflow's 'env' list"
                return "DF235", f"the environment name '{shown(name)}' is not declared", hint
            case "input" if self._workflow.input:
                return self._closed("input", None, self._workflow.input.schema_, rest)
            case "context":
                return _context(slot, rest)
            case "error":
                return _field("error", rest, _ERROR_FIELDS)
            case "result" if slot.result_keys is not None:
                return _field("the result", rest, slot.result_keys)
            case "callback":
                return _field("callback", rest, ("id",))
            case _:
                return None

    def _variable(self, slot: Slot, name: str) -> Finding | None:
        """Return what is wrong with reading a variable: nothing sets it, or only what keeps it to itself (rule 62)."""
        if name not in self._vars:
            hint = self._near(name, self._vars) or "declare it in 'vars', or set it in an 'assign'"
            return "DF233", f"no variable is called '{shown(name)}'", hint
        stands = self._vars[name]
        if slot.path[0] in ("retry_policies", "defaults") or any(
            stand is None or self._layout.can_see(slot.path, stand) for stand in stands
        ):
            return None
        keeper = next(stand.keeper for stand in stands if stand)
        assert keeper is not None
        inside = (
            f"the 'submit' of '{keeper.name}'"
            if isinstance(keeper, WaitForCallback)
            else f"{keeper.type} '{keeper.name}'"
        )
        hint = f"there it is a copy; let it be part of the result, and read states.{keeper.name}.result"
        return "DF233", f"the variable '{shown(name)}' is set only inside {inside}", hint

    def _state(self, slot: Slot, rest: Sequence[str | int]) -> Finding | None:
        if not rest:
            return None
        name = str(rest[0])
        stand = self._layout.stands.get(name)
        if stand is None:
            hint = self._near(name, self._layout.stands) or f"the states are: {listed(self._layout.stands)}"
            return "DF204", f"unknown state '{shown(name)}' in expression", hint
        if slot.path[0] not in ("retry_policies", "defaults"):  # those stand nowhere: any state may use them
            if not self._layout.can_see(slot.path, stand):
                return "DF231", f"state '{name}' cannot be seen from here", _instead(stand, slot.path)
            if not self._layout.can_have_run(slot.path, stand):
                return "DF232", f"state '{name}' cannot have run yet here", "only what ran before has a result"
        return self._of_state(stand.placed.state, rest[1:])

    def _of_state(self, state: State, rest: Sequence[str | int]) -> Finding | None:  # noqa: PLR0911 - one for each field
        """Return what is wrong with a path into what is known of a state."""
        fields = _FANNED_FIELDS if isinstance(state, (Map, Parallel)) else _RECORD_FIELDS
        if rest and rest[0] not in fields:
            field = str(rest[0])
            hint = (
                self._near(field, fields) or f"the result's keys are read as states.{state.name}.result.{shown(field)}"
            )
            return "DF237", f"a state has no '{shown(field)}' (it has {', '.join(fields)})", hint
        if len(rest) < 2:
            return None
        what = f"the {rest[0]} of '{state.name}'"
        match rest[0]:
            case "result":
                if state.result_schema is not None:
                    return self._closed(what, state.name, state.result_schema, rest[1:])
                keys = _keys(state.output, _raw_keys(state))
                # A catcher gives a caught state another result.
                return None if keys is None or state.catch else _field(what, rest[1:], keys)
            case "error":
                return _field(what, rest[1:], _ERROR_FIELDS)
            case "summary":
                return _field(what, rest[1:], _SUMMARY_FIELDS)
            case "failures" if isinstance(rest[1], int):
                own = ("index" if isinstance(state, Map) else "branch", "item_name", "error")
                found = _field("a failure", rest[2:], own)
                return found or _field("a failure's error", rest[3:] if rest[2:3] == ["error"] else (), _FAILURE_FIELDS)
            case _:
                return None

    def _closed(self, what: str, key: str | None, schema: Json, names: Sequence[str | int]) -> Finding | None:
        if key not in self._schemas:
            known = self._packaged.value(schema) if isinstance(schema, str) else schema
            # A schema that is wrong is reported by itself and says nothing about keys.
            self._schemas[key] = None if schema_problems(known) else known
        refused = closed_against(self._schemas[key], names)
        if refused is None:
            return None
        name = str(names[refused.position])
        hint = self._near(name, refused.known) or f"it has: {listed(refused.known) or 'nothing'}"
        return "DF234", f"by its schema {what} has no key '{shown(name)}'", hint

    def _call(self, slot: Slot, call: Call) -> Iterator[Diagnostic]:
        span = self._span(slot, call)
        argument = call.arguments[0] if call.arguments else None
        if call.name == "secret":
            yield from self._secret(slot, argument, span)
        elif call.name == "load":
            if not isinstance(argument, str):
                hint = "write the file's name as text: load('tools.json')"
                yield diagnostic("DF241", "load() takes one file name, known in advance", span=span, hint=hint)
            else:
                yield from self._packaged.problems(argument, span)

    def _secret(self, slot: Slot, argument: Json, span: Span) -> Iterator[Diagnostic]:
        if not slot.takes_secrets:
            hint = "secrets are resolved inside the operation: use it in the arguments of an http, aws or step state"
            yield diagnostic("DF239", "secret() cannot be used here", span=span, hint=hint)
        elif not isinstance(argument, str):
            hint = "write the name of one of the workflow's 'secrets' as text: secret('token')"
            yield diagnostic("DF240", "secret() takes one name, known in advance", span=span, hint=hint)
        elif argument not in self._workflow.secrets:
            hint = (
                self._near(argument, self._workflow.secrets) or f"add '{shown(argument)}' to the workflow's 'secrets'"
            )
            yield diagnostic("DF240", f"no secret is called '{shown(argument)}'", span=span, hint=hint)


def _is_in(problem: TemplateProblem, reference: Reference) -> bool:
    end = reference.offset + reference.length
    is_error = CODES[problem.code].severity == "error"
    return is_error and problem.path == reference.path and reference.offset < problem.offset < end


def _assigned(workflow: Workflow, layout: Layout) -> dict[str, list[Stand | None]]:
    """Return where each variable is set: at which states, or None for the workflow itself."""
    found: dict[str, list[Stand | None]] = {name: [None] for name in workflow.vars}
    for catcher in workflow.catch:
        for name in catcher.assign:
            found.setdefault(name, []).append(None)
    for stand in layout.all_stands:
        state = stand.placed.state
        for names in (state.assign, *(catcher.assign for catcher in state.catch)):
            for name in names:
                found.setdefault(name, []).append(stand)
    return found


def _context(slot: Slot, rest: Sequence[str | int]) -> Finding | None:
    found = _field("context", rest, tuple(_CONTEXT_FIELDS))
    if found is None and rest:
        found = _field(f"context.{rest[0]}", rest[1:], _CONTEXT_FIELDS[str(rest[0])])
    if found is not None:
        return found
    path = ".".join(map(str, ("context", *rest)))
    changing = ("context.now", "context.state.attempt", "context.workflow")
    if slot.role == "label" and any(_overlap(path, name) for name in changing):
        return "DF243", f"a label cannot read '{path}', which can change", "read what stays the same, such as input"
    if slot.role in ("condition", "items", "assign", "argument") and any(
        _overlap(path, name) for name in ("context.workflow.version", "context.workflow.digest")
    ):
        hint = "an execution that resumes on a new definition sees the new value"
        return "DF409", f"'{path}' is that of the running definition and can change under an execution", hint
    return None


def _overlap(path: str, name: str) -> bool:
    return f"{name}.".startswith(f"{path}.") or path.startswith(f"{name}.")


def _field(what: str, rest: Sequence[str | int], fields: tuple[str, ...]) -> Finding | None:
    if not rest or not fields or rest[0] in fields or isinstance(rest[0], int):
        return None
    name = str(rest[0])
    return "DF237", f"{what} has no '{shown(name)}'", Near()(name, fields) or f"it has: {', '.join(fields)}"


def _instead(stand: Stand, place: Path) -> str:
    """Say how the result of a state that cannot be seen is read."""
    keeper = stand.keeper
    name = keeper.name if keeper else ""
    match keeper:
        case Map():
            return f"it is inside map '{name}': read states.{name}.result, the list of the items' results"
        case Parallel() if place[: len(stand.scope) - 1] == stand.scope[:-1]:
            return "branches do not see each other"
        case Parallel():
            return f"it is inside parallel '{name}': read states.{name}.result.BRANCH, the result of a branch"
        case Block():
            return f"it is inside block '{name}': read states.{name}.result, or take away 'context: true'"
        case _:
            return f"it is inside the 'submit' of '{name}': read states.{name}.result"
