"""Does the document have the shape of a workflow? Pydantic decides; its findings become problems that authors can read.

Every finding of pydantic names a place in the *models* (`states, 3, invoke, retry, 0, interval`). Walking the models
along it gives the place in the *document*, without the tags of unions, and the construct that the author was writing,
so that a problem can say which keys that construct has. The words are ours: pydantic's own never reach an author.

One cause, one problem: a misspelt key is not reported as missing too, and a file in another version of the language has
only that problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import ValidationError
from typing_extensions import TypeAliasType

from durableflow.errors import WorkflowError, diagnostic
from durableflow.forms import DURATION_MAX_SECONDS
from durableflow.model import (
    LANGUAGE_VERSION,
    Catcher,
    Check,
    CheckFields,
    ChoiceArm,
    Part,
    Project,
    RetriedState,
    Retrier,
    State,
    StateFields,
    Workflow,
)
from durableflow.source import shown
from durableflow.values import to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from durableflow.document import Document, Path
    from durableflow.errors import Diagnostic
    from durableflow.source import Span
    from durableflow.values import Json, Object

_Part = TypeVar("_Part", bound=Part)


def decode_workflow(document: Document) -> Workflow:
    """Return the workflow that a document holds.

    Raises:
        WorkflowError: with every problem of its shape.
    """
    return _decode(document, Workflow, "a workflow")


def decode_project(document: Document) -> Project:
    """Return the project that a document holds.

    Raises:
        WorkflowError: with every problem of its shape.
    """
    return _decode(document, Project, "a project file")


def _decode(document: Document, model: type[_Part], noun: str) -> _Part:
    value = document.value
    if not isinstance(value, dict):
        message = f"{noun} is a mapping; this file is {_kind(value)}"
        hint = f'begin with durableflow: "{LANGUAGE_VERSION}"'
        raise WorkflowError([diagnostic("DF150", message, span=document.span(()), hint=hint)])
    version = value.get("durableflow")
    if isinstance(version, str) and version != LANGUAGE_VERSION:
        # Another version may have other keys: what else is wrong cannot be known.
        raise WorkflowError([_other_version(document, version)])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise WorkflowError(list(_problems(document, model, error))) from error


def _other_version(document: Document, version: str) -> Diagnostic:
    return diagnostic(
        "DF151",
        f"version '{shown(version)}' of the language is not known",
        span=document.span(("durableflow",)),
        hint=f'this durableflow understands version "{LANGUAGE_VERSION}"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """One finding of pydantic, placed.

    Args:
        document: the document.
        rule: pydantic's word for it, or one of model.py and forms.py.
        facts: what comes with it.
        path: the place in the document.
        is_key: whether the key at `path` is wrong, not its value.
        construct: what the author was writing there.
        construct_path: where that begins.
    """

    document: Document
    rule: str
    facts: Mapping[str, Any]
    path: Path
    is_key: bool
    construct: type[Part]
    construct_path: Path

    @property
    def key(self) -> str:
        """What the place is called: its key, or the item of a list."""
        last = self.path[-1] if self.path else ""
        if isinstance(last, str):
            return f"'{shown(last)}'"
        keys = [key for key in self.path if isinstance(key, str)]
        return f"item {last + 1} of '{shown(keys[-1])}'"

    @property
    def value(self) -> Json:
        """The value at the place."""
        return _value_at(self.document.value, self.path)

    @property
    def span(self) -> Span:
        """The span of the value, or of the key when that is wrong."""
        return self.document.key_span(self.path) if self.is_key else self.document.span(self.path)

    def problem(self, code: str, message: str, hint: str, span: Span | None = None) -> Diagnostic:
        """Return the problem with this finding's span."""
        return diagnostic(code, message, span=span or self.span, hint=hint)


def _problems(document: Document, model: type[Part], error: ValidationError) -> Iterator[Diagnostic]:
    details = error.errors(include_url=False, include_input=False)
    findings = [_placed(document, model, detail) for detail in details]
    # A misspelt key is one problem, not an unknown one and a missing one.
    meant = {
        (*finding.construct_path, near)
        for finding in findings
        if finding.rule == "extra_forbidden" and (near := _near_key(finding))
    }
    for finding in findings:
        if finding.rule == "missing" and finding.path in meant:
            continue
        # Pydantic counts only the items that are right.
        if finding.rule == "too_short" and finding.value:
            continue
        yield _WRITERS.get(finding.rule, _wrong_kind)(finding)


def _value_at(value: Json, path: Path) -> Json:
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
    return value


# From pydantic's places to the document's.


