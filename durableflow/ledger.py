"""Which updates are legal, and what do they make true? One transition table.

The service's half of the core: a batch of updates and the operations they name go in; the operations that changed, the
events of the history (still without an EventId) and the effects that the service has to see to come out. The ledger
looks up what a batch names and nothing else, so a batch costs O(batch) whatever the execution has grown to. It knows
no clock (`now` comes in, epoch milliseconds), makes no ids (callback ids and targets come in as functions), stores
nothing: a refused batch has changed nothing because nothing is ever changed in place.

Source: protocol.md sections 1.5, 2.2, 2.4, 2.5, 8, 9.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from durableflow import operations as wire
from durableflow import values
from durableflow.errors import ServiceError, diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.operations import (
        ErrorObject,
        Operation,
        OperationAction,
        OperationStatus,
        OperationType,
        Update,
    )
    from durableflow.values import Json

Event: TypeAlias = dict[str, Any]
"""An event of the history as on the wire (protocol.md 8.1), times in epoch milliseconds; EventId is added at commit."""

Trigger: TypeAlias = Literal["due", "success", "failure", "timeout", "stop"]
"""What happens to an operation from outside: its timer is due, it was answered or its target ended."""

Timer: TypeAlias = Literal["wait", "retry", "timeout", "heartbeat"]

INVALID_TOKEN: Final = "Invalid checkpoint token"  # noqa: S105 - a message; SDKs compare this very text (protocol.md 2.4)


# ---------------------------------------------------------------------------------------------------------------------
# The table (protocol.md 2.2). None is "absent"; whatever is not here is refused.


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One legal move.

    Args:
        accepts: the statuses it may start from; None stands for "no such operation yet".
        becomes: the status it leads to.
        event: the event it writes, None for none.
        refusal: the service's message when the status does not fit.
    """

    accepts: frozenset[OperationStatus | None]
    becomes: OperationStatus
    event: str | None
    refusal: str = ""


def _row(
    accepts: Sequence[OperationStatus | None], becomes: OperationStatus, event: str | None, refusal: str = ""
) -> Row:
    return Row(accepts=frozenset(accepts), becomes=becomes, event=event, refusal=refusal)


_STEP_CLOSE = "Invalid current STEP state to close."
_CONTEXT_CLOSE = "Invalid current CONTEXT state to close."

UPDATES: Final[dict[tuple[OperationType, OperationAction], Row]] = {
    ("STEP", "START"): _row([None, "READY"], "STARTED", "StepStarted", "Invalid current STEP state to start."),
    ("STEP", "SUCCEED"): _row([None, "STARTED", "READY"], "SUCCEEDED", "StepSucceeded", _STEP_CLOSE),
    ("STEP", "FAIL"): _row([None, "STARTED", "READY"], "FAILED", "StepFailed", _STEP_CLOSE),
    ("STEP", "RETRY"): _row(
        # With a result instead of an error it is a poll, and its event StepSucceeded (protocol.md 8.3).
        [None, "STARTED", "READY"],
        "PENDING",
        "StepFailed",
        "Invalid current STEP state to re-attempt.",
    ),
    ("CONTEXT", "START"): _row([None], "STARTED", "ContextStarted", "Cannot start a CONTEXT that already exist."),
    ("CONTEXT", "SUCCEED"): _row([None, "STARTED"], "SUCCEEDED", "ContextSucceeded", _CONTEXT_CLOSE),
    ("CONTEXT", "FAIL"): _row([None, "STARTED"], "FAILED", "ContextFailed", _CONTEXT_CLOSE),
    ("WAIT", "START"): _row([None], "STARTED", "WaitStarted", "Cannot start a WAIT that already exist."),
    ("WAIT", "CANCEL"): _row(
        ["STARTED"],
        "CANCELLED",
        "WaitCancelled",
        "Cannot cancel a WAIT that does not exist or has already completed.",
    ),
    ("CALLBACK", "START"): _row([None], "STARTED", "CallbackStarted", "Cannot start a CALLBACK that already exist."),
    ("CHAINED_INVOKE", "START"): _row(
        [None],
        "STARTED",
        "ChainedInvokeStarted",
        "Cannot start a CHAINED_INVOKE operation that already exists.",
    ),
}
"""The moves that an update makes. An EXECUTION is no operation of the table: it ends once, and last in its batch."""

