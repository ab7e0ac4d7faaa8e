from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from durableflow import web
from durableflow.errors import Fault
from durableflow.operations import error_from_fault
from durableflow.web import HttpClient, Url, is_public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OK = ((200, 299),)
DEADLINE = 20.0


@dataclass(slots=True)
class Server:
    """Answers each request on 127.0.0.1 with what `answer` makes of it; several answers on one connection."""

    answer: Callable[[bytes], bytes]
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := received(connection):
                    self.requests.append(request)
                    data = self.answer(request)
                    connection.sendall(data)
                    if b"Connection: close" in data:
                        return
        except OSError:
            pass


def received(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65_536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(answer: Callable[[bytes], bytes] | bytes, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(answer if callable(answer) else lambda _request: answer, tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def response(body: bytes = b"", status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    named = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body


def ask(
    url: str,
    *,
    client: HttpClient | None = None,
    success: web.Statuses = OK,
    redirects: int = 0,
    seconds: float | None = DEADLINE,
    **request: Any,
) -> Any:
    client = client or HttpClient(allow=["127.0.0.1"])
    try:
        return client.perform(
            {"method": "GET", "url": url, **request}, success=success, redirects=redirects, timeout_seconds=seconds
        )
    finally:
        client.close()


def fault(url: str, **settings: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        ask(url, **settings)
    return caught.value


def nowhere(host: str, _port: int) -> list[str]:
    raise AssertionError(f"'{host}' must not be looked up")


# The request on the wire.


def test_a_request_is_sent_as_the_author_wrote_it() -> None:
    with serving(response(b"{}")) as server:
        ask(
            f"{server.url}/charges?c=1#top",
            method="POST",
            headers={"Authorization": "Bearer t", "X-Count": 3, "X-None": None},
            query={"q": "a b&c", "tag": ["x", 2], "none": None, "yes": True},
            body={"amount": 5, "who": "Zoë"},
        )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /charges?c=1&q=a%20b%26c&tag=x&tag=2&yes=true HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert {"Authorization: Bearer t", "X-Count: 3", "Content-Type: application/json"} <= set(lines)
    assert not any(line.startswith("X-None") for line in lines)
    assert json.loads(body) == {"amount": 5, "who": "Zoë"}


def test_a_text_body_goes_as_it_is() -> None:
    with serving(response()) as server:
        ask(server.url, method="PUT", body="<a/>", headers={"content-type": "text/xml"})
    assert server.requests[0].endswith(b"\r\n\r\n<a/>")
    assert b"content-type: text/xml" in server.requests[0]
    assert b"text/plain" not in server.requests[0]


def test_null_is_a_body_and_no_body_is_none() -> None:
    with serving(response()) as server:
        ask(server.url, method="POST", body=None)
        ask(server.url, method="POST")
    assert server.requests[0].endswith(b"\r\n\r\nnull")
    assert server.requests[1].endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" in server.requests[1]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"method": "BREW"}, "'BREW' is no HTTP method"),
        ({"url": 5}, "the URL must be text, not 5"),
        ({"url": "ftp://127.0.0.1/"}, "'ftp://127.0.0.1/' is no URL such as https://api.example/path"),
        ({"url": "http://127.0.0.1/a b"}, "'http://127.0.0.1/a b' is no URL such as https://api.example/path"),
        ({"url": "http://127.0.0.1/\r\nX: y"}, r"'http://127.0.0.1/\u000d\u000aX: y' is no URL such as https://api"),
        ({"url": "http://127.0.0.1:99999/"}, "the URL has the port 99999"),
        ({"url": "http://good\\bad/"}, "is no URL such as https://api.example/path"),
        ({"headers": {"Host": "other"}}, "the header 'Host' cannot be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "the header 'Transfer-Encoding' cannot be set"),
        ({"headers": {"Proxy-Authorization": "x"}}, "the header 'Proxy-Authorization' cannot be set"),
        ({"headers": {"X y": "1"}}, "the header 'X y' cannot be set"),
        ({"headers": {"X": "a\r\nHost: b"}}, "the header 'X' must be one line of ASCII text"),
        ({"headers": {"X": ["a"]}}, "the header 'X' must be one line of ASCII text"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_template(request_: dict[str, Any], message: str) -> None:
    raised = fault(**{"url": "http://127.0.0.1/", **request_}, client=HttpClient(allow=["127.0.0.1"], resolve=nowhere))
    assert raised.name == "States.QueryEvaluationError"
    assert message in raised.message


# The answer.


def test_the_result_is_status_headers_and_decoded_body() -> None:
    reply = response(b'\xef\xbb\xbf{"id": "c1"}', "201 Created", "application/problem+json; charset=utf-8", X_A="1")
    with serving(reply) as server:
        result = ask(server.url)
    assert result == {
        "status": 201,
        "headers": {"content-type": "application/problem+json; charset=utf-8", "content-length": "15", "x-a": "1"},
        "body": {"id": "c1"},
    }


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", "application/json", None),
        (b"plain", "text/plain", "plain"),
        ("Zoë".encode(), "text/plain", "Zoë"),
        ("Zoë".encode("latin-1"), "text/html; charset=ISO-8859-1", "Zoë"),
        (b"\xff\xfe\x00", "application/octet-stream", "//4A"),
        (b'{"a": 1}', "", '{"a": 1}'),
    ],
)
def test_a_body_is_json_or_text_or_base64(body: bytes, kind: str, expected: Any) -> None:
    with serving(response(body, kind=kind)) as server:
        assert ask(server.url)["body"] == expected


def test_headers_that_repeat_are_joined() -> None:
    with serving(response(X_A="1\r\nX-A: 2")) as server:
        assert ask(server.url)["headers"]["x-a"] == "1, 2"


def test_a_body_that_claims_to_be_json_and_is_none_is_an_invalid_result() -> None:
    with serving(response(b"{oops")) as server:
        raised = fault(f"{server.url}/a?token=1")
    assert raised.name == "States.ResultInvalid"
    assert f"GET {server.url}/a claims to be JSON" in raised.message


@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_body_is_connection_trouble(chunked: bool) -> None:
    head = "Transfer-Encoding: chunked\r\n\r\n5\r\nab" if chunked else "Content-Length: 10\r\n\r\nab"
    with serving(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}".encode()) as server:
        raised = fault(server.url)
    assert (raised.name, raised.message) == (
        "Http.ConnectionError",
        f"the connection to '127.0.0.1:{server.port}' failed: the answer is incomplete or no HTTP",
    )


def test_a_packed_body_is_unpacked() -> None:
    with serving(response(gzip.compress(b"[1]"), Content_Encoding="gzip")) as server:
        assert ask(server.url)["body"] == [1]
    assert b"Accept-Encoding: identity" in server.requests[0]


def test_a_damaged_packed_body_is_an_invalid_result() -> None:
    with serving(response(gzip.compress(b"[1]")[:-4], Content_Encoding="gzip")) as server:
        assert fault(server.url).name == "States.ResultInvalid"


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_body_over_the_limit_is_refused(is_packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_MAX_BYTES", 10_000)
    data = b"x" * 10_001
    packed = {"Content_Encoding": "gzip"} if is_packed else {}
    with serving(response(gzip.compress(data) if is_packed else data, kind="text/plain", **packed)) as server:
        raised = fault(server.url)
        assert raised.name == "States.DataLimitExceeded"
        assert raised.message == f"the response to GET {server.url}/ has more than 10,000 bytes"


# Statuses that are no success.


def test_a_status_that_is_no_success_is_an_error_of_its_own() -> None:
    with serving(response(b'{"reason": "gone"}', "404 Not Found")) as server:
        raised = fault(f"{server.url}/x?token=t0ken")
    assert (raised.name, raised.message) == ("Http.404", f"GET {server.url}/x was answered with 404 Not Found")
    assert raised.data == {
        "status": 404,
        "headers": {"content-type": "application/json", "content-length": "18"},
        "body": {"reason": "gone"},
    }


def test_success_may_be_any_range() -> None:
    with serving(response(b"null", "404 Not Found")) as server:
        assert ask(server.url, success=((200, 200), (404, 404)))["status"] == 404
        assert fault(server.url, success=((500, 599),)).name == "Http.404"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x" * 100_000, "text/plain"),
        (b'"\\' * 50_000, "text/plain"),
        (b"\x01" * 50_000, "text/plain"),
        ("ä€".encode() * 50_000, "text/plain"),
        (b"\xff" * 50_000, "image/png"),
        (b'["' + b"x" * 50_000, "application/json"),
    ],
)
def test_an_error_carries_what_it_has_room_for(body: bytes, kind: str) -> None:
    with serving(response(body, "500 Internal Server Error", kind, X_Quoted='"' * 2_000, X_Long="y" * 9_000)) as server:
        raised = fault(server.url)
    data: Any = raised.data
    assert 700 < len(data["body"]) <= web.SHOWN_BODY_BYTES
    assert data["headers"]["content-type"] == kind
    assert "ErrorData" in error_from_fault(raised), "it fits"


# Redirects.


def moved(to: str, status: str = "302 Found") -> bytes:
    return response(status=status, Location=to)


def first_line(request: bytes) -> str:
    return request.split(b"\r\n")[0].decode()


def test_a_redirect_is_not_followed_unless_asked_for() -> None:
    with serving(moved("/b")) as server:
        assert fault(server.url).name == "Http.302"
    assert len(server.requests) == 1


def test_redirects_are_followed_up_to_their_number() -> None:
    with serving(lambda request: moved("/b") if request.startswith(b"GET / ") else moved("c?d=1#e")) as server:
        assert fault(server.url, redirects=2).name == "Http.302"
    assert [first_line(request).split()[1] for request in server.requests] == ["/", "/b", "/c?d=1"]


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        ("301 Moved Permanently", "POST", "GET"),
        ("302 Found", "POST", "GET"),
        ("302 Found", "PUT", "PUT"),
        ("303 See Other", "PUT", "GET"),
        ("303 See Other", "HEAD", "HEAD"),
        ("307 Temporary Redirect", "POST", "POST"),
        ("308 Permanent Redirect", "DELETE", "DELETE"),
    ],
)
def test_the_method_of_a_redirected_request(status: str, method: str, then: str) -> None:
    def answer(request: bytes) -> bytes:
        return moved("/b", status) if b" / " in request.split(b"\r\n")[0] else response(kind="")

    with serving(answer) as server:
        ask(server.url, method=method, redirects=1, **({} if method == "HEAD" else {"body": "text"}))
    last = server.requests[-1]
    assert first_line(last) == f"{then} /b HTTP/1.1"
    assert last.endswith(b"text") == (then == method and method != "HEAD")
    assert (b"Content-Type" in last) == (then == method and method != "HEAD")


def test_credentials_do_not_follow_to_another_origin() -> None:
    headers = {"Authorization": "Bearer t", "Cookie": "c", "X-Api-Key": "k", "Accept": "text/html"}
    with serving(response()) as other, serving(moved(f"{other.url}/b")) as server:
        ask(server.url, redirects=1, headers=headers)
    assert b"Bearer t" in server.requests[0]
    assert b"Accept: text/html" in other.requests[0]
    assert not any(word in other.requests[0] for word in (b"Bearer", b"Cookie", b"Api-Key"))


def test_credentials_stay_within_an_origin() -> None:
    with serving(lambda request: moved("/b") if b" / " in request else response()) as server:
        ask(server.url, redirects=1, headers={"X-Api-Key": "k"})
    assert b"X-Api-Key: k" in server.requests[1]


@pytest.mark.parametrize(
    "to", ["http://169.254.169.254/latest", "https://[::1]/", "http://localhost:1/", "//10.0.0.1/"]
)
def test_a_redirect_is_judged_like_the_first_url(to: str) -> None:
    client = HttpClient(allow=["127.0.0.1"], resolve=lambda _host, _port: ["127.0.0.1"])
    with serving(moved(to)) as server:
        assert fault(server.url, redirects=3, client=client).name == "States.Permissions"


def test_a_redirect_to_no_url_is_the_servers_fault() -> None:
    with serving(moved("mailto:a@b.example")) as server:
        raised = fault(server.url, redirects=1)
    assert raised.name == "Http.ConnectionError"
    assert "redirects to what is no URL, 'mailto:a@b.example'" in raised.message


# Which addresses may be reached (reliability.md D9).


@pytest.mark.parametrize("url", ["http://api.example/", "http://192.0.2.1/", "http://127.0.0.1/"])
def test_plain_http_needs_an_allowed_host(url: str) -> None:
    raised = fault(url, client=HttpClient(resolve=nowhere))
    assert raised.name == "States.Permissions"
    assert "is not reached without TLS: write https; the project's 'http: {allow: [host:port]}'" in raised.message


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.255", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "169.254.170.2", "192.0.0.192", "192.88.99.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
        "2002:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "4000::1", "no address",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)
    client = HttpClient(resolve=lambda _host, _port: ["8.8.8.8", address])
    assert fault("https://api.example/", client=client).name == "States.Permissions"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "52.94.236.248", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_that_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0x7f.0.0.1", "134744072", "1.2.3.4.5"]
)
def test_an_address_in_disguise_is_refused(host: str) -> None:
    raised = fault(f"https://{host}/", client=HttpClient(resolve=nowhere))
    assert (raised.name, "is an address in disguise" in raised.message) == ("States.Permissions", True)


@pytest.mark.parametrize(
    "url", ["https://user:pass@api.example/", "https://@api.example/", "https://api.example@evil/"]
)
def test_a_url_with_a_user_name_is_refused_and_not_shown(url: str) -> None:
    raised = fault(url, client=HttpClient(resolve=nowhere))
    assert raised.name == "States.Permissions"
    assert "example" not in raised.message


def test_a_refusal_says_what_the_host_is_and_how_to_allow_it() -> None:
    raised = fault("https://api.example/", client=HttpClient(resolve=lambda _host, _port: ["10.0.0.7"]))
    assert raised.message == (
        "'api.example' is at 10.0.0.7, which is no public address; "
        "the project's 'http: {allow: [host:port]}' can allow it"
    )


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/", True),
        ("127.0.0.1", "http://127.0.0.1:{port}/", True),
        ("LocalHost", "http://localhost:{port}/", True),
        ("127.0.0.1:1", "http://127.0.0.1:{port}/", False),
        ("127.0.0.1", "http://localhost:{port}/", False),
        ("[::1]:{port}", "http://127.0.0.1:{port}/", False),
    ],
)
def test_the_list_of_allowed_hosts(entry: str, url: str, is_allowed: bool) -> None:
    with serving(response()) as server:
        client = HttpClient(allow=[entry.format(port=server.port)], resolve=lambda _host, _port: ["127.0.0.1"])
        if is_allowed:
            assert ask(url.format(port=server.port), client=client)["status"] == 200
        else:
            assert fault(url.format(port=server.port), client=client).name == "States.Permissions"


