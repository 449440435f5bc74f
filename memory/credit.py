r"""Who earned an outcome: one joint Bayesian regression over all items that were ever used together.

An outcome is explained by its family's baseline plus the gains of the items that were used, with normal noise:

    y = b_family + sum of g_i over the used items + e          g_i ~ N(0, .15^2)   b_f ~ N(mean of all, t2)   e ~ N(0, s2)

The memory keeps integer sums (`synlearner.memory.records`): how often two items were used together, the outcomes each
was used for, and the same for each family. With n_ij, y_i, n_fi, n_f, y_f of these sums, s2 the noise, P the prior
precision x s2, P_b = s2 / t2, and every baseline eliminated, the gains are the solution of

    K_ij = n_ij + [i = j] (P + s2 w_i) - sum_f n_fi n_fj / (P_b + n_f)
    h_i  = y_i + s2 m_i - sum_f n_fi (y_f + P_b mean) / (P_b + n_f)              g = K^-1 h      var g = s2 K^-1

where w_i and m_i are what is known from elsewhere (a person's judgement, a finished task, another home). Only the used
items and those they were used beside before are solved for; others stand at their mean. The solution goes into the
event, so a fold only takes it over. `s2` is the variance of outcomes within their families, between .1^2 and .5^2;
`t2` that between the families, between .05^2 and .3^2; each as far as it is known.

An item that comes along with better ones is not praised for them, as equal shares would do: `benchmarks/bench_memory_credit.py` compares.
Items that others were learnt from move by `DISCOUNT` of their descendants' move for each step along provenance.
"""

import math
from collections.abc import Iterable, Sequence

from synlearner.errors import ConfigError
from synlearner.events.types import Credit, ExperienceCredited
from synlearner.memory.knowledge import Together
from synlearner.memory.records import MICRO, PRIOR_MEAN, PRIOR_VARIANCE, Record, on_grid
from synlearner.memory.regression import NOISE_VARIANCE, SHRINKAGE, Regression, least_variance, noise_of
from synlearner.memory.state import MemoryState

__all__ = ["NOISE_VARIANCE", "ancestors", "baseline_of", "credit", "doubts", "evidence", "joint_update", "observed"]

NEIGHBOURS = 20
"""Most items that are solved for beside the used ones: those that were used beside them most often."""
DISCOUNT = 0.5
STEPS = 3
"""An ancestor moves by DISCOUNT^n of its descendant's move, up to so many steps away."""
LEAST = 2.0**-12
"""A neighbour that would move by less stays where it is."""


def credit(outcome: float, family: str, items: Iterable[str], state: MemoryState, *, arm: str = "") -> ExperienceCredited:  # fmt: skip
    """Return the fact that attributes *outcome* to *items*. The order of the items does not matter.

    Args:
        outcome: Higher is better, in one unit within the family; about [0, 1] suits the settings.
        family: What the outcome is compared with.
        items: Ids of the items that were used; superseded and merged ones stand for what they live on in. May be empty.
        state: Before the outcome.
        arm: `memory` or `control` where chance decided whether memory was used.

    Raises:
        ConfigError: If the outcome is not a finite number, or an item is unknown.

    """
    _check(outcome, family)
    outcome = round(outcome, 6) + 0.0
    used = {record.item.id: record for record in map(state.newest, items)}
    names = sorted(used)
    solved = Regression(state, _local(names, state)).outcome(family, outcome, names).gains()
    return ExperienceCredited(
        family=family,
        outcome=outcome,
        baseline=on_grid(baseline_of(family, state)) if state.overall.outcomes else outcome,
        noise=0.0,
        arm=arm,
        used=names,
        credits=_credits(solved, names, state),
    )


def observed(
    gain: float,
    noise: float,
    family: str,
    item: str,
    state: MemoryState,
    prior: tuple[float, float] | None = None,
) -> ExperienceCredited:
    """Return the fact that the gain of *item* itself was observed: by a person, a finished task, another home.

    Args:
        gain: What it was observed to bring, in units of the outcome.
        noise: Variance of that observation, above 0.
        family: Where it was observed.
        item: Its id, superseded and merged ones as in `credit`.
        state: Before the observation.
        prior: Mean and variance that an item starts with which is just being learnt, if it is not a stranger's.

    Raises:
        ConfigError: If a number is not finite, or *noise* is not above 0.

    """
    _check(gain, family)
    if not (math.isfinite(noise) and noise > 0):
        raise ConfigError(f"noise {noise!r} of {family!r} is not a variance above 0: 0.0625 is that of one outcome")
    gain = gain + 0.0
    if prior is not None or item not in state.records:
        mean, variance = prior or (PRIOR_MEAN, PRIOR_VARIANCE)
        precision = 1 / variance + 1 / noise
        mean = (mean / variance + gain / noise) / precision
        credits_ = [Credit(item=item, mean=on_grid(mean), variance=least_variance(1 / precision), depth=0)]
    else:
        item = state.newest(item).item.id
        solved = Regression(state, _local([item], state)).observation(item, gain, noise).gains()
        credits_ = _credits(solved, [item], state)
    return ExperienceCredited(
        family=family, outcome=gain, baseline=0.0, noise=noise, arm="", used=[item], credits=credits_
    )


