"""The fold of a run, event by event, worked by hand."""

from typing import Any

import msgspec
import pytest
from pieces import checked, judged, planned, written
from worlds import card

from synlearner.agent.config import Settings, completed
from synlearner.agent.state import RoundState, RunState, TaskState, apply, as_begun, prompt_outcomes
from synlearner.agent.tasks import with_feedback
from synlearner.events.types import (
    AnyFact,
    DataFile,
    DatasetDelivered,
    Event,
    ExperienceCredited,
    ExperienceRecalled,
    FeedbackGiven,
    HistoryForked,
    JudgesCompared,
    PolicyUpdated,
    PromptsPlanned,
    RunFinished,
    RunStarted,
    SampleScored,
    SetScored,
    TaskArrived,
    TaskFinished,
)

CARD = checked(card())


def started(rank: int = 8, base_model: str = "base") -> RunStarted:
    settings = Settings().model_dump(mode="json")
    settings["policy"]["rank"] = rank
    return RunStarted(stream="s", stream_digest="d", tasks=["topics"], settings=settings, seed=1, base_model=base_model)


ARRIVED = TaskArrived(index=0, card=CARD.record(), files={"test": DataFile(sha256="f" * 64, rows=3)})
RECALLED = ExperienceRecalled(
    round=1,
    query="q",
    query_vector="",
    scope="",
    filters={},
    k=4,
    settings={},
    control=0.0,
    candidates=[],
    chosen=[],
    seed=1,
)
PLANNED = PromptsPlanned(round=1, purpose="learn", prompts=[planned("pets", samples=2), planned("weather", samples=2)])


def updated(adapter: str, *, parent: str = "", skipped: str = "") -> PolicyUpdated:
    return PolicyUpdated(
        round=1, algorithm="eft", parent=parent, adapter=adapter, optimizer=f"{adapter}-moments", samples=[],
        advantages=[], loss=0.0, kl=0.0, grad_norm=0.0, skipped=skipped,
    )  # fmt: skip


def fold(*facts: AnyFact, state: RunState | None = None, run_id: str = "r") -> RunState:
    """Apply facts as events of one run."""
    state = state or RunState()
    for fact in facts:
        seq = state.seq + 1
        event = Event(
            seq=seq, id=str(seq), kind=fact.kind, version=1, run_id=run_id, task="topics", causes=(), fact=fact,
            observed={}, hash="",
        )  # fmt: skip
        state = apply(state, event)
    return state


def task_after(*facts: AnyFact) -> TaskState:
    task = fold(started(), ARRIVED, *facts).task
    assert task is not None
    return task


def a_round() -> list[AnyFact]:
    """Return a plan (seq 4), its samples (5 to 8), their scores and the set's: accepted, gated, failed, too weak."""
    samples = [
        written("one", index=0),
        written("two", index=1),
        written("", prompt=1, finish="error"),
        written("x", prompt=1),
    ]
    scores = [
        judged(5, gain=0.6),
        judged(6, reason="gate:format"),
        judged(7, reason="gate:engine"),
        judged(8, reason="fidelity", gain=0.9),
    ]
    gains = SetScored(round=1, samples=[5, 8], embeddings="e" * 64, diversity={}, gains=[1.4, 2.1])
    return [RECALLED, PLANNED, *samples, *scores, gains]


def test_a_task_begins_with_its_card_and_the_weights_of_the_moment() -> None:
    task = task_after()
    assert (task.index, task.seq, task.card, task.files) == (0, 2, CARD, {"test": "f" * 64})
    assert fold(started(), updated("a1"), ARRIVED).task.start_adapter == "a1"  # type: ignore[union-attr]


def test_every_sample_ends_as_accepted_rejected_or_failed() -> None:
    task = task_after(*a_round())
    assert (task.requested, task.accepted, dict(task.rejected), task.failed) == (
        4,
        1,
        {"gate:format": 1, "fidelity": 1},
        1,
    )
    assert task.tokens == 3


def test_the_pool_knows_label_worth_and_vector_of_a_sample() -> None:
    (sample,) = task_after(*a_round()).pool
    assert (sample.seq, sample.label, sample.row, sample.worth) == (5, "pets", {"text": "number 5"}, 0.5)
    assert (sample.matrix, sample.place) == ("e" * 64, 0)


def test_the_outcome_of_a_prompt_counts_accepted_gains_over_all_its_samples() -> None:
    """Hand-worked: .6 and a gated one make .3; a failed one and one that was rejected make 0, whatever it gained."""
    task = task_after(*a_round())
    assert task.outcomes == (("pets", "numbered/none/open", 0.3), ("weather", "numbered/none/open", 0.0))
    assert prompt_outcomes(task.round) == [0.3, 0.0]
    assert prompt_outcomes(RoundState(1)) == []


def test_a_prompt_without_samples_has_the_outcome_zero() -> None:
    plan = PromptsPlanned(round=1, purpose="learn", prompts=[planned()])
    assert prompt_outcomes(RoundState(1, plan=plan)) == [0.0]


