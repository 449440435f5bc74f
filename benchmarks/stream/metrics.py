"""What the literature on continual learning measures, as pure functions of numbers.

`R_T_T[i, j]` is the student's accuracy on task j with data made after task i (both from 0, in the order of the
stream), and `untouched_T[j]` with data of the untouched agent (Lopez-Paz & Ranzato 2017, arXiv:1706.08840; forgetting:
Chaudhry et al. 2018, arXiv:1801.10112). Accuracies are shares in [0, 1]; what cannot be computed is NaN.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def final_accuracy(R_T_T: Array) -> float:
    """Return the mean over all tasks after the last one."""
    return float(R_T_T[-1].mean())


def learning_accuracy(R_T_T: Array) -> float:
    """Return the mean accuracy on each task right after it."""
    return float(np.diag(R_T_T).mean())


def forward_transfer(R_T_T: Array, untouched_T: Array) -> float:
    """Return what tasks gain from those before them, before they are worked on: mean of `R[i - 1, i] - untouched[i]`."""
    if len(R_T_T) < 2:
        return math.nan
    return float((np.diag(R_T_T, 1) - untouched_T[1:]).mean())


def backward_transfer(R_T_T: Array) -> float:
    """Return what tasks gain from those after them: mean of `R[-1, i] - R[i, i]` over all but the last."""
    return float((R_T_T[-1] - np.diag(R_T_T))[:-1].mean()) if len(R_T_T) > 1 else math.nan


def forgetting(R_T_T: Array) -> float:
    """Return how far tasks end below the best they have been: mean of `max over l < T of R[l, j] - R[T, j]`."""
    return float((R_T_T[:-1, :-1].max(axis=0) - R_T_T[-1, :-1]).mean()) if len(R_T_T) > 1 else math.nan


class Curve(NamedTuple):
    """A student's accuracy on the first samples that were accepted, labels in turn."""

    samples: Sequence[int]
    """Ascending."""
    tokens: Sequence[int]
    """Written by the time there were so many."""
    accuracy: Sequence[float]


def area(curve: Curve, most: int) -> float:
    """Return the mean accuracy over 1 to *most* samples, by trapezoids.

    Before the first point the curve is that point's, after the last one the last's: whoever has no more samples stays
    where they are.
    """
    if not curve.samples:
        return math.nan
    if most <= 1:
        return float(np.interp(most, curve.samples, curve.accuracy))
    inner = [n for n in curve.samples if 1 < n < most]
    at = np.array([1, *inner, most], dtype=np.float64)
    values = np.interp(at, curve.samples, curve.accuracy)
    return float(np.trapezoid(values, at) / (most - 1))


def to_reach(curve: Curve, target: float) -> tuple[int, int] | None:
    """Return the (samples, tokens) of the first point at *target* or above; None if there is none."""
    for samples, tokens, accuracy in zip(curve.samples, curve.tokens, curve.accuracy, strict=True):
        if accuracy >= target:
            return samples, tokens
    return None
