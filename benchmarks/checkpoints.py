"""What does a step cost on the wire? Calls of the service, updates and bytes, for n steps one after another.

The START of a step rides with the end of the one before, so a step takes one call on average; nothing here depends on
the speed of the machine.
"""

from __future__ import annotations

import json
from typing import Any

import memory
import worlds
from measure import figure, is_quick

CALLS_BAR = 1.1


class CountingService(memory.Service):
    """One execution whose traffic is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.updates = self.bytes = 0

    def checkpoint_durable_execution(self, **members: Any) -> dict[str, Any]:
        """Count a request, then apply it."""
        self.calls += 1
        self.updates += len(members["Updates"])
        self.bytes += len(json.dumps(members["Updates"]))
        return super().checkpoint_durable_execution(**members)


def main() -> None:
    for count in (10,) if is_quick(__doc__) else (10, 100, 1_000):
        service = CountingService()
        service.run(worlds.plan_of(worlds.workflow(count, "step")))
        # The START of the first step has no end to ride with, so ten steps take eleven calls.
        figure("checkpoints", "calls for each step", [service.calls / count], "calls", bar=CALLS_BAR, n=count)
        figure("checkpoints", "updates for each step", [service.updates / count], "updates", n=count)
        figure("checkpoints", "bytes for each step", [service.bytes / count], "B", n=count)


if __name__ == "__main__":
    main()
