"""The figures that experience has to reach for the claim to hold, and whether the results of a grid reach them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.stream.reaching import middle_share

Row = Mapping[str, Any]

POINTS = 0.05
"""Accuracy that `full` is to be ahead of an arm that carries nothing over."""

FORGOTTEN = 0.01
SHARE = 0.5
"""Of the tokens of `isolated`, to come to where it ends."""


def goals(compared: Sequence[Row], reached: Sequence[Row], transferred: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for every goal: its rule, what was found with its interval, and `reached`: yes, no, or not known.

    Args:
        compared: Of `comparisons`.
        reached: Of `reaching`.
        transferred: Of `transfer_means`.
    """
    rows = [*_differences(compared), *_transfers(transferred)]
    share = middle_share(reached)
    rows.append(_row("tokens of full to the end of isolated", f"at most {SHARE} (median)", "", share, share <= SHARE))
    return rows


def _differences(compared: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for first, second, least in (
        ("full", "isolated", POINTS),
        ("full", "plain", POINTS),
        ("memory", "frozen", 0.0),
        ("weights", "frozen", 0.0),
    ):
        rule = f"at least {least}, interval above 0" if least else "interval above 0"
        for row in compared:
            if (row["first"], row["second"]) == (first, second):
                found, low = row["difference"], row["low"]
                yield _row(f"{first} − {second}", rule, row["family"], found, found >= least and low > 0, row)


def _transfers(transferred: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in transferred:
        if row["arm"] == "full" and row["measure"] == "forward":
            yield _row("forward transfer of full", "interval above 0", row["family"], row["mean"], row["low"] > 0, row)
        if row["arm"] == "full" and row["measure"] == "forgetting":
            rule = f"at most {FORGOTTEN}"
            yield _row("forgetting of full", rule, row["family"], row["mean"], row["mean"] <= FORGOTTEN, row)


def _row(goal: str, rule: str, family: str, found: float, holds: bool, of: Row | None = None) -> dict[str, Any]:
    low, high = (of["low"], of["high"]) if of else (math.nan, math.nan)
    known = not math.isnan(found) and ("interval" not in rule or not math.isnan(low))
    told = {"goal": goal, "rule": rule, "family": family, "found": found, "low": low, "high": high}
    return told | {"reached": ("yes" if holds else "no") if known else "not known"}
