"""Branches of the log core that are rarely taken, each by what it is there for."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from histories import change, small_home

from synlearner.errors import AppendConflict, CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    Anchor,
    BlobStore,
    Draft,
    Head,
    Home,
    MemoryLog,
    RunFinished,
    SqliteLog,
    WriterLock,
    blobs,
    database,
    export,
    fork,
    ids,
    verify,
)
from synlearner.events.forked import ForkedLog
from synlearner.events.lineage import Shared
from synlearner.events.repair import repair
from synlearner.events.rows import Row, prepare, seal
from synlearner.events.verify import Survey


def draft(number: int, **more: Any) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"id {number}", **more)


def memory(count: int) -> MemoryLog:
    log = MemoryLog()
    log.append([draft(number) for number in range(1, count + 1)], expected_seq=0)
    return log


def failing(*_: object, **__: object) -> Any:
    raise OSError(errno.EIO, "Input/output error")


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


def test_an_adoption_that_cannot_be_written_or_names_an_id_twice_takes_nothing(path: Path) -> None:
    rows = list(memory(3).rows())
    log = SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=True)
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


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_lock_may_be_released_twice(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / ".writer")
    lock.acquire()
    lock.release()
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


# ---- forks -------------------------------------------------------------------------------------------------------


def test_a_parent_that_changes_while_its_fork_is_open_is_found_when_it_is_read(home: Path, tmp_path: Path) -> None:
    fork(home, 4, tmp_path / "child", {})
    with Home.open(tmp_path / "child") as child:
        assert child.log.problems() == []
        assert child.log.path == tmp_path / "child" / "log.sqlite"  # type: ignore[attr-defined]
        change(home, "DELETE FROM events WHERE seq >= 3")
        with pytest.raises(CorruptLog, match=r"events 3 to 4 are missing, in '.*home'"):
            list(child.log.read())


def test_a_parent_with_another_whole_history_is_found_when_it_is_read(tmp_path: Path) -> None:
    for name, number in (("one", 1), ("other", 7)):
        log = SqliteLog(tmp_path / f"{name}.sqlite", anchor=None, write=True)
        log.append([draft(number)], expected_seq=0)
        end = log.head()
        log.close()
    part = Shared(
        tmp_path,
        tmp_path,
        EMPTY,
        end,
        lambda _, base: SqliteLog(tmp_path / "one.sqlite", anchor=None, write=False, base=base),
    )
    part._open = part._opener(tmp_path, EMPTY)  # as it was before the other one took its place
    log = ForkedLog(SqliteLog(tmp_path / "own.sqlite", anchor=None, write=True, base=end), [part])
    with pytest.raises(CorruptLog, match="event 1 is not the one that was forked at"):
        list(log.read())
    rows = [Row._make(row) for row in seal(prepare([draft(8)]), end)]
    assert log.adopt(rows) == log.head() == Head(2, rows[0].hash.hex())
    log.close()


def test_damage_further_up_the_line_of_forks_is_named_with_the_note_that_leads_there(
    home: Path, tmp_path: Path
) -> None:
    fork(home, 3, tmp_path / "child", {})
    fork(tmp_path / "child", 4, tmp_path / "grandchild", {})
    change(home, "UPDATE events SET id = 'x' WHERE seq = 3")
    found = verify(tmp_path / "grandchild").problems
    assert any(problem.file == "../child/parent.json" for problem in found), found


# ---- verify ------------------------------------------------------------------------------------------------------


class Torn(MemoryLog):
    """A log of which pages can be read, and never all of it at once."""

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        if until is None:
            raise CorruptLog("torn")
        return super().rows(after=after, until=until)


def test_where_the_rest_cannot_be_read_an_event_is_named_all_the_same(tmp_path: Path) -> None:
    log = Torn()
    log.append([draft(number) for number in range(1, 5)], expected_seq=0)
    log._rows[1] = log._rows[1]._replace(payload=b"")
    log._rows[3] = log._rows[3]._replace(task="x")
    survey = Survey(tmp_path)
    survey.look_at_events(log)
    assert [(problem.seq, problem.what) for problem in survey.done().problems] == [
        (4, "event 4 (run_finished): its envelope is not what was written"),
        (2, "event 2 (run_finished): its payload is not what was written"),
    ]


def test_a_last_hash_that_is_none_does_not_hide_other_damage(home: Path) -> None:
    change(home, "UPDATE events SET hash = 'text' WHERE seq = 6")
    change(home, "UPDATE events SET id = 'x' WHERE seq = 3")
    assert [(problem.seq, problem.what[:30]) for problem in verify(home).problems[:2]] == [
        (None, "event 6: its hash is not what "),
        (3, "event 3 (run_finished): its en"),
    ]
    assert repair(home, dry=False).kept == 2


def test_a_shared_part_that_ends_too_early_is_named(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    survey.look_at_events(memory(3), until=5)
    assert [problem.what for problem in survey.done().problems] == ["events 4 to 5 are missing"]


def test_a_server_that_does_not_answer_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path))
    with pytest.raises(LogError) as refused:
        verify(f"postgresql://me@/db?host={tmp_path}&schema=x")
    assert not isinstance(refused.value, CorruptLog)
