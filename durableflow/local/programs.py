"""How is a program of the project run? Event on standard input, result on standard output, complaints line by line.

Nothing it does is unbounded: not its time, not its output, not what it leaves behind. It leads a session of its own,
which is ended with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

OUTPUT_MAX_BYTES: Final = 6 * 1024 * 1024
LINE_BYTES: Final = 256 * 1024
"""What is longer becomes several lines; so it was in CloudWatch."""
TAIL_CHARACTERS: Final = 2_000
"""How much of the end of standard error becomes the message of a failure."""
_LEFT_OVER_SECONDS: Final = 1.0


class ProgramError(Exception):
    """A program did not give a result; the message says why."""


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, with everything in it that has not left it; it need not run any more."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def ending(code: int) -> str:
    """Return an exit code as people read it: `exit status 3`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


class Program:
    """One run of a program; :meth:`result` is called once, :meth:`kill` may be called from any thread.

    Args:
        arguments: the program, looked for along PATH, and its arguments.
        folder: its working directory.
        environ: its environment.
        on_line: called with each line of its standard error.

    Raises:
        ProgramError: it cannot be started.
    """

    def __init__(
        self, arguments: Sequence[str], *, folder: Path, environ: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program that the project file names
                arguments,
                cwd=folder,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"'{arguments[0]}' cannot be started: {error.strerror}") from error
        self._on_line = on_line
        self._output = bytearray()
        self._complaint = ""

    def result(self, event: bytes, *, seconds: float) -> str:
        """Hand the event over and return what the program writes to standard output, without space around it.

        Raises:
            TimeoutError: it took longer than `seconds`; it has been ended.
            ProgramError: a non-zero exit (with the end of standard error), output too large or not UTF-8.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        threads = [
            threading.Thread(target=work, args=arguments, daemon=True)
            for work, arguments in (
                (_feed, (process.stdin, event)),
                (self._collect, (process.stdout,)),
                (self._listen, (process.stderr,)),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        finally:
            self.kill()
            code = process.wait()
            for thread in threads:
                thread.join(_LEFT_OVER_SECONDS)
        return self._judged(code)

    def kill(self) -> None:
        """End the program and what it has started."""
        kill_session(self._process)

    def _judged(self, code: int) -> str:
        if len(self._output) > OUTPUT_MAX_BYTES:
            raise ProgramError(f"wrote more than {OUTPUT_MAX_BYTES} bytes to standard output")
        if code:
            raise ProgramError(self._complaint.rstrip()[-TAIL_CHARACTERS:] or f"ended with {ending(code)}")
        try:
            return self._output.decode().strip()
        except UnicodeDecodeError as error:
            raise ProgramError(f"wrote what is not UTF-8 to standard output, at byte {error.start}") from error

    def _collect(self, stream: IO[bytes]) -> None:
        with stream:
            while more := stream.read(65_536):
                self._output += more
                if len(self._output) > OUTPUT_MAX_BYTES:
                    self.kill()
                    return

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(LINE_BYTES):
                text = line.decode("utf-8", "backslashreplace")
                self._complaint = (self._complaint + text)[-2 * TAIL_CHARACTERS :]
                self._on_line(text.rstrip("\r\n"))


def _feed(stream: IO[bytes], event: bytes) -> None:
    # A program need not read its event.
    with suppress(BrokenPipeError, ConnectionResetError), stream:
        stream.write(event)
