"""vLLM in this process: for GPUs, and on its CPU build the same.

Every sample is a request of its own with its own seed; the prefix cache reads a prompt once. Adapters are served under
names made of their digests, so what is cached for one is never used for another (vLLM keys its cache by name).
Log-probabilities are vLLM's `processed` ones: over the kept set, at the sampling temperature, as the trainer's are.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synlearner.errors import ConfigError, EngineError, ModelError
from synlearner.policies.adapters import adapter_name, write_adapter
from synlearner.policies.engine import Progress, Request, Sample, failed
from synlearner.policies.fetch import find
from synlearner.policies.grammar import compiled
from synlearner.policies.model import PolicyModel
from synlearner.policies.rows import clip_at_stop
from synlearner.policies.schema import refuse_closing

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM reserves room for."""

SHARE = 0.45
"""Of a GPU's memory: the trainer needs the rest."""


class VllmEngine:
    """Samples from vLLM; *model* is the same base here, whose tokenizer writes the prompts and whose adapter learns."""

    name = "vllm"

    def __init__(self, source: str, model: PolicyModel, *, rank: int, alpha: int, dtype: str) -> None:
        """Load the model into vLLM.

        Raises:
            ConfigError: If vLLM is not installed.
            ModelError: If it cannot load the model.
        """
        self._model = model
        self._alpha = alpha
        self._source = str(find(source))
        self._folder = tempfile.TemporaryDirectory(prefix="synlearner-adapters-")
        self._adapters: dict[str, int] = {}
        self._serving = ""
        self.frozen = ""
        """It learns: see `Engine`."""
        self.dtype = dtype
        """What it computes in."""
        self._llm = _load(self._source, rank, dtype)

    @property
    def base_model(self) -> str:
        """Digest of the base weights."""
        return self._model.base_digest

    def close(self) -> None:
        """Let go of vLLM's workers and of the adapters' folder."""
        self._llm.llm_engine.engine_core.shutdown()
        self._folder.cleanup()

    def load(self, adapter: bytes | None) -> None:
        """Serve this adapter from now on; None is the untrained policy.

        Raises:
            EngineError: If it does not fit. The old one is then still served.
        """
        if adapter is None:
            self._serving = ""
            return
        self._model.load_adapter(adapter)  # checks every tensor, and raises before anything has changed
        name = adapter_name(adapter)
        if name not in self._adapters:
            path = write_adapter(adapter, self._alpha, Path(self._folder.name), self._source)
            number = len(self._adapters) + 1
            try:
                taken = self._llm.llm_engine.add_lora(_lora(name, number, path))
            except Exception as error:  # vLLM raises what the worker raised
                raise EngineError(f"vLLM does not take the adapter: {error}") from error
            if not taken:
                raise EngineError("vLLM does not take the adapter: its rank or its layers do not fit")
            self._adapters[name] = number
        self._serving = name

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order. A prompt that the model cannot read fails alone.

        Raises:
            ConfigError: If a grammar is to end samples in time: vLLM masks by the grammar alone, and counts no tokens.
            EngineError: If vLLM fails.
        """
        groups: list[list[Sample]] = []
        prompts, settings, places = [], [], []
        refuse_closing((request.decoding.grammar for request in requests), self.name)
        for i, request in enumerate(requests):
            ids = self._model.prompt_tokens(request.text, request.prefix)
            try:
                self._model.check_fits(len(ids) + request.decoding.max_new_tokens)
            except EngineError as error:
                groups.append([failed(str(error))] * len(request.seeds))
                continue
            groups.append([])
            for seed in request.seeds:
                prompts.append({"prompt_token_ids": ids})
                settings.append(_sampling(request, seed, self._model))
                places.append(i)
        tokens, ended = 0, sum(map(len, groups))
        for i, answer in zip(places, self._ask(prompts, settings), strict=True):
            sample = self._read(answer.outputs[0], requests[i])
            groups[i].append(sample)
            tokens, ended = tokens + len(sample.token_ids), ended + 1
            if progress:
                progress(tokens, ended)
        return groups

    def _ask(self, prompts: list[Any], settings: list[Any]) -> list[Any]:
        if not prompts:
            return []
        lora = None
        if self._serving:
            lora = _lora(self._serving, self._adapters[self._serving], Path(self._folder.name) / self._serving)
        try:
            answers: list[Any] = self._llm.generate(prompts, settings, lora_request=lora, use_tqdm=False)
        except Exception as error:  # whatever broke in there, the run must say it and stop
            raise EngineError(f"vLLM failed: {str(error).strip() or type(error).__name__}") from error
        return answers

    def _read(self, out: Any, request: Request) -> Sample:
        ids = list(out.token_ids)
        values = [
            min(0.0, round(steps[token].logprob, 6)) for token, steps in zip(ids, out.logprobs or [], strict=True)
        ]
        finish = {"stop": "stop", "length": "length"}.get(out.finish_reason or "", "error")
        text = self._model.decode(ids[:-1] if ids and ids[-1] in self._model.end_tokens else ids)
        return Sample(clip_at_stop(text, request.stop), ids, values, finish)


def _load(source: str, rank: int, dtype: str) -> Any:
    # Both are read when vLLM is imported: its engine in this process, so that the schedule repeats, and quiet.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    try:
        from vllm import LLM  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ConfigError(
            f"policy.engine=vllm needs vLLM ({error}): run `make vllm`, or pip install 'synlearner[vllm]'"
        ) from error
    room = next((size for size in RANKS if size >= rank), None)
    if room is None:
        raise ConfigError(f"policy.rank={rank} is more than vLLM serves: {RANKS[-1]} at most")
    try:
        return LLM(
            model=source,
            dtype=dtype,
            seed=0,
            enforce_eager=True,
            enable_lora=True,
            max_lora_rank=room,
            max_loras=2,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            structured_outputs_config={"backend": "guidance"},
            gpu_memory_utilization=SHARE,
            disable_log_stats=True,
        )
    except Exception as error:  # what vLLM raises over a strange model can be anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"vLLM cannot load {source!r}: {reason}") from error


def _lora(name: str, number: int, path: Path) -> Any:
    from vllm.lora.request import LoRARequest  # noqa: PLC0415 - an extra

    return LoRARequest(name, number, str(path))


def _sampling(request: Request, seed: int, model: PolicyModel) -> Any:
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams  # noqa: PLC0415 - an extra

    decoding = request.decoding
    if decoding.grammar:
        compiled(decoding.grammar)  # a bad one is refused here, by name
    return SamplingParams(
        seed=seed % 2**63,
        temperature=decoding.temperature,
        min_p=decoding.min_p,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        max_tokens=decoding.max_new_tokens,
        stop=[request.stop] if request.stop else None,
        stop_token_ids=sorted(model.end_tokens),
        logprobs=0,
        structured_outputs=StructuredOutputsParams(grammar=f"start: %json {decoding.grammar}")
        if decoding.grammar
        else None,
    )
