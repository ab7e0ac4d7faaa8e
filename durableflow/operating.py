"""Which updates does a state with an operation of its own ask for? invoke, step, wait.

Each function walks one visit of one state: answer from the record where there is one, ask for what is missing, wait
for what is unfinished.

Source: protocol.md 4.1, 4.4, 5.1, 5.2; language.md 12, rules 10, 13, 18, 25, 26, 45, 46, 77.
"""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from durableflow import faults, values
from durableflow import operations as wire
from durableflow.decision import Call, Completion
from durableflow.errors import Fault
from durableflow.expressions import EvaluationError
from durableflow.frontier import INVOKE, STEP, WAIT, incomplete_reply
from durableflow.library import parse_time
from durableflow.operations import TERMINAL, wire_name
from durableflow.scope import NULL, Lazy, stored_text
from durableflow.source import shown
from durableflow.walker import duration_seconds, too_large

if TYPE_CHECKING:
    from durableflow.frontier import Steps
    from durableflow.operations import Operation
    from durableflow.plan import Invoke, Node, Step, Wait
    from durableflow.scope import Site
    from durableflow.values import Json
    from durableflow.walker import Walker

_FUNCTION_NAME: Final = re.compile(r"[a-zA-Z0-9$_.:\-/]{1,256}")
_TENANT_ID: Final = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")


# invoke --------------------------------------------------------------------------------------------------------------


def invoke(walker: Walker, node: Invoke, site: Site) -> Steps[None]:
    """Start the function, or answer from the record (protocol.md 4.4); a retry is a new operation, `@2`."""
    frontier = walker.frontier
    name = node.name if node.label is None else (yield from walker.label(node.label, node, site))
    began: int | None = None
    while True:
        path = site.path if site.attempt == 1 else f"{site.path}@{site.attempt}"
        key = frontier.key(path)
        operation = frontier.recorded(key, INVOKE, name, node, path)
        if operation is None:
            yield from _start_invoke(walker, node, site, key, name)
            frontier.see_start(key, path)
            # The reply is looked at before suspending: the function may not exist (protocol.md 6, rule 5).
            yield key
            operation = frontier.operations[key]
        if operation["Status"] not in TERMINAL:
            operation = yield from _ended(walker, key, path, operation)
        else:
            frontier.see(key, path, operation)
        site.timeline.passed(key)
        if operation["Status"] == "SUCCEEDED":
            yield from walker.finish(node, site, _invoke_result(operation), operation)
            return
        fault = faults.invoke_fault(operation, state=node.name, attempt=site.attempt)
        began = operation.get("StartTimestamp") if began is None else began
        elapsed = _elapsed_seconds(began, operation.get("EndTimestamp"))
        delay = yield from walker.retry_seconds(node.retry, fault, site, key=key, elapsed_seconds=elapsed)
        if delay is None:
            raise fault
        yield from pause(walker, f"{path}:backoff", f"{name}-backoff-{site.attempt}", delay, node, site)
        site.attempt += 1
        site.renew()


