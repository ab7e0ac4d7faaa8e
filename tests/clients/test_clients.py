"""Clients of AWS's own against our service: boto3, the AWS CLI, SAM, and the testing SDK's runner for the cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from environments import environment_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE = 30.0
ORDER = """
    durableflow: "1"
    name: order
    states:
      - {name: first, type: pass, output: {doubled: "{{ input.amount * 2 }}"}}
      - {name: rest, type: wait, duration: 1h}
      - {name: last, type: pass, output: "{{ states.first.result.doubled }}"}
    output: "{{ states.last.result }}"
"""
APPROVAL = """
    durableflow: "1"
    name: approval
    states:
      - {name: approve, type: wait_for_callback}
    output: "{{ states.approve.result }}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where `durableflow serve` listens."""

    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    (folder / ".git").mkdir()  # no project file above counts
    for name, text in (("order", ORDER), ("approval", APPROVAL)):
        (folder / f"{name}.yaml").write_text(textwrap.dedent(text))
    command = [
        sys.executable,
        "-m",
        "durableflow",
        "serve",
        "order.yaml",
        "approval.yaml",
        "--port",
        "0",
        "--skip-time",
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            yield Server(url=first.strip().partition("AWS_ENDPOINT_URL_LAMBDA=")[2])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
        config=Config(retries={"max_attempts": 0}, read_timeout=DEADLINE),
    )


def started(client: Any, function: str = "order") -> str:
    reply = client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"amount":4}')
    assert reply["StatusCode"] == 202
    arn: str = reply["DurableExecutionArn"]
    return arn


def ended_of(client: Any, arn: str) -> Any:
    """Wait for the end of an execution, and return what is known of it."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        found = client.get_durable_execution(DurableExecutionArn=arn)
        if "EndTimestamp" in found:
            return found
        time.sleep(0.02)
    raise AssertionError("the execution does not end")


def callback_of(client: Any, arn: str) -> str:
    """Wait for the callback of an approval, and return its id."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for event in client.get_durable_execution_history(DurableExecutionArn=arn)["Events"]:
            if event["EventType"] == "CallbackStarted":
                found: str = event["CallbackStartedDetails"]["CallbackId"]
                return found
        time.sleep(0.02)
    raise AssertionError("there is no callback")


def test_boto3_invokes_and_pages(client: Any) -> None:
    reply = client.invoke(FunctionName="order:$LATEST", Payload=b'{"amount":4}', DurableExecutionName="paged")
    assert (reply["StatusCode"], reply["Payload"].read()) == (200, b"8")
    arn = reply["DurableExecutionArn"]
    whole = client.get_durable_execution_history(DurableExecutionArn=arn)["Events"]
    for name, members, key in (
        ("get_durable_execution_history", {"DurableExecutionArn": arn}, "Events"),
        ("get_durable_execution_history", {"DurableExecutionArn": arn, "ReverseOrder": True}, "Events"),
    ):
        pages = list(client.get_paginator(name).paginate(**members, PaginationConfig={"PageSize": 2}))
        events = [event for page in pages for event in page[key]]
        assert len(pages) == (len(whole) + 1) // 2
        assert sorted(events, key=lambda event: event["EventId"]) == whole
    arns = [client.invoke(FunctionName="order", Payload=b'{"amount":1}')["DurableExecutionArn"] for _ in range(5)]
    listed = client.get_paginator("list_durable_executions_by_function").paginate(
        FunctionName="order", Statuses=["SUCCEEDED", "FAILED"], PaginationConfig={"PageSize": 2}
    )
    found = [each["DurableExecutionArn"] for page in listed for each in page["DurableExecutions"]]
    assert set(arns) < set(found)
    assert len(found) == len(set(found))
    functions = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    assert [each["FunctionName"] for page in functions for each in page["Functions"]] == ["approval", "order"]


