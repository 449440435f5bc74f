"""One byte for each number of a vector: a quarter to read, and enough to rule out all but a few tens of vectors.

A vector x is kept as scale x code, the code being whole numbers from -127 to 127, and so is a query q. Their product is
a sum of whole numbers, exact with any processor and any number of threads (`simsimd` computes it). What rounding took
from either bounds how far that is from the true cosine (Cauchy and Schwarz):

    |<q, x> - <q', x'>|  <=  |q'| |x - x'| + |q - q'| |x|

So nobody who could be among the nearest is ruled out, whatever the vectors are like, and no index has to be searched.
"""

from typing import Any

import numpy as np
import simsimd
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

LEVELS = 127
"""Largest number in a code."""
CHUNK = 4_096
"""Rows that are coded at a time: they stay in the cache."""
CARE = 1.01, 1e-5
"""Factor and addend of a bound, for lengths that are not quite 1, and for the rounding of float32."""


class Codes:
    """Codes of unit vectors, by their place."""

    def __init__(self, dimension: int) -> None:
        self._codes: NDArray[np.int8] = np.empty((0, dimension), np.int8)
        self._scales: Matrix = np.empty(0, np.float32)
        self._lost: Matrix = np.empty(0, np.float32)
        """Length of what rounding took from each vector."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, vectors: Matrix) -> None:
        """Take in unit *vectors*, shape `(n, dimension)`."""
        needed = self._size + len(vectors)
        if needed > len(self._scales):
            room = max(needed, 2 * len(self._scales))
            self._codes, self._scales, self._lost = (
                _grown(old, room) for old in (self._codes, self._scales, self._lost)
            )
        for start in range(0, len(vectors), CHUNK):
            codes, scales, lost = _coded(vectors[start : start + CHUNK])
            place = slice(self._size, self._size + len(codes))
            self._codes[place], self._scales[place], self._lost[place] = codes, scales, lost
            self._size += len(codes)

    def bounds(self, query: Matrix) -> tuple[Matrix, Matrix]:
        """Return the least and the most that each vector's cosine to a unit *query* can be, shape `(len(self),)`."""
        (code,), (scale,), (lost,) = _coded(query[None, :])
        factor, addend = CARE
        products = np.asarray(simsimd.dot(self._codes[: self._size], code)).astype(np.float32)
        products *= self._scales[: self._size] * scale
        length = np.float32(factor * scale * float(np.linalg.norm(code.astype(np.float32))))
        doubt = self._lost[: self._size] * length + np.float32(factor * lost + addend)
        return products - doubt, products + doubt


def _coded(vectors: Matrix) -> tuple[NDArray[np.int8], Matrix, Matrix]:
    """Return codes, scales, and what is lost."""
    scales = np.maximum(vectors.max(axis=1), -vectors.min(axis=1)) / np.float32(LEVELS)
    rounded = np.rint(vectors / scales[:, None])
    rest = vectors - rounded * scales[:, None]
    return rounded.astype(np.int8), scales, np.sqrt(np.einsum("ij,ij->i", rest, rest))


def _grown(old: NDArray[Any], room: int) -> NDArray[Any]:
    new = np.empty((room, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new
