"""Valid workflow documents, drawn from the whole grammar.

A document is what `read_document` would make of a file: plain JSON data. Beside its shape it keeps what every rule asks
for: names are unique in the file, `next` names a later sibling or `end`, `compensate` stands only where it may, and
templates read nothing but `input` and `context.execution.id`. No workflow has itself inline: names of others are longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from durableflow.values import Json, Object

Draw = Any

TYPES = (
    "invoke",
    "step",
    "aws",
    "http",
    "workflow",
    "wait",
    "wait_for_callback",
    "wait_for_condition",
    "choice",
    "block",
    "loop",
    "parallel",
    "map",
    "pass",
    "succeed",
    "fail",
)
WORK = frozenset({"invoke", "step", "aws", "http", "workflow"})
NO_RETRY = frozenset({"wait", "pass", "succeed", "fail"})
NO_UNDO = frozenset({"pass", "succeed", "fail"})
DEPTH = 3

texts = st.text("aZ9 -_é☃", max_size=5)
scalars: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["{{ input.a }}", "{{ input }}", "run {{ context.execution.id }}!", "{{ input.n | default(1) }}"])
)
keys = st.text("abcXYZ_0 -", min_size=1, max_size=6)
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
"""Template values (T)."""

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,7}", fullmatch=True)
conditions: st.SearchStrategy[Json] = st.sampled_from(["input.a > 1", "input.flag", "not input.b", True, None, 0])
"""Expressions (E)."""
durations: st.SearchStrategy[Json] = st.sampled_from(
    [1, 0.5, 90, "1s", "15m", "36h", "2d", "1.5h", "PT1H30M", "P2D", "30", "{{ input.seconds }}"]
)
pauses = durations | st.sampled_from([0, -3, "0s"])
errors = st.lists(
    st.sampled_from(["States.ALL", "States.Timeout", "Http.5*", "CardDeclined", "Lambda.*"]), min_size=1, max_size=2
)
schemas: st.SearchStrategy[Json] = st.sampled_from([{"type": "object"}, {"type": "array", "items": {}}, {}])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def retriers(draw: Draw) -> Object:
    retrier: Object = draw(
        optional(
            errors=errors,
            when=conditions,
            max_attempts=st.integers(1, 5),
            interval=pauses.filter(lambda pause: not isinstance(pause, int) or pause >= 0),
            max_delay=durations,
            jitter=st.sampled_from(["full", "half", "none"]),
            max_duration=durations,
        )
    )
    pace = draw(st.sampled_from(["", "backoff_rate", "increment"]))
    if pace == "backoff_rate":
        retrier[pace] = draw(st.sampled_from([1, 1.5, 2, 10]))
    elif pace:
        retrier[pace] = draw(durations)
    return retrier


retries: st.SearchStrategy[Json] = st.lists(retriers(), max_size=2) | st.just("transient")
assigns = st.dictionaries(names, values, max_size=2)
completions = optional(
    min_successful=st.integers(1, 3),
    tolerated_failure_count=st.integers(0, 3),
    tolerated_failure_percentage=st.integers(0, 100) | st.floats(0, 100),
)
semantics = st.sampled_from(["at_least_once", "at_most_once"])

FUNCTIONS = ["inventory:live", "legacy", "arn:aws:lambda:eu-west-1:123456789012:function:f:7"]
WORK_FIELDS: dict[str, Callable[[], st.SearchStrategy[Object]]] = {
    "invoke": lambda: st.fixed_dictionaries(
        {"function": st.sampled_from(FUNCTIONS)},
        optional={"payload": values, "tenant_id": st.just("{{ input.tenant }}"), "allow": st.just(["inventory:*"])},
    ),
    "step": lambda: st.fixed_dictionaries(
        {"handler": st.just("risk.rules:score")}, optional={"payload": values, "semantics": semantics}
    ),
    "aws": lambda: st.fixed_dictionaries(
        {"service": st.just("dynamodb"), "action": st.just("put_item")},
        optional={"params": st.dictionaries(keys, values, max_size=2), "semantics": semantics},
    ),
    "http": lambda: st.fixed_dictionaries(
        {"url": st.sampled_from(["https://api.example/rate?c={{ input.c }}", "{{ input.url }}"])},
        optional={
            "method": st.sampled_from(["GET", "POST", "{{ input.method }}"]),
            "headers": st.dictionaries(st.sampled_from(["Accept", "X-Id"]), values, max_size=2),
            "query": st.dictionaries(keys, values, max_size=2),
            "body": values,
            "success": st.lists(st.sampled_from([200, 404, "200-299", "302"]), min_size=1, max_size=2),
            "redirects": st.integers(0, 3),
            "semantics": semantics,
        },
    ),
    "workflow": lambda: st.fixed_dictionaries(
        {"workflow": names.map("{}_as_child".format)},
        optional={"payload": values, "mode": st.sampled_from(["child", "inline"])},
    ),
}


@st.composite
def checks(draw: Draw) -> Object:
    kind = draw(st.sampled_from(["step", "aws", "http"]))
    common = optional(output=values, retry=retries, timeout=durations, result_schema=schemas)
    return {"type": kind, **draw(WORK_FIELDS[kind]()), **draw(common)}


class _Writer:
    """Writes states with names that are unique in the file."""

    def __init__(self, draw: Draw, types: Collection[str]) -> None:
        self.draw = draw
        self.types = [kind for kind in TYPES if kind in types]
        self.count = 0

    def states(self, depth: int, *, least: int = 0, undo: bool = True, succeed: bool = True) -> list[Json]:
        """Return a list of states; `undo` and `succeed` say whether `compensate` and `succeed` may stand in it."""
        plain = {"block", "choice", "loop", "parallel", "map", "wait_for_callback"} if depth >= DEPTH else set[str]()
        kinds = [kind for kind in self.types if kind not in plain and (succeed or kind != "succeed")]
        chosen = self.draw(st.lists(st.sampled_from(kinds), min_size=least, max_size=2 if depth else 3))
        made: list[Object] = [self.state(kind, depth, undo=undo, succeed=succeed) for kind in chosen]
        for index, state in enumerate(made):
            later = [*(other["name"] for other in made[index + 1 :]), "end"]
            if self.draw(st.integers(0, 4)) == 0:
                state["next"] = self.draw(st.sampled_from(later))
        return list(made)

    def state(self, kind: str, depth: int, *, undo: bool, succeed: bool) -> Object:
        self.count += 1
        state: Object = {"name": f"{kind}_{self.count}", "type": kind}
        state |= self.draw(
            optional(
                when=conditions,
                output=values,
                assign=assigns,
                result_schema=schemas,
                label=st.sampled_from(["Charge the card", "{{ input.a }}"]),
                description=texts,
            )
        )
        if self.draw(st.integers(0, 9)) == 0:
            state["renamed_from"] = [f"was_{self.count}"]
        if kind not in NO_RETRY:
            state |= self.draw(optional(timeout=durations, retry=retries))
        if kind in WORK:
            state |= self.draw(WORK_FIELDS[kind]())
        else:
            state |= getattr(self, f"_{kind}")(depth + 1, undo=undo, succeed=succeed)
        if depth < DEPTH and self.draw(st.integers(0, 4)) == 0:
            state["catch"] = self.catch(depth + 1, undo=undo, succeed=succeed)
        if undo and kind not in NO_UNDO and depth < DEPTH and self.draw(st.integers(0, 4)) == 0:
            state["compensate"] = self.states(depth + 1, undo=False, succeed=False)
        return state

    def catch(self, depth: int, *, undo: bool, succeed: bool) -> list[Json]:
        catcher: Object = self.draw(optional(errors=errors, when=conditions, assign=assigns, output=values))
        target = self.draw(st.sampled_from(["", "states", "next"]))
        if target == "states":
            catcher["states"] = self.states(depth, undo=undo, succeed=succeed)
        elif target:
            catcher["next"] = "end"
        return [catcher]

    def finish(self, depth: int) -> Object:
        """Return `finally` and `compensation`, or not."""
        made: Object = self.draw(optional(compensation=st.sampled_from([{}, {"on_error": "fail"}])))
        if self.draw(st.integers(0, 4)) == 0:
            made["finally"] = self.states(depth, undo=False, succeed=False)
        return made

    def _wait(self, _depth: int, **_: bool) -> Object:
        until = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01", "{{ input.at }}"])
        return self.draw(st.fixed_dictionaries({"duration": pauses}) | st.fixed_dictionaries({"until": until}))

    def _wait_for_callback(self, depth: int, **_: bool) -> Object:
        made: Object = self.draw(optional(heartbeat_timeout=durations, result_format=st.sampled_from(["json", "text"])))
        if self.draw(st.booleans()):
            made["submit"] = self.states(depth, undo=False, succeed=False)
        return made

    def _wait_for_condition(self, _depth: int, **_: bool) -> Object:
        return self.draw(
            st.fixed_dictionaries(
                {"check": checks(), "until": conditions},
                optional={
                    "initial": values,
                    "interval": durations,
                    "backoff_rate": st.sampled_from([1, 1.5, 3]),
                    "max_delay": durations,
                    "jitter": st.sampled_from(["full", "half", "none"]),
                    "max_attempts": st.integers(1, 100),
                },
            )
        )

    def _choice(self, depth: int, *, undo: bool, succeed: bool) -> Object:
        arms: list[Json] = []
        for _ in range(self.draw(st.integers(1, 2))):
            arm: Object = {"when": self.draw(conditions)}
            if self.draw(st.booleans()):
                arm["states"] = self.states(depth, undo=undo, succeed=succeed)
            else:
                arm["next"] = "end"
            arms.append(arm)
        made: Object = {"choices": arms}
        if self.draw(st.booleans()):
            made["default"] = self.states(depth, undo=undo, succeed=succeed)
        return made

    def _block(self, depth: int, *, undo: bool, succeed: bool) -> Object:
        states = self.states(depth, least=1, undo=undo, succeed=succeed)
        return {"states": states, **self.finish(depth), **self.draw(optional(context=st.booleans()))}

    def _loop(self, depth: int, *, undo: bool, succeed: bool) -> Object:
        made: Object = {"max_iterations": self.draw(st.integers(1, 5))}
        made |= self.draw(optional(delay=pauses, on_limit=st.sampled_from(["fail", "continue"])))
        test = self.draw(st.sampled_from(["", "while", "until"]))
        if test:
            made[test] = self.draw(conditions)
        return {**made, "states": self.states(depth, least=1, undo=undo, succeed=succeed)}

    def _parallel(self, depth: int, *, undo: bool, succeed: bool) -> Object:
        branches = self.draw(st.lists(names, max_size=2, unique=True))
        return {
            "branches": {name: self.states(depth, least=1, undo=undo, succeed=succeed) for name in branches},
            **self._spread(),
        }

    def _map(self, depth: int, *, undo: bool, succeed: bool) -> Object:
        return {
            "items": "input.items",
            "states": self.states(depth, least=1, undo=undo, succeed=succeed),
            **self.draw(optional(item_name=st.just("{{ input.a }}"), batch_size=st.integers(1, 10))),
            **self._spread(),
        }

    def _spread(self) -> Object:
        return self.draw(
            optional(
                max_concurrency=st.integers(1, 10),
                completion=completions,
                nesting=st.sampled_from(["flat", "nested"]),
            )
        )

    def _pass(self, _depth: int, **_: bool) -> Object:
        return {}

    def _succeed(self, _depth: int, **_: bool) -> Object:
        return {}

    def _fail(self, _depth: int, **_: bool) -> Object:
        made: Object = {"error": self.draw(st.sampled_from(["OrderRejected", "{{ input.error }}"]))}
        return made | self.draw(optional(cause=texts, data=values))


@st.composite
def workflows(draw: Draw, *, types: Collection[str] = TYPES) -> Object:
    """Draw the document of a workflow with states of these types only."""
    writer = _Writer(draw, types)
    workflow: Object = {"durableflow": "1", "name": draw(names)}
    workflow |= draw(
        optional(
            version=texts,
            description=texts,
            input=st.fixed_dictionaries({"schema": schemas}),
            output=values,
            output_schema=schemas,
            vars=assigns,
            env=st.just(["TABLE"]),
            secrets=st.sampled_from([{}, {"token": "ssm:/pay/token"}, {"token": "secretsmanager:pay#token"}]),
            defaults=optional(retry=retries, timeout=durations),
            timeout=durations,
        )
    )
    workflow["retry_policies"] = {"transient": draw(st.lists(retriers(), max_size=2))}
    workflow["states"] = writer.states(0, least=1)
    if draw(st.booleans()):
        workflow["catch"] = writer.catch(1, undo=True, succeed=True)
    return {**workflow, **writer.finish(1)}
