"""How is an HTTP request made for an `http` state? Within its time, to an address that it may reach, and no further.

A workflow's URLs may come from data, so they are not trusted. A URL is read by one strict grammar; its host is resolved
once, every address is judged, and the connection goes to the very address that was judged, so that a name cannot be
pointed elsewhere in between. TLS and the Host header still speak of the name. Redirects go through all of it again.
Nothing is taken from the environment: no proxies, no credentials of `.netrc`.

Source: language.md 4 and 12, rules 13, 27, 42, 43; reliability.md D9.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast
from urllib.parse import quote, urljoin

from durableflow import faults, values
from durableflow.deadlines import OverdueError, within
from durableflow.errors import Fault
from durableflow.expressions import to_display
from durableflow.source import shown

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

    from durableflow.values import Json, Object

    Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""(host, port) -> the host's addresses, the best first. Raises OSError."""
Statuses: TypeAlias = Sequence[tuple[int, int]]
"""Ranges of statuses, both ends included."""

CONNECTION_ERROR: Final = "Http.ConnectionError"
TIMEOUT_SECONDS: Final = 60.0
"""How long a request may take that says nothing of it."""
CONNECT_SECONDS: Final = 10.0
"""How long one address is given to accept a connection."""
BODY_MAX_BYTES: Final = 6 * 1024 * 1024
"""Largest response body, unpacked; what the state keeps of it is limited by rule 45."""
SHOWN_BODY_BYTES: Final = 6 * 1024
"""How much of a body, and of the headers, an `Http.STATUS` error carries, as JSON. With every character escaped once
more they still fit into an error object, whose data are whole or not at all (rule 45)."""
IDLE_SECONDS: Final = 15.0
"""How long a connection is kept for another request: servers and NAT gateways forget it soon after."""
IDLE_MAX: Final = 16

