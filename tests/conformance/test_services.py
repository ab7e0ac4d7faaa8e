"""The same executions over every service end alike, with the same operations on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance.scenarios import HANDLERS, SCENARIOS, Ended, Scenario, ended, targets, workflow
from memory_service import MemoryService, moment, seconds

from durableflow import values
from durableflow.aws import lambda_handler
from durableflow.compiler import compile_workflow
from durableflow.driver import run_invocation
from durableflow.errors import Fault
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


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("run", [in_memory, as_lambda])
def test_every_service_ends_it_alike(run: Callable[[Scenario], Ended], name: str) -> None:
    scenario = SCENARIOS[name]
    expected = Ended(
        status=scenario.status, result=scenario.result, error=scenario.error, operations=scenario.operations
    )
    assert run(scenario) == expected
