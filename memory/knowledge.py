r"""What an outcome would teach: why an item may be chosen that is not known to be among the best.

To know an item better only matters where it could change who is chosen. With m_i, v_i the posterior of a gain, u_i the
gain at which it would just be chosen, p_i the density of N(m_i, v_i) there, and V the covariance of all of them, an
outcome of the set S makes the variances smaller by d_i(S), and each of the `horizon` outcomes that follow is better for
it by about half of p_i d_i(S), as the expectation of max(gain, u_i) grows by that (a Taylor series):

    d_i(S) = (sum over S of V_ij)^2 / (noise + sum over S x S of V_jl)
    worth of j beside S = horizon / 2 x sum of p_i (d_i(S + j) - d_i(S))

What is always used together is hard to tell apart; its covariance is negative, and using one without the other teaches
most. So sets vary where that tells something, and not by chance alone. It is the knowledge gradient (Frazier, Powell and
Dayanik 2008) for sets, with the doubt of items together. Source of the comparison: `benchmarks/bench_memory_credit.py`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synlearner.memory.records import on_grid

Floats = NDArray[np.float64]
Together = Callable[[Sequence[str]], tuple[Sequence[Sequence[float]], float]]
"""Returns for items the correlations of their gains, shape `(items, items)`, and the variance of an outcome."""


def independent(items: Sequence[str]) -> tuple[Sequence[Sequence[float]], float]:
    """Return no correlations, and the variance of an outcome of which nothing is known."""
    return np.eye(len(items)).tolist(), 0.25**2


class Knowledge:
    """What one outcome would teach of the gains of some options.

    Args:
        means: Of their gains, in units of the outcome.
        deviations: Of their gains.
        correlations: Shape `(options, options)`.
        levels: The gain at which each would just be chosen.
        noise: Variance of an outcome around what the options explain.
        horizon: Outcomes that follow, as far as one can tell.

    """

    def __init__(
        self,
        means: Sequence[float],
        deviations: Sequence[float],
        correlations: Sequence[Sequence[float]],
        levels: Sequence[float],
        noise: float,
        horizon: float,
    ) -> None:
        scale = np.array(deviations)
        self._covariance: Floats = np.array(correlations) * scale * scale[:, None]
        self._variances = self._covariance.diagonal().copy()
        self._density: Floats = np.array([*map(_density, means, deviations, levels)]) * (horizon / 2)
        self._noise = noise
        self._shared: Floats = np.zeros(len(scale))
        self._total = self._gained = 0.0
        self._after: Floats = self._shared

    def begun(self) -> Self:
        """Choose nobody yet."""
        self._shared = np.zeros(len(self._variances))
        self._total = self._gained = 0.0
        return self

    def worth(self) -> list[float]:
        """Return what using each option beside the used ones would teach, in units of the outcome."""
        shared = self._shared + self._covariance
        total = self._noise + self._total + 2 * self._shared + self._variances
        # A running sum has one order, whatever the processor.
        self._after = np.cumsum(shared * shared * self._density, axis=1)[:, -1] / total
        worth: list[float] = (self._after - self._gained).tolist()
        return worth

    def use(self, place: int) -> None:
        """Use an option, after `worth`."""
        self._total += float(2 * self._shared[place] + self._variances[place])
        self._shared = self._shared + self._covariance[place]
        self._gained = float(self._after[place])


def _density(mean: float, deviation: float, level: float) -> float:
    """Return the density of a normal number at *level*, on the grid: `exp` may differ in the last bit by machine."""
    distance = (level - mean) / deviation
    return on_grid(math.exp(-distance * distance / 2) / (deviation * math.sqrt(2 * math.pi)))
