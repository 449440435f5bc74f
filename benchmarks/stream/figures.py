"""The figures: forest of differences, curves over samples, transfer matrices. As PNG bytes; equal data, equal bytes."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.stream.comparing import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: dict[Any, Any] = {"font.size": 9, "figure.dpi": 120}


def figures(
    results: Results, compared: Sequence[Mapping[str, Any]], matrices: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return file name -> PNG of every figure that there is something to draw for."""
    made: dict[str, bytes] = {}
    for family in results.families:
        rows = [row for row in compared if row["family"] == family and row["pairs"]]
        if rows:
            made[f"forest_{family}.png"] = _draw(partial(_forest, rows=rows), 0.8 + 0.32 * len(rows))
        if results.curves:
            made[f"curves_{family}.png"] = _draw(partial(_curves, results=results, family=family), 3.4)
    for row in matrices:
        name = f"transfer_{row['arm']}_{row['stream']}_o{row['order']}_s{row['seed']}_{row['family']}.png"
        made[name] = _draw(partial(_matrix, row=row), 1.2 + 0.45 * len(row["tasks"]))
    return made


def _draw(plot: Callable[["Axes"], None], height: float) -> bytes:
    from matplotlib import rc_context  # noqa: PLC0415 - only a report needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(6.0, height), layout="constrained")
        plot(figure.add_subplot())
        out = BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _forest(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw differences in points with their intervals; an open mark where there are too few runs for one."""
    for place, row in enumerate(rows):
        known = not math.isnan(row["low"])
        middle = 100 * row["difference"]
        axes.plot(middle, -place, "o", color="#1f5fa8", mfc="#1f5fa8" if known else "white", ms=5)
        if known:
            axes.plot([100 * row["low"], 100 * row["high"]], [-place, -place], color="#1f5fa8", lw=1.5)
    axes.axvline(0, color="#888", lw=0.8)
    axes.set_yticks([-i for i in range(len(rows))], [f"{row['first']} − {row['second']}" for row in rows])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlabel("points of accuracy, tasks 2 and on, 95 % (open: too few runs for an interval)")


def _curves(axes: "Axes", results: Results, family: str) -> None:
    """Draw the mean over tasks and runs of accuracy, against the share of the samples to deliver."""
    wanted = {(name, t.card.name): t.card.samples for name, s in results.grid.streams.items() for t in s.tasks}
    shares = np.linspace(0.1, 1.0, 19)
    for arm in results.grid.arms:
        lines = []
        for cell, curves in results.curves.items():
            for task, families in curves.items() if cell.arm == arm else ():
                if family in families:
                    curve = families[family]
                    at = np.array(curve.samples) / wanted[cell.stream, task]
                    lines.append(np.interp(shares, at, curve.accuracy, right=curve.accuracy[-1]))
        if lines:
            axes.plot(shares, np.mean(lines, axis=0), label=arm, lw=1.5)
    axes.set_xlabel("accepted samples, as a share of those to deliver")
    axes.set_ylabel(f"accuracy ({family})")
    axes.legend(frameon=False, fontsize=7, ncols=2)


def _matrix(axes: "Axes", row: Mapping[str, Any]) -> None:
    values = 100 * np.array([row["untouched"], *row["matrix"]])
    axes.imshow(values, cmap="viridis", aspect="auto")
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            axes.text(j, i, f"{value:.0f}", ha="center", va="center", color="white", fontsize=8)
    axes.set_xticks(range(len(row["tasks"])), row["tasks"], rotation=30, ha="right")
    axes.set_yticks(range(len(values)), ["untouched", *(f"after {task}" for task in row["tasks"])])
    axes.set_xlabel(f"accuracy on, in % ({row['family']})")
