"""What is solved when an outcome is credited: the sums of `MemoryState` as one linear system (`synlearner.memory.credit`)."""

import math
from collections.abc import Sequence

from synlearner.memory.linear import inverse, solve
from synlearner.memory.records import EVIDENCE, MICRO, PRIOR_MEAN, PRIOR_VARIANCE, on_grid
from synlearner.memory.state import MemoryState

NOISE_VARIANCE = 0.25**2
"""Of one outcome around what its family and its items explain, in squared units of the outcome, until it is known."""
NOISE_LIMITS = (0.1**2, 0.5**2)
BASELINE_VARIANCE = 0.15**2
"""Of the families' baselines around the mean of all outcomes, until it is known."""
BASELINE_LIMITS = (0.05**2, 0.3**2)
SHRINKAGE = 4.0
"""Outcomes of its own at which a family's recorded baseline counts as much as the mean of all families."""


class Regression:
    """The sums behind some items, with an outcome or an observation that is not in the state yet."""

    def __init__(self, state: MemoryState, items: Sequence[str]) -> None:
        self._items = items
        self._place = {item: place for place, item in enumerate(items)}
        self._noise = noise_of(state)
        self._prior = self._noise / PRIOR_VARIANCE
        self._baseline = self._noise / spread_of(state)
        self._records = [state.records[item] for item in items]
        self._state = state
        self._extra: tuple[str, float, list[str]] | None = None
        self._seen: tuple[str, float, float] | None = None

    def outcome(self, family: str, outcome: float, used: list[str]) -> "Regression":
        """Count an outcome too."""
        self._extra = (family, outcome, used)
        return self

    def observation(self, item: str, gain: float, noise: float) -> "Regression":
        """Count an observation too."""
        self._seen = (item, gain, noise)
        return self

    def gains(self) -> dict[str, tuple[float, float]]:
        """Return the (mean, variance) of each item's gain."""
        if not self._items:
            return {}
        means, shares = solve(*self._system())
        return {
            item: (on_grid(mean), least_variance(self._noise * share))
            for item, mean, share in zip(self._items, means, shares, strict=True)
        }

    def correlations(self) -> list[list[float]]:
        """Return the correlations of the items' gains, shape `(items, items)`: what is doubted of them together."""
        if not self._items:
            return []
        covariance = inverse(self._system()[0])
        roots = [math.sqrt(row[place]) for place, row in enumerate(covariance)]
        return [
            [on_grid(value / (root * other)) for value, other in zip(row, roots, strict=True)]
            for row, root in zip(covariance, roots, strict=True)
        ]

    def _system(self) -> tuple[list[list[float]], list[float]]:
        """Return K and h."""
        matrix, right = self._items_alone()
        extra = {self._extra[0]} if self._extra and self._extra[2] else set()
        for family in sorted(extra.union(*(record.families for record in self._records))):
            self._eliminate(family, matrix, right)
        return matrix, right

    def _items_alone(self) -> tuple[list[list[float]], list[float]]:
        """Return K and h without the families' share."""
        size = len(self._items)
        matrix = [[0.0] * size for _ in range(size)]
        right = [0.0] * size
        for row, record in enumerate(self._records):
            known = record.weight / EVIDENCE, record.moment / EVIDENCE
            matrix[row][row] = self._prior + self._noise * known[0]
            right[row] = record.total / MICRO + self._prior * PRIOR_MEAN + self._noise * known[1]
            for partner, count in sorted(record.partners.items()):
                column = self._place.get(partner)
                if column is None:
                    right[row] -= count * self._state.records[partner].mean
                else:
                    matrix[row][column] += count
        if self._extra:
            places = [self._place[item] for item in self._extra[2]]
            for row in places:
                right[row] += self._extra[1]
                for column in places:
                    matrix[row][column] += 1
        if self._seen:
            place = self._place[self._seen[0]]
            matrix[place][place] += self._noise / self._seen[2]
            right[place] += self._noise * self._seen[1] / self._seen[2]
        return matrix, right

    def _eliminate(self, name: str, matrix: list[list[float]], right: list[float]) -> None:
        """Take a family's baseline out of K and h."""
        family = self._state.families.get(name)
        uses = dict(family.uses) if family else {}
        count, total = (family.outcomes, family.total / MICRO) if family else (0, 0.0)
        if self._extra and self._extra[0] == name:
            count, total = count + 1, total + self._extra[1]
            for item in self._extra[2]:
                uses[item] = uses.get(item, 0) + 1
        overall = self._state.overall
        # The first outcome of all has nothing to be compared with: it is the mean.
        mean = overall.total / (overall.outcomes * MICRO) if overall.outcomes else total
        level = total + self._baseline * mean
        inside = []
        for item, used in sorted(uses.items()):
            if item in self._place:
                inside.append((self._place[item], used))
            else:
                level -= used * self._state.records[item].mean
        weight = 1 / (self._baseline + count)
        for row, mine in inside:
            right[row] -= mine * level * weight
            for column, theirs in inside:
                matrix[row][column] -= mine * theirs * weight


def noise_of(state: MemoryState) -> float:
    """Return the variance of outcomes within their families, shrunk towards NOISE_VARIANCE while there are few."""
    within = max(0, state.overall.squares - state.explained) / MICRO
    freedom = max(0, state.overall.outcomes - len(state.families))
    low, high = NOISE_LIMITS
    return min(high, max(low, (within + SHRINKAGE * NOISE_VARIANCE) / (freedom + SHRINKAGE)))


def spread_of(state: MemoryState) -> float:
    """Return the variance of the families' baselines, shrunk towards BASELINE_VARIANCE while there are few families.

    By moments: between F families of n outcomes each, the squares are about (F - 1) (noise + n x this).
    """
    freedom = max(0, len(state.families) - 1)
    if not freedom:
        return BASELINE_VARIANCE
    between = (state.explained - state.overall.explained) / MICRO - freedom * noise_of(state)
    each = state.overall.outcomes / len(state.families)
    low, high = BASELINE_LIMITS
    return min(high, max(low, (between / each + SHRINKAGE * BASELINE_VARIANCE) / (freedom + SHRINKAGE)))


def least_variance(value: float) -> float:
    """Return *value* on the grid of posteriors, and above 0."""
    return max(on_grid(value), 2.0**-30)
