"""The Lambda handler: which plan, which client, which environment; and a real boto3 client in front of a socket."""

from __future__ import annotations

import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from memory_service import MemoryService, moment
from moto import mock_aws
from shell import Shell, shell

from durableflow import aws, driver
from durableflow.aws import lambda_handler
from durableflow.calls import Answers, Tools, refused_action
from durableflow.compiler import compile_workflow
from durableflow.errors import UsageError
from durableflow.expressions import Program
from durableflow.offload import DirectoryStore
from durableflow.plan import ChildWorkflow, Plan, Settings, States, Step, Wait, to_bundle
from durableflow.source import Source
from durableflow.web import HttpClient
from durableflow.work import PythonWorker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["shell"]

HANDLERS = """
import os

def double(payload):
    return payload * 2
"""


PROJECT = """\
durableflow: "1"
workflows: [large.yaml]
offload: {threshold: 1KB, s3: results/orders/of/large}
"""
LARGE = """\
durableflow: "1"
name: large
states:
  - {name: s, type: step, handler: "numbers_of_ours:double", payload: "XS"}
  - {name: rest, type: wait, duration: 5s}
output: "{{ states.s.result }}"
""".replace("XS", "x" * 1_000)


def constant(value: Any) -> Program:
    return Program(["const", value])


