"""What the policy minimises: pure functions, tensors in, tensors out.

| loss | ratio | a token's weight in the step | source |
|---|---|---|---|
| `grpo` | of the token, clipped | 1 / (samples x its sample's tokens) | Shao et al. 2024, DeepSeekMath, arXiv:2402.03300 |
| `dr_grpo` | of the token, clipped | 1 / (samples x longest allowed) | Liu et al. 2025, arXiv:2503.20783 |
| `dapo` | of the token, clipped | 1 / tokens of the step | Yu et al. 2025, arXiv:2503.14476 |
| `bnpo` | of the token, clipped | 1 / (micro-batches x tokens of its micro-batch) | TRL's name for the batch-wise token mean |
| `gspo` | of the sequence (geometric mean), clipped | as `grpo` | Zheng et al. 2025, arXiv:2507.18071 |
| `cispo` | of the token, capped and without gradient | as `dapo` | MiniMax-M1 2025, arXiv:2506.13585 |

`clip_low` and `clip_high` differ (clip-higher, arXiv:2503.14476). `gspo` wants them about a thousandth as large (3e-4,
4e-4), `cispo` a `clip_high` of about 4. Only `bnpo` depends on how a step is split into micro-batches.

KL estimators: Schulman 2020, "Approximating KL divergence". As a loss, `k2` has the gradient of KL(policy || reference),
`k3` that of KL(reference || policy), and with `kl_ratio` `k1` and `k3` have that of KL(policy || reference) again.

Shapes: `_T` all completion tokens of a micro-batch, flat, `_N` its samples. `owner_T` says which sample a token is of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Loss = Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"]
Estimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, slots=True)
class Objective:
    """Which loss, and how far a token may pull."""

    loss: Loss = "dapo"
    clip_low: float = 0.2
    """A ratio below 1 - clip_low earns nothing more (not for `cispo`)."""
    clip_high: float = 0.28
    """Nor does one above 1 + clip_high."""
    kl: float = 0.0
    """Weight of KL to the reference policy."""
    kl_estimator: Estimator = "k3"
    kl_ratio: bool = False
    """Multiply the estimate by the ratio, as TRL does by default since 1.16."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What a micro-batch is a part of: one optimiser step."""

    samples: int
    tokens: int
    longest: int
    """Most tokens a sample may have, not the most that one has."""
    parts: int
    """Micro-batches."""


def log_ratios(logprobs_T: Tensor, old_logprobs_T: Tensor, owner_T: Tensor, loss: Loss) -> Tensor:
    """Return the log of each token's importance ratio, `(T,)`, nats: for `gspo` its sequence's mean."""
    difference_T = logprobs_T - old_logprobs_T
    if loss != "gspo":
        return difference_T
    samples = int(owner_T.max()) + 1
    length_N = torch.bincount(owner_T, minlength=samples).to(difference_T.dtype)
    return (difference_T.new_zeros(samples).index_add(0, owner_T, difference_T) / length_N)[owner_T]


def policy_loss(logprobs_T: Tensor, log_ratio_T: Tensor, advantages_T: Tensor, objective: Objective) -> Tensor:
    """Return the surrogate loss per token, `(T,)`, dimensionless.

    It is `-min(ratio A, clip(ratio) A)`, with a gradient of zero where the clip is active; for `cispo`
    `-min(ratio, 1 + clip_high) A logprob`, the factor taken as a constant, so that every token keeps a gradient.
    """
    ratio_T = torch.exp(log_ratio_T)
    if objective.loss == "cispo":
        return -ratio_T.clamp(max=1 + objective.clip_high).detach() * advantages_T * logprobs_T
    clipped_T = ratio_T.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    return -torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)


def kl_estimate(logprobs_T: Tensor, reference_logprobs_T: Tensor, estimator: Estimator) -> Tensor:
    """Return an estimate of KL(policy || reference) per token, `(T,)`, nats, zero where both agree.

    With `d = reference - policy`, clamped to ±20 so that no token overflows: `k1` is `-d` (may be negative), `k2` is
    `d² / 2`, `k3` is `exp(d) - d - 1`.
    """
    difference_T = (reference_logprobs_T - logprobs_T).clamp(-20, 20)
    match estimator:
        case "k1":
            return -difference_T
        case "k2":
            return difference_T**2 / 2
        case "k3":
            return torch.exp(difference_T) - difference_T - 1


def token_weights(lengths_N: Sequence[int], loss: Loss, whole: Whole) -> list[float]:
    """Return what a token of each sample of a micro-batch weighs in its step; a step's loss is the weighted sum.

    Args:
        lengths_N: Tokens to learn from in each sample of the micro-batch.
        loss: See the table above.
        whole: The step.
    """
    match loss:
        case "grpo" | "gspo":
            return [1 / (whole.samples * max(length, 1)) for length in lengths_N]
        case "dr_grpo":
            return [1 / (whole.samples * whole.longest)] * len(lengths_N)
        case "bnpo":
            return [1 / (whole.parts * max(sum(lengths_N), 1))] * len(lengths_N)
        case "dapo" | "cispo":
            return [1 / max(whole.tokens, 1)] * len(lengths_N)


def negative_log_likelihood(logprobs_T: Tensor) -> Tensor:
    """Return `-logprobs_T`: what fine-tuning on accepted samples minimises, on the completion's tokens alone."""
    return -logprobs_T
