"""An embedder that remembers long calls: all cells of a grid embed the same test and train rows.

A call is remembered as a whole, since its batches are part of what comes out: so vectors, and digests of logs, are the
same bits with it and without.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from synlearner.agent.tuning import Tunable
from synlearner.memory import Embedder, default_embedder

LONG = 64
"""Texts of the shortest call that is remembered: rounds of samples never come again."""


class Remembering:
    """As *embedder*, whose view on words it passes on, and how it is tuned."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self.dimension = embedder.dimension
        self.fingerprint = embedder.fingerprint
        if hasattr(embedder, "embed_words"):
            self.embed_words = embedder.embed_words
        if isinstance(embedder, Tunable):
            self.folder, self.with_weights = embedder.folder, embedder.with_weights

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row per text, in order."""
        if len(texts) < LONG:
            return self._embedder.embed(texts)
        key = hashlib.sha256(msgspec.json.encode(list(texts))).digest()
        if key not in self._known:
            self._known[key] = self._embedder.embed(texts)
        return self._known[key].copy()


@cache
def shared_embedder() -> Remembering:
    """Return the one of this process."""
    return Remembering(default_embedder())
