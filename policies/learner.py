"""One learning step: a pure function of (adapter, optimiser state, recorded samples, settings).

Two algorithms on the same tokens: `grpo` moves towards samples with a positive advantage, `eft` (efficient
fine-tuning) raises the likelihood of accepted ones. Nothing is re-tokenised: the recorded token ids are trained on,
the end token among them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.policies.determinism import deterministic
from synlearner.policies.heap import trim
from synlearner.policies.lean import lean
from synlearner.policies.logprobs import Support, drawn_logprobs, head_logprobs
from synlearner.policies.losses import (
    Objective,
    Whole,
    kl_estimate,
    log_ratios,
    negative_log_likelihood,
    policy_loss,
    token_weights,
)
from synlearner.policies.microbatches import (
    MicroBatch,
    Trained,
    TrainedGroup,
    check_groups,
    micro_batches,
    optimizer_batches,
)
from synlearner.policies.model import PolicyModel
from synlearner.policies.optimizer import AdamState
from synlearner.policies.packing import Pack

__all__ = [
    "Learned",
    "Measured",
    "StepSettings",
    "Trained",
    "TrainedGroup",
    "accumulate",
    "add_reference",
    "learn",
    "token_logprobs",
]

StepProgress = Callable[[int, int], None]
"""Called after each micro-batch: (done, of how many)."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How far one step may go, and how much memory it may take."""

    algorithm: str
    """`eft` or `grpo`."""
    learning_rate: float
    objective: Objective = field(default_factory=Objective)
    """Of `grpo`."""
    max_grad_norm: float = 1.0
    epochs: int = 1
    groups_per_step: int = 0
    """Prompts per optimiser step; 0 takes all of them."""
    seed: int = 0
    """Of the order in which groups are visited."""
    micro_batch: int = 448
    """Most tokens read at once, prompt included: their activations set the peak of memory."""
    checkpointing: bool = False
    """Keep a layer's input alone and compute the rest again: a third more time, a fraction of the memory, equal bits."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step did. Means are over tokens."""

    adapter: bytes
    optimizer: bytes
    loss: float
    kl: float
    grad_norm: float
    gap: float
    """Largest difference, in nats, between a recorded log-probability and the trainer's; 0 for `eft`."""


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
        EngineError: If there is nothing to learn from, a number is not finite, or a sample does not fit the model. No
            weight of the caller's has changed then.
    """
    check_groups(groups, settings.algorithm)
    model.rest()
    trim()  # what sampling has left, so that the peaks of both do not add up
    parts = [micro_batches(model, group, settings.micro_batch) for group in groups]
    if settings.algorithm == "grpo" and settings.objective.kl:
        add_reference(model, parts, reference)
    model.load_adapter(adapter)
    model.switch(on=True)
    model.network.zero_grad(set_to_none=True)  # a step that failed may have left a part of its gradient
    state = AdamState.load(optimizer, model.parameters())
    with deterministic(model.device), model.checkpointing(on=settings.checkpointing):
        measured = list(_steps(model, parts, state, settings, progress))
    trim()
    count = len(measured)
    return Learned(
        adapter=model.adapter(),
        optimizer=state.save(),
        loss=sum(step.loss for step in measured) / count,
        kl=sum(step.kl for step in measured) / count,
        grad_norm=sum(step.grad_norm for step in measured) / count,
        gap=measured[0].gap,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one optimiser step."""

    loss: float
    kl: float
    gap: float
    grad_norm: float = 0.0


def _steps(
    model: PolicyModel,
    groups: list[list[MicroBatch]],
    state: AdamState,
    settings: StepSettings,
    progress: StepProgress | None,
) -> Iterator[Measured]:
    """Take every optimiser step; yield what was measured at each."""
    batches = list(
        optimizer_batches(groups, epochs=settings.epochs, groups_per_step=settings.groups_per_step, seed=settings.seed)
    )
    total, before = sum(map(len, batches)), 0
    for batch in batches:

        def told(done: int, begun: int = before) -> None:
            if progress:
                progress(begun + done, total)

        found = accumulate(model, batch, settings, told)
        before += len(batch)
        yield replace(found, grad_norm=_step(model, state, settings))


def accumulate(
    model: PolicyModel, batch: Sequence[MicroBatch], settings: StepSettings, progress: Callable[[int], None]
) -> Measured:
    """Add the gradient of one optimiser step to the adapter's tensors; return the loss, KL and gap of it."""
    whole = Whole(
        samples=sum(len(part.group.samples) for part in batch),
        tokens=sum(sum(part.lengths) for part in batch),
        longest=max(part.group.decoding.max_new_tokens for part in batch),
        parts=len(batch),
    )
    found = []
    with lean(model.network):
        for done, part in enumerate(batch, start=1):
            found.append(_accumulate(model, part, settings, whole))
            progress(done)
    return Measured(sum(f.loss for f in found), sum(f.kl for f in found), max(f.gap for f in found))


