"""Feedback on real rows: how well judges tell right labels from wrong ones, and what set scores cost.

    python benchmarks/bench_feedback.py STREAM.yaml [--draws 5] [--rows 400] [--cards 99] [--pool 0] [--likelihood]

`--draws 0` measures the set scores alone, `--cards 4` takes the stream's first four cards with labels and a train file.

Judges see eight rows a label of `real_train` as seeds, and are asked of other rows of it with their own label and with
a wrong one: the area under the ROC curve (AUC), and how often the own label is the likeliest. Test files are not read.

`seeds` is a classifier of those rows, `seeds_and_meanings` what the labels mean beside it, and `tuned` the same on the
vectors of an encoder that has learnt from them (`tuning.steps=20`).

`--pool 32` asks the student of `reward.student`, too: it learns from the seeds and so many more rows of each label, as
they are (`clean`) and with a wrong label for every fifth (`wrong`). `alone` it has all of the say, `half` it shares with
the judge of seeds and meanings. Of pairs, `less_relation` is that judge less what the second field gives away, by a probe
that knows the same rows, and `second_field` how often the probe tells their label, beside the commonest label's share.

`--likelihood` asks the default model how likely each row is behind each label (`reward.likelihood`): with all of the say
(`likelihood`), and half or three tenths of it beside the judge of seeds and meanings.
"""

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from sklearn.metrics import roc_auc_score

from synlearner.agent.build import build_policy, limit_threads
from synlearner.agent.cards import Card, Row, load_stream
from synlearner.agent.config import RewardSettings, Settings
from synlearner.agent.crossfit import SharedJudge, StudentJudge, newest
from synlearner.agent.diversity import leave_one_out_gains
from synlearner.agent.features import Matrix, word_rows
from synlearner.agent.judge import Judge, Scores, make_judge
from synlearner.agent.judge_settings import TuningSettings
from synlearner.agent.likelihood import Likelihood, MeasuredLikelihood
from synlearner.agent.probe import SecondFieldProbe, has_second, told_by_second
from synlearner.agent.tuning import tuned_judge
from synlearner.agent.vectors import Vectors
from synlearner.events.blobs import BlobStore
from synlearner.memory import Embedder, default_embedder

SEEDS = 8
"""Rows of each label that a judge learns from."""

WRONG = 5
"""One of so many rows of a pool has a wrong label where some shall be wrong."""


class Reading:
    """Likelihood per label, as a judge of its own."""

    def __init__(self, likelihood: Likelihood, card: Card) -> None:
        """Take both."""
        self._likelihood, self._card = likelihood, card

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return what it says of *rows*."""
        return np.array(self._likelihood.fidelity(range(len(rows)), self._card, rows, labels))


class LessRelation:
    """A judge, less what the second field gives away of the label."""

    def __init__(self, judge: Judge, probe: SecondFieldProbe) -> None:
        """Take both."""
        self._judge, self._probe = judge, probe

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return fidelity less evidence of the artefact."""
        judged: Scores = self._judge.fidelity(vectors_N_D, labels) + self._probe.relation(vectors_N_D, labels) - 1
        return judged


def judged(
    judge: Judge, vectors_N_D: Matrix, rows: Sequence[Row], known: list[str], rng: np.random.Generator
) -> tuple[float, float]:
    """Return AUC and accuracy of one judge."""
    labels = [row["label"] for row in rows]
    every = {label: judge.fidelity(vectors_N_D, [label] * len(labels), rows) for label in known}
    own = np.array([every[label][i] for i, label in enumerate(labels)])
    wrong = [rng.choice([other for other in known if other != label]) for label in labels]
    other = np.array([every[label][i] for i, label in enumerate(wrong)])
    auc = roc_auc_score([1] * len(own) + [0] * len(own), np.concatenate([own, other]))
    likeliest = np.array(known)[np.argmax([every[label] for label in known], axis=0)]
    return float(auc), float((likeliest == labels).mean())


