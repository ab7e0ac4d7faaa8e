"""Every error name that the engine raises: raised in a real run, caught by exactly that name, matched as rule 14 says.

The names are those of `durableflow/cli/names.py`; a name that stands anywhere in the code and not there fails a test. Real
runs are in memory, with real handlers, requests to a server here and moto's AWS; what only the local service can raise runs
there.
"""

from __future__ import annotations

import ast
import json
import re
import socket
import sys
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from crashes import Crash
from doubles import Function
from memory_service import ARN
from moto import mock_aws
from shell import Shell, shell
from worlds import World, plan_of

from durableflow import actions, faults
from durableflow.actions import Actions, AllowList, Clients, fetch_secret
from durableflow.calls import Tools, refused_action
from durableflow.cli import names
from durableflow.errors import Fault
from durableflow.ledger import Changes, settle
from durableflow.local import workers
from durableflow.vault import LocalSecrets
from durableflow.web import HttpClient
from durableflow.work import PythonWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["shell"]

ROOT: Final = Path(__file__).parent.parent
KNOWN: Final = names.known()

HANDLERS: Final = """
import time

from pydantic import BaseModel

from durableflow import Fault


class Order(BaseModel):
    id: int


class OutOfStock(Exception):
    pass


def ok(payload):
    return payload


def late(payload, context):
    while not context.cancelled:
        time.sleep(0.005)


def bad_value(payload):
    raise ValueError("bad")


def no_key(payload):
    return payload["sku"]


def out_of_stock(payload):
    raise OutOfStock("none left")


def declined(payload):
    raise Fault("CardDeclined", "no money", {"left": 3})


def poses(payload):
    raise Fault("States.Timeout", "not really")


def no_json(payload):
    return object()


def large(payload):
    return "x" * 300_000


def order(order: Order):
    return order.id
"""