_READ_BYTES: Final = 64 * 1024
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<six>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.IGNORECASE,
)
_USERINFO: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*@", re.IGNORECASE)
_UNREADABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
"""A last label that makes resolvers take a host for an address in decimal, octal or hexadecimal notation."""
_KEPT_IN_URLS: Final = "%/:@!$&'()*+,;=-._~?[]"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that a server takes twice like once (RFC 9110, 9.2.2)."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
"""Headers that frame the message or choose the server; with an author's value they would let a request pass as another
one."""
_HARMLESS: Final = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers that follow a redirect to another origin; any other one may be a credential."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHARSETS: Final = {"utf-8": "utf-8-sig", "us-ascii": "ascii", "iso-8859-1": "latin-1", "windows-1252": "cp1252"}
"""What text is read in; the alias of UTF-8 takes a byte order mark off."""
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: IPv6 addresses that carry an IPv4 address."""
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
"""Protocol assignments, examples and tunnels (Teredo, 6to4), which not every version of `ipaddress` knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A URL as it is requested.

    Args:
        scheme: `http` or `https`.
        host: lower case; an IPv6 address without brackets.
        port: always there.
        path: with a `/` in front, percent-encoded.
        query: percent-encoded, or None for none.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None

    @classmethod
    def of(cls, text: str) -> Url:
        """Read a URL.

        Raises:
            Fault: States.QueryEvaluationError, it is none; States.Permissions, it carries a user name.
        """
        if _USERINFO.match(text):
            # Not shown: what stands there is likely to be a password.
            raise Fault(faults.PERMISSIONS, "a URL must not hold a user name or password; send an Authorization header")
        match = None if _UNREADABLE.search(text) else _URL.fullmatch(text)
        if match is None:
            raise Fault(faults.QUERY_EVALUATION, f"'{shown(text)}' is no URL such as https://api.example/path")
        scheme = match["scheme"].lower()
        port = int(match["port"] or (443 if scheme == "https" else 80))
        if not 0 < port < 65_536:
            raise Fault(faults.QUERY_EVALUATION, f"the URL has the port {port}")
        query = match["query"]
        return cls(
            scheme=scheme,
            host=_host(match["six"] or match["name"]),
            port=port,
            path=quote(match["path"] or "/", safe=_KEPT_IN_URLS),
            query=None if query is None else quote(query, safe=_KEPT_IN_URLS),
        )

    @property
    def netloc(self) -> str:
        """The host as a Host header has it, with the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def bare(self) -> str:
        """The URL without its query, which often holds what is nobody's business."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    def __str__(self) -> str:
        return self.bare if self.query is None else f"{self.bare}?{self.query}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that may be sent as it stands.

    Args:
        headers: names as the author wrote them.
        body: bytes, or None for none.
    """

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | None

    @classmethod
    def of(cls, request: Object) -> Request:
        """Read `{method, url, headers?, query?, body?}`, rendered.

        Text goes as it is and other values as JSON (rule 1); a header or parameter that is null is left out, a list in
        `query` repeats its name.

        Raises:
            Fault: States.QueryEvaluationError, it is no request; States.Permissions, its URL carries a user name.
        """
        method, address = request.get("method"), request.get("url")
        if not isinstance(method, str) or method not in _METHODS:
            raise Fault(faults.QUERY_EVALUATION, f"'{shown(to_display(method))}' is no HTTP method")
        if not isinstance(address, str):
            raise Fault(faults.QUERY_EVALUATION, f"the URL must be text, not {shown(to_display(address))}")
        url = Url.of(address)
        added = _query(cast("Object", request.get("query") or {}))
        if added:
            url = replace(url, query=f"{url.query}&{added}" if url.query else added)
        headers = _headers(cast("Object", request.get("headers") or {}))
        body = None
        if "body" in request:
            content = request["body"]
            is_text = isinstance(content, str)
            body = (content if isinstance(content, str) else values.to_text(content)).encode("utf-8", "replace")
            if not any(name.lower() == "content-type" for name in headers):
                headers["Content-Type"] = "text/plain; charset=utf-8" if is_text else "application/json"
        return cls(method=method, url=url, headers=headers, body=body)

    @property
    def line(self) -> str:
        """The method and the URL without its query."""
        return f"{self.method} {self.url.bare}"

    @property
    def told(self) -> str:
        """The request as messages show it, at most about 200 characters."""
        return shown(self.line)

    def redirected(self, status: int, location: str) -> Request:
        """Return the request that a redirect asks for.

        Raises:
            Fault: Http.ConnectionError, it asks for what is no URL.
        """
        try:
            url = Url.of(urljoin(str(self.url), quote(location, safe=_KEPT_IN_URLS + "#", encoding="latin-1")))
        except (Fault, ValueError) as error:
            raise Fault(CONNECTION_ERROR, f"{self.told} redirects to what is no URL, '{shown(location)}'") from error
        method, body, headers = self.method, self.body, dict(self.headers)
        if (status in (301, 302) and method == "POST") or (status == HTTPStatus.SEE_OTHER and method != "HEAD"):
            method, body = "GET", None
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        if (url.scheme, url.host, url.port) != (self.url.scheme, self.url.host, self.url.port):
            headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
        return Request(method=method, url=url, headers=headers, body=body)


def outcome(request: Request, answer: Object, success: Statuses) -> Json:
    """Return an answer, `{status, headers, body}`, as the result of a state.

    Raises:
        Fault: `Http.STATUS`, with what fits of the answer as data, when its status is none of `success`.
    """
    status = cast("int", answer["status"])
    if _is_success(status, success):
        return answer
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
    message = f"{request.told} was answered with {status} {phrase}".rstrip()
    raise Fault(f"Http.{status}", message, {**answer, "headers": _few(answer["headers"]), "body": _cut(answer["body"])})


def _is_success(status: int, success: Statuses) -> bool:
    return any(first <= status <= last for first, last in success)


class HttpClient:
    """Makes requests; one for a process, usable from several threads.

    Args:
        allow: hosts, `host` or `host:port`, that may be reached without TLS and at addresses which are not public.
        resolve: looks host names up.
        tls: how servers prove who they are; None for the certificate authorities of this machine.
    """

    def __init__(
        self, *, allow: Sequence[str] = (), resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._allowed = {(_host(host.strip("[]")), port) for host, port in map(_allowed, allow)}
        self._resolve = resolve or resolved
        self._tls = tls
        self._idle: list[tuple[float, tuple[str, str, int, str], HTTPConnection]] = []
        self._guard = threading.Lock()

    def perform(self, request: Object, *, success: Statuses, redirects: int, timeout_seconds: float | None) -> Json:
        """Make a request.

        Args:
            request: `{method, url, headers?, query?, body?}`, see :meth:`Request.of`.
            success: the statuses that are no error.
            redirects: how many to follow, 0 to 3; the answer of one more is the answer.
            timeout_seconds: for all of it, from the look-up of the name to the last byte; None for TIMEOUT_SECONDS.

        Returns:
            `{status, headers, body}`: header names in lower case, those that repeat joined by `, `; the body decoded
            where its content type is JSON (null when empty), else text, else (no text in its charset) base64.

        Raises:
            Fault: `Http.STATUS`; `Http.ConnectionError`; States.Timeout; States.Permissions, the address may not be
                reached; States.DataLimitExceeded, the body is larger than BODY_MAX_BYTES; States.ResultInvalid, it
                claims to be JSON and is none; States.QueryEvaluationError, the request cannot be sent.
        """
        sent = Request.of(request)
        seconds = TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
        with _Deadline(seconds) as deadline:
            try:
                response, connection, key = self._exchanged(sent, deadline)
                while redirects and response.status in _REDIRECTS and (location := response.headers.get("location")):
                    redirects -= 1
                    connection.close()
                    sent = sent.redirected(response.status, location)
                    response, connection, key = self._exchanged(sent, deadline)
                is_success = _is_success(response.status, success)
                data, is_whole = _read(response, connection, BODY_MAX_BYTES if is_success else SHOWN_BODY_BYTES)
                if is_whole:
                    self._keep(key, connection)
            except Fault:
                raise
            except Exception as error:
                raise _failure(error, sent, deadline, seconds) from error
            # A connection that was cut at the deadline may look like one that has ended.
            if deadline.is_over:
                raise _timeout(sent, seconds)
        if is_success and not is_whole:
            message = f"the response to {sent.told} has more than {BODY_MAX_BYTES:,} bytes"
            raise Fault(faults.DATA_LIMIT, message)
        headers: Object = {name.lower(): value for name, value in response.headers.itermerged()}
        body = _decoded(data, str(headers.get("content-type", "")), sent, is_strict=is_success)
        return outcome(sent, {"status": response.status, "headers": headers, "body": body}, success)

    def _exchanged(
        self, sent: Request, deadline: _Deadline
    ) -> tuple[HTTPResponse, HTTPConnection, tuple[str, str, int, str]]:
        """Send a request and return the response with its body still unread."""
        from http.client import HTTPException  # noqa: PLC0415 - see _connection

        url = sent.url
        failed: Exception | None = None
        for address in self._addresses(url, deadline):
            key = (url.scheme, url.host, url.port, address)
            if (connection := self._kept(key)) is not None:
                try:
                    return _answered(connection, sent, deadline), connection, key
                except (OSError, HTTPException) as error:
                    # The server has closed it at the same moment, or is in trouble.
                    connection.close()
                    if sent.method not in _REPEATABLE or deadline.is_over:
                        raise
                    failed = error
            connection = self._connection(url, address, max(0.001, min(CONNECT_SECONDS, deadline.left())))
            try:
                connection.connect()
            except Exception as error:  # noqa: BLE001 - urllib3's own, OSError and ssl's; the next address may do
                connection.close()
                failed = error
                continue
            try:
                return _answered(connection, sent, deadline), connection, key
            except BaseException:
                connection.close()
                raise
        assert failed is not None, "a host has at least one address"
        raise failed

    def _addresses(self, url: Url, deadline: _Deadline) -> Sequence[str]:
        """Return the addresses of a URL's host, if each of them may be reached."""
        is_allowed = not self._allowed.isdisjoint({(url.host, None), (url.host, url.port)})
        hint = "the project's 'http: {allow: [host:port]}' can allow it"
        if url.scheme != "https" and not is_allowed:
            raise Fault(faults.PERMISSIONS, f"'{shown(url.netloc)}' is not reached without TLS: write https; {hint}")
        literal = _address(url.host)
        if literal is None and _NUMERIC_LABEL.fullmatch(url.host.rstrip(".").rpartition(".")[2]):
            raise Fault(faults.PERMISSIONS, f"'{shown(url.host)}' is an address in disguise; write it as 192.0.2.1")
        if literal is not None:
            found: Sequence[str] = [url.host]
        else:
            found = within(deadline.left(), lambda: self._resolve(url.host, url.port))
        if not found:
            raise Fault(CONNECTION_ERROR, f"host '{shown(url.host)}' has no address")
        for text in found:
            if not is_allowed and not is_public(text):
                message = f"'{shown(url.host)}' is at {text}, which is no public address; {hint}"
                raise Fault(faults.PERMISSIONS, message)
        return found

    def _connection(self, url: Url, address: str, seconds: float) -> HTTPConnection:
        # Loaded when a first request is made: whoever makes none starts without it.
        import ssl  # noqa: PLC0415

        from urllib3 import connection  # noqa: PLC0415

        _quiet()
        if url.scheme == "http":
            return connection.HTTPConnection(address, url.port, timeout=seconds)
        with self._guard:
            if self._tls is None:
                self._tls = ssl.create_default_context()
        return connection.HTTPSConnection(
            address, url.port, timeout=seconds, server_hostname=url.host, ssl_context=self._tls
        )

    def _kept(self, key: tuple[str, str, int, str]) -> HTTPConnection | None:
        """Take an idle connection that still looks open."""
        # The wall clock: a Lambda environment is frozen between two invocations, and its monotonic clock with it.
        now = time.time()
        taken = None
        with self._guard:
            idle, self._idle = self._idle, []
            for entry in reversed(idle):
                is_fresh = 0 <= now - entry[0] < IDLE_SECONDS
                if is_fresh and taken is None and entry[1] == key and entry[2].is_connected:
                    taken = entry[2]
                elif is_fresh:
                    self._idle.insert(0, entry)
                else:
                    entry[2].close()
        return taken

    def _keep(self, key: tuple[str, str, int, str], connection: HTTPConnection) -> None:
        if connection.sock is None:  # the server wanted it closed
            return
        with self._guard:
            self._idle.append((time.time(), key, connection))
            dropped = self._idle[:-IDLE_MAX]
            del self._idle[:-IDLE_MAX]
        for _, _, old in dropped:
            old.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._guard:
            idle, self._idle = self._idle, []
        for _, _, connection in idle:
            connection.close()


