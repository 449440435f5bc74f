"""All vectors in one file under `derived/`, so that a cold search reads one file and not a hundred thousand blobs.

Each row carries the digest of its blob, and is checked against it when it is read: a damaged, torn or foreign row is
not there, and the blob is read instead. Rows are only added, by the process that holds the home writable.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synlearner.memory.codes import Matrix
from synlearner.memory.index import pack

DIGEST_BYTES = 32


class VectorCache:
    """Rows of (digest, vector), each `32 + 4 x dimension` bytes."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._dimension = dimension
        self._width = DIGEST_BYTES + 4 * dimension

    def load(self) -> tuple[list[str], Matrix]:
        """Return the digests and the vectors, shape `(n, dimension)`, of all rows that are what they claim to be."""
        data = self._read()
        # Blobs of equal shape have an equal head, so a row and the head give the blob's digest back.
        head, view = pack(np.zeros(self._dimension, np.float32))[: -4 * self._dimension], memoryview(data)
        ends = range(self._width, len(data) + 1, self._width)
        true = b"".join([sha256(head + view[end - 4 * self._dimension : end]).digest() for end in ends])
        rows = self._rows(data)
        good = (np.frombuffer(true, np.uint8).reshape(-1, DIGEST_BYTES) == rows[:, :DIGEST_BYTES]).all(axis=1)
        names, size = true.hex(), 2 * DIGEST_BYTES
        digests = [names[size * place : size * (place + 1)] for place in np.flatnonzero(good).tolist()]
        # The rows as they were read: a copy of so many takes as long as checking them.
        return digests, (rows if good.all() else rows[good])[:, DIGEST_BYTES:].view(np.float32)

    def digests(self) -> set[str]:
        """Return the digests that rows claim, unchecked."""
        return {row.tobytes().hex() for row in self._rows(self._read())[:, :DIGEST_BYTES]}

    def append(self, digests: Sequence[str], vectors: Matrix) -> None:
        """Add rows at the end, after cutting off what a killed writer left half written."""
        rows = np.empty((len(digests), self._width), np.uint8)
        rows[:, :DIGEST_BYTES] = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, DIGEST_BYTES)
        rows[:, DIGEST_BYTES:] = np.ascontiguousarray(vectors, np.float32).view(np.uint8)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.truncate(file.tell() - file.tell() % self._width)
            file.write(rows.tobytes())

    def _read(self) -> bytes:
        """Return all whole rows; none if there is no file."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return b""
        return data[: len(data) - len(data) % self._width]

    def _rows(self, data: bytes) -> NDArray[np.uint8]:
        return np.frombuffer(data, np.uint8).reshape(-1, self._width)