class Answering(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        body = b"{}" if self.path == "/200" else b"no"
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running.server_port
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound and not listening: nobody else gets it, and nobody answers
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("handlers")
    (folder / "handlers_of_names.py").write_text(HANDLERS, encoding="utf-8")
    finders = list(sys.meta_path)
    yield folder
    sys.meta_path[:] = finders
    sys.modules.pop("handlers_of_names", None)


# Cases ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run in which a state raises an error.

    Args:
        name: of the error.
        entry: its name or family in the table.
        states: the states that raise it, as YAML; `@` stands for what tells copies of them apart.
        is_work: whether a work state's own work has failed (rule 14).
        has_data: whether `error.data` is something.
        top: what the workflow has besides, as YAML.
        parts: of the world.
        prepare: called with the world before it runs.
        aws: what aws states meet.
        project: files of the project, for a run on the local service; None for one in memory.
    """

    name: str
    entry: str
    states: str
    is_work: bool = False
    has_data: bool = False
    top: str = ""
    parts: Callable[[], Mapping[str, Any]] = dict
    prepare: Callable[[World], None] | None = None
    aws: str = ""
    project: Mapping[str, str] | None = None


CASES: dict[str, Case] = {}


def case(label: str, name: str, states: str, *, entry: str = "", **more: Any) -> None:
    assert label not in CASES
    CASES[label] = Case(name=name, entry=entry or name, states=states, **more)


class Always(dict[str, list[Any]]):
    """The same answer to every callback."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def get(self, _name: str, _default: object = None) -> Any:
        return [self._answer]


def step(handler: str, more: str = "") -> str:
    return f"{{name: x@, type: step, handler: 'handlers_of_names:{handler}'{more}}}"


def invoke(function: str = "f", more: str = "") -> str:
    return f"{{name: x@, type: invoke, function: {function}{more}}}"


def targets(*results: Any, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"targets": {"f": Function(*results)}, **more}


def http(path: str, host: str = "127.0.0.1:PORT", more: str = "") -> str:
    return f"{{name: x@, type: http, url: 'http://{host}/{path}'{more}}}"


def aws(service: str, action: str, params: str = "{}") -> str:
    return f"{{name: x@, type: aws, service: {service}, action: {action}, params: {params}}}"


def child(text: str, replaced: str | None = None) -> Callable[[Any], Any]:
    """A target that is another execution; `replaced` is what its definition is exchanged for while it sleeps."""

    def run(payload: Any) -> Any:
        world = World(text, input=payload)
        if replaced is not None:
            assert world.invoke(world.service.event())["Status"] == "PENDING"
            world.plan = plan_of(replaced)
        output = world.run()
        if output["Status"] == "FAILED":
            raise Fault(output["Error"]["ErrorType"], output["Error"]["ErrorMessage"])
        return json.loads(output["Result"])

    return run


def ending(status: str) -> Callable[[World], None]:
    """Have every chained invoke end so, without an error object or with a result that is none."""

    def prepare(world: World) -> None:
        service = world.service

        def end(start: Any) -> None:
            operation = service.operations[start.operation_id]
            if status == "CANCELLED":  # no trigger of the ledger: the platform has the status, and nobody here sets it
                cancelled: Any = {**operation, "Status": status, "EndTimestamp": service.now}
                service._keep(Changes(operations=(cancelled,)))
            elif status == "no JSON":
                service._keep(settle(operation, "success", now=service.now, result="{oops"))
            else:
                trigger: Any = {"STOPPED": "stop", "FAILED": "failure", "TIMED_OUT": "timeout"}[status]
                service._keep(settle(operation, trigger, now=service.now))

        service._end = end  # type: ignore[method-assign]

    return prepare


def interrupted(world: World) -> None:
    """Have the process end right after each step has been started."""
    died: set[str] = set()

    def die(_number: int, _reply: object) -> None:
        for update in world.service.requests[-1]["Updates"]:
            if update["Type"] == "STEP" and update["Action"] == "START" and update["Id"] not in died:
                died.add(update["Id"])
                raise Crash

    world.service.after_checkpoint = die


OTHER: Final = "states: [{name: only, type: pass, output: 1}]\n"
NEEDS_ID: Final = f"input: {{schema: {{type: object, required: [id]}}}}\n{OTHER}"
GIVES_TEXT: Final = f"output_schema: {{type: string}}\n{OTHER}"
DRIFTED: Final = ("states: [{name: a, type: wait, duration: 1h}]", "states: [{name: a, type: invoke, function: f}]")

# The names of the language.
ASKED: Final = "{name: x@, type: wait_for_callback, timeout: 1m"
case("a callback that nobody answers", faults.TIMEOUT, f"{ASKED}}}")
case(
    "a block",
    faults.TIMEOUT,
    "{name: x@, type: block, timeout: 5s, states: [{name: w@, type: wait, duration: 1h}]}",
)
case(
    "a condition that does not come true in time",
    faults.TIMEOUT,
    "{name: x@, type: wait_for_condition, timeout: 1m, until: 'false', check: {type: step, handler: 'handlers_of_names:ok'}}",
)
case("a handler that is late", faults.TIMEOUT, step("late", ", timeout: 0.05"), is_work=True)
case("a child that timed out", faults.TIMEOUT, invoke(), is_work=True, parts=targets(), prepare=ending("TIMED_OUT"))
for reported in ("Sandbox.Timedout", "ChainedInvoke.Timeout"):
    case(
        f"a function's {reported}", faults.TIMEOUT, invoke(), is_work=True, parts=targets(Fault(reported)),
    )  # fmt: skip
case("a callback without a heartbeat", faults.HEARTBEAT_TIMEOUT, f"{ASKED}, heartbeat_timeout: 10s}}")
case(
    "an invoke that says nothing", faults.TASK_FAILED, invoke(), is_work=True, parts=targets(), prepare=ending("FAILED")
)  # fmt: skip
case("a pass without a value", faults.QUERY_EVALUATION, "{name: x@, type: pass, output: '{{ input.gone }}'}")
case("a payload without a value", faults.QUERY_EVALUATION, step("ok", ", payload: '{{ input.gone }}'"))
case(
    "items that are no list",
    faults.QUERY_EVALUATION,
    "{name: x@, type: map, items: input, states: [{name: p@, type: pass}]}",
)
case("a URL that is none", faults.QUERY_EVALUATION, "{name: x@, type: http, url: '{{ [1] }}'}")
case("a handler's result that is no JSON", faults.RESULT_INVALID, step("no_json"), is_work=True)
case(
    "a function's result that is no JSON", faults.RESULT_INVALID, invoke(), is_work=True, parts=targets(),
    prepare=ending("no JSON"),
)  # fmt: skip
case(
    "a function's result that does not fit", faults.RESULT_INVALID, invoke(more=", result_schema: {type: string}"),
    parts=targets(1),
)  # fmt: skip
case("an answer that is no JSON", faults.RESULT_INVALID, f"{ASKED}}}", parts=lambda: {"answers": Always(b"{oops")})
case("a handler's result that is too large", faults.DATA_LIMIT, step("large"), is_work=True)
case(
    "a payload that is too large", faults.DATA_LIMIT, invoke(more=", payload: '{{ input }}'"),
    parts=targets(input="x" * 1_100_000),
)  # fmt: skip
case(
    "a body that is too large", faults.DATA_LIMIT, aws("s3", "get_object", "{Bucket: bucket, Key: large}"), aws="moto",
    has_data=True,
)  # fmt: skip
case("an action that is not called from here", faults.PERMISSIONS, aws("sns", "publish"), is_work=True)
case("a function that is not allowed", faults.PERMISSIONS, invoke("g", ", allow: ['f*']"), is_work=True)
case(
    "a function that may not be invoked",
    faults.PERMISSIONS,
    invoke(),
    is_work=True,
    parts=targets(Fault("AccessDeniedException")),
)
case("an address that may not be reached", faults.PERMISSIONS, http("200", "10.0.0.1"), is_work=True)
case("a service that does not exist", faults.RUNTIME, aws("nosuch", "put"), aws="moto", is_work=True)
case("an action that does not exist", faults.RUNTIME, aws("sns", "nosuch"), aws="moto", is_work=True)
case(
    "an attempt that is cut off", faults.STEP_INTERRUPTED, step("ok", ", semantics: at_most_once"), is_work=True,
    prepare=interrupted,
)  # fmt: skip
case(
    "a callback that is refused", faults.CALLBACK_FAILED, f"{ASKED}}}", has_data=True,
    parts=lambda: {"answers": Always(Fault("Nope", "no", {"by": "me"}))},
)  # fmt: skip
case(
    "a condition that does not come true", faults.CONDITION_NOT_MET,
    "{name: x@, type: wait_for_condition, max_attempts: 2, until: 'false', check: {type: step, handler: 'handlers_of_names:ok'}}",
)  # fmt: skip
case(
    "a loop that goes on", faults.LOOP_LIMIT,
    "{name: x@, type: loop, while: 'true', max_iterations: 2, states: [{name: p@, type: pass}]}",
)  # fmt: skip
case(
    "a map with too many failures", faults.TOLERANCE_EXCEEDED, has_data=True,
    states="{name: x@, type: map, items: '[1, 2]', completion: {tolerated_failure_count: 1}, "
    "states: [{name: f@, type: fail, error: Bad}]}",
)  # fmt: skip
case(
    "an undo list that fails", faults.COMPENSATION_FAILED, has_data=True, parts=targets(),
    states="{name: x@, type: block, compensation: {on_error: fail}, states: [{name: i@, type: invoke, function: f, "
    "compensate: [{name: u@, type: fail, error: Undo}]}, {name: f@, type: fail, error: Bad}]}",
)  # fmt: skip
case(
    "an inline workflow's input", faults.INPUT_INVALID, "{name: x@, type: workflow, workflow: other, mode: inline}",
    parts=lambda: {"inline": {"other": NEEDS_ID}},
)  # fmt: skip
case(
    "a child's input", faults.INPUT_INVALID, "{name: x@, type: workflow, workflow: other}", is_work=True,
    parts=lambda: {"inline": {"other": NEEDS_ID}, "targets": {"other": child(NEEDS_ID)}},
)  # fmt: skip
case(
    "an inline workflow's output", faults.OUTPUT_INVALID, "{name: x@, type: workflow, workflow: other, mode: inline}",
    parts=lambda: {"inline": {"other": GIVES_TEXT}},
)  # fmt: skip
case(
    "a child's output", faults.OUTPUT_INVALID, "{name: x@, type: workflow, workflow: other}", is_work=True,
    parts=lambda: {"inline": {"other": GIVES_TEXT}, "targets": {"other": child(GIVES_TEXT)}},
)  # fmt: skip
case(
    "more operations than allowed", faults.OPERATION_LIMIT, parts=targets(operations_max=40),
    states="{name: l@, type: loop, max_iterations: 100, states: [{name: x@, type: invoke, function: f}]}",
)  # fmt: skip
case("a child that was stopped", faults.STOPPED, invoke(), is_work=True, parts=targets(), prepare=ending("STOPPED"))
case(
    "a child that was cancelled", faults.CANCELLED, invoke(), is_work=True, parts=targets(), prepare=ending("CANCELLED")
)

# Steps, aws and http.
for handler, exception, has_data in (
    ("bad_value", "ValueError", False),
    ("no_key", "KeyError", False),
    ("out_of_stock", "OutOfStock", False),
    ("declined", "CardDeclined", True),
):
    case(f"a handler's {exception}", exception, step(handler), entry="<Exception>", is_work=True, has_data=has_data)
case(
    "a payload that is no model", "ValidationError", step("order", ", payload: {id: one}"), is_work=True, has_data=True
)
case(
    "a module that is not there", "Runtime.ImportModuleError", "{name: x@, type: step, handler: 'nowhere_at_all:f'}",
    is_work=True,
)  # fmt: skip
case("a handler that is not there", "Runtime.HandlerNotFound", step("gone"), is_work=True)
for status in (404, 429, 503):
    case(
        f"an answer with {status}",
        f"Http.{status}",
        http(str(status)),
        entry="Http.<status>",
        is_work=True,
        has_data=True,
    )
case("a server that is not there", "Http.ConnectionError", http("200", "127.0.0.1:CLOSED"), is_work=True)
for name, state in {
    "DynamoDB.ResourceNotFoundException": aws("dynamodb", "get_item", "{TableName: gone, Key: {id: {S: a}}}"),
    "S3.NoSuchBucket": aws("s3", "get_object", "{Bucket: gone, Key: a}"),
    "SNS.NotFound": aws("sns", "get_topic_attributes", "{TopicArn: 'arn:aws:sns:us-east-1:123456789012:gone'}"),
}.items():
    case(f"AWS's {name}", name, state, entry="<Service>.<Code>", aws="moto", is_work=True, has_data=True)
for service, label, action in (
    ("dynamodb", "DynamoDB", "get_item"), ("sqs", "SQS", "send_message"), ("bedrock-runtime", "BedrockRuntime", "converse"),
):  # fmt: skip
    for entry, met in (("ParamValidationError", "moto"), ("ConnectionError", "closed"), ("NoRegionError", "no region")):
        params = {"dynamodb": "{TableName: t, Key: {}}", "sqs": "{QueueUrl: q, MessageBody: a}"}.get(
            service, "{modelId: m}"
        )
        case(
            f"AWS's {label}.{entry}", f"{label}.{entry}", aws(service, action, "{Nothing: 1}" if met == "moto" else params),
            entry=f"<Service>.{'<Exception>' if met == 'no region' else entry}", aws=met, is_work=True,
        )  # fmt: skip
SECRET_STEP: Final = step("ok", ", payload: \"{{ secret('token') }}\"")
for name, reference in {
    "Secret.NotFound": "ssm:/local",
    "Secret.KeyNotFound": "secretsmanager:object#gone",
    "Secret.Invalid": "secretsmanager:text#key",
}.items():
    met = "" if name == "Secret.NotFound" else "moto"
    case(f"a {name}", name, SECRET_STEP, is_work=True, aws=met, top=f"secrets: {{token: '{reference}'}}\n")

# Functions and child workflows.
for name in sorted(faults.INVOKE_ERRORS):
    case(
        f"Lambda's {name}", f"Lambda.{name}", invoke(), entry="Lambda.<Exception>", is_work=True, parts=targets(Fault(name)),
    )  # fmt: skip
case(
    "a function that does not exist",
    "Lambda.ResourceNotFoundException",
    invoke(),
    entry="Lambda.<Exception>",
    is_work=True,
)
case("a handler that poses", "Worker.States.Timeout", step("poses"), entry="Worker.<name>", is_work=True)
case(
    "a function that poses", "Worker.States.ALL", invoke(), entry="Worker.<name>", is_work=True, has_data=True,
    parts=targets(Fault("States.ALL", "", [1])),
)  # fmt: skip
case(
    "a child that cannot go on", "Worker.States.Runtime", "{name: x@, type: workflow, workflow: other}", is_work=True,
    entry="Worker.<name>", parts=lambda: {"inline": {"other": OTHER}, "targets": {"other": Function(Fault(faults.RUNTIME))}},
)  # fmt: skip
case(
    "a child that has drifted", "Worker.NonDeterministicExecutionError", "{name: x@, type: workflow, workflow: other}",
    entry="Worker.<name>", is_work=True,
    parts=lambda: {"inline": {"other": OTHER}, "targets": {"other": child(*DRIFTED)}},
)  # fmt: skip

# What only the local service raises.
PROJECT: Final = """
durableflow: "1"
functions:
  exits: {python: "functions_of_names:exits"}
  no_json: {python: "functions_of_names:no_json"}
  large: {python: "functions_of_names:large"}
  command: {command: [sh, -c, "echo broken >&2; exit 3"]}
  unreachable: {http: "http://127.0.0.1:1/"}
"""
FUNCTIONS: Final = """
import os

def exits(event, context):
    os._exit(3)

def no_json(event, context):
    return object()

def large(event, context):
    return "x" * (6 * 1024 * 1024 + 1)
"""
FILES: Final = {"durableflow.yaml": PROJECT, "functions_of_names.py": FUNCTIONS}
CHILDREN: Final = {
    "broken": "states: [{name: w, type: nothing}]",
    "recurs": "states: [{name: w, type: workflow, workflow: recurs}]",
    "doubles": "states: [{name: p, type: pass, output: ['{{ input }}', '{{ input }}']}]",
}


def local(name: str, states: str, *, entry: str = "", label: str = "", **more: Any) -> None:
    case(label or f"{name}, here", name, states, entry=entry, is_work=True, project=FILES, **more)


def here(workflow: str) -> str:
    return f"{{name: x@, type: workflow, workflow: {workflow}, payload: '{{{{ input }}}}'}}"


local("CommandFailed", invoke("command"))
local("Runtime.ExitError", invoke("exits"))
local("Runtime.MarshalError", invoke("no_json"))
local("Function.ResponseSizeTooLarge", invoke("large"))
local("Runtime.StartError", here("broken"))
local("Lambda.ServiceException", invoke("unreachable"), entry="Lambda.<Exception>")
local("Lambda.ResourceNotFoundException", invoke("gone"), entry="Lambda.<Exception>")
local("Lambda.RecursiveInvocationException", here("recurs"), entry="Lambda.<Exception>")
local(
    "Lambda.InvalidParameterValueException", here("doubles"), entry="Lambda.<Exception>",
    parts=lambda: {"input": "x" * 600_000},
)  # fmt: skip


# Runs ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """Where the cases run."""

    folder: Path
    handlers: Path
    ports: Mapping[str, int]
    monkeypatch: pytest.MonkeyPatch
    shell: Shell

    def outcome(self, case: Case, text: str) -> Any:
        """Return the result of a run, or the name of the error that it fails with."""
        for word, number in self.ports.items():
            text = text.replace(word, str(number))
        return self._here(case, text) if case.project is not None else self._in_memory(case, text)

    def _in_memory(self, case: Case, text: str) -> Any:
        world = World(text, **case.parts())
        world.worker = self._tools(case).worker(ARN)  # type: ignore[assignment]
        if case.prepare:
            case.prepare(world)

        def handler(event: dict[str, Any]) -> dict[str, Any]:
            while True:
                try:
                    return world.invoke(event)
                except Crash:
                    event = world.service.event()

        output = world.service.run(handler)
        return output["Error"]["ErrorType"] if output["Status"] == "FAILED" else json.loads(output["Result"])

    def _tools(self, case: Case) -> Tools:
        clients = Clients()
        is_local = case.aws == ""
        local = LocalSecrets({}, folder=self.folder)
        return Tools(
            steps=PythonWorker([self.handlers]),
            http=HttpClient(allow=["127.0.0.1"]).perform,
            aws=refused_action if is_local else Actions(allowed=AllowList(patterns=("*:*",)), clients=clients).perform,
            secret=local if is_local else lambda _, reference: fetch_secret(reference, clients),
        )

    def _here(self, case: Case, text: str) -> Any:
        files = {**(case.project or {}), "workflows/flow.yaml": f'durableflow: "1"\nname: flow\n{text}'}
        files |= {
            f"workflows/{name}.yaml": f'durableflow: "1"\nname: {name}\n{body}' for name, body in CHILDREN.items()
        }
        for name, content in files.items():
            file = self.folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, encoding="utf-8")
        given = json.dumps(case.parts().get("input", {})).encode()
        arguments = ["--ephemeral", "--skip-time", "--json", "--input", "-"]
        ran = self.shell("run", self.folder / "workflows/flow.yaml", *arguments, stdin=given)
        assert ran.out, ran.err
        told = json.loads(ran.out)
        return told["output"] if told["error"] is None else told["error"]["name"]


