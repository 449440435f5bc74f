"""Figures of a data set: worked by hand, and true at their ends."""

import itertools
from pathlib import Path

import pytest
from pieces import checked, planned
from worlds import card

from synlearner.agent.figures import BLEU_TEXTS, covered, distinct, evenly, figures, self_bleu
from synlearner.agent.licence import UNKNOWN, licence_of

CAT, DOG = ["the", "cat", "sat", "on", "the", "mat"], ["the", "dog", "sat", "on", "the", "mat"]


def test_distinct_counts_different_runs_over_all_texts() -> None:
    """Of 12 words 6 are different, of 10 bigrams 7."""
    assert distinct([CAT, DOG], 1) == pytest.approx(6 / 12)
    assert distinct([CAT, DOG], 2) == pytest.approx(7 / 10)
    assert distinct([["a"]], 2) == 0.0


def test_self_bleu_by_hand() -> None:
    """Each shares 5 of 6 words, 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 runs of four; one is added from two words on."""
    by_hand = (5 / 6 * 4 / 6 * 3 / 5 * 2 / 4) ** (1 / 4)
    assert self_bleu([CAT, DOG]) == pytest.approx(by_hand)


def test_self_bleu_is_one_for_copies_and_nothing_for_strangers() -> None:
    assert self_bleu([CAT, CAT, CAT]) == pytest.approx(1.0)
    assert self_bleu([["a"], ["a"]]) == pytest.approx(1.0)
    assert self_bleu([["a", "b", "c"], ["d", "e", "f"]]) == 0.0
    assert self_bleu([CAT, CAT[:3]]) < self_bleu([CAT, CAT])


def test_a_text_shorter_than_the_others_pays_for_it() -> None:
    """'the cat' against 'the cat sat on the mat': all its words are there, exp(1 - 6/2) is left of it."""
    assert self_bleu([CAT[:2], CAT]) < 0.6


def test_texts_for_self_bleu_are_taken_evenly() -> None:
    texts = [[str(i)] for i in range(200)]
    taken = [int(text[0]) for text in evenly(texts, BLEU_TEXTS)]
    assert len(taken) == len(set(taken)) == BLEU_TEXTS
    assert max(b - a for a, b in itertools.pairwise(taken)) <= 4
    assert evenly(texts[:3], BLEU_TEXTS) == texts[:3]


def test_coverage_counts_values_and_pairs_that_rows_stand_for() -> None:
    """Two attributes of two values for each of two labels: 8 values, 8 pairs; two prompts had 4 and 2 of them."""
    of = checked(card(attributes={"tone": ["dry", "merry"], "place": ["home", "street"]}))
    prompts = [planned(attributes={"tone": "dry", "place": "home"}), planned("weather", attributes={"tone": "merry", "place": "home"})]  # fmt: skip
    assert list(covered(of, prompts).values()) == [4 / 8, 2 / 8]
    assert covered(checked(card()), prompts) == {}


def test_an_empty_set_has_no_figures() -> None:
    assert figures(checked(card()), [], [], [], None) == {}


def test_one_row_is_compared_with_nothing() -> None:
    found = figures(checked(card()), [{"text": "a cat"}], [{}], [planned()], None)
    assert not any(name.startswith(("self-BLEU", "label fidelity", "Vendi")) for name in found)


# ---- the licence of the base model ---------------------------------------------------------------------------


def test_the_embedded_model_has_a_known_licence_and_a_stranger_none(tmp_path: Path) -> None:
    assert licence_of("SmolLM2-135M-Instruct").startswith("Apache-2.0")
    for name in ("somebody/some-model", str(tmp_path), str(tmp_path / "nowhere"), "\0", "x" * 5000):
        assert licence_of(name) == UNKNOWN


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("---\nlicense: mit\n---\n# A model", "mit (its README.md)"),
        ("---\nlicense: other\nlicense_name: house-rules\n---\n", "house-rules (its README.md)"),
        ("---\nlicense: [a, b]\n---\n", UNKNOWN),
        ("---\n- x\n---\n", UNKNOWN),
        ("---\nlicense: 'a\n---\n", UNKNOWN),
        ("---\nlicense: mit\n", UNKNOWN),
        ("license: mit", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_folder_is_asked_for_the_licence_of_its_page(tmp_path: Path, page: str, expected: str) -> None:
    (tmp_path / "README.md").write_text(page)
    assert licence_of(str(tmp_path)) == expected
    (tmp_path / "LICENSE").write_text("Do what you like.")
    assert licence_of(str(tmp_path)) != UNKNOWN
