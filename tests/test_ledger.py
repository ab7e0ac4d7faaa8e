"""The ledger: every cell of its table, every rule of the service, in the service's words."""

from itertools import product
from typing import Any

import pytest

from durableflow import ledger
from durableflow.errors import ServiceError
from durableflow.ledger import Arm, Changes, Disarm, EndExecution, Ledger, Limits, OpenCallback, StartTarget, Target

NOW = 1_767_225_600_000
STATUSES = ("STARTED", "PENDING", "READY", "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "STOPPED")
TYPES = ("STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE", "CONTEXT")
ACTIONS = ("START", "SUCCEED", "FAIL", "RETRY", "CANCEL")
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("STEP", "RETRY"): {"StepOptions": {"NextAttemptDelaySeconds": 5}},
    ("WAIT", "START"): {"WaitOptions": {"WaitSeconds": 60}},
    ("CHAINED_INVOKE", "START"): {"ChainedInvokeOptions": {"FunctionName": "charge:1"}},
}
ECHO = Target(name="charge", version="1")


def update(type_: str = "STEP", action: str = "START", id_: str = "a", **members: Any) -> Any:
    return {"Id": id_, "Type": type_, "Action": action, **OPTIONS.get((type_, action), {}), **members}


def operation(type_: str, status: str, id_: str = "a", **members: Any) -> Any:
    return {"Id": id_, "Type": type_, "Status": status, "StartTimestamp": NOW - 10_000, **members}


def apply(*updates: Any, recorded: Any = (), target: Any = ECHO, limits: Limits | None = None) -> Changes:
    known = {found["Id"]: found for found in recorded}
    book = Ledger(
        now=NOW,
        lookup=known.get,
        new_callback_id=lambda operation_id: f"callback/{operation_id}",
        resolve=lambda _: target,
        limits=limits or Limits(),
    )
    return book.apply(updates)


