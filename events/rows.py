"""An event as it is stored, and what every log does on the way in: encode, chain, recognise a repeat."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from synlearner.errors import AppendConflict, ConfigError
from synlearner.events.codec import canonical, encode_json, link, payload_digest
from synlearner.events.exact import LARGEST
from synlearner.events.types import AnyFact, Draft, Event, Head


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


class Entry(NamedTuple):
    """A draft, encoded: all that can be done before its place in the log is known."""

    draft: Draft
    fact: AnyFact
    """As it will be read back."""
    payload: bytes
    digest: str
    causes: str
    observed: str


class Found(NamedTuple):
    """What a log holds under an id."""

    seq: int
    kind: str
    payload_digest: bytes


_decode_observed = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


# ---- on the way in -------------------------------------------------------------------------------------------


def prepare(drafts: Sequence[Draft]) -> list[Entry]:
    """Encode *drafts* and give them their time. Raises ConfigError before anything is written."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    only_time = _encode({"time": now}).decode()
    entries = []
    for draft in drafts:
        payload, fact = canonical(draft.fact)
        _check_envelope(draft)
        causes = _encode(draft.causes).decode() if draft.causes else "[]"
        observed = only_time
        if draft.observed:
            observed = encode_json({"time": now, **draft.observed}, f"observed of {fact.kind}").decode()
        entries.append(Entry(draft, fact, payload, payload_digest(payload), causes, observed))
    if len({entry.draft.id for entry in entries}) < len(entries):
        raise ConfigError("an id stands twice in one batch: derive ids from what the event is for (event_id)")
    return entries


def _check_envelope(draft: Draft) -> None:
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


def seal(entries: Iterable[Entry], head: Head) -> tuple[list[Row], list[Event]]:
    """Chain *entries* to *head*: the rows to store, and the events as they will be read."""
    rows, events = [], []
    seq, previous = head.seq, head.hash
    for draft, fact, payload, digest, causes, observed in entries:
        seq += 1
        kind, version = fact.kind, fact.version
        id_, run_id, task = draft.id, draft.run_id, draft.task
        previous = link((previous, seq, id_, kind, version, run_id, task, draft.causes, digest))
        hashes = bytes.fromhex(digest), bytes.fromhex(previous)
        rows.append(Row(seq, id_, kind, version, run_id, task, causes, payload, hashes[0], observed, hashes[1]))
        events.append(
            Event(
                seq=seq,
                id=id_,
                kind=kind,
                version=version,
                run_id=run_id,
                task=task,
                causes=tuple(draft.causes),
                fact=fact,
                observed=_decode_observed(observed),
                hash=previous,
            )
        )
    return rows, events


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
        if (here.kind, here.payload_digest) != (entry.fact.kind, bytes.fromhex(entry.digest)):
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
