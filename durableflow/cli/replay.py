"""The `replay` command: would this workflow file still do what is recorded?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import click

from durableflow import values
from durableflow.cli import console, loading
from durableflow.decision import Failed, Pending, Succeeded
from durableflow.files import read_file
from durableflow.recording import SIZE_MAX_BYTES, load_recording, replay
from durableflow.report import pretty
from durableflow.source import shown
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durableflow.cli.loading import Loaded
    from durableflow.recording import ReplayReport
    from durableflow.values import Object


@click.command("replay")
@click.argument("workflow", type=click.Path(path_type=Path))
@click.option(
    "--history",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="A recording, or what AWS prints as history or state.",
)
@click.option("--project", type=click.Path(path_type=Path), help="The project file, or its folder.")
@click.option("--env", "env", metavar="NAME=VALUE", multiple=True, help="A value of the environment; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay_command(workflow: Path, history: Path, project: Path | None, env: Sequence[str], *, as_json: bool) -> int:
    """Replay recorded operations against WORKFLOW as it is now; nothing is called, nothing is changed.

    FILE is what `durableflow run --record` or `durableflow executions history --json` wrote, or the output of

    \b
        aws lambda get-durable-execution-history --durable-execution-arn ARN
        aws lambda get-durable-execution-state --durable-execution-arn ARN --checkpoint-token TOKEN

    Prints how the execution ends or what would happen next. Exit code 1: workflow and record disagree.
    """  # noqa: D301 - the mark of click is the control character
    loaded = loading.load(workflow, project=project, env=env, check_handlers=False)
    recording = load_recording(read_file(history, max_bytes=SIZE_MAX_BYTES), str(history))
    if recording.workflow not in (None, loaded.plan.name):
        console.tell(f"note: the recording is of the workflow '{shown(str(recording.workflow))}'")
    report = replay(loaded.plan, recording, env=loaded.env, check_schema=check_schema)
    if report.digest_differs:
        console.tell("note: the recording was made with another version of this workflow")
    if as_json:
        console.emit(json.dumps(_to_json(loaded.plan.name, report), indent=2, ensure_ascii=False))
    else:
        _tell(loaded, report)
    return console.DONE if report.is_same else console.PROBLEMS


def _tell(loaded: Loaded, report: ReplayReport) -> None:
    name = loaded.plan.name
    if report.mismatch is not None:
        console.tell(pretty(loaded.located(report.mismatch.problem)))
        console.emit(f"{shown(name)}: workflow and record disagree")
        return
    if report.difference is not None:
        console.emit(f"{shown(name)}: replays, but decides something else: {report.difference}")
        return
    match report.outcome:
        case None:
            console.emit(f"{shown(name)}: replays, and goes on with")
        case Pending():
            console.emit(f"{shown(name)}: replays, and waits for")
        case Succeeded(result=text):
            console.emit(f"{shown(name)}: replays, and ends SUCCEEDED")
            if text:
                console.emit(json.dumps(values.from_text(text), indent=2, ensure_ascii=False))
        case Failed(problem=problem):
            console.emit(f"{shown(name)}: replays, and ends FAILED")
            console.tell(pretty(loaded.located(problem)))
        case _:
            assert_never(report.outcome)
    for line in report.upcoming:
        console.emit(f"  {line.removeprefix('wait for ')}")


def _to_json(name: str, report: ReplayReport) -> Object:
    return {
        "workflow": name,
        "isSame": report.is_same,
        "decision": report.decision,
        "upcoming": list(report.upcoming),
        "mismatch": report.mismatch.to_json() if report.mismatch else None,
        "difference": report.difference,
        "digestDiffers": report.digest_differs,
    }