def token_logprobs(model: PolicyModel, packed: Pack, support: Support, *, slopes: bool = True) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability over the kept set and over all that was allowed, both `(T,)`, nats.

    Logits are made for the targets alone, never for the prompt. Without *slopes* the second has no gradient.
    """
    head = model.plain_head
    if head is not None:
        hidden_1_L_D = model.hidden(packed.ids_1_L, packed.sees_1_1_L_L, packed.position_1_L)
        hidden_T_D = hidden_1_L_D[0][packed.from_T]
        return head_logprobs(hidden_T_D, head.weight, head.bias, packed.target_T, support, slopes=slopes)
    logits_T_V = model.network(
        input_ids=packed.ids_1_L,
        attention_mask=packed.sees_1_1_L_L,
        position_ids=packed.position_1_L,
        use_cache=False,
        logits_to_keep=packed.from_T,
    ).logits[0]
    return drawn_logprobs(logits_T_V, packed.target_T, support)


@torch.no_grad()
def add_reference(model: PolicyModel, groups: list[list[MicroBatch]], reference: bytes | None) -> None:
    """Score every target under the *reference* adapter (None: the untrained policy), which stays loaded."""
    model.load_adapter(reference)
    with lean(model.network):
        for part in (part for parts in groups for part in parts):
            support = Support(part.group.decoding.temperature, 0.0, part.allowed)
            part.reference_T = token_logprobs(model, part.packed, support)[1]


def _accumulate(model: PolicyModel, part: MicroBatch, settings: StepSettings, whole: Whole) -> Measured:
    """Add one part's gradient, as its share of the step; return its share of the loss and KL."""
    packed, learnt_T = part.packed, part.learnt
    kl_T = torch.zeros_like(learnt_T)
    gap = 0.0
    if settings.algorithm == "eft":
        loss_T = negative_log_likelihood(token_logprobs(model, packed, Support(1.0, 0.0, part.allowed))[0])
        weight_T = learnt_T / whole.tokens
    else:
        loss_T, kl_T, gap = _objective(model, part, settings.objective)
        weights = token_weights(part.lengths, settings.objective.loss, whole)
        weight_T = torch.tensor(weights, device=learnt_T.device, dtype=loss_T.dtype)[packed.owner_T] * learnt_T
    loss = (loss_T * weight_T).sum()
    if not torch.isfinite(loss):
        raise EngineError(
            f"the {settings.algorithm} loss is {loss.item()}: lower learning.{settings.algorithm}_rate, "
            "or use policy.dtype=float32",
        )
    loss.backward()  # type: ignore[no-untyped-call]
    return Measured(float(loss.detach()), float((kl_T.detach() * learnt_T).sum()) / whole.tokens, gap)


def _objective(model: PolicyModel, part: MicroBatch, objective: Objective) -> tuple[Tensor, Tensor, float]:
    """Return loss and KL per token, and the largest gap between sampler and trainer."""
    packed, group = part.packed, part.group
    how = group.decoding
    support = Support(how.temperature, how.min_p, part.allowed, top_k=how.top_k, top_p=how.top_p)
    kept_T, full_T = token_logprobs(model, packed, support, slopes=part.reference_T is not None)
    old_T = torch.tensor([v for s in group.samples for v in s.logprobs], device=kept_T.device, dtype=kept_T.dtype)
    advantage_N = torch.tensor([s.advantage for s in group.samples], device=kept_T.device, dtype=kept_T.dtype)
    advantage_T = advantage_N[packed.owner_T]
    log_ratio_T = log_ratios(kept_T, old_T, packed.owner_T, objective.loss)
    loss_T = policy_loss(kept_T, log_ratio_T, advantage_T, objective)
    gap = float((kept_T.detach() - old_T).abs().max())
    if part.reference_T is None:
        return loss_T, torch.zeros_like(kept_T), gap
    kl_T = kl_estimate(full_T, part.reference_T, objective.kl_estimator)
    if objective.kl_ratio:
        kl_T = kl_T * torch.exp(log_ratio_T)
    return loss_T + objective.kl * kl_T, kl_T, gap


def _step(model: PolicyModel, state: AdamState, settings: StepSettings) -> float:
    parameters = model.parameters()
    norm = float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), settings.max_grad_norm))
    if not math.isfinite(norm):
        raise EngineError(f"the gradient norm is {norm}: lower learning.{settings.algorithm}_rate")
    state.step(parameters, learning_rate=settings.learning_rate)
    model.network.zero_grad(set_to_none=True)
    return norm
