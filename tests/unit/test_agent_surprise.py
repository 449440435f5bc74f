"""The band of perplexity: worked by hand, its laws, and what it does to a sample's parts."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import EMBEDDER, checked, planned, vectors_of, written
from worlds import card, rows

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import RewardSettings
from synlearner.agent.judge import make_judge
from synlearner.agent.scoring import RoundScores, score_round
from synlearner.agent.surprise import (
    Band,
    CannotTell,
    Measured,
    RecordedSurprise,
)

TOPICS = checked(card(seeds=rows(8)))
finite = st.floats(-50, 50)


def test_the_band_reaches_from_the_least_to_the_most_surprising_seed() -> None:
    """Hand-worked: outside of [3, 5] a normal density with a deviation of .25 falls off."""
    values = iter([3.0, 4.0, 5.0, 4.5, 3.5, 4.0, 4.1, 4.2])
    band = Measured(lambda texts: [next(values) for _ in texts]).band(checked(card(seeds=rows(4))))
    assert (band.low, band.high) == (3.0, 5.0)
    assert [band.share(value) for value in (3.0, 4.4, 5.0)] == [1.0, 1.0, 1.0]
    assert band.share(2.75) == band.share(5.25) == pytest.approx(0.60653, abs=1e-5)
    assert band.share(5.5) == pytest.approx(0.13534, abs=1e-5)


def test_seeds_that_are_all_alike_make_no_cliff() -> None:
    """Hand-worked: beside a band of no width the deviation is .05."""
    assert Band(4.0, 4.0).share(4.05) == pytest.approx(0.60653, abs=1e-5)


def test_too_few_seeds_make_no_band() -> None:
    lengths = Lengths()
    with pytest.raises(CannotTell, match="the card has 6 seeds, and a band takes 8"):
        Measured(lengths).band(checked(card(seeds=rows(3))))
    assert lengths.asked == [], "nobody is asked in vain"


@given(st.lists(finite, min_size=2, max_size=30), st.lists(finite, min_size=2, max_size=8))
def test_inside_are_full_marks_and_beyond_it_only_falls(seeds: list[float], others: list[float]) -> None:
    band = Band(min(seeds), max(seeds))
    assert all(band.share(value) == 1 for value in seeds)
    above = sorted(value for value in others if value >= band.high)
    below = sorted((value for value in others if value <= band.low), reverse=True)
    for side in (above, below):
        assert all(1 >= band.share(near) >= band.share(far) >= 0 for near, far in pairwise(side))


# ---- in a round ----------------------------------------------------------------------------------------------


class Lengths:
    """Tells that a text is as surprising as its letters are many; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [len(text) / 10 for text in texts]


PLAIN = ["i saw a little kitten on the old roof", "my puppy likes the hamster of my uncle", "my cat", ""]
LONG = "the parrot of my sister talked to every dog and cat and rabbit and hamster in our street"


def score(of: Card, texts: list[str], surprise: Measured | RecordedSurprise | None) -> RoundScores:
    samples = [(10 + i, written(text, index=i)) for i, text in enumerate(texts)]
    return score_round(
        of, [planned("pets")], samples, (), vectors_of(of, []), judge=make_judge(of, vectors_of(of, of.seeds)),
        embedder=EMBEDDER, settings=RewardSettings(min_fidelity=-1), surprise=surprise,
    )  # fmt: skip


def wide(words: int) -> Card:
    return checked(card(seeds=rows(8), fields={"text": {"words": [3, words]}}))


def test_quality_is_less_outside_and_the_raw_figure_is_recorded_beside_it() -> None:
    of = wide(30)
    surprise = Measured(Lengths())
    band = surprise.band(of)
    plain, banded = score(of, [*PLAIN, LONG], None), score(of, [*PLAIN, LONG], surprise)
    for before, after in zip(plain.scored, banded.scored, strict=True):
        assert after.fields == before.fields
        if not before.parts:
            assert after.parts == {}
            continue
        assert "surprise" not in before.parts
        assert after.parts["surprise"] == len(after.fields["text"]) / 10
        expected = before.parts["quality"] * band.share(after.parts["surprise"])
        assert after.parts["quality"] == pytest.approx(expected, abs=1e-6)
    assert plain.scored[-1].accepted
    assert banded.scored[-1].reason == "quality"
    assert banded.scored[0].accepted
    assert banded.diversity["surprise_low"] == band.low
    assert banded.diversity["surprise_high"] == band.high
    assert "surprise_low" not in plain.diversity


def test_the_raw_figure_itself_moves_no_total() -> None:
    """Both lie inside the band, at different places: their totals are those of a round without it."""
    texts = PLAIN[:2]
    banded, plain = score(TOPICS, texts, Measured(Lengths())), score(TOPICS, texts, None)
    assert banded.scored[0].parts["surprise"] == 3.7
    assert [s.total for s in banded.scored] == [s.total for s in plain.scored]


def test_what_is_recorded_gives_the_same_scores_without_anybody_being_asked() -> None:
    texts = [*PLAIN, LONG]
    first = score(TOPICS, texts, Measured(Lengths()))
    values = {s.sample: s.parts["surprise"] for s in first.scored if s.parts}
    band = Band(first.diversity["surprise_low"], first.diversity["surprise_high"])
    again = score(TOPICS, texts, RecordedSurprise(band, values))
    assert again.scored == first.scored
    assert again.diversity == first.diversity


def test_seeds_are_measured_once_for_a_card() -> None:
    lengths = Lengths()
    surprise = Measured(lengths)
    for _ in range(2):
        surprise.band(TOPICS)
    assert lengths.asked == [row["text"] for row in TOPICS.seeds]
    surprise.band(wide(9))
    assert len(lengths.asked) == 2 * len(TOPICS.seeds)


def test_fields_are_read_as_one_text_in_the_cards_order() -> None:
    lengths = Lengths()
    pairs = checked(card(kind="pair_classification", fields={"a": {"words": [1, 9]}, "b": {"words": [1, 9]}},
                         seeds=[{"a": f"one {i}", "b": f"two {i}", "label": label} for label in ("pets", "weather")
                                for i in range(4)]))  # fmt: skip
    row: Row = {"b": "second", "a": "first"}
    assert Measured(lengths).of([1], pairs, [row]) == [1.2]
    assert lengths.asked == ["first\nsecond"]


def test_without_weights_here_nobody_can_tell() -> None:
    with pytest.raises(CannotTell, match="no weights here"):
        Measured(lambda _: None).band(TOPICS)
