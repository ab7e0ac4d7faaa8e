"""The carrier: takes a packed order to its address."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import journal


class Parcel(TypedDict):
    """What is to be sent."""

    order_id: str
    address: str
    carrier: NotRequired[str]


class AddressUnknown(Exception):
    """No carrier goes there."""


def create(event: Parcel, _context: object) -> dict[str, str]:
    """Hand a parcel over and return its tracking number."""
    carrier = event.get("carrier", "standard")
    if "nowhere" in event["address"].lower():
        raise AddressUnknown(f"{carrier} does not deliver to {event['address']}")
    journal.record("ship", event["order_id"])
    return {"tracking": f"{carrier.upper()}-{event['order_id']}"}
