"""The report of a grid: tables as HTML, CSV and JSON, figures as PNG."""

import csv
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.stream.arms import MEANT
from benchmarks.stream.comparing import Results, arm_rows, base_models, bounds, comparisons
from benchmarks.stream.curves import kept_curves
from benchmarks.stream.figures import figures
from benchmarks.stream.goals import goals
from benchmarks.stream.grid import Grid
from benchmarks.stream.reaching import reaching
from benchmarks.stream.reading import read_cell
from benchmarks.stream.running import CELLS, missing
from benchmarks.stream.transfer import transfer, transfer_means
from synlearner.events.files import cannot_write

Rows = Sequence[Mapping[str, Any]]


def read_results(out: Path, grid: Grid) -> Results:
    """Return everything that the cells in *out* have come to."""
    cells = {cell: read_cell(out / CELLS, grid, cell) for cell in grid.cells}
    kept = {cell: kept_curves(out / CELLS, grid, cell) for cell in grid.cells}
    return Results(grid, cells, {cell: curves for cell, curves in kept.items() if curves is not None})


def write_report(out: Path, grid: Grid) -> dict[str, Any]:
    """Write `report/` in *out* and return what `report.json` holds."""
    results = read_results(out, grid)
    folder = out / "report"
    tables = _results_tables(results)
    drawn = figures(results, tables["comparisons"], tables["transfer"])
    data = {
        "grid": grid.file.model_dump(mode="json"),
        "cells": len(grid.cells),
        "missing": missing(out, grid, list(results.cells.values())),
        "base_models": base_models(results.cells.values()),
        "hours": sum(task.seconds for task in results.tasks()) / 3600,
        "digests": {cell.name: found.digests for cell, found in results.cells.items() if found.digests},
        **tables,
    }
    try:
        folder.mkdir(exist_ok=True)
        (folder / "report.json").write_text(json.dumps(_plain(data), indent=1), encoding="utf-8")
        for name, rows in tables.items():
            _write_csv(folder / f"{name}.csv", rows)
        for name, picture in drawn.items():
            (folder / name).write_bytes(picture)
        (folder / "report.html").write_text(_page(results, data, drawn), encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder, error) from error
    return data


def _results_tables(results: Results) -> dict[str, list[dict[str, Any]]]:
    compared, reached, matrices = comparisons(results), reaching(results), transfer(results)
    means = transfer_means(matrices)
    return {
        "goals": goals(compared, reached, means),
        "arms": arm_rows(results),
        "comparisons": compared,
        "tasks": bounds(results),
        "reaching": reached,
        "transfer": matrices,
        "transfer_means": means,
        "results": [_flat(asdict(task)) for task in results.tasks()],
    }


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{before}{key}"
        found |= _flat(value, f"{name}_") if isinstance(value, Mapping) else {name: value}
    return found


def _plain(value: Any) -> Any:
    """Return *value* without NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_csv(file: Path, rows: Rows) -> None:
    head = list(dict.fromkeys(key for row in rows for key in row))
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, head)
        writer.writeheader()
        writer.writerows({key: "" if _plain(value) is None else value for key, value in row.items()} for row in rows)


# ---- the page ------------------------------------------------------------------------------------------------


def _page(results: Results, data: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only a report needs it

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    versions = [versions for cell in results.cells.values() for versions in cell.versions]
    told = {", ".join(f"{name} {number}" for name, number in found.items() if number) for found in versions}
    return environment.get_template("page.html").render(
        grid=data["grid"],
        streams=list(results.grid.streams),
        arms=results.grid.arms,
        cells=data["cells"],
        missing=data["missing"],
        base_models=data["base_models"],
        hours=data["hours"],
        curves=bool(results.curves),
        tables=_tables(data, drawn),
        common=[*MEANT, *results.grid.file.settings],
        versions="; ".join(sorted(told)) or "none yet",
    )


def _tables(data: Mapping[str, Any], drawn: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        _table("What the claim asks for", data["goals"], 3, "Experience helps if all of these are reached."),
        _table(
            "What each arm came to",
            data["arms"],
            1,
            "Means over finished tasks. later: tasks 2 and on. area: mean accuracy over 1 to all samples.",
            _uris(drawn, "curves"),
        ),
        _table(
            "Differences in accuracy, tasks 2 and on",
            data["comparisons"],
            3,
            "First less second; 95 % paired bootstrap over runs and tasks, widened for few runs. No interval with "
            "fewer than two runs: such a difference says nothing about chance. Intervals are not corrected for their number.",
            _uris(drawn, "forest"),
        ),
        _table("Task by task, with the bounds", data["tasks"], 3, "Accuracy of students of seeds alone, of the untrained policy's samples, of all real data; then of each arm."),
        _table("Tokens to the accuracy at which isolated ends", data["reaching"], 4, "The first point of the curve that is there, by one rule for both."),
        _table("Transfer", data["transfer_means"], 3, "Means over tasks and matrices, 95 % as above. Forgetting is above 0 by noise alone."),
        _table(
            "Transfer matrices",
            [{k: v for k, v in row.items() if k not in {"matrix", "untouched", "tasks"}} for row in data["transfer"]],
            5,
            "From probes: small data sets made by forks of the homes after each task, nothing being learnt.",
            _uris(drawn, "transfer"),
        ),
    ]  # fmt: skip


def _table(title: str, rows: Rows, texts: int, note: str, pictures: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    head = list(rows[0]) if rows else []
    shown = [[_shown(row[key]) for key in head] for row in rows]
    names = [name.replace("_", " ") for name in head]
    return {"title": title, "head": names, "rows": shown, "texts": texts, "note": note, "figures": list(pictures)}


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)


def _uris(drawn: Mapping[str, bytes], kind: str) -> list[tuple[str, str]]:
    mine = [(name, picture) for name, picture in drawn.items() if name.startswith(kind)]
    return [(name, f"data:image/png;base64,{b64encode(picture).decode()}") for name, picture in mine]
