"""Run every ending of the example workflows on AWS's own testing SDK, in its environment, and print how it went.

    python official_endings.py GIVEN

GIVEN is a JSON file: `plans`, the compiled workflows by name; `project`, what the project file says; `folder`, where
journals may be written. Printed is one JSON object: for each ending how it ended, and what the world outside saw.

What this runner cannot do, and what is done about it:

- It skips time by letting each timer ring at once, even while a function that the timer is raced with still runs. So
  time does not jump here, it runs fast (`FastClock`); how often something is polled then depends on the machine.
- The timeout of a callback passes in real time, whatever the clock. A day of silence is sent as a second.
- It names an error by its class's full name unless that is built in, where Lambda's Python runtime has the bare name.
- It counts no operations as the platform meters them.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aws_durable_execution_sdk_python_testing.runner as official
from aws_durable_execution_sdk_python.lambda_service import ErrorObject
from aws_durable_execution_sdk_python_testing.clock import real_now
from endings import ENDINGS, SILENCE, Ending, Refusal
from example_tools import functions, tools
from official_runner import Client

from durableflow import plan, values
from durableflow.aws import lambda_handler
from durableflow.errors import Fault

SPEED = 1_200
"""Twenty minutes pass in a second, so what is raced with two hours has six seconds."""
SILENCE_SECONDS = 1


class FastClock:
    """Time that runs fast."""

    def __init__(self) -> None:
        self._began = real_now()

    def now(self) -> datetime:
        return self._began + (real_now() - self._began) * SPEED

    def arm(self, wake: datetime) -> float:
        return max(wake - self.now(), timedelta()).total_seconds() / SPEED

    def milliseconds(self) -> int:
        return round(self.now().timestamp() * 1000)


@dataclass
class Approvers:
    """Answers callbacks in the order in which they are opened.

    Args:
        approvals: the answers; the last one again and again.
        open: callbacks that the handler has left open and somebody is going to answer, with the answer.
    """

    approvals: list[Any]
    open: queue.SimpleQueue[tuple[str, Any]] = field(default_factory=queue.SimpleQueue)
    _started: dict[str, Any] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def approval(self, operation_id: str) -> Any:
        """Return the answer to the callback of an operation."""
        number = min(len(self._started), len(self.approvals) - 1)
        return self._started.setdefault(operation_id, self.approvals[number])

    def suspended(self, operations: dict[str, Any]) -> None:
        """Note the callbacks that are open when an invocation ends."""
        for id_, operation in operations.items():
            if operation["Status"] == "STARTED" and id_ not in self._told and self.approval(id_) is not SILENCE:
                self._told.add(id_)
                self.open.put((operation["CallbackDetails"]["CallbackId"], self.approval(id_)))


class AskingClient(Client):
    """Sees the callbacks that are started."""

    def __init__(self, client: Any, approvers: Approvers) -> None:
        super().__init__(client)
        self._approvers = approvers
        self.callbacks: dict[str, Any] = {}

    def checkpoint_durable_execution(self, **members: Any) -> dict[str, Any]:
        members["Updates"] = [self._in_time(update) for update in members["Updates"]]
        reply = super().checkpoint_durable_execution(**members)
        for operation in reply["NewExecutionState"]["Operations"]:
            if operation["Type"] == "CALLBACK":
                self.callbacks[operation["Id"]] = operation
        return reply

    def _in_time(self, update: dict[str, Any]) -> dict[str, Any]:
        if update["Type"] != "CALLBACK" or self._approvers.approval(update["Id"]) is not SILENCE:
            return update
        return {**update, "CallbackOptions": {**update["CallbackOptions"], "TimeoutSeconds": SILENCE_SECONDS}}


@dataclass
class Execution:
    """One ending on the official runner."""

    ending: Ending
    plans: dict[str, Any]
    project: dict[str, Any]
    clock: FastClock = field(default_factory=FastClock)

    def __post_init__(self) -> None:
        self.approvers = Approvers(self.ending.approvals)

    def _handler(self, workflow: str) -> Any:
        compiled = plan.from_json(self.plans[workflow])
        worked_with = tools(self.project, self.clock.milliseconds)

        def handle(event: Any, context: Any) -> Any:
            client = AskingClient(event.service_client, self.approvers)
            output = lambda_handler(compiled, client=client, tools=worked_with)(event.to_json_dict(), context)
            self.approvers.suspended(client.callbacks)
            return output

        return handle

    def run(self) -> dict[str, Any]:
        official.SkipClock = lambda: self.clock
        with official.DurableFunctionTestRunner(
            handler=self._handler(self.ending.workflow), poll_interval=0.005
        ) as runner:
            for name, function in functions(self.project).items():
                runner.register_function(name, lambda payload, _, function=function: invoked(function, payload))
            runner.register_durable_function("publish_dashboard", self._handler("publish_dashboard"))
            arn = runner.run_async(input=values.to_text(self.ending.input), execution_timeout=600)
            for _ in range(sum(approval is not SILENCE for approval in self.ending.approvals)):
                answer(runner, *self.approvers.open.get(timeout=60))
            result = runner.wait_for_result(execution_arn=arn, timeout=300)
            operations = runner._store.load(arn).operations
        return {
            "arn": arn,
            "status": result.status.value,
            "output": None if result.result is None else values.from_text(result.result),
            "error": None if result.error is None else [result.error.type, result.error.message],
            "names": [operation.name for operation in operations[1:]],
        }


def answer(runner: Any, callback_id: str, approval: Any) -> None:
    if isinstance(approval, Refusal):
        refused = ErrorObject(message=approval.message, type="Error", data=None, stack_trace=None)
        runner.send_callback_failure(callback_id, refused)
    else:
        runner.send_callback_success(callback_id, values.to_text(approval).encode())


def invoked(function: Any, payload: Any) -> Any:
    try:
        return function(payload)
    except Fault as fault:
        raise type(fault.name, (Exception,), {"__module__": "builtins"})(fault.message) from fault


def main() -> None:
    logging.disable(logging.CRITICAL)
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    os.environ.update(given["project"]["env"], SHOP_LATENCY="0")
    made = {}
    for number, (name, ending) in enumerate(ENDINGS.items()):
        journal = Path(given["folder"]) / str(number)
        os.environ["SHOP_JOURNAL"] = str(journal)
        execution = Execution(ending, given["plans"], given["project"])
        made[name] = {**execution.run(), "seen": journal.read_text("utf-8").splitlines() if journal.exists() else []}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
