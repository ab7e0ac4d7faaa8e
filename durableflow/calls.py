"""Who does what a call asks for? A handler, AWS, a server; or an answer of the project instead of the last two.

A :class:`Tools` holds what outlives an invocation, the worker it makes serves one execution. Secrets are looked up
here, for one attempt, and everything that leaves is searched for them: what is recorded never had one.

Source: language.md 3, 4, 11 and 12, rules 13, 42, 43, 60; reliability.md D11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from durableflow import faults, values, web
from durableflow.decision import Completion
from durableflow.errors import Fault
from durableflow.plan import Aws, Http, Step
from durableflow.source import shown
from durableflow.vault import Redactor
from durableflow.work import PythonWorker, sound, step_logger, system_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.decision import Call
    from durableflow.logs import StepLogger
    from durableflow.values import Json, Object

Answer: TypeAlias = "Object | list[Json]"
"""As in the project file: `{python: …}`, `{result: …}`, `{error: …}`, or a list of results and errors."""

_ANSWER_KEYS: Final = frozenset({"status", "headers", "body"})


class AwsAction(Protocol):
    """Calls AWS."""

    def __call__(
        self, service: str, action: str, params: Object, *, idempotency_key: str, timeout_seconds: float | None
    ) -> Json:
        """Return the result of an action.

        Raises:
            Fault: whatever went wrong.
        """
        ...


class HttpRequest(Protocol):
    """Makes HTTP requests, as :meth:`durableflow.web.HttpClient.perform` does."""

    def __call__(
        self, request: Object, *, success: web.Statuses, redirects: int, timeout_seconds: float | None
    ) -> Json:
        """Return `{status, headers, body}`.

        Raises:
            Fault: whatever went wrong.
        """
        ...


class Count(Protocol):
    """Counts the calls that a list of answers has answered."""

    def __call__(self, execution_arn: str, answer: str, call: str) -> int:
        """Return the number of a call among those of an execution that had this answer, from 0.

        The same call, made again, has the same number.
        """
        ...


class Counts:
    """Counts in the memory of this process."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], dict[str, int]] = {}

    def __call__(self, execution_arn: str, answer: str, call: str) -> int:
        """Return the number of a call, see :class:`Count`."""
        calls = self._calls.setdefault((execution_arn, answer), {})
        return calls.setdefault(call, len(calls))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What aws and http states get here instead of the real thing.

    Args:
        actions: by `service:action`.
        requests: by `METHOD URL`; a key with a query is for requests with exactly that one, any other for all.
        functions: calls the Python functions among them.
        count: counts what lists have answered.
    """

    actions: Mapping[str, Answer] = field(default_factory=dict[str, "Answer"])
    requests: Mapping[str, Answer] = field(default_factory=dict[str, "Answer"])
    functions: PythonWorker | None = None
    count: Count = field(default_factory=Counts)

    def request_key(self, request: web.Request) -> str | None:
        """Return the key of the answer to a request, or None: the one with its query before the one without."""
        asked = (f"{request.method} {request.url}", request.line)
        known = {_normal(key): key for key in self.requests}
        return next((known[text] for text in asked if text in known), None)

    def given(
        self, answer: Answer, key: str, event: Object, *, call: Call, execution_arn: str, log: StepLogger
    ) -> Json:
        """Return what a call gets.

        Args:
            answer: for this call.
            key: its key, `actions dynamodb:put_item`.
            event: the params or the request; what a function gets.
            call: that is answered.
            execution_arn: of whose execution.
            log: for a function.

        Raises:
            Fault: the answer is an error, or its function failed.
        """
        if isinstance(answer, list):
            number = self.count(execution_arn, key, f"{call.operation_id}:{call.attempt}")
            answer = cast("Object", answer[min(number, len(answer) - 1)])
        if "python" in answer:
            assert self.functions is not None, "an answer names a function, so there is a folder to import it from"
            return self.functions.called(cast("str", answer["python"]), event, call, log)
        if "error" in answer:
            error = cast("Mapping[str, Json]", answer["error"])
            raise Fault(cast("str", error["name"]), cast("str", error.get("message", "")), error.get("data"))
        return answer["result"]


def _normal(key: str) -> str:
    method, _, url = key.partition(" ")
    return f"{method} {web.Url.of(url)}"


def refused_action(
    service: str,
    action: str,
    params: Object,  # noqa: ARG001 - a protocol
    *,
    idempotency_key: str,  # noqa: ARG001
    timeout_seconds: float | None,  # noqa: ARG001
) -> Json:
    """Refuse to call AWS from this machine, and say what would help.

    Raises:
        Fault: States.Permissions.
    """
    key = f"{shown(service)}:{shown(action)}"
    raise Fault(
        faults.PERMISSIONS,
        f"'{key}' is not called from here: say what it answers under 'actions' in durableflow.yaml "
        f'("{key}": {{result: …}}), or let workflows call AWS with --allow-aws',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What work is done with, for all executions of a process.

    Args:
        steps: calls the handlers of steps.
        http: makes requests.
        aws: calls AWS.
        secret: returns the value of a secret, by its name and the reference that the workflow declares; raises Fault.
        answers: what is answered by the project.
        told: takes secrets out of what the process writes; told of each secret that is used.
        clock_ms: the time in epoch milliseconds.
    """

    steps: PythonWorker
    http: HttpRequest
    aws: AwsAction
    secret: Callable[[str, str], str]
    answers: Answers = field(default_factory=Answers)
    told: Redactor = field(default_factory=Redactor)
    clock_ms: Callable[[], int] = system_milliseconds

    def worker(self, execution_arn: str, *, request_id: str | None = None) -> CallWorker:
        """Return a worker for one invocation of an execution (driver.Worker)."""
        return CallWorker(self, execution_arn, request_id)


