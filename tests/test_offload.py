"""The store of large results: what goes in comes out, or it is said that it does not."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from durableflow.errors import ServiceError
from durableflow.offload import DirectoryStore, OffloadStore, S3Store, is_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = '{"ä":"' + "x" * 300_000 + '"}'
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of S3 with a bucket `results`."""
    with pytest.MonkeyPatch.context() as patched, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "testing")
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="results")
        yield client


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OffloadStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "kept" / "results")
    return S3Store("results", "kept/", request.getfixturevalue("bucket"))


def lost(store: OffloadStore, pointer: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        store.get(pointer)
    assert (caught.value.code, caught.value.name, caught.value.is_retryable) == ("DF515", "OffloadedResultLost", False)
    return caught.value.problem.message


@pytest.mark.parametrize("text", ["", "1", TEXT, '"\ud800"', "\n"])
def test_what_goes_in_comes_out(store: OffloadStore, text: str) -> None:
    pointer = store.put(text)
    assert is_pointer(pointer)
    assert store.get(pointer) == text
    assert store.put(text) == pointer


def test_a_pointer_says_what_it_is_to(store: OffloadStore) -> None:
    told = store.put(TEXT)["$offload"]
    assert isinstance(told, dict)
    key = f"kept/{DIGEST}.json" if isinstance(store, S3Store) else f"{DIGEST[:2]}/{DIGEST}.json"
    assert told == {"sha256": DIGEST, "bytes": len(TEXT.encode()), "key": key}


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"$offload": 1, "a": 2}, {"sha256": DIGEST}])
def test_anything_else_is_no_pointer(store: OffloadStore, value: Any) -> None:
    assert not is_pointer(value)
    assert "no pointer" in lost(store, value)


@pytest.mark.parametrize(
    "members",
    [
        {"sha256": "../../etc/passwd"},
        {"sha256": DIGEST.upper()},
        {"bytes": -1},
        {"bytes": True},
        {"key": 7},
        {"key": None},
    ],
)
def test_a_pointer_that_is_not_whole_is_none(store: OffloadStore, members: Any) -> None:
    told: Any = store.put(TEXT)["$offload"]
    assert "no pointer" in lost(store, {"$offload": {**told, **members}})


@pytest.mark.parametrize("key", ["../secret.json", "/etc/passwd", "x", ""])
def test_a_pointer_leads_to_nothing_but_a_text_of_its_digest(store: OffloadStore, key: str) -> None:
    told: Any = store.put(TEXT)["$offload"]
    assert "was not made by" in lost(store, {"$offload": {**told, "key": key}})


def test_what_was_never_stored_is_lost(store: OffloadStore) -> None:
    told: Any = store.put("1")["$offload"]
    other = hashlib.sha256(b"2").hexdigest()
    key = told["key"].replace(told["sha256"], other).replace(told["sha256"][:2], other[:2])
    message = lost(store, {"$offload": {"sha256": other, "bytes": 1, "key": key}})
    assert message.startswith(f"there is no '{key}' in the ")


# In a folder.


def file_of(folder: Path) -> Path:
    (found,) = [path for path in folder.rglob("*") if path.is_file()]
    return found


@pytest.mark.parametrize("damage", [b"", b"x" * len(TEXT.encode()), TEXT.encode() + b" ", TEXT.encode()[:-1]])
def test_a_damaged_file_is_found_out_and_written_anew_with_the_next_result(tmp_path: Path, damage: bytes) -> None:
    store = DirectoryStore(tmp_path)
    pointer = store.put(TEXT)
    file_of(tmp_path).write_bytes(damage)
    assert "is damaged" in lost(store, pointer)
    assert store.put(TEXT) == pointer
    assert store.get(pointer) == TEXT


def test_the_folder_is_for_this_user_alone_and_holds_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    DirectoryStore(folder).put(TEXT)
    assert stat.S_IMODE(file_of(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(file_of(folder).parent.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_a_result_is_not_followed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "kept")
    pointer = store.put(TEXT)
    file = file_of(tmp_path / "kept")
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    with pytest.raises(ServiceError) as caught:
        store.get(pointer)
    assert caught.value.code == "DF516"
    assert store.put(TEXT) == pointer
    assert not file.is_symlink()


def test_a_folder_that_cannot_be_used_is_worth_another_try(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(ServiceError) as caught:
        DirectoryStore(tmp_path / "kept").put(TEXT)
    assert (caught.value.code, caught.value.is_retryable) == ("DF516", True)
    assert "kept' cannot be used for large results: " in caught.value.problem.message


def test_many_may_store_the_same_at_once(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    pointers: list[Any] = []
    threads = [threading.Thread(target=lambda: pointers.append(store.put(TEXT))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pointers) == 8
    assert store.get(pointers[0]) == TEXT
    assert file_of(tmp_path)


WRITER = """
import sys
from pathlib import Path
from durableflow.offload import DirectoryStore

store = DirectoryStore(Path(sys.argv[1]))
for number in range(10_000):
    print(store.put(str(number) * 20_000)["$offload"]["sha256"], flush=True)
"""


def test_a_kill_leaves_what_was_stored_and_no_half_of_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    told += process.communicate()[0].split()
    kept = {path.stem: path for path in tmp_path.glob("??/*.json")}
    assert kept.keys() >= {digest for digest in told if len(digest) == 64}
    for digest, path in kept.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_a_result_is_on_the_disk_before_its_pointer_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    store = DirectoryStore(tmp_path / "kept")
    store.put(TEXT)
    assert seen == ["file", "folder", "folder", "folder"]
    store.put(TEXT)
    assert seen[4:] == ["folder", "folder", "folder"]


# In a bucket.


def test_a_damaged_object_is_found_out(bucket: Any) -> None:
    store = S3Store("results", "", bucket)
    pointer = store.put(TEXT)
    bucket.put_object(Bucket="results", Key=f"{DIGEST}.json", Body=TEXT.encode() + b" ")
    assert "is damaged" in lost(store, pointer)


def test_what_was_stored_under_another_prefix_is_found(bucket: Any) -> None:
    pointer = S3Store("results", "before", bucket).put(TEXT)
    assert S3Store("results", "after", bucket).get(pointer) == TEXT


def test_a_bucket_that_cannot_be_used_is_worth_another_try(bucket: Any) -> None:
    pointer = S3Store("results", "", bucket).put(TEXT)
    store = S3Store("elsewhere", "", bucket)
    for use in (lambda: store.put(TEXT), lambda: store.get(pointer)):
        with pytest.raises(ServiceError) as caught:
            use()
        assert (caught.value.code, caught.value.is_retryable) == ("DF516", True)
        assert "the bucket 'elsewhere' cannot be used for large results: NoSuchBucket" in caught.value.problem.message
