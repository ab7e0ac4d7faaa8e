"""Recordings: written, read back, replayed; and every way in which such a file can be damaged."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from memory_service import START, MemoryService, moment

from durableflow import recording
from durableflow.compiler import compile_workflow
from durableflow.decision import Call, Completion, Failed, Pending, Succeeded
from durableflow.driver import run_invocation
from durableflow.errors import Fault, UsageError
from durableflow.recording import from_history, from_state, load_recording, normalised, record, redacted, replay
from durableflow.source import Source

WORKFLOW = """
durableflow: "1"
name: order
states:
  - {name: reserve, type: invoke, function: "stock:live", payload: {id: "{{ input.id }}"}, retry: []}
  - name: charge
    type: step
    handler: shop:charge
    payload: {token: "{{ input.token }}"}
    retry: [{errors: [Busy], max_attempts: 3, interval: 3s, jitter: none}]
  - {name: rest, type: wait, duration: 90s}
  - {name: ship, type: invoke, function: "post:live", retry: []}
output: "{{ states.ship.result }}"
"""
SECRET = 'to"ken-4711/\\ü'


def plan_of(text: str = WORKFLOW) -> Any:
    return compile_workflow(Source(name="order.yaml", text=text)).plan


class BusyOnce:
    def run(self, call: Call) -> Completion:
        if call.attempt == 1:
            return Completion(operation_id=call.operation_id, fault=Fault("Busy", "later", {"after": 3}))
        return Completion(operation_id=call.operation_id, result={"paid": True})


def executed(invocations: int = 99, *, plan: Any = None) -> MemoryService:
    """Run the order workflow for a number of invocations."""
    plan = plan or plan_of()
    order = json.dumps({"id": 7, "token": SECRET})
    service = MemoryService(input=order, targets={"stock:live": lambda p: p, "post:live": lambda _: "tracking"})
    for _ in range(invocations):
        event = service.event()
        output = run_invocation(event, plan=plan, service=service, worker=BusyOnce(), clock_ms=lambda: service.now)
        if output["Status"] != "PENDING":
            break
        service.now += 137  # what a machine takes
        service.wake()
    return service


def operations_of(service: MemoryService) -> Any:
    return list(service.operations.values())


def content(invocations: int = 99) -> Any:
    return record(plan_of(), operations_of(executed(invocations)))


def loaded(data: Any) -> Any:
    return load_recording(data if isinstance(data, bytes) else recording.to_text(data).encode(), "golden.json")


class TestRecord:
    def test_a_recording_that_is_read_back_replays_to_the_same(self) -> None:
        for invocations in range(1, 6):
            report = replay(plan_of(), loaded(content(invocations)))
            assert report.is_same
            assert report.digest_differs is False

    def test_the_same_execution_gives_the_same_file_on_a_slower_machine(self) -> None:
        quick = executed()
        slow = executed()
        for i, operation in enumerate(slow.operations.values()):
            shift_times(operation, 5_000_000 + i)  # another day, and a little later each time
        assert record(plan_of(), operations_of(quick)) == record(plan_of(), operations_of(slow))

    def test_times_count_from_the_start_and_waits_keep_their_length(self) -> None:
        made = {o["Name"]: o for o in normalised(operations_of(executed())) if o["Type"] != "EXECUTION"}
        wait = cast("Any", made["rest"])
        assert wait["WaitDetails"]["ScheduledEndTimestamp"] - wait["StartTimestamp"] == 90_000
        assert made["reserve"]["StartTimestamp"] == 0
        assert made["charge"]["EndTimestamp"] == 3_000  # its back-off

    def test_a_wait_keeps_its_length_beside_busy_neighbours(self) -> None:
        wait: Any = {"Id": "w", "Type": "WAIT", "Status": "STARTED", "StartTimestamp": START + 4}
        wait["WaitDetails"] = {"ScheduledEndTimestamp": START + 2004}
        steps: Any = [
            {"Id": f"s{i}", "Type": "STEP", "Status": "STARTED", "StartTimestamp": START + 400 * i} for i in range(5)
        ]
        made = normalised([*steps, wait])[-1]
        assert made.get("WaitDetails") == {"ScheduledEndTimestamp": made.get("StartTimestamp", 0) + 2000}

    def test_generated_ids_are_replaced_everywhere(self) -> None:
        arn = "arn:aws:lambda:eu-west-1:123456789012:function:order:$LATEST/durable-execution/nightly/7f3a-11"
        uuid = "123e4567-e89b-12d3-a456-426614174000"
        execution: Any = {"Id": "7f3a-11", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": START}
        callback: Any = {"Id": "c", "Type": "CALLBACK", "Status": "STARTED", "CallbackDetails": {"CallbackId": "Y2I+"}}
        text = json.dumps({"arn": arn, "answer": "Y2I+", "request": uuid, "id": "7f3a-11"})
        step: Any = {"Id": "s", "Type": "STEP", "Status": "SUCCEEDED", "StepDetails": {"Result": text}}
        made = normalised([execution, callback, step])
        assert made[0]["Id"] == "execution"
        assert made[1].get("CallbackDetails") == {"CallbackId": "callback-1"}
        result = json.loads(cast("Any", made[2])["StepDetails"]["Result"])
        assert result == {
            "arn": "generated-2",
            "answer": "callback-1",
            "request": "generated-3",
            "id": "execution",
        }

    def test_ids_of_operations_stay(self) -> None:
        service = executed()
        assert [o["Id"] for o in normalised(operations_of(service))][1:] == list(service.operations)[1:]

    def test_secrets_are_nowhere_in_the_file(self) -> None:
        for invocations in range(1, 6):
            made = record(plan_of(), operations_of(executed(invocations)), secrets=[SECRET, ""])
            text = recording.to_text(made)
            for form in (SECRET, json.dumps(SECRET)[1:-1], json.dumps(json.dumps(SECRET))[3:-3]):
                assert form not in text
            assert recording.REDACTED in text

    def test_a_secret_is_found_in_keys_and_inside_longer_texts(self) -> None:
        assert redacted({"k-abc": ["xabcx", 1, None]}, ["abc"]) == {"k-[redacted]": ["x[redacted]x", 1, None]}

    def test_without_secrets_nothing_is_changed(self) -> None:
        assert redacted({"a": ["b"]}, []) == {"a": ["b"]}


def shift_times(operation: Any, milliseconds: int) -> None:
    for holder in (operation, operation.get("WaitDetails", {}), operation.get("StepDetails", {})):
        for member in holder:
            if member.endswith("Timestamp"):
                holder[member] += milliseconds


class TestReplay:
    def test_a_finished_execution_ends_as_it_did(self) -> None:
        report = replay(plan_of(), loaded(content()))
        assert report.outcome == Succeeded('"tracking"')
        assert report.upcoming == ()

    @pytest.mark.parametrize(
        ("invocations", "upcoming"),
        [
            (1, "START STEP 'charge'"),
            (2, "START STEP 'charge'"),
            (3, "START CHAINED_INVOKE 'ship'"),
        ],
    )
    def test_what_happens_next_is_told_in_words(self, invocations: int, upcoming: str) -> None:
        report = replay(plan_of(), loaded(content(invocations)))
        assert report.outcome is None
        assert report.upcoming[0] == upcoming

    def test_a_call_is_told_with_handler_and_attempt(self) -> None:
        report = replay(plan_of(), loaded(content(2)))
        assert report.upcoming[1] == "call shop:charge for 'charge', attempt 2"

    def test_a_suspended_one_says_what_it_waits_for(self) -> None:
        service = executed(1)
        service.operations[next(reversed(service.operations))]["Status"] = "STARTED"
        report = replay(plan_of(), loaded(record(plan_of(), operations_of(service))))
        assert report.outcome == Pending()
        assert report.upcoming == ("wait for CHAINED_INVOKE 'reserve', which is STARTED",)

    def test_a_mismatch_names_both_sides_and_the_line(self) -> None:
        changed = WORKFLOW.replace(
            '{name: reserve, type: invoke, function: "stock:live", payload: {id: "{{ input.id }}"}, retry: []}',
            "{name: reserve, type: wait, duration: 5s}",
        )
        report = replay(plan_of(changed), loaded(content()))
        assert report.mismatch is not None
        assert isinstance(report.outcome, Failed)
        assert not report.is_same
        assert report.digest_differs
        assert report.mismatch.expected is not None
        assert report.mismatch.recorded is not None
        assert (report.mismatch.expected["type"], report.mismatch.recorded["type"]) == ("WAIT", "CHAINED_INVOKE")
        assert str(report.mismatch).startswith("order.yaml:5:")

    @pytest.mark.parametrize(
        ("invocations", "old", "new", "difference"),
        [
            (99, "states.ship.result }}", "states.ship.result }}!", 'decision.outcome.Result is "\\"tracking!\\""'),
            (2, "token: ", "secret: ", "decision.calls[0].payload"),
            (3, "post:live", "mail:live", "decision.updates[0].ChainedInvokeOptions.FunctionName"),
        ],
    )
    def test_another_decision_is_told_by_its_first_difference(
        self, invocations: int, old: str, new: str, difference: str
    ) -> None:
        report = replay(plan_of(WORKFLOW.replace(old, new)), loaded(content(invocations)))
        assert report.mismatch is None
        assert report.difference is not None
        assert report.difference.startswith(difference)

    def test_order_and_spacing_of_the_file_do_not_matter(self) -> None:
        made = json.dumps(content(2), sort_keys=True, indent="\t").replace("\n", "\r\n")
        assert replay(plan_of(), loaded(made.encode("utf-8-sig"))).is_same


T: Any = {"ErrorType": "Callback.Timeout", "ErrorMessage": "timed out"}


class TestHistory:
    """What `get-durable-execution-history` prints."""

    @staticmethod
    def events(service: MemoryService, time: Any = lambda ms: ms / 1000) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = json.loads(json.dumps(service.events))
        for event in made:
            event["EventTimestamp"] = time(event["EventTimestamp"])
            details = event.get("WaitStartedDetails")
            if details:
                details["ScheduledEndTimestamp"] = time(details["ScheduledEndTimestamp"])
        return made

    @pytest.mark.parametrize("invocations", range(1, 6))
    @pytest.mark.parametrize(
        "time",
        [lambda ms: ms / 1000, moment, lambda ms: cast("datetime", moment(ms)).isoformat()],
        ids=["seconds", "datetimes", "text"],
    )
    def test_events_add_up_to_the_operations(self, invocations: int, time: Any) -> None:
        service = executed(invocations)
        expected = operations_of(service)
        made = from_history(self.events(service, time))
        assert {o["Id"] for o in made[1:]} == {o["Id"] for o in expected[1:]}
        for found, operation in zip(made[1:], expected[1:], strict=True):
            if operation["Status"] == "READY":  # there is no READY event: the step still shows as PENDING
                assert found["Status"] == "PENDING"
                continue
            assert found == operation
        assert made[0].get("ExecutionDetails") == {"InputPayload": service.input}

    def test_pages_in_any_order_and_overlapping_are_joined(self) -> None:
        events = self.events(executed())
        pages: Any = [{"Events": events[3:]}, {"Events": events[:5]}]
        assert loaded(json.dumps(pages).encode()).operations == tuple(from_history(events))

    def test_the_outcome_of_a_finished_execution_is_compared(self) -> None:
        events = self.events(executed())
        end = {
            "EventId": len(events) + 1,
            "EventType": "ExecutionSucceeded",
            "EventTimestamp": events[-1]["EventTimestamp"],
        }
        events.append({**end, "ExecutionSucceededDetails": {"Result": {"Payload": '"lost"', "Truncated": False}}})
        report = replay(plan_of(), loaded({"Events": events}))
        assert report.difference == 'decision.outcome.Result is "\\"tracking\\"", recorded is "\\"lost\\""'

    @pytest.mark.parametrize("kind", ["Failed", "TimedOut", "Stopped"])
    def test_only_the_workflows_own_failures_are_compared(self, kind: str) -> None:
        error = {"Payload": {"ErrorType": "E", "ErrorMessage": "m"}, "Truncated": False}
        events: Any = [
            {"EventId": 1, "EventType": "ExecutionStarted", "EventTimestamp": 1.5, "ExecutionStartedDetails": {}},
            {
                "EventId": 2,
                "EventType": f"Execution{kind}",
                "EventTimestamp": 2,
                f"Execution{kind}Details": {"Error": error},
            },
        ]
        decision = loaded({"Events": events}).decision
        assert decision == ({"outcome": {"Status": "FAILED", "Error": error["Payload"]}} if kind == "Failed" else {})

    @pytest.mark.parametrize(
        ("event", "operation"),
        [
            ({"EventType": "ContextStarted"}, {"Type": "CONTEXT", "Status": "STARTED", "ContextDetails": {}}),
            (
                {"EventType": "CallbackStarted", "CallbackStartedDetails": {"CallbackId": "Y2I="}},
                {"Type": "CALLBACK", "Status": "STARTED", "CallbackDetails": {"CallbackId": "Y2I="}},
            ),
            (
                {
                    "EventType": "CallbackTimedOut",
                    "CallbackTimedOutDetails": {"Error": {"Payload": T}},
                },
                {"Type": "CALLBACK", "Status": "TIMED_OUT", "CallbackDetails": {"Error": T}},
            ),
            ({"EventType": "WaitCancelled"}, {"Type": "WAIT", "Status": "CANCELLED", "WaitDetails": {}}),
            (
                {"EventType": "ChainedInvokeStopped", "ChainedInvokeStoppedDetails": {"Error": {"Payload": {}}}},
                {"Type": "CHAINED_INVOKE", "Status": "STOPPED", "ChainedInvokeDetails": {"Error": {}}},
            ),
        ],
    )
    def test_each_kind_of_event_says_what_became_of_its_operation(self, event: Any, operation: Any) -> None:
        begin = {"EventId": 1, "EventType": "ExecutionStarted", "EventTimestamp": 0, "ExecutionStartedDetails": {}}
        made = cast("Any", from_history([begin, {"EventId": 2, "EventTimestamp": 3, "Id": "x", **event}])[1])
        assert {key: made[key] for key in operation} == operation
        assert ("EndTimestamp" in made) == (operation["Status"] != "STARTED")

    def test_invocations_and_pauses_are_no_operations(self) -> None:
        kinds = ["ExecutionStarted", "InvocationCompleted", "ExecutionPaused", "ExecutionResumed"]
        events = [
            {"EventId": i, "EventType": kind, "EventTimestamp": i, f"{kind}Details": {}}
            for i, kind in enumerate(kinds, 1)
        ]
        assert [o["Type"] for o in from_history(events)] == ["EXECUTION"]


class TestState:
    """What `get-durable-execution-state` prints, and what boto3 returns."""

    @pytest.mark.parametrize("invocations", range(1, 6))
    def test_times_as_seconds_datetimes_and_text_are_the_same(self, invocations: int) -> None:
        service = executed(invocations)
        expected = operations_of(service)
        for time in (lambda ms: ms / 1000, moment, lambda ms: cast("datetime", moment(ms)).isoformat()):
            service.time = time
            assert from_state([service._shown(operation) for operation in expected]) == expected

    def test_a_time_without_a_zone_is_utc(self) -> None:
        state = [{"Id": "e", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": "2026-01-01T00:00:00"}]
        assert from_state(state)[0].get("StartTimestamp") == START

    def test_a_file_with_pages_is_read_whole(self) -> None:
        service = executed()
        shown = [service._shown(operation) for operation in operations_of(service)]
        pages = json.dumps([{"Operations": shown[:2], "NextMarker": "1"}, {"Operations": shown[2:]}])
        assert list(loaded(pages.encode()).operations) == operations_of(service)


GOOD: Any = {
    "durableflow": 1,
    "kind": "recording",
    "operations": [
        {"Id": "execution", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": 0},
        {"Id": "a", "Type": "STEP", "Status": "STARTED", "StartTimestamp": 0},
    ],
}
HISTORY: Any = {
    "Events": [
        {"EventId": 1, "EventType": "ExecutionStarted", "EventTimestamp": 0, "ExecutionStartedDetails": {}},
        {"EventId": 2, "EventType": "StepStarted", "EventTimestamp": 1, "Id": "a", "StepStartedDetails": {}},
        {"EventId": 3, "EventType": "StepSucceeded", "EventTimestamp": 2, "Id": "a", "StepSucceededDetails": {}},
    ]
}


def changed(content: Any, member: str, index: int, **fields: Any) -> Any:
    made = json.loads(json.dumps(content))
    made[member][index].update(fields)
    return made


class TestDamagedFiles:
    @pytest.mark.parametrize(
        ("data", "code", "place", "message"),
        [
            (b"", "DF601", "1:1", "the file is empty"),
            (b" \n\t\n", "DF601", "1:1", "the file is empty"),
            (b"\x00\xff\xfe", "DF601", "1:1", "not UTF-8 text at byte 1"),
            (recording.to_text(GOOD).encode()[:100], "DF601", "7:7", "the file is not JSON"),
            (recording.to_text(GOOD).encode() + b"}", "DF601", "19:1", "not JSON: Extra data"),
            (b'{\n<<<<<<< HEAD\n"a": 1\n=======\n', "DF601", "2:1", "a merge conflict"),
            (b"[" * 100_000, "DF601", "1:1", "nested deeper than"),
            (b'{"a": NaN}', "DF601", "1:1", "NaN is not JSON"),
            (b"null", "DF602", "1:1", "neither a recording nor what AWS prints"),
            (b"[]", "DF602", "1:1", "neither a recording"),
            (b'"recording"', "DF602", "1:1", "neither a recording"),
            (b'{"states": []}', "DF602", "1:1", "neither a recording"),
            (b'{"Events": {}}', "DF602", "1:1", "neither a recording"),
            ({**GOOD, "durableflow": 2}, "DF603", "1:1", "has format 2, this durableflow reads up to 1"),
            ({**GOOD, "durableflow": "1"}, "DF604", "1:1", "no format number"),
            ({**GOOD, "operations": {}}, "DF604", "1:1", "'operations' is no list"),
            ({**GOOD, "decision": []}, "DF604", "1:1", "'decision' is no object"),
            ({**GOOD, "operations": []}, "DF604", "1:1", "0 EXECUTION operations"),
            ({**GOOD, "operations": [GOOD["operations"][0]] * 2}, "DF604", "11:5", "entry 2 has the id of entry 1"),
            (
                {**GOOD, "operations": [GOOD["operations"][0], None]},
                "DF604",
                "11:5",
                "entry 2: an operation is NoneType",
            ),
            (changed(GOOD, "operations", 1, Id=None), "DF604", "11:5", "entry 2: an operation has no 'Id'"),
            (changed(GOOD, "operations", 1, Type="NAP"), "DF604", "11:5", "unknown type 'NAP'"),
            (changed(GOOD, "operations", 1, Status=1), "DF604", "11:5", "unknown status '1'"),
            (changed(GOOD, "operations", 1, StartTimestamp="0"), "DF604", "11:5", "no whole number of milliseconds"),
            (changed(GOOD, "operations", 1, StepDetails=[]), "DF604", "11:5", "entry 2"),
            ({"Operations": []}, "DF604", "1:1", "0 EXECUTION operations"),
            ({"Operations": [{"Id": "x"}]}, "DF604", "3:5", "entry 1: operation 'x' has the unknown type"),
            ({"Operations": [], "NextMarker": "abc"}, "DF605", "1:1", "more pages than this file holds"),
            ({"Events": []}, "DF604", "1:1", "the history does not begin"),
            ({"Events": HISTORY["Events"][1:]}, "DF604", "3:5", "event 1 is missing: the next one is 2"),
            ({"Events": [*HISTORY["Events"][:1], HISTORY["Events"][2]]}, "DF604", "9:5", "event 2 is missing"),
            ({"Events": [*HISTORY["Events"], None]}, "DF604", "23:5", "entry 4 is no event"),
            (changed(HISTORY, "Events", 1, EventId="2"), "DF604", "9:5", "entry 2 is no event"),
            (changed(HISTORY, "Events", 1, EventId=1), "DF604", "9:5", "two different events have the EventId 1"),
            (changed(HISTORY, "Events", 1, EventType="StepDreamt"), "DF604", "9:5", "unknown type 'StepDreamt'"),
            (changed(HISTORY, "Events", 1, EventType=None), "DF604", "9:5", "event 2 is damaged"),
            (changed(HISTORY, "Events", 1, Id=[]), "DF604", "9:5", "event 2 is damaged"),
            (changed(HISTORY, "Events", 1, EventTimestamp="soon"), "DF604", "9:5", "event 2 is damaged"),
            (changed(HISTORY, "Events", 1, EventType="StepFailed"), "DF604", "16:5", "event 3: STEP is FAILED already"),
            (changed(HISTORY, "Events", 1, EventType="WaitCancelled"), "DF604", "16:5", "event 3: WAIT is CANCELLED"),
            (
                changed(HISTORY, "Events", 2, StepSucceededDetails={"Result": {"Truncated": True}}),
                "DF605",
                "16:5",
                "fetched without its payloads",
            ),
            ({**HISTORY, "NextMarker": "x"}, "DF605", "1:1", "more pages than this file holds"),
        ],
    )
    def test_says_what_is_wrong_and_where(self, data: Any, code: str, place: str, message: str) -> None:
        with pytest.raises(UsageError) as raised:
            loaded(data)
        problem = raised.value.problem
        assert (problem.code, str(problem.span)) == (code, f"golden.json:{place}")
        assert message in problem.message
        assert "\n" not in problem.message

    def test_a_file_that_is_too_large_is_not_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recording, "SIZE_MAX_BYTES", 10)
        with pytest.raises(UsageError, match="DF606"):
            loaded(b"[" * 11)

    def test_a_null_marker_and_unknown_members_are_fine(self) -> None:
        assert loaded({**HISTORY, "NextMarker": None, "ResponseMetadata": {}}).operations[1]["Status"] == "SUCCEEDED"

    def test_times_before_and_far_after_today_are_read(self) -> None:
        for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", -1.5):
            events = changed(HISTORY, "Events", 0, EventTimestamp=time)
            assert isinstance(loaded(events).operations[0]["StartTimestamp"], int)


def test_moments_are_exact() -> None:
    """Nothing is lost between a datetime, its text and milliseconds."""
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=123)
    assert recording._milliseconds(time.isoformat()) == recording._milliseconds(time) == START + 123
