"""Which parts of the language does the compiler take? Asked of itself, so that what begins to run is tested at once."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from durableflow.compiler import compile_workflow
from durableflow.errors import WorkflowError
from durableflow.source import Source

_PASS: dict[str, Any] = {"name": "p", "type": "pass"}
_LIST: list[Any] = [_PASS]
_STATES: dict[str, dict[str, Any]] = {
    "invoke": {"function": "f"},
    "step": {"handler": "m:f"},
    "aws": {"service": "sns", "action": "publish"},
    "http": {"url": "https://api.example"},
    "workflow": {"workflow": "other"},
    "wait": {"duration": 1},
    "wait_for_callback": {},
    "wait_for_condition": {"check": {"type": "step", "handler": "m:f"}, "until": "result"},
    "choice": {"choices": [{"when": True, "states": _LIST}]},
    "block": {"states": _LIST},
    "loop": {"max_iterations": 1, "states": _LIST},
    "parallel": {"branches": {"a": _LIST}},
    "map": {"items": "[1]", "states": _LIST},
    "pass": {},
    "succeed": {},
    "fail": {"error": "E"},
}
_RETRIED = [kind for kind in _STATES if kind not in ("wait", "pass", "succeed", "fail")]


def _probes() -> dict[str, dict[str, Any]]:
    """Return a workflow, without its head, for each feature."""
    probes: dict[str, dict[str, Any]] = {}

    def state(feature: str, kind: str, **more: Any) -> None:
        probes[feature] = {"states": [{"name": "s", "type": kind, **_STATES[kind], **more}]}

    for kind in _STATES:
        state(kind, kind)
    for kind in _RETRIED:
        state(f"retry:{kind}", kind, retry=[{"max_attempts": 2}])
        state(f"timeout:{kind}", kind, timeout=5)
    state("compensate", "invoke", compensate=_LIST)
    state("renamed_from", "invoke", renamed_from=["old"])
    state("block.context", "block", context=True)
    state("block.finally", "block", **{"finally": [{"name": "q", "type": "pass"}]})
    state("compensation", "block", compensation={"on_error": "fail"})
    probes["workflow.finally"] = {"states": _LIST, "finally": [{"name": "q", "type": "pass"}]}
    probes["workflow.timeout"] = {"states": _LIST, "timeout": 5}
    return probes


PROBES = _probes()
EVERYTHING = frozenset(PROBES)


@cache
def runnable() -> frozenset[str]:
    """Return the features that the compiler takes."""
    return frozenset(name for name, probe in PROBES.items() if _is_taken(probe))


def _is_taken(probe: dict[str, Any]) -> bool:
    text = json.dumps({"durableflow": "1", "name": "probe", **probe})
    try:
        compile_workflow(Source(name="probe.json", text=text))
    except WorkflowError:
        return False
    return True
