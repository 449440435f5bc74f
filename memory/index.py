"""Vectors by likeness: the promise, and the exact scan that is the truth."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from synlearner.errors import ConfigError, CorruptBlob
from synlearner.memory.codes import Codes, Matrix

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a vector may be."""


SCAN_MOST = 2_048
"""Vectors up to which all are compared in full; of more, their codes say first who could be near."""
FEW = 256
"""Most results for which codes are asked: for more, all vectors are compared."""
GROUP = 32
"""Values of which the largest one stands for all, where a floor is looked for."""


class VectorIndex(Protocol):
    """Finds the vectors most like another one. Append-only: the vector of an id never changes."""

    def add(self, ids: Sequence[str], vectors: Matrix) -> None:
        """Take in unit *vectors*, shape `(len(ids), dimension)`. An id that is there already stays as it is."""

    def search(self, vector: Matrix, k: int) -> list[tuple[str, float]]:
        """Return up to *k* (id, cosine), highest first, ties by id."""

    def __len__(self) -> int:
        """Return the number of vectors."""


class ExactIndex:
    """A scan over all vectors. The same vectors give the same answer, to the last bit, on every machine.

    Where it looks at their codes first, those rule out only who cannot be among the nearest.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._ids: list[str] = []
        self._place: dict[str, int] = {}
        self._rows = np.empty((0, dimension), np.float32)
        self._codes = Codes(dimension)

    @classmethod
    def of(cls, ids: Sequence[str], vectors: Matrix) -> Self:
        """Return an index of *vectors*, which it takes over without a copy."""
        check_vectors(vectors, len(ids), vectors.shape[1])
        index = cls(vectors.shape[1])
        index._ids, index._rows = list(ids), vectors
        index._place = {id_: place for place, id_ in enumerate(ids)}
        return index

    def add(self, ids: Sequence[str], vectors: Matrix) -> None:
        """Take in unit *vectors*, shape `(len(ids), dimension)`. Raises ConfigError if they are not that."""
        check_vectors(vectors, len(ids), self.dimension)
        new = {id_: place for place, id_ in enumerate(ids) if id_ not in self._place}
        needed = len(self._ids) + len(new)
        if needed > len(self._rows):
            grown = np.empty((max(needed, 2 * len(self._rows), 64), self.dimension), np.float32)
            grown[: len(self._ids)] = self._rows[: len(self._ids)]
            self._rows = grown
        self._rows[len(self._ids) : needed] = vectors[list(new.values())]
        for id_ in new:
            self._place[id_] = len(self._ids)
            self._ids.append(id_)

    def search(self, vector: Matrix, k: int, mask: NDArray[np.bool_] | None = None) -> list[tuple[str, float]]:
        """Return up to *k* (id, cosine), highest first, ties by id.

        Args:
            vector: Unit length, shape `(dimension,)`.
            k: Most results.
            mask: Which places may be found, shape `(len(self),)`; None lets all.

        """
        if k <= 0 or not self._ids:
            return []
        count = len(self._ids) if mask is None else int(np.count_nonzero(mask))
        if count == len(self._ids):
            mask = None
        if count > SCAN_MOST and k <= FEW:
            return self._compared(vector, k, self._near(vector, k, mask))
        return self._compared(vector, k, None if mask is None else np.flatnonzero(mask))

    def place(self, id_: str) -> int:
        """Return where an id's vector is; -1 if it is not here."""
        return self._place.get(id_, -1)

    def prepare(self) -> None:
        """Make the codes that a search among many needs, so that the first search does not wait for them."""
        if len(self._ids) > SCAN_MOST:
            self._ready_codes()

    def _near(self, vector: Matrix, k: int, mask: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Return places of whom all the *k* nearest are: who could be nearer than k others are for sure."""
        least, most = self._ready_codes().bounds(vector)
        if mask is not None:
            nowhere = mask.astype(np.float32) * np.float32(4) - np.float32(4)
            least += nowhere
            most += nowhere
        return np.flatnonzero(most >= max(floor_of(least, k), np.float32(-2)))

    def _compared(self, vector: Matrix, k: int, wanted: NDArray[np.int64] | None) -> list[tuple[str, float]]:
        """Return the *k* nearest of the *wanted* places."""
        rows = self._rows[: len(self._ids)] if wanted is None else self._rows[wanted]
        if not len(rows):
            return []
        # BLAS may round differently from machine to machine. It only picks who could be among the first k; what
        # decides is computed in one fixed order. A sum of n float32 products is off by at most n x epsilon.
        rough = rows @ vector
        if len(rough) > k:
            doubt = 2 * self.dimension * float(np.finfo(np.float32).eps)
            floor = np.partition(rough, len(rough) - k)[len(rough) - k] - doubt
            close = np.flatnonzero(rough >= floor)
        else:
            close = np.arange(len(rough))
        places = close if wanted is None else wanted[close]
        cosines = exact_cosines(rows[close], vector)
        ranked = sorted((-cosine, self._ids[place]) for cosine, place in zip(cosines, places.tolist(), strict=True))
        return [(id_, -negative) for negative, id_ in ranked[:k]]

    def _ready_codes(self) -> Codes:
        self._codes.add(self._rows[len(self._codes) : len(self._ids)])
        return self._codes

    def vector(self, id_: str) -> Matrix:
        """Return the vector of an id that is here, shape `(dimension,)`."""
        row: Matrix = self._rows[self._place[id_]]
        return row

    def __contains__(self, id_: str) -> bool:
        return id_ in self._place

    def __len__(self) -> int:
        return len(self._ids)


def floor_of(values: NDArray[Any], k: int) -> Any:
    """Return a number that at least *k* of *values* reach, and of many not many more: the k-th of groups' largest."""
    if len(values) < 2 * k * GROUP:
        return np.partition(values, len(values) - k)[len(values) - k]
    groups = values[: len(values) // GROUP * GROUP].reshape(GROUP, -1).max(axis=0)
    return np.partition(groups, len(groups) - k)[len(groups) - k]


def exact_cosines(rows: Matrix, vector: Matrix) -> list[float]:
    """Return the inner products of unit *rows* `(n, dimension)` with a unit *vector*, the same on every machine.

    A product of two float32 is exact in float64, and a running sum has one order, whatever the processor.
    """
    cosines: list[float] = []
    for start in range(0, len(rows), 1024):
        products = rows[start : start + 1024].astype(np.float64) * vector.astype(np.float64)
        cosines += np.cumsum(products, axis=1)[:, -1].tolist()
    return cosines


def check_vectors(vectors: Any, count: int, dimension: int) -> None:
    """Raise ConfigError unless *vectors* is a float32 matrix `(count, dimension)` of finite unit rows."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        kind = vectors.dtype if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise ConfigError(f"vectors are {kind}: an embedder returns a float32 array")
    if vectors.shape != (count, dimension):
        raise ConfigError(f"vectors have the shape {vectors.shape}: {count} texts of dimension {dimension} have "
                          f"{(count, dimension)}")  # fmt: skip
    if not np.isfinite(vectors).all():
        raise ConfigError("a vector holds NaN or infinity: an embedder must return finite numbers")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if count and float(np.abs(lengths - 1).max()) > UNIT_TOLERANCE:
        raise ConfigError(f"a vector has the length {lengths[np.abs(lengths - 1).argmax()]:.4g}: unit vectors have 1")


def pack(vector: Matrix) -> bytes:
    """Return the blob of one vector: safetensors, a float32 matrix `(1, dimension)` under the name `vectors`."""
    return save({"vectors": np.ascontiguousarray(vector, np.float32).reshape(1, -1)})


def unpack(blob: bytes, digest: str) -> Matrix:
    """Return the vector in a *blob*, shape `(dimension,)`. Raises CorruptBlob if it holds something else.

    A hundred thousand of them have one head, so it is understood once: a fifth of the time of safetensors' own.
    """
    split = 8 + int.from_bytes(blob[:8], "little")
    try:
        vector = np.frombuffer(blob[split:], np.float32)
        fits = (1, len(vector)) == _shape(blob[:split], len(blob) - split)
    except (SafetensorError, ValueError, KeyError):
        fits = False
    # NaN is not close to 1, nor is infinity.
    if not (fits and abs(float(vector @ vector) - 1) <= UNIT_TOLERANCE):
        raise CorruptBlob(f"blob {digest} is no unit vector, though an experience names it as one: restore it")
    return vector


@lru_cache(maxsize=16)
def _shape(head: bytes, size: int) -> tuple[int, ...]:
    """Return the shape of the float32 matrix `vectors` that *head* announces for *size* bytes, by safetensors."""
    vectors = load(head + bytes(size))["vectors"]
    return vectors.shape if vectors.dtype == np.float32 else ()
