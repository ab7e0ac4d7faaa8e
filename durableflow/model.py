"""What can a workflow contain? One frozen pydantic model per construct, in the order of the language's grammar.

These models are the grammar: which fields a construct has, their types, bounds and defaults (language.md sections 1, 11
and 12). They resolve no name and read no template; `decode.py` turns a document into them and writes the messages,
`rules.py` asks whether the whole makes sense. The JSON Schemas that editors use are generated from here, and a test
holds both to the same verdicts. `walk_states` is the one place that knows where states hold states.

How a field reads:

- A *template* (T) is any JSON value as it stands in the file, an *expression* (E) is text, boolean, number or null.
- A field that was not written is None, or, where null is itself a value (templates, `while`, `until`), `ABSENT`.
- A *duration* (D) is text or a number of seconds as written, or a template of one; literal ones have been checked.
- Python's reserved words and pydantic's own have an underscore: `while_`, `finally_`, `schema_`, `lambda_`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self, TypeAlias, TypeVar, Union, assert_never

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from durableflow.forms import (
    OFFLOAD_MAX_BYTES,
    ActionKey,
    ActionPattern,
    AnyValue,
    AwsAction,
    AwsService,
    BucketPrefix,
    ByKind,
    EnvName,
    ErrorGlob,
    ErrorName,
    FilePath,
    Form,
    FunctionArn,
    FunctionKey,
    FunctionName,
    FunctionPattern,
    HandlerRef,
    HeaderName,
    HostPort,
    HttpMethod,
    Ident,
    Label,
    LambdaName,
    RequestKey,
    Scalar,
    Seconds,
    SecretRef,
    Size,
    StateName,
    Status,
    Time,
    Url,
    WithoutNull,
)
from durableflow.values import Json, Object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import core_schema

LANGUAGE_VERSION: Final = "1"
COUNT_MAX: Final = 99_999_999
"""The largest attempt count of Amazon States Language; ours for every count."""
ITERATIONS_MAX: Final = 1_000_000


class Absent(Enum):
    """The type of `ABSENT`: nothing was written here, where a written null would be a value."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


# The values that fields share.

Template: TypeAlias = Annotated[Json, AnyValue()]
MaybeTemplate: TypeAlias = Annotated[Json | Literal[Absent.ABSENT], AnyValue()]
Expression: TypeAlias = Annotated[str | int | float | bool | None, Scalar()]
MaybeExpression: TypeAlias = Annotated[str | int | float | bool | Literal[Absent.ABSENT] | None, Scalar()]
Count: TypeAlias = Annotated[int, Field(ge=1, le=COUNT_MAX)]
Tolerated: TypeAlias = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Rate: TypeAlias = Annotated[float, Field(ge=1, le=1000)]

Pause: TypeAlias = Annotated[str | int | float, Seconds(None)]
"""A wait: zero and less cost nothing (rule 26)."""
Delay: TypeAlias = Annotated[str | int | float, Seconds(0)]
Limit: TypeAlias = Annotated[str | int | float, Seconds(0, above_low=True)]
MaybePause: TypeAlias = Annotated[Pause | None, WithoutNull()]
MaybeDelay: TypeAlias = Annotated[Delay | None, WithoutNull()]
MaybeLimit: TypeAlias = Annotated[Limit | None, WithoutNull()]
MaybeText: TypeAlias = Annotated[str | None, WithoutNull()]
MaybeCount: TypeAlias = Annotated[Count | None, WithoutNull()]

# Shapes made of them. YAML's lists become tuples, so that a model cannot be changed.

_T = TypeVar("_T")
Listed: TypeAlias = Annotated[tuple[_T, ...], Strict(strict=False)]
Filled: TypeAlias = Annotated[tuple[_T, ...], Strict(strict=False), Field(min_length=1)]
Named: TypeAlias = dict[Ident, _T]
MaybeName: TypeAlias = Annotated[Ident | None, WithoutNull()]
AnyStateList: TypeAlias = Listed["State"]
StateList: TypeAlias = Filled["State"]
Retriers: TypeAlias = Listed["Retrier"]
Globs: TypeAlias = Filled[ErrorGlob]
MaybeRetry: TypeAlias = Annotated[
    str | tuple["Retrier", ...] | None,
    ByKind(expected="a list of retriers, or the name of a retry policy", text=Ident, items=Retriers),
]
_SCHEMA_OR_PATH: Final = ByKind(
    expected="a JSON Schema, or a path to one", text=FilePath, mapping=dict[str, Annotated[Json, AnyValue()]]
)
Schema: TypeAlias = Annotated[Object | str, _SCHEMA_OR_PATH]
MaybeSchema: TypeAlias = Annotated[Object | str | None, _SCHEMA_OR_PATH]
Semantics: TypeAlias = Literal["at_least_once", "at_most_once"]
Jitter: TypeAlias = Literal["full", "half", "none"]
Nesting: TypeAlias = Literal["flat", "nested"]
Percentage: TypeAlias = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """Fields of a construct that exclude each other; `required`: and one of them must be there."""

    fields: tuple[str, ...]
    required: bool


