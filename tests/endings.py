"""How the example workflows end: every ending that they have, with what drives it.

Nothing is imported here but the standard library: the official runner's environment reads this file, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

DECLINED = "POST https://payments.example/charges was answered with 402 Payment Required"


@dataclass(frozen=True)
class Refusal:
    """A callback's answer that says it failed."""

    message: str


SILENCE: Final = None
"""No answer, in time."""


@dataclass(frozen=True)
class Ending:
    """One execution.

    Args:
        workflow: its name.
        input: its input.
        operations: how many operations there are in the end, the EXECUTION one aside.
        output: of an execution that succeeds.
        error: type and message of one that fails; a pattern where the message may differ.
        seen: what the world outside saw, in this order; None where that has no order.
        approvals: what the callbacks of `ask` get, one after the other.
        started: the names of the operations in the order they were made, where that order is told.
        metered: operations as the platform counts them; None where it is one more than `operations`.
    """

    workflow: str
    input: dict[str, Any]
    operations: int
    output: Any = None
    error: tuple[str, str | re.Pattern[str]] | None = None
    seen: tuple[str, ...] | None = None
    approvals: list[Any] = field(default_factory=list)
    started: tuple[str, ...] | None = None
    metered: int | None = None

    @property
    def status(self) -> str:
        return "FAILED" if self.error else "SUCCEEDED"

    def check_error(self, name: str | None, message: str | None) -> None:
        """Compare what an execution failed with; None and None for one that has succeeded."""
        expected_name, expected_message = self.error or (None, None)
        assert name == expected_name, message
        if isinstance(expected_message, re.Pattern):
            assert message is not None
            assert expected_message.fullmatch(message), message
        else:
            assert message == expected_message


def _order(**changed: Any) -> dict[str, Any]:
    return {
        "order_id": "o-1",
        "items": [{"sku": "tea", "quantity": 3}, {"sku": "kettle"}],
        "total_cents": 5250,
        "card_token": "tok_visa",
        "address": "1 Harbour Street",
        **changed,
    }


def _expense(amount: int, *approvers: str) -> dict[str, Any]:
    return {"expense_id": "e-1", "amount": amount, "approvers": list(approvers)}


def _decided(by: str, *, approved: bool) -> dict[str, Any]:
    return {"expense_id": "e-1", "approved": approved, "by": by}


_ASKED: Final = ("ask", "ask", "notify")
REPORT: Final = "the place of the report"
"""Stands for what holds the execution's id."""

