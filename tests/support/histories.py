"""Small histories for tests that need no agent, and ways to change them as no SynLearner would."""

import errno
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import RLock
from typing import Any

from synlearner.events import (
    EMPTY,
    Draft,
    Event,
    FeedbackGiven,
    Head,
    Home,
    MemoryLog,
    RunFinished,
    SetScored,
    SqliteLog,
)
from synlearner.events.forked import ForkedLog
from synlearner.events.lineage import Shared


def small_home(path: Path) -> Path:
    """Make a home of six events; the second names one blob, the fifth another."""
    with Home.open(path, create=True) as home:
        drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in range(6)]
        for place in (1, 4):
            blob = home.blobs.put(f"matrix {place}".encode())
            scored = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
            drafts[place] = Draft(fact=scored, id=str(place))
        home.log.append(drafts, expected_seq=0)
    return path


def home_of_feedback(path: Path, count: int) -> Path:
    """Make a home of *count* events whose payloads may be redacted."""
    with Home.open(path, create=True) as home:
        facts = [FeedbackGiven(target="task:a", score=0, text=f"text {n}", source="me") for n in range(count)]
        home.log.append([Draft(fact=fact, id=str(n)) for n, fact in enumerate(facts)], expected_seq=0)
    return path


def draft(number: int, **more: Any) -> Draft:
    """Return a draft with an id of its own."""
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"id {number}", **more)


def memory(count: int) -> MemoryLog:
    """Make a log of *count* events."""
    log = MemoryLog()
    log.append([draft(number) for number in range(1, count + 1)], expected_seq=0)
    return log


def failing(*_: object, **__: object) -> Any:
    """Fail as a disk does, in the place of what would use it."""
    raise OSError(errno.EIO, "Input/output error")


def change(home: Path, sql: str, *values: object) -> None:
    """Change the database behind the log's back."""
    with closing(sqlite3.connect(home / "log.sqlite", isolation_level=None)) as database:
        database.execute(sql, values)


class Reforked:
    """A `StoredLog` in which every batch stands in a home of its own, and all but the last are read through forks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = RLock()
        self._parts: list[Shared] = []
        self._logs: list[SqliteLog | ForkedLog] = []
        self._begin(EMPTY)

    def _begin(self, base: Head) -> None:
        home = self._folder / f"part-{len(self._logs)}"
        home.mkdir()
        own = SqliteLog(home / "log.sqlite", anchor=None, write=True, base=base)
        self._home = home
        self._logs.append(ForkedLog(own, self._parts) if self._parts else own)

    @property
    def log(self) -> SqliteLog | ForkedLog:
        """What is written to now."""
        return self._logs[-1]

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Append, and fork behind it."""
        with self._mutex:
            events = self.log.append(drafts, expected_seq=expected_seq)
            base, end = self.log.base, self.log.head()
            if end.seq > base.seq:

                def opener(home: Path, start: Head) -> SqliteLog:
                    return SqliteLog(home / "log.sqlite", anchor=None, write=False, base=start)

                self._parts = [*self._parts, Shared(self._home, self._home, base, end, opener)]
                self._begin(end)
            return events

    def close(self) -> None:
        """Close all of them."""
        for log in self._logs:
            log.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)
