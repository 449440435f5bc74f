"""Whether delivered samples say what their label says, judged by what no run has met; and what feedback costs.

    python benchmarks/bench_delivered.py HOME STREAM.yaml

For each finished task whose card names `real_train`, students are trained on those rows and asked for the labels of the
delivered samples and of the untrained policy's (plain prompt, before any judge). Fidelity is how often they say the
label that was asked for, with a 95 % interval by bootstrap. Vendi scores are taken at equal n, labels in equal numbers.
`students`: accuracy on the test rows of those of the delivered samples, and of as many chosen without the untrained policy's.
Times are those that the log observed: feedback is judging, set scores, students on seeds, floors and credit.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synlearner.agent.cards import Task, load_stream
from synlearner.agent.config import Settings
from synlearner.agent.constraints import matched
from synlearner.agent.delivery import deliver
from synlearner.agent.diversity import vendi
from synlearner.agent.features import embed_rows
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.agent.students import LabelledSet, score_student
from synlearner.agent.vectors import recorded
from synlearner.events import Home
from synlearner.events.types import StudentScored, TaskFinished
from synlearner.memory import Embedder, default_embedder

FEEDBACK = (
    "sample_scored",
    "set_scored",
    "student_scored",
    "constraints_adjusted",
    "judges_compared",
    "experience_credited",
)
FAMILIES = ("embedding", "tfidf")
OTHER = ("prompts_planned", "policy_served", "policy_updated", "experience_recalled")


def samples_of(home: Home, samples: Sequence[PoolSample]) -> LabelledSet:
    """Return *samples* with their recorded vectors."""
    vectors = recorded(home.blobs, [(sample.matrix, sample.place) for sample in samples])
    return LabelledSet([sample.row for sample in samples], [sample.label for sample in samples], vectors)


def students_of(home: Home, of: TaskState, task: Task, settings: Settings, embedder: Embedder) -> dict[str, Any]:
    """Return how students do on the test rows: those of what is delivered, and of the loop's own samples chosen alike."""
    assert task.test is not None
    reporting = [row for file in task.files().values() for row in file.rows]
    rows, reference = (
        task.test.rows,
        samples_of(home, of.reference).vectors if of.reference else np.zeros((0, 0), dtype=np.float32),
    )
    test = LabelledSet(rows, [row["label"] for row in rows], embed_rows(embedder, task.card, rows))
    found: dict[str, Any] = {}
    for name, candidates in (("delivered", of.candidates), ("without_untrained", of.pool)):
        known = samples_of(home, candidates)
        places, _ = deliver(of, candidates, known.vectors, reference, reporting, settings)
        chosen = samples_of(home, [candidates[i] for i in places])
        found[name] = {
            "samples": len(places),
            **{f: score_student(f, of.card, chosen, test, bootstrap=100, seed=0).accuracy for f in FAMILIES},
        }
    return found


def study(home: Home, of: TaskState, task: Task, settings: Settings, embedder: Embedder) -> dict[str, Any]:
    """Return the figures of one task."""
    assert task.real_train is not None
    rows = task.real_train.rows
    real = LabelledSet(rows, [row["label"] for row in rows], embed_rows(embedder, task.card, rows))
    chosen = set(of.delivered or ())
    delivered = [sample for sample in of.candidates if sample.seq in chosen]
    found: dict[str, Any] = {"delivered": len(delivered), "untrained": len(of.reference)}
    for family in FAMILIES:
        sides = {"delivered": delivered, "untrained": of.reference}
        scores = {
            side: score_student(family, task.card, real, samples_of(home, samples), bootstrap=1000, seed=0)
            for side, samples in sides.items()
        }
        found[f"fidelity_{family}"] = {
            **{side: {"share": score.accuracy, "interval": score.interval} for side, score in scores.items()},
            "points": round(100 * (scores["delivered"].accuracy - scores["untrained"].accuracy), 1),
        }
    mine, theirs = matched(of.card, delivered, of.reference)
    found["vendi"] = {
        "n": len(mine),
        "delivered": round(vendi(samples_of(home, [delivered[i] for i in mine]).vectors), 2),
        "untrained": round(vendi(samples_of(home, [of.reference[i] for i in theirs]).vectors), 2),
    }
    if task.test is not None and of.pool:
        found["students"] = students_of(home, of, task, settings, embedder)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("stream", type=Path)
    args = parser.parse_args()
    tasks = {task.card.name: task for task in load_stream(args.stream).tasks if task.card.labels and task.real_train}
    embedder = default_embedder("")
    found: dict[str, Any] = {}
    seconds: defaultdict[str, float] = defaultdict(float)
    state = RunState()
    with Home.open(args.home) as home:
        for event in home.log.read():
            reported = isinstance(event.fact, StudentScored) and event.fact.split == "test"
            seconds["report" if reported else event.kind] += float(event.observed.get("seconds", 0.0))
            if isinstance(event.fact, TaskFinished) and state.task is not None and event.task in tasks:
                found[event.task] = study(
                    home, state.task, tasks[event.task], Settings.model_validate(state.settings), embedder
                )
            state = apply(state, event)
        digest = home.log.head().hash
    feedback = sum(seconds[kind] for kind in FEEDBACK)
    rounds = feedback + sum(seconds[kind] for kind in OTHER)
    share = round(feedback / rounds, 4) if rounds else None
    times = {"feedback": round(feedback, 1), "rounds": round(rounds, 1), "share": share}
    print(json.dumps({"benchmark": "delivered", "digest": digest, "tasks": found, "seconds": times}))


if __name__ == "__main__":
    main()
