"""python -m benchmarks.stream run|status|report|repeat|aa: see benchmarks/README.md."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stream.arms import ARMS
from benchmarks.stream.cells import places, run_cell
from benchmarks.stream.grid import Grid, kept_grid, make_grid, read_grid
from benchmarks.stream.intervals import SCENARIOS, false_positives
from benchmarks.stream.reading import read_cell
from benchmarks.stream.report import write_report
from benchmarks.stream.running import CELLS, missing, run_grid
from synlearner.agent.watcher import Silent
from synlearner.errors import ConfigError, SynLearnerError
from synlearner.progress import duration


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        found = args.perform(args)
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return int(not found.get("equal", True))
    except SynLearnerError as error:
        print(f"stream: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stream: interrupted; nothing is lost: run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a grid, or go on with it")
    run.add_argument("grid", nargs="?", type=Path, help="a YAML file; options give what it leaves open, or all")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time")
    run.add_argument("--streams", nargs="+", metavar="FILE")
    run.add_argument("--arms", nargs="+", metavar="NAME", help=", ".join(ARMS))
    for name in ("orders", "seeds", "tokens", "tasks", "samples", "probe"):
        run.add_argument(f"--{name}", type=int, metavar="N")
    run.add_argument("--set", dest="settings", action="append", metavar="KEY=VALUE", help="of every arm")
    run.set_defaults(perform=_run)
    for name, perform, what in (
        ("status", _status, "which cells are there, and how long the others will take"),
        ("report", _report, "write FOLDER/report/: report.html, PNGs, CSVs, report.json"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        command.set_defaults(perform=perform)
    repeat = commands.add_parser("repeat", help="run one cell again elsewhere, and compare the digests")
    repeat.add_argument("cell", help="its name, as `status` gives it")
    repeat.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    repeat.add_argument("--into", type=Path, required=True, metavar="NEW")
    repeat.set_defaults(perform=_repeat)
    aa = commands.add_parser("aa", help="how often the statistics find a difference between an arm and itself")
    aa.add_argument("--runs", type=int, default=9, metavar="N")
    aa.add_argument("--tasks", type=int, default=7, metavar="N")
    aa.add_argument("--repeats", type=int, default=2000, metavar="N")
    aa.set_defaults(perform=_aa)
    return parser


PARTS = ("streams", "arms", "orders", "seeds", "tokens", "tasks", "samples", "probe", "settings")


def _run(args: argparse.Namespace) -> dict[str, Any]:
    run_grid(_grid(args), args.out, jobs=args.jobs)
    return _status(args)


def _grid(args: argparse.Namespace) -> Grid:
    given = {name: value for name in PARTS if (value := getattr(args, name)) is not None}
    if args.grid:
        return read_grid(args.grid, given)
    return make_grid(given, Path(), "options") if given else kept_grid(args.out)


def _status(args: argparse.Namespace) -> dict[str, Any]:
    grid = kept_grid(args.out, reading=True)
    found = [read_cell(args.out / CELLS, grid, cell) for cell in grid.cells]
    return {
        "cells": len(found),
        "missing": missing(args.out, grid, found),
        "done": {
            result.cell.name: {
                "digests": result.digests,
                "tokens": [task.tokens for task in result.tasks],
                "time": duration(sum(task.seconds for task in result.tasks)),
            }
            for result in found
            if result.complete
        },
    }


def _report(args: argparse.Namespace) -> dict[str, Any]:
    data = write_report(args.out, kept_grid(args.out, reading=True))
    page = args.out / "report" / "report.html"
    return {"page": str(page), "cells": data["cells"], "missing": data["missing"]}


def _repeat(args: argparse.Namespace) -> dict[str, Any]:
    grid = kept_grid(args.out)
    cell = next((cell for cell in grid.cells if cell.name == args.cell), None)
    if cell is None:
        raise ConfigError(f"cell {args.cell!r:.100} is none of the grid's: `status` lists them")
    if args.into.exists() and any(args.into.iterdir()):
        raise ConfigError(f"'{args.into}' is not empty: pass a new folder")
    run_cell(args.into, grid, cell, lambda _: Silent())
    before, after = (read_cell(folder, grid, cell).digests for folder in (args.out / CELLS, args.into))
    homes = [str(place.home) for place in places(args.into, grid, cell)]
    return {"cell": cell.name, "equal": before == after, "before": before, "after": after, "homes": homes}


def _aa(args: argparse.Namespace) -> dict[str, Any]:
    shares = {
        name: false_positives(noise, runs=args.runs, tasks=args.tasks, repeats=args.repeats)
        for name, noise in SCENARIOS.items()
    }
    return {
        "runs": args.runs,
        "tasks": args.tasks,
        "repeats": args.repeats,
        "false_positives": shares,
        "worst": max(shares.values()),
        "limit": 0.05,
    }


if __name__ == "__main__":
    sys.exit(main())
