"""The rules refuse nothing that could run: whole drawn workflows, and random walks against what the flow says."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from properties.strategies import workflows

from durableflow import model, plan
from durableflow.compiler import compile_workflow, understand
from durableflow.decode import decode_workflow
from durableflow.document import Path, read_document
from durableflow.flow import Layout
from durableflow.rules import Known
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durableflow.values import Object

INLINE = plan.Plan(name="inline", states=plan.States.of([plan.Pass(name="a")]))
KNOWN = Known(load_file=lambda _: b'{"type": "object"}', inline=lambda _: INLINE)


def source(document: Object, *, indent: int | None = None) -> Source:
    return Source(name="drawn.json", text=json.dumps(document, indent=indent))


@settings(max_examples=40, deadline=None)
@given(workflows())
def test_a_valid_workflow_has_no_errors(document: Object) -> None:
    _, _, problems = understand(source(document), KNOWN)
    assert [str(problem) for problem in problems if problem.severity == "error"] == []


@settings(max_examples=40, deadline=None)
@given(workflows())
def test_a_valid_workflow_compiles(document: Object) -> None:
    compiled = compile_workflow(source(document), known=KNOWN)
    assert plan.from_json(compiled.plan.to_json()) == compiled.plan
    assert compile_workflow(source(document, indent=2), known=KNOWN).plan.digest == compiled.plan.digest


class Drawn:
    """A random workflow of nothing but flow, with jumps forward and back."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.count = 0

    def states(self, depth: int) -> list[Object]:
        names = [self.name() for _ in range(self.chance.randint(1, 4))]
        return [self.state(name, names, depth) for name in names]

    def name(self) -> str:
        self.count += 1
        return f"s{self.count}"

    def state(self, name: str, names: list[str], depth: int) -> Object:
        kinds = ["pass", "pass", "fail", "succeed"] if depth > 2 else ["pass", "choice", "block", "loop", "fail"]
        kind = self.chance.choice(kinds)
        made: Object = {"name": name, "type": kind}
        if kind == "choice":
            states = {"when": "input.a", "states": self.states(depth + 1)}
            made["choices"] = [states, {"when": "input.b", **self.jump(names)}]
            if self.chance.random() < 0.5:
                made["default"] = self.states(depth + 1)
        elif kind in ("block", "loop"):
            made["states"] = self.states(depth + 1)
            made |= {"max_iterations": 3, "while": "input.c"} if kind == "loop" else {}
        elif kind == "fail":
            made["error"] = "Some"
        if self.chance.random() < 0.3:
            made["when"] = "input.d"
        if self.chance.random() < 0.3:
            made |= self.jump(names)
        if self.chance.random() < 0.3:
            runs = depth < 3 and self.chance.random() < 0.5
            made["catch"] = [{"states": self.states(depth + 1)} if runs else self.jump(names)]
        return made

    def jump(self, names: list[str]) -> Object:
        return {"next": self.chance.choice([*names, "end"])}


class Ended(Exception):  # noqa: N818 - no error: the walk is over
    pass


class Failed(Exception):  # noqa: N818 - no error of the test
    pass


class Walk:
    """One way through a workflow, decided by chance; yields each place where a template could be, and what is over."""

    def __init__(self, workflow: model.Workflow, chance: Random) -> None:
        self.chance = chance
        self.workflow = workflow
        self.over: set[str] = set()
        self.steps = 0

    def places(self) -> Iterator[Path]:
        try:
            yield from self.list(self.workflow.states, ("states",))
        except (Ended, Failed):
            return

    def list(self, states: Sequence[model.State], path: Path) -> Iterator[Path]:
        positions = {state.name: i for i, state in enumerate(states)}
        position = 0
        while position < len(states):
            self.steps += 1
            if self.steps > 60:
                raise Ended
            state = states[position]
            yield (*path, position, "when")
            target: str | None = None
            if state.when is True or self.chance.random() < 0.5:
                target = yield from self.state(state, (*path, position))
            self.over.add(state.name)
            position = len(states) if target == "end" else positions[target] if target else position + 1

    def state(self, state: model.State, path: Path) -> Iterator[Path]:  # type: ignore[misc] - returns a target
        try:
            target = yield from self.body(state, path)
        except Failed:
            if not state.catch:
                raise
            catcher = state.catch[0]
            yield (*path, "catch", 0, "when")
            yield from self.list(catcher.states or (), (*path, "catch", 0, "states"))
            yield (*path, "catch", 0, "output")
            return catcher.next or state.next
        yield (*path, "output")
        return target or state.next

    def body(self, state: model.State, path: Path) -> Iterator[Path]:  # type: ignore[misc] - returns a target
        match state:
            case _ if self.chance.random() < 0.2:
                raise Failed
            case model.Fail():
                raise Failed
            case model.Succeed():
                raise Ended
            case model.Block():
                yield from self.list(state.states, (*path, "states"))
            case model.Loop():
                for _ in range(self.chance.randint(0, 2)):
                    yield (*path, "while")
                    yield from self.list(state.states, (*path, "states"))
            case model.Choice():
                way = self.chance.randint(0, 2)
                if way == 0:
                    yield from self.list(state.choices[0].states or (), (*path, "choices", 0, "states"))
                elif way == 1:
                    return state.choices[1].next
                else:
                    yield from self.list(state.default or (), (*path, "default"))
            case _:
                pass
        return None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_a_walk_comes_past_is_reached_and_can_have_run(seed: int) -> None:
    chance = Random(seed)
    document = read_document(
        source({"durableflow": "1", "name": "drawn", "states": Drawn(chance).states(0)})  # type: ignore[dict-item]
    )
    workflow = decode_workflow(document)
    layout = Layout(workflow)
    for _ in range(5):
        walk = Walk(workflow, chance)
        for place in walk.places():
            assert all(layout.can_have_run(place, layout.stands[name]) for name in walk.over), (place, walk.over)
            for length in range(2, len(place)):
                if isinstance(place[length - 1], int) and place[: length - 1] in layout.lists:
                    assert place[length - 1] in layout.flow(place[: length - 1]).reached, place
