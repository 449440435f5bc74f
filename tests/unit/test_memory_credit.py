"""Credit: numbers worked by hand."""

import math
from typing import Any

import numpy as np
import pytest

from synlearner.errors import ConfigError
from synlearner.events.types import Event, ExperienceCredited, ExperienceItem, ExperienceLearned
from synlearner.memory.credit import baseline_of, credit, evidence, joint_update, observed
from synlearner.memory.linear import inverse, solve
from synlearner.memory.regression import NOISE_VARIANCE, SHRINKAGE, Regression, spread_of
from synlearner.memory.state import PRIOR_VARIANCE, MemoryState


def learned(name: str, supersedes: str = "", parents: list[str] | None = None) -> ExperienceLearned:
    item = ExperienceItem(
        id=name, type="lesson", title="", when="", content=name, polarity=1, scope="", metadata={}, evidence=[]
    )
    return ExperienceLearned(
        item=item, embedder="hash-4", vector="f" * 64, supersedes=supersedes, parents=parents or []
    )


def event_of(fact: ExperienceLearned | ExperienceCredited, seq: int) -> Event:
    return Event(
        seq=seq, id=str(seq), kind=fact.kind, version=1, run_id="", task="", causes=(), fact=fact, observed={}, hash=""
    )


def state_of(*facts: Any) -> MemoryState:
    state = MemoryState()
    for seq, fact in enumerate(facts, start=1):
        state.apply(event_of(fact, seq))
    return state


def outcome(value: float, family: str, *used: str, arm: str = "") -> ExperienceCredited:
    return ExperienceCredited(family=family, outcome=value, baseline=0.0, noise=0.0, arm=arm, used=[*used], credits=[])


def many(value: float, *used: str, times: int = 1) -> list[ExperienceCredited]:
    return [outcome(value, "mr", *used) for _ in range(times)]


def means(fact: ExperienceCredited) -> dict[str, float]:
    return {entry.item: entry.mean for entry in fact.credits}


def test_one_outcome_of_two_untried_items_worked_by_hand() -> None:
    """One earlier outcome of .5 in the family, now .8 with both items. s2 = (0 + 4 x .0625) / (0 + 4) = .0625.

    P = Pb = .0625 / .0225 = 2.7778; the family has n = 2, y = 1.3, mean of all .5, so (y + Pb .5) / (Pb + n) = .5628.
    K is [[1 + P - 1 / (Pb + 2), 1 - 1 / (Pb + 2)], …] = [[3.5685, .7907], [.7907, 3.5685]], h = .8 - .5628 = .2372,
    and both gains are .2372 / (3.5685 + .7907) = .05442.
    """
    state = state_of(learned("a"), learned("b"), outcome(0.5, "mr"))
    fact = credit(0.8, "mr", ["b", "a"], state)
    assert (fact.baseline, fact.used, fact.noise) == (0.5, ["a", "b"], 0.0)
    prior = 0.0625 / 0.0225
    level = (1.3 + prior * 0.5) / (prior + 2)
    both = (0.8 - level) / ((1 + prior - 1 / (prior + 2)) + (1 - 1 / (prior + 2)))
    assert both == pytest.approx(0.05442, abs=1e-5)
    for entry in fact.credits:
        assert entry.mean == pytest.approx(both, abs=2**-30)
        assert 0.0170 < entry.variance < 0.0225
        assert entry.depth == 0


def test_an_item_is_not_praised_for_what_a_better_one_explains() -> None:
    """`good` alone lifts the outcome to .9; `new` came along once and changed nothing."""
    past = [learned("good"), learned("new"), *many(0.3, times=8), *many(0.9, "good", times=8)]
    gains = means(credit(0.9, "mr", ["good", "new"], state_of(*past)))
    assert gains["good"] > 0.25
    assert abs(gains["new"]) < 0.1 * gains["good"]


def test_later_outcomes_move_those_that_shared_earlier_ones() -> None:
    """Explaining away: once `a` is seen to lift alone, `b` is owed less of what both were praised for."""
    past = [learned("a"), learned("b"), *many(0.3, times=4), *many(0.9, "a", "b", times=3)]
    state = state_of(*past)
    before = means(credit(0.9, "mr", ["a", "b"], state))
    assert before["a"] == before["b"] > 0
    state.apply(event_of(credit(0.9, "mr", ["a", "b"], state), state.seq + 1))
    after = credit(0.9, "mr", ["a"], state)
    assert {entry.item for entry in after.credits} == {"a", "b"}, "a neighbour that moves is recorded too"
    assert means(after)["b"] < before["b"] < means(after)["a"]


