"""The learning step: a pure function of adapter, optimiser state, recorded samples and settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import adapter, load, logits_of

from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies import learner
from synlearner.policies.learner import Learned, StepSettings, Trained, TrainedGroup, learn
from synlearner.policies.model import PolicyModel

STEP = StepSettings(
    algorithm="grpo", learning_rate=0.01, clip_low=0.2, clip_high=0.28, kl=0.0, max_grad_norm=1e9, epochs=1,
    groups_per_step=0, seed=0,
)  # fmt: skip
EFT = replace(STEP, algorithm="eft")


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


@pytest.mark.parametrize("targets", [1, 4, 1000])
@pytest.mark.parametrize("settings", [STEP, EFT, replace(STEP, kl=0.1)], ids=["grpo", "eft", "with KL"])
def test_micro_batches_do_not_change_the_step(
    model: PolicyModel,
    groups: list[TrainedGroup],
    targets: int,
    settings: StepSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4.2: the token mean is over the whole step, however it is split."""
    moved = adapter(model, scale=0.05)
    whole = step(model, groups, settings, adapter=moved)
    monkeypatch.setattr(learner, "TARGETS", targets)
    parts = step(model, groups, settings, adapter=moved)
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert parts.kl == pytest.approx(whole.kl, abs=1e-6)


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
    settings = replace(STEP, kl=0.1)
    moved = adapter(model, scale=0.2)
    assert step(model, groups, settings).kl == pytest.approx(0, abs=1e-9), "the untrained policy to itself"
    assert step(model, groups, settings, adapter=moved, reference=moved).kl == pytest.approx(0, abs=1e-9)
    away = step(model, groups, settings, adapter=moved)
    assert away.kl > 1e-3
    assert away.loss > step(model, groups, STEP, adapter=moved).loss


def test_kl_pulls_back_to_the_reference(model: PolicyModel, groups: list[TrainedGroup]) -> None:
    settings = replace(STEP, kl=100.0, learning_rate=0.003)
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


def test_a_loss_that_is_not_finite_is_an_error_and_nothing_is_returned(
    model: PolicyModel, groups: list[TrainedGroup]
) -> None:
    broken = replace(groups[0], samples=[replace(groups[0].samples[0], advantage=float("nan"))])
    with pytest.raises(EngineError, match=r"the grpo loss is nan: lower learning\.grpo_rate"):
        step(model, [broken])


def test_after_a_failed_step_the_next_one_is_as_if_nothing_had_been(
    model: PolicyModel, groups: list[TrainedGroup]
) -> None:
    """Whichever group came first, its gradient must not be waiting for the next step."""
    good = step(model, groups)
    broken = replace(groups[1], samples=[replace(groups[1].samples[0], advantage=float("inf"))])
    for seed in range(6):
        with pytest.raises(EngineError):
            step(model, [groups[0], broken], replace(STEP, seed=seed))
        assert step(model, groups) == good
