"""The durable functions that the requirements of the suite `invoke` ask for, and those that they invoke."""

from __future__ import annotations

import json
import os
from typing import Any

from aws_durable_execution_sdk_python import DurableContext, InvokeError, durable_execution
from aws_durable_execution_sdk_python.config import Duration, InvokeConfig
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext
from steps import UpperCasing


class UpperCasingText(SerDes[Any]):
    """Reads the stored text itself, in upper case."""

    def serialize(self, value: Any, _: SerDesContext) -> str:
        return json.dumps(value)

    def deserialize(self, data: str, _: SerDesContext) -> str:
        return data.upper()


# Who is invoked. The wait has the invoker suspend before they end, as the requirements expect it.


@durable_execution
def echo(event: Any, context: DurableContext) -> Any:
    context.wait(Duration.from_seconds(1))
    return event


@durable_execution
def error(_: Any, context: DurableContext) -> Any:
    context.wait(Duration.from_seconds(1))
    raise RuntimeError("the target always fails")


# Who invokes.


@durable_execution
def invokes(event: Any, context: DurableContext) -> Any:
    return context.invoke(os.environ["ECHO"], event)


@durable_execution
def invokes_under_a_name(event: dict[str, str], context: DurableContext) -> Any:
    return context.invoke(os.environ["ECHO"], event["payload"], name=event["name"])


@durable_execution
def fails_with_its_target(event: Any, context: DurableContext) -> Any:
    return context.invoke(os.environ["ERROR"], event)


@durable_execution
def falls_back(event: Any, context: DurableContext) -> Any:
    try:
        return context.invoke(os.environ["ERROR"], event)
    except InvokeError as failure:
        return f"fallback: {failure}"


@durable_execution
def sends_much(_: Any, context: DurableContext) -> int:
    return len(context.invoke(os.environ["ECHO"], {"data": "x" * 200_000})["data"])


@durable_execution
def invokes_for_a_tenant(event: dict[str, str], context: DurableContext) -> Any:
    return context.invoke(os.environ["TENANCY"], event["payload"], config=InvokeConfig(tenant_id=event["tenantId"]))


@durable_execution
def keeps_its_result(_: Any, context: DurableContext) -> Any:
    result = context.invoke(os.environ["ECHO"], "kept")
    context.wait(Duration.from_seconds(1))
    return result


@durable_execution
def keeps_its_error(_: Any, context: DurableContext) -> Any:
    try:
        message = context.invoke(os.environ["ERROR"], "lost")
    except InvokeError as failure:
        message = f"caught: {failure}"
    context.wait(Duration.from_seconds(1))
    return message


@durable_execution
def steps_then_invokes(_: Any, context: DurableContext) -> Any:
    made = context.step(lambda _: {"made": "by a step"})
    return context.invoke(os.environ["ECHO"], made)


@durable_execution
def invokes_then_steps(_: Any, context: DurableContext) -> Any:
    answer = context.invoke(os.environ["ECHO"], "sent")
    return context.step(lambda _: f"{answer} and received")


@durable_execution
def invokes_in_a_child(_: Any, context: DurableContext) -> Any:
    return context.run_in_child_context(lambda child: child.invoke(os.environ["ECHO"], "from a child"))


@durable_execution
def invokes_twice(_: Any, context: DurableContext) -> Any:
    first = context.invoke(os.environ["ECHO"], "first")
    return [first, context.invoke(os.environ["ECHO"], "second")]


@durable_execution
def sends_upper_case(event: Any, context: DurableContext) -> Any:
    return context.invoke(os.environ["ECHO"], event, config=InvokeConfig(serdes_payload=UpperCasing()))


@durable_execution
def reads_upper_case(event: Any, context: DurableContext) -> Any:
    return context.invoke(os.environ["ECHO"], event, config=InvokeConfig(serdes_result=UpperCasingText()))
