"""`durableflow serve`, in a process of its own: what AWS's client for Python sees of it, and how it begins and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from shell import Shell, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["shell"]

PROJECT = """\
durableflow: "1"
workflows: [flows]
handlers: [handlers]
functions: {greeter: {python: "functions.greeter:handler"}, late: {python: "functions.greeter:late"}}
"""
HELLO = """\
durableflow: "1"
name: hello
states:
  - {name: greet, type: step, handler: "greeting:greet", payload: "{{ input.name }}", retry: []}
  - {name: nap, type: wait, duration: "{{ input.nap }}"}
output: "{{ states.greet.result }}, VERSION"
"""
GREETING = """\
def greet(name):
    print("greeting " + name)
    return "hello " + name
"""
GREETER = """\
import time

def handler(event, context):
    return {"greeted": event}

def late(event, context):
    time.sleep(1.5)
    return "in the end"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "durableflow.yaml": PROJECT,
        "flows/hello.yaml": HELLO.replace("VERSION", "first"),
        "handlers/greeting.py": GREETING,
        "functions/greeter.py": GREETER,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".git").mkdir()  # no project file above counts
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class Serving:
    """The command, from its two lines on; what it says is read as it comes."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "durableflow", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stderr
        self.said = ""
        self._error = self.process.stderr
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.lines = [self.process.stdout.readline() for _ in range(2)]
        assert all(self.lines), self.ended()
        self.environment = dict(re.findall(r"([A-Z_]+)=(\S+)", "".join(self.lines)))
        self.url = self.environment["AWS_ENDPOINT_URL_LAMBDA"]
        self.client: Any = boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    def _read(self) -> None:
        for line in self._error:
            self.said += line

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.said:
            assert self.process.poll() is None or text in self.said, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def ended(self, number: int | None = None) -> int:
        """Return the exit code, after a signal if there is one."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        return code

    def close(self) -> None:
        self.process.kill()
        self.ended()
        self.client.close()
        for stream in (self.process.stdout, self._error):
            assert stream
            stream.close()

    def invoke(self, name: str, payload: Any, **members: Any) -> Any:
        reply = self.client.invoke(FunctionName=name, Payload=json.dumps(payload), **members)
        return json.loads(reply["Payload"].read() or "null")


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    made: list[Serving] = []

    def start(*arguments: str) -> Serving:
        made.append(Serving(*arguments))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_its_two_lines_are_all_a_client_needs(serve: Callable[..., Serving]) -> None:
    serving = serve("--skip-time")

    assert [line.split()[0] for line in serving.lines] == ["export", "export"]
    assert serving.url.startswith("http://127.0.0.1:")
    assert serving.invoke("hello", {"name": "ann", "nap": "1h"}) == "hello ann, first"
    assert serving.invoke("greeter", [1]) == {"greeted": [1]}
    assert "serving 1 workflow;" in serving.said
    assert "greet | greeting ann" in serving.said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_when_it_is_asked_to_and_goes_on_with_what_sleeps(
    serve: Callable[..., Serving], number: int, code: int
) -> None:
    first = serve()
    arn = first.client.invoke(
        FunctionName="hello", InvocationType="Event", Payload='{"name": "bob", "nap": "2s"}', DurableExecutionName="bob"
    )["DurableExecutionArn"]
    first.until("greeting bob")

    assert first.ended(number) == code

    second = serve("--skip-time")
    assert second.invoke("hello", {"name": "bob", "nap": "2s"}, DurableExecutionName="bob") == "hello bob, first"
    history = second.client.get_durable_execution_history(DurableExecutionArn=arn)["Events"]
    assert [event["EventType"] for event in history].count("StepStarted") == 1


def test_what_runs_when_it_is_to_end_may_end_first(serve: Callable[..., Serving]) -> None:
    serving = serve()
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(_answer(serving, "late")))
    waiting.start()
    time.sleep(0.7)  # long enough for the function to have begun

    assert serving.ended(signal.SIGTERM) == 0

    waiting.join(10)
    # Whoever waits is told; a function that nobody's execution calls has no other way to give its result.
    assert answers == ["ServiceException"]
    assert "goes on when this is served again" in serving.said


