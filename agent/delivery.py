"""Which of the accepted samples make up the data set. Pure.

Quality-weighted diversity within each label, equal shares first; near-duplicates and anything that stands in the
reporting data are left out.
"""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from synlearner.agent.cards import Card
from synlearner.agent.diversity import greedy_choice
from synlearner.agent.features import Matrix
from synlearner.agent.parsing import joined, normal
from synlearner.agent.scoring import PoolSample

NEAR = 0.95
"""Cosine from which on two samples say the same."""


def choose_dataset(
    card: Card,
    pool: Sequence[PoolSample],
    vectors_N_D: Matrix,
    reporting: AbstractSet[str],
) -> tuple[list[int], Counter[str]]:
    """Return the places in *pool* that are delivered, ascending, and how many others are not, by reason.

    Args:
        card: Says how many samples are wanted, and the labels that share them.
        pool: Accepted samples.
        vectors_N_D: Their unit rows.
        reporting: Normalised texts of the reporting data: a sample that equals one is never delivered.
    """
    ranked, left_out = _ranked_by_label(card, pool, vectors_N_D, reporting)
    labels = list(ranked)
    shares = [card.samples // len(labels) + (i < card.samples % len(labels)) for i in range(len(labels))]
    chosen = [i for label, share in zip(labels, shares, strict=True) for i in ranked[label][:share]]
    # What one label could not give, the others do, in turn: their best that is left.
    spare = [ranked[label][share:] for label, share in zip(labels, shares, strict=True)]
    depth = max(map(len, spare))
    extra = [rest[i] for i in range(depth) for rest in spare if i < len(rest)]
    chosen += extra[: card.samples - len(chosen)]
    left_out["spare"] = len(pool) - len(chosen) - left_out.total()
    return sorted(chosen), left_out


def _ranked_by_label(
    card: Card,
    pool: Sequence[PoolSample],
    vectors_N_D: Matrix,
    reporting: AbstractSet[str],
) -> tuple[dict[str, list[int]], Counter[str]]:
    left_out: Counter[str] = Counter()
    ranked: dict[str, list[int]] = {}
    for label in card.labels or {"": ""}:
        kept: list[int] = []
        for i in sorted((i for i, s in enumerate(pool) if s.label == label), key=lambda i: (-pool[i].worth, i)):
            if normal(joined(card, pool[i].row)) in reporting:
                left_out["test"] += 1
            elif kept and float((vectors_N_D[kept] @ vectors_N_D[i]).max()) >= NEAR:
                left_out["near_duplicate"] += 1
            else:
                kept.append(i)
        worths = np.array([pool[i].worth for i in kept])
        order = greedy_choice(vectors_N_D[kept], worths, min(len(kept), card.samples)) if kept else []
        ranked[label] = [kept[i] for i in order]
    return ranked, left_out
