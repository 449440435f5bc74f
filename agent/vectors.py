"""Vectors of rows, computed once and recorded: what has been stored is read from its blob and never embedded again."""

from collections.abc import Sequence

import numpy as np

from synlearner.agent.cards import Card, Row
from synlearner.agent.features import Matrix, embed_rows, meaning_rows, pack_matrix, unpack_matrix
from synlearner.agent.scoring import PoolSample
from synlearner.events.blobs import BlobStore
from synlearner.memory import Embedder


class Vectors:
    """Reads and writes matrices of unit rows, shape `(rows, fields x dimension)`."""

    def __init__(self, blobs: BlobStore, embedder: Embedder) -> None:
        self._blobs = blobs
        self._embedder = embedder
        self._matrices: dict[str, Matrix] = {}
        self._seeds: tuple[Card, Matrix] | None = None

    def embed(self, card: Card, rows: Sequence[Row]) -> Matrix:
        """Return the vectors of *rows*."""
        return embed_rows(self._embedder, card, rows)

    def store(self, matrix: Matrix) -> str:
        """Keep *matrix* as a blob and return its digest."""
        digest = self._blobs.put(pack_matrix(matrix))
        self._matrices[digest] = matrix
        return digest

    def of_seeds(self, card: Card) -> Matrix:
        """Return the vectors of the card's seeds."""
        if self._seeds is None or self._seeds[0] is not card:
            self._seeds = (card, self.embed(card, card.seeds))
        return self._seeds[1]

    def of_meanings(self, card: Card) -> Matrix | None:
        """Return the vectors of `meaning_rows`; None where there are none."""
        rows = meaning_rows(card)
        return self.embed(card, rows) if rows else None

    def of_pool(self, pool: Sequence[PoolSample], card: Card) -> Matrix:
        """Return the recorded vectors of *pool*, in its order."""
        if not pool:
            return np.zeros((0, self._embedder.dimension * len(card.fields)), dtype=np.float32)
        used = {sample.matrix for sample in pool}
        self._matrices = {digest: matrix for digest, matrix in self._matrices.items() if digest in used}
        return recorded(self._blobs, [(sample.matrix, sample.place) for sample in pool], self._matrices)


def recorded(blobs: BlobStore, places: Sequence[tuple[str, int]], known: dict[str, Matrix] | None = None) -> Matrix:
    """Return the recorded vectors at *places* (a blob's digest, a row there), at least one; *known* keeps what was read."""
    matrices = {} if known is None else known
    for digest in sorted({digest for digest, _ in places} - matrices.keys()):
        matrices[digest] = unpack_matrix(blobs.get(digest))
    return np.stack([matrices[digest][place] for digest, place in places])
