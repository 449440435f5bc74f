"""Which students are trained when, and on what. Within the loop they see the seeds alone; the test data is for the end.

At the end of a task the same student is trained on five sets: the delivered samples, the card's seeds, both together, as
many samples of the untrained policy, and the whole real train set; and on ever more of the delivered samples (`curve`).
Each is scored on the test data.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from synlearner.agent.cards import Card, DataRows, Task
from synlearner.agent.config import Settings
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, TaskState
from synlearner.agent.students import LabelledSet, score_student
from synlearner.agent.vectors import Vectors
from synlearner.events.chance import derive_seed
from synlearner.events.types import StudentScored


def check(state: RunState, vectors: Vectors) -> list[StudentScored]:
    """Return how students do on the seeds that are trained on what is accepted so far."""
    task = _task(state)
    accepted = _of_pool(task, vectors, [sample.seq for sample in task.pool])
    families = _families(state)
    # Fine-tuning takes minutes, so within the loop it is done only where no other student was asked for.
    quick = [family for family in families if family != "transformer"] or families
    return list(_scores(state, [("accepted", accepted)], _seeds(task.card, vectors), "seeds", quick))


def evaluate(
    state: RunState,
    data: Task,
    vectors: Vectors,
    progress: Callable[[int, int], None],
) -> list[StudentScored]:
    """Return how the delivered set, its references and its parts do on the test data."""
    task = _task(state)
    if data.test is None:
        return []
    steps = 3 + (data.real_train is not None)
    progress(0, steps)
    test = _of_rows(task.card, data.test, vectors)
    progress(1, steps)
    delivered, seeds = _of_pool(task, vectors, task.delivered or ()), _seeds(task.card, vectors)
    untrained = task.reference[: task.card.samples]
    sets = [
        ("delivered", delivered),
        ("seeds", seeds),
        *([("seeds_and_delivered", _together(seeds, delivered))] if delivered[1] else []),
        ("untrained", _generated(task, vectors, untrained)),
    ]
    if data.real_train is not None:
        progress(2, steps)
        sets.append(("real", _of_rows(task.card, data.real_train, vectors)))
    progress(steps - 1, steps)
    families = _families(state)
    first = Settings.model_validate(state.settings).students.curve
    curve = [("curve", part) for part in _parts(delivered, first, _root(state, "curve"))]
    quick = [family for family in families if family != "transformer"]
    return [*_scores(state, sets, test, "test", families), *_scores(state, curve, test, "test", quick)]


Source = tuple[LabelledSet, list[int]]
"""A set, and the seqs of its samples where it was generated."""


def _scores(
    state: RunState, sets: Sequence[tuple[str, Source]], scored: Source, split: str, families: Sequence[str]
) -> Iterator[StudentScored]:
    task, settings = _task(state), Settings.model_validate(state.settings).students
    for family in families:
        for source, (train, samples) in sets:
            if not train.rows:
                continue
            figures = score_student(
                family,
                task.card,
                train,
                scored[0],
                bootstrap=settings.bootstrap,
                seed=derive_seed(_root(state, split), family, source),
                encoder=settings.encoder,
                balanced=settings.balanced,
            )
            yield StudentScored(
                family=family,
                source=source,
                split=split,
                samples=samples,
                trained_on=len(train.rows),
                scored_on=len(scored[0].rows),
                accuracy=figures.accuracy,
                macro_f1=figures.macro_f1,
                interval=figures.interval,
            )


def _parts(whole: Source, first: int, seed: int) -> Iterator[Source]:
    """Give ever larger parts of a set: *first* rows, twice as many, and so on. Each holds the one before.

    Rows are drawn by chance, from each label in turn, so that the labels of every part are as even as they can be.
    """
    rows, seqs = whole
    turns: Counter[str] = Counter()
    placed: list[tuple[int, int, int]] = []
    for i in random.Random(seed).sample(range(len(seqs)), len(seqs)):  # noqa: S311 - chance is seeded
        turns[rows.labels[i]] += 1
        placed.append((turns[rows.labels[i]], len(placed), i))
    order = [i for *_, i in sorted(placed)]
    size = first
    while 0 < size < len(order):
        part = sorted(order[:size])
        chosen = LabelledSet([rows.rows[i] for i in part], [rows.labels[i] for i in part], rows.vectors[part])
        yield chosen, [seqs[i] for i in part]
        size *= 2


def _together(seeds: Source, delivered: Source) -> Source:
    one, other = seeds[0], delivered[0]
    vectors = np.concatenate([one.vectors, other.vectors])
    return LabelledSet([*one.rows, *other.rows], [*one.labels, *other.labels], vectors), delivered[1]


def _families(state: RunState) -> list[str]:
    return list(dict.fromkeys(Settings.model_validate(state.settings).students.families))


def _root(state: RunState, purpose: str) -> int:
    return derive_seed(state.started.seed if state.started else 0, state.run_id, _task(state).index, purpose)


def _task(state: RunState) -> TaskState:
    assert state.task is not None  # noqa: S101 - `decide` asks for it only within a task
    return state.task


def _of_pool(task: TaskState, vectors: Vectors, seqs: Sequence[int]) -> Source:
    wanted = set(seqs)
    return _generated(task, vectors, [sample for sample in task.candidates if sample.seq in wanted])


def _generated(task: TaskState, vectors: Vectors, samples: Sequence[PoolSample]) -> Source:
    matrix = vectors.of_pool(samples, task.card)
    return LabelledSet([s.row for s in samples], [s.label for s in samples], matrix), [s.seq for s in samples]


def _seeds(card: Card, vectors: Vectors) -> Source:
    return LabelledSet(card.seeds, [row["label"] for row in card.seeds], np.asarray(vectors.of_seeds(card))), []


def _of_rows(card: Card, data: DataRows, vectors: Vectors) -> Source:
    return LabelledSet(data.rows, [row["label"] for row in data.rows], vectors.embed(card, data.rows)), []
