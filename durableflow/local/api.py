"""What does an HTTP request ask of the service, and how does the answer look? Lambda's REST API as a pure function.

A request is its method, its target as it was sent, its headers and its body; a response is a status, headers and a
body. No socket, no clock: `http.py` carries both. The paths, places and names of all members stand in one table below,
since the service's methods take the wire's own names.

What guards the door stands here as well, so that it holds for every path, known or not: the Host is ours, no foreign
web page asks, and what changes something carries either a signature of an AWS client, which no web page can add to a
request, or the secret of this start. Signatures are not verified: there is nobody here to tell apart.

Source: protocol.md 7; reliability.md D13, D14, H1-H22.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from durableflow import values
from durableflow.errors import DurableflowError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durableflow.values import Json

Ask: TypeAlias = "Callable[[str, Mapping[str, Any]], Any]"
"""Calls a method of the service with its members by name."""

SECRET_HEADER: Final = "x-durableflow-secret"  # noqa: S105 - the name of the header
HEALTH: Final = "/health"
"""Ours: whether the server answers. AWS has no such path."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came.

    Args:
        method: as sent; names of methods are told apart by case.
        target: path and query, percent-encoded as sent.
        headers: by lower-case name; one that came twice has its values joined by a comma.
        body: whole.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response without what the connection adds (length, date).

    Args:
        headers: beyond those that every response has.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Place: TypeAlias = Literal["path", "query", "header", "body", "payload"]