def plan_of(name: str, *, payload: int = 21) -> Plan:
    return Plan(
        name=name,
        env=("STAGE",),
        states=States.of(
            [
                Step(name="double", handler="numbers_of_ours:double", payload=constant(payload)),
                Wait(name="rest", duration=constant(5)),
            ]
        ),
        output=Program(["attr", ["attr", ["name", "states"], "double"], "result"]),
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A function's package: handlers, and a plan."""
    (tmp_path / "numbers_of_ours.py").write_text(HANDLERS)
    (tmp_path / "plan.json").write_text(json.dumps(plan_of("orders").to_json()))
    (tmp_path / "both.json").write_text(json.dumps(to_bundle([plan_of("orders"), plan_of("refunds", payload=4)])))
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    for variable in (
        aws.PLAN_VARIABLE,
        aws.WORKFLOW_VARIABLE,
        aws.LOG_LEVEL_VARIABLE,
        aws.HTTP_ALLOW_VARIABLE,
        aws.AWS_ALLOW_VARIABLE,
    ):
        monkeypatch.delenv(variable, raising=False)
    aws._from_environment.cache_clear()
    yield tmp_path
    aws._from_environment.cache_clear()
    sys.modules.pop("numbers_of_ours", None)


class Context:
    aws_request_id = "request-1"


def run(handle: Any, service: MemoryService) -> dict[str, Any]:
    return service.run(lambda event: handle(event, Context()))


WORK = """
durableflow: "1"
name: work
secrets: {token: "ssm:/token"}
states:
  - name: save
    type: aws
    service: ssm
    action: put_parameter
    params: {Name: /copy, Value: "{{ secret('token') }}", Type: String}
    catch: [{errors: [States.Permissions], output: "{{ error.message }}"}]
  - {name: shown, type: step, handler: "numbers_of_ours:double", payload: "{{ secret('token') }}"}
  - name: ask
    type: http
    url: http://127.0.0.1:9/
    catch: [{errors: [Http.ConnectionError, States.Permissions], output: "{{ error.name }}"}]
output: "{{ [states.shown.result, states.save.result, states.ask.result] }}"
"""


class TestWork:
    @pytest.fixture(autouse=True)
    def _aws(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with mock_aws():
            boto3.client("ssm").put_parameter(Name="/token", Value="c4n4ry", Type="SecureString")
            yield

    def run(self, package: Path, **settings: Any) -> Any:
        service = MemoryService(time=moment)
        plan = compile_workflow(Source(name="work.yaml", text=WORK)).plan
        output = run(lambda_handler(plan, client=service, handlers_root=package, **settings), service)
        return json.loads(output["Result"])

    def test_aws_secrets_and_requests(self, package: Path) -> None:
        shown, saved, asked = self.run(package, http_allow=["127.0.0.1:9"])
        assert shown == "[secret token][secret token]"
        assert saved["Version"] == 1
        assert asked == "Http.ConnectionError", "it was tried"
        assert boto3.client("ssm").get_parameter(Name="/copy")["Parameter"]["Value"] == "c4n4ry"

    def test_the_lists_of_what_is_allowed(self, package: Path) -> None:
        _, saved, asked = self.run(package, aws_allow=["s3:*"])
        assert saved == "ssm.put_parameter is not among the actions that the project allows"
        assert asked == "States.Permissions"

    def test_the_environment_has_the_lists_of_the_functions_own_handler(
        self, package: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = MemoryService(time=moment)
        plan = compile_workflow(Source(name="work.yaml", text=WORK)).plan
        (package / "plan.json").write_text(json.dumps(to_bundle([plan])))
        monkeypatch.setenv(aws.HTTP_ALLOW_VARIABLE, "a.internal, 127.0.0.1:9")
        monkeypatch.setenv(aws.AWS_ALLOW_VARIABLE, "s3:*")
        monkeypatch.setattr(aws, "_client", lambda: service)
        _, saved, asked = json.loads(run(aws.handler, service)["Result"])
        assert saved == "ssm.put_parameter is not among the actions that the project allows"
        assert asked == "Http.ConnectionError"


class TestWhatComesIn:
    def test_tools_do_the_work_and_have_the_clock(self, package: Path, caplog: pytest.LogCaptureFixture) -> None:
        tools = Tools(
            steps=PythonWorker([package]),
            http=HttpClient().perform,
            aws=refused_action,
            secret=lambda name, reference: f"{name} at {reference}",
            answers=Answers(
                actions={"ssm:put_parameter": {"result": {"Version": 7}}},
                requests={"GET http://127.0.0.1:9/": {"result": {"body": "answered"}}},
            ),
            clock_ms=lambda: 1_000,
        )
        service = MemoryService(time=moment)
        plan = compile_workflow(Source(name="work.yaml", text=WORK)).plan
        with caplog.at_level(logging.INFO, "durableflow"):
            output = run(lambda_handler(plan, client=service, tools=tools), service)
        shown, saved, asked = json.loads(output["Result"])
        assert (shown, saved) == ("[secret token][secret token]", {"Version": 7})
        assert asked == {"status": 200, "headers": {}, "body": "answered"}
        told = [json.loads(record.getMessage()) for record in caplog.records]
        assert {line["timestamp"] for line in told} == {"1970-01-01T00:00:01.000Z"}

    def test_large_results_are_kept_elsewhere(self, package: Path) -> None:
        store = DirectoryStore(package / "kept")
        offload = driver.Offload(threshold_bytes=100, put=store.put, get=store.get)
        service = MemoryService(time=moment)
        plan = Plan(
            name="large",
            states=States.of(
                [
                    Step(name="s", handler="numbers_of_ours:double", payload=constant("x" * 60)),
                    Wait(name="rest", duration=constant(5)),
                ]
            ),
            output=Program(["attr", ["attr", ["name", "states"], "s"], "result"]),
        )
        output = run(lambda_handler(plan, client=service, offload=offload), service)
        assert json.loads(output["Result"]) == "x" * 120
        assert "$offload" in service.operations[plan.operation_ids["s"]]["StepDetails"]["Result"]

    @pytest.mark.covers("offload.s3")
    def test_the_settings_of_the_project_file_are_in_the_plan(self, package: Path, shell: Shell) -> None:
        (package / "durableflow.yaml").write_text(PROJECT)
        (package / "large.yaml").write_text(LARGE)
        assert shell("compile", package / "large.yaml", "-o", package / "plan.json", "--no-import").code == 0
        for operations, error in ((None, None), (2, "States.OperationLimitExceeded")):
            if operations is not None:
                (package / "durableflow.yaml").write_text(f"{PROJECT}limits: {{operations: {operations}}}\n")
                assert shell("compile", package / "large.yaml", "-o", package / "plan.json", "--no-import").code == 0
            with mock_aws():
                bucket = boto3.client("s3", region_name="us-east-1")
                bucket.create_bucket(Bucket="results")
                service = MemoryService(time=moment)

                output = run(lambda_handler(package / "plan.json", client=service), service)

                kept = bucket.list_objects_v2(Bucket="results", Prefix="orders/of/large/").get("Contents", [])
                assert output.get("Error", {}).get("ErrorType") == error
                if error is None:
                    assert json.loads(output["Result"]) == "x" * 2_000
                    assert [thing["Size"] for thing in kept] == [2_002]

    def test_what_is_given_wins_over_the_settings_of_the_plan(self, package: Path, tmp_path: Path) -> None:
        settings = Settings(offload_bytes=10, offload_s3="none/such", operations_max=1)
        (package / "plan.json").write_text(json.dumps(to_bundle([plan_of("orders")], settings)))
        store = DirectoryStore(tmp_path / "kept")
        offload = driver.Offload(threshold_bytes=10_000, put=store.put, get=store.get)
        service = MemoryService(time=moment)
        handler = lambda_handler(package / "plan.json", client=service, offload=offload, operations_max=6)
        assert run(handler, service)["Status"] == "SUCCEEDED"

    @pytest.mark.parametrize(
        "settings", [[], {"offload_s3": 7}, {"later": 1}, {"operations_max": True}, {"aws_allow": [1]}]
    )
    def test_damaged_settings_are_refused(self, package: Path, settings: Any) -> None:
        (package / "plan.json").write_text(json.dumps({**to_bundle([plan_of("orders")]), "settings": settings}))
        with pytest.raises(UsageError, match="settings of the plan are damaged"):
            lambda_handler(package / "plan.json")

    @pytest.mark.parametrize(("most", "error"), [(2, "States.OperationLimitExceeded"), (6, None)])
    def test_the_number_of_operations_has_a_limit(self, package: Path, most: int, error: str | None) -> None:
        assert package
        service = MemoryService(time=moment)
        output = run(lambda_handler(plan_of("orders"), client=service, operations_max=most), service)
        assert output["Status"] == ("FAILED" if error else "SUCCEEDED")
        assert output.get("Error", {}).get("ErrorType") == error


class TestWhichPlan:
    def test_a_plan_a_file_and_several_plans_do_the_same(self, package: Path) -> None:
        several = {"orders": plan_of("orders")}
        for plans in (plan_of("orders"), several, package / "plan.json", str(package / "plan.json")):
            service = MemoryService(time=moment)
            assert run(lambda_handler(plans, client=service), service) == {"Status": "SUCCEEDED", "Result": "42"}

    def test_the_input_chooses_where_the_plan_holds_several(self, package: Path) -> None:
        service = MemoryService(input='{"$workflow": "refunds", "input": {}}')
        assert run(lambda_handler(package / "both.json", client=service), service)["Result"] == "8"

    def test_an_argument_chooses_before_the_input_does(self, package: Path) -> None:
        service = MemoryService(input='{"$workflow": "refunds", "input": {}}')
        assert run(lambda_handler(package / "both.json", client=service, workflow="orders"), service)["Result"] == "42"

    def test_a_workflow_that_is_not_there_is_told_with_those_that_are(self, package: Path) -> None:
        with pytest.raises(UsageError, match="no workflow 'order'") as raised:
            lambda_handler(package / "both.json", workflow="order")
        assert "orders, refunds" in str(raised.value)

    @pytest.mark.parametrize("content", [None, "", "{", "\ufeff{}", "[" * 100_000])
    def test_a_file_that_cannot_be_read_says_how_to_make_one(self, package: Path, content: str | None) -> None:
        file = package / "broken.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(UsageError, match="durableflow compile") as raised:
            lambda_handler(file)
        assert raised.value.code == "DF512"

    def test_a_file_without_a_plan_is_refused(self, package: Path) -> None:
        (package / "other.json").write_text("{}")
        with pytest.raises(UsageError, match="not a compiled plan"):
            lambda_handler(package / "other.json")


class TestReadyHandler:
    @pytest.fixture(autouse=True)
    def _service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = MemoryService(time=moment)
        self.clients = 0

        def client(name: str, **_: object) -> MemoryService:
            assert name == "lambda"
            self.clients += 1
            return self.service

        monkeypatch.setattr(boto3, "client", client)

    def test_it_runs_the_plan_of_the_package(self, package: Path) -> None:
        assert (package / "plan.json").exists()
        assert run(aws.handler, self.service) == {"Status": "SUCCEEDED", "Result": "42"}

    def test_a_warm_process_reads_the_plan_once_and_keeps_its_client(self, package: Path) -> None:
        aws.handler(self.service.event(), Context())
        (package / "plan.json").unlink()
        assert run(aws.handler, self.service)["Status"] == "SUCCEEDED"
        assert self.clients == 1

    def test_the_environment_names_plan_and_workflow(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DURABLEFLOW_PLAN", "both.json")
        monkeypatch.setenv("DURABLEFLOW_WORKFLOW", "refunds")
        assert (package / "both.json").exists()
        assert run(aws.handler, self.service)["Result"] == "8"

    def test_log_lines_are_json_objects_with_the_request(
        self, package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logger = logging.getLogger("durableflow")
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
        assert package
        run(aws.handler, self.service)
        told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["message"] for line in told] == ["invocation suspended", "execution succeeded"]
        assert {line["requestId"] for line in told} == {"request-1"}


class TestEnvironment:
    def test_templates_see_what_the_workflow_declares(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STAGE", "test")
        monkeypatch.setenv("SECRET", "hidden")
        plan = Plan(name="p", states=States.of([]), env=("STAGE",), output=Program(["name", "env"]))
        service = MemoryService()
        assert package
        assert run(lambda_handler(plan, client=service), service)["Result"] == '{"STAGE":"test"}'


class Lambda(BaseHTTPRequestHandler):
    """The REST API over a MemoryService, and every request that came."""

    service: ClassVar[MemoryService]
    fail: ClassVar[list[tuple[int, str]]]
    paths: ClassVar[list[str]]
    bodies: ClassVar[list[dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        self.paths.append(self.path)
        if self.fail:
            status, name = self.fail.pop(0)
            self._answer(status, {"message": "trouble", "__type": name}, name)
            return
        known = [key for key in ("CheckpointToken", "Updates", "ClientToken") if key in body]
        self._answer(200, self.service.checkpoint_durable_execution(**{key: body[key] for key in known}))

    def do_GET(self) -> None:
        self.paths.append(self.path)
        members = {key: found[0] for key, found in parse_qs(urlsplit(self.path).query).items()}
        self._answer(200, self.service.get_durable_execution_state(**members))

    def _answer(self, status: int, body: dict[str, Any], error: str | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        if error:
            self.send_header("x-amzn-errortype", error)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Lambda]]:
    class Served(Lambda):
        service = MemoryService()
        fail: ClassVar[list[tuple[int, str]]] = []
        paths: ClassVar[list[str]] = []
        bodies: ClassVar[list[dict[str, Any]]] = []

    server = HTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        yield Served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestBoto3:
    def test_an_execution_through_the_real_client(self, package: Path, endpoint: type[Lambda]) -> None:
        handle = lambda_handler(package / "plan.json")
        assert run(handle, endpoint.service) == {"Status": "SUCCEEDED", "Result": "42"}
        assert all("%2Fdurable-execution%2Forder-1%2F7f3a/" in path for path in endpoint.paths)

    def test_a_retried_request_keeps_its_client_token(self, package: Path, endpoint: type[Lambda]) -> None:
        endpoint.fail += [(500, "ServiceException"), (429, "TooManyRequestsException")]
        lambda_handler(package / "plan.json")(endpoint.service.event(), Context())
        tokens = [body["ClientToken"] for body in endpoint.bodies]
        assert tokens[0] == tokens[1] == tokens[2]
        assert len(set(tokens)) == len(tokens) - 2

    def test_a_refusal_is_recognised_and_fails_the_execution(self, package: Path, endpoint: type[Lambda]) -> None:
        endpoint.fail += [(400, "InvalidParameterValueException")]
        output = lambda_handler(package / "plan.json")(endpoint.service.event(), Context())
        error = {"ErrorType": "InvalidParameterValueException", "ErrorMessage": "trouble"}
        assert output == {"Status": "FAILED", "Error": error}

    def test_an_old_boto3_is_told(self, endpoint: type[Lambda], monkeypatch: pytest.MonkeyPatch) -> None:
        assert endpoint
        monkeypatch.setattr(boto3, "client", lambda *_, **__: object())
        with pytest.raises(UsageError, match=r"boto3 1\.42\.1 or newer"):
            aws._client()


class TestChildren:
    """Rule 52: a child workflow runs in the function that holds it."""

    @pytest.mark.parametrize(
        ("several", "workflow", "function", "payload"),
        [
            (
                True,
                "refunds",
                "arn:aws:lambda:us-east-1:123456789012:function:demo:1",
                '{"$workflow":"refunds","input":7}',
            ),
            (True, "elsewhere", "elsewhere", "7"),
            (False, "parent", "arn:aws:lambda:us-east-1:123456789012:function:demo:1", "7"),
            (False, "refunds", "refunds", "7"),
        ],
    )
    def test_what_is_started(self, *, several: bool, workflow: str, function: str, payload: str) -> None:
        parent = Plan(
            name="parent",
            states=States.of([ChildWorkflow(name="part", workflow=workflow, payload=constant(7))]),
        )
        plans = {"parent": parent, "refunds": plan_of("refunds")} if several else {"parent": parent}
        asked = '{"$workflow": "parent", "input": {}}' if several else "{}"
        service = MemoryService(input=asked, targets={function: lambda _: 1})
        assert run(lambda_handler(plans, client=service), service) == {"Status": "SUCCEEDED", "Result": "1"}
        (start,) = [update for update in service.updates if update["Type"] == "CHAINED_INVOKE"]
        assert (start["ChainedInvokeOptions"], start["Payload"]) == ({"FunctionName": function}, payload)
