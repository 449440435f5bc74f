"""What is too large for an event: adapters, optimiser state, embedding matrices. A blob is named by its SHA-256.

A blob is on disk before the event that names it is appended, so a crash can leave a blob that nobody names, never a
name without its blob.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from synlearner.errors import ConfigError, CorruptBlob, LogError
from synlearner.events.files import cannot_write, sync_folder
from synlearner.events.types import Fact, Redacted

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = ("embeddings", "vector", "query_vector", "adapter", "optimizer", "parent")


def whole(digest: str, data: bytes | None, where: str) -> bytes:
    """Return *data* if it is the blob *digest*.

    Raises:
        CorruptBlob: If it is None or something else; it names *where* the blob was looked for.

    """
    if data is None:
        raise CorruptBlob(f"blob {digest} is missing {where}; restore it from a copy")
    actual = sha256(data).hexdigest()
    if actual != digest:
        raise CorruptBlob(f"blob {digest} is changed: its bytes {where} have {actual}; restore it from a copy")
    return data


class BlobStore:
    """A folder of blobs, `ab/abcdef…` for the digest `abcdef…`. The same bytes are stored once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Store *data*, on disk when this returns, and return its digest."""
        digest = sha256(data).hexdigest()
        path = self.path(digest)
        try:
            self._make_room(path)
            if path.exists() and sha256(path.read_bytes()).hexdigest() == digest:
                os.utime(path)  # as young as a new one: `blob gc` spares what an event may be about to name
            else:
                _write_and_rename(path, data)
            # Also when it was there: whoever put it may have been killed before its name was on disk.
            sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob.

        Raises:
            CorruptBlob: If it is missing or its bytes do not match its name.
            LogError: If it cannot be read now.

        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = None
        except (IsADirectoryError, NotADirectoryError) as error:
            raise CorruptBlob(f"blob {digest} cannot be read from '{path}': {error.strerror}") from error
        except OSError as error:  # it may be there and whole
            what = f"blob {digest} cannot be read from '{path}' now: {error.strerror}"
            raise LogError(f"{what}; see to that and run the same command again") from error
        return whole(digest, data, f"in '{path}'")

    def has(self, digest: str) -> bool:
        """Return whether there is such a blob; its bytes are not looked at."""
        return self.path(digest).is_file()

    def remove(self, digest: str) -> None:
        """Delete a blob, if it is there. Whoever calls this knows that no event names it."""
        path = self.path(digest)
        try:
            path.unlink(missing_ok=True)
            if path.parent.exists():
                sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error

    def size(self, digest: str) -> int:
        """Return the bytes that a blob of this store takes; 0 if it has gone."""
        path = self.path(digest)
        return path.stat().st_size if path.exists() else 0

    def holder(self, digest: str) -> "BlobStore":
        """Return the store that has the blob: this one."""
        return self

    def path(self, digest: str) -> Path:
        """Return where a blob is or would be."""
        # A digest may come from a stranger's log: nothing else may become a path.
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{digest!r:.100} is not a blob: a digest has 64 characters out of 0-9 and a-f")
        return self.folder / digest[:2] / digest

    def digests(self) -> Iterator[str]:
        """Yield the digests of all blobs, sorted."""
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            if _DIGEST.fullmatch(path.name):
                yield path.name

    def take(self, digest: str, source: "BlobStore") -> None:
        """Bring a blob over from *source*: as a second name of the same file if the disk can, else as a copy."""
        data = source.get(digest)
        path = self.path(digest)
        try:
            self._make_room(path)
            path.hardlink_to(source.holder(digest).path(digest))
            sync_folder(path.parent)
        except OSError:  # another disk, a file system without links, or it is here already
            self.put(data)

    def close(self) -> None:
        """Do nothing: a folder holds nothing open."""

    def _make_room(self, path: Path) -> None:
        # Whoever made the folder may have been stopped before its name was on disk: then nothing is in it.
        if not path.parent.exists() or not any(path.parent.iterdir()):
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder)


def references(fact: Fact | Redacted) -> list[str]:
    """Return the digests of the blobs that *fact* names; none for a payload that was taken out."""
    named = [getattr(fact, field, "") for field in _FIELDS]
    named += getattr(fact, "vectors", {}).values()
    return [digest for digest in named if digest]


def _write_and_rename(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
