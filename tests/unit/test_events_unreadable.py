"""A disk that does not answer is not damage: what the sweeps of `tests/faults` found, each by itself."""

import os
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from histories import failing, small_home

from synlearner.errors import LogError, NotTrusted
from synlearner.events import BlobStore, Home, WriterLock, blobs, database, verify
from synlearner.events import home as home_module
from synlearner.events.lineage import parent_of
from synlearner.events.repair import repair
from synlearner.events.stats import statistics


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


def test_a_lock_whose_holder_cannot_be_named_is_not_held(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", failing)
        with pytest.raises(LogError, match="Input/output error"):
            Home.open(home, write=True)
    with WriterLock(home / ".writer"):
        pass


def test_a_lock_is_given_back_even_where_its_text_cannot_be_taken_away(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Home.open(home, write=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", failing)
        opened.close()
    Home.open(home, write=True).close()


@pytest.mark.parametrize("name", ["log.anchor", "parent.json", "blob"])
def test_what_cannot_be_read_now_is_not_called_damaged(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Home.open(home) as opened:
        digest = opened.log.get(2).fact.embeddings  # type: ignore[union-attr]
    bad = BlobStore(home / "blobs").path(digest) if name == "blob" else home / name
    really = Path.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: failing() if path == bad else really(path))
        for use in (verify, lambda _: repair(home, dry=False), parent_of if name == "parent.json" else verify):
            with pytest.raises(LogError, match="Input/output error") as found:
                use(home)
            assert not isinstance(found.value, NotTrusted)
    assert verify(home).problems == []
    assert not (home / "damaged-1").exists()


def test_a_page_that_cannot_be_read_now_is_no_finding_about_the_file() -> None:
    """`integrity_check` puts both among its findings."""

    def connection(*findings: str) -> Any:
        return type("Connection", (), {"execute": lambda *_: [(each,) for each in findings]})()

    with pytest.raises(sqlite3.OperationalError, match="a page cannot be read") as found:
        database.problems_inside(connection("*** in database main ***\nPage 4: unable to get the page. error code=266"))
    assert type(database.unreadable(Path("log"), found.value)) is LogError
    assert database.problems_inside(connection("Page 4: unable to get the page. error code=11")) != []


def test_what_was_observed_may_be_as_deep_as_a_stranger_likes(home: Path) -> None:
    with closing(sqlite3.connect(home / "log.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE events SET observed = ? WHERE seq = 3", ('{"a":' + "[" * 50_000 + "]" * 50_000 + "}",))
    with Home.open(home) as opened:
        assert statistics(opened).events == 6


def test_a_folder_that_its_maker_did_not_force_to_disk_is_forced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two, and a loss of power later, would else take blobs that events name."""
    store = BlobStore(tmp_path / "home" / "blobs")
    digest = sha256(b"matrix").hexdigest()
    store.path(digest).parent.mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(blobs, "sync_folder", synced.append)
    assert store.put(b"matrix") == digest
    assert synced == [store.folder, store.path(digest).parent]
    synced.clear()
    store.put(b"matrix")
    assert synced == [store.path(digest).parent]
    monkeypatch.setattr(home_module, "sync_folder", synced.append)
    Home.open(tmp_path / "home", create=True).close()
    assert tmp_path in synced
