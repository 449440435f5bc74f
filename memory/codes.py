"""One bit for each number of a vector: small enough to look at all of a million vectors, and never the last word.

A seeded rotation spreads what a vector holds evenly over its numbers; the sign of each is kept (RaBitQ: Gao and Long,
arXiv:2405.12497). With s the signs over sqrt(D), the cosine of a query q to x is estimated as <q, s> / <s, x>, with a
standard error of about .75 / sqrt(D) times the sine between them, whatever the vectors are like. Of the query 4 bits
are kept of each number, so an estimate is a handful of population counts.

The rotation is made of additions and changes of sign in one fixed order, so codes and estimates are equal, to the last
bit, on every machine, with any number of threads, however the vectors came in.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

BLOCK = 64
"""Numbers that one round of the rotation mixes with one another."""
CHUNK = 16_384
"""Rows at a time: their counts stay in the cache."""
ROTATED = 4_096
"""Rows that are rotated at a time."""
BITS = 4
"""Of each number of a query."""
THREADED = 200_000
"""Rows from which on two threads share the work."""


class Codes:
    """Codes of unit vectors, by their place."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._width = -(-dimension // BLOCK) * BLOCK
        raw = np.random.Philox(key=0x5D1E).random_raw(4 * self._width)
        self._signs = [
            np.where(part & 1, np.float32(1), np.float32(-1)) for part in raw[: 2 * self._width].reshape(2, -1)
        ]
        self._orders = [np.argsort(part, kind="stable") for part in raw[2 * self._width :].reshape(2, -1)]
        self._planes: NDArray[Any] = np.empty((self._width // 64, 0), np.uint64)
        self._counts: NDArray[Any] = np.empty(0, np.float32)
        self._inverse: NDArray[Any] = np.empty(0, np.float32)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def deviation(self) -> float:
        """Standard error of an estimate of a cosine near 0: for a code, .75 / sqrt(D), rounded up for the query's."""
        return 0.78 / float(np.sqrt(self._width))

    def add(self, vectors: Matrix) -> None:
        """Take in unit *vectors*, shape `(n, dimension)`."""
        needed = self._size + len(vectors)
        if needed > self._planes.shape[1]:
            room = max(needed, 2 * self._planes.shape[1])
            self._planes, self._counts, self._inverse = (
                _grown(old, room) for old in (self._planes, self._counts, self._inverse)
            )
        for start in range(0, len(vectors), ROTATED):
            rotated = self._rotate(vectors[start : start + ROTATED])
            place = slice(self._size, self._size + len(rotated))
            bits = np.packbits(rotated > 0, axis=1).view(np.uint64)
            self._planes[:, place] = bits.T
            self._counts[place] = np.bitwise_count(bits).sum(axis=1, dtype=np.float32)
            self._inverse[place] = np.float32(1) / np.cumsum(np.abs(rotated), axis=1)[:, -1]
            self._size += len(rotated)

    def estimates(self, query: Matrix) -> Matrix:
        """Return the estimated cosine of each vector to a unit *query*, shape `(len(self),)`."""
        rotated = self._rotate(query[None, :])[0]
        low = rotated.min()
        step = max((rotated.max() - low) / np.float32(2**BITS - 1), np.float32(1e-12))
        levels = np.clip(np.rint((rotated - low) / step), 0, 2**BITS - 1).astype(np.uint8)
        planes = np.stack([np.packbits((levels >> bit) & 1).view(np.uint64) for bit in range(BITS)])
        total = low * np.float32(self._width) + step * np.float32(levels.sum(dtype=np.int64))
        found = np.empty(self._size, np.float32)

        def fill(start: int, stop: int) -> None:
            for begin in range(start, stop, CHUNK):
                part = slice(begin, min(begin + CHUNK, stop))
                sums = self._sums(planes, part)
                value = np.float32(2) * (low * self._counts[part] + step * sums) - total
                np.multiply(value, self._inverse[part], out=found[part])

        if self._size < THREADED:
            fill(0, self._size)
        else:
            middle = self._size // 2
            with ThreadPoolExecutor(1) as other:
                waiting = other.submit(fill, 0, middle)
                fill(middle, self._size)
                waiting.result()
        return found

    def _sums(self, planes: NDArray[np.uint64], part: slice) -> Matrix:
        """Return the sum of the query's levels where a code has ones, for each code of *part*."""
        size = part.stop - part.start
        shared, ones, three = np.empty(size, np.uint64), np.empty(size, np.uint8), np.empty(size, np.uint8)
        sums = np.zeros(size, np.uint16)
        for bit in range(BITS - 1, -1, -1):
            sums += sums
            for first in range(0, len(self._planes), 3):
                # Three words have at most 192 ones: a byte holds them, and bytes are added many at a time.
                for word in range(first, min(first + 3, len(self._planes))):
                    np.bitwise_and(self._planes[word, part], planes[bit, word], out=shared)
                    if word == first:
                        np.bitwise_count(shared, out=three)
                    else:
                        np.bitwise_count(shared, out=ones)
                        three += ones
                sums += three
        return sums.astype(np.float32)

    def _rotate(self, vectors: Matrix) -> Matrix:
        rows = np.zeros((len(vectors), self._width), np.float32)
        rows[:, : self.dimension] = vectors
        for signs, order in zip(self._signs, self._orders, strict=True):
            blocks = (rows * signs)[:, order].reshape(len(rows), -1, BLOCK)
            half = 1
            while half < BLOCK:
                pairs = blocks.reshape(len(rows), -1, 2, half)
                blocks = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
                half *= 2
            rows = blocks.reshape(len(rows), self._width) * np.float32(BLOCK**-0.5)
        return rows


def _grown(old: NDArray[Any], room: int) -> NDArray[Any]:
    new = np.empty((*old.shape[:-1], room), old.dtype)
    new[..., : old.shape[-1]] = old
    return new
