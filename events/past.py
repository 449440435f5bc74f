"""A home as it was earlier: the same log and blobs, seen only up to an event that moves forward."""

from collections.abc import Iterator, Sequence

from synlearner.errors import LogError
from synlearner.events.home import Home
from synlearner.events.log import EventLog
from synlearner.events.types import EMPTY, Draft, Event, Head


class PastLog:
    """A log that ends where it is told. Nothing can be appended to the past."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._head = EMPTY

    def advance(self, event: Event) -> None:
        """Let the past go on up to *event*."""
        self._head = Head(event.seq, event.hash)

    def head(self) -> Head:
        """Return the end of the past."""
        return self._head

    def append(self, drafts: Sequence[Draft], *, expected_seq: int) -> Sequence[Event]:
        """Refuse."""
        raise LogError(f"{len(drafts)} events after seq {expected_seq} cannot be appended: this is the past of a log")

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield events of the past."""
        last = self._head.seq if until is None else min(until, self._head.seq)
        return self._log.read(after=after, until=last)

    def get(self, seq: int) -> Event:
        """Return the event at *seq*."""
        return self._log.get(seq)

    def close(self) -> None:
        """Do nothing: the log is somebody else's."""


class PastHome(Home):
    """An open home seen up to an event: `advance` lets it go on."""

    log: PastLog  # type: ignore[assignment]  # narrower than a SqliteLog: only what an EventLog promises is used

    def __init__(self, home: Home) -> None:
        self.path = home.path
        self.log = PastLog(home.log)
        self.blobs = home.blobs
        self.derived = home.derived
        self.writable = home.writable
        self._lock = None

    def advance(self, event: Event) -> None:
        """Let the past go on up to *event*."""
        self.log.advance(event)
