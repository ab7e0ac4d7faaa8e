"""The committed schemas, the models and a JSON Schema validator give the same verdict on every document."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from corpus_shape import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from properties.strategies import workflows
from pydantic import ValidationError

from durableflow.document import read_bytes
from durableflow.model import Part, Project, Workflow, project_schema, workflow_schema

if TYPE_CHECKING:
    from corpus_text import Case

    from durableflow.values import Json, Object

SCHEMAS = Path(__file__).parents[1] / "schemas"
FILES = {"workflow": workflow_schema, "project": project_schema}
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def committed(name: str) -> Object:
    schema: Object = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


WORKFLOW = Draft202012Validator(committed("workflow"))
PROJECT = Draft202012Validator(committed("project"))


def models_take(model: type[Part], document: Json) -> bool:
    try:
        model.model_validate(document)
    except ValidationError:
        return False
    return True


def one_state(**fields: Json) -> Object:
    return {"durableflow": "1", "name": "x", "states": [{"name": "s", **fields}]}


@pytest.mark.parametrize("name", FILES)
def test_the_committed_file_is_what_the_models_say(name: str) -> None:
    text = json.dumps(FILES[name](), indent=2, ensure_ascii=False) + "\n"
    assert (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8") == text, (
        f"write it again: durableflow schema {name} > schemas/{name}.schema.json"
    )


@pytest.mark.parametrize("name", FILES)
def test_the_schema_is_a_schema_of_draft_2020_12(name: str) -> None:
    Draft202012Validator.check_schema(committed(name))


@given(document=workflows())
@quick
def test_both_take_every_valid_workflow(document: Object) -> None:
    Workflow.model_validate(document)
    assert [error.message for error in WORKFLOW.iter_errors(document)] == []


# Where the models say more than a JSON Schema can. In each case the schema takes what the models refuse, so an editor
# is silent where `durableflow validate` is not; never the other way round.
MODELS_SAY_MORE: dict[str, tuple[Object, str]] = {
    "long-duration": (one_state(type="wait", duration="400d"), "a pattern cannot compare a duration with a limit"),
    "zero-timeout": (one_state(type="step", handler="a:b", timeout="0s"), "likewise"),
    "iso-numbers": (one_state(type="wait", duration="PT1.2.3S"), "the pattern for editors is the simple one"),
    "time": (one_state(type="wait", until="2026-13-45"), "a pattern knows no calendar"),
    "fraction": (
        one_state(type="loop", max_iterations=3.0, states=[{"name": "t", "type": "pass"}]),
        "3.0 is an integer to JSON Schema; here it is a double",
    ),
    "status-range": (one_state(type="http", url="https://a", success=["299-200"]), "a pattern cannot compare numbers"),
    "newline": (
        {"durableflow": "1", "name": "x\n", "states": [{"name": "s", "type": "pass"}]},
        "Python's $ matches before a last newline; that of editors does not",
    ),
}


@pytest.mark.parametrize("document", [d for d, _ in MODELS_SAY_MORE.values()], ids=list(MODELS_SAY_MORE))
def test_where_the_models_say_more_the_schema_takes_it(document: Object) -> None:
    assert not models_take(Workflow, document)
    assert WORKFLOW.is_valid(document)


# The same in the corpus.
SAYS_MORE_IDS = {"S8-zero-timeout", "S8-two-years", "S10-newline-behind", "S11-newline"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_both_give_the_same_verdict_on_the_corpus(case: Case) -> None:
    document = read_bytes(case.make(), case.name).value
    assert models_take(Workflow, document) == (case.code is None)
    assert WORKFLOW.is_valid(document) == (case.code is None or case.id in SAYS_MORE_IDS)


PLACED: tuple[Json, ...] = (None, True, -1, 0, 2, 1.5, "end", "a b", "{{ input.x }}", [], {}, [None], {"states": []})


def places(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path of a document but the top's."""
    items: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [inner for key, item in items for inner in ((*path, key), *places(item, (*path, key)))]


@given(document=workflows(types={"step", "http", "wait", "choice", "loop", "map", "fail"}), data=st.data())
@settings(quick, max_examples=80)
def test_both_give_the_same_verdict_on_a_document_with_one_change(document: Object, data: st.DataObject) -> None:
    changed: Any = copy.deepcopy(document)
    path = data.draw(st.sampled_from(places(changed)))
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    change = data.draw(st.sampled_from(["remove", "replace", "rename"]))
    value = holder.pop(path[-1]) if change != "replace" else None
    if change == "replace":
        holder[path[-1]] = data.draw(st.sampled_from(PLACED))
    elif change == "rename" and isinstance(holder, dict):
        holder[data.draw(st.sampled_from(["until", "next", "retry", "states", "nmae", "type"]))] = value
    assert models_take(Workflow, changed) == WORKFLOW.is_valid(changed)


