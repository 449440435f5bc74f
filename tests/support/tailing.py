"""Programs for tests in which several processes write to one home and follow it: `python tailing.py ROLE HOME …`."""

import sys
import time
from contextlib import suppress

from synlearner.errors import AppendConflict, ConfigError, HomeLocked
from synlearner.events import Draft, Home, RunFinished
from synlearner.events.following import follow


def write(home: str, name: str, turns: int, batch: int) -> None:
    """Take *turns* turns as the one writer, and append *batch* events in each."""
    for turn in range(turns):
        drafts = [
            Draft(fact=RunFinished(tasks=turn, delivered=place), id=f"{name} {turn} {place}") for place in range(batch)
        ]
        while True:
            with suppress(HomeLocked, AppendConflict), Home.open(home, write=True) as opened:
                opened.log.append(drafts, expected_seq=opened.log.head().seq)
                break
            time.sleep(0.002)


def tail(home: str, last: int) -> None:
    """Follow up to seq *last*, and print how many events came, whether all in order, and the last hash."""
    while True:
        with suppress(ConfigError), Home.open(home) as opened:
            seqs, hash_ = [], ""
            for event in follow(opened.log, idle=60):
                seqs.append(event.seq)
                hash_ = event.hash
                if event.seq >= last:
                    break
            sys.stdout.write(f"{len(seqs)} {seqs == list(range(1, last + 1))} {hash_}\n")
            return


if __name__ == "__main__":
    role, place, *numbers = sys.argv[1:]
    if role == "write":
        write(place, numbers[0], int(numbers[1]), int(numbers[2]))
    else:
        tail(place, int(numbers[0]))
