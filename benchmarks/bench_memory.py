"""A memory of many items: search at any filter selectivity, recall against exact search, feedback, folding.

Search is all that happens between a query's vector and ranked candidates: filter, likeness, words, fusion, utility.
Times are by the clock and, as `cpu_`, of the thread alone: what they would be on a machine with nothing else to do.
The peer, measured in turn, is an exact scan in numpy (one float32 matrix product and a partial sort) over the rows that
pass a mask that is given for free, with no words and no utility.

    python benchmarks/bench_memory.py [--items 100000] [--vectors text|isotropic] [--queries 200]
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synlearner.events import Candidate, Event, ExperienceItem, ExperienceLearned, ExperienceRecalled
from synlearner.events.blobs import BlobStore
from synlearner.memory import ExactIndex, MemoryState, RecallSettings, credit, recall
from synlearner.memory.cache import VectorCache
from synlearner.memory.credit import observed
from synlearner.memory.filters import compile_filter
from synlearner.memory.index import pack
from synlearner.memory.library import Library
from synlearner.memory.regression import NOISE_VARIANCE

DIMENSION = 384
FILTERS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "0.1 %": {"share": 7},
    "10 %": {"share": {"lt": 100}},
    "50 %": {"share": {"gte": 500}},
    "99.9 %": {"share": {"ne": 7}},
}
Rows = NDArray[np.float32]


class Kept(BlobStore):
    """Blobs in memory: a million files would take longer to write than all of this."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, digest: str) -> bytes:
        """Return the bytes."""
        return self.kept[digest]


def rows_of(kind: str, count: int, seed: int) -> Rows:
    """Return unit rows: noise in all directions, or like texts: topics, a falling spectrum, near neighbours."""
    rng = np.random.default_rng(seed)
    found = np.empty((count, DIMENSION), np.float32)
    world = np.random.default_rng(99)
    topics = world.standard_normal((400, DIMENSION)).astype(np.float32)
    spectrum = (1 / np.sqrt(np.arange(1, DIMENSION + 1))).astype(np.float32) * 4
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        rows = rng.standard_normal((size, DIMENSION), dtype=np.float32)
        if kind == "text":
            rows = rows * spectrum + topics[rng.integers(0, len(topics), size)] * np.float32(0.5)
        found[start : start + size] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def texts_of(count: int, seed: int) -> Iterator[str]:
    """Yield texts of 8 to 24 words, the words as frequent as in language (Zipf)."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(20_000)]
    weights = np.cumsum(1 / np.arange(1, len(words) + 1)).tolist()
    for _ in range(count):
        yield " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(8, 24)))


def event_of(fact: Any, seq: int) -> Event:
    """Return *fact* as an event."""
    return Event(seq=seq, id="", kind=fact.kind, version=2, run_id="", task="", causes=(), fact=fact, observed={}, hash="")  # fmt: skip


def learned(rows: Rows) -> Iterator[tuple[ExperienceLearned, bytes]]:
    """Yield a fact and a blob for each row."""
    for number, (row, text) in enumerate(zip(rows, texts_of(len(rows), 1), strict=True)):
        blob = pack(row)
        item = ExperienceItem(
            id=f"x{number:07}", type="lesson", title="", when="", content=text, polarity=1, scope="",
            metadata={"share": number % 1000}, evidence=[],
        )  # fmt: skip
        digest = sha256(blob).hexdigest()
        yield ExperienceLearned(item=item, embedder="bench", vector=digest, supersedes="", parents=[]), blob


def timed(do: Callable[[int], Any], times: int) -> dict[str, float]:
    """Return the median and the 95th percentile in ms, and those of the thread's own time on a processor."""
    do(0)
    walls, busy = [], []
    for turn in range(times):
        begun, worked = time.perf_counter(), time.thread_time()
        do(turn)
        walls.append(1e3 * (time.perf_counter() - begun))
        busy.append(1e3 * (time.thread_time() - worked))
    quantiles = {}
    for name, found in (("", walls), ("cpu_", busy)):
        quantiles[f"{name}p50"] = round(statistics.median(found), 2)
        quantiles[f"{name}p95"] = round(float(np.quantile(found, 0.95)), 2)
    return quantiles