def test_the_order_of_outcomes_does_not_matter() -> None:
    past = [*many(0.3, "b", times=3), *many(0.9, "a", "b", times=2), *many(0.5, times=2), *many(0.7, "a")]
    forwards, backwards = (state_of(learned("a"), learned("b"), *order) for order in (past, past[::-1]))
    assert credit(0.6, "mr", ["a"], forwards).credits == credit(0.6, "mr", ["a"], backwards).credits


def test_the_less_certain_item_moves_more() -> None:
    state = state_of(learned("old"), learned("new"), *many(0.5, "old", times=20), *many(0.5, times=20))
    gains = means(credit(0.9, "mr", ["old", "new"], state))
    assert 0 < gains["old"] < gains["new"]


def test_the_first_outcome_of_all_teaches_nobody() -> None:
    fact = credit(0.7, "mr", ["a"], state_of(learned("a")))
    assert fact.baseline == 0.7
    assert means(fact) == {"a": 0.0}


def test_a_new_family_starts_from_the_mean_of_all_and_grows_into_its_own() -> None:
    """Hand-worked: overall mean (.2 + .4 + .9) / 3 = .5; family b: (.9 + 4 x .5) / (1 + 4) = .58."""
    state = state_of(outcome(0.2, "a"), outcome(0.4, "a"), outcome(0.9, "b"))
    assert baseline_of("unseen", state) == pytest.approx(0.5)
    assert baseline_of("b", state) == pytest.approx((0.9 + SHRINKAGE * 0.5) / (1 + SHRINKAGE))


def test_a_hard_family_is_no_fault_of_the_items() -> None:
    """Outcomes of .2 where .2 is usual, beside a family where .8 is."""
    hard = [outcome(0.2, "hard", *(["a"] if turn % 2 else [])) for turn in range(12)]
    easy = [outcome(0.8, "easy") for _ in range(12)]
    assert means(credit(0.2, "hard", ["a"], state_of(learned("a"), *hard, *easy)))["a"] == pytest.approx(0, abs=0.02)


def test_the_spread_of_families_worked_by_hand() -> None:
    """Means .2 and .8, 4 outcomes each without noise (s2 at its prior's share): t2 by moments, shrunk by 4 of .0225.

    Within: (0 + 4 x .0625) / (6 + 4) = .025. Between: 8 x .3^2 - .025 = .695, / 4 = .17375;
    (.17375 + 4 x .0225) / (1 + 4) = .05275.
    """
    state = state_of(*[outcome(0.2, "hard")] * 4, *[outcome(0.8, "easy")] * 4)
    assert spread_of(state) == pytest.approx(0.05275, abs=1e-6)
    assert spread_of(state_of(*[outcome(0.2, "one")] * 9)) == 0.15**2
    alike = [outcome(0.5, f"f{number % 20}") for number in range(200)]
    assert spread_of(state_of(*alike)) < 0.06**2, "families that do not differ"


def test_correlations_are_those_of_the_inverse() -> None:
    """Used together 9 times out of 9, and nothing else: only their sum is known."""
    state = state_of(learned("a"), learned("b"), learned("c"), *many(0.5, times=9), *many(0.7, "a", "b", times=9))
    found = np.array(Regression(state, ["a", "b", "c"]).correlations())
    assert found == pytest.approx(found.T)
    assert found.diagonal() == pytest.approx(1)
    assert found[0, 1] < -0.5
    assert found[0, 2] == found[1, 2] == 0
    assert Regression(state, []).correlations() == []


def test_an_observation_of_the_gain_itself_worked_by_hand() -> None:
    """Prior .0225, noise .0625: the mean of a judgement of 1 is .0225 / (.0225 + .0625) = .2647. No baseline moves."""
    state = state_of(learned("a"), outcome(0.5, "mr"))
    fact = observed(1.0, NOISE_VARIANCE, "feedback:user", "a", state)
    assert (fact.baseline, fact.noise) == (0.0, NOISE_VARIANCE)
    assert means(fact)["a"] == pytest.approx(PRIOR_VARIANCE / (PRIOR_VARIANCE + NOISE_VARIANCE), abs=1e-8)
    state.apply(event_of(fact, state.seq + 1))
    assert baseline_of("mr", state) == pytest.approx(0.5)
    assert (state.overall.outcomes, state.record("a").helpful) == (1, 1)


