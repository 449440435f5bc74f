"""Losses, by hand, against an oracle in plain floats, and against what they must reduce to."""

import math
import random
from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from synlearner.policies.advantages import group_advantages
from synlearner.policies.losses import (
    Estimator,
    Loss,
    Objective,
    Whole,
    kl_estimate,
    log_ratios,
    negative_log_likelihood,
    policy_loss,
    token_weights,
)

LOSSES: tuple[Loss, ...] = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")


def loss(ratio: float, advantage: float, name: Loss = "dapo") -> tuple[float, float]:
    """Return the loss of one token whose probability changed by *ratio*, and the gradient of its log-probability."""
    logprob = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    old, owner = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    value = policy_loss(logprob, log_ratios(logprob, old, owner, name), advantages, Objective(name))
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


def test_a_capped_token_keeps_its_gradient_in_cispo() -> None:
    """Hand-worked: ratio 2 is capped at 1.28, and the token is weighed by that: gradient -1.28 A."""
    assert loss(2.0, 1.0, "cispo") == pytest.approx((-1.28 * math.log(2), -1.28))
    assert loss(2.0, -1.0, "cispo")[1] == pytest.approx(1.28)
    assert loss(0.1, 1.0, "cispo")[1] == pytest.approx(-0.1), "there is no lower cap"


def test_a_sequence_has_one_ratio_in_gspo() -> None:
    """Hand-worked: ratios 2 and 1/2 of one sample have the geometric mean 1; the other sample's is its own."""
    logs = torch.tensor([math.log(2), -math.log(2), math.log(3)])
    found = log_ratios(logs, torch.zeros(3), torch.tensor([0, 0, 1]), "gspo")
    assert found.tolist() == pytest.approx([0, 0, math.log(3)], abs=1e-6)


def test_what_a_token_weighs_by_hand() -> None:
    """Hand-worked: samples of 1 and 3 tokens in a micro-batch; the step has 4 samples, 10 tokens, 2 micro-batches."""
    whole = Whole(samples=4, tokens=10, longest=8, parts=2)
    found = {name: token_weights([1, 3], name, whole) for name in LOSSES}
    assert found == {
        "grpo": [1 / 4, 1 / 12],
        "gspo": [1 / 4, 1 / 12],
        "dr_grpo": [1 / 32, 1 / 32],
        "dapo": [1 / 10, 1 / 10],
        "cispo": [1 / 10, 1 / 10],
        "bnpo": [1 / 8, 1 / 8],
    }


# ---- the oracle: loops over plain floats, slopes worked out by hand ------------------------------------------


def oracle(
    rows: Sequence[tuple[list[float], list[float], list[float], float]], objective: Objective, longest: int
) -> tuple[float, list[float]]:
    """Return loss and slopes of (logprobs, old, reference, advantage) per sample."""
    tokens = sum(len(new) for new, *_ in rows)
    value, slopes = 0.0, []
    for new, old, reference, advantage in rows:
        logs = [n - o for n, o in zip(new, old, strict=True)]
        mean = sum(logs) / len(logs)
        by = {"grpo": len(rows) * len(new), "gspo": len(rows) * len(new), "dr_grpo": len(rows) * longest}
        weight = 1 / by.get(objective.loss, tokens)
        of_ratio = 0.0  # slope of the mean log ratio, shared by the tokens of a sequence
        own = []
        for n, log, ref in zip(new, logs, reference, strict=True):
            ratio = math.exp(mean if objective.loss == "gspo" else log)
            slope, through_ratio = 0.0, 0.0
            if objective.loss == "cispo":
                factor = min(ratio, 1 + objective.clip_high)
                value -= weight * factor * advantage * n
                slope = -factor * advantage
            else:
                clipped = min(max(ratio, 1 - objective.clip_low), 1 + objective.clip_high)
                value -= weight * min(ratio * advantage, clipped * advantage)
                through_ratio = -ratio * advantage if ratio * advantage <= clipped * advantage else 0.0
            d = ref - n
            kl, kl_slope = {"k1": (-d, 1.0), "k2": (d * d / 2, -d), "k3": (math.exp(d) - d - 1, 1 - math.exp(d))}[
                objective.kl_estimator
            ]
            factor = ratio if objective.kl_ratio else 1.0
            value += weight * objective.kl * kl * factor
            slope += objective.kl * kl_slope * factor
            through_ratio += objective.kl * kl * ratio if objective.kl_ratio else 0.0
            own.append(weight * (slope + (0 if objective.loss == "gspo" else through_ratio)))
            of_ratio += weight * through_ratio / len(new)
        slopes += [s + (of_ratio if objective.loss == "gspo" else 0) for s in own]
    return value, slopes


