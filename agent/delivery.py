"""Which of the accepted samples make up the data set. Pure.

Quality-weighted diversity within each label, equal shares first. Where that leaves the set less diverse than it has to be,
quality weighs less. Left out are what leaked from the reporting data, and what a better sample of the label already
says: in nearly the same words, or in others that mean the same.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DeliverySettings, Settings
from synlearner.agent.constraints import below_floor
from synlearner.agent.diversity import greedy_choice
from synlearner.agent.features import Matrix
from synlearner.agent.overlap import leaked, near_copies
from synlearner.agent.parsing import joined, normal
from synlearner.agent.scoring import PoolSample
from synlearner.agent.task_state import TaskState

POWERS = (1.0, 0.5, 0.25)
"""What worth is raised to, in turn, until the set is diverse enough. Below a quarter fidelity suffers (docs/LOG.md)."""


def deliver(
    task: TaskState,
    candidates: Sequence[PoolSample],
    vectors_N_D: Matrix,
    reference_M_D: Matrix,
    reporting: Sequence[Row],
    settings: Settings,
) -> tuple[list[int], Counter[str]]:
    """Return what `choose_dataset` chooses for *task*, held to its floor of diversity.

    Args:
        task: With the samples of the untrained policy.
        candidates: Samples to choose from.
        vectors_N_D: Their unit rows.
        reference_M_D: Those of the untrained policy's samples.
        reporting: Rows that no chosen one may share its wording with.
        settings: Of the run.
    """
    leaks = leaked(task.card, [sample.row for sample in candidates], reporting, settings.delivery)

    def too_alike(places: list[int]) -> bool:
        chosen = [candidates[i] for i in places]
        return below_floor(task, chosen, vectors_N_D[places], reference_M_D, settings.constraints)

    return choose_dataset(task.card, candidates, vectors_N_D, leaks, settings.delivery, too_alike)


def choose_dataset(
    card: Card,
    pool: Sequence[PoolSample],
    vectors_N_D: Matrix,
    leaks: AbstractSet[int],
    rule: DeliverySettings,
    too_alike: Callable[[list[int]], bool] = lambda _: False,
) -> tuple[list[int], Counter[str]]:
    """Return the places in *pool* that are delivered, ascending, and how many others are not, by reason.

    Args:
        card: Says how many samples are wanted, and the labels that share them.
        pool: Accepted samples.
        vectors_N_D: Their unit rows.
        leaks: Places in *pool* of samples that share their wording with the reporting data: they are never delivered.
        rule: What near-duplicates are.
        too_alike: Tells whether the samples at such places are less diverse than a set has to be.
    """
    kept, left_out = _kept_by_label(card, pool, vectors_N_D, leaks, rule)
    chosen: list[int] = []
    for power in POWERS:
        ranked = {label: _ranked(card, pool, vectors_N_D, places, power) for label, places in kept.items()}
        chosen = sorted(_shared_out(card, ranked))
        if not too_alike(chosen):
            break
    left_out["spare"] = len(pool) - len(chosen) - left_out.total()
    return chosen, left_out


def _shared_out(card: Card, ranked: dict[str, list[int]]) -> list[int]:
    """Return the first of each label, in equal shares."""
    labels = list(ranked)
    shares = [card.samples // len(labels) + (i < card.samples % len(labels)) for i in range(len(labels))]
    chosen = [i for label, share in zip(labels, shares, strict=True) for i in ranked[label][:share]]
    # What one label could not give, the others do, in turn: their best that is left.
    spare = [ranked[label][share:] for label, share in zip(labels, shares, strict=True)]
    depth = max(map(len, spare))
    extra = [rest[i] for i in range(depth) for rest in spare if i < len(rest)]
    return chosen + extra[: card.samples - len(chosen)]


def _ranked(card: Card, pool: Sequence[PoolSample], vectors_N_D: Matrix, places: list[int], power: float) -> list[int]:
    """Return *places* as they are chosen: each adds most to the quality-weighted diversity of those before it."""
    worths = np.array([pool[i].worth for i in places]) ** power
    order = greedy_choice(vectors_N_D[places], worths, min(len(places), card.samples)) if places else []
    return [places[i] for i in order]


def shortfall(card: Card, labels: Sequence[str]) -> str:
    """Return what a data set with these labels lacks of what the card wants; an empty text where it lacks nothing."""
    none = [repr(label) for label in card.labels if label not in set(labels)]
    if len(labels) >= card.samples and not none:
        return ""
    without = f", none of {', '.join(none)}" if none else ""
    return f"{len(labels)} of {card.samples} wanted{without}: no more passed in the rounds that the settings allow"


def _kept_by_label(
    card: Card,
    pool: Sequence[PoolSample],
    vectors_N_D: Matrix,
    leaks: AbstractSet[int],
    rule: DeliverySettings,
) -> tuple[dict[str, list[int]], Counter[str]]:
    """Return the places of each label that are not left out, the worthiest first, and how many are, by reason."""
    left_out: Counter[str] = Counter()
    kept: dict[str, list[int]] = {}
    copies = _copies(card, pool, rule)
    for label in card.labels or {"": ""}:
        mine: list[int] = []
        for i in sorted((i for i, s in enumerate(pool) if s.label == label), key=lambda i: (-pool[i].worth, i)):
            reason = "test" if i in leaks else _repeats(i, mine, vectors_N_D, copies[i], rule)
            if reason:
                left_out[reason] += 1
            else:
                mine.append(i)
        kept[label] = mine
    return kept, left_out


def _copies(card: Card, pool: Sequence[PoolSample], rule: DeliverySettings) -> dict[int, set[int]]:
    """Return for every sample the places of those that are worded like it."""
    found: dict[int, set[int]] = defaultdict(set)
    texts = [normal(joined(card, sample.row)) for sample in pool]
    for i, j in near_copies(texts, texts, rule.near_wording) if rule.near_wording else ():
        found[i].add(j)
    return found


def _repeats(place: int, kept: list[int], vectors_N_D: Matrix, copies: AbstractSet[int], rule: DeliverySettings) -> str:
    """Return in what way a sample repeats one of its label that is kept, or an empty text."""
    if not copies.isdisjoint(kept):
        return "near_copy"
    if kept and rule.near_meaning and float((vectors_N_D[kept] @ vectors_N_D[place]).max()) >= rule.near_meaning:
        return "near_duplicate"
    return ""
