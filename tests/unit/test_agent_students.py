"""Students: they learn what there is to learn, and their figures are what they say."""

import numpy as np
import pytest
from pieces import PAIR, checked, vectors_of
from worlds import card, rows

from synlearner.agent.cards import Card, Row
from synlearner.agent.students import LabelledSet, StudentFigures, interval, score_student

TOPICS = checked(card())
families = pytest.mark.parametrize("family", ["embedding", "tfidf"])


def labelled(found: list[Row], of: Card = TOPICS) -> LabelledSet:
    return LabelledSet(found, [row["label"] for row in found], vectors_of(of, found))


def figures(family: str, train: list[Row], scored: list[Row]) -> StudentFigures:
    return score_student(family, TOPICS, labelled(train), labelled(scored), bootstrap=200, seed=1)


@families
def test_a_student_knows_what_it_was_shown(family: str) -> None:
    found = figures(family, rows(10), rows(10))
    assert (found.accuracy, found.macro_f1) == (1.0, 1.0)
    assert found.interval == (1.0, 1.0)


@families
def test_a_student_of_the_words_generalises_to_other_sentences(family: str) -> None:
    shown = [{"text": f"{word} {word}", "label": label} for label, word in (("pets", "kitten"), ("weather", "thunder"))]
    asked = [
        {"text": f"a {word} again", "label": label} for label, word in (("pets", "kitten"), ("weather", "thunder"))
    ]
    assert figures(family, shown, asked).accuracy == 1.0


@families
def test_swapped_labels_teach_the_opposite(family: str) -> None:
    swap = {"pets": "weather", "weather": "pets"}
    assert figures(family, [row | {"label": swap[row["label"]]} for row in rows(10)], rows(10)).accuracy == 0.0


@families
def test_a_set_of_one_label_teaches_to_always_say_it(family: str) -> None:
    """Hand-worked: half right; F1 of pets is 2/3, of weather 0."""
    found = figures(family, [row for row in rows(5) if row["label"] == "pets"], rows(4, 30))
    assert found.accuracy == 0.5
    assert found.macro_f1 == pytest.approx(1 / 3, abs=1e-6)


@families
def test_every_label_counts_the_same_in_macro_f1(family: str) -> None:
    """Hand-worked: of 4 rows 3 are pets, all called pets: F1 is 6/7 and 0, whatever the number of rows."""
    scored = [
        *[row for row in rows(3, 30) if row["label"] == "pets"],
        *[row for row in rows(1) if row["label"] == "weather"],
    ]
    found = figures(family, [row for row in rows(5) if row["label"] == "pets"], scored)
    assert found.accuracy == 0.75
    assert found.macro_f1 == pytest.approx(3 / 7, abs=1e-6)


@families
def test_the_same_sets_give_the_same_figures(family: str) -> None:
    assert figures(family, rows(5), rows(5, 50)) == figures(family, rows(5), rows(5, 50))


@families
def test_labels_weigh_the_same_however_many_rows_they_have(family: str) -> None:
    """40 rows of one label and 8 of the other: the rare one is found more often."""
    train = [*(row for row in rows(40) if row["label"] == "pets"), *(row for row in rows(8) if row["label"] != "pets")]
    scored = [row for row in rows(30, 100) if row["label"] != "pets"]

    def found(*, balanced: bool) -> float:
        return score_student(
            family, TOPICS, labelled(train), labelled(scored), bootstrap=100, seed=0, balanced=balanced
        ).accuracy

    assert found(balanced=True) > found(balanced=False)


@families
def test_equal_shares_are_the_same_bits_either_way(family: str) -> None:
    asked = labelled(rows(30, 100)), labelled(rows(5))
    even, plain = (
        score_student(family, TOPICS, asked[1], asked[0], bootstrap=100, seed=0, balanced=b) for b in (True, False)
    )
    assert even == plain


@families
def test_pairs_are_taught_too(family: str) -> None:
    of = checked(PAIR)
    data = LabelledSet(of.seeds, [row["label"] for row in of.seeds], vectors_of(of, of.seeds))
    assert score_student(family, of, data, data, bootstrap=100, seed=0).accuracy == 1.0


def test_a_student_needs_something_to_learn_from() -> None:
    with pytest.raises(ValueError, match="a student needs at least one row to learn from"):
        figures("tfidf", [], rows(1))


def test_a_label_that_the_student_never_saw_counts_against_it() -> None:
    of = checked(
        card(labels={"pets": "", "weather": "", "sport": ""}, seeds=[*rows(2), {"text": "a", "label": "sport"}])
    )
    scored = [*rows(4), *({"text": f"goal number {i}", "label": "sport"} for i in range(4))]
    found = score_student("tfidf", of, labelled(rows(4)), labelled(scored), bootstrap=100, seed=0)
    assert found.accuracy == pytest.approx(8 / 12, abs=1e-6)
    assert found.macro_f1 < found.accuracy


# ---- the interval --------------------------------------------------------------------------------------------


def test_the_interval_holds_the_mean_and_narrows_with_the_rows() -> None:
    few, many = (np.tile([1.0, 1.0, 0.0], n) for n in (10, 1000))
    for correct in (few, many):
        low, high = interval(correct, 2000, 0)
        assert low < 2 / 3 < high
    assert interval(many, 2000, 0)[1] - interval(many, 2000, 0)[0] < 0.2 * (
        interval(few, 2000, 0)[1] - interval(few, 2000, 0)[0]
    )


def test_the_interval_is_that_of_a_bootstrap_over_rows() -> None:
    """Against resampling the rows themselves: the same within what 4,000 resamples can tell."""
    correct = np.tile([1.0, 1.0, 1.0, 0.0], 25)
    rng = np.random.default_rng(5)
    means = rng.choice(correct, size=(4000, len(correct))).mean(axis=1)
    assert interval(correct, 4000, 3) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.011)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """95 % of 300 experiments with 200 rows of .7: between 90 and 98.5 % with this many."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        low, high = interval((rng.random(200) < 0.7).astype(float), 400, seed)
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / 300 <= 0.985


def test_another_seed_draws_another_bootstrap() -> None:
    correct = np.tile([1.0, 0.0, 1.0], 30)
    assert interval(correct, 150, 1) == interval(correct, 150, 1)
    assert len({interval(correct, 150, seed) for seed in range(5)}) > 1
