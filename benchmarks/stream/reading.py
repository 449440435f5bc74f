"""What a cell came to, read from the logs of its homes and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stream.cells import Place, places, probes
from benchmarks.stream.grid import Cell, Grid
from synlearner.agent.budget import spent
from synlearner.agent.config import Settings
from synlearner.agent.constraints import matched
from synlearner.agent.diversity import distinct_2, vendi
from synlearner.agent.features import Matrix
from synlearner.agent.parsing import joined, normal
from synlearner.agent.rescue import LIKELIEST
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.agent.vectors import recorded
from synlearner.events.home import LOG, Home
from synlearner.events.types import Event, RunFinished, RunStarted, SampleGenerated, SampleScored, TaskFinished


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One finished task of a cell."""

    stream: str
    arm: str
    order: int
    seed: int
    place: int
    """In the order of the cell, from 1."""
    task: str
    delivered: int
    requested: int
    accepted: int
    failed: int
    tokens: int
    """That count against the cap."""
    tokens_untrained: int
    """Of the untrained policy, written for the report, whether or not they count."""
    tokens_accepted: int
    """Of accepted samples: a policy that wrote nothing else would need no more for as many."""
    accuracy: Mapping[str, Mapping[str, float]]
    """Student family to what it was trained on (delivered, seeds, untrained, real) to accuracy on the test data."""
    macro_f1: Mapping[str, float]
    """Student family to the macro F1 of the student of the delivered samples."""
    fidelity: float
    """Mean over the delivered samples: the judge's opinion of their label, chance 0, certainty 1."""
    vendi: float
    """Of delivered samples, and of the untrained policy's, equally many of each label on both sides."""
    vendi_untrained: float
    compared: int
    """Samples on each side."""
    distinct_2: float
    seconds: float
    """That actions took; interruptions do not count."""
    run_id: str


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell as far as it has come."""

    cell: Cell
    tasks: list[TaskResult]
    wanted: int
    digests: dict[str, str]
    """Home, relative to the cell's folder, to the digest of its history."""
    begun: list[RunStarted]
    versions: list[Mapping[str, Any]]
    """Of packages, at the start of every run."""
    probes: dict[tuple[int, str], TaskResult] = field(default_factory=dict)
    """(Tasks behind it, task) to what a probe came to."""

    @property
    def complete(self) -> bool:
        """Tell whether all tasks are finished."""
        return len(self.tasks) == self.wanted


def read_cell(folder: Path, grid: Grid, cell: Cell) -> CellResult:
    """Return what the cell below *folder* (`OUT/cells`) came to.

    Raises:
        LogError: If a log or blob cannot be read or trusted.
    """
    found = CellResult(cell, [], len(grid.tasks(cell)), {}, [], [])
    for place in places(folder, grid, cell):
        if (place.home / LOG).exists():
            _read_place(place, found)
    for probe in probes(folder, grid, cell):
        if probe.done:
            with Home.open(probe.home) as home:
                *_, last = _tasks(home, cell)
            found.probes[probe.after, probe.task.card.name] = last
    return found


def _read_place(place: Place, found: CellResult) -> None:
    with Home.open(place.home) as home:
        found.digests[place.home.name] = home.log.head().hash
        before = len(found.tasks)
        for result in _tasks(home, found.cell, before, found):
            found.tasks.append(result)


def _tasks(home: Home, cell: Cell, before: int = 0, told: CellResult | None = None) -> Iterator[TaskResult]:
    """Yield the tasks whose runs have ended."""
    state, seen, result = RunState(), Seen(), None
    for event in home.log.read():
        seen.take(event)
        if isinstance(event.fact, RunStarted) and told is not None:
            told.begun.append(event.fact)
            told.versions.append(event.observed.get("versions", {}))
        if isinstance(event.fact, TaskFinished) and state.task is not None:
            before += 1
            result = _result(home, cell, before, state, state.task, event, seen)
            seen = Seen()
        state = apply(state, event)
        if isinstance(event.fact, RunFinished) and result is not None:
            yield result


@dataclass
class Seen:
    """What the events of a task say that no state keeps."""

    seconds: float = 0.0
    fidelity: dict[int, float] = field(default_factory=dict)
    """Of each sample, to the label that it has."""
    tokens: dict[int, int] = field(default_factory=dict)
    """Of each sample."""

    def take(self, event: Event) -> None:
        """Take one event in."""
        self.seconds += float(event.observed.get("seconds", 0.0))
        fact = event.fact
        if isinstance(fact, SampleGenerated):
            self.tokens[event.seq] = len(fact.token_ids)
        if isinstance(fact, SampleScored) and fact.parts:
            self.fidelity[fact.sample] = fact.parts[LIKELIEST if fact.label else "fidelity"]


def _result(
    home: Home, cell: Cell, place: int, state: RunState, task: TaskState, event: Event, seen: Seen
) -> TaskResult:
    settings, chosen = Settings.model_validate(state.settings), set(task.delivered or ())
    counts = task.counts(untrained=settings.delivery.untrained)
    delivered = [sample for sample in task.candidates if sample.seq in chosen]
    mine, theirs = matched(task.card, delivered, task.reference)
    tests = [student for student in task.students if student.split == "test"]
    accuracy: dict[str, dict[str, float]] = {}
    for student in tests:
        accuracy.setdefault(student.family, {})[student.source] = student.accuracy
    return TaskResult(
        stream=cell.stream,
        arm=cell.arm,
        order=cell.order,
        seed=cell.seed,
        place=place,
        task=task.card.name,
        delivered=len(delivered),
        requested=counts.requested,
        accepted=counts.accepted,
        failed=counts.failed,
        tokens=spent(task, settings),
        tokens_untrained=task.reference_tokens,
        tokens_accepted=sum(seen.tokens[sample.seq] for sample in task.candidates),
        accuracy=accuracy,
        macro_f1={student.family: student.macro_f1 for student in tests if student.source == "delivered"},
        fidelity=_mean([seen.fidelity[sample.seq] for sample in delivered]),
        vendi=_vendi(home, [delivered[i] for i in mine]),
        vendi_untrained=_vendi(home, [task.reference[i] for i in theirs]),
        compared=len(mine),
        distinct_2=distinct_2([normal(joined(task.card, sample.row)) for sample in delivered]),
        seconds=round(seen.seconds, 1),
        run_id=event.run_id,
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _vendi(home: Home, samples: list[PoolSample]) -> float:
    return vendi(vectors_of(home, samples)) if samples else float("nan")


def vectors_of(home: Home, samples: list[PoolSample]) -> Matrix:
    """Return the recorded vectors of *samples*, one row each."""
    return recorded(home.blobs, [(sample.matrix, sample.place) for sample in samples])