class Part(BaseModel):
    """A construct of the language: its fields and no others, as YAML typed them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = ()

    @model_validator(mode="after")
    def _excludes(self) -> Self:
        for rule in self.EXCLUSIVE:
            given = [
                name for name in rule.fields if name in self.model_fields_set or f"{name}_" in self.model_fields_set
            ]
            if len(given) > 1 or (rule.required and not given):
                raise PydanticCustomError("one_of", "one of", {"fields": list(rule.fields), "given": given})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        schema = handler(core)
        if cls.EXCLUSIVE:
            handler.resolve_ref_schema(schema)["allOf"] = [_exclusive(rule) for rule in cls.EXCLUSIVE]
        return schema


def _exclusive(rule: OneOf) -> JsonSchemaValue:
    if rule.required:
        return {"oneOf": [{"required": [name]} for name in rule.fields]}
    return {"not": {"required": list(rule.fields)}}


class InputSpec(Part):
    """What the input of a workflow must be like."""

    schema_: Schema = Field(
        alias="schema",
        description="JSON Schema of the input, or a path to one, relative to this file.",
        examples=["schemas/order.json"],
    )


class Defaults(Part):
    """What work states without their own use."""

    retry: MaybeRetry = Field(default=None, description="Retriers, or the name of a retry policy.")
    timeout: MaybeLimit = Field(default=None, description="Time that one attempt may take.")


class Compensation(Part):
    """How the undo lists of completed states run."""

    on_error: Literal["continue", "fail"] = Field(
        default="continue",
        description="After an undo list that failed: go on with the next one, or stop with States.CompensationFailed.",
    )


class Workflow(Part):
    """A workflow: the whole of a workflow file."""

    durableflow: Literal["1"] = Field(description='Version of the language. Always "1", in quotes.')
    name: Ident = Field(description="Name of the workflow, unique in its project.", examples=["order_fulfilment"])
    version: MaybeText = Field(default=None, description="Your own version of this definition.", examples=["4"])
    description: MaybeText = Field(default=None, description="What the workflow is for; not used when it runs.")
    input: Annotated[InputSpec | None, WithoutNull()] = Field(
        default=None, description="What the input must be like. Otherwise: States.InputInvalid before anything runs."
    )
    output: MaybeTemplate = Field(
        default=ABSENT, description="Result of the execution. Default: the result of the last top-level state that ran."
    )
    output_schema: MaybeSchema = Field(
        default=None, description="JSON Schema of the output, or a path to one. Otherwise: States.OutputInvalid."
    )
    vars: Named[Template] = Field(
        default_factory=dict, description="Workflow variables at the start; read as vars.NAME.", examples=[{"level": 0}]
    )
    env: Listed[EnvName] = Field(
        default=(), description="The only environment names that templates may read, as env.NAME.", examples=[["TABLE"]]
    )
    secrets: Named[SecretRef] = Field(
        default_factory=dict,
        description="Secrets by the name that secret('NAME') uses.",
        examples=[{"token": "secretsmanager:payments/api#token"}],
    )
    retry_policies: Named[Retriers] = Field(
        default_factory=dict, description="Lists of retriers that 'retry' can name."
    )
    defaults: Annotated[Defaults | None, WithoutNull()] = Field(
        default=None, description="What work states without their own retry and timeout use."
    )
    timeout: MaybeLimit = Field(
        default=None,
        description="Soft limit for all states together; raises States.Timeout. One operation.",
        examples=["6h"],
    )
    states: StateList = Field(description="The states, run in order.")
    catch: Listed[Catcher] = Field(default=(), description="What to do about errors that no state caught.")
    finally_: AnyStateList = Field(
        default=(), alias="finally", description="States that run once at the end, after success and failure alike."
    )
    compensation: Compensation = Field(
        default_factory=Compensation, description="How the undo lists of completed states run."
    )


# States: what all have, what most have, then the sixteen types.


class StateFields(Part):
    """What every state can have."""

    name: StateName = Field(description="Name of the state, unique in the file.", examples=["charge_card"])
    when: Expression = Field(
        default=True,
        description="Condition. When false the state is skipped: status 'skipped', result null.",
        examples=["input.total > 100"],
    )
    catch: Listed[Catcher] = Field(
        default=(), description="What to do about the state's errors; the first match counts."
    )
    output: MaybeTemplate = Field(
        default=ABSENT,
        description="What becomes states.NAME.result; sees the raw result as 'result'.",
        examples=[{"id": "{{ result.body.id }}"}],
    )
    assign: Named[Template] = Field(
        default_factory=dict,
        description="Variables to set when the state has succeeded; sees its (projected) result as 'result'.",
        examples=[{"run_id": "{{ result }}"}],
    )
    result_schema: MaybeSchema = Field(
        default=None, description="JSON Schema of the result, or a path to one. Otherwise: States.ResultInvalid."
    )
    next: MaybeName = Field(
        default=None, description="Where to go on: a state of the same list, or 'end' to leave this list."
    )
    label: Annotated[Label | None, WithoutNull()] = Field(
        default=None, description="Name shown in the console and history instead of the state's name."
    )
    renamed_from: Listed[Ident] = Field(
        default=(), description="Earlier names of the state, so that running executions still find their records."
    )
    description: MaybeText = Field(default=None, description="What the state is for; not used when it runs.")


class UndoableState(StateFields):
    """A state that can be undone: all but pass, succeed and fail."""

    compensate: AnyStateList = Field(
        default=(), description="States that undo this one when a later state of the block fails."
    )


class RetriedState(UndoableState):
    """A state with attempts (language.md 12, rule 23)."""

    timeout: MaybeLimit = Field(
        default=None, description="Time that one attempt may take; raises States.Timeout.", examples=["30s"]
    )
    retry: MaybeRetry = Field(
        default=None,
        description="When to try again: retriers, or the name of a retry policy. [] switches defaults off.",
    )


class Invoke(RetriedState):
    """Call a Lambda function; the workflow is suspended while it runs."""

    type: Literal["invoke"] = Field(description="Call a Lambda function and wait for its result.")
    function: FunctionName = Field(
        description="Function to call: name, name:qualifier or ARN, or a template of it.", examples=["inventory:live"]
    )
    payload: Template = Field(default_factory=dict, description="What the function gets. Default: {}.")
    tenant_id: MaybeText = Field(default=None, description="Tenant of a function with tenant isolation, or a template.")
    allow: Filled[FunctionPattern] = Field(
        default=(), description="Functions that a templated 'function' may name: names or ARN patterns."
    )


class StepWork(Part):
    """The work of a step: a Python function."""

    handler: HandlerRef = Field(
        description="Python function to run: package.module:function.", examples=["risk.rules:score"]
    )
    payload: Template = Field(default_factory=dict, description="What the handler gets. Default: {}.")
    semantics: Semantics = Field(
        default="at_least_once",
        description="What an interrupted attempt means: run it again, or States.StepInterrupted (at_most_once).",
    )


class AwsWork(Part):
    """The work of an aws state: one AWS API call."""

    service: AwsService = Field(description="AWS service as boto3 names it.", examples=["dynamodb"])
    action: AwsAction = Field(description="Method of its boto3 client.", examples=["put_item"])
    params: dict[str, Template] = Field(default_factory=dict, description="Parameters of the call.")
    semantics: Semantics = Field(
        default="at_least_once",
        description="What an interrupted attempt means: run it again, or States.StepInterrupted (at_most_once).",
    )


class HttpWork(Part):
    """The work of an http state: one request."""

    method: HttpMethod = Field(default="GET", description="HTTP method.")
    url: Url = Field(description="URL, https unless the project allows the host.", examples=["https://api.example/v1"])
    headers: dict[HeaderName, Template] = Field(default_factory=dict, description="Request headers.")
    query: dict[str, Template] = Field(default_factory=dict, description="Query parameters, added to the URL.")
    body: MaybeTemplate = Field(default=ABSENT, description="Request body: text as it is, anything else as JSON.")
    success: Filled[Status] = Field(
        default=("200-299",),
        description="Statuses that count as success; others raise Http.STATUS.",
        examples=[[200, 404]],
    )
    redirects: Annotated[int, Field(ge=0, le=3)] = Field(default=0, description="Redirects to follow.")
    semantics: Semantics = Field(
        default="at_least_once",
        description="What an interrupted attempt means: run it again, or States.StepInterrupted (at_most_once).",
    )


class Step(RetriedState, StepWork):
    """Run a Python function; its result is recorded."""

    type: Literal["step"] = Field(description="Run a Python function beside the workflow and record its result.")


class Aws(RetriedState, AwsWork):
    """Call an AWS API."""

    type: Literal["aws"] = Field(description="Call an AWS API and record its result.")


class Http(RetriedState, HttpWork):
    """Make an HTTP request."""

    type: Literal["http"] = Field(description="Make an HTTP request; the result is {status, headers, body}.")


class ChildWorkflow(RetriedState):
    """Run another workflow."""

    type: Literal["workflow"] = Field(description="Run another workflow and wait for its result.")
    workflow: Ident = Field(description="Name of the workflow.", examples=["shipping"])
    payload: Template = Field(default_factory=dict, description="Its input. Default: {}.")
    mode: Literal["child", "inline"] = Field(
        default="child", description="An execution of its own with its own budget, or part of this one."
    )


class Wait(UndoableState):
    """Wait for a time, unbilled."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("duration", "until"), required=True),)

    type: Literal["wait"] = Field(description="Wait without being billed: for a duration, or until a time.")
    duration: MaybePause = Field(default=None, description="How long.", examples=["2d", "15m"])
    until: Annotated[str | None, Time()] = Field(
        default=None, description="Until when: a time such as 2026-01-01T00:00:00Z, or a template of one."
    )


