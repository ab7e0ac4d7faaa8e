"""How is the same asked with the AWS CLI? A call of the API as a line for the shell."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BLOBS: Final = frozenset({"Payload", "Result"})
"""Members that are bytes. Version 2 of the AWS CLI takes them in base64 unless `--cli-binary-format` says otherwise,
which version 1 does not know; a `fileb://` is read as it is by both."""
_FETCHED: Final = ("file://", "fileb://", "http://", "https://")
"""What the AWS CLI takes for the place of a value instead of the value; of addresses only version 1 does."""
_INLINE_MAX: Final = 2_000
"""Longest blob that is written into the line; one that is longer is left for the reader to bring."""
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


def command(
    operation: str,
    members: Mapping[str, Any],
    *,
    endpoint_url: str | None = None,
    profile: str | None = None,
    region: str | None = None,
) -> str:
    """Return the line, quoted for a POSIX shell, that versions 1 and 2 of the AWS CLI understand.

    Args:
        operation: the method of boto3's Lambda client, such as `stop_durable_execution`.
        members: by the API's names; None for one that is not given. `MaxItems` is how many there are to be in all.
        endpoint_url: where to; None for AWS, or for what the environment says.
        profile: of the user's configuration.
        region: of AWS.
    """
    words = ["aws", "lambda", operation.replace("_", "-")]
    for option, value in (("--endpoint-url", endpoint_url), ("--profile", profile), ("--region", region)):
        if value is not None:
            words += _option(option, value)
    blob: str | None = None
    fetched: dict[str, str] = {}
    for member, value in members.items():
        if value is None:
            continue
        if member in _BLOBS:
            blob = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            words += [_dashed(member), "fileb:///dev/stdin"]
        elif isinstance(value, str) and value.startswith(_FETCHED):
            fetched[member] = value
        else:
            words += _words(member, value)
    if fetched:
        words += ["--cli-input-json", json.dumps(fetched)]
    if operation == "invoke":
        if members.get("InvocationType", "RequestResponse") == "RequestResponse":
            words += ["--cli-read-timeout", "0"]
        words.append("/dev/stdout")
    line = shlex.join(words)
    return line if blob is None or len(blob) > _INLINE_MAX else f"printf %s {shlex.quote(blob)} | {line}"


def _words(member: str, value: Any) -> Iterator[str]:
    option = _dashed(member)
    match value:
        case bool():
            yield option if value else f"--no-{option.removeprefix('--')}"
        case list() | tuple():
            texts = [str(each) for each in cast("Sequence[object]", value)]
            yield from [option, *texts] if texts else []
        case dict():
            yield from _option(option, json.dumps(value, ensure_ascii=False))
        case _:
            yield from _option(option, str(value))


def _option(option: str, value: str) -> list[str]:
    # A value with a dash in front would be taken for an option.
    return [f"{option}={value}"] if value.startswith("-") else [option, value]


def _dashed(member: str) -> str:
    return f"--{_WORD.sub('-', member).lower()}"
