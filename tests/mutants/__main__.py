"""Mutants as a command: see the head of `mutants`."""

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Literal

import coverage

from mutants.equivalent import EQUIVALENT
from mutants.operators import Mutant, mutants_of, mutated
from mutants.running import BROKEN, Chosen, in_child, load, put_in_place, run_pytest
from mutants.survey import CORE, ROOT, Survey, look

SHARE = 0.95
"""Of the mutants that a test could tell from the original, so many must die."""
BUDGET = 8.0
"""Seconds of the processor that the tests of a mutant take without it."""

NO_TESTS = 5
"""Of pytest."""

Fate = Literal["killed", "late", "survived", "equivalent"]


def all_mutants() -> list[Mutant]:
    """Return every mutant of the core, but of branches for other systems (`pragma: no cover`)."""
    found = []
    measuring = coverage.Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"))
    for name in CORE:
        file = ROOT / "events" / f"{name}.py"
        left_out = set(measuring.analysis2(str(file))[2])
        found += [each for each in mutants_of(file.read_text(), name) if each.lines.start not in left_out]
    return found


def fate_of(mutant: Mutant, survey: Survey) -> Fate:
    """Run the tests that go through *mutant* on it."""
    for tests in survey.choose(mutant, BUDGET):
        limit = 60 + 15 * sum(survey.seconds.get(test, 0.0) for test in tests)
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            status, printed = in_child(partial(_meet, mutant, tests, Path(name)), Path(name), limit)
        if status in (NO_TESTS, BROKEN):
            sys.exit(f"no test ran for {mutant.name}:\n{printed}")
        if status != 0:
            return "late" if status is None else "killed"
    return "survived"


def _meet(mutant: Mutant, tests: list[str], folder: Path) -> int:
    source = (ROOT / "events" / f"{mutant.file}.py").read_text()
    put_in_place(f"synlearner.events.{mutant.file}", mutated(source, mutant))
    return run_pytest(folder, tests, "-x", "--tb=no", plugin=Chosen(tests))


def main() -> int:
    """Print what became of the mutants as one JSON object; 1 if too few died."""
    parser = argparse.ArgumentParser(prog="python -m mutants")
    parser.add_argument("--count", type=int, default=300, help="how many, drawn from all (default: 300)")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="those whose name holds this text")
    parser.add_argument("--again", type=Path, help="those that survived, says this output of an earlier run")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    every = all_mutants()
    drawn = every if arguments.all else random.Random(arguments.seed).sample(every, min(arguments.count, len(every)))
    if arguments.again:
        survivors = set(json.loads(arguments.again.read_text())["survivors"])
        drawn = [mutant for mutant in every if _told(mutant) in survivors]
    drawn = [mutant for mutant in drawn if arguments.only in mutant.name]
    survey = look()
    load(survey.modules)
    fates: Counter[str] = Counter()
    survivors_now: list[str] = []
    for number, mutant in enumerate(drawn, start=1):
        fate = "equivalent" if mutant.name in EQUIVALENT else fate_of(mutant, survey)
        fates[fate] += 1
        if fate == "survived":
            survivors_now.append(_told(mutant))
        print(f"{number}/{len(drawn)} {fate}: {_told(mutant)}", file=sys.stderr, flush=True)
    dead = fates["killed"] + fates["late"]
    share = dead / max(dead + fates["survived"], 1)
    found: dict[str, Any] = {
        "of": len(every), "drawn": len(drawn), **fates, "share": round(share, 4), "survivors": survivors_now,
        "cpu_seconds": round(sum(os.times()[:4])),
    }  # fmt: skip
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0 if share >= SHARE else 1


def _told(mutant: Mutant) -> str:
    return f"{mutant.lines.start}: {mutant.name}"


if __name__ == "__main__":
    sys.exit(main())
