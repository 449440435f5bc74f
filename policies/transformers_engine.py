"""The embedded engine: a decoding loop over a Hugging Face causal model, on CPU or GPU.

A prompt is read once for its whole group; finished rows leave the batch and waiting ones join it, so that it stays
full; each row draws from its own seed.
It knows nothing of tasks or rewards, and never trains: `synlearner.policies.learner` does, on the same weights.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.policies.decoding import Decoding, make_decoding
from synlearner.policies.engine import Progress, Request, Sample, failed
from synlearner.policies.grammar import grammars_of
from synlearner.policies.half import MIXED, Half
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

    def __init__(self, model: PolicyModel, *, rows: int = ROWS, mixed: bool = False) -> None:
        """Write at most *rows* samples side by side; *mixed*: with products in bfloat16 (`synlearner.policies.half`)."""
        self._model = model
        self._rows = rows
        self._mixed = mixed

    @property
    def base_model(self) -> str:
        """Digest of the base weights."""
        return self._model.base_digest

    @property
    def dtype(self) -> str:
        """What it computes in, as `policy.dtype` calls it."""
        return MIXED if self._mixed else str(self._model.network.dtype).removeprefix("torch.")

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Write in the trainer's own precision for a while: the canary compares there, too."""
        usual, self._mixed = self._mixed, False
        try:
            yield
        finally:
            self._mixed = usual

    def load(self, adapter: bytes | None) -> None:
        """Serve this adapter from now on; None is the untrained policy."""
        self._model.load_adapter(adapter)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order. A prompt that the model cannot read fails alone.

        A group whose prompt is too long has samples that finish with `error` and say why.

        Raises:
            ConfigError: If a grammar cannot be followed, or has no room to; before anything is written.
        """
        for decoding in {request.decoding for request in requests if request.decoding.grammar}:
            grammars_of(self._model).matcher(decoding)
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
        rows = [Row(requests[i], i, seed) for i in readable for seed in requests[i].seeds]
        if rows:
            with self._packed():
                longest = max(row.request.decoding.max_new_tokens for row in rows)
                width = min(self._rows, len(rows))
                batch = make_decoding(self._model, prompts, longest, width, mixed=self._mixed)
                _write(self._model, batch, rows, longest, count)
        for i in readable:
            groups[i] = []
        for row in rows:
            groups[row.group].append(row.sample())
        return groups

    def _packed(self) -> AbstractContextManager[None]:
        if self._model.written_by(mixed=self._mixed):
            return nullcontext()
        return packed(self._model.network, Half if self._mixed else None)

    def _problem(self, prompt: list[int], request: Request) -> str:
        try:
            self._model.check_fits(len(prompt) + request.decoding.max_new_tokens)
        except EngineError as error:
            return str(error)
        return ""


def _write(model: PolicyModel, decoding: Decoding, rows: list[Row], longest: int, count: Progress) -> None:
    """Write all *rows* to their end, one token for every open row at a time, of at most *longest* tokens each."""
    cuts = Cuts.of([row.request.decoding for row in rows], model.device)
    uniform_N_T = torch.stack([uniforms(row.seed, longest) for row in rows]).to(model.device)
    waiting, places = deque(range(len(rows))), list[int]()
    logits_B_V = torch.zeros(0, 0)
    while places or waiting:
        coming = [waiting.popleft() for _ in range(min(len(waiting), decoding.room()))]
        if coming:
            for row in (rows[place] for place in coming):
                row.begin(model)
            read_B_V = decoding.enter([rows[place].group for place in coming])
            logits_B_V = torch.cat([logits_B_V, read_B_V]) if places else read_B_V
            places += coming
        index_B = torch.tensor(places, device=model.device)
        age_B = torch.tensor([len(rows[place].token_ids) for place in places], device=model.device)
        allowed_B_V = _allowed([rows[place] for place in places], logits_B_V)
        logprobs_B_K, ids_B_K = candidates(_finite(logits_B_V), cuts[index_B], allowed_B_V)
        place_B_1 = draw(logprobs_B_K, uniform_N_T[index_B, age_B])[:, None]
        token_B = ids_B_K.gather(1, place_B_1)[:, 0]
        drawn_B = logprobs_B_K.gather(1, place_B_1)[:, 0]
        for place, token, logprob in zip(places, token_B.tolist(), drawn_B.tolist(), strict=True):
            rows[place].add(token, logprob, model)
        kept = decoding.keep([i for i, place in enumerate(places) if not rows[place].finish])
        count(len(places), len(places) - len(kept))
        places = [places[i] for i in kept]
        if places:
            logits_B_V = decoding.step(token_B[torch.tensor(kept, device=model.device)])


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
