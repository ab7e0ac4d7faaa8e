"""`executions show` shows what an execution has started, and they others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, shell

from durableflow.cli import main, tree
from durableflow.errors import Diagnostic, ServiceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

FILES = {
    "durableflow.yaml": 'durableflow: "1"\nfunctions: {"pack:live": {workflow: leaf}, rate: {result: 1}}\n',
    "workflows/root.yaml": """\
durableflow: "1"
name: root
states:
  - name: each
    type: map
    items: "[1, 2]"
    states: [{name: one, type: workflow, workflow: middle, payload: "{{ item }}"}]
  - {name: rate, type: invoke, function: rate}
  - {name: fails, type: workflow, workflow: broken, catch: [{next: last}]}
  - {name: last, type: pass}
""",
    "workflows/middle.yaml": """\
durableflow: "1"
name: middle
states: [{name: last, type: invoke, function: "pack:live"}]
""",
    "workflows/leaf.yaml": 'durableflow: "1"\nname: leaf\nstates: [{name: rest, type: wait, duration: 90s}]\n',
    "workflows/broken.yaml": """\
durableflow: "1"
name: broken
states: [{name: refused, type: fail, error: Declined, cause: no funds}]
""",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an execution has run that started five others."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "workflows").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "workflows" / "root.yaml"), "--name", "whole", "--skip-time"])
    assert ended.value.code == 0
    return folder


def test_the_tree_is_shown_with_states_functions_and_ends(shell: Shell, ran: Path) -> None:
    done = shell("executions", "show", "whole", "--project", ran)
    assert done.code == 0
    lines = done.out.splitlines()
    start = lines.index("  executions that it has started")
    shown = [line.split() for line in lines[start + 1 : start + 6]]
    indents = [len(line) - len(line.lstrip()) for line in lines[start + 1 : start + 6]]
    assert indents == [4, 6, 4, 6, 4]
    assert [line[:3] for line in shown] == [
        ["each[0]/one", "middle", "SUCCEEDED"],
        ["last", "pack:live", "SUCCEEDED"],
        ["each[1]/one", "middle", "SUCCEEDED"],
        ["last", "pack:live", "SUCCEEDED"],
        ["fails", "broken", "FAILED"],
    ]
    assert shown[1][4:6] == ["after", "1m"]
    assert lines[start + 5].endswith("Declined: no funds")


def test_the_tree_is_nested_in_json(shell: Shell, ran: Path) -> None:
    whole = json.loads(shell("executions", "show", "whole", "--project", ran, "--json").out)
    assert [(each["state"], each["workflow"], each["status"]) for each in whole["children"]] == [
        ("each[0]/one", "middle", "SUCCEEDED"),
        ("each[1]/one", "middle", "SUCCEEDED"),
        ("fails", "broken", "FAILED"),
    ]
    assert whole["children"][2]["error"]["ErrorType"] == "Declined"
    leaf = whole["children"][0]["children"][0]
    assert (leaf["function"], leaf["workflow"], leaf["children"]) == ("pack:live", "pack", [])
    found = json.loads(shell("executions", "show", leaf["executionArn"], "--project", ran, "--json").out)
    assert (found["started"], found["ended"], found["children"]) == (leaf["started"], leaf["ended"], [])


def test_an_execution_that_started_nothing_has_no_tree(shell: Shell, ran: Path) -> None:
    whole = json.loads(shell("executions", "show", "whole", "--project", ran, "--json").out)
    done = shell("executions", "show", whole["children"][2]["name"], "--project", ran)
    assert "that it has started" not in done.out


# What only happens elsewhere, or to large trees.


def started(arn: str, name: str | None = "call") -> Any:
    return {"Name": name, "ChainedInvokeStartedDetails": {"FunctionName": "f:1", "DurableExecutionArn": arn}}


def refused(name: str) -> ServiceError:
    return ServiceError(Diagnostic(code="DF721", message="no"), name=name, status=404, is_retryable=False)


def test_a_child_that_is_no_longer_there_is_said_so() -> None:
    def describe(_arn: str) -> Any:
        raise refused("ResourceNotFoundException")

    children = tree.children_of([started("a", None)], describe=describe, history=lambda _: [])
    assert list(tree.lines(children)) == ["-  f:1  no longer there"]
    [facts] = tree.to_json(children)
    assert (facts["state"], facts["status"], facts["executionArn"]) == (None, None, "a")


def test_a_place_that_cannot_answer_is_no_missing_child() -> None:
    def describe(_arn: str) -> Any:
        raise refused("TooManyRequestsException")

    with pytest.raises(ServiceError):
        tree.children_of([started("a")], describe=describe, history=lambda _: [])


def test_of_many_children_people_see_the_first() -> None:
    found = {
        "Status": "RUNNING",
        "DurableExecutionName": "n\x1b[31m",
        "FunctionArn": "a:b:c:d:e:f:g",
        "StartTimestamp": 1,
    }
    events = [started(str(number)) for number in range(tree.SIBLINGS_MAX + 7)]
    children = tree.children_of(events, describe=lambda _: found, history=lambda _: [])
    lines = list(tree.lines(children))
    assert len(lines) == tree.SIBLINGS_MAX + 1
    assert lines[-1] == "… and 7 more"
    assert "\x1b" not in "".join(lines)
    assert len(tree.to_json(children)) == tree.SIBLINGS_MAX + 7
