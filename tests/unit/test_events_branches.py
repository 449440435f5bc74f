"""Branches of the log core that are rarely taken, each by what it is there for."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
from histories import change, draft, failing, memory, small_home

from synlearner.errors import AppendConflict, ConfigError, CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    Anchor,
    BlobStore,
    Draft,
    Head,
    Home,
    RunFinished,
    SqliteLog,
    WriterLock,
    blobs,
    database,
    export,
    ids,
    verify,
)
from synlearner.events.repair import repair
from synlearner.events.rows import Row, prepare, seal
from synlearner.events.sqlite import QUICK, SLOW


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


# ---- SQLite ------------------------------------------------------------------------------------------------------


def test_nothing_is_appended_as_nothing_but_never_behind_somebody_else(path: Path) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(1)], expected_seq=0)
    assert log.append([], expected_seq=1) == []
    with pytest.raises(AppendConflict, match="expected_seq is 0, but the log ends at 1"):
        log.append([], expected_seq=0)
    log.close()


def test_who_waits_in_vain_waits_as_long_as_was_asked_and_looks_less_and_less_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def noting(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr("synlearner.events.sqlite.sleep", noting)
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(1)], expected_seq=0)
    began = monotonic()
    assert log.wait(0, 60)
    assert not log.wait(1, 0.2)
    assert 0.2 <= monotonic() - began < 30
    assert pauses[0] == QUICK
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses) <= SLOW
    log.close()


def test_an_id_that_stands_twice_is_found_when_ids_are_merged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.Ids.merge, "__kwdefaults__", {"least": 3})
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(1), draft(2)], expected_seq=0)
    log._connection().execute("UPDATE events SET id = 'id 1' WHERE seq = 2")
    with pytest.raises(CorruptLog, match="its index of ids names events that are not there"):
        log.append([draft(3)], expected_seq=2)
    assert log.head().seq == 2
    log.close()


def test_a_log_is_read_where_no_shared_memory_can_be_made_beside_it(path: Path) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(1)], expected_seq=0)
    log.close()
    path.with_name("log.sqlite-shm").symlink_to("nowhere/shm")  # as in a folder that cannot be written
    log = SqliteLog(path, anchor=None, write=False)
    assert [event.id for event in log.read()] == ["id 1"]
    log.close()
    path.with_name("log.sqlite-wal").write_bytes(b"it may hold events")
    with pytest.raises(LogError, match="cannot be read now"):
        SqliteLog(path, anchor=None, write=False)


def test_a_database_without_a_write_ahead_log_is_not_written_to() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(LogError, match=r"cannot have a write-ahead log \(memory\): put the home on a local disk"):
        database._make_durable(connection, Path("log"))
    connection.close()


def test_a_snapshot_says_which_of_the_two_files_is_to_blame(path: Path) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(number) for number in range(400)], expected_seq=0)
    log.close()
    with pytest.raises(LogError, match=r"'.*nowhere/copy' cannot be written"):
        database.snapshot(path, path.parent / "nowhere" / "copy")
    path.write_bytes(path.read_bytes()[: 3 * database.PAGE_SIZE])
    with pytest.raises(CorruptLog, match=r"log.sqlite' is damaged"):
        database.snapshot(path, path.with_name("copy"))


def test_a_snapshot_is_of_the_moment_in_which_it_began(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(number) for number in range(400)], expected_seq=0)
    left: list[int] = []

    def writing(status: int, remaining: int, total: int) -> None:
        left.append(remaining)
        if len(left) <= 3:
            log.append([draft(400 + len(left))], expected_seq=399 + len(left))

    monkeypatch.setattr(database, "STEP", 1)
    monkeypatch.setattr(database, "_between_steps", writing)
    database.snapshot(path, path.with_name("copy"))
    assert log.head().seq == 403
    log.close()
    assert left == sorted(left, reverse=True)
    with closing(sqlite3.connect(path.with_name("copy"))) as copy:
        assert copy.execute("SELECT max(seq) FROM events").fetchone() == (400,)


def test_an_adoption_that_cannot_be_written_or_names_an_id_twice_takes_nothing(path: Path) -> None:
    rows = list(memory(3).rows())
    log = SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=True)
    indexed = "SELECT indexed, (SELECT count(*) FROM ids) FROM writer"
    twice = [rows[0], Row._make(seal(prepare([draft(1)]), Head(1, rows[0].hash.hex()))[0])]
    with pytest.raises(CorruptLog, match="an id stands twice in the history"):
        log.adopt(twice)

    def unreadable() -> Iterator[Row]:
        yield rows[0]
        failing()

    with pytest.raises(LogError, match=r"log.sqlite' cannot be written: .*Input/output error.*nothing was lost"):
        log.adopt(unreadable())
    assert log.head() == EMPTY
    assert log.adopt(rows).seq == 3
    assert log._connection().execute(indexed).fetchone() == (3, 3)
    log.close()
    assert Anchor(path.with_name("log.anchor")).read() == Head(3, rows[2].hash.hex())


def test_an_anchor_that_cannot_be_written_is_said_where_nothing_was_acknowledged_yet(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = Anchor(path.with_name("log.anchor"))
    with monkeypatch.context() as patch:
        patch.setattr(Anchor, "write", failing)
        with pytest.raises(LogError, match=r"log.anchor' cannot be written: .*Input/output error"):
            SqliteLog(path, anchor=anchor, write=True)
    log = SqliteLog(path, anchor=anchor, write=True)
    with monkeypatch.context() as patch:
        patch.setattr("synlearner.events.anchor._sync", failing)
        with pytest.raises(LogError, match=r"log.anchor' cannot be written"):
            log.close()
    log.close()


def test_a_log_that_cannot_even_be_looked_at_after_an_error_is_an_error_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append([draft(1)], expected_seq=0)
    log._connection().close()
    with monkeypatch.context() as patch:
        patch.setattr("synlearner.events.sqlite.open_database", failing)
        with pytest.raises(LogError, match=r"log.sqlite' cannot be .*nothing was lost|closed database") as refused:
            log.append([draft(2)], expected_seq=1)
    assert not isinstance(refused.value, CorruptLog)
    with pytest.raises(LogError, match="is closed: open the home again"):
        log.append([draft(2)], expected_seq=1)
    log.close()
    log = SqliteLog(path, anchor=None, write=True)
    assert log.append([draft(2)], expected_seq=1)[0].seq == 2
    log.close()


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_refused_is_let_go_of(path: Path, write: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[sqlite3.Connection] = []
    connect = database._connect

    def noting(target: Path | str) -> sqlite3.Connection:
        connections.append(connect(target))
        return connections[-1]

    monkeypatch.setattr(database, "_connect", noting)
    for spoil in ("PRAGMA user_version = 99", "PRAGMA user_version = 2", "DROP TABLE ids"):
        if not path.exists():
            SqliteLog(path, anchor=None, write=True).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(spoil)
        if spoil.endswith("2"):
            path.write_bytes(b"no database")
        with pytest.raises((ConfigError, LogError)):
            SqliteLog(path, anchor=None, write=write)
        path.unlink()
    path.touch()
    SqliteLog(path, anchor=None, write=write).close()
    anchor = Anchor(path.with_name("log.anchor"))
    anchor.write(Head(9, "ab" * 32))
    SqliteLog(path, anchor=None, write=True).close()
    with pytest.raises(CorruptLog, match="the last 9 acknowledged events are missing"):
        SqliteLog(path, anchor=anchor, write=write)
    assert len(connections) >= 9
    for connection in connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("damage", ["DELETE FROM writer", "UPDATE writer SET indexed = 'x'"])
def test_a_log_that_lost_its_notes_about_the_writer_is_damaged_and_can_be_repaired(home: Path, damage: str) -> None:
    change(home, damage)
    (problem,) = verify(home).problems
    assert "table `writer` is not what was written" in problem.what
    again = [Draft(fact=RunFinished(tasks=0, delivered=0), id="0")]
    with pytest.raises(CorruptLog, match="table `writer`"), Home.open(home, write=True) as opened:
        opened.log.append(again, expected_seq=6)
    with Home.open(home) as opened, pytest.raises(CorruptLog, match="table `writer`"):
        opened.log.find(["0"])
    assert (repair(home, dry=False).kept, verify(home).problems) == (6, [])
    with Home.open(home, write=True) as opened:
        assert [event.seq for event in opened.log.append(again, expected_seq=6)] == [1]


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_lock_may_be_released_twice(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / ".writer")
    lock.acquire()
    lock.release()
    assert (tmp_path / ".writer").read_bytes() == b""
    lock.release()
    with WriterLock(tmp_path / ".writer"):
        assert (tmp_path / ".writer").read_text().startswith(f"process {os.getpid()} (since ")


def test_a_blob_is_removed_for_good_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path / "blobs")
    digest = store.put(b"matrix")
    synced: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing)
        with pytest.raises(LogError, match=r"cannot be written: .*Input/output error"):
            store.remove(digest)
    assert store.size(digest) == 6
    monkeypatch.setattr(blobs, "sync_folder", synced.append)
    store.remove(digest)
    store.remove(digest)
    store.remove("f" * 64)  # whose folder was never made
    assert (store.has(digest), store.size(digest)) == (False, 0)
    assert synced == [store.path(digest).parent] * 2


def test_a_blob_whose_bytes_do_not_reach_the_disk_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BlobStore(tmp_path / "blobs")
    monkeypatch.setattr(blobs, "sync_folder", lambda _: None)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(LogError, match="Input/output error"):
        store.put(b"matrix")
    assert [file for file in store.folder.rglob("*") if file.is_file()] == []


def test_an_export_to_where_nothing_can_be_written_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"all.jsonl' cannot be written"):
        export(memory(1), tmp_path / "nowhere" / "all.jsonl")
