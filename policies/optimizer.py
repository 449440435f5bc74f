"""AdamW whose whole state is one safetensors blob, so that a step can be replayed from the log.

Loshchilov & Hutter 2019, arXiv:1711.05101, by way of `torch.optim.AdamW`; without weight decay, since the LoRA
tensors start at (random, zero) and decay would pull the random half to zero.
"""

from typing import Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from synlearner.errors import EngineError


class AdamState:
    """First and second moments and the step count, by parameter name."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    @classmethod
    def load(cls, blob: bytes | None, parameters: dict[str, Tensor]) -> Self:
        """Read a state that `save` wrote; None starts a fresh one.

        Raises:
            EngineError: If it is of other parameters.
        """
        if blob is None:
            return cls({})
        try:
            tensors = safetensors.torch.load(blob)
        except SafetensorError as error:
            raise EngineError(f"the optimiser state is not safetensors: {error}") from error
        if {name.rsplit("/", 1)[0] for name in tensors} != set(parameters):
            raise EngineError("the optimiser state is of another adapter: policy.rank or policy.model changed")
        return cls(tensors)

    def save(self) -> bytes:
        """Return the state as safetensors bytes."""
        return safetensors.torch.save(self._tensors)

    def step(self, parameters: dict[str, Tensor], *, learning_rate: float) -> None:
        """Move *parameters* by their gradients, in place."""
        optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=0.0, foreach=False)
        keys = ("step", "exp_avg", "exp_avg_sq")
        if self._tensors:
            for name, parameter in parameters.items():
                optimizer.state[parameter] = {
                    k: self._tensors[f"{name}/{k}"].to("cpu" if k == "step" else parameter.device) for k in keys
                }
        optimizer.step()
        self._tensors = {
            f"{name}/{k}": optimizer.state[parameter][k].detach().cpu().contiguous()
            for name, parameter in parameters.items()
            for k in keys
        }
