"""Where a fork's history begins, and which forks begin in a home. A fork copies nothing: it reads through its parent.

FORK/parent.json     {"home": "../parent", "seq": 120, "hash": "…"}: the events 1 to 120 are read there, and not here
PARENT/forks/….json  {"home": "../fork", "seq": 120}: a note, so that nobody removes what forks still need

The hash proves the parent: every opening compares it with the parent's event, every read chains across the border.
Paths are relative to the home that they stand in, so homes that move together stay together.
"""

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Lock

import msgspec

from synlearner.errors import ConfigError, CorruptLog, LogError, NotTrusted
from synlearner.events.files import write_file
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import EMPTY, Head

PARENT = "parent.json"
FORKS = "forks"
DEEPEST = 1000
"""Forks of forks: beyond, something refers to itself."""


class Parent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a history begins: another home's events up to one of them."""

    home: str
    seq: int
    hash: str


class Child(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fork that begins in this home."""

    home: str
    seq: int


Opener = Callable[[Path, Head], SqliteLog]
"""Opens, to read, the log of a home that starts after a head. Raises ConfigError if there is none."""


class Shared:
    """The part of a fork's history that another home holds: what comes after *base*, up to *end*.

    It is opened when it is first needed, and proves then that its last event is the one that was forked at.
    """

    def __init__(self, child: Path, home: Path, base: Head, end: Head, opener: Opener) -> None:
        self.child = child
        """Whose note says so."""
        self.home = home
        self.base = base
        self.end = end
        self._opener = opener
        self._open: SqliteLog | None = None
        self._mutex = Lock()

    @property
    def log(self) -> SqliteLog:
        """Of that home alone: without what it shares itself.

        Raises:
            LogError: If the home is not where it was.
            CorruptLog: If it is not what it was.

        """
        with self._mutex:
            if self._open is None:
                self._open = self._proven()
            return self._open

    def up_to(self, end: Head, child: Path) -> "Shared":
        """Return the same part, cut where the fork *child* turned off."""
        return Shared(child, self.home, self.base, end, self._opener)

    def close(self) -> None:
        """Let go of the log. May be called twice."""
        if self._open:
            self._open.close()

    def _proven(self) -> SqliteLog:
        where = f"the history of '{self.child}' begins in the home '{self.home}'"
        note = self.child / PARENT
        try:
            log = self._opener(self.home, self.base)
        except ConfigError as error:
            way_out = f"put it back, or write where it is now into '{note}' (\"home\")"
            raise LogError(f"{where}, and there is none: {way_out}") from error
        except NotTrusted as error:
            raise CorruptLog(f"{where}: {error}") from error
        try:
            problem = self._problem(log)
        except BaseException:
            log.close()
            raise
        if problem:
            log.close()
            raise CorruptLog(f"{where}, {problem}, or name the right home in '{note}'")
        return log

    def _problem(self, log: SqliteLog) -> str:
        seq, last = self.end.seq, log.head().seq
        if last < seq:
            return f"which should hold event {seq} and ends at {last}: restore it from a copy"
        if log.get(seq).hash != self.end.hash:
            return f"whose event {seq} is not the one that was forked at: restore it from a copy"
        return ""


def parent_of(home: Path) -> tuple[Path, Head] | None:
    """Return the home that the fork at *home* begins in, and its last event that they share; None for no fork.

    Raises:
        CorruptLog: If the note is damaged.
        LogError: If it cannot be read now.

    """
    file = home / PARENT
    try:
        note = msgspec.json.decode(file.read_bytes(), type=Parent)
        end = Head(note.seq, bytes.fromhex(note.hash).hex())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(file, error) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptLog(f"'{file}' does not say where this history begins: {error}; restore it from a copy") from error
    if end.seq < 1 or len(end.hash) != len(EMPTY.hash) or "\0" in note.home:
        raise CorruptLog(f"'{file}' names no event: seq {end.seq}, hash {end.hash!r}; restore it from a copy")
    return Path(os.path.normpath(home.resolve() / note.home)), end


def write_parent(home: Path, parent: Path, end: Head) -> None:
    """Note in the fork at *home* where its history begins. On disk when this returns."""
    note = Parent(_path_between(home, parent), end.seq, end.hash)
    write_file(home / PARENT, msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")


def note_child(parent: Path, child: Path, seq: int) -> None:
    """Note in the home *parent* that *child* needs its events up to *seq*. Raises OSError if that cannot be."""
    name = sha256(str(child.resolve()).encode()).hexdigest()[:32]
    file = parent / FORKS / f"{name}.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_file(file, msgspec.json.encode(Child(_path_between(parent, child), seq)) + b"\n")


def children(home: Path) -> Iterator[tuple[Path, Child]]:
    """Yield the place and the note of every fork that is known to begin in *home*; forks of forks are theirs.

    A fork that is gone or moved is yielded like the others: whoever asks must look (`parent_of(place)`).

    Raises:
        CorruptLog: If a note is damaged.

    """
    for file in sorted((home / FORKS).glob("*.json")):
        try:
            note = msgspec.json.decode(file.read_bytes(), type=Child)
        except OSError as error:
            raise _unreadable(file, error) from error
        except msgspec.MsgspecError as error:
            raise CorruptLog(f"'{file}' does not name a fork: {error}; open that fork to write it anew") from error
        yield Path(os.path.normpath(home.resolve() / note.home)), note


def _unreadable(file: Path, error: OSError) -> LogError:
    return LogError(f"'{file}' cannot be read now: {error.strerror}; see to that and run the same command again")


def open_shared(home: Path, opener: Opener) -> list[Shared]:
    """Return what the fork at *home* shares with other homes, the oldest part first; nothing for no fork.

    The newest part, where the fork begins, is opened and proven; those before it when they are first read.

    Raises:
        LogError: If the parent is not where it was.
        CorruptLog: If the parent is not what it was.

    """
    parts: list[Shared] = []
    for child, parent, end in reversed(list(_line(home))):
        # A fork of a fork may turn off before its parent did: then nothing of the parent's own is shared.
        parts.append(Shared(child, parent, parts[-1].end if parts else EMPTY, end, opener))
        parts = [part for part in parts if part.base.seq < end.seq]
        parts[-1] = parts[-1].up_to(end, child)
    if parts:
        _ = parts[-1].log
    return parts


def _line(home: Path) -> Iterator[tuple[Path, Path, Head]]:
    """Yield (fork, its parent, the last event that they share), from *home* up to where all begins."""
    for _ in range(DEEPEST):
        found = parent_of(home)
        if found is None:
            return
        yield home, *found
        home = found[0]
    raise CorruptLog(f"'{home / PARENT}' leads round in circles: restore it from a copy")


def _path_between(home: Path, other: Path) -> str:
    # Not both resolved: a fork that is being made does not stand in its place yet, but beside it.
    here, there = home.parent.resolve() / home.name, other.parent.resolve() / other.name
    try:
        return Path(os.path.relpath(there, here)).as_posix()
    except ValueError:  # another drive
        return there.as_posix()
