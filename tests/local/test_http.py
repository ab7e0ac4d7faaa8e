"""The HTTP corpus of reliability.md 3.4 against a live server: raw sockets, one test for each entry."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote

import pytest
from scripted import World, callback

from durableflow.local.http import ANSWERING_MAX, BODY_MAX_BYTES, HEADER_MAX_BYTES, WAITING_MAX, Patience, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scripted import Run

# What is waited for in vain has to be over soon; what is waited for in earnest may take long on a busy machine.
SHORT = Patience(header=0.4, body=0.4, idle=0.6, write=0.4, discard=0.4)
DEADLINE = 30.0
HEALTH_SECONDS = 0.1
SIGNED = "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host\r\n"
FLOW = "/2015-03-31/functions/flow/invocations"
FLOW_LIST = "/2025-12-01/functions/flow/durable-executions"


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, port: int, seconds: float = DEADLINE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: str | bytes) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def try_to_send(self, data: bytes) -> bool:
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def read(self) -> Answer:
        """Read the next response."""
        while b"\r\n\r\n" not in self.buffer:
            assert self._more(), f"closed after {self.buffer!r}"
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines)
        length = int(headers.get("content-length", "0"))
        self.buffer = rest
        while len(self.buffer) < length:
            assert self._more(), "closed within a body"
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(status=int(first.split(" ")[1]), headers=headers, body=body)

    def is_closed(self) -> bool:
        """Say whether the server ends the connection, without another byte."""
        while not self.buffer and self._more():
            pass
        return not self.buffer


class Site:
    """A live server over a service that tests move, and what is sent to it."""

    def __init__(self, world: World, patience: Patience = SHORT) -> None:
        self.world = world
        self.asked: list[str] = []
        self.server = Server(self._ask, patience=patience)
        self.port = self.server.port
        self.host = f"Host: 127.0.0.1:{self.port}\r\n"

    def _ask(self, method: str, members: Mapping[str, Any]) -> Any:
        self.asked.append(method)
        return getattr(self.world.service, method)(**members)

    def client(self) -> Client:
        return Client(self.port)

    def request(self, line: str, headers: str = "", body: bytes = b"", *, host: str | None = None) -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{line} HTTP/1.1\r\n{self.host if host is None else host}{headers}{length}\r\n".encode() + body

    def ask(self, line: str, headers: str = "", body: bytes = b"", *, host: str | None = None) -> Answer:
        """Send one request and read its answer."""
        with self.client() as client:
            client.send(self.request(line, headers, body, host=host))
            return client.read()

    def post(self, path: str, body: bytes = b"{}", headers: str = "") -> Answer:
        """Send what an AWS client would."""
        return self.ask(f"POST {path}", f"{SIGNED}Content-Type: application/json\r\n{headers}", body)

    def health_seconds(self) -> float:
        """Measure how long a new client waits for its answer."""
        begun = time.perf_counter()
        assert self.ask("GET /health").body == b'{"status":"ok"}'
        return time.perf_counter() - begun

    def refuses(self, data: bytes, *statuses: int, is_aws: bool = True) -> None:
        """Hold a request to an error of one of these statuses, after which the connection ends."""
        with self.client() as client:
            client.try_to_send(data)
            answer = client.read()
            assert answer.status in statuses, answer
            assert answer.headers["connection"] == "close"
            assert client.is_closed()
            if is_aws:
                assert_aws(answer)

    def executions(self) -> int:
        reply: Any = self.world.service.list_executions(MaxItems=1000)
        return len(reply["DurableExecutions"])


def assert_aws(answer: Answer) -> None:
    """Hold an error to what clients find the name and the text in."""
    name = answer.headers["x-amzn-errortype"]
    assert answer.json["__type"] == name
    assert answer.json["Type"] == ("User" if answer.status < 500 else "Server")
    assert answer.json.get("message") or answer.json.get("Message")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(World())
    yield made
    made.server.close()


@contextmanager
def opened(site: Site, count: int) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(site.client()) for _ in range(count)]


def waiting(run: Run) -> str:
    """Open a callback, and return its id."""
    operation = run.checkpoint(callback())["c"]
    found: str = operation["CallbackDetails"]["CallbackId"]
    return found


def test_what_an_aws_client_sends_is_answered(site: Site) -> None:
    started = site.post(FLOW, b'{"a":1}', "X-Amz-Invocation-Type: Event\r\nX-Amz-Durable-Execution-Name: one\r\n")
    assert started.status == 202
    assert started.headers["x-amz-durable-execution-arn"].split("/")[-2] == "one"
    assert site.executions() == 1


class TestHosts:
    """H1: `Host` decides before anything else."""

    @pytest.mark.parametrize(
        "host",
        [
            "Host: evil.example\r\n",
            "Host: evil.example:{port}\r\n",
            "Host: 127.0.0.1.evil.example:{port}\r\n",
            "",
            "Host: \r\n",
            "Host: 127.0.0.1\r\n",
            "Host: 127.0.0.1.:{port}\r\n",
            "Host: localhost.:{port}\r\n",
            "Host: 127.0.0.1:{other}\r\n",
            "Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n",
            "Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n",
            "Host: 127.0.0.1:{port}, evil.example\r\n",
            "Host: user@127.0.0.1:{port}\r\n",
            "Host: 127.0.0.1:0{port}\r\n",
            "Host: 2130706433:{port}\r\n",
        ],
    )
    @pytest.mark.parametrize("line", ["GET /health", "GET /nowhere", f"POST {FLOW}", "OPTIONS /", "BREW /"])
    def test_h1_another_name_is_refused_before_routing(self, site: Site, host: str, line: str) -> None:
        sent = host.format(port=site.port, other=site.port + 1)
        site.refuses(site.request(line, SIGNED, host=sent), 421, 400)
        assert not site.asked

    def test_h1_our_names_are_served(self, site: Site) -> None:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert site.ask("GET /health", host=f"Host: {name}:{site.port}\r\n").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1", ""])
def test_h2_another_origin_is_refused(site: Site, origin: str) -> None:
    for line in (f"POST {FLOW}", "GET /health", f"GET {FLOW_LIST}"):
        site.refuses(site.request(line, f"{SIGNED}Origin: {origin}\r\n", b"{}"), 403)
    assert not site.asked


def test_h2_another_site_is_refused_and_ours_is_not(site: Site) -> None:
    for kind in ("cross-site", "same-site", "nonsense"):
        site.refuses(site.request("GET /health", f"Sec-Fetch-Site: {kind}\r\n"), 403)
    assert (
        site.ask("GET /health", f"Origin: http://127.0.0.1:{site.port}\r\nSec-Fetch-Site: same-origin\r\n").status
        == 200
    )
    answer = site.ask("GET /health")
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "text/plain;x=json"]
)
def test_h3_what_a_form_can_post_is_refused(site: Site, kind: str) -> None:
    site.refuses(site.request(f"POST {FLOW}", f"{SIGNED}Content-Type: {kind}\r\n", b"{}"), 415)
    assert not site.asked


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "X-Durableflow-Secret: \r\n",
        "X-Durableflow-Secret: 0123456789abcdef0123456789abcdef\r\n",
        "X-Durableflow-Secret: \xe9\r\n",
        f"{SIGNED}X-Durableflow-Secret: wrong\r\n",
        "Authorization: Bearer x\r\n",
        "Authorization: Basic eDp5\r\n",
        "Authorization: AWS4-HMAC-SHA256\r\n",
        f"{SIGNED}Origin: http://127.0.0.1:{{port}}\r\n",
        f"{SIGNED}Sec-Fetch-Site: same-origin\r\n",
        f"{SIGNED}Sec-Fetch-Mode: no-cors\r\n",
    ],
)
def test_h4_a_change_without_signature_or_secret_is_refused(site: Site, headers: str) -> None:
    sent = headers.replace("{port}", str(site.port))
    site.refuses(site.request(f"POST {FLOW}", sent, b"{}"), 401)
    assert not site.asked


def test_h4_the_secret_of_this_start_is_enough(site: Site) -> None:
    own = f"Origin: http://127.0.0.1:{site.port}\r\nX-Durableflow-Secret: {site.server.secret}\r\n"
    assert site.ask(f"POST {FLOW}", f"{own}X-Amz-Invocation-Type: Event\r\n", b"{}").status == 202
    another = Server(lambda _method, _members: None)
    assert another.secret != site.server.secret
    another.close()


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: -1\r\n",
        "Content-Length: 1_0\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: \u0665\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        f"Content-Length: {10**18}\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length : 5\r\n",
    ],
)
def test_h5_only_one_length_of_digits_counts(site: Site, headers: str) -> None:
    head = f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}{headers}\r\n".encode()
    site.refuses(head + b"12345GET /health HTTP/1.1\r\n\r\n", 400)
    assert not site.asked


@pytest.mark.parametrize(
    "data",
    [
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 10_000,
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\n",
        b"A: b\nC: d\r\n\r\n",
        b"A: b\n\n",
        b"A: b\r\r\n\r\n",
        b"A: b\rC: d\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b"A : b\r\n\r\n",
        b": b\r\n\r\n",
        b"A\r\n\r\n",
        b"A: \0\r\n\r\n",
    ],
)
def test_h6_chunks_bare_line_feeds_and_folded_lines_are_refused(site: Site, data: bytes) -> None:
    site.refuses(f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}".encode() + data, 400)
    assert not site.asked


def test_h6_a_bare_line_feed_is_refused_at_once(site: Site) -> None:
    site.refuses(f"GET /health HTTP/1.1\n{site.host}\n".encode(), 400)
    # Also when it comes in a piece of its own; and what only looks like one in a piece of its own is none.
    with site.client() as client:
        client.send(f"GET /health HTTP/1.1\r\n{site.host}A: b")
        client.send("\n")
        assert client.read().status == 400
    with site.client() as client:
        for byte in site.request("GET /health"):
            client.send(bytes([byte]))
        assert client.read().status == 200


def test_h7_a_body_that_does_not_come_is_given_up(site: Site) -> None:
    with site.client() as client:
        client.send(f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}Content-Length: 10\r\n\r\n12345")
        assert site.health_seconds() < DEADLINE  # others are served meanwhile
        answer = client.read()
        assert answer.status == 408
        assert_aws(answer)
        assert client.is_closed()
    assert not site.asked


def test_h7_bodies_that_do_not_come_are_in_nobodys_way() -> None:
    site = Site(World(), Patience())
    with opened(site, 200) as clients:
        for client in clients:
            client.try_to_send(f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}Content-Length: 10\r\n\r\n1".encode())
        assert quickest(site) < HEALTH_SECONDS
    site.server.close()


def quickest(site: Site) -> float:
    """Measure what a client waits for; the least of a few, since other programs share the machine."""
    return min(site.health_seconds() for _ in range(5))


def test_h8_slow_headers_are_in_nobodys_way() -> None:
    site = Site(World(), Patience(header=1.0))
    head = f"GET /health HTTP/1.1\r\n{site.host}X: y".encode()
    with opened(site, 200) as clients:
        is_over = threading.Event()

        def drip() -> None:
            for byte in head:
                for client in clients:
                    client.try_to_send(bytes([byte]))
                if is_over.wait(0.02):
                    return

        attack = threading.Thread(target=drip)
        attack.start()
        try:
            assert quickest(site) < HEALTH_SECONDS
            for client in clients:
                # Cut off for another one, or told that it was too slow.
                assert client.is_closed() or client.read().status == 408
        finally:
            is_over.set()
            attack.join()
    assert quickest(site) < HEALTH_SECONDS
    site.server.close()


def test_h8_a_connection_that_never_asks_is_closed(site: Site) -> None:
    with site.client() as silent, site.client() as done:
        done.send(site.request("GET /health"))
        assert done.read().status == 200
        assert silent.is_closed()
        assert done.is_closed()


def test_h8_whoever_has_asked_before_keeps_the_connection_longest() -> None:
    site = Site(World(), Patience())
    with site.client() as known:
        known.send(site.request("GET /health"))
        assert known.read().status == 200
        with opened(site, 2 * WAITING_MAX):
            assert site.health_seconds() < DEADLINE
            known.send(site.request("GET /health"))
            assert known.read().status == 200
    site.server.close()


@pytest.mark.slow
def test_h7_h8_with_the_true_limits() -> None:
    site = Site(World(), Patience())
    with site.client() as slow_head, site.client() as slow_body:
        begun = time.monotonic()
        slow_head.send("GET /health")
        slow_body.send(f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}Content-Length: 10\r\n\r\n1")
        while time.monotonic() - begun < 9:
            slow_head.send("x")
            assert quickest(site) < HEALTH_SECONDS
            time.sleep(1)
        slow_head.socket.settimeout(DEADLINE)
        assert slow_head.read().status == 408
        assert 9.5 < time.monotonic() - begun < 12
        slow_body.socket.settimeout(2 * DEADLINE)
        assert slow_body.read().status == 408
        assert 29.5 < time.monotonic() - begun < 32
    site.server.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"A: " + b"x" * (HEADER_MAX_BYTES + 1) + b"\r\n\r\n", 431),
        (b"A: b\r\n" * 10_000 + b"\r\n", 431),
        (b"a:\r\n" * 101 + b"\r\n", 431),
        (b"x" * (HEADER_MAX_BYTES + 1), 431),
    ],
)
def test_h9_long_headers_are_refused(site: Site, data: bytes, status: int) -> None:
    site.refuses(f"GET /health HTTP/1.1\r\n{site.host}".encode() + data, status)


def test_h9_the_longest_header_is_read(site: Site) -> None:
    head = f"GET /health HTTP/1.1\r\n{site.host}A: "
    assert site.ask("GET /health", f"A: {'x' * (HEADER_MAX_BYTES - len(head))}\r\n").status == 200
    site.refuses(site.request("GET /health", f"A: {'x' * (HEADER_MAX_BYTES - len(head) + 1)}\r\n"), 431)
    assert site.ask("GET /health", "".join(f"h{n}: x\r\n" for n in range(99))).status == 200
    site.refuses(site.request(f"GET /{'x' * HEADER_MAX_BYTES}"), 414)


def test_h10_a_large_body_is_refused_without_reading_it(site: Site) -> None:
    with site.client() as client:
        client.send(f"POST {FLOW} HTTP/1.1\r\n{site.host}{SIGNED}Content-Length: 7340032\r\n\r\n")
        answer = client.read()  # nothing of the body was sent
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException")
    assert_aws(answer)
    # A client that sends first and reads then gets to see the answer, too.
    site.refuses(site.request(f"POST {FLOW}", SIGNED, b"x" * (BODY_MAX_BYTES + 1)), 413)
    assert not site.asked


def test_h11_encoded_bodies_and_expectations_are_refused(site: Site) -> None:
    for encoding in ("gzip", "br", "identity, gzip", "aws-chunked"):
        site.refuses(site.request(f"POST {FLOW}", f"{SIGNED}Content-Encoding: {encoding}\r\n", b"\x1f\x8b"), 415)
    site.refuses(site.request(f"POST {FLOW}", f"{SIGNED}Expect: 100-continue\r\n", b"{}"), 417)
    site.refuses(site.request("GET /health", "Expect: the unexpected\r\n"), 417)
    assert not site.asked


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/%252e%252e%252fetc%252fpasswd",
        "/..\\..\\etc\\passwd",
        "/health/../health",
        "/health%00",
        "/\0",
        "//health",
        "/./health",
        "http://127.0.0.1/health",
        "*",
        "etc/passwd",
        "/2025-12-01/durable-executions/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/2025-12-01/durable-executions/..%2f..%2fetc%2fpasswd/history",
        "/2025-12-01/durable-executions/%00",
        "/2025-12-01/durable-executions/../durable-executions",
    ],
)
def test_h12_paths_lead_to_operations_only(site: Site, path: str) -> None:
    answer = site.ask(f"GET {path}")
    assert answer.status == 404
    assert_aws(answer)
    assert b"root:" not in answer.body


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%00", "a%2fb"])
def test_h12_names_of_functions_are_no_paths(site: Site, path: str) -> None:
    answer = site.ask(f"GET /2015-03-31/functions/{path}")
    assert answer.status in {400, 404}
    assert_aws(answer)


def test_h13_an_encoded_arn_is_found(site: Site) -> None:
    run = site.world.begin(name="one")
    assert "%2F" in quote(run.arn, safe="")
    for arn in (quote(run.arn, safe=""), quote(run.arn, safe="$:"), quote(run.arn, safe="").lower()):
        assert site.ask(f"GET /2025-12-01/durable-executions/{arn}").json["DurableExecutionName"] == "one"
    # Decoded twice, it would be another one.
    assert site.ask(f"GET /2025-12-01/durable-executions/{quote(quote(run.arn, safe=''))}").status == 404
    # With its slash as it is, it is two parts of a path.
    assert site.ask(f"GET /2025-12-01/durable-executions/{run.arn}").status == 404


def test_h13_an_encoded_callback_id_is_found(site: Site) -> None:
    found = []
    numbers = iter(range(10_000))
    site.world.entropy = lambda size: next(numbers).to_bytes(size, "big")
    for _ in range(40):
        callback_id = waiting(site.world.begin())
        found.append(callback_id)
        answer = site.post(f"/2025-12-01/durable-execution-callbacks/{quote(callback_id, safe='')}/heartbeat", b"")
        assert (answer.status, answer.json) == (200, {})
    assert any(set("+/=") & set(callback_id) for callback_id in found)
    # A plus sign in a path is one.
    assert site.post("/2025-12-01/durable-execution-callbacks/QUJD+%2F8=/heartbeat", b"").status == 404


@pytest.mark.parametrize("part", ["%ZZ", "%", "%4", "%FF", "%C0%AF", "%ED%A0%80", "%f0%9f%98", "\xff", "%u0041"])
def test_h14_what_is_not_percent_encoded_utf_8_is_refused(site: Site, part: str) -> None:
    for path in (
        f"/{part}",
        f"/2025-12-01/durable-executions/{part}",
        f"/2015-03-31/functions?Marker={part}",
        f"/2015-03-31/functions?{part}=1",
    ):
        with site.client() as client:
            client.send(f"GET {path} HTTP/1.1\r\n{site.host}\r\n")
            answer = client.read()
        assert answer.status == 400
        assert_aws(answer)
    assert not site.asked


class TestMethods:
    """H15: what there is, and how it can be asked for."""

    arn: ClassVar[str] = quote("arn:aws:lambda:us-east-1:123456789012:function:f:1/durable-execution/a/b", safe="")

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            ("GET /", 404),
            ("GET /nowhere", 404),
            ("GET /2025-12-01/durable-executions", 404),
            ("GET /2025-12-01/durable-executions/", 404),
            ("GET /HEALTH", 404),
            ("POST /2025-12-01/durable-executions/{arn}/explode", 404),
            ("GET /2025-12-01/durable-executions/{arn}/checkpoint", 405),
            ("PUT /2025-12-01/durable-executions/{arn}/stop", 405),
            ("POST /2025-12-01/durable-executions/{arn}", 405),
            ("OPTIONS /2025-12-01/durable-executions/{arn}", 405),
            ("TRACE /2025-12-01/durable-executions/{arn}", 405),
            ("get /2025-12-01/durable-executions/{arn}", 405),
            ("OPTIONS /", 404),
            ("OPTIONS *", 404),
            ("TRACE /", 404),
            ("CONNECT 127.0.0.1:80", 404),
            ("POST /health", 404),
            ("BREW /", 501),
            ("get /", 501),
        ],
    )
    def test_h15_unknown_routes_and_methods_are_refused(self, site: Site, line: str, status: int) -> None:
        answer = site.ask(line.format(arn=self.arn), SIGNED)
        assert answer.status == status
        assert_aws(answer)
        assert (answer.headers.get("allow") is not None) == (status == 405)
        assert not site.asked

    def test_h15_a_method_of_60_kb_is_refused(self, site: Site) -> None:
        site.refuses(site.request("G" * 60_000 + " /"), 501)
        site.refuses(b"G" * 60_000, 501)

    def test_h15_head_has_no_body(self, site: Site) -> None:
        with site.client() as client:
            client.send(site.request("HEAD /health") + site.request("GET /health"))
            begun = client.socket.recv(1, socket.MSG_PEEK)
            assert begun == b"H"
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.socket.recv(1)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Content-Length: 15\r\n" in head
            assert client.read().body == b'{"status":"ok"}'


JSON_CORPUS = {
    "J1 truncated": b'{"a":',
    "J1 trailing comma": b'{"a":1,}',
    "J1 comment": b'{"a":1} // x',
    "J1 two values": b"{} {}",
    "J1 not JSON": b"hello",
    "J2 NaN": b'{"a":NaN}',
    "J2 Infinity": b'{"a":-Infinity}',
    "J2 1e400": b'{"a":1e400}',
    "J3 integer": b'{"a":' + b"9" * 5000 + b"}",
    "J4 deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "J4 deep and open": b'{"a":' * 100_000,
    "J5 duplicate keys": b'{"a":1,"a":2}',
    "J5 duplicate keys inside": b'{"b":[{"a":1,"\\u0061":2}]}',
    "J6 lone surrogate": b'{"a":"\\ud800"}',
    "J6 lone surrogate as a key": b'{"\\udfff":1}',
    "J8 UTF-16": '{"a":1}'.encode("utf-16"),
    "J8 Latin-1": b'{"a":"\xe9"}',
}


@pytest.mark.parametrize("name", JSON_CORPUS)
def test_h16_bad_json_is_refused_in_every_body(site: Site, name: str) -> None:
    run = site.world.begin()
    callback_id = waiting(run)
    before, arn = site.world.events(run.arn), quote(run.arn, safe="")
    for path in (
        FLOW,
        f"/2025-12-01/durable-executions/{arn}/checkpoint",
        f"/2025-12-01/durable-executions/{arn}/stop",
        f"/2025-12-01/durable-executions/{arn}/pause",
        f"/2025-12-01/durable-executions/{arn}/resume",
        f"/2025-12-01/durable-execution-callbacks/{quote(callback_id, safe='')}/fail",
    ):
        begun = time.perf_counter()
        answer = site.post(path, JSON_CORPUS[name], "X-Amz-Invocation-Type: Event\r\n")
        taken = time.perf_counter() - begun
        assert answer.status == 400, path
        assert_aws(answer)
        assert len(answer.body) < 500
        assert taken < 1
    assert site.world.events(run.arn) == before
    assert site.executions() == 1


def test_h16_j7_a_body_over_the_limit_is_refused_before_it_is_parsed(site: Site) -> None:
    for size in (6 * 1024 * 1024 + 1, 8_000_000):
        answer = site.post(FLOW, b"[" * size)
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException")
        assert_aws(answer)
    assert not site.executions()


def test_h16_the_answer_of_a_callback_is_kept_as_it_is(site: Site) -> None:
    run = site.world.begin()
    callback_id = waiting(run)
    path = f"/2025-12-01/durable-execution-callbacks/{quote(callback_id, safe='')}/succeed"
    assert site.post(path, b'{"a": NaN, "a": <img onerror>').status == 200
    assert run.checkpoint()["c"]["CallbackDetails"]["Result"] == '{"a": NaN, "a": <img onerror>'


def test_h17_pipelined_requests_are_answered_in_order(site: Site) -> None:
    invoke = site.request(f"POST {FLOW}", f"{SIGNED}X-Amz-Invocation-Type: Event\r\n", b"{}")
    with site.client() as client:
        client.send(site.request("GET /health") + invoke + site.request("GET /nowhere") + site.request("GET /health"))
        assert [client.read().status for _ in range(4)] == [200, 202, 404, 200]
    assert site.asked == ["invoke"]


def test_h17_nothing_is_read_after_a_request_that_is_refused(site: Site) -> None:
    invoke = site.request(f"POST {FLOW}", f"{SIGNED}X-Amz-Invocation-Type: Event\r\n", b"{}")
    site.refuses(site.request("GET /health", "Expect: x\r\n") + invoke, 417)
    site.refuses(site.request("GET /health", "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n" + invoke, 400)
    assert not site.asked


@pytest.mark.parametrize("option", ["close", "Close", "keep-alive, close", "close, TE"])
def test_h17_a_client_that_wants_to_close_is_let_go(site: Site, option: str) -> None:
    with site.client() as client:
        client.send(site.request("GET /health", f"Connection: {option}\r\n"))
        assert client.read().headers["connection"] == "close"
        assert client.is_closed()


def test_h18_other_protocols_are_closed(site: Site) -> None:
    site.refuses(b"GET /health\r\n\r\n", 400)
    site.refuses(b"GET /health HTTP/0.9\r\n\r\n", 400)
    site.refuses(b"GET /health HTTP/2.0\r\n\r\n", 400)
    site.refuses(b"GET /health HTTP/1.10\r\n\r\n", 400)
    site.refuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0\0\0", b"\x80\x2e\x01\x00\x02"):
        with site.client() as client:
            client.send(data)
            assert client.is_closed()
    client_side = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", site.port), timeout=DEADLINE) as plain, pytest.raises(OSError):  # noqa: PT011 - whatever TLS calls it
        client_side.wrap_socket(plain, server_hostname="localhost")
    assert not site.asked


def test_h18_http_1_0_is_answered_once(site: Site) -> None:
    with site.client() as client:
        client.send(f"GET /health HTTP/1.0\r\n{site.host}\r\n")
        assert client.read().status == 200
        assert client.is_closed()


class TestPages:
    """H19: pages of a history."""

    @pytest.mark.parametrize(
        "size", ["-1", "0", "1001", "text", "1.0", "1e2", "+5", "1_0", "%d9%a5", "99999999999", "true"]
    )
    def test_h19_sizes_of_pages_are_checked(self, site: Site, size: str) -> None:
        arn = quote(site.world.begin().arn, safe="")
        for path in (
            f"/2025-12-01/durable-executions/{arn}/history?MaxItems={size}",
            f"{FLOW_LIST}?MaxItems={size}",
        ):
            answer = site.ask(f"GET {path}")
            assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterValueException")
            assert_aws(answer)

    def test_h19_markers_are_checked(self, site: Site) -> None:
        runs = [site.world.begin(), site.world.begin()]
        for run in runs:
            waiting(run)
        one, other = (f"/2025-12-01/durable-executions/{quote(run.arn, safe='')}/history?MaxItems=1" for run in runs)
        page = site.ask(f"GET {one}").json
        assert site.ask(f"GET {one}&Marker={quote(page['NextMarker'], safe='')}").json["Events"][0]["EventId"] == 2
        listed = site.ask(f"GET {FLOW_LIST}?MaxItems=1").json["NextMarker"]
        huge = "aGlzdG9yeS4x" + "OTk5" * 40
        for bad in (listed, "x", "AAAA", "====", "%00", "aGlzdG9yeS4xLi0y", huge, "aGlzdG9yeS4xLjE%3D%3D"):
            answer = site.ask(f"GET {one}&Marker={bad}")
            assert answer.status == 400, bad
            assert_aws(answer)
        assert site.ask(f"GET {other}&Marker={quote(page['NextMarker'], safe='')}").status == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_h21_streams_from_another_origin_are_refused(site: Site, origin: str) -> None:
    socket_of = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
    for kind in (socket_of, "Accept: text/event-stream\r\n"):
        for path in ("/", "/health", "/events", FLOW_LIST):
            site.refuses(site.request(f"GET {path}", f"Origin: {origin}\r\n{kind}"), 403)
    # Without an Origin there is none either, and the connection stays what it is.
    assert site.ask("GET /", socket_of).status == 404
    assert not site.asked


def test_h22_a_response_never_echoes_a_header(site: Site) -> None:
    names = (
        *("User-Agent", "Accept", "Accept-Language", "Cookie", "Referer", "X-Amzn-Trace-Id", "X-Forwarded-For"),
        *("X-Amz-Date", "X-Amz-Security-Token", "amz-sdk-invocation-id", "X-Amz-Client-Context", "Connection"),
        *("X-Amz-Tenant-Id", "X-Amz-Log-Type", "X-Amz-Invocation-Type", "X-Amz-Durable-Execution-Name", "Upgrade"),
        *("Content-Type", "Content-Encoding", "Origin", "Host", "Expect", "Transfer-Encoding", "Content-Length"),
        *("Authorization", "Sec-Fetch-Site", "X-Durableflow-Secret", "Access-Control-Request-Headers", "Range"),
    )
    unwanted = "zqj<img>\tzqj"
    arn = quote(site.world.begin().arn, safe="")
    for name in names:
        for line in ("GET /health", f"GET {FLOW_LIST}", f"GET /2025-12-01/durable-executions/{arn}", f"POST {FLOW}"):
            own = "" if name == "Host" else site.host
            signed = "" if name == "Authorization" else SIGNED
            kind = "X-Amz-Invocation-Type: Event\r\n" if "Type" not in name else ""
            with site.client() as client:
                client.send(f"{line} HTTP/1.1\r\n{own}{signed}{kind}{name}: {unwanted}\r\n\r\n")
                answer = client.read()
            everything = json.dumps(dict(answer.headers)).encode() + answer.body
            assert b"zqj" not in everything.lower(), (name, line)


# What the corpus does not say.


def test_many_sync_invokes_are_in_nobodys_way(site: Site) -> None:
    with opened(site, 80) as clients:
        for client in clients:
            client.send(site.request(f"POST {FLOW}", SIGNED, b"{}"))
        eventually(lambda: len(site.world.jobs) == 80)
        assert quickest(site) < HEALTH_SECONDS
        for job in list(site.world.jobs):
            site.world.service.invocation_ended(job.id, output={"Status": "SUCCEEDED", "Result": '"done"'})
        assert {client.read().body for client in clients} == {b'"done"'}


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what another thread does; it has no way to tell us."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_client_that_does_not_read_is_given_up() -> None:
    begun, ended = threading.Event(), threading.Event()

    def ask(_method: str, _members: Mapping[str, Any]) -> Any:
        begun.set()
        return {"Functions": ["x" * 50_000_000]}

    server = Server(ask, patience=SHORT)
    with Client(server.port) as client:
        client.send(f"GET /2015-03-31/functions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n")
        assert begun.wait(DEADLINE)
        threading.Thread(target=lambda: (server.close(drain_seconds=DEADLINE), ended.set())).start()
        assert ended.wait(DEADLINE)


def test_too_many_requests_under_way_are_refused() -> None:
    is_over = threading.Event()
    asked: list[str] = []

    def ask(method: str, _members: Mapping[str, Any]) -> Any:
        asked.append(method)
        is_over.wait(DEADLINE)
        return {"Functions": []}

    server = Server(ask, patience=SHORT)
    line = f"GET /2015-03-31/functions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(ANSWERING_MAX):
            client = stack.enter_context(Client(server.port))
            client.send(line)
        eventually(lambda: len(asked) == ANSWERING_MAX)
        with Client(server.port) as one_more:
            one_more.send(line)
            answer = one_more.read()
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert_aws(answer)
        assert answer.headers["x-amzn-errortype"] == "TooManyRequestsException"
        is_over.set()
        assert client.read().json == {"Functions": []}
    server.close(drain_seconds=DEADLINE)


def test_invokes_that_wait_leave_places_to_what_they_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durableflow.local.http.INVOKING_MAX", 1)
    is_over, is_asked = threading.Event(), threading.Event()

    def ask(method: str, _members: Mapping[str, Any]) -> Any:
        if method == "invoke":
            is_asked.set()
            is_over.wait(DEADLINE)
            return {"StatusCode": 200, "Payload": b"1"}
        return {"Functions": []}

    server = Server(ask, patience=SHORT)
    host = f"Host: 127.0.0.1:{server.port}\r\nX-Durableflow-Secret: {server.secret}\r\n"
    invoke = f"POST /2015-03-31/functions/fn/invocations HTTP/1.1\r\n{host}\r\n"
    with Client(server.port) as first, Client(server.port) as second, Client(server.port) as other:
        first.send(invoke)
        assert is_asked.wait(DEADLINE)
        second.send(invoke)
        assert second.read().status == 429
        other.send(f"GET /2015-03-31/functions HTTP/1.1\r\n{host}\r\n")
        assert other.read().status == 200
        is_over.set()
        assert first.read().status == 200
    server.close(drain_seconds=DEADLINE)


def test_many_clients_may_come_at_once(site: Site) -> None:
    with opened(site, 200) as clients:
        for client in clients:
            client.send(site.request("GET /health"))
        assert {client.read().status for client in clients} == {200}


def test_closing_lets_what_is_answered_end(site: Site) -> None:
    with site.client() as client, site.client() as idle:
        client.send(site.request(f"POST {FLOW}", SIGNED, b"{}"))
        eventually(lambda: site.world.jobs)
        closing = threading.Thread(target=lambda: site.server.close(drain_seconds=DEADLINE))
        closing.start()
        assert idle.is_closed()
        site.world.service.invocation_ended(site.world.job().id, output={"Status": "SUCCEEDED", "Result": '"done"'})
        answer = client.read()
        assert (answer.body, answer.headers["connection"]) == (b'"done"', "close")
        closing.join(DEADLINE)
        assert not closing.is_alive()
