"""One invocation: pages, tokens, batches, calls, and which errors end what."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from memory_service import ARN, START, MemoryService, moment, refusal, seconds

from durableflow import driver
from durableflow.decision import Completion
from durableflow.driver import EventError, batches, run_invocation, service_error
from durableflow.errors import Fault, ServiceError
from durableflow.expressions import Program
from durableflow.plan import Block, Catcher, Invoke, Plan, Retrier, States, Step, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.decision import Call


def constant(value: Any) -> Program:
    return Program(["const", value])


def plan_of(*nodes: Any, **fields: Any) -> Plan:
    return Plan(name=fields.pop("name", "demo"), states=States.of(nodes), **fields)


def step(name: str, payload: Any = None, **fields: Any) -> Step:
    return Step(name=name, handler="module:function", payload=constant(payload), **fields)


def invoke(name: str, function: str = "target") -> Invoke:
    return Invoke(name=name, function=constant(function), payload=constant({}))


class EchoWorker:
    """Gives each step's payload as its result, and remembers what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, call: Call) -> Completion:
        self.done.append(call.path)
        return Completion(operation_id=call.operation_id, result=call.payload)


def handler(plan: Any, service: MemoryService, worker: Any = None, **more: Any) -> Callable[[Any], dict[str, Any]]:
    worker = worker or EchoWorker()
    return lambda event: run_invocation(
        event, plan=plan, service=service, worker=worker, clock_ms=lambda: service.now, **more
    )


CHAIN = plan_of(step("a", 1), invoke("b"), Wait(name="c", duration=constant(5)), step("d", 4))


class TestWholeExecutions:
    @pytest.mark.parametrize("time", [seconds, moment])
    @pytest.mark.parametrize("page", [1, 2, 7, 1000])
    def test_the_page_size_and_the_form_of_times_change_nothing(self, page: int, time: Any) -> None:
        service = MemoryService(targets={"target": lambda _: "b"}, page=page, time=time)
        worker = EchoWorker()
        assert service.run(handler(CHAIN, service, worker)) == {"Status": "SUCCEEDED", "Result": "4"}
        assert worker.done == ["a", "d"]
        assert [(u["Name"], u["Action"]) for u in service.updates] == [
            ("a", "START"),
            ("a", "SUCCEED"),
            ("b", "START"),
            ("c", "START"),
            ("d", "START"),
            ("d", "SUCCEED"),
        ]

    def test_an_unknown_function_fails_in_the_same_invocation(self) -> None:
        service = MemoryService()
        output = handler(plan_of(invoke("b", "missing")), service)(service.event())
        assert output["Status"] == "FAILED"
        assert output["Error"]["ErrorType"] == "Lambda.ResourceNotFoundException"

    def test_the_input_arrives_from_a_later_page(self) -> None:
        service = MemoryService(input='{"n":[1,2]}')
        plan = plan_of(Wait(name="w", duration=constant(0)), output=Program(["name", "input"]))
        assert handler(plan, service)(service.event()) == {"Status": "SUCCEEDED", "Result": '{"n":[1,2]}'}

    def test_input_that_is_not_json_ends_the_execution(self) -> None:
        service = MemoryService(input="{")
        output = handler(CHAIN, service)(service.event())
        assert (output["Status"], output["Error"]["ErrorType"]) == ("FAILED", "States.InputInvalid")
        assert not service.requests

    def test_steps_in_a_row_cost_one_checkpoint_each(self) -> None:
        service = MemoryService()
        service.run(handler(plan_of(*(step(f"s{i}", i) for i in range(20))), service))
        assert len(service.requests) == 21

    def test_each_request_has_a_client_token_of_its_own(self) -> None:
        service = MemoryService(targets={"target": lambda _: "b"})
        service.run(handler(CHAIN, service))
        tokens = [request["ClientToken"] for request in service.requests]
        assert len(set(tokens)) == len(tokens)
        assert all(1 <= len(token) <= 64 for token in tokens)

    def test_templates_read_the_environment_that_is_given(self) -> None:
        service = MemoryService()
        plan = plan_of(step("a", 1), env=("REGION",), output=Program(["attr", ["name", "env"], "REGION"]))
        assert service.run(handler(plan, service, env={"REGION": "eu"}))["Result"] == '"eu"'


