"""Long chains complete here, in worker processes and on a store on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from shell import Shell, shell

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["shell"]

STEP = {"type": "step", "handler": "count:one", "payload": "{{ vars.n }}", "assign": {"n": "{{ result }}"}}
INVOKE = {"type": "invoke", "function": "one", "payload": {"n": "{{ vars.n }}"}, "assign": {"n": "{{ result.n }}"}}
COUNT = """
def one(n):
    return n + 1

def target(event, context):
    return {"n": event["n"] + 1}
"""


@pytest.mark.parametrize(("length", "state"), [(1_000, STEP), (200, INVOKE)], ids=["1000-steps", "200-invokes"])
def test_a_long_chain_completes(length: int, state: dict[str, object], shell: Shell, tmp_path: Path) -> None:
    states = [{"name": f"s{number}", **state} for number in range(length)]
    workflow = {"durableflow": "1", "name": "chain", "vars": {"n": 0}, "states": states, "output": "{{ vars.n }}"}
    (tmp_path / "chain.json").write_text(json.dumps(workflow))
    (tmp_path / "count.py").write_text(COUNT)
    project = {
        "durableflow": "1",
        "workflows": ["."],
        "handlers": ["."],
        "functions": {"one": {"python": "count:target"}},
    }
    (tmp_path / "durableflow.yaml").write_text(json.dumps(project))

    ran = shell("run", tmp_path / "chain.json", "--json")

    ended = json.loads(ran.out)
    assert (ended["status"], ended["output"]) == ("SUCCEEDED", length), ran.err[-2000:]
    assert ended["operations"] == length
