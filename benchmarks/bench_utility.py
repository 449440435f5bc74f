"""Whether what samples are worth to a student on the seeds tells what they are worth to it on real test rows.

    python benchmarks/bench_utility.py STREAM.yaml HOME [HOME ...]

For each finished task of the homes, whose cards have test data: what a prompt's accepted samples are worth on the test rows,
left out of a student of all the task's accepted samples, is the truth. Printed are rank correlations with it, over prompts:
of the `outcome` that strategies are chosen by (the mean gain), of the `utility` on the seeds when the round was scored,
and of both in equal parts (`weighed`). Means of labels are taken out of all of them first, as the choice of strategies does.
`samples`: the same for single samples within their group, with label fidelity in the place of the outcome: what would be paid for.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from synlearner.agent.bandit import weighed
from synlearner.agent.cards import Card, Task, load_stream
from synlearner.agent.crossfit import newest
from synlearner.agent.features import embed_rows
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.agent.utility import utilities
from synlearner.agent.vectors import recorded
from synlearner.events import Home
from synlearner.events.types import SetScored, TaskArrived, TaskFinished
from synlearner.memory import Embedder, default_embedder

Figures = dict[str, float]


@dataclass(slots=True)
class Told:
    """A task: its prompts, and of each accepted sample what is said of it."""

    prompts: list[tuple[str, int]] = field(default_factory=list)
    """Label, and samples asked for."""
    of: list[int] = field(default_factory=list)
    """The prompt of each accepted sample."""
    gain: list[float] = field(default_factory=list)
    fidelity: list[float] = field(default_factory=list)
    utility: list[float] = field(default_factory=list)

    def outcomes(self, values: Sequence[float]) -> list[tuple[str, str, float]]:
        """Return what the prompts' accepted samples have of *values*, per sample asked for."""
        sums = np.bincount(self.of, weights=values, minlength=len(self.prompts))
        return [(label, "", float(total / asked)) for total, (label, asked) in zip(sums, self.prompts, strict=True)]


def take_round(told: Told, home: Home, task: TaskState, seeds_S_D: np.ndarray) -> None:
    """Add the round that was just scored, with what the loop would have said of it."""
    plan, here = task.round.plan, {score.sample for score in task.round.scores}
    assert plan is not None
    earlier = [sample for sample in task.pool if sample.seq not in here]
    known = [*(earlier[i] for i in newest([s.label for s in earlier])), *(s for s in task.pool if s.seq in here)]
    asked = {seq: sample.prompt for seq, sample in task.round.samples}
    parts = {score.sample: score.parts for score in task.round.scores}
    new = [sample.seq for sample in task.pool if sample.seq in here]
    first = len(told.prompts)
    told.prompts += [(prompt.label, prompt.samples) for prompt in plan.prompts]
    told.of += [first + asked[seq] for seq in new]
    told.gain += [parts[seq]["gain"] for seq in new]
    told.fidelity += [parts[seq]["fidelity"] for seq in new]
    if new:
        shown = [plan.prompts[asked[seq]].exemplars for seq in new]
        told.utility += utilities(task.card, vectors_of(home, known), [s.label for s in known], seeds_S_D, shown)


def vectors_of(home: Home, samples: Sequence[PoolSample]) -> np.ndarray:
    """Return the recorded unit rows of *samples*."""
    return recorded(home.blobs, [(sample.matrix, sample.place) for sample in samples])


def truth_of(home: Home, task: TaskState, of: Task, embedder: Embedder) -> list[float]:
    """Return what each accepted sample is worth on the test rows."""
    assert of.test is not None
    rows = of.test.rows
    tested: Card = task.card.model_copy(update={"seeds": rows})
    labels = [sample.label for sample in task.pool]
    known = vectors_of(home, task.pool)
    return utilities(tested, known, labels, embed_rows(embedder, task.card, rows), [()] * len(labels))


def figures_of(told: Told, truth: Sequence[float]) -> dict[str, Figures]:
    """Return the rank correlations, over prompts and within groups."""
    outcomes = told.outcomes(told.gain)
    utility = [value for *_, value in told.outcomes(told.utility)]
    labels = [label for label, _ in told.prompts]
    real = _centred([value for *_, value in told.outcomes(truth)], labels)
    sides = {
        "outcome": [value for *_, value in outcomes],
        "utility": utility,
        "weighed": [value for *_, value in weighed(outcomes, utility, 1.0)],
    }
    own = _centred(truth, told.of)
    within = {
        name: _centred(values, told.of) for name, values in (("fidelity", told.fidelity), ("utility", told.utility))
    }
    within["both"] = sum(values / values.std() for values in within.values())
    return {
        "prompts": {name: _rank(_centred(values, labels), real) for name, values in sides.items()},
        "samples": {name: _rank(values, own) for name, values in within.items()},
    }


def _centred(values: Sequence[float], groups: Sequence[object]) -> np.ndarray:
    found, names = np.array(values, dtype=float), np.array(groups)
    for name in set(groups):
        found[names == name] -= found[names == name].mean()
    return found


def _rank(one: np.ndarray, other: np.ndarray) -> float:
    return round(float(spearmanr(one, other).statistic), 3)


def study(path: Path, tasks: dict[str, Task], embedder: Embedder) -> Iterator[tuple[str, dict[str, Figures]]]:
    """Give the figures of every finished task of a home."""
    state, told, seeds = RunState(), Told(), np.zeros((0, 0), dtype=np.float32)
    with Home.open(path) as home:
        for event in home.log.read():
            task = state.task
            if isinstance(event.fact, TaskFinished) and task is not None and event.task in tasks and task.pool:
                yield event.task, figures_of(told, truth_of(home, task, tasks[event.task], embedder))
            state = apply(state, event)
            if isinstance(event.fact, TaskArrived) and state.task is not None:
                told, seeds = Told(), embed_rows(embedder, state.task.card, state.task.card.seeds)
            now = state.task.round.plan if state.task is not None else None
            if isinstance(event.fact, SetScored) and state.task and now and now.purpose != "reference":
                take_round(told, home, state.task, seeds)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path)
    parser.add_argument("homes", type=Path, nargs="+", metavar="HOME")
    args = parser.parse_args()
    tasks = {task.card.name: task for task in load_stream(args.stream).tasks if task.card.labels and task.test}
    embedder = default_embedder("")
    found = [(f"{path}: {name}", figures) for path in args.homes for name, figures in study(path, tasks, embedder)]
    means = {
        unit: {
            name: round(statistics.mean(figures[unit][name] for _, figures in found), 3) for name in found[0][1][unit]
        }
        for unit in ("prompts", "samples")
    }
    print(json.dumps({"benchmark": "utility", "tasks": dict(found), "means": means}))


if __name__ == "__main__":
    main()