class TestSeveralWorkflows:
    PLANS: ClassVar = {
        "orders": plan_of(step("a", "orders"), name="orders", output=Program(["name", "input"])),
        "refunds": plan_of(step("a", "refunds"), name="refunds"),
    }

    @pytest.mark.parametrize(
        ("input", "result"),
        [
            ('{"$workflow": "orders", "input": {"id": 7}}', '{"id":7}'),
            ('{"$workflow": "orders", "input": null}', "null"),
            ('{"$workflow": "orders"}', "{}"),
            ('{"$workflow": "refunds", "input": 1}', '"refunds"'),
        ],
    )
    def test_the_input_names_the_workflow(self, input: str, result: str) -> None:  # noqa: A002 - the wire's word
        service = MemoryService(input=input)
        assert service.run(handler(self.PLANS, service))["Result"] == result

    @pytest.mark.parametrize(
        ("input", "message"),
        [
            ('{"$workflow": "order", "input": 1}', "no workflow is called 'order'; did you mean 'orders'?"),
            ('{"$workflow": "x"}', "no workflow is called 'x'; this function has orders, refunds"),
            ('{"$workflow": 3}', "this function holds several workflows"),
            ("{}", "this function holds several workflows"),
            ("[]", "this function holds several workflows"),
            ("{", "the input is not JSON"),
        ],
    )
    def test_any_other_input_is_invalid(self, input: str, message: str) -> None:  # noqa: A002
        service = MemoryService(input=input)
        output = handler(self.PLANS, service)(service.event())
        assert output["Error"]["ErrorType"] == "States.InputInvalid"
        assert message in output["Error"]["ErrorMessage"]

    def test_one_workflow_takes_such_an_input_as_it_is(self) -> None:
        service = MemoryService(input='{"$workflow":"x"}')
        assert service.run(handler(self.PLANS["orders"], service))["Result"] == '{"$workflow":"x"}'


