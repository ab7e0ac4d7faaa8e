"""Who listens? A small HTTP/1.1 server for this machine alone, which carries requests to `api.py` and answers back.

A thread for each connection, over the standard library's sockets. It reads strictly, since whoever sits between could
read a lenient parser's mind differently: one way to end a line, one length, no transfer encodings. Everything has an
end: a header, a body and a silence their seconds, a request its bytes. Connections that wait are few: a new one takes
the place of the one that has waited longest, first of those that have never sent a whole request, so that whoever sends
slowly is in nobody's way but their own kind's.

Source: reliability.md D13, D14, H1-H18; research/ecosystem.md 8.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from durableflow.errors import UsageError, diagnostic
from durableflow.local.api import Api, RefusedError, Request, Response

if TYPE_CHECKING:
    from collections.abc import Generator

    from durableflow.local.api import Ask

HEADER_MAX_BYTES: Final = 16 * 1024
HEADERS_MAX: Final = 100
BODY_MAX_BYTES: Final = 6 * 1024 * 1024 + 64 * 1024
WAITING_MAX: Final = 64
"""Connections that are read from, or idle."""
BURST_MAX: Final = 256
BURST_SECONDS: Final = 0.5
"""How long more of them may wait: many clients that come at once need a moment to ask."""
ANSWERING_MAX: Final = 512
"""Requests under way. A synchronous Invoke may wait for a quarter of an hour, and is no work meanwhile."""
INVOKING_MAX: Final = 448
"""Places among them that an Invoke may take: what functions record until they end needs some as well."""

_BLOCK = 64 * 1024
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^ \r\n]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(r"[0-9]{1,12}", re.ASCII)
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r\n")
# Headers that must stand once: a second one is how two readers are made to disagree.
_SINGLE = frozenset({"host", "content-length", "content-type", "authorization", "origin"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the server waits for the other side, in seconds.

    Args:
        header: from the first byte of a request to the end of its header; a new connection has as long to begin.
        body: from then on to the end of the body.
        idle: between requests; clients keep their connections for less.
        write: for a response to be taken.
        discard: how long the rest of a refused request is taken in, so that the refusal arrives before the connection
            is gone.
    """

    header: float = 10.0
    body: float = 30.0
    idle: float = 75.0
    write: float = 30.0
    discard: float = 2.0


