"""The tiny model of `worlds` at work: loaded, with adapters that do something, and requests for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from synlearner.events.types import Decoding
from synlearner.policies.engine import Request
from synlearner.policies.learner import TrainedGroup, token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.packing import pack


def load(folder: Path, *, rank: int = 4, seed: int = 0) -> PolicyModel:
    """Return the model in *folder* with an adapter of this rank."""
    return PolicyModel.load(ModelSettings(str(folder), "cpu", "float32", rank, 2 * rank, seed))


def adapter(model: PolicyModel, *, scale: float = 0.3, seed: int = 0) -> bytes:
    """Return an adapter of random numbers: it changes the logits by about as much as they differ."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: scale * torch.randn(p.shape, generator=generator) for name, p in model.parameters().items()}
    return safetensors.torch.save(tensors)


def base_weights(model: PolicyModel) -> dict[str, torch.Tensor]:
    """Return copies of all weights but the adapter's."""
    state = model.network.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if "lora_" not in name}


def likelihoods(model: PolicyModel, groups: Sequence[TrainedGroup], adapter: bytes | None) -> list[float]:
    """Return the mean log-probability of each sample's tokens under an adapter."""
    model.load_adapter(adapter)
    plain = Support(temperature=1.0, min_p=0.0)
    found = []
    for group in groups:
        prompt = model.prompt_tokens(group.text, group.prefix)
        packed = pack(prompt, [sample.token_ids for sample in group.samples], model.device)
        with torch.no_grad():
            logprobs_T = token_logprobs(model, packed, plain)[1]
        found += [float(logprobs_T[packed.owner_T == owner].mean()) for owner in range(len(group.samples))]
    return found


def ask(
    text: str = "Write a remark.",
    seeds: tuple[int, ...] = (1, 2, 3),
    *,
    prefix: str = "1.",
    stop: str = "",
    temperature: float = 1.0,
    min_p: float = 0.0,
    tokens: int = 12,
) -> Request:
    """Return a request."""
    return Request(text, prefix, stop, Decoding(temperature=temperature, min_p=min_p, max_new_tokens=tokens), seeds)


def logits_of(model: PolicyModel, ids: list[int]) -> Any:
    """Return the logits after every token of one plain sequence, `(T, V)`."""
    with torch.no_grad():
        return model.network(input_ids=torch.tensor([ids])).logits[0]


def encoder(folder: Path, texts: list[str], classes: list[str] | None = None) -> Path:
    """Save a tiny BERT with random weights whose tokenizer knows the words of *texts*; return its folder.

    With *classes* it is a classifier of them that is sure of what it says.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import BertConfig, BertForSequenceClassification, BertModel  # noqa: PLC0415

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({word for text in texts for word in text.lower().split()})]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    sizes: Any = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    # Large weights, so that what it says differs from text to text.
    named: Any = {"id2label": dict(enumerate(classes)), "initializer_range": 0.5} if classes else {}
    config = BertConfig(**sizes, intermediate_size=64, **named)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = (BertForSequenceClassification if classes else BertModel)(config)
        model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
