"""Presets: whole configurations by name. A preset is settings and nothing else: `--set` changes any of them.

`improved` is the defaults. `faithful` is the method as its paper and reference code give it (arXiv:2605.29940), in
their figures, with each reward term meaning what it was meant to. docs/method.md says what it cannot be faithful in.
"""

from collections.abc import Mapping
from typing import Any

from synlearner.agent.config import Settings, differences
from synlearner.errors import ConfigError

FAITHFUL: Mapping[str, tuple[Any, str]] = {
    "policy.rank": (64, "LoRA of fine-tuning; its second one, of rank 8, is this one too: nothing is merged"),
    "policy.alpha": (16, "a scale of 0.25"),
    "loop.rounds": (500, "250 of fine-tuning, 250 of rewards: hours per task on a CPU, so shorten both"),
    "loop.eft_rounds": (250, "4,000 samples, as in its files of 1,500 to 4,000"),
    "loop.prompts": (4, "16 completions an optimiser step"),
    "loop.group": (4, "generations of a prompt"),
    "loop.oversample": (1.0, "everything that can be read is delivered"),
    "loop.student_every": (0, "no student in the loop"),
    "dai.frames": (["attrprompt"], "one instruction, with labelled real examples"),
    "dai.attributes": (["card"], "drawn attribute values"),
    "dai.decodings": (["paper"], "temperature 0.85, top-p 0.92, top-k 60"),
    "dai.coverage": (False, "attributes are drawn independently"),
    "dai.at_once": (64, "all attributes stand in every prompt"),
    "constraints.diversity": (0.0, "no floors: its dynamic scaler never came into force"),
    "constraints.fidelity": (0.0, "the same"),
    "learning.eft_rate": (5e-5, "of fine-tuning"),
    "learning.grpo_rate": (3e-6, "of GRPO"),
    "learning.loss": ("grpo", "mean over each completion, then over completions"),
    "learning.clip_high": (0.2, "the same on both sides"),
    "learning.advantage_floor": (1e-4, "advantages are divided by the group's deviation"),
    "learning.kl": (0.0, "TRL's default: no KL"),
    "reward.fidelity": (0.1, "label"),
    "reward.attributes": (0.1, "attributes"),
    "reward.quality": (0.5, "generation quality"),
    "reward.gain": (0.3, "batch diversity: the one term of the set"),
    "reward.floor": (1.0, "raw parts are summed: no part's deviation is larger than 1"),
    "reward.min_fidelity": (-1.0, "nothing is verified: all that can be read is kept"),
    "reward.min_quality": (0.0, "the same"),
    "reward.meaning": (0.0, "no likeness to what a label means"),
    "delivery.untrained": (False, "there is no untrained policy beside the trained one"),
    "delivery.rescue": (False, "what was not asked for is not looked at"),
    "delivery.near_meaning": (None, "near-duplicates stay: nothing is compared"),
    "delivery.near_wording": (None, "the same"),
    "memory.k": (0, "experience is the weights alone"),
}
"""Setting to its value and where that comes from (the method's sections 1 to 4)."""

PRESETS: Mapping[str, Mapping[str, tuple[Any, str]]] = {"improved": {}, "faithful": FAITHFUL}


def preset(name: str) -> Settings:
    """Return the settings of a preset.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset {name!r:.40} is none of {', '.join(PRESETS)}")
    tree = Settings().model_dump()
    for key, (value, _) in PRESETS[name].items():
        part, _, field = key.partition(".")
        tree[part][field] = value
    return Settings.model_validate(tree)


def preset_differences(name: str) -> dict[str, tuple[Any, Any, str]]:
    """Return setting -> (default, value in the preset, why), of those that differ."""
    found = differences(Settings().model_dump(mode="json"), preset(name).model_dump(mode="json"))
    return {key: (old, new, PRESETS[name][key][1]) for key, (old, new) in found.items()}
