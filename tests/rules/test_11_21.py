"""Results that are seen, names of errors, and what catches what: rules 11 to 21."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from crashes import Ending, endings
from doubles import Function, by_attempt, journal
from memory_service import refusal
from shell import Shell, running, shell
from worlds import World, plan_of

from durableflow.actions import Actions, AllowList, fault_of
from durableflow.compiler import understand
from durableflow.errors import Fault
from durableflow.ledger import Changes, settle
from durableflow.source import Source
from durableflow.work import PythonWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.values import Json

__all__ = ["running", "shell"]

ROOT: Final = Path(__file__).parent.parent.parent


def codes(states: str) -> list[str]:
    """The codes of all errors of a workflow."""
    found = understand(Source(name="w.yaml", text=f'durableflow: "1"\nname: demo\n{states}'))[2]
    return [problem.code for problem in found if problem.severity == "error"]


def invokes_end(status: str, *, result: str | None = None, error: Any = None) -> Callable[[World], World]:
    """Have every chained invoke of a world end with a status, as the platform may."""

    def prepared(world: World) -> World:
        service = world.service

        def end(start: Any) -> None:
            operation = service.operations[start.operation_id]
            if status == "CANCELLED":  # the platform has this status, and nothing here sets it
                details = {"ChainedInvokeDetails": {"Error": error}} if error else {}
                cancelled: Any = {**operation, **details, "Status": status, "EndTimestamp": service.now}
                service._keep(Changes(operations=(cancelled,)))
                return
            trigger: Any = {"SUCCEEDED": "success", "STOPPED": "stop", "FAILED": "failure", "TIMED_OUT": "timeout"}[
                status
            ]
            service._keep(settle(operation, trigger, now=service.now, result=result, error=error))

        service._end = end  # type: ignore[method-assign]
        return world

    return prepared


def never_ends(world: World) -> World:
    """Have no chained invoke ever end."""
    world.service._end = lambda _: None  # type: ignore[method-assign]
    return world


def python(folder: Path, body: str) -> Callable[[World], World]:
    """Have steps run Python handlers of a module whose name is that of its folder."""
    (folder / f"{folder.name}.py").write_text(body, encoding="utf-8")

    def prepared(world: World) -> World:
        world.worker = PythonWorker([folder], clock_ms=lambda: world.service.now)  # type: ignore[assignment]
        return world

    return prepared


# 11 ------------------------------------------------------------------------------------------------------------------


def test_rule_11_a_loop_leaves_its_states_as_the_last_iteration_left_them() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: l, type: loop, max_iterations: 2, states: ["
            "{name: a, type: invoke, function: f, payload: '{{ iteration }}'}, "
            "{name: b, type: invoke, function: f, payload: '{{ iteration }}', when: iteration == 0}, "
            "{name: c, type: invoke, function: f, payload: '{{ iteration }}', catch: [{output: '{{ error.name }}'}], "
            "output: '{{ result if iteration == 0 else input.gone }}'}]}, {name: w, type: wait, duration: 1}]\n"
            "output: ['{{ states.a.result }}', '{{ states.b.status }}', '{{ states.b.result }}', '{{ states.c.status }}']",
            targets={"f": Function()},
        )
    )
    assert ending.result == [1, "skipped", None, "caught"]


def test_rule_11_a_loop_that_never_ran_leaves_nothing() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: l, type: loop, while: false, max_iterations: 2, states: [{name: a, type: pass}]}]\n"
            "output: '{{ states.a is defined }}'"
        )
    )
    assert ending.result is False


HIDING = {
    "map": "type: map, items: '[1]', states: BODY",
    "parallel": "type: parallel, branches: {b: BODY}",
    "in a block": "type: parallel, branches: {b: [{name: deep, type: block, states: BODY}]}",
}


@pytest.mark.parametrize("kind", HIDING)
def test_rule_11_states_inside_map_and_parallel_are_not_visible_outside(kind: str) -> None:
    state = HIDING[kind].replace("BODY", "[{name: a, type: pass}]")
    for seen in ("states.a.result", "states.a is defined"):
        text = f"states: [{{name: s, {state}}}, {{name: p, type: pass, output: '{{{{ {seen} }}}}'}}]"
        assert codes(text) == ["DF231"]
    assert codes(f"states: [{{name: s, {state}}}]\noutput: '{{{{ states.a.result }}}}'") == ["DF231"]


def test_rule_11_nor_are_those_of_one_branch_in_another() -> None:
    branches = "{x: [{name: a, type: pass}], other: [{name: b, type: pass, output: '{{ states.a.result }}'}]}"
    assert codes(f"states: [{{name: s, type: parallel, branches: {branches}}}]") == ["DF231"]


def test_rule_11_nor_are_those_of_an_inline_workflow() -> None:
    # Its states have names of their own, which may be those of the states around it.
    ending = endings(
        lambda: World(
            "states: [{name: a, type: invoke, function: f, payload: outer}, "
            "{name: s, type: workflow, workflow: g, mode: inline}, {name: w, type: wait, duration: 1}]\n"
            "output: ['{{ states.a.result }}', '{{ states.s.result }}']",
            targets={"f": Function()},
            inline={"g": "states: [{name: a, type: invoke, function: f, payload: inner}]"},
        )
    )
    assert ending.result == ["outer", "inner"]
    assert codes(
        "states: [{name: s, type: workflow, workflow: g, mode: inline}]\noutput: '{{ states.only.result }}'"
    ) == ["DF204"]


# 12 ------------------------------------------------------------------------------------------------------------------


def error_name(ending: Ending) -> str:
    return ending.error[0]


@pytest.mark.parametrize("value", ["object()", "{1: 2}", "float('nan')", "2 ** 64", "b'x'", "{'a': {1, 2}}"])
def test_rule_12_a_result_of_a_step_that_is_no_json(value: str, tmp_path: Path) -> None:
    ready = python(tmp_path, f"def f(payload):\n    return {value}\n")
    ending = endings(lambda: ready(World(f"states: [{{name: s, type: step, handler: '{tmp_path.name}:f'}}]")))
    assert error_name(ending) == "States.ResultInvalid"


@pytest.mark.parametrize("work", ["type: invoke, function: f", "type: workflow, workflow: f"])
@pytest.mark.parametrize("text", ["{oops", "NaN", "1 2", "'a'"])
def test_rule_12_a_result_of_an_invoke_that_cannot_be_decoded(work: str, text: str) -> None:
    other = {"f": "states: [{name: p, type: pass}]"}
    ready = invokes_end("SUCCEEDED", result=text)
    ending = endings(lambda: ready(World(f"states: [{{name: s, {work}}}]", targets={"f": Function()}, inline=other)))
    assert error_name(ending) == "States.ResultInvalid"


def test_rule_12_an_answer_to_a_callback_that_cannot_be_decoded() -> None:
    text = "states: [{name: s, type: wait_for_callback%s}]"
    assert error_name(endings(lambda: World(text % "", answers={"s": [b"{oops"]}))) == "States.ResultInvalid"
    assert endings(lambda: World(text % ", result_format: text", answers={"s": [b"{oops"]})).result == "{oops"


SCHEMA = "result_schema: {type: string}"


@pytest.mark.parametrize(
    "state",
    [
        "type: step, handler: 'm:f'",
        "type: invoke, function: f",
        "type: wait_for_callback",
        "type: wait_for_callback, submit: [{name: i, type: invoke, function: f}]",
        "type: block, states: [{name: i, type: invoke, function: f}]",
        "type: map, items: '[1]', states: [{name: i, type: invoke, function: f}]",
        "type: pass, output: 1",
    ],
)
def test_rule_12_a_result_that_breaks_its_schema(state: str) -> None:
    text = f"states: [{{name: s, {state}, {SCHEMA}, catch: [{{errors: [States.ResultInvalid], output: caught}}]}}]"
    parts: dict[str, Any] = {"handlers": {"m:f": lambda _: 1}, "answers": {"s": [1], "": [1]}}
    assert endings(lambda: World(text, targets={"f": Function(1)}, **parts)).result == "caught"
    fits = text.replace("type: string", "type: [integer, array]")
    assert endings(lambda: World(fits, targets={"f": Function(1)}, **parts)).result in (1, [1])


def test_rule_12_a_poll_that_breaks_its_schema() -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, type: wait_for_condition, until: true, check: {{type: step, handler: 'm:f', {SCHEMA}}}}}]",
            handlers={"m:f": lambda _: 1},
        )
    )
    assert error_name(ending) == "States.ResultInvalid"


# 13 ------------------------------------------------------------------------------------------------------------------

HANDLERS = """
from durableflow import Fault


