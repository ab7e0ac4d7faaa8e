"""A secret that states use reaches neither the store nor anything that is written: a canary is planted and looked for."""

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

MARK = "c4n4ry"
SECRET = f'{MARK}-"quoted\\ {MARK}/é&='
PROJECT = """\
durableflow: "1"
secrets: {token: {env: PAY_TOKEN}}
actions: {"sns:publish": {python: "answers:publish"}}
http: {allow: ["127.0.0.1"]}
"""
ANSWERS = """\
def publish(params, context):
    context.logger.info("publishing %s", params, extra={"params": params})
    return {"MessageId": params["Message"], params["Message"]: 1}
"""
STEPS = """\
import base64, json, logging, sys, threading, urllib.parse

def use(payload, context):
    token = payload["token"]
    print("got", payload, json.dumps(payload), urllib.parse.quote(token), base64.b64encode(token.encode()).decode())
    sys.stderr.write(token)
    logging.getLogger("other").error("token %s", token)
    thread = threading.Thread(target=print, args=("from a thread", token))
    thread.start()
    thread.join()
    return {"again": token, "text": json.dumps([json.dumps(token)])}

def fail(payload):
    raise ValueError(payload["token"])
"""
WORKFLOW = """\
durableflow: "1"
name: pay
secrets: {token: "secretsmanager:pay#token"}
vars: {url: "{{ input.url }}"}
states:
  - {name: send, type: aws, service: sns, action: publish, params: {TopicArn: t, Message: "{{ secret('token') }}"}}
  - name: ask
    type: http
    method: POST
    url: "{{ vars.url }}/{{ secret('token') | urlencode }}"
    headers: {X-Token: "{{ secret('token') | b64encode }}"}
    query: {token: "{{ secret('token') }}"}
    body: {token: "{{ secret('token') }}"}
    success: [200]
  - name: gone
    type: http
    url: "{{ vars.url }}/gone"
    query: {token: "{{ secret('token') }}"}
    catch: [{errors: [Http.404], output: "{{ error }}"}]
  - name: broken
    type: step
    handler: "steps:use"
    payload: {token: "{{ secret('token') | fromjson }}"}
    catch: [{errors: [States.QueryEvaluationError], output: "{{ error }}"}]
  - {name: use, type: step, handler: "steps:use", payload: {token: "{{ secret('token') }}"}, timeout: 1m}
  - name: poll
    type: wait_for_condition
    check: {type: step, handler: "steps:use", payload: {token: "{{ secret('token') }}"}}
    until: result.again is defined
  - {name: nap, type: wait, duration: 1h}
  - name: fail
    type: step
    handler: "steps:fail"
    payload: {token: "{{ secret('token') }}"}
    retry: [{errors: [ValueError], max_attempts: 2}]
"""


class Echo(BaseHTTPRequestHandler):
    """A server that says back all that it was told."""

    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.seen.append(body)
        self._answer(200, json.dumps({"path": self.path, "token": self.headers["X-Token"], "body": body}))

    def do_GET(self) -> None:
        self._answer(404, json.dumps([self.path, SECRET]))

    def _answer(self, status: int, body: str) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Echo.seen.clear()
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "durableflow.yaml": PROJECT,
        "answers.py": ANSWERS,
        "handlers/steps.py": STEPS,
        "workflows/pay.yaml": WORKFLOW,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".env").write_text(f"PAY_TOKEN='{SECRET}'\n")


def files_that_hold_it() -> list[str]:
    found = [file for file in sorted(Path().rglob("*")) if file.is_file() and MARK.encode() in file.read_bytes()]
    return [str(file) for file in found if "__pycache__" not in file.parts]


def test_no_secret_reaches_what_is_stored_or_written(url: str, shell: Shell) -> None:
    ran = shell(
        *("run", "workflows/pay.yaml", "--name", "one", "--input", json.dumps({"url": url})),
        *("--skip-time", "--json", "--record", "golden.json"),
    )
    assert ran.code == 1
    made = json.loads(ran.out)
    assert (made["error"]["name"], made["error"]["message"]) == ("ValueError", "[secret token]")
    assert Echo.seen == [json.dumps({"token": SECRET}, separators=(",", ":"), ensure_ascii=False)], "it was used"
    assert ran.err.count("[secret token]") > 10

    shown = [
        shell("executions", "history", "one", "--json"),
        shell("executions", "show", "one", "--json"),
        shell("executions", "show", "one"),
        shell("replay", "workflows/pay.yaml", "--history", "golden.json"),
        ran,
    ]
    assert MARK not in "".join(each.out + each.err for each in shown)
    assert "[secret token]" in shown[0].out
    assert files_that_hold_it() == [".env"]


def test_nothing_is_in_the_log_of_the_store_either(url: str, running: Callable[..., Running]) -> None:
    run = running("workflows/pay.yaml", "--name", "one", "--input", json.dumps({"url": url}))
    run.until("nap  wait")
    run.process.kill()
    _, out, err = run.ended()
    assert MARK not in out + err
    assert list(Path(".durableflow").glob("*-wal")), "the file that SQLite writes to first"
    assert files_that_hold_it() == [".env"]


def test_without_the_secrets_no_recording_is_written(shell: Shell, url: str) -> None:
    ran = shell("run", "workflows/pay.yaml", "--input", json.dumps({"url": url}), "--ephemeral", "--skip-time")
    assert "[secret token]" in ran.err
    Path(".env").write_bytes(b"PAY_TOKEN=\xff\n")
    ran = shell(
        "run", "workflows/pay.yaml", "--input", json.dumps({"url": url}), "--skip-time", "--record", "golden.json"
    )
    assert "DF704" in ran.err
    assert "cannot be read: UnicodeDecodeError" in ran.err
    assert not Path("golden.json").exists()
