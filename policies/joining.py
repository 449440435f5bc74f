"""Rows that join and leave a batch at any time, so that it stays full.

Each prompt is read and kept once for its rows, and read only from where it differs from others.

A step attends in two parts, and joins them by their masses (log-sum-exp): a prompt with all of its rows at once, and
each row with what it has written. Written keys lie in a ring: at a step every row writes the same column, whenever it
came, and a mask says which columns are a row's own. When a row leaves, the last one takes its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from synlearner.policies.llama import Llama

BLOCK = 64
"""Columns that room is made for at a time: most samples end long before they may."""

_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - the one that tells the mass


@dataclass(slots=True)
class _Prompt:
    """A prompt that has been read: per layer keys and values `(1, H, S, D)`; the logits behind it `(1, V)`."""

    keys: list[Tensor]
    values: list[Tensor]
    logits: Tensor


class JoiningRows:
    """A batch of at most *most* rows of *prompts* (token ids), of at most *longest* tokens each."""

    def __init__(self, llama: Llama, prompts: Sequence[Sequence[int]], longest: int, most: int) -> None:
        self._llama = llama
        self._ids = prompts
        self._most = most
        self._read: dict[int, _Prompt] = {}
        self._owners: list[int] = []
        self._ages: list[int] = []
        self._room = min(longest, BLOCK)
        self._column = 0
        shape = (2, len(llama.layers), most, llama.heads, self._room, llama.dimension)
        self._written = torch.zeros(shape)
        self._hidden = torch.full((most, 1, 1, self._room), float("-inf"))
        self._sorted: Tensor = torch.zeros(0, dtype=torch.int64)
        self._back: Tensor = self._sorted
        self._spans: list[tuple[_Prompt, int, int]] = []

    def room(self) -> int:
        """Return how many rows may join now."""
        return self._most - len(self._owners)

    def enter(self, owners: Sequence[int]) -> Tensor:
        """Let a row join for each of these prompts; return what follows their prompts, `(B, V)`."""
        for owner in owners:
            if owner not in self._read:
                self._read[owner] = self._prompt(self._ids[owner])
        self._hidden[len(self._owners) : len(self._owners) + len(owners)] = float("-inf")
        self._owners += owners
        self._ages += [0] * len(owners)
        self._arrange()
        return torch.cat([self._read[owner].logits for owner in owners])

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Let go of all rows but these; return them in their new order: the last fill the places of those that left."""
        order = list(range(len(rows)))
        stays = set(rows)
        late = [row for row in rows if row >= len(rows)]
        for place, row in zip([place for place in order if place not in stays], late, strict=True):
            self._written[:, :, place] = self._written[:, :, row]
            self._hidden[place] = self._hidden[row]
            order[place] = row
        if len(order) < len(self._owners):
            self._owners = [self._owners[row] for row in order]
            self._ages = [self._ages[row] for row in order]
            self._arrange()
        return order

    def step(self, token_B: Tensor) -> Tensor:
        """Take one token for each row, in their order; return what may follow, `(B, V)`."""
        if max(self._ages) == self._room:
            self._grow()
        self._hidden[: len(token_B), :, :, self._column] = 0.0
        positions = [len(self._ids[owner]) + age for owner, age in zip(self._owners, self._ages, strict=True)]
        hidden = self._llama.read(token_B, torch.tensor(positions), self._attend)
        self._ages = [age + 1 for age in self._ages]
        self._column = (self._column + 1) % self._room
        return self._llama.logits(hidden)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _prompt(self, ids: Sequence[int]) -> _Prompt:
        """Read a prompt, from where it differs from every other one that is in use."""
        same, of = max(((_same(ids, self._ids[owner]), owner) for owner in self._read), default=(0, 0))
        same = min(same, len(ids) - 1)
        sees = torch.ones(len(ids) - same, len(ids), dtype=torch.bool).tril(same) if same else None
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def attend(place: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            for kept, new in ((keys, key), (values, value)):
                whole = new.transpose(0, 1)[None].contiguous()
                if same:
                    begun = self._read[of].keys if kept is keys else self._read[of].values
                    whole = torch.cat([begun[place][:, :, :same], whole], dim=2)
                kept.append(whole)
            seen = F.scaled_dot_product_attention(
                query.transpose(0, 1)[None], keys[-1], values[-1], attn_mask=sees, is_causal=not same, enable_gqa=True
            )
            return seen[0].transpose(0, 1).flatten(1)

        hidden = self._llama.read(torch.tensor(ids[same:]), torch.arange(same, len(ids)), attend)
        return _Prompt(keys, values, self._llama.logits(hidden[-1:]))

    def _arrange(self) -> None:
        """Sort rows by their prompts, and forget prompts without a row."""
        order = sorted(range(len(self._owners)), key=lambda row: self._owners[row])
        self._sorted = torch.tensor(order, dtype=torch.int64)
        self._back = self._sorted.argsort()
        self._read = {owner: self._read[owner] for owner in sorted(set(self._owners))}
        self._spans, start = [], 0
        for owner, prompt in self._read.items():
            stop = start + self._owners.count(owner)
            self._spans.append((prompt, start, stop))
            start = stop

    def _attend(self, place: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, heads, dimension = len(query), self._llama.heads, self._llama.dimension
        keys, values = self._written[0, place, :rows], self._written[1, place, :rows]
        keys[:, :, self._column] = key
        values[:, :, self._column] = value
        query_B_H_R_D = query.reshape(rows, heads, -1, dimension)
        own_B_H_R_D, own_mass_B_H_R = _attention(query_B_H_R_D, keys, values, attn_mask=self._hidden[:rows])
        parts, masses = [], []
        sorted_H_B_R_D = query_B_H_R_D[self._sorted].transpose(0, 1)
        for prompt, start, stop in self._spans:
            together = sorted_H_B_R_D[:, start:stop].reshape(1, heads, -1, dimension)
            seen, mass = _attention(together, prompt.keys[place], prompt.values[place])
            parts.append(seen[0].view(heads, stop - start, -1, dimension))
            masses.append(mass[0].view(heads, stop - start, -1))
        seen_B_H_R_D = torch.cat(parts, dim=1).transpose(0, 1)[self._back]
        mass_B_H_R = torch.cat(masses, dim=1).transpose(0, 1)[self._back]
        share_B_H_R_1 = torch.sigmoid(mass_B_H_R - own_mass_B_H_R)[..., None]
        return torch.lerp(own_B_H_R_D, seen_B_H_R_D, share_B_H_R_1).reshape(rows, -1)

    def _grow(self) -> None:
        """Make room: the oldest column comes first, new ones behind the newest."""
        self._written = F.pad(self._written.roll(-self._column, -2), (0, 0, 0, BLOCK))
        self._hidden = F.pad(self._hidden.roll(-self._column, -1), (0, BLOCK), value=float("-inf"))
        self._column, self._room = self._room, self._room + BLOCK


def _same(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(left), len(right)))
