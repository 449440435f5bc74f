"""Which tests go through which lines of the log core, and how long each takes."""

import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
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

FOLDERS = ("unit", "contract")
ELSEWHERE = {"clocks", "collect", "diff", "parquet", "past", "remote", "signing"}
"""What tests are about that go through the core on their way to something else."""
ABOUT = {
    "checks": "verify", "committing": "sqlite", "database": "sqlite", "forked": "lineage", "log": "rows",
    "prefix": "repair", "tombstones": "redaction",
}  # fmt: skip
"""Files whose own tests have another name."""

NEAREST = 3
"""Files of tests that a mutant meets first: most die there, and to load all of them takes longer than to run them."""

LIMIT = 1800.0
"""Seconds for all tests, once."""


class Survey(NamedTuple):
    """What was seen of tests that pass."""

    tests: dict[str, dict[int, list[str]]]
    """File of the core to line to tests."""
    seconds: dict[str, float]
    """Test to the processor time that it took."""
    modules: list[str]
    """What they loaded of other packages."""

    def choose(self, mutant: Mutant, budget: float) -> list[list[str]]:
        """Return the tests for *mutant*, for *budget* seconds: those in the files with the most of them, then the others.

        Tests of its own file come first, then the quick ones.
        """
        lines = self.tests[mutant.file]
        going = {test for line in mutant.lines for test in lines.get(line, ()) if test}
        # What runs when the file is loaded has no test of its own.
        going = going or {test for tests in lines.values() for test in tests if test}
        own = f"events_{ABOUT.get(mutant.file, mutant.file)}"
        chosen: list[str] = []
        spent = 0.0
        for test in sorted(going, key=lambda test: (own not in test, self.seconds.get(test, 0.0), test)):
            spent += self.seconds.get(test, 0.0)
            if chosen and spent > budget:
                break
            chosen.append(test)
        files = Counter(test.partition("::")[0] for test in chosen)
        first = {file for file, _ in sorted(files.items(), key=lambda item: (own not in item[0], -item[1]))[:NEAREST]}
        stages: tuple[list[str], list[str]] = ([], [])
        for test in chosen:
            stages[test.partition("::")[0] not in first].append(test)
        return [stage for stage in stages if stage]


def look() -> Survey:
    """Run the quick tests, and note their ways through the core. Exits if one fails."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / "tests" / folder).glob("test_events_*.py"))]
    files = [file for file in files if file.stem.removeprefix("test_events_") not in ELSEWHERE]
    with tempfile.TemporaryDirectory(prefix="survey-") as name:
        folder = Path(name)
        status, printed = in_child(
            lambda: _watch(folder, [str(file.relative_to(ROOT)) for file in files]), folder, LIMIT
        )
        if status != 0:
            sys.exit(f"the tests must pass before a mutant can fail them:\n{printed[-4000:]}")
        seen = json.loads((folder / "seen.json").read_text())
    tests = {file: {int(line): tests for line, tests in lines.items()} for file, lines in seen["tests"].items()}
    return Survey(tests, seen["seconds"], seen["modules"])


def _watch(folder: Path, names: Sequence[str]) -> int:
    measuring = coverage.Coverage(data_file=None, include=[str(ROOT / "events" / "*")], config_file=False)
    watching = Watching(measuring)
    measuring.start()
    status = run_pytest(folder, names, plugin=watching)
    measuring.stop()
    data = measuring.get_data()
    tests = {Path(file).stem: data.contexts_by_lineno(file) for file in data.measured_files()}
    modules = [name for name, module in sys.modules.items() if _is_of_others(module)]
    seen = {"tests": {file: tests[file] for file in CORE}, "seconds": watching.seconds, "modules": modules}
    (folder / "seen.json").write_text(json.dumps(seen))
    return status


def _is_of_others(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return file != "" and not Path(file).resolve().is_relative_to(ROOT)
