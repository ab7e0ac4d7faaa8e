"""The embedded service as its API: what each operation answers, refuses, wakes and keeps."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scripted import (
    ERROR,
    PENDING,
    START,
    SUCCEEDED,
    Run,
    World,
    call,
    callback,
    context,
    ending,
    retry,
    step,
    wait,
)

from durableflow.errors import ServiceError, UsageError, diagnostic
from durableflow.local.clock import SkipClock, SystemClock
from durableflow.local.service import Function, Limits, Retries


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(world: World) -> Run:
    return world.begin('{"n":1}')


@contextmanager
def refused(name: str, status: int = 400) -> Iterator[pytest.ExceptionInfo[ServiceError]]:
    """Expect the service to refuse with this error."""
    with pytest.raises(ServiceError) as caught:
        yield caught
    assert (caught.value.name, caught.value.status) == (name, status)


# Invoke --------------------------------------------------------------------------------------------------------------


def test_an_execution_gets_an_event_with_its_input_and_a_token(run: Run) -> None:
    assert run.event["DurableExecutionArn"] == run.arn
    assert run.event["InitialExecutionState"] == {
        "Operations": [
            {
                "Id": run.arn.rsplit("/", 1)[-1],
                "Type": "EXECUTION",
                "Status": "STARTED",
                "Name": run.arn.split("/")[-2],
                "StartTimestamp": START,
                "ExecutionDetails": {"InputPayload": '{"n":1}'},
            }
        ]
    }


def test_arns_have_the_form_of_the_platform(world: World) -> None:
    arn = world.begin(name="order-1").arn
    head, name, request_id = arn.split("/durable-execution/")[0], *arn.split("/")[-2:]
    assert head == "arn:aws:lambda:us-east-1:123456789012:function:flow:1"
    assert name == "order-1"
    assert len(request_id) == 36


def test_no_payload_is_no_input(world: World) -> None:
    run = world.begin("")
    assert run.event["InitialExecutionState"]["Operations"][0]["ExecutionDetails"] == {}
    assert "InputPayload" not in world.describe(run.arn)


def test_one_name_with_one_payload_is_one_execution(world: World) -> None:
    first = world.begin("1", name="order-1")
    again = world.service.invoke(
        FunctionName="flow:alias", Payload=b"1", InvocationType="Event", DurableExecutionName="order-1"
    )
    assert again["DurableExecutionArn"] == first.arn
    assert world.jobs == []
    with refused("DurableExecutionAlreadyStartedException", 409):
        world.begin("2", name="order-1")


def test_a_name_belongs_to_its_function(world: World) -> None:
    assert world.begin(name="same").arn != world.begin(name="same", function="child").arn


@pytest.mark.parametrize("name", ["", "x" * 65, "a/b", "a b", "é"])
def test_a_name_that_cannot_be_part_of_an_arn_is_refused(world: World, name: str) -> None:
    with refused("InvalidParameterValueException"):
        world.begin(name=name)


def test_a_function_must_exist(world: World) -> None:
    with refused("ResourceNotFoundException", 404):
        world.begin(function="nothing")
    with refused("ResourceNotFoundException", 404):
        world.begin(function="flow:2")
    with refused("InvalidParameterValueException"):
        world.begin(function="no name")


def test_a_qualifier_may_stand_apart_but_not_against_the_name(world: World) -> None:
    service = world.service
    reply = service.invoke(FunctionName="flow", Qualifier="alias", InvocationType="DryRun")
    assert reply == {"StatusCode": 204, "ExecutedVersion": "1", "Payload": b""}
    with refused("InvalidParameterValueException"):
        service.invoke(FunctionName="flow:1", Qualifier="alias", InvocationType="DryRun")
    assert world.jobs == []


@pytest.mark.parametrize(("kind", "limit"), [("Event", 1024 * 1024), ("DryRun", 1024 * 1024)])
def test_a_payload_is_bounded(world: World, kind: Any, limit: int) -> None:
    assert world.service.invoke(FunctionName="flow", Payload=b"1" * limit, InvocationType=kind)
    with refused("RequestTooLargeException", 413):
        world.service.invoke(FunctionName="flow", Payload=b"1" * (limit + 1), InvocationType=kind)


def test_a_payload_is_utf_8(world: World) -> None:
    with refused("InvalidRequestContentException"):
        world.service.invoke(FunctionName="flow", Payload=b"\xff", InvocationType="Event")


class Immediate(World):
    """Runs plain jobs at once; ends durable ones with what `outputs` has for them."""

    outputs: Any = None

    def start(self, job: Any) -> None:
        report = self.service.invocation_ended
        if job.kind == "plain":
            report(job.id, text=job.payload, error=ERROR if job.payload == "0" else None)
        else:
            report(job.id, output=self.outputs)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (SUCCEEDED, {"Payload": b'"done"'}),
        ({"Status": "SUCCEEDED"}, {"Payload": b"null"}),
        (
            {"Status": "FAILED", "Error": ERROR},
            {"FunctionError": "Unhandled", "Payload": b'{"errorType":"Broken","errorMessage":"it broke"}'},
        ),
        (
            {"Status": "FAILED"},
            {"FunctionError": "Unhandled", "Payload": b'{"errorMessage":"The execution ended FAILED."}'},
        ),
    ],
)
def test_a_synchronous_invoke_answers_with_the_end_of_the_execution(output: Any, answer: Any) -> None:
    world = Immediate()
    world.outputs = output
    reply = world.service.invoke(FunctionName="flow", Payload=b"{}")
    assert {**reply, **answer} == reply
    assert (reply["StatusCode"], reply["ExecutedVersion"]) == (200, "1")
    assert world.history(reply["DurableExecutionArn"])[-1].startswith("Execution")


def test_a_plain_function_is_called_without_an_execution() -> None:
    world = Immediate()
    assert world.service.invoke(FunctionName="echo", Payload="[1]")["Payload"] == b"[1]"
    assert world.service.invoke(FunctionName="echo")["Payload"] == b"{}"
    failed = world.service.invoke(FunctionName="echo", Payload="0")
    assert (failed["FunctionError"], json.loads(failed["Payload"])["errorType"]) == ("Unhandled", "Broken")
    event = world.service.invoke(FunctionName="echo", InvocationType="Event")
    assert event == {"StatusCode": 202, "ExecutedVersion": "$LATEST", "Payload": b""}
    assert world.service.list_executions()["DurableExecutions"] == []
    assert world.service.is_idle


def test_a_synchronous_invoke_gives_up_while_the_execution_goes_on() -> None:
    world = World(limits=Limits(invoke_seconds=0.0))
    for function in ("flow", "echo"):
        with refused("ServiceException", 500):
            world.service.invoke(FunctionName=function, Payload=b"{}")
    assert [job.kind for job in world.jobs] == ["durable", "plain"]


def test_a_synchronous_invoke_waits_for_another_thread() -> None:
    handed = threading.Event()

    class Handing(World):
        def start(self, job: Any) -> None:
            super().start(job)
            handed.set()

    world = Handing()
    replies: list[Any] = []
    thread = threading.Thread(target=lambda: replies.append(world.service.invoke(FunctionName="flow", Payload="{}")))
    thread.start()
    assert handed.wait(10)
    world.service.invocation_ended(world.job().id, output=SUCCEEDED)
    thread.join(10)
    assert replies[0]["Payload"] == b'"done"'


# Checkpoints and tokens ----------------------------------------------------------------------------------------------


def test_a_checkpoint_answers_with_what_it_changed_in_seconds(run: Run) -> None:
    changed = run.checkpoint(step(Name="charge"), wait(60))
    assert changed["a"]["StartTimestamp"] == START / 1000
    assert changed["w"]["WaitDetails"] == {"ScheduledEndTimestamp": START / 1000 + 60}
    assert run.token != run.event["CheckpointToken"]


def test_a_token_is_good_once(run: Run) -> None:
    used = run.token
    run.checkpoint(step())
    after = run.world.events(run.arn)
    for token in (used, "", "bm9uZQ==", run.token + "="):
        with refused("InvalidParameterValueException") as caught:
            run.world.service.checkpoint_durable_execution(
                DurableExecutionArn=run.arn, CheckpointToken=token, Updates=[step(id_="b")]
            )
        assert caught.value.problem.message == "Invalid checkpoint token"
        assert caught.value.is_retryable
    assert run.world.events(run.arn) == after
    assert run.checkpoint(step("SUCCEED"))


def test_a_token_belongs_to_one_execution(world: World) -> None:
    one, two = world.begin(), world.begin()
    one.token, two.token = two.token, one.token
    for run in (one, two):
        with refused("InvalidParameterValueException"):
            run.checkpoint(step())


def test_the_token_of_an_earlier_invocation_is_void(run: Run) -> None:
    zombie = run.token
    run.answer(error=ERROR)
    run.world.sleep(1)
    run.wake()
    assert run.token != zombie
    run.token, live = zombie, run.token
    with refused("InvalidParameterValueException"):
        run.checkpoint(step())
    run.token = live
    assert run.checkpoint(step())


def test_tokens_are_standard_base64_and_never_repeat(world: World) -> None:
    seen: set[str] = set()
    for _ in range(3):
        run = world.begin()
        for n in range(5):
            assert set(run.token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
            assert run.token not in seen
            seen.add(run.token)
            run.checkpoint(step(id_=str(n)))


def test_a_refused_checkpoint_changes_nothing_and_leaves_the_token(run: Run) -> None:
    run.checkpoint(step())
    before = run.world.events(run.arn)
    with refused("InvalidParameterValueException"):
        run.checkpoint(step("SUCCEED"), step("START"), wait(1))
    assert run.world.events(run.arn) == before
    assert [found["Id"] for found in run.world.service.operations(DurableExecutionArn=run.arn)[1:]] == ["a"]
    assert run.checkpoint(step("SUCCEED", Payload="1"))["a"]["Status"] == "SUCCEEDED"


def test_a_refused_checkpoint_undoes_what_became_due_in_it(run: Run) -> None:
    run.checkpoint(wait(1))
    run.world.clock.moment += 1000
    with refused("InvalidParameterValueException"):
        run.checkpoint(step(), step("RETRY"))
    assert run.checkpoint()["w"]["Status"] == "SUCCEEDED"
    assert [event["EventId"] for event in run.world.events(run.arn)] == [1, 2, 3]


def test_an_unknown_execution_is_a_wrong_parameter_of_a_checkpoint(run: Run) -> None:
    run.arn += "x"
    with refused("InvalidParameterValueException"):
        run.checkpoint()
    with refused("InvalidParameterValueException"):
        run.world.service.get_durable_execution_state(DurableExecutionArn=run.arn, CheckpointToken=run.token)


def test_a_repeated_request_gets_the_same_answer_and_happens_once(run: Run) -> None:
    token = run.token
    run.checkpoint(callback(), client_token="once")
    first = json.dumps(run.reply)
    events = run.world.events(run.arn)
    run.token = token
    run.checkpoint(callback(), client_token="once")
    assert json.dumps(run.reply) == first
    assert run.world.events(run.arn) == events
    assert run.checkpoint(step(), client_token="twice")


def test_a_client_token_stands_for_one_request(run: Run) -> None:
    token = run.token
    run.checkpoint(step(), client_token="once")
    run.token = token
    with refused("InvalidParameterValueException") as caught:
        run.checkpoint(step(id_="b"), client_token="once")
    assert "ClientToken" in caught.value.problem.message


def test_a_batch_that_is_no_json_is_refused(run: Run) -> None:
    for members in ({"StepOptions": float("nan")}, {"Payload": object()}):
        with refused("InvalidParameterValueException"):
            run.checkpoint(step(**members), client_token="once")


def test_an_answer_is_kept_for_fifteen_minutes(run: Run) -> None:
    token = run.token
    run.checkpoint(step(), client_token="once")
    run.world.clock.moment += 15 * 60 * 1000
    run.token = token
    run.checkpoint(step(), client_token="once")
    run.world.clock.moment += 1
    run.token = token
    with refused("InvalidParameterValueException") as caught:
        run.checkpoint(step(), client_token="once")
    assert caught.value.problem.message == "Invalid checkpoint token"


@pytest.mark.parametrize("client_token", ["", "x" * 65, "a b", "é"])
def test_a_client_token_has_a_shape(run: Run, client_token: str) -> None:
    with refused("InvalidParameterValueException"):
        run.checkpoint(step(), client_token=client_token)


def test_an_empty_checkpoint_tells_what_happened_meanwhile(run: Run) -> None:
    run.checkpoint(wait(5))
    run.world.sleep(5)
    assert run.checkpoint()["w"]["Status"] == "SUCCEEDED"
    assert run.checkpoint() == {}


def test_a_checkpoint_completes_what_is_due_before_it_answers(run: Run) -> None:
    run.checkpoint(wait(5), retry(5, Error=ERROR))
    run.world.clock.moment += 5000
    changed = run.checkpoint(step(id_="b"))
    assert {found["Id"]: found["Status"] for found in changed.values()} == {
        "w": "SUCCEEDED",
        "a": "READY",
        "b": "STARTED",
    }


def test_an_execution_update_ends_the_writing(run: Run) -> None:
    run.checkpoint(step(), ending(Payload='"large"'))
    assert "CheckpointToken" not in run.reply
    assert run.status == "RUNNING"
    with refused("InvalidParameterValueException"):
        run.checkpoint(step(id_="b"))
    run.answer({"Status": "SUCCEEDED", "Result": ""})
    assert run.world.describe(run.arn)["Result"] == '"large"'
    assert run.world.history(run.arn)[-2:] == ["InvocationCompleted", "ExecutionSucceeded"]


def test_a_recorded_outcome_stands_whatever_the_invocation_does(world: World) -> None:
    ends: list[Any] = [
        lambda run: run.answer(error={"ErrorType": "Runtime.ExitError"}),
        lambda run: run.answer({"Status": "FAILED", "Error": ERROR}),
        lambda run: run.answer(PENDING),
        lambda run: world.service.stop_durable_execution(DurableExecutionArn=run.arn),
    ]
    for end in ends:
        run = world.begin()
        run.checkpoint(ending(Payload="1"))
        end(run)
        assert (run.status, world.describe(run.arn)["Result"]) == ("SUCCEEDED", "1")
    run = world.begin()
    run.checkpoint({**ending(), "Action": "FAIL", "Error": ERROR})
    run.answer({"Status": "FAILED"})
    assert (run.status, world.describe(run.arn)["Error"]) == ("FAILED", ERROR)


def test_operations_are_limited_as_the_platform_meters_them_rule_42() -> None:
    # The start of the execution, one step, its retry: three.
    run = World(limits=Limits(operations=3)).begin()
    run.checkpoint(retry(1, Error=ERROR))
    with refused("InvalidParameterValueException"):
        run.checkpoint(step(id_="b"))
    run.world.sleep(1)
    run.checkpoint(step("SUCCEED", Payload="1"), ending())
    assert run.world.service.meter(DurableExecutionArn=run.arn)["metered"] == 3


def test_stored_bytes_are_limited() -> None:
    run = World(limits=Limits(size_bytes=10)).begin("12345")
    run.checkpoint(step("SUCCEED", Payload="12345"))
    with refused("InvalidParameterValueException"):
        run.checkpoint(step("SUCCEED", "b", Payload="1"))


# State and pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1, 2, 1000])
@pytest.mark.parametrize("page", [1, 2, 1000])
def test_every_page_size_gives_the_same_state(first: int, page: int) -> None:
    world = World(limits=Limits(first_page_operations=first, page_operations=page))
    run = world.begin()
    run.checkpoint(context(id_="x"), step(id_="s", ParentId="x"), wait(9))
    run.answer(PENDING)
    world.sleep(9)
    run.wake()
    state = run.state()
    assert [found["Id"] for found in state[1:]] == ["x", "s", "w"]
    assert len(run.event["InitialExecutionState"]["Operations"]) == min(first, 4)
    assert run.event["UpdatedOperationIds"] == ["w"]


def test_pages_are_bounded_in_bytes_but_never_empty() -> None:
    world = World(limits=Limits(page_bytes=300))
    run = world.begin("1" * 400)
    run.checkpoint(*(step("SUCCEED", str(n), Payload="1" * 200) for n in range(3)))
    assert len(run.reply["NewExecutionState"]["Operations"]) == 1
    run.answer(error=ERROR)
    world.sleep(1)
    run.wake()
    assert [found["Type"] for found in run.event["InitialExecutionState"]["Operations"]] == ["EXECUTION"]
    assert [found["Id"] for found in run.state()[1:]] == ["0", "1", "2"]


@pytest.mark.parametrize("page", [1, 2, 3])
def test_the_answer_to_a_checkpoint_comes_in_pages_too(page: int) -> None:
    world = World(limits=Limits(page_operations=page))
    run = world.begin()
    run.checkpoint(step(id_="s0"), wait(5, id_="w"))
    world.sleep(5)
    found = run.checkpoint(*(step(id_=f"s{n}") for n in range(1, 5)))
    assert len(found) <= page
    marker = run.reply["NewExecutionState"].get("NextMarker")
    while marker:
        reply = world.service.get_durable_execution_state(
            DurableExecutionArn=run.arn, CheckpointToken=run.token, Marker=marker
        )
        found |= {operation["Id"]: operation for operation in reply["Operations"]}
        marker = reply.get("NextMarker")
    assert found.keys() >= {"w", "s1", "s2", "s3", "s4"}
    assert found["w"]["Status"] == "SUCCEEDED"


def test_markers_are_good_for_their_token_and_their_purpose() -> None:
    world = World(limits=Limits(first_page_operations=0))
    run = world.begin()
    marker = run.event["InitialExecutionState"]["NextMarker"]
    history_marker = world.service.get_durable_execution_history(DurableExecutionArn=run.arn).get("NextMarker")
    assert history_marker is None
    state = world.service.get_durable_execution_state
    for wrong in ("x", "%%", "aGlzdG9yeS4xLjE=", marker[:-4]):
        with refused("InvalidParameterValueException"):
            state(DurableExecutionArn=run.arn, CheckpointToken=run.token, Marker=wrong)
    run.checkpoint(step())
    with refused("InvalidParameterValueException"):
        state(DurableExecutionArn=run.arn, CheckpointToken=run.token, Marker=marker)
    with refused("InvalidParameterValueException"):
        state(DurableExecutionArn=run.arn, CheckpointToken="stale", Marker=None)
    assert len(state(DurableExecutionArn=run.arn, CheckpointToken=run.token)["Operations"]) == 2


def test_a_marker_does_not_outlive_its_invocation() -> None:
    world = World(limits=Limits(first_page_operations=0))
    run = world.begin()
    marker = run.event["InitialExecutionState"]["NextMarker"]
    run.answer(error={"ErrorType": "Runtime.ExitError"})
    run.wake()
    with refused("InvalidParameterValueException"):
        world.service.get_durable_execution_state(DurableExecutionArn=run.arn, CheckpointToken=run.token, Marker=marker)


@pytest.mark.parametrize("count", [-1, 1001, True, "7"])
def test_the_size_of_a_page_is_checked(run: Run, count: Any) -> None:
    with refused("InvalidParameterValueException"):
        run.world.service.get_durable_execution_history(DurableExecutionArn=run.arn, MaxItems=count)


def test_children_of_finished_contexts_are_not_sent_unless_they_are_to_be_replayed(run: Run) -> None:
    run.checkpoint(
        context(id_="done"),
        context(id_="done-in", ParentId="done"),
        step(id_="done-in-s", ParentId="done-in"),
        context(id_="again"),
        context(id_="again-done", ParentId="again"),
        step(id_="again-done-s", ParentId="again-done"),
        step(id_="again-s", ParentId="again"),
        context(id_="open"),
        step(id_="open-s", ParentId="open"),
    )
    run.checkpoint(
        context("SUCCEED", "done-in", ParentId="done", ContextOptions={"ReplayChildren": True}),
        context("SUCCEED", "done", Payload="1"),
        context("FAIL", "again-done", ParentId="again"),
        context("SUCCEED", "again", ContextOptions={"ReplayChildren": True}),
    )
    run.answer(error=ERROR)
    run.world.sleep(1)
    run.wake()
    assert [found["Id"] for found in run.state()[1:]] == ["done", "again", "again-done", "again-s", "open", "open-s"]
    everything = run.world.service.operations(DurableExecutionArn=run.arn)
    assert len(everything) == 10


def test_what_happens_inside_a_finished_context_still_wakes_and_is_told_but_is_not_in_the_state(run: Run) -> None:
    run.checkpoint(context(), wait(5, "v", ParentId="x"), wait(9, "w", ParentId="x"))
    run.checkpoint(context("SUCCEED"))
    run.world.sleep(5)
    assert run.checkpoint().keys() == {"v"}
    run.answer(PENDING)
    run.world.sleep(4)
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["w"]
    assert [operation["Id"] for operation in run.state()[1:]] == ["x"]


# The end of an invocation --------------------------------------------------------------------------------------------


def test_an_answer_ends_the_execution(world: World) -> None:
    run = world.begin()
    run.answer(SUCCEEDED)
    ended = world.describe(run.arn)
    assert (ended["Status"], ended["Result"], ended["EndTimestamp"]) == ("SUCCEEDED", '"done"', START / 1000)
    run = world.begin()
    run.answer({"Status": "FAILED", "Error": ERROR})
    assert world.describe(run.arn)["Error"] == ERROR
    assert world.service.is_idle


def test_pending_sleeps_until_something_happens(run: Run) -> None:
    run.checkpoint(wait(5))
    run.answer(PENDING)
    assert (run.world.jobs, run.world.service.next_due()) == ([], START + 5000)
    run.world.sleep(4.999)
    assert run.world.jobs == []
    run.world.sleep(0.001)
    run.wake()
    assert run.event["UpdatedOperationIds"] == ["w"]
    run.answer(SUCCEEDED)
    assert run.status == "SUCCEEDED"
    assert run.world.service.next_due() is None


def test_pending_with_something_unseen_is_invoked_again_at_once(run: Run) -> None:
    run.checkpoint(wait(5))
    run.world.sleep(5)
    assert run.world.jobs == []
    run.answer(PENDING)
    run.wake()
    assert {found["Id"]: found["Status"] for found in run.state()}["w"] == "SUCCEEDED"


def test_many_things_that_happen_at_once_wake_once(run: Run) -> None:
    run.checkpoint(wait(5, "w1"), wait(5, "w2"), callback(TimeoutSeconds=5))
    run.answer(PENDING)
    run.world.sleep(5)
    run.wake()
    assert sorted(run.event["UpdatedOperationIds"]) == ["c", "w1", "w2"]
    assert run.world.jobs == []


def test_pending_with_nothing_pending_is_tried_three_times(run: Run) -> None:
    run.checkpoint(step("SUCCEED"))
    for _ in range(2):
        run.answer(PENDING)
        run.wake()
    run.answer(PENDING)
    assert run.world.describe(run.arn)["Error"]["ErrorMessage"].startswith("Cannot return PENDING status")
    assert run.world.history(run.arn).count("InvocationCompleted") == 3


@pytest.mark.parametrize("output", [None, "text", 7, {"Status": "MAYBE"}, {"Status": "SUCCEEDED", "Error": {}}])
def test_an_invalid_answer_fails_the_execution(run: Run, output: Any) -> None:
    run.answer(output)
    assert run.world.describe(run.arn)["Error"]["ErrorType"] == "InvalidParameterValueException"
    assert run.world.events(run.arn)[-2]["InvocationCompletedDetails"]["Error"]["Payload"]


def test_what_leaves_the_handler_is_tried_again_with_growing_delays(run: Run) -> None:
    delays = []
    for _ in range(5):
        run.answer(error=ERROR)
        due = run.world.service.next_due()
        assert due is not None
        delays.append((due - run.world.clock.moment) // 1000)
        run.world.sleep(delays[-1])
        run.wake()
    assert delays == [1, 2, 4, 8, 16]
    assert run.world.service.meter(DurableExecutionArn=run.arn)["failures"] == 5
    run.checkpoint(wait(1))
    run.answer(PENDING)
    assert run.world.service.meter(DurableExecutionArn=run.arn)["failures"] == 0


@pytest.mark.parametrize(("kind", "delays"), [("Runtime.ExitError", [0, 0, 0, 1, 2]), ("Sandbox.Timedout", [1, 2, 4])])
def test_a_crash_is_made_good_at_once_three_times(run: Run, kind: str, delays: list[int]) -> None:
    for delay in delays:
        run.answer(error={"ErrorType": kind, "ErrorMessage": "exit 9"})
        assert len(run.world.jobs) == (delay == 0)
        run.world.sleep(delay)
        run.wake()


def test_what_fails_for_hours_fails_the_execution() -> None:
    world = World(retries=Retries(give_up_seconds=10))
    run = world.begin()
    for delay in (1, 2, 4):
        run.answer(error=ERROR)
        world.sleep(delay)
        run.wake()
    run.answer(error=ERROR)
    assert (run.status, world.describe(run.arn)["Error"]) == ("FAILED", ERROR)
    assert world.service.next_due() is None


def test_delays_stop_growing() -> None:
    retries = Retries(longest_seconds=100)
    assert retries.delay_ms(10_000, is_crash=False) == 100_000


def test_what_happens_during_a_back_off_wakes_at_once(run: Run) -> None:
    run.checkpoint(callback())
    run.answer(error=ERROR)
    _answer(run)
    run.wake()
    assert run.world.service.next_due() is None


def test_the_end_of_an_unknown_or_superseded_job_is_ignored(run: Run) -> None:
    service = run.world.service
    service.invocation_ended("unknown", output=SUCCEEDED)
    service.stop_durable_execution(DurableExecutionArn=run.arn)
    events = run.world.events(run.arn)
    run.answer(SUCCEEDED)
    run.answer(SUCCEEDED)
    assert run.world.events(run.arn) == events
    assert service.is_idle


def test_a_job_that_cannot_be_started_has_failed() -> None:
    class Refusing(World):
        def start(self, job: Any) -> None:
            raise OSError(f"no process for {job.function.name}")

    world = Refusing()
    arn = world.service.invoke(FunctionName="flow", InvocationType="Event")["DurableExecutionArn"]
    first = world.events(arn)[1]["InvocationCompletedDetails"]["Error"]["Payload"]
    assert first["ErrorType"] == "Runtime.StartError"
    assert "no process" in first["ErrorMessage"]
    assert world.service.next_due() == START + 1000


def test_what_cannot_be_read_fails_an_execution_that_has_done_nothing_and_no_other() -> None:
    class Edited(World):
        is_broken = False

        def start(self, job: Any) -> None:
            if self.is_broken:
                raise UsageError(diagnostic("DF701", "the file of 'flow' is gone"))
            super().start(job)

    world = Edited()
    begun = world.begin()
    begun.checkpoint(wait(5))
    begun.answer(PENDING)
    world.is_broken = True
    arn = world.service.invoke(FunctionName="flow", InvocationType="Event")["DurableExecutionArn"]
    world.sleep(5)

    found = world.describe(arn)
    assert (found["Status"], found["Error"]["ErrorType"]) == ("FAILED", "Runtime.StartError")
    assert found["Error"]["ErrorMessage"] == "the invocation could not be started: DF701 the file of 'flow' is gone"
    assert begun.status == "RUNNING"

    world.is_broken = False
    world.sleep(1)
    begun.wake()
    begun.answer(SUCCEEDED)
    assert begun.status == "SUCCEEDED"


# Chained invokes -----------------------------------------------------------------------------------------------------


def test_a_plain_target_runs_and_its_result_wakes_the_caller(run: Run) -> None:
    run.checkpoint(call("echo", payload='{"a":1}', Name="call"))
    run.answer(PENDING)
    job = run.world.job()
    assert (job.kind, job.payload, job.operation_name, job.operation_id) == ("plain", '{"a":1}', "call", "i")
    assert (job.execution_arn, job.call_number, job.event) == (run.arn, 0, None)
    run.world.service.invocation_ended(job.id, output={"b": [2]})
    run.wake()
    assert run.state()[1]["ChainedInvokeDetails"] == {"Result": '{"b":[2]}'}


def test_a_target_may_answer_with_any_text_or_an_error(run: Run) -> None:
    run.checkpoint(call("echo", "i"), call("echo", "j"), call("echo", "k"))
    run.answer(PENDING)
    texts, errors, nothing = (run.world.job() for _ in range(3))
    run.world.service.invocation_ended(texts.id, text="not JSON")
    run.world.service.invocation_ended(errors.id, error=ERROR)
    run.wake()
    run.world.service.invocation_ended(nothing.id)
    assert run.checkpoint()["k"]["ChainedInvokeDetails"] == {"Result": "null"}
    found = {operation["Id"]: operation for operation in run.world.service.operations(DurableExecutionArn=run.arn)}
    assert found["i"]["ChainedInvokeDetails"] == {"Result": "not JSON"}
    assert (found["j"]["Status"], found["j"]["ChainedInvokeDetails"]) == ("FAILED", {"Error": ERROR})


def test_starts_of_a_function_are_counted_for_each_execution(world: World) -> None:
    world.functions["other"] = Function(name="other", is_durable=False)
    numbers = []
    for _ in range(2):
        run = world.begin()
        run.checkpoint(call("echo", "i"), call("other", "j"), call("echo", "k"))
        numbers += [(world.jobs[n].function.name, world.jobs[n].call_number) for n in range(3)]
        world.jobs.clear()
    assert numbers == [("echo", 0), ("other", 0), ("echo", 1)] * 2


def test_a_result_over_a_mebibyte_fails_the_operation(run: Run) -> None:
    run.checkpoint(call("echo", "i"), call("echo", "j"))
    for size in (1_048_576, 1_048_577):
        run.world.service.invocation_ended(run.world.job().id, text="1" * size)
    changed = run.checkpoint()
    assert (changed["i"]["Status"], changed["j"]["Status"]) == ("SUCCEEDED", "FAILED")


def test_a_target_that_takes_too_long_times_out(run: Run) -> None:
    run.checkpoint(call("echo"))
    run.answer(PENDING)
    job = run.world.job()
    run.world.sleep(900)
    run.wake()
    assert run.state()[1]["Status"] == "TIMED_OUT"
    assert run.state()[1]["ChainedInvokeDetails"]["Error"]["ErrorType"] == "ChainedInvoke.Timeout"
    run.world.service.invocation_ended(job.id, output=1)
    assert run.checkpoint() == {}


def test_an_unknown_target_has_failed_in_the_same_answer(run: Run) -> None:
    changed = run.checkpoint(call("nothing:live"))
    assert changed["i"]["ChainedInvokeDetails"]["Error"] == {
        "ErrorType": "ResourceNotFoundException",
        "ErrorMessage": "Function not found: nothing:live",
    }
    assert run.world.jobs == []


def test_a_durable_target_is_an_execution_of_its_own(run: Run) -> None:
    run.checkpoint(call("child:alias", payload='{"a":1}'))
    started = run.world.events(run.arn)[-1]["ChainedInvokeStartedDetails"]
    child = Run(world=run.world, arn=started["DurableExecutionArn"])
    assert started["ExecutedVersion"] == "7"
    assert child.event["InitialExecutionState"]["Operations"][0]["ExecutionDetails"] == {"InputPayload": '{"a":1}'}
    run.answer(PENDING)
    child.answer(SUCCEEDED)
    run.wake()
    assert run.state()[1]["ChainedInvokeDetails"] == {"Result": '"done"'}


def test_a_child_is_named_by_its_caller_and_operation() -> None:
    arns = []
    for _ in range(2):
        run = World().begin(name="parent")
        run.checkpoint(call("child", "i"), call("child", "j"))
        arns.append(
            [event["ChainedInvokeStartedDetails"]["DurableExecutionArn"] for event in run.world.events(run.arn)[1:]]
        )
    assert arns[0] == arns[1]
    assert len(set(arns[0])) == 2


def _child_of(run: Run) -> Run:
    run.checkpoint(call("child"))
    arn = run.world.events(run.arn)[-1]["ChainedInvokeStartedDetails"]["DurableExecutionArn"]
    child = Run(world=run.world, arn=arn)
    run.answer(PENDING)
    return child


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (lambda child: child.answer({"Status": "FAILED", "Error": ERROR}), "FAILED", ERROR),
        (
            lambda child: child.world.service.stop_durable_execution(DurableExecutionArn=child.arn, Error=ERROR),
            "STOPPED",
            ERROR,
        ),
        (
            lambda child: child.world.sleep(100),
            "TIMED_OUT",
            {"ErrorType": "ChainedInvoke.Timeout", "ErrorMessage": "Function timed out after 100 seconds"},
        ),
        (
            lambda child: child.answer({"Status": "SUCCEEDED", "Result": "1" * 1_048_577}),
            "FAILED",
            {
                "ErrorType": "InvalidParameterValueException",
                "ErrorMessage": "The result of a chained invoke must be less than or equal to 1048576 bytes.",
            },
        ),
    ],
    ids=["failed", "stopped", "timed out", "too large"],
)
def test_the_end_of_a_child_is_the_end_of_the_operation(run: Run, end: Any, status: str, error: Any) -> None:
    child = _child_of(run)
    end(child)
    run.wake()
    operation = run.state()[1]
    assert (operation["Status"], operation["ChainedInvokeDetails"]) == (status, {"Error": error})


def test_executions_that_start_one_another_without_end_are_stopped(world: World) -> None:
    run, depth = world.begin(), 1
    while True:
        changed = run.checkpoint(call("child"), call("echo", "e"))
        assert changed["e"]["Status"] == "STARTED"
        if changed["i"]["Status"] == "FAILED":
            break
        run.answer(PENDING)
        job = next(job for job in world.jobs if job.kind == "durable")
        world.jobs[:] = [job]
        run, depth = Run(world=world, arn=job.execution_arn or ""), depth + 1
    assert changed["i"]["ChainedInvokeDetails"]["Error"]["ErrorType"] == "RecursiveInvocationException"
    assert depth == Limits().depth == len(world.service.list_executions()["DurableExecutions"])


def test_children_outlive_their_caller(run: Run) -> None:
    child = _child_of(run)
    run.world.service.stop_durable_execution(DurableExecutionArn=run.arn)
    child.answer(SUCCEEDED)
    assert (child.status, run.status) == ("SUCCEEDED", "STOPPED")
    assert run.world.service.operations(DurableExecutionArn=run.arn)[1]["Status"] == "STARTED"
    assert run.world.jobs == []


# Callbacks -----------------------------------------------------------------------------------------------------------


def _callback_id(run: Run, id_: str = "c") -> str:
    found = run.world.service.operations(DurableExecutionArn=run.arn)
    return next(o["CallbackDetails"]["CallbackId"] for o in found if o["Id"] == id_)


def _answer(run: Run, result: Any = b"1", id_: str = "c") -> None:
    run.world.service.send_durable_execution_callback_success(CallbackId=_callback_id(run, id_), Result=result)


def test_an_answer_wakes_the_execution_and_is_kept_verbatim(run: Run) -> None:
    run.checkpoint(callback())
    run.answer(PENDING)
    _answer(run, '{"a":  "é"}'.encode())
    run.wake()
    assert run.state()[1]["CallbackDetails"]["Result"] == '{"a":  "é"}'


def test_an_answer_may_be_empty_or_a_failure(run: Run) -> None:
    run.checkpoint(callback("c"), callback("d"), callback("e"))
    _answer(run, None)
    fail = run.world.service.send_durable_execution_callback_failure
    assert fail(CallbackId=_callback_id(run, "d"), Error=ERROR) == {}
    assert fail(CallbackId=_callback_id(run, "e")) == {}
    changed = run.checkpoint()
    assert changed["c"]["Status"] == "SUCCEEDED"
    assert "Result" not in changed["c"]["CallbackDetails"]
    assert changed["d"]["CallbackDetails"]["Error"] == ERROR
    assert (changed["e"]["Status"], changed["e"]["CallbackDetails"]["Error"]) == ("FAILED", {})


def test_the_first_answer_counts(run: Run) -> None:
    run.checkpoint(callback())
    _answer(run, b"1")
    service = run.world.service
    for again in (
        lambda: _answer(run, b"1"),
        lambda: service.send_durable_execution_callback_failure(CallbackId=_callback_id(run)),
        lambda: service.send_durable_execution_callback_heartbeat(CallbackId=_callback_id(run)),
    ):
        with refused("InvalidParameterValueException"):
            again()
    assert run.checkpoint()["c"]["CallbackDetails"]["Result"] == "1"


def test_answers_do_not_cross_executions(world: World) -> None:
    one, two = world.begin(), world.begin()
    one.checkpoint(callback())
    two.checkpoint(callback())
    assert _callback_id(one) != _callback_id(two)
    _answer(one)
    assert (one.checkpoint().keys(), two.checkpoint()) == ({"c"}, {})


def test_a_callback_times_out(run: Run) -> None:
    run.checkpoint(callback("c", TimeoutSeconds=5), callback("h", HeartbeatTimeoutSeconds=3))
    run.answer(PENDING)
    run.world.sleep(3)
    run.wake()
    run.answer(PENDING)
    run.world.sleep(2)
    run.wake()
    found = {operation["Id"]: operation for operation in run.state()}
    assert found["h"]["CallbackDetails"]["Error"]["ErrorType"] == "Callback.Heartbeat"
    assert found["c"]["CallbackDetails"]["Error"]["ErrorType"] == "Callback.Timeout"
    with refused("CallbackTimeoutException"):
        _answer(run)


def test_what_has_run_out_is_closed_before_anyone_has_looked(run: Run) -> None:
    run.checkpoint(callback(TimeoutSeconds=5))
    run.world.clock.moment += 5000
    service = run.world.service
    for late in (
        lambda: _answer(run),
        lambda: service.send_durable_execution_callback_heartbeat(CallbackId=_callback_id(run)),
    ):
        with refused("CallbackTimeoutException"):
            late()
    assert run.checkpoint()["c"]["Status"] == "TIMED_OUT"


def test_a_heartbeat_starts_its_timer_anew_and_nothing_else(run: Run) -> None:
    run.checkpoint(callback(TimeoutSeconds=70, HeartbeatTimeoutSeconds=3))
    run.answer(PENDING)
    before = run.world.events(run.arn)
    beat = run.world.service.send_durable_execution_callback_heartbeat
    for _ in range(2):
        run.world.sleep(2)
        assert beat(CallbackId=_callback_id(run)) == {}
        assert run.world.service.next_due() == run.world.clock.moment + 3000
    assert (run.world.events(run.arn), run.world.jobs) == (before, [])
    run.world.sleep(3)
    run.wake()
    assert run.state()[1]["CallbackDetails"]["Error"]["ErrorType"] == "Callback.Heartbeat"


def test_a_heartbeat_where_none_is_awaited_arms_nothing(run: Run) -> None:
    run.checkpoint(callback())
    run.world.service.send_durable_execution_callback_heartbeat(CallbackId=_callback_id(run))
    assert run.world.service.next_due() is None


def test_an_unknown_callback_is_not_found(run: Run) -> None:
    for send in ("success", "failure", "heartbeat"):
        with refused("ResourceNotFoundException", 404):
            getattr(run.world.service, f"send_durable_execution_callback_{send}")(CallbackId="QUJD/+8=")


def test_an_answer_after_the_end_of_the_execution_is_refused(run: Run) -> None:
    run.checkpoint(callback())
    run.answer(SUCCEEDED)
    service = run.world.service
    for late in (
        lambda: _answer(run),
        lambda: service.send_durable_execution_callback_heartbeat(CallbackId=_callback_id(run)),
    ):
        with refused("InvalidParameterValueException"):
            late()


def test_an_answer_is_bounded(run: Run) -> None:
    run.checkpoint(callback("c"), callback("d"))
    _answer(run, b"1" * 262_144)
    with refused("RequestTooLargeException", 413):
        _answer(run, b"1" * 262_145, "d")
    with refused("InvalidParameterValueException"):
        run.world.service.send_durable_execution_callback_failure(
            CallbackId=_callback_id(run, "d"), Error={"ErrorMessage": "x" * 40_000}
        )


# Stop, time-out, listing ---------------------------------------------------------------------------------------------


def test_a_stop_ends_the_execution_and_leaves_the_rest_open(run: Run) -> None:
    run.checkpoint(wait(5), callback(TimeoutSeconds=9), call("echo"))
    run.world.clock.moment += 1000
    stop = run.world.service.stop_durable_execution
    assert stop(DurableExecutionArn=run.arn, Error=ERROR) == {"StopTimestamp": START / 1000 + 1}
    assert (run.status, run.world.describe(run.arn)["Error"]) == ("STOPPED", ERROR)
    assert run.world.history(run.arn)[-1] == "ExecutionStopped"
    with refused("InvalidParameterValueException") as caught:
        run.checkpoint(step())
    assert caught.value.problem.message == "Invalid checkpoint token"
    run.world.sleep(20)
    assert stop(DurableExecutionArn=run.arn) == {"StopTimestamp": START / 1000 + 1}
    assert {o["Status"] for o in run.world.service.operations(DurableExecutionArn=run.arn)[1:]} == {"STARTED"}
    assert run.world.service.next_due() is None


def test_a_stop_without_an_error_says_who(run: Run) -> None:
    run.world.service.stop_durable_execution(DurableExecutionArn=run.arn)
    assert run.world.describe(run.arn)["Error"] == {"ErrorMessage": "Execution stopped by user request."}


@pytest.mark.parametrize("error", [{"ErrorType": 7}, {"ErrorMessage": "x" * 40_000}, "text"])
def test_a_stop_takes_an_error_object(run: Run, error: Any) -> None:
    with refused("InvalidParameterValueException"):
        run.world.service.stop_durable_execution(DurableExecutionArn=run.arn, Error=error)


def test_an_execution_times_out(world: World) -> None:
    run = world.begin(function="child")
    assert world.service.next_due() == START + 100_000
    run.checkpoint(wait(500))
    run.answer(PENDING)
    world.sleep(100)
    assert (run.status, world.history(run.arn)[-1], world.jobs) == ("TIMED_OUT", "ExecutionTimedOut", [])
    assert world.service.next_due() is None


def test_nothing_else_happens_at_the_moment_at_which_an_execution_times_out(world: World) -> None:
    run = world.begin(function="child")
    run.checkpoint(wait(100))
    run.answer(PENDING)
    world.sleep(100)
    assert world.history(run.arn)[-2:] == ["InvocationCompleted", "ExecutionTimedOut"]
    assert world.service.operations(DurableExecutionArn=run.arn)[1]["Status"] == "STARTED"


def test_what_does_not_exist_is_not_found(world: World) -> None:
    service = world.service
    for look in (
        service.get_durable_execution,
        service.get_durable_execution_history,
        service.stop_durable_execution,
        service.operations,
        service.meter,
        service.wait,
        service.events,
    ):
        with refused("ResourceNotFoundException", 404):
            look(DurableExecutionArn="arn:nothing")
    with refused("ResourceNotFoundException", 404):
        service.list_durable_executions_by_function(FunctionName="nothing")
    with refused("InvalidParameterValueException"):
        service.list_durable_executions_by_function(FunctionName="no name")


def test_executions_are_listed_newest_first(world: World) -> None:
    runs = []
    for name in ("one", "two", "three"):
        runs.append(world.begin(name=name))
        world.clock.moment += 1000
    runs[1].answer(SUCCEEDED)
    world.begin(name="two", function="child")

    def names(**members: Any) -> list[str]:
        reply = world.service.list_durable_executions_by_function(FunctionName="flow", **members)
        return [item["DurableExecutionName"] for item in reply["DurableExecutions"]]

    assert names() == names(Qualifier="alias") == ["three", "two", "one"]
    assert names(ReverseOrder=True) == ["one", "two", "three"]
    assert names(Statuses=["SUCCEEDED", "FAILED"]) == ["two"]
    assert names(Statuses=["RUNNING"], DurableExecutionName="one") == ["one"]
    assert names(StartedAfter=START / 1000) == ["three", "two"]
    assert names(StartedBefore=START / 1000 + 2) == ["two", "one"]
    assert names(Qualifier="9") == []
    everything = world.service.list_executions(DurableExecutionName="two")["DurableExecutions"]
    assert [item["FunctionArn"].split(":")[-2] for item in everything] == ["child", "flow"]
    with refused("InvalidParameterValueException"):
        names(Statuses=["OPEN"])


@pytest.mark.parametrize("is_oldest_first", [True, False])
def test_a_list_comes_in_pages(world: World, is_oldest_first: bool) -> None:
    for n in range(5):
        world.begin(name=str(n))
    found: list[str] = []
    marker = None
    while True:
        page = world.service.list_executions(MaxItems=2, Marker=marker, ReverseOrder=is_oldest_first)
        assert len(page["DurableExecutions"]) <= 2
        found += [item["DurableExecutionName"] for item in page["DurableExecutions"]]
        marker = page.get("NextMarker")
        if marker is None:
            break
    assert found == [str(n) for n in (range(5) if is_oldest_first else reversed(range(5)))]


def test_an_execution_tells_what_it_took(run: Run) -> None:
    run.checkpoint(retry(1, Error=ERROR), wait(5))
    run.answer(PENDING)
    run.world.sleep(1)
    run.wake()
    run.checkpoint(step(), call("echo", payload="12"))
    error_bytes = len('{"ErrorType":"Broken","ErrorMessage":"it broke"}')
    assert run.world.service.meter(DurableExecutionArn=run.arn) == {
        "operations": 3,
        "metered": 5,  # the execution, step and its retry, wait, invoke
        "invocations": 2,
        "bytes": len('{"n":1}') + error_bytes + 2,
        "failures": 0,
    }


def test_waiting_for_the_end(run: Run) -> None:
    wait_for = run.world.service.wait
    assert wait_for(DurableExecutionArn=run.arn, timeout_seconds=0) is None
    run.answer(SUCCEEDED)
    ended = wait_for(DurableExecutionArn=run.arn)
    assert ended is not None
    assert ended["Status"] == "SUCCEEDED"


def test_whoever_waits_is_told_when_the_service_is_about_to_end(run: Run) -> None:
    told: list[str] = []

    def wait() -> None:
        try:
            run.world.service.wait(DurableExecutionArn=run.arn, timeout_seconds=30)
        except ServiceError as error:
            told.append(error.name)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.05)
    run.world.service.leave()
    waiting.join(5)
    assert told == ["ServiceException"]


# Listeners and idleness ----------------------------------------------------------------------------------------------


def test_listeners_are_told_of_what_is_committed_in_order(run: Run) -> None:
    run.checkpoint(step(), step("SUCCEED", Payload="1"))
    with refused("InvalidParameterValueException"):
        run.checkpoint(step())
    run.answer(SUCCEEDED)
    # The API's replies have the execution's own id besides; it goes without saying for whoever is told the ARN.
    own = {"Id": run.arn.split("/")[-1], "Name": run.arn.split("/")[-2]}
    told = [{**own, **event} if event["EventType"].startswith("Execution") else event for _, event in run.world.told]
    assert told == run.world.events(run.arn)
    assert {arn for arn, _ in run.world.told} == {run.arn}


def test_a_listener_may_fail_leave_and_ask(world: World) -> None:
    seen: list[Any] = []

    def asking(arn: str, _event: Any) -> None:
        seen.append(world.service.get_durable_execution(DurableExecutionArn=arn)["Status"])
        raise RuntimeError

    leave = world.service.subscribe(asking)
    run = world.begin()
    leave()
    leave()
    run.answer(SUCCEEDED)
    assert seen == ["RUNNING"]
    assert run.status == "SUCCEEDED"


def test_a_long_chain_of_jobs_that_end_at_once_is_no_deep_recursion() -> None:
    class Chain(World):
        """Answers PENDING to each of five hundred waits that are over before it has looked."""

        def start(self, job: Any) -> None:
            event, service = job.event, self.service
            n = len(event["InitialExecutionState"]["Operations"]) - 1
            if n >= 500:
                service.invocation_ended(job.id, output=SUCCEEDED)
                return
            service.checkpoint_durable_execution(
                DurableExecutionArn=job.execution_arn,
                CheckpointToken=event["CheckpointToken"],
                Updates=[wait(1, f"w{n}")],
            )
            self.clock.moment += 1000
            service.run_due()
            service.invocation_ended(job.id, output=PENDING)

    world = Chain()
    arn = world.service.invoke(FunctionName="flow", InvocationType="Event")["DurableExecutionArn"]
    assert world.describe(arn)["Status"] == "SUCCEEDED"


def test_idle_is_when_nothing_runs(run: Run) -> None:
    service = run.world.service
    assert not service.is_idle
    run.checkpoint(call("echo"), wait(5))
    run.answer(PENDING)
    assert not service.is_idle
    service.invocation_ended(run.world.job().id)
    run.wake()
    run.answer(PENDING)
    assert service.is_idle


def test_more_timers_than_one_look_takes_are_all_seen(run: Run) -> None:
    run.checkpoint(*(wait(5, f"w{n}") for n in range(250)))
    run.answer(PENDING)
    run.world.sleep(5)
    run.wake()
    assert len(run.event["UpdatedOperationIds"]) == 200
    assert len(run.checkpoint()) == 50


@pytest.mark.parametrize("seconds", [1, 2_142_720, 2_151_360, 31_622_400])
def test_a_wait_of_any_length_ends_on_its_second(run: Run, seconds: int) -> None:
    run.checkpoint(wait(seconds))
    run.answer(PENDING)
    run.world.sleep(seconds - 0.001)
    assert run.world.jobs == []
    run.world.sleep(0.001)
    assert len(run.world.jobs) == 1


# Clocks --------------------------------------------------------------------------------------------------------------


def test_a_skipping_clock_jumps_forward_only(world: World) -> None:
    clock = SkipClock(world.clock)
    assert clock.now() == START
    clock.jump_to(START + 3_600_000)
    clock.jump_to(START)
    assert clock.now() == START + 3_600_000
    world.clock.moment += 5
    assert clock.now() == START + 3_600_005


def test_the_clock_of_the_machine_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    now = clock.now()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert clock.now() == now
