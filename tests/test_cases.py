"""Golden cases: a workflow, what is recorded, and what is decided on it.

`tests/cases/<topic>/<name>/` holds `workflow.yaml`, `history.json` (a recording; its `turns` are what is fed
afterwards: operations that changed, calls that ended) and `updates.json`: the decision of each turn, and what the
interpreter came to on its way. `pytest --update-golden` writes `updates.json` anew, for review.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from durableflow import recording
from durableflow.compiler import compile_workflow
from durableflow.decision import Completion
from durableflow.errors import Fault
from durableflow.interpreter import Run
from durableflow.ledger import Ledger, Target
from durableflow.operations import operation_id
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.operations import Operation
    from durableflow.plan import Plan
    from durableflow.recording import Recording
    from durableflow.values import Object

CASES = Path(__file__).parent / "cases"
NAMES = sorted(str(file.parent.relative_to(CASES)) for file in CASES.glob("*/*/history.json"))


def read(name: str) -> tuple[Plan, Recording, list[dict[str, Any]]]:
    folder = CASES / name
    workflow = Source(name=f"tests/cases/{name}/workflow.yaml", text=(folder / "workflow.yaml").read_text("utf-8"))
    data = (folder / "history.json").read_bytes()
    loaded = recording.load_recording(data, f"{name}/history.json")
    return compile_workflow(workflow).plan, loaded, json.loads(data).get("turns", [])


def completion(told: dict[str, Any]) -> Completion:
    fault = Fault(**told["fault"]) if "fault" in told else None
    return Completion(operation_id=operation_id(told["state"]), result=told.get("result"), fault=fault)


def played(name: str) -> Object:
    plan, loaded, turns = read(name)
    visits: list[Any] = []
    run = Run(plan, check_schema=check_schema, visited=visits.append)
    decisions = [run.advance(loaded.operations)]
    decisions += [
        run.advance(t.get("operations", ()), [completion(c) for c in t.get("completions", ())]) for t in turns
    ]
    return {
        "decisions": [recording.decision_object(decision) for decision in decisions],
        "visits": [f"{v.path}: {v.span_status}{', tracked' if v.is_tracked else ''}" for v in visits],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_decision_is_the_golden_one(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(CASES / name / "updates.json", recording.to_text(played(name)))


@pytest.mark.parametrize("name", NAMES)
def test_replaying_the_history_says_the_same(name: str) -> None:
    plan, loaded, _ = read(name)
    report = recording.replay(plan, loaded, check_schema=check_schema)
    first = json.loads((CASES / name / "updates.json").read_text("utf-8"))["decisions"][0]
    assert report.decision == first
    assert (report.mismatch is not None) == ("NonDeterministic" in json.dumps(first["outcome"]))


@pytest.mark.parametrize("name", NAMES)
def test_the_service_accepts_what_is_decided(name: str) -> None:
    plan, loaded, _ = read(name)
    recorded: dict[str, Operation] = {operation["Id"]: operation for operation in loaded.operations}
    ledger = Ledger(
        now=60_000,
        lookup=recorded.get,
        new_callback_id=lambda key: key,
        resolve=lambda update: Target(name=cast("Any", update)["ChainedInvokeOptions"]["FunctionName"], version="1"),
    )
    updates = Run(plan, check_schema=check_schema).advance(loaded.operations).updates
    assert len(ledger.apply(updates).operations) == len(updates)


def test_every_row_of_the_invoke_tables_has_a_case() -> None:
    rows = " ".join(name.removeprefix("invoke/") for name in NAMES if name.startswith("invoke/4."))
    assert all(f"4.1-row-{row}-" in rows for row in range(1, 10))
    # Row 5 is row 9 of 4.1. Rows 14, 15, 17 and 19 show in every case: payloads and results are plain JSON, no timeout
    # is on the wire, "tracked" stands with the visits, a suspension names no time.
    for row in ("01", "02", "03", "04", "06", "07", "08", "09", "10", "11", "12", "13", "16", "18", "20"):
        assert f"-{row}-" in rows