class _Deadline:
    """The end of a request's time. It cuts the connection, so that bytes which drip in one by one hold nobody up."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._timer = threading.Timer(max(0.0, seconds), self._cut)
        self._timer.daemon = True
        self._is_cut = False
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._socket = None

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._is_cut or self.left() <= 0

    def left(self) -> float:
        """Return how many seconds are left."""
        return self._ends - time.monotonic()

    def watch(self, connection: HTTPConnection) -> None:
        """Cut this connection at the end."""
        connection.timeout = max(0.001, self.left())
        self._socket = cast("socket.socket | None", connection.sock)

    def _cut(self) -> None:
        self._is_cut = True
        if (connected := self._socket) is not None:
            with suppress(OSError):
                # That of the plain socket: the one of a TLS socket forgets the session that the reader is in.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _answered(connection: HTTPConnection, sent: Request, deadline: _Deadline) -> HTTPResponse:
    deadline.watch(connection)
    headers = {"User-Agent": "durableflow", **sent.headers, "Host": sent.url.netloc, "Accept-Encoding": "identity"}
    target = sent.url.path if sent.url.query is None else f"{sent.url.path}?{sent.url.query}"
    # A server that will not have a body may answer and hang up before it has read it all.
    with suppress(BrokenPipeError):
        connection.request(
            sent.method, target, body=sent.body, headers=headers, preload_content=False, decode_content=False
        )
    return connection.getresponse()


def _read(response: HTTPResponse, connection: HTTPConnection, limit: int) -> tuple[bytes, bool]:
    """Return the body, unpacked and cut to `limit` bytes, and whether that is all of it; else hang up."""
    # Servers may pack a body that was not asked to be (files stored packed); unpacked here, a bomb bursts at the limit.
    packing = response.headers.get("content-encoding", "").strip().lower()
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing in ("gzip", "x-gzip", "deflate") else None
    body = bytearray()
    try:
        while chunk := response.read(_READ_BYTES):
            body += unpacking.decompress(chunk, limit + 1 - len(body)) if unpacking else chunk
            if len(body) > limit:
                connection.close()
                return bytes(body[:limit]), False
        if unpacking and body and not unpacking.eof:
            raise zlib.error("it ends too early")  # noqa: TRY301 - as zlib would say of other damage
    except BaseException:
        connection.close()
        raise
    return bytes(body), True


def _decoded(data: bytes, content_type: str, sent: Request, *, is_strict: bool) -> Json:
    """Return a body as a JSON value."""
    kind, _, parameters = content_type.lower().partition(";")
    kind = kind.strip()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return values.from_text(data.decode("utf-8-sig")) if data else None
        except ValueError as error:  # ValueRefusedError and UnicodeDecodeError
            if is_strict:
                message = f"the response to {sent.told} claims to be JSON and is none: {error}"
                raise Fault(faults.RESULT_INVALID, message) from error
    charset = re.search(r"charset\s*=\s*\"?([a-z0-9_.:-]+)", parameters)
    codec = _CHARSETS.get(charset[1] if charset else "utf-8", "utf-8-sig")
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        # What an error shows of a body may end in the middle of a character.
        return b64encode(data).decode() if is_strict else data.decode(codec, "replace")


def _failure(error: Exception, sent: Request, deadline: _Deadline, seconds: float) -> Fault:
    """Return what went wrong as a fault. Texts of urllib3 hold the URL, and are no help; the system's are used."""
    import ssl  # noqa: PLC0415
    from http.client import HTTPException  # noqa: PLC0415

    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - has been loaded, or is not needed

    # A socket's own time may be over a moment before that of the whole.
    if deadline.left() < _MOMENT or isinstance(error, OverdueError):
        return _timeout(sent, seconds)
    where = f"'{shown(sent.url.netloc)}'"
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    match cause:
        case TimeoutError():
            return Fault(CONNECTION_ERROR, f"{where} accepted no connection within {CONNECT_SECONDS:g} s")
        case socket.gaierror():
            return Fault(CONNECTION_ERROR, f"host '{shown(sent.url.host)}' cannot be found: {cause.strerror}")
        case zlib.error():
            return Fault(faults.RESULT_INVALID, f"the response to {sent.told} cannot be unpacked: {cause}")
        case ssl.SSLCertVerificationError():
            told = f"the certificate is not valid: {cause.verify_message}"
        case ssl.SSLError():
            told = f"no TLS connection: {cause.reason}"
        case OSError(strerror=str(text)):
            told = text
        case OSError() | HTTPException() | HTTPError():
            told = "the answer is incomplete or no HTTP"
        case _:
            raise error  # a defect of ours
    return Fault(CONNECTION_ERROR, f"the connection to {where} failed: {told}")


