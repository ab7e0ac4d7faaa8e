"""A server killed under load, at any moment: everything ends as without it, and nothing happens twice.

Fifty executions, ten of them functions of AWS's SDK, wait for two hundred timers and twenty answers while the process that
serves them is killed and started again. Its clients only know that it did not answer, and ask again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("aws_durable_execution_sdk_python")

EXECUTIONS, OF_SDK, ASKING, TIMERS = 50, 10, 20, 4
DEADLINE = 150.0
WORKERS = (os.cpu_count() or 1) + 2

FILES = {
    "durableflow.yaml": """
        durableflow: "1"
        functions:
          "busy:sdk": {durable: "functions.busy:busy"}
          "add:live": {python: "functions.busy:add"}
    """,
    "workflows/busy.yaml": """
        durableflow: "1"
        name: busy
        states:
          - {name: first, type: step, handler: "work_of_kills:noted", payload: "{{ input.name }}/first"}
          - name: wide
            type: parallel
            branches:
              a: [{name: rest_a, type: wait, until: "{{ input.until[0] }}"}]
              b: [{name: rest_b, type: wait, until: "{{ input.until[1] }}"}]
              c: [{name: rest_c, type: wait, until: "{{ input.until[2] }}"}]
              d: [{name: rest_d, type: wait, until: "{{ input.until[3] }}"}]
              asking:
                - name: asked
                  type: wait_for_callback
                  when: input.asks
                  submit:
                    - name: told
                      type: step
                      handler: "work_of_kills:told"
                      payload: {key: "{{ input.name }}/told", id: "{{ callback.id }}"}
          - {name: second, type: step, handler: "work_of_kills:noted", payload: "{{ input.name }}/second"}
          - {name: called, type: invoke, function: "add:live", payload: {key: "{{ input.name }}/called", n: "{{ input.n }}"}}
          - {name: child, type: workflow, workflow: leaf, when: input.n % 4 == 0, payload: "{{ input.name }}"}
        output:
          first: "{{ states.first.result }}"
          second: "{{ states.second.result }}"
          called: "{{ states.called.result }}"
          answer: "{{ states.wide.result.asking }}"
    """,
    "workflows/leaf.yaml": """
        durableflow: "1"
        name: leaf
        states:
          - {name: rest, type: wait, duration: 2s}
          - {name: noted, type: step, handler: "work_of_kills:noted", payload: "{{ input }}/child"}
    """,
    "handlers/work_of_kills.py": """
        import os
        import pathlib

        def noted(payload):
            with open("effects", "a") as effects:
                effects.write(f"{os.environ['LIFE']} {payload}\\n")
            return payload.upper()

        def told(payload):
            noted(payload["key"])
            name = payload["key"].partition("/")[0]
            draft = pathlib.Path("asked", f".{name}")
            draft.write_text(payload["id"])
            draft.rename(pathlib.Path("asked", name))
    """,
    "functions/busy.py": """
        import os

        from aws_durable_execution_sdk_python import durable_execution
        from aws_durable_execution_sdk_python.config import Duration

        def noted(key):
            with open("effects", "a") as effects:
                effects.write(f"{os.environ['LIFE']} {key}\\n")
            return key.upper()

        def add(event, context):
            noted(event["key"])
            return event["n"] + 1

        @durable_execution
        def busy(event, context):
            name = event["name"]

            def rest(inner, seconds, index, items):
                inner.wait(Duration.from_seconds(seconds), name=f"rest_{index}")

            first = context.step(lambda _: noted(f"{name}/first"), name="first")
            context.map(event["seconds"], rest, name="wide")
            second = context.step(lambda _: noted(f"{name}/second"), name="second")
            called = context.invoke("add:live", {"key": f"{name}/called", "n": event["n"]}, name="called")
            return {"first": first, "second": second, "called": called, "answer": None}
    """,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Load:
    """Fifty executions, and the client that starts them, answers them and waits for them.

    Args:
        folder: of the project.
        seed: of all that is left to chance.
        kills: when the server is killed: seconds after the moment at which everything waits, the first being 0.
    """

    folder: Path
    seed: int
    kills: list[float]
    life: int = 0
    arns: dict[str, str] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    at_kills: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, text in FILES.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        (self.folder / "asked").mkdir()
        self.store = self.folder / "store" / "e.db"
        self.random = random.Random(self.seed)
        self.port = free_port()
        self.client = boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20),
        )
        self._serve()
        # All timers have to be set before the first one is due, also where 50 processes' worth of work has two cores.
        self.due = time.time() + 16
        self.inputs = {f"n{number:02}": self._input(number) for number in range(EXECUTIONS)}
        self.answers_at = {name: self.random.uniform(0, 6) for name in sorted(self.inputs)}
        self.loaded_at: float | None = None

    def _input(self, number: int) -> dict[str, Any]:
        is_sdk = number >= EXECUTIONS - OF_SDK
        delays = [self.random.uniform(0, 5) for _ in range(TIMERS)]
        until = [datetime.fromtimestamp(self.due + delay, UTC).isoformat() for delay in delays]
        made = {"name": f"n{number:02}", "n": number, "asks": number < ASKING}
        return made | ({"seconds": [int(15 + delay) for delay in delays]} if is_sdk else {"until": until})

    def _serve(self) -> None:
        self.life += 1
        serve = [sys.executable, "-m", "durableflow", "serve", "--port", str(self.port), "--db", str(self.store)]
        with (self.folder / f"server-{self.life}.log").open("wb") as log:
            self.server = subprocess.Popen(
                serve,
                cwd=self.folder,
                env={**os.environ, "LIFE": str(self.life)},
                stdout=log,
                stderr=log,
            )

    def run(self) -> None:
        """Start everything, kill the server when it is time to, and wait until everything has ended."""
        deadline = time.monotonic() + DEADLINE
        while len(self.ended) < EXECUTIONS:
            assert time.monotonic() < deadline, self.told()
            self._kill_when_due()
            assert self.server.poll() is None, self.told()
            with suppress(BotoCoreError):  # it is away, or went away while it was asked
                self._ask()
            time.sleep(0.05)

    def _ask(self) -> None:
        for name, given in self.inputs.items():
            if name not in self.arns:
                function = "busy:sdk" if "seconds" in given else "busy"
                reply = self.client.invoke(
                    FunctionName=function,
                    Payload=json.dumps(given),
                    InvocationType="Event",
                    DurableExecutionName=name,
                )
                self.arns[name] = reply["DurableExecutionArn"]
        if self.loaded_at is None:
            if self._is_loaded():
                self.loaded_at = time.monotonic()
            return
        since = time.monotonic() - self.loaded_at
        for file in (self.folder / "asked").iterdir():
            name = file.name
            if not name.startswith(".") and name not in self.answered and self.answers_at[name] < since:
                self._answer(name, file.read_text())
        for name, arn in self.arns.items():
            if name not in self.ended:
                found = self.client.get_durable_execution(DurableExecutionArn=arn)
                if found["Status"] != "RUNNING":
                    self.ended[name] = found

    def _answer(self, name: str, callback_id: str) -> None:
        try:
            self.client.send_durable_execution_callback_success(
                CallbackId=callback_id, Result=json.dumps(f"yes, {name}").encode()
            )
        except ClientError as error:
            # What was recorded and not answered because the server died is asked for a second time.
            if "already completed" not in error.response["Error"]["Message"]:
                raise
        self.answered.add(name)

    def _is_loaded(self) -> bool:
        return len(list((self.folder / "asked").glob("n*"))) == ASKING and self.facts()["timers"] == EXECUTIONS * TIMERS

    def _kill_when_due(self) -> None:
        if self.kills and self.loaded_at is not None and time.monotonic() - self.loaded_at >= self.kills[0]:
            self.kills.pop(0)
            self.server.send_signal(signal.SIGKILL)
            self.server.wait()
            self.at_kills.append((self.life, self.facts()))
            self._serve()

    def facts(self) -> dict[str, Any]:
        """Look into the store as it is, without touching it."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        # The file first: what the log has been copied into since is in the log's copy as well, or later than both.
        for suffix in ("", "-wal"):
            file = self.store.with_name(self.store.name + suffix)
            if file.exists():
                shutil.copy(file, copy / file.name)
        store = sqlite3.connect(copy / self.store.name)
        try:
            rows = store.execute(
                "SELECT name, function, body FROM operations JOIN executions ON executions.key = operations.execution"
            ).fetchall()
            running = store.execute("SELECT count(*) FROM executions WHERE status = 'RUNNING'").fetchone()[0]
        finally:
            store.close()
        operations = [(name, function, json.loads(body)) for name, function, body in rows]
        started = [each for _, _, each in operations if each["Status"] == "STARTED"]
        done = [
            (name, each) for name, function, each in operations if function == "busy" and each["Status"] == "SUCCEEDED"
        ]
        return {
            "running": running,
            "timers": sum(each["Type"] == "WAIT" for each in started),
            "callbacks": sum(each["Type"] == "CALLBACK" for each in started),
            "done": {f"{name}/{each['Name'].rsplit('/')[-1]}" for name, each in done if each["Type"] == "STEP"},
        }

    def told(self) -> str:
        """Say how far it is, and what the servers said."""
        logs = [file.read_text()[-3000:] for file in sorted(self.folder.glob("server-*.log"))]
        return f"{len(self.arns)} started, {len(self.ended)} ended\n" + "\n----\n".join(logs)

    def events(self, arn: str) -> list[Any]:
        pages = self.client.get_paginator("get_durable_execution_history").paginate(DurableExecutionArn=arn)
        return [event for page in pages for event in page["Events"]]

    def close(self) -> None:
        self.client.close()
        self.server.kill()
        self.server.wait()


