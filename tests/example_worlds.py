"""The example workflows in memory, with everything that their project says."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from endings import ENDINGS, REPORT, Refusal
from endings import SILENCE as NO_ANSWER
from example_tools import WORKFLOWS, functions, tools
from memory_service import SILENCE, MemoryService
from worlds import World

from durableflow import values
from durableflow.errors import Fault
from durableflow.project import compile_file, load_project

if TYPE_CHECKING:
    from endings import Ending

    from durableflow.plan import Plan
    from durableflow.project import ProjectContext


@cache
def project() -> ProjectContext:
    """Return the project of the examples."""
    return load_project(WORKFLOWS / "durableflow.yaml")


@cache
def facts() -> dict[str, Any]:
    """Return what the project file says, as it says it."""
    said: dict[str, Any] = yaml.safe_load(project().path.read_text("utf-8"))
    return said


@cache
def plan_of(workflow: str) -> Plan:
    """Return the Plan of an example."""
    return compile_file(project().workflows[workflow], project().folder, project())


def expected_output(ending: Ending, execution_id: str) -> Any:
    """Return the output of an ending, with the id of the execution where it says so."""
    output = ending.output
    if isinstance(output, dict) and output.get("report") == REPORT:
        return {**output, "report": f"s3://reports/reports/{execution_id}.json"}
    return output


def without_repeats(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return what was seen, without what was done again because nobody knew that it had been done."""
    return tuple(line for line, _ in itertools.groupby(lines))


def seen(journal: Path) -> tuple[str, ...]:
    """Return the lines of a journal; it is not there when nothing happened."""
    return tuple(journal.read_text("utf-8").splitlines()) if journal.exists() else ()


@dataclass
class ExampleWorld(World):
    """An example, its project's functions and answers around it, and a journal of what they did.

    Args:
        journal: the file; its name is told to the functions by the environment.
    """

    text: str = ""
    workflow: str = ""
    journal: Path = Path(os.devnull)

    def __post_init__(self) -> None:
        self.plan = plan_of(self.workflow)
        self.env = facts()["env"]
        self.service = MemoryService(
            input=values.to_text(self.input),
            targets={**functions(facts()), **{name: self._child(name) for name in project().workflows}},
            answers=self.answers,
            page=1000,
        )
        self.worker = tools(facts(), lambda: self.service.now).worker(self.service.event()["DurableExecutionArn"])

    def _child(self, name: str) -> Any:
        return lambda payload: ExampleWorld(workflow=name, input=payload, journal=self.journal).result()

    @property
    def seen(self) -> tuple[str, ...]:
        """What the world outside has seen."""
        return seen(self.journal)


def example(name: str, journal: Path) -> ExampleWorld:
    """Make the world of an ending."""
    ending = ENDINGS[name]
    approvals = [_answer(approval) for approval in ending.approvals]
    return ExampleWorld(
        workflow=ending.workflow,
        input=ending.input,
        answers={"ask": approvals} if approvals else {},
        journal=journal,
    )


def _answer(approval: Any) -> Any:
    if approval is NO_ANSWER:
        return SILENCE
    return Fault("Error", approval.message) if isinstance(approval, Refusal) else approval
