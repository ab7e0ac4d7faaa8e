"""A workflow's file is edited while an execution of it sleeps; the same command again goes on, or refuses.

Each execution is begun by a process of its own, which is killed while the execution waits.

Source: language.md 8 and 12, rules 47, 48.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, running, shell

if TYPE_CHECKING:
    from shell import Ran

__all__ = ["running", "shell"]

FILE = "parcel.yaml"
RUN = ("run", FILE, "--name", "n")


def work(name: str) -> str:
    return f"{{name: {name}, type: step, handler: 'parcel:work', payload: {name}, retry: []}}"


def wrapped(*states: str) -> str:
    return f"{{name: together, type: block, states: [{', '.join(states)}]}}"


RESERVE, CHARGE, SHIP, NEW = work("reserve"), work("charge"), work("ship"), work("new")
NAP = "{name: nap, type: wait, duration: 1h}"
SHORT_NAP_SECONDS = 5
SHORT_NAP = f"{{name: nap, type: wait, duration: {SHORT_NAP_SECONDS}}}"
HANDLER = """\
from pathlib import Path

def work(name):
    with (Path(__file__).parent / "journal").open("a") as file:
        file.write(name + " ")
    return name
"""
FIRST_LINE = 4
"""Where the first state stands; each has a line of its own."""


def write(*states: str) -> None:
    lines = ['durableflow: "1"', "name: parcel", "states:", *(f"  - {state}" for state in states)]
    Path(FILE).write_text("\n".join(lines) + "\n")


def journal() -> list[str]:
    """What the handlers have done, in order."""
    return Path("journal").read_text().split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts
    (tmp_path / "parcel.py").write_text(HANDLER)


@pytest.fixture
def asleep(folder: None, running: Any) -> None:  # noqa: ARG001 - the folder that the file is written to
    """An execution that has reserved and sleeps, with no process running it."""
    write(RESERVE, NAP, CHARGE, SHIP)
    kill_asleep(running)
    assert journal() == ["reserve"]


def kill_asleep(running: Any) -> None:
    one = running(*RUN[1:])
    one.until("nap  wait")
    one.process.kill()
    one.ended()


def again(shell: Shell) -> Ran:
    # Only the rest of the hour is jumped over; what is recorded is what a real wait has left.
    return shell(*RUN, "--skip-time")


@pytest.mark.usefixtures("asleep")
@pytest.mark.parametrize(
    ("states", "done"),
    [
        pytest.param([RESERVE, NAP, CHARGE, SHIP], ["reserve", "charge", "ship"], id="as it was"),
        pytest.param([RESERVE, NAP, NEW, CHARGE, SHIP], ["reserve", "new", "charge", "ship"], id="inserted after"),
        pytest.param([RESERVE, NAP, CHARGE, SHIP, NEW], ["reserve", "charge", "ship", "new"], id="inserted last"),
        pytest.param([RESERVE, NAP, SHIP, CHARGE], ["reserve", "ship", "charge"], id="what has not begun reordered"),
        pytest.param([wrapped(RESERVE), NAP, CHARGE, SHIP], ["reserve", "charge", "ship"], id="finished one wrapped"),
        pytest.param([RESERVE, wrapped(NAP, CHARGE), SHIP], ["reserve", "charge", "ship"], id="sleeping one wrapped"),
        pytest.param([wrapped(RESERVE, NAP, CHARGE, SHIP)], ["reserve", "charge", "ship"], id="all wrapped"),
        pytest.param([RESERVE, NAP, SHIP], ["reserve", "ship"], id="what has not begun deleted"),
    ],
)
def test_an_edit_that_keeps_what_has_begun_resumes(states: list[str], done: list[str], shell: Shell) -> None:
    write(*states)

    ran = again(shell)

    assert (ran.code, ran.out) == (0, f'"{done[-1]}"\n'), ran.err
    assert ran.err.splitlines()[-1].startswith("SUCCEEDED after ")
    assert journal() == done


@pytest.mark.usefixtures("asleep")
@pytest.mark.parametrize(
    ("states", "line", "said"),
    [
        pytest.param(
            [RESERVE, NEW, NAP, CHARGE, SHIP],
            FIRST_LINE + 1,
            "the record has WAIT/Wait 'nap', SUCCEEDED, which the workflow does not come past before STEP/Step 'new'",
            id="inserted before one that has begun",
        ),
        pytest.param(
            [NEW, RESERVE, NAP, CHARGE, SHIP],
            FIRST_LINE,
            "the record has STEP/Step 'reserve' and 1 more, SUCCEEDED, which the workflow does not come past before"
            " STEP/Step 'new'",
            id="inserted first",
        ),
        pytest.param(
            [RESERVE, CHARGE, NAP, SHIP],
            FIRST_LINE + 1,
            "the record has WAIT/Wait 'nap', SUCCEEDED, which the workflow does not come past before STEP/Step 'charge'",
            id="one that has not begun moved before one that has",
        ),
        pytest.param(
            ["{name: reserve, type: wait, duration: 1h}", NAP, CHARGE, SHIP],
            FIRST_LINE,
            "state 'reserve': the workflow has WAIT/Wait 'reserve' where the record has STEP/Step 'reserve'",
            id="type of a finished one changed",
        ),
        pytest.param(
            ["{name: reserve, type: invoke, function: reserve}", NAP, CHARGE, SHIP],
            FIRST_LINE,
            "Expected Invoke operation but found Step at operation_id ",
            id="type of a finished one changed to invoke",
        ),
        pytest.param(
            [NAP, CHARGE, SHIP],
            FIRST_LINE + 1,
            "the record has STEP/Step 'reserve', SUCCEEDED, which the workflow does not come past before"
            " STEP/Step 'charge'",
            id="a finished one deleted",
        ),
        pytest.param(
            [work("keep"), NAP, CHARGE, SHIP],
            FIRST_LINE,
            "the record has STEP/Step 'reserve' and 1 more, SUCCEEDED, which the workflow does not come past before"
            " STEP/Step 'keep'",
            id="a finished one renamed",
        ),
    ],
)
def test_an_edit_that_loses_what_has_begun_fails_closed(states: list[str], line: int, said: str, shell: Shell) -> None:
    write(*states)

    ran = again(shell)

    assert (ran.code, ran.out) == (1, "")
    # The invocation of the killed process is made again before the wait has been jumped over, or after.
    told = ran.err.replace("'nap', STARTED", "'nap', SUCCEEDED")
    assert f"{FILE}:{line}:5: DF503 {said}" in told
    assert f"\n    {line} |   - {states[line - FIRST_LINE]}\n" in ran.err
    assert journal() == ["reserve"]


@pytest.mark.usefixtures("asleep")
def test_a_mismatch_is_the_end_of_the_execution(shell: Shell) -> None:
    write(NAP, CHARGE, SHIP)
    again(shell)
    write(RESERVE, NAP, CHARGE, SHIP)

    facts = json.loads(shell(*RUN, "--json").out)

    assert (facts["status"], facts["error"]["name"]) == ("FAILED", "NonDeterministicExecutionError")
    assert journal() == ["reserve"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("states", "status", "done"),
    [
        pytest.param(
            [wrapped(RESERVE, SHORT_NAP), NEW, CHARGE], "SUCCEEDED", ["reserve", "new", "charge"], id="resumes"
        ),
        pytest.param([RESERVE, NEW, SHORT_NAP, CHARGE], "FAILED", ["reserve"], id="fails closed"),
    ],
)
def test_it_is_the_same_when_the_wait_ends_by_itself(
    states: list[str], status: str, done: list[str], shell: Shell, running: Any
) -> None:
    write(RESERVE, SHORT_NAP, CHARGE)
    kill_asleep(running)
    assert journal() == ["reserve"]
    write(*states)

    facts = json.loads(shell(*RUN, "--json").out)

    assert facts["status"] == status
    # A mismatch may be seen before the wait is over, when the killed process had not ended its invocation.
    assert status == "FAILED" or facts["durationSeconds"] >= SHORT_NAP_SECONDS
    assert journal() == done
