"""Delivered data sets."""

from argparse import Namespace
from pathlib import Path

from synlearner.commands.reading import reading
from synlearner.commands.result import Result


def export(args: Namespace) -> Result:
    """Write a delivered data set."""
    from synlearner.agent.datasets import delivered_rows, export_dataset  # noqa: PLC0415

    with reading(args) as home:
        dataset = delivered_rows(home.log, args.task)
    files = [str(file) for file in export_dataset(dataset, args.format, Path(args.out))]
    return Result({"task": args.task, "rows": len(dataset.rows), "files": files}, "\n".join(files))
