"""The promise that every log keeps, and the one that lives in memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from threading import Condition
from typing import Protocol

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events.checks import open_rows
from synlearner.events.rows import Appended, Found, Row, first_seq_of_repeat, prepare, seal
from synlearner.events.types import EMPTY, Draft, Event, Head


class EventLog(Protocol):
    """An append-only history in one order. Safe to share between threads."""

    def head(self) -> Head:
        """Return the end of the history; `EMPTY` if it has no events."""

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Add *drafts* at the end, all or none, and return them as they will be read. On disk when it returns.

        A batch that is in the log already, whole and with the same payloads, is a repeat: the stored events are
        returned and nothing is written, whatever *expected_seq* says.
        An empty batch writes nothing and returns nothing, but a stale *expected_seq* is a conflict all the same.

        Raises:
            ConfigError: If a draft cannot be written; nothing was.
            AppendConflict: If the log does not end at *expected_seq*, or holds a part of the batch, or holds one of
                its ids with another payload. Nothing was written.
            LogError: If the log cannot be written now. Nothing was written; the same call can be made again.

        """

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after* up to *until* (or to the end at this moment), in order, checked.

        Raises:
            CorruptLog: At the first event that is not what was written.

        """

    def get(self, seq: int) -> Event:
        """Return the event at *seq*, checked. Raises ConfigError if there is none."""

    def close(self) -> None:
        """Let go of everything. May be called twice."""


class StoredLog(EventLog, Protocol):
    """A log that also gives out what it stores: what an export and a fork need."""

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Yield events as they are stored, unchecked."""

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the log holds under *ids*, by id."""

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""

    def adopt(self, rows: Iterable[Row]) -> Head:
        """Take over a whole history that has been checked already: into an empty log, and all of it or nothing."""

    def problems(self) -> list[str]:
        """Return what the storage finds wrong with itself."""


class MemoryLog:
    """A `StoredLog` without a disk, shipped so that users can test too."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._places: dict[str, Found] = {}
        self._mutex = Condition()

    def head(self) -> Head:
        """Return the end of the history; `EMPTY` if it has no events."""
        return Head(self._rows[-1].seq, self._rows[-1].hash.hex()) if self._rows else EMPTY

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Add *drafts* at the end, all or none: see `EventLog`."""
        entries = prepare(drafts)
        with self._mutex:
            head = self.head()
            found = self.find(entry.draft.id for entry in entries)
            if head.seq == expected_seq and not found:
                sealed = seal(entries, head)
                rows = [Row._make(row) for row in sealed]
                self._rows += rows
                self._mutex.notify_all()
                self._places.update((row.id, Found(row.seq, row.kind, row.payload_digest)) for row in rows)
                return Appended(sealed)
            first = first_seq_of_repeat(entries, found, head=head, expected_seq=expected_seq)
        return list(self.read(after=first - 1, until=first - 1 + len(entries)))

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after* up to *until*, in order, checked."""
        after, last = read_range(after, until, self.head())
        previous = self._rows[after - 1].hash.hex() if after else EMPTY.hash
        rows = self.rows(after=after, until=last)
        return open_rows(rows, previous, after=after, last=last, everything=self.rows, where="memory")

    def get(self, seq: int) -> Event:
        """Return the event at *seq*. Raises ConfigError if there is none."""
        check_place(seq, self.head())
        return next(self.read(after=seq - 1, until=seq))

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Yield events as they are stored, unchecked."""
        yield from self._rows[after:until]

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the log holds under *ids*, by id."""
        return {id_: self._places[id_] for id_ in ids if id_ in self._places}

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""
        with self._mutex:
            return self._mutex.wait_for(lambda: len(self._rows) > seq, timeout)

    def adopt(self, rows: Iterable[Row]) -> Head:
        """Take over a whole history that has been checked already: into an empty log."""
        taken = [Row._make(row) for row in rows]
        with self._mutex:
            if self._rows:
                raise ConfigError(f"the log holds {len(self._rows)} events: take a history over into a new one")
            places = {row.id: Found(row.seq, row.kind, row.payload_digest) for row in taken}
            if len(places) < len(taken):
                raise CorruptLog("an id stands twice in the history; export it again")
            self._rows, self._places = taken, places
            self._mutex.notify_all()
        return self.head()

    def problems(self) -> list[str]:
        """Return nothing: memory has no checks."""
        return []

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def read_with_rows(log: StoredLog, last: int) -> Iterator[tuple[Row, Event]]:
    """Yield the first *last* events of *log*, checked, each with the row that it is stored in."""
    rows, same_rows = tee(log.rows(until=last))
    everything = getattr(log, "everything", log.rows)  # a fork also looks at what came to its parents later
    events = open_rows(rows, EMPTY.hash, after=0, last=last, everything=everything, where="the log")
    return zip(same_rows, events, strict=True)


def read_range(after: int, until: int | None, head: Head) -> tuple[int, int]:
    """Return (after, last) inside the history; after = last if there is nothing to read."""
    if after < 0:
        raise ConfigError(f"after is {after}: seqs start at 1, and 0 reads from the beginning")
    last = head.seq if until is None else min(until, head.seq)
    return min(after, max(last, 0)), max(last, 0)


def check_place(seq: int, head: Head) -> None:
    """Raise ConfigError if *seq* is not in the history that ends at *head*."""
    if not 1 <= seq <= head.seq:
        known = f"this log holds 1 to {head.seq}" if head.seq else "this log is empty"
        raise ConfigError(f"there is no event {seq}: {known}")
