"""The log beside its peers: durable appends of about 1 KB events, and verified typed replay.

**append**: our log (canonical form, ids, chain, anchor) against raw `sqlite3` inserts of the same bytes (position and
BLOB), and against the application layer of `eventsourcing`, all with WAL and synchronous=FULL, in turn, batch by batch.
**replay**: every event read, its chain checked, its fact decoded to its type, against `sqlite3` reading the same rows.
**memory**: the most that a process of its own uses to replay 10,000 events and then all of them.

`--facts samples` takes the kind that costs most (40 floats each); the default is the mix of a real run.
"""

import argparse
import json
import platform
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synlearner.events import AnyFact, Draft, Home, SqliteLog, encode, event_id

if TYPE_CHECKING:
    from benchmarks import log_facts
else:
    import log_facts  # beside this file, which is run by path

BATCHES = (1, 10, 100, 1000)


def drafts_of(facts: Sequence[AnyFact], start: int, batch: int) -> list[Draft]:
    """Return the drafts of one batch, with the ids that a run would give them."""
    return [
        Draft(fact=fact, id=event_id("bench", start + i), run_id="bench", task="task")
        for i, fact in enumerate(facts[start : start + batch])
    ]


class Took(NamedTuple):
    """What some appends, or a replay, took, in seconds."""

    wall: float
    cpu: float
    """Of this process, system time included: it says the same on a machine that others use too."""


class Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def stop(self) -> Took:
        """Return what has passed."""
        return Took(time.perf_counter() - self._begun[0], time.process_time() - self._begun[1])


def ours(folder: Path, facts: Sequence[AnyFact], batch: int, *, anchor: bool = True) -> Took:
    """Append to our log."""
    batches = [(start, drafts_of(facts, start, batch)) for start in range(0, len(facts), batch)]
    home = Home.open(folder / "ours", create=True)
    log = home.log if anchor else SqliteLog(folder / "bare.sqlite", anchor=None, write=True)
    clock = Clock()
    for start, drafts in batches:
        log.append(drafts, expected_seq=start)
    took = clock.stop()
    log.close()
    home.close()
    return took


def unanchored(folder: Path, facts: Sequence[AnyFact], batch: int) -> Took:
    """Append to our log without its anchor."""
    return ours(folder, facts, batch, anchor=False)


def raw(folder: Path, facts: Sequence[AnyFact], batch: int) -> Took:
    """Insert the same payloads, and nothing else."""
    payloads = [encode(fact) for fact in facts]
    database = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, payload BLOB)")
    clock = Clock()
    for start in range(0, len(payloads), batch):
        database.execute("BEGIN IMMEDIATE")
        rows = enumerate(payloads[start : start + batch], start + 1)
        database.executemany("INSERT INTO events VALUES (?, ?)", rows)
        database.execute("COMMIT")
    took = clock.stop()
    database.close()
    return took


@cache
def aggregate() -> Any:
    """Return the class that the library records with."""
    from eventsourcing.domain import Aggregate, event  # noqa: PLC0415

    class Run(Aggregate):
        @event("Recorded")
        def record(self, payload: str) -> None:
            pass

    return Run


def library(folder: Path, facts: Sequence[AnyFact], batch: int) -> Took:
    """Record them through the application layer of `eventsourcing`: one aggregate, saved once a batch."""
    from eventsourcing.application import Application  # noqa: PLC0415

    payloads = [encode(fact).decode() for fact in facts]
    name = str(folder / "library.sqlite")
    application: Application[Any] = Application(
        env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": name}
    )
    run = aggregate()()
    application.save(run)
    clock = Clock()
    for start in range(0, len(payloads), batch):
        for payload in payloads[start : start + batch]:
            run.record(payload)
        application.save(run)
    took = clock.stop()
    application.close()
    return took


