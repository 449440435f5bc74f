"""Equal bits from equal inputs, inside one numeric fingerprint (docs/NUMERICS.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Let torch use deterministic algorithms alone.

    Else the gradient of looking up rows twice (a prompt's last token predicts every first one) is added up by all
    threads at once, in any order: 3 of 12 gradients of the embedded model differed in their last bits.
    """
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=device.type != "cpu")
    # Nothing here reads what it has not written, and filling all new memory costs time.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled
