"""How far a better writer could take the students: real rows in the place of samples.

    python benchmarks/bench_ceiling.py STREAM.yaml [--samples 40] [HOME ...]

For each task that has real train rows: students of so many real rows as they come (`raw`), and of as many that the seeds'
judge accepts and the delivery chooses among half as many more (`chosen`), with their own labels. No policy can write samples
that are more real than that, so with these judges, this delivery and these students `chosen` is about as far as a policy
can get by whatever it learns. `judge` is how often the judge itself names the label of a test row. With finished homes
`delivered` is what their data sets came to, and `left` how much a perfect writer of as many samples would add.
"""

import argparse
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synlearner.agent.cards import Card, Row, Task, load_stream
from synlearner.agent.config import Settings
from synlearner.agent.delivery import choose_dataset
from synlearner.agent.features import Matrix, embed_rows, meaning_rows
from synlearner.agent.judge import Judge, make_judge
from synlearner.agent.rewards import quality, worth
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, apply
from synlearner.agent.students import LabelledSet, score_student
from synlearner.events import Home
from synlearner.events.types import TaskFinished
from synlearner.memory import default_embedder

FAMILIES = ("embedding", "tfidf")
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Real:
    """A task's real rows."""

    card: Card
    rows: Sequence[Row]
    labels: Sequence[str]
    vectors: Matrix
    worths: Sequence[float]
    accepted: Sequence[bool]
    test: LabelledSet
    judge: float

    def students(self, places: Sequence[int]) -> Figures:
        """Return what students of the rows at *places* come to."""
        train = LabelledSet(
            [self.rows[i] for i in places], [self.labels[i] for i in places], self.vectors[list(places)]
        )
        return {
            family: score_student(family, self.card, train, self.test, bootstrap=100, seed=0).accuracy
            for family in FAMILIES
        }


def real_rows(task: Task) -> Real:
    """Return the real rows of *task*, judged as samples are."""
    assert task.real_train is not None
    assert task.test is not None
    card, embedder, settings = task.card, default_embedder(), Settings()
    labels = [row["label"] for row in task.real_train.rows]
    rows = [{field: row[field] for field in card.fields} for row in task.real_train.rows]
    meant = meaning_rows(card)
    judge = make_judge(
        card, embed_rows(embedder, card, card.seeds), embed_rows(embedder, card, meant) if meant else None
    )
    vectors = embed_rows(embedder, card, rows)
    test = LabelledSet(
        task.test.rows, [row["label"] for row in task.test.rows], embed_rows(embedder, card, task.test.rows)
    )
    fidelity = judge.fidelity(vectors, labels, rows)
    qualities = [quality(card, row) for row in rows]
    return Real(
        card,
        rows,
        labels,
        vectors,
        [worth(float(f), q) for f, q in zip(fidelity, qualities, strict=True)],
        [
            f >= settings.reward.min_fidelity and q >= settings.reward.min_quality
            for f, q in zip(fidelity, qualities, strict=True)
        ],
        test,
        said_by(judge, card, test),
    )


def said_by(judge: Judge, card: Card, test: LabelledSet) -> float:
    """Return how often *judge* finds a test row's own label the likeliest."""
    names = list(card.labels)
    scores = [judge.fidelity(test.vectors, [name] * len(test.rows), test.rows) for name in names]
    return float(
        np.mean([names[best] == label for best, label in zip(np.argmax(scores, axis=0), test.labels, strict=True)])
    )


def draw(real: Real, places: Sequence[int], count: int) -> list[int]:
    """Return the first *count* of *places*, labels in turn."""
    by_label: defaultdict[str, list[int]] = defaultdict(list)
    for place in places:
        by_label[real.labels[place]].append(place)
    turns = sorted((turn, label, place) for label, mine in by_label.items() for turn, place in enumerate(mine))
    return [place for *_, place in turns[:count]]


def ceiling(real: Real, samples: int, repeats: int) -> Figures:
    """Return means over *repeats* draws, by figure and student family."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    card = real.card.model_copy(update={"samples": samples})
    oversample = Settings().loop.oversample
    for repeat in range(repeats):
        order = random.Random(repeat).sample(range(len(real.rows)), len(real.rows))
        wanted = draw(real, [i for i in order if real.accepted[i]], round(samples * oversample))
        pool = [PoolSample(i, real.labels[i], "", real.rows[i], real.worths[i], "", 0) for i in wanted]
        chosen, _ = choose_dataset(card, pool, real.vectors[wanted], frozenset(), Settings().delivery)
        for name, places in (("raw", draw(real, order, samples)), ("chosen", [wanted[i] for i in chosen])):
            for family, value in real.students(places).items():
                found[f"{name}_{family}"].append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def delivered(homes: Sequence[Path]) -> dict[str, list[tuple[int, Figures]]]:
    """Return, by task, how many samples each home delivered and what their students came to."""
    found: defaultdict[str, list[tuple[int, Figures]]] = defaultdict(list)
    for path in homes:
        state = RunState()
        with Home.open(path) as home:
            for event in home.log.read():
                if isinstance(event.fact, TaskFinished) and state.task is not None:
                    task = state.task
                    figures = {
                        s.family: s.accuracy for s in task.students if (s.split, s.source) == ("test", "delivered")
                    }
                    found[task.card.name].append((len(task.delivered or ()), figures))
                state = apply(state, event)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream")
    parser.add_argument("homes", nargs="*", type=Path, metavar="HOME")
    parser.add_argument("--samples", type=int, default=40, help="real rows; with homes as many as each delivered")
    parser.add_argument("--repeats", type=int, default=4, help="draws of real rows")
    args = parser.parse_args()
    theirs, tasks = delivered(args.homes), {}
    for task in load_stream(args.stream).tasks:
        if task.real_train is None or task.test is None or not task.card.labels:
            continue
        real = real_rows(task)
        row: Figures = {"judge": real.judge}
        if args.homes:
            row |= against(real, theirs.get(task.card.name, []), args.repeats)
        else:
            row |= ceiling(real, args.samples, args.repeats)
        tasks[task.card.name] = {name: round(value, 3) for name, value in row.items()}
    names = list(dict.fromkeys(name for row in tasks.values() for name in row))
    mean = {name: round(statistics.fmean(row[name] for row in tasks.values() if name in row), 3) for name in names}
    print(json.dumps({"benchmark": "ceiling", "samples": args.samples, "tasks": tasks, "mean": mean}))


def against(real: Real, sets: Sequence[tuple[int, Figures]], repeats: int) -> Figures:
    """Return the means of data *sets* and of real rows in equal numbers, and what is left between them."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for samples, figures in sets:
        if not samples:
            continue
        most = ceiling(real, samples, repeats)
        for family, value in figures.items():
            found[f"delivered_{family}"].append(value)
            found[f"left_{family}"].append(most[f"chosen_{family}"] - value)
        for name, value in most.items():
            found[name].append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
