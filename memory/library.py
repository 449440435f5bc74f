"""Where the vectors of a home are kept, and who is near to a query: blobs, the exact index, the cache, the mirrors.

The blobs are the truth. All the rest is made from them, and may be missing, behind or broken at any time.
"""

import math
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from synlearner.errors import ConfigError
from synlearner.events.blobs import BlobStore
from synlearner.memory.cache import VectorCache
from synlearner.memory.chroma import MirrorBroken, safe_name
from synlearner.memory.codes import Matrix
from synlearner.memory.filters import Filter
from synlearner.memory.index import ExactIndex, exact_cosines, floor_of, unpack
from synlearner.memory.items import tokens_of
from synlearner.memory.mirror import Mirror
from synlearner.memory.recall import Option
from synlearner.memory.state import MemoryState
from synlearner.memory.table import Mask, Table

MIRROR_FROM = 100_000
"""Vectors of a scope from which on it has a mirror that a search asks. Below, codes are as quick."""
MIRROR_ASK = 100
"""How many it is asked for, at least: it is approximate, and what it returns is computed again."""
MIRROR_MOST = 250
"""How many records may be asked of it: for more, a scan."""
MIRROR_TAIL = 1_000
"""Newest vectors that it may lack: they are scanned."""
FLUSH_LIMIT = 2_000
"""Vectors that one flush adds to the mirrors, about 2 s; the rest comes with the next ones."""

SIDE_BY_SIDE = 10_000
"""Changed items from which on codes and words are made at the same time."""


