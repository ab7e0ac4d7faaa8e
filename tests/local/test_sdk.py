"""What a durable function that is written with an AWS SDK finds around it."""

from __future__ import annotations

import io
import json
import logging
import os
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.utils import should_bypass_proxies

from durableflow.local.sdk import Runtime, surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINT = "http://127.0.0.1:7777"


def test_boto3_finds_the_service_here_and_nothing_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = {
        "AWS_ACCESS_KEY_ID": "AKIDREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "HTTP_PROXY": "http://192.0.2.2:3128",
        "no_proxy": "example.org",
    }
    for name, value in (hostile | surroundings(ENDPOINT, allow_aws=False, environ=hostile)).items():
        monkeypatch.setenv(name, value)
    session = boto3.session.Session()
    client = session.client("lambda")
    assert client.meta.endpoint_url == ENDPOINT
    assert client.meta.region_name == "us-east-1"
    credentials = session.get_credentials()
    assert (credentials.access_key, credentials.secret_key, credentials.token) == ("durableflow", "durableflow", None)
    assert should_bypass_proxies(ENDPOINT)
    assert not should_bypass_proxies("http://192.0.2.1")


def test_with_leave_to_call_aws_region_and_credentials_stay_as_they_are() -> None:
    found = surroundings(ENDPOINT, allow_aws=True, environ={"AWS_REGION": "eu-west-1"})
    assert sorted(found) == ["AWS_ENDPOINT_URL_LAMBDA", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "NO_PROXY", "no_proxy"]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def _environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_LOG_LEVEL"):
        monkeypatch.setenv(name, "")


@pytest.mark.usefixtures("_environ")
def test_log_lines_are_json_with_the_keys_of_the_runtime_and_of_the_sdk(root: logging.Logger) -> None:
    output = io.StringIO()
    runtime = Runtime(output)
    runtime.begin("r-1", "risk", "1")
    assert (os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["AWS_LAMBDA_FUNCTION_VERSION"]) == ("risk", "1")
    logging.basicConfig(level=logging.DEBUG)  # changes nothing, as on Lambda
    root.debug("unseen")
    root.info("charged %d", 5, extra={"executionArn": "arn", "operationId": "1", "odd": {1}, "message_": None})
    runtime.begin("r-2", "risk", "1")
    try:
        {}["sku"]
    except KeyError:
        logging.getLogger("shop").exception("failed")
    first, second = (json.loads(line) for line in output.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "INFO", "message": "charged 5", "logger": "root", "requestId": "r-1",
        "executionArn": "arn", "operationId": "1", "odd": "{1}",
    }  # fmt: skip
    assert (second["level"], second["logger"], second["requestId"]) == ("ERROR", "shop", "r-2")
    assert (second["errorType"], second["errorMessage"]) == ("KeyError", "'sku'")
    assert '{}["sku"]' in "".join(second["stackTrace"])
    assert "test_sdk.py" in second["location"]


@pytest.mark.usefixtures("_environ")
def test_a_log_line_may_not_end_an_invocation(root: logging.Logger) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    output = io.StringIO()
    Runtime(output).begin("r-1", "risk", "1")
    root.warning("odd", extra={"it": Odd(), "nan": float("nan")})
    assert json.loads(output.getvalue())["message"] == "odd"


@pytest.mark.usefixtures("_environ")
@pytest.mark.parametrize(("name", "seen"), [("debug", True), ("ERROR", False), ("loud", False), ("", False)])
def test_the_level_may_be_chosen(monkeypatch: pytest.MonkeyPatch, root: logging.Logger, name: str, seen: bool) -> None:
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", name)
    output = io.StringIO()
    Runtime(output).begin("r-1", "risk", "1")
    root.debug("so")
    assert bool(output.getvalue()) == seen
