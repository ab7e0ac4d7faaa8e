"""Fields that no other test runs by themselves: each in a whole execution."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import World

from durableflow.errors import Fault


def failing(times: int, name: str = "Busy", data: Any = None) -> Any:
    """A function that fails some times, then gives how often it was called."""
    calls = 0

    def function(_: Any) -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise Fault(name, "later", data)
        return calls

    return function


def delays(retry: str, *, times: int) -> list[int]:
    """Return the seconds between the attempts of a step that fails some times."""
    world = World(
        f"states: [{{name: s, type: step, handler: 'm:f', retry: [{retry}]}}]", handlers={"m:f": failing(times)}
    )
    assert world.result() == times + 1
    return [u["StepOptions"]["NextAttemptDelaySeconds"] for u in world.service.updates if u["Action"] == "RETRY"]


@pytest.mark.covers("retrier.interval", "retrier.jitter", "retrier.max_attempts")
def test_the_first_delay_is_the_interval() -> None:
    assert delays("{interval: 9s, jitter: none}", times=1) == [9]


@pytest.mark.covers("retrier.backoff_rate", "retrier.max_delay")
def test_delays_grow_by_a_factor_up_to_the_longest() -> None:
    assert delays("{interval: 2, backoff_rate: 3, max_delay: 10s, max_attempts: 5, jitter: none}", times=4) == [
        2,
        6,
        10,
        10,
    ]


@pytest.mark.covers("retrier.increment")
def test_delays_grow_by_an_amount() -> None:
    assert delays("{interval: 2, increment: 5s, max_attempts: 4, jitter: none}", times=3) == [2, 7, 12]


@pytest.mark.covers("retrier.max_duration")
def test_no_attempt_begins_after_the_duration() -> None:
    world = World(
        "states: [{name: a, type: invoke, function: f, "
        "retry: [{max_attempts: 99, interval: 60, backoff_rate: 1, jitter: none, max_duration: 150s}]}]",
        targets={"f": failing(50)},
    )
    assert world.error()[0] == "Busy"
    assert world.started.count("a") == 3


@pytest.mark.covers("retrier.errors", "retrier.when", "invoke.retry")
@pytest.mark.parametrize(("data", "attempts"), [(1, 4), (2, 2), (None, 1)])
def test_the_first_retrier_whose_errors_and_condition_match_decides(data: Any, attempts: int) -> None:
    name = "Busy" if data else "Other"
    world = World(
        """
        states:
          - name: a
            type: invoke
            function: f
            retry:
              - {errors: [Bus*], when: error.data == 1, max_attempts: 4}
              - {errors: [Busy], max_attempts: 2}
        """,
        targets={"f": failing(9, name, data)},
    )
    assert world.error()[0] == name
    assert world.started.count("a") == attempts


@pytest.mark.covers("file.retry_policies", "file.defaults", "defaults.retry")
def test_a_policy_can_be_the_default_and_a_state_can_switch_it_off() -> None:
    head = "retry_policies: {twice: [{max_attempts: 2, interval: 1}]}\ndefaults: {retry: twice}\n"
    state = "{name: s, type: step, handler: 'm:f'%s}"
    assert World(f"{head}states: [{state % ''}]", handlers={"m:f": failing(1)}).result() == 2
    assert World(f"{head}states: [{state % ', retry: []'}]", handlers={"m:f": failing(1)}).error()[0] == "Busy"


@pytest.mark.covers("file.name", "file.version")
def test_a_workflow_knows_its_name_and_version() -> None:
    world = World(
        'version: "4"\nstates: [{name: a, type: pass, '
        "output: ['{{ context.workflow.name }}', '{{ context.workflow.version }}']}]"
    )
    assert world.result() == ["demo", "4"]


@pytest.mark.covers("file.description", "state.description")
def test_a_description_changes_nothing() -> None:
    plain = World("states: [{name: a, type: step, handler: 'm:f'}]", handlers={"m:f": failing(0)})
    told = World(
        "description: counts\nstates: [{name: a, type: step, handler: 'm:f', description: once}]",
        handlers={"m:f": failing(0)},
    )
    assert plain.result() == told.result() == 1
    assert plain.service.updates == told.service.updates
    assert plain.plan.digest == told.plan.digest
