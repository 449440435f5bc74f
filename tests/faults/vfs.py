"""SQLite's files on a `Disk`: its default VFS, with the functions that touch the disk replaced, by ctypes alone.

Files on the disk are opened by SQLite's own code and then get another table of functions, which asks the disk first and
goes on with SQLite's own. Locks and shared memory stay what they are. What SQLite forces to disk along with a new
write-ahead log, the folder that names it, it tells nobody; so its call that opens the folder is listened to.
"""

import _sqlite3
import ctypes as ct
import errno
import os
import sqlite3
from typing import Any

from faults.disk import Disk

_POINTER, _INT, _LONG = ct.c_void_p, ct.c_int, ct.c_int64
_CLOSE = ct.CFUNCTYPE(_INT, _POINTER)
_DATA = ct.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, _LONG)
_TRUNCATE = ct.CFUNCTYPE(_INT, _POINTER, _LONG)
_SYNC = ct.CFUNCTYPE(_INT, _POINTER, _INT)
_SIZE = ct.CFUNCTYPE(_INT, _POINTER, ct.POINTER(_LONG))
_MAP = ct.CFUNCTYPE(_INT, _POINTER, _INT, _INT, _INT, ct.POINTER(_POINTER))
_OPEN = ct.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER, _INT, ct.POINTER(_INT))
_DELETE = ct.CFUNCTYPE(_INT, _POINTER, ct.c_char_p, _INT)
_FOLDER = ct.CFUNCTYPE(_INT, ct.c_char_p, ct.POINTER(_INT))
_SET_CALL = ct.CFUNCTYPE(_INT, _POINTER, ct.c_char_p, _POINTER)
_GET_CALL = ct.CFUNCTYPE(_POINTER, _POINTER, ct.c_char_p)

_METHODS = {"read": 1, "write": 2, "truncate": 3, "sync": 4, "stat": 5, "share": 12}
"""Places in the table of a file's functions, behind its version: https://sqlite.org/c3ref/io_methods.html."""
_TYPES: dict[str, Any] = {
    "read": _DATA, "write": _DATA, "truncate": _TRUNCATE, "sync": _SYNC, "stat": _SIZE, "share": _MAP
}  # fmt: skip
_CODES = {
    "read": sqlite3.SQLITE_IOERR_READ,
    "write": sqlite3.SQLITE_IOERR_WRITE,
    "truncate": sqlite3.SQLITE_IOERR_TRUNCATE,
    "sync": sqlite3.SQLITE_IOERR_FSYNC,
    "stat": sqlite3.SQLITE_IOERR_FSTAT,
    "share": sqlite3.SQLITE_IOERR_SHMMAP,
    "unlink": sqlite3.SQLITE_IOERR_DELETE,
    "open": sqlite3.SQLITE_CANTOPEN,
    "create": sqlite3.SQLITE_CANTOPEN,
}


class _Vfs(ct.Structure):
    """https://sqlite.org/c3ref/vfs.html."""

    _fields_ = [
        ("version", _INT), ("size", _INT), ("longest", _INT), ("next", _POINTER), ("name", ct.c_char_p),
        ("data", _POINTER), ("open", _POINTER), ("delete", _POINTER), ("rest", _POINTER * 11),
        ("set_call", _POINTER), ("get_call", _POINTER), ("next_call", _POINTER),
    ]  # fmt: skip


class _Methods(ct.Structure):
    _fields_ = [("version", _INT), ("functions", _POINTER * 18)]


_INSTALLED: "list[Files]" = []
"""SQLite keeps their addresses."""


