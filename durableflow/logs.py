"""What does a line of a step's log look like? One JSON object, with the keys of the official SDK's logger.

    {"timestamp":"2026-01-01T00:00:00.000Z","level":"INFO","message":"charged","executionArn":"arn:…",
     "operationId":"9f…","operationName":"charge","parentId":"3c…","attempt":1}

Handlers run when they run and not on a replay, so nothing is logged twice.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, cast

from durableflow import values
from durableflow.operations import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from durableflow.values import Json, Object

    LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    LoggerAdapter = logging.LoggerAdapter


class StepLogger(LoggerAdapter):
    """The logger of one attempt: whatever is logged becomes the message of one JSON line.

    Use it like any logger: `%` arguments, `exc_info` (a traceback, as `exception`) and `extra` (more keys) do what they
    do elsewhere.

    Args:
        logger: what the lines go to.
        facts: `executionArn`, `operationId`, `operationName`, `parentId`, `attempt`; None stands for what is not known.
        clock_ms: the time in epoch milliseconds.
        redact: takes the secrets out of a line.
    """

    def __init__(
        self,
        logger: logging.Logger,
        facts: Object,
        *,
        clock_ms: Callable[[], int],
        redact: Callable[[str], str] = str,
    ) -> None:
        super().__init__(logger)
        self._facts = {key: value for key, value in facts.items() if value is not None}
        self._clock_ms = clock_ms
        self._redact = redact

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Write one line, if the logger's level allows it."""
        if not self.isEnabledFor(level):
            return
        line: Object = {
            "timestamp": time_text(self._clock_ms()),
            "level": logging.getLevelName(level),
            "message": _message(msg, args),
            **self._facts,
        }
        if (trace := _trace(options.get("exc_info"))) is not None:
            line["exception"] = trace
        extra: Mapping[str, object] = options.get("extra") or {}
        line |= {str(key): _json(value) for key, value in extra.items() if key not in line}
        text = self._redact(values.to_text(line))
        self.logger.log(level, "%s", text, stacklevel=options.get("stacklevel", 1) + 1)


def _message(msg: object, args: tuple[object, ...]) -> str:
    try:
        return logging.LogRecord("", 0, "", 0, msg, cast("Any", args), None).getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, or whose __str__ fails: a log line fails nobody's step
        return f"{msg} {args!r}"


def _trace(exc_info: object) -> str | None:
    """Return the traceback that `exc_info` asks for: True for the one that is handled, an exception, or a triple."""
    if not exc_info:
        return None
    if isinstance(exc_info, BaseException):
        error: BaseException | None = exc_info
    else:
        triple = cast("tuple[object, BaseException | None, TracebackType | None]", exc_info)
        error = triple[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]
    return None if error is None else "".join(traceback.format_exception(error)).rstrip("\n")


def _json(value: object) -> Json:
    try:
        return values.checked(value)
    except values.ValueRefusedError:
        return repr(value)
