"""A disk between the log and the real one: it fails when it is told to, and keeps a record of what it was asked.

It stands below Python's files in the place of functions of `os`: `io.open` becomes that of `_pyio`, which is the same in
Python and does everything through `os`. Below SQLite it stands as a VFS (`vfs.py`). Files outside its root are left alone.
"""

import _pyio  # type: ignore[import-not-found]  # typeshed does not know it
import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NEEDS_SPACE = {"create", "write", "truncate", "sync", "rename", "link", "mkdir", "share"}
"""What can fail for want of space. With EIO everything can."""


class Operation(NamedTuple):
    """One thing that was done to a file or a folder, or that was to be done and failed."""

    kind: str
    """create, open, read, write, truncate, sync, rename, link, unlink, mkdir, rmdir, stat, touch, share (memory)."""
    path: str
    place: int = 0
    """Offset of a write; size after a truncation."""
    data: bytes = b""
    other: str = ""
    """The new name."""


class Fault(NamedTuple):
    """Which operation fails (the first is 1), with which errno, and whether all that come later fail too."""

    at: int
    error: int
    forever: bool

    def __str__(self) -> str:
        return f"operation {self.at} failed {'for ever' if self.forever else 'once'} with {errno.errorcode[self.error]}"


class Disk:
    """What is below *root*, once it is installed. Nothing is forced to the real disk: that would only take time."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._fault: Fault | None = None
        self.failed = 0
        """Operations that were made to fail."""
        self.met: list[Operation] = []
        """Operations since `begin`, whatever came of them."""
        self.record: list[Operation] | None = None
        """What has been done since this was set to a list, and can be lost with the power."""
        self._paths: dict[int, str] = {}

    def begin(self, fault: Fault | None = None) -> None:
        """Start to count operations, of which *fault* fails."""
        self._fault, self.failed, self.met = fault, 0, []

    def watches(self, path: str) -> bool:
        """Return whether *path* is on this disk."""
        return path.startswith(self.root)

    def meet(self, kind: str, path: str) -> int:
        """Count an operation that is about to be done; return the errno that it fails with, or 0."""
        if not self.watches(path):
            return 0
        self.met.append(Operation(kind, path))
        at, error, forever = self._fault or (0, 0, False)
        if not error or len(self.met) < at or (len(self.met) > at and not forever):
            return 0
        if error == errno.ENOSPC and kind not in NEEDS_SPACE:
            return 0
        self.failed += 1
        return error

    def did(self, kind: str, path: str, place: int = 0, data: bytes = b"", other: str = "") -> None:
        """Note what has been done."""
        if self.record is not None and self.watches(path):
            self.record.append(Operation(kind, path, place, data, other))

    # ---- below Python's files ------------------------------------------------------------------------------------

    def install(self) -> None:
        """Stand below all files that Python opens from now on; before `synlearner.events` is imported."""
        for name in ("open", "close", "read", "write", "ftruncate", "fsync", "fdatasync"):
            if hasattr(os, name):
                setattr(os, name, self._on_handle(name, getattr(os, name)))
        for name, kind in (("mkdir", "mkdir"), ("rmdir", "rmdir"), ("unlink", "unlink"), ("remove", "unlink"),
                           ("utime", "touch"), ("stat", "stat")):  # fmt: skip
            setattr(os, name, self._on_name(kind, getattr(os, name)))
        for name, kind in (("rename", "rename"), ("replace", "rename"), ("link", "link")):
            setattr(os, name, self._on_two_names(kind, getattr(os, name)))
        for module, name in ((io, "open"), (builtins, "open"), (io, "FileIO")):
            setattr(module, name, getattr(_pyio, name))

    def _raise_if(self, kind: str, path: str) -> None:
        error = self.meet(kind, path)
        if error:
            raise OSError(error, os.strerror(error), path)

    def _on_handle(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        wrapped: dict[str, Callable[..., Any]] = {
            "open": self._open(real),
            "close": self._close(real),
            "read": self._read(real),
            "write": self._write(real),
            "ftruncate": self._truncate(real),
        }
        return wrapped.get(name, self._sync)

    def _open(self, real: Callable[..., int]) -> Callable[..., int]:
        def open_(path: Any, flags: int, *more: Any, **named: Any) -> int:
            name = _text(path)
            fresh = bool(flags & os.O_CREAT) and not os.access(name, os.F_OK)
            self._raise_if("create" if fresh else "open", name)
            handle = real(path, flags, *more, **named)
            if self.watches(name):
                self._paths[handle] = name
            if fresh:
                self.did("create", name)
            elif flags & os.O_TRUNC:
                self.did("truncate", name)
            return handle

        return open_

    def _close(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def close(handle: int) -> None:
            self._paths.pop(handle, None)
            real(handle)

        return close

    def _read(self, real: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
        def read(handle: int, size: int) -> bytes:
            self._raise_if("read", self._paths.get(handle, ""))
            return real(handle, size)

        return read

    def _write(self, real: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
        def write(handle: int, data: bytes) -> int:
            path = self._paths.get(handle, "")
            error = self.meet("write", path)
            place = os.lseek(handle, 0, os.SEEK_CUR) if path else 0
            data = bytes(data)
            data = data[: len(data) // 2] if error else data  # a write that fails may have come half the way
            written = real(handle, data)
            self.did("write", path, place, data[:written])
            if error:
                raise OSError(error, os.strerror(error), path)
            return written

        return write

    def _truncate(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def ftruncate(handle: int, size: int) -> None:
            path = self._paths.get(handle, "")
            self._raise_if("truncate", path)
            real(handle, size)
            self.did("truncate", path, size)

        return ftruncate

    def _sync(self, handle: int) -> None:
        path = self._paths.get(handle, "")
        self._raise_if("sync", path)
        self.did("sync", path)

    def _on_name(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def on_name(path: Any, *more: Any, **named: Any) -> Any:
            name = self._paths.get(path, "") if isinstance(path, int) else _text(path)
            self._raise_if(kind, name)
            done = real(path, *more, **named)
            if kind != "stat":
                self.did(kind, name)
            return done

        return on_name

    def _on_two_names(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def on_two_names(path: Any, new: Any, *more: Any, **named: Any) -> None:
            self._raise_if(kind, _text(new))
            real(path, new, *more, **named)
            self.did(kind, _text(path), other=_text(new))

        return on_two_names


def _text(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # a Path would come back here
