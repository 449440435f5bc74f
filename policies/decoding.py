"""Three ways to read prompts and write their samples token by token; all give the same logits up to rounding.

`JoiningRows` (`synlearner.policies.joining`) is the fast one on a CPU, where rows join and leave at any time;
`SharedPrompts` holds each prompt once for models that it does not know and on GPUs; `PaddedPrompts` takes any model.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from synlearner.policies.group_cache import GroupCache, attending_by_groups, fits
from synlearner.policies.joining import JoiningRows
from synlearner.policies.model import PolicyModel


class Decoding(Protocol):
    """A batch of rows that are written side by side, in an order of its own."""

    def room(self) -> int:
        """Return how many rows may join now."""

    def enter(self, owners: Sequence[int]) -> Tensor:
        """Let a row join for each of these prompts; return their logits, `(B, V)`. Rows go behind those that are open."""

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row; return their next logits, `(B, V)`."""

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these of the open rows alone; return them in the order that they now have."""


def make_decoding(
    model: PolicyModel, prompts: Sequence[Sequence[int]], longest: int, most: int, *, mixed: bool = False
) -> Decoding:
    """Return the best way for *model*: *prompts* are token ids, at most *most* rows are written side by side.

    Each sample has at most *longest* tokens.
    """
    if llama := model.written_by(mixed=mixed):
        return JoiningRows(llama, prompts, longest, most)
    way = SharedPrompts if fits(model.network.get_base_model()) else PaddedPrompts
    return way(model, prompts, longest, most)


class _Batches:
    """What the ways without joining have in common: a batch is written to its end before the next one begins."""

    def __init__(self, model: PolicyModel, prompts: Sequence[Sequence[int]], longest: int, most: int) -> None:
        self._model = model
        self._prompts = prompts
        self._longest = longest
        self._most = most
        self._position_B = torch.zeros(0, dtype=torch.int64, device=model.device)

    def room(self) -> int:
        """Return how many rows may join now: none while there are any."""
        return 0 if len(self._position_B) else self._most

    def _index(self, rows: Sequence[Any]) -> Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self._model.device)


class SharedPrompts(_Batches):
    """Each prompt is read and kept once for its group: `synlearner.policies.group_cache`."""

    _cache: GroupCache

    def enter(self, owners: Sequence[int]) -> Tensor:
        """Read the prompts one by one: no padding, and the products are large enough each."""
        wanted = sorted(set(owners))
        read, logits = [], []
        for prompt in (self._prompts[owner] for owner in wanted):
            cache: Any = DynamicCache()
            ids_1_S = torch.tensor([prompt], device=self._model.device)
            positions_1_S = torch.arange(len(prompt), device=self._model.device)[None]
            logits.append(self._model.forward(ids_1_S, torch.ones_like(ids_1_S), positions_1_S, cache))
            read.append([(layer.keys, layer.values) for layer in cache.layers])
        places = [wanted.index(owner) for owner in owners]
        self._cache = GroupCache(read, places, self._longest)
        self._position_B = self._index([len(self._prompts[owner]) for owner in owners])
        return torch.cat(logits)[self._index(places)]

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row."""
        with attending_by_groups(self._model.network.get_base_model()):
            logits_B_V = self._model.forward(token_B[:, None], None, self._position_B[:, None], self._cache)
        self._position_B = self._position_B + 1
        return logits_B_V

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows alone."""
        if len(rows) < len(self._position_B):
            self._position_B = self._position_B[self._index(rows)]
            if rows:
                self._cache.keep(rows)
        return list(rows)


class PaddedPrompts(_Batches):
    """Every row has its own copy of its prompt, padded on the left."""

    _cache: DynamicCache
    _mask_B_S: Tensor

    def enter(self, owners: Sequence[int]) -> Tensor:
        """Read the prompts together, and copy what was read for each row."""
        wanted = sorted(set(owners))
        width = max(len(self._prompts[owner]) for owner in wanted)
        # The mask comes from lengths: the padding may be a real token (pad = eos).
        short = [width - len(self._prompts[owner]) for owner in wanted]
        ids = [
            [self._model.pad_token] * gap + list(self._prompts[owner]) for gap, owner in zip(short, wanted, strict=True)
        ]
        mask_P_S = self._index([[0] * gap + [1] * (width - gap) for gap in short])
        self._cache = DynamicCache()
        positions_P_S = (mask_P_S.cumsum(-1) - 1).clamp(min=0)
        logits_P_V = self._model.forward(self._index(ids), mask_P_S, positions_P_S, self._cache)
        owner_B = self._index([wanted.index(owner) for owner in owners])
        self._cache.batch_select_indices(owner_B)
        self._mask_B_S = mask_P_S[owner_B]
        self._position_B = self._mask_B_S.sum(-1)
        return logits_P_V[owner_B]

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row."""
        self._mask_B_S = torch.cat([self._mask_B_S, self._mask_B_S.new_ones(len(token_B), 1)], dim=1)
        logits_B_V = self._model.forward(token_B[:, None], self._mask_B_S, self._position_B[:, None], self._cache)
        self._position_B = self._position_B + 1
        return logits_B_V

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows alone."""
        if len(rows) < len(self._position_B):
            index = self._index(rows)
            self._cache.batch_select_indices(index)
            self._mask_B_S, self._position_B = self._mask_B_S[index], self._position_B[index]
        return list(rows)
