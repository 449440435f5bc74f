"""A damaged home made whole again: what can be trusted stays, the rest is set aside, and nothing is deleted.

1. The longest prefix that can be trusted is found (`synlearner.events.prefix`), in whatever way the log can be read
   (`synlearner.events.salvage`).
2. The log, its WAL, the anchor, and the blobs that no trusted event names get second names in HOME/damaged-N/, beside
   `repair.json`, which says what was found.
3. A new log and a new anchor are made in HOME/.repair-new/, which becomes HOME/.repair/ when it is complete: from here
   on it is decided, and a repair that was cut off is finished by the next.
4. They take the place of the old ones. `derived/` is set aside too, for it may know what is no longer there.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from synlearner.errors import ConfigError, CorruptLog, LogError, NotTrusted
from synlearner.events.addresses import folder_of
from synlearner.events.anchor import Anchor
from synlearner.events.blobs import BlobStore
from synlearner.events.collect import digests_in
from synlearner.events.files import cannot_write, sync_folder
from synlearner.events.home import ANCHOR, BLOBS, DERIVED, LOG, WRITER, blobs_of, check_home, open_own_log
from synlearner.events.lineage import PARENT, children, open_shared, parent_of
from synlearner.events.lock import WriterLock
from synlearner.events.prefix import Prefix, trusted_prefix
from synlearner.events.rows import Row
from synlearner.events.salvage import AS_IT_IS, Salvage, Way
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import EMPTY, Head
from synlearner.events.verify import Problem, verify

DECIDED, _BEGUN, _TRIED = ".repair", ".repair-new", ".repair-tried"
SET_ASIDE = "damaged-"


class Repaired(msgspec.Struct, frozen=True):
    """What a repair did, or in a dry run would do."""

    dry: bool
    problem: Problem | None
    """The first that was found; None if nothing is damaged."""
    kept: int
    """Seq of the last event that stays."""
    digest: str
    """Its hash."""
    lost: int
    """Events behind it that were found or acknowledged."""
    folder: str
    """Where the rest lies; empty if nothing was set aside."""
    files: list[str]
    """What lies there."""
    forks: list[str]
    """Homes that begin in this one at an event that it no longer has."""
    left: list[Problem]
    """What `verify` still finds afterwards."""


class _Plan(NamedTuple):
    """What is to be done."""

    way: Way
    prefix: Prefix
    rebuild: bool
    """Whether the log itself is written anew, and not its anchor alone."""
    behind: int
    """Seq of the last event that is known of."""


def repair(home_path: Path | str, *, dry: bool = True) -> Repaired:
    """Bring the home back to the longest history that can be trusted; if *dry*, only say to which.

    A blob that is missing or changed ends that history before the first event that names it: put the blob back first
    where there is a copy of it.

    Raises:
        ConfigError: If there is no home in a folder.
        HomeLocked: If another process writes to it.
        LogError: If it cannot be read or written now, or a newer program wrote it. Nothing was changed.
        NotTrusted: If what is damaged is not in this home, or the log and its anchor belong to two histories.

    """
    home = folder_of(home_path, "repairing")
    try:
        if dry:
            return _repair(home, dry=True)
        with suppress(CorruptLog):  # then there is one, and it is damaged
            check_home(home)
        with WriterLock(home / WRITER):
            if (home / DECIDED).exists():
                _finish(home)
            try:
                return _repair(home, dry=False)
            finally:  # under the lock, for it may be another's work else
                shutil.rmtree(home / _BEGUN, ignore_errors=True)
    except OSError as error:
        raise cannot_write(home, error) from error
    finally:
        shutil.rmtree(_tried(home), ignore_errors=True)


def _repair(home: Path, *, dry: bool) -> Repaired:
    found = verify(home)
    _refuse_for_parent(home, found.problems)
    base, blobs = _inherited(home)
    problem = min(found.problems, key=lambda each: each.seq or 1 << 62, default=None)
    if problem is None:
        return Repaired(dry, None, found.events, found.digest, 0, "", [], [], [])
    salvage = Salvage(home, _tried(home), base)
    plan = _plan(home, salvage, base, blobs, found.events)
    end = plan.prefix.end
    # With nothing lost and no event to blame, it is the anchor or SQLite's own pages.
    problem = plan.prefix.problem or problem
    forks = [str(place) for place, note in children(home) if note.seq > end.seq]
    folder = next(home / f"{SET_ASIDE}{n}" for n in range(1, 1 << 30) if not (home / f"{SET_ASIDE}{n}").exists())
    lost = max(plan.behind - end.seq, 0)
    if dry:
        return Repaired(
            True, problem, end.seq, end.hash, lost, folder.name, _names(home, rebuild=plan.rebuild), forks, []
        )
    named = _make_new(home, salvage, plan, base)
    files = _set_aside(home, folder, named, blobs)
    done = Repaired(False, problem, end.seq, end.hash, lost, folder.name, files, forks, [])
    (folder / "repair.json").write_bytes(msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n")
    sync_folder(folder)
    (home / _BEGUN).rename(home / DECIDED)
    sync_folder(home)
    _finish(home)
    return msgspec.structs.replace(done, left=verify(home).problems)


def _tried(home: Path) -> Path:
    """Return where this process changes copies of the log: a look may go on beside a repair."""
    return home / f"{_TRIED}-{os.getpid()}"


def _refuse_for_parent(home: Path, problems: Iterable[Problem]) -> None:
    """Raise CorruptLog if a fork reads something damaged in its parent: nothing here can mend that."""
    found = parent_of(home)
    for each in problems if found else ():
        if found and (each.file == PARENT or each.file.startswith("..") or (each.seq and each.seq <= found[1].seq)):
            raise CorruptLog(
                f"'{home}' begins in the home '{found[0]}', and that is damaged ({each.what}): "
                "restore that home from a copy; repairing it cuts off the fork where the event is lost"
            )


def _inherited(home: Path) -> tuple[Head, BlobStore]:
    """Return where the log of the home itself begins, and its blobs. Raises NotTrusted for a damaged parent."""
    found = parent_of(home)
    shared = open_shared(home, open_own_log) if found else []
    for part in shared:
        part.close()
    return found[1] if found else EMPTY, blobs_of(home, shared)


def _plan(home: Path, salvage: Salvage, base: Head, blobs: BlobStore, seen: int) -> _Plan:
    """Find the way to read the log that gives most. *seen*: how many events `verify` saw."""
    heads = Anchor(home / ANCHOR).heads()
    anchored = heads[0] if heads else None
    marks = [head.seq for head in heads]
    best: tuple[Way, Prefix] | None = None
    whole, behind = False, max(anchored.seq if anchored else 0, seen)
    for way in salvage.ways():
        with salvage.open(way) as log:
            if log is None:
                continue
            prefix = trusted_prefix(log, base, blobs, home, marks)
            if best is None or prefix.end.seq > best[1].end.seq:
                best = way, prefix
            if way == AS_IT_IS:
                whole = prefix.problem is None and _is_sound(log, prefix.end)
            if prefix.problem is None and prefix.end.seq >= behind:
                break
    if best is None and anchored is None:
        raise ConfigError(
            f"'{home / LOG}' is not a log of SynLearner, as far as one can tell; pass the folder of a run"
        )
    way, prefix = best or (AS_IT_IS, Prefix(base, None, {base.seq: base.hash}))
    if anchored and prefix.marks.get(anchored.seq, anchored.hash) != anchored.hash:
        raise CorruptLog(
            f"event {anchored.seq} follows from its history, but '{home / ANCHOR}' names another: log and anchor belong "
            "to two histories, and nothing says which is right; put the right one back, or, if the log is right, move "
            "the anchor away; then run the same command again"
        )
    return _Plan(way, prefix, not (way == AS_IT_IS and whole), behind)


def _is_sound(log: SqliteLog, end: Head) -> bool:
    """Return whether the database itself can stay: it ends there, and SQLite finds nothing wrong."""
    try:
        return log.head() == end and not log.problems()
    except NotTrusted:
        return False


def _make_new(home: Path, salvage: Salvage, plan: _Plan, base: Head) -> set[bytes] | None:
    """Make the new log and the new anchor, on disk when this returns; return the blobs that the log names, if it is new."""
    workplace = home / _BEGUN
    shutil.rmtree(workplace, ignore_errors=True)  # of a repair that was killed before it was decided
    workplace.mkdir()
    end = plan.prefix.end
    named: set[bytes] | None = None
    if plan.rebuild:
        named = set()
        log = SqliteLog(workplace / LOG, anchor=None, write=True, base=base)
        try:
            if end.seq > base.seq:
                with salvage.open(plan.way) as old:
                    assert old is not None  # noqa: S101  # it was read in this way before
                    if log.adopt(_noting(old.rows(after=base.seq, until=end.seq), named)) != end:
                        raise LogError(f"'{home / LOG}' changed while it was read: run the same command again")
        finally:
            log.close()
    anchor = Anchor(workplace / ANCHOR)
    anchor.write(end)
    anchor.close()
    sync_folder(workplace)
    return named


def _noting(rows: Iterable[Row], named: set[bytes]) -> Iterator[Row]:
    """Pass *rows* on, and note the blobs that they name."""
    for row in rows:
        named |= digests_in([row])
        yield row


def _names(home: Path, *, rebuild: bool) -> list[str]:
    """Return what will be replaced. A log that stays gets no second name: it would change under that too."""
    files = [home / LOG, home / f"{LOG}-wal", home / ANCHOR] if rebuild else [home / ANCHOR]
    return [file.name for file in files if file.exists() and (file.stat().st_size or file.suffix != ".sqlite-wal")]


def _set_aside(home: Path, folder: Path, named: set[bytes] | None, blobs: BlobStore) -> list[str]:
    """Give the old log, and blobs that a new one does not name, a second name in *folder*; return what lies there."""
    folder.mkdir()
    for name in _names(home, rebuild=named is not None):
        _link(home / name, folder / name)
    for digest in blobs.digests() if named is not None else ():
        if named is not None and bytes.fromhex(digest) not in named and blobs.path(digest).is_file():
            target = folder / BLOBS / digest[:2] / digest
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(blobs.path(digest), target)
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _link(file: Path, name: Path) -> None:
    try:
        name.hardlink_to(file)
    except OSError:  # a file system without links
        shutil.copy2(file, name)
        with name.open("rb") as copied:
            os.fsync(copied.fileno())


def _finish(home: Path) -> None:
    """Let what is in HOME/.repair/ take the place of what it replaces. Done again, it finishes what was cut off."""
    decided = home / DECIDED
    if (decided / LOG).exists():
        for name in (f"{LOG}-wal", f"{LOG}-shm"):  # set aside already; they belong to the old log
            (home / name).unlink(missing_ok=True)
        aside = max(home.glob(f"{SET_ASIDE}*"), key=_number)
        if (home / DERIVED).exists() and not (aside / DERIVED).exists():
            (home / DERIVED).rename(aside / DERIVED)
        (decided / LOG).replace(home / LOG)
    if (decided / ANCHOR).exists():
        (decided / ANCHOR).replace(home / ANCHOR)
    sync_folder(home)
    decided.rmdir()


def _number(folder: Path) -> int:
    number = folder.name.removeprefix(SET_ASIDE)
    return int(number) if number.isdecimal() else 0
