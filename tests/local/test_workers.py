from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

import durableflow
from durableflow.errors import Diagnostic, ServiceError
from durableflow.expressions import Program
from durableflow.local.workers import Command, Durable, End, Environment, Fixed, Pool, Python, Sdk
from durableflow.plan import Plan, States, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from durableflow.values import Json

DEADLINE = 20.0
ARN = "arn:aws:lambda:us-east-1:123456789012:function:order:$LATEST/durable-execution/one/two"


class Ends:
    """What the pool reports, and what it is asked on the way."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[tuple[str, End]] = SimpleQueue()
        self.lines: list[tuple[str, str]] = []
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.answer: Any = lambda _method, _members: {"CheckpointToken": "bmV4dA==", "NewExecutionState": {}}

    def ask(self, method: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((method, members))
        answer: Mapping[str, Any] = self.answer(method, members)
        return answer

    def next(self) -> tuple[str, End]:
        return self.queue.get(timeout=DEADLINE)

    def error(self) -> tuple[str | None, str | None]:
        error = self.next()[1].error
        assert error is not None
        return error.get("ErrorType"), error.get("ErrorMessage")


@contextmanager
def pool(ends: Ends, **settings: Any) -> Iterator[Pool]:
    made = Pool(
        asked=ends.ask,
        ended=lambda task, end: ends.queue.put((task, end)),
        log=lambda label, line: ends.lines.append((label, line)),
        **settings,
    )
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ends() -> Ends:
    return Ends()


FUNCTIONS = """
    import os, pathlib, signal, subprocess, sys, time
    from durableflow.errors import Fault

    def echo(event, context):
        return {"event": event, "pid": os.getpid()}

    def about(event, context):
        return [context.aws_request_id, context.function_name, context.function_version, context.tenant_id,
                context.invoked_function_arn, 0 < context.get_remaining_time_in_millis() <= 900_000]

    def here(event, context):
        return [os.getcwd(), os.environ.get("TABLE")]

    def leave(event, context):
        os._exit(event)

    def kill(event, context):
        os.kill(os.getpid(), signal.SIGKILL)

    def exit(event, context):
        sys.exit(3)

    def declined(event, context):
        raise Fault("CardDeclined", "no funds", {"code": 51})

    def broken(event, context):
        return {}["sku"]

    def unprintable(event, context):
        return object()

    def large(event, context):
        return "x" * 7_000_000

    def sleep(event, context):
        pathlib.Path("started").write_text(str(os.getpid()))
        time.sleep(60)

    def child(event, context):
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path("child").write_text(str(child.pid))
        os._exit(1)

    def speak(event, context):
        print("one", end="\\n\\u2028two")
        print("three", file=sys.stderr)
        os.write(1, b"raw\\n")
        print("\\x1b[31mred")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(textwrap.dedent(FUNCTIONS))
    return tmp_path


def python(
    folder: Path, name: str, payload: str = "null", *, task: str = "t1", tenant: str | None = None, **env: str
) -> Python:
    return Python(
        id=task,
        label=name,
        environment=Environment(roots=(folder,), folder=folder, env=tuple(env.items())),
        handler=f"functions:{name}",
        payload=payload,
        function_name="inventory",
        function_version="$LATEST",
        tenant_id=tenant,
    )


def command(folder: Path, *arguments: str, payload: str = "{}") -> Command:
    return Command(
        id="t1", label="legacy", arguments=arguments, environment=Environment(roots=(), folder=folder), payload=payload
    )


def eventually(condition: Any) -> None:
    """Wait for what another process does; it has no way to tell us."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


# Durable functions of an SDK: what it does for one is in test_durable.py.

SDK_FUNCTIONS = """
    import json, logging, os, time

    logger = logging.getLogger("shop")

    def durable(event, context):
        logger.info("called", extra={"executionArn": event["DurableExecutionArn"]})
        seen = [event, context.aws_request_id, context.invoked_function_arn, context.tenant_id,
                os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["AWS_LAMBDA_FUNCTION_VERSION"], os.environ["TABLE"]]
        return {"Status": "SUCCEEDED", "Result": json.dumps(seen)}

    def failing(event, context):
        raise ConnectionError("the table is away")

    def leaving(event, context):
        os._exit(4)

    def sleeping(event, context):
        time.sleep(60)

    def deep(event, context):
        made = []
        for _ in range(600):
            made = [made]
        return made

    def odd(event, context):
        return {1, 2}
