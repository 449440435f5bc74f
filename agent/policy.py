"""The policy as the loop sees it: an engine that writes, and weights that learn where there are any."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from synlearner.policies.engine import Engine

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel


class Policy:
    """Who writes. Built when it is first needed: planning and scoring load no model."""

    def __init__(self, build: "Callable[[], tuple[Engine, PolicyModel | None]]") -> None:
        self._build = build
        self._serving: str | None = None

    @cached_property
    def _built(self) -> "tuple[Engine, PolicyModel | None]":
        return self._build()

    @property
    def engine(self) -> Engine:
        """What writes."""
        return self._built[0]

    @property
    def model(self) -> "PolicyModel | None":
        """What learns; None if the engine's weights cannot be trained here."""
        return self._built[1]

    def serve(self, adapter: str, read: Callable[[str], bytes]) -> None:
        """Make the engine sample from *adapter* (a digest that *read* knows; empty: the untrained policy)."""
        if self._serving != adapter:
            self._serving = None
            self.engine.load(read(adapter) if adapter else None)
            self._serving = adapter

    def forget(self) -> None:
        """Note that the weights have moved: the next `serve` loads its adapter in any case."""
        self._serving = None
