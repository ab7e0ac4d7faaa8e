"""What the example workflows work with, in this process: the functions, handlers and answers of their project.

The official runner's environment reads this file, too; what the project file says comes to it as JSON.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from durableflow.calls import Answers, Tools, refused_action
from durableflow.errors import Fault
from durableflow.work import PythonWorker, RootFinder, function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.values import Json, Object

WORKFLOWS: Final = Path(__file__).parent.parent / "workflows"


def tools(project: Mapping[str, Any], clock_ms: Callable[[], int]) -> Tools:
    """Return what does the work of steps, aws and http states; nothing but the project answers."""
    worker = PythonWorker([WORKFLOWS], clock_ms=clock_ms)
    return Tools(
        steps=worker,
        http=_unanswered,
        aws=refused_action,
        secret=lambda name, _reference: f"the value of {name}",
        answers=Answers(actions=project["actions"], requests=project["http_answers"], functions=worker),
        clock_ms=clock_ms,
    )


def _unanswered(request: Object, **_: Any) -> Json:
    raise Fault("Http.ConnectionError", f"the project has no answer for {request['method']} {request['url']}")


def functions(project: Mapping[str, Any]) -> dict[str, Callable[[Any], Any]]:
    """Return what invokes start, by the names that workflows use; each raises what Lambda would report."""
    finder = RootFinder.installed([WORKFLOWS])
    return {
        name: partial(_invoked, function(target["python"], finder)) for name, target in project["functions"].items()
    }


def _invoked(target: Callable[[Any, Any], Any], payload: Any) -> Any:
    try:
        return target(payload, None)
    except Exception as error:
        raise Fault(type(error).__name__, str(error)) from error
