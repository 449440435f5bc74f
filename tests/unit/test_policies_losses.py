"""Losses, by hand and against what they must reduce to."""

import math

import pytest
import torch
from torch import Tensor

from synlearner.policies.losses import clipped_policy_loss, group_advantages, kl_k3, negative_log_likelihood


def loss(ratio: float, advantage: float) -> tuple[float, float]:
    """Return the loss of one token whose probability changed by *ratio*, and the gradient of its log-probability."""
    logprob = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    value = clipped_policy_loss(
        logprob, torch.zeros(1, dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64), clip_low=0.2,
        clip_high=0.28,
    )  # fmt: skip
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert logprob.grad is not None
    return value.item(), logprob.grad.item()


def test_the_gain_of_a_doubled_probability_is_clipped() -> None:
    """Hand-worked: ratio 2, clip .28, advantage 1, so the gain is 1.28 and not 2; no gradient."""
    assert loss(2.0, 1.0) == pytest.approx((-1.28, 0.0))


def test_the_loss_of_a_halved_probability_is_not_clipped_where_it_hurts() -> None:
    """Hand-worked: min(.5, .8) = .5, so a good token that became rare is still pulled back: gradient -.5."""
    assert loss(0.5, 1.0) == pytest.approx((-0.5, -0.5))


def test_a_bad_token_that_became_rare_is_left_alone() -> None:
    """Hand-worked: advantage -1, ratio .5: min(-.5, -.8) = -.8, clipped, no gradient."""
    assert loss(0.5, -1.0) == pytest.approx((0.8, 0.0))


def test_a_bad_token_that_became_likely_is_pushed_down_in_full() -> None:
    """Hand-worked: advantage -1, ratio 2: min(-2, -1.28) = -2."""
    assert loss(2.0, -1.0) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize(("ratio", "advantage"), [(1.279, 1.0), (0.801, -1.0), (1.0, 2.5), (0.81, 1.0)])
def test_inside_the_clip_the_gradient_is_that_of_the_ratio(ratio: float, advantage: float) -> None:
    assert loss(ratio, advantage) == pytest.approx((-ratio * advantage, -ratio * advantage))


def test_the_two_clips_are_different() -> None:
    assert loss(1.25, 1.0)[1] != 0, "clip-higher: up to 1.28"
    assert loss(0.79, -1.0)[1] == 0
    assert loss(0.79, 1.0)[1] != 0


def test_a_token_without_advantage_teaches_nothing() -> None:
    assert loss(1.7, 0.0) == pytest.approx((0.0, 0.0))


def random_policy() -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of a policy over 7 tokens at 40 places, the tokens drawn there, and advantages."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(7, (40,), generator=generator)
    return logits, tokens, torch.randn(40, generator=generator, dtype=torch.float64)


def test_on_policy_the_gradient_is_that_of_reinforce() -> None:
    logits, tokens, advantages = random_policy()
    logprobs = torch.log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]
    ours = clipped_policy_loss(logprobs, logprobs.detach(), advantages, clip_low=0.2, clip_high=0.28).sum()
    (ours_V,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (reinforce_V,) = torch.autograd.grad(-(logprobs * advantages).sum(), logits)
    assert torch.allclose(ours_V, reinforce_V, atol=1e-12)
    assert ours.item() == pytest.approx(-advantages.sum().item()), "the value itself says nothing"


# ---- KL ------------------------------------------------------------------------------------------------------


def test_k3_by_hand() -> None:
    """Hand-worked: policy 1/2, reference 1/4: d = -log 2, so 1/2 + log 2 - 1 = .1931; the other way 2 - log 2 - 1 = .3069."""
    half, quarter = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert kl_k3(half, quarter).item() == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    assert kl_k3(quarter, half).item() == pytest.approx(1 - math.log(2), abs=1e-6)


def test_k3_is_zero_where_both_agree_and_never_negative() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, reference = torch.randn(2, 500, generator=generator) * 3
    assert kl_k3(policy, reference).min() >= 0
    assert torch.equal(kl_k3(policy, policy), torch.zeros(500))


def test_the_mean_of_k3_is_the_divergence() -> None:
    """Summed over all tokens by the policy's probability it is KL(policy || reference) exactly."""
    generator = torch.Generator().manual_seed(2)
    policy, reference = torch.log_softmax(torch.randn(2, 9, generator=generator, dtype=torch.float64), -1)
    exact = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * kl_k3(policy, reference)).sum().item() == pytest.approx(exact.item())


def test_a_token_that_the_policy_has_almost_lost_does_not_overflow() -> None:
    assert torch.isfinite(kl_k3(torch.tensor([-1000.0]), torch.tensor([0.0]))).all()
    assert torch.isfinite(kl_k3(torch.tensor([0.0]), torch.tensor([-1000.0]))).all()


# ---- advantages, likelihood ----------------------------------------------------------------------------------


def test_advantages_are_centred_and_not_divided() -> None:
    """Hand-worked: mean 2; 4.3: dividing by the deviation would blow a spread of .001 up to one."""
    assert group_advantages(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-1, 0, 1]
    assert group_advantages(torch.tensor([1.0, 1.002])).tolist() == pytest.approx([-0.001, 0.001], abs=1e-6)
    assert group_advantages(torch.tensor([0.7, 0.7])).tolist() == [0, 0]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="a group of 1 has nothing to be compared with: use groups of 2 or more"):
        group_advantages(torch.tensor([1.0]))


def test_fine_tuning_raises_the_likelihood() -> None:
    logprobs = torch.tensor([-0.5, -2.0], requires_grad=True)
    value = negative_log_likelihood(logprobs)
    assert value.tolist() == [0.5, 2.0]
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-1, -1]