TRIGGERS: Final[dict[tuple[OperationType, Trigger], Row]] = {
    ("STEP", "due"): _row(["PENDING"], "READY", None),
    ("WAIT", "due"): _row(["STARTED"], "SUCCEEDED", "WaitSucceeded"),
    ("CALLBACK", "success"): _row(["STARTED"], "SUCCEEDED", "CallbackSucceeded"),
    ("CALLBACK", "failure"): _row(["STARTED"], "FAILED", "CallbackFailed"),
    ("CALLBACK", "timeout"): _row(["STARTED"], "TIMED_OUT", "CallbackTimedOut"),
    ("CHAINED_INVOKE", "success"): _row(["STARTED"], "SUCCEEDED", "ChainedInvokeSucceeded"),
    ("CHAINED_INVOKE", "failure"): _row(["STARTED"], "FAILED", "ChainedInvokeFailed"),
    ("CHAINED_INVOKE", "timeout"): _row(["STARTED"], "TIMED_OUT", "ChainedInvokeTimedOut"),
    ("CHAINED_INVOKE", "stop"): _row(["STARTED"], "STOPPED", "ChainedInvokeStopped"),
}
"""The moves that the service makes on its own: timers, answers, the ends of targets."""


def is_outstanding(operation: Operation) -> bool:
    """Say whether an operation will wake its execution: what a PENDING answer may wait for (protocol.md 1.5)."""
    if operation["Type"] == "STEP":
        return operation["Status"] == "PENDING"
    return operation["Type"] in {"WAIT", "CALLBACK", "CHAINED_INVOKE"} and operation["Status"] == "STARTED"


# ---------------------------------------------------------------------------------------------------------------------
# What comes out


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Wake the operation at `due`, epoch milliseconds; an armed timer of the same kind is replaced."""

    operation_id: str
    timer: Timer
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disarm:
    """The operation has ended early: its timers are void."""

    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCallback:
    """Remember whom an answer to `callback_id` is for; a heartbeat arms its timer anew."""

    operation_id: str
    callback_id: str
    heartbeat_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTarget:
    """Start what a chained invoke names, once, after this change is durable. `payload` is JSON text."""

    operation_id: str
    target: Target
    payload: str
    tenant_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndExecution:
    """The handler has recorded the outcome of the execution; no further update is accepted."""

    status: Literal["SUCCEEDED", "FAILED"]
    result: str | None = None
    error: ErrorObject | None = None


Effect: TypeAlias = Arm | Disarm | OpenCallback | StartTarget | EndExecution


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a batch or a trigger makes true.

    Args:
        operations: every operation that changed, once, as it is now, in the order of its first change.
        events: for the history, in order, without EventId.
        effects: for the service to see to, in order.
        created: the ids among `operations` that are new, in order of creation.
        metered: how many operations the platform would bill (protocol.md 9).
        size_bytes: payload and error bytes written.
    """

    operations: tuple[Operation, ...] = ()
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    created: tuple[str, ...] = ()
    metered: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a function name stands for.

    Args:
        name: the function.
        version: the version that runs.
        execution_arn: of the execution to be made, for a durable target; None for a plain one.
    """

    name: str
    version: str
    execution_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the service accepts, in UTF-8 bytes; where sources disagree, the strictest (protocol.md 2.3, 9).

    Args:
        batch_updates: updates in a batch; the official clients send no more.
        batch_bytes: payload and error bytes in a batch of more than one update.
    """

    payload_bytes: int = wire.STEP_RESULT_MAX_BYTES
    invoke_payload_bytes: int = wire.INVOKE_PAYLOAD_MAX_BYTES
    execution_result_bytes: int = wire.EXECUTION_RESULT_MAX_BYTES
    error_bytes: int = wire.ERROR_MAX_BYTES
    batch_updates: int = wire.BATCH_MAX_UPDATES
    batch_bytes: int = wire.BATCH_MAX_BYTES


