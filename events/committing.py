"""One append to a SQLite log: the writer's right to it, the place, the ids, the rows; all in one transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from synlearner.errors import CorruptLog, HomeLocked
from synlearner.events.checks import WAY_OUT
from synlearner.events.database import transaction
from synlearner.events.ids import Ids
from synlearner.events.rows import Entry, seal
from synlearner.events.types import Head

INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HEAD = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
_STATE = f"SELECT epoch, seq, hash FROM writer LEFT JOIN ({_HEAD})"  # noqa: S608  # two constants


class Pen:
    """The right to append to a log, of one epoch: who takes the log over later ends it."""

    def __init__(self, epoch: int, base: Head) -> None:
        self.epoch = epoch
        self._base = base
        self._ids: Ids | None = None

    def commit(
        self, connection: sqlite3.Connection, entries: Sequence[Entry], expected_seq: int
    ) -> list[tuple[Any, ...]] | None:
        """Return the rows, on disk; None if the log does not end where the writer believes, or knows an id.

        Raises:
            HomeLocked: If another process has taken over.

        """
        ids = [entry.draft.id for entry in entries]
        try:
            with transaction(connection):
                epoch, *place = connection.execute(_STATE).fetchone()
                check_epoch(epoch, self.epoch)
                head = Head(place[0], hash_text(*place)) if place[0] is not None else self._base
                if self._ids is None:
                    self._ids = Ids()
                    self._ids.catch_up(connection)
                if head.seq != expected_seq or self._ids.places(connection, ids):
                    return None
                rows = seal(entries, head)
                connection.executemany(INSERT, rows)
                self._ids.merge(connection, head.seq + len(rows))
        except sqlite3.IntegrityError:
            return None
        self._ids.added(connection, ids, head.seq + len(rows))
        return rows


def check_epoch(stored: int, mine: int) -> None:
    """Raise HomeLocked if the log is in a later epoch than *mine*."""
    if stored != mine:
        raise HomeLocked(
            f"this process wrote in epoch {mine}, but the log is in epoch {stored}: another process has taken it over; "
            "nothing was written; open the home again to go on"
        )


def head_of(connection: sqlite3.Connection, base: Head) -> Head:
    """Return the end of the log; *base* if it holds nothing."""
    found = connection.execute(_HEAD).fetchone()
    return Head(found[0], hash_text(*found)) if found else base


def hash_text(seq: int, stored: object) -> str:
    """Return a stored hash in hex."""
    # A flipped bit can turn a column into another type.
    if not isinstance(stored, bytes):
        raise CorruptLog(f"event {seq}: its hash is not what was written; {WAY_OUT}")
    return stored.hex()
