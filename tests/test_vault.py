from __future__ import annotations

import base64
import json
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from durableflow.errors import Fault
from durableflow.vault import LocalSecrets, Redactor, dotenv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUE = 'k"e\\y/é 1+&'


# Redaction.


@pytest.mark.parametrize(
    "spelled",
    [
        str,
        json.dumps,
        lambda value: json.dumps(value, ensure_ascii=False),
        lambda value: json.dumps(json.dumps({"a": value})),
        repr,
        ascii,
        lambda value: json.dumps({"message": f"got {[value]}"}),
        lambda value: repr(value.encode()),
        lambda value: urllib.parse.quote(value, safe=""),
        urllib.parse.quote,
        lambda value: urllib.parse.urlencode({"a": value}),
        lambda value: base64.b64encode(value.encode()).decode(),
    ],
)
def test_a_secret_is_found_however_it_is_spelled(spelled: Callable[[str], str]) -> None:
    text = spelled(VALUE)
    told = Redactor([("token", VALUE)]).text(f"<{text}>")
    assert "[secret token]" in told
    assert not set("é1+&%") & set(told), "nothing of it is left"


def test_values_are_searched_in_texts_keys_and_numbers() -> None:
    redactor = Redactor([("pin", "12345678"), ("word", "swordfish")])
    value = {"swordfish": ["a swordfish!", 12345678, 1, True, None, 1.5]}
    assert redactor.value(value) == {"[secret word]": ["a [secret word]!", "[secret pin]", 1, True, None, 1.5]}


def test_a_fault_is_searched_in_all_its_parts() -> None:
    fault = Redactor([("word", "swordfish")]).fault(Fault("No_swordfish", "swordfish", {"a": "swordfish"}))
    assert (fault.name, fault.message, fault.data) == ("No_[secret word]", "[secret word]", {"a": "[secret word]"})


def test_the_longer_of_two_secrets_is_found_first() -> None:
    redactor = Redactor([("short", "abcd"), ("long", "abcdefgh")])
    assert redactor.text("abcdefgh abcd") == "[secret long] [secret short]"


def test_each_line_of_a_secret_is_found() -> None:
    redactor = Redactor([("key", "-----BEGIN KEY-----\nMIIEvQIBADAN\nabc\n-----END KEY-----\n")])
    assert redactor.text("MIIEvQIBADAN") == "[secret key]"
    assert redactor.text("abc") == "abc"


def test_short_values_are_not_looked_for() -> None:
    assert Redactor([("pin", "123")]).text("in 1234 days") == "in 1234 days"


def test_without_secrets_nothing_is_copied() -> None:
    value: Any = {"a": [1]}
    assert Redactor().value(value) is value
    assert Redactor().text("") == ""


# Secrets of this machine.


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=from file\nB=from file\n")
    secrets = LocalSecrets({"a": "A", "b": "B"}, folder=tmp_path, environ={"A": "from process"})
    assert (secrets("a"), secrets("b")) == ("from process", "from file")
    assert dict(secrets.known()) == {"a": "from process", "b": "from file"}


def test_a_secret_without_a_value_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        LocalSecrets({"token": "TOKEN"}, folder=tmp_path, environ={"TOKEN": ""})("token")
    assert caught.value.name == "Secret.NotFound"
    assert caught.value.message == (
        f"secret 'token' has no value here: TOKEN is not set in the environment and in '{tmp_path / '.env'}'"
    )


def test_a_secret_that_the_project_does_not_know() -> None:
    with pytest.raises(Fault) as caught:
        LocalSecrets({})("token")
    assert (caught.value.name, caught.value.message) == (
        "Secret.NotFound",
        "secret 'token' has no source here: add it to 'secrets' in durableflow.yaml",
    )


def test_a_file_that_cannot_be_read_does_not_show_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"TOKEN=\xff\xfe t0ken")
    with pytest.raises(Fault) as caught:
        LocalSecrets({"token": "TOKEN"}, folder=tmp_path, environ={})("token")
    assert "cannot be read: UnicodeDecodeError" in caught.value.message
    assert "t0ken" not in caught.value.message


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export A = b c  ", "b c"),
        ("A=b#c # comment", "b#c"),
        ("A='b # c\\n'", "b # c\\n"),
        ('A="b # \\"c\\"\\n" # comment', 'b # "c"\n'),
        ("A=", ""),
        ("A=# nothing", ""),
        ("A='open", "'open"),
        ("A=x=y", "x=y"),
    ],
)
def test_a_line_of_a_dotenv_file(line: str, value: str) -> None:
    assert dotenv(f"# A=no\n\n{line}\nnonsense\n") == {"A": value}