def refused(*updates: Any, **options: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        apply(*updates, **options)
    assert (caught.value.name, caught.value.status, caught.value.is_retryable) == (
        "InvalidParameterValueException",
        400,
        False,
    )
    return caught.value.problem.message


# The table, spelt out anew from protocol.md 2.2: (type, action) -> {status before: status after}.
LEGAL: dict[tuple[str, str], dict[str | None, str]] = {
    ("STEP", "START"): {None: "STARTED", "READY": "STARTED"},
    ("STEP", "SUCCEED"): {None: "SUCCEEDED", "STARTED": "SUCCEEDED", "READY": "SUCCEEDED"},
    ("STEP", "FAIL"): {None: "FAILED", "STARTED": "FAILED", "READY": "FAILED"},
    ("STEP", "RETRY"): {None: "PENDING", "STARTED": "PENDING", "READY": "PENDING"},
    ("WAIT", "START"): {None: "STARTED"},
    ("WAIT", "CANCEL"): {"STARTED": "CANCELLED"},
    ("CALLBACK", "START"): {None: "STARTED"},
    ("CHAINED_INVOKE", "START"): {None: "STARTED"},
    ("CONTEXT", "START"): {None: "STARTED"},
    ("CONTEXT", "SUCCEED"): {None: "SUCCEEDED", "STARTED": "SUCCEEDED"},
    ("CONTEXT", "FAIL"): {None: "FAILED", "STARTED": "FAILED"},
}
SETTLED: dict[tuple[str, str], dict[str, str]] = {
    ("STEP", "due"): {"PENDING": "READY"},
    ("WAIT", "due"): {"STARTED": "SUCCEEDED"},
    ("CALLBACK", "success"): {"STARTED": "SUCCEEDED"},
    ("CALLBACK", "failure"): {"STARTED": "FAILED"},
    ("CALLBACK", "timeout"): {"STARTED": "TIMED_OUT"},
    ("CHAINED_INVOKE", "success"): {"STARTED": "SUCCEEDED"},
    ("CHAINED_INVOKE", "failure"): {"STARTED": "FAILED"},
    ("CHAINED_INVOKE", "timeout"): {"STARTED": "TIMED_OUT"},
    ("CHAINED_INVOKE", "stop"): {"STARTED": "STOPPED"},
}


@pytest.mark.parametrize(("type_", "status", "action"), list(product(TYPES, (None, *STATUSES), ACTIONS)))
def test_an_update_makes_the_move_of_the_table_or_is_refused(type_: str, status: str | None, action: str) -> None:
    recorded = [operation(type_, status)] if status else []
    after = LEGAL.get((type_, action), {}).get(status)
    if after is None:
        assert refused(update(type_, action), recorded=recorded)
    else:
        (made,) = apply(update(type_, action), recorded=recorded).operations
        assert (made["Type"], made["Status"]) == (type_, after)


@pytest.mark.parametrize(
    ("type_", "status", "trigger"),
    list(product((*TYPES, "EXECUTION"), STATUSES, ("due", "success", "failure", "timeout", "stop"))),
)
def test_a_trigger_makes_the_move_of_the_table_or_comes_too_late(type_: str, status: str, trigger: Any) -> None:
    changes = ledger.settle(operation(type_, status), trigger, now=NOW)
    after = SETTLED.get((type_, trigger), {}).get(status)
    assert (changes.operations[0]["Status"] if changes else None) == after


@pytest.mark.parametrize(("type_", "status"), list(product((*TYPES, "EXECUTION"), STATUSES)))
def test_only_what_can_wake_an_execution_is_outstanding(type_: str, status: str) -> None:
    waits = {("STEP", "PENDING"), ("WAIT", "STARTED"), ("CALLBACK", "STARTED"), ("CHAINED_INVOKE", "STARTED")}
    assert ledger.is_outstanding(operation(type_, status)) == ((type_, status) in waits)


@pytest.mark.parametrize(
    ("before", "made", "message"),
    [
        ("STARTED", update("STEP", "START"), "Invalid current STEP state to start."),
        ("PENDING", update("STEP", "SUCCEED"), "Invalid current STEP state to close."),
        ("SUCCEEDED", update("STEP", "RETRY"), "Invalid current STEP state to re-attempt."),
        ("STARTED", update("CONTEXT", "START"), "Cannot start a CONTEXT that already exist."),
        ("FAILED", update("CONTEXT", "SUCCEED"), "Invalid current CONTEXT state to close."),
        ("STARTED", update("WAIT", "START"), "Cannot start a WAIT that already exist."),
        (
            "SUCCEEDED",
            update("WAIT", "CANCEL"),
            "Cannot cancel a WAIT that does not exist or has already completed.",
        ),
        ("STARTED", update("CALLBACK", "START"), "Cannot start a CALLBACK that already exist."),
        (
            "STARTED",
            update("CHAINED_INVOKE", "START"),
            "Cannot start a CHAINED_INVOKE operation that already exists.",
        ),
        ("STARTED", update("CHAINED_INVOKE", "CANCEL"), "Invalid action for the given operation type."),
    ],
)
def test_a_refusal_speaks_with_the_words_of_the_service(before: str, made: Any, message: str) -> None:
    assert refused(made, recorded=[operation(made["Type"], before)]) == message


def test_a_refusal_names_the_update() -> None:
    with pytest.raises(ServiceError) as caught:
        apply(update("STEP", "RETRY", Name="charge", StepOptions={}))
    assert caught.value.problem.hint == "the update is RETRY of STEP 'charge'"


# Rules 1 to 7 --------------------------------------------------------------------------------------------------------


def test_an_execution_ends_once() -> None:
    ends = [update("EXECUTION", "SUCCEED", "x"), update("EXECUTION", "FAIL", "y")]
    assert refused(*ends) == "Cannot checkpoint multiple EXECUTION updates."


def test_the_end_of_the_execution_is_last_in_its_batch() -> None:
    end = update("EXECUTION", "SUCCEED", "x")
    assert refused(end, update()) == "EXECUTION checkpoint must be the last update."


@pytest.mark.parametrize("type_", ["STEP", "CONTEXT"])
def test_a_step_or_context_may_start_and_end_in_one_batch(type_: str) -> None:
    changes = apply(update(type_, "START"), update(type_, "SUCCEED", Payload="1"))
    assert [made["Status"] for made in changes.operations] == ["SUCCEEDED"]
    assert [event["EventType"][-9:] for event in changes.events][-1] == "Succeeded"
    assert changes.created == ("a",)


@pytest.mark.parametrize(
    "batch",
    [
        [update("STEP", "START"), update("STEP", "START")],
        [update("STEP", "SUCCEED"), update("STEP", "START")],
        [update("STEP", "SUCCEED"), update("STEP", "FAIL")],
        [update("STEP", "START"), update("STEP", "RETRY"), update("STEP", "SUCCEED")],
        [update("WAIT", "START"), update("WAIT", "CANCEL")],
        [update("CALLBACK", "START"), update("STEP", "START")],
    ],
)
def test_otherwise_a_batch_holds_one_update_per_id(batch: list[Any]) -> None:
    assert refused(*batch) == "Cannot checkpoint multiple operations with the same ID."


@pytest.mark.parametrize("recorded", [[], [operation("STEP", "STARTED", "p")]], ids=["missing", "not a context"])
def test_a_parent_is_a_context_that_exists(recorded: Any) -> None:
    assert refused(update(ParentId="p"), recorded=recorded) == "Invalid parent operation id."


def test_a_parent_may_come_earlier_in_the_batch_but_not_later_and_not_be_itself() -> None:
    parent, child = update("CONTEXT", id_="p"), update(id_="c", ParentId="p")
    assert [made["Id"] for made in apply(parent, child).operations] == ["p", "c"]
    assert refused(child, parent) == "Invalid parent operation id."
    assert refused(update("CONTEXT", id_="p", ParentId="p")) == "Invalid parent operation id."


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Type": "WAIT", "Action": "CANCEL"}, "Inconsistent operation type."),
        ({"SubType": "Other"}, "Inconsistent operation subtype."),
        ({"Name": "other"}, "Inconsistent operation name."),
        ({"ParentId": "q"}, "Inconsistent parent operation id."),
    ],
)
def test_an_update_agrees_with_what_is_recorded(members: Any, message: str) -> None:
    known = {"Name": "n", "SubType": "Step", "ParentId": "p"}
    contexts = [operation("CONTEXT", "STARTED", "p"), operation("CONTEXT", "STARTED", "q")]
    recorded = [operation("STEP", "STARTED", **known), *contexts]
    assert refused({**update("STEP", "SUCCEED", **known), **members}, recorded=recorded) == message
    for member in known:
        less = {name: value for name, value in known.items() if name != member}
        assert refused(update("STEP", "SUCCEED", **less), recorded=recorded).startswith("Inconsistent")


