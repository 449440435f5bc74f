"""Metrics and intervals of the stream benchmark, worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.stream.intervals import SCENARIOS, false_positives, paired
from benchmarks.stream.metrics import (
    Curve,
    area,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
    learning_accuracy,
    to_reach,
)

R = np.array([[0.8, 0.5, 0.3], [0.9, 0.7, 0.4], [0.6, 0.8, 0.9]])
UNTOUCHED = np.array([0.5, 0.4, 0.3])
SQUARE = arrays(np.float64, (4, 4), elements=st.floats(0, 1))


def test_transfer_by_hand() -> None:
    assert final_accuracy(R) == pytest.approx((0.6 + 0.8 + 0.9) / 3)
    assert learning_accuracy(R) == pytest.approx((0.8 + 0.7 + 0.9) / 3)
    assert forward_transfer(R, UNTOUCHED) == pytest.approx(((0.5 - 0.4) + (0.4 - 0.3)) / 2)
    assert backward_transfer(R) == pytest.approx(((0.6 - 0.8) + (0.8 - 0.7)) / 2)
    assert forgetting(R) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.8)) / 2)


def test_a_single_task_transfers_nothing() -> None:
    one = np.array([[0.5]])
    assert final_accuracy(one) == learning_accuracy(one) == 0.5
    assert all(math.isnan(value) for value in (forward_transfer(one, one[0]), backward_transfer(one), forgetting(one)))


@given(SQUARE)
def test_what_does_not_change_neither_transfers_nor_is_forgotten(matrix: np.ndarray) -> None:
    still = np.tile(matrix[0], (4, 1))
    assert forward_transfer(still, still[0]) == backward_transfer(still) == forgetting(still) == 0.0
    assert learning_accuracy(still) == pytest.approx(final_accuracy(still))


@given(SQUARE)
def test_forgetting_is_at_least_the_backward_loss(matrix: np.ndarray) -> None:
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12


def test_area_by_hand() -> None:
    """0.5 up to sample 3, rising to 0.9 at 5, flat to 9: (2 x 0.5 + 2 x 0.7 + 4 x 0.9) / 8."""
    curve = Curve([3, 5], [30, 50], [0.5, 0.9])
    assert area(curve, 9) == pytest.approx((2 * 0.5 + 2 * 0.7 + 4 * 0.9) / 8)
    assert area(curve, 4) == pytest.approx((2 * 0.5 + 1 * 0.6) / 3)
    assert area(curve, 1) == 0.5
    assert math.isnan(area(Curve([], [], []), 9))


def test_the_first_point_at_the_target_counts() -> None:
    curve = Curve([2, 4, 8], [10, 30, 70], [0.5, 0.8, 0.7])
    assert to_reach(curve, 0.6) == (4, 30)
    assert to_reach(curve, 0.5) == (2, 10)
    assert to_reach(curve, 0.81) is None


# ---- intervals -----------------------------------------------------------------------------------------------


def test_one_run_tells_nothing_of_chance() -> None:
    assert paired(np.array([[0.1, 0.2, 0.3]])) is None
    assert paired(np.array([[0.1, 0.2], [np.nan, np.nan]])) is None
    assert paired(np.empty((0, 0))) is None


def test_a_sure_difference_is_found_with_its_mean() -> None:
    """Means of the runs 0.10, 0.11, 0.12, and of the tasks too: about 0.11 -+ 4.3 x sqrt(2) x 0.0058."""
    found = paired(np.array([[0.09, 0.10, 0.11], [0.10, 0.11, 0.12], [0.11, 0.12, 0.13]]))
    assert found is not None
    assert found.mean == pytest.approx(0.11)
    assert found.above_zero
    assert (found.low, found.high) == pytest.approx((0.11 - 0.035, 0.11 + 0.035), abs=0.01)
    assert (found.runs, found.tasks) == (3, 3)


def test_two_tasks_that_differ_are_too_few_to_be_sure() -> None:
    """The t-interval over the tasks' means, 0.10 and 0.12, has one degree of freedom: 0.11 -+ 12.7 x 0.01 holds 0."""
    found = paired(np.array([[0.10, 0.12], [0.11, 0.13], [0.09, 0.11]]))
    assert found is not None
    assert (found.runs, found.tasks) == (3, 2)
    assert found.mean == pytest.approx(0.11)
    assert found.low < 0.11 - 12.7 * 0.01 < 0
    assert not found.above_zero


def test_gaps_are_left_out_of_the_mean() -> None:
    found = paired(np.array([[0.1, np.nan], [0.3, 0.2]]))
    assert found is not None
    assert found.mean == pytest.approx(0.2)


def test_two_equal_runs_have_an_interval_without_width() -> None:
    found = paired(np.full((2, 1), 0.05))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))


@given(arrays(np.float64, (3, 4), elements=st.floats(-1, 1)), st.floats(-1, 1))
def test_an_interval_moves_with_the_data_and_turns_with_the_sign(table: np.ndarray, shift: float) -> None:
    here, there, back = paired(table), paired(table + shift), paired(-table)
    assert here is not None
    assert there is not None
    assert back is not None
    assert here.low - 1e-9 <= here.mean <= here.high + 1e-9
    assert (there.low, there.high) == pytest.approx((here.low + shift, here.high + shift), abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-here.high, -here.low), abs=1e-9)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize(("runs", "tasks"), [(3, 7), (9, 7)])
def test_an_arm_seldom_beats_itself(name: str, runs: int, tasks: int) -> None:
    """A/A: at most 5 % over 400 comparisons, with what chance allows on top (three binomial deviations)."""
    share = false_positives(SCENARIOS[name], runs=runs, tasks=tasks, repeats=400, draws=400)
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_a_real_difference_is_found() -> None:
    """An A/A test alone would be passed by statistics that never find anything."""
    rng = np.random.default_rng(0)
    found = [paired(0.05 + rng.normal(0, 0.03, (9, 7)), seed=i) for i in range(50)]
    assert sum(interval is not None and interval.above_zero for interval in found) >= 48
