"""An event as it is stored, and what every log does on the way in: encode, chain, recognise a repeat."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple, overload

import msgspec

from synlearner.errors import AppendConflict, ConfigError
from synlearner.events.codec import CHAIN, decode, encode, encode_json, encode_link
from synlearner.events.exact import LARGEST
from synlearner.events.types import Draft, Event, Head

LARGEST_PAYLOAD = 1 << 24
"""Bytes. Events are read whole, 256 at a time; what is larger belongs into a blob."""


class Row(NamedTuple):
    """A stored event: nothing decoded, nothing checked. The order of the fields is that of the columns."""

    seq: int
    id: str
    kind: str
    version: int
    run_id: str
    task: str
    causes: str
    """JSON."""
    payload: bytes
    payload_digest: bytes
    """Kept although it can be computed: it tells a changed payload from a changed envelope, and stays when the
    payload is taken out."""
    observed: str
    """JSON, outside the hash."""
    hash: bytes


class Entry(msgspec.Struct, frozen=True):
    """A draft, encoded: all that can be done before its place in the log is known."""

    draft: Draft
    payload: bytes
    digest: bytes
    causes: str
    observed: str


class Found(NamedTuple):
    """What a log holds under an id."""

    seq: int
    kind: str
    payload_digest: bytes


_decode_causes = msgspec.json.Decoder(tuple[int, ...]).decode
_decode_observed = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


# ---- on the way in -------------------------------------------------------------------------------------------


def prepare(drafts: Sequence[Draft]) -> list[Entry]:
    """Encode *drafts* and give them their time. Raises ConfigError before anything is written."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    only_time = _encode({"time": now}).decode()
    entries = []
    for draft in drafts:
        payload = encode(draft.fact)
        _check_envelope(draft, len(payload))
        causes = _encode(draft.causes).decode() if draft.causes else "[]"
        observed = only_time
        if draft.observed:
            observed = encode_json({"time": now, **draft.observed}, f"observed of {draft.fact.kind}").decode()
        entries.append(Entry(draft, payload, sha256(payload).digest(), causes, observed))
    if len({entry.draft.id for entry in entries}) < len(entries):
        raise ConfigError("an id stands twice in one batch: derive ids from what the event is for (event_id)")
    return entries


def _check_envelope(draft: Draft, size: int) -> None:
    if size > LARGEST_PAYLOAD:
        raise ConfigError(
            f"{draft.fact.kind} {draft.id!r:.80} has {size:,} bytes: a payload has at most {LARGEST_PAYLOAD:,}; "
            "put what is large into a blob (home.blobs.put) and name its digest"
        )
    if not draft.id:
        raise ConfigError(f"{draft.fact.kind} has an empty id: derive it from what the event is for (event_id)")
    if draft.causes and not (min(draft.causes) >= 1 and max(draft.causes) <= LARGEST):
        raise ConfigError(f"{draft.fact.kind} {draft.id!r} has the causes {draft.causes}: a cause is a seq, from 1 on")
    try:
        (draft.id + draft.run_id + draft.task).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{draft.fact.kind} {draft.id!r}: a lone surrogate in id, run_id or task is not text"
        ) from None


def seal(entries: Iterable[Entry], head: Head) -> list[tuple[Any, ...]]:
    """Chain *entries* to *head*: the rows to store, as plain tuples, which databases bind faster than named ones."""
    rows = []
    seq, previous = head.seq, head.hash
    for entry in entries:
        seq += 1
        draft, digest = entry.draft, entry.digest
        fact, id_, run_id, task = draft.fact, draft.id, draft.run_id, draft.task
        kind, version = fact.kind, fact.version
        link = (CHAIN, previous, seq, id_, kind, version, run_id, task, draft.causes, digest.hex())
        hash_ = sha256(encode_link(link)).digest()
        previous = hash_.hex()
        rows.append((seq, id_, kind, version, run_id, task, entry.causes, entry.payload, digest, entry.observed, hash_))
    return rows


class Appended(Sequence[Event]):
    """The events of a batch, as they will be read: taken out of their rows when somebody looks at them."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = rows

    @cached_property
    def _events(self) -> list[Event]:
        return [_opened(Row._make(row)) for row in self._rows]

    @overload
    def __getitem__(self, place: int) -> Event: ...
    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...
    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        return self._events[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._events == (other._events if isinstance(other, Appended) else other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(self._events)


def _opened(row: Row) -> Event:
    return Event(
        seq=row.seq,
        id=row.id,
        kind=row.kind,
        version=row.version,
        run_id=row.run_id,
        task=row.task,
        causes=_decode_causes(row.causes),
        fact=decode(row.kind, row.version, row.payload),
        observed=_decode_observed(row.observed),
        hash=row.hash.hex(),
    )


def first_seq_of_repeat(entries: Sequence[Entry], found: Mapping[str, Found], *, head: Head, expected_seq: int) -> int:
    """Return where *entries* already stand, if all of them do, in one run and with the same payloads.

    Raises:
        AppendConflict: If they do not. Nothing may be written then.

    """
    if not found:
        raise AppendConflict(
            f"expected_seq is {expected_seq}, but the log ends at {head.seq}: somebody appended first; "
            "read the head and decide again"
        )
    first = min(place.seq for place in found.values())
    for place, entry in enumerate(entries):
        here = found.get(entry.draft.id)
        if here is None:
            raise AppendConflict(
                f"the log already holds {len(found)} of the {len(entries)} events of this batch, but not "
                f"{entry.draft.id!r}: repeat a batch as it was, or give new events new ids"
            )
        if (here.kind, here.payload_digest) != (entry.draft.fact.kind, entry.digest):
            raise AppendConflict(
                f"id {entry.draft.id!r} stands at seq {here.seq} with another payload: "
                "repeat a batch as it was, or give new events new ids"
            )
        if here.seq != first + place:
            raise AppendConflict(
                f"id {entry.draft.id!r} stands at seq {here.seq}, but its batch would have put it at {first + place}: "
                "repeat a batch as it was, or give new events new ids"
            )
    return first
