"""The engine itself, whole and in memory, in a world whose every answer and every duration is known beforehand."""

from __future__ import annotations

import heapq
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from crashes import Crash
from evaluator import Answer, Outcome, World
from memory_service import ARN, START, MemoryService

from durableflow import values
from durableflow.compiler import compile_workflow
from durableflow.decision import Call, Completion, Failed, Succeeded
from durableflow.driver import run_invocation
from durableflow.errors import Fault
from durableflow.interpreter import Run
from durableflow.ledger import Changes, Target, settle
from durableflow.operations import TERMINAL, error_from_fault
from durableflow.plan import Http, from_json
from durableflow.rules import Known
from durableflow.source import Source
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from durableflow.operations import Operation, Update
    from durableflow.plan import Plan

_ENDINGS: dict[str, Any] = {"STOPPED": "stop", "TIMED_OUT": "timeout"}
_DEATHS = 0.12
"""How likely a process dies before a checkpoint, and after it."""
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

    def record(self, updates: Sequence[Update]) -> None:
        """Apply updates without a checkpoint."""
        self._keep(self._ledger().apply(updates))

    def changed(self) -> list[Operation]:
        """Return the operations that have changed since the last time."""
        changed, self._unseen = list(self._unseen), {}
        return [self.operations[key] for key in changed]

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


def run(
    workflow: dict[str, Any], *, given: Any, world: World, crashes: Random | None = None, is_read_back: bool = False
) -> Outcome:
    """Run a workflow with everything that it is made of, each invocation a Run of its own; return how it ends.

    Args:
        workflow: the tree.
        given: its input.
        world: the answers.
        crashes: says at which checkpoints the process dies, before or after them; without it, never.
        is_read_back: whether each invocation reads the plan from JSON.
    """
    plan = compiled(workflow, world)
    text = json.dumps(plan.to_json()) if is_read_back else None
    service = AnsweringService(input=json.dumps(given), page=1000, world=world)
    if crashes is not None:
        service.before_checkpoint = service.after_checkpoint = partial(_maybe_die, crashes)

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                return run_invocation(
                    event,
                    plan=plan if text is None else from_json(json.loads(text)),
                    service=service,
                    worker=Worker(service),
                    env=world.env,
                    check_schema=check_schema,
                    clock_ms=lambda: service.now,
                    log=lambda *_: None,
                )
            except Crash:
                event = service.event()

    output = service.run(invoke)
    if output["Status"] == "SUCCEEDED":
        return _outcome(service, output=json.loads(output["Result"]))
    return _outcome(service, error=output["Error"])


def _maybe_die(crashes: Random, *_: Any) -> None:
    if crashes.random() < _DEATHS:
        raise Crash


def run_whole(workflow: dict[str, Any], *, given: Any, world: World) -> Outcome:
    """Run a workflow with one Run that is never suspended, from its beginning to its end; return how it ends."""
    plan = compiled(workflow, world)
    service = AnsweringService(input=json.dumps(given), world=world)
    run = Run(plan, execution_arn=ARN, env=world.env, check_schema=check_schema)
    worker = Worker(service)
    calls: list[Call] = []
    operations, completions = list(service.operations.values()), []
    while True:
        decision = run.advance(operations, completions)
        completions = []
        if isinstance(decision.outcome, Failed):
            return _outcome(service, error=decision.outcome.error)
        if isinstance(decision.outcome, Succeeded):
            return _outcome(service, output=json.loads(decision.outcome.result))
        calls += decision.calls
        if decision.updates:
            service.record(decision.updates)
        elif calls:
            completions, calls = [worker.run(call) for call in calls], []
        else:
            assert service.wake()
        operations = service.changed()


def _outcome(service: AnsweringService, *, output: Any = None, error: Any = None) -> Outcome:
    elapsed = service.now - START
    if error is None:
        return Outcome(status="SUCCEEDED", output=output, work=service.work, elapsed=elapsed)
    told = (error.get("ErrorType", ""), error.get("ErrorMessage", ""))
    return Outcome(status="FAILED", error=told, work=service.work, elapsed=elapsed)


def tally(work: list[Any]) -> Counter[str]:
    """Count work by what it is, whatever its order."""
    return Counter(values.canonical_bytes(one).decode() for one in work)
