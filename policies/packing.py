"""One prompt and its completions as one sequence, so that the prompt is read once for the whole group.

Every completion sees the prompt and itself, never its neighbours, at the positions it would have alone: logits are
the same as in separate sequences (tests compare them), at a fraction of the work when prompts are long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pack:
    """A packed group. `L` tokens in all, `T` of them to be predicted."""

    ids_1_L: Tensor
    position_1_L: Tensor
    sees_1_1_L_L: Tensor
    """True where the row's token may look at the column's."""
    from_T: Tensor
    """Index in `L` of the token whose logits predict each target. A prompt's last token predicts every first one."""
    target_T: Tensor
    owner_T: Tensor
    """Which completion each target belongs to."""


def pack(prompt: Sequence[int], completions: Sequence[Sequence[int]], device: torch.device) -> Pack:
    """Pack *completions* (token ids, none empty) behind their *prompt*."""
    start = len(prompt)
    ids, positions = list(prompt), list(range(start))
    sees = [torch.ones(start, start, dtype=torch.bool).tril()]
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for owner, completion in enumerate(completions):
        at = len(ids)
        body = completion[:-1]  # the last token is only predicted, nothing follows it
        sources += [start - 1, *range(at, at + len(body))]
        targets += completion
        owners += [owner] * len(completion)
        ids += body
        positions += range(start, start + len(body))
        sees.append(torch.ones(len(body), len(body), dtype=torch.bool).tril())
    sees_L_L = torch.block_diag(*sees).bool()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    sees_L_L[start:, :start] = True
    return Pack(
        ids_1_L=torch.tensor([ids], device=device),
        position_1_L=torch.tensor([positions], device=device),
        sees_1_1_L_L=sees_L_L[None, None].to(device),
        from_T=torch.tensor(sources, device=device),
        target_T=torch.tensor(targets, device=device),
        owner_T=torch.tensor(owners, device=device),
    )
