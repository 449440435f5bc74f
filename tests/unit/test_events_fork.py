from pathlib import Path
from typing import Any

import pytest
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog, HomeLocked
from synlearner.events import BlobStore, Draft, Head, HistoryForked, Home, RunFinished, SetScored, fork, verify

either_way = pytest.mark.parametrize("copy", [False, True], ids=["read through", "copied"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_home(tmp_path / "source")


@either_way
def test_a_fork_shares_its_history_and_goes_on_with_its_own(source: Path, tmp_path: Path, copy: bool) -> None:
    head = fork(source, 3, tmp_path / "new", {"learning.rate": 0.1}, copy=copy)
    with Home.open(source) as parent, Home.open(tmp_path / "new", write=True) as child:
        shared = list(parent.log.read(until=3))
        *before, forked = child.log.read()
        assert before == shared
        assert forked.fact == HistoryForked(parent_seq=3, parent_hash=shared[-1].hash, changes={"learning.rate": 0.1})
        assert (forked.seq, forked.causes, Head(forked.seq, forked.hash)) == (4, (3,), head)
        assert isinstance(shared[1].fact, SetScored)
        digest = shared[1].fact.embeddings
        assert child.blobs.get(digest) == parent.blobs.get(digest) == b"matrix 1"
        assert list(child.blobs.digests()) == ([digest] if copy else [])
        assert child.blobs.holder(digest).path(digest).samefile(parent.blobs.path(digest))
        child.log.append([Draft(fact=RunFinished(tasks=9, delivered=9), id="own")], expected_seq=4)
    assert (verify(tmp_path / "new").problems, verify(source).problems) == ([], [])
    assert verify(source).events == 6


def test_equal_forks_are_equal_and_others_are_not(source: Path, tmp_path: Path) -> None:
    heads = [
        fork(source, 3, tmp_path / "a", {"k": 1}),
        fork(source, 3, tmp_path / "b", {"k": 1}),
        fork(source, 3, tmp_path / "c", {"k": 2}),
        fork(source, 2, tmp_path / "d", {"k": 1}),
        fork(source, 3, tmp_path / "e", {"k": 1}, copy=True),
    ]
    assert heads[0] == heads[1] == heads[4]
    assert len({head.hash for head in heads}) == 3
    with Home.open(tmp_path / "a") as a, Home.open(tmp_path / "c") as c:
        assert a.log.get(4).id != c.log.get(4).id


@either_way
def test_a_fork_at_the_end_or_into_an_empty_folder_or_of_a_fork_works(source: Path, tmp_path: Path, copy: bool) -> None:
    (tmp_path / "empty").mkdir()
    assert fork(source, 6, tmp_path / "empty", {}, copy=copy).seq == 7
    assert fork(tmp_path / "empty", 7, tmp_path / "deep" / "er", {}, copy=copy).seq == 8
    assert verify(tmp_path / "deep" / "er").problems == []


@pytest.mark.parametrize("at", [-1, 0, 7])
def test_there_must_be_an_event_to_fork_at(source: Path, tmp_path: Path, at: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot fork at {at}: '.*' holds the events 1 to 6"):
        fork(source, at, tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


def test_a_fork_never_goes_where_something_is(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for into in (source, tmp_path / "file"):
        with pytest.raises(ConfigError, match="is not empty: a fork is a new home"):
            fork(source, 3, into, {})


def test_changes_must_be_json(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"changes: nan at \$\.k"):
        fork(source, 3, tmp_path / "new", {"k": float("nan")})


def test_a_fork_can_be_made_while_the_source_is_written(source: Path, tmp_path: Path) -> None:
    with Home.open(source, write=True):
        assert fork(source, 3, tmp_path / "new", {}).seq == 4
        with pytest.raises(HomeLocked):
            Home.open(source, write=True)


@pytest.mark.parametrize("failing", ["blob", "event", "append"])
def test_a_copy_that_fails_midway_leaves_nothing(
    source: Path, tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error: type[BaseException] = CorruptBlob
    if failing == "blob":
        with Home.open(source) as home:
            damaged = min(home.blobs.digests(), key=home.blobs.get)
        BlobStore(source / "blobs").path(damaged).write_bytes(b"x")
    elif failing == "event":
        error = CorruptLog
        change(source, "UPDATE events SET task = 'x' WHERE seq = 2")
    else:
        error = KeyboardInterrupt

        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("synlearner.events.sqlite.SqliteLog.append", interrupted)
    with pytest.raises(error):
        fork(source, 3, tmp_path / "new", {}, copy=True)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_fork_that_fails_midway_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("synlearner.events.sqlite.SqliteLog.append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fork(source, 3, tmp_path / "new", {})
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@either_way
def test_damage_behind_the_fork_does_not_matter(source: Path, tmp_path: Path, copy: bool) -> None:
    change(source, "UPDATE events SET task = 'x' WHERE seq = 4")
    assert fork(source, 3, tmp_path / "new", {}, copy=copy).seq == 4
    assert verify(tmp_path / "new").problems == []
