"""Recall: who may be chosen, in which order, and that chance is only seeded."""

import math
from typing import Any

import numpy as np
import pytest

from synlearner.events.types import Candidate
from synlearner.memory.embedders import Matrix
from synlearner.memory.recall import (
    Option,
    RecallSettings,
    normal,
    recall,
    recorded,
    relevance,
    score,
    settings_from,
)

SURE = 1e-12
NEW = ("horizon", "lifetime", "least")
"""Settings that later versions added, oldest first."""
QUERY = np.array([1, 0], np.float32)
SIDE = np.array([1, -1], np.float32)
"""Turns a vector to the other side of the query."""


def at(cosine: float) -> Matrix:
    return np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)


def option(name: str, cosine: float, mean: float = 0.0, variance: float = SURE) -> Option:
    return Option(name, at(cosine), mean, variance, dense_rank=1, lexical_rank=1)


def chosen(candidates: list[Candidate]) -> list[str]:
    return [candidate.item for candidate in candidates if candidate.chosen]


def ask(*options: Option, k: int = 4, seed: int | None = None, **changed: float) -> list[Candidate]:
    return recall(QUERY, options, k=k, seed=seed, settings=RecallSettings(**changed))  # type: ignore[arg-type]


def test_the_gate_keeps_out_what_is_not_relevant_however_useful_it_was() -> None:
    assert chosen(ask(option("near", 0.3), option("far", 0.2, mean=0.3))) == ["near"]


def test_utility_ranks_inside_the_gate_and_is_bounded() -> None:
    """Hand-worked: .7 x 1.3 = .91 beats .9 x 1; a gain of 5 counts no more than .3."""
    found = ask(option("like", 0.9), option("useful", 0.7, mean=5.0))
    assert [candidate.item for candidate in found] == ["useful", "like"]
    assert found[0].score == pytest.approx(0.7, abs=1e-6)
    assert found[1].score == pytest.approx(0.9 / 1.3, abs=1e-6)
    assert (found[0].utility, found[0].draw) == (5.0, 5.0)


def test_scores_lie_between_0_and_1() -> None:
    assert score(1.0, 9.0, 0.3) == 1.0
    assert score(1.0, -9.0, 0.3) == pytest.approx(0.7 / 1.3)
    assert score(0.0, 9.0, 0.3) == 0.0


def test_a_vector_that_points_away_has_similarity_0() -> None:
    assert [candidate.similarity for candidate in ask(option("away", -0.5), gate=0.0)] == [0.0]


def test_equal_scores_are_ordered_by_id() -> None:
    assert chosen(ask(option("b", 0.5), option("a", 0.5), option("c", 0.5), k=2)) == ["a", "b"]


def test_equal_scores_of_unequal_likeness_are_ordered_by_id_too() -> None:
    """Hand-worked: .75 x 1 = .5 x 1.5, exactly."""
    assert chosen(ask(option("z", 0.75), option("a", 0.5, mean=0.5), strength=1.0)) == ["a", "z"]


def test_the_order_of_the_options_does_not_matter() -> None:
    options = [option(name, 0.4 + place / 10, variance=0.02) for place, name in enumerate("abcde")]
    assert ask(*options, seed=7) == ask(*reversed(options), seed=7)


def test_k_0_considers_nobody() -> None:
    assert ask(option("a", 1.0), k=0) == []


def test_what_is_known_to_harm_is_considered_but_not_chosen() -> None:
    found = ask(option("harms", 0.9, mean=-0.2, variance=0.05**2), option("doubtful", 0.8, mean=-0.2, variance=0.15**2))
    assert {candidate.item: candidate.chosen for candidate in found} == {"harms": False, "doubtful": True}


def test_relevance_is_lifted_by_both_ranks_worked_by_hand() -> None:
    """First by both: fusion 61/2 x (1/61 + 1/61) = 1. First by likeness alone: 1/2. Third and second: .9605."""
    assert relevance(0.8, 0.0, 1, 1) == pytest.approx(0.8)
    assert relevance(0.8, 0.0, 1, 0) == pytest.approx(0.8 * 0.75)
    assert relevance(0.8, 0.0, 3, 2) == pytest.approx(0.8 * (1 + 61 / 2 * (1 / 63 + 1 / 62)) / 2)
    assert relevance(0.1, 0.6, 9, 1) == pytest.approx(0.6 * (1 + 61 / 2 * (1 / 69 + 1 / 61)) / 2)


