from __future__ import annotations

import json
import logging
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from durableflow.calls import Answers, Tools, refused_action
from durableflow.decision import Call
from durableflow.errors import Fault
from durableflow.expressions import Program
from durableflow.plan import Aws, Http, Step
from durableflow.work import PythonWorker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durableflow import web
    from durableflow.decision import Completion

NOTHING = Program(["const", None])
KEY = "0123456789abcdef0123456789abcdef"
CANARY = "c4n4ry-v4lue"


def call(node: Any, payload: Any, *, attempt: int = 1, operation: str = "a", fill: Any = None, **more: Any) -> Call:
    return Call(
        operation_id=operation * 64,
        operation_name=node.name,
        node=node,
        path=node.name,
        payload=payload,
        attempt=attempt,
        idempotency_key=KEY,
        fill=fill,
        secrets={"token": "ssm:/token"},
        **more,
    )


def action(params: Any = None, name: str = "dynamodb:put_item", **more: Any) -> Call:
    service, _, operation = name.partition(":")
    return call(Aws(name="save", service=service, action=operation, params=NOTHING), params or {}, **more)


def request(line: str = "POST https://pay.example/charges", *, success: Any = ((200, 299),), **more: Any) -> Call:
    method, _, url = line.partition(" ")
    headers, query = more.pop("headers", {}), more.pop("query", {})
    node = Http(name="charge", request=NOTHING, success=success, redirects=2)
    return call(node, {"method": method, "url": url, "headers": headers, "query": query}, **more)


def no_request(request: Any, *, success: web.Statuses, redirects: int, timeout_seconds: float | None) -> Any:
    raise AssertionError(f"nothing is to be sent: {request} {success} {redirects} {timeout_seconds}")


def no_secret(name: str, _reference: str) -> str:
    raise Fault("Secret.NotFound", f"secret '{name}' has no value here")


def tools(folder: Path, **parts: Any) -> Tools:
    steps = PythonWorker([folder], clock_ms=lambda: 1234)
    known: dict[str, Any] = {"http": no_request, "aws": refused_action, "secret": no_secret, **parts}
    return Tools(steps=steps, clock_ms=lambda: 1234, **known)


def run(tools: Tools, call: Call, execution: str = "arn:one") -> Any:
    """Return the result of a call, or raise its fault."""
    done = tools.worker(execution).run(call)
    assert (done.operation_id, done.ended_at) == (call.operation_id, 1234)
    if done.fault:
        raise done.fault
    return done.result


def fault_of(done: Completion) -> Fault:
    assert done.fault is not None
    return done.fault


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


# Who does it.


def test_a_step_is_done_by_its_handler(tmp_path: Path) -> None:
    write(tmp_path, steps_of_calls="def double(p): return 2 * p")
    node = Step(name="s", handler="steps_of_calls:double", payload=NOTHING)
    assert run(tools(tmp_path), call(node, 4)) == 8


def test_an_action_is_done_by_aws(tmp_path: Path) -> None:
    asked: list[Any] = []

    def aws(*given: Any, **named: Any) -> Any:
        asked.append((given, named))
        return {"ok": True}

    assert run(tools(tmp_path, aws=aws), action({"TableName": "t"}, timeout_seconds=5.0)) == {"ok": True}
    assert asked == [
        (("dynamodb", "put_item", {"TableName": "t"}), {"idempotency_key": KEY, "timeout_seconds": 5.0}),
    ]


def test_a_request_is_made_with_what_the_state_says(tmp_path: Path) -> None:
    asked: list[Any] = []

    def http(request: Any, **named: Any) -> Any:
        asked.append((request["url"], named))
        return {"status": 200, "headers": {}, "body": 1}

    assert run(tools(tmp_path, http=http), request(success=((200, 204),), timeout_seconds=1.5))["body"] == 1
    assert asked == [
        ("https://pay.example/charges", {"success": ((200, 204),), "redirects": 2, "timeout_seconds": 1.5}),
    ]


