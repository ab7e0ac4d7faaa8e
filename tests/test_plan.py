"""A Plan keeps what was compiled, comes back from its JSON, and runs without the author's side."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from durableflow import plan as plans
from durableflow.errors import UsageError
from durableflow.expressions import Budget, Program
from durableflow.plan import Plan, States, from_bundle, from_json, to_bundle, walk
from durableflow.values import Json, Object, canonical_bytes

# Written by the first version of the format, never edited: executions outlive deployments.
OLD = Path(__file__).parent / "plans" / "v1.json"
# Written by the first version that ran the whole language.
WHOLE = Path(__file__).parent / "plans" / "v1-whole.json"


def old(path: Path = OLD) -> Object:
    return cast("Object", json.loads(path.read_text(encoding="utf-8")))


def constant(value: Json) -> Program:
    return Program(["const", value])


def plan_of(*nodes: plans.AnyNode, name: str = "sample") -> Plan:
    return Plan(name=name, states=States.of(nodes))


def refusal(data: Json) -> str:
    with pytest.raises(UsageError) as caught:
        from_json(data)
    assert caught.value.code == "DF501"
    return caught.value.problem.message


# A plan of an old version.


@pytest.mark.parametrize("path", [OLD, WHOLE], ids=lambda path: path.stem)
def test_an_old_plan_loads_and_keeps_its_digest(path: Path) -> None:
    plan = from_json(old(path))
    assert plan.digest == old(path)["digest"]
    assert plan.to_json() == old(path)


def test_an_old_plan_means_what_it_meant() -> None:
    plan = from_json(old())
    assert [(node.TYPE, node.name) for node in walk(plan.states)] == [
        ("invoke", "reserve"),
        ("fail", "give_up"),
        ("step", "charge"),
        ("choice", "route"),
        ("wait", "cool_off"),
        ("wait", "until"),
        ("block", "group"),
        ("loop", "pages"),
        ("pass", "page"),
        ("loop", "other"),
        ("pass", "nothing"),
        ("succeed", "stop"),
    ]
    reserve, charge, *_ = plan.states.nodes
    assert isinstance(reserve, plans.Invoke)
    assert isinstance(charge, plans.Step)
    assert (reserve.allow, reserve.catch[0].next, reserve.catch[1].next) == (("inventory:*",), "stop", None)
    (retrier,) = reserve.retry
    assert (retrier.errors, retrier.max_attempts, retrier.increment) == (("Http.5*",), 2, constant("1s"))
    assert (charge.semantics, charge.payload) == ("at_most_once", constant({}))
    assert charge.when is not None
    assert charge.when.is_true({"input": {"total": 1}}.get, Budget())
    assert plan.input_schema == {"type": "object", "required": ["order_id"]}
    assert (plan.version, plan.env, sorted(plan.vars)) == ("7", ("TABLE",), ["table", "tries"])
    assert str(plan.span(charge.at)) == "workflows/order.yaml:23:5"


def test_every_field_of_every_node_is_in_an_old_plan() -> None:
    seen: dict[str, set[str]] = {}

    def look(data: Json) -> None:
        if isinstance(data, dict):
            seen.setdefault(str(data.get("type", "")), set()).update(data)
            for inner in data.values():
                look(inner)
        elif isinstance(data, list):
            for inner in data:
                look(inner)

    look(old())
    look(old(WHOLE))
    common = {field.name for field in dataclasses.fields(plans.Node)}
    for name, kind in plans.NODE_TYPES.items():
        own = {field.name.rstrip("_") for field in dataclasses.fields(kind)} - common
        assert own <= seen[name], name
    assert common <= set().union(*seen.values())


# There and back.


def test_a_plan_of_defaults_says_nothing_about_them() -> None:
    plan = plan_of(plans.Pass(name="a"))
    assert plan.to_json() == {
        "format": 1,
        "digest": plan.digest,
        "name": "sample",
        "states": [{"type": "pass", "name": "a"}],
    }
    assert from_json(plan.to_json()) == plan


def test_an_empty_list_of_states_is_not_none() -> None:
    choice = plans.Choice(name="a", choices=(plans.Arm(when=constant(1), states=States.of([])),), default=States.of([]))
    (back,) = from_json(plan_of(choice).to_json()).states.nodes
    assert back == choice


def test_a_null_value_is_not_left_out() -> None:
    (back,) = from_json(plan_of(plans.Pass(name="a", output=constant(None))).to_json()).states.nodes
    assert back.output == constant(None)


def test_places_and_file_do_not_count_for_the_digest() -> None:
    moved = Plan(name="sample", states=States.of([plans.Pass(name="a", at=(9, 9, 9, 9))]), file="elsewhere.yaml")
    assert moved.digest == plan_of(plans.Pass(name="a")).digest
    assert moved.to_json()["file"] == "elsewhere.yaml"


@pytest.mark.parametrize(
    "other",
    [
        plan_of(plans.Pass(name="b")),
        plan_of(plans.Succeed(name="a")),
        plan_of(plans.Pass(name="a", next=plans.END)),
        plan_of(plans.Pass(name="a", result_schema={"type": "object"})),
        plan_of(plans.Pass(name="a"), plans.Pass(name="b")),
        plan_of(plans.Pass(name="a"), name="other"),
        Plan(name="sample", states=States.of([plans.Pass(name="a")]), engine=2),
    ],
)
def test_whatever_can_matter_changes_the_digest(other: Plan) -> None:
    assert other.digest != plan_of(plans.Pass(name="a")).digest


def test_positions_say_where_a_next_goes() -> None:
    states = States.of([plans.Pass(name="a"), plans.Pass(name="b")])
    assert states.positions == {"a": 0, "b": 1, "end": 2}


def test_the_bytes_of_a_plan_are_the_same_every_time() -> None:
    assert canonical_bytes(from_json(old()).to_json()) == canonical_bytes(old())


# What is no plan.


def test_a_newer_format_is_refused_by_number() -> None:
    assert refusal({**old(), "format": 2}) == "the plan has format 2, this durableflow reads up to 1"


@pytest.mark.parametrize("data", [None, [], "plan", {}, {"format": "1"}])
def test_what_is_no_plan_is_refused(data: Json) -> None:
    assert refusal(data) == "this is not a compiled plan"


@pytest.mark.parametrize(
    "damage",
    [
        {"states": None},
        {"states": [{"name": "a"}]},
        {"states": [{"type": "dance", "name": "a"}]},
        {"states": [{"type": "pass"}]},
        {"states": [{"type": "pass", "name": "a", "unheard_of": 1}]},
        {"states": ["pass"]},
        {"output": []},
        {"vars": []},
        {"catch": 3},
    ],
)
def test_a_damaged_plan_is_refused(damage: Object) -> None:
    assert refusal({**old(), **damage}).startswith("the plan is damaged")


# Several plans in one file.


def test_a_bundle_gives_each_plan_by_name() -> None:
    first, second = plan_of(plans.Pass(name="a"), name="one"), plan_of(plans.Pass(name="a"), name="two")
    assert from_bundle(to_bundle([first, second])) == {"one": first, "two": second}


def test_a_single_plan_is_a_bundle_of_one() -> None:
    assert list(from_bundle(old())) == ["order"]


# What runs a plan needs none of the author's side.


def test_loading_a_plan_imports_no_parser_and_no_model() -> None:
    code = (
        "import json, sys; from durableflow import plan; p = plan.from_json(json.load(open(sys.argv[1])));"
        "p.digest; json.dumps(p.to_json());"
        "print(*sorted({'yaml', 'pydantic', 'jsonschema', 'jinja2', 'click', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(OLD)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
