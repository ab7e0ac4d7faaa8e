"""How does it run on Lambda? The handler, and the service over boto3.

A function's code is three things: this package, a compiled plan, and the Python handlers that steps name. Either the
function's handler is set to `durableflow.aws.handler`, which finds the plan by itself, or a module of the author's
makes one:

    from durableflow.aws import lambda_handler
    handler = lambda_handler("plan.json")

Handling an event imports no PyYAML, pydantic, jsonschema, Jinja2 or sqlite3; jsonschema is imported when a workflow
has a schema to be checked (language.md 12, rule 53), boto3 when no client is given.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from durableflow import driver, plan, values
from durableflow.actions import Actions, AllowList, Clients, fetch_secret
from durableflow.calls import Tools
from durableflow.errors import UsageError, diagnostic
from durableflow.interpreter import OPERATIONS_MAX
from durableflow.plan import Plan
from durableflow.source import shown
from durableflow.web import HttpClient
from durableflow.work import PythonWorker, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.offload import OffloadStore
    from durableflow.values import Object

    Handler: TypeAlias = Callable[[Mapping[str, Any], object], Object]

PLAN_VARIABLE: Final = "DURABLEFLOW_PLAN"
"""Names the plan's file for :func:`handler`; without it `plan.json` in the function's package."""
WORKFLOW_VARIABLE: Final = "DURABLEFLOW_WORKFLOW"
"""Names the workflow for :func:`handler` where the plan holds several; without it the input names it (rule 52)."""
HTTP_ALLOW_VARIABLE: Final = "DURABLEFLOW_HTTP_ALLOW"
"""Hosts, `host` or `host:port` with commas between, that http states of :func:`handler` may reach without TLS and at
private addresses, such as those of a VPC."""
AWS_ALLOW_VARIABLE: Final = "DURABLEFLOW_AWS_ALLOW"
"""Actions, as IAM spells them with commas between, that aws states of :func:`handler` may call; without it those that
the workflows name. The function's role has the last word."""
LOG_LEVEL_VARIABLE: Final = "DURABLEFLOW_LOG_LEVEL"
"""Level of the JSON lines of :func:`handler`, by default INFO; DEBUG adds a line for each update."""

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 5


def lambda_handler(  # noqa: PLR0913 - each is a part of the world that comes in; all by keyword
    plans: Plan | Mapping[str, Plan] | Path | str,
    *,
    client: driver.Service | None = None,
    handlers_root: Path | str | None = None,
    workflow: str | None = None,
    http_allow: Sequence[str] | None = None,
    aws_allow: Sequence[str] | None = None,
    tools: Tools | None = None,
    offload: driver.Offload | None = None,
    operations_max: int | None = None,
) -> Handler:
    """Return a Lambda handler that runs a compiled workflow as a durable function.

    Args:
        plans: a plan, several by workflow name, or the file that `durableflow compile` wrote.
        client: anything with boto3's `checkpoint_durable_execution` and `get_durable_execution_state`; by default a
            boto3 Lambda client, made when the first event arrives.
        handlers_root: the folder that the modules of step handlers are imported from; by default the function's
            package (`LAMBDA_TASK_ROOT`), elsewhere the current folder.
        workflow: the one to run where there are several; without it the input names it, as
            `{"$workflow": name, "input": …}`.
        http_allow: hosts, `host` or `host:port`, that http states may reach without TLS and at private addresses.
        aws_allow: the actions that aws states may call, as IAM spells them; None for those that the workflows name. The
            function's role has the last word.
        tools: what work is done with, in place of Python's handlers in `handlers_root`, HTTP, AWS and its secrets: then
            `handlers_root`, `http_allow` and `aws_allow` mean nothing. Their clock is the handler's, too.
        offload: where results over a threshold are kept; nowhere means that one over 256 KB is an error.
        operations_max: how many operations an execution may have, 3,000 if nothing says otherwise.

    Where `http_allow`, `aws_allow`, `offload` and `operations_max` are None, the settings of the project file count,
    which `durableflow compile` has put into the plan's file.

    Returns:
        `(event, context) -> dict`. It raises what the service must retry: a stale token, throttling, an unreachable
        service, a malformed event (protocol.md 11.3).

    Raises:
        UsageError: DF512 the plan's file cannot be read, DF501 it holds no plan, DF513 no workflow has that name.
    """
    loaded, settings = _loaded(plans)
    runnable = _chosen(loaded, workflow)
    if tools is None:
        root = Path(handlers_root) if handlers_root is not None else _package()
        tools = _tools(
            root,
            settings.http_allow or () if http_allow is None else http_allow,
            settings.aws_allow if aws_allow is None else aws_allow,
        )
    offload = offload or _bucket(settings)
    operations_max = operations_max or settings.operations_max or OPERATIONS_MAX
    write = driver.json_lines(tools.clock_ms)
    clients = [client] if client is not None else []

    def handle(event: Mapping[str, Any], context: object) -> Object:
        if not clients:
            clients.append(_client())
        return driver.run_invocation(
            event,
            plan=runnable,
            service=clients[0],
            worker=tools.worker(str(event.get("DurableExecutionArn", "")), request_id=_request_id(context)),
            env=os.environ,
            check_schema=check_schema,
            clock_ms=tools.clock_ms,
            log=_log_of(context, write),
            child=partial(_child, str(event.get("DurableExecutionArn", "")), runnable),
            operations_max=operations_max,
            offload=offload,
        )

    return handle


