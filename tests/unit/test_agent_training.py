"""Whom a learning step learns from, and with which advantages. Worked by hand."""

from typing import Any

import pytest
from pieces import checked, judged, planned, task_of, written
from worlds import card

from synlearner.agent.config import Settings
from synlearner.agent.policy import Policy
from synlearner.agent.state import RoundState, RunState, TaskState
from synlearner.agent.training import fingerprint, groups_to_learn_from, train
from synlearner.events.types import PromptsPlanned, SampleGenerated, SampleScored
from synlearner.policies.scripted import ScriptedEngine

TOPICS = checked(card())


def task(*groups: list[tuple[SampleGenerated, SampleScored]]) -> TaskState:
    """Return a task with a scored round of these groups."""
    plan = PromptsPlanned(round=1, purpose="learn", prompts=[planned(samples=len(group)) for group in groups])
    pairs = [pair for group in groups for pair in group]
    samples = tuple((score.sample, sample) for sample, score in pairs)
    now = RoundState(1, plan=plan, plan_seq=3, samples=samples, scores=tuple(s for _, s in pairs), set_seq=90)
    return task_of(TOPICS, round=now)


def entry(seq: int, total: float, prompt: int = 0, **changes: Any) -> tuple[SampleGenerated, SampleScored]:
    sample = written(changes.pop("text", "my cat sat down"), prompt=prompt, finish=changes.pop("finish", "stop"))
    return sample, judged(seq, total, **changes)


def chosen(of: TaskState, algorithm: Any) -> list[list[tuple[int, float]]]:
    return [samples for _, samples in groups_to_learn_from(of, algorithm)[0]]


def test_rewards_are_centred_within_their_group() -> None:
    """Hand-worked: means 2 and -1."""
    of = task([entry(10, 1.0), entry(11, 2.0), entry(12, 3.0)], [entry(13, -3.0, 1), entry(14, 1.0, 1)])
    assert chosen(of, "grpo") == [[(10, -1.0), (11, 0.0), (12, 1.0)], [(13, -2.0), (14, 2.0)]]


def test_rejected_and_gated_samples_teach_by_their_totals() -> None:
    of = task([entry(10, 1.0), entry(11, -1.0, reason="gate:format")])
    assert chosen(of, "grpo") == [[(10, 1.0), (11, -1.0)]]
    assert chosen(of, "eft") == [[(10, 1.0)]]


def test_a_group_of_equal_totals_teaches_nothing() -> None:
    """4.3: it would only dilute the others."""
    of = task([entry(10, 0.5), entry(11, 0.5)], [entry(12, 0.0, 1), entry(13, 1.0, 1)])
    found, left_out = groups_to_learn_from(of, "grpo")
    plan = of.round.plan
    assert plan is not None
    assert [(prompt, [seq for seq, _ in samples]) for prompt, samples in found] == [(plan.prompts[1], [12, 13])]
    assert left_out == {"all samples are worth the same": 1}


def test_fine_tuning_learns_from_accepted_samples_alone_and_from_all_alike() -> None:
    of = task(
        [entry(10, 5.0), entry(11, 1.0, reason="fidelity")], [entry(12, 0.1, 1)], [entry(13, 0.0, 2, reason="quality")]
    )
    assert chosen(of, "eft") == [[(10, 1.0)], [(12, 1.0)]]


@pytest.mark.parametrize("algorithm", ["eft", "grpo"])
def test_what_the_engine_failed_to_write_is_left_out(algorithm: str) -> None:
    broken = [entry(11, 9.0, finish="error"), entry(12, 9.0, text="")]
    found = chosen(task([entry(10, 1.0), *broken, entry(13, 0.0)]), algorithm)
    assert [[seq for seq, _ in group] for group in found] == [[10, 13]]
    assert [value for _, value in found[0]] == ([1.0, 1.0] if algorithm == "eft" else [0.5, -0.5])


def test_without_a_plan_there_is_nothing_to_learn_from() -> None:
    assert groups_to_learn_from(task_of(TOPICS), "grpo") == ([], {})


def test_a_group_of_one_is_left_out_and_said_to_be() -> None:
    of = task([entry(10, 0.5), entry(11, 0.7, finish="error")], [entry(12, 0.0, 1), entry(13, 1.0, 1)])
    assert groups_to_learn_from(of, "grpo")[1] == {"fewer than two samples to compare": 1}
    none = task([entry(10, 0.5, reason="fidelity")], [entry(12, 0.0, 1)])
    assert groups_to_learn_from(none, "eft")[1] == {"no sample was accepted": 1}


def test_advantages_are_divided_if_a_floor_is_set() -> None:
    """Hand-worked: totals 0, 2, 4 have a deviation of 2."""
    of = task([entry(10, 0.0), entry(11, 2.0), entry(12, 4.0)])
    assert groups_to_learn_from(of, "grpo", 0.1)[0][0][1] == [(10, -1.0), (11, 0.0), (12, 1.0)]


# ---- steps that are not taken --------------------------------------------------------------------------------


class Weights:
    """Stands where a model would be: no step may touch it."""


def step(of: TaskState, algorithm: Any, model: Any) -> Any:
    policy = Policy(lambda: (ScriptedEngine(lambda *_: ""), model))
    state = RunState(adapter="a" * 64, optimizer="b" * 64, task=of)
    blobs: Any = None
    fact, observed = train(state, of, algorithm, Settings(), policy, blobs, seed=1, progress=lambda *_: None)
    assert observed.get("left_out"), "every group that taught nothing is counted"
    return fact


@pytest.mark.parametrize(
    ("algorithm", "model", "why"),
    [
        ("eft", Weights(), "no sample was accepted"),
        ("grpo", Weights(), "no group had samples of different worth"),
        ("grpo", None, "the scripted engine has no weights to train"),
    ],
)
def test_a_step_that_is_not_taken_says_why_and_leaves_the_policy(algorithm: str, model: Any, why: str) -> None:
    fact = step(task([entry(10, 1.0, reason="fidelity"), entry(11, 1.0, reason="fidelity")]), algorithm, model)
    assert fact.skipped == why
    assert (fact.parent, fact.adapter, fact.optimizer) == ("a" * 64, "a" * 64, "b" * 64)
    assert (fact.loss, fact.kl, fact.grad_norm) == (0.0, 0.0, 0.0)
    assert (fact.samples, fact.advantages) == ([], [])


def test_the_fingerprint_names_what_equal_bits_depend_on() -> None:
    assert fingerprint().keys() == {"torch", "cpu", "threads", "cuda", "machine"}
    assert fingerprint() == fingerprint()
