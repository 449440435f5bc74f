"""The ChromaDB folder deleted, truncated, with flipped bits, locked, stale, or under a second process: answers stay.

Each trial puts a sound mirror into a home, spoils it in one way, opens the home in a child process (a crash of the host
would be seen), asks it, and compares every result and the digest with what the exact search said before. Small homes are
asked as if they were large: the mirror is asked from the first vector on. The first answer is timed from the opening of
the home; what Python and its modules take to load before that is not in it.

    python benchmarks/bench_memory_chaos.py [--trials 300] [--items 1500]
"""

import argparse
import json
import multiprocessing as mp
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synlearner.memory import HashEmbedder, Memory, library

QUERIES = ["lesson about films", "lesson 7 about rain", "bread and chess", "trains", "law and rain"]
WORDS = ["films", "rain", "bread", "chess", "trains", "law"]


def lines(count: int, path: Path) -> Path:
    """Write *count* items."""
    texts = (f"lesson {n} about {WORDS[n % 6]}, {WORDS[n // 6 % 6]} and {WORDS[n // 36 % 6]}" for n in range(count))
    path.write_text("\n".join(json.dumps({"content": text}) for text in texts))
    return path


def mirror_of(home: Path) -> Path:
    """Return where the mirror is."""
    return home / "derived" / "memory" / "mirror"


def some_file(home: Path, rng: random.Random) -> Path:
    """Return one of the mirror's files."""
    return rng.choice(sorted(path for path in mirror_of(home).rglob("*") if path.is_file()))


def delete(home: Path, rng: random.Random) -> None:
    """Remove the folder, or one file of it."""
    if rng.random() < 0.5:
        shutil.rmtree(mirror_of(home))
    else:
        some_file(home, rng).unlink()


def truncate(home: Path, rng: random.Random) -> None:
    """Cut a file off somewhere."""
    path = some_file(home, rng)
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def flip(home: Path, rng: random.Random) -> None:
    """Flip up to 64 bits of a file."""
    path = some_file(home, rng)
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 64)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def stale(home: Path, _: random.Random) -> None:
    """Put an older copy there: the mirror of fewer items."""
    shutil.rmtree(mirror_of(home))
    shutil.copytree(home.parent / "older" / "derived" / "memory" / "mirror", mirror_of(home))


def lock(home: Path, _: random.Random) -> Callable[[], None]:
    """Hold the database in another connection, as a stuck program would."""
    held = sqlite3.connect(next(mirror_of(home).rglob("chroma.sqlite3")), isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    return held.close


def intrude(home: Path, _: random.Random) -> None:
    """Let another process write into the collection."""
    process = mp.get_context("spawn").Process(target=_intruder, args=(str(home),))
    process.start()
    process.join()


def _intruder(home: str) -> None:
    import chromadb  # noqa: PLC0415 - in the other process

    folder = next(mirror_of(Path(home)).rglob("chroma.sqlite3")).parent
    client = chromadb.PersistentClient(folder, settings=chromadb.config.Settings(anonymized_telemetry=False))
    for collection in client.list_collections():
        collection.add(
            ids=[f"{n:064}" for n in range(1_200)], embeddings=HashEmbedder().embed([str(n) for n in range(1_200)])
        )


HARMS: dict[str, Callable[[Path, random.Random], Any]] = {
    "deleted": delete, "truncated": truncate, "bits flipped": flip, "stale copy": stale, "locked": lock,
    "second process": intrude,
}  # fmt: skip


def ask(home: str, answers: Any) -> None:
    """Open the home, time the first answer, and send all of them."""
    library.MIRROR_FROM, library.MIRROR_TAIL = 0, 10
    begun = time.perf_counter()
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        found = [memory.search(QUERIES[0], k=5, explain=True)]
        seconds = time.perf_counter() - begun
        found += [memory.search(query, k=5, explain=True) for query in QUERIES[1:]]
        answers.send((seconds, found, memory.digest()))


def asked(home: Path) -> tuple[float, Any, str] | None:
    """Return what a child process answers; None if it died."""
    context = mp.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=ask, args=(str(home), there))
    process.start()
    there.close()
    try:
        found: tuple[float, Any, str] = here.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--items", type=int, default=1_500)
    parser.add_argument("--verbose", action="store_true", help="tell each trial")
    args = parser.parse_args()
    rng = random.Random(0)
    wrong = crashed = 0
    seconds: list[float] = []
    each: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count in (("older", args.items * 2 // 3), ("whole", args.items)):
            if name == "whole":
                shutil.copytree(root / "older", root / "whole")
            with Memory.open(root / name, embedder=HashEmbedder()) as memory:
                memory.import_(lines(count, root / "lines"))
                memory.rebuild_mirror()
        with Memory.open(root / "whole", embedder=HashEmbedder(), mirror=False) as memory:
            expected = [memory.search(query, k=5, explain=True) for query in QUERIES], memory.digest()
        home, sound = root / "whole", root / "sound"
        shutil.copytree(mirror_of(home), sound)
        for trial in range(args.trials):
            name = list(HARMS)[trial % len(HARMS)]
            shutil.rmtree(mirror_of(home), ignore_errors=True)
            shutil.copytree(sound, mirror_of(home))
            let_go = HARMS[name](home, rng)
            found = asked(home)
            if let_go:
                let_go()
            crashed += found is None
            wrong += found is not None and found[1:] != expected
            seconds.append(found[0] if found else float("inf"))
            each[name] = each.get(name, 0) + 1
            if args.verbose:
                print(name, round(found[0], 2) if found else "died", flush=True)
    print(json.dumps({"trials": each, "items": args.items, "wrong": wrong, "crashed": crashed,
                      "first_answer_s": {"median": round(statistics.median(seconds), 2), "slowest": round(max(seconds), 2)}}))  # fmt: skip


if __name__ == "__main__":
    main()
