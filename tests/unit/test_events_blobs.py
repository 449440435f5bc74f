import os
from hashlib import sha256
from pathlib import Path

import pytest

from synlearner.errors import ConfigError, CorruptBlob, LogError
from synlearner.events import BlobStore

DATA = b"weights" * 100
DIGEST = sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_blob_comes_back_under_its_digest(store: BlobStore) -> None:
    assert not store.has(DIGEST)
    assert store.put(DATA) == DIGEST
    assert store.has(DIGEST)
    assert store.get(DIGEST) == DATA
    assert store.path(DIGEST) == store.folder / DIGEST[:2] / DIGEST
    assert store.get(store.put(b"")) == b""


def test_the_same_bytes_are_stored_once(store: BlobStore) -> None:
    store.put(DATA)
    before = store.path(DIGEST).stat()
    store.put(DATA)
    assert store.path(DIGEST).stat().st_ino == before.st_ino
    assert list(store.digests()) == [DIGEST]


def test_lists_what_it_holds_and_nothing_else(store: BlobStore) -> None:
    assert list(store.digests()) == []
    digests = [store.put(bytes([number])) for number in range(20)]
    (store.folder / "ab").mkdir(exist_ok=True)
    (store.folder / "ab" / ".new-123").write_bytes(b"left by a crash")
    (store.folder / "README").write_bytes(b"")
    assert list(store.digests()) == sorted(digests)


def test_a_missing_blob_is_named_with_its_path(store: BlobStore) -> None:
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} is missing in '{store.path(DIGEST)}'"):
        store.get(DIGEST)


def test_changed_bytes_are_never_handed_out(store: BlobStore) -> None:
    store.put(DATA)
    store.path(DIGEST).write_bytes(DATA[:-1])
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} is changed: its bytes in '{store.path(DIGEST)}'"):
        store.get(DIGEST)


def test_putting_the_bytes_again_heals_a_damaged_blob(store: BlobStore) -> None:
    store.put(DATA)
    store.path(DIGEST).write_bytes(b"")
    store.put(DATA)
    assert store.get(DIGEST) == DATA


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST[:-1] + "\n", "/" * 64]
)
def test_nothing_but_a_digest_becomes_a_path(store: BlobStore, digest: str) -> None:
    for use in (store.get, store.has, store.path):
        with pytest.raises(ConfigError, match="is not a blob: a digest has 64 characters"):
            use(digest)


def test_bytes_and_name_are_forced_to_disk_before_put_returns(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        done.append(_name(handle))
        fsync(handle)

    def watched_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    store.put(DATA)
    assert done == ["blobs", "the file", "rename", DIGEST[:2]]
    store.put(DATA)
    assert done[4:] == [DIGEST[:2]]


def _name(handle: int) -> str:
    name = Path(f"/proc/self/fd/{handle}").readlink().name
    return "the file" if name.startswith(".new-") else name


def test_a_put_that_fails_leaves_nothing_behind(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store.path(DIGEST).parent.mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LogError, match=r"no space left on the disk of .* nothing was lost"):
        store.put(DATA)
    assert not store.has(DIGEST)
    assert list(store.folder.rglob(".new-*")) == []


def test_taking_a_blob_over_shares_the_file_and_never_a_damaged_one(store: BlobStore, tmp_path: Path) -> None:
    other = BlobStore(tmp_path / "other")
    store.put(DATA)
    other.take(DIGEST, store)
    assert other.path(DIGEST).samefile(store.path(DIGEST))
    other.take(DIGEST, store)
    third = BlobStore(tmp_path / "third")
    store.path(DIGEST).write_bytes(b"damaged")
    with pytest.raises(CorruptBlob):
        third.take(DIGEST, store)
    assert not third.has(DIGEST)


def test_taking_a_blob_over_copies_where_links_are_impossible(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(_: Path, __: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    store.put(DATA)
    other = BlobStore(tmp_path / "other")
    other.take(DIGEST, store)
    assert other.get(DIGEST) == DATA
    assert not other.path(DIGEST).samefile(store.path(DIGEST))
