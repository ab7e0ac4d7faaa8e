"""Whatever handlers, clients, time and kills do, the service keeps its word (reliability.md I7-I15, I18, I26)."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
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

IDS = st.sampled_from(["a", "b", "c"])
PARENTS = st.just({}) | st.just({"ParentId": "x"})


def _context(id_: str, action: str, members: Any, *, is_replayed: bool) -> Any:
    return context(action, id_, **members, **({"ContextOptions": {"ReplayChildren": True}} if is_replayed else {}))


# Ids speak of types, so that most updates fit; `x` is the context that others may be in.
UPDATES = st.one_of(
    st.builds(lambda n, action, members: step(action, f"s-{n}", **members), IDS, st.sampled_from(["START", "SUCCEED", "FAIL"]), PARENTS),
    st.builds(lambda n, seconds: retry(seconds, f"s-{n}", Error=ERROR), IDS, st.integers(1, 3)),
    st.builds(lambda n, seconds, members: wait(seconds, f"w-{n}", **members), IDS, st.integers(1, 5), PARENTS),
    st.builds(lambda n: {"Id": f"w-{n}", "Type": "WAIT", "Action": "CANCEL"}, IDS),
    st.builds(lambda n, seconds: callback(f"c-{n}", TimeoutSeconds=seconds), IDS, st.integers(0, 9)),
    st.builds(lambda n, name, members: call(name, f"i-{n}", **members), IDS, st.sampled_from(["echo", "child", "none"]), PARENTS),
    st.builds(_context, st.sampled_from(["x", "y"]), st.sampled_from(["START", "SUCCEED"]), PARENTS, is_replayed=st.booleans()),
)  # fmt: skip
OUTPUTS = st.sampled_from([PENDING, PENDING, PENDING, SUCCEEDED, {"Status": "FAILED"}, "nonsense"])
ERRORS = st.sampled_from([{"ErrorType": "Throttled"}, {"ErrorType": "Runtime.ExitError", "ErrorMessage": "gone"}])


def _tried(request: Callable[[], Any]) -> tuple[Any, ServiceError | None]:
    """Return the reply to a request, or what refused it."""
    try:
        return request(), None
    except ServiceError as error:
        return None, error


@dataclass
class Handler:
    """One execution as its handler sees it: an invocation while `job_id` is set, and what it was told."""

    arn: str
    job_id: str | None = None
    token: str = ""
    seen: dict[str, Any] = field(default_factory=dict)
    history: list[Any] = field(default_factory=list)
    final: Any = None


class Walk(RuleBasedStateMachine):
    """A random life of a service: after every move what was promised is still true."""

    @initialize(first=st.integers(0, 3), page=st.integers(1, 3))
    def open(self, first: int, page: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.limits = Limits(first_page_operations=first, page_operations=page)
        self.handlers: dict[str, Handler] = {}
        self.plain: set[str] = set()
        self.tokens: set[str] = set()
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

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._finish()
        finally:
            self.world.store.close()
            shutil.rmtree(self.folder)

    # Moves -----------------------------------------------------------------------------------------------------------

    @rule()
    def start(self) -> None:
        if len(self.handlers) < 4:
            self.world.service.invoke(FunctionName="flow", Payload="{}", InvocationType="Event")
        self._take_up()

    @rule(data=st.data(), updates=st.lists(UPDATES, max_size=4))
    def checkpoint(self, data: st.DataObject, updates: list[Any]) -> None:
        handler = self._in_flight(data)
        if handler is None:
            return
        before = self._recorded(handler)
        request = {"DurableExecutionArn": handler.arn, "CheckpointToken": handler.token}
        send = partial(self.world.service.checkpoint_durable_execution, **request, ClientToken=handler.token)
        reply, refusal = _tried(lambda: send(Updates=updates))
        if refusal is not None:
            assert refusal.name == "InvalidParameterValueException"
            assert "token" not in refusal.problem.message
            assert self._recorded(handler) == before
            return
        events = self.world.events(handler.arn)
        assert (send(Updates=updates), self.world.events(handler.arn)) == (reply, events)
        with pytest.raises(ServiceError, match="Invalid checkpoint token"):
            self.world.service.checkpoint_durable_execution(**request)
        handler.token = self._new_token(reply["CheckpointToken"])
        self._merge(handler, reply["NewExecutionState"])
        # The delta is complete: with it the handler knows all that is recorded.
        assert handler.seen == handler.seen | self._visible(handler)
        self._take_up()

    @rule(data=st.data(), output=OUTPUTS)
    def answer(self, data: st.DataObject, output: Any) -> None:
        handler = self._in_flight(data)
        if handler is not None:
            self._end(handler, output=output)

    @rule(data=st.data(), error=ERRORS)
    def fail(self, data: st.DataObject, error: Any) -> None:
        handler = self._in_flight(data)
        if handler is not None:
            self._end(handler, error=error)

    @rule(data=st.data())
    def record_the_outcome(self, data: st.DataObject) -> None:
        handler = self._in_flight(data)
        if handler is None:
            return
        reply = self.world.service.checkpoint_durable_execution(
            DurableExecutionArn=handler.arn, CheckpointToken=handler.token, Updates=[ending(Payload='"large"')]
        )
        assert "CheckpointToken" not in reply
        self._end(handler, error=ERROR)
        assert self.world.describe(handler.arn)["Result"] == '"large"'

    @rule(data=st.data(), is_good=st.booleans())
    def end_target(self, data: st.DataObject, is_good: bool) -> None:
        if not self.plain:
            return
        job_id = data.draw(st.sampled_from(sorted(self.plain)))
        self.plain.remove(job_id)
        self.world.service.invocation_ended(job_id, **({"text": "3"} if is_good else {"error": ERROR}))
        self._take_up()

    @rule(data=st.data(), is_good=st.booleans())
    def answer_callback(self, data: st.DataObject, is_good: bool) -> None:
        found = [
            (handler.arn, operation["Id"], operation["CallbackDetails"]["CallbackId"])
            for handler in self.handlers.values()
            for operation in self._recorded(handler)
            if operation["Type"] == "CALLBACK"
        ]
        if not found:
            return
        arn, id_, callback_id = data.draw(st.sampled_from(found))
        before = self._recorded(self.handlers[arn])
        is_open = next(o for o in before if o["Id"] == id_)["Status"] == "STARTED"
        is_running = self.world.describe(arn)["Status"] == "RUNNING"
        others = {a: self._recorded(h) for a, h in self.handlers.items() if a != arn}
        success = partial(self.world.service.send_durable_execution_callback_success, Result=b"5")
        failure = partial(self.world.service.send_durable_execution_callback_failure, Error=ERROR)
        _, refusal = _tried(lambda: (success if is_good else failure)(CallbackId=callback_id))
        if refusal is None:
            assert is_open
        else:
            assert refusal.name in {"CallbackTimeoutException", "InvalidParameterValueException"}
            assert not (is_open and is_running)
            assert self._recorded(self.handlers[arn]) == before
        assert {a: self._recorded(h) for a, h in self.handlers.items() if a != arn} == others
        self._take_up()

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        if not self.handlers:
            return
        arn = data.draw(st.sampled_from(sorted(self.handlers)))
        self.world.service.stop_durable_execution(DurableExecutionArn=arn)
        self._take_up()

    @rule(seconds=st.integers(0, 12))
    def sleep(self, seconds: int) -> None:
        self.world.sleep(seconds)
        due = self.world.service.next_due()
        assert due is None or due > self.world.clock.moment
        self._take_up()

    @rule()
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

    @invariant()
    def histories_only_grow_and_are_words_of_the_protocol(self) -> None:
        for handler in self.handlers.values():
            events = self.world.events(handler.arn)
            assert events[: len(handler.history)] == handler.history
            handler.history = events
            assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
            self._check(handler, events)

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        for handler in self.handlers.values():
            found = self.world.describe(handler.arn)
            if found["Status"] != "RUNNING":
                final = (found, handler.history, self._recorded(handler))
                assert handler.final in (None, final)
                handler.final = final
                handler.job_id = None

    @invariant()
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
        assert held == set() or handler.job_id is not None, "an event is held back while an invocation runs only"

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

    def _in_flight(self, data: st.DataObject) -> Handler | None:
        found = sorted(arn for arn, handler in self.handlers.items() if handler.job_id is not None)
        return self.handlers[data.draw(st.sampled_from(found))] if found else None

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

    def _finish(self) -> None:
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


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
