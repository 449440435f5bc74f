"""Weights laid out for products with few rows, while samples are written; on a CPU, in float32.

A decoding step multiplies every weight matrix by a handful of rows. The ordinary product brings the matrix into the
processor's order again at every step; here that is done once, by oneDNN, and the adapter's part is added on the way:
`W + scaling * B @ A`, so that LoRA costs nothing per token. Figures: `benchmarks/bench_generate.py`, docs/LOG.md.

The model's own tensors are only read. What is packed lives as long as the `with` block: it cannot be stale, the base
stays as it was bit for bit, and learning has the memory to itself. Logits differ from the unpacked ones by rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor

ROWS = 64
"""Rows that the layout is made for: it is as good for fewer."""

Product = Callable[[Tensor], Tensor]


def packs(network: Any) -> bool:
    """Tell whether packing helps here."""
    return (
        network.device.type == "cpu"
        and network.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.backends.mkldnn.is_acl_available()  # type: ignore[no-untyped-call]  # another library
    )


@contextmanager
def packed(network: Any) -> Iterator[None]:
    """Let the linear layers of *network* multiply by packed weights for a while."""
    changed: list[torch.nn.Module] = []
    try:
        if packs(network):
            for layer in _layers(network):
                layer.forward = _product(layer)
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.forward  # the class's own shows again


def _layers(module: torch.nn.Module) -> Iterator[Any]:
    """Yield the outermost layers that can be packed: LoRA layers as a whole, and plain linear ones."""
    for child in module.children():
        if type(child) is torch.nn.Linear or (isinstance(child, LoraLinear) and _is_plain(child)):
            yield child
        else:
            yield from _layers(child)


def _is_plain(layer: LoraLinear) -> bool:
    base = layer.get_base_layer()
    return type(base) is torch.nn.Linear and not layer.merged and not any(layer.use_dora.values())


@torch.inference_mode()
def _product(layer: Any) -> Product:
    base: Any = layer.get_base_layer() if isinstance(layer, LoraLinear) else layer
    weight: Tensor = base.weight
    if base is not layer and not layer.disable_adapters:
        for name in layer.active_adapters:
            weight = weight + layer.get_delta_weight(name)
    bias = base.bias
    mine = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)  # noqa: SLF001 - torch's own name for it
    times = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001

    def product(rows: Tensor, *_: Any, **__: Any) -> Tensor:
        out: Tensor = times(rows, mine, bias, "none", [], "")
        return out

    return product
