"""Laws of the learning step that must hold for any samples, on a tiny model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import adapter
from torch import Tensor

from synlearner.events.types import Decoding
from synlearner.policies.advantages import group_advantages
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, accumulate, add_reference, token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.losses import Loss, Objective, log_ratios, policy_loss
from synlearner.policies.microbatches import micro_batches
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.packing import pack

LOSSES: tuple[Loss, ...] = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")
FEW = settings(max_examples=15, deadline=None)
finite = st.floats(-3, 3, allow_nan=False)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    loaded = PolicyModel.load(ModelSettings(str(tiny_folder), "cpu", "float64", 4, 8, 0))
    loaded.load_adapter(adapter(loaded, scale=0.2, seed=1))
    return loaded


@st.composite
def samples(draw: st.DrawFn) -> Trained:
    tokens = draw(st.lists(st.integers(5, 300), min_size=1, max_size=6))
    logprobs = [draw(st.floats(-8, -3)) for _ in tokens]
    return Trained(tokens, logprobs, draw(finite))


@st.composite
def groups(draw: st.DrawFn) -> TrainedGroup:
    text = draw(st.sampled_from(["Write a remark.", "Write about rain.", "x"]))
    decoding = Decoding(temperature=draw(st.sampled_from([0.7, 1.0])), min_p=0.0, max_new_tokens=8)
    return TrainedGroup(text, "1.", decoding, draw(st.lists(samples(), min_size=1, max_size=4)))


def step(loss: Loss, *, kl: float = 0.0, micro_batch: int = 512) -> StepSettings:
    return StepSettings("grpo", 1e-3, Objective(loss, kl=kl), micro_batch=micro_batch)


def gradient(model: PolicyModel, of: Sequence[TrainedGroup], how: StepSettings) -> tuple[float, Tensor]:
    """Return the loss of one optimiser step on *of*, and its gradient as one vector."""
    parts = [micro_batches(model, group, how.micro_batch) for group in of]
    if how.objective.kl:
        here = model.adapter()
        add_reference(model, parts, None)
        model.load_adapter(here)
    model.network.zero_grad(set_to_none=True)
    found = accumulate(model, [part for group in parts for part in group], how, lambda _: None)
    return found.loss, torch.cat([p.grad.flatten() for p in model.parameters().values() if p.grad is not None])


def same(left: tuple[float, Tensor], right: tuple[float, Tensor], *, times: float = 1.0) -> None:
    """Compare up to the rounding of the model's norms, which are float32 whatever the weights are."""
    assert left[0] == pytest.approx(right[0] * times, rel=1e-6, abs=1e-7)
    assert float((left[1] - right[1] * times).norm()) <= 1e-5 * float(right[1].norm()) + 1e-7


@FEW
@given(of=st.lists(groups(), min_size=1, max_size=3), data=st.data(), loss=st.sampled_from(LOSSES))
def test_the_order_of_samples_and_groups_does_not_matter(
    model: PolicyModel, of: list[TrainedGroup], data: st.DataObject, loss: Loss
) -> None:
    mixed = [replace(g, samples=data.draw(st.permutations(g.samples))) for g in data.draw(st.permutations(of))]
    same(gradient(model, mixed, step(loss, kl=0.1)), gradient(model, of, step(loss, kl=0.1)))


@FEW
@given(of=st.lists(groups(), min_size=1, max_size=3), size=st.integers(1, 80), loss=st.sampled_from(LOSSES))
def test_the_split_into_micro_batches_does_not_matter(
    model: PolicyModel, of: list[TrainedGroup], size: int, loss: Loss
) -> None:
    """4.2; `bnpo` is the documented exception."""
    if loss != "bnpo":
        same(gradient(model, of, step(loss, kl=0.1, micro_batch=size)), gradient(model, of, step(loss, kl=0.1)))


