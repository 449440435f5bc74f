"""The blobs of a home, moved to where a URL says."""

from pathlib import Path

from synlearner.errors import ConfigError
from synlearner.events.addresses import folder_of, is_address, shown
from synlearner.events.blobs import BlobStore
from synlearner.events.files import cannot_write
from synlearner.events.forked import ForkedLog
from synlearner.events.home import BLOBS, Home
from synlearner.events.remote_blobs import RemoteBlobs, note_place


def move_blobs(home: Path | str, url: str) -> int:
    """Bring all blobs of *home* to *url*, keep them there from now on, and return how many were brought.

    A home that does not exist is made. What is in the folder goes when every blob has been read back from its new
    place; cut off before that, the same call goes on.

    Raises:
        ConfigError: If *url* is none that can be used, *home* is a fork or in a database, or has its blobs elsewhere.
        HomeLocked: If another process writes to the home.
        LogError: If one of both places cannot be used now. Nothing was lost.
        NotTrusted: If a blob is not what was written.

    """
    if is_address(home):
        raise ConfigError(
            f"'{shown(home)}' names its blobs in its URL: `synlearner log copy` it to the same URL with a new schema "
            "and '&blobs=s3://bucket/prefix'"
        )
    path = folder_of(home, "moving blobs")
    with Home.open(path, write=True, create=True) as opened:
        if isinstance(opened.log, ForkedLog):
            raise ConfigError(f"'{path}' is a fork and reads blobs of its parent: `synlearner log copy` it first")
        there, here = RemoteBlobs(url, path / BLOBS), BlobStore(path / BLOBS)
        if isinstance(opened.blobs, RemoteBlobs) and opened.blobs.url != url:
            raise ConfigError(f"'{path}' has its blobs at '{opened.blobs.url}' already: pass that URL")
        digests = list(here.digests())
        for digest in digests:
            there.put(here.get(digest))
        for digest in digests:
            there.get(digest)
        try:
            note_place(path, url)
        except OSError as error:
            raise cannot_write(path, error) from error
        for digest in digests:
            here.remove(digest)
    return len(digests)
