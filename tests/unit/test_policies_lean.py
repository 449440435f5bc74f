"""Passes worked out by hand: values and gradients are those of the modules that they stand for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import adapter
from torch import Tensor

from synlearner.policies.lean import _Gated, _Lora, _Norm, lean
from synlearner.policies.model import PolicyModel

Formula = Callable[..., Tensor]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


CASES: dict[str, tuple[Any, Formula, list[Any], int]] = {
    "a linear layer with LoRA": (
        _Lora,
        lambda x, a, b, w, bias, s: x @ w.T + bias + s * (x @ a.T) @ b.T,
        [drawn(2, 5, 4), drawn(3, 4), drawn(6, 3), drawn(6, 4), drawn(6), 1.5],
        3,
    ),
    "a gated perceptron": (
        _Gated,
        lambda gate, up: gate * torch.sigmoid(gate) * up,
        [drawn(2, 5, 7), drawn(2, 5, 8)[..., :7]],
        2,
    ),
    "a norm": (
        _Norm,
        lambda x, w, e: w * x / torch.sqrt((x * x).mean(-1, keepdim=True) + e),
        [drawn(2, 5, 4), drawn(4), 1e-5],
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes_are_those_of_the_formula(name: str) -> None:
    """By finite differences too: to 1e-6 of them, and to 1e-12 of what torch makes of the formula."""
    function, formula, inputs, learnt = CASES[name]
    ours, plain = ([x.clone().requires_grad_(i < learnt) if isinstance(x, Tensor) else x for i, x in enumerate(inputs)] for _ in "ab")  # fmt: skip
    assert torch.autograd.gradcheck(function.apply, ours)
    out, expected = function.apply(*ours), formula(*plain)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    slope = drawn(*out.shape)
    out.backward(slope)
    expected.backward(slope)  # type: ignore[no-untyped-call]
    for mine, theirs in zip(ours[:learnt], plain[:learnt], strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_whole_model_has_the_same_gradient_and_is_itself_again_afterwards(
    model: PolicyModel, checkpointing: bool
) -> None:
    model.load_adapter(adapter(model, scale=0.2))
    ids = torch.randint(0, 300, (2, 17), generator=torch.Generator().manual_seed(0))

    def gradient() -> tuple[Tensor, Tensor]:
        model.network.zero_grad(set_to_none=True)
        with model.checkpointing(on=checkpointing):
            loss = model.network(input_ids=ids).logits.log_softmax(-1)[..., 3].square().mean()
            loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters().values() if p.grad is not None])

    plain_loss, plain_D = gradient()
    with lean(model.network):
        lean_loss, lean_D = gradient()
    assert abs(lean_loss - plain_loss) < 1e-5 * abs(plain_loss)
    assert float((lean_D - plain_D).norm() / plain_D.norm()) < 1e-5
    assert not any("forward" in vars(module) for module in model.network.modules())
    again_loss, again_D = gradient()
    assert torch.equal(again_loss, plain_loss)
    assert torch.equal(again_D, plain_D)


def test_an_adapter_that_is_off_has_no_part_in_it(model: PolicyModel) -> None:
    model.load_adapter(None)
    ids = torch.arange(9)[None]
    with torch.no_grad():
        plain = model.network(input_ids=ids).logits
        with lean(model.network):
            torch.testing.assert_close(model.network(input_ids=ids).logits, plain, rtol=0, atol=1e-5)