def event(**changed: Any) -> dict[str, Any]:
    operation = {"Id": "e", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": START, "ExecutionDetails": {}}
    made = {"DurableExecutionArn": ARN, "CheckpointToken": "dA==", "InitialExecutionState": {"Operations": [operation]}}
    return {**made, **changed}


def state(*operations: Any, **more: Any) -> dict[str, Any]:
    return {"InitialExecutionState": {"Operations": list(operations), **more}}


EXECUTION = {"Id": "e", "Type": "EXECUTION", "Status": "STARTED"}
STEP = {"Id": "s", "Type": "STEP", "Status": "STARTED"}


class TestEvents:
    @pytest.mark.parametrize(
        ("malformed", "message"),
        [
            (None, "the event is NoneType, not an object"),
            ([], "the event is list, not an object"),
            ({"order": 7}, "no text 'DurableExecutionArn'"),
            (event(CheckpointToken=""), "no text 'CheckpointToken'"),
            (event(CheckpointToken=7), "no text 'CheckpointToken'"),
            (event(InitialExecutionState=[]), "no object 'InitialExecutionState'"),
            (event(InitialExecutionState={"Operations": {}}), "'Operations' is no list"),
            (event(InitialExecutionState={}), "0 EXECUTION operations"),
            (event(**state(STEP)), "0 EXECUTION operations"),
            (event(**state(EXECUTION, {**EXECUTION, "Id": "f"})), "2 EXECUTION operations"),
            (event(**state(EXECUTION, NextMarker=3)), "'NextMarker' is no text"),
            (event(**state(None)), "an operation is NoneType"),
            (event(**state(EXECUTION, {**STEP, "Id": ""})), "an operation has no 'Id'"),
            (event(**state(EXECUTION, {**STEP, "Type": "NAP"})), "'s' has the unknown type 'NAP'"),
            (event(**state(EXECUTION, {**STEP, "Type": []})), "'s' has the unknown type '[]'"),
            (event(**state(EXECUTION, {**STEP, "Status": "ASLEEP"})), "'s' has the unknown status 'ASLEEP'"),
            (event(**state(EXECUTION, STEP, {**STEP, "Type": "WAIT"})), "different types have the id 's'"),
        ],
    )
    def test_a_malformed_event_is_raised_so_that_it_is_retried(self, malformed: Any, message: str) -> None:
        with pytest.raises(EventError, match="DF510") as raised:
            handler(CHAIN, MemoryService())(malformed)
        assert message in str(raised.value)

    def test_pages_that_go_round_are_an_error(self) -> None:
        service = MemoryService()
        begun = service.event()
        service.get_durable_execution_state = lambda **_: {"Operations": [], "NextMarker": "0"}  # type: ignore[method-assign]
        with pytest.raises(EventError, match="in a circle"):
            handler(CHAIN, service)(begun)

    def test_a_page_that_comes_twice_changes_nothing(self) -> None:
        service = MemoryService(targets={"target": lambda _: "b"}, page=1000)
        handler(CHAIN, service)(service.event())
        service.wake()
        begun = service.event()
        pages = [service.get_durable_execution_state(CheckpointToken=begun["CheckpointToken"], Marker="0")] * 2
        replies = [{**pages[0], "NextMarker": "again"}, pages[1]]
        service.get_durable_execution_state = lambda **_: replies.pop(0)  # type: ignore[method-assign]
        assert handler(CHAIN, service)(begun) == {"Status": "PENDING"}
        assert [u["Name"] for u in service.requests[-1]["Updates"]] == ["c"]

    def test_a_time_that_is_none_is_an_error_of_the_reply(self) -> None:
        service = MemoryService(time=lambda _: "yesterday")
        with pytest.raises(EventError, match="str is no time"):
            handler(CHAIN, service)(service.event())


class TestErrors:
    """Protocol.md 11.3: what ends the invocation, and what ends the execution."""

    @staticmethod
    def outcome(error: Exception) -> Any:
        service = MemoryService()

        def fail(_: int) -> None:
            raise error

        service.before_checkpoint = fail
        return handler(plan_of(step("a"), catch=(Catcher(output=constant("caught")),)), service)(service.event())

    @pytest.mark.parametrize(
        ("name", "message", "status"),
        [
            ("InvalidParameterValueException", "Invalid checkpoint token", 400),
            ("InvalidParameterValueException", "INVALID CHECKPOINT TOKEN: used", 400),
            ("InvalidParameterValueException", "Invalid Checkpoint Token", 400),
            ("TooManyRequestsException", "slow down", 429),
            ("ServiceException", "oh", 500),
            ("BadGateway", "oh", 502),
            ("ServiceUnavailable", "oh", 503),
        ],
    )
    def test_what_another_invocation_can_cure_is_raised(self, name: str, message: str, status: int) -> None:
        with pytest.raises(ServiceError) as raised:
            self.outcome(refusal(name, message, status))
        assert raised.value.is_retryable
        assert (raised.value.name, raised.value.status) == (name, status)

    @pytest.mark.parametrize(
        ("name", "message", "status"),
        [
            ("InvalidParameterValueException", "payload too large", 400),
            ("AccessDeniedException", "no", 403),
            ("ResourceNotFoundException", "no", 404),
            ("KMSAccessDeniedException", "no", 502),
            ("KMSDisabledException", "no", 502),
            ("KMSInvalidStateException", "no", 502),
            ("KMSNotFoundException", "no", 502),
        ],
    )
    def test_what_would_be_refused_again_fails_the_execution_and_is_not_caught(
        self, name: str, message: str, status: int
    ) -> None:
        failed = {"Status": "FAILED", "Error": {"ErrorType": name, "ErrorMessage": message}}
        assert self.outcome(refusal(name, message, status)) == failed

    @pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), OSError("no route"), RuntimeError("?")])
    def test_network_trouble_is_raised_as_it_is(self, error: Exception) -> None:
        with pytest.raises(type(error)):
            self.outcome(error)

    def test_a_reply_that_is_no_object_is_raised(self) -> None:
        service = MemoryService()
        begun = service.event()
        service.get_durable_execution_state = lambda **_: None  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(EventError, match="answered with NoneType"):
            handler(CHAIN, service)(begun)

    def test_boto3_errors_are_known_by_their_shape(self) -> None:
        class ClientError(Exception):
            response: ClassVar = {
                "Error": {"Code": "TooManyRequestsException", "Message": "slow down"},
                "ResponseMetadata": {"HTTPStatusCode": 429},
            }

        class ParamValidationError(Exception):
            pass

        throttled, invalid = service_error(ClientError()), service_error(ParamValidationError("Invalid length"))
        assert throttled is not None
        assert (throttled.name, throttled.status, throttled.is_retryable) == ("TooManyRequestsException", 429, True)
        assert invalid is not None
        assert not invalid.is_retryable
        assert service_error(ValueError()) is None

    @pytest.mark.parametrize("lost", range(1, 7))
    def test_an_execution_survives_the_loss_of_any_request_or_reply(self, lost: int) -> None:
        for applied in (False, True):
            service = MemoryService(targets={"target": lambda _: "b"})
            once = [lost]

            def vanish(number: int, _: object = None, once: list[int] = once) -> None:
                if [number] == once:
                    once.clear()
                    raise ConnectionResetError

            if applied:
                service.after_checkpoint = vanish
            else:
                service.before_checkpoint = vanish
            handle = handler(CHAIN, service)

            def retried(begun: Any, handle: Any = handle, service: MemoryService = service) -> Any:
                try:
                    return handle(begun)
                except ConnectionResetError:
                    return handle(service.event())

            assert service.run(retried) == {"Status": "SUCCEEDED", "Result": "4"}


