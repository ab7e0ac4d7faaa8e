"""What a running execution looks like, from its history events."""

import json
from io import StringIO
from typing import Any

import pytest

from durableflow.cli.progress import Board, Lines, Live, elapsed


def event(number: int, kind: str, seconds: float, name: str | None = None, **details: Any) -> dict[str, Any]:
    made = {"EventId": number, "EventType": kind, "EventTimestamp": 1_700_000_000 + seconds, f"{kind}Details": details}
    return made | ({"Name": name, "Id": f"id-{name}"} if name else {})


def told(*events: dict[str, Any]) -> list[str]:
    board = Board()
    return [line.strip() for e in events if (line := board.take(e))]


STARTED = event(1, "ExecutionStarted", 0)


def test_states_are_told_when_they_start_and_end() -> None:
    assert told(
        STARTED,
        event(2, "ChainedInvokeStarted", 0.1, "reserve", FunctionName="inventory:live"),
        event(3, "InvocationCompleted", 0.2),
        event(4, "ChainedInvokeSucceeded", 1.35, "reserve", Result={}),
    ) == ["0.1s  reserve  invoke inventory:live", "1.4s  reserve  succeeded after 1.2s"]


def test_a_retry_says_what_failed_and_when_it_goes_on() -> None:
    error = {"Payload": {"ErrorType": "GatewayUnavailable", "ErrorMessage": "no answer\x1b[2J"}}
    assert told(
        STARTED,
        event(2, "StepStarted", 0, "charge"),
        event(
            3, "StepFailed", 1, "charge", Error=error, RetryDetails={"CurrentAttempt": 1, "NextAttemptDelaySeconds": 90}
        ),
        event(4, "StepStarted", 91, "charge"),
        event(5, "StepFailed", 92, "charge", Error=error, RetryDetails={"CurrentAttempt": 2}),
    ) == [
        "0s  charge  step",
        "1s  charge  attempt 1 failed: GatewayUnavailable: no answer\\u001b[2J; next in 1m 30s",
        "1m 31s  charge  step",
        "1m 32s  charge  failed after 1s: GatewayUnavailable: no answer\\u001b[2J",
    ]


def test_a_wait_says_how_long() -> None:
    assert told(
        STARTED,
        event(2, "WaitStarted", 0, "pause", Duration=1800),
        event(3, "WaitSucceeded", 1800, "pause", Duration=1800),
    ) == ["0s  pause  wait for 30m", "30m  pause  succeeded after 30m"]


def test_an_invocation_that_died_is_told() -> None:
    died = {"Payload": {"ErrorType": "Runtime.ExitError", "ErrorMessage": "signal 9"}}
    assert told(STARTED, event(2, "InvocationCompleted", 2, Error=died)) == [
        "2s  an invocation ended early: Runtime.ExitError: signal 9; it will be repeated"
    ]


def test_an_event_that_comes_again_is_told_once() -> None:
    step = event(2, "StepStarted", 0, "charge")
    assert told(STARTED, step, step, STARTED) == ["0s  charge  step"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.26, "0.3s"), (59.9, "59.9s"), (60, "1m"), (125, "2m 5s"), (12_000, "3h 20m"), (187_200, "2d 4h")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_the_live_table_shows_the_last_rows_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("COLUMNS", "80")
    live = Live()
    live.take(STARTED)
    for number in range(2, 12):
        live.take(event(number, "StepStarted", number, f"s{number}[red]"))
    drawn = StringIO()
    Console(width=80, file=drawn).print(live._table())
    shown = drawn.getvalue().rstrip().split("\n")

    assert len(shown) == 4
    assert "… 7 before" in shown[0]
    assert "s11[red]" in shown[-1]


JSON_LINE = json.dumps(
    {"timestamp": "2026-01-01T00:00:00.000Z", "level": "WARNING", "message": "a\nb", "exception": "Traceback\n  x"},
    separators=(",", ":"),
)


@pytest.mark.parametrize(
    ("line", "as_line", "as_read"),
    [
        ("thinking", ["score | thinking"], ["score | thinking"]),
        (JSON_LINE, [JSON_LINE], [r"score | WARNING a\u000ab", "score | Traceback", "score |   x"]),
        (JSON_LINE[:-9], [JSON_LINE[:-9]], [f"score | {JSON_LINE[:-9]}"]),
    ],
)
def test_lines_of_a_logger_are_json_for_programs_and_text_for_people(
    line: str,
    as_line: list[str],
    as_read: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    Lines().log("score", line)
    assert capsys.readouterr().err.splitlines() == as_line
    Live().log("score", line)
    assert [text.rstrip() for text in capsys.readouterr().err.splitlines()] == as_read


def test_a_note_stands_whole_above_the_live_table(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "waiting for callback '[red]'; answer it with: durableflow callback succeed " + "A" * 40
    with Live() as live:
        live.note(line)

    assert line in capfd.readouterr().err