class WaitForCallback(RetriedState):
    """Wait for an answer from outside."""

    type: Literal["wait_for_callback"] = Field(description="Wait until someone answers the callback id.")
    submit: AnyStateList = Field(default=(), description="States that send callback.id to whoever is to answer.")
    heartbeat_timeout: MaybeLimit = Field(
        default=None, description="Longest time between two signs of life; raises States.HeartbeatTimeout."
    )
    result_format: Literal["json", "text"] = Field(default="json", description="How the answer is read.")


class CheckFields(Part):
    """What every check of a wait_for_condition can have."""

    output: MaybeTemplate = Field(default=ABSENT, description="What 'until' and 'previous' see of the raw result.")
    retry: MaybeRetry = Field(default=None, description="When to repeat a check that failed.")
    timeout: MaybeLimit = Field(default=None, description="Time that one check may take.")
    result_schema: MaybeSchema = Field(
        default=None, description="JSON Schema of the (projected) result, or a path to one."
    )


class StepCheck(CheckFields, StepWork):
    """Check by a Python function."""

    type: Literal["step"] = Field(description="Check by a Python function.")


class AwsCheck(CheckFields, AwsWork):
    """Check by an AWS API call."""

    type: Literal["aws"] = Field(description="Check by an AWS API call.")


class HttpCheck(CheckFields, HttpWork):
    """Check by an HTTP request."""

    type: Literal["http"] = Field(description="Check by an HTTP request.")


