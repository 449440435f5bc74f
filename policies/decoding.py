"""Two ways to read prompts and write their samples token by token: shared prompts, or an ordinary cache for any model.

Rows are samples, in the order of their groups. Both ways give the same logits up to rounding.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from synlearner.policies.group_cache import GroupCache, attending_by_groups, fits
from synlearner.policies.model import PolicyModel


class Decoding(Protocol):
    """A batch of rows that are written side by side."""

    def begin(self) -> Tensor:
        """Read the prompts; return each row's logits, `(B, V)`."""

    def writing(self) -> AbstractContextManager[None]:
        """Return the context that `step` needs; prompts are read before it."""

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row; return their next logits, `(B, V)`."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the open rows alone."""


def make_decoding(
    model: PolicyModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], longest: int
) -> Decoding:
    """Return the best way for *model*: *prompts* are token ids, row *b* continues prompt `owners[b]`."""
    way = SharedPrompts if fits(model.network.get_base_model()) else PaddedPrompts
    return way(model, prompts, owners, longest)


class SharedPrompts:
    """Each prompt is read and kept once for its group: `synlearner.policies.group_cache`."""

    def __init__(
        self, model: PolicyModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], longest: int
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._owners = list(owners)
        self._longest = longest
        self._position_B = torch.tensor([len(prompts[owner]) for owner in owners], device=model.device)
        self._cache: GroupCache | None = None

    def begin(self) -> Tensor:
        """Read the prompts one by one: no padding, and the products are large enough each."""
        read, logits = [], []
        for prompt in self._prompts:
            cache: Any = DynamicCache()
            ids_1_S = torch.tensor([prompt], device=self._model.device)
            positions_1_S = torch.arange(len(prompt), device=self._model.device)[None]
            logits.append(self._model.forward(ids_1_S, torch.ones_like(ids_1_S), positions_1_S, cache))
            read.append([(layer.keys, layer.values) for layer in cache.layers])
        self._cache = GroupCache(read, self._owners, self._longest)
        return torch.cat(logits)[torch.tensor(self._owners, device=self._model.device)]

    def writing(self) -> AbstractContextManager[None]:
        """Let the model attend to shared prompts."""
        return attending_by_groups(self._model.network.get_base_model())

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row."""
        logits_B_V = self._model.forward(token_B[:, None], None, self._position_B[:, None], self._cache)
        self._position_B = self._position_B + 1
        return logits_B_V

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._position_B = self._position_B[torch.tensor(rows, device=self._model.device)]
        if self._cache is not None:
            self._cache.keep(rows)


class PaddedPrompts:
    """Every row has its own copy of its prompt, padded on the left."""

    def __init__(
        self, model: PolicyModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], longest: int
    ) -> None:
        self._model = model
        width = max(map(len, prompts))
        # The mask comes from lengths: the padding may be a real token (pad = eos).
        pad = model.pad_token
        ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._ids_P_S = torch.tensor(ids, device=model.device)
        self._owner_B = torch.tensor(owners, device=model.device)
        self._mask_P_S = torch.tensor(mask, device=model.device)
        self._mask_B_S = self._mask_P_S[self._owner_B]
        self._position_B = self._mask_B_S.sum(-1)
        self._cache = DynamicCache()

    def begin(self) -> Tensor:
        """Read the prompts together, and copy what was read for each row."""
        positions_P_S = (self._mask_P_S.cumsum(-1) - 1).clamp(min=0)
        logits_P_V = self._model.forward(self._ids_P_S, self._mask_P_S, positions_P_S, self._cache)
        self._cache.batch_select_indices(self._owner_B)
        return logits_P_V[self._owner_B]

    def writing(self) -> AbstractContextManager[None]:
        """Return a context that changes nothing."""
        return nullcontext()

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each open row."""
        self._mask_B_S = torch.cat([self._mask_B_S, self._mask_B_S.new_ones(len(token_B), 1)], dim=1)
        logits_B_V = self._model.forward(token_B[:, None], self._mask_B_S, self._position_B[:, None], self._cache)
        self._position_B = self._position_B + 1
        return logits_B_V

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        index = torch.tensor(rows, device=self._model.device)
        self._cache.batch_select_indices(index)
        self._mask_B_S, self._position_B = self._mask_B_S[index], self._position_B[index]
