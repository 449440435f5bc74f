"""The bandit over strategy parts: posteriors by hand, experience as evidence, seeded draws."""

from collections import Counter

import pytest
from pieces import checked
from worlds import card

from synlearner.agent.bandit import beliefs, choose, parts_of, posteriors, shuffled, with_experience
from synlearner.agent.config import DaiSettings
from synlearner.agent.strategies import Strategy, library
from synlearner.events.types import Candidate, ExperienceRecalled
from synlearner.memory import new_item
from synlearner.memory.regression import NOISE_VARIANCE
from synlearner.memory.state import PRIOR_VARIANCE, Record

A, B = "dashes/none/open", "headed/length/bold"
K = PRIOR_VARIANCE / (NOISE_VARIANCE + 3 * PRIOR_VARIANCE)
"""Share of a surprise that each of three untried parts takes: .0225 / .13 = .1731."""


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


def test_the_first_outcome_of_a_label_sets_its_level_and_judges_nobody() -> None:
    assert posteriors([("pets", A, 0.9), ("weather", B, 0.1)]) == {}


def test_a_surprise_is_shared_by_the_three_parts() -> None:
    """Hand-worked: .8 after a mean of .5 is a surprise of .3."""
    found = posteriors([("pets", A, 0.5), ("pets", B, 0.8)])
    assert found.keys() == set(parts_of(B))
    for mean, variance in found.values():
        assert mean == pytest.approx(0.3 * K)
        assert variance == pytest.approx(PRIOR_VARIANCE * (1 - K))


def test_outcomes_are_compared_within_their_label() -> None:
    """A label that is hard for everybody is nobody's fault."""
    found = posteriors([("pets", A, 0.9), ("weather", B, 0.1), ("pets", A, 0.9), ("weather", B, 0.1)])
    assert found.keys() == {*parts_of(A), *parts_of(B)}
    for mean, variance in found.values():
        assert mean == 0.0
        assert variance == pytest.approx(PRIOR_VARIANCE * (1 - K))


def test_the_level_is_the_mean_of_what_went_before() -> None:
    """Hand-worked: .2 and .6 have mean .4; an outcome of .4 is no surprise, and untried parts stay where they were."""
    found = posteriors([("pets", A, 0.2), ("pets", A, 0.6), ("pets", B, 0.4)])
    assert [found[part][0] for part in parts_of(B)] == pytest.approx([0.0] * 3)
    assert found[parts_of(A)[0]][0] > 0


def test_parts_that_help_come_out_above_those_that_do_not() -> None:
    outcomes = [
        ("pets", f"{frame}/none/open", value) for _ in range(8) for frame, value in (("dashes", 0.6), ("headed", 0.2))
    ]
    found = posteriors(outcomes)
    assert found["frame:dashes"][0] > 0.05 > -0.05 > found["frame:headed"][0]
    assert abs(found["attributes:none"][0]) < found["frame:dashes"][0]


# ---- what earlier tasks taught -------------------------------------------------------------------------------


def test_an_item_counts_as_one_observation_with_its_own_doubt() -> None:
    """Hand-worked: prior precision 1/.0225 = 44.44 at 0, item 1/.01 = 100 at .2: mean 20 / 144.44 = .13846."""
    found = with_experience({}, [candidate("x")], {"x": record("frame:dashes")})
    mean, variance = found["frame:dashes"]
    assert mean == pytest.approx(20 / (100 + 1 / 0.0225))
    assert variance == pytest.approx(1 / (100 + 1 / 0.0225))


def test_a_task_half_as_alike_says_a_quarter_as_much() -> None:
    found = with_experience({}, [candidate("x", similarity=0.5)], {"x": record("frame:dashes")})
    assert found["frame:dashes"][0] == pytest.approx(0.2 * 25 / (25 + 1 / 0.0225))


def test_avoiding_a_part_is_worth_what_the_part_costs() -> None:
    found = with_experience({}, [candidate("x")], {"x": record("frame:dashes", polarity=-1)})
    assert found["frame:dashes"][0] == pytest.approx(-20 / (100 + 1 / 0.0225))


def test_items_without_a_part_say_nothing_and_own_evidence_stays() -> None:
    own = {"frame:dashes": (0.1, 0.001)}
    assert with_experience(own, [candidate("x")], {"x": record(None)}) == own
    joined = with_experience(own, [candidate("x", draw=-0.3)], {"x": record("frame:dashes", variance=0.1)})
    assert joined["frame:dashes"][0] == pytest.approx(0.1, abs=0.01), "what this task has shown is more certain"
    assert own == {"frame:dashes": (0.1, 0.001)}


def test_two_items_on_one_part_are_two_observations() -> None:
    records = {"x": record("frame:dashes"), "y": record("frame:dashes")}
    found = with_experience({}, [candidate("x"), candidate("y")], records)
    assert found["frame:dashes"][0] == pytest.approx(40 / (200 + 1 / 0.0225))


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
        assert vouchers.keys() == believed.keys(), "what says nothing of a part still says nothing"
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
    believed = {"frame:quotes": (5.0, 1e-9), "attributes:length": (5.0, 1e-9), "decoding:calm": (5.0, 1e-9)}
    assert {choose(LIBRARY, believed, seed) for seed in range(20)} == {Strategy("quotes", "length", "calm")}


def test_the_same_seed_chooses_the_same_and_others_explore() -> None:
    assert [choose(LIBRARY, {}, 5) for _ in range(3)] == [choose(LIBRARY, {}, 5)] * 3
    assert choose(LIBRARY, {}, 5) == choose(LIBRARY[::-1], {}, 5)
    tried = Counter(choose(LIBRARY, {}, seed).frame for seed in range(300))
    assert len(tried) == 9, "with no evidence every frame has a chance"
    assert max(tried.values()) < 100


def test_what_is_believed_to_be_better_is_tried_more_often_but_not_alone() -> None:
    believed = {"frame:dashes": (0.15, PRIOR_VARIANCE / 4)}
    tried = Counter(choose(LIBRARY, believed, seed).frame for seed in range(300))
    assert tried.most_common(1)[0][0] == "dashes"
    assert 100 < tried["dashes"] < 290


def test_parts_of_an_id_are_those_of_its_strategy() -> None:
    assert all(parts_of(strategy.id) == strategy.parts for strategy in LIBRARY)
