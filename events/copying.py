"""A whole history brought from one home into a new one, in a folder or a database, with its blobs. Hashes stay."""

from collections.abc import Callable, Iterator
from pathlib import Path

from synlearner.errors import ConfigError
from synlearner.events.addresses import shown
from synlearner.events.blobs import references
from synlearner.events.home import Home
from synlearner.events.log import StoredLog, read_with_rows
from synlearner.events.rows import Row
from synlearner.events.tombstones import Unproven
from synlearner.events.types import Head


def copy(source: Path | str, into: Path | str) -> Head:
    """Bring the history of the home *source* into the new home *into*, checked on the way, and return its head.

    The events go in whole or not at all, their blobs before them. What a fork reads in its parents comes along.

    Raises:
        ConfigError: If there is no home *source*, or *into* holds events.
        HomeLocked: If another process writes to *into*.
        NotTrusted: If an event or a blob that it names is not what was written.

    """
    with Home.open(source) as old:
        last = old.log.head().seq
        if last == 0:
            raise ConfigError(f"'{shown(source)}' holds no events: there is nothing to copy")
        with Home.open(into, write=True, create=True) as new:
            return new.log.adopt(checked_rows(old, new, last))


def checked_rows(old: Home, new: Home, last: int) -> Iterator[Row]:
    """Yield the first *last* rows of *old*, checked, and bring the blobs that they name over to *new*."""

    def bring(digest: str) -> None:
        if not new.blobs.has(digest):
            new.blobs.take(digest, old.blobs)

    return proven_rows(old.log, last, bring)


def proven_rows(log: StoredLog, last: int, named: Callable[[str], None]) -> Iterator[Row]:
    """Yield the first *last* rows of *log*, checked; call *named* with the digest of each blob before its row."""
    unproven = Unproven()
    for row, event in read_with_rows(log, last):
        unproven.look_at(event)
        for digest in references(event.fact):
            named(digest)
        yield row
    unproven.refuse()
