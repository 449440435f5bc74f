"""Runs a grid: cell by cell, one process to a folder, resumed wherever it was stopped; tells how far it is."""

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import TextIO

from benchmarks.stream.cells import Tools, run_cell, run_probes
from benchmarks.stream.curves import kept_curves, make_curves
from benchmarks.stream.grid import Cell, Grid, keep_grid, kept_grid
from benchmarks.stream.reading import CellResult, read_cell
from benchmarks.stream.remembering import shared_embedder
from synlearner.agent.decide import Action
from synlearner.agent.state import RunState
from synlearner.agent.watcher import Silent
from synlearner.clock import work
from synlearner.errors import ConfigError, HomeLocked
from synlearner.events.lock import WriterLock
from synlearner.events.types import Event, SampleScored
from synlearner.progress import duration

CELLS = "cells"
WRITER = ".writer"


def run_grid(grid: Grid, out: Path, *, jobs: int = 1, tools: Tools | None = None, log: TextIO = sys.stderr) -> None:
    """Run all cells of *grid* that *out* lacks.

    Args:
        grid: What to run.
        out: A folder of its own.
        jobs: Cells at a time, each in a process: as many as cores, with `policy.threads=1`. With more threads they are slower
            than one after the other.
        tools: What tests put in the place of models; with one job.
        log: Where progress goes.

    Raises:
        ConfigError: If *out* holds another grid, or another process runs one there.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}: pass a number from 1 on")
    out.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(out / WRITER)
    try:
        lock.acquire()
    except HomeLocked as error:
        raise ConfigError(f"a grid is being run there: {error}") from error
    try:
        keep_grid(grid, out)
        left = [cell for cell in grid.cells if not _done(out, grid, cell)]
        done = len(grid.cells) - len(left)
        print(f"{len(grid.cells)} cells, {done} of them done", file=log, flush=True)
        if jobs == 1:
            progress = Progress(grid, out, left, log)
            for cell in left:
                progress.cell = cell
                run_whole(out, grid, cell, progress, tools or Tools())
        else:
            _run_side_by_side(out, left, jobs, log)
    finally:
        lock.release()


def run_whole(out: Path, grid: Grid, cell: Cell, progress: "Progress", tools: Tools) -> None:
    """Run what a cell lacks, its probes and its curves."""
    embedder = tools.embedder or shared_embedder()
    tools = Tools(tools.engine, embedder)
    run_cell(out / CELLS, grid, cell, progress.watcher, tools)
    run_probes(out / CELLS, grid, cell, progress.watcher, tools)
    if kept_curves(out / CELLS, grid, cell) is None:
        make_curves(out / CELLS, grid, cell, embedder)


def _done(out: Path, grid: Grid, cell: Cell) -> bool:
    return not missing(out, grid, [read_cell(out / CELLS, grid, cell)])


def _run_side_by_side(out: Path, left: Sequence[Cell], jobs: int, log: TextIO) -> None:
    begun = time.monotonic()
    # Spawned, not forked: threads of the numeric libraries do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        futures = {pool.submit(_run_apart, out, cell): cell for cell in left}
        for number, future in enumerate(as_completed(futures), 1):
            future.result()
            elapsed = time.monotonic() - begun
            rest = duration(elapsed / number * (len(left) - number))
            times = f"[{duration(elapsed)}, about {rest} left]"
            print(f"{times} {futures[future].name}: done, {number} of {len(left)}", file=log, flush=True)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: it holds the folder's lock for both."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # homes go on from wherever they were

    Thread(target=watch, daemon=True).start()


def _run_apart(out: Path, cell: Cell) -> None:
    grid = kept_grid(out)
    run_whole(out, grid, cell, Progress(grid, out, [cell], sys.stderr, of=" of the cell"), Tools())


class Progress:
    """Lines about where a grid is and how long it will take, from what tasks of each arm have taken so far."""

    def __init__(self, grid: Grid, out: Path, left: Sequence[Cell], log: TextIO, of: str = "") -> None:
        self.cell = left[0] if left else None
        self._log, self._of = log, of
        self._left = {cell: len(grid.tasks(cell)) for cell in left}
        self._begun = time.monotonic()
        self._seconds: dict[str, list[float]] = {arm: [] for arm in grid.arms}
        for cell in grid.cells:
            found = read_cell(out / CELLS, grid, cell)
            self._seconds[cell.arm] += [task.seconds for task in found.tasks]
            if cell in self._left:
                self._left[cell] -= len(found.tasks)

    def watcher(self, task: str) -> "TaskWatcher":
        """Return the watcher of a task of the cell at hand."""
        return TaskWatcher(self, task)

    def tell(self, task: str, state: RunState, what: str) -> None:
        """Print one line."""
        assert self.cell is not None
        done, whole = work(state)
        left = self.time_left(min(1.0, done / whole) if not task.startswith("probe") else 0.0)
        times = duration(time.monotonic() - self._begun) + (f", about {duration(left)} left{self._of}" if left else "")
        print(f"[{times}] {self.cell.name} {task}: {what}", file=self._log, flush=True)

    def ended(self, task: str, seconds: float) -> None:
        """Count a finished task of the cell at hand; probes are not counted."""
        if self.cell is not None and not task.startswith("probe"):
            self._seconds[self.cell.arm].append(seconds)
            self._left[self.cell] -= 1

    def time_left(self, share: float) -> float | None:
        """Return the seconds that the tasks left will take, *share* of the one at hand being done; probes left out."""
        known = [value for values in self._seconds.values() for value in values]
        if not known:
            return None
        usual = sum(known) / len(known)
        mean = {arm: sum(values) / len(values) if values else usual for arm, values in self._seconds.items()}
        whole = sum(count * mean[cell.arm] for cell, count in self._left.items())
        return max(0.0, whole - (share * mean[self.cell.arm] if self.cell else 0.0))


class TaskWatcher(Silent):
    """A line for every scored round and for the end of a task."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress, self._task = progress, task
        self._begun = time.monotonic()

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        """Tell."""
        scored = any(isinstance(event.fact, SampleScored) for event in events)
        if scored and state.task is not None:
            task = state.task
            number = f"round {task.round.number}" if task.requested else "untrained policy"
            self._progress.tell(self._task, state, f"{number}, {task.accepted} accepted, {task.tokens} tokens")
        if state.finished:
            self._progress.tell(self._task, state, "done")
            self._progress.ended(self._task, time.monotonic() - self._begun)


def missing(out: Path, grid: Grid, found: Sequence[CellResult]) -> list[str]:
    """Return a line for every cell that is not whole."""
    lines = []
    for result in found:
        probing = bool(grid.file.probe) and grid.arms[result.cell.arm].carries
        probed = (result.wanted + 1) * result.wanted if probing else 0
        if not result.complete:
            lines.append(f"{result.cell.name}: {len(result.tasks)} of {result.wanted} tasks")
        elif len(result.probes) < probed:
            lines.append(f"{result.cell.name}: {len(result.probes)} of {probed} probes")
        elif kept_curves(out / CELLS, grid, result.cell) is None:
            lines.append(f"{result.cell.name}: no curves")
    return lines
