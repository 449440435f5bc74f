"""A backup is whole, of one moment, verified and its own; or there is none."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog, LogError, NotTrusted
from synlearner.events import Anchor, Draft, FeedbackGiven, Head, Home, SetScored, database, fork, verify
from synlearner.events.backup import backup
from synlearner.events.copying import copy
from synlearner.events.lock import WriterLock
from synlearner.events.redaction import redact


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hashes(home: Path) -> list[str]:
    with Home.open(home) as opened:
        return [event.hash for event in opened.log.read()]


def appended(number: int, size: int = 0) -> Draft:
    return Draft(fact=FeedbackGiven(target="", score=0.0, text="x" * size, source=""), id=f"new {number}")


def test_a_backup_is_a_home_of_its_own_with_the_same_history(home: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file() and "sqlite-" not in file.name}
    into = tmp_path / "far" / "backup"
    done = backup(home, into)
    assert (done.events, done.blobs, done.digest) == (6, 2, hashes(home)[-1])
    assert names(into) == [".writer", "blobs", "derived", "log.anchor", "log.sqlite"]
    assert done.bytes == sum(file.stat().st_size for file in into.rglob("*") if file.is_file())
    assert Anchor(into / "log.anchor").read() == Head(6, done.digest)
    assert {file: file.read_bytes() for file in before} == before
    assert hashes(into) == hashes(home)
    assert (into / "log.sqlite").stat().st_size == (home / "log.sqlite").stat().st_size
    for blob in (home / "blobs").rglob("*/*"):
        copy = into / blob.relative_to(home)
        assert copy.read_bytes() == blob.read_bytes()
        assert copy.stat().st_ino != blob.stat().st_ino, "damage to one would be damage to both"
    with Home.open(into, write=True) as opened:
        opened.log.append([appended(1)], expected_seq=6)
    assert verify(into).problems == verify(home).problems == []


def test_blobs_that_no_event_names_stay_behind(home: Path, tmp_path: Path) -> None:
    with Home.open(home, write=True) as opened:
        orphan = opened.blobs.put(b"named by nobody")
    assert backup(home, tmp_path / "backup").blobs == 2
    with Home.open(tmp_path / "backup") as copy:
        assert not copy.blobs.has(orphan)


def test_the_writer_goes_on_and_the_copy_is_of_one_moment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STEP", 1)
    stop, written = threading.Event(), 0
    with Home.open(home, write=True) as opened:
        opened.log.append([appended(number, 3000) for number in range(300)], expected_seq=6)

        def write() -> None:
            nonlocal written
            while not stop.is_set():
                seq = opened.log.head().seq
                blob = opened.blobs.put(f"blob {seq}".encode())
                fact = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
                opened.log.append([Draft(fact=fact, id=f"{seq}"), appended(seq, 2000)], expected_seq=seq)
                written += 2

        writer = threading.Thread(target=write)
        writer.start()
        try:
            copies = [backup(home, tmp_path / f"backup {number}") for number in range(3)]
        finally:
            stop.set()
            writer.join()
        assert written > 20
        assert opened.log.head().seq == 306 + written
        ends = [opened.log.get(copy.events).hash for copy in copies]
    assert [copy.digest for copy in copies] == ends
    assert all(copy.events % 2 == 0 for copy in copies), "never half a batch"
    assert [verify(tmp_path / f"backup {number}").problems for number in range(3)] == [[], [], []]


def test_what_another_process_has_not_checkpointed_is_in_it(home: Path, tmp_path: Path) -> None:
    code = """
