"""The README tells the truth: its links lead somewhere, its commands exist, its examples are workflows."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from documented import Example, differences, examples
from shell import Shell, shell

from durableflow import cli
from durableflow.compiler import compile_workflow
from durableflow.source import Source

__all__ = ["shell"]

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


def its_commands() -> list[tuple[dict[str, str], list[str], int]]:
    """Return the environment, the arguments and the exit code of each `durableflow` command, in order."""
    found: list[tuple[dict[str, str], list[str], int]] = []
    for command in (part for line in COMMANDS for part in line.split("&& ")):
        words = shlex.split(command, comments=True)
        given = {
            name: value for name, _, value in (word.partition("=") for word in words if re.match(r"[A-Z_]+=", word))
        }
        if words[len(given) : len(given) + 1] == ["durableflow"]:
            code = re.search(r"# exit code (\d+)$", command)
            found.append((given, words[len(given) + 1 :], int(code[1]) if code else 0))
    return found


def test_its_commands_run_one_after_the_other(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows", ignore=shutil.ignore_patterns(".durableflow"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_LATENCY", "0")
    monkeypatch.setenv("SHOP_JOURNAL", str(tmp_path / "journal"))
    commands = its_commands()
    assert {arguments[0] for _, arguments, _ in commands} >= {"run", "executions", "replay", "init"}

    for given, arguments, code in commands:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        ran = shell(*arguments)
        assert ran.code == code, f"{shlex.join(arguments)}\n{ran.err}"


def test_it_runs_every_example() -> None:
    run = {Path(arguments[1]) for _, arguments, _ in its_commands() if arguments[0] == "run"}
    there = {path.relative_to(ROOT) for path in (ROOT / "workflows").glob("*.yaml")}
    assert there - run == {Path("workflows/durableflow.yaml"), Path("workflows/publish_dashboard.yaml")}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_its_table_has_every_command() -> None:
    assert re.findall(r"^\| `durableflow (\w+)`", README, re.MULTILINE) == list(cli.COMMANDS)


@pytest.mark.parametrize("example", examples(ROOT / "README.md"), ids=lambda example: example.name)
def test_its_examples_validate_and_end_as_it_says(example: Example) -> None:
    compiled = compile_workflow(Source(name="README.md", text=example.text))
    assert [problem.message for problem in compiled.problems if problem.severity == "error"] == []
    assert example.told

    assert differences(example, {}) == {}
