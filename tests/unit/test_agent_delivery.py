"""Choosing the data set: balanced, without near-duplicates, and never a row of the reporting data."""

from collections.abc import Sequence

import numpy as np
import pytest
from pieces import STORY, checked, pooled, unit_rows
from worlds import card

from synlearner.agent.cards import Card
from synlearner.agent.config import DeliverySettings
from synlearner.agent.delivery import choose_dataset, shortfall
from synlearner.agent.features import Matrix
from synlearner.agent.scoring import PoolSample

TOPICS = checked(card(samples=6))
EYE = np.eye(40, dtype=np.float32)
USUAL = DeliverySettings()
MEANING = DeliverySettings(near_wording=None)
"""Texts made for other tests differ in a number alone."""


def choose(
    pool: Sequence[PoolSample],
    vectors: Matrix | None = None,
    *,
    of: Card = TOPICS,
    leaks: frozenset[int] = frozenset(),
    rule: DeliverySettings = MEANING,
) -> tuple[list[int], dict[str, int]]:
    """Return the seqs that are delivered, and how many are left out by reason; every sample is one or the other."""
    vectors = EYE[: len(pool)] if vectors is None else vectors
    chosen, left_out = choose_dataset(of, pool, vectors, leaks, rule)
    assert len(chosen) + left_out.total() == len(pool)
    assert min(left_out.values()) >= 0
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= of.samples
    return [pool[i].seq for i in chosen], {reason: count for reason, count in left_out.items() if count}


def pets_and_weather(pets: int, weather: int) -> list[PoolSample]:
    return [pooled(i, "pets") for i in range(pets)] + [pooled(100 + i, "weather") for i in range(weather)]


def test_quality_weighs_less_until_the_set_is_diverse_enough() -> None:
    """Hand-worked: behind the first, the second (worth 1, cosine .9) leaves 3.64; the third, worth .1 and unlike both,
    leaves 1.1 at power 1, 2 at a half, and 4.16 at a quarter."""
    vectors = np.array([[1.0, 0.0, 0.0], [0.9, 0.19**0.5, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    pool = [pooled(i, "pets", worth=worth) for i, worth in enumerate((1.0, 1.0, 0.1))]
    asked: list[list[int]] = []

    def too_alike(places: list[int]) -> bool:
        asked.append(places)
        return float(vectors[places[0]] @ vectors[places[1]]) > 0.5

    of = checked(card(samples=2))
    assert choose_dataset(of, pool, vectors, set(), MEANING)[0] == [0, 1]
    chosen, left_out = choose_dataset(of, pool, vectors, set(), MEANING, too_alike)
    assert asked == [[0, 1], [0, 1], [0, 2]]
    assert chosen == [0, 2]
    assert left_out["spare"] == 1


def test_what_nothing_makes_diverse_enough_is_delivered_as_diverse_as_may_be() -> None:
    pool = pets_and_weather(9, 2)
    asked: list[list[int]] = []

    def too_alike(places: list[int]) -> bool:
        asked.append(places)
        return True

    chosen, left_out = choose_dataset(TOPICS, pool, EYE[: len(pool)], set(), MEANING, too_alike)
    assert len(asked) == 3
    assert chosen == asked[-1]
    assert len(chosen) + left_out.total() == len(pool)


@pytest.mark.parametrize(
    ("pets", "weather", "expected"), [(9, 9, (3, 3)), (9, 2, (4, 2)), (1, 9, (1, 5)), (2, 1, (2, 1)), (7, 0, (6, 0))]
)
def test_labels_share_equally_and_what_one_lacks_the_other_gives(
    pets: int, weather: int, expected: tuple[int, int]
) -> None:
    seqs, left_out = choose(pets_and_weather(pets, weather))
    assert (sum(seq < 100 for seq in seqs), sum(seq >= 100 for seq in seqs)) == expected
    assert left_out.get("spare", 0) == pets + weather - sum(expected)


def test_the_remainder_goes_to_the_first_labels() -> None:
    of = checked(card(samples=5))
    seqs, _ = choose(pets_and_weather(9, 9), of=of)
    assert sum(seq < 100 for seq in seqs) == 3


def test_a_card_without_labels_has_one_share() -> None:
    of = checked(STORY, samples=2)
    row = {"question": "How many?", "answer": "7"}
    pool = [PoolSample(i, "", "", row | {"answer": str(i)}, 0.5, "", 0) for i in range(4)]
    assert len(choose(pool, of=of)[0]) == 2


def test_an_empty_pool_delivers_nothing() -> None:
    assert choose([]) == ([], {})


def test_a_near_duplicate_is_left_out_and_the_better_one_stays() -> None:
    close, far = 0.96, 0.94
    for cosine, expected in ((close, [1]), (far, [0, 1])):
        vectors = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]], dtype=np.float32)
        seqs, left_out = choose([pooled(0, worth=0.3), pooled(1, worth=0.9)], vectors)
        assert seqs == expected
        assert left_out == ({"near_duplicate": 1} if expected == [1] else {})


