"""One scope's mirror, kept up to date: what it holds, whether it may be asked, and how it is healed.

A mirror only proposes. It is asked where it holds all but a few vectors, is of this very history, and finds what an
exact search finds (the canary); at any doubt the scan answers instead, and a fresh generation is built behind it.
"""

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from synlearner.memory.chroma import PAGE, ChromaMirror, MirrorBroken
from synlearner.memory.codes import Matrix

CANARIES = 32
"""Queries that a fresh part of the mirror is tried with."""
LEAST_FOUND = 0.99
"""Share of their ten nearest vectors that it must find, to be asked."""
NOISE = 0.6
"""Length of what is added to a vector to make a canary's query of it: likeness .86, as between alike texts."""

Vectors = list[tuple[int, str]]
"""(seq, digest), oldest first; only ever appended to."""


class Mirror:
    """The mirror of one scope. Safe to ask while it is fed in the background: then it just has no answer.

    Args:
        folder: Holds nothing else.
        fingerprint: Of the embedder and its generation.
        dimension: Of the vectors.
        vector: Reads a vector by its digest; called from the background too.

    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int, vector: Callable[[str], Matrix]) -> None:
        self._folder = folder
        self._chroma = ChromaMirror(folder, fingerprint, dimension)
        self._dimension = dimension
        self._vector = vector
        self._held_by: tuple[int, int, int] = (0, 0, 0)
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._stop = threading.Event()
        self._failures = 0
        self.problem = ""
        """Why it was last found broken, or is not asked; empty if all is well."""

    def propose(self, query: Matrix, count: int, vectors: Vectors, tail: int) -> list[str] | None:
        """Return digests near to *query*, with the newest that it lacks (at most *tail*); None if it cannot say."""
        if not self._lock.acquire(blocking=False):
            return None  # it is being fed
        try:
            held = self._held(vectors)
            lacking = [digest for _, digest in vectors[held:]]
            if not held or len(lacking) > tail or self._chroma.canary < LEAST_FOUND:
                return None
            return [digest for digest, _ in self._chroma.search(query, count)] + lacking
        except MirrorBroken as error:
            self._distrust(error)
            return None
        finally:
            self._lock.release()

    def feed(self, vectors: Vectors, limit: int) -> None:
        """Add up to *limit* vectors, page by page; a mirror that is broken is begun anew."""
        with self._lock:
            self._feed(vectors, limit)

    def heal(self, vectors: Vectors) -> None:
        """Feed it whole in the background; searches are answered by the scan meanwhile."""
        if (self._worker is None or not self._worker.is_alive()) and self._failures < 2:  # twice is enough
            self._stop.clear()
            self._worker = threading.Thread(target=self._heal, args=(vectors,), daemon=True)
            self._worker.start()

    def reset(self) -> None:
        """Leave this generation, and begin an empty one."""
        with self._lock:
            self._chroma.reset()

    def status(self, vectors: Vectors) -> dict[str, Any]:
        """Return the condition (`missing`, `behind`, `healthy`), and up to which seq it goes."""
        with self._lock:
            held = self._held(vectors)
            condition = "missing" if not held else "behind" if held < len(vectors) else "healthy"
            found = {"condition": condition, "watermark": self._chroma.watermark, "canary": self._chroma.canary,
                     "generation": self._chroma.generation}  # fmt: skip
        return found | ({"last_problem": self.problem} if self.problem else {})

    def close(self) -> None:
        """Stop feeding, and let go of the collection. May be called twice."""
        self._stop.set()
        if self._worker is not None:
            self._worker.join()
        with self._lock:
            self._chroma.close()

    def _heal(self, vectors: Vectors) -> None:
        behind = True
        while behind and not self._stop.is_set() and self._failures < 2:
            with self._lock:
                self._feed(vectors, PAGE)
                behind = self._held(vectors) < len(vectors)

    def _feed(self, vectors: Vectors, limit: int) -> None:
        while self._failures < 2:
            held = self._held(vectors)
            page = vectors[held : held + limit]
            if not page:
                return
            try:
                if self._chroma.watermark and not held:
                    self._chroma.reset()
                rows = np.stack([self._vector(digest) for _, digest in page])
                self._chroma.add([digest for _, digest in page], rows)
                last = held + len(page) == len(vectors)
                canary = self._tried(vectors, rows) if last else self._chroma.canary
                self._chroma.commit(page[-1][0], _content(vectors[: held + len(page)]), canary)
            except MirrorBroken as error:
                self._distrust(error)
            else:
                return

    def _tried(self, vectors: Vectors, rows: Matrix) -> float:
        """Return the share of the ten nearest that it finds, for queries like the newest vectors."""
        everything = np.stack([self._vector(digest) for _, digest in vectors])
        digests = [digest for _, digest in vectors]
        chance = np.random.Generator(np.random.Philox(key=len(vectors)))
        found = asked = 0
        for row in rows[:: max(1, len(rows) // CANARIES)][:CANARIES]:
            noise = chance.standard_normal(self._dimension).astype(np.float32)
            query = row + np.float32(NOISE) * noise / np.linalg.norm(noise)
            query /= np.linalg.norm(query)
            rough = everything @ query
            nearest = np.argpartition(rough, -min(10, len(rough)))[-10:]
            proposed = {digest for digest, _ in self._chroma.search(query, 100)}
            found += sum(digests[place] in proposed for place in nearest)
            asked += len(nearest)
        return found / asked if asked else 0.0

    def _distrust(self, error: MirrorBroken) -> None:
        """Leave the broken generation, so that the next feeding fills a new one."""
        self.problem = str(error)
        self._failures += 1
        try:
            self._chroma.reset()
        except MirrorBroken as worse:
            self._failures = 2
            self.problem = str(worse)

    def _held(self, vectors: Vectors) -> int:
        """Return how many of *vectors* it holds, the oldest ones; 0 if it is of another history."""
        if self._held_by[:2] != (self._chroma.generation, self._chroma.watermark):
            held = bisect_right(vectors, (self._chroma.watermark, "~"))
            held = held if self._chroma.content == _content(vectors[:held]) else 0
            self._held_by = (self._chroma.generation, self._chroma.watermark, held)
        return self._held_by[2]


def _content(vectors: Sequence[tuple[int, str]]) -> str:
    return sha256("".join(digest for _, digest in vectors).encode()).hexdigest()
