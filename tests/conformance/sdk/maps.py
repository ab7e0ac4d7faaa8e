"""The durable functions that the requirements of the suite `map` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_durable_execution_sdk_python import BatchItemStatus, BatchResult, DurableContext, durable_execution
from aws_durable_execution_sdk_python.concurrency.models import BatchItem, CompletionReason
from aws_durable_execution_sdk_python.config import CompletionConfig, Duration, MapConfig, NestingType
from aws_durable_execution_sdk_python.serdes import JsonSerDes, SerDes, SerDesContext
from parallels import COUNTS, told

if TYPE_CHECKING:
    from collections.abc import Sequence


class Wrapped(SerDes[str]):
    """Stores text with a word in front."""

    def serialize(self, value: str, _: SerDesContext) -> str:
        return f"wrapped:{value}"

    def deserialize(self, data: str, _: SerDesContext) -> str:
        return data.removeprefix("wrapped:")


class Joined(SerDes[BatchResult[str]]):
    """Stores a batch that succeeded as its results, with commas between."""

    def serialize(self, value: BatchResult[str], _: SerDesContext) -> str:
        return f"OPSERDE:{','.join(value.get_results())}"

    def deserialize(self, data: str, _: SerDesContext) -> BatchResult[str]:
        results = data.removeprefix("OPSERDE:").split(",")
        items = [
            BatchItem(index=index, status=BatchItemStatus.SUCCEEDED, result=result)
            for index, result in enumerate(results)
        ]
        return BatchResult(items, CompletionReason.ALL_COMPLETED)


BROKEN = "broken"


def itself(_: DurableContext, item: Any, __: int, ___: Sequence[Any]) -> Any:
    """Give the item, unless it is the one that fails."""
    if item == BROKEN:
        raise ValueError("this item always fails")
    return item


def upper(_: DurableContext, item: str, __: int, ___: Sequence[str]) -> str:
    return item.upper()


def stepped(context: DurableContext, item: Any, _: int, __: Sequence[Any]) -> Any:
    return context.step(lambda _: item)


def one_by_one(**completion: Any) -> MapConfig[Any]:
    return MapConfig(max_concurrency=1, completion_config=CompletionConfig(**completion))


@durable_execution
def greets(event: list[str], context: DurableContext) -> list[Any]:
    def greet(iteration: DurableContext, name: str, _: int, __: Sequence[str]) -> str:
        return iteration.step(lambda _: f"Hello, {name}!")

    return context.map(event, greet, "greetings", one_by_one()).get_results()


@durable_execution
def has_no_name(event: list[int], context: DurableContext) -> list[Any]:
    return context.map(event, lambda _, item, __, ___: item * 2, config=one_by_one()).get_results()


@durable_execution
def adds_the_index(event: list[int], context: DurableContext) -> list[Any]:
    return context.map(event, lambda _, item, index, __: item + index, "indexes", one_by_one()).get_results()


@durable_execution
def is_empty(event: list[Any], context: DurableContext) -> list[Any]:
    return context.map(event, itself, "empty", one_by_one()).get_results()


@durable_execution
def fails_fast(_: Any, context: DurableContext) -> dict[str, Any]:
    return told(context.map(["ok", BROKEN, "never"], itself, "fast", one_by_one(tolerated_failure_count=0)))


@durable_execution
def throws(_: Any, context: DurableContext) -> Any:
    batch = context.map([BROKEN, "never"], itself, "throwing", one_by_one(tolerated_failure_count=0))
    batch.throw_if_error()
    return batch.get_results()


@durable_execution
def has_enough(_: Any, context: DurableContext) -> dict[str, Any]:
    batch = context.map(list("abcd"), itself, "enough", one_by_one(min_successful=2))
    return told(batch, "completionReason", "successCount", "totalCount")


@durable_execution
def tolerates_one(_: Any, context: DurableContext) -> dict[str, Any]:
    return told(context.map(["a", BROKEN, "c"], itself, "tolerant", one_by_one(tolerated_failure_count=1)))


@durable_execution
def does_not_tolerate_two(_: Any, context: DurableContext) -> dict[str, Any]:
    batch = context.map([BROKEN, BROKEN, "never"], itself, "exceeded", one_by_one(tolerated_failure_count=1))
    return told(batch, *COUNTS)


@durable_execution
def does_not_tolerate_half(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_percentage=25)
    return told(context.map([BROKEN, BROKEN, "c", "d"], itself, "percentage", config), *COUNTS)


@durable_execution
def runs_two_at_once(_: Any, context: DurableContext) -> list[Any]:
    return context.map(["r0", "r1", "r2"], itself, "two", MapConfig(max_concurrency=2)).get_results()


@durable_execution
def is_flat(_: Any, context: DurableContext) -> list[Any]:
    config = MapConfig(max_concurrency=1, nesting_type=NestingType.FLAT)
    return context.map(["fa", "fb"], stepped, "flat", config).get_results()


@durable_execution
def names_its_items(event: list[int], context: DurableContext) -> list[Any]:
    config = MapConfig(max_concurrency=1, item_namer=lambda item, _: f"item-{item}")
    return context.map(event, lambda _, item, __, ___: item * 10, "named-items", config).get_results()


@durable_execution
def stores_wrapped_items(_: Any, context: DurableContext) -> list[Any]:
    config = MapConfig(max_concurrency=1, item_serdes=Wrapped())
    return context.map(["x", "y"], upper, "wrapped", config).get_results()


@durable_execution
def waits_in_an_item(_: Any, context: DurableContext) -> list[Any]:
    def run(iteration: DurableContext, item: str, index: int, _: Sequence[str]) -> str:
        if index == 1:
            iteration.wait(Duration.from_seconds(1))
        return iteration.step(lambda _: item)

    return context.map(["r0", "r1"], run, "waiting", one_by_one()).get_results()


@durable_execution
def gives_much(_: Any, context: DurableContext) -> dict[str, Any]:
    batch = context.map(list("abcd"), lambda _, item, __, ___: item * 70_000, "large", one_by_one())
    return told(batch, "successCount", "totalCount")


@durable_execution
def keeps_its_results(_: Any, context: DurableContext) -> list[Any]:
    batch = context.map(["a", "b"], upper, "kept", one_by_one())
    context.wait(Duration.from_seconds(1))
    return batch.get_results()


@durable_execution
def keeps_its_failure(_: Any, context: DurableContext) -> dict[str, Any]:
    batch = context.map(["ok", BROKEN], itself, "kept", one_by_one(tolerated_failure_count=1))
    context.wait(Duration.from_seconds(1))
    return told(batch)


JOINED = MapConfig[Any](max_concurrency=1, serdes=Joined(), item_serdes=JsonSerDes())


@durable_execution
def stores_its_results_joined(_: Any, context: DurableContext) -> list[Any]:
    return context.map(["x", "y"], upper, "joined", JOINED).get_results()


@durable_execution
def reads_its_results_joined(_: Any, context: DurableContext) -> list[Any]:
    batch = context.map(["x", "y"], upper, "joined", JOINED)
    context.wait(Duration.from_seconds(1))
    return batch.get_results()