def test_rounds_are_counted_by_purpose() -> None:
    plans = [
        PromptsPlanned(round=i, purpose=p, prompts=[]) for i, p in enumerate(["learn", "learn", "fill", "reference"])
    ]
    task = task_after(*plans)
    assert (task.learn_rounds, task.fill_rounds, task.reference_rounds) == (2, 1, 1)


def test_a_plan_keeps_the_recall_of_its_round_and_no_other() -> None:
    assert task_after(RECALLED, PLANNED).round.recalled == RECALLED
    later = PromptsPlanned(round=2, purpose="learn", prompts=[])
    assert task_after(RECALLED, PLANNED, later).round.recalled is None
    assert task_after(RECALLED, PLANNED, later).round.plan == later


def test_samples_of_the_untrained_policy_go_into_the_reference_alone() -> None:
    plan = PromptsPlanned(round=2, purpose="reference", prompts=[planned("weather", samples=2)])
    score = SampleScored(sample=4, accepted=False, reason="reference", fields={"text": "a"}, parts={}, total=0.0)
    lost = SampleScored(sample=5, accepted=False, reason="gate:format", fields={}, parts={}, total=0.0)
    gains = SetScored(round=2, samples=[4], embeddings="e" * 64, diversity={}, gains=[])
    task = task_after(plan, written("a"), written(""), score, lost, gains)
    assert [(sample.seq, sample.label) for sample in task.reference] == [(4, "weather")]
    assert (task.requested, task.accepted, task.rejected, task.outcomes) == (0, 0, {}, ())
    assert task.candidates == ()
    assert task.counts(untrained=True) == (0, 0, {}, 0), "nobody judged them, so they count nowhere"


def judged_reference() -> TaskState:
    """Return a task after a round of the untrained policy: one sample accepted, one refused, one that failed."""
    plan = PromptsPlanned(round=2, purpose="reference", prompts=[planned("weather", samples=3)])
    parts = {"fidelity": 0.5, "quality": 0.8}
    good = SampleScored(sample=4, accepted=True, reason="", fields={"text": "a"}, parts=parts, total=0.0)
    weak = SampleScored(sample=5, accepted=False, reason="fidelity", fields={"text": "b"}, parts=parts, total=0.0)
    lost = SampleScored(sample=6, accepted=False, reason="gate:engine", fields={}, parts={}, total=0.0)
    gains = SetScored(round=2, samples=[4, 5], embeddings="e" * 64, diversity={}, gains=[])
    return task_after(plan, written("a"), written("b"), written(""), good, weak, lost, gains)


def test_those_that_were_judged_and_accepted_may_be_delivered_and_are_counted() -> None:
    task = judged_reference()
    assert [sample.seq for sample in task.reference] == [4, 5], "all that can be read is compared with"
    assert [(sample.seq, sample.worth) for sample in task.candidates] == [(4, 0.4)]
    assert task.pool == (), "nobody learns from them, and rounds are as many as before"
    assert task.counts(untrained=True) == (3, 1, {"fidelity": 1}, 1)
    assert task.counts(untrained=False) == (0, 1, {}, 0)


def test_somebody_may_take_them_out_and_the_counts_still_add_up() -> None:
    task = judged_reference()
    praised = with_feedback(task, FeedbackGiven(target="sample:4", score=0.5, text="", source="me"))
    assert [sample.worth for sample in praised.untrained] == [pytest.approx(0.7)]
    without = with_feedback(task, FeedbackGiven(target="sample:4", score=-1.0, text="", source="me"))
    assert without.candidates == ()
    assert without.counts(untrained=True) == (3, 0, {"feedback": 1, "fidelity": 1}, 1)
    assert [strategy for _, strategy, _ in without.outcomes] == [planned().strategy]


@pytest.mark.parametrize(
    ("family", "counted"), [("task:distilled:pets", 1), ("task:topics:", 1), ("distilled:topics", 0)]
)
def test_credits_of_the_round_are_told_from_those_of_distilling(family: str, counted: int) -> None:
    fact = ExperienceCredited(family=family, outcome=0.5, baseline=0.0, noise=0.0, arm="", used=[], credits=[])
    assert task_after(PLANNED, fact).round.credited == counted


def test_a_finished_task_leaves_a_summary_and_a_finished_run_nothing_to_do() -> None:
    delivered = DatasetDelivered(samples=[5], requested=4, accepted=1, rejected={}, failed=1, left_out={})
    totals = TaskFinished(requested=4, accepted=1, rejected=2, failed=1, delivered=1, tokens=3)
    state = fold(started(), ARRIVED, *a_round(), delivered, totals)
    assert state.task is None
    assert [(task.name, task.delivered) for task in state.done] == [("topics", 1)]
    assert fold(RunFinished(tasks=1, delivered=1), state=state).finished


# ---- the policy ----------------------------------------------------------------------------------------------


