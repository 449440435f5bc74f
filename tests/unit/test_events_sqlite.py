import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import EMPTY, Anchor, Draft, Head, RunFinished, SqliteLog


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


def reader(path: Path) -> SqliteLog:
    return SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=False)


def pragma(log: SqliteLog, name: str) -> object:
    return log._connection().execute(f"PRAGMA {name}").fetchone()[0]


# ---- what is ours ------------------------------------------------------------------------------------------------


def test_acknowledged_means_on_disk(log: SqliteLog) -> None:
    names = ("journal_mode", "synchronous", "busy_timeout", "trusted_schema", "cell_size_check", "page_size")
    assert [pragma(log, name) for name in names] == ["wal", 2, 30_000, 0, 1, 8192]


def test_the_file_says_that_it_is_ours_and_in_which_format(log: SqliteLog) -> None:
    assert (pragma(log, "application_id"), pragma(log, "user_version")) == (0x53594E4C, 2)


@pytest.mark.parametrize("write", [True, False])
def test_a_foreign_file_is_refused_and_left_as_it_is(path: Path, write: bool) -> None:
    path.write_bytes(b"dear diary " * 1000)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"'.*log.sqlite' is not a log of SynLearner: file is not a database"):
        SqliteLog(path, anchor=None, write=write)
    assert path.read_bytes() == before
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is not a log of SynLearner: its application id is 0x0"):
        SqliteLog(path, anchor=None, write=write)
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", [True, False])
def test_a_newer_format_is_refused(log: SqliteLog, path: Path, write: bool) -> None:
    log._connection().execute("PRAGMA user_version = 3")
    log.close()
    with pytest.raises(
        LogError, match="has format 3, this program knows up to 2: a newer SynLearner wrote it"
    ) as refused:
        SqliteLog(path, anchor=None, write=write)
    assert not isinstance(refused.value, CorruptLog)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM events WHERE seq = new.seq; END",
        "ALTER TABLE events RENAME COLUMN task TO job",
    ],
)
def test_a_changed_schema_is_refused(log: SqliteLog, path: Path, change: str) -> None:
    log._connection().execute(change)
    log.close()
    with pytest.raises(CorruptLog, match="its tables are not those that were made"):
        SqliteLog(path, anchor=None, write=True)


def test_a_file_that_was_begun_and_never_finished_is_an_empty_log(path: Path) -> None:
    path.touch()
    log = SqliteLog(path, anchor=None, write=False)
    assert (log.head(), list(log.read())) == (EMPTY, [])
    log.close()
    assert path.stat().st_size == 0
    log = SqliteLog(path, anchor=None, write=True)
    assert log.append([draft(1)], expected_seq=0)[0].seq == 1
    log.close()


def test_there_is_no_log_to_read_before_it_is_written(path: Path) -> None:
    with pytest.raises(ConfigError, match="no log at"):
        SqliteLog(path, anchor=None, write=False)
    assert not path.exists()


# ---- readers -----------------------------------------------------------------------------------------------------


def test_a_reader_cannot_append(log: SqliteLog, path: Path) -> None:
    log.append([draft(1)], expected_seq=0)
    other = reader(path)
    with pytest.raises(LogError, match="is open for reading"):
        other.append([draft(2)], expected_seq=1)
    other.close()


def test_readers_see_each_append_at_once_and_never_hold_it_up(log: SqliteLog, path: Path) -> None:
    log.append([draft(number) for number in range(600)], expected_seq=0)
    other = reader(path)
    reading = other.read()
    next(reading)
    log.append([draft(600)], expected_seq=600)
    # A reader in the middle of its page holds no transaction: the writer can empty the whole WAL.
    assert log._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert len(list(reading)) == 599
    assert other.head().seq == 601
    other.close()


def test_a_closed_log_is_read_without_its_wal_and_from_a_folder_that_cannot_be_written(
    log: SqliteLog, path: Path
) -> None:
    log.append([draft(1)], expected_seq=0)
    log.close()
    assert sorted(child.name for child in path.parent.iterdir()) == ["log.anchor", "log.sqlite"]
    other = reader(path)
    assert other.head().seq == 1
    other.close()
    code = (
        "import os, sys; from pathlib import Path; from synlearner.events import SqliteLog\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"  # root may write everywhere
        "print(len(list(SqliteLog(Path(sys.argv[1]), anchor=None, write=False).read())))"
    )
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/{path.name}"], capture_output=True, text=True, check=False
        )
        Path(folder).chmod(0o755)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_log_that_was_left_open_by_a_killed_writer_is_read_from_its_wal(
    log: SqliteLog, path: Path, tmp_path: Path
) -> None:
    log.append([draft(1)], expected_seq=0)
    copy = tmp_path / "copy" / "log.sqlite"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    other = SqliteLog(copy, anchor=None, write=False)
    assert [event.id for event in other.read()] == ["id 1 "]
    other.close()
    # A reader leaves the WAL as it was: only the writer may move it into the database.
    assert copy.with_name("log.sqlite-wal").stat().st_size > 0


