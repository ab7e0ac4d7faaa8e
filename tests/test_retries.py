"""When a state is tried again."""

import pytest

from durableflow import retries
from durableflow.errors import Fault, Origin
from durableflow.expressions import Program
from durableflow.library import parse_duration
from durableflow.plan import Retrier


def constant(value: object) -> Program:
    return Program(["const", value])


def seconds(program: Program) -> float:
    value = program.constant
    return parse_duration(value) if isinstance(value, str) else float(value)


def delay(retrier: Retrier, attempts: int, *, seed: str = "seed", elapsed: float | None = None) -> int | None:
    return retries.delay_seconds(retrier, attempts, seed=seed, seconds=seconds, elapsed_seconds=elapsed)


def test_three_attempts_in_all_by_default() -> None:
    retrier = Retrier(jitter="none")
    assert [delay(retrier, attempts) for attempts in (1, 2, 3)] == [1, 2, None]


def test_the_delay_doubles_by_default_up_to_max_delay() -> None:
    retrier = Retrier(jitter="none", max_attempts=9, interval=constant("3s"), max_delay=constant(20))
    assert [delay(retrier, attempts) for attempts in range(1, 6)] == [3, 6, 12, 20, 20]


def test_increment_grows_by_a_fixed_amount() -> None:
    retrier = Retrier(jitter="none", max_attempts=9, interval=constant(2), increment=constant("5s"))
    assert [delay(retrier, attempts) for attempts in range(1, 4)] == [2, 7, 12]


def test_a_delay_is_whole_seconds_rounded_up_and_at_least_one() -> None:
    assert delay(Retrier(jitter="none", interval=constant(0)), 1) == 1
    assert delay(Retrier(jitter="none", interval=constant(1.2), backoff_rate=1.5), 2) == 2
    assert delay(Retrier(jitter="none", interval=constant(2.1), backoff_rate=1), 1) == 3


def test_growth_beyond_every_double_stops_at_the_longest_delay() -> None:
    retrier = Retrier(jitter="none", max_attempts=10**6, backoff_rate=1e300)
    assert delay(retrier, 500_000) == 31_622_400


@pytest.mark.parametrize(("jitter", "lowest"), [("full", 1), ("half", 50)])
def test_jitter_comes_from_the_seed_and_stays_in_its_range(jitter: str, lowest: int) -> None:
    retrier = Retrier(jitter=jitter, interval=constant(100), max_attempts=2)  # type: ignore[arg-type]
    delays = [delay(retrier, 1, seed=str(n)) for n in range(300)]
    assert delays == [delay(retrier, 1, seed=str(n)) for n in range(300)]
    assert min(delays) >= lowest  # type: ignore[type-var, operator]
    assert max(delays) <= 100  # type: ignore[type-var, operator]
    assert max(delays) - min(delays) > 40  # type: ignore[type-var, operator]


def test_no_attempt_begins_after_max_duration() -> None:
    retrier = Retrier(jitter="none", interval=constant(10), max_attempts=9, max_duration=constant("60s"))
    assert delay(retrier, 1, elapsed=50) == 10
    assert delay(retrier, 1, elapsed=50.5) is None
    assert delay(retrier, 1, elapsed=None) == 10


def found(retriers: list[Retrier], fault: Fault) -> Retrier | None:
    return retries.matching(retriers, fault, holds=lambda program: bool(program.constant))


def test_the_first_retrier_that_matches_decides() -> None:
    first, second = Retrier(errors=("Http.5*",)), Retrier()
    assert found([first, second], Fault("Http.503")) is first
    assert found([first, second], Fault("Boom")) is second
    assert found([first], Fault("Boom")) is None


def test_a_condition_that_does_not_hold_passes_to_the_next_retrier() -> None:
    never, always = Retrier(when=constant(False)), Retrier(when=constant(True))
    assert found([never, always], Fault("Boom")) is always


@pytest.mark.parametrize("name", ["States.QueryEvaluationError", "States.ResultInvalid"])
def test_errors_of_templates_are_repeated_only_when_named_exactly(name: str) -> None:
    work = Origin(is_work=True)
    assert found([Retrier(errors=("States.ALL", "States.*", "States.TaskFailed"))], Fault(name, origin=work)) is None
    exact = Retrier(errors=(name,))
    assert found([exact], Fault(name, origin=work)) is exact


def test_a_retrier_that_reads_recorded_times_says_so() -> None:
    now = Program(["attr", ["name", "context"], "now"])
    assert not retries.reads_time(Retrier(interval=constant(1)))
    assert retries.reads_time(Retrier(when=now))
