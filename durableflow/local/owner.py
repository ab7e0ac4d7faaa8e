"""Whose is the store? One process at a time writes to it; the others ask that one.

The owner holds a lock on the file beside the store, and the file says where it listens: a loopback port and
a secret that is new at every start. The kernel gives the lock back when the owner is gone, however it went, so a lock
that can be taken is free and what the file still says is out of date. Not for network file systems: their locks cannot
be relied on, nor can SQLite there.

Source: reliability.md 4.6, D13, D16.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import logging
import os
import secrets
import socket
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from durableflow import values
from durableflow.errors import DurableflowError, ServiceError, UsageError, diagnostic
from durableflow.local.frames import Channel
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from durableflow.values import Json, Object

logger = logging.getLogger(__name__)

LOCK_SUFFIX: Final = ".lock"
GREETING_MAX_BYTES: Final = 1024
"""What is read from somebody who has not told the secret."""
CONNECTIONS_MAX: Final = 64
GREETING_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0


class OwnerGoneError(Exception):
    """The owner went away; nobody knows whether it did what it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the owner of a store listens, and what proves that the lock file could be read."""

    pid: int
    port: int
    secret: str


class StoreLock:
    """The lock of a store, held as long as the object is not released."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, store: Path) -> StoreLock | None:
        """Take the lock of a store, or return None when another process has it.

        Args:
            store: the store's file; it need not exist. Its folder is made, for this user alone.

        Raises:
            UsageError: DF760, the lock file cannot be made or is not what it should be.
        """
        file = lock_file(store)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never removed: whoever unlinked it could take the lock of a file that somebody else has just replaced.
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise _unusable(file, error.strerror or str(error)) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unusable(file, "it is not a regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, 0o600)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise _unusable(file, error.strerror or str(error)) from error
        except UsageError:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def tell(self, address: Address) -> None:
        """Write down where the owner listens."""
        text = values.to_text({"pid": address.pid, "port": address.port, "secret": address.secret})
        os.pwrite(self._descriptor, text.encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def lock_file(store: Path) -> Path:
    """Return the lock file of a store."""
    return store.with_name(store.name + LOCK_SUFFIX)


def is_owned(store: Path) -> bool:
    """Say whether a process owns a store at this moment; that process is not disturbed."""
    try:
        descriptor = os.open(lock_file(store), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def address_of_owner(store: Path) -> Address | None:
    """Return where the owner of a store listens, or None while it does not say.

    Only meaningful just after the lock could not be taken.
    """
    try:
        data = json.loads(lock_file(store).read_bytes())
        return Address(pid=int(data["pid"]), port=int(data["port"]), secret=str(data["secret"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unusable(file: Path, reason: str) -> UsageError:
    return UsageError(
        diagnostic(
            "DF760",
            f"the lock file '{shown(str(file))}' cannot be used: {shown(reason)}",
            hint="choose another place with --store, on a local disk",
        )
    )


# The owner's side.


class Control:
    """Answers other processes of this user that want something of the store.

    Args:
        methods: what may be called; each takes members by name and returns what JSON can carry.
    """

    def __init__(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        self._methods = methods
        self._secret = secrets.token_hex(16)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="durableflow-control", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(pid=os.getpid(), port=self._listener.getsockname()[1], secret=self._secret)

    def close(self) -> None:
        """Accept nobody any more; who is being served gets a good answer, or none and asks the next owner."""
        self._is_closed.set()
        # Closing alone does not wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._served, args=(connection,), daemon=True).start()

    def _served(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection)
        except (OSError, ValueError, RecursionError):
            pass  # whoever it was is gone, too slow, or does not speak as we do
        finally:
            self._places.release()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(GREETING_SECONDS)
        channel = Channel(connection, max_bytes=GREETING_MAX_BYTES)
        greeting = channel.receive() or {}
        if not hmac.compare_digest(str(greeting.get("secret")).encode(), self._secret.encode()):
            return
        connection.settimeout(REQUEST_SECONDS)
        request = Channel(connection).receive()
        if request is None:
            return
        answer = self._answer(str(request.get("method")), cast("dict[str, Any]", request.get("members")))
        if "reply" in answer or not self._is_closed.is_set():
            Channel(connection).send(answer)

    def _answer(self, method: str, members: dict[str, Any]) -> Object:
        try:
            return {"reply": _plain(self._methods[method](**members))}
        except ServiceError as error:
            refusal: Object = {"name": error.name, "status": error.status, "is_retryable": error.is_retryable}
            return {"refusal": refusal, "problem": error.problem.to_json()}
        except DurableflowError as error:
            return {"problem": error.problem.to_json()}
        except Exception as error:  # the edge to another process: it gets a message, the log the traceback
            if not self._is_closed.is_set():
                logger.exception("a request of another process could not be answered")
            message = f"the process that owns the store could not answer: {type(error).__name__}: {error}"
            return {"problem": {"code": "DF761", "message": message, "hint": None}}


def _plain(value: Any) -> Json:
    """Return a reply as JSON can carry it; the service's payloads are bytes."""
    if isinstance(value, dict):
        reply = cast("dict[str, Any]", value)
        return {name: item.decode() if isinstance(item, bytes) else item for name, item in reply.items()}
    return cast("Json", value)


# The side of the others.


class Remote:
    """The owner of a store, seen from another process; each request has a connection of its own. Thread-safe."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def ask(self, method: str, members: Mapping[str, Any], *, seconds: float = REQUEST_SECONDS) -> Any:
        """Have the owner do something.

        Args:
            method: one of those that the owner's Control has.
            members: its arguments; bytes travel as text.
            seconds: how long the answer may take.

        Raises:
            OwnerGoneError: there is no owner there, or it went away.
            ServiceError, UsageError: what the method raised there; or DF761, it does not answer.
        """
        try:
            answer = self._asked(method, members, seconds)
        except TimeoutError as error:
            raise UsageError(
                diagnostic(
                    "DF761",
                    f"process {self.address.pid} owns the store and does not answer within {seconds:g} seconds",
                    hint="wait for it, or end it",
                )
            ) from error
        except (OSError, ValueError) as error:
            raise OwnerGoneError from error
        if answer is None:
            raise OwnerGoneError
        if "reply" in answer:
            return answer["reply"]
        told = cast("Any", answer["problem"])
        problem = diagnostic(told["code"], told["message"], hint=told["hint"])
        if refusal := cast("Any", answer.get("refusal")):
            raise ServiceError(problem, **refusal)
        raise UsageError(problem)

    def _asked(self, method: str, members: Mapping[str, Any], seconds: float) -> Object | None:
        with socket.create_connection(("127.0.0.1", self.address.port), GREETING_SECONDS) as connection:
            connection.settimeout(seconds)
            channel = Channel(connection)
            channel.send({"secret": self.address.secret})
            sent = {
                name: item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else item
                for name, item in members.items()
            }
            channel.send({"method": method, "members": cast("Json", sent)})
            return channel.receive()
