"""Does a value fit what an AWS action takes, and how do JSON and AWS's types become each other?

AWS's models know types that JSON has not: bytes and times. This is the whole of the difference (docs/aws.md):

    request    text for bytes: its UTF-8; `{"$base64": "…"}`: any bytes      text for a time: ISO 8601; a number: epoch
    response   bytes that are UTF-8: text; other bytes: `{"$base64": "…"}`   a time: 2026-01-01T00:00:00.000Z

Nothing else is converted or guessed: a number where text is needed is wrong. The same walk serves `validate`, where
some values are not known yet, and the call itself. No message has a value in it: what a template gives may be secret.
The models are botocore's, handed in; nothing here loads them.

Source: language.md 4 and 12, rules 54, 56.
"""

from __future__ import annotations

import difflib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from durableflow.library import EvaluationError, format_time, kind, parse_time
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

BASE64: Final = "$base64"
"""The one key of an object that stands for bytes."""
MISFITS_MAX: Final = 20
"""Nobody reads more; one wrong parameter in a list of ten thousand is one mistake."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Path: TypeAlias = "tuple[str | int, ...]"
Closest: TypeAlias = "Callable[[str, Collection[str]], str | None]"
"""Gives the one of some names that is most like a word, or None; comparing takes long, so `validate` bounds it."""


class Unknown(Enum):
    """Stands for a value that is not known before the workflow runs: what a template will give."""

    ANY = "anything"
    TEXT = "some text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What is wrong with an action or its parameters.

    Args:
        code: DF304 the service, DF305 the action, DF311 a parameter, DF421 a value that the model does not list,
            DF422 the project does not allow the action.
        path: where in the construct that calls the action, such as `("params", "Item", "id")`.
        is_key: whether the key at `path` is meant, not its value.
        message: as in a Diagnostic.
        hint: likewise.
    """

    code: str
    path: Path
    message: str
    hint: str | None = None
    is_key: bool = False


class Shape(Protocol):
    """What is used of botocore's shapes; which members there are depends on `type_name`."""

    name: str
    type_name: str
    metadata: Mapping[str, Any]
    serialization: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action of AWS, as far as its parameters go.

    Args:
        call: what messages call it, `dynamodb.put_item`.
        shape: of all parameters together; None when it takes none.
        tokens: parameters that keep the action from being done twice; they need not be given.
        provided: further parameters that botocore fills in.
        aliases: other names of parameters, each with the model's own.
    """

    call: str
    shape: Shape | None
    tokens: Collection[str] = ()
    provided: Collection[str] = ()
    aliases: Mapping[str, str]


def closest_name(word: str, known: Collection[str]) -> str | None:
    """Return the one of some names that is most like a word, or None."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def fit(
    action: Action, params: Mapping[str, object], closest: Closest = closest_name
) -> tuple[dict[str, object], list[Misfit]]:
    """Return parameters as botocore takes them, and what is wrong with them.

    Args:
        action: what they are for.
        params: JSON values, with :class:`Unknown` where a value is not known yet. One that is null is left out, at
            every depth, so that a template can leave an optional parameter away.
        closest: finds what a wrong name may have meant.

    Returns:
        The parameters, of use only when nothing is wrong and nothing unknown, and at most MISFITS_MAX misfits, then
        as many of code DF421, which are no more than a guess.
    """
    fitting = _Fitting(action.call, closest)
    if action.shape is None:
        for name in params:
            fitting.unknown(name, (), ())
        return {}, fitting.misfits
    given = {*action.tokens, *action.provided}
    made = fitting.members(action.shape, params, (), aliases=action.aliases, given=given)
    return made, [*fitting.misfits, *fitting.guesses]


def with_tokens(action: Action, params: dict[str, object], key: str) -> dict[str, object]:
    """Return parameters with the idempotency tokens that the author has not given (rule 54).

    Args:
        action: what they are for.
        params: as :func:`fit` returned them.
        key: the state's idempotency key, 32 hexadecimal digits; cut to the member's longest, written as a UUID where
            the member asks for one or for more than 32 characters.
    """
    members: Mapping[str, Shape] = cast("Any", action.shape).members if action.tokens else {}
    return params | {name: token(members[name].metadata, key) for name in action.tokens if name not in params}


def token(metadata: Mapping[str, Any], key: str) -> str:
    """Return an idempotency key as a member with these limits (`min`, `max`, `pattern`) takes it."""
    uuid = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
    if metadata.get("min", 0) > len(key) or (not _matches(metadata, key) and _matches(metadata, uuid)):
        return uuid
    return key[: metadata.get("max", len(key))]


def _matches(metadata: Mapping[str, Any], text: str) -> bool:
    try:
        return re.fullmatch(metadata.get("pattern", ".*"), text) is not None
    except re.error:  # the models are written for Java's patterns
        return True


