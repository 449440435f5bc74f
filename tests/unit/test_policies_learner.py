"""The learning step: a pure function of adapter, optimiser state, recorded samples and settings."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adapter, load, logits_of

from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies.learner import Learned, StepSettings, Trained, TrainedGroup, learn
from synlearner.policies.losses import Objective
from synlearner.policies.model import PolicyModel

STEP = StepSettings("grpo", learning_rate=0.01, max_grad_norm=1e9)
EFT = replace(STEP, algorithm="eft")


def with_kl(weight: float, step: StepSettings = STEP) -> StepSettings:
    return replace(step, objective=replace(step.objective, kl=weight))


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


def recorded(
    model: PolicyModel, text: str, tokens: Sequence[Sequence[int]], advantages: Sequence[float]
) -> TrainedGroup:
    """Return a group as if the untrained policy had drawn these tokens at temperature 1."""
    model.load_adapter(None)
    prompt = model.prompt_tokens(text, "")
    samples = []
    for ids, advantage in zip(tokens, advantages, strict=True):
        logprobs = torch.log_softmax(logits_of(model, [*prompt, *ids])[len(prompt) - 1 : -1], -1)
        drawn = logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0]
        samples.append(Trained(list(ids), drawn.tolist(), advantage))
    return TrainedGroup(text, "", Decoding(temperature=1.0, min_p=0.0, max_new_tokens=20), samples)


def step(
    model: PolicyModel,
    groups: Sequence[TrainedGroup],
    settings: StepSettings = STEP,
    *,
    adapter: bytes | None = None,
    optimizer: bytes | None = None,
    reference: bytes | None = None,
) -> Learned:
    return learn(model, groups, settings, adapter=adapter, optimizer=optimizer, reference=reference)


@pytest.fixture(scope="module")
def groups(model: PolicyModel) -> list[TrainedGroup]:
    return [
        recorded(model, "Write a remark.", [[20, 21, 22, 23], [30], [40, 41]], [1.0, -0.75, -0.25]),
        recorded(model, "Write about rain.", [[50, 51, 52], [60, 61, 62]], [0.5, -0.5]),
    ]


def test_the_first_step_has_the_loss_of_centred_advantages(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    """Hand-worked: every ratio is 1, so the token mean is -(4 x 1 - .75 - 2 x .25 + 3 x .5 - 3 x .5) / 13."""
    learned = step(model, groups)
    assert learned.loss == pytest.approx(-(4 - 0.75 - 0.5) / 13, abs=1e-5)
    assert learned.grad_norm > 0
    assert learned.kl == 0


def test_fine_tuning_has_the_loss_of_the_likelihood(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    values = [value for group in groups for sample in group.samples for value in sample.logprobs]
    assert step(model, groups, EFT).loss == pytest.approx(-sum(values) / len(values), abs=1e-5)


def test_the_same_step_gives_the_same_bytes(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    first, second = step(model, groups), step(model, groups)
    assert first == second
    model.load_adapter(adapter(model, seed=9))
    torch.manual_seed(123)
    assert step(model, groups) == first, "what the model did before does not matter"


@pytest.mark.parametrize("micro_batch", [1, 22, 1000])
@pytest.mark.parametrize("settings", [STEP, EFT, with_kl(0.1)], ids=["grpo", "eft", "with KL"])
def test_micro_batches_do_not_change_the_step(
    model: PolicyModel, groups: list[TrainedGroup], micro_batch: int, settings: StepSettings
) -> None:
    """4.2: the token mean is over the whole step, however it is split."""
    moved = adapter(model, scale=0.05)
    whole = step(model, groups, settings, adapter=moved)
    seen: list[tuple[int, int]] = []
    parts = learn(
        model, groups, replace(settings, micro_batch=micro_batch), adapter=moved, optimizer=None, reference=None,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    assert seen[-1] == ((5, 5) if micro_batch == 1 else (2, 2) if micro_batch == 1000 else seen[-1])
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert parts.kl == pytest.approx(whole.kl, abs=1e-6)


@pytest.mark.parametrize("settings", [with_kl(0.1), EFT], ids=["grpo", "eft"])
def test_checkpointing_gives_equal_bits(model: PolicyModel, groups: list[TrainedGroup], settings: StepSettings) -> None:
    moved = adapter(model, scale=0.05)
    plain = step(model, groups, settings, adapter=moved)
    assert step(model, groups, replace(settings, checkpointing=True), adapter=moved) == plain
    assert not any(module.training for module in model.network.modules()), "and leaves nothing switched on"
    assert step(model, groups, settings, adapter=moved) == plain


def test_logits_are_never_made_for_the_prompt(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    """The output embedding is not even called; where it must be (another kind of head) it sees the targets alone."""
    rows: list[int] = []
    head = model.network.get_output_embeddings()
    handle = head.register_forward_hook(lambda _module, inputs, _out: rows.append(inputs[0].shape[-2]))
    fused = step(model, groups)
    assert rows == []
    model.__dict__["plain_head"] = None
    try:
        plain = step(model, groups)
    finally:
        handle.remove()
        del model.__dict__["plain_head"]
    assert sorted(rows) == [6, 7], "the targets of both groups"
    assert plain.loss == pytest.approx(fused.loss, abs=1e-6)
    assert plain.grad_norm == pytest.approx(fused.grad_norm, rel=1e-5)


def test_the_gap_between_sampler_and_trainer_is_told(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    assert step(model, groups).gap < 2e-5
    far = replace(groups[0].samples[1], logprobs=[groups[0].samples[1].logprobs[0] - 0.25])
    changed = replace(groups[0], samples=[groups[0].samples[0], far, groups[0].samples[2]])
    assert step(model, [changed, groups[1]]).gap == pytest.approx(0.25, abs=2e-5)
    assert step(model, groups, EFT).gap == 0


def test_what_a_grammar_forced_is_not_learnt(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    """The middle token had no alternative: its log-probability is 0, and it counts in no mean."""
    words = -(-model.network.config.vocab_size // 32)
    allowed = torch.full((3, words), -1, dtype=torch.int32)
    allowed[1] = 0
    allowed[1, 51 // 32] = 1 << (51 % 32)
    sample = replace(groups[1].samples[0], allowed_T_W=allowed, logprobs=[-1.0, 0.0, -1.0])
    masked = replace(groups[1], samples=[sample])
    learned = step(model, [masked], replace(STEP, objective=Objective(clip_low=0.999, clip_high=1e9)))
    free = [v for place, v in enumerate(groups[1].samples[0].logprobs) if place != 1]
    expected = -0.5 * sum(math.exp(v + 1) for v in free) / 2
    assert learned.loss == pytest.approx(expected, rel=1e-4)


def test_the_order_of_groups_does_not_change_the_step(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    first, second = step(model, groups), step(model, groups[::-1])
    assert first.loss == pytest.approx(second.loss, abs=1e-6)
    assert first.grad_norm == pytest.approx(second.grad_norm, rel=1e-5)


def test_a_group_without_advantages_changes_the_denominator_alone(
    model: PolicyModel, groups: list[TrainedGroup]
) -> None:
    """4.3: it teaches nothing but dilutes; hence the loop leaves it out."""
    idle = replace(groups[1], samples=[replace(s, advantage=0.0) for s in groups[1].samples])
    alone, diluted = step(model, groups[:1]), step(model, [groups[0], idle])
    assert diluted.grad_norm == pytest.approx(alone.grad_norm * 7 / 13, rel=1e-3)


def test_the_gradient_is_cut_at_its_largest_norm(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    free = step(model, groups)
    cut = step(model, groups, replace(STEP, max_grad_norm=free.grad_norm / 10))
    assert cut.grad_norm == free.grad_norm, "the norm that is told is the one before"
    # AdamW's first step does not see the scale of a gradient, but its state does.
    assert cut.optimizer != free.optimizer


def test_kl_is_measured_to_the_reference(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    settings = with_kl(0.1)
    moved = adapter(model, scale=0.2)
    assert step(model, groups, settings).kl == pytest.approx(0, abs=1e-9), "the untrained policy to itself"
    assert step(model, groups, settings, adapter=moved, reference=moved).kl == pytest.approx(0, abs=1e-9)
    away = step(model, groups, settings, adapter=moved)
    assert away.kl > 1e-3
    assert away.loss > step(model, groups, STEP, adapter=moved).loss


def test_kl_pulls_back_to_the_reference(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    settings = with_kl(100.0, replace(STEP, learning_rate=0.003))
    learned = step(model, groups, settings, adapter=adapter(model, scale=0.2))
    before = learned.kl
    for _ in range(8):
        learned = step(model, groups, settings, adapter=learned.adapter, optimizer=learned.optimizer)
    assert learned.kl < 0.5 * before


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_group_is_seen_once_an_epoch(model: PolicyModel, groups: list[TrainedGroup], epochs: int) -> None:
    seen: list[tuple[int, int]] = []
    settings = replace(EFT, epochs=epochs, groups_per_step=1)
    learn(
        model, groups, settings, adapter=None, optimizer=None, reference=None,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    assert seen == [(i + 1, 2 * epochs) for i in range(2 * epochs)]


# ---- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"advantage": math.nan}, "the advantage of sample 0 of group 1 is nan: rewards must be finite numbers"),
        ({"advantage": math.inf}, "the advantage of sample 0 of group 1 is inf"),
        ({"logprobs": [-1.0]}, "sample 0 of group 1 has 3 tokens but 1 log-probabilities: grpo needs one each"),
        ({"logprobs": [-1.0, -math.inf, -1.0]}, "has the log-probability -inf: the engine drew what it could not draw"),
        ({"token_ids": [], "logprobs": []}, "sample 0 of group 1 has no tokens: leave it out"),
        ({"token_ids": [9] * 3000, "logprobs": [-1.0] * 3000}, "tokens but the model reads 2048"),
    ],
    ids=["nan", "inf", "too few", "impossible", "empty", "too long"],
)
def test_a_sample_that_no_step_can_be_taken_with_is_named(
    model: PolicyModel, groups: list[TrainedGroup], changes: dict[str, Any], why: str
) -> None:
    broken = replace(groups[1], samples=[replace(groups[1].samples[0], **changes), groups[1].samples[1]])
    before = step(model, groups)
    with pytest.raises(EngineError, match=re.escape(why)):
        step(model, [groups[0], broken])
    assert step(model, groups) == before, "the next step is as if nothing had been"


def test_without_samples_there_is_no_step(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    for nothing in ([], [replace(groups[0], samples=[])]):
        with pytest.raises(EngineError, match="grpo has no sample to learn from"):
            step(model, nothing)


def test_a_loss_that_is_not_finite_is_an_error_and_nothing_is_left_behind(
    model: PolicyModel, groups: list[TrainedGroup]
) -> None:
    """Whichever group comes first, its gradient must not be waiting for the next step."""
    good = step(model, groups)
    far = [replace(s, logprobs=[-1000.0] * len(s.token_ids), advantage=-1.0) for s in groups[1].samples]
    for seed in range(6):
        with pytest.raises(EngineError, match=r"the grpo loss is inf: lower learning\.grpo_rate"):
            step(model, [groups[0], replace(groups[1], samples=far)], replace(STEP, seed=seed))
        assert step(model, groups) == good


def test_an_adapter_for_another_base_is_refused(
    model: PolicyModel, groups: list[TrainedGroup], tiny_folder: Path
) -> None:
    other = adapter(load(tiny_folder, rank=2))
    with pytest.raises(EngineError, match=r"the adapter does not fit this model: .* is \(2, 64\), not \(4, 64\)"):
        step(model, groups, adapter=other)


def test_what_follows_an_end_token_is_not_learnt(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    """pad = eos here: the end is where the first end token stands, and it is learnt."""
    end = next(iter(model.end_tokens))
    assert model.pad_token == end
    ended = recorded(model, "Write a remark.", [[20, 21, end], [30, end]], [1.0, -1.0])
    tails = [replace(s, token_ids=[*s.token_ids, end, 5], logprobs=[*s.logprobs, -1.0, -2.0]) for s in ended.samples]
    assert step(model, [replace(ended, samples=tails)]) == step(model, [ended])
    cut = recorded(model, "Write a remark.", [[20, 21], [30]], [1.0, -1.0])
    assert step(model, [ended]).adapter != step(model, [cut]).adapter
