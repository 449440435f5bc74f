"""What the claim asks for, and the means of the transfer matrices, worked by hand."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.stream.goals import goals
from benchmarks.stream.reaching import middle_share
from benchmarks.stream.transfer import MEASURES, by_run_and_task, transfer_means

MATRIX = [[0.8, 0.5], [0.6, 0.7]]
"""After each of the tasks a, b (from an untouched 0.4 and 0.4): forward 0.1, backward -0.2, forgetting 0.2."""


def matrix(seed: int, tasks: tuple[str, str], values: list[list[float]], arm: str = "full") -> dict[str, Any]:
    return {"arm": arm, "stream": "s", "order": 0, "seed": seed, "family": "embedding", "tasks": list(tasks),
            "untouched": [0.4, 0.4], "matrix": values}  # fmt: skip


def compared(first: str, second: str, found: float, low: float, high: float) -> dict[str, Any]:
    return {"first": first, "second": second, "family": "embedding", "difference": found, "low": low, "high": high}


def reached(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["goal"]: row["reached"] for row in rows}


def test_means_of_matrices_are_over_runs_and_tasks() -> None:
    """The other run has the tasks the other way round, and forgets nothing."""
    rows = [matrix(0, ("a", "b"), MATRIX), matrix(1, ("b", "a"), [[0.6, 0.7], [0.6, 0.9]])]
    found = {row["measure"]: row for row in transfer_means(rows)}
    assert found["forward"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    assert found["backward"]["mean"] == pytest.approx((-0.2 + 0.0) / 2)
    assert found["forgetting"]["mean"] == pytest.approx((0.2 + 0.0) / 2)
    assert {row["runs"] for row in found.values()} == {2}
    assert found["forward"]["low"] <= found["forward"]["mean"] <= found["forward"]["high"]


def test_a_task_has_its_column_wherever_it_stands_in_the_order() -> None:
    rows = [matrix(0, ("a", "b"), MATRIX), matrix(1, ("b", "a"), [[0.6, 0.7], [0.6, 0.9]])]
    forward = by_run_and_task(rows, MEASURES["forward"])
    assert forward == pytest.approx(np.array([[math.nan, 0.1], [0.3, math.nan]]), nan_ok=True)


def test_one_matrix_has_means_but_no_interval_and_arms_are_kept_apart() -> None:
    rows = transfer_means([matrix(0, ("a", "b"), MATRIX), matrix(0, ("a", "b"), MATRIX, arm="memory")])
    assert [row["arm"] for row in rows] == ["full"] * 3 + ["memory"] * 3
    assert all(math.isnan(row["low"]) for row in rows)
    assert rows[0]["mean"] == pytest.approx(0.1)


def test_a_difference_has_to_be_large_and_sure() -> None:
    def of(found: float, low: float) -> str:
        return reached(goals([compared("full", "isolated", found, low, 0.2)], [], []))["full − isolated"]

    assert of(0.06, 0.01) == "yes"
    assert of(0.06, -0.01) == "no"
    assert of(0.04, 0.01) == "no"
    assert of(0.06, math.nan) == "not known"


def test_memory_and_weights_need_only_be_surely_above_frozen() -> None:
    rows = goals([compared("memory", "frozen", 0.01, 0.001, 0.2), compared("weights", "frozen", 0.1, 0.0, 0.2)], [], [])
    assert reached(rows)["memory − frozen"] == "yes"
    assert reached(rows)["weights − frozen"] == "no"


def test_other_contrasts_are_no_goals() -> None:
    assert list(reached(goals([compared("full", "best_of_n", 0.1, 0.05, 0.2)], [], []))) == [
        "tokens of full to the end of isolated"
    ]


def test_transfer_counts_of_full_alone() -> None:
    rows = [matrix(seed, ("a", "b"), MATRIX) for seed in (0, 1)]
    found = reached(goals([], [], transfer_means([*rows, *(row | {"arm": "memory"} for row in rows)])))
    assert found["forward transfer of full"] == "yes"
    assert found["forgetting of full"] == "no"
    assert len(found) == 3


def test_whoever_never_comes_there_needs_more_than_anyone() -> None:
    rows: list[dict[str, Any]] = [{"tokens_share": share} for share in (0.4, None, 0.5)]
    assert middle_share(rows) == 0.5
    assert middle_share(rows[:2]) == math.inf
    assert math.isnan(middle_share([]))
    goal = "tokens of full to the end of isolated"
    assert [reached(goals([], part, []))[goal] for part in (rows, rows[:2], [])] == ["yes", "no", "not known"]
