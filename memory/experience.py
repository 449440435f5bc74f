"""The memory as the agent uses it: it returns facts to be appended, and takes in the events that were."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from synlearner.errors import ConfigError
from synlearner.events.checkpoints import Checkpoint
from synlearner.events.home import Home
from synlearner.events.types import (
    Candidate,
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceRecalled,
)
from synlearner.memory.codes import Matrix
from synlearner.memory.credit import credit, doubts, evidence, observed
from synlearner.memory.embedders import Embedder, default_embedder
from synlearner.memory.filters import compile_filter
from synlearner.memory.index import check_vectors, exact_cosines, pack, unpack
from synlearner.memory.items import check_count, check_text, embedded_text
from synlearner.memory.library import Library
from synlearner.memory.life import Fact as Tidying
from synlearner.memory.life import LifeSettings, contradicted, tidy
from synlearner.memory.recall import RecallSettings, recall, recorded, settings_from
from synlearner.memory.records import Record, succeeded
from synlearner.memory.snapshot import MEMORY
from synlearner.memory.state import MemoryState


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
        self._checkpoint = Checkpoint(home, MEMORY)
        self.state = self._checkpoint.state()
        self._library = Library(home.blobs, home.derived / "memory", self.state, writable=home.writable, mirror=mirror)
        if embedder is not None:
            self._check_embedder(embedder)

    @property
    def mirror(self) -> bool:
        """Whether the vectors are mirrored in ChromaDB."""
        return self._library.mirrored

    @mirror.setter
    def mirror(self, wanted: bool) -> None:
        self._library.mirrored = wanted

    def recall(
        self,
        query: str,
        *,
        k: int,
        seed: int,
        round: int,  # noqa: A002 - the field it fills
        scope: str = "",
        filters: Mapping[str, Any] | None = None,
        control: float = 0.0,
        settings: RecallSettings | None = None,
    ) -> ExperienceRecalled:
        """Return the fact of asking memory; the caller appends it. Always by the full scan, so that it replays.

        Args:
            query: What the items should be like.
            k: Most items; 0 considers nobody.
            seed: Of the draws.
            round: Of the caller's.
            scope: Who asks.
            filters: See `synlearner.memory.filters`.
            control: Share of prompts that the caller will plan without what is recalled.
            settings: How to choose; default: those of this memory.

        """
        self._follow(writing=True)
        check_text(query, "query")
        check_count(k, "k")
        rules = settings or self._settings
        vector = self._embed([query])[0]
        candidates = self._candidates(vector, query, k, seed, scope, filters, rules, None)
        return ExperienceRecalled(
            round=round,
            query=query,
            query_vector=self._home.blobs.put(pack(vector)),
            scope=scope,
            filters=dict(filters or {}),
            k=k,
            settings=recorded(rules),
            control=float(control),
            candidates=candidates,
            chosen=[candidate.item for candidate in candidates if candidate.chosen],
            seed=seed,
        )

    def check_recall(self, fact: ExperienceRecalled, state: MemoryState) -> bool:
        """Return whether *fact* follows from *state*, the memory before it. No model is called.

        Raises:
            ConfigError: If it was recorded before recalls held their settings.

        """
        vector = unpack(self._home.blobs.get(fact.query_vector), fact.query_vector)
        rules = settings_from(fact.settings)
        candidates = self._candidates(
            vector, fact.query, fact.k, fact.seed, fact.scope, fact.filters, rules, state
        )  # fmt: skip
        return candidates == fact.candidates and [c.item for c in candidates if c.chosen] == fact.chosen

    def learned(self, item: ExperienceItem, *, supersedes: str = "", parents: Sequence[str] = ()) -> ExperienceLearned:
        """Return the fact that *item* entered memory; the caller appends it. Its vector is stored at once.

        Unless told what it supersedes, it supersedes what it contradicts (`synlearner.memory.life`).
        """
        self._follow(writing=True)
        supersedes = supersedes or contradicted(item, self.state)
        known = self.state.records.get(item.id)
        if known is not None and embedded_text(known.item) == embedded_text(item):
            # Recorded once is recorded: another machine's embedder would differ in the last bits.
            embedder, vector = known.embedder, known.vector
        else:
            vector = self._home.blobs.put(pack(self._embed([embedded_text(item)])[0]))
            embedder = self._ready_embedder().fingerprint
        return ExperienceLearned(
            item=item, embedder=embedder, vector=vector, supersedes=supersedes, parents=sorted({*parents} - {item.id})
        )

    def credited(self, outcome: float, family: str, items: Sequence[str], *, arm: str = "") -> ExperienceCredited:
        """Return the fact that *outcome* is due to *items*, jointly; the caller appends it. *arm*: see `credit`."""
        self._follow()
        return credit(outcome, family, items, self.state, arm=arm)

    def informed(
        self, learned: ExperienceLearned, mean: float, variance: float, family: str
    ) -> ExperienceCredited | None:
        """Return the fact that an item, just *learned*, was found elsewhere to bring *mean*, with *variance*.

        The first time this becomes its posterior; later it is one more observation, beside what its use has shown.
        None if it says nothing.
        """
        self._follow()
        found = evidence(mean, variance)
        replaced = self.state.records.get(learned.supersedes)
        prior = succeeded(replaced, learned.item.polarity) if replaced is not None else None
        return observed(*found, family, learned.item.id, self.state, prior) if found else None

    def credited_since(self, item: str, seq: int) -> bool:
        """Return whether an item was credited for an outcome after the event *seq*."""
        self._follow()
        return item in self.state.records and self.state.newest(item).credited > seq

    def tidy(
        self, settings: LifeSettings | None = None, *, keep: frozenset[str] = frozenset()
    ) -> list[tuple[Tidying, tuple[int, ...]]]:
        """Return what becomes of the items but *keep* by the rules of `synlearner.memory.life`; the caller appends it."""
        self._follow(writing=True)
        return tidy(self.state, self._alike, settings or LifeSettings(), keep)

    def apply(self, event: Event) -> None:
        """Take in an event that was appended to the home's log, of any kind. One that is known is passed over."""
        if event.seq == self.state.seq + 1:
            self.state.apply(event)
            self._checkpoint.keep(self.state)
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
        if self._library.mirrored:
            self._library.rebuild_mirror()
        return self._library.mirror_status()

    def close(self) -> None:
        """Flush, keep a checkpoint, and let go of the mirror. May be called twice."""
        try:
            self._library.flush()
            self._checkpoint.keep(self.state, every=1)
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

    def _candidates(
        self,
        vector: Matrix,
        query: str,
        k: int,
        seed: int | None,
        scope: str,
        filters: Mapping[str, Any] | None,
        rules: RecallSettings,
        state: MemoryState | None,
    ) -> list[Candidate]:
        passes = compile_filter(filters) if filters else None
        count = max(rules.pool, k) if k else 0
        if state is None or state is self.state:
            options = self._library.nearest(vector, query, passes, scope, count, exact=True)
        else:
            options = self._library.nearest_then(vector, query, passes, scope, count, state)
        return recall(vector, options, k=k, seed=seed, settings=rules, together=doubts(state or self.state))

    def _alike(self, record: Record) -> list[tuple[Record, float]]:
        """Return the items near to a record with the cosines, nearest first, without itself."""
        vector = self._library.vector(record.vector)
        options = self._library.nearest(vector, "", None, "*", 8, exact=True)
        cosines = exact_cosines(np.stack([option.vector for option in options]), vector) if options else []
        pairs = [(self.state.records[each.item], cosine) for each, cosine in zip(options, cosines, strict=True)]
        return [(found, cosine) for found, cosine in pairs if found is not record]

    def _embed(self, texts: Sequence[str], state: MemoryState | None = None) -> Matrix:
        """Return unit rows by the embedder of this home, or of an earlier *state* that had another one."""
        embedder = self._ready_embedder()
        if state is not None and state.embedder != embedder.fingerprint:
            embedder = default_embedder(state.embedder)
            if embedder.fingerprint != state.embedder:
                raise ConfigError(
                    f"the vectors of then are of {state.embedder}, which is not at hand: ask for a time after the "
                    "change of embedders"
                )
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
