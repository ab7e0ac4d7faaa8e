"""What handlers write is kept, whole and in order, with the execution and the invocation that it came from."""

from __future__ import annotations

import base64
import json
import textwrap
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from scripted import PENDING, START, SUCCEEDED, World, wait

from durableflow.errors import ServiceError
from durableflow.local.engine import Engine
from durableflow.local.lines import KEPT_MAX_BYTES, TAIL_BYTES, Line, Lines, tail
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def line(text: str, job: str = "j") -> Line:
    return Line(job=job, at=5, label="pay", text=text)


# Collecting.


def test_the_first_line_that_waits_is_told_from_the_others() -> None:
    lines = Lines()
    lines.begin("j")
    assert [lines.add(line("a")), lines.add(line("b"))] == [True, False]
    assert [each.text for each in lines.take()] == ["a", "b"]
    assert lines.take() == []
    assert lines.add(line("c"))


def test_lines_of_what_does_not_run_are_not_kept() -> None:
    lines = Lines()
    assert not lines.add(line("early"))
    lines.begin("j")
    lines.end("j", 9)
    assert not lines.add(line("late"))
    assert lines.take() == []


def test_one_invocation_keeps_no_more_than_its_share_and_says_so() -> None:
    lines = Lines()
    lines.begin("j")
    lines.begin("other")
    size = KEPT_MAX_BYTES // 4
    for number in range(6):
        lines.add(line(str(number) * size))
    lines.add(line("short, but nothing in the middle may be missing"))
    lines.add(line("of another", "other"))
    last = lines.end("j", 9)
    kept = lines.take()
    assert [(each.job, each.text[:10]) for each in kept[:4]] == [
        ("j", "0000000000"),
        ("j", "1111111111"),
        ("j", "2222222222"),
        ("other", "of another"),
    ]
    assert kept[4:] == [Line(job="j", at=9, label="durableflow", text="4 more lines of this invocation were not kept")]
    assert last.endswith("5\nshort, but nothing in the middle may be missing\n")


@pytest.mark.parametrize("count", [0, 1, 3, 5000])
def test_the_tail_is_the_end_of_all_that_was_written(count: int) -> None:
    lines = Lines()
    lines.begin("j")
    texts = [f"line {number} — " + "x" * (number % 7) for number in range(count)]
    for text in texts:
        lines.add(line(text))
    whole = "".join(f"{text}\n" for text in texts).encode()
    assert lines.end("j", 9).encode() == whole[-TAIL_BYTES:].decode("utf-8", "ignore").encode()


def test_the_tail_cuts_no_character() -> None:
    cut = tail(["é" * TAIL_BYTES])
    assert set(cut) == {"é", "\n"}
    assert len(cut.encode()) <= TAIL_BYTES


# The service.


def test_lines_are_kept_with_their_invocation_and_time() -> None:
    world = World()
    run = world.begin()
    first = run.job.id
    assert world.service.wrote(first, label="pay", text="one")
    assert world.service.logs(DurableExecutionArn=run.arn) == []
    world.service.keep_lines()
    world.clock.moment += 1500
    world.service.wrote(first, label="ship", text="two")
    world.service.invocation_ended(first, error={"ErrorType": "Runtime.ExitError"})
    second = world.job().id
    world.service.wrote(second, label="pay", text="three")
    world.service.invocation_ended(second, output=SUCCEEDED)
    world.service.wrote(second, label="pay", text="too late")
    world.service.keep_lines()
    found = world.service.logs(DurableExecutionArn=run.arn)
    seconds = START / 1000
    assert [tuple(each.values())[1:] for each in found] == [
        (seconds, first, "pay", "one"),
        (seconds + 1.5, first, "ship", "two"),
        (seconds + 1.5, second, "pay", "three"),
    ]
    assert world.service.logs(DurableExecutionArn=run.arn, After=found[1]["Id"]) == found[2:]


def test_lines_of_executions_do_not_mix() -> None:
    world = World()
    runs = [world.begin(), world.begin()]
    for number, run in enumerate(runs * 2):
        world.service.wrote(run.job.id, label="pay", text=str(number))
    world.service.invocation_ended(runs[0].job.id, output=SUCCEEDED)
    told = [[each["Message"] for each in world.service.logs(DurableExecutionArn=run.arn)] for run in runs]
    assert told == [["0", "2"], ["1", "3"]]


def test_there_are_no_lines_of_an_execution_that_does_not_exist() -> None:
    with pytest.raises(ServiceError) as caught:
        World().service.logs(DurableExecutionArn="arn:nowhere")
    assert caught.value.name == "ResourceNotFoundException"


def test_many_lines_come_in_pages() -> None:
    world = World()
    run = world.begin()
    for number in range(2500):
        world.service.wrote(run.job.id, label="pay", text=str(number))
    world.service.keep_lines()
    after, seen = 0, []
    while page := world.service.logs(DurableExecutionArn=run.arn, After=after):
        assert len(page) <= 1000
        seen += [each["Message"] for each in page]
        after = page[-1]["Id"]
    assert seen == [str(number) for number in range(2500)]


def test_a_line_may_hold_anything() -> None:
    world = World()
    run = world.begin()
    text = "\x00 \x1b[31m 'quoted' \U0001f600 \\ud800"
    world.service.wrote(run.job.id, label="pay", text=text)
    world.service.keep_lines()
    assert [each["Message"] for each in world.service.logs(DurableExecutionArn=run.arn)] == [text]


# From processes, over the engine.

