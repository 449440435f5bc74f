"""Classifiers of what was accepted: none judges a sample that it was trained on."""

import numpy as np
import pytest
from pieces import PAIR, checked, judged, pooled, task_of, unit_rows, vectors_of
from worlds import card, rows

from synlearner.agent import judging
from synlearner.agent.crossfit import FEWEST, Fitted, SharedJudge, StudentJudge, cross_fitted, enough, folds, newest
from synlearner.agent.features import Matrix
from synlearner.agent.judge import Scores, SeedsJudge, corrected
from synlearner.agent.task_state import RoundState

TOPICS = checked(card(seeds=rows(8)))
COIN = ["heads", "tails"]


def test_the_newest_of_each_label_in_their_order() -> None:
    assert newest(["a", "a", "b", "a", "b"], 2) == [1, 2, 3, 4]
    assert newest(["a", "a", "b"], 1) == [1, 2]
    assert newest([], 3) == []


def test_there_is_enough_when_every_label_has_its_share() -> None:
    assert enough(COIN * FEWEST, COIN)
    assert not enough(["heads"] * 99 + ["tails"] * (FEWEST - 1), COIN)
    assert not enough([], []), "a card without labels has nothing to learn"


def test_a_label_is_dealt_out_to_all_folds() -> None:
    assert folds(["a", "b", "a", "a", "b", "a", "a", "a"]).tolist() == [0, 0, 1, 2, 1, 3, 4, 0]


def test_nobody_is_judged_by_what_was_trained_on_it() -> None:
    """Labels by the toss of a coin: who has seen them knows all of them, who has not is right half of the time."""
    vectors = unit_rows(200, 256)
    tossed = [COIN[place] for place in np.random.default_rng(3).integers(2, size=200)]
    seen = Fitted(vectors, tossed, COIN).probabilities(vectors)
    unseen = cross_fitted(vectors, tossed, COIN)
    right = [[COIN[place] == label for place, label in zip(found.argmax(axis=1), tossed, strict=True)] for found in (seen, unseen)]  # fmt: skip
    assert np.mean(right[0]) > 0.98
    assert 0.4 < np.mean(right[1]) < 0.6
    assert unseen.sum(axis=1) == pytest.approx(np.ones(200))


def test_every_fold_also_learns_from_the_seeds() -> None:
    """One sample leaves nothing to learn from but them."""
    axes = np.eye(2, dtype=np.float32)
    assert cross_fitted(axes[:1], ["heads"], COIN).tolist() == [[0.0, 0.0]]
    found = cross_fitted(axes[:1], ["heads"], COIN, axes, COIN)
    assert found == pytest.approx(Fitted(axes, COIN, COIN).probabilities(axes[:1]))
    assert found[0, 0] > 0.5


def test_who_met_one_label_alone_always_says_it() -> None:
    found = Fitted(unit_rows(3, 4), ["tails"] * 3, COIN).probabilities(unit_rows(2, 4, 9))
    assert found.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert Fitted(unit_rows(3, 4), ["tails"] * 3, COIN).probabilities(unit_rows(0, 4)).shape == (0, 2)


@pytest.mark.parametrize("of", [TOPICS, checked(PAIR)], ids=["one field", "a pair"])
def test_a_student_of_the_seeds_alone_is_the_judge_of_the_seeds(of: object) -> None:
    vectors = vectors_of(of, of.seeds)  # type: ignore[arg-type,attr-defined]
    labels = [row["label"] for row in of.seeds]  # type: ignore[attr-defined]
    student, judge = StudentJudge(of, vectors, labels), SeedsJudge(of, vectors)  # type: ignore[arg-type]
    assert student.fidelity(vectors[::-1], labels) == pytest.approx(judge.fidelity(vectors[::-1], labels))


def test_a_student_that_has_seen_more_is_surer_of_what_is_right() -> None:
    few, many, asked = rows(2), rows(30, 100), rows(10, 300)
    of = checked(card(seeds=few))
    labels = [row["label"] for row in asked]
    seeds = SeedsJudge(of, vectors_of(of, few)).fidelity(vectors_of(of, asked), labels)
    known = [*few, *many]
    student = StudentJudge(of, vectors_of(of, known), [row["label"] for row in known])
    assert student.fidelity(vectors_of(of, asked), labels).mean() > seeds.mean() + 0.1


class Fixed:
    """Says the same of everything."""

    def __init__(self, value: float) -> None:
        self._value = value

    def fidelity(self, vectors: Matrix, labels: object, rows: object = ()) -> Scores:
        return np.full(len(vectors), self._value)


def test_a_share_is_what_it_says() -> None:
    """.75 of -.2 and .25 of 1 are .1."""
    mixed = SharedJudge(Fixed(-0.2), Fixed(1.0), 0.25)
    assert mixed.fidelity(unit_rows(2, 3), COIN) == pytest.approx([0.1, 0.1])


def test_chance_is_zero_and_certainty_one() -> None:
    found = np.array([[1 / 4, 0, 0, 3 / 4], [1, 0, 0, 0]])
    assert corrected(found, ["a", "a"], list("abcd")) == pytest.approx([0.0, 1.0])
    assert corrected(found, ["d", "b"], list("abcd")) == pytest.approx([2 / 3, -1 / 3])


def test_what_this_round_accepted_is_not_learnt_from_when_it_is_judged_again() -> None:
    """Floors and held-out judges are asked behind the scores, when the pool has the round's own samples already."""
    pool = (pooled(3), pooled(4), pooled(7), pooled(8))
    before = task_of(TOPICS, pool=pool[:2])
    behind = task_of(TOPICS, pool=pool, round=RoundState(2, scores=(judged(7), judged(8), judged(9, accepted=False))))
    assert judging._learnt_from(behind) == judging._learnt_from(before) == list(pool[:2])
    assert judging._learnt_from(task_of(TOPICS, pool=pool, round=RoundState(3))) == list(pool)
