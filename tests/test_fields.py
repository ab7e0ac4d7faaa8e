"""Every field of the language has a test that covers it, and `docs/fields.md` says which."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_RUN = "the interpreter does not run it yet"
_DEPLOY = "nothing is deployed yet"

NOT_YET: dict[str, tuple[str, str]] = {
    "file": (_RUN, "secrets timeout finally compensation"),
    "defaults": (_RUN, "timeout"),
    "compensation": (_RUN, "on_error"),
    "state": (_RUN, "renamed_from compensate"),
    "invoke": (_RUN, "timeout"),
    "step": (_RUN, "timeout"),
    "aws": (_RUN, "type service action params semantics timeout retry"),
    "http": (_RUN, "type method url headers query body success redirects semantics timeout retry"),
    "workflow": (_RUN, "type workflow payload mode timeout retry"),
    "wait_for_callback": (_RUN, "type submit heartbeat_timeout result_format timeout retry"),
    "wait_for_condition": (
        _RUN,
        "type check until initial interval backoff_rate max_delay jitter max_attempts timeout retry",
    ),
    "choice": (_RUN, "timeout retry"),
    "block": (_RUN, "finally compensation context timeout retry"),
    "loop": (_RUN, "timeout retry"),
    "parallel": (_RUN, "type branches max_concurrency completion nesting timeout retry"),
    "map": (_RUN, "type items states item_name batch_size max_concurrency completion nesting timeout retry"),
    "check": (_RUN, "output retry timeout result_schema"),
    "completion": (_RUN, "min_successful tolerated_failure_count tolerated_failure_percentage"),
    "project": ("of states that do not run yet", "actions http_answers secrets offload http aws limits"),
    "target": ("no such target runs here yet", "durable http lambda"),
    "secret": ("of states that do not run yet", "env"),
    "deploy": (_DEPLOY, "function runtime memory timeout alias environment"),
    "offload": ("nothing is offloaded yet", "threshold directory s3"),
    "http_settings": ("of states that do not run yet", "allow"),
    "aws_settings": ("of states that do not run yet", "allow"),
    "limits": ("only `validate` looks at it yet", "operations"),
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