class Files:
    """What stands between SQLite and *disk* for the life of this process."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # A module that is built in has no file, and its symbols are those of the process.
        library = ct.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = ct.POINTER(_Vfs)
        found = library.sqlite3_vfs_find(None).contents
        self._vfs = _Vfs.from_buffer_copy(found)
        self._vfs.name = b"faults"
        self._paths: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._real_open, self._real_delete = _OPEN(found.open), _DELETE(found.delete)
        self._kept: list[Any] = [_OPEN(self._open), _DELETE(self._delete)]
        self._vfs.open, self._vfs.delete = (ct.cast(each, _POINTER).value for each in self._kept)
        self._listen()
        if library.sqlite3_vfs_register(ct.byref(self._vfs), 1):
            raise RuntimeError("SQLite does not take another VFS")
        _INSTALLED.append(self)

    def _listen(self) -> None:
        call = _GET_CALL(self._vfs.get_call)(ct.addressof(self._vfs), b"openDirectory")
        real = _FOLDER(call)

        def folder(path: bytes, handle: Any) -> int:
            done = real(path, handle)
            # It is asked for with the name of a file in it, and only to be forced to disk.
            self._disk.did("sync", os.path.dirname(os.fsdecode(path)))  # noqa: PTH120  # no Path below a Path
            return int(done)

        self._kept.append(_FOLDER(folder))
        _SET_CALL(self._vfs.set_call)(ct.addressof(self._vfs), b"openDirectory", ct.cast(self._kept[-1], _POINTER))

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
        # A bare address, for SQLite keeps it and looks at what stands there as long as the file is open.
        path = os.fsdecode(ct.string_at(name)) if name else ""
        if not self._disk.watches(path):
            return int(self._real_open(vfs, name, file, flags, out))
        fresh = bool(flags & 4) and not os.access(path, os.F_OK)  # SQLITE_OPEN_CREATE
        kind = "create" if fresh else "open"
        if self._disk.meet(kind, path):
            return _CODES[kind]
        done = int(self._real_open(vfs, name, file, flags, out))
        if done == 0:
            if fresh:
                self._disk.did("create", path)
            self._paths[file] = path
            methods = ct.cast(file, ct.POINTER(_POINTER))
            methods[0] = ct.addressof(self._table(methods[0]))
        return done

    def _delete(self, vfs: int, name: bytes, sync: int) -> int:
        path = os.fsdecode(name)
        if self._disk.meet("unlink", path):
            return _CODES["unlink"]
        done = int(self._real_delete(vfs, name, sync))
        if done == 0:
            self._disk.did("unlink", path)
        return done

    def _table(self, real: int) -> _Methods:
        """Return the table that takes the place of the one at *real*."""
        if real not in self._tables:
            methods = _Methods.from_buffer_copy(ct.cast(real, ct.POINTER(_Methods)).contents)
            for kind, place in _METHODS.items():
                if methods.functions[place]:  # not every kind of file shares memory
                    own = _TYPES[kind](methods.functions[place])
                    self._kept.append(_TYPES[kind](self._function(kind, own)))
                    methods.functions[place] = ct.cast(self._kept[-1], _POINTER).value
            self._tables[real] = methods
        return self._tables[real]

    def _function(self, kind: str, real: Any) -> Any:
        disk, paths = self._disk, self._paths

        def plain(file: int, *values: Any) -> int:
            return _CODES[kind] if disk.meet(kind, paths[file]) else int(real(file, *values))

        def write(file: int, data: int, size: int, place: int) -> int:
            error = disk.meet("write", paths[file])
            size = size // 2 if error else size  # a write that fails may have come half the way
            done = int(real(file, data, size, place))
            if done == 0:
                disk.did("write", paths[file], place, ct.string_at(data, size))
            if error:
                return sqlite3.SQLITE_FULL if error == errno.ENOSPC else _CODES["write"]
            return done

        def truncate(file: int, size: int) -> int:
            done = plain(file, size)
            if done == 0:
                disk.did("truncate", paths[file], size)
            return done

        def sync(file: int, flags: int) -> int:
            # SQLite's own function is called all the same: it also forces the folder of a new write-ahead log.
            if disk.meet("sync", paths[file]):
                return _CODES["sync"]
            disk.did("sync", paths[file])
            return int(real(file, flags))

        return {"write": write, "truncate": truncate, "sync": sync}.get(kind, plain)