def evidence(mean: float, variance: float) -> tuple[float, float] | None:
    """Return the (gain, noise) of the one observation that leads from the prior to a posterior; None if none does."""
    precision = 1 / variance - 1 / PRIOR_VARIANCE
    if precision <= 1.0:
        return None
    return (mean / variance - PRIOR_MEAN / PRIOR_VARIANCE) / precision + 0.0, 1 / precision


def doubts(state: MemoryState) -> Together:
    """Return what says which doubts of items' gains go together, and how much outcomes vary."""

    def together(items: Sequence[str]) -> tuple[Sequence[Sequence[float]], float]:
        return Regression(state, items).correlations(), noise_of(state)

    return together


def baseline_of(family: str, state: MemoryState) -> float:
    """Return the mean outcome of *family*, shrunk towards the mean of all while it has few; 0 if there are none."""
    if not state.overall.outcomes:
        return 0.0
    overall = state.overall.total / (state.overall.outcomes * MICRO)
    own = state.families.get(family)
    if own is None:
        return overall
    return (own.total / MICRO + SHRINKAGE * overall) / (own.outcomes + SHRINKAGE)


def joint_update(
    posteriors: Sequence[tuple[float, float]], surprise: float, noise: float = NOISE_VARIANCE
) -> list[tuple[float, float]]:
    """Return the (mean, variance) of gains that acted together, after an outcome of baseline + *surprise*.

    One step of the same regression with independent posteriors, for those who keep no sums; *noise* is the variance of
    what nothing explains:

        r = surprise - sum m_j        k_i = v_i / (noise + sum v_j)        m_i += k_i r        v_i *= 1 - k_i

    The order does not matter: fsum is exact.
    """
    residual = surprise - math.fsum(mean for mean, _ in posteriors)
    spread = noise + math.fsum(variance for _, variance in posteriors)
    gains = [variance / spread for _, variance in posteriors]
    return [(m + k * residual + 0.0, v * (1.0 - k)) for (m, v), k in zip(posteriors, gains, strict=True)]


def _local(used: Sequence[str], state: MemoryState) -> list[str]:
    """Return the *used* items, and those that were used beside them most often."""
    counts: dict[str, int] = {}
    for item in used:
        for partner, count in state.records[item].partners.items():
            counts[partner] = counts.get(partner, 0) + count
    near = sorted(counts.keys() - set(used), key=lambda item: (-counts[item], item))
    return sorted([*used, *near[:NEIGHBOURS]])


def _credits(solved: dict[str, tuple[float, float]], used: Sequence[str], state: MemoryState) -> list[Credit]:
    """Return what moves: the used items, their neighbours where it matters, and ancestors."""
    credits_ = []
    for item, (mean, variance) in solved.items():
        if item in used or abs(mean - state.records[item].mean) >= LEAST:
            credits_.append(Credit(item=item, mean=mean, variance=variance, depth=0))
    moves: dict[str, tuple[float, int]] = {}
    for item in used:
        for ancestor, depth in ancestors(state.records[item], state):
            if ancestor not in solved:
                move = DISCOUNT**depth * (solved[item][0] - state.records[item].mean)
                before = moves.get(ancestor, (0.0, depth))
                moves[ancestor] = (before[0] + move, min(before[1], depth))
    for ancestor, (move, depth) in sorted(moves.items()):
        record = state.records[ancestor]
        # The better known it is, the less it moves.
        mean = on_grid(record.mean + move * min(1.0, record.variance / PRIOR_VARIANCE))
        credits_.append(Credit(item=ancestor, mean=mean, variance=record.variance, depth=depth))
    return credits_


def ancestors(record: Record, state: MemoryState) -> list[tuple[str, int]]:
    """Return the (item, steps) that *record* was learnt from, nearest first, each once."""
    found: dict[str, int] = {}
    layer = [record]
    for depth in range(1, STEPS + 1):
        names = sorted({parent for each in layer for parent in each.parents if parent in state.records})
        layer = [state.newest(name) for name in names]
        for each in layer:
            if each.item.id != record.item.id:
                found.setdefault(each.item.id, depth)
    return list(found.items())


def _check(outcome: float, family: str) -> None:
    if not math.isfinite(outcome):
        raise ConfigError(f"outcome {outcome!r} of {family!r} is not a finite number: leave a failed outcome out")