class Out:
    class OfStock(Exception):
        pass


def stock(payload):
    raise Out.OfStock("none left")


def key(payload):
    return payload["sku"]


def chosen(payload):
    raise Fault("CardDeclined", "no money", {"left": 3})
"""


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        ("stock", ["OfStock", "none left", None]),
        ("key", ["KeyError", "'sku'", None]),
        ("chosen", ["CardDeclined", "no money", {"left": 3}]),
    ],
)
def test_rule_13_the_name_of_a_handlers_error(handler: str, error: Json, tmp_path: Path) -> None:
    ready = python(tmp_path, HANDLERS)
    ending = endings(
        lambda: ready(
            World(
                f"states: [{{name: s, type: step, handler: '{tmp_path.name}:{handler}', "
                "catch: [{output: ['{{ error.name }}', '{{ error.message }}', '{{ error.data }}']}]}]"
            )
        )
    )
    assert ending.result == error


SEEN = "catch: [{output: ['{{ error.name }}', '{{ error.message }}', '{{ error.data }}', '{{ error.status }}']}]"


def invoked(prepared: Callable[[World], World], function: str = "f") -> Any:
    """What a catcher sees of an invoke."""
    text = f"states: [{{name: s, type: invoke, function: {function}, {SEEN}}}]"
    return endings(lambda: prepared(World(text, targets={"f": Function(1)}))).result


def failing(**error: str) -> Callable[[World], World]:
    return invokes_end("FAILED", error=error)


@pytest.mark.parametrize("name", ["CardDeclined", "java.lang.NullPointerException", "Runtime.ExitError", "Http.404"])
def test_rule_13_a_functions_error_keeps_its_type(name: str) -> None:
    seen = invoked(failing(ErrorType=name, ErrorMessage="m", ErrorData='{"a":1}'))
    assert seen == [name, "m", {"a": 1}, "FAILED"]


def test_rule_13_errors_of_the_invoke_api_get_a_prefix() -> None:
    model = get_session().get_service_model("lambda").operation_model("Invoke")
    for name in sorted(shape.name for shape in model.error_shapes):
        assert invoked(failing(ErrorType=name))[0] == f"Lambda.{name}"
    assert invoked(lambda world: world, "gone")[0] == "Lambda.ResourceNotFoundException"
    assert invoked(failing(ErrorType="InvalidSignatureException"))[0] == "InvalidSignatureException"


def client_error(code: str) -> Fault:
    error = ClientError({"Error": {"Code": code, "Message": "m"}}, "GetItem")
    return fault_of(error, label="DynamoDB", call="dynamodb.get_item", seconds=1)


def test_rule_13_errors_of_other_services_have_their_service_in_front() -> None:
    assert client_error("ConditionalCheckFailedException").name == "DynamoDB.ConditionalCheckFailedException"
    # Also where Lambda's Invoke has an error of the same name.
    assert client_error("ResourceNotFoundException").name == "DynamoDB.ResourceNotFoundException"


@pytest.mark.parametrize(
    ("service", "action", "label"),
    [
        ("dynamodb", "get_item", "DynamoDB"),
        ("bedrock-runtime", "converse", "BedrockRuntime"),
        ("stepfunctions", "start_execution", "SFN"),
        ("secretsmanager", "get_secret_value", "SecretsManager"),
        ("lambda", "get_function", "Lambda"),
    ],
)
def test_rule_13_the_service_is_botocores_id_without_spaces(
    service: str, action: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert label == get_session().get_service_model(service).service_id.replace(" ", "")
    everything = Actions(allowed=AllowList(patterns=("*:*",)))
    with pytest.raises(Fault) as raised:
        everything.perform(service, action, {"NoSuchParameter": 1}, idempotency_key="0" * 32)
    assert raised.value.name == f"{label}.ParamValidationError"


@pytest.mark.parametrize("name", ["ChainedInvoke.Timeout", "Sandbox.Timedout"])
def test_rule_13_two_names_of_the_platform_are_a_timeout(name: str) -> None:
    assert invoked(failing(ErrorType=name, ErrorMessage="m")) == ["States.Timeout", "m", None, "FAILED"]


ENDED = {
    "STOPPED": ("States.Stopped", "Invoke was stopped externally"),
    "CANCELLED": ("States.Cancelled", "Invoke was Cancelled"),
    "TIMED_OUT": ("States.Timeout", "Invoke was TimedOut"),
    "FAILED": ("States.TaskFailed", "Invoke failed with unknown error"),
}


@pytest.mark.parametrize("status", ENDED)
def test_rule_13_without_an_error_object_the_status_is_the_name_and_the_text_is_the_seeds(status: str) -> None:
    name, text = ENDED[status]
    assert invoked(invokes_end(status)) == [name, text, None, status]


@pytest.mark.parametrize("status", ["STOPPED", "CANCELLED", "TIMED_OUT"])
def test_rule_13_with_one_the_name_stays_and_the_message_is_the_objects(status: str) -> None:
    error = {"ErrorType": "Other", "ErrorMessage": "because", "ErrorData": "[1]"}
    assert invoked(invokes_end(status, error=error)) == [ENDED[status][0], "because", [1], status]


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_rule_13_access_denied_in_any_spelling_is_one_name(code: str) -> None:
    assert client_error(code).name == "States.Permissions"
    assert invoked(failing(ErrorType=code))[0] == "States.Permissions"


def test_rule_13_a_refusal_by_an_allow_list_has_that_name_too() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: s, type: invoke, function: '{{ input }}', allow: [f*], "
            "catch: [{errors: [States.Permissions], output: '{{ error.name }}'}]}]",
            input="g",
            targets={"g": Function(1)},
        )
    )
    assert ending.result == "States.Permissions"
    assert ending.paths == []
    with pytest.raises(Fault) as raised:
        Actions(allowed=AllowList(patterns=("s3:*",))).perform("sns", "publish", {}, idempotency_key="0" * 32)
    assert raised.value.name == "States.Permissions"


@pytest.mark.parametrize(
    ("data", "seen"),
    [({"by": "me"}, {"by": "me", "type": "Nope"}), (None, {"type": "Nope"}), ([1], {"data": [1], "type": "Nope"})],
)
@pytest.mark.parametrize("more", ["", ", submit: [{name: i, type: invoke, function: f}]"])
def test_rule_13_a_callback_that_failed_has_the_reports_message_and_data(data: Json, seen: Json, more: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, type: wait_for_callback{more}, {SEEN}}}]",
            targets={"f": Function(1)},
            answers={"s": [Fault("Nope", "no", data)], "": [Fault("Nope", "no", data)]},
        )
    )
    assert ending.result == ["States.CallbackFailed", "no", seen, None]


# 14 ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raising:
    """A state that raises an error.

    Args:
        name: of the error.
        state: the state, without its own catch.
        groups: the letters of the groups that match: A for States.ALL, T for States.TaskFailed, B for
            States.BranchFailed.
        parts: more parts of the world.
        prepared: makes the world ready.
        after: the states behind it.
    """

    name: str
    state: str
    groups: str
    parts: dict[str, Any] = field(default_factory=dict)
    prepared: Callable[[World], World] = lambda world: world
    after: str = ", {name: w, type: wait, duration: 1}"

    def ending(self, pattern: str) -> Ending:
        """The end of a workflow that catches the error around the state, or not."""
        text = (
            f"states: [{{name: guard, type: block, states: [{self.state}], catch: [{{errors: ['{pattern}'], "
            f"output: '{{{{ error.name }}}}'}}]}}{self.after}]\noutput: '{{{{ states.guard.result }}}}'"
        )
        return endings(lambda: self.prepared(World(text, **self.parts)))

    def is_caught_by(self, pattern: str) -> bool:
        ending = self.ending(pattern)
        if ending.output["Status"] == "SUCCEEDED":
            assert ending.result == self.name
            return True
        assert ending.error[0] == self.name
        return False


def bad(name: str = "Bad") -> dict[str, Any]:
    """Parts of a world in which all work fails."""

    def fail(_: Any) -> Any:
        raise Fault(name, "no")

    keys = ("m:f", "s3:list_buckets", "GET https://x.example")
    other = {"f": "states: [{name: p, type: pass}]"}
    return {"handlers": dict.fromkeys(keys, fail), "targets": {"f": fail}, "inline": other}


WORK = {
    "step": "{name: x, type: step, handler: 'm:f'MORE}",
    "aws": "{name: x, type: aws, service: s3, action: list_buckets, params: {}MORE}",
    "http": "{name: x, type: http, method: GET, url: 'https://x.example'MORE}",
    "invoke": "{name: x, type: invoke, function: fMORE}",
    "workflow": "{name: x, type: workflow, workflow: fMORE}",
}
WORKING = {**bad(), "handlers": {"m:f": lambda _: 1, "GET https://x.example": lambda _: {"status": 200}}}
WORKING["handlers"]["s3:list_buckets"] = lambda _: {}
WORKING["targets"] = {"f": Function(1)}
FAILING_INVOKE = WORK["invoke"].replace("MORE", "")
NEVER_TRUE = "{name: x, type: wait_for_condition, until: false, check: {type: step, handler: 'm:f'}"

RAISING: dict[str, Raising] = {}

# The work of work states: whatever it says, but for the two kinds of time-out.
for kind, work in WORK.items():
    plain = work.replace("MORE", "")
    RAISING[f"{kind} fails"] = Raising("Bad", plain, "AT", bad())
    reported = "Sandbox.Timedout" if kind in ("invoke", "workflow") else "States.Timeout"
    RAISING[f"{kind} reports a time-out"] = Raising("States.Timeout", plain, "A", bad(reported))
    # The templates of work states are not their work.
    lost = {"aws": "params: {}", "http": "url: 'https://x.example'"}.get(kind)
    argument = "{{ input.gone }}"
    before = (
        plain.replace(lost, f"{lost.split(':')[0]}: '{argument}'" if kind == "http" else f"params: {{A: '{argument}'}}")
        if lost
        else work.replace("MORE", f", payload: '{argument}'")
    )
    RAISING[f"{kind} without its argument"] = Raising("States.QueryEvaluationError", before, "A", WORKING)
    RAISING[f"{kind} without its output"] = Raising(
        "States.QueryEvaluationError", work.replace("MORE", f", output: '{argument}'"), "A", WORKING
    )
    RAISING[f"{kind} without what it assigns"] = Raising(
        "States.QueryEvaluationError", work.replace("MORE", f", assign: {{a: '{argument}'}}"), "A", WORKING
    )
RAISING |= {
    "step misses a heartbeat": Raising("States.HeartbeatTimeout", WORK["step"].replace("MORE", ""), "A", bad("States.HeartbeatTimeout")),
    "step is cut off": Raising("States.StepInterrupted", WORK["step"].replace("MORE", ""), "AT", bad("States.StepInterrupted")),
    "step gives no JSON": Raising("States.ResultInvalid", WORK["step"].replace("MORE", ""), "AT", {"handlers": {"m:f": lambda _: object()}}),
    "invoke says nothing": Raising("States.TaskFailed", FAILING_INVOKE, "AT", WORKING, invokes_end("FAILED")),
    "invoke is stopped": Raising("States.Stopped", FAILING_INVOKE, "AT", WORKING, invokes_end("STOPPED")),
    "invoke is cancelled": Raising("States.Cancelled", FAILING_INVOKE, "AT", WORKING, invokes_end("CANCELLED")),
    "invoke times out there": Raising("States.Timeout", FAILING_INVOKE, "A", WORKING, invokes_end("TIMED_OUT")),
    "invoke times out here": Raising("States.Timeout", WORK["invoke"].replace("MORE", ", timeout: 5"), "A", WORKING, never_ends),
    "invoke gives no JSON": Raising("States.ResultInvalid", FAILING_INVOKE, "AT", WORKING, invokes_end("SUCCEEDED", result="{")),
    "invoke breaks its schema": Raising("States.ResultInvalid", WORK["invoke"].replace("MORE", f", {SCHEMA}"), "A", WORKING),
    "invoke of nothing": Raising("Lambda.ResourceNotFoundException", FAILING_INVOKE, "AT"),
    "invoke is not allowed": Raising("States.Permissions", WORK["invoke"].replace("MORE", ", allow: [g]"), "AT", WORKING),
    # Waiting states, whose own failures are no work.
    "callback fails": Raising("States.CallbackFailed", "{name: x, type: wait_for_callback}", "A", {"answers": {"x": [Fault("Bad")]}}),
    "callback times out": Raising("States.Timeout", "{name: x, type: wait_for_callback, timeout: 5}", "A"),
    "callback misses a heartbeat": Raising(
        "States.HeartbeatTimeout", "{name: x, type: wait_for_callback, timeout: 1h, heartbeat_timeout: 5}", "A"
    ),
    "callback is answered wrongly": Raising("States.ResultInvalid", "{name: x, type: wait_for_callback}", "A", {"answers": {"x": [b"{"]}}),
    "check fails": Raising("Bad", f"{NEVER_TRUE}}}", "A", bad()),
    "condition is not met": Raising("States.ConditionNotMet", f"{NEVER_TRUE}, max_attempts: 2}}", "A", WORKING),
    "condition times out": Raising("States.Timeout", f"{NEVER_TRUE}, timeout: 5}}", "A", WORKING),
    "wait has no duration": Raising("States.QueryEvaluationError", "{name: x, type: wait, duration: '{{ input.gone }}'}", "A"),
    # but what their submit does is.
    "submit fails": Raising("Bad", f"{{name: c, type: wait_for_callback, submit: [{FAILING_INVOKE}]}}", "AT", bad()),
    # States that run states, and those that end.
    "fail": Raising("Bad", "{name: x, type: fail, error: Bad}", "A"),
    "fail with the name of a group": Raising("States.TaskFailed", "{name: x, type: fail, error: States.TaskFailed}", "AT"),
    "fail with the name of another": Raising("States.BranchFailed", "{name: x, type: fail, error: States.BranchFailed}", "AB"),
    "pass": Raising("States.QueryEvaluationError", "{name: x, type: pass, output: '{{ input.gone }}'}", "A"),
    "loop goes on": Raising("States.LoopLimitExceeded", "{name: x, type: loop, while: true, max_iterations: 2, states: [{name: p, type: pass}]}", "A"),
    "block times out": Raising("States.Timeout", "{name: x, type: block, timeout: 5, states: [{name: i, type: wait, duration: 9}]}", "A"),
    "undo fails": Raising(
        "States.CompensationFailed",
        "{name: x, type: block, compensation: {on_error: fail}, states: [{name: i, type: wait, duration: 1, compensate: "
        "[{name: u, type: invoke, function: f}]}, {name: e, type: fail, error: E}]}",
        "A",
        bad(),
    ),
    "work in a block": Raising("Bad", f"{{name: b, type: block, states: [{FAILING_INVOKE}]}}", "AT", bad()),
    "work in a context": Raising("Bad", f"{{name: b, type: block, context: true, states: [{FAILING_INVOKE}]}}", "AT", bad()),
    "work in a loop": Raising("Bad", f"{{name: b, type: loop, max_iterations: 2, retry: [], states: [{FAILING_INVOKE}]}}", "AT", bad()),
    "work in an inline workflow": Raising(
        "Bad", "{name: b, type: workflow, workflow: g, mode: inline}", "AT", {**bad(), "inline": {"g": f"states: [{FAILING_INVOKE}]"}}
    ),
    # Items and branches.
    "map without a list": Raising("States.QueryEvaluationError", "{name: m, type: map, items: input, states: [{name: p, type: pass}]}", "A"),
    "map bears no more": Raising(
        "States.ExceedToleratedFailureThreshold",
        f"{{name: m, type: map, items: '[1]', completion: {{tolerated_failure_count: 0}}, states: [{FAILING_INVOKE}]}}",
        "A",
        bad(),
    ),
    "map times out": Raising("States.Timeout", "{name: m, type: map, timeout: 5, items: '[1]', states: [{name: i, type: wait, duration: 9}]}", "A"),
    "fail in a branch in a block": Raising(
        "Bad", "{name: b, type: block, states: [{name: m, type: parallel, branches: {b: [{name: x, type: fail, error: Bad}]}}]}", "AB"
    ),
    "a group in the group of another": Raising(
        "States.LoopLimitExceeded",
        "{name: m, type: map, items: '[1]', states: [{name: x, type: loop, while: true, max_iterations: 1, states: [{name: p, type: pass}]}]}",
        "AB",
    ),
    "time-out in an item": Raising(
        "States.Timeout", "{name: m, type: map, items: '[1]', states: [{name: x, type: wait_for_callback, timeout: 5}]}", "AB"
    ),
    # The three exceptions, whoever raises them.
    "fail for the runtime": Raising("States.Runtime", "{name: x, type: fail, error: States.Runtime}", ""),
    "a definition that cannot go on": Raising("States.Runtime", WORK["aws"].replace("MORE", ""), "", bad("States.Runtime")),
    "too large a payload": Raising(
        "States.DataLimitExceeded", WORK["invoke"].replace("MORE", ", payload: '{{ input }}'"), "", {**WORKING, "input": "x" * 1_100_000}
    ),
    "too large a result": Raising("States.DataLimitExceeded", WORK["step"].replace("MORE", ""), "", {"handlers": {"m:f": lambda _: "x" * 300_000}}),
    "too many operations": Raising(
        "States.OperationLimitExceeded",
        f"{{name: l, type: loop, max_iterations: 99, states: [{FAILING_INVOKE}]}}",
        "",
        {**WORKING, "operations_max": 60},
        after="",  # would be one too many itself
    ),
    "an exception in a branch": Raising(
        "States.DataLimitExceeded",
        f"{{name: m, type: parallel, branches: {{b: [{WORK['step'].replace('MORE', '')}]}}}}",
        "",
        {"handlers": {"m:f": lambda _: "x" * 300_000}},
    ),
}  # fmt: skip
for scope in ("type: map, items: '[1]', states: [BODY]", "type: parallel, branches: {b: [BODY]}"):
    for nesting in ("flat", "nested"):
        label = f"{scope.split(',')[0][6:]}, {nesting}"
        there = f"{{name: m, nesting: {nesting}, {scope}}}"
        RAISING[f"work in a {label}"] = Raising("Bad", there.replace("BODY", FAILING_INVOKE), "ATB", bad())
        RAISING[f"fail in a {label}"] = Raising("Bad", there.replace("BODY", "{name: x, type: fail, error: Bad}"), "AB")

GROUPS: Final = {"A": "States.ALL", "T": "States.TaskFailed", "B": "States.BranchFailed"}


@pytest.mark.parametrize("label", RAISING)
def test_rule_14_what_is_in_each_group_and_what_is_not(label: str) -> None:
    raising = RAISING[label]
    assert "".join(letter for letter, group in GROUPS.items() if raising.is_caught_by(group)) == raising.groups
    assert raising.is_caught_by("*") is ("A" in raising.groups)
    assert raising.is_caught_by(raising.name)


def test_rule_14_in_the_item_itself_nothing_has_come_out_of_one() -> None:
    catch = "catch: [{errors: [States.BranchFailed], output: group}, {output: other}]"
    ending = endings(
        lambda: World(
            f"states: [{{name: m, type: map, items: '[1]', states: [{{name: x, type: invoke, function: f, {catch}}}]}}]",
            **bad(),
        )
    )
    assert ending.result == ["other"]


@pytest.mark.parametrize(
    ("pattern", "name", "is_matched"),
    [
        ("Http.5*", "Http.503", True),
        ("Http.5??", "Http.503", True),
        ("Http.5?", "Http.503", False),
        ("Http.[45]*", "Http.404", True),
        ("Http.[!4]*", "Http.404", False),
        ("http.404", "Http.404", False),
        ("*.404", "Http.404", True),
        ("404", "Http.404", False),
        ("Http", "Http.404", False),
        ("Http.", "Http.404", False),
        ("Lambda.*", "Lambda.TooManyRequestsException", True),
        ("Lambda.*", "TooManyRequestsException", False),
        ("*Exception", "Lambda.TooManyRequestsException", True),
        ("Http.[4", "Http.[4", True),
        # A glob on the names of groups is no group.
        ("States.AL?", "Bad", False),
        ("States.Task*", "Bad", False),
        ("States.*", "Bad", False),
        ("States.*", "States.StepInterrupted", True),
        # nor is a group in other letters.
        ("States.All", "Bad", False),
    ],
)
def test_rule_14_errors_are_globs_on_the_whole_name(pattern: str, name: str, *, is_matched: bool) -> None:
    raising = Raising(name, WORK["step"].replace("MORE", ""), "", bad(name))
    assert raising.is_caught_by(pattern) is is_matched


@pytest.mark.parametrize("name", ["States.Runtime", "States.DataLimitExceeded", "States.OperationLimitExceeded"])
def test_rule_14_the_three_exceptions_are_caught_by_their_exact_names_only(name: str) -> None:
    raising = Raising(name, f"{{name: x, type: fail, error: {name}}}", "")
    for pattern in ("*", "States.*", f"{name}*", f"{name[:-1]}?", f"[S]{name[1:]}", f"*{name[3:]}", *GROUPS.values()):
        assert not raising.is_caught_by(pattern), pattern
    assert raising.is_caught_by(name)


@pytest.mark.parametrize(
    ("errors", "name", "attempts"),
    [
        ("States.ALL", "Bad", 2),
        ("States.TaskFailed", "Bad", 2),
        ("States.BranchFailed", "Bad", 1),
        ("States.TaskFailed", "States.Timeout", 1),
        ("States.ALL", "States.Timeout", 2),
        ("States.ALL", "States.DataLimitExceeded", 1),
        ("*", "States.Runtime", 1),
        ("States.Runtime", "States.Runtime", 2),
    ],
)
def test_rule_14_retriers_match_as_catchers_do(errors: str, name: str, attempts: int) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: x, type: step, handler: 'm:f', retry: [{{errors: ['{errors}'], max_attempts: 2, jitter: none}}], "
            f"catch: [{{errors: [{name}], output: '{{{{ error.attempt }}}}'}}]}}]",
            **bad(name),
        )
    )
    assert ending.result == attempts


EVERYTHING = (
    "catch: [{errors: ['*', States.ALL, NonDeterministicExecutionError], states: [{name: caught%s, type: pass}]}]"
)


def test_rule_14_nothing_catches_what_does_not_fit_the_record() -> None:
    before = f"states: [{{name: x, type: wait, duration: 1h}}]\n{EVERYTHING % 1}\n"
    after = f"states: [{{name: x, type: invoke, function: f, {EVERYTHING % 2}}}]\n{EVERYTHING % 1}\n"
    world = World(before, targets={"f": Function(1)})
    assert world.invoke(world.service.event())["Status"] == "PENDING"
    world.plan = plan_of(after)
    assert world.error()[0] == "NonDeterministicExecutionError"
    assert world.started == ["x"]


def test_rule_14_nor_anything_of_that_name() -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: x, type: fail, error: NonDeterministicExecutionError, cause: c}}]\n{EVERYTHING % 1}"
        )
    )
    assert ending.error == ("NonDeterministicExecutionError", "c")


def test_rule_14_nothing_catches_what_the_service_refuses() -> None:
    world = World(f"states: [{{name: x, type: wait, duration: 1, {EVERYTHING % 2}}}]\n{EVERYTHING % 1}")

    def refuse(_: int) -> None:
        raise refusal("AccessDeniedException", "no", 403)

    world.service.before_checkpoint = refuse
    assert world.error() == ("AccessDeniedException", "no")


# 15 ------------------------------------------------------------------------------------------------------------------

ERROR: Final = "output: '{{ error }}'"


def error_of(state: str, **parts: Any) -> Any:
    """The `error` that a catcher sees, on the first way and on every replay."""
    prepared = parts.pop("prepared", lambda world: world)
    text = (
        f"states: [{{name: guard, type: block, states: [{state}], catch: [{{{ERROR}}}]}}, "
        "{name: w, type: wait, duration: 1}]\noutput: '{{ states.guard.result }}'"
    )
    return endings(lambda: prepared(World(text, **parts))).result


def test_rule_15_error_has_eight_members_and_nothing_else() -> None:
    def fail(_: Any) -> Any:
        raise Fault("Bad", "no", {"a": [1]})

    assert error_of("{name: x, type: step, handler: 'm:f'}", handlers={"m:f": fail}) == {
        "name": "Bad",
        "message": "no",
        "data": {"a": [1]},
        "state": "x",
        "attempt": 1,
        "status": None,
        "index": None,
        "branch": None,
    }


@pytest.mark.parametrize(
    "around",
    [
        "BODY",
        "{name: b, type: block, states: [BODY]}",
        "{name: b, type: block, context: true, states: [BODY]}",
        "{name: b, type: loop, max_iterations: 1, states: [BODY]}",
        "{name: b, type: choice, choices: [{when: true, states: [BODY]}]}",
        "{name: b, type: map, items: '[1]', states: [BODY]}",
        "{name: b, type: map, items: '[1]', nesting: nested, states: [BODY]}",
        "{name: b, type: fail, error: Other, catch: [{states: [BODY]}]}",
        "{name: b, type: wait_for_callback, submit: [BODY]}",
        "{name: b, type: block, states: [{name: p, type: pass}], finally: [BODY]}",
    ],
)
@pytest.mark.parametrize("data", [None, {"a": 1}])
def test_rule_15_the_state_is_the_innermost_and_data_is_the_workers(around: str, data: Json) -> None:
    error = error_of(around.replace("BODY", FAILING_INVOKE), targets={"f": Function(Fault("Bad", "no", data))})
    assert (error["state"], error["data"], error["name"], error["message"]) == ("x", data, "Bad", "no")


@pytest.mark.parametrize("kind", ["step", "invoke", "workflow"])
def test_rule_15_attempt_is_the_number_of_attempts_made(kind: str) -> None:
    retry = ", retry: [{errors: [Bad], max_attempts: 3, jitter: none}]"
    assert error_of(WORK[kind].replace("MORE", retry), **bad())["attempt"] == 3
    assert error_of(WORK[kind].replace("MORE", retry), **bad("Fixed.Bad"))["attempt"] == 1


@pytest.mark.parametrize("kind", ["invoke", "workflow"])
@pytest.mark.parametrize("status", ENDED)
def test_rule_15_invoke_and_workflow_have_a_status(kind: str, status: str) -> None:
    error = error_of(WORK[kind].replace("MORE", ""), **bad(), prepared=invokes_end(status))
    assert error["status"] == status


@pytest.mark.parametrize("kind", ["step", "aws", "http"])
def test_rule_15_others_have_none(kind: str) -> None:
    assert error_of(WORK[kind].replace("MORE", ""), **bad())["status"] is None


@pytest.mark.parametrize("nesting", ["flat", "nested"])
def test_rule_15_index_and_branch_when_it_came_out_of_one(nesting: str) -> None:
    item = "{name: x, type: invoke, function: f, payload: '{{ item }}', when: item > 1}"
    made = f"{{name: m, type: map, nesting: {nesting}, items: '[1, 2]', states: [{item}]}}"
    error = error_of(made, **bad())
    assert (error["index"], error["branch"]) == (1, None)
    branches = f"{{name: m, type: parallel, nesting: {nesting}, branches: {{left: [{{name: p, type: pass}}], right: [{FAILING_INVOKE}]}}}}"
    error = error_of(branches, **bad())
    assert (error["index"], error["branch"]) == (None, "right")
    error = error_of(branches.replace(FAILING_INVOKE, made.replace("name: m", "name: inner")), **bad())
    assert (error["index"], error["branch"], error["state"]) == (1, "right", "x")


def test_rule_15_it_is_visible_in_a_catcher_and_everything_inside() -> None:
    ending = endings(
        lambda: World(
            """
            states:
              - name: x
                type: invoke
                function: f
                catch:
                  - when: error.name == 'Bad'
                    assign: {a: "{{ error.name }}"}
                    states:
                      - name: m
                        type: map
                        items: "[error.state]"
                        states: [{name: i, type: invoke, function: g, payload: ["{{ item }}", "{{ error.name }}"]}]
                      - {name: w, type: wait, duration: 1, when: error.name == 'Bad'}
                    output: ["{{ states.m.result }}", "{{ error.message }}", "{{ vars.a }}"]
            """,
            targets={"f": Function(Fault("Bad", "no")), "g": Function()},
        )
    )
    assert ending.result == [[["x", "Bad"]], "no", "Bad"]
    assert ending.paths == ["x", "m", "m[0]/i", "w"]


def test_rule_15_it_is_visible_in_compensate_and_finally_and_null_there_when_there_was_none() -> None:
    def ending(bad: Any) -> list[Any]:
        functions: list[Function] = []

        def make() -> World:
            functions.append(Function())
            return World(
                """
                states:
                  - name: b
                    type: block
                    states:
                      - name: a
                        type: wait
                        duration: 1
                        compensate: [{name: u, type: invoke, function: g, payload: ["undo", "{{ error.name }}"]}]
                      - {name: x, type: invoke, function: f}
                    catch: [{output: 0}]
                    finally:
                      - {name: last, type: invoke, function: g, payload: ["finally", "{{ error.name if error else error }}"]}
                """,
                targets={"f": Function(bad), "g": functions[-1]},
            )

        endings(make)
        assert all(function.payloads == functions[0].payloads for function in functions)
        return functions[0].payloads

    assert ending(Fault("Bad")) == [["undo", "Bad"], ["finally", "Bad"]]
    assert ending(1) == [["finally", None]]


@pytest.mark.parametrize("kind", ["step", "invoke"])
def test_rule_15_it_is_visible_in_the_when_of_a_retrier(kind: str) -> None:
    retry = ", retry: [{when: error.data.again and error.attempt < 5 and error.state == 'x', max_attempts: 9, jitter: none}]"
    faults = [Fault("Bad", "", {"again": again}) for again in (True, True, False)]
    parts: dict[str, Any] = {"handlers": {"m:f": by_attempt(*faults)}}
    text = f"states: [{WORK[kind].replace('MORE', retry)}]\ncatch: [{{output: '{{{{ error.attempt }}}}'}}]"
    assert endings(lambda: World(text, targets={"f": Function(*faults)}, **parts)).result == 3


# 16 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("catch", ["", "\ncatch: [{errors: [Other], output: 1}]"])
@pytest.mark.parametrize(
    "state", [FAILING_INVOKE, f"{{name: b, type: block, context: true, states: [{FAILING_INVOKE}]}}"]
)
def test_rule_16_an_uncaught_error_is_that_of_the_execution(state: str, catch: str) -> None:
    ending = endings(lambda: World(f"states: [{state}]{catch}", targets={"f": Function(Fault("Bad", "because"))}))
    assert ending.output == {"Status": "FAILED", "Error": {"ErrorType": "Bad", "ErrorMessage": "because"}}


# 17 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        "type: pass, output: '{{ range(100000) | list }}'",
        "type: pass, output: '{{ \"x\" * 300000 }}'",
        "type: map, items: '{{ input.text }}', states: [{name: p, type: pass}]",
        "type: map, items: input, states: [{name: p, type: pass}]",
        "type: wait, duration: '{{ input.text }}'",
        "type: wait, duration: '{{ input }}'",
        "type: wait, until: '{{ input.text }}'",
        "type: invoke, function: f, timeout: '{{ input.text }}'",
        "type: loop, max_iterations: 2, delay: '{{ input.text }}', states: [{name: p, type: pass}]",
        "type: wait_for_callback, timeout: '{{ input.text }}'",
    ],
)
def test_rule_17_limits_lists_and_durations_are_errors_of_evaluation(state: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {state}, catch: [{{output: '{{{{ error.name }}}}'}}]}}]",
            input={"text": "soon"},
            targets={"f": Function(1)},
        )
    )
    assert ending.result == "States.QueryEvaluationError"


def test_rule_17_each_use_of_runtime_is_in_the_documentation() -> None:
    everything = Actions(allowed=AllowList(patterns=("*:*",)))
    uses = {
        "a service": ("nosuch", "put"),
        "or action": ("sns", "nosuch"),
        "streams events": ("kinesis", "subscribe_to_shard"),
    }
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith("| `States.Runtime` |"))
    for words, (service, action) in uses.items():
        with pytest.raises(Fault) as raised:
            everything.perform(service, action, {}, idempotency_key="0" * 32)
        assert raised.value.name == "States.Runtime"
        assert words in row
    # Another use needs its words there, and its case here: the first two share one place in the code.
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "durableflow").rglob("*.py")}
    assert {
        name: text.count("Fault(faults.RUNTIME") for name, text in sources.items() if "(faults.RUNTIME" in text
    } == {"actions.py": 2}


# 18 ------------------------------------------------------------------------------------------------------------------

GONE = "{{ input.gone }}"
COVERED = {
    "work": "type: invoke, function: bad",
    "payload of an invoke": f"type: invoke, function: f, payload: '{GONE}'",
    "function of an invoke": f"type: invoke, function: '{GONE}', allow: ['*']",
    "tenant of an invoke": f"type: invoke, function: f, tenant_id: '{GONE}'",
    "payload of a step": f"type: step, handler: 'm:f', payload: '{GONE}'",
    "params": f"type: aws, service: s3, action: list_buckets, params: {{A: '{GONE}'}}",
    "url": f"type: http, url: '{GONE}'",
    "headers": f"type: http, url: 'https://x.example', headers: {{a: '{GONE}'}}",
    "payload of a child": f"type: workflow, workflow: f, payload: '{GONE}'",
    "payload of an inline workflow": f"type: workflow, workflow: f, mode: inline, payload: '{GONE}'",
    "items": "type: map, items: input.gone, states: [{name: p, type: pass}]",
    "item_name": f"type: map, items: '[1]', nesting: nested, item_name: '{GONE}', states: [{{name: p, type: wait, duration: 1}}]",
    "duration": f"type: wait, duration: '{GONE}'",
    "until": f"type: wait, until: '{GONE}'",
    "timeout": f"type: invoke, function: f, timeout: '{GONE}'",
    "heartbeat": f"type: wait_for_callback, heartbeat_timeout: '{GONE}'",
    "until of a condition": "type: wait_for_condition, until: input.gone, check: {type: step, handler: 'm:f'}",
    "check of a condition": f"type: wait_for_condition, until: true, check: {{type: step, handler: 'm:f', payload: '{GONE}'}}",
    "initial": f"type: wait_for_condition, until: true, initial: '{GONE}', check: {{type: step, handler: 'm:f', payload: '{{{{ previous }}}}'}}",
    "delay": f"type: loop, max_iterations: 2, delay: '{GONE}', states: [{{name: p, type: pass}}]",
    "output": f"type: pass, output: '{GONE}'",
    "output of an invoke": f"type: invoke, function: f, output: '{GONE}'",
    "output of a step": f"type: step, handler: 'm:f', output: '{GONE}'",
    "output of a block": f"type: block, states: [{{name: p, type: pass}}], output: '{GONE}'",
    "assign": f"type: pass, assign: {{a: '{GONE}'}}",
    "error of a fail": f"type: fail, error: '{GONE}'",
    "output of a succeed": f"type: succeed, output: '{GONE}'",
    "when of a retrier": "type: invoke, function: bad, retry: [{when: input.gone}]",
}


@pytest.mark.parametrize("what", COVERED)
def test_rule_18_a_states_own_catch_covers_its_templates_and_its_work(what: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {COVERED[what]}, catch: [{{output: ['{{{{ error.name }}}}', '{{{{ error.state }}}}']}}]}}, "
            "{name: w, type: wait, duration: 1}]\noutput: '{{ states.s.result }}'",
            handlers={"m:f": lambda _: 1},
            targets={"f": Function(1), "bad": Function(Fault("Bad"))},
            inline={"f": "states: [{name: p, type: pass}]"},
        )
    )
    assert ending.result == ["Bad" if what == "work" else "States.QueryEvaluationError", "s"]


def test_rule_18_but_not_its_when() -> None:
    text = (
        "states: [{name: b, type: block, states: [{name: s, type: wait, duration: 1, when: input.gone, "
        "catch: [{output: own}]}], catch: [{output: '{{ error.state }}'}]}]"
    )
    assert endings(lambda: World(text)).result == "s"


TEMPLATES = {
    "payload": ("type: invoke, function: f, payload: '{{ input.gone }}'", "States.QueryEvaluationError"),
    "output of an invoke": ("type: invoke, function: f, output: '{{ input.gone }}'", "States.QueryEvaluationError"),
    "output of a step": ("type: step, handler: 'm:f', output: '{{ input.gone }}'", "States.QueryEvaluationError"),
    "argument of a step": ("type: step, handler: 'm:f', payload: '{{ input.gone }}'", "States.QueryEvaluationError"),
    "schema of an invoke": (f"type: invoke, function: f, {SCHEMA}", "States.ResultInvalid"),
    "schema of a step": (f"type: step, handler: 'm:f', {SCHEMA}", "States.ResultInvalid"),
    "schema of a block": (f"type: block, states: [{{name: i, type: invoke, function: f}}], {SCHEMA}", "States.ResultInvalid"),
    "template in a block": ("type: block, states: [{name: p, type: pass, output: '{{ input.gone }}'}]", "States.QueryEvaluationError"),
}  # fmt: skip


def attempts(what: str, errors: str) -> int:
    """How many attempts are made of a state whose templates or schema fail, with a retrier for those errors."""
    state, name = TEMPLATES[what]
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {state}, retry: [{{errors: ['{errors}'], max_attempts: 3, interval: 60, jitter: none}}], "
            "catch: [{output: '{{ error.name }}'}]}, {name: w, type: wait, duration: 1}]\noutput: '{{ states.s.result }}'",
            handlers={"m:f": lambda _: 1},
            targets={"f": Function(1)},
        )
    )
    assert ending.result == name
    return 1 + sum(u["Action"] == "RETRY" or "-backoff-" in u.get("Name", "") for u in ending.world.service.updates)


@pytest.mark.parametrize("what", TEMPLATES)
@pytest.mark.parametrize("errors", ["States.ALL", "*", "States.*", "States.TaskFailed"])
def test_rule_18_templates_and_schemas_are_not_tried_again(what: str, errors: str) -> None:
    assert attempts(what, errors) == 1


# Of a step's argument there is no attempt to repeat: nothing has started.
@pytest.mark.parametrize("what", [what for what in TEMPLATES if what != "argument of a step"])
def test_rule_18_unless_named_exactly(what: str) -> None:
    assert attempts(what, TEMPLATES[what][1]) == 3


@pytest.mark.parametrize("kind", ["step", "aws", "http"])
@pytest.mark.parametrize(
    ("more", "name"),
    [(", output: '{{ input.gone }}'", "States.QueryEvaluationError"), (f", {SCHEMA}", "States.ResultInvalid")],
)
def test_rule_18_an_error_of_what_is_stored_fails_the_operation_itself(kind: str, more: str, name: str) -> None:
    text = f"states: [{WORK[kind].replace('MORE', more)}]\ncatch: [{{output: '{{{{ error.name }}}}'}}]"
    ending = endings(lambda: World(text, **WORKING))
    assert ending.result == name
    operation = ending.operation("x")
    assert (operation["Status"], operation["StepDetails"]["Error"]["ErrorType"]) == ("FAILED", name)


def test_rule_18_that_of_an_invoke_does_not() -> None:
    text = f"states: [{WORK['invoke'].replace('MORE', f', {SCHEMA}')}]\ncatch: [{{output: '{{{{ error.name }}}}'}}]"
    ending = endings(lambda: World(text, **WORKING))
    assert ending.result == "States.ResultInvalid"
    assert ending.operation("x")["Status"] == "SUCCEEDED"


# 19 ------------------------------------------------------------------------------------------------------------------


def journalled(text: str, *, fails: tuple[str, ...] = (), **parts: Any) -> tuple[Ending, list[str]]:
    """How a workflow ends, and what its function was called with, in order."""
    orders: list[list[str]] = []

    def make() -> World:
        order, function = journal(fails=fails)
        orders.append(order)
        return World(text, targets={"f": function}, **parts)

    ending = endings(make)
    assert all(order == orders[0] for order in orders)
    return ending, orders[0]


def call(name: str, more: str = "") -> str:
    return f"{{name: {name}, type: invoke, function: f, payload: {name}{more}}}"


UNDONE = call("a", f", compensate: [{call('undo')}]")


def test_rule_19_fail_raises_its_error_like_any_other_state() -> None:
    ending, order = journalled(
        f"states: [{{name: b, type: block, states: [{UNDONE}, {{name: x, type: fail, error: Bad, cause: c, "
        f"data: [1]}}, {call('never')}], catch: [{{errors: [Bad], states: [{call('caught')}], "
        f"output: ['{{{{ error.message }}}}', '{{{{ error.data }}}}']}}], finally: [{call('last')}]}}]"
    )
    assert ending.result == ["c", [1]]
    assert order == ["a", "undo", "caught", "last"]


def test_rule_19_its_own_catcher_sees_it_too() -> None:
    ending, order = journalled(
        f"states: [{{name: x, type: fail, error: Bad, catch: [{{output: '{{{{ error.name }}}}'}}]}}, {call('next')}]"
    )
    assert ending.result == "next"
    assert order == ["next"]


SUCCEEDING = {
    "list": "SUCCEED",
    "block": "{name: s, type: block, states: [SUCCEED, NEVER1]}",
    "context": "{name: s, type: block, context: true, states: [SUCCEED, NEVER1]}",
    "loop": "{name: s, type: loop, max_iterations: 3, states: [SUCCEED, NEVER1]}",
    "choice": "{name: s, type: choice, choices: [{when: true, states: [SUCCEED, NEVER1]}]}",
    "catcher": "{name: s, type: fail, error: E, catch: [{states: [SUCCEED, NEVER1], output: wrong}]}",
    "deep": "{name: s, type: block, states: [{name: t, type: loop, max_iterations: 2, states: [SUCCEED]}, NEVER1]}",
    "catch of the workflow": "{name: s, type: fail, error: E}",
}


def succeeding(kind: str, succeed: str, more: str = "") -> tuple[Ending, list[str]]:
    state = SUCCEEDING[kind].replace("SUCCEED", succeed).replace("NEVER1", call("never1"))
    tail = f"\ncatch: [{{states: [{succeed}, {call('never3')}]}}]" if kind == "catch of the workflow" else ""
    return journalled(f"states: [{call('a')}, {state}, {call('never2')}]{tail}{more}")


@pytest.mark.parametrize("kind", SUCCEEDING)
def test_rule_19_succeed_ends_the_workflow_with_its_output(kind: str) -> None:
    more = "\noutput: other"
    ending, order = succeeding(kind, "{name: x, type: succeed, output: ['{{ states.a.result }}']}", more)
    assert ending.result == ["a"]
    assert order == ["a"]


@pytest.mark.parametrize("kind", SUCCEEDING)
def test_rule_19_else_it_ends_as_a_normal_end_does(kind: str) -> None:
    more = "\noutput: ['{{ states.a.result }}', normal]"
    ending, order = succeeding(kind, "{name: x, type: succeed}", more)
    assert ending.result == ["a", "normal"]
    assert order == ["a"]


def test_rule_19_its_output_is_checked_as_any_other() -> None:
    more = "\noutput_schema: {type: string}"
    ending, _ = succeeding("block", "{name: x, type: succeed, output: 1}", more)
    assert ending.error[0] == "States.OutputInvalid"


@pytest.mark.parametrize("nesting", ["flat", "nested"])
def test_rule_19_in_a_body_it_ends_that_item_or_branch(nesting: str) -> None:
    def body(number: int, condition: str) -> str:
        return (
            f"[{{name: b{number}, type: block, states: [{{name: x{number}, type: succeed, output: early, when: {condition}}}, "
            f"{{name: c{number}, type: invoke, function: f, payload: late}}]}}]"
        )

    ending, order = journalled(
        f"states: [{{name: m, type: map, items: '[1, 2]', nesting: {nesting}, states: {body(1, 'item == 1')}}}, "
        f"{{name: p, type: parallel, nesting: {nesting}, branches: {{k: {body(2, 'true')}, l: {body(3, 'false')}}}}}, "
        "{name: w, type: wait, duration: 1}]\noutput: ['{{ states.m.result }}', '{{ states.p.result }}']"
    )
    assert ending.result == [["early", "late"], {"k": "early", "l": "late"}]
    assert order == ["late", "late"]


@pytest.mark.parametrize(
    "place",
    [
        "finally",
        "compensate",
        "submit",
    ],
)
@pytest.mark.parametrize("depth", ["BODY", "{name: d, type: block, states: [BODY]}"])
def test_rule_19_it_is_not_allowed_everywhere(place: str, depth: str) -> None:
    body = depth.replace("BODY", "{name: x, type: succeed}")
    state = {
        "finally": f"{{name: s, type: block, states: [{{name: p, type: pass}}], finally: [{body}]}}",
        "compensate": f"{{name: s, type: wait, duration: 1, compensate: [{body}]}}",
        "submit": f"{{name: s, type: wait_for_callback, submit: [{body}]}}",
    }[place]
    assert codes(f"states: [{state}]") == ["DF313"]
    if place == "finally":
        assert codes(f"states: [{{name: p, type: pass}}]\nfinally: [{body}]") == ["DF313"]


def test_rule_19_finally_still_runs_and_compensation_does_not() -> None:
    ending, order = journalled(
        f"states: [{{name: b, type: block, states: [{UNDONE}, {{name: x, type: succeed, output: 1}}], "
        f"finally: [{call('inner')}]}}, {call('never')}]\nfinally: [{call('outer')}]"
    )
    assert ending.result == 1
    assert order == ["a", "inner", "outer"]


# 20 ------------------------------------------------------------------------------------------------------------------

END = (
    f"states: [{UNDONE}, {call('bad')}]\ncatch: [{{states: [{call('caught')}], assign: {{seen: '{{{{ error.name }}}}'}}}}]\n"
    f"finally: [{call('last')}]\noutput: ['{{{{ vars.seen }}}}', '{{{{ states.caught.status }}}}', '{{{{ states.last.status }}}}']\n"
    "output_schema: {type: array, minItems: 3}"
)


def test_rule_20_the_end_of_a_workflow_has_an_order() -> None:
    ending, order = journalled(END, fails=("bad",))
    assert ending.result == ["No.bad", "succeeded", "succeeded"]
    assert order == ["a", "bad", "undo", "caught", "last"]


def test_rule_20_without_an_error_there_is_no_undo_and_no_catch() -> None:
    ending, order = journalled(END.replace("vars.seen", "vars.seen is defined").replace("states.caught.status", "1"))
    assert ending.result == [False, 1, "succeeded"]
    assert order == ["a", "bad", "last"]


def test_rule_20_output_schema_comes_last() -> None:
    ending, order = journalled(END.replace("minItems: 3", "minItems: 4"), fails=("bad",))
    assert ending.error[0] == "States.OutputInvalid"
    assert order == ["a", "bad", "undo", "caught", "last"]


@pytest.mark.parametrize("catcher", ["output: done", f"states: [{call('caught')}]", "assign: {a: 1}"])
def test_rule_20_a_catch_that_ends_without_fail_is_a_success(catcher: str) -> None:
    ending, _ = journalled(f"states: [{call('bad')}]\ncatch: [{{{catcher}}}]", fails=("bad",))
    assert ending.output["Status"] == "SUCCEEDED"


def test_rule_20_one_that_ends_with_fail_is_a_failure() -> None:
    ending, order = journalled(
        f"states: [{call('bad')}]\ncatch: [{{states: [{{name: x, type: fail, error: Other}}]}}]\nfinally: [{call('last')}]",
        fails=("bad",),
    )
    assert ending.error[0] == "Other"
    assert order == ["bad", "last"]


OWN = f"\ncatch: [{{states: [{call('caught')}]}}]"


def test_rule_20_wrong_input_runs_nothing_and_is_not_caught() -> None:
    text = f"input: {{schema: {{type: object, required: [id]}}}}\nstates: [{call('a')}]{OWN}\nfinally: [{call('last')}]"
    ending, order = journalled(text, input={})
    assert ending.error[0] == "States.InputInvalid"
    assert (ending.paths, order) == ([], [])


@pytest.mark.parametrize(
    "wrong",
    ["output: '{{ input.gone }}'", "output_schema: {type: integer}", "output: 1\noutput_schema: {type: string}"],
)
def test_rule_20_wrong_output_is_not_caught(wrong: str) -> None:
    ending, order = journalled(f"states: [{call('a')}]{OWN}\n{wrong}\nfinally: [{call('last')}]")
    assert ending.error[0] == "States.OutputInvalid"
    assert order == ["a", "last"]


def test_rule_20_an_error_inside_catch_states_goes_outward() -> None:
    second = f"{{errors: [No.again], states: [{call('never')}]}}"
    ending, order = journalled(
        f"states: [{{name: b, type: block, states: [{{name: s, type: invoke, function: f, payload: bad, catch: ["
        f"{{states: [{call('again')}]}}, {second}]}}], catch: [{{output: '{{{{ error.name }}}}'}}]}}]",
        fails=("bad", "again"),
    )
    assert ending.result == "No.again"
    assert order == ["bad", "again"]


def test_rule_20_one_inside_the_workflows_own_ends_it_after_finally() -> None:
    ending, order = journalled(
        f"states: [{call('bad')}]\ncatch: [{{states: [{call('again')}]}}, {{output: never}}]\nfinally: [{call('last')}]",
        fails=("bad", "again"),
    )
    assert ending.error == ("No.again", "again failed")
    assert order == ["bad", "again", "last"]


@pytest.mark.parametrize("fails", [("last",), ("a", "last")])
def test_rule_20_an_error_inside_finally_replaces_the_outcome(fails: tuple[str, ...]) -> None:
    ending, order = journalled(f"states: [{call('a')}]\nfinally: [{call('last')}, {call('never')}]", fails=fails)
    assert ending.error == ("No.last", "last failed")
    assert order == ["a", "last"]
    block = f"{{name: b, type: block, states: [{call('a')}], finally: [{call('last')}]}}"
    ending, _ = journalled(f"states: [{block}]\ncatch: [{{output: '{{{{ error.name }}}}'}}]", fails=fails)
    assert ending.result == "No.last"


def test_rule_20_a_stopped_execution_runs_nothing_more(
    shell: Shell, running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / f"{tmp_path.name}.py").write_text(
        "from pathlib import Path\ndef f(name):\n    Path(name).touch()\n", encoding="utf-8"
    )
    (tmp_path / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [w.yaml]\n')
    handler = f"type: step, handler: '{tmp_path.name}:f', payload"
    (tmp_path / "w.yaml").write_text(
        f'durableflow: "1"\nname: w\nstates: [{{name: a, {handler}: first, compensate: [{{name: u, {handler}: undone}}]}}, '
        f"{{name: nap, type: wait, duration: 1h}}]\ncatch: [{{states: [{{name: c, {handler}: caught}}]}}]\n"
        f"finally: [{{name: z, {handler}: last}}]\n"
    )
    one = running("w.yaml", "--name", "n")
    one.until("nap  wait")
    assert shell("executions", "stop", "n").out == "n  STOPPED\n"
    assert one.ended()[0] == 1
    made = {name for name in ("first", "undone", "caught", "last") if (tmp_path / name).exists()}
    assert made == {"first"}


# 21 ------------------------------------------------------------------------------------------------------------------

FLOW = f"states: [{call('bad', ', NEXT catch: [{errors: [No.bad], CATCHER}]')}, {call('second')}, {call('third')}, {call('fourth')}]"


@pytest.mark.parametrize(
    ("catcher", "own", "order"),
    [
        ("output: 1, next: fourth", "", ["bad", "fourth"]),
        ("output: 1, next: fourth", "next: third,", ["bad", "fourth"]),
        ("output: 1, next: end", "next: third,", ["bad"]),
        ("output: 1", "next: third,", ["bad", "third", "fourth"]),
        ("output: 1", "next: end,", ["bad"]),
        ("output: 1", "", ["bad", "second", "third", "fourth"]),
        (f"states: [{call('caught')}]", "next: third,", ["bad", "caught", "third", "fourth"]),
        (f"states: [{call('caught')}]", "", ["bad", "caught", "second", "third", "fourth"]),
    ],
)
def test_rule_21_where_the_flow_goes_after_a_catcher(catcher: str, own: str, order: list[str]) -> None:
    _, made = journalled(FLOW.replace("NEXT", own).replace("CATCHER", catcher), fails=("bad",))
    assert made == order


@pytest.mark.parametrize("target", ["third", "end"])
def test_rule_21_the_next_of_a_skipped_state_is_not_taken(target: str) -> None:
    states = f"[{call('first', f', when: input, next: {target}')}, {call('second')}, {call('third')}]"
    _, skipped = journalled(f"states: {states}", input=False)
    assert skipped == ["second", "third"]
    _, taken = journalled(f"states: {states}", input=True)
    assert taken == (["first"] if target == "end" else ["first", "third"])