def refusal(message: str, *, hint: str | None = None) -> ServiceError:
    """Return the service's way to say that a request is wrong and stays wrong: InvalidParameterValueException."""
    return ServiceError(
        diagnostic("DF720", message, hint=hint),
        name="InvalidParameterValueException",
        status=400,
        # A stale token is the one refusal that a new invocation cures (protocol.md 2.4).
        is_retryable=message.startswith(INVALID_TOKEN),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Updates


@dataclass(slots=True, kw_only=True)
class _Draft:
    """The changes so far; `operations` overlays what is recorded."""

    operations: dict[str, Operation] = field(default_factory=dict[str, "Operation"])
    events: list[Event] = field(default_factory=list[Event])
    effects: list[Effect] = field(default_factory=list["Effect"])
    created: list[str] = field(default_factory=list[str])
    metered: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One execution's book, open at `now`.

    Args:
        now: epoch milliseconds.
        lookup: the operation recorded under an id, or None. The EXECUTION operation is one of them.
        new_callback_id: makes the id of a callback, for the operation of that id: base64, unguessable.
        resolve: what the chained invoke of an update would start; an error object when it cannot be started.
        account, region: where the execution lives; targets must live there too.
    """

    now: int
    lookup: Callable[[str], Operation | None]
    new_callback_id: Callable[[str], str]
    resolve: Callable[[Update], Target | ErrorObject]
    account: str = "123456789012"
    region: str = "us-east-1"
    limits: Limits = Limits()

    def apply(self, updates: Sequence[Update]) -> Changes:
        """Return what a batch makes true.

        Raises:
            ServiceError: InvalidParameterValueException with the service's message; nothing of the batch counts.
        """
        for update in updates:
            _check_shape(update)
        self._check_size(updates)
        _check_execution_is_last(updates)
        _check_ids(updates)
        self._check_parents(updates)
        draft = _Draft()
        for update in updates:
            self._apply(update, draft)
        return Changes(
            operations=tuple(draft.operations.values()),
            events=tuple(draft.events),
            effects=tuple(draft.effects),
            created=tuple(draft.created),
            metered=draft.metered,
            size_bytes=draft.size_bytes,
        )

    def _check_size(self, updates: Sequence[Update]) -> None:
        if len(updates) > self.limits.batch_updates:
            raise refusal(f"Cannot checkpoint more than {self.limits.batch_updates} updates at once.")
        # A single update may be larger than a batch: the result of an execution is (protocol.md 2.6).
        if len(updates) > 1 and sum(_size(update) for update in updates) > self.limits.batch_bytes:
            raise refusal(f"Checkpoint size must be less than or equal to {self.limits.batch_bytes} bytes.")

    def _check_parents(self, updates: Sequence[Update]) -> None:
        contexts: set[str] = set()
        for update in updates:
            parent = update.get("ParentId")
            if parent is not None and parent not in contexts:
                found = self.lookup(parent)
                if found is None or found["Type"] != "CONTEXT":
                    raise _refused(update, "Invalid parent operation id.")
                contexts.add(parent)
            if update["Type"] == "CONTEXT":
                contexts.add(update["Id"])

    def _apply(self, update: Update, draft: _Draft) -> None:
        current = draft.operations.get(update["Id"]) or self.lookup(update["Id"])
        if current is not None:
            _check_identity(update, current)
        self._check_payload(update)
        draft.size_bytes += _size(update)
        if update["Type"] == "EXECUTION":
            draft.effects.append(_ending(update))
            return
        row = _move(update, current)
        _check_members(update)
        if current is None:
            current = self._created(update)
            draft.created.append(update["Id"])
            draft.metered += 1
        draft.metered += _metered(update)
        made: Operation = {**current, "Status": row.becomes}
        match update["Type"]:
            case "STEP":
                self._step(update, made, draft)
            case "CONTEXT":
                self._context(update, made, row, draft)
            case "WAIT":
                self._wait(update, made, row, draft)
            case "CALLBACK":
                self._callback(update, made, draft)
            case "CHAINED_INVOKE":
                self._chained_invoke(update, made, draft)
        draft.operations[update["Id"]] = made

    def _check_payload(self, update: Update) -> None:
        error = update.get("Error")
        if error is not None and _error_size(error) > self.limits.error_bytes:
            raise _refused(update, f"Error object size must be less than {self.limits.error_bytes + 1} bytes.")
        match update["Type"]:
            case "EXECUTION":
                limit = self.limits.execution_result_bytes
            case "CHAINED_INVOKE":
                return  # rule 23: after the target's rules
            case _:
                limit = self.limits.payload_bytes
        if values.size_bytes(update.get("Payload", "")) > limit:
            raise _refused(update, f"{update['Type']} payload size must be less than or equal to {limit} bytes.")

    def _created(self, update: Update) -> Operation:
        made: Operation = {
            "Id": update["Id"],
            "Type": update["Type"],
            "Status": "STARTED",
            "StartTimestamp": self.now,
        }
        if "ParentId" in update:
            made["ParentId"] = update["ParentId"]
        if "Name" in update:
            made["Name"] = update["Name"]
        if "SubType" in update:
            made["SubType"] = update["SubType"]
        return made

    def _step(self, update: Update, made: Operation, draft: _Draft) -> None:
        finished = made.get("StepDetails", {}).get("Attempt", 0)
        if update["Action"] == "START":
            # Result and Error of the attempt before stay: the state of a poll lives there (protocol.md 5.5).
            details = {**made.get("StepDetails", {}), "Attempt": finished}
            details.pop("NextAttemptTimestamp", None)
            made["StepDetails"] = cast("wire.StepDetails", details)
            draft.events.append(operation_event(made, "StepStarted", self.now, {}))
            return
        step: wire.StepDetails = {"Attempt": finished + 1}
        retry: Event = {"CurrentAttempt": finished + 1}
        if update["Action"] == "RETRY":
            delay = update.get("StepOptions", {}).get("NextAttemptDelaySeconds", 1)
            step["NextAttemptTimestamp"] = due = self.now + delay * 1000
            retry["NextAttemptDelaySeconds"] = delay
            draft.effects.append(Arm(operation_id=made["Id"], timer="retry", due=due))
        else:
            made["EndTimestamp"] = self.now
        if update["Action"] == "FAIL" or "Error" in update:
            step["Error"] = error = update.get("Error", {})
            event = operation_event(made, "StepFailed", self.now, {"Error": _error(error), "RetryDetails": retry})
        else:
            if "Payload" in update:
                step["Result"] = update["Payload"]
            result = _payload(update.get("Payload"))
            event = operation_event(made, "StepSucceeded", self.now, {"Result": result, "RetryDetails": retry})
        made["StepDetails"] = step
        draft.events.append(event)

    def _context(self, update: Update, made: Operation, row: Row, draft: _Draft) -> None:
        details: wire.ContextDetails = {}
        # Some SDKs say it at START; what SUCCEED says wins (protocol.md 2.2). FAIL has no such option (rule 61).
        replay = made.get("ContextDetails", {}).get("ReplayChildren")
        if update["Action"] != "FAIL":
            replay = update.get("ContextOptions", {}).get("ReplayChildren", replay)
        if replay is not None:
            details["ReplayChildren"] = replay
        told: Event = {}
        if update["Action"] != "START":
            made["EndTimestamp"] = self.now
        if update["Action"] == "SUCCEED":
            if "Payload" in update:
                details["Result"] = update["Payload"]
            told = {"Result": _payload(update.get("Payload"))}
        elif update["Action"] == "FAIL":
            details["Error"] = update.get("Error", {})
            told = {"Error": _error(details["Error"])}
        made["ContextDetails"] = details
        draft.events.append(operation_event(made, cast("str", row.event), self.now, told))

    def _wait(self, update: Update, made: Operation, row: Row, draft: _Draft) -> None:
        if update["Action"] == "CANCEL":
            made["EndTimestamp"] = self.now
            draft.effects.append(Disarm(operation_id=made["Id"]))
            told: Event = {"Error": _error(update["Error"])} if "Error" in update else {}
        else:
            seconds = update.get("WaitOptions", {}).get("WaitSeconds", 1)
            due = self.now + seconds * 1000
            made["WaitDetails"] = {"ScheduledEndTimestamp": due}
            draft.effects.append(Arm(operation_id=made["Id"], timer="wait", due=due))
            told = {"Duration": seconds, "ScheduledEndTimestamp": due}
        draft.events.append(operation_event(made, cast("str", row.event), self.now, told))

    def _callback(self, update: Update, made: Operation, draft: _Draft) -> None:
        options = update.get("CallbackOptions", {})
        timeout = options.get("TimeoutSeconds", 0)
        heartbeat = options.get("HeartbeatTimeoutSeconds", 0)
        callback_id = self.new_callback_id(made["Id"])
        made["CallbackDetails"] = {"CallbackId": callback_id}
        draft.effects.append(
            OpenCallback(operation_id=made["Id"], callback_id=callback_id, heartbeat_seconds=heartbeat)
        )
        told: Event = {"CallbackId": callback_id}
        if heartbeat:
            told["HeartbeatTimeout"] = heartbeat
            draft.effects.append(Arm(operation_id=made["Id"], timer="heartbeat", due=self.now + heartbeat * 1000))
        if timeout:
            told["Timeout"] = timeout
            draft.effects.append(Arm(operation_id=made["Id"], timer="timeout", due=self.now + timeout * 1000))
        draft.events.append(operation_event(made, "CallbackStarted", self.now, told))

    def _chained_invoke(self, update: Update, made: Operation, draft: _Draft) -> None:
        options = self._check_target(update)
        target = self.resolve(update)
        told: Event = {"FunctionName": options.get("FunctionName", "")}
        if not isinstance(target, Target):
            # The input of what cannot start is not stored (protocol.md 4.3).
            made.update({"Status": "FAILED", "EndTimestamp": self.now, "ChainedInvokeDetails": {"Error": target}})
            draft.events.append(operation_event(made, "ChainedInvokeStarted", self.now, told))
            draft.events.append(operation_event(made, "ChainedInvokeFailed", self.now, {"Error": _error(target)}))
            return
        payload = update.get("Payload", "{}")
        if "TenantId" in options:
            told["TenantId"] = options["TenantId"]
        told["Input"] = _payload(payload)
        told["ExecutedVersion"] = target.version
        if target.execution_arn is not None:
            told["DurableExecutionArn"] = target.execution_arn
        made["ChainedInvokeDetails"] = {}
        draft.events.append(operation_event(made, "ChainedInvokeStarted", self.now, told))
        draft.effects.append(
            StartTarget(operation_id=made["Id"], target=target, payload=payload, tenant_id=options.get("TenantId"))
        )

    def _check_target(self, update: Update) -> wire.ChainedInvokeOptions:
        options = update.get("ChainedInvokeOptions")
        if options is None or not options.get("FunctionName"):
            raise _refused(update, "CHAINED_INVOKE START requires ChainedInvokeOptions.")
        name = wire.function_name(options.get("FunctionName", ""))
        if name is None:
            raise _refused(update, f"Invalid function ARN: '{shown(options.get('FunctionName', ''))}'.")
        if name.account not in {None, self.account}:
            raise _refused(update, "Cannot invoke a function of another account.")
        if name.region not in {None, self.region}:
            raise _refused(update, "Cannot invoke a function in another region.")
        tenant = options.get("TenantId")
        if tenant is not None and not TENANT.fullmatch(tenant):
            raise _refused(update, f"TenantId must match the pattern {TENANT.pattern}.")
        limit = self.limits.invoke_payload_bytes
        if values.size_bytes(update.get("Payload", "")) > limit:
            raise _refused(update, f"Input payload size must be less than or equal to {limit} bytes.")
        return options


# ---------------------------------------------------------------------------------------------------------------------
# The rules of 2.5 that need no record

_PATTERNS = {
    "Id": re.compile(r"[A-Za-z0-9_-]{1,64}"),
    "ParentId": re.compile(r"[A-Za-z0-9_-]{1,64}"),
    "Name": re.compile(r"[\x20-\x7e]{1,256}"),
    "SubType": re.compile(r"[A-Za-z0-9_-]{1,32}"),
}
_OPTIONS = frozenset({"StepOptions", "WaitOptions", "CallbackOptions", "ChainedInvokeOptions", "ContextOptions"})
TENANT: Final = re.compile(r"[A-Za-z0-9._:/=+\-@ ]{1,256}")
_ACTIONS = frozenset({"START", "SUCCEED", "FAIL", "RETRY", "CANCEL"})
_CALLBACK_SECONDS_MAX = 99_999_999


def _refused(update: Update, message: str) -> ServiceError:
    named = update.get("Name") or update.get("Id") or "?"
    action, kind, name = (shown(str(each)) for each in (update.get("Action"), update.get("Type"), named))
    return refusal(message, hint=f"the update is {action} of {kind} '{name}'")


def _check_shape(update: Update) -> None:
    """Hold an update to the service model: alphabets, lengths, types (protocol.md 2.3)."""
    members = cast("dict[str, object]", update)
    if "Id" not in members:
        raise _refused(update, "Id is required.")
    for member, value in members.items():
        pattern = _PATTERNS.get(member)
        if pattern is not None:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise _refused(update, f"{member} must match the pattern {pattern.pattern}.")
        elif member in _OPTIONS:
            if not isinstance(value, dict):
                raise _refused(update, f"{member} must be an object.")
            _check_options(update, cast("dict[str, object]", value))
    _check_move(update, members.get("Type"), members.get("Action"))
    payload = members.get("Payload", "")
    if not isinstance(payload, str) or not is_unicode(payload):
        raise _refused(update, "Payload must be text that encodes to UTF-8.")
    if "Error" in members and not _is_error(members["Error"]):
        raise _refused(update, "Error must hold texts only.")


def _check_move(update: Update, kind: object, action: object) -> None:
    # Texts first: whatever else can stand there need not be hashable.
    if not isinstance(kind, str) or kind not in wire.DETAILS:
        raise _refused(update, "Unknown operation type.")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise _refused(update, "Unknown operation action.")


def _check_options(update: Update, options: dict[str, object]) -> None:
    """Hold options to their types; numbers are looked at where their ranges are."""
    for member in ("FunctionName", "TenantId"):
        value = options.get(member, "")
        if not isinstance(value, str):
            raise _refused(update, f"{member} must be text.")
    if not isinstance(options.get("ReplayChildren", False), bool):
        raise _refused(update, "ReplayChildren must be true or false.")


def check_error(error: object, limit: int) -> None:
    """Hold an error object from outside a checkpoint to the same rules; `limit` in bytes.

    Raises:
        ServiceError: InvalidParameterValueException.
    """
    if not _is_error(error):
        raise refusal("Error must hold texts only.")
    if _error_size(cast("ErrorObject", error)) > limit:
        raise refusal(f"Error object size must be less than {limit + 1} bytes.")


def is_unicode(text: str) -> bool:
    """Say whether a text encodes to UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_error(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    error = cast("dict[object, object]", value)
    trace = error.get("StackTrace", [])
    texts = (error.get(member, "") for member in ("ErrorType", "ErrorMessage", "ErrorData"))
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(trace, list)
        and all(isinstance(line, str) for line in cast("list[object]", trace))
    )


def _check_execution_is_last(updates: Sequence[Update]) -> None:
    ends = [n for n, update in enumerate(updates) if update["Type"] == "EXECUTION"]
    if len(ends) > 1:
        raise _refused(updates[ends[1]], "Cannot checkpoint multiple EXECUTION updates.")
    if ends and ends[0] != len(updates) - 1:
        raise _refused(updates[ends[0]], "EXECUTION checkpoint must be the last update.")


def _check_ids(updates: Sequence[Update]) -> None:
    """Hold a batch to one update per id, but for the START of a STEP or CONTEXT and what closes it (rule 3)."""
    counts = Counter(update["Id"] for update in updates)
    started: set[str] = set()
    for update in updates:
        count = counts[update["Id"]]
        if count == 1:
            continue
        is_start = update["Action"] == "START"
        if is_start and update["Type"] in {"STEP", "CONTEXT"} and count == 2 and update["Id"] not in started:
            started.add(update["Id"])
        elif is_start or update["Id"] not in started:
            raise _refused(update, "Cannot checkpoint multiple operations with the same ID.")


def _check_identity(update: Update, current: Operation) -> None:
    if update["Type"] != current["Type"]:
        raise _refused(update, "Inconsistent operation type.")
    if update["Type"] == "EXECUTION":
        return
    if update.get("SubType") != current.get("SubType"):
        raise _refused(update, "Inconsistent operation subtype.")
    if update.get("Name") != current.get("Name"):
        raise _refused(update, "Inconsistent operation name.")
    if update.get("ParentId") != current.get("ParentId"):
        raise _refused(update, "Inconsistent parent operation id.")


def _move(update: Update, current: Operation | None) -> Row:
    row = UPDATES.get((update["Type"], update["Action"]))
    if row is None:
        raise _refused(update, "Invalid action for the given operation type.")
    if (current["Status"] if current else None) not in row.accepts:
        raise _refused(update, row.refusal)
    return row


def _check_members(update: Update) -> None:
    """Hold an update to the members that its action takes (rules 11-13 and the ranges of 2.3)."""
    action = update["Action"]
    if action == "RETRY":
        if not _is_within(update.get("StepOptions", {}).get("NextAttemptDelaySeconds"), 1, wire.DELAY_MAX_SECONDS):
            raise _refused(update, "Invalid StepOptions for the given action.")
        if "Error" in update and "Payload" in update:
            raise _refused(update, "Cannot provide both error and payload to RETRY a STEP.")
    elif "StepOptions" in update:
        raise _refused(update, "Invalid StepOptions for the given action.")
    _check_close(update)
    if action == "START" and update["Type"] == "WAIT":
        if not _is_within(update.get("WaitOptions", {}).get("WaitSeconds"), 1, wire.DELAY_MAX_SECONDS):
            raise _refused(update, "Invalid WaitOptions for the given action.")
    elif update["Type"] == "CALLBACK":
        options = update.get("CallbackOptions", {})
        for seconds in (options.get("TimeoutSeconds", 0), options.get("HeartbeatTimeoutSeconds", 0)):
            if not _is_within(seconds, 0, _CALLBACK_SECONDS_MAX):
                raise _refused(update, "Invalid CallbackOptions for the given action.")


def _check_close(update: Update) -> None:
    if update["Action"] == "FAIL" and "Payload" in update:
        raise _refused(update, "Cannot provide a Payload for FAIL action.")
    if update["Action"] == "SUCCEED" and "Error" in update:
        raise _refused(update, "Cannot provide an Error for SUCCEED action.")


def _is_within(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _ending(update: Update) -> EndExecution:
    _check_close(update)
    if update["Action"] == "SUCCEED":
        return EndExecution(status="SUCCEEDED", result=update.get("Payload"))
    if update["Action"] == "FAIL":
        return EndExecution(status="FAILED", error=update.get("Error", {}))
    raise _refused(update, "Invalid action for the given operation type.")


def _metered(update: Update) -> int:
    """Return what an update adds to the bill beyond the operation itself: retries, polls (protocol.md 9)."""
    is_poll = update.get("SubType") == "WaitForCondition"
    return int(update["Action"] == "RETRY" or (is_poll and update["Action"] in {"SUCCEED", "FAIL"}))


def _size(update: Update) -> int:
    error = update.get("Error")
    return values.size_bytes(update.get("Payload", "")) + (_error_size(error) if error else 0)


def _error_size(error: ErrorObject) -> int:
    return values.size_bytes(values.to_text(cast("Json", error)))


# ---------------------------------------------------------------------------------------------------------------------
# What the service does on its own

CALLBACK_TIMEOUT: Final[ErrorObject] = {"ErrorType": "Callback.Timeout", "ErrorMessage": "Callback timed out"}
CALLBACK_HEARTBEAT: Final[ErrorObject] = {
    "ErrorType": "Callback.Heartbeat",
    "ErrorMessage": "Callback timed out on heartbeat",
}


def settle(
    operation: Operation,
    trigger: Trigger,
    *,
    now: int,
    result: str | None = None,
    error: ErrorObject | None = None,
) -> Changes | None:
    """Return what a timer, an answer or the end of a target makes of an operation; None when it comes too late.

    Args:
        operation: as it is recorded.
        trigger: what happened; `timeout` and `failure` bring an error, `success` may bring a result.
        now: epoch milliseconds.
        result: text, kept verbatim; None for none.
        error: kept as it is.
    """
    row = TRIGGERS.get((operation["Type"], trigger))
    if row is None or operation["Status"] not in row.accepts:
        return None
    made: Operation = {**operation, "Status": row.becomes}
    if row.becomes == "READY":
        details = dict(operation.get("StepDetails", {}))
        details.pop("NextAttemptTimestamp", None)
        made["StepDetails"] = cast("wire.StepDetails", details)
        return Changes(operations=(made,))
    made["EndTimestamp"] = now
    told: Event
    if operation["Type"] == "WAIT":
        told = {"Duration": _duration_seconds(operation)}
    else:
        member = wire.DETAILS[operation["Type"]]
        ended: Event = dict(cast("dict[str, Event]", operation).get(member, {}))
        if trigger == "success":
            if result is not None:
                ended["Result"] = result
            told = {"Result": _payload(result)}
        else:
            ended["Error"] = error or {}
            told = {"Error": _error(error or {})}
        cast("dict[str, object]", made)[member] = ended
    return Changes(
        operations=(made,),
        events=(operation_event(made, cast("str", row.event), now, told),),
        effects=(Disarm(operation_id=made["Id"]),),
        size_bytes=values.size_bytes(result or "") + (_error_size(error) if error else 0),
    )


def _duration_seconds(wait: Operation) -> int:
    due = wait.get("WaitDetails", {}).get("ScheduledEndTimestamp", 0)
    return (due - wait.get("StartTimestamp", due)) // 1000


# ---------------------------------------------------------------------------------------------------------------------
# Events (protocol.md 8)


def operation_event(operation: Operation, event_type: str, now: int, details: Event) -> Event:
    """Return an event about an operation; its details are there even when they are empty (8.1)."""
    made: Event = {"EventType": event_type, "EventTimestamp": now, "Id": operation["Id"]}
    if (parent := operation.get("ParentId")) is not None:
        made["ParentId"] = parent
    if (name := operation.get("Name")) is not None:
        made["Name"] = name
    if (subtype := operation.get("SubType")) is not None:
        made["SubType"] = subtype
    made[f"{event_type}Details"] = details
    return made


def execution_event(event_type: str, now: int, details: Event) -> Event:
    """Return an event about the execution or an invocation."""
    return {"EventType": event_type, "EventTimestamp": now, f"{event_type}Details": details}


def execution_started(*, now: int, payload: str | None, timeout_seconds: int | None) -> Event:
    """Return the first event of a history; no timeout is shown as the longest one."""
    details = {"Input": _payload(payload), "ExecutionTimeout": timeout_seconds or wire.DELAY_MAX_SECONDS}
    return execution_event("ExecutionStarted", now, details)


def execution_ended(
    status: Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"],
    *,
    now: int,
    result: str | None,
    error: ErrorObject | None,
) -> Event:
    """Return the last event of a history."""
    match status:
        case "SUCCEEDED":
            return execution_event("ExecutionSucceeded", now, {"Result": _payload(result)})
        case "FAILED":
            kind = "ExecutionFailed"
        case "TIMED_OUT":
            kind = "ExecutionTimedOut"
        case "STOPPED":
            kind = "ExecutionStopped"
    return execution_event(kind, now, {"Error": _error(error or {})})


def execution_paused(*, now: int, requested: int, reason: str | None, stops_timeout: bool) -> Event:
    """Return the event of an execution that rests from now on."""
    details: Event = {"PauseRequestTimestamp": requested, "ExecutionTimeoutPaused": stops_timeout}
    if reason is not None:
        details["Reason"] = _payload(reason)
    return execution_event("ExecutionPaused", now, details)


def execution_resumed(*, now: int, reason: str | None) -> Event:
    """Return the event of an execution that goes on; nothing lies between the request and that."""
    details: Event = {"ResumeRequestTimestamp": now}
    if reason is not None:
        details["Reason"] = _payload(reason)
    return execution_event("ExecutionResumed", now, details)


def invocation_completed(*, started: int, now: int, request_id: str, error: ErrorObject | None) -> Event:
    """Return the event that an invocation leaves, whether it answered, raised or died."""
    details: Event = {"StartTimestamp": started, "EndTimestamp": now, "RequestId": request_id}
    if error is not None:
        details["Error"] = _error(error)
    return execution_event("InvocationCompleted", now, details)


def _payload(text: str | None) -> Event:
    return {"Truncated": False} if text is None else {"Payload": text, "Truncated": False}


def _error(error: ErrorObject) -> Event:
    return {"Payload": error, "Truncated": False}


# ---------------------------------------------------------------------------------------------------------------------
# The output of an invocation (protocol.md 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The execution ends well; `result` is JSON text, None or empty when it was checkpointed."""

    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The execution ends badly, for good; no error object when it was checkpointed."""

    error: ErrorObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """There is nothing left to do now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """The answer is none; the execution fails with this."""

    error: ErrorObject


Output: TypeAlias = Succeeded | Failed | Pending | Invalid


def read_output(output: object) -> Output:
    """Return what the answer of a handler means."""
    if not isinstance(output, dict):
        return _invalid(f"Invalid output: expected an object with a Status, got {type(output).__name__}.")
    answer = cast("dict[str, object]", output)
    match answer.get("Status"):
        case "SUCCEEDED":
            return _succeeded(answer.get("Result"), answer.get("Error"))
        case "FAILED":
            return _failed(answer.get("Result"), answer.get("Error"))
        case "PENDING":
            return Pending()
        case status:
            return _invalid(f"Invalid output: unknown Status '{shown(str(status))}'.")


def _succeeded(result: object, error: object) -> Output:
    if error is not None:
        return _invalid("Invalid output: SUCCEEDED must not carry an Error.")
    if result is not None and not (isinstance(result, str) and is_unicode(result)):
        return _invalid("Invalid output: Result must be text.")
    if result is not None and _is_too_large(result):
        message = f"Response payload size exceeded the maximum of {wire.EXECUTION_RESULT_MAX_BYTES} bytes."
        return Invalid(error={"ErrorType": "Function.ResponseSizeTooLarge", "ErrorMessage": message})
    return Succeeded(result=result)


def _failed(result: object, error: object) -> Output:
    if result is not None:
        return _invalid("Invalid output: FAILED must not carry a Result.")
    if error is not None and not _is_error(error):
        return _invalid("Invalid output: Error must be an error object.")
    return Failed(error=cast("ErrorObject | None", error))


def _is_too_large(result: str) -> bool:
    # The response is JSON with the result as a string in it, where a character takes up to six bytes.
    limit = wire.EXECUTION_RESULT_MAX_BYTES
    if len(result) * 6 < limit:
        return False
    return values.size_bytes(values.to_text({"Status": "SUCCEEDED", "Result": result})) > limit


def _invalid(message: str) -> Invalid:
    return Invalid(error={"ErrorType": "InvalidParameterValueException", "ErrorMessage": message})


NOTHING_PENDING: Final[ErrorObject] = {
    "ErrorType": "InvalidParameterValueException",
    "ErrorMessage": "Cannot return PENDING status with no pending operations.",
}
"""What an invocation is told that answers PENDING while nothing can wake it."""
