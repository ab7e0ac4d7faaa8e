"""The embedded service with a clock that tests move and jobs that tests run: no threads, no processes, no waiting."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from durableflow.local.service import Function, Job, Limits, Retries, Service
from durableflow.local.store import Store, open_store
from durableflow.operations import function_name

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ERROR: Any = {"ErrorType": "Broken", "ErrorMessage": "it broke"}
SUCCEEDED = {"Status": "SUCCEEDED", "Result": '"done"'}
PENDING = {"Status": "PENDING"}


@dataclass
class ManualClock:
    """Stands still until it is told."""

    moment: int = START

    def now(self) -> int:
        return self.moment


_OPEN: list[Store] = []


def close_all() -> None:
    """Close the store of every world that was made."""
    while _OPEN:
        _OPEN.pop().close()


def predictable() -> Callable[[int], bytes]:
    """Bytes that never repeat."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


@dataclass
class World:
    """A service, and what it hands out.

    Args:
        functions: by name; `alias` of each is its version too.
        jobs: handed out and not yet ended, in order.
        told: what listeners were told.
    """

    functions: dict[str, Function] = field(
        default_factory=lambda: {
            "flow": Function(name="flow", version="1"),
            "child": Function(name="child", version="7", execution_timeout_seconds=100),
            "echo": Function(name="echo", version="$LATEST", is_durable=False),
        }
    )
    limits: Limits | None = None
    retries: Retries | None = None
    store: Store = field(default_factory=lambda: open_store(None))
    clock: ManualClock = field(default_factory=ManualClock)
    jobs: list[Job] = field(default_factory=list)
    told: list[tuple[str, Any]] = field(default_factory=list)
    entropy: Callable[[int], bytes] = field(default_factory=predictable)

    def __post_init__(self) -> None:
        _OPEN.append(self.store)
        self.service = Service(
            store=self.store,
            clock=self.clock,
            functions=self,
            invoker=self,
            limits=self.limits,
            retries=self.retries,
            entropy=self.entropy,
        )
        self.service.subscribe(lambda arn, event: self.told.append((arn, event)))

    def resolve(self, name: str, *, is_invoked: bool = False) -> Function | None:  # noqa: ARG002 - the service's signature
        parts = function_name(name)
        found = self.functions.get(parts.name) if parts else None
        is_there = found and parts and parts.qualifier in {None, "alias", found.version}
        return found if is_there else None

    def listed(self) -> list[Function]:
        return sorted(self.functions.values(), key=lambda each: (each.name, each.version))

    def start(self, job: Job) -> None:
        self.jobs.append(job)

    # What a test does ------------------------------------------------------------------------------------------------

    def begin(self, payload: str = "{}", *, function: str = "flow", name: str | None = None) -> Run:
        """Start an execution, and take its first invocation."""
        reply = self.service.invoke(
            FunctionName=function, Payload=payload, InvocationType="Event", DurableExecutionName=name
        )
        return Run(world=self, arn=reply["DurableExecutionArn"])

    def job(self) -> Job:
        """Take the job that was handed out first."""
        return self.jobs.pop(0)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.clock.moment += round(seconds * 1000)
        self.service.run_due()

    def describe(self, arn: str) -> Any:
        return self.service.get_durable_execution(DurableExecutionArn=arn)

    def events(self, arn: str) -> list[Any]:
        """The whole history."""
        return self.service.get_durable_execution_history(DurableExecutionArn=arn, MaxItems=1000)["Events"]

    def history(self, arn: str) -> list[str]:
        """The types of the events."""
        return [event["EventType"] for event in self.events(arn)]


@dataclass
class Run:
    """The handler's side of one execution: its invocation in flight, and the token to go on with."""

    world: World
    arn: str
    token: str = ""
    reply: Any = None

    def __post_init__(self) -> None:
        self.wake()

    def wake(self) -> None:
        """Take the next invocation."""
        self.job = self.world.job()
        assert self.job.execution_arn == self.arn
        assert self.job.event is not None
        self.event = self.job.event
        self.token = self.event["CheckpointToken"]

    def checkpoint(self, *updates: Any, client_token: str | None = None) -> dict[str, Any]:
        """Send updates, and return the operations of the answer by id."""
        self.reply = self.world.service.checkpoint_durable_execution(
            DurableExecutionArn=self.arn, CheckpointToken=self.token, Updates=updates, ClientToken=client_token
        )
        self.token = self.reply.get("CheckpointToken", "")
        return {operation["Id"]: operation for operation in self.reply["NewExecutionState"]["Operations"]}

    def answer(self, output: Any = None, *, error: Any = None) -> None:
        """End the invocation."""
        self.world.service.invocation_ended(self.job.id, output=output, error=error)

    def state(self, limit: int | None = None) -> list[Any]:
        """Every operation that the handler is sent: the event's page and all that follow."""
        found = list(self.event["InitialExecutionState"]["Operations"])
        marker = self.event["InitialExecutionState"].get("NextMarker")
        while marker:
            page = self.world.service.get_durable_execution_state(
                DurableExecutionArn=self.arn, CheckpointToken=self.token, Marker=marker, MaxItems=limit
            )
            found += page["Operations"]
            marker = page.get("NextMarker")
        return found

    @property
    def status(self) -> str:
        return self.world.describe(self.arn)["Status"]


def step(action: str = "START", id_: str = "a", **members: Any) -> Any:
    return {"Id": id_, "Type": "STEP", "Action": action, **members}


def retry(seconds: int, id_: str = "a", **members: Any) -> Any:
    return step("RETRY", id_, StepOptions={"NextAttemptDelaySeconds": seconds}, **members)


def wait(seconds: int, id_: str = "w", **members: Any) -> Any:
    return {"Id": id_, "Type": "WAIT", "Action": "START", "WaitOptions": {"WaitSeconds": seconds}, **members}


def callback(id_: str = "c", **options: Any) -> Any:
    return {"Id": id_, "Type": "CALLBACK", "Action": "START", "CallbackOptions": options}


def call(function: str, id_: str = "i", payload: str | None = "1", **members: Any) -> Any:
    made = {
        "Id": id_,
        "Type": "CHAINED_INVOKE",
        "Action": "START",
        "ChainedInvokeOptions": {"FunctionName": function},
        **members,
    }
    return made if payload is None else {**made, "Payload": payload}


def context(action: str = "START", id_: str = "x", **members: Any) -> Any:
    return {"Id": id_, "Type": "CONTEXT", "Action": action, **members}


def ending(**members: Any) -> Any:
    return {"Id": "end", "Type": "EXECUTION", "Action": "SUCCEED", **members}


def text(value: Any) -> str:
    return json.dumps(value)
