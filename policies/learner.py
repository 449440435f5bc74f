"""One learning step: a pure function of (adapter, optimiser state, recorded samples, settings).

Two algorithms on the same tokens: `grpo` moves towards samples with a positive advantage, `eft` (efficient
fine-tuning) raises the likelihood of accepted ones. Nothing is re-tokenised: the recorded token ids are trained on.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies.logprobs import drawn_logprobs
from synlearner.policies.losses import clipped_policy_loss, kl_k3, negative_log_likelihood
from synlearner.policies.model import PolicyModel
from synlearner.policies.optimizer import AdamState
from synlearner.policies.packing import Pack, pack

StepProgress = Callable[[int, int], None]
"""Called after each micro-batch: (done, of how many)."""


TARGETS = 384
"""Tokens to predict in one micro-batch: their logits (75 MB for a vocabulary of 49,152) set the peak of memory."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One recorded sample to learn from."""

    token_ids: list[int]
    logprobs: list[float]
    advantage: float


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """A prompt and the samples of it to learn from."""

    text: str
    prefix: str
    decoding: Decoding
    samples: list[Trained]


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How far one step may go."""

    algorithm: str
    learning_rate: float
    clip_low: float
    clip_high: float
    kl: float
    """Weight of KL to the reference policy."""
    max_grad_norm: float
    epochs: int
    groups_per_step: int
    """Prompts per optimiser step; 0 takes all of them."""
    seed: int
    """Of the order in which groups are visited."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step did. Means are over tokens."""

    adapter: bytes
    optimizer: bytes
    loss: float
    kl: float
    grad_norm: float


def learn(
    model: PolicyModel,
    groups: Sequence[TrainedGroup],
    settings: StepSettings,
    *,
    adapter: bytes | None,
    optimizer: bytes | None,
    reference: bytes | None,
    progress: StepProgress | None = None,
) -> Learned:
    """Move *adapter* by *groups*; *reference* is the policy that KL is measured to (None: the untrained one).

    Raises:
        EngineError: If the loss or a gradient is not finite. No weight of the caller's has changed then.
    """
    parts = [_Part(part, _pack(model, part)) for group in groups for part in _split(group)]
    if settings.kl:
        _add_reference(model, parts, reference)
    model.load_adapter(adapter)
    model.switch(on=True)
    model.network.zero_grad(set_to_none=True)  # a step that failed may have left a part of its gradient
    state = AdamState.load(optimizer, model.parameters())
    with _deterministic(model.device):
        measured = list(_steps(model, parts, state, settings, progress))
    loss, divergence, norm = (sum(column) / len(measured) for column in zip(*measured, strict=True))
    return Learned(adapter=model.adapter(), optimizer=state.save(), loss=loss, kl=divergence, grad_norm=norm)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Let torch use deterministic algorithms alone.

    Else the gradient of looking up rows twice (a prompt's last token predicts every first one) is added up by all
    threads at once, in any order: 3 of 12 gradients of the embedded model differed in their last bits.
    """
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(mode=True, warn_only=device.type != "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def _steps(
    model: PolicyModel,
    parts: list["_Part"],
    state: AdamState,
    settings: StepSettings,
    progress: StepProgress | None,
) -> Iterator[tuple[float, float, float]]:
    """Take every optimiser step; yield the loss, KL and gradient norm of each."""
    batches = list(_batches(parts, settings))
    done, total = 0, sum(map(len, batches))
    for batch in batches:
        tokens = sum(len(part.packed.target_T) for part in batch)
        loss = divergence = 0.0
        for part in batch:
            part_loss, part_kl = _accumulate(model, part, settings, tokens)
            loss, divergence, done = loss + part_loss, divergence + part_kl, done + 1
            if progress:
                progress(done, total)
        yield loss, divergence, _step(model, state, settings)


@dataclass(slots=True)
class _Part:
    """A micro-batch: some samples of one group, packed."""

    group: TrainedGroup
    packed: Pack
    reference_T: Tensor | None = None


def _split(group: TrainedGroup) -> Iterator[TrainedGroup]:
    """Yield parts of *group* whose logits fit: at most TARGETS tokens to predict, or one sample."""
    part: list[Trained] = []
    for sample in group.samples:
        if part and sum(len(s.token_ids) for s in part) + len(sample.token_ids) > TARGETS:
            yield replace(group, samples=part)
            part = []
        part.append(sample)
    yield replace(group, samples=part)


def _batches(parts: list[_Part], settings: StepSettings) -> Iterator[list[_Part]]:
    """Yield what each optimiser step sees, epoch by epoch."""
    rng = random.Random(settings.seed)  # noqa: S311 - an order, not a secret
    size = settings.groups_per_step or len(parts)
    for _ in range(settings.epochs):
        order = rng.sample(parts, len(parts))
        yield from (order[start : start + size] for start in range(0, len(order), size))


def token_logprobs(model: PolicyModel, packed: Pack, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability over the kept set and over the whole vocabulary, both `(T,)`."""
    logits_T_V = model.network(
        input_ids=packed.ids_1_L,
        attention_mask=packed.sees_1_1_L_L,
        position_ids=packed.position_1_L,
        use_cache=False,
        logits_to_keep=packed.from_T,
    ).logits[0]
    return drawn_logprobs(logits_T_V, packed.target_T, decoding.temperature, decoding.min_p)


def _pack(model: PolicyModel, group: TrainedGroup) -> Pack:
    prompt = model.prompt_tokens(group.text, group.prefix)
    return pack(prompt, [sample.token_ids for sample in group.samples], model.device)


@torch.no_grad()
def _add_reference(model: PolicyModel, parts: list[_Part], reference: bytes | None) -> None:
    model.load_adapter(reference)
    for part in parts:
        part.reference_T = token_logprobs(model, part.packed, part.group.decoding)[1]


def _accumulate(model: PolicyModel, part: _Part, settings: StepSettings, tokens: int) -> tuple[float, float]:
    """Add one part's gradient, as its share of the token mean over the step; return its loss and KL."""
    packed, group = part.packed, part.group
    if settings.algorithm == "eft":
        plain = Decoding(temperature=1.0, min_p=0.0, max_new_tokens=group.decoding.max_new_tokens)
        loss_T = negative_log_likelihood(token_logprobs(model, packed, plain)[0])
        kl_T = torch.zeros_like(loss_T)
    else:
        kept_T, full_T = token_logprobs(model, packed, group.decoding)
        old_T = torch.tensor([value for s in group.samples for value in s.logprobs], device=kept_T.device)
        advantage_T = torch.tensor([s.advantage for s in group.samples], device=kept_T.device)[packed.owner_T]
        clips = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
        kl_T = torch.zeros_like(full_T) if part.reference_T is None else kl_k3(full_T, part.reference_T)
        loss_T = clipped_policy_loss(kept_T, old_T, advantage_T, **clips) + settings.kl * kl_T
    loss = loss_T.sum() / tokens
    if not torch.isfinite(loss):
        raise EngineError(
            f"the {settings.algorithm} loss is {loss.item()}: lower learning.{settings.algorithm}_rate, "
            "or use policy.dtype=float32",
        )
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), float(kl_T.detach().sum()) / tokens


def _step(model: PolicyModel, state: AdamState, settings: StepSettings) -> float:
    parameters = model.parameters()
    norm = float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), settings.max_grad_norm))
    if not math.isfinite(norm):
        raise EngineError(f"the gradient norm is {norm}: lower learning.{settings.algorithm}_rate")
    state.step(parameters, learning_rate=settings.learning_rate)
    model.network.zero_grad(set_to_none=True)
    return norm
