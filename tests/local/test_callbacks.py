"""Open callbacks as people see them, and answers that are known before."""

from typing import Any

import pytest
from scripted import ERROR, PENDING, START, Run, World, call, callback, context, retry, step, wait

from durableflow.errors import ServiceError

NAMES = {("flow", "order"): {"ask": ["1", "2"]}}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(world: World) -> Run:
    return world.begin(name="order")


def asked(id_: str = "c", **options: Any) -> Any:
    return {**callback(id_, **options), "Name": "ask"}


def answers(run: Run) -> dict[str, Any]:
    """Status and result of each callback."""
    found = run.world.service.operations(DurableExecutionArn=run.arn)
    return {
        operation["Id"]: operation["CallbackDetails"].get("Result", operation["Status"])
        for operation in found
        if operation["Type"] == "CALLBACK"
    }


# Telling -------------------------------------------------------------------------------------------------------------


def test_an_open_callback_says_whose_it_is_and_when_it_times_out(run: Run) -> None:
    changed = run.checkpoint(asked(TimeoutSeconds=60, HeartbeatTimeoutSeconds=5))

    (told,) = run.world.service.callbacks(DurableExecutionArn=run.arn)

    assert told == {
        "CallbackId": changed["c"]["CallbackDetails"]["CallbackId"],
        "Name": "ask",
        "Status": "STARTED",
        "DurableExecutionArn": run.arn,
        "DurableExecutionName": "order",
        "StartTimestamp": START / 1000,
        "TimeoutTimestamp": START / 1000 + 60,
        "HeartbeatTimeoutTimestamp": START / 1000 + 5,
    }
    assert run.world.service.callback(CallbackId=told["CallbackId"]) == told


def test_only_what_can_be_answered_is_open(world: World) -> None:
    one, two = world.begin(name="one"), world.begin(name="two")
    one.checkpoint(asked("a"), asked("b"), wait(5), call("echo"), step(id_="s", Name='"Type":"CALLBACK"'))
    two.checkpoint(asked("c"))
    (first, second, third) = world.service.callbacks()
    assert [each["DurableExecutionName"] for each in (first, second, third)] == ["one", "one", "two"]

    world.service.send_durable_execution_callback_failure(CallbackId=first["CallbackId"], Error=ERROR)
    world.service.stop_durable_execution(DurableExecutionArn=two.arn)

    assert world.service.callbacks() == [second]
    assert world.service.callbacks(DurableExecutionArn=two.arn) == []
    assert world.service.callback(CallbackId=first["CallbackId"])["Status"] == "FAILED"


def test_the_callbacks_of_children_count_when_they_are_asked_for(run: Run) -> None:
    run.checkpoint(call("child"))
    run.answer(PENDING)
    child = Run(world=run.world, arn=run.world.jobs[0].execution_arn or "")
    child.checkpoint(asked())
    service = run.world.service
    (told,) = service.callbacks(DurableExecutionArn=child.arn)
    assert service.callbacks(DurableExecutionArn=run.arn) == []
    assert service.callbacks(DurableExecutionArn=run.arn, WithChildren=True) == [told]
    assert service.callbacks(DurableExecutionArn=run.world.begin().arn, WithChildren=True) == []


def test_what_does_not_exist_is_not_found(world: World) -> None:
    for ask in (
        lambda: world.service.callbacks(DurableExecutionArn="nothing"),
        lambda: world.service.callback(CallbackId="QUJD"),
    ):
        with pytest.raises(ServiceError) as caught:
            ask()
        assert caught.value.name == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("outer", "own", "name"),
    [
        ({"Name": "ask", "SubType": "WaitForCallback"}, {"Name": "ask"}, "ask"),
        ({"Name": "ask", "SubType": "WaitForCallback"}, {}, "ask"),
        ({"Name": "branch", "SubType": "ParallelBranch"}, {"Name": "ask"}, "ask"),
        ({"Name": "branch", "SubType": "ParallelBranch"}, {}, ""),
    ],
)
def test_a_callback_is_called_as_the_state_that_waits(run: Run, outer: Any, own: Any, name: str) -> None:
    run.checkpoint(context(**outer), {**callback(), "ParentId": "x", **own})
    (told,) = run.world.service.callbacks()
    assert told["Name"] == name


# Answers that are known before ---------------------------------------------------------------------------------------


