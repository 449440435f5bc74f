"""Shared wording: what is a near-copy, what is a leak, and that honest texts are neither."""

import pytest
from pieces import PAIR, STORY, checked
from worlds import card

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DeliverySettings
from synlearner.agent.overlap import leaked, near_copies, shingles, word_runs

REMARK = checked(card())
RULE = DeliverySettings()
SAID = "the parcel was left in the rain for two days and nobody answered"


def leak(text: str, *real: str, rule: DeliverySettings = RULE) -> bool:
    found = leaked(REMARK, [{"text": text}], [{"text": other, "label": "pets"} for other in real], rule)
    return bool(found)


def test_shingles_and_runs_by_hand() -> None:
    assert shingles("cat sat") == ["cat s", "at sa", "t sat"]
    assert shingles("cat") == ["cat"]
    assert shingles("") == [""]
    assert word_runs("A cat, a DOG.", 3) == {("a", "cat", "a"), ("cat", "a", "dog")}
    assert word_runs("a cat", 3) == set()


def test_the_index_is_shared_over_all() -> None:
    """Hand-worked: 'abcdef' and 'abcdefg' share 2 of 3 shingles, so the bound of 2/3 is met and .67 is not."""
    assert list(near_copies(["abcdef"], ["abcdefg"], 2 / 3)) == [(0, 0)]
    assert list(near_copies(["abcdef"], ["abcdefg"], 0.67)) == []
    assert list(near_copies(["abcdef", "x"], [], 0.5)) == []
    assert list(near_copies([], ["x"], 0.5)) == []


def test_the_same_text_in_another_dress_is_a_leak() -> None:
    assert leak("The cat sat, down.", "the CAT sat down")
    assert leak("Yes!", "yes")
    assert not leak("no", "yes")


def test_eight_words_in_a_row_are_a_leak_and_seven_are_not() -> None:
    start = "today i heard that "
    assert leak(start + "the parcel was left in the rain for", SAID)
    assert not leak(start + "the parcel was left in the rain", SAID)
    assert leak(start + "the parcel was left in the rain", SAID, rule=DeliverySettings(leak_words=7))


def test_a_text_with_a_word_exchanged_is_a_leak_too() -> None:
    """No eight words in a row are left: the index of shingles finds it."""
    real = "why did the old man sell his big red house to a bank"
    mine = "why did the old man sell his tiny red house to a bank"
    assert not word_runs(real, 8) & word_runs(mine, 8)
    assert leak(mine, real, rule=DeliverySettings(leak_wording=0.7))
    assert not leak(mine, real, rule=DeliverySettings(leak_wording=0.9))


@pytest.mark.parametrize(
    ("mine", "real"),
    [
        ("what is the capital of france", "what is the capital of spain"),
        ("please set an alarm for seven", "please set an alarm for six tomorrow"),
        ("free entry in a weekly draw", "free entry into our new weekly prize competition"),
    ],
)
def test_texts_of_one_pattern_are_no_leak(mine: str, real: str) -> None:
    assert not leak(mine, real)
    assert list(near_copies([mine], [real], RULE.near_wording or 0)) == []


def test_one_field_of_a_pair_is_enough() -> None:
    """Whoever knows the premise of a test row knows half of it."""
    of = checked(PAIR)
    real = [{"text": SAID, "text_b": "Somebody was at home.", "label": "entailment"}]
    rows: list[Row] = [
        {"text": f"Yesterday {SAID} me.", "text_b": "It was dry."},
        {"text": "A man sleeps.", "text_b": "It was dry."},
    ]
    assert leaked(of, rows, real, RULE) == {0}


def test_rows_of_a_stranger_are_taken_with_all_their_texts() -> None:
    of = checked(STORY)
    rows: list[Row] = [{"question": f"They say {SAID} us. Why?", "answer": "Nobody knows."}]
    real: list[Row] = [{"sentence": SAID, "label": "the parcel was left"}]
    assert leaked(of, rows, real, RULE) == {0}
    assert leaked(of, rows, [{"label": SAID}], RULE) == set()


def test_no_real_data_no_leak() -> None:
    assert leaked(REMARK, [{"text": "a cat"}], [], RULE) == set()
    assert leaked(REMARK, [], [{"text": "a cat"}], RULE) == set()


@pytest.mark.parametrize("of", [REMARK], ids=["remark"])
def test_a_seed_that_stands_in_the_test_data_is_a_leak(of: Card) -> None:
    assert leaked(of, of.seeds, of.seeds, RULE) == set(range(len(of.seeds)))
