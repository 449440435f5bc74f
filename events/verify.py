"""Is all of a home what was written? Every event, the anchor, and every blob that an event names.

What a fork reads in its parents is checked like its own.
Damage is reported and never raised, and the look goes on behind it. Memory stays bounded, but for 65 bytes or so per
blob that is named, and for the first problems.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from synlearner.errors import ConfigError, CorruptLog, LogError, NotTrusted
from synlearner.events.addresses import is_address, parse_address
from synlearner.events.anchor import Anchor
from synlearner.events.blobs import BlobStore, references
from synlearner.events.checks import explain, fault, missing, recompute
from synlearner.events.codec import canonical_bytes, decode
from synlearner.events.home import ANCHOR, BLOBS, LOG, blobs_of, check_home, open_own_log
from synlearner.events.lineage import PARENT, open_shared, parent_of
from synlearner.events.log import StoredLog
from synlearner.events.rows import Row
from synlearner.events.sqlite import PAGE, SqliteLog
from synlearner.events.tombstones import Unproven, open_tombstone, redactions
from synlearner.events.types import EMPTY, Head, PayloadRedacted

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
    """Inside the home, or from there on (`../parent/log.sqlite`)."""
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
        LogError: If it, or the parent of a fork, cannot be read now, or a newer program wrote it.

    """
    if is_address(home_path):
        from synlearner.events.server_verify import verify_on_server  # noqa: PLC0415  # only for who has a home there

        return verify_on_server(parse_address(str(home_path)))
    try:
        return _verify_in_folder(Path(home_path))
    except OSError as error:
        raise LogError(
            f"home '{home_path}' cannot be read now: {error}; see to that and run the same command again"
        ) from error


def _verify_in_folder(home: Path) -> Report:
    survey = Survey(home)
    try:
        check_home(home)
        # The anchor first: what is anchored now must be in the log then.
        survey.anchored = Anchor(home / ANCHOR).read()
        survey.store = blobs_of(home, ())
        base = _look_at_parents(home, survey)
        log = _open(home, survey, base)
    except CorruptLog as error:
        survey.report(None, "", LOG, str(error))
        return survey.done()
    if log is None:
        return survey.done()
    try:
        survey.look_at_events(log, after=base)
    finally:
        log.close()
    survey.look_at_anchor()
    return survey.done()


def _look_at_parents(home: Path, survey: "Survey") -> Head:
    """Check what a fork reads elsewhere, and return the end of that; `EMPTY` for no fork."""
    found = parent_of(home)
    if found is None:
        return EMPTY
    try:
        shared = open_shared(home, open_own_log)
    except CorruptLog as error:
        survey.report(None, "", PARENT, str(error))
        return found[1]
    survey.store = blobs_of(home, shared)
    for part in shared:
        try:
            survey.look_at_events(part.log, after=part.base, until=part.end.seq, home=part.home)
        except CorruptLog as error:
            survey.report(None, "", _from(home, part.child / PARENT), str(error))
        finally:
            part.close()
    return found[1]


def _open(home: Path, survey: "Survey", base: Head) -> SqliteLog | None:
    try:
        return SqliteLog(home / LOG, anchor=None, write=False, base=base)
    except ConfigError as error:  # a damaged header looks like a foreign file
        survey.report(None, "", LOG, str(error))
        return None