def test_the_same_words_under_two_labels_are_not_compared() -> None:
    vectors = np.ones((2, 1), dtype=np.float32)
    assert choose([pooled(0, "pets"), pooled(1, "weather")], vectors)[0] == [0, 1]


def test_a_copy_in_nearly_the_same_words_is_left_out_whatever_its_vector() -> None:
    """One letter more in a long text: its 5-grams are nearly the same."""
    text = "the parcel was left in the rain for two days and nobody ever answered my letters"
    pool = [pooled(0, text=f"{text}s", worth=0.9), pooled(1, text=text, worth=0.3), pooled(2, "weather", text=text)]
    assert choose(pool, rule=USUAL) == ([0, 2], {"near_copy": 1})
    assert choose(pool, rule=MEANING) == ([0, 1, 2], {})


def test_nothing_is_compared_where_the_rules_are_switched_off() -> None:
    pool = [pooled(0, text="a cat sat here"), pooled(1, text="A cat sat here!")]
    same = np.ones((2, 1), dtype=np.float32)
    off = DeliverySettings(near_meaning=None, near_wording=None)
    assert choose(pool, same, rule=off) == ([0, 1], {})
    assert choose(pool, same, rule=USUAL) == ([0], {"near_copy": 1})


def test_what_leaked_is_never_delivered_and_makes_room_for_another() -> None:
    """However good it is, and even where nothing else is left."""
    pool = [pooled(0, worth=1.0), pooled(1, worth=0.1)]
    assert choose(pool, leaks=frozenset({0})) == ([1], {"test": 1})
    assert choose(pool, leaks=frozenset({0, 1})) == ([], {"test": 2})


def test_a_leaked_row_does_not_push_out_its_neighbours() -> None:
    """It is left out before near-duplicates are looked for: the honest sample beside it stays."""
    vectors = np.ones((2, 1), dtype=np.float32)
    pool = [pooled(0, text="a b c", worth=1.0), pooled(1, text="a b c d", worth=0.1)]
    assert choose(pool, vectors, leaks=frozenset({0}), rule=USUAL)[0] == [1]


def test_of_equal_samples_the_worthier_are_delivered() -> None:
    pool = [pooled(i, worth=0.1 * i) for i in range(1, 10)]
    assert choose(pool)[0] == [4, 5, 6, 7, 8, 9]


def test_of_worthy_samples_the_different_ones_are_delivered() -> None:
    """Eight texts in two close clusters: both are there before the third of either."""
    of = checked(card(samples=2))
    rng = np.random.default_rng(0)
    centres = np.repeat(EYE[:2, :8], 4, axis=0) + 0.2 * rng.normal(size=(8, 8))
    vectors = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    seqs, _ = choose([pooled(i, "pets") for i in range(8)], vectors, of=of)
    assert {seq // 4 for seq in seqs} == {0, 1}


def test_the_choice_does_not_depend_on_chance() -> None:
    vectors = unit_rows(30, 16)
    pool = [pooled(i, "pets" if i % 2 else "weather", worth=0.5 + i % 3 / 10) for i in range(30)]
    assert choose(pool, vectors) == choose(pool, vectors)


def test_what_a_set_lacks_is_said_and_nothing_of_one_that_lacks_nothing() -> None:
    assert shortfall(TOPICS, ["pets", "weather"] * 3) == ""
    assert shortfall(TOPICS, ["pets", "weather"]).startswith("2 of 6 wanted: no more passed")
    assert shortfall(TOPICS, ["pets"] * 6).startswith("6 of 6 wanted, none of 'weather': ")
    assert shortfall(TOPICS, []).startswith("0 of 6 wanted, none of 'pets', 'weather': ")
    assert shortfall(checked(STORY, samples=2), ["", ""]) == ""
