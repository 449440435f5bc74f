import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from synlearner.events import EMPTY, Anchor, Draft, Head, Home, RunFinished

HEADS = [Head(seq, f"{seq:064x}") for seq in range(1, 6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.anchor"


def write(path: Path, *heads: Head) -> None:
    anchor = Anchor(path)
    for head in heads:
        anchor.write(head)
    anchor.close()


def test_there_is_no_anchor_before_the_first_write_and_reading_makes_none(path: Path) -> None:
    assert Anchor(path).read() is None
    assert not path.exists()


def test_the_last_write_counts_also_after_it_was_opened_again(path: Path) -> None:
    for head in [EMPTY, *HEADS]:
        write(path, head)
        assert Anchor(path).read() == head
    write(path, *HEADS[:3])
    assert path.stat().st_size == 4096 + 48


def test_what_was_written_is_seen_by_others_before_it_is_forced_to_disk(path: Path) -> None:
    anchor = Anchor(path)
    for head in HEADS:
        anchor.write(head)
        assert Anchor(path).read() == head
    anchor.close()


@pytest.mark.parametrize("reopened", [True, False])
def test_a_write_that_is_torn_at_any_byte_leaves_the_anchor_before_it(path: Path, reopened: bool) -> None:
    write(path, *HEADS[:3])
    before = path.read_bytes()
    if reopened:
        write(path, HEADS[3])
    else:
        path.unlink()
        write(path, *HEADS[:4])
    after = path.read_bytes()
    changed = [place for place in range(len(after)) if before[place : place + 1] != after[place : place + 1]]
    for place in changed:
        path.write_bytes(after[:place] + before[place:] if place < len(before) else after[:place])
        assert Anchor(path).read() in (HEADS[2], HEADS[3])
    path.write_bytes(after[: changed[-1]] + before[changed[-1] :])
    assert Anchor(path).read() == HEADS[2]


def test_any_flipped_bit_in_a_slot_makes_the_other_one_count(path: Path) -> None:
    write(path, *HEADS[:2])
    whole = path.read_bytes()
    for place in range(4096, 4096 + 48):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            assert Anchor(path).read() == HEADS[0]


def test_with_both_slots_damaged_there_is_no_anchor(path: Path) -> None:
    write(path, *HEADS[:2])
    path.write_bytes(bytes(4096 + 48))
    assert Anchor(path).read() is None
    path.write_bytes(b"")
    assert Anchor(path).read() is None


def test_a_write_never_hits_the_slot_that_counts(path: Path) -> None:
    write(path, *HEADS[:2])
    # The first slot is behind, so the next write must go there although the file was just opened.
    second = path.read_bytes()[4096:]
    write(path, HEADS[2])
    assert path.read_bytes()[4096:] == second
    assert Anchor(path).read() == HEADS[2]


def test_it_is_forced_to_disk_at_most_once_a_second_and_at_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    now = [0.0]
    monkeypatch.setattr("synlearner.events.anchor._sync", synced.append)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    anchor = Anchor(path)
    for tick in (10.0, 10.1, 10.9, 11.0, 11.5):
        now[0] = tick
        anchor.write(HEADS[0])
    assert len(synced) == 2
    anchor.close()
    anchor.close()
    assert len(synced) == 3


@pytest.mark.parametrize("slot", [0, 1])
def test_the_next_write_goes_to_the_slot_that_is_damaged(path: Path, slot: int) -> None:
    write(path, *HEADS[:2])
    damaged = bytearray(path.read_bytes())
    damaged[4096 * slot] ^= 1
    path.write_bytes(damaged)
    other = HEADS[1 - slot]
    assert Anchor(path).heads() == [other]
    write(path, HEADS[4])
    assert Anchor(path).heads() == [HEADS[4], other]


def test_the_name_of_a_new_anchor_is_forced_to_disk_and_only_that(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("synlearner.events.anchor.sync_folder", synced.append)
    write(path, *HEADS[:2])
    write(path, HEADS[2])
    assert synced == [path.parent]


@pytest.mark.parametrize("anchored", [0, 1])
def test_an_anchor_that_is_behind_is_moved_after_the_take_over_has_forced_the_log_to_disk(
    tmp_path: Path, anchored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failing disk left in the page cache alone would else be anchored, and lost with the power."""
    drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=f"{number}") for number in range(3)]
    with Home.open(tmp_path, create=True) as home:
        heads = [home.log.head(), *(Head(e.seq, e.hash) for e in home.log.append(drafts, expected_seq=0))]
    (tmp_path / "log.anchor").unlink()
    if anchored:
        write(tmp_path / "log.anchor", heads[anchored])

    def epoch() -> int:
        with closing(sqlite3.connect(f"{(tmp_path / 'log.sqlite').as_uri()}?mode=ro", uri=True)) as other:
            return int(other.execute("SELECT epoch FROM writer").fetchone()[0])

    before, moved, usual = epoch(), list[tuple[Head, int]](), Anchor.write

    def moving(self: Anchor, head: Head) -> None:
        moved.append((head, epoch() - before))
        usual(self, head)

    monkeypatch.setattr(Anchor, "write", moving)
    with Home.open(tmp_path, write=True):
        assert moved == [(heads[3], 1)]
