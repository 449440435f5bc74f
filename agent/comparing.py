"""Over-optimisation: does the judge that the policy is rewarded by think better of its samples than one it never meets? Pure.

Both judges look at the samples of a round that were accepted, and at those of the untrained policy that would have been.
The untrained policy cannot have learnt to please a judge, so its gap is the usual one of the two judges, and

    gap = (training - held out) - (training - held out, untrained)

is what was gained with the one judge alone. Gao et al. 2023, arXiv:2210.10760, measure over-optimisation by such a gap.
"""

import math
from collections.abc import Sequence

import numpy as np

from synlearner.agent.judge_settings import JudgeSettings
from synlearner.events.types import JudgesCompared

FEWEST = 8
"""Fewer samples on either side raise no alarm."""

SURE = 2.0
"""Standard errors by which the gap must pass the limit."""


def compare_judges(
    number: int,
    accepted: tuple[Sequence[float], Sequence[float]],
    untrained: tuple[Sequence[float], Sequence[float]],
    least: float,
    settings: JudgeSettings,
) -> JudgesCompared:
    """Return what two judges say of a round, and whether it is time for an alarm.

    Args:
        number: Of the round.
        accepted: Fidelity of the round's accepted samples by the training and by the held-out judge.
        untrained: The same of the untrained policy's samples.
        least: Fidelity by the training judge from which a sample is accepted: the untrained policy's are held to it, too.
        settings: From which gap on there is an alarm.
    """
    mine_2_N = np.array(accepted, dtype=np.float64)
    theirs_2_N = np.array(untrained, dtype=np.float64).reshape(2, -1)
    theirs_2_N = theirs_2_N[:, theirs_2_N[0] >= least]
    sides = [mine_2_N, theirs_2_N]
    (training, held_out), usual = (_means(side) for side in sides)
    gap = (training - held_out) - (usual[0] - usual[1])
    deviation = math.sqrt(sum(_squared_error(side[0] - side[1]) for side in sides))
    enough = min(side.shape[1] for side in sides) >= FEWEST
    return JudgesCompared(
        round=number,
        compared=mine_2_N.shape[1],
        untrained=theirs_2_N.shape[1],
        training=round(training, 6),
        held_out=round(held_out, 6),
        untrained_training=round(usual[0], 6),
        untrained_held_out=round(usual[1], 6),
        gap=round(gap, 6),
        deviation=round(deviation, 6),
        alarm=enough and training > usual[0] and gap - SURE * deviation > settings.alarm,
    )


def _means(judged_2_N: np.ndarray) -> tuple[float, float]:
    """Return both judges' means; 0 where there is nothing to judge."""
    if not judged_2_N.shape[1]:
        return 0.0, 0.0
    training, held_out = judged_2_N.mean(axis=1).tolist()
    return training, held_out


def _squared_error(values_N: np.ndarray) -> float:
    """Return the squared standard error of a mean; 0 where there is nothing to tell it from."""
    return float(values_N.var(ddof=1) / len(values_N)) if len(values_N) > 1 else 0.0