def ours(
    rows: Sequence[tuple[list[float], list[float], list[float], float]], objective: Objective, longest: int
) -> tuple[float, list[float]]:
    lengths = [len(new) for new, *_ in rows]
    owner_T = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths))
    new_T, old_T, reference_T = (
        torch.tensor([v for row in rows for v in row[:3][place]], dtype=torch.float64) for place in range(3)
    )
    new_T.requires_grad_()
    advantage_T = torch.tensor([row[3] for row in rows], dtype=torch.float64)[owner_T]
    log_ratio_T = log_ratios(new_T, old_T, owner_T, objective.loss)
    kl_T = kl_estimate(new_T, reference_T, objective.kl_estimator)
    kl_T = kl_T * torch.exp(log_ratio_T) if objective.kl_ratio else kl_T
    loss_T = policy_loss(new_T, log_ratio_T, advantage_T, objective) + objective.kl * kl_T
    whole = Whole(len(rows), sum(lengths), longest, 1)
    weight_N = torch.tensor(token_weights(lengths, objective.loss, whole), dtype=torch.float64)
    value = (loss_T * weight_N[owner_T]).sum()
    value.backward()  # type: ignore[no-untyped-call]
    assert new_T.grad is not None
    return value.item(), new_T.grad.tolist()


ESTIMATORS: tuple[Estimator, ...] = ("k1", "k2", "k3")


@pytest.mark.parametrize(
    ("name", "estimator", "by_ratio", "distance"), list(product(LOSSES, ESTIMATORS, (False, True), (0.05, 0.8)))
)
def test_loss_and_slopes_are_those_of_the_oracle(
    name: Loss, estimator: Estimator, by_ratio: bool, distance: float
) -> None:
    rng = random.Random(f"{name}{estimator}{by_ratio}{distance}")  # noqa: S311 - seeded test data
    rows = []
    for length in (1, 7, 3, 12, 5):
        new = [-rng.expovariate(0.7) for _ in range(length)]
        old, reference = ([v + rng.uniform(-distance, distance) for v in new] for _ in range(2))
        rows.append((new, old, reference, rng.uniform(-2, 2)))
    objective = Objective(name, kl=0.1, kl_estimator=estimator, kl_ratio=by_ratio)
    value, slopes = ours(rows, objective, 16)
    expected, expected_slopes = oracle(rows, objective, 16)
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert slopes == pytest.approx(expected_slopes, rel=1e-11, abs=1e-12)


# ---- KL ------------------------------------------------------------------------------------------------------


def kl(policy: Tensor, reference: Tensor, estimator: Estimator = "k3") -> Tensor:
    return kl_estimate(policy, reference, estimator)


def test_the_estimators_by_hand() -> None:
    """Hand-worked: policy 1/2, reference 1/4: d = -log 2, so k3 is 1/2 + log 2 - 1; the other way 2 - log 2 - 1."""
    half, quarter = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    assert kl(half, quarter).item() == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    assert kl(quarter, half).item() == pytest.approx(1 - math.log(2), abs=1e-6)
    assert kl(half, quarter, "k1").item() == pytest.approx(math.log(2))
    assert kl(half, quarter, "k2").item() == pytest.approx(math.log(2) ** 2 / 2)