Kind: TypeAlias = Literal["text", "integer", "boolean", "time", "texts", "objects", "error", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a request.

    Args:
        name: of the service's argument, as in boto3.
        place: where it stands; `payload` is the whole body.
        kind: what it has to be.
        header: its name as a header.
        is_required: whether a request without it is refused.
    """

    name: str
    place: Place
    kind: Kind = "text"
    header: str = ""
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An operation of the API: where it is, and which method of the service it is."""

    http_method: str
    path: str
    operation: str
    members: tuple[Member, ...]
    status: int = 200


def _path(name: str) -> Member:
    return Member(name=name, place="path", is_required=True)


def _query(name: str, kind: Kind = "text", *, is_required: bool = False) -> Member:
    return Member(name=name, place="query", kind=kind, is_required=is_required)


def _body(name: str, kind: Kind = "text", *, is_required: bool = False) -> Member:
    return Member(name=name, place="body", kind=kind, is_required=is_required)


def _header(name: str, header: str) -> Member:
    return Member(name=name, place="header", header=header)


_ARN = _path("DurableExecutionArn")
_FUNCTION = _path("FunctionName")
_CALLBACK = _path("CallbackId")
_EXECUTION = "/2025-12-01/durable-executions/{}"
_ANSWER = "/2025-12-01/durable-execution-callbacks/{}"
_FUNCTIONS = "/2015-03-31/functions"
_PAGE = (_query("Marker"), _query("MaxItems", "integer"))

ROUTES: Final = (
    Route(
        http_method="POST",
        path=f"{_FUNCTIONS}/{{}}/invocations",
        operation="invoke",
        members=(
            _FUNCTION,
            _query("Qualifier"),
            _header("InvocationType", "x-amz-invocation-type"),
            _header("DurableExecutionName", "x-amz-durable-execution-name"),
            _header("TenantId", "x-amz-tenant-id"),
            _header("ClientContext", "x-amz-client-context"),
            _header("LogType", "x-amz-log-type"),
            Member(name="Payload", place="payload", kind="bytes"),
        ),
    ),
    Route(
        http_method="POST",
        path=f"{_EXECUTION}/checkpoint",
        operation="checkpoint_durable_execution",
        members=(
            _ARN,
            _body("CheckpointToken", is_required=True),
            _body("Updates", "objects"),
            _body("ClientToken"),
        ),
    ),
    Route(
        http_method="GET",
        path=f"{_EXECUTION}/state",
        operation="get_durable_execution_state",
        members=(_ARN, _query("CheckpointToken", is_required=True), *_PAGE),
    ),
    Route(
        http_method="GET",
        path=_EXECUTION,
        operation="get_durable_execution",
        members=(_ARN, _query("IncludeExecutionData", "boolean")),
    ),
    Route(
        http_method="GET",
        path=f"{_EXECUTION}/history",
        operation="get_durable_execution_history",
        members=(_ARN, _query("IncludeExecutionData", "boolean"), _query("ReverseOrder", "boolean"), *_PAGE),
    ),
    Route(
        http_method="POST",
        path=f"{_EXECUTION}/stop",
        operation="stop_durable_execution",
        members=(_ARN, Member(name="Error", place="payload", kind="error")),
    ),
    Route(
        http_method="POST",
        path=f"{_EXECUTION}/pause",
        operation="pause_durable_execution",
        members=(_ARN, _body("ClientToken"), _body("Reason"), _body("ExecutionTimeoutPaused", "boolean")),
        status=202,
    ),
    Route(
        http_method="POST",
        path=f"{_EXECUTION}/resume",
        operation="resume_durable_execution",
        members=(_ARN, _body("ClientToken"), _body("Reason")),
        status=202,
    ),
    Route(
        http_method="DELETE",
        path=_EXECUTION,
        operation="delete_durable_execution",
        members=(_ARN,),
        status=202,
    ),
    Route(
        http_method="GET",
        path="/2025-12-01/functions/{}/durable-executions",
        operation="list_durable_executions_by_function",
        members=(
            _FUNCTION,
            _query("Qualifier"),
            _query("DurableExecutionName"),
            _query("Statuses", "texts"),
            _query("StartedAfter", "time"),
            _query("StartedBefore", "time"),
            _query("ReverseOrder", "boolean"),
            *_PAGE,
        ),
    ),
    Route(
        http_method="POST",
        path=f"{_ANSWER}/succeed",
        operation="send_durable_execution_callback_success",
        members=(_CALLBACK, Member(name="Result", place="payload", kind="bytes")),
    ),
    Route(
        http_method="POST",
        path=f"{_ANSWER}/fail",
        operation="send_durable_execution_callback_failure",
        members=(_CALLBACK, Member(name="Error", place="payload", kind="error")),
    ),
    Route(
        http_method="POST",
        path=f"{_ANSWER}/heartbeat",
        operation="send_durable_execution_callback_heartbeat",
        members=(_CALLBACK,),
    ),
    Route(
        http_method="GET",
        path=_FUNCTIONS,
        operation="list_functions",
        members=(_query("FunctionVersion"), *_PAGE),
    ),
    Route(
        http_method="GET",
        path=f"{_FUNCTIONS}/{{}}",
        operation="get_function",
        members=(_FUNCTION, _query("Qualifier")),
    ),
    Route(
        http_method="GET",
        path=f"{_FUNCTIONS}/{{}}/configuration",
        operation="get_function_configuration",
        members=(_FUNCTION, _query("Qualifier")),
    ),
)
"""The API (protocol.md 7.1): where each operation is, and where each of its members stands."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_READING = frozenset({"GET", "HEAD"})
# What AWS clients send. A form or plain text is what a web page can post anywhere without asking first.
_MEDIA_TYPES = frozenset({"application/json", "application/x-amz-json-1.0", "application/x-amz-json-1.1"})
_BINARY_MEDIA_TYPES = frozenset({"application/octet-stream", "binary/octet-stream"})
_SIGNATURE = re.compile(r"AWS4-(?:HMAC-SHA256|ECDSA-P256-SHA256) +Credential=[^ ,]+")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,11}(?:\.[0-9]{1,9})?", re.ASCII)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_COMMON_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class RefusedError(Exception):
    """A request that gets an error for an answer.

    Args:
        status: of HTTP.
        name: of the error, as a client's typed exception has it.
        message: for people.
        headers: beyond the usual ones.
    """

    def __init__(self, status: int, name: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.headers = headers


class Api:
    """Lambda's REST API over a service.

    Args:
        ask: the service. What a method of an unknown name does to it is its own business: only those of the table are
            called.
        hosts: what Host may say, such as `127.0.0.1:9300`.
        secret: of this start; what unsigned requests and web pages have to tell before they change anything.
        request_ids: makes a fresh text for each response.
    """

    def __init__(self, ask: Ask, *, hosts: Sequence[str], secret: str, request_ids: Callable[[], str]) -> None:
        self._ask = ask
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)
        self._secret = secret.encode()
        self._request_ids = request_ids

    def answer(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong is an answer, too."""
        try:
            return self._answer(request)
        except RefusedError as error:
            return self.refused(error)
        except ServiceError as error:
            return self.refused(RefusedError(error.status, error.name, error.problem.message))
        except DurableflowError as error:
            # A workflow that cannot be read, say: nothing is wrong with the request.
            return self.refused(RefusedError(500, "ServiceException", error.problem.message))
        except Exception:  # the edge to the network: the client gets an answer, the log the traceback
            logger.exception("a request could not be answered")
            return self.refused(RefusedError(500, "ServiceException", "the request could not be answered"))

    def _answer(self, request: Request) -> Response:
        self._check_sender(request)
        path, query = _target(request.target)
        if path == HEALTH and request.method in _READING:
            return self._made(200, body=b'{"status":"ok"}')
        if path == "/" and request.headers.get("x-amz-target") == _LOGS:
            self._check_change(request)
            return self._lines(request)
        route, found = _route(request.method, path)
        if request.method not in _READING:
            self._check_change(request)
        return self._performed(route, _members(route, found, query, request))

    def refused(self, error: RefusedError) -> Response:
        """Return the answer that an error is (protocol.md 7.2, 7.5)."""
        side = "Server" if error.status >= _SERVER_ERROR else "User"
        member = "message" if error.name in _LOWER_CASE else "Message"
        body = values.to_text({"__type": error.name, "Type": side, member: error.message}).encode()
        headers = (("x-amzn-errortype", error.name), *error.headers)
        return self._made(error.status, headers, body)

    def _made(self, status: int, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> Response:
        kind = (("Content-Type", "application/json"),) if body else ()
        own = (("x-amzn-RequestId", self._request_ids()),)
        return Response(status=status, headers=(*kind, *own, *_COMMON_HEADERS, *headers), body=body)

    # Who asks? ---------------------------------------------------------------------------------------------------

    def _check_sender(self, request: Request) -> None:
        """Turn away what is meant for another host, and what a foreign web page asks."""
        headers = request.headers
        if headers.get("host") not in self._hosts:
            # A name that was bound to this address a moment ago (DNS rebinding), or a mistake.
            raise RefusedError(421, "MisdirectedRequestException", "this server has another name and port")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            raise RefusedError(403, "AccessDeniedException", "pages of other origins may not ask")
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise RefusedError(403, "AccessDeniedException", "pages of other sites may not ask")

    def _check_change(self, request: Request) -> None:
        """Hold what changes something to a signature or the secret, and to what AWS clients send."""
        headers = request.headers
        told = headers.get(SECRET_HEADER)
        if told is not None:
            if not hmac.compare_digest(told.encode("utf-8", "surrogateescape"), self._secret):
                raise RefusedError(401, "UnrecognizedClientException", f"{SECRET_HEADER} is not that of this start")
        elif _is_browser(headers) or not _SIGNATURE.match(headers.get("authorization", "")):
            raise RefusedError(
                401,
                "MissingAuthenticationTokenException",
                f"sign the request as AWS clients do (any credentials will do), or send the header {SECRET_HEADER}",
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(415, "UnsupportedMediaTypeException", "bodies are sent as they are, not encoded")
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type and media_type not in _MEDIA_TYPES and media_type not in _BINARY_MEDIA_TYPES:
            raise RefusedError(415, "UnsupportedMediaTypeException", "Content-Type must be application/json")

    # What is asked? ----------------------------------------------------------------------------------------------

    def _performed(self, route: Route, members: dict[str, Any]) -> Response:
        if route.operation == "invoke":
            return self._invoked(members)
        reply = self._ask(route.operation, members)
        return self._made(route.status, body=json.dumps(reply, separators=(",", ":"), allow_nan=False).encode())

    def _lines(self, request: Request) -> Response:
        """Answer CloudWatch Logs' FilterLogEvents: what handlers and functions of one execution wrote.

        The pattern names the execution, since lines are kept with executions and not with functions.
        """
        asked = _object(request.body)
        pattern, after = asked.get("filterPattern"), asked.get("nextToken") or "0"
        if not isinstance(pattern, str) or not _QUOTED_ARN.fullmatch(pattern):
            raise RefusedError(
                400, "InvalidParameterException", "filterPattern must be the ARN of an execution in quotation marks"
            )
        if not isinstance(after, str) or not _LINE.fullmatch(after):
            raise RefusedError(400, "InvalidParameterException", "nextToken is not one that was given here")
        since, until = (asked.get(name) for name in ("startTime", "endTime"))
        if not all(value is None or (type(value) is int and value >= 0) for value in (since, until)):
            raise RefusedError(400, "InvalidParameterException", "startTime and endTime are epoch milliseconds")
        lines = self._ask("logs", {"DurableExecutionArn": pattern[1:-1], "After": int(after)})
        events = [
            {"eventId": str(line["Id"]), "logStreamName": line["RequestId"], "message": line["Message"], **at}
            for line in lines
            for at in [dict.fromkeys(("timestamp", "ingestionTime"), round(line["Timestamp"] * 1000))]
            if (since is None or since <= at["timestamp"]) and (until is None or at["timestamp"] < until)
        ]
        reply: dict[str, Any] = {"events": events, "searchedLogStreams": []}
        if lines:
            reply["nextToken"] = str(lines[-1]["Id"])  # the page after the last one is empty, and has none
        return self._made(200, body=values.to_text(reply).encode())

    def _invoked(self, members: dict[str, Any]) -> Response:
        kind = members.setdefault("InvocationType", "RequestResponse")
        if kind not in {"RequestResponse", "Event", "DryRun"}:
            raise _invalid("InvocationType must be RequestResponse, Event or DryRun.")
        context = members.pop("ClientContext", None)
        if context is not None and not _is_client_context(context):
            raise RefusedError(
                400, "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
            )
        if members.get("LogType", "None") not in {"None", "Tail"}:
            raise _invalid("LogType must be None or Tail.")
        payload = members.get("Payload", b"")
        if payload and len(payload) <= _PAYLOAD_MAX_BYTES:  # the service refuses a larger one, by its size
            try:
                _json(payload)
            except ValueError as error:
                message = f"Could not parse request body into json: {error}"
                raise RefusedError(400, "InvalidRequestContentException", message) from error
        reply = self._ask("invoke", members)
        answered: bytes | str = reply["Payload"]
        headers = tuple((header, reply[member]) for member, header in _INVOKED_HEADERS if member in reply)
        body = answered.encode() if isinstance(answered, str) else answered
        return self._made(reply["StatusCode"], headers, body)


_SERVER_ERROR: Final = 500
_LOGS: Final = "Logs_20140328.FilterLogEvents"
_QUOTED_ARN: Final = re.compile(r'"arn:[!-~]{1,1024}"')
_LINE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_PAYLOAD_MAX_BYTES: Final = 6 * 1024 * 1024
_LOWER_CASE = frozenset({"InvalidParameterValueException", "ResourceConflictException", "TooManyRequestsException"})
"""Errors whose text the model calls `message`; that of all others is `Message` (protocol.md 7.5)."""
_INVOKED_HEADERS = (
    ("ExecutedVersion", "X-Amz-Executed-Version"),
    ("DurableExecutionArn", "X-Amz-Durable-Execution-Arn"),
    ("FunctionError", "X-Amz-Function-Error"),
    ("LogResult", "X-Amz-Log-Result"),
)


def _is_browser(headers: Mapping[str, str]) -> bool:
    return "origin" in headers or any(name.startswith("sec-fetch-") for name in headers)


def _is_client_context(text: str) -> bool:
    try:
        return isinstance(_json(base64.b64decode(text, validate=True)), dict)
    except ValueError:
        return False


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, "InvalidParameterValueException", message)


# ---------------------------------------------------------------------------------------------------------------------
# Reading a request


def _target(target: str) -> tuple[str, str]:
    """Return path and query as sent, held to what percent-encoding and UTF-8 allow."""
    if _PERCENT.search(target):
        raise _invalid("'%' must be followed by two hexadecimal digits.")
    try:
        _decoded(target)
    except UnicodeError as error:
        raise _invalid("The path and the query must be UTF-8.") from error
    path, _, query = target.partition("?")
    return path, query


def _decoded(text: str) -> str:
    # Not unquote: it hides bytes that are no UTF-8. Never before the path has been split: an ARN holds slashes.
    return unquote_to_bytes(text.encode("latin-1")).decode()


def _route(method: str, path: str) -> tuple[Route, list[str]]:
    """Return the operation at a path, and the parts of the path that are members."""
    segments = path.split("/")
    if len(segments) > _SHORTEST and not segments[-1]:
        segments.pop()  # older clients write a slash at the end
    allowed: list[str] = []
    for pattern, route in _PATTERNS:
        if len(pattern) != len(segments):
            continue
        if any(fixed not in {"{}", part} for fixed, part in zip(pattern, segments, strict=True)):
            continue
        if route.http_method == method:
            found = [part for fixed, part in zip(pattern, segments, strict=True) if fixed == "{}"]
            return route, found
        allowed.append(route.http_method)
    if allowed:
        headers = (("Allow", ", ".join(sorted(allowed))),)
        raise RefusedError(405, "MethodNotAllowedException", "this path has other methods", headers)
    if method not in _METHODS:
        raise RefusedError(501, "UnknownOperationException", "there is no such method")
    raise RefusedError(404, "UnknownOperationException", "there is nothing at this path")


_PATTERNS: Final = tuple((route.path.split("/"), route) for route in ROUTES)
_SHORTEST: Final = 2


def _members(route: Route, found: list[str], query: str, request: Request) -> dict[str, Any]:
    """Return the members of a request, each of its kind."""
    asked = _query_members(query)
    parts = iter(found)
    body: Mapping[str, Any] | None = None
    made: dict[str, Any] = {}
    for member in route.members:
        given: object = None
        match member.place:
            case "path":
                given = _decoded(next(parts))
            case "query":
                given = _from_query(member, asked.get(member.name))
            case "header":
                given = request.headers.get(member.header)
            case "payload":
                given = _payload(member, request.body)
            case "body":
                if body is None:
                    body = _object(request.body)
                given = _from_body(member, body.get(member.name))
        if given is not None and given != "":
            made[member.name] = given
        elif member.is_required:
            raise _invalid(f"{member.name} is required.")
    return made


def _query_members(query: str) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        # A plus sign is one: tokens and times have them, and AWS clients write a space as %20.
        made.setdefault(_decoded(name), []).append(_decoded(value))
    return made


def _from_query(member: Member, given: list[str] | None) -> object:
    if given is None:
        return None
    if member.kind == "texts":
        return given
    if len(given) > 1:
        raise _invalid(f"{member.name} must stand once.")
    text = given[0]
    match member.kind:
        case "integer":
            if not _INTEGER.fullmatch(text):
                raise _invalid(f"{member.name} must be a number.")
            return int(text)
        case "boolean":
            if text not in {"true", "false"}:
                raise _invalid(f"{member.name} must be true or false.")
            return text == "true"
        case "time":
            return _time(member, text)
        case _:
            return text


def _time(member: Member, text: str) -> float:
    """Return a time in epoch seconds; clients write ISO 8601, older ones seconds (protocol.md 7.2)."""
    if _EPOCH.fullmatch(text):
        return float(text)
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise _invalid(f"{member.name} must be a time such as 2026-01-02T03:04:05Z.") from error


def _from_body(member: Member, given: Json) -> Json:
    if given is None:
        return None
    match member.kind:
        case "boolean":
            is_right, kind = isinstance(given, bool), "true or false"
        case "objects":
            is_right, kind = isinstance(given, list) and all(map(values.is_object, given)), "a list of objects"
        case _:
            is_right, kind = isinstance(given, str), "text"
    if not is_right:
        raise _invalid(f"{member.name} must be {kind}.")
    return given


def _payload(member: Member, body: bytes) -> object:
    if member.kind == "bytes":
        return body
    error = _object(body)
    return error or None  # the wire has an empty object for none


def _object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object that a body is; an empty body is an empty one."""
    if not body:
        return {}
    try:
        value = _json(body)
    except ValueError as error:
        raise _invalid(f"The body is no JSON: {error}.") from error
    if not values.is_object(value):
        raise _invalid("The body must be a JSON object.")
    return value


def _json(body: bytes) -> Json:
    """Return the value of a JSON text, strictly: no key twice, no half of a character.

    Raises:
        ValueError: with the reason, in one line.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    value = values.from_text(text)
    _check_keys(text)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair") from error
    return value


def _check_keys(text: str) -> None:
    json.loads(text, object_pairs_hook=_distinct, parse_float=_same, parse_int=_same)


def _same(digits: str) -> str:
    return digits


def _distinct(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice in an object")