def fold_rate(state: MemoryState, count: int) -> float:
    """Return memory events folded per second: an eighth learnt, a quarter recalled, the rest credited jointly."""
    rng = random.Random(2)
    names = [f"x{number:07}" for number in range(2_000)]
    facts: list[Any] = []
    for number in range(count):
        if number % 8 == 0:
            item = ExperienceItem(
                id=names[number // 8 % 2_000], type="lesson", title="", when="", content=f"text {number}", polarity=1,
                scope="", metadata={}, evidence=[],
            )  # fmt: skip
            facts.append(ExperienceLearned(item=item, embedder="e", vector=f"{number:064}", supersedes="", parents=[]))
        elif number % 8 in (1, 2):
            candidates: list[Candidate] = []
            facts.append(ExperienceRecalled(round=1, query="q", query_vector="", scope="", filters={}, k=4, settings={},
                                            control=0.05, candidates=candidates, chosen=rng.sample(names, 4), seed=1))  # fmt: skip
        else:
            facts.append(credit(rng.random(), f"f{number % 50}", rng.sample(sorted(state.records)[:40], 4), state))
    events = [event_of(fact, seq) for seq, fact in enumerate(facts, start=1)]
    best = 0.0
    for _ in range(3):
        fresh = MemoryState()
        begun = time.perf_counter()
        for event in events:
            fresh.apply(event)
        best = max(best, count / (time.perf_counter() - begun))
    return round(best)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--vectors", choices=("text", "isotropic"), default="text")
    parser.add_argument("--queries", type=int, default=200)
    args = parser.parse_args()
    rows, queries = rows_of(args.vectors, args.items, 0), rows_of(args.vectors, args.queries, 1)
    texts = list(texts_of(args.queries, 3))
    state, blobs = MemoryState(), Kept()
    for seq, (fact, blob) in enumerate(learned(rows), start=1):
        state.apply(event_of(fact, seq))
        if seq == 1:
            blobs.kept[fact.vector] = blob
    found: dict[str, Any] = {"items": args.items, "vectors": args.vectors, "machine": platform.processor()}
    with tempfile.TemporaryDirectory() as folder:
        cache = VectorCache(Path(folder) / f"bench-{DIMENSION}.rows", DIMENSION)
        cache.append([digest for _, digest in state.vectors], rows)
        library = Library(blobs, Path(folder), state, writable=False, mirror=False)
        begun, worked = time.perf_counter(), time.process_time()
        library.nearest(queries[0], texts[0], None, "", 16)
        found["first_answer_s"] = round(time.perf_counter() - begun, 2)
        found["first_answer_cpu_s"] = round(time.process_time() - worked, 2)
        found["search_ms"], found["numpy_scan_ms"] = {}, {}
        for name, filters in FILTERS.items():
            passes = compile_filter(filters) if filters else None
            mask = None if filters is None else np.array([passes({"share": n % 1000}) for n in range(args.items)])  # type: ignore[misc]

            def search(turn: int, passes: Any = passes) -> None:
                options = library.nearest(queries[turn], texts[turn], passes, "", 16)
                recall(queries[turn], options, k=4, seed=None, settings=RecallSettings(gate=0.0))

            def scan(turn: int, mask: Any = mask) -> None:
                scores = (rows if mask is None else rows[mask]) @ queries[turn]
                np.argpartition(scores, -10)[-10:]

            found["search_ms"][name] = timed(search, args.queries)
            found["numpy_scan_ms"][name] = timed(scan, max(10, args.queries // 10))
        index = library._live()[0]  # noqa: SLF001 - the index that the searches above used
        found["recall_at_10"] = recall_at_10(index, rows, queries)
        found["feedback_ms"] = timed(lambda turn: judge(state, library, turn), args.queries)
    found["fold_per_s"] = fold_rate(state, 16_000)
    print(json.dumps(found))


def recall_at_10(index: ExactIndex, rows: Rows, queries: Rows) -> float:
    """Return the share of the ten nearest of all *rows*, compared in float64, that a search finds."""
    shares = []
    for query in queries[:50]:
        cosines = np.concatenate(
            [rows[at : at + 50_000] @ query.astype(np.float64) for at in range(0, len(rows), 50_000)]
        )
        nearest = {sha256(pack(rows[place])).hexdigest() for place in np.argpartition(cosines, -10)[-10:]}
        shares.append(len(nearest & {name for name, _ in index.search(query, 10)}) / 10)
    return round(float(np.mean(shares)), 4)


def judge(state: MemoryState, library: Library, turn: int) -> None:
    """Credit a judgement, fold it, and bring it where the next search looks."""
    fact = observed(0.5, NOISE_VARIANCE, "feedback:bench", f"x{turn:07}", state)
    state.apply(event_of(fact, state.seq + 1))
    library._live()  # noqa: SLF001 - what the next search begins with


if __name__ == "__main__":
    main()
