"""Floors under diversity and fidelity: multipliers rise while a floor is missed, and pull at three levers. Pure.

Primal-dual ascent on a Lagrangian: with the floor `f` and the measured `v`, after every round

    m <- clip(m + rate (f - v) / f, 0, most)

Both floors come from the untrained policy with the plain prompt, and both are measured at equal n, the labels in equal
shares. While diversity is short, its part of the reward weighs `1 + m` times as much, temperature rises, and more is
accepted before the choice is made; fidelity's multiplier does the same for its part, and takes temperature back. The
choice of what is delivered is held to the floor of diversity as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synlearner.agent.cards import Card
from synlearner.agent.config import ConstraintSettings, RewardSettings
from synlearner.agent.diversity import vendi
from synlearner.agent.features import Matrix
from synlearner.agent.scoring import PoolSample
from synlearner.agent.task_state import TaskState
from synlearner.events.types import ConstraintsAdjusted

WINDOW = 64
"""Newest accepted samples whose diversity is looked at."""

FEWEST = 8
"""Fewer samples on each side say nothing of diversity."""

LEAST = {"diversity": 1.0, "fidelity": 0.25}
"""What a miss is a share of, at least: of a floor near 0 every miss would be huge."""

COOLEST, HOTTEST = 0.75, 1.4
"""Bounds of the factor on temperature."""


def adjust(
    task: TaskState,
    pool_N_D: Matrix,
    reference_N_D: Matrix,
    reference_fidelity: Sequence[float],
    settings: ConstraintSettings,
) -> ConstraintsAdjusted:
    """Return the multipliers after a scored round.

    Args:
        task: With its pool, and the samples of the untrained policy.
        pool_N_D: Unit rows of the pool.
        reference_N_D: Unit rows of the untrained policy's samples.
        reference_fidelity: The judge's opinion of them.
        settings: Floors as shares of the untrained policy's figures, and how fast multipliers move.
    """
    mine, theirs = matched(task.card, task.pool, task.reference)
    values: dict[str, float] = {}
    floors: dict[str, float] = {}
    if settings.diversity and len(mine) >= FEWEST:
        values["diversity"] = vendi(pool_N_D[mine])
        floors["diversity"] = settings.diversity * vendi(reference_N_D[theirs])
    if settings.fidelity and task.reference_asked and task.round.scores:
        values["fidelity"] = _mean([score.parts.get("fidelity", 0.0) for score in task.round.scores])
        # What could not be read counts as nothing on both sides.
        floors["fidelity"] = settings.fidelity * max(0.0, sum(reference_fidelity) / task.reference_asked)
    multipliers = dict(task.multipliers)
    for name, floor in floors.items():
        miss = (floor - values[name]) / max(floor, LEAST[name])
        multipliers[name] = min(settings.most, max(0.0, multipliers.get(name, 0.0) + settings.rate * miss))
    return ConstraintsAdjusted(
        round=task.round.number,
        compared=len(mine),
        values=_rounded(values),
        floors=_rounded(floors),
        multipliers=_rounded(multipliers),
    )


def matched(card: Card, pool: Sequence[PoolSample], reference: Sequence[PoolSample]) -> tuple[list[int], list[int]]:
    """Return places of the newest of *pool* and of the first of *reference*, equally many of each label on both sides."""
    mine: list[int] = []
    theirs: list[int] = []
    for label in card.labels or [""]:
        newest = [i for i, sample in enumerate(pool) if sample.label == label][::-1]
        first = [i for i, sample in enumerate(reference) if sample.label == label]
        count = min(len(newest), len(first), max(1, WINDOW // max(1, len(card.labels))))
        mine += newest[:count]
        theirs += first[:count]
    return mine, theirs


def below_floor(
    task: TaskState,
    chosen: Sequence[PoolSample],
    chosen_N_D: Matrix,
    reference_N_D: Matrix,
    settings: ConstraintSettings,
) -> bool:
    """Tell whether the *chosen* samples are less diverse than the floor, at equal n. Too few of either side say nothing.

    The arrays are their unit rows, and those of the untrained policy's samples.
    """
    mine, theirs = matched(task.card, chosen, task.reference)
    if not settings.diversity or len(mine) < FEWEST:
        return False
    found = vendi(chosen_N_D[mine])
    return found < settings.diversity * vendi(reference_N_D[theirs])


def weighted(reward: RewardSettings, multipliers: Mapping[str, float]) -> RewardSettings:
    """Return the weights of the reward's parts with the multipliers in force."""
    changes = {
        "gain": reward.gain * (1 + multipliers.get("diversity", 0.0)),
        "fidelity": reward.fidelity * (1 + multipliers.get("fidelity", 0.0)),
    }
    return reward.model_copy(update=changes) if any(multipliers.values()) else reward


def heat(multipliers: Mapping[str, float], settings: ConstraintSettings) -> float:
    """Return the factor on temperature."""
    pull = multipliers.get("diversity", 0.0) - multipliers.get("fidelity", 0.0)
    return min(HOTTEST, max(COOLEST, 1 + settings.heat * pull))


def more(multipliers: Mapping[str, float]) -> float:
    """Return the factor on accepted samples to choose from: 1, up to 2."""
    return min(2.0, 1 + 0.25 * multipliers.get("diversity", 0.0))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in sorted(figures.items())}
