"""The durable functions that the requirements of the suite `wait_for_condition` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_durable_execution_sdk_python import DurableContext, WaitForConditionError, durable_execution
from aws_durable_execution_sdk_python.config import Duration, JitterStrategy
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext
from aws_durable_execution_sdk_python.waits import WaitForConditionConfig, WaitStrategyConfig, create_wait_strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_durable_execution_sdk_python.types import WaitForConditionCheckContext as CheckContext


class Labelled(SerDes[str]):
    """Stores text with a label in front."""

    def serialize(self, value: str, _: SerDesContext) -> str:
        return f"state={value}"

    def deserialize(self, data: str, _: SerDesContext) -> str:
        assert data.startswith("state=")
        return data.removeprefix("state=")


def polling(
    *,
    initial: Any,
    while_: Callable[[Any], bool],
    seconds: int = 1,
    max_attempts: int = 60,
    serdes: SerDes[Any] | None = None,
) -> WaitForConditionConfig[Any]:
    strategy = WaitStrategyConfig(
        should_continue_polling=while_,
        max_attempts=max_attempts,
        initial_delay=Duration.from_seconds(seconds),
        backoff_rate=1,
        jitter_strategy=JitterStrategy.NONE,
    )
    return WaitForConditionConfig(wait_strategy=create_wait_strategy(strategy), initial_state=initial, serdes=serdes)


def one_more(state: int, _: CheckContext) -> int:
    return state + 1


def broken(_: Any, __: CheckContext) -> Any:
    raise ValueError("this check always fails")


@durable_execution
def counts(event: int, context: DurableContext) -> int:
    return context.wait_for_condition(one_more, polling(initial=0, while_=lambda state: state < event))


@durable_execution
def is_true_at_once(event: int, context: DurableContext) -> int:
    return context.wait_for_condition(lambda state, _: state, polling(initial=5, while_=lambda state: state < event))


@durable_execution
def counts_under_a_name(event: int, context: DurableContext) -> int:
    config = polling(initial=0, while_=lambda state: state < event)
    return context.wait_for_condition(one_more, config, name="poll-status")


@durable_execution
def counts_from_five(event: int, context: DurableContext) -> int:
    return context.wait_for_condition(one_more, polling(initial=5, while_=lambda state: state < event))


@durable_execution
def counts_slowly(event: int, context: DurableContext) -> int:
    return context.wait_for_condition(one_more, polling(initial=0, while_=lambda state: state < event, seconds=2))


@durable_execution
def gives_up(event: int, context: DurableContext) -> int:
    return context.wait_for_condition(one_more, polling(initial=event, while_=lambda _: True, max_attempts=3))


@durable_execution
def fails_with_its_check(_: Any, context: DurableContext) -> Any:
    return context.wait_for_condition(broken, polling(initial=0, while_=lambda _: True))


@durable_execution
def recovers(_: Any, context: DurableContext) -> Any:
    try:
        return context.wait_for_condition(broken, polling(initial=0, while_=lambda _: True))
    except WaitForConditionError:
        return "recovered"


@durable_execution
def keeps_an_object(_: Any, context: DurableContext) -> Any:
    def look(state: dict[str, Any], _: CheckContext) -> dict[str, Any]:
        attempts = state["attempts"] + 1
        return {"status": "DONE" if attempts == 2 else "PENDING", "attempts": attempts}

    config = polling(initial={"status": "PENDING", "attempts": 0}, while_=lambda state: state["status"] == "PENDING")
    return context.wait_for_condition(look, config)


@durable_execution
def gives_nothing(_: Any, context: DurableContext) -> None:
    return context.wait_for_condition(lambda _, __: None, polling(initial=None, while_=lambda _: False))


@durable_execution
def keeps_labelled_text(_: Any, context: DurableContext) -> str:
    config = polling(initial="", while_=lambda state: len(state) < 2, serdes=Labelled())
    return context.wait_for_condition(lambda state, _: f"{state}x", config)


@durable_execution
def counts_then_steps(event: int, context: DurableContext) -> int:
    counted = context.wait_for_condition(one_more, polling(initial=0, while_=lambda state: state < event))
    return context.step(lambda _: counted * 10)


@durable_execution
def counts_twice(_: Any, context: DurableContext) -> int:
    first = context.wait_for_condition(one_more, polling(initial=0, while_=lambda state: state < 2))
    return context.wait_for_condition(one_more, polling(initial=first, while_=lambda state: state < 4))
