"""Transfer matrices of the cells that were probed, and what follows from them over all runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.stream import metrics
from benchmarks.stream.comparing import Results, accuracy, mean
from benchmarks.stream.intervals import paired

Row = Mapping[str, Any]

MEASURES: Mapping[str, Callable[[Row], metrics.Array]] = {
    "forward": lambda row: metrics.forward_by_task(np.array(row["matrix"]), np.array(row["untouched"])),
    "backward": lambda row: metrics.backward_by_task(np.array(row["matrix"])),
    "forgetting": lambda row: metrics.forgetting_by_task(np.array(row["matrix"])),
}


def transfer(results: Results) -> list[dict[str, Any]]:
    """Return the transfer matrix of every cell whose probes are all there, with what follows from it."""
    rows = []
    for cell, found in results.cells.items():
        tasks = [task.card.name for task in results.grid.tasks(cell)]
        if len(found.probes) != (len(tasks) + 1) * len(tasks):
            continue
        for family in results.families:
            whole = np.array(
                [[accuracy(found.probes[i, name], family) for name in tasks] for i in range(len(tasks) + 1)]
            )
            untouched, matrix = whole[0], whole[1:]
            rows.append(
                {
                    "arm": cell.arm,
                    "stream": cell.stream,
                    "order": cell.order,
                    "seed": cell.seed,
                    "family": family,
                    "tasks": tasks,
                    "untouched": untouched.tolist(),
                    "matrix": matrix.tolist(),
                    "final": metrics.final_accuracy(matrix),
                    "learning": metrics.learning_accuracy(matrix),
                    "forward": metrics.forward_transfer(matrix, untouched),
                    "backward": metrics.backward_transfer(matrix),
                    "forgetting": metrics.forgetting(matrix),
                }
            )
    return rows


def transfer_means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return forward transfer, backward transfer and forgetting of each arm over all its matrices, with intervals."""
    found = []
    for arm, family in dict.fromkeys((row["arm"], row["family"]) for row in rows):
        mine = [row for row in rows if (row["arm"], row["family"]) == (arm, family)]
        for measure, of in MEASURES.items():
            table_R_T = by_run_and_task(mine, of)
            interval = paired(table_R_T)
            found.append(
                {
                    "arm": arm,
                    "family": family,
                    "measure": measure,
                    "mean": mean(table_R_T.ravel().tolist()),
                    "low": interval.low if interval else np.nan,
                    "high": interval.high if interval else np.nan,
                    "runs": len(mine),
                }
            )
    return found


def by_run_and_task(rows: Sequence[Row], of: Callable[[Row], metrics.Array]) -> metrics.Array:
    """Return a measure of each matrix, a row each, with a column for every task by name: orders differ. NaN for none."""
    tasks = sorted({(row["stream"], task) for row in rows for task in row["tasks"]})
    table = np.full((len(rows), len(tasks)), np.nan)
    for line, row in zip(table, rows, strict=True):
        for task, value in zip(row["tasks"], of(row), strict=True):
            line[tasks.index((row["stream"], task))] = value
    return table
