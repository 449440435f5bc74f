"""Taking a payload out for good. The chain commits to its digest and so still verifies; the removal is an event.

1. `payload_redacted` is appended: from here on it is decided, and a redaction that was cut off is finished by the next.
2. Blobs that this event alone names are deleted, in this home.
3. The payload is overwritten, the WAL truncated, the database written anew: no free page and no slack keeps a copy.
4. `derived/` is emptied: indexes and caches are made again without it.

The digest stays, so whoever can guess the whole payload can tell that it stood there. What was handed on before
(backups, exports, copies, snapshots of the file system, blocks that the disk has not reused) is out of reach.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from synlearner.errors import ConfigError, LogError
from synlearner.events.addresses import folder_of, is_address
from synlearner.events.blobs import references
from synlearner.events.chance import event_id
from synlearner.events.collect import check_chain, forks_of, own_rows, starts_after
from synlearner.events.database import FAILURES, open_database, transaction
from synlearner.events.files import cannot_write
from synlearner.events.home import LOG, Home
from synlearner.events.tombstones import TAKEN_OUT, redactions
from synlearner.events.types import Draft, Event, ExperienceLearned, PayloadRedacted, Redacted

REDACTABLE = frozenset(
    (
        "experience_learned",
        "experience_recalled",
        "feedback_given",
        "prompts_planned",
        "sample_generated",
        "sample_scored",
    )
)
"""Kinds that hold text and that a fold can do without. All others are what the state of a home follows from."""

BEYOND = (
    "backups and exports made before",
    "copies of the home, forks made with --copy, and what a fork wrote itself",
    "snapshots of the file system, and blocks of the disk that were not written over yet",
    "programs that have read it and are still running",
)
"""What no redaction reaches."""

_ECHO_FROM = 16
"""Characters from which on a text is looked for in other payloads: shorter ones stand everywhere."""
_ECHOES = 20
"""Events that are named as holding the same text."""


class Redaction(NamedTuple):
    """What was taken out, and what else holds it."""

    seqs: list[int]
    head: int
    """Seq of the last event after it."""
    blobs: list[str]
    """Deleted: no other event named them."""
    echoes: dict[int, str]
    """Events (seq to kind) that hold a text of 16 characters or more of what was taken out."""
    forks: list[str]
    """Forks that are known to begin in this home: they read the event here, and no longer find it."""


def redact(home_path: Path | str, seqs: Sequence[int], reason: str) -> Redaction:
    """Take the payloads of the events *seqs* out of the home. Done again, it finishes what was cut off.

    Raises:
        ConfigError: If an event is not there, is not in this home itself, or the state needs it. Nothing was done.
        LogError: If the home is being written or read by somebody: run it again to finish.
        NotTrusted: If the log is not what was written.

    """
    if is_address(home_path):
        raise ConfigError(
            "a database keeps old versions of rows in its own files: bring the home into a folder (`log copy`), redact it "
            "there, and drop the schema"
        )
    if not reason.strip():
        raise ConfigError("the reason is empty: say why, it is all that stays")
    home_path = folder_of(home_path, "redacting")
    with Home.open(home_path, write=True) as home:
        check_chain(home)
        events = [home.log.get(seq) for seq in dict.fromkeys(seqs)]
        done = redactions(home.log.rows())
        for event in events:
            _check(event, home)
        texts = {text for event in events for text in _texts(msgspec.to_builtins(event.fact))}
        head = _decide(home, [event for event in events if event.seq not in done], reason)
        # What is decided and not yet done: also where an earlier redaction was cut off.
        open_ = list(_standing(home, redactions(home.log.rows())))
        blobs = _named_by_none_else(home, open_)
        for digest in blobs:
            home.blobs.remove(digest)
        home.log.close()
        _erase(home.path / LOG, [event.seq for event in open_])
        _empty(home.derived)
        forks = [str(place) for place in forks_of(home.path)]
    with Home.open(home_path) as home:
        return Redaction([event.seq for event in events], head, blobs, _echoes(home, texts), forks)


def _check(event: Event, home: Home) -> None:
    if event.seq <= starts_after(home) and not isinstance(event.fact, Redacted):
        raise ConfigError(
            f"event {event.seq} is not in '{home.path}' but in the home that it was forked from: redact it there first"
        )
    if event.kind not in REDACTABLE:
        raise ConfigError(
            f"event {event.seq} is a {event.kind}: without it the state of the home cannot be rebuilt; "
            f"what can be redacted: {', '.join(sorted(REDACTABLE))}"
        )


def _decide(home: Home, events: Sequence[Event], reason: str) -> int:
    """Append the redactions, and return the seq of the end."""
    head = home.log.head()
    drafts = []
    for event in events:
        fact = event.fact
        digest = next(home.log.rows(after=event.seq - 1, until=event.seq)).payload_digest.hex()
        items = [fact.item.id, fact.supersedes] if isinstance(fact, ExperienceLearned) else []
        redacted = PayloadRedacted(
            target=event.seq,
            target_kind=event.kind,
            digest=digest,
            reason=reason,
            items=[item for item in items if item],
        )
        drafts.append(Draft(fact=redacted, id=event_id(head.hash, "redact", event.seq), causes=(event.seq,)))
    return home.log.append(drafts, expected_seq=head.seq)[-1].seq if drafts else head.seq


def _standing(home: Home, decided: dict[int, str]) -> Iterator[Event]:
    """Yield the events whose payload is to be out and is not."""
    for seq in sorted(decided):
        event = home.log.get(seq)
        if not isinstance(event.fact, Redacted) and seq > starts_after(home):
            yield event


def _named_by_none_else(home: Home, events: Sequence[Event]) -> list[str]:
    """Return the blobs of *events* that stand in no other payload, here or in a fork that is known."""
    named = {digest for event in events for digest in references(event.fact)}
    named = {digest for digest in named if home.blobs.holder(digest) is home.blobs and home.blobs.has(digest)}
    if not named:
        return []
    gone = {event.seq for event in events}
    pattern = re.compile(b"|".join(digest.encode() for digest in sorted(named)))
    for row in home.log.rows():
        if row.seq not in gone:
            named -= {found.decode() for found in pattern.findall(row.payload)}
    for fork in forks_of(home.path):
        with Home.open(fork) as opened:
            check_chain(opened)
            for row in own_rows(opened):
                named -= {found.decode() for found in pattern.findall(row.payload)}
    return sorted(named)


def _erase(path: Path, seqs: Sequence[int]) -> None:
    """Overwrite payloads, and write the whole database anew: splits and moves may have left copies in any page."""
    try:
        connection = open_database(path, write=True)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            with transaction(connection):
                connection.executemany("UPDATE events SET payload = ? WHERE seq = ?", [(TAKEN_OUT, s) for s in seqs])
            _truncate(connection, path)
            connection.execute("VACUUM")
            _truncate(connection, path)
        finally:
            connection.close()
    except (*FAILURES, OSError) as error:
        raise cannot_write(path, error) from error


def _truncate(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise LogError(
            f"somebody reads '{path}', so its write-ahead log still holds what is to go: "
            "end those programs and run the same command again"
        )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir() if folder.exists() else ():
        try:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        except OSError as error:
            raise cannot_write(entry, error) from error


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a payload that are long enough to be recognised; no digests."""
    match value:
        case str() if len(value) >= _ECHO_FROM and not re.fullmatch(r"(sha256:)?[0-9a-f]{16,64}", value):
            yield value
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)


def _echoes(home: Home, texts: set[str]) -> dict[int, str]:
    if not texts:
        return {}
    pattern = re.compile(b"|".join(re.escape(msgspec.json.encode(text)[1:-1]) for text in sorted(texts)))
    found: dict[int, str] = {}
    for row in home.log.rows():
        if row.kind != PayloadRedacted.kind and pattern.search(row.payload):
            found[row.seq] = row.kind
            if len(found) == _ECHOES:
                break
    return found
