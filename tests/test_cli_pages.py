"""The pages of the codes: every code has one, and its examples show what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from shell import Shell, shell

from durableflow.cli import pages
from durableflow.errors import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shell"]

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "tests" / "cases" / "codes"
WITH_EXAMPLE = [code for code in CODES if pages.page(code).wrong is not None]


def found_in(example: str, shell: Shell, folder: Path) -> list[str]:
    """Return the codes that `validate` finds, the price left out; a list of states stands for a workflow with them."""
    if example.startswith(("- {name:", "- name:")):
        example = f'durableflow: "1"\nname: example\nstates:\n{example}'
    if example.startswith("{"):
        file = folder / "example.json"
        file.write_text(example, encoding="utf-8")
        ran = shell("validate", file, "--format", "line")
    else:
        ran = shell("validate", "-", "--format", "line", stdin=example.encode())
    assert "Traceback" not in ran.err
    return [code for code in re.findall(r": (DF\d+) \w+: ", ran.out) if code != "DF900"]


def test_every_code_has_a_page_in_order() -> None:
    assert [code for hundred in pages.hundreds().values() for code in hundred.pages] == list(CODES)
    for name, hundred in pages.hundreds().items():
        assert {f"{code[:3]}xx" for code in hundred.pages} == {name}


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_more_than_the_title(code: str) -> None:
    page = pages.page(code)
    assert len(page.meaning) > len(CODES[code].title)
    assert (page.wrong is None) == (page.mended is None)


@pytest.mark.parametrize("code", WITH_EXAMPLE)
def test_the_wrong_example_has_the_problem_and_the_mended_one_none(
    code: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    page = pages.page(code)
    assert page.wrong is not None
    assert page.mended is not None
    assert found_in(page.wrong, shell, tmp_path) == [code]
    assert found_in(page.mended, shell, tmp_path) == []


def test_the_documentation_is_made_of_the_pages(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs" / "errors.md", pages.documentation())
