"""Where does a large result go? Into a store beside the executions; the record keeps a pointer to it.

A text is kept under its own SHA-256, so storing the same result again (a step that is repeated after a crash, a replay)
changes nothing, and what comes back is proven to be what went in. A pointer is plain JSON:

    {"$offload": {"sha256": "9f86…", "bytes": 314159, "key": "9f/9f86….json"}}

`put` returns only once the text would survive a power cut: a pointer is recorded after it, never before. Nothing is
deleted here; texts that no execution points to any more are for a lifecycle rule of the folder or the bucket.

A store fails in two ways, and neither is a fault that a workflow could catch: a catcher would take a way that the next
replay, with the store back, does not take. A store that cannot be used now is worth another invocation
(`is_retryable`); a text that is lost or damaged is not.

Source: language.md 7 and 12, rules 42, 68; reliability.md D16.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from durableflow import values
from durableflow.errors import ServiceError, diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durableflow.operations import Operation
    from durableflow.values import Json, Object

KEY: Final = "$offload"
"""The only key of a pointer (rule 68)."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LOST: Final = frozenset({"NoSuchKey", "404", "NotFound"})
"""How S3 says that there is no such object."""


class OffloadStore(Protocol):
    """Keeps large texts. Thread-safe: the results of several states may come in at once."""

    def put(self, text: str) -> Object:
        """Keep a text for good and return the pointer to it.

        Raises:
            ServiceError: DF516, retryable: the store cannot be used now.
        """
        ...

    def get(self, pointer: Json) -> str:
        """Return the text that a pointer is to.

        Raises:
            ServiceError: DF515, for good: the text is lost or damaged, or that is no pointer; DF516, retryable: the
                store cannot be used now.
        """
        ...