def _start_invoke(walker: Walker, node: Invoke, site: Site, key: str, name: str) -> Steps[None]:
    function = yield from walker.text(node.function, site, "function")
    if not _FUNCTION_NAME.fullmatch(function):
        raise Fault(faults.QUERY_EVALUATION, f"'{shown(function)}' is no function name or ARN")
    if node.allow and not any(fnmatchcase(function, pattern) for pattern in node.allow):
        message = f"'{shown(function)}' is not among the functions that '{node.name}' allows"
        raise Fault(faults.PERMISSIONS, message)
    tenant = None if node.tenant_id is None else (yield from walker.text(node.tenant_id, site, "tenant_id"))
    if tenant is not None and not _TENANT_ID.fullmatch(tenant):
        raise Fault(faults.QUERY_EVALUATION, f"'{shown(tenant)}' is no tenant id")
    value = yield from walker.value(node.payload, site)
    try:
        payload = values.to_text(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Fault(faults.QUERY_EVALUATION, f"Failed to serialize invoke payload: {error}") from error
    if (size := values.size_bytes(payload)) > wire.INVOKE_PAYLOAD_MAX_BYTES:
        raise too_large(f"the payload of '{node.name}'", size, wire.INVOKE_PAYLOAD_MAX_BYTES)
    update = walker.frontier.update(key, INVOKE, "START", name, site.scope.parent_id)
    update["Payload"] = payload
    update["ChainedInvokeOptions"] = {"FunctionName": function}
    if tenant is not None:
        update["ChainedInvokeOptions"]["TenantId"] = tenant


def _invoke_result(operation: Operation) -> Lazy:
    """Decode the result of an invoke at once: whether it is JSON is the state's own affair, not its readers'."""
    text = operation.get("ChainedInvokeDetails", {}).get("Result")
    if text is None:
        return NULL
    try:
        return Lazy(values.from_text(text))
    except values.ValueRefusedError as error:
        raise Fault(faults.RESULT_INVALID, f"Failed to deserialize invoke result: {error}") from error


# step ----------------------------------------------------------------------------------------------------------------


def step(walker: Walker, node: Step, site: Site) -> Steps[None]:
    """Run the handler, or answer from the record; retries happen in place (protocol.md 5.1)."""
    frontier = walker.frontier
    name = node.name if node.label is None else (yield from walker.label(node.label, node, site))
    key = frontier.key(site.path)
    result: Lazy | None = None
    while result is None:
        operation = frontier.recorded(key, STEP, name, node, site.path)
        if operation is None or operation["Status"] in ("STARTED", "READY"):
            result = yield from _attempt(walker, node, site, name, operation)
            continue
        frontier.see(key, site.path, operation)
        details = operation.get("StepDetails", {})
        match operation["Status"]:
            case "PENDING":
                yield key
            case "SUCCEEDED":
                site.attempt = max(1, details.get("Attempt", 1))
                result = Lazy(text=details["Result"]) if "Result" in details else NULL
            case _:
                site.timeline.passed(key)
                site.attempt = max(1, details.get("Attempt", 1))
                raise faults.step_fault(details.get("Error"), state=node.name, attempt=site.attempt)
    site.timeline.passed(key)
    site.renew()
    yield from walker.keep(node, site, result, frontier.operations.get(key))


def _attempt(walker: Walker, node: Step, site: Site, name: str, operation: Operation | None) -> Steps[Lazy | None]:
    """Make one attempt; return the stored result, or None when the step is to be looked at again (a retry).

    Raises:
        Fault: the step has failed for good, and this is recorded; or its payload has no value and nothing is started.
    """
    frontier = walker.frontier
    key = frontier.key(site.path)
    site.attempt = (operation.get("StepDetails", {}).get("Attempt", 0) if operation else 0) + 1
    site.renew()
    was_running = operation is not None and operation["Status"] == "STARTED"
    completion = Completion(operation_id=key)
    try:
        if was_running and node.semantics == "at_most_once":
            completion = Completion(operation_id=key, fault=_interrupted(node, site.attempt))
        else:
            payload = yield from walker.value(node.payload, site)
            if not was_running:
                frontier.update(key, STEP, "START", name, site.scope.parent_id)
            completion = yield from frontier.call(_call(node, site, key, payload))
        text = yield from _projected(walker, node, site, completion)
    except Fault as raised:
        if operation is None and not frontier.has_started(key):
            raise
        fault = raised
    else:
        frontier.update(key, STEP, "SUCCEED", name, site.scope.parent_id)["Payload"] = text
        return Lazy(text=text)
    yield from _attempt_failed(walker, node, site, name, fault, completion)
    return None


def _call(node: Step, site: Site, key: str, payload: Json) -> Call:
    return Call(
        operation_id=key,
        node=node,
        path=site.path,
        payload=payload,
        attempt=site.attempt,
        idempotency_key=site.idempotency_key,
    )


def _projected(walker: Walker, node: Step, site: Site, completion: Completion) -> Steps[str]:
    """Return what is stored of a step's result; an error here fails the step itself (rule 18)."""
    if completion.fault is not None:
        raise completion.fault
    result = completion.result
    if node.output is not None:
        site.extra["result"] = result
        result = yield from walker.value(node.output, site)
    if node.result_schema is not None:
        walker.check(node.result_schema, result, faults.RESULT_INVALID, f"the result of '{node.name}'")
    text = stored_text(result)
    if (size := values.size_bytes(text)) > wire.STEP_RESULT_MAX_BYTES:
        raise too_large(f"the result of '{node.name}'", size, wire.STEP_RESULT_MAX_BYTES)
    return text


def _attempt_failed(
    walker: Walker, node: Step, site: Site, name: str, fault: Fault, completion: Completion
) -> Steps[None]:
    """Record a failed attempt: RETRY with a delay, or FAIL and raise."""
    frontier = walker.frontier
    key = completion.operation_id
    error = wire.error_from_fault(fault)
    # From here on the fault is what a replay will read (rule 67).
    fault = faults.step_fault(error, state=node.name, attempt=site.attempt)
    operation = frontier.operations.get(key)
    elapsed = _elapsed_seconds(operation.get("StartTimestamp") if operation else None, completion.ended_at)
    delay = yield from walker.retry_seconds(node.retry, fault, site, key=key, elapsed_seconds=elapsed)
    if delay is None:
        frontier.update(key, STEP, "FAIL", name, site.scope.parent_id)["Error"] = error
        site.timeline.passed(key)
        raise fault
    update = frontier.update(key, STEP, "RETRY", name, site.scope.parent_id)
    update["Error"] = error
    update["StepOptions"] = {"NextAttemptDelaySeconds": delay}
    yield from frontier.answers()
    if frontier.operations[key]["Status"] == "STARTED":
        # Going on would run the attempt again that has just been recorded as failed.
        raise incomplete_reply()


def _interrupted(node: Step, attempt: int) -> Fault:
    message = f"attempt {attempt} of step '{node.name}' was interrupted; it may have had its effect"
    return Fault(faults.STEP_INTERRUPTED, message)


# wait ----------------------------------------------------------------------------------------------------------------


def wait(walker: Walker, node: Wait, site: Site) -> Steps[None]:
    """Wait; what is recorded counts, whatever the duration says today. What is over already costs nothing."""
    frontier = walker.frontier
    name = node.name if node.label is None else (yield from walker.label(node.label, node, site))
    key = frontier.key(site.path)
    operation = frontier.recorded(key, WAIT, name, node, site.path)
    if operation is None:
        seconds = yield from _wait_seconds(walker, node, site)
        if seconds <= 0:
            yield from walker.finish(node, site, NULL)
            return
        operation = yield from _start_wait(walker, key, name, seconds, site)
    operation = yield from _ended(walker, key, site.path, operation)
    site.timeline.passed(key)
    yield from walker.finish(node, site, NULL, operation)


def _wait_seconds(walker: Walker, node: Wait, site: Site) -> Steps[int]:
    if node.duration is not None:
        return math.ceil((yield from walker.seconds(node.duration, site, "duration")))
    assert node.until is not None
    moment = yield from walker.text(node.until, site, "until")
    # "Already past" is told from what is recorded, not from a clock (rule 26).
    yield from walker.frontier.answers()
    try:
        ahead = parse_time(moment) - site.timeline.now() / 1000
    except EvaluationError as error:
        raise Fault(faults.QUERY_EVALUATION, error.message) from error
    return math.ceil(duration_seconds(ahead, "until"))


def pause(walker: Walker, path: str, name: str, seconds: int, node: Node, site: Site) -> Steps[None]:
    """Wait as a helper of a state: with a path of its own, and unseen by `context.now` (rule 64)."""
    key = walker.frontier.key(path)
    name = wire_name(name)
    operation = walker.frontier.recorded(key, WAIT, name, node, path)
    if operation is None:
        operation = yield from _start_wait(walker, key, name, seconds, site)
    yield from _ended(walker, key, path, operation)


def _start_wait(walker: Walker, key: str, name: str, seconds: int, site: Site) -> Steps[Operation]:
    walker.frontier.update(key, WAIT, "START", name, site.scope.parent_id)["WaitOptions"] = {"WaitSeconds": seconds}
    yield key
    return walker.frontier.operations[key]


def _ended(walker: Walker, key: str, path: str, operation: Operation) -> Steps[Operation]:
    """Wait until an operation is finished."""
    frontier = walker.frontier
    while operation["Status"] not in TERMINAL:
        frontier.see(key, path, operation)
        yield key
        operation = frontier.operations[key]
    frontier.see(key, path, operation)
    return operation


def _elapsed_seconds(began: int | None, ended: int | None) -> float | None:
    return None if began is None or ended is None else (ended - began) / 1000
