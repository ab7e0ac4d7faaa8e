"""The random workflows have every type and field of the grammar, but for those that are left out on purpose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from features import runnable
from fields import field_keys
from hypothesis import HealthCheck, Phase, given, seed, settings
from strategies import LEFT_OUT, Case, cases

from durableflow import model
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.model import CheckFields, Part, StateFields
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS: dict[type[Part], str] = {
    model.Workflow: "file",
    model.InputSpec: "input",
    model.Defaults: "defaults",
    model.Compensation: "compensation",
    model.CheckFields: "check",
    model.ChoiceArm: "arm",
    model.Retrier: "retrier",
    model.Catcher: "catcher",
    model.Completion: "completion",
}
OF_PROJECTS = ("project", "target", "answer", "secret", "deploy", "offload", "http_settings", "aws_settings", "limits")
KEYS = {key for key in field_keys() if key.partition(".")[0] not in OF_PROJECTS}


def used(value: object) -> Iterator[str]:
    """Give the key of every field that a part of a workflow has, and those in it."""
    if isinstance(value, Part):
        for name in value.model_fields_set:
            alias = type(value).model_fields[name].alias or name
            yield next(key for prefix in prefixes(value) if (key := f"{prefix}.{alias}") in KEYS)
            yield from used(getattr(value, name))
    elif isinstance(value, tuple | list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from used(inner)


def prefixes(part: Part) -> Iterator[str]:
    for kind, prefix in PARTS.items():
        if isinstance(part, kind):
            yield prefix
    if isinstance(part, StateFields | CheckFields):
        yield str(part.type)  # type: ignore[union-attr]  # each kind of them has one
        yield "state"


@pytest.mark.slow
def test_every_field_of_the_grammar_is_drawn() -> None:
    drawn: set[str] = set()

    @seed(0)
    @settings(
        phases=[Phase.generate],
        database=None,
        deadline=None,
        max_examples=1_500,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases(runnable()))
    def draw(case: Case) -> None:
        for workflow in (case.workflow, *case.workflows.values()):
            text = json.dumps(workflow)
            drawn.update(used(decode_workflow(read_document(Source(name="drawn.json", text=text)))))

    draw()
    assert sorted(KEYS - drawn - set(LEFT_OUT)) == []
    assert sorted(set(LEFT_OUT) & drawn | set(LEFT_OUT) - KEYS) == []
