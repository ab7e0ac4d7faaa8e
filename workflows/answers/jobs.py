"""AWS Glue: jobs that run at night. How a run goes depends on its date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import journal

if TYPE_CHECKING:
    from durableflow import StepContext

NIGHTS: Final = {
    "2026-02-13": ("RUNNING", "FAILED"),
    "2026-02-29": ("RUNNING",),
}
"""What the polls of a night's run see; the last goes on for ever. Other nights see RUNNING, then SUCCEEDED."""


def start_job_run(params: dict[str, Any]) -> dict[str, Any]:
    """Start a run."""
    date = params["Arguments"]["--date"]
    journal.record("start", date)
    return {"JobRunId": f"jr_{date}"}


def get_job_run(params: dict[str, Any], context: StepContext) -> dict[str, Any]:
    """Say how a run is doing at this poll."""
    seen = NIGHTS.get(params["RunId"].removeprefix("jr_"), ("RUNNING", "SUCCEEDED"))
    state = seen[min(context.attempt, len(seen)) - 1]
    run = {"Id": params["RunId"], "JobRunState": state}
    return {"JobRun": run | {"ErrorMessage": "no space left"} if state == "FAILED" else run}


def batch_stop_job_run(params: dict[str, Any]) -> dict[str, Any]:
    """Stop runs."""
    for run in params["JobRunIds"]:
        journal.record("stop", run)
    return {"SuccessfulSubmissions": [{"JobName": params["JobName"], "JobRunId": run} for run in params["JobRunIds"]]}
