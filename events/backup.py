"""A copy of a home that goes on by itself, made while the home is being written to, and checked before it counts.

The events are those of one moment. Everything in the copy is its own: blobs are copied, never linked, so that damage
to one of the two homes cannot reach the other. Of a fork, and of a home in a database, the copy holds the whole history.
"""

import glob
import shutil
from collections import deque
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from synlearner.errors import ConfigError, CorruptLog, HomeLocked
from synlearner.events.addresses import folder_of, shown
from synlearner.events.anchor import Anchor
from synlearner.events.blobs import BlobStore
from synlearner.events.copying import proven_rows
from synlearner.events.database import snapshot
from synlearner.events.files import appearing, check_free, sync_folder, write_file
from synlearner.events.home import ANCHOR, BLOBS, DERIVED, HEADS, LOG, WRITER, Home
from synlearner.events.lock import WriterLock
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import Head
from synlearner.events.verify import verify


class BackedUp(msgspec.Struct, frozen=True):
    """What a backup holds."""

    events: int
    digest: str
    """Hash of the last event."""
    blobs: int
    bytes: int
    """On the disk, all in all."""


def backup(source: Path | str, into: Path | str) -> BackedUp:
    """Copy the home *source*, which may be written to meanwhile, into the new folder *into*, and verify the copy.

    The folder appears when all of it is there, on disk and as it was written; else nothing does.

    Raises:
        ConfigError: If there is no home *source*, it holds no events, or *into* holds something.
        LogError: If *into* cannot be written, or *source* cannot be read now.
        NotTrusted: If an event or a blob is not what was written.

    """
    into = folder_of(into, "a backup")
    check_free(into, "a backup is a new home")
    with Home.open(source) as old:
        if old.log.head().seq == 0:
            raise ConfigError(f"'{shown(source)}' holds no events: there is nothing to back up")
        _clear_away(into)
        with appearing(into, "backup") as workplace:
            workplace.mkdir()
            with WriterLock(workplace / WRITER):
                head, named = _fill(workplace, old)
                _check(workplace, head, named, shown(source))
            for left in ("-wal", "-shm"):  # the look left them; all that counts is in the database
                (workplace / f"{LOG}{left}").unlink(missing_ok=True)
            sync_folder(workplace)
            size = sum(file.stat().st_size for file in workplace.rglob("*") if file.is_file())
    return BackedUp(head.seq, head.hash, len(named), size)


def _fill(workplace: Path, old: Home) -> tuple[Head, set[str]]:
    """Copy what belongs to the history of *old*; return where it ends, and the blobs that it names."""
    for folder in (BLOBS, DERIVED):
        (workplace / folder).mkdir()
    # Before the events: what is signed now is among them then.
    with suppress(FileNotFoundError):
        write_file(workplace / HEADS, (old.path / HEADS).read_bytes())
    named: set[str] = set()
    plain = isinstance(old.log, SqliteLog)
    if isinstance(old.log, SqliteLog):
        snapshot(old.log.path, workplace / LOG)
    with closing(SqliteLog(workplace / LOG, anchor=None, write=not plain)) as log:
        if plain:
            head = log.head()
            deque(proven_rows(old.log, head.seq, named.add), maxlen=0)
        else:
            head = log.adopt(proven_rows(old.log, old.log.head().seq, named.add))
    blobs = BlobStore(workplace / BLOBS)
    for digest in sorted(named):
        blobs.put(old.blobs.get(digest))
    with closing(Anchor(workplace / ANCHOR)) as anchor:
        anchor.write(head)
    return head, named


def _check(workplace: Path, head: Head, named: set[str], source: str) -> None:
    """Raise CorruptLog if what lies in *workplace* is not a whole home that ends at *head* and has these blobs."""
    found = verify(workplace)
    problems = [f"{problem.what} [{problem.file}]" for problem in found.problems]
    if (found.events, found.digest, found.blobs) != (head.seq, head.hash, len(named)):
        problems.append(f"it holds {found.events} events and {found.blobs} blobs, digest {found.digest}")
    if problems:
        raise CorruptLog(
            f"the copy of '{source}' is not what was written: {problems[0]}; it was removed; "
            f"`synlearner log verify --home {source}` tells whether the home itself is damaged"
        )


def _clear_away(into: Path) -> None:
    """Remove what a backup into the same folder left that was killed: nobody holds its lock."""
    into = into.absolute()
    for left in into.parent.glob(f".{glob.escape(into.name)}.backup-*"):
        with suppress(HomeLocked, OSError), WriterLock(left / WRITER):
            shutil.rmtree(left)
