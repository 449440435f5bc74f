"""Credit: numbers worked by hand."""

import pytest

from synlearner.errors import ConfigError
from synlearner.events.types import Credit, Event, ExperienceCredited, ExperienceItem, ExperienceLearned
from synlearner.memory.credit import NOISE_VARIANCE, SHRINKAGE, baseline_of, credit
from synlearner.memory.state import PRIOR_VARIANCE, MemoryState


def learned(name: str, supersedes: str = "") -> ExperienceLearned:
    item = ExperienceItem(
        id=name, type="lesson", title="", when="", content=name, polarity=1, scope="", metadata={}, evidence=[]
    )
    return ExperienceLearned(item=item, embedder="hash-4", vector="f" * 64, supersedes=supersedes)


def state_of(*facts: ExperienceLearned | ExperienceCredited) -> MemoryState:
    state = MemoryState()
    for seq, fact in enumerate(facts, start=1):
        state.apply(
            Event(
                seq=seq, id=str(seq), kind=fact.kind, version=1, run_id="", task="", causes=(), fact=fact,
                observed={}, hash="",
            )
        )  # fmt: skip
    return state


def outcome(value: float, family: str, credits_: list[Credit] | None = None) -> ExperienceCredited:
    return ExperienceCredited(family=family, outcome=value, baseline=0.0, credits=credits_ or [])


def test_two_untried_items_share_a_surprise_equally() -> None:
    """Hand-worked: baseline .5, outcome .8, so r = .3; each k = .0225 / (.0625 + .045) = .2093."""
    state = state_of(learned("a"), learned("b"), outcome(0.5, "mr"))
    fact = credit(0.8, "mr", ["a", "b"], state)
    assert fact.baseline == 0.5
    assert [entry.item for entry in fact.credits] == ["a", "b"]
    for entry in fact.credits:
        assert entry.mean == pytest.approx(0.3 * 0.0225 / 0.1075, abs=1e-12)
        assert entry.variance == pytest.approx(0.0225 * (1 - 0.0225 / 0.1075), abs=1e-12)


def test_an_item_is_not_praised_for_what_a_better_one_explains() -> None:
    """Hand-worked: the known item explains all of the outcome, so the residual is 0 and the new one earns nothing."""
    known = outcome(0.5, "mr", [Credit(item="good", mean=0.3, variance=1e-6)])
    state = state_of(learned("good"), learned("new"), known)
    credits_ = {entry.item: entry for entry in credit(0.8, "mr", ["good", "new"], state).credits}
    assert credits_["good"].mean == pytest.approx(0.3)
    assert credits_["new"].mean == pytest.approx(0.0)


def test_the_less_certain_item_moves_more() -> None:
    known = outcome(0.5, "mr", [Credit(item="old", mean=0.0, variance=0.001)])
    credits_ = {
        c.item: c for c in credit(0.9, "mr", ["old", "new"], state_of(learned("old"), learned("new"), known)).credits
    }
    assert 0 < credits_["old"].mean < credits_["new"].mean


def test_the_first_outcome_of_all_sets_the_baseline_and_teaches_no_item() -> None:
    fact = credit(0.7, "mr", ["a"], state_of(learned("a")))
    assert fact.baseline == 0.7
    assert fact.credits == [Credit(item="a", mean=0.0, variance=PRIOR_VARIANCE)]


def test_a_new_family_starts_from_the_mean_of_all_and_grows_into_its_own() -> None:
    """Hand-worked: overall mean (.2 + .4 + .9) / 3 = .5; family b: (.9 + 4 x .5) / (1 + 4) = .58."""
    state = state_of(outcome(0.2, "a"), outcome(0.4, "a"), outcome(0.9, "b"))
    assert baseline_of("unseen", state) == pytest.approx(0.5)
    assert baseline_of("b", state) == pytest.approx((0.9 + SHRINKAGE * 0.5) / (1 + SHRINKAGE))


def test_a_persons_judgement_is_a_gain_already_and_moves_no_other_baseline() -> None:
    """Hand-worked: score 1, baseline 0, k = .0225 / (.0625 + .0225), so the mean becomes .2647."""
    state = state_of(learned("a"), outcome(0.5, "mr"), outcome(-1.0, "feedback:user"))
    fact = credit(1.0, "feedback:user", ["a"], state)
    assert fact.baseline == 0.0
    assert fact.credits[0].mean == pytest.approx(PRIOR_VARIANCE / (PRIOR_VARIANCE + NOISE_VARIANCE))
    assert baseline_of("mr", state) == pytest.approx(0.5)


def test_an_outcome_without_items_still_teaches_the_baseline() -> None:
    fact = credit(0.25, "mr", [], state_of(outcome(0.75, "mr")))
    assert fact.credits == []
    assert baseline_of("mr", state_of(outcome(0.75, "mr"), fact)) == pytest.approx(0.5)


def test_credit_goes_to_the_newest_text_of_an_item_and_only_once() -> None:
    state = state_of(learned("old"), learned("new", supersedes="old"), outcome(0.5, "mr"))
    assert [entry.item for entry in credit(0.9, "mr", ["old", "new", "old"], state).credits] == ["new"]


def test_refuses_an_outcome_that_is_no_number() -> None:
    with pytest.raises(ConfigError, match="nan of 'mr' is not a finite number"):
        credit(float("nan"), "mr", [], MemoryState())


def test_refuses_an_item_that_nobody_learnt() -> None:
    with pytest.raises(ConfigError, match="no item 'ghost' in this home: `synlearner memory list` shows them"):
        credit(0.5, "mr", ["ghost"], MemoryState())
