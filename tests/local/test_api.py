"""Lambda's REST API as a pure function: where each member stands, how it is encoded, and what bad input is told."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from scripted import World, callback, step

from durableflow.errors import ServiceError
from durableflow.ledger import refusal
from durableflow.local.api import ROUTES, Api, Request, Response, Route
from durableflow.local.messages import not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOST = "127.0.0.1:9300"
SIGNED = {"host": HOST, "authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request"}
ARN = "arn:aws:lambda:us-east-1:123456789012:function:fn:$LATEST/durable-execution/my-exec/abc-123"
EXECUTION = f"/2025-12-01/durable-executions/{quote(ARN, safe='')}"
LIST = "/2025-12-01/functions/fn%3A1/durable-executions"
INVOKE = "/2015-03-31/functions/fn/invocations"


class Asked:
    """An Api over a service that answers whatever it is told to, and what was asked of it."""

    def __init__(self, reply: Any = None) -> None:
        self.reply = {} if reply is None else reply
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.api = Api(self._ask, hosts=[HOST], secret="s", request_ids=lambda: "id")

    def _ask(self, method: str, members: Mapping[str, Any]) -> Any:
        self.calls.append((method, dict(members)))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def answer(self, line: str, body: bytes = b"", **headers: str) -> Response:
        method, _, target = line.partition(" ")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.answer(Request(method=method, target=target, headers={**SIGNED, **named}, body=body))

    def members(self, line: str, body: bytes = b"", **headers: str) -> dict[str, Any]:
        response = self.answer(line, body, **headers)
        assert response.status < 300, response
        [(_, members)] = self.calls
        return members

    def refused(self, line: str, body: bytes = b"", **headers: str) -> str:
        """Return the text of the refusal."""
        response = self.answer(line, body, **headers)
        assert response.status == 400
        assert not self.calls
        text: str = json.loads(response.body)["message"]
        return text


@pytest.mark.parametrize(
    ("line", "body", "operation", "members", "status"),
    [
        (
            f"POST {EXECUTION}/checkpoint",
            b'{"CheckpointToken":"t","Updates":[{"Id":"a"}],"ClientToken":"c"}',
            "checkpoint_durable_execution",
            {"DurableExecutionArn": ARN, "CheckpointToken": "t", "Updates": [{"Id": "a"}], "ClientToken": "c"},
            200,
        ),
        (
            f"GET {EXECUTION}/state?CheckpointToken=YWJj%2B%2F%3D%3D&Marker=bQ%3D%3D&MaxItems=7",
            b"",
            "get_durable_execution_state",
            {"DurableExecutionArn": ARN, "CheckpointToken": "YWJj+/==", "Marker": "bQ==", "MaxItems": 7},
            200,
        ),
        (
            f"GET {EXECUTION}?IncludeExecutionData=false",
            b"",
            "get_durable_execution",
            {"DurableExecutionArn": ARN, "IncludeExecutionData": False},
            200,
        ),
        (
            f"GET {EXECUTION}/history?IncludeExecutionData=true&ReverseOrder=false&Marker=m&MaxItems=1",
            b"",
            "get_durable_execution_history",
            {
                "DurableExecutionArn": ARN,
                "IncludeExecutionData": True,
                "ReverseOrder": False,
                "Marker": "m",
                "MaxItems": 1,
            },
            200,
        ),
        (f"POST {EXECUTION}/stop", b"{}", "stop_durable_execution", {"DurableExecutionArn": ARN}, 200),
        (
            f"POST {EXECUTION}/stop",
            b'{"ErrorMessage":"m","ErrorType":"T","StackTrace":["l"]}',
            "stop_durable_execution",
            {"DurableExecutionArn": ARN, "Error": {"ErrorMessage": "m", "ErrorType": "T", "StackTrace": ["l"]}},
            200,
        ),
        (
            f"POST {EXECUTION}/pause",
            b'{"ClientToken":"c","Reason":"r","ExecutionTimeoutPaused":false}',
            "pause_durable_execution",
            {"DurableExecutionArn": ARN, "ClientToken": "c", "Reason": "r", "ExecutionTimeoutPaused": False},
            202,
        ),
        (
            f"POST {EXECUTION}/resume",
            b'{"ClientToken":"c","Reason":"r"}',
            "resume_durable_execution",
            {"DurableExecutionArn": ARN, "ClientToken": "c", "Reason": "r"},
            202,
        ),
        (f"DELETE {EXECUTION}", b"", "delete_durable_execution", {"DurableExecutionArn": ARN}, 202),
        (
            (
                f"GET {LIST}?Qualifier=1&DurableExecutionName=n&Statuses=RUNNING&Statuses=FAILED&ReverseOrder=true"
                "&StartedAfter=2026-01-02T03%3A04%3A05.678000Z&StartedBefore=1767323045.5&Marker=m&MaxItems=1000"
            ),
            b"",
            "list_durable_executions_by_function",
            {
                "FunctionName": "fn:1",
                "Qualifier": "1",
                "DurableExecutionName": "n",
                "Statuses": ["RUNNING", "FAILED"],
                "ReverseOrder": True,
                "StartedAfter": 1767323045.678,
                "StartedBefore": 1767323045.5,
                "Marker": "m",
                "MaxItems": 1000,
            },
            200,
        ),
        (
            "POST /2025-12-01/durable-execution-callbacks/QUJD%2F%2B8%3D/succeed",
            b" not \xff JSON ",
            "send_durable_execution_callback_success",
            {"CallbackId": "QUJD/+8=", "Result": b" not \xff JSON "},
            200,
        ),
        (
            "POST /2025-12-01/durable-execution-callbacks/QUJD%2F%2B8%3D/succeed",
            b"",
            "send_durable_execution_callback_success",
            {"CallbackId": "QUJD/+8=", "Result": b""},
            200,
        ),
        (
            "POST /2025-12-01/durable-execution-callbacks/QUJD%2F+8=/fail",
            b'{"ErrorType":"T"}',
            "send_durable_execution_callback_failure",
            {"CallbackId": "QUJD/+8=", "Error": {"ErrorType": "T"}},
            200,
        ),
        (
            "POST /2025-12-01/durable-execution-callbacks/QUJD/heartbeat",
            b"",
            "send_durable_execution_callback_heartbeat",
            {"CallbackId": "QUJD"},
            200,
        ),
        (
            "GET /2015-03-31/functions/?FunctionVersion=ALL&Marker=m&MaxItems=3",
            b"",
            "list_functions",
            {"FunctionVersion": "ALL", "Marker": "m", "MaxItems": 3},
            200,
        ),
        (
            "GET /2015-03-31/functions/fn?Qualifier=1",
            b"",
            "get_function",
            {"FunctionName": "fn", "Qualifier": "1"},
            200,
        ),
        (
            "GET /2015-03-31/functions/fn/configuration?Qualifier=1",
            b"",
            "get_function_configuration",
            {"FunctionName": "fn", "Qualifier": "1"},
            200,
        ),
    ],
)
def test_every_member_of_every_operation_is_read(
    line: str, body: bytes, operation: str, members: dict[str, Any], status: int
) -> None:
    asked = Asked({"made": 1.5})
    response = asked.answer(line, body)
    assert asked.calls == [(operation, members)]
    assert (response.status, response.body) == (status, b'{"made":1.5}')
    assert dict(response.headers)["Content-Type"] == "application/json"


def test_the_table_of_routes_is_shown_whole() -> None:
    shown = test_every_member_of_every_operation_is_read.pytestmark[0].args[1]  # type: ignore[attr-defined]
    seen: dict[str, set[str]] = {"invoke": {member.name for member in route_of("invoke").members}}
    for _, _, operation, members, _ in shown:
        seen.setdefault(operation, set()).update(members)
    assert seen == {route.operation: {member.name for member in route.members} for route in ROUTES}


def route_of(operation: str) -> Route:
    return next(route for route in ROUTES if route.operation == operation)


LOGS = {"x_amz_target": "Logs_20140328.FilterLogEvents"}


def test_lines_of_an_execution_are_read_as_those_of_cloudwatch() -> None:
    lines = [
        {"Id": 7, "Timestamp": 1.5, "RequestId": "r", "Name": "say", "Message": "one"},
        {"Id": 9, "Timestamp": 2.5, "RequestId": "r", "Name": "say", "Message": "two"},
    ]
    asked = Asked(lines)
    given = {"logGroupName": "/aws/lambda/fn", "filterPattern": f'"{ARN}"', "startTime": 2000, "nextToken": "5"}
    response = asked.answer("POST /", json.dumps(given).encode(), **LOGS)
    assert asked.calls == [("logs", {"DurableExecutionArn": ARN, "After": 5})]
    made = {"timestamp": 2500, "ingestionTime": 2500, "message": "two", "eventId": "9", "logStreamName": "r"}
    assert json.loads(response.body) == {"events": [made], "searchedLogStreams": [], "nextToken": "9"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"filterPattern": 5},
        {"filterPattern": "error"},
        {"filterPattern": f'"{ARN}"', "nextToken": "-1"},
        {"filterPattern": f'"{ARN}"', "startTime": "1"},
        {"filterPattern": f'"{ARN}"', "endTime": -1},
    ],
)
def test_other_questions_about_logs_are_refused(given: dict[str, Any]) -> None:
    asked = Asked([])
    response = asked.answer("POST /", json.dumps(given).encode(), **LOGS)
    assert (response.status, asked.calls) == (400, [])
    assert dict(response.headers)["x-amzn-errortype"] == "InvalidParameterException"


def test_every_member_of_invoke_is_read() -> None:
    context = base64.b64encode(b'{"custom":{}}').decode()
    asked = Asked({"StatusCode": 202, "ExecutedVersion": "7", "DurableExecutionArn": ARN, "Payload": b""})
    response = asked.answer(
        "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Afn/invocations?Qualifier=7",
        b'{"a":1}',
        x_amz_invocation_type="Event",
        x_amz_durable_execution_name="one",
        x_amz_tenant_id="t",
        x_amz_client_context=context,
        x_amz_log_type="Tail",
    )
    [(_, members)] = asked.calls
    assert members == {
        "FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:fn",
        "Qualifier": "7",
        "InvocationType": "Event",
        "DurableExecutionName": "one",
        "TenantId": "t",
        "LogType": "Tail",
        "Payload": b'{"a":1}',
    }
    headers = dict(response.headers)
    assert (response.status, response.body) == (202, b"")
    assert headers["X-Amz-Durable-Execution-Arn"] == ARN
    assert headers["X-Amz-Executed-Version"] == "7"
    assert "X-Amz-Function-Error" not in headers


def test_a_failed_invoke_is_told_in_a_header() -> None:
    body = b'{"errorType":"T"}'
    asked = Asked({"StatusCode": 200, "ExecutedVersion": "1", "FunctionError": "Unhandled", "Payload": body})
    response = asked.answer(f"POST {INVOKE}", b"")
    assert (response.status, response.body) == (200, body)
    assert dict(response.headers)["X-Amz-Function-Error"] == "Unhandled"
    assert asked.calls[0][1]["InvocationType"] == "RequestResponse"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x_amz_invocation_type": "Sometimes"}, "InvalidParameterValueException"),
        ({"x_amz_log_type": "All"}, "InvalidParameterValueException"),
        ({"x_amz_client_context": "%%%"}, "InvalidRequestContentException"),
        ({"x_amz_client_context": base64.b64encode(b"[1]").decode()}, "InvalidRequestContentException"),
        ({"x_amz_client_context": base64.b64encode(b"{").decode()}, "InvalidRequestContentException"),
    ],
)
def test_bad_headers_of_an_invoke_are_refused(headers: dict[str, str], name: str) -> None:
    asked = Asked()
    response = asked.answer(f"POST {INVOKE}", b"{}", **headers)
    assert (response.status, json.loads(response.body)["__type"]) == (400, name)
    assert not asked.calls


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"GET {EXECUTION}/state", b""),
        (f"GET {EXECUTION}/state?CheckpointToken=", b""),
        (f"POST {EXECUTION}/checkpoint", b""),
        (f"POST {EXECUTION}/checkpoint", b'{"CheckpointToken":null}'),
        (f"POST {EXECUTION}/checkpoint", b'{"CheckpointToken":"t","Updates":{}}'),
        (f"POST {EXECUTION}/checkpoint", b'{"CheckpointToken":"t","Updates":[1]}'),
        (f"POST {EXECUTION}/checkpoint", b"[]"),
        (f"POST {EXECUTION}/pause", b'{"ExecutionTimeoutPaused":"true"}'),
        (f"POST {EXECUTION}/stop", b'"error"'),
        (f"GET {EXECUTION}/history?ReverseOrder=True", b""),
        (f"GET {EXECUTION}/history?IncludeExecutionData=1", b""),
        (f"GET {EXECUTION}/history?MaxItems=1&MaxItems=2", b""),
        (f"GET {LIST}?StartedAfter=yesterday", b""),
        (f"GET {LIST}?StartedAfter=-1", b""),
        (f"GET {LIST}?StartedAfter=nan", b""),
        (f"GET {LIST}?StartedAfter=1e400", b""),
        ("GET /2025-12-01/functions//durable-executions", b""),
    ],
)
def test_members_of_the_wrong_kind_are_refused(line: str, body: bytes) -> None:
    assert Asked().refused(line, body)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1767323045", 1767323045.0),
        ("2026-01-02T03:04:05", 1767323045.0),
        ("2026-01-02T04:04:05%2B01:00", 1767323045.0),
    ],
)
def test_times_are_iso_or_seconds(time: str, seconds: float) -> None:
    assert Asked().members(f"GET {LIST}?StartedAfter={time}")["StartedAfter"] == seconds


@pytest.mark.parametrize(
    ("error", "status", "name", "member", "kind"),
    [
        (refusal("no"), 400, "InvalidParameterValueException", "message", "User"),
        (not_found("no"), 404, "ResourceNotFoundException", "Message", "User"),
        (RuntimeError("secret"), 500, "ServiceException", "Message", "Server"),
    ],
)
def test_errors_are_named_where_clients_look(error: Exception, status: int, name: str, member: str, kind: str) -> None:
    response = Asked(error).answer(f"GET {EXECUTION}")
    body = json.loads(response.body)
    assert response.status == status
    assert dict(response.headers)["x-amzn-errortype"] == name == body["__type"]
    assert body["Type"] == kind
    assert (body[member] == "no") == isinstance(error, ServiceError)
    assert b"secret" not in response.body


# ---------------------------------------------------------------------------------------------------------------------
# Hostile bodies

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, "", "x", "\0", "\ud800", "a" * 300, "\u202e", "../..", "<img>"),
    *([], [1], [[]], {}, {"a": 1}, {"Id": "a"}, [{"Id": "a"}], ["ARN"], [None]),
)


class Book:
    """A service with an execution under way, what hostile clients ask of it, and whether that changed anything."""

    def __init__(self) -> None:
        self.world = World()
        self.run = self.world.begin(name="one")
        self.callback_id = self.run.checkpoint(callback(), step(id_="s"))["c"]["CallbackDetails"]["CallbackId"]
        self.arn = quote(self.run.arn, safe="")
        self.api = Api(self._ask, hosts=[HOST], secret="s", request_ids=lambda: "id")

    def _ask(self, method: str, members: Mapping[str, Any]) -> Any:
        return getattr(self.world.service, method)(**members)

    def facts(self) -> Any:
        service = self.world.service
        return (
            service.operations(DurableExecutionArn=self.run.arn),
            self.world.events(self.run.arn),
            self.world.describe(self.run.arn),
            service.list_executions(MaxItems=1000),
            service.meter(DurableExecutionArn=self.run.arn),
            len(self.world.jobs),
        )

    def post(self, path: str, body: Any) -> Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.api.answer(Request(method="POST", target=path, headers=SIGNED, body=data))

    def checkpoint(self, updates: Any, **members: Any) -> Response:
        body = {"CheckpointToken": self.run.token, "Updates": updates, **members}
        return self.post(f"/2025-12-01/durable-executions/{self.arn}/checkpoint", body)


UPDATES: tuple[dict[str, Any], ...] = (
    {"Id": "n", "Type": "STEP", "Action": "START", "Name": "n", "SubType": "Step", "ParentId": "x"},
    {"Id": "s", "Type": "STEP", "Action": "RETRY", "StepOptions": {"NextAttemptDelaySeconds": 1}},
    {"Id": "s", "Type": "STEP", "Action": "SUCCEED", "Payload": "1"},
    {"Id": "s", "Type": "STEP", "Action": "FAIL", "Error": {"ErrorType": "T", "StackTrace": ["l"], "ErrorData": "d"}},
    {"Id": "w", "Type": "WAIT", "Action": "START", "WaitOptions": {"WaitSeconds": 1}},
    {
        "Id": "d",
        "Type": "CALLBACK",
        "Action": "START",
        "CallbackOptions": {"TimeoutSeconds": 1, "HeartbeatTimeoutSeconds": 1},
    },
    {
        "Id": "i",
        "Type": "CHAINED_INVOKE",
        "Action": "START",
        "Payload": "1",
        "ChainedInvokeOptions": {"FunctionName": "echo", "TenantId": "t"},
    },
    {"Id": "x", "Type": "CONTEXT", "Action": "SUCCEED", "ContextOptions": {"ReplayChildren": True}},
    {"Id": "e", "Type": "EXECUTION", "Action": "SUCCEED", "Payload": "1"},
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value, itself included."""
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


