"""AdamW with its state in a blob: the steps of torch.optim.AdamW, across saving and loading."""

import pytest
import safetensors.torch
import torch
from torch import Tensor

from synlearner.errors import EngineError
from synlearner.policies.optimizer import AdamState


def parameters() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.lora_A": (3, 4), "a.lora_B": (4, 2), "b.lora_A": (5,)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def set_gradients(of: dict[str, Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in of.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("reload_every", [1, 2, 99])
def test_steps_are_those_of_adamw_across_saving_and_loading(reload_every: int) -> None:
    ours, theirs = parameters(), parameters()
    reference = torch.optim.AdamW(theirs.values(), lr=0.01, weight_decay=0.0, foreach=False)
    state = AdamState.load(None, ours)
    for step in range(6):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        state.step(ours, learning_rate=0.01)
        reference.step()
        if step % reload_every == 0:
            state = AdamState.load(state.save(), ours)
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), (step, name)


def test_the_learning_rate_may_change_between_steps() -> None:
    ours, theirs = parameters(), parameters()
    reference = torch.optim.AdamW(theirs.values(), lr=0.01, weight_decay=0.0, foreach=False)
    state = AdamState.load(None, ours)
    for step, rate in enumerate((0.01, 0.1, 0.001)):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        reference.param_groups[0]["lr"] = rate
        state.step(ours, learning_rate=rate)
        reference.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_first_step_by_hand() -> None:
    """Bias-corrected moments of one gradient are the gradient and its square: the step is the rate, against its sign."""
    of: dict[str, Tensor] = {"x": torch.nn.Parameter(torch.zeros(2))}
    of["x"].grad = torch.tensor([3.0, -0.01])
    AdamState.load(None, of).step(of, learning_rate=0.1)
    assert of["x"].tolist() == pytest.approx([-0.1, 0.1], abs=1e-6)


def test_nothing_decays() -> None:
    of: dict[str, Tensor] = {"x": torch.nn.Parameter(torch.ones(1))}
    of["x"].grad = torch.zeros(1)
    AdamState.load(None, of).step(of, learning_rate=0.5)
    assert of["x"].tolist() == [1.0]


def test_equal_states_have_equal_bytes() -> None:
    blobs = []
    for _ in range(2):
        of = parameters()
        state = AdamState.load(None, of)
        set_gradients(of, 0)
        state.step(of, learning_rate=0.01)
        blobs.append(state.save())
    assert blobs[0] == blobs[1]
    assert AdamState.load(blobs[0], parameters()).save() == blobs[0]


def test_a_state_of_other_parameters_is_refused() -> None:
    of = parameters()
    state = AdamState.load(None, of)
    set_gradients(of, 0)
    state.step(of, learning_rate=0.01)
    fewer = {name: parameter for name, parameter in of.items() if name != "b.lora_A"}
    with pytest.raises(EngineError, match=r"of another adapter: policy\.rank or policy\.model changed"):
        AdamState.load(state.save(), fewer)


def test_bytes_that_are_no_state_are_refused() -> None:
    with pytest.raises(EngineError, match="the optimiser state is not safetensors"):
        AdamState.load(b"garbage", parameters())
    wrong = safetensors.torch.save({"x": torch.zeros(1)})
    with pytest.raises(EngineError, match="of another adapter"):
        AdamState.load(wrong, parameters())
