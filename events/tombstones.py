"""Events whose payload was taken out. The chain commits to a payload's digest, so such an event still has its place.

An empty payload alone proves nothing: damage, or somebody who hides something, leaves the same. It counts when a
`payload_redacted` of the same log names the event and the digest.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from synlearner.errors import CorruptLog
from synlearner.events.codec import decode, link
from synlearner.events.rows import Row
from synlearner.events.types import Event, PayloadRedacted, Redacted

KIND = PayloadRedacted.kind
TAKEN_OUT = b""
"""What is stored in the place of a payload. No fact has so short a payload."""

_decode_causes = msgspec.json.Decoder(tuple[int, ...]).decode
_decode_observed = msgspec.json.Decoder(dict[str, Any]).decode
# A flipped bit can turn a column into another type.
_MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def open_tombstone(row: Row, previous: str, seq: int) -> Event | None:
    """Return the event in *row*, without its payload, if it stood at the place *seq* after the hash *previous*."""
    try:
        if row.payload != TAKEN_OUT or row.seq != seq or len(row.payload_digest) != sha256().digest_size:
            return None
        causes, digest = _decode_causes(row.causes), row.payload_digest.hex()
        hash_ = link((previous, seq, row.id, row.kind, row.version, row.run_id, row.task, causes, digest))
        if hash_ != row.hash.hex():
            return None
        observed = _decode_observed(row.observed)
    except _MALFORMED:
        return None
    return Event(
        seq=seq,
        id=row.id,
        kind=row.kind,
        version=row.version,
        run_id=row.run_id,
        task=row.task,
        causes=causes,
        fact=Redacted(row.kind, digest),
        observed=observed,
        hash=hash_,
    )


def redactions(rows: Iterable[Row]) -> dict[int, str]:
    """Return what *rows* say was taken out: seq to the digest of its payload. Damaged rows say nothing."""
    found: dict[int, str] = {}
    for row in rows:
        if row.kind == KIND:
            fact = redaction_in(row)
            if fact is not None:
                found[fact.target] = fact.digest
    return found


def redaction_in(row: Row) -> PayloadRedacted | None:
    """Return the redaction that *row* holds, if it is whole."""
    try:
        if sha256(row.payload).digest() != row.payload_digest:
            return None
        fact = decode(row.kind, row.version, row.payload)
    except (CorruptLog, TypeError):
        return None
    return fact if isinstance(fact, PayloadRedacted) else None


class Unproven:
    """Events without a payload that no later redaction of the same history has named yet."""

    def __init__(self) -> None:
        self.seqs: dict[int, Redacted] = {}

    def look_at(self, event: Event) -> None:
        """Take in the next event of the history."""
        match event.fact:
            case Redacted() as fact:
                self.seqs[event.seq] = fact
            case PayloadRedacted() as fact:
                self.prove(fact)

    def prove(self, redaction: PayloadRedacted) -> bool:
        """Tell whether *redaction* names one of them; then it is one no longer."""
        hole = self.seqs.get(redaction.target)
        if hole is None or hole.redacted != redaction.digest:
            return False
        del self.seqs[redaction.target]
        return True

    def refuse(self) -> None:
        """Raise CorruptLog if there are any: a fork's parent may have taken them out after the fork."""
        for seq in self.seqs:
            raise CorruptLog(
                f"event {seq} has no payload, and no event of this history says that it was taken out: "
                f"`synlearner log redact {seq}` records what was redacted in a fork's parent"
            )