_MOMENT: Final = 0.01


def _timeout(sent: Request, seconds: float) -> Fault:
    return Fault(faults.TIMEOUT, f"{sent.told} was not answered completely within {seconds:g} s")


# What requests are made of.


def _query(query: Object) -> str:
    pairs: list[str] = []
    for name, value in query.items():
        items = value if isinstance(value, list) else [value]
        texts = [quote(to_display(item), safe="", errors="replace") for item in items if item is not None]
        pairs += [f"{quote(name, safe='')}={text}" for text in texts]
    return "&".join(pairs)


def _headers(headers: Object) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, value in headers.items():
        if value is None:
            continue
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise Fault(faults.QUERY_EVALUATION, f"the header '{shown(name)}' cannot be set")
        text = to_display(value)
        if isinstance(value, (list, dict)) or not _HEADER_VALUE.fullmatch(text):
            # Not shown: it may be a credential.
            raise Fault(faults.QUERY_EVALUATION, f"the header '{shown(name)}' must be one line of ASCII text")
        made[name] = text.strip()
    return made


def _few(headers: Json) -> Json:
    """Return the headers that an error has room for."""
    kept: Object = {}
    for name, value in cast("Object", headers).items():
        if _json_bytes({**kept, name: value}) > SHOWN_BODY_BYTES:
            break
        kept[name] = value
    return kept


