"""Merging adapters: a mean, tensor by tensor."""

import numpy as np
import pytest
import safetensors.numpy

from synlearner.errors import EngineError
from synlearner.policies.merging import merge


def adapter(**values: float) -> bytes:
    return safetensors.numpy.save({name: np.full((2, 3), value, np.float32) for name, value in values.items()})


def test_the_mean_of_adapters_by_hand() -> None:
    mean = safetensors.numpy.load(merge([adapter(a=1.0, b=-2.0), adapter(a=2.0, b=0.0), adapter(a=6.0, b=2.0)]))
    assert {name: array.tolist() for name, array in mean.items()} == {"a": [[3.0] * 3] * 2, "b": [[0.0] * 3] * 2}
    assert {array.dtype for array in mean.values()} == {np.dtype("float32")}


def test_one_adapter_is_its_own_mean_and_equal_ones_give_equal_bytes() -> None:
    alone = adapter(a=0.1, b=0.7)
    assert merge([alone]) == merge([alone, alone]) == merge([alone])


def test_adapters_of_different_shapes_are_refused() -> None:
    other = safetensors.numpy.save({"a": np.zeros((3, 2), np.float32)})
    for adapters in ([adapter(a=1.0), other], [adapter(a=1.0), adapter(b=1.0)], []):
        with pytest.raises(EngineError, match="cannot be merged"):
            merge(adapters)
