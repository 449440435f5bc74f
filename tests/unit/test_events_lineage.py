"""A fork reads what it shares through its parent, proves it, and says clearly when it cannot."""

import json
import shutil
from pathlib import Path

import pytest
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import Draft, Home, RunFinished, SetScored, export, fork, import_, verify
from synlearner.events.lineage import children, parent_of
from synlearner.events.types import Redacted


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_home(tmp_path / "source")


def grown(home: Path, name: str) -> Path:
    """Append an event of its own to a home."""
    with Home.open(home, write=True) as found:
        seq = found.log.head().seq
        blob = found.blobs.put(name.encode())
        fact = SetScored(round=seq, samples=[], embeddings=blob, diversity={}, gains=[])
        found.log.append([Draft(fact=fact, id=name)], expected_seq=seq)
    return home


@pytest.fixture
def child(source: Path, tmp_path: Path) -> Path:
    """A fork after event 3 with two own events."""
    fork(source, 3, tmp_path / "child", {})
    return grown(tmp_path / "child", "own")


def test_the_parent_goes_on_and_the_fork_does_not_see_it(source: Path, child: Path) -> None:
    before = verify(child)
    grown(source, "later")
    assert verify(child) == before
    with Home.open(child) as home:
        assert [event.seq for event in home.log.read()] == [1, 2, 3, 4, 5]
        assert [row.seq for row in home.log.rows()] == [1, 2, 3, 4, 5]
        assert [event.seq for event in home.log.read(after=2, until=4)] == [3, 4]
        assert [row.seq for row in home.log.rows(after=3)] == [4, 5]
        assert [home.log.get(seq).seq for seq in (1, 3, 4, 5)] == [1, 3, 4, 5]


def test_a_repeat_of_what_the_parent_holds_is_recognised(source: Path, child: Path) -> None:
    with Home.open(source) as parent:
        first, _, third, fourth = (parent.log.get(seq) for seq in (1, 2, 3, 4))
        facts = {event.seq: event.fact for event in (first, third, fourth) if not isinstance(event.fact, Redacted)}
    with Home.open(child, write=True) as home:
        again = [Draft(fact=facts[1], id=first.id)]
        assert home.log.append(again, expected_seq=5) == [first]
        with pytest.raises(LogError, match="the log already holds 1 of the 2 events"):
            home.log.append([Draft(fact=facts[3], id=third.id), Draft(fact=facts[3], id="new")], expected_seq=5)
        with pytest.raises(LogError, match="another payload"):
            home.log.append([Draft(fact=facts[4], id=third.id)], expected_seq=5)
        # What the parent appended after the fork is no part of this history.
        (event,) = home.log.append([Draft(fact=facts[4], id=fourth.id)], expected_seq=5)
        assert event.seq == 6
        assert home.log.find(["0", "own", fourth.id, "none"]).keys() == {"0", "own", fourth.id}
    assert verify(child).problems == []


def test_new_blobs_are_the_forks_own_and_the_parents_are_not_touched(source: Path, child: Path) -> None:
    with Home.open(source) as parent, Home.open(child, write=True) as home:
        theirs = set(parent.blobs.digests())
        assert len(set(home.blobs.digests()) - theirs) == 1
        digest = home.blobs.put(b"matrix 1")
        assert digest in theirs
        assert digest in set(home.blobs.digests()), "the parent may lose it, its own events may name it"
        assert set(parent.blobs.digests()) == theirs


def test_an_export_of_a_fork_is_whole(child: Path, tmp_path: Path) -> None:
    with Home.open(child) as home, Home.open(tmp_path / "copy", create=True) as copy:
        export(home.log, tmp_path / "all.jsonl", blobs=home.blobs)
        import_(tmp_path / "all.jsonl", copy)
        assert list(copy.log.read()) == list(home.log.read())
    assert verify(tmp_path / "copy").digest == verify(child).digest


def test_forks_of_forks_read_through_all_of_them(source: Path, child: Path, tmp_path: Path) -> None:
    fork(child, 5, tmp_path / "b", {"k": 1})
    grown(tmp_path / "b", "b")
    fork(tmp_path / "b", 7, tmp_path / "c", {"k": 2})
    report = verify(tmp_path / "c")
    assert (report.problems, report.events, report.blobs) == ([], 8, 3)
    with Home.open(tmp_path / "c") as home:
        assert [event.kind for event in home.log.read()][3:] == [
            "history_forked", "set_scored", "history_forked", "set_scored", "history_forked",
        ]  # fmt: skip
    # Cut off where only the source has events, a fork needs nobody in between.
    fork(tmp_path / "c", 2, tmp_path / "d", {})
    assert parent_of(tmp_path / "d") == (source, parent_of(tmp_path / "d")[1])  # type: ignore[index]
    fork(tmp_path / "c", 5, tmp_path / "e", {})
    assert parent_of(tmp_path / "e")[0] == child  # type: ignore[index]


