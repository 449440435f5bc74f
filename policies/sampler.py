"""Drawing tokens: pure functions on logits, with chance as an argument.

The kept set is `p >= min_p * max(p)` (min-p: Nguyen et al. 2024, arXiv:2407.01082). Expressed in scaled logits it is
one comparison, `z >= max(z) + log(min_p)`, so the trainer can replay it exactly and log-probabilities mean the same
on both sides: they are over the kept set, at the sampling temperature.
"""

import math

import numpy as np
import torch
from torch import Tensor


def kept_logprobs(logits_B_V: Tensor, temperature_B: Tensor, min_p_B: Tensor) -> Tensor:
    """Return log-probabilities over the kept set, `-inf` outside it.

    Args:
        logits_B_V: Raw logits, shape `(B, V)`, float32.
        temperature_B: Above 0, shape `(B,)`.
        min_p_B: In [0, 1), shape `(B,)`; 0 keeps everything.

    Returns:
        Shape `(B, V)`, nats. Each row's probabilities sum to 1.
    """
    scaled_B_V = logits_B_V / temperature_B[:, None]
    floor_B_1 = scaled_B_V.amax(-1, keepdim=True) + torch.log(min_p_B)[:, None]
    return torch.log_softmax(scaled_B_V.masked_fill(scaled_B_V < floor_B_1, -math.inf), dim=-1)


def draw(logprobs_B_V: Tensor, uniform_B: Tensor) -> Tensor:
    """Return one token per row by inverting its cumulative distribution at *uniform_B* in [0, 1).

    A row's token depends on its own distribution and its own uniform, not on its neighbours.
    """
    cumulative_B_V = logprobs_B_V.exp().double().cumsum(-1)
    target_B_1 = uniform_B.double()[:, None] * cumulative_B_V[:, -1:]
    return torch.searchsorted(cumulative_B_V, target_B_1, right=True)[:, 0].clamp(max=logprobs_B_V.shape[1] - 1)


def uniforms(seed: int, count: int) -> Tensor:
    """Return *count* uniforms in [0, 1) for a sample's seed, float64, shape `(count,)`. Counter-based: no state."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).random(count))
