"""What memory knows, folded from events alone: no clock, no I/O, no model.

The counters and posteriors live here and nowhere else; the vectors are blobs that the records name.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from synlearner.errors import ConfigError
from synlearner.events.types import (
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceRecalled,
    ExperienceRetired,
)

PRIOR_MEAN = 0.0
PRIOR_VARIANCE = 0.15**2
"""Of the gain that an untried item brings, in units of the outcome. Source: reference/memory.md §4.2."""

ABSOLUTE = ("distilled:", "feedback:", "import:")
"""Families whose outcomes are gains already (a person's -1 to 1, what a finished task has shown). Their baseline is 0, and no other's counts them."""

_encode = msgspec.json.Encoder(order="sorted").encode


class Record(msgspec.Struct, kw_only=True):
    """An item, and what its use has shown."""

    item: ExperienceItem
    embedder: str
    vector: str
    """Blob digest."""
    learned: int
    """Seq of the event that gave it its present text."""
    mean: float = PRIOR_MEAN
    variance: float = PRIOR_VARIANCE
    """Posterior of the gain it brings, in units of the outcome."""
    recalled: int = 0
    """Recalls that chose it."""
    uses: int = 0
    """Outcomes that it was credited for."""
    helpful: int = 0
    harmful: int = 0
    """Of these, outcomes above and below the baseline."""
    retired: int = 0
    """Seq of its retirement; 0 while it is in memory."""
    reason: str = ""
    supersedes: str = ""
    superseded_by: str = ""

    @property
    def active(self) -> bool:
        """Whether recall may consider it."""
        return not self.retired and not self.superseded_by

    def visible_in(self, scope: str) -> bool:
        """Whether somebody in *scope* may see it: items without a scope are everybody's, `*` sees them all."""
        return scope == "*" or self.item.scope in ("", scope)


class Family(msgspec.Struct):
    """Outcomes that are compared with one another."""

    outcomes: int = 0
    total: float = 0.0


class MemoryState:
    """The fold. `apply` changes it in place, in constant time on average, so that 10^5 items cost no copies."""

    def __init__(self) -> None:
        self.seq = 0
        """Of the last event applied."""
        self.records: dict[str, Record] = {}
        """By item id, retired and superseded ones included."""
        self.owners: dict[str, list[str]] = {}
        """Vector digest to the items that ever had it."""
        self.vectors: list[tuple[int, str]] = []
        """(seq, digest) of every distinct vector in the order of its first event."""
        self.families: dict[str, Family] = {}
        self.overall = Family()
        """All families but the absolute ones."""
        self.embedder = ""
        """Fingerprint of the embedder of the newest item; empty while there is none."""

    def apply(self, event: Event) -> None:
        """Take in *event*. Kinds that do not concern memory only move `seq`."""
        match event.fact:
            case ExperienceLearned():
                self._learn(event.fact, event.seq)
            case ExperienceCredited():
                self._credit(event.fact)
            case ExperienceRecalled(chosen=chosen):
                for record in map(self.records.get, chosen):
                    if record is not None:
                        record.recalled += 1
            case ExperienceRetired(item=item, reason=reason):
                retiring = self.records.get(item)
                if retiring is not None and not retiring.retired:
                    retiring.retired, retiring.reason = event.seq, reason
            case _:
                pass
        self.seq = event.seq

    def record(self, item: str) -> Record:
        """Return the record of the item id *item*. Raises ConfigError if there is none."""
        found = self.records.get(item)
        if found is None:
            raise ConfigError(f"no item {item!r:.80} in this home: `synlearner memory list` shows them")
        return found

    def newest(self, item: str) -> Record:
        """Return the record that *item* lives on in: itself, or what superseded it. The posterior is there."""
        found = self.record(item)
        while found.superseded_by:
            found = self.records[found.superseded_by]
        return found

    def active(self, scope: str = "*") -> list[Record]:
        """Return what recall may consider for *scope*, by time of learning."""
        found = [record for record in self.records.values() if record.active and record.visible_in(scope)]
        return sorted(found, key=lambda record: (record.learned, record.item.id))

    def digest(self) -> str:
        """Return SHA-256, in hex, of the canonical content: sorted, floats exact, vectors by digest."""
        hasher = sha256(_encode(["synlearner-memory:1", self.embedder, self.overall]))
        for name in sorted(self.families):
            hasher.update(_encode([name, self.families[name]]) + b"\n")
        for item in sorted(self.records):
            hasher.update(_encode(self.records[item]) + b"\n")
        return hasher.hexdigest()

    def _learn(self, fact: ExperienceLearned, seq: int) -> None:
        known = self.records.get(fact.item.id)
        record = known or Record(item=fact.item, embedder="", vector="", learned=0)
        # Learnt again: it is back, with its posterior, and whatever replaced it no longer does.
        record.item, record.embedder, record.vector, record.learned = fact.item, fact.embedder, fact.vector, seq
        record.retired, record.reason, record.superseded_by = 0, "", ""
        self.records[fact.item.id] = record
        replaced = self.records.get(fact.supersedes)
        if replaced is not None and replaced is not record:
            replaced.superseded_by, record.supersedes = fact.item.id, fact.supersedes
            for field in ("mean", "variance", "recalled", "uses", "helpful", "harmful"):
                setattr(record, field, getattr(replaced, field))
        self.embedder = fact.embedder
        if fact.vector not in self.owners:
            self.owners[fact.vector] = []
            self.vectors.append((seq, fact.vector))
        if fact.item.id not in self.owners[fact.vector]:
            self.owners[fact.vector].append(fact.item.id)

    def _credit(self, fact: ExperienceCredited) -> None:
        families = [self.families.setdefault(fact.family, Family())]
        if not is_absolute(fact.family):
            families.append(self.overall)
        for family in families:
            family.outcomes += 1
            family.total += fact.outcome
        for credit in fact.credits:
            record = self.records.get(credit.item)
            if record is not None:
                record.mean, record.variance = credit.mean, credit.variance
                record.uses += 1
                record.helpful += fact.outcome > fact.baseline
                record.harmful += fact.outcome < fact.baseline


def fold(events: Iterable[Event]) -> MemoryState:
    """Return the state after *events*."""
    state = MemoryState()
    for event in events:
        state.apply(event)
    return state


def is_absolute(family: str) -> bool:
    """Return whether the outcomes of *family* are gains already, with 0 as their baseline."""
    return family.startswith(ABSOLUTE)