def test_a_closed_log_says_so(log: SqliteLog) -> None:
    log.close()
    for use in (log.head, log.read, lambda: log.append([draft(1)], expected_seq=0)):
        with pytest.raises(LogError, match="is closed"):
            use()


# ---- the anchor --------------------------------------------------------------------------------------------------


def test_the_anchor_follows_every_append(log: SqliteLog, path: Path) -> None:
    anchor = Anchor(path.with_name("log.anchor"))
    assert anchor.read() == EMPTY
    for number in range(3):
        (event,) = log.append([draft(number)], expected_seq=number)
        assert anchor.read() == Head(event.seq, event.hash)


@pytest.mark.parametrize("write", [True, False])
def test_a_lost_tail_is_found_on_opening(log: SqliteLog, path: Path, write: bool) -> None:
    log.append([draft(number) for number in range(5)], expected_seq=0)
    log._connection().execute("DELETE FROM events WHERE seq > 3")
    log.close()
    with pytest.raises(CorruptLog, match=r"the last 2 acknowledged events are missing: .* ends at 3, its anchor at 5"):
        SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=write)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("left", [b"", None])
def test_a_log_that_is_gone_altogether_is_found_on_opening(
    log: SqliteLog, path: Path, write: bool, left: bytes | None
) -> None:
    log.append([draft(1)], expected_seq=0)
    log.close()
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(CorruptLog, match="the last acknowledged event is missing"):
        SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=write)
    assert (path.read_bytes() if path.exists() else None) == left


@pytest.mark.parametrize("write", [True, False])
def test_another_history_of_the_same_length_is_found_on_opening(log: SqliteLog, path: Path, write: bool) -> None:
    log.append([draft(1)], expected_seq=0)
    log.close()
    path.unlink()
    other = SqliteLog(path, anchor=None, write=True)
    other.append([draft(2), draft(3)], expected_seq=0)
    other.close()
    with pytest.raises(CorruptLog, match="event 1 is not the one that was acknowledged"):
        SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=write)


def test_an_anchor_behind_the_log_is_normal_and_catches_up(log: SqliteLog, path: Path) -> None:
    log.append([draft(1)], expected_seq=0)
    old = path.with_name("log.anchor").read_bytes()
    log.append([draft(2)], expected_seq=1)
    log.close()
    path.with_name("log.anchor").write_bytes(old)
    reader(path).close()
    assert path.with_name("log.anchor").read_bytes() == old
    again = SqliteLog(path, anchor=Anchor(path.with_name("log.anchor")), write=True)
    assert Anchor(path.with_name("log.anchor")).read() == again.head()
    again.close()


@pytest.mark.parametrize("damage", [lambda anchor: anchor.unlink(), lambda anchor: anchor.write_bytes(bytes(5000))])
def test_a_missing_anchor_is_made_again_only_for_a_log_that_is_whole(
    log: SqliteLog, path: Path, damage: object
) -> None:
    assert callable(damage)
    anchor = path.with_name("log.anchor")
    log.append([draft(number) for number in range(3)], expected_seq=0)
    log.close()
    damage(anchor)
    reader(path).close()
    assert Anchor(anchor).read() is None
    SqliteLog(path, anchor=Anchor(anchor), write=True).close()
    assert Anchor(anchor).read() == Head(3, list(reader(path).read())[-1].hash)
    damage(anchor)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET task = 'x' WHERE seq = 2")
    connection.close()
    with pytest.raises(CorruptLog, match=r"event 2 \(run_finished\): its envelope"):
        SqliteLog(path, anchor=Anchor(anchor), write=True)
    assert Anchor(anchor).read() is None


def test_a_damaged_header_is_damage_where_an_anchor_says_that_the_log_is_ours(log: SqliteLog, path: Path) -> None:
    log.append([draft(1)], expected_seq=0)
    log.close()
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(CorruptLog, match="is damaged: file is not a database"):
        reader(path)
