"""The same executions over every service end alike, with the same operations on record."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from conformance.scenarios import HANDLERS, SCENARIOS, Ended, Scenario, ended, targets, workflow
from memory_service import START, MemoryService, moment, seconds

from durableflow import values
from durableflow.aws import lambda_handler
from durableflow.compiler import compile_workflow
from durableflow.driver import run_invocation
from durableflow.errors import Fault
from durableflow.local.jobs import Function, Job, Limits
from durableflow.local.service import Service
from durableflow.local.store import open_store
from durableflow.source import Source
from durableflow.work import PythonWorker, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from durableflow.plan import Plan


def plan_of(text: str) -> Plan:
    return compile_workflow(Source(name="workflow.yaml", text=text)).plan


def in_memory(scenario: Scenario) -> Ended:
    """The driver on an unkind service."""
    worker = PythonWorker([HANDLERS])

    def handler(plan: Plan, service: MemoryService) -> Callable[[Any], Any]:
        return lambda event: run_invocation(
            event, plan=plan, service=service, worker=worker, check_schema=check_schema, clock_ms=lambda: service.now
        )

    return execution(scenario, handler, page=2, time=seconds)


def as_lambda(scenario: Scenario) -> Ended:
    """The Lambda handler, with a client that answers as boto3 does."""
    return execution(
        scenario,
        lambda plan, service: lambda event: lambda_handler(plan, client=service, handlers_root=HANDLERS)(event, None),
        page=1,
        time=moment,
    )


def execution(scenario: Scenario, handler: Callable[[Plan, MemoryService], Callable[[Any], Any]], **kind: Any) -> Ended:
    def child(states: str) -> Callable[[Any], Any]:
        def run(payload: Any) -> Any:
            service = MemoryService(input=values.to_text(payload), **kind)
            output = service.run(handler(plan_of(workflow("child", states)), service))
            if error := output.get("Error"):
                raise Fault(error["ErrorType"], error["ErrorMessage"])
            return values.from_text(output["Result"])

        return run

    service = MemoryService(
        input=values.to_text(scenario.input),
        targets={name: as_target(function) for name, function in targets().items()}
        | {name: child(states) for name, states in scenario.children.items()},
        **kind,
    )
    output = service.run(handler(plan_of(scenario.text()), service))
    return ended(output, list(service.operations.values()))


def as_target(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(payload: Any) -> Any:
        try:
            return function(payload)
        except Exception as error:
            raise Fault(type(error).__name__, str(error)) from error

    return run


def in_the_embedded_service(scenario: Scenario) -> Ended:
    """The service that runs executions here, with its store in memory; this thread runs its jobs and its time."""
    return embedded(scenario, Limits())


def in_the_embedded_service_unkindly(scenario: Scenario) -> Ended:
    """The same with an empty first page and one operation in each further one."""
    return embedded(scenario, Limits(first_page_operations=0, page_operations=1))


@dataclass
class StillClock:
    moment: int = START

    def now(self) -> int:
        return self.moment


@dataclass
class Project:
    """The functions of one scenario: what the service asks for, and who runs its jobs."""

    plans: dict[str, Plan]
    plain: dict[str, Callable[[Any], Any]]
    jobs: deque[Job] = field(default_factory=deque)

    def resolve(self, name: str, *, is_invoked: bool = False) -> Function | None:  # noqa: ARG002 - the service's signature
        known = name.removesuffix(":$LATEST")
        if known not in self.plans and known not in self.plain:
            return None
        return Function(name=known.partition(":")[0], is_durable=known in self.plans)

    def start(self, job: Job) -> None:
        self.jobs.append(job)

    def run(self, job: Job, service: Service) -> None:
        if job.event is None:
            try:
                output = self.plain[job.function.name](values.from_text(job.payload or "{}"))
            except Exception as error:  # noqa: BLE001 - whatever a function raises is its error
                service.invocation_ended(job.id, error={"ErrorType": type(error).__name__, "ErrorMessage": str(error)})
            else:
                service.invocation_ended(job.id, output=output)
            return
        output = run_invocation(
            job.event,
            plan=self.plans[job.function.name],
            service=service,
            worker=PythonWorker([HANDLERS]),
            check_schema=check_schema,
            clock_ms=lambda: START,
        )
        service.invocation_ended(job.id, output=output)


def embedded(scenario: Scenario, limits: Limits) -> Ended:
    plans = {"scenario": plan_of(scenario.text())}
    for name, states in scenario.children.items():
        plans[name] = plans[name.partition(":")[0]] = plan_of(workflow("child", states))
    project = Project(plans, targets())
    clock = StillClock()
    store = open_store(None)
    service = Service(store=store, clock=clock, functions=project, invoker=project, limits=limits)
    started = service.invoke(FunctionName="scenario", Payload=values.to_text(scenario.input), InvocationType="Event")
    arn = started["DurableExecutionArn"]
    while (execution := service.get_durable_execution(DurableExecutionArn=arn))["Status"] == "RUNNING":
        if project.jobs:
            project.run(project.jobs.popleft(), service)
        else:
            due = service.next_due()
            assert due is not None, "nothing runs and nothing is due"
            clock.moment = max(clock.moment, due)
            service.run_due()
    made = ended(execution, service.operations(DurableExecutionArn=arn))
    store.close()
    return made


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("run", [in_memory, as_lambda, in_the_embedded_service, in_the_embedded_service_unkindly])
def test_every_service_ends_it_alike(run: Callable[[Scenario], Ended], name: str) -> None:
    scenario = SCENARIOS[name]
    expected = Ended(
        status=scenario.status, result=scenario.result, error=scenario.error, operations=scenario.operations
    )
    assert run(scenario) == expected
