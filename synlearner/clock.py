"""How long a run has taken, and how long it will still take."""

import time
from collections.abc import Callable

from synlearner.agent.budget import ROWS
from synlearner.agent.config import Settings
from synlearner.agent.state import RunState, TaskState

LEARN = 1.2
"""What learning from a sample costs, in samples written."""

STUDENTS = 20.0
"""What distilling and the students of a task cost, in samples written."""

USUAL_SHARE = 0.5
"""Share of samples that is accepted, while nothing is known of the task."""


class Clock:
    """Elapsed time and an estimate of what is left, from the work done in this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begun = now()
        self._first: float | None = None

    def elapsed(self) -> float:
        """Return seconds since the start."""
        return self._now() - self._begun

    def left(self, state: RunState) -> float | None:
        """Return the seconds that are left, or None while there is nothing to judge by."""
        done, whole = work(state)
        if self._first is None:
            self._first = done
        gained = done - self._first
        return None if gained < 0.05 else self.elapsed() / gained * max(whole - done, 0.0)


def work(state: RunState) -> tuple[float, float]:
    """Return (done, whole) of the run, in tasks: all tasks are taken for as long as the one at hand."""
    if state.started is None:
        return 0.0, 1.0
    within = _share(state.task, Settings.model_validate(state.settings)) if state.task else 0.0
    return len(state.done) + within, float(len(state.started.tasks))


def _share(task: TaskState, settings: Settings) -> float:
    """Return how much of a task is done, in [0, 1], from what everything costs in samples written."""
    loop, now = settings.loop, task.round
    a_round = loop.prompts * loop.group
    learning = now.plan is not None and now.plan.purpose == "learn" and not now.updated
    updates = task.learn_rounds - learning
    to_come = max(0, loop.rounds - task.learn_rounds)
    share = max(task.accepted / task.requested, 0.05) if task.requested else USUAL_SHARE
    done = task.requested + LEARN * a_round * updates + len(task.reference)
    rest = STUDENTS + a_round * to_come * (1 + LEARN) + LEARN * a_round * learning
    if task.delivered is None and not task.reference_rounds:
        lacking = loop.oversample * task.card.samples - task.accepted - a_round * to_come * share
        rest += min(max(0.0, lacking / share), (loop.fill_rounds - task.fill_rounds) * ROWS)
    if task.delivered is None and task.card.labels and "test" in task.files:
        rest += max(0, task.card.samples - len(task.reference))
    return done / (done + rest)
