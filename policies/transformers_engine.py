"""The embedded engine: a decoding loop over a Hugging Face causal model, on CPU or GPU.

A prompt is read once for its whole group; finished rows leave the batch; each row draws from its own seed.
It knows nothing of tasks or rewards, and never trains: `synlearner.policies.learner` does, on the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from synlearner.policies.engine import Progress, Request, Sample
from synlearner.policies.model import PolicyModel
from synlearner.policies.sampler import draw, kept_logprobs, uniforms

ROWS = 64
"""Samples that are written side by side: weights are read once a step for all of them."""


class TransformersEngine:
    """Samples from a `PolicyModel`."""

    name = "transformers"

    def __init__(self, model: PolicyModel, *, rows: int = ROWS) -> None:
        self._model = model
        self._rows = rows

    @property
    def base_model(self) -> str:
        """Digest of the base weights."""
        return self._model.base_digest

    def load(self, adapter: bytes | None) -> None:
        """Serve this adapter from now on; None is the untrained policy."""
        self._model.load_adapter(adapter)

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order."""
        groups: list[list[Sample]] = []
        tokens = ended = 0

        def count(new_tokens: int, new_ended: int) -> None:
            nonlocal tokens, ended
            tokens, ended = tokens + new_tokens, ended + new_ended
            if progress:
                progress(tokens, ended)

        batch: list[Request] = []
        for request in requests:
            if batch and sum(len(r.seeds) for r in [*batch, request]) > self._rows:
                groups.extend(self._batch(batch, count))
                batch = []
            batch.append(request)
        if batch:
            groups.extend(self._batch(batch, count))
        return groups

    @torch.inference_mode()
    def _batch(self, requests: list[Request], count: Progress) -> list[list[Sample]]:
        prompts = [self._model.prompt_tokens(r.text, r.prefix) for r in requests]
        longest = max(len(p) + r.decoding.max_new_tokens for p, r in zip(prompts, requests, strict=True))
        self._model.check_fits(longest)
        rows = [_Row(r, i, seed) for i, r in enumerate(requests) for seed in r.seeds]
        _decode(self._model, prompts, rows, count)
        return [[row.sample() for row in rows if row.group == i] for i in range(len(requests))]


@dataclass(slots=True)
class _Row:
    """One sample while it is written."""

    request: Request
    group: int
    seed: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish: str = ""

    def add(self, token: int, logprob: float, model: PolicyModel) -> None:
        """Take a drawn token, and notice the end."""
        self.token_ids.append(token)
        # Six decimals: far below float32 noise between sampler and trainer (about 1e-5), a third of the log's size.
        self.logprobs.append(round(logprob, 6))
        if token in model.end_tokens:
            self.finish = "stop"
            self.text = model.decode(self.token_ids[:-1])
            return
        self.text = model.decode(self.token_ids)
        stop = self.request.stop
        # A stop before the first word would end an empty sample: leading blank lines are read over.
        if stop and stop in self.text.lstrip():
            self.finish = "stop"
            self.text = self.text.lstrip().split(stop, 1)[0]
        elif len(self.token_ids) == self.request.decoding.max_new_tokens:
            self.finish = "length"

    def sample(self) -> Sample:
        return Sample(self.text.strip(), self.token_ids, self.logprobs, self.finish)


def _decode(model: PolicyModel, prompts: list[list[int]], rows: list[_Row], count: Progress) -> None:
    """Write all *rows* to their end: prefill each prompt once, then one token for every open row at a time."""
    device = model.device
    ids_P_T, mask_P_T = _left_padded(prompts, model.pad_token, device)
    cache = DynamicCache()
    logits_P_V = model.forward(ids_P_T, mask_P_T, _positions(mask_P_T), cache)
    repeats = torch.tensor([sum(row.group == i for row in rows) for i in range(len(prompts))], device=device)
    owner_B = torch.repeat_interleave(torch.arange(len(prompts), device=device), repeats)
    cache.batch_select_indices(owner_B)
    logits_B_V, mask_B_T = logits_P_V[owner_B], mask_P_T[owner_B]
    position_B = mask_B_T.sum(-1)
    temperature_B = torch.tensor([row.request.decoding.temperature for row in rows], device=device)
    min_p_B = torch.tensor([row.request.decoding.min_p for row in rows], device=device)
    longest = max(row.request.decoding.max_new_tokens for row in rows)
    uniform_B_T = torch.stack([uniforms(row.seed, longest) for row in rows]).to(device)
    rows = list(rows)
    for step in range(longest):
        logprobs_B_V = kept_logprobs(logits_B_V.float(), temperature_B, min_p_B)
        token_B = draw(logprobs_B_V, uniform_B_T[:, step])
        drawn_B = logprobs_B_V.gather(1, token_B[:, None])[:, 0]
        for row, token, logprob in zip(rows, token_B.tolist(), drawn_B.tolist(), strict=True):
            row.add(token, logprob, model)
        open_rows = [i for i, row in enumerate(rows) if not row.finish]
        count(len(rows), len(rows) - len(open_rows))
        if not open_rows:
            return
        if len(open_rows) < len(rows):
            keep = torch.tensor(open_rows, device=device)
            cache.batch_select_indices(keep)
            rows = [rows[i] for i in open_rows]
            token_B, mask_B_T, position_B = token_B[keep], mask_B_T[keep], position_B[keep]
            temperature_B, min_p_B, uniform_B_T = temperature_B[keep], min_p_B[keep], uniform_B_T[keep]
        mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones(len(rows), 1)], dim=1)
        logits_B_V = model.forward(token_B[:, None], mask_B_T, position_B[:, None], cache)
        position_B = position_B + 1


def _left_padded(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and mask, both `(P, T)`. The mask comes from lengths: pad may be a real token (pad = eos)."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(p)) + p for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _positions(mask_P_T: Tensor) -> Tensor:
    return (mask_P_T.cumsum(-1) - 1).clamp(min=0)
