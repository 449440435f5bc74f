"""A log followed while others append to it: every event once, in order, as it comes."""

from collections.abc import Iterator
from typing import Protocol

from synlearner.events.types import Event, Head


class Followed(Protocol):
    """A log that can be waited for."""

    def head(self) -> Head:
        """Return the end of the history."""

    def read(self, *, after: int = 0, until: int | None = None) -> Iterator[Event]:
        """Yield the events after seq *after*, in order, checked."""

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the log goes beyond *seq*, or for *timeout* seconds; return whether it does."""


def follow(log: Followed, *, after: int = 0, idle: float | None = None) -> Iterator[Event]:
    """Yield the events after seq *after*, those that are there and those that come, checked, each once and in order.

    It goes on for ever; with *idle* it ends when nothing has come for so many seconds.
    """
    while True:
        for event in log.read(after=after):
            yield event
            after = event.seq
        if not log.wait(after, 1.0 if idle is None else idle) and idle is not None:
            return