def _placed(document: Document, model: type[Part], detail: ErrorDetails) -> _Finding:
    shape: Any = model
    construct = model
    path: Path = ()
    construct_path: Path = ()
    is_key = detail["type"] == "extra_forbidden"
    for step in detail["loc"]:
        if step == "[key]":
            is_key = True
            break
        shape, is_tag = _inside(shape, step)
        if not is_tag:
            path = (*path, step)
        if isinstance(shape, type) and issubclass(shape, Part) and isinstance(_value_at(document.value, path), dict):
            construct, construct_path = shape, path
    return _Finding(
        document=document,
        rule=detail["type"],
        facts=detail.get("ctx", {}),
        path=path,
        is_key=is_key,
        construct=construct,
        construct_path=construct_path,
    )


def _inside(shape: Any, step: str | int) -> tuple[Any, bool]:
    """Return what the models have at `step` inside `shape`, and whether `step` is a tag, which no document has."""
    arms = _arms(shape)
    constructs = [arm for arm in arms if isinstance(arm, type) and issubclass(arm, Part)]
    if isinstance(step, str) and len(constructs) > 1:
        return next(arm for arm in constructs if _tag(arm) == step), True
    for arm in arms:
        if get_origin(arm) is tuple and isinstance(step, int):
            return _single(get_args(arm)[0]), False
        if get_origin(arm) is dict and isinstance(step, str):
            return _single(get_args(arm)[1]), False
    field = _fields(constructs[0]).get(str(step)) if constructs else None
    return (_single(field.shape) if field else None), False


def _single(shape: Any) -> Any:
    """Return the construct that `shape` is when it is just one, else `shape`."""
    arms = _arms(shape)
    return arms[0] if len(arms) == 1 else shape


@cache
def _arms(shape: Any) -> tuple[Any, ...]:
    """Return the alternatives of an annotation, without None and what pydantic is told beside them."""
    if isinstance(shape, TypeAliasType):
        return _arms(shape.__value__)
    if get_origin(shape) is Annotated:
        return _arms(get_args(shape)[0])
    if get_origin(shape) in (Union, UnionType):
        return tuple(inner for arm in get_args(shape) if arm is not type(None) for inner in _arms(arm))
    return (shape,)


@cache
def _tag(construct: type[Part]) -> str:
    """Return the tag of a member of a union: its `type`, or the key that makes a target what it is."""
    fields = _fields(construct)
    return str(get_args(fields["type"].shape)[0]) if "type" in fields else next(iter(fields))


@cache
def _fields(construct: type[Part]) -> dict[str, _Field]:
    """Return the keys of a construct."""
    # Pydantic resolves the annotations of the two models that it was asked for, not those of the models inside.
    shapes = get_type_hints(construct, include_extras=True)
    return {
        field.alias or name: _Field(shape=shapes[name], description=field.description or "")
        for name, field in construct.model_fields.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """What may stand at a key, and what it is for."""

    shape: Any
    description: str


# How constructs are called.

_STATE_TYPES: Final[Mapping[str, type[Part]]] = {_tag(arm): arm for arm in _arms(State)}
_CHECK_TYPES: Final[Mapping[str, type[Part]]] = {_tag(arm): arm for arm in _arms(Check)}
_NOUNS: Final[Mapping[type[Part], str]] = {
    Workflow: "a workflow",
    Project: "a project file",
    ChoiceArm: "an arm of a choice",
    Retrier: "a retrier",
    Catcher: "a catcher",
}


def _noun(finding: _Finding) -> str:
    """Return what the author was writing, with its article."""
    construct = finding.construct
    if issubclass(construct, StateFields | CheckFields):
        kind = _tag(construct)
        article = "an" if kind[0] in "aeiou" or kind == "http" else "a"
        return f"{article} {kind} {'state' if issubclass(construct, StateFields) else 'check'}"
    keys = [key for key in finding.construct_path if isinstance(key, str)]
    return _NOUNS.get(construct) or f"'{shown(keys[-1])}'"


def _owner(finding: _Finding) -> str:
    """Return what the author was writing: a state by its name, anything else by what it is."""
    if not issubclass(finding.construct, StateFields):
        return _noun(finding)
    return _state(_value_at(finding.document.value, finding.construct_path))


def _state(value: Json) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return f"state '{shown(name)}'" if isinstance(name, str) and name else "this state"


def _kind(value: Json) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a mapping"


def _listed(words: Sequence[str], last: str = "or") -> str:
    quoted = [f"'{word}'" for word in words]
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)


# Keys.

