"""Which updates does a state with an operation of its own ask for? Work, waits, callbacks and conditions.

Each function walks one visit of one state: answer from the record where there is one, ask for what is missing, wait
for what is unfinished.

Source: protocol.md 4.1, 4.4, 5.1-5.3, 5.5; language.md 12, rules 10, 12, 13, 18, 25-28, 40, 45, 46, 52, 74, 75, 77, 78.
"""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from durableflow import faults, retries, values
from durableflow import operations as wire
from durableflow.attempts import attempts, elapsed_seconds, ended, started_wait, timed
from durableflow.decision import Call, Completion
from durableflow.errors import Fault, Origin
from durableflow.expressions import EvaluationError
from durableflow.frontier import CALLBACK, CONDITION, INVOKE, STEP, WAIT, incomplete_reply
from durableflow.library import parse_time
from durableflow.operations import TERMINAL, function_name
from durableflow.plan import Aws, Invoke, Step, secret_root, secrets_in
from durableflow.scope import NULL, Lazy, is_apart, stored_text, stored_value
from durableflow.source import shown
from durableflow.walker import duration_seconds, evaluated, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.expressions import Program
    from durableflow.frontier import Steps
    from durableflow.operations import ErrorObject, Operation, StepDetails
    from durableflow.plan import ChildWorkflow, Node, Retrier, Wait, WaitForCallback, WaitForCondition, Work
    from durableflow.scope import Scope, Site, Timeline
    from durableflow.values import Json, Object
    from durableflow.walker import Walker

_TENANT_ID: Final = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")
_NO_DETAILS: Final[StepDetails] = {}


# invoke, workflow as a child -----------------------------------------------------------------------------------------


def invoke(walker: Walker, node: Invoke | ChildWorkflow, site: Site) -> Steps[None]:
    """Start the function, or answer from the record (protocol.md 4.4); a retry is a new operation, `@2`."""
    if node.label is None and not node.retry:
        return _invoke(walker, node, site, site.wire)
    return _attempted(walker, node, site)


def _attempted(walker: Walker, node: Invoke | ChildWorkflow, site: Site) -> Steps[None]:
    name = site.wire if node.label is None else (yield from walker.label(node.label, site))
    yield from attempts(walker, node, site, name, lambda: _invoke(walker, node, site, name))


def _invoke(walker: Walker, node: Invoke | ChildWorkflow, site: Site, name: str) -> Steps[None]:
    """Make one attempt. No generator of its own: on a replay most states end in here."""
    frontier = walker.frontier
    path = site.path if site.attempt == 1 else site.attempt_path
    key = frontier.key(path)
    if node.timeout is not None:
        work = partial(_invoked_in, walker, node, site, name)
        return _after(walker, node, site, key, timed(walker, node.timeout, node, site, name, work, path=path))
    operation = frontier.recorded(key, INVOKE, name, node, path, site.scope)
    if operation is None or operation["Status"] not in TERMINAL:
        return _after(walker, node, site, key, _invoked(walker, node, site, name, operation))
    if frontier.is_watched:
        frontier.see(key, path, operation)
    return _invoke_over(walker, node, site, key, operation)


def _after(walker: Walker, node: Invoke | ChildWorkflow, site: Site, key: str, steps: Steps[Operation]) -> Steps[None]:
    yield from _invoke_over(walker, node, site, key, (yield from steps))


def _invoke_over(
    walker: Walker, node: Invoke | ChildWorkflow, site: Site, key: str, operation: Operation
) -> Steps[None]:
    """Come past a finished invoke.

    Raises:
        Fault: it did not succeed.
    """
    site.timeline.passed(key)
    if operation["Status"] != "SUCCEEDED":
        is_workflow = not isinstance(node, Invoke)
        raise faults.invoke_fault(operation, state=node.name, attempt=site.attempt, is_workflow=is_workflow)
    return walker.finish(node, site, _invoke_result(operation), key)


def _invoked_in(
    walker: Walker, node: Invoke | ChildWorkflow, site: Site, name: str, scope: Scope, _: Timeline
) -> Steps[Operation]:
    frontier = walker.frontier
    path = site.attempt_path
    operation = frontier.recorded(frontier.key(path), INVOKE, name, node, path, scope)
    return (yield from _invoked(walker, node, site, name, operation))


