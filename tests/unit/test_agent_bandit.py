"""The bandit over strategy parts: posteriors by hand, experience as evidence, seeded draws."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import checked
from worlds import card

from synlearner.agent.bandit import (
    BOLDNESS,
    GAIN,
    SPREAD,
    Beliefs,
    beliefs,
    choose,
    parts_of,
    posteriors,
    shuffled,
    weighed,
    with_experience,
)
from synlearner.agent.config import DaiSettings
from synlearner.agent.strategies import Strategy, library
from synlearner.events.types import Candidate, ExperienceRecalled
from synlearner.memory import new_item
from synlearner.memory.state import Record

A, B = "dashes/none/open", "headed/length/bold"
K = 0.1225 / (1 + 3 * 0.1225)
"""Share of a surprise that each of three untried parts takes, whatever the spread: .35^2 / (1 + 3 x .35^2) = .0896."""

NOTHING = Beliefs(spread=0.4)
"""A spread of .4 makes the prior deviation .14, its precision 1 / .0196 = 51.02; the drift between tasks is .2."""


def candidate(item: str, *, similarity: float = 1.0, draw: float = 0.2) -> Candidate:
    return Candidate(
        item=item, similarity=similarity, lexical=0.0, dense_rank=1, lexical_rank=0, relevance=similarity,
        utility=draw, deviation=0.1, draw=draw, score=0.5, overlap=0.0, tokens=9, propensity=1.0, chosen=True, reason="",
    )  # fmt: skip


def record(part: str | None, *, variance: float = 0.01, polarity: int = 1) -> Record:
    metadata = {} if part is None else {"part": part}
    return Record(
        item=new_item("text", polarity=polarity, metadata=metadata),
        embedder="",
        vector="",
        learned=1,
        variance=variance,
    )


def test_a_label_with_one_outcome_says_nothing() -> None:
    assert posteriors([("pets", A, 0.9), ("weather", B, 0.1)]) == Beliefs(SPREAD, {})


def test_a_surprise_is_shared_by_the_three_parts() -> None:
    """Hand-worked: .5 and .8 lie .15 below and above their mean; squares .045 and 4 x .0036 make .0594 / 5 = .01188."""
    found = posteriors([("pets", A, 0.5), ("pets", B, 0.8)])
    assert found.spread == pytest.approx(0.01188**0.5)
    assert found.parts.keys() == {*parts_of(A), *parts_of(B)}
    for parts, mean in ((parts_of(A), -0.15 * K), (parts_of(B), 0.15 * K)):
        for part in parts:
            assert found.of(part) == pytest.approx((mean, 0.1225 * 0.01188 * (1 - K)))
    assert found.of("frame:quotes") == pytest.approx((0.0, 0.1225 * 0.01188)), "nobody has tried it"


def test_outcomes_are_compared_within_their_label() -> None:
    """A label that is hard for everybody is nobody's fault."""
    found = posteriors([("pets", A, 0.9), ("weather", B, 0.1), ("pets", A, 0.9), ("weather", B, 0.1)])
    assert found.parts.keys() == {*parts_of(A), *parts_of(B)}
    assert {mean for mean, _ in found.parts.values()} == {0.0}


@given(st.floats(0.5, 2.0), st.floats(-0.5, 0.5))
def test_the_unit_and_the_level_of_outcomes_do_not_matter(unit: float, level: float) -> None:
    """Once there are so many that the spread is their own: a task whose outcomes are all small learns as fast."""
    values = [0.2, 0.6, 0.3, 0.9, 0.1, 0.7, 0.4, 0.5] * 20
    one = posteriors([("pets", (A, B)[i % 2], value) for i, value in enumerate(values)])
    other = posteriors([("pets", (A, B)[i % 2], level + unit * value) for i, value in enumerate(values)])
    for part, (mean, variance) in one.parts.items():
        assert other.of(part)[0] / unit == pytest.approx(mean, rel=0.1, abs=0.001)
        assert other.of(part)[1] / unit**2 == pytest.approx(variance, rel=0.1)


