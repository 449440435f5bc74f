"""`blob gc` removes what nobody names, and never what somebody may still name."""

import os
import random
import time
from pathlib import Path

import pytest

from synlearner.errors import ConfigError, CorruptLog, HomeLocked
from synlearner.events import Draft, Home, SetScored, fork, verify
from synlearner.events.collect import collect


def names(blob: str) -> SetScored:
    return SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Home.open(tmp_path / "home", create=True) as home:
        home.log.append([Draft(fact=names(home.blobs.put(b"named")), id="a")], expected_seq=0)
        home.blobs.put(b"orphan")
    return tmp_path / "home"


def blobs_of(path: Path) -> list[bytes]:
    with Home.open(path) as home:
        return sorted(home.blobs.get(digest) for digest in home.blobs.digests())


def test_first_it_only_says_and_then_it_removes(path: Path) -> None:
    said = collect(path, grace=0)
    assert (said.marked, len(said.removed), said.bytes, said.young, said.forks) == (1, 1, len(b"orphan"), 0, [])
    assert blobs_of(path) == [b"named", b"orphan"]
    assert collect(path, dry=False, grace=0) == said
    assert blobs_of(path) == [b"named"]
    assert verify(path).problems == []


def test_what_is_young_is_spared_and_storing_it_again_makes_it_young(path: Path) -> None:
    assert (collect(path).removed, collect(path).young) == ([], 1)
    with Home.open(path) as home:
        orphan = next(home.blobs.path(d) for d in home.blobs.digests() if home.blobs.get(d) == b"orphan")
    old = time.time() - 25 * 3600
    os.utime(orphan, (old, old))
    assert collect(path).removed == [orphan.name]
    with Home.open(path, write=True) as home:
        home.blobs.put(b"orphan")
    assert collect(path, dry=False).removed == []


def test_what_a_killed_writer_left_half_written_goes_too(path: Path) -> None:
    folder = next((path / "blobs").iterdir())
    (folder / ".new-1a2b").write_bytes(b"half")
    assert ".new-1a2b" in collect(path, dry=False, grace=0).removed
    assert not (folder / ".new-1a2b").exists()


def test_what_a_fork_names_in_its_parent_stays(path: Path, tmp_path: Path) -> None:
    with Home.open(path) as home:
        (orphan,) = (digest for digest in home.blobs.digests() if home.blobs.get(digest) == b"orphan")
    fork(path, 1, tmp_path / "fork", {})
    fork(tmp_path / "fork", 2, tmp_path / "grandchild", {})
    with Home.open(tmp_path / "grandchild", write=True) as home:
        home.log.append([Draft(fact=names(orphan), id="b")], expected_seq=3)
    found = collect(path, dry=False, grace=0)
    assert (found.removed, len(found.forks)) == ([], 2)
    assert verify(tmp_path / "grandchild").problems == []


def test_while_a_fork_is_not_there_nothing_is_removed(path: Path, tmp_path: Path) -> None:
    fork(path, 1, tmp_path / "fork", {})
    (tmp_path / "fork").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"the fork '.*fork' is not there: open it once"):
        collect(path, dry=False, grace=0)
    for note in (path / "forks").glob("*.json"):
        note.unlink()
    assert collect(path, grace=0, forks=[tmp_path / "moved"]).forks == [str(tmp_path / "moved")]


def test_refusals(path: Path) -> None:
    with pytest.raises(ConfigError, match="grace is -1"):
        collect(path, grace=-1)
    with pytest.raises(ConfigError, match="grace is nan"):
        collect(path, grace=float("nan"))
    with pytest.raises(ConfigError, match="in a database"):
        collect("postgresql://me@nowhere/db")
    with Home.open(path, write=True), pytest.raises(HomeLocked):
        collect(path)
    data = (path / "log.sqlite").read_bytes()
    (path / "log.sqlite").write_bytes(data.replace(b'"gains":[]', b'"gains":{}'))
    with pytest.raises(CorruptLog):
        collect(path, dry=False, grace=0)
    assert blobs_of(path) == [b"named", b"orphan"], "what a damaged log names is unknown"


@pytest.mark.parametrize("seed", range(5))
def test_no_history_of_appends_forks_and_collections_loses_a_named_blob(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible chance is the point
    homes = [tmp_path / "0"]
    Home.open(homes[0], create=True).close()
    for step in range(60):
        place = chance.choice(homes)
        with Home.open(place) as home:
            end = home.log.head().seq
        match chance.choice(["put", "append", "append", "append", "fork", "collect"]):
            case "put":
                with Home.open(place, write=True) as home:
                    home.blobs.put(b"%d" % chance.randrange(20))
            case "append":
                with Home.open(place, write=True) as home:
                    blob = home.blobs.put(b"%d" % chance.randrange(20))
                    home.log.append([Draft(fact=names(blob), id=f"step {step}")], expected_seq=end)
            case "fork" if end and len(homes) < 5:
                fork(place, chance.randint(1, end), tmp_path / str(len(homes)), {"step": step})
                homes.append(tmp_path / str(len(homes)))
            case "collect":
                collect(place, dry=False, grace=0)
    for place in homes:
        assert verify(place).problems == []
