"""Drawings of workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durableflow import graph
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.source import Source

if TYPE_CHECKING:
    from durableflow.model import Workflow


def workflow(text: str) -> Workflow:
    lines = ['durableflow: "1"', "name: example", text]
    return decode_workflow(read_document(Source(name="workflow.yaml", text="\n".join(lines))))


def arrows(text: str) -> set[tuple[str, str, str]]:
    """The Mermaid arrows as (from, label, to), states by their name and groups by their title."""
    names: dict[str, str] = {}
    found: set[tuple[str, str, str]] = set()
    for line in graph.draw(workflow(text), "mermaid").split("\n")[1:]:
        words = line.split()
        if words[0] == "subgraph":
            identifier, _, title = line.strip().removeprefix("subgraph ").partition("[")
            names[identifier] = title.strip('"]').partition(":")[0]
        elif len(words) > 1 and words[1].startswith(("-->", "-.->")):
            label = line.split('"')[1] if '"' in line else ""
            found.add((names.get(words[0], words[0]), label, names.get(words[-1], words[-1])))
        elif words[0] != "end":
            identifier = line.strip().split("[")[0].split("(")[0].split("{")[0]
            names[identifier] = line.split('"')[1].partition("<br/>")[0]
    return {(names.get(a, a), label, names.get(b, b)) for a, label, b in found}


def test_states_follow_each_other() -> None:
    assert arrows("states: [{name: a, type: pass}, {name: b, type: pass}]") == {
        ("start", "", "a"),
        ("a", "", "b"),
        ("b", "", "end"),
    }


def test_a_choice_has_an_arrow_for_each_arm_and_one_for_none() -> None:
    text = """
states:
  - name: route
    type: choice
    choices:
      - when: input.total > 100
        states: [{name: big, type: pass}]
      - when: input.stop
        next: last
  - {name: middle, type: pass}
  - {name: last, type: succeed}
"""
    assert arrows(text) == {
        ("start", "", "route"),
        ("route", "input.total #62; 100", "big"),
        ("route", "input.stop", "last"),
        ("route", "else", "middle"),
        ("big", "", "middle"),
        ("middle", "", "last"),
    }


def test_next_goes_to_the_sibling_and_end_leaves_the_list() -> None:
    text = """
states:
  - {name: a, type: pass, next: c}
  - {name: b, type: pass, next: end}
  - {name: c, type: pass, next: b}
"""
    assert arrows(text) == {("start", "", "a"), ("a", "", "c"), ("c", "", "b"), ("b", "", "end")}


def test_a_catch_leaves_the_whole_block_and_joins_the_flow_again() -> None:
    text = """
states:
  - name: saga
    type: block
    states:
      - name: ship
        type: invoke
        function: ship
        compensate: [{name: call_back, type: pass}]
    catch:
      - {errors: [States.ALL], states: [{name: undo, type: pass}]}
      - {errors: [Http.4*], next: last}
  - {name: last, type: fail, error: Sorry}
"""
    assert arrows(text) == {
        ("start", "", "ship"),
        ("ship", "undo", "call_back"),
        ("ship", "", "last"),
        ("saga", "on States.ALL", "undo"),
        ("undo", "", "last"),
        ("saga", "on Http.4#42;", "last"),
    }


def test_loops_maps_and_branches_are_groups() -> None:
    text = """
states:
  - name: pages
    type: loop
    while: vars.token
    max_iterations: 5
    states: [{name: page, type: pass}]
  - name: both
    type: parallel
    branches: {left: [{name: l, type: pass}], right: [{name: r, type: pass}]}
  - name: each
    type: map
    items: input.things
    states: [{name: thing, type: pass}]
vars: {token: 1}
"""
    assert arrows(text) == {
        ("start", "", "page"),
        ("page", "again", "page"),
        ("page", "", "at the same time"),
        ("at the same time", "", "l"),
        ("at the same time", "", "r"),
        ("l", "", "thing"),
        ("r", "", "thing"),
        ("thing", "", "end"),
    }


def test_the_workflow_has_a_frame_when_it_catches() -> None:
    text = """
states: [{name: a, type: pass}]
catch: [{errors: [States.ALL], states: [{name: sorry, type: fail, error: Sorry}]}]
finally: [{name: tidy, type: pass}]
"""
    assert arrows(text) == {
        ("start", "", "a"),
        ("example", "on States.ALL", "sorry"),
        ("a", "", "tidy"),
        ("tidy", "", "end"),
    }


def test_what_the_author_wrote_cannot_become_markup() -> None:
    states = "states: [{name: a, type: pass, when: 'x == \"]--> b %% <b>\"'}]"
    mermaid, dot = (graph.draw(workflow(states), form) for form in graph.FORMS)

    assert "when x == #34;#93;--#62; b #37;#37; #60;b#62;#34;" in mermaid
    assert '\\nwhen x == \\"]--> b %% <b>\\"", shape=box' in dot


def test_dot_draws_groups_as_clusters_that_arrows_can_leave() -> None:
    text = """
states:
  - name: saga
    type: block
    states: [{name: a, type: pass}]
    catch: [{errors: [States.ALL], next: z}]
  - {name: z, type: pass}
"""
    assert graph.draw(workflow(text), "dot").split("\n") == [
        'digraph "example" {',
        "  compound=true;",
        '  begin [label="start", shape=oval];',
        "  subgraph cluster_n1 {",
        '    label="saga: block";',
        '    n2 [label="a\\npass", shape=box];',
        "  }",
        '  n3 [label="z\\npass", shape=box];',
        '  finish [label="end", shape=oval];',
        "  begin -> n2;",
        "  n2 -> n3;",
        "  n3 -> finish;",
        '  n2 -> n3 [label="on States.ALL", style=dashed, ltail=cluster_n1];',
        "}",
    ]
