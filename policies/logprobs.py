"""Log-probabilities of drawn tokens, with little memory: no copy of the logits is kept, forward or backward.

A row of logits is as long as the vocabulary; the plain formula holds six such matrices at the peak of a step (scaled,
masked, exponentials, and their gradients), this one two.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 64
"""Rows worked on at a time."""


def drawn_logprobs(logits_T_V: Tensor, target_T: Tensor, temperature: float, min_p: float) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability over the sampler's kept set and over the whole vocabulary, nats, `(T,)`.

    The kept set is recomputed from these logits (`min_p` at the temperature: `synlearner.policies.sampler`). A drawn
    token that rounding puts just outside it counts as kept. Gradients flow through the probabilities, not through the
    choice of the set.
    """
    kept_T, full_T = _DrawnLogprobs.apply(logits_T_V, target_T, temperature, min_p)  # type: ignore[no-untyped-call]
    return kept_T, full_T


class _DrawnLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_T_V: Tensor, target_T: Tensor, temperature: float, min_p: float) -> Any:
        kept, full = [], []
        for rows in _rows(len(target_T)):
            scaled, masked = _scaled(logits_T_V[rows], target_T[rows], temperature, min_p)
            drawn = scaled.gather(1, target_T[rows, None])[:, 0]
            full.append(drawn - scaled.logsumexp(-1))
            kept.append(drawn - masked.logsumexp(-1) if min_p else full[-1])
        ctx.save_for_backward(logits_T_V, target_T)
        ctx.temperature, ctx.min_p = temperature, min_p
        return torch.cat(kept), torch.cat(full)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        logits_T_V, target_T = ctx.saved_tensors
        kept_T, full_T = gradients
        gradient_T_V = torch.empty_like(logits_T_V)
        for rows in _rows(len(target_T)):
            scaled, masked = _scaled(logits_T_V[rows], target_T[rows], ctx.temperature, ctx.min_p)
            part = -full_T[rows, None] * scaled.softmax(-1) - kept_T[rows, None] * masked.softmax(-1)
            both = (kept_T + full_T)[rows, None].to(part.dtype)
            part.scatter_(1, target_T[rows, None], part.gather(1, target_T[rows, None]) + both)
            gradient_T_V[rows] = (part / ctx.temperature).to(gradient_T_V.dtype)
        return gradient_T_V, None, None, None


def _rows(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))


def _scaled(logits: Tensor, target: Tensor, temperature: float, min_p: float) -> tuple[Tensor, Tensor]:
    """Return logits over temperature, and the same with everything outside the kept set at `-inf`."""
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    if not min_p:
        return scaled, scaled
    floor = torch.minimum(scaled.amax(-1) + math.log(min_p), scaled.gather(1, target[:, None])[:, 0])
    return scaled, scaled.masked_fill(scaled < floor[:, None], -torch.inf)