class WaitForCondition(RetriedState):
    """Check again and again until a condition holds."""

    type: Literal["wait_for_condition"] = Field(description="Run a check again and again until a condition holds.")
    check: Check = Field(description="The check: a step, aws or http.")
    until: Expression = Field(
        description="Condition on the check's result that ends the waiting.", examples=["result.state == 'OK'"]
    )
    initial: Template = Field(default=None, description="What 'previous' is in the first check. Default: null.")
    interval: Delay = Field(default="30s", description="Time to the second check.")
    backoff_rate: Rate = Field(default=1, description="Factor by which the time grows with each check.")
    max_delay: MaybeLimit = Field(default=None, description="Longest time between two checks.")
    jitter: Jitter = Field(default="none", description="How the time is spread at random.")
    max_attempts: MaybeCount = Field(
        default=None, description="Checks before States.ConditionNotMet. Default: no limit."
    )


class Choice(RetriedState):
    """Run the states of the first arm whose condition holds; costs no operation."""

    type: Literal["choice"] = Field(description="Take the first arm whose condition holds.")
    choices: Filled[ChoiceArm] = Field(description="The arms, tried in order.")
    default: Annotated[AnyStateList | None, WithoutNull()] = Field(
        default=None, description="States to run when no arm matches. Without it the flow goes on."
    )


