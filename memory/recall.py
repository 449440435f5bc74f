"""Which experience to use: relevance decides who may be chosen, and what an item brought so far ranks them.

    similarity = cosine to the query, clamped to [0, 1]
    lexical    = BM25 as a share of the most that the query could give (`synlearner.memory.lexical`), in [0, 1)
    fusion     = 61/2 x (1 / (60 + dense rank) + 1 / (60 + lexical rank)), in [0, 1]; a rank of 0 adds nothing
    relevance  = max(similarity, lexical) x (1 + fusion) / 2; below `gate`, that maximum keeps an item out
    draw       = posterior mean + scale x posterior deviation x a seeded normal number (Thompson)
    teaches    = with a seed, what an outcome of its use would be worth to later choices (`synlearner.memory.knowledge`)
    later      = max(horizon, min(n, lifetime - n)) choices, n being the uses of the option that was used most
    score      = relevance x (1 + (draw + teaches), clamped to ±strength) / (1 + strength), in [0, 1]; ties by id

Up to k are chosen, one after the other: whoever has the largest score x (1 - diversity x overlap), the overlap being
the largest cosine to one that was chosen before; if it fits into what is left of the tokens. An item that is known to
harm (mean + `abstain` deviations below 0) is considered, but not chosen; nor, with a seed, one that is expected to
cost more than it teaches (mean + teaches below `least`). Polarity does not turn the sign of a gain: advice to avoid
something that helps has a positive one.

How many choices are to come nobody knows: as many as came so far is the median for somebody who looks at a random
moment (Gott, Nature 1993), and no more than `lifetime` leaves. So little is spent on learning before much is known to
be asked, most in the middle, and little at the end.

Everything is computed in one fixed order from float64, so a recorded recall can be recomputed to the last bit;
docs/MEMORY.md does one by hand.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np

from synlearner.errors import ConfigError
from synlearner.events.chance import derive_seed
from synlearner.events.types import Candidate
from synlearner.memory.codes import Matrix
from synlearner.memory.index import exact_cosines
from synlearner.memory.knowledge import Knowledge, Together, independent

RRF = 60.0
"""Reciprocal rank fusion's constant: Cormack, Clarke and Büttcher (SIGIR 2009)."""
REPEATS = 64
"""Repetitions of the draws that propensities are counted in."""

_NORMAL = NormalDist()


class RecallSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How recall chooses."""

    gate: float = 0.25
    """Least similarity, or lexical share."""
    strength: float = 0.3
    """Most that utility may change a score, as a part of the relevance; 0 ranks by relevance alone."""
    scale: float = 0.12
    """Thompson scale: 0 never draws, 1 is the textbook."""
    horizon: float = 30.0
    """Least later outcomes that a choice is made for too: what its outcome would teach counts so often; 0 never asks."""
    lifetime: float = 240.0
    """Outcomes expected in all: while more are left than the horizon, as many count as came so far; 0: the horizon."""
    least: float = 0.0
    """Gain that is expected of a chosen item, what it teaches included; where what it teaches is asked."""
    abstain: float = 2.0
    """Posterior deviations below 0 from which on an item is not chosen."""
    diversity: float = 0.3
    """What an item's score loses if it equals one that is chosen, as a part of it."""
    tokens: float = 600.0
    """Most that the chosen ones may take in a prompt."""
    pool: int = 12
    """Most items that are considered by similarity, and most by words."""


class Option(msgspec.Struct, frozen=True):
    """An item that recall may consider."""

    item: str
    vector: Matrix
    """Unit length, shape `(dimension,)`."""
    mean: float
    variance: float
    dense_rank: int = 0
    """From 1 among the nearest; 0 if it is none of them."""
    lexical: float = 0.0
    lexical_rank: int = 0
    """From 1 among those that share most words; 0 if it is none of them."""
    tokens: int = 0
    uses: int = 0
    """Outcomes that it was used for."""


def recorded(settings: RecallSettings) -> dict[str, float]:
    """Return *settings* as an event holds them."""
    return {name: float(value) for name, value in msgspec.to_builtins(settings).items()}


def settings_from(recorded: dict[str, float]) -> RecallSettings:
    """Return the settings that an event holds. Raises ConfigError if it holds none (version 1 did not)."""
    if not recorded:
        raise ConfigError("this recall was recorded without its settings (version 1): it cannot be recomputed")
    # Earlier recalls did not look beyond themselves, or always equally far, and nobody was left out for a low mean.
    before = {"horizon": 0.0, "lifetime": 0.0, "least": -math.inf}
    return msgspec.convert({**before, **recorded, "pool": int(recorded["pool"])}, RecallSettings)


