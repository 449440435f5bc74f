"""From results to tables: what each arm came to, and how arms compare, pair by pair."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.stream import metrics
from benchmarks.stream.curves import Curves
from benchmarks.stream.grid import Cell, Grid
from benchmarks.stream.intervals import Interval, paired
from benchmarks.stream.reading import CellResult, TaskResult

CONTRASTS = (("memory", "frozen"), ("weights", "frozen"))
"""Compared besides `full` with every other arm."""

Run = tuple[str, int, int]
"""Stream, order, seed."""


@dataclass(frozen=True, slots=True)
class Results:
    """All that a report is made of."""

    grid: Grid
    cells: Mapping[Cell, CellResult]
    curves: Mapping[Cell, Curves]

    @property
    def families(self) -> list[str]:
        """Return the student families, the first of which is the figure."""
        return list(dict.fromkeys(family for task in self.tasks() for family in task.accuracy))

    def tasks(self, arm: str = "") -> Iterator[TaskResult]:
        """Yield the finished tasks of *arm*, or of all."""
        for cell, result in self.cells.items():
            if arm in {"", cell.arm}:
                yield from result.tasks


class Pair(NamedTuple):
    """The same task of the same run in two arms."""

    run: Run
    first: TaskResult
    second: TaskResult
    borrowed: bool
    """Whether the second one was run in another order, which makes no difference to it."""


def pairs(results: Results, first: str, second: str, *, from_place: int = 1) -> list[Pair]:
    """Return the finished tasks that both arms have, from the *from_place*-th of the first arm's order on.

    An arm whose tasks do not depend on each other stands for every order: where it was not run in one, the figures of
    its order 0 are taken.
    """
    others = {(t.stream, t.order, t.seed, t.task): t for t in results.tasks(second)}
    orders = results.grid.orders(second)
    borrows = not results.grid.arms[second].carries
    found = []
    for mine in results.tasks(first):
        if mine.place < from_place:
            continue
        borrowed = borrows and mine.order >= orders
        theirs = others.get((mine.stream, 0 if borrowed else mine.order, mine.seed, mine.task))
        if theirs is not None:
            found.append(Pair((mine.stream, mine.order, mine.seed), mine, theirs, borrowed))
    return found


def accuracy(task: TaskResult, family: str, source: str = "delivered") -> float:
    """Return a student's accuracy; 0 for a data set that nothing was delivered for, NaN where nobody was trained."""
    figures = task.accuracy.get(family, {})
    if source == "delivered" and task.delivered == 0 and figures:
        return 0.0
    return figures.get(source, math.nan)


def difference(results: Results, first: str, second: str, family: str, *, from_place: int = 2) -> Interval | None:
    """Return the mean difference in accuracy, first less second, with its interval; None with fewer than two runs.

    The unit that is drawn again is a run. Where the second arm's figures serve several orders it is a seed, whose
    orders are then averaged: they are no independent evidence.
    """
    found = pairs(results, first, second, from_place=from_place)
    shared = any(pair.borrowed for pair in found)
    sums: dict[tuple[Any, ...], dict[tuple[str, str], list[float]]] = {}
    for pair in found:
        stream, order, seed = pair.run
        value = accuracy(pair.first, family) - accuracy(pair.second, family)
        if not math.isnan(value):
            unit = (seed,) if shared else (order, seed)
            sums.setdefault(unit, {}).setdefault((stream, pair.first.task), []).append(value)
    tasks = sorted({task for row in sums.values() for task in row})
    table = [[mean(row.get(task, [])) for task in tasks] for _, row in sorted(sums.items())]
    return paired(np.array(table).reshape(len(sums), len(tasks)))


def comparisons(results: Results) -> list[dict[str, Any]]:
    """Return a row for every contrast and student family: over tasks 2 and on, where experience can help."""
    arms = results.grid.arms
    contrasts = [("full", other) for other in arms if other != "full"] if "full" in arms else []
    contrasts += [(a, b) for a, b in CONTRASTS if a in arms and b in arms]
    rows = []
    for first, second in contrasts:
        for family in results.families:
            found = pairs(results, first, second, from_place=2)
            values = [accuracy(p.first, family) - accuracy(p.second, family) for p in found]
            interval = difference(results, first, second, family)
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "family": family,
                    "pairs": len(found),
                    "difference": mean(values),
                    "low": interval.low if interval else math.nan,
                    "high": interval.high if interval else math.nan,
                    "runs": interval.runs if interval else 0,
                }
            )
    return rows


def arm_rows(results: Results) -> list[dict[str, Any]]:
    """Return what each arm came to, means over its finished tasks."""
    rows = []
    for arm in results.grid.arms:
        tasks = list(results.tasks(arm))
        if not tasks:
            continue
        row: dict[str, Any] = {"arm": arm, "tasks": len(tasks)}
        for family in results.families:
            row[f"accuracy_{family}"] = mean(accuracy(task, family) for task in tasks)
            row[f"later_{family}"] = mean(accuracy(task, family) for task in tasks if task.place > 1)
            row[f"area_{family}"] = mean(_areas(results, arm, family))
        row |= {
            "delivered": mean(task.delivered for task in tasks),
            "accepted_share": mean(task.accepted / max(1, task.requested) for task in tasks),
            "tokens": mean(task.tokens for task in tasks),
            "tokens_most": max(task.tokens for task in tasks),
            "tokens_accepted_share": mean(task.tokens_accepted / max(1, task.tokens) for task in tasks),
            "fidelity": mean(task.fidelity for task in tasks),
            "vendi": mean(task.vendi for task in tasks),
            "vendi_untrained": mean(task.vendi_untrained for task in tasks),
            "distinct_2": mean(task.distinct_2 for task in tasks),
            "seconds": mean(task.seconds for task in tasks),
        }
        rows.append(row)
    return rows


def _areas(results: Results, arm: str, family: str) -> Iterator[float]:
    wanted = {
        (stream, task.card.name): task.card.samples for stream, s in results.grid.streams.items() for task in s.tasks
    }
    for cell, curves in results.curves.items():
        if cell.arm == arm:
            for task, families in curves.items():
                if family in families:
                    yield metrics.area(families[family], wanted[cell.stream, task])


def bounds(results: Results) -> list[dict[str, Any]]:
    """Return, task by task, what students of the seeds, of the untrained policy and of all real data came to."""
    rows = []
    for stream, loaded in results.grid.streams.items():
        for card in (task.card for task in loaded.tasks):
            tasks = [task for task in results.tasks() if (task.stream, task.task) == (stream, card.name)]
            for family in results.families:
                row: dict[str, Any] = {"stream": stream, "task": card.name, "family": family}
                for source in ("seeds", "untrained", "real"):
                    row[source] = mean(accuracy(task, family, source) for task in tasks)
                for arm in results.grid.arms:
                    row[arm] = mean(accuracy(task, family) for task in tasks if task.arm == arm)
                rows.append(row)
    return rows


def base_models(cells: Iterable[CellResult]) -> list[str]:
    """Return the digests of all base models that wrote: more than one means that cells cannot be compared."""
    return sorted({started.base_model for cell in cells for started in cell.begun})


def mean(values: Iterable[float]) -> float:
    """Return the mean of those that are not NaN."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
