"""Log-probabilities of drawn tokens, with little memory: a chunk of logits at a time, forward and backward.

A row of logits is as long as the vocabulary. The plain formula holds six such matrices at the peak of a step. Where the
model's logits are a plain product with its output embedding, `head_logprobs` holds none: the slope of a
log-probability in its hidden state is as long as that state, and is worked out together with the value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synlearner.events.types import Decoding
from synlearner.policies.sampler import Cuts, floors

ROWS = 64
"""Rows worked on at a time."""


@dataclass(frozen=True, slots=True)
class Support:
    """What the sampler drew from."""

    temperature: float
    min_p: float
    allowed_T_W: Tensor | None = None
    """Tokens that a grammar allowed, as int32 bit masks: bit `i` of word `w` is token `32 w + i`. None allows all."""
    top_k: int = 0
    top_p: float = 1.0

    @property
    def is_cut(self) -> bool:
        """Whether unlikely tokens were cut off."""
        return self.min_p > 0 or self.top_k > 0 or self.top_p < 1

    @property
    def is_whole(self) -> bool:
        """Whether nothing was cut off."""
        return not self.is_cut and self.allowed_T_W is None


def drawn_logprobs(logits_T_V: Tensor, target_T: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability over the sampler's kept set and over all allowed tokens, nats, `(T,)`.

    The kept set is recomputed from these logits (`min_p` at the temperature: `synlearner.policies.sampler`). A drawn
    token that rounding puts just outside it counts as kept. Gradients flow through the probabilities, not through the
    choice of the set.
    """
    kept_T, full_T = _OfLogits.apply(logits_T_V, target_T, support)  # type: ignore[no-untyped-call]
    return kept_T, full_T


def head_logprobs(
    hidden_T_D: Tensor,
    weight_V_D: Tensor,
    bias_V: Tensor | None,
    target_T: Tensor,
    support: Support,
    *,
    slopes: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return what `drawn_logprobs` returns for `hidden @ weight.T + bias`, without that matrix.

    The head is frozen: gradients flow to *hidden* alone, and only to the first result without *slopes* of the second.
    """
    kept_T, full_T = _OfHidden.apply(hidden_T_D, weight_V_D, bias_V, target_T, support, slopes)  # type: ignore[no-untyped-call]
    return kept_T, full_T


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_T_V: Tensor, target_T: Tensor, support: Support) -> Any:
        kept, full = [], []
        for rows in _rows(len(target_T)):
            scaled, masked = _scaled(logits_T_V[rows], target_T, rows, support)
            drawn = scaled.gather(1, target_T[rows, None])[:, 0]
            full.append(drawn - scaled.logsumexp(-1))
            kept.append(full[-1] if masked is None else drawn - masked.logsumexp(-1))
        ctx.save_for_backward(logits_T_V, target_T)
        ctx.support = support
        return torch.cat(kept), torch.cat(full)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        logits_T_V, target_T = ctx.saved_tensors
        kept_T, full_T = gradients
        gradient_T_V = torch.empty_like(logits_T_V)
        for rows in _rows(len(target_T)):
            scaled, masked = _scaled(logits_T_V[rows], target_T, rows, ctx.support)
            part = -full_T[rows, None] * scaled.softmax(-1)
            part -= kept_T[rows, None] * (scaled if masked is None else masked).softmax(-1)
            both = (kept_T + full_T)[rows, None].to(part.dtype)
            part.scatter_(1, target_T[rows, None], part.gather(1, target_T[rows, None]) + both)
            gradient_T_V[rows] = (part / ctx.support.temperature).to(gradient_T_V.dtype)
        return gradient_T_V, None, None


class _OfHidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_T_D: Tensor,
        weight_V_D: Tensor,
        bias_V: Tensor | None,
        target_T: Tensor,
        support: Support,
        slopes: bool,
    ) -> Any:
        learns = bool(ctx.needs_input_grad[0])
        kept, full = _Column(support.temperature), _Column(support.temperature)
        for rows in _rows(len(target_T)):
            logits = torch.nn.functional.linear(hidden_T_D[rows], weight_V_D, bias_V)
            scaled, masked = _scaled(logits, target_T, rows, support)
            drawn = scaled.gather(1, target_T[rows, None])[:, 0]
            if masked is not None:
                kept.add(masked, drawn, target_T[rows], weight_V_D, learns=learns)
            full.add(scaled, drawn, target_T[rows], weight_V_D, learns=learns and (slopes or masked is None))
        full_T = torch.cat(full.values)
        kept_T = torch.cat(kept.values) if kept.values else full_T.clone()
        both = [torch.cat(column.slopes) if column.slopes else None for column in (kept, full)]
        ctx.save_for_backward(*both)
        if learns and both[1] is None:
            ctx.mark_non_differentiable(full_T)
        ctx.dtype = hidden_T_D.dtype
        return kept_T, full_T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        kept_T_D, full_T_D = ctx.saved_tensors
        kept_T, full_T = gradients
        if full_T_D is None:
            gradient_T_D = kept_T[:, None] * kept_T_D
        elif kept_T_D is None:
            gradient_T_D = (kept_T + full_T)[:, None] * full_T_D
        else:
            gradient_T_D = kept_T[:, None] * kept_T_D + full_T[:, None] * full_T_D
        return gradient_T_D.to(ctx.dtype), None, None, None, None, None


class _Column:
    """Log-probabilities, and their slopes in the hidden states."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self.values: list[Tensor] = []
        self.slopes: list[Tensor] = []

    def add(self, scores: Tensor, drawn: Tensor, target: Tensor, weight_V_D: Tensor, *, learns: bool) -> None:
        """Take in a chunk of scores, whose memory is used up if it *learns*: `d log p / d hidden = W[target] - p @ W`."""
        total = scores.logsumexp(-1)
        self.values.append(drawn - total)
        if learns:
            expected = scores.sub_(total[:, None]).exp_().to(weight_V_D.dtype) @ weight_V_D
            self.slopes.append((weight_V_D[target].to(scores.dtype) - expected.to(scores.dtype)) / self._temperature)


def _rows(count: int) -> Iterator[slice]:
    return (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))


def _scaled(logits: Tensor, target_T: Tensor, rows: slice, support: Support) -> tuple[Tensor, Tensor | None]:
    """Return the allowed logits over temperature, and the same with everything outside the kept set at `-inf`."""
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / support.temperature
    if support.allowed_T_W is not None:
        scaled.masked_fill_(~unpacked(support.allowed_T_W[rows], scaled.shape[1]), -torch.inf)
    if not support.is_cut:
        return scaled, None
    drawn = scaled.gather(1, target_T[rows, None])
    plain = Decoding(temperature=1.0, min_p=support.min_p, max_new_tokens=1, top_k=support.top_k, top_p=support.top_p)
    floor = torch.minimum(floors(scaled, Cuts.of([plain] * len(scaled), scaled.device)), drawn)
    return scaled, scaled.masked_fill(scaled < floor, -torch.inf)


def unpacked(allowed_T_W: Tensor, size: int) -> Tensor:
    """Return bit masks as booleans, `(T, size)`; tokens beyond the words are not allowed."""
    bits = torch.arange(32, device=allowed_T_W.device, dtype=torch.int32)
    allowed = (((allowed_T_W[:, :, None] >> bits) & 1) != 0).flatten(1)
    return torch.nn.functional.pad(allowed, (0, max(0, size - allowed.shape[1])))[:, :size]
