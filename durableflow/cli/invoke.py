"""The `invoke` command: call a function by its name, here, at a service or on AWS."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from durableflow import values
from durableflow.cli import console, loading, places, stores
from durableflow.cli.completion import complete_functions
from durableflow.cli.given import json_text
from durableflow.cli.interrupts import Left, interruptible
from durableflow.cli.progress import progress
from durableflow.cli.run import Asking, again, failure, new_name
from durableflow.errors import Diagnostic, ServiceError, diagnostic
from durableflow.local.engine import Engine
from durableflow.report import pretty
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durableflow.cli.interrupts import Interrupt
    from durableflow.cli.loading import Loaded
    from durableflow.cli.places import Where
    from durableflow.cli.progress import Progress
    from durableflow.project import ProjectContext

_TYPES: Final = {"sync": "RequestResponse", "event": "Event", "dry-run": "DryRun"}


@click.command("invoke")
@click.argument("function", shell_complete=complete_functions)
@click.option(
    "--input", "given", metavar="JSON", help="The input: JSON, @FILE, or - for standard input; {} without it."
)
@click.option("--name", metavar="NAME", help="The execution's name; the same name and input give the same execution.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(list(_TYPES)),
    default="sync",
    show_default=True,
    help="sync waits for the result, event only starts it, dry-run only looks whether it could be.",
)
@click.option("--qualifier", metavar="VERSION", help="A version or alias of the function.")
@click.option("--tenant", metavar="ID", help="The tenant that the function is called for.")
@places.where_options
@stores.json_option
def invoke_command(  # noqa: PLR0913 - the options of the command
    function: str,
    given: str | None,
    name: str | None,
    kind: str,
    qualifier: str | None,
    tenant: str | None,
    *,
    where: Where,
    as_json: bool,
) -> int:
    """Call FUNCTION, a workflow or any other function, by its name, and print its result.

    Here that is a workflow or a function of the project. On AWS a durable function needs a version or alias, which may
    stand behind a colon: FUNCTION:1.
    """
    members = {
        "FunctionName": function,
        "Qualifier": qualifier,
        "InvocationType": _TYPES[kind],
        "DurableExecutionName": name,
        "TenantId": tenant,
        "Payload": json_text("{}" if given is None else given),
    }
    where.show_aws("invoke", **members)
    return _show(_there(where, members) if where.is_remote else _here(where, members), as_json=as_json)


def _there(where: Where, members: Mapping[str, Any]) -> dict[str, Any]:
    with places.opened(where) as place:
        try:
            return place.ask("invoke", **{**members, "Payload": members["Payload"].encode()})
        except ServiceError as error:
            is_bare = members["Qualifier"] is None and ":" not in members["FunctionName"]
            if error.problem.hint is None and is_bare and error.name == "InvalidParameterValueException":
                hint = (
                    "a durable function is called by a version or alias, such as --qualifier 1 or --qualifier '$LATEST'"
                )
                problem = Diagnostic(code=error.code, message=error.problem.message, hint=hint)
                raise ServiceError(
                    problem, name=error.name, status=error.status, is_retryable=error.is_retryable
                ) from error
            raise
        except KeyboardInterrupt:
            console.tell("interrupted; what was started goes on there")
            raise console.Ended(console.INTERRUPTED) from None


def _here(where: Where, members: dict[str, Any]) -> dict[str, Any]:
    context = loading.project_of(Path.cwd(), where.project)
    file = where.store or stores.usual_place(where.project)
    loaded = _loaded(context, members["FunctionName"])
    drawn = progress()
    asking = Asking(place=file, answers={}, is_skipping=False, note=drawn.note)

    def work(interrupt: Interrupt) -> dict[str, Any]:
        with Engine(store=file, project=context, env=loading.environment(context, ()), log=drawn.log) as engine:
            interrupt.calls(engine.leave)
            interrupt.check()
            if loaded is not None:
                engine.register(loaded.plan, loaded.folder)
            found = _function(engine, context, members)
            if "DurableConfig" not in found or members["InvocationType"] == "DryRun":
                return engine.ask("invoke", **_told(members))  # type: ignore[no-any-return]
            if members["DurableExecutionName"] is None:
                members["DurableExecutionName"] = new_name(found["FunctionName"])
            if members["InvocationType"] == "Event":
                reply: dict[str, Any] = engine.ask("invoke", **_told(members))
                if engine.is_owner:
                    console.tell(f"nothing runs the execution now; go on with: {_going_on(members)}")
                return reply
            console.tell(f"execution {members['DurableExecutionName']}")
            return _followed(engine, members, loaded, drawn, asking, interrupt)

    return interruptible(work, farewell="\ninterrupted; the same --name and --input go on")


def _told(members: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in members.items() if value is not None}


def _going_on(members: Mapping[str, Any]) -> str:
    return again(members["DurableExecutionName"]).replace(" --type event", "")


def _loaded(context: ProjectContext | None, function: str) -> Loaded | None:
    """Return the workflow of the project that a name stands for; None when it is another function, or not known."""
    name = function.partition(":")[0]
    path = context.workflows.get(name) if context else None
    return loading.load(path, project=context.path) if context and path else None


def _function(engine: Engine, context: ProjectContext | None, members: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is known of the function that is to be called.

    Raises:
        ServiceError: DF721, there is none; with those that there are.
    """
    name, qualifier = members["FunctionName"], members["Qualifier"]
    try:
        found: Mapping[str, Any] = engine.ask(
            "get_function_configuration", **_told({"FunctionName": name, "Qualifier": qualifier})
        )
    except ServiceError as error:
        if error.code != "DF721":
            raise
        known = {each["FunctionName"] for each in engine.ask("list_functions")["Functions"]}
        known |= set(context.workflows) if context else set()
        hint = f"known here: {', '.join(sorted(known))}" if known else "no project file is here; --project names one"
        problem = diagnostic("DF721", error.problem.message, hint=hint)
        raise ServiceError(problem, name=error.name, status=error.status, is_retryable=False) from error
    return found


