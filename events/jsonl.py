"""A history as text, one event a line, to read, to keep and to hand on. Nothing is lost on the way there and back.

The blobs that the events name lie beside the file, in `FILE.blobs/`. A line that was changed, lost or moved does not
come back in: the chain is checked as it is read, and what arrives is all of the history or nothing.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog
from synlearner.events.blobs import BlobStore, references
from synlearner.events.checks import fault, missing, open_row
from synlearner.events.codec import canonical_bytes, payload_digest
from synlearner.events.files import cannot_write
from synlearner.events.home import Home
from synlearner.events.log import StoredLog, read_with_rows
from synlearner.events.rows import LARGEST_PAYLOAD, Row
from synlearner.events.tombstones import TAKEN_OUT, Unproven, open_tombstone
from synlearner.events.types import EMPTY, Redacted


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event in the file."""

    seq: int
    id: str
    kind: str
    version: int
    run_id: str
    task: str
    causes: list[int]
    payload: msgspec.Raw
    """As it is stored, in the shape of `version`; null where it was taken out."""
    redacted: str | msgspec.UnsetType = msgspec.UNSET
    """SHA-256 of the payload that was taken out."""
    observed: dict[str, Any]
    hash: str


LONGEST = 4 * LARGEST_PAYLOAD
"""Bytes of a line: a payload, and room for what stands beside it."""

_decode_line = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


def export(log: StoredLog, file: Path, *, blobs: BlobStore | None = None) -> int:
    """Write all events of *log* to *file*, and the *blobs* that they name beside it. Return the number of events.

    Raises:
        CorruptLog: If an event is not what was written; *file* is left as it was.
        CorruptBlob: If a blob is missing or changed.
        ConfigError: If the events name blobs and *blobs* is not given.

    """
    file = Path(file)
    head = log.head()
    temporary = file.with_name(f".{file.name}.part")
    try:
        with temporary.open("wb") as out:
            for line, named in _lines(log, head.seq):
                for digest in named:
                    if blobs is None:
                        raise ConfigError(f"the events name blob {digest}, but no blobs were given: pass home.blobs")
                    _beside(file).take(digest, blobs)
                out.write(line)
        temporary.replace(file)
    except OSError as error:
        raise cannot_write(file, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return head.seq


def import_(lines: Path | str | Iterable[str | bytes], home: Home, *, blobs: BlobStore | None = None) -> int:
    """Take a whole history over into an empty home and return the number of events.

    *lines* is the path of an exported file, or its lines. Blobs come from beside the file, or from *blobs*.

    Raises:
        ConfigError: If the home has events, or a line is no event.
        CorruptLog: If a line is not what was exported. Both name the line; nothing was written.
        CorruptBlob: If a blob is missing or changed; nothing was written.

    """
    if not home.writable:
        raise ConfigError(f"home '{home.path}' is open for reading: open it with create=True to import")
    if home.log.head().seq:
        raise ConfigError(f"home '{home.path}' holds {home.log.head().seq} events: import into a new home")
    if not isinstance(lines, Path | str):
        return home.log.adopt(_checked(lines, home, blobs)).seq
    try:
        with Path(lines).open("rb") as source:
            return home.log.adopt(_checked(_lines_in(source), home, blobs or _beside(Path(lines)))).seq
    except OSError as error:
        raise ConfigError(f"'{lines}' cannot be read: {error.strerror}; pass an exported file") from error


def _lines(log: StoredLog, last: int) -> Iterator[tuple[bytes, list[str]]]:
    """Yield a line of the file and the blobs that it names, for each event."""
    unproven = Unproven()
    for row, event in read_with_rows(log, last):
        unproven.look_at(event)
        line = Line(
            seq=row.seq,
            id=row.id,
            kind=row.kind,
            version=row.version,
            run_id=row.run_id,
            task=row.task,
            causes=list(event.causes),
            payload=msgspec.Raw(b"null" if isinstance(event.fact, Redacted) else row.payload),
            redacted=event.fact.redacted if isinstance(event.fact, Redacted) else msgspec.UNSET,
            observed=event.observed,
            hash=event.hash,
        )
        yield _encode(line) + b"\n", references(event.fact)
    unproven.refuse()


def _lines_in(source: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of one that is too long, no more than shows that it is."""
    while line := source.readline(LONGEST + 1):
        yield line


def _checked(lines: Iterable[str | bytes], home: Home, blobs: BlobStore | None) -> Iterator[Row]:
    """Yield the rows in *lines*, checked; and at the very end bring over the blobs that they name."""
    previous, seq = EMPTY.hash, 0
    named: dict[str, None] = {}
    unproven = Unproven()
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST:
            raise ConfigError(f"line {number} has more than {LONGEST:,} bytes: pass a file that was exported")
        if not line.strip():
            continue
        seq += 1
        row = _row(line, number)
        event = open_row(row, previous, seq) or open_tombstone(row, previous, seq)
        if event is None:
            raise CorruptLog(f"line {number}: {_what_differs(row, previous, seq)}; export the history again")
        for digest in references(event.fact):
            if digest not in named:
                _check_blob(digest, blobs, number)
                named[digest] = None
        unproven.look_at(event)
        previous = event.hash
        yield row
    unproven.refuse()
    # Last, because a history that is refused must leave nothing behind; and still before its events are committed.
    if blobs:
        for digest in named:
            home.blobs.take(digest, blobs)


def _row(line: str | bytes, number: int) -> Row:
    try:
        parsed = _decode_line(line)
        # Spaces and the order of keys are no part of the history: a tool may have changed them on the way.
        payload = canonical_bytes(bytes(parsed.payload))
        digests = bytes.fromhex(payload_digest(payload)), bytes.fromhex(parsed.hash)
        if parsed.redacted is not msgspec.UNSET and payload == b"null":
            payload, digests = TAKEN_OUT, (bytes.fromhex(parsed.redacted), digests[1])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"line {number} is not an event: {error}; pass a file that was exported") from error
    return Row(
        seq=parsed.seq,
        id=parsed.id,
        kind=parsed.kind,
        version=parsed.version,
        run_id=parsed.run_id,
        task=parsed.task,
        causes=_encode(parsed.causes).decode(),
        payload=payload,
        payload_digest=digests[0],
        observed=_encode(parsed.observed).decode(),
        hash=digests[1],
    )


def _what_differs(row: Row, previous: str, seq: int) -> str:
    what = fault(row, previous, seq)
    if what == "missing":
        return missing(seq, row.seq - 1)
    if what == "order":
        return f"event {row.seq} stands in the place of {seq}"
    return f"event {seq} ({row.kind}) is not what was exported"


def _check_blob(digest: str, blobs: BlobStore | None, number: int) -> None:
    if blobs is None:
        raise CorruptBlob(f"line {number} names blob {digest}, but no blobs were given: pass the exported file itself")
    blobs.get(digest)


def _beside(file: Path) -> BlobStore:
    return BlobStore(file.with_name(file.name + ".blobs"))