class Library:
    """Finds the records nearest to a query. Answers are the same with and without cache and mirrors.

    Args:
        blobs: Of the home.
        folder: For cache and mirrors; may be deleted at any time.
        state: The live state of the memory: the library follows it.
        writable: Whether this process holds the home writable; else the folder is only read.
        mirror: Whether to keep and ask mirrors; only where the home is writable.

    """

    def __init__(self, blobs: BlobStore, folder: Path, state: MemoryState, *, writable: bool, mirror: bool) -> None:
        self._blobs = blobs
        self._folder = folder
        self._state = state
        self._writable = writable
        self.mirrored = mirror
        self._mirrors: dict[str, Mirror] = {}
        self._index: ExactIndex | None = None
        self._table: Table | None = None
        self._indexed = 0
        self._generation = state.generation
        self._dimension = 0
        self._cached: set[str] | None = None

    def nearest(
        self, query: Matrix, text: str, passes: Filter | None, scope: str, count: int, *, exact: bool = False
    ) -> list[Option]:
        """Return up to *count* records of the live state by likeness, and up to *count* by words, as options.

        Args:
            query: Unit vector, shape `(dimension,)`.
            text: Whose words are looked for.
            passes: Who may be found; None lets all.
            scope: Whose items may be found: see `Record.visible_in`.
            count: Most by each.
            exact: Whether to ask no mirror: what is recorded must be found again.

        """
        if count <= 0 or not self._state.vectors:
            return []
        index, table = self._live()
        mask = table.mask(passes, scope)
        proposed = None if exact else self._proposed(query, scope, count)
        if proposed is not None:
            found = _by_likeness(index, table, mask, query, proposed, count)
            if len(found) == count:
                return _with_words(index, table, mask, text, found, count)
        near = index.search(query, count, _row_mask(index, table, mask))
        found = _by_likeness(index, table, mask, query, [digest for digest, _ in near], count)
        return _with_words(index, table, mask, text, found, count)

    def nearest_then(
        self, query: Matrix, text: str, passes: Filter | None, scope: str, count: int, state: MemoryState
    ) -> list[Option]:
        """Return the same of an earlier *state*, by an exact search."""
        if count <= 0 or not state.vectors:
            return []
        if state.embedder == self._state.embedder and state.generation == self._state.generation:
            index = self._live()[0]
        else:
            index = ExactIndex(len(query))
            digests = [digest for _, digest in state.vectors]
            index.add(digests, np.stack([unpack(self._blobs.get(digest), digest) for digest in digests]))
        table = Table(state)
        table.follow(index.place)
        mask = table.mask(passes, scope)
        near = index.search(query, count, _row_mask(index, table, mask))
        found = _by_likeness(index, table, mask, query, [digest for digest, _ in near], count)
        return _with_words(index, table, mask, text, found, count)

    def vector(self, digest: str) -> Matrix:
        """Return the vector of a blob, shape `(dimension,)`."""
        self._renew()
        if self._index is not None and digest in self._index:
            return self._index.vector(digest)
        vector = unpack(self._blobs.get(digest), digest)
        self._dimension = self._dimension or len(vector)
        if len(vector) != self._dimension:
            raise ConfigError(
                f"vector {digest} has dimension {len(vector)}, this home's have {self._dimension}: "
                "one home has one embedder"
            )
        return vector

    def flush(self, limit: int = FLUSH_LIMIT) -> None:
        """Bring the cache up to date, and the mirrors by up to *limit* vectors. A failure never reaches the caller."""
        if not self._writable or not self._state.vectors:
            return
        self._renew()
        with suppress(OSError):
            cache = self._cache()
            self._cached = self._cached if self._cached is not None else cache.digests()
            new = [digest for _, digest in self._state.vectors if digest not in self._cached]
            if new:
                cache.append(new, np.stack([self.vector(digest) for digest in new]))
                self._cached.update(new)
        if self.mirrored:
            for scope, vectors in sorted(self._state.scoped.items()):
                self._mirror(scope).feed(vectors, limit)

    def rebuild_mirror(self) -> None:
        """Build the mirrors anew from the vectors in the blobs, whole; nothing is embedded again."""
        if not self._writable:
            raise ConfigError("this home was opened for reading: the mirror is rebuilt by who holds it writable")
        self._renew()
        for scope, vectors in sorted(self._state.scoped.items()):
            with suppress(MirrorBroken):
                self._mirror(scope).reset()
            self._mirror(scope).feed(vectors, len(vectors))

    def mirror_status(self) -> dict[str, Any]:
        """Return the worst condition (`off`, `missing`, `behind`, `healthy`) of all mirrors, and that one's figures."""
        if not self.mirrored or not self._state.vectors:
            return {"condition": "off"}
        self._renew()
        each = [self._mirror(scope).status(vectors) for scope, vectors in sorted(self._state.scoped.items())]
        worst = min(each, key=lambda status: ("missing", "behind", "healthy").index(status["condition"]))
        return worst | ({"mirrors": len(each)} if len(each) > 1 else {})

    def close(self) -> None:
        """Let go of everything; from here on nothing is written."""
        self._writable = False
        for mirror in self._mirrors.values():
            mirror.close()

    # ---- the exact index and the mirrors ---------------------------------------------------------------------

    def _live(self) -> tuple[ExactIndex, Table]:
        """Return the index and the table, with all of the live state in them."""
        state = self._state
        self._renew()
        if self._index is None or self._table is None:
            digests, vectors = self._cache().load()
            mine = {digest: place for place, digest in enumerate(digests) if digest in state.owners}
            kept = vectors if len(mine) == len(digests) else vectors[list(mine.values())]
            self._index, self._table = ExactIndex.of(list(mine), kept), Table(state)
            self._indexed = 0
        fresh = [digest for _, digest in state.vectors[self._indexed :] if digest not in self._index]
        if fresh:
            self._index.add(fresh, np.stack([self.vector(digest) for digest in fresh]))
        self._indexed = len(state.vectors)
        if not state.dirty and not fresh:
            return self._index, self._table
        if len(state.dirty) > SIDE_BY_SIDE:
            preparing = Thread(target=self._index.prepare)
            preparing.start()  # beside the words: each takes seconds the first time
            self._table.follow(self._index.place)
            preparing.join()
        self._table.follow(self._index.place)
        return self._index, self._table

    def _renew(self) -> None:
        """Let go of an earlier generation of vectors."""
        if self._generation == self._state.generation:
            return
        for mirror in self._mirrors.values():
            mirror.close()
        self._mirrors, self._index, self._table, self._cached, self._dimension = {}, None, None, None, 0
        self._generation = self._state.generation

    def _cache(self) -> VectorCache:
        dimension = self._known_dimension()
        return VectorCache(self._folder / f"{safe_name(self._state.embedder)}-{dimension}.rows", dimension)

    def _known_dimension(self) -> int:
        return self._dimension or len(self.vector(self._state.vectors[0][1]))

    def _proposed(self, query: Matrix, scope: str, count: int) -> list[str] | None:
        """Return what the mirrors of the visible scopes propose; None if they cannot say, or a scan is as quick."""
        scopes = sorted(self._state.scoped if scope == "*" else {"", scope} & self._state.scoped.keys())
        sizes = {name: len(self._state.scoped[name]) for name in scopes}
        if not (self.mirrored and self._writable) or count > MIRROR_MOST or sum(sizes.values()) <= MIRROR_FROM:
            return None
        proposed: dict[str, None] = {}
        for name in scopes:
            vectors = self._state.scoped[name]
            if sizes[name] <= MIRROR_TAIL:
                near: list[str] | None = [digest for _, digest in vectors]
            else:
                near = self._mirror(name).propose(query, max(MIRROR_ASK, 4 * count), vectors, MIRROR_TAIL)
            if near is None:
                self._mirror(name).heal(vectors)
                return None
            proposed |= dict.fromkeys(near)
        return list(proposed)

    def _mirror(self, scope: str) -> Mirror:
        if scope not in self._mirrors:
            folder = self._folder / "mirror"
            # A scope is somebody's text: only its digest becomes a path.
            folder = folder / sha256(scope.encode()).hexdigest()[:16] if scope else folder
            fingerprint = f"{self._state.embedder}.{self._state.generation}"
            self._mirrors[scope] = Mirror(folder, fingerprint, self._known_dimension(), self.vector)
        return self._mirrors[scope]


