"""The log on disk: one SQLite table, appended to by one connection.

Acknowledged means on disk: WAL with `synchronous=FULL`. NORMAL lost acknowledged events in 58 % of simulated power
cuts, FULL in none. SQLite cannot tell that its own data changed (it missed 98 % of content-changing bit flips), so
every read recomputes the hash chain; and a lost tail is still a valid chain, so an anchor outside says where it ends.

SQLite before 3.51.3 (and not 3.50.7 or 3.44.6) can lose data when two connections write or checkpoint at the same
moment. Nothing here can: of all connections to a home only the one under the writer's lock (`synlearner.events.home`)
writes, checkpoints or resets the WAL; all others are opened read-only.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from threading import RLock
from time import monotonic, sleep
from typing import Any

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events.anchor import Anchor
from synlearner.events.checks import WAY_OUT, missing, open_rows
from synlearner.events.committing import INSERT, Pen, check_epoch, hash_text, head_of
from synlearner.events.database import (
    FAILURES,
    NotOurs,
    is_empty,
    noted,
    open_database,
    problems_inside,
    take_over,
    transaction,
    unreadable,
)
from synlearner.events.files import cannot_write
from synlearner.events.ids import Ids, problems_of_ids
from synlearner.events.log import check_place, read_range
from synlearner.events.rows import Appended, Entry, Found, Row, first_seq_of_repeat, prepare
from synlearner.events.types import EMPTY, Draft, Event, Head

PAGE = 256
"""Rows fetched at a time: no read transaction stays open between pages, so no reader holds up a checkpoint."""

QUICK, SLOW = 0.0005, 0.005
"""Seconds between two looks of somebody who waits: at first, and when nothing comes."""

_PAGE = "SELECT * FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"


class SqliteLog:
    """A `StoredLog` in one file. With *write* it must be the only writer: hold the home's lock.

    A log that starts after *base*, the head of another history, holds what comes behind it alone.
    """

    def __init__(self, path: Path, *, anchor: Anchor | None, write: bool, base: Head = EMPTY) -> None:
        self.path = path
        self.base = base
        self._anchor = anchor
        self._write = write
        self._mutex = RLock()
        self._ids = Ids()
        # Before the log: events are committed before they are anchored, so what is anchored now must be there then.
        anchored = anchor.read() if anchor else None
        self._open: sqlite3.Connection | None = self._connect(anchored)
        try:
            self._check_anchor(anchored)
            self._pen = self._take_over() if write else None
            # Only now: what a failing disk left in the page cache alone, the commit of the take-over has forced to it.
            if write and anchored != (head := self.head()):
                self._move_anchor(head)
        except BaseException:
            self.close()
            raise

    def head(self) -> Head:
        """Return the end of the history; `base` if it has no events."""
        with self._reading() as connection:
            return head_of(connection, self.base)

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Add *drafts* at the end, all or none, and return them as they will be read: see `EventLog`."""
        if not self._pen:
            raise LogError(f"'{self.path}' is open for reading: open the home with write=True to append")
        entries = prepare(drafts)
        if not entries:
            head = self.head()
            if head.seq != expected_seq:  # nothing was appended before, so this refuses
                first_seq_of_repeat([], {}, head=head, expected_seq=expected_seq)
            return []
        with self._mutex:
            connection = self._connection()
            try:
                rows = self._pen.commit(connection, entries, expected_seq)
            except (*FAILURES, OSError) as error:
                events = self._outcome(connection, self._pen.epoch, entries, error)
                self._acknowledge(Head(events[-1].seq, events[-1].hash))
                return events
            if rows is None:
                return self._repeated(entries, expected_seq)
            self._acknowledge(Head(rows[-1][0], rows[-1][-1].hex()))
        return Appended(rows)

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after* up to *until* (or to the end at this moment), in order, checked."""
        after, last = read_range(after, until, self.head())
        previous = self._hash_at(after)
        rows = chain.from_iterable(self._pages(after, last))
        return open_rows(rows, previous, after=after, last=last, everything=self.rows, where=str(self.path))

    def get(self, seq: int) -> Event:
        """Return the event at *seq*, checked. Raises ConfigError if there is none."""
        check_place(seq, self.head())
        return next(self.read(after=seq - 1, until=seq))

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Yield events as they are stored, unchecked, a page at a time."""
        last = self.head().seq if until is None else until
        return map(Row._make, chain.from_iterable(self._pages(after, last)))

    def _pages(self, after: int, last: int) -> Iterator[list[tuple[Any, ...]]]:
        while after < last:
            with self._reading() as connection:
                page = connection.execute(_PAGE, (after, last, PAGE)).fetchall()
            if not page:
                return
            yield page
            # A damaged tree can answer with rows that were not asked for; go forward all the same.
            after = max(after + 1, page[-1][0])

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the log holds under *ids*, by id."""
        with self._reading() as connection:
            return self._ids.find(connection, list(ids))

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""
        until = monotonic() + timeout
        pause, seen = QUICK, None
        while True:
            with self._reading() as connection:
                # Of this connection's own commits and of others': a look costs 10 µs, and reads nothing.
                now = connection.total_changes, connection.execute("PRAGMA data_version").fetchone()
            if now != seen and self.head().seq > seq:
                return True
            left = until - monotonic()
            if left <= 0:
                return False
            sleep(min(pause, left))
            pause, seen = min(pause * 1.5, SLOW), now

    def adopt(self, rows: Iterable[Row]) -> Head:
        """Take over a whole history that has been checked already: into an empty log, and all of it or nothing."""
        with self._mutex:
            connection = self._connection()
            try:
                with transaction(connection):
                    head = head_of(connection, self.base)
                    if head != self.base:
                        raise ConfigError(f"'{self.path}' holds {head.seq} events: take a history over into a new home")
                    connection.executemany(INSERT, rows)
                    head = head_of(connection, self.base)
                    Ids().merge(connection, head.seq, least=1)
            except sqlite3.IntegrityError as error:
                raise CorruptLog(f"an id stands twice in the history: {error}; export it again") from error
            except (*FAILURES, OSError) as error:
                raise cannot_write(self.path, error) from error
            self._move_anchor(head)
        return head

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file, such as ids that its index does not have; ten at most."""
        with self._reading() as connection:
            return problems_inside(connection) + problems_of_ids(connection)

    def close(self) -> None:
        """Let go of the file and its anchor. May be called twice."""
        with self._mutex:
            if self._open:
                self._open.close()
                self._open = None
            if self._anchor:
                try:
                    self._anchor.close()
                except OSError as error:
                    raise cannot_write(self._anchor.path, error) from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise LogError(f"'{self.path}' is closed: open the home again")
        return self._open

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                yield self._connection()
            except FAILURES as error:
                raise unreadable(self.path, error) from error

    def _hash_at(self, seq: int) -> str:
        if seq == self.base.seq:
            return self.base.hash
        with self._reading() as connection:
            found = connection.execute("SELECT hash FROM events WHERE seq = ?", (seq,)).fetchone()
        if found is None:
            raise CorruptLog(f"{missing(seq, seq)}, in '{self.path}': {WAY_OUT}")
        return hash_text(seq, found[0])

    # ---- opening -----------------------------------------------------------------------------------------------

    def _connect(self, anchored: Head | None) -> sqlite3.Connection:
        if is_empty(self.path):
            if anchored and anchored.seq:
                raise _lost(self.path, anchored, EMPTY)
            if not self._write and not self.path.exists():
                raise ConfigError(f"no log at '{self.path}': pass the folder of an earlier run")
        try:
            return open_database(self.path, write=self._write)
        except NotOurs as error:
            if anchored:
                raise CorruptLog(f"'{self.path}' is damaged: {error}; restore the home from a copy") from None
            raise ConfigError(f"'{self.path}' is not a log of SynLearner: {error}; pass the folder of a run") from None

    def _check_anchor(self, anchored: Head | None) -> None:
        if self._anchor is None:
            return
        head = self.head()
        if anchored is None:
            if self._write:
                # Nothing says where the history ends, so at least all of what is there must be whole.
                for _ in self.read(after=self.base.seq):
                    pass
        elif anchored.seq > head.seq:
            raise _lost(self.path, anchored, head)
        elif self._hash_at(anchored.seq) != anchored.hash:
            raise CorruptLog(
                f"event {anchored.seq} is not the one that was acknowledged: '{self._anchor.path}' has another hash; "
                "restore the home from a copy"
            )

    def _take_over(self) -> Pen:
        with self._reading() as connection:
            return Pen(take_over(connection), self.base)

    def _acknowledge(self, head: Head) -> None:
        if self._anchor:
            # The events are on disk. An anchor that falls behind is brought up to date by the next one.
            with suppress(OSError):
                self._anchor.write(head)

    def _move_anchor(self, head: Head) -> None:
        if self._anchor:
            try:
                self._anchor.write(head)
            except OSError as error:
                raise cannot_write(self._anchor.path, error) from error

    # ---- when an append does not go through --------------------------------------------------------------------

    def _repeated(self, entries: Sequence[Entry], expected_seq: int) -> list[Event]:
        """Return the stored events of a batch that is in the log already; AppendConflict if it is not."""
        head, found = self.head(), self.find(entry.draft.id for entry in entries)
        if not found and head.seq == expected_seq:
            raise CorruptLog(f"'{self.path}' is damaged: its index of ids names events that are not there; {WAY_OUT}")
        first = first_seq_of_repeat(entries, found, head=head, expected_seq=expected_seq)
        return list(self.read(after=first - 1, until=first - 1 + len(entries)))

    def _outcome(
        self, connection: sqlite3.Connection, epoch: int, entries: Sequence[Entry], error: Exception
    ) -> list[Event]:
        """Return the events if they are on disk in spite of *error*, else raise LogError.

        After an error the outcome of a commit is unknown, and the connection may believe what the disk does not
        hold: so a new one looks.
        """
        connection.close()
        self._open, self._ids = None, Ids()
        try:
            self._open = open_database(self.path, write=True)
            check_epoch(noted(self._open, "epoch"), epoch)
            self._pen = Pen(epoch, self.base)
            there = len(self.find(entry.draft.id for entry in entries)) == len(entries)
            # A failed sync may have left the batch in the page cache alone. A checkpoint writes it once more, to the
            # database itself, and syncs that; it is busy (1) if a reader is in the way.
            if there and self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                return self._repeated(entries, -1)
        except (*FAILURES, OSError, NotOurs) as second:
            raise _refusal(self.path, error) from second
        raise _refusal(self.path, error) from error


def _refusal(path: Path, error: Exception) -> LogError:
    damaged = None if isinstance(error, OSError) else unreadable(path, error)
    return damaged if isinstance(damaged, CorruptLog) else cannot_write(path, error)


def _lost(path: Path, anchored: Head, head: Head) -> CorruptLog:
    gone = anchored.seq - head.seq
    which = "the last acknowledged event is" if gone == 1 else f"the last {gone} acknowledged events are"
    return CorruptLog(
        f"{which} missing: '{path}' ends at {head.seq}, its anchor at {anchored.seq}; restore the home from a copy"
    )