"""


def sdk(folder: Path, name: str, module: str = "durable_functions") -> Sdk:
    (folder / "durable_functions.py").write_text(textwrap.dedent(SDK_FUNCTIONS))
    return Sdk(
        id="r-1",
        label="risk",
        environment=Environment(roots=(folder,), folder=folder, env=(("TABLE", "orders"),)),
        handler=f"{module}:{name}",
        event={"DurableExecutionArn": ARN, "CheckpointToken": "dG9r"},
        function_name="risk",
        function_version="7",
        tenant_id="blue",
    )


def test_a_durable_function_gets_its_event_and_the_context_of_lambda(folder: Path, ends: Ends) -> None:
    task = sdk(folder, "durable")
    with pool(ends) as workers:
        workers.start(task)
        output: Any = ends.next()[1].output
    assert output["Status"] == "SUCCEEDED"
    function = "arn:aws:lambda:us-east-1:123456789012:function:risk:7"
    assert json.loads(output["Result"]) == [task.event, "r-1", function, "blue", "risk", "7", "orders"]
    [(label, line)] = ends.lines
    assert label == "risk"
    told = json.loads(line)
    assert (told["message"], told["executionArn"], told["requestId"]) == ("called", ARN, "r-1")


@pytest.mark.parametrize(
    ("name", "error", "is_hopeless"),
    [
        ("failing", ("ConnectionError", "the table is away"), False),
        ("leaving", ("Runtime.ExitError", "Runtime exited with error: exit status 4"), False),
        ("sleeping", ("Sandbox.Timedout", "Task timed out after 3.00 seconds"), False),
        ("deep", ("Runtime.MarshalError", None), False),
        ("odd", ("Runtime.MarshalError", None), False),
        ("absent", ("Runtime.HandlerNotFound", None), True),
    ],
)
def test_what_goes_wrong_in_a_durable_function_is_the_error_of_the_invocation(
    folder: Path, ends: Ends, name: str, error: tuple[str, str | None], is_hopeless: bool
) -> None:
    with pool(ends, size=1, time_limit_seconds=3.0) as workers:
        workers.start(sdk(folder, name))
        end = ends.next()[1]
        assert end.error is not None
        kind, message = error
        assert end.error.get("ErrorType") == kind
        assert message is None or end.error.get("ErrorMessage") == message
        assert (end.output, end.is_hopeless) == (None, is_hopeless)
        workers.start(sdk(folder, "durable"))
        assert ends.next()[1].error is None


def test_a_durable_function_whose_module_is_not_there_is_hopeless(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(sdk(folder, "handler", "nowhere"))
        end = ends.next()[1]
    assert end.is_hopeless
    assert end.error is not None
    assert "there is no module 'nowhere'" in end.error["ErrorMessage"]


# Plain functions.


def test_a_function_gets_event_and_context(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "about", tenant="blue"))
        assert ends.next() == (
            "t1",
            End(
                text='["t1","inventory","$LATEST","blue",'
                '"arn:aws:lambda:us-east-1:123456789012:function:inventory",true]'
            ),
        )


def test_a_function_runs_in_the_environment_of_the_project(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "here", TABLE="orders"))
        assert ends.next()[1].text == f'["{folder}","orders"]'


def test_a_process_is_reused(folder: Path, ends: Ends) -> None:
    with pool(ends, size=4) as workers:
        pids: set[str | None] = set()
        for _ in range(3):
            workers.start(python(folder, "echo"))
            pids.add(ends.next()[1].text)
    assert len(pids) == 1


def test_folders_have_processes_of_their_own(folder: Path, ends: Ends) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "functions.py").write_text("def echo(event, context): return 'other'")
    with pool(ends, size=1) as workers:
        workers.start(python(folder, "echo", "5"))
        assert '"event":5' in (ends.next()[1].text or "")
        workers.start(python(other, "echo"))
        assert ends.next()[1].text == '"other"'


def test_no_more_tasks_run_at_once_than_there_are_lanes(folder: Path, ends: Ends) -> None:
    with pool(ends, size=2) as workers:
        for number in range(8):
            workers.start(python(folder, "echo", str(number), task=str(number)))
        ended = [ends.next() for _ in range(8)]
    assert {task for task, _ in ended} == {str(number) for number in range(8)}
    assert len({(end.text or "").partition("pid")[2] for _, end in ended}) <= 2


@pytest.mark.parametrize(
    ("name", "payload", "error", "message"),
    [
        ("leave", "3", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("leave", "0", "Runtime.ExitError", "Runtime exited with error: exit status 0"),
        ("kill", "null", "Runtime.ExitError", "Runtime exited with error: signal SIGKILL"),
        ("exit", "null", "SystemExit", "3"),
        ("broken", "null", "KeyError", "'sku'"),
        ("unprintable", "null", "Runtime.MarshalError", None),
        ("large", "null", "Function.ResponseSizeTooLarge", None),
        ("echo", "{", "Runtime.UnmarshalError", None),
        ("absent", "null", "Runtime.HandlerNotFound", "module 'functions' has no function 'absent'"),
    ],
)
def test_what_goes_wrong_in_a_function_is_its_error_and_the_next_one_runs(
    folder: Path, ends: Ends, name: str, payload: str, error: str, message: str | None
) -> None:
    with pool(ends, size=1) as workers:
        workers.start(python(folder, name, payload))
        assert ends.error() == (error, message) if message else ends.error()[0] == error
        workers.start(python(folder, "echo", "7"))
        assert '"event":7' in (ends.next()[1].text or "")


def test_an_error_has_the_data_of_a_fault_or_else_the_stack(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "declined"))
        error = ends.next()[1].error
        assert error == {"ErrorType": "CardDeclined", "ErrorMessage": "no funds", "ErrorData": '{"code":51}'}
        workers.start(python(folder, "broken"))
        error = ends.next()[1].error
        assert error is not None
        assert len(error["StackTrace"]) == 1
        assert 'return {}["sku"]' in error["StackTrace"][0]


def test_a_function_that_takes_too_long_is_ended(folder: Path, ends: Ends) -> None:
    with pool(ends, time_limit_seconds=1.0) as workers:
        workers.start(python(folder, "sleep"))
        assert ends.error() == ("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        assert is_gone(int((folder / "started").read_text()))


def test_what_a_crashed_function_has_started_ends_with_it(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "child"))
        assert ends.error()[0] == "Runtime.ExitError"
        eventually(lambda: is_gone(int((folder / "child").read_text())))


def test_a_process_that_cannot_start_is_said_so(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "echo", PYTHONHOME="/nowhere"))
        assert ends.error() == ("Runtime.ExitError", "the worker process does not start; its output above says why")
    assert ends.lines


def test_a_process_killed_while_idle_is_replaced(folder: Path, ends: Ends) -> None:
    with pool(ends, size=1) as workers:
        workers.start(python(folder, "echo"))
        pid = int((ends.next()[1].text or "").partition('"pid":')[2].rstrip("}"))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: is_gone(pid))
        workers.start(python(folder, "echo", "8"))
        assert '"event":8' in (ends.next()[1].text or "")


def test_output_is_logged_by_line_and_never_part_of_the_result(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "speak"))
        assert ends.next()[1].text == "null"
    assert ends.lines == [
        ("speak", "one"),
        ("speak", "\u2028twothree"),
        ("speak", "raw"),
        ("speak", "\x1b[31mred"),
    ]


def test_closing_reports_nothing_and_leaves_no_process(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "sleep"))
        eventually(lambda: (folder / "started").exists() and (folder / "started").read_text())
    assert is_gone(int((folder / "started").read_text()))
    assert ends.queue.empty()


def test_closing_waits_for_what_runs_as_long_as_it_is_told(folder: Path, ends: Ends) -> None:
    workers = Pool(asked=ends.ask, ended=lambda task, end: ends.queue.put((task, end)), size=1)
    workers.start(python(folder, "echo", "1", task="runs"))
    workers.start(python(folder, "echo", "2", task="waits"))
    workers.close(drain_seconds=DEADLINE)
    assert ends.next()[0] == "runs"
    assert ends.queue.empty(), "what had not started is not started"
    workers.start(python(folder, "echo"))
    assert ends.queue.empty()


def test_the_end_of_one_task_may_start_the_next(folder: Path, ends: Ends) -> None:
    workers: Pool

    def ended(task: str, end: End) -> None:
        ends.queue.put((task, end))
        if len(task) < 3:
            workers.start(python(folder, "echo", task=task + "t"))

    workers = Pool(asked=ends.ask, ended=ended)
    try:
        workers.start(python(folder, "echo", task="t"))
        pids = [end.text for _, end in (ends.next() for _ in range(3))]
    finally:
        workers.close()
    assert len(set(pids)) == 1, "the process that has become free takes what its end has started"


def test_a_report_that_fails_does_not_cost_a_lane(folder: Path, ends: Ends) -> None:
    def ended(task: str, end: End) -> None:
        ends.queue.put((task, end))
        raise OSError("disk full")

    workers = Pool(asked=ends.ask, ended=ended, size=1)
    try:
        for _ in range(2):
            workers.start(python(folder, "echo"))
            assert ends.next()[1].error is None
    finally:
        workers.close()


# Durable functions.


def durable(folder: Path, body: str, **settings: Any) -> Durable:
    (folder / "risk.py").write_text(textwrap.dedent(body))
    step = Step(name="score", handler="risk:score", payload=Program(["const", {"n": 1}]))
    return Durable(
        id="i1",
        label="order",
        environment=Environment(roots=(folder,), folder=folder),
        plan=Plan(name="order", states=States.of([step])),
        event={
            "DurableExecutionArn": ARN,
            "CheckpointToken": "Zmlyc3Q=",
            "InitialExecutionState": {
                "Operations": [
                    {
                        "Id": "two",
                        "Type": "EXECUTION",
                        "Status": "STARTED",
                        "StartTimestamp": 1_700_000_000_000,
                        "ExecutionDetails": {"InputPayload": "{}"},
                    }
                ]
            },
        },
        **settings,
    )


def recorded(ends: Ends) -> list[tuple[str, str, Json]]:
    """Return the updates that reached the service, in short."""
    assert {method for method, _ in ends.asked} == {"checkpoint_durable_execution"}
    return [
        (update["Type"], update["Action"], update.get("Payload") or (update.get("Error") or {}).get("ErrorType"))
        for _, members in ends.asked
        for update in members["Updates"]
    ]


def test_an_invocation_asks_the_service_and_returns_its_output(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(durable(folder, "def score(p): return p['n'] + 1"))
        assert ends.next() == ("i1", End(output={"Status": "SUCCEEDED", "Result": "2"}))
    assert recorded(ends)[-1] == ("STEP", "SUCCEED", "2")
    assert ends.asked[0][1]["CheckpointToken"] == "Zmlyc3Q="
    assert ends.asked[-1][1]["DurableExecutionArn"] == ARN


def test_a_plan_is_sent_once_for_each_process(folder: Path, ends: Ends) -> None:
    with pool(ends, size=1) as workers:
        for _ in range(2):
            workers.start(durable(folder, "def score(p): return 1"))
            assert ends.next()[1].output == {"Status": "SUCCEEDED", "Result": "1"}


def test_a_step_that_ends_its_process_ends_the_invocation_with_an_error(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(durable(folder, "import os\ndef score(p): os._exit(9)"))
        assert ends.error() == ("Runtime.ExitError", "Runtime exited with error: exit status 9")


def test_output_of_a_handler_has_the_name_of_its_state(folder: Path, ends: Ends) -> None:
    body = "def score(p, context):\n    print('thinking')\n    context.logger.info('still %s', 'at it')"
    with pool(ends) as workers:
        workers.start(durable(folder, body))
        ends.next()
    assert [label for label, _ in ends.lines] == ["score", "score"]
    line = json.loads(ends.lines[1][1])
    assert (ends.lines[0][1], line["message"], line["executionArn"]) == ("thinking", "still at it", ARN)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ServiceError(
                Diagnostic(code="DF511", message="Invalid checkpoint token"),
                name="InvalidParameterValueException",
                status=400,
                is_retryable=False,
            ),
            "ServiceError",
        ),
        (OSError("disk full"), "ServiceError"),
    ],
)
def test_a_refusal_that_may_pass_ends_the_invocation_with_an_error(
    folder: Path, ends: Ends, error: Exception, expected: str
) -> None:
    def refuse(_method: str, _members: Mapping[str, Any]) -> Mapping[str, Any]:
        raise error

    ends.answer = refuse
    with pool(ends) as workers:
        workers.start(durable(folder, "def score(p): return 1"))
        assert ends.error()[0] == expected


def test_a_refusal_for_good_fails_the_execution(folder: Path, ends: Ends) -> None:
    def refuse(_method: str, _members: Mapping[str, Any]) -> Mapping[str, Any]:
        problem = Diagnostic(code="DF511", message="too large")
        raise ServiceError(problem, name="InvalidParameterValueException", status=400, is_retryable=False)

    ends.answer = refuse
    with pool(ends) as workers:
        workers.start(durable(folder, "def score(p): return 1"))
        output: Any = ends.next()[1].output
        assert output["Status"] == "FAILED"
        assert output["Error"]["ErrorType"] == "InvalidParameterValueException"


# Programs and fixed answers.


def test_a_program_gets_the_event_and_its_output_is_the_result(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(command(folder, "sh", "-c", "echo asked >&2; cat; pwd > where", payload='{"a": "ü"}'))
        assert ends.next() == ("t1", End(text='{"a": "ü"}'))
    assert ends.lines == [("legacy", "asked")]
    assert (folder / "where").read_text().strip() == str(folder)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo one >&2; echo two >&2; exit 4", "one\ntwo"),
        ("exit 4", "ended with exit status 4"),
        ("kill -9 $$", "ended with signal SIGKILL"),
        ("printf '\\377'", "wrote what is not UTF-8 to standard output, at byte 0"),
        ("yes | head -c 7000000", "wrote more than 6291456 bytes to standard output"),
        ("head -c 9999 /dev/zero | tr '\\0' x >&2; exit 1", "x" * 2000),
    ],
)
def test_a_program_that_gives_no_result_is_an_error(folder: Path, ends: Ends, script: str, message: str) -> None:
    with pool(ends) as workers:
        workers.start(command(folder, "sh", "-c", script, payload="x" * 100_000))
        assert ends.error() == ("CommandFailed", message)


def test_a_program_that_is_not_there_is_an_error(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(command(folder, "no-such-program"))
        assert ends.error() == ("CommandFailed", "'no-such-program' cannot be started: No such file or directory")


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(folder: Path, ends: Ends) -> None:
    with pool(ends, time_limit_seconds=0.3) as workers:
        workers.start(command(folder, "sh", "-c", "sleep 60 & echo $! > child; wait"))
        assert ends.error()[0] == "Sandbox.Timedout"
    eventually(lambda: is_gone(int((folder / "child").read_text())))


def test_closing_ends_a_program(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(command(folder, "sh", "-c", "echo $$ > started; sleep 60"))
        eventually(lambda: (folder / "started").exists() and (folder / "started").read_text())
    assert is_gone(int((folder / "started").read_text()))
    assert ends.queue.empty()


def test_a_fixed_answer_needs_no_process(ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(Fixed(id="t1", label="fraud", end=End(text="5")))
        assert ends.next() == ("t1", End(text="5"))


# Life and death.


def test_workers_end_when_the_service_is_killed_even_while_a_handler_runs(folder: Path) -> None:
    program = f"""
        import pathlib, sys
        from durableflow.local.workers import *
        folder = pathlib.Path({str(folder)!r})
        pool = Pool(asked=None, ended=print)
        pool.start(Python(id="t", label="l", environment=Environment(roots=(folder,), folder=folder),
                          handler="functions:sleep", payload="null", function_name="f", function_version="1"))
        sys.stdin.read()
    """
    service = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(durableflow.__file__).parents[1])},
    )
    started = folder / "started"
    eventually(lambda: started.exists() and started.read_text())
    service.kill()
    service.communicate()
    eventually(lambda: is_gone(int(started.read_text())))


def test_an_interrupt_at_the_terminal_does_not_reach_workers(folder: Path, ends: Ends) -> None:
    with pool(ends) as workers:
        workers.start(python(folder, "echo"))
        pid = int((ends.next()[1].text or "").partition('"pid":')[2].rstrip("}"))
        assert os.getsid(pid) == pid != os.getsid(0)


def test_threads_end_with_the_pool(folder: Path, ends: Ends) -> None:
    before = threading.active_count()
    with pool(ends) as workers:
        workers.start(python(folder, "echo"))
        ends.next()
    eventually(lambda: threading.active_count() == before)


def test_a_worker_process_loads_nothing_of_the_front_end_or_the_store(folder: Path, ends: Ends) -> None:
    (folder / "functions.py").write_text("import sys\ndef loaded(event, context): return sorted(sys.modules)")
    with pool(ends) as workers:
        workers.start(python(folder, "loaded"))
        loaded = ends.next()[1].text or ""
    for name in ("yaml", "pydantic", "jinja2", "jsonschema", "boto3", "botocore", "click", "rich", "sqlite3"):
        assert f'"{name}"' not in loaded