class CallWorker:
    """Does the work of one invocation's calls; several may run at once, each in its own thread."""

    def __init__(self, tools: Tools, execution_arn: str, request_id: str | None) -> None:
        self._tools = tools
        self._execution_arn = execution_arn
        self._request_id = request_id
        # For an invocation and no longer, so that a secret that is exchanged counts from the next one on.
        self._secrets: dict[str, str] = {}

    def run(self, call: Call) -> Completion:
        """Do one attempt; whatever goes wrong is a fault in the completion."""
        used = Redactor()

        def secret(name: str) -> str:
            reference = call.secrets[name]
            if (value := self._secrets.get(reference)) is None:
                value = self._secrets[reference] = self._tools.secret(name, reference)
            # Before it is in anybody's hands.
            self._tools.told.add(name, value)
            used.add(name, value)
            return value

        result, raised = None, None
        log = self._logger(call, used)
        try:
            result = used.value(self._result(call, call.arguments(secret), log))
        except Fault as fault:
            raised = used.fault(sound(fault, log))
        return Completion(operation_id=call.operation_id, result=result, fault=raised, ended_at=self._tools.clock_ms())

    def _logger(self, call: Call, used: Redactor) -> StepLogger:
        return step_logger(
            call,
            self._tools.clock_ms,
            execution_arn=self._execution_arn,
            request_id=self._request_id,
            redact=used.text,
        )

    def _result(self, call: Call, arguments: Json, log: StepLogger) -> Json:
        match call.node:
            case Step(handler=handler):
                return self._tools.steps.called(handler, arguments, call, log)
            case Aws(service=service, action=action):
                return self._called(call, service, action, cast("Object", arguments), log)
            case Http():
                return self._requested(call, call.node, cast("Object", arguments), log)

    def _called(self, call: Call, service: str, action: str, params: Object, log: StepLogger) -> Json:
        key = f"{service}:{action}"
        if (answer := self._tools.answers.actions.get(key)) is not None:
            return self._given(answer, f"actions {key}", params, call, log)
        return self._tools.aws(
            service,
            action,
            params,
            idempotency_key=call.idempotency_key,
            timeout_seconds=call.timeout_seconds,
        )

    def _requested(self, call: Call, node: Http, request: Object, log: StepLogger) -> Json:
        answers = self._tools.answers
        if answers.requests:
            sent = web.Request.of(request)
            if (key := answers.request_key(sent)) is not None:
                given = self._given(answers.requests[key], f"http_answers {key}", request, call, log)
                return web.outcome(sent, _response(given, key), node.success)
        return self._tools.http(
            request, success=node.success, redirects=node.redirects, timeout_seconds=call.timeout_seconds
        )

    def _given(self, answer: Answer, key: str, event: Object, call: Call, log: StepLogger) -> Json:
        return self._tools.answers.given(answer, key, event, call=call, execution_arn=self._execution_arn, log=log)


def _response(given: Json, key: str) -> Object:
    """Return an answer as a response: what it leaves out is 200, no headers, no body.

    Raises:
        Fault: States.ResultInvalid, it is no response.
    """
    if values.is_object(given) and given.keys() <= _ANSWER_KEYS:
        status, headers = given.get("status", 200), given.get("headers", {})
        is_status = type(status) is int and 100 <= status <= 599
        if is_status and values.is_object(headers) and all(isinstance(value, str) for value in headers.values()):
            named: Object = {name.lower(): value for name, value in headers.items()}
            return {"status": status, "headers": named, "body": given.get("body")}
    message = f"the answer for '{shown(key)}' in durableflow.yaml is no {{status, headers, body}}"
    raise Fault(faults.RESULT_INVALID, message)
