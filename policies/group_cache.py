"""Keys and values of a batch of groups, each prompt held once for all of its samples.

An ordinary cache holds the prompt again for every sample, copies all of it at every step, and repeats it for grouped
queries: with 48 samples of 200-token prompts that is more memory traffic than the weights. Here a step reads each
prompt once. The result is the same attention (tests compare it with the ordinary one).

Works with every transformers model that attends through the attention interface, fully and without extras
(`fits` tells); others take the ordinary cache.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

NAME = "synlearner_groups"

BLOCK = 64
"""Tokens that room is made for at a time: most samples end long before they may."""

KeysValues = list[tuple[Tensor, Tensor]]
"""Of one prompt: per layer its keys and values, `(1, heads, length, dimension)`."""


class GroupCache:
    """What the model's layers read and grow while the rows of several groups are written.

    Shapes: `_P` prompts, `_J` most open rows of a prompt, `_B` open rows, `_H` key heads, `_R` query heads per key
    head, `_S` longest prompt, `_T` tokens written so far, `_D` dimension.
    """

    def __init__(self, prompts: Sequence[KeysValues], owners: Sequence[int], longest: int) -> None:
        """Hold *prompts*; row *b* continues prompt `owners[b]` by at most *longest* tokens."""
        first = prompts[0][0][0]
        lengths = [prompt[0][0].shape[2] for prompt in prompts]
        places_P_S = torch.arange(max(lengths), device=first.device).expand(len(prompts), -1)
        beyond_P_S = places_P_S >= torch.tensor(lengths, device=first.device)[:, None]
        self.hidden_P_1_1_S = torch.zeros(beyond_P_S.shape, dtype=first.dtype, device=first.device).masked_fill(
            beyond_P_S, float("-inf")
        )[:, None, None]
        self.layers = [
            _Layer(self, [prompt[i] for prompt in prompts], len(owners), longest) for i in range(len(prompts[0]))
        ]
        self.written = 0
        self.prompts = len(prompts)
        self._owners = list(owners)
        self._arrange()

    def _arrange(self) -> None:
        """Give each open row its slot among the rows of its prompt."""
        counts = [self._owners.count(prompt) for prompt in range(self.prompts)]
        self.most = max(counts)
        seen = [0] * self.prompts
        slots = []
        for owner in self._owners:
            slots.append(owner * self.most + seen[owner])
            seen[owner] += 1
        self.slot_B = torch.tensor(slots, device=self.hidden_P_1_1_S.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these."""
        index = torch.tensor(rows, device=self.slot_B.device)
        self._owners = [self._owners[row] for row in rows]
        for layer in self.layers:
            layer.keys_B_H_T_D = layer.keys_B_H_T_D[index]
            layer.values_B_H_T_D = layer.values_B_H_T_D[index]
        self._arrange()

    # ---- what a model asks of a cache ------------------------------------------------------------------------

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Any, Any]:
        """Take in the new token's keys and values; what is returned goes to `attend` as keys and values."""
        if layer == 0:
            self.written += 1
        self.layers[layer].add(keys, values, self.written)
        return self.layers[layer], self.layers[layer]

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the longest row's length."""
        return self.hidden_P_1_1_S.shape[-1] + self.written


class _Layer:
    """One layer's part of the cache."""

    def __init__(self, cache: GroupCache, prompts: KeysValues, rows: int, longest: int) -> None:
        self.cache = cache
        size = cache.hidden_P_1_1_S.shape[-1]
        self.prompt_keys_P_H_S_D = torch.cat([_padded(keys, size) for keys, _ in prompts])
        self.prompt_values_P_H_S_D = torch.cat([_padded(values, size) for _, values in prompts])
        _, heads, _, dimension = self.prompt_keys_P_H_S_D.shape
        self.keys_B_H_T_D = self.prompt_keys_P_H_S_D.new_zeros(rows, heads, min(longest, BLOCK), dimension)
        self.values_B_H_T_D = torch.zeros_like(self.keys_B_H_T_D)
        self.length = 0

    def add(self, keys_B_H_1_D: Tensor, values_B_H_1_D: Tensor, length: int) -> None:
        room = self.keys_B_H_T_D.shape[2]
        if length > room:
            self.keys_B_H_T_D = _padded(self.keys_B_H_T_D, room + BLOCK)
            self.values_B_H_T_D = _padded(self.values_B_H_T_D, room + BLOCK)
        self.keys_B_H_T_D[:, :, length - 1 : length] = keys_B_H_1_D
        self.values_B_H_T_D[:, :, length - 1 : length] = values_B_H_1_D
        self.length = length


