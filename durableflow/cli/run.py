"""The `run` command: a workflow on this machine, durably."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from durableflow import values
from durableflow.cli import console, loading, stores
from durableflow.cli.callback import command
from durableflow.cli.given import json_text
from durableflow.cli.interrupts import Left, interruptible
from durableflow.cli.progress import elapsed, progress
from durableflow.decision import Failed
from durableflow.errors import Diagnostic, ServiceError, diagnostic
from durableflow.interpreter import Run
from durableflow.local.engine import Engine
from durableflow.local.jobs import OPERATIONS_MAX
from durableflow.offload import DirectoryStore, inflated
from durableflow.operations import STEP_RESULT_MAX_BYTES, fault_from_error
from durableflow.recording import record, to_text
from durableflow.report import pretty
from durableflow.source import shown
from durableflow.work import check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from durableflow.cli.interrupts import Interrupt
    from durableflow.cli.loading import Loaded
    from durableflow.cli.progress import Progress
    from durableflow.values import Json, Object

_LEFT_MAX: Final = 5
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An execution that is over.

    Args:
        found: as `get_durable_execution` shows it.
        meter: what it took, see `Service.meter`.
        problem: why it failed, at its place in the workflow's file; None when it did not.
        state: the name of the state that raised the error, or None.
    """

    found: Mapping[str, Any]
    meter: Mapping[str, int]
    problem: Diagnostic | None
    state: str | None


