"""Branches of a repair that are rarely taken, each by what it is there for."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from histories import change, failing, home_of_feedback, small_home

from synlearner.errors import CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    BlobStore,
    Draft,
    Home,
    MemoryLog,
    PayloadRedacted,
    RunFinished,
    SetScored,
    SqliteLog,
    encode,
    fork,
    payload_digest,
    verify,
)
from synlearner.events import repair as repairing
from synlearner.events.codec import link
from synlearner.events.prefix import trusted_prefix
from synlearner.events.redaction import redact
from synlearner.events.repair import repair
from synlearner.events.rows import Row
from synlearner.events.salvage import Salvage


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


def append(home: Path, draft: Draft) -> None:
    with Home.open(home, write=True) as opened:
        opened.log.append([draft], expected_seq=opened.log.head().seq)


def test_a_history_ends_before_a_name_that_is_no_blob(home: Path) -> None:
    for number, name in enumerate(("../../secret", "ab")):
        append(home, Draft(fact=SetScored(round=0, samples=[], embeddings=name, diversity={}, gains=[]), id=name))
        done = repair(home, dry=number == 0)
        assert done.problem
        assert (done.kept, done.problem.seq, done.problem.file) == (6, 7, "log.sqlite")
    assert verify(home).problems == []


def test_a_blob_that_many_events_name_is_looked_at_once(home: Path) -> None:
    with Home.open(home) as opened:
        fact = opened.log.get(2).fact
        assert isinstance(fact, SetScored)
    append(home, Draft(fact=fact, id="again"))
    looked: list[str] = []

    class Store(BlobStore):
        def get(self, digest: str) -> bytes:
            looked.append(digest)
            return super().get(digest)

    with Home.open(home) as opened:
        prefix = trusted_prefix(opened.log, EMPTY, Store(home / "blobs"), home, [3, 9])
    assert (prefix.end.seq, prefix.problem, sorted(prefix.marks)) == (7, None, [0, 3])
    assert len(looked) == len(set(looked)) == 2


def rewritten(home: Path, seq: int, **changes: Any) -> None:
    """Change the last event as a program would that knows the chain."""
    with Home.open(home) as opened:
        row = list(opened.log.rows())[seq - 1]._replace(**changes)
        previous = opened.log.get(seq - 1).hash
    digest, causes = payload_digest(row.payload), msgspec.json.decode(row.causes)
    hash_ = link((previous, seq, row.id, row.kind, row.version, row.run_id, row.task, causes, digest))
    change(
        home,
        "UPDATE events SET kind = ?, version = ?, payload = ?, payload_digest = ?, hash = ? WHERE seq = ?",
        row.kind, row.version, row.payload, bytes.fromhex(digest), bytes.fromhex(hash_), seq,
    )  # fmt: skip
    (home / "log.anchor").unlink()


@pytest.mark.parametrize("changes", [{"kind": "from_tomorrow"}, {"version": 99}])
def test_what_only_a_newer_program_can_read_is_not_cut_off(home: Path, changes: dict[str, Any]) -> None:
    rewritten(home, 6, **changes)
    with pytest.raises(
        LogError, match=r"event 6 is what was written, but not for this program: .* nothing was changed"
    ):
        repair(home, dry=False)


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b'{"tasks":5, "delivered":0}', "not canonical JSON"),
        (b'{"tasks":5}', "does not have the shape of run_finished"),
    ],
)
def test_what_no_synlearner_wrote_is_cut_off(home: Path, payload: bytes, what: str) -> None:
    rewritten(home, 6, payload=payload)
    with Home.open(home) as opened:
        problem = trusted_prefix(opened.log, EMPTY, opened.blobs, home).problem
    assert problem
    assert (problem.seq, what in problem.what) == (6, True)
    done = repair(home, dry=False)
    assert done.problem
    assert (done.kept, done.problem.seq, what in done.problem.what) == (5, 6, True)


def test_a_redaction_of_another_digest_does_not_excuse_an_empty_payload(tmp_path: Path) -> None:
    home = home_of_feedback(tmp_path / "home", 3)
    redact(home, [2], "asked")
    with Home.open(home) as opened:
        told = opened.log.get(4).fact
        assert isinstance(told, PayloadRedacted)
    rewritten(home, 4, payload=encode(msgspec.structs.replace(told, digest="0" * 64)))
    with Home.open(home) as opened:
        assert opened.log.get(4).fact != told
    assert repair(home).kept == 1


def test_a_page_that_fails_where_each_row_is_read_is_the_end_of_what_is_trusted(tmp_path: Path) -> None:
    class Odd(MemoryLog):
        def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
            if until is None or until - after > 1:
                raise CorruptLog("no page")
            return super().rows(after=after, until=until)

    log = Odd()
    drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in (1, 2)]
    log.append(drafts, expected_seq=0)
    prefix = trusted_prefix(log, EMPTY, BlobStore(tmp_path), tmp_path)
    assert prefix.problem
    assert (prefix.end.seq, prefix.problem.seq, prefix.problem.what) == (2, 3, "event 3 cannot be read: no page")


def test_a_repair_copies_where_links_are_impossible(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    before = (home / "log.sqlite").read_bytes()
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(Path, "hardlink_to", failing)

    def watched(handle: int) -> None:
        synced.append(handle)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    done = repair(home, dry=False)
    assert done.kept == 3
    assert (home / "damaged-1" / "log.sqlite").read_bytes() == before
    assert not (home / "damaged-1" / "log.sqlite").samefile(home / "log.sqlite")
    assert len(synced) > len(done.files)


def test_a_home_without_anything_derived_is_repaired_too(home: Path) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    shutil.rmtree(home / "derived")
    assert repair(home, dry=False).kept == 3
    assert not (home / "damaged-1" / "derived").exists()


def test_a_repair_on_a_disk_that_does_not_answer_is_an_error_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", failing)
        with pytest.raises(LogError, match=r"home' cannot be written: .*Input/output error"):
            repair(home, dry=False)
    assert not (home / "damaged-1").exists()
    assert repair(home, dry=False).kept == 3


def test_a_log_that_changes_while_it_is_repaired_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    adopt = SqliteLog.adopt
    monkeypatch.setattr(SqliteLog, "adopt", lambda log, rows: adopt(log, list(rows)[:-1]))
    with pytest.raises(LogError, match="changed while it was read: run the same command again"):
        repair(home, dry=False)
    monkeypatch.undo()
    assert not (home / ".repair-new").exists()
    assert repair(home, dry=False).kept == 3


def test_what_proves_an_older_payload_may_be_cut_off_by_a_newer_one(tmp_path: Path) -> None:
    home = home_of_feedback(tmp_path / "home", 4)
    redact(home, [2], "asked")
    change(home, "UPDATE events SET payload = x'' WHERE seq = 3")
    done = repair(home, dry=False)
    # Event 3 has no payload and nothing says why; event 5 says why 2 has none, and goes with it.
    assert done.problem
    assert (done.kept, done.problem.seq, verify(home).problems) == (1, 2, [])


def test_a_fork_that_ends_where_the_repair_does_is_not_concerned(home: Path, tmp_path: Path) -> None:
    for at in (3, 4):
        fork(home, at, tmp_path / f"at {at}", {})
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    done = repair(home, dry=False)
    assert (done.kept, done.forks) == (3, [str(tmp_path / "at 4")])


def test_each_step_of_a_repair_is_on_disk_before_the_next(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    steps: list[str] = []
    monkeypatch.setattr(repairing, "sync_folder", lambda folder: steps.append(folder.name))

    def watched(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def perform(file: Path, target: Path) -> Path:
            steps.append(f"{file.name} -> {target.parent.name}/{target.name}")
            return move(file, target)

        return perform

    monkeypatch.setattr(Path, "rename", watched(Path.rename))
    monkeypatch.setattr(Path, "replace", watched(Path.replace))
    repair(home, dry=False)
    assert steps == [
        ".repair-new", "damaged-1", ".repair-new -> home/.repair", "home", "derived -> damaged-1/derived",
        "log.sqlite -> home/log.sqlite", "log.anchor -> home/log.anchor", "home",
    ]  # fmt: skip
    told = (home / "damaged-1" / "repair.json").read_bytes()
    assert msgspec.json.decode(told)["kept"] == 3
    assert told.decode().startswith('{\n  "dry": false,\n')


def test_a_log_that_is_whole_as_it_is_is_not_copied_to_try_other_ways(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slot in (0, 4096):
        with (home / "log.anchor").open("r+b") as anchor:
            anchor.seek(slot)
            anchor.write(b"xx")

    def refuse(*_: object) -> Path:
        raise AssertionError

    monkeypatch.setattr(Salvage, "_prepared", refuse)
    assert repair(home, dry=False).files == ["log.anchor"]
    assert verify(home).problems == []


def test_blobs_that_no_kept_event_names_get_a_second_name_and_no_others(home: Path) -> None:
    with Home.open(home) as opened:
        kept, cut = (opened.log.get(seq).fact.embeddings for seq in (2, 5))  # type: ignore[union-attr]
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    done = repair(home, dry=False)
    assert done.files == [f"blobs/{cut[:2]}/{cut}", "log.anchor", "log.sqlite"]
    assert (home / "damaged-1" / done.files[0]).samefile(BlobStore(home / "blobs").path(cut))
    assert BlobStore(home / "blobs").has(kept)


def test_a_log_that_lost_its_tail_alone_stays_in_its_place(home: Path) -> None:
    change(home, "DELETE FROM events WHERE seq > 3")
    done = repair(home, dry=False)
    assert (done.kept, done.lost, done.files) == (3, 3, ["log.anchor"])


def test_a_repair_that_is_cut_off_when_all_is_in_its_place_is_finished_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    calls: list[Path] = []

    def stopping(folder: Path) -> None:
        calls.append(folder)
        if not any((home / ".repair").glob("*")) and (home / ".repair").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(repairing, "sync_folder", stopping)
        with pytest.raises(KeyboardInterrupt):
            repair(home, dry=False)
    assert (home / ".repair").exists()
    assert repair(home, dry=False).problem is None
    assert not (home / ".repair").exists()
    assert verify(home).events == 3


def test_what_is_set_aside_goes_into_the_newest_folder(home: Path) -> None:
    for number in range(1, 10):
        (home / f"damaged-{number}").mkdir()
    (home / "damaged-of-mine").mkdir()
    change(home, "UPDATE events SET id = 'x' WHERE seq = 4")
    assert repair(home, dry=False).folder == "damaged-10"
    assert {file.name for file in (home / "damaged-10").iterdir()} > {"derived", "log.sqlite", "repair.json"}
