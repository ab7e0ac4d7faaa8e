"""Who calls AWS for an aws state? Any action of any service, through botocore; and where secrets come from on AWS.

A call is made once: botocore's own retries are off, since nothing is repeated unless the workflow says so. What goes
wrong is a fault whose name says which service it was. What a project does not allow is refused before any request.
botocore is imported by the first call, so that a function without aws states starts without it.

Source: language.md 4, 11 and 12, rules 13, 27, 42, 54; docs/aws.md.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from durableflow import faults, values
from durableflow.errors import Fault
from durableflow.parameters import Action, Misfit, closest_name, fit, from_aws, from_bytes, with_tokens
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from durableflow.parameters import Closest
    from durableflow.values import Json, Object

DEFAULT_TIMEOUT_SECONDS: Final = 60.0
"""How long a connection may take, and each pause in an answer, when the state has no `timeout`: botocore's default."""
STREAM_MAX_BYTES: Final = 6 * 1024 * 1024
"""The largest body that an action may answer with (`s3.get_object`); as much as Lambda answers."""
DETAILS_MAX_BYTES: Final = 16_384
"""The largest `error.data.details`; an error object holds 32 KiB together with its message."""

CONNECTION_ERROR: Final = "ConnectionError"
PARAMETERS_INVALID: Final = "ParamValidationError"

_CLIENTS_MAX: Final = 64
_CONNECTIONS: Final = 50
_CHUNK_BYTES: Final = 65_536
_ACCESS_DENIED: Final = re.compile(
    "(client[.])?(access[-_ ]?denied|unauthorizedoperation|authorizationerror).*", re.IGNORECASE
)
"""How services spell that IAM refuses: AccessDenied, AccessDeniedException; EC2's and SNS's own words."""

# Where a parameter has another name in Python than in the model; botocore has the same three.
_ALIASES: Final = {
    "cloudsearchdomain:search": {"returnFields": "return"},
    "ec2:*": {"Filters": "Filter"},
    "logs:create_export_task": {"fromTime": "from"},
}
_PROVIDED: Final = {"glacier": ("accountId",)}

Pair: TypeAlias = tuple[str, str]
"""A service and an action, as workflows spell them: `("s3", "put_object")`."""


# Clients and models.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """An action as botocore knows it.

    Args:
        label: what its errors begin with, the service's id without spaces: `BedrockRuntime`.
        prefixes: what IAM and botocore call the service: `bedrock`, `bedrock-runtime`.
        model: botocore's `OperationModel`.
        action: its parameters.
    """

    label: str
    prefixes: tuple[str, ...]
    model: Any
    action: Action

    @property
    def streams_events(self) -> bool:
        """Whether it sends or answers with a stream of events, which has no end that a result could wait for."""
        return bool(self.model.has_event_stream_input or self.model.has_event_stream_output)


class UnknownActionError(LookupError):
    """The installed botocore has no such service or action; `misfit` says which."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(misfit.message)
        self.misfit = misfit


