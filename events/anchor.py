"""Where the history ends, kept outside the database: without it a lost tail leaves a shorter, valid history.

The file has two slots, 4,096 bytes apart so that no torn sector or page takes both:

    "SYNA" · seq, 8 bytes · hash, 32 bytes · CRC-32 of these, 4 bytes        (big-endian)

Writes alternate between them; the valid slot with the higher seq counts. A write goes to the page cache (a killed
process loses nothing there) and is forced to disk at most once a second and at the end: the log itself is forced to
disk before every acknowledgement, so a power cut can at worst leave the anchor a second behind.

- **Behind the log** is normal: the process ended between the commit and the anchor. Opening to write catches up.
- **Beyond the log, or another hash at its seq**: acknowledged events are gone or replaced. Nobody may go on.
- **Missing, or both slots damaged**, while the log has events: nothing can be said about the tail. `verify` reports
  it. Reading goes on; opening to write makes a new anchor, but only after the whole chain has been checked.
"""

import os
import struct
import time
import zlib
from io import FileIO
from pathlib import Path

from synlearner.events.files import sync_folder
from synlearner.events.types import Head

_SLOT = struct.Struct(">4sQ32s")
_CRC = struct.Struct(">I")
_SIZE = _SLOT.size + _CRC.size
_STRIDE = 4096
_MAGIC = b"SYNA"
_sync = getattr(os, "fdatasync", os.fsync)  # macOS and Windows have no fdatasync


class Anchor:
    """The head of the last acknowledged append, in a small file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._slot = 0
        self._synced = float("-inf")

    def read(self) -> Head | None:
        """Return the anchored head; None if the file is missing or neither slot is whole."""
        return next(iter(self.heads()), None)

    def heads(self) -> list[Head]:
        """Return what the whole ones of both slots say, the newest first."""
        return sorted((head for head in self._read_slots() if head), key=lambda head: -head.seq)

    def write(self, head: Head) -> None:
        """Anchor *head*. It survives the death of this process at once, and a power cut a second later."""
        file = self._file or self._open()
        record = _SLOT.pack(_MAGIC, head.seq, bytes.fromhex(head.hash))
        file.seek(self._slot * _STRIDE)
        file.write(record + _CRC.pack(zlib.crc32(record)))
        self._slot = 1 - self._slot
        now = time.monotonic()
        if now - self._synced >= 1:
            _sync(file.fileno())
            self._synced = now

    def close(self) -> None:
        """Force the anchor to disk and let go of its file."""
        if self._file:
            file, self._file = self._file, None
            with file:
                _sync(file.fileno())

    def _open(self) -> FileIO:
        first, second = self._read_slots()
        # The next write must not hit the slot that counts now.
        self._slot = 1 if first and (second is None or first.seq >= second.seq) else 0
        fresh = not self.path.exists()
        self._file = FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+")
        if fresh:
            sync_folder(self.path.parent)
        return self._file

    def _read_slots(self) -> tuple[Head | None, Head | None]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None, None
        return _parse(data[:_SIZE]), _parse(data[_STRIDE : _STRIDE + _SIZE])


def _parse(slot: bytes) -> Head | None:
    if len(slot) != _SIZE:
        return None
    record = slot[: _SLOT.size]
    magic, seq, digest = _SLOT.unpack(record)
    if magic != _MAGIC or _CRC.pack(zlib.crc32(record)) != slot[_SLOT.size :]:
        return None
    return Head(seq, digest.hex())
