"""What an outcome would teach, against the formula written out."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synlearner.memory.knowledge import Knowledge

NOISE, HORIZON = 0.06, 40.0


def less_doubt(covariance: np.ndarray, used: Sequence[int]) -> np.ndarray:
    """Return d_i(S) of the module's docstring for every option."""
    shared = covariance[:, list(used)].sum(axis=1)
    return np.asarray(shared**2 / (NOISE + covariance[np.ix_(used, used)].sum()))


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(0, 4))
def test_the_worth_of_each_option_beside_those_that_are_used(seed: int, count: int, before: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, count))
    covariance = 0.02 * root @ root.T + 1e-4 * np.eye(count)
    means, levels = rng.normal(0, 0.1, count), rng.normal(0, 0.1, count)
    scale = np.sqrt(covariance.diagonal())
    correlations = (covariance / scale / scale[:, None]).tolist()
    knowledge = Knowledge(means.tolist(), scale.tolist(), correlations, levels.tolist(), NOISE, HORIZON).begun()
    used: list[int] = []
    for place in rng.permutation(count)[: min(before, count - 1)].tolist():
        knowledge.worth()
        knowledge.use(place)
        used.append(place)
    density = np.exp(-(((levels - means) / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi))
    expected = [
        HORIZON / 2 * float(density @ (less_doubt(covariance, [*used, place]) - less_doubt(covariance, used)))
        for place in range(count)
    ]
    assert [knowledge.worth()[i] for i in range(count) if i not in used] == pytest.approx(
        [value for i, value in enumerate(expected) if i not in used], rel=1e-4, abs=1e-5
    )


def test_it_begins_anew() -> None:
    knowledge = Knowledge([0.0, 0.1], [0.1, 0.1], [[1.0, 0.5], [0.5, 1.0]], [0.05, 0.05], NOISE, HORIZON)
    first = knowledge.begun().worth()
    knowledge.use(1)
    assert knowledge.worth() != first
    assert knowledge.begun().worth() == first
