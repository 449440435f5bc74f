"""Ways to make SQLite read a damaged log once more: on a copy, and whatever comes out is judged by the chain.

- **The header or the first page** of our files is known: it is taken from a new log.
- **The write-ahead log** is read by SQLite up to the first frame whose checksum is wrong, although the frames behind it
  are whole and committed. With the checksums computed anew it reads them all.
"""

import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events.database import PAGE_SIZE
from synlearner.events.home import LOG
from synlearner.events.sqlite import SqliteLog
from synlearner.events.types import Head

_WAL = struct.Struct(">IIIIII")  # magic, version, page size, checkpoints, two salts; then a checksum of 8 bytes
_FRAME = struct.Struct(">IIII")  # page, pages of the database after a commit, two salts; then a checksum
_MAGIC, _VERSION = 0x377F0682, 3007000
_HEADER = 100
"""Bytes of a SQLite file that say what it is."""

Way = tuple[int, bool]
"""Bytes at the beginning that are taken from a new log; whether the WAL's checksums are computed anew."""
AS_IT_IS: Way = (0, False)


class Salvage:
    """A damaged log, and a folder to work in, which is made when it is first needed."""

    def __init__(self, home: Path, workplace: Path, base: Head) -> None:
        self._home = home
        self._workplace = workplace
        self._base = base

    def ways(self) -> Iterator[Way]:
        """Yield in which ways the log can be tried to be read, the plain one first."""
        yield AS_IT_IS
        if not (self._home / LOG).exists():
            return
        size = _page_size(self._home / LOG)
        wal = (self._home / f"{LOG}-wal").exists()
        for beginning in (0, _HEADER, size) if size == PAGE_SIZE else (0, _HEADER):
            for mended in (False, True) if wal else (False,):
                if beginning or mended:
                    yield beginning, mended

    @contextmanager
    def open(self, way: Way) -> Iterator[SqliteLog | None]:
        """Give the log, read in this way; None if it cannot be opened so. Raises LogError for a newer format."""
        log: SqliteLog | None = None
        try:
            folder = self._home if way == AS_IT_IS else self._prepared(*way)
            log = SqliteLog(folder / LOG, anchor=None, write=False, base=self._base)
        except (ConfigError, CorruptLog):
            pass
        try:
            yield log
        finally:
            if log:
                log.close()

    def _prepared(self, beginning: int, mended: bool) -> Path:  # a Way, taken apart
        """Return a folder with a copy of the log that is changed in this way."""
        copy, old = self._workplace / LOG, self._home / LOG
        if not copy.exists():
            self._workplace.mkdir(exist_ok=True)
            shutil.copyfile(old, copy)
        for name in (f"{LOG}-wal", f"{LOG}-shm"):
            (self._workplace / name).unlink(missing_ok=True)
        size = _page_size(old)
        with copy.open("r+b") as file, old.open("rb") as original:
            file.write(original.read(size))
            if beginning:
                file.seek(0)
                file.write(self._new_beginning(size)[:beginning])
        wal = self._home / f"{LOG}-wal"
        if wal.exists():
            data = wal.read_bytes()
            (self._workplace / wal.name).write_bytes(mend_wal(data, size) if mended else data)
        return self._workplace

    def _new_beginning(self, size: int) -> bytes:
        """Return the first page of a new log, which leaves it to the file and its WAL how long it is."""
        new = self._workplace / "new.sqlite"
        if not new.exists():
            SqliteLog(new, anchor=None, write=True).close()
        with (self._home / LOG).open("rb") as original:
            first = original.read(_HEADER)
        page = bytearray(new.read_bytes()[:size])
        page[16:18] = struct.pack(">H", 1 if size == 65536 else size)
        # A length of 0 is none; the list of free pages is not trusted.
        page[28:40] = bytes(12)
        if first[60:64] == struct.pack(">I", 1):  # of format 1, whose tables are others
            page[60:64] = first[60:64]
        return bytes(page)


def mend_wal(data: bytes, page_size: int) -> bytes:
    """Return a write-ahead log whose frames have the checksums of what is in them, up to the last one of its series."""
    frames = [data[start : start + 24 + page_size] for start in range(32, len(data) - 23 - page_size, 24 + page_size)]
    if not frames:
        return data
    salts = [_FRAME.unpack(frame[:16])[2:] for frame in frames]
    header = _WAL.unpack(data[:24])
    # One flipped bit in the header's salts would disown all frames: then the first frame says.
    series = header[4:] if header[4:] in salts else salts[0]
    last = max(place for place, salt in enumerate(salts) if salt == series)
    head = _WAL.pack(_MAGIC | header[0] & 1, _VERSION, page_size, header[3], *series)
    order = ">" if header[0] & 1 else "<"
    sums = _checksum(head, (0, 0), order)
    parts = [head, struct.pack(">II", *sums)]
    for frame in frames[: last + 1]:
        page, commit, *_ = _FRAME.unpack(frame[:16])
        sums = _checksum(frame[:8] + frame[24:], sums, order)
        parts += [_FRAME.pack(page, commit, *series), struct.pack(">II", *sums), frame[24:]]
    return b"".join(parts)


def _checksum(data: bytes, sums: Sequence[int], order: str) -> tuple[int, int]:
    """Return the checksum of the format: https://www.sqlite.org/fileformat2.html#checksum_algorithm."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & 0xFFFFFFFF
        second = (second + words[place + 1] + first) & 0xFFFFFFFF
    return first, second


def _page_size(file: Path) -> int:
    """Return what the header says, if that can be."""
    if not file.exists():
        return PAGE_SIZE
    with file.open("rb") as opened:
        header = opened.read(18)
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else PAGE_SIZE