@pytest.mark.parametrize("entry", ["[::1]", "[::1]:8080", "[0:0::1]:8080"])
def test_an_allowed_ipv6_host(entry: str) -> None:
    raised = fault("http://[::1]:8080/", client=HttpClient(allow=[entry], resolve=nowhere), seconds=2)
    assert raised.name == "Http.ConnectionError", "it was tried"


def test_a_name_is_resolved_once_and_connected_to_where_it_was_judged() -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with serving(response()) as server:
        client = HttpClient(allow=["api.example"], resolve=lambda _host, _port: next(answers))
        ask(f"http://api.example:{server.port}/", client=client)
    assert f"Host: api.example:{server.port}".encode() in server.requests[0]
    assert next(answers) == ["169.254.169.254"], "nobody asked a second time"


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(response()) as proxy, serving(response()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        ask(server.url)
    assert (len(server.requests), len(proxy.requests)) == (1, 0)
    assert b"Authorization" not in server.requests[0]


def test_a_url_is_read_strictly() -> None:
    url = Url.of("HTTPS://API.Example:443/ä/%2e?q=<1>#f")
    assert str(url) == "https://api.example/%C3%A4/%2e?q=%3C1%3E"
    assert Url.of("http://[0::1]:80").netloc == "[::1]"


# Connections.


def test_a_connection_is_used_again() -> None:
    client = HttpClient(allow=["127.0.0.1"])
    with serving(response(b"1")) as server:
        for _ in range(3):
            client.perform({"method": "POST", "url": server.url}, success=OK, redirects=0, timeout_seconds=DEADLINE)
        client.close()
    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    client = HttpClient(allow=["127.0.0.1"])
    with serving(response(b"1", Connection="close")) as server:
        for _ in range(2):
            client.perform({"method": "POST", "url": server.url}, success=OK, redirects=0, timeout_seconds=DEADLINE)
        client.close()
    assert server.connections == 2


def test_the_next_address_is_tried_when_one_does_not_accept() -> None:
    with serving(response()) as server:
        client = HttpClient(allow=["api.example"], resolve=lambda _host, _port: ["127.0.0.2", "127.0.0.1"])
        assert ask(f"http://api.example:{server.port}/", client=client)["status"] == 200


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    raised = fault(f"http://127.0.0.1:{port}/")
    assert raised.name == "Http.ConnectionError"
    assert raised.message == f"the connection to '127.0.0.1:{port}' failed: Connection refused"


def test_a_host_that_does_not_exist() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    raised = fault("https://api.example/", client=HttpClient(resolve=unknown))
    assert raised.name == "Http.ConnectionError"
    assert raised.message == "host 'api.example' cannot be found: Name or service not known"


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200])
def test_what_is_no_http_is_connection_trouble(reply: bytes) -> None:
    with serving(reply + b"Connection: close\r\n\r\n") as server:
        assert fault(server.url).name == "Http.ConnectionError"