def test_boto3_knows_our_errors_by_their_types(client: Any) -> None:
    known = client.exceptions
    arn = started(client, "approval")
    callback_id = callback_of(client, arn)
    client.send_durable_execution_callback_heartbeat(CallbackId=callback_id)
    client.send_durable_execution_callback_success(CallbackId=callback_id, Result=b'"yes"')
    ended_of(client, arn)
    client.invoke(FunctionName="order", DurableExecutionName="once", Payload=b'{"amount":1}')
    for error, method, members in (
        (known.ResourceNotFoundException, "get_durable_execution", {"DurableExecutionArn": arn + "x"}),
        (known.ResourceNotFoundException, "invoke", {"FunctionName": "nobody"}),
        (
            known.ResourceNotFoundException,
            "send_durable_execution_callback_success",
            {"CallbackId": "QUJD/+8="},
        ),
        (
            known.InvalidParameterValueException,
            "send_durable_execution_callback_success",
            {"CallbackId": callback_id},
        ),
        (
            known.InvalidParameterValueException,
            "checkpoint_durable_execution",
            {"DurableExecutionArn": arn, "CheckpointToken": "YWJj"},
        ),
        (
            known.InvalidParameterValueException,
            "get_durable_execution_state",
            {"DurableExecutionArn": arn, "CheckpointToken": "YWJj+/=="},
        ),
        (
            known.DurableExecutionAlreadyStartedException,
            "invoke",
            {"FunctionName": "order", "DurableExecutionName": "once", "Payload": b'{"amount":2}'},
        ),
        (known.RequestTooLargeException, "invoke", {"FunctionName": "order", "Payload": b"1" * (6 * 1024 * 1024 + 1)}),
        (known.InvalidRequestContentException, "invoke", {"FunctionName": "order", "Payload": b"{"}),
    ):
        with pytest.raises(error) as caught:
            getattr(client, method)(**members)
        assert caught.value.response["Error"]["Message"]


def test_boto3_stops_with_an_error(client: Any) -> None:
    arn = started(client, "approval")
    stopped = client.stop_durable_execution(DurableExecutionArn=arn, Error={"ErrorType": "T", "ErrorMessage": "enough"})
    found = client.get_durable_execution(DurableExecutionArn=arn)
    assert (found["Status"], found["EndTimestamp"]) == ("STOPPED", stopped["StopTimestamp"])
    assert found["Error"] == {"ErrorType": "T", "ErrorMessage": "enough"}


# In environments of their own.


