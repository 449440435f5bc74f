"""Is a difference more than chance? A paired bootstrap over runs and tasks, and the test that it cries wolf seldom.

Runs (orders and seeds) and tasks are both drawn again, so that the interval speaks of other runs of other tasks (the
pigeonhole bootstrap: Owen 2007, arXiv:0711.1059). Few runs make percentiles too narrow; the interval is widened by
`t / z * sqrt(n / (n - 1))`, n the smaller number of runs and of tasks, as a t-interval is against a normal one.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float
    runs: int
    tasks: int

    @property
    def above_zero(self) -> bool:
        """Tell whether all of it is above 0."""
        return self.low > 0


def paired(differences_R_T: Array, *, seed: int = 0, draws: int = DRAWS) -> Interval | None:
    """Return the interval of the mean of *differences_R_T*: one row per run, one column per task, NaN for none.

    With fewer than two runs nothing tells chance from effect: None. With a single task only runs are drawn again.
    """
    kept = differences_R_T[~np.isnan(differences_R_T).all(axis=1)]
    kept = kept[:, ~np.isnan(kept).all(axis=0)]
    runs, tasks = kept.shape
    if runs < 2 or tasks < 1:
        return None
    there = ~np.isnan(kept)
    values = np.where(there, kept, 0.0)
    mean = float(values.sum() / there.sum())
    rng = np.random.Generator(np.random.Philox(key=seed))
    by_run = rng.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(np.float64)
    by_task = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=draws).astype(np.float64)
    total = np.einsum("br,rt,bt->b", by_run, values, by_task)
    count = np.einsum("br,rt,bt->b", by_run, there.astype(np.float64), by_task)
    means = np.sort(total[count > 0] / count[count > 0])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    wider = _widening(min(runs, tasks) if tasks > 1 else runs)
    return Interval(mean, mean - wider * (mean - float(low)), mean + wider * (float(high) - mean), runs, tasks)


def _widening(count: int) -> float:
    half = (1 + LEVEL) / 2
    return float(stats.t.ppf(half, count - 1) / stats.norm.ppf(half) * math.sqrt(count / (count - 1)))


# ---- A/A: the same arm twice ---------------------------------------------------------------------------------

Noise = Callable[[np.random.Generator, int, int], Array]
"""(chance, runs, tasks) to differences between two arms that are the same, shape `(runs, tasks)`."""


def _normal(rng: np.random.Generator, runs: int, tasks: int) -> Array:
    return rng.normal(0, 0.05, (runs, tasks))


def _lucky_runs(rng: np.random.Generator, runs: int, tasks: int) -> Array:
    """Let the tasks of a run err together: what it picks up early stays with it."""
    return _normal(rng, runs, tasks) * 0.4 + rng.normal(0, 0.05, (runs, 1))


def _heavy_tails(rng: np.random.Generator, runs: int, tasks: int) -> Array:
    return np.asarray(rng.standard_t(3, (runs, tasks)) * 0.03)


def _uneven_tasks(rng: np.random.Generator, runs: int, tasks: int) -> Array:
    """Make one task in four noisier by far."""
    return np.asarray(_normal(rng, runs, tasks) * np.where(np.arange(tasks) % 4 == 0, 3.0, 0.5))


SCENARIOS: Mapping[str, Noise] = {
    "noise alone": _normal,
    "lucky runs": _lucky_runs,
    "heavy tails": _heavy_tails,
    "uneven tasks": _uneven_tasks,
}


def false_positives(noise: Noise, *, runs: int, tasks: int, repeats: int, seed: int = 0, draws: int = 1000) -> float:
    """Return the share of *repeats* comparisons of an arm with itself whose interval excludes 0."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    wrong = 0
    for i in range(repeats):
        found = paired(noise(rng, runs, tasks), seed=i, draws=draws)
        wrong += found is not None and (found.low > 0 or found.high < 0)
    return wrong / repeats
