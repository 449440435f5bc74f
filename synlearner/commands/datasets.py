"""Delivered data sets."""

from argparse import Namespace
from pathlib import Path

from synlearner.commands.reading import reading
from synlearner.commands.result import Result


def export(args: Namespace) -> Result:
    """Write a delivered data set."""
    from synlearner.agent.datasets import delivered_rows, export_dataset, without_leaks  # noqa: PLC0415

    with reading(args) as home:
        dataset = without_leaks(delivered_rows(home.log, args.task), args.against)
        files = [str(file) for file in export_dataset(dataset, args.format, Path(args.out), home.blobs)]
    told = {"task": args.task, "rows": len(dataset.rows), "removed": dataset.removed, "files": files}
    lines = [f"{c.name}: {c.removed} of {c.compared} rows share their wording with it" for c in dataset.compared]
    return Result(told, "\n".join([*lines, *files]))
