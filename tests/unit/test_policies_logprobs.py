"""Log-probabilities of drawn tokens, against the plain formula."""

import math

import pytest
import torch
from torch import Tensor

from synlearner.policies.logprobs import ROWS, drawn_logprobs
from synlearner.policies.sampler import kept_logprobs


def plain(logits: Tensor, target: Tensor, temperature: float, min_p: float) -> tuple[Tensor, Tensor]:
    ones = torch.ones(len(target), dtype=logits.dtype)
    kept = kept_logprobs(logits, ones * temperature, ones * min_p).gather(1, target[:, None])[:, 0]
    full = torch.log_softmax(logits / temperature, -1).gather(1, target[:, None])[:, 0]
    return kept, full


@pytest.mark.parametrize(("temperature", "min_p"), [(1.0, 0.0), (0.8, 0.1), (1.2, 0.05)])
@pytest.mark.parametrize("rows", [1, ROWS, 2 * ROWS + 3])
def test_values_and_gradients_equal_the_plain_formula(temperature: float, min_p: float, rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, 50, generator=generator, dtype=torch.float64) * 3
    target = logits.argmax(-1)
    weights = torch.randn(2, rows, generator=generator, dtype=torch.float64)
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = drawn_logprobs(mine, target, temperature, min_p)
    expected = plain(theirs, target, temperature, min_p)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    (found[0] * weights[0] + found[1] * weights[1]).sum().backward()  # type: ignore[no-untyped-call]
    (expected[0] * weights[0] + expected[1] * weights[1]).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_a_token_just_outside_the_kept_set_counts_as_kept() -> None:
    """Hand-worked: p = (0.8, 0.2), min_p 0.5 keeps the first alone; if the second was drawn, both are kept."""
    logits = torch.tensor([[math.log(0.8), math.log(0.2)]])
    kept, full = drawn_logprobs(logits, torch.tensor([1]), 1.0, 0.5)
    assert float(kept) == pytest.approx(math.log(0.2))
    assert float(full) == pytest.approx(math.log(0.2))
    kept, _ = drawn_logprobs(logits, torch.tensor([0]), 1.0, 0.5)
    assert float(kept) == pytest.approx(0.0)