@FEW
@given(group=groups(), pads=st.integers(1, 9), side=st.sampled_from(["left", "right"]))
def test_padding_does_not_matter(model: PolicyModel, group: TrainedGroup, pads: int, side: str) -> None:
    """What packing gives is what each sample has alone, padded by any token on either side."""
    prompt = model.prompt_tokens(group.text, group.prefix)
    support = Support(group.decoding.temperature, 0.0)
    packed = pack(prompt, [sample.token_ids for sample in group.samples], model.device)
    with torch.no_grad():
        together = token_logprobs(model, packed, support)[0]
        for owner, sample in enumerate(group.samples):
            ids = [*prompt, *sample.token_ids]
            padding, mask = [7] * pads, [1] * len(ids)
            row = [*padding, *ids] if side == "left" else [*ids, *padding]
            masked = torch.tensor([[0] * pads + mask if side == "left" else mask + [0] * pads])
            positions = (masked.cumsum(-1) - 1).clamp(min=0)
            logits = model.network(input_ids=torch.tensor([row]), attention_mask=masked, position_ids=positions).logits
            first = len(prompt) - 1 + (pads if side == "left" else 0)
            scaled = logits[0, first : first + len(sample.token_ids)] / support.temperature
            alone = torch.log_softmax(scaled, -1).gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]
            torch.testing.assert_close(together[packed.owner_T == owner], alone, rtol=1e-7, atol=1e-8)


@FEW
@given(of=st.lists(groups(), min_size=1, max_size=2), idle=groups(), loss=st.sampled_from(LOSSES))
def test_a_group_without_advantages_changes_the_denominator_alone(
    model: PolicyModel, of: list[TrainedGroup], idle: TrainedGroup, loss: Loss
) -> None:
    still = replace(idle, samples=[replace(sample, advantage=0.0) for sample in idle.samples])
    tokens, count = (sum(len(s.token_ids) for g in of for s in g.samples), sum(len(g.samples) for g in of))
    more = sum(len(s.token_ids) for s in idle.samples)
    shrink = {
        "dapo": tokens / (tokens + more),
        "cispo": tokens / (tokens + more),
        "bnpo": len(of) / (len(of) + 1),
    }.get(loss, count / (count + len(idle.samples)))
    same(gradient(model, [*of, still], step(loss)), gradient(model, of, step(loss)), times=shrink)


@FEW
@given(of=st.lists(groups(), min_size=1, max_size=2), loss=st.sampled_from(LOSSES), times=st.integers(2, 3))
def test_duplicating_every_sample_changes_nothing(
    model: PolicyModel, of: list[TrainedGroup], loss: Loss, times: int
) -> None:
    doubled = [replace(group, samples=group.samples * times) for group in of]
    same(gradient(model, doubled, step(loss, kl=0.1)), gradient(model, of, step(loss, kl=0.1)))


@FEW
@given(group=groups(), after=st.lists(st.integers(1, 300), min_size=1, max_size=4), loss=st.sampled_from(LOSSES))
def test_tokens_after_the_end_do_not_matter(
    model: PolicyModel, group: TrainedGroup, after: list[int], loss: Loss
) -> None:
    end = next(iter(model.end_tokens))
    ended = [replace(s, token_ids=[*s.token_ids, end], logprobs=[*s.logprobs, -2.0]) for s in group.samples]
    tails = [replace(s, token_ids=s.token_ids + after, logprobs=s.logprobs + [-1.0] * len(after)) for s in ended]
    left, right = (gradient(model, [replace(group, samples=rows)], step(loss)) for rows in (tails, ended))
    assert left[0] == right[0]
    assert torch.equal(left[1], right[1])


@FEW
@given(group=groups(), seed=st.integers(0, 2**31), loss=st.sampled_from(LOSSES))
def test_chance_plays_no_part(model: PolicyModel, group: TrainedGroup, seed: int, loss: Loss) -> None:
    """Dropout is off while learning: whatever torch's own generator holds, the bits are equal."""
    first = gradient(model, [group], step(loss))
    torch.manual_seed(seed)
    second = gradient(model, [group], step(loss))
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


