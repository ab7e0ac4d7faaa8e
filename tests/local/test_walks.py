"""Whatever handlers, clients, time and kills do, the service keeps its word (reliability.md I7-I15, I18, I26)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

import pytest
from scripted import (
    ERROR,
    PENDING,
    SUCCEEDED,
    ManualClock,
    World,
    call,
    callback,
    context,
    ending,
    predictable,
    retry,
    step,
    wait,
)

from durableflow.errors import ServiceError
from durableflow.local.service import Function, Limits
from durableflow.local.store import open_store
from durableflow.operations import TERMINAL, operation_from_reply


def _tried(request: Callable[[], Any]) -> tuple[Any, ServiceError | None]:
    """Return the reply to a request, or what refused it."""
    try:
        return request(), None
    except ServiceError as error:
        return None, error


T = TypeVar("T")


def picked(choices: Sequence[T], pick: int) -> T | None:
    return choices[pick % len(choices)] if choices else None


@dataclass
class Handler:
    """One execution as its handler sees it: an invocation while `job_id` is set, and what it was told."""

    arn: str
    job_id: str | None = None
    token: str = ""
    seen: dict[str, Any] = field(default_factory=dict)
    history: list[Any] = field(default_factory=list)
    final: Any = None


class Walk:
    """A life of a service: after every move what was promised is still true.

    Args:
        limits: how much goes into a page.

    A move takes a number that picks among what it could be made with; a move that cannot be made is none.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.handlers: dict[str, Handler] = {}
        self.plain: set[str] = set()
        self.tokens: set[str] = set()
        self.heartbeats: dict[str, int] = {}
        self.clock, self.entropy = ManualClock(), predictable()
        self.world = self._opened()

    def _opened(self) -> World:
        functions = {
            "flow": Function(name="flow", version="1"),
            "child": Function(name="child", version="7", execution_timeout_seconds=20),
            "echo": Function(name="echo", is_durable=False),
        }
        store = open_store(self.folder / "store.db")
        return World(functions=functions, limits=self.limits, store=store, clock=self.clock, entropy=self.entropy)

    # Moves -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if len(self.handlers) > 3:
            return
        self.world.service.invoke(FunctionName="flow", Payload="{}", InvocationType="Event")
        self._take_up()

    def checkpoint(self, pick: int, updates: list[Any]) -> None:
        if (handler := self._in_flight(pick)) is not None:
            self._checkpoint(handler, updates)

    def open(self, pick: int, update: Any, *, is_last: bool) -> None:
        """Start something, and wait for it at once or go on with something else."""
        if (handler := self._in_flight(pick)) is not None:
            assert self._checkpoint(handler, [{**update, "Id": self._new_id(handler)}])
            if is_last:
                self._end(handler, output=PENDING)

    def nest(self, pick: int, closed: list[str], *, is_replayed: bool) -> None:
        """Start a context in a context and a step in that, and close some of them."""
        if (handler := self._in_flight(pick)) is not None:
            new = self._new_id(handler)
            outer, inner, last = f"{new}-o", f"{new}-i", f"{new}-s"
            assert self._checkpoint(
                handler,
                [
                    context("START", outer),
                    context("START", inner, ParentId=outer),
                    step("START", last, ParentId=inner),
                ],
            )
            made = {
                "step": step("SUCCEED", last, ParentId=inner),
                "inner": context("SUCCEED", inner, ParentId=outer),
                "outer": context("SUCCEED", outer, ContextOptions={"ReplayChildren": is_replayed}),
            }
            assert self._checkpoint(handler, [update for name, update in made.items() if name in closed])

    def _new_id(self, handler: Handler) -> str:
        return f"n-{len(self._recorded(handler))}"

    def _checkpoint(self, handler: Handler, updates: list[Any]) -> bool:
        """Send a batch and see what comes of it; say whether it was accepted."""
        before = self._recorded(handler)
        request = {"DurableExecutionArn": handler.arn, "CheckpointToken": handler.token}
        send = partial(self.world.service.checkpoint_durable_execution, **request, ClientToken=handler.token)
        reply, refusal = _tried(lambda: send(Updates=updates))
        if refusal is not None:
            assert refusal.name == "InvalidParameterValueException"
            assert "token" not in refusal.problem.message
            assert self._recorded(handler) == before
            return False
        events = self.world.events(handler.arn)
        assert (send(Updates=updates), self.world.events(handler.arn)) == (reply, events)
        with pytest.raises(ServiceError, match="Invalid checkpoint token"):
            self.world.service.checkpoint_durable_execution(**request)
        handler.token = self._new_token(reply["CheckpointToken"])
        self._merge(handler, reply["NewExecutionState"])
        # The delta is complete: with it the handler knows all that is recorded.
        assert handler.seen == handler.seen | self._visible(handler)
        self._take_up()
        return True

    def answer(self, pick: int, output: Any) -> None:
        if (handler := self._in_flight(pick)) is not None:
            self._end(handler, output=output)

    def fail(self, pick: int, error: Any) -> None:
        if (handler := self._in_flight(pick)) is not None:
            self._end(handler, error=error)

    def record_the_outcome(self, pick: int) -> None:
        if (handler := self._in_flight(pick)) is None:
            return
        reply = self.world.service.checkpoint_durable_execution(
            DurableExecutionArn=handler.arn, CheckpointToken=handler.token, Updates=[ending(Payload='"large"')]
        )
        assert "CheckpointToken" not in reply
        self._end(handler, error=ERROR)
        assert self.world.describe(handler.arn)["Result"] == '"large"'

    def end_target(self, pick: int, *, is_good: bool) -> None:
        job_id = picked(sorted(self.plain), pick)
        if job_id is None:
            return
        self.plain.remove(job_id)
        self.world.service.invocation_ended(job_id, **({"text": "3"} if is_good else {"error": ERROR}))
        self._take_up()

    def answer_callback(self, pick: int, how: Literal["success", "failure", "heartbeat"]) -> None:
        found = [
            (handler.arn, operation["Id"], operation["CallbackDetails"]["CallbackId"])
            for handler in self.handlers.values()
            for operation in self._recorded(handler)
            if operation["Type"] == "CALLBACK"
        ]
        if not found:
            return
        arn, id_, callback_id = found[pick % len(found)]
        before = self._recorded(self.handlers[arn])
        asked = next(o for o in before if o["Id"] == id_)
        assert asked["Status"] != "TIMED_OUT" or self._has_run_out(arn, id_, at=asked["EndTimestamp"])
        is_open = asked["Status"] == "STARTED" and not self._has_run_out(arn, id_)
        is_running = self.world.describe(arn)["Status"] == "RUNNING"
        others = {a: self._recorded(h) for a, h in self.handlers.items() if a != arn}
        members = {"success": {"Result": b"5"}, "failure": {"Error": ERROR}, "heartbeat": {}}[how]
        send = getattr(self.world.service, f"send_durable_execution_callback_{how}")
        _, refusal = _tried(lambda: send(CallbackId=callback_id, **members))
        if refusal is None:
            assert is_open
            if how == "heartbeat":
                self.heartbeats[callback_id] = self.world.clock.moment
                assert self._recorded(self.handlers[arn]) == before
        else:
            assert refusal.name in {"CallbackTimeoutException", "InvalidParameterValueException"}
            assert not (is_open and is_running)
            assert self._recorded(self.handlers[arn]) == before
        assert {a: self._recorded(h) for a, h in self.handlers.items() if a != arn} == others
        self._take_up()

    def _has_run_out(self, arn: str, id_: str, *, at: int | None = None) -> bool:
        started = next(e for e in self.world.events(arn) if (e["EventType"], e.get("Id")) == ("CallbackStarted", id_))
        details, began = started["CallbackStartedDetails"], started["EventTimestamp"] * 1000
        lived = self.heartbeats.get(details["CallbackId"], began)
        ends = (began + details.get("Timeout", inf) * 1000, lived + details.get("HeartbeatTimeout", inf) * 1000)
        return min(ends) <= (self.world.clock.moment if at is None else at)

    def expect_answers(self) -> None:
        """Have what sleeps answered; what is in flight or has run out is left alone."""
        before = {a: self._recorded(h) for a, h in self.handlers.items()}
        asleep = {
            a for a, h in self.handlers.items() if h.job_id is None and self.world.describe(a)["Status"] == "RUNNING"
        }
        names = {(a.split(":")[-2], a.split("/")[-2]): {"": ["6"], "asked": ["7"]} for a in self.handlers}
        late = {
            (a, o["Id"]) for a in asleep for o in before[a] if o["Type"] == "CALLBACK" and self._has_run_out(a, o["Id"])
        }
        self.world.service.answer_callbacks(names)
        for arn, handler in self.handlers.items():
            for old, new in zip(before[arn], self._recorded(handler), strict=True):
                is_asked = (old["Type"], old["Status"], old.get("Name")) == ("CALLBACK", "STARTED", "asked")
                is_given = is_asked and arn in asleep and (arn, old["Id"]) not in late
                assert new["Status"] == ("SUCCEEDED" if is_given else old["Status"])
                assert not is_given or new["CallbackDetails"]["Result"] == "7"
        self._take_up()

    def stop(self, pick: int) -> None:
        arn = picked(sorted(self.handlers), pick)
        if arn is not None:
            self.world.service.stop_durable_execution(DurableExecutionArn=arn)
        self._take_up()

    def let_time_pass(self, seconds: int, *, is_noticed: bool) -> None:
        self.world.clock.moment += seconds * 1000
        if is_noticed:
            self.world.service.run_due()
            due = self.world.service.next_due()
            assert due is None or due > self.world.clock.moment
            self._take_up()

    def kill(self) -> None:
        self.world.store._connection.close()
        before = {arn: handler.history for arn, handler in self.handlers.items()}
        self.world = self._opened()
        assert {arn: self.world.events(arn) for arn in before} == before
        self.plain.clear()
        for handler in self.handlers.values():
            handler.job_id = None
        self.world.service.recover()
        self._take_up()

    # What must be true -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.histories_only_grow_and_are_words_of_the_protocol()
        self.what_has_ended_stays_as_it_is()
        self.whoever_waits_can_be_woken()

    def histories_only_grow_and_are_words_of_the_protocol(self) -> None:
        for handler in self.handlers.values():
            events = self.world.events(handler.arn)
            assert events[: len(handler.history)] == handler.history
            handler.history = events
            assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
            self._check(handler, events)

    def what_has_ended_stays_as_it_is(self) -> None:
        for handler in self.handlers.values():
            found = self.world.describe(handler.arn)
            if found["Status"] != "RUNNING":
                final = (found, handler.history, self._recorded(handler))
                assert handler.final in (None, final)
                handler.final = final
                handler.job_id = None

    def whoever_waits_can_be_woken(self) -> None:
        for handler in self.handlers.values():
            if handler.job_id is None and self.world.describe(handler.arn)["Status"] == "RUNNING":
                has_timer = self.world.store.has_timer(self._key(handler), "backoff")
                waits = self.world.store.has_outstanding(self._key(handler))
                assert has_timer or waits, "nobody will ever wake it"

    def _check(self, handler: Handler, events: list[Any]) -> None:
        recorded = {operation["Id"]: operation for operation in self._recorded(handler)}
        attempts: dict[str, int] = {}
        ended: set[str] = set()
        for event in events:
            kind, id_ = event["EventType"], event.get("Id")
            details = event[f"{kind}Details"]
            if kind.startswith("Execution"):
                assert event is events[0 if kind == "ExecutionStarted" else -1]
            if id_ is None:
                continue
            assert id_ not in ended, "an operation ends once, and nothing follows"
            if "RetryDetails" in details:
                attempts[id_] = attempts.get(id_, 0) + 1
                assert details["RetryDetails"]["CurrentAttempt"] == attempts[id_]
            if not kind.endswith("Started") and "NextAttemptDelaySeconds" not in details.get("RetryDetails", {}):
                ended.add(id_)
            if kind == "WaitSucceeded":
                due = recorded[id_]["WaitDetails"]["ScheduledEndTimestamp"]
                assert event["EventTimestamp"] * 1000 >= due, "no timer fires before its time"
        if self.world.describe(handler.arn)["Status"] != "RUNNING":
            return
        held = {id_ for id_, found in recorded.items() if found["Status"] in TERMINAL} - ended
        if handler.job_id is None:
            assert held == set(), "an event is held back while an invocation runs only"
        else:
            # What is in a context that the handler has closed itself is no longer sent in pages.
            visible = self._visible(handler).keys() & handler.seen.keys()
            told = {id_ for id_ in visible if handler.seen[id_]["Status"] in TERMINAL}
            assert ended & visible == told, "an event has a number as soon as its handler was told of it"

    # Views -----------------------------------------------------------------------------------------------------------

    def _key(self, handler: Handler) -> int:
        execution = self.world.store.execution(handler.arn)
        assert execution is not None
        return execution.key

    def _recorded(self, handler: Handler) -> list[Any]:
        return self.world.service.operations(DurableExecutionArn=handler.arn)[1:]

    def _visible(self, handler: Handler) -> dict[str, Any]:
        """What is recorded, without what is in a finished context that is not replayed."""
        closed: set[str] = set()
        visible: dict[str, Any] = {}
        for found in self._recorded(handler):
            is_hidden = found.get("ParentId") in closed
            is_done = found["Type"] == "CONTEXT" and found["Status"] in TERMINAL
            if is_hidden or (is_done and not found["ContextDetails"].get("ReplayChildren")):
                closed.add(found["Id"])
            if not is_hidden:
                visible[found["Id"]] = found
        return visible

    def _in_flight(self, pick: int) -> Handler | None:
        return picked([handler for handler in self.handlers.values() if handler.job_id is not None], pick)

    # The handler's side ----------------------------------------------------------------------------------------------

    def _new_token(self, token: str) -> str:
        assert token not in self.tokens, "tokens never repeat"
        self.tokens.add(token)
        return token

    def _end(self, handler: Handler, **ending_: Any) -> None:
        job_id, handler.job_id = handler.job_id, None
        assert job_id is not None
        self.world.service.invocation_ended(job_id, **ending_)
        self._take_up()

    def _take_up(self) -> None:
        while self.world.jobs:
            job = self.world.job()
            if job.kind == "plain":
                caller = self.handlers[job.execution_arn or ""]
                status = next(o["Status"] for o in self._recorded(caller) if o["Id"] == job.operation_id)
                assert status == "STARTED", "a target whose result is recorded never runs again"
                self.plain.add(job.id)
                continue
            assert job.event is not None
            handler = self.handlers.setdefault(
                job.event["DurableExecutionArn"], Handler(arn=job.event["DurableExecutionArn"])
            )
            assert handler.job_id is None, "one invocation at a time"
            handler.job_id = job.id
            handler.token = self._new_token(job.event["CheckpointToken"])
            state = job.event["InitialExecutionState"]
            handler.seen = {operation["Id"]: operation for operation in state["Operations"]}
            self._page(handler, state.get("NextMarker"))
            handler.seen.pop(handler.arn.rsplit("/", 1)[-1])
            assert handler.seen == self._visible(handler)
            assert set(job.event.get("UpdatedOperationIds", ())) <= {o["Id"] for o in self._recorded(handler)}

    def _merge(self, handler: Handler, state: Any) -> None:
        handler.seen |= {operation["Id"]: operation_from_reply(operation) for operation in state["Operations"]}
        self._page(handler, state.get("NextMarker"))

    def _page(self, handler: Handler, marker: str | None) -> None:
        while marker:
            page = self.world.service.get_durable_execution_state(
                DurableExecutionArn=handler.arn, CheckpointToken=handler.token, Marker=marker
            )
            handler.seen |= {operation["Id"]: operation_from_reply(operation) for operation in page["Operations"]}
            marker = page.get("NextMarker")

    def finish(self) -> None:
        """Let everything come to its end: nothing is stuck, and all views agree (I26)."""
        for _ in range(200):
            if not self._end_what_runs():
                break
            due = self.world.service.next_due()
            if due is not None:
                self.world.clock.moment = max(self.world.clock.moment, due)
                self.world.service.run_due()
        listed = self.world.service.list_executions(MaxItems=1000)["DurableExecutions"]
        assert {found["DurableExecutionArn"] for found in listed} == self.handlers.keys()
        children = [
            event["ChainedInvokeStartedDetails"]["DurableExecutionArn"]
            for handler in self.handlers.values()
            for event in self.world.events(handler.arn)
            if "DurableExecutionArn" in event.get("ChainedInvokeStartedDetails", {})
        ]
        assert sorted(children) == sorted(arn for arn in self.handlers if ":child:" in arn), "one child for each invoke"
        for found in listed:
            assert found["Status"] != "RUNNING", "stuck"
            described = self.world.describe(found["DurableExecutionArn"])
            assert described == described | found
            last = self.world.history(found["DurableExecutionArn"])[-1]
            assert last == "Execution" + {"TIMED_OUT": "TimedOut"}.get(found["Status"], found["Status"].title())

    def _end_what_runs(self) -> bool:
        """End invocations and targets well and answer callbacks; say whether there was anything, or a timer is left."""
        self._take_up()
        targets, self.plain = sorted(self.plain), set()
        for job_id in targets:
            self.world.service.invocation_ended(job_id, text="3")
        running = [h for h in self.handlers.values() if self.world.describe(h.arn)["Status"] == "RUNNING"]
        for handler in running:
            for operation in self._recorded(handler):
                if operation["Type"] == "CALLBACK" and operation["Status"] == "STARTED":
                    _tried(partial(self._succeed, operation["CallbackDetails"]["CallbackId"]))
        self._take_up()
        for handler in running:
            if handler.job_id is not None and self.world.describe(handler.arn)["Status"] == "RUNNING":
                self._end(handler, output=SUCCEEDED)
        return bool(targets or running or self.world.service.next_due() is not None)

    def _succeed(self, callback_id: str) -> None:
        self.world.service.send_durable_execution_callback_success(CallbackId=callback_id)


