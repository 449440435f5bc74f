"""Is all of a home what was written? Every event, the anchor, and every blob that an event names.

Damage is reported and never raised, and the look goes on behind it. Memory stays bounded, but for 65 bytes or so per
blob that is named, and for the first problems.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from synlearner.errors import ConfigError, CorruptLog, NotTrusted
from synlearner.events.anchor import Anchor
from synlearner.events.blobs import BlobStore, references
from synlearner.events.checks import explain, fault, missing, recompute
from synlearner.events.codec import canonical_bytes, decode
from synlearner.events.home import ANCHOR, BLOBS, LOG, check_home
from synlearner.events.rows import Row
from synlearner.events.sqlite import PAGE, SqliteLog
from synlearner.events.types import EMPTY, Head

MOST = 1000
"""Problems that are listed: behind so many, one more says that there are others."""

SEARCHES = 8
"""Events behind which all others are read, to see whether they only changed places."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not what was written."""

    seq: int | None
    """The event, if it is about one."""
    kind: str
    """Of the event, as far as it can be read; empty else."""
    file: str
    """Inside the home."""
    what: str


class Report(msgspec.Struct, frozen=True):
    """What `verify` found. No problems: everything is what was written."""

    events: int
    digest: str
    """Hash of the last event, as it is stored."""
    blobs: int
    """Blobs that the events name."""
    problems: list[Problem]


def verify(home_path: Path | str) -> Report:
    """Check the home at *home_path*, without the writer's lock: it may be written to meanwhile.

    Raises:
        ConfigError: If there is no home.
        LogError: If it cannot be read now, or a newer program wrote it.

    """
    home = Path(home_path)
    survey = _Survey(home)
    try:
        check_home(home)
        # The anchor first: what is anchored now must be in the log then.
        survey.anchored = Anchor(home / ANCHOR).read()
        log = _open(home, survey)
    except CorruptLog as error:
        survey.report(None, "", LOG, str(error))
        return survey.done()
    if log is None:
        return survey.done()
    try:
        survey.look_at_events(log)
    finally:
        log.close()
    survey.look_at_anchor()
    return survey.done()


def _open(home: Path, survey: "_Survey") -> SqliteLog | None:
    try:
        return SqliteLog(home / LOG, anchor=None, write=False)
    except ConfigError as error:  # a damaged header looks like a foreign file
        survey.report(None, "", LOG, str(error))
        return None


class _Survey:
    """What has been found so far."""

    def __init__(self, home: Path) -> None:
        self.anchored: Head | None = None
        self._home = home
        self._store = BlobStore(home / BLOBS)
        self._problems: list[Problem] = []
        self._blobs: set[bytes] = set()
        self._events = 0
        self._head = EMPTY
        self._anchored_hash = EMPTY.hash

    def report(self, seq: int | None, kind: str, file: str, what: str) -> None:
        if len(self._problems) < MOST:
            self._problems.append(Problem(seq, kind, file, what))
        elif len(self._problems) == MOST:
            self._problems.append(Problem(None, "", file, f"more than {MOST} problems: the others are not listed"))

    def done(self) -> Report:
        return Report(self._events, self._head.hash, len(self._blobs), self._problems)

    def look_at_events(self, log: SqliteLog) -> None:
        expected = 1
        # After a row that does not fit, either its stored hash is damaged or something else in it is. So the next row
        # may follow from the stored one, which comes first here, or from the recomputed one.
        previous = [EMPTY.hash]
        for row in self._rows(log):
            if row.seq > expected:
                self.report(expected, "", LOG, missing(expected, row.seq - 1))
                self._look_at_content(row)
                previous = [_hex(row.hash)]
            else:
                previous = self._look_at(row, previous, expected, log)
            self._events += 1
            self._head = Head(row.seq, _hex(row.hash))
            if self.anchored and self.anchored.seq == row.seq:
                self._anchored_hash = _hex(row.hash)
            expected = row.seq + 1
        try:
            for problem in log.problems():
                self.report(None, "", LOG, problem)
        except NotTrusted as error:
            self.report(None, "", LOG, str(error))

    def look_at_anchor(self) -> None:
        anchored, end = self.anchored, self._head.seq
        if anchored is None:
            if end:
                self.report(None, "", ANCHOR, "missing or damaged: whether events are missing at the end is unknown")
        elif anchored.seq > end:
            gone = missing(end + 1, anchored.seq)
            self.report(end + 1, "", LOG, f"{gone}: acknowledged, says the anchor, but the log ends at {end}")
        elif anchored.hash != self._anchored_hash:
            self.report(anchored.seq, "", ANCHOR, f"event {anchored.seq} is not the one that was acknowledged")

    def _look_at(self, row: Row, previous: list[str], expected: int, log: SqliteLog) -> list[str]:
        """Check one row and return the hashes that the next one may follow from."""
        if any(fault(row, hash_, expected) == "" for hash_ in previous):
            self._look_at_content(row)
            return [_hex(row.hash)]
        others = log.rows() if len(self._problems) < SEARCHES else ()
        try:
            what = explain(row, previous[0], expected, others)
        except NotTrusted:
            what = explain(row, previous[0], expected, ())
        self.report(row.seq, str(row.kind), LOG, what)
        computed = recompute(row, previous[-1], expected)
        return [_hex(row.hash), computed] if computed else [_hex(row.hash)]

    def _look_at_content(self, row: Row) -> None:
        try:
            fact = decode(row.kind, row.version, row.payload)
            if canonical_bytes(row.payload) != row.payload:
                self.report(row.seq, row.kind, LOG, "its payload is not canonical JSON: no SynLearner wrote it")
        except CorruptLog as error:
            self.report(row.seq, str(row.kind), LOG, str(error))
            return
        for digest in references(fact):
            self._look_at_blob(row, digest)

    def _look_at_blob(self, row: Row, digest: str) -> None:
        try:
            file = str(self._store.path(digest).relative_to(self._home))
        except ConfigError as error:
            self.report(row.seq, row.kind, LOG, str(error))
            return
        if bytes.fromhex(digest) in self._blobs:
            return
        self._blobs.add(bytes.fromhex(digest))
        try:
            self._store.get(digest)
        except NotTrusted as error:
            self.report(row.seq, row.kind, file, str(error))

    def _rows(self, log: SqliteLog) -> Iterator[Row]:
        """Yield every row that can be read; report the ranges that cannot."""
        try:
            last = log.head().seq
        except CorruptLog as error:
            self.report(None, "", LOG, str(error))
            last = self.anchored.seq if self.anchored else 0
        after = 0
        while after < last:
            until = min(after + PAGE, last)
            try:
                yield from list(log.rows(after=after, until=until))
            except CorruptLog as error:
                self.report(after + 1, "", LOG, f"between event {after + 1} and {until}: {error}")
                yield from self._one_by_one(log, after, until)
            after = until

    def _one_by_one(self, log: SqliteLog, after: int, until: int) -> Iterator[Row]:
        for seq in range(after + 1, until + 1):
            try:
                yield from list(log.rows(after=seq - 1, until=seq))
            except CorruptLog:
                continue  # it will be reported as missing


def _hex(hash_: object) -> str:
    return hash_.hex() if isinstance(hash_, bytes) else ""
