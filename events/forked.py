"""A history that begins in another home: its events and blobs are read there, and only what is new is kept here."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from synlearner.errors import CorruptLog
from synlearner.events.blobs import BlobStore
from synlearner.events.checks import WAY_OUT, missing
from synlearner.events.lineage import Shared
from synlearner.events.log import check_place, read_range
from synlearner.events.rows import Found, Row, first_seq_of_repeat, prepare
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import Draft, Event, Head


class ForkedLog:
    """A `StoredLog` that reads *shared*, oldest part first, and then *own*, the only one that it writes to."""

    def __init__(self, own: SqliteLog, shared: Sequence[Shared]) -> None:
        self.own = own
        self.shared = tuple(shared)
        self.base = self.shared[-1].end

    @property
    def path(self) -> Path:
        """Where new events go."""
        return self.own.path

    def head(self) -> Head:
        """Return the end of the history."""
        return self.own.head()

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Add *drafts* at the end, all or none: see `EventLog`. A repeat of what a parent holds is recognised too."""
        ids = [draft.id for draft in drafts]
        shared = self._find_shared(ids)
        if not shared:
            return self.own.append(drafts, expected_seq=expected_seq)
        entries = prepare(drafts)
        found = shared | self.own.find(ids)
        first = first_seq_of_repeat(entries, found, head=self.head(), expected_seq=expected_seq)
        return list(self.read(after=first - 1, until=first - 1 + len(entries)))

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after* up to *until*, in order, checked, also from part to part."""
        after, last = read_range(after, until, self.head())
        return self._read(after, last)

    def get(self, seq: int) -> Event:
        """Return the event at *seq*, checked. Raises ConfigError if there is none."""
        check_place(seq, self.head())
        return next(self._read(seq - 1, seq))

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Yield events as they are stored, unchecked."""
        last = self.head().seq if until is None else until
        for part, start, stop in self._parts(after, last):
            yield from part.log.rows(after=start, until=stop)
        if last > self.base.seq:
            yield from self.own.rows(after=max(after, self.base.seq), until=last)

    def everything(self) -> Iterator[Row]:
        """Yield all rows of the homes that are read, also what came to a parent after the fork: its redactions."""
        for part in self.shared:
            yield from part.log.rows(after=part.base.seq)
        yield from self.own.rows(after=self.base.seq)

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the history holds under *ids*, by id."""
        ids = list(ids)
        return self._find_shared(ids) | self.own.find(ids)

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""
        return self.own.wait(seq, timeout)

    def adopt(self, rows: Iterable[Row]) -> Head:
        """Take over what comes after the shared part, checked already: see `SqliteLog.adopt`."""
        return self.own.adopt(rows)

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file that is written to."""
        return self.own.problems()

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        try:
            self.own.close()
        finally:
            for part in self.shared:
                part.close()

    def _read(self, after: int, last: int) -> Iterator[Event]:
        for part, start, stop in self._parts(after, last):
            seq, hash_ = start, ""
            for event in part.log.read(after=start, until=stop):
                seq, hash_ = event.seq, event.hash
                yield event
            if seq < stop:
                raise CorruptLog(f"{missing(seq + 1, stop)}, in '{part.home}': {WAY_OUT}")
            if stop == part.end.seq and hash_ != part.end.hash:
                raise CorruptLog(f"event {stop} is not the one that was forked at, in '{part.home}': {WAY_OUT}")
        if last > max(after, self.base.seq):
            yield from self.own.read(after=max(after, self.base.seq), until=last)

    def _parts(self, after: int, last: int) -> Iterator[tuple[Shared, int, int]]:
        """Yield the shared parts between *after* and *last*, each with its own range."""
        for part in self.shared:
            start, stop = max(after, part.base.seq), min(last, part.end.seq)
            if start < stop:
                yield part, start, stop

    def _find_shared(self, ids: Sequence[str]) -> dict[str, Found]:
        found = ((part, part.log.find(ids).items()) for part in self.shared)
        return {id_: place for part, items in found for id_, place in items if place.seq <= part.end.seq}


class InheritedBlobs(BlobStore):
    """Blobs of a fork: new ones are stored in its own folder, old ones are also read from its parents'."""

    def __init__(self, folder: Path, parents: Sequence[BlobStore]) -> None:
        super().__init__(folder)
        self._parents = tuple(parents)

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob. Raises CorruptBlob if it is missing or its bytes do not match its name."""
        holder = self.holder(digest)
        return super().get(digest) if holder is self else holder.get(digest)

    def has(self, digest: str) -> bool:
        """Return whether there is such a blob; its bytes are not looked at."""
        return super().has(digest) or any(store.has(digest) for store in self._parents)

    def holder(self, digest: str) -> BlobStore:
        """Return the store that has a blob; this one if none has."""
        if super().has(digest):
            return self
        return next((store for store in reversed(self._parents) if store.has(digest)), self)
