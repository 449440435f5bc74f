"""Runs a cell: the tasks of a stream one after another, each a run of its own, in one home.

The run of one task ends before the next begins, so that the home can be forked there with nothing under way, which is
what the probes of the transfer matrix need. Weights, memory and replayed samples go on from run to run as they do
from task to task. Arms that begin every task from scratch have a home for each.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.stream.grid import Cell, Grid
from synlearner.agent import Agent, Settings, Stream, Watcher
from synlearner.agent.cards import Task
from synlearner.agent.config import parse_settings
from synlearner.agent.forking import fork_home
from synlearner.errors import ConfigError
from synlearner.events.home import LOG, Home
from synlearner.events.types import RunFinished, RunStarted
from synlearner.memory import Embedder
from synlearner.policies.engine import Engine

PROBES = "probes"

STILL = ("loop.rounds=0", "loop.student_every=0", "stream.adapter=none")
"""A probe writes with what there is and learns nothing."""


class Tools(NamedTuple):
    """What tests put in the place of models; None takes the product's own."""

    engine: Engine | None = None
    embedder: Embedder | None = None


class Place(NamedTuple):
    """A home, and the tasks that are run in it."""

    home: Path
    tasks: Sequence[Task]


def places(folder: Path, grid: Grid, cell: Cell) -> list[Place]:
    """Return the homes of a cell below *folder* (`OUT/cells`), in the order of its tasks."""
    tasks, own = grid.tasks(cell), folder / cell.name
    if grid.arms[cell.arm].fresh:
        return [Place(own / f"home.{task.card.name}", [task]) for task in tasks]
    return [Place(own / "home", tasks)]


def finished(home: Path) -> list[tuple[str, int]]:
    """Return (task, seq of its run's end) of all runs that have ended in the home at *home*, if there is one."""
    if not (home / LOG).exists():
        return []
    found, name = [], ""
    with Home.open(home) as opened:
        for event in opened.log.read():
            if isinstance(event.fact, RunStarted):
                name = event.fact.tasks[0]
            elif isinstance(event.fact, RunFinished):
                found.append((name, event.seq))
    return found


def run_cell(folder: Path, grid: Grid, cell: Cell, watch: Callable[[str], Watcher], tools: Tools | None = None) -> None:
    """Run the tasks that a cell still lacks; *watch* gives the watcher of a task.

    Raises:
        ConfigError: If a home of the cell holds something else.
    """
    tools = tools or Tools()
    for place in places(folder, grid, cell):
        _run_tasks(place, cell, grid.settings[cell.arm], watch, tools)


def run_probes(
    folder: Path, grid: Grid, cell: Cell, watch: Callable[[str], Watcher], tools: Tools | None = None
) -> None:
    """Make the probes that a finished cell still lacks."""
    tools = tools or Tools()
    for probe in probes(folder, grid, cell):
        if not probe.done:
            _run_probe(probe, cell, grid, watch, tools)


def _run_tasks(place: Place, cell: Cell, settings: Settings, watch: Callable[[str], Watcher], tools: Tools) -> None:
    done = [name for name, _ in finished(place.home)]
    wanted = [task.card.name for task in place.tasks]
    if done != wanted[: len(done)]:
        raise ConfigError(f"home '{place.home}' holds the tasks {done}, cell {cell.name} has {wanted}: remove the home")
    for task in place.tasks[len(done) :]:
        _run(place.home, task, cell, settings, watch(task.card.name), tools)


def _run(home: Path, task: Task, cell: Cell, settings: Settings, watcher: Watcher, tools: Tools) -> None:
    stream = Stream(f"{cell.stream}/{task.card.name}", "", [task])
    home.parent.mkdir(parents=True, exist_ok=True)
    with Agent.open(home, engine=tools.engine, embedder=tools.embedder) as agent:
        agent.run(stream, seed=cell.root_seed, settings=settings, watcher=watcher)


# ---- probes of the transfer matrix ---------------------------------------------------------------------------


class Probe(NamedTuple):
    """A data set for *task* that the agent makes after so many tasks, in a fork of its home."""

    after: int
    task: Task
    home: Path
    source: Path
    at: int
    """Event of *source* to fork at; 0 for the untouched agent, in a home of its own."""

    @property
    def done(self) -> bool:
        """Tell whether its data set is there: the runs that the fork shares do not count."""
        return len(finished(self.home)) > self.after


def probes(folder: Path, grid: Grid, cell: Cell) -> Iterator[Probe]:
    """Yield the probes of a cell that can be made by now; none for an arm whose tasks do not depend on each other."""
    if not grid.file.probe or not grid.arms[cell.arm].carries:
        return
    (place,) = places(folder, grid, cell)
    ends = [0, *(seq for _, seq in finished(place.home))]
    for after, at in enumerate(ends):
        for task in place.tasks:
            home = folder / cell.name / PROBES / f"{after}.{task.card.name}"
            yield Probe(after, task, home, place.home, at)


def _run_probe(probe: Probe, cell: Cell, grid: Grid, watch: Callable[[str], Watcher], tools: Tools) -> None:
    if probe.at and not (probe.home / LOG).exists():
        fork_home(probe.source, probe.at, probe.home, [])
    name = probe.task.card.name
    card = probe.task.card.model_copy(update={"samples": grid.file.probe})
    task = Task(card, probe.task.seeds_sha256, probe.task.test, probe.task.real_train)
    settings = parse_settings(STILL, base=grid.settings[cell.arm].model_dump())
    _run(probe.home, task, cell, settings, watch(f"probe of {name} after {probe.after}"), tools)