# ---------------------------------------------------------------------------------------------------------------------
# The dice


def an_update(dice: Random) -> Any:
    """Draw one of few, so that updates meet what others have recorded; ids speak of types, so that most fit."""
    id_, members = dice.choice("ab"), dice.choice([{}, {}, {"ParentId": "x-a"}])
    return dice.choice(
        [
            step(dice.choice(["START", "SUCCEED", "FAIL"]), f"s-{id_}", **members),
            retry(dice.randint(1, 3), f"s-{id_}", Error=ERROR),
            wait(dice.randint(1, 5), f"w-{id_}", **members),
            {"Id": f"w-{id_}", "Type": "WAIT", "Action": "CANCEL"},
            a_callback(dice, f"c-{id_}"),
            call(dice.choice(["echo", "child", "none"]), f"i-{id_}", **members),
            context(dice.choice(["START", "SUCCEED"]), f"x-{id_}"),
        ]
    )


def a_callback(dice: Random, id_: str) -> Any:
    made = callback(id_, TimeoutSeconds=dice.randint(0, 6), HeartbeatTimeoutSeconds=dice.choice([0, 0, 2, 4]))
    return {**made, "Name": "asked"} if id_ == "c" else made


def something_to_wait_for(dice: Random) -> Any:
    return dice.choice(
        [
            wait(dice.randint(1, 5)),
            a_callback(dice, "c"),
            call(dice.choice(["echo", "child"])),
            retry(dice.randint(1, 3), Error=ERROR),
        ]
    )