def of_pool(
    card: Card, seeds_N_D: Matrix, seeded: list[str], pool_N_D: Matrix, pooled: list[str], first: Judge, draw: int
) -> dict[str, Judge]:
    """Return the judges that also know a pool, by name."""
    rng = np.random.default_rng(draw)
    wrong = list(pooled)
    for i in rng.permutation(len(pooled))[: len(pooled) // WRONG]:
        wrong[i] = str(rng.choice([name for name in card.labels if name != pooled[i]]))
    known = np.concatenate([seeds_N_D, pool_N_D])
    found: dict[str, Judge] = {}
    for name, labels in (("clean", [*seeded, *pooled]), ("wrong", [*seeded, *wrong])):
        student = StudentJudge(card, known, labels)
        found |= {f"{name}_alone": student, f"{name}_half": SharedJudge(first, student, 0.5)}
    if has_second(card):
        found["less_relation"] = LessRelation(first, SecondFieldProbe(card, known, [*seeded, *pooled]))
    return found


def study(
    card: Card,
    every: list[Row],
    vectors: Vectors,
    embedder: Embedder,
    draws: int,
    count: int,
    pool: int,
    measure: Callable[[Sequence[str], str], list[float] | None] | None,
) -> dict[str, Any]:
    """Return the judges' figures on one card, the mean over draws of seeds; a pool is of the rows after *count*."""
    rows, more = every[:count], every[count:]
    more = [more[i] for i in newest([row["label"] for row in more], pool)]
    pooled, pool_N_D = [row["label"] for row in more], vectors.embed(card, more)
    matrix = vectors.embed(card, rows)
    words = word_rows(embedder, card, rows)
    meanings = vectors.of_meanings(card)
    share = RewardSettings().meaning
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        order = rng.permutation(len(rows))
        chosen = [i for label in card.labels for i in [j for j in order if rows[j]["label"] == label][:SEEDS]]
        rest = [i for i in order if i not in set(chosen)]
        seeded = card.model_copy(update={"seeds": [rows[i] for i in chosen]})
        judges = {"seeds": make_judge(seeded, matrix[chosen])}
        judges["seeds_and_meanings"] = make_judge(seeded, matrix[chosen], meanings, share)
        tuned = tuned_judge(embedder, seeded, Settings(tuning=TuningSettings(steps=20)))
        judges |= {"tuned": tuned} if tuned else {}
        judges["held_out"] = make_judge(seeded, words[chosen])
        if more:
            first, mine = judges["seeds_and_meanings"], [rows[i]["label"] for i in chosen]
            judges |= of_pool(card, matrix[chosen], mine, pool_N_D, pooled, first, draw)
        if measure:
            first, read = judges["seeds_and_meanings"], Reading(MeasuredLikelihood(measure), seeded)
            judges |= {"likelihood": read, "likelihood_half": SharedJudge(first, read, 0.5)}
            judges["likelihood_3_tenths"] = SharedJudge(first, read, 0.3)
        for name, judge in judges.items():
            seen = words if name == "held_out" else matrix
            figures = judged(judge, seen[rest], [rows[i] for i in rest], list(card.labels), np.random.default_rng(draw))
            found[name].append(figures)
    told: dict[str, Any] = {
        name: {"auc": round(statistics.mean(a for a, _ in pairs), 4), "accuracy": round(statistics.mean(b for _, b in pairs), 4)}
        for name, pairs in found.items()
    }  # fmt: skip
    return told | ({"second_field": told_by_second(card, pool_N_D, pooled)} if more and has_second(card) else {})


def set_score_ms(size: int, dimension: int, threads: int) -> dict[str, float]:
    """Return the CPU and wall milliseconds of the exact leave-one-out gains of *size* samples, medians of 15."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(size, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    worth = rng.random(size)
    cpu, wall = [], []
    with threadpoolctl.threadpool_limits(threads):
        for _ in range(15):
            begun, started = time.process_time(), time.perf_counter()
            leave_one_out_gains(rows, worth)
            cpu.append(1000 * (time.process_time() - begun))
            wall.append(1000 * (time.perf_counter() - started))
    return {"cpu": round(statistics.median(cpu), 2), "wall": round(statistics.median(wall), 2)}


def reader() -> Callable[[Sequence[str], str], list[float] | None]:
    """Return what reads texts behind a context by the default model, each once."""
    limit_threads(1)
    surprises = functools.cache(build_policy(Settings(), 0).surprises)
    return lambda texts, context: surprises(tuple(texts), context)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--pool", type=int, default=0)
    parser.add_argument("--cards", type=int, default=99)
    parser.add_argument("--likelihood", action="store_true")
    args = parser.parse_args()
    measure = reader() if args.likelihood else None
    embedder = default_embedder("")
    tasks = [task for task in load_stream(args.stream).tasks if task.card.labels and task.real_train and args.draws]
    with tempfile.TemporaryDirectory() as folder:
        vectors = Vectors(BlobStore(Path(folder)), embedder)
        cards = {
            task.card.name: study(
                task.card, list(task.real_train.rows), vectors, embedder, args.draws, args.rows, args.pool, measure
            )
            for task in tasks[: args.cards]
            if task.real_train
        }
    milliseconds = {f"threads_{n}": set_score_ms(512, embedder.dimension, n) for n in (1, 2)}
    print(json.dumps({"benchmark": "feedback", "cards": cards, "set_scores_of_512_ms": milliseconds}))


if __name__ == "__main__":
    main()