@pytest.fixture
def kitchen(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    handlers: Path,
    port: int,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    shell: Shell,
) -> Iterator[Kitchen]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    made = Kitchen(
        folder=tmp_path,
        handlers=handlers,
        ports={"PORT": port, "CLOSED": closed_port},
        monkeypatch=monkeypatch,
        shell=shell,
    )
    met = CASES[request.node.callspec.params["label"]].aws if hasattr(request.node, "callspec") else ""
    if met != "no region":
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    if met == "closed":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port}")
    if met != "moto":
        yield made
        return
    with mock_aws():
        stored = Actions(allowed=AllowList(patterns=("*:*",)))
        for service, action, params in (
            ("s3", "create_bucket", {"Bucket": "bucket"}),
            ("s3", "put_object", {"Bucket": "bucket", "Key": "large", "Body": "x" * 100}),
            ("secretsmanager", "create_secret", {"Name": "object", "SecretString": "{}"}),
            ("secretsmanager", "create_secret", {"Name": "text", "SecretString": "text"}),
        ):
            stored.perform(service, action, params, idempotency_key="0" * 32)
        monkeypatch.setattr(actions, "STREAM_MAX_BYTES", 99)
        yield made


def raised(case: Case) -> str:
    """The workflow of a case that catches nothing."""
    return f"{case.top}states: [{case.states.replace('@', '')}]\n"


