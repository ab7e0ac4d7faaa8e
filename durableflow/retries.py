"""Again, and in how many seconds? Jitter comes from the operation, not from chance.

Source: language.md 6 and 12, rules 18, 22, 75; protocol.md 5.1.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

from durableflow import faults
from durableflow.operations import DELAY_MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.errors import Fault
    from durableflow.expressions import Program
    from durableflow.plan import Retrier

Seconds: TypeAlias = "Callable[[Program], float]"
"""Evaluates a duration of the retrier; raises the fault of a duration that is none."""

_INTERVAL_SECONDS: Final = 1.0
_BACKOFF_RATE: Final = 2.0


def matching(retriers: Sequence[Retrier], fault: Fault, *, holds: Callable[[Program], bool]) -> Retrier | None:
    """Return the first retrier that matches the latest error, which alone decides.

    Args:
        retriers: the state's `retry` list.
        fault: the latest error.
        holds: evaluates a retrier's `when`; sees `error`.
    """
    for retrier in retriers:
        if not faults.matches(retrier.errors, fault):
            continue
        # Errors of templates and of result_schema come back the same every time (rule 18).
        if fault.name in faults.NEVER_RETRIED_BY_GLOB and fault.name not in retrier.errors:
            continue
        if retrier.when is None or holds(retrier.when):
            return retrier
    return None


def reads_time(retrier: Retrier) -> bool:
    """Say whether evaluating a retrier may read recorded times."""
    programs = (retrier.when, retrier.interval, retrier.increment, retrier.max_delay, retrier.max_duration)
    return any(program is not None and program.reads_time for program in programs)


def delay_seconds(
    retrier: Retrier, attempts: int, *, seed: str, seconds: Seconds, elapsed_seconds: float | None = None
) -> int | None:
    """Return after how many whole seconds the next attempt starts, or None when there is none.

    Args:
        retrier: the one that matched.
        attempts: how many attempts of the state have been made, from 1.
        seed: names this very attempt: execution, operation and attempt. The same seed gives the same jitter.
        seconds: evaluates the retrier's durations.
        elapsed_seconds: since the first attempt began, or None when that is not known.
    """
    if attempts >= retrier.max_attempts:
        return None
    whole = pause_seconds(retrier, attempts, seed=seed, seconds=seconds)
    if retrier.max_duration is None or elapsed_seconds is None:
        return whole
    # An attempt that could only begin after the limit is not made.
    return whole if elapsed_seconds + whole <= seconds(retrier.max_duration) else None


def pause_seconds(retrier: Retrier, attempts: int, *, seed: str, seconds: Seconds) -> int:
    """Return the whole seconds between an attempt and the next one; arguments as in :func:`delay_seconds`."""
    delay = _base_seconds(retrier, attempts, seconds)
    share = _share(seed)
    match retrier.jitter:
        case "full":
            delay *= share
        case "half":
            delay *= 0.5 + share / 2
        case "none":
            pass
    return max(1, math.ceil(delay))


def _base_seconds(retrier: Retrier, attempts: int, seconds: Seconds) -> float:
    interval = _INTERVAL_SECONDS if retrier.interval is None else seconds(retrier.interval)
    limit = float(DELAY_MAX_SECONDS)
    if retrier.max_delay is not None:
        limit = min(limit, seconds(retrier.max_delay))
    if retrier.increment is not None:
        return min(limit, interval + seconds(retrier.increment) * (attempts - 1))
    rate = _BACKOFF_RATE if retrier.backoff_rate is None else retrier.backoff_rate
    # Compared as logarithms first: a large rate and many attempts would overflow a double.
    if interval > 0 and rate > 0 and math.log(interval) + (attempts - 1) * math.log(rate) > math.log(limit or 1):
        return limit
    return min(limit, interval * rate ** (attempts - 1))


def _share(seed: str) -> float:
    """Return a number in [0, 1) that looks random and is a function of the seed."""
    return int.from_bytes(blake2b(seed.encode(), digest_size=6).digest()) / 2**48