def _answer(serving: Serving, name: str) -> str:
    try:
        return str(serving.invoke(name, {}))
    except serving.client.exceptions.ServiceException as error:
        return str(error.response["Error"]["Code"])


def test_a_changed_file_is_for_executions_that_begin_afterwards(serve: Callable[..., Serving], folder: Path) -> None:
    serving = serve("--watch")
    begun = {"name": "ann", "nap": "4s"}
    arn = serving.client.invoke(
        FunctionName="hello", InvocationType="Event", Payload=json.dumps(begun), DurableExecutionName="old"
    )["DurableExecutionArn"]
    serving.until("greeting ann")

    (folder / "flows" / "hello.yaml").write_text(HELLO.replace("VERSION", "second"))
    serving.until("new executions of 'hello'")
    (folder / "handlers" / "greeting.py").write_text(GREETING.replace("hello", "good day"))
    serving.until("handlers have changed")

    assert serving.invoke("hello", {"name": "bob", "nap": "1s"}) == "good day bob, second"
    assert serving.invoke("hello", begun, DurableExecutionName="old") == "hello ann, first"
    assert serving.client.get_durable_execution(DurableExecutionArn=arn)["Status"] == "SUCCEEDED"


def test_a_file_that_is_broken_while_it_is_watched_changes_nothing(serve: Callable[..., Serving], folder: Path) -> None:
    serving = serve("--watch", "--skip-time")

    (folder / "flows" / "hello.yaml").write_text(HELLO.replace("type: wait", "type: weight"))
    serving.until("hello.yaml:5:23: DF155")
    assert serving.invoke("hello", {"name": "ann", "nap": "1s"}) == "hello ann, first"

    (folder / "flows" / "hello.yaml").write_text(HELLO.replace("VERSION", "mended"))
    (folder / "flows" / "other.yaml").write_text(HELLO.replace("name: hello", "name: other"))
    serving.until("new executions of 'other'")
    assert serving.invoke("hello", {"name": "ann", "nap": "1s"}) == "hello ann, mended"
    assert serving.invoke("other", {"name": "ann", "nap": "1s"}) == "hello ann, VERSION"


def test_one_process_serves_a_store(serve: Callable[..., Serving], shell: Shell) -> None:
    serving = serve()

    ran = shell("serve", "--port", "0")

    assert ran.code == 3
    assert f"DF764 process {serving.process.pid} runs the executions of" in ran.err


def test_a_port_that_is_taken_is_told(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = shell("serve", "--port", str(port))

    assert ran.code == 3
    assert f"DF765 cannot listen on port {port}: Address already in use" in ran.err
    assert not ran.out


def test_workflows_with_problems_are_not_served(shell: Shell, folder: Path) -> None:
    (folder / "flows" / "hello.yaml").write_text(HELLO.replace("type: wait", "type: weight"))
    (folder / "flows" / "other.yaml").write_text(HELLO.replace("name: hello", "name: other").replace("greet,", "a b,"))

    ran = shell("serve")

    assert ran.code == 1
    assert "hello.yaml:5:23: DF155" in ran.err
    assert "other.yaml:4:12: " in ran.err
    assert not ran.out


def test_there_must_be_something_to_serve(shell: Shell, folder: Path) -> None:
    (folder / "durableflow.yaml").unlink()

    ran = shell("serve")

    assert ran.code == 2
    assert "DF797 there is no project here, and no workflow was named" in ran.err


def test_workflow_files_are_served_without_a_project(serve: Callable[..., Serving], folder: Path) -> None:
    (folder / "durableflow.yaml").unlink()
    (folder / "handlers" / "greeting.py").rename(folder / "flows" / "greeting.py")

    serving = serve("flows/hello.yaml", "--skip-time", "--db", "here.db")

    assert serving.invoke("hello", {"name": "ann", "nap": "1h"}) == "hello ann, first"
    assert (folder / "here.db").exists()
