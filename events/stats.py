"""What a history is made of: how many events and bytes of each kind, run and task, from when to when."""

from collections import defaultdict

import msgspec

from synlearner.errors import CorruptLog
from synlearner.events.checks import WAY_OUT, is_stored_event
from synlearner.events.home import Home
from synlearner.events.lineage import parent_of
from synlearner.events.rows import Row


class Share(msgspec.Struct):
    """Events that have something in common."""

    events: int = 0
    bytes: int = 0
    """Of their payloads."""

    def add(self, size: int) -> None:
        """Count an event with a payload of *size* bytes."""
        self.events += 1
        self.bytes += size


class Statistics(msgspec.Struct, frozen=True):
    """The figures of a history. Bytes are those of payloads: `observed` and the envelope come on top."""

    events: int
    digest: str
    """Hash of the last event."""
    bytes: int
    first: str
    """When the earliest event was observed, ISO 8601 in UTC; empty for no events."""
    last: str
    """When the latest was. Clocks jump: it need not be the last event."""
    kinds: dict[str, Share]
    """By kind and version (`sample_scored 1`), the largest first."""
    runs: dict[str, Share]
    """By run, in order of appearance; "" for what belongs to none."""
    tasks: dict[str, Share]
    """By task, in order of appearance, all runs together; "" for what belongs to none."""
    shared: int
    """Events that a fork reads in other homes; included in all of the above."""
    blobs: int
    """Blobs in the home's own folder, named by an event or not."""
    blob_bytes: int


class _Observed(msgspec.Struct):
    time: str = ""


_decode_time = msgspec.json.Decoder(_Observed).decode


def statistics(home: Home) -> Statistics:
    """Count the events of *home* as they are stored. Memory is bounded by the number of kinds, runs and tasks.

    Raises:
        CorruptLog: If what is stored as an event is none. A change that leaves it one is for `verify` to find.

    """
    head = home.log.head()
    kinds: defaultdict[str, Share] = defaultdict(Share)
    runs: defaultdict[str, Share] = defaultdict(Share)
    tasks: defaultdict[str, Share] = defaultdict(Share)
    total = Share()
    first = last = ""
    for row in home.log.rows(until=head.seq):
        if not is_stored_event(row):
            raise CorruptLog(f"event {row.seq} is not what was written, in '{home.path}': {WAY_OUT}")
        size = len(row.payload)
        for share in (total, kinds[f"{row.kind} {row.version}"], runs[row.run_id], tasks[row.task]):
            share.add(size)
        time = _time(row)
        first, last = min(first or time, time or first), max(last, time)
    begun = parent_of(home.path)
    sizes = [home.blobs.size(digest) for digest in home.blobs.digests()]
    return Statistics(
        events=head.seq,
        digest=head.hash,
        bytes=total.bytes,
        first=first,
        last=last,
        kinds=dict(sorted(kinds.items(), key=lambda pair: (-pair[1].bytes, pair[0]))),
        runs=dict(runs),
        tasks=dict(tasks),
        shared=min(begun[1].seq, head.seq) if begun else 0,
        blobs=len(sizes),
        blob_bytes=sum(sizes),
    )


def _time(row: Row) -> str:
    try:
        return _decode_time(row.observed).time
    except (msgspec.MsgspecError, TypeError, RecursionError):  # `observed` is free: any shape is nobody's fault
        return ""
