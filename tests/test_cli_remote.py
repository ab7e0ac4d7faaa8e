"""Commands that mean a service elsewhere: against a live one of this machine, and what boto3 gives and raises."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from shell import Shell, shell

from durableflow.cli import console, loading, remote
from durableflow.cli.remote import There, children, open_callbacks
from durableflow.errors import CODES, DurableflowError
from durableflow.local.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["shell"]

PROJECT = """\
durableflow: "1"
workflows: [.]
handlers: [.]
functions:
  answer: {result: 42}
  broken: {error: {name: Broken, message: it is}}
"""
FLOWS = {
    "double": "[{name: last, type: pass, output: '{{ input.n * 2 }}'}]",
    "asks": "[{name: ask, type: wait_for_callback, timeout: 1h}]",
    "sleeps": "[{name: nap, type: wait, duration: 1h}]",
    "says": "[{name: say, type: step, handler: 'speech:say', payload: '{{ input.lines }}', retry: []}]",
    "parent": "[{name: child, type: workflow, workflow: asks, payload: '{{ input }}'}]",
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that runs the workflows above."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "durableflow.yaml").write_text(PROJECT)
    for name, states in FLOWS.items():
        (folder / f"{name}.yaml").write_text(f'durableflow: "1"\nname: {name}\nstates: {states}\n')
    (folder / "speech.py").write_text("def say(lines):\n    for n in range(lines):\n        print(f'line {n}')\n")
    context = loading.project_of(folder, None)
    assert context is not None
    with Engine(store=context.store, project=context) as engine:
        for path in context.workflows.values():
            loaded = loading.load(path, project=context.path)
            engine.register(loaded.plan, loaded.folder)
        yield engine.serve().url


@pytest.fixture
def there(serving: str, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Run commands against the service."""
    monkeypatch.setenv("DURABLEFLOW_ENDPOINT_URL", serving)
    return shell


@pytest.fixture(autouse=True)
def _nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_LAMBDA"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)


# A live service ------------------------------------------------------------------------------------------------------


def test_a_workflow_is_invoked_and_looked_at(there: Shell) -> None:
    ran = there("invoke", "double", "--input", '{"n": 4}', "--name", "four")
    again = json.loads(there("invoke", "double", "--input", '{"n":4}', "--name", "four", "--json").out)
    shown = json.loads(there("executions", "show", "four", "--json").out)

    assert (ran.code, ran.out) == (0, "8\n")
    assert (again["statusCode"], again["output"], again["functionError"]) == (200, 8, None)
    assert (shown["status"], shown["output"], shown["executionArn"]) == ("SUCCEEDED", 8, again["executionArn"])
    assert there("executions", "show", "four").out.startswith("four  SUCCEEDED\n")
    taken = there("invoke", "double", "--input", '{"n": 5}', "--name", "four")
    assert (taken.code, "DF722" in taken.err) == (2, True)


@pytest.mark.parametrize("lines", [0, 3, 1500])
def test_what_was_written_is_read(there: Shell, lines: int) -> None:
    there("invoke", "says", "--input", json.dumps({"lines": lines}), "--name", f"says-{lines}")

    ran = there("logs", f"says-{lines}", "--json")

    read = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["message"] for line in read] == [f"line {number}" for number in range(lines)], ran.err


def test_a_failure_is_told_and_exits_1(there: Shell) -> None:
    ran, plain = there("invoke", "double", "--input", '{"n": {}}', "--json"), there("invoke", "broken")

    assert ran.code == 1
    assert json.loads(ran.out)["error"]["errorType"] == "States.QueryEvaluationError"
    assert (plain.code, plain.out, plain.err) == (1, "", "DF502 the function failed: Broken: it is\n")


def test_a_plain_function_has_a_result_and_no_execution(there: Shell) -> None:
    assert json.loads(there("invoke", "answer", "--json").out) == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "executionArn": None,
        "functionError": None,
        "output": 42,
        "error": None,
    }
    assert there("invoke", "answer", "--type", "dry-run").err == "it can be called\n"
    assert there("invoke", "answer", "--type", "event").err == "it is called\n"


