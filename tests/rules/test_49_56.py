"""Tokens, names, the wire, schemas, tokens of AWS, what a diagnostic is: rules 49 to 56."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import worlds
from crashes import edited, endings
from doubles import Function, by_attempt
from memory_service import ARN, Ended, MemoryService
from worlds import World, plan_of

from durableflow import faults
from durableflow.aws import lambda_handler
from durableflow.compiler import compile_workflow
from durableflow.driver import EventError
from durableflow.errors import CODES, Fault, WorkflowError
from durableflow.parameters import token
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durableflow.errors import Diagnostic
    from durableflow.values import Json

TESTS = Path(__file__).parent.parent


def findings(text: str) -> tuple[Diagnostic, ...]:
    """Everything that is found in a workflow, whether or not it is refused."""
    try:
        return compile_workflow(Source(name="demo.yaml", text=f'durableflow: "1"\nname: demo\n{text}')).problems
    except WorkflowError as error:
        return tuple(error.problems)


def severities(text: str) -> dict[str, str]:
    """The errors and warnings among them, by their codes."""
    return {problem.code: problem.severity for problem in findings(text) if problem.severity != "info"}


# 49 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("withheld", [None, "", "left out"])
@pytest.mark.parametrize("number", range(1, 5))
def test_rule_49_without_a_token_nothing_more_is_written_or_started(number: int, withheld: str | None) -> None:
    done: list[str] = []
    world = World(
        "states: [{name: a, type: step, handler: 'm:f'}, {name: b, type: parallel, nesting: nested, branches: {"
        "x: [{name: c, type: step, handler: 'm:f'}], y: [{name: d, type: step, handler: 'm:f'}]}}, "
        "{name: e, type: step, handler: 'm:f'}]\ncatch: [{output: caught}]",
        handlers={"m:f": lambda call: done.append(call.path)},
    )

    def withhold(made: int, reply: dict[str, Any]) -> None:
        if made == number:
            if withheld == "left out":
                del reply["CheckpointToken"]
            else:
                reply["CheckpointToken"] = withheld

    world.service.after_checkpoint = withhold
    assert world.invoke(world.service.event()) == {"Status": "PENDING"}
    assert len(world.service.requests) == number
    started = {u["Name"] for u in world.service.updates if u["Type"] == "STEP" and u["Action"] == "START"}
    ended = {u["Name"] for u in world.service.updates if u["Type"] == "STEP" and u["Action"] == "SUCCEED"}
    # What the last reply would have let begin has not begun.
    last = {u["Name"] for u in world.service.requests[-1]["Updates"] if u["Action"] == "START"}
    assert not {path.rpartition("/")[2] for path in done} & last
    assert ended <= started


def test_rule_49_a_batch_of_several_requests_stops_in_its_middle() -> None:
    def make(dies: bool) -> World:
        world = World(
            "states: [{name: m, type: map, items: '[1, 2, 3]', states: [{name: f, type: invoke, function: f, payload: '{{ input }}'}]}]",
            input="x" * 500_000,
            targets={"f": Function(1)},
        )
        if dies:
            world.service.after_checkpoint = lambda _, reply: reply.pop("CheckpointToken")
        return world

    whole, cut = make(False), make(True)
    assert whole.invoke(whole.service.event()) == {"Status": "PENDING"}
    assert len(whole.service.requests) > 1
    assert cut.invoke(cut.service.event()) == {"Status": "PENDING"}
    assert len(cut.service.requests) == 1


# 50 ------------------------------------------------------------------------------------------------------------------


def test_rule_50_iterations_count_from_0_in_paths_too() -> None:
    ending = endings(
        lambda: World(
            "states: [{name: l, type: loop, max_iterations: 2, delay: 5, states: [{name: inner, type: loop, "
            "max_iterations: 2, states: [{name: f, type: invoke, function: f, payload: '{{ iteration }}'}]}]}]",
            targets={"f": Function()},
        )
    )
    assert ending.paths == [
        "l{0}/inner{0}/f",
        "l{0}/inner{1}/f",
        "l{0}:delay",
        "l{1}/inner{0}/f",
        "l{1}/inner{1}/f",
    ]
    assert ending.names == ["f", "f", "l-delay", "f", "f"]
    assert ending.result == 1


# 51 ------------------------------------------------------------------------------------------------------------------

HANDLERS = """\
def payload(payload):
    return {"payload": payload}