def caught(case: Case, patterns: list[str]) -> str:
    """The workflow that raises the error once for each pattern, and gives whether it has matched.

    What it does not match is caught by the error's own name, and nothing else.
    """
    states = "".join(
        f"""
  - name: guard{number}
    type: block
    states: [{case.states.replace("@", str(number))}]
    catch:
      - {{errors: ["{pattern}"], output: [true, "{{{{ error }}}}"]}}
      - {{errors: ["{case.name}"], output: [false, "{{{{ error }}}}"]}}"""
        for number, pattern in enumerate(patterns)
    )
    results = ", ".join(f'"{{{{ states.guard{number}.result }}}}"' for number in range(len(patterns)))
    return f"{case.top}output: [{results}]\nstates:{states}\n"


def is_matched(pattern: str, case: Case) -> bool:
    """Rule 14, once more."""
    if case.name in ("States.Runtime", "States.DataLimitExceeded", "States.OperationLimitExceeded"):
        return pattern == case.name
    if pattern == "States.TaskFailed":
        is_timeout = case.name in ("States.Timeout", "States.HeartbeatTimeout")
        return case.name == pattern or (case.is_work and not is_timeout)
    if pattern == "States.BranchFailed":
        return False
    return pattern == "States.ALL" or fnmatchcase(case.name, pattern)