def _followed(
    engine: Engine,
    members: Mapping[str, Any],
    loaded: Loaded | None,
    drawn: Progress,
    asking: Asking,
    interrupt: Interrupt,
) -> dict[str, Any]:
    """Start an execution and show what happens until it ends; return what a synchronous Invoke would."""
    reply: dict[str, Any] = engine.ask("invoke", **_told({**members, "InvocationType": "Event"}))
    arn = reply["DurableExecutionArn"]
    try:
        with drawn:
            for event in engine.follow(arn, idle=partial(asking.look, engine, arn)):
                drawn.take(event)
                asking.take(event)
        found = engine.describe(arn)
        if found["Status"] not in _ENDED:
            interrupt.check()  # nothing else ends the events before the execution
    except Left:
        console.tell("\n".join(["\ninterrupted; go on with: " + _going_on(members), *asking.left(engine)]))
        raise
    reply |= {"StatusCode": 200, "Payload": (found.get("Result") or "null").encode()}
    if found["Status"] != "SUCCEEDED":
        error: Mapping[str, Any] = found.get("Error") or {}
        reply |= {"FunctionError": "Unhandled", "Problem": failure(engine, loaded, found)[0]}
        reply["Payload"] = json.dumps({f"{key[0].lower()}{key[1:]}": value for key, value in error.items()}).encode()
    return reply


_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"})


def _show(answered: Mapping[str, Any], *, as_json: bool) -> int:
    payload: bytes | str = answered.get("Payload") or b""
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    has_failed = "FunctionError" in answered
    arn = answered.get("DurableExecutionArn")
    if as_json:
        value = _value(text)
        facts = {
            "statusCode": answered["StatusCode"],
            "executedVersion": answered.get("ExecutedVersion"),
            "executionArn": arn,
            "functionError": answered.get("FunctionError"),
            "output": None if has_failed else value,
            "error": value if has_failed else None,
        }
        console.emit(json.dumps(facts, indent=2, ensure_ascii=False))
    elif answered["StatusCode"] == _ACCEPTED:
        # What a script needs of an execution that it has only started.
        console.emit(arn) if arn else console.tell("it is called")
    elif answered["StatusCode"] == _DRY:
        console.tell("it can be called")
    elif not has_failed:
        console.emit(json.dumps(_value(text), indent=2, ensure_ascii=False))
    if has_failed:
        console.tell(pretty(answered.get("Problem") or _problem(text)))
    return console.PROBLEMS if has_failed else console.DONE


_ACCEPTED: Final = 202
_DRY: Final = 204


def _value(text: str) -> Any:
    with suppress(values.ValueRefusedError):
        return values.from_text(text) if text else None
    return text


def _problem(text: str) -> Diagnostic:
    error = _value(text)
    told = cast("Mapping[str, Any]", error) if isinstance(error, dict) else {"errorMessage": text}
    facts = ": ".join(shown(str(told[member])) for member in ("errorType", "errorMessage") if told.get(member))
    return diagnostic("DF502", f"the function failed{': ' if facts else ''}{facts}")
