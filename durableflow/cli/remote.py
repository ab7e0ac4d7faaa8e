"""The executions of a service elsewhere, as a place: Lambda on AWS, or `durableflow serve`, through boto3.

boto3 knows the members' names and the wire. What it gives back becomes what is on the wire: times in epoch seconds, a
payload as bytes. What it raises becomes one of our errors, in one line and with what to do about it.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlsplit

from durableflow.cli import console, places
from durableflow.errors import DurableflowError, ServiceError, UsageError, diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 60
ATTEMPTS: Final = 3
INVOKE_SECONDS: Final = 16 * 60
"""How long a synchronous Invoke may take: the service ends it after 15 minutes (protocol.md 7.4)."""
LOOK_SECONDS: Final = 2.0
"""How often AWS is asked for new events; a service of this machine more often."""
LOOK_HERE_SECONDS: Final = 0.25
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_REGION: Final = "us-east-1"


class There:
    """A service that speaks Lambda's API.

    Args:
        endpoint_url: its address; None for AWS's own, or what the environment of the AWS CLI says.
        profile: of the user's configuration.
        region: of AWS.
        client: makes the client of boto3; by default as the AWS CLI does.

    Raises:
        UsageError: DF782 to DF785, there is no such address, profile or region.
    """

    def __init__(
        self,
        *,
        endpoint_url: str | None = None,
        profile: str | None = None,
        region: str | None = None,
        client: Callable[[str, bool], Any] | None = None,
    ) -> None:
        self._endpoint_url = endpoint_url
        self._profile = profile
        self._region = region
        host = None if endpoint_url is None else _host(endpoint_url)
        self._is_loopback = host in _LOOPBACK
        self._is_aws = host is None or host.endswith(".amazonaws.com")
        self._made: dict[tuple[str, bool], Any] = {}
        self._client_of = client or self._client
        self.name = f"at {shown(self._address())}"

    def __enter__(self) -> Self:
        """Return the place."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        for client in self._made.values():
            client.close()

    def _address(self) -> str:
        if self._endpoint_url is not None:
            return self._endpoint_url
        address: str = self._client_for("lambda").meta.endpoint_url
        return address

    def _client_for(self, service: str, *, is_patient: bool = False) -> Any:
        if (service, is_patient) not in self._made:
            try:
                self._made[service, is_patient] = self._client_of(service, is_patient)
            except Exception as error:  # see ask
                raise self._told(error, service) from error
        return self._made[service, is_patient]

    def _client(self, service: str, is_patient: bool) -> Any:
        """Make a client of boto3.

        Args:
            service: of AWS.
            is_patient: whether it waits as long as an invocation may take, and asks once: a request that is made again
                after a time-out starts another execution.
        """
        boto3: Any = import_module("boto3")
        config: Any = import_module("botocore.config")
        options: dict[str, Any] = {}
        if self._is_loopback:
            options["proxies"] = {}
        settings = config.Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=INVOKE_SECONDS if is_patient else READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1 if is_patient else ATTEMPTS},
            tcp_keepalive=True,
            user_agent_extra=f"durableflow/{console.version()}",
            **options,
        )
        session = boto3.Session(profile_name=self._profile, region_name=self._region)
        keys: dict[str, str] = {}
        if self._is_loopback and self._profile is None:
            # Nobody there looks at them, so the user's own, whose session token would be sent as it is, stay at home.
            keys = {"aws_access_key_id": "durableflow", "aws_secret_access_key": "durableflow"}
        region = session.region_name or (_REGION if self._is_loopback else None)
        # An address of AWS, such as a VPC endpoint, is that of Lambda alone; another one is that of whatever stands in.
        url = None if service != "lambda" and self._is_aws else self._endpoint_url
        return session.client(service, region_name=region, endpoint_url=url, config=settings, **keys)

    # The API ---------------------------------------------------------------------------------------------------------

    def ask(self, operation: str, /, **members: Any) -> dict[str, Any]:
        """Have an operation of the API done and return its reply; see `Place.ask`."""
        given = {member: value for member, value in members.items() if value is not None}
        is_patient = operation == "invoke" and given.get("InvocationType", "RequestResponse") == "RequestResponse"
        return self._called("lambda", operation, given, is_patient=is_patient)

    def _called(
        self, service: str, operation: str, members: Mapping[str, Any], *, is_patient: bool = False
    ) -> dict[str, Any]:
        method = getattr(self._client_for(service, is_patient=is_patient), operation, None)
        if method is None:
            version = import_module("boto3").__version__
            raise UsageError(
                diagnostic(
                    "DF514",
                    f"boto3 {version} knows no '{operation}'",
                    hint="upgrade it: pip install --upgrade boto3",
                )
            )
        try:
            reply = {member: _wired(value) for member, value in method(**members).items()}
        except Exception as error:  # the edge to boto3, which raises much that has no common class
            raise self._told(error, operation) from error
        del reply["ResponseMetadata"]
        return reply

    def _told(self, error: Exception, operation: str) -> DurableflowError:
        """Return an error of boto3 as one of ours."""
        if isinstance(error, DurableflowError):
            return error
        response = getattr(error, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            return self._refused(cast("Mapping[str, Any]", response))
        where = "AWS" if self._endpoint_url is None else f"'{shown(self._endpoint_url)}'"
        kind = type(error).__name__
        reason = shown(" ".join(str(error).split()))
        code = "DF782" if isinstance(error, OSError) else _RAISED.get(kind)
        message, hint = f"{where} does not answer `{operation}` as Lambda does: {kind}: {reason}", None
        match code:
            case "DF720":
                return ServiceError(
                    diagnostic(code, reason), name="InvalidParameterValueException", status=400, is_retryable=False
                )
            case "DF782":
                message = f"{where} does not answer: {reason}"
                hint = _HERE_HINT if self._is_loopback else _NETWORK_HINT
            case "DF783":
                message, hint = f"there are no credentials for {where}: {reason}", _CREDENTIALS_HINT
            case "DF784":
                message, hint = reason, "`aws configure list-profiles` lists the profiles there are"
            case "DF785":
                message = f"no region of AWS is said: {reason}"
                hint = "give --region, set AWS_REGION, or write one into the profile"
            case _:
                pass
        return UsageError(diagnostic(code or "DF782", message, hint=hint))

    def _refused(self, response: Mapping[str, Any]) -> DurableflowError:
        error = response["Error"]
        name = str(error.get("Code") or "")
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 400)
        message = str(error.get("Message") or "") or name or "no reason is given"
        if name == "UnknownOperationException":
            hint = "leave --endpoint-url out where it is a service of this machine: its store has what the API has not"
            return UsageError(diagnostic("DF788", f"{self.name} there is no such operation", hint=hint))
        if name in _DENIED or status in {401, 403}:
            return UsageError(diagnostic("DF786", f"{shown(name)}: {shown(message)}", hint=_DENIED_HINT))
        code = _CODES.get(name, "DF725" if status >= _SERVER_ERROR else "DF720")
        is_retryable = status >= _SERVER_ERROR or status == _TOO_MANY
        return ServiceError(diagnostic(code, shown(message)), name=name, status=status, is_retryable=is_retryable)

    # What it has no operation for ------------------------------------------------------------------------------------

    def functions(self) -> list[str]:
        """Return the names of the functions whose executions are durable."""
        return [each["FunctionName"] for each in self._pages("list_functions", "Functions") if "DurableConfig" in each]

    def executions(
        self, *, function: str | None, name: str | None = None, statuses: Sequence[str] = (), limit: int = 0
    ) -> Iterator[Mapping[str, Any]]:
        """Give executions as the API lists them, newest first; see `Place.executions`.

        The API lists those of one function: without one, all functions that are durable are asked.
        """
        names = self.functions() if function is None else [function]
        each = [
            self._pages(
                "list_durable_executions_by_function",
                "DurableExecutions",
                FunctionName=one,
                DurableExecutionName=name,
                Statuses=list(statuses) or None,
                MaxItems=min(limit or PAGE, PAGE),
            )
            for one in names
        ]
        for count, found in enumerate(heapq.merge(*each, key=lambda item: -item["StartTimestamp"]), 1):
            yield found
            if count == limit:
                return

    def _pages(self, operation: str, member: str, **members: Any) -> Iterator[dict[str, Any]]:
        marker: str | None = None
        while True:
            reply = self.ask(operation, Marker=marker, **members)
            yield from reply.get(member, ())
            marker = reply.get("NextMarker")
            if not marker:
                return

    def arn_of(self, execution: str, *, function: str | None = None) -> str:
        """Return the ARN of an execution that was given as a name, the newest of that name, or as an ARN.

        Raises:
            UsageError: DF796, there is none.
        """
        if execution.startswith("arn:"):
            return execution
        found = next(self.executions(function=function, name=execution, limit=1), None)
        if found is None:
            console.usage(
                "DF796",
                f"there is no execution '{shown(execution)}' {self.name}",
                "`durableflow executions list` with the same options shows what there is; --function says whose it is",
            )
        arn: str = found["DurableExecutionArn"]
        return arn

    def events(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution up to now."""
        return self._pages(
            "get_durable_execution_history", "Events", DurableExecutionArn=arn, IncludeExecutionData=True, MaxItems=PAGE
        )

    def follow(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution as they happen, up to the one that ends it."""
        seen = 0
        for event in self.events(arn):
            yield event
            seen = event["EventId"]
            if event["EventType"] in places.ENDS:
                return
        while True:
            time.sleep(LOOK_HERE_SECONDS if self._is_loopback else LOOK_SECONDS)
            for event in self._newer(arn, seen):
                yield event
                seen = event["EventId"]
                if event["EventType"] in places.ENDS:
                    return

    def _newer(self, arn: str, seen: int) -> list[Mapping[str, Any]]:
        """Return the events after one, in their order; read from the end, as there is no other way to skip some."""
        found: list[Mapping[str, Any]] = []
        for event in self._pages(
            "get_durable_execution_history",
            "Events",
            DurableExecutionArn=arn,
            IncludeExecutionData=True,
            ReverseOrder=True,
            MaxItems=_NEW_EVENTS,
        ):
            if event["EventId"] <= seen:
                break
            found.append(event)
        return found[::-1]

    def logs(self, arn: str, *, follow: bool) -> Iterator[Mapping[str, Any]]:
        """Give the lines of CloudWatch Logs that name the execution; see `Place.logs`.

        The SDKs' loggers write its ARN into every line. What a function merely prints names nothing, and is not found.
        """
        found = self.ask("get_durable_execution", DurableExecutionArn=arn)
        group = self._log_group(found["FunctionArn"])
        start = int(found["StartTimestamp"] * 1000)
        told = set[str]()
        while True:
            has_ended = "EndTimestamp" in found
            for line in self._lines(group, arn, start):
                if line["eventId"] not in told:
                    told.add(line["eventId"])
                    yield {"Timestamp": line["timestamp"] / 1000, "Message": line["message"].rstrip("\n")}
            if has_ended or not follow:
                return
            time.sleep(LOOK_SECONDS)
            found = self.ask("get_durable_execution", DurableExecutionArn=arn)

    def _log_group(self, function: str) -> str:
        configuration = self.ask("get_function_configuration", FunctionName=function)
        group: str | None = configuration.get("LoggingConfig", {}).get("LogGroup")
        return group or f"/aws/lambda/{configuration['FunctionName']}"

    def _lines(self, group: str, arn: str, start: int) -> Iterator[dict[str, Any]]:
        members: dict[str, Any] = {"logGroupName": group, "filterPattern": f'"{arn}"', "startTime": start}
        while True:
            reply = self._called("logs", "filter_log_events", members)
            yield from reply.get("events", ())
            if not reply.get("nextToken"):
                return
            members["nextToken"] = reply["nextToken"]

    def callbacks(self, arn: str | None = None) -> list[Mapping[str, Any]]:
        """Return the open callbacks of an execution and of those that it has started, as its history tells.

        A heartbeat is no event, so that there is no telling when the heartbeat timeout ends.
        """
        found: list[Mapping[str, Any]] = []
        asked, left = set[str](), [arn] if arn is not None else []
        while left:
            one = left.pop(0)
            asked.add(one)
            events = list(self.events(one))
            found += open_callbacks(one, events)
            left += [child for child in children(events) if child not in asked]
        return found

    def callback_id(self, asked: str, *, execution: str | None, function: str | None) -> str:
        """Return the id of the callback that is meant; see `Place.callback_id`.

        The API finds no callback by the name of its state. So what is given without an execution is an id, or the ARN
        of an execution.
        """
        if execution is None and not asked.startswith("arn:"):
            return asked
        arn = self.arn_of(asked if execution is None else execution, function=function)
        known = self.callbacks(arn)
        is_called = execution is None
        found = [
            each
            for each in known
            if is_called or asked in {each["CallbackId"], each["Name"], each["Name"].rpartition("/")[2]}
        ]
        return places.the_one(asked, found, known=known, place=self.name)

    def callback(self, callback_id: str) -> Mapping[str, Any] | None:  # noqa: ARG002 - as Place has it
        """Return None: the API tells nothing of a callback."""
        return None

    def meter(self, arn: str, events: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:  # noqa: ARG002 - see Place
        """Return what an execution took, as its history tells; see `Place.meter`."""
        return {
            "operations": len(
                {event["Id"] for event in events if event.get("Id") and not event["EventType"].startswith("Execution")}
            ),
            "invocations": sum(event["EventType"] == "InvocationCompleted" for event in events),
        }

    def words(self) -> list[str]:
        """Return the options that mean this place in another command."""
        options = (("--endpoint-url", self._endpoint_url), ("--profile", self._profile), ("--region", self._region))
        return [word for option, value in options if value is not None for word in (option, value)]

    def is_run(self) -> bool:
        """Say that somebody runs the executions: the service."""
        return True


PAGE: Final = 1000
_NEW_EVENTS: Final = 50
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429
_CODES: Final = {
    "ResourceNotFoundException": "DF721",
    "DurableExecutionAlreadyStartedException": "DF722",
    "CallbackTimeoutException": "DF723",
    "RequestTooLargeException": "DF724",
}
_RAISED: Final = {
    "ParamValidationError": "DF720",
    "EndpointConnectionError": "DF782",
    "ConnectTimeoutError": "DF782",
    "ReadTimeoutError": "DF782",
    "ConnectionClosedError": "DF782",
    "ConnectionError": "DF782",
    "HTTPClientError": "DF782",
    "ProxyConnectionError": "DF782",
    "SSLError": "DF782",
    "NoCredentialsError": "DF783",
    "PartialCredentialsError": "DF783",
    "CredentialRetrievalError": "DF783",
    "NoAuthTokenError": "DF783",
    "TokenRetrievalError": "DF783",
    "UnauthorizedSSOTokenError": "DF783",
    "SSOTokenLoadError": "DF783",
    "LoginRefreshRequired": "DF783",
    "LoginTokenLoadError": "DF783",
    "ProfileNotFound": "DF784",
    "NoRegionError": "DF785",
    "InvalidRegionError": "DF785",
}
"""What boto3 raises without an answer of the service, by the name of its class: it is imported when it is needed."""
_CREDENTIALS_HINT: Final = (
    "`aws sts get-caller-identity` shows whether the AWS CLI finds some; --profile chooses others"
)
_HERE_HINT: Final = "does `durableflow serve` run, and at this port?"
_NETWORK_HINT: Final = "look at the address and the network; behind a proxy, HTTPS_PROXY names it"
_DENIED: Final = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
_DENIED_HINT: Final = "`aws sts get-caller-identity` shows who you are there; the policy of that role or user decides"


def _host(endpoint_url: str) -> str:
    """Return the host of an address.

    Raises:
        UsageError: DF787, it is none.
    """
    try:
        parts = urlsplit(endpoint_url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        console.usage(
            "DF787",
            f"'{shown(endpoint_url)}' is no address of a service",
            "write --endpoint-url http://127.0.0.1:PORT, as `durableflow serve` prints it",
        )
    return parts.hostname


def _wired(value: Any) -> Any:
    """Return a value of boto3's as it is on the wire."""
    match value:
        case datetime():
            return value.timestamp()
        case Mapping():
            members = cast("Mapping[str, Any]", value)
            return {member: _wired(one) for member, one in members.items()}
        case list():
            return [_wired(one) for one in cast("Sequence[Any]", value)]
        case _ if hasattr(value, "read"):
            return value.read()
        case _:
            return value


# ---------------------------------------------------------------------------------------------------------------------
# What a history tells


def open_callbacks(arn: str, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the callbacks that are open after these events, see `callback_facts`."""
    contexts: dict[str, Mapping[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        kind, id_ = event["EventType"], event.get("Id")
        if kind in places.ENDS:
            return []  # they are closed with their execution
        if kind == "ContextStarted":
            contexts[event["Id"]] = event
        elif kind == "CallbackStarted":
            details = event.get("CallbackStartedDetails", {})
            parent = contexts.get(event.get("ParentId", ""), {})
            named = parent if parent.get("SubType") == "WaitForCallback" and parent.get("Name") else event
            found[event["Id"]] = {
                "CallbackId": details.get("CallbackId", ""),
                "Name": named.get("Name") or "",
                "Status": "STARTED",
                "DurableExecutionArn": arn,
                "DurableExecutionName": arn.split("/")[-2] if arn.count("/") > 1 else arn,
                "StartTimestamp": event["EventTimestamp"],
            }
            if details.get("Timeout"):
                found[event["Id"]]["TimeoutTimestamp"] = event["EventTimestamp"] + details["Timeout"]
        elif kind.startswith("Callback") and id_ in found:
            del found[id_]
    return list(found.values())


def children(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ARNs of the executions that these events have started and not ended."""
    found: dict[str, str] = {}
    for event in events:
        if event["EventType"] == "ChainedInvokeStarted":
            arn = event.get("ChainedInvokeStartedDetails", {}).get("DurableExecutionArn")
            if arn:
                found[event["Id"]] = arn
        elif event["EventType"].startswith("ChainedInvoke"):
            found.pop(event.get("Id", ""), None)
    return list(found.values())
