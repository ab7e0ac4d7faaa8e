"""Our handler on AWS's own testing SDK: every ending of the examples, with the same number of operations.

What that runner cannot do is listed in official_endings.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from endings import ENDINGS
from example_worlds import expected_output, facts, plan_of, project

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def official(official_program: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How each example ended on the official runner."""
    given = {
        "plans": {name: plan_of(name).to_json() for name in project().workflows},
        "project": facts(),
        "folder": str(tmp_path_factory.mktemp("journals")),
    }
    made: dict[str, Any] = official_program("official_endings.py", given)
    return made


@pytest.mark.parametrize("name", ENDINGS)
def test_the_official_runner_ends_an_example_as_our_services_do(name: str, official: dict[str, Any]) -> None:
    ending, found = ENDINGS[name], official[name]
    assert found["status"] == ending.status, found["error"]
    assert found["output"] == expected_output(ending, found["arn"].rpartition("/")[2])
    ending.check_error(*(found["error"] or (None, None)))
    assert len(found["names"]) == ending.operations
    if ending.started is not None:
        assert found["names"] == list(ending.started)
    if ending.seen is not None:
        assert tuple(found["seen"]) == ending.seen
