"""Every field of the language has a test that covers it, and `docs/fields.md` says which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOT_YET: dict[str, tuple[str, str]] = {
    "deploy": ("nothing is deployed yet", "function runtime memory timeout alias environment"),
}
"""The fields that no test covers, by what they belong to, each with the reason. This must become empty."""

MISSING = {f"{part}.{name}": reason for part, (reason, names) in NOT_YET.items() for name in names.split()}


def test_every_field_is_covered_or_known_to_be_missing() -> None:
    assert [key for key in fields.field_keys() if key not in fields.covered() and key not in MISSING] == []


def test_a_field_that_is_covered_is_not_called_missing() -> None:
    assert [key for key in MISSING if key in fields.covered()] == []


def test_marks_and_the_list_of_the_missing_name_fields_that_exist() -> None:
    known = fields.field_keys()
    assert len(set(known)) == len(known)
    assert [key for key in (*fields.covered(), *MISSING) if key not in known] == []


def test_a_test_that_covers_a_field_has_it_in_its_file() -> None:
    for key, tests in fields.covered().items():
        name = key.split(".")[1]
        for test in tests:
            file = fields.ROOT / test.split("::", maxsplit=1)[0]
            text = re.sub(r"@pytest\.mark\.covers\([^)]*\)", "", file.read_text(encoding="utf-8"))
            assert re.search(rf"{name}\b", text), f"{test} says that it covers {key}"


def test_the_page_is_made_of_the_models_and_the_marks(golden: Callable[[Path, str], None]) -> None:
    golden(fields.ROOT / "docs" / "fields.md", fields.documentation(MISSING))