class ChoiceArm(Part):
    """One arm of a choice."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("states", "next"), required=True),)

    when: Expression = Field(description="Condition of the arm.", examples=["input.total > 100"])
    states: Annotated[AnyStateList | None, WithoutNull()] = Field(default=None, description="States to run.")
    next: MaybeName = Field(default=None, description="Sibling of the choice to go to, or 'end'.")


class Block(RetriedState):
    """Group states under one retry, timeout, catch, finally or compensation."""

    type: Literal["block"] = Field(description="Group states: one scope for catch, finally, retry and compensation.")
    states: StateList = Field(description="The states, run in order.")
    finally_: AnyStateList = Field(
        default=(), alias="finally", description="States that run once after the block, whether it succeeded or not."
    )
    compensation: Compensation = Field(
        default_factory=Compensation, description="How the undo lists of completed states run."
    )
    context: bool = Field(default=False, description="Give the block a context of its own. One operation.")


class Loop(RetriedState):
    """Run states again and again."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("while", "until"), required=False),)

    type: Literal["loop"] = Field(description="Run states again and again, 'iteration' counting from 0.")
    while_: MaybeExpression = Field(
        default=ABSENT, alias="while", description="Goes on while this holds; tested before each iteration."
    )
    until: MaybeExpression = Field(default=ABSENT, description="Ends when this holds; tested after each iteration.")
    max_iterations: Annotated[int, Field(ge=1, le=ITERATIONS_MAX)] = Field(description="Most iterations there may be.")
    delay: MaybePause = Field(default=None, description="Wait between two iterations. One operation each.")
    on_limit: Literal["fail", "continue"] = Field(
        default="fail", description="At the limit: States.LoopLimitExceeded, or go on as after a normal end."
    )
    states: StateList = Field(description="The states of one iteration.")


class Parallel(RetriedState):
    """Run branches at the same time; the result is an object keyed by branch."""

    type: Literal["parallel"] = Field(description="Run branches at the same time.")
    branches: Named[StateList] = Field(description="Lists of states by branch name.")
    max_concurrency: MaybeCount = Field(default=None, description="Branches running at a time. Default: all.")
    completion: Annotated[Completion | None, WithoutNull()] = Field(
        default=None, description="When it is decided. Default: all must succeed, the first failure decides."
    )
    nesting: Annotated[Nesting | None, WithoutNull()] = Field(
        default=None,
        description="Whether each branch has a context. Default: flat when it holds one operation at most.",
    )


class Map(RetriedState):
    """Run states for each item; the result is a list in the order of the items."""

    type: Literal["map"] = Field(description="Run states for each item of a list.")
    items: Expression = Field(description="The list.", examples=["input.orders"])
    states: StateList = Field(description="The states of one item; they see 'item' and 'index'.")
    item_name: MaybeText = Field(
        default=None, description="Name of an item in the history.", examples=["{{ item.key }}"]
    )
    batch_size: MaybeCount = Field(
        default=None, description="Group items; the states then see 'batch' instead of 'item'."
    )
    max_concurrency: MaybeCount = Field(default=None, description="Items running at a time. Default: all.")
    completion: Annotated[Completion | None, WithoutNull()] = Field(
        default=None, description="When it is decided. Default: all must succeed, the first failure decides."
    )
    nesting: Annotated[Nesting | None, WithoutNull()] = Field(
        default=None, description="Whether each item has a context. Default: flat when it holds one operation at most."
    )


class Pass(StateFields):
    """Do nothing but 'assign' and 'output'; costs no operation."""

    type: Literal["pass"] = Field(description="Set variables or shape data.")


class Succeed(StateFields):
    """End the workflow, or the item or branch, successfully with 'output'."""

    type: Literal["succeed"] = Field(description="End the workflow successfully.")


class Fail(StateFields):
    """Raise an error."""

    type: Literal["fail"] = Field(description="Raise an error; catchers around it see it.")
    error: ErrorName = Field(description="Error name, or a template of it.", examples=["OrderRejected"])
    cause: MaybeText = Field(default=None, description="Message for people, or a template of it.")
    data: MaybeTemplate = Field(default=ABSENT, description="Any value; becomes error.data.")


State = TypeAliasType(
    "State",
    Annotated[
        Union[  # noqa: UP007 - a runtime value: members are classes
            Invoke,
            Step,
            Aws,
            Http,
            ChildWorkflow,
            Wait,
            WaitForCallback,
            WaitForCondition,
            Choice,
            Block,
            Loop,
            Parallel,
            Map,
            Pass,
            Succeed,
            Fail,
        ],
        Field(discriminator="type"),
    ],
)
"""A state of any of the sixteen types; `type` says which."""

Check = TypeAliasType("Check", Annotated[StepCheck | AwsCheck | HttpCheck, Field(discriminator="type")])


