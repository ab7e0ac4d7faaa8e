"""The documentation is complete and not stale: every filter, test and function with its arguments, every diagnostic."""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from memory_service import MemoryService

from durableflow import aws, values
from durableflow.actions import Clients, check_action
from durableflow.compiler import compile_workflow, understand
from durableflow.errors import CODES
from durableflow.library import FILTERS, FUNCTIONS, TESTS
from durableflow.plan import to_bundle
from durableflow.rules import Known
from durableflow.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
EXPRESSIONS = (ROOT / "docs" / "expressions.md").read_text(encoding="utf-8")
AWS = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
LAMBDA = (ROOT / "docs" / "lambda.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """Return the first cells of the tables under a heading."""
    section = EXPRESSIONS.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]


def usages(heading: str) -> dict[str, str]:
    """Return by name what stands in the brackets of each entry of a table."""
    return {
        entry["name"]: entry["arguments"] or ""
        for row in rows(heading)
        for entry in re.finditer(r"`(?P<name>\w+)(?:\((?P<arguments>[^`]*)\))?`", row)
    }


def usage(function: Callable[..., Any]) -> str:
    """Return the arguments of a function of the library as an author writes them, without the budget and the value."""
    words = {None: "none", True: "true", False: "false"}
    written: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        default = parameter.default
        star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
        spelled = words[default] if default is None or isinstance(default, bool) else repr(default)
        written.append(star + parameter.name + ("" if default is inspect.Parameter.empty else f"={spelled}"))
    return ", ".join(written)


def test_every_filter_is_documented_and_no_other() -> None:
    assert usages("Filters").keys() == FILTERS.keys() | {"map", "select", "reject", "selectattr", "rejectattr"}


def test_every_test_is_documented_and_no_other() -> None:
    assert usages("Tests").keys() == TESTS.keys() | {"defined", "undefined"}


@pytest.mark.parametrize(
    ("heading", "name", "function"),
    [("Filters", *entry) for entry in FILTERS.items()] + [("Tests", *entry) for entry in TESTS.items()],
)
def test_the_arguments_are_documented_with_their_names_and_defaults(
    heading: str, name: str, function: Callable[..., Any]
) -> None:
    assert usages(heading)[name] == usage(function)


def test_every_function_is_documented() -> None:
    assert all(f"`{name}(" in EXPRESSIONS for name in FUNCTIONS)


def test_every_diagnostic_is_documented_in_order_and_no_other() -> None:
    documented = re.findall(r"^\| \[(DF\d+)\]\(#df\d+\) \| (\w+) \| (.+) \|$", ERRORS, re.MULTILINE)
    assert documented == [(code, entry.severity, entry.title) for code, entry in CODES.items()]


def test_every_argument_of_the_lambda_handler_is_documented_and_no_other() -> None:
    table = LAMBDA.split("| argument | meaning |")[1].split("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    documented = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(documented) == sorted(list(inspect.signature(aws.lambda_handler).parameters)[1:])


def test_the_example_of_an_aws_state_is_one() -> None:
    example = AWS.split("```yaml\n")[1].split("```")[0]
    text = f'durableflow: "1"\nname: a\nenv: [TABLE]\nstates:\n{example}'
    known = Known(check_action=partial(check_action, clients=Clients()))
    problems = understand(Source(name="aws.md", text=text), known)[2]
    assert [problem.code for problem in problems] == ["DF900"]


def test_a_diagnostic_stands_under_the_heading_of_its_hundred() -> None:
    for section in ERRORS.split("\n## ")[1:]:
        assert {f"{code}xx" for code in re.findall(r"^\| \[(DF\d)", section, re.MULTILINE)} == {section.split()[0]}


def test_the_environment_of_the_lambda_handler_is_documented_and_nothing_else() -> None:
    variables = {value for name, value in vars(aws).items() if name.endswith("_VARIABLE")}
    assert set(re.findall(r"^\| `(DURABLEFLOW_\w+)` \|", LAMBDA, re.MULTILINE)) == variables


def test_the_handlers_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # to which handlers' folders are added
    action = "{name: a, type: aws, service: dynamodb, action: put_item, params: {TableName: t, Item: {}}, retry: []}"
    plan = compile_workflow(Source(name="a.yaml", text=f'durableflow: "1"\nname: a\nstates: [{action}]\n')).plan
    Path("plan.json").write_text(values.to_text(to_bundle([plan])), encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", LAMBDA, re.DOTALL):
        service = MemoryService()
        made: dict[str, Any] = {"service": service}
        exec(example, made)
        if "service" in example:
            assert service.run(lambda event, handle=made["handler"]: dict(handle(event, None))) == {
                "Status": "SUCCEEDED",
                "Result": "{}",
            }
