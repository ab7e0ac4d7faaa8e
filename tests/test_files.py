from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from durableflow.errors import UsageError
from durableflow.files import read_file


def refused(path: Path, max_bytes: int = 100) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_file(path, max_bytes=max_bytes)
    return caught.value


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 100)
    assert read_file(file, max_bytes=100) == b"x" * 100


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_file(tmp_path / "b", max_bytes=100) == b"x"


def test_a_larger_file_is_refused_with_both_sizes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 101)
    error = refused(file)
    assert error.code == "DF703"
    assert "has 101 bytes, more than 100" in error.problem.message


def test_a_huge_file_is_refused_by_its_size_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert refused(file).code == "DF703"


@pytest.mark.parametrize("name", ["missing", "a/b", "x" * 300, "no\0name"])
def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert refused(tmp_path / name).code == "DF701"


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    kinds = {tmp_path: "a folder", tmp_path / "pipe": "a pipe", tmp_path / "socket": "a socket"}
    for path, kind in {**kinds, tmp_path / "loop": "a link to itself", Path("/dev/zero"): "a device"}.items():
        error = refused(path)
        assert error.code == "DF702"
        assert error.problem.message.endswith(f"is not a regular file but {kind}")


def test_a_file_that_cannot_be_read_says_why() -> None:
    # The memory of a process is a regular file that nobody can read at its beginning.
    error = refused(Path("/proc/self/mem"))
    assert error.code == "DF704"
    assert "cannot be read" in error.problem.message


def test_a_name_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    message = refused(tmp_path / "\x1b[2J\n").problem.message
    assert r"\u001b[2J\u000a" in message
    assert "\x1b" not in message
