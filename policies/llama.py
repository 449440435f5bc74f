"""A decoder of Llama's kind written out, for writing many samples side by side on a CPU.

The same sums as the model's own modules make, in a fifth of the calls: fused and packed products
(`synlearner.policies.packed`), and attention that reads a prompt once for all of its samples. Rounding apart the
logits are the model's own (tests compare them), and the trainer goes on using those modules.

Shapes: `_M` tokens read or rows written, `_H` key heads, `_R` query heads per key head, `_D` a head's dimension,
`_S` a prompt's tokens, `_W` room for written tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from synlearner.policies.half import Half
from synlearner.policies.packed import Packed, can_pack, packs

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""From a layer's place, queries `(M, H R, D)`, keys and values `(M, H, D)` to `(M, H R D)`."""

KINDS = ("llama", "qwen2")


def is_llama(network: Any) -> bool:
    """Tell whether `Llama` computes what *network* (with LoRA on it) does."""
    base = network.get_base_model()
    config = base.config
    if config.model_type not in KINDS or not packs(network) or config.hidden_act != "silu":
        return False
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return False
    return can_pack(base.lm_head) and all(
        can_pack(part) for layer in base.model.layers for part in (*_attention(layer), *_perceptron(layer))
    )


class Llama:
    """The weights as they are now, adapter added, laid out for products with few rows; *mixed*: in bfloat16."""

    def __init__(self, network: Any, *, mixed: bool = False) -> None:
        base = network.get_base_model()
        self.layers = [_Layer(layer, Half if mixed else Packed) for layer in base.model.layers]
        self.heads: int = base.config.num_key_value_heads
        self.dimension: int = base.model.layers[0].self_attn.head_dim
        self._embedding: Tensor = base.model.embed_tokens.weight.detach()
        self._norm = base.model.norm
        self._rotary = base.model.rotary_emb
        self._head = Packed([base.lm_head])  # in float32 always: half of what bfloat16 would cost is lost here

    def read(self, ids_M: Tensor, position_M: Tensor, attend: Attend) -> Tensor:
        """Return the hidden states behind the last layer, `(M, hidden)`; *attend* sees and keeps keys and values."""
        hidden = F.embedding(ids_M, self._embedding)
        cosine, sine = (angle[0, :, None] for angle in self._rotary(hidden, position_M[None]))
        half = self.dimension // 2
        sine = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)
        for place, layer in enumerate(self.layers):
            hidden = layer(place, hidden, cosine, sine, attend, self)
        return hidden

    def logits(self, hidden_M_X: Tensor) -> Tensor:
        """Return the logits of hidden states, `(M, V)`."""
        return self._head(self._norm(hidden_M_X))


class _Layer:
    def __init__(self, layer: Any, kind: type[Packed] | type[Half]) -> None:
        *qkv, out = _attention(layer)
        gate, up, down = _perceptron(layer)
        self._qkv, self._out = kind(qkv), kind([out])
        self._gate, self._up, self._down = kind([gate]), kind([up]), kind([down])
        self._before, self._between = layer.input_layernorm, layer.post_attention_layernorm

    def __call__(self, place: int, hidden: Tensor, cosine: Tensor, sine: Tensor, attend: Attend, of: Llama) -> Tensor:
        parts = self._qkv(_normed(hidden, self._before)).view(len(hidden), -1, of.dimension)
        turned, values = parts[:, : -of.heads], parts[:, -of.heads :]
        turned = torch.addcmul(turned * cosine, turned.roll(of.dimension // 2, -1), sine)
        seen = attend(place, turned[:, : -of.heads], turned[:, -of.heads :], values)
        hidden = self._out.joined(seen, hidden, "add")
        inner = _normed(hidden, self._between).to(self._up.dtype)
        return self._down.joined(self._up.joined(inner, self._gate(inner, then="swish"), "mul"), hidden, "add")


def _normed(hidden: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def _attention(layer: Any) -> list[Any]:
    part = layer.self_attn
    return [part.q_proj, part.k_proj, part.v_proj, part.o_proj]


def _perceptron(layer: Any) -> list[Any]:
    return [layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj]