class Retrier(Part):
    """When to try again, and how fast."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("backoff_rate", "increment"), required=False),)

    errors: Globs = Field(
        default=("States.ALL",),
        description="Error names that are retried; * and ? stand for characters.",
        examples=[["Http.5*", "States.Timeout"]],
    )
    when: Expression = Field(default=True, description="Condition on 'error'; when false the next retrier is asked.")
    max_attempts: Count = Field(default=3, description="Attempts in all, the first included.")
    interval: Delay = Field(default="1s", description="Time to the second attempt; at least one second.")
    backoff_rate: Rate = Field(default=2, description="Factor by which the time grows with each attempt.")
    increment: MaybeDelay = Field(default=None, description="Time added with each attempt, instead of a factor.")
    max_delay: MaybeLimit = Field(default=None, description="Longest time between two attempts.")
    jitter: Jitter = Field(default="full", description="How the time is spread at random.")
    max_duration: MaybeLimit = Field(default=None, description="Time from the first attempt after which none begins.")


class Catcher(Part):
    """What to do about an error; sees it as 'error'."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("states", "next"), required=False),)

    errors: Globs = Field(
        default=("States.ALL",),
        description="Error names that are caught; * and ? stand for characters.",
        examples=[["States.ALL"]],
    )
    when: Expression = Field(default=True, description="Condition on 'error'; when false the next catcher is asked.")
    assign: Named[Template] = Field(default_factory=dict, description="Variables to set, before 'states' run.")
    output: MaybeTemplate = Field(default=ABSENT, description="Result of the state instead of its own.")
    states: Annotated[AnyStateList | None, WithoutNull()] = Field(default=None, description="States to run.")
    next: MaybeName = Field(default=None, description="Sibling of the state to go to, or 'end'.")


class Completion(Part):
    """When a map or parallel is decided."""

    min_successful: MaybeCount = Field(default=None, description="Enough successes: the rest is abandoned.")
    tolerated_failure_count: Annotated[Tolerated | None, WithoutNull()] = Field(
        default=None, description="Failures that do no harm; one more decides."
    )
    tolerated_failure_percentage: Annotated[Percentage | None, WithoutNull()] = Field(
        default=None, description="Failures that do no harm, in per cent of all items.", examples=[5]
    )


# The project file: durableflow.yaml.


class HttpSettings(Part):
    """What http states may reach besides https."""

    allow: Listed[HostPort] = Field(
        default=(),
        description="Hosts (host or host:port) that may be reached without https.",
        examples=[["127.0.0.1:9000"]],
    )


class AwsSettings(Part):
    """What aws states may call."""

    allow: Listed[ActionPattern] = Field(
        default=(), description="Actions that aws states may call, as IAM names them.", examples=[["s3:PutObject"]]
    )


class LimitSettings(Part):
    """Limits of one execution."""

    operations: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=3_000, description="Operations that an execution may have, counted as the platform counts them."
    )


class Project(Part):
    """A project: where things are on this machine, and how to deploy."""

    durableflow: Literal["1"] = Field(description='Version of the language. Always "1", in quotes.')
    workflows: Listed[FilePath] = Field(
        default=("workflows",), description="Folders and files with workflows, relative to this file."
    )
    handlers: Listed[FilePath] = Field(
        default=("handlers",), description="Folders that 'handler' may import from, relative to this file."
    )
    functions: dict[FunctionKey, TargetOrAnswers] = Field(
        default_factory=dict,
        description="What the functions of invoke states are when workflows run here.",
        examples=[{"inventory:live": {"python": "functions.inventory:handler"}}],
    )
    actions: dict[ActionKey, ReplyOrAnswers] = Field(
        default_factory=dict,
        description="What aws states get when workflows run here, by service:action.",
        examples=[{"dynamodb:put_item": {"result": {}}}],
    )
    http_answers: dict[RequestKey, ReplyOrAnswers] = Field(
        default_factory=dict,
        description="What http states get when workflows run here, by method and URL.",
        examples=[{"POST https://pay.example/charges": {"result": {"status": 200}}}],
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict, description="Values of the environment names that workflows declare."
    )
    secrets: Named[LocalSecret] = Field(default_factory=dict, description="Where secrets come from on this machine.")
    store: FilePath = Field(default=".durableflow/executions.db", description="File of the local executions.")
    deploy: Annotated[Deploy | None, WithoutNull()] = Field(default=None, description="How to deploy to AWS.")
    offload: Annotated[Offload | None, WithoutNull()] = Field(
        default=None, description="Where large results go; without it a result over 256 KB is an error."
    )
    http: HttpSettings = Field(default_factory=HttpSettings, description="What http states may reach.")
    aws: AwsSettings = Field(default_factory=AwsSettings, description="What aws states may call.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Limits of one execution.")


class PythonTarget(Part):
    """A plain Lambda handler in Python."""

    python: HandlerRef = Field(description="module:function, called with (event, context).")


class WorkflowTarget(Part):
    """Another workflow of the project, as a durable function with executions of its own."""

    workflow: Ident = Field(description="Name of the workflow.")


class DurableTarget(Part):
    """A durable function written with an AWS SDK."""

    durable: HandlerRef = Field(description="module:function of the durable function.")


