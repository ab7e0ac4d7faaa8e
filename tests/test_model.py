from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from properties.strategies import TYPES, WORK, workflows
from pydantic import ValidationError

from durableflow import model
from durableflow.forms import is_template
from durableflow.model import ABSENT, Part, Workflow, lists_in, walk_states

if TYPE_CHECKING:
    from durableflow.model import Placed
    from durableflow.values import Json, Object

CONSTRUCTS = [part for part in vars(model).values() if isinstance(part, type) and issubclass(part, Part)]
STATES = get_args(get_args(model.State.__value__)[0])

LEAST: dict[str, Object] = {
    "invoke": {"function": "f"},
    "step": {"handler": "a:b"},
    "aws": {"service": "s3", "action": "get_object"},
    "http": {"url": "https://a"},
    "workflow": {"workflow": "w"},
    "wait": {"duration": 1},
    "wait_for_callback": {},
    "wait_for_condition": {"check": {"type": "step", "handler": "a:b"}, "until": "result"},
    "choice": {"choices": [{"when": "a", "states": []}]},
    "block": {"states": [{"name": "t", "type": "pass"}]},
    "loop": {"max_iterations": 1, "states": [{"name": "t", "type": "pass"}]},
    "parallel": {"branches": {}},
    "map": {"items": "input", "states": [{"name": "t", "type": "pass"}]},
    "pass": {},
    "succeed": {},
    "fail": {"error": "E"},
}
"""The fields that a state of each type must have."""


def workflow(*states: Object, **fields: Json) -> Workflow:
    return Workflow.model_validate({"durableflow": "1", "name": "x", "states": list(states), **fields})


def state(kind: str, **fields: Json) -> Any:
    """The model of one state with the least fields of its type and these."""
    return workflow({"name": "s", "type": kind, **LEAST[kind], **fields}).states[0]


def takes(kind: str, **fields: Json) -> bool:
    try:
        state(kind, **fields)
    except ValidationError:
        return False
    return True


def test_there_are_sixteen_types_in_the_order_of_the_grammar() -> None:
    assert tuple(get_args(kind.model_fields["type"].annotation)[0] for kind in STATES) == TYPES
    assert tuple(LEAST) == TYPES


