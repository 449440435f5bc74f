"""The room as a whole: what importing it costs, and the example."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    "torch",
    "transformers",
    "chromadb",
    "tokenizers",
    "scipy",
    "sklearn",
    "synlearner.policies",
    "synlearner.agent",
]


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_importing_the_memory_loads_nothing_heavy() -> None:
    code = f"import sys, json, synlearner.memory; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(run("-c", code)) == []


ALONE = f"""
import sys, json
from synlearner.memory import HashEmbedder, Memory
with Memory.open(sys.argv[1], embedder=HashEmbedder(64), mirror=False) as memory:
    item = memory.add("Ask for slang.")["results"][0]["id"]
    memory.feedback(item, 1.0)
    memory.search("slang", filters={{"uses": {{"gte": 1}}}}, explain=True)
    fact = memory.recall("slang", k=2, seed=1, round=1)
    memory.credited(0.5, "family", fact.chosen)
    memory.block("slang")
    memory.export(sys.argv[1] + "/items.jsonl")
print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))
"""


def test_a_memory_with_a_given_embedder_loads_nothing_heavy_either(tmp_path: Path) -> None:
    assert json.loads(run("-c", ALONE, str(tmp_path / "home"))) == []


def test_importing_the_memory_is_quick() -> None:
    # Processor time: it does not depend on what else the machine does.
    seconds = float(run("-c", "import synlearner.memory, time; print(time.process_time())"))
    assert seconds < 1, "0.2 s where this was written"


def test_every_name_of_the_door_is_there() -> None:
    run("-c", "from synlearner.memory import *; import synlearner.memory as m; [getattr(m, n) for n in m.__all__]")


def test_the_example_runs_and_shows_that_feedback_moves_the_rank(tmp_path: Path) -> None:
    output = run("examples/memory_alone.py", str(tmp_path / "home"))
    assert "after feedback" in output
    assert (tmp_path / "home" / "log.sqlite").exists()
