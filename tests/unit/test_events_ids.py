"""What format 2 of the database has that format 1 had not: a table of ids that is filled late, and an epoch."""

import sqlite3
from pathlib import Path

import pytest

from synlearner.errors import AppendConflict, HomeLocked
from synlearner.events import Draft, RunFinished, SqliteLog, database, ids


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def draft(number: int) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"{number * 7919 % 1000:03}-{number}")


def drafts(first: int, last: int) -> list[Draft]:
    return [draft(number) for number in range(first, last + 1)]


def test_a_process_that_was_thought_dead_can_write_no_more(path: Path) -> None:
    zombie = SqliteLog(path, anchor=None, write=True)
    zombie.append(drafts(1, 2), expected_seq=0)
    heir = SqliteLog(path, anchor=None, write=True)
    for expected_seq in (2, 0):
        with pytest.raises(HomeLocked, match="wrote in epoch 1, but the log is in epoch 2: another process has taken"):
            zombie.append(drafts(3, 3), expected_seq=expected_seq)
    assert heir.head().seq == 2
    heir.append(drafts(3, 4), expected_seq=2)
    with pytest.raises(HomeLocked):
        zombie.append(drafts(5, 5), expected_seq=4)
    assert [event.seq for event in heir.read()] == [1, 2, 3, 4]


def test_a_zombie_whose_commit_failed_is_told_so_when_it_looks_again(path: Path) -> None:
    zombie = SqliteLog(path, anchor=None, write=True)
    zombie._connection().close()  # its next statement fails
    SqliteLog(path, anchor=None, write=True).append(drafts(1, 1), expected_seq=0)
    with pytest.raises(HomeLocked, match="epoch 2"):
        zombie.append(drafts(1, 1), expected_seq=0)


@pytest.mark.parametrize("reopen", [True, False])
def test_a_repeat_is_recognised_before_and_after_its_ids_were_merged(
    path: Path, monkeypatch: pytest.MonkeyPatch, reopen: bool
) -> None:
    monkeypatch.setattr(ids, "MERGE", 5)
    monkeypatch.setattr(ids.Ids.merge, "__kwdefaults__", {"least": 5})
    log = SqliteLog(path, anchor=None, write=True)
    reader = SqliteLog(path, anchor=None, write=False)
    for first in range(1, 20, 3):
        if reopen:
            log.close()
            log = SqliteLog(path, anchor=None, write=True)
        log.append(drafts(first, first + 2), expected_seq=first - 1)
        for earlier in range(1, first + 1, 3):
            batch = drafts(earlier, earlier + 2)
            assert [event.seq for event in log.append(batch, expected_seq=0)] == [earlier, earlier + 1, earlier + 2]
            found = reader.find([draft.id for draft in batch] + ["unknown"])
            assert sorted(place.seq for place in found.values()) == [earlier, earlier + 1, earlier + 2]
        with pytest.raises(AppendConflict, match="holds 1 of the 2"):
            log.append([draft(first), draft(900)], expected_seq=first + 2)
    merged = log._connection().execute("SELECT count(*), indexed FROM ids, writer").fetchone()
    assert merged == (18, 18)
    assert log.problems() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET id = 'other' WHERE seq = 2",
        "DELETE FROM ids WHERE seq = 2",
        "UPDATE ids SET seq = 99 WHERE seq = 2",
        "UPDATE events SET id = (SELECT id FROM events WHERE seq = 3) WHERE seq = 8",
        "UPDATE events SET id = (SELECT id FROM events WHERE seq = 7) WHERE seq = 8",
    ],
)
def test_a_table_of_ids_that_does_not_fit_is_found(path: Path, damage: str) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    log.append(drafts(1, 6), expected_seq=0)
    with database.transaction(log._connection()):
        ids.Ids().merge(log._connection(), 6, least=1)
    log.append(drafts(7, 9), expected_seq=6)
    assert log.problems() == []
    log._connection().execute(damage)
    assert log.problems()
    assert all("the table of ids does not fit" in problem for problem in log.problems())


@pytest.fixture
def old(path: Path) -> Path:
    """A log as format 1 had it."""
    log = SqliteLog(path, anchor=None, write=True)
    log.append(drafts(1, 9), expected_seq=0)
    log.close()
    connection = sqlite3.connect(path)
    connection.executescript(
        # Only constants of ours.
        f"""ALTER TABLE events RENAME TO new; {database.SCHEMA_1}; INSERT INTO events SELECT * FROM new;
        DROP TABLE new; DROP TABLE ids; DROP TABLE writer; PRAGMA user_version = 1;"""  # noqa: S608
    )
    connection.close()
    return path


def test_a_log_of_format_1_is_read_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    log = SqliteLog(old, anchor=None, write=False)
    assert [event.seq for event in log.read()] == list(range(1, 10))
    assert {place.seq for place in log.find([draft(3).id, "x"]).values()} == {3}
    assert log.problems() == []
    log.close()
    database.snapshot(old, old.with_name("copy"))
    assert old.read_bytes() == before


def test_a_log_of_format_1_gets_the_new_tables_when_it_is_written_to(old: Path) -> None:
    digest = SqliteLog(old, anchor=None, write=False).head()
    for _ in range(2):
        log = SqliteLog(old, anchor=None, write=True)
        assert log.head() == digest
        assert [event.seq for event in log.append(drafts(4, 5), expected_seq=9)] == [4, 5]
        assert log.problems() == []
        log.close()
    log = SqliteLog(old, anchor=None, write=True)
    assert log.append(drafts(10, 10), expected_seq=9)[0].seq == 10
    assert [event.seq for event in log.read()] == list(range(1, 11))


def test_a_writer_that_opens_a_log_knows_what_is_in_it(path: Path) -> None:
    for _ in range(2):
        log = SqliteLog(path, anchor=None, write=True)
        place = log.head().seq
        assert [event.seq for event in log.append(drafts(1, 3), expected_seq=place)] == [1, 2, 3]
        log.close()
    assert place == 3


def test_only_what_is_new_is_read_to_know_its_ids(path: Path) -> None:
    log = SqliteLog(path, anchor=None, write=True)
    reader = SqliteLog(path, anchor=None, write=False)
    asked: list[str] = []
    reader._connection().set_trace_callback(asked.append)
    for first in (1, 4, 7):
        log.append(drafts(first, first + 2), expected_seq=first - 1)
        assert len(reader.find([draft(first).id])) == 1
    assert [sql.split("> ")[1].split()[0] for sql in asked if sql.startswith("SELECT id, seq FROM events")] == [
        "0", "3", "6",
    ]  # fmt: skip
    reader.close()
    log.close()


def test_ids_that_hold_nul_are_recognised_in_the_table_too(path: Path) -> None:
    """To SQLite's `json_each` a text ends at NUL: a repeat was stored twice, or another id found in its place."""
    first = [Draft(fact=RunFinished(tasks=1, delivered=0), id=id_) for id_ in ("0\0", "\0", "0", "a\0b")]
    log = SqliteLog(path, anchor=None, write=True)
    stored = list(log.append(first, expected_seq=0))
    connection = log._connection()
    with connection:
        log._ids.merge(connection, 4, least=1)
    again = SqliteLog(path, anchor=None, write=True)
    assert list(again.append(first, expected_seq=0)) == stored
    assert list(again.append(first[1:3], expected_seq=9)) == stored[1:3]
    assert set(again.find(["0\0", "b", "a\0"])) == {"0\0"}
    assert again.head().seq == 4