def test_parts_that_help_come_out_above_those_that_do_not() -> None:
    outcomes = [
        ("pets", f"{frame}/none/open", value) for _ in range(8) for frame, value in (("dashes", 0.6), ("headed", 0.2))
    ]
    found = posteriors(outcomes)
    assert found.of("frame:dashes")[0] > 0.05 > -0.05 > found.of("frame:headed")[0]
    assert abs(found.of("attributes:none")[0]) < found.of("frame:dashes")[0]


def test_small_outcomes_are_learnt_from_within_a_task() -> None:
    """Outcomes of real tasks differ by .03 to .1, and parts by a third of that: after 40 prompts the better half is known."""
    rng = random.Random(3)  # noqa: S311
    frames = {"dashes": 0.03, "headed": 0.02, "quotes": -0.02, "shown": -0.03}
    outcomes = [("pets", f"{frame}/none/open", 0.1 + frames[frame] + rng.gauss(0, 0.06)) for frame in [*frames] * 10]
    found = posteriors(outcomes)
    means = [found.of(f"frame:{frame}")[0] for frame in frames]
    assert min(means[:2]) > max(means[2:])
    assert means[0] - means[3] > 0.02


# ---- what earlier tasks taught -------------------------------------------------------------------------------


def test_an_item_counts_as_one_observation_with_its_own_doubt_and_that_of_another_task() -> None:
    """Hand-worked: prior 51.02 at 0; item 1 / (.01 + .2^2) = 20 at .2: mean 4 / 71.02 = .0563."""
    found = with_experience(NOTHING, [candidate("x")], {"x": record("frame:dashes")})
    mean, variance = found.of("frame:dashes")
    assert mean == pytest.approx(4 / (20 + 1 / 0.0196))
    assert variance == pytest.approx(1 / (20 + 1 / 0.0196))


def test_a_task_half_as_alike_says_a_quarter_as_much() -> None:
    found = with_experience(NOTHING, [candidate("x", similarity=0.5)], {"x": record("frame:dashes")})
    assert found.of("frame:dashes")[0] == pytest.approx(0.2 * 5 / (5 + 1 / 0.0196))


def test_avoiding_a_part_is_worth_what_the_part_costs() -> None:
    found = with_experience(NOTHING, [candidate("x")], {"x": record("frame:dashes", polarity=-1)})
    assert found.of("frame:dashes")[0] == pytest.approx(-4 / (20 + 1 / 0.0196))


def test_an_item_that_is_certain_of_its_own_tasks_is_not_of_this_one() -> None:
    found = with_experience(NOTHING, [candidate("x", draw=0.2)], {"x": record("frame:dashes", variance=0.0)})
    assert found.of("frame:dashes")[0] == pytest.approx(0.2 * 25 / (25 + 1 / 0.0196))


def test_items_without_a_part_say_nothing_and_own_evidence_stays() -> None:
    own = Beliefs(parts={"frame:dashes": (0.1, 0.0001)})
    assert with_experience(own, [candidate("x")], {"x": record(None)}) == own
    joined = with_experience(own, [candidate("x", draw=-0.3)], {"x": record("frame:dashes", variance=0.01)})
    assert joined.of("frame:dashes")[0] == pytest.approx(0.1, abs=0.01), "what this task has shown is more certain"
    assert own.parts == {"frame:dashes": (0.1, 0.0001)}


def test_two_items_on_one_part_are_two_observations() -> None:
    records = {"x": record("frame:dashes"), "y": record("frame:dashes")}
    found = with_experience(NOTHING, [candidate("x"), candidate("y")], records)
    assert found.of("frame:dashes")[0] == pytest.approx(8 / (40 + 1 / 0.0196))


# ---- the control ---------------------------------------------------------------------------------------------


def recalled(*items: str, seed: int) -> ExperienceRecalled:
    return ExperienceRecalled(
        round=1, query="", query_vector="", scope="", filters={}, k=4, settings={}, control=0.0, seed=seed,
        candidates=[candidate(item) for item in items], chosen=list(items),
    )  # fmt: skip


