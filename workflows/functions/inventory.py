"""The warehouse: takes pieces off the shelf for an order, and puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

import journal

if TYPE_CHECKING:
    from collections.abc import Sequence

STOCK = {"tea": 500, "kettle": 20, "samovar": 2}


class Line(TypedDict):
    """One line of an order."""

    sku: str
    quantity: NotRequired[int]


class OutOfStock(Exception):
    """There are not as many as were ordered."""


class Wanted(TypedDict):
    """What to reserve, and for which order."""

    order_id: str
    lines: Sequence[Line]


class Reservation(TypedDict):
    """A reservation that was made."""

    id: str


class Reserved(TypedDict):
    """What is to be put back."""

    reservation_id: str


def reserve(event: Wanted, _context: object) -> Reservation:
    """Reserve every line, or none of them."""
    for line in event["lines"]:
        quantity, left = line.get("quantity", 1), STOCK.get(line["sku"], 0)
        if quantity > left:
            raise OutOfStock(f"{quantity} of {line['sku']} ordered, {left} left")
    journal.record("reserve", event["order_id"])
    # Named after the order: whoever reserves twice for one order gets the same reservation.
    return {"id": f"r-{event['order_id']}"}


def release(event: Reserved, _context: object) -> None:
    """Put back what was reserved."""
    journal.record("release", event["reservation_id"])
