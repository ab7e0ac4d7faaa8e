"""Amazon SNS and the table of expenses."""

from __future__ import annotations

from typing import Any

import journal


def publish(params: dict[str, Any]) -> dict[str, Any]:
    """Write to an approver; the mail holds the callback id, which the reply has to name."""
    approver = params["Message"].partition("Approver: ")[2].partition("\n")[0]
    journal.record("ask", approver)
    return {"MessageId": f"m-{approver}"}


def update_item(params: dict[str, Any]) -> dict[str, Any]:
    """Write down whether an expense is approved."""
    approved = params["ExpressionAttributeValues"][":a"]["BOOL"]
    journal.record("record", f"{params['Key']['id']['S']} {'approved' if approved else 'refused'}")
    return {}