def recall(
    query: Matrix,
    options: Sequence[Option],
    *,
    k: int,
    seed: int | None,
    settings: RecallSettings,
    together: Together = independent,
) -> list[Candidate]:
    """Return the relevant *options* as candidates, best first, with up to *k* of them chosen.

    Args:
        query: Unit vector, shape `(dimension,)`.
        options: In any order.
        k: Most items to choose; 0 considers nobody.
        seed: Of the Thompson draws; None takes the posterior mean.
        settings: How to choose.
        together: What is doubted of the options' gains together; only asked with a seed and a horizon.

    """
    if k == 0 or not options:
        return []
    vectors = np.stack([option.vector for option in options])
    entries = []
    for place, (cosine, option) in enumerate(zip(exact_cosines(vectors, query), options, strict=True)):
        similarity = _unit(cosine)
        if max(similarity, option.lexical) >= settings.gate:
            fused = relevance(similarity, option.lexical, option.dense_rank, option.lexical_rank)
            entries.append((similarity, fused, option, place))
    entries.sort(key=lambda entry: entry[2].item)
    kept = vectors[[place for *_, place in entries]] if entries else vectors[:0]
    overlaps = Overlaps(kept)
    given = [option for _, _, option, _ in entries]
    draws = [_draw(option, settings, None if seed is None else normal(seed, option.item)) for option in given]
    choice = Choice([fused for _, fused, _, _ in entries], given, overlaps, k, settings)
    if seed is not None and settings.horizon:
        choice.learn_from(together)
    chosen, reasons, overlap, worth = choice.made(draws)
    propensities = _propensities(choice, given, seed, settings, chosen)
    candidates = [
        Candidate(
            item=option.item, similarity=similarity, lexical=option.lexical, dense_rank=option.dense_rank,
            lexical_rank=option.lexical_rank, relevance=fused, utility=option.mean,
            deviation=math.sqrt(option.variance), draw=draws[place], score=score(fused, worth[place], settings.strength),
            overlap=overlap[place], tokens=option.tokens, propensity=propensities[place], chosen=place in chosen,
            reason=reasons[place],
        )
        for place, (similarity, fused, option, _) in enumerate(entries)
    ]  # fmt: skip
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.item))


def relevance(similarity: float, lexical: float, dense_rank: int, lexical_rank: int) -> float:
    """Return in [0, 1] how much an item has to do with the query, by likeness and by words."""
    ranks = [1 / (RRF + rank) for rank in (dense_rank, lexical_rank) if rank]
    fusion = (RRF + 1) / 2 * math.fsum(ranks)
    return max(similarity, lexical) * (1 + fusion) / 2


def score(relevance_: float, draw: float, strength: float) -> float:
    """Return the score in [0, 1] of a *relevance* in [0, 1] and a *draw* of the gain, in units of the outcome."""
    return relevance_ * (1.0 + min(strength, max(-strength, draw))) / (1.0 + strength)


def normal(seed: int, item: str) -> float:
    """Return a standard normal number for *item*: the same on every machine and with every version of numpy."""
    return _normals(derive_seed(seed, item), 1)[0]


def _normals(key: int, count: int) -> list[float]:
    """Return standard normal numbers.

    From the raw bits of Philox (fixed by its definition) through the inverse distribution function; numpy's own
    normal numbers may change between its versions.
    """
    raw = np.atleast_1d(np.random.Philox(key=key).random_raw(count))
    return [_NORMAL.inv_cdf(((int(bits) >> 11) + 0.5) * 2.0**-53) for bits in raw]


def _draw(option: Option, settings: RecallSettings, chance: float | None) -> float:
    if chance is None:
        return option.mean
    return option.mean + settings.scale * math.sqrt(option.variance) * chance


class Overlaps:
    """Cosines between the options, clamped to [0, 1], computed when they are asked for."""

    def __init__(self, vectors: Matrix) -> None:
        self._vectors = vectors
        self._rows: dict[int, list[float]] = {}

    def of(self, place: int) -> list[float]:
        """Return the overlap of every option with the one at *place*."""
        if place not in self._rows:
            self._rows[place] = [_unit(cosine) for cosine in exact_cosines(self._vectors, self._vectors[place])]
        return self._rows[place]