def test_an_execution_is_started_answered_and_stopped(there: Shell, serving: str) -> None:
    arn = there("invoke", "parent", "--type", "event", "--name", "p1").out.strip()
    for event in There(endpoint_url=serving).follow(arn):
        if event["EventType"] == "ChainedInvokeStarted":
            child = event["ChainedInvokeStartedDetails"]["DurableExecutionArn"]
            break
    for event in There(endpoint_url=serving).follow(child):
        if event["EventType"] == "CallbackStarted":
            break

    (waiting,) = json.loads(there("executions", "show", "p1", "--json").out)["callbacks"]
    assert waiting["executionArn"] == child
    assert waiting["timesOut"] == pytest.approx(waiting["started"] + 3600)
    told = there("executions", "show", child).out
    assert f"--result JSON --endpoint-url {serving}\n" in told

    beat = there("callback", "heartbeat", "ask", "--execution", child)
    unknown = there("callback", "succeed", "other", "--execution", child)
    assert (beat.code, beat.out) == (0, f"{waiting['callbackId']}  STARTED\n")
    assert (unknown.code, "DF780 no callback 'other' is open at http" in unknown.err) == (2, True)
    assert there("callback", "succeed", child, "--result", "[1]").out == f"{waiting['callbackId']}  SUCCEEDED\n"

    followed = there("executions", "history", "p1", "--follow", "--json").out.splitlines()
    assert json.loads(followed[-1])["EventType"] == "ExecutionSucceeded"
    assert [json.loads(line)["EventId"] for line in followed] == list(range(1, len(followed) + 1))
    late = there("callback", "fail", waiting["callbackId"])
    assert (late.code, "Callback already completed" in late.err) == (2, True)


def test_executions_of_all_functions_are_listed_newest_first(there: Shell) -> None:
    for name, flow in (("s1", "sleeps"), ("d1", "double"), ("s2", "sleeps")):
        there("invoke", flow, "--type", "event", "--name", name, "--input", '{"n": 1}')

    everything = json.loads(there("executions", "list", "--json", "--limit", "0").out)["executions"]
    newest = [each["name"] for each in everything if each["name"] in {"s1", "d1", "s2"}]
    assert newest == ["s2", "d1", "s1"]
    assert [each["name"] for each in everything[:2]] == [
        each["name"] for each in json.loads(there("executions", "list", "--json", "--limit", "2").out)["executions"]
    ]
    one = json.loads(there("executions", "list", "--json", "--function", "sleeps", "--status", "RUNNING").out)
    assert [each["name"] for each in one["executions"]] == ["s2", "s1"]
    table = there("executions", "list", "--function", "double").out.splitlines()
    assert table[0].split() == ["NAME", "WORKFLOW", "STATUS", "STARTED", "TOOK"]

    stopped = there("executions", "stop", "s1", "--function", "sleeps", "--json")
    assert json.loads(stopped.out)["status"] == "STOPPED"
    events = json.loads(there("executions", "history", "s1", "--json").out)["Events"]
    assert events[-1]["ExecutionStoppedDetails"]["Error"]["Payload"]["ErrorType"] == "States.Stopped"


def test_what_is_recorded_there_replays_here(there: Shell) -> None:
    there("invoke", "double", "--input", '{"n": 7}', "--name", "seven")
    Path("h.json").write_text(there("executions", "history", "seven", "--json").out)
    Path("double.yaml").write_text(f'durableflow: "1"\nname: double\nstates: {FLOWS["double"]}\n')

    assert there("replay", "double.yaml", "--history", "h.json").out == "double: replays, and ends SUCCEEDED\n14\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["invoke", "nothing"], 2, "DF721"),
        (["invoke", "double", "--name", "no name"], 2, "DF720"),
        (["executions", "show", "nothing"], 2, "DF796 there is no execution 'nothing' at http"),
        (["executions", "list", "--function", "nothing"], 2, "DF721"),
        (["callback", "succeed", "QUJD"], 2, "DF721"),
        (["logs", "arn:aws:lambda:x"], 2, "DF7"),
        (["executions", "list", "--region", "eu-west-1", "--project", "."], 2, "DF797"),
    ],
)
def test_what_is_not_there_is_wrong_usage(there: Shell, arguments: list[str], code: int, told: str) -> None:
    ran = there(*arguments)

    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_the_equal_command_is_shown_when_it_is_asked_for(there: Shell, serving: str) -> None:
    ran = there("invoke", "answer", "--show-aws")

    assert ran.err == (
        f"printf %s '{{}}' | aws lambda invoke --endpoint-url {serving} --function-name answer"
        " --invocation-type RequestResponse --payload fileb:///dev/stdin --cli-read-timeout 0 /dev/stdout\n"
    )
    assert there("invoke", "answer").err == ""