def both(payload, context):
    return {"payload": payload, "context": type(context).__name__, "attempt": context.attempt}

def option(payload, scale=2):
    return {"payload": payload, "scale": scale}

def keyword(payload, *, scale=3):
    return {"payload": payload, "scale": scale}
"""


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("payload", {}),
        ("both", {"context": "StepContext", "attempt": 1}),
        ("option", {"scale": 2}),
        ("keyword", {"scale": 3}),
    ],
)
def test_rule_51_a_handler_gets_the_payload_and_with_two_positional_arguments_the_context(
    tmp_path: Path, name: str, more: dict[str, Any]
) -> None:
    # A module of its own for each test, since a module that is loaded stays so.
    (tmp_path / f"handlers_51_{name}.py").write_text(HANDLERS)
    plan = plan_of(f"states: [{{name: s, type: step, handler: 'handlers_51_{name}:{name}', payload: [1, x]}}]")
    service = MemoryService()
    handle = lambda_handler(plan, client=service, handlers_root=tmp_path)
    output: Any = service.run(lambda event: handle(event, None))
    assert json.loads(output["Result"]) == {"payload": [1, "x"], **more}


# 52 ------------------------------------------------------------------------------------------------------------------


def test_rule_52_unknown_fields_of_events_and_replies_are_ignored() -> None:
    more = {"AFieldOfTheFuture": {"ignored": [True]}}

    def make() -> World:
        world = World(
            "states: [{name: s, type: step, handler: 'm:f'}, {name: w, type: wait, duration: 5}, "
            "{name: f, type: invoke, function: f}]",
            handlers={"m:f": lambda _: 1},
            targets={"f": Function(7)},
        )
        shown, reply, page = world.service._shown, world.service._reply, world.service.get_durable_execution_state

        def shown_with_more(operation: Any) -> dict[str, Any]:
            made = {**shown(operation), **more}
            return {key: {**value, **more} if key.endswith("Details") else value for key, value in made.items()}

        world.service._shown = shown_with_more  # type: ignore[method-assign]
        world.service._reply = lambda: {**reply(), **more}  # type: ignore[method-assign]
        world.service.get_durable_execution_state = lambda **asked: {**page(**asked), **more}  # type: ignore[method-assign]
        return world

    assert endings(make).result == 7


@pytest.mark.parametrize("member", ["Type", "Status"])
@pytest.mark.parametrize("where", ["event", "page", "reply"])
def test_rule_52_unknown_types_and_statuses_raise(member: str, where: str) -> None:
    world = World("states: [{name: s, type: step, handler: 'm:f'}]\ncatch: [{output: caught}]", handlers={"m:f": print})
    event = world.service.event()
    strange: Any = {"Id": "x", "Type": "WAIT", "Status": "STARTED", member: "OF_THE_FUTURE"}
    if where == "event":
        event["InitialExecutionState"]["Operations"] = [strange]
    elif where == "page":
        world.service.operations["x"] = strange
    else:
        world.service.after_checkpoint = lambda _, reply: reply["NewExecutionState"]["Operations"].append(strange)
    with pytest.raises(EventError, match="OF_THE_FUTURE"):
        world.invoke(event)
    assert len(world.service.requests) == (where == "reply")


@pytest.mark.parametrize("value", ['{"$value":1}', '{"$workflow":"x","input":1}', '{"b":1,"a":[ "é", 1.5 ]}', "[null]"])
def test_rule_52_payloads_travel_verbatim(value: str) -> None:
    function = Function(Ended(result=value))
    ending = endings(
        lambda: World(
            "states: [{name: f, type: invoke, function: f, payload: '{{ input }}'}, {name: w, type: wait, duration: 5}]\n"
            "output: '{{ states.f.result }}'",
            input=json.loads(value),
            targets={"f": function},
        )
    )
    assert ending.result == json.loads(value)
    (start,) = [u for u in ending.world.service.updates if u["Type"] == "CHAINED_INVOKE"]
    # As the author's value is written, nothing put around it; and the answer stands as it came.
    assert start["Payload"] == json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False)
    assert ending.operation("f")["ChainedInvokeDetails"].get("Result") == value


def lambda_update(plans: Any, *, input: str = "{}", **settings: Any) -> Any:  # noqa: A002 - as MemoryService has it
    """The first update that a function on Lambda makes."""
    service = MemoryService(input=input)
    lambda_handler(plans, client=service, **settings)(service.event(), None)
    return service.updates[0]


PARENT = "states: [{name: sub, type: workflow, workflow: %s, payload: {n: 1}}]"
SELF = ARN.partition("/durable-execution/")[0]


def test_rule_52_here_a_child_is_the_workflow_by_its_name() -> None:
    ending = endings(
        lambda: World(
            PARENT % "other", inline={"other": "states: [{name: p, type: pass}]"}, targets={"other": Function()}
        )
    )
    assert ending.result == {"n": 1}
    (start,) = ending.world.service.updates
    assert (start["Type"], start["Payload"]) == ("CHAINED_INVOKE", '{"n":1}')
    assert start["ChainedInvokeOptions"] == {"FunctionName": "other"}


def test_rule_52_on_lambda_it_is_the_function_that_holds_it_at_the_executing_version() -> None:
    inner = {"inner": "states: [{name: p, type: pass}]"}
    outer = plan_of(PARENT % "inner", inner, name="outer")
    several = {"outer": outer, "inner": plan_of(inner["inner"], name="inner")}

    start = lambda_update(several, input='{"$workflow": "outer", "input": {}}')
    assert SELF.endswith(":1")
    assert start["ChainedInvokeOptions"] == {"FunctionName": SELF}
    assert json.loads(start["Payload"]) == {"$workflow": "inner", "input": {"n": 1}}

    alone = plan_of(PARENT % "outer", {"outer": "states: [{name: p, type: pass}]"}, name="outer")
    start = lambda_update(alone)
    assert start["ChainedInvokeOptions"] == {"FunctionName": SELF}
    assert json.loads(start["Payload"]) == {"n": 1}

    start = lambda_update(outer)
    assert start["ChainedInvokeOptions"] == {"FunctionName": "inner"}
    assert json.loads(start["Payload"]) == {"n": 1}


def test_rule_52_the_form_is_read_only_by_a_function_that_holds_several() -> None:
    plan = plan_of("states: [{name: p, type: pass}]\noutput: '{{ input }}'", name="one")
    other = plan_of("states: [{name: p, type: pass}]\noutput: other", name="two")
    text = '{"$workflow":"one","input":{"a":1}}'

    def answer(plans: Any, given: str) -> Any:
        service = MemoryService(input=given)
        handle = lambda_handler(plans, client=service)
        return service.run(lambda event: dict(handle(event, None)))

    assert answer(plan, text) == {"Status": "SUCCEEDED", "Result": text}
    assert answer({"one": plan, "two": other}, text) == {"Status": "SUCCEEDED", "Result": '{"a":1}'}
    for unknown in ('{"$workflow":"three","input":{}}', '{"input":{}}', "[]"):
        failed = answer({"one": plan, "two": other}, unknown)
        assert (failed["Status"], failed["Error"]["ErrorType"]) == ("FAILED", faults.INPUT_INVALID)


# 53 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["", "input: {schema: {type: object}}\n"])
def test_rule_53_jsonschema_is_imported_only_when_a_schema_must_be_checked(tmp_path: Path, schema: str) -> None:
    # The plan is compiled here: compiling checks a schema, too.
    plan = plan_of(f"{schema}states: [{{name: w, type: wait, duration: 5}}]")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    program = (
        "import sys\nfrom memory_service import MemoryService\nfrom durableflow.aws import lambda_handler\n"
        "loaded, service = [], MemoryService(input='{}')\nhandle = lambda_handler('plan.json', client=service)\n"
        "print(service.run(lambda event: handle(event, None))['Status'], 'jsonschema' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["SUCCEEDED", str(bool(schema))]


def test_rule_53_when_which_schema_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[int, str]] = []
    invocations: list[int] = []

    def counted(schema: Json, value: Json) -> str | None:
        assert isinstance(schema, dict)
        checked.append((len(invocations), str(schema["title"])))
        return check_schema(schema, value)

    monkeypatch.setattr(worlds, "check_schema", counted)
    work = {"step": "type: step, handler: 'm:f'", "http": "type: http, method: GET, url: 'https://x.example'"}
    work["aws"] = "type: aws, service: s3, action: list_buckets"
    states = [f"{{name: {name}, {text}, result_schema: {{title: {name}}}}}" for name, text in work.items()]
    world = World(
        f"""
        input: {{schema: {{title: input, type: object}}}}
        output_schema: {{title: output}}
        states:
          - {{name: f, type: invoke, function: f, result_schema: {{title: invoke}}}}
          - {{name: b, type: block, result_schema: {{title: block}}, states: [{", ".join(states)}]}}
          - {{name: w, type: wait, duration: 5}}
          - {{name: v, type: wait, duration: 5}}
        """,
        handlers=dict.fromkeys(["m:f", "s3:list_buckets", "GET https://x.example"], lambda _: 1),
        targets={"f": Function(1)},
    )

    def counting(event: dict[str, Any]) -> dict[str, Any]:
        invocations.append(1)
        return world.invoke(event)

    assert world.service.run(counting)["Status"] == "SUCCEEDED"
    # The function, what is done once it has ended, and two waits.
    assert len(invocations) == 4
    at = {title: [number for number, each in checked if each == title] for _, title in checked}
    assert at == {
        "input": [1],
        "step": [2],
        "aws": [2],
        "http": [2],
        "invoke": [2, 3, 4],
        "block": [2, 3, 4],
        "output": [4],
    }


@pytest.mark.parametrize("kind", ["type: step, handler: 'm:f'", "type: invoke, function: f"])
def test_rule_53_a_result_that_does_not_fit_fails_the_operation_of_work_alone(kind: str) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: s, {kind}, result_schema: {{type: string}}, catch: [{{output: '{{{{ error.name }}}}'}}]}}, "
            "{name: w, type: wait, duration: 5}]\noutput: '{{ states.s.result }}'",
            handlers={"m:f": lambda _: 1},
            targets={"f": Function(1)},
        )
    )
    assert ending.result == faults.RESULT_INVALID
    assert ending.operation("s")["Status"] == ("FAILED" if "step" in kind else "SUCCEEDED")


def test_rule_53_no_remote_reference_is_followed() -> None:
    assert severities("input: {schema: {$ref: 'https://example.com/a.json'}}\nstates: [{name: p, type: pass}]") == {
        "DF309": "error"
    }
    assert check_schema({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, "x") is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        told = check_schema({"$ref": f"http://127.0.0.1:{listening.getsockname()[1]}/a.json"}, 1)
        assert told is not None
        assert "cannot be used" in told
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("pattern", ["a" * 201, "(a+)+", "(a*)*b", "(a|b+)*", r"(a)\1"])
def test_rule_53_patterns_are_short_and_without_nested_quantifiers(pattern: str) -> None:
    schema = json.dumps({"type": "string", "pattern": pattern})
    assert severities(f"input: {{schema: {schema}}}\nstates: [{{name: p, type: pass}}]") == {"DF310": "error"}
    # One that comes from elsewhere is not used either.
    began = time.monotonic()
    assert check_schema({"pattern": pattern}, "a" * 40 + "!") is not None
    assert check_schema({"patternProperties": {pattern: {}}}, {"a" * 40 + "!": 1}) is not None
    assert time.monotonic() - began < 5


def test_rule_53_what_several_repeats_would_take_too_long_for_is_not_tried() -> None:
    began = time.monotonic()
    for schema, value in (
        ({"pattern": "a*a*a*a*a*a*b"}, "a" * 900),
        ({"patternProperties": {"a*a*a*a*a*a*b": {}}}, {"a" * 900: 1}),
        ({"pattern": "a*a*b"}, "a" * 900),
    ):
        told = check_schema(schema, value)  # type: ignore[arg-type]
        assert told is not None
        assert "too many for a pattern" in told
    assert time.monotonic() - began < 5
    assert check_schema({"pattern": "^[a-z]+@[a-z]+$"}, "a" * 500 + "@" + "b" * 400) is None
    assert check_schema({"pattern": "b{3}-[0-9]+$"}, "a" * 400 + "bbb-1") is None


# 54 ------------------------------------------------------------------------------------------------------------------


@contextmanager
def failing_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """An AWS that answers every request with an error that botocore would repeat; what was asked."""
    asked: list[dict[str, Any]] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = b'{"__type": "x#ThrottlingException", "message": "slow down"}'
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    settings = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("attempts", [1, 2])
def test_rule_54_only_the_states_own_retry_asks_again_and_with_the_same_token(
    monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    plan = plan_of(
        "states: [{name: a, type: aws, service: secretsmanager, action: create_secret, params: {Name: name, "
        f"Description: '{{{{ context.idempotency_key }}}}'}}, retry: [{{max_attempts: {attempts}, jitter: none}}]}}]"
    )
    service = MemoryService()
    with failing_service(monkeypatch) as asked:
        handle = lambda_handler(plan, client=service)
        output: Any = service.run(lambda event: handle(event, None))
    assert output["Error"]["ErrorType"] == "SecretsManager.ThrottlingException"
    assert len(asked) == attempts
    (key,) = {request["Description"] for request in asked}
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert {request["ClientRequestToken"] for request in asked} == {key}


@pytest.mark.parametrize(("metadata", "length"), [({}, 32), ({"max": 64}, 32), ({"max": 32}, 32), ({"max": 10}, 10)])
def test_rule_54_a_token_is_cut_to_the_length_of_its_member(metadata: dict[str, Any], length: int) -> None:
    key = "0123456789abcdef" * 2
    assert token(metadata, key) == key[:length]


# 55 ------------------------------------------------------------------------------------------------------------------

RUNNING = "{{ [context.workflow.version, context.workflow.digest, context.workflow.name] }}"


def test_rule_55_version_and_digest_are_those_of_the_running_definition() -> None:
    text = (
        "version: NUMBER\nstates: [{name: before, type: pass, output: RUNNING}, {name: w, type: wait, duration: 60}]\n"
        "output: ['{{ states.before.result }}', RUNNING]"
    ).replace("RUNNING", f"'{RUNNING}'")
    old, new = text.replace("NUMBER", "'1'"), text.replace("NUMBER", "'2'")
    ending = edited(old, new)
    after = ["2", plan_of(new).digest, "demo"]
    assert plan_of(old).digest != plan_of(new).digest
    # What has no operation is computed again, with the definition that runs by then.
    assert ending.result == [after, after]


@pytest.mark.parametrize("what", ["version", "digest"])
@pytest.mark.parametrize(
    ("text", "is_linted"),
    [
        ("{name: a, type: pass, when: HERE == 'x'}", True),
        ("{name: a, type: choice, default: [], choices: [{when: HERE == 'x', next: end}]}", True),
        ("{name: a, type: loop, while: HERE == 'x', max_iterations: 1, states: [{name: b, type: pass}]}", True),
        ("{name: a, type: pass, assign: {v: '{{ HERE }}'}}", True),
        ("{name: a, type: invoke, function: f, retry: [], payload: '{{ HERE }}'}", True),
        ("{name: a, type: step, handler: 'm:f', retry: [], payload: ['x {{ HERE }}']}", True),
        ("{name: a, type: pass, output: '{{ HERE }}'}", False),
        ("{name: a, type: pass, when: context.workflow.name == 'x'}", False),
    ],
)
def test_rule_55_using_them_where_it_decides_is_linted(text: str, what: str, is_linted: bool) -> None:
    found = severities(f"states: [{text.replace('HERE', f'context.workflow.{what}')}]")
    assert found == ({"DF409": "warning"} if is_linted else {})


# 56 ------------------------------------------------------------------------------------------------------------------

PASS = "{name: p, type: pass}"
REFUSED = {
    3: "states: [{name: p, type: pass, output: yes}]",
    4: "states: [{name: p, type: pass, output: {'a{{ input }}': 1}}]",
    9: "states: [{name: p, type: pass, output: '{{ vars.never }}'}]",
    23: "states: [{name: p, type: pass, retry: [{}]}]",
    41: "states: [{name: p, type: pass, output: '{{ env.OTHER }}'}]",
    62: f"finally: [{{name: f, type: step, handler: 'm:f', retry: [], compensate: [{PASS}]}}]\nstates: [{{name: a, type: pass}}]",
    77: "states: [{name: s, type: step, handler: 'm:f', retry: [], label: '{{ context.now }}'}]",
}
LINTED = {
    5: "states: [{name: p, type: pass, when: \"'always'\"}]",
    55: "states: [{name: p, type: pass, when: context.workflow.version == '1'}]",
}


@pytest.mark.parametrize("rule", REFUSED)
def test_rule_56_a_diagnostic_refuses_the_file(rule: int) -> None:
    assert "error" in severities(REFUSED[rule]).values()
    with pytest.raises(WorkflowError):
        plan_of(REFUSED[rule])


@pytest.mark.parametrize("rule", LINTED)
def test_rule_56_what_is_linted_is_a_warning_and_runs(rule: int) -> None:
    assert set(severities(LINTED[rule]).values()) == {"warning"}
    assert World(LINTED[rule]).run()["Status"] == "SUCCEEDED"


def test_rule_56_every_code_of_the_lints_is_a_warning_and_of_what_cannot_run_an_error() -> None:
    assert {code.severity for name, code in CODES.items() if name.startswith(("DF1", "DF3"))} == {"error"}
    assert {code.severity for name, code in CODES.items() if name.startswith("DF4")} == {"warning"}


TOO_MUCH = [
    ("output: 18446744073709551616", "output: '{{ input.integer + 1 }}'", "output: 18446744073709551615"),
    ("output: 1e309", "output: '{{ input.double * 10 }}'", "output: 1e308"),
    (
        "output: '{{ 18446744073709551616 }}'",
        "output: '{{ 2 ** input.power }}'",
        "output: '{{ 18446744073709551615 }}'",
    ),
]


@pytest.mark.parametrize(("literal", "computed", "fits"), TOO_MUCH)
def test_rule_56_numbers_too_large_are_refused_where_literal_and_an_error_else(
    literal: str, computed: str, fits: str
) -> None:
    given = {"integer": 2**64 - 1, "double": 1e308, "power": 64}
    assert "error" in severities(f"states: [{{name: p, type: pass, {literal}}}]").values()
    ending = endings(lambda: World(f"states: [{{name: p, type: pass, {computed}}}]", input=given))
    assert ending.error[0] == faults.QUERY_EVALUATION
    assert World(f"states: [{{name: p, type: pass, {fits}}}]").result() in (2**64 - 1, 1e308)


@pytest.mark.parametrize(
    "state",
    [
        "type: wait, duration: HERE",
        "type: step, handler: 'm:f', timeout: HERE",
        "type: invoke, function: f, timeout: HERE",
        "type: invoke, function: bad, retry: [{interval: HERE, jitter: none}]",
        "type: loop, max_iterations: 2, delay: HERE, states: [{name: p, type: pass}]",
        "type: wait_for_callback, timeout: HERE",
        "type: wait_for_condition, interval: HERE, until: false, check: {type: step, handler: 'm:f'}",
    ],
)
def test_rule_56_durations_too_long_are_refused_where_literal_and_an_error_else(state: str) -> None:
    bad = Fault("Bad")

    def make(duration: str) -> World:
        return World(
            f"states: [{{name: s, {state.replace('HERE', duration)}}}]",
            input=31_622_401,
            handlers={"m:f": by_attempt(1)},
            targets={"f": Function(1), "bad": Function(bad)},
            answers={"s": [1]},
        )

    for literal in ("31622401", "367d"):
        assert "error" in severities(f"states: [{{name: s, {state.replace('HERE', literal)}}}]").values()
    assert "error" not in severities(f"states: [{{name: s, {state.replace('HERE', '366d')}}}]").values()
    assert endings(lambda: make("'{{ input }}'")).error[0] == faults.QUERY_EVALUATION


def test_rule_56_tojson_is_compact_and_with_indent_it_is_not() -> None:
    value = {"b": [1, {"a": None}], "é": "<&'>"}
    ending = endings(
        lambda: World(
            "states: [{name: p, type: pass, output: ['{{ input | tojson }}', '{{ input | tojson(indent=2) }}']}]",
            input=value,
        )
    )
    compact, indented = ending.result
    assert compact == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert indented == json.dumps(value, indent=2, ensure_ascii=False)
