"""A long history: how fast it is forked anywhere, opened with and without checkpoints, compared, and in how much memory.

Side by side: a fork against a copy of the home's folder; opening against a bare `sqlite3` scan of the same rows. Each
reading is done in a process of its own, which reports its time (without imports) and its peak memory.
"""

import argparse
import json
import platform
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from synlearner.agent.snapshot import RUN
from synlearner.events import AnyFact, Draft, Home, SampleGenerated, SampleScored, export, fork
from synlearner.events.checkpoints import Checkpoint, together
from synlearner.events.diff import diff
from synlearner.events.parquet import export_parquet
from synlearner.events.stats import statistics as figures
from synlearner.events.types import Redacted
from synlearner.memory import HashEmbedder, Memory
from synlearner.memory.snapshot import MEMORY

BATCH = 1000


def facts(count: int, learnt: list[AnyFact]) -> list[AnyFact]:
    """Return facts of a mixed history: about 1 KB each, and one in fifty that the memory folds."""
    rng = random.Random(0)
    texts = [" ".join(rng.choice("abcdefgh") * 6 for _ in range(20)) for _ in range(97)]
    made: list[AnyFact] = []
    for i in range(count):
        if i % 50 == 0:
            made.append(learnt[(i // 50) % len(learnt)])
        elif i % 2:
            made.append(
                SampleGenerated(
                    round=1, prompt=i % 8, index=i % 6, text=texts[i % 97], token_ids=list(range(i % 10, 40)),
                    logprobs=[-0.123456] * 40, finish="stop", policy="0" * 64, engine="transformers",
                )
            )  # fmt: skip
        else:
            parts = {"fidelity": 0.5, "quality": 1.0, "gain": i / count}
            row = {"text": texts[i % 97]}
            made.append(SampleScored(sample=i, accepted=True, reason="", fields=row, parts=parts, total=0.1))
    return made


def learnt(folder: Path, items: int) -> list[AnyFact]:
    """Return facts of a real memory with so many items, each judged once, and leave its blobs in *folder*."""
    with Memory.open(folder, embedder=HashEmbedder(64), mirror=False) as memory:
        for i in range(items):
            (added,) = memory.add(f"lesson {i}")["results"]
            memory.feedback(added["id"], 0.5)
        facts = (event.fact for event in memory._home.log.read())  # noqa: SLF001 - the facts, not the memory
        return [fact for fact in facts if not isinstance(fact, Redacted)]


def build(folder: Path, events: int) -> Path:
    """Make a home with so many events."""
    made = facts(min(events, 100_000), learnt(folder.with_name("seed"), 250))
    with Home.open(folder, create=True) as home:
        shutil.copytree(folder.with_name("seed") / "blobs", folder / "blobs", dirs_exist_ok=True)
        for start in range(0, events, BATCH):
            part = (made[i % len(made)] for i in range(start, min(start + BATCH, events)))
            drafts = [Draft(fact=fact, id=f"{start + i:032x}", run_id="run") for i, fact in enumerate(part)]
            home.log.append(drafts, expected_seq=start)
    return folder


# ---- each in a process of its own ----------------------------------------------------------------------------


def opened(home: Path) -> None:
    """Open it as the agent does: memory and run state, caught up."""
    with Home.open(home, write=True) as found:
        together([Checkpoint(found, RUN), Checkpoint(found, MEMORY)])
        Memory(found, HashEmbedder(64), mirror=False).close()


def scanned(home: Path) -> None:
    """Read the rows, and nothing else."""
    for _ in sqlite3.connect(f"{(home / 'log.sqlite').as_uri()}?mode=ro", uri=True).execute("SELECT * FROM events"):
        pass


def read(home: Path) -> None:
    """Read and check every event."""
    with Home.open(home) as found:
        for _ in found.log.read():
            pass


def counted(home: Path) -> None:
    """Make the figures of `log stats`."""
    with Home.open(home) as found:
        figures(found)


def as_lines(home: Path) -> None:
    """Export as JSON lines."""
    with Home.open(home) as found:
        export(found.log, home.with_name("all.jsonl"), blobs=found.blobs)


def as_table(home: Path) -> None:
    """Export as Parquet."""
    with Home.open(home) as found:
        export_parquet(found.log, home.with_name("all.parquet"))


READINGS: dict[str, Callable[[Path], None]] = {
    function.__name__: function for function in (opened, scanned, read, counted, as_lines, as_table)
}


def measured(name: str, home: Path) -> dict[str, float]:
    """Run one reading in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def one(name: str, home: Path) -> None:
    """Do one reading and print its seconds and peak memory."""
    begun = time.perf_counter()
    READINGS[name](home)
    seconds = time.perf_counter() - begun
    # Not `ru_maxrss`: it counts what the parent had before this program was loaded.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(int(peak[1]) / 1024, 1) if peak else None}))


# ---- forks -----------------------------------------------------------------------------------------------------


def on_disk(folder: Path) -> int:
    """Return the bytes of all blocks that a folder takes."""
    paths = [folder, *folder.rglob("*")]
    return sum(path.stat().st_blocks * 512 for path in paths)


def forked(home: Path, events: int, times: int) -> dict[str, float]:
    """Fork at random events."""
    rng = random.Random(1)
    took, sizes = [], []
    for number in range(times):
        into = home.with_name(f"fork-{number}")
        at = rng.randrange(1, events + 1)
        begun = time.perf_counter()
        fork(home, at, into, {"loop.rounds": number})
        took.append(1000 * (time.perf_counter() - begun))
        sizes.append(on_disk(into))
    return {"median_ms": round(statistics.median(took), 1), "worst_ms": round(max(took), 1), "bytes": max(sizes)}


def copied(home: Path) -> dict[str, float]:
    """Copy the folder, as one would without forks."""
    begun = time.perf_counter()
    into = Path(shutil.copytree(home, home.with_name("copy")))
    seconds = time.perf_counter() - begun
    size = on_disk(into)
    shutil.rmtree(into)
    return {"ms": round(1000 * seconds, 1), "bytes": size}


def compared(home: Path, events: int) -> dict[str, float]:
    """Compare a fork of the last event with its parent, and two forks of the middle one."""
    for name in "ab":
        fork(home, events // 2, home.with_name(name), {"loop.rounds": ord(name)})
    with Home.open(home.with_name("a")) as a, Home.open(home.with_name("b")) as b, Home.open(home) as parent:
        begun = time.perf_counter()
        found = [diff(a.log, b.log), diff(parent.log, a.log)]
        seconds = time.perf_counter() - begun
    assert [each.common for each in found] == [events // 2] * 2
    return {"ms_each": round(500 * seconds, 1), "comparisons": max(each.comparisons for each in found)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--forks", type=int, default=25)
    parser.add_argument("--keep", type=Path, help="a folder for the home, which is used again if it is there")
    parser.add_argument("--exports", action="store_true", help="exports as well")
    parser.add_argument("--one", choices=READINGS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.home)
        return
    with tempfile.TemporaryDirectory() as name:
        home = Path(args.keep or name) / f"home-{args.events}"
        begun = time.perf_counter()
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            build(home, args.events)
        result: dict[str, object] = {"events": args.events, "built_s": round(time.perf_counter() - begun, 1)}
        result["fork"] = forked(home, args.events, args.forks)
        result["copy_of_the_folder"] = copied(home)
        result["diff"] = compared(home, args.events)
        shutil.rmtree(home / "derived")
        result["open_without_checkpoint"] = measured("opened", home)
        result["open_with_checkpoint"] = measured("opened", home)
        result["checkpoint_bytes"] = sum(on_disk(home / "derived" / "checkpoints" / p.name) for p in (MEMORY, RUN))
        result["raw_sqlite3_scan"] = measured("scanned", home)
        result["read_and_checked"] = measured("read", home)
        result["stats"] = measured("counted", home)
        if args.exports:
            result["export_jsonl"] = measured("as_lines", home)
            result["export_parquet"] = measured("as_table", home)
        for left in home.parent.iterdir():
            if left != home and left.name.startswith(("fork-", "a", "b", "all.", "seed")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.rmtree(home / "forks", ignore_errors=True)
    print(json.dumps({"benchmark": "history", **result, "python": platform.python_version()}))


if __name__ == "__main__":
    main()
