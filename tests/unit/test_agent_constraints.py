"""Floors and multipliers, worked by hand; and a run that delivers by them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from pieces import checked, judged, planned, pooled, task_of, unit_rows
from worlds import QUICK, card, rows, scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.budget import missing
from synlearner.agent.config import ConstraintSettings, LoopSettings, RewardSettings, Settings
from synlearner.agent.constraints import COOLEST, HOTTEST, adjust, below_floor, heat, matched, more, weighted
from synlearner.agent.delivery import choose_dataset
from synlearner.agent.features import Matrix
from synlearner.agent.overlap import leaked
from synlearner.agent.planning import Planner
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import RoundState, RunState, TaskState, apply, current_task
from synlearner.agent.vectors import recorded
from synlearner.events import Home
from synlearner.events.types import DatasetDelivered, PromptsPlanned
from synlearner.memory import HashEmbedder

CARD = checked(card())
EYE = np.eye(16, dtype=np.float32)
SAME = np.tile(EYE[:1], (16, 1))
SETTINGS = ConstraintSettings(rate=2.0, most=3.0)


def some(count: int, start: int = 0) -> tuple[object, ...]:
    return tuple(pooled(start + i, ("pets", "weather")[i % 2]) for i in range(count))


def task(fidelity: float = 0.5, **changes: object) -> TaskState:
    read = msgspec.structs.replace(judged(1), parts={"fidelity": fidelity, "quality": 1.0, "gain": 0.1})
    scores = (read, judged(2, reason="gate:format"))
    now = RoundState(3, plan=PromptsPlanned(round=3, purpose="learn", prompts=[planned()]), scores=scores, set_seq=9)
    values: dict[str, object] = {"pool": some(16), "reference": some(16, 100), "reference_asked": 16, "round": now}
    return task_of(CARD, **(values | changes))


def test_a_missed_floor_raises_its_multiplier_by_the_share_that_is_missed() -> None:
    """16 alike have Vendi 1, 16 orthogonal ones 16: 15/16 of the floor is missed, times 2."""
    fact = adjust(task(), SAME, EYE, [0.25] * 16, SETTINGS)
    assert (fact.round, fact.compared) == (3, 16)
    assert fact.values["diversity"] == pytest.approx(1.0)
    assert fact.floors["diversity"] == pytest.approx(16.0)
    assert fact.multipliers["diversity"] == pytest.approx(2 * 15 / 16)
    again = adjust(msgspec.structs.replace(task(), multipliers=fact.multipliers), SAME, EYE, [0.25] * 16, SETTINGS)
    assert again.multipliers["diversity"] == 3.0, "and no further than the most"


def test_a_floor_that_is_held_lets_its_multiplier_fall_to_nothing() -> None:
    held = adjust(task(multipliers={"diversity": 1.0}), EYE, SAME, [0.25] * 16, SETTINGS)
    assert held.multipliers["diversity"] == 0.0
    barely = adjust(task(multipliers={"diversity": 1.0}), EYE, EYE, [0.25] * 16, SETTINGS)
    assert barely.multipliers["diversity"] == 1.0, "on the floor nothing moves"


def test_what_is_chosen_is_held_to_the_floor_at_equal_n() -> None:
    """Of the chosen half, 8 orthogonal rows have Vendi 8, as 8 of the untrained policy's have; 8 alike have 1."""

    def chosen(places: list[int], vectors: Matrix) -> tuple[list[PoolSample], Matrix]:
        return [task().pool[i] for i in places], vectors[places]

    half = list(range(0, 16, 4)) + list(range(1, 16, 4))
    assert not below_floor(task(), *chosen(half, EYE), EYE, SETTINGS)
    assert below_floor(task(), *chosen(half, SAME), EYE, SETTINGS)
    assert below_floor(task(), *chosen(half, EYE), EYE, ConstraintSettings(diversity=1.01))
    last = [8, 9, 10, 11, 12, 13, 14, 15]
    assert not below_floor(task(), *chosen(last, np.concatenate([SAME[:8], EYE[8:]])), EYE, SETTINGS), (
        "it is theirs that count"
    )
    assert not below_floor(task(), *chosen(half, SAME), EYE, ConstraintSettings(diversity=0.0)), "there is no floor"
    assert not below_floor(task(), *chosen(half[:7], SAME), EYE, SETTINGS), "too few say nothing"
    assert not below_floor(task(reference=()), *chosen(half, SAME), EYE[:0], SETTINGS)


