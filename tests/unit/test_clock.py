"""Elapsed time and the estimate of what is left."""

from itertools import pairwise

import pytest
from msgspec.structs import replace
from pieces import KINDS, checked, planned, pooled, task_of

from synlearner.agent.config import Settings
from synlearner.agent.state import RoundState, RunState, TaskState, TaskSummary
from synlearner.clock import LEARN, STUDENTS, Clock, work
from synlearner.events.types import PromptsPlanned, RunStarted

SETTINGS = Settings.model_validate({"loop": {"rounds": 2, "prompts": 4, "group": 5, "oversample": 1.5}})
CARD = checked(KINDS["classification"], samples=40)


def state_of(task: TaskState | None, *, done: int = 0, tasks: int = 4) -> RunState:
    started = RunStarted(
        stream="s", stream_digest="", tasks=[f"t{i}" for i in range(tasks)], seed=0,
        settings=SETTINGS.model_dump(mode="json"), base_model="",
    )  # fmt: skip
    finished = tuple(TaskSummary(f"t{i}", 40, ()) for i in range(done))
    return RunState(started=started, settings=started.settings, finished=False, task=task, done=finished)


def test_by_hand() -> None:
    """One round of two has been learnt from: 20 samples written and used; 10 of 20 were accepted.

    To come: 20 more with learning; then 60 - 10 - 10 samples to accept at one half, 80 written; and the students.
    """
    plan = RoundState(1, plan=PromptsPlanned(round=1, purpose="learn", prompts=[planned()]), updated=True)
    pool = tuple(pooled(i) for i in range(10))
    task = task_of(CARD, round=plan, learn_rounds=1, requested=20, pool=pool)
    done = 20 * (1 + LEARN)
    rest = 20 * (1 + LEARN) + 80 + STUDENTS
    found, whole = work(state_of(task, done=1))
    assert found == pytest.approx(1 + done / (done + rest))
    assert whole == 4.0


def test_what_is_done_never_shrinks_along_a_task() -> None:
    learning = RoundState(1, plan=PromptsPlanned(round=1, purpose="learn", prompts=[planned()]))
    filling = RoundState(3, plan=PromptsPlanned(round=3, purpose="fill", prompts=[planned()]))
    begun = task_of(CARD, files={"test": ""})
    pool = tuple(pooled(i) for i in range(60))
    steps = [
        begun,
        replace(begun, round=learning, learn_rounds=1),
        replace(begun, round=learning, learn_rounds=1, requested=20, pool=pool[:10]),
        replace(begun, round=replace(learning, updated=True), learn_rounds=1, requested=20, pool=pool[:10]),
        replace(begun, round=replace(learning, updated=True), learn_rounds=2, requested=40, pool=pool[:20]),
        replace(begun, round=filling, learn_rounds=2, fill_rounds=1, requested=100, pool=pool[:50]),
        replace(begun, round=filling, learn_rounds=2, fill_rounds=2, requested=120, pool=pool, reference_rounds=1),
        replace(begun, learn_rounds=2, requested=120, pool=pool, reference=pool[:40], delivered=tuple(range(40))),
    ]
    shares = [work(state_of(step))[0] for step in steps]
    assert shares[0] == 0.0
    assert all(before <= after for before, after in pairwise(shares))
    assert 0.8 < shares[-1] < 1.0


def test_time_left_is_judged_by_the_work_of_this_process_alone() -> None:
    """Resumed after two of four tasks; another task took 100 s, so the last one takes as long."""
    seconds = 0.0
    clock = Clock(now=lambda: seconds)
    assert clock.left(state_of(None, done=2)) is None
    seconds = 100.0
    assert clock.left(state_of(None, done=3)) == pytest.approx(100.0)
    assert clock.elapsed() == 100.0


def test_nothing_is_known_before_a_run() -> None:
    assert work(RunState()) == (0.0, 1.0)
    assert Clock().left(RunState()) is None
