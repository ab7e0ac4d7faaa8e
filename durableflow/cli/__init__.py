"""How do I reach it from a shell? The `durableflow` command.

Each family of commands is a module of this package, imported when it is asked for, so that `durableflow --help` and
shell completion stay quick. This module holds what all share: the table of commands and what an error becomes.

Exit codes: 0 done; 1 the workflow has problems or failed; 2 wrong usage; 3 the environment; 130 interrupted.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

import click

from durableflow.cli import console
from durableflow.errors import DurableflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "validate": ("validate", "Report every problem of workflow and project files."),
    "run": ("run", "Run a workflow here, durably."),
    "invoke": ("invoke", "Call a workflow or function by its name, here or elsewhere."),
    "serve": ("serve", "Serve Lambda's durable API on this machine, for any AWS client."),
    "replay": ("replay", "Replay a recorded execution against a workflow file."),
    "executions": ("executions", "Look at, pause, stop and delete executions, here or elsewhere."),
    "doctor": ("doctor", "Tell what is wrong with a store of executions."),
    "callback": ("callback", "Answer the callbacks that executions wait for."),
    "logs": ("logs", "Show what the functions of an execution wrote."),
    "graph": ("project", "Draw a workflow as Mermaid or Graphviz text."),
    "compile": ("project", "Compile workflows into the plan.json that Lambda runs."),
    "schema": ("project", "Print the JSON Schema of workflow or project files."),
    "completion": ("completion", "Print the script that lets a shell complete commands and names."),
    "init": ("project", "Make a new project that runs and tests at once."),
}
"""Each command, the module that defines it under its own name, and its line in the help."""


class LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return a command, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
        return cast("click.Command", getattr(module, f"{cmd_name}_command"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the commands' lines from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is a usage error that names the near ones."""
        # A shell that completes asks as well, and is to hear nothing about what is misspelt.
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command '{console.shown(args[0])}' ({hint})", ctx)
        return super().resolve_command(ctx, args)


def _version(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        console.emit(f"durableflow {console.version()}")
        raise console.Ended(console.DONE)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.option("--debug", is_flag=True, help="Show a traceback when durableflow itself goes wrong.")
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """Declarative workflows with the semantics of AWS Lambda durable functions."""
    cast("console.Shell", ctx.obj).debug = debug
    # https://no-color.org; click itself only asks whether this is a terminal.
    ctx.color = False if os.environ.get("NO_COLOR") else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: without the program's name; None for those of the process.

    Raises:
        SystemExit: always, with one of the exit codes above.
    """
    _fill_descriptors()
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale: a character that the terminal cannot show is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments), console.Shell()))


def _fill_descriptors() -> None:
    # A program may be started with a standard stream closed. The next file it opens, which here can be the store, would
    # get that number, and whatever is written to "standard error" would end up in it.
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != descriptor:
                os.dup2(nothing, descriptor)
                os.close(nothing)
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))


def _run(arguments: list[str], shell: console.Shell) -> int:
    try:
        code = cli.main(arguments, prog_name="durableflow", standalone_mode=False, obj=shell)
    except console.Ended as ended:
        code = ended.code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge: whatever it is, people get words
        code = _told(error, shell)
    return code if isinstance(code, int) else console.DONE


def _told(error: BaseException, shell: console.Shell) -> int:
    """Say what went wrong and return the exit code."""
    match error:
        case KeyboardInterrupt() | click.Abort():
            console.tell("interrupted")
            return console.INTERRUPTED
        case click.ClickException():
            console.tell(f"{_usage(error)}error: {console.visible(error.format_message())}")
            return console.USAGE
        case DurableflowError():
            console.tell_problem(error)
            return console.exit_code(error)
        case OSError():
            console.tell(f"error: {console.describe(error)}")
        case _:
            # A bug of ours; still one line, because a traceback helps nobody who did not write this.
            console.tell(f"error: durableflow itself went wrong: {console.describe(error)}")
            console.tell("hint: `durableflow --debug …` shows where; please report it")
    if shell.debug:
        traceback.print_exception(error)
    return console.ENVIRONMENT


def _usage(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    if not isinstance(error, click.UsageError) or ctx is None:
        return ""
    return f"{ctx.get_usage()}\n`{ctx.command_path} --help` says more.\n\n"
