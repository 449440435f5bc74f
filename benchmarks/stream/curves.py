"""Accuracy over the number of samples: students trained again on the first samples that were accepted, labels in turn.

The log names samples, vectors and tokens; the test data are the stream's. What comes out is kept beside the cell with
the digest of the history that it belongs to, and is made again if that is another one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.stream.cells import places
from benchmarks.stream.grid import Cell, Grid
from benchmarks.stream.metrics import Curve
from benchmarks.stream.reading import vectors_of
from synlearner.agent.budget import uses_reference
from synlearner.agent.cards import Task
from synlearner.agent.config import Settings, StudentSettings
from synlearner.agent.features import Matrix, embed_rows
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.agent.students import LabelledSet, score_student
from synlearner.events.home import LOG, Home
from synlearner.events.types import SampleGenerated, TaskFinished
from synlearner.memory import Embedder

FILE = "curves.json"

SHARES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
"""Of the samples to deliver: where the curve has its points."""

Curves = Mapping[str, Mapping[str, Curve]]
"""Task to student family to curve."""


def kept_curves(folder: Path, grid: Grid, cell: Cell) -> Curves | None:
    """Return the curves of a cell below *folder*, if they are there and belong to its history."""
    try:
        kept = json.loads((folder / cell.name / FILE).read_text(encoding="utf-8"))
        if kept["digests"] != _digests(folder, grid, cell):
            return None
        return {
            task: {family: Curve(**curve) for family, curve in families.items()}
            for task, families in kept["tasks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_curves(folder: Path, grid: Grid, cell: Cell, embedder: Embedder) -> Curves:
    """Make the curves of a finished cell, keep and return them."""
    test = TestVectors(embedder)
    found: dict[str, dict[str, Curve]] = {}
    for place in places(folder, grid, cell):
        tasks = {task.card.name: task for task in place.tasks}
        with Home.open(place.home) as home:
            for of, tokens in _finished(home):
                name = of.card.name
                found[name] = _curves(home, of, tokens, tasks[name], test, grid.settings[cell.arm].students)
    text = {task: {family: curve._asdict() for family, curve in families.items()} for task, families in found.items()}
    part = folder / cell.name / f".{FILE}.part"
    part.write_text(json.dumps({"digests": _digests(folder, grid, cell), "tasks": text}), encoding="utf-8")
    part.replace(folder / cell.name / FILE)
    return found


class TestVectors:
    """The vectors of test data, each file once."""

    __test__ = False

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Matrix] = {}

    def of(self, task: Task) -> LabelledSet:
        """Return the test rows of *task* with labels and vectors."""
        assert task.test is not None
        if task.test.sha256 not in self._known:
            self._known[task.test.sha256] = embed_rows(self._embedder, task.card, task.test.rows)
        return LabelledSet(task.test.rows, [row["label"] for row in task.test.rows], self._known[task.test.sha256])


def _digests(folder: Path, grid: Grid, cell: Cell) -> dict[str, str]:
    found = {}
    for place in places(folder, grid, cell):
        if (place.home / LOG).exists():
            with Home.open(place.home) as home:
                found[place.home.name] = home.log.head().hash
    return found


def _finished(home: Home) -> Iterator[tuple[TaskState, Mapping[int, int]]]:
    """Yield every finished task, and the tokens that were written up to each of its samples."""
    state, written = RunState(), 0
    tokens: dict[int, int] = {}
    for event in home.log.read():
        if isinstance(event.fact, TaskFinished) and state.task is not None:
            yield state.task, tokens
            tokens, written = {}, 0
        if isinstance(event.fact, SampleGenerated) and state.task is not None and state.task.round.plan is not None:
            used = uses_reference(Settings.model_validate(state.settings))
            if used or state.task.round.plan.purpose != "reference":
                written += len(event.fact.token_ids)
            tokens[event.seq] = written
        state = apply(state, event)


def in_turn(pool: Sequence[PoolSample]) -> list[PoolSample]:
    """Return *pool* with the labels in turn, each in the order in which it was written."""
    turns: Counter[str] = Counter()
    placed = []
    for sample in pool:
        turns[sample.label] += 1
        placed.append((turns[sample.label], sample.seq, sample))
    return [sample for *_, sample in sorted(placed, key=lambda entry: entry[:2])]


def _curves(
    home: Home, of: TaskState, tokens: Mapping[int, int], task: Task, test: TestVectors, students: StudentSettings
) -> dict[str, Curve]:
    pool = in_turn(of.candidates)
    counts = sorted({n for n in (round(share * of.card.samples) for share in SHARES) if 2 <= n <= len(pool)})
    if not counts:
        return {}
    vectors = vectors_of(home, pool)
    scored = test.of(task)
    found: dict[str, Curve] = {}
    for family in dict.fromkeys(students.families):
        accuracy = []
        for n in counts:
            first = LabelledSet([s.row for s in pool[:n]], [s.label for s in pool[:n]], np.asarray(vectors[:n]))
            figures = score_student(family, of.card, first, scored, bootstrap=100, seed=0, balanced=students.balanced)
            accuracy.append(figures.accuracy)
        found[family] = Curve(counts, [max(tokens[s.seq] for s in pool[:n]) for n in counts], accuracy)
    return found
