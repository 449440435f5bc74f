"""Weights laid out for products with few rows, while samples are written; on a CPU, in float32.

A decoding step multiplies every weight matrix by a handful of rows. The ordinary product brings the matrix into the
processor's order again at every step; here that is done once, by oneDNN, and the adapter's part is added on the way:
`W + scaling * B @ A`, so that LoRA costs nothing per token. Figures: `benchmarks/bench_generate.py`, docs/LOG.md.

The model's own tensors are only read: the base stays as it was, bit for bit. Logits differ from the unpacked ones by
rounding. `PolicyModel.written_by` says how long a packed copy lives, and why it cannot be stale.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor

ROWS = 64
"""Rows that the layout is made for: it is as good for fewer."""


class Packed:
    """Linear layers side by side, as one product: `x @ W.T + b`, LoRA added where it is on."""

    dtype = torch.float32

    def __init__(self, layers: Sequence[Any]) -> None:
        with torch.inference_mode():
            parts = [_weight(layer) for layer in layers]
            weight = (parts[0] if len(parts) == 1 else torch.cat(parts)).detach()
            biases = [base_of(layer).bias for layer in layers]
            self._bias = None if biases[0] is None else torch.cat(biases).detach()
            self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)  # noqa: SLF001 - its name

    def __call__(self, rows: Tensor, *_: Any, then: str = "none", **__: Any) -> Tensor:
        """Return the product, with the function *then* over it: `none` or `swish`."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, then, [], "")  # noqa: SLF001
        return out

    def joined(self, rows: Tensor, other: Tensor, how: str) -> Tensor:
        """Return the product, `add`ed to or `mul`tiplied with *other*, in one go."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, other, self._weight, self._bias, how)  # noqa: SLF001
        return out


def packs(network: Any) -> bool:
    """Tell whether packing helps here: for a network, or a weight of it."""
    return (
        network.device.type == "cpu"
        and network.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.backends.mkldnn.is_acl_available()  # type: ignore[no-untyped-call]  # another library
    )


def can_pack(layer: Any) -> bool:
    """Tell whether *layer* is a plain linear one, with or without LoRA."""
    if isinstance(layer, LoraLinear):
        return type(base_of(layer)) is torch.nn.Linear and not layer.merged and not any(layer.use_dora.values())
    return type(layer) is torch.nn.Linear


@contextmanager
def packed(network: Any, kind: Callable[[Sequence[Any]], Any] | None = None) -> Iterator[None]:
    """Let the linear layers of *network* multiply by packed weights for a while; all but the last by those of *kind*."""
    changed: list[torch.nn.Module] = []
    usual = Packed if packs(network) else None
    head = network.get_output_embeddings()
    try:
        for layer in _layers(network):
            if make := usual if kind is None or layer is head else kind:
                layer.forward = make([layer])
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.forward  # the class's own shows again


def _layers(module: torch.nn.Module) -> Iterator[Any]:
    """Yield the outermost layers that can be packed: LoRA layers as a whole, and plain linear ones."""
    for child in module.children():
        if can_pack(child):
            yield child
        else:
            yield from _layers(child)


def base_of(layer: Any) -> Any:
    """Return the linear layer itself, without LoRA."""
    return layer.get_base_layer() if isinstance(layer, LoraLinear) else layer


def _weight(layer: Any) -> Tensor:
    weight: Tensor = base_of(layer).weight
    if isinstance(layer, LoraLinear) and not layer.disable_adapters:
        for name in layer.active_adapters:
            weight = weight + layer.get_delta_weight(name)
    return weight


def lora_of(layer: Any) -> list[tuple[Tensor, Tensor]]:
    """Return A and the scaled B of every adapter that is on."""
    if not isinstance(layer, LoraLinear) or layer.disable_adapters:
        return []
    downs, ups, scaling = (cast("Any", part) for part in (layer.lora_A, layer.lora_B, layer.scaling))
    return [(downs[name].weight, scaling[name] * ups[name].weight) for name in layer.active_adapters]
