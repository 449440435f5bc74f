"""Drawing tokens: pure functions on logits, with chance as an argument.

A row's kept set is cut in this order, which is vLLM's: what a grammar allows, temperature, min-p (`p >= min_p * max(p)`:
Nguyen et al. 2024, arXiv:2407.01082), top-k, top-p (the most likely tokens that hold this mass: Holtzman et al. 2019,
arXiv:1904.09751). Every cut is one threshold on the scaled logits, and tokens that equal it are kept; so the trainer
can replay the set, and log-probabilities mean the same on both sides: over the kept set, at the sampling temperature.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synlearner.events.types import Decoding

SLACK = 1e-2
"""Logits: by so much more than min-p keeps is looked at closely, since rounding comes before the exact cut."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """How each row's kept set is cut, one entry per row, shape `(B,)` each."""

    temperature_B: Tensor
    min_p_B: Tensor
    """In [0, 1); 0 keeps everything."""
    top_k_B: Tensor
    """0 keeps everything."""
    top_p_B: Tensor
    """In (0, 1]; 1 keeps everything."""

    @classmethod
    def of(cls, decodings: Sequence[Decoding], device: torch.device | str = "cpu") -> "Cuts":
        """Return the cuts of rows that are drawn like this."""
        return cls(
            torch.tensor([d.temperature for d in decodings], device=device),
            torch.tensor([d.min_p for d in decodings], device=device),
            torch.tensor([d.top_k for d in decodings], device=device, dtype=torch.int64),
            torch.tensor([d.top_p for d in decodings], device=device),
        )

    def __getitem__(self, rows: Tensor) -> "Cuts":
        return Cuts(self.temperature_B[rows], self.min_p_B[rows], self.top_k_B[rows], self.top_p_B[rows])

    def is_cut(self) -> Tensor:
        """Tell which rows are cut at all."""
        return (self.min_p_B > 0) | (self.top_k_B > 0) | (self.top_p_B < 1)


def floors(scaled_B_V: Tensor, cuts: Cuts) -> Tensor:
    """Return each row's least kept logit over temperature, `(B, 1)`; `-inf` for a row that is not cut."""
    floor_B_1 = scaled_B_V.amax(-1, keepdim=True) + torch.log(cuts.min_p_B)[:, None]
    most = int(cuts.top_k_B.max()) if len(cuts.top_k_B) else 0
    if most:
        best_B_K = scaled_B_V.topk(min(most, scaled_B_V.shape[1]), dim=-1).values
        place_B_1 = (cuts.top_k_B - 1).clamp(min=0, max=best_B_K.shape[1] - 1)[:, None]
        least_B_1 = best_B_K.gather(1, place_B_1)
        floor_B_1 = torch.where(cuts.top_k_B[:, None] > 0, torch.maximum(floor_B_1, least_B_1), floor_B_1)
    if bool((cuts.top_p_B < 1).any()):
        kept_B_V = scaled_B_V.masked_fill(scaled_B_V < floor_B_1, -math.inf)
        sorted_B_V = kept_B_V.sort(dim=-1, descending=True).values
        before_B_V = sorted_B_V.softmax(-1).cumsum(-1).roll(1, -1)
        before_B_V[:, 0] = 0.0
        last_B_1 = ((before_B_V < cuts.top_p_B[:, None]).sum(-1, keepdim=True) - 1).clamp(min=0)
        least_B_1 = sorted_B_V.gather(1, last_B_1)
        floor_B_1 = torch.where(cuts.top_p_B[:, None] < 1, torch.maximum(floor_B_1, least_B_1), floor_B_1)
    return floor_B_1


def kept_logprobs(logits_B_V: Tensor, temperature_B: Tensor, min_p_B: Tensor) -> Tensor:
    """Return log-probabilities over the kept set of min-p, `-inf` outside it, `(B, V)`: what a trainer replays."""
    whole_B = torch.ones_like(min_p_B)
    logprobs_B_K, token_B_K = candidates(logits_B_V, Cuts(temperature_B, min_p_B, whole_B.long() * 0, whole_B))
    # Places without a token repeat the row's first one: the larger value stays.
    dense_B_V = torch.full_like(logits_B_V, -math.inf)
    return dense_B_V.scatter_reduce_(1, token_B_K, logprobs_B_K, "amax")


def candidates(logits_B_V: Tensor, cuts: Cuts, allowed_B_V: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the kept tokens of each row with their log-probabilities.

    Args:
        logits_B_V: Raw logits, shape `(B, V)`, float32.
        cuts: How each row is cut.
        allowed_B_V: What a grammar allows, boolean; None allows everything. A row of nothing is an error of the caller.

    Returns:
        Log-probabilities (nats, summing to one in each row) and token ids, both `(B, K)`, a row's tokens in ascending
        order. Places without a token, or with one that is cut off, are `-inf`.
    """
    if allowed_B_V is not None:
        logits_B_V = logits_B_V.masked_fill(~allowed_B_V, -math.inf)
    elif not bool(cuts.is_cut().any()):
        every_B_V = torch.arange(logits_B_V.shape[1], device=logits_B_V.device).expand(logits_B_V.shape)
        return torch.log_softmax(logits_B_V / cuts.temperature_B[:, None], dim=-1), every_B_V
    near_B = cuts.temperature_B * torch.log(cuts.min_p_B) - SLACK
    near_B_1 = (logits_B_V.amax(-1, keepdim=True) + near_B[:, None]).clamp(min=torch.finfo(logits_B_V.dtype).min)
    row_N, token_N = (logits_B_V >= near_B_1).nonzero(as_tuple=True)
    # From here on with the tokens near the best alone: often a handful of 49,152.
    count_B = torch.bincount(row_N, minlength=len(logits_B_V))
    place_N = torch.arange(len(row_N), device=row_N.device) - (count_B.cumsum(0) - count_B)[row_N]
    shape = (len(count_B), int(count_B.max()))
    scaled_B_K = logits_B_V.new_full(shape, -math.inf)
    token_B_K = torch.zeros(shape, dtype=torch.int64, device=row_N.device)
    scaled_B_K[row_N, place_N] = logits_B_V[row_N, token_N] / cuts.temperature_B[row_N]
    token_B_K[row_N, place_N] = token_N
    return torch.log_softmax(
        scaled_B_K.masked_fill(scaled_B_K < floors(scaled_B_K, cuts), -math.inf), dim=-1
    ), token_B_K


def draw(logprobs_B_K: Tensor, uniform_B: Tensor) -> Tensor:
    """Return one place per row by inverting its cumulative distribution at *uniform_B* in [0, 1).

    What a row draws depends on its own distribution and its own uniform, not on its neighbours.
    """
    cumulative_B_K = logprobs_B_K.double().exp().cumsum(-1)
    target_B_1 = uniform_B.double()[:, None] * cumulative_B_K[:, -1:]
    return torch.searchsorted(cumulative_B_K, target_B_1, right=True)[:, 0].clamp(max=logprobs_B_K.shape[1] - 1)


def uniforms(seed: int, count: int) -> Tensor:
    """Return *count* uniforms in [0, 1) for a sample's seed, float64, shape `(count,)`. Counter-based: no state."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).random(count))
