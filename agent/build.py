"""The composition root: the one place that chooses implementations."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from synlearner.agent.config import Settings
from synlearner.agent.policy import Policy
from synlearner.events.chance import derive_seed
from synlearner.policies.engine import Engine

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel

Built = tuple[Engine, "PolicyModel | None"]


def build_policy(settings: Settings, seed: int, engine: Engine | None = None) -> Policy:
    """Return the policy for *settings*, or around an *engine* of the caller's, which then writes but does not learn.

    It loads at first use, which raises ModelError if the model cannot be found or read.
    """
    if engine is not None:
        return Policy(lambda: (engine, None))

    def load() -> Built:
        limit_threads(settings.policy.threads)
        lora = derive_seed(seed, "lora")
        return ENGINES[settings.policy.engine](settings, lora)

    return Policy(load)


def _transformers(settings: Settings, lora: int) -> Built:
    from synlearner.policies.transformers_engine import TransformersEngine  # noqa: PLC0415 - loads torch

    model = _model(settings, settings.policy.model, lora)
    return TransformersEngine(model, mixed=settings.policy.dtype == "mixed"), model


def _vllm(settings: Settings, lora: int) -> Built:
    from synlearner.policies.vllm_engine import VllmEngine  # noqa: PLC0415 - loads torch

    policy = settings.policy
    model = _model(settings, policy.model, lora)
    return VllmEngine(policy.model, model, rank=policy.rank, alpha=policy.alpha, dtype=policy.dtype), model


def _openai(settings: Settings, lora: int) -> Built:
    from synlearner.policies.json_server import JsonServer, Patience  # noqa: PLC0415 - loads httpx
    from synlearner.policies.openai_engine import OpenAIEngine, Served  # noqa: PLC0415 - loads httpx

    policy, server = settings.policy, settings.server
    model = _model(settings, server.weights, lora) if server.weights else None
    patience = Patience(timeout=server.timeout, attempts=server.attempts, per_minute=server.per_minute)
    engine = OpenAIEngine(
        JsonServer(policy.base_url, os.environ.get(server.api_key_env, ""), patience),
        Served(
            model=policy.model,
            parallel=server.parallel,
            weights=model.base_digest if model else "",
            alpha=policy.alpha,
            folder=Path(server.adapters) if server.adapters else None,
        ),
    )
    return engine, None if engine.frozen else model


ENGINES: Mapping[str, Callable[[Settings, int], Built]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "openai": _openai,
}
"""Who writes, and the weights that learn here, by `policy.engine`."""


def _model(settings: Settings, source: str, lora: int) -> "PolicyModel":
    from synlearner.policies.model import ModelSettings, PolicyModel  # noqa: PLC0415 - loads torch

    policy = settings.policy
    dtype = "float32" if policy.dtype == "mixed" else policy.dtype
    return PolicyModel.load(ModelSettings(source, policy.device, dtype, policy.rank, policy.alpha, lora))


def limit_threads(threads: int) -> None:
    """Fix how many threads compute: results are bit-identical only for the same number."""
    import threadpoolctl  # noqa: PLC0415 - loads the BLAS libraries
    import torch  # noqa: PLC0415 - loaded only to compute

    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(limits=threads)
