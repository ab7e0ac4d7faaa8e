"""The command line, called in this process or in one of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from durableflow.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands. Arguments are given one by one, as the process gets them."""

    def __init__(self, read: Callable[[], tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
        self._read = read
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Ran:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self._read()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Shell(lambda: tuple(capfd.readouterr()), monkeypatch)


class Running:
    """A `run` in a process of its own; its standard error is read line by line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "durableflow", "run", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def until(self, text: str) -> None:
        assert self.process.stderr
        read: list[str] = []
        for line in self.process.stderr:
            read.append(line)
            if text in line:
                return
        raise AssertionError("".join(read))

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def running() -> Iterator[Any]:
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
