"""Durable functions written with AWS's own SDK run here, call workflows and are called by them."""

from __future__ import annotations

import json
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, shell

from durableflow.local.engine import Engine
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["shell"]

pytest.importorskip("aws_durable_execution_sdk_python")

DEADLINE = 60.0

PROJECT = """
    durableflow: "1"
    env: {TABLE: orders}
    functions:
      "risk:1": {durable: "functions.risk:score"}
      "ask:live": {durable: "functions.risk:ask"}
      "flaky:1": {durable: "functions.risk:flaky"}
      "fails:1": {durable: "functions.risk:fails"}
      "dies:1": {durable: "functions.risk:dies"}
      "raises:1": {durable: "functions.risk:raises"}
      "many:1": {durable: "functions.risk:many"}
      "plain:1": {durable: "functions.risk:no_sdk"}
      "gone:1": {durable: "functions.risk:gone"}
      "large:1": {durable: "functions.risk:large"}
      add: {python: "functions.plain:add"}
"""
PLAIN = """
    def add(event, context):
        return event["a"] + event["b"]
"""
RISK = """
    import os, pathlib

    from aws_durable_execution_sdk_python import StepContext, durable_execution
    from aws_durable_execution_sdk_python.config import CallbackConfig, Duration, MapConfig, StepConfig
    from aws_durable_execution_sdk_python.retries import RetryStrategyConfig, create_retry_strategy


    def counted(name):
        with open(name, "a") as calls:
            calls.write("x")
        return len(pathlib.Path(name).read_text())


    def again(attempts):
        return StepConfig(retry_strategy=create_retry_strategy(RetryStrategyConfig(max_attempts=attempts)))


    @durable_execution
    def score(event, context):
        doubled = context.step(lambda _: event["n"] * 2, name="double")
        context.wait(Duration.from_hours(2), name="rest")
        shipped = context.invoke("shipping", {"id": doubled}, name="ship")
        added = context.invoke("add", {"a": doubled, "b": 1}, name="add")
        return {"doubled": doubled, "shipped": shipped, "added": added, "table": os.environ["TABLE"]}


    @durable_execution
    def ask(event, context):
        callback = context.create_callback("approval", CallbackConfig(timeout=Duration.from_days(3)))
        return {"answer": callback.result()}


    @durable_execution
    def flaky(event, context):
        def attempt(_):
            number = counted("flaky")
            if number < 3:
                raise ConnectionError(f"away, {number}")
            return number
        return context.step(attempt, name="attempt", config=again(5))


    @durable_execution
    def fails(event, context):
        raise KeyError("no such order")


    @durable_execution
    def dies(event, context):
        before = context.step(lambda _: counted("before"), name="before")
        if counted("deaths") == 1:
            os._exit(9)
        return [before, context.step(lambda _: "after", name="after")]


    def raises(event, context):
        if counted("raised") < 3:
            raise TimeoutError("not now")
        return {"Status": "SUCCEEDED", "Result": '"at last"'}


    @durable_execution
    def many(event, context):
        def one(inner, item, index, items):
            inner.wait(Duration.from_seconds(10 + index))
            return inner.step(lambda _: item * item)
        return context.map(event, one, name="squares", config=MapConfig(max_concurrency=4)).get_results()


    def no_sdk(event, context):
        return "not an answer"


    @durable_execution
    def large(event, context):
        return "x" * event
"""
SHIPPING = """
    durableflow: "1"
    name: shipping
    states:
      - {name: pack, type: wait, duration: 1h}
      - {name: done, type: pass, output: {tracking: "T-{{ input.id }}"}}
    output: "{{ states.done.result }}"
"""
ORDER = """
    durableflow: "1"
    name: order
    states:
      - {name: risk, type: invoke, function: "risk:1", payload: {n: "{{ input.n }}"}}
      - {name: add, type: invoke, function: add, payload: {a: "{{ states.risk.result.added }}", b: 100}}
    output: {risk: "{{ states.risk.result }}", sum: "{{ states.add.result }}"}
"""


def write(folder: Path) -> None:
    for name in ("workflows", "functions"):
        (folder / name).mkdir()
    files = {
        "durableflow.yaml": PROJECT,
        "functions/plain.py": PLAIN,
        "functions/risk.py": RISK,
        "workflows/shipping.yaml": SHIPPING,
        "workflows/order.yaml": ORDER,
    }
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sdk")
    write(made)
    return made


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Engine]:
    """One engine for all tests: each process of the SDK costs a second to start."""
    project = load_project(folder / "durableflow.yaml")
    with Engine(store=folder / "e.db", project=project, skip_time=True, log=lambda _label, _line: None) as engine:
        for name in ("order", "shipping"):
            engine.register(compile_file(project.workflows[name], folder, project), folder)
        yield engine


def ended(engine: Engine, function: str, payload: Any = None, *, name: str | None = None) -> Mapping[str, Any]:
    """Run an execution of a function to its end."""
    arn = engine.start(function, json.dumps(payload), name or function.replace(":", "_"))
    return engine.wait(arn, DEADLINE)


def result(found: Mapping[str, Any]) -> Any:
    assert found["Status"] == "SUCCEEDED", found.get("Error")
    return json.loads(found["Result"])


