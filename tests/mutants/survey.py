"""Which tests go through which lines of the log core, and how long each takes."""

import json
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import coverage

from mutants.operators import Mutant
from mutants.running import Watching, in_child, run_pytest

ROOT = Path(__file__).parents[2]
CORE = tuple(
    Path(file).stem
    for file in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["report"]["include"]
)
"""Files of `events/` that decide whether history is kept: those whose branches `make coverage` wants to see."""

FOLDERS = ("unit", "contract", "golden")
LIMIT = 1800.0
"""Seconds for all tests, once."""


class Survey(NamedTuple):
    """What was seen of tests that pass."""

    tests: dict[str, dict[int, list[str]]]
    """File of the core to line to tests."""
    seconds: dict[str, float]
    """Test to what it took."""

    def choose(self, mutant: Mutant, budget: float) -> list[str]:
        """Return the tests for *mutant*: those of its own file first, then the quick ones, for *budget* seconds."""
        lines = self.tests[mutant.file]
        going = {test for line in mutant.lines for test in lines.get(line, ()) if test}
        # What runs when the file is loaded has no test of its own.
        going = going or {test for tests in lines.values() for test in tests if test}
        own = f"events_{mutant.file}"
        chosen, spent = [], 0.0
        for test in sorted(going, key=lambda test: (own not in test, self.seconds.get(test, 0.0), test)):
            spent += self.seconds.get(test, 0.0)
            if chosen and spent > budget:
                break
            chosen.append(test)
        return chosen


def look() -> Survey:
    """Run the quick tests, and note their ways through the core. Exits if one fails."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / "tests" / folder).glob("test_events_*.py"))]
    with tempfile.TemporaryDirectory(prefix="survey-") as name:
        folder = Path(name)
        status, printed, _ = in_child(
            lambda: _watch(folder, [str(file.relative_to(ROOT)) for file in files]), folder, LIMIT
        )
        if status:
            sys.exit(f"the tests must pass before a mutant can fail them:\n{printed[-4000:]}")
        seen = json.loads((folder / "seen.json").read_text())
    tests = {file: {int(line): tests for line, tests in lines.items()} for file, lines in seen["tests"].items()}
    return Survey(tests, seen["seconds"])


def _watch(folder: Path, names: Sequence[str]) -> int:
    measuring = coverage.Coverage(data_file=None, include=[str(ROOT / "events" / "*")], config_file=False)
    watching = Watching(measuring)
    measuring.start()
    status = run_pytest(folder, names, plugin=watching)
    measuring.stop()
    data = measuring.get_data()
    tests = {Path(file).stem: data.contexts_by_lineno(file) for file in data.measured_files()}
    seen = {"tests": {file: tests[file] for file in CORE}, "seconds": watching.seconds}
    (folder / "seen.json").write_text(json.dumps(seen))
    return status
