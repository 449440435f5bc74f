"""How well a band of perplexity (`reward.band`) tells real rows from broken ones, and what it costs.

    python benchmarks/bench_surprise.py STREAM.yaml [--tasks trec6,ag_news] [--rows 80] [--home HOME]

The band is that of the card's seeds. It is asked of rows of `real_train` that are no seeds, of the same rows with their
words shuffled, and said three times over; with the home of a finished run also of what the untrained policy wrote, and of
what was accepted. For each: the mean surprise (nats per token), the AUC against the real rows (above .5: more surprising),
the shares below and above the band, and how many are refused by the gates and quality without the band, and with it.

With a home, students (embeddings, logistic regression) are also trained on half of each label's accepted samples, and asked
of real rows: the half that is easiest, hardest, nearest to the seeds' median, and random halves.

Cost is CPU seconds on one thread: reading the samples of a round, beside writing them (8 prompts of 4 seeds, 6 samples each).
Test files are not read.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from synlearner.agent.build import build_policy, limit_threads
from synlearner.agent.cards import Card, Row, Task, load_stream
from synlearner.agent.config import RewardSettings, Settings
from synlearner.agent.features import embed_rows, student_features
from synlearner.agent.frames import Ask
from synlearner.agent.judge import classifier
from synlearner.agent.parsing import gate, joined
from synlearner.agent.policy import Policy
from synlearner.agent.rewards import quality
from synlearner.agent.state import RunState, apply
from synlearner.agent.strategies import Strategy, decoding, write
from synlearner.agent.surprise import Band, Measured
from synlearner.agent.wording import Wording
from synlearner.events import Home
from synlearner.events.types import TaskFinished
from synlearner.memory import default_embedder
from synlearner.policies.engine import Request

PROMPTS, SAMPLES, SHOWN = 8, 6, 4
ASKED = 500
"""Real rows that students are asked of."""


def broken(card: Card, rows: Sequence[Row], how: str, rng: random.Random) -> list[Row]:
    """Return *rows* with the words of every field `shuffled`, or said `thrice`."""

    def change(text: str) -> str:
        words = text.split()
        return " ".join(words * 3 if how == "thrice" else rng.sample(words, len(words)))

    return [{**row, **{field: change(row[field]) for field in card.fields}} for row in rows]


def refused(card: Card, rows: Sequence[Row], shares: Sequence[float]) -> float:
    """Return the share of rows that the gates or quality, multiplied by *shares*, refuse."""
    wording = Wording(card)
    count = 0
    for row, share in zip(rows, shares, strict=True):
        texts = {field: row[field] for field in card.fields}
        closed = gate(card, texts, "stop", row.get("label", ""), {}) or wording.problem(texts, {})
        count += bool(closed) or quality(card, texts) * share < RewardSettings().min_quality
    return round(count / len(rows), 3)


def figures(card: Card, rows: Sequence[Row], surprise: list[float], real: list[float], band: Band) -> dict[str, Any]:
    """Return what the band says of *rows*."""
    shares = [band.share(value) for value in surprise]
    auc = roc_auc_score([0] * len(real) + [1] * len(surprise), [*real, *surprise])
    return {
        "rows": len(rows),
        "nats": round(float(np.mean(surprise)), 2),
        "auc": round(float(auc), 3),
        "below": round(float(np.mean(np.array(surprise) < band.low)), 3),
        "above": round(float(np.mean(np.array(surprise) > band.high)), 3),
        "refused_without": refused(card, rows, [1.0] * len(rows)),
        "refused_with": refused(card, rows, shares),
    }


def study(task: Task, measured: Measured, count: int, written: dict[str, list[Row]]) -> dict[str, Any]:
    """Return the figures of one card."""
    card, rng = task.card, random.Random(0)
    assert task.real_train is not None
    seeds = {joined(card, row) for row in card.seeds}
    train = [row for row in task.real_train.rows if joined(card, row) not in seeds]
    rows = rng.sample(train, min(count, len(train)))
    groups = {"real": rows} | {how: broken(card, rows, how, rng) for how in ("shuffled", "thrice")} | written
    band = measured.band(card)
    told = {name: measured.of([], card, mine) for name, mine in groups.items() if mine}
    found: dict[str, Any] = {"band": [round(band.low, 2), round(band.high, 2)], "seeds": len(card.seeds)}
    found |= {name: figures(card, groups[name], told[name], told["real"], band) for name in told}
    if "accepted" in told:
        middle = float(np.median(measured.of([], card, card.seeds)))
        found["students"] = halves(card, written["accepted"], np.array(told["accepted"]), middle, train[:ASKED])
    return found


def halves(card: Card, rows: list[Row], surprise: np.ndarray, middle: float, real: list[Row]) -> dict[str, float]:
    """Return the accuracy on *real* rows of students of half of each label's *rows*."""
    embedder = default_embedder("")
    mine, theirs = (student_features(embed_rows(embedder, card, some), card) for some in (rows, real))
    labels, actual = (np.array([row["label"] for row in some]) for some in (rows, real))

    def accuracy(order: np.ndarray) -> float:
        first = [np.flatnonzero(labels == label) for label in sorted(set(labels))]
        half = np.concatenate([of[np.argsort(order[of], kind="stable")[: (len(of) + 1) // 2]] for of in first])
        return float((classifier().fit(mine[half], labels[half]).predict(theirs) == actual).mean())

    rng = np.random.default_rng(0)
    chance = [accuracy(rng.random(len(rows))) for _ in range(8)]
    orders = {"easiest": surprise, "hardest": -surprise, "near_seeds": np.abs(surprise - middle)}
    found = {name: accuracy(order) for name, order in orders.items()}
    found |= {"random": float(np.mean(chance)), "random_deviation": float(np.std(chance))}
    return {name: round(value, 3) for name, value in found.items()}


def cost(card: Card, policy: Policy) -> dict[str, float]:
    """Return CPU seconds of writing a round of samples, and of reading them again."""
    rng, labels = random.Random(0), list(card.labels)
    requests = []
    for prompt in range(PROMPTS):
        label = labels[prompt % len(labels)]
        shown = rng.sample([row for row in card.seeds if row["label"] == label], SHOWN)
        asked = write(Strategy("numbered", "none", "open"), Ask(card, label, shown, [], ["", ""]))
        seeds = tuple(range(SAMPLES * prompt, SAMPLES * (prompt + 1)))
        requests.append(Request(asked.text, asked.prefix, asked.stop, decoding("open", card, label), seeds))
    policy.engine.load(None)
    policy.engine.generate(requests[:1])
    begun = time.process_time()
    groups = policy.engine.generate(requests)
    wrote = time.process_time() - begun
    texts = [sample.text for group in groups for sample in group]
    begun = time.process_time()
    policy.surprises(texts)
    read = time.process_time() - begun
    return {"writing_s": round(wrote, 2), "reading_s": round(read, 2), "share": round(read / wrote, 3)}


def texts_of(home: Path) -> dict[str, dict[str, list[Row]]]:
    """Return, by task, rows that the untrained policy wrote, and those that were accepted."""
    found: dict[str, dict[str, list[Row]]] = {}
    state = RunState()
    with Home.open(home) as opened:
        for event in opened.log.read():
            if isinstance(event.fact, TaskFinished) and state.task is not None:
                sides = {"untrained": state.task.reference, "accepted": state.task.pool}
                found[event.task] = {
                    side: [{**sample.row, "label": sample.label} for sample in samples]
                    for side, samples in sides.items()
                }
            state = apply(state, event)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    limit_threads(1)
    policy = build_policy(Settings(), 0)
    measured = Measured(policy.surprises)
    written = texts_of(args.home) if args.home else {}
    chosen = args.tasks.split(",") if args.tasks else []
    tasks = [task for task in load_stream(args.stream).tasks if task.real_train and task.card.labels]
    tasks = [task for task in tasks if not chosen or task.card.name in chosen]
    cards = {
        task.card.name: study(task, measured, args.rows, written.get(task.card.name, {}))
        | {"cpu": cost(task.card, policy)}
        for task in tasks
    }
    print(json.dumps({"benchmark": "surprise", "cards": cards}))


if __name__ == "__main__":
    main()