@FEW
@given(group=groups(), temperature=st.sampled_from([0.5, 0.9, 1.3]))
def test_the_temperature_divides_the_logits(model: PolicyModel, group: TrainedGroup, temperature: float) -> None:
    """4.5.3: log-probabilities at T are those of logits / T, so those of all tokens sum to one."""
    prompt = model.prompt_tokens(group.text, group.prefix)
    vocabulary = model.network.config.vocab_size
    packed = pack(prompt, [[token] for token in range(vocabulary) if token not in model.end_tokens], model.device)
    rest = pack(prompt, [[token] for token in model.end_tokens], model.device)
    with torch.no_grad():
        values = torch.cat([token_logprobs(model, p, Support(temperature, 0.0))[0] for p in (packed, rest)])
        plain = torch.cat([token_logprobs(model, p, Support(1.0, 0.0))[0] for p in (packed, rest)])
    assert float(values.exp().sum()) == pytest.approx(1, abs=1e-9)
    scaled = torch.log_softmax(plain / temperature, -1)
    torch.testing.assert_close(values, scaled, rtol=1e-9, atol=1e-9)


# ---- of the loss alone ---------------------------------------------------------------------------------------

tokens = st.integers(2, 12)


def draws(size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits over 7 tokens, the tokens drawn, advantages, and owners of at least one sample."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    drawn = torch.randint(7, (size,), generator=generator)
    owner = torch.arange(size) * 2 // size
    return logits, drawn, torch.randn(2, generator=generator, dtype=torch.float64)[owner], owner


@given(size=tokens, seed=st.integers(0, 10**6), loss=st.sampled_from(LOSSES))
def test_on_policy_the_gradient_is_that_of_reinforce(size: int, seed: int, loss: Loss) -> None:
    logits, drawn, advantages, owner = draws(size, seed)
    logprobs = torch.log_softmax(logits, -1).gather(1, drawn[:, None])[:, 0]
    log_ratio = log_ratios(logprobs, logprobs.detach(), owner, loss)
    counts = torch.bincount(owner)[owner]
    per_sequence = 1 / counts if loss == "gspo" else torch.ones(size)  # there a sample has one ratio for all tokens
    share = 1 / counts if loss == "gspo" else torch.ones(size)
    ours = (policy_loss(logprobs, log_ratio, advantages, Objective(loss)) * share).sum()
    (found,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(-(logprobs * advantages * per_sequence).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@given(logs=st.lists(finite, min_size=1, max_size=8), advantage=finite, loss=st.sampled_from(LOSSES[:4]))
def test_where_the_clip_is_active_the_gradient_is_zero_and_else_it_is_not(
    logs: list[float], advantage: float, loss: Loss
) -> None:
    log_ratio = torch.tensor(logs, dtype=torch.float64, requires_grad=True)
    how = Objective(loss)
    policy_loss(log_ratio, log_ratio, torch.full((len(logs),), advantage, dtype=torch.float64), how).sum().backward()  # type: ignore[no-untyped-call]
    assert log_ratio.grad is not None
    ratio = log_ratio.detach().exp()
    active = (ratio > 1 + how.clip_high) if advantage > 0 else (ratio < 1 - how.clip_low)
    assert (log_ratio.grad[active] == 0).all()
    if abs(advantage) > 1e-6:
        assert (log_ratio.grad[~active] != 0).all()


@given(rewards=st.lists(finite, min_size=2, max_size=9), shift=finite, floor=st.none() | st.floats(0.01, 1))
def test_advantages_are_centred_bounded_and_blind_to_a_shift(
    rewards: list[float], shift: float, floor: float | None
) -> None:
    found = group_advantages(rewards, floor=floor)
    assert sum(found) == pytest.approx(0, abs=1e-5)
    assert group_advantages([r + shift for r in rewards], floor=floor) == pytest.approx(found, abs=1e-4)
    assert sorted(range(len(found)), key=found.__getitem__) == sorted(range(len(found)), key=rewards.__getitem__) or (
        len(set(found)) < len(found)
    )
    if floor is not None:
        spread = max(rewards) - min(rewards)
        assert max(map(abs, found)) <= spread / floor + 1e-6
        assert max(map(abs, found)) <= len(rewards) ** 0.5