class _GoneError(Exception):
    """The other side went away, or was silent for too long between requests."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Connection:
    """One connection.

    Args:
        socket: of it.
        patience: with it.
        since: when it began to wait, monotonic seconds.
        has_asked: whether it has ever sent a whole request.
        is_answering: whether a request of it is under way.
        buffer: what has come and is not used yet.
    """

    socket: socket.socket
    patience: Patience
    since: float
    has_asked: bool = False
    is_answering: bool = False
    buffer: bytearray = field(default_factory=bytearray)


class Server:
    """The API on a loopback port, from the moment it is made until it is closed. Thread-safe.

    Args:
        ask: the service, see `api.Ask`.
        port: to listen on; 0 takes a free one.
        patience: with clients.

    Raises:
        UsageError: DF765, the port cannot be had.
    """

    def __init__(self, ask: Ask, *, port: int = 0, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        try:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(
                diagnostic(
                    "DF765",
                    f"cannot listen on port {port}: {reason}",
                    hint="end the program that has it, or choose another one with --port; 0 takes a free one",
                )
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self.secret = secrets.token_hex(16)
        hosts = [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        self._api = Api(ask, hosts=hosts, secret=self.secret, request_ids=_request_id)
        self._changed = threading.Condition()
        self._connections: set[_Connection] = set()
        self._answering = 0
        self._is_closing = False
        self._thread = threading.Thread(target=self._accept, name="durableflow-http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What clients take as the endpoint's URL."""
        return f"http://127.0.0.1:{self.port}"

    def close(self, *, drain_seconds: float = 0.0) -> None:
        """Accept nobody any more, wait a while for what is being answered, and cut off the rest."""
        deadline = time.monotonic() + drain_seconds
        with self._changed:
            self._is_closing = True
        # Closing alone does not wake a thread that waits in accept.
        with suppress(OSError):  # it has been closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._changed:
            for connection in self._connections:
                if not connection.is_answering:
                    _cut(connection)
            while self._answering and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            for connection in self._connections:
                _cut(connection)

    # Connections -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError as error:
                if self._is_closing:
                    return
                # No more descriptors, say: what is open may end meanwhile.
                logger.warning("a connection could not be accepted: %s", error)
                time.sleep(0.05)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(socket=accepted, patience=self._patience, since=time.monotonic())
            with self._changed:
                self._make_room()
                self._connections.add(connection)
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except RuntimeError as error:
                # No more threads: this client tries again, and the others go on.
                logger.warning("a connection could not be served: %s", error)
                with self._changed:
                    self._connections.discard(connection)
                accepted.close()

    def _make_room(self) -> None:
        """Cut off the connections that have waited longest when there are too many; called with the lock."""
        waiting = [c for c in self._connections if not c.is_answering]
        surplus = len(waiting) - WAITING_MAX + 1
        if surplus <= 0:
            return
        waiting.sort(key=lambda c: (c.has_asked, c.since))
        fresh = time.monotonic() - BURST_SECONDS
        for n, longest in enumerate(waiting[:surplus]):
            if longest.since > fresh and len(waiting) - n < BURST_MAX:
                return
            _cut(longest)
            self._connections.discard(longest)

    def _serve(self, connection: _Connection) -> None:
        try:
            with connection.socket:
                while self._answered(connection):
                    pass
        except (OSError, _GoneError):
            pass  # whoever it was is gone, or too slow
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()

    def _answered(self, connection: _Connection) -> bool:
        """Answer the next request of a connection; return whether there may be another one."""
        try:
            request, is_kept = _read(connection)
            with self._counted(connection, is_invoke=request.target.partition("?")[0].endswith("/invocations")):
                response = self._api.answer(request)
                is_kept = is_kept and response.status not in _CLOSING and not self._is_closing
                _send(connection, _written(response, is_kept=is_kept, has_body=request.method != "HEAD"))
        except RefusedError as error:
            # Where a request ends that cannot be read is anybody's guess, so nothing after it is read (D14).
            _send(connection, _written(self._api.refused(error), is_kept=False, has_body=True))
            _discard(connection)
            return False
        return is_kept

    @contextmanager
    def _counted(self, connection: _Connection, *, is_invoke: bool) -> Generator[None]:
        """Hold a place among the requests under way; Invokes, which may wait for long, leave some to the others.

        Raises:
            RefusedError: there is none.
        """
        with self._changed:
            if self._answering >= (INVOKING_MAX if is_invoke else ANSWERING_MAX):
                message = "too many requests are under way"
                raise RefusedError(429, "TooManyRequestsException", message, (("Retry-After", "1"),))
            self._answering += 1
            connection.has_asked = connection.is_answering = True
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                connection.is_answering = False
                connection.since = time.monotonic()
                self._changed.notify_all()


_CLOSING = frozenset({401, 403, 415, 421, 501})
"""What whoever should not be here, or speaks another language, is told before the connection ends."""


def _request_id() -> str:
    made = secrets.token_hex(16)
    return f"{made[:8]}-{made[8:12]}-{made[12:16]}-{made[16:20]}-{made[20:]}"


def _send(connection: _Connection, data: bytes) -> None:
    connection.socket.settimeout(connection.patience.write)
    connection.socket.sendall(data)


def _cut(connection: _Connection) -> None:
    with suppress(OSError):  # it has gone already
        connection.socket.shutdown(socket.SHUT_RDWR)


def _discard(connection: _Connection) -> None:
    """Take in what is still coming: closing at once would take the answer back (RFC 9112, 9.6)."""
    deadline = time.monotonic() + connection.patience.discard
    connection.socket.shutdown(socket.SHUT_WR)
    while (left := deadline - time.monotonic()) > 0:
        connection.socket.settimeout(left)
        if not connection.socket.recv(_BLOCK):
            return


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def _refused(status: int, message: str, name: str = "InvalidRequestException") -> RefusedError:
    return RefusedError(status, name, message)