def handler(event: Mapping[str, Any], context: object) -> Object:
    """Handle an event with the plan that the function's environment names: set this as the function's handler.

    Raises:
        UsageError: as :func:`lambda_handler`.
    """
    return _from_environment()(event, context)


def _child(arn: str, runnable: Plan | Mapping[str, Plan], workflow: str) -> tuple[str, bool]:
    """Return the function that runs a child workflow, and whether it has to be told which (rule 52).

    One that this function holds runs in this function, at the version that executes; for another one there has to be a
    function of its name.
    """
    own = arn.partition("/durable-execution/")[0]
    if isinstance(runnable, Plan):
        return (own, False) if runnable.name == workflow else (workflow, False)
    return (own, True) if workflow in runnable else (workflow, False)


@cache
def _from_environment() -> Handler:
    # Lambda keeps a process for many invocations: the plan is read by the first.
    _write_json_lines()
    file = os.environ.get(PLAN_VARIABLE) or "plan.json"
    return lambda_handler(
        _package() / file,
        workflow=os.environ.get(WORKFLOW_VARIABLE) or None,
        http_allow=_listed(HTTP_ALLOW_VARIABLE),
        aws_allow=_listed(AWS_ALLOW_VARIABLE),
    )


def _listed(variable: str) -> list[str] | None:
    text = os.environ.get(variable)
    return None if text is None else [entry.strip() for entry in text.split(",") if entry.strip()]


def _tools(root: Path, http_allow: Sequence[str], aws_allow: Sequence[str] | None) -> Tools:
    # Neither botocore nor urllib3 is loaded before a state needs it.
    clients = Clients()
    # A state names its action in the workflow, so without a list those are the allowed ones (rule 42).
    allowed = AllowList(patterns=("*:*",) if aws_allow is None else tuple(aws_allow))
    return Tools(
        steps=PythonWorker([root]),
        http=HttpClient(allow=http_allow).perform,
        aws=Actions(allowed=allowed, clients=clients).perform,
        secret=lambda _name, reference: fetch_secret(reference, clients),
    )


def _package() -> Path:
    return Path(os.environ.get("LAMBDA_TASK_ROOT") or ".")


def _bucket(settings: plan.Settings) -> driver.Offload | None:
    """Return where the project file has large results kept; what that takes is loaded by the first of them."""
    if settings.offload_s3 is None or settings.offload_bytes is None:
        return None
    bucket, _, prefix = settings.offload_s3.partition("/")

    @cache
    def store() -> OffloadStore:
        boto3: Any = import_module("boto3")
        kept: Any = import_module("durableflow.offload")
        made: OffloadStore = kept.S3Store(bucket, prefix, boto3.client("s3", config=_client_config()))
        return made

    return driver.Offload(
        threshold_bytes=settings.offload_bytes,
        put=lambda text: store().put(text),
        get=lambda pointer: store().get(pointer),
    )


def _loaded(plans: Plan | Mapping[str, Plan] | Path | str) -> tuple[Mapping[str, Plan], plan.Settings]:
    if isinstance(plans, Plan):
        return {plans.name: plans}, plan.NO_SETTINGS
    if isinstance(plans, Mapping):
        return plans, plan.NO_SETTINGS
    try:
        data = values.from_text(Path(plans).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            diagnostic(
                "DF512",
                f"the plan '{shown(str(plans))}' cannot be read: {shown(str(error))}",
                hint=f"make it with `durableflow compile WORKFLOW`, or name it in {PLAN_VARIABLE}",
            )
        ) from error
    return plan.from_bundle(data), plan.settings_of(data)


def _chosen(plans: Mapping[str, Plan], workflow: str | None) -> Plan | Mapping[str, Plan]:
    if workflow is None:
        return next(iter(plans.values())) if len(plans) == 1 else plans
    if workflow not in plans:
        raise UsageError(
            diagnostic(
                "DF513",
                f"the plan holds no workflow '{shown(workflow)}'",
                hint=f"it holds {shown(', '.join(sorted(plans)) or 'none')}; name one of them in {WORKFLOW_VARIABLE}",
            )
        )
    return plans[workflow]


def _client() -> driver.Service:
    # Imported here, since it takes a third of a second that an injected client saves.
    boto3: Any = import_module("boto3")
    # Retries repeat the ClientToken of the call, so a reply that was lost is answered again and nothing is recorded
    # twice (protocol.md 14.6).
    client: driver.Service = boto3.client("lambda", config=_client_config())
    if not hasattr(client, "checkpoint_durable_execution"):
        raise UsageError(
            diagnostic(
                "DF514",
                f"boto3 {boto3.__version__} knows no durable functions",
                hint="put boto3 1.42.1 or newer into the function's package",
            )
        )
    return client


def _client_config() -> Any:
    botocore_config: Any = import_module("botocore.config")
    return botocore_config.Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        tcp_keepalive=True,
        user_agent_extra="durableflow",
    )


def _request_id(context: object) -> str | None:
    return cast("str | None", getattr(context, "aws_request_id", None))


def _log_of(context: object, write: driver.Log) -> driver.Log:
    request = _request_id(context)

    def log(level: int, happened: str, facts: Object) -> None:
        write(level, happened, {"requestId": request, **facts})

    return log


def _write_json_lines() -> None:
    # Lambda's own handler puts text before each line; a JSON object alone is what CloudWatch can query. Whoever has
    # given the logger a handler of his own keeps it.
    logger = logging.getLogger("durableflow")
    if not logger.handlers:
        output = logging.StreamHandler(sys.stderr)
        output.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(output)
        logger.setLevel(os.environ.get(LOG_LEVEL_VARIABLE, "INFO").upper())
        logger.propagate = False