def ran(*command: str, **env: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=4 * DEADLINE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def aws_python() -> Path:
    return environment_python("awscli", ["awscli"], modules="awscli")


@pytest.fixture(scope="session")
def sam_python() -> Path:
    return environment_python("sam", ["aws-sam-cli"], modules="samcli")


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestAwsCli:
    """The AWS CLI, version 1."""

    def aws(self, aws_python: Path, server: Server, *arguments: str) -> Any:
        out = ran(
            *(str(aws_python.parent / "aws"), "lambda", *arguments, "--output", "json"),
            AWS_ENDPOINT_URL_LAMBDA=server.url,
            AWS_ACCESS_KEY_ID="x",
            AWS_SECRET_ACCESS_KEY="y",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        )
        return json.loads(out) if out.strip() else None

    def test_an_execution_from_its_start_to_its_history(self, aws_python: Path, server: Server, tmp_path: Path) -> None:
        payload, out = tmp_path / "in.json", tmp_path / "out.json"
        payload.write_text('{"amount":4}')
        name = ["--function-name", "order", "--durable-execution-name", "from-cli"]
        reply = self.aws(aws_python, server, "invoke", *name, "--payload", f"fileb://{payload}", str(out))
        assert reply["StatusCode"] == 200
        assert out.read_text() == "8"
        arn = ["--durable-execution-arn", reply["DurableExecutionArn"]]
        assert self.aws(aws_python, server, "get-durable-execution", *arn)["Status"] == "SUCCEEDED"
        events = self.aws(aws_python, server, "get-durable-execution-history", *arn, "--page-size", "2")["Events"]
        assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["EventType"] == "ExecutionSucceeded"
        filters = ["--function-name", "order", "--durable-execution-name", "from-cli", "--statuses", "SUCCEEDED"]
        listed = self.aws(aws_python, server, "list-durable-executions-by-function", *filters)["DurableExecutions"]
        assert [each["DurableExecutionArn"] for each in listed] == [arn[1]]

    def test_callbacks_and_stop(self, aws_python: Path, server: Server, client: Any) -> None:
        arn = started(client, "approval")
        answer = ["--callback-id", callback_of(client, arn)]
        self.aws(aws_python, server, "send-durable-execution-callback-heartbeat", *answer)
        failed = ["--error", "ErrorType=Refused,ErrorMessage=no"]
        self.aws(aws_python, server, "send-durable-execution-callback-failure", *answer, *failed)
        assert ended_of(client, arn)["Status"] == "FAILED"
        other = started(client, "approval")
        assert "StopTimestamp" in self.aws(
            aws_python, server, "stop-durable-execution", "--durable-execution-arn", other
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestSam:
    """The SAM CLI with an emulator of durable functions that it did not start."""

    def sam(self, sam_python: Path, server: Server, *arguments: str) -> str:
        return ran(
            *(str(sam_python.parent / "sam"), "local", *arguments),
            DURABLE_EXECUTIONS_EXTERNAL_EMULATOR_PORT=str(server.port),
            SAM_CLI_TELEMETRY="0",
        )

    def test_a_history(self, sam_python: Path, server: Server, client: Any) -> None:
        arn = client.invoke(FunctionName="order", Payload=b'{"amount":4}')["DurableExecutionArn"]
        shown = self.sam(sam_python, server, "execution", "history", arn, "--format", "json")
        events = json.loads(shown[shown.index("{") :])["Events"]
        assert [event["EventType"] for event in events][-1] == "ExecutionSucceeded"
        assert "WaitSucceeded" in self.sam(sam_python, server, "execution", "history", arn)

    def test_callbacks_and_stop(self, sam_python: Path, server: Server, client: Any) -> None:
        arn = started(client, "approval")
        callback_id = callback_of(client, arn)
        self.sam(sam_python, server, "callback", "heartbeat", callback_id)
        self.sam(sam_python, server, "callback", "succeed", callback_id, "--result", '"yes"')
        assert ended_of(client, arn)["Result"] == '"yes"'
        failed = started(client, "approval")
        told = ["--error-type", "Refused", "--error-message", "no"]
        self.sam(sam_python, server, "callback", "fail", callback_of(client, failed), *told)
        assert ended_of(client, failed)["Status"] == "FAILED"
        stopped = started(client, "approval")
        self.sam(sam_python, server, "execution", "stop", stopped)
        assert client.get_durable_execution(DurableExecutionArn=stopped)["Status"] == "STOPPED"


CLOUD = """
import json, sys
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionCloudTestRunner

def runner(name):
    return DurableFunctionCloudTestRunner(
        function_name=name, region="us-east-1", lambda_endpoint=sys.argv[1], poll_interval=0.05
    )

ended = runner("order").run(input={"amount": 4}, timeout=30)
approval = runner("approval")
arn = approval.run_async(input={}, timeout=30)
approval.send_callback_success(approval.wait_for_callback(execution_arn=arn, timeout=30), b'"yes"')
answered = approval.wait_for_result(execution_arn=arn, timeout=30)
print(json.dumps([[r.status.value, r.result, [o.name for o in r.operations]] for r in (ended, answered)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_testing_sdk_takes_us_for_the_cloud(server: Server) -> None:
    packages = ["aws-durable-execution-sdk-python-testing==1.4.0", "jsonschema>=4.23"]
    modules = "aws_durable_execution_sdk_python_testing, jsonschema"
    python = environment_python("oracle", packages, modules=modules)
    secrets = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    ended, answered = json.loads(ran(str(python), "-c", CLOUD, server.url, **secrets))
    assert ended[:2] == ["SUCCEEDED", "8"]
    assert answered[:2] == ["SUCCEEDED", '"yes"']
    assert [ended[2], answered[2]] == [["rest"], ["approve"]]
