"""What an arm needs to come to the accuracy at which another one ends, task by task and over all."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.stream import metrics
from benchmarks.stream.comparing import Results, pairs
from benchmarks.stream.grid import Cell
from benchmarks.stream.reading import TaskResult


def reaching(results: Results, first: str = "full", second: str = "isolated") -> list[dict[str, Any]]:
    """Return what *first* needs to come to the accuracy at which *second* ends, as a share of what *second* needs.

    Tasks 2 and on. Both are read off their curves by one rule: the first point that is there.
    """
    rows: list[dict[str, Any]] = []
    if first not in results.grid.arms or second not in results.grid.arms:
        return rows
    for pair in pairs(results, first, second, from_place=2):
        mine, theirs = (_curve(results, task, results.families[0]) for task in (pair.first, pair.second))
        if mine is None or theirs is None:
            continue
        goal = theirs.accuracy[-1]
        ours, base = metrics.to_reach(mine, goal), metrics.to_reach(theirs, goal)
        assert base is not None
        stream, order, seed = pair.run
        rows.append(
            {
                "stream": stream,
                "order": order,
                "seed": seed,
                "task": pair.first.task,
                "target": goal,
                "samples": ours[0] if ours else None,
                "tokens": ours[1] if ours else None,
                "samples_isolated": base[0],
                "tokens_isolated": base[1],
                "tokens_share": ours[1] / base[1] if ours else None,
            }
        )
    return rows


def middle_share(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the median of the shares of tokens, infinite for whoever never comes there; NaN without rows."""
    shares = [math.inf if row["tokens_share"] is None else row["tokens_share"] for row in rows]
    return float(np.quantile(shares, 0.5, method="higher")) if shares else math.nan


def _curve(results: Results, task: TaskResult, family: str) -> metrics.Curve | None:
    cell = Cell(task.stream, task.arm, task.order, task.seed)
    return results.curves.get(cell, {}).get(task.task, {}).get(family)
