"""Every field of the language, and the test that covers it: what `docs/fields.md` is made of.

A test says which fields it shows with `@pytest.mark.covers("wait.duration", …)`: it runs a workflow that has the field, and
would fail if the field did nothing. The marks are read from the text of the tests; nothing is run for the table.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from durableflow import model
from durableflow.model import Part, RetriedState, StateFields, UndoableState

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent

_STATES: Final = (
    model.Invoke, model.Step, model.Aws, model.Http, model.ChildWorkflow, model.Wait, model.WaitForCallback,
    model.WaitForCondition, model.Choice, model.Block, model.Loop, model.Parallel, model.Map, model.Pass, model.Succeed,
    model.Fail,
)  # fmt: skip
_WORK: Final = {model.Step: model.StepWork, model.Aws: model.AwsWork, model.Http: model.HttpWork}
_PARTS: Final[dict[str, tuple[str, type[Part]]]] = {
    "file": ("The workflow file", model.Workflow),
    "input": ("`input` of the workflow", model.InputSpec),
    "defaults": ("`defaults` of the workflow", model.Defaults),
    "compensation": ("`compensation` of a workflow or block", model.Compensation),
    "check": ("`check` of a wait_for_condition (and the fields of a step, aws or http)", model.CheckFields),
    "arm": ("An arm of a choice", model.ChoiceArm),
    "retrier": ("A retrier", model.Retrier),
    "catcher": ("A catcher", model.Catcher),
    "completion": ("`completion` of a map or parallel", model.Completion),
    "project": ("The project file", model.Project),
    "target": ("A function, action or answer of the project file", Part),
    "answer": ("`error` of an answer", model.AnswerError),
    "secret": ("A secret of the project file", model.LocalSecret),
    "deploy": ("`deploy` of the project file", model.Deploy),
    "offload": ("`offload` of the project file", model.Offload),
    "http_settings": ("`http` of the project file", model.HttpSettings),
    "aws_settings": ("`aws` of the project file", model.AwsSettings),
    "limits": ("`limits` of the project file", model.LimitSettings),
}
_TARGETS: Final = (
    model.PythonTarget, model.WorkflowTarget, model.DurableTarget, model.CommandTarget, model.HttpTarget,
    model.LambdaTarget, model.ResultAnswer, model.ErrorAnswer,
)  # fmt: skip

# How the forms of model.py and forms.py are called.
_FORMS: Final = {
    "ActionKey": "service:action",
    "ActionPattern": "action",
    "AnswerError": "error",
    "AnyStateList": "states",
    "AwsAction": "method of boto3",
    "AwsService": "service",
    "AwsSettings": "mapping",
    "BucketPrefix": "bucket/prefix",
    "Catcher": "catcher",
    "Check": "step, aws or http",
    "ChoiceArm": "arm",
    "Compensation": "mapping",
    "Completion": "mapping",
    "Count": "number from 1",
    "Defaults": "mapping",
    "Delay": "duration",
    "Deploy": "mapping",
    "EnvName": "environment name",
    "ErrorName": "error name T",
    "Expression": "E",
    "FilePath": "path",
    "FunctionArn": "ARN",
    "FunctionKey": "function",
    "FunctionName": "function T",
    "FunctionPattern": "function pattern",
    "Globs": "error names",
    "HandlerRef": "module:function",
    "HeaderName": "header",
    "HostPort": "host",
    "HttpMethod": "method T",
    "HttpSettings": "mapping",
    "Ident": "name",
    "InputSpec": "mapping",
    "Jitter": "full, half or none",
    "Label": "text T",
    "LambdaName": "name",
    "LimitSettings": "mapping",
    "LocalSecret": "mapping",
    "MaybeCount": "number from 1",
    "MaybeDelay": "duration",
    "MaybeExpression": "E",
    "MaybeLimit": "duration",
    "MaybeName": "name",
    "MaybePause": "duration",
    "MaybeRetry": "retriers or a policy's name",
    "MaybeSchema": "JSON Schema or path",
    "MaybeTemplate": "T",
    "MaybeText": "text T",
    "Nesting": "flat or nested",
    "Offload": "mapping",
    "Percentage": "number from 0 to 100",
    "Rate": "number from 1",
    "ReplyOrAnswers": "answer",
    "RequestKey": "METHOD URL",
    "Retriers": "retriers",
    "Schema": "JSON Schema or path",
    "SecretRef": "secret",
    "Semantics": "at_least_once or at_most_once",
    "StateList": "states",
    "StateName": "name",
    "Status": "HTTP status",
    "TargetOrAnswers": "target",
    "Template": "T",
    "Tolerated": "number from 0",
    "Url": "URL T",
    "bool": "true or false",
    "int": "number",
    "str": "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of the language.

    Args:
        key: what a mark names, such as `wait.duration`.
        form: what stands there.
        default: what counts when nothing is written.
        description: what it is for, from the models.
    """

    key: str
    form: str
    default: str
    description: str


