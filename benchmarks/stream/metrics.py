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


def forward_by_task(R_T_T: Array, untouched_T: Array) -> Array:
    """Return what each task gains from those before it, before it is worked on: `R[i - 1, i] - untouched[i]`, shape (T,).

    NaN for the first one.
    """
    return np.concatenate([[math.nan], np.diag(R_T_T, 1) - untouched_T[1:]])


def backward_by_task(R_T_T: Array) -> Array:
    """Return what each task gains from those after it: `R[-1, i] - R[i, i]`, shape (T,). NaN for the last one."""
    return np.concatenate([(R_T_T[-1] - np.diag(R_T_T))[:-1], [math.nan]])


def forgetting_by_task(R_T_T: Array) -> Array:
    """Return how far each task ends below the best it has been: `max over l < T of R[l, j] - R[T, j]`, shape (T,).

    NaN for the last one. The best of several noisy figures is too high, so without any forgetting this is above 0;
    the backward transfer has no such lean.
    """
    best_T = R_T_T[:-1, :-1].max(axis=0) if len(R_T_T) > 1 else np.empty(0)
    return np.concatenate([best_T - R_T_T[-1, :-1], [math.nan]])


def forward_transfer(R_T_T: Array, untouched_T: Array) -> float:
    """Return the mean of `forward_by_task`."""
    return _mean(forward_by_task(R_T_T, untouched_T))


def backward_transfer(R_T_T: Array) -> float:
    """Return the mean of `backward_by_task`."""
    return _mean(backward_by_task(R_T_T))


def forgetting(R_T_T: Array) -> float:
    """Return the mean of `forgetting_by_task`."""
    return _mean(forgetting_by_task(R_T_T))


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


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