class DirectoryStore:
    """Keeps texts in a folder on a local disk, for this user alone.

    Args:
        path: the folder, absolute; it is made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, text: str) -> Object:
        """Keep a text; see :class:`OffloadStore`."""
        data = _encoded(text)
        digest = hashlib.sha256(data).hexdigest()
        key = _file_key(digest)
        try:
            self._keep(self._path / key, data)
        except OSError as error:
            raise _unusable(self._place, error.strerror or str(error)) from error
        return _pointer(digest, len(data), key)

    def get(self, pointer: Json) -> str:
        """Return a text; see :class:`OffloadStore`."""
        digest, size, key = _read(pointer)
        if key != _file_key(digest):
            raise _lost(f"the pointer to '{shown(key)}' was not made by a folder")
        try:
            data = _file_bytes(self._path / key, size + 1)
        except FileNotFoundError as error:
            raise _lost(f"there is no '{shown(key)}' in {self._place}") from error
        except OSError as error:
            raise _unusable(self._place, error.strerror or str(error)) from error
        return _checked(data, digest, size, f"'{shown(key)}' in {self._place}")

    @property
    def _place(self) -> str:
        return f"the folder '{shown(str(self._path))}'"

    def _keep(self, file: Path, data: bytes) -> None:
        # The mode is that of the last folder only.
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        if not _holds(file, data):
            # Under its name there is never a part of it: written aside, made durable, then renamed.
            descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".")
            try:
                with os.fdopen(descriptor, "wb") as written:
                    written.write(data)
                    written.flush()
                    os.fsync(descriptor)
                Path(draft).replace(file)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(draft).unlink()
                raise
        # Also where it was there before: whoever wrote it may have been killed before this.
        for folder in (file.parent, self._path, self._path.parent):
            _sync_folder(folder)


class S3Store:
    """Keeps texts as objects of a bucket.

    Args:
        bucket: its name.
        prefix: what the keys of new objects begin with; empty for none.
        client: of boto3 for S3, with the retries that the caller wants.
    """

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._client = client

    def put(self, text: str) -> Object:
        """Keep a text; see :class:`OffloadStore`."""
        data = _encoded(text)
        digest = hashlib.sha256(data)
        name = f"{digest.hexdigest()}.json"
        key = f"{self._prefix}/{name}" if self._prefix else name
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                ContentType="application/json",
                # S3 refuses what arrives damaged.
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            )
        except Exception as error:  # the edge to boto3: whatever it is, the result is not kept
            raise _unusable(self._place, _reason(error)) from error
        return _pointer(digest.hexdigest(), len(data), key)

    def get(self, pointer: Json) -> str:
        """Return a text, also one that was kept under another prefix; see :class:`OffloadStore`."""
        digest, size, key = _read(pointer)
        if key.rpartition("/")[2] != f"{digest}.json":
            raise _lost(f"the pointer to '{shown(key)}' was not made by a bucket")
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            with contextlib.closing(body):
                data: bytes = body.read(size + 1)
        except Exception as error:  # the edge to boto3, as above
            if _code(error) in _LOST:
                raise _lost(f"there is no '{shown(key)}' in {self._place}") from error
            raise _unusable(self._place, _reason(error)) from error
        return _checked(data, digest, size, f"'{shown(key)}' in {self._place}")

    @property
    def _place(self) -> str:
        return f"the bucket '{shown(self._bucket)}'"


def is_pointer(value: Json) -> bool:
    """Say whether a value that we recorded ourselves stands for a text in the store (rule 68)."""
    return values.is_object(value) and len(value) == 1 and KEY in value


def inflated(operations: Sequence[Operation], get: Callable[[Json], str]) -> list[Operation]:
    """Return operations with the texts themselves where they have pointers: a record that needs no store.

    Args:
        operations: of one execution; they are not changed.
        get: gives the text that a pointer is to.

    Raises:
        ServiceError: as `get` does.
    """
    return [_inflated(operation, get) for operation in operations]


def _inflated(operation: Operation, get: Callable[[Json], str]) -> Operation:
    details = operation.get("StepDetails", {})
    text = details.get("Result", "")
    if not text.startswith(_START):
        return operation
    return {**operation, "StepDetails": {**details, "Result": get(values.from_text(text))}}


_START: Final = f'{{"{KEY}":'
"""How a pointer begins in a record; every other object with that one key is wrapped there (rule 68)."""


# ---------------------------------------------------------------------------------------------------------------------
# Pointers


def _pointer(digest: str, size: int, key: str) -> Object:
    return {KEY: {"sha256": digest, "bytes": size, "key": key}}


def _read(pointer: Json) -> tuple[str, int, str]:
    told = pointer[KEY] if values.is_object(pointer) and is_pointer(pointer) else None
    if values.is_object(told):
        digest, size, key = told.get("sha256"), told.get("bytes"), told.get("key")
        is_whole = isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None
        if is_whole and type(size) is int and size >= 0 and isinstance(key, str):
            return cast("str", digest), size, key
    raise _lost("a recorded result is no pointer to one that was stored apart")


def _file_key(digest: str) -> str:
    # Folders of thousands of files are slow to look through on some file systems.
    return f"{digest[:2]}/{digest}.json"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _checked(data: bytes, digest: str, size: int, what: str) -> str:
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise _lost(f"{what} is damaged: it is not what was stored under that name")
    return data.decode("utf-8", "surrogatepass")


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _file_bytes(file: Path, size: int) -> bytes:
    # A link could lead anywhere, a pipe would make us wait.
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(size)


def _holds(file: Path, data: bytes) -> bool:
    try:
        return _file_bytes(file, len(data) + 1) == data
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------------------------------
# Failures


def _lost(message: str) -> ServiceError:
    problem = diagnostic("DF515", message, hint="restore it under its name from a copy, or run the workflow anew")
    return ServiceError(problem, name="OffloadedResultLost", status=404, is_retryable=False)


def _unusable(place: str, reason: str) -> ServiceError:
    problem = diagnostic("DF516", f"{place} cannot be used for large results: {shown(reason)}", hint=_HINT)
    return ServiceError(problem, name="OffloadStoreUnavailable", status=503, is_retryable=True)


_HINT: Final = "look at 'offload' in the project file, at permissions and free space; it is tried again"


def _code(error: Exception) -> str:
    """Return the code of a botocore ClientError, without importing botocore; empty for every other exception."""
    response = cast("dict[str, Any]", getattr(error, "response", None) or {})
    return str(response.get("Error", {}).get("Code", ""))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
