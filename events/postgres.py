"""The log in PostgreSQL: the same rows, the same hashes.

A sequence of the database would hand out seqs before they are committed, and readers would skip events (16 % of them,
measured). Here an append holds an advisory lock from before it reads the head until its commit, so seqs have no gaps and
become visible in their order. The writer holds another lock as long as its connection lasts, and every append checks
its epoch: a process that was thought dead can append no more.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events.addresses import Address
from synlearner.events.anchor import Anchor
from synlearner.events.checks import WAY_OUT, missing, open_rows
from synlearner.events.committing import check_epoch
from synlearner.events.log import check_place, read_range
from synlearner.events.rows import Appended, Entry, Found, Row, first_seq_of_repeat, prepare, seal
from synlearner.events.server import (
    channel,
    connect,
    driver,
    lock_append,
    lock_writer,
    prepare_schema,
    refusal,
    take_over,
)
from synlearner.events.types import EMPTY, Draft, Event, Head

if TYPE_CHECKING:
    from synlearner.events.server import Connection

PAGE = 256
"""Rows fetched at a time."""

_HEAD = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
_STATE = f"SELECT epoch, seq, hash FROM home LEFT JOIN ({_HEAD}) AS last ON true"  # noqa: S608  # two constants
_INSERT = "INSERT INTO events VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_COPY = "COPY events FROM STDIN (FORMAT BINARY)"
_TYPES = ("int8", "text", "text", "int8", "text", "text", "text", "bytea", "bytea", "text", "bytea")
_PAGE = "SELECT * FROM events WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s"
_FOUND = "SELECT id, seq, kind, payload_digest FROM events WHERE id = ANY(%s)"


class PostgresLog:
    """A `StoredLog` in a schema of a PostgreSQL database. With *write* it is the only writer."""

    base = EMPTY

    def __init__(self, address: Address, *, anchor: Anchor | None, write: bool, create: bool = False) -> None:
        self.address = address
        self._anchor = anchor
        self._write = write
        self._mutex = RLock()
        self._epoch = 0
        self._listening: Connection | None = None
        anchored = anchor.read() if anchor else None
        self._open: Connection | None = connect(address)
        try:
            with self._using() as connection:
                prepare_schema(connection, address, create=create)
                if write:
                    lock_writer(connection, address)
            self._check_anchor(anchored)
            if write:
                with self._using() as connection:
                    self._epoch = take_over(connection)
        except BaseException:
            self.close()
            raise

    def head(self) -> Head:
        """Return the end of the history; `EMPTY` if it has no events."""
        with self._using() as connection:
            return _head(connection)

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Add *drafts* at the end, all or none, and return them as they will be read: see `EventLog`."""
        if not self._write:
            raise LogError(f"'{self.address}' is open for reading: open the home with write=True to append")
        entries = prepare(drafts)
        if any("\0" in draft.id + draft.run_id + draft.task for draft in drafts):
            raise ConfigError("U+0000 in id, run_id or task: PostgreSQL cannot hold it; leave it out")
        with self._mutex:
            try:
                rows = self._commit(self._connection(), entries, expected_seq)
            except driver().Error as error:
                return self._outcome(entries, error)
            if rows is None:
                return self._repeated(entries, expected_seq)
            if rows:
                self._acknowledge(Head(rows[-1][0], rows[-1][-1].hex()))
        return Appended(rows)

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after* up to *until* (or to the end at this moment), in order, checked."""
        after, last = read_range(after, until, self.head())
        previous = self._hash_at(after)
        rows = chain.from_iterable(self._pages(after, last))
        return open_rows(rows, previous, after=after, last=last, everything=self.rows, where=str(self.address))

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
            with self._using() as connection:
                page = connection.execute(_PAGE, (after, last, PAGE), binary=True).fetchall()
            if not page:
                return
            yield page
            after = page[-1][0]

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the log holds under *ids*, by id."""
        with self._using() as connection:
            found = connection.execute(_FOUND, ([id_.replace("\0", "") for id_ in ids],), binary=True).fetchall()
        return {id_: Found(seq, kind, digest) for id_, seq, kind, digest in found}

    def adopt(self, rows: Iterable[Row]) -> Head:
        """Take over a whole history that has been checked already: into an empty log, and all of it or nothing."""
        with self._using() as connection:
            try:
                with connection.transaction():
                    lock_append(connection, self.address)
                    epoch, head = _state(connection)
                    check_epoch(epoch, self._epoch)
                    if head.seq:
                        raise ConfigError(
                            f"'{self.address}' holds {head.seq} events: take a history over into a new home"
                        )
                    _insert(connection, rows, self.address)
            except driver().errors.UniqueViolation as error:
                text = self.address.scrub(str(error))
                raise CorruptLog(f"an id stands twice in the history: {text}; export it again") from None
            head = _head(connection)
        self._acknowledge(head)
        return head

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""
        until = monotonic() + timeout
        with _judged(self.address):
            if self._listening is None:
                self._listening = connect(self.address)
                self._listening.execute(f"LISTEN {channel(self.address)}")
            # What is announced may have been read already: only the head tells.
            while self.head().seq <= seq:
                left = until - monotonic()
                if left <= 0:
                    return False
                for _ in self._listening.notifies(timeout=left, stop_after=1):
                    pass
        return True

    def problems(self) -> list[str]:
        """Return what the database finds wrong: nothing, as its own checks hold whatever is read."""
        return []

    def close(self) -> None:
        """Let go of the connections and the anchor. May be called twice."""
        with self._mutex:
            for connection in (self._open, self._listening):
                if connection:
                    connection.close()
            self._open = self._listening = None
            if self._anchor:
                with suppress(OSError):
                    self._anchor.close()

    def _connection(self) -> "Connection":
        if self._open is None:
            raise LogError(f"'{self.address}' is closed: open the home again")
        return self._open

    @contextmanager
    def _using(self) -> "Iterator[Connection]":
        with self._mutex, _judged(self.address):
            yield self._connection()

    def _hash_at(self, seq: int) -> str:
        if seq == 0:
            return EMPTY.hash
        with self._using() as connection:
            found = connection.execute("SELECT hash FROM events WHERE seq = %s", (seq,), binary=True).fetchone()
        if found is None:
            raise CorruptLog(f"{missing(seq, seq)}, in '{self.address}': {WAY_OUT}")
        return bytes(found[0]).hex()

    # ---- the anchor of what this machine has seen acknowledged -------------------------------------------------

    def _check_anchor(self, anchored: Head | None) -> None:
        if self._anchor is None or anchored is None or anchored.seq == 0:
            return
        head = self.head()
        if anchored.seq > head.seq:
            what = f"the last {anchored.seq - head.seq} acknowledged events are missing: it ends at {head.seq}"
        elif self._hash_at(anchored.seq) != anchored.hash:
            what = f"event {anchored.seq} is not the one that was acknowledged"
        else:
            return
        raise CorruptLog(
            f"'{self.address}': {what}, says '{self._anchor.path}'; restore it from a copy, "
            "or remove that file if another history was put there on purpose"
        )

    def _acknowledge(self, head: Head) -> None:
        if self._anchor:
            # The events are on disk. An anchor that falls behind is brought up to date by the next one.
            with suppress(OSError):
                self._anchor.write(head)

    # ---- appending ---------------------------------------------------------------------------------------------

    def _commit(
        self, connection: "Connection", entries: Sequence[Entry], expected_seq: int
    ) -> list[tuple[Any, ...]] | None:
        """Return the rows, on disk; None if the log does not end where the writer believes, or knows an id."""
        with connection.transaction():
            lock_append(connection, self.address)
            epoch, head = _state(connection)
            check_epoch(epoch, self._epoch)
            ids = [entry.draft.id for entry in entries]
            if head.seq != expected_seq or connection.execute(_FOUND, (ids,)).fetchone():
                return None
            rows = seal(entries, head)
            _insert(connection, rows, self.address)
        return rows

    def _repeated(self, entries: Sequence[Entry], expected_seq: int) -> Sequence[Event]:
        """Return the stored events of a batch that is in the log already; AppendConflict if it is not."""
        found = self.find(entry.draft.id for entry in entries)
        if not entries and self.head().seq == expected_seq:
            return []
        first = first_seq_of_repeat(entries, found, head=self.head(), expected_seq=expected_seq)
        return list(self.read(after=first - 1, until=first - 1 + len(entries)))

    def _outcome(self, entries: Sequence[Entry], error: Exception) -> Sequence[Event]:
        """Return the events if they are on disk in spite of *error*, else raise LogError.

        After an error the outcome of a commit is unknown. With its connection the writer has lost its lock; another
        may have taken over, which the epoch tells.
        """
        if self._open:
            self._open.close()
        self._open = None
        try:
            self._open = connect(self.address)
            lock_writer(self._open, self.address)
            epoch, _ = _state(self._open)
            check_epoch(epoch, self._epoch)
            if entries and len(self.find(entry.draft.id for entry in entries)) == len(entries):
                return self._repeated(entries, -1)
        except driver().Error:
            pass
        raise refusal(self.address, error) from None


def _insert(connection: "Connection", rows: Iterable[Sequence[Any]], address: Address) -> None:
    with connection.cursor() as cursor:
        if isinstance(rows, list) and len(rows) == 1:
            cursor.execute(_INSERT, rows[0])
        elif rows:
            with cursor.copy(_COPY) as copy:
                copy.set_types(_TYPES)
                for row in rows:
                    copy.write_row(row)
        cursor.execute(f"NOTIFY {channel(address)}")


def _head(connection: "Connection") -> Head:
    found = connection.execute(_HEAD, binary=True).fetchone()
    return Head(found[0], bytes(found[1]).hex()) if found else EMPTY


def _state(connection: "Connection") -> tuple[int, Head]:
    found = connection.execute(_STATE, binary=True).fetchone()
    if found is None:
        raise CorruptLog("the table 'home' of the log is empty; restore it from a copy")
    epoch, seq, hash_ = found
    return epoch, Head(seq, bytes(hash_).hex()) if seq is not None else EMPTY


@contextmanager
def _judged(address: Address) -> Iterator[None]:
    try:
        yield
    except driver().Error as error:
        raise refusal(address, error) from None