def test_an_action_is_refused_and_the_refusal_says_what_helps(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        run(tools(tmp_path), action())
    assert caught.value.name == "States.Permissions"
    assert caught.value.message == (
        "'dynamodb:put_item' is not called from here: say what it answers under 'actions' in durableflow.yaml "
        '("dynamodb:put_item": {result: …}), or let workflows call AWS with --allow-aws'
    )


# Answers of the project.


def test_an_action_may_have_a_fixed_answer(tmp_path: Path) -> None:
    answers = Answers(actions={"dynamodb:put_item": {"result": {"ok": 1}}})
    assert run(tools(tmp_path, answers=answers), action()) == {"ok": 1}
    with pytest.raises(Fault, match="'s3:put_object' is not called from here"):
        run(tools(tmp_path, answers=answers), action(name="s3:put_object"))


def test_an_answer_may_be_an_error(tmp_path: Path) -> None:
    error = {"name": "DynamoDB.ConditionalCheckFailedException", "message": "no", "data": {"a": 1}}
    with pytest.raises(Fault) as caught:
        run(tools(tmp_path, answers=Answers(actions={"dynamodb:put_item": {"error": error}})), action())
    assert (caught.value.name, caught.value.message, caught.value.data) == (error["name"], "no", {"a": 1})


def test_an_answer_may_be_a_function(tmp_path: Path) -> None:
    write(
        tmp_path,
        answers_of_calls="""
        def put(params, context):
            return [params, context.attempt, context.idempotency_key]

        def charge(request):
            return {"status": 201, "headers": {"X-A": "1"}, "body": request}
        """,
    )
    answers = Answers(
        actions={"dynamodb:put_item": {"python": "answers_of_calls:put"}},
        requests={"POST https://pay.example/charges": {"python": "answers_of_calls:charge"}},
        functions=PythonWorker([tmp_path]),
    )
    assert run(tools(tmp_path, answers=answers), action({"A": 1}, attempt=2)) == [{"A": 1}, 2, KEY]
    made = run(tools(tmp_path, answers=answers), request(query={"q": 1}))
    asked = {"method": "POST", "url": "https://pay.example/charges", "headers": {}, "query": {"q": 1}}
    assert made == {"status": 201, "headers": {"x-a": "1"}, "body": asked}


def test_a_list_of_answers_is_counted_per_execution_and_its_last_repeats(tmp_path: Path) -> None:
    listed = [{"error": {"name": "Http.503"}}, {"result": {"body": 1}}, {"result": {"body": 2}}]
    made = tools(tmp_path, answers=Answers(requests={"GET https://a.example/": listed}))
    seen: list[Any] = []
    for execution in ("arn:one", "arn:two"):
        for operation in "abcd":
            done = made.worker(execution).run(request("GET https://a.example", operation=operation))
            seen.append(done.fault.name if done.fault else done.result["body"])
    assert seen == ["Http.503", 1, 2, 2] * 2


def test_an_attempt_that_is_made_again_gets_the_same_answer(tmp_path: Path) -> None:
    listed = [{"result": 1}, {"result": 2}, {"result": 3}]
    made = tools(tmp_path, answers=Answers(actions={"dynamodb:put_item": listed}))
    attempts = [("a", 1), ("a", 1), ("a", 2), ("b", 1), ("a", 2)]
    assert [run(made, action(operation=operation, attempt=attempt)) for operation, attempt in attempts] == [
        1,
        1,
        2,
        3,
        2,
    ]


@pytest.mark.parametrize(
    ("line", "query", "answer"),
    [
        ("GET https://a.example/x", {}, "plain"),
        ("GET https://A.example:443/x?other=1", {}, "plain"),
        ("GET https://a.example/x?q=1", {}, "with its query"),
        ("GET https://a.example/x", {"q": 1}, "with its query"),
        ("GET https://a.example", {}, "root"),
        ("POST https://a.example/x", {}, None),
        ("GET https://a.example/x/y", {}, None),
        ("GET https://a.example:8443/x", {}, None),
        ("GET http://a.example/x", {}, None),
    ],
)
def test_which_requests_an_answer_is_for(tmp_path: Path, line: str, query: Any, answer: str | None) -> None:
    requests: dict[str, Any] = {
        "GET https://a.example/x": {"result": {"body": "plain"}},
        "GET https://a.example/x?q=1": {"result": {"body": "with its query"}},
        "GET https://a.example/": {"result": {"body": "root"}},
    }

    def http(_request: Any, **_named: Any) -> Any:
        return {"status": 200, "headers": {}, "body": None}

    assert (
        run(tools(tmp_path, http=http, answers=Answers(requests=requests)), request(line, query=query))["body"]
        == answer
    )


def test_the_status_of_an_answer_is_judged(tmp_path: Path) -> None:
    requests: Any = {"POST https://pay.example/charges": {"result": {"status": 404, "body": {"reason": "gone"}}}}
    made = tools(tmp_path, answers=Answers(requests=requests))
    with pytest.raises(Fault) as caught:
        run(made, request())
    assert caught.value.name == "Http.404"
    assert caught.value.data == {"status": 404, "headers": {}, "body": {"reason": "gone"}}
    assert run(made, request(success=((404, 404),)))["status"] == 404


@pytest.mark.parametrize(
    "result",
    ["text", {"id": 1}, {"status": "200"}, {"status": 99}, {"status": True}, {"headers": []}, {"headers": {"A": 1}}],
)
def test_an_answer_that_is_no_response(tmp_path: Path, result: Any) -> None:
    requests: Any = {"POST https://pay.example/charges": {"result": result}}
    with pytest.raises(Fault) as caught:
        run(tools(tmp_path, answers=Answers(requests=requests)), request())
    assert caught.value.name == "States.ResultInvalid"
    assert caught.value.message == (
        "the answer for 'POST https://pay.example/charges' in durableflow.yaml is no {status, headers, body}"
    )


# Secrets.


def with_secret(make: Callable[[str], Any]) -> Any:
    return lambda secret: make(secret("token"))


def canary(name: str, reference: str) -> str:
    assert (name, reference) == ("token", "ssm:/token")
    return CANARY


def test_secrets_are_filled_in_for_the_attempt(tmp_path: Path) -> None:
    seen: list[Any] = []

    def http(request: Any, **_named: Any) -> Any:
        seen.append(request["headers"])
        return {"status": 200, "headers": {"echo": CANARY}, "body": {CANARY: [f"Bearer {CANARY}"]}}

    fill = with_secret(lambda value: {"method": "GET", "url": "https://a.example", "headers": {"Authorization": value}})
    result = run(tools(tmp_path, http=http, secret=canary), request(fill=fill))
    assert seen == [{"Authorization": CANARY}]
    assert result == {
        "status": 200,
        "headers": {"echo": "[secret token]"},
        "body": {"[secret token]": ["Bearer [secret token]"]},
    }


def test_faults_are_searched_for_secrets(tmp_path: Path) -> None:
    def aws(*_given: Any, **_named: Any) -> Any:
        raise Fault("DynamoDB.ValidationException", f"bad {CANARY}", {"id": CANARY})

    raised = fault_of(
        tools(tmp_path, aws=aws, secret=canary).worker("arn").run(action(fill=with_secret(lambda value: {"A": value})))
    )
    assert (raised.message, raised.data) == ("bad [secret token]", {"id": "[secret token]"})


def test_what_a_handler_logs_and_raises_is_searched_for_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = """
        def f(p, context):
            context.logger.warning("token %s", p, extra={"again": p})
            raise KeyError(p)
    """
    write(tmp_path, secrets_of_calls=body)
    node = Step(name="s", handler="secrets_of_calls:f", payload=NOTHING)
    with caplog.at_level(logging.INFO):
        done = (
            tools(tmp_path, secret=canary).worker("arn", request_id="r1").run(call(node, None, fill=with_secret(str)))
        )
    assert fault_of(done).message == "'[secret token]'"
    first, second = (json.loads(message) for message in caplog.messages)
    assert (first["message"], first["again"]) == ("token [secret token]", "[secret token]")
    assert (first["executionArn"], first["requestId"]) == ("arn", "r1")
    assert "KeyError: '[secret token]'" in second["exception"]
    assert CANARY not in caplog.text


def test_the_process_is_told_of_a_secret_before_it_is_used(tmp_path: Path) -> None:
    made = tools(tmp_path, secret=canary)

    def fill(secret: Callable[[str], str]) -> Any:
        value = secret("token")
        assert made.told.text(value) == "[secret token]"
        return {"A": value}

    with pytest.raises(Fault, match="is not called from here"):
        run(made, action(fill=fill))


def test_a_secret_is_looked_up_once_for_an_invocation(tmp_path: Path) -> None:
    asked: list[str] = []

    def secret(name: str, reference: str) -> str:
        asked.append(reference)
        return canary(name, reference)

    made = tools(tmp_path, secret=secret, aws=lambda *_given, **_named: None)
    for invocation in (made.worker("arn"), made.worker("arn")):
        for operation in "ab":
            assert (
                invocation.run(action(operation=operation, fill=with_secret(lambda value: {"A": value}))).fault is None
            )
    assert asked == ["ssm:/token"] * 2


def test_a_secret_without_a_value_fails_the_attempt(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="secret 'token' has no value here"):
        run(tools(tmp_path), action(fill=with_secret(str)))
