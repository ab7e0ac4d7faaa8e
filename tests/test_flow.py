"""The graph of one list of states. What it means for references: test_rules.py and properties/test_rules.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.flow import Layout, flow_of, jumps, waits
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.document import Path
    from durableflow.model import State, Workflow
    from durableflow.values import Json, Object

WAIT: Object = {"name": "w", "type": "wait", "duration": 1}
PASS: Object = {"name": "p", "type": "pass"}
FAIL: Object = {"name": "f", "type": "fail", "error": "X"}


def workflow_of(*states: Object, **fields: Json) -> Workflow:
    text = json.dumps({"durableflow": "1", "name": "w", **fields, "states": list(states)})
    return decode_workflow(read_document(Source(name="w.json", text=text)))


def states_of(*states: Object) -> tuple[State, ...]:
    return workflow_of(*states).states


def test_states_fall_through_jump_and_end() -> None:
    flow = flow_of(
        states_of({**PASS, "name": "a", "next": "c"}, {**PASS, "name": "b"}, {**PASS, "name": "c", "next": "end"})
    )
    assert [set(after) for after in flow.successors] == [{2}, {2}, {3}]
    assert (flow.reached, flow.can_end, flow.is_certain) == ({0, 2, 3}, True, True)


def test_a_skipped_state_does_not_take_its_next() -> None:
    flow = flow_of(states_of({**PASS, "name": "a", "when": "input.x", "next": "end"}, PASS))
    assert set(flow.successors[0]) == {1, 2}


def test_a_list_that_only_fails_has_no_end() -> None:
    assert not flow_of(states_of(FAIL)).can_end
    assert flow_of(states_of({**FAIL, "catch": [{}]})).can_end
    assert not flow_of(states_of({**FAIL, "catch": [{"states": [{**FAIL, "name": "g"}]}]})).can_end


def test_a_wrong_target_makes_the_flow_uncertain() -> None:
    flow = flow_of(states_of({**PASS, "next": "nowhere"}, WAIT))
    assert not flow.is_certain
    assert flow.reached == {0}


def test_the_earliest_position_is_the_one_a_jump_leads_back_to() -> None:
    states = [{**PASS, "name": name} for name in "abcd"]
    states[2] |= {"when": "input.x", "next": "b"}
    assert flow_of(states_of(*states)).earliest == (1, 1, 1, 4)


def test_jumps_are_given_with_their_places() -> None:
    choice: Object = {
        "name": "c",
        "type": "choice",
        "choices": [{"when": True, "next": "end"}, {"when": 1, "states": []}],
    }
    catching: Object = {**PASS, "catch": [{"next": "c"}, {}], "next": "end"}
    assert list(jumps(states_of(choice, catching))) == [
        (0, ("choices", 0, "next"), "end"),
        (1, ("next",), "end"),
        (1, ("catch", 0, "next"), "c"),
    ]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (WAIT, True),
        (PASS, False),
        ({"name": "l", "type": "loop", "max_iterations": 2, "delay": 1, "states": [PASS]}, True),
        ({"name": "l", "type": "loop", "max_iterations": 2, "states": [PASS]}, False),
        ({"name": "b", "type": "block", "states": [PASS, WAIT]}, True),
        ({"name": "m", "type": "map", "items": "input", "states": [PASS]}, False),
        ({"name": "x", "type": "parallel", "branches": {"a": [PASS], "b": [WAIT]}}, True),
        ({"name": "c", "type": "choice", "choices": [{"when": 1, "states": [PASS]}], "default": [WAIT]}, True),
        ({"name": "c", "type": "choice", "choices": [{"when": 1, "next": "end"}]}, False),
    ],
)
def test_what_takes_time_by_itself(state: Object, expected: bool) -> None:
    assert waits(states_of(state)[0]) is expected


def seen(workflow: Workflow, place: Path, name: str) -> bool:
    layout = Layout(workflow)
    return layout.can_have_run(place, layout.stands[name])


def test_a_catcher_sees_its_states_in_its_output_not_in_its_assign() -> None:
    workflow = workflow_of({**WAIT, "catch": [{"states": [PASS]}]})
    assert seen(workflow, ("states", 0, "catch", 0, "output"), "p")
    assert not seen(workflow, ("states", 0, "catch", 0, "assign", "x"), "p")


def test_the_output_of_the_workflow_comes_last() -> None:
    workflow = workflow_of(WAIT, catch=[{"states": [PASS]}], **{"finally": [{**PASS, "name": "last"}]})
    assert all(seen(workflow, ("output",), name) for name in ("w", "p", "last"))
    assert seen(workflow, ("finally", 0, "output"), "p")
    assert not seen(workflow, ("states", 0, "when"), "last")


def test_a_loop_around_a_map_does_not_bring_back_what_the_map_kept() -> None:
    body: Object = {"name": "m", "type": "map", "items": "input", "states": [PASS, {**PASS, "name": "q"}]}
    workflow = workflow_of({"name": "l", "type": "loop", "max_iterations": 2, "states": [body]})
    path = ("states", 0, "states", 0, "states", 0, "output")
    assert not seen(workflow, path, "q")
    assert Layout(workflow).can_see(path, Layout(workflow).stands["q"])
    assert not Layout(workflow).can_see(("output",), Layout(workflow).stands["q"])


def test_lists_around_a_state_are_named_innermost_first() -> None:
    inner: Object = {"name": "b", "type": "parallel", "branches": {"finally": [PASS]}}
    layout = Layout(workflow_of({"name": "a", "type": "block", "states": [WAIT], "finally": [inner]}))
    assert layout.keys(layout.stands["p"].placed.path) == ("branches", "finally", "states")
