"""The durable functions that the requirements of the suite `wait` ask for."""

from __future__ import annotations

from typing import Any

from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import Duration


@durable_execution
def waits(_: Any, context: DurableContext) -> None:
    context.wait(Duration.from_seconds(2))


@durable_execution
def waits_under_a_name(_: Any, context: DurableContext) -> None:
    context.wait(Duration.from_seconds(2), name="custom_wait_name")


@durable_execution
def waits_twice(_: Any, context: DurableContext) -> dict[str, int]:
    context.wait(Duration.from_seconds(2), name="wait-1")
    context.wait(Duration.from_seconds(2), name="wait-2")
    return {"completedWaits": 2}


@durable_execution
def waits_a_minute(_: Any, context: DurableContext) -> None:
    context.wait(Duration.from_minutes(1))


@durable_execution
def waits_an_hour(_: Any, context: DurableContext) -> None:
    context.wait(Duration.from_hours(1))
