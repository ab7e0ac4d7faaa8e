"""Every ending of the example workflows: in memory with crashes, and on the command line."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from crashes import dying, endings, interruptions
from endings import ENDINGS, SILENCE, Ending, Refusal
from example_tools import WORKFLOWS
from example_worlds import ExampleWorld, example, expected_output, seen, without_repeats
from shell import Shell, shell

from durableflow.cli import stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[[str], ExampleWorld]

__all__ = ["shell"]

THOUSAND = "a thousand pictures"


def names(*long: str) -> list[Any]:
    """Return all endings as parameters, with those that take long among the slow tests."""
    slow = [pytest.mark.slow, pytest.mark.timeout(600)]
    return [pytest.param(name, marks=slow if name in long else []) for name in ENDINGS]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExampleWorld]]:
    """The worlds that `make` has made. What they have imported is forgotten after them."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    monkeypatch.setenv("SHOP_LATENCY", "0")
    yield []
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def make(worlds: list[ExampleWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the world of an ending, with a journal of its own."""

    def made(name: str) -> ExampleWorld:
        journal = tmp_path / f"journal-{len(worlds)}"
        monkeypatch.setenv("SHOP_JOURNAL", str(journal))
        worlds.append(example(name, journal))
        return worlds[-1]

    return made


@pytest.mark.parametrize("name", names(THOUSAND, "a job that does not end"))
def test_an_example_ends_so_wherever_its_invocations_die(name: str, make: Make, worlds: list[ExampleWorld]) -> None:
    expected = ENDINGS[name]
    first = make(name)
    first.run()

    ending = endings(lambda: make(name), spared=interruptions(first), page=100 if name == THOUSAND else 2)

    if expected.error is None:
        assert ending.result == expected_output(expected, "7f3a")
    else:
        expected.check_error(*ending.error)
    assert first.operations == expected.operations
    if expected.started is not None:
        assert ending.names == list(expected.started)
    if expected.seen is None:
        assert {frozenset(world.seen) for world in worlds} == {frozenset(first.seen)}
    else:
        assert first.seen == expected.seen
        assert {without_repeats(world.seen) for world in worlds} == {expected.seen}


@pytest.mark.parametrize("name", [name for name, ending in ENDINGS.items() if ending.workflow == "nightly_etl"])
def test_a_job_is_not_started_again_when_its_start_is_interrupted(
    name: str, make: Make, worlds: list[ExampleWorld]
) -> None:
    first = make(name)
    first.run()
    moments = interruptions(first)
    assert [after for _, after in moments] == [True, False], (
        "as soon as the start is recorded, and before its result is"
    )

    for moment in moments:
        output = dying(make(name), moment)
        assert output["Status"] == "FAILED"
        assert output["Error"]["ErrorType"] == "States.StepInterrupted"

    before, after = (world.seen for world in worlds[1:])
    assert (before, after) == ((), first.seen[:1]), "it was not tried, or tried once"


APPROVERS = """\
import json
import os
import subprocess
import sys

from answers import expenses


def publish(params):
    told = expenses.publish(params)
    approver = told["MessageId"].removeprefix("m-")
    callback = params["Message"].partition("callback id: ")[2].strip()
    answer = json.loads(os.environ["APPROVERS"]).get(approver)
    if answer is not None:
        command = [sys.executable, "-m", "durableflow", "callback", answer[0], callback, *answer[1:]]
        subprocess.run(command, check=True)
    return told
"""
"""Approvers who answer the moment they are asked, each from a process of their own; some never do."""


def mailed(approval: Any) -> list[str] | None:
    """Return the command and the options that tell an approval; None for silence."""
    if approval is SILENCE:
        return None
    if isinstance(approval, Refusal):
        return ["fail", "--message", approval.message]
    return ["succeed", "--result", json.dumps(approval)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of the examples in a folder of its own."""
    monkeypatch.setenv("SHOP_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("SHOP_LATENCY", "0")
    monkeypatch.setenv("PAYMENTS_TOKEN", "token-of-the-test")
    folder = tmp_path / "shop"
    shutil.copytree(WORKFLOWS, folder, ignore=shutil.ignore_patterns("__pycache__", ".durableflow"))
    (folder / ".git").mkdir()  # no project file above counts
    monkeypatch.chdir(folder)
    return folder


def check_run(shell: Shell, ending: Ending, shop: Path, *options: str) -> None:
    """Run an example with skipped time; it ends as the list says."""
    given = ["--input", json.dumps(ending.input), "--skip-time", "--json", *options]
    ran = shell("run", f"{ending.workflow}.yaml", *given)
    facts = json.loads(ran.out)

    assert facts["status"] == ending.status, ran.err
    assert facts["output"] == expected_output(ending, facts["executionArn"].rpartition("/")[2])
    error = facts["error"] or {"name": None, "message": None}
    ending.check_error(error["name"], error["message"])
    assert facts["operations"] == ending.operations
    assert facts["metered"] == (ending.metered or ending.operations + 1)
    with stores.reader(shop / ".durableflow" / "executions.db") as service:
        operations = service.operations(DurableExecutionArn=facts["executionArn"])[1:]
    assert len(operations) == ending.operations
    if ending.started is not None:
        assert [operation.get("Name") for operation in operations] == list(ending.started)
    if ending.seen is not None:
        assert seen(shop.parent / "journal") == ending.seen
    assert ran.code == (0 if ending.error is None else 1)


@pytest.mark.parametrize("name", names(THOUSAND))
def test_an_example_ends_so_on_the_command_line(name: str, shell: Shell, shop: Path, monkeypatch: Any) -> None:
    ending = ENDINGS[name]
    if any(approval is SILENCE or isinstance(approval, Refusal) for approval in ending.approvals):
        # `--callback` answers everybody, and nobody with a failure.
        project = (shop / "durableflow.yaml").read_text("utf-8")
        assert project.count("answers.expenses:publish") == 1
        (shop / "durableflow.yaml").write_text(
            project.replace("answers.expenses:publish", "approvers:publish"), "utf-8"
        )
        (shop / "approvers.py").write_text(APPROVERS, "utf-8")
        answers = {who: mailed(what) for who, what in zip(ending.input["approvers"], ending.approvals, strict=False)}
        monkeypatch.setenv("APPROVERS", json.dumps(answers))
        check_run(shell, ending, shop)
    else:
        given = [word for approval in ending.approvals for word in ("--callback", f"ask={json.dumps(approval)}")]
        check_run(shell, ending, shop, *given)