# Time (rule 27).


def dripping(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def drip(connection: socket.socket, is_over: threading.Event) -> None:
        received(connection)
        connection.sendall(head)
        while not is_over.wait(0.05):
            connection.sendall(b"x")

    return drip


@pytest.mark.parametrize(
    "speak",
    [
        pytest.param(lambda _connection, is_over: is_over.wait(), id="silence"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX: "), id="a header byte by byte"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), id="a body byte by byte"),
        pytest.param(dripping(b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n"), id="an error byte by byte"),
    ],
)
def test_the_timeout_covers_all_of_a_request(speak: Callable[[socket.socket, threading.Event], Any]) -> None:
    is_over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            speak(connection, is_over)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        began = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        raised = fault(url, seconds=0.3)
        took = time.monotonic() - began
        is_over.set()
        thread.join()
    assert (raised.name, raised.message) == ("States.Timeout", f"GET {url} was not answered completely within 0.3 s")
    assert 0.25 < took < 5


def test_the_timeout_covers_the_look_up_of_the_name() -> None:
    is_over = threading.Event()

    def slow(_host: str, _port: int) -> list[str]:
        is_over.wait()
        return ["127.0.0.1"]

    raised = fault("https://api.example/", client=HttpClient(resolve=slow), seconds=0.1)
    is_over.set()
    assert raised.name == "States.Timeout"


# TLS.


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server called api.example and of a client that trusts it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("api.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


def test_tls_is_with_the_name_and_not_with_the_address(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    asked: list[str | None] = []
    tls[0].sni_callback = lambda _socket, name, _context: asked.append(name)
    with serving(response(b"1"), tls[0]) as server:
        client = HttpClient(allow=["api.example"], resolve=lambda _host, _port: ["127.0.0.1"], tls=tls[1])
        assert ask(f"https://api.example:{server.port}/", client=client)["body"] == 1
    assert asked == ["api.example"]
    assert f"Host: api.example:{server.port}".encode() in server.requests[0]


def test_a_certificate_of_another_name_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(response(), tls[0]) as server:
        client = HttpClient(allow=["other.example"], resolve=lambda _host, _port: ["127.0.0.1"], tls=tls[1])
        raised = fault(f"https://other.example:{server.port}/", client=client)
    assert raised.name == "Http.ConnectionError"
    assert "the certificate is not valid: Hostname mismatch" in raised.message
    assert server.requests == []


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with serving(response(), tls[0]) as server:
        client = HttpClient(allow=["api.example"], resolve=lambda _host, _port: ["127.0.0.1"])
        raised = fault(f"https://api.example:{server.port}/", client=client)
    assert (raised.name, "the certificate is not valid" in raised.message) == ("Http.ConnectionError", True)
