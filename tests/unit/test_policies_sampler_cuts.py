"""Cuts beyond min-p, by hand: top-k, top-p, a grammar's mask, and the order in which they are taken."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synlearner.events.types import Decoding
from synlearner.policies.sampler import Cuts, candidates, kept_logprobs

ROW = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def kept(row: torch.Tensor = ROW, allowed: list[bool] | None = None, **how: Any) -> dict[int, float]:
    decoding = Decoding(**({"temperature": 1.0, "min_p": 0.0, "max_new_tokens": 1} | how))
    mask = None if allowed is None else torch.tensor([allowed])
    logprobs, tokens = candidates(row[None], Cuts.of([decoding]), mask)
    pairs = zip(tokens[0].tolist(), logprobs[0].exp().tolist(), strict=True)
    return {token: round(p, 5) for token, p in pairs if p > 0}


def test_top_k_by_hand() -> None:
    assert kept(top_k=1) == {0: 1.0}
    assert kept(top_k=2) == {0: 0.625, 1: 0.375}
    assert kept(top_k=99) == kept()
    assert kept(torch.tensor([1.0, 0.0, 1.0]), top_k=1) == {0: 0.5, 2: 0.5}, "equals are kept"


def test_top_p_by_hand() -> None:
    """The fewest most likely tokens that hold the mass: .5 < .6 <= .8; .95 is held by three."""
    assert kept(top_p=0.6) == {0: 0.625, 1: 0.375}
    assert kept(top_p=0.4) == {0: 1.0}
    assert set(kept(top_p=0.9)) == {0, 1, 2}
    assert set(kept(top_p=1.0)) == {0, 1, 2, 3}


def test_top_p_comes_after_the_others_and_over_what_they_kept() -> None:
    """Top-k leaves .625 and .375, of which .6 needs the first alone; min-p .29 leaves .526, .316, .158."""
    assert kept(top_k=2, top_p=0.6) == {0: 1.0}
    assert set(kept(min_p=0.29, top_p=0.85)) == {0, 1, 2}
    assert set(kept(min_p=0.29, top_p=0.84)) == {0, 1}


def test_a_grammar_comes_first() -> None:
    assert kept(allowed=[False, True, True, True], min_p=0.4) == {1: round(0.3 / 0.45, 5), 2: round(0.15 / 0.45, 5)}
    assert kept(allowed=[False, False, False, True], top_p=0.1) == {3: 1.0}


def test_rows_of_many_kinds_stand_side_by_side() -> None:
    hows: list[dict[str, Any]] = [{}, {"min_p": 0.4}, {"top_k": 1}, {"top_p": 0.6}, {"top_k": 3, "top_p": 0.9}]
    plain: dict[str, Any] = {"temperature": 1.0, "min_p": 0.0, "max_new_tokens": 1}
    decodings = [Decoding(**(plain | how)) for how in hows]
    logprobs, tokens = candidates(ROW.repeat(len(hows), 1), Cuts.of(decodings))
    for i, how in enumerate(hows):
        found = {t: round(p, 5) for t, p in zip(tokens[i].tolist(), logprobs[i].exp().tolist(), strict=True) if p > 0}
        assert found == kept(**how)


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=30),
    temperature=st.floats(0.125, 3, width=32),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    top_k=st.integers(0, 8),
    top_p=st.sampled_from([0.1, 0.9, 1.0]),
)
def test_the_kept_set_is_never_empty_and_always_holds_the_best(
    logits: list[float], temperature: float, min_p: float, top_k: int, top_p: float
) -> None:
    row = torch.tensor(logits)
    found = kept(row, temperature=temperature, min_p=min_p, top_k=top_k, top_p=top_p)
    assert int(row.argmax()) in found
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)
    if not top_k and top_p == 1:
        dense = kept_logprobs(row[None], torch.tensor([temperature]), torch.tensor([min_p]))[0]
        assert {i for i, value in enumerate(dense.tolist()) if value > -math.inf} >= set(found)
