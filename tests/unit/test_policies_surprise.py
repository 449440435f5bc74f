"""How surprising texts are to the untrained policy: worked out one by one, whatever adapter is on the model."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import adapter, load, logits_of

from synlearner.policies.model import PolicyModel
from synlearner.policies.surprise import CONTEXT, LONGEST, batches, surprises

TEXTS = ["i saw the cat", "rain", "they say snow is what we need now", "", "the the the the the the", "rain"]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


def one_by_one(model: PolicyModel, text: str, behind: str = CONTEXT) -> float:
    """Return the mean over a text's tokens, read alone behind the context by the plain network."""
    context = model.tokenizer(behind)["input_ids"]
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    logprobs = torch.log_softmax(logits_of(model, [*context, *ids])[len(context) - 1 : -1], -1)
    return -float(logprobs.gather(1, torch.tensor(ids)[:, None]).mean())


def test_it_is_the_mean_negative_log_likelihood_of_the_texts_own_tokens(model: PolicyModel) -> None:
    model.load_adapter(None)
    expected = [one_by_one(model, text) if text else 0.0 for text in TEXTS]
    found = surprises(model, TEXTS)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 3) for value in found}) == len(set(TEXTS)), "each text has a value of its own"
    assert surprises(model, []) == []


def test_another_context_is_another_question(model: PolicyModel) -> None:
    model.load_adapter(None)
    behind = "pets: about animals\nText:\n"
    expected = [one_by_one(model, text, behind) if text else 0.0 for text in TEXTS]
    assert surprises(model, TEXTS, behind) == pytest.approx(expected, abs=1e-5)
    assert surprises(model, TEXTS, behind)[0] != pytest.approx(surprises(model, TEXTS)[0], abs=1e-3)


def test_the_adapter_has_no_say_and_stays(model: PolicyModel) -> None:
    model.load_adapter(None)
    untrained = surprises(model, TEXTS)
    trained = adapter(model)
    model.load_adapter(trained)
    before = one_by_one(model, TEXTS[0])
    assert abs(before - untrained[0]) > 1e-3, "this adapter changes what the model says"
    assert surprises(model, TEXTS) == untrained
    assert one_by_one(model, TEXTS[0]) == before, "it is on again"
    assert model.adapter() == trained
    model.load_adapter(None)
    surprises(model, TEXTS)
    assert one_by_one(model, TEXTS[0]) == pytest.approx(untrained[0], abs=1e-5), "what was off stays off"


def test_a_long_text_is_read_as_far_as_its_first_tokens(model: PolicyModel) -> None:
    model.load_adapter(None)
    long = "rain and " * (2 * LONGEST)
    ids = model.tokenizer(long, add_special_tokens=False)["input_ids"][:LONGEST]
    cut = model.decode(ids)
    assert model.tokenizer(cut, add_special_tokens=False)["input_ids"] == ids
    assert surprises(model, [long]) == pytest.approx([one_by_one(model, cut)], abs=1e-5)


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(1, 20))
def test_every_text_is_read_once_in_batches_that_fit_by_length(lengths: list[int], most: int) -> None:
    found = list(batches(lengths, most))
    flat = [place for batch in found for place in batch]
    assert sorted(flat) == [place for place, length in enumerate(lengths) if length]
    assert [lengths[place] for place in flat] == sorted(length for length in lengths if length)
    assert all(len(batch) == 1 or sum(lengths[place] for place in batch) <= most for batch in found)
    for one, other in pairwise(found):
        assert sum(lengths[place] for place in [*one, other[0]]) > most, "no batch ends before it is full"