def test_observations_and_outcomes_add_up_whatever_came_first() -> None:
    judged = ExperienceCredited(
        family="feedback:u", outcome=1.0, baseline=0.0, noise=0.0625, arm="", used=["a"], credits=[]
    )  # fmt: skip
    past = [*many(0.4, times=4), *many(0.6, "a", times=4)]
    first, last = state_of(learned("a"), judged, *past), state_of(learned("a"), *past, judged)
    assert credit(0.6, "mr", ["a"], first).credits == credit(0.6, "mr", ["a"], last).credits


def test_evidence_leads_from_the_prior_to_the_posterior() -> None:
    gain, noise = evidence(0.1, 0.01) or (0, 0)
    fact = observed(gain, noise, "distilled:t", "new", MemoryState())
    (found,) = fact.credits
    assert (found.item, found.depth) == ("new", 0)
    assert found.mean == pytest.approx(0.1, abs=2**-29)
    assert found.variance == pytest.approx(0.01, abs=2**-29)
    assert evidence(0.1, PRIOR_VARIANCE) is None, "what is as vague as the prior says nothing"


def test_ancestors_share_discounted_in_what_their_descendants_bring() -> None:
    """Hand-worked: the parent moves by half of the child's move, the grandparent by a quarter: both have the prior."""
    past = [learned("old"), learned("mid", parents=["old"]), learned("new", parents=["mid"]), *many(0.3, times=6)]
    fact = credit(0.9, "mr", ["new"], state_of(*past))
    gains, depths = means(fact), {entry.item: entry.depth for entry in fact.credits}
    assert depths == {"new": 0, "mid": 1, "old": 2}
    assert gains["mid"] == pytest.approx(gains["new"] / 2, abs=2**-29)
    assert gains["old"] == pytest.approx(gains["new"] / 4, abs=2**-29)


def test_an_outcome_without_items_still_teaches_the_baseline() -> None:
    fact = credit(0.25, "mr", [], state_of(outcome(0.75, "mr")))
    assert fact.credits == []
    assert baseline_of("mr", state_of(outcome(0.75, "mr"), fact)) == pytest.approx(0.5)


def test_credit_goes_to_the_newest_text_of_an_item_and_only_once() -> None:
    state = state_of(learned("old"), learned("new", supersedes="old"), outcome(0.5, "mr"))
    fact = credit(0.9, "mr", ["old", "new", "old"], state)
    assert (fact.used, [entry.item for entry in fact.credits]) == (["new"], ["new"])


def test_a_reworded_item_keeps_its_outcomes() -> None:
    past = [learned("old"), learned("mate"), *many(0.3, times=4), *many(0.8, "old", "mate", times=4)]
    plain, reworded = state_of(*past), state_of(*past, learned("new", supersedes="old"))
    gains, after = means(credit(0.8, "mr", ["old", "mate"], plain)), means(credit(0.8, "mr", ["new", "mate"], reworded))
    assert after == {"new": gains["old"], "mate": gains["mate"]}


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(ConfigError, match="nan of 'mr' is not a finite number"):
        credit(float("nan"), "mr", [], MemoryState())
    with pytest.raises(ConfigError, match=r"noise 0\.0 of 'f' is not a variance above 0"):
        observed(0.5, 0.0, "f", "a", MemoryState())


def test_refuses_an_item_that_nobody_learnt() -> None:
    with pytest.raises(ConfigError, match="no item 'ghost' in this home: `synlearner memory list` shows them"):
        credit(0.5, "mr", ["ghost"], MemoryState())


def test_a_system_is_solved_as_numpy_solves_it() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 24):
        rows = rng.normal(size=(size, size))
        matrix, right = rows @ rows.T + np.eye(size), rng.normal(size=size)
        solution, diagonal = solve(matrix.tolist(), right.tolist())
        assert solution == pytest.approx(np.linalg.solve(matrix, right).tolist())
        assert diagonal == pytest.approx(np.diag(np.linalg.inv(matrix)).tolist())
        assert np.array(inverse(matrix.tolist())) == pytest.approx(np.linalg.inv(matrix))


def test_no_gain_is_minus_zero() -> None:
    """-0.0 is written as `-0.0`: equal states would have unequal digests."""
    fact = observed(-0.0, 0.1, "distilled:t", "new", MemoryState())
    assert math.copysign(1, fact.outcome) == math.copysign(1, fact.credits[0].mean) == 1
    assert math.copysign(1, credit(-0.0, "mr", [], MemoryState()).outcome) == 1
    (pair,) = joint_update([(-0.0, 0.01)], -0.0)
    assert math.copysign(1, pair[0]) == 1
