"""What happens to an execution within one transaction? Its life from start to end, and who is woken by what.

A `Turn` is one transaction's work. The ledger says what updates and triggers make true; the turn writes that down,
numbers events, keeps the timers, starts children and decides which executions are to be invoked. What the world has to
do afterwards (jobs to start, listeners to tell) is collected and done after the commit, by `service.py`.

Source: protocol.md 1.5, 1.6, 2.4, 4.3, 6, 8.3.
"""

from __future__ import annotations

import base64
import logging
import uuid
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, assert_never, cast

from durableflow import ledger, values
from durableflow.local import history
from durableflow.local.jobs import Job
from durableflow.local.store import DamagedError, Execution, Pause, TargetRow, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from durableflow.ledger import Changes, Effect, Event, Target, Trigger
    from durableflow.local.jobs import Function, Functions, Limits, Retries
    from durableflow.local.store import Store, TimerRow
    from durableflow.operations import ErrorObject, Operation, Update
    from durableflow.values import Json

Ending: TypeAlias = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every turn works with; `entropy` returns that many random bytes."""

    store: Store
    functions: Functions
    account: str
    region: str
    limits: Limits
    retries: Retries
    entropy: Callable[[int], bytes]


# ---------------------------------------------------------------------------------------------------------------------
# A turn

REPLAY_WINDOW_MS: Final = 15 * 60 * 1000
"""How long the answer to a checkpoint is kept for a repetition with the same ClientToken (protocol.md 2.4)."""

_CRASHES: Final = ("Runtime.", "Sandbox.", "Extension.")
_TIMED_OUT: Final = "Sandbox.Timedout"
INTERRUPTED: Final[ErrorObject] = {
    "ErrorType": "Runtime.ExitError",
    "ErrorMessage": "The service stopped while the invocation ran.",
}
_log = logging.getLogger("durableflow.service")

_OWN: Final = ""
"""The operation of a timer that belongs to the execution itself."""
_DELETED: Final = 0
"""The caller of an execution whose caller has been deleted."""
_LIFE_MS: Final = 366 * 24 * 3600 * 1000
"""How long after its start an execution times out whose timeout stands still, as on the platform."""


class Turn:
    """One transaction's work; the caller holds the lock and the transaction.

    Args:
        desk: what there is to work with.
        now: epoch milliseconds, the same for the whole turn.

    Attributes:
        jobs: to be started after the commit, in this order.
        told: ARN and event of what was added to histories.
        ended: keys of the executions that ended.
        finished: ids of the jobs that are over.
    """

    def __init__(self, desk: Desk, now: int) -> None:
        self._desk = desk
        self._store = desk.store
        self._loaded: dict[int, Execution] = {}
        self._woken: dict[int, None] = {}
        self.now = now
        self.jobs: list[Job] = []
        self.told: list[tuple[str, Event]] = []
        self.ended: list[int] = []
        self.finished: list[str] = []

    def flush(self) -> None:
        """Invoke who is awake and save everybody: the last thing before the commit."""
        for key in self._woken:
            execution = self._loaded[key]
            if execution.has_ended or execution.invocation is not None:
                continue
            if execution.status == "RUNNING":
                try:
                    self._start_invocation(execution)
                except DamagedError as error:
                    # Before anything was changed: it sleeps, and whoever has set it going is not held up.
                    _log.error("the execution %s cannot go on: %s", execution.arn, error.problem.message)
            else:
                # So that it is invoked when it is resumed: as if there were something that it has not seen.
                execution.unseen = execution.unseen or 1
        for execution in self._loaded.values():
            self._store.save(execution)

    def execution(self, arn: str) -> Execution | None:
        """Return an execution by its ARN."""
        return self._known(self._store.execution(arn))

    def execution_of_key(self, key: int) -> Execution:
        """Return an execution by its row."""
        return self._loaded.get(key) or cast("Execution", self._known(self._store.execution_of_key(key)))

    def _known(self, execution: Execution | None) -> Execution | None:
        # One object for one row: two would overwrite each other's changes.
        return execution and self._loaded.setdefault(execution.key, execution)

    # Starting --------------------------------------------------------------------------------------------------------

    def create(
        self,
        function: Function,
        payload: str | None,
        *,
        name: str | None,
        tenant_id: str | None,
        caller: tuple[Execution, str] | None = None,
    ) -> Execution:
        """Start an execution.

        Args:
            function: a durable one.
            payload: JSON text; None for none.
            name: unused so far in this function and version; None lets the service choose.
            tenant_id: None for none.
            caller: the execution and operation id whose chained invoke it is; name and ARN are a function of them.
        """
        if caller:
            arn = self._child_arn(function, *caller)
            name = arn.split("/")[-2]
        else:
            made = request_id(self._desk)
            name = name or made
            arn = f"{self._function_arn(function)}/durable-execution/{name}/{made}"
        execution = Execution(
            arn=arn,
            name=name,
            function=function.name,
            version=function.version,
            status="RUNNING",
            started=self.now,
            tenant=tenant_id,
            timeout_seconds=function.execution_timeout_seconds,
            retention_days=function.retention_days,
            caller=caller[0].key if caller else None,
            caller_operation=caller[1] if caller else None,
            size_bytes=values.size_bytes(payload or ""),
        )
        self._store.add_execution(execution, payload)
        self._loaded[execution.key] = execution
        timeout = execution.timeout_seconds
        self._number(execution, ledger.execution_started(now=self.now, payload=payload, timeout_seconds=timeout))
        if timeout is not None:
            self._store.arm(execution.key, _OWN, "execution", self.now + timeout * 1000)
        self.wake(execution)
        return execution

    def _function_arn(self, function: Function) -> str:
        return history.function_arn(self._desk.region, self._desk.account, function.name, function.version)

    def _child_arn(self, function: Function, caller: Execution, operation_id: str) -> str:
        # A function of caller and operation: however often it were tried, there is one child (reliability.md I3).
        digest = blake2b(f"{caller.arn}/{operation_id}".encode(), digest_size=32).hexdigest()
        return f"{self._function_arn(function)}/durable-execution/{digest[:32]}/{uuid.UUID(hex=digest[32:])}"

    def _start_invocation(self, execution: Execution) -> None:
        function = self.function_of(execution)
        if function is None:
            return  # asleep until `Service.recover` finds its function: another project may own this store too
        operations, after = self.page(execution, -1, limit=self._desk.limits.first_page_operations)
        updated = self._take_unseen(execution)
        if execution.invocations:
            self._store.drop_replies(self.now - REPLAY_WINDOW_MS, key=execution.key)
        self._store.disarm_kind(execution.key, _OWN, "backoff")
        execution.sequence += 1
        execution.invocations += 1
        execution.invocation = request_id(self._desk)
        execution.invocation_started = self.now
        state: dict[str, Any] = {"Operations": operations}
        if after is not None:
            state["NextMarker"] = history.marker("state", execution.sequence, after)
        event: dict[str, Any] = {
            "DurableExecutionArn": execution.arn,
            "CheckpointToken": checkpoint_token(execution),
            "InitialExecutionState": state,
        }
        if updated:
            event["UpdatedOperationIds"] = updated
        self.jobs.append(
            Job(
                id=execution.invocation,
                kind="durable",
                function=function,
                execution_arn=execution.arn,
                event=event,
                tenant_id=execution.tenant,
                started=execution.started,
            )
        )

    def lineage(self, execution: Execution) -> Iterator[Execution]:
        """Give an execution, the one that has started it, the one that has started that one, and so on."""
        yield execution
        while execution.caller:
            execution = self.execution_of_key(execution.caller)
            yield execution

    def function_of(self, execution: Execution) -> Function | None:
        """Return the function that an execution is of; None while there is no durable one of its name and version."""
        is_child = execution.caller is not None and (
            execution.caller == _DELETED or self.function_of(self.execution_of_key(execution.caller)) is not None
        )
        function = self._desk.functions.resolve(f"{execution.function}:{execution.version}", is_invoked=is_child)
        return function if function is not None and function.is_durable else None

    def wake(self, execution: Execution) -> None:
        """Have an execution invoked at the end of the turn, unless an invocation is in flight: that one will see."""
        self._woken[execution.key] = None

    # State -----------------------------------------------------------------------------------------------------------

    def page(self, execution: Execution, after: int, *, limit: int) -> tuple[list[Operation], int | None]:
        """Return operations behind a position, and the position to go on from when there are more.

        Descendants of a finished context are left out unless it is to be replayed (protocol.md 1.2).

        Args:
            execution: whose.
            after: a position; -1 begins, with the EXECUTION operation.
            limit: how many operations at most.
        """
        hidden = _hidden(self._store.contexts(execution.key))
        page: list[Operation] = []
        size = 0
        if after < 0:
            if limit == 0:
                return page, after
            page.append(self.execution_operation(execution))
            size = values.size_bytes(page[0].get("ExecutionDetails", {}).get("InputPayload", ""))
            after = 0
        chunk = limit + 1
        position = after
        while True:
            rows = self._store.operations(execution.key, after=position, limit=chunk)
            for position, parent, body in rows:
                if parent in hidden:
                    continue
                operation = cast("Operation", parsed(execution.key, body))
                size += values.size_bytes(body)
                if len(page) >= limit or (page and size > self._desk.limits.page_bytes):
                    return page, after
                page.append(operation)
                after = position
            if len(rows) < chunk:
                return page, None

    def execution_operation(self, execution: Execution) -> Operation:
        """Return the EXECUTION operation: the first of every state."""
        made: Operation = {
            "Id": execution.arn.rsplit("/", 1)[-1],
            "Type": "EXECUTION",
            "Status": "STARTED",
            "Name": execution.name,
            "StartTimestamp": execution.started,
            "ExecutionDetails": {},
        }
        payload = self._store.texts(execution.key).input
        if payload is not None:
            made["ExecutionDetails"] = {"InputPayload": payload}
        return made

    def lookup(self, execution: Execution, operation_id: str) -> Operation | None:
        """Return what is recorded under an id."""
        if operation_id == execution.arn.rsplit("/", 1)[-1]:
            return self.execution_operation(execution)
        return self._store.operation(execution.key, operation_id)

    def _take_unseen(self, execution: Execution) -> list[str]:
        """Return the ids of what changed without the handler's doing; from now on it knows."""
        if not execution.unseen:
            return []
        execution.unseen = 0
        found = self._store.unseen(execution.key)
        self._store.clear_unseen(execution.key)
        return found

    # Changes ---------------------------------------------------------------------------------------------------------

    def checkpoint(self, execution: Execution, updates: Sequence[Update]) -> list[Operation]:
        """Apply a batch and return every operation that changed since the handler last looked.

        Timers that are due come first, so that the answer can carry them (protocol.md 2.4). What the answer carries
        is delivered: its events are numbered now, before those of the batch, which came later.

        Raises:
            ServiceError: the batch is refused; the caller rolls the turn back.
        """
        for timer in self._store.due_of(execution.key, self.now):
            if timer.operation != _OWN and timer.kind != "target":
                self.fire(timer)
        book = ledger.Ledger(
            now=self.now,
            lookup=lambda operation_id: self.lookup(execution, operation_id),
            new_callback_id=lambda _: base64.b64encode(self._desk.entropy(24)).decode(),
            resolve=lambda update: self._resolve(execution, update),
            account=self._desk.account,
            region=self._desk.region,
            limits=self._desk.limits.updates,
        )
        changes = book.apply(updates)
        self._check_quota(execution, changes)
        unseen = self._take_unseen(execution)
        delta = {operation_id: self.lookup(execution, operation_id) for operation_id in unseen}
        if unseen:
            self._number_held(execution)
        self._apply(execution, changes)
        execution.sequence += 1
        delta.update((operation["Id"], operation) for operation in changes.operations)
        return cast("list[Operation]", list(delta.values()))

    def _resolve(self, execution: Execution, update: Update) -> Target | ErrorObject:
        name = update.get("ChainedInvokeOptions", {}).get("FunctionName", "")
        function = self._desk.functions.resolve(name, is_invoked=True)
        if function is None:
            return {"ErrorType": "ResourceNotFoundException", "ErrorMessage": f"Function not found: {name}"}
        if function.is_durable and sum(1 for _ in self.lineage(execution)) >= self._desk.limits.depth:
            return _too_deep(name, self._desk.limits.depth)
        arn = self._child_arn(function, execution, update["Id"]) if function.is_durable else None
        return ledger.Target(name=function.name, version=function.version, execution_arn=arn)

    def _check_quota(self, execution: Execution, changes: Changes) -> None:
        limits = self._desk.limits
        # With nothing new to count a batch may pass: a limit that was lowered must not keep an execution from ending.
        is_over = limits.operations is not None and execution.metered + changes.metered > limits.operations
        if is_over and changes.metered:
            raise ledger.refusal(f"An execution must not have more than {limits.operations} operations.")
        if limits.size_bytes is not None and execution.size_bytes + changes.size_bytes > limits.size_bytes:
            raise ledger.refusal(f"An execution must not store more than {limits.size_bytes} bytes.")

    def settle(
        self,
        execution: Execution,
        operation_id: str,
        trigger: Trigger,
        *,
        result: str | None = None,
        error: ErrorObject | None = None,
    ) -> bool:
        """Apply what happened outside to an operation, and wake its execution; False when it came too late.

        While an invocation is in flight the event is held: it gets its number when a checkpoint's answer has told
        the handler, or behind the InvocationCompleted of the invocation that did not learn of it (protocol.md 8.3).
        """
        operation = self._store.operation(execution.key, operation_id)
        if execution.has_ended or operation is None:
            return False
        changes = ledger.settle(operation, trigger, now=self.now, result=result, error=error)
        if changes is None:
            return False
        self._apply(execution, changes, is_held=execution.invocation is not None)
        self._store.add_unseen(execution.key, operation_id)
        execution.unseen += 1
        self.wake(execution)
        return True

    def _apply(self, execution: Execution, changes: Changes, *, is_held: bool = False) -> None:
        key = execution.key
        created = set(changes.created)
        for operation in changes.operations:
            outstanding, context = ledger.is_outstanding(operation), _context(operation)
            if operation["Id"] in created:
                execution.operations += 1
                self._store.add_operation(
                    key, execution.operations, operation, outstanding=outstanding, context=context
                )
            else:
                self._store.put_operation(key, operation, outstanding=outstanding, context=context)
        execution.metered += changes.metered
        execution.size_bytes += changes.size_bytes
        for event in changes.events:
            if is_held:
                self._store.hold_event(key, values.to_text(event))
            else:
                self._number(execution, event)
        for effect in changes.effects:
            self._see_to(execution, effect)

    def _see_to(self, execution: Execution, effect: Effect) -> None:
        key = execution.key
        match effect:
            case ledger.Arm():
                self._store.arm(key, effect.operation_id, effect.timer, effect.due)
            case ledger.Disarm():
                self._store.disarm(key, effect.operation_id)
            case ledger.OpenCallback():
                self._store.add_callback(effect.callback_id, key, effect.operation_id, effect.heartbeat_seconds)
            case ledger.StartTarget():
                self._start_target(execution, effect)
            case ledger.EndExecution():
                execution.outcome = effect.status
                self._store.save_outcome(execution, result=effect.result, error=_error_text(effect.error))
            case _:
                assert_never(effect)

    def _number(self, execution: Execution, event: Event) -> None:
        execution.last_event += 1
        numbered = {"EventId": execution.last_event, **event}
        self._store.add_event(execution.key, execution.last_event, values.to_text(numbered))
        self.told.append((execution.arn, numbered))

    def _number_held(self, execution: Execution) -> None:
        for body in self._store.take_held(execution.key):
            try:
                event = parsed(execution.key, body)
            except DamagedError as error:
                # There is no event to be told any more; what it told of is recorded as an operation.
                _log.error("an event of %s is lost: %s", execution.arn, error.problem.message)
            else:
                self._number(execution, event)

    # Targets ---------------------------------------------------------------------------------------------------------

    def _start_target(self, caller: Execution, start: ledger.StartTarget) -> None:
        function = self._desk.functions.resolve(f"{start.target.name}:{start.target.version}", is_invoked=True)
        # It was resolved a moment ago, in this very turn.
        function = cast("Function", function)
        if function.is_durable:
            # The child is a row of the same transaction: neither a crash nor a retry can lose or double it.
            self.create(
                function,
                start.payload,
                name=None,
                tenant_id=start.tenant_id,
                caller=(caller, start.operation_id),
            )
            return
        target = TargetRow(
            execution=caller.key,
            operation=start.operation_id,
            request_id=request_id(self._desk),
            function=function.name,
            version=function.version,
            call_number=self._store.call_number(caller.key, function.name),
            tenant=start.tenant_id,
            payload=start.payload,
        )
        self._store.add_target(target)
        self.start_target(caller, target, function)

    def start_target(self, caller: Execution, target: TargetRow, function: Function) -> None:
        """Have a plain target of the outbox run; again, when the service stopped while it ran."""
        operation = self._store.operation(caller.key, target.operation)
        due = self.now + self._desk.limits.target_seconds * 1000
        self._store.arm(caller.key, target.operation, "target", due)
        self.jobs.append(
            Job(
                id=target.request_id,
                kind="plain",
                function=function,
                execution_arn=caller.arn,
                payload=target.payload,
                tenant_id=target.tenant,
                call_number=target.call_number,
                operation_name=operation.get("Name") if operation else None,
                operation_id=target.operation,
            )
        )

    def finish_target(
        self, caller: Execution, operation_id: str, *, result: str | None, error: ErrorObject | None
    ) -> None:
        """Record what a plain target gave; the second report of one target changes nothing."""
        if not self._store.end_target(caller.key, operation_id):
            return
        limit = self._desk.limits.updates.invoke_payload_bytes
        if error is None and values.size_bytes(result or "") > limit:
            error = _too_large(limit)
        if error is not None:
            self.settle(caller, operation_id, "failure", error=error)
        else:
            self.settle(caller, operation_id, "success", result=result)

    # Time ------------------------------------------------------------------------------------------------------------

    def fire(self, timer: TimerRow) -> None:
        """Do what a timer that is due stands for."""
        execution = self.execution_of_key(timer.execution)
        self._store.disarm_kind(timer.execution, timer.operation, timer.kind)
        if execution.has_ended:
            return  # it ended earlier in this turn
        match timer.kind:
            case "wait" | "retry":
                self.settle(execution, timer.operation, "due")
            case "timeout":
                self.settle(execution, timer.operation, "timeout", error=ledger.CALLBACK_TIMEOUT)
            case "heartbeat":
                self.settle(execution, timer.operation, "timeout", error=ledger.CALLBACK_HEARTBEAT)
            case "target":
                self._store.end_target(execution.key, timer.operation)
                error = _invoke_timeout(self._desk.limits.target_seconds)
                self.settle(execution, timer.operation, "timeout", error=error)
            case "backoff":
                self.wake(execution)
            case _:  # "execution"
                seconds = execution.timeout_seconds
                message = f"Execution timed out after {seconds} seconds"
                self.end(execution, "TIMED_OUT", error={"ErrorType": "Execution.Timeout", "ErrorMessage": message})

    # Ending ----------------------------------------------------------------------------------------------------------

    def finish_invocation(
        self, execution: Execution, output: object, error: ErrorObject | None, *, is_hopeless: bool = False
    ) -> None:
        """Take the answer of the invocation in flight, or the error that it raised or died of.

        Args:
            execution: whose invocation it is.
            output: the handler's answer when `error` is None.
            error: what left the handler or killed it.
            is_hopeless: whether the error stays the same until somebody mends a file. Then an execution that has done
                nothing yet fails at once; one that has is tried again, since failing would throw that away.
        """
        answer = None if error is not None else ledger.read_output(output)
        if isinstance(answer, ledger.Invalid):
            error = answer.error
        elif isinstance(answer, ledger.Pending) and not (execution.unseen or self._may_be_pending(execution)):
            error = ledger.NOTHING_PENDING
        started = cast("int", execution.invocation_started)
        invocation = cast("str", execution.invocation)
        execution.invocation = execution.invocation_started = None
        self._number(
            execution, ledger.invocation_completed(started=started, now=self.now, request_id=invocation, error=error)
        )
        self._number_held(execution)
        if execution.outcome is not None:
            # Recorded is recorded: whatever the invocation did afterwards, this is how it ends (reliability.md K10).
            self._end_as_recorded(execution)
            return
        self._conclude(execution, answer, error, is_hopeless=is_hopeless)
        if execution.status == "PAUSING":
            self._rest(execution)

    def _conclude(
        self, execution: Execution, answer: ledger.Output | None, error: ErrorObject | None, *, is_hopeless: bool
    ) -> None:
        match answer:
            case ledger.Succeeded():
                self.end(execution, "SUCCEEDED", result=answer.result or None)
            case ledger.Failed():
                self.end(execution, "FAILED", error=answer.error or {})
            case ledger.Invalid():
                self.end(execution, "FAILED", error=answer.error)
            case ledger.Pending() if error is None:
                execution.failures, execution.failing_since = 0, None
                if execution.unseen:
                    self.wake(execution)
            case ledger.Pending() | None:
                self._fail(execution, error or {}, is_last=is_hopeless and execution.operations == 0)
            case _:
                assert_never(answer)

    def _may_be_pending(self, execution: Execution) -> bool:
        return execution.outcome is not None or self._store.has_outstanding(execution.key)

    def _fail(self, execution: Execution, error: ErrorObject, *, is_last: bool) -> None:
        """Have a failed invocation made again, now or later, or give up; the last one is not made again."""
        retries = self._desk.retries
        execution.failures += 1
        if execution.failing_since is None:
            execution.failing_since = self.now
        if error is ledger.NOTHING_PENDING:
            if execution.failures >= retries.pending:
                self.end(execution, "FAILED", error=error)
            else:
                self.wake(execution)
            return
        kind = error.get("ErrorType", "")
        # A time-out is the handler's own doing and gets no immediate retry (protocol.md 1.6).
        is_crash = kind.startswith(_CRASHES) and kind != _TIMED_OUT
        delay = retries.delay_ms(execution.failures, is_crash=is_crash)
        if is_last or self.now + delay - execution.failing_since > retries.give_up_seconds * 1000:
            self.end(execution, "FAILED", error=error)
        elif delay == 0 or execution.unseen:
            self.wake(execution)
        else:
            self._store.arm(execution.key, _OWN, "backoff", self.now + delay)

    def interrupt(self, execution: Execution) -> None:
        """End an invocation that the stop of the service has cut off, and make it again; that is no failure of it."""
        failures, since = execution.failures, execution.failing_since
        self.finish_invocation(execution, None, INTERRUPTED)
        if not execution.has_ended:
            execution.failures, execution.failing_since = failures, since
            self._store.disarm_kind(execution.key, _OWN, "backoff")
            self.wake(execution)

    # Pausing ---------------------------------------------------------------------------------------------------------

    def pause(self, execution: Execution, *, reason: str | None, stops_timeout: bool) -> None:
        """Have no more invocations start; one that is in flight ends by itself before the execution rests.

        Timers, answers and targets go on, and so do executions that it has started.

        Args:
            execution: RUNNING.
            reason: for the history.
            stops_timeout: whether its timeout stands still while it rests.
        """
        self._store.put_pause(execution.key, Pause(requested=self.now, reason=reason, stops_timeout=stops_timeout))
        execution.status = "PAUSING"
        self._store.save_status(execution)
        if execution.invocation is None:
            self._rest(execution)

    def _rest(self, execution: Execution) -> None:
        pause = cast("Pause", self._store.pause(execution.key))
        due = self._store.timers_of(execution.key, _OWN).get("execution")
        left = due - self.now if pause.stops_timeout and due is not None else None
        if left is not None:
            self._store.arm(execution.key, _OWN, "execution", execution.started + _LIFE_MS)
        self._store.put_pause(execution.key, replace(pause, since=self.now, timeout_left=left))
        execution.status = "PAUSED"
        self._store.save_status(execution)
        event = ledger.execution_paused(
            now=self.now, requested=pause.requested, reason=pause.reason, stops_timeout=pause.stops_timeout
        )
        self._number(execution, event)

    def resume(self, execution: Execution, *, reason: str | None) -> None:
        """Let an execution go on as if it had only slept; before it rested, nothing has happened at all.

        Args:
            execution: PAUSING or PAUSED.
            reason: for the history.
        """
        pause = cast("Pause", self._store.pause(execution.key))
        self._store.drop_pause(execution.key)
        execution.status = "RUNNING"
        self._store.save_status(execution)
        if pause.since is None:
            return
        if pause.timeout_left is not None:
            due = min(self.now + pause.timeout_left, execution.started + _LIFE_MS)
            self._store.arm(execution.key, _OWN, "execution", due)
        if execution.failing_since is not None:
            execution.failing_since += self.now - pause.since  # it could not try meanwhile
        self._number(execution, ledger.execution_resumed(now=self.now, reason=reason))
        if self.is_behind(execution):
            self.wake(execution)

    def is_behind(self, execution: Execution) -> bool:
        """Say whether an execution without an invocation missed its wake-up: it was paused, or its function gone."""
        if execution.invocations == 0 or execution.unseen:
            return True
        return bool(execution.failures) and not self._store.has_timer(execution.key, "backoff")

    def delete(self, execution: Execution) -> None:
        """Remove an execution that has ended; its name is free again."""
        self._store.delete_execution(execution.key)
        self._loaded.pop(execution.key, None)

    def stop(self, execution: Execution, error: ErrorObject) -> None:
        """End an execution on request; running code notices at its next checkpoint."""
        if execution.outcome is not None:
            self._end_as_recorded(execution)
        else:
            self.end(execution, "STOPPED", error=error)

    def _end_as_recorded(self, execution: Execution) -> None:
        texts = self._store.texts(execution.key)
        error = cast("ErrorObject", parsed(execution.key, texts.error)) if texts.error is not None else None
        self.end(execution, cast("Ending", execution.outcome), result=texts.result, error=error)

    def end(
        self, execution: Execution, status: Ending, *, result: str | None = None, error: ErrorObject | None = None
    ) -> None:
        """End an execution and tell its caller; operations that are open stay as they are (protocol.md 5.9)."""
        limit = self._desk.limits.updates.invoke_payload_bytes
        if execution.caller is not None and status == "SUCCEEDED" and values.size_bytes(result or "") > limit:
            status, result, error = "FAILED", None, _too_large(limit)
        execution.status = status
        execution.ended = self.now
        execution.invocation = execution.invocation_started = None
        self._store.save_outcome(execution, result=result, error=_error_text(error))
        self._store.forget(execution.key)
        self._number(execution, ledger.execution_ended(status, now=self.now, result=result, error=error))
        self.ended.append(execution.key)
        if not execution.caller or execution.caller_operation is None:
            return
        try:
            self._tell_caller(execution, status, result, error)
        except DamagedError as damage:
            _log.error("the caller of %s cannot be told of its end: %s", execution.arn, damage.problem.message)

    def _tell_caller(self, execution: Execution, status: Ending, result: str | None, error: ErrorObject | None) -> None:
        caller = self.execution_of_key(cast("int", execution.caller))
        operation_id = cast("str", execution.caller_operation)
        match status:
            case "SUCCEEDED":
                self.settle(caller, operation_id, "success", result=result)
            case "FAILED":
                self.settle(caller, operation_id, "failure", error=error)
            case "TIMED_OUT":
                timeout = _invoke_timeout(execution.timeout_seconds or 0)
                self.settle(caller, operation_id, "timeout", error=timeout)
            case "STOPPED":
                self.settle(caller, operation_id, "stop", error=error)


