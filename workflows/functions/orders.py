"""Orders: what is in them and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import journal

if TYPE_CHECKING:
    from collections.abc import Sequence


class Line(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int
    price_cents: int


class Order(TypedDict):
    """What a workflow asks to be validated."""

    order_id: str
    lines: Sequence[Line]


class InvalidOrder(Exception):
    """The order cannot be fulfilled as it stands."""


def validate(event: Order, _context: object) -> dict[str, int]:
    """Return the total and the number of pieces, or refuse an order that nobody could send."""
    journal.record("validate", event["order_id"])
    skus = [line["sku"] for line in event["lines"]]
    if doubled := {sku for sku in skus if skus.count(sku) > 1}:
        raise InvalidOrder(f"{', '.join(sorted(doubled))} stands in more than one line")
    return {
        "total_cents": sum(line["quantity"] * line["price_cents"] for line in event["lines"]),
        "pieces": sum(line["quantity"] for line in event["lines"]),
    }
