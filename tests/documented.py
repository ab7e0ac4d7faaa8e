"""The examples of a page: fenced YAML, and after it fenced JSON that tells how it ends, told, run and compared.

A block of YAML with `states` is a workflow, any other one a project file; `durableflow` and `name` may be left out. The
JSON has `input`, `env`, `workflows` (the names of other blocks that the workflow runs), `answers` (by function,
`module:handler`, `service:action` or `METHOD URL`, each `{"result": …}`, `{"error": …}` or a list of them, whose last one
repeats), `callbacks` (by state; also `{"timeout": true}`), then what must come of it: `succeeds` or `fails`, `operations`
(their names, in the order in which they start) and `seconds`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from memory_service import SILENCE, START
from worlds import World

from durableflow.decode import decode_project, decode_workflow
from durableflow.document import read_document
from durableflow.errors import Fault
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durableflow.document import Document
    from durableflow.model import Project, Workflow

_BLOCK = re.compile(r"^```yaml\n(.*?)^```\n(?:\s*^```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A block of YAML of a page.

    Args:
        line: the line of the page on which it begins.
        text: the YAML, made complete.
        told: the JSON after it, or None.
    """

    line: int
    text: str
    told: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The name of a workflow."""
        return str(cast("dict[str, Any]", self.document().value)["name"])

    @property
    def is_workflow(self) -> bool:
        """Say whether it is a workflow, and no project file."""
        return "states" in cast("dict[str, Any]", self.document().value)

    def document(self) -> Document:
        """Read the YAML."""
        return read_document(Source(name=f"line {self.line}", text=self.text))

    def model(self) -> Workflow | Project:
        """Decode the YAML; a WorkflowError tells what is wrong with it."""
        return decode_workflow(self.document()) if self.is_workflow else decode_project(self.document())

    def as_json(self) -> str:
        """Return the workflow as JSON, as `World` takes it."""
        return json.dumps(self.document().value)


def examples(page: Path) -> list[Example]:
    """Return the examples of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    for block in _BLOCK.finditer(text):
        head = "" if re.search(r"^durableflow:", block[1], re.MULTILINE) else 'durableflow: "1"\n'
        if re.search(r"^states:", block[1], re.MULTILINE) and not re.search(r"^name:", block[1], re.MULTILINE):
            head += "name: example\n"
        told = None if block[2] is None else json.loads(block[2])
        found.append(Example(line=text.count("\n", 0, block.start()) + 2, text=head + block[1], told=told))
    return found


def by_name(found: list[Example]) -> dict[str, Example]:
    """Return the workflows that have a name of their own."""
    return {one.name: one for one in found if one.is_workflow and one.name != "example"}


def differences(example: Example, others: dict[str, Example]) -> dict[str, Any]:
    """Run a workflow and return what differs from what its page tells: by key, what is told and what came of it."""
    told = example.told or {}
    if len({"succeeds", "fails"} & told.keys()) != 1 or "operations" not in told:
        return {"untold": sorted(told)}
    made = outcome(example, others)
    compared = ("succeeds", "fails", "operations", "seconds")
    return {key: (told[key], made.get(key)) for key in compared if key in told and told[key] != made.get(key)}


def outcome(example: Example, others: dict[str, Example]) -> dict[str, Any]:
    """Run a workflow in the world that its page tells of, and return what came of it in the words of the page."""
    told = example.told or {}
    answers = {name: _answering(answer) for name, answer in told.get("answers", {}).items()}
    world = World(
        example.as_json(),
        input=told.get("input"),
        handlers=answers,
        targets=answers,
        answers={name: [_answer(one) for one in _listed(given)] for name, given in told.get("callbacks", {}).items()},
        inline={name: others[name].as_json() for name in told.get("workflows", ())},
        env=told.get("env", {}),
    )
    ended = world.run()
    made: dict[str, Any]
    if ended["Status"] == "SUCCEEDED":
        made = {"succeeds": json.loads(ended["Result"])}
    else:
        made = {"fails": {"name": ended["Error"]["ErrorType"], "message": ended["Error"]["ErrorMessage"]}}
    made["operations"] = [each.get("Name", "") for each in list(world.service.operations.values())[1:]]
    made["seconds"] = (world.service.now - START) / 1000
    return made


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _answer(given: dict[str, Any]) -> Any:
    """Return one answer: a value, a Fault or SILENCE."""
    match given:
        case {"result": result}:
            return result
        case {"error": {"name": name, **more}}:
            return Fault(name, more.get("message", ""), more.get("data"))
        case {"timeout": True}:
            return SILENCE
    raise ValueError(given)


def _answering(given: Any) -> Callable[[Any], Any]:
    """Return what gives one answer after the other, and the last one again and again."""
    left = [_answer(one) for one in _listed(given)]

    def answer(_: Any) -> Any:
        made = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(made, Fault):
            raise made
        return made

    return answer
