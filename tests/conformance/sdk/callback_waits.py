"""The durable functions that the requirements of the suite `wait_for_callback` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_durable_execution_sdk_python import (
    CallbackExternalError,
    CallbackTimeoutError,
    DurableContext,
    durable_execution,
)
from aws_durable_execution_sdk_python.config import Duration, WaitForCallbackConfig
from aws_durable_execution_sdk_python.serdes import JsonSerDes
from steps import retried

if TYPE_CHECKING:
    from aws_durable_execution_sdk_python.types import WaitForCallbackContext


def submit(callback_id: str, _: WaitForCallbackContext) -> None:
    assert callback_id


def broken(_: str, __: WaitForCallbackContext) -> None:
    raise RuntimeError("this submitter always fails")


def within(seconds: int) -> WaitForCallbackConfig:
    return WaitForCallbackConfig(timeout=Duration.from_seconds(seconds))


def beating(seconds: int) -> WaitForCallbackConfig:
    return WaitForCallbackConfig(heartbeat_timeout=Duration.from_seconds(seconds))


@durable_execution
def awaits(event: str, context: DurableContext) -> Any:
    return context.wait_for_callback(submit, name=event)


@durable_execution
def awaits_an_approval(_: Any, context: DurableContext) -> Any:
    return context.wait_for_callback(submit, name="approval")


@durable_execution
def awaits_without_a_name(_: Any, context: DurableContext) -> Any:
    return context.wait_for_callback(submit)


@durable_execution
def awaits_three_seconds(event: str, context: DurableContext) -> Any:
    return context.wait_for_callback(submit, name=event, config=within(3))


@durable_execution
def survives_a_failure(event: str, context: DurableContext) -> Any:
    try:
        return context.wait_for_callback(submit, name=event)
    except CallbackExternalError:
        return "recovered"


@durable_execution
def fails_with_its_submitter(event: str, context: DurableContext) -> Any:
    config = WaitForCallbackConfig(retry_strategy=retried(2).retry_strategy)
    return context.wait_for_callback(broken, name=event, config=config)


@durable_execution
def awaits_in_a_child(event: str, context: DurableContext) -> Any:
    return context.run_in_child_context(lambda child: child.wait_for_callback(submit, name=event), name="wrapper")


@durable_execution
def awaits_twice(_: Any, context: DurableContext) -> Any:
    context.wait_for_callback(submit, name="first")
    return context.wait_for_callback(submit, name="second")


@durable_execution
def waits_and_steps_before(event: str, context: DurableContext) -> Any:
    context.wait(Duration.from_seconds(1))
    context.step(lambda _: "fixed")
    return context.wait_for_callback(submit, name=event)


@durable_execution
def reads_json(event: str, context: DurableContext) -> Any:
    answer = context.wait_for_callback(submit, name=event, config=WaitForCallbackConfig(serdes=JsonSerDes()))
    return answer["status"]


@durable_execution
def awaits_a_heartbeat(event: str, context: DurableContext) -> Any:
    return context.wait_for_callback(submit, name=event, config=beating(5))


@durable_execution
def awaits_heartbeats(event: str, context: DurableContext) -> Any:
    return context.wait_for_callback(submit, name=event, config=beating(10))


@durable_execution
def survives_a_timeout(event: str, context: DurableContext) -> Any:
    try:
        return context.wait_for_callback(submit, name=event, config=within(3))
    except CallbackTimeoutError:
        return "timed-out-handled"
