"""How fast are executions here? The embedded service with its store in a file and its worker processes.

Everything is real: SQLite commits before it answers, handlers run in processes of their own. "waits" are skipped.
"""

from __future__ import annotations

import json
import tempfile
import time
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING

import worlds
from measure import figure, is_quick

from durableflow.local.engine import Engine

if TYPE_CHECKING:
    from durableflow.plan import Plan

_NUMBERS = numbers(1)
HANDLERS = "def work(payload):\n    return {'v': 1}\n"
CHILD = {"durableflow": "1", "name": worlds.FUNCTION, "states": [{"name": "only", "type": "pass", "output": {"v": 1}}]}


def main() -> None:
    is_small = is_quick(__doc__)
    steps, invokes, rounds = (5, 3, 1) if is_small else (1_000, 200, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "handlers.py").write_text(HANDLERS)
        with Engine(store=folder / "store.db", skip_time=True) as engine:
            engine.register(worlds.plan_of(json.dumps(CHILD)), folder)
            for metric, plan, items in (
                ("10 steps", worlds.plan_of(worlds.workflow(10, "step")), 10),
                ("10 skipped waits", worlds.plan_of(_waits(10)), 10),
                (f"{steps} steps", worlds.plan_of(worlds.workflow(steps, "step")), steps),
                (f"{invokes} chained invokes", worlds.plan_of(worlds.workflow(invokes, "invoke")), invokes),
            ):
                engine.register(plan, folder)
                _run(engine, plan)  # starts the workers
                runs = rounds if items > 10 else rounds * 10
                seconds = [_run(engine, plan) for _ in range(runs)]
                figure("local", metric, [second * 1000 for second in seconds], "ms", n=items)
                figure("local", f"{metric}, executions", [1 / second for second in seconds], "1/s", n=items)


def _run(engine: Engine, plan: Plan) -> float:
    """Run one execution; return the seconds that it took."""
    started = time.perf_counter()
    arn = engine.start(plan.name, '{"go":true}', f"bench-{next(_NUMBERS)}")
    ended = engine.wait(arn)
    assert ended["Status"] == "SUCCEEDED", ended
    return time.perf_counter() - started


def _waits(count: int) -> str:
    states = [{"name": f"s{number}", "type": "wait", "duration": "1h"} for number in range(count)]
    return json.dumps({"durableflow": "1", "name": "bench", "states": states})


if __name__ == "__main__":
    main()
