"""The same forward and backward passes with fewer numbers kept and moved, while a step is learnt.

peft adds LoRA's part in five passes over each layer's output, and a gated layer keeps four matrices for its backward
pass where two are enough. Here the parts that nearly every decoder has are worked out by hand: linear layers with LoRA,
root-mean-square norms, gated perceptrons. Values and gradients are the modules' own up to rounding (tests compare them).
What is not known stays as it is. Base weights have no gradient here: they are frozen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from synlearner.policies.packed import can_pack

NORMS = frozenset({"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"})
"""Classes that compute `weight * x / sqrt(mean(x²) + epsilon)`; Gemma's adds one to the weight."""


@contextmanager
def lean(network: Any) -> Iterator[None]:
    """Let *network* learn with less for a while."""
    changed: list[Any] = []
    try:
        for module in network.modules():
            if forward := _forward(module):
                module.forward = forward
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward  # the class's own shows again


def _forward(module: Any) -> Callable[..., Tensor] | None:
    if isinstance(module, LoraLinear):
        plain = can_pack(module) and not module.disable_adapters and len(module.active_adapters) == 1
        return _lora(module) if plain and not module.base_layer.weight.requires_grad else None
    if type(module).__name__ in NORMS and not module.weight.requires_grad:
        return lambda hidden: _Norm.apply(hidden, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call]
    if all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")) and _is_silu(module):
        return lambda hidden: module.down_proj(_Gated.apply(module.gate_proj(hidden), module.up_proj(hidden)))  # type: ignore[no-untyped-call]
    return None


def _is_silu(module: Any) -> bool:
    return type(module.act_fn).__name__ in {"SiLU", "SiLUActivation"}


def _lora(layer: Any) -> Callable[..., Tensor]:
    (name,) = layer.active_adapters
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]

    def forward(hidden: Tensor) -> Tensor:
        out: Tensor = _Lora.apply(hidden, down.weight, up.weight, base.weight, base.bias, layer.scaling[name])  # type: ignore[no-untyped-call]
        return out

    return forward


class _Lora(torch.autograd.Function):
    """`x W' + s (x A') B'`, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, down: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None, scale: float
    ) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ down.T
        out = F.linear(rows, weight, bias).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(rows, inner, down, up, weight)
        ctx.scale = scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, inner, down, up, weight = ctx.saved_tensors
        slope = gradients[0].reshape(-1, gradients[0].shape[-1])
        of_inner = (slope @ up).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (slope @ weight).addmm_(of_inner, down).view(*gradients[0].shape[:-1], -1)
        return of_x, of_inner.T @ rows, (slope.T @ inner).mul_(ctx.scale), None, None, None


class _Gated(torch.autograd.Function):
    """`silu(gate) * up`, keeping no more than both."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Any:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradients[0] * up, gate), F.silu(gate).mul_(gradients[0])


class _Norm(torch.autograd.Function):
    """Root-mean-square norm with a frozen weight, in float32 at least."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Any:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, inverse, weight)
        return (wide * inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, inverse, weight = ctx.saved_tensors
        slope = (gradients[0] * weight).to(inverse.dtype)
        unit = x * inverse
        slope -= unit * (slope * unit).mean(-1, keepdim=True)
        return slope.mul_(inverse).to(x.dtype), None, None
