"""What a run tells while it works. The display is the command line's; a run without a watcher is silent."""

from collections.abc import Sequence
from typing import Protocol

from synlearner.agent.decide import Action
from synlearner.agent.state import RunState
from synlearner.events.types import Event


class Watcher(Protocol):
    """Sees every action begin, get on and end."""

    def begins(self, state: RunState, action: Action) -> None:
        """Before an action."""

    def goes_on(self, done: int, of: int, tokens: int) -> None:
        """Within an action that takes long: parts done, and tokens written so far where it writes."""

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        """After an action, with what it appended; *state* has taken it in."""


class Silent:
    """Watches and says nothing."""

    def begins(self, state: RunState, action: Action) -> None:
        """Say nothing."""

    def goes_on(self, done: int, of: int, tokens: int) -> None:
        """Say nothing."""

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        """Say nothing."""
