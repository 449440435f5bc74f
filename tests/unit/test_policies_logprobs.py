"""Log-probabilities of drawn tokens, against the plain formula."""

import math

import pytest
import torch
from torch import Tensor

from synlearner.policies.logprobs import ROWS, Support, drawn_logprobs, head_logprobs, unpacked
from synlearner.policies.sampler import kept_logprobs

SUPPORTS = {
    "whole": Support(1.0, 0.0),
    "cool, min-p": Support(0.8, 0.1),
    "warm, min-p": Support(1.2, 0.05),
    "cold": Support(0.5, 0.0),
}


def plain(logits: Tensor, target: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    ones = torch.ones(len(target), dtype=logits.dtype)
    if support.allowed_T_W is not None:
        logits = logits.masked_fill(~unpacked(support.allowed_T_W, logits.shape[1]), -math.inf)
    kept = kept_logprobs(logits, ones * support.temperature, ones * support.min_p).gather(1, target[:, None])[:, 0]
    full = torch.log_softmax(logits / support.temperature, -1).gather(1, target[:, None])[:, 0]
    return kept, full


def problem(rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return hidden states, head, bias, targets and the weights of the two results, in float64."""
    generator = torch.Generator().manual_seed(rows)
    hidden, head, bias = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in ((rows, 8), (50, 8), (50,))
    )
    target = (hidden @ head.T + bias).argmax(-1)
    return hidden, head, bias, target, torch.randn(2, rows, generator=generator, dtype=torch.float64)


def masks(target: Tensor) -> Tensor:
    """Return bit masks that allow about half of 50 tokens, the target among them."""
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(len(target), 64, generator=generator) < 0.5
    allowed[:, 50:] = False
    allowed.scatter_(1, target[:, None], True)
    bits = (allowed.view(-1, 2, 32).long() << torch.arange(32)).sum(-1)
    return bits.where(bits < 2**31, bits - 2**32).int()


@pytest.mark.parametrize("grammar", [False, True], ids=["free", "grammar"])
@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
@pytest.mark.parametrize("rows", [1, ROWS, 2 * ROWS + 3])
def test_values_and_gradients_equal_the_plain_formula(support: Support, rows: int, grammar: bool) -> None:
    hidden, head, bias, target, weights = problem(rows)
    support = Support(support.temperature, support.min_p, masks(target) if grammar else None)
    results = []
    for way in ("plain", "logits", "head"):
        states = hidden.clone().requires_grad_()
        if way == "head":
            found = head_logprobs(states, head, bias, target, support)
        else:
            found = (plain if way == "plain" else drawn_logprobs)(states @ head.T + bias, target, support)
        (found[0] * weights[0] + found[1] * weights[1]).sum().backward()  # type: ignore[no-untyped-call]
        assert states.grad is not None
        results.append((*(value.detach() for value in found), states.grad))
    for result in results[1:]:
        for left, right in zip(result, results[0], strict=True):
            torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def test_without_slopes_only_the_kept_set_teaches() -> None:
    hidden, head, _, target, _ = problem(5)
    support = Support(1.0, 0.2)
    both, one = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    head_logprobs(both, head, None, target, support)[0].sum().backward()  # type: ignore[no-untyped-call]
    kept, full = head_logprobs(one, head, None, target, support, slopes=False)
    assert not full.requires_grad
    kept.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(one.grad, both.grad)


def test_a_token_just_outside_the_kept_set_counts_as_kept() -> None:
    """Hand-worked: p = (0.8, 0.2), min_p 0.5 keeps the first alone; if the second was drawn, both are kept."""
    logits = torch.tensor([[math.log(0.8), math.log(0.2)]])
    kept, full = drawn_logprobs(logits, torch.tensor([1]), Support(1.0, 0.5))
    assert float(kept) == pytest.approx(math.log(0.2))
    assert float(full) == pytest.approx(math.log(0.2))
    kept, _ = drawn_logprobs(logits, torch.tensor([0]), Support(1.0, 0.5))
    assert float(kept) == pytest.approx(0.0)


def test_bit_masks_by_hand() -> None:
    """Hand-worked: bits 0 and 31 of the first word, bit 1 of the second: tokens 0, 31 and 33."""
    words = torch.tensor([[-(2**31) + 1, 2]], dtype=torch.int32)
    assert unpacked(words, 40)[0].nonzero()[:, 0].tolist() == [0, 31, 33]
    assert unpacked(words, 70)[0].nonzero()[:, 0].tolist() == [0, 31, 33], "beyond the words nothing is allowed"
