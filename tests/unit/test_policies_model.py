"""The model with its adapter: what fits, what is refused, and a base that never changes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from peft.tuners.lora import LoraLayer
from tiny import adapter, ask, base_weights, load, logits_of

from synlearner.errors import EngineError, ModelError
from synlearner.policies import decoding
from synlearner.policies.advantages import group_advantages
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, learn
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.transformers_engine import TransformersEngine

IDS = [5, 9, 12, 40, 7]
STEP = StepSettings(
    algorithm="eft", learning_rate=0.05, max_grad_norm=1.0, epochs=2, groups_per_step=0, seed=0,
)  # fmt: skip
GROUP = TrainedGroup(
    "Write.", "1.", ask().decoding, [Trained([20, 21, 22], [-1.0] * 3, 1.0), Trained([30], [-1.0], 1.0)]
)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


# ---- adapters ------------------------------------------------------------------------------------------------


def test_the_untrained_policy_is_the_base_model_bit_for_bit(model: PolicyModel, tiny_folder: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():
        plain = base(input_ids=torch.tensor([IDS])).logits[0]
    model.load_adapter(adapter(model))
    assert not torch.equal(logits_of(model, IDS), plain)
    model.load_adapter(None)
    assert torch.equal(logits_of(model, IDS), plain)


def test_a_fresh_adapter_changes_nothing(model: PolicyModel) -> None:
    """LoRA's second half begins at zero: the first step starts from the base model exactly."""
    model.load_adapter(None)
    plain = logits_of(model, IDS)
    model.switch(on=True)
    assert torch.equal(logits_of(model, IDS), plain)
    model.switch(on=False)


def test_an_adapter_comes_back_as_it_went(model: PolicyModel) -> None:
    for seed in (0, 1):
        blob = adapter(model, seed=seed)
        model.load_adapter(blob)
        assert model.adapter() == blob
        logits = logits_of(model, IDS)
        model.load_adapter(None)
        model.load_adapter(blob)
        assert torch.equal(logits_of(model, IDS), logits)


def test_loading_turns_the_adapter_on_and_none_turns_it_off(model: PolicyModel) -> None:
    """Off is not only the same but faster: no layer multiplies by zeros."""
    layers = [module for module in model.network.modules() if isinstance(module, LoraLayer)]
    assert layers
    for blob in (adapter(model), None, adapter(model)):
        model.load_adapter(blob)
        assert {layer.disable_adapters for layer in layers} == {blob is None}


def test_the_random_half_of_an_adapter_is_of_its_seed_alone(tiny_folder: Path) -> None:
    torch.manual_seed(1)
    first = load(tiny_folder, seed=5).adapter()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert load(tiny_folder, seed=5).adapter() == first
    assert torch.equal(torch.random.get_rng_state(), before), "loading draws nothing from the global state"
    assert load(tiny_folder, seed=6).adapter() != first


def unfit(model: PolicyModel) -> dict[str, tuple[bytes, str]]:
    tensors = safetensors.torch.load(adapter(model))
    name = min(tensors)
    fewer = {key: tensor for key, tensor in tensors.items() if key != name}
    return {
        "garbage": (b"garbage", "the adapter is not safetensors"),
        "of another rank": (
            adapter(load(Path(model.tokenizer.name_or_path), rank=2)),
            "the adapter does not fit this model",
        ),
        "with a tensor too few": (safetensors.torch.save(fewer), f"{name} is None, not "),
        "with a tensor too many": (
            safetensors.torch.save(tensors | {"more": torch.zeros(1)}),
            r"more is \(1,\), not None",
        ),
    }


@pytest.mark.parametrize("case", ["garbage", "of another rank", "with a tensor too few", "with a tensor too many"])
def test_an_adapter_that_does_not_fit_is_refused_and_the_old_one_stays(model: PolicyModel, case: str) -> None:
    blob, message = unfit(model)[case]
    old = adapter(model, seed=3)
    model.load_adapter(old)
    logits = logits_of(model, IDS)
    with pytest.raises(EngineError, match=message):
        model.load_adapter(blob)
    assert model.adapter() == old
    assert torch.equal(logits_of(model, IDS), logits)


# ---- the base ------------------------------------------------------------------------------------------------


def test_the_base_is_frozen_bit_for_bit_through_steps_and_samples(tiny_folder: Path) -> None:
    """4.5.11: hash before and after; never merge."""
    model = load(tiny_folder)
    before = base_weights(model)
    learned = learn(model, [GROUP], STEP, adapter=None, optimizer=None, reference=None)
    TransformersEngine(model).generate([ask()])
    learn(model, [GROUP], STEP, adapter=learned.adapter, optimizer=learned.optimizer, reference=None)
    after = base_weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert learned.adapter != load(tiny_folder).adapter()
    assert all(not tensor.requires_grad for name, tensor in model.network.named_parameters() if "lora_" not in name)


def test_the_digest_is_of_the_weights(tiny_folder: Path, copy: Path) -> None:
    digest = load(tiny_folder, seed=1).base_digest
    assert digest.startswith("sha256:")
    assert load(copy, seed=2, rank=8).base_digest == digest
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    name = min(weights)
    weights[name].view(-1)[0] += 1e-3
    safetensors.torch.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(copy).base_digest != digest


# ---- folders that hold no model ------------------------------------------------------------------------------


