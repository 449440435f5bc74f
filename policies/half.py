"""Products in bfloat16 while samples are written: `policy.dtype=mixed`, by choice.

A decoding step is a stream of weights, and half as wide it is faster where the processor multiplies such numbers (AVX-512
BF16, AMX); elsewhere torch imitates them, and it is slower. Products alone are so, summed in float32. Norms, residuals,
rotation, attention, its keys and values, logits and the drawing of tokens stay in float32. What that costs in agreement with the
trainer is in docs/NUMERICS.md.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from synlearner.policies.packed import ROWS, base_of, lora_of, packs

MIXED = "mixed"
"""What `policy.dtype` and receipts call it."""


class Half:
    """As `Packed`; what comes out is of the kind that went in.

    LoRA stays apart, as more columns of the same product: added to weights it would be rounded away while it is small.
    """

    dtype = torch.bfloat16

    def __init__(self, layers: Sequence[Any]) -> None:
        bases = [base_of(layer) for layer in layers]
        self._fast = can_lay_out(bases[0].weight)
        with torch.inference_mode():
            weight = torch.cat([base.weight for base in bases]).bfloat16()
            self._bias = None if bases[0].bias is None else torch.cat([base.bias for base in bases]).bfloat16()
            parts = [lora_of(layer) for layer in layers]
            downs = [down for part in parts for down, _ in part]
            self._down = self._laid_out(torch.cat(downs).bfloat16()) if downs else None
            if downs:
                none = [base.weight[:, :0] for base in bases]
                ups = [
                    torch.cat([empty, *(up for _, up in part)], dim=1) for empty, part in zip(none, parts, strict=True)
                ]
                apart: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
                weight = torch.cat([weight, apart.bfloat16()], dim=1)
            self._weight = self._laid_out(weight)

    def __call__(self, rows: Tensor, *_: Any, then: str = "none", **__: Any) -> Tensor:
        """Return the product, with the function *then* over it: `none` or `swish`."""
        return self._product(self._widened(rows), self._weight, self._bias, then).to(rows.dtype)

    def joined(self, rows: Tensor, other: Tensor, how: str) -> Tensor:
        """Return the product, `add`ed to or `mul`tiplied with *other*: a sum is as exact as *other* is."""
        product = self._product(self._widened(rows), self._weight, self._bias, "none")
        return other + product if how == "add" else other * product

    def _widened(self, rows: Tensor) -> Tensor:
        """Return *rows* with LoRA's inner products behind them."""
        narrow = rows.bfloat16()
        if self._down is None:
            return narrow
        inner = self._product(narrow.flatten(0, -2), self._down, None, "none").view(*narrow.shape[:-1], -1)
        return torch.cat([narrow, inner], dim=-1)

    def _laid_out(self, weight: Tensor) -> Tensor:
        laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self._fast else weight  # noqa: SLF001
        return laid

    def _product(self, rows: Tensor, weight: Tensor, bias: Tensor | None, then: str) -> Tensor:
        if not self._fast:
            plain = F.linear(rows, weight, bias)
            return F.silu(plain) if then == "swish" else plain
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, then, [], "")  # noqa: SLF001 - its name
        return out


def can_lay_out(weight: Tensor) -> bool:
    """Tell whether oneDNN takes such weights in bfloat16 here."""
    return packs(weight) and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - its name
