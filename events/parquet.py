"""A history as a table in Parquet, for DuckDB, pandas and the like: to ask questions of, not to import again (`jsonl`).

One row an event, in row groups of a few thousand, so that memory is flat. Payloads are JSON text in the shape of their
stored version; hashes and digests are hex. The file's metadata names the digest of the history.
"""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from synlearner.errors import ConfigError
from synlearner.events.files import cannot_write
from synlearner.events.log import StoredLog, read_with_rows
from synlearner.events.rows import Row
from synlearner.events.types import Event

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 5_000
"""Rows of a group; about 6 MB before compression."""


def export_parquet(log: StoredLog, file: Path) -> int:
    """Write all events of *log* to *file*. Return their number.

    Columns: `seq`, `id`, `kind`, `version`, `run_id`, `task`, `causes` (list of seqs), `payload` (JSON; null where it
    was taken out), `payload_digest`, `observed` (JSON), `time` (UTC, milliseconds; null where none was observed),
    `hash`.

    Raises:
        CorruptLog: If an event is not what was written; *file* is left as it was.
        ConfigError: If *file* is a folder.

    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - half a second, and only this format needs it

    file = Path(file)
    if file.is_dir():
        raise ConfigError(f"'{file}' is a folder: name a file")
    head = log.head()
    temporary = file.with_name(f".{file.name}.part")
    schema = _schema().with_metadata({"synlearner.events": str(head.seq), "synlearner.digest": head.hash})
    pairs = iter(read_with_rows(log, head.seq))
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            while group := list(islice(pairs, GROUP)):
                writer.write_table(_table(group, schema))
        temporary.replace(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return head.seq


def _schema() -> "pa.Schema":
    import pyarrow as pa  # noqa: PLC0415

    text, repeated = pa.string(), pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("id", text, nullable=False),
            pa.field("kind", repeated, nullable=False),
            pa.field("version", pa.int32(), nullable=False),
            pa.field("run_id", repeated, nullable=False),
            pa.field("task", repeated, nullable=False),
            pa.field("causes", pa.list_(pa.int64()), nullable=False),
            pa.field("payload", text),
            pa.field("payload_digest", text, nullable=False),
            pa.field("observed", text, nullable=False),
            pa.field("time", pa.timestamp("ms", tz="UTC")),
            pa.field("hash", text, nullable=False),
        ]
    )


def _table(group: list[tuple[Row, Event]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415

    rows = [row for row, _ in group]
    columns = {
        **{name: [getattr(row, name) for row in rows] for name in ("seq", "id", "kind", "version", "run_id", "task")},
        "causes": [event.causes for _, event in group],
        "payload": [row.payload.decode() if row.payload else None for row in rows],
        "payload_digest": [row.payload_digest.hex() for row in rows],
        "observed": [row.observed for row in rows],
        "time": [_time(event) for _, event in group],
        "hash": [event.hash for _, event in group],
    }
    return pa.table(columns, schema=schema)


def _time(event: Event) -> datetime | None:
    try:
        return datetime.fromisoformat(event.observed["time"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):  # `observed` is free
        return None
