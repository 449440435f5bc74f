"""Blobs of a home elsewhere: in a bucket of S3 or a service that speaks like it, through fsspec.

HOME/blobs.json   {"url": "s3://bucket/prefix"}; a home in PostgreSQL says it in its URL: `…&blobs=s3://bucket/prefix`

The layout is that of a folder: `prefix/ab/abcdef…`. An object appears whole or not at all, and is stored for good when
the service says so. Who may enter comes from the usual places (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `~/.aws`, …)
and never from the URL. `memory://` and `file://` work alike, and are meant for tests: they do not force to disk.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events.blobs import BlobStore, whole
from synlearner.events.files import write_file

PLACE = "blobs.json"
SCHEMES = ("s3", "memory", "file")

_URL = re.compile(rf"(?:{'|'.join(SCHEMES)})://[^@:?#\s]+")


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the blobs of a home are, if not in its folder."""

    url: str


class RemoteBlobs(BlobStore):
    """Blobs below a URL. `path` only names a blob: there is no file.

    Raises ConfigError if *url* is none that can be used here.
    """

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder)
        self.url = checked_url(url)
        scheme = self.url.partition("://")[0]
        try:
            import fsspec  # noqa: PLC0415  # an extra

            options = {"use_listings_cache": False, "skip_instance_cache": True} if scheme == "s3" else {}
            self._files: Any = fsspec.filesystem(scheme, **options)
        except ImportError:
            raise ConfigError(
                f"blobs at '{self.url}' need fsspec and s3fs: pip install 'synlearner[s3]'; or pass a home without"
            ) from None
        self._root: str = self._files._strip_protocol(self.url)  # noqa: SLF001  # fsspec has no public name for it

    def put(self, data: bytes) -> str:
        """Store *data*, there for good when this returns, and return its digest."""
        digest = sha256(data).hexdigest()
        if self._read(digest) != data:
            with self._asking():
                if "file" in self._files.protocol:
                    self._files.makedirs(self._key(digest).rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(self._key(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob. Raises CorruptBlob if it is missing or its bytes do not match its name."""
        return whole(digest, self._read(digest), f"at '{self.url}'")

    def has(self, digest: str) -> bool:
        """Return whether there is such a blob; its bytes are not looked at."""
        key = self._key(digest)
        with self._asking():
            return bool(self._files.isfile(key))

    def size(self, digest: str) -> int:
        """Return the bytes that a blob takes; 0 if it has gone."""
        key = self._key(digest)
        with self._asking():
            try:
                return int(self._files.info(key)["size"])
            except FileNotFoundError:
                return 0

    def remove(self, digest: str) -> None:
        """Delete a blob, if it is there. Whoever calls this knows that no event names it."""
        if self.has(digest):
            with self._asking():
                self._files.rm_file(self._key(digest))

    def digests(self) -> Iterator[str]:
        """Yield the digests of all blobs, sorted."""
        with self._asking():
            names = [key.rpartition("/")[2] for key in self._files.find(self._root)]
        yield from sorted(name for name in names if re.fullmatch(r"[0-9a-f]{64}", name))

    def take(self, digest: str, source: BlobStore) -> None:
        """Bring a blob over from *source*."""
        self.put(source.get(digest))

    def _read(self, digest: str) -> bytes | None:
        key = self._key(digest)
        with self._asking():
            try:
                return bytes(self._files.cat_file(key))
            except FileNotFoundError:
                return None

    def _key(self, digest: str) -> str:
        self.path(digest)  # refuses what is no digest
        return f"{self._root.rstrip('/')}/{digest[:2]}/{digest}"

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system below fsspec has errors of its own
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise LogError(f"blobs at '{self.url}' cannot be used now: {text}; see to that and try again") from error


def checked_url(url: str) -> str:
    """Return *url* if blobs can be kept there. Raises ConfigError, which never repeats it: it may hold a password."""
    if not _URL.fullmatch(url) or ".." in url:
        raise ConfigError(
            "the URL of the blobs is none that can be used: write s3://bucket/prefix; who may enter comes from the "
            "environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL) or ~/.aws"
        )
    return url


def own_blobs(home: Path, folder: Path) -> BlobStore:
    """Return the blobs that the home at *home* keeps itself: in *folder*, or where its note says.

    Raises:
        CorruptLog: If the note is damaged.

    """
    try:
        note = msgspec.json.decode((home / PLACE).read_bytes(), type=Place)
    except FileNotFoundError:
        return BlobStore(folder)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptLog(f"'{home / PLACE}' does not say where the blobs are: {error}; write it anew") from error
    return RemoteBlobs(note.url, folder)


def note_place(home: Path, url: str) -> None:
    """Let the blobs of *home* be at *url* from now on."""
    write_file(home / PLACE, msgspec.json.encode(Place(url)) + b"\n")
