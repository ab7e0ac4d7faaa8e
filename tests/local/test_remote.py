"""Functions that run elsewhere, in front of a server that answers as an emulator or as Lambda would."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, shell

from durableflow.actions import Clients
from durableflow.errors import Fault
from durableflow.local import remote
from durableflow.local.workers import End, Pool, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["shell"]

PATH = "/2015-03-31/functions/function/invocations"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:ledger:live"


class Emulator:
    """Answers every request as it is told to; keeps what was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b"null"
        self.seconds = 0.0
        self.asked: list[tuple[str, bytes]] = []
        self.given: list[dict[str, str]] = []
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                emulator.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                emulator.given.append({name.lower(): value for name, value in self.headers.items()})
                time.sleep(emulator.seconds)
                self.send_response(emulator.status)
                for name, value in {"Content-Length": str(len(emulator.body)), **emulator.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # whoever asked may have gone
                    self.wfile.write(emulator.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.url = self.origin + PATH

    def answers(self, value: Any, status: int = 200, **headers: str) -> None:
        self.status, self.body = status, value if isinstance(value, bytes) else json.dumps(value).encode()
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def clients(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", emulator.origin)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Clients()


def called(emulator: Emulator, seconds: float = 5.0) -> str:
    return remote.emulated(emulator.url, '{"a":"é"}', seconds=seconds)


def refused(emulator: Emulator) -> tuple[str, str, Any]:
    with pytest.raises(Fault) as caught:
        called(emulator)
    return caught.value.name, caught.value.message, caught.value.data


def test_an_emulator_gets_the_event_and_gives_the_result(emulator: Emulator) -> None:
    emulator.answers({"price": 7})
    assert json.loads(called(emulator)) == {"price": 7}
    assert emulator.asked == [(PATH, '{"a":"é"}'.encode())]
    assert emulator.given[0]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"errorType": "NoPrice", "errorMessage": "none"}, {}, ("NoPrice", "none", None)),
        (
            {"errorType": "NoPrice", "errorMessage": "", "stackTrace": ["a"], "requestId": "r"},
            {},
            ("NoPrice", "", None),
        ),
        ({"errorMessage": "it fell"}, {"X_Amz_Function_Error": "Unhandled"}, ("", "it fell", None)),
        (
            {"errorType": "A", "errorMessage": "b", "errorData": {"c": 1}, "more": 1},
            {"X_Amz_Function_Error": "Unhandled"},
            ("A", "b", {"c": 1}),
        ),
        ([1], {"X_Amz_Function_Error": "Unhandled"}, ("", "[1]", None)),
        (b"fell", {"X_Amz_Function_Error": "Unhandled"}, ("", "fell", None)),
    ],
)
def test_an_error_of_the_function_is_one(
    emulator: Emulator, body: Any, headers: dict[str, str], expected: tuple[str, str, Any]
) -> None:
    emulator.answers(body, **headers)
    assert refused(emulator) == expected


@pytest.mark.parametrize(
    "body",
    [{"errorType": "x"}, {"errorType": "x", "errorMessage": "y", "code": 1}, {"errorType": 1, "errorMessage": ""}],
)
def test_a_result_that_looks_like_an_error_is_a_result(emulator: Emulator, body: Any) -> None:
    emulator.answers(body)
    assert json.loads(called(emulator)) == body


@pytest.mark.parametrize(
    ("status", "headers", "name"),
    [
        (404, {}, "ResourceNotFoundException"),
        (429, {}, "TooManyRequestsException"),
        (413, {}, "RequestTooLargeException"),
        (500, {}, "ServiceException"),
        (302, {"Location": "http://127.0.0.1:1/"}, "ServiceException"),
        (400, {"x_amzn_errortype": "InvalidRequestContentException:more"}, "InvalidRequestContentException"),
    ],
)
def test_a_refusal_is_an_error_of_the_invoke_api(
    emulator: Emulator, status: int, headers: dict[str, str], name: str
) -> None:
    emulator.answers({}, status, **headers)
    assert refused(emulator) == (name, f"POST {emulator.url} was answered with {status}", None)
    assert len(emulator.asked) == 1, "it is neither repeated nor sent on"


def test_what_cannot_be_reached_or_read_is_an_error(emulator: Emulator) -> None:
    emulator.answers(b"\xff")
    assert refused(emulator)[0] == "Runtime.MarshalError"
    emulator.answers(b"1" * (remote.RESPONSE_MAX_BYTES + 1))
    assert refused(emulator)[0] == "Function.ResponseSizeTooLarge"
    emulator.answers({}, Content_Length="1000")
    name, message, _ = refused(emulator)
    assert name == "ServiceException"
    assert "\n" not in message
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Fault) as caught:
            remote.emulated(f"http://127.0.0.1:{free.getsockname()[1]}/", "{}", seconds=5)
    assert caught.value.name == "ServiceException"


def test_a_silent_emulator_times_out(emulator: Emulator) -> None:
    emulator.seconds = 2.0
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        called(emulator, seconds=0.2)
    assert time.monotonic() - started < 1.5


