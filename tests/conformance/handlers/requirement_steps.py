"""The step handlers of the workflows that meet AWS's conformance requirements."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durableflow import StepContext


class TransientError(Exception):
    pass


def echo(payload: Any) -> Any:
    return payload


def greet(payload: str) -> str:
    return f"Hello, {payload}!"


def greet_and_tell(payload: str, context: StepContext) -> str:
    context.logger.info("Greeting step started for: %s", payload)
    greeting = greet(payload)
    context.logger.info("Greeting step completed with: %s", greeting)
    return greeting


def tell(payload: str, context: StepContext) -> str:
    context.logger.info("%s", payload)
    return payload


def describe(payload: dict[str, Any]) -> dict[str, Any]:
    return {"user": {"name": payload["name"], "tags": payload["tags"]}, "count": len(payload["tags"])}


def add(payload: list[int]) -> int:
    return sum(payload)


def broken(payload: Any) -> None:
    raise ValueError(f"this step always fails: {payload}")


def transient(payload: Any) -> None:
    raise TransientError(f"this step always fails: {payload}")


def succeed_at(payload: dict[str, Any], context: StepContext) -> Any:
    """Succeed with `result` at the attempt `attempt`."""
    if context.attempt < payload["attempt"]:
        raise TransientError(f"attempt {context.attempt}")
    return payload["result"]


def die_at_first(payload: dict[str, Any], context: StepContext) -> Any:
    """Log `message`, then end the process at the first attempt and succeed with `result` at any other."""
    context.logger.info("%s", payload["message"])
    if context.attempt == 1:
        os._exit(1)
    return payload["result"]


def die_once(payload: Any, context: StepContext) -> Any:
    """End the process the first time that it is called in an execution; the attempt is the same one then."""
    died = Path(os.environ["CONFORMANCE_FOLDER"]) / context.idempotency_key
    if not died.exists():
        died.touch()
        os._exit(1)
    return payload
