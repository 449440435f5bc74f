"""A home as it was earlier: the same log and blobs, seen only up to an event, which may move forward."""

from collections.abc import Iterable, Iterator, Sequence

from synlearner.errors import ConfigError, LogError
from synlearner.events.home import Home
from synlearner.events.log import StoredLog, check_place
from synlearner.events.rows import Found, Row
from synlearner.events.types import EMPTY, Draft, Event, Head


class PastLog:
    """A log that ends where it is told. Nothing can be appended to the past."""

    def __init__(self, log: StoredLog, head: Head = EMPTY) -> None:
        self._log = log
        self._head = head

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
        return self._log.read(after=after, until=self._last(until))

    def get(self, seq: int) -> Event:
        """Return the event at *seq*. Raises ConfigError if the past has none."""
        check_place(seq, self._head)
        return self._log.get(seq)

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[Row]:
        """Yield events of the past as they are stored, unchecked."""
        return self._log.rows(after=after, until=self._last(until))

    def find(self, ids: Iterable[str]) -> dict[str, Found]:
        """Return what the past holds under *ids*, by id."""
        return {id_: place for id_, place in self._log.find(ids).items() if place.seq <= self._head.seq}

    def close(self) -> None:
        """Do nothing: the log is somebody else's."""

    def _last(self, until: int | None) -> int:
        return self._head.seq if until is None else min(until, self._head.seq)


class PastHome(Home):
    """An open home seen up to an event, its beginning at first: `advance` lets it go on."""

    log: PastLog  # type: ignore[assignment]  # narrower: only what a StoredLog promises is used

    def __init__(self, home: Home, head: Head = EMPTY) -> None:
        self.path = home.path
        self.log = PastLog(home.log, head)
        self.blobs = home.blobs
        self.derived = home.derived
        self.writable = home.writable
        self._lock = None

    def advance(self, event: Event) -> None:
        """Let the past go on up to *event*."""
        self.log.advance(event)


def as_of(home: Home, seq: int) -> PastHome:
    """Return *home* as it was when *seq* was its last event; it answers as it did then.

    Raises:
        ConfigError: If *seq* is beyond the history.

    """
    last = home.log.head().seq
    if not 0 <= seq <= last:
        raise ConfigError(f"--as-of {seq} is no moment of '{home.path}': its log holds the events 1 to {last}")
    return PastHome(home, Head(seq, home.log.get(seq).hash) if seq else EMPTY)
