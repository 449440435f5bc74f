"""The SQLite file below the log: how it is opened, what makes it ours, and what its errors mean."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from synlearner.errors import CorruptLog, LogError
from synlearner.events.files import cannot_write

APPLICATION = 0x53594E4C
""""SYNL", in the file's header, so that no other SQLite file is taken for a log."""
FORMAT = 2
WAIT = 30.0
"""Seconds that SQLite waits for a lock."""

PAGE_SIZE = 8192
"""Bytes: seven events of 1 KB fit, where three would in 4,096."""

STEP = 1024
"""Pages that a backup copies at a time."""

SCHEMA = """CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    task TEXT NOT NULL,
    causes TEXT NOT NULL,
    payload BLOB NOT NULL,
    payload_digest BLOB NOT NULL,
    observed TEXT NOT NULL,
    hash BLOB NOT NULL
)"""
IDS = "CREATE TABLE ids (id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID"
"""See `synlearner.events.ids`."""
WRITER = (
    "CREATE TABLE writer (only INTEGER PRIMARY KEY CHECK (only = 1), epoch INTEGER NOT NULL, indexed INTEGER NOT NULL)"
)
"""One row: how often the log has been opened to write, and up to which seq `ids` is filled."""

SCHEMA_1 = SCHEMA.replace("id TEXT NOT NULL,", "id TEXT NOT NULL UNIQUE,", 1)
"""Of format 1, which had no other tables. Opening to write adds them; its events stay where they are."""

FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What `sqlite3` raises. The second, where a message of SQLite repeats damaged text."""

# What the machine may answer although the file is as it was written. Everything else means a damaged file.
_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_PAGE_ERROR = re.compile(r"unable to get the page\. error code=(\d+)")


class NotOurs(Exception):  # a finding for the log to judge by its anchor, never shown to anybody
    """The file is no log: foreign, or its header is damaged."""


def open_database(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the file. A fresh one gets its table if *write*, else it is read as an empty log.

    Raises:
        NotOurs: If it is not a SQLite file of ours.
        LogError: If a newer program wrote it, or it cannot be opened now.
        CorruptLog: If it is ours, but its schema is changed.

    """
    if _has_wal(path) and is_empty(path):
        # SQLite would delete the WAL, whatever it opens the file for; and the WAL may hold all of the history.
        raise CorruptLog(f"'{path}' is damaged: it is empty, and its WAL is not; restore the home from a copy")
    try:
        connection = _connect(path) if write else _connect_read_only(path)
    except FAILURES as error:
        raise _judged(path, error) from error
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if _is_fresh(connection):
            if not write:
                connection.close()
                connection = _connect(Path(":memory:"))
            _create(connection)
        version = _check_format(connection, path)
        if write:
            _make_durable(connection, path)
            if version < FORMAT:
                _upgrade(connection)
    except FAILURES as error:
        connection.close()
        raise _judged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing. The lock is taken at the start: an upgrade later could fail at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def take_over(connection: sqlite3.Connection) -> int:
    """Become the writer and return the epoch of it: whoever was so before can append no more."""
    with transaction(connection):
        connection.execute("UPDATE writer SET epoch = epoch + 1")
        return noted(connection, "epoch")


def noted(connection: sqlite3.Connection, what: Literal["epoch", "indexed"]) -> int:
    """Return what the log notes in `writer`: the epoch of who may write, or up to which seq `ids` is filled.

    Raises:
        CorruptLog: If there is no such note.

    """
    found = connection.execute(f"SELECT {what} FROM writer").fetchone()  # noqa: S608  # one of two constants
    if not found or not isinstance(found[0], int):
        raise CorruptLog("the log's table `writer` is not what was written: `synlearner log repair` makes it anew")
    return found[0]


def unreadable(path: Path, error: Exception) -> LogError:
    """Return what *error* means for somebody who reads."""
    if _code(error) in _NOT_NOW or isinstance(error, sqlite3.ProgrammingError):
        return LogError(f"'{path}' cannot be read now: {error}; see to that and run the same command again")
    what = " ".join(str(error).split())  # a message may repeat damaged text
    return CorruptLog(f"'{path}' is damaged: {what}; restore the home from a copy")


