"""What the log, the blobs and the anchor need of the file system."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synlearner.errors import ConfigError, LogError


def sync_folder(folder: Path) -> None:
    """Force the names in *folder* to disk."""
    if os.name == "nt":  # a folder cannot be opened there, and names are journaled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(file: Path, data: bytes) -> None:
    """Write *data* to *file*: on disk when this returns, and whole or not at all."""
    temporary = file.with_name(f".{file.name}.part")
    with temporary.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
    sync_folder(file.parent)


def cannot_write(path: Path, error: Exception) -> LogError:
    """Return the error for a write to *path* that failed and left nothing behind."""
    if getattr(error, "errno", None) == errno.ENOSPC or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        cause = f"no space left on the disk of '{path}': free some"
    else:
        cause = f"'{path}' cannot be written: {error}; see to that"
    return LogError(f"{cause} and run the same command again; nothing was lost")


def check_free(into: Path, what: str) -> None:
    """Raise ConfigError, which says *what* needs it, if there is something at *into*."""
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConfigError(f"'{into}' is not empty: {what}; pass a folder that does not exist")


@contextmanager
def appearing(into: Path, word: str) -> Iterator[Path]:
    """Give a folder to build in, beside *into*, that takes its place when all went well, and else is removed."""
    workplace = into.absolute().with_name(f".{into.absolute().name}.{word}-{os.getpid()}")
    try:
        into.absolute().parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(workplace, ignore_errors=True)
        yield workplace
        if into.exists():
            into.rmdir()
        workplace.rename(into)
        sync_folder(into.absolute().parent)
    except OSError as error:
        raise cannot_write(into, error) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
