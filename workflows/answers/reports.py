"""Amazon S3, for reports."""

from __future__ import annotations

from typing import Any

import journal


def put_object(params: dict[str, Any]) -> dict[str, Any]:
    """Keep a report."""
    journal.record("report", params["Body"])
    return {"ETag": '"0"'}
