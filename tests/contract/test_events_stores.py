"""One suite for every store of blobs: a new one is a line in `STORES`."""

import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from synlearner.errors import ConfigError, CorruptBlob, LogError
from synlearner.events import BlobStore
from synlearner.events.addresses import parse_address
from synlearner.events.forked import InheritedBlobs
from synlearner.events.home import Home
from synlearner.events.remote_blobs import RemoteBlobs
from synlearner.events.server import connect
from synlearner.events.server_blobs import PostgresBlobs

DATA = b"weights" * 100
DIGEST = sha256(DATA).hexdigest()

Spoil = Callable[[str, bytes | None], None]
"""Replaces the bytes of a blob behind the back of its store; None deletes them."""
Made = tuple[BlobStore, Spoil]


def in_folder(_: pytest.FixtureRequest, folder: Path) -> Made:
    return _with_files(BlobStore(folder / "blobs"))


def inherited(_: pytest.FixtureRequest, folder: Path) -> Made:
    return _with_files(InheritedBlobs(folder / "blobs", [BlobStore(folder / "parent")]))


def _with_files(store: BlobStore) -> Made:
    def spoil(digest: str, data: bytes | None) -> None:
        if data is None:
            store.path(digest).unlink()
        else:
            store.path(digest).write_bytes(data)

    return store, spoil


def on_server(request: pytest.FixtureRequest, _: Path) -> Made:
    url = request.getfixturevalue("home_url")
    Home.open(url, create=True).close()
    address = parse_address(url)

    def spoil(digest: str, data: bytes | None) -> None:
        with connect(address) as connection:
            connection.execute("DELETE FROM blobs WHERE digest = %s", (bytes.fromhex(digest),))
            if data is not None:
                connection.execute("INSERT INTO blobs VALUES (%s, %s)", (bytes.fromhex(digest), data))

    return PostgresBlobs(address), spoil


def _remote(url: str, folder: Path) -> Made:
    store = RemoteBlobs(url, folder)

    def spoil(digest: str, data: bytes | None) -> None:
        if data is None:
            store._files.rm_file(store._key(digest))
        else:
            store._files.pipe_file(store._key(digest), data)

    return store, spoil


def in_bucket(request: pytest.FixtureRequest, folder: Path) -> Made:
    return _remote(request.getfixturevalue("bucket"), folder)


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Made]] = {
    "folder": in_folder,
    "inherited": inherited,
    "postgres": on_server,
    "memory": lambda _, folder: _remote(f"memory://{uuid4().hex}/prefix", folder),
    "file": lambda _, folder: _remote(f"file://{folder}/far", folder / "near"),
    "s3": in_bucket,
}


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place in a bucket of a real S3 API on this machine."""
    import fsspec  # noqa: PLC0415

    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    name = f"bucket-{uuid4().hex}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
    return f"s3://{name}/prefix"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="no s3fs here: pip install 'synlearner[s3]'")
    moto = pytest.importorskip("moto.server", reason="no S3 server here: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(params=STORES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    made = STORES[request.param](request, tmp_path)
    yield made
    made[0].close()


@pytest.fixture
def store(made: Made) -> BlobStore:
    return made[0]


def test_a_blob_comes_back_under_its_digest(store: BlobStore) -> None:
    assert not store.has(DIGEST)
    assert store.size(DIGEST) == 0
    assert store.put(DATA) == DIGEST
    assert store.has(DIGEST)
    assert store.get(DIGEST) == DATA
    assert store.size(DIGEST) == len(DATA)
    assert store.get(store.put(b"")) == b""
    assert store.holder(DIGEST) is store


def test_the_same_bytes_are_stored_once(store: BlobStore) -> None:
    assert [store.put(DATA), store.put(DATA)] == [DIGEST, DIGEST]
    assert list(store.digests()) == [DIGEST]


def test_lists_what_it_holds(store: BlobStore) -> None:
    assert list(store.digests()) == []
    digests = [store.put(bytes([number])) for number in range(10)]
    assert list(store.digests()) == sorted(digests)


def test_a_missing_blob_is_named(made: Made) -> None:
    store, spoil = made
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} is missing"):
        store.get(DIGEST)
    store.put(DATA)
    spoil(DIGEST, None)
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} is missing"):
        store.get(DIGEST)


@pytest.mark.parametrize("bad", [DATA[:-1], b"", DATA + b"x", b"W" + DATA[1:]])
def test_changed_bytes_are_never_handed_out_and_heal_when_put_again(made: Made, bad: bytes) -> None:
    store, spoil = made
    store.put(DATA)
    spoil(DIGEST, bad)
    with pytest.raises(CorruptBlob, match=f"blob {DIGEST} is changed"):
        store.get(DIGEST)
    store.put(DATA)
    assert store.get(DIGEST) == DATA


def test_a_removed_blob_has_gone_and_removing_it_again_is_nothing(store: BlobStore) -> None:
    store.put(DATA)
    store.remove(DIGEST)
    store.remove(DIGEST)
    assert not store.has(DIGEST)
    assert list(store.digests()) == []


def test_a_blob_is_taken_over_and_never_a_damaged_one(made: Made, tmp_path: Path) -> None:
    store, spoil = made
    other = BlobStore(tmp_path / "other")
    other.put(DATA)
    store.take(DIGEST, other)
    assert store.get(DIGEST) == DATA
    back = BlobStore(tmp_path / "back")
    back.take(DIGEST, store)
    assert back.get(DIGEST) == DATA
    back.remove(DIGEST)
    spoil(DIGEST, None)
    with pytest.raises(CorruptBlob):
        back.take(DIGEST, store)
    assert not back.has(DIGEST)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", DIGEST[:-1], DIGEST.upper(), "/" * 64])
def test_nothing_but_a_digest_becomes_a_key(store: BlobStore, digest: str) -> None:
    for use in (store.get, store.has, store.size, store.remove):
        with pytest.raises(ConfigError, match="is not a blob: a digest has 64 characters"):
            use(digest)


def test_a_service_that_does_not_answer_is_a_refusal_in_one_line(bucket: str, tmp_path: Path) -> None:
    store = RemoteBlobs(bucket.replace("bucket-", "none-"), tmp_path)
    with pytest.raises(LogError, match=r"blobs at 's3://none-.*' cannot be used now: .*; see to that") as refused:
        store.put(DATA)
    assert "\n" not in str(refused.value)


def test_good_bytes_in_a_bucket_are_never_written_again(bucket: str, tmp_path: Path) -> None:
    store = RemoteBlobs(bucket, tmp_path)
    store.put(DATA)
    before = store._files.info(store._key(DIGEST))["LastModified"]
    store._files.pipe_file = None  # whoever writes fails
    store.put(DATA)
    assert store._files.info(store._key(DIGEST))["LastModified"] == before
