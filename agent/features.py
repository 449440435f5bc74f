"""Rows as vectors: one unit row per sample, from which students, judge and diversity read what they need.

Each field is embedded by itself; a row's vector is its fields' unit vectors side by side, scaled to unit length, so a
cosine of rows is the mean of the cosines of their fields.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from synlearner.agent.cards import Card, Row
from synlearner.memory import Embedder, HashEmbedder

Matrix = NDArray[np.float32]

HASHED = 512
"""Places that words are hashed to, where an embedder has no vectors of words."""


@runtime_checkable
class _WordView(Protocol):
    """An embedder that can also look at words one by one."""

    dimension: int

    def embed_words(self, texts: Sequence[str]) -> Matrix:
        """Return one unit row per text."""


def embed_rows(embedder: Embedder, card: Card, rows: Sequence[Row]) -> Matrix:
    """Return unit rows, shape `(rows, fields x dimension)`. One call of the embedder: its batches are part of it."""
    return _side_by_side(embedder.embed, embedder.dimension, card, rows)


def meaning_rows(card: Card) -> list[Row]:
    """Return what the labels mean, a row each, in their order; none where a label has no meaning, or tells how two texts relate."""
    if card.kind != "classification" or not all(card.labels.values()):
        return []
    return [dict.fromkeys(card.fields, f"{label}: {meaning}") for label, meaning in card.labels.items()]


def word_rows(embedder: Embedder, card: Card, rows: Sequence[Row]) -> Matrix:
    """Return rows as `embed_rows` does, of the embedder's view on words alone: neither their order nor their context.

    Where it has none, words are hashed. A row depends on its own texts alone, so it need not be recorded.
    """
    view: _WordView = embedder if isinstance(embedder, _WordView) else HashEmbedder(HASHED)
    return _side_by_side(view.embed_words, view.dimension, card, rows)


def _side_by_side(embed: Callable[[Sequence[str]], Matrix], dimension: int, card: Card, rows: Sequence[Row]) -> Matrix:
    fields = list(card.fields)
    flat = embed([row[field] for field in fields for row in rows]) if rows else np.zeros((0, dimension))
    blocks = np.asarray(flat, dtype=np.float32).reshape(len(fields), len(rows), dimension)
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
