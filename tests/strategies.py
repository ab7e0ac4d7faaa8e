"""Random workflows over the whole grammar, with the answers of the world around them.

A :func:`cases` strategy draws what an author could have written: names are unique, templates read what is visible where
they stand, loops and jumps end. What is not drawn, and why, is in `LEFT_OUT`; a test compares both with model.py, so
that a new field is drawn or left out on purpose.

Work is told apart by what it is given: each payload holds the attempt and the item or iteration (`k`), see
evaluator.World. Error texts of the engine's own are not part of the language, so templates read `error.message` only of
errors that are not called `States.…`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import yaml
from hypothesis import strategies as st

from durableflow import model

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Tree = dict[str, Any]

TYPES = (
    "invoke", "step", "wait", "choice", "block", "loop", "pass", "succeed", "fail",
    "aws", "http", "workflow", "wait_for_callback", "wait_for_condition", "parallel", "map",
)  # fmt: skip
WEIGHTS = {
    "invoke": 5,
    "step": 5,
    "block": 3,
    "loop": 2,
    "choice": 2,
    "pass": 2,
    "map": 3,
    "parallel": 3,
    "wait": 2,
    "workflow": 3,
}
SIMPLE = ("invoke", "step", "pass", "wait", "aws", "http", "workflow")
_FAILING = ("invoke", "step", "aws", "http", "workflow", "fail", "block", "map", "parallel")
LEFT_OUT = {
    "file.secrets": "no template of the flow sees one; test_secrets.py",
    "http.success": "the worker decides by it; test_web.py",
    "http.redirects": "the worker follows them; test_web.py",
}
"""Fields that are not drawn, and why."""
STATES_MAX = 16
INPUT = {"n": 2, "flag": True, "text": "t", "items": [1, 2, 3], "none": None}
RESULT_TEMPLATES = [
    "{{ result }}",
    {"kept": "{{ result }}"},
    "{{ [result, 1] }}",
    "text {{ result }}",
    "{{ result.n }}",
]
SCHEMAS: list[Any] = [{}, {"not": {"type": "string"}}, {"type": ["object", "null"]}]
ERRORS = ("E1", "E2", "Other.Trouble")
RESULTS: list[Any] = [0, 1, 3, "text", None, True, [1, 2], {"n": 1}, {"n": [2, 3]}, []]


@dataclass(frozen=True)
class Case:
    """A workflow, its input and what the world answers."""

    workflow: Tree
    given: Any
    answers: dict[str, list[Tree]]
    workflows: dict[str, Tree] = field(default_factory=dict)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show a falsifying example as the file that an author would write (Hypothesis asks for this)."""
        printer.text(str(self))

    def __str__(self) -> str:
        shown = {"input": self.given, "answers": self.answers, "workflows": self.workflows, "workflow": self.workflow}
        return "\n" + yaml.safe_dump(json.loads(json.dumps(shown)), sort_keys=False, width=120)


@dataclass(frozen=True)
class Place:
    """Where a list of states stands.

    Args:
        depth: how many states are around it.
        readable: names of the states that templates may read.
        names: what else they may read: `error`, `item`, `index`, `batch`, `iteration`.
        k: the expression that tells items and iterations apart.
        is_special: whether it is in `finally`, `compensate` or `submit`, where some things are not allowed.
    """

    depth: int = 0
    readable: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    k: str = "0"
    is_special: bool = False

    def with_states(self, names: Collection[str]) -> Place:
        return replace(self, readable=(*self.readable, *names))

    def deeper(self, *names: str, k: str | None = None, is_special: bool = False) -> Place:
        return replace(
            self,
            depth=self.depth + 1,
            names=self.names | set(names),
            k=self.k if k is None else k,
            is_special=self.is_special or is_special,
        )


@st.composite
def cases(draw: st.DrawFn, features: frozenset[str]) -> Case:
    """Draw a workflow that uses no more than some features, see features.py."""
    return _Drawing(draw, features).case()