def test_rare_words_in_common_open_the_gate_too() -> None:
    word = Option("word", at(0.1), 0.0, SURE, dense_rank=2, lexical=0.5, lexical_rank=1)
    assert [candidate.item for candidate in ask(word, option("far", 0.2))] == ["word"]


def test_of_two_that_say_the_same_one_is_chosen_if_another_is_nearly_as_good() -> None:
    """Hand-worked: the twin's .89 loses .3 x 1 of itself (.623) to the other's .85 x (1 - .3 x .55 …) = .71."""
    twin, other = option("twin", 0.89), Option("other", at(0.85) * SIDE, 0.0, SURE, 1, 0.0, 1)
    first = option("first", 0.9)
    found = {candidate.item: candidate for candidate in ask(first, twin, other, k=2)}
    assert {name for name, each in found.items() if each.chosen} == {"first", "other"}
    assert found["twin"].overlap == pytest.approx(0.9 * 0.89 + (1 - 0.9**2) ** 0.5 * (1 - 0.89**2) ** 0.5, abs=1e-6)
    assert (found["twin"].reason, found["first"].overlap) == ("worse", 0.0)
    assert chosen(ask(first, twin, other, k=2, diversity=0.0)) == ["first", "twin"]


def test_what_does_not_fit_is_passed_over_for_what_does() -> None:
    long = Option("long", at(0.9), 0.0, SURE, tokens=500)
    short, tiny = Option("short", at(0.8), 0.0, SURE, tokens=200), Option("tiny", at(0.7), 0.0, SURE, tokens=100)
    found = {candidate.item: candidate for candidate in ask(long, short, tiny, tokens=300.0)}
    assert {name: each.reason for name, each in found.items()} == {"long": "budget", "short": "", "tiny": ""}
    assert chosen(ask(long, short, tiny, tokens=0.0)) == []


def test_propensities_tell_how_often_chance_chooses() -> None:
    """Equal in all but the name, one of two is chosen: each about half of the time; and never surely not."""
    found = ask(option("a", 0.9, variance=0.02), option("b", 0.9, variance=0.02), k=1, seed=1, horizon=0.0)
    assert sum(each.propensity for each in found) == pytest.approx(1)
    assert all(0.25 < each.propensity < 0.75 for each in found)
    sure = ask(option("a", 0.9), option("b", 0.5), k=1, seed=1)
    assert [each.propensity for each in sure] == [1.0, 0.0]
    assert [each.propensity for each in ask(option("a", 0.9), k=1)] == [0.0], "nothing was drawn"


def test_strength_0_ranks_by_likeness_alone() -> None:
    assert chosen(ask(option("like", 0.9), option("useful", 0.8, mean=0.3), strength=0.0)) == ["like", "useful"]


def test_a_seed_draws_around_the_mean_and_none_takes_it() -> None:
    item = option("a", 0.9, mean=0.1, variance=0.04)
    assert ask(item)[0].draw == 0.1
    assert ask(item, seed=3)[0].draw == 0.1 + 0.12 * 0.2 * normal(3, "a")
    assert ask(item, seed=3) == ask(item, seed=3) != ask(item, seed=4)


def test_what_an_outcome_would_teach_worked_by_hand() -> None:
    """Two equal items of N(0, .04), one to be chosen: both stand at the level 0, of density 1 / (.2 sqrt(2 pi)) = 1.9947.

    An outcome of noise .0625 makes the variance smaller by .04^2 / (.0625 + .04) = .01561; half of 10 x 1.9947 x .01561
    is .15569, whichever is asked. The draw does not tell of it.
    """
    pair = option("a", 0.9, variance=0.04), option("b", 0.9, variance=0.04)
    for item in ask(*pair, k=1, seed=1, scale=0.0, horizon=10.0):
        assert item.draw == 0.0
        assert item.score == pytest.approx(item.relevance * 1.15569 / 1.3, abs=1e-5)
    for item in ask(*pair, k=2, seed=1, scale=0.0, lifetime=0.0, least=-math.inf):
        assert item.score == item.relevance / 1.3, "both are chosen, whatever is learnt"


