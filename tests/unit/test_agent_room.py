"""How many tokens there is room for: pieces counted by hand, and against a real tokenizer's by the log's figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import PAIR, checked
from worlds import card

from synlearner.agent.room import pieces, room_for


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a short note", 3),
        ("extraordinary", 2),  # 13 letters: two eights
        ("WINNER", 2),  # six capitals: two threes
        ("I", 1),
        ("Call 09061 now!", 8),  # two words, five digits, a mark
        ("don't", 3),
        ("£1.50", 5),  # no ASCII takes two: the pound sign, then 1 . 5 0
    ],
)
def test_pieces_are_counted_as_byte_pair_encodings_make_them(text: str, count: int) -> None:
    assert pieces(text) == count + text.count("£")


@given(st.text(max_size=40), st.text(max_size=40))
def test_pieces_add_up(one: str, other: str) -> None:
    assert pieces(f"{one} {other}") == pieces(one) + pieces(other)
    assert pieces(one) >= 0


def test_texts_that_are_full_of_digits_have_more_room() -> None:
    """Hand-worked: the seed of prizes has 4 words and 18 pieces, 4.5 a word, so ceil(1.2 x 4.5 x 14) + 6."""
    seeds = [{"text": "the sky is grey", "label": "weather"}, {"text": "Call 0906170146 to WIN", "label": "pets"}]
    seeds[1]["text"] = "Call 09061701461 to WIN99"
    of = checked(card(seeds=seeds))
    assert pieces(seeds[1]["text"]) == 1 + 11 + 1 + 1 + 2
    assert room_for(of, "pets") == 74  # ceil(1.2 x 16 / 4 x 14) + 6
    assert room_for(of, "weather") == 27


def test_two_fields_have_room_for_both() -> None:
    assert room_for(checked(PAIR), "entailment") == 45