@pytest.mark.parametrize("construct", CONSTRUCTS, ids=lambda construct: construct.__name__)
def test_every_field_says_what_it_is_for(construct: type[Part]) -> None:
    assert [name for name, field in construct.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_needs_only_its_least_fields_and_every_one_of_them(kind: str) -> None:
    assert takes(kind)
    for missing in LEAST[kind]:
        kept = {key: value for key, value in LEAST[kind].items() if key != missing}
        with pytest.raises(ValidationError):
            workflow({"name": "s", "type": kind, **kept})


def test_a_model_cannot_be_changed() -> None:
    made = state("block")
    with pytest.raises(ValidationError):
        made.name = "t"
    assert isinstance(made.states, tuple)


# Which fields stand where (language.md 12, rule 23, and section 1)


@pytest.mark.parametrize("kind", TYPES)
def test_retry_and_timeout_are_for_what_has_attempts(kind: str) -> None:
    has_attempts = kind not in {"wait", "pass", "succeed", "fail"}
    assert takes(kind, retry=[]) == has_attempts
    assert takes(kind, timeout="1s") == has_attempts


@pytest.mark.parametrize("kind", TYPES)
def test_what_does_nothing_cannot_be_undone(kind: str) -> None:
    assert takes(kind, compensate=[]) == (kind not in {"pass", "succeed", "fail"})


@pytest.mark.parametrize("kind", TYPES)
def test_every_state_has_the_common_fields(kind: str) -> None:
    assert takes(
        kind,
        when="a",
        output=1,
        assign={"v": 1},
        result_schema={},
        catch=[{}],
        next="end",
        label="L",
        renamed_from=["r"],
        description="d",
    )


@pytest.mark.parametrize("field", ["finally", "compensation", "context"])
def test_finally_compensation_and_context_are_the_blocks(field: str) -> None:
    value: Json = {"finally": [], "compensation": {}, "context": True}[field]
    assert [kind for kind in TYPES if takes(kind, **{field: value})] == ["block"]


# Defaults


def test_a_retrier_retries_everything_three_times_with_growing_jittered_delays() -> None:
    (made,) = state("step", retry=[{}]).retry
    assert (made.errors, made.max_attempts, made.interval, made.backoff_rate) == (("States.ALL",), 3, "1s", 2)
    assert (made.increment, made.max_delay, made.max_duration, made.jitter, made.when) == (
        None,
        None,
        None,
        "full",
        True,
    )


def test_a_condition_is_checked_every_thirty_seconds_without_end() -> None:
    made = state("wait_for_condition")
    assert (made.interval, made.backoff_rate, made.jitter) == ("30s", 1, "none")
    assert (made.max_delay, made.max_attempts, made.timeout, made.initial) == (None, None, None, None)


@pytest.mark.parametrize("kind", ["invoke", "step", "workflow"])
def test_a_payload_that_is_not_written_is_an_empty_object_and_null_is_null(kind: str) -> None:
    assert state(kind).payload == {}
    assert state(kind, payload=None).payload is None


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("step", "semantics", "at_least_once"),
        ("http", "method", "GET"),
        ("http", "success", ("200-299",)),
        ("http", "redirects", 0),
        ("http", "body", ABSENT),
        ("workflow", "mode", "child"),
        ("wait_for_callback", "result_format", "json"),
        ("loop", "on_limit", "fail"),
        ("map", "nesting", None),
        ("block", "context", False),
        ("choice", "default", None),
        ("pass", "when", True),
        ("fail", "data", ABSENT),
    ],
)
def test_what_is_not_written_has_its_default(kind: str, field: str, value: object) -> None:
    assert getattr(state(kind), field) == value


def test_a_scope_that_says_nothing_goes_on_compensating() -> None:
    assert workflow({"name": "s", "type": "pass"}).compensation.on_error == "continue"
    assert state("block", compensation={"on_error": "fail"}).compensation.on_error == "fail"


def test_a_null_that_is_a_value_is_told_from_nothing() -> None:
    assert state("pass").output is ABSENT
    assert state("pass", output=None).output is None
    assert state("loop").while_ is ABSENT
    assert state("loop", **{"while": None}).while_ is None


# Bounds


@pytest.mark.parametrize(
    ("duration", "is_taken"),
    [("366d", True), (31_622_400, True), (31_622_401, False), ("8785h", False), (0, True), (-5, True), ("-5s", False)],
)
def test_a_wait_lasts_at_most_366_days_and_may_be_over_already(duration: Json, *, is_taken: bool) -> None:
    assert takes("wait", duration=duration) == is_taken


@pytest.mark.parametrize(
    ("timeout", "is_taken"),
    [
        (0.5, True),
        ("PT1M", True),
        ("{{ input.t }}", True),
        ("{% if a %}1s{% endif %}", True),
        (0, False),
        (True, False),
    ],
)
def test_a_timeout_is_a_time_or_a_template_of_one(timeout: Json, *, is_taken: bool) -> None:
    assert takes("step", timeout=timeout) == is_taken


@pytest.mark.parametrize(("rate", "is_taken"), [(1, True), (1.5, True), (1000, True), (0.9, False), (1001, False)])
def test_a_backoff_rate_grows(rate: Json, *, is_taken: bool) -> None:
    assert takes("step", retry=[{"backoff_rate": rate}]) == is_taken


@pytest.mark.parametrize("until", ["2026-01-01", "2026-01-01T00:00:00Z", "{{ input.at }}"])
def test_a_wait_ends_at_a_time(until: str) -> None:
    assert workflow({"name": "s", "type": "wait", "until": until})