def change(name: str, **values: object) -> Callable[[Path], object]:
    def apply(folder: Path) -> object:
        config = json.loads((folder / name).read_text()) | values
        return (folder / name).write_text(json.dumps(config))

    return apply


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BROKEN: dict[str, Callable[[Path], object]] = {
    "an empty folder": empty,
    "a configuration that is no JSON": lambda folder: (folder / "config.json").write_text("x"),
    "a configuration that is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "a configuration that is binary": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
    "no kind of model": lambda folder: (folder / "config.json").write_text("{}"),
    "an unknown kind of model": change("config.json", model_type="nothing"),
    "a width that is a text": change("config.json", hidden_size="wide"),
    "another width": change("config.json", hidden_size=64),
    "no heads": change("config.json", num_attention_heads=0),
    "more layers than there are weights": change("config.json", num_hidden_layers=3),
    "weights that are garbage": lambda folder: (folder / "model.safetensors").write_bytes(b"garbage"),
    "weights that are cut off": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:5000]
    ),
    "no weights": lambda folder: (folder / "model.safetensors").rename(folder / "gone"),
    "a tokenizer that is garbage": lambda folder: (folder / "tokenizer.json").write_text("garbage"),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").rename(folder / "gone"),
    "settings of the tokenizer that are a list": lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_without_a_whole_model_is_refused_in_one_line(copy: Path, case: str) -> None:
    BROKEN[case](copy)
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "", "x" * 300, "a\0b"])
def test_a_name_that_leads_nowhere_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        PolicyModel.load(ModelSettings(name, "cpu", "float32", 4, 8, 0))
    assert "\n" not in str(caught.value)


def test_a_device_that_is_none_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the model"):
        PolicyModel.load(ModelSettings(str(tiny_folder), "nothing", "float32", 4, 8, 0))


# ---- tokens --------------------------------------------------------------------------------------------------


def test_a_prompt_is_the_users_turn_and_the_beginning_of_the_answer(model: PolicyModel) -> None:
    ids = model.prompt_tokens("Write a remark.", "1. my cat")
    text = model.tokenizer.decode(ids)
    assert text == "<|im_start|>user\nWrite a remark.<|im_end|>\n<|im_start|>assistant\n1. my cat"


def test_an_answer_goes_on_wherever_the_prompt_was_cut(model: PolicyModel) -> None:
    """Also where one token would reach across the seam: what is sampled begins behind it."""
    text = "the weather and the other weather"
    crossed = 0
    for cut in range(1, len(text)):
        ids = model.answer_tokens("Write.", text[:cut], text[cut:])
        assert model.tokenizer.decode(ids) == text[cut:], cut
        before = model.prompt_tokens("Write.", text[:cut])
        crossed += model.prompt_tokens("Write.", text)[: len(before)] != before
    assert crossed > 3


def test_a_model_without_a_chat_template_works(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    model = load(copy)
    assert model.tokenizer.decode(model.prompt_tokens("Write a remark.", "1.")) == "Write a remark.\n\n1."
    (group,) = TransformersEngine(model).generate([ask()])
    assert len(group) == 3


def test_every_end_of_sequence_token_ends_a_sample(copy: Path) -> None:
    """4.5.5: there may be several, in the configuration and beside it."""
    change("config.json", eos_token_id=[5, 6])(copy)
    change("generation_config.json", eos_token_id=[6, 7])(copy)
    model = load(copy)
    assert model.end_tokens == {1, 5, 6, 7}
    (group,) = TransformersEngine(model).generate([ask(seeds=tuple(range(40)), tokens=40)])
    ended = [sample for sample in group if sample.token_ids[-1] in {5, 6, 7}]
    assert ended
    for sample in ended:
        assert sample.finish == "stop"
        assert sample.text == model.decode(sample.token_ids[:-1]).strip()


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(model: PolicyModel) -> None:
    model.check_fits(2048)
    with pytest.raises(EngineError, match="need 2049 tokens but the model reads 2048: shorten the card's description"):
        model.check_fits(2049)


@pytest.mark.parametrize("shared", [True, False])
def test_a_model_without_a_pad_token_writes_and_learns(
    copy: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding is masked by lengths, so that any token will do for it: an end token."""
    change("tokenizer_config.json", pad_token=None)(copy)
    change("config.json", pad_token_id=None)(copy)
    model = load(copy)
    assert model.tokenizer.pad_token_id is None
    assert model.pad_token in model.end_tokens
    if not shared:
        monkeypatch.setattr(decoding, "fits", lambda _: False)
        monkeypatch.setattr(PolicyModel, "written_by", lambda _, **__: None)
    groups = TransformersEngine(model).generate([ask("one"), ask("Write a remark about animals. " * 3)])
    trained = [
        TrainedGroup(text, "1.", ask().decoding, [Trained(s.token_ids, s.logprobs, a) for s, a in zip(g, (1, 0, -1), strict=True)])
        for text, g in zip(("one", "Write a remark about animals. " * 3), groups, strict=True)
    ]  # fmt: skip
    learned = learn(model, trained, StepSettings("grpo", 1e-3), adapter=None, optimizer=None, reference=None)
    assert learned.gap < 1e-4


def test_a_group_of_one_sample_is_written_and_learnt_from(model: PolicyModel) -> None:
    """It has nothing to be compared with, so that only fine-tuning does."""
    model.load_adapter(None)
    ((sample,),) = TransformersEngine(model).generate([ask(seeds=(1,))])
    one = [TrainedGroup("Write a remark.", "1.", ask().decoding, [Trained(sample.token_ids, sample.logprobs, 1.0)])]
    learned = learn(model, one, StepSettings("eft", 1e-3), adapter=None, optimizer=None, reference=None)
    assert learned.loss > 0
    with pytest.raises(ValueError, match="a group of 1 has nothing to be compared with: use groups of 2 or more"):
        group_advantages([1.0])
