"""How fast is the service, and beside AWS's own local runner? Whole executions, requests over HTTP, memory.

Each contender (`contenders/`) is a process of its own; they take turns, round after round, and a ratio is taken within
a round. Ours: `workers` (handlers in worker processes), `in-process` and `http` (workers, each execution a synchronous
Invoke), all with a store in a file. The official runner takes part with `--official PYTHON`, the Python of an
environment that holds `aws-durable-execution-sdk-python-testing`: `memory` and `sqlite` (its test runner) and `http`
(its `dex-local-runner`, in memory). A ratio says how many times as fast ours is as the official one of the same kind.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from measure import figure

CONTENDERS = Path(__file__).resolve().parent / "contenders"
PEERS = {"workers": ("memory", "sqlite"), "in-process": ("memory", "sqlite"), "http": ("http",)}
"""Which of the official contenders each of ours is compared with."""


class Contender:
    """A process that does what it is told, see contenders/answering.py."""

    def __init__(self, python: str, program: str, kind: str) -> None:
        self.is_ours = program == "ours"
        self.kind = kind
        self.name = kind if self.is_ours else f"official {kind}"
        self._process = subprocess.Popen(
            [python, str(CONTENDERS / f"{program}.py"), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        self._process.communicate()

    def ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"'{self.name}' ended at {order}; what it wrote says why")
        return json.loads(line)

    def seconds(self, workflow: str, items: int, count: int = 1, at_once: int = 1) -> float:
        """Run executions; return the seconds that they took."""
        taken: float = self.ask(do="run", workflow=workflow, items=items, count=count, at_once=at_once)
        return taken


class Load(NamedTuple):
    """What is run: so many executions of a workflow, by us and by the official runner, so many of them at once."""

    metric: str
    workflow: str
    items: int
    ours: int
    official: int
    at_once: int = 1


def loads(*, is_quick: bool) -> list[Load]:
    if is_quick:
        return [
            Load("10 steps", "steps", 10, 5, 2),
            Load("10 steps, 8 at once", "steps", 10, 16, 8, 8),
            Load("chain of 10 invokes", "invokes", 10, 1, 1),
            Load("50 steps", "steps", 50, 1, 1),
            Load("map of 50", "map", 50, 1, 1),
            Load("10 skipped waits of an hour", "waits", 10, 1, 1),
        ]
    return [
        Load("10 steps", "steps", 10, 100, 10),
        Load("10 steps, 50 at once", "steps", 10, 300, 50, 50),
        Load("chain of 10 invokes", "invokes", 10, 20, 2),
        Load("1000 steps", "steps", 1000, 1, 1),
        Load("map of 1000", "map", 1000, 1, 1),
        Load("10 skipped waits of an hour", "waits", 10, 20, 2),
    ]


def measure_loads(contenders: list[Contender], *, is_quick: bool, rounds: int) -> None:
    """Print how many executions a second each contender does, and how ours compare with the official ones."""
    for load in loads(is_quick=is_quick):
        rates: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for contender in contenders:
                is_slow = not contender.is_ours and contender.kind != "memory" and load.items == 1000
                if is_slow and number != 1:
                    continue  # it takes more than a minute
                count = load.ours if contender.is_ours else load.official
                taken = contender.seconds(load.workflow, load.items, count, load.at_once)
                if number:  # the first one warms up
                    rates.setdefault(contender.name, []).append(count / taken)
        facts = {"n": load.items, "at_once": load.at_once}
        for contender in contenders:
            found = rates[contender.name]
            figure("serving", load.metric, found, "1/s", contender=contender.name, **facts)
            figure(
                "serving", f"{load.metric}, time", [1 / rate for rate in found], "s", contender=contender.name, **facts
            )
        _compare(load.metric, contenders, rates, **facts)


def _compare(metric: str, contenders: list[Contender], found: dict[str, list[float]], **facts: object) -> None:
    """Print ours over theirs, of figures of which more is better."""
    for contender in contenders:
        for peer in PEERS[contender.kind] if contender.is_ours else ():
            pairs = zip(found[contender.name], found.get(f"official {peer}", ()), strict=False)
            if ratios := [our / their for our, their in pairs]:
                named = f"{contender.name}/official {peer}"
                figure("serving", f"{metric}, ratio", ratios, "ratio", contender=named, **facts)


def measure_requests(contenders: list[Contender], *, count: int, rounds: int) -> None:
    """Print how long a Checkpoint of one step and an Invoke that does not wait take over HTTP."""
    asked = [contender for contender in contenders if contender.kind == "http"]
    held = {contender.name: contender.ask(do="hold") for contender in asked}
    invoked = {contender.name: contender.ask(do="invoked") for contender in asked}
    numbers = {contender.name: 0 for contender in asked}
    for metric in ("Checkpoint", "Invoke"):
        quantiles: dict[str, dict[str, list[float]]] = {"p50": {}, "p99": {}}
        for number in range(rounds + 1):
            for contender in asked:
                name = contender.name
                if metric == "Checkpoint":
                    taken = _checkpoints(held[name], numbers[name], count)
                else:
                    taken = _invokes(invoked[name], numbers[name], count)
                numbers[name] += count
                cuts = statistics.quantiles(taken, n=100, method="inclusive")
                if number:
                    quantiles["p50"].setdefault(name, []).append(cuts[49] * 1000)
                    quantiles["p99"].setdefault(name, []).append(cuts[98] * 1000)
        for quantile, found in quantiles.items():
            for name, milliseconds in found.items():
                figure("serving", f"{metric} {quantile}", milliseconds, "ms", contender=name, n=count)
            speeds = {name: [1 / one for one in milliseconds] for name, milliseconds in found.items()}
            _compare(f"{metric} {quantile}", asked, speeds, n=count)


class Client:
    """Sends requests and takes their time; a server that closes its connections costs a new one each."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc
        self._connection = HTTPConnection(self._place)

    def post(self, path: str, headers: dict[str, str], body: str) -> tuple[float, bytes]:
        started = time.perf_counter()
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        read = response.read()
        taken = time.perf_counter() - started
        assert response.status < 300, read
        return taken, read