def expected(name: str, number: int) -> dict[str, Any]:
    """What an execution gives, whatever happened on its way."""
    return {
        "first": f"{name}/first".upper(),
        "second": f"{name}/second".upper(),
        "called": number + 1,
        "answer": f"yes, {name}" if number < ASKING else None,
    }


def effects_expected() -> set[str]:
    names = [f"n{number:02}" for number in range(EXECUTIONS)]
    of_workflows = names[: EXECUTIONS - OF_SDK]
    return (
        {f"{name}/{what}" for name in names for what in ("first", "second", "called")}
        | {f"{name}/told" for name in names[:ASKING]}
        | {f"{name}/child" for name in of_workflows[::4]}
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("seed", "kills"),
    [
        (0, []),
        (1, [0.0, 2.0]),
        *[(seed, [0.0, *sorted(random.Random(seed).uniform(1, 16) for _ in range(3))]) for seed in (2, 3, 4)],
    ],
)
def test_a_server_killed_under_load_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, seed: int, kills: list[float]
) -> None:
    load = Load(folder=tmp_path, seed=seed, kills=list(kills))
    try:
        load.run()
        check(load, len(kills))
    finally:
        load.close()


def check(load: Load, kills: int) -> None:
    assert len(load.at_kills) == kills
    if kills:
        first = load.at_kills[0][1]
        assert (first["running"], first["timers"], first["callbacks"]) == (EXECUTIONS, EXECUTIONS * TIMERS, ASKING)

    for number, (name, found) in enumerate(sorted(load.ended.items())):
        assert found["Status"] == "SUCCEEDED", (name, found)
        assert json.loads(found["Result"]) == expected(name, number)
    listed = [
        each
        for function in ("busy", "leaf")
        for page in load.client.get_paginator("list_durable_executions_by_function").paginate(FunctionName=function)
        for each in page["DurableExecutions"]
    ]
    children = [each for each in listed if ":leaf:" in each["DurableExecutionArn"]]
    assert len(children) == (EXECUTIONS - OF_SDK) / 4
    assert sorted(each["DurableExecutionName"] for each in listed if each not in children) == sorted(load.inputs)
    assert {each["Status"] for each in listed} == {"SUCCEEDED"}

    of_sdk = sorted(load.inputs)[-OF_SDK:]
    for each in listed:
        check_history(load.events(each["DurableExecutionArn"]), is_sdk=each["DurableExecutionName"] in of_sdk)
    check_effects(load, kills)


