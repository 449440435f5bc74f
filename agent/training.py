"""From a scored round to a learning step: whom to learn from, with which advantages. `policies` does the step."""

import platform
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from synlearner.agent.config import LearningSettings, Settings
from synlearner.agent.policy import Policy
from synlearner.agent.policy_settings import PolicySettings
from synlearner.agent.state import RunState, TaskState
from synlearner.agent.task_state import Replayed
from synlearner.events.blobs import BlobStore
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt, PolicyUpdated
from synlearner.policies.advantages import group_advantages

if TYPE_CHECKING:
    from synlearner.policies.learner import StepSettings

Group = tuple[PlannedPrompt, list[tuple[int, float]]]
"""A prompt, and of each of its samples to learn from the seq and the advantage."""

NOTHING = {"eft": "no sample was accepted", "grpo": "no group had samples of different worth"}


def groups_to_learn_from(
    task: TaskState, algorithm: Literal["eft", "grpo"], floor: float | None = None
) -> tuple[list[Group], dict[str, int]]:
    """Return the round's groups, and of those that teach nothing how many there are, by reason.

    For `eft` a group has its accepted samples, for `grpo` all, with advantages from their totals. Samples that the
    engine failed to write are left out.
    """
    now = task.round
    if now.plan is None:
        return [], {}
    members: list[list[tuple[int, float, bool]]] = [[] for _ in now.plan.prompts]
    for (seq, sample), score in zip(now.samples, now.scores, strict=True):
        if sample.finish != "error" and sample.token_ids:
            members[sample.prompt].append((seq, score.total, score.accepted))
    groups: list[Group] = []
    left_out: Counter[str] = Counter()
    for prompt, group in zip(now.plan.prompts, members, strict=True):
        chosen, reason = _eft(group) if algorithm == "eft" else _grpo(group, floor)
        if chosen:
            groups.append((prompt, chosen))
        else:
            left_out[reason] += 1
    return groups, dict(sorted(left_out.items()))


def _eft(group: list[tuple[int, float, bool]]) -> tuple[list[tuple[int, float]], str]:
    return [(seq, 1.0) for seq, _, accepted in group if accepted], "no sample was accepted"


def _grpo(group: list[tuple[int, float, bool]], floor: float | None) -> tuple[list[tuple[int, float]], str]:
    if len(group) < 2:
        return [], "fewer than two samples to compare"
    advantages = group_advantages([total for _, total, _ in group], floor=floor)
    if not any(advantages):
        return [], "all samples are worth the same"
    return [(seq, value) for (seq, _, _), value in zip(group, advantages, strict=True)], ""


def replayed(state: RunState, seed: int) -> list[Replayed]:
    """Return the accepted samples of earlier tasks that a fine-tuning step learns from again, drawn at random."""
    count = min(Settings.model_validate(state.settings).stream.replay, len(state.replay))
    rng = random.Random(derive_seed(seed, "replay"))  # noqa: S311 - reproducible chance is the point
    chosen = sorted(rng.sample(range(len(state.replay)), count))
    return [state.replay[i] for i in chosen]


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
) -> tuple[PolicyUpdated, dict[str, Any]]:
    """Do the round's learning step; return the fact of it, or of why there was none, and what else was observed.

    Observed are groups that taught nothing (`left_out`), the `gap` between sampler and trainer, and the fingerprint.
    """
    groups, left_out = groups_to_learn_from(task, algorithm, learning.advantage_floor)
    again = replayed(state, seed) if algorithm == "eft" else []
    groups = [*groups, *((sample.prompt, [(sample.seq, 1.0)]) for sample in again)]
    skipped = "" if groups else NOTHING[algorithm]
    if policy.model is None:
        reason = getattr(policy.engine, "frozen", "")  # an engine of the caller's need not say
        skipped = f"the {policy.engine.name} engine has no weights to train" + (f": {reason}" if reason else "")
    observed: dict[str, Any] = {"left_out": left_out} if left_out else {}
    figures: dict[str, Any] = {
        "adapter": state.adapter,
        "optimizer": state.optimizer,
        "loss": 0.0,
        "kl": 0.0,
        "grad_norm": 0.0,
    }
    if not skipped:
        reference = task.start_adapter if learning.kl_to == "task" else ""
        settings = _step_settings(algorithm, learning, PolicySettings.model_validate(state.settings["policy"]), seed)
        figures, gap = _step(state, task, groups, settings, reference, policy, blobs, progress)
        observed |= {"gap": gap, "fingerprint": fingerprint()}
    fact = PolicyUpdated(
        round=task.round.number,
        algorithm=algorithm,
        parent=state.adapter,
        samples=[seq for _, chosen in groups for seq, _ in chosen],
        advantages=[advantage for _, chosen in groups for _, advantage in chosen],
        skipped=skipped,
        **figures,
    )
    return fact, observed


def _step(
    state: RunState,
    task: TaskState,
    groups: list[Group],
    settings: "StepSettings",
    reference: str,
    policy: Policy,
    blobs: BlobStore,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], float]:
    from synlearner.policies.grammar import allowed_masks  # noqa: PLC0415 - loads torch
    from synlearner.policies.learner import Trained, TrainedGroup, learn  # noqa: PLC0415 - loads torch

    assert policy.model is not None  # noqa: S101 - the caller has looked
    samples = dict(task.round.samples) | {sample.seq: sample.sample for sample in state.replay}
    trained = [
        TrainedGroup(
            prompt.text,
            prompt.prefix,
            prompt.decoding,
            [
                Trained(
                    samples[seq].token_ids,
                    samples[seq].logprobs,
                    advantage,
                    allowed_masks(policy.model, prompt.decoding, samples[seq].token_ids),
                )
                for seq, advantage in chosen
            ],
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
    figures = {
        "adapter": blobs.put(learned.adapter),
        "optimizer": blobs.put(learned.optimizer),
        "loss": round(learned.loss, 9),
        "kl": round(learned.kl, 9),
        "grad_norm": round(learned.grad_norm, 9),
    }
    return figures, round(learned.gap, 9)


def _step_settings(algorithm: str, learning: LearningSettings, policy: PolicySettings, seed: int) -> "StepSettings":
    from synlearner.policies.learner import StepSettings  # noqa: PLC0415 - loads torch
    from synlearner.policies.losses import Objective  # noqa: PLC0415 - loads torch

    eft = algorithm == "eft"
    return StepSettings(
        algorithm=algorithm,
        learning_rate=learning.eft_rate if eft else learning.grpo_rate,
        objective=Objective(
            loss=learning.loss,
            clip_low=learning.clip_low,
            clip_high=learning.clip_high,
            kl=learning.kl,
            kl_estimator=learning.kl_estimator,
            kl_ratio=learning.kl_ratio,
        ),
        max_grad_norm=learning.max_grad_norm,
        epochs=learning.eft_epochs if eft else 1,
        groups_per_step=4 if eft else 0,
        seed=derive_seed(seed, "order"),
        micro_batch=policy.micro_batch,
        checkpointing=policy.checkpointing,
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
