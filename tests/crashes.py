"""However often its invocations die, and wherever: an execution ends the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worlds import World

from durableflow.interpreter import Run
from durableflow.operations import TERMINAL
from durableflow.plan import from_json
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from durableflow.operations import Operation

OUTPUT_MEMBERS = ("Id", "Type", "SubType", "Name", "ParentId", "Status")
DETAILS = ("StepDetails", "ContextDetails", "ChainedInvokeDetails", "CallbackDetails")


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Ending:
    """How an execution ended that nothing disturbed.

    Args:
        world: all that is left of it.
        output: the last output of its function.
    """

    world: World
    output: dict[str, Any]

    @property
    def result(self) -> Any:
        """The execution's result; it has succeeded."""
        assert self.output["Status"] == "SUCCEEDED", self.output
        return json.loads(self.output["Result"])

    @property
    def error(self) -> tuple[str, str]:
        """Name and message of the execution's error; it has failed."""
        assert self.output["Status"] == "FAILED", self.output
        return self.output["Error"]["ErrorType"], self.output["Error"]["ErrorMessage"]

    @property
    def paths(self) -> list[str]:
        """The paths of all operations in the order in which they came to be."""
        paths = {key: path for path, key in self.world.plan.operation_ids.items()}
        return [paths[key] for key in list(self.world.service.operations)[1:]]

    @property
    def names(self) -> list[str]:
        """The names of all operations in the order in which they came to be."""
        return [operation.get("Name", "") for operation in list(self.world.service.operations.values())[1:]]

    def operation(self, path: str) -> Operation:
        """The operation at a path, as it is at the end."""
        return self.world.service.operations[self.world.plan.operation_ids[path]]

    def parent(self, path: str) -> str | None:
        """The path of the operation that the one at a path stands in, or None."""
        paths = {key: path for path, key in self.world.plan.operation_ids.items()}
        parent = self.operation(path).get("ParentId")
        return None if parent is None else paths[parent]


def endings(make: Callable[[], World], *, spared: Collection[tuple[int, bool]] = (), page: int = 2) -> Ending:
    """Run an execution to its end, and again with everything that may go wrong on the way; every time it ends the same.

    Its invocations die before and after each checkpoint, in turn and then after every one; its plan is read from JSON
    and its state comes in small pages; it is invoked once more whenever it is suspended; and what is on record at its
    end is replayed.

    Args:
        make: makes the world anew, since what is in it may keep count. Its work may be done twice (at least once).
        spared: the checkpoints, and whether after them, at which no invocation dies: see `interruptions`.
        page: operations in a page of those whose invocations die.
    """
    world = make()
    ending = Ending(world, _run(world))
    _replay_of_the_end(ending)
    checkpoints = range(1, len(world.service.requests) + 1)
    plans = json.dumps(world.plan.to_json())
    crashes = [{(number, after)} for number in checkpoints for after in (False, True)]
    for dies_at in [*crashes, {(number, True) for number in range(1, 10 * len(checkpoints) + 1)}]:
        if not (left := dies_at.difference(spared)):
            continue
        disturbed = make()
        disturbed.plan = from_json(json.loads(plans))
        disturbed.service.page = page
        assert _run(disturbed, left) == ending.output, f"dies at {min(left)}"
        assert _shape(disturbed) == _shape(world), f"dies at {min(left)}"
    return ending


def interruptions(world: World) -> list[tuple[int, bool]]:
    """Return where an invocation would have to die to interrupt work that is done at most once.

    Args:
        world: an execution that nothing disturbed.

    Returns:
        The number of a checkpoint, and whether after it: for each such attempt the one that records its start, as soon
        as it is recorded, and the one that would record its end.
    """
    found: list[tuple[int, bool]] = []
    running: set[str] = set()
    at_most_once = {
        world.plan.operation_ids[node.name]
        for node in world.plan.states.nodes
        if getattr(node, "semantics", None) == "at_most_once"
    }
    for number, request in enumerate(world.service.requests, 1):
        if running:
            found.append((number, False))
        for update in request["Updates"]:
            if update["Id"] in at_most_once:
                (running.add if update["Action"] == "START" else running.discard)(update["Id"])
        if running:
            found.append((number, True))
    return found


def dying(world: World, dies_at: tuple[int, bool]) -> dict[str, Any]:
    """Run an execution to its end, with an invocation that dies at a checkpoint, and return its last output."""
    return _run(world, {dies_at})


def edited(
    old: str, new: str, *, wakes: int = 0, change: Callable[[World], None] | None = None, **surroundings: Any
) -> Ending:
    """Begin with one definition and end with another, with everything that may go wrong after the change (`endings`).

    Args:
        old: the workflow to begin with.
        new: the one to go on with.
        wakes: how often the execution is woken up with the first one.
        change: changes what is on record as well.
        surroundings: of both, as `World` takes them.
    """

    def make() -> World:
        world = World(old, **surroundings)
        after = World(new, **surroundings).plan
        for number in range(wakes + 1):
            assert world.invoke(world.service.event()) == {"Status": "PENDING"}
            assert number == wakes or world.service.wake()
        if change is not None:
            change(world)
        world.plan = after
        return world

    return endings(make)


def _run(world: World, dies_at: set[tuple[int, bool]] | None = None) -> dict[str, Any]:
    left = set(dies_at or ())

    def die(number: int, *reply: Any) -> None:
        if (number, bool(reply)) in left:
            left.discard((number, bool(reply)))
            raise Crash

    world.service.before_checkpoint = world.service.after_checkpoint = die

    def handler(event: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                output = world.invoke(event)
            except Crash:
                event = world.service.event()
            else:
                break
        if output["Status"] == "PENDING":
            requests = len(world.service.requests)
            assert world.invoke(world.service.event()) == output
            assert len(world.service.requests) == requests, world.service.requests[requests:]
        return output

    return world.service.run(handler)


def _replay_of_the_end(ending: Ending) -> None:
    """What is on record at the end says the same again, and asks for nothing."""
    world = ending.world
    if ending.output.get("Result") == "":
        return  # the result is in an update, which would be made again
    run = Run(
        world.plan,
        execution_arn=world.service.event()["DurableExecutionArn"],
        env=world.env,
        check_schema=check_schema,
        operations_max=world.operations_max,
    )
    decision = run.advance(world.service._navigable())
    assert decision.updates == ()
    assert decision.calls == ()
    outcome = decision.outcome
    if ending.output["Status"] == "SUCCEEDED":
        assert getattr(outcome, "result", None) == ending.output["Result"], outcome
    else:
        assert getattr(outcome, "error", None) == ending.output["Error"], outcome


def _shape(world: World) -> list[Any]:
    """What is on record, times aside."""
    shapes: list[Any] = []
    for operation in world.service.operations.values():
        shape = {member: operation.get(member) for member in OUTPUT_MEMBERS}
        # What was still running when the execution ended may have been about to end, or not yet.
        if operation["Status"] in TERMINAL:
            shape |= {member: operation.get(member) for member in DETAILS if member in operation}
        shapes.append(shape)
    return sorted(shapes, key=lambda shape: str(shape["Id"]))
