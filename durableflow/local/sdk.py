"""What does a durable function that is written with an AWS SDK find around it? What Lambda's runtime would give it.

Its SDK calls Lambda's API over boto3, which environment variables lead to the service here. What its loggers write is
one JSON object a line with the keys of Lambda's own runtime: lines can be told apart by execution and operation.

Source: protocol.md 1.2, 10.3; the JSON log format of AWS's runtime interface client (awslambdaric).
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import TYPE_CHECKING, Final

from durableflow import values
from durableflow.operations import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from durableflow.values import Json

REGION: Final = "us-east-1"
_HERE: Final = "127.0.0.1"
_DUMMY: Final = "durableflow"


def surroundings(endpoint: str, *, allow_aws: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that lead an SDK to the service here.

    Args:
        endpoint: URL of the service.
        allow_aws: whether the function may call AWS itself: it keeps the region and the credentials of this process.
            Else it gets some that no AWS service takes, so that nothing reaches an account by mistake.
        environ: what is there already.
    """
    found = {"AWS_ENDPOINT_URL_LAMBDA": endpoint, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}
    # botocore would send requests for this very machine through a proxy, too.
    for name in ("NO_PROXY", "no_proxy"):
        found[name] = ",".join(filter(None, (environ.get(name), _HERE)))
    if not allow_aws:
        found |= {
            "AWS_ACCESS_KEY_ID": _DUMMY,
            "AWS_SECRET_ACCESS_KEY": _DUMMY,
            "AWS_SESSION_TOKEN": "",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
    return found


class Runtime:
    """Stands for Lambda's runtime in a process that runs such functions.

    Args:
        output: what log lines go to.
    """

    def __init__(self, output: TextIO) -> None:
        self._lines = _JsonLines()
        handler = logging.StreamHandler(output)
        handler.setFormatter(self._lines)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        # On Lambda, too, what a function logs is seen from INFO on when its lines are JSON.
        level = logging.getLevelNamesMapping().get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper(), logging.INFO)
        root.setLevel(level)
        # How it found the way here is none of the function's business.
        logging.getLogger("botocore").setLevel(max(level, logging.WARNING))

    def begin(self, request_id: str, function_name: str, function_version: str) -> None:
        """Say which invocation it is from now on."""
        self._lines.request_id = request_id
        os.environ["AWS_LAMBDA_FUNCTION_NAME"] = function_name
        os.environ["AWS_LAMBDA_FUNCTION_VERSION"] = function_version


class _JsonLines(logging.Formatter):
    """A log record as Lambda's runtime writes it: whatever `extra` brings stands beside the runtime's own keys."""

    def __init__(self) -> None:
        super().__init__()
        self.request_id = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object."""
        kind, error, trace = record.exc_info or (None, None, None)
        made: dict[str, Json] = {
            "timestamp": time_text(round(record.created * 1000)),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": self.request_id,
            "errorType": kind.__name__ if kind else None,
            "errorMessage": str(error) if kind else None,
            "stackTrace": [*traceback.format_tb(trace)] if kind else None,
            "location": f"{record.pathname}:{record.funcName}:{record.lineno}" if kind else None,
        }
        made |= {key: _json(value) for key, value in vars(record).items() if key not in _RECORD and key not in made}
        return values.to_text({key: value for key, value in made.items() if value is not None})


def _json(value: object) -> Json:
    try:
        return values.checked(value)
    except values.ValueRefusedError:
        pass
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - what a function logs may fail at being shown; the line need not be lost for it
        return f"<{type(value).__name__}>"


_RECORD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""What every record has; the rest has come with `extra`."""