class CommandTarget(Part):
    """A program: event on standard input, result on standard output."""

    command: Filled[str] = Field(description="Program and arguments, run in the project's folder.")


class HttpTarget(Part):
    """A runtime interface emulator."""

    http: Url = Field(description="URL to post the event to.")


class LambdaTarget(Part):
    """The real function; only with --allow-aws."""

    lambda_: FunctionArn = Field(alias="lambda", description="ARN of the function.")


class ResultAnswer(Part):
    """A fixed result."""

    result: Template = Field(description="The result.")


class ErrorAnswer(Part):
    """A fixed error."""

    error: AnswerError = Field(description="The error.")


class AnswerError(Part):
    """An error as a function would report it."""

    name: ErrorName = Field(description="Error name.")
    message: str = Field(default="", description="Message for people.")
    data: Template = Field(default=None, description="Any value; becomes error.data.")


_KINDS: Final = ("python", "workflow", "durable", "command", "http", "lambda", "result", "error")


def _kind(value: object) -> str | None:
    """Return which kind of target or answer a mapping is: its first key that names one."""
    return next((key for key in _KINDS if key in value), None) if isinstance(value, dict) else None


Answer = TypeAliasType(
    "Answer",
    Annotated[
        Annotated[ResultAnswer, Tag("result")] | Annotated[ErrorAnswer, Tag("error")],
        Discriminator(_kind),
    ],
)
"""A fixed result or error."""
Reply = TypeAliasType(
    "Reply",
    Annotated[
        Annotated[PythonTarget, Tag("python")]
        | Annotated[ResultAnswer, Tag("result")]
        | Annotated[ErrorAnswer, Tag("error")],
        Discriminator(_kind),
    ],
)
"""What an aws or http state gets here instead of a real call."""
Target = TypeAliasType(
    "Target",
    Annotated[
        Annotated[PythonTarget, Tag("python")]
        | Annotated[WorkflowTarget, Tag("workflow")]
        | Annotated[DurableTarget, Tag("durable")]
        | Annotated[CommandTarget, Tag("command")]
        | Annotated[HttpTarget, Tag("http")]
        | Annotated[LambdaTarget, Tag("lambda")]
        | Annotated[ResultAnswer, Tag("result")]
        | Annotated[ErrorAnswer, Tag("error")],
        Discriminator(_kind),
    ],
)
"""What a function is here."""
_ANSWERS: Final = "a mapping, or a list of {result: …} and {error: …}"
TargetOrAnswers: TypeAlias = Annotated[
    Target | tuple[Answer, ...], ByKind(expected=_ANSWERS, items=Filled[Answer], mapping=Target)
]
ReplyOrAnswers: TypeAlias = Annotated[
    Reply | tuple[Answer, ...], ByKind(expected=_ANSWERS, items=Filled[Answer], mapping=Reply)
]


class LocalSecret(Part):
    """Where a secret comes from on this machine."""

    env: EnvName = Field(description="Environment name, of the process or of a .env file beside this one.")


class Deploy(Part):
    """How to deploy the project to AWS Lambda."""

    function: Annotated[
        str | dict[str, str],
        ByKind(expected="a function's name, or a name for each workflow", text=LambdaName, mapping=Named[LambdaName]),
    ] = Field(description="Function that runs all workflows, or a function for each workflow by its name.")
    runtime: Annotated[str, Form(what="a runtime", rule="write python3.13", pattern="python3[.][0-9]{1,2}")] = Field(
        default="python3.13", description="Lambda runtime."
    )
    memory: Annotated[int, Field(ge=128, le=10_240)] = Field(default=512, description="Memory in MB.")
    timeout: Annotated[str | int | float, Seconds(1, 900, templated=False)] = Field(
        default="60s", description="Longest invocation, at most 15 minutes."
    )
    execution_timeout: Annotated[str | int | float, Seconds(1, templated=False)] = Field(
        default="30d", description="Longest execution, at most 366 days."
    )
    retention: Annotated[str | int | float, Seconds(86_400, 90 * 86_400, templated=False)] = Field(
        default="14d", description="How long a finished execution can be read, 1 to 90 days."
    )
    alias: LambdaName = Field(default="live", description="Alias that points at the version.")
    environment: dict[EnvName, str] = Field(default_factory=dict, description="Environment of the function.")


class Offload(Part):
    """Where large results go."""

    EXCLUSIVE: ClassVar[tuple[OneOf, ...]] = (OneOf(fields=("directory", "s3"), required=True),)

    threshold: Annotated[str | int, Size(OFFLOAD_MAX_BYTES)] = Field(
        default="200KB", description="Size from which a result is offloaded, at most 256KB; 1 KB is 1,024 bytes."
    )
    directory: Annotated[FilePath | None, WithoutNull()] = Field(default=None, description="Folder, when run here.")
    s3: Annotated[BucketPrefix | None, WithoutNull()] = Field(default=None, description="bucket/prefix, on AWS.")


