"""The store: what it refuses to touch, what it keeps, how it is left behind."""

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from scripted import SUCCEEDED, World, step

from durableflow.errors import ServiceError, UsageError
from durableflow.local import store as stores
from durableflow.local.store import open_reader, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A store with an execution in it, closed."""
    world = World(store=open_store(path))
    world.begin(name="order-1").checkpoint(step())
    world.store.close()
    return path


def test_a_new_store_is_for_its_owner_only(path: Path) -> None:
    store = open_store(path)
    world = World(store=store)
    world.begin()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    store.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]


def test_what_was_recorded_is_there_after_a_restart(filled: Path) -> None:
    world = World(store=open_store(filled))
    (found,) = world.service.list_executions()["DurableExecutions"]
    assert found["DurableExecutionName"] == "order-1"
    assert world.history(found["DurableExecutionArn"]) == ["ExecutionStarted", "StepStarted"]


def test_calls_are_counted_for_each_answer_of_an_execution_and_over_a_restart(path: Path) -> None:
    world = World(store=open_store(path))
    one, two = world.begin(name="order-1"), world.begin(name="order-2")

    def count(arn: str, answer: str, call: str) -> int:
        return world.service.count_answer(DurableExecutionArn=arn, Answer=answer, Call=call)["Number"]

    asked = [("a", "x:1"), ("a", "y:1"), ("a", "x:1"), ("b", "x:1"), ("a", "x:2")]
    assert [count(one.arn, *each) for each in asked] == [0, 1, 0, 0, 2]
    assert count(two.arn, "a", "x:1") == 0
    world.store.close()
    world = World(store=open_store(path))
    assert [count(one.arn, *each) for each in [("a", "x:2"), ("a", "z:1")]] == [2, 3]


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_durability_is_a_choice(path: Path, durability: Any) -> None:
    store = open_store(path, durability=durability)
    assert store._run("PRAGMA synchronous").fetchone()[0] == {"normal": 1, "full": 2}[durability]
    assert store._run("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    open_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _damaged(path: Path) -> None:
    open_store(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def _link(path: Path) -> None:
    target = path.with_name("target")
    open_store(target).close()
    path.symlink_to(target)


@pytest.mark.parametrize("opener", [open_store, open_reader])
@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: path.write_bytes(b"not a database at all" * 10), "DF730", "is no SQLite database"),
        (lambda path: path.write_bytes(b""), "DF730", "is no SQLite database"),
        (_foreign, "DF730", "the database of another application"),
        (_newer, "DF731", f"was written by a newer durableflow (schema 99; {len(stores.MIGRATIONS)} here)"),
        (_damaged, "DF732", "is damaged"),
        (lambda path: path.mkdir(), "DF733", "is a folder"),
        (_link, "DF733", "is a link"),
    ],
    ids=["random bytes", "empty", "foreign", "newer", "damaged", "folder", "link"],
)
def test_what_is_not_a_store_of_ours_is_refused_and_left_alone(
    tmp_path: Path, opener: Any, make: Any, code: str, words: str
) -> None:
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    names = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"x\.db") as caught:
        opener(path)
    assert caught.value.code == code
    assert words in caught.value.problem.message
    assert caught.value.problem.hint
    assert (path.read_bytes() if path.is_file() else None) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_a_store_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="cannot be opened") as caught:
        open_store(blocked / "store.db")
    assert caught.value.code == "DF733"


def test_a_store_is_made_in_one_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS, ("NONSENSE",)))
    with pytest.raises(UsageError):
        open_store(path)
    assert list(path.parent.iterdir()) == []


def test_an_older_store_is_brought_up_to_date_whole_or_not_at_all(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS, ("CREATE TABLE more (x)", "NONSENSE")))
    with pytest.raises(UsageError):
        open_store(filled)
    with pytest.raises(UsageError, match="older durableflow"):
        open_reader(filled)
    monkeypatch.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS[:-1], ("CREATE TABLE more (x)",)))
    store = open_store(filled)
    assert store._run("SELECT count(*) FROM more").fetchone() == (0,)
    assert len(store.running()) == 1
    store.close()
    open_reader(filled).close()


def test_pages_are_checked_after_an_unclean_stop(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    check = stores._check_pages

    def noting(connection: sqlite3.Connection, path: Path) -> None:
        checked.append(path)
        check(connection, path)

    monkeypatch.setattr(stores, "_check_pages", noting)
    store = open_store(filled)
    store._connection.close()  # as a kill would leave it
    assert checked == []
    open_store(filled).close()
    assert checked == [filled]
    open_store(filled).close()
    assert checked == [filled]


def test_damage_that_a_kill_left_is_found(filled: Path) -> None:
    store = open_store(filled)
    store._connection.close()
    content = bytearray(filled.read_bytes())
    content[-4096:] = b"\x00" * 4096
    filled.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        open_store(filled)
    assert caught.value.code == "DF732"


def test_a_reader_sees_what_is_committed_and_writes_nothing(filled: Path) -> None:
    world = World(store=open_store(filled))
    reader = World(store=open_reader(filled))
    run = world.begin(name="order-2")
    assert len(reader.service.list_executions()["DurableExecutions"]) == 2
    run.answer(SUCCEEDED)
    assert reader.describe(run.arn)["Status"] == "SUCCEEDED"
    with pytest.raises(ServiceError, match="readonly") as caught:
        reader.begin(name="order-3")
    assert (caught.value.name, caught.value.status, caught.value.is_retryable) == ("ServiceException", 500, True)


def test_there_must_be_something_to_read(path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        open_reader(path)


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    store = open_store(path)

    def interrupted() -> None:
        with store.transaction():
            store.arm(1, "w", "wait", 5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.next_due() is None
    with store.transaction():
        store.arm(1, "w", "wait", 5)
        with store.view():
            assert store.next_due() == 5
    assert store.next_due() == 5
    store.close()


def test_a_full_disk_is_an_error_that_a_later_try_may_not_meet(path: Path) -> None:
    world = World(store=open_store(path))
    run = world.begin()
    world.store._run("PRAGMA max_page_count = 10")
    with pytest.raises(ServiceError, match="full") as caught:
        run.checkpoint(step("SUCCEED", Payload="1" * 200_000))
    assert caught.value.is_retryable
    world.store._run("PRAGMA max_page_count = 1000000")
    assert run.checkpoint(step())
    assert world.service.meter(DurableExecutionArn=run.arn)["operations"] == 1


def test_a_broken_view_is_an_error_of_the_service(path: Path) -> None:
    world = World(store=open_store(path))
    run = world.begin()
    world.store._run("DROP TABLE progress")
    with pytest.raises(ServiceError, match="no such table"):
        world.describe(run.arn)


def test_a_store_in_memory_is_nobody_elses() -> None:
    one, two = open_store(None), open_store(None)
    World(store=one).begin()
    assert (len(one.running()), len(two.running())) == (1, 0)
    two.close()


@pytest.mark.parametrize("condition", [[], [("function = ?", "order")], [("name = ?", "one")]])
def test_a_page_of_a_list_costs_a_page_however_many_executions_there_are(condition: Any, filled: Path) -> None:
    store = open_store(filled)
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)
    store.executions(condition, after=9, oldest_first=False, limit=2)
    store._connection.set_trace_callback(None)
    plan = [row[3] for row in store._run(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert all(part.startswith("SEARCH") for part in plan), plan
    store.close()
