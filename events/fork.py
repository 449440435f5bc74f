"""A new home that shares a history up to an event, and goes on by itself.

It reads what it shares in its parent and proves it (`synlearner.events.lineage`), so a fork costs the same at any event
of any history; or, as a copy, it stands by itself.
"""

from pathlib import Path
from typing import Any

from synlearner.errors import ConfigError
from synlearner.events.addresses import is_address, shown
from synlearner.events.anchor import Anchor
from synlearner.events.chance import event_id
from synlearner.events.codec import encode_json
from synlearner.events.copying import checked_rows
from synlearner.events.files import appearing, check_free, sync_folder
from synlearner.events.forked import ForkedLog
from synlearner.events.home import ANCHOR, BLOBS, DERIVED, LOG, Home
from synlearner.events.lineage import note_child, write_parent
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import Draft, Head, HistoryForked


def fork(source: Path | str, at: int, into: Path | str, changes: dict[str, Any], *, copy: bool = False) -> Head:
    """Make the home *into* out of the events 1 to *at* of *source* and one `history_forked`; return its head.

    The events keep their hashes. Nothing is copied: the new home reads them, and the blobs that they name, in *source*.
    With *copy* it holds all of it itself, checked, and blobs are shared where the disk can do that; so it is where one
    of the two is in a database. Equal forks of an event have equal heads, copied or not. A folder appears whole or not
    at all.

    Raises:
        ConfigError: If *at* is not in the history, *into* holds something, or *changes* are not JSON.
        LogError: If *into* cannot be written, or *source* cannot note its fork.
        NotTrusted: If the event *at* is not what was written; with *copy*, any up to it, or a blob that they name.

    """
    name = encode_json(changes, "changes").decode()
    with Home.open(source) as parent:
        end = parent.log.head().seq
        if not 1 <= at <= end:
            raise ConfigError(f"cannot fork at {at}: '{shown(source)}' holds the events 1 to {end}")
        if is_address(source) or is_address(into):
            return _build_copy(parent, at, into, _forked(parent.log.get(at).hash, at, changes, name))
        into = Path(into)
        check_free(into, "a fork is a new home")
        draft = _forked(parent.log.get(at).hash, at, changes, name)
        with appearing(into, "fork") as workplace:
            return (
                _build_copy(parent, at, workplace, draft) if copy else _build_link(parent, at, workplace, into, draft)
            )


def _forked(hash_: str, at: int, changes: dict[str, Any], name: str) -> Draft:
    fact = HistoryForked(parent_seq=at, parent_hash=hash_, changes=changes)
    return Draft(fact=fact, id=event_id(hash_, "fork", name), causes=(at,))


def _build_link(parent: Home, at: int, workplace: Path, into: Path, draft: Draft) -> Head:
    # Of a fork's fork: the home that itself holds the event, so that no home in between is needed.
    shared = parent.log.shared if isinstance(parent.log, ForkedLog) else ()
    holder = next((part.home for part in shared if part.base.seq < at <= part.end.seq), parent.path)
    end = Head(at, parent.log.get(at).hash)
    for folder in (workplace, workplace / BLOBS, workplace / DERIVED):
        folder.mkdir()
    write_parent(workplace, holder, end)
    log = SqliteLog(workplace / LOG, anchor=Anchor(workplace / ANCHOR), write=True, base=end)
    try:
        (event,) = log.append([draft], expected_seq=at)
    finally:
        log.close()
    sync_folder(workplace)
    _note(holder, into, at)
    return Head(event.seq, event.hash)


def _note(holder: Path, into: Path, at: int) -> None:
    try:
        note_child(holder, into, at)
    except OSError as error:
        raise ConfigError(
            f"'{holder}' cannot note that '{into}' begins in it ({error.strerror}), and without the note its blobs "
            "could be removed: let it be written to, or fork with --copy"
        ) from error


def _build_copy(parent: Home, at: int, into: Path | str, draft: Draft) -> Head:
    with Home.open(into, create=True) as child:
        child.log.adopt(checked_rows(parent, child, at))
        (event,) = child.log.append([draft], expected_seq=at)
    return Head(event.seq, event.hash)
