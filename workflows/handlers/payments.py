"""Payments through a gateway that is sometimes away.

A gateway knows a charge by its idempotency key (`context.idempotency_key`), which is the same for every attempt of a
step: an attempt that was cut off after the gateway had answered charges nobody twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import journal

from durableflow import Fault

if TYPE_CHECKING:
    from durableflow import StepContext


class Charge(TypedDict):
    """What is to be paid, and with what."""

    order_id: str
    card: str
    amount_cents: int


class Charged(TypedDict):
    """What a payment is known by."""

    charge_id: str


class GatewayUnavailable(Exception):
    """The gateway did not answer; asking again later may help."""


def charge(payment: Charge, context: StepContext) -> Charged:
    """Charge the card.

    `tok_declined` is a card that the bank refuses; for `tok_flaky` the gateway is away at the first two attempts.
    """
    context.logger.info("charging %d cents for %s", payment["amount_cents"], payment["order_id"])
    if payment["card"] == "tok_flaky" and context.attempt <= 2:
        raise GatewayUnavailable("the payment gateway did not answer")
    if payment["card"] == "tok_declined":
        raise Fault("CardDeclined", "the bank refused the card", {"card": payment["card"]})
    journal.record("charge", payment["order_id"])
    # A real gateway is sent `context.idempotency_key`; this one knows one charge for each order.
    return {"charge_id": f"ch-{payment['order_id']}"}


def refund(charged: Charged) -> None:
    """Give the money back."""
    journal.record("refund", charged["charge_id"])
