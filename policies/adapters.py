"""Adapters for other programs: a folder in peft's format, named by its digest, so that a name never changes meaning.

vLLM keys its prefix cache by an adapter's name: the same name for other weights would mix two policies (reference,
section 2).
"""

import hashlib
import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from synlearner.errors import EngineError


def adapter_name(adapter: bytes) -> str:
    """Return the name under which an engine serves *adapter*."""
    return f"synlearner-{hashlib.sha256(adapter).hexdigest()[:24]}"


def write_adapter(adapter: bytes, alpha: int, folder: Path, base_model: str) -> Path:
    """Write *adapter* (bytes of `PolicyModel.adapter`) below *folder* as peft does; return its own folder.

    Raises:
        EngineError: If it is not safetensors.
    """
    try:
        tensors = safetensors.torch.load(adapter)
    except SafetensorError as error:
        raise EngineError(f"the adapter is not safetensors: {error}") from error
    named = {name.replace(".default.", "."): tensor for name, tensor in tensors.items()}
    ranks = {tensor.shape[0] for name, tensor in named.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise EngineError(f"the adapter has the ranks {sorted(ranks)}: it must have one")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": ranks.pop(),
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name in named}),
    }
    place = folder / adapter_name(adapter)
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_model.safetensors").write_bytes(safetensors.torch.save(named))
    (place / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return place
