"""Which ids a SQLite log holds: that is how a repeated append is recognised.

Ids are random, so to put each into a B-tree as it comes would write a page of that tree with nearly every event, more
than the event itself. So the ids of the newest events are kept in memory, and enter the table `ids` sorted, many at a
time, in the transaction of the append that makes them so many. Whoever opens the log reads those that are not there
yet from the events themselves; nothing is lost with the memory.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from synlearner.events.database import noted
from synlearner.events.rows import Found

MERGE = 16_384
"""New events whose ids are in memory, at most: about 2 MB, and 20 ms of reading for who opens the log."""

_NEWER = "SELECT id, seq FROM events WHERE seq > ? ORDER BY seq"
_MERGE = "INSERT INTO ids SELECT id, seq FROM events WHERE seq > ? AND seq <= ? ORDER BY id"
_KNOWN = "SELECT id, seq FROM ids WHERE id IN (SELECT value FROM json_each(?))"
_KNOWN_1 = "SELECT id, seq FROM ids WHERE id = ?"
_FOUND = "SELECT seq, kind, payload_digest FROM events WHERE seq = ? AND id = ?"
_FOUND_1 = "SELECT seq, kind, payload_digest FROM events WHERE id = ?"
_DAMAGES = (
    "SELECT ids.seq FROM ids LEFT JOIN events USING (seq) WHERE events.id IS NOT ids.id LIMIT 5",
    "SELECT seq FROM events WHERE seq <= ? AND id NOT IN (SELECT id FROM ids) LIMIT 5",
    "SELECT max(seq) FROM events WHERE seq > ? GROUP BY id HAVING count(*) > 1 LIMIT 5",
    "SELECT events.seq FROM events JOIN ids USING (id) WHERE events.seq > ? LIMIT 5",
)


class Ids:
    """The ids of one log, as one connection sees them."""

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._indexed = 0
        self._seen = 0

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Take in what another process has appended. The writer does so once."""
        indexed = noted(connection, "indexed")
        if indexed != self._indexed:
            self._indexed = indexed
            self._recent = {id_: seq for id_, seq in self._recent.items() if seq > indexed}
        for id_, seq in connection.execute(_NEWER, (max(indexed, self._seen),)):
            self._recent[id_] = self._seen = seq

    def places(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
        """Return the seqs of those *ids* that the log holds, as far as it has been caught up with."""
        found = {id_: self._recent[id_] for id_ in self._recent.keys() & ids}
        if self._indexed:
            whole = [id_ for id_ in ids if "\0" not in id_]
            found.update(connection.execute(_KNOWN, (msgspec.json.encode(whole).decode(),)))
            for id_ in ids if len(whole) < len(ids) else ():  # to SQLite's JSON, but not elsewhere, a text ends at NUL
                found.update(connection.execute(_KNOWN_1, (id_,)))
        return found

    def find(self, connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Found]:
        """Return what the log holds under *ids*, by id."""
        if not _has_table(connection):
            rows = {id_: connection.execute(_FOUND_1, (id_,)).fetchone() for id_ in ids}
        else:
            self.catch_up(connection)
            places = self.places(connection, ids)
            rows = {id_: connection.execute(_FOUND, (seq, id_)).fetchone() for id_, seq in places.items()}
        return {id_: Found._make(row) for id_, row in rows.items() if row}

    def added(self, connection: sqlite3.Connection, ids: Sequence[str], last: int) -> None:
        """Take note of the *ids* of a batch that has been committed and ends at seq *last*."""
        if last - self._indexed >= MERGE:
            self.catch_up(connection)
        else:
            self._recent.update(zip(ids, range(last - len(ids) + 1, last + 1), strict=True))

    def merge(self, connection: sqlite3.Connection, last: int, *, least: int = MERGE) -> None:
        """Inside a transaction that ends at seq *last*: write the new ids to their table, if there are so many."""
        if last - self._indexed >= least:
            connection.execute(_MERGE, (self._indexed, last))
            connection.execute("UPDATE writer SET indexed = ?", (last,))


def problems_of_ids(connection: sqlite3.Connection) -> list[str]:
    """Return which events the table of ids does not fit."""
    if not _has_table(connection):
        return []
    indexed = noted(connection, "indexed")
    found = (connection.execute(query, (indexed,) if "?" in query else ()) for query in _DAMAGES)
    seqs = {seq for rows in found for (seq,) in rows}
    return [f"event {seq}: the table of ids does not fit its id" for seq in sorted(seqs)]


def _has_table(connection: sqlite3.Connection) -> bool:
    # A log of format 1 that is open for reading has an index of ids in the table of events instead.
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ids'").fetchone() is not None
