"""Declarative workflows with the semantics of AWS Lambda durable functions.

The names below are the public API. Each is imported when it is first asked for, so `import durableflow` costs nothing
and `from durableflow import Fault` in a handler loads one small module. Inside the package every module imports from
the module that defines a name, never from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durableflow.aws import lambda_handler
    from durableflow.compiler import Compiled, compile_workflow
    from durableflow.decision import Decision
    from durableflow.errors import (
        Diagnostic,
        DurableflowError,
        Fault,
        ReplayError,
        ServiceError,
        UsageError,
        WorkflowError,
    )
    from durableflow.interpreter import Run, decide
    from durableflow.local.engine import Engine
    from durableflow.plan import Plan
    from durableflow.project import ProjectContext, load_project
    from durableflow.recording import replay
    from durableflow.source import Source
    from durableflow.work import StepContext

    __version__: str

_HOMES = {
    "Compiled": "compiler",
    "Decision": "decision",
    "Diagnostic": "errors",
    "DurableflowError": "errors",
    "Engine": "local.engine",
    "Fault": "errors",
    "Plan": "plan",
    "ProjectContext": "project",
    "ReplayError": "errors",
    "Run": "interpreter",
    "ServiceError": "errors",
    "Source": "source",
    "StepContext": "work",
    "UsageError": "errors",
    "WorkflowError": "errors",
    "compile_workflow": "compiler",
    "decide": "interpreter",
    "lambda_handler": "aws",
    "load_project": "project",
    "replay": "recording",
}
"""Each public name and the module that defines it."""

__all__ = [
    "Compiled",
    "Decision",
    "Diagnostic",
    "DurableflowError",
    "Engine",
    "Fault",
    "Plan",
    "ProjectContext",
    "ReplayError",
    "Run",
    "ServiceError",
    "Source",
    "StepContext",
    "UsageError",
    "WorkflowError",
    "__version__",
    "compile_workflow",
    "decide",
    "lambda_handler",
    "load_project",
    "replay",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = import_module("importlib.metadata").version(__name__)
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
