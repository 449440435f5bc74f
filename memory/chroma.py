"""A copy of the vectors in ChromaDB: disposable, append-only, and never believed. The only file that imports it.

What was measured of it shapes this file. Two builds of the same data differ: so it only
proposes ids, and who asks computes the cosines again. Two processes destroy a collection: so only the process that
holds the home writable ever opens it. Filters and metadata are a hundred times slower: so there are none. Deleting
and replacing leak: so a generation is only added to, and a new one starts in a fresh folder. A damaged file can end
the process: so a status beside it holds checksums, and what does not match is never opened.
"""

import os
import re
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import msgspec

from synlearner.errors import ConfigError
from synlearner.memory.codes import Matrix

PAGE = 1_000
"""Vectors in one call. Chroma takes at most 5,461, and writes its index every 1,000."""


class MirrorBroken(Exception):
    """The mirror cannot be used. Nothing is lost: scan, and `reset` it. Never seen outside this room."""


class _Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of the current generation, stored beside it."""

    fingerprint: str
    dimension: int
    generation: int
    folder: str
    clean: bool = False
    """Whether nobody was writing when this was stored."""
    watermark: int = 0
    """Seq of the last event whose vector is inside."""
    content: str = ""
    """Digest of the ids inside, in order."""
    canary: float = 0.0
    """Share of the nearest vectors that it found when it was tried."""
    items: int = 0
    files: dict[str, int] = {}
    """CRC-32 of each index file."""


class ChromaMirror:
    """A `VectorIndex` over one collection. Every failure is a MirrorBroken, from any method but `close`.

    Args:
        folder: Holds the status and one folder per generation; nothing else.
        fingerprint: Of the embedder. Another one starts a new generation.
        dimension: Of the vectors.

    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._client: Any = None
        self._collection: Any = None
        self._writing = False
        self._status = self._read_status()

    @property
    def watermark(self) -> int:
        """Seq of the last event whose vector is inside; 0 if there is no usable generation."""
        return self._status.watermark if self._status and self._status.clean else 0

    @property
    def content(self) -> str:
        """What the last `commit` said is inside."""
        return self._status.content if self._status and self._status.clean else ""

    @property
    def canary(self) -> float:
        """Share of the nearest vectors that it found when it was last tried; 0 if it was not."""
        return self._status.canary if self._status else 0.0

    @property
    def generation(self) -> int:
        """Number of the current generation; 0 if there is none."""
        return self._status.generation if self._status else 0

    def add(self, ids: Sequence[str], vectors: Matrix) -> None:
        """Take in unit *vectors*, shape `(len(ids), dimension)`. An id that is there already stays as it is."""
        with _contained():
            collection = self._writable()
            for start in range(0, len(ids), PAGE):
                page = dict(zip(ids[start : start + PAGE], vectors[start : start + PAGE], strict=True))
                collection.add(ids=list(page), embeddings=list(page.values()))

    def search(self, vector: Matrix, k: int) -> list[tuple[str, float]]:
        """Return up to *k* (id, cosine), highest first, ties by id. Some may be missing, and cosines are rough."""
        with _contained():
            collection = self._readable()
            if k <= 0 or collection is None or not collection.count():
                return []
            found = collection.query(query_embeddings=[vector], n_results=k, include=["distances"])
            pairs = zip(found["ids"][0], found["distances"][0], strict=True)
            return sorted(((str(id_), 1.0 - float(distance)) for id_, distance in pairs), key=lambda p: (-p[1], p[0]))

    def __len__(self) -> int:
        with _contained():
            collection = self._readable()
            return 0 if collection is None else int(collection.count())

    def commit(self, watermark: int, content: str, canary: float = 1.0) -> None:
        """Declare what was added to be complete up to the seq *watermark*; *content* is a digest of all ids."""
        with _contained():
            items = int(self._writable().count())
            self.close()  # the files are settled when the client is gone
            status = self._known_status()
            self._write_status(
                msgspec.structs.replace(
                    status,
                    clean=True,
                    watermark=watermark,
                    content=content,
                    canary=canary,
                    items=items,
                    files=self._checksums(status),
                )
            )

    def reset(self) -> None:
        """Start over with an empty generation in a fresh folder, and remove the old ones."""
        self.close()
        with _contained():
            for old in self._folder.glob("g*"):
                shutil.rmtree(old, ignore_errors=True)
            self._write_status(self._fresh_status())

    def close(self) -> None:
        """Let go of the collection. May be called twice."""
        client, self._client, self._collection, self._writing = self._client, None, None, False
        if client is not None:
            with suppress(MirrorBroken), _contained():
                client.close()

    def _readable(self) -> Any:
        """Return the open collection; None if there is none yet."""
        if self._collection is None and self._status is not None and self._verified(self._status):
            self._connect(self._status)
        return self._collection

    def _writable(self) -> Any:
        """Return the open collection. From here until `commit` nobody else may trust its files."""
        if not self._writing:
            if self._collection is None and self._status is not None:
                self._verified(self._status)
            self._write_status(msgspec.structs.replace(self._known_status(), clean=False))
            self._writing = True
        if self._collection is None:
            self._connect(self._known_status())
        return self._collection

    def _verified(self, status: _Status) -> bool:
        """Return whether there is a generation, as `commit` left it. Raises MirrorBroken if it is anything else."""
        if status.clean:
            if self._checksums(status) != status.files:
                raise MirrorBroken(f"files of generation {status.generation} are not what was written")
        elif (self._folder / status.folder).exists():
            raise MirrorBroken(f"generation {status.generation} was not finished")
        return status.clean

    def _connect(self, status: _Status) -> None:
        _check_unlocked(self._folder / status.folder / "chroma.sqlite3")
        import chromadb  # noqa: PLC0415 - takes 0.7 s, and only a large memory needs it

        settings = chromadb.config.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(self._folder / status.folder, settings=settings)
        self._collection = self._client.get_or_create_collection(
            f"s-{safe_name(self._fingerprint)}-{self._dimension}-g{status.generation}",
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": 200}},
        )
        if self._collection.count() != status.items:
            raise MirrorBroken(f"it holds {self._collection.count()} vectors, its status says {status.items}")

    def _checksums(self, status: _Status) -> dict[str, int]:
        """Return the CRC-32 of each file but the database, which changes when it is opened, and checks itself."""
        root = self._folder / status.folder
        files = sorted(path for path in root.rglob("*") if path.is_file() and "sqlite3" not in path.name)
        return {path.relative_to(root).as_posix(): zlib.crc32(path.read_bytes()) for path in files}

    def _known_status(self) -> _Status:
        return self._status or self._fresh_status()

    def _fresh_status(self) -> _Status:
        generation = self.generation + 1
        # A path that was used before may still be held by the library.
        name = f"g{generation:04}-{uuid4().hex[:8]}"
        return _Status(fingerprint=self._fingerprint, dimension=self._dimension, generation=generation, folder=name)

    def _read_status(self) -> _Status | None:
        try:
            status = msgspec.json.decode((self._folder / "mirror.json").read_bytes(), type=_Status)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        known = (status.fingerprint, status.dimension) == (self._fingerprint, self._dimension)
        # The folder's name comes from a file that may be damaged.
        return status if known and re.fullmatch(r"g\d+-[0-9a-f]{8}", status.folder) else None

    def _write_status(self, status: _Status) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / "mirror.json.new"
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(status))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / "mirror.json")
        self._status = status


