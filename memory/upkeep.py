"""What keeps a memory in order: merging and splitting, tending by rule, changing the embedder."""

from collections.abc import Mapping, Sequence
from typing import Any

from synlearner.errors import ConfigError
from synlearner.events.chance import event_id
from synlearner.events.types import AnyFact, Draft, ExperienceDecayed, ExperienceItem, ExperienceReembedded
from synlearner.memory.embedders import Embedder
from synlearner.memory.experience import Experience
from synlearner.memory.filters import compile_filter
from synlearner.memory.index import check_vectors, exact_cosines, pack
from synlearner.memory.items import Fields, embedded_text
from synlearner.memory.life import merge, split
from synlearner.memory.records import Record

Results = dict[str, Any]


class Upkeep(Experience):
    """An `Experience` that appends what it decides, in batches of its own, outside of runs."""

    def merge(self, id: str, into: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Let one item stand for another that says the same. `split` takes it back."""
        self._follow(writing=True)
        item, stays = self._present(id), self._present(into)
        if item is stays:
            raise ConfigError(f"{id} and {into} are one item already: name two")
        similarity = exact_cosines(self._library.vector(item.vector)[None, :], self._library.vector(stays.vector))[0]
        fact = merge(item, stays, similarity)
        self._append([(fact, (item.learned, stays.learned))])
        return {"results": [change(self.state.records[fact.item].item, "MERGE") | {"into": fact.into}]}

    def split(self, id: str) -> Results:  # noqa: A002 - the ecosystem's name
        """Take a merge back: the item stands for itself again."""
        self._follow(writing=True)
        item = self.state.record(id)
        if not item.merged_into:
            raise ConfigError(
                f"item {id} is not merged into another one: `synlearner memory get {id}` shows its status"
            )
        self._append([(split(item, self.state.records[item.merged_into]), (item.learned,))])
        return {"results": [change(item.item, "SPLIT")]}

    def tend(self) -> Results:
        """Merge duplicates, let fade what is not asked for, retire what harms: see `synlearner.memory.life`."""
        facts = self.tidy()
        self._append(facts)
        names = {"experience_merged": "MERGE", "experience_retired": "DELETE", "experience_decayed": "DECAY"}
        results: list[Results] = []
        for fact, _ in facts:
            items = [each.item for each in fact.credits] if isinstance(fact, ExperienceDecayed) else [fact.item]
            results += [change(self.state.records[item].item, names[fact.kind]) for item in items]
        return {"results": results}

    def reembed(self, embedder: Embedder, *, page: int = 500) -> Results:
        """Give every item a vector of another embedder. The old ones serve until all are there; killed, it goes on.

        No text is written anew and no model but *embedder* is called.
        """
        self._follow(writing=True)
        if embedder.fingerprint == self.state.embedder:
            raise ConfigError(f"the vectors of this home are of {embedder.fingerprint} already: name another embedder")
        name, done = self.state.pending
        waiting = sorted(self.state.records.keys() - (done.keys() if name == embedder.fingerprint else set()))
        for start in range(0, max(len(waiting), 1), page):
            items = waiting[start : start + page]
            rows = embedder.embed([embedded_text(self.state.records[item].item) for item in items])
            check_vectors(rows, len(items), embedder.dimension)
            vectors = {item: self._home.blobs.put(pack(row)) for item, row in zip(items, rows, strict=True)}
            last = start + page >= len(waiting)
            fact = ExperienceReembedded(embedder=embedder.fingerprint, vectors=vectors, last=last)
            self._append([(fact, ())])
        self._embedder = embedder
        return {"embedder": self.state.embedder, "generation": self.state.generation, "items": len(self.state.records)}

    def put(self, item: ExperienceItem, *, supersedes: str = "") -> Results:
        """Learn *item*, also if it is known: its metadata are then the new ones. For adapters to other stores."""
        self._follow(writing=True)
        replaced = supersedes if supersedes != item.id else ""
        self._append([(self.learned(item, supersedes=replaced), ())])
        return {"results": [change(item, "UPDATE" if supersedes else "ADD")]}

    def follow(self) -> None:
        """Take in what was appended to the home's log meanwhile."""
        self._follow()

    def time_of(self, seq: int) -> str:
        """Return when an event was appended, in ISO 8601."""
        return str(self._home.log.get(seq).observed["time"])

    @staticmethod
    def passes(record: Record, filters: Mapping[str, Any]) -> bool:
        """Return whether an item passes a filter."""
        return compile_filter(filters)(Fields(record))

    def _present(self, item: str) -> Record:
        """Return the record that *item* lives on in. Raises ConfigError if it has left memory."""
        record = self.state.newest(item)
        if record.retired:
            raise ConfigError(f"item {record.item.id} was retired by event {record.retired}: add its text again")
        return record

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


def change(item: ExperienceItem, event: str) -> Results:
    """Return what happened to an item, as the verbs tell it."""
    return {"id": item.id, "memory": item.content, "event": event}