def _cut(body: Json) -> Json:
    """Return a body as it is when an error has room for it, else the beginning of its text."""
    if _json_bytes(body) <= SHOWN_BODY_BYTES:
        return body
    text = (body if isinstance(body, str) else values.to_text(body))[:SHOWN_BODY_BYTES]
    while _json_bytes(text) > SHOWN_BODY_BYTES:  # a character may take several bytes, or an escape
        text = text[: len(text) * 3 // 4]
    return text


def _json_bytes(value: Json) -> int:
    return values.size_bytes(values.to_text(value))


# Hosts and addresses.


def is_public(text: str) -> bool:
    """Say whether an address is one of the public Internet: whatever it may stand for, on any machine."""
    address = _address(text)
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _UNICAST:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which the system wants them tried.

    Raises:
        OSError: it has none, or nobody knows.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host(text: str) -> str:
    """Return a host in the one spelling that it is compared in."""
    address = _address(text)
    return text.lower() if address is None else str(address)


def _allowed(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    is_host_with_port = colon and not host.endswith(":") and (":" not in host or host.endswith("]"))
    return (host, int(port)) if is_host_with_port and port.isdigit() else (entry, None)


@cache
def _quiet() -> None:
    """Keep urllib3 from logging whole URLs, which may hold secrets, when a server's headers are malformed."""
    logging.getLogger("urllib3.connection").addFilter(
        lambda record: not cast("Any", record.msg).startswith("Failed to parse headers")
    )
