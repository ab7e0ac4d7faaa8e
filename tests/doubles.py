"""Functions and handlers for the worlds of tests: what they are called with is kept, what they give is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durableflow.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.decision import Call


class Function:
    """The target of an invoke: gives its results in turn, and the last one again and again; a Fault is raised.

    A result that is a function is called with the payload.
    """

    def __init__(self, *results: Any) -> None:
        self.payloads: list[Any] = []
        self._results = results or (echo,)

    def __call__(self, payload: Any) -> Any:
        result = self._results[min(len(self.payloads), len(self._results) - 1)]
        self.payloads.append(payload)
        if isinstance(result, Fault):
            raise result
        return result(payload) if callable(result) else result


def echo(payload: Any) -> Any:
    return payload


def by_attempt(*results: Any) -> Callable[[Call], Any]:
    """A step's handler that gives its results by the attempt, the last one for all after it; a Fault is raised."""

    def handler(call: Call) -> Any:
        result = results[min(call.attempt, len(results)) - 1]
        if isinstance(result, Fault):
            raise result
        return result

    return handler


def journal(*, fails: tuple[str, ...] = ()) -> tuple[list[str], Callable[[Any], Any]]:
    """A list, and a function that writes the names in there that it is called with; some of them fail."""
    order: list[str] = []

    def function(name: Any) -> Any:
        order.append(name)
        if name in fails:
            raise Fault(f"No.{name}", f"{name} failed")
        return name

    return order, function
