"""What all commands share: help, usage errors, exit codes, last resorts."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from shell import Shell, shell

from durableflow import cli
from durableflow.cli import console
from durableflow.errors import Diagnostic, DurableflowError, ReplayError, ServiceError, UsageError, WorkflowError

__all__ = ["shell"]

DOCS = Path(__file__).parent.parent / "docs" / "cli.md"


def program(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "durableflow", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_help_lists_the_commands(shell: Shell) -> None:
    ran = shell("--help")

    assert ran.code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", ran.out, re.MULTILINE)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_what_the_table_says(name: str) -> None:
    command = getattr(import_module(f"durableflow.cli.{cli.COMMANDS[name][0]}"), f"{name}_command")

    assert isinstance(command, click.Command)
    assert command.name == name


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_documentation_has_the_options_that_there_are_and_no_others(name: str) -> None:
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    commands = {f"durableflow {name}": command}
    if isinstance(command, click.Group):
        commands = {f"durableflow {name} {one}": command.commands[one] for one in command.commands}
    section = DOCS.read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    usages, options = set[str](), set[str]()
    for typed, one in commands.items():
        own = [each for each in one.params if isinstance(each, click.Option)]
        required = [f"{each.opts[-1]} {each.metavar}" for each in own if each.required]
        usages.add(" ".join([typed, *one.collect_usage_pieces(click.Context(one))[1:], *required]))
        options |= {option for each in own for option in each.opts}

    assert set(re.findall(r"^    (durableflow .*)$", section, re.MULTILINE)) == usages
    assert set(re.findall(r"`(--?[a-z-]+)", section)) - {"-"} == options


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_is_text_for_people(name: str, shell: Shell) -> None:
    ran = shell(name, "--help")

    assert ran.code == 0
    assert ran.out.replace("\n", "").isprintable()
    assert "\\" not in ran.out  # a mark of click's that it has not read


def test_help_loads_none_of_what_commands_need() -> None:
    code = """
import sys
from durableflow.cli import main
try:
    main(["--help"])
except SystemExit:
    print("loaded:", {"yaml", "pydantic", "jinja2", "jsonschema", "rich", "boto3", "sqlite3"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.endswith("\nloaded: set()\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["valdate"], "did you mean 'validate'?"),
        (["frobnicate"], "commands: validate, run"),
        (["run"], "Missing argument 'WORKFLOW'"),
        (["validate", "--fromat", "json"], "No such option"),
        (["validate", "--limit", "-1"], "-1 is not in the range"),
        (["graph", "x.yaml", "--format", "png"], "'png' is not one of"),
    ],
)
def test_a_wrong_call_is_told_with_the_usage_and_exits_2(shell: Shell, arguments: list[str], said: str) -> None:
    ran = shell(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: durableflow")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_no_command_shows_the_help_and_exits_2(shell: Shell) -> None:
    ran = shell()

    assert ran.code == 2
    assert "Commands:" in ran.out + ran.err


def test_the_version_is_shown(shell: Shell) -> None:
    assert re.fullmatch(r"durableflow \S+\n", shell("--version").out)


def problem(code: str) -> Diagnostic:
    return Diagnostic(code=code, message="no")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkflowError([problem("DF101")]), 1),
        (ReplayError(problem("DF510"), operation_id="x", expected=None, recorded=None), 1),
        (UsageError(problem("DF701")), 2),
        (UsageError(problem("DF704")), 3),
        (UsageError(problem("DF730")), 3),
        (UsageError(problem("DF760")), 3),
        (ServiceError(problem("DF721"), name="ResourceNotFoundException", status=404, is_retryable=False), 2),
        (ServiceError(problem("DF725"), name="ServiceException", status=500, is_retryable=True), 3),
    ],
)
def test_an_error_is_worth_what_would_have_to_change(error: DurableflowError, code: int) -> None:
    assert console.exit_code(error) == code


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A command `break` that raises whatever its `error` says."""

    def broken(error: BaseException) -> click.Command:
        def callback() -> None:
            raise error

        return click.Command("break", callback=callback)

    def arrange(error: BaseException) -> None:
        monkeypatch.setitem(cli.COMMANDS, "break", ("break", "Breaks."))
        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: broken(error))

    return arrange  # type: ignore[return-value]


def test_a_bug_of_ours_is_one_line_and_a_traceback_on_demand(shell: Shell, raising) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    raising(ZeroDivisionError("division by\nzero\x1b[2J"))

    short, long = shell("break"), shell("--debug", "break")

    assert short.code == long.code == 3
    assert short.err.startswith("error: durableflow itself went wrong: ZeroDivisionError: division by\nhint:")
    assert "Traceback" not in short.err
    assert "Traceback" in long.err


def test_ctrl_c_exits_130_and_trouble_of_the_machine_3(shell: Shell, raising) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    raising(KeyboardInterrupt())
    assert shell("break").code == 130

    raising(PermissionError(13, "Permission denied", "/etc/shadow"))
    ran = shell("break")
    assert (ran.code, ran.err) == (3, "error: Permission denied: '/etc/shadow'\n")


def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "durableflow", "schema"]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)

    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device that refuses every byte")
def test_a_full_disk_is_told_and_exits_1() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "durableflow", "schema"]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr == "error: the output could not be written: No space left on device\n"


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, {"COLUMNS": "1"}],
)
def test_any_locale_and_width_will_do(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text('durableflow: "1"\nname: "größe\u202e"\nstates: []\n', encoding="utf-8")

    ran = program("validate", str(file), env={**os.environ, **environment})
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "DF15" in ran.stdout
    assert "\u202e" not in ran.stdout

    assert program("--help", env={**os.environ, **environment}).returncode == 0


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text("states: []\n")

    assert "\x1b[" in on_a_terminal("validate", str(file))
    assert "\x1b[" not in on_a_terminal("validate", str(file), NO_COLOR="1")
    assert "\x1b[" not in program("validate", str(file)).stdout


def on_a_terminal(*arguments: str, **environment: str) -> str:
    import pty

    parent, child = pty.openpty()
    command = [sys.executable, "-m", "durableflow", *arguments]
    with subprocess.Popen(command, stdout=child, stderr=child, env={**os.environ, **environment}) as running:
        os.close(child)
        read = b""
        try:
            while some := os.read(parent, 65536):
                read += some
        except OSError:  # Linux says so at the end
            pass
        os.close(parent)
    assert running.returncode == 1
    return read.decode()
