"""A grammar that closes: whatever a model wants to write, what comes out is valid and in time, and can be replayed."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer

from synlearner.errors import ConfigError, ModelError
from synlearner.events.types import Decoding
from synlearner.policies.fetch import find
from synlearner.policies.grammar import Grammars
from synlearner.policies.logprobs import unpacked
from synlearner.policies.schema import object_schema

names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
windows = st.tuples(st.integers(0, 6), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair)))
fields_of_cards = st.dictionaries(names, windows, min_size=1, max_size=3)

tastes = st.fixed_dictionaries(
    {kind: st.sampled_from([-9, 0, 0, 9]) for kind in ("piece", "escape", "quote", "letter")}
)
"""What a model likes to write: pieces of characters, backslashes, quotation marks, single letters."""


class Writer:
    """Draws with logits of chance and taste."""

    def __init__(self, folder: str) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.grammars = Grammars(tokenizer, frozenset({tokenizer.eos_token_id}))
        texts = [self.grammars.text([token]) for token in range(len(tokenizer))]
        self.kinds = {
            "piece": np.array([not _is_whole(text) for text in texts]),
            "escape": np.array([b"\\" in text for text in texts]),
            "quote": np.array([b'"' in text for text in texts]),
            "letter": np.array([len(text) == 1 for text in texts]),
        }
        self.size = len(texts)

    def write(self, decoding: Decoding, taste: dict[str, int], seed: int) -> Iterator[tuple[Tensor, int]]:
        """Yield what was allowed, and the token that was taken, to the end."""
        rng, matcher = np.random.default_rng(seed), self.grammars.matcher(decoding)
        liked_V = sum(weight * self.kinds[kind] for kind, weight in taste.items())
        while not matcher.is_complete:
            mask_W = matcher.mask()
            allowed_V = unpacked(mask_W[None], self.size)[0].numpy()
            assert allowed_V.any()
            token = int(np.where(allowed_V, rng.gumbel(size=self.size) + liked_V, -np.inf).argmax())
            assert matcher.take(token)
            yield mask_W, token

    def least(self, schema: str) -> int:
        """Return the fewest tokens that *schema* may be given."""
        with pytest.raises(ConfigError, match="has no room for the shortest sample") as refusal:
            self.grammars.matcher(Decoding(temperature=1.0, min_p=0.0, max_new_tokens=1, grammar=schema))
        return int(str(refusal.value).split("takes ")[1].split(" tokens")[0])


def _is_whole(text: bytes) -> bool:
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


@pytest.fixture(scope="module", params=["tiny", "SmolLM2-135M-Instruct"])
def writer(request: pytest.FixtureRequest, tiny_folder: Path) -> Writer:
    try:
        return Writer(str(tiny_folder if request.param == "tiny" else find(request.param)))
    except ModelError as error:
        pytest.skip(f"the embedded model is not here: {error}")


@settings(max_examples=15)
@given(fields=fields_of_cards, more=st.integers(0, 70), taste=tastes, seed=st.integers(0, 2**32))
def test_any_logits_and_any_budget_give_a_valid_object_in_time(
    writer: Writer, fields: dict[str, tuple[int, int]], more: int, taste: dict[str, int], seed: int
) -> None:
    schema = object_schema(fields, closing=True)
    decoding = Decoding(temperature=1.0, min_p=0.0, max_new_tokens=writer.least(schema) + more, grammar=schema)
    masks, tokens = zip(*writer.write(decoding, taste, seed), strict=True)
    assert len(tokens) <= decoding.max_new_tokens
    tree = json.loads(writer.grammars.text(tokens))
    jsonschema.validate(tree, json.loads(schema))
    assert list(tree) == list(fields)
    assert torch.equal(writer.grammars.allowed(decoding, tokens), torch.stack(masks))
