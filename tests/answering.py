"""The engine itself, whole and in memory, in a world whose every answer and every duration is known beforehand."""

from __future__ import annotations

import heapq
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluator import Answer, Outcome, World
from memory_service import START, MemoryService

from durableflow import values
from durableflow.compiler import compile_workflow
from durableflow.decision import Call, Completion
from durableflow.driver import run_invocation
from durableflow.errors import Fault
from durableflow.ledger import Changes, Target, settle
from durableflow.operations import TERMINAL, error_from_fault
from durableflow.plan import Http
from durableflow.rules import Known
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from durableflow.operations import Operation
    from durableflow.plan import Plan

_ENDINGS: dict[str, Any] = {"STOPPED": "stop", "TIMED_OUT": "timeout"}
_HELPER = re.compile(r"-backoff-\d+$|-timeout$")


@dataclass
class AnsweringService(MemoryService):
    """One execution whose targets and callbacks take the time that their answers say.

    Args:
        world: the answers.
        work: what was started, in order.
    """

    world: World = field(default_factory=lambda: World(answers={}))
    work: list[Any] = field(default_factory=list)
    _coming: list[tuple[int, int, str, Answer]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def event(self) -> dict[str, Any]:
        return _resumed(super().event())

    def get_durable_execution_state(self, **members: Any) -> dict[str, Any]:
        return _resumed(super().get_durable_execution_state(**members))

    def _resolve(self, name: str) -> Any:
        return Target(name=name, version="$LATEST")

    def _keep(self, changes: Changes | None) -> None:
        super()._keep(changes)
        assert changes
        for operation in changes.operations:
            if operation["Type"] == "WAIT" and operation["Status"] == "STARTED":
                self._note_wait(operation)
            elif operation["Type"] == "CALLBACK" and operation["Status"] == "STARTED":
                self.work.append(["wait_for_callback", _state_of(operation), None])

    def _note_wait(self, operation: Operation) -> None:
        """Note a wait that an author asked for; those between attempts show in the time that passes."""
        name = _state_of(operation)
        length = (operation["WaitDetails"]["ScheduledEndTimestamp"] - operation["StartTimestamp"]) // 1000
        if name.endswith("-delay"):
            self.work.append(["delay", name.removesuffix("-delay"), length])
        elif not _HELPER.search(name):
            self.work.append(["wait", name, length])

    def wake(self) -> bool:
        """Go to the next moment at which something happens, and let all of it happen."""
        for start in self._started:
            payload = values.from_text(start.payload)
            kind = "workflow" if start.target.name.startswith("child_") else "invoke"
            self.work.append([kind, start.target.name, payload])
            self._expect(start.operation_id, self.world.answer(start.target.name, payload))
        for key in self._asked:
            operation = self.operations[key]
            self._expect(key, self.world.answer(_state_of(operation), {}), operation["StartTimestamp"])
        self._started, self._asked = [], []
        moments = [moment for moment, _, key, _ in self._coming if self.operations[key]["Status"] not in TERMINAL]
        moments += self._timers.values()
        if not moments:
            return False
        self.now = max(self.now, min(moments))
        while self._coming and self._coming[0][0] <= self.now:
            _, _, key, answer = heapq.heappop(self._coming)
            if (changes := self._ended(self.operations[key], answer)) is not None:
                self._keep(changes)
        if any(due <= self.now for due in self._timers.values()):
            self.sleep()
        return True

    def _expect(self, operation_id: str, answer: Answer, since: int | None = None) -> None:
        moment = (self.now if since is None else since) + answer["after"]
        heapq.heappush(self._coming, (moment, next(self._numbers), operation_id, answer))

    def _ended(self, operation: Operation, answer: Answer) -> Changes | None:
        if "result" in answer:
            return settle(operation, "success", now=self.now, result=values.to_text(answer["result"]))
        if "status" in answer and "result" not in answer:
            return settle(operation, _ENDINGS[answer["status"]], now=self.now, error={})
        return settle(operation, "failure", now=self.now, error=error_from_fault(_fault(answer)))


def _state_of(operation: Operation) -> str:
    """Return the state that an operation belongs to, by its Name: in a flat body that is a path (language.md 8)."""
    return operation.get("Name", "").rpartition("/")[2]


def _fault(answer: Answer) -> Fault:
    error = answer["error"]
    return Fault(error["name"], error["message"], error.get("data"))


def _resumed(value: Any) -> Any:
    """Return what a process that was started anew would read."""
    return json.loads(json.dumps(value))


@dataclass
class Worker:
    """Does what the core asks for by looking the answer up."""

    service: AnsweringService

    def run(self, call: Call) -> Completion:
        payload = values.checked(call.payload)
        name = call.path.rpartition("/")[2].partition("#")[0].partition("@")[0]
        asked = payload["body"] if isinstance(call.node, Http) else payload
        self.service.work.append([call.node.TYPE, name, asked])
        answer = self.service.world.answer(name, asked)
        now = self.service.now
        if "result" in answer:
            return Completion(operation_id=call.operation_id, result=answer["result"], ended_at=now)
        return Completion(operation_id=call.operation_id, fault=_fault(answer), ended_at=now)


def compiled(workflow: dict[str, Any], world: World) -> Plan:
    """Return the Plan of a workflow given as a tree."""
    known = Known(inline=lambda name: compiled(world.workflows[name], world))
    return compile_workflow(Source(name="drawn.json", text=json.dumps(workflow)), known=known).plan


def run(workflow: dict[str, Any], *, given: Any, world: World) -> Outcome:
    """Run a workflow with everything that it is made of, each invocation a Run of its own; return how it ends."""
    plan = compiled(workflow, world)
    work: list[Any] = []
    service = AnsweringService(input=json.dumps(given), page=1000, world=world, work=work)

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        return run_invocation(
            event,
            plan=plan,
            service=service,
            worker=Worker(service),
            env=world.env,
            check_schema=check_schema,
            clock_ms=lambda: service.now,
            log=lambda *_: None,
        )

    output = service.run(invoke)
    elapsed = service.now - START
    if output["Status"] == "SUCCEEDED":
        return Outcome(status="SUCCEEDED", output=json.loads(output["Result"]), work=work, elapsed=elapsed)
    error = output["Error"]
    told = (error.get("ErrorType", ""), error.get("ErrorMessage", ""))
    return Outcome(status="FAILED", error=told, work=work, elapsed=elapsed)


def tally(work: list[Any]) -> Counter[str]:
    """Count work by what it is, whatever its order."""
    return Counter(values.canonical_bytes(one).decode() for one in work)