def test_the_two_updates_of_one_batch_agree_too() -> None:
    batch = [update("STEP", "START", Name="a"), update("STEP", "SUCCEED", Name="b")]
    assert refused(*batch) == "Inconsistent operation name."


def test_an_error_object_stays_below_32_768_bytes() -> None:
    frame = len('{"ErrorMessage":""}')
    fits = {"ErrorMessage": "é" * ((32_767 - frame) // 2)}
    assert apply(update("STEP", "FAIL", Error=fits)).operations[0]["StepDetails"]["Error"] == fits
    too_long = {"ErrorMessage": fits["ErrorMessage"] + "éé"}
    assert refused(update("STEP", "FAIL", Error=too_long)) == "Error object size must be less than 32768 bytes."


@pytest.mark.parametrize(
    ("type_", "action", "limit"),
    [
        ("STEP", "SUCCEED", 262_144),
        ("STEP", "RETRY", 262_144),
        ("CONTEXT", "SUCCEED", 262_144),
        ("CHAINED_INVOKE", "START", 1_048_576),
        ("EXECUTION", "SUCCEED", 6_291_456),
    ],
)
def test_payloads_are_measured_in_bytes(type_: str, action: str, limit: int) -> None:
    assert apply(update(type_, action, Payload="é" * (limit // 2)))
    assert f"{limit} bytes" in refused(update(type_, action, Payload="é" * (limit // 2) + "x"))


# Rules 11 to 24 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [None, {}, *({"NextAttemptDelaySeconds": n} for n in (0, 31_622_401, 1.5, True))])
def test_a_retry_says_when(options: Any) -> None:
    made = update("STEP", "RETRY")
    made["StepOptions"] = options
    if options is None:
        del made["StepOptions"]
    assert refused(made) == "Invalid StepOptions for the given action."


def test_nothing_but_a_retry_says_when() -> None:
    options = {"NextAttemptDelaySeconds": 1}
    assert refused(update("STEP", "SUCCEED", StepOptions=options)) == "Invalid StepOptions for the given action."


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            update("STEP", "RETRY", Payload="1", Error={}),
            "Cannot provide both error and payload to RETRY a STEP.",
        ),
        (update("STEP", "FAIL", Payload="1"), "Cannot provide a Payload for FAIL action."),
        (update("STEP", "SUCCEED", Error={}), "Cannot provide an Error for SUCCEED action."),
        (update("CONTEXT", "FAIL", Payload="1"), "Cannot provide a Payload for FAIL action."),
        (update("CONTEXT", "SUCCEED", Error={}), "Cannot provide an Error for SUCCEED action."),
        (update("EXECUTION", "FAIL", Payload="1"), "Cannot provide a Payload for FAIL action."),
        (update("EXECUTION", "SUCCEED", Error={}), "Cannot provide an Error for SUCCEED action."),
        (update("EXECUTION", "START"), "Invalid action for the given operation type."),
        (update("WAIT", WaitOptions={}), "Invalid WaitOptions for the given action."),
        (update("WAIT", WaitOptions={"WaitSeconds": 0}), "Invalid WaitOptions for the given action."),
        (
            update("CALLBACK", CallbackOptions={"TimeoutSeconds": -1}),
            "Invalid CallbackOptions for the given action.",
        ),
        (
            update("CALLBACK", CallbackOptions={"HeartbeatTimeoutSeconds": 100_000_000}),
            "Invalid CallbackOptions for the given action.",
        ),
    ],
)
def test_an_action_takes_its_own_members_only(made: Any, message: str) -> None:
    assert refused(made) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "CHAINED_INVOKE START requires ChainedInvokeOptions."),
        ({"FunctionName": "no name"}, "Invalid function ARN: 'no name'."),
        ({"FunctionName": "x" * 257}, "Invalid function ARN: '" + "x" * 200 + "…'."),
        ({"FunctionName": "999999999999:function:f"}, "Cannot invoke a function of another account."),
        (
            {"FunctionName": "arn:aws:lambda:eu-west-1:123456789012:function:f:1"},
            "Cannot invoke a function in another region.",
        ),
        (
            {"FunctionName": "f", "TenantId": "a\nb"},
            "TenantId must match the pattern [A-Za-z0-9._:/=+\\-@ ]{1,256}.",
        ),
    ],
)
def test_a_chained_invoke_names_a_function_of_this_account_and_region(options: Any, message: str) -> None:
    assert refused(update("CHAINED_INVOKE", ChainedInvokeOptions=options)) == message


@pytest.mark.parametrize(
    "members",
    [
        {"Id": ""},
        {"Id": "x" * 65},
        {"Id": "a b"},
        {"Id": 1},
        {"Id": None},
        {"ParentId": ""},
        {"Name": ""},
        {"Name": "é"},
        {"Name": "a\nb"},
        {"Name": "x" * 257},
        {"SubType": "x" * 33},
        {"Type": "INVOKE"},
        {"Type": None},
        {"Action": "STOP"},
        {"Payload": 1},
        {"Payload": "\ud800"},
        {"Error": "x"},
        {"Error": {"ErrorType": 1}},
        {"Error": {"StackTrace": "x"}},
        {"Error": {"StackTrace": [1]}},
        {"StepOptions": 1},
    ],
    ids=repr,
)
def test_an_update_has_the_shape_of_the_service_model(members: Any) -> None:
    assert refused({**update(), **members})


def test_an_update_without_an_id_is_refused() -> None:
    assert refused({"Type": "STEP", "Action": "START"}) == "Id is required."


def test_a_refused_batch_counts_for_nothing() -> None:
    recorded = [operation("STEP", "STARTED", "a", StepDetails={"Attempt": 0})]
    before = repr(recorded)
    refused(update("STEP", "SUCCEED", "a"), update("WAIT", "CANCEL", "b"), recorded=recorded)
    assert repr(recorded) == before


def test_a_batch_is_bounded_and_a_single_large_update_is_not() -> None:
    assert len(apply(*(update(id_=str(n)) for n in range(250))).created) == 250
    assert "250 updates" in refused(*(update(id_=str(n)) for n in range(251)))
    third = "x" * 256_001
    assert "768000 bytes" in refused(*(update("STEP", "SUCCEED", str(n), Payload=third) for n in range(3)))
    assert apply(update("EXECUTION", "SUCCEED", Payload="x" * 768_001)).effects


# What the moves make true --------------------------------------------------------------------------------------------


def test_a_step_counts_finished_attempts() -> None:
    started = apply(update("STEP", "START", Name="n", SubType="Step"))
    assert started.operations == (
        {
            "Id": "a",
            "Type": "STEP",
            "Status": "STARTED",
            "StartTimestamp": NOW,
            "Name": "n",
            "SubType": "Step",
            "StepDetails": {"Attempt": 0},
        },
    )
    error = {"ErrorType": "E", "ErrorMessage": "m"}
    again = update("STEP", "RETRY", Name="n", SubType="Step", Error=error)
    retried = apply(again, recorded=started.operations)
    assert retried.operations[0]["StepDetails"] == {"Attempt": 1, "NextAttemptTimestamp": NOW + 5000, "Error": error}
    assert retried.effects == (Arm(operation_id="a", timer="retry", due=NOW + 5000),)
    assert retried.events[0] == {
        "EventType": "StepFailed",
        "EventTimestamp": NOW,
        "Id": "a",
        "Name": "n",
        "SubType": "Step",
        "StepFailedDetails": {
            "Error": {"Payload": error, "Truncated": False},
            "RetryDetails": {"CurrentAttempt": 1, "NextAttemptDelaySeconds": 5},
        },
    }
    ready = ledger.settle(retried.operations[0], "due", now=NOW + 5000)
    assert ready
    assert ready.operations[0]["StepDetails"] == {"Attempt": 1, "Error": error}
    assert ready.events == ()
    restarted = apply(update("STEP", "START", Name="n", SubType="Step"), recorded=ready.operations)
    assert restarted.created == ()
    done = apply(update("STEP", "SUCCEED", Name="n", SubType="Step", Payload="1"), recorded=restarted.operations)
    assert done.operations[0]["StepDetails"] == {"Attempt": 2, "Result": "1"}
    assert done.operations[0]["EndTimestamp"] == NOW
    assert done.events[0]["StepSucceededDetails"]["RetryDetails"] == {"CurrentAttempt": 2}


def test_a_poll_keeps_its_state_as_result() -> None:
    polled = apply(update("STEP", "RETRY", Payload="7"))
    assert polled.operations[0]["StepDetails"]["Result"] == "7"
    assert polled.events[0]["EventType"] == "StepSucceeded"
    assert polled.events[0]["StepSucceededDetails"]["RetryDetails"]["NextAttemptDelaySeconds"] == 5
    ready = ledger.settle(polled.operations[0], "due", now=NOW)
    assert ready
    assert apply(update(), recorded=ready.operations).operations[0]["StepDetails"] == {"Attempt": 1, "Result": "7"}


def test_a_result_may_be_absent() -> None:
    done = apply(update("STEP", "SUCCEED"))
    assert "Result" not in done.operations[0]["StepDetails"]
    assert done.events[0]["StepSucceededDetails"]["Result"] == {"Truncated": False}


def test_a_wait_arms_its_timer_and_tells_its_duration() -> None:
    changes = apply(update("WAIT"))
    assert changes.operations[0]["WaitDetails"] == {"ScheduledEndTimestamp": NOW + 60_000}
    assert changes.effects == (Arm(operation_id="a", timer="wait", due=NOW + 60_000),)
    assert changes.events[0]["WaitStartedDetails"] == {"Duration": 60, "ScheduledEndTimestamp": NOW + 60_000}
    over = ledger.settle(changes.operations[0], "due", now=NOW + 60_001)
    assert over
    assert over.operations[0]["EndTimestamp"] == NOW + 60_001
    assert over.events[0]["WaitSucceededDetails"] == {"Duration": 60}


def test_a_cancelled_wait_has_no_timer() -> None:
    changes = apply(update("WAIT", "CANCEL"), recorded=[operation("WAIT", "STARTED")])
    assert changes.effects == (Disarm(operation_id="a"),)
    assert changes.events[0]["WaitCancelledDetails"] == {}
    reason = {"ErrorType": "E"}
    told = apply(update("WAIT", "CANCEL", Error=reason), recorded=[operation("WAIT", "STARTED")]).events[0]
    assert told["WaitCancelledDetails"]["Error"]["Payload"] == reason


def test_a_callback_gets_an_id_and_the_timers_it_asks_for() -> None:
    options = {"TimeoutSeconds": 9, "HeartbeatTimeoutSeconds": 4}
    changes = apply(update("CALLBACK", CallbackOptions=options))
    assert changes.operations[0]["CallbackDetails"] == {"CallbackId": "callback/a"}
    assert changes.effects == (
        OpenCallback(operation_id="a", callback_id="callback/a", heartbeat_seconds=4),
        Arm(operation_id="a", timer="heartbeat", due=NOW + 4000),
        Arm(operation_id="a", timer="timeout", due=NOW + 9000),
    )
    told = {"CallbackId": "callback/a", "HeartbeatTimeout": 4, "Timeout": 9}
    assert changes.events[0]["CallbackStartedDetails"] == told


def test_a_callback_without_timeouts_tells_none() -> None:
    changes = apply(update("CALLBACK"))
    assert changes.events[0]["CallbackStartedDetails"] == {"CallbackId": "callback/a"}
    assert [type(effect) for effect in changes.effects] == [OpenCallback]


def test_an_answer_is_kept_as_it_came() -> None:
    opened = operation("CALLBACK", "STARTED", CallbackDetails={"CallbackId": "c"})
    answered = ledger.settle(opened, "success", now=NOW, result='{"a":  1}')
    assert answered
    assert answered.operations[0]["CallbackDetails"] == {"CallbackId": "c", "Result": '{"a":  1}'}
    assert answered.events[0]["CallbackSucceededDetails"]["Result"]["Payload"] == '{"a":  1}'
    assert answered.effects == (Disarm(operation_id="a"),)
    assert answered.size_bytes == 9
    late = ledger.settle(opened, "timeout", now=NOW, error=ledger.CALLBACK_HEARTBEAT)
    assert late
    assert late.events[0]["CallbackTimedOutDetails"]["Error"]["Payload"]["ErrorType"] == "Callback.Heartbeat"
    assert opened["CallbackDetails"] == {"CallbackId": "c"}


def test_a_chained_invoke_starts_its_target() -> None:
    target = Target(name="charge", version="3", execution_arn="arn:child")
    options = {"FunctionName": "charge:live", "TenantId": "blue"}
    changes = apply(update("CHAINED_INVOKE", Payload='{"a":1}', ChainedInvokeOptions=options), target=target)
    assert changes.effects == (StartTarget(operation_id="a", target=target, payload='{"a":1}', tenant_id="blue"),)
    assert changes.events[0]["ChainedInvokeStartedDetails"] == {
        "FunctionName": "charge:live",
        "TenantId": "blue",
        "Input": {"Payload": '{"a":1}', "Truncated": False},
        "ExecutedVersion": "3",
        "DurableExecutionArn": "arn:child",
    }


def test_a_target_without_payload_receives_an_empty_object() -> None:
    (effect,) = apply(update("CHAINED_INVOKE")).effects
    assert isinstance(effect, StartTarget)
    assert effect.payload == "{}"


def test_what_cannot_be_invoked_has_failed_in_the_same_answer() -> None:
    error = {"ErrorType": "ResourceNotFoundException", "ErrorMessage": "Function not found: charge:1"}
    changes = apply(update("CHAINED_INVOKE", Payload="1"), target=error)
    assert changes.operations[0]["Status"] == "FAILED"
    assert changes.operations[0]["ChainedInvokeDetails"] == {"Error": error}
    assert [event["EventType"] for event in changes.events] == ["ChainedInvokeStarted", "ChainedInvokeFailed"]
    assert changes.events[0]["ChainedInvokeStartedDetails"] == {"FunctionName": "charge:1"}
    assert changes.effects == ()


def test_children_are_replayed_as_the_last_word_says() -> None:
    started = apply(update("CONTEXT", ContextOptions={"ReplayChildren": True}))
    closed = apply(update("CONTEXT", "SUCCEED", Payload=""), recorded=started.operations)
    assert closed.operations[0]["ContextDetails"] == {"ReplayChildren": True, "Result": ""}
    other = update("CONTEXT", "SUCCEED", ContextOptions={"ReplayChildren": False})
    assert apply(other, recorded=started.operations).operations[0]["ContextDetails"] == {"ReplayChildren": False}


def test_a_failed_context_keeps_its_error_and_cannot_ask_to_be_replayed() -> None:
    error = {"ErrorType": "E"}
    changes = apply(update("CONTEXT", "FAIL", Error=error, ContextOptions={"ReplayChildren": True}))
    assert changes.operations[0]["ContextDetails"] == {"Error": error}
    assert changes.events[0]["ContextFailedDetails"] == {"Error": {"Payload": error, "Truncated": False}}


def test_the_end_of_the_execution_is_no_operation() -> None:
    changes = apply(update("EXECUTION", "SUCCEED", "execution-result-1", Payload="1"))
    assert (changes.operations, changes.events) == ((), ())
    assert changes.effects == (EndExecution(status="SUCCEEDED", result="1"),)
    error = {"ErrorType": "E"}
    failed = apply(update("EXECUTION", "FAIL", "x", Error=error))
    assert failed.effects == (EndExecution(status="FAILED", error=error),)


def test_the_end_may_carry_the_id_of_the_execution_operation() -> None:
    recorded = [operation("EXECUTION", "STARTED", "x", Name="order")]
    assert apply(update("EXECUTION", "SUCCEED", "x"), recorded=recorded).effects


@pytest.mark.parametrize(
    ("batch", "metered"),
    [
        ([update("STEP"), update("STEP", "SUCCEED")], 1),
        ([update("STEP", "RETRY")], 2),
        ([update("STEP", "SUCCEED", SubType="WaitForCondition")], 2),
        ([update("WAIT"), update("CALLBACK", id_="b"), update("CONTEXT", id_="c")], 3),
        ([update("EXECUTION", "SUCCEED")], 0),
    ],
)
def test_operations_are_metered_as_the_platform_bills(batch: list[Any], metered: int) -> None:
    assert apply(*batch).metered == metered


# Events and outputs --------------------------------------------------------------------------------------------------


def test_an_execution_tells_its_input_and_timeout() -> None:
    details = ledger.execution_started(now=NOW, payload=None, timeout_seconds=None)["ExecutionStartedDetails"]
    assert details == {"Input": {"Truncated": False}, "ExecutionTimeout": 31_622_400}


@pytest.mark.parametrize(
    ("status", "kind", "details"),
    [
        ("SUCCEEDED", "ExecutionSucceeded", {"Result": {"Payload": "1", "Truncated": False}}),
        ("FAILED", "ExecutionFailed", {"Error": {"Payload": {"ErrorType": "E"}, "Truncated": False}}),
        ("TIMED_OUT", "ExecutionTimedOut", {"Error": {"Payload": {"ErrorType": "E"}, "Truncated": False}}),
        ("STOPPED", "ExecutionStopped", {"Error": {"Payload": {"ErrorType": "E"}, "Truncated": False}}),
    ],
)
def test_an_execution_ends_with_its_event(status: Any, kind: str, details: Any) -> None:
    event = ledger.execution_ended(status, now=NOW, result="1", error={"ErrorType": "E"})
    assert event == {"EventType": kind, "EventTimestamp": NOW, f"{kind}Details": details}


def test_an_invocation_tells_its_error_only_when_it_has_one() -> None:
    well = ledger.invocation_completed(started=NOW, now=NOW + 5, request_id="r", error=None)
    details = {"StartTimestamp": NOW, "EndTimestamp": NOW + 5, "RequestId": "r"}
    assert well["InvocationCompletedDetails"] == details
    died = ledger.invocation_completed(started=NOW, now=NOW, request_id="r", error={"ErrorType": "Runtime.ExitError"})
    assert died["InvocationCompletedDetails"]["Error"]["Payload"] == {"ErrorType": "Runtime.ExitError"}


@pytest.mark.parametrize(
    ("output", "meaning"),
    [
        ({"Status": "SUCCEEDED", "Result": "1"}, ledger.Succeeded(result="1")),
        ({"Status": "SUCCEEDED"}, ledger.Succeeded(result=None)),
        ({"Status": "FAILED", "Error": {"ErrorType": "E"}}, ledger.Failed(error={"ErrorType": "E"})),
        ({"Status": "FAILED"}, ledger.Failed(error=None)),
        ({"Status": "PENDING"}, ledger.Pending()),
    ],
)
def test_an_answer_has_one_of_three_meanings(output: Any, meaning: ledger.Output) -> None:
    assert ledger.read_output(output) == meaning


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        [],
        {},
        {"Status": "MAYBE"},
        {"Status": "SUCCEEDED", "Error": {}},
        {"Status": "SUCCEEDED", "Result": {"a": 1}},
        {"Status": "SUCCEEDED", "Result": "\ud800"},
        {"Status": "FAILED", "Result": "1"},
        {"Status": "FAILED", "Error": "text"},
    ],
    ids=repr,
)
def test_any_other_answer_is_invalid(output: Any) -> None:
    meaning = ledger.read_output(output)
    assert isinstance(meaning, ledger.Invalid)
    assert meaning.error["ErrorType"] == "InvalidParameterValueException"


def test_an_answer_over_six_mebibytes_is_invalid_as_escaped() -> None:
    limit = 6 * 1024 * 1024 - len('{"Status":"SUCCEEDED","Result":""}')
    assert isinstance(ledger.read_output({"Status": "SUCCEEDED", "Result": '"' * (limit // 2)}), ledger.Succeeded)
    meaning = ledger.read_output({"Status": "SUCCEEDED", "Result": '"' * (limit // 2 + 1)})
    assert isinstance(meaning, ledger.Invalid)
    assert meaning.error["ErrorType"] == "Function.ResponseSizeTooLarge"


def test_errors_from_outside_are_held_to_the_same_rules() -> None:
    ledger.check_error({"ErrorMessage": "m"}, 100)
    for error in ("text", {"ErrorType": 1}, {"ErrorMessage": "x" * 100}):
        with pytest.raises(ServiceError):
            ledger.check_error(error, 100)


def test_only_a_stale_token_is_cured_by_another_invocation() -> None:
    assert ledger.refusal("Invalid checkpoint token").is_retryable
    assert not ledger.refusal("Invalid parent operation id.").is_retryable
