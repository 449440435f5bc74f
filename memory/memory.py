"""The memory of a home: what was learnt, found by likeness, ranked by outcome. The verbs are the ecosystem's."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from synlearner.errors import ConfigError
from synlearner.events.checkpoints import Checkpoint
from synlearner.events.home import Home
from synlearner.events.types import (
    AnyFact,
    Candidate,
    ExperienceItem,
    ExperienceRetired,
    FeedbackGiven,
)
from synlearner.memory import insight
from synlearner.memory.credit import observed
from synlearner.memory.embedders import Embedder
from synlearner.memory.exchange import WRITERS, Line, Posterior, read
from synlearner.memory.filters import compile_filter
from synlearner.memory.items import Fields, check_count, check_text, new_item, quotation, result_of
from synlearner.memory.recall import recall
from synlearner.memory.records import Record
from synlearner.memory.regression import NOISE_VARIANCE
from synlearner.memory.snapshot import MEMORY
from synlearner.memory.state import MemoryState
from synlearner.memory.upkeep import Results, Upkeep, change


class Memory(Upkeep):
    """Experience items of one home. State comes from its log alone; vectors are read from its blobs.

    Scopes: an item without one is everybody's. Who asks with a scope sees those and its own, who asks without one
    sees those alone, and `*` sees everything.

    Opened around a home that is open already, `Memory(home)` leaves it open; `Memory.open(path)` opens and closes both.
    For one thread at a time.
    """

    _own_home: Home | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        embedder: Embedder | None = None,
        mirror: bool = True,
        write: bool = True,
        create: bool = True,
    ) -> Self:
        """Open the memory of the home at *path*, and the home with it.

        Args:
            path: The home's folder.
            embedder: See the class.
            mirror: See the class.
            write: False reads only: any number of processes may, beside one that writes.
            create: Whether to start a home where there is none; only with *write*.

        Raises:
            ConfigError: If there is no home, or its vectors are another embedder's.
            HomeLocked: If another process writes to it.

        """
        home = Home.open(path, write=write, create=create and write)
        try:
            memory = cls(home, embedder, mirror=mirror)
        except BaseException:
            home.close()
            raise
        memory._own_home = home
        return memory

    # ---- the ecosystem's verbs -------------------------------------------------------------------------------

    def add(
        self,
        text: str,
        *,
        type: str = "lesson",  # noqa: A002 - the name of the field
        title: str = "",
        when: str = "",
        polarity: int = 1,
        scope: str = "",
        metadata: Mapping[str, Any] | None = None,
        evidence: Sequence[int] = (),
    ) -> Results:
        """Learn an item. The same text in the same scope is recognised (`NONE`) and not doubled."""
        self._follow(writing=True)
        item = new_item(
            text, type=type, title=title, when=when, polarity=polarity, scope=scope, metadata=metadata,
            evidence=evidence,
        )  # fmt: skip
        for seq in evidence:
            if not 1 <= check_count(seq, "evidence") <= self.state.seq:
                raise ConfigError(f"evidence {seq} is no event of this home: its log holds 1 to {self.state.seq}")
        return {"results": self._learn([item])}

    def search(
        self,
        query: str,
        *,
        k: int = 4,
        top_k: int | None = None,
        filters: Mapping[str, Any] | None = None,
        scope: str = "",
        threshold: float = 0.0,
        as_of: int | None = None,
        explain: bool = False,
        seed: int | None = None,
        max_tokens: int | None = None,
    ) -> Results:
        """Return up to *k* items, best first, each with a `score` in [0, 1] where higher is better.

        Args:
            query: What the items should be like.
            k: Most items; 0 gives none.
            top_k: Another name for *k*; it wins.
            filters: See `synlearner.memory.filters`.
            scope: See the class.
            threshold: Least score.
            as_of: Answer from the memory as it was after this seq.
            explain: Whether to add every term of each score.
            seed: Of Thompson draws; None ranks by the posterior mean.
            max_tokens: Most that the items may take in a prompt (`block`); None sets no limit.

        """
        self._follow()
        check_text(query, "query")
        k = check_count(k if top_k is None else top_k, "k")
        passes = compile_filter(filters)
        state = self.state if as_of is None else self._state_at(as_of)
        if k == 0 or not state.records:
            return {"results": []}
        # People see what the agent would be spared: weak matches, repetitions, and what is known to harm.
        tokens = math.inf if max_tokens is None else float(check_count(max_tokens, "max_tokens"))
        count = min(max(4 * k, self._settings.pool), max(k, len(state.records)))
        rules = msgspec.structs.replace(
            self._settings, gate=0.0, abstain=math.inf, diversity=0.0, pool=count, tokens=tokens
        )
        vector = self._embed([query], state)[0]
        if state is self.state:
            options = self._library.nearest(vector, query, passes, scope, count)
        else:
            options = self._library.nearest_then(vector, query, passes, scope, count, state)
        found = recall(vector, options, k=k, seed=seed, settings=rules)
        chosen = [candidate for candidate in found if candidate.chosen and candidate.score >= threshold]
        return {"results": [_scored(state.records[candidate.item], candidate, explain) for candidate in chosen]}

    def get(self, id: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Return one item, also when it has left memory: `status` says so."""
        self._follow()
        record = self.state.record(id)
        return result_of(record) | {"status": insight.status_of(record)} | insight.standing_of(record)

    def get_all(self, *, filters: Mapping[str, Any] | None = None, scope: str = "", limit: int = 100) -> Results:
        """Return the items in memory by time of learning."""
        self._follow()
        check_count(limit, "limit")
        passes = compile_filter(filters)
        found = [record for record in self.state.active(scope) if passes(Fields(record))]
        return {"results": [result_of(record) | insight.standing_of(record) for record in found[:limit]]}

    list = get_all

    def update(self, id: str, text: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Give an item a new text: a new item supersedes it, and takes over what its use has shown."""
        self._follow(writing=True)
        old = self._present(id)
        item = new_item(text, **{name: getattr(old.item, name) for name in _KEPT})
        if item.id == old.item.id:
            return {"results": [change(item, "NONE")]}
        known = self.state.records.get(item.id)
        if known is not None and known.active:
            raise ConfigError(f"item {item.id} has this text already: delete {old.item.id} instead")
        self._append([(self.learned(item, supersedes=old.item.id), (old.learned,))])
        return {"results": [change(item, "UPDATE") | {"previous_memory": old.item.content, "supersedes": old.item.id}]}

    def delete(self, id: str, reason: str = "") -> Results:  # noqa: A002 - the ecosystem's name
        """Take an item out of memory. The log keeps it; no search returns it."""
        self._follow(writing=True)
        check_text(reason, "reason", may_be_empty=True)
        record = self._present(id)
        self._append([(ExperienceRetired(item=record.item.id, reason=reason), (record.learned,))])
        return {"results": [change(record.item, "DELETE")]}

    def history(self, id: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Return what happened to an item, its earlier texts and its later ones, oldest first."""
        self._follow()
        return {"results": insight.history(self.state.record(id).item.id, self.state, self._home.log)}

    def feedback(self, id: str, score: float, text: str = "", source: str = "user") -> Results:  # noqa: A002
        """Judge an item, from -1 (harmful) to 1 (as good as it gets). Its rank moves with the next search."""
        self._follow(writing=True)
        check_text(text, "feedback", may_be_empty=True)
        check_text(source, "source")
        if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
            raise ConfigError(f"score {score!r:.40} is not between -1 (harmful) and 1 (as good as it gets)")
        record = self._present(id)
        given = FeedbackGiven(target=f"item:{record.item.id}", score=float(score), text=text, source=source)
        credited = observed(float(score), NOISE_VARIANCE, f"feedback:{source}", record.item.id, self.state)
        self._append([(given, (record.learned,)), (credited, (self.state.seq + 1,))])
        return {"results": [change(record.item, "FEEDBACK") | insight.standing_of(record)]}

    def explain(self, id: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Return all that is known of an item, down to the events that it comes from."""
        self._follow()
        return insight.explain(self.state.record(id), self._home.log)

    def stats(self) -> Results:
        """Return the figures of this memory, and the condition of its mirror."""
        self._follow()
        return insight.statistics(self.state) | {"mirror": self._library.mirror_status()}

    def export(self, path: Path | str, *, format: str = "jsonl") -> Results:  # noqa: A002
        """Write the items in memory to *path*: `jsonl`, `parquet`, or a folder of `skill`s."""
        self._follow()
        if format not in WRITERS:
            raise ConfigError(f"format {format!r:.40} is unknown: items are exported as {', '.join(WRITERS)}")
        return {"path": str(path), "items": WRITERS[format](Path(path), self.state.active())}

    def import_(self, path: Path | str, *, format: str = "jsonl", collection: str = "") -> Results:  # noqa: A002
        """Learn the items of a file that `export` wrote, of a mem0 export, or of a ChromaDB folder; all or none.

        What their use has shown elsewhere comes along as one outcome; their evidence, seqs of another log, does not.

        Args:
            path: A file, or ChromaDB's folder.
            format: `jsonl` (also mem0-like lines), `parquet`, `mem0` (a JSON export) or `chroma`.
            collection: Which of ChromaDB's, where it has several.

        """
        self._follow(writing=True)
        lines: dict[str, Line] = {}
        items = []
        for place, line in read(Path(path), format, collection):
            try:
                item = new_item(line.content or line.memory, **{name: getattr(line, name) for name in _KEPT})
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
            items.append(item)
            lines[item.id] = line
        shown = {id_: line.posterior for id_, line in lines.items() if line.posterior and line.posterior.uses}
        return {"results": self._learn(items, shown)}

    def close(self) -> None:
        """Flush, and let go of everything; of the home too, if this memory opened it. May be called twice."""
        try:
            super().close()
        finally:
            if self._own_home is not None:
                self._own_home.close()

    def block(self, query: str, *, k: int = 4, scope: str = "", tokens: int = 600) -> str:
        """Return what a prompt may show of the items most like *query*: quoted, as data, within a token budget."""
        check_count(tokens, "tokens")
        results = self.search(query, k=k, scope=scope, max_tokens=tokens)["results"]
        return quotation([self.state.records[result["id"]].item for result in results])

    def _state_at(self, seq: int) -> MemoryState:
        if check_count(seq, "as_of") > self.state.seq:
            raise ConfigError(f"as_of {seq} is in the future: this log ends at {self.state.seq}")
        return Checkpoint(self._home, MEMORY).state(until=seq)

    def _learn(
        self, items: Sequence[ExperienceItem], shown: Mapping[str, Posterior] | None = None
    ) -> "Sequence[Results]":
        """Learn the *items* that are not in memory, and what their use has *shown* elsewhere, in one batch."""
        results = []
        seen: set[str] = set()
        facts: list[tuple[AnyFact, tuple[int, ...]]] = []
        for item in items:
            known = self.state.records.get(item.id)
            if item.id in seen or (known is not None and (known.active or known.merged_into)):
                results.append(change(item, "NONE"))
                continue
            seen.add(item.id)
            learned = self.learned(item)
            facts.append((learned, tuple(item.evidence)))
            results.append(change(item, "ADD") | ({"supersedes": learned.supersedes} if learned.supersedes else {}))
            if shown and item.id in shown:
                found = self.informed(learned, shown[item.id].mean, shown[item.id].variance, "import:memory")
                if found:
                    facts.append((found, (self.state.seq + len(facts),)))
        self._append(facts)
        return results


_TERMS = ("similarity", "lexical", "dense_rank", "lexical_rank", "relevance", "draw")
_KEPT = ("type", "title", "when", "polarity", "scope", "metadata")


def _scored(record: Record, candidate: Candidate, explain: bool) -> Results:
    result = result_of(record) | {"score": candidate.score}
    if explain:
        terms = msgspec.to_builtins(candidate)
        result["explain"] = {name: terms[name] for name in _TERMS} | insight.standing_of(record)
    return result
