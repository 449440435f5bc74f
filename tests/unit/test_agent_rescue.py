"""Samples that are not what was asked for: accepted as what they are, never paid, never learnt from."""

from typing import Any

import msgspec
import numpy as np
import pytest
from pieces import EMBEDDER, KINDS, checked, planned, vectors_of, written
from worlds import card, rows

from synlearner.agent.config import RewardSettings
from synlearner.agent.features import Matrix
from synlearner.agent.judge import Scores, make_judge
from synlearner.agent.rescue import LIKELIEST, is_rescued, likeliest, whole_sentences
from synlearner.agent.scoring import RoundScores, judge_reference, score_round
from synlearner.agent.state import RoundState, TaskState, prompt_outcomes
from synlearner.agent.tasks import apply_task
from synlearner.agent.training import groups_to_learn_from
from synlearner.events.types import Event, PromptsPlanned, SampleGenerated, SampleScored, SetScored

TOPICS = checked(card(seeds=rows(8)))
RIGHT, WRONG = "a dog and a cat on the roof", "the rain and the wind were cold"
PROMPTS = [planned("pets")]


def scored(*samples: SampleGenerated, rescue: bool = True, **settings: Any) -> RoundScores:
    return score_round(
        TOPICS,
        PROMPTS,
        list(enumerate(samples, start=10)),
        (),
        vectors_of(TOPICS, []),
        judge=make_judge(TOPICS, vectors_of(TOPICS, TOPICS.seeds)),
        embedder=EMBEDDER,
        settings=RewardSettings(**settings),
        rescue=rescue,
    )


# ---- texts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("My cat sleeps here. It does so all", "My cat sleeps here."),
        ("My cat sleeps. Does yours? I do not kn", "My cat sleeps. Does yours?"),
        ('He said "my cat sleeps." And then', 'He said "my cat sleeps."'),
        ("My cat costs 3.50 a day and", ""),  # a point within a number ends nothing
        ("It is. And then it goes on and", ""),  # two words are fewer than the card's three
        ("no end at all", ""),
    ],
)
def test_a_text_is_kept_up_to_its_last_whole_sentence(text: str, kept: str) -> None:
    assert whole_sentences(TOPICS, {"text": text}) == ({"text": kept} if kept else {})


def test_a_text_that_is_too_long_is_kept_up_to_what_the_card_allows() -> None:
    """The card allows 14 words: two sentences of 6 and one of 5 are too many."""
    sentences = ["My cat sleeps on the roof.", "My dog sleeps on the floor.", "Where do yours sleep now?"]
    assert whole_sentences(TOPICS, {"text": " ".join(sentences)}) == {"text": " ".join(sentences[:2])}


def test_only_the_last_field_is_trimmed() -> None:
    pair = checked(KINDS["pair_classification"])
    row = {"text": "A man plays. He", "text_b": "Somebody makes music. And"}
    assert whole_sentences(pair, row) == {"text": "A man plays. He", "text_b": "Somebody makes music."}
    assert whole_sentences(pair, {}) == {}


class Says:
    """A judge that says what it was told to."""

    def __init__(self, **told: list[float]) -> None:
        self._told = told

    def fidelity(self, vectors_N_D: Matrix, labels: Any, rows: Any = ()) -> Scores:
        return np.array([self._told[label][i] for i, label in enumerate(labels)])


def test_the_likeliest_label_is_the_one_asked_for_in_doubt_and_never_one_that_the_text_names() -> None:
    judge = Says(pets=[0.1, 0.2, 0.3], weather=[0.6, 0.2, 0.9])
    rows_ = [{"text": "a b c"}, {"text": "d e f"}, {"text": "what weather we have"}]
    vectors = np.zeros((3, 4), dtype=np.float32)
    found = likeliest(judge, TOPICS, vectors, ["pets", "weather", "pets"], rows_)
    assert found == [("weather", 0.6), ("weather", 0.2), ("pets", 0.3)]
    assert likeliest(judge, TOPICS, vectors[:1], ["pets"], rows_[1:2]) == [("weather", 0.6)]


# ---- scores ----------------------------------------------------------------------------------------------------


def test_a_text_of_another_label_is_accepted_as_that_and_paid_below_what_was_asked_for() -> None:
    right, wrong = scored(written(RIGHT), written(WRONG, index=1)).scored
    assert (right.accepted, right.label, wrong.accepted, wrong.label) == (True, "", True, "weather")
    assert wrong.parts["fidelity"] < 0 < wrong.parts[LIKELIEST]
    assert wrong.parts["fidelity"] == pytest.approx(-wrong.parts[LIKELIEST]), "two labels"
    assert LIKELIEST not in right.parts
    assert wrong.total <= right.total
    assert (is_rescued(right), is_rescued(wrong)) == (False, True)
    plain = scored(written(RIGHT), written(WRONG, index=1), rescue=False).scored
    assert (plain[1].accepted, plain[1].reason, plain[1].label) == (False, "fidelity", "")
    assert [score.total for score in plain] == [right.total, wrong.total], "what is paid does not change"