def _received(connection: _Connection, deadline: float) -> None:
    """Add what comes next to the buffer.

    Raises:
        TimeoutError: nothing came until the deadline.
        _GoneError: the other side is gone.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.socket.settimeout(left)
    data = connection.socket.recv(_BLOCK)
    if not data:
        raise _GoneError
    connection.buffer += data


def _read(connection: _Connection) -> tuple[Request, bool]:
    """Return the next request, and whether the connection is to be kept after it.

    Raises:
        RefusedError: it is not one that can be answered; nothing that follows on the connection can be trusted.
        _GoneError: there is none.
    """
    head = _head(connection)
    method, target, minor, headers = _parsed(head)
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    is_kept = minor == b"1" and "close" not in options
    if "transfer-encoding" in headers:
        raise _refused(400, "Transfer-Encoding is not understood here: send Content-Length")
    if "expect" in headers:
        raise _refused(417, "Expect is not understood here")
    length = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        raise _refused(400, "Content-Length must be a number")
    if int(length) > BODY_MAX_BYTES:
        raise _refused(413, f"a request may have {BODY_MAX_BYTES} bytes", "RequestTooLargeException")
    return Request(method=method, target=target, headers=headers, body=_body(connection, int(length))), is_kept


def _head(connection: _Connection) -> bytes:
    """Return the request line and the headers, without the empty line."""
    buffer, patience = connection.buffer, connection.patience
    # A connection that has asked before may be silent for a while; a header that has begun must end soon.
    deadline = time.monotonic() + (patience.idle if connection.has_asked and not buffer else patience.header)
    is_begun, looked = bool(buffer), 0
    while True:
        if buffer and not is_begun:
            is_begun, deadline = True, min(deadline, time.monotonic() + patience.header)
        if buffer:
            end = _end_of_head(buffer, looked)
            if end is not None:
                head = bytes(buffer[:end])
                del buffer[: end + 4]
                return head
            looked = len(buffer)
        try:
            _received(connection, deadline)
        except TimeoutError as error:
            if not buffer:
                raise _GoneError from error
            raise _refused(408, f"the header did not come within {patience.header:g} seconds") from error


def _end_of_head(buffer: bytearray, looked: int) -> int | None:
    """Return where the empty line of a header is, None while it has not come; `looked` bytes were seen before.

    Raises:
        RefusedError: what has come can become no request.
        _GoneError: it is not HTTP at all.
    """
    while buffer.startswith(b"\r\n"):
        del buffer[:2]  # left over by clients that end a body with a line of its own
    if buffer and buffer[0] not in _TOKEN:
        raise _GoneError  # TLS, say
    end = buffer.find(b"\r\n\r\n", max(0, looked - 3))
    if _BARE_LINE_FEED.search(buffer, max(0, looked - 1), end if end >= 0 else len(buffer)):
        raise _refused(400, "lines of a header end with a carriage return and a line feed")
    if 0 <= end <= HEADER_MAX_BYTES:
        return end
    if 0 <= (line_end := buffer.find(b"\n")) <= HEADER_MAX_BYTES:
        _request_line(bytes(buffer[: line_end + 1]))
    if len(buffer) > HEADER_MAX_BYTES:
        raise _too_long(buffer)
    return None


def _too_long(buffer: bytearray) -> RefusedError:
    line = buffer[:HEADER_MAX_BYTES].partition(b"\r\n")[0]
    if b" " not in line:
        return _refused(501, "there is no such method")
    if len(line) == HEADER_MAX_BYTES:
        return _refused(414, f"path, query and headers may have {HEADER_MAX_BYTES} bytes")
    return _refused(431, f"path, query and headers may have {HEADER_MAX_BYTES} bytes")


def _request_line(line: bytes) -> re.Match[bytes]:
    match = _REQUEST_LINE.fullmatch(line.removesuffix(b"\r\n"))
    if match is None or not line.endswith(b"\r\n"):
        raise _refused(400, "this is no HTTP/1.1 request")
    return match


def _parsed(head: bytes) -> tuple[str, str, bytes, dict[str, str]]:
    """Return method, target, minor version and headers."""
    first, *lines = head.split(b"\r\n")
    method, target, minor = _request_line(first + b"\r\n").groups()
    if len(lines) > HEADERS_MAX:
        raise _refused(431, f"a request may have {HEADERS_MAX} headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _refused(400, "a header must be a name, a colon and a value on one line")
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1").rstrip(" \t")
        if name in headers:
            if name in _SINGLE:
                raise _refused(400, "a header that may stand once stands twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return method.decode("ascii"), target.decode("latin-1"), minor, headers


def _body(connection: _Connection, length: int) -> bytes:
    seconds = connection.patience.body
    deadline = time.monotonic() + seconds
    try:
        while len(connection.buffer) < length:
            _received(connection, deadline)
    except TimeoutError as error:
        raise _refused(408, f"the body did not come within {seconds:g} seconds") from error
    body = bytes(connection.buffer[:length])
    del connection.buffer[:length]
    return body


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def _written(response: Response, *, is_kept: bool, has_body: bool) -> bytes:
    """Return a response as it goes over the wire."""
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {_CONTROL.sub(' ', value)}" for name, value in response.headers]
    if response.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(response.body)}")
    lines.append(f"Connection: {'keep-alive' if is_kept else 'close'}")
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return head + response.body if has_body and response.status != HTTPStatus.NO_CONTENT else head


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
