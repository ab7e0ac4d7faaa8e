"""How does a file become bytes? Only a regular file does, and only if it is not too large.

A path from outside may name a pipe that blocks, a device that never ends, or 64 gigabytes. So the kind and the size are
looked at before anything is read (reliability.md D1), and again on the open file, which cannot be exchanged any more.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from durableflow.errors import UsageError, diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from pathlib import Path

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file; a link is followed.
        max_bytes: the largest size that is read.

    Raises:
        UsageError: DF701 there is no such file, DF702 it is not a regular file, DF703 it is larger than `max_bytes`,
            DF704 it cannot be read.
    """
    name = shown(str(path))
    try:
        _check(name, path.stat(), max_bytes)
        # Should a pipe have taken the file's place, opening it does not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check(name, os.fstat(descriptor), max_bytes)
            # One byte more tells whether the file has grown.
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise _refusal(name, error) from error
    except ValueError as error:
        raise UsageError(
            diagnostic("DF701", f"'{name}' cannot be the name of a file", hint="remove the NUL")
        ) from error
    _check_size(name, len(data), max_bytes)
    return data


def _check(name: str, found: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        message = f"'{name}' is not a regular file but {kind}"
        raise UsageError(diagnostic("DF702", message, hint="give the path of a file"))
    _check_size(name, found.st_size, max_bytes)


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        message = f"'{name}' has {size:,} bytes, more than {max_bytes:,}"
        raise UsageError(diagnostic("DF703", message, hint="make it smaller, or give another file"))


def _refusal(name: str, error: OSError) -> UsageError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            return UsageError(diagnostic("DF701", f"there is no file '{name}'", hint="look at the path's spelling"))
        case errno.ELOOP:
            message = f"'{name}' is not a regular file but a link to itself"
            return UsageError(diagnostic("DF702", message, hint="give the path of a file"))
        case _:
            reason = error.strerror or type(error).__name__
            message = f"'{name}' cannot be read: {reason}"
            return UsageError(diagnostic("DF704", message, hint="look at its permissions"))
