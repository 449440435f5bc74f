"""What a person sees of a run: a word for every action, and a line where something is wrong."""

from typing import get_args

from pieces import checked, pooled, task_of
from worlds import card

from synlearner.agent.decide import Action
from synlearner.agent.state import RunState
from synlearner.events import AnyFact, DatasetDelivered, Event, JudgesCompared, PolicyUpdated, RewardFailed
from synlearner.progress import DOING, headline


def line(fact: AnyFact, state: RunState | None = None) -> str:
    event = Event(
        seq=9, id="9", kind=fact.kind, version=1, run_id="r", task="t", causes=(), fact=fact, observed={}, hash=""
    )
    return headline(event, state)


def test_a_delivered_sample_of_the_untrained_policy_is_one_of_its_label() -> None:
    task = task_of(
        checked(card(samples=2)), pool=(pooled(1, "pets"),), untrained=(pooled(2, "weather"), pooled(3, "pets"))
    )
    fact = DatasetDelivered(samples=[1, 2], requested=3, accepted=3, rejected={}, failed=0, left_out={})
    assert line(fact, RunState(task=task)) == "delivered 2 samples"
    lacking = fact.__class__(samples=[1], requested=3, accepted=3, rejected={}, failed=0, left_out={})
    assert "none of 'weather'" in line(lacking, RunState(task=task))


def test_what_the_seeds_taught_is_told_without_samples() -> None:
    fact = PolicyUpdated(
        round=1, algorithm="seeds", parent="", adapter="a", optimizer="b", samples=[], advantages=[], loss=2.5, kl=0.0,
        grad_norm=1.0, skipped="",
    )  # fmt: skip
    assert line(fact) == "seeds: loss 2.5000, KL 0.0000, gradient 1.00"


def compared(*, alarm: bool) -> JudgesCompared:
    return JudgesCompared(
        round=3, compared=24, untrained=11, training=0.625, held_out=0.25, untrained_training=0.375,
        untrained_held_out=0.25, gap=0.25, deviation=0.0625, alarm=alarm,
    )  # fmt: skip


def test_every_action_has_a_word() -> None:
    """The live panel looks it up when an action begins: without one, a run on a terminal would end there."""
    assert set(DOING) == {cls.__name__ for cls in get_args(Action)}


def test_an_alarm_is_one_line_of_warning() -> None:
    said = line(compared(alarm=True))
    assert said.startswith(
        "WARNING: the policy may be learning the judge: it gives 0.62, a judge that no reward sees 0.25"
    )
    assert "\n" not in said
    assert line(compared(alarm=False)) == "held-out judge 0.25, judge 0.62, gap +0.25"


def test_a_reward_that_failed_says_why() -> None:
    fact = RewardFailed(round=3, function="my_rewards:score", reason="it raised KeyError")
    assert line(fact) == "the reward my_rewards:score failed: it raised KeyError"