# Which place is meant ------------------------------------------------------------------------------------------------


def test_an_address_of_the_environment_gives_way_to_a_store_that_is_named(there: Shell) -> None:
    ran = there("executions", "list", "--store", "nothing.db")

    assert (ran.code, "DF796" in ran.err) == (2, True)


def test_the_variables_of_aws_do_not_turn_a_command_away_from_this_machine(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    Path(".git").mkdir()

    assert "DF796 there is no store" in shell("executions", "list").err
    ran = shell("executions", "list", "--region", "eu-west-1")
    assert (ran.code, "DF783" in ran.err or "DF782" in ran.err) == (3, True)


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--endpoint-url", "nonsense"], 2, "DF787 'nonsense' is no address"),
        (["--endpoint-url", "ftp://host"], 2, "DF787"),
        (["--endpoint-url", "http://host:port"], 2, "DF787"),
        (["--profile", "nobody"], 3, "DF784"),
        (["--region", "eu-west-1"], 3, "DF783 there are no credentials for AWS"),
        (["--region", "no region!"], 3, "DF785"),
    ],
)
def test_a_place_that_cannot_be_reached_is_said(shell: Shell, options: list[str], code: int, told: str) -> None:
    ran = shell("executions", "list", *options)

    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err
    assert "\nhint: " in ran.err