def put(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    """Return a copy of a value with another one at a place."""
    if not at:
        return other
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = other
    return copy


def unharmed(book: Callable[[], Book], ask: Callable[[Book], Response]) -> None:
    """Hold an answer to being no failure of ours, and a refusal to having changed nothing."""
    one = book()
    before = one.facts()
    response = ask(one)
    assert response.status < 500, response.body
    if response.status >= 400:
        assert one.facts() == before
        body = json.loads(response.body)
        assert body["__type"]
        assert len(response.body) < 2000
    else:
        json.dumps(one.facts())  # and what was accepted can be read again


@pytest.mark.parametrize("update", UPDATES, ids=lambda update: f"{update['Type']} {update['Action']}")
def test_wrong_types_anywhere_in_an_update_are_no_failure_and_change_nothing(update: dict[str, Any]) -> None:
    book = Book()
    for at in places(update):
        for hostile in HOSTILE:
            before = book.facts()
            response = book.checkpoint([put(update, at, hostile)])
            assert response.status < 500, (at, hostile, response.body)
            if response.status >= 400:
                assert book.facts() == before, (at, hostile)
            else:
                json.dumps(book.facts())
                book = Book()  # it was legal, and has changed something


@pytest.mark.parametrize("route", [route for route in ROUTES if route.http_method != "GET"], ids=lambda r: r.operation)
def test_wrong_types_in_any_body_are_no_failure_and_change_nothing(route: Route) -> None:
    usual: dict[str, Any] = {
        "checkpoint_durable_execution": {"CheckpointToken": "t", "Updates": [], "ClientToken": "c"},
        "pause_durable_execution": {"ClientToken": "c", "Reason": "r", "ExecutionTimeoutPaused": True},
        "resume_durable_execution": {"ClientToken": "c", "Reason": "r"},
    }.get(route.operation, {"ErrorType": "T", "ErrorMessage": "m", "ErrorData": "d", "StackTrace": ["l"]})

    def ask(book: Book, body: Any) -> Response:
        named = {"DurableExecutionArn": book.run.arn, "FunctionName": "flow", "CallbackId": book.callback_id}
        path = route.path.replace("{}", quote(named[route.members[0].name], safe=""))
        headers = {**SIGNED, "x-amz-invocation-type": "Event"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return book.api.answer(Request(method=route.http_method, target=path, headers=headers, body=data))

    for at in places(usual):
        for hostile in HOSTILE:
            unharmed(Book, lambda book, at=at, hostile=hostile: ask(book, put(usual, at, hostile)))  # type: ignore[misc]
    for data in (b"\xff", b"{", b"null", b"[" * 100_000, b'{"a":1,"a":2}', b"NaN"):
        unharmed(Book, lambda book, data=data: ask(book, data))  # type: ignore[misc]


def test_random_requests_are_no_failure_and_change_nothing() -> None:
    chance = random.Random(4)
    book = Book()
    words = [
        "1",
        "-1",
        "true",
        "x",
        "%00",
        "%2F",
        "a" * 300,
        "",
        "RUNNING",
        "1e9",
        "%F0%9F%98%80",
        "2026-01-01",
        "'",
        '"',
    ]
    for _ in range(3000):
        route = chance.choice(ROUTES)
        named = [book.arn, "flow", "echo", quote(book.callback_id, safe=""), *words]
        path = route.path.replace("{}", chance.choice(named))
        query = "&".join(
            f"{member.name}={chance.choice(words)}"
            for member in route.members
            if member.place == "query" and chance.random() < 0.5
        )
        headers = {**SIGNED, "x-amz-invocation-type": "Event"}
        headers |= {
            member.header: chance.choice([*words, "DryRun", "\xe9"])
            for member in route.members
            if member.place == "header" and member.name != "InvocationType" and chance.random() < 0.3
        }
        body = chance.choice([b"", b"{}", b"x", json.dumps(chance.choice(HOSTILE)).encode()])
        before = book.facts()
        request = Request(method=route.http_method, target=f"{path}?{query}", headers=headers, body=body)
        response = book.api.answer(request)
        assert response.status < 500, (request, response)
        if response.status >= 400 or route.http_method == "GET":
            assert book.facts() == before, request
        elif book.facts() != before:
            book = Book()
