"""The composition root: the one place that chooses implementations."""

from typing import TYPE_CHECKING

from synlearner.agent.config import Settings
from synlearner.agent.policy import Policy
from synlearner.events.chance import derive_seed
from synlearner.policies.engine import Engine

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel


def build_policy(settings: Settings, seed: int, engine: Engine | None = None) -> Policy:
    """Return the policy for *settings*, or around an *engine* of the caller's, which then writes but does not learn.

    It loads at first use, which raises ModelError if the model cannot be found or read.
    """
    if engine is not None:
        return Policy(lambda: (engine, None))

    def load() -> "tuple[Engine, PolicyModel | None]":
        from synlearner.policies.model import ModelSettings, PolicyModel  # noqa: PLC0415 - loads torch
        from synlearner.policies.transformers_engine import TransformersEngine  # noqa: PLC0415 - loads torch

        limit_threads(settings.policy.threads)
        policy = settings.policy
        lora = derive_seed(seed, "lora")
        model = PolicyModel.load(
            ModelSettings(policy.model, policy.device, policy.dtype, policy.rank, policy.alpha, lora)
        )
        return TransformersEngine(model), model

    return Policy(load)


def limit_threads(threads: int) -> None:
    """Fix how many threads compute: results are bit-identical only for the same number."""
    import threadpoolctl  # noqa: PLC0415 - loads the BLAS libraries
    import torch  # noqa: PLC0415 - loaded only to compute

    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(limits=threads)
