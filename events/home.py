"""A home: the folder that holds one history, and all that belongs to it; or a schema of a PostgreSQL database.

HOME/
  log.sqlite     every event, in one order
  log.anchor     seq and hash of the last acknowledged event, outside the database
  blobs/         what is too large for an event, by digest
  heads.jsonl    heads that somebody signed, if anybody did (`synlearner.events.signing`)
  blobs.json     where its blobs are, if not in this folder (`synlearner.events.remote_blobs`)
  derived/       what can be made again from the above: delete it and lose nothing
  parent.json    of a fork: the home that its history begins in, and up to where (`synlearner.events.lineage`)
  forks/         which forks begin here
  .writer        locked by the process that writes

In a database the tables `events` and `blobs` are the first three lines, and `derived/` is in this machine's cache
(`synlearner.events.addresses`).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events.addresses import is_address, parse_address
from synlearner.events.anchor import Anchor
from synlearner.events.blobs import BlobStore
from synlearner.events.files import cannot_write, sync_folder
from synlearner.events.forked import ForkedLog, InheritedBlobs
from synlearner.events.lineage import Shared, note_child, open_shared
from synlearner.events.lock import WriterLock
from synlearner.events.remote_blobs import own_blobs
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import EMPTY, Head

if TYPE_CHECKING:
    from synlearner.events.postgres import PostgresLog

LOG = "log.sqlite"
ANCHOR = "log.anchor"
BLOBS = "blobs"
HEADS = "heads.jsonl"
DERIVED = "derived"
WRITER = ".writer"


class Home:
    """An open home. Any number may be open for reading, one for writing; a reader never holds up the writer."""

    path: Path
    """The folder; for a home in a database, only a name to show."""
    log: "SqliteLog | ForkedLog | PostgresLog"
    blobs: BlobStore
    derived: Path
    writable: bool

    def __init__(self, path: Path, log: SqliteLog | ForkedLog, lock: WriterLock | None) -> None:
        self.path = path
        self.log = log
        self.blobs = blobs_of(path, log.shared if isinstance(log, ForkedLog) else ())
        self.derived = path / DERIVED
        self.writable = lock is not None
        self._lock = lock

    @classmethod
    def open(cls, path: Path | str, *, write: bool = False, create: bool = False) -> Self:
        """Open the home at *path*, a folder or a URL; with *create* (which means to write) make one if there is none.

        Raises:
            ConfigError: If there is no home, or something else stands there.
            HomeLocked: If another process writes to it.
            CorruptLog: If acknowledged events are gone or replaced.
            LogError: If it cannot be opened now.

        """
        if is_address(path):
            return cls._open_on_server(str(path), write=write or create, create=create)
        path = Path(path)
        try:
            _check_place(path, create=create)
            if not (write or create):
                return cls(path, open_log(path), None)
            return cls._open_to_write(path)
        except OSError as error:
            raise LogError(f"home '{path}' cannot be opened: {error.strerror or error}") from error

    @classmethod
    def _open_to_write(cls, path: Path) -> Self:
        try:
            fresh = not (path / LOG).exists()  # a folder alone may be of somebody who was stopped before the sync
            (path / BLOBS).mkdir(parents=True, exist_ok=True)
            (path / DERIVED).mkdir(exist_ok=True)
            if fresh:
                sync_folder(path.parent)
            lock = WriterLock(path / WRITER)
            lock.acquire()
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            log = open_log(path, write=True)
            sync_folder(path)
            return cls(path, log, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_on_server(cls, url: str, *, write: bool, create: bool) -> Self:
        from synlearner.events.postgres import PostgresLog  # noqa: PLC0415  # only for who has a home there
        from synlearner.events.server_blobs import blobs_on_server  # noqa: PLC0415

        address = parse_address(url)
        folder = address.folder()
        try:
            (folder / DERIVED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        home = cls.__new__(cls)
        home.log = PostgresLog(address, anchor=Anchor(folder / ANCHOR), write=write, create=create)
        home.path, home.blobs, home.derived = Path(str(address)), blobs_on_server(address), folder / DERIVED
        home.writable, home._lock = write, None  # noqa: SLF001  # of this class
        return home

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        try:
            self.log.close()
            self.blobs.close()
        finally:
            if self._lock:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_log(path: Path, *, write: bool = False, anchored: bool = True) -> SqliteLog | ForkedLog:
    """Open the log of a home, and of a fork also what it shares. Not *anchored*, its end may have been lost."""
    shared = open_shared(path, open_own_log)
    base = shared[-1].end if shared else EMPTY
    try:
        own = SqliteLog(path / LOG, anchor=Anchor(path / ANCHOR) if anchored else None, write=write, base=base)
    except BaseException:
        for part in shared:
            part.close()
        raise
    if not shared:
        return own
    if write:
        with suppress(OSError):  # it was noted when the fork was made; now it may have moved
            note_child(shared[-1].home, path, base.seq)
    return ForkedLog(own, shared)


def open_own_log(path: Path, base: Head) -> SqliteLog:
    """Open, to read, what the home at *path* itself holds, unanchored; of a fork that is what comes after *base*."""
    return SqliteLog(path / LOG, anchor=None, write=False, base=base)


def blobs_of(path: Path, shared: Sequence[Shared]) -> BlobStore:
    """Return the blobs of the home at *path* and of what it shares."""
    parents = [own_blobs(part.home, part.home / BLOBS) for part in shared]
    return InheritedBlobs(path / BLOBS, parents) if parents else own_blobs(path, path / BLOBS)


def check_home(path: Path) -> None:
    """Raise ConfigError if there is no home at *path*."""
    _check_place(path, create=False)


def _check_place(path: Path, *, create: bool) -> None:
    if path.exists() and not path.is_dir():
        raise ConfigError(f"'{path}' is a file: a home is a folder; pass the folder of an earlier run")
    if (path / LOG).exists():
        return
    anchored = Anchor(path / ANCHOR).read()
    if anchored and anchored.seq:
        raise CorruptLog(f"'{path / LOG}' is missing, its anchor names {anchored.seq} events; restore it from a copy")
    if not create:
        raise ConfigError(
            f"no home at '{path}': pass the folder of an earlier run (--home), or start one with `synlearner run`"
        )