def test_a_function_on_aws_is_invoked_once(emulator: Emulator, clients: Clients) -> None:
    emulator.answers({"ok": True})
    text = remote.invoked(ARN, '{"a":1}', "blue", seconds=5, clients=clients)
    assert json.loads(text) == {"ok": True}
    (path, body) = emulator.asked[0]
    assert (path.replace("%3A", ":"), body) == (f"/2015-03-31/functions/{ARN}/invocations", b'{"a":1}')
    assert emulator.given[0]["x-amz-tenant-id"] == "blue"


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {"X_Amz_Function_Error": "Unhandled"}, {"errorType": "Bad", "errorMessage": "m"}, ("Bad", "m")),
        (200, {"X_Amz_Function_Error": "Unhandled"}, b"?", ("", "?")),
        (
            429,
            {"x_amzn_errortype": "TooManyRequestsException"},
            {"message": "slow"},
            ("TooManyRequestsException", "slow"),
        ),
        (503, {}, {}, ("503", None)),
    ],
)
def test_errors_of_and_about_a_function_on_aws(
    emulator: Emulator, clients: Clients, status: int, headers: dict[str, str], body: Any, expected: tuple[str, Any]
) -> None:
    emulator.answers(body, status, **headers)
    with pytest.raises(Fault) as caught:
        remote.invoked(ARN, "{}", None, seconds=5, clients=clients)
    assert caught.value.name == expected[0]
    assert expected[1] in (None, caught.value.message)
    assert len(emulator.asked) == 1


def test_a_silent_function_on_aws_times_out(emulator: Emulator, clients: Clients) -> None:
    emulator.seconds = 2.0
    with pytest.raises(TimeoutError):
        remote.invoked(ARN, "{}", None, seconds=0.2, clients=clients)


class TestInThePool:
    @pytest.fixture
    def ends(self) -> SimpleQueue[tuple[str, End]]:
        return SimpleQueue()

    def pool(self, ends: SimpleQueue[tuple[str, End]], seconds: float = 5.0) -> Pool:
        def asked(method: str, members: Any) -> Any:
            raise AssertionError((method, members))

        return Pool(asked=asked, ended=lambda *end: ends.put(end), size=1, time_limit_seconds=seconds)

    def test_a_call_ends_with_its_result(self, emulator: Emulator, ends: SimpleQueue[tuple[str, End]]) -> None:
        pool = self.pool(ends)
        emulator.answers([1])
        pool.start(Remote(id="j", label="price", place=emulator.url, payload="{}"))
        assert ends.get(timeout=5) == ("j", End(text="[1]"))
        emulator.answers({}, 500)
        pool.start(Remote(id="k", label="price", place=emulator.url, payload="{}"))
        assert (ends.get(timeout=5)[1].error or {})["ErrorType"] == "ServiceException"
        pool.close()

    def test_a_call_that_takes_too_long_is_over(self, emulator: Emulator, ends: SimpleQueue[tuple[str, End]]) -> None:
        pool = self.pool(ends, seconds=0.2)
        emulator.seconds = 1.0
        pool.start(Remote(id="j", label="price", place=emulator.url, payload="{}"))
        error = {"ErrorType": "Sandbox.Timedout", "ErrorMessage": "Task timed out after 0.20 seconds"}
        assert ends.get(timeout=5) == ("j", End(error=error))
        pool.close()

    def test_closing_the_pool_waits_for_no_answer(self, emulator: Emulator, ends: SimpleQueue[tuple[str, End]]) -> None:
        pool = self.pool(ends, seconds=60.0)
        emulator.seconds = 3.0
        pool.start(Remote(id="j", label="price", place=emulator.url, payload="{}"))
        while not emulator.asked:
            time.sleep(0.01)
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 1.5
        assert ends.empty(), "for the service the call is still running"


WORKFLOW = """\
durableflow: "1"
name: quote
states:
  - {name: price, type: invoke, function: pricing, payload: {sku: 7}}
  - {name: book, type: invoke, function: "ledger:live", payload: "{{ states.price.result }}", catch: [{output: "{{ error.name }}"}]}
"""


@pytest.mark.covers("target.http", "target.lambda")
@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_workflow_invokes_functions_that_run_elsewhere(
    emulator: Emulator, clients: Clients, shell: Shell, tmp_path: Path, *, is_allowed: bool
) -> None:
    assert clients
    functions = {"pricing": {"http": emulator.url}, "ledger:live": {"lambda": ARN}}
    (tmp_path / "durableflow.yaml").write_text(json.dumps({"durableflow": "1", "functions": functions}))
    (tmp_path / "quote.yaml").write_text(WORKFLOW)
    emulator.answers({"cents": 250})

    ran = shell("run", tmp_path / "quote.yaml", "--ephemeral", "--json", *(["--allow-aws"] if is_allowed else []))

    facts = json.loads(ran.out)
    assert facts["status"] == "SUCCEEDED", ran.err
    assert facts["output"] == ({"cents": 250} if is_allowed else "States.Permissions")
    assert [json.loads(body) for _, body in emulator.asked] == [{"sku": 7}, {"cents": 250}][: 1 + is_allowed]
