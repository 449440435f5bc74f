"""The memory as the agent uses it: it returns facts to be appended, and takes in the events that were."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.types import (
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceRecalled,
)
from synlearner.memory.credit import credit
from synlearner.memory.embedders import Embedder, default_embedder
from synlearner.memory.index import Matrix, check_vectors, pack, unpack
from synlearner.memory.items import check_count, check_text, embedded_text
from synlearner.memory.library import Library
from synlearner.memory.recall import RecallSettings, recall
from synlearner.memory.state import MemoryState, Record, fold


class Experience:
    """Experience items of one open home. State comes from its log alone; vectors are read from its blobs.

    Args:
        home: Open; stays open when this is closed.
        embedder: Default: the one that the home's vectors were made with, else MiniLM; loaded at first use.
        mirror: Whether to keep a copy of the vectors in ChromaDB (only where the home is writable).
        settings: How recall chooses.

    Raises:
        ConfigError: If *embedder* is not the one that the home's vectors were made with.

    """

    def __init__(
        self,
        home: Home,
        embedder: Embedder | None = None,
        *,
        mirror: bool = True,
        settings: RecallSettings | None = None,
    ) -> None:
        self._home = home
        self._embedder = embedder
        self._settings = settings or RecallSettings()
        self.state = fold(home.log.read())
        self._library = Library(home.blobs, home.derived / "memory", self.state, writable=home.writable, mirror=mirror)
        if embedder is not None:
            self._check_embedder(embedder)

    def recall(self, query: str, *, k: int, seed: int, round: int, scope: str = "") -> ExperienceRecalled:  # noqa: A002
        """Return the fact of asking memory; the caller appends it. Always by the exact scan, so that it replays."""
        self._follow(writing=True)
        check_text(query, "query")
        check_count(k, "k")
        vector = self._embed([query])[0]
        count = max(self._settings.pool, k)
        options = self._library.nearest_exactly(vector, _visible(scope), count)
        candidates = recall(vector, options, k=k, seed=seed, settings=self._settings)
        return ExperienceRecalled(
            round=round,
            query=query,
            query_vector=self._home.blobs.put(pack(vector)),
            candidates=candidates,
            chosen=[candidate.item for candidate in candidates if candidate.chosen],
            seed=seed,
        )

    def check_recall(self, fact: ExperienceRecalled, state: MemoryState, *, scope: str = "") -> bool:
        """Return whether *fact* follows from *state*, the memory before it. No model is called.

        The number that was asked for is not recorded: what was chosen stands for it.
        """
        vector = unpack(self._home.blobs.get(fact.query_vector), fact.query_vector)
        k = max(1, len(fact.chosen)) if fact.candidates else 0
        count = max(self._settings.pool, len(fact.candidates))
        options = self._library.nearest_exactly(vector, _visible(scope), count, state)
        candidates = recall(vector, options, k=k, seed=fact.seed, settings=self._settings)
        return candidates == fact.candidates and [c.item for c in candidates if c.chosen] == fact.chosen

    def learned(self, item: ExperienceItem, *, supersedes: str = "") -> ExperienceLearned:
        """Return the fact that *item* entered memory; the caller appends it. Its vector is stored at once."""
        self._follow(writing=True)
        known = self.state.records.get(item.id)
        if known is not None and embedded_text(known.item) == embedded_text(item):
            # Recorded once is recorded: another machine's embedder would differ in the last bits.
            return ExperienceLearned(item=item, embedder=known.embedder, vector=known.vector, supersedes=supersedes)
        vector = self._home.blobs.put(pack(self._embed([embedded_text(item)])[0]))
        return ExperienceLearned(
            item=item, embedder=self._ready_embedder().fingerprint, vector=vector, supersedes=supersedes
        )

    def credited(self, outcome: float, family: str, items: Sequence[str]) -> ExperienceCredited:
        """Return the fact that *outcome* is due to *items*, jointly; the caller appends it."""
        self._follow()
        return credit(outcome, family, items, self.state)

    def apply(self, event: Event) -> None:
        """Take in an event that was appended to the home's log, of any kind. One that is known is passed over."""
        if event.seq == self.state.seq + 1:
            self.state.apply(event)
        elif event.seq > self.state.seq:
            self._follow()

    def digest(self) -> str:
        """Return SHA-256 of the memory's content: equal histories have equal digests."""
        self._follow()
        return self.state.digest()

    def flush(self) -> None:
        """Bring what is derived (the vector cache, the mirror) up to date, as far as that goes in about 2 s."""
        self._library.flush()

    def rebuild_mirror(self) -> dict[str, Any]:
        """Build the mirror anew from the recorded vectors; nothing is embedded again. Return its condition."""
        self._follow(writing=True)
        self._library.rebuild_mirror()
        return self._library.mirror_status()

    def close(self) -> None:
        """Flush, and let go of the mirror. May be called twice."""
        try:
            self._library.flush()
        finally:
            self._library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, *, writing: bool = False) -> None:
        """Take in what was appended meanwhile. Raises ConfigError if *writing* to a home opened for reading."""
        if writing and not self._home.writable:
            raise ConfigError(f"home '{self._home.path}' was opened for reading: open it with write=True to change it")
        if self._home.log.head().seq > self.state.seq:
            for event in self._home.log.read(after=self.state.seq):
                self.state.apply(event)

    def _embed(self, texts: Sequence[str]) -> Matrix:
        embedder = self._ready_embedder()
        vectors = embedder.embed(texts)
        check_vectors(vectors, len(texts), embedder.dimension)
        return vectors

    def _ready_embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = default_embedder(self.state.embedder)
        self._check_embedder(self._embedder)
        return self._embedder

    def _check_embedder(self, embedder: Embedder) -> None:
        if self.state.embedder and embedder.fingerprint != self.state.embedder:
            raise ConfigError(
                f"embedder {embedder.fingerprint} does not fit: the vectors of this home are of "
                f"{self.state.embedder}; open it with that one"
            )


def _visible(scope: str) -> Callable[[Record], bool]:
    return lambda record: record.active and record.visible_in(scope)