import sys
from synlearner.events import Draft, Home, RunFinished
home = Home.open(sys.argv[1], write=True)
home.log.append([Draft(fact=RunFinished(tasks=7, delivered=0), id="last")], expected_seq=6)
print("there", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"there\n"
        assert (home / "log.sqlite-wal").stat().st_size
        assert backup(home, tmp_path / "backup").events == 7


def test_a_fork_is_copied_with_what_it_reads_elsewhere(home: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    fork(home, 4, child, {})
    with Home.open(child, write=True) as opened:
        blob = opened.blobs.put(b"of the fork")
        fact = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
        opened.log.append([Draft(fact=fact, id="own")], expected_seq=5)
    done = backup(child, tmp_path / "backup")
    assert (done.events, done.blobs, done.digest) == (6, 2, hashes(child)[-1])
    home.rename(tmp_path / "gone")
    assert verify(tmp_path / "backup").problems == []
    assert len(hashes(tmp_path / "backup")) == 6


def test_a_home_in_a_database_is_copied_into_a_folder(home: Path, tmp_path: Path, home_url: str) -> None:
    copy(home, home_url)
    done = backup(home_url, tmp_path / "backup")
    assert (done.events, done.blobs, done.digest) == (6, 2, hashes(home)[-1])
    assert hashes(tmp_path / "backup") == hashes(home)


def test_what_was_taken_out_is_not_in_a_backup_made_afterwards(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as opened:
        fact = FeedbackGiven(target="task:a", score=0, text="my secret", source="me")
        opened.log.append([Draft(fact=fact, id="a")], expected_seq=0)
    redact(tmp_path / "home", [1], "asked")
    assert backup(tmp_path / "home", tmp_path / "backup").events == 2
    assert all(b"my secret" not in file.read_bytes() for file in (tmp_path / "backup").rglob("*") if file.is_file())


def test_a_place_that_is_taken_is_refused_and_an_empty_one_is_not(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for into in (home, tmp_path / "file", tmp_path):
        with pytest.raises(
            ConfigError, match="is not empty: a backup is a new home; pass a folder that does not exist"
        ):
            backup(home, into)
    (tmp_path / "empty").mkdir()
    assert backup(home, tmp_path / "empty").events == 6
    with pytest.raises(ConfigError, match="is not empty"):
        backup(home, tmp_path / "empty")


def test_what_is_no_home_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home at"):
        backup(tmp_path / "none", tmp_path / "backup")
    Home.open(tmp_path / "home", create=True).close()
    with pytest.raises(ConfigError, match="holds no events: there is nothing to back up"):
        backup(tmp_path / "home", tmp_path / "backup")
    with pytest.raises(ConfigError, match=r"a backup works on a home in a folder, not on .*`synlearner log copy`"):
        backup(tmp_path / "home", "postgresql://me@host/db")
    assert names(tmp_path) == ["home"]


def damage_blob(home: Path) -> None:
    next(iter((home / "blobs").rglob("*/*"))).write_bytes(b"x")


def lose_tail(home: Path) -> None:
    change(home, "DELETE FROM events WHERE seq > 4")


@pytest.mark.parametrize(
    ("damage", "error", "what"),
    [
        (damage_blob, CorruptBlob, "is changed"),
        (lambda home: change(home, "UPDATE events SET task = 'x' WHERE seq = 3"), CorruptLog, "event 3 "),
        (lambda home: change(home, "INSERT INTO ids VALUES ('x', 9)"), CorruptLog, "the home itself is damaged"),
        (lose_tail, CorruptLog, "the last 2 acknowledged events are missing"),
    ],
)
def test_a_damaged_home_has_no_backup(
    home: Path, tmp_path: Path, damage: Any, error: type[NotTrusted], what: str
) -> None:
    damage(home)
    with pytest.raises(error, match=what):
        backup(home, tmp_path / "backup")
    assert names(tmp_path) == ["home"]


def test_a_copy_that_came_out_otherwise_is_no_backup(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = database.snapshot

    def other(path: Path, into: Path) -> None:
        copied(path, into)
        change(into.parent, "UPDATE events SET task = 'x' WHERE seq = 3")

    monkeypatch.setattr("synlearner.events.backup.snapshot", other)
    with pytest.raises(CorruptLog, match=r"the copy of .* is not what was written: event 3 .*it was removed"):
        backup(home, tmp_path / "backup")
    assert names(tmp_path) == ["home"]


@pytest.mark.parametrize(
    "at", ["database._between_steps", "blobs.BlobStore.put", "backup.verify", "backup.sync_folder"]
)
def test_interrupted_it_leaves_nothing(home: Path, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "STEP", 1)
    monkeypatch.setattr(f"synlearner.events.{at}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backup(home, tmp_path / "backup")
    assert names(tmp_path) == ["home"]


def test_what_a_killed_backup_left_goes_with_the_next_and_what_a_living_one_does_stays(
    home: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        (tmp_path / f".backup.backup-{number}").mkdir()
    with WriterLock(tmp_path / ".backup.backup-2" / ".writer"):
        backup(home, tmp_path / "backup")
    assert names(tmp_path) == [".backup.backup-2", "backup", "home"]


def test_a_disk_that_is_full_is_said_in_one_line_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    with Home.open(home, write=True) as opened:
        opened.log.append([appended(number, 5000) for number in range(50)], expected_seq=6)
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from synlearner.events.backup import backup
from synlearner.errors import LogError
try:
    backup(sys.argv[1], sys.argv[2])
except LogError as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", code, str(home), str(tmp_path / "backup")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "LogError" in done.stdout
    assert "backup-" in done.stdout
    assert "run the same command again; nothing was lost" in done.stdout
    assert done.stderr == ""
    assert names(tmp_path) == ["home"]


def test_a_folder_that_cannot_be_made_is_a_refusal(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="cannot be written"):
        backup(home, tmp_path / "file" / "backup")