def _checkpoints(held: dict[str, Any], first: int, count: int) -> list[float]:
    client = Client(held["url"])
    path = f"/2025-12-01/durable-executions/{quote(held['arn'], safe='')}/checkpoint"
    taken: list[float] = []
    for number in range(first, first + count):
        step = {"Id": f"{number:064x}", "Type": "STEP", "SubType": "Step", "Name": f"s{number}"}
        updates = [{**step, "Action": "START"}, {**step, "Action": "SUCCEED", "Payload": '{"v":1}'}]
        members = {"CheckpointToken": held["token"], "Updates": updates, "ClientToken": f"bench-{number}"}
        seconds, read = client.post(path, held["headers"], json.dumps(members))
        held["token"] = json.loads(read)["CheckpointToken"]
        taken.append(seconds)
    return taken


def _invokes(invoked: dict[str, Any], first: int, count: int) -> list[float]:
    client = Client(invoked["url"])
    taken: list[float] = []
    for number in range(first, first + count):
        name = f"request-{number}"
        headers = {header: name if value == "NAME" else value for header, value in invoked["headers"].items()}
        taken.append(client.post(invoked["path"], headers, invoked["body"].replace("NAME", name))[0])
        time.sleep(0.002)  # not what many at once do to each other, but what one takes
    return taken


def measure_growth(contenders: list[Contender], *, is_quick: bool, rounds: int) -> None:
    """Print the power of n with which the time of an execution grows: 1 is a time for each item."""
    small, large = (10, 40) if is_quick else (250, 2500)
    for contender in contenders:
        if not contender.is_ours or contender.kind == "http":
            continue
        for workflow in ("steps", "map"):
            found: list[float] = []
            for number in range(rounds + 1):
                times = [contender.seconds(workflow, items) for items in (small, large)]
                if number:
                    found.append(math.log(times[1] / times[0]) / math.log(large / small))
            metric = f"growth of {workflow}"
            figure("serving", metric, found, "exponent", contender=contender.name, n=large, than=small)


def measure_memory(contenders: list[Contender], *, is_quick: bool) -> None:
    """Print what finished executions of 10 steps leave in memory, and whether they slow down those after them."""
    for contender in contenders:
        if contender.kind == "http" or (contender.kind == "in-process" and is_quick):
            continue
        count = (40 if is_quick else 10_000) if contender.is_ours else 4 if is_quick else 500
        at_once = 4 if is_quick else 50
        sample = count // 10 or 1
        before, first = contender.ask(do="memory"), contender.seconds("steps", 10, sample, at_once)
        contender.seconds("steps", 10, count - 2 * sample, at_once)
        last, after = contender.seconds("steps", 10, sample, at_once), contender.ask(do="memory")
        facts = {"contender": contender.name, "n": count}
        figure("serving", "slower after them", [last / first], "ratio", **facts)
        if before is not None and after is not None:
            figure("serving", "memory", [after / 2**20], "MiB", **facts)
            figure("serving", "memory for each", [(after - before) / count / 1024], "KiB", **facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: a check, not a measurement")
    parser.add_argument("--official", metavar="PYTHON", help="the Python of an environment with the official runner")
    given = parser.parse_args()
    is_quick: bool = given.quick
    rounds = 1 if is_quick else 3
    contenders = [Contender(sys.executable, "ours", kind) for kind in PEERS]
    if given.official:
        contenders += [Contender(given.official, "official", kind) for kind in ("memory", "sqlite", "http")]
    try:
        measure_loads(contenders, is_quick=is_quick, rounds=rounds)
        measure_requests(contenders, count=20 if is_quick else 300, rounds=rounds)
        measure_growth(contenders, is_quick=is_quick, rounds=rounds)
        measure_memory(contenders, is_quick=is_quick)
    finally:
        for contender in contenders:
            contender.close()


if __name__ == "__main__":
    main()
