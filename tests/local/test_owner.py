from __future__ import annotations

import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durableflow
from durableflow.errors import Diagnostic, ServiceError, UsageError
from durableflow.local.frames import Channel
from durableflow.local.owner import (
    CONNECTIONS_MAX,
    Address,
    Control,
    OwnerGoneError,
    Remote,
    StoreLock,
    address_of_owner,
    lock_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def control(**methods: Callable[..., Any]) -> Iterator[Control]:
    made = Control(methods)
    try:
        yield made
    finally:
        made.close()


# The lock.


def test_one_has_the_lock_and_it_is_free_again_afterwards(tmp_path: Path) -> None:
    store = tmp_path / "new" / "executions.db"
    lock = StoreLock.take(store)
    assert lock is not None
    assert StoreLock.take(store) is None
    lock.release()
    again = StoreLock.take(store)
    assert again is not None
    again.release()


def test_the_lock_file_says_where_the_owner_listens_to_this_user_alone(tmp_path: Path) -> None:
    store = tmp_path / "new" / "executions.db"
    lock = StoreLock.take(store)
    assert lock is not None
    assert address_of_owner(store) is None
    address = Address(pid=7, port=8, secret="s")
    lock.tell(address)
    assert address_of_owner(store) == address
    assert stat.S_IMODE(lock_file(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700
    lock.release()
    assert address_of_owner(store) is None


def test_the_lock_of_a_killed_owner_is_free_and_its_address_is_forgotten(tmp_path: Path) -> None:
    store = tmp_path / "executions.db"
    program = """
import pathlib, sys
from durableflow.local.owner import *
lock = StoreLock.take(pathlib.Path(sys.argv[1]))
lock.tell(Address(pid=1, port=2, secret="x" * 500))
print("taken", flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(durableflow.__file__).parents[1])},
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"taken\n"
    assert StoreLock.take(store) is None
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    lock = StoreLock.take(store)
    assert lock is not None
    assert address_of_owner(store) is None
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "port": "x", "secret": ""}', "\udcff"])
def test_a_lock_file_that_says_nothing_useful_is_no_address(tmp_path: Path, text: str) -> None:
    store = tmp_path / "executions.db"
    lock_file(store).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert address_of_owner(store) is None


def test_a_lock_file_that_is_a_link_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    lock_file(tmp_path / "a.db").symlink_to(tmp_path / "target")
    os.mkfifo(lock_file(tmp_path / "b.db"))
    lock_file(tmp_path / "c.db").mkdir()
    (tmp_path / "file").write_text("")
    for store in (tmp_path / "a.db", tmp_path / "b.db", tmp_path / "c.db", tmp_path / "file" / "d.db"):
        with pytest.raises(UsageError, match=r"the lock file '.*' cannot be used") as caught:
            StoreLock.take(store)
        assert caught.value.code == "DF760"
    assert (tmp_path / "target").read_text() == "precious"


# The conversation.


def test_a_request_is_answered() -> None:
    with control(add=lambda a, b: {"sum": a + b}) as owner:
        assert Remote(owner.address).ask("add", {"a": 1, "b": 2}) == {"sum": 3}


def test_bytes_travel_as_text() -> None:
    with control(echo=lambda **members: {**members, "Payload": members["Payload"].encode()}) as owner:
        assert Remote(owner.address).ask("echo", {"Payload": "ü".encode()}) == {"Payload": "ü"}


def test_errors_of_the_service_arrive_as_they_were() -> None:
    def refuse() -> None:
        problem = Diagnostic(code="DF722", message="taken", hint="choose another")
        raise ServiceError(problem, name="Conflict", status=409, is_retryable=False)

    with control(refuse=refuse) as owner, pytest.raises(ServiceError) as caught:
        Remote(owner.address).ask("refuse", {})
    error = caught.value
    assert (error.name, error.status, error.is_retryable) == ("Conflict", 409, False)
    assert (error.code, error.problem.message, error.problem.hint) == ("DF722", "taken", "choose another")


def test_errors_of_usage_arrive_as_they_were() -> None:
    def refuse() -> None:
        raise UsageError(Diagnostic(code="DF754", message="no such workflow", hint="look"))

    with control(refuse=refuse) as owner, pytest.raises(UsageError, match="no such workflow") as caught:
        Remote(owner.address).ask("refuse", {})
    assert (caught.value.code, caught.value.problem.hint) == ("DF754", "look")


@pytest.mark.parametrize("method", ["broken", "absent"])
def test_a_defect_of_the_owner_is_said_and_the_owner_goes_on(method: str) -> None:
    with control(broken=lambda: 1 // 0, fine=lambda: 5) as owner:
        with pytest.raises(UsageError, match="the process that owns the store could not answer") as caught:
            Remote(owner.address).ask(method, {})
        assert caught.value.code == "DF761"
        assert Remote(owner.address).ask("fine", {}) == 5


def test_an_owner_that_does_not_answer_in_time_is_named() -> None:
    release = threading.Event()
    with control(hang=release.wait) as owner:
        with pytest.raises(UsageError, match=f"process {os.getpid()} owns the store and does not answer") as caught:
            Remote(owner.address).ask("hang", {}, seconds=0.1)
        assert caught.value.code == "DF761"
        release.set()


def test_an_owner_that_is_gone_is_gone() -> None:
    with control() as owner:
        address = owner.address
    with pytest.raises(OwnerGoneError):
        Remote(address).ask("anything", {})


def test_who_is_refused_because_the_owner_is_closing_asks_the_next_one() -> None:
    begun, release = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        release.wait(10)
        raise RuntimeError("the store is closed")

    ends: list[BaseException] = []

    def ask() -> None:
        try:
            Remote(owner.address).ask("fail", {})
        except BaseException as error:  # noqa: BLE001 - looked at below
            ends.append(error)

    with control(fail=fail) as owner:
        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(10)
    release.set()
    asking.join()
    assert [type(end) for end in ends] == [OwnerGoneError]


# Strangers.


def connected(owner: Control) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", owner.address.port), 10)
    stream.settimeout(10)
    return stream


def test_the_owner_listens_on_the_loopback_address_only() -> None:
    with control() as owner:
        assert owner._listener.getsockname()[0] == "127.0.0.1"


def test_secrets_differ_from_start_to_start() -> None:
    with control() as first, control() as second:
        assert first.address.secret != second.address.secret
        assert len(first.address.secret) >= 32


@pytest.mark.parametrize("greeting", [{"secret": "guess"}, {}, {"secret": None}, {"secret": ["x"]}])
def test_who_does_not_know_the_secret_gets_no_answer(greeting: dict[str, Any]) -> None:
    called: list[int] = []
    with control(touch=lambda: called.append(1)) as owner, connected(owner) as stream:
        channel = Channel(stream)
        channel.send(greeting)
        try:
            channel.send({"method": "touch", "members": {}})
            assert channel.receive() is None
        except OSError:
            pass  # it has hung up before we said it
    assert called == []


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        struct.pack(">I", 2_000_000) + b"x",
        struct.pack(">I", 3) + b"\xff\xff\xff",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 1000) + b"[" * 1000,
        b"",
    ],
)
def test_what_is_no_greeting_ends_the_connection_and_nothing_else(data: bytes) -> None:
    with control(fine=lambda: 5) as owner:
        with connected(owner) as stream:
            # The owner may have hung up before we are done: then whichever call comes next says so.
            with suppress(OSError):
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert stream.recv(1) == b""
        assert Remote(owner.address).ask("fine", {}) == 5


def test_too_many_connections_are_turned_away_and_the_owner_goes_on() -> None:
    with control(fine=lambda: 5) as owner:
        strangers = [connected(owner) for _ in range(CONNECTIONS_MAX)]
        with connected(owner) as one_more:
            assert one_more.recv(1) == b""
        for stranger in strangers:
            stranger.close()
        for _ in range(200):
            try:
                assert Remote(owner.address).ask("fine", {}) == 5
                break
            except OwnerGoneError:  # the places are given back as the connections are noticed to be gone
                threading.Event().wait(0.01)
        else:
            pytest.fail("the owner serves nobody any more")


def test_frames_carry_any_json_whole() -> None:
    left, right = socket.socketpair()
    with left, right:
        message: Any = {"text": "ü\udcff\u2028", "list": [None, True, 1.5, 2**63], "large": "x" * 300_000}
        sending = threading.Thread(target=Channel(left).send, args=(message,))
        sending.start()
        assert Channel(right).receive() == json.loads(json.dumps(message))
        sending.join()