def patterns_for(name: str) -> list[str]:
    prefix = name.rpartition(".")[0] or name[:1]
    groups = ["States.ALL", "States.TaskFailed", "States.BranchFailed"]
    return ["*", *groups, "States.*", "Lambda.*", "Http.*", f"{prefix}*", f"{name[:-1]}?", name.lower(), f"{name}s"]


def members(data: str) -> set[str]:
    """The members that the table says error data has."""
    found = re.search(r"`\[?\{([\w, ]+)\}", data)
    return set(found[1].split(", ")) if found else set()


def members_of(data: Any) -> set[str]:
    held = data[0] if isinstance(data, list) else data
    return set(held) if isinstance(held, dict) else set()


@pytest.mark.parametrize("label", CASES)
def test_an_error_has_its_name_and_groups_match_it_as_rule_14_says(kitchen: Kitchen, label: str) -> None:
    case = CASES[label]
    assert kitchen.outcome(case, raised(case)) == case.name
    patterns = patterns_for(case.name)
    found = kitchen.outcome(case, caught(case, patterns))
    assert {pattern: has for pattern, (has, _) in zip(patterns, found, strict=True)} == {
        pattern: is_matched(pattern, case) for pattern in patterns
    }
    for _, error in found:
        assert error["name"] == case.name
        assert (error["data"] is not None) == case.has_data, error
        if case.has_data:
            assert members(KNOWN[case.entry].data) <= members_of(error["data"])
        assert (error["index"], error["branch"]) == (None, None)


