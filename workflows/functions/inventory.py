"""The warehouse: takes pieces off the shelf for an order, and puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.orders import Line

STOCK = {"tea": 500, "kettle": 20, "samovar": 2}


class OutOfStock(Exception):
    """There are not as many as were ordered."""


class Wanted(TypedDict):
    """What to reserve, and for which order."""

    order_id: str
    lines: Sequence[Line]


class Reservation(TypedDict):
    """What a reservation is known by."""

    reservation_id: str


def reserve(event: Wanted, _context: object) -> Reservation:
    """Reserve every line, or none of them."""
    for line in event["lines"]:
        if line["quantity"] > STOCK.get(line["sku"], 0):
            raise OutOfStock(f"{line['quantity']} of {line['sku']} ordered, {STOCK.get(line['sku'], 0)} left")
    journal.record("reserve", event["order_id"])
    # Named after the order: whoever reserves twice for one order gets the same reservation.
    return {"reservation_id": f"r-{event['order_id']}"}


def release(event: Reservation, _context: object) -> None:
    """Put back what was reserved."""
    journal.record("release", event["reservation_id"])
