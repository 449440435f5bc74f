"""Running streams, and fetching what that needs."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from synlearner.commands.result import Result

if TYPE_CHECKING:
    from synlearner.agent import RunReport


def run(args: Namespace) -> Result:
    """Run a stream, or go on with it."""
    from synlearner.demo import built_in  # noqa: PLC0415

    return _run(args, built_in(args.stream) or args.stream, args.settings)


def demo(args: Namespace) -> Result:
    """Run the built-in stream."""
    from synlearner.demo import DEMO_SETTINGS, stream_path  # noqa: PLC0415

    return _run(args, stream_path(), [*DEMO_SETTINGS, *args.settings])


def _run(args: Namespace, stream: str | Path, settings: list[str]) -> Result:
    from synlearner.agent import Agent, load_stream, parse_settings, preset  # noqa: PLC0415
    from synlearner.agent.user_reward import load_function  # noqa: PLC0415
    from synlearner.events.addresses import shown  # noqa: PLC0415
    from synlearner.progress import watching  # noqa: PLC0415

    # All three are checked before a home is made or opened.
    asked = parse_settings(settings, base=preset(args.preset).model_dump() if args.preset else None)
    load_stream(stream)
    if asked.user_reward.function:
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # last: nothing here can stand in for an installed package
        load_function(asked.user_reward.function)
    with Agent.open(args.home) as agent, watching(quiet=args.quiet) as watcher:
        report = agent.run(stream, seed=args.seed, settings=settings, preset=args.preset, watcher=watcher)
    return Result(report.model_dump(mode="json"), _run_table(report, shown(args.home)))


def _run_table(report: "RunReport", home: str) -> str:
    from synlearner.tables import table  # noqa: PLC0415

    rows = []
    for task in report.tasks:
        student = task.student
        if student is None:
            rows.append([task.name, str(task.delivered), "", "", "", "", "", ""])
            continue
        low, high = student.interval
        known = student.reference
        reference = (known.seeds, known.seeds_and_delivered, known.untrained, known.real)
        accuracy = f"{student.accuracy:.3f} [{low:.3f}, {high:.3f}]"
        figures = ["" if value is None else f"{value:.3f}" for value in reference]
        rows.append([task.name, str(task.delivered), accuracy, f"{student.macro_f1:.3f}", *figures])
    head = [
        "task",
        "delivered",
        "student accuracy, 95 %",
        "macro F1",
        "seeds alone",
        "seeds + delivered",
        "untrained policy",
        "whole real train",
    ]
    warned = [(task.name, task.judges.alarms) for task in report.tasks if task.judges and task.judges.alarms]
    notes = "".join(
        f"\nWARNING: in {alarms} rounds of {name} the policy seemed to learn the judge: see docs/method.md, held-out judge"
        for name, alarms in warned
    )
    notes += (
        f"\nThe last four columns: accuracy of the same student on the seeds alone, on seeds and delivered samples together, on "
        f"as many samples of the untrained policy, and on the real train set.\nrun {report.run_id}, {report.events} events, digest {report.digest}\n"
        f"next: synlearner dataset export --home {home} --task {report.tasks[0].name if report.tasks else 'NAME'} --out data.jsonl"
    )
    return table(head, rows) + notes


def feedback(args: Namespace) -> Result:
    """Judge something."""
    from synlearner.agent import Agent  # noqa: PLC0415

    with Agent.open(args.home, create=False) as agent:
        found = agent.feedback(args.target, args.score, args.text, args.source)
    credited = ", ".join(found["credited"]) or "no experience item"
    return Result(found, f"{args.target} judged {args.score:g}: {found['effect']}; credited: {credited}")


def presets(args: Namespace) -> Result:  # noqa: ARG001
    """Print in what each preset differs from the defaults."""
    from synlearner.agent import PRESETS, preset_differences  # noqa: PLC0415

    found = {name: preset_differences(name) for name in PRESETS}
    data = {
        name: {key: {"default": old, "preset": new, "why": why} for key, (old, new, why) in rows.items()}
        for name, rows in found.items()
    }
    texts = []
    for name, rows in found.items():
        lines = [
            f"  {f'{key}={_plain(new)}':<42} {why} (default {_plain(old)})" for key, (old, new, why) in rows.items()
        ]
        texts.append("\n".join([f"{name}{':' if lines else ': the defaults'}", *lines]))
    return Result({"presets": data}, "\n".join(texts))


def _plain(value: object) -> str:
    """Return a value as `--set` takes it."""
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def fetch(args: Namespace) -> Result:  # noqa: ARG001
    """Fetch the embedded models."""
    from synlearner.policies.fetch import MODELS  # noqa: PLC0415
    from synlearner.policies.fetch import fetch as fetch_model  # noqa: PLC0415

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    folders = {name: str(fetch_model(name, progress=tell)) for name in MODELS}
    return Result({"models": folders}, "\n".join(f"{name}: {folder}" for name, folder in folders.items()))
