"""Delivered data sets."""

from argparse import Namespace
from pathlib import Path

from synlearner.commands.result import Result


def export(args: Namespace) -> Result:
    """Write a delivered data set."""
    from synlearner.agent.datasets import delivered_rows, export_dataset  # noqa: PLC0415
    from synlearner.events.home import Home  # noqa: PLC0415

    with Home.open(args.home) as home:
        dataset = delivered_rows(home.log, args.task)
    files = [str(file) for file in export_dataset(dataset, args.format, Path(args.out))]
    return Result({"task": args.task, "rows": len(dataset.rows), "files": files}, "\n".join(files))
