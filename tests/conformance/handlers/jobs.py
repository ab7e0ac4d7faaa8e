"""The step handlers of the conformance scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durableflow import StepContext


class Busy(Exception):  # noqa: N818 - the name that `errors:` match
    pass


def echo(payload: Any) -> Any:
    return payload


def add(payload: list[int]) -> int:
    return sum(payload)


def third_time(payload: Any, context: StepContext) -> Any:
    if context.attempt < 3:
        raise Busy(f"attempt {context.attempt}")
    return {"attempt": context.attempt, "payload": payload}


def broken(payload: str) -> None:
    raise ValueError(f"no {payload}")


def long_text(payload: int) -> str:
    return "x" * payload
