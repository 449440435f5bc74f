"""Eight ways in which an engine serves other weights than those that were learnt: each must stop the run."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import safetensors.torch
import torch
from tiny import adapter, ask, load
from torch import Tensor

from synlearner.agent.policy import Policy
from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies import canary
from synlearner.policies.canary import check_engine
from synlearner.policies.engine import Progress, Request, Sample
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.receipts import grammar_digest, sampler_digest, tokenizer_digest
from synlearner.policies.scripted import ScriptedEngine
from synlearner.policies.served import check_base, check_served
from synlearner.policies.transformers_engine import TransformersEngine

Tensors = dict[str, Tensor]


class FaultyEngine(TransformersEngine):
    """A real engine on weights of its own, as one in another process has; *fault* is done to what it is given."""

    name = "faulty"

    def __init__(
        self,
        model: PolicyModel,
        fault: Callable[[bytes | None], bytes | None] = lambda given: given,
        *,
        mixed: bool = False,
    ) -> None:
        super().__init__(model, mixed=mixed)
        self._fault = fault
        self.hot = False
        self.stale_cache = False
        self._first: list[list[Sample]] | None = None

    def load(self, adapter: bytes | None) -> None:
        super().load(self._fault(adapter))

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        if self.hot:
            requests = [replace(r, decoding=_hotter(r)) for r in requests]
        groups = super().generate(requests, progress=progress)
        if self.stale_cache:  # what a prompt was answered with once is answered again, whoever serves now
            self._first = self._first or groups
            return self._first
        return groups


def _hotter(request: Request) -> Decoding:
    return msgspec.structs.replace(request.decoding, temperature=1.0)


def changed(given: bytes | None, change: Callable[[str, Tensor], Tensor]) -> bytes | None:
    if given is None:
        return None
    return safetensors.torch.save({k: change(k, v).contiguous() for k, v in safetensors.torch.load(given).items()})


def never(_: bytes | None) -> bytes | None:
    """Not loaded."""
    return None


def half(given: bytes | None) -> bytes | None:
    """Only attention is loaded, as where `up_proj` was forgotten."""
    return changed(given, lambda name, tensor: tensor if "self_attn" in name else torch.zeros_like(tensor))


def twice(given: bytes | None) -> bytes | None:
    """Applied two times over: B A counts double."""
    return changed(given, lambda name, tensor: 2 * tensor if "lora_B" in name else tensor)


class Stale:
    """Always one version behind."""

    def __init__(self) -> None:
        self._last: bytes | None = None

    def __call__(self, given: bytes | None) -> bytes | None:
        self._last, served = given, self._last
        return served


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


@pytest.fixture(params=["float32", "mixed"])
def mixed(request: pytest.FixtureRequest) -> bool:
    """Whether the engine writes with products in bfloat16."""
    return bool(request.param == "mixed")


@pytest.fixture(params=["untrained", "barely trained", "trained"])
def served(request: pytest.FixtureRequest, model: PolicyModel) -> bytes | None:
    """What the engine should serve: even an adapter that is almost nothing must not hide a mistake."""
    if request.param == "trained":
        return adapter(model, scale=0.3)
    model.load_adapter(None)
    return None if request.param == "untrained" else changed(model.adapter(), lambda _, tensor: tensor + 1e-7)


def test_an_honest_engine_passes_with_weights_of_its_own_or_the_trainers(
    model: PolicyModel, served: bytes | None, tiny_folder: Path
) -> None:
    for engine in (FaultyEngine(load(tiny_folder)), TransformersEngine(model)):
        found = check_engine(model, engine, served)
        assert found.gap < 1e-4
        assert found.moved >= 1e-3
    check_served(model, served)


def test_bfloat16_passes_within_its_own_rounding(tiny_folder: Path) -> None:
    settings = ModelSettings(str(tiny_folder), "cpu", "bfloat16", 4, 8, 0)
    model, other = PolicyModel.load(settings), PolicyModel.load(settings)
    assert check_engine(model, TransformersEngine(other), None).gap < 0.15
    with pytest.raises(EngineError, match="differ by"):
        check_engine(model, FaultyEngine(other, never), None)


FAULTS: dict[str, Callable[[], Callable[[bytes | None], bytes | None]]] = {
    "not loaded": lambda: never,
    "half loaded": lambda: half,
    "applied twice": lambda: twice,
    "stale": Stale,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_adapter_stops_the_run(
    model: PolicyModel, served: bytes | None, tiny_folder: Path, fault: str, mixed: bool
) -> None:
    engine = FaultyEngine(load(tiny_folder), FAULTS[fault](), mixed=mixed)
    with pytest.raises(EngineError, match=r"the faulty engine and the trainer differ by [\d.]+ nats a token on"):
        check_engine(model, engine, served)


@pytest.mark.parametrize("fault", ["wrong scale", "wrong temperature", "wrong base", "stale prefix cache"])
def test_a_wrong_engine_stops_the_run(
    model: PolicyModel, served: bytes | None, tiny_folder: Path, fault: str, mixed: bool
) -> None:
    own = load(tiny_folder)
    engine = FaultyEngine(own, mixed=mixed)
    match fault:
        case "wrong scale":
            own = PolicyModel.load(ModelSettings(str(tiny_folder), "cpu", "float32", 4, 16, 0))
            engine = FaultyEngine(own, mixed=mixed)
        case "wrong temperature":
            engine.hot = True
        case "wrong base":
            with torch.no_grad():
                own.network.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.mul_(1.05)
        case "stale prefix cache":
            engine.stale_cache = True
    with pytest.raises(EngineError, match=r"the faulty engine and the trainer differ by [\d.]+ nats a token on"):
        check_engine(model, engine, served)


def test_noise_grows_until_it_shows(model: PolicyModel, served: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "SCALES", (1e-9, *canary.SCALES))
    assert check_engine(model, TransformersEngine(model), served).moved > canary.SHOWS
    monkeypatch.setattr(canary, "SCALES", (1e-9,))
    with pytest.raises(EngineError, match="noise of 1e-09 on the adapter changes nothing"):
        check_engine(model, TransformersEngine(model), served)


def test_the_engine_serves_the_adapter_again_after_the_probe(model: PolicyModel, tiny_folder: Path) -> None:
    engine = TransformersEngine(load(tiny_folder))
    wanted = adapter(model, scale=0.3)
    check_engine(model, engine, wanted)
    check_served(engine._model, wanted)


# ---- receipts: what is wrong on both sides at once, since engine and trainer share weights -------------------


def broken(model: PolicyModel, fault: str) -> None:
    layers = model.network.get_base_model().model.layers
    with torch.no_grad():
        match fault:
            case "not loaded":
                model.switch(on=False)
            case "half loaded":
                layers[1].mlp.up_proj.enable_adapters(False)
            case "half of the tensors":
                layers[1].mlp.up_proj.lora_B["default"].weight.zero_()
            case "applied twice":
                layers[0].mlp.up_proj.merge()
            case "wrong scale":
                layers[0].mlp.up_proj.scaling["default"] = 4.0
            case "wrong base":
                layers[0].mlp.up_proj.base_layer.weight[0, 0] += 1e-6


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("not loaded", "LoRA should be on in all 14 layers, and is not"),
        ("half loaded", "LoRA should be on in all 14 layers, and is not"),
        ("half of the tensors", "are not the adapter's"),
        ("applied twice", "the adapter is merged into the base of Linear"),
        ("wrong scale", "the adapter is scaled by [2.0, 4.0], not by 2.0 (policy.alpha / policy.rank)"),
        ("wrong base", "something wrote to them; start again"),
    ],
)
def test_a_receipt_is_of_what_is_in_memory(tiny_folder: Path, fault: str, why: str) -> None:
    model = load(tiny_folder)
    wanted = adapter(model)
    model.load_adapter(wanted)
    check_served(model, wanted)
    check_base(model)
    broken(model, fault)
    with pytest.raises(EngineError, match=re.escape(why)):
        check_both(model, wanted)


def check_both(model: PolicyModel, wanted: bytes) -> None:
    check_served(model, wanted)
    check_base(model)


def test_an_adapter_that_is_one_version_behind_has_another_digest(model: PolicyModel) -> None:
    model.load_adapter(adapter(model, seed=1))
    with pytest.raises(EngineError, match=r"the tensors that serve .* are not the adapter's"):
        check_served(model, adapter(model, seed=2))
    with pytest.raises(EngineError, match="LoRA should be off"):
        check_served(model, None)


def test_a_swap_is_whole_or_not_at_all(model: PolicyModel) -> None:
    """peft's own hot swap copies what comes before the tensor that does not fit."""
    good = adapter(model, seed=3)
    model.load_adapter(good)
    tensors = safetensors.torch.load(adapter(model, seed=4))
    last = max(tensors)
    for bad in (
        {**tensors, last: tensors[last][:1]},
        {name: tensor for name, tensor in tensors.items() if name != last},
        {**tensors, "base_model.extra": torch.zeros(1)},
    ):
        with pytest.raises(EngineError, match="the adapter does not fit this model"):
            model.load_adapter(safetensors.torch.save(bad))
        check_served(model, good)
    with pytest.raises(EngineError, match="the adapter is not safetensors"):
        model.load_adapter(b"rubbish")
    check_served(model, good)


