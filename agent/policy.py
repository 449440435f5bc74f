"""The policy as the loop sees it: an engine that writes, and weights that learn where there are any."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from synlearner.events.types import Decoding, PolicyServed
from synlearner.policies.engine import Engine
from synlearner.policies.receipts import grammar_digest, sampler_digest, tokenizer_digest

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel


class Policy:
    """Who writes. Built when it is first needed: planning and scoring load no model."""

    def __init__(self, build: "Callable[[], tuple[Engine, PolicyModel | None]]") -> None:
        self._build = build
        self._serving: str | None = None
        self.observed: dict[str, float] = {}
        """What the canary found when the adapter that serves was loaded: nats, rounded."""

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
            self._load(read(adapter) if adapter else None)
            self._serving = adapter

    def _load(self, adapter: bytes | None) -> None:
        if self.model is None:
            self.engine.load(adapter)
            return
        from synlearner.policies.canary import check_engine  # noqa: PLC0415 - loads torch

        probed = check_engine(self.model, self.engine, adapter)
        self.observed = {"gap": round(probed.gap, 9), "moved": round(probed.moved, 6)}
        if probed.exact is not None:
            self.observed["exact"] = round(probed.exact, 9)

    def receipt(self, number: int, adapter: str, decodings: Sequence[Decoding]) -> PolicyServed:
        """Return the fact of who writes a round's samples; what serves has just been checked by `serve`."""
        model = self.model
        return PolicyServed(
            round=number,
            engine=self.engine.name,
            base_model=self.engine.base_model,
            adapter=adapter,
            scale=model.scale if model else 0.0,
            tokenizer=tokenizer_digest(model) if model else "",
            sampler=sampler_digest(decodings),
            grammars=[grammar_digest(decoding) for decoding in decodings],
            probed=model is not None,
            dtype=getattr(self.engine, "dtype", ""),  # an engine of the caller's need not say
        )

    def surprises(self, texts: Sequence[str], context: str = "") -> list[float] | None:
        """Return nats per token of texts under the untrained policy, whatever serves; None where no weights are here.

        They are read behind *context*, or where it is empty behind that of `synlearner.policies.surprise`.
        """
        if self.model is None:
            return None
        from synlearner.policies.surprise import CONTEXT, surprises  # noqa: PLC0415 - loads torch

        return surprises(self.model, texts, context or CONTEXT)

    def check_base(self) -> None:
        """Hash the base weights again, if they were loaded here.

        Raises:
            EngineError: If they are not what they were.
        """
        if "_built" in self.__dict__ and self.model is not None:
            from synlearner.policies.served import check_base  # noqa: PLC0415 - loads torch

            check_base(self.model)

    def forget(self) -> None:
        """Note that the weights have moved: the next `serve` loads its adapter in any case."""
        self._serving = None
