"""Adapters taken together: their mean, tensor by tensor. Base weights are not touched.

The mean of LoRA factors is not the LoRA of the mean of their products; it is near it where the adapters come from one
start, as those of a stream do (weight averaging of models fine-tuned from one point: Wortsman et al. 2022,
arXiv:2203.05482).
"""

from collections.abc import Sequence

import numpy as np
import safetensors.numpy

from synlearner.errors import EngineError


def merge(adapters: Sequence[bytes]) -> bytes:
    """Return the mean of *adapters*, safetensors bytes with float32 tensors of equal names and shapes.

    Raises:
        EngineError: If there are none, or they are of different shapes.
    """
    tensors = [safetensors.numpy.load(adapter) for adapter in adapters]
    shapes = [{name: array.shape for name, array in each.items()} for each in tensors]
    if not tensors or any(shape != shapes[0] for shape in shapes):
        raise EngineError(f"{len(tensors)} adapters cannot be merged: their tensors have different names or shapes")
    mean = {
        name: np.asarray(np.stack([each[name] for each in tensors]).mean(axis=0, dtype=np.float64), dtype=np.float32)
        for name in sorted(tensors[0])
    }
    return safetensors.numpy.save(mean)
