"""Is a stored event what was written? The chain, recomputed; and where it breaks, what differs."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any

import msgspec

from synlearner.errors import CorruptLog
from synlearner.events.codec import CHAIN, decode, encode_link, link
from synlearner.events.rows import Row
from synlearner.events.tombstones import open_tombstone, redactions
from synlearner.events.types import Event, Redacted

WAY_OUT = "`synlearner log verify` lists all damage; restore the home from a copy, or fork it before the damage"

_decode_causes = msgspec.json.Decoder(tuple[int, ...]).decode
_decode_observed = msgspec.json.Decoder(dict[str, Any]).decode
# A flipped bit can turn a column into another type, so nothing about a row may be taken for granted.
_MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
_TYPES = tuple(Row.__annotations__.values())


def open_rows(
    rows: Iterable[tuple[Any, ...]],
    previous: str,
    *,
    after: int,
    last: int,
    everything: Callable[[], Iterable[Row]],
    where: str,
) -> Iterator[Event]:
    """Check *rows* against the chain from the hash *previous* on, and yield their events.

    *everything* gives all rows of the log; it is asked only to find where a displaced event went, and whether a payload
    that is not there was taken out by a redaction.

    Raises:
        CorruptLog: At the first row that is not what was written, or if they end before *last*.

    """
    seq = after
    taken_out: dict[int, str] | None = None
    for stored in rows:
        seq += 1
        event = open_row(stored, previous, seq)
        if event is not None:
            previous = event.hash
            yield event
            continue
        row = Row._make(stored)
        event = open_tombstone(row, previous, seq)
        if event is not None and isinstance(event.fact, Redacted):
            taken_out = redactions(everything()) if taken_out is None else taken_out
            event = event if taken_out.get(seq) == event.fact.redacted else None
        if event is None:
            raise CorruptLog(f"{explain(row, previous, seq, everything())}, in '{where}': {WAY_OUT}")
        previous = event.hash
        yield event
    if seq < last:
        raise CorruptLog(f"{missing(seq + 1, last)}, in '{where}': {WAY_OUT}")


def open_row(row: tuple[Any, ...], previous: str, seq: int) -> Event | None:
    """Return the event in *row*, or None if it is not what was written at the place *seq*.

    Raises:
        CorruptLog: If it is what was written, but this program cannot read it.

    """
    # Taken apart once: this is where a replay spends its time.
    stands, id_, kind, version, run_id, task, causes_text, payload, payload_digest, observed_text, stored = row
    try:
        causes = () if causes_text == "[]" else _decode_causes(causes_text)
        digest = sha256(payload).digest()
        entry = encode_link((CHAIN, previous, seq, id_, kind, version, run_id, task, causes, digest.hex()))
        if stands != seq or digest != payload_digest or sha256(entry).digest() != stored:
            return None
        observed = _decode_observed(observed_text)
    except _MALFORMED:
        return None
    return Event(
        seq=seq,
        id=id_,
        kind=kind,
        version=version,
        run_id=run_id,
        task=task,
        causes=causes,
        fact=decode(kind, version, payload),
        observed=observed,
        hash=stored.hex(),
    )


def fault(row: Row, previous: str, seq: int) -> str:
    """Return what is wrong with *row* at the place *seq* after the hash *previous*; empty if nothing is.

    `missing`, `order`, `payload`, `envelope` (any other hashed field, or a stored hash) or `observed`.
    """
    if row.seq != seq:
        return "missing" if row.seq > seq else "order"
    try:
        digest = sha256(row.payload).digest()
    except TypeError:
        return "payload"
    if _equal(recompute(row, previous, seq), row.hash):
        if digest != row.payload_digest:
            return "envelope"
        return "" if _is_json_object(row.observed) else "observed"
    return "envelope" if digest == row.payload_digest else "payload"


def is_stored_event(row: Row) -> bool:
    """Tell whether every cell of *row* has its type: SQLite stores any value in any column."""
    return all(map(isinstance, row, _TYPES))


def displaced(row: Row, previous: str, others: Iterable[Row]) -> int | None:
    """Return where the event that belongs into *row*'s place stands now, if it is among *others*."""
    for other in others:
        computed = recompute(other, previous, row.seq)
        if other.seq != row.seq and (_equal(computed, row.hash) or _equal(computed, other.hash)):
            return other.seq
    return None


def explain(row: Row, previous: str, seq: int, everything: Iterable[Row]) -> str:
    """Return a phrase that names the event and what differs, for a *row* that `open_row` refused."""
    what = fault(row, previous, seq)
    if what == "missing":
        return missing(seq, row.seq - 1)
    elsewhere = displaced(row, previous, everything) if what in ("payload", "envelope") else None
    if elsewhere is not None:
        return f"event {seq} ({row.kind}) is out of order: what belongs there stands at {elsewhere}"
    if what == "order":
        return f"event {seq} is out of order: {row.seq} ({row.kind}) stands in its place"
    return f"event {seq} ({row.kind}): its {what} is not what was written"


def missing(first: int, last: int) -> str:
    """Return a phrase that names the events from *first* to *last* as missing."""
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"


def recompute(row: Row, previous: str, seq: int) -> str | None:
    """Return the hash that follows from *row* at the place *seq*; None if it is no event at all."""
    try:
        digest, causes = sha256(row.payload).hexdigest(), _decode_causes(row.causes)
        return link((previous, seq, row.id, row.kind, row.version, row.run_id, row.task, causes, digest))
    except _MALFORMED:
        return None


def _equal(computed: str | None, stored: bytes) -> bool:
    return computed is not None and bytes.fromhex(computed) == stored


def _is_json_object(text: str) -> bool:
    try:
        _decode_observed(text)
    except _MALFORMED:
        return False
    return True
