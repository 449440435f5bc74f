"""From a scored round to a learning step: whom to learn from, with which advantages. `policies` does the step."""

import platform
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synlearner.agent.config import Settings
from synlearner.agent.decide import Algorithm
from synlearner.agent.demonstrations import Demonstration, demonstrations
from synlearner.agent.policy import Policy
from synlearner.agent.rescue import is_rescued
from synlearner.agent.state import RunState, TaskState
from synlearner.agent.task_state import Replayed
from synlearner.events.blobs import BlobStore
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt, PolicyUpdated
from synlearner.policies.advantages import group_advantages

if TYPE_CHECKING:
    from synlearner.policies.learner import StepSettings, TrainedGroup
    from synlearner.policies.model import PolicyModel

Group = tuple[PlannedPrompt, list[tuple[int, float]]]
"""A prompt, and of each of its samples to learn from the seq and the advantage."""

NOTHING: Mapping[Algorithm, str] = {
    "seeds": "no seed has another one of its label to stand behind, within what the model reads",
    "eft": "no sample was accepted",
    "grpo": "no group had samples of different worth",
}


def groups_to_learn_from(
    task: TaskState, algorithm: Algorithm, floor: float | None = None
) -> tuple[list[Group], dict[str, int]]:
    """Return the round's groups, and of those that teach nothing how many there are, by reason.

    For `eft` a group has its accepted samples, for `grpo` all, with advantages from their totals; seeds are no groups. Samples
    that the engine failed to write are left out.
    """
    now = task.round
    if now.plan is None or algorithm == "seeds":
        return [], {}
    members: list[list[tuple[int, float, bool]]] = [[] for _ in now.plan.prompts]
    for (seq, sample), score in zip(now.samples, now.scores, strict=True):
        if sample.finish != "error" and sample.token_ids:
            members[sample.prompt].append((seq, score.total, score.accepted and not is_rescued(score)))
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
    algorithm: Algorithm,
    settings: Settings,
    policy: Policy,
    blobs: BlobStore,
    *,
    seed: int,
    progress: Callable[[int, int], None],
) -> tuple[PolicyUpdated, dict[str, Any]]:
    """Do a learning step; return the fact of it, or of why there was none, and what else was observed.

    Observed are groups that taught nothing (`left_out`), the `gap` between sampler and trainer, and the fingerprint.
    """
    groups, left_out = groups_to_learn_from(task, algorithm, settings.learning.advantage_floor)
    again = replayed(state, seed) if algorithm == "eft" else []
    groups = [*groups, *((sample.prompt, [(sample.seq, 1.0)]) for sample in again)]
    trained: list[TrainedGroup] = []
    if policy.model is None:
        reason = getattr(policy.engine, "frozen", "")  # an engine of the caller's need not say
        skipped = f"the {policy.engine.name} engine has no weights to train" + (f": {reason}" if reason else "")
    else:
        if algorithm == "seeds":
            trained = _demonstrated(demonstrations(task, settings, seed), policy.model)
        else:
            trained = _recorded(state, task, groups, policy.model)
        skipped = "" if trained else NOTHING[algorithm]
    observed: dict[str, Any] = {"left_out": left_out} if left_out else {}
    figures: dict[str, Any] = {
        "adapter": state.adapter,
        "optimizer": state.optimizer,
        "loss": 0.0,
        "kl": 0.0,
        "grad_norm": 0.0,
    }
    if not skipped:
        reference = task.start_adapter if settings.learning.kl_to == "task" else ""
        figures, gap = _step(
            state, trained, _step_settings(algorithm, settings, seed), reference, policy, blobs, progress
        )
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


def _recorded(state: RunState, task: TaskState, groups: list[Group], model: "PolicyModel") -> "list[TrainedGroup]":
    """Return *groups* with the tokens that were drawn."""
    from synlearner.policies.grammar import allowed_masks  # noqa: PLC0415 - loads torch
    from synlearner.policies.learner import Trained, TrainedGroup  # noqa: PLC0415 - loads torch

    samples = dict(task.round.samples) | {sample.seq: sample.sample for sample in state.replay}
    return [
        TrainedGroup(
            prompt.text,
            prompt.prefix,
            prompt.decoding,
            [
                Trained(
                    samples[seq].token_ids,
                    samples[seq].logprobs,
                    advantage,
                    allowed_masks(model, prompt.decoding, samples[seq].token_ids),
                )
                for seq, advantage in chosen
            ],
        )
        for prompt, chosen in groups
    ]


def _demonstrated(taught: "Sequence[Demonstration]", model: "PolicyModel") -> "list[TrainedGroup]":
    """Return what is taught as tokens, none longer than a sample may be; without what is longer than the model reads."""
    from synlearner.policies.learner import Trained, TrainedGroup  # noqa: PLC0415 - loads torch

    groups = []
    for prompt, answer in taught:
        before = model.prompt_tokens(prompt.text, prompt.prefix)
        tokens = model.answer_tokens(prompt.text, prompt.prefix, answer)[: prompt.decoding.max_new_tokens]
        if tokens and model.fits(len(before) + len(tokens)):
            groups.append(TrainedGroup(prompt.text, prompt.prefix, prompt.decoding, [Trained(tokens, [], 1.0)]))
    return groups


def _step(
    state: RunState,
    trained: "list[TrainedGroup]",
    settings: "StepSettings",
    reference: str,
    policy: Policy,
    blobs: BlobStore,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], float]:
    from synlearner.policies.learner import learn  # noqa: PLC0415 - loads torch

    assert policy.model is not None  # noqa: S101 - the caller has looked
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


def _step_settings(algorithm: Algorithm, settings: Settings, seed: int) -> "StepSettings":
    from synlearner.policies.learner import StepSettings  # noqa: PLC0415 - loads torch
    from synlearner.policies.losses import Objective  # noqa: PLC0415 - loads torch

    learning, seeds = settings.learning, settings.seeds
    rate, epochs, groups = {
        "seeds": (seeds.rate, seeds.epochs, seeds.batch),
        "eft": (learning.eft_rate, learning.eft_epochs, 4),
        "grpo": (learning.grpo_rate, 1, 0),
    }[algorithm]
    return StepSettings(
        algorithm="grpo" if algorithm == "grpo" else "eft",
        learning_rate=rate,
        objective=Objective(
            loss=learning.loss,
            clip_low=learning.clip_low,
            clip_high=learning.clip_high,
            kl=learning.kl,
            kl_estimator=learning.kl_estimator,
            kl_ratio=learning.kl_ratio,
        ),
        max_grad_norm=learning.max_grad_norm,
        epochs=epochs,
        groups_per_step=groups,
        seed=derive_seed(seed, "order"),
        micro_batch=settings.policy.micro_batch,
        checkpointing=settings.policy.checkpointing,
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
