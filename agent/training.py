"""From a scored round to a learning step: whom to learn from, with which advantages. `policies` does the step."""

import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from synlearner.agent.config import LearningSettings
from synlearner.agent.policy import Policy
from synlearner.agent.state import RunState, TaskState
from synlearner.events.blobs import BlobStore
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt, PolicyUpdated

if TYPE_CHECKING:
    from synlearner.policies.learner import StepSettings

Group = tuple[PlannedPrompt, list[tuple[int, float]]]
"""A prompt, and of each of its samples to learn from the seq and the advantage."""

NOTHING = {"eft": "no sample was accepted", "grpo": "no group had samples of different worth"}


def groups_to_learn_from(task: TaskState, algorithm: Literal["eft", "grpo"]) -> list[Group]:
    """Return the round's groups: for `eft` their accepted samples, for `grpo` all, with centred totals as advantages.

    Groups whose totals are all equal teach nothing and are left out, as are samples that the engine failed to write.
    """
    now = task.round
    if now.plan is None:
        return []
    members: list[list[tuple[int, float, bool]]] = [[] for _ in now.plan.prompts]
    for (seq, sample), score in zip(now.samples, now.scores, strict=True):
        if sample.finish != "error" and sample.token_ids:
            members[sample.prompt].append((seq, score.total, score.accepted))
    groups: list[Group] = []
    for prompt, group in zip(now.plan.prompts, members, strict=True):
        if algorithm == "eft":
            chosen = [(seq, 1.0) for seq, _, accepted in group if accepted]
        elif len({total for _, total, _ in group}) > 1:
            mean = sum(total for _, total, _ in group) / len(group)
            chosen = [(seq, round(total - mean, 6)) for seq, total, _ in group]
        else:
            chosen = []
        if chosen:
            groups.append((prompt, chosen))
    return groups


def train(
    state: RunState,
    task: TaskState,
    algorithm: Literal["eft", "grpo"],
    learning: LearningSettings,
    policy: Policy,
    blobs: BlobStore,
    *,
    seed: int,
    progress: Callable[[int, int], None],
) -> PolicyUpdated:
    """Do the round's learning step and return the fact of it, or of why there was none."""
    groups = groups_to_learn_from(task, algorithm)
    skipped = "" if groups else NOTHING[algorithm]
    if policy.model is None:
        skipped = f"the {policy.engine.name} engine has no weights to train"
    figures: dict[str, Any] = {
        "adapter": state.adapter,
        "optimizer": state.optimizer,
        "loss": 0.0,
        "kl": 0.0,
        "grad_norm": 0.0,
    }
    if not skipped:
        reference = task.start_adapter if learning.kl_to == "task" else ""
        settings = _step_settings(algorithm, learning, seed)
        figures = _step(state, task, groups, settings, reference, policy, blobs, progress)
    return PolicyUpdated(
        round=task.round.number,
        algorithm=algorithm,
        parent=state.adapter,
        samples=[seq for _, chosen in groups for seq, _ in chosen],
        advantages=[advantage for _, chosen in groups for _, advantage in chosen],
        skipped=skipped,
        **figures,
    )


def _step(
    state: RunState,
    task: TaskState,
    groups: list[Group],
    settings: "StepSettings",
    reference: str,
    policy: Policy,
    blobs: BlobStore,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    from synlearner.policies.learner import Trained, TrainedGroup, learn  # noqa: PLC0415 - loads torch

    assert policy.model is not None  # noqa: S101 - the caller has looked
    samples = dict(task.round.samples)
    trained = [
        TrainedGroup(
            prompt.text,
            prompt.prefix,
            prompt.decoding,
            [Trained(samples[seq].token_ids, samples[seq].logprobs, advantage) for seq, advantage in chosen],
        )
        for prompt, chosen in groups
    ]
    policy.forget()
    learned = learn(
        policy.model,
        trained,
        settings,
        adapter=blobs.get(state.adapter) if state.adapter else None,
        optimizer=blobs.get(state.optimizer) if state.optimizer else None,
        reference=blobs.get(reference) if reference else None,
        progress=progress,
    )
    return {
        "adapter": blobs.put(learned.adapter),
        "optimizer": blobs.put(learned.optimizer),
        "loss": round(learned.loss, 9),
        "kl": round(learned.kl, 9),
        "grad_norm": round(learned.grad_norm, 9),
    }


def _step_settings(algorithm: str, learning: LearningSettings, seed: int) -> "StepSettings":
    from synlearner.policies.learner import StepSettings  # noqa: PLC0415 - loads torch

    eft = algorithm == "eft"
    return StepSettings(
        algorithm=algorithm,
        learning_rate=learning.eft_rate if eft else learning.grpo_rate,
        clip_low=learning.clip_low,
        clip_high=learning.clip_high,
        kl=0.0 if eft else learning.kl,
        max_grad_norm=learning.max_grad_norm,
        epochs=learning.eft_epochs if eft else 1,
        groups_per_step=4 if eft else 0,
        seed=derive_seed(seed, "order"),
    )


def fingerprint() -> dict[str, Any]:
    """Return what bit-identical results depend on: inside one fingerprint they are promised, outside they are not."""
    import torch  # noqa: PLC0415 - loaded only where weights are

    return {
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "machine": platform.machine(),
    }
