"""The durable execution service here: Lambda's API, one method for each operation, over SQLite.

Members go in and come out under the wire's names, so that HTTP only has to map them. Every request is one transaction
under one lock; what it has to set off (jobs, listeners) happens after its commit and outside the lock, in the order of
the commits. What runs a job is not the service's business: it hands out a `Job` and is told the end of it. Time comes
from the clock it is given; whoever owns the service calls `run_due` when `next_due` says so.

Source: protocol.md 2.4, 4.3, 6, 7, 8, 13 (S1-S20).
"""

# ruff: noqa: N803 - the methods take the wire's member names, so that HTTP and the owner's socket only map them
from __future__ import annotations

import json
import logging
import re
import secrets
import threading
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from durableflow import ledger, values
from durableflow.errors import DurableflowError, ServiceError, diagnostic
from durableflow.local import history, messages
from durableflow.local.callbacks import Expected, callback_facts, expected_answers, find_callback, find_callbacks
from durableflow.local.clock import Clock
from durableflow.local.executions import REPLAY_WINDOW_MS, Desk, Turn, checkpoint_token, request_id
from durableflow.local.jobs import Function, Functions, Invoker, Job, Limits, Retries
from durableflow.local.lines import Line, Lines, tail
from durableflow.local.store import Execution, Reply, Store, parsed
from durableflow.operations import function_name
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from durableflow.ledger import Event
    from durableflow.local.store import TimerRow
    from durableflow.operations import ErrorObject, Operation, Update
    from durableflow.values import Json

__all__ = ["Clock", "Function", "Functions", "Invoker", "Job", "Limits", "Listener", "Retries", "Service", "Store"]

Listener: TypeAlias = "Callable[[str, history.Reply], None]"
"""Told of every event after its commit: the execution's ARN, and the event as in its history."""

InvocationType: TypeAlias = Literal["RequestResponse", "Event", "DryRun"]
LogType: TypeAlias = Literal["None", "Tail"]

_SYNC_PAYLOAD_MAX_BYTES = 6 * 1024 * 1024
_ASYNC_PAYLOAD_MAX_BYTES = 1024 * 1024
_DUE_AT_ONCE = 200
_REMOVED_AT_ONCE = 20
_DAMAGED_SECONDS = 3600
"""When a timer is tried again whose execution could not be read."""
_FUNCTIONS_MAX = 10_000
_FUNCTIONS_USUAL = 50
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLIENT_TOKEN = re.compile(r"[\x21-\x7e]{1,64}")
_STOPPED: Final[ErrorObject] = {"ErrorMessage": "Execution stopped by user request."}

_log = logging.getLogger("durableflow.service")


