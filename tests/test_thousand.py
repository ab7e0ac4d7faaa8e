"""A thousand invokes, forty at a time, in a process that is killed three times on the way."""

from __future__ import annotations

import fcntl
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from durableflow.cli import stores

if TYPE_CHECKING:
    from pathlib import Path

ITEMS, AT_ONCE = 1_000, 40
WORKERS = AT_ONCE + 4
"""More processes than may be at work, so that it is not they who hold the others back."""
KILLED_AT = (120, 430, 790)
"""How many invokes have ended, in the log, when the process is killed."""
SECONDS = 120

PROJECT = """\
durableflow: "1"
workflows: [thousand.yaml]
handlers: [.]
functions: {work: {python: "work:work"}}
"""
WORKFLOW = f"""\
durableflow: "1"
name: thousand
states:
  - {{name: list, type: step, handler: "work:list_items"}}
  - name: all
    type: map
    items: states.list.result
    max_concurrency: {AT_ONCE}
    states: [{{name: one, type: invoke, function: work, payload: "{{{{ item }}}}"}}]
  - {{name: report, type: step, handler: "work:report", payload: "{{{{ states.all.result }}}}"}}
output: "{{{{ states.report.result }}}}"
"""
WORK = f"""\
import fcntl
import time
from pathlib import Path

HERE = Path(__file__).parent
# Whoever gets this lock for itself alone knows that no process works here any more.
ALIVE = (HERE / "alive").open("w")
fcntl.flock(ALIVE, fcntl.LOCK_SH)


def log(what, item):
    with (HERE / "log").open("a") as file:
        file.write(f"{{what}} {{item}}\\n")  # one short line in append mode: whole, or not there


def list_items(_payload):
    return list(range({ITEMS}))


def work(item, _context):
    log("begin", item)
    time.sleep(0.2)
    log("end", item)
    return item


def report(items):
    return items
"""


@dataclass(frozen=True, slots=True)
class Thousand:
    """The project in a folder, with its store and its log."""

    folder: Path

    def start(self) -> subprocess.Popen[str]:
        options = ["--name", "thousand", "--store", "store.db", "--workers", str(WORKERS), "--json"]
        return subprocess.Popen(
            [sys.executable, "-m", "durableflow", "run", "thousand.yaml", *options],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def log(self) -> list[tuple[str, int]]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(what, int(item)) for what, item in (line.split() for line in lines)]

    def wait_for(self, ended: int, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + SECONDS
        while sum(what == "end" for what, _ in self.log()) < ended:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "it stands still"
            time.sleep(0.01)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill the process, and return when those that worked for it are gone, too."""
        process.kill()
        process.communicate()
        with (self.folder / "alive").open("w") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)

    def operations(self) -> int:
        """How many operations are in the store, the EXECUTION one aside."""
        with stores.reader(self.folder / "store.db") as service:
            return len(service.operations(DurableExecutionArn=stores.arn_of(service, "thousand"))) - 1

    def recorded(self) -> list[int]:
        """The items whose results are in the store, in the order in which they came."""
        with stores.reader(self.folder / "store.db") as service:
            arn, after, found = stores.arn_of(service, "thousand"), 0, []
            while events := service.events(DurableExecutionArn=arn, After=after):
                after = events[-1]["EventId"]
                found += [
                    json.loads(event["ChainedInvokeSucceededDetails"]["Result"]["Payload"])
                    for event in events
                    if event["EventType"] == "ChainedInvokeSucceeded"
                ]
        return found


def most_at_once(log: list[tuple[str, int]]) -> int:
    """Return how many items were worked on at the same time, at most, in one life of the process."""
    running: set[int] = set()
    most = 0
    for what, item in log:
        (running.add if what == "begin" else running.remove)(item)
        most = max(most, len(running))
    return most


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_invokes_survive_three_kills(tmp_path: Path) -> None:
    for name, text in {"durableflow.yaml": PROJECT, "thousand.yaml": WORKFLOW, "work.py": WORK}.items():
        (tmp_path / name).write_text(text)
    thousand = Thousand(tmp_path)
    lives: list[list[tuple[str, int]]] = []
    recorded: list[set[int]] = [set()]

    for ended in KILLED_AT:
        process = thousand.start()
        thousand.wait_for(ended, process)
        thousand.kill(process)
        lives.append(thousand.log()[sum(map(len, lives)) :])
        recorded.append(set(thousand.recorded()))
    process = thousand.start()
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    lives.append(thousand.log()[sum(map(len, lives)) :])

    facts = json.loads(out)
    assert (facts["status"], facts["output"]) == ("SUCCEEDED", list(range(ITEMS)))
    assert facts["operations"] == thousand.operations() == ITEMS + 3
    assert Counter(thousand.recorded()) == Counter(range(ITEMS)), "each result is recorded once"
    for life, known in zip(lives, recorded, strict=True):
        begun = [item for what, item in life if what == "begin"]
        assert len(set(begun)) == len(begun), "in one life nothing runs twice"
        assert known.isdisjoint(begun), "what was recorded does not run again"
        assert most_at_once(life) <= AT_ONCE
    assert max(map(most_at_once, lives)) > AT_ONCE // 2, "so the limit is what holds them back"
    assert all(len(known) > len(before) for before, known in itertools.pairwise(recorded))
    again = sum(what == "begin" for life in lives for what, _ in life) - ITEMS
    assert again <= AT_ONCE * len(KILLED_AT), "what was not under way does not run again either"
