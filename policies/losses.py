"""What the policy minimises: pure functions, tensors in, scalar out.

GRPO: Shao et al. 2024, DeepSeekMath, arXiv:2402.03300. Advantages are centred and not divided by the group's
deviation (Liu et al. 2025, "Understanding R1-Zero-like training", arXiv:2503.20783). Token mean over the whole step
and clip-higher: DAPO, Yu et al. 2025, arXiv:2503.14476. KL estimators: Schulman 2020, "Approximating KL divergence".

Shapes: `_P` prompts, `_G` group, `_T` all completion tokens of a micro-batch, flat.
"""

import torch
from torch import Tensor


def group_advantages(rewards_G: Tensor) -> Tensor:
    """Centre one group's rewards on their own mean.

    Args:
        rewards_G: Dimensionless rewards, shape `(G,)`.

    Returns:
        Same shape. Equal rewards become zeros: such a group teaches nothing.

    Raises:
        ValueError: If `G` is 1, since one sample has nothing to be compared with.
    """
    if rewards_G.numel() < 2:
        raise ValueError(f"a group of {rewards_G.numel()} has nothing to be compared with: use groups of 2 or more")
    return rewards_G - rewards_G.mean()


def clipped_policy_loss(
    logprobs_T: Tensor,
    old_logprobs_T: Tensor,
    advantages_T: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Tensor:
    """Return `-min(ratio A, clip(ratio) A)` per token, shape `(T,)`, with `ratio = exp(logprobs - old_logprobs)`.

    Where the clip is active the gradient is zero.
    """
    ratio_T = torch.exp(logprobs_T - old_logprobs_T)
    clipped_T = ratio_T.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_T * advantages_T, clipped_T * advantages_T)


def kl_k3(logprobs_T: Tensor, reference_logprobs_T: Tensor) -> Tensor:
    """Return the k3 estimate of KL(policy || reference) per token, `exp(d) - d - 1` with `d = reference - policy`.

    Shape `(T,)`, nats, never negative, zero where both agree. `d` is clamped to ±20 so that no token overflows.
    """
    difference_T = (reference_logprobs_T - logprobs_T).clamp(-20, 20)
    return torch.exp(difference_T) - difference_T - 1


def negative_log_likelihood(logprobs_T: Tensor) -> Tensor:
    """Return `-logprobs_T`: what fine-tuning on accepted samples minimises, on the completion's tokens alone."""
    return -logprobs_T
