"""What a step learns from, cut into micro-batches: parts of a group that are packed and read at once."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import Pack, pack


@dataclass(frozen=True, slots=True)
class Trained:
    """One recorded sample to learn from."""

    token_ids: list[int]
    logprobs: list[float]
    advantage: float
    allowed_T_W: Tensor | None = None
    """Tokens that a grammar allowed at each place, as int32 bit masks. Where it allowed one, nothing is learnt."""


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """A prompt and the samples of it to learn from."""

    text: str
    prefix: str
    decoding: Decoding
    samples: list[Trained]


def check_groups(groups: Sequence[TrainedGroup], algorithm: str) -> None:
    """Refuse what no step can be taken with.

    Raises:
        EngineError: Naming the group, the sample and the value.
    """
    if not any(group.samples for group in groups):
        raise EngineError(f"{algorithm} has no sample to learn from: pass groups that have some")
    for place, group in enumerate(groups):
        for index, sample in enumerate(group.samples):
            where = f"sample {index} of group {place}"
            if not sample.token_ids:
                raise EngineError(f"{where} has no tokens: leave it out")
            if not math.isfinite(sample.advantage):
                raise EngineError(f"the advantage of {where} is {sample.advantage}: rewards must be finite numbers")
            if algorithm == "grpo" and len(sample.logprobs) != len(sample.token_ids):
                raise EngineError(
                    f"{where} has {len(sample.token_ids)} tokens but {len(sample.logprobs)} log-probabilities: grpo "
                    "needs one each; sample with an engine that reports them, or use loop.eft_rounds"
                )
            strange = next((value for value in sample.logprobs if not math.isfinite(value)), None)
            if strange is not None:
                raise EngineError(f"{where} has the log-probability {strange}: the engine drew what it could not draw")


@dataclass(slots=True)
class MicroBatch:
    """Some samples of one group, packed."""

    group: TrainedGroup
    packed: Pack
    reference_T: Tensor | None = None
    """Log-probabilities of the reference policy."""

    @property
    def allowed(self) -> Tensor | None:
        """What grammars allowed, bit masks `(T, W)`; None where there was none."""
        masks = [sample.allowed_T_W for sample in self.group.samples if sample.allowed_T_W is not None]
        return torch.cat(masks).to(self.packed.target_T.device) if len(masks) == len(self.group.samples) else None

    @property
    def learnt(self) -> Tensor:
        """1 where there was a choice, 0 where a grammar forced the token, which teaches nothing; `(T,)`."""
        allowed_T_W = self.allowed
        if allowed_T_W is None:
            return torch.ones(len(self.packed.target_T), device=self.packed.target_T.device)
        more_words_T = (allowed_T_W != 0).sum(-1) > 1
        more_bits_T = ((allowed_T_W & (allowed_T_W - 1)) != 0).any(-1)
        return (more_words_T | more_bits_T).float()

    @property
    def lengths(self) -> list[int]:
        """Tokens to learn from in each sample."""
        owner_T, learnt_T = self.packed.owner_T.cpu(), self.learnt.cpu()
        return [int(count) for count in torch.bincount(owner_T, weights=learnt_T, minlength=len(self.group.samples))]


def micro_batches(model: PolicyModel, group: TrainedGroup, most: int) -> list[MicroBatch]:
    """Return *group* in parts of at most *most* tokens, prompt included, samples of like length together.

    A part has at least one sample, however long. What an engine wrote after a sample's end token is not part of it.

    Raises:
        EngineError: If a sample does not fit into the model's context.
    """
    prompt = model.prompt_tokens(group.text, group.prefix)
    parts: list[list[Trained]] = []
    size = most
    samples = [_until_end(sample, model.end_tokens) for sample in group.samples]
    for sample in sorted(samples, key=lambda sample: len(sample.token_ids)):
        if size + len(sample.token_ids) > most:
            parts.append([])
            size = len(prompt)
        parts[-1].append(sample)
        size += len(sample.token_ids)
    model.check_fits(len(prompt) + max(len(sample.token_ids) for sample in samples))
    return [
        MicroBatch(replace(group, samples=part), pack(prompt, [s.token_ids for s in part], model.device))
        for part in parts
    ]


def _until_end(sample: Trained, ends: frozenset[int]) -> Trained:
    size = next((place + 1 for place, token in enumerate(sample.token_ids) if token in ends), len(sample.token_ids))
    if size == len(sample.token_ids):
        return sample
    allowed = None if sample.allowed_T_W is None else sample.allowed_T_W[:size]
    return Trained(sample.token_ids[:size], sample.logprobs[:size], sample.advantage, allowed)


def optimizer_batches(
    groups: list[list[MicroBatch]], *, epochs: int, groups_per_step: int, seed: int
) -> Iterator[list[MicroBatch]]:
    """Yield what each optimiser step sees, epoch by epoch, in an order drawn from *seed*."""
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    size = groups_per_step or len(groups)
    for _ in range(epochs):
        order = rng.sample(groups, len(groups))
        for start in range(0, len(order), size):
            yield [part for group in order[start : start + size] for part in group]