PROJECTS: dict[str, tuple[Object, bool]] = {
    "least": ({}, True),
    "whole": (
        {
            "workflows": ["workflows", "extra/one.yaml"],
            "handlers": ["handlers"],
            "functions": {
                "inventory:live": {"python": "functions.inventory:handler"},
                "shipping:live": {"workflow": "shipping"},
                "risk:1": {"durable": "functions.risk:handler"},
                "legacy": {"command": ["node", "legacy.js"]},
                "pricing": {"http": "http://127.0.0.1:9000/invocations"},
                "fraud": [{"result": {"score": 0.1}}, {"error": {"name": "Down", "message": "…", "data": 1}}],
                "ledger:live": {"lambda": "arn:aws:lambda:eu-west-1:123456789012:function:ledger:live"},
                "none": {"result": None},
            },
            "actions": {"dynamodb:put_item": {"result": {}}, "s3:get_object": [{"error": {"name": "NoSuchKey"}}]},
            "http_answers": {"POST https://pay.example/charges": {"python": "functions.pay:charge"}},
            "env": {"ORDERS_TABLE": "orders-dev"},
            "secrets": {"payments_token": {"env": "PAYMENTS_TOKEN"}},
            "store": ".durableflow/executions.db",
            "deploy": {
                "function": {"order": "order-fn"},
                "runtime": "python3.13",
                "memory": 512,
                "timeout": "60s",
                "execution_timeout": "30d",
                "retention": "14d",
                "alias": "live",
                "environment": {"ORDERS_TABLE": "orders"},
            },
            "offload": {"threshold": "200KB", "s3": "bucket/prefix"},
            "http": {"allow": ["127.0.0.1:9000", "[::1]:80"]},
            "aws": {"allow": ["s3:PutObject", "dynamodb:*"]},
            "limits": {"operations": 3000},
        },
        True,
    ),
    "two-targets": ({"functions": {"f": {"python": "a:b", "result": 1}}}, False),
    "no-target": ({"functions": {"f": {}}}, False),
    "unknown-target": ({"functions": {"f": {"ruby": "a:b"}}}, False),
    "list-of-targets": ({"functions": {"f": [{"python": "a:b"}]}}, False),
    "no-answers": ({"functions": {"f": []}}, False),
    "action-by-workflow": ({"actions": {"s3:get_object": {"workflow": "w"}}}, False),
    "action-name": ({"actions": {"PutItem": {"result": 1}}}, False),
    "request": ({"http_answers": {"https://a": {"result": 1}}}, False),
    "env-number": ({"env": {"PORT": 80}}, False),
    "secret-text": ({"secrets": {"t": "abc"}}, False),
    "offload-both": ({"offload": {"s3": "bucket", "directory": "d"}}, False),
    "offload-neither": ({"offload": {"threshold": 1000}}, False),
    "offload-size": ({"offload": {"threshold": "200MB", "directory": "d"}}, False),
    "deploy-empty": ({"deploy": {}}, False),
    "deploy-memory": ({"deploy": {"function": "f", "memory": 64}}, False),
    "deploy-template": ({"deploy": {"function": "f", "timeout": "{{ x }}"}}, False),
    "operations": ({"limits": {"operations": 0}}, False),
    "null-store": ({"store": None}, False),
    "unknown": ({"stores": []}, False),
}


@pytest.mark.parametrize(("document", "is_valid"), PROJECTS.values(), ids=list(PROJECTS))
def test_both_give_the_same_verdict_on_projects(document: Object, *, is_valid: bool) -> None:
    project: Json = {"durableflow": "1", **document}
    assert models_take(Project, project) == is_valid
    assert PROJECT.is_valid(project) == is_valid


def test_the_schema_names_only_what_is_wrong_with_the_type_that_was_written() -> None:
    errors = list(WORKFLOW.iter_errors(one_state(type="invoke", functoin="f")))
    assert sorted(error.message for error in errors) == [
        "'function' is a required property",
        "Additional properties are not allowed ('functoin' was unexpected)",
    ]
