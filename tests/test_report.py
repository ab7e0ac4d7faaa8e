"""The forms in which findings are printed."""

import json

import click
import pytest

from durableflow import report
from durableflow.errors import Diagnostic
from durableflow.report import Checked
from durableflow.source import Mark, Source, Span

TEXT = "states:\n  - name: pay\n    next: chrage\n"
SPAN = Span(source=Source(name="flows/order.yaml", text=TEXT), start=Mark(3, 11), end=Mark(3, 17))
ERROR = Diagnostic(code="DF101", message="no state is called 'chrage'", hint="did you mean 'charge'?", span=SPAN)
WARNING = Diagnostic(code="DF102", message="50% sure, or: less", span=SPAN, severity="warning")
MISSING = Diagnostic(code="DF701", message="no such file")
CHECKED = [
    Checked(file="flows/order.yaml", problems=(ERROR, WARNING)),
    Checked(file="a b.yaml", problems=(MISSING,)),
    Checked(file="fine.yaml", problems=()),
]


def rendered(form: report.Form, checked: list[Checked] = CHECKED, limit: int | None = None) -> str:
    return report.render(checked, form, version="1.2.3", limit=limit)


def test_pretty_shows_excerpt_caret_and_hint_and_is_plain_without_its_colours() -> None:
    text = report.render(CHECKED[:1], "pretty", version="1", limit=1)

    assert click.unstyle(text).split("\n") == [
        "flows/order.yaml:3:11: DF101 no state is called 'chrage'",
        "    2 |   - name: pay",
        "    3 |     next: chrage",
        "      |           ^^^^^^",
        "hint: did you mean 'charge'?",
    ]
    assert click.style("^^^^^^", fg="red") in text


def test_colours_change_nothing_but_colours() -> None:
    carets = Span(source=Source(name="x", text="a\n ^^ | ^\n"), start=Mark(2, 2), end=Mark(2, 4))
    for problem in (ERROR, WARNING, MISSING, Diagnostic(code="DF101", message="odd", span=carets)):
        assert click.unstyle(report.pretty(problem)) == str(problem)


def test_information_has_no_excerpt() -> None:
    information = Diagnostic(code="DF101", message="worst path 3 operations", hint="few", span=SPAN, severity="info")

    assert click.unstyle(report.pretty(information)) == (
        "flows/order.yaml:3:11: DF101 info: worst path 3 operations\nhint: few"
    )


def test_line_is_one_line_for_each_finding() -> None:
    assert rendered("line").split("\n") == [
        "flows/order.yaml:3:11: DF101 error: no state is called 'chrage' (hint: did you mean 'charge'?)",
        "flows/order.yaml:3:11: DF102 warning: 50% sure, or: less",
        "DF701 error: no such file",
    ]


def test_the_limit_cuts_what_people_read_and_nothing_else() -> None:
    assert len(rendered("line", limit=1).split("\n")) == 1
    assert len(json.loads(rendered("json", limit=1))["problems"]) == 3
    assert len(rendered("github", limit=1).split("\n")) == 3


def test_the_limit_keeps_the_worst_in_their_order() -> None:
    assert [line.split()[1] for line in rendered("line", limit=2).split("\n")] == ["DF101", "error:"]


def test_json_has_every_fact_and_a_version() -> None:
    facts = json.loads(rendered("json"))

    assert facts["version"] == 1
    assert facts["files"] == ["flows/order.yaml", "a b.yaml", "fine.yaml"]
    assert (facts["errors"], facts["warnings"]) == (2, 1)
    assert facts["problems"][0] == {
        "code": "DF101",
        "severity": "error",
        "message": "no state is called 'chrage'",
        "hint": "did you mean 'charge'?",
        "location": {"file": "flows/order.yaml", "line": 3, "column": 11, "endLine": 3, "endColumn": 17},
    }
    assert facts["problems"][2]["location"] is None


def test_sarif_has_a_rule_for_each_code_and_a_location_for_each_result() -> None:
    run = json.loads(rendered("sarif"))["runs"][0]

    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["DF101", "DF102", "DF701"]
    assert run["tool"]["driver"]["version"] == "1.2.3"
    results = run["results"]
    assert [(r["ruleId"], r["ruleIndex"], r["level"]) for r in results] == [
        ("DF101", 0, "error"),
        ("DF102", 1, "warning"),
        ("DF701", 2, "error"),
    ]
    places = [result["locations"][0]["physicalLocation"] for result in results]
    assert places[0] == {
        "artifactLocation": {"uri": "flows/order.yaml"},
        "region": {"startLine": 3, "startColumn": 11, "endLine": 3, "endColumn": 17},
    }
    assert places[2] == {"artifactLocation": {"uri": "a%20b.yaml"}, "region": {"startLine": 1}}


def test_sarif_without_findings_still_has_results() -> None:
    assert json.loads(rendered("sarif", []))["runs"][0]["results"] == []


def test_github_lines_are_workflow_commands() -> None:
    place = "file=flows/order.yaml,line=3,col=11,endLine=3,endColumn=17"
    assert rendered("github").split("\n") == [
        f"::error {place},title=DF101::no state is called 'chrage'%0Ahint: did you mean 'charge'?",
        f"::warning {place},title=DF102::50%25 sure, or: less",
        "::error file=a b.yaml,title=DF701::no such file",
    ]


def test_a_file_name_cannot_smuggle_a_second_github_command() -> None:
    line = rendered("github", [Checked(file="a,line=9::x\n::error", problems=(MISSING,))])

    assert "\n" not in line
    assert line.startswith("::error file=a%2Cline=9%3A%3Ax")


@pytest.mark.parametrize(
    ("checked", "limit", "said"),
    [
        (CHECKED, None, "2 errors and 1 warning in 3 files"),
        (CHECKED, 2, "2 errors and 1 warning in 3 files (2 of 3 findings are shown)"),
        (CHECKED[2:], 20, "no problems in 1 file"),
        ([], 20, "no problems in 0 files"),
    ],
)
def test_the_summary_counts(checked: list[Checked], limit: int | None, said: str) -> None:
    assert report.summary(checked, limit=limit) == said
