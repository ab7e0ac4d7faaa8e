"""How do findings look? The forms in which `durableflow validate` prints problems, for people and for tools.

Every form is made from the same Diagnostics. The forms for people can be cut; those for tools always hold everything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, assert_never
from urllib.parse import quote

import click

from durableflow.errors import CODES, Severity
from durableflow.source import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durableflow.errors import Diagnostic
    from durableflow.values import Json, Object

Form: TypeAlias = Literal["pretty", "line", "json", "sarif", "github"]
FORMS: Final[tuple[Form, ...]] = ("pretty", "line", "json", "sarif", "github")

JSON_VERSION: Final = 1
"""Version of the JSON form; a change that breaks its readers raises it."""
_SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")
_COLORS: Final[dict[Severity, str]] = {"error": "red", "warning": "yellow", "info": "blue"}
_SARIF_LEVELS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "info": "note"}
_GITHUB_LEVELS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "info": "notice"}
_SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file and what was found in it.

    Args:
        file: as the user named it; where a finding without a place is put by the forms that need one.
        problems: in file order.
        hidden_errors: how many errors were left out on demand; they refuse the file all the same.
    """

    file: str
    problems: tuple[Diagnostic, ...]
    hidden_errors: int = 0


def render(checked: Sequence[Checked], form: Form, *, version: str, limit: int | None = None) -> str:
    """Return all findings as text without a final newline, empty when there is nothing to say.

    Args:
        checked: every file that was looked at.
        form: one of FORMS.
        version: of durableflow, which SARIF names as the tool.
        limit: how many findings the forms for people show, the worst ones; None for all.
    """
    match form:
        case "pretty":
            return "\n\n".join(pretty(problem) for problem in _shown(checked, limit))
        case "line":
            return "\n".join(problem.line() for problem in _shown(checked, limit))
        case "json":
            return json.dumps(_to_json(checked), indent=2)
        case "sarif":
            return json.dumps(_sarif(checked, version), indent=2)
        case "github":
            return "\n".join(_github(file, problem) for file, problem in _placed(checked))
        case _:
            assert_never(form)


def pretty(problem: Diagnostic) -> str:
    """Return the block with excerpt and hint, coloured with ANSI codes (`click.echo` takes them off where due).

    Information is about a file rather than a line of it, so it has no excerpt.
    """
    color = _COLORS[problem.severity]
    first, *rest = str(problem).split("\n")
    if problem.severity == "info":
        rest = [row for row in rest if row.startswith("hint: ")]
    place = f"{problem.span}: " if problem.span else ""
    mark = f"{problem.code} " if problem.severity == "error" else f"{problem.code} {problem.severity}: "
    rows = [click.style(place, bold=True) + click.style(mark, fg=color, bold=True) + first.removeprefix(place + mark)]
    for row in rest:
        if row.startswith("hint: "):
            rows.append(click.style("hint:", fg="cyan") + row.removeprefix("hint:"))
        elif "^" in row and row.strip(" |^") == "":
            rows.append(row.rstrip("^") + click.style("^" * row.count("^"), fg=color))
        else:
            rows.append(row)
    return "\n".join(rows)


def summary(checked: Sequence[Checked], *, limit: int | None = None) -> str:
    """Return the closing line for people, such as `2 errors and 1 warning in 3 files (20 of 31 findings are shown)`."""
    counts = count(checked)
    parts = [_counted(counts[severity], severity) for severity in ("error", "warning") if counts[severity]]
    total = sum(counts.values())
    cut = f" ({limit} of {total} findings are shown)" if limit is not None and total > limit else ""
    hidden = sum(file.hidden_errors for file in checked)
    refused = f"; {_counted(hidden, 'error')} left out, so refused all the same" if hidden else ""
    return f"{' and '.join(parts) or 'no problems'} in {_counted(len(checked), 'file')}{cut}{refused}"


def count(checked: Sequence[Checked]) -> dict[Severity, int]:
    """Return how many findings there are of each severity."""
    counts: dict[Severity, int] = {"error": 0, "warning": 0, "info": 0}
    for problem in _problems(checked):
        counts[problem.severity] += 1
    return counts


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(checked: Sequence[Checked], limit: int | None) -> list[Diagnostic]:
    # Where there is no room for all, the worst ones; in their order.
    problems = _problems(checked)
    if limit is None or len(problems) <= limit:
        return problems
    by_severity = sorted(range(len(problems)), key=lambda i: _SEVERITIES.index(problems[i].severity))
    return [problems[i] for i in sorted(by_severity[:limit])]


def _problems(checked: Sequence[Checked]) -> list[Diagnostic]:
    return [problem for file in checked for problem in file.problems]


def _placed(checked: Sequence[Checked]) -> list[tuple[str, Diagnostic]]:
    return [(p.span.source.name if p.span else file.file, p) for file in checked for p in file.problems]


def _to_json(checked: Sequence[Checked]) -> Object:
    counts = count(checked)
    return {
        "version": JSON_VERSION,
        "files": [file.file for file in checked],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "hiddenErrors": sum(file.hidden_errors for file in checked),
        "problems": [problem.to_json() for problem in _problems(checked)],
    }


def _sarif(checked: Sequence[Checked], version: str) -> Object:
    # SARIF 2.1.0. Code scanning wants `results` even when empty and a location in every result.
    placed = _placed(checked)
    codes = sorted({problem.code for _, problem in placed})
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "durableflow", "version": version, "rules": [_rule(c) for c in codes]}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(file, problem, codes.index(problem.code)) for file, problem in placed],
            }
        ],
    }


def _rule(code: str) -> Json:
    kind = CODES[code]
    return {
        "id": code,
        "shortDescription": {"text": kind.title},
        "defaultConfiguration": {"level": _SARIF_LEVELS[kind.severity]},
    }


def _result(file: str, problem: Diagnostic, rule: int) -> Json:
    region: Object = {"startLine": 1}
    if problem.span:
        region = {
            "startLine": problem.span.start.line,
            "startColumn": problem.span.start.column,
            "endLine": problem.span.end.line,
            "endColumn": problem.span.end.column,
        }
    uri = quote(file.replace("\\", "/"), safe="/~")
    return {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": _SARIF_LEVELS[problem.severity],
        "message": {"text": _message(problem)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
    }


def _message(problem: Diagnostic) -> str:
    return f"{problem.message}\nhint: {problem.hint}" if problem.hint else problem.message


def _github(file: str, problem: Diagnostic) -> str:
    # A workflow command; its own escapes keep text from outside from becoming another command.
    facts: dict[str, str | int] = {"file": visible(file)}
    if problem.span:
        (line, column), (end_line, end_column) = problem.span.start, problem.span.end
        facts |= {"line": line, "col": column, "endLine": end_line, "endColumn": end_column}
    facts["title"] = problem.code
    escaped = ",".join(f"{key}={_github_property(str(value))}" for key, value in facts.items())
    return f"::{_GITHUB_LEVELS[problem.severity]} {escaped}::{_github_data(_message(problem))}"


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(text: str) -> str:
    return _github_data(text).replace(":", "%3A").replace(",", "%2C")
