"""What the service in memory does to what it is asked to record, in so far as other tests lean on it."""

from __future__ import annotations

from typing import Any

import pytest
from memory_service import ARN, START, MemoryService
from scripted import callback, context, step, wait

from durableflow.errors import Fault


class Handler:
    """One invocation after another."""

    def __init__(self, **settings: Any) -> None:
        self.service = MemoryService(**settings)
        self.token = ""

    def wake(self) -> list[str]:
        """Begin an invocation and return the ids of what it is sent, but for the execution."""
        event = self.service.event()
        self.token = event["CheckpointToken"]
        found: list[str] = []
        marker = event["InitialExecutionState"]["NextMarker"]
        while marker:
            page = self.service.get_durable_execution_state(
                DurableExecutionArn=ARN, CheckpointToken=self.token, Marker=marker, MaxItems=2
            )
            found += [operation["Id"] for operation in page["Operations"]]
            marker = page.get("NextMarker")
        return found[1:]

    def record(self, *updates: Any) -> None:
        if not self.token:
            self.wake()
        reply = self.service.checkpoint_durable_execution(
            DurableExecutionArn=ARN, CheckpointToken=self.token, Updates=list(updates), ClientToken="t"
        )
        self.token = reply["CheckpointToken"]

    def details(self, id_: str = "c") -> Any:
        return self.service.operations[id_]["CallbackDetails"]


def test_what_a_finished_context_hides_is_not_sent() -> None:
    handler = Handler()
    inside = {"ParentId": "x"}
    handler.record(context(), context(id_="y", **inside), step(**inside), step(id_="b", ParentId="y"), step(id_="o"))
    handler.record(context("SUCCEED", "y", ContextOptions={"ReplayChildren": True}, **inside))
    assert handler.wake() == ["x", "y", "a", "b", "o"]
    handler.record(context("FAIL", Error={"ErrorType": "E"}))
    assert handler.wake() == ["x", "o"]


def test_nobody_writes_inside_a_context_that_has_ended() -> None:
    handler = Handler()
    handler.record(context(), context(id_="y", ParentId="x"), context("SUCCEED"))
    with pytest.raises(AssertionError, match="written inside a context that has ended"):
        handler.record(step(ParentId="y"))
    handler = Handler()
    handler.record(context())
    with pytest.raises(AssertionError, match="written inside a context that has ended"):
        handler.record(context("SUCCEED"), step(ParentId="x"))


def test_callbacks_are_answered_in_order_by_their_name() -> None:
    handler = Handler(answers={"ask": [{"n": 1}, b" 2 ", Fault("No", "never")]})
    for id_ in "abcd":
        handler.record({**callback(id_), "Name": "ask"})
        assert handler.service.wake()
        handler.wake()
    assert (handler.details("a")["Result"], handler.details("b")["Result"]) == ('{"n":1}', " 2 ")
    assert (
        handler.details("c")["Error"] == handler.details("d")["Error"] == {"ErrorType": "No", "ErrorMessage": "never"}
    )
    assert not handler.service.wake()


def test_callbacks_time_out_and_heartbeats_put_that_off() -> None:
    handler = Handler()
    handler.record(callback(TimeoutSeconds=60, HeartbeatTimeoutSeconds=10), wait(8), callback("d", TimeoutSeconds=18))
    assert handler.service.wake()
    handler.service.beat("c")
    assert handler.service.wake()
    assert handler.service.now == START + 18_000
    assert handler.details("c")["Error"]["ErrorType"] == "Callback.Heartbeat"
    assert handler.details("d")["Error"]["ErrorType"] == "Callback.Timeout"
    assert not handler.service.wake()
