"""Durable appends of about 1 KB events: our log (canonical form, ids, chain, anchor) against raw `sqlite3` inserts.

Both write the same bytes with the same durability (WAL, synchronous=FULL), in turn, batch size by batch size.
"""

import argparse
import json
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from synlearner.events import Draft, Home, SampleGenerated, encode


def facts(count: int) -> list[SampleGenerated]:
    """Return *count* facts of about 1 KB."""
    rng = random.Random(0)
    return [
        SampleGenerated(
            round=1,
            prompt=i % 8,
            index=i % 6,
            text=" ".join(rng.choice("abcdefgh") * 6 for _ in range(20)),
            token_ids=[rng.randrange(49152) for _ in range(40)],
            logprobs=[round(-rng.random() * 5, 6) for _ in range(40)],
            finish="stop",
            policy="0" * 64,
            engine="transformers",
        )
        for i in range(count)
    ]


def ours(folder: Path, rows: list[SampleGenerated], batch: int) -> float:
    """Return events per second of our log."""
    with Home.open(folder / "ours", create=True) as home:
        begun = time.perf_counter()
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            drafts = [Draft(fact=fact, id=f"{start + i:032x}") for i, fact in enumerate(part)]
            home.log.append(drafts, expected_seq=start)
        return len(rows) / (time.perf_counter() - begun)


def raw(folder: Path, payloads: list[bytes], batch: int) -> float:
    """Return events per second of bare inserts."""
    database = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, payload BLOB)")
    begun = time.perf_counter()
    for start in range(0, len(payloads), batch):
        database.execute("BEGIN IMMEDIATE")
        rows = enumerate(payloads[start : start + batch], start + 1)
        database.executemany("INSERT INTO events VALUES (?, ?)", rows)
        database.execute("COMMIT")
    seconds = time.perf_counter() - begun
    database.close()
    return len(payloads) / seconds


def main() -> None:
    """Measure both in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rows = facts(args.events)
    payloads = [encode(row) for row in rows]
    result = {}
    for batch in (1, 10, 100, 1000):
        pairs = []
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as name:
                pairs.append((ours(Path(name), rows, batch), raw(Path(name), payloads, batch)))
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        result[str(batch)] = {"ours_per_s": round(mine), "raw_per_s": round(theirs), "ratio": round(ratio, 2)}
    size = sum(map(len, payloads)) // len(payloads)
    print(
        json.dumps({"benchmark": "log_append", "bytes": size, "batches": result, "python": platform.python_version()})
    )


if __name__ == "__main__":
    main()
