"""Grammars: what they allow, that any sample within them is valid, and what the trainer gets of them."""

import json
import random
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import load

from synlearner.errors import ConfigError
from synlearner.events.types import Decoding
from synlearner.policies.grammar import Grammars, allowed_masks, compiled, grammars_of
from synlearner.policies.logprobs import unpacked
from synlearner.policies.model import PolicyModel
from synlearner.policies.schema import object_schema

SCHEMA = object_schema({"text": (1, 4), "text_b": (1, 2)})


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


@pytest.fixture(scope="module")
def grammars(model: PolicyModel) -> Grammars:
    return grammars_of(model)


def following(grammar: str) -> Decoding:
    return Decoding(temperature=1.0, min_p=0.0, max_new_tokens=2000, grammar=grammar)


def walk(grammars: Grammars, grammar: str, seed: int, size: int) -> list[int]:
    """Return a sample of tokens drawn evenly from what is allowed."""
    rng = random.Random(seed)  # noqa: S311 - a test
    matcher, tokens = grammars.matcher(following(grammar)), []
    while not matcher.is_complete:
        allowed = unpacked(matcher.mask()[None], size)[0].nonzero()[:, 0].tolist()
        tokens.append(rng.choice(allowed))
        assert matcher.take(tokens[-1])
        assert len(tokens) < 2000
    return tokens


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
windows = st.tuples(st.integers(1, 6), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair)))


@settings(max_examples=25)
@given(fields=st.dictionaries(names, windows, min_size=1, max_size=4), seed=st.integers(0, 9999))
def test_whatever_is_allowed_ends_as_a_valid_object(
    model: PolicyModel, grammars: Grammars, fields: dict[str, tuple[int, int]], seed: int
) -> None:
    schema = object_schema(fields)
    tokens = walk(grammars, schema, seed, len(model.tokenizer))
    tree = json.loads(model.decode(tokens))
    jsonschema.validate(tree, json.loads(schema))
    assert list(tree) == list(fields)


def test_the_masks_of_a_sample_are_those_it_was_drawn_with(model: PolicyModel, grammars: Grammars) -> None:
    tokens = walk(grammars, SCHEMA, 3, len(model.tokenizer))
    masks = allowed_masks(model, following(SCHEMA), tokens)
    assert masks is not None
    assert masks.shape == (len(tokens), grammars.words)
    allowed = unpacked(masks, len(model.tokenizer))
    assert bool(allowed[torch.arange(len(tokens)), torch.tensor(tokens)].all())
    # The first token opens the object; further on there is a choice.
    opening = {model.decode([token]) for token in allowed[0].nonzero()[:, 0].tolist()}
    assert opening <= {"{", '{"'}
    assert allowed.sum(-1).max() > 100
    assert bool((allowed.sum(-1) == 1).any()), "some tokens are forced"
    assert allowed_masks(model, following(""), tokens) is None


def test_a_sample_that_breaks_its_grammar_is_named(model: PolicyModel) -> None:
    with pytest.raises(ConfigError, match="token 5 at place 0 is not allowed by the grammar"):
        allowed_masks(model, following(SCHEMA), [5, 6])


@pytest.mark.parametrize("bad", ["{", "null", '"x"', '{"type": "nothing"}', '{"type": "string", "pattern": "("}'])
def test_what_is_no_schema_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="is no JSON Schema that can be followed"):
        compiled(bad)
