"""Every code that `validate` can print has a case: one fault each, found at exactly its place and nothing beside it.

`tests/cases/codes` is a project; a folder in it is a case with `workflow.yaml` (or .json) and `problems.txt`, what `validate`
prints. Faults that can be told together stand in one file: behind each, in a comment, its code and what is underlined.
Those that exclude each other have a folder of the code's name. `pytest --update-golden` writes `problems.txt` anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shell import Shell, shell

from durableflow.errors import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shell"]

PROJECT = Path(__file__).parent / "cases" / "codes"
TOGETHER = ("meaning", "shape", "text")
ALONE = sorted(file.parent.name for file in PROJECT.glob("DF*/workflow.*"))

MADE: dict[str, Callable[[], bytes]] = {
    "DF101": lambda: 'durableflow: "1"\nname: grün\n'.encode("latin-1"),
    "DF103": lambda: b'durableflow: "1"\nname: a\x07b\n',
    "DF107": lambda: b"durableflow: '1'\nname: '" + b"a" * 262_145 + b"'\n",
    "DF209": lambda: b'durableflow: "1"\nname: a\nstates:\n  - {name: a, type: pass, output: "{{ 1 }}' + b"a" * 16_384 + b'"}\n',
    "DF703": lambda: b"#" * 1_048_577,
}  # fmt: skip
"""Files that are too large, or no text, to be kept beside the others."""

ELSEWHERE = {
    "DF216": "the models refuse such an expression first: DF156",
    "DF319": "of many workflows together: test_rules.py",
    "DF754": "of an execution whose workflow is gone",
    "DF704": "a test cannot make a file that the superuser may not read: test_files.py",
}
NOT_FILES = ("DF50", "DF51", "DF6", "DF72", "DF73", "DF76", "DF78", "DF79")
"""Executions, recordings, callbacks, the service, the store and wrong calls: nothing that a workflow or project file can have."""


def underlined(text: str, place: dict[str, int]) -> str:
    line = text.split("\n")[place["line"] - 1]
    return line[place["column"] - 1 : place["endColumn"] - 1 if place["endLine"] == place["line"] else None]


def said_in_comments(text: str) -> list[tuple[int, str, str]]:
    said = [(n, re.search(r"# (DF\d+)(?: (.*))?$", line)) for n, line in enumerate(text.split("\n"), 1)]
    return sorted((n, found[1], found[2] or "") for n, found in said if found)


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.mark.parametrize("case", TOGETHER)
def test_faults_in_one_file_are_all_found_where_the_comments_say(case: str, shell: Shell) -> None:
    text = (PROJECT / case / "workflow.yaml").read_text(encoding="utf-8")

    found = json.loads(shell("validate", f"{case}/workflow.yaml", "--format", "json").out)["problems"]

    places = [(p["location"]["line"], p["code"], underlined(text, p["location"])) for p in found]
    assert sorted(places) == said_in_comments(text)
    assert len({code for _, code, _ in places}) == len(places)


@pytest.mark.parametrize("case", [*TOGETHER, *ALONE])
def test_what_validate_prints(case: str, shell: Shell, golden: Callable[[Path, str], None]) -> None:
    (file,) = (PROJECT / case).glob("workflow.*")

    ran = shell("validate", f"{case}/{file.name}", "--limit", "0")

    assert ran.code == (0 if CODES.get(case, CODES["DF101"]).severity == "warning" else 1)
    golden(PROJECT / case / "problems.txt", ran.out.replace(str(PROJECT), "PROJECT"))


@pytest.mark.parametrize("case", MADE)
def test_a_file_that_is_too_large_or_no_text(
    case: str, shell: Shell, tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    (tmp_path / "workflow.yaml").write_bytes(MADE[case]())

    ran = shell("validate", tmp_path / "workflow.yaml", "--format", "line")

    assert ran.code == 1
    (PROJECT / case).mkdir(exist_ok=True)
    golden(PROJECT / case / "problems.txt", ran.out.replace(f"{tmp_path}/", ""))


@pytest.mark.parametrize("code", [*ALONE, *MADE])
def test_a_fault_that_excludes_others_is_found_alone(code: str) -> None:
    printed = (PROJECT / code / "problems.txt").read_text(encoding="utf-8")
    assert set(re.findall(r"^\S+: (DF\d+) ", printed, re.MULTILINE)) - {"DF900"} == {code}


PROJECT_FILES = {
    "DF750": 'durableflow: "1"\nworkflows: [nowhere]\n',
    "DF751": 'durableflow: "1"\nworkflows: [one.yaml, two.yaml]\n',
    "DF753": 'durableflow: "1"\nworkflows: [one.yaml]\nfunctions: {same: {result: 1}}\n',
}
PLACES = {"DF750": "durableflow.yaml:2:13", "DF751": "two.yaml:2:7", "DF753": "durableflow.yaml:3:13"}


@pytest.mark.parametrize("code", PROJECT_FILES)
def test_a_fault_of_a_project_file(code: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        text = 'durableflow: "1"\nname: same\nstates: [{name: a, type: pass}]\n'
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "durableflow.yaml").write_text(PROJECT_FILES[code], encoding="utf-8")

    found = json.loads(shell("validate", "durableflow.yaml", "--format", "json").out)["problems"]

    places = [(p["code"], p["location"]) for p in found]
    assert [(c, f"{Path(at['file']).name}:{at['line']}:{at['column']}") for c, at in places] == [(code, PLACES[code])]


@pytest.mark.parametrize(("path", "code"), [("nowhere.yaml", "DF701"), ("/dev/null", "DF702")])
def test_a_path_that_is_no_file(path: str, code: str, shell: Shell) -> None:
    ran = shell("validate", path, "--format", "line")

    assert ran.code == 2
    assert ran.out.startswith(f"{code} error: ")


def test_every_code_that_validate_can_print_has_a_case() -> None:
    printed = "".join(file.read_text(encoding="utf-8") for file in PROJECT.glob("*/problems.txt"))
    shown = {*re.findall(r"\bDF\d{3}\b", printed), *PROJECT_FILES, "DF701", "DF702"}
    assert [c for c in CODES if c not in shown and c not in ELSEWHERE and not c.startswith(NOT_FILES)] == []
    assert [code for code in ELSEWHERE if code in shown or code not in CODES] == []