# What other languages call things; used when the construct has the key on the right.
_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "args": ("payload", "params", "command"),
    "arguments": ("payload", "params"),
    "as": ("item_name",),
    "comment": ("description",),
    "condition": ("when", "until", "while"),
    "concurrency": ("max_concurrency",),
    "do": ("states",),
    "error_equals": ("errors",),
    "for_each": ("items",),
    "foreach": ("items",),
    "goto": ("next",),
    "heartbeat": ("heartbeat_timeout",),
    "heartbeat_seconds": ("heartbeat_timeout",),
    "id": ("name",),
    "if": ("when",),
    "input": ("payload", "items"),
    "interval_seconds": ("interval",),
    "kind": ("type",),
    "max_delay_seconds": ("max_delay",),
    "max_retries": ("max_attempts",),
    "on_error": ("catch",),
    "parameters": ("payload", "params"),
    "resource": ("function",),
    "retries": ("retry", "max_attempts"),
    "run": ("handler",),
    "seconds": ("duration",),
    "steps": ("states",),
    "tasks": ("states",),
    "then": ("next", "states"),
    "timeout_seconds": ("timeout",),
    "uri": ("url",),
    "with": ("payload", "params"),
}
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")


def _near_key(finding: _Finding) -> str | None:
    """Return the key of the construct that an unknown key was meant to be, if one is near and not there already."""
    present = _value_at(finding.document.value, finding.construct_path)
    free = tuple(key for key in _fields(finding.construct) if not (isinstance(present, dict) and key in present))
    return _near(str(finding.path[-1]), free)


# A file with thousands of problems mostly has the same few.
@lru_cache(maxsize=1024)
def _near(word: str, known: tuple[str, ...]) -> str | None:
    plain = _CAPITAL.sub("_", word[:80]).lower()
    same = [key for key in _ELSEWHERE.get(plain, ()) if key in known]
    return next(iter(same or get_close_matches(plain, known, n=1)), None)


def _unknown_key(finding: _Finding) -> Diagnostic:
    key = str(finding.path[-1])
    fields = _fields(finding.construct)
    if home := _home(finding.construct, key):
        return finding.problem("DF154", f"{_noun(finding)} takes no '{key}'", home)
    message = f"'{shown(key)}' is not a key of {_noun(finding)}"
    if near := _near_key(finding):
        return finding.problem("DF153", message, f"did you mean '{near}'?")
    if present := _near(key, tuple(fields)):
        return finding.problem("DF153", message, f"'{present}' is there already; keep one of them")
    if len(fields) == 1:
        return finding.problem("DF153", message, f"{_noun(finding)} can have {_listed(list(fields))} and nothing else")
    return finding.problem(
        "DF153", message, f"{_noun(finding)} can have {_listed(_own_first(finding.construct), 'and')}"
    )


@lru_cache(maxsize=1024)
def _home(construct: type[Part], key: str) -> str | None:
    """Return where a key belongs that this construct does not have but another one does, as a hint."""
    if inside := [outer for outer, field in _fields(construct).items() if _has_part_with(field.shape, key)]:
        return f"'{key}' belongs inside {_listed(inside)}"
    if not issubclass(construct, StateFields):
        return None
    if kinds := [kind for kind, other in _STATE_TYPES.items() if key in _fields(other)]:
        return f"'{key}' is for {_listed(kinds, 'and')} states"
    return f"'{key}' belongs to the workflow, at the top of the file" if key in _fields(Workflow) else None


def _has_part_with(shape: Any, key: str) -> bool:
    """Return whether a field holds a construct, or a list of them, that has `key`; states and targets aside."""
    arms = [_single(get_args(arm)[0]) if get_origin(arm) is tuple else arm for arm in _arms(shape)]
    parts = [arm for arm in arms if isinstance(arm, type) and issubclass(arm, Part)]
    return len(parts) == 1 and not issubclass(parts[0], StateFields) and key in _fields(parts[0])


def _own_first(construct: type[Part]) -> list[str]:
    """Return the keys of a construct, what only it has before what other states have too."""
    common = _fields(RetriedState) if issubclass(construct, StateFields) else {}
    return sorted(_fields(construct), key=lambda key: key in common)


def _missing(finding: _Finding) -> Diagnostic:
    key = str(finding.path[-1])
    span = finding.document.span(finding.path[:-1])
    if key == "durableflow":
        hint = f'write durableflow: "{LANGUAGE_VERSION}" at the top'
        return finding.problem("DF151", "the file does not say which version of the language it is in", hint, span)
    description = _fields(finding.construct)[key].description
    return finding.problem("DF152", f"{_owner(finding)} has no '{key}'", f"add '{key}': {description}", span)