class Survey:
    """What has been found so far in one home."""

    def __init__(self, home: Path) -> None:
        self.anchored: Head | None = None
        self._home = home
        self._log = LOG
        self.store: BlobStore = BlobStore(home / BLOBS)
        self._problems: list[Problem] = []
        self._blobs: set[bytes] = set()
        self._events = 0
        self._head = EMPTY
        self._anchored_hash = EMPTY.hash
        self._unproven = Unproven()
        self._redacted: set[int] = set()

    def report(self, seq: int | None, kind: str, file: str, what: str) -> None:
        """Note a problem, if there are not too many."""
        if len(self._problems) < MOST:
            self._problems.append(Problem(seq, kind, file, what))
        elif len(self._problems) == MOST:
            self._problems.append(Problem(None, "", file, f"more than {MOST} problems: the others are not listed"))

    def done(self) -> Report:
        """Return what has been found."""
        return Report(self._events, self._head.hash, len(self._blobs), self._problems)

    def look_at_events(
        self, log: StoredLog, *, after: Head = EMPTY, until: int | None = None, home: Path | None = None
    ) -> None:
        """Check what follows *after* in *log*, of this home or of another *home* that it begins in."""
        self._log = _from(self._home, home / LOG) if home else LOG
        expected = after.seq + 1
        # After a row that does not fit, either its stored hash is damaged or something else in it is. So the next row
        # may follow from the stored one, which comes first here, or from the recomputed one.
        previous = [after.hash]
        for row in self._rows(log, after.seq, until):
            if row.seq > expected:
                self.report(expected, "", self._log, missing(expected, row.seq - 1))
                self._look_at_content(row)
                previous = [_hex(row.hash)]
            else:
                previous = self._look_at(row, previous, expected, log)
            self._events += 1
            self._head = Head(row.seq, _hex(row.hash))
            if self.anchored and self.anchored.seq == row.seq:
                self._anchored_hash = _hex(row.hash)
            expected = row.seq + 1
        self._look_at_unproven(log)
        if until is not None:
            if expected <= until:
                self.report(expected, "", self._log, missing(expected, until))
            return
        try:
            for problem in log.problems():
                self.report(None, "", self._log, problem)
        except NotTrusted as error:
            self.report(None, "", self._log, str(error))

    def look_at_anchor(self) -> None:
        """Compare the end that was found with the one that was anchored."""
        anchored, end = self.anchored, self._head.seq
        if anchored is None:
            if end:
                self.report(None, "", ANCHOR, "missing or damaged: whether events are missing at the end is unknown")
        elif anchored.seq > end:
            gone = missing(end + 1, anchored.seq)
            self.report(end + 1, "", LOG, f"{gone}: acknowledged, says the anchor, but the log ends at {end}")
        elif anchored.hash != self._anchored_hash:
            self.report(anchored.seq, "", ANCHOR, f"event {anchored.seq} is not the one that was acknowledged")

    def _look_at(self, row: Row, previous: list[str], expected: int, log: StoredLog) -> list[str]:
        """Check one row and return the hashes that the next one may follow from."""
        for hash_ in previous:
            tombstone = open_tombstone(row, hash_, expected)
            if tombstone:
                self._unproven.look_at(tombstone)
                return [tombstone.hash]
        if any(fault(row, hash_, expected) == "" for hash_ in previous):
            self._look_at_content(row)
            return [_hex(row.hash)]
        try:
            others = log.rows() if len(self._problems) < SEARCHES else ()
            what = explain(row, previous[0], expected, others)
        except NotTrusted:
            what = explain(row, previous[0], expected, ())
        self.report(row.seq, str(row.kind), self._log, what)
        computed = recompute(row, previous[-1], expected)
        return [_hex(row.hash), computed] if computed else [_hex(row.hash)]

    def _look_at_content(self, row: Row) -> None:
        try:
            fact = decode(row.kind, row.version, row.payload)
            if canonical_bytes(row.payload) != row.payload:
                self.report(row.seq, row.kind, self._log, "its payload is not canonical JSON: no SynLearner wrote it")
        except CorruptLog as error:
            self.report(row.seq, str(row.kind), self._log, str(error))
            return
        if isinstance(fact, PayloadRedacted):
            self._look_at_redaction(row.seq, fact)
        for digest in references(fact):
            self._look_at_blob(row, digest)

    def _look_at_unproven(self, log: StoredLog) -> None:
        """Report payloads that are not there, unless a redaction further on in *log* says why."""
        try:
            later = redactions(log.rows()) if self._unproven.seqs else {}
        except NotTrusted:
            later = {}
        for seq, hole in self._unproven.seqs.items():
            if later.get(seq) != hole.redacted:
                what = f"event {seq} ({hole.kind}): its payload is not what was written"
                self.report(seq, hole.kind, self._log, what)
            self._redacted.add(seq)
        self._unproven = Unproven()

    def _look_at_redaction(self, seq: int, fact: PayloadRedacted) -> None:
        if self._unproven.prove(fact):
            self._redacted.add(fact.target)
        elif fact.target not in self._redacted:
            what = f"event {fact.target} ({fact.target_kind}) still has the payload that event {seq} says was taken out"
            way_out = f"`synlearner log redact {fact.target}` finishes that"
            self.report(fact.target, fact.target_kind, self._log, f"{what}: {way_out}")

    def _look_at_blob(self, row: Row, digest: str) -> None:
        try:
            file = _from(self._home, self.store.holder(digest).path(digest))
        except ConfigError as error:
            self.report(row.seq, row.kind, self._log, str(error))
            return
        if bytes.fromhex(digest) in self._blobs:
            return
        self._blobs.add(bytes.fromhex(digest))
        try:
            self.store.get(digest)
        except NotTrusted as error:
            self.report(row.seq, row.kind, file, str(error))

    def _rows(self, log: StoredLog, after: int, until: int | None) -> Iterator[Row]:
        """Yield every row that can be read; report the ranges that cannot."""
        try:
            last = log.head().seq if until is None else until
        except CorruptLog as error:
            self.report(None, "", self._log, str(error))
            last = self.anchored.seq if self.anchored else 0
        while after < last:
            end = min(after + PAGE, last)
            try:
                yield from list(log.rows(after=after, until=end))
            except CorruptLog as error:
                self.report(after + 1, "", self._log, f"between event {after + 1} and {end}: {error}")
                yield from self._one_by_one(log, after, end)
            after = end

    def _one_by_one(self, log: StoredLog, after: int, until: int) -> Iterator[Row]:
        for seq in range(after + 1, until + 1):
            try:
                yield from list(log.rows(after=seq - 1, until=seq))
            except CorruptLog:
                continue  # it will be reported as missing


def _from(home: Path, file: Path) -> str:
    return Path(os.path.relpath(file, home)).as_posix()


def _hex(hash_: object) -> str:
    return hash_.hex() if isinstance(hash_, bytes) else ""