Workflow.model_rebuild()
Project.model_rebuild()


# Every list of states.

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A state and where it stands.

    Args:
        state: the state.
        path: its path in the document, such as `("states", 0, "choices", 1, "states", 0)`.
        siblings: the names in its list, its own included, in order.
        list_path: the path of that list.
        parents: the states around it, outermost first.
    """

    state: State
    path: Path
    siblings: tuple[str, ...]
    list_path: Path
    parents: tuple[State, ...]


def walk_states(workflow: Workflow) -> Iterator[Placed]:
    """Yield every state of a workflow with its place, parents first, lists in the order of the grammar."""
    for path, states in lists_in(workflow):
        yield from _placed(states, path, ())


def _placed(states: tuple[State, ...], list_path: Path, parents: tuple[State, ...]) -> Iterator[Placed]:
    siblings = tuple(state.name for state in states)
    for index, state in enumerate(states):
        path = (*list_path, index)
        yield Placed(state=state, path=path, siblings=siblings, list_path=list_path, parents=parents)
        for inner, nested in lists_in(state):
            yield from _placed(nested, (*path, *inner), (*parents, state))


def lists_in(part: Workflow | State) -> Iterator[tuple[Path, tuple[State, ...]]]:
    """Yield every list of states directly in a workflow or state, also an empty one, with its path from there."""
    if isinstance(part, Workflow):
        yield ("states",), part.states
    else:
        yield from _own_lists(part)
    for index, catcher in enumerate(part.catch):
        yield ("catch", index, "states"), catcher.states or ()
    if isinstance(part, Workflow | Block):
        yield ("finally",), part.finally_
    if isinstance(part, UndoableState):
        yield ("compensate",), part.compensate


def _own_lists(state: State) -> Iterator[tuple[Path, tuple[State, ...]]]:
    match state:
        case Choice():
            for index, arm in enumerate(state.choices):
                yield ("choices", index, "states"), arm.states or ()
            yield ("default",), state.default or ()
        case Block() | Loop() | Map():
            yield ("states",), state.states
        case Parallel():
            for name, branch in state.branches.items():
                yield ("branches", name), branch
        case WaitForCallback():
            yield ("submit",), state.submit
        case Invoke() | Step() | Aws() | Http() | ChildWorkflow() | Wait() | WaitForCondition():
            pass
        case Pass() | Succeed() | Fail():
            pass
        case _:
            assert_never(state)


# The JSON Schemas of both files.


class _Schemas(GenerateJsonSchema):
    """Pydantic's schemas without its titles and meaningless defaults, and with exact errors for tagged unions.

    A `oneOf` of sixteen states makes every tool list sixteen failures; `if type is invoke, then Invoke` makes it list
    the failures of the state that the author meant.
    """

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") in (None, ABSENT, ()):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made: JsonSchemaValue = {"type": "object"}
        if keys := {name: rule for name, rule in self._inner(schema, "keys_schema").items() if name != "type"}:
            made["propertyNames"] = keys
        if values := self._inner(schema, "values_schema"):
            made["additionalProperties"] = values
        return made

    def _inner(self, schema: core_schema.DictSchema, part: Literal["keys_schema", "values_schema"]) -> JsonSchemaValue:
        inner = schema.get(part)
        return self.generate_inner(inner) if inner else {}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        members = {str(tag): self.generate_inner(choice) for tag, choice in schema["choices"].items()}
        if schema["discriminator"] == "type":
            return {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": list(members), "description": "Which of these it is."}},
                "allOf": [
                    {"if": {"required": ["type"], "properties": {"type": {"const": tag}}}, "then": member}
                    for tag, member in members.items()
                ],
            }
        return {
            "type": "object",
            "anyOf": [{"required": [tag]} for tag in members],
            "allOf": [{"if": {"required": [tag]}, "then": member} for tag, member in members.items()],
        }


def workflow_schema() -> Object:
    """Return the JSON Schema (draft 2020-12) of a workflow file."""
    return _schema(Workflow, "workflow", "A durableflow workflow")


def project_schema() -> Object:
    """Return the JSON Schema (draft 2020-12) of a project file."""
    return _schema(Project, "project", "A durableflow project")


def _schema(model: type[Part], name: str, title: str) -> Object:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:durableflow:{name}:{LANGUAGE_VERSION}",
        **model.model_json_schema(schema_generator=_Schemas),
        "title": title,
    }
