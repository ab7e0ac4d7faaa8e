"""The engine itself, whole and in memory, in a world whose every answer and every duration is known beforehand."""

from __future__ import annotations

import heapq
import itertools
import json
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
from durableflow.ledger import CALLBACK_HEARTBEAT, CALLBACK_TIMEOUT, Arm, Changes, OpenCallback, Target, settle
from durableflow.operations import TERMINAL, error_from_fault
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from durableflow.operations import Operation

_ENDINGS: dict[str, Any] = {"STOPPED": "stop", "TIMED_OUT": "timeout", "CANCELLED": "cancel"}
_NOT_OF_AUTHORS = ("-backoff-", "-timeout")


@dataclass
class AnsweringService(MemoryService):
    """One execution whose targets and callbacks take the time that their answers say.

    Args:
        world: the answers.
    """

    world: World = field(default_factory=lambda: World(answers={}))
    work: list[Any] = field(default_factory=list)
    _agenda: list[tuple[int, int, str, Any]] = field(default_factory=list)
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
        for effect in changes.effects:
            if isinstance(effect, Arm):
                self._later(effect.due, effect.operation_id, effect.timer)
                if effect.timer == "wait":
                    self._note_wait(self.operations[effect.operation_id], effect.due)
            elif isinstance(effect, OpenCallback):
                answer = self.world.answer(self.operations[effect.operation_id].get("Name", ""), {})
                self._later(self.now + answer["after"], effect.operation_id, answer)

    def _note_wait(self, operation: Operation, due: int) -> None:
        """Note a wait that an author asked for; those between attempts show in the time that passes."""
        name, length = operation.get("Name", ""), (due - self.now) // 1000
        if name.endswith("-delay"):
            self.work.append(["delay", name.removesuffix("-delay"), length])
        elif not any(part in name for part in _NOT_OF_AUTHORS):
            self.work.append(["wait", name, length])

    def _ring(self, operation: Operation, timer: str) -> Changes | None:
        error = {"timeout": CALLBACK_TIMEOUT, "heartbeat": CALLBACK_HEARTBEAT}.get(timer)
        return settle(operation, "timeout" if error else "due", now=self.now, error=error)

    def _later(self, moment: int, operation_id: str, what: Any) -> None:
        heapq.heappush(self._agenda, (moment, next(self._numbers), operation_id, what))

    def wake(self) -> bool:
        """Go to the next moment at which something happens, and let all of it happen."""
        for start in self._started:
            payload = values.from_text(start.payload)
            self.work.append(["invoke", start.target.name, payload])
            answer = self.world.answer(start.target.name, payload)
            self._later(self.now + answer["after"], start.operation_id, answer)
        self._started = []
        while self._agenda and self.operations[self._agenda[0][2]]["Status"] in TERMINAL:
            heapq.heappop(self._agenda)
        if not self._agenda:
            return False
        self.now = max(self.now, self._agenda[0][0])
        while self._agenda and self._agenda[0][0] <= self.now:
            _, _, operation_id, what = heapq.heappop(self._agenda)
            operation = self.operations[operation_id]
            changes = self._ring(operation, what) if isinstance(what, str) else self._end(operation, what)
            if changes is not None:
                self._keep(changes)
        return True

    def _end(self, operation: Operation, answer: Answer) -> Changes | None:  # type: ignore[override]
        if "result" in answer:
            return settle(operation, "success", now=self.now, result=values.to_text(answer["result"]))
        if "status" in answer:
            return settle(operation, _ENDINGS[answer["status"]], now=self.now, error={})
        return settle(operation, "failure", now=self.now, error=error_from_fault(_fault(answer)))


def _fault(answer: Answer) -> Fault:
    error = answer["error"]
    return Fault(error["name"], error["message"], error.get("data"))


def _resumed(value: Any) -> Any:
    """Return what a process that was started anew would read."""
    return json.loads(json.dumps(value))


@dataclass
class Worker:
    """Does what the core asks for by looking the answer up."""

    world: World
    work: list[Any]

    def run(self, call: Call) -> Completion:
        payload = values.checked(call.payload)
        self.work.append(["step", call.node.name, payload])
        answer = self.world.answer(call.node.name, payload)
        if "result" in answer:
            return Completion(operation_id=call.operation_id, result=answer["result"], ended_at=self.now())
        return Completion(operation_id=call.operation_id, fault=_fault(answer), ended_at=self.now())

    def now(self) -> int:
        return START


def run(workflow: dict[str, Any], *, given: Any, world: World) -> Outcome:
    """Run a workflow with everything that it is made of, each invocation a Run of its own; return how it ends."""
    plan = compile_workflow(Source(name="drawn.json", text=json.dumps(workflow))).plan
    work: list[Any] = []
    service = AnsweringService(input=json.dumps(given), page=1000, world=world, work=work)
    worker = Worker(world, work)
    worker.now = lambda: service.now  # type: ignore[method-assign]

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        return run_invocation(
            event,
            plan=plan,
            service=service,
            worker=worker,
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
