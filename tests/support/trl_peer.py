"""TRL's GRPO loss on the same model, tokens and advantages as our learner's. Imports trl: skip where it is missing."""

import importlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synlearner.policies.learner import StepSettings, TrainedGroup
from synlearner.policies.losses import Objective
from synlearner.policies.model import PolicyModel

trl: Any = importlib.import_module("trl")  # so that its types, which are half there, are not checked
datasets: Any = importlib.import_module("datasets")


def make_trainer(model: PolicyModel, folder: Path, *, group: int, longest: int, temperature: float) -> Any:
    """Return a trainer around the network of *model*, which it patches: give it a model of its own."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    settings: Any = trl.GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=group, num_generations=group, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=[], max_completion_length=longest, temperature=temperature,
        disable_tqdm=True, scale_rewards="none", save_strategy="no",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = trl.GRPOTrainer(
            model=model.network, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=settings,
            train_dataset=datasets.Dataset.from_dict({"prompt": ["x"] * group}), processing_class=model.tokenizer,
        )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.steps_per_generation = 1
    trainer.model.eval()  # no dropout on either side; and `compute_loss` then divides by nothing
    return trainer


def configure(trainer: Any, objective: Objective) -> None:
    """Give *trainer* the loss that *objective* names."""
    sequence = objective.loss == "gspo"
    trainer.loss_type = "grpo" if sequence else objective.loss
    trainer.importance_sampling_level = "sequence" if sequence else "token"
    trainer.epsilon_low = objective.clip_low
    trainer.epsilon_high = 1 + objective.clip_high if objective.loss == "cispo" else objective.clip_high
    trainer.beta = objective.kl
    trainer.args.use_bias_correction_kl = objective.kl_ratio


def padded(rows: Sequence[Sequence[float]], *, left: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return *rows* as one matrix, and where it is not padding."""
    width = max(map(len, rows))
    values, mask = torch.zeros(len(rows), width, dtype=dtype), torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        values[place, where] = torch.tensor(row, dtype=dtype)
        mask[place, where] = 1
    return values, mask


def batch_of(model: PolicyModel, groups: Sequence[TrainedGroup], references: Sequence[Sequence[float]]) -> Any:
    """Return *groups* as TRL's batch; *references* are log-probabilities of each sample's tokens."""
    samples = [(model.prompt_tokens(group.text, group.prefix), sample) for group in groups for sample in group.samples]
    prompt_ids, prompt_mask = padded([prompt for prompt, _ in samples], left=True, dtype=torch.long)
    ids, mask = padded([sample.token_ids for _, sample in samples], left=False, dtype=torch.long)
    old, _ = padded([sample.logprobs for _, sample in samples], left=False, dtype=torch.float32)
    reference, _ = padded(references, left=False, dtype=torch.float32)
    return {
        "prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "completion_ids": ids, "completion_mask": mask,
        "advantages": torch.tensor([sample.advantage for _, sample in samples]), "old_per_token_logps": old,
        "ref_per_token_logps": reference, "num_items_in_batch": mask.sum(),
    }  # fmt: skip


def loss_and_gradient(
    trainer: Any, model: PolicyModel, batch: Any, settings: StepSettings
) -> tuple[float, dict[str, Tensor]]:
    """Return TRL's loss, and its gradient by the name of the LoRA tensor."""
    configure(trainer, settings.objective)
    model.network.zero_grad(set_to_none=True)
    loss = trainer._compute_loss(model.network, batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.parameters().items() if p.grad is not None}
