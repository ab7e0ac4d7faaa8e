"""How long may something take, where coverage may be tracing every line of it?"""

import sys

TRACED = 8
"""How many times slower a traced line may be."""


def cpu_seconds(seconds: float) -> float:
    """Return a bound on CPU time: as given where nothing traces, with room where something does."""
    return seconds if sys.gettrace() is None else seconds * TRACED