def _row_mask(index: ExactIndex, table: Table, mask: Mask) -> Mask:
    found = np.zeros(len(index) + 1, bool)
    found[table.rows[np.flatnonzero(mask)]] = True  # what has no vector (-1) lands behind the last one
    return found[:-1]


def _by_likeness(
    index: ExactIndex, table: Table, mask: Mask, query: Matrix, digests: list[str], count: int
) -> list[tuple[int, str]]:
    """Return (number, digest) of the allowed items behind *digests*, by (cosine, digest, id)."""
    found = [
        (number, digest) for digest in digests if digest in index for number in table.owners(digest) if mask[number]
    ]
    if not found:
        return []
    cosines = exact_cosines(np.stack([index.vector(digest) for _, digest in found]), query)
    order = sorted(range(len(found)), key=lambda at: (-cosines[at], found[at][1], table.records[found[at][0]].item.id))
    return [found[place] for place in order[:count]]


def _with_words(
    index: ExactIndex, table: Table, mask: Mask, text: str, near: list[tuple[int, str]], count: int
) -> list[Option]:
    """Return the items that are near, and the *count* allowed ones that share most words with *text*."""
    numbers, shares = table.lexical.shares(text)
    allowed = np.flatnonzero(mask[numbers])
    numbers, shares = numbers[allowed], shares[allowed]
    best = np.flatnonzero(shares >= floor_of(shares, count)) if len(shares) > count else np.arange(len(shares))
    top = numbers[best].tolist()
    by_number = dict(zip(top, shares[best].tolist(), strict=True))
    beside = [number for number, _ in near]
    for number, place in zip(beside, np.searchsorted(numbers, beside).tolist(), strict=True):
        if place < len(numbers) and numbers[place] == number:
            by_number[number] = float(shares[place])
    ranked = sorted(top, key=lambda number: (-by_number[number], table.records[number].item.id))[:count]
    dense = {number: rank for rank, (number, _) in enumerate(near, start=1)}
    lexical = {number: rank for rank, number in enumerate(ranked, start=1)}
    options = []
    for number in dict.fromkeys([*dense, *lexical]):
        record = table.records[number]
        if record.vector in index:
            options.append(
                Option(
                    item=record.item.id, vector=index.vector(record.vector), mean=record.mean,
                    variance=record.variance, dense_rank=dense.get(number, 0), lexical=by_number.get(number, 0.0),
                    lexical_rank=lexical.get(number, 0), tokens=math.ceil(tokens_of(record.item)),
                    uses=record.uses,
                )
            )  # fmt: skip
    return options
