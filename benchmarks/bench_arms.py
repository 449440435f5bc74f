"""Arms of settings side by side on one task of a stream: what each change does to the data set.

    python benchmarks/bench_arms.py STREAM.yaml TASK --arm base= --arm "topics=dai.proposals=8 dai.attributes=[topic]"

Every arm is a whole run in a home of its own, with the real model; each seed counts as one run. Vendi scores are of
the delivered samples and of the untrained policy's, equally many of each label on both sides.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from synlearner.agent import Agent, Stream, load_stream
from synlearner.agent.cards import Card
from synlearner.agent.constraints import matched
from synlearner.agent.diversity import distinct_2, vendi
from synlearner.agent.features import embed_rows
from synlearner.agent.parsing import joined, normal
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.events.home import Home
from synlearner.events.types import TaskFinished
from synlearner.memory import default_embedder


def last_task(home: Path) -> TaskState:
    """Return the task of a one-task run as it was when it was finished."""
    state, task = RunState(), None
    with Home.open(home) as opened:
        for event in opened.log.read():
            if isinstance(event.fact, TaskFinished):
                task = state.task
            state = apply(state, event)
    assert task is not None
    return task


def figures(task: TaskState) -> dict[str, float]:
    """Return what the task came to."""
    embedder = default_embedder("")
    card: Card = task.card
    chosen = set(task.delivered or ())
    delivered = [sample for sample in task.pool if sample.seq in chosen]
    mine, theirs = matched(card, delivered, task.reference)
    vectors = [
        embed_rows(embedder, card, [samples[i].row for i in places])
        for samples, places in ((delivered, mine), (task.reference, theirs))
    ]
    students = {s.source: s.accuracy for s in task.students if s.split == "test" and s.family == "embedding"}
    return {
        "accepted_share": task.accepted / max(1, task.requested),
        "delivered": len(delivered),
        "compared": len(mine),
        "vendi": vendi(vectors[0]),
        "vendi_untrained": vendi(vectors[1]),
        "distinct_2": distinct_2([normal(joined(card, sample.row)) for sample in delivered]),
        "worth": float(np.mean([sample.worth for sample in delivered])) if delivered else 0.0,
        "tokens": task.tokens,
        **{f"student_{source}": accuracy for source, accuracy in students.items()},
    }


def run(stream: Stream, settings: list[str], seed: int) -> dict[str, float]:
    """Run one arm once."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with Agent.open(Path(folder) / "home") as agent:
            agent.run(stream, seed=seed, settings=settings)
        seconds = time.perf_counter() - begun
        return figures(last_task(Path(folder) / "home")) | {"seconds": seconds}


def main() -> None:
    """Run all arms and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream")
    parser.add_argument("task")
    parser.add_argument("--arm", action="append", required=True, metavar="NAME=SETTING SETTING…")
    parser.add_argument("--all", default="", metavar="SETTING…", help="settings of every arm")
    parser.add_argument("--seeds", type=int, default=2, metavar="N")
    args = parser.parse_args()
    whole = load_stream(args.stream)
    stream = Stream(whole.name, "", [task for task in whole.tasks if task.card.name == args.task])
    found: dict[str, Any] = {}
    for arm in args.arm:
        name, _, own = arm.partition("=")
        runs = [run(stream, [*args.all.split(), *own.split()], seed) for seed in range(args.seeds)]
        found[name] = {key: round(statistics.fmean(r[key] for r in runs), 3) for key in runs[0]} | {"runs": len(runs)}
        print(json.dumps({name: found[name]}), flush=True)  # long: whoever watches sees every arm


if __name__ == "__main__":
    main()
