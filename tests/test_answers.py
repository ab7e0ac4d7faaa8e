"""What aws and http states get when a workflow runs here: answers of the project, a refusal, or the real thing."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from shell import Running, Shell, running, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["running", "shell"]

SAVE = "{name: save, type: aws, service: dynamodb, action: put_item, params: {TableName: t, Item: {id: {S: a}}}}"
RATE = "{name: rate, type: http, url: 'https://rates.example/eur', query: {day: 1}}"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handlers").mkdir()


def write(project: str, *states: str, output: str = "{{ states }}") -> None:
    Path("durableflow.yaml").write_text(f'durableflow: "1"\nworkflows: [w.yaml]\n{project}\n')
    listed = "\n".join(f"  - {state}" for state in states)
    Path("w.yaml").write_text(f'durableflow: "1"\nname: w\nstates:\n{listed}\noutput: "{output}"\n')


def ran(shell: Shell, *options: str) -> dict[str, Any]:
    made = shell("run", "w.yaml", "--json", "--ephemeral", "--skip-time", *options)
    told: dict[str, Any] = json.loads(made.out)
    return told


def test_answers_of_the_project_stand_in(shell: Shell) -> None:
    write(
        'actions: {"dynamodb:put_item": {result: {saved: true}}}\n'
        'http_answers: {"GET https://rates.example/eur": {result: {body: 1.5}}}',
        SAVE,
        RATE,
        output="{{ [states.save.result, states.rate.result] }}",
    )
    assert ran(shell)["output"] == [{"saved": True}, {"status": 200, "headers": {}, "body": 1.5}]


def test_functions_answer_from_the_project_folder_and_steps_import_from_their_own(shell: Shell) -> None:
    write(
        'actions: {"dynamodb:put_item": {python: "twice:put"}}',
        SAVE,
        '{name: s, type: step, handler: "twice:step"}',
        output="{{ [states.save.result, states.s.result] }}",
    )
    Path("twice.py").write_text("def put(params):\n    return params['TableName']\n")
    Path("handlers/twice.py").write_text("def step(payload):\n    return 'step'\n")
    made = ran(shell)
    assert made["error"]["name"] == "Runtime.ImportModuleError"
    assert "module 'twice' is already loaded" in made["error"]["message"]

    Path("handlers/twice.py").rename("handlers/other.py")
    Path("w.yaml").write_text(Path("w.yaml").read_text().replace("twice:step", "other:step"))
    assert ran(shell)["output"] == ["t", "step"]


def test_a_list_of_answers_goes_on_with_each_attempt(shell: Shell) -> None:
    write(
        'http_answers: {"GET https://rates.example/eur": [{error: {name: Http.503}}, {result: {status: 500}}, '
        "{result: {body: 2}}]}",
        RATE.replace("}}", "}, retry: [{errors: [Http.5*]}]}"),
        output="{{ states.rate.result.body }}",
    )
    assert ran(shell)["output"] == 2


def test_a_list_of_answers_is_counted_over_a_kill(running: Callable[..., Running], shell: Shell) -> None:
    write(
        'actions: {"dynamodb:put_item": [{result: 1}, {result: 2}, {result: 3}]}',
        SAVE,
        "{name: nap, type: wait, duration: 1s}",
        SAVE.replace("save", "again"),
        output="{{ [states.save.result, states.again.result] }}",
    )
    first = running("w.yaml", "--name", "one")
    first.until("nap  wait")
    first.process.kill()
    first.ended()
    made = shell("run", "w.yaml", "--name", "one", "--json")
    assert json.loads(made.out)["output"] == [1, 2]


def test_aws_is_not_called_unless_allowed(shell: Shell) -> None:
    write("", SAVE)
    error = ran(shell)["error"]
    assert error["name"] == "States.Permissions"
    assert "'dynamodb:put_item' is not called from here" in error["message"]
    assert "--allow-aws" in error["message"]


class DynamoDB(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.headers["X-Amz-Target"])
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    DynamoDB.asked.clear()
    with HTTPServer(("127.0.0.1", 0), DynamoDB) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "us-east-1")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize(
    ("project", "error"),
    [
        ("", None),
        ("aws: {allow: ['dynamodb:Put*']}", None),
        ("aws: {allow: ['s3:*']}", "States.Permissions"),
    ],
)
def test_aws_is_called_where_it_is_allowed(shell: Shell, project: str, error: str | None) -> None:
    write(project, SAVE, output="{{ states.save.result }}")
    made = ran(shell, "--allow-aws")
    assert (made["error"] or {}).get("name") == error
    assert len(DynamoDB.asked) == (0 if error else 1)


def test_a_request_without_an_answer_is_made_and_its_address_judged(shell: Shell) -> None:
    write("", "{name: rate, type: http, url: 'http://127.0.0.1:9/'}")
    assert ran(shell)["error"]["name"] == "States.Permissions"
    write("http: {allow: ['127.0.0.1:9']}", "{name: rate, type: http, url: 'http://127.0.0.1:9/'}")
    assert ran(shell)["error"]["name"] == "Http.ConnectionError"


def test_a_step_that_takes_too_long_times_out(shell: Shell) -> None:
    Path("handlers/slow.py").write_text(
        "import time\n\ndef wait(payload, context):\n"
        "    print(f'left: {context.remaining() > 0}')\n    time.sleep(30)\n"
    )
    write("", "{name: s, type: step, handler: 'slow:wait', timeout: 1}")
    made = shell("run", "w.yaml", "--json", "--ephemeral")
    assert json.loads(made.out)["error"]["name"] == "States.Timeout"
    assert "s | left: True" in made.err, "its output has the label of its state"
