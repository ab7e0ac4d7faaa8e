"""The durable functions that the requirements of the suite `parallel` ask for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_durable_execution_sdk_python import BatchResult, DurableContext, ParallelBranch, durable_execution
from aws_durable_execution_sdk_python.config import CompletionConfig, Duration, NestingType, ParallelConfig
from aws_durable_execution_sdk_python.serdes import SerDes, SerDesContext

if TYPE_CHECKING:
    from collections.abc import Callable

    Branch = Callable[[DurableContext], Any]


class Wrapped(SerDes[Any]):
    """Stores a value as a member of an object."""

    def serialize(self, value: Any, _: SerDesContext) -> str:
        return json.dumps({"wrapped": value})

    def deserialize(self, data: str, _: SerDesContext) -> Any:
        return json.loads(data)["wrapped"]


def gives(value: Any) -> Branch:
    return lambda _: value


def steps(value: Any) -> Branch:
    return lambda context: context.step(lambda _: value)


def fails(_: DurableContext) -> Any:
    raise ValueError("this branch always fails")


def one_by_one(**completion: Any) -> ParallelConfig:
    if not completion:
        return ParallelConfig(max_concurrency=1)
    return ParallelConfig(max_concurrency=1, completion_config=CompletionConfig(**completion))


def told(batch: BatchResult[Any], *members: str) -> dict[str, Any]:
    """Some facts about a batch, by the names that the requirements give them."""
    facts = {
        "completionReason": batch.completion_reason.value,
        "status": batch.status.value,
        "successCount": batch.success_count,
        "failureCount": batch.failure_count,
        "totalCount": batch.total_count,
    }
    return {member: facts[member] for member in members or facts}


COUNTS = ("completionReason", "successCount", "failureCount", "totalCount")


@durable_execution
def holds_steps(_: Any, context: DurableContext) -> list[Any]:
    return context.parallel([steps("task-1"), steps("task-2")], "parallel", one_by_one()).get_results()


@durable_execution
def has_no_name(_: Any, context: DurableContext) -> list[Any]:
    return context.parallel([gives("alpha"), gives("beta")], config=one_by_one()).get_results()


@durable_execution
def names_its_branches(_: Any, context: DurableContext) -> list[Any]:
    branches = [ParallelBranch(func=gives("one"), name="first"), ParallelBranch(func=gives("two"), name="second")]
    return context.parallel(branches, "named", one_by_one()).get_results()


@durable_execution
def gives_several_types(_: Any, context: DurableContext) -> list[Any]:
    branches = [gives("hello"), gives(42), gives({"k": "v"})]
    return context.parallel(branches, "types", one_by_one()).get_results()


@durable_execution
def is_empty(_: Any, context: DurableContext) -> list[Any]:
    return context.parallel([], "empty", one_by_one()).get_results()


@durable_execution
def fails_fast(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_count=0)
    return told(context.parallel([gives("ok"), fails, gives("never")], "fast", config))


@durable_execution
def throws(_: Any, context: DurableContext) -> Any:
    batch = context.parallel([fails, gives("never")], "throwing", one_by_one(tolerated_failure_count=0))
    batch.throw_if_error()
    return batch.get_results()


@durable_execution
def has_enough(_: Any, context: DurableContext) -> dict[str, Any]:
    branches = [gives(letter) for letter in "abcd"]
    batch = context.parallel(branches, "enough", one_by_one(min_successful=2))
    return told(batch, "completionReason", "successCount", "totalCount")


@durable_execution
def tolerates_one(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_count=1)
    return told(context.parallel([gives("a"), fails, gives("c")], "tolerant", config))


@durable_execution
def does_not_tolerate_two(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_count=1)
    return told(context.parallel([fails, fails, gives("never")], "exceeded", config), *COUNTS)


@durable_execution
def runs_two_at_once(_: Any, context: DurableContext) -> list[Any]:
    branches = [gives("r0"), gives("r1"), gives("r2")]
    return context.parallel(branches, "two", ParallelConfig(max_concurrency=2)).get_results()


@durable_execution
def is_flat(_: Any, context: DurableContext) -> list[Any]:
    config = ParallelConfig(max_concurrency=1, nesting_type=NestingType.FLAT)
    return context.parallel([steps("fa"), steps("fb")], "flat", config).get_results()


@durable_execution
def does_not_tolerate_half(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_percentage=25)
    return told(context.parallel([fails, fails, gives("c"), gives("d")], "percentage", config), *COUNTS)


@durable_execution
def waits_in_a_branch(_: Any, context: DurableContext) -> list[Any]:
    def wait(branch: DurableContext) -> str:
        branch.wait(Duration.from_seconds(2))
        return "b1"

    return context.parallel([steps("b0"), wait], "waiting", one_by_one()).get_results()


@durable_execution
def stores_wrapped_items(_: Any, context: DurableContext) -> list[Any]:
    config = ParallelConfig(max_concurrency=1, item_serdes=Wrapped())
    return context.parallel([gives("x"), gives("y")], "wrapped", config).get_results()


@durable_execution
def tolerates_all(_: Any, context: DurableContext) -> dict[str, Any]:
    return told(context.parallel([fails, fails, fails], "hopeless", one_by_one(tolerated_failure_count=3)))


@durable_execution
def never_has_enough(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(min_successful=3)
    return told(context.parallel([gives("a"), fails, gives("c")], "short", config))


@durable_execution
def fails_before_it_has_enough(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(min_successful=3, tolerated_failure_count=1)
    return told(context.parallel([fails, fails, gives("c"), gives("d")], "both", config), *COUNTS)


@durable_execution
def may_not_run_at_all(_: Any, context: DurableContext) -> list[Any]:
    config = ParallelConfig(max_concurrency=0)
    return context.parallel([gives("a"), gives("b")], "refused", config).get_results()


@durable_execution
def counts(_: Any, context: DurableContext) -> dict[str, Any]:
    batch = context.parallel([gives("a"), fails, gives("c")], "counted", one_by_one(tolerated_failure_count=1))
    return {
        "hasFailure": batch.has_failure,
        "successCount": len(batch.succeeded()),
        "failureCount": len(batch.failed()),
        "errorCount": len(batch.get_errors()),
    }


@durable_execution
def holds_another(_: Any, context: DurableContext) -> list[Any]:
    def run(branch: DurableContext) -> list[Any]:
        return branch.parallel([steps("i1"), steps("i2")], "inner", one_by_one()).get_results()

    return context.parallel([run], "outer", one_by_one()).get_results()


@durable_execution
def tolerates_a_quarter(_: Any, context: DurableContext) -> dict[str, Any]:
    config = one_by_one(tolerated_failure_percentage=25)
    return told(context.parallel([fails, gives("b"), gives("c"), gives("d")], "quarter", config))