def test_shuffled_experience_vouches_for_parts_of_the_same_kind_drawn_by_chance() -> None:
    strategies = library(checked(card()), DaiSettings())
    records = {"x": record("frame:dashes"), "y": record(None)}
    parts = Counter[str]()
    for seed in range(200):
        asked = recalled("x", "y", seed=seed)
        found = shuffled(asked, records, strategies)
        believed, vouchers = beliefs([], asked, found)
        assert vouchers.keys() == believed.parts.keys(), "what says nothing of a part still says nothing"
        parts.update(vouchers.keys())
        assert found["x"].variance == records["x"].variance
    frames = {part for strategy in strategies for part in strategy.parts if part.startswith("frame:")}
    assert parts.keys() == frames
    assert max(parts.values()) < 50, "nearly equal shares of 200"
    assert records["x"].item.metadata == {"part": "frame:dashes"}
    assert shuffled(None, records, strategies) == {}


# ---- choosing ------------------------------------------------------------------------------------------------

LIBRARY = library(checked(card()), DaiSettings())


def test_a_certain_best_is_always_chosen() -> None:
    believed = Beliefs(parts=dict.fromkeys(("frame:quotes", "attributes:length", "decoding:calm"), (5.0, 1e-9)))
    assert {choose(LIBRARY, believed, seed) for seed in range(20)} == {Strategy("quotes", "length", "calm")}


def test_the_same_seed_chooses_the_same_and_others_explore() -> None:
    assert [choose(LIBRARY, NOTHING, 5) for _ in range(3)] == [choose(LIBRARY, NOTHING, 5)] * 3
    assert choose(LIBRARY, NOTHING, 5) == choose(LIBRARY[::-1], NOTHING, 5)
    tried = Counter(choose(LIBRARY, NOTHING, seed).frame for seed in range(300))
    assert len(tried) == 9, "with no evidence every frame has a chance"
    assert max(tried.values()) < 100


def test_what_is_believed_to_be_better_is_tried_more_often_but_not_alone() -> None:
    prior = (GAIN * SPREAD) ** 2
    believed = Beliefs(parts={"frame:dashes": (BOLDNESS * prior**0.5, prior / 4)})
    tried = Counter(choose(LIBRARY, believed, seed).frame for seed in range(300))
    assert tried.most_common(1)[0][0] == "dashes"
    assert 100 < tried["dashes"] < 290


def test_parts_of_an_id_are_those_of_its_strategy() -> None:
    assert all(parts_of(strategy.id) == strategy.parts for strategy in LIBRARY)


# ---- utility to a student ------------------------------------------------------------------------------------


def test_outcome_and_utility_are_weighed_in_their_own_deviations() -> None:
    """By hand: gains lie .1, .1 and utilities -3, 3 from their means, so 3 of utility are .1 of gain.

    With weight 1 the first prompt's -.1 and +.1 cancel, with weight 3 three quarters of the way are gone over twice.
    """
    outcomes = [("pets", A, 0.4), ("pets", B, 0.6)]
    assert [value for *_, value in weighed(outcomes, [7.0, 1.0], 1.0)] == pytest.approx([0.5, 0.5])
    assert [value for *_, value in weighed(outcomes, [7.0, 1.0], 3.0)] == pytest.approx([0.55, 0.45])
    assert [value for *_, value in weighed(outcomes, [1.0, 7.0], 3.0)] == pytest.approx([0.4, 0.6])
    assert [(label, strategy) for label, strategy, _ in weighed(outcomes, [7.0, 1.0], 1.0)] == [
        ("pets", A),
        ("pets", B),
    ]


def test_each_label_has_its_own_mean_and_what_is_unknown_stays() -> None:
    """Usual utility differs from label to label; that of somebody's judgement is not known."""
    outcomes = [("pets", A, 0.4), ("weather", A, 0.1), ("pets", B, 0.6), ("weather", B, 0.3), ("pets", A, 0.9)]
    found = weighed(outcomes, [10.0, -10.0, 12.0, -8.0, None], 1.0)
    assert [value for *_, value in found] == pytest.approx([0.4, 0.1, 0.6, 0.3, 0.9])


def test_outcomes_stay_where_utility_has_no_weight_or_tells_nothing() -> None:
    outcomes = [("pets", A, 0.4), ("pets", B, 0.6)]
    for utilities, weight in (([1.0, 7.0], 0.0), ([None, None], 1.0), ([], 1.0), ([2.0, 2.0], 1.0)):
        assert weighed(outcomes, utilities, weight) == outcomes
