"""How long until a new process has decided something? Whole processes in turn, above one that does nothing.

`decided` imports the Lambda handler, reads a plan and handles an event whose states are finished, without boto3: the
client is the caller's. boto3 alone is beside it, since every function that talks to the service pays for that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import worlds
from measure import Cost, figure, is_quick, timed_process

from durableflow import values

ROOT = str(Path(__file__).resolve().parent.parent)
IMPORTED = "from durableflow.aws import lambda_handler"
DECIDED = """
import json
event = json.load(open({event!r}))
answer = lambda_handler({plan!r}, client=object())(event, None)
assert answer["Status"] == "SUCCEEDED", answer
"""
CLIENT = "import boto3; boto3.client('lambda', region_name='us-east-1')"


def main() -> None:
    is_small = is_quick(__doc__)
    rounds, count = (2, 20) if is_small else (11, 500)
    with tempfile.TemporaryDirectory() as folder:
        plan, event = Path(folder, "plan.json"), Path(folder, "event.json")
        plan.write_text(values.to_text(worlds.plan_of(worlds.workflow(count, "invoke", is_conditional=True)).to_json()))
        event.write_text(json.dumps(worlds.event(worlds.operations(count, "invoke"))))
        decided = IMPORTED + DECIDED.format(event=str(event), plan=str(plan))
        _measure({"bare": "pass", "import": IMPORTED, "decided": decided, "boto3 client": CLIENT}, rounds, count)


def _measure(programs: dict[str, str], rounds: int, count: int) -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            cost = timed_process([sys.executable, "-c", program], cwd=ROOT)
            if turn:  # the first round writes bytecode and warms the page cache
                costs[name].append(cost)
    for name in list(programs)[1:]:
        above = [(cost.wall - bare.wall) * 1000 for cost, bare in zip(costs[name], costs["bare"], strict=True)]
        facts = {"n": count, "modules": _modules(programs[name])}
        figure("cold_start", f"{name} above bare Python", above, "ms", **facts)
    relative = [a.wall / b.wall for a, b in zip(costs["decided"], costs["boto3 client"], strict=True)]
    figure("cold_start", "decided/boto3 client", relative, "ratio", n=count)


def _modules(program: str) -> int:
    """Return how many modules a program has imported at its end."""
    command = [sys.executable, "-c", f"{program}\nimport sys; print(len(sys.modules))"]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()[-1])


if __name__ == "__main__":
    main()