def request_id(desk: Desk) -> str:
    """Return a new id for an invocation."""
    return str(uuid.UUID(bytes=desk.entropy(16), version=4))


def checkpoint_token(execution: Execution) -> str:
    """Return the one token that is valid now: it says which execution, which sequence number, which invocation."""
    return base64.b64encode(f"{execution.key}.{execution.sequence}.{execution.invocation}".encode()).decode()


def _hidden(contexts: list[tuple[str, str | None, int]]) -> set[str]:
    """Return the contexts whose children are not sent; parents come before their children."""
    hidden: set[str] = set()
    for operation_id, parent, context in contexts:
        if context == _CLOSED or parent in hidden:
            hidden.add(operation_id)
    return hidden


_OPEN, _CLOSED = 1, 2


def _context(operation: Operation) -> int:
    if operation["Type"] != "CONTEXT":
        return 0
    is_replayed = operation.get("ContextDetails", {}).get("ReplayChildren", False)
    return _OPEN if operation["Status"] == "STARTED" or is_replayed else _CLOSED


def _error_text(error: ErrorObject | None) -> str | None:
    return None if error is None else values.to_text(cast("Json", error))


def _too_large(limit: int) -> ErrorObject:
    return {
        "ErrorType": "InvalidParameterValueException",
        "ErrorMessage": f"The result of a chained invoke must be less than or equal to {limit} bytes.",
    }


def _too_deep(name: str, depth: int) -> ErrorObject:
    message = f"'{name}' was not started: {depth} executions have started one another already."
    return {"ErrorType": "RecursiveInvocationException", "ErrorMessage": message}


def _invoke_timeout(seconds: int) -> ErrorObject:
    return {"ErrorType": "ChainedInvoke.Timeout", "ErrorMessage": f"Function timed out after {seconds} seconds"}
