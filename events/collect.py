"""Blobs that nobody names, and how they are removed: what crashes, repairs and redactions leave behind.

A blob is marked if its digest stands anywhere in a payload of the home or of a fork that begins in it, whatever the
field is called and whatever version wrote it. What is not marked goes once it is older than the grace period: a blob is
stored before the event that names it, and storing it again makes it young again.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from synlearner.errors import ConfigError
from synlearner.events.addresses import folder_of, is_address
from synlearner.events.forked import ForkedLog
from synlearner.events.home import Home
from synlearner.events.lineage import FORKS, children, parent_of
from synlearner.events.remote_blobs import RemoteBlobs
from synlearner.events.rows import Row

GRACE = 24.0
"""Hours."""

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Collected(msgspec.Struct, frozen=True):
    """What `collect` found."""

    marked: int
    """Blobs that events name, here or in a fork."""
    removed: list[str]
    """Digests of blobs that nobody names (or files that a killed writer left): gone, or in a dry run still there."""
    bytes: int
    """What they take on the disk."""
    young: int
    """Blobs that nobody names yet, within the grace period."""
    forks: list[str]
    """Homes that were asked too."""


def collect(
    home_path: Path | str, *, dry: bool = True, grace: float = GRACE, forks: Sequence[Path | str] = ()
) -> Collected:
    """Remove the blobs of the home that no event names; if *dry*, only say which.

    Args:
        home_path: The home. Nobody may be writing to it.
        dry: Remove nothing.
        grace: Hours for which a blob is spared.
        forks: Homes to ask beside those that are noted: forks that have moved.

    Raises:
        ConfigError: If a fork that is noted is not there, or *grace* is below 0. Nothing was removed.
        NotTrusted: If the log of the home or of a fork is not what was written: what it names is unknown then.

    """
    if not grace >= 0:
        raise ConfigError(f"grace is {grace}: pass hours from 0 on")
    if is_address(home_path):
        raise ConfigError(
            "blobs of a home in a database lie in its table `blobs`: bring it into a folder to tidy it up"
        )
    home_path = folder_of(home_path, "collecting blobs")
    with Home.open(home_path, write=True) as home:
        if isinstance(home.blobs, RemoteBlobs):
            raise ConfigError(f"the blobs of '{home_path}' are at '{home.blobs.url}': what nobody names stays there")
        places = _all_forks(home.path, [Path(fork) for fork in forks])
        marked = _marks(home, home.log.rows())
        for place in places:
            with Home.open(place) as fork:
                marked |= _marks(fork, own_rows(fork))
        before = time.time() - grace * 3600
        removed, size, young = [], 0, 0
        for file in _files(home.blobs.folder):
            if _is_blob(file) and bytes.fromhex(file.name) in marked:
                continue
            found = file.stat()
            if found.st_mtime > before:
                young += 1
                continue
            removed.append(file.name)
            size += found.st_size
            if not dry:
                file.unlink()
    return Collected(len(marked), removed, size, young, [str(place) for place in places])


def forks_of(home: Path) -> list[Path]:
    """Return the homes that are noted as forks of *home*, and theirs.

    Raises:
        ConfigError: If one of them is not there: it may have moved, and still need what is here.
        CorruptLog: If a note is damaged.

    """
    found: list[Path] = []
    for place, _ in children(home):
        if parent_of(place) is None:
            raise ConfigError(
                f"the fork '{place}' is not there: open it once with write access where it is now, and then delete "
                f"its old note in '{home / FORKS}'; or delete the note if the fork is gone for good"
            )
        found += [place, *forks_of(place)]
    return found


def starts_after(home: Home) -> int:
    """Return the last seq that an open home reads in the home that it was forked from; 0 for no fork."""
    return home.log.base.seq if isinstance(home.log, ForkedLog) else 0


def own_rows(home: Home) -> Iterator[Row]:
    """Yield the rows that an open home holds itself."""
    return home.log.rows(after=starts_after(home))


def check_chain(home: Home) -> None:
    """Read all events of an open home. Raises CorruptLog: damage must not decide what may be deleted."""
    for _ in home.log.read():
        pass


def _all_forks(home: Path, more: Sequence[Path]) -> list[Path]:
    found = forks_of(home)
    for place in more:
        found += [place, *forks_of(place)]
    return list(dict.fromkeys(found))


def _marks(home: Home, rows: Iterable[Row]) -> set[bytes]:
    """Return the digests in the payloads of *rows*, once the whole chain of their home is checked."""
    check_chain(home)
    return digests_in(rows)


def digests_in(rows: Iterable[Row]) -> set[bytes]:
    """Return all that looks like a digest in the payloads of *rows*."""
    return {bytes.fromhex(found.decode()) for row in rows for found in _DIGEST.findall(row.payload)}


def _files(folder: Path) -> list[Path]:
    """Return all files that blobs are kept in, and what killed writers left beside them."""
    return sorted(file for file in folder.glob("[0-9a-f][0-9a-f]/*") if file.is_file() and not file.is_symlink())


def _is_blob(file: Path) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", file.name) is not None
