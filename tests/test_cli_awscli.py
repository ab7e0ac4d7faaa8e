"""The equal command of the AWS CLI: which words, and how they are quoted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

from durableflow.cli import awscli

if TYPE_CHECKING:
    from pathlib import Path

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST/durable-execution/one/1"


@pytest.mark.parametrize(
    ("operation", "members", "line"),
    [
        (
            "get_durable_execution",
            {"DurableExecutionArn": ARN},
            f"aws lambda get-durable-execution --durable-execution-arn '{ARN}'",
        ),
        (
            "get_durable_execution_history",
            {"DurableExecutionArn": "a", "IncludeExecutionData": True, "ReverseOrder": False, "Marker": None},
            (
                "aws lambda get-durable-execution-history --durable-execution-arn a --include-execution-data"
                " --no-reverse-order"
            ),
        ),
        (
            "list_durable_executions_by_function",
            {"FunctionName": "f", "Statuses": ("RUNNING", "FAILED"), "MaxItems": 20},
            "aws lambda list-durable-executions-by-function --function-name f --statuses RUNNING FAILED --max-items 20",
        ),
        (
            "list_durable_executions_by_function",
            {"FunctionName": "f", "Statuses": ()},
            "aws lambda list-durable-executions-by-function --function-name f",
        ),
        (
            "stop_durable_execution",
            {"DurableExecutionArn": "a", "Error": {"ErrorMessage": 'it\'s "over"'}},
            (
                """aws lambda stop-durable-execution --durable-execution-arn a --error '{"ErrorMessage": "it'"'"'s"""
                """ \\"over\\""}'"""
            ),
        ),
        (
            "pause_durable_execution",
            {"DurableExecutionArn": "-a", "Reason": "https://tickets/1"},
            (
                "aws lambda pause-durable-execution --durable-execution-arn=-a --cli-input-json"
                """ '{"Reason": "https://tickets/1"}'"""
            ),
        ),
        (
            "send_durable_execution_callback_success",
            {"CallbackId": "ab/+c=", "Result": "file://it's text"},
            (
                """printf %s 'file://it'"'"'s text' | aws lambda send-durable-execution-callback-success"""
                " --callback-id ab/+c= --result fileb:///dev/stdin"
            ),
        ),
        (
            "send_durable_execution_callback_success",
            {"CallbackId": "c", "Result": None},
            "aws lambda send-durable-execution-callback-success --callback-id c",
        ),
        (
            "invoke",
            {"FunctionName": "f:1", "InvocationType": "RequestResponse", "Payload": b'{"a":1}'},
            (
                """printf %s '{"a":1}' | aws lambda invoke --function-name f:1 --invocation-type RequestResponse"""
                " --payload fileb:///dev/stdin --cli-read-timeout 0 /dev/stdout"
            ),
        ),
        (
            "invoke",
            {"FunctionName": "f", "InvocationType": "Event", "DurableExecutionName": "-x"},
            "aws lambda invoke --function-name f --invocation-type Event --durable-execution-name=-x /dev/stdout",
        ),
    ],
)
def test_a_call_is_a_line(operation: str, members: dict[str, Any], line: str) -> None:
    assert awscli.command(operation, members) == line


def test_it_says_where() -> None:
    line = awscli.command("list_functions", {}, endpoint_url="http://[::1]:1/", profile="my own", region="eu-west-1")

    assert line == "aws lambda list-functions --endpoint-url 'http://[::1]:1/' --profile 'my own' --region eu-west-1"


def test_a_long_payload_is_left_to_the_reader() -> None:
    line = awscli.command("invoke", {"FunctionName": "f", "Payload": "1" * 2_001})

    assert line == "aws lambda invoke --function-name f --payload fileb:///dev/stdin --cli-read-timeout 0 /dev/stdout"


@pytest.mark.parametrize("text", ["it's", "$HOME `id` $(id)", "a\nb", "!x", "\\n%s", '"', "é"])
def test_a_shell_gives_back_what_was_quoted(text: str, tmp_path: Path) -> None:
    program = tmp_path / "aws"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps([sys.argv[1:], sys.stdin.read()]))\n")
    program.chmod(0o700)
    line = awscli.command("invoke", {"FunctionName": "f", "TenantId": text, "Payload": text})

    ran = subprocess.run(
        ["sh", "-c", line],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
    )

    words, read = json.loads(ran.stdout)
    assert (words[words.index("--tenant-id") + 1], read) == (text, text)


def test_every_option_is_one_of_the_api() -> None:
    model = botocore.session.get_session().get_service_model("lambda")
    for operation, members in (
        ("Invoke", ("FunctionName", "Qualifier", "InvocationType", "DurableExecutionName", "TenantId", "Payload")),
        ("SendDurableExecutionCallbackFailure", ("CallbackId", "Error")),
        ("PauseDurableExecution", ("DurableExecutionArn", "Reason", "ExecutionTimeoutPaused")),
        ("ListDurableExecutionsByFunction", ("FunctionName", "Statuses", "MaxItems")),
    ):
        shape = model.operation_model(operation).input_shape
        assert shape is not None
        assert set(members) <= set(shape.members)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        line = awscli.command(name, dict.fromkeys(members, "1"))
        for member in members:
            assert f"--{botocore.xform_name(member, '-')} " in f"{line} ", member
