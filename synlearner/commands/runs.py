"""Running streams, and fetching what that needs."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from synlearner.commands.result import Result

if TYPE_CHECKING:
    from synlearner.agent import RunReport


def run(args: Namespace) -> Result:
    """Run a stream, or go on with it."""
    return _run(args, args.stream, args.settings)


def demo(args: Namespace) -> Result:
    """Run the built-in stream."""
    from synlearner.demo import DEMO_SETTINGS, stream_path  # noqa: PLC0415

    return _run(args, stream_path(), [*DEMO_SETTINGS, *args.settings])


def _run(args: Namespace, stream: str | Path, settings: list[str]) -> Result:
    from synlearner.agent import Agent, load_stream, parse_settings  # noqa: PLC0415
    from synlearner.progress import watching  # noqa: PLC0415

    # Both are checked before a home is made or opened.
    parse_settings(settings)
    load_stream(stream)
    with Agent.open(args.home) as agent, watching(quiet=args.quiet) as watcher:
        report = agent.run(stream, seed=args.seed, settings=settings, watcher=watcher)
    return Result(report.model_dump(mode="json"), _run_table(report, args.home))


def _run_table(report: "RunReport", home: str) -> str:
    from synlearner.tables import table  # noqa: PLC0415

    rows = []
    for task in report.tasks:
        student = task.student
        if student is None:
            rows.append([task.name, str(task.delivered), "", "", "", "", ""])
            continue
        low, high = student.interval
        reference = (student.reference.seeds, student.reference.untrained, student.reference.real)
        accuracy = f"{student.accuracy:.3f} [{low:.3f}, {high:.3f}]"
        figures = ["" if value is None else f"{value:.3f}" for value in reference]
        rows.append([task.name, str(task.delivered), accuracy, f"{student.macro_f1:.3f}", *figures])
    head = [
        "task",
        "delivered",
        "student accuracy, 95 %",
        "macro F1",
        "seeds alone",
        "untrained policy",
        "whole real train",
    ]
    notes = (
        f"\nThe last three columns: accuracy of the same student on the seeds alone, on as many samples of the "
        f"untrained policy, and on the real train set.\nrun {report.run_id}, {report.events} events, digest {report.digest}\n"
        f"next: synlearner dataset export --home {home} --task {report.tasks[0].name if report.tasks else 'NAME'} --out data.jsonl"
    )
    return table(head, rows) + notes


def fetch(args: Namespace) -> Result:  # noqa: ARG001
    """Fetch the embedded models."""
    import sys  # noqa: PLC0415

    from synlearner.policies.fetch import MODELS  # noqa: PLC0415
    from synlearner.policies.fetch import fetch as fetch_model  # noqa: PLC0415

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    folders = {name: str(fetch_model(name, progress=tell)) for name in MODELS}
    return Result({"models": folders}, "\n".join(f"{name}: {folder}" for name, folder in folders.items()))
