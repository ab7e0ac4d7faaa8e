from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from durableflow.logs import StepLogger

FACTS: dict[str, Any] = {
    "executionArn": "arn",
    "requestId": None,
    "operationId": "9f",
    "operationName": "charge",
    "attempt": 1,
}
LINE = {
    "timestamp": "1970-01-01T00:00:01.500Z",
    "executionArn": "arn",
    "operationId": "9f",
    "operationName": "charge",
    "attempt": 1,
}


class Unprintable:
    def __str__(self) -> str:
        raise ValueError

    def __repr__(self) -> str:
        return "<unprintable>"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> StepLogger:
    caplog.set_level(logging.INFO)
    return StepLogger(
        logging.getLogger("of_the_test"), FACTS, clock_ms=lambda: 1500, redact=lambda text: text.replace("t0ken", "***")
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(message) for message in caplog.messages]


def test_a_line_is_one_object_with_the_keys_of_the_sdk(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.info("two\nlines and %d%%", 5)
    assert lines(caplog) == [{**LINE, "level": "INFO", "message": "two\nlines and 5%"}]
    assert "\n" not in caplog.messages[0]


def test_levels_are_obeyed(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.debug("not told")
    log.error("told")
    assert [(line["level"], line["message"]) for line in lines(caplog)] == [("ERROR", "told")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_exception_comes_with_its_traceback(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    error = KeyError("sku")
    try:
        raise error
    except KeyError:
        log.exception("one")
        log.warning("two", exc_info=True)
    log.warning("three", exc_info=error)
    log.warning("four", exc_info=(KeyError, error, None))
    log.warning("five", exc_info=True)  # noqa: LOG014 - the point
    told = lines(caplog)
    assert all(line["exception"].endswith("KeyError: 'sku'") for line in told[:4])
    assert "test_logs.py" in told[0]["exception"]
    assert "exception" not in told[4]


def test_more_keys_are_added_and_cannot_replace_ours(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.info("x", extra={"order": {"id": 1}, "attempt": 99, "odd": {1}})
    (line,) = lines(caplog)
    assert (line["order"], line["attempt"], line["odd"]) == ({"id": 1}, 1, "{1}")


def test_what_cannot_be_written_does_not_fail_the_step(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.info("%s and %s", 1)  # noqa: PLE1206 - the point
    log.info("%s", Unprintable())
    log.info("%(a)s", {"a": 1})
    assert [line["message"] for line in lines(caplog)] == ["%s and %s (1,)", "%s (<unprintable>,)", "1"]


def test_secrets_are_taken_out_everywhere(log: StepLogger, caplog: pytest.LogCaptureFixture) -> None:
    log.warning("t0ken %s", "t0ken", exc_info=ValueError("t0ken"), extra={"header": ["t0ken"]})
    assert "t0ken" not in caplog.messages[0]
    assert caplog.messages[0].count("***") == 4
