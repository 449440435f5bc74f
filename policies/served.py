"""What really serves: tensors, their scale and the base, read back from memory after a load.

A blob that was read is no proof that its tensors serve. `synlearner.policies.canary` goes on from here, and proves that
an engine really writes with them.
"""

import hashlib

import safetensors.torch
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.policies.model import PolicyModel


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """Return SHA-256, in hex, of named tensors, whatever file they came from."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def check_base(model: PolicyModel) -> None:
    """Hash the base weights again: about half a second for 135M of them.

    Raises:
        EngineError: If they are not what was loaded.
    """
    if (found := model.measure_base()) != model.base_digest:
        raise EngineError(
            f"the base weights are {found}, not {model.base_digest}: something wrote to them; start again"
        )


def check_served(model: PolicyModel, adapter: bytes | None) -> None:
    """Read back what *model* computes with, and compare it with *adapter* (None: the untrained policy).

    Raises:
        EngineError: Naming what is not as it should be: adapter, scale, or LoRA on or off.
    """
    layers = [module for module in model.network.modules() if isinstance(module, LoraLayer)]
    if merged := next((layer for layer in layers if layer.merged), None):
        raise EngineError(f"the adapter is merged into the base of {type(merged).__name__}: it must stay apart")
    off = {bool(layer.disable_adapters) for layer in layers}
    if off != {adapter is None}:
        wanted = "off" if adapter is None else "on"
        raise EngineError(
            f"LoRA should be {wanted} in all {len(layers)} layers, and is not: the adapter is half loaded"
        )
    if adapter is None:
        return
    scales = {scale for layer in layers for scale in layer.scaling.values()}
    if scales != {model.scale}:
        raise EngineError(
            f"the adapter is scaled by {sorted(scales)}, not by {model.scale} (policy.alpha / policy.rank)"
        )
    expected, here = tensors_digest(safetensors.torch.load(adapter)), tensors_digest(model.parameters())
    if expected != here:
        raise EngineError(
            f"the tensors that serve ({here[:12]}…) are not the adapter's ({expected[:12]}…): load it again"
        )
