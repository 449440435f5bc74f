"""Rows that join and leave while others are written: logits are the model's own, whoever is beside them."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adapter, load, logits_of
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from synlearner.policies.joining import BLOCK, JoiningRows
from synlearner.policies.llama import Llama, is_llama
from synlearner.policies.model import PolicyModel

PROMPTS = [list(range(3, 12)), [5, 6, 7], list(range(40, 90)), [9], [*range(3, 9), 80, 81], [3, 4, 5], [5, 6, 7]]
"""Some begin like others, are the beginning of another, or equal."""


@pytest.fixture(params=["llama", "qwen2, with biases"])
def known(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path: Path) -> PolicyModel:
    if request.param == "llama":
        return load(tiny_folder)
    config = Qwen2Config(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model: Any = Qwen2ForCausalLM(config)  # type: ignore[no-untyped-call]
        for layer in model.model.layers:
            for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
                torch.nn.init.normal_(part.bias)
    model.save_pretrained(tmp_path)
    load(tiny_folder).tokenizer.save_pretrained(tmp_path)
    return load(tmp_path)


def check(model: PolicyModel, logits: Tensor, written: list[tuple[int, list[int]]]) -> None:
    for found_V, (owner, tokens) in zip(logits, written, strict=True):
        torch.testing.assert_close(found_V, logits_of(model, PROMPTS[owner] + tokens)[-1], rtol=0, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(4))
def test_logits_are_the_models_own_however_rows_come_and_go(known: PolicyModel, seed: int) -> None:
    """Some rows live longer than there is room for at first, while others come and go beside them.

    All leave once: so the row for which room is made began at another column than the first.
    """
    known.load_adapter(adapter(known, scale=0.1, seed=seed))
    llama = known.written_by()
    assert llama is not None
    rng = random.Random(seed)  # noqa: S311 - reproducible chance is the point
    batch = JoiningRows(llama, PROMPTS, 2 * BLOCK, 5)
    rows: list[tuple[int, list[int]]] = []
    for step in range(BLOCK + 20 + 5 * seed):
        coming = [rng.randrange(len(PROMPTS)) for _ in range(rng.randint(0 if rows else 1, batch.room()))]
        if coming:
            read = batch.enter(coming)
            rows += [(owner, []) for owner in coming]
            check(known, read, rows[-len(coming) :])
        kept = batch.keep([i for i in range(len(rows)) if i == 0 or rng.random() < 0.85])
        rows = [rows[i] for i in kept]
        if seed and step == 5 * seed:
            assert batch.keep([]) == []
            batch.enter([rng.randrange(len(PROMPTS))])
            rows = [(batch._owners[0], [])]
        tokens = [rng.randrange(300) for _ in rows]
        logits = batch.step(torch.tensor(tokens))
        for (_, written), token in zip(rows, tokens, strict=True):
            written.append(token)
        if step % 7 == 0 or step > BLOCK - 2 + 5 * seed:
            check(known, logits, rows)
    assert max(len(written) for _, written in rows) > BLOCK, "else the room was never too small"


def test_a_prompt_is_read_from_where_it_differs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts 0 and 4 begin with the same six tokens, 0 and 5 with three; one that is open already costs nothing."""
    llama = load(tiny_folder).written_by()
    assert llama is not None
    usual, lengths = llama.read, list[int]()

    def read(ids: Tensor, *rest: Any) -> Tensor:
        lengths.append(len(ids))
        return usual(ids, *rest)

    monkeypatch.setattr(llama, "read", read)
    with torch.inference_mode():
        JoiningRows(llama, PROMPTS, 8, 5).enter([0, 4, 0, 5, 2])
    assert lengths == [9, 2, 1, 50]


def test_what_is_laid_out_is_never_stale(tiny_folder: Path) -> None:
    """Whoever changes a weight, a switch or a scale, and however: the next row is written with what is there now."""
    model = load(tiny_folder)
    model.load_adapter(adapter(model))
    first = model.written_by()
    model.load_adapter(adapter(model))
    assert model.written_by() is first, "equal bytes change nothing"
    layer = model.network.get_base_model().model.layers[0].mlp.up_proj
    seen: list[Llama | None] = [first]

    def stale() -> bool:
        seen.append(model.written_by())
        return any(seen[-1] is before for before in seen[:-1])

    model.load_adapter(adapter(model, seed=1))
    assert not stale()
    with torch.no_grad():
        layer.base_layer.weight[0, 0] += 1
    assert not stale()
    layer.scaling["default"] = 3.0
    assert not stale()
    model.switch(on=False)
    assert not stale()
    layer.lora_A["default"].weight.data = torch.zeros_like(layer.lora_A["default"].weight)
    assert not stale()
    model.rest()
    assert not stale()


def test_other_kinds_of_attention_go_the_ordinary_way(tiny_folder: Path) -> None:
    model = load(tiny_folder)
    assert is_llama(model.network)
    config = model.network.get_base_model().config
    for name, value in (("model_type", "gemma2"), ("hidden_act", "gelu"), ("layer_types", ["sliding_attention"] * 2)):
        usual = getattr(config, name, None)
        setattr(config, name, value)
        assert not is_llama(model.network)
        setattr(config, name, usual)
    assert model.written_by() is not None
