"""Sampling, by hand: the kept set, the inverse of the distribution, and chance that is each row's own."""

import math

import pytest
import torch

from synlearner.policies.sampler import draw, kept_logprobs, uniforms

ROW = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
"""Logits whose softmax is known."""


def kept(min_p: float, temperature: float = 1.0, row: torch.Tensor = ROW) -> list[float]:
    logprobs = kept_logprobs(row[None], torch.tensor([temperature]), torch.tensor([min_p]))
    return [round(p, 5) for p in logprobs.exp()[0].tolist()]


def test_without_min_p_everything_is_kept() -> None:
    assert kept(0.0) == [0.5, 0.3, 0.15, 0.05]


def test_the_kept_set_by_hand() -> None:
    """Hand-worked: .3 x .5 = .15 keeps three of them, scaled to one: .5, .3, .15 of .95; .31 x .5 = .155 keeps two."""
    assert kept(0.29) == [round(p / 0.95, 5) for p in (0.5, 0.3, 0.15)] + [0.0]
    assert kept(0.31) == [0.625, 0.375, 0.0, 0.0]
    assert kept(0.7) == [1.0, 0.0, 0.0, 0.0]


def test_the_most_likely_token_is_always_kept() -> None:
    assert kept(0.999, row=torch.tensor([1.0, 1.0, 0.0])) == [0.5, 0.5, 0.0]


def test_the_temperature_comes_before_the_kept_set() -> None:
    """Hand-worked: at temperature 1/2 probabilities are squared: .25, .09, .0225, .0025, and .2 x .25 keeps two."""
    assert kept(0.0, 0.5) == [round(p / 0.365, 5) for p in (0.25, 0.09, 0.0225, 0.0025)]
    assert kept(0.2, 0.5) == [round(0.25 / 0.34, 5), round(0.09 / 0.34, 5), 0.0, 0.0]
    assert kept(0.2, 1.0)[2] > 0


def test_log_probabilities_are_over_the_kept_set() -> None:
    """4.5.4: over the whole vocabulary the ratio of sampler and trainer would be the kept mass, here .8."""
    logprobs = kept_logprobs(ROW[None], torch.tensor([1.0]), torch.tensor([0.5]))[0]
    assert logprobs[0].item() == pytest.approx(math.log(0.5 / 0.8))
    assert logprobs[3].item() == -math.inf


def test_rows_have_their_own_temperature_and_kept_set() -> None:
    logits = ROW.repeat(3, 1)
    together = kept_logprobs(logits, torch.tensor([1.0, 0.5, 2.0]), torch.tensor([0.0, 0.2, 0.5]))
    for i, (temperature, min_p) in enumerate([(1.0, 0.0), (0.5, 0.2), (2.0, 0.5)]):
        alone = kept_logprobs(ROW[None], torch.tensor([temperature]), torch.tensor([min_p]))
        assert torch.equal(together[i], alone[0])
    assert together.exp().sum(-1).tolist() == pytest.approx([1.0] * 3)


# ---- drawing -------------------------------------------------------------------------------------------------


def drawn(*uniform: float, row: torch.Tensor = ROW) -> list[int]:
    return draw(row.repeat(len(uniform), 1), torch.tensor(uniform, dtype=torch.float64)).tolist()


def test_the_inverse_of_the_distribution_by_hand() -> None:
    """Hand-worked: the borders are .5, .8 and .95; a number at a border belongs to the next token."""
    assert drawn(0.0, 0.49, 0.51, 0.79, 0.81, 0.94, 0.96, 0.999999) == [0, 0, 1, 1, 2, 2, 3, 3]
    even = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64).log()
    assert drawn(0.25, 0.5, row=even) == [1, 2]


@pytest.mark.parametrize("uniform", [0.0, 1e-18, 0.5, 1 - 2**-53])
def test_a_token_outside_the_kept_set_is_never_drawn(uniform: float) -> None:
    row = torch.tensor([-math.inf, 0.7, -math.inf, 0.3, -math.inf])
    logprobs = torch.log_softmax(row, 0)
    assert drawn(uniform, row=logprobs)[0] in {1, 3}


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.log_softmax(torch.randn(6, 300, generator=generator), -1)
    uniform = torch.rand(6, dtype=torch.float64, generator=generator)
    together = draw(logprobs, uniform)
    assert together.tolist() == [int(draw(logprobs[i : i + 1], uniform[i : i + 1])) for i in range(6)]
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(draw(logprobs[order], uniform[order]), together[order])


def test_tokens_come_as_often_as_their_probability_says() -> None:
    """20,000 draws: the standard error of the largest share is .0035."""
    tokens = draw(ROW.repeat(20_000, 1), uniforms(3, 20_000))
    shares = torch.bincount(tokens, minlength=4) / 20_000
    assert shares.tolist() == pytest.approx(ROW.exp().tolist(), abs=0.015)


def test_uniforms_are_of_their_seed_alone() -> None:
    first = uniforms(5, 8)
    assert torch.equal(first, uniforms(5, 8))
    assert torch.equal(first[:3], uniforms(5, 3)), "a longer sample does not change its beginning"
    assert not torch.equal(first, uniforms(6, 8))
    assert first.dtype == torch.float64
    assert 0 <= first.min() <= first.max() < 1


def test_uniforms_are_the_same_on_every_machine() -> None:
    """From the definition of Philox: recorded once, they may never change, or old runs could not be repeated."""
    assert uniforms(42, 3).tolist() == [0.8201981478608876, 0.18924562408645496, 0.8676608148821462]