PROJECT = """
    durableflow: "1"
    functions:
      told: {python: "functions:told"}
      failing: {python: "functions:failing"}
      program: {command: [sh, -c, "echo to standard error >&2; echo '1'"]}
"""
FUNCTIONS = """
    import os, sys, threading

    def told(event, context):
        print("first")
        os.write(1, b"raw\\x1e\\n")
        print("x" * 100_000, file=sys.stderr)
        print('{"message": "a JSON line"}')
        thread = threading.Thread(target=lambda: print("of a thread", end=""))
        thread.start()
        thread.join()
        os.write(2, b"raw without an end")
        return context.aws_request_id

    def failing(event, context):
        print("about to fail")
        os._exit(1)
"""
HANDLERS = """
    import pathlib, time

    def step(payload, context):
        print("of the step", context.attempt)
        if context.attempt == 1:
            raise ValueError("again")

    def slow(payload):
        print("begun")
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "workflows").mkdir()
    (tmp_path / "durableflow.yaml").write_text(textwrap.dedent(PROJECT))
    (tmp_path / "functions.py").write_text(textwrap.dedent(FUNCTIONS))
    (tmp_path / "handlers" / "handlers_of_lines.py").write_text(textwrap.dedent(HANDLERS))
    return tmp_path


def engine(folder: Path, states: str = "- {name: s, type: pass}") -> Engine:
    text = f'durableflow: "1"\nname: flow\nstates:\n{textwrap.indent(textwrap.dedent(states), "  ")}'
    (folder / "workflows" / "flow.yaml").write_text(text)
    project = load_project(folder / "durableflow.yaml")
    made = Engine(store=folder / "e.db", project=project, skip_time=True, log=lambda _label, _line: None)
    made.register(compile_file(folder / "workflows" / "flow.yaml", folder, project), folder / "workflows")
    return made


def told(lines: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(each["Name"], each["Message"]) for each in lines]


def test_what_functions_programs_and_steps_write_is_in_the_log_of_the_execution(folder: Path) -> None:
    states = """
        - {name: call, type: invoke, function: told}
        - {name: legacy, type: invoke, function: program}
        - {name: work, type: step, handler: "handlers_of_lines:step", retry: [{max_attempts: 2}]}
    """
    with engine(folder, states) as running:
        arn = running.start("flow", "{}", "one")
        running.wait(arn, 60)
        found = running.logs(arn)
        assert told(found)[:7] == [
            ("call", "first"),
            ("call", "raw\x1e"),
            ("call", "x" * 100_000),
            ("call", '{"message": "a JSON line"}'),
            ("call", "raw without an end"),
            ("call", "of a thread"),
            ("legacy", "to standard error"),
        ]
        steps = [each for each in found if each["Message"].startswith("of the step")]
        assert told(steps) == [("work", "of the step 1"), ("work", "of the step 2")]
        assert steps[0]["RequestId"] != steps[1]["RequestId"]
    with engine(folder) as later:
        assert later.logs(arn) == found


def test_a_line_can_be_read_while_its_handler_runs(folder: Path) -> None:
    with engine(folder, '- {name: work, type: step, handler: "handlers_of_lines:slow"}') as running:
        arn = running.start("flow", "{}", "one")
        deadline = time.monotonic() + 30
        while not (found := running.logs(arn)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert told(found) == [("work", "begun")]
        assert running.describe(arn)["Status"] == "RUNNING"
        (folder / "go").write_text("")
        assert running.wait(arn, 30)["Status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("function", "error", "last"),
    [("told", None, "raw without an end\nof a thread\n"), ("failing", "Unhandled", "about to fail\n")],
)
def test_invoke_returns_the_last_lines_of_a_function_that_is_asked_to(
    folder: Path, function: str, error: str | None, last: str
) -> None:
    with engine(folder) as running:
        reply = running._ask("invoke", FunctionName=function, Payload="{}", LogType="Tail")
        assert reply.get("FunctionError") == error
        log = base64.b64decode(reply["LogResult"]).decode()
        assert log.endswith(last)
        assert len(log) <= TAIL_BYTES
        assert "LogResult" not in running._ask("invoke", FunctionName=function, Payload="{}")


def test_boto3_gets_the_last_lines(folder: Path) -> None:
    with engine(folder) as running:
        client = boto3.client(
            "lambda",
            endpoint_url=running.serve().url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        try:
            reply = client.invoke(FunctionName="failing", Payload="{}", LogType="Tail")
        finally:
            client.close()
    assert base64.b64decode(reply["LogResult"]) == b"about to fail\n"
    assert (reply["FunctionError"], json.loads(reply["Payload"].read())["errorType"]) == (
        "Unhandled",
        "Runtime.ExitError",
    )


def test_invoke_returns_the_last_lines_of_an_execution(folder: Path) -> None:
    with engine(
        folder, "- {name: call, type: invoke, function: failing, catch: [{next: s}]}\n- {name: s, type: pass}"
    ) as running:
        reply = running._ask("invoke", FunctionName="flow", Payload="{}", LogType="Tail")
    assert base64.b64decode(reply["LogResult"]) == b"about to fail\n"
    assert json.loads(reply["Payload"]) is None or reply["StatusCode"] == 200


def test_lines_of_an_invocation_that_is_suspended_are_kept() -> None:
    world = World()
    run = world.begin()
    run.checkpoint(wait(5))
    world.service.wrote(run.job.id, label="pay", text="sleeping")
    world.service.invocation_ended(run.job.id, output=PENDING)
    assert [each["Message"] for each in world.service.logs(DurableExecutionArn=run.arn)] == ["sleeping"]