def _invoked(
    walker: Walker, node: Invoke | ChildWorkflow, site: Site, name: str, operation: Operation | None
) -> Steps[Operation]:
    """Return the finished operation."""
    frontier = walker.frontier
    path = site.attempt_path
    key = frontier.key(path)
    if operation is None:
        if isinstance(node, Invoke):
            yield from _start_invoke(walker, node, site, key, name)
        else:
            yield from _start_child(walker, node, site, key, name)
        frontier.see_start(key, path)
        # The reply is looked at before suspending: the function may not exist (protocol.md 6, rule 5).
        yield key
        operation = frontier.operations[key]
    return (yield from ended(walker, key, path, operation))


def _start_invoke(walker: Walker, node: Invoke, site: Site, key: str, name: str) -> Steps[None]:
    function = yield from walker.text(node.function, site, "function")
    if function_name(function) is None:
        raise Fault(faults.QUERY_EVALUATION, f"'{shown(function)}' is no function name or ARN")
    if node.allow and not any(fnmatchcase(function, pattern) for pattern in node.allow):
        message = f"'{shown(function)}' is not among the functions that '{node.name}' allows"
        raise Fault(faults.PERMISSIONS, message, origin=Origin(is_work=True))
    tenant = None if node.tenant_id is None else (yield from walker.text(node.tenant_id, site, "tenant_id"))
    if tenant is not None and not _TENANT_ID.fullmatch(tenant):
        raise Fault(faults.QUERY_EVALUATION, f"'{shown(tenant)}' is no tenant id")
    value = yield from walker.value(node.payload, site)
    payload = _payload_text(node, value)
    update = walker.frontier.update(key, INVOKE, "START", name, site.scope)
    update["Payload"] = payload
    update["ChainedInvokeOptions"] = {"FunctionName": function}
    if tenant is not None:
        update["ChainedInvokeOptions"]["TenantId"] = tenant


def _start_child(walker: Walker, node: ChildWorkflow, site: Site, key: str, name: str) -> Steps[None]:
    function, is_shared = walker.child(node.workflow)
    value = yield from walker.value(node.payload, site)
    if is_shared:
        value = {"$workflow": node.workflow, "input": value}
    payload = _payload_text(node, value)
    update = walker.frontier.update(key, INVOKE, "START", name, site.scope)
    update["Payload"] = payload
    update["ChainedInvokeOptions"] = {"FunctionName": function}