ENDINGS: Final = {
    # Order fulfilment: three calls and the raced timeout of `ship`; two more where both have to be undone.
    "an order is fulfilled": Ending(
        "order_fulfilment",
        _order(),
        operations=4,
        output={"status": "fulfilled", "tracking": "STANDARD-o-1"},
        seen=("reserve o-1", "charge 5250", "ship o-1"),
        started=("reserve_stock", "charge_card", "ship-timeout", "ship"),
    ),
    "an order whose gateway is away twice": Ending(
        "order_fulfilment",
        _order(card_token="tok_flaky"),
        operations=4,
        output={"status": "fulfilled", "tracking": "STANDARD-o-1"},
        seen=("reserve o-1", "charge 5250", "ship o-1"),
        metered=7,
    ),
    "an order that cannot be shipped": Ending(
        "order_fulfilment",
        _order(address="Nowhere Lane 5"),
        operations=6,
        error=("OrderRejected", "ship failed with AddressUnknown: standard does not deliver to Nowhere Lane 5"),
        seen=("reserve o-1", "charge 5250", "refund ch_test", "release r-o-1"),
        started=("reserve_stock", "charge_card", "ship-timeout", "ship", "refund_card", "release_stock"),
    ),
    "an order whose card is refused": Ending(
        "order_fulfilment",
        _order(card_token="tok_declined"),
        operations=3,
        error=(
            "OrderRejected",
            f"charge_card failed with Http.402: {DECLINED}",
        ),
        seen=("reserve o-1", "release r-o-1"),
        started=("reserve_stock", "charge_card", "release_stock"),
    ),
    "an order of more than there is": Ending(
        "order_fulfilment",
        _order(items=[{"sku": "samovar", "quantity": 3}]),
        operations=1,
        error=("OrderRejected", "reserve_stock failed with OutOfStock: 3 of samovar ordered, 2 left"),
        seen=(),
        started=("reserve_stock",),
    ),
    "an order of nothing": Ending(
        "order_fulfilment",
        _order(items=[]),
        operations=0,
        error=("States.InputInvalid", "the input does not fit its schema: 'items': [] should be non-empty"),
        seen=(),
        started=(),
    ),
    # Expense approval: three for each person asked, one for the record.
    "a small expense": Ending(
        "expense_approval",
        _expense(100, "ann"),
        operations=1,
        output=_decided("policy", approved=True),
        seen=("record e-1 approved",),
        started=("record",),
    ),
    "an expense that the first approver approves": Ending(
        "expense_approval",
        _expense(101, "ann", "bob"),
        approvals=[{"approved": True, "by": "ann"}],
        operations=4,
        output=_decided("ann", approved=True),
        seen=("ask ann", "record e-1 approved"),
        started=(*_ASKED, "record"),
    ),
    "an expense that the second approver approves": Ending(
        "expense_approval",
        _expense(5000, "ann", "bob"),
        approvals=[SILENCE, {"approved": True, "by": "bob"}],
        operations=7,
        output=_decided("bob", approved=True),
        seen=("ask ann", "ask bob", "record e-1 approved"),
        started=(*_ASKED, *_ASKED, "record"),
    ),
    "an expense that nobody answers": Ending(
        "expense_approval",
        _expense(5000, "ann", "bob", "cid"),
        approvals=[SILENCE],
        operations=10,
        output=_decided("nobody answered", approved=False),
        seen=("ask ann", "ask bob", "ask cid", "record e-1 refused"),
        started=(*_ASKED, *_ASKED, *_ASKED, "record"),
    ),
    "an expense that is rejected": Ending(
        "expense_approval",
        _expense(5000, "ann", "bob"),
        approvals=[{"approved": False, "by": "ann"}],
        operations=4,
        output=_decided("ann", approved=False),
        seen=("ask ann", "record e-1 refused"),
        started=(*_ASKED, "record"),
    ),
    "an expense whose callback reports a failure": Ending(
        "expense_approval",
        _expense(5000, "ann", "bob"),
        approvals=[Refusal("ann has left the company")],
        operations=4,
        output=_decided("ann has left the company", approved=False),
        seen=("ask ann", "record e-1 refused"),
        started=(*_ASKED, "record"),
    ),
    # Thumbnails: the list, the map, the report, and one for each picture.
    "no pictures": Ending(
        "thumbnail_batch",
        {"bucket": "photos", "prefix": "empty/"},
        operations=1,
        output={"processed": 0, "failed": 0},
        seen=("list empty/",),
        started=("list_images",),
    ),
    "one picture of 40 is broken": Ending(
        "thumbnail_batch",
        {"bucket": "photos", "prefix": "summer/"},
        operations=43,
        output={"processed": 39, "failed": 1, "report": REPORT},
    ),
    "ten pictures of 40 are broken": Ending(
        "thumbnail_batch",
        {"bucket": "photos", "prefix": "attic/"},
        operations=42,
        # Two are tolerated. How many more there are when that is seen depends on what ends first.
        error=("BatchRejected", re.compile(r"([3-9]|10) of 40 images failed")),
    ),
    "a thousand pictures": Ending(
        "thumbnail_batch",
        {"bucket": "photos", "prefix": "archive/"},
        operations=1003,
        output={"processed": 1000, "failed": 0, "report": REPORT},
    ),
    # The nightly job: five with the workflow's timeout, and the polls.
    "a job that succeeds at the second poll": Ending(
        "nightly_etl",
        {"date": "2026-02-01"},
        operations=5,
        metered=8,
        output={"run_id": "jr_2026-02-01", "dashboard": "https://dashboards.example/sales/2026-02-01"},
        seen=("start 2026-02-01", "draw jr_2026-02-01"),
    ),
    "a job that fails": Ending(
        "nightly_etl",
        {"date": "2026-02-13"},
        operations=3,
        metered=6,
        error=("GlueJobFailed", "FAILED: no space left"),
        seen=("start 2026-02-13",),
    ),
    "a job that does not end": Ending(
        "nightly_etl",
        {"date": "2026-02-29"},
        operations=4,
        metered=58,
        error=("EtlTimeout", "no result in time"),
        seen=("start 2026-02-29", "stop jr_2026-02-29"),
    ),
    # Research: two for each turn with tools, one for each use of a tool, one for the answer.
    "tools are used, one fails, and there is an answer": Ending(
        "research_loop",
        {"question": "Compare tea and coffee."},
        operations=(2 + 3) + (2 + 1) + 1,
        output={"answer": "A cup of coffee has 2.0213 times the caffeine of a cup of tea.", "tokens": 36_000},
    ),
    "a question that is too much for the budget": Ending(
        "research_loop",
        {"question": "What is everything?"},
        operations=5 * (2 + 1),
        error=("BudgetExceeded", "60000 tokens used, no answer"),
        seen=tuple(line for turn in range(1, 6) for line in (f"turn {turn}", "tool search")),
    ),
    "a question with a budget of its own": Ending(
        "research_loop",
        {"question": "What is everything?", "token_budget": 20_000},
        operations=2 * (2 + 1),
        error=("BudgetExceeded", "24000 tokens used, no answer"),
    ),
}
