"""The embedded engine: a decoding loop over a Hugging Face causal model, on CPU or GPU.

A prompt is read once for its whole group; finished rows leave the batch; each row draws from its own seed.
It knows nothing of tasks or rewards, and never trains: `synlearner.policies.learner` does, on the same weights.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.policies.decoding import make_decoding
from synlearner.policies.engine import Progress, Request, Sample, failed
from synlearner.policies.grammar import grammars_of
from synlearner.policies.logprobs import unpacked
from synlearner.policies.model import PolicyModel
from synlearner.policies.packed import packed
from synlearner.policies.rows import Row
from synlearner.policies.sampler import Cuts, candidates, draw, uniforms

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

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order. A prompt that the model cannot read fails alone.

        A group whose prompt is too long has samples that finish with `error` and say why.
        """
        tokens = ended = 0

        def count(new_tokens: int, new_ended: int) -> None:
            nonlocal tokens, ended
            tokens, ended = tokens + new_tokens, ended + new_ended
            if progress:
                progress(tokens, ended)

        prompts = [self._model.prompt_tokens(r.text, r.prefix) for r in requests]
        problems = [self._problem(p, r) for p, r in zip(prompts, requests, strict=True)]
        groups = [[failed(problem)] * len(r.seeds) for problem, r in zip(problems, requests, strict=True)]
        count(0, sum(len(group) for group, problem in zip(groups, problems, strict=True) if problem))
        readable = [i for i, problem in enumerate(problems) if not problem]
        with packed(self._model.network):
            for batch in _batches(requests, readable, self._rows):
                for i, group in zip(batch, self._batch([(requests[i], prompts[i]) for i in batch], count), strict=True):
                    groups[i] = group
        return groups

    def _problem(self, prompt: list[int], request: Request) -> str:
        try:
            self._model.check_fits(len(prompt) + request.decoding.max_new_tokens)
        except EngineError as error:
            return str(error)
        return ""

    def _batch(self, asked: list[tuple[Request, list[int]]], count: Progress) -> list[list[Sample]]:
        rows = [Row(request, place, seed) for place, (request, _) in enumerate(asked) for seed in request.seeds]
        _write(self._model, [prompt for _, prompt in asked], rows, count)
        return [[row.sample() for row in rows if row.group == place] for place in range(len(asked))]


def _batches(requests: Sequence[Request], places: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield *places* of requests in their order, as many as have at most *most* samples together, or one."""
    batch: list[int] = []
    for place in places:
        if batch and sum(len(requests[i].seeds) for i in [*batch, place]) > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _write(model: PolicyModel, prompts: list[list[int]], rows: list[Row], count: Progress) -> None:
    """Write all *rows* to their end, one token for every open row at a time."""
    settings = [row.request.decoding for row in rows]
    longest = max(setting.max_new_tokens for setting in settings)
    cuts = Cuts.of(settings, model.device)
    uniform_B_T = torch.stack([uniforms(row.seed, longest) for row in rows]).to(model.device)
    for row, setting in zip(rows, settings, strict=True):
        row.matcher = grammars_of(model).matcher(setting.grammar) if setting.grammar else None
    decoding = make_decoding(model, prompts, [row.group for row in rows], longest)
    logits_B_V = decoding.begin()
    with decoding.writing():
        for step in range(longest):
            logprobs_B_K, ids_B_K = candidates(_finite(logits_B_V), cuts, _allowed(rows, logits_B_V))
            place_B_1 = draw(logprobs_B_K, uniform_B_T[:, step])[:, None]
            token_B = ids_B_K.gather(1, place_B_1)[:, 0]
            drawn_B = logprobs_B_K.gather(1, place_B_1)[:, 0]
            for row, token, logprob in zip(rows, token_B.tolist(), drawn_B.tolist(), strict=True):
                row.add(token, logprob, model)
            kept = [i for i, row in enumerate(rows) if not row.finish]
            count(len(rows), len(rows) - len(kept))
            if not kept:
                return
            if len(kept) < len(rows):
                decoding.keep(kept)
                rows = [rows[i] for i in kept]
                index_B = torch.tensor(kept, device=model.device)
                token_B, cuts, uniform_B_T = token_B[index_B], cuts[index_B], uniform_B_T[index_B]
            logits_B_V = decoding.step(token_B)


def _finite(logits_B_V: Tensor) -> Tensor:
    if not torch.isfinite(logits_B_V.amax()):
        raise EngineError("the model's logits are not finite: use policy.dtype=float32, or lower the learning rates")
    return logits_B_V.float()


def _allowed(rows: Sequence[Row], logits_B_V: Tensor) -> Tensor | None:
    """Return what the grammars of *rows* allow next, boolean `(B, V)`; None where no row has one."""
    masks = [row.matcher.mask() if row.matcher else None for row in rows]
    words = next((len(mask) for mask in masks if mask is not None), 0)
    if not words:
        return None
    every_W = torch.full((words,), -1, dtype=torch.int32)
    allowed_B_W = torch.stack([every_W if mask is None else mask for mask in masks])
    allowed_B_V = unpacked(allowed_B_W, logits_B_V.shape[1])
    for i, mask in enumerate(masks):
        if mask is None:
            allowed_B_V[i] = True
    return allowed_B_V.to(logits_B_V.device)