@cache
def sections() -> dict[str, tuple[Field, ...]]:
    """Return every field, by the heading that it stands under, in the order of the grammar."""
    found = {
        _PARTS[key][0]: tuple(_declared(key, _PARTS[key][1])) for key in ("file", "input", "defaults", "compensation")
    }
    found["Every state"] = (*_declared("state", StateFields), *_declared("state", UndoableState))
    for kind in _STATES:
        name = _type(kind)
        fields = [*_declared(name, kind), *_declared(name, _WORK.get(kind, Part))]
        retried = _declared(name, RetriedState) if issubclass(kind, RetriedState) else ()
        found[f"type: {name}"] = (*fields, *retried)
    for key in list(_PARTS)[4:]:
        kinds = _TARGETS if key == "target" else (_PARTS[key][1],)
        found[_PARTS[key][0]] = tuple(field for kind in kinds for field in _declared(key, kind))
    return found


def field_keys() -> list[str]:
    """Return the key of every field."""
    return [field.key for fields in sections().values() for field in fields]


def keys_in(part: Part) -> Iterator[str]:
    """Give the key of every field that is written in a part of a file, and in what it holds."""
    for name in part.model_fields_set:
        yield _key(type(part), name)
        yield from _keys_in_value(getattr(part, name))


def _keys_in_value(value: object) -> Iterator[str]:
    if isinstance(value, Part):
        yield from keys_in(value)
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _keys_in_value(each)


def _key(kind: type[Part], name: str) -> str:
    written = kind.model_fields[name].alias or name
    if issubclass(kind, StateFields):
        return f"{'state' if name in UndoableState.model_fields else _type(kind)}.{written}"
    if issubclass(kind, model.CheckFields):
        return f"check.{written}"
    part = next((key for key, (_, declared) in _PARTS.items() if declared is kind), "target")
    return f"{part}.{written}"


def _type(kind: type[Part]) -> str:
    return cast("str", kind.__annotations__["type"]).split("'")[1]


def _declared(name: str, kind: type[Part]) -> Iterator[Field]:
    """Give the fields that a model itself declares."""
    for field_name, form in kind.__annotations__.items():
        if field_name not in kind.model_fields:
            continue
        field = kind.model_fields[field_name]
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield Field(
            key=f"{name}.{field.alias or field_name}",
            form=_form(form),
            default=default,
            description=field.description or "",
        )


def _default(value: object) -> str:
    if value in (None, (), model.ABSENT) or isinstance(value, Part):
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _form(annotation: str) -> str:
    """Return the words for an annotation of the models; a form that has none yet is a KeyError."""
    if literal := re.fullmatch(r"Literal\[(.*)\]", annotation):
        *others, last = [f"`{word}`" for word in re.findall(r"'([^']*)'", literal[1])]
        return f"{', '.join(others)} or {last}" if others else last
    if inner := re.match(r"Annotated\[(\w+) \| (?:None|dict)", annotation):
        return _FORMS[inner[1]]
    if inner := re.match(r"Annotated\[(str|int)", annotation):
        return "duration" if "Seconds" in annotation or "Time()" in annotation else _FORMS[inner[1]]
    if inner := re.fullmatch(r"(?:Listed|Filled)\[(\w+)\]", annotation):
        return f"list: {_FORMS[inner[1]]}"
    if inner := re.fullmatch(r"Named\[(\w+)\]|dict\[\w+, (\w+)\]", annotation):
        return f"mapping: {_FORMS[inner[1] or inner[2]]}"
    return _FORMS[annotation]


@cache
def covered() -> dict[str, tuple[str, ...]]:
    """Return the tests that cover a field, by its key."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.covers" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for key in _marks(node):
                    found.setdefault(key, []).append(f"{file.relative_to(ROOT)}::{node.name}")
    return {key: tuple(tests) for key, tests in found.items()}


def _marks(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.covers":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


_INTRODUCTION: Final = """\
# Fields

Every type and field of workflow and project files, made from the models, and a test that covers it. T is a template (any
value, whose texts may hold `{{ … }}`), E an expression, a duration is 30s, 15m, 36h, 2d, a number of seconds, ISO 8601 or
a template of one.
"""


def documentation(not_yet: dict[str, str]) -> str:
    """Return `docs/fields.md`.

    Args:
        not_yet: why a field has no test.
    """
    parts = [_INTRODUCTION]
    for heading, fields in sections().items():
        rows = ["| field | form | default | what it is for | test |", "|---|---|---|---|---|"]
        for field in fields:
            tests = covered().get(field.key)
            test = f"`{tests[0].removeprefix('tests/')}`" if tests else f"not yet: {not_yet.get(field.key, '')}"
            cells = (f"`{field.key.split('.')[1]}`", field.form, field.default, field.description, test)
            rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        parts.append(f"## {heading}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)
