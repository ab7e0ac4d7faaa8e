"""The durable functions that the requirements of the suite `child` ask for."""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import boto3
from aws_durable_execution_sdk_python import ChildContextError, DurableContext, StepContext, durable_execution
from aws_durable_execution_sdk_python.config import ChildConfig, Duration
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext
from steps import NO_RETRY, broken, retried, working_from


class UpperCasing(SerDes[str]):
    """Stores the bare text, in upper case."""

    def serialize(self, value: str, _: SerDesContext) -> str:
        return value.upper()

    def deserialize(self, data: str, _: SerDesContext) -> str:
        return data


def tell_always(context: DurableContext, message: str) -> None:
    """Log, also in a replay."""
    context.logger.with_is_replaying(lambda: False).info("%s", message)


@durable_execution
def holds_a_step(event: str, context: DurableContext) -> str:
    return context.run_in_child_context(lambda child: child.step(lambda _: event))


@durable_execution
def is_named_by_its_input(event: dict[str, str], context: DurableContext) -> str:
    return context.run_in_child_context(lambda child: child.step(lambda _: event["value"]), name=event["name"])


@durable_execution
def holds_two_steps(event: str, context: DurableContext) -> str:
    def run(child: DurableContext) -> str:
        first = child.step(lambda _: event)
        return child.step(lambda _: first)

    return context.run_in_child_context(run, name="two-steps")


@durable_execution
def fails_with_its_step(_: Any, context: DurableContext) -> Any:
    return context.run_in_child_context(lambda child: child.step(broken, config=NO_RETRY), name="failing")


@durable_execution
def is_recovered_from(event: str, context: DurableContext) -> str:
    try:
        return context.run_in_child_context(lambda child: child.step(broken, config=NO_RETRY))
    except ChildContextError:
        return context.step(lambda _: event)


@durable_execution
def holds_another(event: str, context: DurableContext) -> str:
    def run(child: DurableContext) -> str:
        child.step(lambda _: event)
        return child.run_in_child_context(lambda inner: inner.step(lambda _: event), name="inner")

    return context.run_in_child_context(run, name="outer")


@durable_execution
def retries_its_step(event: str, context: DurableContext) -> str:
    return context.run_in_child_context(
        lambda child: child.step(working_from(2, event), config=retried(3)), name="retrying"
    )


@durable_execution
def fails_after_retries(_: Any, context: DurableContext) -> Any:
    return context.run_in_child_context(lambda child: child.step(broken, config=retried(2)), name="exhausted")


@durable_execution
def keeps_its_result(event: str, context: DurableContext) -> str:
    result = context.run_in_child_context(lambda child: child.step(lambda _: event))
    context.wait(Duration.from_seconds(1))
    return result


@durable_execution
def holds_a_wait_too(event: str, context: DurableContext) -> str:
    return context.run_in_child_context(lambda child: waited(child, event), name="mixed")


def waited(child: DurableContext, value: str) -> str:
    child.step(lambda _: value)
    child.wait(Duration.from_seconds(1))
    return value


@durable_execution
def is_too_large_to_store(event: str, context: DurableContext) -> int:
    def run(child: DurableContext) -> str:
        tell_always(child, event)
        return child.step(lambda _: "x") * 300_000

    result = context.run_in_child_context(run, name="large")
    context.wait(Duration.from_seconds(1))
    return len(result)


@durable_execution
def dies_in_its_step(event: str, context: DurableContext) -> str:
    arn = context.execution_context.durable_execution_arn
    # A retry is another process: what it has to know of the first one is in a file.
    mark = Path(os.environ["CONFORMANCE_FOLDER"], blake2b(arn.encode(), digest_size=16).hexdigest())

    def die_at_first(_: StepContext) -> str:
        if not mark.exists():
            mark.touch()
            await_event(arn, "StepStarted")
            os._exit(1)
        return event

    return context.run_in_child_context(lambda child: child.step(die_at_first))


def await_event(arn: str, kind: str) -> None:
    """Return when the service has recorded an event: a start that nobody waits for may still be on its way."""
    service = boto3.client("lambda")
    while True:
        events = service.get_durable_execution_history(DurableExecutionArn=arn)["Events"]
        if any(event["EventType"] == kind for event in events):
            return
        time.sleep(0.02)


@durable_execution
def holds_only_a_wait(event: str, context: DurableContext) -> str:
    def run(child: DurableContext) -> str:
        child.wait(Duration.from_seconds(1))
        return event

    result = context.run_in_child_context(run, name="waiting")
    return context.step(lambda _: result)


@durable_execution
def stores_upper_case(event: str, context: DurableContext) -> str:
    return context.run_in_child_context(
        lambda child: child.step(lambda _: event), name="upper", config=ChildConfig(serdes=UpperCasing())
    )


@durable_execution
def fails_by_itself(_: Any, context: DurableContext) -> Any:
    def run(_: DurableContext) -> Any:
        raise ValueError("this child always fails")

    return context.run_in_child_context(run, name="failing")


@durable_execution
def gives_nothing(_: Any, context: DurableContext) -> None:
    return context.run_in_child_context(lambda _: None, name="empty")


@durable_execution
def only_logs(event: str, context: DurableContext) -> str:
    def run(child: DurableContext) -> str:
        tell_always(child, event)
        return event

    result = context.run_in_child_context(run, name="logging")
    context.wait(Duration.from_seconds(1))
    return result


@durable_execution
def is_followed_by_more(event: str, context: DurableContext) -> str:
    inner = context.run_in_child_context(lambda child: waited(child, event), name="mixed")
    outer = context.step(lambda _: inner)
    context.wait(Duration.from_seconds(1))
    return outer