def test_fidelity_counts_what_could_not_be_read_as_nothing_on_both_sides() -> None:
    """One of two samples is gated: .5 / 2. Of 32 asked, 16 could be read at .5 each: .25."""
    fact = adjust(task(reference_asked=32), EYE, EYE, [0.5] * 16, SETTINGS)
    assert fact.values["fidelity"] == pytest.approx(0.25)
    assert fact.floors["fidelity"] == pytest.approx(0.25)
    low = adjust(task(0.1, reference_asked=32), EYE, EYE, [0.5] * 16, SETTINGS)
    assert low.multipliers["fidelity"] == pytest.approx(2 * (0.25 - 0.05) / 0.25)
    against = adjust(task(0.0), EYE, EYE, [-0.5] * 16, SETTINGS)
    assert against.floors["fidelity"] == 0.0, "no floor lies below chance"


def test_too_few_samples_say_nothing_of_diversity() -> None:
    fact = adjust(task(pool=some(6), reference=some(16)), SAME[:6], EYE, [0.5] * 16, SETTINGS)
    assert "diversity" not in fact.multipliers
    off = adjust(task(), SAME, EYE, [0.5] * 16, ConstraintSettings(diversity=0, fidelity=0))
    assert off.multipliers == {}


def test_both_sides_have_equally_many_of_each_label() -> None:
    pool = (pooled(1, "pets"), pooled(2, "pets"), pooled(3, "weather"), pooled(4, "pets"))
    reference = (pooled(9, "weather"), pooled(8, "weather"), pooled(7, "pets"), pooled(6, "pets"))
    assert matched(CARD, pool, reference) == ([3, 1, 2], [2, 3, 0]), "the newest of the pool, the first of the others"


def test_the_levers_follow_the_multipliers() -> None:
    reward, loop = RewardSettings(), LoopSettings(oversample=1.5)
    assert weighted(reward, {}) is reward
    pulled = weighted(reward, {"diversity": 2.0, "fidelity": 0.5})
    assert (pulled.gain, pulled.fidelity, pulled.quality) == (3.0, 1.5, reward.quality)
    assert heat({}, SETTINGS) == 1.0
    assert heat({"diversity": 2.0}, SETTINGS) == pytest.approx(1.2)
    assert heat({"diversity": 2.0, "fidelity": 3.0}, SETTINGS) == pytest.approx(0.9)
    assert heat({"diversity": 99.0}, SETTINGS) == HOTTEST
    assert heat({"fidelity": 99.0}, SETTINGS) == COOLEST
    assert (more({}), more({"diversity": 2.0}), more({"diversity": 9.0})) == (1.0, 1.5, 2.0)
    usual, short = missing(task_of(CARD), loop), missing(task_of(CARD, multipliers={"diversity": 4.0}), loop)
    assert short == {label: 2 * lack - 1 for label, lack in usual.items()}, (
        "ceil(1.5 x 10 / 2) and ceil(2 x 1.5 x 10 / 2)"
    )


def test_prompts_are_sent_hotter_while_diversity_is_short() -> None:
    calm = Planner(task_of(CARD), Settings()).learning(1)
    hot = Planner(task_of(CARD, multipliers={"diversity": 4.0}), Settings()).learning(1)
    for usual, other in zip(calm, hot, strict=True):
        assert other.decoding.temperature == pytest.approx(1.4 * usual.decoding.temperature)
        assert other.decoding.min_p == usual.decoding.min_p


def test_random_rows_are_about_as_diverse_as_random_rows() -> None:
    fact = adjust(task(), unit_rows(16, 64, 1), unit_rows(16, 64, 2), [0.5] * 16, SETTINGS)
    assert fact.values["diversity"] == pytest.approx(fact.floors["diversity"], rel=0.1)


def test_a_run_delivers_what_is_diverse_enough(tmp_path: Path) -> None:
    """A floor that nothing reaches: the choice is that of the last power, which is another than the first one's."""
    settings = [*QUICK, "constraints.diversity=10", "loop.fill_rounds=9", "loop.oversample=4", "memory.k=0"]
    with Agent.open(tmp_path / "h", engine=scripted(), embedder=HashEmbedder()) as agent:
        agent.run(write_stream(tmp_path, samples=10), settings=settings)
    state = RunState()
    with Home.open(tmp_path / "h") as home:
        for event in home.log.read():
            if isinstance(event.fact, DatasetDelivered):
                break
            state = apply(state, event)
        assert isinstance(event.fact, DatasetDelivered)
        task = current_task(state)
        pool = task.candidates
        vectors = recorded(home.blobs, [(sample.matrix, sample.place) for sample in pool])

    def chosen(*, too_alike: bool) -> list[int]:
        rule = Settings().delivery
        leaks = leaked(task.card, [sample.row for sample in pool], rows(8, 10) + rows(8, 20), rule)
        places, _ = choose_dataset(task.card, pool, vectors, leaks, rule, lambda _: too_alike)
        return [pool[i].seq for i in places]

    assert event.fact.samples == chosen(too_alike=True) != chosen(too_alike=False)
