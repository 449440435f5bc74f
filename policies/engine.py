"""The seam between the loop and whatever writes samples. An engine samples from one policy version at a time."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from synlearner.events.types import Decoding

Progress = Callable[[int, int], None]
"""Called while an engine works: (tokens written so far, samples ended so far)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and the group of samples asked of it."""

    text: str
    """The user's turn; the engine applies the model's chat template."""
    prefix: str
    """How the answer begins. Part of the prompt: it is not in the samples."""
    stop: str
    """A sample ends before this text; empty for the model's own end alone."""
    decoding: Decoding
    seeds: tuple[int, ...]
    """One per sample: a sample's chance depends on its own seed alone."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One text an engine returned, with the tokens that were drawn."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    """Nats, one per token, over the kept set at the sampling temperature; empty if the engine has none."""
    finish: str
    """`stop`; `length`: cut off, or ended by a grammar that closes, at its most tokens; `error`: `text` says what failed."""

    def __post_init__(self) -> None:
        if self.logprobs and len(self.logprobs) != len(self.token_ids):
            raise ValueError(
                f"{len(self.token_ids)} token_ids but {len(self.logprobs)} logprobs: "
                "an engine must report one log-probability per sampled token",
            )


def failed(reason: str) -> Sample:
    """Return what stands for a sample that could not be written: the event of it says why."""
    return Sample(reason, [], [], "error")


def hashed(words: Sequence[str]) -> list[int]:
    """Return token ids for an engine that has none: a number for each word, the same everywhere."""
    return [int.from_bytes(hashlib.sha256(word.encode("utf-8", "replace")).digest()[:4], "big") for word in words]


class Engine(Protocol):
    """Samples from one version of the policy."""

    @property
    def name(self) -> str:
        """What `sample_generated` calls it: `transformers`, `vllm`, `openai`, `scripted`."""

    @property
    def base_model(self) -> str:
        """Digest of the base weights (`sha256:…`), or a name for weights that are not here."""

    def load(self, adapter: bytes | None) -> None:
        """Serve this adapter (safetensors) from now on; None is the untrained policy.

        Raises:
            EngineError: If the adapter does not fit the base model. The old one is then still served.
        """

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order."""
