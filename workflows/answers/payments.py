"""The payment gateway: what `POST /charges` and `POST /charges/ID/refund` answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import journal

if TYPE_CHECKING:
    from durableflow import StepContext

CHARGE: Final = "ch_test"
"""Every charge is called so here, as the project file has one answer for the URL of its refund."""


def charge(request: dict[str, Any], context: StepContext) -> dict[str, Any]:
    """Charge a card: `tok_declined` is refused, for `tok_flaky` the gateway is away at the first two attempts."""
    if not request["headers"]["Authorization"].startswith("Bearer "):
        return {"status": 401, "body": {"message": "who is asking?"}}
    token = request["body"]["source"]
    if token == "tok_flaky" and context.attempt <= 2:  # noqa: S105 - a card of this example
        return {"status": 503}
    if token == "tok_declined":  # noqa: S105
        return {"status": 402, "body": {"message": "the bank refused the card"}}
    journal.record("charge", str(request["body"]["amount"]))
    return {"status": 201, "body": {"id": CHARGE, "amount": request["body"]["amount"]}}


def refund(_request: dict[str, Any]) -> dict[str, Any]:
    """Give the money back."""
    journal.record("refund", CHARGE)
    return {"status": 200, "body": {"id": CHARGE, "refunded": True}}
