"""The examples of a page: YAML blocks, and after each the JSON blocks that tell how an execution of it ends.

A block with `states` is a workflow; the two lines with which every file begins may be left out, and one that has them can
be run inline by its name. A block without `states` is a project file. A JSON block has

- `input` and `env`: what the execution is given; `edited_after`: how many invocations there are with the example before
  this one, which the file said when the execution began;
- `answers`: what the world says, by function, `module:function`, `service:action`, `METHOD URL`, or a callback's state:
  `{"result": …}`, `{"error": {"name", "message", "data"}}` or `{"timeout": true}`, no answer at all; of a list one for each
  time, the last one again and again;
- `output` or `error`, `operations`: how it ends;
- `calls`, `started`, `durationSeconds`, where the page says so: what the world was asked, in order; the names of the
  operations as they were started; the time that has passed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from memory_service import SILENCE, START
from worlds import World, plan_of

from durableflow.actions import Clients, check_action
from durableflow.compiler import understand
from durableflow.decode import decode_project
from durableflow.document import read_document
from durableflow.errors import Fault
from durableflow.plan import Http
from durableflow.rules import Known
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from durableflow.decision import Call
    from durableflow.errors import Diagnostic
    from durableflow.model import Part

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEAD: Final = 'durableflow: "1"\nname: '
_CLIENTS: Final = Clients()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A YAML block of a page.

    Args:
        line: where it begins.
        text: the block, of a workflow without its first two lines.
        name: of the workflow; None of a project file.
        before: the text of the workflow before it.
        project: the project file right before it, which it runs with.
        named: the workflows of the page, up to here, that have a name of their own.
        endings: the JSON blocks after it.
    """

    line: int
    text: str
    name: str | None
    before: str
    project: str | None
    named: Mapping[str, str]
    endings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def file(self) -> str:
        """The whole workflow file."""
        return f"{_HEAD}{self.name}\n{self.text}"

    def understand(self) -> tuple[Part | None, list[Diagnostic]]:
        """Return what the block says, and the errors that are in it."""
        if self.name is None:
            return decode_project(read_document(Source(name="durableflow.yaml", text=self.text))), []
        known = Known(
            workflows=frozenset(self.named),
            inline=lambda name: plan_of(self.named[name], self.named, name),
            check_action=partial(check_action, clients=_CLIENTS),
        )
        source = Source(name=f"{self.name}.yaml", text=self.file)
        workflow, _, problems = understand(source, known)
        return workflow, [problem for problem in problems if problem.severity == "error"]


def examples(page: Path) -> list[Example]:
    """Return the examples of a page in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    named: dict[str, str] = {}
    for block in _BLOCK.finditer(text):
        kind, inside = block.groups()
        line = text.count("\n", 0, block.start()) + 2
        if kind == "json":
            found[-1].endings.append(json.loads(inside))
            continue
        assert kind == "yaml", f"line {line} begins a block of '{kind}'"
        name = "example" if re.search("^states:", inside, re.MULTILINE) else None
        if head := re.match(rf"{_HEAD}(\w+)\n", inside):
            name, inside = head[1], inside[head.end() :]
            named[name] = inside
        before = next((example.text for example in reversed(found) if example.name), "")
        project = found[-1].text if found and not found[-1].name else None
        found.append(Example(line=line, text=inside, name=name, before=before, project=project, named=dict(named)))
    return found


class Answered:
    """An example in a world that answers as an ending says, and keeps what it was asked."""

    def __init__(self, example: Example, ending: Mapping[str, Any]) -> None:
        self._example = example
        self._ending = ending
        self._answers = {
            key: [_answer(each) for each in (said if isinstance(said, list) else [said])]
            for key, said in ending.get("answers", {}).items()
        }
        self._asked = {key: self._ask(key, list(answers)) for key, answers in self._answers.items()}
        self.calls: list[dict[str, Any]] = []

    def world(self) -> World:
        """Return the example with this world around it, begun with the example before where the ending says so."""
        made = self._world(self._example.text, self._ending.get("input"))
        if invocations := self._ending.get("edited_after"):
            begun = self._world(self._example.before, self._ending.get("input"))
            for _ in range(invocations):
                assert begun.invoke(begun.service.event())["Status"] == "PENDING"
                assert begun.service.wake()
            made.service = begun.service
        return made

    def run(self) -> dict[str, Any]:
        """Run to the end and return all that a JSON block can say of it."""
        world = self.world()
        output = world.run()
        unasked = self._answers.keys() - {key for call in self.calls for key in call} - set(world.started)
        assert not unasked, f"nobody asked {unasked}"
        told: dict[str, Any] = {
            "operations": world.operations,
            "calls": self.calls,
            "started": world.started,
            "durationSeconds": (world.service.now - START) // 1000,
        }
        if output["Status"] == "SUCCEEDED":
            return {**told, "output": json.loads(output["Result"])}
        error = output["Error"]
        return {**told, "error": {"name": error["ErrorType"], "message": error["ErrorMessage"]}}

    def _world(self, text: str, given: Any) -> World:
        return World(
            text,
            input=given,
            handlers={key: lambda call, ask=ask: ask(_sent(call)) for key, ask in self._asked.items()},
            targets={**self._asked, **{name: partial(self._child, name) for name in self._example.named}},
            answers={key: list(answers) for key, answers in self._answers.items()},
            inline=self._example.named,
            env=self._ending.get("env", {}),
        )

    def _child(self, name: str, given: Any) -> Any:
        output = self._world(self._example.named[name], given).run()
        if output["Status"] == "FAILED":
            raise Fault(output["Error"]["ErrorType"], output["Error"]["ErrorMessage"])
        return json.loads(output["Result"])

    def _ask(self, key: str, answers: list[Any]) -> Callable[[Any], Any]:
        def ask(payload: Any) -> Any:
            self.calls.append({key: payload})
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Fault):
                raise answer
            return answer

        return ask


def _answer(said: Mapping[str, Any]) -> Any:
    if said == {"timeout": True}:
        return SILENCE
    if "result" in said:
        return said["result"]
    return Fault(**{"message": "", **said["error"]})


def _sent(call: Call) -> Any:
    """Return what a call sends; of a request what its method and URL do not say."""
    sent: Any = call.arguments(lambda name: f"[secret {name}]")
    if isinstance(call.node, Http):
        return {key: sent[key] for key in ("headers", "query", "body") if sent.get(key)}
    return sent
