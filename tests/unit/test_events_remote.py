"""A home whose blobs are elsewhere is a home like any other."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from commands import Run, one_line
from fsspec.registry import _registry
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog
from synlearner.events import Draft, Home, SetScored, fork, verify
from synlearner.events.addresses import parse_address
from synlearner.events.backup import backup
from synlearner.events.collect import collect
from synlearner.events.copying import copy
from synlearner.events.moving import move_blobs
from synlearner.events.remote_blobs import RemoteBlobs
from synlearner.events.repair import repair


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}/blobs"


@pytest.fixture
def home(tmp_path: Path, url: str) -> Path:
    """Two blobs, elsewhere."""
    home = small_home(tmp_path / "home")
    assert move_blobs(home, url) == 2
    return home


def test_moved_blobs_are_read_checked_and_added_to_where_they_are(home: Path, url: str) -> None:
    assert not [file for file in (home / "blobs").rglob("*") if file.is_file()]
    assert verify(home).problems == []
    assert verify(home).blobs == 2
    with Home.open(home, write=True) as opened:
        assert isinstance(opened.blobs, RemoteBlobs)
        blob = opened.blobs.put(b"new")
        fact = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
        opened.log.append([Draft(fact=fact, id="new")], expected_seq=6)
    assert RemoteBlobs(url, home).get(blob) == b"new"
    assert move_blobs(home, url) == 0
    with pytest.raises(ConfigError, match=f"has its blobs at '{url}' already"):
        move_blobs(home, "memory://other/place")
    with pytest.raises(ConfigError, match="what nobody names stays there"):
        collect(home)


def test_a_new_home_can_begin_so(tmp_path: Path, url: str) -> None:
    assert move_blobs(tmp_path / "new", url) == 0
    with Home.open(tmp_path / "new", write=True) as opened:
        assert isinstance(opened.blobs, RemoteBlobs)


def test_damage_there_is_found_and_a_repair_leaves_blobs_there(home: Path, url: str) -> None:
    change(home, "UPDATE events SET id = 'x' WHERE seq = 5")
    assert repair(home, dry=False).kept == 4
    assert verify(home).problems == []
    store = RemoteBlobs(url, home)
    assert len(list(store.digests())) == 2
    for digest in store.digests():
        store._files.pipe_file(store._key(digest), b"x")
    (problem,) = verify(home).problems
    assert (problem.seq, problem.kind) == (2, "set_scored")
    assert f"its bytes at '{url}'" in problem.what


def test_copies_backups_and_forks_bring_or_read_them(home: Path, tmp_path: Path) -> None:
    assert backup(home, tmp_path / "backup").blobs == 2
    assert len(list((tmp_path / "backup" / "blobs").rglob("*/*"))) == 2
    copy(home, tmp_path / "copy")
    fork(home, 5, tmp_path / "child", {})
    for made in ("backup", "copy", "child"):
        assert (verify(tmp_path / made).problems, verify(tmp_path / made).blobs) == ([], 2)
    with pytest.raises(ConfigError, match=r"is a fork and reads blobs of its parent: .*log copy"):
        move_blobs(tmp_path / "child", "memory://x/y")


def test_a_move_that_is_cut_off_is_finished_by_the_next(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = small_home(tmp_path / "home")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("RemoteBlobs.get", "note_place", "BlobStore.remove"):
        monkeypatch.setattr(f"synlearner.events.moving.{step}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            move_blobs(home, url)
        monkeypatch.undo()
        assert verify(home).problems == []
    assert move_blobs(home, url) == 2
    assert not [file for file in (home / "blobs").rglob("*") if file.is_file()]


def test_a_damaged_blob_is_not_moved(tmp_path: Path, url: str) -> None:
    home = small_home(tmp_path / "home")
    next(file for file in (home / "blobs").rglob("*") if file.is_file()).write_bytes(b"x")
    with pytest.raises(CorruptBlob):
        move_blobs(home, url)
    assert not (home / "blobs.json").exists()


@pytest.mark.parametrize("note", [b"", b"{}", b'{"url": 1}', b'{"url": "s3://a/b", "x": 1}', b"\xff"])
def test_a_damaged_note_is_named(home: Path, note: bytes) -> None:
    (home / "blobs.json").write_bytes(note)
    with pytest.raises(CorruptLog, match=r"blobs.json' does not say where the blobs are"):
        Home.open(home)
    assert "does not say where the blobs are" in verify(home).problems[0].what


@pytest.mark.parametrize(
    "url", ["", "bucket/prefix", "http://host/x", "s3://", "s3://key:word@bucket/x", "s3://a/../b", "zip::s3://a/b"]
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"write s3://bucket/prefix") as refused:
        RemoteBlobs(url, tmp_path)
    assert "word" not in str(refused.value)


def test_without_the_library_the_way_to_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # whoever has used it before would find it here
    with pytest.raises(ConfigError, match=r"pip install 'synlearner\[s3\]'"):
        RemoteBlobs("s3://bucket/prefix", tmp_path)


def test_a_home_in_a_database_names_them_in_its_url(home: Path, tmp_path: Path, home_url: str, url: str) -> None:
    whole = f"{home_url}&blobs={url}-2"
    assert str(parse_address(whole)).endswith(f"&blobs={url}-2")
    copy(home, whole)
    assert len(list(RemoteBlobs(f"{url}-2", tmp_path).digests())) == 2
    assert (verify(whole).problems, verify(whole).blobs) == ([], 2)
    assert len(verify(home_url).problems) == 2, "without the place there are no blobs"
    with pytest.raises(ConfigError, match="names its blobs in its URL"):
        move_blobs(whole, url)


def test_moving_by_command(tmp_path: Path, run: Run, url: str) -> None:
    home = small_home(tmp_path / "home")
    assert run("blob", "move", url, "--home", home, "--json").data == {"home": str(home), "url": url, "moved": 2}
    assert run("log", "verify", "--home", home).code == 0
    one_line(run("blob", "move", "ftp://x", "--home", home), "s3://bucket/prefix")
    assert "0 blobs moved" in run("blob", "move", url, "--home", home).out
