"""Branches of forks and of `verify` that are rarely taken, each by what it is there for."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from histories import change, draft, memory, small_home

from synlearner.errors import CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    Head,
    Home,
    MemoryLog,
    SqliteLog,
    database,
    fork,
    verify,
)
from synlearner.events.forked import ForkedLog
from synlearner.events.lineage import Shared
from synlearner.events.repair import repair
from synlearner.events.rows import Row, prepare, seal
from synlearner.events.sqlite import PAGE
from synlearner.events.verify import Survey


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


# ---- forks -------------------------------------------------------------------------------------------------------


def test_a_parent_that_changes_while_its_fork_is_open_is_found_when_it_is_read(home: Path, tmp_path: Path) -> None:
    fork(home, 4, tmp_path / "child", {})
    with Home.open(tmp_path / "child") as child:
        assert child.log.problems() == []
        assert isinstance(child.log, ForkedLog)
        assert child.log.path == tmp_path / "child" / "log.sqlite"
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
    forked = ForkedLog(SqliteLog(tmp_path / "own.sqlite", anchor=None, write=True, base=end), [part])
    with pytest.raises(CorruptLog, match="event 1 is not the one that was forked at"):
        list(forked.read())
    rows = [Row._make(row) for row in seal(prepare([draft(8)]), end)]
    assert forked.adopt(rows) == forked.head() == Head(2, rows[0].hash.hex())
    forked.close()


def test_damage_further_up_the_line_of_forks_is_named_with_the_note_that_leads_there(
    home: Path, tmp_path: Path
) -> None:
    fork(home, 3, tmp_path / "child", {})
    fork(tmp_path / "child", 4, tmp_path / "grandchild", {})
    change(home, "UPDATE events SET id = 'x' WHERE seq = 3")
    found = verify(tmp_path / "grandchild").problems
    assert any(problem.file == "../child/parent.json" for problem in found), found


def test_a_blob_is_found_in_whichever_home_of_the_line_has_it(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as first:
        digests = list(first.blobs.digests())
    fork(home, 6, tmp_path / "child", {})
    with Home.open(tmp_path / "child", write=True) as child:
        digests.append(child.blobs.put(b"of the child"))
    fork(tmp_path / "child", 7, tmp_path / "grandchild", {})
    with Home.open(tmp_path / "grandchild", write=True) as home_:
        digests.append(home_.blobs.put(b"its own"))
        assert [home_.blobs.has(digest) for digest in digests] == [True] * 4
        assert [home_.blobs.get(digest) for digest in digests[2:]] == [b"of the child", b"its own"]
        assert not home_.blobs.has("f" * 64)


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


def test_around_a_row_that_cannot_be_read_all_others_are_looked_at(tmp_path: Path) -> None:
    class Holed(MemoryLog):
        def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
            if until is not None and after < 3 <= until:
                raise CorruptLog("no")
            return super().rows(after=after, until=until)

    log = Holed()
    log.append([draft(number) for number in range(1, PAGE + 6)], expected_seq=0)
    survey = Survey(tmp_path)
    survey.look_at_events(log)
    report = survey.done()
    assert (report.events, report.digest) == (PAGE + 4, log.head().hash)
    assert [(problem.seq, problem.what) for problem in report.problems] == [
        (1, f"between event 1 and {PAGE}: no"),
        (3, "event 3 is missing"),
    ]


def test_who_looks_at_a_home_or_repairs_it_lets_go_of_it_and_of_its_parents(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork(home, 4, tmp_path / "child", {})
    connections: list[sqlite3.Connection] = []
    connect = database._connect

    def noting(target: Path | str) -> sqlite3.Connection:
        connections.append(connect(target))
        return connections[-1]

    monkeypatch.setattr(database, "_connect", noting)
    assert verify(tmp_path / "child").problems == []
    assert len(connections) == 2
    change(tmp_path / "child", "UPDATE events SET id = 'x' WHERE seq = 5")
    assert repair(tmp_path / "child", dry=False).kept == 4
    for connection in connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_a_shared_part_that_ends_too_early_is_named(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    survey.look_at_events(memory(3), until=5)
    assert [problem.what for problem in survey.done().problems] == ["events 4 to 5 are missing"]


def test_a_server_that_does_not_answer_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path))
    with pytest.raises(LogError) as refused:
        verify(f"postgresql://me@/db?host={tmp_path}&schema=x")
    assert not isinstance(refused.value, CorruptLog)
