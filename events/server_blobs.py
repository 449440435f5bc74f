"""Blobs in the same schema as their log: one URL is one whole home."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from threading import RLock
from typing import TYPE_CHECKING

from synlearner.errors import ConfigError
from synlearner.events.addresses import Address
from synlearner.events.blobs import BlobStore, whole
from synlearner.events.remote_blobs import RemoteBlobs
from synlearner.events.server import connect, driver, refusal

if TYPE_CHECKING:
    from synlearner.events.server import Connection

LARGEST = 1 << 29
"""Bytes: PostgreSQL takes no value beyond 1 GB, and needs twice the space on the way."""


def blobs_on_server(address: Address) -> BlobStore:
    """Return the blobs of a home: in its schema, or where its URL says."""
    return RemoteBlobs(address.blobs, address.folder() / "blobs") if address.blobs else PostgresBlobs(address)


class PostgresBlobs(BlobStore):
    """A table of blobs. `path` only names a blob: there is no file."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.folder() / "blobs")
        self._address = address
        self._open: Connection | None = None
        self._mutex = RLock()

    def put(self, data: bytes) -> str:
        """Store *data*, on disk when this returns, and return its digest."""
        if len(data) > LARGEST:
            raise ConfigError(
                f"a blob of {len(data)} bytes: PostgreSQL takes up to {LARGEST}; keep the home in a folder"
            )
        digest = sha256(data)
        with self._using() as connection:
            # What is there is replaced where its bytes are not those of its name.
            connection.execute(
                "INSERT INTO blobs VALUES (%s, %s) ON CONFLICT (digest) DO UPDATE SET data = excluded.data "
                "WHERE sha256(blobs.data) <> excluded.digest",
                (digest.digest(), data),
            )
        return digest.hexdigest()

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob. Raises CorruptBlob if it is missing or its bytes do not match its name."""
        key = self._key(digest)
        with self._using() as connection:
            found = connection.execute("SELECT data FROM blobs WHERE digest = %s", (key,), binary=True).fetchone()
        return whole(digest, bytes(found[0]) if found else None, f"in '{self._address}'")

    def size(self, digest: str) -> int:
        """Return the bytes that a blob takes; 0 if it has gone."""
        key = self._key(digest)
        with self._using() as connection:
            found = connection.execute("SELECT length(data) FROM blobs WHERE digest = %s", (key,)).fetchone()
        return int(found[0]) if found else 0

    def has(self, digest: str) -> bool:
        """Return whether there is such a blob; its bytes are not looked at."""
        key = self._key(digest)
        with self._using() as connection:
            return connection.execute("SELECT 1 FROM blobs WHERE digest = %s", (key,)).fetchone() is not None

    def remove(self, digest: str) -> None:
        """Delete a blob, if it is there. Whoever calls this knows that no event names it."""
        with self._using() as connection:
            connection.execute("DELETE FROM blobs WHERE digest = %s", (self._key(digest),))

    def digests(self) -> Iterator[str]:
        """Yield the digests of all blobs, sorted."""
        with self._using() as connection:
            found = connection.execute("SELECT encode(digest, 'hex') FROM blobs ORDER BY digest").fetchall()
        yield from (digest for (digest,) in found)

    def take(self, digest: str, source: BlobStore) -> None:
        """Bring a blob over from *source*."""
        self.put(source.get(digest))

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        with self._mutex:
            if self._open:
                self._open.close()
                self._open = None

    def _key(self, digest: str) -> bytes:
        self.path(digest)  # refuses what is no digest
        return bytes.fromhex(digest)

    @contextmanager
    def _using(self) -> "Iterator[Connection]":
        with self._mutex:
            try:
                self._open = self._open or connect(self._address)
                yield self._open
            except driver().Error as error:
                self.close()
                raise refusal(self._address, error) from None