def _check_unlocked(database: Path) -> None:
    """Raise MirrorBroken if somebody holds the database: the library would wait for as long as they do."""
    if database.exists():
        with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as probe:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")


def safe_name(fingerprint: str) -> str:
    """Return *fingerprint* as a part of a file or collection name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", fingerprint)[:60]


@contextmanager
def _contained() -> Iterator[None]:
    try:
        yield
    except (MirrorBroken, ConfigError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust core is no Exception
        raise MirrorBroken(f"{type(error).__name__}: {error}") from error


def read_collection(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield document and metadata of each row of somebody's collection; vectors of unknown models are left behind.

    Raises:
        ConfigError: If there is no such collection, or ChromaDB cannot open the folder.

    """
    if not (path / "chroma.sqlite3").is_file():
        raise ConfigError(f"'{path}' is no ChromaDB folder: name one with a chroma.sqlite3 in it")
    try:
        with _contained(), _copied(path) as folder:
            import chromadb  # noqa: PLC0415

            settings = chromadb.config.Settings(anonymized_telemetry=False)
            client: Any = chromadb.PersistentClient(folder, settings=settings)
            try:
                names = sorted(each.name for each in client.list_collections())
                wanted = name or (names[0] if len(names) == 1 else "")
                if wanted not in names:
                    known = ", ".join(names) or "none"
                    raise ConfigError(
                        f"'{path}' has no collection {name!r}: name one with --collection; it has {known}"
                    )
                collection = client.get_collection(wanted, embedding_function=None)
                for start in range(0, collection.count(), PAGE):
                    page = collection.get(limit=PAGE, offset=start, include=["documents", "metadatas"])
                    for text, metadata in zip(page["documents"] or [], page["metadatas"] or [], strict=True):
                        yield {"content": text or "", "metadata": dict(metadata or {})}
            finally:
                client.close()
    except MirrorBroken as error:
        raise ConfigError(
            f"ChromaDB cannot read '{path}' ({error}): export it as JSONL where it still opens"
        ) from error


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """Yield a copy of a ChromaDB folder: opening one may migrate it, and it is not ours."""
    with TemporaryDirectory() as folder:
        yield Path(shutil.copytree(path, Path(folder) / "copy"))
