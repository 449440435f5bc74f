"""How surprising given texts are to the untrained policy: the mean negative log-likelihood of a token, in nats.

The logarithm of a text's perplexity. The adapter is off, whatever it is, so that a text means the same all along a
stream; and unless told otherwise the context is the same for all texts and names neither label nor task, so that it is
the text that is judged, and not whether it is what was asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer

from synlearner.policies.lean import lean
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack

CONTEXT = "Text:\n"
"""What a text is read behind, as plain text: no turn of a chat, which told real rows from shuffled ones less well."""

LONGEST = 128
"""Tokens of a text that are read: what comes behind them changes its mean little, and its cost is bounded."""

TOGETHER = 448
"""Most tokens read at once, context included, as in learning."""


@torch.no_grad()
def surprises(model: PolicyModel, texts: Sequence[str], context: str = CONTEXT) -> list[float]:
    """Return nats per token of each text behind *context* under the base model; *model* keeps its adapter.

    Texts of like length are read together behind one context. In the last bits of rounding a value depends on which.
    """
    before = model.tokenizer(context)["input_ids"]
    read = [model.tokenizer(text, add_special_tokens=False)["input_ids"][:LONGEST] for text in texts]
    found = [0.0] * len(texts)
    with untrained(model), lean(model.network):
        for places in batches([len(ids) for ids in read], max(1, TOGETHER - len(before))):
            packed = pack(before, [read[place] for place in places], model.device)
            logprob_T = token_logprobs(model, packed, Support(1.0, 0.0), slopes=False)[1].double()
            total_N = torch.zeros(len(places), dtype=torch.float64, device=model.device)
            total_N.index_add_(0, packed.owner_T, logprob_T)
            for place, total in zip(places, total_N.tolist(), strict=True):
                found[place] = -total / len(read[place])
    return found


def batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield the places of all that is longer than 0, by length, in batches of at most *most* in all, or of one."""
    batch: list[int] = []
    size = 0
    for place in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: (lengths[i], i)):
        if batch and size + lengths[place] > most:
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += lengths[place]
    if batch:
        yield batch


@contextmanager
def untrained(model: PolicyModel) -> Iterator[None]:
    """Turn the adapter off for a while; its tensors stay where they are."""
    on = not any(layer.disable_adapters for layer in model.network.modules() if isinstance(layer, LoraLayer))
    model.switch(on=False)
    try:
        yield
    finally:
        model.switch(on=on)