def test_digests_name_tokenizer_sampler_and_grammar(model: PolicyModel, tiny_folder: Path) -> None:
    assert tokenizer_digest(model) == tokenizer_digest(load(tiny_folder))
    other = load(tiny_folder)
    other.tokenizer.chat_template = "{{ messages[0].content }}"
    assert tokenizer_digest(other) != tokenizer_digest(model)
    decoding = ask().decoding
    assert sampler_digest([decoding]) != sampler_digest([msgspec.structs.replace(decoding, temperature=0.9)])
    ruled = msgspec.structs.replace(decoding, grammar='{"type": "string"}')
    assert sampler_digest([ruled]) == sampler_digest([decoding])
    assert grammar_digest(decoding) == ""
    assert len(grammar_digest(ruled)) == 64


# ---- where the loop meets it ---------------------------------------------------------------------------------


def test_the_loop_serves_only_what_the_canary_let_pass(model: PolicyModel, tiny_folder: Path) -> None:
    wanted = adapter(model, scale=0.3)
    honest = Policy(lambda: (TransformersEngine(model), model))
    honest.serve("a" * 64, lambda _: wanted)
    receipt = honest.receipt(1, "a" * 64, [ask().decoding])
    assert (receipt.probed, receipt.scale, receipt.base_model) == (True, 2.0, model.base_digest)
    assert honest.observed["gap"] < 1e-4
    honest.check_base()
    faulty = Policy(lambda: (FaultyEngine(load(tiny_folder), never), model))
    with pytest.raises(EngineError, match="nothing is learnt from its samples"):
        faulty.serve("a" * 64, lambda _: wanted)


def test_an_engine_without_weights_here_has_a_receipt_that_says_so() -> None:
    policy = Policy(lambda: (ScriptedEngine(lambda *_: ""), None))
    policy.serve("", lambda _: b"")
    receipt = policy.receipt(1, "", [ask().decoding])
    assert (receipt.probed, receipt.tokenizer, receipt.base_model) == (False, "", "scripted")
    policy.check_base()


def test_an_engine_that_reports_no_log_probabilities_is_refused(model: PolicyModel) -> None:
    with pytest.raises(EngineError, match="the scripted engine wrote no log-probabilities for a probe"):
        check_engine(model, ScriptedEngine(lambda *_: "a word"), None)
