"""A whole execution in memory: workflow text, handlers and functions as plain Python, the real driver and ledger."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memory_service import MemoryService

from durableflow import values
from durableflow.compiler import compile_workflow
from durableflow.decision import Call, Completion
from durableflow.driver import Offload, run_invocation
from durableflow.errors import Fault
from durableflow.plan import Aws, Http, Step
from durableflow.rules import Known
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.plan import Plan


def plan_of(text: str, inline: Mapping[str, str] | None = None, name: str = "demo") -> Plan:
    """Compile a workflow given as YAML without `durableflow` and `name`, or as JSON with them; others by their names."""
    if not text.startswith("{"):
        text = f'durableflow: "1"\nname: {name}\n{textwrap.dedent(text)}'
    texts = inline or {}
    known = (
        Known(workflows=frozenset(texts), inline=lambda name: plan_of(texts[name], texts, name)) if texts else Known()
    )
    return compile_workflow(Source(name=f"{name}.yaml", text=text), known=known).plan


@dataclass
class Handlers:
    """The worker: answers by handler, `service:action` or `METHOD url`, each given the call; keeps the attempts made."""

    by_reference: Mapping[str, Callable[[Call], Any]]
    calls: list[Call] = field(default_factory=list)
    clock_ms: Callable[[], int] = lambda: 0

    def run(self, call: Call) -> Completion:
        self.calls.append(call)
        try:
            result = values.checked(self.by_reference[reference(call)](call))
        except Fault as fault:
            return Completion(operation_id=call.operation_id, fault=fault, ended_at=self.clock_ms())
        except values.ValueRefusedError as error:
            return Completion(operation_id=call.operation_id, fault=Fault("States.ResultInvalid", str(error)))
        return Completion(operation_id=call.operation_id, result=result, ended_at=self.clock_ms())


def reference(call: Call) -> str:
    """What the work of a call is called in `Handlers`."""
    match call.node:
        case Step():
            return call.node.handler
        case Aws():
            return f"{call.node.service}:{call.node.action}"
        case Http():
            request = call.arguments(lambda name: f"<{name}>")
            assert isinstance(request, dict)
            return f"{request['method']} {request['url']}"


@dataclass
class World:
    """A workflow and everything around it."""

    text: str
    input: Any = None
    handlers: Mapping[str, Callable[[Call], Any]] = field(default_factory=dict)
    targets: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    inline: Mapping[str, str] = field(default_factory=dict)
    operations_max: int = 3000
    offload: Offload | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = plan_of(self.text, self.inline)
        self.service = MemoryService(
            input="" if self.input is None else json.dumps(self.input),
            targets=self.targets,
            answers=self.answers,
            page=1000,
        )
        self.worker = Handlers(self.handlers, clock_ms=lambda: self.service.now)

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        return run_invocation(
            event,
            plan=self.plan,
            service=self.service,
            worker=self.worker,
            env=self.env,
            check_schema=check_schema,
            clock_ms=lambda: self.service.now,
            operations_max=self.operations_max,
            offload=self.offload,
        )

    def run(self) -> dict[str, Any]:
        """Run to the end and return the last output of the function."""
        return self.service.run(self.invoke)

    def result(self) -> Any:
        """Run to the end and return the execution's result; it must succeed."""
        output = self.run()
        assert output["Status"] == "SUCCEEDED", output
        return json.loads(output["Result"])

    def error(self) -> tuple[str, str]:
        """Run to the end and return name and message of the execution's error; it must fail."""
        output = self.run()
        assert output["Status"] == "FAILED", output
        return output["Error"]["ErrorType"], output["Error"]["ErrorMessage"]

    @property
    def operations(self) -> int:
        """How many operations there are, the EXECUTION one aside."""
        return len(self.service.operations) - 1

    @property
    def started(self) -> list[str]:
        """The names of all operations in the order in which they were started."""
        return [update["Name"] for update in self.service.updates if update["Action"] == "START"]
