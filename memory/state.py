"""What memory knows, folded from events alone: no clock, no I/O, no model.

The counters and posteriors live here and nowhere else; the vectors are blobs that the records name. Posteriors are
recorded in the events and only taken over here; the sums that the next ones are computed from are integers. So a fold
is quick, and equal on every machine.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from synlearner.errors import ConfigError
from synlearner.events.types import (
    Event,
    ExperienceCredited,
    ExperienceDecayed,
    ExperienceLearned,
    ExperienceMerged,
    ExperienceRecalled,
    ExperienceReembedded,
    ExperienceRetired,
    ExperienceSplit,
    PayloadRedacted,
    TaskFinished,
)
from synlearner.memory.items import subject_of
from synlearner.memory.records import MICRO, PRIOR_MEAN, PRIOR_VARIANCE, Family, Record, succeeded

__all__ = ["PRIOR_MEAN", "PRIOR_VARIANCE", "Family", "MemoryState", "Record", "fold"]

_encode = msgspec.json.Encoder(order="sorted").encode


class MemoryState:
    """The fold. `apply` changes it in place, in constant time on average, so that 10^5 items cost no copies."""

    def __init__(self) -> None:
        self.seq = 0
        """Of the last event applied."""
        self.records: dict[str, Record] = {}
        """By item id, retired, merged and superseded ones included."""
        self.owners: dict[str, list[str]] = {}
        """Vector digest to the items that ever had it."""
        self.vectors: list[tuple[int, str]] = []
        """(seq, digest) of every distinct vector of this generation, in the order of its first event."""
        self.scoped: dict[str, list[tuple[int, str]]] = {}
        """The same for the items of each scope: what a mirror of that scope holds."""
        self.subjects: dict[tuple[str, str], list[str]] = {}
        """What items judge (`subject_of`) to the items that ever did."""
        self.families: dict[str, Family] = {}
        self.overall = Family()
        """All families together."""
        self.explained = 0
        """Sum over the families of what their means explain, in millionths."""
        self.tasks = 0
        """Finished ones: the clock of decay."""
        self.embedder = ""
        """Fingerprint of the embedder of the vectors; empty while there are none."""
        self.generation = 1
        """Of the vectors: `memory reembed` begins another."""
        self.pending: tuple[str, dict[str, str]] = ("", {})
        """Embedder and vectors of a generation that is not complete."""
        self.dirty: set[str] = set()
        """Items that changed since somebody who follows the state (the table of the library) last emptied this."""

    def apply(self, event: Event) -> None:
        """Take in *event*. Kinds that do not concern memory only move `seq`."""
        match event.fact:
            case ExperienceCredited() as fact:
                self._credit(fact, event.seq)
            case ExperienceLearned() as fact:
                self._learn(fact, event.seq)
            case ExperienceRecalled(chosen=chosen):
                for record in map(self.records.get, chosen):
                    if record is not None:
                        record.recalled += 1
                        self._touch(record)
            case ExperienceRetired(item=item, reason=reason):
                retiring = self.records.get(item)
                if retiring is not None and not retiring.retired:
                    retiring.retired, retiring.reason = event.seq, reason
                    self.dirty.add(item)
            case ExperienceMerged() as fact:
                self._merge(fact)
            case ExperienceSplit() as fact:
                self._split(fact)
            case ExperienceDecayed(credits=credits_):
                for credit in credits_:
                    if credit.item in self.records:
                        self.records[credit.item].move(credit.mean, credit.variance)
                        self.dirty.add(credit.item)
            case ExperienceReembedded() as fact:
                self._reembed(fact, event.seq)
            case TaskFinished():
                self.tasks += 1
            case PayloadRedacted(items=items):
                for item in self.records.keys() & items:
                    retiring = self.records[item]
                    retiring.retired, retiring.reason = retiring.retired or event.seq, retiring.reason or "redacted"
                    self.dirty.add(item)
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
        """Return the record that *item* lives on in: itself, or what superseded or took it in."""
        found = self.record(item)
        while found.superseded_by or found.merged_into:
            found = self.records[found.superseded_by or found.merged_into]
        return found

    def active(self, scope: str = "*") -> list[Record]:
        """Return what recall may consider for *scope*, by time of learning."""
        found = [record for record in self.records.values() if record.active and record.visible_in(scope)]
        return sorted(found, key=lambda record: (record.learned, record.item.id))

    def digest(self) -> str:
        """Return SHA-256, in hex, of the canonical content: sorted, floats exact, vectors by digest."""
        head = ["synlearner-memory:2", self.embedder, self.generation, self.pending, self.tasks, self.overall]
        hasher = sha256(_encode(head))
        for name in sorted(self.families):
            hasher.update(_encode([name, self.families[name]]) + b"\n")
        for item in sorted(self.records):
            hasher.update(_encode(self.records[item]) + b"\n")
        return hasher.hexdigest()

    # ---- learning --------------------------------------------------------------------------------------------

    def _learn(self, fact: ExperienceLearned, seq: int) -> None:
        name = fact.item.id
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = Record(item=fact.item, embedder="", vector="", learned=0)
        elif record.superseded_by:
            # Its outcomes went to what superseded it; what it is believed to bring stays.
            record.weight, record.moment = 0, 0
            mean, variance = record.mean, record.variance
            record.mean, record.variance = PRIOR_MEAN, PRIOR_VARIANCE
            record.move(mean, variance)
        record.item, record.embedder, record.vector, record.learned = fact.item, fact.embedder, fact.vector, seq
        record.retired, record.reason, record.superseded_by = 0, "", ""
        judging = self.subjects.setdefault(subject_of(fact.item), [])
        if name not in judging:
            judging.append(name)
        record.parents = sorted({*record.parents, *fact.parents} - {name})
        replaced = self.records.get(fact.supersedes)
        if replaced is not None and replaced is not record and not self._leads_to(name, replaced):
            self._supersede(replaced, record)
        self._touch(record)
        self.embedder = self.embedder or fact.embedder
        self._own(record, seq)

    def _leads_to(self, name: str, start: Record) -> bool:
        """Tell whether *name* was merged, over however many steps, into *start*: neither may then replace the other."""
        found = self.records[name]
        while found.superseded_by or found.merged_into:
            found = self.records[found.superseded_by or found.merged_into]
        return found is start

    def _supersede(self, old: Record, new: Record) -> None:
        old.superseded_by, new.supersedes = new.item.id, old.item.id
        new.merged_into, new.lent, new.kept = "", (0, 0), (0.0, 0.0, 0.0, 0.0)
        self.dirty.add(old.item.id)
        if old.item.polarity != new.item.polarity:
            new.move(*succeeded(old, new.item.polarity))
            return
        for field in ("mean", "variance", "weight", "moment", "total", "recalled", "uses", "helpful", "harmful",
                      "credited", "partners", "families"):  # fmt: skip
            setattr(new, field, getattr(old, field))
        old.partners, old.families, old.total = {}, [], 0
        for partner in [*new.partners]:
            if partner == old.item.id:
                new.partners[new.item.id] = new.partners.pop(partner)
            else:
                theirs = self.records[partner].partners
                theirs[new.item.id] = theirs.pop(old.item.id)
        for family in new.families:
            uses = self.families[family].uses
            uses[new.item.id] = uses.pop(old.item.id)

    def _own(self, record: Record, seq: int) -> None:
        vector, scope = record.vector, record.item.scope
        owners = self.owners.get(vector)
        if owners is None:
            owners = self.owners[vector] = []
            self.vectors.append((seq, vector))
        if all(self.records[item].item.scope != scope for item in owners):
            self.scoped.setdefault(scope, []).append((seq, vector))
        if record.item.id not in owners:
            owners.append(record.item.id)

    def _touch(self, record: Record) -> None:
        record.touched = self.tasks
        self.dirty.add(record.item.id)

    # ---- outcomes --------------------------------------------------------------------------------------------

    def _credit(self, fact: ExperienceCredited, seq: int) -> None:
        used = [record for record in map(self.records.get, fact.used) if record is not None]
        if fact.noise:
            for record in used:
                record.observe(fact.outcome, fact.noise)
        else:
            self._count(fact, used)
        for record in used:
            record.uses += 1
            record.helpful += fact.outcome > fact.baseline
            record.harmful += fact.outcome < fact.baseline
            record.credited = seq
            record.touched = self.tasks
        for credit in fact.credits:
            credited = self.records.get(credit.item)
            if credited is not None:
                if credit.depth:
                    credited.move(credit.mean, credit.variance)
                else:
                    credited.mean, credited.variance = credit.mean, credit.variance
                self.dirty.add(credit.item)

    def _count(self, fact: ExperienceCredited, used: list[Record]) -> None:
        """Add an outcome to the sums that the regression is solved from."""
        family = self.families.get(fact.family)
        if family is None:
            family = self.families[fact.family] = Family()
        self.explained -= family.explained
        family.count(fact.outcome, fact.arm)
        self.explained += family.explained
        self.overall.count(fact.outcome, fact.arm)
        amount = round(fact.outcome * MICRO)
        for record in used:
            name = record.item.id
            record.total += amount
            if name in family.uses:
                family.uses[name] += 1
            else:
                family.uses[name] = 1
                record.families.append(fact.family)
            partners = record.partners
            for other in fact.used:
                if other in self.records:
                    partners[other] = partners.get(other, 0) + 1

    # ---- merging, and other vectors --------------------------------------------------------------------------

    def _merge(self, fact: ExperienceMerged) -> None:
        item, into = self.records.get(fact.item), self.records.get(fact.into)
        if item is None or into is None or not item.active or not into.active or item is into:
            return
        item.merged_into = fact.into
        item.kept = (into.mean, into.variance, fact.mean, fact.variance)
        item.lent = into.move(fact.mean, fact.variance)
        for field in ("recalled", "uses", "helpful", "harmful"):
            setattr(into, field, getattr(into, field) + getattr(item, field))
        self.dirty |= {fact.item, fact.into}

    def _split(self, fact: ExperienceSplit) -> None:
        item, out_of = self.records.get(fact.item), self.records.get(fact.out_of)
        if item is None or out_of is None or item.merged_into != fact.out_of:
            return
        out_of.mean, out_of.variance = fact.mean, fact.variance
        out_of.weight -= item.lent[0]
        out_of.moment -= item.lent[1]
        for field in ("recalled", "uses", "helpful", "harmful"):
            setattr(out_of, field, getattr(out_of, field) - getattr(item, field))
        item.merged_into, item.lent, item.kept = "", (0, 0), (0.0, 0.0, 0.0, 0.0)
        self.dirty |= {fact.item, fact.out_of}

    def _reembed(self, fact: ExperienceReembedded, seq: int) -> None:
        embedder, vectors = self.pending
        if embedder != fact.embedder:
            vectors = {}
        vectors = vectors | fact.vectors
        self.pending = (fact.embedder, vectors)
        if fact.last and vectors.keys() >= self.records.keys():
            self.owners, self.vectors, self.scoped = {}, [], {}
            for item, record in self.records.items():
                record.embedder, record.vector = fact.embedder, vectors[item]
                self._own(record, seq)
            self.dirty |= self.records.keys()
            self.embedder, self.pending = fact.embedder, ("", {})
            self.generation += 1


def fold(events: Iterable[Event]) -> MemoryState:
    """Return the state after *events*."""
    state = MemoryState()
    for event in events:
        state.apply(event)
    return state