# Types of states and checks, and kinds of targets.


def _type_missing(finding: _Finding) -> Diagnostic:
    value = finding.value
    if not isinstance(value, dict):
        return _wrong_kind(finding)
    kinds = _kinds(finding)
    if not _has_types(finding):
        near = next((near for key in value if (near := _near(key, tuple(kinds)))), None)
        hint = f"did you mean '{near}'?" if near else f"give it {_listed(kinds)}"
        return finding.problem("DF155", f"{finding.key} does not say what it is", hint)
    message = f"{_called(finding)} has no 'type'"
    near = _near_type_key(value)
    if near is not None:
        span = finding.document.key_span((*finding.path, near))
        return finding.problem("DF155", message, f"did you mean 'type' where it says '{shown(near)}'?", span)
    return finding.problem("DF155", message, f"add type: one of {_listed(kinds)}")


def _has_types(finding: _Finding) -> bool:
    """Return whether the alternatives are told apart by `type`, or else by which key they have."""
    return finding.facts.get("discriminator") == "'type'"


def _near_type_key(value: Object) -> str | None:
    known = {key for construct in _STATE_TYPES.values() for key in _fields(construct)}
    return next((key for key in value if key not in known and _near(key, ("type",))), None)


def _type_unknown(finding: _Finding) -> Diagnostic:
    if not _has_types(finding):
        key = cast("str", finding.facts["tag"])
        hint = f"give it {_listed(_kinds(finding))}"
        return finding.problem("DF155", f"{finding.key} cannot be '{key}' here", hint)
    path = (*finding.path, "type")
    span = finding.document.span(path)
    value = _value_at(finding.document.value, path)
    kinds = _kinds(finding)
    if value is None:
        span = finding.document.key_span(path)
        return finding.problem("DF156", "'type' is empty", f"write one of {_listed(kinds)}", span)
    if not isinstance(value, str):
        return finding.problem("DF156", f"'type' must be text, not {_kind(value)}", f"one of {_listed(kinds)}", span)
    message = f"'{shown(value)}' is not a type of {'check' if _is_check(finding) else 'state'}"
    near = get_close_matches(_CAPITAL.sub("_", value[:80]).lower(), kinds, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the types are {_listed(kinds, 'and')}"
    if _is_check(finding) and value in _STATE_TYPES:
        hint = f"a check is one of {_listed(kinds)}; to poll in another way, use a loop with a delay"
    return finding.problem("DF155", message, hint, span)


def _is_check(finding: _Finding) -> bool:
    return finding.path[-1] == "check"


def _called(finding: _Finding) -> str:
    return "'check'" if _is_check(finding) else _state(finding.value)


def _kinds(finding: _Finding) -> list[str]:
    if _has_types(finding):
        return list(_CHECK_TYPES if _is_check(finding) else _STATE_TYPES)
    shape: Any = finding.construct
    for step in finding.path[len(finding.construct_path) :]:
        shape, _ = _inside(shape, step)
    return [_tag(arm) for arm in _arms(shape) if isinstance(arm, type) and issubclass(arm, Part)]


# Values.

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_not_found": "a mapping",
    "expression": "an expression",
    "duration": "a duration",
}
_ADVICE: Final[Mapping[tuple[str, str], str]] = {
    ("text", "a number"): "put it in quotes",
    ("text", "true"): "put it in quotes",
    ("text", "false"): "put it in quotes",
    ("text", "a mapping"): 'a template must be in quotes: "{{ … }}"',
    ("a list", "text"): "write it as a list: [ … ], or one '- …' for each item",
    ("a list", "a mapping"): "begin each item with '- '",
    ("a whole number", "text"): "write the number without quotes",
    ("a whole number", "a number"): "write it without a fraction",
    ("a number", "text"): "write the number without quotes",
    ("true or false", "text"): "write true or false, without quotes",
    ("an expression", "a list"): 'write it as text: "[…]"',
    ("an expression", "a mapping"): "write it as text; without braces around it",
}


def _wrong_kind(finding: _Finding) -> Diagnostic:
    value = finding.value
    expected = str(finding.facts.get("expected") or _EXPECTED.get(finding.rule, "something else"))
    if value is None:
        # An empty value has no width; its key can be shown.
        span = finding.document.key_span(finding.path)
        message = f"{finding.key} is empty; it must be {expected}"
        return finding.problem("DF156", message, "give it a value, or leave it out", span)
    field = _fields(finding.construct).get(str(finding.path[-1]))
    hint = _ADVICE.get((expected, _kind(value))) or (field.description if field else f"write {expected}")
    found = _literal(value) if isinstance(value, float) else _kind(value)
    return finding.problem("DF156", f"{finding.key} must be {expected}, not {found}", hint)


