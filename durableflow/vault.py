"""Where does the value of a secret come from, and how is it kept out of everything that is told?

A secret is looked up by the worker, in the attempt that needs it, and lives as long as the attempt. What leaves the
worker - result, fault, log line - passes a :class:`Redactor` first, which knows the values that were used.

Source: language.md 3 and 11; reliability.md D11.
"""

from __future__ import annotations

import json
import os
import re
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

from durableflow.errors import Fault
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from durableflow.values import Json

NOT_FOUND: Final = "Secret.NotFound"
"""What an attempt fails with whose secret has no value here."""
DOTENV: Final = ".env"
MIN_CHARACTERS: Final = 4
"""Shorter values are not looked for: they stand in too much that has nothing to do with them."""

_DOTENV_MAX_BYTES: Final = 1024 * 1024
_LINE_MIN_CHARACTERS: Final = 8
"""Of a secret of several lines each line this long is looked for, since output is written line by line."""
_SETTING: Final = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
_ESCAPE: Final = re.compile(r"\\(.)")
_NOTHING: Final = re.compile(r"(?!)")


class Redactor:
    """Replaces the values of secrets by `[secret NAME]`. Thread-safe.

    Found is a value as it is, as Python's `repr` shows it, escaped as in JSON (also in JSON text inside JSON),
    percent-encoded and in base64.
    """

    def __init__(self, secrets: Iterable[tuple[str, str]] = ()) -> None:
        self._replaced: dict[str, str] = {}
        self._pattern = _NOTHING
        self._guard = threading.Lock()
        for name, value in secrets:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """Look for the value of a secret from now on; one of fewer than MIN_CHARACTERS is not looked for."""
        if len(value) < MIN_CHARACTERS or value in self._replaced:
            return
        with self._guard:
            for form in _forms(value):
                self._replaced.setdefault(form, f"[secret {name}]")
            # Longest first: one secret may begin like another.
            longest = sorted(self._replaced, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest)))

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        return self._pattern.sub(lambda found: self._replaced[found.group()], text)

    def value(self, value: Json) -> Json:
        """Return a JSON value without the secrets: in texts, in keys, and as numbers."""
        if self._pattern is _NOTHING:
            return value
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case int() | float() if not isinstance(value, bool):
                return self._replaced.get(str(value), value)
            case _:
                return value

    def fault(self, fault: Fault) -> Fault:
        """Return a fault without the secrets."""
        return Fault(self.text(fault.name), self.text(fault.message), self.value(fault.data), fault.origin)


def _forms(value: str) -> Iterator[str]:
    """Give what a secret may look like in what is told."""
    parts = {value, *(line for line in value.splitlines() if len(line) >= _LINE_MIN_CHARACTERS)}
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        # As it is, and as Python shows text and bytes; each of them also in JSON text, and in JSON text inside that.
        for written in (part, repr(part)[1:-1], ascii(part)[1:-1], repr(data)[2:-1]):
            for is_ascii in (True, False):
                text = written
                for _ in range(3):
                    yield text
                    text = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        yield quote(data, safe="")
        yield quote(data)
        yield quote(data, safe="/:@!$&'()*+,;=-._~?[]")
        yield quote_plus(data)
        yield b64encode(data).decode()


class LocalSecrets:
    """Secrets on this machine: in the environment of the process, else in the `.env` file beside the project file.

    Args:
        names: the environment name of each secret that the project file declares.
        folder: of the project file; None without a project.
        environ: the environment; None for that of the process.
    """

    def __init__(
        self, names: Mapping[str, str], *, folder: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._names = names
        self._file = None if folder is None else folder / DOTENV
        self._environ = os.environ if environ is None else environ

    def __call__(self, name: str, _reference: str | None = None) -> str:
        """Return the value of a secret; where it comes from on AWS does not matter here.

        Raises:
            Fault: Secret.NotFound, it is not declared, or has no value.
        """
        if name not in self._names:
            message = f"secret '{shown(name)}' has no source here: add it to 'secrets' in durableflow.yaml"
            raise Fault(NOT_FOUND, message)
        value = self._environ.get(self._names[name]) or self._file_values().get(self._names[name])
        if not value:
            where = "the environment" if self._file is None else f"the environment and in '{shown(str(self._file))}'"
            message = f"secret '{shown(name)}' has no value here: {self._names[name]} is not set in {where}"
            raise Fault(NOT_FOUND, message)
        return value

    def known(self) -> Iterator[tuple[str, str]]:
        """Give name and value of each secret that has one, for whoever has to keep them out of a file."""
        settings = self._file_values()
        for name, env in self._names.items():
            if value := self._environ.get(env) or settings.get(env):
                yield name, value

    def _file_values(self) -> dict[str, str]:
        # Read anew each time: a file that is mended counts from the next attempt on.
        if self._file is None or not self._file.is_file():
            return {}
        try:
            with self._file.open("rb") as stream:
                text = stream.read(_DOTENV_MAX_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            # What stands there is not told: it is secret.
            message = f"'{shown(str(self._file))}' cannot be read: {type(error).__name__}"
            raise Fault(NOT_FOUND, message) from None
        return dotenv(text)


def dotenv(text: str) -> dict[str, str]:
    r"""Return the settings of a `.env` file.

    A line is `NAME=VALUE`, with or without `export` in front. A value may stand in single quotes, as it is, or in
    double quotes, where `\n`, `\"` and `\\` mean what they do elsewhere; without quotes it ends at ` #`. Other lines
    are passed over.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SETTING.fullmatch(line):
            found[match["name"]] = _unquoted(match["value"])
    return found


def _unquoted(value: str) -> str:
    for quotes in ("'", '"'):
        if value.startswith(quotes) and (
            end := re.fullmatch(rf"{quotes}((?:[^\\{quotes}]|\\.)*){quotes}(\s*#.*)?", value)
        ):
            is_plain = quotes == "'"
            return (
                end[1]
                if is_plain
                else _ESCAPE.sub(lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), end[1])
            )
    return re.split(r"\s#", f" {value}", maxsplit=1)[0].strip()
