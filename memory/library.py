"""Where the vectors of a home are kept, and who is near to a query: blobs, the exact index, the cache, the mirror.

The blobs are the truth. All the rest is made from them, and may be missing, behind or broken at any time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from synlearner.errors import ConfigError
from synlearner.events.blobs import BlobStore
from synlearner.memory.cache import VectorCache
from synlearner.memory.chroma import ChromaMirror, MirrorBroken, safe_name
from synlearner.memory.index import ExactIndex, Matrix, exact_cosines, unpack
from synlearner.memory.recall import Option
from synlearner.memory.state import MemoryState, Record

MIRROR_FROM = 100_000
"""Vectors above which a search asks the mirror. Below, the scan is faster (8 ms at 10^5) and misses nobody."""
MIRROR_ASK = 100
"""How many it is asked for, at least: it is approximate, and what it returns is computed again."""
MIRROR_MOST = 250
"""How many records may be asked of it: for more, a scan."""
MIRROR_TAIL = 1_000
"""Newest vectors that it may lack: they are scanned."""
FLUSH_LIMIT = 2_000
"""Vectors that one flush adds to the mirror, about 2 s; the rest comes with the next ones."""

Allowed = Callable[[Record], bool]


class Library:
    """Finds the records nearest to a query. Answers are the same with and without cache and mirror.

    Args:
        blobs: Of the home.
        folder: For cache and mirror; may be deleted at any time.
        state: The live state of the memory: the library follows it.
        writable: Whether this process holds the home writable; else the folder is only read.
        mirror: Whether to keep and ask the mirror; only where the home is writable.

    """

    def __init__(self, blobs: BlobStore, folder: Path, state: MemoryState, *, writable: bool, mirror: bool) -> None:
        self._blobs = blobs
        self._folder = folder
        self._state = state
        self._writable = writable
        self._mirrored = mirror
        self._mirror: ChromaMirror | None = None
        self._index: ExactIndex | None = None
        self._indexed = 0
        self._dimension = 0
        self._cached: set[str] | None = None
        self._held_by = (0, 0, 0)
        self.problem = ""
        """Why the mirror was last found broken; empty if it was not."""

    def nearest(self, query: Matrix, allowed: Allowed, count: int) -> list[Option]:
        """Return the *count* nearest allowed records, by (cosine, digest, id); the mirror may propose them."""
        found = self._from_mirror(query, allowed, count) if len(self._state.vectors) > MIRROR_FROM else None
        return self.nearest_exactly(query, allowed, count) if found is None else found

    def nearest_exactly(
        self, query: Matrix, allowed: Allowed, count: int, state: MemoryState | None = None
    ) -> list[Option]:
        """Return the *count* nearest allowed records of *state* (an earlier one, else the live one), by a scan."""
        state = state or self._state
        if count <= 0 or not state.vectors:
            return []

        def accept(digest: str) -> bool:
            return any(map(allowed, _owners(state, digest)))

        near = self._exact().search(query, count, accept)
        return self._options([digest for digest, _ in near], query, allowed, state)[:count]

    def vector(self, digest: str) -> Matrix:
        """Return the vector of a blob, shape `(dimension,)`."""
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
        """Bring the cache up to date, and the mirror by up to *limit* vectors. Failures are kept in `problem`."""
        if not self._writable or not self._state.vectors:
            return
        with suppress(OSError):
            cache = self._cache()
            self._cached = self._cached if self._cached is not None else cache.digests()
            new = [digest for _, digest in self._state.vectors if digest not in self._cached]
            if new:
                cache.append(new, np.stack([self.vector(digest) for digest in new]))
                self._cached.update(new)
        if self._mirrored:
            self._feed_mirror(limit)

    def rebuild_mirror(self) -> None:
        """Build the mirror anew from the vectors in the blobs, whole; nothing is embedded again."""
        if not self._writable:
            raise ConfigError("this home was opened for reading: the mirror is rebuilt by who holds it writable")
        self._mirrored = True
        if self._state.vectors:
            with suppress(MirrorBroken):
                self._open_mirror().reset()
            self._feed_mirror(len(self._state.vectors))

    def mirror_status(self) -> dict[str, Any]:
        """Return the mirror's condition: `off`, `missing`, `behind` or `healthy`, and up to which seq it goes."""
        if not self._mirrored or not self._state.vectors:
            return {"condition": "off"}
        mirror = self._open_mirror()
        held = self._held(mirror)
        condition = "missing" if not held else "behind" if held < len(self._state.vectors) else "healthy"
        status: dict[str, Any] = {
            "condition": condition,
            "watermark": mirror.watermark,
            "generation": mirror.generation,
        }
        return status | ({"last_problem": self.problem} if self.problem else {})

    def close(self) -> None:
        """Let go of everything; from here on nothing is written."""
        self._writable = False
        if self._mirror is not None:
            self._mirror.close()

    # ---- the exact index -------------------------------------------------------------------------------------

    def _exact(self) -> ExactIndex:
        """Return the index, with every vector of the live state in it."""
        if self._index is None:
            digests, vectors = self._cache().load()
            mine = {digest: place for place, digest in enumerate(digests) if digest in self._state.owners}
            kept = vectors if len(mine) == len(digests) else vectors[list(mine.values())]
            self._index = ExactIndex.of(list(mine), kept)
        fresh = [digest for _, digest in self._state.vectors[self._indexed :] if digest not in self._index]
        if fresh:
            self._index.add(fresh, np.stack([self.vector(digest) for digest in fresh]))
        self._indexed = len(self._state.vectors)
        return self._index

    def _cache(self) -> VectorCache:
        dimension = self._known_dimension()
        return VectorCache(self._folder / f"{safe_name(self._state.embedder)}-{dimension}.rows", dimension)

    def _known_dimension(self) -> int:
        return self._dimension or len(self.vector(self._state.vectors[0][1]))

    def _options(self, digests: Iterable[str], query: Matrix, allowed: Allowed, state: MemoryState) -> list[Option]:
        """Return the allowed records behind *digests* as options, by (cosine, digest, id)."""
        found = [(digest, record) for digest in digests for record in _owners(state, digest) if allowed(record)]
        if not found:
            return []
        options = [Option(rec.item.id, self.vector(digest), rec.mean, rec.variance) for digest, rec in found]
        cosines = exact_cosines(np.stack([option.vector for option in options]), query)
        order = sorted(range(len(found)), key=lambda at: (-cosines[at], found[at][0], options[at].item))
        return [options[place] for place in order]

    # ---- the mirror ------------------------------------------------------------------------------------------

    def _from_mirror(self, query: Matrix, allowed: Allowed, count: int) -> list[Option] | None:
        """Return the nearest allowed records, proposed by the mirror; None if it cannot say."""
        if not (self._mirrored and self._writable) or count > MIRROR_MOST:
            return None
        mirror = self._open_mirror()
        held = self._held(mirror)
        lacking = [digest for _, digest in self._state.vectors[held:]]
        if not held or len(lacking) > MIRROR_TAIL:
            return None
        try:
            near = [digest for digest, _ in mirror.search(query, max(MIRROR_ASK, 4 * count))]
        except MirrorBroken as error:
            self._distrust(mirror, error)
            return None
        options = self._options(dict.fromkeys(near + lacking), query, allowed, self._state)
        return options[:count] if len(options) >= count else None

    def _feed_mirror(self, limit: int) -> None:
        mirror = self._open_mirror()
        for _ in range(2):
            held = self._held(mirror)
            page = self._state.vectors[held : held + limit]
            if not page:
                return
            try:
                if mirror.watermark and not held:
                    mirror.reset()
                mirror.add([digest for _, digest in page], np.stack([self.vector(digest) for _, digest in page]))
                mirror.commit(page[-1][0], self._content(held + len(page)))
            except MirrorBroken as error:
                self._distrust(mirror, error)
            else:
                return
        self._mirrored = False  # twice is enough for one process

    def _distrust(self, mirror: ChromaMirror, error: MirrorBroken) -> None:
        """Leave the broken generation, so that the next flush fills a new one."""
        self.problem = str(error)
        try:
            mirror.reset()
        except MirrorBroken:
            self._mirrored = False

    def _held(self, mirror: ChromaMirror) -> int:
        """Return how many of the state's vectors the mirror holds, the oldest ones; 0 if it is of another history."""
        if self._held_by[:2] != (mirror.generation, mirror.watermark):
            held = bisect_right(self._state.vectors, (mirror.watermark, "~"))
            held = held if mirror.content == self._content(held) else 0
            self._held_by = (mirror.generation, mirror.watermark, held)
        return self._held_by[2]

    def _content(self, count: int) -> str:
        return sha256("".join(digest for _, digest in self._state.vectors[:count]).encode()).hexdigest()

    def _open_mirror(self) -> ChromaMirror:
        if self._mirror is None:
            self._mirror = ChromaMirror(self._folder / "mirror", self._state.embedder, self._known_dimension())
        return self._mirror


def _owners(state: MemoryState, digest: str) -> list[Record]:
    """Return the records whose present text has the vector *digest*."""
    records = [state.records[item] for item in state.owners.get(digest, ())]
    return [record for record in records if record.vector == digest]
