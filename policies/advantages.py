"""From rewards to advantages: the one place where they are computed. Plain floats, so that no torch is loaded."""

import math
from collections.abc import Sequence


def group_advantages(rewards: Sequence[float], *, floor: float | None = None) -> list[float]:
    """Centre one group's rewards on their mean, and divide by their deviation if a *floor* under it is given.

    Without a floor nothing is divided (Liu et al. 2025, "Understanding R1-Zero-like training", arXiv:2503.20783). With
    one the divisor is `max(standard deviation, floor)`, the deviation with G - 1 as TRL's: a spread below the floor is
    noise, and dividing by it would blow it up to ±1.

    Args:
        rewards: Dimensionless, one per sample of a group.
        floor: Least standard deviation to divide by, above 0; None divides by nothing.

    Returns:
        As many numbers, rounded to six decimals (they go into the log). Equal rewards become zeros: they teach nothing.

    Raises:
        ValueError: If there are fewer than two rewards, since one sample has nothing to be compared with; or if one of
            them is not finite; or if the floor is not above 0.
    """
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} has nothing to be compared with: use groups of 2 or more")
    strange = [(place, reward) for place, reward in enumerate(rewards) if not math.isfinite(reward)]
    if strange:
        raise ValueError(f"reward {strange[0][1]} of sample {strange[0][0]} is not a finite number: mend the scorer")
    if len(set(rewards)) == 1:
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    centred = [reward - mean for reward in rewards]
    if floor is None:
        return [round(value, 6) for value in centred]
    if not floor > 0:
        raise ValueError(f"floor {floor}: a divisor must be above 0; None divides by nothing")
    deviation = math.sqrt(math.fsum(value**2 for value in centred) / (len(rewards) - 1))
    return [round(value / max(deviation, floor), 6) for value in centred]
