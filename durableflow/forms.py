"""What may one scalar of a workflow or project file look like? Names, references, durations, sizes.

Each form is a rule for pydantic and a schema for editors, side by side so that they say the same. A value that breaks
its form is one error, which says what the value should be (`what`) and what such a thing looks like (`rule`);
`decode.py` makes the message of it. A text with template braces is taken where a template may stand; what it renders
to is checked at run time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic_core import PydanticCustomError, core_schema

from durableflow.library import EvaluationError, parse_duration, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

DURATION_MAX_SECONDS: Final = 31_622_400
"""The longest wait that the service takes: 366 days (language.md 12, rule 26)."""
OFFLOAD_MAX_BYTES: Final = 262_144
"""The most that one result may have without being offloaded (language.md 12, rule 45)."""
_TEMPLATE = re.compile(r"\{[{%#]")


def is_template(text: str) -> bool:
    """Return whether `text` holds anything that is rendered: `{{ … }}`, `{% … %}` or a template comment."""
    return _TEMPLATE.search(text) is not None


# What pydantic cannot say by itself. Each of these is one kind of value, one error, one schema.


@dataclass(frozen=True, slots=True)
class AnyValue:
    """Any JSON value: the document holds nothing else, so nothing is checked or copied."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.any_schema()


@dataclass(frozen=True, slots=True)
class WithoutNull:
    """`X | None` whose None means *not written*; a null in the file is no X."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        nullable = handler(source)
        assert nullable["type"] == "nullable"
        inner: core_schema.CoreSchema = nullable["schema"]
        return inner


@dataclass(frozen=True, slots=True)
class Scalar:
    """An expression: text, or a YAML boolean, number or null as itself (rule 5)."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(_expression)

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        return {"type": ["string", "number", "boolean", "null"]}