class TestWithheldTokens:
    @pytest.mark.parametrize("number", range(1, 6))
    @pytest.mark.parametrize("token", [None, ""])
    def test_without_a_token_nothing_more_is_written_or_started(self, number: int, token: str | None) -> None:
        service = MemoryService(page=1000)

        def withhold(made: int, reply: dict[str, Any]) -> None:
            if made == number:
                reply["CheckpointToken"] = token

        service.after_checkpoint = withhold
        worker = EchoWorker()
        output = handler(plan_of(*(step(f"s{i}", i) for i in range(4))), service, worker)(service.event())
        assert output == {"Status": "PENDING"}
        assert len(service.requests) == number
        assert len(worker.done) == number - 1

    def test_an_outcome_that_was_recorded_is_answered(self) -> None:
        service = MemoryService()
        plan = plan_of(output=Program(["name", "input"]))
        service.operations["7f3a"]["ExecutionDetails"]["InputPayload"] = json.dumps("x" * (6 * 1024 * 1024 - 50))
        output = handler(plan, service)(service.event())
        assert output == {"Status": "SUCCEEDED", "Result": ""}
        assert service.outcome is not None
        assert service.outcome.status == "SUCCEEDED"

    def test_a_long_batch_stops_in_its_middle(self) -> None:
        service = MemoryService(page=1000)
        service.after_checkpoint = lambda _, reply: reply.pop("CheckpointToken")
        big = ["x" * 200_000] * 5
        output = run_scripted(service, [big])
        assert output == {"Status": "PENDING"}
        assert len(service.requests) == 1


def run_scripted(service: MemoryService, payloads: list[list[str]]) -> dict[str, Any]:
    """Let one decision hold many updates, as a wide parallel will."""
    conversation = driver._Conversation(service, ARN, service.event()["CheckpointToken"], lambda *_: None, None)
    for texts in payloads:
        updates: Any = [
            {"Id": f"s{i}", "Type": "STEP", "SubType": "Step", "Action": "SUCCEED", "Payload": text}
            for i, text in enumerate(texts)
        ]
        conversation.recorded(updates)
    return {"Status": "PENDING"} if conversation.token is None else {"Status": "open"}


class TestBatches:
    @staticmethod
    def update(number: int, payload: str = "") -> Any:
        return {"Id": f"i{number}", "Type": "STEP", "Action": "SUCCEED", "Payload": payload}

    def test_nothing_is_no_batch(self) -> None:
        assert list(batches([])) == []

    def test_250_updates_fit_and_one_more_does_not(self) -> None:
        updates = [self.update(i) for i in range(501)]
        cut = list(batches(updates))
        assert [len(batch) for batch in cut] == [250, 250, 1]
        assert [u for batch in cut for u in batch] == updates

    @pytest.mark.parametrize("character", ["x", "ä", "€", "😀"])
    def test_a_batch_stays_below_750_kb_as_boto3_writes_it(self, character: str) -> None:
        updates = [self.update(i, character * 10_000) for i in range(200)]
        cut = list(batches(updates, token_bytes=2048))
        assert [u for batch in cut for u in batch] == updates
        assert all(len(json.dumps({"CheckpointToken": "t" * 2048, "Updates": batch})) <= 768_000 for batch in cut)

    def test_an_update_that_is_too_large_goes_alone(self) -> None:
        updates = [self.update(0), self.update(1, "x" * 900_000), self.update(2)]
        assert [len(batch) for batch in batches(updates)] == [1, 1, 1]