def test_a_hundred_forks_of_forks_open_and_read(source: Path, tmp_path: Path) -> None:
    home = source
    for number in range(100):
        with Home.open(home) as found:
            end = found.log.head().seq
        fork(home, end, tmp_path / f"{number}", {"n": number})
        home = tmp_path / f"{number}"
    assert verify(home).events == 106
    with Home.open(home) as found:
        assert sum(event.kind == "history_forked" for event in found.log.read()) == 100


def test_a_parent_knows_its_forks(source: Path, child: Path, tmp_path: Path) -> None:
    fork(source, 5, tmp_path / "other", {})
    assert {(place, note.seq) for place, note in children(source)} == {(child, 3), (tmp_path / "other", 5)}
    assert list(children(child)) == []
    # One that moved is noted again as soon as it is written to.
    child.rename(tmp_path / "moved")
    grown(tmp_path / "moved", "more")
    assert (tmp_path / "moved", 3) in {(place, note.seq) for place, note in children(source)}
    (source / "forks" / "x.json").write_text("{")
    with pytest.raises(CorruptLog, match="does not name a fork"):
        list(children(source))


def test_homes_that_move_together_stay_together(source: Path, child: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for home in (source, child):
        home.rename(tmp_path / "elsewhere" / home.name)
    assert verify(tmp_path / "elsewhere" / "child").problems == []


def test_a_parent_that_moved_is_missed_and_can_be_named_anew(source: Path, child: Path, tmp_path: Path) -> None:
    source.rename(tmp_path / "moved")
    for look in (Home.open, verify):
        with pytest.raises(LogError, match=r"begins in the home .*source', and there is none: put it back, or write"):
            look(child)
    note = json.loads((child / "parent.json").read_text())
    (child / "parent.json").write_text(json.dumps(note | {"home": str(tmp_path / "moved")}))
    assert verify(child).problems == []


def test_another_home_is_no_parent(source: Path, child: Path, tmp_path: Path) -> None:
    shutil.rmtree(source)
    with Home.open(source, create=True) as home:
        home.log.append([Draft(fact=RunFinished(tasks=9, delivered=0), id=str(n)) for n in range(2)], expected_seq=0)
    with pytest.raises(CorruptLog, match="should hold event 3 and ends at 2"):
        Home.open(child)
    with Home.open(source, write=True) as home:
        home.log.append([Draft(fact=RunFinished(tasks=9, delivered=0), id="2")], expected_seq=2)
    with pytest.raises(CorruptLog, match="whose event 3 is not the one that was forked at"):
        Home.open(child)
    (problem,) = verify(child).problems
    assert (problem.file, "is not the one that was forked at" in problem.what) == ("parent.json", True)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_damage_in_the_parent_is_found_and_named(source: Path, child: Path, seq: int) -> None:
    change(source, "UPDATE events SET task = 'x' WHERE seq = ?", seq)
    with pytest.raises(CorruptLog), Home.open(child) as home:
        list(home.log.read())
    problem = verify(child).problems[0]
    assert problem.file == ("parent.json" if seq == 3 else "../source/log.sqlite")
    assert problem.seq == (None if seq == 3 else seq)


def test_a_blob_that_the_parent_lost_is_named(source: Path, child: Path) -> None:
    with Home.open(source) as home:
        lost = next(digest for digest in home.blobs.digests() if home.blobs.get(digest) == b"matrix 1")
        home.blobs.path(lost).unlink()
    (problem,) = verify(child).problems
    assert (problem.seq, lost in problem.what) == (2, True)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", "does not say where this history begins"),
        ('{"home": "../source", "seq": 3, "hash": "zz"}', "does not say where this history begins"),
        ('{"home": "../source", "seq": 3, "hash": "00"}', "names no event"),
        ('{"home": "../source", "seq": 0, "hash": "' + "0" * 64 + '"}', "names no event"),
        ('{"home": ".", "seq": 3, "hash": "' + "0" * 64 + '"}', "leads round in circles"),
        ('{"home": "../source", "seq": 2, "hash": "' + "0" * 64 + '"}', "is not the one that was forked at"),
        ('{"home": "../source", "seq": 3, "hash": 3}', "does not say where this history begins"),
    ],
)
def test_a_damaged_note_of_the_parent_is_refused(child: Path, note: str, message: str) -> None:
    (child / "parent.json").write_text(note)
    with pytest.raises(CorruptLog, match=message):
        Home.open(child)
    assert verify(child).problems


def test_without_its_note_a_fork_lacks_its_beginning(child: Path) -> None:
    (child / "parent.json").unlink()
    with Home.open(child) as home, pytest.raises(CorruptLog, match="events 1 to 3 are missing"):
        list(home.log.read())
    assert "events 1 to 3 are missing" in verify(child).problems[0].what


def test_a_parent_that_cannot_note_its_fork_refuses_it(source: Path, tmp_path: Path) -> None:
    (source / "forks").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot note that .* fork with --copy"):
        fork(source, 3, tmp_path / "new", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    assert fork(source, 3, tmp_path / "new", {}, copy=True).seq == 4
