"""The embedded engine: a decoding loop over a Hugging Face causal model, on CPU or GPU.

A prompt is read once for its whole group; finished rows leave the batch; each row draws from its own seed.
It knows nothing of tasks or rewards, and never trains: `synlearner.policies.learner` does, on the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from synlearner.policies.decoding import make_decoding
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
        _write(self._model, prompts, rows, count)
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


def _write(model: PolicyModel, prompts: list[list[int]], rows: list[_Row], count: Progress) -> None:
    """Write all *rows* to their end, one token for every open row at a time."""
    settings = [row.request.decoding for row in rows]
    longest = max(setting.max_new_tokens for setting in settings)
    temperature_B = torch.tensor([setting.temperature for setting in settings], device=model.device)
    min_p_B = torch.tensor([setting.min_p for setting in settings], device=model.device)
    uniform_B_T = torch.stack([uniforms(row.seed, longest) for row in rows]).to(model.device)
    decoding = make_decoding(model, prompts, [row.group for row in rows], longest)
    logits_B_V = decoding.begin()
    with decoding.writing():
        for step in range(longest):
            logprobs_B_V = kept_logprobs(logits_B_V.float(), temperature_B, min_p_B)
            token_B = draw(logprobs_B_V, uniform_B_T[:, step])
            drawn_B = logprobs_B_V.gather(1, token_B[:, None])[:, 0]
            for row, token, logprob in zip(rows, token_B.tolist(), drawn_B.tolist(), strict=True):
                row.add(token, logprob, model)
            kept = [i for i, row in enumerate(rows) if not row.finish]
            count(len(rows), len(rows) - len(kept))
            if not kept:
                return
            if len(kept) < len(rows):
                decoding.keep(kept)
                rows = [rows[i] for i in kept]
                token_B, temperature_B, min_p_B = token_B[kept], temperature_B[kept], min_p_B[kept]
                uniform_B_T = uniform_B_T[kept]
            logits_B_V = decoding.step(token_B)