def measure_append(facts: Sequence[AnyFact], rounds: int) -> dict[str, Any]:
    """Return events per second, CPU time and their ratios, batch by batch: medians over *rounds*, all in turn."""
    peers: dict[str, Callable[[Path, Sequence[AnyFact], int], Took]] = {"ours": ours, "raw": raw, "bare": unanchored}
    with suppress(ImportError):
        import eventsourcing  # noqa: F401, PLC0415

        peers["eventsourcing"] = library
    result = {}
    for batch in BATCHES:
        # As many commits as are worth their time: a batch of 1 is a sync each.
        part = facts[: max(batch * 4, min(len(facts), 400 * batch))]
        found: dict[str, list[Took]] = {name: [] for name in peers}
        for _ in range(rounds):
            order = list(peers)
            random.shuffle(order)
            for name in order:
                with tempfile.TemporaryDirectory() as folder:
                    found[name].append(peers[name](Path(folder), part, batch))
        result[str(batch)] = {
            "per_s": {name: round(len(part) / statistics.median(t.wall for t in took)) for name, took in found.items()},
            "cpu_us": {name: round(min(t.cpu for t in took) / len(part) * 1e6, 1) for name, took in found.items()},
            "of": {
                name: round(statistics.median(b.wall / a.wall for a, b in zip(found["ours"], took, strict=True)), 3)
                for name, took in found.items()
                if name != "ours"
            },
        }
    return result


def fill(folder: Path, facts: Sequence[AnyFact], count: int) -> None:
    """Make a home with *count* events."""
    with Home.open(folder, create=True) as home:
        for start in range(0, count, 1000):
            many = [facts[(start + i) % len(facts)] for i in range(min(1000, count - start))]
            drafts = [
                Draft(fact=fact, id=event_id("bench", start + i), run_id="bench", task="task")
                for i, fact in enumerate(many)
            ]
            home.log.append(drafts, expected_seq=start)


def timed(count: int, rows: Callable[[], Iterator[Any]]) -> Took:
    """Return what reading so many rows took."""
    clock = Clock()
    seen = sum(1 for _ in rows())
    assert seen == count
    return clock.stop()


def measure_replay(facts: Sequence[AnyFact], count: int, rounds: int) -> dict[str, Any]:
    """Read raw rows and events in turn, and return how fast each was; and what memory it takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "home"
        fill(folder, facts, count)
        pairs = []
        for _ in range(rounds):
            database = sqlite3.connect(folder / "log.sqlite")
            rows = timed(count, partial(database.execute, "SELECT * FROM events ORDER BY seq"))
            database.close()
            with Home.open(folder) as home:
                pairs.append((timed(count, home.log.read), rows))
        peak = {str(last): peak_memory(folder, last) for last in (10_000, count)}
    events, rows = (statistics.median(took.wall for took in side) for side in zip(*pairs, strict=True))
    return {
        "events": count,
        "verified_typed_per_s": round(count / events),
        "raw_rows_per_s": round(count / rows),
        "ratio": round(statistics.median(raw.wall / ours.wall for ours, raw in pairs), 3),
        "ratio_cpu": round(statistics.median(raw.cpu / ours.cpu for ours, raw in pairs), 3),
        "cpu_us": round(1e6 * statistics.median(ours.cpu for ours, _ in pairs) / count, 2),
        "seconds": round(events, 2),
        "peak_mib": peak,
    }


def peak_memory(folder: Path, last: int) -> float:
    """Return the MiB that a process uses at most to replay the events up to *last*."""
    done = subprocess.run(
        [sys.executable, __file__, "--replay", str(folder), str(last)], capture_output=True, text=True, check=True
    )
    return round(int(done.stdout) / 1024, 1)


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="to append at most, for each figure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--facts", choices=("mixed", "samples"), default="mixed")
    parser.add_argument("--replay-events", type=int, default=50_000, metavar="N", help="1000000 for the full figure")
    parser.add_argument("--only", choices=("append", "replay"))
    parser.add_argument("--json", action="store_true", help="print it on one line")
    parser.add_argument("--replay", nargs=2, metavar=("HOME", "SEQ"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.replay:
        with Home.open(args.replay[0]) as home:
            for _ in home.log.read(until=int(args.replay[1])):
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    facts = getattr(log_facts, args.facts)(args.events)
    result: dict[str, Any] = {
        "benchmark": "log",
        "facts": args.facts,
        "bytes": sum(len(encode(fact)) for fact in facts) // len(facts),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    if args.only != "replay":
        result["append"] = measure_append(facts, args.rounds)
    if args.only != "append":
        result["replay"] = measure_replay(facts[:2000], args.replay_events, args.rounds)
    print(json.dumps(result, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