def test_the_policy_moves_with_every_update_that_was_made() -> None:
    state = fold(
        started(), ARRIVED, updated("a1"), updated("a1", parent="a1", skipped="nothing"), updated("a2", parent="a1")
    )
    assert (state.adapter, state.optimizer, state.updates) == ("a2", "a2-moments", 2)


def test_the_policy_outlives_a_run_unless_the_model_or_its_shape_changes() -> None:
    state = fold(started(), updated("a1"), RunFinished(tasks=0, delivered=0))
    assert fold(started(), state=state, run_id="s").adapter == "a1"
    for other in (started(rank=4), started(base_model="other")):
        fresh = fold(other, state=state, run_id="s")
        assert (fresh.adapter, fresh.optimizer, fresh.updates) == ("", "", 0)


def test_the_digest_of_the_policy_tells_what_it_is() -> None:
    states = [
        fold(started()), fold(started(), updated("a1")), fold(started(), updated("a2")), fold(started(rank=4)),
        fold(started(), updated("a1"), updated("a1")),
    ]  # fmt: skip
    assert len({state.policy_digest() for state in states}) == 5
    assert fold(started(), ARRIVED).policy_digest() == states[0].policy_digest()


# ---- forks ---------------------------------------------------------------------------------------------------


def forked(*facts: AnyFact, **changes: Any) -> RunState:
    fork = HistoryForked(parent_seq=1, parent_hash="", changes=changes)
    return fold(fork, state=fold(started(), ARRIVED, *facts), run_id="")


@pytest.mark.parametrize(("kept", "samples", "scores"), [(4, 0, 0), (6, 4, 0), (9, 4, 0), (11, 4, 4)])
def test_a_fork_drops_what_was_only_half_appended(kept: int, samples: int, scores: int) -> None:
    """Of the round's 11 events: cut among the samples, behind them, among the scores, behind the set's."""
    task = forked(*a_round()[:kept]).task
    assert task is not None
    assert (len(task.round.samples), len(task.round.scores)) == (samples, scores)
    assert not task.round.cut_off


def test_a_fork_takes_its_changes_over_and_leaves_the_rest() -> None:
    state = forked(**{"loop.rounds": 9})
    assert state.settings["loop"]["rounds"] == 9
    assert state.settings["loop"]["group"] == 6
    assert state.started is not None
    assert state.started.settings["loop"]["rounds"] == 4, "what was recorded stays as it was"
    assert state.fork == 3


def test_a_round_that_was_cut_in_half_without_a_fork_says_so() -> None:
    assert [task_after(*a_round()[:kept]).round.cut_off for kept in (2, 4, 6, 9, 11)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_events_of_another_run_do_not_move_the_task() -> None:
    state = fold(started(), ARRIVED, *a_round()[:2])
    strange = fold(written("x"), state=state, run_id="other")
    assert strange.task == state.task
    assert strange.seq == state.seq + 1


@pytest.mark.parametrize(("part", "name"), [("judges", "held_out"), ("delivery", "rescue"), ("students", "balanced")])
def test_a_run_from_before_there_was_a_setting_has_it_off(part: str, name: str) -> None:
    """Its log holds no comparison, say, so none is expected where it is verified or gone on with."""
    old = started()
    before = old.settings | {part: {key: value for key, value in old.settings[part].items() if key != name}}
    assert fold(msgspec.structs.replace(old, settings=before)).settings[part][name] is False
    assert fold(old).settings[part][name] is True


def test_a_run_from_before_delivers_none_of_the_untrained_policy_and_may_be_gone_on_with() -> None:
    """It goes on as it was begun, by whoever gives today's defaults; a fork may change that."""
    old = started()
    delivery = {name: value for name, value in old.settings["delivery"].items() if name != "untrained"}
    state = fold(msgspec.structs.replace(old, settings=old.settings | {"delivery": delivery}))
    assert Settings.model_validate(state.settings).delivery.untrained is False
    assert as_begun(state)["delivery"]["untrained"] is True
    assert as_begun(fold(old)) == completed(old.settings)
    changed = msgspec.structs.replace(state, settings={**state.settings, "delivery": {**delivery, "untrained": True}})
    assert as_begun(changed)["delivery"]["untrained"] is True
    assert as_begun(changed)["judges"] == completed(old.settings)["judges"]


def test_the_last_comparison_and_the_number_of_alarms_outlive_the_task() -> None:
    compared = JudgesCompared(
        round=1, compared=8, untrained=8, training=0.5, held_out=0.25, untrained_training=0.25, untrained_held_out=0.25,
        gap=0.25, deviation=0.0, alarm=True,
    )  # fmt: skip
    calm = msgspec.structs.replace(compared, round=2, alarm=False)
    ended = TaskFinished(requested=0, accepted=0, rejected=0, failed=0, delivered=0, tokens=0)
    state = fold(started(), ARRIVED, PLANNED, compared, calm)
    assert state.task is not None
    assert state.task.round.compared
    (summary,) = fold(ended, state=state).done
    assert (summary.judged, summary.alarms) == (calm, 1)