class _Drawing:
    """One workflow as it is drawn."""

    def __init__(self, draw: st.DrawFn, features: frozenset[str]) -> None:
        self.draw = draw
        self.features = features
        self.states = 0
        self.answers: dict[str, list[Tree]] = {}
        self.variables = {"n", "v", "c"}
        self.policies: dict[str, Any] = {}
        self.others: dict[str, Tree] = {}

    # Small things ----------------------------------------------------------------------------------------------------

    def one(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self, percent: int) -> bool:
        # The first choice is what shrinking prefers: without.
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def has(self, feature: str) -> bool:
        return feature in self.features

    def maybe(self, tree: Tree, key: str, percent: int, make: Callable[[], Any]) -> None:
        """Add a field to a construct, now and then."""
        if self.chance(percent):
            tree[key] = make()

    # The workflow ----------------------------------------------------------------------------------------------------

    def case(self) -> Case:
        workflow = self.workflow("drawn", Place(), 2, 6)
        return Case(workflow=workflow, given=INPUT, answers=self.answers, workflows=self.others)

    def workflow(self, name: str, place: Place, low: int, high: int) -> Tree:
        """Draw a workflow: the one that runs, or one that stands in it."""
        workflow: Tree = {"durableflow": "1", "name": name}
        self.maybe(workflow, "version", 5, lambda: "4")
        self.maybe(workflow, "description", 5, lambda: "drawn")
        if self.chance(10):
            workflow["input"] = {"schema": {"type": "object", "required": ["n" if self.chance(80) else "missing"]}}
        self.maybe(workflow, "env", 5, lambda: ["TABLE"])
        self.maybe(workflow, "defaults", 20, self.defaults)
        if self.has("workflow.timeout"):
            self.maybe(workflow, "timeout", 10, self.limit)
        workflow["states"], inner = self.list_of(place, low, high)
        after = place.with_states(inner)
        self.maybe(workflow, "catch", 25, lambda: self.catchers(after))
        if self.has("workflow.finally"):
            self.maybe(workflow, "finally", 20, lambda: self.special(after.deeper("error", is_special=True)))
        if self.has("compensation"):
            self.maybe(workflow, "compensation", 15, self.compensation)
        everything = [f"{{{{ vars.{name} | default('unset') }}}}" for name in sorted(self.variables)]
        if self.chance(75):
            workflow["output"] = {"vars": everything, "x": self.template(after)}
        self.maybe(workflow, "output_schema", 5, lambda: self.one(SCHEMAS))
        workflow["vars"] = {"n": self.one((0, 1, "{{ input.n }}")), "v": self.one((None, 1, {"n": 1})), "c": 0}
        if "w" in self.variables:
            workflow["vars"]["w"] = None
        if self.policies:
            workflow["retry_policies"] = self.policies
        return workflow

    def defaults(self) -> Tree:
        made: Tree = {"retry": self.retriers(Place())}
        if self.has("timeout:invoke") and self.has("timeout:step"):
            self.maybe(made, "timeout", 20, self.limit)
        return made

    def compensation(self) -> Tree:
        return {"on_error": self.one(get_args(model.Compensation.model_fields["on_error"].annotation))}

    # Lists of states -------------------------------------------------------------------------------------------------

    def list_of(self, place: Place, low: int, high: int, types: Any = None) -> tuple[list[Tree], list[str]]:
        """Draw a list; return it and the names in it that can be seen after it."""
        states: list[Tree] = []
        seen: list[str] = []
        for _ in range(self.number(low, high)):
            if states and self.states >= STATES_MAX:
                break
            state, inner = self.state(place.with_states(seen), types)
            states.append(state)
            seen += [*inner, state["name"]]
        self.jumps(states)
        return states, seen

    def special(self, place: Place) -> list[Tree]:
        """Draw a short list for `finally`, `compensate`, `submit`."""
        return self.list_of(place, 1, 2, [*SIMPLE, "fail"])[0]

    def jumps(self, states: list[Tree]) -> None:
        """Let some states go on elsewhere: forward freely, back only as long as a counter allows."""
        for i, state in enumerate(states):
            later = [other["name"] for other in states[i + 1 :]]
            if state["type"] not in ("succeed", "fail") and self.chance(8):
                state["next"] = self.one([*later, "end"])
            for catcher in state.get("catch", ()):
                if "states" not in catcher and self.chance(15):
                    catcher["next"] = self.one([*later, "end"])
            arm = state.get("choices", [{}])[-1]
            if arm.get("states") == [] and self.chance(50):
                del arm["states"]
                arm["next"] = self.one([*later, "end"])
        if states and self.chance(5) and self.states < STATES_MAX:
            back: Tree = {"name": self.name("again"), "type": "choice"}
            back["choices"] = [{"when": f"vars.c < {self.number(1, 3)}", "next": self.one([s["name"] for s in states])}]
            states.append({**back, "default": [], "assign": {"c": "{{ vars.c + 1 }}"}})

    def name(self, kind: str) -> str:
        self.states += 1
        return f"{kind}{self.states}"

    # States ----------------------------------------------------------------------------------------------------------

    def state(self, place: Place, types: Any = None) -> tuple[Tree, list[str]]:
        """Draw a state; return it and the names inside that can be seen from after it."""
        allowed = [kind for kind in types or TYPES if self.has(kind)]
        if place.depth >= 3 or self.states >= STATES_MAX - 3:
            allowed = [kind for kind in allowed if kind in (*SIMPLE, "fail", "succeed")]
        if place.is_special:
            allowed = [kind for kind in allowed if kind != "succeed"]
        kind = self.one([kind for kind in allowed for _ in range(WEIGHTS.get(kind, 1))])
        state: Tree = {"name": self.name(kind), "type": kind}
        if place.depth == 0 and self.chance(5):
            state["name"] = f"{kind}-{self.states}"
        inner: list[str] = []
        self.maybe(state, "when", 15, lambda: self.condition(place))
        getattr(self, f"_{kind}")(state, place, inner)
        self.common(state, place, place.with_states(inner))
        return state, inner

    def common(self, state: Tree, place: Place, after: Place) -> None:
        """Draw what every state can have."""
        kind = state["type"]
        if kind in ("pass", "succeed"):
            self.maybe(state, "output", 70, lambda: self.template(place))
        elif kind != "fail":
            # By its keys the result of a map or parallel is known to have no 'n'.
            self.maybe(
                state,
                "output",
                15,
                lambda: self.one(RESULT_TEMPLATES[: 4 if kind in ("map", "parallel", "http") else 5]),
            )
        self.maybe(state, "assign", 70 if kind == "pass" else 15, lambda: self.assign(after, "result"))
        self.maybe(state, "result_schema", 4, lambda: self.one(SCHEMAS))
        if kind in ("invoke", "step", "wait"):
            self.maybe(state, "label", 5, lambda: self.one(("a label", "{{ input.text }} label")))
        self.maybe(state, "description", 3, lambda: "drawn")
        self.maybe(state, "catch", 40 if kind in _FAILING else 15, lambda: self.catchers(after))
        if kind not in ("wait", "pass", "succeed", "fail") and self.has(f"retry:{kind}"):
            self.maybe(state, "retry", 25, lambda: self.policy(after))
        if self.has(f"timeout:{kind}"):
            self.maybe(state, "timeout", 15, self.limit)
        if self.has("renamed_from"):
            self.maybe(state, "renamed_from", 3, lambda: [f"old_{state['name']}"])
        if self.has("compensate") and kind not in ("pass", "succeed", "fail") and not place.is_special:
            undoing = place.with_states([state["name"]]).deeper("error", is_special=True)
            self.maybe(state, "compensate", 25, lambda: self.special(undoing))

    def payload(self, place: Place) -> Any:
        made: Tree = {"attempt": "{{ context.state.attempt }}", "k": f"{{{{ {place.k} }}}}"}
        self.maybe(made, "x", 60, lambda: self.template(place))
        return made

    def answer(self, name: str, errors: Any = ERRORS, *, is_invoke: bool = False) -> None:
        """Draw what a piece of work answers, one after the other."""
        self.answers[name] = [self.single_answer(errors, is_invoke) for _ in range(self.number(1, 3))]

    def single_answer(self, errors: Any, is_invoke: bool) -> Tree:
        made: Tree
        if self.chance(25):
            made = {
                "error": {"name": self.one(errors), "message": self.one(("m", "")), "data": self.one((None, {"n": 1}))}
            }
            if is_invoke and self.chance(10):
                made = {"status": self.one(("STOPPED", "TIMED_OUT"))}
        else:
            made = {"result": self.one(RESULTS)}
        if is_invoke:
            # Odd milliseconds: what ends at the same moment as something else has no certain outcome.
            made["after"] = self.number(0, 6) * 1000 + (self.states * 37) % 997
        return made

    def _invoke(self, state: Tree, place: Place, _: list[str]) -> None:
        state["function"] = function = state["name"]
        if self.chance(10):
            state["function"] = f"{function[:3]}{{{{ '{function[3:]}' }}}}"
            state["allow"] = [self.one((function, f"{function}*", "nothing"))]
        self.maybe(state, "payload", 85, lambda: self.payload(place))
        self.maybe(state, "tenant_id", 3, lambda: "a-{{ input.n }}")
        errors = (*ERRORS, "States.Custom", "Sandbox.Timedout", "TooManyRequestsException")
        self.answer(function, errors, is_invoke=True)

    def _step(self, state: Tree, place: Place, _: list[str]) -> None:
        state["handler"] = "handlers:work"
        self.maybe(state, "payload", 85, lambda: self.payload(place))
        self.maybe(state, "semantics", 10, lambda: self.one(get_args(model.Semantics)))
        self.answer(state["name"])

    def _wait(self, state: Tree, _: Place, __: list[str]) -> None:
        if self.chance(85):
            state["duration"] = self.duration()
        else:
            state["until"] = self.one(("2020-01-01T00:00:00Z", "2026-01-01T00:10:00Z", "{{ '2026-01-01T00:20:00Z' }}"))

    def _choice(self, state: Tree, place: Place, inner: list[str]) -> None:
        state["choices"] = []
        for _ in range(self.number(1, 2)):
            states, seen = self.list_of(place.deeper(), 0, 2)
            state["choices"].append({"when": self.condition(place), "states": states})
            inner += seen
        if self.chance(50):
            state["default"], seen = self.list_of(place.deeper(), 0, 2)
            inner += seen

    def _block(self, state: Tree, place: Place, inner: list[str]) -> None:
        is_apart = self.has("block.context") and self.chance(15)
        state["states"], seen = self.list_of(place.deeper(), 1, 3)
        if is_apart:
            state["context"] = True
        else:
            inner += seen
        if self.has("block.finally"):
            after = place.with_states(inner).deeper("error", is_special=True)
            self.maybe(state, "finally", 20, lambda: self.special(after))
        if self.has("compensation"):
            self.maybe(state, "compensation", 15, self.compensation)

    def _loop(self, state: Tree, place: Place, inner: list[str]) -> None:
        state["max_iterations"] = self.number(1, 3)
        state["states"], seen = self.list_of(place.deeper("iteration", k="iteration"), 1, 2)
        inner += seen
        inside = replace(place, names=place.names | {"iteration"})
        way = self.number(0, 2)
        if way == 1:
            state["while"] = self.one((f"iteration < {self.number(0, 3)}", self.condition(inside)))
        if way == 2:
            state["until"] = self.one((f"iteration == {self.number(0, 2)}", "result", self.condition(inside)))
        self.maybe(state, "delay", 20, self.duration)
        self.maybe(state, "on_limit", 25, lambda: self.one(("fail", "continue")))

    def _pass(self, state: Tree, place: Place, _: list[str]) -> None:
        pass

    def _succeed(self, state: Tree, place: Place, _: list[str]) -> None:
        pass

    def _fail(self, state: Tree, place: Place, _: list[str]) -> None:
        state["error"] = self.one((*ERRORS, "States.Runtime", "States.Custom", "{{ input.text }}Error"))
        self.maybe(state, "cause", 50, lambda: self.one(("a cause", "{{ input.n }} causes", "{{ vars.n }}")))
        self.maybe(state, "data", 30, lambda: self.template(place))

    # What is not yet run everywhere.

    def _aws(self, state: Tree, place: Place, _: list[str]) -> None:
        state |= {"service": "dynamodb", "action": "put_item"}
        self.maybe(state, "semantics", 10, lambda: self.one(get_args(model.Semantics)))
        self.maybe(state, "params", 90, lambda: self.payload(place))
        self.answer(state["name"], (*ERRORS, "DynamoDB.ConditionalCheckFailedException"))

    def _http(self, state: Tree, place: Place, _: list[str]) -> None:
        state |= {"method": "POST", "url": f"https://api.example/{state['name']}", "body": self.payload(place)}
        self.maybe(state, "headers", 10, lambda: {"X-Drawn": f"a {{{{ {self.expression(place)} }}}}"})
        self.maybe(state, "query", 10, lambda: {"q": self.template(place)})
        self.maybe(state, "semantics", 10, lambda: self.one(get_args(model.Semantics)))
        self.answer(state["name"], ("Http.404", "Http.503", "Http.ConnectionError"))

    def _workflow(self, state: Tree, place: Place, _: list[str]) -> None:
        if place.depth < 3 and self.states < STATES_MAX - 3 and self.chance(50):
            state |= {"workflow": f"inner_{state['name']}", "mode": "inline", "payload": self.inner_input(place)}
            self.others[state["workflow"]] = self.inner(state["workflow"], place)
            return
        state["workflow"] = f"child_{state['name']}"
        self.maybe(state, "payload", 85, lambda: self.payload(place))
        self.answer(state["workflow"], (*ERRORS, "States.Custom", "States.Runtime"), is_invoke=True)

    def inner_input(self, place: Place) -> Tree:
        """Draw the input of an inline workflow, in which templates find what they find in that of the whole."""
        return {**INPUT, "n": self.one((2, "{{ input.n }}", "{{ vars.n }}")), "k": f"{{{{ {place.k} }}}}"}

    def inner(self, name: str, place: Place) -> Tree:
        """Draw an inline workflow: it sees its own input and variables alone (rule 33)."""
        drawing = _Drawing(self.draw, self.features)
        drawing.states, drawing.answers, drawing.others = self.states, self.answers, self.others
        inside = Place(depth=place.depth + 1, k="input.k", is_special=place.is_special)
        made = drawing.workflow(name, inside, 1, 3)
        self.states = drawing.states
        return made

    def _wait_for_callback(self, state: Tree, place: Place, _: list[str]) -> None:
        if self.chance(50):
            state["submit"] = self.list_of(place.deeper("callback", is_special=True), 1, 1, ["step", "pass"])[0]
        self.maybe(state, "heartbeat_timeout", 15, self.limit)
        self.maybe(state, "result_format", 20, lambda: self.one(("json", "text")))
        answer = self.single_answer(ERRORS, is_invoke=True)
        self.answers[state["name"]] = [{"result": 1, **answer} if "status" in answer else answer]

    def _wait_for_condition(self, state: Tree, place: Place, _: list[str]) -> None:
        check: Tree = {"type": "step", "handler": "handlers:work", "payload": self.payload(place)}
        self.maybe(check, "output", 30, lambda: self.one(RESULT_TEMPLATES))
        self.maybe(check, "retry", 40, lambda: self.retriers(place))
        self.maybe(check, "timeout", 10, self.limit)
        self.maybe(check, "result_schema", 10, lambda: self.one(SCHEMAS))
        state |= {"check": check, "until": self.one(("result", "result == 1", "context.state.attempt == 3"))}
        self.maybe(state, "initial", 20, lambda: self.template(place))
        self.maybe(state, "interval", 60, lambda: self.one((1, "5s", "{{ input.n }}")))
        self.maybe(state, "backoff_rate", 30, lambda: self.one((1, 1.5, 2)))
        self.maybe(state, "max_delay", 20, lambda: self.one((3, "10s")))
        self.maybe(state, "jitter", 15, lambda: self.one(get_args(model.Jitter)))
        state["max_attempts"] = self.number(1, 5)
        self.answer(state["name"])

    def _parallel(self, state: Tree, place: Place, _: list[str]) -> None:
        state["branches"] = {f"branch{i}": self.list_of(place.deeper(), 1, 2)[0] for i in range(self.number(0, 3))}
        self.fan_out(state)

    def _map(self, state: Tree, place: Place, _: list[str]) -> None:
        state["items"] = self.one(("input.items", "[1, 2]", "input.items", "[1, 2, 3, 4]", "[]", "vars.v"))
        if self.chance(20):
            state["batch_size"] = self.number(1, 2)
        item = "batch" if "batch_size" in state else "item"
        state["states"] = self.list_of(place.deeper(item, "index", k="index"), 1, 2)[0]
        self.maybe(state, "item_name", 15, lambda: "item {{ index }}")
        self.fan_out(state)

    def fan_out(self, state: Tree) -> None:
        if self.chance(50):
            state["max_concurrency"] = self.one((1, 1, 1, 2))
        if self.chance(50):
            completion: Tree = {}
            self.maybe(completion, "min_successful", 40, lambda: self.number(1, 3))
            self.maybe(completion, "tolerated_failure_count", 40, lambda: self.number(0, 2))
            self.maybe(completion, "tolerated_failure_percentage", 30, lambda: self.one((0, 34, 50, 100)))
            state["completion"] = completion
        self.maybe(state, "nesting", 25, lambda: self.one(get_args(model.Nesting)))

    # Errors ----------------------------------------------------------------------------------------------------------

    def globs(self) -> list[str]:
        names = (*ERRORS, "E*", "*", "States.ALL", "States.TaskFailed", "States.Timeout", "States.Runtime", "States.Q*")
        return [self.one(names) for _ in range(self.number(1, 2))]

    def catchers(self, place: Place) -> list[Tree]:
        return [self.catcher(place.deeper("error")) for _ in range(self.number(1, 2))]

    def catcher(self, place: Place) -> Tree:
        made: Tree = {}
        self.maybe(made, "errors", 45, self.globs)
        self.maybe(made, "when", 10, lambda: self.condition(place))
        self.maybe(made, "assign", 30, lambda: self.assign(replace(place, readable=())))
        if self.chance(40) and place.depth < 3:
            made["states"] = self.list_of(place, 0, 2)[0]
        self.maybe(made, "output", 30, lambda: self.template(place))
        return made

    def policy(self, place: Place) -> Any:
        if not self.chance(20):
            return self.retriers(place)
        name = f"policy{len(self.policies)}"
        self.policies[name] = self.retriers(Place())
        return name

    def retriers(self, place: Place) -> list[Tree]:
        return [self.retrier(place) for _ in range(self.number(0, 2))]

    def retrier(self, place: Place) -> Tree:
        made: Tree = {"jitter": self.one(("none", "none", *get_args(model.Jitter)))}
        self.maybe(made, "errors", 50, self.retried)
        self.maybe(made, "when", 15, lambda: self.condition(replace(place, names=place.names | {"error"})))
        self.maybe(made, "max_attempts", 60, lambda: self.number(1, 4))
        self.maybe(made, "interval", 40, lambda: self.one((0, 2, "3s", "{{ input.n }}")))
        if self.chance(30):
            made[self.one(("backoff_rate", "increment"))] = self.one((1, 3))
        self.maybe(made, "max_delay", 20, lambda: self.one((2, "5s")))
        if made["jitter"] == "none":
            self.maybe(made, "max_duration", 20, lambda: self.one((1, "4s", 30)))
        return made

    def retried(self) -> list[str]:
        exact = ["States.QueryEvaluationError", "States.ResultInvalid"]  # these are repeated for their names alone
        return [*self.globs(), *([self.one(exact)] if self.chance(15) else [])]

    def limit(self) -> Any:
        return self.one((2, "3s", 20))

    # Templates -------------------------------------------------------------------------------------------------------

    def duration(self) -> Any:
        return self.one((1, 2, 0, -1, 1.5, "3s", "{{ input.n }}", "{{ vars.n }}", 1, 2, "3s", "{{ input.text }}"))

    def assign(self, place: Place, *more: str) -> Tree:
        # `n` stays a number as a rule, so that conditions and sums of it mean something.
        made: Tree = {}
        for _ in range(self.number(1, 2)):
            variable = self.one(("n", "v", "w"))
            sources = [self.template(place), *(f"{{{{ {name} }}}}" for name in more)]
            made[variable] = "{{ vars.n + 1 }}" if variable == "n" and self.chance(85) else self.one(sources)
            self.variables.add(variable)
        return made

    def template(self, place: Place) -> Any:
        """Draw a value template."""
        expression = self.expression(place)
        return self.one(
            (
                f"{{{{ {expression} }}}}",
                1,
                None,
                f"text {{{{ {expression} }}}}",
                {"a": f"{{{{ {expression} }}}}", "b": [2]},
            )
        )

    def condition(self, place: Place) -> Any:
        usual = (True, False, "input.flag", "not input.flag", "vars.n < 2", "vars.n == 1")
        return (
            self.one(usual) if self.chance(60) else self.one((f"{self.expression(place)} == 1", self.expression(place)))
        )

    def expression(self, place: Place) -> str:
        if self.chance(6):
            return self.one(("vars.v.n", "input.text + 1", "input.missing"))
        return self.one(list(self._expressions(place)))

    def _expressions(self, place: Place) -> Iterator[str]:
        yield from ("input.n", "input.items", "vars.n", "vars.v", "vars.n + 1", "context.now")
        if "w" in self.variables:
            yield "vars.w | default(0)"
        for name in place.readable[-4:]:
            state = f"states.{name}" if "-" not in name else f"states['{name}']"
            if self.chance(20):
                yield f"{state}.result"
            yield f"{state}.status | default('none')"
            yield f"{state}.result | default(0)"
            yield f"{state}.error.name | default('no error')"
            if name.startswith(("map", "parallel")):
                yield f"{state}.summary.succeeded"
                yield f"{state}.summary.failed"
                yield f"{state}.failures | map(attribute='error.name') | list"
        for name in sorted(place.names - {"error", "callback"}):
            yield name
        if "error" in place.names:
            yield "error.name | default('no error')"
            yield "error.message if error and error.name[:7] != 'States.' else ''"
            yield "error.data if error and error.name[:7] != 'States.' else 0"
            yield "error.state if error and error.name != 'States.CompensationFailed' else ''"
            yield "error.attempt if error and error.name[:7] != 'States.' else 0"
            yield "error.status | default('')"
            yield "[error.index, error.branch] if error else []"
