"""Diversity: closed forms against brute force, and cases worked by hand."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pieces import unit_rows

from synlearner.agent.diversity import (
    NOISE,
    TOP_GAIN,
    distinct_2,
    greedy_choice,
    leave_one_out_gains,
    rke,
    rke_gains,
    similarities,
    vendi,
)

EYE = np.eye(6)
TWIN = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def log_det(vectors: NDArray[np.floating], quality: NDArray[np.floating]) -> float:
    """Return `log det(I + qKq / noise)`, the slow way."""
    kernel = np.array([[1.0 if a is b else max(0.0, float(a @ b)) for b in vectors] for a in vectors])
    sign, value = np.linalg.slogdet(np.eye(len(vectors)) + np.diag(quality) @ kernel @ np.diag(quality) / NOISE)
    assert sign > 0
    return float(value)


def random_set(seed: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    rng = np.random.default_rng(seed)
    vectors = unit_rows(int(rng.integers(2, 12)), 48, seed)
    vectors[-1] = vectors[0]  # an exact duplicate
    return vectors, rng.uniform(0, 1, len(vectors))


@pytest.mark.parametrize("seed", range(20))
def test_gains_equal_taking_out_one_sample_after_the_other(seed: int) -> None:
    vectors, quality = random_set(seed)
    whole = log_det(vectors, quality)
    others = [np.arange(len(vectors)) != i for i in range(len(vectors))]
    expected = [whole - log_det(vectors[mask], quality[mask]) for mask in others]
    assert leave_one_out_gains(vectors, quality) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shared", [0.0, 1.0, 5.0, 50.0])
def test_of_512_samples_the_gains_are_those_of_the_whole_inverse(shared: float) -> None:
    """Cosines of 0 to .9996 on average, qualities of 0 to 1, three exact duplicates."""
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(512, 384)) + shared * rng.normal(size=384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-3:] = vectors[:3]
    quality = rng.uniform(0, 1, 512)
    whole = np.eye(512) + quality[:, None] * similarities(vectors) * quality / NOISE
    found = leave_one_out_gains(vectors, quality)
    assert found == pytest.approx(-np.log(np.diag(np.linalg.inv(whole))), abs=1e-9)
    assert np.array_equal(leave_one_out_gains(vectors.copy(), quality.copy()), found), "the same bits again"


@pytest.mark.parametrize("quality", [1.0, 0.6, 0.525])
def test_where_clamping_leaves_no_determinant_the_cosines_themselves_are_taken(quality: float) -> None:
    """Twelve directions at 30 degrees: clamped, the kernel has the eigenvalue 1 - 2 (.866 / 2 + .5 / 2) = -.366.

    The inverse of what is left once gave 27.6 nats for a quality of .6, where log 11 = 2.4 is the most.
    """
    angles = np.arange(12) * math.pi / 6
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.linalg.eigvalsh(similarities(ring)).min() == pytest.approx(-0.366, abs=1e-3)
    gains = leave_one_out_gains(ring, np.full(12, quality))
    whole = np.eye(12) + quality**2 * ring @ ring.T / NOISE
    assert gains == pytest.approx(-np.log(np.diag(np.linalg.inv(whole))), abs=1e-9)
    assert 0 < gains.min() <= gains.max() < TOP_GAIN


def test_a_perfect_sample_like_no_other_earns_the_top_gain() -> None:
    """Hand-worked: log(1 + 1 / .1) = log 11 = 2.398."""
    assert leave_one_out_gains(EYE, np.ones(6)) == pytest.approx([math.log(11)] * 6)
    assert math.log(11) == pytest.approx(TOP_GAIN)


def test_duplicates_share_their_worth() -> None:
    """Hand-worked: det of [[11, 10], [10, 11]] is 21, so each of two equal samples adds log(21 / 11) = .647."""
    gains = leave_one_out_gains(TWIN, np.ones(3))
    assert gains == pytest.approx([math.log(21 / 11), math.log(21 / 11), math.log(11)])


def test_a_sample_without_quality_earns_nothing_and_takes_nothing_away() -> None:
    """7.2.21: garbage was maximally distinct, and paid for it."""
    gains = leave_one_out_gains(TWIN, np.array([1.0, 0.0, 1.0]))
    assert gains == pytest.approx([math.log(11), 0.0, math.log(11)])


def test_the_better_of_two_equals_adds_more() -> None:
    gains = leave_one_out_gains(TWIN, np.array([0.9, 0.4, 1.0]))
    assert gains[0] > gains[1] > 0


def test_a_group_of_one_text_is_worth_little() -> None:
    """7.2.20: total collapse was paid .3 of 1. Ten equal samples: log(101 / 91) each, 4 % of the top gain."""
    gains = leave_one_out_gains(np.ones((10, 1)), np.ones(10))
    assert gains == pytest.approx([math.log(101 / 91)] * 10)
    assert gains[0] < 0.05 * TOP_GAIN


def test_exact_duplicates_count_in_the_set() -> None:
    """7.2.23: three equal samples and another scored .745 where four different ones had .869."""
    three_and_one = leave_one_out_gains(EYE[[0, 0, 0, 1]], np.ones(4))
    assert three_and_one[:3].max() < 0.2 * leave_one_out_gains(EYE[:4], np.ones(4)).min()


def test_opposite_texts_are_unlike_and_no_more() -> None:
    """7.2.20: negative similarities made the ratio explode."""
    assert similarities(np.array([[1.0, 0.0], [-1.0, 0.0]])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_nothing_has_no_diversity() -> None:
    empty = np.zeros((0, 8))
    assert leave_one_out_gains(empty, np.zeros(0)).shape == (0,)
    assert (vendi(empty), rke(empty), distinct_2([])) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("figure", [vendi, rke])
def test_n_different_samples_count_n_and_n_equal_ones_count_one(
    figure: Callable[[NDArray[np.floating]], float],
) -> None:
    assert figure(EYE) == pytest.approx(6)
    assert figure(np.ones((6, 1))) == pytest.approx(1)
    assert figure(EYE[[0, 0, 1, 1]]) == pytest.approx(2)


def test_vendi_and_rke_by_hand() -> None:
    """Hand-worked: eigenvalues 2/3 and 1/3; exp(-sum x log x) = 1.8899, 1 / (4/9 + 1/9) = 1.8."""
    assert vendi(TWIN) == pytest.approx(3 / 2 ** (2 / 3))
    assert rke(TWIN) == pytest.approx(1.8)


@pytest.mark.parametrize(("count", "dimension"), [(5, 30), (30, 5)])
def test_vendi_is_the_same_by_rows_and_by_columns(count: int, dimension: int) -> None:
    vectors = unit_rows(count, dimension).astype(np.float64)
    values = np.linalg.eigvalsh(vectors @ vectors.T / count)
    values = values[values > 1e-12]
    assert vendi(vectors) == pytest.approx(math.exp(-(values * np.log(values)).sum()))
    assert 1 <= vendi(vectors) <= min(count, dimension) + 1e-9


def test_distinct_bigrams_by_hand() -> None:
    """Hand-worked: `a b`, `b a`, `a b` of one text and `a b` of another: 2 different of 4."""
    assert distinct_2(["a b a b", "a b", "c"]) == 0.5


# ---- the greedy choice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_every_greedy_step_is_the_best_one(seed: int) -> None:
    vectors, quality = random_set(seed)
    chosen = greedy_choice(vectors, quality, len(vectors))
    assert sorted(chosen) == list(range(len(vectors)))
    for step, row in enumerate(chosen):
        before = chosen[:step]
        values = {
            i: log_det(vectors[[*before, i]], quality[[*before, i]]) for i in set(range(len(vectors))) - {*before}
        }
        assert values[row] == pytest.approx(max(values.values()), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_near_the_best_of_all(seed: int) -> None:
    """Submodular: at least 1 - 1/e of the optimum (Nemhauser et al. 1978)."""
    vectors, quality = random_set(seed)
    chosen = greedy_choice(vectors, quality, 3)
    rows = itertools.combinations(range(len(vectors)), min(3, len(vectors)))
    best = max(log_det(vectors[list(some)], quality[list(some)]) for some in rows)
    assert log_det(vectors[chosen], quality[chosen]) >= (1 - 1 / math.e) * best


def test_the_duplicate_comes_last_and_ties_go_to_the_lower_row() -> None:
    assert greedy_choice(TWIN, np.ones(3), 3) == [0, 2, 1]
    assert greedy_choice(EYE, np.ones(6), 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_no_more_are_chosen_than_asked_for_or_than_there_are(count: int) -> None:
    assert len(greedy_choice(EYE[:3], np.ones(3), count)) == min(count, 3)


def weighted_rke(vectors: NDArray[np.floating], quality: NDArray[np.floating]) -> float:
    """Return the score of the weighted set, the slow way."""
    shares = [(float(q / quality.sum()), v.astype(np.float64)) for q, v in zip(quality, vectors, strict=True)]
    return 1 / math.fsum(a * b * float(v @ w) ** 2 for a, v in shares for b, w in shares)


def test_what_a_sample_adds_to_rke_by_hand() -> None:
    """Three orthogonal rows: 3 log(3/2) each. Of twins and another, RKE 9/5: without a twin 2, without the other 1."""
    assert rke_gains(np.eye(3), np.ones(3)) == pytest.approx([3 * math.log(1.5)] * 3)
    twin = 3 * math.log(1.8 / 2)
    assert rke_gains(TWIN, np.ones(3)) == pytest.approx([twin, twin, 3 * math.log(1.8)])
    assert rke_gains(EYE[:1], np.ones(1)) == [1.0]
    assert rke_gains(EYE[:2], np.array([1.0, 0.0])) == pytest.approx([1.0, 0.0])
    assert list(rke_gains(EYE[:2], np.zeros(2))) == [0.0, 0.0]
    assert len(rke_gains(EYE[:0], np.zeros(0))) == 0


@pytest.mark.parametrize("little", [1e-4, 1e-7, 1e-8, 3e-9, 1e-12, 1e-300])
def test_rke_gains_are_numbers_where_one_sample_is_worth_all_the_rest(little: float) -> None:
    for seed in range(10):
        for count in (2, 5):
            found = rke_gains(unit_rows(count, 48, seed), np.array([1.0] + [little] * (count - 1)))
            assert np.isfinite(found).all()
            assert abs(found).max() <= count * math.log(count)


@pytest.mark.parametrize("seed", range(8))
def test_rke_gains_are_the_difference_that_leaving_one_out_makes(seed: int) -> None:
    vectors, quality = random_set(seed)
    assert weighted_rke(vectors, np.ones(len(vectors))) == pytest.approx(rke(vectors))
    whole = weighted_rke(vectors, quality)
    for i, gain in enumerate(rke_gains(vectors, quality)):
        others = np.arange(len(vectors)) != i
        without = weighted_rke(vectors[others], quality[others])
        assert gain == pytest.approx(len(vectors) * math.log(whole / without), abs=1e-9)