@pytest.mark.parametrize("label", [label for label, case in CASES.items() if case.project is None])
def test_what_comes_out_of_an_item_or_branch_is_branch_failed_too(kitchen: Kitchen, label: str) -> None:
    case = CASES[label]
    scopes = {
        (0, None): "type: map, items: '[1]', states: [%s]",
        (None, "left"): "type: parallel, branches: {left: [%s]}",
    }
    is_exception = case.name in ("States.Runtime", "States.DataLimitExceeded", "States.OperationLimitExceeded")
    for place, scope in scopes.items():
        text = f"""{case.top}states:
  - {{name: guard, {scope % case.states.replace("@", "")}, catch: [
      {{errors: [States.BranchFailed], output: [true, "{{{{ error }}}}"]}},
      {{errors: ["{case.name}"], output: [false, "{{{{ error }}}}"]}}]}}
"""
        has, error = kitchen.outcome(case, text)
        assert has is not is_exception
        assert (error["name"], error["index"], error["branch"]) == (case.name, *place)


def test_what_a_condition_checks_with_is_no_work_of_a_work_state(kitchen: Kitchen) -> None:
    check = http("404").replace("name: x@, ", "")
    state = f"{{name: x@, type: wait_for_condition, until: 'true', check: {check}}}"
    waiting = Case(name="Http.404", entry="Http.<status>", states=state)
    patterns = ["States.TaskFailed", "Http.*"]
    assert [has for has, _ in kitchen.outcome(waiting, caught(waiting, patterns))] == [False, True]


