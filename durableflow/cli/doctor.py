"""The `doctor` command: what is wrong with a store of executions?"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durableflow.cli import console, loading, stores
from durableflow.errors import DurableflowError
from durableflow.local import checkup
from durableflow.local.targets import Targets
from durableflow.report import pretty
from durableflow.source import shown

if TYPE_CHECKING:
    from durableflow.local.checkup import Finding
    from durableflow.project import ProjectContext


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Take the store's files from other users; nothing else is changed.")
@stores.store_option
@stores.project_option
@stores.json_option
def doctor_command(store: Path | None, project: Path | None, *, fix: bool, as_json: bool) -> None:
    """Tell what is wrong with a store of executions, and what to do about it. It only reads."""
    place = stores.place_of(store, project)
    if fix:
        checkup.mend(place)
    context = _context(project)
    targets = Targets(project=context)

    def is_function(name: str, version: str) -> bool:
        return targets.resolve(f"{name}:{version}", is_invoked=True) is not None

    # Without a project nobody knows which files there are; that of the working folder may not be that of the store.
    is_known = context is not None and (store is None or project is not None)
    found = checkup.examine(place, is_function=is_function if is_known else None)
    if as_json:
        told = {
            "store": str(place),
            "executions": found.executions,
            "findings": [_to_json(finding) for finding in found.findings],
        }
        console.emit(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for finding in found.findings:
            console.emit(pretty(finding.problem))
        counted = console.counted(found.executions, "executions") if found.executions is not None else "unreadable"
        wrong = console.counted(len(found.findings), "findings") if found.findings else "nothing is wrong"
        console.emit(f"{shown(str(place))}: {counted}; {wrong}")
    if found.findings:
        raise console.Ended(console.PROBLEMS)


def _context(project: Path | None) -> ProjectContext | None:
    # A project file with problems is for `validate` to tell; the store can be looked at all the same.
    with suppress(DurableflowError):
        return loading.project_of(Path.cwd(), project)
    return None


def _to_json(finding: Finding) -> dict[str, Any]:
    problem = finding.problem
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
        "executionArn": finding.execution,
    }