def _expression(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    raise PydanticCustomError("expression", "no expression")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Text of a certain form.

    Args:
        what: what the text should be, with its article, as the message names it.
        rule: what such a text looks like, as the hint says it.
        pattern: a regular expression for the whole text, understood alike by Python and by editors.
        templated: whether a text with template braces is taken as it is; what it renders to is checked at run time.
        refused: one text that has the form and is still not allowed.
    """

    what: str
    rule: str
    pattern: str
    templated: bool = False
    refused: str | None = None

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        matches = re.compile(self.pattern, re.DOTALL).fullmatch
        error = PydanticCustomError("form", "no {what}", {"what": self.what, "rule": self.rule})

        def check(text: str) -> str:
            if (matches(text) and text != self.refused) or (self.templated and is_template(text)):
                return text
            raise error

        return core_schema.no_info_after_validator_function(check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        schema: JsonSchemaValue = {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        if self.templated:
            schema["pattern"] += f"|{_TEMPLATE.pattern}"
        if self.refused is not None:
            schema["not"] = {"const": self.refused}
        return schema


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration whose literal lies in `low` to `high` seconds (None: no bound), `low` itself not if `above_low`."""

    low: float | None
    high: float = DURATION_MAX_SECONDS
    above_low: bool = False
    templated: bool = True

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        number: JsonSchemaValue = {"type": "number", "maximum": self.high}
        if self.low is not None:
            number["exclusiveMinimum" if self.above_low else "minimum"] = self.low
        pattern = f"{_DURATION}|{_TEMPLATE.pattern}" if self.templated else _DURATION
        return {"anyOf": [number, {"type": "string", "pattern": pattern}]}

    def _check(self, value: object) -> str | float:
        if isinstance(value, str):
            if self.templated and is_template(value):
                return value
            try:
                seconds = parse_duration(value)
            except EvaluationError as error:
                raise PydanticCustomError("duration", "no duration") from error
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value
        else:
            raise PydanticCustomError("duration", "no duration")
        too_low = self.low is not None and (seconds < self.low or (self.above_low and seconds == self.low))
        if too_low or seconds > self.high:
            facts = {"low": self.low, "high": self.high, "above_low": self.above_low, "seconds": seconds}
            raise PydanticCustomError("duration_bounds", "duration out of bounds", facts)
        return value


@dataclass(frozen=True, slots=True)
class StatusRange:
    """An HTTP status as a number, or a range of them as text."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(_status)

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        return {
            "anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, {"type": "string", "pattern": _STATUSES}]
        }


_STATUSES: Final = "^[1-5][0-9][0-9](?:-[1-5][0-9][0-9])?$"


def _status(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(_STATUSES, value):
        if value[:3] <= value[-3:]:
            return value
    elif isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value
    facts = {"what": "an HTTP status", "rule": "write a status such as 204, or a range such as 200-299"}
    raise PydanticCustomError("form", "no {what}", facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByKind:
    """A value of several kinds, told apart by whether it is text, a list or a mapping; one error, not one per kind."""

    expected: str
    text: Any = None
    items: Any = None
    mapping: Any = None

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        # A TypeAliasType gives its annotation only here, when everything that it names is defined.
        kinds = {str: self.text, list: self.items, dict: self.mapping}
        allowed: tuple[type, ...] = tuple(kind for kind, annotation in kinds.items() if annotation is not None)
        error = PydanticCustomError("kind", "expected {expected}", {"expected": self.expected})

        def check(value: object) -> object:
            if isinstance(value, allowed):
                return value
            raise error

        return core_schema.chain_schema(
            [
                core_schema.no_info_plain_validator_function(check),
                *(
                    core_schema.no_info_wrap_validator_function(_only(kind), handler.generate_schema(annotation))
                    for kind, annotation in kinds.items()
                    if annotation is not None
                ),
            ]
        )

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        assert core["type"] == "chain"
        return {"anyOf": [handler(step) for step in core["steps"][1:]]}


def _only(kind: type) -> Callable[[object, core_schema.ValidatorFunctionWrapHandler], object]:
    return lambda value, check: check(value) if isinstance(value, kind) else value


@dataclass(frozen=True, slots=True)
class Size:
    """A size: a number of bytes, or text with a unit."""

    high: int

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        number = {"type": "integer", "minimum": 1, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^(?:{_SIZE})$"}]}

    def _check(self, value: object) -> str | int:
        size = parse_size(value) if isinstance(value, str) else value
        if isinstance(value, str | int) and isinstance(size, int) and size is not True and 1 <= size <= self.high:
            return value
        rule = f"write a number of bytes, or 200KB; {self.high} bytes at most"
        raise PydanticCustomError("form", "no {what}", {"what": "a size", "rule": rule})


_SIZE: Final = "([1-9][0-9]{0,8}) ?(B|KB)"


def parse_size(text: str) -> int | None:
    """Return the bytes of a text such as `200KB`, None when it is no size."""
    match = re.fullmatch(_SIZE, text)
    return int(match[1]) * (1024 if match[2] == "KB" else 1) if match else None


@dataclass(frozen=True, slots=True)
class Time:
    """A time as text, or a template of one."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(_time, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, _core: core_schema.CoreSchema, _handler: object) -> JsonSchemaValue:
        return {"type": "string", "pattern": rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{_TEMPLATE.pattern}"}


def _time(text: str) -> str:
    try:
        if not is_template(text):
            parse_time(text)
    except EvaluationError as error:
        facts = {"what": "a time", "rule": "write it as 2026-01-01T00:00:00Z, or a template of one"}
        raise PydanticCustomError("form", "no {what}", facts) from error
    return text


# What `parse_duration` takes, for editors.
_DURATION: Final = (
    r"^[0-9]{1,15}(?:\.[0-9]{1,9})?[smhd]?$"
    r"|^P(?=.)(?:[0-9]{1,9}W|(?:[0-9.]{1,19}D)?(?:T(?=.)(?:[0-9.]{1,19}H)?(?:[0-9.]{1,19}M)?(?:[0-9.]{1,19}S)?)?)$"
)

# The texts of the language, in the order of its grammar, then those of the project file.

_IDENT_RULE: Final = "a name begins with a letter, then letters, digits, _ or -, 64 characters at most"
Ident: TypeAlias = Annotated[str, Form(what="a name", rule=_IDENT_RULE, pattern="[A-Za-z][A-Za-z0-9_-]{0,63}")]
StateName: TypeAlias = Annotated[
    str, Form(what="a name for a state", rule=_IDENT_RULE, pattern="[A-Za-z][A-Za-z0-9_-]{0,63}", refused="end")
]
EnvName: TypeAlias = Annotated[
    str,
    Form(
        what="an environment name",
        rule="such a name begins with a letter or _, then letters, digits or _",
        pattern="[A-Za-z_][A-Za-z0-9_]{0,255}",
    ),
]
SecretRef: TypeAlias = Annotated[
    str,
    Form(
        what="a reference to a secret",
        rule="write 'secretsmanager:ID', 'secretsmanager:ID#KEY' or 'ssm:/PATH'",
        pattern=r"secretsmanager:[A-Za-z0-9/_+=.@:-]{1,2048}(?:#[^\s#]{1,256})?|ssm:[A-Za-z0-9/_.-]{1,2048}",
    ),
]
FunctionName: TypeAlias = Annotated[
    str,
    Form(
        what="a Lambda function",
        rule="write a name, a name and qualifier such as 'inventory:live', an ARN, or a template of one",
        # The Invoke API's own pattern, each part bounded.
        pattern=r"(?:arn:aws[a-z-]{0,20}:lambda:[a-z0-9-]{1,32}:[0-9]{12}:function:|(?:[0-9]{12}:)?(?:function:)?)"
        r"[A-Za-z0-9_-]{1,64}(?::(?:\$LATEST|[A-Za-z0-9_-]{1,128}))?",
        templated=True,
    ),
]
FunctionPattern: TypeAlias = Annotated[
    str,
    Form(
        what="a pattern for functions",
        rule="write a name or ARN; * stands for any characters, ? for one",
        pattern=r"[A-Za-z0-9_:$*?-]{1,256}",
    ),
]
FunctionKey: TypeAlias = Annotated[
    str,
    Form(
        what="a Lambda function",
        rule="write it as the workflow's 'function' has it: a name, a name and qualifier, or an ARN",
        pattern=r"[A-Za-z0-9_:$-]{1,256}",
    ),
]
HandlerRef: TypeAlias = Annotated[
    str,
    Form(
        what="a handler",
        rule="write 'package.module:function'",
        pattern=r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*",
    ),
]
AwsService: TypeAlias = Annotated[
    str,
    Form(
        what="an AWS service",
        rule="write it as boto3 does: dynamodb, s3, bedrock-runtime",
        pattern="[a-z][a-z0-9-]{0,63}",
    ),
]
AwsAction: TypeAlias = Annotated[
    str,
    Form(what="an action", rule="write it as boto3's method: put_item, get_object", pattern="[a-z][a-z0-9_]{0,127}"),
]
HttpMethod: TypeAlias = Annotated[
    str,
    Form(
        what="an HTTP method",
        rule="one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, or a template of one",
        pattern="GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS",
        templated=True,
    ),
]
Url: TypeAlias = Annotated[
    str,
    Form(
        what="a URL",
        rule="write 'https://host/path', or a template of it",
        pattern=r"https?://[!-~]+",
        templated=True,
    ),
]
Status: TypeAlias = Annotated[str | int, StatusRange()]
HeaderName: TypeAlias = Annotated[
    str,
    Form(
        what="a header's name", rule="letters, digits and -, as in Content-Type", pattern="[A-Za-z0-9!#$%&'*+.^_`|~-]+"
    ),
]
Label: TypeAlias = Annotated[
    str,
    Form(
        what="a label",
        rule="1 to 256 printable ASCII characters, or a template",
        pattern="[ -~]{1,256}",
        templated=True,
    ),
]
ErrorGlob: TypeAlias = Annotated[
    str,
    Form(
        what="an error name",
        rule="write a name such as States.Timeout, or a pattern such as Http.5*",
        pattern=r"\S(?:.{0,254}\S)?",
    ),
]
ErrorName: TypeAlias = Annotated[
    str,
    Form(
        what="an error name",
        rule="write a name such as OrderRejected, or a template of one",
        pattern=r"\S(?:.{0,254}\S)?",
        templated=True,
    ),
]
FilePath: TypeAlias = Annotated[
    str,
    Form(what="a path", rule="write a path relative to this file", pattern=r"[^\u0000-\u001f\u007f]{1,4096}"),
]
LambdaName: TypeAlias = Annotated[
    str, Form(what="a Lambda name", rule="letters, digits, _ and -, 64 at most", pattern="[A-Za-z0-9_-]{1,64}")
]
FunctionArn: TypeAlias = Annotated[
    str,
    Form(
        what="the ARN of a function",
        rule="write arn:aws:lambda:REGION:ACCOUNT:function:NAME, with :QUALIFIER for a durable function",
        pattern=r"arn:aws[a-z-]{0,20}:lambda:[a-z0-9-]{1,32}:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}"
        r"(?::(?:\$LATEST|[A-Za-z0-9_-]{1,128}))?",
    ),
]
ActionKey: TypeAlias = Annotated[
    str,
    Form(
        what="an action",
        rule="write service:action, as dynamodb:put_item",
        pattern="[a-z][a-z0-9-]{0,63}:[a-z][a-z0-9_]{0,127}",
    ),
]
ActionPattern: TypeAlias = Annotated[
    str,
    Form(
        what="an action",
        rule="write it as IAM does, as s3:PutObject; * stands for any characters",
        pattern=r"[a-z][a-z0-9-]{0,63}:[A-Za-z0-9*?]{1,128}",
    ),
]
RequestKey: TypeAlias = Annotated[
    str,
    Form(
        what="a request",
        rule="write METHOD URL, as POST https://pay.example/charges",
        pattern=r"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) https?://[!-~]+",
    ),
]
HostPort: TypeAlias = Annotated[
    str,
    Form(
        what="a host",
        rule="write host or host:port, as 127.0.0.1:9000",
        pattern=r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?",
    ),
]
BucketPrefix: TypeAlias = Annotated[
    str,
    Form(
        what="a place in S3",
        rule="write bucket or bucket/prefix",
        pattern=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[!-~]{0,900})?",
    ),
]
