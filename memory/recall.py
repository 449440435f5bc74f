"""Which experience to use: relevance decides who may be chosen, and what an item brought so far ranks them.

    similarity = cosine to the query, clamped to [0, 1]; below `gate` nobody is considered
    draw       = posterior mean + scale x posterior deviation x a seeded normal number (Thompson)
    score      = similarity x (1 + draw, clamped to ±strength) / (1 + strength), in [0, 1]; ties by id

An item that is known to harm (mean + `abstain` deviations below 0) is considered, but not chosen. Polarity does not
turn the sign of a gain: advice to avoid something that helps has a positive one.

Everything is computed in one fixed order from float64, so a recorded recall can be recomputed to the last bit.
Source: reference/memory.md §4.3.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np

from synlearner.events.chance import derive_seed
from synlearner.events.types import Candidate
from synlearner.memory.index import Matrix, exact_cosines

_NORMAL = NormalDist()


class RecallSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How recall chooses."""

    gate: float = 0.25
    """Least similarity."""
    strength: float = 0.3
    """Most that utility may change a score, as a part of the similarity; 0 ranks by similarity alone."""
    scale: float = 0.2
    """Thompson scale: 0 never explores, 1 is the textbook."""
    abstain: float = 2.0
    """Posterior deviations below 0 from which on an item is not chosen."""
    pool: int = 16
    """Most items that are considered, by similarity."""


class Option(msgspec.Struct, frozen=True):
    """An item that recall may consider."""

    item: str
    vector: Matrix
    """Unit length, shape `(dimension,)`."""
    mean: float
    variance: float


def recall(
    query: Matrix, options: Sequence[Option], *, k: int, seed: int | None, settings: RecallSettings
) -> list[Candidate]:
    """Return the relevant *options* as candidates, best first, with up to *k* of them chosen.

    Args:
        query: Unit vector, shape `(dimension,)`.
        options: In any order; the `pool` (or *k*) most similar are considered.
        k: Most items to choose; 0 considers nobody.
        seed: Of the Thompson draws; None takes the posterior mean.
        settings: How to choose.

    """
    if k == 0 or not options:
        return []
    cosines = exact_cosines(np.stack([option.vector for option in options]), query)
    near = sorted(zip(cosines, options, strict=True), key=lambda pair: (-pair[0], pair[1].item))
    ranked = []
    for cosine, option in near[: max(settings.pool, k)]:
        similarity = min(1.0, max(0.0, cosine))
        if similarity >= settings.gate:
            draw = option.mean
            if seed is not None:
                draw += settings.scale * math.sqrt(option.variance) * normal(seed, option.item)
            ranked.append((score(similarity, draw, settings.strength), similarity, draw, option))
    ranked.sort(key=lambda entry: (-entry[0], entry[3].item))
    candidates, left = [], k
    for score_, similarity, draw, option in ranked:
        harms = option.mean + settings.abstain * math.sqrt(option.variance) < 0
        chosen = left > 0 and not harms
        left -= chosen
        candidates.append(
            Candidate(
                item=option.item, similarity=similarity, utility=option.mean, draw=draw, score=score_, chosen=chosen
            )
        )
    return candidates


def score(similarity: float, draw: float, strength: float) -> float:
    """Return the score in [0, 1] of a *similarity* in [0, 1] and a *draw* of the gain, in units of the outcome."""
    return similarity * (1.0 + min(strength, max(-strength, draw))) / (1.0 + strength)


def normal(seed: int, item: str) -> float:
    """Return a standard normal number for *item*: the same on every machine and with every version of numpy.

    From the raw bits of Philox (fixed by its definition) through the inverse distribution function; numpy's own
    normal numbers may change between its versions.
    """
    raw = int(np.random.Philox(key=derive_seed(seed, item)).random_raw()) >> 11
    return _NORMAL.inv_cdf((raw + 0.5) * 2.0**-53)