def check_history(events: list[Any], *, is_sdk: bool) -> None:
    """Whatever began, began once and ended once; timers kept their time."""
    # The SDK goes to sleep although an answer to a checkpoint has just told it of a timer that is over, when both meet; the
    # service bears that and calls it again (protocol.md 1.5).
    borne = {None, "Runtime.ExitError"} | ({"InvalidParameterValueException"} if is_sdk else set())
    assert [event["EventId"] for event in events] == list(range(1, len(events) + 1))
    moves: dict[str, list[str]] = {}
    due: dict[str, Any] = {}
    for event in events:
        kind = event["EventType"]
        if kind == "InvocationCompleted":
            error = event["InvocationCompletedDetails"].get("Error", {}).get("Payload", {})
            assert error.get("ErrorType") in borne, event
        elif not kind.startswith("Execution"):
            moves.setdefault(event["Id"], []).append(kind)
        if kind == "WaitStarted":
            due[event["Id"]] = event["WaitStartedDetails"]["ScheduledEndTimestamp"]
        if kind == "WaitSucceeded":
            assert event["EventTimestamp"] >= due[event["Id"]]
    for kinds in moves.values():
        kind = kinds[0].removesuffix("Started")
        assert kinds == [f"{kind}Started", f"{kind}Succeeded"]


def check_effects(load: Load, kills: int) -> None:
    """No handler ran again once its end was recorded, and only those that ran at a kill did at all."""
    lines = [line.split(" ", 1) for line in (load.folder / "effects").read_text().splitlines()]
    counts = Counter(key for _, key in lines)
    assert set(counts) == effects_expected()
    assert sum(counts.values()) - len(counts) <= kills * WORKERS
    for life, facts in load.at_kills:
        again = {key for in_life, key in lines if int(in_life) > life} & facts["done"]
        assert not again