@pytest.mark.parametrize(
    ("text", "is_one"), [("{{ a }}", True), ("{% if a %}", True), ("{# a #}", True), ("{a}", False), ("", False)]
)
def test_a_template_is_text_with_template_braces(text: str, *, is_one: bool) -> None:
    assert is_template(text) == is_one


# Walking


def leaf(name: str) -> Object:
    return {"name": name, "type": "pass"}


def test_every_list_of_states_is_walked_in_the_order_of_the_grammar() -> None:
    walked = walk_states(
        workflow(
            {
                "name": "a",
                "type": "choice",
                "choices": [{"when": "x", "states": [leaf("b")]}, {"when": "y", "next": "end"}],
                "default": [leaf("c")],
                "catch": [{"states": [leaf("d")]}],
                "compensate": [leaf("e")],
            },
            {"name": "f", "type": "parallel", "branches": {"left": [leaf("g")], "right": [leaf("h")]}},
            {"name": "i", "type": "wait_for_callback", "submit": [leaf("j")]},
            {"name": "k", "type": "map", "items": "input", "states": [leaf("l")]},
            {"name": "m", "type": "loop", "max_iterations": 1, "states": [leaf("n")]},
            {"name": "o", "type": "block", "states": [leaf("p")], "finally": [leaf("q")]},
            catch=[{"states": [leaf("r")]}],
            **{"finally": [leaf("s")]},
        )
    )
    assert {placed.state.name: "/".join(map(str, placed.path)) for placed in walked} == {
        "a": "states/0",
        "b": "states/0/choices/0/states/0",
        "c": "states/0/default/0",
        "d": "states/0/catch/0/states/0",
        "e": "states/0/compensate/0",
        "f": "states/1",
        "g": "states/1/branches/left/0",
        "h": "states/1/branches/right/0",
        "i": "states/2",
        "j": "states/2/submit/0",
        "k": "states/3",
        "l": "states/3/states/0",
        "m": "states/4",
        "n": "states/4/states/0",
        "o": "states/5",
        "p": "states/5/states/0",
        "q": "states/5/finally/0",
        "r": "catch/0/states/0",
        "s": "finally/0",
    }


def test_a_placed_state_knows_its_list_and_what_is_around_it() -> None:
    inner: Object = {"name": "b", "type": "block", "states": [leaf("c"), leaf("d")]}
    *_, last = walk_states(workflow({"name": "a", "type": "block", "states": [inner]}))
    assert last.state.name == "d"
    assert last.siblings == ("c", "d")
    assert last.list_path == ("states", 0, "states", 0, "states")
    assert [parent.name for parent in last.parents] == ["a", "b"]


def at(document: Json, path: tuple[str | int, ...]) -> Any:
    value: Any = document
    for step in path:
        value = value[step]
    return value


def names_in(value: Json) -> list[str]:
    """The names of all states of a document, found without the models."""
    if isinstance(value, list):
        return [name for item in value for name in names_in(item)]
    if not isinstance(value, dict):
        return []
    own = [str(value["name"])] if value.get("type") in TYPES and "name" in value else []
    nested = ("states", "choices", "default", "branches", "submit", "catch", "finally", "compensate")
    branches = value.get("branches")
    lists = [value.get(key) for key in nested if key != "branches"]
    lists += list(branches.values()) if isinstance(branches, dict) else []
    return own + [name for item in lists for name in names_in(item)]


@given(document=workflows())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_walking_meets_every_state_once_at_its_place(document: Object) -> None:
    walked: list[Placed] = list(walk_states(Workflow.model_validate(document)))
    assert sorted(placed.state.name for placed in walked) == sorted(names_in(document))
    for placed in walked:
        assert at(document, placed.path)["name"] == placed.state.name
        assert [item["name"] for item in at(document, placed.list_path)] == list(placed.siblings)


def test_a_work_state_holds_no_lists_but_its_catch_and_its_undo() -> None:
    for kind in sorted(WORK):
        assert [path for path, _ in lists_in(state(kind, catch=[{}]))] == [("catch", 0, "states"), ("compensate",)]
