"""Ctrl-C: whenever it comes, the command ends in time, and what it ran can be gone on with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, running, shell

from durableflow.cli import console, interrupts
from durableflow.cli.interrupts import Interrupt, interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["running", "shell"]

STEPS = 40
BUSY = f"""\
durableflow: "1"
name: busy
states:
  - name: on_and_on
    type: loop
    max_iterations: {STEPS}
    states:
      - {{name: add, type: step, handler: "counting:add", retry: []}}
      - {{name: ask, type: invoke, function: answer, payload: {{}}, retry: []}}
  - {{name: nap, type: wait, duration: 1h}}
output: "{{{{ states.add.result }}}}"
"""
COUNTING = """\
from pathlib import Path

def add(payload):
    with (Path(__file__).parent / "calls").open("a") as file:
        file.write("x")
    return "added"
"""


@pytest.fixture
def _busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts
    (tmp_path / "durableflow.yaml").write_text(
        'durableflow: "1"\nworkflows: [.]\nhandlers: [.]\nfunctions: {answer: {result: 1}}\n'
    )
    (tmp_path / "busy.yaml").write_text(BUSY)
    (tmp_path / "counting.py").write_text(COUNTING)


@pytest.mark.usefixtures("_busy")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_whenever_ctrl_c_comes_a_run_ends_in_time_and_can_be_gone_on_with(
    shell: Shell, running: Callable[..., Any], seed: int
) -> None:
    moments = random.Random(seed)
    rounds = 4 if seed == 1 else 20
    begun = running("busy.yaml")
    begun.until("execution ")
    name: str | None = None
    for number in range(rounds):
        one = begun if number == 0 else running("busy.yaml", "--name", str(name))
        if number:
            one.until("add  step")
        time.sleep(moments.uniform(0, 0.6))
        one.process.send_signal(signal.SIGINT)
        pressed = time.monotonic()
        code, out, err = one.ended()
        assert (code, out) == (console.INTERRUPTED, ""), err
        assert time.monotonic() - pressed < interrupts.LEAVE_SECONDS, "it was not asked to end, it vanished"
        last = err.splitlines()[-1]
        if number == 0:
            name = last.rpartition("--name ")[2]
            # It may not have begun yet.
            assert name if "--name" in last else last == "interrupted", err
            name = name if "--name" in last else "busy-first"
        else:
            assert last == f"interrupted; go on with: durableflow run busy.yaml --name {name}"

    ran = shell("run", "busy.yaml", "--name", str(name), "--skip-time")

    assert (ran.code, ran.out) == (0, '"added"\n'), ran.err
    # What was cut off runs again, once for each time, and nothing else does.
    assert STEPS <= len(Path("calls").read_text()) <= STEPS + rounds


def ended(work: Callable[[Interrupt], object]) -> int:
    with pytest.raises(console.Ended) as left:
        interruptible(work, farewell="left")
    return left.value.code


def test_work_is_left_at_its_next_check_and_may_tidy_up() -> None:
    done: list[str] = []

    def work(interrupt: Interrupt) -> None:
        asked = threading.Event()
        interrupt.calls(asked.set)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            assert asked.wait(10)
            interrupt.check()
            done.append("went on")
        finally:
            done.append("tidied up")

    before = signal.getsignal(signal.SIGINT)
    assert ended(work) == console.INTERRUPTED
    assert done == ["tidied up"]
    assert signal.getsignal(signal.SIGINT) is before


def test_work_that_asks_late_is_told_at_once() -> None:
    def work(interrupt: Interrupt) -> None:
        interrupt.ask()
        asked: list[int] = []
        interrupt.calls(lambda: asked.append(1))
        assert asked == [1]
        interrupt.check()

    assert ended(work) == console.INTERRUPTED


def test_work_that_ends_all_the_same_has_ended() -> None:
    def work(_: Interrupt) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 7

    assert interruptible(work, farewell="left") == 7


def test_what_work_raises_is_raised() -> None:
    def work(interrupt: Interrupt) -> None:
        interrupt.check()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        interruptible(work, farewell="left")


def test_in_another_thread_than_the_main_one_work_is_just_done() -> None:
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.append(interruptible(lambda _: threading.current_thread(), farewell=""))
    )
    thread.start()
    thread.join()
    assert found == [thread]


STUBBORN = """\
import sys, threading
from durableflow.cli import interrupts

interrupts.LEAVE_SECONDS = float(sys.argv[1])

def work(interrupt):
    print("working", flush=True)
    interrupt.calls(lambda: print("asked", flush=True))
    threading.Event().wait()

interrupts.interruptible(work, farewell="left it")
"""


@pytest.mark.parametrize("seconds", [0.1, 60.0])
def test_work_that_does_not_end_is_left_when_its_time_is_over_or_ctrl_c_comes_again(seconds: float) -> None:
    command = [sys.executable, "-c", STUBBORN, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        if seconds > 1:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (console.INTERRUPTED, "left it\n")