class Choice:
    """Choosing up to *k* of options that are sorted by id, again and again with other draws.

    Args:
        relevances: Of each option.
        options: Sorted by id.
        overlaps: Cosines between them; None where diversity is not asked for.
        k: Most to choose.
        settings: How to choose.

    """

    def __init__(
        self,
        relevances: Sequence[float],
        options: Sequence[Option],
        overlaps: Overlaps | None,
        k: int,
        settings: RecallSettings,
    ) -> None:
        self._relevances, self._options, self._overlaps = relevances, options, overlaps
        self._k, self._settings = k, settings
        self._harmless = [option.mean + settings.abstain * math.sqrt(option.variance) >= 0 for option in options]
        self._knowledge: Knowledge | None = None

    def learn_from(self, together: Together) -> None:
        """Count what a choice would teach, too; and from now on choose nobody who is expected to cost more."""
        settings, options = self._settings, self._options
        means = [option.mean for option in options]
        scores = sorted(
            (
                score(relevance_, mean, settings.strength)
                for relevance_, mean, harmless in zip(self._relevances, means, self._harmless, strict=True)
                if harmless
            ),
            reverse=True,
        )
        if len(scores) > self._k:
            cut = (scores[self._k - 1] + scores[self._k]) / 2 * (1 + settings.strength)
            levels = [cut / relevance_ - 1 if relevance_ else math.inf for relevance_ in self._relevances]
        elif options and settings.least > -math.inf:
            levels = [settings.least] * len(options)
        else:
            return  # all of them are chosen, whatever is learnt
        correlations, noise = together([option.item for option in options])
        deviations = [math.sqrt(option.variance) for option in options]
        seen = max(option.uses for option in options)
        later = max(settings.horizon, min(seen, settings.lifetime - seen))
        self._knowledge = Knowledge(means, deviations, correlations, levels, noise, later)

    def made(self, draws: Sequence[float]) -> tuple[set[int], list[str], list[float], list[float]]:
        """Return the places of the chosen ones; for all why they were not, their overlap, and draw + teaches."""
        settings, options = self._settings, self._options
        reasons = ["worse" if harmless else "harms" for harmless in self._harmless]
        waiting = [place for place, reason in enumerate(reasons) if reason == "worse"]
        overlap = [0.0] * len(options)
        final = list(draws)
        chosen: list[int] = []
        left = settings.tokens
        knowledge = self._knowledge.begun() if self._knowledge is not None else None
        pays = waiting
        while waiting and len(chosen) < self._k:
            if knowledge is not None:
                worth = knowledge.worth()
                for place in waiting:
                    final[place] = draws[place] + worth[place]
                pays = [place for place in waiting if options[place].mean + worth[place] >= settings.least]
                if not pays:
                    for place in waiting:
                        reasons[place] = "lowers"
                    break
            # Options are sorted by id, and the first of equals wins.
            best = max(pays, key=lambda place: self._value(place, final, overlap))
            waiting.remove(best)
            if options[best].tokens > left:
                reasons[best] = "budget"
                continue
            left -= options[best].tokens
            chosen.append(best)
            reasons[best] = ""
            if knowledge is not None:
                knowledge.use(best)
            if settings.diversity and self._overlaps is not None:
                nearer = self._overlaps.of(best)
                for place in range(len(options)):
                    if place not in chosen:
                        overlap[place] = max(overlap[place], nearer[place])
        return set(chosen), reasons, overlap, final

    def _value(self, place: int, draws: Sequence[float], overlap: Sequence[float]) -> float:
        settings = self._settings
        rank = score(self._relevances[place], draws[place], settings.strength)
        return rank * (1 - settings.diversity * overlap[place])


def _propensities(
    choice: Choice, options: Sequence[Option], seed: int | None, settings: RecallSettings, chosen: set[int]
) -> list[float]:
    """Return how often each is chosen when the draws are repeated, the recorded draw included; 0 without a seed."""
    if seed is None:
        return [0.0] * len(options)
    counts = [float(place in chosen) for place in range(len(options))]
    chances = [_normals(derive_seed(seed, option.item, "propensity"), REPEATS) for option in options]
    for turn in range(REPEATS):
        draws = [_draw(option, settings, chance[turn]) for option, chance in zip(options, chances, strict=True)]
        for place in choice.made(draws)[0]:
            counts[place] += 1
    return [count / (REPEATS + 1) for count in counts]


def _unit(cosine: float) -> float:
    return min(1.0, max(0.0, cosine)) + 0.0
