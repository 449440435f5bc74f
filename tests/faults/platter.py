"""What lies on a disk for good, and what is still on its way there, when the power goes.

A file's bytes are safe after a sync of the file, its name after one of its folder, and nothing before. Of what was not
forced to disk after a loss: nothing, everything, the first part, any part, or any sectors of it. That is harsher than
most file systems, which keep the order of names.
"""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from faults.disk import Operation

SECTOR = 512
T = TypeVar("T")

State = dict[str, bytes | None]
"""What is there, by path, folders first; None is a folder."""


@dataclass
class _File:
    """Bytes with or without a name."""

    safe: bytes = b""
    coming: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes, (place, data), and truncations, (size, None), in their order."""


@dataclass
class _Folder:
    safe: "dict[str, _File | _Folder]" = field(default_factory=dict)
    coming: "list[dict[str, _File | _Folder | None]]" = field(default_factory=list)
    """Changes of names, in their order. One may be of two names: a file that is renamed is never without both."""

    def now(self) -> "dict[str, _File | _Folder]":
        return _named(self.safe, self.coming)


class Platter:
    """The folder *root*, empty at first."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._tree = _Folder()

    def take(self, done: Operation) -> None:
        """Note what was done to the disk."""
        folder, name = self._place(done.path)
        found = folder.now().get(name) if name else folder
        match done.kind, found:
            case ("create", _):
                folder.coming.append({name: _File()})
            case ("mkdir", _):
                folder.coming.append({name: _Folder()})
            case (("unlink" | "rmdir"), _):
                folder.coming.append({name: None})
            case ("rename", _File()):
                to, new = self._place(done.other)
                if to is not folder:
                    raise NotImplementedError("a file that moves to another folder")
                folder.coming.append({name: None, new: found})
            case ("link", _File()):
                to, new = self._place(done.other)
                to.coming.append({new: found})
            case ("write", _File()):
                found.coming.append((done.place, done.data))
            case ("truncate", _File()):
                found.coming.append((done.place, None))
            case ("sync", _File()):
                found.safe, found.coming = _written(found.safe, found.coming), []
            case ("sync", _Folder()):
                found.safe, found.coming = found.now(), []
            case ("touch", _):
                pass
            case _:
                raise NotImplementedError(f"{done.kind} {done.path}")

    def now(self) -> State:
        """Return what a running program sees."""
        return dict(_states(self._root, self._tree, None))

    def lose(self, chance: random.Random) -> State:
        """Return what is there after a loss, one of the many states that are possible."""
        return dict(_states(self._root, self._tree, chance))

    def _place(self, path: str) -> tuple[_Folder, str]:
        """Return the folder of *path*, as it is seen now, and the name in it; no name for the root."""
        parts = Path(path).relative_to(self._root).parts
        if not parts:
            return self._tree, ""
        folder = self._tree
        for part in parts[:-1]:
            below = folder.now()[part]
            assert isinstance(below, _Folder)
            folder = below
        return folder, parts[-1]


def _states(path: str, folder: _Folder, chance: random.Random | None) -> Iterable[tuple[str, bytes | None]]:
    changes = folder.coming if chance is None else _kept(folder.coming, chance)
    for name, each in sorted(_named(folder.safe, changes).items()):
        below = f"{path}{os.sep}{name}"
        if isinstance(each, _Folder):
            yield below, None
            yield from _states(below, each, chance)
        else:
            yield below, _written(each.safe, each.coming if chance is None else _torn(each.coming, chance))


def _kept(changes: list[T], chance: random.Random) -> list[T]:
    """Return which of *changes* came to the disk before the power went."""
    how = chance.randrange(4)
    if how < 2:
        return changes * how
    if how == 2:
        return changes[: chance.randint(0, len(changes))]
    share = chance.random()
    return [change for change in changes if chance.random() < share]


def _torn(writes: list[tuple[int, bytes | None]], chance: random.Random) -> list[tuple[int, bytes | None]]:
    """Return which writes came to the disk, or at times which sectors of them."""
    if chance.randrange(3):
        return _kept(writes, chance)
    pieces: list[tuple[int, bytes | None]] = []
    for place, data in writes:
        if data is None:
            pieces.append((place, None))
            continue
        ends = [*range(SECTOR - place % SECTOR, len(data), SECTOR), len(data)]
        pieces += [(place + start, data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return _kept(pieces, chance)


def _named(
    names: "dict[str, _File | _Folder]", changes: "Iterable[dict[str, _File | _Folder | None]]"
) -> "dict[str, _File | _Folder]":
    named: dict[str, _File | _Folder | None] = {**names}
    for change in changes:
        named.update(change)
    return {name: each for name, each in named.items() if each is not None}


def _written(data: bytes, writes: Iterable[tuple[int, bytes | None]]) -> bytes:
    content = bytearray(data)
    for place, written in writes:
        if written is None:
            content = content[:place].ljust(place, b"\0")
        else:
            content = content.ljust(place, b"\0")
            content[place : place + len(written)] = written
    return bytes(content)
