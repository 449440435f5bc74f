"""The PostgreSQL server below a log: how it is reached, what makes a schema ours, and what its errors mean."""

import os
import socket
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from synlearner.errors import ConfigError, CorruptLog, HomeLocked, LogError
from synlearner.events.addresses import Address

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

FORMAT = 1
LOCK_WAIT = 30
"""Seconds that an append waits for another one."""

_TABLES = """
CREATE TABLE home (application text NOT NULL, format integer NOT NULL, epoch bigint NOT NULL);
INSERT INTO home VALUES ('synlearner', 1, 0);
CREATE TABLE events (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    kind text NOT NULL,
    version bigint NOT NULL,
    run_id text NOT NULL,
    task text NOT NULL,
    causes text NOT NULL,
    payload bytea NOT NULL,
    payload_digest bytea NOT NULL,
    observed text NOT NULL,
    hash bytea NOT NULL
);
ALTER TABLE events ALTER payload SET STORAGE EXTERNAL;
CREATE TABLE blobs (digest bytea PRIMARY KEY, data bytea NOT NULL);
ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;
"""
_COLUMNS = [
    "seq", "id", "kind", "version", "run_id", "task", "causes", "payload", "payload_digest", "observed", "hash"
]  # fmt: skip
_SHAPE = """SELECT column_name::text FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"""


def driver() -> Any:
    """Return psycopg. Raises ConfigError if it is not installed."""
    try:
        import psycopg  # noqa: PLC0415  # heavy, and only for who has a home there
    except ImportError:
        raise ConfigError(
            "a home in PostgreSQL needs psycopg: pip install 'synlearner[postgres]', or pass a folder"
        ) from None
    return psycopg


def connect(address: Address) -> "Connection":
    """Open a connection whose names are those of the schema. Raises LogError if the server cannot be reached."""
    psycopg = driver()
    name = f"synlearner, process {os.getpid()} on {socket.gethostname()}"[:63]
    given = {"password": address.password} if address.password is not None else {}
    try:
        connection: Connection = psycopg.connect(
            address.conninfo, autocommit=True, application_name=name, connect_timeout=10, **given
        )
        connection.execute("SELECT set_config('search_path', %s, false)", (f'"{address.schema}"',))
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_WAIT}s",))
        connection.execute("SET synchronous_commit = on")
    except psycopg.Error as error:
        raise refusal(address, error) from None  # the cause may repeat what was typed
    return connection


def prepare_schema(connection: "Connection", address: Address, *, create: bool) -> None:
    """Make the tables if *create*, and check that they are ours.

    Raises:
        ConfigError: If there is no home in the schema, or somebody else's tables.
        LogError: If a newer program wrote it.

    """
    with connection.transaction():
        tables = _tables(connection, address)
        if not tables and create:
            lock_append(connection, address)
            tables = _tables(connection, address)
            if not tables:
                connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"')
                connection.execute(_TABLES)
                tables = _tables(connection, address)
    if not tables:
        raise ConfigError(
            f"no home at '{address}': pass the URL of an earlier run (--home), or start one with `synlearner run`"
        )
    found = connection.execute("SELECT application, format FROM home").fetchall() if "home" in tables else []
    if len(found) != 1 or found[0][0] != "synlearner":
        raise ConfigError(
            f"the schema '{address.schema}' of '{address}' holds tables of another program: name a new one"
        )
    if found[0][1] > FORMAT:
        raise LogError(
            f"'{address}' has format {found[0][1]}, this program knows up to {FORMAT}: a newer SynLearner wrote it"
        )
    columns = [name for (name,) in connection.execute(_SHAPE, (address.schema, "events"))]
    if columns != _COLUMNS or "blobs" not in tables:
        raise CorruptLog(f"'{address}' is damaged: its tables are not those that were made; restore it from a copy")


def _tables(connection: "Connection", address: Address) -> set[str]:
    query = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = %s"
    return {name for (name,) in connection.execute(query, (address.schema,))}


def lock_append(connection: "Connection", address: Address) -> None:
    """Inside a transaction: let no other one append until it ends. So seqs are committed in their order."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_key(address, "append"),))


def lock_writer(connection: "Connection", address: Address) -> None:
    """Become the one writer, as long as the connection lasts. Raises HomeLocked, which says who is it now."""
    key = _key(address, "writer")
    (taken,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone() or (False,)
    if not taken:
        query = """SELECT application_name, backend_start::text FROM pg_stat_activity JOIN pg_locks USING (pid)
        WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s"""
        holder = connection.execute(query, (key,)).fetchone()
        who = f"{holder[0]} (since {holder[1]})" if holder else "another process"
        raise HomeLocked(
            f"'{address}' is being written by {who}: a home has one writer; wait until it ends, or stop it"
        )


def take_over(connection: "Connection") -> int:
    """Become the writer of a new epoch and return it: whoever was so before can append no more."""
    (durable,) = connection.execute("SELECT current_setting('fsync')").fetchone() or ("on",)
    if durable != "on":
        raise LogError("the server runs with fsync = off, so nothing that it acknowledges is on disk: switch it on")
    row = connection.execute("UPDATE home SET epoch = epoch + 1 RETURNING epoch").fetchone()
    return int(row[0]) if row else 0


def channel(address: Address) -> str:
    """Return the name under which appends are announced."""
    return f"synlearner_{sha256(address.schema.encode()).hexdigest()[:16]}"


def refusal(address: Address, error: Exception) -> LogError:
    """Return what *error* means: the server's words without the password."""
    errors = driver().errors
    damaged = (errors.DataCorrupted, errors.IndexCorrupted, errors.UndefinedTable, errors.UndefinedColumn)
    if isinstance(error, damaged):
        return CorruptLog(f"'{address}' is damaged: {address.scrub(str(error))}; restore it from a copy")
    text = address.scrub(str(error)) or type(error).__name__
    return LogError(f"'{address}' cannot be used now: {text}; see to that and run the same command again")


def _key(address: Address, purpose: str) -> int:
    digest = sha256(f"synlearner:{address.schema}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
