"""The fold: what each event does to the memory."""

from typing import Any

import pytest

from synlearner.errors import ConfigError
from synlearner.events.types import (
    AnyFact,
    Credit,
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceRecalled,
    ExperienceRetired,
    RunFinished,
)
from synlearner.memory.state import PRIOR_VARIANCE, MemoryState, fold


def learned(name: str, *, supersedes: str = "", **fields: Any) -> ExperienceLearned:
    plain: dict[str, Any] = {"type": "lesson", "title": "", "when": "", "content": f"about {name}", "polarity": 1}
    rest: dict[str, Any] = {"scope": "", "metadata": {}, "evidence": []}
    item = ExperienceItem(id=name, **(plain | rest | fields))
    return ExperienceLearned(
        item=item, embedder="hash-4", vector=name.ljust(64, "0"), supersedes=supersedes, parents=[]
    )


def credited(name: str, *, outcome: float = 0.9, baseline: float = 0.5) -> ExperienceCredited:
    credits_ = [Credit(item=name, mean=0.1, variance=0.01, depth=0)]
    return ExperienceCredited(
        family="mr", outcome=outcome, baseline=baseline, noise=0.0, arm="", used=[name], credits=credits_
    )


def after(*facts: AnyFact) -> MemoryState:
    return fold(
        Event(
            seq=seq, id=str(seq), kind=fact.kind, version=1, run_id="", task="", causes=(), fact=fact, observed={},
            hash="",
        )
        for seq, fact in enumerate(facts, start=1)
    )  # fmt: skip


def test_a_new_item_starts_from_the_prior() -> None:
    record = after(learned("a")).record("a")
    assert (record.mean, record.variance, record.uses, record.learned, record.active) == (0, PRIOR_VARIANCE, 0, 1, True)


def test_a_credit_sets_the_recorded_posterior_and_counts_for_or_against() -> None:
    record = after(learned("a"), credited("a"), credited("a", outcome=0.2), credited("a", outcome=0.5)).record("a")
    assert (record.mean, record.variance) == (0.1, 0.01)
    assert (record.uses, record.helpful, record.harmful) == (3, 1, 1)


def test_a_recall_counts_what_it_chose() -> None:
    recalled = ExperienceRecalled(
        round=0, query="q", query_vector="0" * 64, scope="", filters={}, k=4, settings={}, control=0.0, candidates=[],
        chosen=["a"], seed=0,
    )  # fmt: skip
    assert after(learned("a"), learned("b"), recalled).record("a").recalled == 1
    assert after(learned("a"), learned("b"), recalled).record("b").recalled == 0


def test_a_retired_item_is_kept_but_not_active_until_it_is_learnt_again() -> None:
    history: list[AnyFact] = [learned("a"), credited("a"), ExperienceRetired(item="a", reason="wrong")]
    record = after(*history).record("a")
    assert (record.active, record.retired, record.reason) == (False, 3, "wrong")
    again = after(*history, learned("a")).record("a")
    assert (again.active, again.uses, again.mean, again.learned) == (True, 1, 0.1, 4)


def test_a_new_text_takes_over_the_posterior_and_the_old_one_points_to_it() -> None:
    state = after(learned("a"), credited("a"), learned("b", supersedes="a"), learned("c", supersedes="b"))
    assert [record.item.id for record in state.active()] == ["c"]
    assert state.newest("a").item.id == "c"
    assert (state.record("c").mean, state.record("c").uses, state.record("c").supersedes) == (0.1, 1, "b")


def test_going_back_to_an_earlier_text_ends_in_it() -> None:
    state = after(learned("a"), learned("b", supersedes="a"), credited("b"), learned("a", supersedes="b"))
    assert [record.item.id for record in state.active()] == ["a"]
    assert state.newest("b").item.id == "a"
    assert state.record("a").uses == 1


def test_an_item_without_scope_is_everybodys_and_a_scoped_one_its_own() -> None:
    state = after(learned("all"), learned("mine", scope="me"), learned("yours", scope="you"))
    assert [record.item.id for record in state.active("me")] == ["all", "mine"]
    assert [record.item.id for record in state.active("")] == ["all"]
    assert [record.item.id for record in state.active("*")] == ["all", "mine", "yours"]


def test_kinds_that_do_not_concern_memory_move_nothing_but_the_seq() -> None:
    state = after(learned("a"), RunFinished(tasks=1, delivered=2))
    assert state.seq == 2
    assert state.digest() == after(learned("a")).digest()


def test_the_digest_sees_every_part_of_the_content() -> None:
    histories: list[list[AnyFact]] = [
        [],
        [learned("a")],
        [learned("a", title="t")],
        [learned("a", metadata={"k": 1})],
        [learned("a", metadata={"k": 1.5})],
        [learned("a"), credited("a")],
        [learned("a"), credited("a", outcome=0.2)],
        [learned("a"), ExperienceRetired(item="a", reason="")],
        [learned("a"), ExperienceRetired(item="a", reason="r")],
        [learned("a"), learned("b", supersedes="a")],
    ]
    assert len({after(*history).digest() for history in histories}) == len(histories)


def test_the_digest_does_not_depend_on_the_order_of_metadata_keys() -> None:
    one, two = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert after(learned("a", metadata=one)).digest() == after(learned("a", metadata=two)).digest()


def test_events_about_unknown_items_are_passed_over() -> None:
    state = after(credited("ghost"), ExperienceRetired(item="ghost", reason=""))
    assert (state.records, state.families["mr"].outcomes) == ({}, 1)


def test_an_unknown_id_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="no item 'x1' in this home: `synlearner memory list` shows them"):
        MemoryState().record("x1")
