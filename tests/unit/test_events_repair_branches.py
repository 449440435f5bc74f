"""Branches of a repair that are rarely taken, each by what it is there for."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from histories import change, small_home
from msgspec import structs

from synlearner.errors import CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    BlobStore,
    Draft,
    FeedbackGiven,
    Home,
    MemoryLog,
    PayloadRedacted,
    RunFinished,
    SetScored,
    SqliteLog,
    encode,
    payload_digest,
    verify,
)
from synlearner.events.codec import link
from synlearner.events.prefix import trusted_prefix
from synlearner.events.redaction import redact
from synlearner.events.repair import repair
from synlearner.events.rows import Row


def failing(*_: object, **__: object) -> Any:
    raise OSError(errno.EIO, "Input/output error")


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
    assert sorted(looked) == sorted(set(looked))


def rewritten(home: Path, seq: int, **changes: Any) -> None:
    """Change the last event as a program would that knows the chain."""
    with Home.open(home) as opened:
        row = list(opened.log.rows())[seq - 1]._replace(**changes)  # type: ignore[attr-defined]
        previous = opened.log.get(seq - 1).hash
    digest = payload_digest(row.payload)
    hash_ = link((previous, seq, row.id, row.kind, row.version, row.run_id, row.task, (), digest))
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
    done = repair(home, dry=False)
    assert done.problem
    assert (done.kept, done.problem.seq, what in done.problem.what) == (5, 6, True)


def test_a_redaction_of_another_digest_does_not_excuse_an_empty_payload(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Home.open(home, create=True) as opened:
        facts = [FeedbackGiven(target="task:a", score=0, text=f"text {n}", source="me") for n in range(3)]
        opened.log.append([Draft(fact=fact, id=str(n)) for n, fact in enumerate(facts)], expected_seq=0)
    redact(home, [2], "asked")
    with Home.open(home) as opened:
        told = opened.log.get(4).fact
        assert isinstance(told, PayloadRedacted)
    rewritten(home, 4, payload=encode(structs.replace(told, digest="0" * 64)))
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
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), fsync(handle))[1])
    done = repair(home, dry=False)
    assert done.kept == 3
    assert (home / "damaged-1" / "log.sqlite").read_bytes() == before
    assert not (home / "damaged-1" / "log.sqlite").samefile(home / "log.sqlite")
    assert len(synced) > len(done.files)


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