def _padded(tensor_X_H_S_D: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(tensor_X_H_S_D, (0, 0, 0, size - tensor_X_H_S_D.shape[2]))


def attend(
    module: Any,  # noqa: ARG001 - the attention interface
    query_B_Q_1_D: Tensor,
    layer: _Layer,
    _: _Layer,
    mask: Tensor | None,  # noqa: ARG001 - nothing is hidden but the padding of prompts
    scaling: float | None = None,
    **rest: Any,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attend from the newest token of each row to its prompt and to what it has written; the attention interface."""
    cache = layer.cache
    rows, queries, _one, dimension = query_B_Q_1_D.shape
    heads = layer.keys_B_H_T_D.shape[1]
    scale = dimension**-0.5 if scaling is None else scaling
    query_B_H_R_D = query_B_Q_1_D.reshape(rows, heads, queries // heads, dimension) * scale
    query_P_H_JR_D = _to_prompts(query_B_H_R_D, cache)
    to_prompt_P_H_JR_S = query_P_H_JR_D @ layer.prompt_keys_P_H_S_D.transpose(2, 3) + cache.hidden_P_1_1_S
    to_prompt_B_H_R_S = _to_rows(to_prompt_P_H_JR_S, cache)
    own_keys_B_H_T_D = layer.keys_B_H_T_D[:, :, : layer.length]
    to_own_B_H_R_T = query_B_H_R_D @ own_keys_B_H_T_D.transpose(2, 3)
    size = to_prompt_B_H_R_S.shape[-1]
    weights_B_H_R_ST = (
        torch.cat([to_prompt_B_H_R_S, to_own_B_H_R_T], dim=-1).float().softmax(-1).to(query_B_Q_1_D.dtype)
    )
    from_own_B_H_R_D = weights_B_H_R_ST[..., size:] @ layer.values_B_H_T_D[:, :, : layer.length]
    weights_P_H_JR_S = _to_prompts(weights_B_H_R_ST[..., :size], cache)
    from_prompt_B_H_R_D = _to_rows(weights_P_H_JR_S @ layer.prompt_values_P_H_S_D, cache)
    return (from_prompt_B_H_R_D + from_own_B_H_R_D).reshape(rows, 1, queries, dimension), None


def _to_prompts(rows_B_H_R_X: Tensor, cache: GroupCache) -> Tensor:
    """Lay rows out by prompt, `(P, H, J R, X)`; slots without an open row are zeros."""
    _, heads, shared, width = rows_B_H_R_X.shape
    slots = rows_B_H_R_X.new_zeros(cache.prompts * cache.most, heads, shared, width)
    slots[cache.slot_B] = rows_B_H_R_X
    by_prompt = slots.view(cache.prompts, cache.most, heads, shared, width).transpose(1, 2)
    return by_prompt.reshape(cache.prompts, heads, cache.most * shared, width)


def _to_rows(prompts_P_H_JR_X: Tensor, cache: GroupCache) -> Tensor:
    """Undo `_to_prompts`: `(B, H, R, X)`."""
    prompts, heads, _, width = prompts_P_H_JR_X.shape
    slots = prompts_P_H_JR_X.view(prompts, heads, cache.most, -1, width).transpose(1, 2)
    return slots.reshape(prompts * cache.most, heads, -1, width)[cache.slot_B]


AttentionInterface.register(NAME, attend)


def fits(model: Any) -> bool:
    """Tell whether *model* attends fully, everywhere, through the attention interface."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    plain = not getattr(config, "sliding_window", None) or not getattr(config, "use_sliding_window", True)
    softcap = getattr(config, "attn_logit_softcapping", None)
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and kinds == {"full_attention"}
        and plain
        and not softcap
    )


@contextmanager
def attending_by_groups(model: Any) -> Iterator[None]:
    """Let *model* attend through `attend` for a while."""
    usual = model.config._attn_implementation  # noqa: SLF001 - transformers has no public name for it
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