class TestCalls:
    """Several calls at once: what a parallel's branches will ask for."""

    @staticmethod
    def call(name: str) -> Call:
        from durableflow.decision import Call

        return Call(
            operation_id=name,
            operation_name=name,
            node=step(name),
            path=name,
            payload=name,
            attempt=1,
            idempotency_key="0" * 32,
        )

    def test_a_single_call_runs_in_the_calling_thread(self) -> None:
        threads: list[threading.Thread] = []

        class Worker(EchoWorker):
            def run(self, call: Call) -> Completion:
                threads.append(threading.current_thread())
                return super().run(call)

        calls = driver._Calls(Worker())
        calls.add([self.call("a")])
        assert [c.result for c in calls.ended()] == ["a"]
        assert threads == [threading.current_thread()]

    def test_several_calls_run_at_the_same_time(self) -> None:
        meeting = threading.Barrier(3, timeout=10)

        class Worker(EchoWorker):
            def run(self, call: Call) -> Completion:
                meeting.wait()
                return super().run(call)

        calls = driver._Calls(Worker())
        calls.add([self.call(name) for name in "abc"])
        ended: list[Any] = []
        while len(ended) < 3:
            ended += [c.result for c in calls.ended()]
        assert sorted(ended) == ["a", "b", "c"]

    def test_no_more_calls_run_than_there_is_room_for(self) -> None:
        running, most = [0], [0]
        lock = threading.Lock()

        class Worker(EchoWorker):
            def run(self, call: Call) -> Completion:
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                try:
                    return super().run(call)
                finally:
                    with lock:
                        running[0] -= 1

        calls = driver._Calls(Worker())
        calls.add([self.call(str(i)) for i in range(200)])
        ended = 0
        while ended < 200:
            ended += len(calls.ended())
        assert most[0] <= driver.THREADS_MAX

    @pytest.mark.parametrize("width", [1, 3])
    def test_a_dying_thread_ends_the_invocation_with_its_cause(self, width: int) -> None:
        class Worker(EchoWorker):
            def run(self, call: Call) -> Completion:
                raise MemoryError(call.path)

        calls = driver._Calls(Worker())
        calls.add([self.call(name) for name in "abc"[:width]])
        with pytest.raises(MemoryError):
            calls.ended()

    def test_waiting_for_nothing_is_a_defect_and_no_endless_wait(self) -> None:
        with pytest.raises(RuntimeError, match="waits for nothing"):
            driver._Calls(EchoWorker()).ended()


class TestRetries:
    def test_a_failed_attempt_suspends_and_the_next_invocation_tries_again(self) -> None:
        class Worker(EchoWorker):
            def run(self, call: Call) -> Completion:
                if call.attempt < 3:
                    return Completion(operation_id=call.operation_id, fault=Fault("Busy", "later"))
                return super().run(call)

        retrier = Retrier(interval=constant(2), jitter="none")
        service = MemoryService()
        output = service.run(handler(plan_of(step("a", "ok", retry=(retrier,))), service, Worker()))
        assert output == {"Status": "SUCCEEDED", "Result": '"ok"'}
        assert [u["Action"] for u in service.updates] == ["START", "RETRY", "START", "RETRY", "START", "SUCCEED"]
        assert service.now == START + 6000

    def test_a_checkpoint_that_fails_is_invisible_to_the_workflow(self) -> None:
        plan = plan_of(Block(name="b", states=States.of([step("a")]), catch=(Catcher(output=constant("caught")),)))
        service = MemoryService()

        def lose(_: int) -> None:
            raise ConnectionResetError

        service.before_checkpoint = lose
        worker = EchoWorker()
        with pytest.raises(ConnectionResetError):
            handler(plan, service, worker)(service.event())
        assert worker.done == []
        assert service.updates == []


class TestLogs:
    def test_one_json_object_a_line_without_payloads_or_tokens(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "durableflow")
        service = MemoryService(input='{"card": "4111-canary\\n{}"}', targets={"target": lambda _: "canary"})
        service.run(handler(CHAIN, service))
        lines = [json.loads(record.getMessage()) for record in caplog.records]
        assert lines
        assert all("\n" not in record.getMessage() for record in caplog.records)
        assert {line["executionArn"] for line in lines} == {ARN}
        assert "canary" not in caplog.text
        assert "dG9rZW4" not in caplog.text
        assert lines[-1]["message"] == "execution succeeded"

    def test_what_is_replayed_is_not_told_again(self, caplog: pytest.LogCaptureFixture) -> None:
        service = MemoryService(targets={"target": lambda _: "b"})
        handle = handler(CHAIN, service)
        handle(service.event())
        service.wake()
        caplog.set_level(logging.DEBUG, "durableflow")
        handle(service.event())
        told = [json.loads(record.getMessage()) for record in caplog.records]
        assert {line.get("operationName") or line.get("path") for line in told} - {None} == {"c"}

    def test_a_mismatch_is_told_with_both_sides(self, caplog: pytest.LogCaptureFixture) -> None:
        service = MemoryService()
        handler(plan_of(step("a", retry=())), service)(service.event())
        output = handler(plan_of(invoke("a")), service)(service.event())
        assert output["Error"]["ErrorType"] == "NonDeterministicExecutionError"
        told = json.loads(caplog.records[-1].getMessage())
        assert told["expected"]["type"] == "CHAINED_INVOKE"
        assert told["recorded"]["type"] == "STEP"