def test_answers_are_used_in_order_and_the_last_repeats(run: Run) -> None:
    for id_, answer in (("a", "1"), ("b", "2"), ("c", "2")):
        run.checkpoint(asked(id_))
        run.answer(PENDING)
        run.world.service.answer_callbacks(NAMES)
        run.wake()
        assert answers(run)[id_] == answer


def test_callbacks_that_are_open_together_are_answered_in_the_order_of_their_start(run: Run) -> None:
    run.checkpoint(asked("a"), asked("b"), asked("c"))
    run.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"a": "1", "b": "2", "c": "2"}
    assert len(run.world.jobs) == 1


def test_a_callback_that_timed_out_has_used_no_answer(run: Run) -> None:
    run.checkpoint(asked("a", TimeoutSeconds=5))
    run.world.sleep(5)
    run.checkpoint(asked("b"))
    run.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"a": "TIMED_OUT", "b": "1"}


SILENT = {("flow", "order"): {"ask": [None, "1", None, "2"]}}


def test_no_answer_is_one_in_the_order_too(run: Run) -> None:
    run.checkpoint(asked("a", TimeoutSeconds=9), asked("b"), asked("c"), asked("d"), asked("e"))
    run.answer(PENDING)
    assert run.world.service.answer_callbacks(SILENT)
    assert answers(run) == {"a": "STARTED", "b": "1", "c": "STARTED", "d": "2", "e": "2"}
    run.wake()
    run.answer(PENDING)
    assert not run.world.service.answer_callbacks(SILENT), "those that were passed over stay so"
    run.world.sleep(9)
    run.wake()
    run.checkpoint(asked("f"))
    run.answer(PENDING)
    run.world.service.answer_callbacks(SILENT)
    assert answers(run) == {"a": "TIMED_OUT", "b": "1", "c": "STARTED", "d": "2", "e": "2", "f": "2"}


def test_what_timed_out_has_used_the_lack_of_an_answer(run: Run) -> None:
    run.checkpoint(asked("a", TimeoutSeconds=5))
    run.answer(PENDING)
    assert not run.world.service.answer_callbacks(SILENT)
    run.world.sleep(5)
    run.wake()
    run.checkpoint(asked("b"), asked("c"))
    run.answer(PENDING)
    run.world.service.answer_callbacks(SILENT)
    assert answers(run) == {"a": "TIMED_OUT", "b": "1", "c": "STARTED"}


def test_what_has_run_out_is_not_answered(run: Run) -> None:
    run.checkpoint(asked("a", TimeoutSeconds=5))
    run.answer(PENDING)
    run.world.clock.moment += 5000
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"a": "STARTED"}
    run.world.service.run_due()
    assert answers(run) == {"a": "TIMED_OUT"}


def test_nobody_is_answered_before_the_execution_sleeps_and_the_submit_states_have_ended(run: Run) -> None:
    outer = {"Name": "ask", "SubType": "WaitForCallback"}
    inside = {"ParentId": "x"}
    run.checkpoint(context(**outer), {**asked(), **inside})
    run.checkpoint(context(id_="y", **inside), retry(3, ParentId="y", Error=ERROR), call("echo", **inside))
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"c": "STARTED"}, "the invocation is in flight"
    run.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"c": "STARTED"}, "a submit state is tried again"
    run.world.service.invocation_ended(run.world.job().id, text="1")
    run.wake()
    run.world.sleep(3)
    run.checkpoint(step("SUCCEED", ParentId="y"), context("SUCCEED", "y", **inside))
    run.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"c": "1"}


def test_the_callbacks_of_a_child_are_answered_too(run: Run) -> None:
    run.checkpoint(call("child"))
    run.answer(PENDING)
    child = Run(world=run.world, arn=run.world.jobs[0].execution_arn or "")
    child.checkpoint(asked())
    child.answer(PENDING)
    other = run.world.begin(name="another")
    other.checkpoint(asked("o"))
    other.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert (answers(child), answers(other)) == ({"c": "1"}, {"o": "STARTED"})


@pytest.mark.parametrize(
    ("name", "is_answered"), [("ask", True), ("all[3]/ask", True), ("task", False), ("ask/x", False)]
)
def test_a_name_means_the_state_also_in_a_flat_body(run: Run, name: str, is_answered: bool) -> None:
    run.checkpoint({**callback(), "Name": name})
    run.answer(PENDING)
    run.world.service.answer_callbacks(NAMES)
    assert answers(run) == {"c": "1" if is_answered else "STARTED"}