def test_as_many_outcomes_follow_as_came_so_far_and_no_more_than_are_left() -> None:
    """Of N(0, .01): density 3.98942, d = .01^2 / .0725 = .00137931; half of 1 x both is .00275132.

    After 40 of 240 outcomes 40 follow, after 225 only 15, and never fewer than the horizon. The item that was used most tells.
    """
    for uses, later in {0: 10, 40: 40, 225: 15, 239: 10, 900: 10}.items():
        often = Option("a", at(0.9), 0.0, 0.01, dense_rank=1, lexical_rank=1, uses=uses)
        for item in ask(often, option("b", 0.9, variance=0.01), k=1, seed=1, scale=0.0, horizon=10.0):
            assert item.score == pytest.approx(item.relevance * (1 + later * 0.00275132) / 1.3, abs=1e-6)
        for item in ask(often, option("b", 0.9, variance=0.01), k=1, seed=1, scale=0.0, horizon=10.0, lifetime=0.0):
            assert item.score == pytest.approx(item.relevance * 1.0275132 / 1.3, abs=1e-6), "as before there was one"


def test_what_costs_more_than_it_teaches_is_left_out() -> None:
    """Where all have room an item would just be chosen at a gain of 0. `lowers`, 1.6 deviations below, teaches little:
    10 / 2 x density 2.2184 x .0025^2 / .065 = .0011. The draw has no say, so what is untried is never left out by chance.
    By itself `doubtful` teaches later / 2 x 2.6621 x .0144^2 / .0769 = .0359 or .1077: it is looked at again or not.
    """
    lowers, untried = option("lowers", 0.9, mean=-0.08, variance=0.05**2), option("untried", 0.9, variance=0.15**2)
    for seed in range(8):
        found = {each.item: each for each in ask(lowers, untried, seed=seed, scale=1.0, horizon=10.0)}
        assert (found["lowers"].reason, found["lowers"].propensity, found["untried"].chosen) == ("lowers", 0.0, True)
    assert chosen(ask(lowers, untried)) == ["untried", "lowers"], "a search shows both"
    assert len(chosen(ask(lowers, untried, seed=1, least=-math.inf))) == 2
    doubtful = option("doubtful", 0.9, mean=-0.08, variance=0.12**2)
    assert [chosen(ask(doubtful, seed=1, horizon=later)) for later in (10.0, 30.0)] == [[], ["doubtful"]]


def test_items_that_were_always_used_together_are_told_apart() -> None:
    """Of a and b only the sum is known: the second choice is c, as unknown but by itself, though b is as good."""
    options = [option(name, 0.9, mean=0.1, variance=0.01) for name in "abcd"]
    apart = [[1.0, -0.9, 0, 0], [-0.9, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]

    def asked(correlations: Any) -> list[str]:
        found = recall(
            QUERY, options, k=2, seed=1, settings=RecallSettings(scale=0.0, horizon=20.0, diversity=0.0),
            together=lambda _: (correlations, 0.0625),
        )  # fmt: skip
        return sorted(chosen(found))

    assert asked(np.eye(4).tolist()) == ["a", "b"]
    assert asked(apart) == ["a", "c"]


def test_a_recall_that_recorded_no_horizon_did_not_look_beyond_itself() -> None:
    old = {name: value for name, value in recorded(RecallSettings(scale=0.3)).items() if name not in NEW}
    assert settings_from(old) == RecallSettings(scale=0.3, horizon=0.0, lifetime=0.0, least=-math.inf)


def test_a_recall_that_recorded_a_horizon_alone_always_looked_as_far_and_left_nobody_out() -> None:
    old = {name: value for name, value in recorded(RecallSettings(horizon=60.0)).items() if name not in NEW[1:]}
    assert settings_from(old) == RecallSettings(horizon=60.0, lifetime=0.0, least=-math.inf)


def test_draws_are_standard_normal_and_never_change() -> None:
    """Golden: recorded recalls of released versions are recomputed from these numbers."""
    draws = np.array([normal(seed, "x") for seed in range(4000)])
    assert abs(draws.mean()) < 0.05
    assert abs(draws.std() - 1) < 0.05
    assert normal(1, "x") == pytest.approx(GOLDEN, abs=1e-15)


GOLDEN = 1.3546308024145235
