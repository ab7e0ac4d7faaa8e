"""The scripts for shells, and what they are told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell, shell

from durableflow.cli import COMMANDS
from durableflow.cli.completion import SHELLS

__all__ = ["shell"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "durableflow.yaml").write_text(
        'durableflow: "1"\nworkflows: [.]\nfunctions: {dismiss: {result: 1}, other: {result: 1}}\n'
    )
    states = "[{name: last, type: pass, output: 1}]"
    (tmp_path / "double.yaml").write_text(f'durableflow: "1"\nname: double\nstates: {states}\n')


@pytest.fixture
def complete(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> object:
    def told(*words: str) -> list[str]:
        with monkeypatch.context() as environment:
            environment.setenv("_DURABLEFLOW_COMPLETE", "bash_complete")
            environment.setenv("COMP_WORDS", " ".join(("durableflow", *words)))
            environment.setenv("COMP_CWORD", str(len(words)))
            ran = shell()
        assert ran.err == ""
        return [line.partition(",")[2] for line in ran.out.splitlines() if line]

    return told


@pytest.mark.parametrize("name", SHELLS)
def test_a_script_is_one_of_its_shell(shell: Shell, name: str) -> None:
    ran = shell("completion", name)

    assert (ran.code, "_DURABLEFLOW_COMPLETE" in ran.out) == (0, True)
    if program := shutil.which(name):
        subprocess.run([program, "-n"], input=ran.out, text=True, check=True)


def test_bash_completes_what_is_typed(shell: Shell, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = shell("completion", "bash").out
    (tmp_path / "durableflow").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m durableflow "$@"\n')
    (tmp_path / "durableflow").chmod(0o700)
    typed = (
        f'{script}\nPATH="{tmp_path}:$PATH"\nCOMP_WORDS=(durableflow executions sh)\nCOMP_CWORD=2\n'
        '_durableflow_completion durableflow\necho "${COMPREPLY[@]}"\n'
    )

    ran = subprocess.run([bash, "--norc"], input=typed, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("show\n", "")


def test_commands_options_and_choices_are_completed(complete: object) -> None:
    assert callable(complete)
    assert complete("") == list(COMMANDS)
    assert complete("executions", "s") == ["show", "stop"]
    assert complete("executions", "list", "--status", "R") == ["RUNNING"]
    assert "--follow" in complete("executions", "history", "--fo")
    assert complete("nonsense", "sch") == ["schema"]  # a command is what may stand there


def test_names_are_completed(complete: object, shell: Shell) -> None:
    assert callable(complete)
    assert complete("executions", "show", "") == []  # there is no store
    for name in ("one", "two", "other"):
        shell("run", "double.yaml", "--name", name)

    assert complete("executions", "show", "o") == ["other", "one"]
    assert complete("executions", "stop", "--store", ".durableflow/executions.db", "t") == ["two"]
    assert complete("executions", "show", "--endpoint-url", "http://127.0.0.1:9", "") == []
    assert complete("callback", "fail", "--execution", "t") == ["two"]
    assert complete("invoke", "d") == ["dismiss", "double"]

    Path("durableflow.yaml").write_text("nonsense: [")
    assert complete("invoke", "d") == []
    assert complete("executions", "show", "o") == []
