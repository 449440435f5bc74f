"""One writer to a home at a time. The kernel releases the lock when its process dies, so it is never stale."""

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from synlearner.errors import HomeLocked

if sys.platform == "win32":  # pragma: no cover  # there are no tests on Windows
    import msvcrt

    def _try_lock(handle: int) -> bool:
        # Far behind the text: a locked byte cannot be read by others, and they want to read who holds the lock.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class WriterLock:
    """The right to write to a home, held through an open file that names its holder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises HomeLocked, which names the process that holds it."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(handle):
            os.lseek(handle, 0, os.SEEK_SET)
            holder = os.read(handle, 100).decode(errors="replace").strip()
            os.close(handle)
            raise HomeLocked(
                f"'{self.path.parent}' is being written by {holder or 'another process'}: "
                "a home has one writer; wait until it ends, or stop it"
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"process {os.getpid()} (since {since})\n".encode())
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def release(self) -> None:
        """Give the lock back. The file stays: to remove it would let two processes lock two files of one name."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):  # only the name of the holder: closing is what gives the lock back
                os.ftruncate(handle, 0)
            os.close(handle)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