@click.command("run")
@click.argument("workflow", type=click.Path(path_type=Path))
@click.option(
    "--input", "given", metavar="JSON", help="The input: JSON, @FILE, or - for standard input; {} without it."
)
@click.option("--name", metavar="NAME", help="The execution's name; the same name again resumes or re-attaches.")
@click.option("--skip-time", is_flag=True, help="Jump over waits and retry delays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--store", metavar="PATH", type=click.Path(path_type=Path), help="The file of executions.")
@click.option("--ephemeral", is_flag=True, help="Keep everything in memory.")
@click.option("--record", "recording", metavar="FILE", type=click.Path(path_type=Path), help="Write a recording.")
@click.option(
    "--durability", type=click.Choice(["normal", "full"]), default="normal", help="full: survives power loss."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Most worker processes.")
@click.option(
    "--callback",
    "answered",
    metavar="STATE=JSON",
    multiple=True,
    help="The answer to a callback of this state, JSON or @FILE, or nothing for none; may be repeated: in order, the "
    "last one repeats.",
)
@click.option("--project", type=click.Path(path_type=Path), help="The project file, or its folder.")
@click.option("--env", "env", metavar="NAME=VALUE", multiple=True, help="A value of the environment; may be repeated.")
@click.option("--allow-aws", is_flag=True, help="Let aws states and functions that are real call AWS.")
def run_command(  # noqa: PLR0913, PLR0917 - the options of the command
    workflow: Path,
    given: str | None,
    name: str | None,
    store: Path | None,
    recording: Path | None,
    durability: str,
    workers: int | None,
    answered: Sequence[str],
    project: Path | None,
    env: Sequence[str],
    *,
    skip_time: bool,
    as_json: bool,
    ephemeral: bool,
    allow_aws: bool,
) -> int:
    """Run WORKFLOW here, and print its result.

    Everything that happens is stored before the next thing begins. Ctrl-C or a kill ends the process and not the
    execution: the same --name goes on with it.
    """
    if ephemeral and store is not None:
        console.usage("DF797", "--ephemeral and --store exclude each other")
    if name is not None and not _NAME.fullmatch(name):
        console.usage("DF795", f"'{shown(name)}' is no name", "use 1 to 64 letters, digits, '-' and '_'")
    if str(workflow) == "-" and given == "-":
        console.usage("DF797", "standard input cannot be both the workflow and its input")
    text = None if given is None else json_text(given)
    answers = _answers(answered)
    if recording is not None and not recording.absolute().parent.is_dir():
        console.usage("DF793", f"'{shown(str(recording))}' cannot be written: its folder does not exist")
    loaded = loading.load(workflow, project=project, env=env)
    place = None if ephemeral else store or default_store(loaded)
    if name is None:
        # In memory nothing else can have the name, and what is recorded is the same each time.
        name = loaded.plan.name if place is None else new_name(loaded.plan.name)
        if place is not None:
            console.tell(f"execution {name}")
    drawn = progress()
    asking = Asking(place=place, answers=answers, is_skipping=skip_time, note=drawn.note)
    kept = "nothing of it is kept" if place is None else f"go on with: {again(name)}"
    farewell = f"\ninterrupted; {kept}"

    def work(interrupt: Interrupt) -> Ended:
        with Engine(
            store=place,
            project=loaded.context,
            env=loaded.env,
            skip_time=skip_time,
            allow_aws=allow_aws,
            durability="full" if durability == "full" else "normal",
            workers=workers,
            log=drawn.log,
            expected={(loaded.plan.name, name): answers} if answers else None,
        ) as engine:
            interrupt.calls(engine.leave)
            try:
                interrupt.check()
                engine.register(loaded.plan, loaded.folder)
                ended = _run(engine, loaded, name, text, drawn, asking, interrupt)
            except Left:
                console.tell("\n".join([farewell, *asking.left(engine)]))
                raise
            if recording is not None:
                _record(recording, engine, loaded, ended)
        return ended

    return _show(interruptible(work, farewell=farewell), loaded, as_json=as_json)


def _record(recording: Path, engine: Engine, loaded: Loaded, ended: Ended) -> None:
    operations = _operations(engine, loaded, ended.found["DurableExecutionArn"])
    content = record(
        loaded.plan,
        operations,
        env=loaded.env,
        check_schema=check_schema,
        secrets=loading.secrets(loaded.context),
    )
    console.write_whole(recording, to_text(content))


def _answers(given: Sequence[str]) -> dict[str, list[str | None]]:
    """Return the answers of `--callback` by state, each in its order (rule 60); None for no answer.

    Raises:
        UsageError: DF781, one is not STATE=JSON; or it is no JSON or cannot be read.
    """
    answers: dict[str, list[str | None]] = {}
    for text in given:
        name, equals, answer = text.partition("=")
        if not name or not equals:
            hint = """write --callback 'approve={"approved": true}', or --callback approve=@answer.json"""
            console.usage("DF781", f"--callback '{shown(text)}' is not STATE=JSON", hint)
        told = None
        if answer:
            told = json_text(answer, noun="answer", option="--callback", max_bytes=STEP_RESULT_MAX_BYTES)
        answers.setdefault(name, []).append(told)
    return answers


@dataclass(slots=True, kw_only=True)
class Asking:
    """Says which callbacks a run waits for that nobody has an answer to, and how they are answered.

    Args:
        place: the store, None in memory.
        answers: what `--callback` gives.
        is_skipping: whether what has a timeout times out at once (rule 30).
        note: called with each line.
    """

    place: Path | None
    answers: Mapping[str, Sequence[str | None]]
    is_skipping: bool
    note: Callable[[str], None]
    _arn: str = ""
    _may_ask: bool = False
    _told: set[str] = field(default_factory=set[str])

    def take(self, event: Mapping[str, Any]) -> None:
        """Note whether the execution, or one that it has started, may have opened a callback."""
        details: Mapping[str, Any] = event.get(f"{event['EventType']}Details") or {}
        self._may_ask = self._may_ask or "CallbackId" in details or "DurableExecutionArn" in details

    def look(self, engine: Engine, arn: str) -> None:
        """Say what is open now, each once."""
        self._arn = arn
        for callback in self._unanswered(engine):
            if callback["CallbackId"] not in self._told:
                self.note(f"waiting for callback '{shown(callback['Name'])}'; {self._how(callback)}")
            self._told.add(callback["CallbackId"])

    def left(self, engine: Engine) -> Iterator[str]:
        """Give lines that say what is still open when the run is interrupted."""
        found = list(self._unanswered(engine)) if self.place is not None else []
        for callback in found[:_LEFT_MAX]:
            yield f"it waits for callback '{shown(callback['Name'])}'; {self._how(callback)}"
        if len(found) > _LEFT_MAX:
            yield f"and for {len(found) - _LEFT_MAX:,} more"

    def _unanswered(self, engine: Engine) -> Iterator[Mapping[str, Any]]:
        """Give the callbacks that are open now and that neither an answer nor skipped time will close."""
        for callback in engine.callbacks(self._arn) if self._may_ask else ():
            name = callback["Name"]
            answers = self.answers.get(name) or self.answers.get(name.rpartition("/")[2]) or [None]
            is_timed = "TimeoutTimestamp" in callback or "HeartbeatTimeoutTimestamp" in callback
            if None in answers and not (self.is_skipping and is_timed):
                yield callback

    def _how(self, callback: Mapping[str, Any]) -> str:
        if self.place is None:
            state = callback["Name"].rpartition("/")[2]
            return f"its store is in memory, so only --callback {shown(state)}=JSON can answer it"
        return f"answer it with: {command(callback, stores.words(self.place))}"


def default_store(loaded: Loaded) -> Path:
    """Return the file of executions of a workflow's project, else the one beside the workflow."""
    return loaded.context.store if loaded.context else loaded.folder / stores.STORE


def new_name(workflow: str) -> str:
    """Return a name for an execution that was given none: it tells which workflow, and when."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{workflow[:40]}-{moment}-{os.urandom(3).hex()}"


def _run(
    engine: Engine,
    loaded: Loaded,
    name: str,
    text: str | None,
    drawn: Progress,
    asking: Asking,
    interrupt: Interrupt,
) -> Ended:
    known = _known(engine, loaded.plan.name, name)
    if known is not None and text is None:
        arn: str = known["DurableExecutionArn"]
    else:
        arn = engine.start(loaded.plan.name, "{}" if text is None else text, name)
    if known is not None and "EndTimestamp" in known:
        console.tell("this execution has ended before; its recorded result:")
    else:
        with drawn:
            for event in engine.follow(arn, idle=partial(asking.look, engine, arn)):
                drawn.take(event)
                asking.take(event)
    found = engine.describe(arn)
    if "EndTimestamp" not in found:
        interrupt.check()  # nothing else ends the events before the execution
    problem, state = None, None
    if found["Status"] != "SUCCEEDED":
        problem, state = failure(engine, loaded, found)
    return Ended(found=found, meter=engine.meter(arn), problem=problem, state=state)


def _known(engine: Engine, workflow: str, name: str) -> Mapping[str, Any] | None:
    """Return the workflow's execution of this name as lists show it, or None when there is none yet."""
    return next((found for found in engine.find(name) if loading.workflow_of(found) == workflow), None)


def failure(engine: Engine, loaded: Loaded | None, found: Mapping[str, Any]) -> tuple[Diagnostic, str | None]:
    """Return why an execution failed, with the place of the state that did: a replay finds it again.

    Args:
        engine: that knows the execution.
        loaded: its workflow, or None for one whose file is not known here.
        found: the execution.

    Returns:
        The problem, and the name of the state that raised it or None.
    """
    if loaded is not None and (at := _replayed(engine, loaded, found)) is not None:
        return at
    error: dict[str, str] = found.get("Error") or {}
    what = {"STOPPED": "stopped", "TIMED_OUT": "timed out"}.get(found["Status"], "failed")
    facts = ": ".join(shown(error[member]) for member in ("ErrorType", "ErrorMessage") if error.get(member))
    return diagnostic("DF502", f"the execution {what}{': ' if facts else ''}{facts}"), None


def _replayed(engine: Engine, loaded: Loaded, found: Mapping[str, Any]) -> tuple[Diagnostic, str | None] | None:
    arn: str = found["DurableExecutionArn"]
    error: dict[str, str] = found.get("Error") or {}
    # Without its large results nothing can be replayed; then the error itself says that they are lost.
    with suppress(ServiceError):
        operations = _operations(engine, loaded, arn)
        operations_max = loaded.context.project.limits.operations if loaded.context else OPERATIONS_MAX
        run = Run(
            loaded.plan,
            execution_arn=arn,
            env=loaded.env,
            check_schema=check_schema,
            operations_max=operations_max,
        )
        outcome = run.advance(operations).outcome
        if isinstance(outcome, Failed) and outcome.error.get("ErrorType") == error.get("ErrorType"):
            return loaded.located(outcome.problem), outcome.state
    return None


def _operations(engine: Engine, loaded: Loaded, arn: str) -> list[Any]:
    """Return the operations of an execution, with large results as they are and not as pointers."""
    operations = engine.operations(arn)
    folder = loaded.context.offload_folder if loaded.context else None
    return inflated(operations, DirectoryStore(folder).get) if folder is not None else operations


def again(name: str) -> str:
    """Return the command that goes on: as it was typed, with the name."""
    words = ["durableflow", *sys.argv[1:]]
    is_named = any(word == "--name" or word.startswith("--name=") for word in words)
    return shlex.join(words if is_named else [*words, "--name", name])


def _show(ended: Ended, loaded: Loaded, *, as_json: bool) -> int:
    output = _result(ended.found)
    if as_json:
        console.emit(json.dumps(_to_json(ended, loaded, output), indent=2, ensure_ascii=False))
    elif ended.problem is None:
        console.emit(json.dumps(output, indent=2, ensure_ascii=False))
    took = elapsed(ended.found["EndTimestamp"] - ended.found["StartTimestamp"])
    counted = ", ".join(console.counted(ended.meter[noun], noun) for noun in ("operations", "invocations"))
    if ended.problem is not None:
        console.tell(pretty(ended.problem))
    console.tell(f"{ended.found['Status']} after {took}: {counted}")
    return console.DONE if ended.problem is None else console.PROBLEMS


def _result(found: Mapping[str, Any]) -> Json:
    text = found.get("Result")
    return None if text is None else values.from_text(text)


def _to_json(ended: Ended, loaded: Loaded, output: Json) -> Object:
    """Return what `--json` prints (language.md 12, rules 44, 60)."""
    found = ended.found
    began, over = found["StartTimestamp"], found["EndTimestamp"]
    return {
        "name": found["DurableExecutionName"],
        "executionArn": found["DurableExecutionArn"],
        "workflow": loaded.plan.name,
        "status": found["Status"],
        "output": output,
        "error": _error(ended),
        "operations": ended.meter["operations"],
        "metered": ended.meter["metered"],
        "invocations": ended.meter["invocations"],
        "durationSeconds": round(over - began, 3),
    }


def _error(ended: Ended) -> Json:
    if ended.problem is None:
        return None
    error: dict[str, str] = ended.found.get("Error") or {}
    fault = fault_from_error(ended.found.get("Error"), default_name="", default_message="")
    span = ended.problem.span
    location: Json = None
    if span is not None:
        location = {"file": span.source.name, "line": span.start.line, "column": span.start.column}
    return {
        "name": error.get("ErrorType"),
        "message": error.get("ErrorMessage"),
        "data": fault.data,
        "state": ended.state,
        "location": location,
    }
