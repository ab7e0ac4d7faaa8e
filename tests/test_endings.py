"""Every ending of the example workflows: in memory with crashes, and on the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from crashes import dying, endings, interruptions
from endings import ENDINGS
from example_worlds import ExampleWorld, example, expected_output, without_repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[[str], ExampleWorld]

THOUSAND = "a thousand pictures"
IN_MEMORY = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(300)] if name == THOUSAND else [])
    for name in ENDINGS
]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExampleWorld]]:
    """The worlds that `make` has made. What they have imported is forgotten after them."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    monkeypatch.setenv("SHOP_LATENCY", "0")
    yield []
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def make(worlds: list[ExampleWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the world of an ending, with a journal of its own."""

    def made(name: str) -> ExampleWorld:
        journal = tmp_path / f"journal-{len(worlds)}"
        monkeypatch.setenv("SHOP_JOURNAL", str(journal))
        worlds.append(example(name, journal))
        return worlds[-1]

    return made


@pytest.mark.parametrize("name", IN_MEMORY)
def test_an_example_ends_so_wherever_its_invocations_die(name: str, make: Make, worlds: list[ExampleWorld]) -> None:
    expected = ENDINGS[name]
    first = make(name)
    first.run()

    ending = endings(lambda: make(name), spared=interruptions(first), page=100 if name == THOUSAND else 2)

    if expected.error is None:
        assert ending.result == expected_output(expected, "7f3a")
    else:
        assert ending.error == expected.error
    assert first.operations == expected.operations
    if expected.started is not None:
        assert ending.names == list(expected.started)
    if expected.seen is None:
        assert {frozenset(world.seen) for world in worlds} == {frozenset(first.seen)}
    else:
        assert first.seen == expected.seen
        assert {without_repeats(world.seen) for world in worlds} == {expected.seen}


@pytest.mark.parametrize("name", [name for name, ending in ENDINGS.items() if ending.workflow == "nightly_etl"])
def test_a_job_is_not_started_again_when_its_start_is_interrupted(
    name: str, make: Make, worlds: list[ExampleWorld]
) -> None:
    first = make(name)
    first.run()
    moments = interruptions(first)
    assert [after for _, after in moments] == [True, False], (
        "as soon as the start is recorded, and before its result is"
    )

    for moment in moments:
        output = dying(make(name), moment)
        assert output["Status"] == "FAILED"
        assert output["Error"]["ErrorType"] == "States.StepInterrupted"

    before, after = (world.seen for world in worlds[1:])
    assert (before, after) == ((), first.seen[:1]), "it was not tried, or tried once"
