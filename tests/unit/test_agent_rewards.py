"""Rewards, worked by hand."""

import pytest
from pieces import PAIR, STORY, checked
from worlds import card

from synlearner.agent.config import RewardSettings
from synlearner.agent.diversity import TOP_GAIN
from synlearner.agent.rewards import GATED, attribute_share, gain_share, outcome, quality, totals, worth

TOPICS = checked(card())
ONES = RewardSettings(fidelity=1, quality=1, attributes=1, gain=1, floor=0.1)


def parts(fidelity: float, quality_: float = 1.0, gain: float = 0.5) -> dict[str, float]:
    return {"fidelity": fidelity, "quality": quality_, "gain": gain}


def test_a_part_is_centred_and_divided_by_its_deviation_before_it_is_weighted() -> None:
    """Hand-worked: fidelity 0, .5, 1 has mean .5 and deviation sqrt(1/6) = .40825; weight 2."""
    settings = RewardSettings(fidelity=2, quality=1, gain=1, floor=0.1)
    assert totals([parts(0), parts(0.5), parts(1)], settings) == pytest.approx([-2.44949, 0, 2.44949], abs=1e-5)


def test_noise_is_not_blown_up_to_a_whole_deviation() -> None:
    """Hand-worked: a spread of .01 is divided by the floor of .1 and stays .1 wide."""
    assert totals([parts(0.50), parts(0.52)], ONES) == pytest.approx([-0.1, 0.1])


def test_all_parts_count_on_the_same_scale() -> None:
    """7.2.22: rewards of 0 to .3 and of 0 to 1 were added. Hand-worked: each part is one deviation to either side."""
    group = [{"fidelity": -1.0, "gain": 0.3, "quality": 0.5}, {"fidelity": 1.0, "gain": 0.0, "quality": 0.5}]
    assert totals([dict(p) for p in group], ONES) == pytest.approx([0.0, 0.0])
    assert totals([dict(p) for p in group], RewardSettings(fidelity=1, gain=3)) == pytest.approx([2.0, -2.0])


def test_a_gated_sample_is_one_below_the_worst_of_its_group() -> None:
    found = totals([parts(1), None, parts(0), None], ONES)
    assert found == pytest.approx([1, -1 - GATED, -1, -1 - GATED])


def test_a_group_of_gated_samples_has_nothing_to_tell_them_apart() -> None:
    assert totals([None, None], ONES) == [-GATED, -GATED]
    assert totals([], ONES) == []


def test_equal_samples_have_equal_totals() -> None:
    assert totals([parts(0.3)] * 4, ONES) == pytest.approx([0] * 4)


def test_checked_attributes_count_too() -> None:
    group = [parts(0.5) | {"attributes": 1.0}, parts(0.5) | {"attributes": 0.0}]
    settings = RewardSettings(attributes=0.25)
    assert totals(list(group), settings) == pytest.approx([0.25, -0.25])


def test_quality_by_hand() -> None:
    """Window [3, 14]: 2 words get 1 - 1 / 1.5 = 1/3; `a b a b` has 2 different bigrams of 3."""
    assert quality(TOPICS, {"text": "my cat sat down"}) == 1
    assert quality(TOPICS, {"text": "my cat"}) == pytest.approx(1 / 3)
    assert quality(TOPICS, {"text": "a b a b"}) == pytest.approx(2 / 3)


def test_quality_is_the_mean_of_the_fields() -> None:
    """The hypothesis may have 2 to 10 words: 15 words are half out."""
    row = {"text": "a man plays the guitar", "text_b": " ".join(f"word{i}" for i in range(15))}
    assert quality(checked(PAIR), row) == pytest.approx((1 + 0.5) / 2)


def test_a_text_that_is_well_formed_is_never_below_one_that_is_not() -> None:
    """7.2.9: valid JSON got .30 where `premise hypothesis therefore word word ...` got 1.00."""
    pairs = checked(PAIR)
    good = {"text": "Three boys kick a ball.", "text_b": "Children are playing."}
    junk = {"text": "premise hypothesis therefore word word word word", "text_b": "word word word"}
    assert quality(pairs, good) > quality(pairs, junk)


def test_a_keyword_counts_as_a_whole_word_in_any_field() -> None:
    row = {"question": "How many carpets are there?", "answer": "There are 7."}
    story = checked(STORY)
    assert attribute_share({"keyword": "carpets"}, story, row) == 1
    assert attribute_share({"keyword": "THERE"}, story, row) == 1
    assert attribute_share({"keyword": "carpet"}, story, row) == 0
    assert attribute_share({"keyword": "how"}, story, row) == attribute_share({"keyword": "7"}, story, row) == 1


def test_the_length_falls_off_with_the_distance() -> None:
    """Hand-worked: 4 words where 5 were asked for miss by a fifth; where 2 were, by all."""
    row = {"text": "my cat sat down"}
    shares = [attribute_share({"length": str(wanted)}, TOPICS, row) for wanted in (4, 5, 2, 1)]
    assert shares == pytest.approx([1.0, 0.8, 0.0, 0.0])


def test_attributes_that_cannot_be_checked_are_not_scored() -> None:
    """7.2.16: quoting the attribute was what paid."""
    assert attribute_share({"persona": "a cook"}, TOPICS, {"text": "a cook a cook"}) is None
    assert attribute_share({}, TOPICS, {"text": "x"}) is None


def test_several_checks_are_averaged() -> None:
    row = {"text": "my cat sat down"}
    assert attribute_share({"keyword": "dog", "length": "4"}, TOPICS, row) == 0.5


def test_a_sample_against_its_label_is_worth_nothing() -> None:
    assert worth(-0.4, 1.0) == 0
    assert worth(0.5, 0.5) == 0.25


def test_the_outcome_of_a_prompt_is_its_mean_gain_with_nothing_for_rejected_samples() -> None:
    assert outcome([parts(1, gain=0.8), None, parts(0, gain=0.1)]) == pytest.approx(0.3)
    assert outcome([None]) == 0


def test_the_largest_gain_is_one() -> None:
    assert gain_share(TOP_GAIN) == 1
    assert gain_share(0.0) == 0
