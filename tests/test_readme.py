"""The README tells the truth: its links lead somewhere, its commands exist, its examples are workflows."""

import re
import shlex
from pathlib import Path

import click
import pytest

from durableflow import cli
from durableflow.compiler import compile_workflow
from durableflow.source import Source

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UPS = re.findall(r"<!-- command: (\w+) -->\n```sh\n(.*?)```\n", README, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()
]


def test_it_has_two_set_up_commands_which_ci_runs() -> None:
    assert [name for name, _ in SET_UPS] == ["run", "test"]
    assert "for name in run test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", [part for line in COMMANDS for part in line.split("&& ") if "durableflow " in part])
def test_its_commands_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, name, *arguments = shlex.split(command)

    assert program == "durableflow"
    one = cli.cli.get_command(click.Context(cli.cli), name)
    assert one is not None
    one.make_context(name, arguments)
    for path in re.findall(r"workflows/[\w./]+", command):
        assert (ROOT / path).exists()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_its_table_has_every_command() -> None:
    assert re.findall(r"^\| `durableflow (\w+)`", README, re.MULTILINE) == list(cli.COMMANDS)


def test_its_workflow_is_one() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

    compiled = compile_workflow(Source(name="README.md", text=example))

    assert [problem.message for problem in compiled.problems if problem.severity == "error"] == []
