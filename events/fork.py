"""A new home that shares a history up to an event, and goes on by itself."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synlearner.errors import ConfigError
from synlearner.events.blobs import references
from synlearner.events.chance import event_id
from synlearner.events.codec import encode_json
from synlearner.events.files import cannot_write, sync_folder
from synlearner.events.home import Home
from synlearner.events.log import read_with_rows
from synlearner.events.rows import Row
from synlearner.events.types import Draft, Head, HistoryForked


def fork(source: Path, at: int, into: Path, changes: dict[str, Any]) -> Head:
    """Make the home *into* out of the events 1 to *at* of *source* and one `history_forked`; return its head.

    The events keep their hashes. Blobs that they name are shared where the disk can do that. The new home appears
    whole or not at all.

    Raises:
        ConfigError: If *at* is not in the history, *into* holds something, or *changes* are not JSON.
        NotTrusted: If an event up to *at* or a blob that it names is not what was written.

    """
    source, into = Path(source), Path(into)
    name = encode_json(changes, "changes").decode()
    with Home.open(source) as parent:
        end = parent.log.head().seq
        if not 1 <= at <= end:
            raise ConfigError(f"cannot fork at {at}: '{source}' holds the events 1 to {end}")
        _check_free(into)
        workplace = into.absolute().with_name(f".{into.absolute().name}.fork-{os.getpid()}")
        try:
            into.absolute().parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(workplace, ignore_errors=True)
            head = _build(parent, at, workplace, changes, name)
            if into.exists():
                into.rmdir()
            workplace.rename(into)
            sync_folder(into.absolute().parent)
        except OSError as error:
            raise cannot_write(into, error) from error
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return head


def _check_free(into: Path) -> None:
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConfigError(f"'{into}' is not empty: a fork is a new home; pass a folder that does not exist")


def _build(parent: Home, at: int, workplace: Path, changes: dict[str, Any], name: str) -> Head:
    with Home.open(workplace, create=True) as child:
        shared = child.log.adopt(_shared(parent, child, at))
        draft = Draft(
            fact=HistoryForked(parent_seq=at, parent_hash=shared.hash, changes=changes),
            id=event_id(shared.hash, "fork", name),
            causes=(at,),
        )
        (event,) = child.log.append([draft], expected_seq=at)
    return Head(event.seq, event.hash)


def _shared(parent: Home, child: Home, at: int) -> Iterator[Row]:
    """Yield the rows of the first *at* events, checked, and bring over the blobs that they name."""
    for row, event in read_with_rows(parent.log, at):
        for digest in references(event.fact):
            if not child.blobs.has(digest):
                child.blobs.take(digest, parent.blobs)
        yield row
