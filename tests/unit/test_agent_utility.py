"""What samples are worth to a student: by hand, and against training it a second time without them."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import PAIR, checked, unit_rows
from worlds import card, rows

from synlearner.agent.cards import Card
from synlearner.agent.features import Matrix, student_features
from synlearner.agent.rewards import outcome_utility
from synlearner.agent.utility import RIDGE, utilities

AXES = np.eye(2, dtype=np.float32)


def two_seeds() -> Card:
    """Return a card with a seed of each label, `pets` first."""
    return checked(card(seeds=rows(1)))


def left_out(of: Card, known: Matrix, labels: Sequence[str], seeds: Matrix, place: int) -> list[float]:
    """Return how much the squared error on each seed rises when the student is trained again without the sample."""

    def errors(kept: list[int]) -> np.ndarray:
        x, z = (
            np.hstack([student_features(m, of), np.ones((len(m), 1))]).astype(np.float64) for m in (known[kept], seeds)
        )
        y, t = (
            np.array([[float(name == other) for other in of.labels] for name in names]).reshape(-1, len(of.labels))
            for names in ([labels[i] for i in kept], [row["label"] for row in of.seeds])
        )
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        squares: np.ndarray = ((z @ weights - t) ** 2).sum(axis=1)
        return squares

    whole = list(range(len(labels)))
    return [float(rise) for rise in errors([i for i in whole if i != place]) - errors(whole)]


def test_by_hand() -> None:
    """A lone sample (1, 0, and the constant) of `pets`: its leverage is 2/3, the weights a third of it.

    Of the seed that is like it the student says 2/3 instead of 0, so an error of 1 falls to 1/9; of the other it says 1/3
    instead of 0, so its error rises from 1 to 10/9.
    """
    of = two_seeds()

    def worth(shown: list[int]) -> float:
        return utilities(of, AXES[:1], ["pets"], AXES, [shown])[0]

    assert worth([]) == pytest.approx((8 / 9 - 1 / 9) / 2, abs=1e-6)
    assert worth([0]) == pytest.approx(-1 / 9, abs=1e-6), "a seed that the prompt showed is not asked of"
    assert worth([1]) == pytest.approx(8 / 9, abs=1e-6)
    assert worth([0, 1]) == 0.0, "nothing can be said"


def test_a_sample_of_the_wrong_label_is_worth_less_than_nothing() -> None:
    """Like the seed of `pets` and called `weather`: an error of 1 becomes 1 + 4/9."""
    assert utilities(two_seeds(), AXES[:1], ["weather"], AXES, [[1]])[0] == pytest.approx(-4 / 9, abs=1e-6)


def test_without_samples_there_is_nothing_to_tell() -> None:
    assert utilities(two_seeds(), AXES, ["pets", "weather"], AXES, []) == []


@given(st.integers(2, 9), st.integers(0, 2**32 - 1), st.sampled_from([card(seeds=rows(2)), PAIR]))
def test_it_is_what_a_second_training_without_the_sample_says(count: int, seed: int, which: dict[str, object]) -> None:
    of, rng = checked(which), np.random.default_rng(seed)
    labels = [list(of.labels)[place] for place in rng.integers(len(of.labels), size=count)]
    known, seeds = unit_rows(count, 8, seed=seed), unit_rows(len(of.seeds), 8, seed=seed + 1)
    shown = [sorted({int(i) for i in rng.integers(len(of.seeds), size=1)}) for _ in range(count - 1)]
    found = utilities(of, known, labels, seeds, shown)
    for place, (value, hidden) in enumerate(zip(found, shown, strict=True), start=1):
        rises = [rise for i, rise in enumerate(left_out(of, known, labels, seeds, place)) if i not in hidden]
        assert value == pytest.approx(count * np.mean(rises), abs=2e-6)


def test_a_group_is_worth_what_its_accepted_samples_are_per_sample_asked_for() -> None:
    assert outcome_utility([{"utility": 0.2}, None, {"utility": 0.4}, None]) == pytest.approx(0.15)
    assert outcome_utility([None, None]) == 0.0
    assert outcome_utility([{"gain": 0.5}, {"utility": 0.4}]) is None, "nobody told of the first"