class Service:
    """The API, and what its owner needs to drive it. Thread-safe.

    Args:
        store: open; the service is its only user. With one from `open_reader` only what reads works.
        clock: what time it is.
        functions: what function names stand for.
        invoker: runs jobs; called after the commit, outside the lock, by one thread at a time.
        account, region: in ARNs; chained invokes stay inside them.
        limits, retries: see there.
        entropy: random bytes for ids; tests make them predictable.
    """

    def __init__(  # noqa: PLR0913 - everything the service may not find for itself
        self,
        *,
        store: Store,
        clock: Clock,
        functions: Functions,
        invoker: Invoker,
        account: str = "123456789012",
        region: str = "us-east-1",
        limits: Limits | None = None,
        retries: Retries | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._functions = functions
        self._invoker = invoker
        self._limits = limits or Limits()
        self._desk = Desk(
            store=store,
            functions=functions,
            account=account,
            region=region,
            limits=self._limits,
            retries=retries or Retries(),
            entropy=entropy,
        )
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: dict[str, Job] = {}
        self._answers: dict[str, str | ErrorObject | None] = {}
        self._awaited: set[str] = set()
        self._lines = Lines()
        self._tails: dict[str, str] = {}
        self._outgoing: deque[Callable[[], None]] = deque()
        self._is_draining = False
        self._is_left = False
        self._listeners: list[Listener] = []
        self._waiting: dict[int, list[threading.Event]] = {}
        self.recorded: Callable[[], None] = _nothing
        """Called after each commit that has recorded events, with the lock held."""
        self.due: Callable[[int | None], None] = _nothing
        """Called after each commit that has set timers, with when the first of them is due, or ended a job (None)."""
        if store.is_writable:
            # Time counts for a target while it runs: those of a service before this one do not run, and have as much
            # of it as any other once `recover` starts them again.
            with store.transaction():
                store.disarm_all("target")

    # ---- Invoke -----------------------------------------------------------------------------------------------------

    def invoke(
        self,
        *,
        FunctionName: str,
        Payload: bytes | str = b"",
        InvocationType: InvocationType = "RequestResponse",
        DurableExecutionName: str | None = None,
        TenantId: str | None = None,
        Qualifier: str | None = None,
        LogType: LogType = "None",
    ) -> history.Reply:
        """Invoke a function: start an execution of a durable one, call a plain one.

        Args:
            FunctionName: `name`, `name:qualifier`, a partial or a whole ARN; a bare name is its `$LATEST`.
            Payload: JSON text, up to 6 MiB, or 1 MiB with Event.
            InvocationType: RequestResponse waits for the end of the execution, 15 minutes at most; Event returns at
                once; DryRun only looks.
            DurableExecutionName: the same name with the same payload gives the same execution.
            TenantId: passed on to the function.
            Qualifier: a version or alias.
            LogType: Tail, with RequestResponse, for the last lines that the function has written.

        Returns:
            `{StatusCode, ExecutedVersion, DurableExecutionArn?, FunctionError?, LogResult?, Payload}`; Payload is
            bytes, LogResult base64 of 4 KiB at most.

        Raises:
            ServiceError: ResourceNotFoundException, DurableExecutionAlreadyStartedException (409),
                RequestTooLargeException (413), InvalidRequestContentException or InvalidParameterValueException (400).
        """
        if self._is_left:
            raise messages.leaving()
        function = self._function(FunctionName, Qualifier)
        is_sync = InvocationType == "RequestResponse"
        text = messages.payload_text(Payload, _SYNC_PAYLOAD_MAX_BYTES if is_sync else _ASYNC_PAYLOAD_MAX_BYTES)
        if DurableExecutionName is not None and not (function.is_durable and _NAME.fullmatch(DurableExecutionName)):
            raise ledger.refusal(
                # What a header says is never told back (reliability.md H22).
                "DurableExecutionName must be 1 to 64 letters, digits, '-' and '_', and its function a durable one.",
            )
        if TenantId is not None and not ledger.TENANT.fullmatch(TenantId):
            raise ledger.refusal(f"TenantId must match the pattern {ledger.TENANT.pattern}.")
        if InvocationType == "DryRun":
            return {"StatusCode": 204, "ExecutedVersion": function.version, "Payload": b""}
        if not function.is_durable:
            return self._call(function, text, TenantId, is_sync=is_sync, has_tail=LogType == "Tail")
        with self._turn() as turn:
            execution = self._start(turn, function, text, DurableExecutionName, TenantId)
        made: history.Reply = {
            "StatusCode": 200 if is_sync else 202,
            "ExecutedVersion": function.version,
            "DurableExecutionArn": execution.arn,
            "Payload": b"",
        }
        if is_sync:
            ended = self.wait(DurableExecutionArn=execution.arn, timeout_seconds=self._limits.invoke_seconds)
            if ended is None:
                raise messages.unanswered(
                    f"the execution did not end within {self._limits.invoke_seconds:g} seconds; it goes on"
                )
            made.update(messages.execution_answer(ended))
            if LogType == "Tail":
                made["LogResult"] = messages.log_result(self._tail_of(execution))
        return made

    def _tail_of(self, execution: Execution) -> str:
        with self._look():
            return tail(self._store.last_lines(execution.key))

    def _function(self, name: str, qualifier: str | None) -> Function:
        parts = function_name(name)
        if parts is None:
            raise ledger.refusal(f"'{shown(name)}' is no function name.")
        if qualifier is not None and parts.qualifier not in {None, qualifier}:
            raise ledger.refusal(
                f"The qualifier '{shown(qualifier)}' does not match the one in '{shown(name)}'.", hint="leave one out"
            )
        whole = f"{name}:{qualifier}" if qualifier is not None and parts.qualifier is None else name
        function = self._functions.resolve(whole)
        if function is None:
            raise messages.not_found(f"Function not found: {shown(whole)}")
        return function

    def _start(
        self, turn: Turn, function: Function, text: str | None, name: str | None, tenant_id: str | None
    ) -> Execution:
        found = self._store.execution_named(function.name, function.version, name) if name is not None else None
        if found is None:
            return turn.create(function, text, name=name, tenant_id=tenant_id)
        if self._store.texts(found.key).input != text:
            raise ServiceError(
                diagnostic(
                    "DF722",
                    f"the execution '{shown(found.name)}' was started with another payload",
                    hint="choose another name, or pass the payload that it was started with",
                ),
                name="DurableExecutionAlreadyStartedException",
                status=409,
                is_retryable=False,
            )
        return found

    def _call(
        self, function: Function, text: str | None, tenant_id: str | None, *, is_sync: bool, has_tail: bool
    ) -> history.Reply:
        """Call a plain function for a client; nobody's execution is the wiser."""
        job = Job(
            id=request_id(self._desk),
            kind="plain",
            function=function,
            execution_arn=None,
            payload=text if text is not None else "{}",
            tenant_id=tenant_id,
        )
        made: history.Reply = {
            "StatusCode": 200 if is_sync else 202,
            "ExecutedVersion": function.version,
            "Payload": b"",
        }
        with self._lock:
            self._take(job)
            if is_sync:
                self._awaited.add(job.id)
        self._drain()
        if not is_sync:
            return made
        with self._changed:
            self._changed.wait_for(lambda: job.id in self._answers or self._is_left, self._limits.invoke_seconds)
            is_answered = job.id in self._answers
            self._awaited.discard(job.id)
            answer = self._answers.pop(job.id, None)
            if self._is_left and not is_answered:
                raise messages.leaving()
            written = self._tails.pop(job.id, "")
        if has_tail:
            made["LogResult"] = messages.log_result(written)
        if not is_answered:
            raise messages.unanswered(
                f"'{function.name}' did not answer within {self._limits.invoke_seconds:g} seconds"
            )
        if isinstance(answer, dict):
            made.update({"FunctionError": "Unhandled", "Payload": messages.error_body(answer)})
        else:
            made["Payload"] = (answer if answer is not None else "null").encode()
        return made

    # ---- The handler's side -----------------------------------------------------------------------------------------

    def checkpoint_durable_execution(
        self,
        *,
        DurableExecutionArn: str,
        CheckpointToken: str,
        Updates: Sequence[Update] = (),
        ClientToken: str | None = None,
    ) -> history.Reply:
        """Record a batch of updates, whole or not at all, and answer with every operation that changed.

        Args:
            DurableExecutionArn: of an execution with an invocation in flight.
            CheckpointToken: the one of the event or of the answer before; it is used up.
            Updates: in the order in which they are to be applied; none is a look at what changed.
            ClientToken: the same one with the same request, within 15 minutes, gives the same answer again.

        Returns:
            `{CheckpointToken?, NewExecutionState: {Operations, NextMarker?}}`. No token: write no more.

        Raises:
            ServiceError: InvalidParameterValueException; nothing has changed. `Invalid checkpoint token` is the one
                that another invocation cures.
        """
        if ClientToken is not None:
            _check_client_token(ClientToken)
        digest = messages.digest(Updates) if ClientToken is not None else b""
        with self._turn() as turn:
            execution = turn.execution(DurableExecutionArn)
            if execution is None:
                raise ledger.refusal(f"Execution not found: {shown(DurableExecutionArn)}")
            repeated = self._repeated(turn, execution, CheckpointToken, ClientToken, digest)
            if repeated is not None:
                return cast("history.Reply", json.loads(repeated))
            messages.check_token(execution, CheckpointToken)
            delta = turn.checkpoint(execution, Updates)
            reply, body = self._checkpoint_reply(execution, delta)
            if ClientToken is not None:
                kept = Reply(token=CheckpointToken, digest=digest, at=turn.now, body=body)
                self._store.put_reply(execution.key, ClientToken, kept)
        return reply

    def _repeated(
        self, turn: Turn, execution: Execution, token: str, client_token: str | None, digest: bytes
    ) -> str | None:
        """Return the answer that this very request got before; looked for before the token is checked."""
        kept = self._store.reply(execution.key, client_token) if client_token is not None else None
        if kept is None or kept.token != token or turn.now - kept.at > REPLAY_WINDOW_MS:
            return None
        if kept.digest != digest:
            raise ledger.refusal(
                "The ClientToken was used with another request.", hint="make a new one for each request"
            )
        return kept.body

    def _checkpoint_reply(self, execution: Execution, delta: list[Operation]) -> tuple[history.Reply, str]:
        """Return the answer to a checkpoint, and its text."""
        reply: history.Reply = {}
        if execution.outcome is None:
            reply["CheckpointToken"] = checkpoint_token(execution)
        state: history.Reply = {"Operations": [history.operation_to_reply(operation) for operation in delta]}
        reply["NewExecutionState"] = state
        body = values.to_text(reply)
        limits = self._limits
        if len(delta) > limits.page_operations or (len(delta) > 1 and values.size_bytes(body) > limits.page_bytes):
            # The rest is read as state, from the first operation that is left out. That brings some that did not
            # change, which a client that merges by id cannot tell from a change.
            first, after = self._first_of(execution, delta)
            state["Operations"] = [history.operation_to_reply(operation) for operation in first]
            state["NextMarker"] = history.marker("state", execution.sequence, after)
            body = values.to_text(reply)
        return reply, body

    def _first_of(self, execution: Execution, delta: list[Operation]) -> tuple[list[Operation], int]:
        positions = self._store.positions(execution.key, [operation["Id"] for operation in delta])
        ordered = sorted(zip(positions, delta, strict=True), key=lambda pair: pair[0])
        size = messages.size_bytes(ordered[0][1])
        count = 1
        for _, operation in ordered[1 : self._limits.page_operations]:
            size += messages.size_bytes(operation)
            if size > self._limits.page_bytes:
                break
            count += 1
        return [operation for _, operation in ordered[:count]], ordered[count - 1][0]

    def get_durable_execution_state(
        self, *, DurableExecutionArn: str, CheckpointToken: str, Marker: str | None = None, MaxItems: int | None = None
    ) -> history.Reply:
        """Return a page of an execution's operations; the token stays valid.

        Args:
            DurableExecutionArn: of an execution with an invocation in flight.
            CheckpointToken: the current one.
            Marker: of the event or reply before; good for as long as its token.
            MaxItems: 1 to 1,000; 100 unless given.

        Returns:
            `{Operations, NextMarker?}`, in the order of creation: parents before children.

        Raises:
            ServiceError: InvalidParameterValueException.
        """
        limit = min(messages.page_size(MaxItems), self._limits.page_operations)
        with self._look() as turn:
            execution = turn.execution(DurableExecutionArn)
            if execution is None:
                raise ledger.refusal(f"Execution not found: {shown(DurableExecutionArn)}")
            messages.check_token(execution, CheckpointToken)
            after = -1
            if Marker:
                sequence, after = history.read_marker(Marker, "state", size=2)
                if sequence != execution.sequence:
                    raise ledger.refusal("Invalid Marker.", hint="a marker is good until the next checkpoint")
            operations, after_page = turn.page(execution, after, limit=limit)
            reply: history.Reply = {"Operations": [history.operation_to_reply(operation) for operation in operations]}
            if after_page is not None:
                reply["NextMarker"] = history.marker("state", execution.sequence, after_page)
            return reply

    # ---- Looking at executions --------------------------------------------------------------------------------------

    def get_durable_execution(self, *, DurableExecutionArn: str, IncludeExecutionData: bool = True) -> history.Reply:
        """Return what an execution was given, how it is, and what it gave (protocol.md 7.3).

        Args:
            DurableExecutionArn: whose.
            IncludeExecutionData: False leaves out what it was given and gave.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            return history.execution_to_reply(
                execution,
                self._store.texts(execution.key),
                pause=self._store.pause(execution.key),
                times_out=self._store.timers_of(execution.key, "").get("execution"),
                with_data=IncludeExecutionData,
            )

    def get_durable_execution_history(
        self,
        *,
        DurableExecutionArn: str,
        IncludeExecutionData: bool = True,
        MaxItems: int | None = None,
        Marker: str | None = None,
        ReverseOrder: bool = False,
    ) -> history.Reply:
        """Return a page of an execution's events.

        Args:
            DurableExecutionArn: whose.
            IncludeExecutionData: False leaves payloads and errors out.
            MaxItems: 1 to 1,000; 100 unless given.
            Marker: of the page before.
            ReverseOrder: newest first.

        Returns:
            `{Events, NextMarker?}` (protocol.md 8).

        Raises:
            ServiceError: ResourceNotFoundException, InvalidParameterValueException.
        """
        limit = messages.page_size(MaxItems)
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            after = execution.last_event + 1 if ReverseOrder else 0
            if Marker:
                key, after = history.read_marker(Marker, "history", size=2)
                if key != execution.key:
                    raise ledger.refusal("Invalid Marker.", hint="it belongs to another execution")
            bodies = self._store.events(execution.key, after=after, newest_first=ReverseOrder, limit=limit + 1)
        events: list[Event] = [parsed(execution.key, body) for body in bodies[:limit]]
        reply: history.Reply = {
            "Events": [
                {
                    **history.of_execution(event, execution),
                    **history.event_to_reply(event, with_data=IncludeExecutionData),
                }
                for event in events
            ]
        }
        if len(bodies) > limit:
            reply["NextMarker"] = history.marker("history", execution.key, events[-1]["EventId"])
        return reply

    def events(self, *, DurableExecutionArn: str, After: int = 0) -> list[history.Reply]:
        """Return the next events of an execution after an EventId, at most 1,000. Not part of the API: for following.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            bodies = self._store.events(execution.key, after=After, newest_first=False, limit=messages.ITEMS_MAX)
        return [history.event_to_reply(parsed(execution.key, body), with_data=True) for body in bodies]

    def logs(self, *, DurableExecutionArn: str, After: int = 0) -> list[history.Reply]:
        """Return the next lines that handlers and targets of an execution wrote, at most 1,000. Not part of the API.

        Args:
            DurableExecutionArn: whose.
            After: the Id of the last line that is known.

        Returns:
            `{Id, Timestamp, RequestId, Name, Message}` each, oldest first; Name is the state or function.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            found = self._store.lines(execution.key, after=After, limit=messages.ITEMS_MAX)
        return [history.line_to_reply(number, line) for number, line in found]

    def list_durable_executions_by_function(  # noqa: PLR0913 - the members of the API
        self,
        *,
        FunctionName: str,
        Qualifier: str | None = None,
        DurableExecutionName: str | None = None,
        Statuses: Sequence[str] = (),
        StartedAfter: float | None = None,
        StartedBefore: float | None = None,
        ReverseOrder: bool = False,
        Marker: str | None = None,
        MaxItems: int | None = None,
    ) -> history.Reply:
        """Return a page of a function's executions, newest first; see `list_executions`.

        Args:
            FunctionName: as in `invoke`.
            Qualifier: one version only; all versions unless given.
            DurableExecutionName: see `list_executions`, as the others.
            Statuses: likewise.
            StartedAfter: likewise.
            StartedBefore: likewise.
            ReverseOrder: likewise.
            Marker: likewise.
            MaxItems: likewise.

        Raises:
            ServiceError: ResourceNotFoundException, InvalidParameterValueException.
        """
        parts = function_name(FunctionName)
        if parts is None:
            raise ledger.refusal(f"'{shown(FunctionName)}' is no function name.")
        conditions: list[tuple[str, object]] = [("function = ?", parts.name)]
        version = Qualifier if Qualifier is not None else parts.qualifier
        if version is not None:
            resolved = self._functions.resolve(f"{parts.name}:{version}")
            conditions.append(("version = ?", resolved.version if resolved else version))
        conditions += messages.conditions(DurableExecutionName, Statuses, StartedAfter, StartedBefore)
        reply = self._list(conditions, is_oldest_first=ReverseOrder, marker=Marker, max_items=MaxItems)
        if not reply["DurableExecutions"] and not Marker and self._functions.resolve(FunctionName) is None:
            raise messages.not_found(f"Function not found: {shown(FunctionName)}")
        return reply

    def list_executions(
        self,
        *,
        DurableExecutionName: str | None = None,
        Statuses: Sequence[str] = (),
        StartedAfter: float | None = None,
        StartedBefore: float | None = None,
        ReverseOrder: bool = False,
        Marker: str | None = None,
        MaxItems: int | None = None,
    ) -> history.Reply:
        """Return a page of all executions, newest first. Not part of the API, which lists by function only.

        Args:
            DurableExecutionName: this name only.
            Statuses: up to ten; any unless given.
            StartedAfter: epoch seconds.
            StartedBefore: epoch seconds.
            ReverseOrder: oldest first.
            Marker: of the page before.
            MaxItems: 1 to 1,000; 100 unless given.

        Returns:
            `{DurableExecutions, NextMarker?}`.

        Raises:
            ServiceError: InvalidParameterValueException.
        """
        conditions = messages.conditions(DurableExecutionName, Statuses, StartedAfter, StartedBefore)
        return self._list(conditions, is_oldest_first=ReverseOrder, marker=Marker, max_items=MaxItems)

    def _list(
        self,
        conditions: Sequence[tuple[str, object]],
        *,
        is_oldest_first: bool,
        marker: str | None,
        max_items: int | None,
    ) -> history.Reply:
        limit = messages.page_size(max_items)
        after = history.read_marker(marker, "list", size=1)[0] if marker else None
        with self._look():
            found = self._store.executions(conditions, after=after, oldest_first=is_oldest_first, limit=limit + 1)
        reply: history.Reply = {"DurableExecutions": [history.execution_to_item(e) for e in found[:limit]]}
        if len(found) > limit:
            reply["NextMarker"] = history.marker("list", found[limit - 1].key)
        return reply

    def operations(self, *, DurableExecutionArn: str) -> list[Operation]:
        """Return every operation of an execution, times in epoch milliseconds, also of one that has ended.

        The EXECUTION operation comes first. Not part of the API: what `run --record` writes down.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            rows = self._store.operations(execution.key)
            return [
                turn.execution_operation(execution),
                *(cast("Operation", parsed(execution.key, body)) for _, _, body in rows),
            ]

    def meter(self, *, DurableExecutionArn: str) -> dict[str, int]:
        """Return what an execution took, as the platform would count (protocol.md 9). Not part of the API.

        Returns:
            `operations` without the EXECUTION one, `metered` operations, `invocations`, stored `bytes`, and the
            `failures` of invocations since the last one that went well.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            return {
                "operations": execution.operations,
                "metered": execution.metered,
                "invocations": execution.invocations,
                "bytes": execution.size_bytes,
                "failures": execution.failures,
            }

    def count_answer(self, *, DurableExecutionArn: str, Answer: str, Call: str) -> dict[str, int]:
        """Count a call that a list of fixed answers is to answer (rule 60). Not part of the API.

        Args:
            DurableExecutionArn: of the execution that calls.
            Answer: the key of the list.
            Call: which call; the same one again has the same number.

        Returns:
            `{Number}`, from 0.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._turn() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            return {"Number": self._store.answer_number(execution.key, Answer, Call)}

    def callbacks(
        self, *, DurableExecutionArn: str | None = None, Name: str | None = None, WithChildren: bool = False
    ) -> list[history.Reply]:
        """Return the open callbacks of an execution, or of all that run, oldest first. Not part of the API.

        Args:
            DurableExecutionArn: whose; None for all executions.
            Name: of the state that waits; None for all states.
            WithChildren: whether the callbacks of executions that it has started count as well.

        Returns:
            See `callback_facts`.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            key = messages.execution_of(turn, DurableExecutionArn).key if DurableExecutionArn is not None else None
            found: list[history.Reply] = []
            for each in find_callbacks(self._store):
                execution = turn.execution_of_key(each.key)
                keys = (one.key for one in turn.lineage(execution)) if WithChildren else (each.key,)
                if (key is None or key in keys) and (Name is None or each.is_called(Name)):
                    found.append(callback_facts(self._store, each, execution))
            return found

    def callback(self, *, CallbackId: str) -> history.Reply:
        """Return a callback, open or not. Not part of the API.

        Returns:
            See `callback_facts`.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        with self._look() as turn:
            found = find_callback(self._store, CallbackId)
            if found is None:
                raise messages.not_found(f"Callback not found: {shown(CallbackId)}")
            return callback_facts(self._store, found, turn.execution_of_key(found.key))

    def wait(
        self,
        *,
        DurableExecutionArn: str,
        timeout_seconds: float | None = None,
        woken: threading.Event | None = None,
    ) -> history.Reply | None:
        """Wait for the end of an execution; not part of the API.

        Args:
            DurableExecutionArn: whose.
            timeout_seconds: real seconds; None waits for ever.
            woken: set by whoever wants the waiting to end earlier.

        Returns:
            As `get_durable_execution`, or None when it has not ended in time.

        Raises:
            ServiceError: ResourceNotFoundException; ServiceException, the service is about to end.
        """
        # An event of its own for whoever waits: to wake all of them at each end would be quadratic.
        ended = woken or threading.Event()
        with self._look() as turn:
            if self._is_left:
                raise messages.leaving()
            execution = messages.execution_of(turn, DurableExecutionArn)
            key, is_open = execution.key, not execution.has_ended
            if is_open:
                self._waiting.setdefault(key, []).append(ended)
        if is_open:
            ended.wait(timeout_seconds)
            with self._lock:
                waiting = self._waiting.get(key, [])
                if ended in waiting:  # it has not ended
                    waiting.remove(ended)
                    if not waiting:
                        del self._waiting[key]
        found = self.get_durable_execution(DurableExecutionArn=DurableExecutionArn)
        if "EndTimestamp" in found:
            return found
        if self._is_left:
            raise messages.leaving()
        return None

    # ---- Looking at functions ---------------------------------------------------------------------------------------

    def list_functions(
        self, *, FunctionVersion: str | None = None, Marker: str | None = None, MaxItems: int | None = None
    ) -> history.Reply:
        """Return a page of the functions that can be invoked here, by name.

        Args:
            FunctionVersion: ALL for every version of each; else one of each: `$LATEST`, or its lowest.
            Marker: of the page before.
            MaxItems: 1 to 10,000; 50 unless given.

        Returns:
            `{Functions, NextMarker?}`.

        Raises:
            ServiceError: InvalidParameterValueException.
        """
        if FunctionVersion not in {None, "ALL"}:
            raise ledger.refusal("FunctionVersion must be ALL.")
        limit = messages.page_size(MaxItems, most=_FUNCTIONS_MAX, usual=_FUNCTIONS_USUAL)
        after = history.read_marker(Marker, "functions", size=1)[0] if Marker else 0
        listed = list(self._functions.listed())
        if FunctionVersion is None:
            # `$LATEST` comes before every number.
            listed = list({function.name: function for function in reversed(listed)}.values())[::-1]
        reply: history.Reply = {"Functions": [self._configuration(each) for each in listed[after : after + limit]]}
        if len(listed) > after + limit:
            reply["NextMarker"] = history.marker("functions", after + limit)
        return reply

    def get_function(self, *, FunctionName: str, Qualifier: str | None = None) -> history.Reply:
        """Return what is known of a function; it has no code package here.

        Returns:
            `{Configuration, Code: {}}`.

        Raises:
            ServiceError: ResourceNotFoundException, InvalidParameterValueException.
        """
        return {"Configuration": self._configuration(self._known(FunctionName, Qualifier)), "Code": {}}

    def get_function_configuration(self, *, FunctionName: str, Qualifier: str | None = None) -> history.Reply:
        """Return the configuration of a function, as `get_function` has it; raises the same."""
        return self._configuration(self._known(FunctionName, Qualifier))

    def _known(self, name: str, qualifier: str | None) -> Function:
        """Return a function; without a qualifier any version will do, as every function on AWS has `$LATEST`."""
        parts = function_name(name)
        if parts is not None and parts.qualifier is None and qualifier is None:
            found = next((each for each in self._functions.listed() if each.name == parts.name), None)
            if found is not None:
                return found
        return self._function(name, qualifier)

    def _configuration(self, function: Function) -> history.Reply:
        return history.function_to_reply(function, self._desk.region, self._desk.account)

    # ---- Acting on executions ---------------------------------------------------------------------------------------

    def stop_durable_execution(self, *, DurableExecutionArn: str, Error: ErrorObject | None = None) -> history.Reply:
        """End an execution as STOPPED; one that has ended stays as it is.

        Returns:
            `{StopTimestamp}`: when it ended.

        Raises:
            ServiceError: ResourceNotFoundException, InvalidParameterValueException.
        """
        error = self._error(Error)
        with self._turn() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            if not execution.has_ended:
                turn.stop(execution, error or _STOPPED)
        return {"StopTimestamp": history.seconds(cast("int", execution.ended))}

    def pause_durable_execution(
        self,
        *,
        DurableExecutionArn: str,
        ClientToken: str | None = None,
        Reason: str | None = None,
        ExecutionTimeoutPaused: bool | None = None,
    ) -> history.Reply:
        """Have an execution rest: none of its code runs until it is resumed, while waits and callbacks go on.

        An invocation in flight ends by itself; until then the execution is PAUSING, afterwards PAUSED.

        Args:
            DurableExecutionArn: of an execution that is RUNNING.
            ClientToken: the same one with the same request, within 15 minutes, changes nothing and is no conflict.
            Reason: for the history, up to 1,024 characters.
            ExecutionTimeoutPaused: whether the execution's timeout stands still while it rests; unless given, yes.

        Returns:
            `{}`.

        Raises:
            ServiceError: ResourceNotFoundException, ResourceConflictException (409), InvalidParameterValueException.
        """
        stops_timeout = True if ExecutionTimeoutPaused is None else ExecutionTimeoutPaused
        if type(stops_timeout) is not bool:
            raise ledger.refusal("ExecutionTimeoutPaused must be true or false.")
        messages.check_reason(Reason)
        asked: list[Json] = [Reason, stops_timeout]
        with self._turn() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            if self._is_repeated(turn, execution, "pause", ClientToken, asked):
                return {}
            if execution.status != "RUNNING":
                raise messages.conflict(execution, "paused")
            turn.pause(execution, reason=Reason, stops_timeout=stops_timeout)
            if execution.invocation is not None and execution.invocation not in self._running:
                turn.interrupt(execution)  # it was cut off with the service before this one, and will not end by itself
        return {}

    def resume_durable_execution(
        self, *, DurableExecutionArn: str, ClientToken: str | None = None, Reason: str | None = None
    ) -> history.Reply:
        """Let an execution go on as if it had only slept.

        Args:
            DurableExecutionArn: of an execution that is PAUSED, or PAUSING: that one is not paused after all.
            ClientToken: see `pause_durable_execution`.
            Reason: likewise.

        Returns:
            `{}`.

        Raises:
            ServiceError: ResourceNotFoundException, ResourceConflictException (409), InvalidParameterValueException.
        """
        messages.check_reason(Reason)
        with self._turn() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            if self._is_repeated(turn, execution, "resume", ClientToken, [Reason]):
                return {}
            if execution.status not in {"PAUSING", "PAUSED"}:
                raise messages.conflict(execution, "resumed")
            turn.resume(execution, reason=Reason)
        return {}

    def _is_repeated(
        self, turn: Turn, execution: Execution, method: str, client_token: str | None, asked: Sequence[Json]
    ) -> bool:
        """Say whether this very request was granted before; otherwise it is noted, for the case that it is now.

        Raises:
            ServiceError: InvalidParameterValueException.
        """
        if client_token is None:
            return False
        _check_client_token(client_token)
        digest = messages.digest(asked)
        if self._repeated(turn, execution, method, client_token, digest) is not None:
            return True
        self._store.put_reply(execution.key, client_token, Reply(token=method, digest=digest, at=turn.now, body="{}"))
        return False

    def delete_durable_execution(self, *, DurableExecutionArn: str) -> history.Reply:
        """Remove an execution that has ended, with its history and data, at once; what it has started stays.

        Returns:
            `{DeletionRequestTimestamp}`.

        Raises:
            ServiceError: ResourceNotFoundException, ResourceConflictException (409): it has not ended.
        """
        with self._turn() as turn:
            execution = messages.execution_of(turn, DurableExecutionArn)
            if not execution.has_ended:
                raise messages.conflict(execution, "deleted")
            turn.delete(execution)
        return {"DeletionRequestTimestamp": history.seconds(turn.now)}

    def delete_executions(self, *, Arns: Sequence[str]) -> dict[str, int]:
        """Remove those of these executions that are there and have ended, in one go. Not part of the API.

        Returns:
            `{Deleted}`: how many.
        """
        with self._turn() as turn:
            found = [execution for arn in Arns if (execution := turn.execution(arn)) and execution.has_ended]
            # One that is named twice is one.
            ended = {execution.key: execution for execution in found}
            for execution in ended.values():
                turn.delete(execution)
        return {"Deleted": len(ended)}

    def send_durable_execution_callback_success(
        self, *, CallbackId: str, Result: bytes | str | None = None
    ) -> history.Reply:
        """Answer a callback; the text is kept as it is.

        Raises:
            ServiceError: ResourceNotFoundException, CallbackTimeoutException, InvalidParameterValueException.
        """
        result = messages.payload_text(Result or b"", self._limits.updates.payload_bytes)
        self._answer(CallbackId, "success", result=result)
        return {}

    def send_durable_execution_callback_failure(
        self, *, CallbackId: str, Error: ErrorObject | None = None
    ) -> history.Reply:
        """Answer a callback with an error.

        Raises:
            ServiceError: ResourceNotFoundException, CallbackTimeoutException, InvalidParameterValueException.
        """
        self._answer(CallbackId, "failure", error=self._error(Error) or {})
        return {}

    def send_durable_execution_callback_heartbeat(self, *, CallbackId: str) -> history.Reply:
        """Say that the answer to a callback is still being worked on: its heartbeat timer starts anew.

        Raises:
            ServiceError: ResourceNotFoundException, CallbackTimeoutException, InvalidParameterValueException.
        """
        with self._turn() as turn:
            execution, operation, heartbeat_seconds = self._callback(turn, CallbackId)
            if operation["Status"] != "STARTED" or execution.has_ended:
                raise messages.closed(operation)
            if heartbeat_seconds:
                due = turn.now + heartbeat_seconds * 1000
                self._store.arm(execution.key, operation["Id"], "heartbeat", due)
        return {}

    def _answer(
        self,
        callback_id: str,
        trigger: Literal["success", "failure"],
        *,
        result: str | None = None,
        error: ErrorObject | None = None,
    ) -> None:
        with self._turn() as turn:
            execution, operation, _ = self._callback(turn, callback_id)
            if not turn.settle(execution, operation["Id"], trigger, result=result, error=error):
                raise messages.closed(operation)

    def _callback(self, turn: Turn, callback_id: str) -> tuple[Execution, Operation, int]:
        found = self._store.callback(callback_id)
        if found is None:
            raise messages.not_found(f"Callback not found: {shown(callback_id)}")
        key, operation_id, heartbeat_seconds = found
        # What has run out is closed, also when nobody has come to fire its timer yet (reliability.md I15).
        for timer in self._store.due_of(key, turn.now):
            if timer.operation == operation_id:
                raise messages.closed({"Id": operation_id, "Type": "CALLBACK", "Status": "TIMED_OUT"})
        execution = turn.execution_of_key(key)
        return execution, cast("Operation", self._store.operation(key, operation_id)), heartbeat_seconds

    def _error(self, error: ErrorObject | None) -> ErrorObject | None:
        """Return an error object from outside, held to its size."""
        if error is None or not error:
            return None
        ledger.check_error(error, self._limits.updates.error_bytes)
        return error

    # ---- What the owner calls ---------------------------------------------------------------------------------------

    def invocation_ended(
        self,
        job_id: str,
        *,
        output: Json = None,
        text: str | None = None,
        error: ErrorObject | None = None,
        is_hopeless: bool = False,
    ) -> None:
        """Report the end of a job. Unknown ids (superseded, of a service before this one) are ignored.

        Args:
            job_id: of the Job.
            output: the answer of a durable function, or the result of a plain one as a value.
            text: the result of a plain function as it came, instead of `output`; kept verbatim, JSON or not.
            error: what it raised or died of; then there is no output. `Runtime.*` stands for a crash.
            is_hopeless: whether the same error would come of trying again: what the job is to run cannot be read.
        """
        with self._turn() as turn:
            job = self._running.get(job_id)
            if job is None:
                return
            written = self._lines.end(job_id, turn.now)
            self._keep(self._lines.take())
            result = text if text is not None else None if job.kind == "durable" else values.to_text(output)
            execution = turn.execution(job.execution_arn) if job.execution_arn is not None else None
            if execution is None:
                if job_id in self._awaited:
                    self._answers[job_id] = error if error is not None else result
                    self._tails[job_id] = written
            elif job.kind == "plain":
                turn.finish_target(execution, cast("str", job.operation_id), result=result, error=error)
            elif execution.invocation == job_id:
                turn.finish_invocation(execution, output, error, is_hopeless=is_hopeless)
            turn.finished.append(job_id)

    def wrote(self, job_id: str, *, label: str, text: str) -> bool:
        """Take a line that a handler or target has written; nothing is stored yet.

        Args:
            job_id: of the Job that it came from.
            label: whose it is, for people.
            text: the line, without its end.

        Returns:
            Whether it is the first one that `keep_lines` has something to do for.
        """
        return self._lines.add(Line(job=job_id, at=self._clock.now(), label=label, text=text))

    def keep_lines(self) -> None:
        """Store the lines that have come since; the end of an invocation does it for all that run."""
        with self._lock:
            if lines := self._lines.take():
                with self._store.transaction():
                    self._keep(lines)

    def _keep(self, lines: Sequence[Line]) -> None:
        for line in lines:
            job = self._running.get(line.job)
            execution = self._store.execution(job.execution_arn) if job and job.execution_arn is not None else None
            if execution is not None:
                self._store.add_line(execution.key, line)

    def leave(self) -> None:
        """Let nobody wait for an end any more, and start nothing for clients: the service is about to end.

        What is running may still record what it does.
        """
        with self._changed:
            self._is_left = True
            self._changed.notify_all()
            for waiting in self._waiting.values():
                for ended in waiting:
                    ended.set()

    def next_due(self) -> int | None:
        """Return when `run_due` has something to do, epoch milliseconds; None when nothing waits for time."""
        with self._lock:
            return self._store.next_due()

    def next_jump(self) -> int | None:
        """Return what time may be skipped to, epoch milliseconds: as `next_due`, but for timeouts of what is paused.

        Nobody would get to resume an execution whose timeout is the next thing that happens.
        """
        with self._lock:
            return self._store.next_jump()

    def run_due(self) -> None:
        """Do everything that is due: waits, retries, time-outs of callbacks and executions, delayed invocations."""
        while True:
            try:
                with self._turn() as turn:
                    timers = self._store.due(turn.now, limit=_DUE_AT_ONCE)
                    for timer in timers:
                        turn.fire(timer)
            except DurableflowError:
                timers = self._run_due_apart()
            if len(timers) < _DUE_AT_ONCE:
                return

    def _run_due_apart(self) -> list[TimerRow]:
        """Do what is due, each timer for itself, because one of them could not be done: the others must not wait."""
        with self._look() as turn:
            timers = self._store.due(turn.now, limit=_DUE_AT_ONCE)
        for timer in timers:
            try:
                with self._turn() as turn:
                    turn.fire(timer)
            except DurableflowError as error:
                _log.error("execution %d cannot go on: %s", timer.execution, error.problem.message)
                with self._turn() as turn:
                    later = turn.now + _DAMAGED_SECONDS * 1000
                    self._store.arm(timer.execution, timer.operation, timer.kind, later)
        return timers

    def remove_expired(self, now: int | None = None) -> int:
        """Remove the executions that have ended longer ago than they are to be kept (protocol.md 13, S18).

        Args:
            now: epoch milliseconds; the clock's time unless given. Whoever skips time gives the machine's, since
                nothing that others keep here may be lost to it.

        Returns:
            How many there were.
        """
        count = 0
        while True:
            # A few at a time, so that nobody else waits long for the lock.
            with self._turn() as turn:
                keys = self._store.expired(turn.now if now is None else now, limit=_REMOVED_AT_ONCE)
                for key in keys:
                    turn.delete(turn.execution_of_key(key))
            count += len(keys)
            if len(keys) < _REMOVED_AT_ONCE:
                return count

    def answer_callbacks(self, expected: Expected) -> bool:
        """Answer the open callbacks that executions wait for and that have an expected answer (rules 30, 60).

        Returns:
            Whether there were any.
        """
        with self._look() as turn:
            answers = list(expected_answers(turn, self._store, expected))
        if answers:
            with self._turn() as turn:
                for key, operation_id, text in answers:
                    turn.settle(turn.execution_of_key(key), operation_id, "success", result=text)
        return bool(answers)

    def recover(self) -> None:
        """Take up what a service before this one left: to be called at the start.

        Invocations that were cut off are made again, executions that should run are invoked, and targets that were
        running are started again; timers need nothing, they are rows. May be called again whenever more functions
        are known: executions whose function was not stay asleep until then.
        """
        with self._turn() as turn:
            self._store.drop_replies(turn.now - REPLAY_WINDOW_MS)
            for row in self._store.running():
                if row.invocation is not None:
                    is_cut_off = row.invocation not in self._running
                    # What is to be paused goes to rest, whether its function is known or not.
                    if is_cut_off and (row.status == "PAUSING" or turn.function_of(row) is not None):
                        turn.interrupt(turn.execution_of_key(row.key))
                elif row.status == "RUNNING" and turn.is_behind(row):
                    turn.wake(turn.execution_of_key(row.key))
            for target in self._store.running_targets():
                function = self._functions.resolve(f"{target.function}:{target.version}")
                if target.request_id not in self._running and function is not None:
                    turn.start_target(turn.execution_of_key(target.execution), target, function)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is about to: then `--skip-time` may jump."""
        with self._lock:
            return not self._running and not self._outgoing

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have a listener told of every event from now on, after its commit; return what ends that.

        Listeners are called one at a time, in the order of the events, and must return quickly: jobs wait for them.
        """
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    # ---- Turns ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Generator[Turn]:
        """Do a request's work in one transaction; what it sets off comes after the commit and outside the lock."""
        with self._lock:
            turn = Turn(self._desk, self._clock.now())
            self._store.earliest_armed = None
            with self._store.transaction():
                yield turn
                turn.flush()
            self._committed(turn)
        self._drain()

    def _committed(self, turn: Turn) -> None:
        for job_id in turn.finished:
            self._running.pop(job_id, None)
        for arn, event in turn.told if self._listeners else ():
            reply = history.event_to_reply(event, with_data=True)
            self._outgoing.extend(partial(self._tell, listener, arn, reply) for listener in self._listeners)
        for job in turn.jobs:
            self._take(job)
        for key in turn.ended:
            for ended in self._waiting.pop(key, ()):
                ended.set()
        if turn.finished:
            self._changed.notify_all()
        if turn.told:
            self.recorded()
        # Last of all: when it is called, what is in front of it has been started and counts.
        due = self._store.earliest_armed
        if due is not None or turn.finished:
            self._outgoing.append(partial(self.due, due))

    @contextmanager
    def _look(self) -> Generator[Turn]:
        """Read within one view of the store; nothing is written."""
        with self._lock, self._store.view():
            yield Turn(self._desk, self._clock.now())

    def _take(self, job: Job) -> None:
        self._running[job.id] = job
        self._lines.begin(job.id)
        self._outgoing.append(partial(self._dispatch, job))

    def _drain(self) -> None:
        """Do what the commits set off, in their order; one thread at a time, whichever comes first.

        A job that ends within `Invoker.start` comes back here: it leaves its work to the loop that is under way.
        """
        with self._lock:
            if self._is_draining:
                return
            self._is_draining = True
        try:
            while True:
                with self._lock:
                    if not self._outgoing:
                        self._is_draining = False
                        return
                    action = self._outgoing.popleft()
                action()
        except BaseException:
            with self._lock:
                self._is_draining = False
            raise

    def _dispatch(self, job: Job) -> None:
        try:
            self._invoker.start(job)
        except Exception as error:  # noqa: BLE001 - the edge to whoever runs jobs: a job that cannot start has failed
            # What is wrong with a file is told in words, and stays wrong; anything else is a defect, and shows where.
            is_told = isinstance(error, DurableflowError)
            _log.error("a job of '%s' cannot be started: %s", job.function.name, error, exc_info=not is_told)
            message = f"the invocation could not be started: {error}"
            start_error: ErrorObject = {"ErrorType": "Runtime.StartError", "ErrorMessage": message}
            self.invocation_ended(job.id, error=start_error, is_hopeless=is_told)

    def _tell(self, listener: Listener, arn: str, event: history.Reply) -> None:
        try:
            listener(arn, event)
        except Exception:  # noqa: BLE001 - the edge to whoever listens: the record must not depend on them
            _log.exception("a listener failed")


def _check_client_token(token: str) -> None:
    if not _CLIENT_TOKEN.fullmatch(token):
        raise ledger.refusal("ClientToken must be 1 to 64 printable characters.")


def _nothing(*_: object) -> None:
    """Do nothing: nobody wants to know."""
