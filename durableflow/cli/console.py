"""What do all commands share? Where output goes, what an error is worth as an exit code.

Data goes to standard output, talk to standard error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from durableflow.errors import Diagnostic, DurableflowError, ReplayError, ServiceError, UsageError, WorkflowError
from durableflow.report import pretty
from durableflow.source import shown, visible

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

DONE: Final = 0
PROBLEMS: Final = 1
USAGE: Final = 2
ENVIRONMENT: Final = 3
INTERRUPTED: Final = 130

__all__ = [
    "DONE",
    "ENVIRONMENT",
    "INTERRUPTED",
    "PROBLEMS",
    "USAGE",
    "Ended",
    "Shell",
    "describe",
    "emit",
    "exit_code",
    "shown",
    "tell",
    "tell_problem",
    "usage",
    "version",
    "visible",
    "write_whole",
]


@dataclass(slots=True)
class Shell:
    """What the options before the command said."""

    debug: bool = False


class Ended(Exception):  # noqa: N818 - no error: the command is over and has said what there is to say
    """The command is over, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def emit(text: str) -> None:
    """Write data to standard output.

    Raises:
        Ended: the reader has gone or the disk is full; nothing that follows could be read either.
    """
    try:
        click.echo(text)
    except OSError as error:
        # What is still buffered must not raise again when the interpreter closes the stream.
        with contextlib.suppress(OSError), open(os.devnull, "w") as nothing:  # noqa: PTH123 - needs no Path
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            tell(f"error: the output could not be written: {describe(error)}")
        raise Ended(PROBLEMS) from error


def tell(text: str) -> None:
    """Write talk to standard error; that nobody listens is no reason to stop."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def tell_problem(error: DurableflowError) -> None:
    """Write the block of an error to standard error; of a WorkflowError, those of its first problems."""
    problems = error.problems if isinstance(error, WorkflowError) else (error.problem,)
    shown_problems = [problem for problem in problems if problem.severity == "error"][:_PROBLEMS_SHOWN]
    tell("\n\n".join(pretty(problem) for problem in shown_problems or problems))
    if len(problems) > _PROBLEMS_SHOWN:
        tell(f"\n{len(problems)} findings in all; `durableflow validate --limit 0` shows them")


def counted(number: int, nouns: str) -> str:
    """Return `1 operation`, `2 operations`."""
    return f"{number:,} {nouns.removesuffix('s') if number == 1 else nouns}"


def usage(code: str, message: str, hint: str | None = None) -> NoReturn:
    """Refuse the call.

    Raises:
        UsageError: always.
    """
    raise UsageError(Diagnostic(code=code, message=message, hint=hint))


def exit_code(error: DurableflowError) -> int:
    """Return what an error is worth: by what would have to change for it to go away."""
    match error:
        case WorkflowError() | ReplayError():
            return PROBLEMS
        case ServiceError():
            # The service refuses a request that names something it has not, or has already; or it cannot answer.
            return ENVIRONMENT if error.is_retryable or error.status >= _SERVER_ERROR else USAGE
        case _:
            return ENVIRONMENT if error.code in _ENVIRONMENT_CODES or error.code[:4] in _ENVIRONMENT_RANGES else USAGE


_PROBLEMS_SHOWN: Final = 20
_SERVER_ERROR: Final = 500
# The store, its owner, the machine's files and processes, and whoever answers elsewhere.
_ENVIRONMENT_RANGES: Final = frozenset({"DF73", "DF74", "DF76"})
_ENVIRONMENT_CODES: Final = frozenset({"DF704", "DF771", "DF782", "DF783", "DF784", "DF785", "DF786", "DF793"})


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all: whoever reads it sees the old or the new text.

    Raises:
        UsageError: it cannot be written.
    """
    made = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        made.write_text(text, encoding="utf-8")
        made.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.unlink()
        usage("DF793", f"'{shown(str(path))}' cannot be written: {error.strerror}")


def version() -> str:
    """Return the version that is installed; a bare checkout has none."""
    from importlib import metadata  # noqa: PLC0415 - costs 20 ms, and hardly any command needs it

    try:
        return metadata.version("durableflow")
    except metadata.PackageNotFoundError:
        return "0+checkout"


def describe(error: BaseException) -> str:
    """Return an exception in one line, escaped."""
    if isinstance(error, OSError) and error.strerror:
        place = f": '{shown(str(error.filename))}'" if error.filename else ""
        return f"{error.strerror}{place}"
    first = str(error).split("\n", 1)[0]
    return f"{type(error).__name__}: {shown(first)}" if first else type(error).__name__