class _WrongError(Exception):
    """A value does not fit: `what` follows the name of the parameter in the message."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def _wrong_kind(value: object, needed: str, hint: str | None = None) -> _WrongError:
    given = "text" if value is Unknown.TEXT else kind(value)
    return _WrongError(f"is {given}, but must be {needed}", hint)


class _Fitting:
    """Walks parameters and their shape side by side."""

    def __init__(self, call: str, closest: Closest) -> None:
        self._call = call
        self._closest = closest
        self.misfits: list[Misfit] = []
        self.guesses: list[Misfit] = []
        """Kept apart: the call is made in spite of them, so they must not end the walk."""

    def value(self, shape: Shape, value: object, path: Path) -> object:  # noqa: PLR0911 - one return for each type
        """Return one value as botocore takes it; where it does not fit, a misfit is added."""
        if value is Unknown.ANY or len(self.misfits) >= MISFITS_MAX:
            return value
        # Any JSON at all: `jsonvalue` is sent as its text, a document as it is.
        if shape.serialization.get("jsonvalue") or getattr(shape, "is_document_type", False):
            return value
        try:
            match shape.type_name:
                case "structure":
                    return self._structure(shape, value, path)
                case "list":
                    return self._list(shape, value, path)
                case "map":
                    return self._map(shape, value, path)
                case scalar:
                    if scalar in _SCALARS:
                        return _SCALARS[scalar](shape, value)
                    return self._text(shape, value, path)
        except _WrongError as wrong:
            self._add(path, f"'{_place(path)}' {wrong.what}", wrong.hint)
            return None

    def members(
        self,
        shape: Shape,
        values: Mapping[str, object],
        path: Path,
        *,
        aliases: Mapping[str, str] | None = None,
        given: Collection[str] = (),
    ) -> dict[str, object]:
        """Return the members of a structure, by the model's names.

        Args:
            shape: of the structure.
            values: the members, by the author's names.
            path: where it is.
            aliases: further names, each with the model's own.
            given: members that need not be there.
        """
        known: Mapping[str, Shape] = cast("Any", shape).members
        aliases = aliases or {}
        made: dict[str, object] = {}
        meant: set[str] = set()  # what is there under a wrong name is not missing as well
        for name, value in values.items():
            if len(self.misfits) >= MISFITS_MAX:
                break
            own = aliases.get(name, name)
            if own not in known:
                near = self.unknown(name, path, (*known, *aliases))
                meant |= {aliases.get(near, near)} if near else set()
            elif value is not None:
                made[own] = self.value(known[own], value, (*path, name))
        for name in cast("list[str]", cast("Any", shape).required_members):
            if name not in made and name not in given and name not in meant:
                what = f"'{_place(path)}' needs '{name}'" if path else f"needs the parameter '{name}'"
                self._add(path, what, None, is_key=True)
        return made

    def unknown(self, name: str, path: Path, known: Collection[str]) -> str | None:
        """Add that a structure has no such member, and return the one that was meant, if any."""
        near = self._near(name, known)
        hint = _question(near) or (f"it has: {_some(known)}" if known else "it takes none")
        what = f"has no parameter '{shown(name)}'"
        self._add((*path, name), f"'{_place(path)}' {what}" if path else what, hint, is_key=True)
        return near

    def _structure(self, shape: Shape, value: object, path: Path) -> object:
        if not isinstance(value, dict):
            raise _wrong_kind(value, "an object")
        before = len(self.misfits)
        made = self.members(shape, cast("dict[str, object]", value), path)
        if getattr(shape, "is_tagged_union", False) and len(made) != 1 and len(self.misfits) == before:
            raise _WrongError("needs exactly one parameter", f"one of: {_some(cast('Any', shape).members)}")
        return made

    def _list(self, shape: Shape, value: object, path: Path) -> object:
        if not isinstance(value, list):
            raise _wrong_kind(value, "a list")
        inner: Shape = cast("Any", shape).member
        return [self.value(inner, item, (*path, i)) for i, item in enumerate(cast("list[object]", value))]

    def _map(self, shape: Shape, value: object, path: Path) -> object:
        if not isinstance(value, dict):
            raise _wrong_kind(value, "an object")
        inner: Shape = cast("Any", shape).value
        entries = cast("dict[str, object]", value)
        for key in entries:
            self._listed(cast("Any", shape).key, key, (*path, key), is_key=True)
        return {key: self.value(inner, item, (*path, key)) for key, item in entries.items()}

    def _text(self, shape: Shape, value: object, path: Path) -> object:
        if shape.name == "CopySource" and isinstance(value, dict):
            return cast("object", value)  # botocore takes {Bucket, Key, VersionId}, too
        if value is Unknown.TEXT:
            return value
        if isinstance(value, (list, dict)):
            raise _wrong_kind(cast("object", value), "text", "the filter 'tojson' makes text of it")
        if not isinstance(value, str):
            raise _wrong_kind(value, "text", "write it in quotes, or give a template's value the filter 'string'")
        self._listed(shape, value, path)
        return value

    def _listed(self, shape: Shape, word: str, path: Path, *, is_key: bool = False) -> None:
        """Point out a word that AWS's model does not list; AWS may know it all the same."""
        listed: Sequence[str] = getattr(shape, "enum", ())
        if listed and word not in listed and len(self.guesses) < MISFITS_MAX:
            hint = _question(self._near(word, listed)) or f"it lists: {_some(listed)}"
            what = f"'{_place(path)}' is " + ("" if is_key else f"'{shown(word)}', ") + "not in the list of AWS's model"
            self.guesses.append(self._misfit("DF421", path, what, hint, is_key=is_key))

    def _near(self, word: str, known: Collection[str]) -> str | None:
        return next((one for one in known if one.lower() == word.lower()), None) or self._closest(word, known)

    def _add(self, path: Path, what: str, hint: str | None, *, is_key: bool = False) -> None:
        if len(self.misfits) < MISFITS_MAX:
            self.misfits.append(self._misfit("DF311", path, what, hint, is_key=is_key))

    def _misfit(self, code: str, path: Path, what: str, hint: str | None, *, is_key: bool) -> Misfit:
        told = f"{self._call}: {what}" if what.startswith("'") else f"{self._call} {what}"
        return Misfit(code=code, path=("params", *path), message=told, hint=hint, is_key=is_key)


