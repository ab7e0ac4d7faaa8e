"""The official runner as a contender: `python official.py memory|sqlite|http`, in an environment that has it.

`aws-durable-execution-sdk-python-testing` runs functions of the official SDK. With `http` that is its
`dex-local-runner`, which invokes functions at an endpoint of ours, where they run as on Lambda, checkpoints over HTTP.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count as numbers
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import answering
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestRunner
from aws_durable_execution_sdk_python_testing.stores.sqlite import SQLiteExecutionStore

POLL_SECONDS = 0.002

logging.disable(logging.CRITICAL)


@durable_execution
def steps(event: Any, context: Any) -> Any:
    for number in range(event["n"]):
        context.step(lambda _: {"v": 1}, name=f"s{number}")


@durable_execution
def mapped(event: Any, context: Any) -> Any:
    context.map(
        list(range(event["n"])), lambda inner, *_: inner.step(lambda _: {"v": 1}, name="each"), name="all"
    ).throw_if_error()


@durable_execution
def waits(event: Any, context: Any) -> Any:
    for number in range(event["n"]):
        context.wait(Duration.from_hours(1), name=f"s{number}")


@durable_execution
def invokes(event: Any, context: Any) -> Any:
    for number in range(event["n"]):
        context.invoke("child", {}, name=f"s{number}")


@durable_execution
def none(_event: Any, _context: Any) -> Any:
    return {"v": 1}


DURABLE = {"steps": steps, "map": mapped, "waits": waits, "invokes": invokes, "none": none, "child": none}


class InProcess:
    """The test runner, with its store in memory or in a file."""

    def __init__(self, kind: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="official-bench-")
        self._store = None
        if kind == "sqlite":
            self._store = SQLiteExecutionStore.create_and_initialize(Path(self.folder) / "store.db")
        self._runners: dict[str, Any] = {}
        self._numbers = numbers(1)

    def start(self, workflow: str, items: int) -> Any:
        runner = self._runners.get(workflow)
        if runner is None:
            runner = DurableFunctionTestRunner(DURABLE[workflow], store=self._store, skip_time=True)
            runner.register_durable_function("child", none)
            self._runners[workflow] = runner
        name = f"bench-{next(self._numbers)}"
        arn = runner.run_async(input=json.dumps({"n": items}), execution_name=name, execution_timeout=600)
        return runner, arn

    def finish(self, handle: Any) -> None:
        runner, arn = handle
        result = runner.wait_for_result(arn, timeout=600)
        assert result.status.value == "SUCCEEDED", result

    def hold(self) -> dict[str, Any]:
        raise NotImplementedError("nobody checkpoints over HTTP here")

    def invoked(self) -> dict[str, Any]:
        raise NotImplementedError("nobody invokes over HTTP here")

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Endpoint(BaseHTTPRequestHandler):
    """Where the runner invokes functions: as much of Lambda's Invoke as it needs."""

    protocol_version = "HTTP/1.1"
    held: dict[str, Any] = {}  # noqa: RUF012 - shared by the connections
    is_held = threading.Event()
    is_released = threading.Event()

    def do_POST(self) -> None:
        name = unquote(self.path.split("/functions/")[1].split("/")[0]).split(":")[0]
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if name == "held":
            self.held.update(event)
            self.is_held.set()
            self.is_released.wait()
            output: Any = {"Status": "SUCCEEDED", "Result": "null"}
        else:
            context = SimpleNamespace(
                aws_request_id="bench",
                invoked_function_arn=f"arn:aws:lambda:us-west-2:123456789012:function:{name}",
                tenant_id=None,
                get_remaining_time_in_millis=lambda: 900_000,
            )
            output = DURABLE[name](event, context)
        body = json.dumps(output).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Amz-Executed-Version", "$LATEST")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class EndpointServer(ThreadingHTTPServer):
    """The endpoint, which does not mind whom the runner leaves behind when it ends."""

    def handle_error(self, *_: object) -> None:
        pass


class OverHttp:
    """`dex-local-runner`, with its store in memory."""

    def __init__(self) -> None:
        self._numbers = numbers(1)
        self._endpoint = EndpointServer(("127.0.0.1", 0), Endpoint)
        threading.Thread(target=self._endpoint.serve_forever, daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        durable = {"DurableConfig": {"ExecutionTimeout": 600, "RetentionPeriodInDays": 1}}
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "y",
            "AWS_REGION": "us-west-2",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{self.port}",
        }
        options = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "lambda-endpoint": f"http://127.0.0.1:{self._endpoint.server_port}",
            "log-level": "CRITICAL",
            "function-configs": json.dumps(dict.fromkeys(DURABLE, durable)),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        program = str(Path(sys.executable).with_name("dex-local-runner"))
        self._server = subprocess.Popen([program, "start-server", "--skip-time", *arguments], stdout=2)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def start(self, workflow: str, items: int) -> Any:
        body = self._body(workflow, items, f"bench-{next(self._numbers)}")
        return self._asked("POST", "/start-durable-execution", body)["ExecutionArn"]

    def _body(self, function: str, items: int, name: str) -> str:
        members = {
            "AccountId": "123456789012",
            "FunctionName": function,
            "FunctionQualifier": "$LATEST",
            "ExecutionName": name,
            "ExecutionTimeoutSeconds": 600,
            "ExecutionRetentionPeriodDays": 1,
            "InvocationId": name,
            "Input": json.dumps({"n": items}),
        }
        return json.dumps(members)

    def finish(self, handle: Any) -> None:
        while True:
            found = self._asked("GET", f"/2025-12-01/durable-executions/{quote(handle, safe='')}", None)
            if found["Status"] != "RUNNING":
                assert found["Status"] == "SUCCEEDED", found
                return
            time.sleep(POLL_SECONDS)

    def _asked(self, method: str, path: str, body: str | None) -> Any:
        # It answers as HTTP/1.0: each request has a connection of its own.
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        read = response.read()
        connection.close()
        assert response.status < 300, read
        return json.loads(read)

    def hold(self) -> dict[str, Any]:
        self._asked("POST", "/start-durable-execution", self._body("held", 1, "held"))
        assert Endpoint.is_held.wait(60)
        event = Endpoint.held
        made = {"arn": event["DurableExecutionArn"], "token": event["CheckpointToken"]}
        return {"url": f"http://127.0.0.1:{self.port}", "headers": {"Content-Type": "application/json"}, **made}

    def invoked(self) -> dict[str, Any]:
        body = self._body("none", 1, "NAME")
        headers = {"Content-Type": "application/json"}
        return {
            "url": f"http://127.0.0.1:{self.port}",
            "path": "/start-durable-execution",
            "headers": headers,
            "body": body,
        }

    def close(self) -> None:
        Endpoint.is_released.set()
        self._server.kill()
        self._server.wait()
        self._endpoint.shutdown()


if __name__ == "__main__":
    answering.serve(OverHttp() if sys.argv[1] == "http" else InProcess(sys.argv[1]))