def own_catch(name: str) -> str:
    return f"catch: [{{errors: ['*', States.ALL, '{name}'], states: [{{name: caught, type: pass}}]}}]\n"


def test_nothing_catches_a_record_that_does_not_fit() -> None:
    before, after = DRIFTED
    catch = own_catch(faults.NON_DETERMINISTIC)
    guarded = after.replace("function: f", f"function: f, {catch.strip().replace('caught', 'again')}")
    world = World(catch + before, targets={"f": Function(1)})
    assert world.invoke(world.service.event())["Status"] == "PENDING"
    world.plan = plan_of(catch + guarded)
    assert world.error()[0] == faults.NON_DETERMINISTIC
    assert world.started == ["a"]


@pytest.mark.parametrize(
    ("name", "text"), [(faults.INPUT_INVALID, NEEDS_ID), (faults.OUTPUT_INVALID, GIVES_TEXT)], ids=["input", "output"]
)
def test_a_workflow_does_not_catch_what_is_wrong_with_its_own_input_or_output(name: str, text: str) -> None:
    assert World(own_catch(name) + text).error()[0] == name


def test_an_input_that_is_no_json_is_an_invalid_one() -> None:
    world = World(own_catch(faults.INPUT_INVALID) + OTHER)
    world.service.operations["7f3a"]["ExecutionDetails"] = {"InputPayload": "{oops"}
    assert world.error()[0] == faults.INPUT_INVALID


@pytest.mark.parametrize(
    ("more", "seen"), [("", faults.TIMEOUT), (", heartbeat_timeout: 10s", faults.HEARTBEAT_TIMEOUT)]
)
def test_a_callback_has_another_name_on_the_wire(more: str, seen: str) -> None:
    world = World(f"states: [{ASKED.replace('@', '')}{more}}}]")
    assert world.error()[0] == seen
    (reported,) = [
        operation["CallbackDetails"]["Error"]["ErrorType"]
        for operation in world.service.operations.values()
        if operation["Type"] == "CALLBACK"
    ]
    assert names.UNSEEN[reported] == seen


def test_an_execution_has_another_name_for_its_time_out(kitchen: Kitchen) -> None:
    project = 'durableflow: "1"\ndeploy: {function: flows, execution_timeout: 1h}\n'
    text = own_catch("Execution.Timeout") + "states: [{name: w, type: wait, duration: 2h}]"
    slow = Case(name="", entry="", states="", project={"durableflow.yaml": project})
    assert kitchen.outcome(slow, text) == "Execution.Timeout"


