"""The durable functions that the requirements of the suite `step` ask for."""

from __future__ import annotations

import json
import os
from typing import Any

from aws_durable_execution_sdk_python import DurableContext, StepContext, StepError, durable_execution
from aws_durable_execution_sdk_python.config import Duration, JitterStrategy, StepConfig, StepSemantics
from aws_durable_execution_sdk_python.retries import RetryPresets, RetryStrategyConfig, create_retry_strategy
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext


class TransientError(Exception):
    pass


class UpperCasing(SerDes[Any]):
    """Stores JSON whose strings are in upper case."""

    def serialize(self, value: Any, _: SerDesContext) -> str:
        return json.dumps(upper(value))

    def deserialize(self, data: str, _: SerDesContext) -> Any:
        return json.loads(data)


def upper(value: Any) -> Any:
    match value:
        case str():
            return value.upper()
        case list():
            return [upper(item) for item in value]
        case dict():
            return {key: upper(item) for key, item in value.items()}
        case _:
            return value


NO_RETRY = StepConfig(retry_strategy=RetryPresets.none())


def retried(max_attempts: int, *, seconds: int = 1, rate: int = 1, **more: Any) -> StepConfig:
    strategy = RetryStrategyConfig(
        max_attempts=max_attempts,
        initial_delay=Duration.from_seconds(seconds),
        backoff_rate=rate,
        jitter_strategy=JitterStrategy.NONE,
        **more,
    )
    return StepConfig(retry_strategy=create_retry_strategy(strategy))


def broken(_: StepContext) -> Any:
    raise RuntimeError("this step always fails")


def transient(_: StepContext) -> Any:
    raise TransientError("this step fails for a while")


def working_from(attempt: int, result: Any) -> Any:
    """A step that fails until this attempt."""

    def run(context: StepContext) -> Any:
        return result if context.attempt >= attempt else transient(context)

    return run


@durable_execution
def greets(event: str, context: DurableContext) -> str:
    return context.step(lambda _: f"Hello, {event}!")


@durable_execution
def greets_under_a_name(event: str, context: DurableContext) -> str:
    return context.step(lambda _: f"Hello, {event}!", name="custom_step_name")


@durable_execution
def chains(_: Any, context: DurableContext) -> str:
    first = context.step(lambda _: "first")
    return context.step(lambda _: f"{first}_second")


@durable_execution
def nests(event: dict[str, Any], context: DurableContext) -> Any:
    return context.step(lambda _: {"user": event, "count": len(event["tags"])})


@durable_execution
def gives_nothing(_: Any, context: DurableContext) -> None:
    return context.step(lambda _: None)


@durable_execution
def stores_upper_case(event: str, context: DurableContext) -> str:
    return context.step(lambda _: event, config=StepConfig(serdes=UpperCasing()))


@durable_execution
def logs(event: str, context: DurableContext) -> str:
    def greet(step: StepContext) -> str:
        step.logger.info("Greeting step started for: %s", event)
        greeting = f"Hello, {event}!"
        step.logger.info("Greeting step completed with: %s", greeting)
        return greeting

    return context.step(greet)


@durable_execution
def computes_then_waits(_: Any, context: DurableContext) -> str:
    result = context.step(lambda _: "computed")
    context.wait(Duration.from_seconds(2))
    return result


@durable_execution
def keeps_its_result(_: Any, context: DurableContext) -> str:
    result = context.step(lambda _: "cached_value")
    context.wait(Duration.from_seconds(1))
    return result


@durable_execution
def keeps_its_error(_: Any, context: DurableContext) -> str:
    message = "no error"
    try:
        context.step(broken, config=NO_RETRY)
    except StepError as error:
        message = str(error)
    context.wait(Duration.from_seconds(1))
    return message


@durable_execution
def works_again(_: Any, context: DurableContext) -> str:
    return context.step(working_from(2, "Operation succeeded"), config=retried(3))


@durable_execution
def fails_four_times(_: Any, context: DurableContext) -> Any:
    return context.step(broken, config=retried(4))


@durable_execution
def is_retried_by_default(_: Any, context: DurableContext) -> str:
    return context.step(working_from(3, "third time lucky"))


@durable_execution
def waits_longer_each_time(_: Any, context: DurableContext) -> str:
    return context.step(working_from(3, "third time lucky"), config=retried(5, seconds=2, rate=3))


@durable_execution
def is_retried_for_its_type(_: Any, context: DurableContext) -> str:
    return context.step(working_from(2, "recovered"), config=retried(3, retryable_error_types=[TransientError]))


@durable_execution
def is_not_retried_for_its_type(_: Any, context: DurableContext) -> Any:
    return context.step(transient, config=retried(3, retryable_error_types=[ValueError]))


@durable_execution
def dies_once_and_for_all(event: str, context: DurableContext) -> Any:
    def die(step: StepContext) -> Any:
        step.logger.info("%s", event)
        os._exit(1)

    at_most_once = StepConfig(retry_strategy=RetryPresets.none(), step_semantics=StepSemantics.AT_MOST_ONCE_PER_RETRY)
    return context.step(die, name="at_most_once_flaky_step", config=at_most_once)


@durable_execution
def dies_at_first(event: str, context: DurableContext) -> str:
    def die_at_first(step: StepContext) -> str:
        step.logger.info("%s", event)
        if step.attempt == 1:
            os._exit(1)
        return "succeeded on second attempt"

    at_most_once = StepConfig(
        retry_strategy=retried(3).retry_strategy, step_semantics=StepSemantics.AT_MOST_ONCE_PER_RETRY
    )
    return context.step(die_at_first, config=at_most_once)


@durable_execution
def fails(_: Any, context: DurableContext) -> Any:
    return context.step(broken, config=NO_RETRY)


@durable_execution
def falls_back(_: Any, context: DurableContext) -> str:
    try:
        return context.step(broken, config=NO_RETRY)
    except StepError:
        return context.step(lambda _: "fallback_result")
