"""A damaged home keeps all that can be trusted, loses nothing for good, and goes on."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from histories import change, home_of_feedback, small_home

from synlearner.errors import ConfigError, CorruptLog, HomeLocked, LogError
from synlearner.events import Anchor, Draft, FeedbackGiven, Head, Home, RunFinished, fork, verify
from synlearner.events.redaction import redact
from synlearner.events.repair import repair

Damage = Callable[[Path], object]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


def hashes(home: Path) -> list[str]:
    with Home.open(home) as opened:
        return [event.hash for event in opened.log.read()]


def blobs(home: Path) -> list[Path]:
    """The blobs of events 2 and 5."""
    with Home.open(home) as opened:
        return [opened.blobs.path(opened.log.get(seq).fact.embeddings) for seq in (2, 5)]  # type: ignore[union-attr]


def spoil(file: Path, start: int, data: bytes) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:start] + data + whole[start + len(data) :])


def truncate(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def spoil_anchor(home: Path) -> None:
    for slot in (0, 4096):
        spoil(home / "log.anchor", slot + 20, b"xx")


@pytest.mark.parametrize(
    ("damage", "kept", "lost", "seq", "what"),
    [
        (lambda home: change(home, "UPDATE events SET id = 'x' WHERE seq = 4"), 3, 3, 4, "its envelope is not"),
        (lambda home: change(home, "UPDATE events SET payload = x'' WHERE seq = 3"), 2, 4, 3, "its payload is gone"),
        (lambda home: change(home, "UPDATE events SET payload = x'7b7d' WHERE seq = 3"), 2, 4, 3, "its payload is not"),
        (lambda home: change(home, "DELETE FROM events WHERE seq = 4"), 3, 3, 4, "event 4 is missing"),
        (lambda home: spoil(home / "log.sqlite", 100, b"x" * 20), 6, 0, None, "malformed"),
        (lambda home: truncate(home / "log.sqlite", 8192), 0, 6, None, "malformed"),
        (lambda home: change(home, "DELETE FROM events WHERE seq = 1"), 0, 6, 1, "event 1 is missing"),
        (lambda home: change(home, "DELETE FROM events WHERE seq > 3"), 3, 3, 4, "events 4 to 6 are missing"),
        (lambda home: change(home, "DELETE FROM events"), 0, 6, 1, "acknowledged, says the anchor"),
        (lambda home: change(home, "INSERT INTO ids VALUES ('x', 9)"), 6, 0, None, "table of ids"),
        (lambda home: (home / "log.sqlite").unlink(), 0, 6, None, "is missing, its anchor names 6 events"),
        (lambda home: (home / "log.sqlite").write_bytes(b""), 0, 6, 1, "acknowledged, says the anchor"),
        (lambda home: (home / "log.anchor").unlink(), 6, 0, None, "missing or damaged"),
        (spoil_anchor, 6, 0, None, "missing or damaged"),
        (lambda home: spoil(home / "log.sqlite", 0, b"x"), 6, 0, None, "file is not a database"),
        (lambda home: spoil(home / "log.sqlite", 0, b"x" * 8192), 6, 0, None, "file is not a database"),
        (lambda home: spoil(home / "log.sqlite", 8192, b"x" * 8192), 0, 6, 1, "cannot be read"),
        (lambda home: change(home, "DROP TABLE ids"), 6, 0, None, "its tables are not those that were made"),
        (lambda home: blobs(home)[1].unlink(), 4, 2, 5, "is missing"),
        (lambda home: spoil(blobs(home)[0], 0, b"M"), 1, 5, 2, "is changed"),
    ],
)  # fmt: skip
def test_the_longest_trusted_prefix_stays(
    home: Path, damage: Damage, kept: int, lost: int, seq: int | None, what: str
) -> None:
    whole = hashes(home)
    damage(home)
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file() and "sqlite-" not in file.name}
    plan = repair(home)
    assert (plan.dry, plan.kept, plan.lost) == (True, kept, lost)
    assert {file: file.read_bytes() for file in before} == before
    assert not (home / "damaged-1").exists()
    done = repair(home, dry=False)
    assert done.problem
    assert (done.problem.seq, done.kept, done.lost, done.left) == (seq, kept, lost, [])
    assert what in done.problem.what
    assert verify(home).problems == []
    assert hashes(home) == whole[:kept]
    # Everything that was there is still there, under one name or another.
    contents = {file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert set(before.values()) <= contents | {b""} | {before.get(home / ".writer", b"")}
    with Home.open(home, write=True) as opened:
        opened.log.append([Draft(fact=RunFinished(tasks=9, delivered=9), id="new")], expected_seq=kept)
    assert repair(home, dry=False).problem is None
    assert verify(home).problems == []


def test_a_healthy_home_is_left_as_it_is(home: Path) -> None:
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file() and "sqlite-" not in file.name}
    done = repair(home, dry=False)
    assert (done.problem, done.kept, done.lost, done.files) == (None, 6, 0, [])
    assert {file: file.read_bytes() for file in before} == before
    assert not list(home.glob("damaged-*"))


def test_damage_deep_in_the_tree_keeps_what_stands_before_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Home.open(home, create=True) as opened:
        facts = [FeedbackGiven(target="", score=0.0, text=f"{number:04}" * 200, source="") for number in range(400)]
        opened.log.append([Draft(fact=fact, id=str(n)) for n, fact in enumerate(facts)], expected_seq=0)
    whole = hashes(home)
    data = (home / "log.sqlite").read_bytes()
    spoil(home / "log.sqlite", data.find(b"0300" * 200) // 8192 * 8192, b"\xff" * 8192)
    done = repair(home, dry=False)
    assert 280 < done.kept <= 300
    assert hashes(home) == whole[: done.kept]
    assert (verify(home).problems, done.left) == ([], [])


def test_committed_frames_behind_a_damaged_one_are_read_all_the_same(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    with Home.open(home, create=True) as opened:
        for number in range(20):
            draft = Draft(fact=FeedbackGiven(target="", score=0.0, text="x" * 500, source=""), id=str(number))
            opened.log.append([draft], expected_seq=number)
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*-shm"))  # as a killed writer leaves it
    # A frame in the middle: SQLite takes its beginning for the end of the log.
    wal = copy / "log.sqlite-wal"
    spoil(wal, 32 + 10 * (24 + 8192) + 16, b"\0\0")
    assert "acknowledged, says the anchor" in str(verify(copy).problems)
    done = repair(copy, dry=False)
    assert (done.kept, done.lost, done.left) == (20, 0, [])
    assert hashes(copy) == hashes(home)
    spoil_wal_header = bytes(8)
    shutil.rmtree(copy)
    with Home.open(home, write=True) as opened:
        opened.log.append([Draft(fact=RunFinished(tasks=0, delivered=0), id="last")], expected_seq=20)
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*-shm"))
    spoil(wal, 16, spoil_wal_header)
    assert repair(copy, dry=False).kept == 21


def test_an_anchor_of_another_history_is_not_decided_by_guessing(home: Path) -> None:
    for head in (Head(6, "ab" * 32), Head(6, "ac" * 32)):
        anchor = Anchor(home / "log.anchor")
        anchor.write(head)
        anchor.close()
    with pytest.raises(CorruptLog, match="belong to two histories, and nothing says which is right"):
        repair(home, dry=False)
    (home / "log.anchor").rename(home / "log.anchor.old")
    assert repair(home, dry=False).kept == 6


def test_what_a_newer_program_wrote_is_not_cut_off(home: Path) -> None:
    with closing(sqlite3.connect(home / "log.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match="a newer SynLearner wrote it"):
        repair(home, dry=False)
    assert not list(home.glob("*damaged*"))


def test_a_payload_that_was_taken_out_stays_out_as_long_as_the_event_says_so(tmp_path: Path) -> None:
    home = home_of_feedback(tmp_path / "home", 6)
    redact(home, [3], "asked")
    redact(home, [2], "asked")
    change(home, "UPDATE events SET id = 'x' WHERE seq = 8")
    done = repair(home, dry=False)
    # The event that says why 2 is empty is event 8.
    assert (done.kept, done.left) == (1, [])
    assert done.problem
    assert "its payload is gone, and so is the event that says why" in done.problem.what


def test_a_fork_is_repaired_by_itself_and_its_parent_first(home: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    fork(home, 4, child, {})
    with Home.open(child, write=True) as opened:
        opened.log.append([Draft(fact=RunFinished(tasks=9, delivered=9), id="own")], expected_seq=5)
    change(child, "UPDATE events SET id = 'x' WHERE seq = 6")
    assert (repair(child, dry=False).kept, verify(child).problems) == (5, [])
    change(home, "UPDATE events SET id = 'x' WHERE seq = 3")
    assert repair(home).forks == [str(child)]
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    with pytest.raises(CorruptLog, match=r"begins in the home .*home'"):
        repair(child, dry=False)


@pytest.mark.parametrize("step", range(1, 4))
def test_a_repair_that_is_cut_off_is_finished_by_the_next(
    home: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hashes(home)
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    calls = 0
    replace, rename = Path.replace, Path.rename

    def stopping(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def perform(file: Path, target: Path) -> Path:
            nonlocal calls
            calls += file.parent.name == ".repair" or file.name == "derived"
            if calls == step:
                raise KeyboardInterrupt
            return move(file, target)

        return perform

    monkeypatch.setattr(Path, "replace", stopping(replace))
    monkeypatch.setattr(Path, "rename", stopping(rename))
    with pytest.raises(KeyboardInterrupt):
        repair(home, dry=False)
    monkeypatch.undo()
    repair(home, dry=False)
    assert hashes(home) == whole[:3]
    assert verify(home).problems == []
    assert (home / "damaged-1" / "log.sqlite").exists()
    assert not (home / ".repair").exists()


def test_what_cannot_be_repaired_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home at"):
        repair(tmp_path / "nowhere", dry=False)
    with pytest.raises(ConfigError, match="repairing works on a home in a folder"):
        repair("postgresql://me@host/db")
    (home / ".repair-new").mkdir()  # as if another process were repairing
    with Home.open(home, write=True), pytest.raises(HomeLocked):
        repair(home, dry=False)
    repair(home)
    assert (home / ".repair-new").exists()
    (home / "log.anchor").unlink()
    (home / "log.sqlite").write_bytes(b"a text, and no database at all")
    with pytest.raises(ConfigError, match="is not a log of SynLearner"):
        repair(home, dry=False)
    assert (home / "log.sqlite").read_bytes() == b"a text, and no database at all"


def test_what_a_killed_repair_had_begun_is_made_again(home: Path) -> None:
    (home / ".repair-new").mkdir()
    shutil.copy(home / "log.sqlite", home / ".repair-new")
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    assert (repair(home, dry=False).kept, verify(home).problems) == (3, [])
    assert not (home / ".repair-new").exists()


def test_a_log_that_stays_has_no_second_name_under_which_it_would_change(home: Path) -> None:
    spoil_anchor(home)
    assert repair(home).files == repair(home, dry=False).files == ["log.anchor"]
    assert (home / "log.sqlite").stat().st_nlink == 1


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_database_does_not_take_its_write_ahead_log_with_it(tmp_path: Path, size: int) -> None:
    """SQLite deletes the WAL beside an empty file, even where it is opened to read; and here it holds all events.

    A file of one byte is empty to SQLite.
    """
    with Home.open(tmp_path / "writing", create=True) as writer:
        drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=f"{number}") for number in range(3)]
        writer.log.append(drafts, expected_seq=0)
        shutil.copytree(writer.path, tmp_path / "home", ignore=shutil.ignore_patterns("*-shm"))
    home = tmp_path / "home"
    truncate(home / "log.sqlite", size)
    (home / "log.anchor").unlink()
    wal = (home / "log.sqlite-wal").read_bytes()
    assert [problem.what for problem in verify(home).problems] == [
        f"'{home / 'log.sqlite'}' is damaged: it is empty, and its WAL is not; restore the home from a copy"
    ]
    for write in (False, True):
        with pytest.raises(CorruptLog, match="it is empty, and its WAL is not"):
            Home.open(home, write=write)
    assert (home / "log.sqlite-wal").read_bytes() == wal
    assert repair(home, dry=False).kept == 3
    assert hashes(home) == hashes(tmp_path / "writing")