def test_a_function_that_this_machine_cannot_run(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    really = workers.subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        if len(started) > 1:  # the first is the workflow's own
            raise OSError(24, "Too many open files")
        return really(*arguments, **options)

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    unable = Case(
        name="Runtime.Unknown", entry="Runtime.Unknown", states=invoke("no_json"), is_work=True, project=FILES
    )
    patterns = patterns_for(unable.name)
    found = kitchen.outcome(unable, caught(unable, patterns))
    assert [has for has, _ in found] == [is_matched(pattern, unable) for pattern in patterns]


# The table -----------------------------------------------------------------------------------------------------------

ELSEWHERE: Final = {
    faults.NON_DETERMINISTIC: "test_nothing_catches_a_record_that_does_not_fit",
    "Runtime.Unknown": "test_a_function_that_this_machine_cannot_run",
}
"""Names that have a test of their own."""
OTHERS: Final = {
    "Logs_20140328.FilterLogEvents": "an operation of CloudWatch, and no error",
    "Runtime.UnmarshalError": "for a client that sends a function what is no JSON; a workflow sends JSON",
}
RAISING: Final = {"Fault", "_failed", "_refused"}


def cases_of(entry: str) -> list[Case]:
    return [case for case in CASES.values() if case.entry == entry]


def test_every_name_has_a_case_and_a_family_three() -> None:
    few = {name: len({case.name for case in cases_of(name)}) for name in KNOWN if name not in ELSEWHERE}
    assert [name for name, found in few.items() if found < (3 if KNOWN[name].is_family else 1)] == []
    assert all(test in globals() for test in ELSEWHERE.values())
    assert {case.entry for case in CASES.values()} <= KNOWN.keys()


@pytest.mark.parametrize("label", CASES)
def test_a_case_is_of_its_entry(label: str) -> None:
    case = CASES[label]
    family = re.sub(r"<\w+>", r"[\\w.]+", case.entry.replace(".", r"\."))
    assert re.fullmatch(family, case.name)


@pytest.mark.parametrize("entry", [name for name in KNOWN if name not in ELSEWHERE])
def test_the_table_says_what_the_cases_show(entry: str) -> None:
    name, cases = KNOWN[entry], cases_of(entry)
    if entry not in faults.ONLY_BY_EXACT_NAME:
        is_work = {case.is_work for case in cases}
        said = {"yes": {True}, "no": {False}}.get(name.work, {True, False})
        assert is_work == said or faults.TASK_FAILED not in name.caught
    has_data = {case.has_data for case in cases}
    said = {False} if name.data == "null" else {True, False} if name.data.startswith("null") else {True}
    assert has_data == said or name.data == "as it was reported"


def test_the_states_names_of_the_table_and_of_the_checks_are_the_same() -> None:
    assert {name for name in KNOWN if name.startswith("States.")} | names.GROUPS.keys() == set(faults.NAMES)


def names_in_the_code() -> dict[str, str]:
    """Return every error name that stands in the package, and where: what looks like one, and whatever is raised."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "durableflow").rglob("*.py")}
    own = {file: _constants(tree) for file, tree in trees.items()}
    by_module = {f"{file.stem}.{name}": value for file, constants in own.items() for name, value in constants.items()}
    everywhere = {name.partition(".")[2]: value for name, value in by_module.items()} | by_module
    found: dict[str, str] = {}
    for file, tree in trees.items():
        if "cli" in file.relative_to(ROOT).parts:
            continue
        for node in ast.walk(tree):
            for name in _names_of(node, {**everywhere, **own[file]}):
                found.setdefault(name, f"{file.name}:{getattr(node, 'lineno', 0)}")
    return found


def _constants(tree: ast.Module) -> dict[str, Any]:
    return {
        node.target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def _names_of(node: ast.AST, constants: Mapping[str, Any]) -> Iterator[str]:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z]\w+(\.[A-Z]\w+)+", node.value)
    ):
        yield node.value
    raised: list[ast.expr] = []
    if isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") in RAISING:
        raised.append(node.args[0])
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        raised += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "ErrorType"]
    for value in raised:
        match value:
            case ast.Constant(value=str(name)) if name:
                yield name
            case ast.Name() | ast.Attribute() if isinstance(name := constants.get(ast.unparse(value)), str):
                yield name
            case ast.JoinedStr(values=parts):
                yield "".join(_part_of(part, constants) for part in parts)
            case _:
                pass  # decided elsewhere, or by an author


def _part_of(part: ast.expr, constants: Mapping[str, Any]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return str(constants.get(getattr(part.value, "id", ""), "<>"))


def test_every_name_in_the_code_is_in_the_table() -> None:
    found = names_in_the_code()
    assert {"Http.<>", "CommandFailed", "Secret.NotFound", faults.NON_DETERMINISTIC} <= found.keys()
    families = {re.sub(r"<\w+>", "<>", name) for name in KNOWN}
    known = (
        families | names.GROUPS.keys() | names.UNSEEN.keys() | OTHERS.keys() | faults.INVOKE_ERRORS | {"AccessDenied"}
    )
    assert {name: place for name, place in found.items() if name not in known} == {}


def test_the_page_is_made_of_the_table(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs" / "faults.md", names.documentation())
