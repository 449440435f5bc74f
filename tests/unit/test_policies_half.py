"""Products in bfloat16: near the model's own, LoRA is not rounded away, and a mistake of this way alone stops the run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import adapter, ask, load, logits_of
from torch import Tensor

from synlearner.agent.policy import Policy
from synlearner.errors import EngineError
from synlearner.policies import half
from synlearner.policies.canary import MIXED_BOUND, TOLERANCE, check_engine
from synlearner.policies.half import Half
from synlearner.policies.joining import JoiningRows
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, learn
from synlearner.policies.llama import Llama
from synlearner.policies.model import PolicyModel
from synlearner.policies.packed import Packed
from synlearner.policies.packed import lora_of as lora
from synlearner.policies.transformers_engine import TransformersEngine

ROUNDING = 2**-8
"""Relative, of one number in bfloat16."""


@pytest.fixture(params=["laid out", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where oneDNN takes such weights, and where torch multiplies as it can."""
    if request.param == "plain":
        monkeypatch.setattr(half, "can_lay_out", lambda _: False)


def layers(*, scale: float, bias: bool = False) -> list[Any]:
    """Return three linear layers of different sizes with LoRA on them; the last without."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {name: torch.nn.Linear(48, out, bias=bias) for name, out in (("a", 64), ("b", 16), ("c", 32))}
        model: Any = torch.nn.ModuleDict(sizes)
        network: Any = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=["a", "b"]))
        for name, tensor in network.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(tensor, std=scale)
    return [network.base_model.model[name] for name in "abc"]


def rows(count: int = 5) -> Tensor:
    return torch.randn(count, 48, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_the_layers_own_within_rounding(bias: bool) -> None:
    parts, x = layers(scale=0.3, bias=bias), rows()
    expected = torch.cat([part(x) for part in parts], dim=-1)
    narrow = Half(parts)
    near = partial(torch.testing.assert_close, rtol=4 * ROUNDING, atol=8 * ROUNDING)
    near(narrow(x), expected)
    near(narrow(x[None, None])[0, 0], expected)
    near(narrow(x, then="swish"), torch.nn.functional.silu(expected))
    other = 1000 + torch.rand_like(expected)
    assert narrow.joined(x, other, "add").dtype == torch.float32
    near(narrow.joined(x, other, "add") - other, expected)
    wide = narrow(x.bfloat16())
    assert wide.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.joined(x.bfloat16(), wide, "mul").float(), expected**2, rtol=0.05, atol=0.05)


@torch.inference_mode()
@pytest.mark.usefixtures("way")
def test_an_adapter_that_is_almost_nothing_is_not_rounded_away() -> None:
    """In the weights it would be: a weight of .1 moves by no less than .0002."""
    on, off, x = layers(scale=2e-5), layers(scale=0.0), rows(20_000)
    expected = (on[0].double()(x.double()) - off[0].double()(x.double())).flatten()
    on, off = layers(scale=2e-5), layers(scale=0.0)

    def share(kind: Callable[[list[Any]], Any]) -> float:
        moved = (kind(on[:1])(x) - kind(off[:1])(x)).double().flatten()
        return float(moved @ expected / (expected @ expected))

    assert share(Half) == pytest.approx(1, abs=0.2)
    merged = on[0].base_layer.weight + on[0].get_delta_weight("default")
    kept = (merged.bfloat16() != on[0].base_layer.weight.bfloat16()).double().mean()
    assert kept < 0.2, "else this tests nothing"


@torch.inference_mode()
@pytest.mark.usefixtures("way")
def test_logits_are_near_the_models_own(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    model.load_adapter(adapter(model, scale=0.1))
    prompt, written = list(range(3, 12)), [5, 6, 7]
    found = []
    for mixed in (False, True):
        batch = JoiningRows(Llama(model.network, mixed=mixed), [prompt], 8, 2)
        batch.enter([0, 0])
        for token in written:
            logits_B_V = batch.step(torch.tensor([token, token]))
        found.append(float((logits_B_V[0] - logits_of(model, prompt + written)[-1]).abs().mean()))
    assert found[0] < 1e-5 < found[1] < 0.05


def test_a_layout_is_of_one_kind_at_a_time(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    exact, narrow = model.written_by(), model.written_by(mixed=True)
    assert exact
    assert narrow
    kinds = [type(llama.layers[0]._up) for llama in (exact, narrow)]
    assert kinds == [Packed, Half]
    assert type(narrow._head) is Packed, "logits stay in float32"
    assert model.written_by(mixed=True) is narrow


# ---- the canary ----------------------------------------------------------------------------------------------


def test_it_is_compared_in_float32_and_as_it_writes(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    engine = TransformersEngine(model, mixed=True)
    found = check_engine(model, engine, adapter(model, scale=0.1))
    assert found.exact is not None
    assert found.exact < TOLERANCE[torch.float32] / 10
    assert found.exact < found.gap < MIXED_BOUND.tolerance
    assert engine.dtype == "mixed", "it goes on as it was"
    assert check_engine(model, TransformersEngine(model), None).exact is None


def without_lora(_: Any) -> list[tuple[Tensor, Tensor]]:
    return []


def wrong_scale(layer: Any) -> list[tuple[Tensor, Tensor]]:
    return [(down, up / 2) for down, up in lora(layer)]


def twice(layer: Any) -> list[tuple[Tensor, Tensor]]:
    return [(down, up * 2) for down, up in lora(layer)]


class Old:
    """What was there at first, for ever."""

    def __init__(self) -> None:
        self._first: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def __call__(self, layer: Any) -> list[tuple[Tensor, Tensor]]:
        return self._first.setdefault(id(layer), [(a.clone(), b.clone()) for a, b in lora(layer)])


FAULTS: dict[str, Callable[[], Any]] = {
    "not loaded": lambda: without_lora,
    "wrong scale": lambda: wrong_scale,
    "applied twice": lambda: twice,
    "stale": Old,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("served", [None, 0.05, 0.3])
def test_what_is_wrong_in_bfloat16_alone_stops_the_run(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, served: float | None
) -> None:
    model = load(tiny_folder)
    engine = TransformersEngine(model, mixed=True)
    monkeypatch.setattr(half, "lora_of", FAULTS[fault]())
    with pytest.raises(EngineError, match=r"the transformers engine and the trainer differ by [\d.]+ nats a token on"):
        check_engine(model, engine, adapter(model, scale=served) if served else None)


# ---- what is recorded and learnt ---------------------------------------------------------------------------------


def test_a_receipt_names_it(tiny_folder: Path) -> None:
    for mixed, name in ((False, "float32"), (True, "mixed")):
        model = load(tiny_folder)
        policy = Policy(lambda model=model, mixed=mixed: (TransformersEngine(model, mixed=mixed), model))  # type: ignore[misc]
        policy.serve("", lambda _: b"")
        assert policy.receipt(1, "", [ask().decoding]).dtype == name
        assert set(policy.observed) == ({"gap", "moved", "exact"} if mixed else {"gap", "moved"})


def test_its_samples_are_learnt_with_their_own_log_probabilities(model: PolicyModel) -> None:
    """The gap is what the ratio is off by one: the base of it is what was really drawn from."""
    request = ask(seeds=tuple(range(6)), min_p=0.05, tokens=16)
    steps = {}
    for mixed in (False, True):
        model.load_adapter(None)
        (group,) = TransformersEngine(model, mixed=mixed).generate([request])
        trained = [Trained(s.token_ids, s.logprobs, 0.5 if i % 2 else -0.5) for i, s in enumerate(group)]
        groups = [TrainedGroup(request.text, request.prefix, request.decoding, trained)]
        steps[mixed] = learn(model, groups, StepSettings("grpo", 1e-4), adapter=None, optimizer=None, reference=None)
    assert steps[False].gap < 1e-4 < steps[True].gap < 0.3