def history(engine: Engine, arn: str) -> list[Any]:
    return list(engine.follow(arn, DEADLINE))


@pytest.mark.covers("target.durable")
def test_a_function_of_the_sdk_is_called_by_a_workflow_and_calls_one_in_one_tree(
    running: Engine, folder: Path, shell: Shell
) -> None:
    found = ended(running, "order", {"n": 21})
    answered = {"doubled": 42, "shipped": {"tracking": "T-42"}, "added": 43, "table": "orders"}
    assert result(found) == {"risk": answered, "sum": 143}
    show = ["executions", "show", "order", "--store", str(folder / "e.db")]
    whole = json.loads(shell(*show, "--json").out)
    [risk] = whole["children"]
    [ship] = risk["children"]
    assert [(each["state"], each["function"], each["status"]) for each in (risk, ship)] == [
        ("risk", "risk:1", "SUCCEEDED"),
        ("ship", "shipping", "SUCCEEDED"),
    ]
    lines = shell(*show).out.splitlines()
    tree = lines[lines.index("  executions that it has started") + 1 :][:2]
    assert [line.split()[:3] for line in tree] == [["risk", "risk:1", "SUCCEEDED"], ["ship", "shipping", "SUCCEEDED"]]
    assert [len(line) - len(line.lstrip()) for line in tree] == [4, 6]


def test_a_client_starts_a_function_of_the_sdk_as_any_other(running: Engine) -> None:
    assert result(ended(running, "risk:1", {"n": 1}))["shipped"] == {"tracking": "T-2"}
    reply = running._ask("invoke", FunctionName="many", Qualifier="1", Payload="[1, 2, 3, 4, 5, 6]")
    assert json.loads(reply["Payload"]) == [1, 4, 9, 16, 25, 36]


def test_a_callback_of_the_sdk_is_answered_as_any_other(running: Engine) -> None:
    arn = running.start("ask:live", "null", "asks")
    deadline = time.monotonic() + DEADLINE
    while not (open_ := running.callbacks(arn)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.succeed(open_[0]["CallbackId"], '"yes"')
    # The SDK hands the text over as it is unless it is told to read it.
    assert json.loads(result(running.wait(arn, DEADLINE))["answer"]) == "yes"


def test_steps_of_the_sdk_are_tried_again_as_it_says(running: Engine) -> None:
    found = ended(running, "flaky:1")
    assert result(found) == 3
    kinds = [event["EventType"] for event in history(running, found["DurableExecutionArn"])]
    assert kinds.count("StepFailed") == 2
    assert kinds.count("InvocationCompleted") == 3


def test_what_a_function_raises_in_the_sdk_ends_its_execution(running: Engine) -> None:
    found = ended(running, "fails:1")
    assert found["Status"] == "FAILED"
    assert found["Error"]["ErrorType"] == "KeyError"
    assert "no such order" in found["Error"]["ErrorMessage"]
    assert running.meter(found["DurableExecutionArn"])["invocations"] == 1


def test_a_function_of_the_sdk_whose_process_ends_is_called_again_and_nothing_is_done_twice(
    running: Engine, folder: Path
) -> None:
    found = ended(running, "dies:1")
    assert result(found) == [1, "after"]
    assert (folder / "before").read_text() == "x"
    errors = [
        event["InvocationCompletedDetails"].get("Error", {}).get("Payload", {}).get("ErrorType")
        for event in history(running, found["DurableExecutionArn"])
        if event["EventType"] == "InvocationCompleted"
    ]
    assert errors == ["Runtime.ExitError", None]


def test_what_leaves_a_function_is_no_end_but_another_invocation(running: Engine, folder: Path) -> None:
    assert result(ended(running, "raises:1")) == "at last"
    assert (folder / "raised").read_text() == "xxx"


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("plain:1", "InvalidParameterValueException", None),
        ("gone:1", "Runtime.HandlerNotFound", "module 'functions.risk' has no function 'gone'"),
    ],
)
def test_a_function_that_is_none_of_the_sdk_fails_its_execution_at_once(
    running: Engine, function: str, error: str, message: str | None
) -> None:
    found = ended(running, function)
    assert found["Status"] == "FAILED"
    assert found["Error"]["ErrorType"] == error
    assert message in (None, found["Error"]["ErrorMessage"])
    assert running.meter(found["DurableExecutionArn"])["invocations"] == 1


def test_a_result_that_is_too_large_for_an_answer_is_recorded_first(running: Engine) -> None:
    found = ended(running, "large:1", 6_291_420)
    assert found["Status"] == "SUCCEEDED"
    assert len(found["Result"]) == 6_291_422


def test_lines_of_the_sdks_logger_are_kept_with_execution_and_operation(running: Engine) -> None:
    found = ended(running, "fails:1", name="logged")
    arn = found["DurableExecutionArn"]
    lines = running.logs(arn)
    [request] = {line["RequestId"] for line in lines}
    told = [json.loads(line["Message"]) for line in lines]
    failed = next(each for each in told if each["message"] == "Execution failed")
    assert (failed["level"], failed["requestId"], failed["errorType"]) == ("ERROR", request, "KeyError")
    assert 'raise KeyError("no such order")' in "".join(failed["stackTrace"])
