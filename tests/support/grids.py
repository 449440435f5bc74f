"""Grids for tests: a stream of two small tasks, an engine that follows a script, settings for seconds."""

from io import StringIO
from pathlib import Path
from typing import Any

from worlds import scripted, write_stream

from benchmarks.stream.cells import Tools
from benchmarks.stream.grid import Grid, make_grid
from benchmarks.stream.running import run_grid
from synlearner.memory import HashEmbedder

SHORT = (
    "loop.rounds=1", "loop.prompts=2", "loop.group=3", "loop.student_every=0", "students.bootstrap=100",
    "constraints.reference=4",
)  # fmt: skip


def small_grid(folder: Path, *arms: str, **changes: Any) -> Grid:
    """Return a grid over a stream of the tasks `one` and `two`."""
    stream = folder / "s" / "stream.yaml"
    if not stream.exists():
        write_stream(folder / "s", "one", "two", samples=8)
    tree = {"streams": [str(stream)], "arms": list(arms) or ["plain"], "tokens": 300, "settings": SHORT}
    return make_grid(tree | changes, folder, "test")


def ran(grid: Grid, out: Path) -> str:
    """Run *grid* with the scripted engine; return what it told."""
    log = StringIO()
    run_grid(grid, out, tools=Tools(scripted(), HashEmbedder()), log=log)
    return log.getvalue()
