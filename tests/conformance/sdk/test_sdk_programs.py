"""Programs drawn at random, written with AWS's SDK: each ends with what it says, and leaves a history that makes sense.

What a program gives is said here, without a service: operations give their values, those that fail are caught.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.config import Config

from durableflow.local.engine import Engine
from durableflow.project import load_project

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAMS: Final = 60
AT_ONCE: Final = 8
FIXED: Final = {
    "failing_step": "failed",
    "failing_child": "failed",
    "invoke_broken": "failed",
    "invoke_nobody": "nobody",
    "late_callback": "late",
    "refused": "refused",
    "race": [["quick"]],
    "wait": None,
}
"""What operations give whatever their arguments."""
SIMPLE: Final = (
    *("step", "careful_step", "retried_step", "failing_step", "wait", "condition", "callback", "late_callback"),
    *("answered", "refused", "invoke_plain", "invoke_broken", "invoke_nobody", "race"),
)
DYING: Final = ("dying_step", "careful_dying_step")
SEQUENCES: Final = ("child", "large_child", "failing_child", "invoke")
FANS: Final = ("parallel", "map", "large_map")


class Drawing:
    """Draws programs."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)

    def program(self, depth: int = 2, *, may_die: bool = True, at_least: int = 1) -> list[Any]:
        """Draw operations. Where several run at once none may die: it would take those beside it with it."""
        count = self._random.randint(at_least, 4)
        return [self._operation(depth, may_die=may_die) for _ in range(count)]

    def _operation(self, depth: int, *, may_die: bool) -> list[Any]:
        pick = self._random
        if depth == 0 or pick.random() < 0.6:
            return self._simple(pick.choice(SIMPLE + (DYING if may_die else ())))
        kind = pick.choice(SEQUENCES + FANS)
        if kind in SEQUENCES:
            return [kind, self.program(depth - 1, may_die=may_die, at_least=0)]
        branches = [self.program(depth - 1, may_die=False, at_least=0) for _ in range(pick.randint(0, 4))]
        at_once = pick.choice([None, 1, 2])
        return [kind, at_once, branches] if kind == "large_map" else [kind, at_once, self._nesting(), branches]

    def _nesting(self) -> str:
        return self._random.choice(["NESTED", "FLAT"])

    def _simple(self, kind: str) -> list[Any]:
        match kind:
            case "wait":
                return [kind, self._random.choice([1, 2, 60, 86_400])]
            case "retried_step" | "condition":
                return [kind, self._random.randint(1, 4)]
            case _ if kind in FIXED:
                return [kind]
            case _:
                return [kind, {"né": next(self._numbers)}]


def meaning(operation: list[Any]) -> Any:
    """Return what an operation gives."""
    kind, *arguments = operation
    if kind in FIXED:
        return FIXED[kind]
    if kind in SEQUENCES:
        return [meaning(inner) for inner in arguments[0]]
    if kind in FANS:
        return [[meaning(inner) for inner in branch] for branch in arguments[-1]]
    return arguments[0]


def defects(events: list[dict[str, Any]]) -> Iterator[str]:
    """Find what cannot be in the history of an execution that has succeeded."""
    if [event["EventId"] for event in events] != list(range(1, len(events) + 1)):
        yield "event ids have gaps"
    kinds = [event["EventType"] for event in events]
    if (kinds[0], *kinds[-2:]) != ("ExecutionStarted", "InvocationCompleted", "ExecutionSucceeded"):
        yield f"begins with {kinds[0]}, ends with {kinds[-2:]}"
    started: Counter[str] = Counter()
    ended: set[str] = set()
    for event in events:
        kind = event["EventType"]
        details = event.get(f"{kind}Details")
        if details is None:
            yield f"{kind} has no details"
        elif (id_ := event.get("Id")) is not None and not kind.startswith("Execution"):
            if id_ in ended:
                yield f"{kind} of {id_}, which has ended"
            if kind.endswith("Started"):
                started[id_] += 1
            elif id_ not in started:
                yield f"{kind} of {id_}, which has not started"
            elif "NextAttemptDelaySeconds" not in details.get("RetryDetails", {}):
                ended.add(id_)


def silent(_label: str, _line: str) -> None:
    """Say nothing of the errors that are meant to be."""


@pytest.mark.parametrize("seed", [1, 2])
def test_programs_end_with_what_they_say(seed: int, tmp_path: Path) -> None:
    project = load_project(Path(__file__).with_name("durableflow.yaml"))
    environment = {"CONFORMANCE_FOLDER": str(tmp_path)}
    with Engine(store=tmp_path / "store.db", project=project, env=environment, skip_time=True, log=silent) as engine:
        client = boto3.client(
            "lambda",
            endpoint_url=engine.serve().url,
            region_name="us-east-1",
            aws_access_key_id="here",
            aws_secret_access_key="here",
            config=Config(read_timeout=300, retries={"total_max_attempts": 1}, max_pool_connections=AT_ONCE),
        )

        def wrong(number: int) -> Any:
            """Run a program; return it with what is wrong, or None."""
            program = Drawing(f"{seed} {number}").program()
            reply = client.invoke(FunctionName="program", Qualifier="$LATEST", Payload=json.dumps(program))
            result = json.loads(reply["Payload"].read())
            pages = client.get_paginator("get_durable_execution_history").paginate(
                DurableExecutionArn=reply["DurableExecutionArn"], PaginationConfig={"PageSize": 50}
            )
            found = list(defects([event for page in pages for event in page["Events"]]))
            if result == [meaning(operation) for operation in program] and not found:
                return None
            return program, result, found

        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert [found for found in pool.map(wrong, range(PROGRAMS)) if found] == []
