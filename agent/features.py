"""Rows as vectors: one unit row per sample, from which students, judge and diversity read what they need.

Each field is embedded by itself; a row's vector is its fields' unit vectors side by side, scaled to unit length, so a
cosine of rows is the mean of the cosines of their fields.
"""

from collections.abc import Sequence

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from synlearner.agent.cards import Card, Row
from synlearner.memory import Embedder

Matrix = NDArray[np.float32]


def embed_rows(embedder: Embedder, card: Card, rows: Sequence[Row]) -> Matrix:
    """Return unit rows, shape `(rows, fields x dimension)`. One call of the embedder: its batches are part of it."""
    fields = list(card.fields)
    flat = (
        embedder.embed([row[field] for field in fields for row in rows]) if rows else np.zeros((0, embedder.dimension))
    )
    blocks = np.asarray(flat, dtype=np.float32).reshape(len(fields), len(rows), embedder.dimension)
    joined: Matrix = (np.concatenate(list(blocks), axis=1) / np.sqrt(len(fields))).astype(np.float32)
    return joined


def student_features(vectors_N_D: Matrix, card: Card) -> Matrix:
    """Return what a classifier sees. For pairs `[u, v, |u - v|, u v]`: Conneau et al. 2017, arXiv:1705.02364."""
    if card.kind != "pair_classification":
        return vectors_N_D
    first, second = np.split(vectors_N_D * np.float32(np.sqrt(2)), 2, axis=1)
    return np.concatenate([first, second, np.abs(first - second), first * second * 8], axis=1)


def pack_matrix(matrix: Matrix) -> bytes:
    """Return a matrix as safetensors bytes: equal matrices give equal bytes."""
    return safetensors.numpy.save({"matrix": np.ascontiguousarray(matrix, dtype=np.float32)})


def unpack_matrix(blob: bytes) -> Matrix:
    """Return the matrix that `pack_matrix` wrote."""
    matrix: Matrix = safetensors.numpy.load(blob)["matrix"]
    return matrix
