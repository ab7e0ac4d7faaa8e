"""The durable functions that the requirements of the suite `callback` ask for."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from aws_durable_execution_sdk_python import (
    CallbackExternalError,
    CallbackTimeoutError,
    DurableContext,
    durable_execution,
)
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext


class Message(SerDes[Any]):
    """Reads a JSON object whose time becomes epoch seconds."""

    def serialize(self, value: Any, _: SerDesContext) -> str:
        return json.dumps(value)

    def deserialize(self, data: str, _: SerDesContext) -> Any:
        message = json.loads(data)
        return {**message, "timestamp": int(datetime.fromisoformat(message["timestamp"]).timestamp())}


class Number(SerDes[int]):
    """Reads a whole number."""

    def serialize(self, value: int, _: SerDesContext) -> str:
        return str(value)

    def deserialize(self, data: str, _: SerDesContext) -> int:
        return int(data)


def within(seconds: int) -> CallbackConfig:
    return CallbackConfig(timeout=Duration.from_seconds(seconds))


def beating(seconds: int) -> CallbackConfig:
    return CallbackConfig(heartbeat_timeout=Duration.from_seconds(seconds))


@durable_execution
def awaits(event: str, context: DurableContext) -> Any:
    return context.create_callback(name=event).result()


@durable_execution
def awaits_an_approval(_: Any, context: DurableContext) -> Any:
    return context.create_callback(name="approval").result()


@durable_execution
def awaits_five_seconds(event: str, context: DurableContext) -> Any:
    return context.create_callback(name=event, config=within(5)).result()


@durable_execution
def awaits_a_heartbeat(event: str, context: DurableContext) -> Any:
    return context.create_callback(name=event, config=beating(5)).result()


@durable_execution
def awaits_heartbeats(event: str, context: DurableContext) -> Any:
    return context.create_callback(name=event, config=beating(10)).result()


@durable_execution
def steps_then_awaits(event: str, context: DurableContext) -> Any:
    callback = context.create_callback(name=event)
    context.step(lambda _: "done")
    return callback.result()


@durable_execution
def steps_then_awaits_five_seconds(event: str, context: DurableContext) -> Any:
    callback = context.create_callback(name=event, config=within(5))
    context.step(lambda _: "done")
    return callback.result()


@durable_execution
def waits_then_awaits(event: str, context: DurableContext) -> Any:
    callback = context.create_callback(name=event)
    context.wait(Duration.from_seconds(5))
    return callback.result()


@durable_execution
def waits_longer_than_it_may_await(event: str, context: DurableContext) -> Any:
    callback = context.create_callback(name=event, config=within(3))
    context.wait(Duration.from_seconds(6))
    return callback.result()


@durable_execution
def awaits_then_waits(event: str, context: DurableContext) -> Any:
    result = context.create_callback(name=event).result()
    context.wait(Duration.from_seconds(2))
    return result


@durable_execution
def survives_a_failure(event: str, context: DurableContext) -> Any:
    try:
        message = context.create_callback(name=event).result()
    except CallbackExternalError as error:
        message = f"failed: {error}"
    context.wait(Duration.from_seconds(2))
    return message


@durable_execution
def survives_a_timeout(event: str, context: DurableContext) -> Any:
    try:
        message = context.create_callback(name=event, config=within(3)).result()
    except CallbackTimeoutError as error:
        message = f"timed out: {error}"
    context.wait(Duration.from_seconds(2))
    return message


@durable_execution
def reads_a_message(event: str, context: DurableContext) -> Any:
    return {"received": context.create_callback(name=event, config=CallbackConfig(serdes=Message())).result()}


@durable_execution
def reads_a_number(event: str, context: DurableContext) -> dict[str, int]:
    count = context.create_callback(name=event, config=CallbackConfig(serdes=Number())).result()
    assert count is not None
    return {"count": count, "doubled": 2 * count}


@durable_execution
def awaits_one_then_another(event: list[str], context: DurableContext) -> list[Any]:
    first, second = event
    return [context.create_callback(name=first).result(), context.create_callback(name=second).result()]


@durable_execution
def awaits_two_in_order(event: list[str], context: DurableContext) -> list[Any]:
    callbacks = [context.create_callback(name=name) for name in event]
    return [callback.result() for callback in callbacks]


@durable_execution
def awaits_two_the_other_way_round(event: list[str], context: DurableContext) -> list[Any]:
    first, second = [context.create_callback(name=name) for name in event]
    answer = second.result()
    return [first.result(), answer]