def test_k2_and_k3_are_zero_where_both_agree_and_never_negative() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, reference = torch.randn(2, 500, generator=generator) * 3
    for estimator in ESTIMATORS[1:]:
        assert kl(policy, reference, estimator).min() >= 0
    for estimator in ESTIMATORS:
        assert torch.equal(kl(policy, policy, estimator).abs(), torch.zeros(500))


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_mean_of_the_unbiased_estimators_is_the_divergence(estimator: Estimator) -> None:
    """Summed over all tokens by the policy's probability it is KL(policy || reference) exactly."""
    generator = torch.Generator().manual_seed(2)
    policy, reference = torch.log_softmax(torch.randn(2, 9, generator=generator, dtype=torch.float64), -1)
    exact = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * kl(policy, reference, estimator)).sum().item() == pytest.approx(exact.item())


@pytest.mark.parametrize(
    ("estimator", "by_ratio", "forward"),
    [("k2", False, False), ("k3", False, True), ("k3", True, False), ("k1", True, False)],
)
def test_which_divergence_an_estimator_descends(estimator: Estimator, by_ratio: bool, forward: bool) -> None:
    """The expected gradient, summed over all tokens by their probability: docstring of the module."""
    generator = torch.Generator().manual_seed(3)
    logits, other = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    policy, reference = torch.log_softmax(logits, -1), torch.log_softmax(other, -1)
    estimate = kl(policy, reference, estimator) * (torch.exp(policy - policy.detach()) if by_ratio else 1)
    (found,) = torch.autograd.grad((policy.exp().detach() * estimate).sum(), logits, retain_graph=True)
    exact = (reference.exp() * (reference - policy)).sum() if forward else (policy.exp() * (policy - reference)).sum()
    (expected,) = torch.autograd.grad(exact, logits)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_token_that_the_policy_has_almost_lost_does_not_overflow() -> None:
    for estimator in ESTIMATORS:
        assert torch.isfinite(kl(torch.tensor([-1000.0]), torch.tensor([0.0]), estimator)).all()
        assert torch.isfinite(kl(torch.tensor([0.0]), torch.tensor([-1000.0]), estimator)).all()


# ---- advantages, likelihood ----------------------------------------------------------------------------------


def test_advantages_are_centred_and_not_divided() -> None:
    """Hand-worked: mean 2; 4.3: dividing by the deviation would blow a spread of .001 up to one."""
    assert group_advantages([1.0, 2.0, 3.0]) == [-1, 0, 1]
    assert group_advantages([1.0, 1.002]) == pytest.approx([-0.001, 0.001])
    assert group_advantages([0.7, 0.7, 0.7]) == [0, 0, 0]


def test_with_a_floor_they_are_divided_by_the_deviation_but_noise_is_not_blown_up() -> None:
    """Hand-worked: of 0, 2, 4 the deviation (with G - 1) is 2; of 1, 1.002 it is .0014, below the floor of .1."""
    assert group_advantages([0.0, 2.0, 4.0], floor=0.1) == [-1, 0, 1]
    assert group_advantages([1.0, 1.002], floor=0.1) == pytest.approx([-0.01, 0.01])
    assert group_advantages([0.7, 0.7], floor=0.1) == [0, 0]


@pytest.mark.parametrize(
    ("rewards", "floor", "why"),
    [
        ([1.0], None, "a group of 1 has nothing to be compared with: use groups of 2 or more"),
        ([], None, "a group of 0 has nothing"),
        ([1.0, math.nan], None, "reward nan of sample 1 is not a finite number: mend the scorer"),
        ([-math.inf, 1.0], None, "reward -inf of sample 0 is not a finite number"),
        ([0.0, 1.0], 0.0, "floor 0.0: a divisor must be above 0; None divides by nothing"),
    ],
)
def test_what_has_no_advantages_is_refused(rewards: list[float], floor: float | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        group_advantages(rewards, floor=floor)


def test_fine_tuning_raises_the_likelihood() -> None:
    logprobs = torch.tensor([-0.5, -2.0], requires_grad=True)
    value = negative_log_likelihood(logprobs)
    assert value.tolist() == [0.5, 2.0]
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-1, -1]
