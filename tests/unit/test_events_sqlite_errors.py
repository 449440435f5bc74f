"""What a log does when the machine does not go along."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import EMPTY, Anchor, Draft, Head, RunFinished, SqliteLog, database


def draft(number: int, size: int = 0) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"id {number} {'x' * size}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=True)
    yield log
    log.close()


def test_a_full_disk_loses_nothing_and_the_same_append_works_when_there_is_space(log: SqliteLog) -> None:
    log.append([draft(0)], expected_seq=0)
    (pages,) = log._connection().execute("PRAGMA page_count").fetchone()
    log._connection().execute(f"PRAGMA max_page_count = {pages}")
    batch = [draft(number, size=20_000) for number in (1, 2)]
    with pytest.raises(
        LogError, match=r"no space left on the disk of .*: free some and run the same command again; nothing was"
    ):
        log.append(batch, expected_seq=1)
    assert log.head().seq == 1
    # The error made the log look at the disk through a new connection, which has no such limit.
    assert [event.seq for event in log.append(batch, expected_seq=1)] == [2, 3]


def test_a_file_that_may_not_grow_is_an_error_in_one_line(path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from synlearner.errors import LogError
from synlearner.events import Draft, RunFinished, SqliteLog
log = SqliteLog(Path(sys.argv[1]), anchor=None, write=True)
draft = lambda n: Draft(fact=RunFinished(tasks=n, delivered=0), id=f"{n}" + "x" * 5000)
log.append([draft(0)], expected_seq=0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
try:
    for n in range(1, 20):
        log.append([draft(n)], expected_seq=n)
except LogError as error:
    print(type(error).__name__, n, str(error).splitlines())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.close()
log = SqliteLog(Path(sys.argv[1]), anchor=None, write=True)
assert log.head().seq == n, (log.head().seq, n)
log.append([draft(n)], expected_seq=n)
print(len(list(log.read())) == n + 1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first.startswith("LogError ")
    assert "nothing was lost" in first
    assert second == "True"


class Failing:
    """A connection whose COMMIT fails, after it went through or without."""

    def __init__(self, inner: sqlite3.Connection, *, commit: bool) -> None:
        self._inner = inner
        self._commit = commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT":
            if self._commit:
                self._inner.execute("COMMIT")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return self._inner.execute(sql, *values)


@pytest.mark.parametrize("committed", [True, False])
def test_after_an_error_the_disk_says_whether_the_batch_is_there(log: SqliteLog, path: Path, committed: bool) -> None:
    log.append([draft(0)], expected_seq=0)
    log._open = Failing(log._connection(), commit=committed)  # type: ignore[assignment]
    failed = log._connection()
    batch = [draft(1), draft(2), draft(3)]
    if committed:
        assert [event.seq for event in log.append(batch, expected_seq=1)] == [2, 3, 4]
        assert Anchor(path.with_name("log.anchor")).read() == log.head()
        # The writer knows now what went through: also at the place where something new would come.
        assert [event.seq for event in log.append(batch, expected_seq=4)] == [2, 3, 4]
    else:
        with pytest.raises(LogError, match="cannot be written: disk I/O error"):
            log.append(batch, expected_seq=1)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        failed.execute("SELECT 1")
    assert log.head().seq == (4 if committed else 1)
    assert [event.seq for event in log.append(batch, expected_seq=1)] == [2, 3, 4]


def test_a_batch_that_may_be_in_the_page_cache_alone_is_written_once_more(log: SqliteLog, path: Path) -> None:
    reader = SqliteLog(path, anchor=None, write=False)  # so that closing the failed connection moves nothing
    log._open = Failing(log._connection(), commit=True)  # type: ignore[assignment]
    assert log.append([draft(1)], expected_seq=0)[0].seq == 1
    assert path.with_name("log.sqlite-wal").stat().st_size == 0
    reader.close()


def test_a_batch_that_cannot_be_written_once_more_is_not_acknowledged(
    log: SqliteLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT", 0.01)
    reader = SqliteLog(path, anchor=None, write=False)
    reader._connection().execute("BEGIN")
    reader.head()
    log._open = Failing(log._connection(), commit=True)  # type: ignore[assignment]
    with pytest.raises(LogError, match="run the same command again"):
        log.append([draft(1)], expected_seq=0)
    reader.close()
    assert log.append([draft(1)], expected_seq=0)[0].seq == 1


def test_a_damaged_file_is_called_damaged_by_the_writer_too(log: SqliteLog, path: Path) -> None:
    log.append([draft(number) for number in range(200)], expected_seq=0)
    log.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])
    with pytest.raises(CorruptLog, match="is damaged: database disk image is malformed"):
        SqliteLog(path, anchor=None, write=True).append([draft(200)], expected_seq=200)


def test_a_last_event_whose_hash_is_no_hash_is_damage(log: SqliteLog) -> None:
    log.append([draft(1)], expected_seq=0)
    log._connection().execute("UPDATE events SET hash = 'text'")
    for use in (log.head, log.read, lambda: log.append([draft(2)], expected_seq=1)):
        with pytest.raises(CorruptLog, match="event 1: its hash is not what was written"):
            use()


def test_an_anchor_that_cannot_be_written_does_not_undo_an_append(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Anchor, __: Head) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Anchor, "write", fail)
    assert log.append([draft(1)], expected_seq=0)[0].seq == 1


def test_an_index_that_lost_an_id_is_damage_and_not_a_conflict(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([draft(1)], expected_seq=0)
    monkeypatch.setattr(log, "find", lambda *_: {})
    with pytest.raises(CorruptLog, match="its index of ids names events that are not there"):
        log.append([draft(1)], expected_seq=1)


def test_a_locked_database_can_be_read_later_and_is_not_called_damaged(path: Path) -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert type(database.unreadable(path, error)) is LogError
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert type(database.unreadable(path, error)) is CorruptLog
    assert type(database.unreadable(path, sqlite3.OperationalError("Could not decode to UTF-8"))) is CorruptLog


def test_a_history_is_adopted_whole_or_not_at_all(log: SqliteLog, path: Path) -> None:
    log.append([draft(number) for number in range(3)], expected_seq=0)
    rows = list(log.rows())
    copy = SqliteLog(path.with_name("copy.sqlite"), anchor=None, write=True)

    def broken() -> Iterator[object]:
        yield from rows[:2]
        raise KeyError

    with pytest.raises(KeyError):
        copy.adopt(broken())  # type: ignore[arg-type]
    assert copy.head() == EMPTY
    assert copy.adopt(rows) == log.head()
    assert list(copy.read()) == list(log.read())
    with pytest.raises(ConfigError, match="holds 3 events: take a history over into a new home"):
        copy.adopt(rows)
    copy.close()


def test_a_page_of_rows_is_all_that_is_held_in_memory(log: SqliteLog) -> None:
    log.append([draft(number) for number in range(1000)], expected_seq=0)
    fetched: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def execute(self, sql: str, *values: Any) -> Any:
            found = inner.execute(sql, *values)
            if "LIMIT ?" in sql:
                rows = found.fetchall()
                fetched.append(len(rows))
                return type("Rows", (), {"fetchall": lambda _: rows})()
            return found

    inner = log._connection()
    log._open = Counting()  # type: ignore[assignment]
    assert len(list(log.read())) == 1000
    log._open = inner
    assert fetched == [256, 256, 256, 232]
