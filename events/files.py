"""What the log, the blobs and the anchor need of the file system."""

import errno
import os
from pathlib import Path

from synlearner.errors import LogError


def sync_folder(folder: Path) -> None:
    """Force the names in *folder* to disk."""
    if os.name == "nt":  # a folder cannot be opened there, and names are journaled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: Exception) -> LogError:
    """Return the error for a write to *path* that failed and left nothing behind."""
    if getattr(error, "errno", None) == errno.ENOSPC or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        cause = f"no space left on the disk of '{path}': free some"
    else:
        cause = f"'{path}' cannot be written: {error}; see to that"
    return LogError(f"{cause} and run the same command again; nothing was lost")
