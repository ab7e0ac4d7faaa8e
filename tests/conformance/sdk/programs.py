"""A durable function that does what its input says: a list of operations, each `[kind, argument…]`."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from aws_durable_execution_sdk_python import (
    CallbackExternalError,
    CallbackTimeoutError,
    ChildContextError,
    DurableContext,
    InvokeError,
    StepContext,
    StepError,
    durable_execution,
)
from aws_durable_execution_sdk_python.config import (
    CallbackConfig,
    CompletionConfig,
    Duration,
    MapConfig,
    NestingType,
    ParallelConfig,
    StepConfig,
    StepSemantics,
)
from conditions import one_more, polling
from steps import NO_RETRY, broken, retried, working_from

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = "x" * 270_000
"""A result with this in it is too large for a context's record; a replay makes it again."""
HALF = "x" * 150_000
AT_MOST_ONCE = StepSemantics.AT_MOST_ONCE_PER_RETRY


@durable_execution
def run(event: list[Any], context: DurableContext) -> list[Any]:
    return in_sequence(context, event)


def plain(event: Any, _: Any) -> Any:
    if event == "broken":
        raise ValueError("this function fails")
    return event


def in_sequence(context: DurableContext, operations: list[Any]) -> list[Any]:
    return [KINDS[kind](context, *arguments) for kind, *arguments in operations]


def answer(callback_id: str, value: Any) -> None:
    boto3.client("lambda").send_durable_execution_callback_success(CallbackId=callback_id, Result=json.dumps(value))


def refuse(callback_id: str, _: Any) -> None:
    error = {"ErrorType": "Refused", "ErrorMessage": "no"}
    boto3.client("lambda").send_durable_execution_callback_failure(CallbackId=callback_id, Error=error)


def step(context: DurableContext, value: Any) -> Any:
    return context.step(lambda _: value)


def careful_step(context: DurableContext, value: Any) -> Any:
    return context.step(lambda _: value, config=StepConfig(step_semantics=AT_MOST_ONCE))


def retried_step(context: DurableContext, attempts: int) -> Any:
    return context.step(working_from(attempts, attempts), config=retried(attempts))


def failing_step(context: DurableContext) -> Any:
    try:
        return context.step(broken, config=NO_RETRY)
    except StepError:
        return "failed"


def dying_step(context: DurableContext, value: Any) -> Any:
    """End the process at first; the step is done again."""
    key = f"{context.execution_context.durable_execution_arn} {value}"
    mark = Path(os.environ["CONFORMANCE_FOLDER"], blake2b(key.encode(), digest_size=16).hexdigest())

    def die_at_first(_: StepContext) -> Any:
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return value

    return context.step(die_at_first)


def careful_dying_step(context: DurableContext, value: Any) -> Any:
    """End the process at first; the step is not done again but retried."""

    def die_at_first(step: StepContext) -> Any:
        if step.attempt == 1:
            os._exit(1)
        return value

    config = StepConfig(step_semantics=AT_MOST_ONCE, retry_strategy=retried(2).retry_strategy)
    return context.step(die_at_first, config=config)


def wait(context: DurableContext, seconds: int) -> None:
    context.wait(Duration.from_seconds(seconds))


def condition(context: DurableContext, checks: int) -> int:
    return context.wait_for_condition(one_more, polling(initial=0, while_=lambda state: state < checks))


def invoke(context: DurableContext, operations: list[Any]) -> Any:
    return context.invoke("program:$LATEST", operations)


def invoke_plain(context: DurableContext, value: Any) -> Any:
    return context.invoke("plain", value)


def invoke_broken(context: DurableContext) -> Any:
    try:
        return context.invoke("plain", "broken")
    except InvokeError:
        return "failed"


def invoke_nobody(context: DurableContext) -> Any:
    try:
        return context.invoke("nobody:$LATEST", None)
    except InvokeError:
        return "nobody"


def callback(context: DurableContext, value: Any) -> Any:
    """Be answered while the invocation goes on, and look only later."""
    made = context.create_callback()
    context.step(lambda _: answer(made.callback_id, value))
    context.wait(Duration.from_seconds(2))
    return json.loads(made.result())


def late_callback(context: DurableContext) -> Any:
    try:
        return context.create_callback(config=CallbackConfig(timeout=Duration.from_seconds(3))).result()
    except CallbackTimeoutError:
        return "late"


def answered(context: DurableContext, value: Any) -> Any:
    return json.loads(context.wait_for_callback(lambda callback_id, _: answer(callback_id, value)))


def refused(context: DurableContext) -> Any:
    try:
        return context.wait_for_callback(refuse)
    except CallbackExternalError:
        return "refused"


def child(context: DurableContext, operations: list[Any]) -> list[Any]:
    return context.run_in_child_context(lambda inner: in_sequence(inner, operations), name="child")


def large_child(context: DurableContext, operations: list[Any]) -> list[Any]:
    return context.run_in_child_context(lambda inner: [*in_sequence(inner, operations), LARGE])[:-1]


def failing_child(context: DurableContext, operations: list[Any]) -> Any:
    def fail(inner: DurableContext) -> Any:
        in_sequence(inner, operations)
        raise ValueError("this child fails in the end")

    try:
        return context.run_in_child_context(fail)
    except ChildContextError:
        return "failed"


def parallel(context: DurableContext, at_once: int | None, nesting: str, branches: list[Any]) -> list[Any]:
    config = ParallelConfig(max_concurrency=at_once, nesting_type=NestingType(nesting))
    return context.parallel([branch(operations) for operations in branches], config=config).get_results()


def branch(operations: list[Any]) -> Callable[[DurableContext], list[Any]]:
    return lambda context: in_sequence(context, operations)


def map_(context: DurableContext, at_once: int | None, nesting: str, items: list[Any]) -> list[Any]:
    config = MapConfig[Any](max_concurrency=at_once, nesting_type=NestingType(nesting))
    return context.map(items, lambda inner, item, *_: in_sequence(inner, item), config=config).get_results()


def large_map(context: DurableContext, at_once: int | None, items: list[Any]) -> list[Any]:
    config = MapConfig[Any](max_concurrency=at_once)
    batch = context.map(items, lambda inner, item, *_: [*in_sequence(inner, item), HALF], config=config)
    return [result[:-1] for result in batch.get_results()]


def race(context: DurableContext) -> list[Any]:
    """Leave a branch behind that waits."""
    config = ParallelConfig(completion_config=CompletionConfig.first_successful())
    return context.parallel([branch([["wait", 5000]]), branch([["step", "quick"]])], config=config).get_results()


KINDS: dict[str, Callable[..., Any]] = {
    "step": step,
    "careful_step": careful_step,
    "retried_step": retried_step,
    "failing_step": failing_step,
    "dying_step": dying_step,
    "careful_dying_step": careful_dying_step,
    "wait": wait,
    "condition": condition,
    "invoke": invoke,
    "invoke_plain": invoke_plain,
    "invoke_broken": invoke_broken,
    "invoke_nobody": invoke_nobody,
    "callback": callback,
    "late_callback": late_callback,
    "answered": answered,
    "refused": refused,
    "child": child,
    "large_child": large_child,
    "failing_child": failing_child,
    "parallel": parallel,
    "map": map_,
    "large_map": large_map,
    "race": race,
}
