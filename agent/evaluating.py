"""Which students are trained when, and on what. Within the loop they see the seeds alone; the test data is for the end.

At the end of a task the same student is trained on four sets: the delivered samples, the card's seeds, as many
samples of the untrained policy, and the whole real train set; each is scored on the test data.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from synlearner.agent.cards import Card, DataRows, Task
from synlearner.agent.config import Settings
from synlearner.agent.state import RunState, TaskState
from synlearner.agent.students import LabelledSet, score_student
from synlearner.agent.vectors import Vectors
from synlearner.events.chance import derive_seed
from synlearner.events.types import StudentScored


def check(state: RunState, vectors: Vectors) -> list[StudentScored]:
    """Return how students do on the seeds that are trained on what is accepted so far."""
    task = _task(state)
    accepted = _of_pool(task, vectors, [sample.seq for sample in task.pool])
    return list(_scores(state, {"accepted": accepted}, _seeds(task.card, vectors), "seeds"))


def evaluate(
    state: RunState,
    data: Task,
    vectors: Vectors,
    progress: Callable[[int, int], None],
) -> list[StudentScored]:
    """Return how the delivered set and its three references do on the test data."""
    task = _task(state)
    if data.test is None:
        return []
    steps = 3 + (data.real_train is not None)
    progress(0, steps)
    test = _of_rows(task.card, data.test, vectors)
    progress(1, steps)
    sets: dict[str, Source] = {
        "delivered": _of_pool(task, vectors, task.delivered or ()),
        "seeds": _seeds(task.card, vectors),
    }
    untrained = task.reference[: task.card.samples]
    sets["untrained"] = (
        LabelledSet([s.row for s in untrained], [s.label for s in untrained], vectors.of_pool(untrained, task.card)),
        [s.seq for s in untrained],
    )
    if data.real_train is not None:
        progress(2, steps)
        sets["real"] = _of_rows(task.card, data.real_train, vectors)
    progress(steps - 1, steps)
    return list(_scores(state, sets, test, "test"))


Source = tuple[LabelledSet, list[int]]
"""A set, and the seqs of its samples where it was generated."""


def _scores(state: RunState, sets: Mapping[str, Source], scored: Source, split: str) -> Iterator[StudentScored]:
    task, settings = _task(state), Settings.model_validate(state.settings)
    root = derive_seed(state.started.seed if state.started else 0, state.run_id, task.index, split)
    for family in dict.fromkeys(settings.students.families):
        for source, (train, samples) in sets.items():
            if not train.rows:
                continue
            figures = score_student(
                family,
                task.card,
                train,
                scored[0],
                bootstrap=settings.students.bootstrap,
                seed=derive_seed(root, family, source),
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


def _task(state: RunState) -> TaskState:
    assert state.task is not None  # noqa: S101 - `decide` asks for it only within a task
    return state.task


def _of_pool(task: TaskState, vectors: Vectors, seqs: "list[int] | tuple[int, ...]") -> Source:
    wanted = set(seqs)
    chosen = [sample for sample in task.pool if sample.seq in wanted]
    matrix = vectors.of_pool(chosen, task.card)
    return LabelledSet([s.row for s in chosen], [s.label for s in chosen], matrix), [s.seq for s in chosen]


def _seeds(card: Card, vectors: Vectors) -> Source:
    return LabelledSet(card.seeds, [row["label"] for row in card.seeds], np.asarray(vectors.of_seeds(card))), []


def _of_rows(card: Card, data: DataRows, vectors: Vectors) -> Source:
    return LabelledSet(data.rows, [row["label"] for row in data.rows], vectors.embed(card, data.rows)), []