def _payload_text(node: Node, value: Json) -> str:
    try:
        payload = values.to_text(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Fault(faults.QUERY_EVALUATION, f"Failed to serialize invoke payload: {error}") from error
    if (size := values.size_bytes(payload)) > wire.INVOKE_PAYLOAD_MAX_BYTES:
        raise too_large(f"the payload of '{node.name}'", size, wire.INVOKE_PAYLOAD_MAX_BYTES)
    return payload


def _invoke_result(operation: Operation) -> Lazy:
    """Decode the result of an invoke at once: whether it is JSON is the state's own affair, not its readers'."""
    text = operation.get("ChainedInvokeDetails", {}).get("Result")
    if text is None:
        return NULL
    try:
        return Lazy(values.from_text(text))
    except values.ValueRefusedError as error:
        message = f"Failed to deserialize invoke result: {error}"
        raise Fault(faults.RESULT_INVALID, message, origin=Origin(is_work=True)) from error


# step, aws, http -----------------------------------------------------------------------------------------------------


def work(walker: Walker, node: Work, site: Site, name: str | None = None) -> Steps[None]:
    """Have the work done, or answer from the record; retries happen in place (protocol.md 5.1).

    No generator of its own: on a replay most states end in here.

    Args:
        walker: what the constructs share.
        node: the state.
        site: its visit.
        name: its Name, where that is known already.
    """
    if name is None:
        if node.label is not None:
            return _labelled(walker, node, site, node.label)
        name = site.wire
    frontier, path = walker.frontier, site.path
    key = frontier.key(path)
    operation = frontier.recorded(key, STEP, name, node, path, site.scope)
    if operation is None or operation["Status"] != "SUCCEEDED":
        return _worked(walker, node, site, name, key, operation)
    if frontier.is_watched:
        frontier.see(key, path, operation)
    return _work_over(walker, node, site, key, operation.get("StepDetails", _NO_DETAILS))


def _labelled(walker: Walker, node: Work, site: Site, label: Program) -> Steps[None]:
    yield from work(walker, node, site, (yield from walker.label(label, site)))


def _work_over(walker: Walker, node: Work, site: Site, key: str, details: StepDetails) -> Steps[None]:
    """Come past work that has succeeded."""
    site.timeline.passed(key)
    site.attempt = details.get("Attempt", 1) or 1
    if node.assign:
        site.renew()
    result = Lazy(None, details["Result"], walker.load) if "Result" in details else NULL
    return walker.keep(node, site, result, key)


def _worked(walker: Walker, node: Work, site: Site, name: str, key: str, operation: Operation | None) -> Steps[None]:
    """Make attempts until one succeeds."""
    frontier = walker.frontier
    while operation is None or operation["Status"] != "SUCCEEDED":
        if operation is None or operation["Status"] in ("STARTED", "READY"):
            text = yield from _attempt(walker, node, site, name, operation)
            if text is not None:
                yield from _work_over(walker, node, site, key, {"Attempt": site.attempt, "Result": text})
                return
        else:
            frontier.see(key, site.path, operation)
            if operation["Status"] != "PENDING":
                site.timeline.passed(key)
                details = operation.get("StepDetails", _NO_DETAILS)
                site.attempt = max(1, details.get("Attempt", 1))
                raise faults.step_fault(details.get("Error"), state=node.name, attempt=site.attempt)
            yield key
        operation = frontier.recorded(key, STEP, name, node, site.path, site.scope)
    frontier.see(key, site.path, operation)
    yield from _work_over(walker, node, site, key, operation.get("StepDetails", _NO_DETAILS))


def _attempt(walker: Walker, node: Work, site: Site, name: str, operation: Operation | None) -> Steps[str | None]:
    """Make one attempt; return the result as stored, or None when the state is to be looked at again (a retry).

    Raises:
        Fault: the work has failed for good, and this is recorded; or its payload has no value and nothing is started.
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
            call = yield from _call(walker, node, site, key, name, operation)
            if not was_running:
                frontier.update(key, STEP, "START", name, site.scope)
            completion = yield from frontier.call(call)
        text = stored_text((yield from _projected(walker, node, site, completion)))
        _check_size(walker, text, node)
    except Fault as raised:
        if operation is None and not frontier.has_started(key):
            raise
        fault = raised
    else:
        frontier.update(key, STEP, "SUCCEED", name, site.scope)["Payload"] = text
        return text
    yield from _attempt_failed(walker, node, site, name, fault, completion)
    return None


def _call(walker: Walker, node: Work, site: Site, key: str, name: str, operation: Operation | None) -> Steps[Call]:
    program = _argument(node)
    names = secrets_in(program)
    declared = site.scope.world.plan.secrets
    timeout = None if node.timeout is None else (yield from walker.seconds(node.timeout, site, "timeout"))
    return Call(
        operation_id=key,
        operation_name=name,
        parent_id=site.scope.parent_id if operation is None else operation.get("ParentId"),
        node=node,
        path=site.path,
        payload=None if names else (yield from walker.value(program, site)),
        attempt=site.attempt,
        idempotency_key=site.idempotency_key,
        timeout_seconds=timeout,
        fill=partial(_filled, program, site, names) if names else None,
        secrets={secret: declared[secret] for secret in names},
    )


def _argument(node: Work) -> Program:
    if isinstance(node, Step):
        return node.payload
    return node.params if isinstance(node, Aws) else node.request


def _filled(program: Program, site: Site, names: Sequence[str], secret: Callable[[str], str]) -> Json:
    # Inside the operation: nothing of this ever reaches the record.
    return evaluated(program, site.knowing({secret_root(name): secret(name) for name in names}))


def _projected(walker: Walker, node: Work, site: Site, completion: Completion) -> Steps[Json]:
    """Return what is kept of a result; an error here fails the work itself (rule 18)."""
    if completion.fault is not None:
        raise completion.fault
    result = completion.result
    if node.output is not None:
        site.extra["result"] = result
        result = yield from walker.value(node.output, site)
    if node.result_schema is not None:
        walker.check(node.result_schema, result, faults.RESULT_INVALID, f"the result of '{node.name}'")
    return result


def _check_size(walker: Walker, text: str, node: Node) -> None:
    """Refuse a result that cannot be kept: in the record, or beside it (rules 42, 45)."""
    limit = wire.STEP_RESULT_MAX_BYTES if walker.load is None else wire.OFFLOADED_RESULT_MAX_BYTES
    if (size := values.size_bytes(text)) > limit:
        raise too_large(f"the result of '{node.name}'", size, limit)


def _attempt_failed(
    walker: Walker, node: Work, site: Site, name: str, fault: Fault, completion: Completion
) -> Steps[None]:
    """Record a failed attempt: RETRY with a delay, or FAIL and raise."""
    frontier = walker.frontier
    key = completion.operation_id
    error = wire.error_from_fault(fault)
    # From here on the fault is what a replay will read (rule 67).
    fault = faults.step_fault(error, state=node.name, attempt=site.attempt)
    operation = frontier.operations.get(key)
    elapsed = elapsed_seconds(operation.get("StartTimestamp") if operation else None, completion.ended_at)
    try:
        delay = yield from walker.retry_seconds(node.retry, fault, site, key=key, elapsed_seconds=elapsed)
    except Fault as raised:
        # The retrier itself has failed: the attempt is over all the same, and this is what is told of it.
        error, delay = wire.error_from_fault(raised), None
        fault = faults.step_fault(error, state=node.name, attempt=site.attempt)
    if delay is not None and (exceeded := frontier.exceeded(site.scope)) is not None:
        # The platform counts a retry as an operation, too.
        error, delay = wire.error_from_fault(exceeded), None
        fault = faults.step_fault(error, state=node.name, attempt=site.attempt)
    if delay is None:
        frontier.update(key, STEP, "FAIL", name, site.scope)["Error"] = error
        site.timeline.passed(key)
        raise fault
    update = frontier.update(key, STEP, "RETRY", name, site.scope)
    update["Error"] = error
    update["StepOptions"] = {"NextAttemptDelaySeconds": delay}
    yield from _again(walker, key)


def _again(walker: Walker, key: str) -> Steps[None]:
    yield from walker.frontier.answers(key)
    if walker.frontier.operations[key]["Status"] == "STARTED":
        # Going on would run the attempt again that has just been recorded as over.
        raise incomplete_reply()


def _interrupted(node: Work, attempt: int) -> Fault:
    message = f"attempt {attempt} of {node.TYPE} '{node.name}' was interrupted; it may have had its effect"
    return Fault(faults.STEP_INTERRUPTED, message)


# wait ----------------------------------------------------------------------------------------------------------------


def wait(walker: Walker, node: Wait, site: Site) -> Steps[None]:
    """Wait; what is recorded counts, whatever the duration says today. What is over already costs nothing."""
    frontier = walker.frontier
    name = site.wire if node.label is None else (yield from walker.label(node.label, site))
    key = frontier.key(site.path)
    operation = frontier.operations.get(key)
    seconds = 0
    if operation is None:
        # Looked at before it is come past: a wait that costs nothing leaves no operation, in a closed context neither.
        seconds = yield from _wait_seconds(walker, node, site)
        if seconds <= 0:
            yield from walker.finish(node, site, NULL)
            return
    operation = frontier.recorded(key, WAIT, name, node, site.path, site.scope)
    if operation is None:
        operation = yield from started_wait(walker, key, name, seconds, site.scope)
    yield from ended(walker, key, site.path, operation)
    site.timeline.passed(key)
    yield from walker.finish(node, site, NULL, key)


def _wait_seconds(walker: Walker, node: Wait, site: Site) -> Steps[int]:
    if node.duration is not None:
        return math.ceil((yield from walker.seconds(node.duration, site, "duration")))
    assert node.until is not None
    moment = yield from walker.text(node.until, site, "until")
    # "Already past" is told from what is recorded, not from a clock (rule 26).
    yield from walker.frontier.answers(site.timeline.last)
    try:
        ahead = parse_time(moment) - site.timeline.now() / 1000
    except EvaluationError as error:
        raise Fault(faults.QUERY_EVALUATION, error.message) from error
    return math.ceil(duration_seconds(ahead, "until"))


# wait_for_callback ---------------------------------------------------------------------------------------------------


def callback(walker: Walker, node: WaitForCallback, site: Site) -> Steps[None]:
    """Wait for an answer from outside, with a single operation; `submit` needs a context, see contexts.py."""
    name = site.wire if node.label is None else (yield from walker.label(node.label, site))
    yield from attempts(walker, node, site, name, lambda: _callback(walker, node, site, name))


def _callback(walker: Walker, node: WaitForCallback, site: Site, name: str) -> Steps[None]:
    path = site.attempt_path
    operation = yield from started_callback(walker, node, site, name, path, site.scope)
    operation = yield from awaited(walker, operation, path, site.scope)
    site.timeline.passed(operation["Id"])
    yield from walker.finish(node, site, answer(operation, node, site), operation["Id"])


def started_callback(
    walker: Walker, node: WaitForCallback, site: Site, name: str, path: str, scope: Scope
) -> Steps[Operation]:
    """Return the callback's operation, started if it was not; the service has given it an id by then."""
    frontier = walker.frontier
    key = frontier.key(path)
    operation = frontier.recorded(key, CALLBACK, name, node, path, scope)
    if operation is None:
        options: wire.CallbackOptions = {}
        if node.timeout is not None:
            options["TimeoutSeconds"] = yield from _limit(walker, node.timeout, site, "timeout")
        if node.heartbeat_timeout is not None:
            limit = yield from _limit(walker, node.heartbeat_timeout, site, "heartbeat_timeout")
            options["HeartbeatTimeoutSeconds"] = limit
        frontier.update(key, CALLBACK, "START", name, scope)["CallbackOptions"] = options
        frontier.see_start(key, path)
        yield key
        operation = frontier.operations[key]
    return operation


def awaited(walker: Walker, operation: Operation, path: str, scope: Scope) -> Steps[Operation]:
    """Wait until a callback is over."""
    key = operation["Id"]
    walker.frontier.park(key, scope)
    return ended(walker, key, path, walker.frontier.operations[key])


def _limit(walker: Walker, program: Program, site: Site, what: str) -> Steps[int]:
    return max(1, math.ceil((yield from walker.seconds(program, site, what))))


def answer(operation: Operation, node: WaitForCallback, site: Site) -> Lazy:
    """Return what was answered.

    Raises:
        Fault: there was no answer in time, a failure was reported, or the answer is not JSON (rule 12).
    """
    if operation["Status"] != "SUCCEEDED":
        raise faults.callback_fault(operation, state=node.name, attempt=site.attempt)
    text = operation.get("CallbackDetails", {}).get("Result")
    if text is None:
        return NULL
    if node.result_format == "text":
        return Lazy(text)
    try:
        return Lazy(values.from_text(text))
    except values.ValueRefusedError as error:
        raise Fault(faults.RESULT_INVALID, f"the answer to '{node.name}' is not JSON: {error}") from error


# wait_for_condition --------------------------------------------------------------------------------------------------

_POLL: Final = "$poll"


def condition(walker: Walker, node: WaitForCondition, site: Site) -> Steps[None]:
    """Check until the condition holds; every check is an attempt in place (protocol.md 5.5)."""
    name = site.wire if node.label is None else (yield from walker.label(node.label, site))
    yield from attempts(walker, node, site, name, lambda: _condition(walker, node, site, name))


def _condition(walker: Walker, node: WaitForCondition, site: Site, name: str) -> Steps[None]:
    frontier = walker.frontier
    path = site.attempt_path
    key = frontier.key(path)
    text: str | None = None
    while text is None:
        operation = frontier.recorded(key, CONDITION, name, node, path, site.scope)
        if operation is None or operation["Status"] in ("STARTED", "READY"):
            text = yield from _polled(walker, node, site, name, operation)
            continue
        frontier.see(key, path, operation)
        details = operation.get("StepDetails", {})
        match operation["Status"]:
            case "PENDING":
                yield key
            case "SUCCEEDED":
                text = details.get("Result", "null")
            case _:
                site.timeline.passed(key)
                raise _condition_fault(details.get("Error"), node, max(1, details.get("Attempt", 1)))
    site.timeline.passed(key)
    yield from walker.finish(node, site, Lazy(text=text, load=walker.load), key)


def _polled(
    walker: Walker, node: WaitForCondition, site: Site, name: str, operation: Operation | None
) -> Steps[str | None]:
    """Check once; return the value as stored when the condition holds, None when it is to be looked at again.

    Raises:
        Fault: the condition has failed for good, and this is recorded; or nothing was started.
    """
    frontier = walker.frontier
    check = node.check
    key = frontier.key(site.attempt_path)
    details: StepDetails = operation.get("StepDetails", {}) if operation else {}
    number = details.get("Attempt", 0) + 1
    before = _Poll.from_text(_fetched(walker, details.get("Result")))
    if before is None:
        before = _Poll((yield from walker.value(node.initial, site)) if node.initial is not None else None)
    was_running = operation is not None and operation["Status"] == "STARTED"
    polling = site.knowing({"previous": before.previous})
    polling.attempt = number
    completion = Completion(operation_id=key)
    try:
        if was_running and check.semantics == "at_most_once":
            completion = Completion(operation_id=key, fault=_interrupted(check, number))
        else:
            call = yield from _call(walker, check, polling, key, name, operation)
            if not was_running:
                frontier.update(key, CONDITION, "START", name, site.scope)
                if operation is None and node.timeout is not None:
                    # The deadline counts from the recorded start (rule 74).
                    yield from frontier.answers(key)
            completion = yield from frontier.call(call)
        result = yield from _projected(walker, check, polling, completion)
        text = stored_text(result)
        _check_size(walker, text, node)
        polling.extra["result"] = result
        is_met = yield from walker.holds(node.until, polling)
    except Fault as raised:
        if operation is None and not frontier.has_started(key):
            raise
        fault: Fault | None = raised
        text, is_met = "", False
    else:
        fault = None
    if is_met:
        frontier.update(key, CONDITION, "SUCCEED", name, site.scope)["Payload"] = text
        return text
    yield from _not_yet(walker, node, site, name, polling, before, completion, fault, text)
    return None


def _not_yet(  # noqa: PLR0913, PLR0917 - what is known of a check that did not end the waiting
    walker: Walker,
    node: WaitForCondition,
    site: Site,
    name: str,
    polling: Site,
    before: _Poll,
    completion: Completion,
    fault: Fault | None,
    text: str,
) -> Steps[None]:
    """Record that it is to be checked again, or raise."""
    frontier = walker.frontier
    key = completion.operation_id
    left: float | None = None
    delay: int | None = None
    try:
        left = yield from _seconds_left(walker, node, site, key, completion)
        if fault is not None:
            after, delay = yield from _after_failure(walker, node, polling, before, fault, completion, key)
            text = after.to_text()
        else:
            delay, fault = yield from _after_no(walker, node, polling, left)
    except Fault as raised:
        delay, fault = None, raised  # of a retrier, an interval or the timeout
    if delay is not None and (exceeded := frontier.exceeded(site.scope)) is not None:
        delay, fault = None, exceeded
    if delay is None or (left is not None and left <= 0):
        raise _gave_up(walker, node, site, name, polling.attempt, fault or _late(node))
    update = frontier.update(key, CONDITION, "RETRY", name, site.scope)
    update["Payload"] = text
    # The last check is made at the deadline (rule 58).
    update["StepOptions"] = {"NextAttemptDelaySeconds": delay if left is None else max(1, min(delay, math.ceil(left)))}
    yield from _again(walker, key)


def _fetched(walker: Walker, text: str | None) -> str | None:
    if text is not None and walker.load is not None and is_apart(text):
        return walker.load(values.from_text(text))
    return text


class _Poll:
    """What is kept between two checks: the value of the last good one and, after failures, how many there were.

    Args:
        previous: that value.
        failures: failures in a row since.
        since: when the first of them was made, epoch milliseconds, or None.
    """

    __slots__ = ("failures", "previous", "since")

    def __init__(self, previous: Json, failures: int = 0, since: int | None = None) -> None:
        self.previous = previous
        self.failures = failures
        self.since = since

    @classmethod
    def from_text(cls, text: str | None) -> _Poll | None:
        """Return what was kept, or None when nothing was (rules 40, 74)."""
        if text is None:
            return None
        value = stored_value(text)
        if text.startswith(f'{{"{_POLL}"') and isinstance(value, dict) and len(value) == 1:
            kept = cast("Object", value[_POLL])
            return cls(kept["previous"], cast("int", kept["failures"]), cast("int | None", kept["since"]))
        return cls(value)

    def to_text(self) -> str:
        kept: Object = {"previous": self.previous, "failures": self.failures, "since": self.since}
        return values.to_text({_POLL: kept})


def _after_failure(
    walker: Walker,
    node: WaitForCondition,
    polling: Site,
    before: _Poll,
    fault: Fault,
    completion: Completion,
    key: str,
) -> Steps[tuple[_Poll, int | None]]:
    """Return what is kept after a check that failed, and in how many seconds it is repeated, or None."""
    began = before.since if before.since is not None else completion.ended_at
    after = _Poll(before.previous, before.failures + 1, began)
    known = faults.step_fault(wire.error_from_fault(fault), state=node.name, attempt=polling.attempt)
    number, polling.attempt = polling.attempt, after.failures
    elapsed = elapsed_seconds(began, completion.ended_at)
    delay = yield from walker.retry_seconds(node.check.retry, known, polling, key=key, elapsed_seconds=elapsed)
    polling.attempt = number
    return after, delay


def _after_no(
    walker: Walker, node: WaitForCondition, polling: Site, left: float | None
) -> Steps[tuple[int | None, Fault | None]]:
    """Return in how many seconds a check is repeated whose condition does not hold; without that, why not."""
    # At the deadline it is too late, however many checks there have been (rule 74).
    if left is not None and left <= 0:
        return None, None
    if node.is_limited and polling.attempt >= node.poll.max_attempts:
        message = f"the condition of '{node.name}' did not hold in {polling.attempt:,} checks"
        return None, Fault(faults.CONDITION_NOT_MET, message)
    poll: Retrier = node.poll
    if walker.frontier.unanswered and retries.reads_time(poll):
        yield from walker.frontier.answers(polling.timeline.last)
    execution = polling.scope.world.execution["Id"]
    delay = retries.pause_seconds(
        poll,
        polling.attempt,
        seed=f"{execution}\n{polling.path}\n{polling.attempt}",
        seconds=lambda program: duration_seconds(evaluated(program, polling), "a duration of the condition"),
    )
    return delay, None


def _seconds_left(
    walker: Walker, node: WaitForCondition, site: Site, key: str, completion: Completion
) -> Steps[float | None]:
    """Return the time to the deadline when the check ended, or None without one."""
    if node.timeout is None or completion.ended_at is None:
        return None
    limit = yield from walker.seconds(node.timeout, site, "timeout")
    operation = walker.frontier.operations.get(key)
    elapsed = elapsed_seconds(operation.get("StartTimestamp") if operation else None, completion.ended_at)
    return limit - (elapsed or 0.0)


def _late(node: WaitForCondition) -> Fault:
    return Fault(faults.TIMEOUT, f"the condition of '{node.name}' did not hold in time")


def _gave_up(walker: Walker, node: WaitForCondition, site: Site, name: str, number: int, fault: Fault) -> Fault:
    """Record that a condition has failed; return the fault as a replay will see it."""
    frontier = walker.frontier
    key = frontier.key(site.attempt_path)
    error = wire.error_from_fault(fault)
    frontier.update(key, CONDITION, "FAIL", name, site.scope)["Error"] = error
    site.timeline.passed(key)
    return _condition_fault(error, node, number)


def _condition_fault(error: ErrorObject | None, node: WaitForCondition, attempt: int) -> Fault:
    """Return the fault of a condition as it stands on record; waiting is no work (rule 14)."""
    return faults.step_fault(error, state=node.name, attempt=attempt).having(is_work=False)