def a_coin(dice: Random) -> bool:
    return dice.random() < 0.5


def a_number(dice: Random) -> int:
    return dice.randrange(12)


MOVES: dict[Callable[[Walk, Random], None], int] = {
    lambda walk, dice: walk.checkpoint(a_number(dice), [an_update(dice) for _ in range(dice.randrange(4))]): 8,
    lambda walk, dice: walk.open(a_number(dice), something_to_wait_for(dice), is_last=a_coin(dice)): 8,
    lambda walk, dice: walk.answer(a_number(dice), PENDING): 6,
    lambda walk, dice: walk.answer_callback(a_number(dice), dice.choice(["success", "failure"])): 6,
    lambda walk, dice: walk.answer_callback(a_number(dice), "heartbeat"): 4,
    lambda walk, _: walk.expect_answers(): 3,
    lambda walk, dice: walk.let_time_pass(dice.randint(1, 6), is_noticed=a_coin(dice)): 6,
    lambda walk, dice: walk.end_target(a_number(dice), is_good=a_coin(dice)): 5,
    lambda walk, dice: walk.nest(
        a_number(dice), dice.sample(["step", "inner", "outer"], dice.randrange(4)), is_replayed=a_coin(dice)
    ): 3,
    lambda walk, _: walk.start(): 3,
    lambda walk, dice: walk.fail(
        a_number(dice), dice.choice([{"ErrorType": "Throttled"}, {"ErrorType": "Runtime.ExitError"}])
    ): 2,
    lambda walk, _: walk.kill(): 2,
    lambda walk, dice: walk.answer(a_number(dice), dice.choice([SUCCEEDED, {"Status": "FAILED"}, "nonsense"])): 1,
    lambda walk, dice: walk.record_the_outcome(a_number(dice)): 1,
    lambda walk, dice: walk.stop(a_number(dice)): 1,
}
"""With how often each is made: those that bring an execution on are the frequent ones."""


@pytest.mark.parametrize("seed", range(30))
def test_the_service_keeps_its_word(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    walk = Walk(tmp_path, Limits(first_page_operations=dice.randrange(4), page_operations=dice.randint(1, 3)))
    walk.start()
    walk.check()
    for move in dice.choices([*MOVES], weights=[*MOVES.values()], k=60):
        move(walk, dice)
        walk.check()
    walk.finish()