def snapshot(path: Path, into: Path) -> None:
    """Copy the database at *path*, as it is at this moment, into the new file *into*. It may be written to meanwhile.

    Raises:
        LogError: If it cannot be read or written now.
        CorruptLog: If it is damaged.

    """
    with closing(open_database(path, write=False)) as source:
        try:
            # One read transaction around all steps: SQLite would begin anew after each commit of the writer.
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM sqlite_master").fetchone()
            with closing(_connect(into)) as target:
                source.backup(target, pages=STEP, progress=_between_steps)
        except FAILURES as error:
            damaged = unreadable(path, error)
            raise (damaged if isinstance(damaged, CorruptLog) else cannot_write(into, error)) from error


def _between_steps(status: int, remaining: int, total: int) -> None:
    """Let Python hear Ctrl-C."""


def problems_inside(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite itself finds wrong with the file, ten findings at most; raise its error where it cannot read."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    for code in (int(code) for each in found for code in _PAGE_ERROR.findall(each)):
        if code & 0xFF in _NOT_NOW:  # to SQLite it is a finding like others, but the page may be whole
            error = sqlite3.OperationalError("a page cannot be read")
            error.sqlite_errorcode = code
            raise error
    return [] if found == ["ok"] else [" ".join(each.split()) for each in found]


def _connect(target: Path | str) -> sqlite3.Connection:
    uri = isinstance(target, str)
    return sqlite3.connect(target, timeout=WAIT, isolation_level=None, check_same_thread=False, uri=uri)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    connection = _connect(f"{address}?mode=ro")
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except FAILURES as error:
        connection.close()
        # A WAL file is read through shared memory beside it. Where the folder forbids that, and no WAL is left,
        # the file is complete in itself.
        if _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not _has_wal(path):
            return _connect(f"{address}?mode=ro&immutable=1")
        raise
    return connection


def is_empty(path: Path) -> bool:
    """Tell whether there is no file, or none that SQLite sees anything in: to it one of a single byte is empty, too."""
    return not path.exists() or path.stat().st_size <= 1


def _has_wal(path: Path) -> bool:
    wal = path.with_name(path.name + "-wal")
    return wal.exists() and wal.stat().st_size > 0


def _is_fresh(connection: sqlite3.Connection) -> bool:
    marks = connection.execute("SELECT application_id, user_version FROM pragma_application_id, pragma_user_version")
    return marks.fetchone() == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_master").fetchone()


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    with transaction(connection):
        connection.execute(SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        _add_tables(connection)


def _upgrade(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        _add_tables(connection)
        connection.execute("INSERT INTO ids SELECT id, seq FROM events ORDER BY id")
        connection.execute("UPDATE writer SET indexed = (SELECT coalesce(max(seq), 0) FROM events)")


def _add_tables(connection: sqlite3.Connection) -> None:
    connection.execute(IDS)
    connection.execute(WRITER)
    connection.execute("INSERT INTO writer VALUES (1, 0, 0)")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _check_format(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of the file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise NotOurs(f"its application id is {application:#x}, ours is {APPLICATION:#x}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise LogError(f"'{path}' has format {version}, this program knows up to {FORMAT}: a newer SynLearner wrote it")
    # A changed schema could answer for a table, or act when it is written to.
    found = connection.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name IN ('events', 'ids', 'writer') AND sql IS NOT NULL"
    )
    schema = {sql for (sql,) in found}
    known = {1: ({SCHEMA_1},), 2: ({SCHEMA, IDS, WRITER}, {SCHEMA_1, IDS, WRITER})}
    if schema not in known.get(version, ()):
        raise CorruptLog(f"'{path}' is damaged: its tables are not those that were made; restore the home from a copy")
    return int(version)


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LogError(f"'{path}' cannot have a write-ahead log ({mode}): put the home on a local disk")
    connection.execute("PRAGMA synchronous = FULL")


def _judged(path: Path, error: Exception) -> Exception:
    if _code(error) == sqlite3.SQLITE_NOTADB:
        return NotOurs(str(error))
    return unreadable(path, error)


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