def test_where_nobody_listens_is_said_at_once(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    ran = shell("invoke", "double", "--endpoint-url", f"http://127.0.0.1:{port}")

    assert (ran.code, ran.out) == (3, "")
    assert f"DF782 'http://127.0.0.1:{port}' does not answer" in ran.err
    assert "hint: does `durableflow serve` run" in ran.err


def test_no_key_of_the_user_goes_to_an_address_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    with There(endpoint_url="http://localhost:1") as here, There(region="eu-west-1") as aws:
        credentials = here._client_for("lambda")._request_signer._credentials
        assert (credentials.access_key, credentials.token) == ("durableflow", None)
        assert aws._client_for("lambda")._request_signer._credentials.access_key == "mine"


def test_only_an_invocation_is_waited_for_long_and_it_is_asked_once() -> None:
    with There(endpoint_url="http://localhost:1") as place:
        patient, other = (place._client_for("lambda", is_patient=each).meta.config for each in (True, False))

    assert (patient.read_timeout, patient.retries["total_max_attempts"]) == (960, 1)
    assert (other.read_timeout, other.retries["total_max_attempts"]) == (60, 3)


# What boto3 gives and raises -----------------------------------------------------------------------------------------


class Fake:
    """A client that answers as it is told to; the replies are of boto3's shapes."""

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._answer = answer
        self.meta = SimpleNamespace(endpoint_url="https://lambda.eu-west-1.amazonaws.com")

    def __getattr__(self, operation: str) -> Any:
        def call(**members: Any) -> dict[str, Any]:
            return {**self._answer(operation, members), "ResponseMetadata": {"HTTPStatusCode": 200}}

        return call

    def close(self) -> None:
        """Close nothing."""


def aws(answer: Callable[[str, Mapping[str, Any]], Any]) -> There:
    return There(region="eu-west-1", client=lambda _, __: Fake(answer))


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


def test_times_and_payloads_become_those_of_the_wire() -> None:
    body = StreamingBody(BytesIO(b'"x"'), 3)
    with aws(lambda _, __: {"At": [{"Start": MOMENT}], "Payload": body}) as place:
        assert place.ask("invoke") == {"At": [{"Start": 1767323045.25}], "Payload": b'"x"'}


def test_a_member_that_is_not_given_is_not_sent() -> None:
    sent: list[Mapping[str, Any]] = []

    def answer(_: str, members: Mapping[str, Any]) -> dict[str, Any]:
        sent.append(members)
        return {}

    with aws(answer) as place:
        place.ask("invoke", FunctionName="f", Qualifier=None, TenantId=None)

    assert sent == [{"FunctionName": "f"}]


def execution(name: str, second: int) -> dict[str, Any]:
    return {"DurableExecutionName": name, "StartTimestamp": MOMENT.replace(second=second), "DurableExecutionArn": name}


def test_lists_of_several_functions_are_one_and_are_read_no_further_than_needed() -> None:
    asked: list[tuple[str, Any]] = []
    pages = {
        ("f", None): ([execution("f9", 9), execution("f5", 5)], "m"),
        ("f", "m"): ([execution("f1", 1)], None),
        ("g", None): ([execution("g7", 7)], None),
    }

    def answer(operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "list_functions":
            if "Marker" not in members:
                return {"Functions": [{"FunctionName": "f", "DurableConfig": {}}], "NextMarker": "more"}
            return {"Functions": [{"FunctionName": "plain"}, {"FunctionName": "g", "DurableConfig": {}}]}
        key = (members["FunctionName"], members.get("Marker"))
        asked.append(key)
        found, marker = pages[key]
        return {"DurableExecutions": found, **({"NextMarker": marker} if marker else {})}

    with aws(answer) as place:
        first = [each["DurableExecutionName"] for each in place.executions(function=None, limit=2)]
        assert (first, ("f", "m") in asked) == (["f9", "g7"], False)
        assert [each["DurableExecutionName"] for each in place.executions(function=None)] == ["f9", "g7", "f5", "f1"]
        assert place.arn_of("whatever") == "f9"


def event(id_: int, kind: str, operation: str = "", **details: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"EventId": id_, "EventType": kind, "EventTimestamp": float(id_), f"{kind}Details": details}
    return {**made, "Id": operation, "Name": operation} if operation else made


EVENTS = [
    event(1, "ExecutionStarted"),
    {**event(2, "ContextStarted", "outer"), "SubType": "WaitForCallback"},
    {**event(3, "CallbackStarted", "inner", CallbackId="A", Timeout=60), "ParentId": "outer"},
    event(4, "CallbackStarted", "bare", CallbackId="B"),
    event(5, "CallbackStarted", "done", CallbackId="C"),
    event(6, "CallbackTimedOut", "done"),
    event(7, "ChainedInvokeStarted", "runs", DurableExecutionArn="child"),
    event(8, "ChainedInvokeStarted", "ended", DurableExecutionArn="other"),
    event(9, "ChainedInvokeSucceeded", "ended"),
    event(10, "ChainedInvokeStarted", "plain"),
]


def test_a_history_tells_which_callbacks_are_open() -> None:
    arn = "arn:aws:lambda:eu-west-1:1:function:f:1/durable-execution/one/x"

    found = open_callbacks(arn, EVENTS)

    assert [(each["CallbackId"], each["Name"], each.get("TimeoutTimestamp")) for each in found] == [
        ("A", "outer", 63.0),
        ("B", "bare", None),
    ]
    assert {(each["DurableExecutionName"], each["DurableExecutionArn"]) for each in found} == {("one", arn)}
    assert open_callbacks(arn, [*EVENTS, event(11, "ExecutionStopped")]) == []


def test_a_history_tells_which_executions_it_has_started_and_waits_for() -> None:
    assert children(EVENTS) == ["child"]


def test_following_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0)
    history = [event(1, "ExecutionStarted"), event(2, "WaitStarted", "w")]
    asked: list[tuple[bool, str | None]] = []

    def answer(_: str, members: Mapping[str, Any]) -> dict[str, Any]:
        is_reverse, marker = members.get("ReverseOrder", False), members.get("Marker")
        asked.append((is_reverse, marker))
        if len(asked) == 3:
            history.extend(
                [event(3, "WaitSucceeded", "w"), event(4, "InvocationCompleted"), event(5, "ExecutionSucceeded")]
            )
        if not is_reverse:
            return {"Events": list(history)}
        newest = history[::-1]
        start = int(marker or 0)
        page = newest[start : start + 2]
        return {"Events": page, **({"NextMarker": str(start + 2)} if start + 2 < len(newest) else {})}

    with aws(answer) as place:
        assert [each["EventId"] for each in place.follow("arn")] == [1, 2, 3, 4, 5]

    assert asked == [(False, None), (True, None), (True, None), (True, "2")]


GROUP = {"FunctionName": "f", "LoggingConfig": {"LogGroup": "/mine"}}


def test_logs_are_those_of_cloudwatch_that_name_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0)
    found: dict[str, Any] = {"FunctionArn": "f:1", "StartTimestamp": MOMENT}
    lines = [{"eventId": str(number), "timestamp": 1_000 * number, "message": f"line {number}\n"} for number in (1, 2)]
    asked: list[Mapping[str, Any]] = []

    def answer(operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "get_durable_execution":
            return dict(found)
        if operation == "get_function_configuration":
            return GROUP
        asked.append(dict(members))
        if "nextToken" not in members:
            return {"events": lines[:1], "nextToken": "more"}
        if len(asked) == 2:
            found["EndTimestamp"] = MOMENT
            lines.append({"eventId": "3", "timestamp": 3_000, "message": "line 3"})
            return {"events": lines[1:2]}
        return {"events": lines[1:]}

    with aws(answer) as place:
        assert [(each["Timestamp"], each["Message"]) for each in place.logs("arn", follow=True)] == [
            (1.0, "line 1"),
            (2.0, "line 2"),
            (3.0, "line 3"),
        ]

    start = int(MOMENT.timestamp() * 1000)
    assert asked[0] == {"logGroupName": "/mine", "filterPattern": '"arn"', "startTime": start}
    assert asked[1]["nextToken"] == "more"


def test_an_operation_that_boto3_does_not_know_is_said() -> None:
    with There(region="eu-west-1", client=lambda _, __: SimpleNamespace(
        meta=SimpleNamespace(endpoint_url="x"), close=lambda: None
    )) as place, pytest.raises(DurableflowError) as raised:  # fmt: skip
        place.ask("pause_durable_execution", DurableExecutionArn="a")

    assert raised.value.code == "DF514"


@pytest.mark.parametrize(
    ("name", "status", "code", "exit_code"),
    [
        ("ResourceNotFoundException", 404, "DF721", 2),
        ("DurableExecutionAlreadyStartedException", 409, "DF722", 2),
        ("CallbackTimeoutException", 400, "DF723", 2),
        ("RequestTooLargeException", 413, "DF724", 2),
        ("InvalidParameterValueException", 400, "DF720", 2),
        ("TooManyRequestsException", 429, "DF720", 3),
        ("ServiceException", 500, "DF725", 3),
        ("KMSAccessDeniedException", 502, "DF725", 3),
        ("AccessDeniedException", 403, "DF786", 3),
        ("ExpiredTokenException", 400, "DF786", 3),
    ],
)
def test_a_refusal_is_one_of_ours(name: str, status: int, code: str, exit_code: int) -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    client = botocore.session.get_session().create_client("lambda", "eu-west-1", config=config, **keys)
    with Stubber(client) as stub:
        stub.add_client_error("get_durable_execution", name, "it\x1b[31m is\nso", status)
        with There(region="eu-west-1", client=lambda _, __: client) as place, pytest.raises(DurableflowError) as raised:
            place.ask("get_durable_execution", DurableExecutionArn="arn:aws:lambda")

    assert (raised.value.code, console.exit_code(raised.value)) == (code, exit_code)
    assert "\x1b" not in str(raised.value)
    assert raised.value.problem.message.endswith("it\\u001b[31m is\\u000aso")


def test_what_boto3_raises_without_an_answer_is_known_by_names_that_it_has() -> None:
    raised = vars(botocore.exceptions)
    assert [name for name in remote._RAISED if name not in raised] == []
    assert [code for code in remote._RAISED.values() if code not in CODES] == []
