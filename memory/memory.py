"""The memory of a home: what was learnt, found by likeness, ranked by outcome. The verbs are the ecosystem's."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from synlearner.errors import ConfigError
from synlearner.events.chance import event_id
from synlearner.events.home import Home
from synlearner.events.types import (
    AnyFact,
    Candidate,
    Credit,
    Draft,
    ExperienceCredited,
    ExperienceItem,
    ExperienceRetired,
    FeedbackGiven,
)
from synlearner.memory import insight
from synlearner.memory.credit import credit
from synlearner.memory.embedders import Embedder
from synlearner.memory.exchange import Line, read_lines, write_lines
from synlearner.memory.experience import Experience
from synlearner.memory.filters import compile_filter
from synlearner.memory.items import Fields, check_count, check_text, new_item, result_of
from synlearner.memory.recall import recall
from synlearner.memory.state import MemoryState, Record, fold

Results = dict[str, Any]


class Memory(Experience):
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

        """
        self._follow()
        check_text(query, "query")
        k = check_count(k if top_k is None else top_k, "k")
        passes = compile_filter(filters)
        state = self.state if as_of is None else self._state_at(as_of)
        if k == 0 or not state.records:
            return {"results": []}

        def allowed(record: Record) -> bool:
            return record.active and record.visible_in(scope) and passes(Fields(record))

        # People see what the agent would be spared: weak matches, and what is known to harm.
        count = max(4 * k, self._settings.pool)
        settings = msgspec.structs.replace(self._settings, gate=0.0, abstain=math.inf, pool=count)
        vector = self._embed([query])[0]
        if as_of is None:
            options = self._library.nearest(vector, allowed, count)
        else:
            options = self._library.nearest_exactly(vector, allowed, count, state)
        found = recall(vector, options, k=k, seed=seed, settings=settings)
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
            return {"results": [_change(item, "NONE")]}
        known = self.state.records.get(item.id)
        if known is not None and known.active:
            raise ConfigError(f"item {item.id} has this text already: delete {old.item.id} instead")
        self._append([(self.learned(item, supersedes=old.item.id), (old.learned,))])
        return {"results": [_change(item, "UPDATE") | {"previous_memory": old.item.content, "supersedes": old.item.id}]}

    def delete(self, id: str, reason: str = "") -> Results:  # noqa: A002 - the ecosystem's name
        """Take an item out of memory. The log keeps it; no search returns it."""
        self._follow(writing=True)
        check_text(reason, "reason", may_be_empty=True)
        record = self._present(id)
        self._append([(ExperienceRetired(item=record.item.id, reason=reason), (record.learned,))])
        return {"results": [_change(record.item, "DELETE")]}

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
        credited = credit(float(score), f"feedback:{source}", [record.item.id], self.state)
        self._append([(given, (record.learned,)), (credited, (self.state.seq + 1,))])
        return {"results": [_change(record.item, "FEEDBACK") | insight.standing_of(record)]}

    def explain(self, id: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Return all that is known of an item, down to the events that it comes from."""
        self._follow()
        return insight.explain(self.state.record(id), self._home.log)

    def stats(self) -> Results:
        """Return the figures of this memory, and the condition of its mirror."""
        self._follow()
        return insight.statistics(self.state) | {"mirror": self._library.mirror_status()}

    def export(self, path: Path | str) -> Results:
        """Write the items in memory to *path*, one JSON object a line."""
        self._follow()
        return {"path": str(path), "items": write_lines(Path(path), self.state.active())}

    def import_(self, path: Path | str) -> Results:
        """Learn the items of a file that `export` wrote (or mem0-like lines), all or none.

        What their use has shown elsewhere comes along as one outcome; their evidence, seqs of another log, does not.
        """
        self._follow(writing=True)
        lines: dict[str, Line] = {}
        items = []
        for place, line in read_lines(Path(path)):
            try:
                item = new_item(line.content or line.memory, **{name: getattr(line, name) for name in _KEPT})
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
            items.append(item)
            lines[item.id] = line
        results = self._learn(items, {id_: fact for id_, line in lines.items() if (fact := _brought(id_, line))})
        return {"results": results}

    def close(self) -> None:
        """Flush, and let go of everything; of the home too, if this memory opened it. May be called twice."""
        try:
            super().close()
        finally:
            if self._own_home is not None:
                self._own_home.close()

    def _state_at(self, seq: int) -> MemoryState:
        if check_count(seq, "as_of") > self.state.seq:
            raise ConfigError(f"as_of {seq} is in the future: this log ends at {self.state.seq}")
        return fold(self._home.log.read(until=seq))

    def _present(self, item: str) -> Record:
        """Return the record that *item* lives on in. Raises ConfigError if it has left memory."""
        record = self.state.newest(item)
        if record.retired:
            raise ConfigError(f"item {record.item.id} was retired by event {record.retired}: add its text again")
        return record

    def _learn(
        self, items: Sequence[ExperienceItem], outcomes: Mapping[str, ExperienceCredited] | None = None
    ) -> "Sequence[Results]":
        """Learn the *items* that are not in memory, and their *outcomes* with them, in one batch."""
        results = []
        seen: set[str] = set()
        facts: list[tuple[AnyFact, tuple[int, ...]]] = []
        for item in items:
            known = self.state.records.get(item.id)
            if item.id in seen or (known is not None and known.active):
                results.append(_change(item, "NONE"))
                continue
            seen.add(item.id)
            facts.append((self.learned(item), tuple(item.evidence)))
            if outcomes and item.id in outcomes:
                facts.append((outcomes[item.id], (self.state.seq + len(facts),)))
            results.append(_change(item, "ADD"))
        self._append(facts)
        return results

    def _append(self, facts: "Sequence[tuple[AnyFact, tuple[int, ...]]]") -> None:
        """Append *facts*, each with the seqs that led to it, and take them in."""
        seq = self.state.seq
        drafts = [
            Draft(fact=fact, id=event_id("", "memory", seq, place), causes=causes)
            for place, (fact, causes) in enumerate(facts)
        ]
        if drafts:
            for event in self._home.log.append(drafts, expected_seq=seq):
                self.apply(event)


_KEPT = ("type", "title", "when", "polarity", "scope", "metadata")


def _change(item: ExperienceItem, event: str) -> Results:
    return {"id": item.id, "memory": item.content, "event": event}


def _scored(record: Record, candidate: Candidate, explain: bool) -> Results:
    result = result_of(record) | {"score": candidate.score}
    if explain:
        terms = {"similarity": candidate.similarity, "draw": candidate.draw}
        result["explain"] = terms | insight.standing_of(record)
    return result


def _brought(item: str, line: Line) -> ExperienceCredited | None:
    """Return the outcome that stands for what an item's use has shown elsewhere; None if it was not used."""
    if line.posterior is None or not line.posterior.uses:
        return None
    mean = line.posterior.mean
    credits_ = [Credit(item=item, mean=mean, variance=line.posterior.variance)]
    return ExperienceCredited(family="import:memory", outcome=mean, baseline=mean, credits=credits_)