def _wrong_form(finding: _Finding) -> Diagnostic:
    text = str(finding.path[-1]) if finding.is_key else finding.value
    what, rule = str(finding.facts["what"]), str(finding.facts["rule"])
    if text == "end":
        rule = "'end' is what 'next' says to leave a list"
    words = f"'{shown(text)}'" if isinstance(text, str) else _literal(text)
    return finding.problem("DF157", f"{words} is not {what}", rule)


def _literal(value: Json) -> str:
    return to_text(value) if value is None or isinstance(value, int | float) else _kind(value)


def _wrong_duration(finding: _Finding) -> Diagnostic:
    if not isinstance(finding.value, str):
        return _wrong_kind(finding)
    hint = "write 30s, 15m, 36h, 2d, a number of seconds, or ISO 8601 such as PT1H30M"
    return finding.problem("DF158", f"'{shown(finding.value)}' is not a duration", hint)


def _duration_out_of_bounds(finding: _Finding) -> Diagnostic:
    low, high, seconds = finding.facts["low"], finding.facts["high"], finding.facts["seconds"]
    if seconds > high:
        days = " (366 days)" if high == DURATION_MAX_SECONDS else ""
        bound = f"at most {high:,} seconds{days}"
    elif finding.facts["above_low"]:
        bound = f"more than {low:,} seconds"
    else:
        bound = f"at least {low:,} seconds"
    written = f"'{shown(finding.value)}'" if isinstance(finding.value, str) else _literal(finding.value)
    return finding.problem(
        "DF159", f"{finding.key} must be {bound}, not {written}", "choose a duration within the limit"
    )


def _out_of_bounds(finding: _Finding) -> Diagnostic:
    (word, bound), *_ = finding.facts.items()
    words = "at least" if word == "ge" else "at most"
    message = f"{finding.key} must be {words} {_number(bound)}, not {_literal(finding.value)}"
    field = _fields(finding.construct).get(str(finding.path[-1]))
    return finding.problem("DF159", message, (field and field.description) or f"write a number of {words} {bound}")


def _number(value: float) -> str:
    return f"{value:,}" if value != int(value) else f"{int(value):,}"


def _not_a_choice(finding: _Finding) -> Diagnostic:
    value = finding.value
    if finding.path == ("durableflow",):
        hint = f'write durableflow: "{LANGUAGE_VERSION}", with quotes'
        return finding.problem("DF151", f"'durableflow' must be text, not {_kind(value)}", hint)
    arms = _arms(_fields(finding.construct)[str(finding.path[-1])].shape)
    choices = [str(choice) for arm in arms if get_origin(arm) is Literal for choice in get_args(arm)]
    if not isinstance(value, str):
        return finding.problem(
            "DF160", f"{finding.key} must be {_listed(choices)}, not {_kind(value)}", "write the word"
        )
    near = get_close_matches(value[:80].lower(), choices, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"write {_listed(choices)}"
    return finding.problem("DF160", f"{finding.key} cannot be '{shown(value)}'", hint)


def _exclusive(finding: _Finding) -> Diagnostic:
    given = cast("list[str]", finding.facts["given"])
    if not given:
        fields = _listed(cast("list[str]", finding.facts["fields"]))
        return finding.problem("DF161", f"{_owner(finding)} needs {fields}", "add one of them")
    written = [key for key in cast("Object", finding.value) if key in given]
    span = finding.document.key_span((*finding.path, written[1]))
    return finding.problem("DF161", f"{_listed(written, 'and')} exclude each other", "keep one of them", span)


def _empty(finding: _Finding) -> Diagnostic:
    return finding.problem("DF162", f"{finding.key} is empty", "it needs at least one item")


_WRITERS: Final[Mapping[str, Callable[[_Finding], Diagnostic]]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_not_found": _type_missing,
    "union_tag_invalid": _type_unknown,
    "form": _wrong_form,
    "duration": _wrong_duration,
    "duration_bounds": _duration_out_of_bounds,
    "greater_than_equal": _out_of_bounds,
    "less_than_equal": _out_of_bounds,
    "literal_error": _not_a_choice,
    "one_of": _exclusive,
    "too_short": _empty,
}
"""Who writes the problem of a finding; what is not here is a value of the wrong kind."""