def _whole(_: Shape, value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1.0 is 1 in JSON
    if isinstance(value, bool) or not isinstance(value, int):
        hint = "the filter 'int' cuts it" if isinstance(value, float) else None
        raise _wrong_kind(value, "a whole number", hint)
    return value


def _number(_: Shape, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_kind(value, "a number")
    return value


def _boolean(_: Shape, value: object) -> object:
    if not isinstance(value, bool):
        raise _wrong_kind(value, "true or false")
    return value


def _blob(_: Shape, value: object) -> object:
    if value is Unknown.TEXT:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise _WrongError("holds half of a character, which no bytes stand for") from None
    hint = f"the filter 'tojson' makes text; bytes are written {{{BASE64}: …}}"
    held = cast("dict[str, object]", value) if kind(value) == "an object" else {}
    if held.keys() != {BASE64}:
        raise _wrong_kind(value, "text", hint)
    encoded = held[BASE64]
    if isinstance(encoded, Unknown):
        return encoded
    try:
        return b64decode(cast("str", encoded), validate=True)
    except (ValueError, TypeError):
        raise _WrongError("is not base64", hint) from None


def _time(_: Shape, value: object) -> object:
    if value is Unknown.TEXT:
        return value
    hint = "write it as 2026-01-01T00:00:00Z, or in seconds since 1970"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong_kind(value, "a time", hint)
    try:
        seconds = parse_time(value) if isinstance(value, str) else value
        return _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (EvaluationError, OverflowError):
        raise _WrongError("is no time", hint) from None


_SCALARS: Final[Mapping[str, Callable[[Shape, object], object]]] = {
    "integer": _whole,
    "long": _whole,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
    "blob": _blob,
    "timestamp": _time,
}
"""By the type of a shape; the others (`string`, `character`) are text."""


def _question(near: str | None) -> str | None:
    return f"did you mean '{shown(near)}'?" if near else None


def unknown_in(value: object, is_template: Callable[[str], bool]) -> object:
    """Return a value of a workflow file with :class:`Unknown` for each text that is a template.

    Text that begins or ends outside braces is text whatever its templates give; else they may give anything.
    """
    if isinstance(value, dict):
        return {key: unknown_in(item, is_template) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [unknown_in(item, is_template) for item in cast("list[object]", value)]
    if not isinstance(value, str) or not is_template(value):
        return value
    text = value.strip()
    return Unknown.ANY if text.startswith("{") and text.endswith("}") else Unknown.TEXT


def _place(path: Path) -> str:
    """Return a path as people write it: `Item.id`, `Entries[0].Detail`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown(text.removeprefix("."))


def _some(names: Collection[str]) -> str:
    some = sorted(names)[:12]
    return ", ".join([*some, "…"] if len(names) > len(some) else some)


def from_aws(value: object) -> object:
    """Return what botocore gave with JSON's types alone; what it does not know stays as it is."""
    if isinstance(value, dict):
        return {key: from_aws(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [from_aws(item) for item in cast("list[object]", value)]
    if isinstance(value, (bytes, bytearray)):
        return from_bytes(bytes(value))
    if isinstance(value, datetime):
        return format_time(value.timestamp())
    return value


def from_bytes(data: bytes) -> object:
    """Return bytes as text when they are UTF-8, else as `{"$base64": …}`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {BASE64: b64encode(data).decode("ascii")}