def test_what_ran_out_of_room_is_accepted_trimmed_and_paid_as_what_is_gated() -> None:
    cut = written(f"{RIGHT}. And then it", index=1, finish="length")
    right, trimmed = scored(written("my cat likes your dog"), cut).scored
    assert (trimmed.accepted, trimmed.trimmed, trimmed.fields) == (True, True, {"text": f"{RIGHT}."})
    plain = scored(written("my cat likes your dog"), cut, rescue=False).scored
    assert (plain[1].reason, plain[1].trimmed) == ("gate:cut_off", False)
    assert (right.total, trimmed.total) == (plain[0].total, plain[1].total)


def test_a_text_of_no_whole_sentence_and_one_that_still_fails_a_gate_are_refused() -> None:
    cut, leak = (
        written("a dog and a", finish="length"),
        written("A dog, so pets it is. And", index=1, finish="length"),
    )
    first, second = scored(cut, leak).scored
    assert (first.accepted, first.reason, first.trimmed) == (False, "gate:cut_off", False)
    assert (second.accepted, second.reason) == (False, "gate:label_leak")
    assert not is_rescued(second)


def test_what_the_judge_is_unsure_of_is_refused_under_any_label() -> None:
    """Two labels: no more than .5 of certainty is asked for above, .99 here."""
    (wrong,) = scored(written(WRONG), min_fidelity=0.99).scored
    assert (wrong.accepted, wrong.reason, wrong.label) == (False, "fidelity", "")
    assert 0 < wrong.parts[LIKELIEST] < 0.99


def test_the_untrained_policys_samples_are_rescued_too() -> None:
    judge = make_judge(TOPICS, vectors_of(TOPICS, TOPICS.seeds))
    samples = list(enumerate([written(WRONG), written(f"{RIGHT}. And", index=1, finish="length")], 10))
    found, vectors = judge_reference(
        TOPICS, PROMPTS, samples, (), judge, lambda r: vectors_of(TOPICS, r), RewardSettings(), rescue=True
    )
    assert [(score.accepted, score.label, score.trimmed) for score in found] == [
        (True, "weather", False),
        (True, "", True),
    ]
    assert len(vectors) == 2


# ---- what follows ----------------------------------------------------------------------------------------------


def after(scores: list[SampleScored], samples: list[SampleGenerated], purpose: str = "learn") -> TaskState:
    """Return the task after a round of these."""
    plan = PromptsPlanned(round=1, purpose=purpose, prompts=PROMPTS)
    now = RoundState(1, plan=plan, plan_seq=5, samples=tuple(enumerate(samples, 10)))
    task = TaskState(0, 1, TOPICS, {}, "", round=now)
    facts: list[SampleScored | SetScored] = [
        *scores,
        SetScored(round=1, samples=[10, 11], embeddings="e" * 64, diversity={}, gains=[0.1, 0.1]),
    ]
    for seq, fact in enumerate(facts, 20):
        event = Event(
            seq=seq, id=str(seq), kind=fact.kind, version=1, run_id="r", task="topics", causes=(), fact=fact,
            observed={}, hash="",
        )  # fmt: skip
        task = apply_task(task, event)
    return task


SAMPLES = [written(RIGHT), written(WRONG, index=1)]


def test_it_is_pooled_as_what_it_is_and_teaches_nothing() -> None:
    task = after(scored(*SAMPLES).scored, SAMPLES)
    assert [(sample.label, sample.row["text"]) for sample in task.pool] == [("pets", RIGHT), ("weather", WRONG)]
    assert [sample.seq for sample in task.kept] == [10], "nor is it learnt from again in a later task"
    ((_, chosen),), _ = groups_to_learn_from(task, "eft")
    assert [seq for seq, _ in chosen] == [10]
    alone = after(
        [scored(*SAMPLES).scored[0], msgspec.structs.replace(scored(*SAMPLES).scored[1], accepted=False)], SAMPLES
    )
    assert prompt_outcomes(task.round) == prompt_outcomes(alone.round), "its strategy is not praised for it"


def test_the_untrained_policys_are_candidates_as_what_they_are_and_compared_with_as_what_was_asked_for() -> None:
    task = after(scored(*SAMPLES).scored, SAMPLES, purpose="reference")
    assert [sample.label for sample in task.untrained] == ["pets", "weather"]
    assert [sample.label for sample in task.reference] == ["pets", "pets"]
