"""How far a damaged log can be trusted: up to the first event that is not what was written, or whose blob is not.

What counts is the chain. Whoever reads the file, and however, an event that follows from its predecessor by SHA-256 is
the one that was written.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

from synlearner.errors import ConfigError, CorruptLog, LogError, NotTrusted
from synlearner.events.blobs import BlobStore, references
from synlearner.events.checks import explain, open_row
from synlearner.events.codec import canonical_bytes
from synlearner.events.home import LOG
from synlearner.events.log import StoredLog
from synlearner.events.rows import Row
from synlearner.events.sqlite import PAGE
from synlearner.events.tombstones import open_tombstone
from synlearner.events.types import AnyFact, Event, Head, PayloadRedacted
from synlearner.events.verify import Problem

_VERSIONS = {cls.kind: cls.version for cls in get_args(AnyFact)}
_NEVER = 1 << 62


class Prefix(NamedTuple):
    """The part of a log that is what was written."""

    end: Head
    problem: Problem | None
    """Of the first event behind it; None where the log ends there, as far as it can be read."""
    marks: dict[int, str]
    """Hashes of the events that were asked for, as far as they are in it."""


def trusted_prefix(log: StoredLog, base: Head, blobs: BlobStore, home: Path, marks: Iterable[int] = ()) -> Prefix:
    """Return the longest prefix of *log* behind *base* that can be trusted, blobs included.

    Raises:
        LogError: If an event is what was written, and only a newer program can read it; or the disk cannot be read.

    """
    scan = _Scan(base, blobs, home, set(marks))
    problem: Problem | None = None
    try:
        for row in _rows(log, base.seq):
            problem = scan.take(row)
            if problem:
                break
    except CorruptLog as error:
        problem = Problem(scan.end.seq + 1, "", LOG, f"event {scan.end.seq + 1} cannot be read: {error}")
    return scan.cut(problem)


class _Scan:
    """What has been trusted so far."""

    def __init__(self, base: Head, blobs: BlobStore, home: Path, marks: set[int]) -> None:
        self.end = base
        self._blobs = blobs
        self._home = home
        self._wanted = marks
        self._marks = {base.seq: base.hash}
        self._whole: set[bytes] = set()
        self._holes: dict[int, _Hole] = {}

    def take(self, row: Row) -> Problem | None:
        """Go on by one event, or return what is wrong with it."""
        seq = self.end.seq + 1
        try:
            event = open_row(row, self.end.hash, seq)
        except CorruptLog as error:
            if row.kind not in _VERSIONS or row.version > _VERSIONS[row.kind]:
                raise LogError(
                    f"event {seq} is what was written, but not for this program: {error}; nothing was changed"
                ) from error
            return Problem(seq, row.kind, LOG, str(error))
        if event is None:
            event = open_tombstone(row, self.end.hash, seq)
            if event is None:
                return Problem(seq, str(row.kind), LOG, explain(row, self.end.hash, seq, ()))
            self._holes[seq] = _Hole(row.kind, row.payload_digest.hex(), self.end)
        elif canonical_bytes(row.payload) != row.payload:
            return Problem(seq, row.kind, LOG, "its payload is not canonical JSON: no SynLearner wrote it")
        problem = self._look_at_blobs(event)
        if problem is None:
            self._go_on(event)
        return problem

    def cut(self, problem: Problem | None) -> Prefix:
        """Return the prefix, without events whose payload is out and whose redaction is not in it."""
        end = self.end
        for seq in sorted(self._holes, reverse=True):
            # The newest first: what proves an older one stands behind it, and may have been cut off by then.
            hole = self._holes[seq]
            if seq <= end.seq < hole.proof:
                end = hole.before
                what = f"event {seq} ({hole.kind}): its payload is gone, and so is the event that says why"
                problem = Problem(seq, hole.kind, LOG, what)
        return Prefix(end, problem, {seq: hash_ for seq, hash_ in self._marks.items() if seq <= end.seq})

    def _go_on(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, PayloadRedacted) and fact.target in self._holes:
            hole = self._holes[fact.target]
            if hole.digest == fact.digest:
                self._holes[fact.target] = hole._replace(proof=min(event.seq, hole.proof))
        self.end = Head(event.seq, event.hash)
        if event.seq in self._wanted:
            self._marks[event.seq] = event.hash

    def _look_at_blobs(self, event: Event) -> Problem | None:
        for digest in references(event.fact):
            try:
                key = bytes.fromhex(digest)
                if key not in self._whole:
                    self._blobs.get(digest)
                    self._whole.add(key)
            except NotTrusted as error:
                file = Path(os.path.relpath(self._blobs.holder(digest).path(digest), self._home)).as_posix()
                return Problem(event.seq, event.kind, file, str(error))
            except (ConfigError, ValueError) as error:
                return Problem(event.seq, event.kind, LOG, str(error))
        return None


class _Hole(NamedTuple):
    """An event whose payload was taken out."""

    kind: str
    digest: str
    before: Head
    proof: int = _NEVER
    """Seq of the event that says so."""


def _rows(log: StoredLog, after: int) -> Iterator[Row]:
    """Yield the rows behind *after* up to the first that cannot be read. Raises CorruptLog there."""
    while True:
        try:
            page = list(log.rows(after=after, until=after + PAGE))
        except CorruptLog:
            for seq in range(after + 1, after + PAGE + 1):
                yield from list(log.rows(after=seq - 1, until=seq))
            raise
        if not page:
            return
        yield from page
        after = max(after + 1, page[-1].seq)
