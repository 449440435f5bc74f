"""What becomes of items: duplicates merge, contradictions supersede, what is not asked for fades, what harms goes.

All of it is decided from the folded state alone, by rules and without any model, and becomes facts: nothing is lost,
and a merge can be taken back. The clock is the number of finished tasks.
"""

import math
import re
from collections.abc import Callable, Iterable

import msgspec

from synlearner.events.types import (
    Credit,
    ExperienceDecayed,
    ExperienceItem,
    ExperienceMerged,
    ExperienceRetired,
    ExperienceSplit,
)
from synlearner.memory.items import subject_of
from synlearner.memory.lexical import words
from synlearner.memory.records import EVIDENCE, PRIOR_MEAN, PRIOR_VARIANCE, Record, on_grid
from synlearner.memory.state import MemoryState

Fact = ExperienceMerged | ExperienceDecayed | ExperienceRetired
Near = Callable[[Record], Iterable[tuple[Record, float]]]
"""Returns the records whose vectors are like a record's, with the cosine."""

ORIGIN = ("task",)
"""Metadata that tells where an item is from, not what it says."""
NEGATIONS = frozenset({"avoid", "cannot", "don", "never", "no", "nor", "not", "t", "without"})
"""Words that turn what a text says."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


class LifeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When which of it happens."""

    alike: float = 0.97
    """Least cosine of duplicates."""
    words: float = 0.8
    """Least share of their words that duplicates have in common (Jaccard)."""
    idle: int = 20
    """Finished tasks without being learnt, chosen or credited, after which an item fades; again after every half of it."""
    forgotten: int = 100
    """Such tasks after which an item goes that was not found to help."""
    tried: int = 4
    """Outcomes from which on an item that is known to harm goes."""
    sure: float = 2.0
    """Posterior deviations below 0 at which it is known to."""


def duplicates(one: ExperienceItem, other: ExperienceItem, least: float = 0.8) -> bool:
    """Return whether two items of nearly the same vector also say the same, by their words.

    Polarity, type, scope, quoted words, numbers and negations must be equal, and all metadata but the origin: a cosine
    above .95 does not tell "frame 'a'" from "frame 'b'".
    """
    if (one.type, one.polarity, one.scope) != (other.type, other.polarity, other.scope):
        return False
    if _told(one) != _told(other) or _QUOTED.findall(one.content) != _QUOTED.findall(other.content):
        return False
    mine, theirs = set(words(one.content)), set(words(other.content))
    if (mine ^ theirs) & NEGATIONS:
        return False
    return len(mine & theirs) >= least * len(mine | theirs)


def contradicted(item: ExperienceItem, state: MemoryState) -> str:
    """Return the id of the item in memory that *item* contradicts; empty if there is none.

    Two contradict each other that are of one scope and opposite polarity, and say the same words or (as items of the
    loop do) judge the same `part` for the same `task`. Of several, the newest.
    """
    found = [
        record
        for name in state.subjects.get(subject_of(item), ())
        if (record := state.records[name]).active and record.item.polarity == -item.polarity
    ]
    return max(found, key=lambda record: (record.learned, record.item.id)).item.id if found else ""


def tidy(
    state: MemoryState, near: Near, settings: LifeSettings, keep: frozenset[str] = frozenset()
) -> list[tuple[Fact, tuple[int, ...]]]:
    """Return what the rules say should happen now to all items but *keep*, each with the seqs that led to it.

    An item is in one fact at most.
    """
    facts: list[tuple[Fact, tuple[int, ...]]] = []
    gone = set(keep)
    active = state.active()
    for record in active:
        if record.item.id in gone:
            continue
        if record.uses >= settings.tried and record.mean + settings.sure * math.sqrt(record.variance) < 0:
            reason = f"harmful: its gain is {record.mean:.3f} ± {math.sqrt(record.variance):.3f} after {record.uses} outcomes"
            facts.append((ExperienceRetired(item=record.item.id, reason=reason), (record.credited,)))
        elif state.tasks - record.touched >= settings.forgotten and record.mean <= 0:
            reason = f"forgotten: not asked for in {state.tasks - record.touched} tasks, and not found to help"
            facts.append((ExperienceRetired(item=record.item.id, reason=reason), (record.learned,)))
        else:
            continue
        gone.add(record.item.id)
    for record in active:
        if record.touched == state.tasks and record.item.id not in gone:
            for other, similarity in near(record):
                if other.item.id in gone or other is record or similarity < settings.alike or not other.active:
                    continue
                if duplicates(record.item, other.item, settings.words):
                    facts.append((merge(record, other, similarity), (record.learned, other.learned)))
                    gone |= {record.item.id, other.item.id}
                    break
    faded = [
        record for record in active if record.item.id not in gone and _fades(state.tasks - record.touched, settings)
    ]
    if faded:
        facts.append((ExperienceDecayed(credits=[_faded(record) for record in faded]), ()))
    return facts


def merge(one: Record, other: Record, similarity: float) -> ExperienceMerged:
    """Return the fact that the less used of two (then the younger) stands for the other no more: that one does."""
    into, item = sorted((one, other), key=lambda record: (-record.uses, record.learned, record.item.id))
    precision = max(1 / into.variance + 1 / item.variance - 1 / PRIOR_VARIANCE, 1 / PRIOR_VARIANCE)
    moment = into.mean / into.variance + item.mean / item.variance - PRIOR_MEAN / PRIOR_VARIANCE
    return ExperienceMerged(
        item=item.item.id, into=into.item.id, similarity=on_grid(similarity),
        mean=on_grid(moment / precision), variance=on_grid(1 / precision),
    )  # fmt: skip


def split(item: Record, out_of: Record) -> ExperienceSplit:
    """Return the fact that takes a merge back: the one that stayed gives up what the other had brought."""
    before, after = item.kept[:2], item.kept[2:]
    if (out_of.mean, out_of.variance) == after:
        mean, variance = before
    else:
        precision = max(1 / out_of.variance - item.lent[0] / EVIDENCE, 1 / PRIOR_VARIANCE)
        variance = on_grid(1 / precision)
        mean = on_grid((out_of.mean / out_of.variance - item.lent[1] / EVIDENCE) / precision)
    return ExperienceSplit(item=item.item.id, out_of=out_of.item.id, mean=mean, variance=variance)


def _told(item: ExperienceItem) -> dict[str, object]:
    return {key: value for key, value in item.metadata.items() if key not in ORIGIN}


def _fades(idle: int, settings: LifeSettings) -> bool:
    return idle >= settings.idle and (idle - settings.idle) % max(1, settings.idle // 2) == 0


def _faded(record: Record) -> Credit:
    """Return half of what is believed, half as firmly beside the prior."""
    variance = (record.variance + max(record.variance, PRIOR_VARIANCE)) / 2
    return Credit(item=record.item.id, mean=on_grid(record.mean / 2), variance=on_grid(variance), depth=0)