class Clients:
    """Models and clients of botocore, each loaded once. May be used by many threads.

    Region, credentials and endpoints come from the usual places: `AWS_DEFAULT_REGION`, `AWS_PROFILE`,
    `AWS_ENDPOINT_URL_S3`, ….
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # neither a session nor its loader may be used by two threads at once
        self._session: Any = None
        self._models: dict[str, tuple[Any, dict[str, str]]] = {}
        self._clients: OrderedDict[tuple[str, float, bool], Any] = OrderedDict()

    def operation(self, service: str, action: str, closest: Closest = closest_name) -> _Operation:
        """Return what is known of an action; `closest` finds what a wrong name may have meant.

        Raises:
            UnknownActionError: there is none.
        """
        with self._lock:
            model, operations = self._service(service, closest)
            if action not in operations:
                near = closest(action, operations)
                hint = f"did you mean '{near}'?" if near else "see the methods of its boto3 client"
                message = f"the service '{shown(service)}' has no action '{shown(action)}'"
                raise UnknownActionError(Misfit(code="DF305", path=("action",), message=message, hint=hint))
            operation = model.operation_model(operations[action])
            aliases = {**_ALIASES.get(f"{service}:*", {}), **_ALIASES.get(f"{service}:{action}", {})}
            members: Mapping[str, Any] = operation.input_shape.members if operation.input_shape else {}
            return _Operation(
                label=model.service_id.replace(" ", ""),
                prefixes=(service, model.endpoint_prefix, model.signing_name),
                model=operation,
                action=Action(
                    call=f"{service}.{action}",
                    shape=operation.input_shape,
                    tokens=tuple(operation.idempotent_members),
                    provided=_PROVIDED.get(service, ()),
                    aliases={alias: own for alias, own in aliases.items() if own in members},
                ),
            )

    def client(self, service: str, *, timeout_seconds: float | None = None, retries: bool = False) -> Any:
        """Return a client whose connections and pauses in answers take no longer than `timeout_seconds`."""
        seconds = timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        key = (service, seconds, retries)
        with self._lock:
            if key not in self._clients:
                config: Any = import_module("botocore.config")
                self._clients[key] = self._opened().create_client(
                    service,
                    config=config.Config(
                        connect_timeout=seconds,
                        read_timeout=seconds,
                        retries={"mode": "standard", "total_max_attempts": 3 if retries else 1},
                        max_pool_connections=_CONNECTIONS,
                        user_agent_extra="durableflow",
                    ),
                )
                if len(self._clients) > _CLIENTS_MAX:  # timeouts may be computed; threads keep what they are using
                    self._clients.popitem(last=False)
            self._clients.move_to_end(key)
            return self._clients[key]

    def _opened(self) -> Any:
        if self._session is None:
            session: Any = import_module("botocore.session")
            self._session = session.get_session()
        return self._session

    def _service(self, service: str, closest: Closest) -> tuple[Any, dict[str, str]]:
        if service not in self._models:
            names: list[str] = self._opened().get_available_services()
            if service not in names:
                near = closest(service, names)
                hint = f"did you mean '{near}'?" if near else "write it as boto3 does: dynamodb, s3, bedrock-runtime"
                message = f"there is no AWS service '{shown(service)}'"
                raise UnknownActionError(Misfit(code="DF304", path=("service",), message=message, hint=hint))
            snake: Any = import_module("botocore").xform_name
            model = self._opened().get_service_model(service)
            self._models[service] = (model, {snake(name): name for name in model.operation_names})
        return self._models[service]


def check_action(
    service: str,
    action: str,
    params: Mapping[str, object],
    closest: Closest = closest_name,
    *,
    clients: Clients,
    allowed: AllowList | None = None,
) -> list[Misfit]:
    """Return what is wrong with an action and its parameters, without calling anything.

    Args:
        service: as boto3 names it.
        action: the method of its client.
        params: JSON values, with `parameters.Unknown` where a template stands.
        closest: finds what a wrong name may have meant.
        clients: whose models to ask.
        allowed: what the project lists as allowed, if it does.
    """
    try:
        operation = clients.operation(service, action, closest)
    except UnknownActionError as error:
        return [error.misfit]
    if operation.streams_events:
        return [Misfit(code="DF305", path=("action",), message=_no_streams(operation), hint="call it in a step")]
    misfits = fit(operation.action, params, closest)[1]
    if allowed is not None and not allowed.permits(service, action, operation.prefixes):
        hint = f"add '{service}:{operation.model.name}' to it"
        message = f"the project's list 'aws: {{allow: …}}' does not have {operation.action.call}"
        misfits.append(Misfit(code="DF422", path=("action",), message=message, hint=hint))
    return misfits


def _no_streams(operation: _Operation) -> str:
    return f"{operation.action.call} exchanges a stream of events, which an aws state cannot"


# What is allowed.

# Where IAM does not call a permission as the API calls the action. The API's own name is understood everywhere.
_PERMISSIONS: Final = {
    "bedrock:converse": "InvokeModel",
    "lambda:invoke": "InvokeFunction",
    "s3:abortmultipartupload": "AbortMultipartUpload",
    "s3:completemultipartupload": "PutObject",
    "s3:createmultipartupload": "PutObject",
    "s3:deleteobjects": "DeleteObject",
    "s3:headbucket": "ListBucket",
    "s3:headobject": "GetObject",
    "s3:listbuckets": "ListAllMyBuckets",
    "s3:listobjects": "ListBucket",
    "s3:listobjectsv2": "ListBucket",
    "s3:listobjectversions": "ListBucketVersions",
    "s3:uploadpart": "PutObject",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowList:
    """The actions that aws states may call.

    Args:
        pairs: allowed as workflows spell them.
        patterns: allowed as IAM spells them, `s3:PutObject`, with `*` and `?`; case does not matter. The service is
            IAM's name or boto3's, the action the permission's name or the API's.
    """

    pairs: frozenset[Pair] = frozenset()
    patterns: tuple[str, ...] = ()

    def permits(self, service: str, action: str, prefixes: Iterable[str] = ()) -> bool:
        """Say whether an action may be called; `prefixes` are further names of the service."""
        if (service, action) in self.pairs:
            return True
        name = action.replace("_", "")
        called = {f"{prefix}:{name}" for prefix in (service, *prefixes)}
        called |= {f"{one.partition(':')[0]}:{_PERMISSIONS[one].lower()}" for one in called if one in _PERMISSIONS}
        return any(fnmatchcase(one, pattern.lower()) for pattern in self.patterns for one in called)


# Calls.


class Actions:
    """Calls AWS for aws states and conditions. May be used by many threads.

    Args:
        allowed: what may be called; anything else is `States.Permissions`.
        clients: shared with others that call AWS.
    """

    def __init__(self, *, allowed: AllowList, clients: Clients | None = None) -> None:
        self._allowed = allowed
        self._clients = clients or Clients()

    def perform(
        self, service: str, action: str, params: Object, *, idempotency_key: str, timeout_seconds: float | None = None
    ) -> Json:
        """Call an action once and return its result.

        Args:
            service: as boto3 names it.
            action: the method of its client.
            params: the parameters, rendered.
            idempotency_key: 32 hexadecimal digits; fills the action's idempotency tokens.
            timeout_seconds: how long connecting and each pause in the answer may take; DEFAULT_TIMEOUT_SECONDS if None.

        Returns:
            The answer without its ResponseMetadata, an object of JSON values alone (docs/aws.md).

        Raises:
            Fault: `States.Permissions` (IAM or the project refuses), `States.Timeout`, `States.Runtime` (the installed
                botocore has no such action, or one that streams events), `States.DataLimitExceeded` (a body is too
                large), `States.ResultInvalid` (an answer that is no JSON value), else `<Service>.<Code>`: the service's
                own, `<Service>.ParamValidationError`, `<Service>.ConnectionError` or another error of botocore's.
        """
        try:
            operation = self._clients.operation(service, action)
        except UnknownActionError as error:
            raise Fault(faults.RUNTIME, str(error)) from error
        if not self._allowed.permits(service, action, operation.prefixes):
            raise Fault(faults.PERMISSIONS, f"{service}.{action} is not among the actions that the project allows")
        if operation.streams_events:
            raise Fault(faults.RUNTIME, _no_streams(operation))
        made = with_tokens(operation.action, _fitted(operation, params), idempotency_key)
        seconds = timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        deadline = time.monotonic() + seconds
        try:
            answer = getattr(self._clients.client(service, timeout_seconds=seconds), action)(**made)
            answer.pop("ResponseMetadata", None)
            plain = {name: _read(name, value, deadline) for name, value in answer.items()}
        except Fault:
            raise
        except Exception as error:
            # The edge: botocore, its HTTP library and Python's sockets all raise here; each is a fault from now on.
            raise fault_of(error, label=operation.label, call=operation.action.call, seconds=seconds) from error
        try:
            return values.checked(from_aws(plain))
        except ValueError as error:
            message = f"{operation.action.call} answered with what is no JSON: {error}"
            raise Fault(faults.RESULT_INVALID, message) from error


def _fitted(operation: _Operation, params: Object) -> dict[str, object]:
    made, misfits = fit(operation.action, params)
    wrong = [misfit for misfit in misfits if misfit.code == "DF311"]
    if wrong:
        told = "; ".join(f"{m.message} ({m.hint})" if m.hint else m.message for m in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Fault(f"{operation.label}.{PARAMETERS_INVALID}", told + more)
    return made


def _read(name: str, value: object, deadline: float) -> object:
    """Return a member of an answer; a body that is streamed is read to its end, within bounds."""
    if not hasattr(value, "read"):
        return value
    stream: Any = value
    chunks: list[bytes] = []
    size = 0
    with stream:
        while chunk := stream.read(_CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > STREAM_MAX_BYTES:
                message = f"'{name}' is larger than {STREAM_MAX_BYTES:,} bytes"
                raise Fault(faults.DATA_LIMIT, message, {"limit": STREAM_MAX_BYTES})
            if time.monotonic() > deadline:
                raise TimeoutError(f"'{name}' did not end")
    return from_bytes(b"".join(chunks))


def fault_of(error: Exception, *, label: str, call: str, seconds: float) -> Fault:
    """Return what an exception of a call is to a workflow (rules 13, 27).

    Args:
        error: what botocore raised.
        label: the service's id without spaces.
        call: for the message, `dynamodb.put_item`.
        seconds: the time-out of the call.
    """
    known: Any = import_module("botocore.exceptions")
    if isinstance(error, known.ClientError):
        return _service_fault(cast("Any", error).response, label)
    if isinstance(error, (known.ReadTimeoutError, known.ConnectTimeoutError, TimeoutError)):
        return Fault(faults.TIMEOUT, f"{call} did not answer within {seconds:g} s")
    connection = (known.ConnectionError, known.HTTPClientError, known.IncompleteReadError, OSError)
    name = CONNECTION_ERROR if isinstance(error, connection) else type(error).__name__
    return Fault(f"{label}.{name}", f"{call}: {error}")


def _service_fault(response: Mapping[str, Any], label: str) -> Fault:
    error = response.get("Error", {})
    metadata = response.get("ResponseMetadata", {})
    code = str(error.get("Code", "Unknown"))
    name = faults.PERMISSIONS if _ACCESS_DENIED.fullmatch(code) else f"{label}.{code}"
    data: Object = {
        "code": code,
        "status": metadata.get("HTTPStatusCode"),
        "request_id": metadata.get("RequestId"),
    }
    if details := _details(response):
        data["details"] = details
    return Fault(name, str(error.get("Message", "")), data)


def _details(response: Mapping[str, Any]) -> Json:
    """Return what a service says besides, such as why a transaction was cancelled; None when it is large."""
    more = {key: value for key, value in response.items() if key not in _ERROR_ENVELOPE}
    try:
        details = values.checked(from_aws(more))
    except ValueError:
        return None
    return details if values.size_bytes(values.to_text(details)) <= DETAILS_MAX_BYTES else None


_ERROR_ENVELOPE: Final = frozenset({"Error", "ResponseMetadata", "message", "Message"})


# Secrets.

SECRET_INVALID: Final = "Secret.Invalid"  # noqa: S105 - the name of an error
SECRET_KEY_NOT_FOUND: Final = "Secret.KeyNotFound"  # noqa: S105 - likewise
_SECRET_SECONDS: Final = 10.0


def fetch_secret(reference: str, clients: Clients) -> str:
    """Return the text of a secret on AWS. Reading it twice harms nobody, so it is tried three times.

    Args:
        reference: `secretsmanager:ID`, `secretsmanager:ID#KEY` for one key of a secret that is a JSON object, or
            `ssm:/PATH`, which is decrypted.
        clients: to ask with; keeping the answer is up to the caller.

    Raises:
        Fault: `States.Permissions`, `States.Timeout`, `SecretsManager.ResourceNotFoundException`,
            `SSM.ParameterNotFound` or another error of these services; `Secret.KeyNotFound` when the object has no such
            key, `Secret.Invalid` when the secret is no text or, with a key, no JSON object. No message has the secret.
    """
    source, _, rest = reference.partition(":")
    name, _, key = rest.partition("#")
    if source == "ssm":
        answer = _asked(clients, "ssm", "get_parameter", {"Name": name, "WithDecryption": True})
        return str(answer["Parameter"]["Value"])
    answer = _asked(clients, "secretsmanager", "get_secret_value", {"SecretId": name})
    text = answer.get("SecretString")
    if text is None:
        text = from_bytes(answer.get("SecretBinary", b""))
    if not isinstance(text, str):
        raise Fault(SECRET_INVALID, f"the secret '{shown(name)}' is binary, not text")
    return _of_object(name, key, text) if key else text


def _asked(clients: Clients, service: str, action: str, params: Object) -> Any:
    operation = clients.operation(service, action)
    try:
        return getattr(clients.client(service, timeout_seconds=_SECRET_SECONDS, retries=True), action)(**params)
    except Exception as error:
        # The edge, as in `perform`.
        call = operation.action.call
        raise fault_of(error, label=operation.label, call=call, seconds=_SECRET_SECONDS) from error


def _of_object(name: str, key: str, text: str) -> str:
    try:
        held = json.loads(text)
    except ValueError:
        held = None
    if not isinstance(held, dict):
        # The cause has the text, so there is none.
        raise Fault(SECRET_INVALID, f"the secret '{shown(name)}' is no JSON object, so it has no key '{shown(key)}'")
    value = cast("dict[str, Json]", held).get(key)
    if value is None:
        raise Fault(SECRET_KEY_NOT_FOUND, f"the secret '{shown(name)}' has no key '{shown(key)}'")
    return value if isinstance(value, str) else values.to_text(value)
